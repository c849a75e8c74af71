/* documents.h - the index's documents by id: what is read and written of them, in batches. */
#pragma once
#include "remote.h"
#include <jansson.h>

struct document {
	struct str id;
	json_t *source;              /* NULL: it is not there */
	int64_t seq_no, primary_term;
};
/* One real-time multi-get. excludes: members that are not wanted ("a,b"); NULL: all are. fn is called for each id with its place in ids, once;
 * not at all for one that Elasticsearch could not read (a shard is away): -ERR_AGAIN, or -ERR_ES_FAILED when that was so for all.
 * -ERR_NOT_FOUND: there is no index. */
typedef void documents_get_f(void *arg, unsigned i, const struct document *);
int documents_get(struct remote *, const struct str ids[], unsigned n, const char *excludes, int64_t timeout_ms, size_t answer_max,
	documents_get_f *, void *arg);

/* Lines for _bulk. */
struct bulk {
	char *p;
	size_t n, cap;
	unsigned actions;
};
void bulk_fini(struct bulk *);
/* source NULL: delete. Conditional: on the version in d when that has a source, else on there being none (deletes of nothing are no actions). */
void bulk_put(struct bulk *, const struct document *d, const json_t *source);
void bulk_update(struct bulk *, struct str id, const json_t *partial); /* without upsert */
void bulk_index(struct bulk *, struct str id, const json_t *source);   /* whatever is there; NULL: delete */
/* Sends it. fn is called for each action, in order, with its result: 0, -ERR_CONFLICT, -ERR_NOT_FOUND, -ERR_BUSY (429), -ERR_ES_FAILED (5xx, 403: again
 * later), -ERR_BAD_REQUEST with the reason (never again); it may be NULL. When the call as a whole fails: its error, and fn is not called. */
typedef void bulk_f(void *arg, unsigned i, int result, const char *reason);
int bulk_send(struct remote *, struct bulk *, bool refresh, int64_t timeout_ms, bulk_f *, void *arg);
/* Reads all that a search finds, in pages (scroll), for whoever has time. body: a search's JSON document. fn: false stops. 0, or -ERR_X also for
 * an answer that is not whole (a shard is away, it took too long). */
typedef bool documents_walk_f(void *arg, const struct document *);
int documents_walk(struct remote *, const json_t *search, documents_walk_f *, void *arg);
