/* Any bytes as a policy program: it makes a set, or a complaint of one line that names the file; and a set answers any request, whatever its
 * functions do. What follows a line "--- " is the request: URL, method, a header's value. */
#include "../../common/err.h"
#include "../../common/log.h"
#include "../../policy/luafile.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const struct lua_budget budget = { 2000, 256 << 10 };
	char *copy = xmalloc(n + !n), problem[RULE_PROBLEM];
	struct str in = { memcpy(copy, data, n), n }, asked = STR_NONE, key, id, vary_id;
	const char *cut = n > 5 ? memmem(copy, n, "\n--- ", 5) : NULL;
	struct arena a;
	struct plan plan;
	struct http_request req = { .method = METHOD_GET, .method_name = STR("GET"), .client = { .s6_addr = { [10] = 0xff, [11] = 0xff, [12] = 10 } } };

	log_level = LOG_ERROR;
	if (cut) {
		asked = str_from(in, (size_t)(cut - copy) + 5);
		in = str_upto(in, (size_t)(cut - copy) + 1);
	}
	arena_init(&a);
	struct ruleset *set = luafile_parse("f", in, POLICY_Standard, &budget, problem);
	INVARIANT(!set == !!problem[0]);
	INVARIANT(set || (problem[0] == 'f' && problem[1] == ':' && strlen(problem) < RULE_PROBLEM && !strchr(problem, '\n')));
	struct str url = str_cut(&asked, '\n');
	if (set && (url_parse(&a, url, &req.url) == 0 || url_parse(&a, STR("http://h.example/a/b.deb?x=1"), &req.url) == 0)) {
		struct str method = str_cut(&asked, '\n');
		if (method.n)
			req.method_name = method, req.method = http_method(method);
		headers_init(&req.headers, &a);
		headers_add(&req.headers, STR("User-Agent"), asked.n ? asked : STR("x"));
		headers_add(&req.headers, STR("Accept"), STR("a/b"));
		headers_add(&req.headers, STR("accept"), STR(""));
		for (int i = 0; i < 2; i++) {
			ruleset_plan(set, &req, STR_NONE, &a, &plan);
			INVARIANT((unsigned)plan.policy < POLICY_MAX && plan.rule && plan.connect_timeout_ms >= -1 && plan.read_timeout_ms >= -1 && plan.forced_swr_s >= -1);
			INVARIANT(plan.key_url.n && plan.id.n && plan.vary_id.n && !memchr(plan.key_url.p, '\n', plan.key_url.n));
		}
		ruleset_keys(set, &req.url, &a, &key, &id, &vary_id);
		INVARIANT(key.n && id.n);
	}
	ruleset_free(&set);
	arena_fini(&a);
	free(copy);
	return 0;
}
