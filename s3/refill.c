/* refill.c - see refill.h. A job is the writer of one chunk's fill. It goes forward by steps (advance), so that it can be run to its end by
 * another thread, or by its reader between two reads when there is no other thread. */
#include "refill.h"
#include "../common/arena.h"
#include "../common/clock.h"
#include "../common/counters.h"
#include "../common/err.h"
#include "../common/log.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN_WITHIN_MS 1000 /* a request that fails as fast as that is sent once more; a slow failure has cost enough */

struct refill {
	struct refill_options o;
	_Atomic unsigned refs;           /* its maker's, and each job's */
	_Atomic unsigned failures;       /* of the bucket, in a row */
	_Atomic int64_t away_until;      /* mono ms */
	_Atomic int64_t away_since;      /* mono ms: what was asked before that says nothing new when it fails */
	_Atomic int64_t answered;        /* mono ms: its last answer */
	_Atomic(const char *) trouble;
};

struct job {
	struct refill *refill;
	struct fill *writer;
	struct chunk_id id;
	uint64_t length;
	struct bucket_read *in;
	uint64_t at;                     /* bytes that have come (and are in the hash) */
	struct sha256 *sum;              /* NULL: a random name */
	char *whole;                     /* up to REFILL_WHOLE: all that has come; NULL: nothing has */
	const char *pending;             /* longer ones: what has come and is not in the fill yet */
	size_t pending_n;
	char last;                       /* … but its last byte, which is for the end */
	bool again;                      /* the bucket was asked a second time */
	bool verified;                   /* what is pending is the end */
	bool degraded;
};

struct refill_reader {
	struct refill *refill;
	struct fill *fill;
	struct job *job;                 /* there was no thread for it: it is ours to drive */
	uint64_t length;
	char last;                       /* refill_read's view of one held-back byte … */
	uint64_t last_at;                /* … and where it is, + 1 */
};

struct refill *
refill_new(const struct refill_options *o)
{
	struct refill *r = xcalloc(1, sizeof *r);

	r->o = *o;
	atomic_init(&r->refs, 1);
	return r;
}

static void
unref(struct refill *r)
{
	if (atomic_fetch_sub(&r->refs, 1) == 1)
		free(r);
}

void
refill_free(struct refill **r)
{
	if (*r != NULL)
		unref(*r);
	*r = NULL;
}

unsigned refill_window(const struct refill *r) { return r->o.ahead > 0 ? r->o.ahead - 1 : 0; }
const char *refill_trouble(const struct refill *r) { return atomic_load(&r->trouble); }

struct str
chunk_key(struct arena *a, const char *prefix, unsigned depth, const struct chunk_id *id)
{
	char hex[CHUNK_NAME], folders[2 * 8 + 1] = "";

	chunk_name(id, hex);
	for (unsigned i = 0; i < depth && i < 8; i++) {
		folders[2 * i] = hex[i];
		folders[2 * i + 1] = '/';
	}
	return arena_printf(a, "%s%s%s", prefix, folders, hex);
}

/* --- is the bucket there? --- */

static bool
may_ask(struct refill *r)
{
	int64_t until, now;

	if (atomic_load_explicit(&r->failures, memory_order_relaxed) < REFILL_FAILURES)
		return true;
	until = atomic_load(&r->away_until);
	now = clock_mono();
	/* one of those who come after it finds out */
	return now >= until && atomic_compare_exchange_strong(&r->away_until, &until, now + REFILL_AWAY_MS);
}

