/* Cache-Status: RFC 9211 2, behaviour.md 2.6. */
#include "tap.h"
#include "../../policy/cachestatus.h"

#define HIT .from_cache = true
static const struct { struct cache_told t; const char *want, *why; } rows[] = {
	{ { HIT, .ttl_s = 50 }, "passsage;hit;detail=object-store", "2.6 of behaviour.md: the very words that scripts know" },
	{ { .forward = FORWARD_uri_miss, .fwd_status = 200, .stored = true }, NULL, "and nothing where nothing came from the cache" },
	{ { .page = true, .reason = REASON_error_page }, NULL, "nor on a page of ours" },
	{ { HIT, .ttl_s = -5, .stale = true }, "passsage;hit;detail=object-store;ttl=-5", "2.5: below 0 when stale; always told" },
	{ { HIT, .ttl_s = 60, .forward = FORWARD_stale, .fwd_status = 304 }, "passsage;hit;detail=object-store", "what was confirmed counts as a hit, as it did" },
	{ { .all = true, HIT, .ttl_s = 50 }, "passsage;hit;detail=object-store;ttl=50", "2.1, 2.5: hit and ttl" },
	{ { .all = true, HIT, .ttl_s = 0 }, "passsage;hit;detail=object-store;ttl=0", "2.5: 0 seconds" },
	{ { .all = true, HIT, .ttl_s = -5, .stale = true }, "passsage;hit;detail=object-store;ttl=-5", "2.5: stale, and nobody was asked" },
	{ { .all = true, HIT, .ttl_s = 60, .forward = FORWARD_stale, .fwd_status = 304 }, "passsage;fwd=stale;fwd-status=304;detail=object-store;ttl=60", "2.1: what needed validation is no hit" },
	{ { .all = true, HIT, .ttl_s = 60, .forward = FORWARD_request, .fwd_status = 304 }, "passsage;fwd=request;fwd-status=304;detail=object-store;ttl=60", "2.2: the request wanted it asked" },
	{ { .all = true, HIT, .ttl_s = -9, .stale = true, .forward = FORWARD_stale, .fwd_status = 503 }, "passsage;fwd=stale;fwd-status=503;detail=object-store;ttl=-9", "2.3: it answered 503, and the old one is served" },
	{ { .all = true, HIT, .ttl_s = -9, .stale = true, .forward = FORWARD_stale }, "passsage;fwd=stale;detail=object-store;ttl=-9", "2.3: it did not answer at all" },
	{ { .all = true, HIT, .ttl_s = 60, .forward = FORWARD_stale, .collapsed = true }, "passsage;fwd=stale;collapsed;detail=object-store;ttl=60", "2.6: somebody else had it confirmed" },
	{ { .all = true, .forward = FORWARD_uri_miss, .fwd_status = 200, .stored = true }, "passsage;fwd=uri-miss;fwd-status=200;stored", "2.2, 2.5: a miss that is stored" },
	{ { .all = true, .forward = FORWARD_uri_miss, .fwd_status = 200 }, "passsage;fwd=uri-miss;fwd-status=200", "… that is not" },
	{ { .all = true, .forward = FORWARD_uri_miss, .fwd_status = 200, .spool_full = true }, "passsage;fwd=uri-miss;fwd-status=200;detail=spool-full", "… for too much waits for S3" },
	{ { .all = true, .forward = FORWARD_uri_miss, .fwd_status = 200, .stored = true, .store_full = true }, "passsage;fwd=uri-miss;fwd-status=200;detail=store-full", "… for the disk is full" },
	{ { .all = true, .forward = FORWARD_vary_miss, .fwd_status = 200, .stored = true }, "passsage;fwd=vary-miss;fwd-status=200;stored", "2.2: another variant is stored" },
	{ { .all = true, .forward = FORWARD_miss, .fwd_status = 200, .stored = true }, "passsage;fwd=miss;fwd-status=200;stored", "2.2: it was there, and could not be read" },
	{ { .all = true, .forward = FORWARD_partial, .fwd_status = 206, .stored = true }, "passsage;fwd=partial;fwd-status=206;stored", "2.2: a part of it was there" },
	{ { .all = true, .forward = FORWARD_stale, .fwd_status = 200, .stored = true }, "passsage;fwd=stale;fwd-status=200;stored", "2.2: a stale one was replaced" },
	{ { .all = true, .forward = FORWARD_uri_miss, .fwd_status = 200, .collapsed = true }, "passsage;fwd=uri-miss;fwd-status=200;collapsed", "2.6: with another's request" },
	{ { .all = true, .forward = FORWARD_bypass, .fwd_status = 200 }, "passsage;fwd=bypass;fwd-status=200", "2.2: the policy bypasses the cache" },
	{ { .all = true, .forward = FORWARD_method, .fwd_status = 201 }, "passsage;fwd=method;fwd-status=201", "2.2: the method" },
	{ { .all = true, .fwd_status = 101 }, "passsage;fwd=bypass;fwd-status=101", "an upgrade" },
	{ { .all = true, .page = true, .forward = FORWARD_uri_miss, .reason = REASON_error_page }, "passsage;fwd=uri-miss", "our page, for the origin did not answer" },
	{ { .all = true, .page = true, .reason = REASON_only_if_cached }, "passsage;detail=only_if_cached", "our page, and nobody was asked" },
};

int
main(void)
{
	struct arena a;
	arena_init(&a);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct str got = cache_status(&a, &rows[i].t);
		is_str(got.p ? got : STR("(none)"), str_c(rows[i].want ? rows[i].want : "(none)"), "%s", rows[i].why);
	}
	arena_fini(&a);
	return done_testing();
}
