/* The certgen process and its clients, in real TLS handshakes: each name is minted once, whoever asks, whatever dies. */
#include "certgen_pki.h"
#include "../../certgen/confine.h"
#include "../../common/fd.h"
#include "../../common/log.h"
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

static struct certstore *store;
static int sv[2];
static pid_t certgen;
static _Atomic int stop;

static void
on_term(int sig)
{
	stop = 1;
}

/* PEM → struct ca, only in the certgen process. */
static void
start(struct str pem, bool expired)
{
	certgen = fork();
	if (certgen != 0)
		return;
	struct ca *ca;
	char problem[256];
	struct sigaction sa = { .sa_handler = on_term };
	sigaction(SIGTERM, &sa, NULL);
	int r = ca_read(pem, STR_NONE, "test", &ca, problem);
	if (r < 0)
		fprintf(stderr, "%s\n", problem);
	if (r == 0 && expired)
		ca->not_after = clock_wall() / 1000 - 1; /* as if it had been running for ten years */
	if (r == 0)
		r = certgen_serve(ca, store, sv[0], &stop);
	ca_free(&ca);
	_exit(r < 0 ? -r : 0);
}

static int
end(int sig)
{
	int status;
	if (sig)
		kill(certgen, sig);
	waitpid(certgen, &status, 0);
	return status;
}

/* What a handshake showed to the client. */
struct shown {
	int identify, verify, certs;
	uint64_t serial;
};

/* A handshake over memory. The client trusts anchor and nothing else, checks strictly, and wants host. */
static struct shown
handshake(struct certgen_client *client, const char *host, bool ip, X509 *anchor, int version, int64_t wait_ms)
{
	struct shown s = { .verify = -1 };
	SSL_CTX *server_ctx = SSL_CTX_new(TLS_server_method()), *client_ctx = SSL_CTX_new(TLS_client_method());
	SSL *server = SSL_new(server_ctx), *peer = SSL_new(client_ctx);
	BIO *a, *b;
	X509_STORE_add_cert(SSL_CTX_get_cert_store(client_ctx), anchor);
	X509_VERIFY_PARAM *param = SSL_get0_param(peer);
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
	if (ip)
		X509_VERIFY_PARAM_set1_ip_asc(param, host);
	else
		X509_VERIFY_PARAM_set1_host(param, host, 0);
	SSL_set_verify(peer, SSL_VERIFY_PEER, NULL);
	SSL_set_min_proto_version(peer, version);
	SSL_set_max_proto_version(peer, version);
	BIO_new_bio_pair(&a, 0, &b, 0);
	SSL_set_bio(server, a, a);
	SSL_set_bio(peer, b, b);
	SSL_set_accept_state(server);
	SSL_set_connect_state(peer);
	s.identify = certgen_identify(client, server, str_c(host), clock_mono() + wait_ms);
	if (s.identify == 0) {
		for (int i = 0; i < 20 && !(SSL_is_init_finished(server) && SSL_is_init_finished(peer)); i++) {
			SSL_do_handshake(peer);
			SSL_do_handshake(server);
		}
		s.verify = SSL_is_init_finished(peer) ? (int)SSL_get_verify_result(peer) : SSL_get_verify_result(peer) ? (int)SSL_get_verify_result(peer) : -2;
		s.certs = sk_X509_num(SSL_get_peer_cert_chain(peer));
		X509 *x = SSL_get0_peer_certificate(peer);
		if (x) {
			const ASN1_INTEGER *n = X509_get0_serialNumber(x);
			memcpy(&s.serial, ASN1_STRING_get0_data(n) + ASN1_STRING_length(n) - 8, 8);
		}
	}
	SSL_free(server);
	SSL_free(peer);
	SSL_CTX_free(server_ctx);
	SSL_CTX_free(client_ctx);
	return s;
}

static EVP_PKEY *root_key, *sub_key;
static X509 *root, *sub;
static struct str root_pem, sub_pem;

