/* What a stored response is worth to a request: RFC 9111 4 and 5, RFC 5861, behaviour.md 2.2 to 2.4. Each row is a clause.
 * Rows with an id in brackets are tests of the public suite. */
#include "tap.h"
#include "../../common/clock.h"
#include "policy_heads.h"

static struct arena a;

#define STD POLICY_Standard
#define SIE POLICY_StaleIfError
#define NOR POLICY_NoRefresh
#define ALW POLICY_AlwaysUpstream
#define NOC POLICY_NoCache
#define V(v, r) VERDICT_##v, REASON_##r

static const struct { enum http_method method; enum policy policy; const char *fields; enum verdict verdict; enum reason reason; const char *why; } requests[] = {
	{ METHOD_GET, STD, "", V(FETCH, upstream_served), "look it up" },
	{ METHOD_HEAD, STD, "", V(FETCH, head_via_upstream), "2.3: HEAD is looked up too" },
	{ METHOD_GET, NOC, "", V(PASS, no_cache_policy), "3.1: NoCache" },
	{ METHOD_POST, STD, "", V(PASS, no_cache_method), "2.1: other methods" },
	{ METHOD_POST, NOC, "", V(PASS, no_cache_policy), "2.1: the policy is said first" },
	{ METHOD_OTHER, STD, "", V(PASS, no_cache_method), "RFC 9111 3: unknown methods" },
	{ METHOD_GET, STD, "Cache-Control: no-store", V(PASS, request_no_store), "5.2.1.5 [ccreq-no-store]" },
	{ METHOD_GET, STD, "Cache-Control: no-store, only-if-cached", V(FETCH, upstream_served), "5.2.1.7: it asks for the cache alone" },
	{ METHOD_GET, NOR, "Cache-Control: no-store", V(FETCH, upstream_served), "2.2: NoRefresh ignores directives" },
	{ METHOD_GET, STD, "Content-Length: 3", V(PASS, request_body), "RFC 9110 9.3.1: a GET with content; no key knows it" },
	{ METHOD_GET, STD, "Content-Length: 0", V(FETCH, upstream_served), "but none is none" },
	{ METHOD_GET, STD, "Transfer-Encoding: chunked", V(PASS, request_body), "the same, chunked" },
	{ METHOD_GET, STD, "If-Match: \"a\"", V(PASS, request_precondition), "4.3.2: If-Match is the origin's" },
	{ METHOD_GET, STD, "If-Unmodified-Since: @0", V(PASS, request_precondition), "4.3.2: If-Unmodified-Since too" },
	{ METHOD_GET, NOR, "If-Match: \"a\"", V(FETCH, upstream_served), "NoRefresh answers in its place" },
	{ METHOD_GET, STD, "If-None-Match: \"a\"\nRange: bytes=0-1", V(FETCH, upstream_served), "4.3.2: these are a cache's" },
};

