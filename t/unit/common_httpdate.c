#include <time.h>

#include "tap.h"
#include "common/httpdate.h"

#define NOW INT64_C(1769860800) /* 2026-01-31T12:00:00Z */

static void
parsing(void)
{
	static const struct { const char *in; int64_t want; } t[] = {
		/* the three forms (RFC 9110 5.6.7) */
		{ "Sun, 06 Nov 1994 08:49:37 GMT", 784111777 }, { "Sunday, 06-Nov-94 08:49:37 GMT", 784111777 }, { "Sun Nov  6 08:49:37 1994", 784111777 },
		{ "Sun Nov 16 08:49:37 1994", 784975777 }, { " Sun, 06 Nov 1994 08:49:37 GMT\t", 784111777 },
		{ "Thu, 01 Jan 1970 00:00:00 GMT", 0 }, { "Wed, 31 Dec 1969 23:59:59 GMT", -1 }, { "Tue, 29 Feb 2000 00:00:00 GMT", 951782400 },
		{ "Tue, 19 Jan 2038 14:14:08 GMT", 2147523248 }, { "Sun, 21 Nov 2286 04:46:39 GMT", 10000039599 }, { "Fri, 31 Dec 9999 23:59:59 GMT", 253402300799 },
		{ "Sat, 31 Dec 2016 23:59:60 GMT", 1483228800 },
		/* what else the public tests of caches want to be read: any case, and weekdays that do not fit */
		{ "THU, 18 Aug 2050 02:01:18 GMT", 2544400878 }, { "Thu, 18 AUG 2050 02:01:18 GMT", 2544400878 }, { "Thu, 18 Aug 2050 02:01:18 gMT", 2544400878 },
		{ "Thursday, 18-Aug-50 02:01:18 GMT", 2544400878 }, { "Thu Aug  8 02:01:18 2050", 2543536878 }, { "Mon, 18 Aug 2050 02:01:18 GMT", 2544400878 },
		/* two digits: at most 50 years ahead */
		{ "Friday, 31-Jan-76 12:00:00 GMT", NOW + 18262LL * 86400 }, { "Saturday, 31-Jan-76 12:00:01 GMT", 191937601 }, { "Friday, 01-Jan-99 00:00:00 GMT", 915148800 },
		{ "Saturday, 01-Jan-00 00:00:00 GMT", 946684800 },
		/* invalid */
		{ "", HTTPDATE_NONE }, { "0", HTTPDATE_NONE }, { "-1", HTTPDATE_NONE }, { "Thu, 18 Aug 2050 02:01:18 UTC", HTTPDATE_NONE }, { "Thu, 18 Aug 2050 02:01:18 AEST", HTTPDATE_NONE },
		{ "Thu, 18 Aug 50 02:01:18 GMT", HTTPDATE_NONE }, { "Thu 18 Aug 2050 02:01:18 GMT", HTTPDATE_NONE }, { "Thu, 18  Aug  2050 02:01:18 GMT", HTTPDATE_NONE },
		{ "Thu, 18-Aug-2050 02:01:18 GMT", HTTPDATE_NONE }, { "Thu, 18 Aug 2050 02.01.18 GMT", HTTPDATE_NONE }, { "Thu, 18 Aug 2050 2:01:18 GMT", HTTPDATE_NONE },
		{ "Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT", HTTPDATE_NONE }, { "Thu, 18 Aug 2050 02:01:18", HTTPDATE_NONE },
		{ "Thu, 18 Aug 2050 02:01:18 GMT+1", HTTPDATE_NONE }, { "Thu, 18 Aug 2050 24:00:00 GMT", HTTPDATE_NONE }, { "Thu, 18 Aug 2050 02:60:18 GMT", HTTPDATE_NONE },
		{ "Thu, 18 Aug 2050 02:01:61 GMT", HTTPDATE_NONE }, { "Thu, 32 Aug 2050 02:01:18 GMT", HTTPDATE_NONE }, { "Thu, 00 Aug 2050 02:01:18 GMT", HTTPDATE_NONE },
		{ "Thu, 31 Apr 2050 02:01:18 GMT", HTTPDATE_NONE }, { "Thu, 29 Feb 2100 02:01:18 GMT", HTTPDATE_NONE }, { "Thu, 29 Feb 2023 02:01:18 GMT", HTTPDATE_NONE },
		{ "Xyz, 18 Aug 2050 02:01:18 GMT", HTTPDATE_NONE }, { "Thu, 18 Abc 2050 02:01:18 GMT", HTTPDATE_NONE }, { "Thu, 8 Aug 2050 02:01:18 GMT", HTTPDATE_NONE },
		{ "Thursday, 18 Aug 2050 02:01:18 GMT", HTTPDATE_NONE }, { "Thu, 18-Aug-50 02:01:18 GMT", HTTPDATE_NONE }, { "Thu Aug 8 02:01:18 2050", HTTPDATE_NONE },
		{ "Thu, +8 Aug 2050 02:01:18 GMT", HTTPDATE_NONE }, { "Thu, 18 Aug 2050 02:01:-8 GMT", HTTPDATE_NONE }, { "Thu,", HTTPDATE_NONE }, { "T", HTTPDATE_NONE },
		{ "18 Aug 2050 02:01:18 GMT", HTTPDATE_NONE }, { "2544400878", HTTPDATE_NONE }, { "Thu Aug  8 02:01:18 2050 GMT", HTTPDATE_NONE },
	};
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++)
		is_int(httpdate_parse(str_c(t[i].in), NOW), t[i].want, "%s \"%s\"", t[i].want == HTTPDATE_NONE ? "refused:" : "read:", t[i].in);
	is_int(httpdate_parse(STR("Friday, 01-Jan-10 00:00:00 GMT"), 3786912000), 4417977600, "in 2090, year 10 is 2110");
	is_int(httpdate_parse(STR_NONE, NOW), HTTPDATE_NONE, "refused: none");
}

