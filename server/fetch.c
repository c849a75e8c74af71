/* fetch.c - see fetch.h. The machine of tries stands in fetch_answer. */
#include "fetch.h"
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/log.h"
#include "../common/range.h"
#include "../policy/key.h"
#include "failover.h"
#include "gate.h"
#include "heritage.h"
#include "partial.h"
#include "storing.h"
#include "worker.h"

#define TRIES 2                    /* an idempotent request is sent again once, when the origin broke off before its head */
#define UNSHAREABLE_MS 10000       /* "not to be shared" is remembered: long enough for a crowd, short enough for an origin that changes its mind */
#define UNSHAREABLE_ERROR_MS 1000  /* the same for an error status, which may be over in a moment */

int64_t plan_connect_ms(const struct plan *p) { return p->connect_timeout_ms >= 0 ? p->connect_timeout_ms : conf()->connect_ms; }
int64_t plan_read_ms(const struct plan *p) { return p->read_timeout_ms >= 0 ? p->read_timeout_ms : conf()->read_ms; }

static int64_t limit(int64_t rule, int64_t setting) { return rule == 0 ? setting : rule == NO_LIMIT ? 0 : rule; }

void plan_limits(const struct plan *p, struct httpc_request *hr)
{
	const struct settings *s = conf();
	hr->connect_timeout_ms = plan_connect_ms(p);
	hr->read_timeout_ms = plan_read_ms(p);
	hr->total_timeout_ms = limit(p->limits.total_ms, s->total_ms);
	hr->low_speed = limit(p->limits.low_speed, (int64_t)s->low_speed);
	hr->low_speed_ms = limit(p->limits.low_speed_ms, s->low_speed_ms);
}

void upstream_headers(const struct http_request *req, struct headers *h)
{
	headers_copy(h, &req->headers);
	headers_strip_hop_by_hop(h);
	headers_remove(h, STR("X-Passsage-Policy")); /* said to us, whether we may listen or not (behaviour.md 3.6 let it through) */
	headers_set(h, STR("Host"), url_host_field(h->arena, &req->url));
	headers_add(h, STR("Via"), str_c(heritage.via));
}

/* ---- the head */

bool fetch_again(const struct plan *plan, const struct http_request *req, int err, int64_t begun, const struct xfer *x)
{
	if (x != NULL && httpc_attempts(x) > 1) /* that was the second try */
		return false;
	if (!err_again(err) || err == -ERR_ORIGIN_TIMEOUT || !http_method_idempotent(req->method))
		return false;
	/* All addresses were tried, or the name server was: what took its time would take it again. */
	const bool away = err == -ERR_ORIGIN_CONNECT || err == -ERR_ORIGIN_RESOLVE;
	return !away || plan_connect_ms(plan) == 0 || clock_mono() - begun < plan_connect_ms(plan) / 2;
}

static void ask_origin(struct fetching *f)
{
	const struct fetch_ask *ask = &f->ask;
	struct headers h;
	headers_init(&h, f->arena);
	upstream_headers(ask->request, &h);
	if (f->validate != NULL || f->fill != NULL) /* the whole is fetched and stored; the client's conditions and ranges are answered from it */
		judge_conditional(f->validate, &h);
	if (f->ranged) {
		headers_add(&h, STR("Range"), ask->range);
		if (ask->if_range.p != NULL)
			headers_add(&h, STR("If-Range"), ask->if_range);
	} else if (f->missing.end > 0) {
		headers_add(&h, STR("Range"), arena_printf(f->arena, "bytes=%llu-%llu", (unsigned long long)f->missing.at, (unsigned long long)f->missing.end - 1));
		headers_add(&h, STR("If-Range"), f->whole.pin);
	}
	struct httpc_request hr = { .method = ask->request->method_name, .url = ask->request->url.text, .headers = &h, .body_length = -1,
	                            .to = gate_destinations(&ask->request->client) };
	plan_limits(ask->plan, &hr);
	f->begun = clock_mono();
	f->begin_err = httpc_begin(ask->worker->httpc, &hr, &f->xfer);
}

