/* refill.h - chunks that the local store has lost, or never had, come back from the bucket. One download a chunk however many readers in
 * whatever workers: it is a fill (fill.h) whose key is the chunk's name, so readers stream it while it comes, and it enters the store only
 * when its bytes verify against its name (algorithm 1; algorithm 2 has no hash: its length). Used by object.c only, but for its making. */
#pragma once
#include "bucket.h"
#include "fill.h"
#include "manifest.h"

struct refill_options {
	struct bucket *bucket;
	struct chunks *chunks;
	struct fill_table *fills;
	unsigned worker;             /* our index, for fill_claim */
	const char *prefix;          /* "data/" */
	unsigned depth;              /* folders of one hex digit: 4 */
	unsigned ahead;              /* chunks that are asked for before they are needed */
	/* Runs job(arg) in another thread, soon; false: none can be had (the caller then runs it itself). */
	bool (*run)(void *arg, void (*job)(void *), void *job_arg);
	void *run_arg;
	void (*about_to_wait)(void *); /* the thread is about to wait for S3; NULL */
	void *about_arg;
};
struct refill;
struct refill *refill_new(const struct refill_options *);
void refill_free(struct refill **);
/* The chunk's key in the bucket. */
struct str chunk_key(struct arena *, const char *prefix, unsigned depth, const struct chunk_id *);
/* A reader of the chunk as it comes. 0; -ERR_NOT_FOUND (S3 has it not), -ERR_S3_X, -ERR_BUSY (the table is full). Blocks until the bucket's
 * answer is there, so that "not there" is known before a byte is sent. */
int refill_chunk(struct refill *, const struct chunk_id *, uint64_t length, struct fill **reader);
/* The same begun, and nobody waits. */
void refill_ahead(struct refill *, const struct chunk_id *, uint64_t length);
