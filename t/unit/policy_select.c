/* What of a stored response answers a request: RFC 9110 13.2.2 (preconditions), 14.2 (ranges), 13.1.5 (If-Range), RFC 9111 4.3.2.
 * Rows with an id in brackets are tests of the public suite. */
#include "tap.h"
#include "../../common/range.h"
#include "policy_heads.h"

static struct arena a;

#define FULL SELECT_FULL
#define PART SELECT_RANGES
#define SAME SELECT_NOT_MODIFIED
#define FAIL SELECT_PRECONDITION_FAILED
#define NONE SELECT_UNSATISFIABLE

static const struct { enum http_method method; const char *request; int status; const char *stored; int64_t size; enum selection want; const char *ranges, *why; } rows[] = {
	{ METHOD_GET, "", 200, "ETag: \"a\"", 10, FULL, "", "nothing is asked" },
	/* If-None-Match */
	{ METHOD_GET, "If-None-Match: \"a\"", 200, "ETag: \"a\"", 10, SAME, "", "13.1.2 [conditional-etag-strong-respond]" },
	{ METHOD_HEAD, "If-None-Match: \"a\"", 200, "ETag: \"a\"", 10, SAME, "", "13.1.2: HEAD too" },
	{ METHOD_GET, "If-None-Match: \"b\"", 200, "ETag: \"a\"", 10, FULL, "", "13.1.2" },
	{ METHOD_GET, "If-None-Match: W/\"a\"", 200, "ETag: W/\"a\"", 10, SAME, "", "[conditional-etag-weak-respond]" },
	{ METHOD_GET, "If-None-Match: W/\"a\"", 200, "ETag: \"a\"", 10, SAME, "", "13.1.2: compared weakly" },
	{ METHOD_GET, "If-None-Match: \"1\", \"a\", \"5\"", 200, "ETag: \"a\"", 10, SAME, "", "[conditional-etag-strong-respond-multiple-second]" },
	{ METHOD_GET, "If-None-Match: \"1\"\nIf-None-Match: \"a\"", 200, "ETag: \"a\"", 10, SAME, "", "13.1.2: on several lines" },
	{ METHOD_GET, "If-None-Match: \"1,a\", \"b\"", 200, "ETag: \"a\"", 10, FULL, "", "8.8.3: a comma may stand in a tag" },
	{ METHOD_GET, "If-None-Match: \"1,a\"", 200, "ETag: \"1,a\"", 10, SAME, "", "8.8.3: and match there" },
	{ METHOD_GET, "If-None-Match: \"x\\\", \"a\"", 200, "ETag: \"a\"", 10, SAME, "", "8.8.3: a backslash in a tag escapes nothing" },
	{ METHOD_GET, "If-None-Match: *", 200, "", 10, SAME, "", "13.1.2: there is a representation" },
	{ METHOD_GET, "If-None-Match: \"a\"", 200, "", 10, FULL, "", "13.1.2: no tag, no match" },
	{ METHOD_GET, "If-None-Match: abc", 200, "ETag: \"abc\"", 10, SAME, "", "[conditional-etag-quoted-respond-unquoted]" },
	{ METHOD_GET, "If-None-Match: abc", 200, "ETag: abc", 10, SAME, "", "[conditional-etag-unquoted-respond-unquoted]" },
	{ METHOD_GET, "If-None-Match: \"abc\"", 200, "ETag: abc", 10, SAME, "", "[conditional-etag-unquoted-respond-quoted]" },
	{ METHOD_GET, "If-None-Match: w/\"abc\"", 200, "ETag: w/\"abc\"", 10, SAME, "", "[conditional-etag-weak-respond-lowercase]" },
	{ METHOD_GET, "If-None-Match: W\\\"abc\"", 200, "ETag: W\\\"abc\"", 10, SAME, "", "[conditional-etag-weak-respond-backslash]" },
	{ METHOD_GET, "If-None-Match: W\"abc\"", 200, "ETag: W\"abc\"", 10, SAME, "", "[conditional-etag-weak-respond-omit-slash]" },
	{ METHOD_GET, "If-None-Match: \"abc\xc3\xbc\"", 200, "ETag: \"abc\xc3\xbc\"", 10, SAME, "", "[conditional-etag-strong-respond-obs-text]" },
	{ METHOD_GET, "If-None-Match: \"a", 200, "ETag: \"a\"", 10, FULL, "", "an open quote matches nothing" },
	{ METHOD_GET, "If-None-Match: ,,", 200, "ETag: \"a\"", 10, FULL, "", "an empty list matches nothing" },
	/* If-Modified-Since */
	{ METHOD_GET, "If-Modified-Since: @-3000", 200, "Last-Modified: @-3000", 10, SAME, "", "13.1.3 [conditional-lm-fresh]" },
	{ METHOD_GET, "If-Modified-Since: @-2000", 200, "Last-Modified: @-3000", 10, SAME, "", "13.1.3 [conditional-lm-fresh-earlier]" },
	{ METHOD_GET, "If-Modified-Since: @-3001", 200, "Last-Modified: @-3000", 10, FULL, "", "13.1.3: changed since" },
	{ METHOD_GET, "If-Modified-Since: @-3000", 200, "Date: @0", 10, FULL, "", "RFC 9111 4.3.2: Date counts without Last-Modified" },
	{ METHOD_GET, "If-Modified-Since: @0", 200, "Date: @0", 10, SAME, "", "RFC 9111 4.3.2: likewise" },
	{ METHOD_GET, "If-Modified-Since: Tuesday, 14-Nov-23 22:13:20 GMT", 200, "Last-Modified: @0", 10, SAME, "", "5.6.7 [conditional-lm-fresh-rfc850]" },
	{ METHOD_GET, "If-Modified-Since: yesterday", 200, "Last-Modified: @-3000", 10, FULL, "", "13.1.3: no date is ignored" },
	{ METHOD_GET, "If-Modified-Since: @0\nIf-Modified-Since: @0", 200, "Last-Modified: @-3000", 10, FULL, "", "13.1.3: two are ignored" },
	{ METHOD_GET, "If-None-Match: \"a\"\nIf-Modified-Since: @-10000", 200, "ETag: \"a\"\nLast-Modified: @-5000", 10, SAME, "", "13.2.2 [conditional-etag-precedence]" },
	{ METHOD_GET, "If-None-Match: \"b\"\nIf-Modified-Since: @0", 200, "ETag: \"a\"\nLast-Modified: @-5000", 10, FULL, "", "13.2.2: the other way" },
	{ METHOD_GET, "If-None-Match: \"a\"", 404, "ETag: \"a\"", 10, FULL, "", "13.2.1: only for what would be a 2xx" },
	{ METHOD_GET, "If-Modified-Since: @0", 301, "Last-Modified: @-3", 10, FULL, "", "13.2.1: likewise" },
	/* If-Match, If-Unmodified-Since */
	{ METHOD_GET, "If-Match: \"a\"", 200, "ETag: \"a\"", 10, FULL, "", "13.1.1" },
	{ METHOD_GET, "If-Match: *", 200, "", 10, FULL, "", "13.1.1: any" },
	{ METHOD_GET, "If-Match: \"b\"", 200, "ETag: \"a\"", 10, FAIL, "", "13.1.1" },
	{ METHOD_GET, "If-Match: W/\"a\"", 200, "ETag: W/\"a\"", 10, FAIL, "", "13.1.1: compared strongly" },
	{ METHOD_GET, "If-Match: \"b\"\nIf-None-Match: \"a\"", 200, "ETag: \"a\"", 10, FAIL, "", "13.2.2: step 1 is first" },
	{ METHOD_GET, "If-Unmodified-Since: @-10", 200, "Last-Modified: @-5", 10, FAIL, "", "13.1.4" },
	{ METHOD_GET, "If-Unmodified-Since: @-5", 200, "Last-Modified: @-5", 10, FULL, "", "13.1.4" },
	{ METHOD_GET, "If-Unmodified-Since: @-10\nIf-Match: \"a\"", 200, "ETag: \"a\"\nLast-Modified: @-5", 10, FULL, "", "13.2.2: step 2 only without If-Match" },
	{ METHOD_GET, "If-Unmodified-Since: never", 200, "Last-Modified: @-5", 10, FULL, "", "13.1.4: no date is ignored" },
	/* Range */
	{ METHOD_GET, "Range: bytes=0-1", 200, "", 11, PART, "0-1", "14.2 [partial-store-complete-reuse-partial]" },
	{ METHOD_GET, "Range: bytes=1-", 200, "", 11, PART, "1-10", "14.2 [partial-store-complete-reuse-partial-no-last]" },
	{ METHOD_GET, "Range: bytes=-1", 200, "", 11, PART, "10-10", "14.2 [partial-store-complete-reuse-partial-suffix]" },
	{ METHOD_GET, "Range: bytes=-99", 200, "", 11, PART, "0-10", "14.1.2: a suffix longer than the whole is the whole" },
	{ METHOD_GET, "Range: bytes=0-1,5-6", 200, "", 11, PART, "0-1 5-6", "14.2: several" },
	{ METHOD_GET, "Range: bytes=11-", 200, "", 11, NONE, "", "15.5.17" },
	{ METHOD_GET, "Range: lines=1-2", 200, "", 11, FULL, "", "14.2: an unknown unit is ignored" },
	{ METHOD_GET, "Range: bytes=3-1", 200, "", 11, FULL, "", "14.1.1: as is an invalid one" },
	{ METHOD_GET, "Range: bytes=0-1\nRange: bytes=2-3", 200, "", 11, FULL, "", "and a repeated one" },
	{ METHOD_HEAD, "Range: bytes=0-1", 200, "", 11, FULL, "", "14.2: ranges are for GET" },
	{ METHOD_GET, "Range: bytes=0-1", 200, "", -1, FULL, "", "of unknown size: the whole" },
	{ METHOD_GET, "Range: bytes=0-1", 404, "", 11, FULL, "", "14.2: not of an error" },
	{ METHOD_GET, "Range: bytes=0-1", 203, "", 11, FULL, "", "14.2: what would be a 200" },
	{ METHOD_GET, "Range: bytes=0-1\nIf-None-Match: \"a\"", 200, "ETag: \"a\"", 11, SAME, "", "13.2.2: 304 before a range" },
	{ METHOD_GET, "Range: bytes=99-\nIf-None-Match: \"b\"", 200, "ETag: \"a\"", 11, NONE, "", "13.2.2: step 5 last" },
	/* If-Range */
	{ METHOD_GET, "Range: bytes=0-1\nIf-Range: \"a\"", 200, "ETag: \"a\"", 11, PART, "0-1", "13.1.5" },
	{ METHOD_GET, "Range: bytes=0-1\nIf-Range: \"b\"", 200, "ETag: \"a\"", 11, FULL, "", "13.1.5: another: the whole" },
	{ METHOD_GET, "Range: bytes=99-\nIf-Range: \"b\"", 200, "ETag: \"a\"", 11, FULL, "", "13.1.5: and no 416" },
	{ METHOD_GET, "Range: bytes=0-1\nIf-Range: W/\"a\"", 200, "ETag: W/\"a\"", 11, FULL, "", "13.1.5: compared strongly" },
	{ METHOD_GET, "Range: bytes=0-1\nIf-Range: \"a\"", 200, "", 11, FULL, "", "13.1.5: nothing to compare" },
	{ METHOD_GET, "Range: bytes=0-1\nIf-Range: @-50", 200, "Last-Modified: @-50\nDate: @0", 11, PART, "0-1", "13.1.5: a date, exactly" },
	{ METHOD_GET, "Range: bytes=0-1\nIf-Range: @-49", 200, "Last-Modified: @-50\nDate: @0", 11, FULL, "", "13.1.5: not later" },
	{ METHOD_GET, "Range: bytes=0-1\nIf-Range: @0", 200, "Last-Modified: @0\nDate: @0", 11, FULL, "", "8.8.2.2: a Last-Modified of the same second is weak" },
	{ METHOD_GET, "Range: bytes=0-1\nIf-Range: @0", 200, "", 11, FULL, "", "13.1.5: without Last-Modified" },
	{ METHOD_GET, "If-Range: \"b\"", 200, "ETag: \"a\"", 11, FULL, "", "13.1.5: without Range it means nothing" },
};

int
main(void)
{
	static const char *const names[] = { "FULL", "RANGES", "NOT_MODIFIED", "PRECONDITION_FAILED", "UNSATISFIABLE" };
	arena_init(&a);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct range ranges[RANGE_MAX];
		unsigned n = 77;
		struct http_request req = request_of(&a, rows[i].method, "http://h/p?q", rows[i].request);
		struct meta m = stored_of(&a, "", rows[i].status, rows[i].stored);
		enum selection got = judge_select(&req, &m, rows[i].size, (T0 + 5) * 1000, ranges, &n);
		is_str(str_c(names[got]), str_c(names[rows[i].want]), "%s", rows[i].why);
		struct str text = STR("");
		for (unsigned k = 0; k < n; k++)
			text = arena_printf(&a, "%.*s%s%llu-%llu", STRP(text), k ? " " : "", (unsigned long long)ranges[k].first, (unsigned long long)ranges[k].last);
		is_str(text, str_c(rows[i].ranges), "… its ranges");
	}
	arena_fini(&a);
	return done_testing();
}
