/* upload.c - see upload.h. One table of chunks, by name; each is in one of two lists: the queue (what is to be sent), or the ended ones, oldest
 * first. What is being sent is in neither. All under one mutex, which nobody holds while the network or a file's bytes are used. */
#include "upload.h"
#include "refill.h"
#include "../common/arena.h"
#include "../common/clock.h"
#include "../common/counters.h"
#include "../common/err.h"
#include "../common/log.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum state { QUEUED, SENDING, THERE, FAILED };

struct entry {
	struct chunk_id id;
	enum state state;
	unsigned tries;
	uint64_t size;
	int64_t at;                      /* mono ms. QUEUED: not before; else: since */
	struct entry *in_bucket;
	struct entry *next, *prev;       /* in its list */
};

struct list { struct entry *first, *last; unsigned n; };

struct upload {
	struct upload_options o;
	pthread_mutex_t m;
	pthread_cond_t work;
	bool stopping;
	pthread_t *threads;
	/* the table */
	struct entry **buckets;
	unsigned nbuckets;               /* a power of two */
	struct list queue, ended;
	/* how fast */
	unsigned sending;
	double limit;                    /* at a time; additive increase, multiplicative decrease */
	unsigned failures;               /* in a row; those that were under way together are one … */
	int64_t failed_at;               /* … with this, the first of them */
	int64_t not_before;              /* nothing is begun before */
	unsigned seed;
	_Atomic(const char *) trouble;
};

/* --- the table --- */

static void
list_add(struct list *l, struct entry *e)
{
	e->next = NULL;
	e->prev = l->last;
	*(l->last != NULL ? &l->last->next : &l->first) = e;
	l->last = e;
	l->n++;
}

static void
list_del(struct list *l, struct entry *e)
{
	*(e->prev != NULL ? &e->prev->next : &l->first) = e->next;
	*(e->next != NULL ? &e->next->prev : &l->last) = e->prev;
	l->n--;
}

static struct entry **
place_of(struct upload *u, const struct chunk_id *id)
{
	uint32_t h;
	struct entry **p;

	memcpy(&h, id->b, sizeof h);
	for (p = &u->buckets[h & (u->nbuckets - 1)]; *p != NULL && !chunk_id_same(&(*p)->id, id); p = &(*p)->in_bucket)
		;
	return p;
}

static void
grow(struct upload *u)
{
	struct entry **old = u->buckets, *e, *next;
	unsigned n = u->nbuckets;

	u->nbuckets = n * 2;
	u->buckets = xcalloc(u->nbuckets, sizeof *u->buckets);
	for (unsigned i = 0; i < n; i++)
		for (e = old[i]; e != NULL; e = next) {
			next = e->in_bucket;
			e->in_bucket = NULL;
			*place_of(u, &e->id) = e;
		}
	free(old);
}

static void
forget(struct upload *u, struct entry *e)
{
	struct entry **p = place_of(u, &e->id);

	*p = e->in_bucket;
	list_del(&u->ended, e);
	free(e);
}

static void
forget_old(struct upload *u)
{
	int64_t now = clock_mono();

	while (u->ended.first != NULL && (u->ended.n > UPLOAD_KNOWN || now - u->ended.first->at > UPLOAD_KNOWN_MS))
		forget(u, u->ended.first);
}

static void
ended(struct upload *u, struct entry *e, enum state state)
{
	e->state = state;
	e->at = clock_mono();
	list_add(&u->ended, e);
}

static void
enqueue(struct upload *u, struct entry *e, int64_t not_before)
{
	e->state = QUEUED;
	e->at = not_before;
	list_add(&u->queue, e);
	pthread_cond_signal(&u->work);
}

/* --- one chunk --- */

enum outcome { SENT, KNOWN, LOST, REFUSED, AGAIN };

/* It is neither in the spool nor, whole, in the store: a machine that crashed took it. The bucket may have it all the same; it is renewed there,
 * for its document comes out only now, and until then gc.h sees nobody who needs it. */
