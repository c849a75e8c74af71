/* Policy files in Lua: they mean what the same rules mean in the other syntax, what is said of one that is wrong, and that no program can
 * hang or grow or reach anything. */
#include "tap.h"
#include "../../common/clock.h"
#include "../../common/counters.h"
#include "../../common/log.h"
#include "../../policy/luafile.h"
#include "../../common/netrange.h"
#include "../../policy/rulefile.h"
#include <pthread.h>
#include <stdlib.h>
#include <lualib.h>
#include <lauxlib.h>

#define N(v) (sizeof(v) / sizeof(*(v)))
static struct arena a;
static char problem[RULE_PROBLEM];
static const struct lua_budget budget = { 100000, 8 << 20 };

static struct ruleset *
parse(const char *text)
{
	struct ruleset *set = luafile_parse("f.lua", str_c(text), POLICY_Standard, &budget, problem);
	if (!set)
		note("%s", problem);
	return set;
}

/* asker: "METHOD", an address, or "Name: value" lines */
static struct plan
plan_in(struct arena *in, const struct ruleset *set, const char *url, const char *asker)
{
	struct http_request req = { .method = METHOD_GET, .method_name = STR("GET") };
	struct plan plan = { .policy = POLICY_MAX };
	struct str lines = str_c(asker);
	struct netrange who;
	headers_init(&req.headers, in);
	if (asker && strstr(asker, ": ")) {
		while (lines.n) {
			struct str value = str_cut(&lines, '\n'), name = str_cut(&value, ':');
			headers_add(&req.headers, name, str_trim(value));
		}
	} else if (asker && netrange_parse(lines, &who)) {
		req.client = who.net;
	} else if (asker) {
		req.method_name = lines;
		req.method = http_method(lines);
	}
	if (url_parse(in, str_c(url), &req.url) < 0)
		ok(0, "url_parse(%s)", url);
	else if (set)
		ruleset_plan(set, &req, STR_NONE, in, &plan);
	return plan;
}

static struct plan plan_of(const struct ruleset *set, const char *url, const char *asker) { return plan_in(&a, set, url, asker); }

/* --- the same rules in both syntaxes ----------------------------------------------------------------------------------------- */

static const char in_libconfig[] =
	"include_defaults = \"behind\"; default_policy = \"alwaysupstream\";\n"
	"rules = ( { type = \"Suffix\"; match = \".bin\"; policy = \"NoRefresh\"; timeouts = { connect = 1.5; read = 0; }; forced_swr_seconds = 60; },\n"
	"{ type = \"suffix\"; match = \"&z=1\"; with_query = true; policy = \"NoCache\"; },\n"
	"{ type = \"Prefix\"; match = [ \"http://p/\", \"HTTP://p/long/\" ]; policy = \"NoCache\"; },\n"
	"{ type = \"HostPrefix\"; match = \"npm.\"; policy = \"StaleIfError\"; },\n"
	"{ type = \"HostContains\"; match = \"corp\"; exclude = \"guest\"; policy = \"NoCache\"; },\n"
	"{ type = \"HostSuffix\"; match = [ \"Example.org\", \"*.wild.net\", \".dot.net\" ]; policy = \"StaleIfError\"; },\n"
	"{ type = \"PathContains\"; match = \"/Snap/\"; policy = \"Standard\"; },\n"
	"{ type = \"Regex\"; match = \"/v[0-9]+\\\\.tgz$\"; policy = \"NoRefresh\"; },\n"
	"{ type = \"Method\"; match = \"HEAD\"; policy = \"Standard\"; },\n"
	"{ type = \"Header\"; name = \"X-Mode\"; equals = \"Fast\"; policy = \"NoRefresh\"; },\n"
	"{ type = \"Header\"; name = \"User-Agent\"; contains = \"check\"; policy = \"NoCache\"; },\n"
	"{ type = \"Header\"; name = \"Accept\"; matches = \"^image/(png|gif)$\"; policy = \"NoRefresh\"; },\n"
	"{ type = \"Client\"; match = [ \"10.1.0.0/16\", \"2001:db8::/33\", \"192.0.2.7\" ]; policy = \"NoCache\"; } );\n"
	"key_rules = ( { type = \"Regex\"; match = \"^https?://[a-z]+\\\\.m\\\\.example/(?<rest>.*)$\"; rewrite = \"https://m.example/${rest}\"; },\n"
	"{ type = \"HostContains\"; match = \"files\"; pattern = \"\\\\?.*$\"; rewrite = \"\"; } );\n"
	"refresh_patterns = ( { match = \"^http://r/\"; min = 100; percent = 20; max = 900; }, { match = \"^http://s/\"; min = 50; ignore_no_store = true; } );\n";
static const char in_lua[] =
	"include_defaults = 'behind' default_policy = 'alwaysupstream'\n"
	"function rules() return { { type = 'Suffix', match = '.bin', policy = 'NoRefresh', timeouts = { connect = 1.5, read = 0.0 }, forced_swr_seconds = 60.0 },\n"
	"{ type = 'suffix', match = '&z=1', with_query = true, policy = 'NoCache' },\n"
	"{ type = 'Prefix', match = { 'http://p/', 'HTTP://p/long/' }, policy = 'NoCache' },\n"
	"{ type = 'HostPrefix', match = 'npm.', policy = 'StaleIfError' },\n"
	"{ type = 'HostContains', match = 'corp', exclude = 'guest', policy = 'NoCache' },\n"
	"{ type = 'HostSuffix', match = { 'Example.org', '*.wild.net', '.dot.net' }, policy = 'StaleIfError' },\n"
	"{ type = 'PathContains', match = '/Snap/', policy = 'Standard' },\n"
	"{ type = 'Regex', match = [[/v[0-9]+\\.tgz$]], policy = 'NoRefresh' },\n"
	"{ type = 'Method', match = 'HEAD', policy = 'Standard' },\n"
	"{ type = 'Header', name = 'X-Mode', equals = 'Fast', policy = 'NoRefresh' },\n"
	"{ type = 'Header', name = 'User-Agent', contains = 'check', policy = 'NoCache' },\n"
	"{ type = 'Header', name = 'Accept', matches = '^image/(png|gif)$', policy = 'NoRefresh' },\n"
	"{ type = 'Client', match = { '10.1.0.0/16', '2001:db8::/33', '192.0.2.7' }, policy = 'NoCache' } } end\n"
	"cache_key_rules = { { type = 'Regex', match = [[^https?://[a-z]+\\.m\\.example/(?<rest>.*)$]], rewrite = 'https://m.example/${rest}' },\n"
	"{ type = 'HostContains', match = 'files', pattern = [[\\?.*$]], rewrite = '' } }\n"
	"function refresh_patterns() return { { match = '^http://r/', min = 100, percent = 20, max = 900 }, { match = '^http://s/', min = 50, ignore_no_store = true } } end\n";
