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
	bool outbox;             /* what is stored, dropped, invalidated and used is also noted for drain.h: there is an S3 or an Elasticsearch */
	struct remote *remote;   /* Elasticsearch, for metadata_ask; NULL: none. Outlives it */
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
/* Like metadata_get, and asks Elasticsearch too: one real-time multi-get, bounded by its ask_ms. For a miss, and for what is stale just before
 * its origin is asked. What is newer there is answered, and on its way into the mirror (without a place in the outbox): metadata_flush_then
 * tells when it is there. What Elasticsearch does not have is not asked again for METADATA_ABSENT_MS. Elasticsearch down, slow or lying, or
 * none: the same as metadata_get. Blocks; no lock is held. */
#define METADATA_ABSENT_MS 250 /* four questions a second at most for what nobody has; and no later does this node see what another has stored */
int metadata_ask(struct metadata *, const struct str ids[], unsigned n, struct arena *, struct meta metas[], bool found[]);
/* Drops the version that the mirror has, here and (with an outbox) everywhere: it is deleted in Elasticsearch, and other nodes drop theirs
 * if it is not newer. For what can no longer be served: S3 has lost it. 0 also when it was not there; committed on return; works when full. */
int metadata_drop(struct metadata *, struct str id);
/* What an operator wants gone: every version up to now, everywhere, whether or not this node's mirror has it; its variants too (here, and where
 * nodes have them). Other nodes hear of it within the time that follow.h states. Queues: metadata_flush waits. */
void metadata_withdraw(struct metadata *, struct str id);
/* The mirror forgets it, and nobody else does: expiry on this machine. Leaves what the outbox still has. Queues. */
void metadata_forget(struct metadata *, struct str id);
/* Sets META_INVALIDATED on id and on all its variants (id + "+" …); with an outbox in Elasticsearch and at the other nodes too. */
int metadata_invalidate(struct metadata *, struct str id);
/* What an operator wants gone. Committed on return: the next look of any process does not find it. The result is how many responses were
 * dropped, or -ERR_X (perhaps with some of them dropped).
 * metadata_purge: id, its variants and parts (id + "+" …), and vary_id, their vary index, which does not count. metadata_purge_if: every
 * document that covers says yes to; it may see one that is dropped, or made, at the same time. */
int64_t metadata_purge(struct metadata *, struct str id, struct str vary_id);
typedef bool metadata_covers_f(void *arg, const struct meta *);
int64_t metadata_purge_if(struct metadata *, metadata_covers_f *, void *arg);
void metadata_drop_later(struct metadata *, struct str id);             /* drop and invalidate, and nobody waits */
void metadata_drop_seen_later(struct metadata *, const struct meta *);  /* this version (stored_at) or an older one: a newer one stays */
void metadata_invalidate_later(struct metadata *, struct str id);
void metadata_flush(struct metadata *);                                 /* waits for all that is queued */
/* The same without waiting: then is called as for metadata_store_then, when all that was queued before it is committed (or has failed). */
void metadata_flush_then(struct metadata *, metadata_then_f *then, void *arg);
/* Documents and events that have not been drained yet; *oldest: since when (wall ms) the oldest of the documents waits, 0: none does.
 * Walks the outbox when that is short, else it is the oldest of a sample: cheap enough for a metrics page. */
uint64_t metadata_outbox(struct metadata *, int64_t *oldest);
/* NULL when well, else a static text of what is wrong. */
const char *metadata_health(const struct metadata *);
uint64_t metadata_count(struct metadata *);                             /* documents */
/* Calls fn for each document from `after` (exclusive; STR_NONE: from the start) on, up to max, in key order; the janitor walks with it.
 * fn false stops. The meta is good during the call only; fn may call anything here. The result is how many it saw, -ERR_GONE. */
typedef bool metadata_visit_f(void *arg, const struct meta *);
int metadata_walk(struct metadata *, struct str after, unsigned max, metadata_visit_f *, void *arg);
/* The same of the documents that are to be published still: those with a place in the outbox. */
int metadata_walk_outbox(struct metadata *, struct str after, unsigned max, metadata_visit_f *, void *arg);
void metadata_reap_readers(struct metadata *);                          /* LMDB reader slots of dead processes */
