/* key.h - cache keys and document ids (behaviour.md 4.1 to 4.4, 4.6). Pure. */
#pragma once
#include "../common/meta.h"
#include "policy.h"
struct str key_normalise(struct arena *, struct str url);              /* 4.1 */
/* The same where more names only sign (NULL, or lower case, with NULL behind them). */
struct str key_normalise_more(struct arena *, struct str url, const char *const *more);
/* 4.4: scheme/host/hash; host without port and brackets, lower case */
struct str key_id(struct arena *, const struct url *, struct str key_url);
struct str key_vary_id(struct arena *, const struct url *, struct str key_url);
void key_ids(struct arena *, const struct url *, struct str key_url, struct str *id, struct str *vary_id); /* both, hashed once */
struct str key_variant_id(struct arena *, struct str id, struct str vary_request); /* id + "+" + sha224(vary_request) */
struct str key_extension(struct str url_path);                         /* 4.6 */
/* The selecting string of a Vary value and a request: 4.3 with the fields in their normal form (vary.c), the same for requests that
 * mean the same; p == NULL when Vary has "*". */
struct str vary_request(struct arena *, struct str vary, const struct headers *);
struct str vary_request_plain(struct arena *, struct str vary, const struct headers *); /* exactly 4.3: what older versions stored under */
/* Under which of these a variant is stored, and under which it may be found for a request, the likeliest first. */
#define VARY_NAMES 5
struct str vary_name(struct arena *, const struct meta *, const struct headers *request);
unsigned vary_names(struct arena *, struct str vary, const struct headers *, struct str names[VARY_NAMES]);
/* May this stored response, as far as Vary goes, answer these? */
bool vary_matches(const struct meta *, const struct headers *);
/* Is raw what vary_request, or its plain form, would make of these? The same as comparing, without making it. */
bool vary_selects(struct str vary, struct str raw, const struct headers *);
/* The Accept-Encoding of a request in the fewest words: which of br, deflate, gzip and zstd it takes, in this order, without weights;
 * "identity" for none. p == NULL: leave it as it is, for there is none, it has "*" or refuses identity, or it cannot be read. */
struct str vary_accept_encoding(struct arena *, const struct headers *);
struct str vary_proactive(struct arena *, const struct headers *);     /* "accept-encoding=…", or p == NULL without one */
