#include "range.h"

/* Digits off *s. A number beyond 64 bits is the largest there is: it lies behind any size, which is all that matters. */
static bool
take_number(struct str *s, uint64_t *out)
{
	uint64_t v = 0;
	size_t i = 0;

	for (; i < s->n && s->p[i] >= '0' && s->p[i] <= '9'; i++) {
		unsigned digit = (unsigned)(s->p[i] - '0');
		v = v > (UINT64_MAX - digit) / 10 ? UINT64_MAX : v * 10 + digit;
	}
	*s = str_from(*s, i);
	*out = v;
	return i > 0;
}

static bool
take_byte(struct str *s, char c)
{
	if (s->n == 0 || s->p[0] != c)
		return false;
	*s = str_from(*s, 1);
	return true;
}

static bool
touch(const struct range *a, const struct range *b)
{
	return a->first <= (b->last == UINT64_MAX ? b->last : b->last + 1) && b->first <= (a->last == UINT64_MAX ? a->last : a->last + 1);
}

/* Adds r, taking in all that it touches: the place of the first of them stays, so the order asked for does too (RFC 9110 15.3.7.2). */
static unsigned
add(struct range *v, unsigned n, struct range r)
{
	unsigned at = n;

	for (unsigned i = 0; i < n;) {
		if (!touch(&v[i], &r)) {
			i++;
			continue;
		}
		r.first = v[i].first < r.first ? v[i].first : r.first;
		r.last = v[i].last > r.last ? v[i].last : r.last;
		at = i < at ? i : at;
		for (unsigned k = i + 1; k < n; k++)
			v[k - 1] = v[k];
		n--;
		i = 0; /* it has grown: one that did not touch it may do so now */
	}
	if (at > n)
		at = n;
	for (unsigned k = n; k > at; k--)
		v[k] = v[k - 1];
	v[at] = r;
	return n + 1;
}

enum range_result
range_parse(struct str value, uint64_t size, struct range out[RANGE_MAX], unsigned *n)
{
	struct str rest = str_trim(value);
	unsigned asked = 0;

	*n = 0;
	if (!str_casestarts(rest, STR("bytes=")))
		return RANGE_IGNORE;
	rest = str_from(rest, 6);
	while (rest.p) {
		struct str spec = str_trim(str_cut(&rest, ','));
		struct range r;
		uint64_t suffix;
		if (spec.n == 0)
			continue; /* RFC 9110 5.6.1.2 */
		if (++asked > RANGE_MAX)
			return *n = 0, RANGE_IGNORE;
		if (take_byte(&spec, '-')) {
			if (!take_number(&spec, &suffix) || spec.n)
				return *n = 0, RANGE_IGNORE;
			if (suffix == 0)
				continue;
			if (size == 0) /* satisfiable, but Content-Range has no words for no bytes: send the whole nothing */
				return *n = 0, RANGE_IGNORE;
			r = (struct range){ suffix < size ? size - suffix : 0, size - 1 };
		} else {
			if (!take_number(&spec, &r.first) || !take_byte(&spec, '-'))
				return *n = 0, RANGE_IGNORE;
			r.last = UINT64_MAX;
			if (spec.n && (!take_number(&spec, &r.last) || spec.n || r.last < r.first))
				return *n = 0, RANGE_IGNORE;
			if (r.first >= size)
				continue;
			if (r.last >= size)
				r.last = size - 1;
		}
		*n = add(out, *n, r);
	}
	return asked == 0 ? RANGE_IGNORE : *n ? RANGE_OK : RANGE_UNSATISFIABLE;
}

bool
content_range_parse(struct str value, struct range *r, uint64_t *size)
{
	struct str s = str_trim(value), first, last;

	if (!str_casestarts(s, STR("bytes ")))
		return false;
	s = str_trim(str_from(s, 6));
	last = str_cut(&s, '/');
	first = str_cut(&last, '-');
	if (!str_u64(first, UINT64_MAX, &r->first) || !str_u64(last, UINT64_MAX, &r->last) || r->last < r->first)
		return false;
	if (str_eq(s, STR("*"))) {
		*size = UINT64_MAX;
		return true;
	}
	return str_u64(s, UINT64_MAX - 1, size) && r->last < *size;
}
