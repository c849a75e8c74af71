/* step_lookup.c - what is stored for the request, and the verdict on it. Also opens it. */
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/range.h"
#include "../policy/key.h"
#include "failover.h"
#include "fetch.h"
#include "request.h"
#include "worker.h"

#define FIRST_BYTES_MS 3000 /* S3 has this long for the first bytes of what is only there: then the origin is asked, which may be no slower */
#define SLICE_MS 1000

/* metadata_get, or metadata_ask, which asks Elasticsearch too */
typedef int get_f(struct metadata *, const struct str ids[], unsigned n, struct arena *, struct meta metas[], bool found[]);

/* A document that has lost its manifest has no body, which is not the same as an empty one (behaviour.md 4.5). The old system
 * stores redirects without. */
static bool has_body(const struct meta *m)
{
	return m->manifest.n > 0 || m->content_size == 0 || (m->status >= 300 && m->status < 400 && m->flags & META_HEADERS_ONLY);
}

static void consider(struct request *r, const struct meta *m)
{
	if (m->status == 0 || !has_body(m) || !vary_matches(m, &r->http.headers)) /* RFC 9111 4.1 */
		return;
	if (r->has_stored && r->stored.response_time >= m->response_time) /* the newest of those that match */
		return;
	r->stored = *m;
	r->has_stored = true;
}

static void by_other_names(struct request *r, get_f *get, struct str vary)
{
	struct str names[VARY_NAMES], ids[VARY_NAMES];
	struct meta found[VARY_NAMES];
	bool there[VARY_NAMES];
	unsigned n = vary_names(r->arena, vary, &r->http.headers, names);
	for (unsigned i = 1; i < n; i++) /* the first was asked for already */
		ids[i] = key_variant_id(r->arena, r->plan.id, names[i]);
	if (n > 1 && get(r->worker->metadata, ids + 1, n - 1, r->arena, found, there) > 0)
		for (unsigned i = 0; i < n - 1; i++)
			if (there[i])
				consider(r, &found[i]);
}

/* request_find by get. guess: a third document that is likely to be wanted, asked for together with the first two; STR_NONE none. */
static int look_up(struct request *r, get_f *get, struct str guess, struct str *fetch_id)
{
	struct str ids[3] = { r->plan.vary_id, r->plan.id, guess };
	struct str raw = STR_NONE;
	struct meta found[VARY_NAMES];
	bool there[VARY_NAMES] = { false };
	*fetch_id = r->plan.id;
	r->has_stored = false;
	int n = get(r->worker->metadata, ids, guess.n > 0 ? 3 : 2, r->arena, found, there);
	if (n < 0 && n != -ERR_NOT_FOUND)
		return n;
	const struct str vary = there[0] ? found[0].vary : STR_NONE;
	const bool plain = there[1];
	if (plain)
		consider(r, &found[1]);
	if (there[2])
		consider(r, &found[2]);
	if (vary.n > 0)
		raw = vary_request(r->arena, vary, &r->http.headers);
	else if (!plain && r->worker->shared_documents) /* a document of the old system: stored under what Accept-Encoding alone selects (behaviour.md 2.1 step 5) */
		raw = vary_proactive(r->arena, &r->http.headers);
	if (raw.p != NULL) {
		struct str id = key_variant_id(r->arena, r->plan.id, raw);
		if (vary.n > 0)
			*fetch_id = id;
		if (!str_eq(id, guess) && get(r->worker->metadata, &id, 1, r->arena, found, there) > 0 && there[0])
			consider(r, &found[0]);
	}
	if (vary.n > 0 && !r->has_stored)
		by_other_names(r, get, vary);
	r->other_variants = !r->has_stored && (vary.n > 0 || plain);
	if (r->has_stored)
		*fetch_id = r->stored.id;
	return 0;
}

int request_find(struct request *r, struct str *fetch_id) { return look_up(r, metadata_get, STR_NONE, fetch_id); }

void request_variant(struct request *r, struct str vary)
{
	struct str raw = vary_request(r->arena, vary, &r->http.headers);
	if (raw.p != NULL)
		r->fetch_id = key_variant_id(r->arena, r->plan.id, raw);
}

int request_look_up(struct request *r, struct str *fetch_id)
{
	r->fill_epoch = fill_epoch(heritage.shared.fills, r->plan.id);
	r->fill_version = fill_version(heritage.shared.fills);
	return request_find(r, fetch_id);
}

