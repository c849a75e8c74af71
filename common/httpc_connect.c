/* Trust in origins, and connections outside the pool: tunnels and upgrades, each on its caller's thread. */
#include "httpc_impl.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "fd.h"
#include "log.h"

#define PROBLEM 256
#define ADDRESSES 8       /* of a name that are tried */
#define STAGGER_MS 250    /* before the next address is tried beside the last (RFC 8305 5) */
#define PROXY_HEAD 16384  /* of an answer to CONNECT */

static const unsigned char alpn_http11[] = "\x08http/1.1";

/* One store for libcurl's connections and our own. The system's folder of certificates is looked into by hash, when a certificate is
 * needed, so this reads next to nothing. */
void
trust_init(struct httpc *e)
{
	if (!(e->store = X509_STORE_new()) || !(e->ctx = SSL_CTX_new(TLS_client_method())))
		die(1, "OpenSSL cannot be started");
	X509_STORE_set_default_paths(e->store);
	if (e->ca_file && X509_STORE_load_locations(e->store, e->ca_file, NULL) != 1)
		die(1, "%s: no certificates can be read from it", e->ca_file);
	ERR_clear_error();
	X509_STORE_set_flags(e->store, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN); /* as libcurl does */
	SSL_CTX_set1_cert_store(e->ctx, e->store);
	trust_demands(e, e->ctx, NULL);
	SSL_CTX_set_mode(e->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_verify(e->ctx, e->o.tls_skip_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_alpn_protos(e->ctx, alpn_http11, sizeof alpn_http11 - 1);
}

/* ---- names: getaddrinfo knows no deadline, so it runs on a thread of its own and is left behind when it takes too long */

struct lookup {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done, abandoned;
	int rc;
	struct addrinfo *found;
	char port[8];
	char host[256];
};

static void
lookup_free(struct lookup *l)
{
	if (l->found)
		freeaddrinfo(l->found);
	pthread_mutex_destroy(&l->lock);
	pthread_cond_destroy(&l->cond);
	free(l);
}

static void *
lookup_main(void *arg)
{
	struct lookup *l = arg;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG }, *found = NULL;
	int rc = getaddrinfo(l->host, l->port, &hints, &found);
	pthread_mutex_lock(&l->lock);
	l->rc = rc;
	l->found = rc == 0 ? found : NULL;
	l->done = true;
	bool mine = l->abandoned;
	pthread_cond_signal(&l->cond);
	pthread_mutex_unlock(&l->lock);
	if (mine)
		lookup_free(l);
	return NULL;
}

struct addresses {
	struct sockaddr_storage a[ADDRESSES];
	socklen_t len[ADDRESSES];
	int n;
};

/* Those that the client may not reach are left out. -ERR_DESTINATION: all of them. */
static int
leave_out_refused(struct addresses *a, const struct destinations *to, char *problem)
{
	const char *no = NULL;
	int n = a->n;
	a->n = 0;
	for (int i = 0; i < n; i++) {
		const char *why = destination_refused_sockaddr(to, (const struct sockaddr *)&a->a[i]);
		if (why) {
			no = why;
			continue;
		}
		a->a[a->n] = a->a[i];
		a->len[a->n++] = a->len[i];
	}
	if (a->n > 0 || !no)
		return 0;
	snprintf(problem, PROBLEM, "%s", httpc_destination_problem(no));
	return -ERR_DESTINATION;
}

static bool
is_localhost(const char *host)
{
	struct str s = str_c(host);
	return str_caseeq(s, STR("localhost")) || str_caseends(s, STR(".localhost")); /* RFC 6761 6.3, as libcurl does */
}

static void
take_addresses(struct addresses *out, const struct addrinfo *ai)
{
	for (; ai && out->n < ADDRESSES; ai = ai->ai_next) {
		memcpy(&out->a[out->n], ai->ai_addr, ai->ai_addrlen);
		out->len[out->n++] = ai->ai_addrlen;
	}
}

static int
resolve(const char *host, unsigned port, int64_t deadline, struct addresses *out, char *problem)
{
	char service[8];
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV }, *found = NULL;
	static const char *const loopback[] = { "::1", "127.0.0.1" };
	snprintf(service, sizeof service, "%u", port);
	out->n = 0;
	if (is_localhost(host)) {
		for (int i = 0; i < 2; i++) {
			if (getaddrinfo(loopback[i], service, &hints, &found) == 0) {
				take_addresses(out, found);
				freeaddrinfo(found);
			}
		}
		return 0;
	}
	if (getaddrinfo(host, service, &hints, &found) == 0) {
		take_addresses(out, found);
		freeaddrinfo(found);
		return 0;
	}
	struct lookup *l = xcalloc(1, sizeof *l);
	pthread_condattr_t ca;
	pthread_condattr_init(&ca);
	pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->cond, &ca);
	pthread_condattr_destroy(&ca);
	snprintf(l->host, sizeof l->host, "%s", host);
	snprintf(l->port, sizeof l->port, "%u", port);
	pthread_t t;
	if (pthread_create(&t, NULL, lookup_main, l) != 0) {
		lookup_free(l);
		snprintf(problem, PROBLEM, "no thread for a name lookup");
		return -ERR_BUSY;
	}
	pthread_detach(t);
	pthread_mutex_lock(&l->lock);
	while (!l->done && (deadline == NEVER || clock_mono() < deadline)) {
		if (deadline == NEVER) {
			pthread_cond_wait(&l->cond, &l->lock);
		} else {
			struct timespec ts = { .tv_sec = deadline / 1000, .tv_nsec = deadline % 1000 * 1000000 };
			pthread_cond_timedwait(&l->cond, &l->lock, &ts);
		}
	}
	bool done = l->done;
	l->abandoned = !done;
	pthread_mutex_unlock(&l->lock);
	if (!done) {
		snprintf(problem, PROBLEM, "looking up %.200s took too long", host);
		return -ERR_ORIGIN_RESOLVE;
	}
	int r = 0;
	take_addresses(out, l->found);
	if (out->n == 0) {
		snprintf(problem, PROBLEM, "could not resolve %.128s: %.80s", host, l->rc ? gai_strerror(l->rc) : "no address");
		r = -ERR_ORIGIN_RESOLVE;
	}
	lookup_free(l);
	return r;
}

