/* vary.c - which stored variant a request selects (RFC 9111 4.1, behaviour.md 4.3). */
#include "key.h"

/* The next name of a Vary value, trimmed; false at its end. */
static bool
vary_next(struct str *rest, struct str *name)
{
	while (rest->p) {
		*name = str_trim(str_cut(rest, ','));
		if (name->n)
			return true;
	}
	return false;
}

struct str
vary_request(struct arena *a, struct str vary, const struct headers *h)
{
	struct str rest = vary, name, value;
	size_t room = 1;
	if (vary.n && memchr(vary.p, '*', vary.n))
		return STR_NONE;
	while (vary_next(&rest, &name))
		room += name.n + 2 + headers_joined(h, name, a).n;
	char *p = arena_alloc(a, room), *w = p;
	for (rest = vary; vary_next(&rest, &name);) {
		if (w > p)
			*w++ = '|';
		for (size_t i = 0; i < name.n; i++)
			*w++ = ascii_lower(name.p[i]);
		*w++ = '=';
		value = headers_joined(h, name, a);
		if (value.n)
			memcpy(w, value.p, value.n);
		w += value.n;
	}
	return (struct str){ p, (size_t)(w - p) };
}

static bool
take(struct str *s, struct str part)
{
	if (!str_starts(*s, part))
		return false;
	*s = str_from(*s, part.n);
	return true;
}

/* Compares without building the string: this runs on every hit of a response that varies. */
bool
vary_selects(struct str vary, struct str raw, const struct headers *h)
{
	struct str rest = vary, name;
	bool first = true;
	if (vary.n && memchr(vary.p, '*', vary.n))
		return false;
	while (vary_next(&rest, &name)) {
		bool any = false;
		if (!first && !take(&raw, STR("|")))
			return false;
		first = false;
		if (!str_casestarts(raw, name))
			return false;
		raw = str_from(raw, name.n);
		if (!take(&raw, STR("=")))
			return false;
		for (unsigned i = 0; i < h->n; i++) {
			if (!str_caseeq(h->v[i].name, name))
				continue;
			if (any && !take(&raw, STR(", ")))
				return false;
			if (!take(&raw, h->v[i].value))
				return false;
			any = true;
		}
	}
	return raw.n == 0;
}

struct str
vary_proactive(struct arena *a, const struct headers *h)
{
	struct str value = headers_joined(h, STR("accept-encoding"), a);
	return value.n ? vary_request(a, STR("accept-encoding"), h) : STR_NONE;
}
