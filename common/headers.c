#include <string.h>

#include "headers.h"

#define FIRST_CAP 32 /* more than most requests have, so that one allocation does */

void
headers_init(struct headers *h, struct arena *a)
{
	*h = (struct headers){ .arena = a };
}

/* Length first: it tells nearly all names apart without looking at a byte. */
static inline bool
is_named(const struct field *f, struct str name)
{
	return f->name.n == name.n && str_caseeq(f->name, name);
}

void
headers_add(struct headers *h, struct str name, struct str value)
{
	if (h->n == h->cap) {
		unsigned cap = h->cap ? 2 * h->cap : FIRST_CAP;
		struct field *v = arena_alloc(h->arena, cap * sizeof *v);
		if (h->n)
			memcpy(v, h->v, h->n * sizeof *v);
		h->v = v;
		h->cap = cap;
	}
	if (!value.p)
		value = STR(""); /* present and empty, which headers_get tells from absent */
	h->v[h->n++] = (struct field){ name, value };
}

void
headers_add_copy(struct headers *h, struct str name, struct str value)
{
	headers_add(h, arena_dup(h->arena, name), arena_dup(h->arena, value));
}

void
headers_set(struct headers *h, struct str name, struct str value)
{
	headers_remove(h, name);
	headers_add(h, name, value);
}

unsigned
headers_remove(struct headers *h, struct str name)
{
	unsigned kept = 0, gone;

	for (unsigned i = 0; i < h->n; i++)
		if (!is_named(&h->v[i], name)) {
			if (kept != i)
				h->v[kept] = h->v[i];
			kept++;
		}
	gone = h->n - kept;
	h->n = kept;
	return gone;
}

bool
headers_has(const struct headers *h, struct str name)
{
	return headers_get(h, name).p != NULL;
}

struct str
headers_get(const struct headers *h, struct str name)
{
	for (unsigned i = 0; i < h->n; i++)
		if (is_named(&h->v[i], name))
			return h->v[i].value;
	return STR_NONE;
}

unsigned
headers_count(const struct headers *h, struct str name)
{
	unsigned n = 0;

	for (unsigned i = 0; i < h->n; i++)
		n += is_named(&h->v[i], name);
	return n;
}

struct str
headers_joined(const struct headers *h, struct str name, struct arena *a)
{
	struct str first = STR_NONE;
	unsigned lines = 0;
	size_t n = 0;
	char *p, *to;

	for (unsigned i = 0; i < h->n; i++)
		if (is_named(&h->v[i], name)) {
			if (lines++ == 0)
				first = h->v[i].value;
			n += h->v[i].value.n + 2;
		}
	if (lines < 2)
		return first;
	p = to = arena_alloc(a, n);
	lines = 0;
	for (unsigned i = 0; i < h->n; i++)
		if (is_named(&h->v[i], name)) {
			struct str v = h->v[i].value;
			if (lines++) {
				*to++ = ',';
				*to++ = ' ';
			}
			if (v.n)
				memcpy(to, v.p, v.n);
			to += v.n;
		}
	return (struct str){ p, (size_t)(to - p) };
}

void
headers_copy(struct headers *dst, const struct headers *src)
{
	for (unsigned i = 0; i < src->n; i++)
		headers_add_copy(dst, src->v[i].name, src->v[i].value);
}

bool
value_next(struct str *rest, struct str *member)
{
	const char *p = rest->p, *end = p + rest->n, *start;
	bool quoted = false;

	while (p < end && (*p == ',' || *p == ' ' || *p == '\t'))
		p++;
	if (p == end) {
		*rest = STR_NONE;
		return false;
	}
	for (start = p; p < end && (quoted || *p != ','); p++) {
		if (*p == '"')
			quoted = !quoted;
		else if (*p == '\\' && quoted && p + 1 < end)
			p++; /* a quoted-pair: the byte behind it means nothing (RFC 9110 5.6.4) */
	}
	*member = str_trim((struct str){ start, (size_t)(p - start) });
	*rest = (struct str){ p, (size_t)(end - p) };
	return true;
}

struct list_iter
list_start(const struct headers *h, struct str name)
{
	return (struct list_iter){ .h = h, .name = name };
}

bool
list_next(struct list_iter *it, struct str *member)
{
	while (!value_next(&it->rest, member)) {
		while (it->i < it->h->n && !is_named(&it->h->v[it->i], it->name))
			it->i++;
		if (it->i == it->h->n)
			return false;
		it->rest = it->h->v[it->i++].value;
	}
	return true;
}

bool
headers_lists(const struct headers *h, struct str name, struct str token)
{
	struct str member;

	for (struct list_iter it = list_start(h, name); list_next(&it, &member);)
		if (str_caseeq(member, token))
			return true;
	return false;
}

static bool
is_hop_by_hop(struct str name)
{
	switch (name.n) {
	case 2:  return str_caseeq(name, STR("TE"));
	case 7:  return str_caseeq(name, STR("Trailer")) || str_caseeq(name, STR("Upgrade"));
	case 10: return str_caseeq(name, STR("Connection")) || str_caseeq(name, STR("Keep-Alive"));
	case 16: return str_caseeq(name, STR("Proxy-Connection"));
	case 17: return str_caseeq(name, STR("Transfer-Encoding"));
	case 18: return str_caseeq(name, STR("Proxy-Authenticate"));
	case 19: return str_caseeq(name, STR("Proxy-Authorization"));
	case 25: return str_caseeq(name, STR("Proxy-Authentication-Info"));
	default: return false;
	}
}

/* Which of 64 boxes a name falls in: enough to see that a member of Connection names no field here. */
static uint64_t
box(struct str name)
{
	return UINT64_C(1) << ((name.n * 7 + (unsigned char)ascii_lower(name.p[0])) & 63);
}

void
headers_strip_hop_by_hop(struct headers *h)
{
	struct str member;
	uint64_t boxes = 0;
	unsigned kept = 0;

	for (unsigned i = 0; i < h->n; i++)
		if (h->v[i].name.n)
			boxes |= box(h->v[i].name);
	/* The boxes bound the work on a Connection field that names thousands of things. A field to go loses its name. */
	for (struct list_iter it = list_start(h, STR("Connection")); list_next(&it, &member);) {
		if (!(boxes & box(member)) || is_hop_by_hop(member) || str_caseeq(member, STR("Content-Length")) ||
		    str_caseeq(member, STR("Host")))
			continue;
		for (unsigned i = 0; i < h->n; i++)
			if (is_named(&h->v[i], member))
				h->v[i].name = STR_NONE;
	}
	for (unsigned i = 0; i < h->n; i++)
		if (h->v[i].name.n && !is_hop_by_hop(h->v[i].name))
			h->v[kept++] = h->v[i];
	h->n = kept;
}

/* tchar (RFC 9110 5.6.2) */
static const bool token_byte[256] = {
	['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,
	['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1, ['~'] = 1,
	['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

bool
field_name_valid(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!token_byte[(unsigned char)s.p[i]])
			return false;
	return s.n > 0;
}

bool
field_value_valid(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}