/* Another node may have fetched it, or refreshed it. Once a request, and only before somebody would ask the origin: hits never come here.
 * true: it has, and the judgement is on that now. */
bool request_ask(struct request *r)
{
	const struct judge_options opt = judge_settings(conf());
	if (r->asked || r->worker->fleet.remote == NULL)
		return false;
	r->asked = true;
	const struct meta was = r->stored;
	const bool had = r->has_stored;
	struct str id = r->fetch_id, guess = r->fetch_id;
	if (str_eq(guess, r->plan.id)) {
		struct str raw = vary_proactive(r->arena, &r->http.headers);
		guess = raw.p != NULL ? key_variant_id(r->arena, r->plan.id, raw) : STR_NONE;
	}
	pool_blocking(r->worker->pool);
	if (look_up(r, metadata_ask, guess, &id) < 0 || !r->has_stored ||
	    (had && r->stored.stored_at <= was.stored_at && r->stored.response_time <= was.response_time)) {
		r->has_stored = had;
		r->stored = was;
		return false;
	}
	r->told = true;
	r->fetch_id = id;
	r->judgement = judge_stored(&opt, &r->plan, &r->http, &r->stored, clock_wall(), origin_down(&r->http.url));
	r->reason = r->judgement.reason;
	return true;
}

static enum req_step refuse(struct request *r)
{
	request_error(r, -ERR_ONLY_IF_CACHED, "");
	r->reason = REASON_only_if_cached;
	return STEP_deliver;
}

enum req_step step_lookup(struct request *r)
{
	struct state *state = heritage.shared.state;
	int e = request_look_up(r, &r->fetch_id);
	if (e < 0) { /* no database: serve, do not cache (invariant 6) */
		const struct judge_options opt = judge_settings(conf());
		atomic_store(&state->meta_bad, 1);
		atomic_store(&r->worker->blind, true);
		r->judgement = judge_stored(&opt, &r->plan, &r->http, NULL, r->started, false);
		if (r->judgement.verdict == VERDICT_REFUSE)
			return refuse(r);
		r->reason = REASON_cache_unavailable;
		return STEP_pass;
	}
	/* hits commit nothing that could tell that all is well again */
	if (atomic_load_explicit(&r->worker->blind, memory_order_relaxed) && atomic_exchange(&r->worker->blind, false) && metadata_health(r->worker->metadata) == NULL)
		atomic_store(&state->meta_bad, 0);
	return STEP_judge;
}

struct str request_part_id(const struct request *r) { return arena_printf(r->arena, "%.*s+part", STRP(r->plan.id)); }

/* Nothing whole is there. Its part, when there is one, may also be of use to fetch the rest. */
bool request_use_part(struct request *r)
{
	const struct judge_options opt = judge_settings(conf());
	const struct str id = request_part_id(r);
	struct range in;
	bool there;
	if (r->http.method != METHOD_GET)
		return false;
	r->has_part = metadata_get(r->worker->metadata, &id, 1, r->arena, &r->part, &there) > 0 && r->part.status == 206;
	if (!r->has_part || judge_part(&r->http, &r->part, &in) == SELECT_UNSATISFIABLE)
		return false;
	const struct judgement j = judge_stored(&opt, &r->plan, &r->http, &r->part, clock_wall(), false);
	if (j.verdict != VERDICT_HIT)
		return false;
	r->judgement = j;
	r->reason = j.reason;
	r->stored = r->part;
	return r->has_stored = true;
}

