/* Which policy a URL gets: the built-in table (behaviour.md 3.3), each rule kind (3.2), the header (3.6), and that no URL can hang us. */
#include "tap.h"
#include <pthread.h>
#include "../../policy/key.h"
#include "../../policy/rules.h"
#include "../../common/clock.h"

static struct arena a;

static struct plan
plan_of(const struct ruleset *set, const char *text, struct str header)
{
	struct http_request req = { .method = METHOD_GET };
	struct plan plan = { 0 };
	if (url_parse(&a, str_c(text), &req.url) < 0)
		ok(0, "url_parse(%.60s)", text);
	else
		ruleset_plan(set, &req, header, &a, &plan);
	return plan;
}

static const struct { const char *url; enum policy policy; int64_t swr; } builtin[] = {
	{ "https://pypi.org/simple/a/", POLICY_StaleIfError, 86400 },
	{ "http://d/by-hash/sha256/ABCDEF", POLICY_StaleIfError, -1 },
	{ "http://d/dists/x/by-hash/SHA256/0a1b", POLICY_StaleIfError, -1 },
	{ "http://d/by-hash/sha256/ABCDEFG", POLICY_Standard, -1 },
	{ "http://d/by-hash//ab", POLICY_Standard, -1 },
	{ "https://x.codeartifact.us.amazonaws.com/", POLICY_Standard, -1 },
	{ "http://x/y", POLICY_Standard, -1 },
	{ "http://169.254.169.254/x.deb", POLICY_StaleIfError, -1 },           /* rule 2 before 10 */
	{ "https://b.s3.amazonaws.com/a.deb", POLICY_StaleIfError, -1 },       /* rule 2 before 15 */
	{ "https://b.s3.amazonaws.com/a", POLICY_NoCache, -1 },
	{ "https://B.S3.AmazonAWS.com/a", POLICY_NoCache, -1 },
	{ "http://169.254.169.254/latest/meta-data", POLICY_NoCache, -1 },
	{ "http://169.254.170.2/v2", POLICY_NoCache, -1 },
	{ "http://100.100.100.200/latest", POLICY_NoCache, -1 },
	{ "http://metadata.google.internal/x", POLICY_NoCache, -1 },
	{ "http://metadata.azure.internal/x", POLICY_NoCache, -1 },
	{ "http://mitm.it/cert/pem", POLICY_NoCache, -1 },
	{ "http://x/y?u=http://mitm.it/z", POLICY_NoCache, -1 },
	{ "https://pypi.org/simple", POLICY_StaleIfError, 86400 },
	{ "https://PyPI.org/Simple/a/?format=json", POLICY_StaleIfError, 86400 },
	{ "http://mirror/pypi.org/simple/a/", POLICY_StaleIfError, 86400 },    /* PathContains, before and now */
	{ "http://x/y?u=pypi.org/simple", POLICY_Standard, -1 },               /* a path rule matches the path, issue 4 */
	{ "https://pypi.org/pypi/simple", POLICY_Standard, -1 },
	{ "https://files.pythonhosted.org/packages/x.whl", POLICY_StaleIfError, -1 },
	{ "https://mran.microsoft.com/snapshot/2020-01-01/a", POLICY_StaleIfError, -1 },
	{ "http://d/dists/s/InRelease", POLICY_StaleIfError, -1 },
	{ "http://d/dists/s/inrelease", POLICY_StaleIfError, -1 },
	{ "http://d/main/Packages", POLICY_StaleIfError, -1 },
	{ "http://d/main/Packages.gz", POLICY_StaleIfError, -1 },
	{ "http://d/main/Packages.xz", POLICY_StaleIfError, -1 },
	{ "http://d/main/Packages.bz2", POLICY_Standard, -1 },
	{ "http://d/pool/a.DEB", POLICY_StaleIfError, -1 },
	{ "http://d/pool/a.deb?x=1", POLICY_StaleIfError, -1 },                /* Suffix is the path's, issue 4 */
	{ "http://d/pool/a?x=.deb", POLICY_Standard, -1 },
};

