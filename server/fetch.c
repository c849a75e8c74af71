/* fetch.c - see fetch.h. The machine of tries stands in fetch_answer; the way of a body in body_run. */
#include "fetch.h"
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/log.h"
#include "../policy/key.h"
#include "failover.h"
#include "gate.h"
#include "heritage.h"
#include "worker.h"

#define TRIES 2                    /* an idempotent request is sent again once, when the origin broke off before its head */
#define READ_PART (256 * 1024)     /* of a stored part at once */
#define SLICE_MS 1000              /* how often the way of a body looks whether anybody still cares */
#define AT_ONCE HTTPC_BUFFER       /* bytes that a handler moves before its client sees the first: more is a job's, however fast the origin */
#define ENDLESS (256 << 20)        /* bytes of a body of unknown length that come for nobody before it is taken for a stream */
#define UNSHAREABLE_MS 10000       /* "not to be shared" is remembered: long enough for a crowd, short enough for an origin that changes its mind */
#define UNSHAREABLE_ERROR_MS 1000  /* the same for an error status, which may be over in a moment */

/* A body on its way into the store. It outlives the request that began it. */
struct job {
	struct pool_item item;     /* first */
	struct worker *worker;
	struct arena arena;
	struct meta meta;
	bool has_index;            /* a vary index document goes with it */
	struct meta index;
	struct fill *fill;
	struct xfer *xfer;
	const char *pending;       /* what the origin sent and the store did not take: for the readers that are there (fill_degrade) */
	size_t pending_n;
	uint64_t taken, read_until; /* bytes: so many came; so many had come when somebody was last seen to read */
	bool degraded;
	uint64_t version;          /* fetch_ask's */
	bool *store_full;          /* its answer's, while its head has not been sent; NULL from then on */
};

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

static struct job *job_new(struct worker *w, struct fill *fill)
{
	struct job *j = xcalloc(1, sizeof *j);
	j->worker = w;
	j->fill = fill;
	arena_init(&j->arena);
	return j;
}

static void job_free(struct job *j)
{
	httpc_end(&j->xfer);
	arena_fini(&j->arena);
	free(j);
}

/* ---- the documents: what is committed, and only then the key is free again, so that the object is never in neither place */

/* Purged or overtaken since (fill.h)? */
static bool is_outdated(struct str id, uint64_t version) { return fill_outdated(heritage.shared.fills, id, version); }

/* It was, while the database was busy for longer than whoever did it waited. */
static void forget_outdated(struct worker *w, struct str id, uint64_t version)
{
	if (is_outdated(id, version))
		metadata_drop_later(w->metadata, id);
}

static void committed(void *arg, int err)
{
	struct job *j = arg;
	forget_outdated(j->worker, j->meta.id, j->version);
	atomic_store(&heritage.shared.state->meta_bad, err < 0 ? 1 : 0);
	if (err < 0)
		count(COUNT_store_errors);
	else if (j->worker->spool != NULL)
		spool_ring(j->worker->spool);
	fill_done(&j->fill);
	job_free(j);
}

static void store_failed(int err)
{
	if (atomic_exchange(&heritage.shared.state->store_bad, 1) == 0)
		log_error("the store takes no more (%s): responses are served uncached until it does", err_text(err));
}

static void not_stored(struct job *j, int err)
{
	store_failed(err);
	if (j->store_full != NULL)
		*j->store_full = true;
}

/* What S3 is to get stands in the spool before anything refers to it: a crash in between leaves debris, never a document whose bytes nobody
 * sends. */
static void commit(struct job *j)
{
	struct meta *docs[2] = { &j->meta, &j->index };
	int err = j->worker->spool != NULL ? spool_add(j->worker->spool, j->meta.manifest) : 0;
	if (err < 0) {
		not_stored(j, err);
		fill_done(&j->fill);
		job_free(j);
		return;
	}
	metadata_store_then(j->worker->metadata, (const struct meta *const *)docs, j->has_index ? 2 : 1, committed, j);
}

static void vary_index(struct job *j, const struct plan *plan)
{
	if (j->meta.vary.n == 0)
		return;
	meta_init(&j->index, &j->arena);
	j->index.id = arena_dup(&j->arena, plan->vary_id);
	j->index.vary = j->meta.vary;
	j->index.doc_type = STR("vary_index");
	j->index.stored_at = j->meta.stored_at;
	j->has_index = true;
}

/* ---- the body */

static void body_failed(struct job *j, int err)
{
	count(COUNT_fills_failed);
	fill_fail(&j->fill, err, 0);
	job_free(j);
}

