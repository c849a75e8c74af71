/* refill.h - chunks that the local store has lost, or never had, come back from the bucket. One download a chunk however many readers in
 * whatever workers: it is a fill (fill.h) whose key is "chunk/<its name>", so readers stream it while it comes, and it enters the store only
 * when its bytes verify against its name (a random name has no hash: its length). Used by object.c only, but for its making
 * and refill_silent. Thread-safe.
 *
 * What a reader gets before the end is not verified yet when the chunk is longer than REFILL_WHOLE; the chunk's last bytes are held back
 * until all of it is, so that wrong bytes always end as an error and never as a complete answer. A stream that breaks is taken up once
 * where it ended. When the local store takes no more, the bytes go to the readers that are there (fill_degrade).
 * A bucket that fails REFILL_FAILURES times in a row is not asked for a while (-ERR_S3_FAILED at once), but for one request now and then.
 * Counted: refills, refill_bytes, refills_failed, refills_lost, corrupt. */
#pragma once
#include "bucket.h"
#include "fill.h"
#include "manifest.h"
#include "spool.h"

#define REFILL_WHOLE (1024 * 1024)      /* chunks up to this are verified in memory before anybody gets a byte: as much for each thread that fetches */
#define REFILL_FAILURES 3
#define REFILL_AWAY_MS 1000             /* how long it is not asked then; twice as long each time, up to … */
#define REFILL_AWAY_MAX_MS (30 * 1000)

struct refill_options {
	struct bucket *bucket;
	struct chunks *chunks;
	struct fill_table *fills;
	struct spool *spool;         /* looked into before the bucket is asked, and told what the bucket has; NULL */
	unsigned worker;             /* our index, for fill_claim */
	const char *prefix;          /* "data/" */
	unsigned depth;              /* folders of one hex digit: 4 */
	unsigned ahead;              /* chunks that are asked for before they are needed */
	/* Runs job(job_arg) in another thread, soon; false: none can be had (the reader then does it itself, while it reads). NULL: none ever. */
	bool (*run)(void *arg, void (*job)(void *), void *job_arg);
	bool (*spare)(void *run_arg); /* are there threads for what nobody waits for yet? NULL: yes */
	void *run_arg;
	void (*about_to_wait)(void *); /* the calling thread, a reader's or a job's, is about to wait for S3; NULL */
	void *about_arg;
};
struct refill;
struct refill *refill_new(const struct refill_options *);
void refill_free(struct refill **);     /* all readers are closed by then; jobs that run go on, and need what the options name until they end */
/* Who waited for first bytes since then (mono ms) has given up: a failure, unless the bucket has answered anybody meanwhile. Its time-out is
 * much longer than a client's patience, and others must not come to wait as long. */
void refill_silent(struct refill *, int64_t since);
unsigned refill_window(const struct refill *); /* chunks ahead */
/* The chunk's key in the bucket: <prefix><h>/<h>/…/<name>. */
struct str chunk_key(struct arena *, const char *prefix, unsigned depth, const struct chunk_id *);

/* One reader of one chunk as it comes; one thread at a time. */
struct refill_reader;
/* Never waits. 0; 1: it is in the store by now (open it there); -ERR_BUSY (the table is full), -ERR_S3_FAILED (the bucket is not asked now). */
int refill_open(struct refill *, const struct chunk_id *, uint64_t length, struct refill_reader **);
/* As fill_read: > 0 bytes at off as a view, -ERR_NOT_FOUND (the bucket has it not), -ERR_CORRUPT (other bytes than its name says, or another
 * length), -ERR_S3_X, -ERR_FILL_FAILED (who fetched it has died: open it again), -ERR_TIMEOUT. A chunk that is not verified yet never gives
 * the last byte that is wanted. */
int64_t refill_read(struct refill_reader *, uint64_t off, size_t want, const void **view, int64_t deadline);
bool refill_ready(const struct refill_reader *, uint64_t off);
void refill_close(struct refill_reader **); /* the chunk still comes, when another thread fetches it */
/* The same begun, and nobody reads: into the store. Only when another thread can be had. */
void refill_ahead(struct refill *, const struct chunk_id *, uint64_t length);
const char *refill_trouble(const struct refill *); /* a static text: why the bucket is not asked just now; NULL well */
