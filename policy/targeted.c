/* targeted.c - see targeted.h. The functions that read syntax are named as in RFC 8941 4.2; each takes what it has read off *s. */
#include "targeted.h"
#include <string.h>

enum type { BOOLEAN, INTEGER, DECIMAL, STRING, TOKEN, BYTES, LIST };
struct item {
	enum type type;
	int64_t number; /* of an Integer; of a Boolean 0 or 1 */
	struct str text; /* of a String without its quotes, but with its escapes; of a Token */
	bool has_parameters;
};

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
static bool is_alpha(char c) { return is_lower(ascii_lower(c)); }

static bool
next_is(const struct str *s, char c)
{
	return s->n && s->p[0] == c;
}

static bool
take(struct str *s, char c)
{
	if (!next_is(s, c))
		return false;
	*s = str_from(*s, 1);
	return true;
}

static void
blanks(struct str *s, bool tabs)
{
	while (next_is(s, ' ') || (tabs && next_is(s, '\t')))
		*s = str_from(*s, 1);
}

/* Integer of at most 15 digits, Decimal of at most 12.3 */
static bool
number(struct str *s, struct item *i)
{
	bool minus = take(s, '-');
	size_t n = 0, fraction = 0;
	int64_t v = 0;
	for (; n < s->n && is_digit(s->p[n]); n++) {
		if (n == 15)
			return false;
		v = v * 10 + (s->p[n] - '0');
	}
	if (!n)
		return false;
	*s = str_from(*s, n);
	*i = (struct item){ .type = INTEGER, .number = minus ? -v : v };
	if (!take(s, '.'))
		return true;
	while (fraction < s->n && is_digit(s->p[fraction]))
		fraction++;
	*s = str_from(*s, fraction);
	i->type = DECIMAL;
	return n <= 12 && fraction >= 1 && fraction <= 3;
}

static bool
string(struct str *s, struct item *i)
{
	size_t n = 0;
	*s = str_from(*s, 1);
	for (; n < s->n && s->p[n] != '"'; n++) {
		if (s->p[n] < ' ' || s->p[n] > '~')
			return false;
		if (s->p[n] == '\\' && (++n == s->n || (s->p[n] != '"' && s->p[n] != '\\')))
			return false;
	}
	if (n == s->n)
		return false;
	*i = (struct item){ .type = STRING, .text = str_upto(*s, n) };
	*s = str_from(*s, n + 1);
	return true;
}

static bool
token(struct str *s, struct item *i)
{
	size_t n = 1;
	while (n < s->n && (s->p[n] == ':' || s->p[n] == '/' || field_name_valid((struct str){ s->p + n, 1 }))) /* tchar */
		n++;
	*i = (struct item){ .type = TOKEN, .text = str_upto(*s, n) };
	*s = str_from(*s, n);
	return true;
}

static bool
bytes(struct str *s, struct item *i)
{
	*s = str_from(*s, 1);
	*i = (struct item){ .type = BYTES };
	while (s->n && (is_alpha(s->p[0]) || is_digit(s->p[0]) || s->p[0] == '+' || s->p[0] == '/' || s->p[0] == '='))
		*s = str_from(*s, 1);
	return take(s, ':');
}

static bool
boolean(struct str *s, struct item *i)
{
	*s = str_from(*s, 1);
	*i = (struct item){ .type = BOOLEAN, .number = next_is(s, '1') };
	return take(s, '0') || take(s, '1');
}

static bool
bare_item(struct str *s, struct item *i)
{
	if (!s->n)
		return false;
	switch (s->p[0]) {
	case '-': case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
		return number(s, i);
	case '"':
		return string(s, i);
	case ':':
		return bytes(s, i);
	case '?':
		return boolean(s, i);
	}
	return (s->p[0] == '*' || is_alpha(s->p[0])) && token(s, i);
}

static bool
key(struct str *s, struct str *out)
{
	size_t n = 0;
	if (!s->n || !(is_lower(s->p[0]) || s->p[0] == '*'))
		return false;
	while (n < s->n && (is_lower(s->p[n]) || is_digit(s->p[n]) || (s->p[n] && strchr("_-.*", s->p[n]))))
		n++;
	*out = str_upto(*s, n);
	*s = str_from(*s, n);
	return true;
}

static bool
parameters(struct str *s, bool *any)
{
	*any = false;
	while (take(s, ';')) {
		struct str name;
		struct item value;
		*any = true;
		blanks(s, false);
		if (!key(s, &name) || (take(s, '=') && !bare_item(s, &value)))
			return false;
	}
	return true;
}

