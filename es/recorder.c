/* recorder.c - see recorder.h. */
#include "recorder_impl.h"
#include "../common/clock.h"
#include "../common/counters.h"
#include "../common/err.h"
#include "../common/log.h"
#include <signal.h>

#define BATCH_NOTES 1024        /* a transaction's bounds: LMDB keeps its changed pages in memory, */
#define BATCH_BYTES (8u << 20)  /* and other processes wait for it */
#define ALONE 8                 /* deletes a transaction when the map is full: few enough for the reserve */
#define TOUCH_MAX 8192          /* touches waiting */
#define TOUCH_IDS (1u << 20)    /* bytes of their ids, which are for the outbox only */
#define TOUCH_WAIT_MS 5000      /* touches alone are no reason to sync the disk more often */
#define PURGE_MAX 64

/* --- a batch ------------------------------------------------------------------------------------------------------------- */

/* One transaction over up to max notes from *at on; *at is then what follows. -ERR_FULL, -ERR_GONE, -ERR_SYSTEM: nothing was written. */
static int
attempt(struct recorder *r, struct note **at, unsigned max, bool stores, const struct touches *touches)
{
	struct note *from = *at, *n;
	MDB_txn *txn;
	int rc = 0, err;

	for (n = from; n && max; n = n->next, max--)
		;
	*at = n;
	if ((err = mirror_write(r->mirror, &txn)) == 0) {
		for (n = from; !rc && n != *at; n = n->next)
			if (stores || n->kind != NOTE_STORE)
				rc = change_apply(r, txn, n);
		for (unsigned i = 0; !rc && touches && i < touches->n; i++) {
			const struct touch *t = &touches->v[i];
			rc = change_access(r, txn, t->hash, (struct str){ touches->ids + t->id, t->id_n }, t->at);
		}
		if (rc) {
			mirror_abort(txn);
			err = mirror_err(r->mirror, rc);
		} else if ((err = mirror_commit(r->mirror, txn)) == 0)
			count(COUNT_commits);
	}
	for (n = from; n != *at; n = n->next)
		n->result = n->kind == NOTE_STORE && !stores && err == 0 ? -ERR_FULL : err;
	return err;
}

static void
commit_batch(struct recorder *r, struct note *batch, const struct touches *touches)
{
	bool room = mirror_has_room(r->mirror, clock_mono()), has_store = false;
	struct note *at = batch;
	int err;

	for (struct note *n = batch; n; n = n->next)
		has_store |= n->kind == NOTE_STORE;
	err = attempt(r, &at, UINT32_MAX, room, touches);
	if (err && touches->n)
		count_add(COUNT_touches_dropped, touches->n);
	if (err == -ERR_FULL) {
		/* what frees space still must work: alone, and few at a time; if need be without a note for others, which takes space itself */
		for (at = batch; at; r->no_events = false) {
			struct note *from = at;
			if (attempt(r, &at, ALONE, false, NULL) != -ERR_FULL || !r->outbox)
				continue;
			r->no_events = true;
			attempt(r, &from, ALONE, false, NULL);
		}
		room = false;
	}
	r->failing = err == -ERR_SYSTEM;
	if (r->failing)
		mirror_set_full(r->mirror, "the metadata database cannot be written");
	else if (!room && has_store && err != -ERR_GONE)
		mirror_set_full(r->mirror, "the metadata database or its disk is full: new objects are not stored");
	else if (room && err == 0)
		mirror_set_full(r->mirror, NULL);
}

/* --- the thread ------------------------------------------------------------------------------------------------------------ */

/* When is there something to commit? NEVER: when it comes. Called with the lock. */
static int64_t
due(const struct recorder *r)
{
	int64_t notes = NEVER, touches = NEVER;

	if (r->first)
		notes = r->stop || r->n_flush || r->n_notes >= BATCH_NOTES || r->n_notes >= r->queue_max ? 0 : r->first_at + r->commit_ms;
	if (r->filling->n)
		touches = r->stop || r->filling->n >= r->touch_max / 2 ? 0 : r->touch_at + TOUCH_WAIT_MS;
	return notes < touches ? notes : touches;
}

static void
wait_until(struct recorder *r, int64_t t)
{
	struct timespec ts = { .tv_sec = t / 1000, .tv_nsec = t % 1000 * 1000000 };

	pthread_cond_timedwait(&r->work, &r->lock, &ts);
}