/* Age in seconds since T0, when it was stored. */
static const struct {
	enum policy policy; int status; const char *stored; int64_t age; const char *request;
	enum verdict verdict; enum reason reason; const char *why;
} rows[] = {
	/* freshness */
	{ STD, 200, "Cache-Control: max-age=60", 59, "", V(HIT, cache_hit_fresh), "4.2: lifetime > age" },
	{ STD, 200, "Cache-Control: max-age=60", 60, "", V(FETCH, stale_no_validators), "4.2: lifetime = age is stale" },
	{ STD, 200, "Cache-Control: max-age=60\nETag: \"a\"", 60, "", V(REVALIDATE, conditional_revalidation), "4.3.1" },
	{ STD, 200, "Cache-Control: max-age=60\nLast-Modified: @-60", 60, "", V(REVALIDATE, conditional_revalidation), "4.3.1, Last-Modified alone" },
	{ STD, 200, "", 0, "", V(FETCH, stale_no_validators), "4.2.2 [freshness-none]: stored, but not reused unasked" },
	{ STD, 200, "Last-Modified: @-1000", 99, "", V(HIT, cache_hit_fresh), "4.2.2: heuristic" },
	{ STD, 200, "Cache-Control: max-age=60\nAge: 60", 0, "", V(FETCH, stale_no_validators), "4.2.3: it came old" },
	{ STD, 503, "Cache-Control: max-age=60", 1, "", V(HIT, cache_hit_fresh), "3: any final status with explicit freshness" },
	{ STD, 599, "Cache-Control: max-age=60", 1, "", V(HIT, cache_hit_fresh), "3: an unknown one too" },
	{ STD, 404, "Cache-Control: max-age=60\nETag: \"a\"", 61, "", V(FETCH, stale_no_validators), "RFC 9110 13.2.1: no conditions on an error" },
	{ STD, 302, "Cache-Control: max-age=60\nLocation: /", 1, "", V(HIT, redirect_synthetic_from_cache), "2.4 row 1" },
	{ STD, 302, "Cache-Control: max-age=60\nLocation: /\nETag: \"a\"", 61, "", V(FETCH, stale_no_validators), "a stale redirect is fetched anew" },
	{ STD, 200, "Cache-Control: max-age=60\nCookie: a", 1, "Cookie: a=b", V(HIT, cache_hit_fresh), "[other-cookie]" },
	/* response directives */
	{ STD, 200, "Cache-Control: max-age=60, no-cache", 1, "", V(FETCH, stale_no_validators), "5.2.2.4 no-cache" },
	{ STD, 200, "Cache-Control: max-age=60, no-cache\nETag: \"a\"", 1, "", V(REVALIDATE, conditional_revalidation), "5.2.2.4 [cc-resp-no-cache-revalidate-fresh]" },
	{ STD, 200, "Cache-Control: max-age=60, no-cache=\"a\"", 1, "", V(HIT, cache_hit_fresh), "5.2.2.4: with a list only the listed fields are concerned" },
	{ STD, 200, "Cache-Control: max-age=60, private=\"a\"", 1, "", V(HIT, cache_hit_fresh), "5.2.2.7: the same for private" },
	{ STD, 200, "Cache-Control: max-age=60, must-revalidate", 1, "", V(HIT, cache_hit_fresh), "5.2.2.2: must-revalidate is for stale ones" },
	{ STD, 200, "Cache-Control: max-age=60, no-store", 1, "", V(FETCH, upstream_served), "5.2.2.5: freshened by a 304 that forbids it: not used" },
	{ STD, 200, "Cache-Control: max-age=60, private", 1, "", V(FETCH, upstream_served), "5.2.2.7: likewise" },
	{ STD, 200, "Cache-Control: max-age=60, no-store, must-understand", 1, "", V(HIT, cache_hit_fresh), "5.2.2.3 [status-200-must-understand]" },
	{ STD, 200, "Cache-Control: max-age=10, immutable\nETag: \"a\"", 11, "", V(REVALIDATE, conditional_revalidation), "RFC 8246 2: immutable lasts as long as it is fresh" },
	{ STD, 200, "Cache-Control: max-age=10, immutable\nETag: \"a\"", 1, "", V(HIT, cache_hit_fresh), "RFC 8246 2: as any that is fresh" },
	{ STD, 200, "Cache-Control: max-age=10, immutable\nETag: \"a\"", 1, "Cache-Control: max-age=0", V(REVALIDATE, conditional_revalidation), "RFC 8246 2 is for the client that reloads; who asks all the same means it" },
	{ STD, 200, "Cache-Control: immutable", 1, "", V(FETCH, stale_no_validators), "RFC 8246 2: it makes nothing fresh" },
	{ STD, 200, "Expires: @60\nDate: @0", 59, "", V(HIT, cache_hit_fresh), "5.3: Expires" },
	{ STD, 200, "Expires: @60\nDate: @0", 60, "", V(FETCH, stale_no_validators), "5.3: and its end" },
	{ STD, 200, "Cache-Control: max-age=60\nWarning: 110 - \"stale\"", 1, "", V(HIT, cache_hit_fresh), "5.5: Warning is obsolete, and says nothing" },
	{ STD, 404, "Last-Modified: @-1000\nDate: @0", 99, "", V(HIT, cache_hit_fresh), "RFC 9110 15.1: negative caching, by heuristics" },
	{ STD, 410, "Cache-Control: max-age=60", 1, "", V(HIT, cache_hit_fresh), "RFC 9110 15.1: negative caching, by its lifetime" },
	{ STD, 501, "Last-Modified: @-1000\nDate: @0", 101, "", V(FETCH, stale_no_validators), "RFC 9110 15.1: … and not beyond" },
	/* request directives */
	{ STD, 200, "Cache-Control: max-age=60\nETag: \"a\"", 1, "Cache-Control: no-cache", V(REVALIDATE, conditional_revalidation), "5.2.1.4 [ccreq-no-cache-etag]" },
	{ STD, 200, "Cache-Control: max-age=60", 1, "Cache-Control: no-cache", V(FETCH, stale_no_validators), "5.2.1.4 [ccreq-no-cache]" },
	{ STD, 200, "Cache-Control: max-age=60\nETag: \"a\"", 1, "Pragma: no-cache", V(REVALIDATE, conditional_revalidation), "5.4: Pragma alone" },
	{ STD, 200, "Cache-Control: max-age=60", 1, "Pragma: no-cache\nCache-Control: max-age=5", V(HIT, cache_hit_fresh), "5.4: Cache-Control overrules it" },
	{ STD, 200, "Cache-Control: max-age=60", 1, "Pragma: unrecognised-extension", V(HIT, cache_hit_fresh), "[pragma-request-extension]" },
	{ STD, 200, "Cache-Control: max-age=60\nETag: \"a\"", 0, "Cache-Control: max-age=0", V(REVALIDATE, conditional_revalidation), "5.2.1.1 [ccreq-ma0]: always asks" },
	{ STD, 200, "Cache-Control: max-age=60\nETag: \"a\"", 2, "Cache-Control: max-age=1", V(REVALIDATE, conditional_revalidation), "5.2.1.1 [ccreq-ma1]" },
	{ STD, 200, "Cache-Control: max-age=60", 1, "Cache-Control: max-age=1", V(HIT, cache_hit_fresh), "5.2.1.1: less than or equal" },
	{ STD, 200, "Cache-Control: max-age=60", 1, "Cache-Control: max-age=x", V(HIT, cache_hit_fresh), "2.2: no number, no wish" },
	{ STD, 200, "Cache-Control: max-age=1500\nAge: 1000", 0, "Cache-Control: min-fresh=1000", V(FETCH, stale_no_validators), "5.2.1.3 [ccreq-min-fresh-age]" },
	{ STD, 200, "Cache-Control: max-age=1500", 0, "Cache-Control: min-fresh=1500", V(HIT, cache_hit_fresh), "5.2.1.3: no less than" },
	{ STD, 200, "Cache-Control: max-age=2", 3, "Cache-Control: max-stale=1000", V(HIT, cache_hit_max_stale), "5.2.1.2 [ccreq-max-stale]" },
	{ STD, 200, "Cache-Control: max-age=1500\nAge: 2000", 0, "Cache-Control: max-stale=1000", V(HIT, cache_hit_max_stale), "5.2.1.2 [ccreq-max-stale-age]" },
	{ STD, 200, "Cache-Control: max-age=2", 13, "Cache-Control: max-stale=10", V(FETCH, stale_no_validators), "5.2.1.2: not by more" },
	{ STD, 200, "Cache-Control: max-age=2", 9999, "Cache-Control: max-stale", V(HIT, cache_hit_max_stale), "5.2.1.2: any" },
	{ STD, 200, "Cache-Control: max-age=2, must-revalidate", 3, "Cache-Control: max-stale", V(FETCH, stale_no_validators), "4.2.4: must-revalidate forbids" },
	{ STD, 200, "Cache-Control: s-maxage=2", 3, "Cache-Control: max-stale", V(FETCH, stale_no_validators), "4.2.4: s-maxage does" },
	{ STD, 200, "Cache-Control: max-age=2, proxy-revalidate", 3, "Cache-Control: max-stale", V(FETCH, stale_no_validators), "4.2.4: proxy-revalidate does" },
	{ STD, 200, "Cache-Control: max-age=60", 1, "Cache-Control: only-if-cached", V(HIT, cache_hit_fresh), "5.2.1.7: stored and fresh" },
	{ STD, 200, "Cache-Control: max-age=60", 61, "Cache-Control: only-if-cached", V(REFUSE, only_if_cached), "5.2.1.7: 504" },
	{ STD, 200, "Cache-Control: max-age=60", 61, "Cache-Control: only-if-cached, max-stale", V(HIT, cache_hit_max_stale), "5.2.1.7: with max-stale" },
	{ ALW, 200, "Cache-Control: max-age=60", 1, "Cache-Control: only-if-cached", V(HIT, cache_hit_fresh), "5.2.1.7: the client asks for nothing else" },
	{ STD, 200, "Cache-Control: max-age=60", 1, "Cache-Control: min-fresh=59", V(HIT, cache_hit_fresh), "5.2.1.3: exactly so long" },
	{ STD, 200, "Cache-Control: max-age=2\nETag: \"a\"", 3, "Cache-Control: max-stale=10, max-age=2", V(REVALIDATE, conditional_revalidation), "5.2.1.1: max-stale does not undo max-age: the stricter" },
	{ STD, 200, "Cache-Control: max-age=2", 3, "Cache-Control: max-stale=x", V(FETCH, stale_no_validators), "5.2.1.2: no number, no wish" },
	{ STD, 200, "Cache-Control: max-age=60, no-cache\nETag: \"a\"", 1, "Cache-Control: only-if-cached", V(REFUSE, only_if_cached), "5.2.1.7: what must be validated is not there" },
	{ STD, 200, "Cache-Control: max-age=2, must-revalidate", 3, "Cache-Control: only-if-cached, max-stale", V(REFUSE, only_if_cached), "5.2.1.7, 5.2.2.2: nor what is stale and must be" },
	{ STD, 200, "Cache-Control: max-age=60", 1, "Cache-Control: no-transform, x=y", V(HIT, cache_hit_fresh), "5.2.3: others change nothing" },
	{ NOR, 200, "", 9999, "Cache-Control: only-if-cached", V(HIT, cache_hit_norefresh), "NoRefresh: stored is stored" },
	{ SIE, 200, "Cache-Control: max-age=1", 3, "Cache-Control: only-if-cached", V(REFUSE, only_if_cached), "5.2.1.7: StaleIfError is for errors" },
	/* stale-while-revalidate */
	{ STD, 200, "Cache-Control: max-age=1, stale-while-revalidate=4", 5, "", V(HIT_AND_REVALIDATE, cache_hit_stale_while_revalidate), "RFC 5861 3" },
	{ STD, 200, "Cache-Control: max-age=1, stale-while-revalidate=4\nETag: \"a\"", 6, "", V(REVALIDATE, conditional_revalidation), "RFC 5861 3 [stale-while-revalidate-window]" },
	{ STD, 200, "Cache-Control: max-age=1, stale-while-revalidate=4, must-revalidate", 2, "", V(FETCH, stale_no_validators), "4.2.4" },
	{ STD, 200, "Cache-Control: max-age=1, stale-while-revalidate=4, no-cache", 2, "", V(FETCH, stale_no_validators), "4.2.4" },
	{ STD, 200, "Cache-Control: s-maxage=1, stale-while-revalidate=4", 2, "", V(HIT_AND_REVALIDATE, cache_hit_stale_while_revalidate), "the origin that says both means it" },
	{ STD, 200, "Cache-Control: max-age=1, stale-while-revalidate=4", 2, "Cache-Control: no-cache", V(FETCH, stale_no_validators), "2.2: a client's no-cache" },
	{ STD, 200, "Cache-Control: max-age=1, stale-while-revalidate=4", 2, "Cache-Control: max-age=0", V(FETCH, stale_no_validators), "2.2: a client's max-age" },
	/* policies, 2.4 */
	{ SIE, 200, "Cache-Control: max-age=60", 1, "", V(HIT, cache_hit_fresh), "StaleIfError, fresh" },
	{ SIE, 200, "Cache-Control: max-age=60\nETag: \"a\"", 61, "", V(REVALIDATE, conditional_revalidation), "StaleIfError, stale" },
	{ NOR, 200, "", 999999, "", V(HIT, cache_hit_norefresh), "NoRefresh: any age" },
	{ NOR, 200, "Cache-Control: max-age=1, must-revalidate", 99, "Cache-Control: no-cache", V(HIT, cache_hit_norefresh), "NoRefresh: whatever anyone says" },
	{ NOR, 200, "Cache-Control: no-cache", 99, "", V(HIT, cache_hit_norefresh), "NoRefresh: no-cache is stored, and served" },
	{ NOR, 404, "Cache-Control: max-age=60", 61, "", V(FETCH, stale_no_validators), "NoRefresh keeps no error beyond its time" },
	{ NOR, 404, "Cache-Control: max-age=60", 1, "", V(HIT, cache_hit_norefresh), "but for its time" },
	{ NOR, 301, "Cache-Control: max-age=60\nLocation: /", 1, "Cache-Control: no-cache", V(HIT, redirect_synthetic_from_cache), "2.4 row 1 comes first" },
	{ NOR, 301, "Cache-Control: max-age=60\nLocation: /", 61, "", V(HIT, cache_hit_norefresh), "a redirect of any age" },
	{ ALW, 200, "Cache-Control: max-age=60\nETag: \"a\"", 1, "", V(FETCH, upstream_served), "AlwaysUpstream: always" },
	{ ALW, 301, "Cache-Control: max-age=60\nLocation: /", 1, "", V(HIT, redirect_synthetic_from_cache), "but for fresh redirects, 2.4 row 1" },
	{ NOC, 200, "Cache-Control: max-age=60", 1, "", V(PASS, no_cache_policy), "NoCache" },
	/* credentials */
	{ STD, 200, "Cache-Control: max-age=60\nETag: \"a\"", 1, "Authorization: x", V(REVALIDATE, conditional_revalidation), "3.5: with credentials the origin is asked" },
	{ STD, 200, "Cache-Control: max-age=60, public", 1, "Authorization: x", V(HIT, cache_hit_fresh), "3.5: public" },
	{ STD, 200, "Cache-Control: s-maxage=60", 1, "Authorization: x", V(HIT, cache_hit_fresh), "3.5: s-maxage" },
	{ STD, 200, "Cache-Control: max-age=60, must-revalidate", 1, "Authorization: x", V(HIT, cache_hit_fresh), "3.5: must-revalidate" },
	{ STD, 200, "Cache-Control: max-age=1, stale-while-revalidate=9", 2, "Authorization: x", V(FETCH, stale_no_validators), "nor stale unasked" },
	{ NOR, 200, "Cache-Control: max-age=60", 1, "Authorization: x", V(HIT, cache_hit_norefresh), "NoRefresh is an explicit rule" },
	/* Vary */
	{ STD, 200, "Cache-Control: max-age=60\nVary: Foo", 1, "", V(HIT, cache_hit_fresh), "4.1 [vary-match]: neither has it" },
	{ STD, 200, "Cache-Control: max-age=60\nVary: Foo", 1, "Foo: 1", V(FETCH, upstream_served), "4.1 [vary-omit-stored]" },
	{ NOR, 200, "Vary: Foo", 1, "Foo: 1", V(FETCH, upstream_served), "4.1: another variant is another's answer, whatever the policy" },
	{ STD, 200, "Cache-Control: max-age=60\nVary: *", 1, "", V(FETCH, upstream_served), "4.1: * never matches" },
};

