/* evict.h - the janitor's work on the store: watermarks, least recently used first, debris. Never what is being filled; what is being
 * read stays readable, for its file is open. */
#pragma once
#include "fill.h"
struct evict_options {
	const char *dir;          /* <state>/store */
	unsigned low, high;       /* percent of the disk */
	uint64_t cache_size;      /* bytes; 0: only the disk's watermarks. low/high are then percent of this */
};
struct evict_report { uint64_t bytes, files, removed, removed_bytes; unsigned disk_percent; };
/* One pass: when above high, remove oldest (by atime as chunks_touch keeps it, else mtime) until below low. Calls gone for each. */
typedef void evict_gone_f(void *arg, const struct chunk_id *);
int evict_pass(const struct evict_options *, struct evict_report *, evict_gone_f *, void *arg);
/* At start and now and then: tmp files of no live fill. */
int evict_debris(const char *dir, const struct fill_table *, unsigned *removed);
