/* step_tunnel.c - bytes both ways. Three cases: CONNECT to a host that stays closed is a blind tunnel; any other CONNECT is opened by
 * ourselves and goes on in conn.c; an upgrade (WebSocket) is asked for on a connection of its own and becomes a tunnel after the 101. */
#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/fd.h"
#include "../common/log.h"
#include "failover.h"
#include "fetch.h"
#include "gate.h"
#include "passthrough.h"
#include "request.h"
#include "upgrade.h"
#include "worker.h"

#define SLICE_MS 1000   /* how often a wait looks whether the client is still there */

/* A connection of our own to an origin. */
struct origin {
	int fd;
	SSL *ssl;
};

static void origin_close(struct origin *o)
{
	SSL_free(o->ssl);
	o->ssl = NULL;
	fd_close(&o->fd);
}

static enum req_step fail(struct request *r, int err, const char *problem)
{
	if (err_status(err) == 502 || err_status(err) == 504)
		count(COUNT_upstream_errors);
	r->response.reason = STR_NONE; /* the origin's, if it said anything */
	request_error(r, err, problem);
	return STEP_deliver;
}

static enum req_step gone(struct request *r, int err)
{
	r->err = err;
	snprintf(r->problem, sizeof r->problem, "%s", err_text(err));
	if (err == -ERR_TIMEOUT)
		count(COUNT_client_timeouts);
	r->broken = true;
	return STEP_record;
}

/* ---- handing over */

/* The client's connection becomes one end of a tunnel. Uses up the reservation. */
static void become_tunnel(struct request *r, struct origin *o, struct str early_to_client)
{
	struct conn *c = r->conn;
	struct tunnel_ends e = { .origin_fd = o->fd, .origin_ssl = o->ssl, .early_to_client = early_to_client };
	size_t n = c->in != NULL ? c->in_n - c->in_off : 0; /* what came behind the head is for the origin */
	char *early = arena_alloc(r->arena, n + 1);
	if (n > 0)
		conn_read(c, early, n);
	e.early_to_origin = (struct str){ early, n };
	pool_unwatch(r->worker->pool, c->fd);
	conn_detach(c, &e.client_fd, &e.client_ssl);
	tunnel_add(r->worker->tunnels, &e);
	*o = (struct origin){ .fd = -1 };
	r->broken = true; /* as a connection of ours */
}

/* ---- CONNECT */

static int say_established(struct request *r)
{
	static const char line[] = "HTTP/1.1 200 Connection established\r\n\r\n";
	int e = conn_write(r->conn, line, sizeof line - 1, conf()->client_write_ms);
	r->response.status = 200;
	r->reason = REASON_tunnel;
	r->head_sent = e == 0;
	return e;
}

static int connect_origin(struct request *r, bool tls, int64_t ms, struct origin *o, char problem[256])
{
	*o = (struct origin){ .fd = -1 };
	problem[0] = 0;
	pool_blocking(r->worker->pool);
	const struct destinations to = gate_destinations(&r->http.client);
	return httpc_connect(r->worker->httpc, &to, r->http.url.host, r->http.url.port, tls, ms > 0 ? clock_mono() + ms : NEVER, &o->fd, &o->ssl, problem);
}

static enum req_step blind(struct request *r)
{
	struct origin o;
	char problem[256];
	int e = tunnel_reserve(r->worker->tunnels);
	if (e < 0)
		return fail(r, e, "");
	if ((e = connect_origin(r, false, conf()->connect_ms, &o, problem)) < 0) {
		tunnel_unreserve(r->worker->tunnels);
		return fail(r, e, problem);
	}
	if ((e = say_established(r)) < 0) {
		origin_close(&o);
		tunnel_unreserve(r->worker->tunnels);
		return gone(r, e);
	}
	become_tunnel(r, &o, STR_NONE);
	return STEP_record;
}

