/* part.c - partial content (RFC 9111 3.3, 3.4). The usual answer to a range is to fetch the whole and serve the range from it as it grows.
 * What is far behind, or the tail of something that is not stored, is the exception: all before it would have to come first, while who asks (for
 * the index of an archive) wants only that. Then the range itself is asked for. When the rest can be asked for, too, it is how the whole begins
 * (server/storing.h); else the 206 is kept, beside the whole and never in its place. */
#include "storable.h"
#include "../common/range.h"

#define FAR (1u << 20)        /* a range that begins behind it is asked for by itself: what stands before would take longer than another request */
#define PREFIX_MAX (8u << 20) /* bytes that are copied to complete them; a longer beginning is fetched again with the whole */

/* The request is for one range and nothing else. */
static struct str
only_range(const struct http_request *req)
{
	const struct headers *h = &req->headers;
	static const struct str others[] = { STR("if-match"), STR("if-unmodified-since"), STR("if-none-match"), STR("if-modified-since"), STR("if-range") };
	if (req->method != METHOD_GET || headers_count(h, STR("range")) != 1)
		return STR_NONE;
	for (unsigned i = 0; i < sizeof(others) / sizeof(*others); i++)
		if (headers_has(h, others[i]))
			return STR_NONE;
	return headers_get(h, STR("range"));
}

struct str
judge_wants_part(const struct plan *plan, const struct http_request *req)
{
	struct str range = only_range(req), spec = str_from(range, sizeof("bytes=") - 1);
	uint64_t n;
	if (plan->policy == POLICY_NoCache || plan->policy == POLICY_AlwaysUpstream || !str_casestarts(range, STR("bytes=")))
		return STR_NONE;
	if (str_starts(spec, STR("-")))
		return str_u64(str_from(spec, 1), INT64_MAX, &n) ? range : STR_NONE;
	struct str last = spec, first = str_cut(&last, '-');
	return str_u64(first, INT64_MAX, &n) && n >= FAR && (last.n == 0 || str_u64(last, INT64_MAX, &n)) ? range : STR_NONE;
}

/* What a stored 206 holds: of bytes [held->first, held->last] of a whole of *total, as many as came. */
static bool
part_of(const struct meta *m, struct range *held, uint64_t *total)
{
	if (m->status != 206 || m->content_size <= 0 || !content_range_parse(headers_get(&m->headers, STR("content-range")), held, total) ||
	    *total == UINT64_MAX)
		return false;
	uint64_t came = (uint64_t)m->content_size, said = held->last - held->first + 1;
	if (came > said)
		return false; /* nobody can tell where these belong */
	held->last = held->first + came - 1; /* 3.3: of an incomplete one what came may be used */
	return true;
}

bool
judge_answers_range(struct str range, const struct http_response *resp)
{
	struct range asked[RANGE_MAX], held;
	uint64_t total;
	unsigned n;
	int64_t length;
	if (str_casestarts(range, STR("bytes=-")))
		return true;
	if (headers_count(&resp->headers, STR("content-range")) != 1 || !content_range_parse(headers_get(&resp->headers, STR("content-range")), &held, &total) ||
	    http_content_length(&resp->headers, &length) < 0 || (length >= 0 && (uint64_t)length != held.last - held.first + 1))
		return false;
	return range_parse(range, total, asked, &n) == RANGE_OK && n == 1 && held.first == asked[0].first && held.last <= asked[0].last;
}

bool
judge_keeps_part(const struct judge_options *o, const struct plan *plan, const struct http_request *req, const struct http_response *resp, int64_t now)
{
	struct http_response whole = *resp;
	struct range range;
	struct facts x;
	uint64_t total;
	whole.status = 200;
	facts_for(o, &resp->headers, &x);
	facts_rule(&x, plan);
	if (resp->status != 206 || headers_has(&resp->headers, STR("vary")) || headers_count(&resp->headers, STR("content-range")) != 1 ||
	    !content_range_parse(headers_get(&resp->headers, STR("content-range")), &range, &total) || total == UINT64_MAX)
		return false;
	return storable(o, plan, req, headers_has(&req->headers, STR("authorization")), &whole, &x, now);
}

