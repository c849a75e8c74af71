/* drain_events.c - purges and invalidations on their way into Elasticsearch and to the other nodes; times of last use.
 *
 * An event is done in this order: the documents in Elasticsearch are deleted (or marked), then the event document is written and made visible to
 * searches, then the row is settled. In any other order a node could hear of the event and then get the old document back from Elasticsearch.
 * A document of a node whose clock is a little wrong (REMOTE_CLOCK_TOLERANCE_MS) may escape the first step, if it was stored as short a time before
 * the event; that node itself hears of the event, and is exact. */
#include "drain_impl.h"
#include "../common/clock.h"
#include "../common/counters.h"
#include "../common/err.h"
#include "../common/hash.h"
#include "../common/log.h"
#include "follow_impl.h"
#include <openssl/rand.h>

#define BATCH FOLLOW_IDS_MAX  /* events at a time */
#define USED_BATCH 1000

struct one {
	struct event e;
	struct str vary_id;
	bool asked, known, done; /* known: Elasticsearch has it, or its vary index */
};

struct batch {
	struct drain *drain;
	struct one v[BATCH];
	unsigned n;
	struct one *asked[2 * BATCH], *sent[BATCH];
	unsigned sent_n;
	bool vary;               /* these are the ids asked for */
	struct bulk bulk;
	int trouble;
};

/* "scheme/host/hash" as the id of its vary index, "scheme/host/_vary/hash" (4.4). */
static struct str
vary_id(struct str id, struct arena *arena)
{
	size_t at = id.n;

	while (at > 0 && id.p[at - 1] != '/')
		at--;
	return arena_printf(arena, "%.*s_vary/%.*s", STRP(str_upto(id, at)), STRP(str_from(id, at)));
}

static int
read_batch(struct drain *d, struct batch *b, struct arena *arena)
{
	MDB_txn *txn;
	uint64_t after = 0;
	int rc = 0;

	if (metadata_begin(d->m, &txn) < 0)
		return -ERR_GONE;
	for (; b->n < BATCH; b->n++) {
		struct one *o = &b->v[b->n];
		*o = (struct one){ 0 };
		if ((rc = event_next(txn, mirror_dbi(d->m->mirror, MIRROR_EVENTS), after, &o->e)))
			break;
		o->e.id = arena_dup(arena, o->e.id);
		after = o->e.number;
	}
	mirror_read_end(d->m->mirror, txn);
	return rc && rc != MDB_NOTFOUND ? (mirror_err(d->m->mirror, rc), -ERR_GONE) : 0;
}

/* What Elasticsearch has of it: what has to be done there? */
static void
look(void *arg, unsigned i, const struct document *doc)
{
	struct batch *b = arg;
	struct one *o = b->asked[i];
	json_t *source;

	if (b->vary) {
		o->known |= doc->source != NULL;
		return;
	}
	o->asked = true;
	o->known = doc->source != NULL;
	if (!doc->source || codec_stored_at(doc->source, remote_offset(b->drain->o.remote)) > o->e.at
	    || (o->e.kind == EVENT_INVALID && codec_invalidated(doc->source))) {
		o->done = true;
		return;
	}
	if (o->e.kind == EVENT_GONE)
		bulk_put(&b->bulk, doc, NULL);
	else {
		source = json_copy(doc->source);
		json_object_set_new(source, "px_flags", json_integer(json_integer_value(json_object_get(source, "px_flags")) | META_INVALIDATED));
		bulk_put(&b->bulk, doc, source);
		json_decref(source);
	}
	b->sent[b->sent_n++] = o;
}

static void
outcome(void *arg, unsigned i, int result, const char *reason)
{
	struct batch *b = arg;
	struct one *o = b->sent[i];

	if (result == 0 && o->e.kind == EVENT_GONE)
		count(COUNT_es_deleted);
	if (result == -ERR_CONFLICT) {
		count(COUNT_es_conflicts);
		b->drain->again = true;
	} else if (result == -ERR_BAD_REQUEST)
		drain_reject(b->drain, o->e.id, reason);
	if (result == 0 || result == -ERR_NOT_FOUND || result == -ERR_BAD_REQUEST)
		o->done = true;
	else if (result == -ERR_BUSY)
		b->trouble = result;
	else if (result != -ERR_CONFLICT)
		b->drain->partial = true;
}