/* since: when it was asked. A crowd's requests that fail together are one failure of the bucket, not hundreds in a row. */
static void
note_answer(struct refill *r, int err, int64_t since)
{
	int64_t away = REFILL_AWAY_MS;
	unsigned n;

	if (err != -ERR_S3_FAILED && err != -ERR_S3_SLOW_DOWN && err != -ERR_S3_DENIED) {
		atomic_store(&r->answered, clock_mono());
		if (atomic_exchange(&r->failures, 0) >= REFILL_FAILURES) {
			atomic_store(&r->trouble, NULL);
			log_info("S3 answers again: chunks are fetched from it");
		}
		return;
	}
	if (atomic_load(&r->failures) >= REFILL_FAILURES && since < atomic_load(&r->away_since))
		return;
	n = atomic_fetch_add(&r->failures, 1) + 1;
	if (n < REFILL_FAILURES)
		return;
	for (unsigned i = REFILL_FAILURES; i < n && away < REFILL_AWAY_MAX_MS; i++)
		away *= 2;
	atomic_store(&r->away_since, clock_mono());
	atomic_store(&r->away_until, clock_mono() + (away < REFILL_AWAY_MAX_MS ? away : REFILL_AWAY_MAX_MS));
	if (atomic_exchange(&r->trouble, err_text(err)) == NULL)
		log_warn("no chunks are fetched from S3 for the moment: %s", err_text(err));
}

void
refill_silent(struct refill *r, int64_t since)
{
	if (atomic_load(&r->answered) < since)
		note_answer(r, -ERR_S3_FAILED, since);
}

/* --- the job --- */

static void
job_free(struct job *j)
{
	if (j->in != NULL)
		bucket_read_end(&j->in);
	sha256_free(&j->sum);
	unref(j->refill);
	free(j->whole);
	free(j);
}

/* Its end. The readers have all bytes, or get the error. 1 */
static int
ended(struct job *j, int err)
{
	char hex[CHUNK_NAME];
	struct arena a;
	struct str manifest;

	if (err == 0) {
		arena_init(&a);
		count(COUNT_refills);
		count_add(COUNT_refill_bytes, j->length);
		(void)fill_seal(j->writer, &a, &manifest); /* that the store did not take it, chunks_health says */
		fill_done(&j->writer);
		arena_fini(&a);
		job_free(j);
		return 1;
	}
	count(COUNT_refills_failed);
	if (err == -ERR_NOT_FOUND || err == -ERR_CORRUPT) {
		count(COUNT_refills_lost);
		if (err == -ERR_CORRUPT)
			count(COUNT_corrupt);
		chunk_name(&j->id, hex);
		log_error("chunk %s: S3 %s", hex, err == -ERR_CORRUPT ? "has other bytes than its name says" : "has lost it");
		if (j->refill->o.spool != NULL)
			spool_doubt(j->refill->o.spool, &j->id);
	}
	fill_fail(&j->writer, err, 0);
	job_free(j);
	return 1;
}

/* Asks the bucket for what is missing. */
static int
begin(struct job *j)
{
	const struct refill_options *o = &j->refill->o;
	char problem[BUCKET_PROBLEM] = "";
	int64_t since = clock_mono();
	struct arena a;
	uint64_t size = 0;
	struct str key;
	int err;

	arena_init(&a);
	key = chunk_key(&a, o->prefix, o->depth, &j->id);
	for (;;) {
		err = bucket_get(o->bucket, key, j->at, 0, &j->in, &size, problem);
		if (err != -ERR_S3_FAILED || j->again || clock_mono() - since > AGAIN_WITHIN_MS)
			break;
		j->again = true;
	}
	note_answer(j->refill, err, since);
	if (err < 0)
		log_debug("chunk %.*s: %s %s", STRP(key), err_text(err), problem);
	arena_fini(&a);
	if (err < 0)
		return err;
	if (size != j->length)
		return -ERR_CORRUPT;
	return j->at > 0 || fill_total(j->writer) >= 0 ? 0 : fill_head(j->writer, STR_NONE, (int64_t)j->length);
}

/* p goes into the fill; or, when the store takes no more, as much of it to its readers as they have room for: who drives must read now and
 * then. *n is what is left. -ERR_AGAIN: no room until the deadline. */
static int
pass_on(struct job *j, const char **p, size_t *n, int64_t deadline)
{
	int64_t took;
	int err;

	if (!j->degraded) {
		err = fill_append(j->writer, *p, *n);
		if (err == 0) {
			*n = 0;
			return 0;
		}
		err = fill_degrade(j->writer);
		if (err < 0)
			return err;
		j->degraded = true;
	}
	took = fill_relay(j->writer, *p, *n, deadline);
	if (took < 0)
		return (int)took;
	*p += took;
	*n -= (size_t)took;
	return 0;
}

