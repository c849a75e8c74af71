/* cmd_explain.c - passsage explain: what the rules say of a request, what is stored for it, and the verdict. The page goes the same way as
 * a request (request_find, judge_stored), so it says what would happen. It is a list of facts in sections, which are printed as text for people
 * and as JSON for scripts. */
#include <inttypes.h>
#include "../common/clock.h"
#include "../common/netrange.h"
#include "../policy/key.h"
#include "../s3/manifest.h"
#include "cmd.h"
#include "failover.h"
#include "passthrough.h"
#include "partial.h"
#include "request.h"
#include "worker.h"

#define VARIANTS_SHOWN 50
#define CHUNKS_SHOWN 50
#define COLUMN 22

/* ---- facts */

struct facts {
	struct page_text t;
	bool json, first_section, first;
};

static void section(struct facts *f, const char *name)
{
	if (f->json) {
		page_addz(&f->t, f->first_section ? "{\n  " : "\n  },\n  ");
		page_add_json(&f->t, str_c(name));
		page_addz(&f->t, ": {");
	} else {
		page_addz(&f->t, f->first_section ? "" : "\n");
		page_addz(&f->t, name);
		page_addz(&f->t, "\n");
	}
	f->first_section = false;
	f->first = true;
}

static void label(struct facts *f, const char *name)
{
	char text[64];
	if (!f->json) {
		snprintf(text, sizeof text, "  %-*s", COLUMN, name);
		page_addz(&f->t, text);
		return;
	}
	size_t n = 0;
	for (; name[n] && n < sizeof text; n++)
		text[n] = name[n] == ' ' || name[n] == '-' ? '_' : ascii_lower(name[n]);
	page_addz(&f->t, f->first ? "\n    " : ",\n    ");
	page_add_json(&f->t, (struct str){ text, n });
	page_addz(&f->t, ": ");
	f->first = false;
}

