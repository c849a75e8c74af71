/* storable.c - RFC 9111 3. */
#include "storable.h"

bool
storable_shared(const struct cache_control *cc)
{
	return (cc->bits & (CC_PUBLIC | CC_MUST_REVALIDATE)) || cc->s_maxage >= 0;
}

bool
storable_keep(const struct judge_options *o, int64_t status, const struct cache_control *cc)
{
	if (cc->bits & CC_MUST_UNDERSTAND) {
		if (!http_reason((int)status)[0])
			return false;
	} else if (cc->bits & CC_NO_STORE) {
		return false;
	}
	return !(o->shared && (cc->bits & CC_PRIVATE));
}

/* The answer to a POST is what a GET of the same URI would get only if it says both (RFC 9110 9.3.3). No arena here: the two
 * spellings in use are compared, the whole URL and its path and query. */
static bool
names_itself(const struct http_request *req, const struct http_response *resp)
{
	struct str location = headers_get(&resp->headers, STR("content-location")), origin = req->url.text;
	if (!location.n)
		return false;
	if (str_eq(location, origin))
		return true;
	size_t tail = req->url.path.n + (req->url.query.p ? req->url.query.n + 1 : 0);
	return tail <= origin.n && str_eq(location, str_from(origin, origin.n - tail));
}

bool
storable(const struct judge_options *o, const struct plan *plan, const struct http_request *req, bool authorized,
         const struct http_response *resp, const struct facts *x, int64_t now)
{
	bool is_explicit;
	int64_t date = freshness_date(x, now / 1000), lifetime = freshness_lifetime(o, resp->status, x, date, now / 1000, &is_explicit);
	int64_t apparent = now / 1000 - date, age = freshness_age_value(x);
	bool fresh = lifetime > (apparent > age ? apparent : age);

	/* 206 and 416 belong to the range that was asked for, 304 and 412 to a condition. */
	if (resp->status < 200 || resp->status == 206 || resp->status == 304 || resp->status == 412 || resp->status == 416)
		return false;
	if (!storable_keep(o, resp->status, &x->cc) || (authorized && o->shared && !storable_shared(&x->cc)))
		return false;
	for (unsigned i = 0; i < resp->headers.n; i++) {
		const struct field *f = &resp->headers.v[i];
		if (f->name.n == 4 && str_caseeq(f->name, STR("vary")) && f->value.n && memchr(f->value.p, '*', f->value.n))
			return false; /* 4.1: it would never match, and would push out what does */
	}
	if (req->method == METHOD_POST)
		return is_explicit && fresh && resp->status < 300 && names_itself(req, resp);
	if (req->method != METHOD_GET)
		return false;
	/* A cookie without a word on caching is meant for one client. */
	if (x->set_cookie && !is_explicit && !(x->cc.bits & CC_PUBLIC))
		return false;
	/* An error that cannot be reused is not worth what it would push out. */
	if (resp->status >= 400)
		return fresh && plan->policy != POLICY_AlwaysUpstream;
	if (is_explicit || status_heuristic(resp->status) || (x->cc.bits & CC_PUBLIC))
		return true;
	/* Any redirect is a fallback for when its origin fails, where a rule asks for one; it is never fresh. */
	return resp->status >= 300 && (plan->policy == POLICY_StaleIfError || plan->policy == POLICY_AlwaysUpstream);
}
