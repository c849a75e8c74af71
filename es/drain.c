/* drain.c - see drain.h: the documents. Events and times of use are in drain_events.c. */
#include "drain_impl.h"
#include "../common/clock.h"
#include "../common/counters.h"
#include "../common/err.h"
#include "../common/log.h"

#define WINDOW_ROWS 256            /* rows a transaction, documents a batch: 5 ms of Elasticsearch's time each is a second */
#define WINDOW_BYTES (4u << 20)    /* of records; one that is larger goes alone. As JSON some twice of it, well below Elasticsearch's 100 MB */
#define PASS_MS 1000               /* between two passes over the outbox, unless somebody rings */
#define BUSY_MS 200
#define REST_MS 500                /* after a failure; doubles */
#define REST_MAX_MS 30000
#define MEASURE_MS 60000
#define REJECTED_LOG_MS 10000

struct drain *
drain_new(const struct drain_options *o)
{
	struct drain *d = xcalloc(1, sizeof *d);

	d->o = *o;
	d->m = o->metadata;
	d->batch_max = WINDOW_ROWS;
	d->used_at = clock_mono() + o->flush_ms;
	d->deadline = NEVER;
	return d;
}

void
drain_free(struct drain **dp)
{
	free(*dp);
	*dp = NULL;
}

int64_t
drain_limit(const struct drain *d)
{
	int64_t limit = remote_options(d->o.remote)->timeout_ms, left = d->deadline == NEVER ? limit : d->deadline - clock_mono();

	return left < 1 ? 1 : left < limit ? left : limit;
}

/* --- settling ----------------------------------------------------------------------------------------------------------------- */

static int
settle_run(struct recorder *r, MDB_txn *txn, struct note *note)
{
	const struct settle *s = note->arg;
	int rc = 0;

	for (unsigned i = 0; !rc && i < s->n; i++)
		switch (s->table) {
		case MIRROR_OUTBOX: rc = outbox_settle(txn, recorder_dbi(r, s->table), s->v[i].id, s->v[i].generation); break;
		case MIRROR_USED:   rc = used_settle(txn, recorder_dbi(r, s->table), s->v[i].id, s->v[i].at); break;
		default:            rc = event_settle(txn, recorder_dbi(r, s->table), s->v[i].generation);
		}
	return rc;
}

int
drain_settle(struct drain *d, const struct settle *s)
{
	struct note note = { .kind = NOTE_RUN, .run = settle_run, .arg = (void *)s };

	if (!s->n)
		return 0;
	return metadata_writable(d->m) ? recorder_do(d->m->recorder, &note) : -ERR_GONE;
}

void
drain_reject(struct drain *d, struct str id, const char *reason)
{
	int64_t now = clock_mono();

	count(COUNT_es_rejected);
	if (d->rejected_logged && now - d->rejected_logged < REJECTED_LOG_MS)
		return;
	d->rejected_logged = now;
	log_warn("Elasticsearch does not take the document %.*s (%.200s): it stays on this node", STRP(id), reason);
}

/* --- a window of the outbox --------------------------------------------------------------------------------------------------- */

/* Copies rows behind d->after. The result is how many, 0 at the end, -ERR_GONE. */
static int
read_window(struct drain *d, struct row rows[], struct arena *arena)
{
	MDB_dbi outbox = mirror_dbi(d->m->mirror, MIRROR_OUTBOX), documents = mirror_dbi(d->m->mirror, MIRROR_DOCUMENTS);
	struct str after = { d->after, d->after_n };
	size_t bytes = 0;
	unsigned n = 0;
	MDB_txn *txn;
	int rc = 0;

	if (metadata_begin(d->m, &txn) < 0)
		return -ERR_GONE;
	while (n < WINDOW_ROWS && bytes < WINDOW_BYTES) {
		struct outbox_row row;
		struct row *r = &rows[n];
		MDB_val key, data;
		if ((rc = outbox_next(txn, outbox, after, &row)))
			break;
		*r = (struct row){ .id = arena_dup(arena, row.id), .generation = row.generation };
		after = r->id;
		n++;
		key = (MDB_val){ r->id.n, (void *)r->id.p };
		if ((rc = mdb_get(txn, documents, &key, &data)) == 0) {
			struct str rec = arena_dup(arena, (struct str){ data.mv_data, data.mv_size });
			r->there = meta_decode(rec, arena, &r->meta) == 0 && str_eq(r->meta.id, r->id);
			bytes += rec.n;
		} else if (rc != MDB_NOTFOUND)
			break;
	}
	mirror_read_end(d->m->mirror, txn);
	if (rc && rc != MDB_NOTFOUND)
		return mirror_err(d->m->mirror, rc), -ERR_GONE;
	return (int)n;
}

