/* luafile.h - a policy file that is a program in Lua 5.4 (etc/passsage.policy.lua.sample), to a set of rules that asks it. It runs in a box
 * (luabox.h): a call can neither hang nor grow nor do anything but answer. A call that fails is counted (policy_errors), now and then
 * said in the log, and answered by the default. A program that has used up its memory is begun anew, from its text.
 * Each process has its own; a mutex lets one of its threads in at a time. */
#pragma once
#include "luabox.h"
#include "rules.h"

/* As rulefile_parse. */
struct ruleset *luafile_parse(const char *name, struct str text, enum policy otherwise, const struct lua_budget *, char problem[RULE_PROBLEM]);

/* --- for the set of rules --- */
enum { LUAFILE_RESOLVER, LUAFILE_CACHE_KEY, LUAFILE_CALLABLE }; /* which function; the Callable rules' are LUAFILE_CALLABLE + 1 … */
enum luafile_answer { LUAFILE_SILENT, LUAFILE_SAYS, LUAFILE_FAILS };
/* What resolver or a Callable rule makes of a request: policy, times and forced SWR into the plan. A program that has no such function is silent. */
enum luafile_answer luafile_policy(struct luafile *, unsigned call, const struct http_request *, struct plan *);
/* What cache_key or a Callable key rule does: *key in the arena; STR_NONE when it fails. */
enum luafile_answer luafile_key(struct luafile *, unsigned call, const struct http_request *, struct arena *, struct str *key);
void luafile_free(struct luafile **);
/* luactx.c: puts ctx on the stack, which sees *req as long as that is not NULL. */
void luactx_push(lua_State *, const struct http_request *const *req);
