/* step_obtain.c - the response is not in the cache, or not usable as it is: start or join a fill, validate, or serve stale.
 * Retry, 304 and stale-if-error end in here. */
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/log.h"
#include "../policy/key.h"
#include "commitwait.h"
#include "failover.h"
#include "fetch.h"
#include "request.h"
#include "worker.h"

#define SLICE_MS 1000      /* how often a wait looks whether its client is still there */
#define ROUNDS 6   /* claims of one request: a writer that dies, a variant that differs, somebody's revalidation; then alone */

static void interim(void *arg, const struct http_response *resp)
{
	struct request *r = arg;
	if (r->http.minor >= 1)
		request_interim(r, resp);
}

static enum req_step fail(struct request *r, int err, const char *problem)
{
	if (err == -ERR_CLIENT_GONE) {
		r->err = err;
		r->broken = true;
	}
	request_error(r, err, problem);
	return STEP_deliver;
}

static enum req_step serve_stale(struct request *r, int err, const char *problem)
{
	if (request_serve_stored(r) < 0)
		return fail(r, err, problem);
	r->stale = true;
	r->reason = REASON_stale_if_error_fallback;
	r->err = err;
	snprintf(r->problem, sizeof r->problem, "%s", problem);
	count(COUNT_stale_on_error);
	return STEP_deliver;
}

static enum req_step fetch(struct request *r, struct fill **fill);

/* STEP_REST: the origin is asked once more. */
static enum req_step use(struct request *r, struct fetched *got)
{
	switch (got->outcome) {
	case OUTCOME_STORE:
		r->object = object_growing(&got->reader);
		r->meta = got->meta;
		r->has_meta = true;
		r->response = got->response;
		return STEP_deliver;
	case OUTCOME_FRESHEN:
		r->stored = got->meta;
		if (request_serve_stored(r) < 0) { /* what was confirmed has lost its bytes: the origin is asked for them, which is rare */
			fetch(r, NULL);
			return STEP_REST;
		}
		r->revalidated = true;
		r->reason = REASON_cache_hit_revalidated;
		return STEP_deliver;
	case OUTCOME_SERVE_STALE:
		return serve_stale(r, got->err, got->problem);
	case OUTCOME_RELAY:
	case OUTCOME_INVALIDATE: /* these two end in fetch_answer */
	case OUTCOME_REFETCH:
		break;
	}
	if (got->err < 0)
		return fail(r, got->err, got->problem);
	r->response = got->response;
	r->xfer = got->xfer;
	return STEP_deliver;
}

/* Sends the request to the origin; its answer is the next step's. */
static enum req_step fetch(struct request *r, struct fill **fill)
{
	const struct judge_options opt = judge_settings(conf());
	struct fetch_ask ask = { .worker = r->worker, .plan = &r->plan, .request = &r->http, .stored = r->has_stored ? &r->stored : NULL,
	                         .conditional = r->has_stored && r->judgement.conditional, .fill = fill, .interim = interim, .arg = r,
	                         .version = r->fill_version };
	if (!r->has_stored && fill != NULL) {
		if (r->has_part && judge_rest(&opt, &r->part, clock_wall(), r->arena, &ask.range, &ask.if_range))
			ask.part = &r->part, r->judgement.forward = FORWARD_partial;
		else
			ask.range = judge_wants_part(&r->plan, &r->http);
	}
	fetch_begin(&r->fetching, &ask, r->arena);
	return STEP_answer;
}

enum req_step step_answer(struct request *r)
{
	enum req_step next = STEP_REST;
	while (next == STEP_REST && (fetch_answer(&r->fetching, 0) || (r->conn->nudged && conn_gone(r->conn) && fetch_abandon(&r->fetching))))
		next = use(r, &r->fetching.got);
	return next;
}

/* Has it a validator? Else there is nothing to be won by waiting until it is stored. */
static bool worth_asking_about(struct request *r)
{
	return headers_has(&r->meta.headers, STR("ETag")) || headers_has(&r->meta.headers, STR("Last-Modified")) || r->meta.status == 206;
}

static bool is_over(void *arg) { return fill_over(arg); }

