/* metadata.h - what is known about objects: the one entry to the LMDB mirror (and to Elasticsearch behind it). Callers never see the tiers.
 * Open it after fork, once a process. Thread-safe. A database that is corrupt is set aside (renamed) and made anew, with one error in the log.
 * Degraded (cannot open, disk full): every call answers -ERR_GONE / -ERR_FULL quickly, metadata_health says why. */
#pragma once
#include "../common/meta.h"

struct metadata;
struct metadata_options {
	const char *dir;         /* <state>/meta */
	size_t map_size;         /* bytes of address space, the bound of the database */
	int64_t commit_ms;       /* group commit: how long a write may wait for company */
	unsigned queue_max;      /* writes waiting; at the bound metadata_store blocks its caller, touches are dropped and counted */
	bool recorder;           /* start the recorder thread (writers); false: read only use */
};
int metadata_open(struct metadata **, const struct metadata_options *); /* degraded is not an error: it opens and says so in health */
void metadata_close(struct metadata **);                                /* flushes the queue */

/* 0 and a meta in the arena (copied out: no view into the map survives), -ERR_NOT_FOUND, -ERR_GONE (degraded). Never waits for I/O
 * but page faults. Several ids in one snapshot: found[i] tells which of metas[] are there; the result is how many. */
int metadata_get(struct metadata *, const struct str ids[], unsigned n, struct arena *, struct meta metas[], bool found[]);
/* Replaces the document with meta->id. Returns when it is committed (visible to every process): grouped with whatever else waits. */
int metadata_store(struct metadata *, const struct meta *);
/* Two documents in one transaction (a variant and its vary index). */
int metadata_store2(struct metadata *, const struct meta *, const struct meta *);
/* Queues; nobody waits. last_access of a hit. Coalesced: one write an id a minute at most. */
void metadata_touch(struct metadata *, struct str id, int64_t now);
int metadata_drop(struct metadata *, struct str id);                    /* 0 also when it was not there; committed on return */
/* Sets META_INVALIDATED on id and on all its variants (id + "+" …). */
int metadata_invalidate(struct metadata *, struct str id);
void metadata_flush(struct metadata *);                                 /* waits for all that is queued */
/* NULL when well, else a static text of what is wrong. */
const char *metadata_health(const struct metadata *);
uint64_t metadata_count(struct metadata *);                             /* documents */
/* Calls fn for each document from `after` (exclusive; STR_NONE: from the start) on, up to max, in key order; the janitor walks with it.
 * fn false stops. The meta is good during the call only. */
typedef bool metadata_visit_f(void *arg, const struct meta *);
int metadata_walk(struct metadata *, struct str after, unsigned max, metadata_visit_f *, void *arg);
void metadata_reap_readers(struct metadata *);                          /* LMDB reader slots of dead processes */