static void
make_cas(const char *root_kind, const char *sub_kind)
{
	free((char *)root_pem.p);
	free((char *)sub_pem.p);
	root_pem = sub_pem = STR_NONE;
	root_key = pki_key(root_kind);
	sub_key = pki_key(sub_kind);
	root = pki_cert("test root", root_key, NULL, NULL, true, -DAY, 3650 * DAY);
	sub = pki_cert("test intermediate", sub_key, root, root_key, true, -DAY, 3650 * DAY);
	pki_append(&root_pem, root_key, NULL, root);
	pki_append(&sub_pem, sub_key, NULL, sub);
	pki_append(&sub_pem, NULL, NULL, root);
}

static void
identities(void)
{
	static const struct { const char *host; bool ip; } row[] = {
		{ "example.test", false }, { "a_b.example.test", false }, { "192.0.2.7", true }, { "2001:db8::7", true },
		{ "a-name-that-is-longer-than.the-sixty-four-characters.of-a-common-name.example.test", false },
	};
	struct certgen_client *c = certgen_connect(store, sv[1], 100);
	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		ok(!certgen_known(c, str_c(row[i].host)), "%.20s is not known", row[i].host);
		struct shown s = handshake(c, row[i].host, row[i].ip, root, TLS1_3_VERSION, 5000);
		is_int(s.verify, X509_V_OK, "TLS 1.3 with a strict client: %.20s", row[i].host);
		is_int(s.certs, 1, "... which gets the leaf and no root");
		ok(certgen_known(c, str_c(row[i].host)), "... it is known now");
		struct shown t = handshake(c, row[i].host, row[i].ip, root, TLS1_2_VERSION, 0);
		is_int(t.verify, X509_V_OK, "TLS 1.2, without waiting");
		ok(s.serial == t.serial, "... the same certificate");
	}
	is_int(handshake(c, "EXAMPLE.test.", false, root, TLS1_3_VERSION, 0).identify, 0, "another spelling is the same name");
	uint64_t minted = certstore_minted(store);
	is_int(handshake(c, "*.test", false, root, TLS1_3_VERSION, 5000).identify, -ERR_BAD_REQUEST, "a name that is none is refused");
	is_int(handshake(c, "", false, root, TLS1_3_VERSION, 5000).identify, -ERR_BAD_REQUEST, "nothing too");
	is_int(certstore_minted(store), minted, "... without a certificate");
	certgen_disconnect(&c);
	ok(c == NULL, "disconnected");
}

static void
junk(void)
{
	struct certgen_client *c = certgen_connect(store, sv[1], 100);
	char bytes[2000];
	memset(bytes, 'x', sizeof(bytes));
	for (size_t n = 1; n < sizeof(bytes); n = n * 3)
		send(sv[1], bytes, n, 0);
	is_int(handshake(c, "after-junk.test", false, root, TLS1_3_VERSION, 5000).verify, X509_V_OK, "requests that no worker sends harm nobody");
	certgen_disconnect(&c);
}

static void
bounded(void)
{
	struct certgen_client *c = certgen_connect(store, sv[1], 4);
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	int failed = 0;
	for (int i = 0; i < 40; i++) {
		char name[32];
		SSL *ssl = SSL_new(ctx);
		snprintf(name, sizeof(name), "bounded%d.test", i % 10);
		failed += certgen_identify(c, ssl, str_c(name), clock_mono() + 5000) != 0;
		SSL_free(ssl);
	}
	is_int(failed, 0, "more names than the cache holds are served all the same");
	is_int(certgen_cached(c), 4, "... and it holds no more than it may");
	SSL_CTX_free(ctx);
	certgen_disconnect(&c);
}

static bool
store_has(const void *bytes, size_t n)
{
	return memmem(store, certstore_size(), bytes, n) != NULL;
}

static void
secrecy(void)
{
	BIGNUM *d = NULL;
	unsigned char raw[32], reversed[32];
	EVP_PKEY_get_bn_param(root_key, "priv", &d);
	BN_bn2binpad(d, raw, sizeof(raw));
	BN_bn2lebinpad(d, reversed, sizeof(reversed));
	BN_free(d);
	static struct cert_identity id;
	certstore_identity(store, &id);
	ok(store_has(id.key, id.key_n), "the leaves' key is in shared memory (so this search finds keys)");
	ok(!store_has(raw, sizeof(raw)) && !store_has(reversed, sizeof(reversed)), "the CA's is not");
	const unsigned char *p = id.key;
	EVP_PKEY *leaf = d2i_AutoPrivateKey(NULL, &p, (long)id.key_n);
	ok(leaf && EVP_PKEY_eq(leaf, root_key) == 0, "the two are not the same");
	EVP_PKEY_free(leaf);
}

