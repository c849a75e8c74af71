/* metadata.c - see metadata.h. Reads go to the mirror in the caller's thread; writes go through the recorder. */
#include "metadata_impl.h"
#include "../common/clock.h"
#include "../common/counters.h"
#include "../common/err.h"
#include "../common/hash.h"
#include "../common/log.h"
#include "outbox.h"
#include <limits.h>

#define WALK_DOCUMENTS 64        /* copied out a snapshot, so that a slow visitor holds no old pages */
#define WALK_BYTES (1u << 20)

_Static_assert(METADATA_ID_MAX == MIRROR_KEY_MAX, "an id is a key");

int
metadata_check(const char *dir, size_t map_size)
{
	return mirror_check(dir, map_size);
}

int
metadata_open(struct metadata **out, const struct metadata_options *o)
{
	struct metadata *m = xcalloc(1, sizeof *m);

	m->mirror = mirror_new(o->dir, o->map_size);
	pthread_mutex_init(&m->tending, NULL);
	mirror_tend(m->mirror, clock_mono());
	m->next_tend = clock_mono() + MIRROR_TEND_MS;
	if (o->recorder)
		m->recorder = recorder_start(m->mirror, o->commit_ms, o->queue_max, o->outbox);
	if (m->recorder)
		recorder_on_wait(m->recorder, o->about_to_wait, o->about_to_wait_arg);
	m->outbox = o->outbox;
	m->remote = o->remote;
	pthread_mutex_init(&m->absent_lock, NULL);
	*out = m;
	return 0;
}

void
metadata_close(struct metadata **mp)
{
	struct metadata *m = *mp;

	if (!m)
		return;
	recorder_stop(&m->recorder);
	mirror_free(&m->mirror);
	pthread_mutex_destroy(&m->tending);
	pthread_mutex_destroy(&m->absent_lock);
	free(m);
	*mp = NULL;
}

const char *
metadata_health(const struct metadata *m)
{
	return mirror_trouble(m->mirror);
}

/* Without a recorder somebody must open what is closed: the first reader that comes by after a while. */
int
metadata_begin(struct metadata *m, MDB_txn **txn)
{
	if (!m->recorder) {
		int64_t now = clock_mono();
		if (now >= m->next_tend && pthread_mutex_trylock(&m->tending) == 0) {
			m->next_tend = now + MIRROR_TEND_MS;
			mirror_tend(m->mirror, now);
			pthread_mutex_unlock(&m->tending);
		}
	}
	return mirror_read(m->mirror, txn);
}

/* A record that does not decode is never trusted: it counts, and goes. */
static void
corrupt(struct metadata *m, struct str id)
{
	count(COUNT_corrupt);
	if (m->recorder)
		recorder_purge(m->recorder, id);
}

/* Copies out of the map: the record into *rec, last_access where it is newer than the record. */
static int
fetch(struct metadata *m, MDB_txn *txn, struct str id, struct arena *arena, struct str *rec, int64_t *access)
{
	MDB_val key = { id.n, (void *)id.p }, data;
	int rc = mdb_get(txn, mirror_dbi(m->mirror, MIRROR_DOCUMENTS), &key, &data);

	if (rc)
		return mirror_err(m->mirror, rc);
	*rec = (struct str){ memcpy(arena_alloc(arena, data.mv_size + !data.mv_size), data.mv_data, data.mv_size), data.mv_size };
	*access = recorder_access(txn, mirror_dbi(m->mirror, MIRROR_ACCESS), id);
	return 0;
}

static bool
decode(struct metadata *m, struct str id, struct str rec, int64_t access, struct arena *arena, struct meta *meta)
{
	if (meta_decode(rec, arena, meta) < 0 || !str_eq(meta->id, id)) {
		corrupt(m, id);
		return false;
	}
	if (access > meta->last_access)
		meta->last_access = access;
	return true;
}

int
metadata_get(struct metadata *m, const struct str ids[], unsigned n, struct arena *arena, struct meta metas[], bool found[])
{
	int got = 0, r = 0;
	MDB_txn *txn;

	memset(found, 0, n * sizeof *found);
	if (metadata_begin(m, &txn) < 0)
		return -ERR_GONE;
	for (unsigned i = 0; i < n && (r == 0 || r == -ERR_NOT_FOUND); i++) {
		struct meta *meta = &metas[i];
		if (!metadata_is_key(ids[i]))
			continue;
		r = fetch(m, txn, ids[i], arena, &meta->id, &meta->last_access); /* where they wait for being decoded */
		found[i] = r == 0;
	}
	mirror_read_end(m->mirror, txn);
	if (r < 0 && r != -ERR_NOT_FOUND) {
		memset(found, 0, n * sizeof *found);
		return -ERR_GONE;
	}
	for (unsigned i = 0; i < n; i++)
		if (found[i])
			got += found[i] = decode(m, ids[i], metas[i].id, metas[i].last_access, arena, &metas[i]);
	return got ? got : -ERR_NOT_FOUND;
}