/* 0: the final head is in got.response. -ERR_TIMEOUT: not yet. */
static int final_head(struct fetching *f, int64_t deadline)
{
	struct http_response *resp = &f->got.response;
	int r = f->begin_err;
	while (r == 0) {
		headers_init(&resp->headers, f->arena);
		r = httpc_head(f->xfer, f->arena, resp, deadline);
		if (r == 0 && (resp->status >= 200 || resp->status == 101))
			break;
		if (r == 0 && f->ask.interim != NULL && resp->status != 100)
			f->ask.interim(f->ask.arg, resp);
	}
	return r;
}

static void release(struct fill **fill, int err, int64_t unshareable_ms)
{
	if (*fill != NULL)
		fill_fail(fill, err, unshareable_ms);
}

bool fetch_keep(const struct fetch_ask *ask, struct xfer **x, int64_t requested, int64_t answered, struct arena *a, struct fetched *out)
{
	struct fill *fill = NULL;
	enum fill_claim c = fill_claim(heritage.shared.fills, ask->worker->chunks, ask->plan->id, ask->worker->index, conf()->chunk_size, &fill);
	if (c == FILL_READER) /* somebody fetches it with GET: theirs is as good */
		fill_leave(&fill);
	if (c != FILL_WRITER)
		return false;
	if (storing_begin(ask, &(struct storing){ .fill = &fill, .xfer = x, .requested = requested, .answered = answered }, a, out) == 0)
		return true;
	release(&fill, -ERR_AGAIN, 0);
	return false;
}

struct freshened { struct arena arena; struct worker *worker; struct meta meta; struct fill *fill; uint64_t version; };

static void freshened_committed(void *arg, int err)
{
	struct freshened *f = arg;
	if (err == 0 && f->worker->spool != NULL)
		spool_ring(f->worker->spool);
	storing_forget_outdated(f->worker, f->meta.id, f->version);
	release(&f->fill, -ERR_AGAIN, 0); /* who waited looks again, and finds it fresh */
	arena_fini(&f->arena);
	free(f);
}

/* What was stored before there was a fleet has not been in the spool yet. Chunks that are not here are in S3. */
static void keep_chunks(struct worker *w, const struct meta *m)
{
	if (w->spool != NULL && m->manifest.n > 0)
		(void)spool_add(w->spool, m->manifest);
}

static void store_freshened(struct worker *w, const struct meta *m, struct fill **fill, uint64_t version)
{
	if (!fill_may_store(*fill, version)) {
		release(fill, -ERR_AGAIN, 0);
		return;
	}
	struct freshened *f = xcalloc(1, sizeof *f);
	f->worker = w;
	arena_init(&f->arena);
	f->worker = w;
	f->version = version;
	meta_copy(&f->meta, m, &f->arena);
	f->fill = *fill;
	*fill = NULL;
	const struct meta *doc = &f->meta;
	keep_chunks(w, m);
	metadata_store_then(w->metadata, &doc, 1, freshened_committed, f);
}

void fetch_begin(struct fetching *f, const struct fetch_ask *ask, struct arena *a)
{
	*f = (struct fetching){ .ask = *ask, .arena = a, .got.outcome = OUTCOME_RELAY };
	if (ask->fill != NULL) {
		f->fill = *ask->fill;
		*ask->fill = NULL;
	}
	f->ask.fill = NULL;
	f->ranged = ask->range.p != NULL && f->fill != NULL;
	if (f->ranged && ask->part != NULL) /* only when it is here: to get it from S3 first is no shorter way to the whole */
		f->ranged = object_open(&f->part, ask->worker->chunks, NULL, ask->part->manifest) == 0;
	f->validate = ask->conditional ? ask->stored : NULL;
	f->requested = clock_wall();
	if (ask->partial != NULL && f->fill != NULL) {
		const enum partial_use use = partial_plan(ask->worker, ask->plan, ask->request, ask->partial, &f->whole, &f->missing);
		f->unasked = use == PARTIAL_THERE;
		if (f->unasked)
			return;
		if (use == PARTIAL_NONE)
			f->missing = (struct extent){ 0, 0 };
	}
	f->refused = !origin_ask(&ask->request->url, &f->probe, &f->begin_err, f->got.problem, sizeof f->got.problem);
	if (!f->refused)
		ask_origin(f);
}

