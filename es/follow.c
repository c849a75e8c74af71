/* follow.c - see follow.h. */
#include "follow.h"
#include "../common/clock.h"
#include "../common/counters.h"
#include "../common/err.h"
#include "../common/hash.h"
#include "../common/log.h"
#include "codec.h"
#include "documents.h"
#include "follow_impl.h"
#include "metadata_impl.h"
#include "outbox.h"
#include <limits.h>

#define PAGE 1000            /* event documents a search */
#define FETCH 64             /* of them read at a time: some 2 MB */
#define SEEN_SLOTS 65536     /* a power of two */
#define SEEN_MAX (SEEN_SLOTS / 2)
#define SAVE_MS 60000        /* where it stopped is written so often: what is read again after a restart does no harm */
#define TIDY_MS 3600000

struct follow {
	struct metadata *m;
	struct remote *remote;
	int64_t interval_ms, next;     /* mono */
	int64_t followed, saved, tidied; /* wall; wall; mono */
	/* Hashes of the ids of event documents, with the lowest bit set when it has been applied twice. Twice, for a question that was under way while
	 * the document was deleted may bring it into the mirror after the first time. */
	uint64_t seen[SEEN_SLOTS];
	unsigned seen_n;
};

struct follow *
follow_new(struct metadata *m, struct remote *remote, int64_t interval_ms)
{
	struct follow *f = xcalloc(1, sizeof *f);

	f->m = m;
	f->remote = remote;
	f->interval_ms = interval_ms;
	f->tidied = clock_mono() + random() % TIDY_MS - TIDY_MS; /* nodes that start together do not come together */
	return f;
}

void
follow_free(struct follow **fp)
{
	free(*fp);
	*fp = NULL;
}

/* --- what has been seen -------------------------------------------------------------------------------------------------------- */

/* The slot of a hash, or the free one where it would be; it is never full. */
static uint64_t *
slot(struct follow *f, uint64_t hash)
{
	size_t i = hash >> 1 & (SEEN_SLOTS - 1);

	while (f->seen[i] && (f->seen[i] | 1) != (hash | 1))
		i = (i + 1) & (SEEN_SLOTS - 1);
	return &f->seen[i];
}

static void
note_seen(struct follow *f, struct str id)
{
	uint64_t hash = hash64(id.p, id.n) & ~(uint64_t)1, *s = slot(f, hash ? hash : 2);

	if (*s) {
		*s |= 1;
		return;
	}
	if (f->seen_n == SEEN_MAX) { /* all of what is in the window is applied again, which changes nothing */
		memset(f->seen, 0, sizeof f->seen);
		f->seen_n = 0;
		s = slot(f, hash ? hash : 2);
	}
	*s = hash ? hash : 2;
	f->seen_n++;
	count(COUNT_es_events_seen);
}

static bool
is_done(struct follow *f, struct str id)
{
	uint64_t hash = hash64(id.p, id.n) & ~(uint64_t)1;

	return *slot(f, hash ? hash : 2) & 1;
}

/* --- applying ------------------------------------------------------------------------------------------------------------------ */

static void
apply_one(struct follow *f, const json_t *e, int64_t offset)
{
	const json_t *id = json_array_get(e, 0), *at = json_array_get(e, 2);
	const char *kind = json_string_value(json_array_get(e, 1));
	struct str s = { json_string_value(id), json_string_length(id) };
	struct note note = { .n = 1, .heard = true, .id = { s } };

	if (!json_is_string(id) || !metadata_is_key(s) || !kind || !json_is_integer(at) || json_integer_value(at) <= 0
	    || json_integer_value(at) > INT64_MAX / 2)
		return;
	note.kind = !strcmp(kind, "invalid") ? NOTE_INVALIDATE : NOTE_WITHDRAW; /* what we do not know of yet is better gone */
	note.at = json_integer_value(at) - offset;
	metadata_hear(f->m, &note);
}

static void
apply(void *arg, unsigned i, const struct document *d)
{
	struct follow *f = arg;
	json_t *e;
	size_t k;

	json_array_foreach(json_object_get(d->source, "px_events"), k, e)
		apply_one(f, e, remote_offset_exactly(f->remote));
	note_seen(f, d->id);
}

/* --- searching ----------------------------------------------------------------------------------------------------------------- */

/* Event documents with stored_at from (or, older: until) a time on, oldest first. */
static json_t *
search_for(const char *which, int64_t ms)
{
	return json_pack("{sisbsbs{s{s[{s{ss}}{s{s{so}}}]}}s[{ss}]}", "size", PAGE, "_source", 0, "track_total_hits", 0,
	                 "query", "bool", "filter", "term", "doc_type", FOLLOW_DOC_TYPE, "range", "stored_at", which, codec_time(ms),
	                 "sort", "stored_at", "asc");
}

/* One page: the hits (a borrowed reference into *answer), or NULL. Partial answers are no answers. */
static const json_t *
search(struct follow *f, const char *which, int64_t ms, json_t **answer)
{
	json_t *body = search_for(which, ms), *hits = NULL;
	char *text = json_dumps(body, JSON_COMPACT);

	if (remote_do(f->remote, &(struct remote_call){ .method = "POST", .path = STR("_search"), .body = str_c(text) }, answer) == 0
	    && !json_is_true(json_object_get(*answer, "timed_out"))
	    && json_integer_value(json_object_get(json_object_get(*answer, "_shards"), "failed")) == 0)
		hits = json_object_get(json_object_get(*answer, "hits"), "hits");
	json_decref(body);
	free(text);
	return json_is_array(hits) ? hits : NULL;
}

