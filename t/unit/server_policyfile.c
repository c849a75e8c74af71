/* The policy file: which syntax it is in, what is said of one that cannot be read, and that only what has changed is made anew. */
#include "tap.h"
#include <stdlib.h>
#include <unistd.h>
#include "../../common/fd.h"
#include "../../common/settings.h"
#include "../../server/policyfile.h"

static char folder[] = "/tmp/policyfile.XXXXXX", settings_file[64], rules_file[64], program[64], problem[RULE_PROBLEM];

static void set(const char *policy_file, const char *more)
{
	char text[512];
	int n = snprintf(text, sizeof text, "policy: { file = \"%s\"; %s };", policy_file, more);
	fd_write_file(settings_file, (struct str){ text, (size_t)n }, 0644);
	if (conf() != NULL && settings_reload() < 0)
		printf("Bail out! settings\n");
}

static enum policy policy_of(const struct ruleset *rs, const char *url)
{
	struct arena a;
	struct plan plan;
	struct http_request req = { .method = METHOD_GET, .method_name = STR("GET") };
	arena_init(&a);
	headers_init(&req.headers, &a);
	url_parse(&a, str_c(url), &req.url);
	ruleset_plan(rs, &req, STR_NONE, &a, &plan);
	arena_fini(&a);
	return plan.policy;
}

/* false: nothing has changed */
static bool reread(enum policy expected, const char *what)
{
	struct ruleset *rs = rules_reread(problem);
	bool changed = rs != NULL;
	if (changed)
		is_int(policy_of(rs, "http://o.test/x?y=.x"), expected, "%s", what);
	else
		is_str(str_c(problem), STR(""), "nothing is complained of");
	ruleset_free(&rs);
	return changed;
}

int main(void)
{
	if (mkdtemp(folder) == NULL)
		return 1;
	snprintf(settings_file, sizeof settings_file, "%s/conf", folder);
	snprintf(rules_file, sizeof rules_file, "%s/policy", folder);
	snprintf(program, sizeof program, "%s/policy.LUA", folder);
	fd_write_file(rules_file, STR("rules = ( { type = \"Suffix\"; match = \".x\"; policy = \"NoRefresh\"; } );"), 0644);
	fd_write_file(program, STR("rules = { { type = \"Suffix\", match = \".x\", policy = \"NoCache\" } }"), 0644);
	set("", "default = \"AlwaysUpstream\";");
	const char *argv[] = { "passsage", "--state-dir", folder, "--config", settings_file, NULL };
	settings_init(5, (char **)(uintptr_t)argv);

	struct ruleset *rs = rules_read(problem);
	is_int(policy_of(rs, "http://o.test/"), POLICY_AlwaysUpstream, "no file: the settings' default");
	is_int(policy_of(rs, "http://o.test/a.deb"), POLICY_StaleIfError, "… and the built-in rules");
	ruleset_free(&rs);
	ok(!reread(0, ""), "nothing has changed");
	ok((rs = rules_read(problem)) != NULL, "… but may be had again");
	ruleset_free(&rs);
	set("", "default = \"NoRefresh\";");
	ok(reread(POLICY_NoRefresh, "another default"), "a setting has");
	set(rules_file, "");
	ok(reread(POLICY_Standard, "a file"), "a file comes");
	ok(!reread(0, ""), "… and stays");
	set(rules_file, "rules_match_query = true;");
	ok(reread(POLICY_NoRefresh, "rules that see the query"), "--rules-match-query");
	fd_write_file(rules_file, STR("rules = ( { type = \"Suffix\"; match = \".x\"; policy = \"NoCaches\"; } );"), 0644);
	for (int i = 0; i < 2; i++)
		ok(rules_reread(problem) == NULL && strstr(problem, "/policy:1: policy = NoCaches: "), "a wrong file is complained of, each time: %s", problem);
	fd_write_file(rules_file, STR("rules = ( { type = \"Suffix\"; match = \".x\"; policy = \"NoRefresh\"; } );"), 0644);
	ok(!reread(0, ""), "it is as it was: so is the set in force");
	fd_write_file(rules_file, STR("rules = ( { type = \"Suffix\"; match = \".x\"; policy = \"StaleIfError\"; } );"), 0644);
	ok(reread(POLICY_StaleIfError, "another text"), "another text");
	set(program, "rules_match_query = true;");
	ok(reread(POLICY_NoCache, "a program"), "a name that ends in .lua, in any case, is a program's");
	set(program, "rules_match_query = true; lua_instructions = 5000;");
	ok(reread(POLICY_NoCache, "another budget"), "its budget");
	ok(!reread(0, ""), "… stays");
	set("/nonexistent/f", "");
	ok(rules_reread(problem) == NULL, "a file that is not there");
	is_str(str_c(problem), STR("/nonexistent/f: cannot be read: No such file or directory"), "… and what is said of it");

	unlink(settings_file);
	unlink(rules_file);
	unlink(program);
	rmdir(folder);
	return done_testing();
}