static void
pass_to(struct drain *d, struct str id)
{
	memcpy(d->after, id.p, id.n);
	d->after_n = id.n;
}

/* --- publishing --------------------------------------------------------------------------------------------------------------- */

struct publish {
	struct drain *drain;
	struct row *rows[WINDOW_ROWS];    /* of the batch */
	unsigned n;
	struct row *sent[WINDOW_ROWS];    /* of the bulk */
	unsigned sent_n, taken;
	struct settle settle;
	struct settled settled[WINDOW_ROWS];
	int64_t now;
	int trouble;                      /* what stops the pass: -ERR_BUSY */
};

static void
settled(struct publish *p, const struct row *r)
{
	p->settle.v[p->settle.n++] = (struct settled){ .id = r->id, .generation = r->generation };
}

/* The remote version, without its large members: is it newer than ours? */
static void
compare(void *arg, unsigned i, const struct document *doc)
{
	struct publish *p = arg;
	struct row *r = p->rows[i];
	int64_t theirs;

	r->asked = true;
	r->doc = *doc;
	r->doc.id = r->id;
	r->doc.source = json_incref(doc->source);
	if (!doc->source)
		return;
	theirs = codec_stored_at(doc->source, remote_offset(p->drain->o.remote));
	/* one from the future cannot be compared: ours, which we know to be of now, wins */
	r->superseded = theirs <= p->now && (theirs > r->meta.stored_at
		|| (theirs == r->meta.stored_at && codec_invalidated(doc->source) && !(r->meta.flags & META_INVALIDATED)));
}

struct fetched { struct publish *p; struct row **rows; struct arena *arena; };

static void
take_newer(void *arg, unsigned i, const struct document *doc)
{
	struct fetched *f = arg;
	struct row *r = f->rows[i];
	struct meta meta;

	if (!doc->source || codec_read(doc->source, r->id, remote_offset(f->p->drain->o.remote), f->p->now, f->arena, &meta) < 0) {
		/* nothing that can be used: ours replaces it */
		json_decref(r->doc.source);
		r->doc = *doc;
		r->doc.id = r->id;
		r->doc.source = json_incref(doc->source);
		r->superseded = false;
		return;
	}
	metadata_import(f->p->drain->m, &meta);
	count(COUNT_es_superseded);
	settled(f->p, r);
}

/* Some documents could not be read, for their shard is away: the pass goes on, and rests at its end. */
static int
some(struct drain *d, int err, int earlier)
{
	d->partial |= err == -ERR_AGAIN || earlier == -ERR_AGAIN;
	return err == -ERR_AGAIN ? 0 : err;
}

/* What Elasticsearch has newer comes here. */
static int
take_all_newer(struct publish *p, struct arena *arena)
{
	struct row *rows[WINDOW_ROWS];
	struct str ids[WINDOW_ROWS];
	struct fetched f = { p, rows, arena };
	unsigned n = 0;

	for (unsigned i = 0; i < p->n; i++)
		if (p->rows[i]->superseded) {
			ids[n] = p->rows[i]->id;
			rows[n++] = p->rows[i];
		}
	return n ? documents_get(p->drain->o.remote, ids, n, NULL, drain_limit(p->drain), 0, take_newer, &f) : 0;
}

static void
outcome(void *arg, unsigned i, int result, const char *reason)
{
	struct publish *p = arg;
	struct row *r = p->sent[i];

	switch (result) {
	case 0:
		count(COUNT_es_published);
		p->taken++;
		settled(p, r);
		break;
	case -ERR_CONFLICT: /* another node was faster: it is compared anew */
	case -ERR_NOT_FOUND:
		count(COUNT_es_conflicts);
		p->drain->again = true;
		break;
	case -ERR_BAD_REQUEST:
		drain_reject(p->drain, r->id, reason);
		settled(p, r);
		break;
	case -ERR_BUSY:
		p->trouble = result;
		break;
	default: /* a shard is away: no reason to let the others wait */
		p->drain->partial = true;
	}
}

