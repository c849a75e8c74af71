/* storing.c - see storing.h: documents, a body in order, a body by several requests, how it begins. */
#include "storing.h"
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/log.h"
#include "../policy/key.h"
#include "../s3/evict.h"
#include "fetch_ranges.h"
#include "gate.h"
#include "heritage.h"
#include "partial.h"
#include "worker.h"

#define READ_PART (256 * 1024)     /* of a stored part at once */
#define SLICE_MS 1000              /* how often the way of a body looks whether anybody still cares */
#define AT_ONCE HTTPC_BUFFER       /* bytes that a handler moves before its client sees the first: more is a job's, however fast the origin */
#define ENDLESS (256 << 20)        /* bytes of a body of unknown length that come for nobody before it is taken for a stream */
#define LARGE (64 << 20)           /* bytes: what a share of a disk is, is asked from here on */
#define COLD_SHARE 20              /* an object of more than 1/20 of what the store may hold is not worth what is in use there, until it is used again */
#define NOTE_MS 100                /* between two notes of what is there: what a crash costs; and … */
#define NOTE_CHUNKS 256            /* … for so many of its chunks a millisecond more, for a note names them all */

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
	/* by several requests */
	struct headers headers;
	struct httpc_request request; /* NULL url: the body comes in order */
	struct ranges_object object;
	bool ranged;
	struct extent brings;      /* by xfer */
	bool fills_rest;           /* what nobody asks for is fetched, too */
	bool expires;              /* its URL is signed: all of it is asked for while that holds, and what flows then is kept */
	bool has_note;             /* of what is there: partial.h */
	int64_t noted;             /* mono: when the last note was made; and how many chunks were done then */
	uint32_t noted_chunks;
};

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
bool storing_is_outdated(struct str id, uint64_t version) { return fill_outdated(heritage.shared.fills, id, version); }

/* It was, while the database was busy for longer than whoever did it waited. */
void storing_forget_outdated(struct worker *w, struct str id, uint64_t version)
{
	if (storing_is_outdated(id, version))
		metadata_drop_later(w->metadata, id);
}

