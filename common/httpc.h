/* httpc.h - HTTP to origins, S3 and Elasticsearch: one fetcher thread a process owns libcurl (one curl_multi, one connection
 * pool, HTTP/2 where the server has it); callers are blocking threads that wait. Each transfer has a bounded buffer: when it is
 * full the transfer is paused, so a slow caller slows the server (back-pressure). Thread-safe; one caller a transfer.
 * Not usable across fork: start it in the process that uses it.
 *
 * What is sent twice: libcurl sends a request again, on a fresh connection, when a kept connection died before any byte of the
 * answer. Here it may do so for idempotent methods only (RFC 9110 9.2.2) and only while no byte of the request's body has been
 * taken; everything else ends with -ERR_ORIGIN_BROKEN and httpc_reused() true. All further retries are the caller's. */
#pragma once
#include "destination.h"
#include "http.h"

struct httpc;  /* the engine */
struct xfer;   /* one transfer, owned by the caller until httpc_end */

struct httpc_options {
	const char *ca_file;      /* trusted beside the system's store; NULL or "": none */
	long max_connections;     /* all together; requests beyond it wait */
	long max_per_host;        /* scheme and authority */
	bool fair_share;          /* an origin has no more connections than are still free: none can keep the others out */
	int64_t idle_ms;          /* an idle connection is closed after it (within a few seconds) */
	bool tls_skip_verify;
	bool http2;               /* offered to https servers */
	const char *via_proxy;    /* "http://[user:password@]host:port"; NULL: straight, and never the environment's proxy */
};
struct httpc *httpc_start(const struct httpc_options *); /* makes the thread; die()s when it cannot */
void httpc_stop(struct httpc **);                        /* ends all transfers with -ERR_GONE; what callers hold stays valid */

const char *httpc_destination_problem(const char *setting); /* of destination.h, in words */
struct httpc_request {
	struct str method;              /* any but CONNECT */
	struct str url;                 /* absolute, sent as it is (no squashing of dots, no re-encoding) */
	/* Sent exactly as they are, in order; libcurl adds nothing but Host when absent, and puts Host first. Content-Length,
	 * Transfer-Encoding and Expect among them are ignored: body_length and expect_continue make them. */
	const struct headers *headers;
	int64_t body_length;            /* of the request: -1 none, -2 unknown (chunked), 0 or more. HEAD never sends one */
	bool expect_continue;           /* wait for 100 (at most a second) before the body */
	int64_t connect_timeout_ms;     /* resolve + TCP + TLS: -ERR_ORIGIN_CONNECT; <= 0 none */
	int64_t read_timeout_ms;        /* longest silence while waiting for the origin: -ERR_ORIGIN_TIMEOUT; <= 0 none */
	int64_t total_timeout_ms;       /* from begin to the last byte, however busy: -ERR_ORIGIN_TIMEOUT; <= 0 none */
	int64_t low_speed, low_speed_ms; /* bytes a second that the body must bring on average over each stretch of so many ms, what the
	                                 * caller holds up not counted: -ERR_ORIGIN_TIMEOUT; either <= 0: none */
	size_t buffer;                  /* bytes of body kept ahead of the caller; 0: HTTPC_BUFFER */
	bool fresh_connection;          /* do not reuse a pooled one (retry after a stale one) */
	bool http1;                     /* HTTP/1.1 though the server has HTTP/2: a connection for it alone while it lasts */
	struct destinations to;         /* addresses that it may go to: -ERR_DESTINATION; all zero: to any */
	bool bulk;                      /* a part of a large download: others go first, and half of an origin's connections are theirs alone */
	bool internal;                  /* to S3 or Elasticsearch: not counted as traffic with origins */
};
#define HTTPC_BUFFER (256 * 1024)   /* enough for one round trip of 20 ms at 100 Mbit/s */

/* Starts; the request and what it points to may go when this returns. Never blocks. -ERR_BUSY at the bound, -ERR_BAD_REQUEST
 * when the URL, method or a field cannot be sent. Upgrades and tunnels are for httpc_connect. */