/* And once more by a program's functions alone. */
static const char in_functions[] =
	"include_defaults = 'none' default_policy = 'AlwaysUpstream'\n"
	"local function ends(s, what) return s:sub(-#what) == what end\n"
	"local function below(host, domain) return host == domain or ends(host, '.' .. domain) end\n"
	"function resolver(ctx)\n"
	" local url, host, path, h = ctx.url:lower(), ctx.host, ctx.path:lower(), ctx.headers\n"
	" if url:find('^http://p/') then return 'NoCache' end\n"
	" if ends(path, '.bin') then return { policy = 'NoRefresh', timeouts = { connect = 1.5, read = 0 }, forced_swr_seconds = 60 } end\n"
	" if ends(url, '&z=1') then return 'NoCache' end\n"
	" if host:find('^npm%.') then return 'StaleIfError' end\n"
	" if host:find('corp', 1, true) and not host:find('guest', 1, true) then return 'NoCache' end\n"
	" if below(host:gsub('%.$', ''), 'example.org') or below(host, 'wild.net') or below(host, 'dot.net') then return 'StaleIfError' end\n"
	" if url:find('/snap/', 1, true) then return 'Standard' end\n"
	" if url:find('/v%d+%.tgz$') then return 'NoRefresh' end\n"
	" if ctx.method == 'HEAD' then return 'Standard' end\n"
	" if (h['X-MODE'] or ''):lower() == 'fast' then return 'NoRefresh' end\n"
	" if (h['user-agent'] or ''):lower():find('check') then return 'NoCache' end\n"
	" local accept = (h.accept or ''):lower()\n"
	" if accept == 'image/png' or accept == 'image/gif' then return 'NoRefresh' end\n"
	" local c = ctx.client or ''\n"
	" if c:find('^10%.1%.') or c:find('^2001:db8:[0-7]?%x?%x?%x:') or c == '192.0.2.7' then return 'NoCache' end\n"
	" if ends(path, '.deb') or host:find('^169%.254%.') then return host:find('^169') and not ends(path, '.deb') and 'NoCache' or 'StaleIfError' end\n"
	"end\n"
	"function cache_key(ctx)\n"
	" local rest = ctx.url:match('^https?://%a+%.m%.example/(.*)$')\n"
	" if rest then return 'https://m.example/' .. rest end\n"
	" if ctx.host:find('files', 1, true) then return (ctx.url:gsub('%?.*$', '')) end\n"
	" return ''\n"
	"end\n";
static const struct { const char *url, *asker; } asked[] = {
	{ "http://o/a.BIN", NULL }, { "http://o/a.bin?x=1", NULL }, { "http://o/a?x=.bin", NULL }, { "http://o/a?y=1&z=1", NULL }, { "http://p/a.bin", NULL },
	{ "http://p/long/a.bin", NULL }, { "http://npm.x/", NULL }, { "http://x.CORP/", NULL }, { "http://guest.corp/", NULL }, { "http://o/corp", NULL },
	{ "http://example.org/", NULL }, { "http://a.b.Example.ORG/", NULL }, { "http://example.org./", NULL }, { "http://anexample.org/", NULL },
	{ "http://x.wild.net/", NULL }, { "http://dot.net/", NULL }, { "http://o/x/snap/y", NULL }, { "http://o/V12.TGZ", NULL }, { "http://o/v.tgz", NULL },
	{ "http://o/", "HEAD" }, { "http://o/", "head" }, { "http://o/", "x-mode: fast" }, { "http://o/", "X-Mode: fast!" },
	{ "http://o/", "User-Agent: a HealthCheck/1" }, { "http://o/", "User-Agents: a HealthCheck/1" }, { "http://o/", "Accept: image/GIF" },
	{ "http://o/", "Accept: image/gif, a/b" }, { "http://o/", "10.1.255.7" }, { "http://o/", "10.2.0.1" }, { "http://o/", "192.0.2.7" }, { "http://o/", "192.0.2.6" },
	{ "http://o/", "2001:db8:7fff::1" }, { "http://o/", "2001:db8:8000::1" }, { "http://o/", "::ffff:10.1.0.1" }, { "http://169.254.169.254/", NULL },
	{ "http://o/x.deb", NULL }, { "https://de.m.example/a/b?c", NULL }, { "http://fr.m.example/a/b?c", NULL }, { "http://files.y/a?token=1", NULL },
	{ "http://o/a?sig=1", NULL },
};
static const char *const refreshed[] = { "http://r/a", "http://s/a", "http://t/a" };

static bool
same_plan(const struct plan *x, const struct plan *y)
{
	return x->policy == y->policy && x->connect_timeout_ms == y->connect_timeout_ms && x->read_timeout_ms == y->read_timeout_ms &&
	       x->forced_swr_s == y->forced_swr_s && str_eq(x->key_url, y->key_url) && str_eq(x->id, y->id) && str_eq(x->vary_id, y->vary_id);
}

