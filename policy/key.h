/* key.h - cache keys and document ids (behaviour.md 4.1 to 4.4, 4.6). Pure. */
#pragma once
#include "policy.h"
struct str key_normalise(struct arena *, struct str url);              /* 4.1 */
/* 4.4: scheme/host/hash; host without port and brackets, lower case */
struct str key_id(struct arena *, const struct url *, struct str key_url);
struct str key_vary_id(struct arena *, const struct url *, struct str key_url);
void key_ids(struct arena *, const struct url *, struct str key_url, struct str *id, struct str *vary_id); /* both, hashed once */
struct str key_variant_id(struct arena *, struct str id, struct str vary_request); /* id + "+" + sha224(vary_request) */
struct str key_extension(struct str url_path);                         /* 4.6 */
/* 4.3: the raw selecting string of a Vary value and a request; p == NULL when Vary has "*".
 * Also used to compare: two requests select the same variant when these are equal. */
struct str vary_request(struct arena *, struct str vary, const struct headers *);
/* Is raw what vary_request would make of these? The same as comparing, without making it. */
bool vary_selects(struct str vary, struct str raw, const struct headers *);
struct str vary_proactive(struct arena *, const struct headers *);     /* "accept-encoding=…", or p == NULL without one */
