/* luafile.c - see luafile.h. What a program declares is luadeclared.c's matter; this asks it. */
#include "luafile_impl.h"
#include "rulefile.h"
#include "../common/clock.h"
#include "../common/counters.h"
#include "../common/log.h"
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_MS 50            /* what instructions do not see of a call: of CPU time, from when so much time has gone by */
#define RESTART_MS 1000       /* between two beginnings of a program that uses up its memory */
#define QUIET_MS 10000        /* between two complaints in the log */
#define KEY_MAX 65536         /* four times the longest URL */
#define ALL_POLICIES "NoCache, NoRefresh, Standard, StaleIfError or AlwaysUpstream"

/* --- asking it ------------------------------------------------------------------------------------------------------------------- */

struct call {
	struct luafile *f;
	unsigned which;
	struct plan *plan;       /* a policy is wanted, or */
	struct arena *arena;     /* a key */
	struct str *key;
	enum luafile_answer answer;
};

static int64_t
seconds(lua_State *L, const char *name, int max)
{
	lua_Number n = lua_tonumber(L, -1);
	if (lua_type(L, -1) != LUA_TNUMBER || !(n >= 0 && n <= max) || (n > 0 && n < 0.001))
		luaL_error(L, "%s: must be seconds, 0 (no limit) to %d; fractions are allowed", name, max);
	return (int64_t)(n * 1000);
}

static int64_t
bytes(lua_State *L, const char *name)
{
	int whole;
	lua_Integer n = lua_tointegerx(L, -1, &whole);
	if (!whole || n < 0 || n > RULE_LOW_SPEED_MAX)
		luaL_error(L, "%s: must be a whole number of bytes a second, 0 (no limit) to %d", name, RULE_LOW_SPEED_MAX);
	return n;
}

static void
times(lua_State *L, struct plan *plan)
{
	int at = lua_gettop(L);
	if (!lua_istable(L, at))
		luaL_error(L, "timeouts: must be a table: { connect = 10; read = 60; }");
	for (lua_pushnil(L); lua_next(L, at); lua_pop(L, 1)) {
		const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
		if (strcmp(name, "connect") == 0)
			plan->connect_timeout_ms = seconds(L, name, RULE_CONNECT_MAX);
		else if (strcmp(name, "read") == 0)
			plan->read_timeout_ms = seconds(L, name, RULE_READ_MAX);
		else if (strcmp(name, "total") == 0)
			plan->limits.total_ms = transfer_limit(seconds(L, name, RULE_TOTAL_MAX));
		else if (strcmp(name, "low_speed") == 0)
			plan->limits.low_speed = transfer_limit(bytes(L, name));
		else if (strcmp(name, "low_speed_time") == 0)
			plan->limits.low_speed_ms = transfer_limit(seconds(L, name, RULE_LOW_SPEED_TIME_MAX));
		else
			luaL_error(L, "timeouts do not have %s: they have connect, read, total, low_speed and low_speed_time", name);
	}
}

static void
policy(lua_State *L, struct plan *plan)
{
	struct str name = STR_NONE;
	if (lua_type(L, -1) == LUA_TSTRING)
		name.p = lua_tolstring(L, -1, &name.n);
	if (!policy_parse(name, &plan->policy))
		luaL_error(L, "%s is no policy: must be " ALL_POLICIES, name.p ? name.p : luaL_typename(L, -1));
}

/* nil (or false: "return x and y"): the rules decide; a name; or a table with more. */
static enum luafile_answer
policy_of(lua_State *L, struct plan *plan)
{
	bool named = false;
	int whole, at = lua_gettop(L);
	if (!lua_toboolean(L, at))
		return LUAFILE_SILENT;
	if (!lua_istable(L, at)) {
		policy(L, plan);
		return LUAFILE_SAYS;
	}
	for (lua_pushnil(L); lua_next(L, at); lua_settop(L, at + 1)) {
		const char *name = lua_type(L, at + 1) == LUA_TSTRING ? lua_tostring(L, at + 1) : "";
		if (strcmp(name, "policy") == 0) {
			policy(L, plan);
			named = true;
		} else if (strcmp(name, "timeouts") == 0) {
			times(L, plan);
		} else if (strcmp(name, "forced_swr_seconds") == 0) {
			plan->forced_swr_s = lua_tointegerx(L, -1, &whole);
			if (!whole || plan->forced_swr_s < 0 || plan->forced_swr_s > RULE_SECONDS_MAX)
				luaL_error(L, "forced_swr_seconds: must be a whole number from 0 to %d", RULE_SECONDS_MAX);
		} else {
			luaL_error(L, "a table was returned that has %s: it may have policy, timeouts and forced_swr_seconds", *name ? name : "a list");
		}
	}
	if (!named)
		luaL_error(L, "a table was returned that has no policy");
	return LUAFILE_SAYS;
}

/* nil, false or "": the next rule. What is one goes into logs, metadata and documents' names. */
static enum luafile_answer
key_of(lua_State *L, struct arena *a, struct str *key)
{
	struct str s;
	if (!lua_toboolean(L, -1))
		return LUAFILE_SILENT;
	if (lua_type(L, -1) != LUA_TSTRING)
		luaL_error(L, "a %s is no key: must be a string, or nil", luaL_typename(L, -1));
	s.p = lua_tolstring(L, -1, &s.n);
	if (s.n > KEY_MAX)
		luaL_error(L, "a key of more than %d bytes", KEY_MAX);
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
			luaL_error(L, "a key has a control character");
	if (!s.n)
		return LUAFILE_SILENT;
	*key = arena_dup(a, s);
	return LUAFILE_SAYS;
}

