/* judge.c - the decisions. Read it beside behaviour.md 2.3 and 2.4 and RFC 9111 4; where the two differ, the RFC decides for
 * Standard, and the policy's promise for the others, because a rule that names them is the operator's explicit word.
 *
 * Where RFC 9111 leaves a choice (MAY, SHOULD, or two readings), ours is, and why:
 *   3      A heuristically cacheable answer without a lifetime is stored: it can be validated, and stand in. An error without one is not: it would
 *          push out what is worth more. Vary: * is not: it would never be found.
 *   4      Of several stored responses that match, the newest (step_lookup.c): it is the origin's last word.
 *   4.2.1  Of a directive that is there twice the first counts; one that cannot be read counts as stale. Guessing would serve too long.
 *   4.2.2  10 % of the time since Last-Modified, a day at most, as everybody does; never for what sets a cookie (freshness.c).
 *   4.2.4  Stale is served for a failure or a 5xx unless the origin forbids it, even if it did not allow it (RFC 5861): builds go on. Not for a
 *          4xx, which is an answer. s-maxage forbids it only where no stale-… stands beside it: who says both means both.
 *   4.3.2  If-Modified-Since without a Last-Modified is compared with Date. If-Match and If-Unmodified-Since go to the origin: they are about its state.
 *   4.3.3  A 5xx to a validation: 4.2.4. Another error replaces nothing that is good, if it is a server's.
 *   4.3.4  A 304 that names no validator renews the one response that we asked about; one that names another has us ask for the whole.
 *   4.3.5  A HEAD renews what is stored when nothing differs; what differs is invalidated, as the RFC says a cache SHOULD.
 *   4.4    The URI and same-origin Location and Content-Location; all variants, for a change is hardly one of a single variant.
 *   5.2.1  Request directives are advice. All are taken: a client that bothers to say something knows why. But NoRefresh takes none.
 *   5.4    Pragma: no-cache of a request, for old clients, where no Cache-Control contradicts; of a response it has no meaning.
 *   5.5    Warning is obsolete: neither read nor made, and passed on like any field. */
#include "judge.h"
#include "key.h"
#include "storable.h"
#include "../common/range.h"

const char *
verdict_name(enum verdict v)
{
	static const char *const names[] = {
#define X(name, text) #name,
		VERDICTS(X)
#undef X
	};
	return names[v];
}

const char *
reason_name(enum reason r)
{
	static const char *const names[] = {
#define X(name) #name,
		REASONS(X)
#undef X
	};
	return names[r];
}

const char *
forward_name(enum forward f)
{
	static const char *const names[] = {
#define X(name, text) text,
		FORWARDS(X)
#undef X
	};
	return names[f];
}

/* --- the request ------------------------------------------------------------------------------------------------------ */

struct wish {                /* what a request says to a cache */
	struct cache_control cc;
	bool no_cache;           /* also as Pragma */
	bool authorized, cookie, body, precondition;
};

#define IS(word) str_caseeq(f->name, STR(word))
static void
wish_of(const struct headers *h, struct wish *w)
{
	bool pragma = false;
	*w = (struct wish){ .no_cache = false };
	cc_init(&w->cc);
	for (const struct field *f = h->v, *end = h->v + h->n; f < end; f++) {
		switch (f->name.n) {
		case 6:
			pragma = pragma || (IS("pragma") && str_caseeq(f->value, STR("no-cache")));
			w->cookie = w->cookie || IS("cookie");
			break;
		case 8:
			w->precondition = w->precondition || IS("if-match");
			break;
		case 13:
			if (IS("cache-control"))
				cc_add(&w->cc, f->value);
			else if (IS("authorization"))
				w->authorized = true;
			break;
		case 14:
			w->body = w->body || (IS("content-length") && !str_eq(f->value, STR("0")));
			break;
		case 17:
			w->body = w->body || IS("transfer-encoding");
			break;
		case 19:
			w->precondition = w->precondition || IS("if-unmodified-since");
			break;
		}
	}
	/* 5.4: Pragma is deprecated, but it is all that some old clients say, and saying it is a wish. */
	w->no_cache = (w->cc.bits & CC_NO_CACHE) || (pragma && !(w->cc.bits & CC_PRESENT));
}