static void again(struct fetching *f)
{
	httpc_end(&f->xfer);
	f->tries = 0;
	ask_origin(f);
}

static void failed(struct fetching *f, int err)
{
	const struct judge_options opt = judge_settings(conf());
	f->got.err = err;
	if (!f->refused)
		origin_failed(&f->ask.request->url, err, f->got.problem, f->probe);
	f->got.outcome = err == -ERR_DESTINATION ? OUTCOME_RELAY : judge_failure(&opt, f->ask.plan, f->ask.request, f->ask.stored, clock_wall());
	release(&f->fill, err, 0); /* the crowd fails with us, each by its own policy */
	object_close(&f->part);
}

static bool judged(struct fetching *);

/* The transfer is to bring `brings` of what has this head. false: it cannot be stored so, and nothing has changed: the head is the transfer's again. */
static bool begin_whole(struct fetching *f, const struct storing *st, const struct http_response *whole, struct extent brings)
{
	const struct http_response part = f->got.response;
	struct storing all = *st;
	all.ranged = true;
	all.brings = brings;
	f->got.response = *whole;
	f->got.outcome = OUTCOME_STORE;
	if (storing_begin(&f->ask, &all, f->arena, &f->got) == 0)
		return true;
	f->got.response = part;
	return false;
}

/* What lacks of a partial object comes. Whether the whole may be stored, its newest head says. */
static bool begin_missing(struct fetching *f, const struct storing *st)
{
	const struct judge_options opt = judge_settings(conf());
	const struct meta *partial = f->ask.partial;
	struct http_response whole = f->got.response;
	uint64_t end;
	if (!ranges_check(&whole, &f->whole, f->missing, &end))
		return false;
	judge_as_whole(partial, (uint64_t)partial->content_size, &whole, f->arena);
	if (judge_response(&opt, f->ask.plan, f->ask.request, NULL, &whole, st->answered) != OUTCOME_STORE) {
		metadata_forget(f->ask.worker->metadata, partial->id); /* or everybody would ask in vain */
		return false;
	}
	struct storing rest = *st;
	rest.partial = partial;
	return begin_whole(f, &rest, &whole, (struct extent){ f->missing.at, end });
}

/* The answer to a question for what lacks of a partial object. */
static bool judged_missing(struct fetching *f, const struct storing *st)
{
	if (begin_missing(f, st))
		return true;
	const int status = f->got.response.status;
	f->missing = (struct extent){ 0, 0 };
	if (status == 206 || status == 416) { /* not to be had so: the whole, then */
		again(f);
		return false;
	}
	if (status == 200) /* another version, or an origin without ranges */
		metadata_forget(f->ask.worker->metadata, f->ask.partial->id);
	return judged(f);
}

/* A far part of something large, of a version that can be asked for again: what comes is the whole, and begins with that part. */
static bool as_whole(struct fetching *f, const struct storing *st)
{
	struct http_response whole = f->got.response;
	struct range held;
	uint64_t total;
	if (!content_range_parse(headers_get(&whole.headers, STR("Content-Range")), &held, &total) || total == UINT64_MAX || total < conf()->parallel_min)
		return false;
	judge_as_whole(NULL, total, &whole, f->arena);
	return begin_whole(f, st, &whole, (struct extent){ held.first, held.last + 1 });
}

