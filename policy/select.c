/* select.c - what of a stored response answers a request: preconditions in the order of RFC 9110 13.2.2, then ranges (14.2). */
#include "freshness.h"
#include "../common/httpdate.h"
#include "../common/range.h"

/* The next entity-tag of a list, whole; the opaque part without W/ and quotes. No escapes in a tag (RFC 9110 8.8.3), so this is
 * not the reading of quoted strings. Bare tags are taken too: some clients and origins send them. */
static bool
tag_next(struct str *rest, struct str *tag)
{
	const char *p = rest->p, *end = p + rest->n, *start, *quote;
	while (p < end && (*p == ',' || *p == ' ' || *p == '\t'))
		p++;
	if (p == end)
		return false;
	start = p;
	for (quote = p; quote < end && *quote != '"' && *quote != ','; quote++)
		;
	if (quote < end && *quote == '"')
		for (p = quote + 1; p < end && *p != '"'; p++)
			;
	while (p < end && *p != ',')
		p++;
	*tag = str_trim((struct str){ start, (size_t)(p - start) });
	*rest = (struct str){ p, (size_t)(end - p) };
	return true;
}

static struct str
opaque(struct str tag, bool *weak)
{
	*weak = str_casestarts(tag, STR("W/"));
	if (*weak)
		tag = str_from(tag, 2);
	if (tag.n >= 2 && tag.p[0] == '"' && tag.p[tag.n - 1] == '"')
		tag = str_upto(str_from(tag, 1), tag.n - 2);
	return tag;
}

static bool
tags_match(struct str a, struct str b, bool strong)
{
	bool weak_a, weak_b;
	struct str x = opaque(a, &weak_a), y = opaque(b, &weak_b);
	return str_eq(x, y) && !(strong && (weak_a || weak_b));
}

/* Over all lines of If-Match or If-None-Match. "*" is met: there is a representation. */
static bool
lists_tag(const struct headers *h, struct str name, struct str etag, bool strong)
{
	for (unsigned i = 0; i < h->n; i++) {
		struct str rest = h->v[i].value, tag;
		if (!str_caseeq(h->v[i].name, name))
			continue;
		while (tag_next(&rest, &tag))
			if (str_eq(tag, STR("*")) || (etag.n && tags_match(tag, etag, strong)))
				return true;
	}
	return false;
}

/* A date field that is there once and valid, or HTTPDATE_NONE (13.1.3: otherwise it is to be ignored). */
static int64_t
date_field(const struct headers *h, struct str name, int64_t now)
{
	return headers_count(h, name) == 1 ? httpdate_parse(headers_get(h, name), now / 1000) : HTTPDATE_NONE;
}

/* 13.1.5: a tag must match strongly. A date must be the very Last-Modified, and that is strong only when the response was made
 * later than the second in which its representation last changed (8.8.2.2). */
static bool
if_range_holds(struct str value, const struct facts *x, int64_t response_date, int64_t now)
{
	int64_t date = httpdate_parse(value, now / 1000), modified;
	if (date == HTTPDATE_NONE)
		return x->etag.n && tags_match(value, x->etag, true);
	modified = x->last_modified.p ? httpdate_parse(x->last_modified, now / 1000) : HTTPDATE_NONE;
	return modified != HTTPDATE_NONE && date == modified && response_date > modified;
}

enum selection
judge_select(const struct http_request *req, const struct meta *m, int64_t size, int64_t now, struct range *ranges, unsigned *n)
{
	const struct headers *h = &req->headers;
	const struct field *inm = NULL, *ims = NULL, *im = NULL, *ius = NULL, *range = NULL, *if_range = NULL;
	struct facts x;
	int64_t date = freshness_origin(m), modified, given;

	*n = 0;
	if (m->status == 206) { /* only what judge_part allows comes here */
		*n = judge_part(req, m, &ranges[0]) == SELECT_RANGES;
		return *n ? SELECT_RANGES : SELECT_FULL;
	}
	/* 13.2.1: conditions hold for what would be a 2xx; caches answer those of GET and HEAD. */
	if (m->status < 200 || m->status > 299)
		return SELECT_FULL;
	for (const struct field *f = h->v, *end = h->v + h->n; f < end; f++) {
		switch (f->name.n) {
		case 5:  range = str_caseeq(f->name, STR("range")) ? f : range; break;
		case 8:  im = str_caseeq(f->name, STR("if-match")) ? f : im;
		         if_range = str_caseeq(f->name, STR("if-range")) ? f : if_range; break;
		case 13: inm = str_caseeq(f->name, STR("if-none-match")) ? f : inm; break;
		case 17: ims = str_caseeq(f->name, STR("if-modified-since")) ? f : ims; break;
		case 19: ius = str_caseeq(f->name, STR("if-unmodified-since")) ? f : ius; break;
		}
	}
	if (!inm && !ims && !im && !ius && !range)
		return SELECT_FULL;
	facts_of(&m->headers, &x);
	modified = x.last_modified.p ? httpdate_parse(x.last_modified, now / 1000) : HTTPDATE_NONE;

	/* 1, 2: only where we answer in the origin's place (see judge_request) */
	if (im) {
		if (!lists_tag(h, STR("if-match"), x.etag, true))
			return SELECT_PRECONDITION_FAILED;
	} else if (ius && modified != HTTPDATE_NONE) {
		given = date_field(h, STR("if-unmodified-since"), now);
		if (given != HTTPDATE_NONE && modified > given)
			return SELECT_PRECONDITION_FAILED;
	}
	/* 3, 4; RFC 9111 4.3.2: without Last-Modified the Date counts, and without that the time of receipt */
	if (inm) {
		if (lists_tag(h, STR("if-none-match"), x.etag, false))
			return SELECT_NOT_MODIFIED;
	} else if (ims) {
		given = date_field(h, STR("if-modified-since"), now);
		if (given != HTTPDATE_NONE && (modified != HTTPDATE_NONE ? modified : date) <= given)
			return SELECT_NOT_MODIFIED;
	}
	/* 5 */
	if (!range || req->method != METHOD_GET || m->status != 200 || size < 0 || headers_count(h, STR("range")) != 1)
		return SELECT_FULL;
	if (if_range && !if_range_holds(if_range->value, &x, date, now))
		return SELECT_FULL;
	switch (range_parse(range->value, (uint64_t)size, ranges, n)) {
	case RANGE_OK:            return SELECT_RANGES;
	case RANGE_UNSATISFIABLE: *n = 0; return SELECT_UNSATISFIABLE;
	case RANGE_IGNORE:        break;
	}
	*n = 0;
	return SELECT_FULL;
}
