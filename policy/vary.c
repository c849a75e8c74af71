/* vary.c - which stored variant a request selects (RFC 9111 4.1, behaviour.md 4.3). */
#include "key.h"
#include <stdio.h>
#include <stdlib.h>

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

/* --- the normal form of a selecting field ------------------------------------------------------------------------------
 * RFC 9111 4.1: two requests match when their fields are the same, or can be made so by what the field's own specification says means
 * nothing: blanks around the members of a list, their being spread over lines, the case of codings and languages, and for
 * Accept-Language the order of its members, which only the weights rank (RFC 9110 12.5.4). What most clients send is in its normal
 * form already, so that names made by the older version, which knew none, are found under it. */

#define FIELD_MAX 1024    /* a longer value is compared as it is */
#define LANGUAGES_MAX 32  /* more are not sorted */
#define LANGUAGE_TAG_MAX 35 /* RFC 5646 4.4.1 */

struct out { char *p; size_t n, cap; bool lower; };

static void
put(struct out *o, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = o->lower ? ascii_lower(s.p[i]) : s.p[i];
		if (o->n < o->cap)
			o->p[o->n] = c;
		o->n++;
		if (c == '|') { /* which stands between fields: doubled, so that no value can pass for two fields */
			if (o->n < o->cap)
				o->p[o->n] = c;
			o->n++;
		}
	}
}

struct language { struct str tag, weight; uint64_t q; };

static int
by_rank(const void *a, const void *b)
{
	const struct language *x = a, *y = b;
	if (x->q != y->q)
		return x->q > y->q ? -1 : 1;
	return str_cmp(x->tag, y->tag);
}

/* "0.75" in thousandths (RFC 9110 12.4.2) */
static bool
weight_parse(struct str s, uint64_t *q)
{
	uint64_t fraction = 0, scale = 1000;
	if (!s.n || (s.p[0] != '0' && s.p[0] != '1') || (s.n > 1 && s.p[1] != '.') || s.n > 5)
		return false;
	for (size_t i = 2; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		fraction += (uint64_t)(s.p[i] - '0') * (scale /= 10);
	}
	*q = (s.p[0] == '1' ? 1000 : 0) + fraction;
	return *q <= 1000;
}

/* The members of Accept-Language, best first; 0: none, too many, or not as the RFC says. Tags are lower-cased into room. */
static unsigned
languages(const struct headers *h, struct language l[LANGUAGES_MAX], char *room, size_t room_n)
{
	struct str member;
	unsigned n = 0;
	for (struct list_iter it = list_start(h, STR("accept-language")); list_next(&it, &member);) {
		struct str weight = member, tag = str_trim(str_cut(&weight, ';'));
		uint64_t q = 1000;
		weight = str_trim(weight);
		if (weight.n && (!str_casestarts(weight, STR("q=")) || !weight_parse(weight = str_from(weight, 2), &q)))
			return 0;
		if (n == LANGUAGES_MAX || tag.n > room_n)
			return 0;
		for (size_t i = 0; i < tag.n; i++)
			room[i] = ascii_lower(tag.p[i]);
		l[n++] = (struct language){ { room, tag.n }, weight, q };
		room += tag.n;
		room_n -= tag.n;
	}
	qsort(l, n, sizeof(*l), by_rank);
	return n;
}

static void
put_normal(struct out *o, struct str name, const struct headers *h)
{
	struct str member;
	bool first = true;
	if (str_caseeq(name, STR("cookie")) || str_caseeq(name, STR("authorization"))) { /* these say who somebody is: to the byte */
		for (unsigned i = 0; i < h->n; i++)
			if (str_caseeq(h->v[i].name, name)) {
				put(o, first ? STR("") : STR(", "));
				put(o, h->v[i].value);
				first = false;
			}
		return;
	}
	if (str_caseeq(name, STR("accept-language"))) {
		struct language l[LANGUAGES_MAX];
		char room[FIELD_MAX];
		unsigned n = languages(h, l, room, sizeof room);
		for (unsigned i = 0; i < n; i++) {
			put(o, i ? STR(", ") : STR(""));
			put(o, l[i].tag);
			if (l[i].q != 1000) {
				put(o, STR(";q="));
				put(o, l[i].weight);
			}
		}
		if (n)
			return;
	}
	o->lower = str_caseeq(name, STR("accept-encoding")) || str_caseeq(name, STR("accept-language")) || str_caseeq(name, STR("accept-charset"));
	for (struct list_iter it = list_start(h, name); list_next(&it, &member);) {
		put(o, first ? STR("") : STR(", "));
		put(o, member);
		first = false;
	}
	o->lower = false;
}