static void
restart(void)
{
	struct certgen_client *c = certgen_connect(store, sv[1], 100);
	struct shown before = handshake(c, "restart.test", false, root, TLS1_3_VERSION, 5000);
	end(SIGKILL);
	struct certgen_client *fresh = certgen_connect(store, sv[1], 100);
	struct shown s = handshake(fresh, "restart.test", false, root, TLS1_3_VERSION, 0);
	is_int(s.verify, X509_V_OK, "with certgen killed, a process that never saw the name serves it");
	ok(s.serial == before.serial, "... with the same certificate");
	int64_t t = clock_mono();
	is_int(handshake(c, "nobody.test", false, root, TLS1_3_VERSION, 200).identify, -ERR_TIMEOUT, "a new name waits");
	t = clock_mono() - t;
	ok(t >= 190 && t < 2000, "... until its deadline (%d ms of 200)", (int)t);
	/* a request that certgen took and died with */
	char lost[300];
	while (recv(sv[0], lost, sizeof(lost), MSG_DONTWAIT) > 0)
		;
	int status;
	pid_t waiting = fork();
	if (waiting == 0)
		_exit(handshake(c, "waiting.test", false, root, TLS1_3_VERSION, 10000).verify != X509_V_OK);
	usleep(300000);
	start(root_pem, false);
	waitpid(waiting, &status, 0);
	is_int(status, 0, "a name that was asked for in between is minted by the next certgen");
	s = handshake(fresh, "restart.test", false, root, TLS1_3_VERSION, 5000);
	ok(s.serial == before.serial, "... which took over what there was");
	certgen_disconnect(&fresh);
	certgen_disconnect(&c);
}

#define STORM_PROCESSES 8
#define STORM_THREADS 8
#define STORM_NAMES 50
static struct { _Atomic unsigned failed; uint64_t serial[STORM_PROCESSES][STORM_THREADS][STORM_NAMES]; } *storm_seen;

struct storm_thread { struct certgen_client *c; unsigned process, thread; };

static void *
storm_run(void *arg)
{
	struct storm_thread *t = arg;
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	for (unsigned i = 0; i < STORM_NAMES; i++) {
		unsigned n = (i * 7 + t->thread * 3) % STORM_NAMES; /* everybody in another order, and all at once at the start */
		char name[32];
		SSL *ssl = SSL_new(ctx);
		snprintf(name, sizeof(name), "storm%u.test", n);
		if (certgen_identify(t->c, ssl, str_c(name), clock_mono() + 20000) == 0) {
			const ASN1_INTEGER *serial = X509_get0_serialNumber(SSL_get_certificate(ssl));
			memcpy(&storm_seen->serial[t->process][t->thread][n], ASN1_STRING_get0_data(serial) + ASN1_STRING_length(serial) - 8, 8);
		} else {
			atomic_fetch_add(&storm_seen->failed, 1);
		}
		SSL_free(ssl);
	}
	SSL_CTX_free(ctx);
	return NULL;
}

static void
storm(void)
{
	uint64_t minted = certstore_minted(store);
	pid_t pids[STORM_PROCESSES];
	int different = 0;
	storm_seen = shm_map(sizeof(*storm_seen));
	for (unsigned p = 0; p < STORM_PROCESSES; p++) {
		pids[p] = fork();
		if (pids[p])
			continue;
		struct certgen_client *c = certgen_connect(store, sv[1], 64);
		pthread_t th[STORM_THREADS];
		struct storm_thread args[STORM_THREADS];
		for (unsigned i = 0; i < STORM_THREADS; i++) {
			args[i] = (struct storm_thread){ c, p, i };
			pthread_create(&th[i], NULL, storm_run, &args[i]);
		}
		for (unsigned i = 0; i < STORM_THREADS; i++)
			pthread_join(th[i], NULL);
		certgen_disconnect(&c);
		_exit(0);
	}
	for (unsigned p = 0; p < STORM_PROCESSES; p++) {
		int status;
		waitpid(pids[p], &status, 0);
		different += status != 0;
	}
	is_int(different, 0, "a storm from %d processes with %d threads each ends well", STORM_PROCESSES, STORM_THREADS);
	is_int(storm_seen->failed, 0, "... everybody got a certificate");
	is_int(certstore_minted(store) - minted, STORM_NAMES, "... each name was minted once");
	for (unsigned n = 0; n < STORM_NAMES; n++)
		for (unsigned p = 0; p < STORM_PROCESSES; p++)
			for (unsigned t = 0; t < STORM_THREADS; t++)
				different += storm_seen->serial[p][t][n] != storm_seen->serial[0][0][n] || storm_seen->serial[p][t][n] == 0;
	is_int(different, 0, "... and all saw the same one");
	munmap(storm_seen, sizeof(*storm_seen));
}

