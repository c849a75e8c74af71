/* Targeted cache control: RFC 9213, read as RFC 8941 says. Rows with an id in brackets are tests of the public suite. */
#include "tap.h"
#include "../../policy/freshness.h"
#include "../../policy/storable.h"
#include "../../policy/targeted.h"
#include "policy_heads.h"

static struct arena a;
static const struct judge_options targeted_cache = { 10, 86400, true, true };

#define IGNORED 0 /* there is none that is valid */
static const struct { const char *value; unsigned bits; int64_t max_age; const char *why; } parse[] = {
	{ "max-age=60, must-revalidate", CC_PRESENT | CC_MUST_REVALIDATE, 60, "RFC 9213 2.1: a dictionary" },
	{ "  max-age=60  ", CC_PRESENT, 60, "RFC 8941 4.2: blanks around" },
	{ "max-age=60\t ,\tno-store", CC_PRESENT | CC_NO_STORE, 60, "RFC 8941 4.2.2: tabs and blanks around a comma" },
	{ "", IGNORED, 0, "RFC 9213 2.1: an empty one is ignored" },
	{ "   ", IGNORED, 0, "RFC 9213 2.1: so is one of blanks" },
	{ "foo", CC_PRESENT, -1, "RFC 9213 2.2: unknown directives are ignored, the field is not" },
	{ "foobar, max-age=3600", CC_PRESENT, 3600, "[cdn-max-age-extension]" },
	{ "foo=(a \"b\";x 1), bar=?0;y=:YQ==:, baz=1.5;z, max-age=5", CC_PRESENT, 5, "RFC 8941 3.1.1, 3.3: extensions of every type" },
	{ "max-age=60;q=1;foo=\"x\"; bar", CC_PRESENT, 60, "RFC 9213 2.1: parameters are ignored" },
	{ "max-age=1, max-age=60", CC_PRESENT, 60, "RFC 8941 4.2.2: the last of two, other than in Cache-Control" },
	{ "no-store, no-store=?0, max-age=9", CC_PRESENT, 9, "RFC 8941 4.2.2: also of flags" },
	{ "max-age=2147483648", CC_PRESENT, DELTA_MAX, "[cdn-max-age-max]" },
	{ "max-age=99999999999", CC_PRESENT, DELTA_MAX, "[cdn-max-age-max-plus]: clamped (RFC 9111 1.2.2)" },
	{ "max-age=9999999999999999", IGNORED, 0, "RFC 8941 4.2.4: an Integer has 15 digits at most" },
	{ "max-age=-1", CC_PRESENT, CC_INVALID, "an Integer, but no time: stale (RFC 9111 4.2.1)" },
	{ "MaX-aGe=3600", IGNORED, 0, "[cdn-max-age-case-insensitive]: RFC 8941 3.1.2, keys are lower case" },
	{ "max-age =100", IGNORED, 0, "[cdn-max-age-space-before-equals]: RFC 8941 4.2.2" },
	{ "max-age= 100", IGNORED, 0, "[cdn-max-age-space-after-equals]" },
	{ "max-age=10000, &&&&&", IGNORED, 0, "[cdn-cc-invalid-sh-type-unknown]" },
	{ "max-age=\"10000\"", IGNORED, 0, "[cdn-cc-invalid-sh-type-wrong]: a String" },
	{ "max-age=10.0", IGNORED, 0, "nor a Decimal" },
	{ "max-age=a", IGNORED, 0, "nor a Token" },
	{ "max-age", IGNORED, 0, "nor a Boolean" },
	{ "max-age=(1)", IGNORED, 0, "nor a list" },
	{ "no-store=1, max-age=5", IGNORED, 0, "a flag is a Boolean" },
	{ "max-age=1,", IGNORED, 0, "RFC 8941 4.2.2: no comma at the end" },
	{ "max-age=1,,no-store", IGNORED, 0, "… nor two" },
	{ "max-age=1 no-store", IGNORED, 0, "… but one there must be" },
	{ "max-age=", IGNORED, 0, "a value must follow =" },
	{ "max-age=1;", IGNORED, 0, "RFC 8941 4.2.3.2: a parameter must follow ;" },
	{ "x=\"a", IGNORED, 0, "RFC 8941 4.2.5: a String has an end" },
	{ "x=\"\\a\"", IGNORED, 0, "RFC 8941 4.2.5: only quotes and backslashes are escaped" },
	{ "x=\"\\\"\\\\\", max-age=1", CC_PRESENT, 1, "RFC 8941 4.2.5: these are" },
	{ "x=\"\xc3\xa4\"", IGNORED, 0, "RFC 8941 4.2.5: ASCII only" },
	{ "x=:a", IGNORED, 0, "RFC 8941 4.2.7: Bytes have an end" },
	{ "x=?2", IGNORED, 0, "RFC 8941 4.2.8" },
	{ "x=-", IGNORED, 0, "RFC 8941 4.2.4: a sign alone" },
	{ "x=1.2345", IGNORED, 0, "RFC 8941 4.2.4: three places at most" },
	{ "x=1.", IGNORED, 0, "RFC 8941 4.2.4: one at least" },
	{ "x=(1 2", IGNORED, 0, "RFC 8941 4.2.1.2: a list has an end" },
	{ "x=(1\"a\")", IGNORED, 0, "RFC 8941 4.2.1.2: its members are apart" },
	{ "private, no-cache, public, proxy-revalidate, must-understand, immutable",
	  CC_PRESENT | CC_PRIVATE | CC_NO_CACHE | CC_PUBLIC | CC_PROXY_REVALIDATE | CC_MUST_UNDERSTAND | CC_IMMUTABLE, -1, "the words" },
	{ "private=\"a, b\", no-cache=c", CC_PRESENT | CC_PRIVATE_FIELDS | CC_NO_CACHE_FIELDS, -1, "RFC 9111 5.2.2.4, 5.2.2.7: field lists" },
	{ "private=\"a b\"", CC_PRESENT | CC_PRIVATE, -1, "what is no list of names is all of it: the careful reading" },
	{ "private=\"a\";x", CC_PRESENT | CC_PRIVATE, -1, "… and a list with parameters" },
	{ "private=?0, max-age=1", CC_PRESENT, 1, "a Boolean that is false is not said" },
};

