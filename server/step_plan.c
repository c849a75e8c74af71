/* step_plan.c - the rules' word on the request, and whether the cache has anything to do with it. */
#include "../policy/key.h"
#include "../policy/s3host.h"
#include "request.h"
#include "worker.h"

/* An offer of h2c alone (Java's HttpClient makes it with each plain request) is declined by answering in HTTP/1.1 (RFC 9110 7.8), and so is
 * any that comes with a body; the request is then one like others. */
static bool worth_upgrading(struct request *r)
{
	struct str member;
	bool other = false;
	for (struct list_iter it = list_start(&r->http.headers, STR("Upgrade")); list_next(&it, &member);)
		other |= !str_caseeq(member, STR("h2c"));
	if (!other || r->body_left != 0)
		r->framing.upgrade = false;
	return r->framing.upgrade;
}

void request_normalize(struct request *r)
{
	struct str normal = conf()->normalize_accept_encoding ? vary_accept_encoding(r->arena, &r->http.headers) : STR_NONE;
	if (normal.p != NULL)
		headers_set(&r->http.headers, STR("Accept-Encoding"), normal);
}

enum req_step step_plan(struct request *r)
{
	const struct settings *s = conf();
	if (!r->framing.upgrade) /* the key, the variant and the origin see the same fields: what Connection names is not sent, so it must not select */
		headers_strip_hop_by_hop(&r->http.headers);
	struct str wanted = s->allow_policy_header ? headers_get(&r->http.headers, STR("X-Passsage-Policy")) : STR_NONE;
	ruleset_plan(atomic_load(&r->worker->rules), &r->http, wanted, r->arena, &r->plan);
	r->planned = true;
	r->own_bucket = s3host_applies(&r->worker->s3_host, &r->http, &r->plan);
	if (r->framing.upgrade && worth_upgrading(r)) {
		r->reason = REASON_upgrade;
		return STEP_pass;
	}
	r->judgement = judge_request(&r->plan, &r->http);
	r->reason = r->own_bucket ? REASON_no_cache_s3_request : r->judgement.reason;
	if (r->judgement.verdict == VERDICT_PASS || r->body_left != 0) /* a GET with a body means something that no key knows */
		return STEP_pass;
	request_normalize(r); /* for the variant and the origin alike */
	return STEP_lookup;
}