/* instead: what stands for Accept-Language, when n > 0 */
static struct str
build(struct arena *a, struct str vary, const struct headers *h, struct str instead)
{
	struct out o = { NULL, 0, 0, false };
	if (vary.n && memchr(vary.p, '*', vary.n))
		return STR_NONE;
	for (int pass = 0; pass < 2; pass++) { /* the first only counts */
		struct str rest = vary, name;
		bool first = true;
		o.n = 0;
		while (vary_next(&rest, &name)) {
			if (!first && o.n++ < o.cap)
				o.p[o.n - 1] = '|';
			first = false;
			o.lower = true;
			put(&o, name);
			o.lower = false;
			put(&o, STR("="));
			o.lower = instead.n && str_caseeq(name, STR("accept-language"));
			if (o.lower)
				put(&o, instead);
			else
				put_normal(&o, name, h);
			o.lower = false;
		}
		if (pass == 0) {
			o.p = arena_alloc(a, o.n + 1);
			o.cap = o.n;
		}
	}
	return (struct str){ o.p, o.n };
}

struct str
vary_request(struct arena *a, struct str vary, const struct headers *h)
{
	return build(a, vary, h, STR_NONE);
}

struct str
vary_request_plain(struct arena *a, struct str vary, const struct headers *h)
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

/* Is this where a field ends in a selecting string? */
static bool
at_end(struct str s)
{
	return !s.n || (s.p[0] == '|' && !(s.n > 1 && s.p[1] == '|'));
}

/* Does raw begin with this field as it is, and does the field end there? */
static bool
take_plain(struct str *raw, struct str name, const struct headers *h)
{
	struct str s = *raw;
	bool any = false;
	for (unsigned i = 0; i < h->n; i++) {
		if (!str_caseeq(h->v[i].name, name))
			continue;
		if (h->v[i].value.n && memchr(h->v[i].value.p, '|', h->v[i].value.n))
			return false; /* its normal form has two */
		if ((any && !take(&s, STR(", "))) || !take(&s, h->v[i].value))
			return false;
		any = true;
	}
	if (!at_end(s))
		return false;
	*raw = s;
	return true;
}

static bool
take_normal(struct str *raw, struct str name, const struct headers *h)
{
	char buf[FIELD_MAX];
	struct out o = { buf, 0, sizeof buf, false };
	put_normal(&o, name, h);
	return o.n <= o.cap && take(raw, (struct str){ buf, o.n }) && at_end(*raw);
}

/* The value of a field in a selecting string: up to the next single bar. */
static struct str
value_of(struct str raw)
{
	size_t i = 0;
	while (!at_end(str_from(raw, i)))
		i += raw.p[i] == '|' ? 2 : 1;
	return str_upto(raw, i);
}

/* Is this the one language that the request ranks above all others? */
static bool
language_preferred(struct str language, const struct headers *h)
{
	struct language l[LANGUAGES_MAX];
	char room[FIELD_MAX];
	unsigned n = languages(h, l, room, sizeof room);
	return n && l[0].q && (n == 1 || l[1].q < l[0].q) && str_caseeq(l[0].tag, language);
}

/* Compares without building the string: this runs on every hit of a response that varies. */
static bool
selects(struct str vary, struct str raw, const struct headers *h, struct str language)
{
	struct str rest = vary, name;
	bool first = true;
	if (vary.n && memchr(vary.p, '*', vary.n))
		return false;
	while (vary_next(&rest, &name)) {
		if (!first && !take(&raw, STR("|")))
			return false;
		first = false;
		if (!str_casestarts(raw, name))
			return false;
		raw = str_from(raw, name.n);
		if (!take(&raw, STR("=")))
			return false;
		if (take_plain(&raw, name, h) || take_normal(&raw, name, h))
			continue;
		if (!language.n || !str_caseeq(name, STR("accept-language")) || !language_preferred(language, h))
			return false;
		raw = str_from(raw, value_of(raw).n);
	}
	return raw.n == 0;
}