static const struct { const char *fields; int64_t lifetime; bool keep; const char *why; } rows[] = {
	{ "CDN-Cache-Control: max-age=3600", 3600, true, "[cdn-max-age]" },
	{ "Cache-Control: max-age=1\nCDN-Cache-Control: max-age=3600", 3600, true, "[cdn-max-age-short-cc-max-age]: RFC 9213 2.2" },
	{ "Cache-Control: max-age=3600\nCDN-Cache-Control: max-age=1", 1, true, "[cdn-max-age-long-cc-max-age]" },
	{ "Cache-Control: s-maxage=9\nCDN-Cache-Control: max-age=3600", 3600, true, "RFC 9213 2.2: nothing of Cache-Control is left" },
	{ "CDN-Cache-Control: max-age=3600\nExpires: @-10000\nDate: @0", 3600, true, "[cdn-max-age-expires]" },
	{ "CDN-Cache-Control: foo\nExpires: @100\nDate: @0", -1, true, "RFC 9213 2.2: nor of Expires, whatever the field says" },
	{ "CDN-Cache-Control: max-age=3600, s-maxage=5", 5, true, "RFC 9213 2.2: precedence as in Cache-Control" },
	{ "CDN-Cache-Control: max-age=0\nExpires: @10000\nDate: @0", 0, true, "[cdn-max-age-0-expires]" },
	{ "CDN-Cache-Control: private\nCache-Control: max-age=10000", -1, false, "[cdn-private]" },
	{ "CDN-Cache-Control: no-store\nCache-Control: max-age=10000", -1, false, "[cdn-no-store-cc-fresh]" },
	{ "CDN-Cache-Control: max-age=10000\nCache-Control: no-store", 10000, true, "[cdn-fresh-cc-nostore]" },
	{ "CDN-Cache-Control: max-age=10000, &&&&&\nCache-Control: no-store", -1, false, "[cdn-cc-invalid-sh-type-unknown]: RFC 9213 2.1, as if it were not there" },
	{ "CDN-Cache-Control: max-age=5\nCDN-Cache-Control: must-revalidate, max-age=7", 7, true, "RFC 8941 4.2: two lines are one dictionary" },
	{ "CDN-Cache-Control: max-age=5\nCDN-Cache-Control: &\nCache-Control: max-age=8", 8, true, "… which is valid as a whole or not" },
	{ "CDN-Cache-Control: max-age=5\nPasssage-Cache-Control: max-age=7", 7, true, "RFC 9213 2.2: the first of the target list, not of the response" },
	{ "CDN-Cache-Control: max-age=5\nPasssage-Cache-Control: MAX-AGE=7", 5, true, "RFC 9213 2.2: the first that is valid" },
	{ "CDN-Cache-Control: max-age=5\nPasssage-Cache-Control:", 5, true, "RFC 9213 2.2: … and not empty" },
	{ "Other-Cache-Control: max-age=5\nCache-Control: max-age=6", 6, true, "RFC 9213 2.2: what is for others changes nothing" },
	{ "Cache-Control: max-age=6", 6, true, "RFC 9213 2.2: without one all is as before" },
};

