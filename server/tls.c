/* tls.c - see tls.h */
#include "tls.h"
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <sys/socket.h>
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/hash.h"
#include "../common/log.h"
#include "conn.h"
#include "heritage.h"
#include "worker.h"

#define MINT_MS 10000   /* how long a handshake waits for certgen: it may be starting again */

/* ---- the socket under TLS: as OpenSSL's own, but it knows when the kernel has nothing, which saves a system call a request */

static int sock_write(BIO *b, const char *p, int n)
{
	struct conn *c = BIO_get_data(b);
	BIO_clear_retry_flags(b);
	ssize_t r = send(c->fd, p, (size_t)n, MSG_NOSIGNAL);
	if (r < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_write(b);
	return (int)r;
}

static int sock_read(BIO *b, char *p, int n)
{
	struct conn *c = BIO_get_data(b);
	BIO_clear_retry_flags(b);
	if (c->drained) {
		BIO_set_retry_read(b);
		return -1;
	}
	ssize_t r = recv(c->fd, p, (size_t)n, 0);
	if (r < 0 && (errno == EAGAIN || errno == EINTR)) {
		c->drained = errno == EAGAIN;
		BIO_set_retry_read(b);
	} else if (r > 0 && r < n && !c->item.ended)
		c->drained = true;
	return (int)r;
}

static long sock_ctrl(BIO *b, int cmd, long num, void *p)
{
	(void)b, (void)num, (void)p;
	return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP;
}

static BIO_METHOD *sock_method;

static void sock_method_init(void)
{
	sock_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "client");
	if (sock_method == NULL)
		die(71, "OpenSSL: no memory");
	BIO_meth_set_write(sock_method, sock_write);
	BIO_meth_set_read(sock_method, sock_read);
	BIO_meth_set_ctrl(sock_method, sock_ctrl);
}

/* ---- tickets: the keys are in shared memory, replaced by the master */

void tickets_init(void)
{
	struct state *s = heritage.shared.state;
	shm_lock_init(&s->tickets_lock);
	for (int i = 0; i < TICKET_KEYS; i++)
		if (RAND_bytes((unsigned char *)&s->tickets[i], sizeof s->tickets[i]) != 1)
			die(71, "OpenSSL has no random numbers");
}

void tickets_rotate(void)
{
	struct state *s = heritage.shared.state;
	struct ticket_key fresh;
	if (RAND_bytes((unsigned char *)&fresh, sizeof fresh) != 1)
		return;
	shm_lock(&s->tickets_lock);
	for (int i = TICKET_KEYS - 1; i > 0; i--)
		s->tickets[i] = s->tickets[i - 1];
	s->tickets[0] = fresh;
	shm_unlock(&s->tickets_lock);
	OPENSSL_cleanse(&fresh, sizeof fresh);
}

/* name NULL: the newest. age: how many are newer than the one found. A key that a dying process left half written only costs a resumption. */
static bool ticket_find(const unsigned char *name, struct ticket_key *out, int *age)
{
	struct state *s = heritage.shared.state;
	bool found = false;
	shm_lock(&s->tickets_lock);
	for (int i = 0; i < TICKET_KEYS && !found; i++)
		if (name == NULL || memcmp(s->tickets[i].name, name, sizeof out->name) == 0) {
			*out = s->tickets[i];
			*age = i;
			found = true;
		}
	shm_unlock(&s->tickets_lock);
	return found;
}

static EVP_CIPHER *ticket_cipher;

static int ticket_cb(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
	struct ticket_key key;
	int age, r = -1;
	if (!ticket_find(encrypt ? NULL : name, &key, &age))
		return 0; /* an old one: full handshake */
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.hmac, sizeof key.hmac),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_end(),
	};
	if (!EVP_MAC_CTX_set_params(mac, params))
		goto out;
	if (encrypt) {
		memcpy(name, key.name, sizeof key.name);
		if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(ticket_cipher)) != 1 ||
		    !EVP_EncryptInit_ex2(cipher, ticket_cipher, key.aes, iv, NULL))
			goto out;
		r = 1;
	} else if (EVP_DecryptInit_ex2(cipher, ticket_cipher, key.aes, iv, NULL))
		r = age == 0 && SSL_version(ssl) < TLS1_3_VERSION ? 1 : 2; /* 2: a new ticket goes out too (TLS 1.3 always does) */
