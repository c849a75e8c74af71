/* httpc_impl.h - what the files of httpc share: httpc.c is the callers' side, httpc_head.c its parser; httpc_loop.c the fetcher
 * thread, httpc_callbacks.c what libcurl calls there, httpc_turns.c who waits there; httpc_connect.c trust, and connections outside
 * the pool, httpc_staple.c revoked certificates. Nobody else includes this.
 *
 * Who may touch what of a transfer: its caller, the fetcher thread, or whoever holds its lock; the struct says it field by field.
 * It lives until the last of its references is gone: the caller's, the fetcher's while it is active, the queue's while it is queued. */
#pragma once
#include <curl/curl.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include "arena.h"
#include "clock.h"
#include "err.h"
#include "httpc.h"

#define HEAD_MAX (256 * 1024)    /* all heads of a response, or its trailers: more is an attack; libcurl's own bound is 300 KB */
#define RING_SIZE (64 * 1024)    /* request body kept ahead of libcurl, which takes 64 KiB at a time */
#define BLOCK_SMALL (16 * 1024)  /* the first block of a body: libcurl writes at most 16 KiB at a time */
#define BLOCK_LARGE (64 * 1024)  /* the others: what callers write to a disk or a client in one go */
#define BLOCKS_KEPT 64           /* unused blocks of each size kept: 5 MiB at most */
#define XFERS_KEPT 128           /* unused transfers kept with their easy handles */
#define XFERS_WAITING 4096       /* beyond the connections, before -ERR_BUSY */
#define INTERIM_MAX 1000         /* 1xx before an answer: 102 every few seconds for an hour is legal, a flood is not */
#define CONTINUE_MS 1000         /* wait for a 100 (Continue), as curl does; RFC 9110 10.1.1 lets a client go on */

struct block {
	struct block *next;
	size_t r, w, size;
	unsigned char data[];
};

/* A full buffer is told to libcurl after the event, which costs nothing; refusing data in the middle of one makes libcurl keep and
 * copy it. So what one event can bring, libcurl's own buffer, is still taken. */
#define RECEIVE_SIZE (64 * 1024)
#define OVERSHOOT (2 * RECEIVE_SIZE)

enum { DO_BEGIN = 1, DO_RESUME = 2, DO_BODY = 4, DO_CANCEL = 8 };
enum { KIND_PLAIN, KIND_HEAD, KIND_UPLOAD };

struct xfer {
	/* kept from one use to the next: making an easy handle and setting its options costs more than a small request */
	struct httpc *e;
	CURL *easy;
	pthread_mutex_t lock;
	char *request;             /* header list and its text, as libcurl wants it */
	size_t request_cap;
	char *origin;              /* what the easy handle is set to: options are set only when they differ */
	int kind;
	char method[32];
	bool fresh, alone, http1;
	long connect_ms;
	char *heads;               /* raw heads; grown under the lock */
	size_t heads_cap;
	unsigned char *ring;       /* of RING_SIZE, made when first used */
	char problem[CURL_ERROR_SIZE]; /* the fetcher's; the caller's when done */

	/* all from here on is cleared for each use */
	struct xfer *qnext;        /* queue, or pool */
	atomic_uint refs, cmds, attempts;
	atomic_uint futex;         /* counts wake-ups: a futex of our own costs one system call less than a condition variable */
	int64_t body_length;       /* set by begin, then only read */
	int64_t read_ms, begun, total_ms, low_speed, low_ms;
	struct destinations to;
	size_t limit;
	bool idempotent, internal, bodyless_method;
	bool own_connection;       /* nobody's before, nobody's after */
	bool bulk;
	uint64_t origin_hash;      /* scheme and authority */

	/* the fetcher's alone */
	struct xfer *prev, *next;  /* active ones */
	struct xfer *dnext;        /* dirty ones: callers to be woken */
	struct turns_origin *turn; /* httpc_turns.c */
	struct xfer *wprev, *wnext;
	bool waits;                /* for a connection: libcurl does not have it yet */
	bool active, dirty, connected, recv_held, send_held, go_on;
	bool no_socket;            /* our descriptors or memory were used up: no fault of the origin's */
	bool te, te_chunked, bad_length, bad_coding, bad_blank, bodyless;
	int64_t cl;
	unsigned interims;
	const char *denied;        /* an address that the name has is closed for this client: by this setting */
	int fail;                  /* why a callback gave up, and in words: libcurl overwrites problem afterwards */
	const char *why;
	int64_t stretch_at;        /* when the stretch began over which the speed is looked at; 0: not yet */
	uint64_t stretch_from;     /* received then */
	int64_t last, go_on_at;    /* last sign of life; when to stop waiting for 100 */
	uint64_t received, sent;
	size_t heads_w;            /* end of what is written, heads_pub is the end of what is complete */
	int status;