static enum outcome
look_in_bucket(struct upload *u, const struct entry *e, struct str key, int *err, char problem[BUCKET_PROBLEM])
{
	if (spool_doubted(u->o.spool, &e->id))
		return LOST;
	*err = bucket_renew(u->o.bucket, key, e->size, problem);
	if (*err == -ERR_CONFLICT) { /* it may be deleted at any moment, and we cannot help it */
		snprintf(problem, BUCKET_PROBLEM, "it is old there, its bytes are not here, and this S3 does not copy");
		return REFUSED;
	}
	return *err >= 0 ? KNOWN : *err == -ERR_NOT_FOUND ? LOST : *err == -ERR_S3_REFUSED ? REFUSED : AGAIN;
}

static enum outcome
send_chunk(struct upload *u, const struct entry *e, int *err, char problem[BUCKET_PROBLEM])
{
	struct arena a;
	struct str key;
	enum outcome out = AGAIN;
	int fd;

	arena_init(&a);
	key = chunk_key(&a, u->o.prefix, u->o.depth, &e->id);
	*err = spool_take(u->o.spool, &e->id, e->size, &fd);
	if (*err == -ERR_NOT_FOUND || *err == -ERR_CORRUPT)
		out = look_in_bucket(u, e, key, err, problem);
	else if (*err == 0) {
		*err = bucket_put_file(u->o.bucket, key, fd, e->size, e->id.n == SHA256_RAW ? e->id.b : NULL,
		    !spool_doubted(u->o.spool, &e->id), problem);
		out = *err == 0 ? SENT : *err > 0 ? KNOWN : *err == -ERR_S3_REFUSED ? REFUSED : AGAIN;
		fd_close(&fd);
	}
	arena_fini(&a);
	return out;
}

/* --- pauses --- */

/* Twice as long each time, up to the maximum; of that the upper half by chance, so that nodes do not come back all at once. */
static int64_t
pause_ms(struct upload *u, int err, unsigned tries)
{
	int64_t ms = err == -ERR_S3_DENIED && u->o.pause_ms == 0 ? UPLOAD_PAUSE_DENIED_MS : u->o.pause_ms > 0 ? u->o.pause_ms : UPLOAD_PAUSE_MS;

	for (; tries > 1 && ms < UPLOAD_PAUSE_MAX_MS; tries--)
		ms *= 2;
	if (ms > UPLOAD_PAUSE_MAX_MS)
		ms = UPLOAD_PAUSE_MAX_MS;
	return ms / 2 + (int64_t)((double)ms / 2 * rand_r(&u->seed) / RAND_MAX);
}

static void
say_trouble(struct upload *u, const char *now, const char *problem)
{
	const char *was = atomic_exchange(&u->trouble, now);

	if (was == now)
		return;
	if (now != NULL)
		log_warn("uploads wait: %s%s%s", now, problem[0] != 0 ? ": " : "", problem);
	else
		log_info("uploads go on");
}

/* Under the mutex: what its end means for it and for all. */
static void
account(struct upload *u, struct entry *e, enum outcome out, int err)
{
	int64_t now = clock_mono();

	if (out != AGAIN) { /* S3 has answered as it should */
		u->failures = 0;
		u->not_before = 0;
		u->limit += u->limit < u->o.threads ? 1 / u->limit : 0;
		ended(u, e, out == SENT || out == KNOWN ? THERE : FAILED);
		forget_old(u);
		pthread_cond_signal(&u->work); /* there may be room for one more */
		return;
	}
	count(COUNT_upload_errors);
	if (err == -ERR_S3_SLOW_DOWN)
		count(COUNT_upload_slow_downs);
	else if (err == -ERR_S3_DENIED)
		count(COUNT_uploads_denied);
	if (u->failures == 0 || e->at > u->failed_at) {
		u->failures++;
		u->failed_at = now;
		u->not_before = now + pause_ms(u, err, u->failures);
		if (err == -ERR_S3_SLOW_DOWN)
			u->limit = u->limit > 2 ? u->limit / 2 : 1;
	}
	enqueue(u, e, now + pause_ms(u, err, ++e->tries));
}

