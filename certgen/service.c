/* service.c - the certgen process: reads names, mints, publishes; and before that, gives up all it does not need. */
#include "ca.h"
#include "certstore.h"
#include "confine.h"
#include "leaf.h"
#include "../common/clock.h"
#include "../common/counters.h"
#include "../common/err.h"
#include "../common/fd.h"
#include "../common/hash.h"
#include "../common/log.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TICK_MS 1000          /* how long a stop, or a parent that is gone, may stay unnoticed */
#define PROBLEM_LOG_MS 1000   /* one line a second about failures, whatever the clients ask for */

struct service {
	struct ca *ca;
	struct certstore *store;
	EVP_PKEY *leaf_key;
	int64_t logged;           /* mono, of the last failure's line */
};

int
certgen_channel(int sv[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return -ERR_SYSTEM;
	fd_nonblock(sv[1]); /* workers never wait on it: they wait on the store */
	return 0;
}

/* Everything that is sent behind a leaf, one DER after the other. */
static int
chain_der(const struct ca *ca, struct cert_identity *id)
{
	unsigned char *p = id->chain;
	for (int i = 0; i < sk_X509_num(ca->chain); i++) {
		X509 *x = sk_X509_value(ca->chain, i);
		int n = i2d_X509(x, NULL);
		if (n <= 0 || (size_t)n > sizeof(id->chain) - (size_t)(p - id->chain))
			return -ERR_CERTGEN;
		i2d_X509(x, &p);
	}
	id->chain_n = (uint32_t)(p - id->chain);
	return 0;
}

static int
ca_digest(const struct ca *ca, uint8_t out[32])
{
	unsigned n = 0;
	return X509_digest(ca->cert, EVP_sha256(), out, &n) && n == 32 ? 0 : -ERR_CERTGEN;
}

/* What an earlier certgen of the same CA left is taken over: its key and all leaves. */
static int
take_over(struct service *s, const struct cert_identity *wanted)
{
	static struct cert_identity there; /* too large for a stack */
	if (certstore_identity(s->store, &there) == 0 || memcmp(there.ca, wanted->ca, sizeof(there.ca)) != 0 ||
	    there.chain_n != wanted->chain_n || memcmp(there.chain, wanted->chain, there.chain_n) != 0)
		return -ERR_NOT_FOUND;
	const unsigned char *p = there.key;
	s->leaf_key = d2i_AutoPrivateKey(NULL, &p, (long)there.key_n);
	OPENSSL_cleanse(&there, sizeof(there));
	return s->leaf_key ? 0 : -ERR_NOT_FOUND;
}

static int
publish_identity(struct service *s)
{
	static struct cert_identity id;
	memset(&id, 0, sizeof(id));
	if (ca_digest(s->ca, id.ca) < 0 || chain_der(s->ca, &id) < 0)
		return -ERR_CERTGEN;
	if (take_over(s, &id) == 0)
		return 0;
	s->leaf_key = leaf_key_new();
	int n = s->leaf_key ? i2d_PrivateKey(s->leaf_key, NULL) : -1;
	if (n <= 0 || (size_t)n > sizeof(id.key))
		return -ERR_CERTGEN;
	unsigned char *p = id.key;
	id.key_n = (uint32_t)i2d_PrivateKey(s->leaf_key, &p);
	certstore_publish_identity(s->store, &id);
	OPENSSL_cleanse(&id, sizeof(id));
	return 0;
}

static void
answer(struct service *s, struct str name)
{
	static struct cert_record r;
	char problem[256];
	int64_t now = clock_wall();
	if (certstore_find(s->store, name, now, &r) == 0 && (r.failed || now < r.refresh_at)) {
		shm_wake_all(certstore_event(s->store, name)); /* whoever asked may have looked while it was written */
		return;
	}
	if (leaf_mint(s->ca, s->leaf_key, name, now, &r, problem) == 0) {
		certstore_publish(s->store, &r);
		count(COUNT_certs_minted);
		return;
	}
	r = (struct cert_record){ .minted_at = now, .not_after = now + CERT_FAILURE_MS, .failed = ERR_CERTGEN, .name_n = (uint16_t)name.n };
	memcpy(r.name, name.p, name.n);
	certstore_publish(s->store, &r);
	if (clock_mono() >= s->logged + PROBLEM_LOG_MS || s->logged == 0) {
		s->logged = clock_mono();
		log_error("no certificate for %.*s: %s", STRP(name), problem);
	}
}

static int
serve(struct service *s, int sock, const _Atomic int *stop)
{
	char buf[sizeof(struct cert_request) + 1]; /* one more: a datagram that is too long must not look right */
	pid_t parent = getppid();
	struct str name;
	while (!*stop && getppid() == parent) {
		ssize_t n = recv(sock, buf, sizeof(buf), 0);
		if (n == 0)
			return 0; /* the last worker and the master are gone (no request is empty) */
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return errno_err();
		if (n < 0)
			continue;
		if (cert_request_parse(buf, (size_t)n, &name) < 0)
			log_warn("a request that no worker sends was dropped (%zd bytes)", n);
		else
			answer(s, name);
	}
	return 0;
}

int
certgen_serve(struct ca *ca, struct certstore *store, int sock, const _Atomic int *stop)
{
	struct service s = { .ca = ca, .store = store };
	struct timeval tick = { .tv_sec = TICK_MS / 1000, .tv_usec = TICK_MS % 1000 * 1000 };
	prctl(PR_SET_PDEATHSIG, SIGTERM); /* at once, and not only at the next tick */
	fcntl(sock, F_SETFL, fcntl(sock, F_GETFL) & ~O_NONBLOCK);
	if (setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof(tick)) < 0)
		return -ERR_SYSTEM;
	certstore_recover(store);
	int r = publish_identity(&s);
	if (r < 0)
		log_error("certgen could not publish its key and chain: %s", err_text(r));
	else
		confine(sock, log_fd());
	if (r == 0)
		r = serve(&s, sock, stop);
	EVP_PKEY_free(s.leaf_key);
	return r;
}