/* HEAD, 2.3; forced SWR, 3.4 */
static const struct {
	enum http_method method; enum policy policy; int64_t swr; const char *stored; int64_t age; const char *request;
	enum verdict verdict; enum reason reason; const char *why;
} more[] = {
	{ METHOD_HEAD, STD, -1, "Cache-Control: max-age=60", 1, "", V(HIT, head_synthetic_from_cache), "2.3: fresh" },
	{ METHOD_HEAD, ALW, -1, "Cache-Control: max-age=60", 1, "", V(HIT, head_synthetic_from_cache), "2.3: AlwaysUpstream too" },
	{ METHOD_HEAD, STD, -1, "Cache-Control: max-age=60", 1, "Cache-Control: no-cache", V(FETCH, head_via_upstream), "2.2 comes first" },
	{ METHOD_HEAD, STD, -1, "Cache-Control: max-age=60\nETag: \"a\"", 61, "", V(FETCH, head_via_upstream), "2.3: stale [head-writethrough]" },
	{ METHOD_HEAD, NOR, -1, "", 61, "", V(FETCH, head_via_upstream), "2.3: NoRefresh too" },
	{ METHOD_HEAD, STD, 100, "Cache-Control: max-age=60", 61, "", V(HIT, head_forced_swr_synthetic), "2.3: forced SWR" },
	{ METHOD_HEAD, STD, -1, "Cache-Control: max-age=60, stale-while-revalidate=60", 61, "", V(FETCH, head_via_upstream), "2.3: the origin's is for GET" },
	{ METHOD_GET, STD, 100, "Cache-Control: max-age=60\nETag: \"a\"", 100, "", V(HIT_AND_REVALIDATE, cache_hit_forced_swr), "3.4: age <= window" },
	{ METHOD_GET, STD, 100, "Cache-Control: max-age=60\nETag: \"a\"", 101, "", V(REVALIDATE, conditional_revalidation), "3.4: older" },
	{ METHOD_GET, SIE, 100, "Last-Modified: @-1", 1, "", V(HIT_AND_REVALIDATE, cache_hit_forced_swr), "3.4: Last-Modified revalidates as well" },
	{ METHOD_GET, SIE, 100, "", 1, "", V(FETCH, stale_no_validators), "3.4: needs a validator" },
	{ METHOD_GET, SIE, 100, "Cache-Control: no-cache, must-revalidate\nETag: \"a\"", 1, "Cache-Control: no-cache", V(HIT_AND_REVALIDATE, cache_hit_forced_swr), "3.4: no directive undoes it" },
	{ METHOD_GET, SIE, 100, "Cache-Control: max-age=60\nETag: \"a\"", 1, "", V(HIT, cache_hit_fresh), "3.4: fresh is fresh" },
	{ METHOD_GET, SIE, 100, "Cache-Control: max-age=60\nETag: \"a\"", 70, "Authorization: x", V(REVALIDATE, conditional_revalidation), "3.5: not with credentials" },
	{ METHOD_GET, NOR, 100, "ETag: \"a\"", 1, "", V(HIT, cache_hit_norefresh), "3.4: for Standard and StaleIfError" },
	{ METHOD_GET, ALW, 100, "ETag: \"a\"", 1, "", V(FETCH, upstream_served), "3.4: for Standard and StaleIfError" },
};

