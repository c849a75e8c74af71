/* luadeclared.c - the run of a program that finds out what it declares. That is put into libconfig's form, to be read as any policy file, so that
 * both mean the same. */
#include "luafile_impl.h"
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#define LOAD_MS 1000          /* of CPU time, as CALL_MS in luafile.c */

/* What a program may declare. as: its name in the other syntax. A table: a list, or a function that returns one. */
static const struct { const char *name, *as; int type; } declared[DECLARED_N] = {
	[DECLARED_RULES] = { "rules", "rules", LUA_TTABLE },
	[DECLARED_KEYS] = { "cache_key_rules", "key_rules", LUA_TTABLE },
	[DECLARED_REFRESH] = { "refresh_patterns", "refresh_patterns", LUA_TTABLE },
	[DECLARED_DEFAULTS] = { "include_defaults", "include_defaults", LUA_TSTRING },
	[DECLARED_POLICY] = { "default_policy", "default_policy", LUA_TSTRING },
	[DECLARED_RESOLVER] = { "resolver", NULL, LUA_TFUNCTION },
	[DECLARED_CACHE_KEY] = { "cache_key", NULL, LUA_TFUNCTION },
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

bool
luafile_begin(struct beginning *b)
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
