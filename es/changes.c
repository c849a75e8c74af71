/* changes.c - what the notes of a recorder do inside its transaction: documents, access times, the outbox. LMDB's codes. */
#include "recorder_impl.h"
#include "../common/counters.h"
#include "../common/hash.h"
#include "../common/meta.h"
#include "outbox.h"

#define VARIANTS_ROUND 512      /* variants a transaction */
#define DROP_SLACK_MS 2000      /* REMOTE_CLOCK_TOLERANCE_MS */

static MDB_val
val(struct str s)
{
	return (MDB_val){ s.n, (void *)s.p };
}

MDB_dbi
recorder_dbi(const struct recorder *r, enum mirror_table t)
{
	return mirror_dbi(r->mirror, t);
}

uint64_t
change_key(struct str id)
{
	return hash64(id.p, id.n);
}

static int
get_access(MDB_txn *txn, MDB_dbi dbi, uint64_t hash, int64_t *at)
{
	MDB_val key = { sizeof hash, &hash }, data;
	int rc = mdb_get(txn, dbi, &key, &data);

	if (rc == 0 && data.mv_size != sizeof *at)
		return MDB_CORRUPTED;
	if (rc == 0)
		memcpy(at, data.mv_data, sizeof *at);
	return rc;
}

int64_t
recorder_access(MDB_txn *txn, MDB_dbi dbi, struct str id)
{
	int64_t at;

	return get_access(txn, dbi, change_key(id), &at) ? -1 : at;
}

/* The row is made by the first touch, not when a document is stored: what is never hit costs one changed page, not two. */
int
change_access(struct recorder *r, MDB_txn *txn, uint64_t hash, struct str id, int64_t now)
{
	MDB_dbi dbi = mirror_dbi(r->mirror, MIRROR_ACCESS);
	MDB_val key = { sizeof hash, &hash }, data = { sizeof now, &now };
	int64_t at;
	int rc = get_access(txn, dbi, hash, &at);

	if (rc != MDB_NOTFOUND && (rc || now - at < RECORDER_TOUCH_MS))
		return rc;
	if ((rc = mdb_put(txn, dbi, &key, &data, 0)) == 0 && r->outbox && id.n)
		rc = used_put(txn, mirror_dbi(r->mirror, MIRROR_USED), id, now);
	return rc;
}

int
recorder_put(struct recorder *r, MDB_txn *txn, struct str id, struct str rec)
{
	MDB_val key = val(id), data = val(rec);

	return mdb_put(txn, mirror_dbi(r->mirror, MIRROR_DOCUMENTS), &key, &data, 0);
}

/* Parts of a body (id + "+part", "+partial") are this node's own business. */
bool
change_is_shared(const struct recorder *r, struct str id)
{
	return r->outbox && !str_ends(id, STR("+part")) && !str_ends(id, STR("+partial"));
}

static int
store(struct recorder *r, MDB_txn *txn, struct note *note)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < note->n; i++) {
		rc = recorder_put(r, txn, note->id[i], note->rec[i]);
		if (!rc && change_is_shared(r, note->id[i]))
			rc = outbox_put(txn, mirror_dbi(r->mirror, MIRROR_OUTBOX), note->id[i]);
	}
	return rc;
}

int
recorder_drop(struct recorder *r, MDB_txn *txn, struct str id)
{
	uint64_t hash = change_key(id);
	MDB_val key = val(id), access = { sizeof hash, &hash };
	int rc = mdb_del(txn, mirror_dbi(r->mirror, MIRROR_DOCUMENTS), &key, NULL);

	if (rc == 0)
		rc = mdb_del(txn, mirror_dbi(r->mirror, MIRROR_ACCESS), &access, NULL);
	if (rc == MDB_NOTFOUND)
		rc = 0;
	return rc == 0 && r->outbox ? outbox_cancel(txn, mirror_dbi(r->mirror, MIRROR_OUTBOX), id) : rc;
}

static int
tell_others(struct recorder *r, MDB_txn *txn, struct str id, enum event_kind kind, int64_t at, bool local)
{
	if (!change_is_shared(r, id) || r->no_events) {
		if (r->no_events)
			count(COUNT_es_events_dropped);
		return 0;
	}
	return event_put(txn, mirror_dbi(r->mirror, MIRROR_EVENTS), &(struct event){ .kind = kind, .local = local, .at = at, .id = id });
}

/* The version that goes, and what other nodes, whose clocks are not quite ours, have of it; but nothing that came after it was asked for. */
static int64_t
dropped_until(const struct meta *m, int64_t asked)
{
	int64_t until = m->stored_at + DROP_SLACK_MS;

	return until < asked ? until : m->stored_at > asked ? m->stored_at : asked;
}

static int
drop(struct recorder *r, MDB_txn *txn, struct str id, int64_t asked, int64_t seen)
{
	MDB_val key = val(id), data;
	struct meta meta = { .stored_at = 0 };
	int rc = mdb_get(txn, mirror_dbi(r->mirror, MIRROR_DOCUMENTS), &key, &data);

	if (rc)
		return rc == MDB_NOTFOUND ? 0 : rc;
	arena_reset(&r->scratch);
	if (meta_decode((struct str){ data.mv_data, data.mv_size }, &r->scratch, &meta) == 0) {
		if (seen && meta.stored_at > seen)
			return 0; /* another has come since */
		if (change_is_shared(r, id))
			rc = tell_others(r, txn, id, EVENT_GONE, dropped_until(&meta, asked), false);
	}
	return rc ? rc : recorder_drop(r, txn, id);
}