/* One line, whatever is in it: it may be a field of an origin's. */
static void clean(struct facts *f, struct str s)
{
	char *p = arena_alloc(f->t.arena, s.n + 1);
	for (size_t i = 0; i < s.n; i++)
		p[i] = (unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f ? '?' : s.p[i];
	page_add(&f->t, (struct str){ p, s.n });
	page_addz(&f->t, "\n");
}

static void fact(struct facts *f, const char *name, struct str value)
{
	label(f, name);
	if (f->json)
		page_add_json(&f->t, value);
	else
		clean(f, value);
}

static void fact_z(struct facts *f, const char *name, const char *value) { fact(f, name, str_c(value)); }
static void fact_some(struct facts *f, const char *name, struct str value)
{
	if (value.n > 0)
		fact(f, name, value);
}

static void fact_n(struct facts *f, const char *name, int64_t n, const char *unit)
{
	char text[64];
	label(f, name);
	snprintf(text, sizeof text, f->json ? "%" PRId64 : "%" PRId64 "%s%s\n", n, *unit ? " " : "", unit);
	page_addz(&f->t, text);
}

static void fact_is(struct facts *f, const char *name, bool is)
{
	label(f, name);
	page_addz(&f->t, f->json ? (is ? "true" : "false") : is ? "yes\n" : "no\n");
}

static void fact_time(struct facts *f, const char *name, int64_t ms)
{
	char text[40];
	struct tm tm;
	time_t s = ms / 1000;
	if (ms <= 0 || gmtime_r(&s, &tm) == NULL)
		return;
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	fact_z(f, name, text);
}

static void fact_timeout(struct facts *f, const char *name, int64_t ms)
{
	char text[32];
	if (ms <= 0 && !f->json) {
		fact_z(f, name, "none");
		return;
	}
	label(f, name);
	snprintf(text, sizeof text, f->json ? "%.10g" : "%.10g s\n", (double)ms / 1000);
	page_addz(&f->t, text);
}

/* Lists: lines of their own for people, an array of texts for scripts. */
struct list { struct facts *f; bool first; };

static struct list list_begin(struct facts *f, const char *name)
{
	if (f->json) {
		label(f, name);
		page_addz(&f->t, "[");
	}
	return (struct list){ f, true };
}

static void list_add(struct list *l, const char *name, struct str value)
{
	if (l->f->json) {
		page_addz(&l->f->t, l->first ? "" : ", ");
		page_add_json(&l->f->t, value);
	} else
		fact(l->f, l->first ? name : "", value);
	l->first = false;
}

static void list_end(struct list *l)
{
	if (l->f->json)
		page_addz(&l->f->t, "]");
}

/* ---- words */

static const char *const reason_words[] = {
	[REASON_upstream_served] = "nothing that is stored can be used, so the origin is asked",
	[REASON_no_cache_s3_request] = "a request of S3's own kind, which is not cached",
	[REASON_no_cache_policy] = "the policy is NoCache",
	[REASON_no_cache_method] = "the method is neither GET nor HEAD",
	[REASON_head_synthetic_from_cache] = "a HEAD that the stored response answers",
	[REASON_head_forced_swr_synthetic] = "a HEAD that the stored response answers, within forced_swr_seconds",
	[REASON_head_via_upstream] = "a HEAD that nothing stored answers, so the origin is asked",
	[REASON_redirect_synthetic_from_cache] = "a redirect that is fresh",
	[REASON_cache_hit_norefresh] = "the policy is NoRefresh: what is stored is served whatever its age",
	[REASON_cache_hit_fresh] = "it is fresh",
	[REASON_cache_hit_stale_while_revalidate] = "it is stale, but within stale-while-revalidate",
	[REASON_cache_hit_forced_swr] = "it is stale, but within the rule's forced_swr_seconds",
	[REASON_conditional_revalidation] = "it is stale, or may not be used unasked: the origin must confirm it",
	[REASON_stale_no_validators] = "it is stale, and has no validator to ask about: it is fetched anew",
	[REASON_stale_if_error_fallback] = "the origin cannot be reached, and the policy allows what is stored",
	[REASON_cache_hit_max_stale] = "it is stale, and the client says that it takes it (max-stale)",
	[REASON_only_if_cached] = "the client wants it from the cache only, where it is not usable",
	[REASON_request_no_store] = "the client says no-store",
	[REASON_request_body] = "a request with a body means something that no key knows",
	[REASON_request_forwarded] = "a field by which some servers are told to answer for another URL (X-Forwarded-Host, X-Original-URL, X-HTTP-Method-Override …)",
	[REASON_request_precondition] = "a precondition that only the origin can answer (If-Match, If-Unmodified-Since)",
	[REASON_upgrade] = "an upgrade to another protocol",
	[REASON_tunnel] = "a tunnel",
};

/* Why a rule matches, by the first word of its label. */
static const struct { const char *kind, *words; } rule_words[] = {
	{ "default", "no rule matches: --default-policy, or default_policy of the policy file" },
	{ "default,", "a call of the program failed: default_policy" },
	{ "resolver", "the program's resolver(ctx) says so" },
	{ "Callable", "the rule's function says so" },
	{ "s3", "the host is that of our own bucket: no rule is asked" },
	{ "header", "the request's X-Passsage-Policy" },
	{ "Prefix", "the URL begins with it" },
	{ "SuffixQuery", "the URL, query and all, ends with it" },
	{ "Suffix", "the path ends with it" },
	{ "HostPrefix", "the host begins with it" },
	{ "HostContains", "the host contains it" },
	{ "HostSuffix", "the host is this domain, or below it" },
	{ "PathContains", "the path contains it, or the host's end and the path's beginning" },
	{ "UrlContains", "the URL, query and all, contains it" },
	{ "Regex", "the regular expression is found in the URL" },
	{ "Method", "the method is it" },
	{ "HeaderEquals", "the field equals it" },
	{ "HeaderContains", "the field contains it" },
	{ "HeaderMatches", "the field matches the regular expression" },
	{ "Client", "the client's address is in this network" },
};

static const char *why_rule(const char *label_of_rule)
{
	struct str rest = str_c(label_of_rule), kind = str_cut(&rest, ' ');
	for (size_t i = 0; i < sizeof rule_words / sizeof *rule_words; i++)
		if (str_eq(kind, str_c(rule_words[i].kind)))
			return rule_words[i].words;
	return "it says so";
}

/* ---- sections */

static void about_request(struct facts *f, const struct http_request *req)
{
	char text[INET6_ADDRSTRLEN];
	section(f, "request");
	fact(f, "method", req->method_name);
	fact(f, "url", req->url.text);
	struct list l = list_begin(f, "fields");
	for (unsigned i = 0; i < req->headers.n; i++)
		list_add(&l, "field", arena_printf(f->t.arena, "%.*s: %.*s", STRP(req->headers.v[i].name), STRP(req->headers.v[i].value)));
	list_end(&l);
	if (!IN6_IS_ADDR_UNSPECIFIED(&req->client))
		fact_z(f, "client", address_text(&req->client, text));
}

static void about_rule(struct facts *f, const struct plan *p)
{
	struct httpc_request limits = { .body_length = -1 };
	section(f, "rule");
	fact_z(f, "rule", p->rule);
	fact_z(f, "because", why_rule(p->rule));
	fact_z(f, "policy", policy_name(p->policy));
	fact_timeout(f, "connect timeout", plan_connect_ms(p));
	fact_timeout(f, "read timeout", plan_read_ms(p));
	plan_limits(p, &limits);
	if (limits.total_timeout_ms > 0)
		fact_timeout(f, "total timeout", limits.total_timeout_ms);
	if (limits.low_speed > 0 && limits.low_speed_ms > 0) {
		fact_n(f, "low speed", limits.low_speed, "bytes/s");
		fact_timeout(f, "low speed time", limits.low_speed_ms);
	}
	if (p->forced_swr_s >= 0)
		fact_n(f, "forced swr", p->forced_swr_s, "s");
	if (p->refresh != NULL) {
		fact_n(f, "refresh min", p->refresh->min_s, "s");
		fact_n(f, "refresh percent", p->refresh->percent, "%");
		fact_n(f, "refresh max", p->refresh->max_s, "s");
		fact_is(f, "ignore no-store", p->refresh->ignore_no_store);
	}
}

static void about_key(struct facts *f, const struct plan *p, struct str url)
{
	section(f, "key");
	fact(f, "key url", p->key_url);
	if (!str_eq(p->key_url, url))
		fact_z(f, "which is", "not the URL that is asked for: a key rule, or signatures taken out");
	fact(f, "document id", p->id);
	fact(f, "vary index", p->vary_id);
}

static void about_chunks(struct facts *f, const struct cmd_place *place, struct str raw)
{
	struct manifest m;
	unsigned here = 0;
	if (raw.n == 0) {
		fact_n(f, "chunks", 0, "");
		return;
	}
	if (manifest_parse(raw, &m) < 0) {
		fact_z(f, "manifest", "not understood");
		return;
	}
	fact_n(f, "chunks", m.n, "");
	fact_n(f, "chunk size", (int64_t)m.chunk_size, "bytes");
	struct list l = list_begin(f, "chunk list");
	for (uint32_t i = 0; i < m.n; i++) {
		char name[SHA256_HEX + 1];
		const struct chunk_id id = manifest_id(&m, i);
		bool there = chunks_peek(place->chunks, &id, manifest_chunk_length(&m, i));
		here += there;
		chunk_name(&id, name);
		if (i < CHUNKS_SHOWN)
			list_add(&l, "chunk", arena_printf(f->t.arena, "%s %s", name, there ? "here" : fleet_configured() ? "in S3" : "missing"));
	}
	list_end(&l);
	fact_n(f, "chunks here", here, "");
}

static void about_flags(struct facts *f, int64_t flags)
{
	static const struct { int64_t flag; const char *words; } all[] = {
		{ META_MUST_REVALIDATE_ALWAYS, "no-cache: to be confirmed before each use" },
		{ META_AUTHORIZED, "the request had Authorization" },
		{ META_INVALIDATED, "overtaken by an unsafe request: to be confirmed before use" },
		{ META_HEADERS_ONLY, "of an older version, which kept some header fields only" },
		{ META_COOKIE, "the request had a Cookie" },
	};
	struct list l = list_begin(f, "notes");
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (flags & all[i].flag)
			list_add(&l, "note", str_c(all[i].words));
	list_end(&l);
}

/* partial.h */
static void about_partial(struct facts *f, const struct request *r)
{
	struct meta m;
	struct manifest mf;
	uint64_t there = 0;
	if (!partial_find(r->worker, r->plan.id, r->arena, &m) || manifest_parse(m.manifest, &mf) < 0)
		return;
	for (uint32_t i = 0; i < mf.n; i++)
		there += manifest_has(&mf, i) ? manifest_chunk_length(&mf, i) : 0;
	fact_n(f, "of it there", (int64_t)there, "bytes");
	fact_n(f, "size", m.content_size, "bytes");
}

static void about_stored(struct facts *f, const struct cmd_place *place, const struct request *r, const struct judge_options *opt)
{
	const struct meta *m = &r->stored;
	int64_t age, lifetime;
	section(f, "stored");
	fact_is(f, "stored", r->has_stored);
	if (place->fills != NULL)
		fact_is(f, "being fetched", fill_growing(place->fills, r->plan.id));
	if (!r->has_stored) {
		if (place->metadata == NULL)
			fact_z(f, "for", "there is no database in the state directory");
		else
			about_partial(f, r);
		return;
	}
	fact(f, "id", m->id);
	fact(f, "fetched as", m->url);
	fact_n(f, "status", m->status, "");
	if (m->status == 206)
		fact(f, "part", m->vary_request);
	if (m->content_size >= 0)
		fact_n(f, "size", m->content_size, "bytes");
	fact_time(f, "stored at", m->stored_at);
	fact_time(f, "answered at", m->response_time);
	fact_time(f, "last access", m->last_access);
	fact_n(f, "age", age = judge_age(m, r->started), "s");
	lifetime = judge_lifetime(opt, &r->plan, m);
	if (lifetime >= 0 || f->json)
		fact_n(f, "lifetime", lifetime, "s");
	else
		fact_z(f, "lifetime", "none");
	fact_is(f, "fresh", lifetime >= 0 && age < lifetime);
	fact_some(f, "etag", headers_get(&m->headers, STR("ETag")));
	fact_some(f, "last-modified", headers_get(&m->headers, STR("Last-Modified")));
	fact_some(f, "cache-control", headers_get(&m->headers, STR("Cache-Control")));
	fact_some(f, "expires", headers_get(&m->headers, STR("Expires")));
	fact_some(f, "content-type", headers_get(&m->headers, STR("Content-Type")));
	fact_some(f, "vary", m->vary);
	if (m->status != 206)
		fact_some(f, "variant", m->vary_request);
	about_flags(f, m->flags);
	about_chunks(f, place, m->manifest);
}

struct variants { struct list *list; struct str prefix; unsigned n; };

static bool variant(void *arg, const struct meta *m)
{
	struct variants *v = arg;
	if (!str_starts(m->id, v->prefix))
		return false;
	struct arena *a = v->list->f->t.arena;
	if (v->n++ < VARIANTS_SHOWN)
		list_add(v->list, "document", arena_printf(a, "%.*s %lld %lld bytes %.*s", STRP(m->id), (long long)m->status, (long long)m->content_size, STRP(m->vary_request)));
	return v->n < 10 * VARIANTS_SHOWN;
}

/* The other names below the base id: variants and a part. */
static void about_variants(struct facts *f, const struct cmd_place *place, const struct plan *p)
{
	section(f, "variants");
	struct list l = list_begin(f, "documents");
	struct variants v = { .list = &l, .prefix = arena_printf(f->t.arena, "%.*s+", STRP(p->id)) };
	if (place->metadata != NULL)
		metadata_walk(place->metadata, v.prefix, 10 * VARIANTS_SHOWN, variant, &v);
	list_end(&l);
	fact_n(f, "count", v.n, "");
}

/* refused: would it fail at once what must go there? After the ban's end the first request may. */
static bool about_origin(struct facts *f, const struct cmd_place *place, const struct url *u, bool *refused)
{
	struct ban why;
	bool down = place->bans != NULL && origin_down(u);
	section(f, "origin");
	fact_z(f, "instance", place->fills != NULL ? "runs" : "does not run: nothing is known of bans");
	if (str_eq(u->scheme, STR("https")) && passthrough_matches(&conf()->tls_passthrough, u->host))
		fact_z(f, "tls passthrough", "its connections are not opened, so nothing of this applies");
	*refused = false;
	fact_is(f, "banned", down);
	if (down && bans_why(place->bans, u, clock_mono(), &why)) {
		*refused = why.left_ms > 0 || why.probed;
		fact_n(f, "ban left", why.left_ms > 0 ? (why.left_ms + 999) / 1000 : 0, "s");
		fact_z(f, "last failure", why.problem);
	}
	return down;
}

static void about_verdict(struct facts *f, const struct judgement *j, bool refused)
{
	static const char *const words[] = {
#define X(name, text) text,
		VERDICTS(X)
#undef X
	};
	section(f, "verdict");
	fact_z(f, "verdict", verdict_name(j->verdict));
	fact_z(f, "so it is", words[j->verdict]);
	fact_z(f, "reason", reason_name(j->reason));
	fact_z(f, "because", j->reason < sizeof reason_words / sizeof *reason_words && reason_words[j->reason] != NULL ? reason_words[j->reason] : reason_name(j->reason));
	if (refused && (j->verdict == VERDICT_FETCH || j->verdict == VERDICT_REVALIDATE || j->verdict == VERDICT_PASS))
		fact_z(f, "but", j->age_s >= 0 && j->stale_on_error ? "the origin is banned, so it is not asked: what is stored is served" :
		                                                      "the origin is banned, so it is not asked: the request fails at once");
	if (*forward_name(j->forward))
		fact_z(f, "fwd", forward_name(j->forward));
	if (j->verdict == VERDICT_REVALIDATE || j->verdict == VERDICT_FETCH)
		fact_is(f, "conditional", j->conditional);
	if (j->age_s >= 0)
		fact_is(f, "stale on error", j->stale_on_error);
}

/* ---- the way of a request, as far as the verdict */

static int find(const struct cmd_place *place, struct request *r, struct worker *w)
{
	struct str fetch_id;
	w->metadata = place->metadata;
	w->chunks = place->chunks;
	w->shared_documents = fleet_has_es();
	if (fleet_configured())
		s3host_of(conf()->s3_endpoint, conf()->s3_bucket, conf()->s3_region, &w->s3_host);
	r->worker = w;
	r->started = clock_wall();
	headers_strip_hop_by_hop(&r->http.headers);
	request_plan(r, place->rules);
	request_judge(r);
	if (r->judgement.verdict != VERDICT_PASS)
		request_normalize(r);
	return place->metadata != NULL ? request_find(r, &fetch_id) : 0;
}

static void judge(struct request *r, const struct judge_options *opt, bool down)
{
	if (r->judgement.verdict == VERDICT_PASS)
		return;
	r->judgement = judge_stored(opt, &r->plan, &r->http, r->has_stored ? &r->stored : NULL, r->started, r->has_stored && down);
	if (!r->has_stored && r->worker->metadata != NULL && request_use_part(r))
		return;
	if (r->other_variants && r->judgement.forward == FORWARD_uri_miss)
		r->judgement.forward = FORWARD_vary_miss;
}

static bool wants_json(struct arena *a, struct str query)
{
	struct str name, value;
	bool is = false;
	while (query_next(a, &query, &name, &value))
		is |= str_eq(name, STR("json"));
	return is;
}

void page_explain(const struct cmd_place *place, const struct http_request *asked, struct arena *a, struct page *out)
{
	const struct judge_options opt = judge_settings(conf());
	struct request *r = arena_zalloc(a, sizeof *r);
	struct worker *w = arena_zalloc(a, sizeof *w);
	struct facts f = { .t = { .arena = a }, .json = wants_json(a, asked->url.query), .first_section = true };
	const char *problem;
	bool refused;
	r->arena = a;
	if (!cmd_request(a, asked->url.query, &r->http, &problem)) {
		cmd_say(a, out, 400, "%s", problem);
		return;
	}
	about_request(&f, &r->http);
	if (find(place, r, w) < 0) {
		cmd_say(a, out, 503, "the metadata database cannot be read");
		return;
	}
	about_rule(&f, &r->plan);
	about_key(&f, &r->plan, r->http.url.text);
	struct facts origin = { .t = { .arena = a }, .json = f.json };
	judge(r, &opt, about_origin(&origin, place, &r->http.url, &refused));
	about_stored(&f, place, r, &opt);
	about_variants(&f, place, &r->plan);
	page_add(&f.t, (struct str){ origin.t.p, origin.t.n });
	about_verdict(&f, &r->judgement, refused);
	if (f.json)
		page_addz(&f.t, "\n  }\n}\n");
	page_finish(out, 200, f.json ? STR("application/json") : STR("text/plain; charset=utf-8"), &f.t);
}

/* For `passsage get`: the id of the whole response that is stored for the request. */
void page_stored(const struct cmd_place *place, const struct http_request *asked, struct arena *a, struct page *out)
{
	struct request *r = arena_zalloc(a, sizeof *r);
	struct worker *w = arena_zalloc(a, sizeof *w);
	const char *problem;
	r->arena = a;
	if (!cmd_request(a, asked->url.query, &r->http, &problem))
		cmd_say(a, out, 400, "%s", problem);
	else if (find(place, r, w) < 0)
		cmd_say(a, out, 503, "the metadata database cannot be read");
	else if (r->has_stored)
		cmd_say(a, out, 200, "%.*s", STRP(r->stored.id));
	else if (place->metadata != NULL && (request_use_part(r), r->has_part))
		cmd_say(a, out, 404, "only a part of it is stored: %.*s", STRP(r->part.vary_request));
	else if (place->metadata != NULL && partial_find(w, r->plan.id, a, &r->partial))
		cmd_say(a, out, 404, "only some of its chunks are stored");
	else
		cmd_say(a, out, 404, "nothing is stored for this request");
}

int cmd_explain(int argc, char **argv)
{
	static const struct cmd_option options[] = { { 'H', "header", true }, { 'X', "method", true }, { 0, "client", true }, { 0, "json", false } };
	static const char *const names[] = { "header", "method", "client", "json" };
	struct cmd_words w = { argc, argv, 0, NULL, false };
	struct cmd_question q;
	unsigned urls = 0;
	question_begin(&q, "/debug/explain");
	for (int o; (o = cmd_next(&w, options, 4)) != WORDS_END;) {
		urls += o == WORDS_WORD;
		question_add(&q, o == WORDS_WORD ? "url" : names[o], o == WORDS_WORD || options[o].takes ? w.value : "1");
	}
	if (urls != 1)
		cmd_refuse(argv[0], urls == 0 ? "explain what? A URL is missing" : "one URL at a time");
	return question_print(&q, "GET");
}
