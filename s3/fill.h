/* fill.h - the shared table of objects in the making. A fill has one writer (in one worker) and any number of readers in any worker.
 * It lives in memory that the master mapped; a writer whose process dies is buried by the master (fill_bury) and its readers wake with
 * -ERR_FILL_FAILED. Bodies up to FILL_INLINE stay in the slot until they are sealed; longer ones grow in tmp chunk files. */
#pragma once
#include "../common/str.h"
#include "chunks.h"

#define FILL_INLINE (64 * 1024)  /* bodies up to this cost no file while they grow */
#define FILL_HEAD (32 * 1024)    /* the longest meta record that can be shared; longer: not cached */
#define FILL_WORKERS 128         /* places for workers' reader counts */

struct fill_table;
size_t fill_table_size(unsigned slots);
/* Before fork. */
struct fill_table *fill_table_init(void *shm, unsigned slots);

struct fill;  /* this process's handle on a slot: writer or reader */

enum fill_claim {
	FILL_WRITER,      /* yours to fetch: end it with fill_done or fill_fail */
	FILL_READER,      /* somebody fetches it: fill_wait_head */
	FILL_UNSHAREABLE, /* remembered as not shareable: fetch for yourself, do not store through a fill… unless it turns out storable */
	FILL_TABLE_FULL,  /* the bound: fetch for yourself, uncached */
};
/* key: document id; worker: this worker's index (< FILL_WORKERS). h is set for WRITER and READER. */
enum fill_claim fill_claim(struct fill_table *, struct chunks *, struct str key, unsigned worker, uint64_t chunk_size, struct fill **h);

/* Writer. The head is a meta record (meta_encode) of what will be stored; total is the body's length, -1 unknown. -ERR_FULL too long. */
int fill_head(struct fill *, struct str record, int64_t total);
int fill_append(struct fill *, const void *, size_t);  /* -ERR_FULL (disk), -ERR_SYSTEM: the fill is then failed by the caller */
/* The body is whole: chunks are hashed and in the store; the manifest (arena) for the meta. Readers may finish. The slot stays claimed. */
struct arena;
int fill_seal(struct fill *, struct arena *, struct str *manifest);
/* The document is committed (or will not be): the key is free again, readers that are there go on. Frees the handle. */
void fill_done(struct fill **);
/* It failed: readers wake with err. unshareable_ms > 0: the key is remembered as not shareable that long. Frees the handle. */
void fill_fail(struct fill **, int err, int64_t unshareable_ms);
/* Another reader's handle on the same slot, for the writer's own client. */
struct fill *fill_reader(struct fill *);

/* Reader. */
int fill_wait_head(struct fill *, int64_t deadline, struct arena *, struct str *record, int64_t *total); /* -ERR_UNSHAREABLE, -ERR_FILL_FAILED, -ERR_TIMEOUT */
/* Bytes at off: > 0 a view (good until the next call), 0 the end of a complete body, -ERR_FILL_FAILED broken, -ERR_TIMEOUT.
 * Waits until at least one byte is there. */
int64_t fill_read(struct fill *, uint64_t off, size_t want, const void **view, int64_t deadline);
int64_t fill_total(const struct fill *);    /* -1 while unknown */
void fill_leave(struct fill **);            /* reader's end */

/* Master, when worker has died: its fills fail, its readers are forgotten. */
void fill_bury(struct fill_table *, unsigned worker);
unsigned fill_active(const struct fill_table *);
/* Janitor: is this tmp file name one of a live fill? */
bool fill_tmp_live(const struct fill_table *, const char *name);
