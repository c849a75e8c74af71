/* judge.h - what HTTP caching (RFC 9111, 5861, 8246) and the policies make of a request, a stored response and an origin's answer.
 * Pure: no I/O, no clock, no log, no settings but what is passed in. Every clause is a row in t/unit/policy_judge.c. */
#pragma once
#include "../common/meta.h"
#include "policy.h"

#define VERDICTS(X) \
	X(HIT,                "served from the cache") \
	X(HIT_AND_REVALIDATE, "served stale, the origin is asked in the background") \
	X(REVALIDATE,         "stored, but the origin must confirm it") \
	X(FETCH,              "not stored, or not usable") \
	X(PASS,               "neither looked up nor stored") \
	X(SERVE_STALE,        "stale, for the origin failed or is known to be down") \
	X(REFUSE,             "only-if-cached, and it is not there")
enum verdict {
#define X(name, text) VERDICT_##name,
	VERDICTS(X)
#undef X
};
/* serve_reason of behaviour.md 2.9, our additions below */
#define REASONS(X) \
	X(upstream_served) X(no_cache_s3_request) X(no_cache_policy) X(no_cache_method) X(head_synthetic_from_cache) \
	X(head_forced_swr_synthetic) X(head_via_upstream) X(redirect_synthetic_from_cache) X(cache_hit_norefresh) X(cache_hit_fresh) \
	X(cache_hit_stale_while_revalidate) X(cache_hit_forced_swr) X(conditional_revalidation) X(stale_no_validators) \
	X(cache_hit_revalidated) X(stale_if_error_fallback) X(cache_hit_max_stale) X(only_if_cached) X(joined) X(not_shareable) \
	X(cache_unavailable) X(onboarding) X(tunnel) X(upgrade) X(error_page) X(purge) \
	X(request_no_store) X(request_body) X(request_precondition) X(request_forwarded)
enum reason {
#define X(name) REASON_##name,
	REASONS(X)
#undef X
};
/* Why a request goes to the origin: the fwd parameter of Cache-Status (RFC 9211 2.2). judge_stored says uri-miss where nothing is given to
 * it: its caller knows whether there are other variants (vary-miss), bytes that cannot be read (miss), or a part (partial). */
#define FORWARDS(X) X(none, "") X(bypass, "bypass") X(method, "method") X(uri_miss, "uri-miss") X(vary_miss, "vary-miss") \
	X(request, "request") X(stale, "stale") \
	X(miss, "miss") X(partial, "partial")
enum forward {
#define X(name, text) FORWARD_##name,
	FORWARDS(X)
#undef X
};
const char *forward_name(enum forward); /* as in the field; "" for none */
const char *verdict_name(enum verdict);
const char *reason_name(enum reason);

struct judge_options {             /* from the settings */
	int64_t heuristic_percent;     /* of (Date - Last-Modified); 10 */
	int64_t heuristic_max_s;       /* 86400 */
	bool shared;                   /* true: a shared cache */
	bool targeted;                 /* Passsage-Cache-Control and CDN-Cache-Control are for us (RFC 9213) */
};
struct judgement {
	enum verdict verdict;
	enum reason reason;
	int64_t age_s;        /* current_age of what is stored (RFC 9111 4.2.3); -1 when nothing is stored */
	int64_t lifetime_s;   /* freshness_lifetime; -1 none */
	bool conditional;     /* REVALIDATE: the stored response has a validator to send */
	bool stale_on_error;  /* judge_failure would allow what is stored */
	enum forward forward; /* none when the origin is not waited for */
};
/* Before the lookup: PASS (with its reason), or FETCH meaning "look it up". PASS: other methods, NoCache, no-store (unless
 * only-if-cached), a GET with a body (no key knows it), If-Match and If-Unmodified-Since (the origin's to answer, RFC 9111 4.3.2;
 * but under NoRefresh we answer in its place). A passed request goes with its conditional fields and Range as they are. */
struct judgement judge_request(const struct plan *, const struct http_request *);
/* stored may be NULL (a miss). now in ms (wall). origin_down: the origin is known not to answer. */
struct judgement judge_stored(const struct judge_options *, const struct plan *, const struct http_request *,
                              const struct meta *stored, int64_t now, bool origin_down);

/* What the origin's final answer is worth. */
enum outcome {
	OUTCOME_STORE,       /* new response: store it and serve it */
	OUTCOME_FRESHEN,     /* 304 (or a HEAD that matches): stored is renewed by judge_freshen and served */
	OUTCOME_SERVE_STALE, /* an error answer, and what is stored may be served instead */
	OUTCOME_RELAY,       /* serve it, do not store it */
	OUTCOME_INVALIDATE,  /* serve it, do not store it, and drop what is stored or set META_INVALIDATED: a HEAD shows that it has changed */
	OUTCOME_REFETCH,     /* a 304 that is not about what is stored (4.3.4): ask again, once, without conditions */
};
/* stored: what the request was validated against, or would be replaced, or NULL; also for the answer to a HEAD that was forwarded
 * while a GET is stored. A 304 with nothing stored answers the client's own condition: RELAY. A POST may give STORE (RFC 9110 9.3.3:
 * it names itself in Content-Location and has explicit freshness): store it as the answer to GET, after the invalidation. */