static void
finish(struct upload *u, struct entry *e, enum outcome out, int err, const char *problem)
{
	char hex[CHUNK_NAME];

	chunk_name(&e->id, hex);
	switch (out) {
	case SENT:
		count_add(COUNT_upload_bytes, e->size);
		/* fall through */
	case KNOWN:
		count(COUNT_uploads);
		if (out == KNOWN)
			count(COUNT_uploads_known);
		(void)spool_settle(u->o.spool, &e->id);
		say_trouble(u, NULL, "");
		break;
	case LOST:
		count(COUNT_uploads_failed);
		log_error("chunk %s: lost before S3 had it: its documents are not published", hex);
		(void)spool_give_up(u->o.spool, &e->id);
		break;
	case REFUSED:
		count(COUNT_uploads_failed);
		log_error("chunk %s: S3 will not take it: %s", hex, problem);
		(void)spool_give_up(u->o.spool, &e->id);
		break;
	case AGAIN:
		say_trouble(u, err_text(err), problem);
		break;
	}
}

/* --- the threads --- */

/* Under the mutex: what may be begun now; else NULL, and when to look again. */
static struct entry *
take(struct upload *u, int64_t *wake)
{
	int64_t now = clock_mono();
	unsigned most = u->failures > 0 ? 1 : (unsigned)u->limit;

	*wake = u->queue.n > 0 ? now + 1000 : NEVER; /* who watches a pause may be busy with another chunk when it is over */
	if (u->sending >= most)
		return NULL;
	if (now < u->not_before) {
		*wake = u->not_before;
		return NULL;
	}
	for (struct entry *e = u->queue.first; e != NULL; e = e->next) {
		if (e->at <= now) {
			list_del(&u->queue, e);
			e->state = SENDING;
			e->at = now;
			u->sending++;
			return e;
		}
		if (e->at < *wake)
			*wake = e->at;
	}
	return NULL;
}

static void
wait_until(struct upload *u, int64_t wake)
{
	struct timespec t = { .tv_sec = wake / 1000, .tv_nsec = wake % 1000 * 1000000 };

	if (wake == NEVER)
		pthread_cond_wait(&u->work, &u->m);
	else
		pthread_cond_timedwait(&u->work, &u->m, &t);
}

static void *
thread_main(void *arg)
{
	struct upload *u = arg;
	struct entry *e;
	int64_t wake;

	pthread_mutex_lock(&u->m);
	while (!u->stopping) {
		e = take(u, &wake);
		if (e == NULL) {
			wait_until(u, wake);
			continue;
		}
		pthread_mutex_unlock(&u->m);

		char problem[BUCKET_PROBLEM] = "";
		int err = 0;
		enum outcome out = send_chunk(u, e, &err, problem);
		finish(u, e, out, err, problem);

		pthread_mutex_lock(&u->m);
		u->sending--;
		account(u, e, out, err);
		pthread_mutex_unlock(&u->m);
		if (u->o.done != NULL && out != AGAIN)
			u->o.done(u->o.arg);
		pthread_mutex_lock(&u->m);
	}
	pthread_mutex_unlock(&u->m);
	return NULL;
}

struct upload *
upload_start(const struct upload_options *o)
{
	struct upload *u = xcalloc(1, sizeof *u);
	pthread_condattr_t ca;

	u->o = *o;
	u->limit = o->threads;
	u->nbuckets = 4096;
	u->buckets = xcalloc(u->nbuckets, sizeof *u->buckets);
	u->seed = (unsigned)(clock_mono() ^ getpid() * 7919);
	pthread_mutex_init(&u->m, NULL);
	pthread_condattr_init(&ca);
	pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
	pthread_cond_init(&u->work, &ca);
	pthread_condattr_destroy(&ca);
	u->threads = xcalloc(o->threads, sizeof *u->threads);
	for (unsigned i = 0; i < o->threads; i++)
		if (pthread_create(&u->threads[i], NULL, thread_main, u) != 0)
			die(71, "uploads: no thread"); /* EX_OSERR */
	return u;
}

