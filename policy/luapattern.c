/* luapattern.c - the pattern functions of Lua 5.4 (manual 6.4.1) once more, in which each step of a match is counted against the budget of the
 * call: Lua's own look back as often as a pattern like ".-.-.-.-x" makes them, and nothing could interrupt that. */
#include "luabox.h"
#include <ctype.h>
#include <lauxlib.h>
#include <string.h>

#define CAPTURES_MAX 32
#define NEST_MAX 100        /* of what may be tried in more than one way, in one pattern: C calls itself for each */
#define OPEN (-1)           /* lengths that are none */
#define POSITION (-2)

struct matching {
	lua_State *L;
	struct luabox *box;
	const char *s, *s_end, *p_end;
	int nest, captures;
	struct { const char *at; ptrdiff_t n; } v[CAPTURES_MAX];
};

static const char *match(struct matching *, const char *s, const char *p);

static void
step(struct matching *m)
{
	if (--m->box->fuel < 0)
		luabox_spend(m->L, 0);
}

/* --- one character ------------------------------------------------------------------------------------------------------------- */

static const char *
class_end(struct matching *m, const char *p)
{
	char c = *p++;
	if (c == '%') {
		if (p >= m->p_end)
			luaL_error(m->L, "malformed pattern (ends with '%%')");
		return p + 1;
	}
	if (c != '[')
		return p;
	if (p < m->p_end && *p == '^')
		p++;
	do { /* the first of a set may be ] itself */
		if (p >= m->p_end)
			luaL_error(m->L, "malformed pattern (missing ']')");
		if (*p++ == '%' && p < m->p_end)
			p++;
	} while (p >= m->p_end || *p != ']');
	return p + 1;
}

static bool
in_class(int c, int class)
{
	bool in;
	switch (tolower(class)) {
	case 'a': in = isalpha(c); break;
	case 'c': in = iscntrl(c); break;
	case 'd': in = isdigit(c); break;
	case 'g': in = isgraph(c); break;
	case 'l': in = islower(c); break;
	case 'p': in = ispunct(c); break;
	case 's': in = isspace(c); break;
	case 'u': in = isupper(c); break;
	case 'w': in = isalnum(c); break;
	case 'x': in = isxdigit(c); break;
	default: return class == c;
	}
	return isupper(class) ? !in : in;
}

/* p: at the [, end: at its ] */
static bool
in_set(struct matching *m, int c, const char *p, const char *end)
{
	bool found = true;
	if (p[1] == '^')
		found = false, p++;
	while (++p < end) {
		step(m);
		if (*p == '%') {
			if (in_class(c, (unsigned char)*++p))
				return found;
		} else if (p[1] == '-' && p + 2 < end) {
			p += 2;
			if ((unsigned char)p[-2] <= c && c <= (unsigned char)*p)
				return found;
		} else if ((unsigned char)*p == c) {
			return found;
		}
	}
	return !found;
}

static bool
one(struct matching *m, const char *s, const char *p, const char *end)
{
	step(m);
	if (s >= m->s_end)
		return false;
	int c = (unsigned char)*s;
	return *p == '.' || (*p == '%' ? in_class(c, (unsigned char)p[1]) : *p == '[' ? in_set(m, c, p, end - 1) : (unsigned char)*p == c);
}

/* --- the ways in which a pattern goes on: where the match ends, or NULL -------------------------------------------------------- */

static const char *
most(struct matching *m, const char *s, const char *p, const char *end)
{
	ptrdiff_t i = 0;
	while (one(m, s + i, p, end))
		i++;
	for (; i >= 0; i--) {
		const char *r = match(m, s + i, end + 1);
		if (r)
			return r;
	}
	return NULL;
}

static const char *
least(struct matching *m, const char *s, const char *p, const char *end)
{
	for (;; s++) {
		const char *r = match(m, s, end + 1);
		if (r || !one(m, s, p, end))
			return r;
	}
}

