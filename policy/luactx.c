/* luactx.c - what a program sees of a request. Nothing is made before it is asked for: an object without contents looks into the request. */
#include "luafile.h"
#include "../common/netrange.h"
#include <lauxlib.h>
#include <string.h>

/* Upvalue 1: where the request of the call is found. */
static const struct http_request *
asked(lua_State *L)
{
	const struct http_request *req = **(const struct http_request *const **)lua_touserdata(L, lua_upvalueindex(1));
	if (!req)
		luaL_error(L, "there is no request now");
	return req;
}

static void
push(lua_State *L, struct str s)
{
	if (s.p)
		lua_pushlstring(L, s.p, s.n);
	else
		lua_pushnil(L);
}

static void
push_lower(lua_State *L, struct str s)
{
	luaL_Buffer b;
	char *p = luaL_buffinitsize(L, &b, s.n);
	for (size_t i = 0; i < s.n; i++)
		p[i] = ascii_lower(s.p[i]);
	luaL_pushresultsize(&b, s.n);
}

static void
push_client(lua_State *L, const struct in6_addr *a)
{
	char text[INET6_ADDRSTRLEN];
	if (IN6_IS_ADDR_UNSPECIFIED(a))
		lua_pushnil(L);
	else
		lua_pushstring(L, address_text(a, text));
}

/* Upvalue 2: headers */
static int
ctx_index(lua_State *L)
{
	const struct http_request *req = asked(L);
	const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
	if (strcmp(key, "host") == 0)
		push_lower(L, req->url.host);
	else if (strcmp(key, "path") == 0)
		push(L, req->url.path);
	else if (strcmp(key, "url") == 0)
		push(L, req->url.text);
	else if (strcmp(key, "method") == 0)
		push(L, req->method_name);
	else if (strcmp(key, "headers") == 0)
		lua_pushvalue(L, lua_upvalueindex(2));
	else if (strcmp(key, "client") == 0)
		push_client(L, &req->client);
	else if (strcmp(key, "query") == 0)
		push(L, req->url.query);
	else if (strcmp(key, "scheme") == 0)
		push(L, req->url.scheme);
	else if (strcmp(key, "port") == 0)
		lua_pushinteger(L, req->url.port);
	else
		return luaL_error(L, "ctx has no %s: it has url, scheme, host, port, path, query, method, headers and client", *key ? key : "such field");
	return 1;
}

/* ctx.headers["Name"]: all of that name, whatever its case, joined by ", " (RFC 9110 5.3) */
static int
headers_index(lua_State *L)
{
	const struct headers *h = &asked(L)->headers;
	struct str name = STR_NONE;
	luaL_Buffer b;
	const struct field *only = NULL;
	unsigned n = 0;
	if (lua_type(L, 2) == LUA_TSTRING)
		name.p = lua_tolstring(L, 2, &name.n);
	luabox_spend(L, h->n / 8);
	for (unsigned i = 0; i < h->n; i++) {
		if (h->v[i].name.n != name.n || !str_caseeq(h->v[i].name, name))
			continue;
		if (++n == 1) {
			only = &h->v[i];
			continue;
		}
		if (n == 2) {
			luaL_buffinit(L, &b);
			luaL_addlstring(&b, only->value.p, only->value.n);
		}
		luaL_addlstring(&b, ", ", 2);
		luaL_addlstring(&b, h->v[i].value.p, h->v[i].value.n);
	}
	if (n > 1)
		luaL_pushresult(&b);
	else if (n == 1)
		lua_pushlstring(L, only->value.n ? only->value.p : "", only->value.n);
	else
		lua_pushnil(L);
	return 1;
}

/* for name, value in pairs(ctx.headers): as they came */
static int
headers_next(lua_State *L)
{
	const struct headers *h = &asked(L)->headers;
	lua_Integer i = lua_tointeger(L, lua_upvalueindex(2));
	if (i < 0 || i >= (lua_Integer)h->n)
		return 0;
	lua_pushinteger(L, i + 1);
	lua_replace(L, lua_upvalueindex(2));
	lua_pushlstring(L, h->v[i].name.p, h->v[i].name.n);
	lua_pushlstring(L, h->v[i].value.n ? h->v[i].value.p : "", h->v[i].value.n);
	return 2;
}

static int
headers_pairs(lua_State *L)
{
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_pushinteger(L, 0);
	lua_pushcclosure(L, headers_next, 2);
	return 1;
}

static int
read_only(lua_State *L)
{
	return luaL_error(L, "a request cannot be changed here");
}

/* An object whose fields index finds; its metatable is not for programs. The place of the request is on top, and stays there. */
static void
object(lua_State *L, lua_CFunction index, bool headers, int inner)
{
	int place = lua_gettop(L);
	lua_newuserdatauv(L, 0, 0);
	lua_createtable(L, 0, 4);
	lua_pushvalue(L, place);
	if (inner)
		lua_pushvalue(L, inner);
	lua_pushcclosure(L, index, inner ? 2 : 1);
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, read_only);
	lua_setfield(L, -2, "__newindex");
	lua_pushboolean(L, false);
	lua_setfield(L, -2, "__metatable");
	if (headers) {
		lua_pushvalue(L, place);
		lua_pushcclosure(L, headers_pairs, 1);
		lua_setfield(L, -2, "__pairs");
	}
	lua_setmetatable(L, -2);
}

void
luactx_push(lua_State *L, const struct http_request *const *req)
{
	*(const struct http_request *const **)lua_newuserdatauv(L, sizeof(req), 0) = req;
	object(L, headers_index, true, 0);
	lua_insert(L, -2); /* headers, place */
	object(L, ctx_index, false, lua_gettop(L) - 1);
	lua_insert(L, -3);
	lua_pop(L, 2);
}
