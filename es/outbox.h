/* outbox.h - what Elasticsearch and other nodes have not acknowledged yet: tables beside the documents, written in the same
 * transaction, so that a crash leaves both or neither. They are kept only where somebody drains them (drain.h).
 *  - the outbox: a row a document that is to be published, with a generation, so that an acknowledgement of an older version does not
 *    settle a newer one.
 *  - events: purges and invalidations, in order; each says up to which time of storing it holds, so that it may come late or twice.
 *  - used: times of last use, by id; the table of access times has their hashes only.
 *  - state: a few values by name.
 * All return LMDB's codes: they are steps of the caller's transaction. Views are into it. */
#pragma once
#include "mirror.h"

int outbox_put(MDB_txn *, MDB_dbi, struct str id);                          /* the document was stored in this transaction */
int outbox_settle(MDB_txn *, MDB_dbi, struct str id, uint64_t generation);  /* acknowledged; 0 also when a newer one waits */
int outbox_cancel(MDB_txn *, MDB_dbi, struct str id);                       /* the document has gone; 0 also when there was no row */
bool outbox_has(MDB_txn *, MDB_dbi, struct str id);
/* The first row behind after (STR_NONE: the first of all). since: wall ms, when the id came to wait. MDB_NOTFOUND at the end. */
struct outbox_row { struct str id; uint64_t generation; int64_t since; };
int outbox_next(MDB_txn *, MDB_dbi, struct str after, struct outbox_row *);

enum event_kind { EVENT_GONE = 1, EVENT_INVALID };
struct event {
	uint64_t number;
	enum event_kind kind;
	bool local;      /* for Elasticsearch only: the other nodes hear of it by the event that it came from */
	int64_t at;      /* wall ms: holds for what was stored until then */
	struct str id;
};
int event_put(MDB_txn *, MDB_dbi, const struct event *);                    /* number is made. Above EVENTS_MAX: dropped and counted */
#define EVENTS_MAX 1000000 /* some 150 MB; a purge of a larger cache than that is better done by a new index */
int event_next(MDB_txn *, MDB_dbi, uint64_t after, struct event *);         /* 0: the first. MDB_NOTFOUND at the end */
int event_settle(MDB_txn *, MDB_dbi, uint64_t number);
/* Does one that waits say that what was stored under this id (or a variant of its id) at that time is gone or not to be used? true also
 * when more wait than are worth looking through on a request's way. */
bool event_covers(MDB_txn *, MDB_dbi, struct str id, int64_t stored_at);
#define EVENTS_LOOKED 1024

int used_put(MDB_txn *, MDB_dbi, struct str id, int64_t at);                /* above USED_MAX ids: dropped and counted */
#define USED_MAX 500000
int used_next(MDB_txn *, MDB_dbi, struct str after, struct str *id, int64_t *at);
int used_settle(MDB_txn *, MDB_dbi, struct str id, int64_t at);             /* 0 also when it has been used again */

int state_put(MDB_txn *, MDB_dbi, const char *name, int64_t value);
int64_t state_get(MDB_txn *, MDB_dbi, const char *name, int64_t otherwise);
