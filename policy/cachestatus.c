/* cachestatus.c - see cachestatus.h */
#include "cachestatus.h"
#include <inttypes.h>

static struct str
from_cache(struct arena *a, const struct cache_told *t, const char *how)
{
	/* in this order: scripts look for what was there first */
	return arena_printf(a, "passsage;%s;detail=object-store;ttl=%" PRId64, how, t->ttl_s);
}

/* "fwd=stale;fwd-status=304;collapsed" (2.2 to 2.6) */
static const char *
forwarded(struct arena *a, const struct cache_told *t)
{
	struct str status = t->fwd_status > 0 ? arena_printf(a, ";fwd-status=%d", t->fwd_status) : STR("");
	return arena_printf(a, "fwd=%s%.*s%s%s%s", t->forward == FORWARD_none ? "bypass" : forward_name(t->forward), STRP(status), t->stored && !t->store_full ? ";stored" : "",
	                    t->collapsed ? ";collapsed" : "", t->spool_full ? ";detail=spool-full" : t->store_full ? ";detail=store-full" : t->too_large ? ";detail=too-large" : "").p;
}

struct str
cache_status(struct arena *a, const struct cache_told *t)
{
	if (t->from_cache && !t->all)
		return t->stale ? from_cache(a, t, "hit") : STR("passsage;hit;detail=object-store");
	if (!t->all)
		return STR_NONE;
	if (t->from_cache)
		return from_cache(a, t, t->forward == FORWARD_none ? "hit" : forwarded(a, t));
	if (t->page && t->forward == FORWARD_none) /* neither a hit nor asked for: we said it (only-if-cached, a ban, a bad request) */
		return arena_printf(a, "passsage;detail=%s", reason_name(t->reason));
	return arena_printf(a, "passsage;%s", forwarded(a, t));
}
