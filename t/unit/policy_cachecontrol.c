/* Cache-Control, age and lifetime: RFC 9111 4.2, 5.1 to 5.3. Rows with an id in brackets are tests of the public suite. */
#include "tap.h"
#include "../../policy/freshness.h"
#include "policy_heads.h"

static struct arena a;

static const struct { const char *value; unsigned bits; int64_t max_age; const char *why; } parse[] = {
	{ "", CC_PRESENT, -1, "an empty field" },
	{ "max-age=60", CC_PRESENT, 60, "RFC 9111 5.2.2.1" },
	{ "MaX-aGe=60, NO-store", CC_PRESENT | CC_NO_STORE, 60, "5.2: names in any case" },
	{ "foobar, max-age=3600", CC_PRESENT, 3600, "5.2.3: unknown directives are ignored" },
	{ "max-age=\"3600\"", CC_PRESENT, 3600, "5.2: a quoted form of a token" },
	{ "max-age='3600'", CC_PRESENT, CC_INVALID, "single quotes quote nothing" },
	{ "extension=\"max-age=3600\", max-age=1", CC_PRESENT, 1, "[freshness-max-age-ignore-quoted]" },
	{ "max-age=1, extension=\"max-age=3600\"", CC_PRESENT, 1, "[freshness-max-age-ignore-quoted-rev]" },
	{ "x=\"no-store, private\", max-age=5", CC_PRESENT, 5, "a comma in quotes divides nothing" },
	{ "x=\"\\\", no-store\", max-age=5", CC_PRESENT, 5, "nor does an escaped quote end them" },
	{ "max-age=1800, max-age=1", CC_PRESENT, 1800, "4.2.1: the first of two" },
	{ "max-age=1, max-age=1800", CC_PRESENT, 1, "4.2.1: the first of two" },
	{ "max-age =3600", CC_PRESENT, -1, "[freshness-max-age-space-before-equals]: another directive" },
	{ "max-age= 3600", CC_PRESENT, CC_INVALID, "[freshness-max-age-space-after-equals]" },
	{ "max-age=003600", CC_PRESENT, 3600, "[freshness-max-age-leading-zero]" },
	{ "max-age=3600.0", CC_PRESENT, CC_INVALID, "1.2.2: digits only" },
	{ "max-age=-1", CC_PRESENT, CC_INVALID, "1.2.2: no sign" },
	{ "max-age=a3600", CC_PRESENT, CC_INVALID, "no number" },
	{ "max-age", CC_PRESENT, CC_INVALID, "behaviour.md 5.1: a bare max-age is no second" },
	{ "max-age=99999999999", CC_PRESENT, DELTA_MAX, "1.2.2: clamped" },
	{ "max-age=99999999999999999999999999", CC_PRESENT, DELTA_MAX, "1.2.2: clamped without overflow" },
	{ "private=\"a, b\", no-cache=\"c\", max-age=1", CC_PRESENT | CC_PRIVATE_FIELDS | CC_NO_CACHE_FIELDS, 1, "5.2.2.4, 5.2.2.7: field lists" },
	{ "private=a", CC_PRESENT | CC_PRIVATE_FIELDS, -1, "a list of one as a token" },
	{ "private=\"\"", CC_PRESENT | CC_PRIVATE, -1, "an empty list is no list: the careful reading" },
	{ "no-cache=\"a b\"", CC_PRESENT | CC_NO_CACHE, -1, "nor is one that is no list of names" },
	{ "private, public, must-revalidate, proxy-revalidate, must-understand, immutable, only-if-cached, max-stale",
	  CC_PRESENT | CC_PRIVATE | CC_PUBLIC | CC_MUST_REVALIDATE | CC_PROXY_REVALIDATE | CC_MUST_UNDERSTAND | CC_IMMUTABLE | CC_ONLY_IF_CACHED | CC_MAX_STALE_ANY,
	  -1, "all the words" },
};