static struct judgement
judged(enum verdict verdict, enum reason reason, enum forward forward)
{
	return (struct judgement){ .verdict = verdict, .reason = reason, .age_s = -1, .lifetime_s = -1, .forward = forward };
}

static struct judgement
judge_wish(const struct plan *plan, const struct http_request *req, const struct wish *w)
{
	bool no_refresh = plan->policy == POLICY_NoRefresh;
	if (plan->policy == POLICY_NoCache)
		return judged(VERDICT_PASS, REASON_no_cache_policy, FORWARD_bypass);
	if (req->method != METHOD_GET && req->method != METHOD_HEAD)
		return judged(VERDICT_PASS, REASON_no_cache_method, FORWARD_method);
	if (w->body)
		return judged(VERDICT_PASS, REASON_request_body, FORWARD_request);
	/* 5.2.1.5 forbids storing; the client that says it wants nothing to do with a cache, so it is not looked up either. */
	if ((w->cc.bits & CC_NO_STORE) && !(w->cc.bits & CC_ONLY_IF_CACHED) && !no_refresh)
		return judged(VERDICT_PASS, REASON_request_no_store, FORWARD_request);
	if (w->precondition && !no_refresh)
		return judged(VERDICT_PASS, REASON_request_precondition, FORWARD_request);
	return judged(VERDICT_FETCH, req->method == METHOD_HEAD ? REASON_head_via_upstream : REASON_upstream_served, FORWARD_uri_miss);
}

struct judgement
judge_request(const struct plan *plan, const struct http_request *req)
{
	struct wish w;
	wish_of(&req->headers, &w);
	return judge_wish(plan, req, &w);
}

/* --- what is stored --------------------------------------------------------------------------------------------------- */

struct held {                /* a stored response, seen by one request */
	const struct meta *meta;
	struct facts x;
	int64_t age, lifetime, staleness; /* s; staleness < 0: still fresh by the clock */
	bool is_explicit;        /* the lifetime */
	bool fits;               /* it may answer this request at all */
	bool must_ask;           /* no-cache, invalidated, or made for others: whatever its age */
	bool current;            /* by its own account it may be used unasked */
	bool may_be_stale;       /* nothing forbids to use it stale (4.2.4) */
};

static void
hold(const struct judge_options *o, const struct plan *plan, const struct http_request *req, const struct wish *w, const struct meta *m, int64_t now, struct held *s)
{
	int64_t received = freshness_received(m) / 1000;
	const struct cache_control *cc = &s->x.cc;
	s->meta = m;
	facts_for(o, &m->headers, &s->x);
	facts_rule(&s->x, plan);
	s->age = judge_age(m, now);
	s->lifetime = freshness_lifetime(o, m->status, &s->x, freshness_origin(m), received, &s->is_explicit);
	s->staleness = s->age - (s->lifetime > 0 ? s->lifetime : 0);
	s->fits = storable_keep(o, m->status, cc) && (!(m->flags & META_AUTHORIZED) || !o->shared || storable_shared(cc)) &&
	          vary_matches(m, &req->headers);
	/* RFC 9111 lets a request with credentials have what was stored without them. We ask first, unless the origin said that
	 * credentials do not matter: an origin that forgot Vary: Authorization then costs a round trip and no mix-up. */
	uint32_t ask = META_INVALIDATED | (plan->refresh && plan->refresh->ignore_no_store ? 0 : META_MUST_REVALIDATE_ALWAYS);
	s->must_ask = (cc->bits & CC_NO_CACHE) || (m->flags & ask) ||
	              (w->authorized && o->shared && !storable_shared(cc));
	s->current = s->staleness < 0 && !s->must_ask;
	s->may_be_stale = !(cc->bits & (CC_NO_CACHE | CC_MUST_REVALIDATE)) && !(m->flags & META_INVALIDATED) &&
	                  !(o->shared && (cc->bits & CC_PROXY_REVALIDATE));
}

/* s-maxage implies proxy-revalidate (5.2.2.10), but an origin that also says for how long stale is good (RFC 5861) means that. */
static bool
implied_revalidate(const struct judge_options *o, const struct held *s, int64_t said)
{
	return o->shared && s->x.cc.s_maxage != CC_ABSENT && said < 0;
}

