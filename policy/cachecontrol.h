/* cachecontrol.h - one reading of Cache-Control (RFC 9111 5.2), of requests and of responses. Pure, allocates nothing. */
#pragma once
#include "../common/headers.h"

enum cc_bits {
	CC_PRESENT = 1,          /* there is a Cache-Control field */
	CC_NO_STORE = 2,
	CC_NO_CACHE = 4,         /* without a field list */
	CC_NO_CACHE_FIELDS = 8,  /* no-cache="a, b" */
	CC_PRIVATE = 16,
	CC_PRIVATE_FIELDS = 32,
	CC_PUBLIC = 64,
	CC_MUST_REVALIDATE = 128,
	CC_PROXY_REVALIDATE = 256,
	CC_MUST_UNDERSTAND = 512,
	CC_IMMUTABLE = 1024,
	CC_ONLY_IF_CACHED = 2048,
	CC_MAX_STALE_ANY = 4096, /* max-stale without a number */
};
#define CC_ABSENT (-1)
#define CC_INVALID (-2)                 /* there, but no number */
#define DELTA_MAX INT64_C(2147483648)   /* larger ones count as this (RFC 9111 1.2.2) */

struct cache_control {
	unsigned bits;
	/* seconds, or CC_ABSENT or CC_INVALID. Of several of a kind the first counts (4.2.1). */
	int64_t max_age, s_maxage, stale_while_revalidate, stale_if_error, max_stale, min_fresh;
};
void cc_init(struct cache_control *);
void cc_add(struct cache_control *, struct str value);           /* one field line */
void cc_parse(struct cache_control *, const struct headers *);   /* all of them */
/* Takes out of h the fields that no-cache="…" and private="…" of its own field of this name (Cache-Control, or a targeted one) name.
 * That itself stays. */
void cc_drop_listed(struct headers *h, struct str control);
bool delta_parse(struct str, int64_t *seconds);                  /* digits only, clamped to DELTA_MAX */
