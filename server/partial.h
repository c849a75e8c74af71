/* partial.h - what is there of an object that is not whole: its head and those of its chunks that are complete and in the store, in a document of
 * its own beside the object's (id + "+partial"), which no other node sees. It is noted while a download by several requests goes on, so
 * it is there after a crash, and when everybody has left and the rest is not to be fetched (--fill-rest). Chunks that were evicted since are
 * holes again. Only bytes of one version come together: a strong validator is asked with (RFC 9110 13.1.5, 15.3.7.3). */
#pragma once
#include "fetch_ranges.h"
#include "../common/meta.h"

struct worker;
struct plan;

/* sparse: fill_sparse's. Queues; when it is committed and has been purged or overtaken since version was taken (fill.h), it goes again. */
void partial_note(struct worker *, const struct meta *whole, struct str sparse, uint64_t version, struct arena *);
void partial_forget(struct worker *, struct str id); /* of the whole. Queues */
bool partial_find(struct worker *, struct str id, struct arena *, struct meta *out);

enum partial_use {
	PARTIAL_NONE,   /* it is of no use */
	PARTIAL_THERE,  /* it is fresh, and all that the request is for is there: the origin need not be asked */
	PARTIAL_ASK,    /* these bytes of that object are to be asked for */
};
/* What the request wants of it. Views of the meta. */
enum partial_use partial_plan(struct worker *, const struct plan *, const struct http_request *, const struct meta *, struct ranges_object *,
                              struct extent *ask);
