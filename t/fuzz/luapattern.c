/* Any pattern (the first line) on any text (the rest), by each function that takes one: it comes to an end within its budget, and what is
 * found lies in the text. */
#include "../../common/err.h"
#include "../../policy/luabox.h"
#include <lauxlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char program[] =
	"local p, s = ...\n"
	"local from, to = s:find(p)\n"
	"assert(not from or (from >= 1 and to >= from - 1 and to <= #s))\n"
	"assert((s:match(p) ~= nil) == (from ~= nil))\n"
	"local n = 0 for x in s:gmatch(p) do n = n + 1 assert(n <= #s + 1) end\n"
	"local t, m = s:gsub(p, '<%0>') assert(m <= #s + 1 and #t == #s + 2 * m)\n"
	"s:gsub(p, function(...) return select('#', ...) % 2 == 0 and '' end)\n"
	"s:find(p, -3)\n";

static int
run(lua_State *L)
{
	const struct str *in = lua_touserdata(L, 1);
	luabox_libraries(L);
	if (luaL_loadbufferx(L, program, sizeof(program) - 1, luabox_chunk, "t") != LUA_OK)
		return lua_error(L);
	lua_pushlstring(L, in[0].p ? in[0].p : "", in[0].n);
	lua_pushlstring(L, in[1].p ? in[1].p : "", in[1].n);
	lua_call(L, 2, 0);
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str in[2] = { STR_NONE, { (const char *)data, n } };
	char problem[512] = "";
	struct luabox *box = luabox_new(1 << 20);
	in[0] = str_cut(&in[1], '\n');
	luabox_run(box, run, in, 100000, 1000, "f", 1, problem, sizeof(problem));
	INVARIANT(!strstr(problem, "assertion failed") && !strstr(problem, "too long"));
	luabox_free(&box);
	return 0;
}