	/* under the lock */
	bool waiting, done, final, recv_paused, send_starved, await_continue, body_end, refused, reused;
	_Atomic(httpc_ready_f *) ready; /* who waits is called, not woken; taken without the lock */
	_Atomic(void *) ready_arg;      /* taken after ready: whoever registers anew meanwhile, with the same one, is called for both at once */
	int err;
	size_t heads_pub, trailers; /* final: trailers begin there */
	struct block *first, *tail;
	size_t buffered;
	unsigned filled;           /* how often it grew to the limit */
	uint64_t ring_in, ring_out;

	/* the caller's alone */
	size_t heads_r, viewed;
	bool head_taken;
	uint64_t given;
};

struct sock {
	uint32_t want, set; /* events that libcurl wants, and that epoll has */
	bool ours;          /* opened by us, so that we see it closed: it can stay in epoll between requests */
};

/* httpc_turns.c */
#define TURNS_BUCKETS 256
struct turns_origin;
struct turns {
	long in_use, waiting;
	bool freed;                 /* since all were looked at */
	struct turns_origin *next;  /* of those that somebody waits for: its turn */
	struct turns_origin *buckets[TURNS_BUCKETS];
};

struct httpc {
	atomic_uint refs;           /* the owner and each transfer */
	struct httpc_options o;     /* with strings of our own */
	char *ca_file, *via_proxy;
	CURLM *multi;
	CURLSH *share;              /* TLS sessions */
	pthread_mutex_t share_lock[CURL_LOCK_DATA_LAST];
	X509_STORE *store;
	SSL_CTX *ctx;               /* for httpc_connect */
	pthread_t thread;
	int ep, wake;
	_Atomic(struct xfer *) queue;
	atomic_bool sleeping, stopping, kill_idle;
	atomic_long alive;          /* transfers that are not done */
	long alive_max;

	pthread_mutex_t pool_lock;
	struct xfer *pool;
	unsigned pool_n;
	bool pool_closed;
	struct block *blocks[2];
	unsigned blocks_n[2];

	/* the fetcher's alone */
	struct sock *socks;
	int socks_n, conns;
	struct xfer *active, *dirty;
	int64_t now, curl_at, sweep_at, reap_at;
	CURL *reaper;
	struct turns turns;
	bool reaping;
};

#define QUEUE_CLOSED ((struct xfer *)1)
bool xfer_command(struct xfer *, unsigned cmd); /* to the fetcher; false when it is gone */
void xfer_unref(struct xfer *);
void xfer_destroy(struct xfer *);
void xfer_wake(struct xfer *);                  /* without the lock; waiting was true and has been cleared under it */
void engine_unref(struct httpc *);
struct block *block_new(struct httpc *, bool large);
void block_free(struct httpc *, struct block *);

/* httpc_loop.c */
CURL *fetcher_easy(struct httpc *, struct xfer *); /* a new handle with all that never changes */
void fetcher_init(struct httpc *);
void *fetcher_main(void *);
void fetcher_fini(struct httpc *);                 /* after the thread has ended */

void fetcher_sweep_by(struct httpc *, int64_t at); /* there is a timeout to be looked at then */

/* httpc_turns.c, on the fetcher thread */
int turn_take(struct httpc *, struct xfer *);      /* 1: it may go; 0: it waits; -ERR_BUSY: too many wait */
void turn_give(struct httpc *, struct xfer *);     /* it has ended, or waits no more */
void turn_http2(struct httpc *, struct xfer *, bool http2); /* what its origin has spoken */
struct xfer *turn_next(struct httpc *);            /* one that waited, and may go now; NULL: none */
void turns_fini(struct httpc *);

/* httpc_callbacks.c, on the fetcher thread */
void xfer_alive(struct xfer *);                    /* a sign of life */
void xfer_stretch(struct xfer *);                  /* the speed of its body is looked at from now on */
void xfer_dirty(struct xfer *);                    /* its caller may have something to do */
void xfer_give_up(struct xfer *, int err, const char *why); /* from within a callback that then fails */
int xfer_prereq_cb(void *, char *ip, char *local_ip, int port, int local_port);
size_t xfer_header_cb(char *, size_t, size_t, void *);
size_t xfer_write_cb(char *, size_t, size_t, void *);
size_t xfer_read_cb(char *, size_t, size_t, void *);

/* httpc_head.c */
bool head_field_is_ours(struct str name);
void head_parse_fields(struct str text, struct headers *); /* text is changed, and viewed by the fields */
int head_parse(struct str text, struct arena *, struct http_response *);
size_t head_length(struct str text);

/* httpc_connect.c */
bool httpc_exhausted(int e);                       /* errno of a socket that could not be made: is it we who have too much? */
void trust_init(struct httpc *);

/* httpc_staple.c */
#define SECURITY_LEVEL 2 /* OpenSSL's: no RSA below 2048 bits, no curve below 224, no SHA-1 in a signature */
void trust_demands(struct httpc *, SSL_CTX *, struct xfer *);
