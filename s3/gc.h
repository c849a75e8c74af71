/* gc.h - the bytes' side of `passsage gc`: chunks in the bucket that no document refers to, found and, when asked, deleted. Nothing else ever
 * deletes a chunk that another document may still use; a bucket's lifecycle rules cannot, because they know age and not use.
 *
 *   gc_begin     lists the bucket below the prefix, and notes what is older than the grace time;
 *   gc_refer     is then told each manifest of each document (after the list, from an index that has been refreshed after it);
 *   gc_sweep     reports what was noted and not referred to; with remove it deletes it.
 *
 * Why that is safe while nodes write: a chunk is in the bucket before the document that refers to it is published. What was sent after the
 * list is not noted. What is younger than grace is not noted either, and its age is asked for again just before it is deleted. And who
 * refers anew to an old chunk that is there already makes it young first (BUCKET_FRESH_MS in bucket.h). So the one to be harmed is a node
 * that publishes a document longer after its upload than grace less BUCKET_FRESH_MS, less the time that gc itself takes: for instance when
 * Elasticsearch is away for that long; or one that makes a chunk young in the milliseconds between that last question and the deletion. Then
 * a chunk is missing, which costs a fetch from the origin and never a wrong byte.
 * A walk over the documents that fails or may be incomplete must end in gc_end and not in gc_sweep.
 *
 * Memory is bounded: what was listed and what is referred to is in files without names in a folder of the caller's (some 50 and 16 bytes a
 * chunk), sorted in GC_SHARDS parts. One caller, one thread; the deletions have threads of their own. */
#pragma once
#include "bucket.h"
#include "manifest.h"

#define GC_GRACE_MS (7 * BUCKET_FRESH_MS)     /* what to take when nobody says otherwise */
#define GC_GRACE_MIN_MS (2 * BUCKET_FRESH_MS) /* deleting with less is refused */
#define GC_SHARDS 64
#define GC_SHARD_REFS (64u << 20)             /* references in one of them, at most: 1 GiB of memory, 4 thousand million chunks in all */

struct gc_report {
	uint64_t listed;             /* keys below the prefix */
	uint64_t foreign;            /* of them no chunks of ours, as their names say: never touched */
	uint64_t young;              /* chunks within grace */
	uint64_t referred;           /* references in documents (a chunk counts as often as it is used) */
	uint64_t garbage, garbage_bytes; /* old, and nobody refers to them */
	uint64_t deleted, deleted_bytes;
	uint64_t spared;             /* gone or young again when looked at once more */
};
struct gc_options {
	struct bucket *bucket;       /* with credentials that may list, and delete */
	const char *prefix;          /* "data/" */
	unsigned depth;
	int64_t grace_ms;
	bool remove;                 /* otherwise a dry run */
	unsigned threads;            /* deletions at a time; 0: 8 */
	const char *tmp;             /* folder for the files */
	void (*found)(void *arg, struct str key, uint64_t size, int64_t mtime); /* each piece of garbage, one at a time; NULL */
	void *arg;
};
struct gc;
/* Lists. -ERR_SETTING (grace), -ERR_SYSTEM, -ERR_FULL (the folder), what bucket_list says. */
int gc_begin(struct gc **, const struct gc_options *, char problem[BUCKET_PROBLEM]);
/* A document's manifest. -ERR_CORRUPT: what it refers to cannot be known, so nothing may be deleted; -ERR_FULL, -ERR_SYSTEM. */
int gc_refer(struct gc *, struct str manifest);
/* -ERR_SETTING: it is to delete, and not one chunk is referred to: that is rather a wrong index. -ERR_FULL (GC_SHARD_REFS), -ERR_SYSTEM. A failure of
 * S3 ends it, with what has been done in the report; it can simply be run again. */
int gc_sweep(struct gc *, struct gc_report *, char problem[BUCKET_PROBLEM]);
void gc_end(struct gc **);