static int
store(struct metadata *m, const struct meta *const metas[], unsigned n)
{
	struct note note = { .kind = NOTE_STORE, .n = n };
	struct arena arena;
	int r;

	for (unsigned i = 0; i < n; i++)
		if (!metadata_is_key(metas[i]->id))
			return -ERR_BAD_REQUEST;
	if (!metadata_writable(m))
		return -ERR_GONE;
	arena_init(&arena);
	for (unsigned i = 0; i < n; i++) {
		note.id[i] = metas[i]->id;
		note.rec[i] = meta_encode(metas[i], &arena);
	}
	r = note.rec[0].p && (n == 1 || note.rec[1].p) ? recorder_do(m->recorder, &note) : -ERR_FULL;
	arena_fini(&arena);
	return r;
}

int
metadata_store(struct metadata *m, const struct meta *meta)
{
	return store(m, &meta, 1);
}

int
metadata_store2(struct metadata *m, const struct meta *a, const struct meta *b)
{
	return store(m, (const struct meta *const[]){ a, b }, 2);
}

/* What is written without anybody waiting: the note and all that it points to. */
struct later {
	struct note note;       /* first */
	struct metadata *metadata;
	struct arena arena;
	metadata_then_f *then;
	void *arg;
};

static struct later *
later_new(struct metadata *m, enum note_kind kind, unsigned n)
{
	struct later *l = xcalloc(1, sizeof *l);

	l->metadata = m;
	l->note.kind = kind;
	l->note.n = n;
	arena_init(&l->arena);
	return l;
}

static void
later_end(struct later *l, int result)
{
	if (l->then)
		l->then(l->arg, result);
	arena_fini(&l->arena);
	free(l);
}

static void
later_done(struct note *note)
{
	struct later *l = (struct later *)note;

	if (note->result == 0 && note->reached_n) { /* the next round */
		memcpy(note->from, note->reached, note->reached_n);
		note->from_n = note->reached_n;
		recorder_post(l->metadata->recorder, note);
		return;
	}
	later_end(l, note->result);
}

void
metadata_store_then(struct metadata *m, const struct meta *const metas[], unsigned n, metadata_then_f *then, void *arg)
{
	struct later *l = later_new(m, NOTE_STORE, n);
	int r = metadata_writable(m) ? 0 : -ERR_GONE;

	l->then = then;
	l->arg = arg;
	l->note.then = later_done;
	for (unsigned i = 0; i < n && r == 0; i++) {
		if (!metadata_is_key(metas[i]->id)) {
			r = -ERR_BAD_REQUEST;
			break;
		}
		l->note.id[i] = arena_dup(&l->arena, metas[i]->id);
		l->note.rec[i] = meta_encode(metas[i], &l->arena);
		if (!l->note.rec[i].p)
			r = -ERR_FULL;
	}
	if (r == 0)
		recorder_post(m->recorder, &l->note);
	else
		later_end(l, r);
}

static void
later_seen(struct metadata *m, enum note_kind kind, struct str id, int64_t seen)
{
	if (!metadata_is_key(id) || !metadata_writable(m))
		return;
	struct later *l = later_new(m, kind, 1);
	l->note.id[0] = arena_dup(&l->arena, id);
	l->note.at = clock_wall();
	l->note.seen = seen;
	l->note.then = later_done;
	recorder_post(m->recorder, &l->note);
}

static void
later(struct metadata *m, enum note_kind kind, struct str id)
{
	later_seen(m, kind, id, 0);
}

void
metadata_drop_seen_later(struct metadata *m, const struct meta *seen)
{
	later_seen(m, NOTE_DROP, seen->id, seen->stored_at);
}

void
metadata_drop_later(struct metadata *m, struct str id)
{
	later(m, NOTE_DROP, id);
}

void
metadata_invalidate_later(struct metadata *m, struct str id)
{
	later(m, NOTE_INVALIDATE, id);
}

void
metadata_withdraw(struct metadata *m, struct str id)
{
	later(m, NOTE_WITHDRAW, id);
}

void
metadata_hear(struct metadata *m, const struct note *heard)
{
	struct later *l;

	if (!metadata_writable(m))
		return;
	l = later_new(m, heard->kind, 1);
	l->note.id[0] = arena_dup(&l->arena, heard->id[0]);
	l->note.at = heard->at;
	l->note.heard = true;
	l->note.then = later_done;
	recorder_post(m->recorder, &l->note);
}

void
metadata_forget(struct metadata *m, struct str id)
{
	later(m, NOTE_FORGET, id);
}

