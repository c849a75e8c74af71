/* What an origin's answer is worth: RFC 9111 3 (storing), 3.2 and 4.3 (validation, freshening), 4.4 (invalidation).
 * Rows with an id in brackets are tests of the public suite. */
#include "tap.h"
#include "policy_heads.h"

static struct arena a;

#define STD POLICY_Standard
#define SIE POLICY_StaleIfError
#define NOR POLICY_NoRefresh
#define ALW POLICY_AlwaysUpstream
#define NOC POLICY_NoCache
#define EACH(table) for (unsigned i = 0; i < sizeof(table) / sizeof(*table); i++)

static const struct { enum http_method method; enum policy policy; const char *request; int status; const char *fields; bool store; const char *why; } storing[] = {
	{ METHOD_GET, STD, "", 200, "Cache-Control: max-age=60", true, "3: explicit freshness" },
	{ METHOD_GET, STD, "", 200, "", true, "3: a heuristically cacheable status; it may yet be validated or stand in" },
	{ METHOD_GET, STD, "", 200, "Cache-Control: no-cache", true, "5.2.2.4: no-cache is stored" },
	{ METHOD_GET, STD, "", 200, "Cache-Control: no-store", false, "5.2.2.5" },
	{ METHOD_GET, STD, "", 200, "Cache-Control: No-StOrE", false, "5.2.2.5 [cc-resp-no-store-case-insensitive]" },
	{ METHOD_GET, NOR, "", 200, "Cache-Control: max-age=10000, no-store\nExpires: @10000", false, "5.2.2.5: whatever the policy" },
	{ METHOD_GET, STD, "", 200, "Cache-Control: private, max-age=3600", false, "5.2.2.7 [cc-resp-private-shared]" },
	{ METHOD_GET, STD, "", 200, "Cache-Control: private=\"a\", max-age=3600", true, "5.2.2.7: a list hides only its fields" },
	{ METHOD_GET, STD, "", 200, "Cache-Control: max-age=3600, no-store, must-understand", true, "5.2.2.3 [status-200-must-understand]" },
	{ METHOD_GET, STD, "", 599, "Cache-Control: max-age=3600, no-store, must-understand", false, "5.2.2.3 [status-599-must-understand]" },
	{ METHOD_GET, STD, "Cache-Control: no-store", 200, "Cache-Control: max-age=60", false, "5.2.1.5: the request's no-store" },
	{ METHOD_GET, NOR, "Cache-Control: no-store", 200, "Cache-Control: max-age=60", false, "5.2.1.5: it forbids storing, whatever the policy" },
	{ METHOD_GET, NOC, "", 200, "Cache-Control: max-age=60", false, "NoCache" },
	{ METHOD_GET, ALW, "", 200, "Cache-Control: max-age=60", true, "AlwaysUpstream: its answer is the fallback" },
	{ METHOD_GET, STD, "Authorization: x", 200, "Cache-Control: max-age=60", false, "3.5 [other-authorization]" },
	{ METHOD_GET, NOR, "Authorization: x", 200, "", false, "3.5: whatever the policy" },
	{ METHOD_GET, STD, "Authorization: x", 200, "Cache-Control: max-age=60, public", true, "3.5 [other-authorization-public]" },
	{ METHOD_GET, STD, "Authorization: x", 200, "Cache-Control: max-age=60, must-revalidate", true, "3.5 [other-authorization-must-revalidate]" },
	{ METHOD_GET, STD, "Authorization: x", 200, "Cache-Control: s-maxage=60", true, "3.5 [other-authorization-smaxage]" },
	{ METHOD_GET, STD, "Authorization: x", 200, "Cache-Control: s-maxage=a", false, "3.5: unreadable says nothing" },
	{ METHOD_GET, STD, "", 200, "Cache-Control: max-age=60\nSet-Cookie: a=b", true, "[other-set-cookie]" },
	{ METHOD_GET, STD, "", 200, "Set-Cookie: a=b\nLast-Modified: @-1000", false, "a cookie without a word on caching is one client's" },
	{ METHOD_GET, NOR, "", 200, "Set-Cookie: a=b", false, "whatever the policy" },
	{ METHOD_GET, STD, "", 200, "Cache-Control: max-age=60\nVary: *", false, "4.1: it would never match" },
	{ METHOD_GET, STD, "", 200, "Cache-Control: max-age=60\nVary:\nVary: a, *", false, "4.1: on any line" },
	{ METHOD_GET, STD, "", 299, "Cache-Control: max-age=60", true, "3 [status-299-fresh]: an unknown status" },
	{ METHOD_GET, STD, "", 201, "Last-Modified: @-1000", false, "RFC 9110 15.1 [heuristic-201-not_cached]" },
	{ METHOD_GET, STD, "", 202, "Last-Modified: @-1000", false, "[heuristic-202-not_cached]" },
	{ METHOD_GET, STD, "", 203, "Last-Modified: @-1000", true, "[heuristic-203-cached]" },
	{ METHOD_GET, STD, "", 204, "Last-Modified: @-1000", true, "[heuristic-204-cached]" },
	{ METHOD_GET, STD, "", 206, "Cache-Control: max-age=60\nContent-Range: bytes 0-1/5", false, "a part is not the whole" },
	{ METHOD_GET, STD, "", 304, "Cache-Control: max-age=60", false, "a stray 304" },
	{ METHOD_GET, STD, "", 301, "", true, "15.1: 301" },
	{ METHOD_GET, STD, "", 302, "", false, "15.1: 302 says nothing" },
	{ METHOD_GET, STD, "", 302, "Cache-Control: max-age=60", true, "[status-302-fresh]" },
	{ METHOD_GET, SIE, "", 302, "", true, "StaleIfError: as a fallback" },
	{ METHOD_GET, ALW, "", 307, "", true, "AlwaysUpstream: as a fallback" },
	{ METHOD_GET, NOR, "", 302, "", false, "NoRefresh would keep it for ever" },
	{ METHOD_GET, STD, "", 404, "Cache-Control: max-age=60", true, "[status-404-fresh]" },
	{ METHOD_GET, STD, "", 404, "Last-Modified: @-1000\nDate: @0", true, "[heuristic-404-cached]" },
	{ METHOD_GET, STD, "", 404, "", false, "an error without freshness pushes out nothing" },
	{ METHOD_GET, STD, "", 404, "Expires: @-5000\nLast-Modified: @-100000\nDate: @0", false, "[status-404-stale]" },
	{ METHOD_GET, STD, "", 404, "Cache-Control: max-age=60\nAge: 61", false, "nor one that comes old" },
	{ METHOD_GET, ALW, "", 404, "Cache-Control: max-age=60", false, "an error is no fallback" },
	{ METHOD_GET, STD, "", 500, "Cache-Control: max-age=60", true, "[status-500-fresh]" },
	{ METHOD_GET, STD, "", 599, "Cache-Control: max-age=60", true, "[status-599-fresh]" },
	{ METHOD_GET, STD, "", 300, "Last-Modified: @-1000", true, "15.1: 300 [heuristic-300-cached]" },
	{ METHOD_GET, STD, "", 308, "Last-Modified: @-1000", true, "15.1: 308 [heuristic-308-cached]" },
	{ METHOD_GET, STD, "", 405, "Last-Modified: @-1000\nDate: @0", true, "15.1: negative caching, 405 [heuristic-405-cached]" },
	{ METHOD_GET, STD, "", 410, "Last-Modified: @-1000\nDate: @0", true, "15.1: 410 [heuristic-410-cached]" },
	{ METHOD_GET, STD, "", 414, "Last-Modified: @-1000\nDate: @0", true, "15.1: 414 [heuristic-414-cached]" },
	{ METHOD_GET, STD, "", 501, "Last-Modified: @-1000\nDate: @0", true, "15.1: 501 [heuristic-501-cached]" },
	{ METHOD_GET, STD, "", 403, "Last-Modified: @-1000\nDate: @0", false, "15.1: and no others: 403 [heuristic-403-not_cached]" },
	{ METHOD_GET, STD, "", 403, "Cache-Control: max-age=60", true, "3: but by an explicit lifetime" },
	{ METHOD_GET, STD, "", 403, "Expires: @60\nDate: @0", true, "3: Expires is one" },
	{ METHOD_GET, STD, "", 302, "Expires: @60\nDate: @0", true, "3: of a 302 too" },
	{ METHOD_GET, STD, "", 201, "Cache-Control: public\nLast-Modified: @-1000", true, "5.2.2.9: public makes any status cacheable" },
	{ METHOD_GET, STD, "", 103, "Cache-Control: max-age=60", false, "3: the status code is final" },
	{ METHOD_GET, STD, "", 412, "Cache-Control: max-age=60", false, "an answer to this client's condition" },
	{ METHOD_GET, STD, "", 200, "Cache-Control: max-age=60, no-transform, stale-while-revalidate=1, x=y", true, "5.2.3: what concerns us not, or is not known, changes nothing" },
	{ METHOD_GET, STD, "Cookie: a=b", 200, "Cache-Control: max-age=60", true, "a request's cookie, and an origin that says for how long" },
	{ METHOD_GET, STD, "", 503, "Last-Modified: @-1000", false, "[heuristic-503-not_cached]" },
	{ METHOD_GET, STD, "", 599, "Last-Modified: @-86400\nDate: @0\nCache-Control: public", true, "[heuristic-599-cached]" },
	{ METHOD_GET, STD, "", 416, "Cache-Control: max-age=60", false, "an answer to this client's range" },
	{ METHOD_HEAD, STD, "", 200, "Cache-Control: max-age=60", false, "a HEAD has no body to store" },
	{ METHOD_POST, STD, "Content-Length: 5", 200, "Cache-Control: max-age=60\nContent-Location: http://h/p?q", true, "RFC 9110 9.3.3 [method-POST]" },
	{ METHOD_POST, STD, "Content-Length: 5", 200, "Cache-Control: max-age=60\nContent-Location: /p?q", true, "9.3.3: the path alone" },
	{ METHOD_POST, STD, "Content-Length: 5", 200, "Cache-Control: max-age=60\nContent-Location: /other", false, "9.3.3: another resource" },
	{ METHOD_POST, STD, "Content-Length: 5", 200, "Cache-Control: max-age=60", false, "9.3.3: it must say so" },
	{ METHOD_POST, STD, "Content-Length: 5", 200, "Content-Location: /p?q\nLast-Modified: @-1000", false, "9.3.3: explicit freshness" },
	{ METHOD_PUT, STD, "", 200, "Cache-Control: max-age=60\nContent-Location: /p?q", false, "PUT" },
	{ METHOD_OTHER, STD, "", 200, "Cache-Control: max-age=60", false, "a method that we do not know" },
	{ METHOD_GET, STD, "Content-Length: 5", 200, "Cache-Control: max-age=60", false, "a GET with content" },
};