static const struct { int status; const char *fields; int64_t lifetime; const char *why; } lifetimes[] = {
	{ 200, "", -1, "[freshness-none]: nothing is said and nothing can be guessed" },
	{ 200, "Cache-Control: max-age=1, s-maxage=3600\nExpires: @-10", 3600, "4.2.1: s-maxage first, in a shared cache" },
	{ 200, "Cache-Control: max-age=3600\nCache-Control: s-maxage=1", 1, "also when it is shorter" },
	{ 200, "Cache-Control: s-maxage=x, max-age=9", 0, "4.2.1: unreadable counts as stale" },
	{ 200, "Cache-Control: max-age=3600\nExpires: @-7200", 3600, "5.3: max-age before Expires" },
	{ 200, "Cache-Control: max-age=0\nExpires: @7200\nDate: @0", 0, "[freshness-max-age-0-expires]" },
	{ 200, "Cache-Control: max-age=-3600\nExpires: @60", 0, "[freshness-max-age-negative]" },
	{ 200, "Expires: @60\nDate: @0", 60, "4.2.1: Expires minus Date" },
	{ 200, "Expires: @300\nDate: @400", 0, "[freshness-expires-old-date]" },
	{ 200, "Expires: @0\nDate: @0", 0, "[freshness-expires-present]" },
	{ 200, "Expires: 0\nLast-Modified: @-100000", 0, "5.3: an invalid date is the past, and nothing is guessed" },
	{ 200, "Expires: Thu, 18 Aug 2050 02:01:18 UTC\nDate: @0", 0, "[freshness-expires-invalid-utc]" },
	{ 200, "Expires: Thu, 18 Aug 2050 2:01:18 GMT\nExpires: Thu, 18 Aug 2050 2:01:19 GMT\nDate: @0", 0, "[freshness-expires-invalid-multiple-lines]" },
	{ 200, "Expires: @10\nDate: foo", 10, "[freshness-expires-invalid-date]: it then arrived at its Date" },
	{ 200, "Expires: @10", 10, "RFC 9110 6.6.1: no Date, the same" },
	{ 200, "Last-Modified: @-1000\nDate: @0", 100, "4.2.2: ten per cent" },
	{ 200, "Last-Modified: @-100000000\nDate: @0", 86400, "4.2.2: at most a day" },
	{ 200, "Last-Modified: @10\nDate: @0", 0, "4.2.2: never negative" },
	{ 200, "Last-Modified: yesterday\nDate: @0", -1, "an invalid Last-Modified says nothing" },
	{ 200, "Last-Modified: @-1000\nDate: @0\nSet-Cookie: a=b", -1, "what sets a cookie is not guessed at" },
	{ 200, "Cache-Control: max-age=5\nSet-Cookie: a=b", 5, "[other-set-cookie]: what is said holds" },
	{ 404, "Last-Modified: @-1000\nDate: @0", 100, "[heuristic-404-cached]" },
	{ 201, "Last-Modified: @-1000\nDate: @0", -1, "[heuristic-201-not_cached]" },
	{ 503, "Last-Modified: @-1000\nDate: @0", -1, "[heuristic-503-not_cached]" },
	{ 599, "Last-Modified: @-1000\nDate: @0\nCache-Control: public", 100, "[heuristic-599-cached]: public allows it" },
	{ 200, "Pragma: no-cache\nCache-Control: max-age=7", 7, "5.4: Pragma in a response means nothing" },
};

static const struct { const char *fields; int64_t request_ms, response_ms, now_ms, age; const char *why; } ages[] = {
	{ "Date: @0", 0, 0, 0, 0, "4.2.3: just made" },
	{ "Date: @0", 0, 0, 61500, 61, "4.2.3: resident time, whole seconds" },
	{ "Date: @0\nAge: 30", 0, 0, 10000, 40, "4.2.3: Age and resident time" },
	{ "Date: @0\nAge: 30", 0, 5000, 5000, 35, "4.2.3: response delay counts, the origin may have sent at once" },
	{ "Date: @-7200", 0, 0, 0, 7200, "4.2.3: apparent age [freshness-max-age-date]" },
	{ "Date: @7200\nAge: 15", 0, 0, 1000, 16, "4.2.3: a fast clock makes nothing young" },
	{ "Date: @-10\nAge: 25", 0, 0, 0, 25, "4.2.3: the larger counts" },
	{ "", 0, 0, 3000, 3, "no Date: it was made when it arrived" },
	{ "Date: @0", 0, 0, -5000, 0, "a clock set back: never negative" },
	{ "Date: @0\nAge: abc", 0, 0, 0, 0, "[age-parse-nonnumeric]" },
	{ "Date: @0\nAge: -7200", 0, 0, 0, 0, "[age-parse-negative]" },
	{ "Date: @0\nAge: 7200.0", 0, 0, 0, 0, "[age-parse-float]" },
	{ "Date: @0\nAge: 2147483649", 0, 0, 0, 2147483648, "[age-parse-larger]" },
	{ "Date: @0\nAge: 7200, 0", 0, 0, 0, 7200, "[age-parse-suffix]: the first member" },
	{ "Date: @0\nAge: 0, 7200", 0, 0, 0, 0, "[age-parse-prefix]" },
	{ "Date: @0\nAge: 7200\nAge: 0", 0, 0, 0, 7200, "[age-parse-suffix-twoline]: the first line" },
	{ "Date: @0\nAge: 0\nAge: 7200", 0, 0, 0, 0, "[age-parse-prefix-twoline]" },
	{ "Date: @0\nAge: 7200;foo=bar", 0, 0, 0, 0, "5.1: what is no number is ignored" },
};