static enum req_step intercept(struct request *r)
{
	struct origin o;
	char problem[256];
	if (conf()->connection_strategy == STRATEGY_EAGER && !request_onboards(r->http.url.host)) { /* is there anybody? */
		int e = connect_origin(r, false, conf()->connect_ms, &o, problem);
		if (e < 0)
			return fail(r, e, problem);
		origin_close(&o);
	}
	int e = say_established(r);
	if (e < 0)
		return gone(r, e);
	conn_tunnel_opened(r->conn, r->http.url.host, r->http.url.port);
	r->framing.keep_alive = true; /* whatever the CONNECT said about it: this connection is the tunnel now */
	return STEP_record;
}

static enum req_step connect_step(struct request *r)
{
	r->framing.keep_alive = false; /* after an error: what the client sends next may be meant for the tunnel that it did not get */
	if (request_loops(r))
		return fail(r, -ERR_LOOP, "");
	return passthrough_matches(&conf()->tls_passthrough, r->http.url.host) ? blind(r) : intercept(r);
}

/* ---- upgrades: the origin's side, blocking */

/* 0 when the socket is ready, -ERR_TIMEOUT, -ERR_CLIENT_GONE */
static int origin_wait(struct request *r, const struct origin *o, short events, int64_t deadline)
{
	for (;;) {
		int64_t slice = clock_mono() + SLICE_MS;
		struct pollfd pfd = { .fd = o->fd, .events = events };
		int n = poll(&pfd, 1, clock_left(slice < deadline ? slice : deadline));
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -ERR_SYSTEM;
		if (clock_mono() >= deadline)
			return -ERR_ORIGIN_TIMEOUT;
		if (conn_gone(r->conn))
			return -ERR_CLIENT_GONE;
	}
}