static struct str
hit_id(const json_t *hit)
{
	const json_t *id = json_object_get(hit, "_id");

	return (struct str){ json_string_value(id), json_string_length(id) };
}

/* A sort value is ms since the epoch. */
static int64_t
hit_time(const json_t *hit)
{
	return json_integer_value(json_array_get(json_object_get(hit, "sort"), 0));
}

/* Reads and applies those of a page that are not done yet. */
static bool
apply_page(struct follow *f, const json_t *hits)
{
	struct str ids[FETCH];
	unsigned n = 0;
	bool well = true;

	for (size_t i = 0; i < json_array_size(hits) && well; i++) {
		struct str id = hit_id(json_array_get(hits, i));
		if (str_starts(id, STR(FOLLOW_ID_PREFIX)) && !is_done(f, id))
			ids[n++] = id;
		if (n && (n == FETCH || i + 1 == json_array_size(hits))) {
			well = documents_get(f->remote, ids, n, NULL, remote_options(f->remote)->timeout_ms, 0, apply, f) == 0;
			n = 0;
		}
	}
	return well;
}

static bool
look(struct follow *f, int64_t from)
{
	bool well = true, more = true;

	while (well && more) {
		json_t *answer = NULL;
		const json_t *hits = search(f, "gte", from, &answer);
		size_t n = json_array_size(hits);
		int64_t last = n ? hit_time(json_array_get(hits, n - 1)) : 0;
		well = hits && apply_page(f, hits);
		more = n == PAGE && last > from; /* those of one millisecond are in one page: each has some hundred events */
		from = last;
		json_decref(answer);
	}
	return well;
}

/* --- where it stopped ------------------------------------------------------------------------------------------------------------ */

static int
save_run(struct recorder *r, MDB_txn *txn, struct note *note)
{
	return state_put(txn, recorder_dbi(r, MIRROR_STATE), STATE_FOLLOWED, *(const int64_t *)note->arg);
}

static void
save(struct follow *f, int64_t at)
{
	struct note note = { .kind = NOTE_RUN, .run = save_run, .arg = &at };

	if (metadata_writable(f->m) && recorder_do(f->m->recorder, &note) == 0)
		f->saved = at;
}

static bool
forget(void *arg, const struct meta *meta)
{
	metadata_forget(arg, meta->id);
	return true;
}

/* After a start. A mirror without a state is new, or has never shared anything. */
static bool
resume(struct follow *f, int64_t now)
{
	MDB_txn *txn;

	if (metadata_begin(f->m, &txn) < 0)
		return false;
	f->followed = state_get(txn, mirror_dbi(f->m->mirror, MIRROR_STATE), STATE_FOLLOWED, now);
	mirror_read_end(f->m->mirror, txn);
	if (f->followed > now) /* the clock was set back */
		f->followed = now;
	save(f, f->followed);
	return true;
}

/* What it has missed is in no event any more. Only when Elasticsearch answers again: until then the mirror is all that clients have. */
static bool
forget_all(struct follow *f)
{
	log_warn("this node has not heard of purges for days: it forgets its metadata, and reads them from Elasticsearch again");
	return metadata_walk(f->m, STR_NONE, INT_MAX, forget, f->m) >= 0;
}

/* Events that nobody can need any more. Whoever comes first. */
static void
tidy(struct follow *f, int64_t now)
{
	json_t *answer = NULL;
	const json_t *hits = search(f, "lt", now + remote_offset_exactly(f->remote) - FOLLOW_KEEP_MS, &answer);
	struct bulk bulk = { 0 };

	for (size_t i = 0; i < json_array_size(hits); i++)
		if (str_starts(hit_id(json_array_get(hits, i)), STR(FOLLOW_ID_PREFIX)))
			bulk_index(&bulk, hit_id(json_array_get(hits, i)), NULL);
	bulk_send(f->remote, &bulk, false, 0, NULL, NULL);
	if (json_array_size(hits) < PAGE)
		f->tidied = clock_mono();
	bulk_fini(&bulk);
	json_decref(answer);
}

int64_t
follow_step(struct follow *f)
{
	int64_t left = f->next - clock_mono(), now = clock_wall();
	int64_t from;
	bool late;

	if (left > 0)
		return left;
	f->next = clock_mono() + f->interval_ms;
	if (!f->followed && !resume(f, now))
		return f->interval_ms;
	from = (f->followed < now ? f->followed : now) + remote_offset_exactly(f->remote) - FOLLOW_SKEW_MS;
	late = f->followed < now - FOLLOW_KEEP_MS + 2 * FOLLOW_SKEW_MS;
	if (look(f, from) && (!late || forget_all(f))) {
		metadata_flush(f->m);
		f->followed = now;
		if (late || now - f->saved >= SAVE_MS || now < f->saved)
			save(f, now);
		if (clock_mono() - f->tidied >= TIDY_MS)
			tidy(f, now);
	}
	left = f->next - clock_mono();
	return left > 0 ? left : 0;
}