void
metadata_flush_then(struct metadata *m, metadata_then_f *then, void *arg)
{
	struct later *l = later_new(m, NOTE_FLUSH, 0);

	l->then = then;
	l->arg = arg;
	l->note.then = later_done;
	if (m->recorder)
		recorder_post(m->recorder, &l->note);
	else
		later_end(l, -ERR_GONE);
}

void
metadata_touch(struct metadata *m, struct str id, int64_t now)
{
	if (m->recorder && metadata_is_key(id))
		recorder_touch(m->recorder, id, now);
}

int
metadata_drop(struct metadata *m, struct str id)
{
	struct note note = { .kind = NOTE_DROP, .n = 1, .id = { id }, .at = clock_wall() };

	if (!metadata_is_key(id))
		return 0;
	return metadata_writable(m) ? recorder_do(m->recorder, &note) : -ERR_GONE;
}

int
metadata_invalidate(struct metadata *m, struct str id)
{
	struct note note = { .kind = NOTE_INVALIDATE, .n = 1, .id = { id }, .at = clock_wall() };
	int r;

	if (!metadata_is_key(id))
		return 0;
	do {
		if (!metadata_writable(m))
			return -ERR_GONE;
		memcpy(note.from, note.reached, note.reached_n);
		note.from_n = note.reached_n;
		r = recorder_do(m->recorder, &note);
	} while (r == 0 && note.reached_n);
	return r;
}

void
metadata_flush(struct metadata *m)
{
	struct note note = { .kind = NOTE_FLUSH };

	if (m->recorder)
		recorder_do(m->recorder, &note);
}

uint64_t
metadata_count(struct metadata *m)
{
	MDB_stat stat = { 0 };
	MDB_txn *txn;

	if (metadata_begin(m, &txn) < 0)
		return 0;
	mirror_err(m->mirror, mdb_stat(txn, mirror_dbi(m->mirror, MIRROR_DOCUMENTS), &stat));
	mirror_read_end(m->mirror, txn);
	return stat.ms_entries;
}

/* One snapshot of the walk. last: the key reached, in a buffer of MIRROR_KEY_MAX. The result is how many were copied, 0 at the end. */
struct found { struct str id, rec; int64_t access; };

static int
walk_some(struct metadata *m, enum mirror_table table, struct str *last, char *buffer, struct arena *arena, struct found found[], unsigned max)
{
	MDB_val key = { last->n, (void *)last->p }, data;
	MDB_cursor *c;
	MDB_txn *txn;
	size_t bytes = 0;
	unsigned n = 0;
	int rc;

	if (metadata_begin(m, &txn) < 0)
		return -ERR_GONE;
	if ((rc = mdb_cursor_open(txn, mirror_dbi(m->mirror, table), &c)) == 0) {
		rc = mdb_cursor_get(c, &key, &data, last->n ? MDB_SET_RANGE : MDB_FIRST);
		if (rc == 0 && key.mv_size == last->n && !memcmp(key.mv_data, last->p, last->n))
			rc = mdb_cursor_get(c, &key, &data, MDB_NEXT);
		for (; rc == 0 && n < max && bytes < WALK_BYTES; n++, rc = mdb_cursor_get(c, &key, &data, MDB_NEXT)) {
			found[n].id = arena_dup(arena, (struct str){ key.mv_data, key.mv_size });
			found[n].rec = STR_NONE;
			if (table == MIRROR_OUTBOX && mdb_get(txn, mirror_dbi(m->mirror, MIRROR_DOCUMENTS), &key, &data))
				continue; /* it is gone since */
			found[n].rec = arena_dup(arena, (struct str){ data.mv_data, data.mv_size });
			found[n].access = recorder_access(txn, mirror_dbi(m->mirror, MIRROR_ACCESS), found[n].id);
			bytes += data.mv_size;
		}
		mdb_cursor_close(c);
	}
	mirror_read_end(m->mirror, txn);
	if (n) {
		memcpy(buffer, found[n - 1].id.p, found[n - 1].id.n);
		*last = (struct str){ buffer, found[n - 1].id.n };
	}
	return n || rc == MDB_NOTFOUND ? (int)n : (mirror_err(m->mirror, rc), -ERR_GONE);
}

static int
walk(struct metadata *m, enum mirror_table table, struct str after, unsigned max, metadata_visit_f *fn, void *arg)
{
	char buffer[MIRROR_KEY_MAX];
	struct found found[WALK_DOCUMENTS];
	struct arena arena;
	struct meta meta;
	bool more = true;
	int seen = 0, n = 0;

	after = str_upto(after, MIRROR_KEY_MAX);
	arena_init(&arena);
	while (more && (unsigned)seen < max) {
		unsigned left = max - (unsigned)seen;
		arena_reset(&arena);
		if ((n = walk_some(m, table, &after, buffer, &arena, found, left < WALK_DOCUMENTS ? left : WALK_DOCUMENTS)) <= 0)
			break;
		for (int i = 0; more && i < n; i++)
			if (found[i].rec.p && decode(m, found[i].id, found[i].rec, found[i].access, &arena, &meta)) {
				seen++;
				more = fn(arg, &meta);
			}
	}
	arena_fini(&arena);
	return n < 0 && !seen ? n : seen;
}

