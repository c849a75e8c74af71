/* spool.h - the bodies that S3 does not have yet: a folder of hard links to chunks, <dir>/<2 hex>/<name of the chunk>, made before the document
 * that needs them is committed, and removed after S3 has acknowledged them. The janitor evicts no chunk that it links. <dir>/failed/ has
 * those that S3 will never take (SPOOL_FAILED_KEEP of them: to be looked at; nothing reads them again). Entries and bytes are counted
 * in shared memory; the bound (max_bytes, SPOOL_ENTRIES) is met by not beginning to store. Thread- and process-safe.
 *
 * What survives: a kill -9 of anything at any moment, for the link is there before the commit. Nothing is synced: a power cut may
 * take chunks and links of its last seconds, as it may take the commits. An entry whose document was never committed is debris
 * (spool_sweep); a document whose chunk is neither here, nor in the store, nor in the bucket is found by upload_want. */
#pragma once
#include "../common/shm.h"
#include "chunks.h"
#include "manifest.h"

#define SPOOL_ENTRIES 2000000        /* a look through the folder must end */
#define SPOOL_FAILED_KEEP 100        /* the janitor cannot take them either */
#define SPOOL_DOUBTS 10000
#define SPOOL_DOUBT_MS (24 * 3600 * 1000)
#define SPOOL_KNOWN 4096             /* chunks that the bucket has got of late */
#define SPOOL_KNOWN_MINUTES 30       /* much shorter than what gc leaves alone (BUCKET_FRESH_MS) */

struct spool_totals {                /* in shared memory, zeroed by the master */
	_Atomic uint64_t entries, bytes, failed, doubts;
	_Atomic int64_t oldest;          /* wall ms; since when the oldest entry has been here, 0 none: as of the last sweep */
	shm_event news;                  /* bumped when something was added: see spool_wait */
	_Atomic uint64_t known[SPOOL_KNOWN];
};
struct spool_options {
	const char *dir;                 /* <state>/spool, on the file system of the store */
	uint64_t max_bytes;
	struct spool_totals *totals;
};
struct spool;
/* Makes the folders. -ERR_SYSTEM, -ERR_FULL (said in the log): they cannot be made, or are on another file system than the store. */
int spool_open(struct spool **, struct chunks *, const struct spool_options *);
void spool_close(struct spool **);
/* No more is to be stored until S3 has taken some: at the bound. Cheap: the request path asks. */
bool spool_full(const struct spool *);
/* Links all chunks of this manifest (which are in the store) but those that S3 has acknowledged a moment ago. Before the document's commit.
 * -ERR_FULL (the disk), -ERR_SYSTEM, -ERR_NOT_FOUND (a chunk has gone), -ERR_CORRUPT (no manifest): the document must not be committed;
 * what was linked is debris. One link(2) a chunk. */
int spool_add(struct spool *, struct str manifest);
/* Wakes who waits for news: after the commit. */
void spool_ring(struct spool *);
uint32_t spool_news(const struct spool *);
void spool_wait(struct spool *, uint32_t seen, int64_t deadline);  /* until news != seen, or the deadline */
/* It is here, but not in the store (evicted or removed in the moment before it was linked): into the store again. -ERR_NOT_FOUND, -ERR_X. */
int spool_restore(struct spool *, const struct chunk_id *);
/* S3 has lost it, or has other bytes under its name: what is remembered of it is forgotten, and when it is stored again it is sent, whatever
 * S3 says that it has. A file <dir>/doubt/<name>, for a day; no more than SPOOL_DOUBTS. */
void spool_doubt(struct spool *, const struct chunk_id *);
bool spool_doubted(struct spool *, const struct chunk_id *);

/* The uploader's side: one process. */
bool spool_has(struct spool *, const struct chunk_id *);
/* Opens it, of this size and verified against its hash (algorithm 1). What is not here, or spoilt, is linked from the store once more.
 * -ERR_CORRUPT, -ERR_NOT_FOUND: there is no good one here; -ERR_X. fd is the caller's. */
int spool_take(struct spool *, const struct chunk_id *, uint64_t size, int *fd);
int spool_settle(struct spool *, const struct chunk_id *);  /* S3 has it, for sure: a doubt ends; 0 also when it was not here */
int spool_give_up(struct spool *, const struct chunk_id *); /* to failed/; 0 also when it was not here */
/* Looks through the folder: counts anew; removes what has been here for longer than debris_ms and wanted() (NULL: nothing is) does not want. */
typedef bool spool_wanted_f(void *arg, const struct chunk_id *);
int spool_sweep(struct spool *, int64_t debris_ms, spool_wanted_f *, void *arg, unsigned *removed);
