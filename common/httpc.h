/* httpc.h - HTTP to origins, S3 and Elasticsearch: one fetcher thread a process owns libcurl (one curl_multi, one connection
 * pool, HTTP/2 where the server has it); callers are blocking threads that wait. Each transfer has a bounded buffer: when it is
 * full the transfer is paused, so a slow caller slows the server (back-pressure). Thread-safe; one caller a transfer.
 * Not usable across fork: start it in the process that uses it. */
#pragma once
#include "http.h"

struct httpc;  /* the engine */
struct xfer;   /* one transfer, owned by the caller until httpc_end */

struct httpc_options {
	const char *ca_file;      /* trusted beside the system's store; NULL none */
	long max_connections;     /* all together */
	long max_per_host;
	int64_t idle_ms;          /* an idle connection is closed after it */
	bool tls_skip_verify;
	bool http2;
	const char *via_proxy;    /* NULL: straight, and never the environment's proxy */
};
struct httpc *httpc_start(const struct httpc_options *); /* makes the thread; die()s when it cannot */
void httpc_stop(struct httpc **);                        /* ends all transfers with -ERR_GONE */

struct httpc_request {
	struct str method;
	struct str url;                 /* absolute, sent as it is (no squashing of dots, no re-encoding) */
	const struct headers *headers;  /* sent exactly as they are, in order; nothing is added by libcurl but Host when absent (and framing) */
	int64_t body_length;            /* of the request: -1 none, -2 unknown (chunked), 0 or more */
	bool expect_continue;           /* wait for 100 before the body */
	int64_t connect_timeout_ms;     /* resolve + TCP + TLS; <= 0 none */
	int64_t read_timeout_ms;        /* longest silence while waiting for the origin; <= 0 none */
	size_t buffer;                  /* bytes of body kept ahead of the caller; 0: HTTPC_BUFFER */
	bool upgrade;                   /* the caller wants 101: HTTP/1.1 only; see httpc_tunnel */
	bool fresh_connection;          /* do not reuse a pooled one (retry after a stale one) */
};
#define HTTPC_BUFFER (256 * 1024)   /* enough for one round trip of 20 ms at 100 Mbit/s */

/* Starts; the request and what it points to may go when this returns. Never blocks. -ERR_BUSY at the bound. */
int httpc_begin(struct httpc *, const struct httpc_request *, struct xfer **);
/* Request body, in order, by the caller. Blocks while the buffer is full. -ERR_X when the transfer has ended (the response may be
 * there all the same: read it). httpc_finish_body: no more comes. */
int httpc_send(struct xfer *, const void *, size_t, int64_t deadline);
int httpc_finish_body(struct xfer *);
/* Blocks until a head is there. 1xx other than 101 come first, one a call (status < 200): call again for the next.
 * Names, values are in the arena. -ERR_ORIGIN_*, -ERR_TIMEOUT at the caller's own deadline (the transfer goes on). */
int httpc_head(struct xfer *, struct arena *, struct http_response *, int64_t deadline);
/* The next bytes of the body, as a view that is good until the next call: > 0 their number, 0 the end of a complete body,
 * -ERR_ORIGIN_BROKEN/SHORT/TIMEOUT when it broke, -ERR_AGAIN when deadline has passed (0: do not wait at all). */
int64_t httpc_read(struct xfer *, const void **, int64_t deadline);
/* After the end: trailer fields, appended. */
void httpc_trailers(struct xfer *, struct headers *);
/* Diagnostics of the failure in words (libcurl's), for error pages and logs; "" when none. Good until httpc_end. */
const char *httpc_problem(const struct xfer *);
/* How many bytes of request body were asked for: 0 means that the origin cannot have seen any. Was the connection a reused one? */
bool httpc_reused(const struct xfer *);
void httpc_end(struct xfer **);  /* cancels if under way; never blocks */
void httpc_kill_idle(struct httpc *);
/* A connection of one's own to host:port for tunnels and upgrades: TCP (resolved and connected within timeout), and TLS by the
 * same trust rules when tls. Blocking, not on the fetcher thread. The fd is nonblocking. */
struct ssl_st;
int httpc_connect(struct httpc *, struct str host, unsigned port, bool tls, int64_t deadline, int *fd, struct ssl_st **, char problem[256]);