/* One bulk of documents, or of vary indexes: these come after, so that a variant can be found by the time its index says so. */
static int
send_bulk(struct publish *p, bool vary_indexes)
{
	struct drain *d = p->drain;
	int64_t offset = remote_offset(d->o.remote);
	struct bulk bulk = { 0 };
	int err;

	p->sent_n = 0;
	for (unsigned i = 0; i < p->n; i++) {
		struct row *r = p->rows[i];
		json_t *doc;
		if (!r->asked || r->superseded || str_eq(r->meta.doc_type, STR("vary_index")) != vary_indexes)
			continue;
		doc = codec_write(&r->meta, offset);
		codec_merge(doc, r->doc.source);
		bulk_put(&bulk, &r->doc, doc);
		p->sent[p->sent_n++] = r;
		json_decref(doc);
	}
	err = bulk_send(d->o.remote, &bulk, false, drain_limit(d), outcome, p);
	if (err == -ERR_BAD_REQUEST && p->n == 1) {
		drain_reject(d, p->rows[0]->id, "the request as a whole is refused");
		settled(p, p->rows[0]);
		err = 0;
	}
	bulk_fini(&bulk);
	return err ? err : p->trouble;
}

/* Some rows whose bytes are in S3. What fails stays in the outbox. */
static int
publish_some(struct drain *d, struct row *rows[], unsigned n)
{
	struct publish *p = xcalloc(1, sizeof *p);
	struct str ids[WINDOW_ROWS];
	struct arena arena;
	int err, r;

	arena_init(&arena);
	p->drain = d;
	p->n = n;
	p->now = clock_wall();
	p->settle = (struct settle){ .table = MIRROR_OUTBOX, .v = p->settled };
	for (unsigned i = 0; i < n; i++) {
		p->rows[i] = rows[i];
		ids[i] = rows[i]->id;
	}
	err = documents_get(d->o.remote, ids, n, "headers,px_headers,manifest_b64", drain_limit(d), 0, compare, p);
	if (err == 0 || err == -ERR_AGAIN)
		err = some(d, take_all_newer(p, &arena), err);
	if (err == 0)
		err = send_bulk(p, false);
	if (err == 0)
		err = send_bulk(p, true);
	for (unsigned i = 0; i < n; i++)
		json_decref(rows[i]->doc.source);
	r = drain_settle(d, &p->settle);
	d->progress |= p->settle.n > 0;
	arena_fini(&arena);
	free(p);
	return err ? err : r;
}

static int
publish(struct drain *d, struct row *rows[], unsigned n)
{
	int err = 0;

	for (unsigned i = 0, k; i < n && err == 0; i += k) {
		k = n - i < d->batch_max ? n - i : d->batch_max;
		err = publish_some(d, rows + i, k);
		if (err == -ERR_BAD_REQUEST && k > 1) { /* too large for something between, perhaps: 413 */
			d->batch_max = k / 2;
			k = 0;
			err = 0;
		} else if (err == 0 && d->batch_max < WINDOW_ROWS)
			d->batch_max = d->batch_max * 2 < WINDOW_ROWS ? d->batch_max * 2 : WINDOW_ROWS;
	}
	return err;
}

/* --- a pass -------------------------------------------------------------------------------------------------------------------- */

static bool
is_utf8(struct str s)
{
	for (size_t i = 0, n; i < s.n; i += n)
		if (!s.p[i] || !(n = utf8_sequence(s.p + i, s.n - i)))
			return false;
	return true;
}

/* What is to become of a row? True: it is to be published now. */
static bool
is_ready(struct drain *d, struct row *r, struct settle *done, bool *busy)
{
	enum drain_ready ready;

	if (!r->there) { /* dropped since; what Elasticsearch is to hear of that stands in the events */
		done->v[done->n++] = (struct settled){ .id = r->id, .generation = r->generation };
		return false;
	}
	ready = !d->o.ready || !r->meta.manifest.n ? DRAIN_THERE : d->o.ready(d->o.arg, &r->meta);
	*busy = ready == DRAIN_BUSY;
	if (ready == DRAIN_UNDER_WAY || ready == DRAIN_BUSY)
		return false;
	if (ready == DRAIN_THERE && d->o.remote && is_utf8(r->id))
		return true;
	if (ready == DRAIN_FAILED)
		count(COUNT_es_unpublished);
	else if (d->o.remote)
		drain_reject(d, r->id, "its id is no UTF-8");
	done->v[done->n++] = (struct settled){ .id = r->id, .generation = r->generation };
	return false;
}