/* May it stand in for a failure? status 0: no answer at all. The stored response is 200 unless said. */
static const struct { enum policy policy; int stored_status; const char *stored; int64_t age; const char *request; int status; bool yes; const char *why; } failures[] = {
	{ STD, 200, "Cache-Control: max-age=2", 3, "", 0, true, "RFC 9111 4.2.4: disconnected [stale-close]" },
	{ STD, 200, "Cache-Control: max-age=2", 3, "", 503, true, "4.3.3 [stale-503]" },
	{ STD, 200, "Cache-Control: max-age=2", 3, "", 404, false, "2.4: 404 is an answer" },
	{ STD, 200, "Cache-Control: max-age=2", 3, "", 403, false, "2.4: as is another 4xx" },
	{ STD, 200, "Cache-Control: max-age=2, must-revalidate", 3, "", 0, false, "[stale-close-must-revalidate]" },
	{ STD, 200, "Cache-Control: max-age=2, proxy-revalidate", 3, "", 0, false, "[stale-close-proxy-revalidate]" },
	{ STD, 200, "Cache-Control: max-age=2, no-cache", 3, "", 0, false, "[stale-close-no-cache]" },
	{ STD, 200, "Cache-Control: max-age=2, s-maxage=2", 3, "", 0, false, "[stale-close-s-maxage=2]" },
	{ STD, 200, "Cache-Control: max-age=2, must-revalidate", 1, "Cache-Control: max-age=0", 0, true, "it is fresh: must-revalidate does not speak of it" },
	{ STD, 200, "Cache-Control: max-age=2, stale-if-error=60", 3, "", 0, true, "RFC 5861 4 [stale-sie-close]" },
	{ STD, 200, "Cache-Control: max-age=2, stale-if-error=60", 3, "", 503, true, "RFC 5861 4 [stale-sie-503]" },
	{ STD, 200, "Cache-Control: max-age=2, stale-if-error=60", 3, "", 404, false, "RFC 5861 4: 404 is no such error" },
	{ STD, 200, "Cache-Control: max-age=2, stale-if-error=60", 63, "", 0, false, "RFC 5861 4: beyond its time" },
	{ STD, 200, "Cache-Control: s-maxage=2, stale-if-error=60", 3, "", 0, true, "RFC 5861 4: said beside s-maxage" },
	{ STD, 200, "Cache-Control: max-age=2", 30, "Cache-Control: stale-if-error=10", 0, false, "RFC 5861 4: the client's limit" },
	{ STD, 200, "Cache-Control: max-age=2", 10, "Cache-Control: stale-if-error=10", 0, true, "RFC 5861 4: within it" },
	{ STD, 200, "Cache-Control: max-age=2", 3, "Cache-Control: no-cache", 0, false, "5.2.1.4: not without validation" },
	{ STD, 200, "Cache-Control: max-age=2", 3, "Cache-Control: max-age=0", 0, true, "5.2.1: advisory; the alternative is nothing" },
	{ STD, 200, "Cache-Control: max-age=2, immutable", 3, "", 404, false, "RFC 8246 says nothing of errors" },
	{ STD, 503, "Cache-Control: max-age=2", 3, "", 503, false, "an old error is no better than a new one" },
	{ STD, 404, "Cache-Control: max-age=2", 3, "", 0, true, "an old 404 is" },
	{ STD, 200, "Cache-Control: max-age=2, private", 3, "", 0, false, "5.2.2.7: not for others, even then" },
	{ STD, 200, "Cache-Control: max-age=2\nVary: Foo", 3, "Foo: 2", 0, false, "4.1: nor another variant" },
	{ SIE, 200, "", 9999, "", 0, true, "StaleIfError" },
	{ SIE, 200, "", 9999, "", 500, true, "StaleIfError" },
	{ SIE, 200, "", 9999, "", 404, true, "StaleIfError: 404 too" },
	{ SIE, 200, "", 9999, "", 429, true, "StaleIfError: any" },
	{ SIE, 200, "", 9999, "", 416, false, "but what answers this client's range" },
	{ SIE, 200, "", 9999, "", 412, false, "or its condition" },
	{ SIE, 200, "Cache-Control: no-cache, must-revalidate", 9999, "Cache-Control: max-age=0", 500, true, "StaleIfError: whatever anyone says" },
	{ SIE, 404, "Cache-Control: max-age=1", 3, "", 404, false, "StaleIfError: not an error for an error" },
	{ ALW, 200, "Cache-Control: max-age=2", 3, "", 0, true, "section 0: AlwaysUpstream keeps a fallback" },
	{ ALW, 200, "Cache-Control: max-age=2", 3, "", 502, true, "section 0" },
	{ ALW, 200, "Cache-Control: max-age=2", 3, "", 404, false, "section 0: 404 is an answer" },
	{ NOR, 200, "", 3, "", 502, true, "NoRefresh" },
	{ NOC, 200, "Cache-Control: max-age=2", 3, "", 0, false, "NoCache" },
};