/* With something stored (200 unless said): what then? */
static const struct { enum http_method method; enum policy policy; int stored_status; const char *stored; int status; const char *fields; enum outcome out; const char *why; } renewing[] = {
	{ METHOD_GET, STD, 200, "ETag: \"a\"", 304, "ETag: \"a\"", OUTCOME_FRESHEN, "4.3.4: the same validator" },
	{ METHOD_GET, STD, 200, "ETag: \"a\"", 304, "", OUTCOME_FRESHEN, "4.3.4: no validator, one candidate" },
	{ METHOD_GET, STD, 200, "ETag: \"a\"", 304, "ETag: W/\"a\"", OUTCOME_FRESHEN, "4.3.4: weakened by a front end" },
	{ METHOD_GET, STD, 200, "ETag: \"a\"", 304, "ETag: \"b\"", OUTCOME_REFETCH, "4.3.4: another representation's: MUST NOT update" },
	{ METHOD_GET, STD, 200, "Last-Modified: @-100", 304, "ETag: \"b\"", OUTCOME_FRESHEN, "4.3.4: what is stored has none to differ" },
	{ METHOD_GET, STD, 200, "ETag: \"a\"", 200, "ETag: \"b\"", OUTCOME_STORE, "4.3.3: a full answer replaces" },
	{ METHOD_GET, STD, 200, "ETag: \"a\"", 200, "Cache-Control: no-store", OUTCOME_RELAY, "4.3.3: unless it may not be stored" },
	{ METHOD_GET, STD, 200, "Cache-Control: must-revalidate", 503, "", OUTCOME_RELAY, "4.3.3: the error, when stale is forbidden" },
	{ METHOD_GET, STD, 200, "Cache-Control: must-revalidate", 503, "Cache-Control: max-age=9", OUTCOME_RELAY, "an error does not push out a good answer" },
	{ METHOD_GET, STD, 404, "Cache-Control: max-age=1", 404, "Cache-Control: max-age=9", OUTCOME_STORE, "but another error" },
	{ METHOD_GET, STD, 200, "", 404, "Cache-Control: max-age=9", OUTCOME_STORE, "a 404 is news" },
	{ METHOD_GET, SIE, 200, "", 404, "Cache-Control: max-age=9", OUTCOME_SERVE_STALE, "2.4: but not to StaleIfError" },
	{ METHOD_HEAD, STD, 200, "ETag: \"a\"", 200, "ETag: \"a\"", OUTCOME_FRESHEN, "4.3.5 [head-200-update]" },
	{ METHOD_HEAD, STD, 200, "", 200, "Cache-Control: max-age=1000", OUTCOME_FRESHEN, "4.3.5 [head-200-freshness-update]: nothing differs" },
	{ METHOD_HEAD, STD, 200, "ETag: \"a\"", 200, "ETag: \"b\"", OUTCOME_INVALIDATE, "4.3.5: it has changed" },
	{ METHOD_HEAD, STD, 200, "Last-Modified: @-5", 200, "Last-Modified: @-4", OUTCOME_INVALIDATE, "4.3.5: it has changed" },
	{ METHOD_HEAD, STD, 200, "ETag: \"a\"", 200, "ETag: \"a\"\nContent-Length: 11", OUTCOME_INVALIDATE, "4.3.5: its length has" },
	{ METHOD_HEAD, STD, 200, "ETag: \"a\"", 200, "ETag: \"a\"\nContent-Length: 10", OUTCOME_FRESHEN, "4.3.5: its length has not" },
	{ METHOD_HEAD, STD, 200, "ETag: \"a\"", 410, "Cache-Control: max-age=10", OUTCOME_RELAY, "4.3.5 speaks of a 200" },
	{ METHOD_HEAD, STD, 200, "ETag: \"a\"", 503, "", OUTCOME_SERVE_STALE, "4.3.3 holds for HEAD" },
};

