/* recorder_impl.h - what recorder.c (the thread, its queue and batches) and changes.c (what is done inside a transaction) share. */
#pragma once
#include "../common/arena.h"
#include "recorder.h"
#include <pthread.h>

#define RECENT 4096             /* ids whose touch of this minute is known to be written; a collision costs a write */

struct touch {
	uint64_t hash;
	int64_t at;
	uint32_t id, id_n; /* in ids; n 0: it is not there */
};

struct touches {
	struct touch *v;
	char *ids;
	unsigned n;
	uint32_t ids_n;
};

struct recorder {
	struct mirror *mirror;
	int64_t commit_ms;
	unsigned queue_max, touch_max;
	bool outbox;
	void (*on_wait)(void *);
	void *on_wait_arg;
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t work, done, room;
	struct note *first, **last;
	unsigned n_notes, n_flush, n_purge;
	int64_t first_at, touch_at;        /* since when something waits */
	struct touches touches[2], *filling; /* one is filled while the other is written */
	bool stop;

	_Atomic uint64_t recent[RECENT];

	/* the thread's own */
	struct arena scratch;
	bool failing;                      /* the last write failed for a reason other than a full map */
	bool no_events;                    /* the map is too full to note what is dropped for others */
};

uint64_t change_key(struct str id);                      /* of the row of access */
bool change_is_shared(const struct recorder *, struct str id);
int change_access(struct recorder *, MDB_txn *, uint64_t hash, struct str id, int64_t now);
int change_apply(struct recorder *, MDB_txn *, struct note *);
