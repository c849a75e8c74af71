/* spool.h - the bodies that S3 does not have yet: a folder of hard links to chunks, <dir>/<name of the chunk>, made before the document that
 * needs them is committed, and removed after S3 has acknowledged them. The janitor evicts no chunk that it links. <dir>/failed/ has those
 * that S3 will never take. Its bytes and entries are counted in shared memory; the bound (max_bytes) is met by not beginning to store.
 * Thread- and process-safe. After a crash: what no document in the outbox needs, and is old, is debris. */
#pragma once
#include "chunks.h"
#include "manifest.h"

struct spool_totals {              /* in shared memory, zeroed by the master */
	_Atomic uint64_t entries, bytes, failed;
	_Atomic int64_t oldest;        /* ms; when the oldest entry was made, 0 none: the uploader's last look */
	_Atomic uint32_t news;         /* changes (and is a futex to wait on) when something was added */
};
struct spool_options {
	const char *dir;               /* <state>/spool */
	uint64_t max_bytes;
	struct spool_totals *totals;
};
struct spool;
int spool_open(struct spool **, struct chunks *, const struct spool_options *); /* makes the folders; -ERR_SYSTEM */
void spool_close(struct spool **);
/* No more is to be stored until S3 has taken some: at the bound. Cheap: the request path asks. */
bool spool_full(const struct spool *);
/* Links all chunks of this manifest (which are in the store) but those that known() says the bucket has. Before the document's commit.
 * -ERR_FULL (the disk), -ERR_SYSTEM, -ERR_NOT_FOUND (a chunk has gone): the document must not be committed. */
int spool_add(struct spool *, struct str manifest);
/* Wakes who waits for news: after the commit. */
void spool_ring(struct spool *);
void spool_wait(struct spool *, uint32_t seen, int64_t deadline);  /* until news != seen */
/* The uploader's side. */
bool spool_has(struct spool *, const struct chunk_id *);
int spool_take(struct spool *, const struct chunk_id *, int *fd, uint64_t *size); /* opens it, verified against its hash (algorithm 1): -ERR_CORRUPT, -ERR_NOT_FOUND */
int spool_settle(struct spool *, const struct chunk_id *);  /* S3 has it */
int spool_give_up(struct spool *, const struct chunk_id *); /* to failed/ */
/* Looks through the folder: counts anew; removes what is older than debris_ms and wanted() does not want. */
typedef bool spool_wanted_f(void *arg, const struct chunk_id *);
int spool_sweep(struct spool *, int64_t debris_ms, spool_wanted_f *, void *arg);