static bool
inner_list(struct str *s, struct item *i)
{
	struct item member;
	bool any;
	*s = str_from(*s, 1);
	*i = (struct item){ .type = LIST };
	for (;;) {
		blanks(s, false);
		if (take(s, ')'))
			return true;
		if (!bare_item(s, &member) || !parameters(s, &any))
			return false;
		if (!next_is(s, ' ') && !next_is(s, ')'))
			return false;
	}
}

/* --- what it means ---------------------------------------------------------------------------------------------------- */

static bool
is_names(const struct item *i)
{
	struct str rest = i->text, name;
	bool any = false;
	while (value_next(&rest, &name)) {
		if (!field_name_valid(name))
			return false;
		any = true;
	}
	/* We would have to find them again, in cc_drop_listed, which knows no parameters. */
	return any && !i->has_parameters;
}

/* 2.1: a directive without a value is a Boolean. */
static bool
flag(struct cache_control *cc, unsigned bit, const struct item *i)
{
	cc->bits = i->number ? cc->bits | bit : cc->bits & ~bit;
	return i->type == BOOLEAN;
}

static bool
seconds(int64_t *slot, const struct item *i)
{
	*slot = i->number < 0 ? CC_INVALID : i->number > DELTA_MAX ? DELTA_MAX : i->number;
	return i->type == INTEGER;
}

/* no-cache and private: all of the response, or the fields that are named */
static bool
whole_or_fields(struct cache_control *cc, unsigned whole, unsigned fields, const struct item *i)
{
	cc->bits &= ~(whole | fields);
	if (i->type == BOOLEAN)
		return flag(cc, whole, i);
	cc->bits |= is_names(i) ? fields : whole;
	return i->type == STRING || i->type == TOKEN;
}

/* Of two of a name the last counts (RFC 8941 4.2.2), so each sets anew what it is about. Unknown directives are ignored (2.2). */
static bool
directive(struct cache_control *cc, struct str name, const struct item *i)
{
#define IS(word) if (str_eq(name, STR(word))) return
	IS("max-age") seconds(&cc->max_age, i);
	IS("s-maxage") seconds(&cc->s_maxage, i);
	IS("stale-while-revalidate") seconds(&cc->stale_while_revalidate, i);
	IS("stale-if-error") seconds(&cc->stale_if_error, i);
	IS("no-store") flag(cc, CC_NO_STORE, i);
	IS("public") flag(cc, CC_PUBLIC, i);
	IS("must-revalidate") flag(cc, CC_MUST_REVALIDATE, i);
	IS("proxy-revalidate") flag(cc, CC_PROXY_REVALIDATE, i);
	IS("must-understand") flag(cc, CC_MUST_UNDERSTAND, i);
	IS("immutable") flag(cc, CC_IMMUTABLE, i);
	IS("no-cache") whole_or_fields(cc, CC_NO_CACHE, CC_NO_CACHE_FIELDS, i);
	IS("private") whole_or_fields(cc, CC_PRIVATE, CC_PRIVATE_FIELDS, i);
#undef IS
	return true;
}

/* One line of a dictionary; none may end with a comma. */
static bool
dictionary(struct str s, struct cache_control *cc)
{
	blanks(&s, false);
	while (s.n) {
		struct str name;
		struct item value = { .type = BOOLEAN, .number = 1 };
		if (!key(&s, &name))
			return false;
		if (take(&s, '=') && !(next_is(&s, '(') ? inner_list(&s, &value) : bare_item(&s, &value)))
			return false;
		if (!parameters(&s, &value.has_parameters) || !directive(cc, name, &value))
			return false;
		cc->bits |= CC_PRESENT;
		blanks(&s, true);
		if (!s.n)
			return true;
		if (!take(&s, ','))
			return false;
		blanks(&s, true);
		if (!s.n)
			return false;
	}
	return true;
}

bool
targeted_parse(const struct headers *h, struct cache_control *cc, struct str *name)
{
	static const struct str targets[] = { STR("passsage-cache-control"), STR("cdn-cache-control") }; /* the first that is valid decides (2.2) */
	for (unsigned t = 0; t < sizeof(targets) / sizeof(*targets); t++) {
		bool valid = true;
		cc_init(cc);
		for (unsigned i = 0; i < h->n && valid; i++)
			if (h->v[i].name.n == targets[t].n && str_caseeq(h->v[i].name, targets[t]))
				valid = dictionary(h->v[i].value, cc);
		*name = targets[t];
		if (valid && cc->bits & CC_PRESENT)
			return true;
	}
	return false;
}
