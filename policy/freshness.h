/* freshness.h - age and lifetime of a response (RFC 9111 4.2). Pure. */
#pragma once
#include "cachecontrol.h"
#include "judge.h"

/* What caching asks of a header section, found in one pass over it. p == NULL: there is no such field. */
struct facts {
	struct cache_control cc;
	struct str age, date, etag, expires, last_modified;
	struct str control; /* the name of the field that cc is from */
	bool set_cookie;
	const struct refresh *refresh; /* the operator's word on its lifetime; NULL none */
};
void facts_of(const struct headers *, struct facts *);
void facts_rule(struct facts *, const struct plan *); /* what the plan's refresh pattern makes of them */
/* The same with what is said to us in particular (RFC 9213), when o->targeted: there is then neither Cache-Control nor Expires. */
void facts_for(const struct judge_options *, const struct headers *, struct facts *);

bool status_heuristic(int64_t status); /* cacheable by default (RFC 9110 15.1) */
/* 4.2.1: seconds, 0 when it is expired or says so in a way that cannot be read; -1 when nothing is said and nothing may be guessed.
 * *is_explicit: the origin said it. date, received: seconds. */
int64_t freshness_lifetime(const struct judge_options *, int64_t status, const struct facts *, int64_t date, int64_t received,
                           bool *is_explicit);
int64_t freshness_date(const struct facts *, int64_t received);   /* the Date field, else when it was received; seconds */
int64_t freshness_age_value(const struct facts *);                /* the Age field, else 0 */
int64_t freshness_origin(const struct meta *);                    /* s: the stored Date, else when it was received */
int64_t freshness_received(const struct meta *);                  /* ms: when it came or was last validated; 0 unknown */