static void
parity(void)
{
	struct ruleset *file = rulefile_parse("f", str_c(in_libconfig), POLICY_Standard, problem), *lists = parse(in_lua), *functions = parse(in_functions);
	ok(file && lists && functions, "one set of rules, said three times");
	for (unsigned i = 0; i < N(asked); i++) {
		const char *url = asked[i].url, *asker = asked[i].asker ? asked[i].asker : "";
		struct plan x = plan_of(file, url, asked[i].asker), y = plan_of(lists, url, asked[i].asker), z = plan_of(functions, url, asked[i].asker);
		ok(same_plan(&x, &y) && strcmp(x.rule, y.rule) == 0, "parity: lists in Lua: %s %s", url, asker);
		ok(same_plan(&x, &z), "parity: functions: %s %s", url, asker);
		if (!same_plan(&x, &z))
			note("%s %s: %.*s", policy_name(x.policy), policy_name(z.policy), STRP(z.key_url));
	}
	for (unsigned i = 0; i < N(refreshed); i++) {
		struct plan x = plan_of(file, refreshed[i], NULL), y = plan_of(lists, refreshed[i], NULL);
		ok(!x.refresh == !y.refresh && (!x.refresh || (x.refresh->min_s == y.refresh->min_s && x.refresh->max_s == y.refresh->max_s &&
		   x.refresh->percent == y.refresh->percent && x.refresh->ignore_no_store == y.refresh->ignore_no_store)), "refresh patterns: %s", refreshed[i]);
	}
	ruleset_free(&file);
	ruleset_free(&lists);
	ruleset_free(&functions);
	static const struct { const char *how; enum policy policy; } placed[] = {
		{ "include_defaults = 'front'", POLICY_StaleIfError }, { "include_defaults = 'behind'", POLICY_NoCache }, { "include_defaults = 'none'", POLICY_NoCache }, { "", POLICY_NoCache } };
	for (unsigned i = 0; i < N(placed); i++) {
		char text[200];
		snprintf(text, sizeof(text), "%s rules = { { type = 'PathContains', match = 'x.deb', policy = 'NoCache' } }", placed[i].how);
		struct ruleset *set = parse(text);
		is_int(plan_of(set, "http://o/x.deb", NULL).policy, placed[i].policy, "built-in rules: %s", *placed[i].how ? placed[i].how : "(not said)");
		is_int(plan_of(set, "http://o/y.deb", NULL).policy, i != 2 ? POLICY_StaleIfError : POLICY_Standard, "and whether they are there");
		ruleset_free(&set);
	}
}

/* --- functions ------------------------------------------------------------------------------------------------------------------- */

static const struct { const char *program, *url, *asker, *rule; enum policy policy; const char *key; } called[] = {
	{ "rules = { { type = 'Suffix', match = '.a', policy = 'NoCache' }, { type = 'Callable', call = function(c) return 'NoRefresh' end },\n"
	  "{ type = 'Suffix', match = '.b', policy = 'NoCache' } }", "http://o/x.a", NULL, "Suffix .a", POLICY_NoCache, NULL },
	{ "rules = { { type = 'Suffix', match = '.a', policy = 'NoCache' }, { type = 'Callable', call = function(c) return 'NoRefresh' end },\n"
	  "{ type = 'Suffix', match = '.b', policy = 'NoCache' } }", "http://o/x.b", NULL, "Callable 1", POLICY_NoRefresh, NULL },
	{ "rules = { { type = 'Callable', call = function(c) end }, { type = 'callable', call = function(c) return nil end }, { type = 'Callable', call = function() return false end },\n"
	  "{ type = 'Callable', call = function(c) return { policy = 'nocache' } end } }", "http://o/x.b", NULL, "Callable 4", POLICY_NoCache, NULL },
	{ "rules = { { type = 'HostSuffix', match = 'x', policy = 'NoCache' }, { type = 'Callable', call = function(c) return 'NoRefresh' end },\n"
	  "{ type = 'HostSuffix', match = 'o', policy = 'NoCache' } }", "http://a.o/", NULL, "Callable 1", POLICY_NoRefresh, NULL },
	{ "rules = { { type = 'Callable', call = function(c) end }, { type = 'HostSuffix', match = 'o', policy = 'NoCache' } }", "http://a.o/", NULL, "HostSuffix o", POLICY_NoCache, NULL },
	{ "rules = { { type = 'Callable', call = function(c) return 'NoRefresh' end }, { type = 'Prefix', match = 'http://o/', policy = 'NoCache' } }",
	  "http://o/", NULL, "Prefix http://o/", POLICY_NoCache, NULL }, /* Prefix rules first, as of old */
	{ "resolver = function(c) return 'NoRefresh' end rules = { { type = 'Suffix', match = '.a', policy = 'NoCache' } }", "http://o/x.a", NULL, "resolver", POLICY_NoRefresh, NULL },
	{ "resolver = function(c) end rules = { { type = 'Suffix', match = '.a', policy = 'NoCache' } }", "http://o/x.a", NULL, "Suffix .a", POLICY_NoCache, NULL },
	{ "cache_key_rules = function() return { { type = 'Callable', call = function(c) end }, { type = 'Callable', call = function(c) return '' end },\n"
	  "{ type = 'PathContains', match = '/k/', rewrite = 'file' }, { type = 'Callable', call = function(c) return 'http://k/' .. c.path end } } end",
	  "http://o/k/", NULL, "default", POLICY_Standard, "file" },
	{ "cache_key_rules = { { type = 'PathContains', match = '/k/', rewrite = 'file' }, { type = 'Callable', call = function(c) return 'http://k' .. c.path end } }",
	  "http://o/x?y", NULL, "default", POLICY_Standard, "http://k/x" },
	{ "function cache_key(c) return c.method .. (c.client or '-') .. (c.query or '-') .. c.port end", "https://O:99/x?y", "10.1.2.3", "default", POLICY_Standard, "GET10.1.2.3y99" },
	{ "function cache_key(c) return c.scheme .. ' ' .. c.host .. ' ' .. (c.client or '-') .. (c.query or '-') .. c.port end", "https://O/x", NULL, "default", POLICY_Standard, "https o --443" },
	{ "function cache_key(c) return c.client end", "http://o/", "2001:db8::1", "default", POLICY_Standard, "2001:db8::1" },
	{ "function cache_key(c) return c.headers['x-A'] .. '|' .. c.headers.b .. '|' .. tostring(c.headers.c) end", "http://o/", "X-a: 1\nB: \nx-A: 2\nX-A: 3", "default", POLICY_Standard, "1, 2, 3||nil" },
	{ "function cache_key(c) local t = '' for k, v in pairs(c.headers) do t = t .. k .. '=' .. v .. ';' end return t end", "http://o/", "X-a: 1\nB: \nx-A: 2", "default", POLICY_Standard, "X-a=1;B=;x-A=2;" },
	{ "setmetatable(_G, { __index = function(_, k) error('no ' .. k) end }) function cache_key(c) return 'strict' .. tostring(pcall(function() return typo end)) end",
	  "http://o/", NULL, "default", POLICY_Standard, "strictfalse" },
	{ "local f = getmetatable(_G).__newindex function cache_key(c) local t = {} f(t, 'rules', 7) return 'kept' .. t.rules end", "http://o/", NULL, "default", POLICY_Standard, "kept7" },
	{ "local n = 0 function cache_key(c) n = n + 1 return 'n' .. n end", "http://o/", NULL, "default", POLICY_Standard, "n1" },
};