/* Joining an answer under way. */
static const struct { enum policy policy; int64_t swr; const char *maker; int status; const char *growing; const char *request; bool yes; const char *why; } joins[] = {
	{ STD, -1, "", 200, "Cache-Control: max-age=60", "", true, "4: fresh" },
	{ STD, -1, "", 200, "", "", true, "4.2.2: where nothing is said the transfer is young enough" },
	{ STD, -1, "", 200, "Last-Modified: @0", "", true, "4.2.2: the same with a lifetime of none" },
	{ STD, -1, "", 200, "Set-Cookie: a=b", "", false, "but not with a cookie" },
	{ STD, -1, "", 200, "Set-Cookie: a=b\nCache-Control: max-age=60", "", true, "unless it says that it is for all" },
	{ STD, -1, "", 200, "Cache-Control: max-age=0", "", false, "explicitly stale" },
	{ STD, -1, "", 200, "Cache-Control: max-age=0, stale-while-revalidate=5", "", true, "RFC 5861 3" },
	{ STD, -1, "", 200, "Cache-Control: max-age=60, no-cache", "", false, "5.2.2.4" },
	{ STD, -1, "", 200, "Cache-Control: max-age=60", "Cache-Control: no-cache", false, "5.2.1.4" },
	{ STD, -1, "", 200, "Cache-Control: max-age=60", "Cache-Control: max-age=0", false, "5.2.1.1" },
	{ STD, -1, "", 200, "Cache-Control: max-age=60", "Cache-Control: no-store", false, "5.2.1.5" },
	{ STD, -1, "", 200, "Cache-Control: max-age=60", "Authorization: x", false, "3.5" },
	{ STD, -1, "", 200, "Cache-Control: max-age=60, public", "Authorization: x", true, "3.5: public" },
	{ STD, -1, "Authorization: y", 200, "Cache-Control: max-age=60", "", false, "3.5: made for somebody" },
	{ STD, -1, "Authorization: y", 200, "Cache-Control: s-maxage=60", "", true, "3.5: s-maxage" },
	{ STD, -1, "Foo: 1", 200, "Cache-Control: max-age=60\nVary: Foo", "foo: 1", true, "4.1: the same variant" },
	{ STD, -1, "Foo: 1", 200, "Cache-Control: max-age=60\nVary: Foo", "", false, "4.1: another" },
	{ STD, -1, "", 200, "Cache-Control: max-age=60", "If-Match: \"a\"", false, "4.3.2" },
	{ STD, -1, "", 200, "Cache-Control: max-age=60", "Range: bytes=5-", true, "a range of it" },
	{ STD, -1, "", 404, "Cache-Control: max-age=60", "", true, "a cacheable error" },
	{ SIE, -1, "", 302, "Location: /", "", false, "a redirect kept as fallback only" },
	{ SIE, 60, "", 200, "Cache-Control: no-cache\nETag: \"a\"", "Cache-Control: no-cache", true, "3.4: forced SWR" },
	{ NOR, -1, "", 200, "Cache-Control: no-cache", "Cache-Control: no-cache", true, "NoRefresh" },
	{ ALW, -1, "", 200, "Cache-Control: max-age=60", "", false, "AlwaysUpstream: each its own" },
	{ NOC, -1, "", 200, "Cache-Control: max-age=60", "", false, "NoCache" },
};

