/* luabox.h - a Lua state that cannot do harm: it computes, and has neither files nor clocks nor other programs' code, and what it may
 * use up is bounded: instructions, memory, nesting, and for all that instructions do not see, time. One thread at a time may use a box. */
#pragma once
#include "../common/arena.h"
#include <lua.h>

struct luabox {
	lua_State *L;
	void *user;               /* whose it is */
	int64_t fuel;             /* instructions that are left to this call */
	int64_t patience, deadline, cpu; /* ms, see hook() */
	size_t memory, memory_max;
	const char *over;         /* what is used up, NULL nothing: from then on each instruction fails, so no pcall can go on */
	int line;                 /* where it was lately */
	int depth, stride;
	bool refused;             /* the end of the memory was seen in this call */
};

/* instructions, memory: the settings. A load may take LUABOX_LOAD times as many. */
struct lua_budget { int64_t instructions; size_t memory; };
#define LUABOX_LOAD 100

struct luabox *luabox_new(size_t memory);
void luabox_free(struct luabox **);
/* f(L) with arg (light userdata) as its only argument, protected. 0, or the complaint is in problem: "NAME:LINE: text" of one line. line:
 * what is said when it is not known better; problem with something in it is left as it is. */
int luabox_run(struct luabox *, lua_CFunction f, void *arg, int64_t instructions, int64_t ms, const char *name, int line, char *problem, size_t size);
void luabox_one_line(char *);                   /* whatever a program has put into a complaint */

/* --- inside of it (these may raise Lua errors) --- */
static inline struct luabox *luabox_of(lua_State *L) { return *(struct luabox **)lua_getextraspace(L); }
void luabox_libraries(lua_State *);             /* what programs may call, as globals */
void luabox_spend(lua_State *, size_t);         /* work of so many instructions is about to be done in C */
void luabox_enter(lua_State *);                 /* C is about to call Lua again: bounded, for a handler's stack is small */
static inline void luabox_leave(lua_State *L) { luabox_of(L)->depth--; }
int luabox_fail(lua_State *, const char *over); /* raises: this is used up */
extern const char luabox_chunk[];               /* name of chunks: what messages begin with */
/* luapattern.c: find, match, gmatch, gsub as in Lua, whose own could run for ever: these spend an instruction a step. */
void luapattern_open(lua_State *);              /* into the table on top of the stack */