static const char *
balanced(struct matching *m, const char *s, const char *p)
{
	int depth = 1;
	if (p >= m->p_end - 1)
		luaL_error(m->L, "malformed pattern (missing arguments to '%%b')");
	if (s >= m->s_end || *s != *p)
		return NULL;
	while (++s < m->s_end) {
		step(m);
		if (*s == p[1]) {
			if (--depth == 0)
				return s + 1;
		} else if (*s == p[0]) {
			depth++;
		}
	}
	return NULL;
}

static const char *
capture_open(struct matching *m, const char *s, const char *p, ptrdiff_t what)
{
	if (m->captures >= CAPTURES_MAX)
		luaL_error(m->L, "too many captures");
	m->v[m->captures].at = s;
	m->v[m->captures++].n = what;
	const char *r = match(m, s, p);
	if (!r)
		m->captures--;
	return r;
}

static const char *
capture_close(struct matching *m, const char *s, const char *p)
{
	int i = m->captures - 1;
	while (i >= 0 && m->v[i].n != OPEN)
		i--;
	if (i < 0)
		luaL_error(m->L, "invalid pattern capture");
	m->v[i].n = s - m->v[i].at;
	const char *r = match(m, s, p);
	if (!r)
		m->v[i].n = OPEN;
	return r;
}

static const char *
captured_again(struct matching *m, const char *s, int digit)
{
	int i = digit - '1';
	if (i < 0 || i >= m->captures || m->v[i].n == OPEN)
		luaL_error(m->L, "invalid capture index %%%d", i + 1);
	size_t n = m->v[i].n >= 0 ? (size_t)m->v[i].n : SIZE_MAX; /* a position has no text that could come again */
	luabox_spend(m->L, n != SIZE_MAX ? n / 16 : 0);
	return (size_t)(m->s_end - s) >= n && memcmp(m->v[i].at, s, n) == 0 ? s + n : NULL;
}

static bool
frontier(struct matching *m, const char *s, const char *p, const char *end)
{
	int before = s == m->s ? 0 : (unsigned char)s[-1], here = s < m->s_end ? (unsigned char)*s : 0;
	return !in_set(m, before, p, end - 1) && in_set(m, here, p, end - 1);
}

static const char *
match_here(struct matching *m, const char *s, const char *p)
{
	while (s && p < m->p_end) {
		step(m);
		if (*p == '(')
			return p + 1 < m->p_end && p[1] == ')' ? capture_open(m, s, p + 2, POSITION) : capture_open(m, s, p + 1, OPEN);
		if (*p == ')')
			return capture_close(m, s, p + 1);
		if (*p == '$' && p + 1 == m->p_end)
			return s == m->s_end ? s : NULL;
		if (*p == '%' && p + 1 < m->p_end && p[1] == 'b') {
			s = balanced(m, s, p + 2);
			p += 4;
			continue;
		}
		if (*p == '%' && p + 1 < m->p_end && p[1] == 'f') {
			if (p + 2 >= m->p_end || p[2] != '[')
				luaL_error(m->L, "missing '[' after '%%f' in pattern");
			const char *end = class_end(m, p + 2);
			if (!frontier(m, s, p + 2, end))
				return NULL;
			p = end;
			continue;
		}
		if (*p == '%' && p + 1 < m->p_end && isdigit((unsigned char)p[1])) {
			s = captured_again(m, s, (unsigned char)p[1]);
			p += 2;
			continue;
		}
		const char *end = class_end(m, p), *r;
		char how = end < m->p_end ? *end : 0;
		if (how == '*')
			return most(m, s, p, end);
		if (how == '-')
			return least(m, s, p, end);
		bool here = one(m, s, p, end);
		if (how == '+')
			return here ? most(m, s + 1, p, end) : NULL;
		if (how == '?') {
			if (here && (r = match(m, s + 1, end + 1)))
				return r;
			p = end + 1;
			continue;
		}
		if (!here)
			return NULL;
		s++;
		p = end;
	}
	return s;
}

static const char *
match(struct matching *m, const char *s, const char *p)
{
	if (++m->nest > NEST_MAX)
		luaL_error(m->L, "pattern too complex");
	const char *r = match_here(m, s, p);
	m->nest--;
	return r;
}

