/* fetch.h - origin → object. Knows the origin and the object, never the client.
 * A fetch is begun, and answered when the origin's head is there; between the two its caller may wait, or do something else. It runs in its
 * caller's thread until that head was judged, and on through the body as long as bytes are there at once (a small
 * object is thus complete without any hand-over); what is left of the body is finished by another thread of the pool. */
#pragma once
#include "../common/httpc.h"
#include "../policy/judge.h"
#include "../s3/fill.h"
#include "fetch_ranges.h"

struct worker;

/* 1xx answers on the way (103 Early Hints); not called for 100 and 101 */
typedef void fetch_interim_f(void *arg, const struct http_response *);

struct fetch_ask {
	struct worker *worker;
	const struct plan *plan;
	const struct http_request *request;   /* as the client sent it */
	const struct meta *stored;            /* what would be served stale, or replaced; NULL none */
	bool conditional;                     /* and it is asked about: validate it (judgement.conditional) */
	struct fill **fill;                   /* the claim (FILL_WRITER): taken over. NULL: nothing is stored */
	struct str range, if_range;           /* ask for this range of it only, when .p: */
	const struct meta *part;              /* the rest of this; NULL: a part, to be kept as such */
	const struct meta *partial;           /* of the whole, so much is there already (partial.h); NULL none */
	uint64_t version;                     /* fill_version, before stored was looked up: what was outdated since is not stored */
	fetch_interim_f *interim;             /* may be NULL */
	void *arg;                            /* of interim */
};
struct fetched {
	enum outcome outcome;
	int err;                              /* no answer at all: -ERR_X, and outcome says whether stale may be served (SERVE_STALE) or not (RELAY) */
	char problem[256];
	struct http_response response;        /* the origin's head, in the caller's arena */
	struct meta meta;                     /* STORE: what is being stored; FRESHEN: what is stored, renewed */
	struct fill *reader;                  /* STORE: the caller's */
	struct xfer *xfer;                    /* RELAY of an answer: its body, the caller's */
	bool full;                            /* it would have been stored, but too much waits for S3 (--spool-size) */
	bool from_store;                      /* STORE: the origin was not asked, for what is wanted was there (partial.h) */
	bool too_large;                       /* RELAY, because of its share of the store */
	bool store_full;                      /* STORE, but the store did not take its first bytes, or the last object: it goes to those who read it now */
};
struct fetching {
	struct fetch_ask ask;                 /* what it points to must stay until the fetch is answered */
	struct arena *arena;
	struct fill *fill;
	struct xfer *xfer;
	const struct meta *validate;
	struct object *part;
	bool ranged;
	bool unasked;                         /* all that is wanted of ask.partial is there */
	struct ranges_object whole;           /* else of this, which it is a part of, */
	struct extent missing;                /* … these bytes are asked for; .end == 0: none */
	bool probe, refused;                  /* failover.h: it finds out whether a banned origin is back; it was not asked at all */
	int tries, begin_err;
	int64_t requested, begun;             /* wall, ms; the last try, mono */
	struct fetched got;
};
void fetch_begin(struct fetching *, const struct fetch_ask *, struct arena *);
/* true: got is there. false: the origin has not said all by deadline (0: does not wait). Call it again, or fetch_abandon. */
bool fetch_answer(struct fetching *, int64_t deadline);
/* The client has left: what was begun ends, unless others wait for it: false, it goes on. */
bool fetch_abandon(struct fetching *);
/* The three in one, waiting. */
void fetch_object(const struct fetch_ask *, struct arena *, struct fetched *);

/* An answer that somebody else has got from the origin (judge_response: STORE) becomes an object: out->response is its head, *x its
 * body. true: out->reader is the caller's, *x is taken. false: nothing has changed. */
bool fetch_keep(const struct fetch_ask *, struct xfer **x, int64_t requested, int64_t answered, struct arena *, struct fetched *out);

/* Asks the origin again in the background, at most once for a stored response however many ask (epoch: fill_epoch before it was looked up), and
 * at most BACKGROUND_MAX together. */
void fetch_background(struct worker *, const struct plan *, const struct http_request *, const struct meta *stored, uint32_t epoch, uint64_t version);

/* A try that began at begun (mono) ended with err before its head: may it be sent again, once? xfer: it was; may be NULL. */
bool fetch_again(const struct plan *, const struct http_request *, int err, int64_t begun, const struct xfer *);
/* The header section for the origin: end-to-end fields of the client, Via added. */
void upstream_headers(const struct http_request *, struct headers *out);
int64_t plan_connect_ms(const struct plan *);
int64_t plan_read_ms(const struct plan *);
void plan_limits(const struct plan *, struct httpc_request *); /* all times of a request to an origin: the plan's, else the settings' */