/* What a TLS or socket call that did not work waits for: POLLIN, POLLOUT; 0: a clean end; -1: broken */
static int origin_wants(const struct origin *o, int r, short otherwise)
{
	if (o->ssl == NULL)
		return r == 0 ? 0 : errno == EAGAIN || errno == EINTR ? otherwise : -1;
	switch (SSL_get_error(o->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		return POLLIN;
	case SSL_ERROR_WANT_WRITE:
		return POLLOUT;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		return -1;
	}
}

static int origin_write(struct request *r, const struct origin *o, struct str s, int64_t deadline)
{
	while (s.n > 0) {
		ERR_clear_error();
		int n = o->ssl != NULL ? SSL_write(o->ssl, s.p, (int)s.n) : (int)send(o->fd, s.p, s.n, MSG_NOSIGNAL);
		if (n > 0) {
			s = str_from(s, (size_t)n);
			continue;
		}
		int want = origin_wants(o, n, POLLOUT), e;
		if (want <= 0)
			return -ERR_ORIGIN_BROKEN;
		if ((e = origin_wait(r, o, (short)want, deadline)) < 0)
			return e;
	}
	return 0;
}

/* > 0, 0 end, -ERR_X */
static int64_t origin_read(struct request *r, const struct origin *o, char *p, size_t n, int64_t deadline)
{
	for (;;) {
		ERR_clear_error();
		int got = o->ssl != NULL ? SSL_read(o->ssl, p, (int)n) : (int)recv(o->fd, p, n, 0);
		if (got > 0)
			return got;
		int want = origin_wants(o, got, POLLIN), e;
		if (want <= 0)
			return want < 0 ? -ERR_ORIGIN_BROKEN : 0;
		if ((e = origin_wait(r, o, (short)want, deadline)) < 0)
			return e;
	}
}

static int64_t read_deadline(const struct request *r)
{
	int64_t ms = plan_read_ms(&r->plan);
	return ms > 0 ? clock_mono() + ms : NEVER;
}

/* The final head, in r->response; *rest is what came behind it, in buf. */
static int final_head(struct request *r, const struct origin *o, char *buf, size_t cap, struct str *rest)
{
	const struct http1_limits limits = { .line = cap, .head = cap, .fields = UPGRADE_FIELDS };
	size_t n = 0, seen = 0;
	int64_t deadline = read_deadline(r);
	for (;;) {
		int head = n > 0 ? http1_scan(buf, n, &seen, &limits) : 0;
		if (head < 0 || (head == 0 && n == cap))
			return -ERR_ORIGIN_PROTOCOL;
		if (head > 0) {
			int e = upgrade_response((struct str){ buf, (size_t)head }, r->arena, &r->response);
			if (e < 0)
				return e;
			n -= (size_t)head;
			if (r->response.status >= 200 || r->response.status == 101) {
				*rest = (struct str){ buf + head, n };
				return 0;
			}
			memmove(buf, buf + head, n);
			seen = 0;
			continue;
		}
		int64_t got = origin_read(r, o, buf + n, cap - n, deadline);
		if (got <= 0)
			return got < 0 ? (int)got : -ERR_ORIGIN_BROKEN;
		n += (size_t)got;
	}
}

/* ---- upgrades: the client's side */

static int send_head(struct request *r, struct headers *h)
{
	struct arena *a = r->arena;
	headers_set(h, STR("x-request-id"), arena_dup(a, str_c(r->id)));
	headers_set(h, STR("x-proxy-policy"), str_c(policy_name(r->plan.policy)));
	struct str via = headers_joined(h, STR("Via"), a);
	headers_set(h, STR("via"), via.n == 0 ? str_c(heritage.via) : arena_printf(a, "%s, %.*s", heritage.via, STRP(via)));
	struct str cs = request_cache_status(r);
	if (cs.n > 0)
		headers_add(h, STR("cache-status"), cs);
	r->response.headers = *h; /* for the record */
	int64_t n = http1_write_status(thread_self->out, sizeof thread_self->out, r->response.status, r->response.reason, h);
	if (n < 0)
		return -ERR_ORIGIN_PROTOCOL;
	int e = conn_write(r->conn, thread_self->out, (size_t)n, conf()->client_write_ms);
	r->head_sent = true;
	return e;
}

static enum req_step switched(struct request *r, struct origin *o, struct str rest)
{
	struct headers h;
	struct str protocol = headers_joined(&r->response.headers, STR("Upgrade"), r->arena);
	headers_init(&h, r->arena);
	headers_copy(&h, &r->response.headers);
	headers_strip_hop_by_hop(&h);
	headers_remove(&h, STR("Content-Length")); /* RFC 9110 8.6: there may be none in a 101 */
	headers_add(&h, STR("Connection"), STR("Upgrade"));
	headers_add(&h, STR("Upgrade"), protocol);
	int e = protocol.n == 0 ? -ERR_ORIGIN_PROTOCOL : send_head(r, &h);
	if (e < 0) {
		origin_close(o);
		tunnel_unreserve(r->worker->tunnels);
		return r->head_sent ? gone(r, e) : fail(r, e, "the origin's 101 is not valid");
	}
	become_tunnel(r, o, rest);
	return STEP_record;
}

/* One piece of a body that has no length: chunked for the client, so that a broken end is seen. */
static int send_chunk(struct request *r, struct str s)
{
	char line[20];
	size_t n = http1_write_chunk_size(line, s.n);
	int64_t stall = conf()->client_write_ms;
	int e = conn_write(r->conn, line, n, stall);
	if (e == 0)
		e = conn_write(r->conn, s.p, s.n, stall);
	return e < 0 ? e : conn_write(r->conn, "\r\n", 2, stall);
}

/* The body of an answer that is no upgrade, in the framing that it has. 0 when it is complete. */
static int relay_body(struct request *r, const struct origin *o, enum upgrade_body body, int64_t left, char *buf, size_t cap, struct str rest)
{
	struct http1_chunked ch;
	http1_chunked_init(&ch, r->arena, NULL);
	while (body == UPGRADE_BODY_LENGTH ? left > 0 : true) {
		int e = 0;
		if (rest.n == 0) {
			int64_t got = origin_read(r, o, buf, cap, read_deadline(r));
			if (got < 0)
				return (int)got;
			if (got == 0 && body != UPGRADE_BODY_CLOSE)
				return -ERR_ORIGIN_SHORT;
			if (got == 0)
				return conn_write(r->conn, "0\r\n\r\n", 5, conf()->client_write_ms);
			rest = (struct str){ buf, (size_t)got };
		}
		struct str piece = rest, data;
		size_t used = rest.n;
		bool last = false;
		if (body == UPGRADE_BODY_LENGTH && (int64_t)used > left)
			used = (size_t)left;
		if (body == UPGRADE_BODY_CHUNKED) {
			int done = http1_chunked_feed(&ch, rest.p, rest.n, &used, &data);
			if (done < 0)
				return -ERR_ORIGIN_PROTOCOL;
			last = done > 0;
			r->bytes_sent += data.n;
		} else
			r->bytes_sent += used;
		piece.n = used;
		rest = str_from(rest, used);
		left -= (int64_t)used;
		e = body == UPGRADE_BODY_CLOSE ? send_chunk(r, piece) : conn_write(r->conn, piece.p, piece.n, conf()->client_write_ms);
		if (e < 0)
			return e;
		if (last)
			return 0;
	}
	return 0;
}

/* The origin did not want to: its answer goes to the client as it is, and both connections end with it. */
static enum req_step refused(struct request *r, struct origin *o, char *buf, size_t cap, struct str rest)
{
	struct headers h;
	enum upgrade_body body;
	int64_t length;
	int e = upgrade_framing(&r->http, &r->response, &body, &length);
	if (e < 0)
		return fail(r, e, "the length of the origin's answer is not clear");
	headers_init(&h, r->arena);
	headers_copy(&h, &r->response.headers);
	headers_strip_hop_by_hop(&h);
	if (r->response.status == 426) /* RFC 9110 15.5.22: it says to what */
		headers_add(&h, STR("Upgrade"), headers_joined(&r->response.headers, STR("Upgrade"), r->arena));
	if (body == UPGRADE_BODY_CHUNKED || body == UPGRADE_BODY_CLOSE)
		headers_add(&h, STR("Transfer-Encoding"), STR("chunked"));
	headers_add(&h, STR("Connection"), STR("close"));
	r->framing.keep_alive = false;
	e = send_head(r, &h);
	if (e < 0 && !r->head_sent)
		return fail(r, e, "the origin's head is not valid");
	if (e == 0 && body != UPGRADE_BODY_NONE)
		e = relay_body(r, o, body, length, buf, cap, rest);
	if (e < 0) {
		if (e != -ERR_CLIENT_GONE && e != -ERR_TIMEOUT)
			count(COUNT_upstream_errors);
		return gone(r, e);
	}
	return STEP_record;
}

static enum req_step upgrade(struct request *r)
{
	struct origin o;
	struct headers h;
	struct str rest;
	char problem[256];
	bool probe;
	char *buf = thread_self->in; /* the request's head has been parsed out of it */
	const size_t cap = sizeof thread_self->in < UPGRADE_HEAD ? sizeof thread_self->in : UPGRADE_HEAD;
	r->reason = REASON_upgrade;
	if (r->body_left != 0)
		return fail(r, -ERR_BAD_REQUEST, "an upgrade with a body");
	int e = tunnel_reserve(r->worker->tunnels);
	if (e < 0)
		return fail(r, e, "");
	if (!origin_ask(&r->http.url, &probe, &e, problem, sizeof problem)) {
		tunnel_unreserve(r->worker->tunnels);
		return fail(r, e, problem);
	}
	headers_init(&h, r->arena);
	upstream_headers(&r->http, &h);
	count(COUNT_upstream_requests);
	e = connect_origin(r, str_eq(r->http.url.scheme, STR("https")), plan_connect_ms(&r->plan), &o, problem);
	if (e == 0)
		e = origin_write(r, &o, upgrade_request(&r->http, &h, r->arena), read_deadline(r));
	if (e == 0)
		e = final_head(r, &o, buf, cap, &rest);
	if (e == 0)
		origin_worked(&r->http.url);
	else
		origin_failed(&r->http.url, e, *problem ? problem : err_text(e), probe);
	if (e == 0 && r->response.status == 101)
		return switched(r, &o, rest);
	tunnel_unreserve(r->worker->tunnels);
	enum req_step next = e < 0 ? e == -ERR_CLIENT_GONE ? gone(r, e) : fail(r, e, problem) : refused(r, &o, buf, cap, rest);
	origin_close(&o);
	return next;
}

enum req_step step_tunnel(struct request *r) { return r->target == TARGET_AUTHORITY ? connect_step(r) : upgrade(r); }