int
metadata_walk(struct metadata *m, struct str after, unsigned max, metadata_visit_f *fn, void *arg)
{
	return walk(m, MIRROR_DOCUMENTS, after, max, fn, arg);
}

int
metadata_walk_outbox(struct metadata *m, struct str after, unsigned max, metadata_visit_f *fn, void *arg)
{
	return walk(m, MIRROR_OUTBOX, after, max, fn, arg);
}

#define OLDEST_OF 256 /* rows: in the order of their keys, which has nothing to do with their age */

uint64_t
metadata_outbox(struct metadata *m, int64_t *oldest)
{
	MDB_stat documents = { 0 }, events = { 0 };
	struct outbox_row row = { .id = STR_NONE };
	MDB_txn *txn;
	int rc;

	*oldest = 0;
	if (metadata_begin(m, &txn) < 0)
		return 0;
	if ((rc = mdb_stat(txn, mirror_dbi(m->mirror, MIRROR_OUTBOX), &documents)) == 0)
		rc = mdb_stat(txn, mirror_dbi(m->mirror, MIRROR_EVENTS), &events);
	for (unsigned i = 0; !rc && i < OLDEST_OF && (rc = outbox_next(txn, mirror_dbi(m->mirror, MIRROR_OUTBOX), row.id, &row)) == 0; i++)
		if (!*oldest || row.since < *oldest)
			*oldest = row.since;
	mirror_read_end(m->mirror, txn);
	if (rc)
		mirror_err(m->mirror, rc);
	return documents.ms_entries + events.ms_entries;
}

/* The one way of what is purged: whoever else keeps documents has to hear of it here. */
struct purge { struct metadata *metadata; metadata_covers_f *covers; void *arg; struct str prefix; int64_t n; };

static void
purge_one(struct purge *p, const struct meta *meta)
{
	p->n += !str_eq(meta->doc_type, STR("vary_index"));
	if (p->metadata->outbox) /* every version up to now, whoever has it */
		metadata_withdraw(p->metadata, meta->id);
	else
		metadata_drop_later(p->metadata, meta->id);
}

/* Waits for what was queued. Should its commit fail, so has theirs: a batch is a transaction, and a database that fails goes on failing. */
static int64_t
purge_end(struct purge *p)
{
	struct note note = { .kind = NOTE_FLUSH };
	int r = recorder_do(p->metadata->recorder, &note);

	return r < 0 ? r : p->n;
}

static bool
purge_covered(void *arg, const struct meta *meta)
{
	struct purge *p = arg;

	if (p->covers(p->arg, meta))
		purge_one(p, meta);
	return true;
}

static bool
purge_variant(void *arg, const struct meta *meta)
{
	struct purge *p = arg;

	if (!str_starts(meta->id, p->prefix))
		return false;
	purge_one(p, meta);
	return true;
}

int64_t
metadata_purge_if(struct metadata *m, metadata_covers_f *covers, void *arg)
{
	struct purge p = { .metadata = m, .covers = covers, .arg = arg };
	int r;

	if (!metadata_writable(m))
		return -ERR_GONE;
	r = metadata_walk(m, STR_NONE, INT_MAX, purge_covered, &p);
	return r < 0 ? r : purge_end(&p);
}

int64_t
metadata_purge(struct metadata *m, struct str id, struct str vary_id)
{
	const struct str ids[] = { id, vary_id };
	struct purge p = { .metadata = m };
	struct meta metas[2];
	struct arena arena;
	bool found[2];
	int r;

	if (!metadata_writable(m))
		return -ERR_GONE;
	arena_init(&arena);
	r = metadata_get(m, ids, 2, &arena, metas, found);
	for (unsigned i = 0; i < 2; i++)
		if (found[i])
			purge_one(&p, &metas[i]);
	p.prefix = arena_printf(&arena, "%.*s+", STRP(id));
	if (r >= 0 || r == -ERR_NOT_FOUND)
		r = metadata_walk(m, p.prefix, INT_MAX, purge_variant, &p);
	arena_fini(&arena);
	for (unsigned i = 0; i < 2 && m->outbox; i++) /* another node, or Elasticsearch, may have what the mirror has not */
		metadata_withdraw(m, ids[i]);
	return r < 0 ? r : p.n || found[1] || m->outbox ? purge_end(&p) : 0;
}

void
metadata_reap_readers(struct metadata *m)
{
	mirror_reap(m->mirror);
}