static int
receive(struct job *j, const char *p, size_t n)
{
	if (n > j->length - j->at)
		return -ERR_CORRUPT;
	if (j->sum != NULL)
		sha256_update(j->sum, p, n);
	if (j->length <= REFILL_WHOLE) {
		if (j->whole == NULL) /* not before: what waits for a thread holds no memory */
			j->whole = xmalloc((size_t)j->length);
		memcpy(j->whole + j->at, p, n);
	}
	j->at += n;
	if (j->whole == NULL) {
		j->pending = p;
		j->pending_n = n;
		if (j->at == j->length)
			j->last = p[--j->pending_n];
	}
	return 0;
}

/* All of it has come. Only what verifies has an end. */
static int
verify(struct job *j)
{
	uint8_t sum[SHA256_RAW];

	if (j->sum != NULL) {
		sha256_final(j->sum, sum);
		if (memcmp(sum, j->id.b, sizeof sum) != 0)
			return -ERR_CORRUPT;
		sha256_free(&j->sum);
	}
	j->verified = true;
	j->pending = j->whole != NULL ? j->whole : &j->last;
	j->pending_n = j->whole != NULL ? (size_t)j->length : 1;
	return 0;
}

/* One step. 0 there may be more for readers; 1 it is over and the job has gone; -ERR_AGAIN at the deadline. */
static int
advance(struct job *j, int64_t deadline)
{
	const void *view;
	int64_t n;
	int err = 0;

	if (j->pending_n > 0) {
		err = pass_on(j, &j->pending, &j->pending_n, deadline);
		return err == -ERR_AGAIN ? err : err < 0 || (j->verified && j->pending_n == 0) ? ended(j, err) : 0;
	}
	if (j->in == NULL) {
		err = begin(j);
		return err < 0 ? ended(j, err) : 0;
	}
	n = bucket_read(j->in, &view, deadline);
	if (n == -ERR_AGAIN)
		return -ERR_AGAIN;
	if (n > 0) {
		err = receive(j, view, (size_t)n);
		return err < 0 ? ended(j, err) : 0;
	}
	bucket_read_end(&j->in);
	if (j->at == j->length) {
		err = verify(j);
		return err < 0 ? ended(j, err) : 0;
	}
	if (j->again) {
		note_answer(j->refill, -ERR_S3_FAILED, clock_mono());
		return ended(j, -ERR_S3_FAILED);
	}
	j->again = true; /* it broke: from there on, once */
	return 0;
}

static void
about_to_wait(const struct refill *r)
{
	if (r->o.about_to_wait != NULL)
		r->o.about_to_wait(r->o.about_arg);
}

static void
run_job(void *arg)
{
	struct job *j = arg;

	about_to_wait(j->refill);
	while (advance(j, NEVER) == 0)
		;
}

static struct job *
job_new(struct refill *r, const struct chunk_id *id, uint64_t length, struct fill *writer)
{
	struct job *j = xcalloc(1, sizeof *j);

	j->refill = r;
	j->writer = writer;
	j->id = *id;
	j->length = length;
	if (id->n == SHA256_RAW)
		j->sum = sha256_new();
	fill_name(writer, id);
	atomic_fetch_add(&r->refs, 1);
	return j;
}

static bool
hand_over(struct job *j)
{
	const struct refill_options *o = &j->refill->o;

	return o->run != NULL && o->run(o->run_arg, run_job, j);
}

/* --- beginning --- */

/* The fill of this chunk: as its writer, as a reader; or 1, -ERR_X. */
static int
claim(struct refill *r, const struct chunk_id *id, uint64_t length, enum fill_claim *c, struct fill **f)
{
	char key[sizeof "chunk/" + CHUNK_NAME] = "chunk/";
	int err;

	chunk_name(id, key + sizeof "chunk/" - 1);
	*c = fill_claim(r->o.fills, r->o.chunks, str_c(key), r->o.worker, length, f);
	if (*c == FILL_READER)
		return 0;
	if (*c != FILL_WRITER)
		return -ERR_BUSY;
	/* who had it before us may have brought it */
	if (chunks_has(r->o.chunks, id, length) || (r->o.spool != NULL && spool_restore(r->o.spool, id) == 0 && chunks_has(r->o.chunks, id, length)))
		err = 1;
	else if (!may_ask(r))
		err = -ERR_S3_FAILED;
	else
		return 0;
	fill_fail(f, err < 0 ? err : -ERR_FILL_FAILED, 0);
	return err;
}