out:
	OPENSSL_cleanse(&key, sizeof key);
	return r;
}

/* ---- identity and protocol */

static int cert_cb(SSL *ssl, void *arg)
{
	struct conn *c = SSL_get_app_data(ssl);
	const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	struct str host = sni != NULL && *sni ? str_c(sni) : c->tunnel.host;
	host = arena_lower(&c->arena, host);
	if (!certgen_known(c->worker->certgen, host))
		pool_blocking(c->worker->pool);
	int r = certgen_identify(c->worker->certgen, ssl, host, clock_mono() + MINT_MS);
	if (r < 0)
		log_warn("no certificate for \"%.*s\": %s", STRP(host), err_text(r));
	return r < 0 ? 0 : 1;
}

/* A session belongs to the name that its certificate was for: one that comes for another is not resumed (RFC 6066 3; OpenSSL does not look). */
static int hello_cb(SSL *ssl, int *alert, void *arg)
{
	const struct conn *c = SSL_get_app_data(ssl);
	const unsigned char *sni;
	size_t n;
	uint8_t context[SHA256_RAW];
	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &sni, &n) != 1) {
		sni = (const unsigned char *)c->tunnel.host.p;
		n = c->tunnel.host.n;
	}
	sha256_raw(sni, n, context);
	_Static_assert(sizeof context <= SSL_MAX_SID_CTX_LENGTH, "a session's context");
	return SSL_set_session_id_context(ssl, context, sizeof context) == 1 ? SSL_CLIENT_HELLO_SUCCESS : SSL_CLIENT_HELLO_ERROR;
}

static int alpn_cb(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in, unsigned inlen, void *arg)
{
	static const unsigned char ours[] = "\x08http/1.1\x08http/1.0";
	if (SSL_select_next_proto((unsigned char **)out, outlen, ours, sizeof ours - 1, in, inlen) == OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_OK;
	return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301 3.2: no_application_protocol; a client that offers only h2 */
}

SSL_CTX *tls_context(struct worker *w)
{
	sock_method_init();
	ticket_cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	if (ctx == NULL || ticket_cipher == NULL)
		die(71, "OpenSSL cannot make a server context");
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20"); /* of TLS 1.2: every client that speaks it has one (RFC 9325 4.2); our keys are ECDSA */
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
	                             SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets only: nothing to share, nothing to bound */
	SSL_CTX_set_num_tickets(ctx, 1);
	SSL_CTX_set_client_hello_cb(ctx, hello_cb, NULL);
	SSL_CTX_set_timeout(ctx, (long)(conf()->ticket_rotate_ms / 1000 * 2));
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_cb);
	SSL_CTX_set_cert_cb(ctx, cert_cb, NULL);
	SSL_CTX_set_alpn_select_cb(ctx, alpn_cb, NULL);
	return ctx;
}

SSL *tls_accept(struct conn *c)
{
	SSL *ssl = SSL_new(c->worker->tls);
	BIO *bio = BIO_new(sock_method);
	if (ssl == NULL || bio == NULL) {
		SSL_free(ssl);
		BIO_free(bio);
		return NULL;
	}
	BIO_set_data(bio, c);
	BIO_set_init(bio, 1);
	SSL_set_bio(ssl, bio, bio);
	SSL_set_app_data(ssl, c);
	SSL_set_accept_state(ssl);
	return ssl;
}

int tls_handshake(struct conn *c)
{
	ERR_clear_error();
	int r = SSL_do_handshake(c->ssl);
	if (r == 1) {
		count(COUNT_tls_handshakes);
		if (SSL_session_reused(c->ssl))
			count(COUNT_tls_resumed);
		return 1;
	}
	switch (SSL_get_error(c->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		return 0;
	case SSL_ERROR_WANT_WRITE: /* a first flight that does not fit an empty socket buffer: no client of ours */
	default:
		return -ERR_CLIENT_TLS;
	}
}