int
main(void)
{
	struct cache_control cc;
	struct headers h;
	struct str name;
	arena_init(&a);
	for (unsigned i = 0; i < sizeof(parse) / sizeof(*parse); i++) {
		headers_init(&h, &a);
		headers_add(&h, STR("CDN-Cache-Control"), str_c(parse[i].value));
		is_int(targeted_parse(&h, &cc, &name) ? cc.bits : IGNORED, parse[i].bits, "%s: %s", parse[i].why, parse[i].value);
		if (parse[i].bits != IGNORED)
			is_int(cc.max_age, parse[i].max_age, "and its max-age");
	}
	headers_init(&h, &a);
	headers_add(&h, STR("Passsage-Cache-Control"), STR("s-maxage=1, stale-while-revalidate=2, stale-if-error=3"));
	ok(targeted_parse(&h, &cc, &name) && cc.s_maxage == 1 && cc.stale_while_revalidate == 2 && cc.stale_if_error == 3, "all the numbers");
	is_str(name, STR("passsage-cache-control"), "and whose they are");

	for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct meta m = stored_of(&a, "", 200, rows[i].fields);
		struct facts x;
		facts_for(&targeted_cache, &m.headers, &x);
		is_int(judge_lifetime(&targeted_cache, NULL, &m), rows[i].lifetime, "%s", rows[i].why);
		is_int(storable_keep(&targeted_cache, 200, &x.cc), rows[i].keep, "and whether it is kept");
	}
	struct meta m = stored_of(&a, "", 200, "Cache-Control: max-age=1\nCDN-Cache-Control: max-age=3600");
	is_int(judge_lifetime(&shared_cache, NULL, &m), 1, "off, it is a field like others");

	struct http_request req = request_of(&a, METHOD_GET, "http://h/", "");
	struct http_response resp = response_of(&a, 200, "Cache-Control: private=\"b\"\nCDN-Cache-Control: private=\"a, x-c\", max-age=9\nA: 1\nB: 2\nX-C: 3");
	struct plan plan = { .policy = POLICY_Standard };
	judge_meta(&targeted_cache, &plan, &req, &resp, T0 * 1000, T0 * 1000, &a, &m);
	ok(!headers_has(&m.headers, STR("a")) && !headers_has(&m.headers, STR("x-c")) && headers_has(&m.headers, STR("b")), "the fields that it names are not stored, those of Cache-Control are");
	ok(headers_has(&m.headers, STR("cdn-cache-control")) && headers_has(&m.headers, STR("cache-control")), "both go on to the client, and caches behind us");
	resp = response_of(&a, 304, "CDN-Cache-Control: no-cache, max-age=100");
	judge_freshen(&targeted_cache, &m, &resp, T0 * 1000, T0 * 1000, &a);
	ok(m.flags & META_MUST_REVALIDATE_ALWAYS, "a 304 renews it");
	is_int(judge_response(&targeted_cache, &plan, &req, NULL, &(struct http_response){ .status = 200, .major = 1, .minor = 1, .headers = h }, T0 * 1000), OUTCOME_STORE, "an answer that only says it to us is stored");
	arena_fini(&a);
	return done_testing();
}