/* Does the request itself allow what is current? max-age=0 is how clients say "ask"; other limits are inclusive (5.2.1.1). */
static bool
wish_accepts(const struct wish *w, const struct held *s)
{
	if (w->no_cache)
		return false;
	if (w->cc.max_age == 0 || (w->cc.max_age > 0 && s->age > w->cc.max_age))
		return false;
	return !(w->cc.min_fresh > 0 && s->lifetime - s->age < w->cc.min_fresh);
}

#define NO_ANSWER 0
/* May what is stored stand in for this failure: a status, or NO_ANSWER? */
static bool
stands_in(const struct judge_options *o, const struct plan *plan, const struct wish *w, const struct held *s, int status)
{
	const struct cache_control *cc = &s->x.cc;
	bool broken = status == NO_ANSWER || status >= 500;
	if (!s->fits || s->meta->status >= 500 || status == 412 || status == 416)
		return false;
	switch (plan->policy) {
	case POLICY_StaleIfError:   /* any error, 404 too; and whatever the origin thought of it: that is what the rule is for */
		return s->meta->status < 400;
	case POLICY_AlwaysUpstream: /* the last answer is the fallback */
	case POLICY_NoRefresh:
		return broken && s->meta->status < 400;
	case POLICY_Standard:
		break;
	case POLICY_NoCache:
	case POLICY_MAX:
		return false;
	}
	if (!broken || w->no_cache)
		return false;
	if (s->current)
		return true;
	/* 4.2.4 allows it to a cache that is disconnected, and 4.3.3 to take a 5xx for that, where nothing forbids it. */
	if (!s->may_be_stale || implied_revalidate(o, s, cc->stale_if_error))
		return false;
	/* RFC 5861 4: who names a time wants no older ones. */
	if (cc->stale_if_error >= 0 && s->staleness > cc->stale_if_error)
		return false;
	return !(w->cc.stale_if_error >= 0 && s->staleness > w->cc.stale_if_error);
}

static bool
has_validator(const struct held *s)
{
	return s->x.etag.n || s->x.last_modified.n;
}

struct judgement
judge_stored(const struct judge_options *o, const struct plan *plan, const struct http_request *req, const struct meta *stored,
             int64_t now, bool origin_down)
{
	struct wish w;
	struct held s;
	struct judgement j;
	const struct cache_control *cc = &s.x.cc;
	bool head = req->method == METHOD_HEAD, only_cached, redirect, usual, wanted;

	wish_of(&req->headers, &w);
	j = judge_wish(plan, req, &w);
	if (j.verdict == VERDICT_PASS)
		return j;
	only_cached = w.cc.bits & CC_ONLY_IF_CACHED;
	if (stored) {
		hold(o, plan, req, &w, stored, now, &s);
		if (!s.fits)
			j.forward = FORWARD_vary_miss;
	}
	if (!stored || !s.fits) {
		if (only_cached)
			j = judged(VERDICT_REFUSE, REASON_only_if_cached, FORWARD_none);
		return j;
	}
	j.age_s = s.age;
	j.lifetime_s = s.lifetime;
	j.stale_on_error = stands_in(o, plan, &w, &s, NO_ANSWER);
	j.forward = s.current ? FORWARD_request : FORWARD_stale;
	redirect = stored->status >= 300 && stored->status < 400;
	usual = plan->policy == POLICY_Standard || plan->policy == POLICY_StaleIfError;
	/* NoRefresh and fresh redirects: no wish of the client counts (2.2), but for AlwaysUpstream nothing else is a hit. */
	wanted = s.current && (plan->policy == POLICY_NoRefresh || wish_accepts(&w, &s));

#define VERDICT(v, r) do { j.verdict = VERDICT_##v; j.reason = REASON_##r; j.forward = FORWARD_none; return j; } while (0)
	if (head && wanted)
		VERDICT(HIT, head_synthetic_from_cache);
	if (redirect && wanted)
		VERDICT(HIT, redirect_synthetic_from_cache);
	/* Any age, but not what an unsafe request has overtaken (4.4), nor an error that has had its time. */
	if (plan->policy == POLICY_NoRefresh && !head && !(stored->flags & META_INVALIDATED) && (stored->status < 400 || s.current))
		VERDICT(HIT, cache_hit_norefresh);
	if (wanted && (usual || only_cached))
		VERDICT(HIT, cache_hit_fresh);

	if (usual && !s.current && stored->status < 500) {
		bool window = cc->stale_while_revalidate >= 0 && s.staleness <= cc->stale_while_revalidate;
		bool stale = s.may_be_stale && !s.must_ask && wish_accepts(&w, &s) && !(w.cc.min_fresh > 0);
		if (stale && window && !head)
			VERDICT(HIT_AND_REVALIDATE, cache_hit_stale_while_revalidate);
		/* 5.2.1.2: the client is content with a stale one */
		if (stale && !implied_revalidate(o, &s, -1) &&
		    ((w.cc.bits & CC_MAX_STALE_ANY) || (w.cc.max_stale >= 0 && s.staleness <= w.cc.max_stale)))
			VERDICT(HIT, cache_hit_max_stale);
	}
	/* Forced SWR is the operator's: neither the origin's nor the client's directives undo it (3.4). It needs something to revalidate
	 * with, or every use would be a full fetch; and it is not for errors, nor for what an unsafe request has overtaken. */
	if (usual && plan->forced_swr_s >= 0 && s.age <= plan->forced_swr_s && stored->status < 400 && !(stored->flags & META_INVALIDATED) &&
	    !(w.authorized && s.must_ask)) {
		if (head)
			VERDICT(HIT, head_forced_swr_synthetic);
		if (has_validator(&s))
			VERDICT(HIT_AND_REVALIDATE, cache_hit_forced_swr);
	}
	if (origin_down && j.stale_on_error)
		VERDICT(SERVE_STALE, stale_if_error_fallback);
	if (only_cached)
		VERDICT(REFUSE, only_if_cached);
#undef VERDICT

	if (head || plan->policy == POLICY_AlwaysUpstream) {
		j.forward = plan->policy == POLICY_AlwaysUpstream ? FORWARD_bypass : j.forward;
		return j; /* FETCH, upstream_served or head_via_upstream */
	}
	/* A condition is about a 2xx (RFC 9110 13.2.1); redirects and errors are small, so they are fetched anew. */
	if (stored->status < 300 && has_validator(&s)) {
		j.verdict = VERDICT_REVALIDATE;
		j.reason = REASON_conditional_revalidation;
		j.conditional = true;
	} else {
		j.reason = REASON_stale_no_validators;
	}
	return j;
}

