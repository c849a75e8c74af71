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
	bool recorder;           /* start the recorder thread (writers); false: read only use, what writes answers -ERR_GONE */
	void (*about_to_wait)(void *arg); /* called by whoever is about to wait for a commit or for room in the queue; may be NULL */
	void *about_to_wait_arg;
	bool remote;             /* there is an Elasticsearch: what is stored also goes to the outbox */
};
/* The master calls it once before it forks (and after it has given root up, so that the files are the workers'), and again when a
 * child died of SIGSEGV, SIGBUS or SIGABRT: opens the database in a child process, walks it for a bounded time, and sets it aside
 * when it is corrupt. 0 well or not there, 1 set aside (one error is in the log), -ERR_X cannot be judged (go on all the same).
 * metadata_open finds only what can be found without reading the trees. */
int metadata_check(const char *dir, size_t map_size);
int metadata_open(struct metadata **, const struct metadata_options *); /* degraded is not an error: it opens and says so in health */
void metadata_close(struct metadata **);                                /* flushes the queue */

/* Several ids in one snapshot: found[i] tells which of metas[] are there (all false with an error); the result is how many.
 * None: -ERR_NOT_FOUND; -ERR_GONE (degraded). Never waits for I/O but page faults. The metas are in the arena: no view into the map
 * survives. last_access is right within a minute or two. */
int metadata_get(struct metadata *, const struct str ids[], unsigned n, struct arena *, struct meta metas[], bool found[]);
/* Replaces the document with meta->id. Returns when it is committed (visible to every process, survives a kill; a power cut may
 * lose the last commits): grouped with whatever else waits. -ERR_FULL: the database (97 % of map_size) or the disk; -ERR_BAD_REQUEST:
 * the id is longer than METADATA_ID_MAX; -ERR_GONE: degraded. */
#define METADATA_ID_MAX 511
int metadata_store(struct metadata *, const struct meta *);
/* Two documents in one transaction (a variant and its vary index). */
int metadata_store2(struct metadata *, const struct meta *, const struct meta *);
/* The same for n (1 or 2) documents in one transaction, without waiting: then is called with the result when it is committed, from another
 * thread (it must not block), or at once from this one when nothing can be written. The metas may go when this returns. */
typedef void metadata_then_f(void *arg, int result);
void metadata_store_then(struct metadata *, const struct meta *const metas[], unsigned n, metadata_then_f *then, void *arg);
/* Queues; nobody waits. last_access of a hit. Coalesced: one write an id a minute at most. */
void metadata_touch(struct metadata *, struct str id, int64_t now);
int metadata_drop(struct metadata *, struct str id);                    /* 0 also when it was not there; committed on return; works when full */
/* Sets META_INVALIDATED on id and on all its variants (id + "+" …). */
int metadata_invalidate(struct metadata *, struct str id);
/* What an operator wants gone. Committed on return: the next look of any process does not find it. The result is how many responses were
 * dropped, or -ERR_X (perhaps with some of them dropped).
 * metadata_purge: id, its variants and parts (id + "+" …), and vary_id, their vary index, which does not count. metadata_purge_if: every
 * document that covers says yes to; it may see one that is dropped, or made, at the same time. */
int64_t metadata_purge(struct metadata *, struct str id, struct str vary_id);
typedef bool metadata_covers_f(void *arg, const struct meta *);
int64_t metadata_purge_if(struct metadata *, metadata_covers_f *, void *arg);
void metadata_drop_later(struct metadata *, struct str id);             /* drop and invalidate, and nobody waits */
void metadata_invalidate_later(struct metadata *, struct str id);
void metadata_flush(struct metadata *);                                 /* waits for all that is queued */
/* NULL when well, else a static text of what is wrong. */
const char *metadata_health(const struct metadata *);
uint64_t metadata_count(struct metadata *);                             /* documents */
/* Calls fn for each document from `after` (exclusive; STR_NONE: from the start) on, up to max, in key order; the janitor walks with it.
 * fn false stops. The meta is good during the call only; fn may call anything here. The result is how many it saw, -ERR_GONE. */
typedef bool metadata_visit_f(void *arg, const struct meta *);
int metadata_walk(struct metadata *, struct str after, unsigned max, metadata_visit_f *, void *arg);
void metadata_reap_readers(struct metadata *);                          /* LMDB reader slots of dead processes */