void
upload_stop(struct upload **up)
{
	struct upload *u = *up;

	*up = NULL;
	if (u == NULL)
		return;
	pthread_mutex_lock(&u->m);
	u->stopping = true;
	pthread_cond_broadcast(&u->work);
	pthread_mutex_unlock(&u->m);
	for (unsigned i = 0; i < u->o.threads; i++)
		pthread_join(u->threads[i], NULL);
	for (unsigned i = 0; i < u->nbuckets; i++)
		for (struct entry *e = u->buckets[i], *next; e != NULL; e = next) {
			next = e->in_bucket;
			free(e);
		}
	pthread_cond_destroy(&u->work);
	pthread_mutex_destroy(&u->m);
	free(u->buckets);
	free(u->threads);
	free(u);
}

/* --- asking --- */

/* Under the mutex. */
static enum upload_state
want_chunk(struct upload *u, const struct chunk_id *id, uint64_t size)
{
	struct entry **p = place_of(u, id), *e = *p;

	if (e != NULL && e->size != size)
		return UPLOAD_FAILED; /* two manifests that do not agree: this one is not what was sent */
	if (e != NULL && e->state == FAILED && spool_has(u->o.spool, id)) /* it was stored anew */
		list_del(&u->ended, e);
	else if (e != NULL)
		return e->state == THERE ? UPLOAD_THERE : e->state == FAILED ? UPLOAD_FAILED : UPLOAD_UNDER_WAY;
	else if (u->queue.n + u->sending >= UPLOAD_QUEUE)
		return UPLOAD_BUSY;
	else {
		if (u->queue.n + u->sending + u->ended.n >= u->nbuckets) {
			grow(u);
			p = place_of(u, id);
		}
		e = xcalloc(1, sizeof *e);
		e->id = *id;
		e->size = size;
		*p = e;
	}
	enqueue(u, e, 0);
	return UPLOAD_UNDER_WAY;
}

/* It was there, and has been found missing or spoilt since. */
static enum upload_state
send_again(struct upload *u, const struct chunk_id *id)
{
	struct entry *e;

	pthread_mutex_lock(&u->m);
	e = *place_of(u, id);
	if (e != NULL && e->state == THERE) {
		list_del(&u->ended, e);
		enqueue(u, e, 0);
	}
	pthread_mutex_unlock(&u->m);
	return UPLOAD_UNDER_WAY;
}

enum upload_state
upload_want(struct upload *u, struct str raw)
{
	enum upload_state worst = UPLOAD_THERE;
	struct manifest m;
	struct chunk_id id;

	if (raw.n == 0)
		return UPLOAD_THERE;
	if (manifest_parse(raw, &m) < 0 || m.n > UPLOAD_KNOWN)
		return UPLOAD_FAILED;
	pthread_mutex_lock(&u->m);
	forget_old(u);
	for (uint32_t i = 0; i < m.n && worst != UPLOAD_FAILED && worst != UPLOAD_BUSY; i++) {
		enum upload_state s;
		id = manifest_id(&m, i);
		s = want_chunk(u, &id, manifest_chunk_length(&m, i));
		if (s > worst)
			worst = s;
	}
	pthread_mutex_unlock(&u->m);
	for (uint32_t i = 0; i < m.n && worst == UPLOAD_THERE; i++) {
		id = manifest_id(&m, i);
		if (spool_doubted(u->o.spool, &id))
			worst = send_again(u, &id);
		else /* it may have been linked once more since it was sent */
			(void)spool_settle(u->o.spool, &id);
	}
	return worst;
}

void
upload_kick(struct upload *u)
{
	pthread_mutex_lock(&u->m);
	u->not_before = 0;
	for (struct entry *e = u->queue.first; e != NULL; e = e->next)
		e->at = 0;
	pthread_cond_broadcast(&u->work);
	pthread_mutex_unlock(&u->m);
}

unsigned
upload_queued(struct upload *u)
{
	unsigned n;

	pthread_mutex_lock(&u->m);
	n = u->queue.n + u->sending;
	pthread_mutex_unlock(&u->m);
	return n;
}

const char *upload_trouble(struct upload *u) { return atomic_load(&u->trouble); }
