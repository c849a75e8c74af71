/* luafile.c - see luafile.h. What a program declares is put into libconfig's form and read as any policy file, so that both mean the same. */
#include "luafile.h"
#include "rulefile.h"
#include "../common/clock.h"
#include "../common/counters.h"
#include "../common/err.h"
#include "../common/fd.h"
#include "../common/log.h"
#include <errno.h>
#include <lauxlib.h>
#include <libconfig.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (4 << 20)    /* as a policy file in the other syntax */
#define CALL_MS 50            /* what instructions do not see of a call: of CPU time, from when so much time has gone by */
#define LOAD_MS 1000
#define RESTART_MS 1000       /* between two beginnings of a program that uses up its memory */
#define QUIET_MS 10000        /* between two complaints in the log */
#define KEY_MAX 65536         /* four times the longest URL */
#define SECONDS_MAX (10 * 366 * 86400) /* as in rulefile.c */
#define ALL_POLICIES "NoCache, NoRefresh, Standard, StaleIfError or AlwaysUpstream"

/* Where things are in the registry: 1 and 2 are Lua's. */
enum { AT_CTX = 10, AT_FUNCTIONS = 16 };

/* What a program may declare, and the line in which it did. list: a list, or a function that returns one. as: its name in a file. */
enum { DECLARED_RULES, DECLARED_KEYS, DECLARED_REFRESH, DECLARED_DEFAULTS, DECLARED_POLICY, DECLARED_RESOLVER, DECLARED_CACHE_KEY, DECLARED_N };
static const struct { const char *name, *as; int type; } declared[DECLARED_N] = {
	[DECLARED_RULES] = { "rules", "rules", LUA_TTABLE },
	[DECLARED_KEYS] = { "cache_key_rules", "key_rules", LUA_TTABLE },
	[DECLARED_REFRESH] = { "refresh_patterns", "refresh_patterns", LUA_TTABLE },
	[DECLARED_DEFAULTS] = { "include_defaults", "include_defaults", LUA_TSTRING },
	[DECLARED_POLICY] = { "default_policy", "default_policy", LUA_TSTRING },
	[DECLARED_RESOLVER] = { "resolver", NULL, LUA_TFUNCTION },
	[DECLARED_CACHE_KEY] = { "cache_key", NULL, LUA_TFUNCTION },
};

struct luafile {
	pthread_mutex_t lock;
	struct luabox *box;       /* NULL: has to be begun */
	const struct http_request *req; /* of the call under way */
	char *name, *text;
	size_t text_n;
	struct lua_budget budget;
	unsigned callables;
	bool has[2];              /* LUAFILE_RESOLVER, LUAFILE_CACHE_KEY */
	int lines[DECLARED_N];
	int64_t begun, said;      /* when, ms; 0 never */
	uint64_t failures;
};

/* --- what a program declares ------------------------------------------------------------------------------------------------- */

struct beginning {
	struct luafile *f;
	config_t *tree;
	char *problem;
	unsigned callables;
	bool has[2];
	int line;
	char where[40];          /* "rules[3]: " */
};

static int __attribute__((format(printf, 3, 4)))
wrong(lua_State *L, struct beginning *b, const char *fmt, ...)
{
	char what[RULE_PROBLEM / 2];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(b->problem, RULE_PROBLEM, "%.200s:%d: %s%s", b->f->name, b->line, b->where, what);
	lua_pushnil(L);
	return lua_error(L);
}

/* Each global of ours, when it is made: messages name its line. */
static int
note_line(lua_State *L)
{
	struct luafile *f = lua_touserdata(L, lua_upvalueindex(1)); /* programs can get hold of this function */
	lua_Debug ar;
	const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
	for (int i = 0; i < DECLARED_N; i++)
		if (strcmp(declared[i].name, name) == 0 && lua_getstack(L, 1, &ar) && lua_getinfo(L, "l", &ar))
			f->lines[i] = ar.currentline > 0 ? ar.currentline : 1;
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 3);
	lua_rawset(L, 1);
	return 0;
}

static config_setting_t *
add(lua_State *L, struct beginning *b, config_setting_t *to, const char *name, int type)
{
	config_setting_t *s = config_setting_add(to, name, type);
	if (!s)
		wrong(L, b, "%.60s: is not a name of a setting", name);
	s->line = (unsigned)b->line;
	return s;
}