static void body_complete(struct job *j)
{
	int err = fill_seal(j->fill, &j->arena, &j->meta.manifest);
	if (err == -ERR_ORIGIN_SHORT) {
		body_failed(j, err);
		return;
	}
	if (err < 0) { /* whole for those who read it, but not in the store */
		not_stored(j, err);
		fill_done(&j->fill);
		job_free(j);
		return;
	}
	atomic_store(&heritage.shared.state->store_bad, 0);
	j->meta.content_size = fill_total(j->fill);
	count(COUNT_fills);
	httpc_end(&j->xfer); /* its connection is of use to others now */
	if (fill_may_store(j->fill, j->version)) {
		commit(j);
		return;
	}
	fill_done(&j->fill);
	job_free(j);
}

/* The bytes go into the fill; when the store takes no more, to its readers only (invariant 6). May block when degraded. */
static int append(struct job *j)
{
	int err = fill_append(j->fill, j->pending, j->pending_n);
	if ((err == -ERR_FULL || err == -ERR_SYSTEM) && !j->degraded) {
		not_stored(j, err);
		j->degraded = true;
		if ((err = fill_degrade(j->fill)) == 0)
			return -ERR_AGAIN;
	}
	if (err == 0)
		j->pending_n = 0;
	return err;
}

/* Moves bytes from the origin into the fill, until that time (0: as long as bytes come at once, and not too many). true: the job is over
 * (and gone). */
static bool body_run(struct job *j, int64_t until)
{
	const bool may_block = until > 0;
	for (;;) {
		if (may_block ? clock_mono() >= until : j->taken >= AT_ONCE)
			return false;
		const void *p;
		int err = 0;
		if (j->pending_n == 0) {
			int64_t n = httpc_read(j->xfer, &p, until);
			if (n == -ERR_AGAIN)
				return false;
			if (n == 0) {
				body_complete(j);
				return true;
			}
			if (n < 0) {
				body_failed(j, (int)n);
				return true;
			}
			j->pending = p;
			j->pending_n = (size_t)n;
			j->taken += (uint64_t)n;
		}
		while ((err = append(j)) == -ERR_AGAIN)
			if (!may_block)
				return false;
		if (err < 0) {
			body_failed(j, err);
			return true;
		}
	}
}

/* A fill whose clients have all gone is finished for those to come, but not with a thread that clients wait for: else an origin
 * that trickles could take them all, one by one. Nor is the disk filled with a stream that has no end. */
static bool nobody_cares(struct job *j)
{
	if (fill_readers(j->fill) > 0) {
		j->read_until = j->taken;
		return false;
	}
	return !pool_spare(j->worker->pool) || (fill_total(j->fill) < 0 && j->taken - j->read_until > ENDLESS);
}

