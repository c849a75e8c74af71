/* httpc against an origin of its own that plays scripts on raw sockets, in the clear and by TLS with certificates made here. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "../../common/clock.h"
#include "../../common/err.h"
#include "../../common/fd.h"
#include "../../common/httpc.h"
#include "../../common/log.h"
#include "tap.h"

enum then { KEEP, CLOSE, RESET, HOLD };

/* What the origin answers to a GET of path, what it does then, and what the caller must see. */
static const struct destinations anywhere = { NULL, false };
static const struct script {
	const char *promise, *path, *reply;
	enum then then;
	const char *method;
	int status;
	const char *body;
	int end; /* 0 or -ERR_X of the body's end; of the head when status is 0 */
} scripts[] = {
	{ "a body by Content-Length", "/length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", KEEP, "GET", 200, "hello", 0 },
	{ "an empty body", "/empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", KEEP, "GET", 200, "", 0 },
	{ "a chunked body", "/chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n", KEEP,
	  "GET", 200, "hello world", 0 },
	{ "a body that ends with the connection", "/close", "HTTP/1.1 200 OK\r\n\r\nuntil the end", CLOSE, "GET", 200, "until the end", 0 },
	{ "HTTP/1.0", "/old", "HTTP/1.0 200 OK\r\n\r\nold", CLOSE, "GET", 200, "old", 0 },
	{ "an unknown transfer coding is raw and ends with the connection", "/te-unknown",
	  "HTTP/1.1 200 OK\r\nTransfer-Encoding: abcd\r\n\r\nraw bytes", CLOSE, "GET", 200, "raw bytes", 0 },
	{ "an unknown transfer coding beats Content-Length", "/te-unknown-length",
	  "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: abcd\r\n\r\nraw bytes", CLOSE, "GET", 200, "raw bytes", 0 },
	{ "chunked beats Content-Length", "/te-length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	  KEEP, "GET", 200, "hello", 0 },
	{ "a compressed transfer coding that was not asked for is refused", "/te-gzip",
	  "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", KEEP, "GET", 0, "", -ERR_ORIGIN_PROTOCOL },
	{ "chunked that is not the last coding is refused", "/te-order", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, abcd\r\n\r\n0\r\n\r\n", CLOSE,
	  "GET", 0, "", -ERR_ORIGIN_PROTOCOL },
	{ "a content coding passes untouched", "/coded", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nxyz", KEEP, "GET", 200, "xyz", 0 },
	{ "304 with a Content-Length has no body", "/304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n", KEEP, "GET", 304, "", 0 },
	{ "204 has no body", "/204", "HTTP/1.1 204 No Content\r\n\r\n", KEEP, "GET", 204, "", 0 },
	{ "204 with a Content-Length has no body", "/204cl", "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n", KEEP, "GET", 204, "", 0 },
	{ "HEAD with a Content-Length has no body", "/head", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", KEEP, "HEAD", 200, "", 0 },
	{ "HEAD of a chunked resource has no body", "/head2", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", KEEP, "HEAD", 200, "", 0 },
	{ "more than Content-Length is not delivered", "/long", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789-and-this-is-what-is-too-long", KEEP,
	  "GET", 200, "0123456789", 0 },
	{ "a redirect is an answer like any other", "/302", "HTTP/1.1 302 Found\r\nLocation: /length\r\nContent-Length: 2\r\n\r\nno", KEEP, "GET", 302, "no", 0 },
	{ "401 is an answer like any other", "/401", "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 2\r\n\r\nno", KEEP, "GET", 401, "no", 0 },
	{ "a body shorter than its length", "/short", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", CLOSE, "GET", 200, "short", -ERR_ORIGIN_SHORT },
	{ "a chunked body without its end", "/chunk-cut", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", CLOSE, "GET", 200, "hello",
	  -ERR_ORIGIN_BROKEN },
	{ "a broken chunk", "/chunk-bad", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n", KEEP, "GET", 200, "hello", -ERR_ORIGIN_BROKEN },
	{ "no answer at all", "/nothing", "", CLOSE, "GET", 0, "", -ERR_ORIGIN_BROKEN },
	{ "a reset instead of an answer", "/reset", "", RESET, "GET", 0, "", -ERR_ORIGIN_BROKEN },
	{ "HTTP/0.9 is not HTTP", "/09", "just text\n", CLOSE, "GET", 0, "", -ERR_ORIGIN_PROTOCOL },
	{ "two lengths", "/two", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", KEEP, "GET", 0, "", -ERR_ORIGIN_PROTOCOL },
	{ "two lengths in one field", "/two-in-one", "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!", KEEP, "GET", 0, "", -ERR_ORIGIN_PROTOCOL },
	{ "the same length twice is one", "/twice", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", KEEP, "GET", 200, "hello", 0 },
	{ "a length that is no number", "/nan", "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello", CLOSE, "GET", 0, "", -ERR_ORIGIN_PROTOCOL },
	{ "a blank before the colon of a framing field", "/blank-colon", "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", CLOSE,
	  "GET", 0, "", -ERR_ORIGIN_PROTOCOL },
	{ "101 that nobody asked for", "/101", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", HOLD, "GET", 0, "", -ERR_ORIGIN_PROTOCOL },
	{ "silence before the head", "/silent", "", HOLD, "GET", 0, "", -ERR_ORIGIN_TIMEOUT },
	{ "silence in the head", "/silent-head", "HTTP/1.1 200 OK\r\nContent-", HOLD, "GET", 0, "", -ERR_ORIGIN_TIMEOUT },
	{ "silence in the body", "/silent-body", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", HOLD, "GET", 200, "half", -ERR_ORIGIN_TIMEOUT },
	{ "an unknown method", "/patch", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\npatch", KEEP, "PROPFIND", 200, "patch", 0 },
};

/* ---- the origin */

struct conn {
	int fd;
	SSL *ssl;
	char buf[16384];
	size_t n;
	int served;
};

static struct {
	int fd;
	unsigned port;
	_Atomic(SSL_CTX *) ctx;
	atomic_int connections, requests, threads, resumed;
	atomic_llong written;
	atomic_bool gate; /* /gate answers when it opens */
} origin;

static bool
conn_write(struct conn *c, const void *p, size_t n)
{
	const char *q = p;
	while (n > 0) {
		ssize_t r = c->ssl ? SSL_write(c->ssl, q, (int)n) : send(c->fd, q, n, MSG_NOSIGNAL);
		if (r <= 0)
			return false;
		q += r;
		n -= (size_t)r;
	}
	return true;
}

static ssize_t
conn_more(struct conn *c)
{
	if (c->n == sizeof c->buf)
		return -1;
	ssize_t r = c->ssl ? SSL_read(c->ssl, c->buf + c->n, (int)(sizeof c->buf - c->n)) : recv(c->fd, c->buf + c->n, sizeof c->buf - c->n, 0);
	if (r > 0)
		c->n += (size_t)r;
	return r;
}

static void
conn_drop(struct conn *c, size_t n)
{
	memmove(c->buf, c->buf + n, c->n - n);
	c->n -= n;
}

/* A request's body, counted; chunked ones are taken as they are until the last chunk. */
static size_t
conn_body(struct conn *c, const char *head)
{
	const char *cl = strcasestr(head, "\r\nContent-Length: ");
	size_t got = 0;
	if (cl) {
		size_t want = strtoul(cl + 18, NULL, 10);
		while (got < want) {
			if (c->n == 0 && conn_more(c) <= 0)
				break;
			size_t take = c->n < want - got ? c->n : want - got;
			conn_drop(c, take);
			got += take;
		}
	} else if (strcasestr(head, "\r\nTransfer-Encoding: chunked")) {
		for (;;) {
			char *nl;
			while (!(nl = memchr(c->buf, '\n', c->n)))
				if (conn_more(c) <= 0)
					return got;
			size_t size = strtoul(c->buf, NULL, 16);
			conn_drop(c, (size_t)(nl - c->buf) + 1);
			for (size_t left = size + 2; left > 0;) {
				if (c->n == 0 && conn_more(c) <= 0)
					return got;
				size_t take = c->n < left ? c->n : left;
				conn_drop(c, take);
				left -= take;
			}
			got += size;
			if (size == 0)
				return got;
		}
	}
	return got;
}

static void
nap_ms(int ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000L };
	nanosleep(&t, NULL);
}

static enum then
reply_text(struct conn *c, const char *text, enum then then)
{
	return conn_write(c, text, strlen(text)) ? then : CLOSE;
}

static enum then
play(struct conn *c, const char *path, const char *head)
{
	char line[256];
	for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
		if (strcmp(scripts[i].path, path) == 0)
			return reply_text(c, scripts[i].reply, scripts[i].then);
	}
	if (strncmp(path, "/dump", 5) == 0) { /* the head as it came */
		snprintf(line, sizeof line, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", strlen(head));
		return reply_text(c, line, KEEP) == KEEP ? reply_text(c, head, KEEP) : CLOSE;
	}
	if (strcmp(path, "/count") == 0) { /* the length of the body */
		size_t n = conn_body(c, head);
		char body[32];
		snprintf(body, sizeof body, "%zu", n);
		snprintf(line, sizeof line, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
		return reply_text(c, line, KEEP);
	}
	if (strcmp(path, "/continue") == 0) {
		if (!strcasestr(head, "\r\nExpect: 100-continue"))
			return reply_text(c, "HTTP/1.1 400 No Expect\r\nContent-Length: 0\r\n\r\n", KEEP);
		nap_ms(100);
		if (c->n > 0) /* nothing may come before the 100 */
			return reply_text(c, "HTTP/1.1 400 Too early\r\nContent-Length: 0\r\n\r\n", CLOSE);
		reply_text(c, "HTTP/1.1 100 Continue\r\n\r\n", KEEP);
		return play(c, "/count", head);
	}
	if (strcmp(path, "/417") == 0)
		return reply_text(c, "HTTP/1.1 417 No\r\nContent-Length: 4\r\n\r\nnope", CLOSE);
	if (strcmp(path, "/early") == 0) { /* an answer before the body has come, and none of it is read */
		reply_text(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig", KEEP);
		return HOLD;
	}
	if (strcmp(path, "/big") == 0) { /* 64 MiB: counts what could be written */
		static const char block[65536];
		reply_text(c, "HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n", KEEP);
		for (int i = 0; i < 1024; i++) {
			if (!conn_write(c, block, sizeof block))
				return CLOSE;
			atomic_fetch_add(&origin.written, sizeof block);
		}
		return KEEP;
	}
	if (strcmp(path, "/interim") == 0) {
		reply_text(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", KEEP);
		nap_ms(50);
		return reply_text(c, "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", KEEP);
	}
	if (strcmp(path, "/trailers") == 0)
		return reply_text(c, "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\nX-More: a\r\n\r\n", KEEP);
	if (strcmp(path, "/odd") == 0)
		return reply_text(c, "HTTP/1.1 200  Very  well\r\nX-Fold: a\r\n  b\r\nX-Space : c\r\nX-Empty:\r\nX Bad: d\r\nX-Ctl: e\x01" "f\r\nSet-Cookie: a=1\r\n"
			"Set-Cookie: b=2\r\nContent-Length: 0\r\n\r\n", KEEP);
	if (strcmp(path, "/events") == 0) { /* one event, and the next only when the first was read */
		reply_text(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n", KEEP);
		while (!atomic_load(&origin.gate))
			nap_ms(5);
		return reply_text(c, "data: 2\n\n", CLOSE);
	}
	if (strcmp(path, "/once") == 0) { /* the second request on a connection finds it closing */
		if (c->served > 1)
			return CLOSE;
		return reply_text(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nonce", KEEP);
	}
	if (strcmp(path, "/drip") == 0) { /* 20 bytes in half a second */
		reply_text(c, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n", KEEP);
		for (int i = 0; i < 20; i++) {
			nap_ms(25);
			if (reply_text(c, "x", KEEP) != KEEP)
				break;
		}
		return KEEP;
	}
	if (strncmp(path, "/slow", 5) == 0) {
		nap_ms(30);
		return reply_text(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow", KEEP);
	}
	return reply_text(c, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", KEEP);
}

static void *
conn_main(void *arg)
{
	struct conn *c = arg;
	enum then then = KEEP;
	SSL_CTX *ctx = atomic_load(&origin.ctx);
	if (ctx) {
		c->ssl = SSL_new(ctx);
		SSL_set_fd(c->ssl, c->fd);
		if (SSL_accept(c->ssl) != 1)
			then = CLOSE;
		else if (SSL_session_reused(c->ssl))
			atomic_fetch_add(&origin.resumed, 1);
	}
	if (then == KEEP && !c->ssl && conn_more(c) > 0 && c->buf[0] == 0x16)
		then = reply_text(c, "HTTP/1.1 400 No TLS here\r\n\r\n", CLOSE);
	while (then == KEEP) {
		char *end, head[16384], path[256] = "";
		while (!(end = memmem(c->buf, c->n, "\r\n\r\n", 4)))
			if (conn_more(c) <= 0)
				goto out;
		size_t n = (size_t)(end - c->buf) + 4;
		memcpy(head, c->buf, n);
		head[n] = '\0';
		conn_drop(c, n);
		sscanf(head, "%*s %255s", path);
		atomic_fetch_add(&origin.requests, 1);
		c->served++;
		then = play(c, path, head);
	}
	while (then == HOLD && conn_more(c) > 0)
		c->n = 0;
out:
	if (then == RESET) {
		struct linger l = { 1, 0 };
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
	}
	if (c->ssl) {
		SSL_shutdown(c->ssl);
		SSL_free(c->ssl);
	}
	ERR_clear_error();
	close(c->fd);
	free(c);
	atomic_fetch_sub(&origin.threads, 1);
	return NULL;
}

static void *
origin_main(void *arg)
{
	for (;;) {
		int fd = accept(origin.fd, NULL, NULL);
		if (fd < 0)
			return NULL;
		struct conn *c = xcalloc(1, sizeof *c);
		c->fd = fd;
		atomic_fetch_add(&origin.connections, 1);
		atomic_fetch_add(&origin.threads, 1);
		pthread_t t;
		pthread_create(&t, NULL, conn_main, c);
		pthread_detach(t);
	}
}

static int
listen_on_loopback(unsigned *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 512) != 0)
		die(1, "no port");
	getsockname(fd, (struct sockaddr *)&a, &len);
	*port = ntohs(a.sin_port);
	return fd;
}

/* ---- certificates */

static EVP_PKEY *ca_key;
static X509 *ca_cert;

static X509 *
make_cert(EVP_PKEY *key, const char *name, const char *san, long from, long to, X509 *issuer, EVP_PKEY *issuer_key)
{
	static long serial = 1;
	X509 *x = X509_new();
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
	X509_gmtime_adj(X509_getm_notBefore(x), from);
	X509_gmtime_adj(X509_getm_notAfter(x), to);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
	X509V3_CTX v3;
	X509V3_set_ctx(&v3, issuer ? issuer : x, x, NULL, NULL, 0);
	const struct { int nid; const char *value; } ext[] = {
		{ NID_basic_constraints, san ? "CA:FALSE" : "critical,CA:TRUE" }, { NID_subject_alt_name, san }, { NID_subject_key_identifier, "hash" },
	};
	for (size_t i = 0; i < sizeof ext / sizeof *ext; i++) {
		X509_EXTENSION *e = ext[i].value ? X509V3_EXT_conf_nid(NULL, &v3, ext[i].nid, ext[i].value) : NULL;
		if (e)
			X509_add_ext(x, e, -1);
		X509_EXTENSION_free(e);
	}
	X509_sign(x, issuer_key ? issuer_key : key, EVP_sha256());
	return x;
}

static SSL_CTX *
server_ctx(const char *san, long from, long to, bool known_issuer)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = known_issuer ? make_cert(key, "leaf", san, from, to, ca_cert, ca_key) : make_cert(key, "itself", san, from, to, NULL, NULL);
	SSL_CTX_use_certificate(ctx, cert);
	SSL_CTX_use_PrivateKey(ctx, key);
	X509_free(cert);
	EVP_PKEY_free(key);
	return ctx;
}

/* ---- the caller's side */

static struct httpc *engine;

struct reply {
	struct arena a;
	struct http_response head;
	int r;          /* of the head */
	int64_t end;    /* of the body */
	char body[4096];
	size_t n;
	bool reused;
	char problem[256];
};

static struct xfer *
start(struct httpc *e, const char *scheme, const char *host, const char *method, const char *path, struct headers *h, int64_t body, size_t buffer)
{
	char url[512];
	struct xfer *x = NULL;
	snprintf(url, sizeof url, "%s://%s:%u%s", scheme, host, origin.port, path);
	struct httpc_request q = { .method = str_c(method), .url = str_c(url), .headers = h, .body_length = body, .connect_timeout_ms = 5000,
		.read_timeout_ms = 400, .buffer = buffer };
	int r = httpc_begin(e, &q, &x);
	if (r < 0)
		printf("# begin: %s\n", err_name(r));
	return x;
}

static void
take_body(struct xfer *x, struct reply *o)
{
	const void *p;
	while ((o->end = httpc_read(x, &p, NEVER)) > 0) {
		size_t take = (size_t)o->end < sizeof o->body - o->n ? (size_t)o->end : sizeof o->body - o->n;
		memcpy(o->body + o->n, p, take);
		o->n += take;
	}
}

static void
take_reply(struct xfer **x, struct reply *o)
{
	memset(o, 0, sizeof *o);
	arena_init(&o->a);
	do
		o->r = httpc_head(*x, &o->a, &o->head, NEVER);
	while (o->r == 0 && o->head.status < 200);
	o->end = o->r;
	if (o->r == 0)
		take_body(*x, o);
	o->reused = httpc_reused(*x);
	snprintf(o->problem, sizeof o->problem, "%s", httpc_problem(*x));
	httpc_end(x);
}

static void
get(struct httpc *e, const char *scheme, const char *host, const char *path, struct reply *o)
{
	struct xfer *x = start(e, scheme, host, "GET", path, NULL, -1, 0);
	take_reply(&x, o);
}

static void
test_scripts(void)
{
	for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
		const struct script *s = &scripts[i];
		struct reply o;
		struct xfer *x = start(engine, "http", "127.0.0.1", s->method, s->path, NULL, -1, 0);
		take_reply(&x, &o);
		bool good = o.end == s->end && (s->status == 0 ? o.r == s->end : o.r == 0 && o.head.status == s->status) && o.n == strlen(s->body) &&
			memcmp(o.body, s->body, o.n) == 0 && (s->end == 0) == (o.problem[0] == '\0');
		if (!ok(good, "%s", s->promise))
			printf("# status %d, head %s, end %s, body \"%.*s\", problem \"%s\"\n", o.head.status, err_name(o.r), err_name((int)o.end), (int)o.n, o.body, o.problem);
		arena_fini(&o.a);
	}
}

static void
test_heads(void)
{
	struct reply o;
	get(engine, "http", "127.0.0.1", "/odd", &o);
	struct headers *h = &o.head.headers;
	is_int(o.r, 0, "an odd head is read");
	is_str(o.head.reason, STR("Very  well"), "the reason as it came");
	is_str(str_upto(headers_get(h, STR("X-Fold")), 1), STR("a"), "a folded field begins as it did");
	ok(str_ends(headers_get(h, STR("X-Fold")), STR(" b")) && !str_has(headers_get(h, STR("X-Fold")), STR("\n")), "and goes on in one line");
	is_str(headers_get(h, STR("X-Space")), STR("c"), "a blank before the colon is taken away");
	ok(headers_has(h, STR("X-Empty")) && headers_get(h, STR("X-Empty")).n == 0, "an empty field is there");
	is_int(h->n, 7, "a field with an impossible name is left out");
	is_str(headers_get(h, STR("X-Ctl")), STR("e f"), "a control in a value becomes SP");
	is_int(headers_count(h, STR("Set-Cookie")), 2, "repeated fields stay apart");
	arena_fini(&o.a);

	struct xfer *x = start(engine, "http", "127.0.0.1", "GET", "/interim", NULL, -1, 0);
	struct arena a;
	struct http_response head;
	arena_init(&a);
	is_int(httpc_head(x, &a, &head, NEVER) == 0 ? head.status : -1, 103, "the first 1xx head comes first");
	is_str(headers_get(&head.headers, STR("Link")), STR("</a>"), "with its fields");
	is_int(httpc_head(x, &a, &head, NEVER) == 0 ? head.status : -1, 102, "then the next");
	is_int(httpc_head(x, &a, &head, NEVER) == 0 ? head.status : -1, 200, "then the final one");
	is_int(httpc_head(x, &a, &head, NEVER), -ERR_END, "and that was the last");
	httpc_end(&x);

	x = start(engine, "http", "127.0.0.1", "GET", "/trailers", NULL, -1, 0);
	const void *p;
	is_int(httpc_head(x, &a, &head, NEVER), 0, "a head with trailers to come");
	while (httpc_read(x, &p, NEVER) > 0)
		;
	struct headers t;
	headers_init(&t, &a);
	httpc_trailers(x, &t);
	is_int(t.n, 2, "all trailers");
	is_str(headers_get(&t, STR("X-Sum")), STR("42"), "their values");
	ok(!headers_has(&head.headers, STR("X-Sum")), "apart from the head");
	httpc_end(&x);

	x = start(engine, "http", "127.0.0.1", "GET", "/silent", NULL, -1, 0);
	int64_t t0 = clock_mono();
	is_int(httpc_head(x, &a, &head, t0 + 50), -ERR_TIMEOUT, "the caller's own deadline");
	ok(clock_mono() - t0 < 300, "is kept");
	is_int(httpc_head(x, &a, &head, NEVER), -ERR_ORIGIN_TIMEOUT, "and the transfer goes on to the origin's");
	ok(clock_mono() - t0 >= 390 && clock_mono() - t0 < 1500, "which is kept too (%lld ms)", (long long)(clock_mono() - t0));
	httpc_end(&x);
	arena_fini(&a);
}

static void
test_request_text(void)
{
	struct arena a;
	struct headers h;
	struct reply o;
	char want[1024];
	arena_init(&a);
	headers_init(&h, &a);
	headers_add(&h, STR("host"), STR("elsewhere.test"));
	headers_add(&h, STR("X-B"), STR("1"));
	headers_add(&h, STR("x-empty"), STR(""));
	headers_add(&h, STR("User-Agent"), STR("me"));
	headers_add(&h, STR("Content-Length"), STR("77"));
	headers_add(&h, STR("X-B"), STR("2"));
	headers_add(&h, STR("Connection"), STR("keep-alive"));
	struct xfer *x = start(engine, "http", "127.0.0.1", "GET", "/dump/../a/./b%2f%7E?x=%20&?", &h, -1, 0);
	take_reply(&x, &o);
	is_str(((struct str){ o.body, o.n }), STR("GET /dump/../a/./b%2f%7E?x=%20&? HTTP/1.1\r\nHost: elsewhere.test\r\nX-B: 1\r\nx-empty:\r\nUser-Agent: me\r\nX-B: 2\r\n"
		"Connection: keep-alive\r\n\r\n"), "the caller's fields, all of them, in order, and nothing else; the path as it is");
	arena_fini(&o.a);

	headers_init(&h, &a);
	headers_add(&h, STR("Accept"), STR("text/x"));
	x = start(engine, "http", "127.0.0.1", "POST", "/dump?", &h, 0, 0);
	take_reply(&x, &o);
	snprintf(want, sizeof want, "POST /dump? HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nAccept: text/x\r\nContent-Length: 0\r\n\r\n", origin.port);
	is_str(((struct str){ o.body, o.n }), str_c(want), "Host when absent, the length of an empty body, an empty query kept");
	arena_fini(&o.a);

	x = start(engine, "http", "127.0.0.1", "OPTIONS", "*", NULL, -1, 0);
	take_reply(&x, &o);
	is_int(o.r == 0 ? o.head.status : -1, 404, "OPTIONS * goes out");
	arena_fini(&o.a);

	static const struct { const char *what, *method, *url, *name, *value; } bad[] = {
		{ "a line break in a value", "GET", "http://127.0.0.1/", "X", "a\r\nY: b" },
		{ "a line break in a name", "GET", "http://127.0.0.1/", "X\r\nY", "a" },
		{ "a blank in the URL", "GET", "http://127.0.0.1/a b", "X", "a" },
		{ "a fragment", "GET", "http://127.0.0.1/a#b", "X", "a" },
		{ "another scheme", "GET", "file:///etc/passwd", "X", "a" },
		{ "a method that is no token", "GE T", "http://127.0.0.1/", "X", "a" },
		{ "CONNECT", "CONNECT", "http://127.0.0.1/", "X", "a" },
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		headers_init(&h, &a);
		headers_add(&h, str_c(bad[i].name), str_c(bad[i].value));
		struct httpc_request q = { .method = str_c(bad[i].method), .url = str_c(bad[i].url), .headers = &h, .body_length = -1 };
		is_int(httpc_begin(engine, &q, &x), -ERR_BAD_REQUEST, "%s is refused", bad[i].what);
	}
	arena_fini(&a);
}

static void
test_reuse(void)
{
	struct reply o;
	get(engine, "http", "localhost", "/length", &o);
	is_int(o.end, 0, "localhost: IPv4 is found though IPv6 comes first");
	arena_fini(&o.a);
	int before = atomic_load(&origin.connections);
	for (int i = 0; i < 20; i++) {
		get(engine, "http", "localhost", "/length", &o);
		arena_fini(&o.a);
	}
	is_int(atomic_load(&origin.connections), before, "a kept connection is used again");
	ok(o.reused, "and that is said");

	struct httpc_options op = { .max_connections = 4, .max_per_host = 4, .idle_ms = 60000 };
	struct httpc *e = httpc_start(&op);
	get(e, "http", "127.0.0.1", "/once", &o);
	arena_fini(&o.a);
	get(e, "http", "127.0.0.1", "/once", &o);
	is_int(o.end, 0, "a GET on a kept connection that dies is sent again");
	arena_fini(&o.a);
	int requests = atomic_load(&origin.requests);
	struct xfer *x = start(e, "http", "127.0.0.1", "POST", "/once", NULL, 0, 0);
	take_reply(&x, &o);
	is_int(o.end, -ERR_ORIGIN_BROKEN, "a POST is not");
	ok(o.reused, "and the caller learns that the connection was a kept one");
	nap_ms(50);
	is_int(atomic_load(&origin.requests), requests + 1, "the origin saw it once");
	arena_fini(&o.a);
	httpc_stop(&e);
}

static int
send_all(struct xfer *x, size_t total, size_t piece)
{
	static const char zeros[100000];
	int r = 0;
	for (size_t sent = 0; sent < total && r == 0; sent += piece)
		r = httpc_send(x, zeros, piece < total - sent ? piece : total - sent, clock_mono() + 5000);
	return r;
}

static void
test_upload(void)
{
	struct reply o;
	struct xfer *x;
	static const struct { const char *what, *method; int64_t length; size_t total, piece; } rows[] = {
		{ "a small body", "POST", 5, 5, 5 },
		{ "a body larger than all buffers", "PUT", 3000000, 3000000, 100000 },
		{ "a chunked body", "POST", -2, 1234567, 4567 },
		{ "an empty chunked body", "POST", -2, 0, 1 },
		{ "a GET with a body", "GET", 10, 10, 3 },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		x = start(engine, "http", "127.0.0.1", rows[i].method, "/count", NULL, rows[i].length, 0);
		int r = send_all(x, rows[i].total, rows[i].piece);
		httpc_finish_body(x);
		take_reply(&x, &o);
		char want[32];
		snprintf(want, sizeof want, "%zu", rows[i].total);
		ok(r == 0 && o.end == 0 && o.n == strlen(want) && memcmp(o.body, want, o.n) == 0, "%s arrives whole", rows[i].what);
		arena_fini(&o.a);
	}
	x = start(engine, "http", "127.0.0.1", "POST", "/count", NULL, 10, 0);
	is_int(httpc_send(x, "0123456789x", 11, NEVER), -ERR_BAD_REQUEST, "more than the announced length is not taken");
	httpc_send(x, "01234", 5, NEVER);
	httpc_finish_body(x);
	take_reply(&x, &o);
	is_int(o.end, -ERR_BAD_REQUEST, "less than the announced length ends the transfer");
	arena_fini(&o.a);

	x = start(engine, "http", "127.0.0.1", "POST", "/early", NULL, 100000000, 0);
	int r = send_all(x, 100000000, 50000);
	is_int(r, -ERR_GONE, "an early error answer stops the body");
	take_reply(&x, &o);
	ok(o.r == 0 && o.head.status == 413 && o.end == 0 && o.n == 3, "and is there to be read");
	arena_fini(&o.a);

	x = start(engine, "http", "127.0.0.1", "POST", "/early", NULL, -2, 0);
	nap_ms(20);
	take_reply(&x, &o);
	ok(o.r == 0 && o.head.status == 413 && o.end == 0 && o.n == 3, "also when the origin did not wait for the first byte");
	arena_fini(&o.a);

	x = start(engine, "http", "127.0.0.1", "POST", "/silent", NULL, 100000000, 0);
	r = send_all(x, 100000000, 50000);
	ok(r == -ERR_GONE || r == -ERR_TIMEOUT || r == 0 || r == -ERR_ORIGIN_TIMEOUT, "an origin that reads on and on");
	httpc_end(&x);

	char url[128];
	for (int i = 0; i < 2; i++) {
		snprintf(url, sizeof url, "http://127.0.0.1:%u/%s", origin.port, i ? "417" : "continue");
		struct httpc_request q = { .method = STR("POST"), .url = str_c(url), .body_length = 5, .expect_continue = true, .read_timeout_ms = 2000 };
		if (httpc_begin(engine, &q, &x) == 0) {
			httpc_send(x, "hello", 5, NEVER);
			httpc_finish_body(x);
			take_reply(&x, &o);
			if (i == 0)
				ok(o.r == 0 && o.head.status == 200 && o.n == 1 && o.body[0] == '5', "the body waits for 100 (Continue)");
			else
				ok(o.r == 0 && o.head.status == 417 && o.end == 0 && o.n == 4, "417 is an answer, not a second request");
			arena_fini(&o.a);
		}
	}
	snprintf(url, sizeof url, "http://127.0.0.1:%u/count", origin.port);
	struct httpc_request q = { .method = STR("PUT"), .url = str_c(url), .body_length = 5, .expect_continue = true };
	int64_t t0 = clock_mono();
	if (httpc_begin(engine, &q, &x) == 0) {
		httpc_send(x, "hello", 5, NEVER);
		httpc_finish_body(x);
		take_reply(&x, &o);
		ok(o.end == 0 && o.body[0] == '5' && clock_mono() - t0 >= 900, "and goes after a second when none comes");
		arena_fini(&o.a);
	}
}

static void
test_back_pressure(void)
{
	struct arena a;
	struct http_response head;
	const void *p;
	arena_init(&a);
	atomic_store(&origin.written, 0);
	struct xfer *x = start(engine, "http", "127.0.0.1", "GET", "/big", NULL, -1, 65536);
	is_int(httpc_head(x, &a, &head, NEVER), 0, "a large body begins");
	long long before = -1, now;
	for (int i = 0; i < 50 && (now = atomic_load(&origin.written)) != before; i++) {
		before = now;
		nap_ms(100);
	}
	ok(before < 20 << 20, "the origin is blocked when nobody reads (after %lld KiB)", before >> 10);
	nap_ms(600);
	int64_t n, total = 0, largest = 0;
	while ((n = httpc_read(x, &p, NEVER)) > 0) {
		total += n;
		largest = n > largest ? n : largest;
	}
	is_int(n, 0, "the time in which nobody read does not count as the origin's silence");
	is_int(total, 64 << 20, "and the body comes whole");
	ok(largest > 16384, "in large pieces (up to %lld)", (long long)largest);
	httpc_end(&x);

	atomic_store(&origin.gate, false);
	x = start(engine, "http", "127.0.0.1", "GET", "/events", NULL, -1, 0);
	httpc_head(x, &a, &head, NEVER);
	n = httpc_read(x, &p, NEVER);
	is_str(((struct str){ p, n > 0 ? (size_t)n : 0 }), STR("data: 1\n\n"), "an event is handed out at once");
	is_int(httpc_read(x, &p, 0), -ERR_AGAIN, "and then there is nothing yet");
	atomic_store(&origin.gate, true);
	n = httpc_read(x, &p, NEVER);
	is_str(((struct str){ p, n > 0 ? (size_t)n : 0 }), STR("data: 2\n\n"), "until the next");
	is_int(httpc_read(x, &p, NEVER), 0, "and the end");
	httpc_end(&x);
	arena_fini(&a);
}

static atomic_int crowd_good;
static void *
crowd_main(void *arg)
{
	for (int i = 0; i < 5; i++) {
		struct reply o;
		char path[32];
		snprintf(path, sizeof path, i % 2 ? "/slow%d" : "/chunked", i);
		struct xfer *x = start(engine, "http", "127.0.0.1", "GET", path, NULL, -1, 0);
		take_reply(&x, &o);
		if (o.end == 0 && o.head.status == 200 && o.n == (i % 2 ? 4 : 11))
			atomic_fetch_add(&crowd_good, 1);
		arena_fini(&o.a);
	}
	return NULL;
}

static void
test_crowd(void)
{
	enum { N = 200 };
	pthread_t t[N];
	for (int i = 0; i < N; i++)
		pthread_create(&t[i], NULL, crowd_main, NULL);
	for (int i = 0; i < N; i++)
		pthread_join(t[i], NULL);
	is_int(atomic_load(&crowd_good), N * 5, "1000 transfers of 200 threads");
}

static void
test_cancel(void)
{
	static const char *const paths[] = { "/length", "/silent", "/silent-head", "/silent-body", "/big", "/close", "/slow", "/count" };
	struct arena a;
	struct http_response head;
	const void *p;
	arena_init(&a);
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		for (int stage = 0; stage < 6; stage++) {
			bool upload = strcmp(paths[i], "/count") == 0;
			struct xfer *x = start(engine, "http", "127.0.0.1", upload ? "POST" : "GET", paths[i], NULL, upload ? -2 : -1, 32768);
			if (stage > 0)
				nap_ms(stage);
			if (upload && stage > 1)
				httpc_send(x, "hello", 5, NEVER);
			if (stage > 2)
				httpc_head(x, &a, &head, clock_mono() + 20);
			for (int k = 0; stage > 3 && k < stage; k++)
				httpc_read(x, &p, clock_mono() + 5);
			httpc_end(&x);
		}
	}
	ok(1, "a transfer can be ended at any time");
	struct reply o;
	get(engine, "http", "127.0.0.1", "/length", &o);
	is_int(o.end, 0, "and the engine goes on");
	arena_fini(&o.a);

	struct httpc_options op = { .max_connections = 4, .idle_ms = 60000 };
	struct httpc *e = httpc_start(&op);
	struct xfer *held = start(e, "http", "127.0.0.1", "GET", "/silent", NULL, -1, 0), *never = start(e, "http", "127.0.0.1", "GET", "/big", NULL, -1, 0);
	nap_ms(20);
	httpc_stop(&e);
	is_int(httpc_head(held, &a, &head, NEVER), -ERR_GONE, "a stop ends what is under way");
	httpc_end(&held);
	httpc_end(&never);
	arena_fini(&a);
}

static void
test_failures(void)
{
	struct reply o;
	unsigned port;
	char url[128];
	int fd = listen_on_loopback(&port);
	close(fd);
	snprintf(url, sizeof url, "http://127.0.0.1:%u/", port);
	struct httpc_request q = { .method = STR("GET"), .url = str_c(url), .body_length = -1, .connect_timeout_ms = 2000 };
	struct xfer *x;
	if (httpc_begin(engine, &q, &x) == 0) {
		take_reply(&x, &o);
		ok(o.r == -ERR_ORIGIN_CONNECT && o.problem[0], "nobody listens: %s", o.problem);
		arena_fini(&o.a);
	}
	q.url = STR("http://no-such-name.invalid/");
	if (httpc_begin(engine, &q, &x) == 0) {
		take_reply(&x, &o);
		ok(o.r == -ERR_ORIGIN_RESOLVE || o.r == -ERR_ORIGIN_CONNECT, "a name that does not resolve: %s", o.problem);
		is_int(o.r, -ERR_ORIGIN_RESOLVE, "is that error");
		arena_fini(&o.a);
	}
	struct httpc_options op = { .max_connections = 1, .max_per_host = 1, .idle_ms = 60000 };
	struct httpc *e = httpc_start(&op);
	struct xfer *first = start(e, "http", "127.0.0.1", "GET", "/slow", NULL, -1, 0), *second = start(e, "http", "127.0.0.1", "GET", "/slow", NULL, -1, 0);
	take_reply(&second, &o);
	is_int(o.end, 0, "a request beyond the connections waits for its turn");
	arena_fini(&o.a);
	take_reply(&first, &o);
	arena_fini(&o.a);
	httpc_stop(&e);
}

static struct xfer *
ask(struct httpc *e, const char *host, const char *path, bool bulk)
{
	char url[128];
	struct xfer *x = NULL;
	snprintf(url, sizeof url, "http://%s:%u%s", host, origin.port, path);
	struct httpc_request q = { .method = STR("GET"), .url = str_c(url), .body_length = -1, .connect_timeout_ms = 5000, .read_timeout_ms = 20000, .bulk = bulk };
	int r = httpc_begin(e, &q, &x);
	if (r < 0)
		printf("# begin: %s\n", err_name(r));
	return x;
}

static int
threads_reach(int n, int64_t ms)
{
	for (int64_t end = clock_mono() + ms; atomic_load(&origin.threads) < n && clock_mono() < end;)
		nap_ms(5);
	return atomic_load(&origin.threads);
}

/* The promises of --upstream-connections: no origin, nor nine of them, keeps the others out; what is small goes before what is large. */
static void
test_turns(void)
{
	enum { TARPITS = 9, EACH = 40 };
	struct xfer *held[TARPITS][EACH], *x;
	char host[32];
	struct reply o;
	struct httpc_options op = { .max_connections = 128, .max_per_host = 16, .fair_share = true, .idle_ms = 60000 };
	struct httpc *e = httpc_start(&op);
	int before = atomic_load(&origin.threads);
	for (int i = 0; i < TARPITS; i++) {
		snprintf(host, sizeof host, "h%d.localhost", i);
		for (int k = 0; k < EACH; k++)
			held[i][k] = ask(e, host, "/silent", false);
	}
	is_int(threads_reach(before + 7 * 16 + 8 + 4, 5000) - before, 7 * 16 + 8 + 4, "nine origins that never answer get no more connections than they leave");
	int64_t t0 = clock_mono();
	for (int i = 0; i < 5; i++) {
		x = ask(e, "127.0.0.1", "/length", false);
		take_reply(&x, &o);
		is_int(o.end, 0, "another one is asked at once");
		arena_fini(&o.a);
	}
	ok(clock_mono() - t0 < 2000, "… in %lld ms", (long long)(clock_mono() - t0));
	for (int k = 0; k < EACH; k++)
		httpc_end(&held[TARPITS - 1][k]); /* those that wait, too */
	x = ask(e, "h0.localhost", "/length", false);
	for (int k = 0; k < EACH; k++)
		httpc_end(&held[0][k]);
	take_reply(&x, &o);
	is_int(o.end, 0, "who waited behind those that were given up has his turn");
	arena_fini(&o.a);
	for (int i = 1; i < TARPITS - 1; i++)
		for (int k = 0; k < EACH; k++)
			httpc_end(&held[i][k]);
	for (int i = 0; i < 3; i++) {
		snprintf(host, sizeof host, "h%d.localhost", i);
		x = ask(e, host, "/length", false);
		take_reply(&x, &o);
		is_int(o.end, 0, "an origin is asked again when what it held is given up");
		arena_fini(&o.a);
	}
	httpc_stop(&e);

	op = (struct httpc_options){ .max_connections = 64, .max_per_host = 4, .fair_share = true, .idle_ms = 60000 };
	e = httpc_start(&op);
	for (int k = 0; k < 10; k++)
		held[0][k] = ask(e, "127.0.0.1", "/silent", true);
	x = ask(e, "127.0.0.1", "/length", false);
	take_reply(&x, &o);
	is_int(o.end, 0, "parts of a large download leave room for others at the same origin");
	arena_fini(&o.a);
	held[1][0] = ask(e, "127.0.0.1", "/silent", false);
	held[1][1] = ask(e, "127.0.0.1", "/silent", false);
	struct xfer *part = ask(e, "127.0.0.1", "/slow", true), *small = ask(e, "127.0.0.1", "/slow", false);
	for (int k = 1; k < 10; k++)
		httpc_end(&held[0][k]);
	httpc_end(&held[1][0]);
	t0 = clock_mono();
	take_reply(&small, &o);
	is_int(o.end, 0, "what is small goes before them");
	arena_fini(&o.a);
	httpc_end(&held[0][0]);
	httpc_end(&held[1][1]);
	take_reply(&part, &o);
	is_int(o.end, 0, "… and they follow");
	arena_fini(&o.a);
	httpc_stop(&e);
}

static void
test_limits(void)
{
	static const struct { const char *path; int64_t total, speed, stretch; int r, end; const char *why, *problem; } rows[] = {
		{ "/drip", 0, 0, 0, 0, 0, "a trickle, without limits", "" },
		{ "/drip", 200, 0, 0, 0, -ERR_ORIGIN_TIMEOUT, "a total limit ends it, though bytes come all the time", "longer than it may in all" },
		{ "/drip", 20000, 0, 0, 0, 0, "… one that is long enough does not", "" },
		{ "/silent", 150, 0, 0, -ERR_ORIGIN_TIMEOUT, -ERR_ORIGIN_TIMEOUT, "a total limit, without an answer", "longer than it may in all" },
		{ "/drip", 0, 1000, 200, 0, -ERR_ORIGIN_TIMEOUT, "a low-speed limit ends it", "more slowly" },
		{ "/drip", 0, 5, 200, 0, 0, "… one that is low enough does not", "" },
		{ "/length", 0, 1000000, 200, 0, 0, "nor is there one for what is shorter than its stretch", "" },
		{ "/head", 0, 1000000, 200, 0, 0, "or has no body", "" },
	};
	struct reply o;
	struct xfer *x;
	char url[128];
	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
		snprintf(url, sizeof url, "http://127.0.0.1:%u%s", origin.port, rows[i].path);
		struct httpc_request q = { .method = i == 7 ? STR("HEAD") : STR("GET"), .url = str_c(url), .body_length = -1, .connect_timeout_ms = 5000,
		                           .total_timeout_ms = rows[i].total, .low_speed = rows[i].speed, .low_speed_ms = rows[i].stretch };
		if (httpc_begin(engine, &q, &x) < 0)
			continue;
		take_reply(&x, &o);
		is_int(o.r, rows[i].r, "%s", rows[i].why);
		is_int(o.end, rows[i].end, "… its end");
		ok(!*rows[i].problem ? !o.problem[0] : strstr(o.problem, rows[i].problem) != NULL, "… in words: %s", o.problem);
		arena_fini(&o.a);
	}
	snprintf(url, sizeof url, "http://127.0.0.1:%u/count", origin.port);
	struct httpc_request upload = { .method = STR("POST"), .url = str_c(url), .body_length = 10, .connect_timeout_ms = 5000, .total_timeout_ms = 200 };
	if (httpc_begin(engine, &upload, &x) == 0) {
		take_reply(&x, &o);
		is_int(o.r, -ERR_BUSY, "who waits for the rest of a request is not slow, also by the total limit: %s", o.problem);
		arena_fini(&o.a);
	}
	snprintf(url, sizeof url, "http://127.0.0.1:%u/big", origin.port);
	struct httpc_request q = { .method = STR("GET"), .url = str_c(url), .body_length = -1, .low_speed = 100000, .low_speed_ms = 200, .buffer = 65536 };
	if (httpc_begin(engine, &q, &x) == 0) {
		nap_ms(700);
		take_reply(&x, &o);
		is_int(o.end, 0, "what the caller holds up is not the origin's slowness: %s", o.problem);
		arena_fini(&o.a);
	}
}

/* What we have too much of does not speak against the origin: it would be banned for all (server/failover.c). */
static void
test_exhausted(void)
{
	struct reply o;
	struct rlimit all, none;
	char problem[256];
	SSL *ssl = NULL;
	int fd = -1;
	getrlimit(RLIMIT_NOFILE, &all);
	none = (struct rlimit){ .rlim_cur = 3, .rlim_max = all.rlim_max };
	struct httpc_request q = { .method = STR("GET"), .url = STR("http://127.0.0.1:9/"), .body_length = -1, .connect_timeout_ms = 5000, .fresh_connection = true };
	struct xfer *x;
	setrlimit(RLIMIT_NOFILE, &none);
	int began = httpc_begin(engine, &q, &x);
	if (began == 0)
		take_reply(&x, &o);
	int dialled = httpc_connect(engine, &anywhere, STR("127.0.0.1"), 9, false, clock_mono() + 2000, &fd, &ssl, problem);
	setrlimit(RLIMIT_NOFILE, &all);
	is_int(began == 0 ? o.r : began, -ERR_BUSY, "without a descriptor it is not the origin that cannot be connected to: %s", o.problem);
	is_int(dialled, -ERR_BUSY, "… for tunnels neither: %s", problem);
	if (began == 0)
		arena_fini(&o.a);
}

static void
test_idle(void)
{
	struct reply o;
	struct httpc_options op = { .max_connections = 8, .idle_ms = 1000 };
	struct httpc *e = httpc_start(&op);
	int before = atomic_load(&origin.threads);
	get(e, "http", "127.0.0.1", "/length", &o);
	arena_fini(&o.a);
	is_int(atomic_load(&origin.threads), before + 1, "a connection is kept");
	int64_t t0 = clock_mono();
	while (atomic_load(&origin.threads) > before && clock_mono() < t0 + 6000)
		nap_ms(50);
	is_int(atomic_load(&origin.threads), before, "and closed when it has been idle for long enough (%lld ms)", (long long)(clock_mono() - t0));
	httpc_stop(&e);
	op.idle_ms = 600000;
	e = httpc_start(&op);
	get(e, "http", "127.0.0.1", "/length", &o);
	arena_fini(&o.a);
	nap_ms(2100);
	httpc_kill_idle(e);
	t0 = clock_mono();
	while (atomic_load(&origin.threads) > before && clock_mono() < t0 + 3000)
		nap_ms(20);
	is_int(atomic_load(&origin.threads), before, "or when it is told to");
	httpc_stop(&e);
}

static void
test_tls(void)
{
	char ca_file[] = "/tmp/common_httpc_ca_XXXXXX";
	int fd = mkstemp(ca_file);
	ca_key = EVP_EC_gen("P-256");
	ca_cert = make_cert(ca_key, "test CA", NULL, -3600, 86400, NULL, NULL);
	BIO *b = BIO_new_fd(fd, BIO_CLOSE);
	PEM_write_bio_X509(b, ca_cert);
	BIO_free(b);
	struct httpc_options op = { .ca_file = ca_file, .max_connections = 8, .idle_ms = 60000, .http2 = true };

	static const struct { const char *what, *host, *san; long from, to; bool known, skip; int want; const char *words; } rows[] = {
		{ "a good certificate for a name", "localhost", "DNS:localhost", -3600, 3600, true, false, 0, "" },
		{ "a good certificate for an address", "127.0.0.1", "IP:127.0.0.1", -3600, 3600, true, false, 0, "" },
		{ "an expired one", "localhost", "DNS:localhost", -7200, -3600, true, false, -ERR_ORIGIN_CERT, "expired" },
		{ "one that is not yet valid", "localhost", "DNS:localhost", 3600, 7200, true, false, -ERR_ORIGIN_CERT, "not yet valid" },
		{ "one for another name", "localhost", "DNS:elsewhere.test", -3600, 3600, true, false, -ERR_ORIGIN_CERT, "match" },
		{ "one for another address", "127.0.0.1", "DNS:localhost,IP:127.0.0.2", -3600, 3600, true, false, -ERR_ORIGIN_CERT, "match" },
		{ "a self-signed one", "localhost", "DNS:localhost", -3600, 3600, false, false, -ERR_ORIGIN_CERT, "self-signed" },
		{ "any, when told to skip", "localhost", "DNS:elsewhere.test", -7200, -3600, false, true, 0, "" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct reply o;
		SSL_CTX *ctx = server_ctx(rows[i].san, rows[i].from, rows[i].to, rows[i].known);
		atomic_store(&origin.ctx, ctx);
		op.tls_skip_verify = rows[i].skip;
		struct httpc *e = httpc_start(&op);
		get(e, "https", rows[i].host, "/length", &o);
		ok(o.end == rows[i].want && strstr(o.problem, rows[i].words), "%s: %s", rows[i].what, o.problem);
		if (o.end != rows[i].want)
			printf("# got %s\n", err_name((int)o.end));
		arena_fini(&o.a);
		struct ssl_st *ssl;
		char problem[256];
		int r = httpc_connect(e, &anywhere, str_c(rows[i].host), origin.port, true, clock_mono() + 3000, &fd, &ssl, problem);
		ok(r == rows[i].want && strstr(problem, rows[i].words), "the same by httpc_connect: %s", problem);
		if (r == 0) {
			SSL_free(ssl);
			close(fd);
		}
		httpc_stop(&e);
		while (atomic_load(&origin.threads) > 0)
			nap_ms(5);
		SSL_CTX_free(ctx);
	}
	/* sessions */
	struct reply o;
	SSL_CTX *ctx = server_ctx("DNS:localhost", -3600, 3600, true);
	atomic_store(&origin.ctx, ctx);
	op.tls_skip_verify = false;
	struct httpc *e = httpc_start(&op);
	atomic_store(&origin.resumed, 0);
	get(e, "https", "localhost", "/long", &o);
	arena_fini(&o.a);
	get(e, "https", "localhost", "/chunked", &o);
	is_int(o.n, 11, "TLS again after a connection that was not kept");
	ok(!o.reused && atomic_load(&origin.resumed) == 1, "resumes the session, though it is another easy handle's or none");
	arena_fini(&o.a);
	get(e, "https", "localhost", "/close", &o);
	ok(o.end == 0 && o.n == 13, "a body that ends with TLS's own end is complete");
	arena_fini(&o.a);
	httpc_stop(&e);
	/* a server that does not speak TLS */
	atomic_store(&origin.ctx, NULL);
	while (atomic_load(&origin.threads) > 0)
		nap_ms(5);
	SSL_CTX_free(ctx);
	e = httpc_start(&op);
	unsigned port;
	int listener = listen_on_loopback(&port);
	char url[64], problem[256];
	struct ssl_st *ssl;
	snprintf(url, sizeof url, "https://127.0.0.1:%u/", port);
	struct httpc_request q = { .method = STR("GET"), .url = str_c(url), .body_length = -1, .connect_timeout_ms = 300 };
	struct xfer *x;
	if (httpc_begin(e, &q, &x) == 0) {
		take_reply(&x, &o);
		is_int(o.r, -ERR_ORIGIN_CONNECT, "a handshake that never ends is cut by the time to connect");
		arena_fini(&o.a);
	}
	is_int(httpc_connect(e, &anywhere, STR("127.0.0.1"), port, true, clock_mono() + 200, &fd, &ssl, problem), -ERR_ORIGIN_CONNECT, "by httpc_connect too");
	close(listener);
	is_int(httpc_connect(e, &anywhere, STR("127.0.0.1"), port, false, clock_mono() + 200, &fd, NULL, problem), -ERR_ORIGIN_CONNECT, "nobody listens: %s", problem);
	is_int(httpc_connect(e, &anywhere, STR("no-such-name.invalid"), port, false, clock_mono() + 5000, &fd, NULL, problem), -ERR_ORIGIN_RESOLVE, "no such name: %s", problem);
	is_int(httpc_connect(e, &anywhere, STR("localhost"), origin.port, false, clock_mono() + 2000, &fd, NULL, problem), 0, "localhost by either family");
	fd_close(&fd);
	snprintf(url, sizeof url, "https://127.0.0.1:%u/length", origin.port);
	q.connect_timeout_ms = 3000;
	if (httpc_begin(e, &q, &x) == 0) {
		take_reply(&x, &o);
		ok(o.r == -ERR_ORIGIN_TLS && o.problem[0], "a server that speaks no TLS: %s: %s", err_name(o.r), o.problem);
		arena_fini(&o.a);
	}
	httpc_stop(&e);
	unlink(ca_file);
	X509_free(ca_cert);
	EVP_PKEY_free(ca_key);
}

/* Several transfers read by one thread: it is called when there is something to read, each time that it asked to be. */
static _Atomic unsigned calls;
static void
on_ready(void *arg)
{
	atomic_fetch_add((_Atomic unsigned *)arg, 1);
}

static void
test_when_read(void)
{
	struct xfer *x = start(engine, "http", "127.0.0.1", "GET", "/drip", NULL, -1, 0); /* 20 bytes in half a second */
	struct arena a;
	struct http_response resp;
	const void *p;
	int64_t n = -ERR_AGAIN, got = 0, until = clock_mono() + 20000;
	unsigned asked = 0, at_once = 0;
	bool head = false;
	arena_init(&a);
	while (n != 0 && clock_mono() < until) {
		unsigned before = atomic_load(&calls);
		if (!head)
			head = httpc_head(x, &a, &resp, 0) == 0;
		while (head && (n = httpc_read(x, &p, 0)) > 0)
			got += n;
		if (n == 0)
			break;
		if (httpc_when_read(x, on_ready, &calls)) {
			at_once++;
			continue;
		}
		asked++;
		while (atomic_load(&calls) == before && clock_mono() < until)
			nap_ms(1);
	}
	is_int(got, 20, "a body read without waiting in httpc: whole");
	ok(asked >= 5 && atomic_load(&calls) >= asked - 1, "... a call for each time that nothing was there (%u asked, %u called, %u at once)", asked, atomic_load(&calls), at_once);
	ok(httpc_when_read(x, on_ready, &calls), "... at the end nothing has to be waited for");
	httpc_end(&x);
	arena_fini(&a);
}

int
main(void)
{
	signal(SIGPIPE, SIG_IGN);
	pthread_t t;
	origin.fd = listen_on_loopback(&origin.port);
	pthread_create(&t, NULL, origin_main, NULL);
	struct httpc_options op = { .max_connections = 300, .max_per_host = 300, .idle_ms = 60000 };
	engine = httpc_start(&op);
	test_scripts();
	test_heads();
	test_request_text();
	test_reuse();
	test_upload();
	test_back_pressure();
	test_crowd();
	test_cancel();
	test_failures();
	test_turns();
	test_limits();
	test_exhausted();
	test_when_read();
	httpc_stop(&engine);
	ok(engine == NULL, "the engine stops");
	test_idle();
	test_tls();
	shutdown(origin.fd, SHUT_RDWR);
	pthread_join(t, NULL);
	close(origin.fd);
	for (int i = 0; atomic_load(&origin.threads) > 0 && i < 1000; i++)
		nap_ms(5);
	is_int(atomic_load(&origin.threads), 0, "no connection is left");
	return done_testing();
}