enum req_step step_judge(struct request *r)
{
	const struct judge_options opt = judge_settings(conf());
	r->judgement = judge_stored(&opt, &r->plan, &r->http, r->has_stored ? &r->stored : NULL, r->started,
	                            r->has_stored && origin_down(&r->http.url));
	if (!r->has_stored && request_use_part(r))
		return STEP_open;
	if (r->judgement.verdict == VERDICT_REFUSE && r->judgement.reason != REASON_cache_unavailable)
		request_ask(r); /* only-if-cached: the fleet's cache */
	r->reason = r->judgement.reason;
	if (r->other_variants && r->judgement.forward == FORWARD_uri_miss)
		r->judgement.forward = FORWARD_vary_miss;
	switch (r->judgement.verdict) {
	case VERDICT_HIT_AND_REVALIDATE:
		fetch_background(r->worker, &r->plan, &r->http, &r->stored, r->fill_epoch, r->fill_version);
		/* fall through */
	case VERDICT_HIT:
		r->stale = r->judgement.verdict == VERDICT_HIT_AND_REVALIDATE || (r->judgement.lifetime_s >= 0 && r->judgement.age_s >= r->judgement.lifetime_s);
		return STEP_open;
	case VERDICT_SERVE_STALE: /* banned (failover.h): nobody waits for it, and the first who comes after the ban's end has it asked */
		count(COUNT_stale_on_error);
		if (r->http.method == METHOD_GET && origin_wants_probe(&r->http.url))
			fetch_background(r->worker, &r->plan, &r->http, &r->stored, r->fill_epoch, r->fill_version);
		r->stale = true;
		return STEP_open;
	case VERDICT_REVALIDATE:
	case VERDICT_FETCH:
		return STEP_obtain;
	case VERDICT_PASS:
		return STEP_pass;
	case VERDICT_REFUSE:
		break;
	}
	return refuse(r);
}

/* What of the stored bytes will be sent first? false: none, or they are sure to be there. */
static bool first_wanted(struct request *r, uint64_t *first, uint64_t *n)
{
	struct range ranges[RANGE_MAX];
	unsigned ranges_n = 0;
	const int64_t size = object_size(r->object);
	if (r->worker->refill == NULL || r->http.method == METHOD_HEAD || size <= 0)
		return false;
	switch (judge_select(&r->http, &r->stored, size, clock_wall(), ranges, &ranges_n)) {
	case SELECT_FULL:
		*first = 0;
		*n = (uint64_t)size;
		return true;
	case SELECT_RANGES:
		*first = ranges[0].first;
		*n = ranges[0].last - ranges[0].first + 1;
		return true;
	case SELECT_NOT_MODIFIED:
	case SELECT_PRECONDITION_FAILED:
	case SELECT_UNSATISFIABLE:
		break;
	}
	return false;
}

/* In a fleet the bytes may be in S3 only. While no head has been sent, all can still be answered otherwise: so the first of them are made
 * sure now. 0, or why not. */
static int make_sure(struct request *r)
{
	uint64_t first, n;
	int e;
	if (!first_wanted(r, &first, &n) || (e = object_prepare(r->object, first, n, 0)) == 0)
		return 0;
	const int64_t since = clock_mono(), until = since + FIRST_BYTES_MS;
	pool_blocking(r->worker->pool);
	while (e == -ERR_TIMEOUT && clock_mono() < until) {
		if (conn_gone(r->conn))
			return -ERR_CLIENT_GONE;
		const int64_t slice = clock_mono() + SLICE_MS;
		e = object_prepare(r->object, first, n, slice < until ? slice : until);
	}
	if (e == -ERR_TIMEOUT)
		refill_silent(r->worker->refill, since);
	return e;
}

/* What is stored becomes the answer. -ERR_X: its bytes cannot be had; when they are nowhere any more, it is forgotten everywhere. */
int request_serve_stored(struct request *r)
{
	if (r->http.method != METHOD_HEAD || r->stored.manifest.n > 0) {
		int e = object_open(&r->object, r->worker->chunks, r->worker->refill, r->stored.manifest);
		if (e == 0 && (e = make_sure(r)) < 0)
			object_close(&r->object);
		if (e < 0) {
			if (e == -ERR_NOT_FOUND || e == -ERR_CORRUPT) { /* else it is us (no descriptors or memory just now), or S3 is away */
				count(COUNT_corrupt);
				metadata_drop_seen_later(r->worker->metadata, &r->stored);
			}
			r->has_stored = false;
			r->asked = true; /* Elasticsearch would say the same */
			return e;
		}
	}
	metadata_touch(r->worker->metadata, r->stored.id, r->started);
	r->meta = r->stored;
	r->has_meta = r->cached = true;
	r->response.status = (int)r->meta.status;
	r->response.reason = r->meta.reason;
	r->response.headers = r->meta.headers;
	r->served_age = judge_age(&r->meta, clock_wall());
	return 0;
}

enum req_step step_open(struct request *r)
{
	if (request_serve_stored(r) == 0)
		return STEP_deliver;
	r->stale = false; /* what comes instead is not */
	r->judgement.forward = FORWARD_miss;
	return STEP_obtain;
}
