/* luabox.c - see luabox.h. The hook of Lua counts instructions of its machine alone, so all that is written in C and may take long is bounded
 * in a way of its own: pattern matching and string.rep are ours and are counted, memory is the allocator's matter (which also counts the bytes,
 * as they have to be filled), functions on lists want plain ones (a metatable could make them endless), and what takes long nevertheless
 * (comparing long strings, looking for the end of a large table) is found by the clock, which is looked at every STRIDE instructions. */
#include "luabox.h"
#include "../common/clock.h"
#include "../common/log.h"
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STRIDE 100              /* instructions between two looks at the budget: a microsecond; a call for one request has fewer */
#define STRING_MAX (256 << 10)  /* longest string: the largest head that we take; so no instruction copies or compares for long */
#define BYTES_A_STEP 64         /* of memory that cost as much as an instruction */
#define DEPTH_MAX 16            /* C that calls Lua that calls C ...: each needs up to 2 KiB of a handler's 256 */
#define RESULTS_MAX 250         /* of one call in C: as many as a call may have arguments */
#define PRINTED_MAX 400

const char luabox_chunk[] = "=lua";
static const char no_instructions[] = "has used up its instructions (--lua-instructions)";
static const char no_memory[] = "has used up its memory (--lua-memory), or made a string of more than 256 KiB";
static const char no_time[] = "takes too long";

/* --- the budget -------------------------------------------------------------------------------------------------------------- */

static void
look_after(struct luabox *b, lua_Hook hook, int stride)
{
	b->stride = stride;
	lua_sethook(b->L, hook, LUA_MASKCOUNT, stride);
}

static int64_t
cpu_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The wall's clock costs little and the processor's a system call, but a thread that others kept waiting has not done anything wrong: only
 * after the deadline the processor's time counts, from then on. */
static bool
too_long(struct luabox *b)
{
	if (clock_mono() < b->deadline)
		return false;
	if (b->cpu < 0)
		b->cpu = cpu_ms();
	return cpu_ms() - b->cpu > b->patience;
}

static void
hook(lua_State *L, lua_Debug *ar)
{
	struct luabox *b = luabox_of(L);
	b->fuel -= b->stride;
	if (lua_getinfo(L, "l", ar) && ar->currentline > 0)
		b->line = ar->currentline;
	if (!b->over)
		b->over = b->fuel < 0 ? no_instructions : too_long(b) ? no_time : NULL;
	if (b->over) {
		look_after(b, hook, 1); /* whoever catches this does not come far */
		lua_pushfstring(L, "%s:%d: %s", luabox_chunk + 1, b->line, b->over);
		lua_error(L);
	}
	if (b->stride != STRIDE)
		look_after(b, hook, STRIDE);
}

int
luabox_fail(lua_State *L, const char *over)
{
	struct luabox *b = luabox_of(L);
	b->over = over;
	look_after(b, hook, 1);
	return luaL_error(L, "%s", over);
}

void
luabox_spend(lua_State *L, size_t steps)
{
	struct luabox *b = luabox_of(L);
	b->fuel -= steps < INT32_MAX ? (int64_t)steps : INT32_MAX;
	if (b->fuel < 0)
		luabox_fail(L, b->over ? b->over : no_instructions);
}

void
luabox_enter(lua_State *L)
{
	if (++luabox_of(L)->depth > DEPTH_MAX)
		luaL_error(L, "calls are nested too deeply");
}

/* No memory: Lua collects its garbage and tries again. As this may be long, the hook looks at once at what came of it. */
static void *
allocate(void *user, void *p, size_t old, size_t n)
{
	struct luabox *b = user;
	bool is_string = !p && old == LUA_TSTRING;
	if (!p)
		old = 0; /* Lua says what kind of thing it wants there */
	if (n > old) {
		if (n - old > b->memory_max - b->memory || (is_string && n > STRING_MAX)) {
			b->refused = true;
			if (b->L)
				look_after(b, hook, 1);
			return NULL;
		}
		b->fuel -= (int64_t)(n / BYTES_A_STEP);
		if (b->fuel < 0 && b->L && b->stride != 1)
			look_after(b, hook, 1);
	}
	b->memory += n - old;
	if (n == 0) {
		free(p);
		return NULL;
	}
	return xrealloc(p, n);
}

