#include <string.h>

#include "str.h"

struct str
str_c(const char *z)
{
	return z ? (struct str){ z, strlen(z) } : STR_NONE;
}

bool
str_eq(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* The same bytes but for the case of ASCII letters. The common answer, "the very same", costs one comparison a byte. */
static bool
same_folded(const char *a, const char *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (a[i] != b[i] && ascii_lower(a[i]) != ascii_lower(b[i]))
			return false;
	return true;
}

bool
str_caseeq(struct str a, struct str b)
{
	return a.n == b.n && same_folded(a.p, b.p, a.n);
}

int
str_cmp(struct str a, struct str b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int r = n ? memcmp(a.p, b.p, n) : 0;

	return r ? r : (a.n > b.n) - (a.n < b.n);
}

bool
str_starts(struct str s, struct str prefix)
{
	return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

bool
str_ends(struct str s, struct str suffix)
{
	return s.n >= suffix.n && (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

bool
str_casestarts(struct str s, struct str prefix)
{
	return s.n >= prefix.n && same_folded(s.p, prefix.p, prefix.n);
}

bool
str_caseends(struct str s, struct str suffix)
{
	return s.n >= suffix.n && (suffix.n == 0 || same_folded(s.p + s.n - suffix.n, suffix.p, suffix.n));
}

bool
str_has(struct str s, struct str part)
{
	return part.n == 0 || (s.n >= part.n && memmem(s.p, s.n, part.p, part.n));
}

bool
str_casehas(struct str s, struct str part)
{
	if (part.n == 0)
		return true;
	for (size_t i = 0; i + part.n <= s.n; i++)
		if (same_folded(s.p + i, part.p, part.n))
			return true;
	return false;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

struct str
str_trim(struct str s)
{
	while (s.n && is_blank(s.p[0]))
		s.p++, s.n--;
	while (s.n && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

struct str
str_from(struct str s, size_t off)
{
	if (off > s.n)
		off = s.n;
	return off ? (struct str){ s.p + off, s.n - off } : s;
}

struct str
str_upto(struct str s, size_t n)
{
	return (struct str){ s.p, n < s.n ? n : s.n };
}

struct str
str_cut(struct str *s, char c)
{
	struct str head = *s;
	const char *at = s->n ? memchr(s->p, c, s->n) : NULL;

	if (!at) {
		*s = STR_NONE;
		return head;
	}
	head.n = (size_t)(at - head.p);
	*s = str_from(*s, head.n + 1);
	return head;
}

bool
str_u64(struct str s, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned digit = (unsigned)(unsigned char)s.p[i] - '0';
		if (digit > 9 || v > max / 10 || v * 10 > max - digit || digit > max)
			return false;
		v = v * 10 + digit;
	}
	*out = v;
	return true;
}

size_t
utf8_sequence(const char *text, size_t n)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t len = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;

	if (!len || len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}