int
refill_open(struct refill *r, const struct chunk_id *id, uint64_t length, struct refill_reader **out)
{
	struct refill_reader *rr;
	enum fill_claim c;
	struct fill *f;
	struct job *j;
	int err = claim(r, id, length, &c, &f);

	if (err != 0)
		return err;
	rr = xcalloc(1, sizeof *rr);
	rr->refill = r;
	rr->length = length;
	if (c == FILL_READER)
		rr->fill = f;
	else {
		rr->fill = fill_reader(f); /* there before the first byte: a relay leaves nobody behind */
		j = job_new(r, id, length, f);
		if (!hand_over(j))
			rr->job = j;
	}
	*out = rr;
	return 0;
}

void
refill_ahead(struct refill *r, const struct chunk_id *id, uint64_t length)
{
	enum fill_claim c;
	struct fill *f;
	struct job *j;

	if (r->o.spare != NULL && !r->o.spare(r->o.run_arg))
		return;
	if (claim(r, id, length, &c, &f) != 0)
		return;
	if (c == FILL_READER) {
		fill_leave(&f);
		return;
	}
	j = job_new(r, id, length, f);
	if (!hand_over(j)) {
		fill_fail(&j->writer, -ERR_FILL_FAILED, 0);
		job_free(j);
	}
}

/* --- reading --- */

/* fill_read, and who drives the job goes on with it meanwhile. */
static int64_t
read_on(struct refill_reader *rr, uint64_t off, size_t want, const void **view, int64_t deadline)
{
	int64_t n;
	int r;

	if (deadline > 0 && (rr->job != NULL || !fill_ready(rr->fill, off)))
		about_to_wait(rr->refill);
	while (rr->job != NULL) {
		n = fill_read(rr->fill, off, want, view, 0);
		if (n != -ERR_TIMEOUT || clock_mono() >= deadline)
			return n;
		r = advance(rr->job, deadline);
		if (r == 1)
			rr->job = NULL;
	}
	return fill_read(rr->fill, off, want, view, deadline);
}

int64_t
refill_read(struct refill_reader *rr, uint64_t off, size_t want, const void **view, int64_t deadline)
{
	int64_t n;

	if (off >= rr->length || want == 0)
		return 0;
	if (rr->length <= REFILL_WHOLE || want > rr->length - off || fill_whole(rr->fill))
		return read_on(rr, off, want, view, deadline);
	if (want > 1)
		return read_on(rr, off, want - 1, view, deadline);
	if (rr->last_at != off + 1) {
		n = read_on(rr, off, 1, view, deadline);
		if (n <= 0)
			return n;
		rr->last = *(const char *)*view; /* a copy, for a relay forgets what is behind … */
		rr->last_at = off + 1;
	}
	n = read_on(rr, rr->length - 1, 1, view, deadline); /* … and all must have come */
	if (n > 0)
		*view = &rr->last;
	return n;
}

bool refill_ready(const struct refill_reader *rr, uint64_t off) { return fill_ready(rr->fill, off); }

/* We leave, and there is still no thread: to the end when others follow, for there is nobody else to go on. */
static void
finish(struct job *j)
{
	if (fill_readers(j->writer) > 0)
		about_to_wait(j->refill);
	while (fill_readers(j->writer) > 0)
		if (advance(j, NEVER) == 1)
			return;
	fill_fail(&j->writer, -ERR_FILL_FAILED, 0);
	job_free(j);
}

void
refill_close(struct refill_reader **rrp)
{
	struct refill_reader *rr = *rrp;

	*rrp = NULL;
	if (rr == NULL)
		return;
	fill_leave(&rr->fill);
	if (rr->job != NULL && !hand_over(rr->job))
		finish(rr->job);
	free(rr);
}
