#include "tap.h"
#include "common/arena.h"
#include "common/range.h"

#define IGNORE "ignore"
#define UNSAT "416"

static struct arena a;

static void
requests(void)
{
	static const struct { const char *value; uint64_t size; const char *want; } t[] = {
		/* RFC 9110 14.1.2 */
		{ "bytes=0-499", 10000, "0-499" }, { "bytes=500-999", 10000, "500-999" }, { "bytes=-500", 10000, "9500-9999" }, { "bytes=9500-", 10000, "9500-9999" },
		{ "bytes=0-0,-1", 10000, "0-0 9999-9999" }, { "bytes= 0-999, 4500-5499, -1000", 10000, "0-999 4500-5499 9000-9999" },
		{ "bytes=500-600,601-999", 10000, "500-999" }, { "bytes=500-700,601-999", 10000, "500-999" },
		/* clamped */
		{ "bytes=0-", 1, "0-0" }, { "bytes=0-99", 10, "0-9" }, { "bytes=-99", 10, "0-9" }, { "bytes=9-", 10, "9-9" }, { "bytes=0-18446744073709551615", 10, "0-9" },
		{ "bytes=0-99999999999999999999999999", 10, "0-9" }, { "bytes=-99999999999999999999999999", 10, "0-9" }, { "bytes=00-01", 10, "0-1" },
		/* not satisfiable */
		{ "bytes=10-", 10, UNSAT }, { "bytes=10-20", 10, UNSAT }, { "bytes=-0", 10, UNSAT }, { "bytes=99999999999999999999999999-", 10, UNSAT }, { "bytes=0-", 0, UNSAT }, { "bytes=0-0", 0, UNSAT },
		{ "bytes=10-,11-,-0", 10, UNSAT }, { "bytes=10-,3-4,-0", 10, "3-4" },
		/* nothing cannot be said in Content-Range */
		{ "bytes=-5", 0, IGNORE },
		/* coalesced, in the order asked for */
		{ "bytes=5-9,0-1", 10, "5-9 0-1" }, { "bytes=5-9,0-4", 10, "0-9" }, { "bytes=0-1,4-5,2-3,8-9", 10, "0-5 8-9" }, { "bytes=8-9,4-5,0-1,2-3", 10, "8-9 0-5" },
		{ "bytes=0-0,2-2,4-4,6-6,1-5", 10, "0-6" }, { "bytes=6-6,4-4,2-2,0-0,1-3", 10, "6-6 0-4" }, { "bytes=1-1,1-1,1-1", 10, "1-1" }, { "bytes=0-9,3-4", 10, "0-9" }, { "bytes=3-4,0-9", 10, "0-9" },
		{ "bytes=0-,-1", UINT64_MAX, "0-18446744073709551614" },
		/* lists */
		{ "BYTES=0-0", 10, "0-0" }, { "bytes=,0-0,,\t5-5 ,", 10, "0-0 5-5" }, { " bytes=0-0 ", 10, "0-0" },
		/* malformed, or another unit: no range at all */
		{ "", 10, IGNORE }, { "bytes", 10, IGNORE }, { "bytes=", 10, IGNORE }, { "bytes=,", 10, IGNORE }, { "bytes=-", 10, IGNORE }, { "bytes=a-b", 10, IGNORE }, { "bytes=0", 10, IGNORE },
		{ "bytes=1-0", 10, IGNORE }, { "bytes=20-10", 10, IGNORE }, { "bytes=0-0,1-0", 10, IGNORE }, { "bytes=0-0;1-1", 10, IGNORE }, { "bytes=0--1", 10, IGNORE }, { "bytes=--1", 10, IGNORE },
		{ "bytes=0 -1", 10, IGNORE }, { "bytes=+0-1", 10, IGNORE }, { "bytes 0-1", 10, IGNORE }, { "bytes =0-1", 10, IGNORE }, { "items=0-1", 10, IGNORE }, { "bytes=0x0-1", 10, IGNORE },
		{ "bytes=0-0,x", 10, IGNORE }, { "bytes=10-,x", 10, IGNORE },
	};
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
		struct range v[RANGE_MAX];
		unsigned n = 77;
		enum range_result r = range_parse(str_c(t[i].value), t[i].size, v, &n);
		struct str got = r == RANGE_IGNORE ? STR(IGNORE) : r == RANGE_UNSATISFIABLE ? STR(UNSAT) : STR("");
		for (unsigned k = 0; k < n; k++)
			got = arena_printf(&a, "%.*s%s%llu-%llu", STRP(got), k ? " " : "", (unsigned long long)v[k].first, (unsigned long long)v[k].last);
		is_str(got, str_c(t[i].want), "\"%s\" of %llu bytes", t[i].value, (unsigned long long)t[i].size);
	}
}

static void
many(void)
{
	struct range v[RANGE_MAX];
	struct str s = STR("bytes=0-0");
	unsigned n;

	for (unsigned i = 1; i < RANGE_MAX; i++)
		s = arena_printf(&a, "%.*s,%u-%u", STRP(s), 2 * i, 2 * i);
	ok(range_parse(s, 1000, v, &n) == RANGE_OK && n == RANGE_MAX, "%d ranges are served", RANGE_MAX);
	s = arena_printf(&a, "%.*s,5000-", STRP(s));
	ok(range_parse(s, 1000, v, &n) == RANGE_IGNORE && n == 0, "one more is abuse: the whole is sent (RFC 9110 14.2)");
}

static void
answers(void)
{
	static const struct { const char *value; int fine; uint64_t first, last, size; } t[] = {
		{ "bytes 0-499/1234", 1, 0, 499, 1234 }, { "bytes 1233-1233/1234", 1, 1233, 1233, 1234 }, { "Bytes 0-0/*", 1, 0, 0, UINT64_MAX }, { "bytes 5-18446744073709551614/*", 1, 5, UINT64_MAX - 1, UINT64_MAX },
		{ "bytes */1234", 0, 0, 0, 0 }, { "bytes 0-499/499", 0, 0, 0, 0 }, { "bytes 5-4/10", 0, 0, 0, 0 }, { "bytes 0-/10", 0, 0, 0, 0 }, { "bytes -5/10", 0, 0, 0, 0 }, { "bytes 0-5", 0, 0, 0, 0 },
		{ "bytes 0-5/", 0, 0, 0, 0 }, { "bytes=0-5/10", 0, 0, 0, 0 }, { "items 0-5/10", 0, 0, 0, 0 }, { "bytes 0-5/10x", 0, 0, 0, 0 }, { "bytes 0-5/10/10", 0, 0, 0, 0 }, { "", 0, 0, 0, 0 },
		{ "bytes 0-99999999999999999999999/*", 0, 0, 0, 0 },
	};
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
		struct range r = { 0, 0 };
		uint64_t size = 0;
		int fine = content_range_parse(str_c(t[i].value), &r, &size);
		ok(fine == t[i].fine && (!fine || (r.first == t[i].first && r.last == t[i].last && size == t[i].size)), "Content-Range: %s", t[i].value);
	}
}

int
main(void)
{
	arena_init(&a);
	requests();
	many();
	answers();
	arena_fini(&a);
	return done_testing();
}