/* A leaf of 40 days ago is due: it serves on while another is made. */
static void
refresh(void)
{
	static struct cert_identity id;
	static struct cert_record rec, found;
	struct ca *ca;
	char problem[256];
	certstore_identity(store, &id);
	const unsigned char *p = id.key;
	EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &p, (long)id.key_n);
	ca_read(root_pem, STR_NONE, "test", &ca, problem);
	ca->not_before -= 100 * DAY;
	is_int(leaf_mint(ca, key, STR("old.test"), clock_wall() - 40 * DAY * 1000LL, &rec, problem), 0, "an old leaf");
	ca_free(&ca);
	EVP_PKEY_free(key);
	certstore_publish(store, &rec);
	struct certgen_client *c = certgen_connect(store, sv[1], 64);
	struct shown a = handshake(c, "old.test", false, root, TLS1_3_VERSION, 0), b = handshake(c, "old.test", false, root, TLS1_3_VERSION, 0);
	is_int(a.verify, X509_V_OK, "... is served without waiting");
	ok(a.serial == b.serial, "... and again");
	int r = -1;
	for (int i = 0; i < 500 && r != 0; i++, usleep(10000))
		r = certstore_find(store, STR("old.test"), clock_wall(), &found) == 0 && found.minted_at > rec.minted_at ? 0 : -1;
	is_int(r, 0, "... while another is made");
	struct certgen_client *d = certgen_connect(store, sv[1], 64);
	b = handshake(d, "old.test", false, root, TLS1_3_VERSION, 0);
	ok(b.verify == X509_V_OK && a.serial != b.serial, "... which the next process serves");
	certgen_disconnect(&c);
	certgen_disconnect(&d);
}

static void
another_ca(void)
{
	struct certgen_client *c = certgen_connect(store, sv[1], 64);
	handshake(c, "example.test", false, root, TLS1_3_VERSION, 5000);
	is_int(end(SIGTERM), 0, "SIGTERM: certgen ends well");
	uint32_t generation = certstore_generation(store);
	X509 *old_root = root;
	EVP_PKEY *old_keys[] = { root_key, sub_key };
	X509_free(sub);
	make_cas("RSA-2048", "P-384");
	start(sub_pem, false);
	for (int i = 0; i < 1000 && certstore_generation(store) == generation; i++)
		usleep(10000);
	struct shown s = handshake(c, "example.test", false, root, TLS1_3_VERSION, 5000);
	is_int(s.verify, X509_V_OK, "another CA (a P-384 intermediate of an RSA root): the same client process serves its leaves");
	is_int(s.certs, 2, "... with the intermediate behind them and without the root");
	s = handshake(c, "example.test", false, root, TLS1_2_VERSION, 5000);
	is_int(s.verify, X509_V_OK, "... in TLS 1.2 too");
	s = handshake(c, "example.test", false, old_root, TLS1_3_VERSION, 5000);
	ok(s.verify != X509_V_OK, "... and who trusts only the old CA does not take them (%d)", s.verify);
	is_int(end(SIGTERM), 0, "it ends");
	start(root_pem, false);
	generation = certstore_generation(store);
	for (int i = 0; i < 1000 && certstore_generation(store) == generation; i++)
		usleep(10000);
	s = handshake(c, "example.test", false, root, TLS1_2_VERSION, 5000);
	is_int(s.verify, X509_V_OK, "an RSA CA");
	is_int(end(SIGTERM), 0, "it ends");
	certgen_disconnect(&c);
	X509_free(old_root);
	EVP_PKEY_free(old_keys[0]);
	EVP_PKEY_free(old_keys[1]);
}

