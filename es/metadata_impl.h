/* metadata_impl.h - what metadata.c, ask.c, drain.c and follow.c share. */
#pragma once
#include "metadata.h"
#include "mirror.h"
#include "recorder.h"
#include <pthread.h>

#define ABSENT 4096              /* ids that Elasticsearch is known not to have: a slot a hash; a collision costs one more question */

struct metadata {
	struct mirror *mirror;
	struct recorder *recorder;   /* NULL: read only use, and readers tend the mirror */
	pthread_mutex_t tending;
	_Atomic int64_t next_tend;
	bool outbox;
	struct remote *remote;
	pthread_mutex_t absent_lock;
	struct { uint64_t hash; int64_t until; } absent[ABSENT]; /* until: mono */
	_Atomic int64_t offset_read; /* mono: when the state's clock offset was last looked at */
};

int metadata_begin(struct metadata *, MDB_txn **); /* a snapshot; mirror_read_end ends it */
static inline bool
metadata_is_key(struct str id)
{
	return id.n && id.n <= MIRROR_KEY_MAX;
}

/* A degraded or read-only database answers at once, before anything is encoded or queued. */
static inline bool
metadata_writable(struct metadata *m)
{
	return m->recorder && mirror_is_open(m->mirror);
}

/* Another node has purged or invalidated it: a note with kind, id and at. Queues. */
void metadata_hear(struct metadata *, const struct note *);
/* ask.c. Is what Elasticsearch has newer than what the mirror has (NULL: nothing)? */
bool metadata_newer(const struct meta *remote, const struct meta *local);
/* Queues it for the mirror, where it is put unless something newer is there by then. No place in the outbox. */
void metadata_import(struct metadata *, const struct meta *);
#define STATE_OFFSET "clock_offset" /* remote_offset, as the uploader has measured it */
#define STATE_FOLLOWED "followed"   /* wall ms: purges that could be seen then have been seen */