/* What came just now may not be used unasked (no-cache), but asked about. Its bytes are all there, and its document is a commit away:
 * worth these milliseconds, where a second download is not. It is the key that is waited for, which is free a moment after the document can be
 * seen: who would look again in between finds the same fill, and at last asks for himself, whose answer nobody stores. */
static bool await_commit(struct request *r, struct fill *fill)
{
	if (!fill_whole(fill))
		return false;
	pool_blocking(r->worker->pool);
	return commit_wait(is_over, fill);
}

/* An answer that came after our request is as good as one to it. One that was there before is a stored response like others, though its
 * document may still be on the way: only what is fresh may be used unasked (RFC 9111 4). */
static bool good_for_us(struct request *r)
{
	const struct judge_options opt = judge_settings(conf());
	int64_t now = clock_wall();
	if (r->waited || r->meta.status == 206) /* a part is good for the same range only */
		return judge_may_join(&opt, &r->plan, &r->http, &r->meta, now);
	if (!vary_matches(&r->meta, &r->http.headers))
		return false;
	struct judgement j = judge_stored(&opt, &r->plan, &r->http, &r->meta, now, false);
	return j.verdict == VERDICT_HIT || j.verdict == VERDICT_HIT_AND_REVALIDATE;
}

/* The origin failed for somebody else: it would for us. */
static enum req_step failed_for_us(struct request *r, int err, const char *problem)
{
	const struct judge_options opt = judge_settings(conf());
	if (judge_failure(&opt, &r->plan, &r->http, r->has_stored ? &r->stored : NULL, clock_wall()) == OUTCOME_SERVE_STALE)
		return serve_stale(r, err, problem);
	return fail(r, err, problem);
}

/* Somebody else fetches it. STEP_MAX: look again. */
static enum req_step join(struct request *r, struct fill **fill, bool *alone)
{
	struct str record;
	char problem[256];
	int64_t total;
	int e, why;
	for (int64_t deadline = 0; (e = fill_wait_head(*fill, deadline, r->arena, &record, &total)) == -ERR_TIMEOUT; deadline = clock_mono() + SLICE_MS) {
		if (deadline > 0 && conn_gone(r->conn)) {
			fill_leave(fill);
			return fail(r, -ERR_CLIENT_GONE, "");
		}
		if (origin_refuses(&r->http.url, &why, problem, sizeof problem)) { /* he may wait for long, and a crowd with him would hold as many threads */
			fill_leave(fill);
			return failed_for_us(r, why, problem);
		}
		r->waited = true;
		pool_blocking(r->worker->pool);
	}
	if (e == 0 && (e = meta_decode(record, r->arena, &r->meta)) == 0 && good_for_us(r)) {
		/* Not a hit but the origin's answer to somebody else's request (RFC 9211 2.6, collapsed), unless all of it was there when we came. */
		r->has_meta = true;
		r->cached = fill_whole(*fill);
		r->joined = !r->cached;
		r->reason = r->cached ? REASON_cache_hit_fresh : REASON_joined;
		r->response.status = (int)r->meta.status;
		r->response.reason = r->meta.reason;
		r->response.headers = r->meta.headers;
		r->served_age = judge_age(&r->meta, clock_wall());
		r->object = object_growing(fill);
		return STEP_deliver;
	}
	struct str grown_vary = e == 0 ? r->meta.vary : STR_NONE;
	bool stored = e == 0 && grown_vary.n == 0 && worth_asking_about(r) && await_commit(r, *fill);
	fill_leave(fill);
	if (stored)
		return STEP_MAX;
	if (e == 0 && r->meta.status == 206) { /* a part that is not ours: the whole is fetched beside it */
		r->fetch_id = request_part_id(r);
		return STEP_MAX;
	}
	if (e == -ERR_UNSHAREABLE) {
		*alone = true;
		return STEP_MAX;
	}
	if (e == 0) { /* not for us: another variant, whose name the index will tell soon; or not to be shared with us */
		if (grown_vary.n == 0)
			*alone = true;
		else
			request_variant(r, grown_vary);
		return STEP_MAX;
	}
	if (e == -ERR_AGAIN || e == -ERR_FILL_FAILED || e == -ERR_GONE || e == -ERR_DESTINATION) /* the last: closed for that client, but for us? */
		return STEP_MAX;
	return failed_for_us(r, e, err_text(e));
}