enum selection
judge_part(const struct http_request *req, const struct meta *part, struct range *in)
{
	struct str range = only_range(req);
	struct range held, asked[RANGE_MAX];
	uint64_t total;
	unsigned n;
	if (!range.p || part->status != 206)
		return SELECT_UNSATISFIABLE;
	if (part->vary_request.n && str_eq(range, part->vary_request))
		return SELECT_FULL; /* the very question: the very answer */
	/* 3.3: only what lies wholly within what is there */
	if (!part_of(part, &held, &total) || range_parse(range, total, asked, &n) != RANGE_OK || n != 1 || asked[0].first < held.first ||
	    asked[0].last > held.last)
		return SELECT_UNSATISFIABLE;
	*in = (struct range){ asked[0].first - held.first, asked[0].last - held.first };
	return SELECT_RANGES;
}

static struct str
strong_tag(const struct headers *h)
{
	struct str tag = headers_get(h, STR("etag"));
	return tag.n >= 2 && tag.p[0] == '"' && headers_count(h, STR("etag")) == 1 ? tag : STR_NONE;
}

bool
judge_rest(const struct judge_options *o, const struct meta *part, int64_t now, struct arena *a, struct str *range, struct str *if_range)
{
	struct range held;
	uint64_t total;
	*if_range = strong_tag(&part->headers);
	if (!part_of(part, &held, &total) || held.first != 0 || held.last + 1 >= total || held.last + 1 > PREFIX_MAX ||
	    (part->flags & (META_INVALIDATED | META_AUTHORIZED)))
		return false;
	/* Without a strong validator nothing can be put together (3.4), but an origin that does not know ranges any more, or whose
	 * resource has changed, answers with the whole: asked for only while what we have is fresh. */
	if (!if_range->p && judge_age(part, now) >= judge_lifetime(o, NULL, part))
		return false;
	*range = arena_printf(a, "bytes=%llu-", (unsigned long long)held.last + 1);
	return true;
}

bool
judge_completes(const struct meta *part, const struct http_response *resp)
{
	struct range held, came;
	uint64_t total, total_now;
	struct str a = strong_tag(&part->headers), b = strong_tag(&resp->headers);
	return resp->status == 206 && a.p && b.p && str_eq(a, b) && part_of(part, &held, &total) &&
	       headers_count(&resp->headers, STR("content-range")) == 1 &&
	       content_range_parse(headers_get(&resp->headers, STR("content-range")), &came, &total_now) && total_now == total &&
	       came.first == held.last + 1 && came.last == total - 1;
}

void
judge_drop_digests(struct headers *h)
{
	headers_remove(h, STR("content-digest"));
	headers_remove(h, STR("content-md5"));
}

/* 3.4: the stored fields, updated from the new answer's, as a 200 of the whole. */
void
judge_as_whole(const struct meta *earlier, uint64_t total, struct http_response *resp, struct arena *a)
{
	struct headers all;
	headers_init(&all, a);
	for (unsigned i = 0; earlier != NULL && i < earlier->headers.n; i++)
		if (!headers_has(&resp->headers, earlier->headers.v[i].name))
			headers_add(&all, earlier->headers.v[i].name, earlier->headers.v[i].value);
	for (unsigned i = 0; i < resp->headers.n; i++)
		headers_add(&all, resp->headers.v[i].name, resp->headers.v[i].value);
	headers_remove(&all, STR("content-range"));
	judge_drop_digests(&all);
	headers_set(&all, STR("Content-Length"), arena_printf(a, "%llu", (unsigned long long)total));
	resp->headers = all;
	resp->status = 200;
	resp->reason = STR("OK");
}

void
judge_combine(const struct meta *part, struct http_response *resp, struct arena *a)
{
	struct range held;
	uint64_t total = 0;
	part_of(part, &held, &total);
	judge_as_whole(part, total, resp, a);
}