/* The value on top of the stack. depth: how far it may go on. */
static void
convert(lua_State *L, struct beginning *b, config_setting_t *to, const char *name, int depth)
{
	int at = lua_gettop(L), whole;
	const char *text, *called = name ? name : "it";
	size_t n;
	lua_Integer i;
	luaL_checkstack(L, 8, NULL);
	luabox_spend(L, 5);
	switch (lua_type(L, at)) {
	case LUA_TSTRING:
		text = lua_tolstring(L, at, &n);
		if (memchr(text, 0, n))
			wrong(L, b, "%s: has a NUL byte", called);
		config_setting_set_string(add(L, b, to, name, CONFIG_TYPE_STRING), text);
		return;
	case LUA_TBOOLEAN:
		config_setting_set_bool(add(L, b, to, name, CONFIG_TYPE_BOOL), lua_toboolean(L, at));
		return;
	case LUA_TNUMBER:
		i = lua_tointegerx(L, at, &whole); /* 60.0 is 60 */
		if (whole)
			config_setting_set_int64(add(L, b, to, name, CONFIG_TYPE_INT64), i);
		else
			config_setting_set_float(add(L, b, to, name, CONFIG_TYPE_FLOAT), lua_tonumber(L, at));
		return;
	case LUA_TFUNCTION:
		if (!name || strcmp(name, "call") != 0)
			wrong(L, b, "%s: cannot be a function", called);
		config_setting_set_int64(add(L, b, to, name, CONFIG_TYPE_INT64), ++b->callables);
		lua_pushvalue(L, at);
		lua_rawseti(L, LUA_REGISTRYINDEX, AT_FUNCTIONS + LUAFILE_CALLABLE + (lua_Integer)b->callables);
		return;
	case LUA_TTABLE:
		break;
	default:
		wrong(L, b, "%s: cannot be a %s", called, luaL_typename(L, at));
	}
	if (depth == 0)
		wrong(L, b, "%s: cannot be a table", called);
	lua_pushnil(L);
	bool group = lua_next(L, at) && lua_type(L, -2) == LUA_TSTRING;
	config_setting_t *s = add(L, b, to, name, group ? CONFIG_TYPE_GROUP : CONFIG_TYPE_LIST);
	lua_settop(L, at);
	if (!group) {
		n = lua_rawlen(L, at);
		for (size_t e = 1; e <= n; e++) {
			lua_rawgeti(L, at, (lua_Integer)e);
			convert(L, b, s, NULL, depth - 1);
			lua_settop(L, at);
		}
		return;
	}
	for (lua_pushnil(L); lua_next(L, at); lua_settop(L, at + 1)) {
		if (lua_type(L, at + 1) != LUA_TSTRING)
			wrong(L, b, "%s: must be either a list or of the form { name = value; ... }", called);
		if (lua_type(L, -1) != LUA_TFUNCTION && strcmp(lua_tostring(L, at + 1), "call") == 0)
			wrong(L, b, "call: must be a function(ctx)");
		convert(L, b, s, lua_tostring(L, at + 1), depth - 1);
	}
}

/* A list of rules. In a table that is no list nothing would be found. */
static void
convert_list(lua_State *L, struct beginning *b, int which)
{
	int at = lua_gettop(L);
	config_setting_t *list = add(L, b, config_root_setting(b->tree), declared[which].as, CONFIG_TYPE_LIST);
	lua_Integer n = (lua_Integer)lua_rawlen(L, at), i = 0;
	lua_pushnil(L);
	while (lua_next(L, at)) {
		lua_pop(L, 1);
		if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 1 || lua_tointeger(L, -1) > n)
			wrong(L, b, "%s: must be a list of tables: { { type = ... }, { type = ... } }", declared[which].name);
	}
	while (++i <= n) {
		snprintf(b->where, sizeof(b->where), "%s[%lld]: ", declared[which].name, (long long)i);
		if (lua_rawgeti(L, at, i) != LUA_TTABLE || lua_rawlen(L, -1))
			wrong(L, b, "must be a table: { type = ... }");
		lua_pushnil(L);
		if (!lua_next(L, -2))
			wrong(L, b, "is an empty table: must be { type = ... }");
		lua_pop(L, 2);
		convert(L, b, list, NULL, 2);
		lua_settop(L, at);
	}
	b->where[0] = 0;
}

/* By itself, whatever a metatable of the globals makes of names that are not there. */
static int
global(lua_State *L, const char *name)
{
	lua_pushglobaltable(L);
	lua_pushstring(L, name);
	int type = lua_rawget(L, -2);
	lua_remove(L, -2);
	return type;
}

static void
declaration(lua_State *L, struct beginning *b, int which)
{
	const char *name = declared[which].name;
	int type = global(L, name), want = declared[which].type;
	b->line = b->f->lines[which] ? b->f->lines[which] : 1;
	if (type == LUA_TFUNCTION && want == LUA_TTABLE) {
		luabox_of(L)->line = b->line;
		lua_call(L, 0, 1);
		if (lua_type(L, -1) != want)
			wrong(L, b, "%s() returned a %s: must be a list of tables: { { type = ... }, { type = ... } }", name, luaL_typename(L, -1));
	} else if (type != LUA_TNIL && type != want) {
		wrong(L, b, "%s is a %s: must be a %s", name, luaL_typename(L, -1), want == LUA_TTABLE ? "list of tables, or a function that returns one" : lua_typename(L, want));
	}
	if (type == LUA_TNIL) {
		;
	} else if (want == LUA_TTABLE) {
		convert_list(L, b, which);
	} else if (want == LUA_TSTRING) {
		convert(L, b, config_root_setting(b->tree), name, 0);
	} else {
		int call = which == DECLARED_RESOLVER ? LUAFILE_RESOLVER : LUAFILE_CACHE_KEY;
		b->has[call] = true;
		lua_pushvalue(L, -1);
		lua_rawseti(L, LUA_REGISTRYINDEX, AT_FUNCTIONS + call);
	}
	lua_settop(L, 0);
}