/* The C library agrees, over eight thousand years in odd steps. */
static void
against_libc(void)
{
	unsigned wrong = 0, n = 0;
	char ours[HTTPDATE_SIZE], theirs[64];

	for (int64_t t = -62135596800; t < 253402300800; t += 86400 * 211 + 12347, n++) {
		time_t tt = t;
		struct tm tm;
		gmtime_r(&tt, &tm);
		strftime(theirs, sizeof theirs, "%a, %d %b ", &tm);
		snprintf(theirs + strlen(theirs), 32, "%04d", tm.tm_year + 1900);
		strftime(theirs + strlen(theirs), 32, " %H:%M:%S GMT", &tm);
		httpdate_format(t, ours);
		if (strcmp(ours, theirs) != 0 || httpdate_parse(str_c(ours), NOW) != t) {
			if (!wrong++)
				note("%s, expected %s", ours, theirs);
		}
	}
	is_int(wrong, 0, "%u dates are written as the C library does, and read back", n);
}

static void
writing(void)
{
	char out[HTTPDATE_SIZE], iso[33];

	httpdate_format(784111777, out);
	is_str(str_c(out), STR("Sun, 06 Nov 1994 08:49:37 GMT"), "IMF-fixdate is what we write");
	httpdate_format(INT64_MAX, out);
	is_str(str_c(out), STR("Fri, 31 Dec 9999 23:59:59 GMT"), "the end of time fits");
	httpdate_format(INT64_MIN, out);
	is_str(str_c(out), STR("Sat, 01 Jan 0000 00:00:00 GMT"), "and the beginning");
	iso8601_format(1769860800123, iso);
	is_str(str_c(iso), STR("2026-01-31T12:00:00.123000+00:00"), "ISO 8601 in microseconds");
	iso8601_format(-1, iso);
	is_str(str_c(iso), STR("1969-12-31T23:59:59.999000+00:00"), "before the epoch");
	iso8601_format(INT64_MAX, iso);
	is_int(strlen(iso), 32, "never longer");
	iso8601_format(INT64_MIN, iso);
	is_int(strlen(iso), 32, "nor shorter");
}

static void
iso(void)
{
	static const struct { const char *in; int64_t want; } t[] = {
		{ "2026-01-31T12:00:00.123456+00:00", 1769860800123 }, { "2026-01-31T12:00:00Z", 1769860800000 }, { "2026-01-31T12:00:00", 1769860800000 },
		{ "2026-01-31T12:00:00.5Z", 1769860800500 }, { "2026-01-31T12:00:00.000999999Z", 1769860800000 }, { "2026-01-31T12:00:00.01Z", 1769860800010 },
		{ "2026-01-31T14:30:00+02:30", 1769860800000 }, { "2026-01-31T07:00:00-0500", 1769860800000 }, { "2026-01-31t12:00:00z", 1769860800000 },
		{ "1969-12-31T23:59:59.999Z", -1 }, { "", HTTPDATE_NONE }, { "2026-01-31", HTTPDATE_NONE }, { "2026-01-31 12:00:00Z", HTTPDATE_NONE }, { "2026-13-31T12:00:00Z", HTTPDATE_NONE },
		{ "2026-02-29T12:00:00Z", HTTPDATE_NONE }, { "2026-01-31T12:00:00.Z", HTTPDATE_NONE }, { "2026-01-31T12:00:00+2", HTTPDATE_NONE }, { "2026-01-31T12:00:00+24:00", HTTPDATE_NONE },
		{ "2026-01-31T12:00:00Zx", HTTPDATE_NONE }, { "2026-1-31T12:00:00Z", HTTPDATE_NONE }, { "2026-01-31T12:00:00+00:00x", HTTPDATE_NONE },
	};
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++)
		is_int(iso8601_parse(str_c(t[i].in)), t[i].want, "%s \"%s\"", t[i].want == HTTPDATE_NONE ? "refused:" : "read:", t[i].in);
}

int
main(void)
{
	parsing();
	against_libc();
	writing();
	iso();
	return done_testing();
}