int
main(void)
{
	arena_init(&a);
	for (unsigned i = 0; i < sizeof(parse) / sizeof(*parse); i++) {
		struct cache_control cc;
		cc_init(&cc);
		cc_add(&cc, str_c(parse[i].value));
		is_int(cc.bits, parse[i].bits, "%s: %s", parse[i].why, parse[i].value);
		is_int(cc.max_age, parse[i].max_age, "and its max-age");
	}
	struct cache_control cc;
	cc_init(&cc);
	cc_add(&cc, STR("s-maxage=1, stale-while-revalidate=2, stale-if-error=3, max-stale=4, min-fresh=5"));
	ok(cc.s_maxage == 1 && cc.stale_while_revalidate == 2 && cc.stale_if_error == 3 && cc.max_stale == 4 && cc.min_fresh == 5,
	   "all the numbers");

	for (unsigned i = 0; i < sizeof(lifetimes) / sizeof(*lifetimes); i++) {
		struct meta m = stored_of(&a, "", lifetimes[i].status, lifetimes[i].fields);
		is_int(judge_lifetime(&shared_cache, NULL, &m), lifetimes[i].lifetime, "%s (%d)", lifetimes[i].why, lifetimes[i].status);
	}
	struct judge_options mine = { 10, 86400, false, false };
	struct meta m = stored_of(&a, "", 200, "Cache-Control: max-age=1, s-maxage=3600");
	is_int(judge_lifetime(&mine, NULL, &m), 1, "5.2.2.10: s-maxage is for shared caches");

	for (unsigned i = 0; i < sizeof(ages) / sizeof(*ages); i++) {
		struct http_request req = request_of(&a, METHOD_GET, "http://h/", "");
		struct http_response resp = response_of(&a, 200, ages[i].fields);
		struct plan plan = { .policy = POLICY_Standard };
		judge_meta(&shared_cache, &plan, &req, &resp, T0 * 1000 + ages[i].request_ms, T0 * 1000 + ages[i].response_ms, &a, &m);
		is_int(judge_age(&m, T0 * 1000 + ages[i].now_ms), ages[i].age, "%s", ages[i].why);
	}
	m = stored_of(&a, "", 200, "Date: @-500\nAge: 500\nCache-Control: max-age=60");
	m.stored_at = (T0 + 1000) * 1000; /* another node of the older version writes just this when it has validated */
	is_int(judge_age(&m, (T0 + 1010) * 1000), 10, "behaviour.md 4.5: stored_at is when it was last validated");
	meta_init(&m, &a);
	ok(judge_age(&m, T0 * 1000) > 1000000, "behaviour.md 5.1: without stored_at it is never fresh");

	static const int64_t wild[] = { INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX };
	unsigned sane = 0;
	for (unsigned i = 0; i < 7 * 7 * 7 * 7; i++) {
		m = stored_of(&a, "", 200, "Last-Modified: @-1000");
		m.response_time = wild[i % 7];
		m.request_time = wild[i / 7 % 7];
		m.date = wild[i / 49 % 7];
		m.age_value = wild[i / 343];
		m.stored_at = wild[i % 5 + 2];
		sane += judge_age(&m, T0 * 1000) >= 0 && judge_lifetime(&shared_cache, NULL, &m) >= -1;
		if (i % 100 == 0)
			arena_reset(&a);
	}
	is_int(sane, 7 * 7 * 7 * 7, "no document, whatever its numbers, upsets the arithmetic");

	struct headers h;
	heads(&h, &a, "Cache-Control: no-cache=\"a, B\"\nA: 1\nb: 2\nC: 3\nCache-Control: max-age=1, private=\"x-y, cache-control\"\na: 4\nX-Y: 5");
	cc_drop_listed(&h, STR("cache-control"));
	is_int(h.n, 3, "5.2.2.4, 5.2.2.7: the listed fields go, all their lines");
	ok(!headers_has(&h, STR("a")) && headers_has(&h, STR("c")) && headers_count(&h, STR("cache-control")) == 2, "and no others, least of all Cache-Control");
	arena_fini(&a);
	return done_testing();
}