/* --- a box --------------------------------------------------------------------------------------------------------------------- */

struct luabox *
luabox_new(size_t memory)
{
	struct luabox *b = xcalloc(1, sizeof(*b));
	b->memory_max = memory;
	b->fuel = INT64_MAX;
	b->L = lua_newstate(allocate, b);
	if (!b->L) {
		free(b);
		return NULL;
	}
	*(struct luabox **)lua_getextraspace(b->L) = b;
	return b;
}

void
luabox_free(struct luabox **bp)
{
	struct luabox *b = *bp;
	*bp = NULL;
	if (!b)
		return;
	lua_sethook(b->L, NULL, 0, 0);
	lua_close(b->L);
	free(b);
}

void
luabox_one_line(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ')
			*s = ' ';
}

int
luabox_run(struct luabox *b, lua_CFunction f, void *arg, int64_t instructions, int64_t ms, const char *name, int line, char *problem, size_t size)
{
	lua_State *L = b->L;
	b->fuel = instructions;
	b->patience = ms;
	b->deadline = clock_mono() + ms;
	b->cpu = -1;
	b->over = NULL;
	b->line = b->depth = 0;
	b->refused = false;
	look_after(b, hook, STRIDE);
	lua_pushcfunction(L, f); /* neither this nor the next takes memory, which nobody could complain of here */
	lua_pushlightuserdata(L, arg);
	int r = lua_pcall(L, 1, 0, 0);
	if (r == LUA_OK)
		return 0;
	size_t prefix = strlen(luabox_chunk + 1);
	const char *text = r == LUA_ERRMEM ? no_memory : lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "error() was called without a text";
	if (problem[0])
		; /* said already, better */
	else if (strncmp(text, luabox_chunk + 1, prefix) == 0 && text[prefix] == ':')
		snprintf(problem, size, "%.200s%.280s", name, text + prefix);
	else
		snprintf(problem, size, "%.200s:%d: %.280s", name, b->line > 0 ? b->line : line, text);
	luabox_one_line(problem);
	if (r == LUA_ERRMEM)
		b->refused = true;
	lua_settop(L, 0);
	return -1;
}

/* --- libraries ------------------------------------------------------------------------------------------------------------------- */

/* Not for what the whole call has used up. */
static int
safe_pcall(lua_State *L)
{
	struct luabox *b = luabox_of(L);
	luaL_checkany(L, 1);
	luabox_enter(L);
	int depth = b->depth, r = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
	b->depth = depth - 1;
	if (r == LUA_ERRMEM && !b->over)
		luabox_fail(L, no_memory);
	if (b->over)
		return lua_error(L);
	lua_pushboolean(L, r == LUA_OK);
	lua_insert(L, 1);
	return lua_gettop(L);
}

/* To the log with --debug, for whoever writes a program. */
static int
safe_print(lua_State *L)
{
	char line[PRINTED_MAX];
	size_t n = 0;
	int args = lua_gettop(L);
	luabox_spend(L, 10);
	if (log_level < LOG_DEBUG)
		return 0;
	luabox_spend(L, 200); /* a system call */
	line[0] = 0;
	for (int i = 1; i <= args && n < sizeof(line) - 1; i++) {
		luabox_enter(L);
		n += (size_t)snprintf(line + n, sizeof(line) - n, "%s%s", i > 1 ? " " : "", luaL_tolstring(L, i, NULL));
		luabox_leave(L);
		lua_pop(L, 1);
	}
	log_debug("policy program: %s", line);
	return 0;
}

static int
safe_rep(lua_State *L)
{
	size_t n, sep_n;
	const char *s = luaL_checklstring(L, 1, &n), *sep = luaL_optlstring(L, 3, "", &sep_n);
	lua_Integer times = luaL_checkinteger(L, 2);
	luaL_Buffer out;
	if (times <= 0 || n + sep_n == 0) {
		lua_pushliteral(L, "");
		return 1;
	}
	if ((uint64_t)times > STRING_MAX / (n + sep_n))
		return luabox_fail(L, no_memory);
	luabox_spend(L, (size_t)times);
	luaL_buffinit(L, &out);
	for (lua_Integer i = 0; i < times; i++) {
		if (i)
			luaL_addlstring(&out, sep, sep_n);
		luaL_addlstring(&out, s, n);
	}
	luaL_pushresult(&out);
	return 1;
}

