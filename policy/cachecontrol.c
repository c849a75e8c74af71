/* cachecontrol.c - Cache-Control. What is malformed is read the careful way: a response counts as stale, a wish as not uttered. */
#include "cachecontrol.h"

bool
delta_parse(struct str s, int64_t *out)
{
	int64_t v = 0;
	if (!s.n)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		v = v * 10 + (s.p[i] - '0');
		if (v > DELTA_MAX)
			v = DELTA_MAX;
	}
	*out = v;
	return true;
}

static struct str
unquote(struct str s)
{
	if (s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"')
		return str_upto(str_from(s, 1), s.n - 2);
	return s;
}

/* "name=value" as a token or quoted string; no blanks around the = (5.2): "max-age =1" is another directive than max-age. */
static bool
split(struct str member, struct str *name, struct str *value)
{
	*value = member;
	*name = str_cut(value, '=');
	if (!value->p)
		return false;
	*value = unquote(*value);
	return true;
}

static bool
is_list(struct str value)
{
	struct str rest = value, name;
	bool any = false;
	while (value_next(&rest, &name)) {
		if (!field_name_valid(name))
			return false;
		any = true;
	}
	return any;
}

static void
number(int64_t *slot, bool has, struct str value)
{
	if (*slot == CC_ABSENT && (!has || !delta_parse(value, slot)))
		*slot = CC_INVALID;
}

void
cc_init(struct cache_control *cc)
{
	*cc = (struct cache_control){ 0, CC_ABSENT, CC_ABSENT, CC_ABSENT, CC_ABSENT, CC_ABSENT, CC_ABSENT };
}

#define IS(word) str_caseeq(name, STR(word))
void
cc_add(struct cache_control *cc, struct str line)
{
	struct str member, name, value;
	cc->bits |= CC_PRESENT;
	while (value_next(&line, &member)) {
		bool has = split(member, &name, &value);
		switch (name.n) { /* the length tells nearly all apart */
		case 6:
			if (IS("public"))
				cc->bits |= CC_PUBLIC;
			break;
		case 7:
			if (IS("max-age"))
				number(&cc->max_age, has, value);
			else if (IS("private"))
				cc->bits |= has && is_list(value) ? CC_PRIVATE_FIELDS : CC_PRIVATE;
			break;
		case 8:
			if (IS("no-store"))
				cc->bits |= CC_NO_STORE;
			else if (IS("no-cache"))
				cc->bits |= has && is_list(value) ? CC_NO_CACHE_FIELDS : CC_NO_CACHE;
			else if (IS("s-maxage"))
				number(&cc->s_maxage, has, value);
			break;
		case 9:
			if (IS("max-stale") && !has)
				cc->bits |= CC_MAX_STALE_ANY;
			else if (IS("max-stale"))
				number(&cc->max_stale, has, value);
			else if (IS("min-fresh"))
				number(&cc->min_fresh, has, value);
			else if (IS("immutable"))
				cc->bits |= CC_IMMUTABLE;
			break;
		case 14:
			if (IS("stale-if-error"))
				number(&cc->stale_if_error, has, value);
			else if (IS("only-if-cached"))
				cc->bits |= CC_ONLY_IF_CACHED;
			break;
		case 15:
			if (IS("must-revalidate"))
				cc->bits |= CC_MUST_REVALIDATE;
			else if (IS("must-understand"))
				cc->bits |= CC_MUST_UNDERSTAND;
			break;
		case 16:
			if (IS("proxy-revalidate"))
				cc->bits |= CC_PROXY_REVALIDATE;
			break;
		case 22:
			if (IS("stale-while-revalidate"))
				number(&cc->stale_while_revalidate, has, value);
			break;
		}
	}
}

void
cc_parse(struct cache_control *cc, const struct headers *h)
{
	cc_init(cc);
	for (unsigned i = 0; i < h->n; i++)
		if (h->v[i].name.n == 13 && str_caseeq(h->v[i].name, STR("cache-control")))
			cc_add(cc, h->v[i].value);
}

static bool
is_listed(const struct headers *h, struct str control, struct str field)
{
	struct str member, name, value, listed;
	for (struct list_iter it = list_start(h, control); list_next(&it, &member);) {
		if (!split(member, &name, &value) || !(IS("no-cache") || IS("private")) || !is_list(value))
			continue;
		while (value_next(&value, &listed))
			if (str_caseeq(listed, field))
				return true;
	}
	return false;
}

void
cc_drop_listed(struct headers *h, struct str control)
{
	for (unsigned i = 0; i < h->n;) {
		struct str name = h->v[i].name;
		if (!str_caseeq(name, control) && is_listed(h, control, name))
			headers_remove(h, name); /* what follows moves up, and no earlier field has this name */
		else
			i++;
	}
}