static void
functions(void)
{
	for (unsigned i = 0; i < N(called); i++) {
		struct ruleset *set = parse(called[i].program);
		struct plan p = plan_of(set, called[i].url, called[i].asker);
		is_str(str_c(p.rule), str_c(called[i].rule), "row %u: which rule", i);
		is_int(p.policy, called[i].policy, "its policy");
		if (called[i].key)
			is_str(p.key_url, str_c(called[i].key), "the key");
		ruleset_free(&set);
	}
	struct ruleset *set = parse("function resolver(c) return { policy = 'Standard', timeouts = { read = 0.5, total = 60, low_speed = 1000, low_speed_time = 0 }, forced_swr_seconds = 7 } end");
	struct plan p = plan_of(set, "http://o/", NULL);
	ok(p.read_timeout_ms == 500 && p.connect_timeout_ms == -1 && p.forced_swr_s == 7, "times of a resolver");
	ok(p.limits.total_ms == 60000 && p.limits.low_speed == 1000 && p.limits.low_speed_ms == NO_LIMIT, "… its limits");
	struct http_request req = { .method = METHOD_GET, .method_name = STR("GET") };
	url_parse(&a, STR("http://o/"), &req.url);
	ruleset_plan(set, &req, STR("NoCache"), &a, &p);
	ok(p.policy == POLICY_NoCache && p.read_timeout_ms == -1 && strcmp(p.rule, "header") == 0, "X-Passsage-Policy is before the resolver");
	ruleset_free(&set);
	set = parse("function cache_key(c) return c.method .. c.path .. tostring(c.client) .. tostring(next({}) or c.headers.a) end");
	struct str key, id, vary_id;
	ruleset_keys(set, &req.url, &a, &key, &id, &vary_id);
	is_str(key, STR("GET/nilnil"), "a key without a request is that of a GET without fields");
	ruleset_free(&set);
	char *big = malloc(1 << 20), *w = big; /* a block list */
	w += snprintf(w, 128, "function rules() local t = {} for i = 1, 20000 do t[i] = 'd' .. i .. '.x' .. i %% 7 .. '.test' end\n");
	snprintf(w, 128, "return { { type = 'HostSuffix', match = t, policy = 'NoCache' } } end");
	set = parse(big);
	is_int(plan_of(set, "http://www.d19999.x0.test/", NULL).policy, POLICY_NoCache, "twenty thousand domains, made in a loop");
	ruleset_free(&set);
	free(big);
}

/* --- what is refused --------------------------------------------------------------------------------------------------------------- */

