/* request.h - one request on its way (tbl/steps.h): what each step found out, in the order in which they do.
 * Everything it points to is in its arena. While its origin is waited for it rests, and costs no thread. */
#pragma once
#include "../common/httpc.h"
#include "../policy/judge.h"
#include "../s3/object.h"
#include "conn.h"
#include "errorpage.h"
#include "fetch.h"
#include "http1.h"

enum req_step {
#define STEP(name, to, text) STEP_##name,
#include "tbl/steps.h"
	STEP_MAX,
	STEP_REST = STEP_MAX /* what the step waits for is not there yet: the request rests, and the step is run again when it is */
};

/* On the heap with an arena of its own, for a request that rests outlives its handler's turn; a thread keeps a spare one. */
struct request {
	/* who asks */
	struct worker *worker;
	struct conn *conn;
	struct arena *arena;              /* = &own */
	struct arena own;
	char id[37];
	int64_t started, started_mono;    /* ms */
	enum req_step step;

	/* what is asked: parse */
	struct http_request http;
	struct http1_framing framing;
	enum http1_target target;
	int64_t body_left;                /* of the request's body: not yet read; -1 chunked and not at its end */
	struct http1_chunked chunked;
	int64_t body_waited;              /* ms spent waiting for it (not for the origin that takes it) */
	uint64_t body_got;

	/* plan, lookup, judge */
	struct plan plan;
	bool planned;
	bool own_bucket;                  /* it is for the bucket that we store in, and should not have come here (policy/s3host.h) */
	struct meta stored;               /* the selected variant */
	bool has_stored, other_variants;  /* … and others that do not answer this request */
	struct meta part;                 /* of a whole that is not stored (policy/part.c) */
	bool has_part;
	struct meta partial;              /* what is there of a whole of which the rest can be asked for (partial.h) */
	struct str fetch_id;              /* under which name the response would be stored; the fill's key */
	uint32_t fill_epoch;              /* of s3/fill.h, before the lookup */
	uint64_t fill_version;            /* likewise */
	bool asked, told;                 /* Elasticsearch was asked, or there is no sense in it; and what is stored came from there */
	bool look_again;                  /* somebody else was at it meanwhile */
	bool waited;                      /* … and we were there before the answer was */
	struct judgement judgement;
	enum reason reason;

	struct fetching fetching;         /* from obtain to answer */

	/* what is answered: exactly one of page, object and xfer is the body's source (none: no body) */
	struct http_response response;    /* status and end-to-end fields */
	struct meta meta;                 /* of a response that is or will be stored */
	bool has_meta;
	struct object *object;
	struct xfer *xfer;
	bool page;                        /* our own words */
	bool cached, joined, stale, revalidated;
	int64_t served_age;               /* s, -1 none */

	/* how it went */
	int err;                          /* -ERR_X: why it failed, 0 */
	char problem[256];                /* the same in words */
	bool head_sent, broken;           /* broken: the connection must not be used again */
	uint64_t bytes_sent;
};

/* Runs one request whose head is complete. REQUEST_NEXT: the connection goes on, REQUEST_LAST: it must be closed gently, REQUEST_DEAD: it is
 * dead or not ours any more. REQUEST_RESTS: it is conn->request; request_rest, then request_resume. */
enum request_end { REQUEST_DEAD = -1, REQUEST_LAST = 0, REQUEST_NEXT = 1, REQUEST_RESTS = 2 };
enum request_end request_run(struct conn *, struct str head);
/* The last thing that its handler does with the connection: true, it rests, and conn_wakes is called when it can go on; false: it
 * can already. */
bool request_rest(struct conn *);
enum request_end request_resume(struct conn *);
void request_score(const struct request *, struct score_thread *); /* step, since when, what */
void request_spare_free(struct request *);
/* The head is not HTTP that we take (err: -ERR_X): says so to the client. */
enum request_end request_refuse(struct conn *, int err, const char *problem);

/* The next bytes of the request's body, decoded, into buf: > 0, 0 at the end, -ERR_X. Sends nothing. */
int64_t request_body(struct request *, void *buf, size_t n);
/* Once the client is in http, and what is said of the connection alone is out of it: what the rules say. */
struct ruleset;
void request_plan(struct request *, const struct ruleset *);
/* It is to be looked up: its Accept-Encoding as the settings want it, for the variant and the origin alike. */
void request_judge(struct request *); /* sets judgement: VERDICT_PASS, why, or that what is stored decides */
void request_normalize(struct request *);
/* The Cache-Status field of what is answered; STR_NONE for none. */
struct str request_cache_status(struct request *);
/* Makes page the answer (an error of our own words, an onboarding page). */
void request_answer(struct request *, const struct page *);
void request_error(struct request *, int err, const char *problem);

/* Shared by the steps. */
int request_look_up(struct request *, struct str *fetch_id);   /* stored, has_stored; the fills' epoch and version before it */
/* The same without the fills. fetch_id: under which name a response to this request would be stored, as far as is known before it comes.
 * Needs plan, http, arena, and of worker the metadata. */
int request_find(struct request *, struct str *fetch_id);
bool request_ask(struct request *);                            /* the same from Elasticsearch, and the judgement; true: that is newer */
bool request_use_part(struct request *);                       /* a stored part becomes stored: it may be the answer */
struct str request_part_id(const struct request *);
int request_serve_stored(struct request *);                    /* stored becomes the answer */
void request_variant(struct request *, struct str vary);       /* fetch_id becomes that of the variant that this request selects */
void request_interim(struct request *, const struct http_response *); /* a 1xx on the way */
bool request_loops(const struct request *);                    /* it is to ourselves, or has been here */
bool request_onboards(struct str host);                        /* our pages stand below this host */

typedef enum req_step step_f(struct request *);
#define STEP(name, to, text) step_f step_##name;
#include "tbl/steps.h"
const char *step_name(enum req_step);
void steps_print(FILE *);             /* the table as a graph, for the manual */