/* The origin's head is there. false: it must be asked again, and was. */
static bool judged(struct fetching *f)
{
	const struct judge_options opt = judge_settings(conf());
	const struct fetch_ask *ask = &f->ask;
	struct fetched *out = &f->got;
	struct arena *a = f->arena;
	int64_t answered = clock_wall();
	struct storing st = { .fill = &f->fill, .xfer = &f->xfer, .requested = f->requested, .answered = answered };
	if (f->missing.end > 0)
		return judged_missing(f, &st);
	if (f->ranged && out->response.status == 206 && ask->part == NULL && !judge_answers_range(ask->range, &out->response)) {
		f->ranged = false;
		again(f); /* not to be had so: the whole, then */
		return false;
	}
	if (f->ranged && out->response.status == 206 && ask->part == NULL && judge_keeps_part(&opt, ask->plan, ask->request, &out->response, answered)) {
		out->outcome = OUTCOME_STORE;
		if (as_whole(f, &st) || storing_begin(ask, &st, a, out) == 0)
			return true;
	}
	if (f->part != NULL && (out->response.status == 206 || out->response.status == 416)) {
		int r = -ERR_AGAIN;
		if (judge_completes(ask->part, &out->response)) {
			judge_combine(ask->part, &out->response, a);
			out->outcome = OUTCOME_STORE;
			st.part = f->part;
			r = storing_begin(ask, &st, a, out);
			st.part = NULL;
		}
		object_close(&f->part);
		if (r == 0)
			return true;
		f->ranged = false;
		again(f); /* not the rest of what we have: the whole, then */
		return false;
	}
	object_close(&f->part);
	/* A 304 to a condition that was not ours is about the client's copy, and says nothing of what is stored. */
	const struct meta *about = out->response.status == 304 ? f->validate : ask->stored;
	out->outcome = judge_response(&opt, ask->plan, ask->request, about, &out->response, answered);
	switch (out->outcome) {
	case OUTCOME_REFETCH:
		if (f->validate != NULL) {
			f->validate = NULL;
			again(f); /* once: without anything to validate, a 304 is no REFETCH */
			return false;
		}
		httpc_end(&f->xfer);
		out->err = -ERR_ORIGIN_PROTOCOL;
		out->outcome = OUTCOME_RELAY;
		release(&f->fill, out->err, 0);
		return true;
	case OUTCOME_INVALIDATE:
		metadata_invalidate_later(ask->worker->metadata, ask->stored->id);
		out->outcome = OUTCOME_RELAY;
		break;
	case OUTCOME_STORE:
		if (f->fill != NULL && storing_begin(ask, &st, a, out) == 0)
			return true;
		if (f->fill == NULL) /* it was not to be shared, a moment ago: the next one may store it */
			fill_shareable(heritage.shared.fills, ask->plan->id);
		out->outcome = OUTCOME_RELAY;
		break;
	case OUTCOME_FRESHEN:
		meta_copy(&out->meta, ask->stored, a);
		judge_freshen(&opt, &out->meta, &out->response, f->requested, answered, a);
		httpc_end(&f->xfer);
		if (!judge_renews(&opt, ask->request, &out->meta))
			release(&f->fill, -ERR_UNSHAREABLE, UNSHAREABLE_MS);
		else if (f->fill == NULL) { /* nobody can be made to wait for it: so the client does, whose next request shall find it */
			pool_blocking(ask->worker->pool);
			keep_chunks(ask->worker, &out->meta);
			if (!storing_is_outdated(out->meta.id, ask->version) && metadata_store(ask->worker->metadata, &out->meta) == 0)
				storing_forget_outdated(ask->worker, out->meta.id, ask->version);
		} else
			store_freshened(ask->worker, &out->meta, &f->fill, ask->version);
		return true;
	case OUTCOME_SERVE_STALE:
		httpc_end(&f->xfer);
		out->err = -ERR_ORIGIN_PROTOCOL;
		snprintf(out->problem, sizeof out->problem, "the origin answered %d", out->response.status);
		release(&f->fill, -ERR_ORIGIN_BROKEN, 0);
		return true;
	case OUTCOME_RELAY:
		break;
	}
	if (f->ranged && out->response.status == 206) /* this client's range, and nothing to keep: others ask for theirs */
		release(&f->fill, -ERR_AGAIN, 0);
	release(&f->fill, -ERR_UNSHAREABLE, out->response.status >= 400 ? UNSHAREABLE_ERROR_MS : UNSHAREABLE_MS);
	out->xfer = f->xfer;
	f->xfer = NULL;
	return true;
}