static const struct { const char *text, *problem; } bad[] = {
	{ "x = = 1", "f.lua:1: unexpected symbol near '='" },
	{ "\n\nif true then", "f.lua:3: 'end' expected near <eof>" },
	{ "resolver = function() end\nkey_rules = { }", "f.lua:2: key_rules: is called cache_key_rules in a program" },
	{ "", "f.lua:1: declares nothing: must have one of rules, resolver, cache_key_rules, cache_key, refresh_patterns, include_defaults, default_policy" },
	{ "resolve = function() end", "f.lua:1: declares nothing: must have one of rules, resolver, cache_key_rules, cache_key, refresh_patterns, include_defaults, default_policy" },
	{ "local x\nx.y = 1", "f.lua:2: attempt to index a nil value (local 'x')" },
	{ "error('no')", "f.lua:1: no" },
	{ "error({})", "f.lua:1: error() was called without a text" },
	{ "\nwhile true do end", "f.lua:2: has used up its instructions (--lua-instructions)" },
	{ "\nlocal t = {} while true do t[#t + 1] = {} end", "f.lua:2: has used up its memory (--lua-memory), or made a string of more than 256 KiB" },
	{ "\x1bLua", "f.lua:1: attempt to load a binary chunk (mode is 't')" },
	{ "\nrules = 5", "f.lua:2: rules is a number: must be a list of tables, or a function that returns one" },
	{ "\nfunction rules() return 5 end", "f.lua:2: rules() returned a number: must be a list of tables: { { type = ... }, { type = ... } }" },
	{ "\nfunction rules()\nlocal x = nil + 1 end", "f.lua:3: attempt to perform arithmetic on a nil value" },
	{ "\nfunction rules() return { { type = 'Prefix' }, 7 } end", "f.lua:2: rules[2]: must be a table: { type = ... }" },
	{ "rules = { type = 'Prefix' }", "f.lua:1: rules: must be a list of tables: { { type = ... }, { type = ... } }" },
	{ "rules = { {} }", "f.lua:1: rules[1]: is an empty table: must be { type = ... }" },
	{ "rules = { { type = 'Pfx' } }", "f.lua:1: rules[1]: type = Pfx: must be one of Prefix, Suffix, HostPrefix, HostContains, HostSuffix, PathContains, UrlContains, Regex, Method, Header, Client, Callable" },
	{ "rules = { { type = 'Prefix', match = 'http', policy = 'NoCache' }, { type = 'Prefix', match = 'x', policy = 'No' } }", "f.lua:1: rules[2]: policy = No: must be NoCache, NoRefresh, Standard, StaleIfError or AlwaysUpstream" },
	{ "rules = { { type = 'Prefix', match = 'x', policy = print } }", "f.lua:1: rules[1]: policy: cannot be a function" },
	{ "rules = { { type = 'Prefix', match = { { 'x' } }, policy = 'NoCache' } }", "f.lua:1: rules[1]: it: cannot be a table" },
	{ "rules = { { type = 'Prefix', match = 'x\\0y', policy = 'NoCache' } }", "f.lua:1: rules[1]: match: has a NUL byte" },
	{ "rules = { { type = 'Prefix', ['a b'] = 'x', policy = 'NoCache' } }", "f.lua:1: rules[1]: a b: is not a name of a setting" },
	{ "rules = { { type = 'Prefix', match = 'x', policy = 'NoCache', forced_swr_seconds = 0.5 } }", "f.lua:1: rules[1]: forced_swr_seconds: must be a whole number from 0 to 316224000" },
	{ "\nrules = { { type = 'Regex', match = 'a(b', policy = 'NoCache' } }", "f.lua:2: Regex a(b: missing closing parenthesis at offset 3" },
	{ "rules = { { type = 'a\\nb' } }", "f.lua:1: rules[1]: type = a b: must be one of Prefix, Suffix, HostPrefix, HostContains, HostSuffix, PathContains, UrlContains, Regex, Method, Header, Client, Callable" },
	{ "rules = { { type = 'Callable' } }", "f.lua:1: rules[1]: a Callable rule has no call: must be call = function(ctx) ... end" },
	{ "rules = { { type = 'Callable', call = 5 } }", "f.lua:1: rules[1]: call: must be a function(ctx)" },
	{ "rules = { { type = 'Callable', call = print, policy = 'NoCache' } }", "f.lua:1: rules[1]: policy: a Callable rule does not have it: it has type call" },
	{ "cache_key_rules = { { type = 'Suffix', match = 'x', rewrite = 'y' } }", "f.lua:1: cache_key_rules[1]: type = Suffix: must be one of Prefix, HostContains, PathContains, UrlContains, Regex, Callable" },
	{ "refresh_patterns = { { min = 1 } }", "f.lua:1: refresh_patterns[1]: a refresh pattern has no match: must be match = \"...\";" },
	{ "\n\ninclude_defaults = 'before'", "f.lua:3: include_defaults = before: must be front (the built-in rules come before these), behind or none" },
	{ "include_defaults = true", "f.lua:1: include_defaults is a boolean: must be a string" },
	{ "\ndefault_policy = 'Sometimes'", "f.lua:2: default_policy = Sometimes: must be NoCache, NoRefresh, Standard, StaleIfError or AlwaysUpstream" },
	{ "\nresolver = 'Standard'", "f.lua:2: resolver is a string: must be a function" },
	{ "cache_key = {}", "f.lua:1: cache_key is a table: must be a function" },
};

static void
refusals(void)
{
	for (unsigned i = 0; i < N(bad); i++) {
		struct ruleset *set = luafile_parse("f.lua", str_c(bad[i].text), POLICY_Standard, &budget, problem);
		ok(set == NULL, "refused, row %u", i);
		is_str(str_c(problem), str_c(bad[i].problem), "what is said of it");
		ruleset_free(&set);
	}
	/* nothing that reaches out of the box is there, under any name */
	static const char *const absent[] = { "io", "os", "debug", "package", "coroutine", "require", "load", "loadstring", "loadfile", "dofile", "collectgarbage", "xpcall",
		"warn", "string.dump", "string.pack", "string.unpack" };
	for (unsigned i = 0; i < N(absent); i++) {
		char text[100];
		snprintf(text, sizeof(text), "if %s ~= nil then error('there') end default_policy = 'NoCache'", absent[i]);
		struct ruleset *set = parse(text);
		ok(set != NULL, "a program has no %s", absent[i]);
		ruleset_free(&set);
	}
}

/* --- what goes wrong ----------------------------------------------------------------------------------------------------------------- */