static const struct { const char *method; int status; const char *fields; bool yes; unsigned also; const char *why; } invalidating[] = {
	{ "POST", 200, "", true, 0, "4.4 [invalidate-POST]" },
	{ "PUT", 204, "", true, 0, "4.4 [invalidate-PUT]" },
	{ "DELETE", 302, "", true, 0, "4.4 [invalidate-DELETE]: 3xx is no error" },
	{ "M-SEARCH", 200, "", true, 0, "4.4 [invalidate-M-SEARCH]: unknown safety" },
	{ "POST", 500, "", false, 0, "4.4 [invalidate-POST-failed]" },
	{ "PUT", 404, "", false, 0, "4.4: an error" },
	{ "GET", 200, "", false, 0, "4.4: safe" },
	{ "OPTIONS", 200, "", false, 0, "4.4: safe" },
	{ "POST", 201, "Location: new\nContent-Location: /x?y", true, 2, "4.4 [invalidate-POST-location, -cl]" },
	{ "POST", 201, "Location: http://other/x\nContent-Location: https://h/x", true, 0, "4.4: only of the same origin" },
	{ "POST", 201, "Location: http://h:8080/x\nContent-Location: HTTP://H:80/y", true, 1, "4.4: the origin is scheme, host and port" },
	{ "HEAD", 200, "Location: /x", false, 0, "4.4: safe" },
	{ "TRACE", 200, "", false, 0, "4.4: safe" },
	{ "PATCH", 201, "", true, 0, "4.4: PATCH, of which we know no more" },
	{ "POST", 304, "", true, 0, "4.4: non-error is 2xx and 3xx" },
	{ "POST", 201, "Location: http://", true, 0, "4.4: what cannot be read names nothing" },
};