static struct plan
plan_of(enum policy p, int64_t swr)
{
	return (struct plan){ .policy = p, .rule = "test", .connect_timeout_ms = -1, .read_timeout_ms = -1, .forced_swr_s = swr };
}

static void
is_judged(struct judgement j, enum verdict v, enum reason r, const char *why)
{
	is_str(str_c(verdict_name(j.verdict)), str_c(verdict_name(v)), "%s", why);
	is_str(str_c(reason_name(j.reason)), str_c(reason_name(r)), "… its reason");
	ok(j.conditional == (j.verdict == VERDICT_REVALIDATE), "… a condition for a revalidation only");
	ok((j.forward == FORWARD_none) == (j.verdict == VERDICT_HIT || j.verdict == VERDICT_HIT_AND_REVALIDATE || j.verdict == VERDICT_REFUSE ||
	   j.verdict == VERDICT_SERVE_STALE), "… RFC 9211: a fwd reason when the origin is waited for, else none");
}

#define EACH(table) for (unsigned i = 0; i < sizeof(table) / sizeof(*table); i++)
int
main(void)
{
	struct http_request req;
	struct meta m;
	struct plan plan;
	struct judgement j;
	arena_init(&a);

	EACH(requests) {
		plan = plan_of(requests[i].policy, -1);
		req = request_of(&a, requests[i].method, "http://h/p?q", requests[i].fields);
		is_judged(judge_request(&plan, &req), requests[i].verdict, requests[i].reason, requests[i].why);
	}
	EACH(rows) {
		plan = plan_of(rows[i].policy, -1);
		req = request_of(&a, METHOD_GET, "http://h/p?q", rows[i].request);
		m = stored_of(&a, "", rows[i].status, rows[i].stored);
		is_judged(judge_stored(&shared_cache, &plan, &req, &m, (T0 + rows[i].age) * 1000, false), rows[i].verdict, rows[i].reason, rows[i].why);
	}
	EACH(more) {
		plan = plan_of(more[i].policy, more[i].swr);
		req = request_of(&a, more[i].method, "http://h/p?q", more[i].request);
		m = stored_of(&a, "", 200, more[i].stored);
		is_judged(judge_stored(&shared_cache, &plan, &req, &m, (T0 + more[i].age) * 1000, false), more[i].verdict, more[i].reason, more[i].why);
	}
	EACH(failures) {
		int64_t now = (T0 + failures[i].age) * 1000;
		struct http_response resp = response_of(&a, failures[i].status, "");
		plan = plan_of(failures[i].policy, -1);
		req = request_of(&a, METHOD_GET, "http://h/p?q", failures[i].request);
		m = stored_of(&a, "", failures[i].stored_status, failures[i].stored);
		enum outcome out = failures[i].status ? judge_response(&shared_cache, &plan, &req, &m, &resp, now)
		                                      : judge_failure(&shared_cache, &plan, &req, &m, now);
		is_int(out, failures[i].yes ? OUTCOME_SERVE_STALE : OUTCOME_RELAY, "%s (%s, %d)", failures[i].why, policy_name(plan.policy), failures[i].status);
		if (failures[i].status || plan.policy == POLICY_NoCache)
			continue;
		j = judge_stored(&shared_cache, &plan, &req, &m, now, true);
		is_int(j.stale_on_error, failures[i].yes, "… and judge_stored says so");
		if (plan.policy == POLICY_Standard && failures[i].age > 2)
			is_int(j.verdict == VERDICT_SERVE_STALE, failures[i].yes, "… and serves it when the origin is known to be down");
	}
	EACH(joins) {
		plan = plan_of(joins[i].policy, joins[i].swr);
		req = request_of(&a, METHOD_GET, "http://h/p?q", joins[i].request);
		m = stored_of(&a, joins[i].maker, joins[i].status, joins[i].growing);
		is_int(judge_may_join(&shared_cache, &plan, &req, &m, (T0 + 500) * 1000), joins[i].yes, "join: %s", joins[i].why);
	}

	/* nothing stored */
	plan = plan_of(STD, -1);
	req = request_of(&a, METHOD_GET, "http://h/", "");
	j = judge_stored(&shared_cache, &plan, &req, NULL, T0 * 1000, false);
	is_judged(j, VERDICT_FETCH, REASON_upstream_served, "a miss");
	ok(j.age_s == -1 && j.lifetime_s == -1 && !j.stale_on_error, "… has no age");
	req = request_of(&a, METHOD_GET, "http://h/", "Cache-Control: only-if-cached");
	is_judged(judge_stored(&shared_cache, &plan, &req, NULL, T0 * 1000, false), VERDICT_REFUSE, REASON_only_if_cached, "5.2.1.7 [ccreq-oic]: 504");
	is_int(judge_failure(&shared_cache, &plan, &req, NULL, T0 * 1000), OUTCOME_RELAY, "nothing stands in for nothing");

	/* 4.4: what an unsafe request has overtaken */
	m = stored_of(&a, "", 200, "Cache-Control: max-age=60, stale-while-revalidate=60\nETag: \"a\"");
	m.flags |= META_INVALIDATED;
	req = request_of(&a, METHOD_GET, "http://h/p?q", "");
	static const enum policy all[] = { STD, SIE, NOR };
	EACH(all) {
		plan = plan_of(all[i], 1000);
		is_judged(judge_stored(&shared_cache, &plan, &req, &m, (T0 + 1) * 1000, false), VERDICT_REVALIDATE, REASON_conditional_revalidation, "4.4: invalidated: must be validated");
	}
	plan = plan_of(STD, -1);
	is_int(judge_failure(&shared_cache, &plan, &req, &m, (T0 + 1) * 1000), OUTCOME_RELAY, "4.4: nor does it stand in, by Standard");

	/* A response stored for a request with credentials, then freshened by a 304 that withdraws public. */
	m = stored_of(&a, "Authorization: y", 200, "Cache-Control: max-age=60");
	is_judged(judge_stored(&shared_cache, &plan, &req, &m, (T0 + 1) * 1000, false), VERDICT_FETCH, REASON_upstream_served, "3.5: made for somebody else");

	j = judge_stored(&shared_cache, &plan, &req, (m = stored_of(&a, "", 200, "Cache-Control: max-age=60\nAge: 5"), &m), (T0 + 10) * 1000, false);
	ok(j.age_s == 15 && j.lifetime_s == 60 && j.forward == FORWARD_none, "the judgement has age and lifetime");
	j = judge_stored(&shared_cache, &plan, &req, &m, (T0 + 100) * 1000, false);
	is_str(str_c(forward_name(j.forward)), STR("stale"), "RFC 9211: fwd=stale");
	req = request_of(&a, METHOD_GET, "http://h/p?q", "Cache-Control: no-cache");
	j = judge_stored(&shared_cache, &plan, &req, &m, (T0 + 10) * 1000, false);
	is_str(str_c(forward_name(j.forward)), STR("request"), "RFC 9211: fwd=request");

	/* what a hit costs */
	m = stored_of(&a, "", 200, "Date: @0\nServer: x\nContent-Type: application/octet-stream\nContent-Length: 1024\nLast-Modified: @-1000\nETag: \"abc\"\n"
	              "Accept-Ranges: bytes\nCache-Control: public, max-age=3600\nVary: Accept-Encoding\nX-Served-By: a\nX-Timer: b\nStrict-Transport-Security: max-age=1");
	m.vary_request = STR("accept-encoding=gzip, deflate, br");
	req = request_of(&a, METHOD_GET, "http://h/p?q", "Host: h\nUser-Agent: curl/8\nAccept: */*\nAccept-Encoding: gzip, deflate, br\nConnection: keep-alive");
	enum { TIMES = 1000000 };
	unsigned hits = 0;
	int64_t start = clock_mono();
	for (unsigned i = 0; i < TIMES; i++)
		hits += judge_request(&plan, &req).verdict == VERDICT_FETCH && judge_stored(&shared_cache, &plan, &req, &m, (T0 + 10) * 1000, false).verdict == VERDICT_HIT;
	note("judge_request and judge_stored of a hit: %lld ns", (long long)(clock_mono() - start) * 1000000 / TIMES);
	is_int(hits, TIMES, "the hit is one");
	arena_fini(&a);
	return done_testing();
}