static int
forget(struct recorder *r, MDB_txn *txn, struct str id)
{
	return r->outbox && outbox_has(txn, mirror_dbi(r->mirror, MIRROR_OUTBOX), id) ? 0 : recorder_drop(r, txn, id);
}

/* A reader found a record that does not decode. It may have been replaced meanwhile. */
static int
purge(struct recorder *r, MDB_txn *txn, struct str id)
{
	MDB_val key = val(id), data;
	struct meta meta;
	int rc = mdb_get(txn, mirror_dbi(r->mirror, MIRROR_DOCUMENTS), &key, &data);

	if (rc)
		return rc == MDB_NOTFOUND ? 0 : rc;
	arena_reset(&r->scratch);
	if (meta_decode((struct str){ data.mv_data, data.mv_size }, &r->scratch, &meta) == 0 && str_eq(meta.id, id))
		return 0;
	return recorder_drop(r, txn, id);
}

/* One of the documents that a purge or an invalidation is about; the cursor stands on it. Elasticsearch is asked to do the same with what has
 * changed here, but for the document that is asked for by its own id here, which has an event anyway: whoever asked may not have had this
 * variant, and this node may have published it after the other has asked. */
static int
change_one(struct recorder *r, MDB_txn *txn, const struct note *note, MDB_cursor *c, MDB_val *key, MDB_val *data, bool variant)
{
	enum event_kind kind = note->kind == NOTE_WITHDRAW ? EVENT_GONE : EVENT_INVALID;
	char copy[MIRROR_KEY_MAX];
	struct str id = { memcpy(copy, key->mv_data, key->mv_size), key->mv_size }, rec;
	struct meta meta;
	bool whole;
	int rc;

	arena_reset(&r->scratch);
	whole = meta_decode((struct str){ data->mv_data, data->mv_size }, &r->scratch, &meta) == 0;
	if (whole && note->heard && meta.stored_at > note->at)
		return 0;
	if (whole && kind == EVENT_INVALID) {
		if (meta.flags & META_INVALIDATED)
			return 0;
		meta.flags |= META_INVALIDATED;
		rec = meta_encode(&meta, &r->scratch);
		*key = val(id);
		*data = val(rec);
		rc = mdb_cursor_put(c, key, data, MDB_CURRENT);
	} else {
		if (!whole)
			count(COUNT_corrupt);
		rc = recorder_drop(r, txn, id);
	}
	return rc == 0 && (variant || note->heard) ? tell_others(r, txn, id, kind, note->at, true) : rc;
}

/* The document, then its variants id + "+" …, so many a round; the caller comes again while reached_n is set. */
static int
change(struct recorder *r, MDB_txn *txn, struct note *note)
{
	struct str id = note->id[0], start = id;
	char prefix[MIRROR_KEY_MAX + 1], behind[MIRROR_KEY_MAX + 1];
	MDB_val key, data;
	MDB_cursor *c;
	int rc = mdb_cursor_open(txn, mirror_dbi(r->mirror, MIRROR_DOCUMENTS), &c);

	if (rc)
		return rc;
	memcpy(prefix, id.p, id.n);
	prefix[id.n] = '+';
	if (note->from_n)
		start = (struct str){ note->from, note->from_n };
	else {
		key = val(id);
		if ((rc = mdb_cursor_get(c, &key, &data, MDB_SET_KEY)) == 0)
			rc = change_one(r, txn, note, c, &key, &data, false);
		if (rc == MDB_NOTFOUND)
			rc = 0;
		if (!rc && !note->heard)
			rc = tell_others(r, txn, id, note->kind == NOTE_WITHDRAW ? EVENT_GONE : EVENT_INVALID, note->at, false);
		start = (struct str){ prefix, id.n + 1 };
	}
	note->reached_n = 0;
	for (unsigned i = 0; !rc && start.n <= MIRROR_KEY_MAX; i++) {
		key = val(start);
		if ((rc = mdb_cursor_get(c, &key, &data, MDB_SET_RANGE)) || key.mv_size <= id.n || memcmp(key.mv_data, prefix, id.n + 1))
			break;
		if (i == VARIANTS_ROUND) {
			memcpy(note->reached, key.mv_data, key.mv_size);
			note->reached_n = key.mv_size;
			break;
		}
		start = (struct str){ memcpy(behind, key.mv_data, key.mv_size), key.mv_size + 1 }; /* the smallest key behind this one */
		behind[key.mv_size] = 0;
		rc = change_one(r, txn, note, c, &key, &data, true);
	}
	mdb_cursor_close(c);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

int
change_apply(struct recorder *r, MDB_txn *txn, struct note *note)
{
	switch (note->kind) {
	case NOTE_STORE:      return store(r, txn, note);
	case NOTE_DROP:       return drop(r, txn, note->id[0], note->at, note->seen);
	case NOTE_FORGET:     return forget(r, txn, note->id[0]);
	case NOTE_PURGE:      return purge(r, txn, note->id[0]);
	case NOTE_WITHDRAW:
	case NOTE_INVALIDATE: return change(r, txn, note);
	case NOTE_RUN:        return note->run(r, txn, note);
	case NOTE_FLUSH:      return 0;
	}
	return 0;
}