int httpc_begin(struct httpc *, const struct httpc_request *, struct xfer **);
/* Request body, in order, by the caller. Blocks while the buffer is full. 0, -ERR_TIMEOUT at the deadline (nothing more was taken:
 * end the transfer), -ERR_BAD_REQUEST when it is more than body_length, -ERR_GONE when the origin has answered with a status of 300
 * or more and wants no more of it (read the answer), -ERR_X when the transfer has failed. httpc_finish_body: no more comes.
 * The end of the response comes only after the request's body has been finished or refused. */
int httpc_send(struct xfer *, const void *, size_t, int64_t deadline);
int httpc_finish_body(struct xfer *);
/* Blocks until a head is there. 1xx come first, one a call (status < 200): call again for the next. An unasked 101 is an error.
 * Names, values are in the arena. Framing is judged here: Content-Length is gone when there was a Transfer-Encoding, folded lines
 * are joined, controls in values have become SP, fields with an impossible name are left out.
 * -ERR_ORIGIN_*, -ERR_TIMEOUT at the caller's own deadline (the transfer goes on), -ERR_END after the final head. */
int httpc_head(struct xfer *, struct arena *, struct http_response *, int64_t deadline);
/* For callers that do not want to wait: true when httpc_head would not. Otherwise ready(arg) is called once, from the fetcher thread (so it
 * must not block), when it would not any more; it may also be called after httpc_end, if that came in between. */
typedef void httpc_ready_f(void *arg);
bool httpc_when_head(struct xfer *, httpc_ready_f *ready, void *arg);
/* The next bytes of the body, as a view that is good until the next call: > 0 their number, 0 the end of a complete body,
 * -ERR_ORIGIN_BROKEN/SHORT/TIMEOUT when it broke, -ERR_AGAIN when deadline has passed (0: do not wait at all). */
int64_t httpc_read(struct xfer *, const void **, int64_t deadline);
/* For callers that read several transfers at once: true when httpc_read (or httpc_head, before the final head) would not wait; otherwise as
 * httpc_when_head, always with the same arg. What was viewed stays good. */
bool httpc_when_read(struct xfer *, httpc_ready_f *ready, void *arg);
/* How often the buffer was full so far, so that the origin had to wait for us. */
unsigned httpc_filled(struct xfer *);
/* After the end: trailer fields, appended (copied into the arena of headers). */
void httpc_trailers(struct xfer *, struct headers *);
/* Diagnostics of the failure in words (libcurl's), for error pages and logs; "" when none. Good until httpc_end. */
const char *httpc_problem(struct xfer *);
/* Was the connection that the request went out on a reused one? */
bool httpc_reused(struct xfer *);
/* How often the request went out on a connection: more than once when libcurl found a kept one dead. 0: never. */
unsigned httpc_attempts(const struct xfer *);
/* How many bytes of request body were taken: 0 means that the origin cannot have seen any. */
uint64_t httpc_body_sent(struct xfer *);
void httpc_end(struct xfer **);  /* cancels if under way; never blocks */
void httpc_kill_idle(struct httpc *); /* closes connections that have been idle for a second or more; soon, not at once */
/* A connection of one's own to host:port for tunnels and upgrades: TCP (resolved and connected by the deadline, all addresses
 * tried), and TLS by the same trust rules, with ALPN http/1.1, when tls. Through via_proxy by CONNECT. Blocking, not on the fetcher
 * thread. The fd is nonblocking and the caller's, as is the SSL (which does not close the fd). 0, -ERR_ORIGIN_RESOLVE, _CONNECT,
 * _TLS, _CERT, -ERR_DESTINATION with the reason in words. */
struct ssl_st;
int httpc_connect(struct httpc *, const struct destinations *, struct str host, unsigned port, bool tls, int64_t deadline, int *fd, struct ssl_st **,
                  char problem[256]);
