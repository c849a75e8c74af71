/* storable.h - may a response be stored (RFC 9111 3), and may it be shared with requests that carry credentials (3.5). Pure. */
#pragma once
#include "freshness.h"

/* 3.5: the origin says that credentials do not matter for this one. */
bool storable_shared(const struct cache_control *);
/* May anything of it be kept at all? no-store, private; must-understand lifts no-store when we know the status (5.2.2.3). */
bool storable_keep(const struct judge_options *, int64_t status, const struct cache_control *);
bool storable(const struct judge_options *, const struct plan *, const struct http_request *, bool authorized,
              const struct http_response *, const struct facts *, int64_t now);