/* Cuts a batch off the queue. Called with the lock. */
static struct note *
take(struct recorder *r)
{
	struct note *batch = r->first, **end = &r->first;
	size_t bytes = 0;

	for (unsigned i = 0; *end && i < BATCH_NOTES && bytes < BATCH_BYTES; i++) {
		bytes += (*end)->rec[0].n + (*end)->rec[1].n;
		r->n_notes--;
		r->n_flush -= (*end)->kind == NOTE_FLUSH;
		end = &(*end)->next;
	}
	if (!batch)
		return NULL;
	r->first = *end;
	*end = NULL;
	if (!r->first)
		r->last = &r->first;
	return batch;
}

/* Whoever posted hears of it, without the lock: it may post again. */
static void
tell(struct note *n)
{
	for (struct note *next; n; n = next) {
		next = n->next;
		if (n->then)
			n->then(n);
		else
			free(n);
	}
}

static void *
recorder_main(void *arg)
{
	struct recorder *r = arg;

	pthread_mutex_lock(&r->lock);
	for (;;) {
		int64_t now = clock_mono(), at = due(r);
		struct note *batch = NULL, *posted = NULL, **last_posted = &posted;
		struct touches *touches = &r->touches[r->filling == r->touches];

		if (at > now && !r->stop) {
			wait_until(r, at < now + MIRROR_TEND_MS ? at : now + MIRROR_TEND_MS);
			now = clock_mono();
		}
		if (r->stop && !r->first && !r->filling->n)
			break;
		touches->n = touches->ids_n = 0;
		if (due(r) <= now) {
			struct touches *filled = r->filling;
			batch = take(r);
			r->filling = touches;
			touches = filled;
		}
		pthread_cond_broadcast(&r->room);
		pthread_mutex_unlock(&r->lock);

		mirror_tend(r->mirror, now);
		if (batch || touches->n)
			commit_batch(r, batch, touches);
		else if (mirror_trouble(r->mirror) && !r->failing && mirror_has_room(r->mirror, now))
			mirror_set_full(r->mirror, NULL);

		pthread_mutex_lock(&r->lock);
		for (struct note *n = batch, *next; n; n = next) {
			next = n->next;
			if (n->posted) {
				r->n_purge -= n->kind == NOTE_PURGE;
				n->next = NULL;
				*last_posted = n;
				last_posted = &n->next;
			} else
				n->done = true;
		}
		if (batch)
			pthread_cond_broadcast(&r->done);
		if (posted) {
			pthread_mutex_unlock(&r->lock);
			tell(posted);
			pthread_mutex_lock(&r->lock);
		}
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

static void
recorder_free(struct recorder *r)
{
	for (int i = 0; i < 2; i++) {
		free(r->touches[i].v);
		free(r->touches[i].ids);
	}
	arena_fini(&r->scratch);
	free(r);
}

struct recorder *
recorder_start(struct mirror *mirror, int64_t commit_ms, unsigned queue_max, bool outbox)
{
	struct recorder *r = xcalloc(1, sizeof *r);
	pthread_condattr_t mono;
	sigset_t all, old;
	int rc;

	r->mirror = mirror;
	r->commit_ms = commit_ms;
	r->queue_max = queue_max ? queue_max : 1;
	r->touch_max = r->queue_max < TOUCH_MAX ? r->queue_max : TOUCH_MAX;
	r->outbox = outbox;
	r->last = &r->first;
	r->filling = r->touches;
	for (int i = 0; i < 2; i++) {
		r->touches[i].v = xcalloc(r->touch_max, sizeof *r->touches[i].v);
		r->touches[i].ids = outbox ? xmalloc(TOUCH_IDS) : NULL;
	}
	arena_init(&r->scratch);
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(&r->work, &mono);
	pthread_cond_init(&r->done, NULL);
	pthread_cond_init(&r->room, NULL);
	pthread_condattr_destroy(&mono);
	sigfillset(&all); /* signals are for the thread that made us */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&r->thread, NULL, recorder_main, r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc == 0)
		return r;
	log_error("the metadata recorder cannot be started: %s", strerror(rc));
	recorder_free(r);
	return NULL;
}

void
recorder_stop(struct recorder **rp)
{
	struct recorder *r = *rp;

	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->stop = true;
	pthread_cond_signal(&r->work);
	pthread_mutex_unlock(&r->lock);
	pthread_join(r->thread, NULL);
	pthread_cond_destroy(&r->work);
	pthread_cond_destroy(&r->done);
	pthread_cond_destroy(&r->room);
	pthread_mutex_destroy(&r->lock);
	recorder_free(r);
	*rp = NULL;
}

/* --- the other threads ----------------------------------------------------------------------------------------------------- */

static void
append(struct recorder *r, struct note *note)
{
	note->next = NULL;
	*r->last = note;
	r->last = &note->next;
	if (!r->n_notes++)
		r->first_at = clock_mono();
	r->n_flush += note->kind == NOTE_FLUSH;
	if (r->n_notes == 1 || r->n_flush || r->n_notes >= BATCH_NOTES || r->n_notes >= r->queue_max)
		pthread_cond_signal(&r->work);
}

void
recorder_on_wait(struct recorder *r, void (*fn)(void *), void *arg)
{
	r->on_wait = fn;
	r->on_wait_arg = arg;
}

static void
about_to_wait(struct recorder *r)
{
	if (r->on_wait)
		r->on_wait(r->on_wait_arg);
}

int
recorder_do(struct recorder *r, struct note *note)
{
	note->done = note->posted = false;
	about_to_wait(r);
	pthread_mutex_lock(&r->lock);
	while (r->n_notes >= r->queue_max)
		pthread_cond_wait(&r->room, &r->lock);
	append(r, note);
	while (!note->done)
		pthread_cond_wait(&r->done, &r->lock);
	pthread_mutex_unlock(&r->lock);
	return note->result;
}

void
recorder_post(struct recorder *r, struct note *note)
{
	note->posted = true;
	pthread_mutex_lock(&r->lock);
	if (r->n_notes >= r->queue_max && !pthread_equal(pthread_self(), r->thread)) {
		pthread_mutex_unlock(&r->lock);
		about_to_wait(r);
		pthread_mutex_lock(&r->lock);
		while (r->n_notes >= r->queue_max)
			pthread_cond_wait(&r->room, &r->lock);
	}
	append(r, note);
	pthread_mutex_unlock(&r->lock);
}

void
recorder_purge(struct recorder *r, struct str id)
{
	pthread_mutex_lock(&r->lock);
	if (r->n_purge < PURGE_MAX) {
		struct note *note = xcalloc(1, sizeof *note + id.n);
		char *copy = (char *)(note + 1);
		memcpy(copy, id.p, id.n);
		*note = (struct note){ .kind = NOTE_PURGE, .n = 1, .id = { { copy, id.n } }, .posted = true };
		r->n_purge++;
		append(r, note);
	}
	pthread_mutex_unlock(&r->lock);
}

void
recorder_touch(struct recorder *r, struct str id, int64_t now)
{
	uint64_t hash = change_key(id);
	/* what is hit often is found here, without a lock */
	uint64_t mark = (hash & ~(uint64_t)0xffffff) | ((uint64_t)(now / RECORDER_TOUCH_MS) & 0xffffff);
	_Atomic uint64_t *recent = &r->recent[hash % RECENT];

	if (atomic_load_explicit(recent, memory_order_relaxed) == mark)
		return;
	pthread_mutex_lock(&r->lock);
	if (r->filling->n == r->touch_max)
		count(COUNT_touches_dropped);
	else {
		struct touches *f = r->filling;
		struct touch *t = &f->v[f->n++];
		atomic_store_explicit(recent, mark, memory_order_relaxed);
		if (f->n == 1)
			r->touch_at = clock_mono();
		*t = (struct touch){ .hash = hash, .at = now };
		if (f->ids && change_is_shared(r, id) && TOUCH_IDS - f->ids_n >= id.n) {
			t->id = f->ids_n;
			t->id_n = (uint32_t)id.n;
			memcpy(f->ids + t->id, id.p, id.n);
			f->ids_n += t->id_n;
		}
		if (f->n == 1 || f->n == r->touch_max / 2)
			pthread_cond_signal(&r->work);
	}
	pthread_mutex_unlock(&r->lock);
}