/* Bodies of resolver(c), on the line behind some helpers, and what the log may say. Each ends soon, and the next request is answered. */
static const struct { const char *body, *what; } harmful[] = {
	{ "while true do end", "loops" },
	{ "while true do pcall(function() while true do end end) end", "loops and catches what stops it" },
	{ "local function f() while true do pcall(f) end end f()", "catches at all depths" },
	{ "local x <close> = setmetatable({}, { __close = function() while true do end end }) while true do end", "loops when it is closed" },
	{ "setmetatable({}, { __gc = function() while true do end end })", "wants to loop while garbage is collected" },
	{ "local t = {} while true do t[#t + 1] = {} end", "allocates" },
	{ "while true do pcall(function() local t = {} while true do t[#t + 1] = {} end end) end", "allocates and catches" },
	{ "local s = 'x' while true do s = s .. s end", "grows a string" },
	{ "local s = ('x'):rep(200000) while true do pcall(function() s = s .. s end) end", "grows a string and catches" },
	{ "return ('x'):rep(1e18)", "repeats" },
	{ "while true do local s = ('x'):rep(200000) end", "repeats often" },
	{ "for i = 1, 1e9 do local s = (''):rep(1e18) end", "repeats nothing" },
	{ "return string.format('%99.99f', 1e300):rep(3):find(('.-'):rep(20) .. 'x!')", "has an evil pattern" },
	{ "return ('a'):rep(200000):find('.-.-.-.-b')", "has an evil pattern on a long text" },
	{ "return ('a'):rep(200000):match('(.-)(.*)(.-)%1%2b')", "has an evil pattern with references back" },
	{ "return ('a'):rep(20000):gsub('.-b', '')", "replaces by an evil pattern" },
	{ "for x in ('a'):rep(20000):gmatch('.-b') do end", "iterates over an evil pattern" },
	{ "return (('a'):rep(30) .. 'b'):find(('a?'):rep(30) .. ('a'):rep(30) .. 'c')", "has a pattern of many ways" },
	{ "table.move({}, 1, 1e15, 2)", "moves what is not there" },
	{ "table.insert(setmetatable({}, { __len = function() return 1e15 end }), 1, 1)", "inserts into what seems endless" },
	{ "table.concat(setmetatable({}, { __index = type }), '', 1, 1e15)", "joins what seems endless" },
	{ "local t = {} for i = 1, 10000 do t[i] = 0 end while true do table.insert(t, 1, 0) end", "inserts in front" },
	{ "local t = {} for i = 1, 10000 do t[i] = i % 7 end while true do table.sort(t) end", "sorts" },
	{ "local a, b = ('x'):rep(250000) .. 'a', ('x'):rep(250000) .. 'b' while true do local c = a < b end", "compares long strings" },
	{ "local function f(...) return f(1, 1, 1, 1, 1, 1, 1, 1, ...) end f()", "has ever more arguments" },
	{ "local function f() return f() + 1 end f()", "recurses" },
	{ "local t = setmetatable({}, {}) getmetatable(t).__index = function(_, k) return t[k .. 'x'] end return t.a", "recurses by a metatable" },
	{ "local t = setmetatable({}, {}) getmetatable(t).__tostring = function() return tostring(t) end return tostring(t)", "recurses through C" },
	{ "local f f = function() return ('a'):gsub('a', f) end f()", "recurses through gsub" },
	{ "local t = setmetatable({}, {}) getmetatable(t).__pairs = function() return pairs(t) end for _ in pairs(t) do end", "recurses through pairs" },
	{ "local f f = function() table.sort({ 1, 2, 3 }, f) end f()", "recurses through sort" },
	{ "error()", "has an error without words" },
	{ "error(setmetatable({}, { __tostring = function() while true do end end }))", "has an error that loops" },
	{ "return nil + 1", "has a mistake" },
	{ "return no.such", "has another" },
	{ "return 'Sometimes'", "returns no policy" },
	{ "return 5", "returns a number" },
	{ "return {}", "returns an empty table" },
	{ "return { policy = 'NoCache', when = 5 }", "returns too much" },
	{ "return { policy = 'NoCache', timeouts = { read = -1 } }", "returns a wrong time" },
	{ "return { policy = 'NoCache', timeouts = { low_speed = 1.5 } }", "returns a wrong speed" },
	{ "return { policy = 'NoCache', forced_swr_seconds = 'x' }", "returns a wrong number" },
	{ "c.url = 'x'", "changes the request" },
	{ "getmetatable(c).__index = nil", "changes what a request is" },
	{ "return c.header.x", "misspells" },
	{ "string.byte(('x'):rep(100000), 1, -1)", "wants many results" },
	{ "table.unpack({}, 1, 1e8)", "wants very many results" },
};

static void *
in_small_stack(void *arg)
{
	struct ruleset *set = arg;
	struct arena mine;
	arena_init(&mine);
	static struct plan p;
	p = plan_in(&mine, set, "http://o/x.deb", NULL);
	arena_fini(&mine);
	return &p;
}

static void
harm(void)
{
	int64_t worst = 0;
	for (unsigned i = 0; i < N(harmful); i++) {
		char text[600];
		pthread_attr_t attr;
		pthread_t t;
		void *out;
		snprintf(text, sizeof(text), "include_defaults = 'none' default_policy = 'StaleIfError' function resolver(c)\nif c.path == '/good' then return 'NoRefresh' end\n%s\nend\n"
		         "rules = { { type = 'Suffix', match = '.deb', policy = 'NoRefresh' } }", harmful[i].body);
		struct ruleset *set = parse(text);
		if (!ok(set != NULL, "a program that %s", harmful[i].what))
			continue;
		uint64_t before = atomic_load(&counters_row[COUNT_policy_errors]);
		int64_t start = clock_mono();
		/* handlers have 256 KiB; some of it is used when rules are asked */
		pthread_attr_init(&attr);
		pthread_attr_setstacksize(&attr, 224 * 1024);
		if (pthread_create(&t, &attr, in_small_stack, set) != 0)
			return;
		pthread_join(t, &out);
		pthread_attr_destroy(&attr);
		int64_t took = clock_mono() - start;
		worst = took > worst ? took : worst;
		struct plan *p = out;
		ok(took < 2000, "is stopped (%lld ms)", (long long)took);
		is_int(p->policy, POLICY_StaleIfError, "the default policy applies, and no further rule");
		is_str(str_c(p->rule), STR("default, for the program failed"), "and this is said");
		is_int(atomic_load(&counters_row[COUNT_policy_errors]) - before, 1, "it is counted");
		struct plan next = plan_of(set, "http://o/good", NULL);
		if (next.policy != POLICY_NoRefresh) { /* begun anew: not before a second has passed since it was begun */
			nanosleep(&(struct timespec){ .tv_sec = 1, .tv_nsec = 50000000 }, NULL);
			next = plan_of(set, "http://o/good", NULL);
		}
		is_int(next.policy, POLICY_NoRefresh, "and the next request is answered");
		ruleset_free(&set);
	}
	note("the worst of them took %lld ms", (long long)worst);
	struct ruleset *set = parse("cache_key_rules = { { type = 'Callable', call = function(c) return c.path == '/bad' and 5 or c.path == '/ctl' and 'a\\nb' or c.path == '/ok' and 'k' end },\n"
	                            "{ type = 'PathContains', match = 'http://o/', rewrite = 'other' } }");
	is_str(plan_of(set, "http://o/bad", NULL).key_url, STR("http://o/bad"), "a key rule that fails: the URL is the key");
	is_str(plan_of(set, "http://o/ctl", NULL).key_url, STR("http://o/ctl"), "a key has no control characters");
	is_str(plan_of(set, "http://o/ok", NULL).key_url, STR("k"), "one that does not");
	is_str(plan_of(set, "http://o/", NULL).key_url, STR("other"), "one that says nothing");
	ruleset_free(&set);
}