/* All that is wanted of a partial object is there, and fresh. false: the origin is asked all the same, and was. */
static bool begin_unasked(struct fetching *f)
{
	const struct meta *partial = f->ask.partial;
	struct storing st = { .fill = &f->fill, .xfer = &f->xfer, .partial = partial, .as_it_was = true };
	f->unasked = false;
	f->got.outcome = OUTCOME_STORE;
	f->got.response = (struct http_response){ .status = (int)partial->status, .reason = partial->reason, .major = 1, .minor = (int)partial->minor, .headers = partial->headers };
	if (storing_begin(&f->ask, &st, f->arena, &f->got) == 0)
		return f->got.from_store = true;
	f->missing = (struct extent){ 0, 0 };
	ask_origin(f);
	return false;
}

bool fetch_answer(struct fetching *f, int64_t deadline)
{
	if (f->refused) {
		failed(f, f->begin_err);
		return true;
	}
	if (f->unasked && begin_unasked(f))
		return true;
	for (;;) {
		int r = final_head(f, deadline);
		if (r == -ERR_TIMEOUT)
			return false;
		if (r == 0) {
			origin_worked(&f->ask.request->url);
			f->probe = false;
			if (judged(f))
				return true;
			continue;
		}
		snprintf(f->got.problem, sizeof f->got.problem, "%s", f->xfer != NULL && *httpc_problem(f->xfer) ? httpc_problem(f->xfer) : err_text(r));
		const bool may = ++f->tries < TRIES && fetch_again(f->ask.plan, f->ask.request, r, f->begun, f->xfer);
		httpc_end(&f->xfer);
		const bool still_away = f->probe && r != -ERR_ORIGIN_BROKEN; /* as was to be expected: trying at once again would only keep others waiting */
		if (still_away || !may) {
			failed(f, r);
			return true;
		}
		count(COUNT_upstream_retries);
		ask_origin(f);
	}
}

bool fetch_abandon(struct fetching *f)
{
	if (f->fill != NULL && fill_readers(f->fill) > 0)
		return false;
	httpc_end(&f->xfer);
	object_close(&f->part);
	release(&f->fill, -ERR_FILL_FAILED, 0); /* who comes in this moment asks for himself */
	if (f->probe)
		origin_failed(&f->ask.request->url, -ERR_CLIENT_GONE, "", true);
	f->got.err = -ERR_CLIENT_GONE;
	f->got.outcome = OUTCOME_RELAY;
	return true;
}

void fetch_object(const struct fetch_ask *ask, struct arena *a, struct fetched *out)
{
	struct fetching f;
	pool_blocking(ask->worker->pool);
	fetch_begin(&f, ask, a);
	while (!fetch_answer(&f, NEVER)) /* the origin's time-outs are httpc's */
		;
	*out = f.got;
}

/* ---- in the background */

struct background {
	struct pool_item item; /* first */
	struct worker *worker;
	struct arena arena;
	struct plan plan;
	struct http_request request;
	struct meta stored;
	struct fill *fill;
	uint64_t version;
};

static void background_free(struct background *b)
{
	atomic_fetch_sub(&b->worker->background, 1);
	arena_fini(&b->arena);
	free(b);
}