int
main(void)
{
	struct http_request req;
	struct http_response resp;
	struct meta m;
	struct plan plan = { .policy = STD, .forced_swr_s = -1 };
	arena_init(&a);

	EACH(storing) {
		plan.policy = storing[i].policy;
		req = request_of(&a, storing[i].method, "http://h/p?q", storing[i].request);
		resp = response_of(&a, storing[i].status, storing[i].fields);
		is_int(judge_response(&shared_cache, &plan, &req, NULL, &resp, T0 * 1000), storing[i].store ? OUTCOME_STORE : OUTCOME_RELAY,
		       "store: %s (%d, %s)", storing[i].why, storing[i].status, policy_name(plan.policy));
	}
	EACH(renewing) {
		plan.policy = renewing[i].policy;
		req = request_of(&a, renewing[i].method, "http://h/p?q", "");
		m = stored_of(&a, "", renewing[i].stored_status, renewing[i].stored);
		m.content_size = 10;
		resp = response_of(&a, renewing[i].status, renewing[i].fields);
		is_int(judge_response(&shared_cache, &plan, &req, &m, &resp, (T0 + 100) * 1000), renewing[i].out, "renew: %s", renewing[i].why);
	}
	EACH(invalidating) {
		struct url also[2];
		unsigned n;
		req = request_of(&a, http_method(str_c(invalidating[i].method)), "http://h/p/q", "");
		resp = response_of(&a, invalidating[i].status, invalidating[i].fields);
		is_int(judge_invalidates(&req, &resp, &a, also, &n), invalidating[i].yes, "%s", invalidating[i].why);
		is_int(n, invalidating[i].also, "… and so many more");
		if (n == 2) {
			is_str(also[0].text, STR("http://h/p/new"), "… relative to it");
			is_str(also[1].text, STR("http://h/x?y"), "… the other");
		}
	}

	/* judge_meta: RFC 9111 3.1 */
	plan.policy = STD;
	req = request_of(&a, METHOD_GET, "http://h/p/a.tar.gz?q", "Accept-Encoding: gzip\nAuthorization: x");
	resp = response_of(&a, 200, "Date: @-3\nAge: 7\nConnection: x-hop\nX-Hop: 1\nKeep-Alive: 5\nTransfer-Encoding: chunked\nVary: Accept-Encoding\nVary: Foo\n"
	                   "Cache-Control: public, no-cache=\"x-list\"\nX-List: 1\nSet-Cookie: a=b\nContent-Type: text/plain");
	judge_meta(&shared_cache, &plan, &req, &resp, T0 * 1000 - 500, T0 * 1000, &a, &m);
	ok(!headers_has(&m.headers, STR("x-hop")) && !headers_has(&m.headers, STR("connection")) && !headers_has(&m.headers, STR("keep-alive")) &&
	   !headers_has(&m.headers, STR("transfer-encoding")), "3.1: hop-by-hop fields and those that Connection names are not stored");
	ok(!headers_has(&m.headers, STR("age")) && m.age_value == 7, "4.2.3: Age goes into the arithmetic");
	ok(!headers_has(&m.headers, STR("x-list")), "5.2.2.4: the listed field is not stored");
	ok(headers_has(&m.headers, STR("set-cookie")) && headers_has(&m.headers, STR("content-type")) && headers_has(&m.headers, STR("date")), "3.1: all others are");
	is_str(m.vary, STR("Accept-Encoding, Foo"), "4.1: Vary over all its lines");
	is_str(m.vary_request, STR("accept-encoding=gzip|foo="), "4.1: and what selected it");
	is_str(m.url, STR("http://h/p/a.tar.gz?q"), "4.5: url");
	is_str(m.extension, STR(".gz"), "4.5: extension");
	ok(m.status == 200 && m.request_time == T0 * 1000 - 500 && m.response_time == T0 * 1000 && m.stored_at == T0 * 1000 && m.date == T0 - 3, "4.2.3: times");
	is_int(m.flags, META_AUTHORIZED, "flags");
	ok(headers_has(&resp.headers, STR("x-hop")) && headers_has(&resp.headers, STR("age")), "the response itself is left alone");
	m = stored_of(&a, "", 200, "Cache-Control: no-cache");
	is_int(m.flags, META_MUST_REVALIDATE_ALWAYS, "flag of no-cache");
	is_int(httpdate_parse(headers_get(&m.headers, STR("date")), T0), T0, "RFC 9110 6.6.1: what is stored has a Date");

	/* judge_freshen: RFC 9111 3.2, 4.3.4 */
	m = stored_of(&a, "", 200, "Date: @-50\nAge: 9\nETag: \"a\"\nContent-Length: 36\nContent-Encoding: gzip\nContent-Type: text/plain\nX-Two: 1\nX-Two: 2\nTest-Header: A\n"
	              "Cache-Control: max-age=1\nX-Stay: s");
	m.flags |= META_INVALIDATED;
	resp = response_of(&a, 304, "ETag: \"a\"\nContent-Length: 10\nContent-Encoding: br\nContent-Range: bytes 0-1/2\nContent-Type: text/plain;charset=utf-8\nX-Two: 3\n"
	                   "Test-Header: B\nTest-Header: C\nCache-Control: max-age=3600\nAge: 2\nConnection: x-hop\nX-Hop: 1\nDate: @99");
	for (int status = 200; status <= 206; status += 6) {
		struct meta part = stored_of(&a, "", status, "ETag: \"a\"\nContent-Range: bytes 2-3/4");
		judge_freshen(&shared_cache, &part, &resp, (T0 + 100) * 1000, (T0 + 100) * 1000, &a);
		is_str(headers_get(&part.headers, STR("content-range")), status == 206 ? STR("bytes 2-3/4") : STR("bytes 0-1/2"),
		       "3.2: the range of a stored %d %s", status, status == 206 ? "says which bytes these are" : "is a field as any other [304-etag-update-response-Content-Range]");
	}
	judge_freshen(&shared_cache, &m, &resp, (T0 + 100) * 1000, (T0 + 100) * 1000, &a);
	static const struct { struct str name, want; const char *why; } after[] = {
		{ STR("content-length"), STR("36"), "3.2 [304-etag-update-response-Content-Length]: the bytes are the old ones" },
		{ STR("content-encoding"), STR("gzip"), "3.2: and their coding" },
		{ STR("content-range"), STR(""), "3.2: no range comes with a 304" },
		{ STR("content-type"), STR("text/plain;charset=utf-8"), "3.2: all else is renewed" },
		{ STR("x-two"), STR("3"), "3.2: a field replaces all of its name" },
		{ STR("test-header"), STR("B, C"), "3.2 [304-etag-update-response-Test-Header]: with all its lines" },
		{ STR("cache-control"), STR("max-age=3600"), "3.2 [304-etag-update-response-Cache-Control]" },
		{ STR("x-stay"), STR("s"), "3.2 [304-lm-use-stored-Test-Header]: what it omits stays" },
		{ STR("x-hop"), STR(""), "3.1: hop-by-hop fields of a 304 neither" },
		{ STR("age"), STR(""), "4.2.3: nor its Age" },
	};
	EACH(after)
		is_str(headers_joined(&m.headers, after[i].name, &a), after[i].want, "%s", after[i].why);
	is_int(judge_age(&m, (T0 + 110) * 1000), 12, "4.3.4: its age is that of the 304");
	is_int(m.flags, 0, "4.4: validated is no longer invalidated");
	resp = response_of(&a, 304, "Set-Cookie: mine=1");
	judge_freshen(&shared_cache, &m, &resp, (T0 + 150) * 1000, (T0 + 150) * 1000, &a);
	ok(!headers_has(&m.headers, STR("set-cookie")), "a 304's cookie is not shared with all who come after");
	headers_add(&m.headers, STR("Set-Cookie"), STR("a=b"));
	resp = response_of(&a, 304, "Set-Cookie: a=c");
	judge_freshen(&shared_cache, &m, &resp, (T0 + 150) * 1000, (T0 + 150) * 1000, &a);
	is_str(headers_joined(&m.headers, STR("set-cookie"), &a), STR("a=c"), "[304-etag-update-response-Set-Cookie]: but renewed where one was stored");
	resp = response_of(&a, 304, "Cache-Control: no-cache");
	judge_freshen(&shared_cache, &m, &resp, (T0 + 200) * 1000, (T0 + 200) * 1000, &a);
	is_int(m.flags, META_MUST_REVALIDATE_ALWAYS, "5.2.2.4: by a 304 too");
	is_int(judge_age(&m, (T0 + 200) * 1000), 0, "a 304 without Date or Age is new all the same");

	/* judge_conditional: RFC 9111 4.3.1 */
	struct headers h;
	m = stored_of(&a, "", 200, "ETag: W/\"abc\"\nLast-Modified: @-9");
	heads(&h, &a, "If-None-Match: \"client\"\nIf-Modified-Since: @0\nIf-Range: \"x\"\nRange: bytes=0-1\nIf-Match: *\nIf-Unmodified-Since: @0\nAbc: 123\nAuthorization: y");
	judge_conditional(&m, &h);
	is_str(headers_joined(&h, STR("if-none-match"), &a), STR("W/\"abc\""), "4.3.1 [conditional-etag-weak-generate-weak]");
	is_str(headers_joined(&h, STR("if-modified-since"), &a), headers_get(&m.headers, STR("last-modified")), "4.3.1: both validators");
	is_int(h.n, 4, "4.3.1: the client's own conditions and range go, the rest stays [conditional-etag-vary-headers]");
	heads(&h, &a, "If-None-Match: \"client\"\nRange: bytes=0-1\nAbc: 123");
	judge_conditional(NULL, &h);
	is_int(h.n, 1, "nothing stored: a plain request for the whole");
	m = stored_of(&a, "", 200, "ETag: abcdef");
	heads(&h, &a, "");
	judge_conditional(&m, &h);
	is_str(headers_get(&h, STR("if-none-match")), STR("\"abcdef\""), "RFC 9110 8.8.3 [conditional-etag-strong-generate-unquoted]");
	is_int(h.n, 1, "and nothing that is not known");
	arena_fini(&a);
	return done_testing();
}