/* The documents of all events of one kind. */
static int
change_documents(struct batch *b, enum event_kind kind)
{
	struct remote *remote = b->drain->o.remote;
	struct str ids[BATCH];
	unsigned n = 0;
	int err;

	for (unsigned i = 0; i < b->n; i++)
		if (b->v[i].e.kind == kind) {
			ids[n] = b->v[i].e.id;
			b->asked[n++] = &b->v[i];
		}
	if (!n)
		return 0;
	b->sent_n = 0; /* a bulk has one kind only */
	b->vary = false;
	err = documents_get(remote, ids, n, kind == EVENT_GONE ? "headers,px_headers,manifest_b64" : NULL, drain_limit(b->drain), 0, look, b);
	if (err == -ERR_AGAIN) {
		b->drain->partial = true;
		err = 0;
	}
	if (err == 0)
		err = bulk_send(remote, &b->bulk, false, drain_limit(b->drain), outcome, b);
	bulk_fini(&b->bulk);
	return err ? err : b->trouble;
}

/* An invalidation of what nobody has is of no interest to anybody: unsafe requests are many, and mostly about such things. A purge is told in
 * any case. */
static int
ask_for_indexes(struct batch *b, struct arena *arena)
{
	struct str ids[BATCH];
	unsigned n = 0;

	for (unsigned i = 0; i < b->n; i++)
		if (b->v[i].e.kind == EVENT_INVALID && !b->v[i].e.local && !b->v[i].known) {
			struct str id = vary_id(b->v[i].e.id, arena);
			if (id.n > METADATA_ID_MAX)
				continue;
			ids[n] = id;
			b->asked[n++] = &b->v[i];
		}
	b->vary = true;
	return n ? documents_get(b->drain->o.remote, ids, n, NULL, drain_limit(b->drain), 0, look, b) : 0;
}

static void
told(void *arg, unsigned i, int result, const char *reason)
{
	struct batch *b = arg;

	if (result)
		b->trouble = result == -ERR_CONFLICT || result == -ERR_NOT_FOUND ? -ERR_ES_FAILED : result;
}

static struct str
event_id(struct arena *arena)
{
	uint8_t raw[16];
	char hex[33];

	RAND_bytes(raw, sizeof raw);
	hex_encode(raw, sizeof raw, hex);
	return arena_printf(arena, FOLLOW_ID_PREFIX "%s", hex);
}

/* One event document for all of them; refresh: followers search. */
static int
tell_nodes(struct batch *b, struct arena *arena)
{
	int64_t offset = remote_offset_exactly(b->drain->o.remote);
	json_t *list = json_array(), *doc;
	unsigned n = 0;
	int err = 0;

	for (unsigned i = 0; i < b->n; i++) {
		const struct one *o = &b->v[i];
		if (!o->done || o->e.local || (o->e.kind == EVENT_INVALID && !o->known))
			continue;
		json_array_append_new(list, json_pack("[s%sI]", o->e.id.p, o->e.id.n, o->e.kind == EVENT_GONE ? "gone" : "invalid",
		                                      (json_int_t)(o->e.at + offset)));
		n++;
	}
	if (n) {
		doc = json_pack("{sssosO}", "doc_type", FOLLOW_DOC_TYPE, "stored_at", codec_time(clock_wall() + offset), "px_events", list);
		bulk_index(&b->bulk, event_id(arena), doc);
		err = bulk_send(b->drain->o.remote, &b->bulk, true, drain_limit(b->drain), told, b);
		bulk_fini(&b->bulk);
		json_decref(doc);
		if (err == 0 && b->trouble == -ERR_BAD_REQUEST) {
			log_error("Elasticsearch does not take a purge: other nodes do not hear of it");
			b->trouble = 0;
		} else if (err == 0 && b->trouble == 0)
			count_add(COUNT_es_events_sent, n);
	}
	json_decref(list);
	return err ? err : b->trouble;
}

