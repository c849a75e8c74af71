/* step_plan.c - the rules' word on the request, and whether the cache has anything to do with it. */
#include "request.h"
#include "worker.h"

enum req_step step_plan(struct request *r)
{
	const struct settings *s = conf();
	struct str wanted = s->allow_policy_header ? headers_get(&r->http.headers, STR("X-Passsage-Policy")) : STR_NONE;
	ruleset_plan(atomic_load(&r->worker->rules), &r->http, wanted, r->arena, &r->plan);
	r->planned = true;
	if (r->framing.upgrade) {
		r->reason = REASON_upgrade;
		return STEP_pass;
	}
	r->judgement = judge_request(&r->plan, &r->http);
	r->reason = r->judgement.reason;
	if (r->judgement.verdict == VERDICT_PASS || r->body_left != 0) /* a GET with a body means something that no key knows */
		return STEP_pass;
	return STEP_lookup;
}