static int
run(lua_State *L)
{
	struct beginning *b = lua_touserdata(L, 1);
	bool any = false;
	luabox_libraries(L);
	luactx_push(L, &b->f->req);
	lua_rawseti(L, LUA_REGISTRYINDEX, AT_CTX);
	lua_pushglobaltable(L);
	lua_createtable(L, 0, 1);
	lua_pushlightuserdata(L, b->f);
	lua_pushcclosure(L, note_line, 1);
	lua_setfield(L, -2, "__newindex");
	lua_pushvalue(L, -1);
	lua_setmetatable(L, -3);
	if (luaL_loadbufferx(L, b->f->text, b->f->text_n, luabox_chunk, "t") != LUA_OK) /* no machine code: that could do anything */
		return lua_error(L);
	lua_call(L, 0, 0);
	if (lua_getmetatable(L, -2) && lua_rawequal(L, -1, -2)) { /* it may have one of its own by now */
		lua_pushnil(L);
		lua_setmetatable(L, -4);
	}
	lua_settop(L, 0);
	for (int i = 0; i < DECLARED_N; i++) {
		any |= global(L, declared[i].name) != LUA_TNIL;
		lua_settop(L, 0);
	}
	b->line = 1;
	if (!any)
		wrong(L, b, "declares nothing: must have one of rules, resolver, cache_key_rules, cache_key, refresh_patterns, include_defaults, default_policy");
	for (int i = 0; i < DECLARED_N; i++)
		declaration(L, b, i);
	return 0;
}

/* A new state, in which the program has run. false: b->problem says why, and f->box stays NULL. */
static bool
begin(struct beginning *b)
{
	struct luafile *f = b->f;
	char *problem = b->problem;
	struct luabox *box = luabox_new(f->budget.memory);
	problem[0] = 0;
	if (!box)
		snprintf(problem, RULE_PROBLEM, "%.200s: --lua-memory is too little to begin with", f->name);
	else if (luabox_run(box, run, b, f->budget.instructions * LUABOX_LOAD, LOAD_MS, f->name, 1, problem, RULE_PROBLEM) == 0)
		f->box = box;
	else
		luabox_free(&box);
	return f->box != NULL;
}

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

static void
times(lua_State *L, struct plan *plan)
{
	int at = lua_gettop(L);
	if (!lua_istable(L, at))
		luaL_error(L, "timeouts: must be a table: { connect = 10; read = 60; }");
	for (lua_pushnil(L); lua_next(L, at); lua_pop(L, 1)) {
		const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
		if (strcmp(name, "connect") == 0)
			plan->connect_timeout_ms = seconds(L, name, 3600);
		else if (strcmp(name, "read") == 0)
			plan->read_timeout_ms = seconds(L, name, 86400);
		else
			luaL_error(L, "timeouts do not have %s: they have connect and read", name);
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
			if (!whole || plan->forced_swr_s < 0 || plan->forced_swr_s > SECONDS_MAX)
				luaL_error(L, "forced_swr_seconds: must be a whole number from 0 to %d", SECONDS_MAX);
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
	if (begin(&b) && (b.callables != f->callables || memcmp(b.has, f->has, sizeof(b.has)) != 0)) {
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
	bool good = begin(&b);
	f->callables = b.callables;
	memcpy(f->has, b.has, sizeof(f->has));
	if (good && !(set = rulefile_of_program(name, &tree, f, otherwise, problem)))
		luabox_one_line(problem);
	config_destroy(&tree);
	if (!set)
		luafile_free(&f);
	return set;
}

struct ruleset *
luafile_load(const char *path, enum policy otherwise, const struct lua_budget *budget, char problem[RULE_PROBLEM])
{
	struct str text;
	errno = 0;
	int r = fd_read_file(path, FILE_MAX, &text);
	if (r < 0) {
		snprintf(problem, RULE_PROBLEM, "%.300s: cannot be read: %s", path, r == -ERR_FULL ? "it has more than 4 MiB" : errno ? strerror(errno) : err_text(r));
		return NULL;
	}
	struct ruleset *set = luafile_parse(path, text, otherwise, budget, problem);
	free((char *)(uintptr_t)text.p);
	return set;
}
