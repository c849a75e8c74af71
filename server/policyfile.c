/* policyfile.c - see policyfile.h */
#include "policyfile.h"
#include <errno.h>
#include "../common/err.h"
#include "../common/fd.h"
#include "../common/hash.h"
#include "../common/settings.h"
#include "../policy/luafile.h"
#include "../policy/rulefile.h"

#define FILE_MAX (4 << 20) /* bytes: some ten thousand rules; whole block lists as HostSuffix */

/* All that a set is made of: the file's text by its digest. */
struct version {
	uint64_t text;
	struct lua_budget budget;
	enum policy otherwise;
	bool is_program, match_query;
};
static struct version in_force;

static struct ruleset *make(const char *path, struct str text, const struct version *v, char problem[RULE_PROBLEM])
{
	struct ruleset *rs = *path == 0 ? ruleset_new(rules_builtin, rules_builtin_n, v->otherwise, problem)
	                     : v->is_program ? luafile_parse(path, text, v->otherwise, &v->budget, problem)
	                                     : rulefile_parse(path, text, v->otherwise, problem);
	if (rs != NULL)
		ruleset_match_query(rs, v->match_query);
	return rs;
}

static bool same(const struct version *a, const struct version *b)
{
	return a->text == b->text && a->budget.instructions == b->budget.instructions && a->budget.memory == b->budget.memory && a->otherwise == b->otherwise &&
	       a->is_program == b->is_program && a->match_query == b->match_query;
}

static struct ruleset *read_rules(bool only_changed, char problem[RULE_PROBLEM])
{
	const struct settings *s = conf();
	const char *path = s->policy_file;
	struct version v = { .budget = { s->lua_instructions, (size_t)s->lua_memory }, .otherwise = POLICY_Standard, .match_query = s->rules_match_query };
	struct str text = STR_NONE;
	struct ruleset *rs = NULL;
	policy_parse(str_c(s->default_policy), &v.otherwise);
	errno = 0;
	int r = *path ? fd_read_file(path, FILE_MAX, &text) : 0;
	if (r < 0) {
		snprintf(problem, RULE_PROBLEM, "%.300s: cannot be read: %s", path, r == -ERR_FULL ? "it has more than 4 MiB" : errno ? strerror(errno) : err_text(r));
		return NULL;
	}
	v.is_program = str_caseends(str_c(path), STR(".lua"));
	v.text = *path ? hash64(text.p, text.n) : 0;
	problem[0] = 0;
	if (!(only_changed && same(&v, &in_force)) && (rs = make(path, text, &v, problem)) != NULL)
		in_force = v;
	free((char *)(uintptr_t)text.p);
	return rs;
}

struct ruleset *rules_read(char problem[RULE_PROBLEM]) { return read_rules(false, problem); }
struct ruleset *rules_reread(char problem[RULE_PROBLEM]) { return read_rules(true, problem); }