/* A worker reads a program in a handler's stack, too. */
static void *
parse_in_small_stack(void *text)
{
	return luafile_parse("f.lua", str_c(text), POLICY_Standard, &budget, problem);
}

static void
nesting(void)
{
	static const struct { const char *before, *open, *inner, *close; } nested[] = { { "x = ", "{", "", "}" }, { "x = ", "(", "1", ")" }, { "", "if x then ", "", " end " },
		{ "x = ", "function() return ", "1", " end" }, { "x = ''", "..''", "", "" }, { "x = ", "not ", "1", "" }, { "", "while x do ", "", " end " },
		{ "x = ", "{ a = function() return { [(", "1", ")] = 1 } end }" }, { "", "do local function f() if x then for i = 1, 2 do repeat ", "", " until x end end end end " } };
	for (unsigned i = 0; i < N(nested); i++) {
		for (unsigned n = 20; n <= 250; n += 10) { /* Lua takes 200 of something: somewhere here it says no */
			char *text = malloc(250 * 100), *w = text;
			pthread_attr_t attr;
			pthread_t t;
			void *out = NULL;
			w += snprintf(w, 20, "%s", nested[i].before);
			for (unsigned k = 0; k < n; k++)
				w += snprintf(w, 100, "%s", nested[i].open);
			w += snprintf(w, 20, "%s", nested[i].inner);
			for (unsigned k = 0; k < n; k++)
				w += snprintf(w, 100, "%s", nested[i].close);
			pthread_attr_init(&attr);
			pthread_attr_setstacksize(&attr, 224 * 1024);
			if (pthread_create(&t, &attr, parse_in_small_stack, text) == 0)
				pthread_join(t, &out);
			pthread_attr_destroy(&attr);
			struct ruleset *set = out;
			ruleset_free(&set);
			free(text);
			if (n == 20 || n == 250)
				ok(strstr(problem, n == 20 ? "declares nothing" : "overflow"), "a program of %u times %s is %s: %s", n, nested[i].open, n == 20 ? "run" : "refused, and has room enough until then", problem);
		}
	}
}

/* A program that keeps something of each request uses up its memory, fails, is begun anew, and goes on. */
static void
heals(void)
{
	struct ruleset *set = parse("seen = {} function resolver(c) seen[#seen + 1] = c.url .. ('x'):rep(200) .. #seen return 'NoRefresh' end");
	struct arena mine;
	unsigned failed = 0, again = 0;
	arena_init(&mine);
	for (unsigned i = 0; i < 200000 && !failed; i++) {
		failed += plan_in(&mine, set, "http://o/", NULL).policy != POLICY_NoRefresh;
		arena_reset(&mine);
	}
	is_int(failed, 1, "a program that grows is stopped");
	nanosleep(&(struct timespec){ .tv_sec = 1, .tv_nsec = 50000000 }, NULL);
	for (unsigned i = 0; i < 1000; i++) {
		again += plan_in(&mine, set, "http://o/", NULL).policy == POLICY_NoRefresh;
		arena_reset(&mine);
	}
	is_int(again, 1000, "begun anew, and goes on");
	arena_fini(&mine);
	ruleset_free(&set);
}

/* --- patterns: the same as Lua's own, at random ---------------------------------------------------------------------------------------- */