/* --- what Lua calls ------------------------------------------------------------------------------------------------------------- */

static void
begin(struct matching *m, lua_State *L, const char *s, size_t n, const char *p, size_t p_n)
{
	*m = (struct matching){ .L = L, .box = luabox_of(L), .s = s, .s_end = s + n, .p_end = p + p_n };
}

static const char *
match_from(struct matching *m, const char *s, const char *p)
{
	m->captures = m->nest = 0;
	return match(m, s, p);
}

static void
push_capture(struct matching *m, int i, const char *s, const char *e)
{
	if (i >= m->captures) {
		if (i != 0)
			luaL_error(m->L, "invalid capture index %%%d", i + 1);
		lua_pushlstring(m->L, s, (size_t)(e - s)); /* the whole match */
	} else if (m->v[i].n == POSITION) {
		lua_pushinteger(m->L, m->v[i].at - m->s + 1);
	} else if (m->v[i].n == OPEN) {
		luaL_error(m->L, "unfinished capture");
	} else {
		lua_pushlstring(m->L, m->v[i].at, (size_t)m->v[i].n);
	}
}

/* The captures, or without any the whole match from s on (NULL: then nothing). */
static int
push_captures(struct matching *m, const char *s, const char *e)
{
	int n = m->captures == 0 && s ? 1 : m->captures;
	luaL_checkstack(m->L, n, "too many captures");
	for (int i = 0; i < n; i++)
		push_capture(m, i, s, e);
	return n;
}

/* Argument at: where to begin, from 1, negative from the end; as an offset. */
static size_t
begin_at(lua_State *L, int at, size_t n)
{
	lua_Integer i = luaL_optinteger(L, at, 1), len = (lua_Integer)n;
	return i > 0 ? (size_t)(i - 1) : i == 0 || i < -len ? 0 : (size_t)(len + i);
}

/* Is it its own text? A lone ) or ] is. */
static bool
is_plain(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] && strchr("^$*+?.([%-", p[i]))
			return false;
	return true;
}

static int
find_or_match(lua_State *L, bool find)
{
	size_t n, p_n;
	const char *s = luaL_checklstring(L, 1, &n), *p = luaL_checklstring(L, 2, &p_n), *e;
	size_t from = begin_at(L, 3, n);
	struct matching m;
	if (from > n) {
		lua_pushnil(L);
		return 1;
	}
	if (find && (lua_toboolean(L, 4) || is_plain(p, p_n))) {
		luabox_spend(L, (n - from + p_n) / 8);
		e = memmem(s + from, n - from, p, p_n);
		if (e) {
			lua_pushinteger(L, e - s + 1);
			lua_pushinteger(L, e - s + (lua_Integer)p_n);
			return 2;
		}
		lua_pushnil(L);
		return 1;
	}
	begin(&m, L, s, n, p, p_n);
	bool anchored = p_n && *p == '^';
	const char *at = s + from;
	do {
		e = match_from(&m, at, p + anchored);
		if (e && !find)
			return push_captures(&m, at, e);
		if (e) {
			lua_pushinteger(L, at - s + 1);
			lua_pushinteger(L, e - s);
			return 2 + push_captures(&m, NULL, NULL);
		}
	} while (at++ < m.s_end && !anchored);
	lua_pushnil(L);
	return 1;
}

static int str_find(lua_State *L) { return find_or_match(L, true); }
static int str_match(lua_State *L) { return find_or_match(L, false); }

/* Upvalues: text, pattern, where to go on, where the last match ended (-1: none yet) */
static int
next_match(lua_State *L)
{
	size_t n, p_n;
	const char *s = lua_tolstring(L, lua_upvalueindex(1), &n), *p = lua_tolstring(L, lua_upvalueindex(2), &p_n);
	lua_Integer last = lua_tointeger(L, lua_upvalueindex(4));
	struct matching m;
	begin(&m, L, s, n, p, p_n);
	for (size_t from = (size_t)lua_tointeger(L, lua_upvalueindex(3)); from <= n; from++) {
		const char *e = match_from(&m, s + from, p);
		if (!e || e - s == last)
			continue;
		lua_pushinteger(L, e - s);
		lua_copy(L, -1, lua_upvalueindex(3));
		lua_replace(L, lua_upvalueindex(4));
		return push_captures(&m, s + from, e);
	}
	return 0;
}