/* --- what the origin answered ----------------------------------------------------------------------------------------- */

/* The same tag, strong or weak: origins and their compressing front ends are not of one mind about W/. */
static bool
same_tag(struct str a, struct str b)
{
	if (str_casestarts(a, STR("W/")))
		a = str_from(a, 2);
	if (str_casestarts(b, STR("W/")))
		b = str_from(b, 2);
	return str_eq(a, b);
}

/* 4.3.5: does a HEAD's 200 speak of the representation that is stored? */
static bool
head_matches(const struct held *s, const struct facts *x, const struct headers *h)
{
	int64_t length;
	if (s->meta->status != 200)
		return false;
	/* A validator that the stored one has not matches nothing; laid over it, old bytes would be confirmed by the tag of new ones. */
	if ((x->etag.n && !str_eq(x->etag, s->x.etag)) || (x->last_modified.n && !str_eq(x->last_modified, s->x.last_modified)))
		return false;
	return http_content_length(h, &length) == 0 && (length < 0 || s->meta->content_size < 0 || length == s->meta->content_size);
}

/* 3.5, of a renewal: what was said to who has credentials is nothing for all others, unless it says so. */
static bool
for_all(const struct judge_options *o, bool authorized, const struct facts *x)
{
	return !authorized || !o->shared || storable_shared(&x->cc);
}

bool
judge_renews(const struct judge_options *o, const struct http_request *req, const struct meta *freshened)
{
	struct facts x;
	facts_for(o, &freshened->headers, &x);
	return for_all(o, headers_has(&req->headers, STR("authorization")), &x);
}