static const char pattern_test[] =
	"local seed = 12345\n"
	"local function rnd(n) seed = (seed * 1103515245 + 12345) % 2147483648 return seed // 65536 % n + 1 end\n"
	"local bits = { 'a', 'b', '.', '%a', '%d', '%s', '%w', '%S', '[ab]', '[^a]', '[a-c]', '[%d_]', '[]]', '[^]a]', '[a-]', '(', ')', '()', '%1', '%2', '%b()', '%bab', '%f[%w]', '%f[^a]',\n"
	" '^', '$', '*', '+', '-', '?', '.-', '.*', '(.-)', '(a*)', '%%', '%.', '[', ']', '%', 'A', '1', ' ', '%f' }\n"
	"local chars = { 'a', 'b', 'c', 'A', '1', '_', ' ', '.', '(', ')', ']', '%', '-', '\\0', '\\255' }\n"
	"local function some(t, n) local s = '' for i = 1, rnd(n) - 1 do s = s .. t[rnd(#t)] end return s end\n"
	"local function all(t) local s = '' for i = 1, #t do s = s .. tostring(t[i]):gsub('^.-:%d+: ', '') .. '|' end return s end\n"
	"local function gm(f) return function(s, p) local t = {} for x, y in f(s, p) do t[#t + 1] = tostring(x) .. ',' .. tostring(y) if #t > 50 then break end end return table.concat(t, ';') end end\n"
	"local n = 0\n"
	"for i = 1, ROUNDS do\n"
	" local s, p, init = some(chars, 12), some(bits, 7), rnd(7) - 3\n"
	" for name, args in pairs({ find = { s, p, init }, match = { s, p, init }, gmatch = { s, p }, gsub = { s, p, '<%0%1>' }, gsub2 = { s, p, function(x) return x ~= 'a' and x end, 2 } }) do\n"
	"  name = name:gsub('2', '')\n"
	"  local own, real = string[name], real[name]\n"
	"  if name == 'gmatch' then own, real = gm(own), gm(real) end\n"
	"  local x, y = all({ pcall(own, table.unpack(args)) }), all({ pcall(real, table.unpack(args)) })\n"
	"  n = n + 1\n"
	"  if x ~= y then error(string.format('%s(%q, %q, %s): own %q real %q', name, s, p, tostring(args[3]), x, y), 0) end\n"
	" end\n"
	"end\n"
	"assert(n == 5 * ROUNDS)\n";

static int
patterns_run(lua_State *L)
{
	luabox_libraries(L);
	luaL_requiref(L, "string", luaopen_string, 0); /* Lua's own */
	lua_setglobal(L, "real");
	lua_pushliteral(L, ""); /* that has put itself behind all strings: ours again */
	lua_getmetatable(L, -1);
	lua_getglobal(L, "string");
	lua_setfield(L, -2, "__index");
	lua_pushinteger(L, getenv("SAN") && *getenv("SAN") ? 3000 : 20000);
	lua_setglobal(L, "ROUNDS");
	if (luaL_loadbufferx(L, pattern_test, sizeof(pattern_test) - 1, luabox_chunk, "t") != LUA_OK)
		return lua_error(L);
	lua_call(L, 0, 0);
	return 0;
}

static void
patterns(void)
{
	struct luabox *box = luabox_new(64 << 20);
	problem[0] = 0;
	ok(luabox_run(box, patterns_run, NULL, INT64_MAX / 2, 100000, "patterns", 1, problem, sizeof(problem)) == 0, "patterns match as Lua's do %s", problem);
	luabox_free(&box);
}

/* --- threads, and what it costs ---------------------------------------------------------------------------------------------------------- */

static const char costly[] =
	"local internal = { ['git.example.com'] = true, ['ci.example.com'] = true }\n"
	"function resolver(ctx) if internal[ctx.host] then return 'NoCache' end end\n"
	"rules = { { type = 'Suffix', match = '.gguf', policy = 'NoRefresh' } }\n";
static const char with_pattern[] =
	"function resolver(ctx) local name = ctx.path:match('^/v2/(.+)/blobs/sha256:%x+$') if name then return { policy = 'NoRefresh', timeouts = { connect = 5 } } end end\n";

static void *
many(void *arg)
{
	struct arena mine;
	arena_init(&mine);
	uintptr_t good = 0;
	for (unsigned i = 0; i < 5000; i++) {
		good += plan_in(&mine, arg, i % 2 ? "http://ci.example.com/" : "http://o/", NULL).policy == (i % 2 ? POLICY_NoCache : POLICY_Standard);
		arena_reset(&mine);
	}
	arena_fini(&mine);
	return (void *)good;
}

static int64_t
cost_of(const struct ruleset *set, const char *url)
{
	struct arena mine;
	struct timespec x, y;
	arena_init(&mine);
	clock_gettime(CLOCK_MONOTONIC, &x);
	for (unsigned i = 0; i < 20000; i++) {
		plan_in(&mine, set, url, NULL);
		arena_reset(&mine);
	}
	clock_gettime(CLOCK_MONOTONIC, &y);
	arena_fini(&mine);
	return ((y.tv_sec - x.tv_sec) * 1000000000 + y.tv_nsec - x.tv_nsec) / 20000;
}

static void
threads(void)
{
	static const char blob[] = "https://reg.example/v2/library/debian/blobs/sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	struct ruleset *set = parse(costly), *pattern = parse(with_pattern), *plain = rulefile_parse("f", STR("rules = ( { type = \"Suffix\"; match = \".gguf\"; policy = \"NoRefresh\"; } );"), POLICY_Standard, problem);
	pthread_t t[8];
	void *good;
	uintptr_t all = 0;
	int64_t start = clock_mono();
	for (unsigned i = 0; i < N(t); i++)
		pthread_create(&t[i], NULL, many, set);
	for (unsigned i = 0; i < N(t); i++) {
		pthread_join(t[i], &good);
		all += (uintptr_t)good;
	}
	is_int(all, 5000 * N(t), "eight threads at a time");
	note("a plan by one of eight threads: %lld ns", (long long)(clock_mono() - start) * 1000000 / (5000 * (int64_t)N(t)));
	int64_t none = cost_of(plain, "http://o/a"), some = cost_of(set, "http://o/a"), blobs = cost_of(plain, blob), match = cost_of(pattern, blob);
	note("a plan without a program: %lld ns; with resolver(ctx) that looks the host up: %lld ns, so the call: %lld ns", (long long)none, (long long)some, (long long)(some - none));
	note("... that matches a pattern and returns a table: %lld ns", (long long)(match - blobs));
	ruleset_free(&set);
	ruleset_free(&pattern);
	ruleset_free(&plain);
}

int
main(void)
{
	arena_init(&a);
	log_level = LOG_ERROR;
	parity();
	functions();
	refusals();
	harm();
	nesting();
	heals();
	patterns();
	threads();
	arena_fini(&a);
	return done_testing();
}