/* ---- TCP: the addresses one after the other, the next a little later beside the last (RFC 8305) */

bool httpc_exhausted(int e) { return e == EMFILE || e == ENFILE || e == ENOBUFS || e == ENOMEM; }

static int
dial(const struct addresses *a, int64_t deadline, int *out, char *problem)
{
	struct pollfd p[ADDRESSES];
	int open = 0, next = 0, won = -1, why = ETIMEDOUT;
	bool no_socket = false;
	int64_t next_at = 0;
	for (int i = 0; i < ADDRESSES; i++)
		p[i] = (struct pollfd){ .fd = -1, .events = POLLOUT };
	while (won < 0 && (open > 0 || next < a->n)) {
		int64_t now = clock_mono();
		if (deadline != NEVER && now >= deadline) {
			why = ETIMEDOUT;
			break;
		}
		if (next < a->n && (open == 0 || now >= next_at)) {
			int i = next++;
			next_at = now + STAGGER_MS;
			int fd = socket(a->a[i].ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
			if (fd < 0) {
				why = errno;
				no_socket = no_socket || httpc_exhausted(why);
				continue;
			}
			if (connect(fd, (const struct sockaddr *)&a->a[i], a->len[i]) != 0 && errno != EINPROGRESS) {
				why = errno;
				close(fd);
				continue;
			}
			p[i].fd = fd;
			open++;
		}
		int64_t until = next < a->n && next_at < deadline ? next_at : deadline;
		if (poll(p, ADDRESSES, clock_left(until)) <= 0)
			continue;
		for (int i = 0; i < ADDRESSES && won < 0; i++) {
			int error = 0;
			socklen_t len = sizeof error;
			if (p[i].fd < 0 || !p[i].revents)
				continue;
			if (getsockopt(p[i].fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
				error = errno;
			if (error == 0) {
				won = i;
			} else {
				why = error;
				fd_close(&p[i].fd);
				open--;
				next_at = 0;
			}
		}
	}
	for (int i = 0; i < ADDRESSES; i++) {
		if (i != won)
			fd_close(&p[i].fd);
	}
	if (won < 0) {
		snprintf(problem, PROBLEM, "connect: %s", strerror(why));
		return no_socket ? -ERR_BUSY : -ERR_ORIGIN_CONNECT;
	}
	int one = 1;
	setsockopt(p[won].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(p[won].fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
	*out = p[won].fd;
	return 0;
}

static bool
wait_fd(int fd, short events, int64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = events };
	int r;
	while ((r = poll(&p, 1, clock_left(deadline))) < 0 && errno == EINTR)
		;
	return r > 0;
}

/* ---- through a parent proxy: CONNECT */

static int
proxy_connect(struct httpc *e, int fd, const char *host, unsigned port, struct str userinfo, int64_t deadline, char *problem)
{
	bool v6 = strchr(host, ':') != NULL;
	struct arena a;
	arena_init(&a);
	struct str auth = STR("");
	if (userinfo.n) {
		char *b64 = arena_alloc(&a, userinfo.n * 4 / 3 + 8);
		int n = EVP_EncodeBlock((unsigned char *)b64, (const unsigned char *)userinfo.p, (int)userinfo.n);
		auth = arena_printf(&a, "Proxy-Authorization: Basic %.*s\r\n", n, b64);
	}
	struct str q = arena_printf(&a, "CONNECT %s%s%s:%u HTTP/1.1\r\nHost: %s%s%s:%u\r\n%.*s\r\n", v6 ? "[" : "", host, v6 ? "]" : "", port,
		v6 ? "[" : "", host, v6 ? "]" : "", port, STRP(auth));
	char *head = arena_alloc(&a, PROXY_HEAD);
	size_t n = 0;
	int r = -ERR_ORIGIN_CONNECT;
	if (send(fd, q.p, q.n, MSG_NOSIGNAL) != (ssize_t)q.n) { /* a few hundred bytes into an empty socket */
		snprintf(problem, PROBLEM, "the parent proxy does not read");
		goto out;
	}
	/* a byte at a time, for what follows the head belongs to the origin; this happens once a tunnel */
	while (n < PROXY_HEAD && !(n >= 4 && memcmp(head + n - 4, "\r\n\r\n", 4) == 0)) {
		ssize_t got = recv(fd, head + n, 1, 0);
		if (got == 1) {
			n++;
		} else if (got == 0 || (errno != EAGAIN && errno != EINTR) || !wait_fd(fd, POLLIN, deadline)) {
			snprintf(problem, PROBLEM, "the parent proxy gave no answer to CONNECT");
			goto out;
		}
	}
	if (n >= 12 && str_starts((struct str){ head, n }, STR("HTTP/1.")) && head[9] == '2') {
		r = 0;
	} else {
		struct str rest = { head, n }, line = str_trim(str_cut(&rest, '\r'));
		snprintf(problem, PROBLEM, "the parent proxy refused CONNECT: %.*s", line.n > 80 ? 80 : (int)line.n, line.p);
	}
out:
	arena_fini(&a);
	return r;
}

/* "http://[user:password@]host[:port]" */
static int
proxy_of(const char *url, struct str *host, unsigned *port, struct str *userinfo)
{
	struct str s = str_c(url);
	if (str_has(s, STR("://"))) {
		if (!str_casestarts(s, STR("http://")))
			return -ERR_NOT_IMPLEMENTED;
		s = str_from(s, 7);
	}
	s = str_cut(&s, '/');
	const char *at = s.n ? memrchr(s.p, '@', s.n) : NULL;
	*userinfo = at ? str_upto(s, (size_t)(at - s.p)) : STR_NONE;
	if (at)
		s = str_from(s, (size_t)(at - s.p) + 1);
	*port = 1080; /* libcurl's default for proxies */
	return url_authority(s, host, port);
}

/* ---- TLS */

static int
shake_hands(struct httpc *e, int fd, const char *host, int64_t deadline, SSL **out, char *problem)
{
	SSL *ssl = SSL_new(e->ctx);
	bool ip = url_is_ip(str_c(host), NULL);
	int r = -ERR_ORIGIN_TLS;
	if (!ssl)
		return -ERR_NO_MEMORY;
	SSL_set_fd(ssl, fd);
	if (ip) {
		X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host);
	} else {
		SSL_set_tlsext_host_name(ssl, host);
		SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
		SSL_set1_host(ssl, host);
	}
	for (;;) {
		ERR_clear_error();
		int rc = SSL_connect(ssl), why = SSL_get_error(ssl, rc);
		if (rc == 1) {
			*out = ssl;
			return 0;
		}
		if ((why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)) {
			if (wait_fd(fd, why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline))
				continue;
			snprintf(problem, PROBLEM, "the TLS handshake took too long");
			r = -ERR_ORIGIN_CONNECT; /* as with libcurl: it is within the time to connect */
			break;
		}
		long verdict = SSL_get_verify_result(ssl);
		if (verdict != X509_V_OK && !e->o.tls_skip_verify) {
			snprintf(problem, PROBLEM, "SSL certificate problem: %s", X509_verify_cert_error_string(verdict));
			r = -ERR_ORIGIN_CERT;
		} else {
			const char *text = ERR_reason_error_string(ERR_peek_last_error());
			snprintf(problem, PROBLEM, "TLS: %s", text ? text : "the connection broke in the handshake");
		}
		break;
	}
	SSL_free(ssl);
	return r;
}

int
httpc_connect(struct httpc *e, const struct destinations *where, struct str host, unsigned port, bool tls, int64_t deadline, int *fd, struct ssl_st **ssl,
              char problem[256])
{
	char name[256], first[256];
	struct str to = host, userinfo = STR_NONE;
	unsigned to_port = port;
	struct addresses a;
	int r = 0;
	*fd = -1;
	if (ssl)
		*ssl = NULL;
	problem[0] = '\0';
	if (e->via_proxy && (r = proxy_of(e->via_proxy, &to, &to_port, &userinfo)) < 0) {
		snprintf(problem, PROBLEM, "the parent proxy's URL is not http://host:port");
		return r;
	}
	if (host.n >= sizeof name || to.n >= sizeof first || memchr(host.n ? host.p : "", '\0', host.n)) {
		snprintf(problem, PROBLEM, "the host name is too long");
		return -ERR_ORIGIN_RESOLVE;
	}
	snprintf(name, sizeof name, "%.*s", STRP(host));
	snprintf(first, sizeof first, "%.*s", STRP(to));
	if ((r = resolve(first, to_port, deadline, &a, problem)) == 0 && !e->via_proxy)
		r = leave_out_refused(&a, where, problem);
	if (r == 0 && (r = dial(&a, deadline, fd, problem)) == 0) {
		if (e->via_proxy)
			r = proxy_connect(e, *fd, name, port, userinfo, deadline, problem);
		if (r == 0 && tls)
			r = shake_hands(e, *fd, name, deadline, ssl, problem);
	}
	if (r < 0)
		fd_close(fd);
	return r;
}