static void committed(void *arg, int err)
{
	struct job *j = arg;
	storing_forget_outdated(j->worker, j->meta.id, j->version);
	atomic_store(&heritage.shared.state->meta_bad, err < 0 ? 1 : 0);
	if (err < 0)
		count(COUNT_store_errors);
	else if (j->worker->spool != NULL)
		spool_ring(j->worker->spool);
	if (j->has_note)
		partial_forget(j->worker, j->meta.id);
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

/* ---- a body by several requests */

static int sink_write(void *arg, uint64_t at, const void *p, size_t n)
{
	struct job *j = arg;
	int err = fill_put(j->fill, at, p, n);
	if (err == -ERR_FULL || err == -ERR_SYSTEM)
		not_stored(j, err);
	return err;
}

static unsigned sink_wanted(void *arg, struct extent out[PARTS_WANTS])
{
	struct job *j = arg;
	return fill_wanted(j->fill, out, PARTS_WANTS, !j->fills_rest);
}

/* What a crash would find. */
static void note(struct job *j, int64_t now)
{
	struct arena a;
	uint32_t chunks;
	const uint32_t done = fill_done_chunks(j->fill);
	if (done <= j->noted_chunks || storing_is_outdated(j->meta.id, j->version))
		return;
	j->noted = now;
	j->noted_chunks = done;
	arena_init(&a);
	struct str sparse = fill_sparse(j->fill, &a, &chunks);
	if (chunks > 0) {
		partial_note(j->worker, &j->meta, sparse, j->version, &a);
		j->has_note = true;
	}
	arena_fini(&a);
}

static int64_t note_ms(const struct job *j) { return NOTE_MS + j->object.size / (int64_t)conf()->chunk_size / NOTE_CHUNKS; }

static bool sink_tick(void *arg, const struct parts *parts, int64_t now)
{
	struct job *j = arg;
	struct extent some;
	(void)parts;
	if (now - j->noted >= note_ms(j))
		note(j, now);
	if (fill_readers(j->fill) > 0)
		return true;
	return pool_spare(j->worker->pool) && (j->fills_rest || fill_wanted(j->fill, &some, 1, true) > 0);
}

/* It ends, and is not whole: what is there is kept. Who reads it asks for the rest by himself (resume.h). */
static void shelve(struct job *j, int err)
{
	note(j, clock_mono());
	if (err == -ERR_GONE && j->has_note) /* the origin has another version by now */
		partial_forget(j->worker, j->meta.id);
	if (err == -ERR_CLIENT_GONE) {
		count(COUNT_fills_partial);
		err = -ERR_FILL_FAILED;
	} else
		count(COUNT_fills_failed);
	fill_fail(&j->fill, err, 0);
	job_free(j);
}

static void ranges_run(struct pool_item *it)
{
	struct job *j = (struct job *)it;
	const struct settings *s = conf();
	char problem[256];
	const struct extents *have = fill_extents(j->fill);
	j->fills_rest = (uint64_t)j->object.size <= s->fill_rest;
	const struct ranges_sink sink = { .write = sink_write, .wanted = sink_wanted, .tick = sink_tick, .arg = j };
	const struct ranges_ask ask = { .httpc = j->worker->httpc, .request = &j->request, .streams = (unsigned)s->http_concurrency, .parallel_min = s->parallel_min,
	                                .spread = j->expires, .rest = j->fills_rest ? REST_ALWAYS : REST_NEVER, .object = &j->object, .have = have->v, .have_n = have->n,
	                                .first = j->xfer != NULL ? &j->xfer : NULL, .brings = j->brings, .whole = !j->ranged, .extents = FILL_EXTENTS };
	pool_blocking(j->worker->pool);
	int err = fetch_ranges(&ask, &sink, problem);
	if (err == 0)
		body_complete(j);
	else
		shelve(j, err);
}

/* May parts of it be asked for by themselves, and is it worth it? */
static bool by_ranges(const struct fetch_ask *ask, struct job *j, const struct http_response *resp, const struct storing *st)
{
	struct ranges_object *o = &j->object;
	ranges_object(resp, clock_wall() / 1000, o);
	if (st->ranged || st->partial != NULL) /* there has been a 206 */
		o->ranges = o->proven = o->pin.n > 0 && o->coding.n == 0;
	if (!o->ranges || st->part != NULL || (uint64_t)o->size < conf()->parallel_min || o->size <= FILL_INLINE ||
	    (uint64_t)o->size / FILL_SPREAD_CHUNKS >= conf()->chunk_size)
		return false;
	o->etag = arena_dup(&j->arena, o->etag);
	o->modified = arena_dup(&j->arena, o->modified);
	o->coding = arena_dup(&j->arena, o->coding);
	o->pin = o->etag.n > 0 ? o->etag : o->modified;
	headers_init(&j->headers, &j->arena);
	upstream_headers(ask->request, &j->headers);
	judge_conditional(NULL, &j->headers);
	j->request = (struct httpc_request){ .method = STR("GET"), .url = arena_dup(&j->arena, ask->request->url.text), .headers = &j->headers, .body_length = -1,
	                                     .to = gate_destinations(&ask->request->client), .bulk = true };
	plan_limits(ask->plan, &j->request);
	j->expires = !str_eq(key_normalise(&j->arena, j->request.url), j->request.url); /* what signs is no part of a key */
	return true;
}

/* ---- how it begins */

static void name_it(const struct fetch_ask *ask, struct job *j, const struct http_response *resp)
{
	struct arena *a = &j->arena;
	if (j->meta.vary.n > 0)
		j->meta.id = key_variant_id(a, ask->plan->id, vary_name(a, &j->meta, &ask->request->headers));
	else
		j->meta.id = in_old_company(ask) ? old_id(ask, a) : arena_dup(a, ask->plan->id);
	if (resp->status == 206) {
		j->meta.id = arena_printf(a, "%.*s+part", STRP(ask->plan->id));
		j->meta.vary_request = arena_dup(a, ask->range);
	}
}

static void describe(const struct fetch_ask *ask, struct job *j, const struct storing *st, const struct http_response *resp)
{
	const struct judge_options opt = judge_settings(conf());
	int64_t length = -1;
	if (st->as_it_was) {
		meta_copy(&j->meta, st->partial, &j->arena);
		length = j->meta.content_size;
		j->meta.manifest = STR_NONE;
	} else {
		judge_meta(&opt, ask->plan, ask->request, resp, st->requested, st->answered, &j->arena, &j->meta);
		if (http_content_length(&resp->headers, &length) < 0)
			length = -1;
	}
	name_it(ask, j, resp);
	vary_index(j, ask->plan);
	j->meta.content_size = length;
}

static void submit(struct job *j, void (*run)(struct pool_item *), struct fetched *out)
{
	j->store_full = NULL; /* the head goes out: what becomes of the body later is in the counters and in health */
	if (j->taken == 0) /* not a byte has come: as it was with the last one */
		out->store_full = atomic_load(&heritage.shared.state->store_bad);
	j->item.run = run;
	pool_submit(j->worker->pool, &j->item, POOL_JOB);
}

/* true: it goes on by several requests. */
static bool spread(struct job *j, const struct storing *st)
{
	if (j->degraded || fill_spread(j->fill) < 0)
		return false;
	if (st->partial != NULL) {
		fill_adopt(j->fill, st->partial->manifest);
		j->has_note = true;
	}
	j->ranged = st->ranged;
	j->brings = st->ranged ? st->brings : (struct extent){ j->taken, (uint64_t)j->object.size };
	return true;
}

/* What the store may hold, for an object of that length. */
static uint64_t capacity_for(int64_t length)
{
	const struct settings *s = conf();
	char dir[CHUNKS_DIR_MAX];
	if (s->cache_size == 0 && length < LARGE)
		return UINT64_MAX;
	snprintf(dir, sizeof dir, "%s/store", s->state_dir);
	return evict_capacity(dir, (uint64_t)s->cache_size, (unsigned)s->high_watermark);
}

int storing_begin(const struct fetch_ask *ask, const struct storing *st, struct arena *a, struct fetched *out)
{
	if (!room_in_spool(ask->worker)) {
		count(COUNT_spool_bound);
		out->full = true;
		return -ERR_FULL;
	}
	struct job *j = job_new(ask->worker, NULL);
	j->version = ask->version;
	describe(ask, j, st, &out->response);
	const uint64_t capacity = capacity_for(j->meta.content_size), size = j->meta.content_size > 0 ? (uint64_t)j->meta.content_size : 0;
	out->too_large = size > capacity / 100 * (uint64_t)conf()->object_share;
	if (out->too_large) {
		count(COUNT_fills_too_large);
		job_free(j);
		return -ERR_FULL;
	}
	meta_copy(&out->meta, &j->meta, a);
	const bool ranges = by_ranges(ask, j, &out->response, st);
	int r = (st->ranged || *st->xfer == NULL) && !ranges ? -ERR_AGAIN : fill_head(*st->fill, meta_encode(&j->meta, &j->arena), j->meta.content_size);
	if (r < 0) {
		job_free(j);
		return r;
	}
	j->fill = *st->fill;
	j->xfer = *st->xfer;
	*st->fill = NULL;
	*st->xfer = NULL;
	if (size > capacity / COLD_SHARE)
		fill_cold(j->fill);
	out->reader = fill_reader(j->fill);
	j->store_full = &out->store_full;
	if (st->part != NULL && (r = append_part(j, st->part)) < 0) {
		metadata_drop_seen_later(j->worker->metadata, ask->part);
		body_failed(j, r);
		return 0;
	}
	const bool scattered = ranges && (st->ranged || st->partial != NULL || j->xfer == NULL); /* else its first bytes come in order */
	if (!scattered && body_run(j, 0))
		return 0;
	if (ranges && spread(j, st))
		submit(j, ranges_run, out);
	else if (!scattered)
		submit(j, job_run, out);
	else
		body_failed(j, -ERR_FULL);
	return 0;
}