int
drain_events(struct drain *d)
{
	struct batch *b = xcalloc(1, sizeof *b);
	struct settled done_rows[BATCH];
	struct settle done = { .table = MIRROR_EVENTS, .v = done_rows };
	struct arena arena;
	int err;

	arena_init(&arena);
	b->drain = d;
	err = read_batch(d, b, &arena);
	d->events_left = b->n == BATCH;
	if (err == 0 && b->n && d->o.remote) {
		if ((err = change_documents(b, EVENT_GONE)) == 0 && (err = change_documents(b, EVENT_INVALID)) == 0
		    && ((err = ask_for_indexes(b, &arena)) == 0 || err == -ERR_AGAIN))
			err = tell_nodes(b, &arena);
	}
	for (unsigned i = 0; i < b->n && err == 0; i++)
		if (b->v[i].done || !d->o.remote)
			done.v[done.n++] = (struct settled){ .generation = b->v[i].e.number };
	if (err == 0)
		err = drain_settle(d, &done);
	d->progress |= done.n > 0;
	arena_fini(&arena);
	free(b);
	return err;
}

/* --- times of last use ------------------------------------------------------------------------------------------------------------- */

struct used {
	struct settled *v;
	unsigned n;
	int trouble;
};

static void
used_outcome(void *arg, unsigned i, int result, const char *reason)
{
	struct used *u = arg;

	/* not there (not published yet, or purged), in conflict with somebody who writes a later one: no harm */
	if (result == 0)
		count(COUNT_es_last_used);
	else if (result == -ERR_BUSY || result == -ERR_ES_FAILED)
		u->trouble = result;
}

/* The next rows from the start: they are settled as they are sent. */
static int
used_batch(struct drain *d, struct used *u, struct arena *arena)
{
	struct settle done = { .table = MIRROR_USED, .v = u->v };
	struct bulk bulk = { 0 };
	struct str id = STR_NONE;
	MDB_txn *txn;
	int64_t at;
	int rc = 0, err;

	if (metadata_begin(d->m, &txn) < 0)
		return -ERR_GONE;
	for (u->n = 0; u->n < USED_BATCH; u->n++) {
		if ((rc = used_next(txn, mirror_dbi(d->m->mirror, MIRROR_USED), id, &id, &at)))
			break;
		id = arena_dup(arena, id);
		u->v[u->n] = (struct settled){ .id = id, .at = at };
	}
	mirror_read_end(d->m->mirror, txn);
	if (rc && rc != MDB_NOTFOUND)
		return mirror_err(d->m->mirror, rc), -ERR_GONE;
	for (unsigned i = 0; i < u->n && d->o.remote; i++) {
		json_t *doc = json_pack("{so}", "last_access", codec_time(u->v[i].at + remote_offset(d->o.remote)));
		bulk_update(&bulk, u->v[i].id, doc);
		json_decref(doc);
	}
	u->trouble = 0;
	err = d->o.remote ? bulk_send(d->o.remote, &bulk, false, drain_limit(d), used_outcome, u) : 0;
	bulk_fini(&bulk);
	if (err == -ERR_BAD_REQUEST)
		err = 0;
	if (err || (err = u->trouble))
		return err; /* all of them again: the same times */
	done.n = u->n;
	d->progress |= u->n > 0;
	return drain_settle(d, &done);
}

int
drain_used(struct drain *d)
{
	struct used u = { .n = 0 };
	struct arena arena;
	int err = 0;

	if (clock_mono() < d->used_at)
		return 0;
	u.v = xcalloc(USED_BATCH, sizeof *u.v);
	arena_init(&arena);
	do {
		arena_reset(&arena);
		err = used_batch(d, &u, &arena);
	} while (err == 0 && u.n == USED_BATCH && clock_mono() < d->deadline);
	if (err == 0)
		d->used_at = clock_mono() + d->o.flush_ms;
	arena_fini(&arena);
	free(u.v);
	return err;
}