static bool usable_now(struct request *r)
{
	const struct judge_options opt = judge_settings(conf());
	if (!r->has_stored)
		return false;
	/* confirmed or fetched while we waited: as good as our own asking, if it may be shared */
	if ((r->waited ? r->stored.response_time >= r->started : r->stored.response_time > r->started) && judge_may_join(&opt, &r->plan, &r->http, &r->stored, clock_wall()))
		return true;
	r->judgement = judge_stored(&opt, &r->plan, &r->http, &r->stored, clock_wall(), false);
	return r->judgement.verdict == VERDICT_HIT || r->judgement.verdict == VERDICT_HIT_AND_REVALIDATE;
}

static bool look_again(struct request *r)
{
	const struct str was = r->fetch_id;
	if (request_look_up(r, &r->fetch_id) < 0)
		return false;
	if (r->has_stored)
		return usable_now(r) && request_serve_stored(r) == 0;
	if (str_eq(r->fetch_id, r->plan.id)) /* nothing new: the name that join found stands */
		r->fetch_id = was;
	return request_use_part(r) && request_serve_stored(r) == 0;
}

static void let_go(void *arg, int err)
{
	struct fill *fill = arg;
	(void)err;
	fill_fail(&fill, -ERR_AGAIN, 0); /* who waited looks again, and finds it */
}

/* Another node may have it (es/metadata.h). Whoever would go to the origin asks, so that a crowd asks once: it waits until our mirror has the
 * answer, too. */
static bool found_elsewhere(struct request *r, struct fill **fill)
{
	if (!request_ask(r))
		return false;
	const struct judgement *j = &r->judgement;
	if (j->verdict != VERDICT_HIT && j->verdict != VERDICT_HIT_AND_REVALIDATE && j->verdict != VERDICT_SERVE_STALE)
		return false;
	const bool stale = j->lifetime_s >= 0 && j->age_s >= j->lifetime_s;
	if (request_serve_stored(r) < 0)
		return false;
	r->stale = stale;
	if (fill != NULL) {
		metadata_flush_then(r->worker->metadata, let_go, *fill);
		*fill = NULL;
	}
	return true;
}

enum req_step step_obtain(struct request *r)
{
	bool alone = r->http.method == METHOD_HEAD; /* its answer has no body to share */
	if (alone && found_elsewhere(r, NULL))
		return STEP_deliver;
	for (int round = 0; round < ROUNDS && !alone; round++) {
		struct fill *fill = NULL;
		enum req_step next;
		if (round > 0 && r->look_again) {
			if (look_again(r)) {
				r->joined = true;
				r->reason = REASON_joined;
				return STEP_deliver;
			}
		}
		switch (fill_claim(heritage.shared.fills, r->worker->chunks, r->fetch_id, r->worker->index, conf()->chunk_size, &fill)) {
		case FILL_WRITER:
			/* between our lookup and the claim another may have finished: look once more, now that nobody else can */
			if (round == 0 && !r->has_stored && fill_epoch(heritage.shared.fills, r->plan.id) != r->fill_epoch) {
				if (look_again(r)) {
					fill_fail(&fill, -ERR_AGAIN, 0);
					r->reason = REASON_cache_hit_fresh;
					return STEP_deliver;
				}
			}
			return found_elsewhere(r, &fill) ? STEP_deliver : fetch(r, &fill);
		case FILL_READER:
			r->look_again = true;
			if ((next = join(r, &fill, &alone)) != STEP_MAX)
				return next;
			break;
		case FILL_TABLE_FULL:
			count(COUNT_fills_bound);
			alone = true;
			break;
		case FILL_UNSHAREABLE:
			alone = true;
			break;
		}
	}
	r->reason = r->http.method == METHOD_HEAD ? REASON_head_via_upstream : REASON_not_shareable;
	return fetch(r, NULL);
}