/* 1: there is more; 0: the end, or it is of no use to go on now (busy); -ERR_X. */
static int
one_window(struct drain *d, bool *busy)
{
	struct row *rows = xcalloc(WINDOW_ROWS, sizeof *rows), *ready[WINDOW_ROWS];
	struct settled settled_rows[WINDOW_ROWS];
	struct settle done = { .table = MIRROR_OUTBOX, .v = settled_rows };
	struct arena arena;
	unsigned ready_n = 0;
	int n, err = 0, i;

	arena_init(&arena);
	n = read_window(d, rows, &arena);
	for (i = 0; i < n && !*busy; i++)
		if (is_ready(d, &rows[i], &done, busy))
			ready[ready_n++] = &rows[i];
	if (n > 0 && !*busy)
		pass_to(d, rows[n - 1].id);
	if (n > 0)
		err = drain_settle(d, &done);
	d->progress |= done.n > 0;
	if (err == 0 && ready_n)
		err = publish(d, ready, ready_n);
	arena_fini(&arena);
	free(rows);
	return err ? err : n <= 0 ? n : !*busy;
}

static int64_t
rest(struct drain *d, int err)
{
	d->rest_ms = d->rest_ms ? d->rest_ms * 2 : REST_MS;
	if (d->rest_ms > REST_MAX_MS)
		d->rest_ms = REST_MAX_MS;
	d->rest_until = clock_mono() + d->rest_ms * 3 / 4 + random() % (d->rest_ms / 2);
	if (err != -ERR_BUSY)
		d->index_made = false; /* who knows what has happened to it */
	return d->rest_until - clock_mono();
}

static int
state_run(struct recorder *r, MDB_txn *txn, struct note *note)
{
	return state_put(txn, recorder_dbi(r, MIRROR_STATE), STATE_OFFSET, *(const int64_t *)note->arg);
}

/* Elasticsearch's clock, for all processes of this node. */
static void
measure(struct drain *d)
{
	int64_t now = clock_mono(), offset;
	struct note note = { .kind = NOTE_RUN, .run = state_run, .arg = &offset };

	if ((d->measured && now - d->measured < MEASURE_MS) || d->deadline != NEVER)
		return;
	d->measured = now;
	if (remote_measure(d->o.remote) < 0) /* a user without the right to ask: times are taken as they are */
		return;
	offset = remote_offset_exactly(d->o.remote);
	if (remote_offset(d->o.remote) && llabs(offset - d->offset_logged) > REMOTE_CLOCK_TOLERANCE_MS) {
		log_warn("this machine's clock and Elasticsearch's differ by %lld s; times are corrected by that", (long long)(offset / 1000));
		d->offset_logged = offset;
	}
	if (metadata_writable(d->m))
		recorder_do(d->m->recorder, &note);
}

int64_t
drain_step(struct drain *d)
{
	int64_t end = clock_mono() + DRAIN_STEP_MS, left = d->rest_until - clock_mono();
	bool busy = false;
	int r = 0;

	d->again = d->progress = d->partial = false;
	if (left > 0)
		return left;
	if (d->o.remote) {
		if (!d->index_made)
			r = remote_make_index(d->o.remote, drain_limit(d));
		d->index_made = r == 0;
		if (r == 0)
			measure(d);
	}
	if (r == 0)
		r = drain_events(d);
	if (r == 0)
		while ((r = one_window(d, &busy)) > 0 && clock_mono() < end)
			;
	if (r <= 0)
		d->after_n = 0; /* the next pass begins at the start */
	if (r >= 0) {
		int err = drain_used(d);
		if (err < 0)
			r = err;
	}
	if (r == -ERR_GONE) /* our own database */
		return PASS_MS;
	if (r < 0 || (r == 0 && d->partial))
		return rest(d, r);
	d->rest_ms = 0;
	if (r > 0 || d->events_left)
		return 0;
	left = d->used_at - clock_mono();
	if (busy || d->again)
		return BUSY_MS;
	return left < 0 ? 0 : left < PASS_MS ? left : PASS_MS;
}

void
drain_finish(struct drain *d, int64_t deadline)
{
	d->deadline = deadline;
	d->used_at = clock_mono();
	d->rest_until = 0; /* whatever was before: this is the last chance */
	do {
		drain_step(d);
	} while ((d->progress || d->events_left) && clock_mono() < deadline && d->rest_until <= clock_mono());
	d->deadline = NEVER;
}