bool
vary_selects(struct str vary, struct str raw, const struct headers *h)
{
	return selects(vary, raw, h, STR_NONE);
}

/* RFC 9111 4.1 ends with the best of several; an origin that says in which language it answered has told what it would choose for who
 * wants that language most of all. */
bool
vary_matches(const struct meta *m, const struct headers *h)
{
	return !m->vary.n || selects(m->vary, m->vary_request, h, headers_get(&m->headers, STR("content-language")));
}

/* What varies by language is named by the language that it is in, when it says so: requests of many wishes then find it. */
struct str
vary_name(struct arena *a, const struct meta *m, const struct headers *request)
{
	struct str language = headers_get(&m->headers, STR("content-language"));
	if (language.n && (language.n > LANGUAGE_TAG_MAX || memchr(language.p, ',', language.n)))
		language = STR_NONE;
	return build(a, m->vary, request, language);
}

unsigned
vary_names(struct arena *a, struct str vary, const struct headers *h, struct str names[VARY_NAMES])
{
	struct language l[LANGUAGES_MAX];
	struct str plain, rest = vary, name;
	char room[FIELD_MAX];
	unsigned n = 0, n_languages = 0;
	names[0] = vary_request(a, vary, h);
	if (!names[n++].p)
		return 0;
	plain = vary_request_plain(a, vary, h);
	if (!str_eq(plain, names[0]))
		names[n++] = plain;
	while (!n_languages && vary_next(&rest, &name))
		if (str_caseeq(name, STR("accept-language")))
			n_languages = languages(h, l, room, sizeof room);
	for (unsigned i = 0; i < n_languages && n < VARY_NAMES; i++)
		names[n++] = build(a, vary, h, l[i].tag);
	return n;
}

/* Our choice: weights go. They rank codings that are all welcome, and no origin that we know of serves a worse one for them; kept, each
 * client's own idea of 0.8 would be a variant of its own. */
struct str
vary_accept_encoding(struct arena *a, const struct headers *h)
{
	static const struct str codings[] = { STR("br"), STR("deflate"), STR("gzip"), STR("zstd") };
	enum { CODINGS = sizeof(codings) / sizeof(*codings), ROOM = 32 };
	bool takes[CODINGS] = { false };
	struct str member;
	if (!headers_has(h, STR("accept-encoding")))
		return STR_NONE;
	for (struct list_iter it = list_start(h, STR("accept-encoding")); list_next(&it, &member);) {
		struct str weight = member, coding = str_trim(str_cut(&weight, ';'));
		uint64_t q = 1000;
		weight = str_trim(weight);
		if (weight.n && (!str_casestarts(weight, STR("q=")) || !weight_parse(str_from(weight, 2), &q)))
			return STR_NONE;
		if (str_eq(coding, STR("*")) || (str_caseeq(coding, STR("identity")) && q == 0))
			return STR_NONE;
		if (str_caseeq(coding, STR("x-gzip"))) /* RFC 9110 8.4.1.3: the same */
			coding = STR("gzip");
		for (unsigned i = 0; i < CODINGS; i++)
			takes[i] = str_caseeq(coding, codings[i]) ? q > 0 : takes[i];
	}
	char *out = arena_alloc(a, ROOM), *w = out;
	for (unsigned i = 0; i < CODINGS; i++)
		if (takes[i])
			w += snprintf(w, (size_t)(out + ROOM - w), "%s%.*s", w > out ? ", " : "", STRP(codings[i]));
	return w > out ? (struct str){ out, (size_t)(w - out) } : STR("identity");
}

struct str
vary_proactive(struct arena *a, const struct headers *h)
{
	struct str value = headers_joined(h, STR("accept-encoding"), a);
	return value.n ? vary_request_plain(a, STR("accept-encoding"), h) : STR_NONE;
}
