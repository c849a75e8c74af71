#include <string.h>

#include "httpdate.h"

#define DAY 86400
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
static const char weekdays[] = "SunMonTueWedThuFriSat";
static const char *const long_weekdays[] = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" };

struct civil {
	int64_t year;
	unsigned month, day, hour, minute, second; /* month and day from 1 */
};

/* Days since the epoch, in the Gregorian calendar: years begin in March, so that the leap day is the last of its year,
 * and are counted in eras of 400 years (146097 days). */
static int64_t
days_of(int64_t year, unsigned month, unsigned day)
{
	int64_t y = year - (month <= 2), era = (y >= 0 ? y : y - 399) / 400;
	unsigned year_of_era = (unsigned)(y - era * 400), day_of_year = (153 * (month + (month > 2 ? -3u : 9u)) + 2) / 5 + day - 1;

	return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static int64_t
seconds_of(const struct civil *c)
{
	return days_of(c->year, c->month, c->day) * DAY + c->hour * 3600 + c->minute * 60 + c->second;
}

/* The other way. What does not fit four digits becomes the first or last moment that does. */
static struct civil
civil_of(int64_t t)
{
	const int64_t first = -62167219200, last = 253402300799; /* 0000-01-01T00:00:00, 9999-12-31T23:59:59 */
	struct civil c;
	int64_t z, era;
	unsigned doe, yoe, doy, mp, rest;

	t = t < first ? first : t > last ? last : t;
	z = t / DAY - (t % DAY < 0);
	rest = (unsigned)(t - z * DAY);
	z += 719468;
	era = (z >= 0 ? z : z - 146096) / 146097;
	doe = (unsigned)(z - era * 146097);
	yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	mp = (5 * doy + 2) / 153;
	c.day = doy - (153 * mp + 2) / 5 + 1;
	c.month = mp < 10 ? mp + 3 : mp - 9;
	c.year = (int64_t)yoe + era * 400 + (c.month <= 2);
	c.hour = rest / 3600;
	c.minute = rest / 60 % 60;
	c.second = rest % 60;
	return c;
}

static bool
is_real(const struct civil *c)
{
	static const unsigned char days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = c->year % 4 == 0 && (c->year % 100 != 0 || c->year % 400 == 0);

	return c->month >= 1 && c->month <= 12 && c->day >= 1 && c->day <= days[c->month - 1] + (unsigned)(leap && c->month == 2) &&
	    c->hour < 24 && c->minute < 60 && c->second <= 60; /* 60: a leap second, which is the next one to us */
}

/* Readers: each takes what it wants off *s, or says false. */

static bool
take(struct str *s, const char *literal)
{
	struct str want = str_c(literal);

	if (!str_casestarts(*s, want))
		return false;
	*s = str_from(*s, want.n);
	return true;
}

static bool
take_digits(struct str *s, size_t n, unsigned *out)
{
	uint64_t v;

	if (s->n < n || !str_u64(str_upto(*s, n), 9999, &v))
		return false;
	*out = (unsigned)v;
	*s = str_from(*s, n);
	return true;
}

/* One of the three-letter names in list: *out is its number, from 1. */
static bool
take_name(struct str *s, const char *list, unsigned *out)
{
	for (unsigned i = 0; list[3 * i]; i++)
		if (s->n >= 3 && str_caseeq(str_upto(*s, 3), (struct str){ list + 3 * i, 3 })) {
			*s = str_from(*s, 3);
			*out = i + 1;
			return true;
		}
	return false;
}

static bool
take_time(struct str *s, struct civil *c)
{
	return take_digits(s, 2, &c->hour) && take(s, ":") && take_digits(s, 2, &c->minute) && take(s, ":") && take_digits(s, 2, &c->second);
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
static bool
is_imf(struct str s, struct civil *c)
{
	unsigned weekday, year;

	if (!(take_name(&s, weekdays, &weekday) && take(&s, ", ") && take_digits(&s, 2, &c->day) && take(&s, " ") &&
	    take_name(&s, months, &c->month) && take(&s, " ") && take_digits(&s, 4, &year) && take(&s, " ") &&
	    take_time(&s, c) && take(&s, " GMT") && s.n == 0))
		return false;
	c->year = year;
	return true;
}

/* "Sunday, 06-Nov-94 08:49:37 GMT". A year more than 50 years ahead is the last one in the past with these digits (RFC 9110 5.6.7). */
static bool
is_rfc850(struct str s, struct civil *c, int64_t now)
{
	unsigned i = 0, yy;

	while (i < 7 && !take(&s, long_weekdays[i]))
		i++;
	if (!(i < 7 && take(&s, ", ") && take_digits(&s, 2, &c->day) && take(&s, "-") && take_name(&s, months, &c->month) &&
	    take(&s, "-") && take_digits(&s, 2, &yy) && take(&s, " ") && take_time(&s, c) && take(&s, " GMT") && s.n == 0))
		return false;
	struct civil limit = civil_of(now);
	limit.year += 50;
	c->year = limit.year - limit.year % 100 + yy;
	if (seconds_of(c) > seconds_of(&limit))
		c->year -= 100;
	return true;
}

/* "Sun Nov  6 08:49:37 1994" */
static bool
is_asctime(struct str s, struct civil *c)
{
	unsigned weekday, year;

	if (!(take_name(&s, weekdays, &weekday) && take(&s, " ") && take_name(&s, months, &c->month) && take(&s, " ") &&
	    (take(&s, " ") ? take_digits(&s, 1, &c->day) : take_digits(&s, 2, &c->day)) && take(&s, " ") &&
	    take_time(&s, c) && take(&s, " ") && take_digits(&s, 4, &year) && s.n == 0))
		return false;
	c->year = year;
	return true;
}

/* Names in any case, since so many caches and origins do; the weekday need not fit the date. Nothing else is bent: a date that is
 * almost right has been generated by something that may mean another time (an Expires like that is in the past, RFC 9111 5.3). */
int64_t
httpdate_parse(struct str s, int64_t now)
{
	struct civil c;

	s = str_trim(s);
	if (!(is_imf(s, &c) || is_rfc850(s, &c, now) || is_asctime(s, &c)) || !is_real(&c))
		return HTTPDATE_NONE;
	return seconds_of(&c);
}

static char *
put(char *to, const char *from, size_t n)
{
	memcpy(to, from, n);
	return to + n;
}

static char *
put_number(char *to, unsigned n, int digits)
{
	for (int i = digits; i-- > 0; n /= 10)
		to[i] = (char)('0' + n % 10);
	return to + digits;
}

static char *
put_time(char *to, const struct civil *c)
{
	to = put_number(to, c->hour, 2);
	*to++ = ':';
	to = put_number(to, c->minute, 2);
	*to++ = ':';
	return put_number(to, c->second, 2);
}

void
httpdate_format(int64_t t, char out[HTTPDATE_SIZE])
{
	struct civil c = civil_of(t);
	unsigned weekday = (unsigned)(((days_of(c.year, c.month, c.day) + 4) % 7 + 7) % 7); /* the epoch was a Thursday */

	out = put(out, weekdays + 3 * weekday, 3);
	out = put(out, ", ", 2);
	out = put_number(out, c.day, 2);
	*out++ = ' ';
	out = put(out, months + 3 * (c.month - 1), 3);
	*out++ = ' ';
	out = put_number(out, (unsigned)c.year, 4);
	*out++ = ' ';
	out = put_time(out, &c);
	put(out, " GMT", sizeof " GMT");
}

int64_t
iso8601_parse(struct str s)
{
	struct civil c;
	unsigned year, ms = 0, hours = 0, minutes = 0;
	int64_t sign = 1;

	if (!(take_digits(&s, 4, &year) && take(&s, "-") && take_digits(&s, 2, &c.month) && take(&s, "-") && take_digits(&s, 2, &c.day) &&
	    take(&s, "T") && take_time(&s, &c)))
		return HTTPDATE_NONE;
	c.year = year;
	if (take(&s, ".")) {
		unsigned digits = 0, digit;
		for (; take_digits(&s, 1, &digit); digits++)
			if (digits < 3)
				ms += digit * (digits == 0 ? 100 : digits == 1 ? 10 : 1);
		if (digits == 0)
			return HTTPDATE_NONE;
	}
	if (!take(&s, "Z") && s.n) { /* no zone at all is UTC: what Elasticsearch takes it for */
		if (take(&s, "-"))
			sign = -1;
		else if (!take(&s, "+"))
			return HTTPDATE_NONE;
		if (!take_digits(&s, 2, &hours) || (take(&s, ":"), !take_digits(&s, 2, &minutes)) || hours > 23 || minutes > 59)
			return HTTPDATE_NONE;
	}
	if (s.n || !is_real(&c))
		return HTTPDATE_NONE;
	return (seconds_of(&c) - sign * (int64_t)(hours * 3600 + minutes * 60)) * 1000 + ms;
}

void
iso8601_format(int64_t t, char out[33])
{
	int64_t seconds = t / 1000 - (t % 1000 < 0);
	struct civil c = civil_of(seconds);

	out = put_number(out, (unsigned)c.year, 4);
	*out++ = '-';
	out = put_number(out, c.month, 2);
	*out++ = '-';
	out = put_number(out, c.day, 2);
	*out++ = 'T';
	out = put_time(out, &c);
	*out++ = '.';
	out = put_number(out, (unsigned)(t - seconds * 1000), 3);
	put(out, "000+00:00", sizeof "000+00:00");
}
