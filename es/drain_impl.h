/* drain_impl.h - what drain.c and drain_events.c share. */
#pragma once
#include "codec.h"
#include "documents.h"
#include "drain.h"
#include "metadata_impl.h"
#include "outbox.h"

struct drain {
	struct drain_options o;
	struct metadata *m;
	char after[MIRROR_KEY_MAX];    /* where the pass over the outbox stands */
	size_t after_n;
	unsigned batch_max;
	bool index_made;
	int64_t offset_logged;
	bool again, progress, events_left, partial; /* of this step: a conflict; something was settled; more events wait; a shard is away */
	int64_t rest_ms, rest_until;   /* mono: nothing is tried until then */
	int64_t used_at, measured, rejected_logged, deadline;
};

/* A row of the outbox in the hands of a step. */
struct row {
	struct str id;
	uint64_t generation;
	bool there, asked, superseded;
	struct meta meta;
	struct document doc;           /* what Elasticsearch has; the source is ours */
};

/* Rows that are done with. */
struct settled { struct str id; uint64_t generation; int64_t at; };
struct settle { enum mirror_table table; struct settled *v; unsigned n; };
int drain_settle(struct drain *, const struct settle *);
void drain_reject(struct drain *, struct str id, const char *reason);
int64_t drain_limit(const struct drain *); /* ms for a call */

int drain_events(struct drain *); /* 0 or -ERR_X */
int drain_used(struct drain *);   /* when it is time */