static int
ask(lua_State *L)
{
	struct call *c = lua_touserdata(L, 1);
	lua_Debug ar;
	lua_rawgeti(L, LUA_REGISTRYINDEX, AT_FUNCTIONS + (lua_Integer)c->which);
	lua_pushvalue(L, -1);
	lua_rawgeti(L, LUA_REGISTRYINDEX, AT_CTX);
	lua_call(L, 1, 1);
	lua_insert(L, -2);
	if (lua_getinfo(L, ">S", &ar)) /* what is wrong with its answer is said with its line */
		luabox_of(L)->line = ar.linedefined;
	c->answer = c->plan ? policy_of(L, c->plan) : key_of(L, c->arena, c->key);
	return 0;
}

/* false: it cannot be asked now. Its state may be gone; not more often than RESTART_MS allows a new one is made. */
static bool
ready(struct luafile *f, char problem[RULE_PROBLEM])
{
	config_t tree;
	struct beginning b = { .f = f, .tree = &tree, .problem = problem };
	if (f->box)
		return true;
	int64_t now = clock_mono();
	snprintf(problem, RULE_PROBLEM, "%.200s: is about to be begun anew", f->name);
	if (now - f->begun < RESTART_MS)
		return false;
	f->begun = now;
	config_init(&tree);
	if (luafile_begin(&b) && (b.callables != f->callables || memcmp(b.has, f->has, sizeof(b.has)) != 0)) {
		snprintf(problem, RULE_PROBLEM, "%.200s: does not declare the same when it runs again", f->name);
		luabox_free(&f->box);
	}
	config_destroy(&tree);
	return f->box != NULL;
}

static void
call(struct luafile *f, struct call *c, const struct http_request *req)
{
	char problem[RULE_PROBLEM] = "";
	pthread_mutex_lock(&f->lock);
	f->req = req;
	c->answer = LUAFILE_FAILS;
	if (ready(f, problem)) {
		problem[0] = 0;
		if (luabox_run(f->box, ask, c, f->budget.instructions, CALL_MS, f->name, 1, problem, sizeof(problem)) < 0) {
			c->answer = LUAFILE_FAILS;
			if (f->box->refused)
				luabox_free(&f->box); /* whatever it keeps there would be in the way of all further calls */
		}
	}
	f->req = NULL;
	if (c->answer == LUAFILE_FAILS) {
		int64_t now = clock_mono();
		count(COUNT_policy_errors);
		f->failures++;
		if (!f->said || now - f->said >= QUIET_MS) {
			f->said = now;
			log_warn("%s; the default applies (%llu calls failed so far)", problem, (unsigned long long)f->failures);
		}
	}
	pthread_mutex_unlock(&f->lock);
}

enum luafile_answer
luafile_policy(struct luafile *f, unsigned which, const struct http_request *req, struct plan *plan)
{
	struct plan said = *plan;
	struct call c = { .f = f, .which = which, .plan = &said };
	if (which < LUAFILE_CALLABLE && !f->has[which])
		return LUAFILE_SILENT;
	call(f, &c, req);
	if (c.answer == LUAFILE_SAYS)
		*plan = said;
	return c.answer;
}

enum luafile_answer
luafile_key(struct luafile *f, unsigned which, const struct http_request *req, struct arena *a, struct str *key)
{
	struct call c = { .f = f, .which = which, .arena = a, .key = key };
	*key = STR_NONE;
	if (which < LUAFILE_CALLABLE && !f->has[which])
		return LUAFILE_SILENT;
	call(f, &c, req);
	return c.answer;
}

/* --- files ------------------------------------------------------------------------------------------------------------------------ */

void
luafile_free(struct luafile **fp)
{
	struct luafile *f = *fp;
	*fp = NULL;
	if (!f)
		return;
	luabox_free(&f->box);
	pthread_mutex_destroy(&f->lock);
	free(f->name);
	free(f->text);
	free(f);
}

struct ruleset *
luafile_parse(const char *name, struct str text, enum policy otherwise, const struct lua_budget *budget, char problem[RULE_PROBLEM])
{
	struct luafile *f = xcalloc(1, sizeof(*f));
	struct ruleset *set = NULL;
	config_t tree;
	struct beginning b = { .f = f, .tree = &tree, .problem = problem };
	pthread_mutex_init(&f->lock, NULL);
	f->name = xstrdup(name);
	f->text = xmalloc(text.n + 1);
	if (text.n)
		memcpy(f->text, text.p, text.n);
	f->text_n = text.n;
	f->budget = *budget;
	f->begun = clock_mono();
	config_init(&tree);
	bool good = luafile_begin(&b);
	f->callables = b.callables;
	memcpy(f->has, b.has, sizeof(f->has));
	if (good && !(set = rulefile_of_program(name, &tree, f, otherwise, problem)))
		luabox_one_line(problem);
	config_destroy(&tree);
	if (!set)
		luafile_free(&f);
	return set;
}
