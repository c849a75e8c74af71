/* drain.h - the way of what the outbox has into Elasticsearch: documents whose bytes are in S3, deletions, purges and invalidations for the
 * other nodes (follow.h), and times of last use. One process drains: the uploader. Calls are for one thread at a time.
 *
 * Nothing here is remembered but in the outbox: a row is settled after Elasticsearch has acknowledged it, and all that is sent may be sent
 * again, so that a crash at any point costs some repetition only. A document that Elasticsearch has in a newer version (by stored_at) is
 * taken from there into the mirror instead. Members of documents that we do not know stay as they are. */
#pragma once
#include "metadata.h"
#include "remote.h"

enum drain_ready {
	DRAIN_THERE,     /* all its bytes are in S3 (or it has none): publish */
	DRAIN_UNDER_WAY, /* not yet; go on with the next */
	DRAIN_BUSY,      /* not yet, and the same would be said of the next: come again later */
	DRAIN_FAILED,    /* they will never be there: the document stays this node's own, and is counted */
};
typedef enum drain_ready drain_ready_f(void *arg, const struct meta *); /* the meta is good during the call */

struct drain_options {
	struct metadata *metadata; /* with an outbox and a recorder; outlives it, as all that follows */
	struct remote *remote;     /* NULL: no Elasticsearch: a row is settled when ready says DRAIN_THERE */
	drain_ready_f *ready;      /* NULL: no S3: everything is there */
	void *arg;
	int64_t flush_ms;          /* times of last use are sent so often */
};
struct drain;
struct drain *drain_new(const struct drain_options *);
void drain_free(struct drain **);
/* One pass, as far as it gets: at most some DRAIN_STEP_MS long when Elasticsearch answers in time. Makes the index before its first write.
 * The result: after so many ms there is reason to call again (0: at once), if nobody rings earlier (a chunk has reached S3; the outbox grew). */
#define DRAIN_STEP_MS 2000
int64_t drain_step(struct drain *);
/* At exit: events, what is ready, and the times of last use, until the deadline. */
void drain_finish(struct drain *, int64_t deadline);
