/* conn.h - a client's connection: its socket, its TLS inside a tunnel, what was read of the next head, and its life from accept to close.
 * Reads and writes are on non-blocking sockets; the functions that say "deadline" wait (and tell the pool so), the others never do. */
#pragma once
#include <netinet/in.h>
#include <openssl/ssl.h>
#include "../common/arena.h"
#include "auth.h"
#include "http1.h"
#include "pool.h"
#include "scoreboard.h"

struct worker;

enum conn_phase {
	CONN_HEAD,       /* waiting for, or in the middle of, a request's head */
	CONN_PEEK,       /* CONNECT was answered: the first byte says whether TLS comes */
	CONN_HANDSHAKE,
	CONN_CLOSING,    /* our last words are out: what still comes is thrown away for a moment, so that they arrive (RFC 9112 9.6) */
};

struct conn {
	struct pool_item item;           /* first: an item is its connection */
	struct worker *worker;
	struct conn *next_free;          /* under the worker's lock */
	_Atomic int64_t deadline;        /* mono: a parked connection is closed at it */
	int fd;
	enum conn_phase phase;
	bool drained;                    /* the last read took all there was: do not ask the kernel again before an event */
	bool open;
	bool idle;                       /* parked between requests, nothing of a next one seen */
	SSL *ssl;                        /* NULL: plain */
	struct http1_tunnel tunnel;      /* after CONNECT; scheme "" before it is known */
	bool in_tunnel, resumed;
	struct auth_pass pass;           /* who opened the tunnel, when that is asked */
	char *in;                        /* what was read and not yet used; NULL when empty */
	size_t in_off, in_n, in_cap, scanned;
	struct arena arena;              /* as long as the connection: the tunnel's host */
	struct sockaddr_storage peer;
	struct request *request;         /* one that rests, or NULL */
	_Atomic int rest;                /* enum in conn.c */
	struct score_thread rest_score;  /* what rests, for those who look on: it may be torn, but ends in itself */
	bool nudged;                     /* woken to see whether the client is still there */
	int64_t head_since;              /* mono: when the head (or handshake) under way began, 0: not yet */
	size_t discarded;
};

#define CONN_BUFFER 16384            /* a head usually fits; grown up to the limits of the settings */
#define CONN_CLOSE_WAIT_MS 1000      /* lingering close: how long what still comes is read and thrown away, so that the client sees our last words */

/* > 0 bytes; 0 end of file; -ERR_AGAIN nothing there; -ERR_END broken. Takes from the connection's buffer first. */
int64_t conn_read(struct conn *, void *, size_t);
/* The same, waiting until deadline: -ERR_TIMEOUT. */
int64_t conn_read_wait(struct conn *, void *, size_t, int64_t deadline);
/* What was read too much goes back in front: the next request's beginning. */
void conn_unread(struct conn *, const void *, size_t);
#define CONN_RATE_MIN 512            /* bytes a second: who is slower for long holds a handler for its own sake (slow read attacks) */
/* How long n bytes to or from a client may take in all. */
int64_t conn_patience(uint64_t n, int64_t stall_ms);
/* All of it; stall_ms: the longest time in which the client takes nothing, and it must keep up CONN_RATE_MIN. 0, -ERR_CLIENT_GONE, -ERR_TIMEOUT. */
int conn_write(struct conn *, const void *, size_t, int64_t stall_ms);
/* Has the client gone away? One that has only shut down its sending side counts as gone: they look alike. Cheap; for long waits. */
bool conn_gone(struct conn *);
void conn_client(const struct conn *, struct in6_addr *); /* the peer as rules see it: IPv4 mapped, :: unknown */
void conn_peer(const struct conn *, char host[INET6_ADDRSTRLEN], unsigned *port);

/* Accepts from a listening socket into a free slot of the worker; runs it. */
void conn_accept(struct worker *, int listen_fd);
/* The pool runs a connection that became readable. */
void conn_run(struct pool_item *);
/* What a resting request waits for is there. From any thread; too many calls do no harm. */
void conn_wakes(void *conn);
/* Closes connections whose time is up; looks after those whose client hung up while their request rests; ends idle ones when draining. Called about once a second. */
void conns_sweep(struct worker *, bool draining);
/* The requests that rest, into max places of the scoreboard. */
void conns_resting(struct worker *, struct score_thread *, unsigned max);
/* It will end with a reset and without TLS's farewell: what was sent is not all, and nothing else says so. */
void conn_breaks(struct conn *);
/* The fd (and SSL) leave the connection, which then closes without them: for tunnels. */
void conn_detach(struct conn *, int *fd, SSL **);
void conn_tunnel_opened(struct conn *, struct str host, unsigned port); /* after the 200 to CONNECT */
