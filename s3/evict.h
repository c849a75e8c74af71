/* evict.h - the janitor's work on the store: watermarks, least recently used first, debris. Never what is being filled; what is being
 * read stays readable, for its file is open. Memory does not grow with the store: one walk makes a histogram of ages, a second one
 * removes what is older than the cut. Counted here: evicted, evicted_bytes. */
#pragma once
#include "fill.h"
struct evict_options {
	const char *dir;          /* <state>/store */
	unsigned low, high;       /* percent of the disk */
	uint64_t cache_size;      /* bytes; 0: only the disk's watermarks. low/high are then percent of this */
	uint64_t min_free;        /* bytes that others on the disk want: with less it begins, too, and goes on to a tenth more. 0: none */
	uint64_t stored;          /* bytes that all processes have stored so far (the counter); 0: not known, the disk's growth must do */
};
/* Bytes that the store may grow to: cache_size, or what high lets it have of its disk. UINT64_MAX when the disk does not say. Any thread. */
uint64_t evict_capacity(const char *dir, uint64_t cache_size, unsigned high);
struct evict_report {
	uint64_t bytes, files;    /* in the store, on disk, before removal; 0 when there was no need to walk it */
	uint64_t removed, removed_bytes;
	unsigned disk_percent;    /* as it was before */
	uint64_t left;            /* bytes too many that could not go: no use to look again at once */
};
/* One pass: when at or above high, or with less than min_free, remove oldest (by atime, as chunks.h keeps it) until below low, and enough is free. A chunk with a second name (a live
 * fill's tmp file, the spool) is never removed. Calls gone (may be NULL) for each. 0, or -ERR_X when the store cannot be looked at.
 * One thread of one process: it remembers the last walk, to spare the next when not enough can have changed. */
typedef void evict_gone_f(void *arg, const struct chunk_id *);
int evict_pass(const struct evict_options *, struct evict_report *, evict_gone_f *, void *arg);
/* At start and now and then: tmp files of no live fill, and small chunks that were never finished. table NULL: no fill is live
 * (with a table of this run, files of an earlier one are never taken for live ones: it may be given at start, too). */
int evict_debris(const char *dir, const struct fill_table *, unsigned *removed);
/* Chunks that no document needs, as a crash between a chunk and its document leaves them: removes those that have not been made or used since
 * before_ms (wall time: the start of this run, for what was made until then is not of a document that is about to be committed) and that
 * needed() does not want. The documents were looked through after before_ms. linked: so many more would go, but have a second name: once more
 * when the spool has been swept. */
typedef bool evict_needed_f(void *arg, const struct chunk_id *);
int evict_orphans(const char *dir, int64_t before_ms, evict_needed_f *, void *arg, unsigned *removed, unsigned *linked);