static void
failures(void)
{
	struct certgen_client *c = certgen_connect(store, sv[1], 64);
	start(root_pem, true);
	int64_t t = clock_mono();
	is_int(handshake(c, "fails.test", false, root, TLS1_3_VERSION, 10000).identify, -ERR_CERTGEN, "a CA that has expired meanwhile: an error");
	ok(clock_mono() - t < 3000, "... at once and not at the deadline");
	ok(certgen_known(c, STR("fails.test")), "... that is remembered");
	is_int(handshake(c, "fails.test", false, root, TLS1_3_VERSION, 0).identify, -ERR_CERTGEN, "... so that the next one does not wait");
	is_int(handshake(c, "example.test", false, root, TLS1_3_VERSION, 0).verify, X509_V_OK, "what was minted before serves on");
	is_int(end(SIGTERM), 0, "it ends");
	/* all workers gone: no writer is left but the one that certgen itself inherited and closes */
	start(root_pem, false);
	fd_close(&sv[1]);
	certgen_disconnect(&c);
	int64_t from = clock_mono();
	is_int(end(0), 0, "when the last worker is gone certgen leaves");
	ok(clock_mono() - from < 5000, "... soon");
	fd_close(&sv[0]);
	certgen_channel(sv);
	fd_close(&sv[0]);
	c = certgen_connect(store, sv[1], 64);
	is_int(handshake(c, "nobody.test", false, root, TLS1_3_VERSION, 5000).identify, -ERR_CERTGEN, "a channel that nobody listens on is an error at once");
	certgen_disconnect(&c);
	fd_close(&sv[1]);
}

/* A certgen that somebody took over can neither open, connect, start, nor map code. */
static void
sandbox(void)
{
	static const char *const what[] = { "open a file", "open a socket", "start a program", "map memory as code", "fork" };
	struct tries { int r[5]; int mint; } *tries = shm_map(sizeof(*tries));
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	note("no system call filter in sanitizer builds");
	(void)what;
#else
	int pair[2], status;
	certgen_channel(pair);
	pid_t pid = fork();
	if (pid == 0) {
		struct ca *ca;
		char problem[256];
		static struct cert_record rec;
		char *argv[] = { NULL };
		ca_read(root_pem, STR_NONE, "test", &ca, problem);
		EVP_PKEY *key = leaf_key_new();
		confine(pair[0], log_fd());
		tries->r[0] = open("/etc/passwd", O_RDONLY);
		tries->r[1] = socket(AF_INET, SOCK_STREAM, 0);
		tries->r[2] = execv("/bin/true", argv);
		tries->r[3] = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0;
		tries->r[4] = fork();
		if (tries->r[4] == 0)
			_exit(0);
		tries->mint = leaf_mint(ca, key, STR("in-the-sandbox.test"), clock_wall(), &rec, problem) == 0;
		EVP_PKEY_free(key);
		ca_free(&ca);
		_exit(7);
	}
	waitpid(pid, &status, 0);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 7, "a process in the sandbox lives and can leave");
	for (int i = 0; i < 5; i++)
		is_int(tries->r[i], -1, "... it cannot %s", what[i]);
	is_int(tries->mint, 1, "... but mint");
	close(pair[0]);
	close(pair[1]);
#endif
	munmap(tries, sizeof(*tries));
}

int
main(void)
{
	log_open("/dev/null"); /* failures are provoked here */
	store = certstore_init(shm_map(certstore_size()));
	is_int(certgen_channel(sv), 0, "a channel");
	make_cas("P-256", "P-256");
	start(root_pem, false);
	identities();
	junk();
	bounded();
	secrecy();
	storm();
	refresh();
	restart();
	another_ca();
	failures();
	sandbox();
	X509_free(root);
	X509_free(sub);
	EVP_PKEY_free(root_key);
	EVP_PKEY_free(sub_key);
	free((char *)root_pem.p);
	free((char *)sub_pem.p);
	return done_testing();
}
