/* mirror.h - the LMDB environment under metadata: opening, setting aside, transactions, room. Knows tables, not documents.
 *
 * What LMDB 0.9 asks of its users, and how it is met:
 *  - open after fork, once a process, and never open(2) its files beside it: one mirror a process, and our own lock file is
 *    <dir>.lock, outside the folder.
 *  - MDB_NOTLS: a reader's slot belongs to a transaction, not to a thread. The mirror keeps a bounded pool of reset read
 *    transactions; renewing one is two stores. Readers are short, so that old pages are not held back from reuse.
 *  - a killed process leaves its reader slots; they are reaped at open, every MIRROR_TEND_MS by who writes, and when slots run out.
 *    A killed writer leaves a robust mutex, which the next writer heals.
 *  - MDB_NOMETASYNC: one fdatasync a commit. The pages of a transaction are on the disk before its meta page is written, and the
 *    meta page reaches it with the next sync at the latest. Pages that either of the last two snapshots uses are never
 *    overwritten, so a power cut can lose the last commit, and never the database.
 *  - no MDB_WRITEMAP: a full disk is an error of write(2) then, not a SIGBUS.
 *  - reading a truncated file is a SIGBUS: the file is kept longer than a transaction may grow the database (fallocate ahead of
 *    need), and a file that is shorter than its meta page says is known to be corrupt before anything in it is touched. */
#pragma once
#include "../common/str.h"
#include <lmdb.h>

enum mirror_table { MIRROR_DOCUMENTS, MIRROR_ACCESS, MIRROR_OUTBOX, MIRROR_EVENTS, MIRROR_USED, MIRROR_STATE, MIRROR_TABLES };
#define MIRROR_TEND_MS 3000 /* how often a closed or moved environment is looked at */
#define MIRROR_KEY_MAX 511  /* LMDB's compiled-in limit */

struct mirror;
struct mirror *mirror_new(const char *dir, size_t map_size);
void mirror_free(struct mirror **);
/* Opens what is closed, reopens what is broken or was replaced by another process, reaps readers; at most every MIRROR_TEND_MS
 * unless something is known to be broken. Called by one thread only: the one that writes. */
void mirror_tend(struct mirror *, int64_t now);
void mirror_shut(struct mirror *);
bool mirror_is_open(const struct mirror *);                /* any thread; may change at once */
const char *mirror_trouble(const struct mirror *);         /* NULL when well; a static text */
void mirror_set_full(struct mirror *, const char *trouble); /* what the writer found: NULL when a write went through */

/* 0 or -ERR_GONE. A snapshot from the pool; give it back soon. Any thread. */
int mirror_read(struct mirror *, MDB_txn **);
void mirror_read_end(struct mirror *, MDB_txn *);
/* One at a time, by the tending thread. The transaction is gone after commit, whatever it answers. */
int mirror_write(struct mirror *, MDB_txn **);
int mirror_commit(struct mirror *, MDB_txn *);
void mirror_abort(MDB_txn *);
MDB_dbi mirror_dbi(const struct mirror *, enum mirror_table);
/* LMDB's answer as -ERR_X; notes when the environment can no longer be used (the next tend sees to it). Never -ERR_CORRUPT: for the
 * caller a broken database is gone. */
int mirror_err(struct mirror *, int rc);
/* Is there room for new documents? No: above 97 % of the map, or the disk is full. Deletes still have pages. */
bool mirror_has_room(struct mirror *, int64_t now);
void mirror_reap(struct mirror *);

/* Opens dir in a child process, walks it for a bounded time, and closes it. 0: well (or not there), 1: it was corrupt and is set
 * aside, -ERR_X: cannot be judged. */
int mirror_check(const char *dir, size_t map_size);