static void job_run(struct pool_item *it)
{
	struct job *j = (struct job *)it;
	pool_blocking(j->worker->pool);
	while (!body_run(j, clock_mono() + SLICE_MS)) /* the read time-out is httpc's */
		if (nobody_cares(j)) {
			body_failed(j, -ERR_BUSY);
			return;
		}
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

/* What is there already of a body of which the rest comes now. It is not much (judge_rest). */
static int append_part(struct job *j, struct object *part)
{
	const void *p;
	int64_t n;
	int err = 0;
	for (uint64_t at = 0; err == 0 && (n = object_read(part, at, READ_PART, &p, NEVER)) != 0; at += (uint64_t)n)
		err = n < 0 ? (int)n : fill_append(j->fill, p, (size_t)n);
	return err;
}

/* In a fleet nothing is stored that could not be handed on. */
static bool room_in_spool(const struct worker *w)
{
	return w->spool != NULL ? !spool_full(w->spool) : !fleet_configured();
}

/* Nodes of the old system look where Accept-Encoding alone leads, whether or not the response varies (behaviour.md 2.1 step 5), and so do we when
 * there is nothing under the plain name. */
static bool in_old_company(const struct fetch_ask *ask)
{
	return ask->worker->shared_documents && conf()->chunk_ids == CHUNK_IDS_UUID && ask->stored == NULL;
}

static struct str old_id(const struct fetch_ask *ask, struct arena *a)
{
	struct str raw = vary_proactive(a, &ask->request->headers);
	return raw.p != NULL ? key_variant_id(a, ask->plan->id, raw) : arena_dup(a, ask->plan->id);
}

/* The answer becomes an object. The caller gets a reader, the rest of the body is the job's. -ERR_X: it cannot, *fill and *x are as before. */
static int begin_storing(const struct fetch_ask *ask, struct fill **fill, struct xfer **x, struct object *part, int64_t requested, int64_t answered,
                         struct arena *a, struct fetched *out)
{
	const struct judge_options opt = judge_settings(conf());
	if (!room_in_spool(ask->worker)) {
		count(COUNT_spool_bound);
		out->full = true;
		return -ERR_FULL;
	}
	struct job *j = job_new(ask->worker, NULL);
	int64_t length = -1;
	j->version = ask->version;
	judge_meta(&opt, ask->plan, ask->request, &out->response, requested, answered, &j->arena, &j->meta);
	j->meta.id = j->meta.vary.n > 0 ? key_variant_id(&j->arena, ask->plan->id, vary_name(&j->arena, &j->meta, &ask->request->headers)) : arena_dup(&j->arena, ask->plan->id);
	if (j->meta.vary.n == 0 && in_old_company(ask))
		j->meta.id = old_id(ask, &j->arena);
	if (out->response.status == 206) {
		j->meta.id = arena_printf(&j->arena, "%.*s+part", STRP(ask->plan->id));
		j->meta.vary_request = arena_dup(&j->arena, ask->range);
	}
	vary_index(j, ask->plan);
	if (http_content_length(&out->response.headers, &length) < 0)
		length = -1;
	j->meta.content_size = length;
	meta_copy(&out->meta, &j->meta, a);
	int r = fill_head(*fill, meta_encode(&j->meta, &j->arena), length);
	if (r < 0) {
		job_free(j);
		return r;
	}
	j->fill = *fill;
	j->xfer = *x;
	*fill = NULL;
	*x = NULL;
	out->reader = fill_reader(j->fill);
	j->store_full = &out->store_full;
	if (part != NULL && (r = append_part(j, part)) < 0) {
		metadata_drop_seen_later(j->worker->metadata, ask->part);
		body_failed(j, r);
		return 0;
	}
	if (!body_run(j, 0)) {
		j->store_full = NULL; /* the head goes out: what becomes of the body later is in the counters and in health */
		if (j->taken == 0) /* not a byte has come: as it was with the last one */
			out->store_full = atomic_load(&heritage.shared.state->store_bad);
		j->item.run = job_run;
		pool_submit(j->worker->pool, &j->item, POOL_JOB);
	}
	return 0;
}

bool fetch_keep(const struct fetch_ask *ask, struct xfer **x, int64_t requested, int64_t answered, struct arena *a, struct fetched *out)
{
	struct fill *fill = NULL;
	enum fill_claim c = fill_claim(heritage.shared.fills, ask->worker->chunks, ask->plan->id, ask->worker->index, conf()->chunk_size, &fill);
	if (c == FILL_READER) /* somebody fetches it with GET: theirs is as good */
		fill_leave(&fill);
	if (c != FILL_WRITER)
		return false;
	if (begin_storing(ask, &fill, x, NULL, requested, answered, a, out) == 0)
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
	forget_outdated(f->worker, f->meta.id, f->version);
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

/* The origin's head is there. false: it must be asked again, and was. */
static bool judged(struct fetching *f)
{
	const struct judge_options opt = judge_settings(conf());
	const struct fetch_ask *ask = &f->ask;
	struct fetched *out = &f->got;
	struct arena *a = f->arena;
	int64_t answered = clock_wall();
	if (f->ranged && out->response.status == 206 && ask->part == NULL && judge_keeps_part(&opt, ask->plan, ask->request, &out->response, answered)) {
		out->outcome = OUTCOME_STORE;
		if (begin_storing(ask, &f->fill, &f->xfer, NULL, f->requested, answered, a, out) == 0)
			return true;
	}
	if (f->part != NULL && (out->response.status == 206 || out->response.status == 416)) {
		int r = -ERR_AGAIN;
		if (judge_completes(ask->part, &out->response)) {
			judge_combine(ask->part, &out->response, a);
			out->outcome = OUTCOME_STORE;
			r = begin_storing(ask, &f->fill, &f->xfer, f->part, f->requested, answered, a, out);
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
		if (f->fill != NULL && begin_storing(ask, &f->fill, &f->xfer, NULL, f->requested, answered, a, out) == 0)
			return true;
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
			if (!is_outdated(out->meta.id, ask->version) && metadata_store(ask->worker->metadata, &out->meta) == 0)
				forget_outdated(ask->worker, out->meta.id, ask->version);
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
	release(&f->fill, -ERR_UNSHAREABLE, out->response.status >= 400 ? UNSHAREABLE_ERROR_MS : UNSHAREABLE_MS);
	out->xfer = f->xfer;
	f->xfer = NULL;
	return true;
}

bool fetch_answer(struct fetching *f, int64_t deadline)
{
	if (f->refused) {
		failed(f, f->begin_err);
		return true;
	}
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