static const struct rule kinds[] = {
	{ RULE_Suffix, ".bin", NULL, POLICY_AlwaysUpstream, -1, -1, -1, 0, { 0, 0, 0 } },
	{ RULE_Prefix, "http://h/a", NULL, POLICY_NoRefresh, -1, 1500, 0, 0, { 0, 0, 0 } },
	{ RULE_Prefix, "HTTP://h/a/b", NULL, POLICY_NoCache, -1, -1, -1, 0, { 0, 0, 0 } },
	{ RULE_Prefix, "http://h/a/c", NULL, POLICY_StaleIfError, 60, -1, -1, 0, { 0, 0, 0 } },
	{ RULE_HostContains, "corp", "guest", POLICY_NoCache, -1, -1, -1, 0, { 0, 0, 0 } },
	{ RULE_PathContains, "q", NULL, POLICY_NoRefresh, -1, -1, -1, 0, { 0, 0, 0 } },
	{ RULE_Regex, "^https://[^/]+/v[0-9]+/|never", NULL, POLICY_StaleIfError, -1, -1, -1, 0, { 0, 0, 0 } },
};
static const struct { const char *url; enum policy policy; const char *rule; } kind_rows[] = {
	{ "http://h/a/x.bin", POLICY_NoRefresh, "Prefix http://h/a" },
	{ "http://h/a/b/x.bin", POLICY_NoCache, "Prefix HTTP://h/a/b" },
	{ "http://h/a/c/x.bin", POLICY_StaleIfError, "Prefix http://h/a/c" },
	{ "http://o/a/x.BIN", POLICY_AlwaysUpstream, "Suffix .bin" },
	{ "http://x.Corp.example/", POLICY_NoCache, "HostContains corp" },
	{ "http://guest.corp.example/", POLICY_Standard, "default" },
	{ "http://o/corp", POLICY_Standard, "default" },
	{ "http://o/aqa", POLICY_NoRefresh, "PathContains q" },
	{ "http://q/a", POLICY_Standard, "default" },
	{ "http://o/a?q", POLICY_Standard, "default" },
	{ "https://O/V12/x", POLICY_StaleIfError, "Regex ^https://[^/]+/v[0-9]+/|never" },
	{ "https://o/v/x", POLICY_Standard, "default" },
};

static void *
ask(void *set)
{
	struct arena own;
	uintptr_t wrong = 0;
	arena_init(&own);
	for (unsigned i = 0; i < 2000; i++) {
		struct http_request req = { .method = METHOD_GET };
		struct plan plan;
		url_parse(&own, STR("http://d/dists/x/by-hash/SHA256/0a1b"), &req.url);
		ruleset_plan(set, &req, STR_NONE, &own, &plan);
		wrong += plan.policy != POLICY_StaleIfError;
		arena_reset(&own);
	}
	arena_fini(&own);
	return (void *)wrong;
}

