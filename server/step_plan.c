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

void request_plan(struct request *r, const struct ruleset *rules)
{
	struct str wanted = conf()->allow_policy_header ? headers_get(&r->http.headers, STR("X-Passsage-Policy")) : STR_NONE;
	ruleset_plan(rules, &r->http, wanted, r->arena, &r->plan);
	r->planned = true;
	r->own_bucket = s3host_applies(&r->worker->s3_host, &r->http, &r->plan);
}

void request_normalize(struct request *r)
{
	struct str normal = conf()->normalize_accept_encoding ? vary_accept_encoding(r->arena, &r->http.headers) : STR_NONE;
	if (normal.p != NULL)
		headers_set(&r->http.headers, STR("Accept-Encoding"), normal);
}

/* Fields by which a reverse proxy tells the server behind it what was asked of it: many a server believes them from anybody, and says in
 * its answer what they said, or answers for another URL. Our clients have no use for them; what comes of such a request is theirs alone.
 * (X-Forwarded-For and "for=" are none of these: every chained proxy adds them.) */
static bool asks_for_another(const struct headers *h)
{
	static const struct str names[] = {
		{ "X-Forwarded-Host", 16 }, { "X-Forwarded-Server", 18 }, { "X-Forwarded-Scheme", 18 }, { "X-Forwarded-Proto", 17 }, { "X-Forwarded-Port", 16 },
		{ "X-Forwarded-Prefix", 18 }, { "X-Forwarded-Path", 16 }, { "X-Forwarded-Uri", 15 }, { "X-Host", 6 }, { "X-Original-Host", 15 }, { "X-Original-URL", 14 },
		{ "X-Rewrite-URL", 13 }, { "X-HTTP-Method-Override", 22 }, { "X-HTTP-Method", 13 }, { "X-Method-Override", 17 }, { "X-HTTP-Host-Override", 20 },
		{ "X-Backend-Host", 14 },
	};
	for (unsigned i = 0; i < h->n; i++) {
		const struct field *f = &h->v[i];
		if (f->name.n < 6 || ((f->name.p[0] | 0x20) != 'x' && (f->name.p[0] | 0x20) != 'f'))
			continue;
		if (str_caseeq(f->name, STR("Forwarded")) && (str_casehas(f->value, STR("host=")) || str_casehas(f->value, STR("proto="))))
			return true;
		for (unsigned j = 0; j < sizeof names / sizeof *names; j++)
			if (f->name.n == names[j].n && str_caseeq(f->name, names[j]))
				return true;
	}
	return false;
}

/* Is it left out of the cache whatever is stored (VERDICT_PASS), and why? The rules have been asked. */
void request_judge(struct request *r)
{
	struct judgement *j = &r->judgement;
	*j = judge_request(&r->plan, &r->http);
	if (r->own_bucket)
		j->reason = REASON_no_cache_s3_request;
	if (j->verdict == VERDICT_PASS)
		return;
	if (r->body_left != 0) /* a GET with a body means something that no key knows */
		j->reason = REASON_request_body;
	else if (asks_for_another(&r->http.headers))
		j->reason = REASON_request_forwarded;
	else
		return;
	j->verdict = VERDICT_PASS;
	j->forward = FORWARD_request;
}

enum req_step step_plan(struct request *r)
{
	if (!r->framing.upgrade) /* the key, the variant and the origin see the same fields: what Connection names is not sent, so it must not select */
		headers_strip_hop_by_hop(&r->http.headers);
	request_plan(r, atomic_load(&r->worker->rules));
	if (r->framing.upgrade && worth_upgrading(r)) {
		r->reason = REASON_upgrade;
		return STEP_pass;
	}
	request_judge(r);
	r->reason = r->judgement.reason;
	if (r->judgement.verdict == VERDICT_PASS)
		return STEP_pass;
	request_normalize(r);
	return STEP_lookup;
}