enum outcome judge_response(const struct judge_options *, const struct plan *, const struct http_request *,
                            const struct meta *stored, const struct http_response *, int64_t now);
/* The same for no answer at all (err is -ERR_ORIGIN_*): SERVE_STALE or RELAY (= the error). */
enum outcome judge_failure(const struct judge_options *, const struct plan *, const struct http_request *,
                           const struct meta *stored, int64_t now);

/* The meta of a response that is to be stored, in the arena: headers end-to-end without Age and what no-cache="…" and private="…"
 * name, with a Date (RFC 9110 6.6.1), times, date, age, flags, vary. id, manifest and content_size are the caller's. */
void judge_meta(const struct judge_options *, const struct plan *, const struct http_request *, const struct http_response *, int64_t request_time,
                int64_t response_time, struct arena *, struct meta *);
/* RFC 9111 3.2, 4.3.4: *stored with the header fields of a 304 or HEAD answer laid over: all but Content-Length and -Encoding (of a part, or where there was none, also Content-Range),
 * which say how the stored bytes are to be read, and hop-by-hop fields. The new
 * fields are copied into the arena; the old ones point where they did. */
void judge_freshen(const struct judge_options *, struct meta *stored, const struct http_response *, int64_t request_time, int64_t response_time, struct arena *);
/* RFC 9111 3.5: may what judge_freshen made be stored, or is it for this client alone, whose credentials were asked with? */
bool judge_renews(const struct judge_options *, const struct http_request *, const struct meta *freshened);
/* The conditional request of RFC 9111 4.3.1 for what is stored: If-None-Match and/or If-Modified-Since put into headers (the
 * client's own conditionals and Range are taken out). stored NULL: these are only taken out, for a fetch of the whole. */
void judge_conditional(const struct meta *stored, struct headers *request_headers);
/* RFC 9111 4.2.3 now */
int64_t judge_age(const struct meta *, int64_t now);
int64_t judge_lifetime(const struct judge_options *, const struct plan *, const struct meta *); /* s; -1: none. plan: NULL, or with its refresh pattern */
/* May two requests share one upstream answer that is still under way? (what a joiner asks when the head is there) As judge_stored's
 * HIT for a response that has just arrived; growing is what judge_meta made, of a response that judge_response gave STORE. */
bool judge_may_join(const struct judge_options *, const struct plan *, const struct http_request *, const struct meta *growing, int64_t now);
/* RFC 9111 4.4: must the stored response of this URI be invalidated after this answer? Location and Content-Location too
 * (same origin only): *also gets up to two URLs. */
bool judge_invalidates(const struct http_request *, const struct http_response *, struct arena *, struct url also[2], unsigned *n);

/* Partial content (part.c). The range that is to be asked for by itself when nothing is stored, or STR_NONE. */
struct str judge_wants_part(const struct plan *, const struct http_request *);
/* Is a 206 that range, or the beginning of it? Else nobody can tell what its bytes are. (Where the tail of something is only its origin knows: any.) */
bool judge_answers_range(struct str range, const struct http_response *);
/* May the 206 that answered it be stored? Its meta has that range as its vary_request. */
bool judge_keeps_part(const struct judge_options *, const struct plan *, const struct http_request *, const struct http_response *, int64_t now);
/* May a stored whole that is wanted be completed from a stored part? The range to ask for, and If-Range when .p. */
bool judge_rest(const struct judge_options *, const struct meta *part, int64_t now, struct arena *, struct str *range, struct str *if_range);
bool judge_completes(const struct meta *part, const struct http_response *);             /* is this the rest of it (3.4)? */
void judge_combine(const struct meta *part, struct http_response *rest, struct arena *); /* rest becomes the head of the whole */
/* What is said of the bytes of one message (RFC 9530 2) is of no other part of the same thing. */
void judge_drop_digests(struct headers *);
/* A 206 of something that has so many bytes becomes the head of it: with the fields of earlier that it does not have itself (NULL: none). */
void judge_as_whole(const struct meta *earlier, uint64_t total, struct http_response *, struct arena *);

/* How a complete (or growing) stored response answers this request: RFC 9110 13.2.2 precedence, then ranges (14.2). */
enum selection { SELECT_FULL, SELECT_RANGES, SELECT_NOT_MODIFIED, SELECT_PRECONDITION_FAILED, SELECT_UNSATISFIABLE };
struct range;
/* The same of a stored part: FULL (as it is), RANGES (*in: within its bytes), or UNSATISFIABLE: not by it. */
enum selection judge_part(const struct http_request *, const struct meta *part, struct range *in);
/* size -1 when unknown (growing): ranges are then ignored. ranges has RANGE_MAX places. */
enum selection judge_select(const struct http_request *, const struct meta *, int64_t size, int64_t now, struct range *ranges, unsigned *n);