int
main(void)
{
	char problem[RULE_PROBLEM];
	pthread_t threads[4];
	arena_init(&a);
	struct ruleset *set = ruleset_new(rules_builtin, rules_builtin_n, POLICY_Standard, problem);
	is_int(rules_builtin_n, 16, "the built-in rules are sixteen");
	for (unsigned i = 0; i < sizeof(builtin) / sizeof(*builtin); i++) {
		struct plan p = plan_of(set, builtin[i].url, STR_NONE);
		is_str(str_c(policy_name(p.policy)), str_c(policy_name(builtin[i].policy)), "3.3: %s by %s", builtin[i].url, p.rule);
		is_int(p.forced_swr_s, builtin[i].swr, "3.4: its forced SWR");
	}
	struct plan p = plan_of(set, "https://pypi.org/simple/a/", STR(" nocache "));
	ok(p.policy == POLICY_NoCache && p.forced_swr_s == -1 && strcmp(p.rule, "header") == 0, "3.6: the header's policy, without the rule's times");
	p = plan_of(set, "https://pypi.org/simple/a/", STR("Nonsense"));
	ok(p.policy == POLICY_StaleIfError && p.forced_swr_s == 86400, "3.6: an unknown name leaves the rules in force");
	static const struct { const char *url, *key, *why; } signed_rows[] = {
		{ "https://production.cloudflare.docker.com/v2/blobs/sha256/ab?expires=1&signature=x%3D&version=3", "https://production.cloudflare.docker.com/v2/blobs/sha256/ab",
		  "the table by host: a layer of an image" },
		{ "https://eu.Production.cloudflare.docker.com/l?version=3&b=1", "https://eu.Production.cloudflare.docker.com/l?b=1", "… below it too" },
		{ "https://notproduction.cloudflare.docker.com/l?version=3", NULL, "… but only at a dot" },
		{ "https://cloudflare.docker.com/l?version=3", NULL, "… and not above it" },
		{ "https://x.r2.cloudflarestorage.com/l?X-Amz-Date=1", "https://x.r2.cloudflarestorage.com/l", "x-amz- there, as everywhere" },
		{ "https://pkg-containers.githubusercontent.com/l?se=1&sig=2&skoid=3&hmac=4", "https://pkg-containers.githubusercontent.com/l", "Azure's there, as everywhere" },
	};
	for (unsigned i = 0; i < sizeof(signed_rows) / sizeof(*signed_rows); i++)
		is_str(plan_of(set, signed_rows[i].url, STR_NONE).key_url, str_c(signed_rows[i].key ? signed_rows[i].key : signed_rows[i].url), "4.1: %s", signed_rows[i].why);
	p = plan_of(set, "https://ex.com/f?sig=abc", STR_NONE);
	is_str(p.key_url, STR("https://ex.com/f"), "the plan has the key URL");
	is_str(p.id, STR("https/ex.com/a930673acaa220a10bcdf5825f2baf2794a32b307b51fa34c0c51fe6"), "and the document id");
	is_str(p.vary_id, STR("https/ex.com/_vary/a930673acaa220a10bcdf5825f2baf2794a32b307b51fa34c0c51fe6"), "and the vary index's");

	int64_t start = clock_mono();
	enum { TIMES = 200000 };
	for (unsigned i = 0; i < TIMES; i++) {
		plan_of(set, "http://deb.example.org/debian/pool/main/x/xz/xz-utils_5.4.1-1_amd64.tar", STR_NONE);
		arena_reset(&a);
	}
	note("plan of a URL that no built-in rule matches, parsed and hashed: %lld ns", (long long)(clock_mono() - start) * 1000000 / TIMES);
	for (unsigned i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, ask, set);
	for (unsigned i = 0; i < 4; i++) {
		void *wrong;
		pthread_join(threads[i], &wrong);
		ok(!wrong, "any thread may ask: %u", i);
	}
	ruleset_free(&set);
	ok(set == NULL, "free sets to NULL");

	set = ruleset_new(kinds, sizeof(kinds) / sizeof(*kinds), POLICY_Standard, problem);
	for (unsigned i = 0; i < sizeof(kind_rows) / sizeof(*kind_rows); i++) {
		p = plan_of(set, kind_rows[i].url, STR_NONE);
		is_str(str_c(p.rule), str_c(kind_rows[i].rule), "3.2: %s", kind_rows[i].url);
		is_int(p.policy, kind_rows[i].policy, "its policy");
	}
	ruleset_match_query(set, true);
	is_str(str_c(plan_of(set, "http://o/a?x=y.bin", STR_NONE).rule), STR("Suffix .bin"), "the old way: a Suffix rule sees the query");
	is_str(str_c(plan_of(set, "http://o/a.bin?x=y", STR_NONE).rule), STR("default"), "… and the path's end no more");
	is_str(str_c(plan_of(set, "http://o/a?q", STR_NONE).rule), STR("PathContains q"), "… PathContains too");
	is_str(str_c(plan_of(set, "http://q/a", STR_NONE).rule), STR("PathContains q"), "… and the host");
	ruleset_match_query(set, false);
	p = plan_of(set, "http://h/a/x", STR_NONE);
	ok(p.connect_timeout_ms == 1500 && p.read_timeout_ms == 0 && p.forced_swr_s == -1, "3.5: timeouts of the rule");
	p = plan_of(set, "http://other/", STR_NONE);
	ok(p.connect_timeout_ms == -1 && p.read_timeout_ms == -1, "and the settings' without one");
	ruleset_free(&set);

	set = ruleset_new(NULL, 0, POLICY_NoRefresh, problem);
	is_int(plan_of(set, "http://x/", STR_NONE).policy, POLICY_NoRefresh, "without rules the declared default holds");
	ruleset_free(&set);

	struct rule bad = { RULE_Regex, "a(b", NULL, POLICY_NoCache, -1, -1, -1, 0, { 0, 0, 0 } };
	ok(ruleset_new(&bad, 1, POLICY_Standard, problem) == NULL && strstr(problem, "a(b"), "a pattern that does not compile is named: %s", problem);

	/* The classic: exponential in the length of the URL, were it not for the limit. */
	struct rule evil = { RULE_Regex, "/(a+)+$", NULL, POLICY_NoCache, -1, -1, -1, 0, { 0, 0, 0 } };
	char url[8000] = "http://h/";
	memset(url + 9, 'a', sizeof(url) - 11);
	url[sizeof(url) - 2] = '!';
	set = ruleset_new(&evil, 1, POLICY_Standard, problem);
	start = clock_mono();
	is_int(plan_of(set, url, STR_NONE).policy, POLICY_Standard, "no URL can hang a worker: the match limit ends it");
	ok(clock_mono() - start < 1000, "in good time");
	ruleset_free(&set);

	struct rule deep = { RULE_Regex, "/(?:(a)|(b))+!$", NULL, POLICY_NoCache, -1, -1, -1, 0, { 0, 0, 0 } };
	set = ruleset_new(&deep, 1, POLICY_Standard, problem);
	is_int(plan_of(set, url, STR_NONE).policy, POLICY_NoCache, "what matches matches, in a long URL too");
	ruleset_free(&set);

	enum policy q = POLICY_NoCache;
	ok(policy_parse(STR(" aLwaysUpstream\t"), &q) && q == POLICY_AlwaysUpstream, "names are trimmed, in any case");
	ok(!policy_parse(STR(""), &q) && q == POLICY_AlwaysUpstream, "an unknown name changes nothing");
	arena_fini(&a);
	return done_testing();
}
