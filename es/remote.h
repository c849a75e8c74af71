/* remote.h - Elasticsearch, or OpenSearch, over httpc.h: the index's documents as JSON. Thread-safe; calls block with a bound.
 * Several URLs are one cluster: the one that answered last is asked first, the next when it fails. A breaker answers at once while all
 * are down, and lets one request through now and then to find out: it opens after REMOTE_FAILURES failures in a row, for REMOTE_REST_MS,
 * twice as long each time that the one request fails too, up to REMOTE_REST_MAX_MS (each +-25 %, so that nodes do not come together).
 * -ERR_ES_FAILED (network, 5xx, no answer in time, garbage, the breaker), -ERR_ES_DENIED (401, 403), -ERR_BUSY (429), -ERR_CONFLICT (409),
 * -ERR_NOT_FOUND (404), -ERR_BAD_REQUEST (any other 4xx: it will not heal). */
#pragma once
#include "../common/httpc.h"
#include "../common/meta.h"

#define REMOTE_FAILURES 3
#define REMOTE_REST_MS 1000
#define REMOTE_REST_MAX_MS 30000
#define REMOTE_URLS_MAX 16

struct remote_options {
	struct httpc *httpc;                      /* outlives it */
	const char *const *urls;                  /* http[s]://[user:password@]host[:port][/base] */
	unsigned urls_n;
	const char *index;
	const char *user, *password, *api_key;    /* "" none; api_key wins */
	int replicas, shards;                     /* of an index that we make */
	int64_t ask_ms;                           /* the request path's limit for a look-up */
	int64_t timeout_ms;                       /* everything else */
};
struct remote;
int remote_open(struct remote **, const struct remote_options *, char problem[256]); /* -ERR_SETTING; does not connect */
void remote_close(struct remote **);
const char *remote_trouble(struct remote *);  /* NULL well; a static text; for health */
bool remote_resting(struct remote *);         /* would the breaker answer at once? */
int remote_check(struct remote *, int64_t timeout_ms, char problem[256]); /* asks it; for health. Not subject to the breaker */
/* Makes the index when it is not there (behaviour.md 4.5); one that is there is used as it is. */
int remote_make_index(struct remote *, int64_t timeout_ms);

/* Every document of the index that has a manifest (id, manifest and doc_type are set, nothing else), for `passsage gc`: what is read is whole, or
 * the result is -ERR_X. Makes all that was written until now visible first. fn false stops (0). */
typedef bool remote_walk_f(void *arg, const struct meta *);
int remote_walk(struct remote *, remote_walk_f *, void *arg, char problem[256]);

/* One call. path is below the index ("_mget?…"; with a leading slash below the base). *json (when it is not NULL) is the answer's document,
 * the caller's; with an error it is that of the error's answer, or NULL. An answer above answer_max is garbage. */
struct json_t;
struct remote_call {
	const char *method;
	struct str path, body;         /* body: a JSON document, or lines of them */
	bool lines;
	int64_t timeout_ms;            /* all together, also over several URLs; 0: the options' */
	size_t answer_max;             /* 0: REMOTE_ANSWER_MAX */
};
#define REMOTE_ANSWER_MAX (32u << 20)
int remote_do(struct remote *, const struct remote_call *, struct json_t **json);
const struct remote_options *remote_options(const struct remote *);
/* How much Elasticsearch's clock is ahead of ours, in ms (0: not known, or no more than REMOTE_CLOCK_TOLERANCE_MS, which is not worth a
 * correction). Nodes whose clocks differ have one clock in common by it: the one that times in documents are written in.
 * remote_measure asks for it; where it is known from elsewhere remote_set_offset sets it. */
#define REMOTE_CLOCK_TOLERANCE_MS 2000 /* and CODEC_TOLERANCE_MS */
int64_t remote_offset(const struct remote *);
int64_t remote_offset_exactly(const struct remote *); /* for the times of events: as measured, to some ms */
void remote_set_offset(struct remote *, int64_t);
int remote_measure(struct remote *);
