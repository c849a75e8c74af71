/* cachestatus.h - the Cache-Status field of a response (RFC 9211). Pure; each rule is a row of t/unit/policy_cachestatus.c.
 * By default only what came from the cache has one, for scripts in the field know a hit by the field being there; also what the origin has
 * just confirmed (behaviour.md 2.6). With "all" every response has one, and it is to the letter: a response that was confirmed is no hit. */
#pragma once
#include "judge.h"

struct cache_told {
	bool all;               /* the setting */
	bool from_cache;        /* the body was stored before */
	bool stale;
	bool page;              /* our own words */
	int64_t ttl_s;          /* from_cache: its lifetime less its age; below 0 when stale */
	enum forward forward;   /* why the origin was asked; none: it was not */
	int fwd_status;         /* what it answered; 0: nothing */
	bool collapsed;         /* with the request of somebody else */
	bool stored;            /* the answer is */
	bool spool_full;        /* it would be, had S3 taken more of what waits for it (--spool-size) */
	bool too_large;         /* it would be, were it not such a share of the store */
	bool store_full;        /* it would be, had the store taken it */
	enum reason reason;     /* page: why */
};
struct str cache_status(struct arena *, const struct cache_told *); /* p == NULL: no field */
