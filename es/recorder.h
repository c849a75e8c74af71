/* recorder.h - the one thread of a process that writes to the mirror. What its handlers want written is gathered for a moment and
 * committed at once (group commit), so that a burst of misses pays for one disk sync. LMDB lines up the recorders of several
 * processes. Also tends the mirror: opens, reopens, reaps.
 *
 * last_access has a table of its own, eight bytes under the hash of the id, because LMDB copies a page for each row it changes:
 * a page holds some hundred such rows but two or three documents, and a large document would be copied whole. Two ids with one hash
 * share a row, which at worst keeps one of them a little longer. The row is made by the first touch: what is
 * never hit again costs one changed page and not two. A touch that comes after its document was dropped leaves a row behind (16 bytes, and
 * the next document of that id takes it over). */
#pragma once
#include "mirror.h"

#define RECORDER_TOUCH_MS 60000 /* last_access is written at most so often for an id */

enum note_kind { NOTE_STORE, NOTE_DROP, NOTE_FORGET, NOTE_PURGE, NOTE_WITHDRAW, NOTE_INVALIDATE, NOTE_RUN, NOTE_FLUSH };
struct recorder;
/* What a caller wants written; lives on its stack while it waits. */
struct note {
	enum note_kind kind;
	unsigned n;               /* documents */
	struct str id[2];
	struct str rec[2];        /* NOTE_STORE */
	/* NOTE_WITHDRAW, NOTE_INVALIDATE: a document and its variants (id + "+" …), so many a round */
	char from[MIRROR_KEY_MAX], reached[MIRROR_KEY_MAX]; /* this round's start, the next one's; n 0: the start, the end */
	size_t from_n, reached_n;
	int64_t at;               /* wall ms, when it was asked for */
	int64_t seen;             /* NOTE_DROP: only what was stored (stored_at) until then; 0: whatever is there */
	bool heard;               /* another node asked for it: only for what was stored until at */
	/* NOTE_RUN: whatever else is to be done in a transaction. LMDB's codes. May run more than once: a transaction that fails is tried again */
	int (*run)(struct recorder *, MDB_txn *, struct note *);
	void *arg;

	/* the recorder's */
	int result;
	bool done, posted;        /* posted: on the heap, and nobody waits */
	void (*then)(struct note *); /* posted only: called in the recorder's thread when it is committed; it frees the note. NULL: free() does */
	struct note *next;
};

struct recorder *recorder_start(struct mirror *, int64_t commit_ms, unsigned queue_max, bool outbox); /* NULL: no thread to be had */
void recorder_stop(struct recorder **);                        /* after all that is queued */
void recorder_on_wait(struct recorder *, void (*fn)(void *), void *arg); /* before its first use: called by whoever is about to wait */
int recorder_do(struct recorder *, struct note *);             /* waits for its commit; blocks at the bound of the queue */
void recorder_post(struct recorder *, struct note *);          /* does not wait for the commit: note->then; blocks at the bound of the queue */
void recorder_purge(struct recorder *, struct str id);         /* a record that does not decode; nobody waits; dropped at a bound */
void recorder_touch(struct recorder *, struct str id, int64_t now);
/* the row of access of an id; -1 when there is none */
int64_t recorder_access(MDB_txn *, MDB_dbi, struct str id);
/* For NOTE_RUN. */
MDB_dbi recorder_dbi(const struct recorder *, enum mirror_table);
int recorder_put(struct recorder *, MDB_txn *, struct str id, struct str rec); /* a document, and no place in the outbox */
int recorder_drop(struct recorder *, MDB_txn *, struct str id);                /* of the mirror only; 0 also when it was not there */
