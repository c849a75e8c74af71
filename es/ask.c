/* ask.c - the request path's question to Elasticsearch, and the way of its answer into the mirror. */
#include "metadata_impl.h"
#include "../common/clock.h"
#include "../common/counters.h"
#include "../common/err.h"
#include "../common/hash.h"
#include "codec.h"
#include "documents.h"
#include "outbox.h"
#include "remote.h"

#define ASK_MAX 8                  /* ids in one question */
#define ASK_ANSWER_MAX (8u << 20)  /* an object's manifest above some 200,000 chunks is not asked for on the way of a request */
#define OFFSET_READ_MS 10000

/* --- what is known to be absent ------------------------------------------------------------------------------------------- */

static bool
is_absent(struct metadata *m, struct str id, int64_t now)
{
	uint64_t hash = hash64(id.p, id.n);
	bool yes;

	pthread_mutex_lock(&m->absent_lock);
	yes = m->absent[hash % ABSENT].hash == hash && m->absent[hash % ABSENT].until > now;
	pthread_mutex_unlock(&m->absent_lock);
	return yes;
}

static void
note_absent(struct metadata *m, struct str id, int64_t now)
{
	uint64_t hash = hash64(id.p, id.n);

	pthread_mutex_lock(&m->absent_lock);
	m->absent[hash % ABSENT].hash = hash;
	m->absent[hash % ABSENT].until = now + METADATA_ABSENT_MS;
	pthread_mutex_unlock(&m->absent_lock);
}

/* --- into the mirror ------------------------------------------------------------------------------------------------------- */

bool
metadata_newer(const struct meta *remote, const struct meta *local)
{
	if (!local)
		return true;
	if (str_eq(remote->doc_type, STR("vary_index")) && !remote->stored_at) /* the old system does not say when; the last one wins */
		return !str_eq(remote->vary, local->vary);
	/* the same version, which another node has found to be out of date */
	if (remote->stored_at == local->stored_at && (remote->flags & META_INVALIDATED) && !(local->flags & META_INVALIDATED))
		return true;
	return remote->stored_at > local->stored_at;
}

struct import {
	struct note note; /* first */
	struct arena arena;
	struct meta meta;
};

static int
import_run(struct recorder *r, MDB_txn *txn, struct note *note)
{
	struct import *i = (struct import *)note;
	MDB_val key = { i->meta.id.n, (void *)i->meta.id.p }, data;
	struct arena scratch;
	struct meta local;
	int rc = mdb_get(txn, recorder_dbi(r, MIRROR_DOCUMENTS), &key, &data);
	bool newer = true;

	if (rc && rc != MDB_NOTFOUND)
		return rc;
	if (event_covers(txn, recorder_dbi(r, MIRROR_EVENTS), i->meta.id, i->meta.stored_at)) /* it came in between */
		return 0;
	if (rc == 0) {
		arena_init(&scratch);
		if (meta_decode((struct str){ data.mv_data, data.mv_size }, &scratch, &local) == 0)
			newer = metadata_newer(&i->meta, &local);
		arena_fini(&scratch);
	}
	return newer ? recorder_put(r, txn, i->note.id[0], i->note.rec[0]) : 0;
}

static void
import_done(struct note *note)
{
	struct import *i = (struct import *)note;

	arena_fini(&i->arena);
	free(i);
}

void
metadata_import(struct metadata *m, const struct meta *meta)
{
	struct import *i;

	if (!metadata_writable(m) || !metadata_is_key(meta->id))
		return;
	i = xcalloc(1, sizeof *i);
	arena_init(&i->arena);
	meta_copy(&i->meta, meta, &i->arena);
	if (!i->meta.stored_at)
		i->meta.stored_at = clock_wall();
	i->note = (struct note){ .kind = NOTE_RUN, .run = import_run, .then = import_done, .n = 1, .id = { i->meta.id } };
	i->note.rec[0] = meta_encode(&i->meta, &i->arena);
	i->meta.stored_at = meta->stored_at;
	if (i->note.rec[0].p)
		recorder_post(m->recorder, &i->note);
	else
		import_done(&i->note);
}

/* The uploader measures Elasticsearch's clock, and leaves what it found in the mirror for all processes. Until it has, it is looked for each time. */
static void
read_offset(struct metadata *m)
{
	int64_t now = clock_mono(), last = m->offset_read, offset;
	MDB_txn *txn;

	if ((last && now - last < OFFSET_READ_MS) || metadata_begin(m, &txn) < 0)
		return;
	offset = state_get(txn, mirror_dbi(m->mirror, MIRROR_STATE), STATE_OFFSET, INT64_MIN);
	mirror_read_end(m->mirror, txn);
	if (offset == INT64_MIN)
		return;
	remote_set_offset(m->remote, offset);
	m->offset_read = now;
}

/* --- the question ------------------------------------------------------------------------------------------------------------ */

struct asked {
	struct metadata *metadata;
	struct arena *arena;
	struct meta *metas;
	bool *found;
	const unsigned *which; /* of the caller's ids */
	int64_t now;
	bool news;
};

/* Has this node purged it, and Elasticsearch not heard of that yet? */
static bool
withdrawn(struct metadata *m, const struct meta *meta)
{
	MDB_txn *txn;
	bool yes;

	if (metadata_begin(m, &txn) < 0)
		return false;
	yes = event_covers(txn, mirror_dbi(m->mirror, MIRROR_EVENTS), meta->id, meta->stored_at);
	mirror_read_end(m->mirror, txn);
	return yes;
}

static void
take(void *arg, unsigned i, const struct document *d)
{
	struct asked *a = arg;
	unsigned at = a->which[i];
	struct meta meta;

	if (!d->source || codec_read(d->source, d->id, remote_offset(a->metadata->remote), a->now, a->arena, &meta) < 0) {
		note_absent(a->metadata, d->id, clock_mono());
		return;
	}
	if (!metadata_newer(&meta, a->found[at] ? &a->metas[at] : NULL) || withdrawn(a->metadata, &meta))
		return;
	metadata_import(a->metadata, &meta);
	a->metas[at] = meta;
	a->found[at] = a->news = true;
}

int
metadata_ask(struct metadata *m, const struct str ids[], unsigned n, struct arena *arena, struct meta metas[], bool found[])
{
	int r = metadata_get(m, ids, n, arena, metas, found), got = 0;
	struct asked a = { .metadata = m, .arena = arena, .metas = metas, .found = found, .now = clock_wall() };
	struct str ask[ASK_MAX];
	unsigned which[ASK_MAX], ask_n = 0;
	int64_t now = clock_mono();
	int err;

	if (!m->remote)
		return r;
	for (unsigned i = 0; i < n && ask_n < ASK_MAX; i++)
		if (metadata_is_key(ids[i]) && !is_absent(m, ids[i], now)) {
			ask[ask_n] = ids[i];
			which[ask_n++] = i;
		}
	if (!ask_n)
		return r;
	if (remote_resting(m->remote)) {
		count(COUNT_es_asks_skipped);
		return r;
	}
	read_offset(m);
	count(COUNT_es_asks);
	a.which = which;
	err = documents_get(m->remote, ask, ask_n, NULL, remote_options(m->remote)->ask_ms, ASK_ANSWER_MAX, take, &a);
	if (err == -ERR_NOT_FOUND) /* not even an index */
		for (unsigned i = 0; i < ask_n; i++)
			note_absent(m, ask[i], now);
	else if (err < 0)
		count(COUNT_es_asks_failed);
	if (a.news)
		count(COUNT_es_asks_found);
	for (unsigned i = 0; i < n; i++)
		got += found[i];
	return got ? got : r;
}