/* What a function of Lua's costs before it is called. */
enum cost {
	COST_TEXT,   /* as long as its strings */
	COST_RESULTS, /* string.byte, utf8.codepoint: the same, and not thousands of results */
	COST_LIST,   /* as long as the list */
	COST_END,    /* the same when it is not about the end of it: insert, remove */
	COST_SORT,
	COST_MOVE,
	COST_META,   /* setmetatable: finalizers are run unseen by the hook */
};

static size_t
plain_list(lua_State *L, int at)
{
	luaL_checktype(L, at, LUA_TTABLE);
	if (lua_getmetatable(L, at))
		luaL_argerror(L, at, "must be a list without a metatable");
	return lua_rawlen(L, at);
}

static size_t
span(lua_Integer from, lua_Integer to)
{
	return to < from ? 0 : (size_t)((lua_Unsigned)to - (lua_Unsigned)from);
}

static int
guarded(lua_State *L)
{
	lua_CFunction f = lua_tocfunction(L, lua_upvalueindex(1));
	int args = lua_gettop(L), bits = 1;
	size_t cost = 0;
	switch ((enum cost)lua_tointeger(L, lua_upvalueindex(2))) {
	case COST_RESULTS:
	case COST_TEXT:
		for (int i = 1; i <= args; i++)
			if (lua_type(L, i) == LUA_TSTRING)
				cost += lua_rawlen(L, i) / 8;
		break;
	case COST_LIST: /* concat stops where the list does */
		cost = plain_list(L, 1);
		break;
	case COST_END:
		cost = plain_list(L, 1);
		if (args == 1 || (args == 2 && f == (lua_CFunction)lua_touserdata(L, lua_upvalueindex(3))))
			cost = 0;
		break;
	case COST_SORT:
		for (cost = plain_list(L, 1); cost >> bits; bits++)
			;
		cost *= (size_t)bits * 2;
		break;
	case COST_MOVE:
		plain_list(L, 1);
		if (args >= 5)
			plain_list(L, 5);
		cost = span(luaL_checkinteger(L, 2), luaL_checkinteger(L, 3));
		break;
	case COST_META:
		if (lua_istable(L, 2)) {
			lua_pushliteral(L, "__gc");
			if (lua_rawget(L, 2) != LUA_TNIL)
				return luaL_error(L, "__gc is not supported");
			lua_pop(L, 1);
		}
		break;
	}
	luabox_spend(L, cost);
	luabox_enter(L);
	int n = f(L);
	luabox_leave(L);
	return n;
}

static int
safe_unpack(lua_State *L)
{
	size_t n = plain_list(L, 1);
	lua_Integer from = luaL_optinteger(L, 2, 1), to = luaL_opt(L, luaL_checkinteger, 3, (lua_Integer)n);
	if (to >= from && span(from, to) >= RESULTS_MAX)
		return luaL_error(L, "more than %d results", RESULTS_MAX);
	luaL_checkstack(L, RESULTS_MAX, NULL);
	int results = 0;
	for (lua_Integer i = from; i <= to && results < RESULTS_MAX; i++, results++)
		lua_rawgeti(L, 1, i);
	luabox_spend(L, (size_t)results);
	return results;
}

/* string.byte(s, i, j), utf8.codepoint(s, i, j): of a part that is not long */
static int
few_results(lua_State *L)
{
	size_t n;
	luaL_checklstring(L, 1, &n);
	lua_Integer i = luaL_optinteger(L, 2, 1), j = luaL_optinteger(L, 3, i), len = (lua_Integer)n;
	i = i >= 0 ? i : i < -len ? 1 : len + i + 1;
	j = j > len ? len : j >= 0 ? j : j < -len ? 0 : len + j + 1;
	if (j >= i && span(i, j) >= RESULTS_MAX)
		return luaL_error(L, "more than %d results", RESULTS_MAX);
	return guarded(L);
}

