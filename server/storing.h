/* storing.h - an origin's answer on its way into the store: its body into a fill, and then its documents into the database. It outlives the
 * request that began it. A large body whose origin knows ranges comes by several requests at once (fetch_ranges.h); what of it is
 * there is noted every now and then (partial.h), so that whoever is asked for it after a crash, or after everybody has left, goes on from there. */
#pragma once
#include "fetch.h"

struct object;

struct storing {
	struct fill **fill;            /* the claim, and … */
	struct xfer **xfer;            /* … the transfer whose head was judged: taken over. *xfer NULL: there is none, all that is wanted may be there */
	struct object *part;           /* what stands before the transfer's bytes: the beginning of a body (policy/part.c); NULL nothing */
	const struct meta *partial;    /* its chunks are there already (partial.h); NULL none */
	bool as_it_was;                /* … and its head, which nobody was asked about again */
	bool ranged;                   /* the transfer brings no more than these bytes of it: */
	struct extent brings;
	int64_t requested, answered;   /* wall, ms */
};
/* out->response, a head that is to be stored, becomes an object: out->meta and out->reader. What is left of the body is another thread's work.
 * -ERR_X: it cannot; *fill and *xfer are as before. */
int storing_begin(const struct fetch_ask *, const struct storing *, struct arena *, struct fetched *out);

/* The document with this id was stored, or is about to be: when it was purged or overtaken since version was taken, it goes again. */
void storing_forget_outdated(struct worker *, struct str id, uint64_t version);
bool storing_is_outdated(struct str id, uint64_t version);