static void let_go(void *arg, int err)
{
	struct fill *fill = arg;
	(void)err;
	fill_fail(&fill, -ERR_AGAIN, 0);
}

/* Has another node done it already? */
static bool refreshed_elsewhere(struct background *b)
{
	const struct judge_options opt = judge_settings(conf());
	struct meta now;
	bool there;
	if (b->worker->fleet.remote == NULL)
		return false;
	pool_blocking(b->worker->pool);
	if (metadata_ask(b->worker->metadata, &b->stored.id, 1, &b->arena, &now, &there) <= 0 || !there || now.stored_at <= b->stored.stored_at ||
	    judge_stored(&opt, &b->plan, &b->request, &now, clock_wall(), false).verdict != VERDICT_HIT)
		return false;
	metadata_flush_then(b->worker->metadata, let_go, b->fill);
	b->fill = NULL;
	return true;
}

static void background_run(struct pool_item *it)
{
	struct background *b = (struct background *)it;
	struct fetched got = { 0 };
	const struct fetch_ask ask = { .worker = b->worker, .plan = &b->plan, .request = &b->request, .stored = &b->stored, .conditional = true, .fill = &b->fill,
	                               .version = b->version };
	if (!refreshed_elsewhere(b))
		fetch_object(&ask, &b->arena, &got);
	httpc_end(&got.xfer);
	fill_leave(&got.reader);
	background_free(b);
}

static void request_copy(struct http_request *dst, const struct http_request *src, struct arena *a)
{
	*dst = *src;
	dst->method_name = STR("GET");
	dst->method = METHOD_GET;
	headers_init(&dst->headers, a);
	headers_copy(&dst->headers, &src->headers);
	if (str_casehas(headers_joined(&dst->headers, STR("Cache-Control"), a), STR("only-if-cached"))) /* said of the client's answer, which it has */
		headers_remove(&dst->headers, STR("Cache-Control"));
	url_parse(a, src->url.text, &dst->url);
}

/* Since it was looked up somebody else may have begun and ended. */
static bool renewed_meanwhile(struct worker *w, const struct meta *stored, struct arena *a)
{
	struct meta now;
	bool there;
	return metadata_get(w->metadata, &stored->id, 1, a, &now, &there) > 0 && there && now.response_time > stored->response_time;
}

void fetch_background(struct worker *w, const struct plan *plan, const struct http_request *req, const struct meta *stored, uint32_t epoch, uint64_t version)
{
	if (atomic_fetch_add(&w->background, 1) >= BACKGROUND_MAX || !pool_spare(w->pool)) {
		atomic_fetch_sub(&w->background, 1);
		return;
	}
	struct fill *fill = NULL;
	enum fill_claim c = fill_claim(heritage.shared.fills, w->chunks, stored->id, w->index, conf()->chunk_size, &fill);
	if (c != FILL_WRITER) { /* somebody is at it */
		if (c == FILL_READER)
			fill_leave(&fill);
		atomic_fetch_sub(&w->background, 1);
		return;
	}
	struct background *b = xcalloc(1, sizeof *b);
	arena_init(&b->arena);
	b->worker = w;
	if (fill_epoch(heritage.shared.fills, plan->id) != epoch && renewed_meanwhile(w, stored, &b->arena)) {
		fill_fail(&fill, -ERR_AGAIN, 0);
		background_free(b);
		return;
	}
	b->fill = fill;
	b->version = version;
	b->plan = *plan;
	b->plan.key_url = arena_dup(&b->arena, plan->key_url);
	b->plan.id = arena_dup(&b->arena, plan->id);
	b->plan.vary_id = arena_dup(&b->arena, plan->vary_id);
	request_copy(&b->request, req, &b->arena);
	meta_copy(&b->stored, stored, &b->arena);
	b->item.run = background_run;
	count(COUNT_background);
	pool_submit(w->pool, &b->item, POOL_JOB);
}