static int
str_gmatch(lua_State *L)
{
	size_t n;
	luaL_checklstring(L, 1, &n);
	luaL_checkstring(L, 2);
	size_t from = begin_at(L, 3, n);
	lua_settop(L, 2);
	lua_pushinteger(L, (lua_Integer)(from > n ? n + 1 : from));
	lua_pushinteger(L, -1);
	lua_pushcclosure(L, next_match, 4);
	return 1;
}

/* Puts what stands for the match s to e into out. false: it stays as it is. */
static bool
replace(struct matching *m, luaL_Buffer *out, const char *s, const char *e, int type)
{
	lua_State *L = m->L;
	size_t n;
	if (type == LUA_TSTRING || type == LUA_TNUMBER) {
		const char *with = lua_tolstring(L, 3, &n);
		for (size_t i = 0; i < n; i++) {
			step(m);
			if (with[i] != '%') {
				luaL_addchar(out, with[i]);
			} else if (++i < n && with[i] == '%') {
				luaL_addchar(out, '%');
			} else if (i < n && with[i] == '0') {
				luaL_addlstring(out, s, (size_t)(e - s));
			} else if (i < n && isdigit((unsigned char)with[i])) {
				push_capture(m, with[i] - '1', s, e);
				luaL_addvalue(out);
			} else {
				luaL_error(L, "invalid use of '%%' in replacement string");
			}
		}
		return true;
	}
	if (type == LUA_TFUNCTION) {
		lua_pushvalue(L, 3);
		int args = push_captures(m, s, e);
		luabox_enter(L);
		lua_call(L, args, 1);
		luabox_leave(L);
	} else {
		push_capture(m, 0, s, e);
		lua_gettable(L, 3);
	}
	if (!lua_toboolean(L, -1)) {
		lua_pop(L, 1);
		luaL_addlstring(out, s, (size_t)(e - s));
		return false;
	}
	if (!lua_isstring(L, -1))
		luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
	luaL_addvalue(out);
	return true;
}

static int
str_gsub(lua_State *L)
{
	size_t n, p_n;
	const char *s = luaL_checklstring(L, 1, &n), *p = luaL_checklstring(L, 2, &p_n), *last = NULL;
	int type = lua_type(L, 3);
	lua_Integer max = luaL_optinteger(L, 4, (lua_Integer)n + 1), done = 0;
	bool anchored = p_n && *p == '^', changed = false;
	struct matching m;
	luaL_Buffer out;
	if (type != LUA_TNUMBER && type != LUA_TSTRING && type != LUA_TTABLE && type != LUA_TFUNCTION)
		luaL_typeerror(L, 3, "string/function/table");
	luaL_buffinit(L, &out);
	begin(&m, L, s, n, p, p_n);
	while (done < max) {
		const char *e = match_from(&m, s, p + anchored);
		if (e && e != last) {
			done++;
			changed |= replace(&m, &out, s, e, type);
			s = last = e;
		} else if (s < m.s_end) {
			luaL_addchar(&out, *s);
			s++;
		} else {
			break;
		}
		if (anchored)
			break;
	}
	if (changed) {
		luaL_addlstring(&out, s, (size_t)(m.s_end - s));
		luaL_pushresult(&out);
	} else {
		lua_pushvalue(L, 1);
	}
	lua_pushinteger(L, done);
	return 2;
}

void
luapattern_open(lua_State *L)
{
	static const luaL_Reg functions[] = { { "find", str_find }, { "match", str_match }, { "gmatch", str_gmatch }, { "gsub", str_gsub }, { NULL, NULL } };
	luaL_setfuncs(L, functions, 0);
}