enum outcome
judge_response(const struct judge_options *o, const struct plan *plan, const struct http_request *req, const struct meta *stored,
               const struct http_response *resp, int64_t now)
{
	struct wish w;
	struct held s;
	struct facts x;
	if (plan->policy == POLICY_NoCache)
		return OUTCOME_RELAY;
	wish_of(&req->headers, &w);
	facts_for(o, &resp->headers, &x);
	facts_rule(&x, plan);
	if (stored)
		hold(o, plan, req, &w, stored, now, &s);
	if (stored && resp->status == 304)
		return s.fits && (!x.etag.n || !s.x.etag.n || same_tag(x.etag, s.x.etag)) ? OUTCOME_FRESHEN : OUTCOME_REFETCH;
	if (stored && resp->status >= 400 && (req->method == METHOD_GET || req->method == METHOD_HEAD) &&
	    stands_in(o, plan, &w, &s, resp->status))
		return OUTCOME_SERVE_STALE;
	if (req->method == METHOD_HEAD) {
		if (!stored || !s.fits || resp->status != 200 || !for_all(o, w.authorized, &x))
			return OUTCOME_RELAY;
		return head_matches(&s, &x, &resp->headers) ? OUTCOME_FRESHEN : OUTCOME_INVALIDATE;
	}
	if ((w.cc.bits & CC_NO_STORE) || (w.body && req->method != METHOD_POST))
		return OUTCOME_RELAY;
	/* A server error, however cacheable it claims to be, does not push out a good answer. */
	if (stored && s.fits && stored->status < 400 && resp->status >= 500)
		return OUTCOME_RELAY;
	return storable(o, plan, req, w.authorized, resp, &x, now) ? OUTCOME_STORE : OUTCOME_RELAY;
}

enum outcome
judge_failure(const struct judge_options *o, const struct plan *plan, const struct http_request *req, const struct meta *stored, int64_t now)
{
	struct wish w;
	struct held s;
	if (!stored || (req->method != METHOD_GET && req->method != METHOD_HEAD))
		return OUTCOME_RELAY;
	wish_of(&req->headers, &w);
	hold(o, plan, req, &w, stored, now, &s);
	return stands_in(o, plan, &w, &s, NO_ANSWER) ? OUTCOME_SERVE_STALE : OUTCOME_RELAY;
}

bool
judge_may_join(const struct judge_options *o, const struct plan *plan, const struct http_request *req, const struct meta *growing, int64_t now)
{
	struct wish w;
	struct held s;
	wish_of(&req->headers, &w);
	if (judge_wish(plan, req, &w).verdict == VERDICT_PASS || plan->policy == POLICY_AlwaysUpstream)
		return false; /* AlwaysUpstream: each request its own answer */
	struct range in;
	if (growing->status == 206 && judge_part(req, growing, &in) == SELECT_UNSATISFIABLE)
		return false;
	/* Just arrived, however long its body takes: what is under way is younger than any copy could be. */
	hold(o, plan, req, &w, growing, now < growing->response_time ? now : growing->response_time, &s);
	if (!s.fits)
		return false;
	if (plan->policy == POLICY_NoRefresh)
		return growing->status < 400 || s.current;
	if (plan->forced_swr_s >= 0 && has_validator(&s) && growing->status < 400 && !(w.authorized && s.must_ask))
		return true;
	if (s.must_ask || !wish_accepts(&w, &s))
		return false;
	if (s.current || (s.may_be_stale && s.x.cc.stale_while_revalidate >= 0 && s.staleness <= s.x.cc.stale_while_revalidate))
		return true;
	/* 4.2.2: where the origin says nothing we may guess a lifetime: as long as the transfer takes. But with a cookie in it the answer
	 * may well be one person's page, of an origin that never heard of caches: nobody else sees it by a guess. */
	if (((growing->flags & META_COOKIE) || w.cookie) && !(s.x.cc.bits & CC_PUBLIC))
		return false;
	return !s.is_explicit && !s.x.set_cookie && (status_heuristic(growing->status) || (s.x.cc.bits & CC_PUBLIC));
}

bool
judge_invalidates(const struct http_request *req, const struct http_response *resp, struct arena *a, struct url also[2], unsigned *n)
{
	static const struct str fields[] = { STR("location"), STR("content-location") };
	*n = 0;
	/* 4.4: unsafe methods, and those of which we do not know; the answer is no error */
	if (http_method_safe(req->method) || req->method == METHOD_CONNECT || resp->status < 200 || resp->status >= 400)
		return false;
	for (unsigned i = 0; i < 2; i++) {
		struct str ref = headers_get(&resp->headers, fields[i]);
		if (ref.n && url_resolve(a, &req->url, ref, &also[*n]) == 0 && url_same_origin(&req->url, &also[*n]))
			++*n;
	}
	return true;
}