static const struct allowed { const char *name; enum cost cost; bool as_it_is; } base[] = {
	{ "assert", 0, true }, { "error", 0, true }, { "getmetatable", 0, true }, { "ipairs", 0, true }, { "next", 0, true }, { "rawequal", 0, true },
	{ "rawget", 0, true }, { "rawlen", 0, true }, { "rawset", 0, true }, { "select", 0, true }, { "type", 0, true },
	{ "_VERSION", 0, true }, { "pairs", COST_TEXT, false }, { "tonumber", COST_TEXT, false }, { "tostring", COST_TEXT, false },
	{ "setmetatable", COST_META, false }, { NULL, 0, false },
}, strings[] = {
	{ "len", 0, true }, { "char", 0, true }, { "byte", COST_RESULTS, false }, { "format", COST_TEXT, false }, { "lower", COST_TEXT, false }, { "upper", COST_TEXT, false },
	{ "reverse", COST_TEXT, false }, { "sub", 0, true }, { NULL, 0, false },
}, tables[] = {
	{ "concat", COST_LIST, false }, { "insert", COST_END, false }, { "remove", COST_END, false }, { "sort", COST_SORT, false },
	{ "move", COST_MOVE, false }, { "pack", 0, true }, { NULL, 0, false },
}, utf8s[] = {
	{ "char", 0, true }, { "charpattern", 0, true }, { "codepoint", COST_RESULTS, false }, { "codes", COST_TEXT, false }, { "len", COST_TEXT, false },
	{ "offset", COST_TEXT, false }, { NULL, 0, false },
};

/* A new table with what is allowed of the library that open makes. */
static void
library(lua_State *L, lua_CFunction open, const char *name, const struct allowed *list)
{
	luaL_requiref(L, name, open, 0);
	lua_newtable(L);
	for (const struct allowed *a = list; a->name; a++) {
		if (lua_getfield(L, -2, a->name) == LUA_TFUNCTION && !a->as_it_is) {
			lua_pushinteger(L, a->cost);
			/* table.insert with two arguments is about the end; table.remove with one */
			lua_pushlightuserdata(L, strcmp(a->name, "insert") == 0 ? (void *)lua_tocfunction(L, -2) : NULL);
			lua_pushcclosure(L, a->cost == COST_RESULTS ? few_results : guarded, 3);
		}
		lua_setfield(L, -2, a->name);
	}
	lua_remove(L, -2);
}

void
luabox_libraries(lua_State *L)
{
	/* luaopen_base fills in the table of globals itself: what is good of it is kept, and that emptied */
	lua_pushglobaltable(L);
	library(L, luaopen_base, "_G", base);
	lua_pushnil(L);
	while (lua_next(L, -3)) {
		lua_pop(L, 1);
		lua_pushvalue(L, -1);
		lua_pushnil(L);
		lua_rawset(L, -5);
	}
	lua_pushnil(L);
	while (lua_next(L, -2)) {
		lua_pushvalue(L, -2);
		lua_insert(L, -2);
		lua_rawset(L, -5);
	}
	lua_pop(L, 2);
	lua_pushglobaltable(L);
	lua_setglobal(L, "_G");
	lua_register(L, "pcall", safe_pcall);
	lua_register(L, "print", safe_print);
	library(L, luaopen_string, "string", strings);
	lua_pushcfunction(L, safe_rep);
	lua_setfield(L, -2, "rep");
	luapattern_open(L);
	lua_pushliteral(L, ""); /* s:match() finds these, too */
	lua_getmetatable(L, -1);
	lua_pushvalue(L, -3);
	lua_setfield(L, -2, "__index");
	lua_pop(L, 2);
	lua_setglobal(L, "string");
	library(L, luaopen_table, "table", tables);
	lua_pushcfunction(L, safe_unpack);
	lua_setfield(L, -2, "unpack");
	lua_setglobal(L, "table");
	library(L, luaopen_utf8, "utf8", utf8s);
	lua_setglobal(L, "utf8");
	luaL_requiref(L, "math", luaopen_math, 0);
	lua_setglobal(L, "math");
	lua_pushnil(L); /* what require would find */
	lua_setfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
}
