/* rulefile.c - see rulefile.h. The first thing that is wrong ends the reading: half a set of rules is worse than the old one. */
#include "rulefile.h"
#include "../common/settings.h"
#include <libconfig.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RULES_MAX 50000
#define REGEXES_MAX 500          /* each is tried on each request that no earlier rule matches */
#define PERCENT_MAX 1000
#define ALL_POLICIES "NoCache, NoRefresh, Standard, StaleIfError or AlwaysUpstream"

struct reading {
	const char *name;
	struct arena arena;
	char *problem;           /* empty so far: all is well */
	struct rule *rules;
	struct key_rule *keys;
	struct refresh_rule *refresh;
	unsigned rules_n, keys_n, refresh_n, regexes;
	enum policy otherwise;
	struct luafile *program; /* whose words these are; NULL: a file's */
	char where[40];          /* "rules[3]: ", of a program's, which has no better lines */
};

/* --- words -------------------------------------------------------------------------------------------------------------- */

static bool __attribute__((format(printf, 3, 4)))
wrong(struct reading *f, const config_setting_t *at, const char *fmt, ...)
{
	char what[RULE_PROBLEM / 2];
	va_list ap;
	if (f->problem[0])
		return false;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(f->problem, RULE_PROBLEM, "%.200s:%d: %s%s", f->name, (int)config_setting_source_line(at), f->where, what);
	return false;
}

static int line_of(const config_setting_t *s) { return (int)config_setting_source_line(s); }

/* words: " type match ", the only ones that may stand in the group */
static bool
only_these(struct reading *f, const config_setting_t *group, const char *what, const char *words)
{
	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
		char word[64];
		snprintf(word, sizeof(word), " %.60s ", config_setting_name(s));
		if (!strstr(words, word))
			return wrong(f, s, "%s: %s does not have it: it has%.*s", config_setting_name(s), what, (int)strlen(words) - 1, words);
	}
	return true;
}

/* The text under this name. Not there: NULL, and it is wrong when it is needed. */
static const char *
text_in(struct reading *f, const config_setting_t *group, const char *what, const char *name, bool needed)
{
	const config_setting_t *s = config_setting_get_member(group, name);
	const char *text = s ? config_setting_get_string(s) : NULL;
	if (!s && needed)
		wrong(f, group, "%s has no %s: must be %s = \"...\";", what, name, name);
	else if (s && !text)
		wrong(f, s, "%s: must be a string in quotes", name);
	else if (s && !*text && needed)
		return wrong(f, s, "%s: is empty, which would be everything", name), NULL;
	return text;
}

static bool
bool_in(struct reading *f, const config_setting_t *group, const char *name)
{
	const config_setting_t *s = config_setting_get_member(group, name);
	if (s && config_setting_type(s) != CONFIG_TYPE_BOOL)
		wrong(f, s, "%s: must be true or false", name);
	return s && config_setting_type(s) == CONFIG_TYPE_BOOL && config_setting_get_bool(s);
}

static int64_t
int_in(struct reading *f, const config_setting_t *group, const char *name, int64_t max, int64_t otherwise)
{
	const config_setting_t *s = config_setting_get_member(group, name);
	bool is_int = s && (config_setting_type(s) == CONFIG_TYPE_INT || config_setting_type(s) == CONFIG_TYPE_INT64);
	int64_t n = is_int ? config_setting_get_int64(s) : otherwise;
	if (s && (!is_int || n < 0 || n > max))
		wrong(f, s, "%s: must be a whole number from 0 to %lld", name, (long long)max);
	return n;
}

/* Seconds, fractions allowed, in ms; -1 not said. */
static int64_t
seconds_in(struct reading *f, const config_setting_t *group, const char *name, int max)
{
	const config_setting_t *s = config_setting_get_member(group, name);
	int type = s ? config_setting_type(s) : CONFIG_TYPE_NONE;
	double n = type == CONFIG_TYPE_FLOAT ? config_setting_get_float(s)
	         : type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64 ? (double)config_setting_get_int64(s) : -1;
	if (!s)
		return -1;
	if (!(n >= 0 && n <= max) || (n > 0 && n < 0.001)) {
		wrong(f, s, "%s: must be seconds, 0 (no limit) to %d; fractions are allowed", name, max);
		return -1;
	}
	return (int64_t)(n * 1000);
}

static bool
policy_in(struct reading *f, const config_setting_t *group, const char *what, const char *name, bool needed, enum policy *out)
{
	const char *text = text_in(f, group, what, name, needed);
	if (text && !policy_parse(str_c(text), out))
		wrong(f, config_setting_get_member(group, name), "%s = %.60s: must be " ALL_POLICIES, name, text);
	return !f->problem[0];
}

/* --- rules ----------------------------------------------------------------------------------------------------------------- */

static const struct { const char *name; enum rule_kind kind; bool key; } types[] = { /* key: key rules have it, too */
	{ "Prefix", RULE_Prefix, true }, { "Suffix", RULE_Suffix, false }, { "HostPrefix", RULE_HostPrefix, false },
	{ "HostContains", RULE_HostContains, true }, { "HostSuffix", RULE_HostSuffix, false }, { "PathContains", RULE_PathContains, true },
	{ "UrlContains", RULE_UrlContains, true },
	{ "Regex", RULE_Regex, true }, { "Method", RULE_Method, false }, { "Header", RULE_HeaderEquals, false }, { "Client", RULE_Client, false },
	{ "Callable", RULE_Callable, true }, /* of programs alone */
};

static bool
type_in(struct reading *f, const config_setting_t *group, const char *what, bool key, enum rule_kind *kind)
{
	const char *text = text_in(f, group, what, "type", true);
	char all[256] = "";
	size_t n = 0;
	if (!text)
		return false;
	for (unsigned i = 0; i < sizeof(types) / sizeof(*types); i++) {
		if ((key && !types[i].key) || (types[i].kind == RULE_Callable && !f->program))
			continue;
		if (strcasecmp(types[i].name, text) == 0) {
			*kind = types[i].kind;
			return true;
		}
		n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s", n ? ", " : "", types[i].name);
	}
	return wrong(f, config_setting_get_member(group, "type"), "type = %.60s: must be one of %s", text, all);
}

/* One more in a list that doubles. */
#define GROW(v, n) do { if (((n) & ((n) - 1)) == 0) (v) = xrealloc((v), ((n) ? (n) * 2 : 1) * sizeof(*(v))); } while (0)

/* Hosts are names and addresses, IPv6 without brackets. */
static bool
in_hosts(const char *text)
{
	return !text[strcspn(text, "/?#@*[] \t")] && (!strchr(text, ':') || !text[strspn(text, "0123456789abcdefABCDEF:.")]);
}

static bool
begins_urls(const char *text)
{
	static const struct { struct str scheme; const char *port; } schemes[] = { { STR("http://"), ":80/" }, { STR("https://"), ":443/" } };
	for (unsigned i = 0; i < 2; i++) {
		struct str begin = str_upto(str_c(text), schemes[i].scheme.n);
		if (str_caseeq(begin, schemes[i].scheme)) {
			const char *path = strchr(text + begin.n, '/'), *port = strstr(text, schemes[i].port);
			return !port || !path || port + strlen(schemes[i].port) - 1 != path; /* that is not said in a URL */
		}
		if (str_casestarts(schemes[i].scheme, begin))
			return true;
	}
	return false;
}

/* Why nothing can match this, or NULL. A rule for secrets that says nothing of anything must not look like one that protects them. */
static const char *
vain(enum rule_kind kind, const char *text, const char *other)
{
	static const char host[] = "must be a host, or part of one, without scheme, port and path: corp.example";
	const char *suffix = text + (text[0] == '*' && text[1] == '.');
	switch (kind) {
	case RULE_Prefix:
		return begins_urls(text) ? NULL : "no URL begins so: must begin with http:// or https:// and a host, without the scheme's own port";
	case RULE_HostSuffix:
		return in_hosts(suffix) && *suffix ? NULL : host;
	case RULE_HostPrefix:
		return in_hosts(text) ? NULL : host;
	case RULE_HostContains:
		return in_hosts(text) && in_hosts(other ? other : "") ? NULL : host;
	case RULE_Method:
		if (!field_name_valid(str_c(text)))
			return "is no method: must be one such as GET";
		for (const char *p = text; *p >= 'a' && *p <= 'z'; p++)
			if (!p[1])
				return "methods are written in capital letters (RFC 9110 9.1): GET";
		return NULL;
	case RULE_HeaderEquals:
	case RULE_HeaderContains:
	case RULE_HeaderMatches:
		return field_name_valid(str_c(other)) ? NULL : "the name is not that of a field: must be one such as Accept";
	default:
		return NULL;
	}
}

static bool
can_match(struct reading *f, const config_setting_t *at, enum rule_kind kind, const char *text, const char *other)
{
	const char *why = vain(kind, text, other);
	const bool header = kind >= RULE_HeaderEquals && kind <= RULE_HeaderMatches, excludes = other && !header && in_hosts(text);
	return !why || wrong(f, at, "%s = %.100s: %s", header ? "name" : excludes ? "exclude" : config_setting_name(at) ? config_setting_name(at) : "match", header || excludes ? other : text, why);
}

static void
rule_add(struct reading *f, const struct rule *r, const config_setting_t *at)
{
	if (!can_match(f, at, r->kind, r->text, r->other))
		return;
	f->regexes += r->kind == RULE_Regex || r->kind == RULE_HeaderMatches;
	if (f->rules_n >= RULES_MAX || f->regexes > REGEXES_MAX) {
		wrong(f, at, "too many rules: at most %d, of them %d regular expressions", RULES_MAX, REGEXES_MAX);
		return;
	}
	GROW(f->rules, f->rules_n);
	f->rules[f->rules_n++] = *r;
}

/* match = "text" or match = [ "a", "b" ]: a rule for each */
static void
rule_texts(struct reading *f, const config_setting_t *group, struct rule *r, const char *name)
{
	const config_setting_t *s = config_setting_get_member(group, name);
	int type = s ? config_setting_type(s) : CONFIG_TYPE_NONE;
	bool list = type == CONFIG_TYPE_ARRAY || type == CONFIG_TYPE_LIST;
	if (!s || !list) {
		if ((r->text = text_in(f, group, "a rule", name, true)))
			rule_add(f, r, s);
		return;
	}
	for (int i = 0; i < config_setting_length(s) && !f->problem[0]; i++) {
		r->text = config_setting_get_string_elem(s, i);
		if (r->text && *r->text)
			rule_add(f, r, s);
		else
			wrong(f, s, "%s: must be strings in quotes that are not empty", name);
	}
	if (config_setting_length(s) == 0)
		wrong(f, s, "%s: is empty, so the rule would match nothing", name);
}

static void
header_rule(struct reading *f, const config_setting_t *group, struct rule *r)
{
	static const struct { const char *name; enum rule_kind kind; } how[] = {
		{ "equals", RULE_HeaderEquals }, { "contains", RULE_HeaderContains }, { "matches", RULE_HeaderMatches } };
	const char *name = NULL;
	unsigned n = 0;
	r->other = text_in(f, group, "a Header rule", "name", true);
	for (unsigned i = 0; i < 3; i++)
		if (config_setting_get_member(group, how[i].name))
			name = how[i].name, r->kind = how[i].kind, n++;
	if (!f->problem[0] && n != 1)
		wrong(f, group, "a Header rule must have one of equals, contains and matches (a regular expression)");
	if (!f->problem[0])
		rule_texts(f, group, r, name);
}

/* { type = "Callable", call = function(ctx) ... end }: its text is the function's number, and what it says is asked for each request. */
static const char *
callable(struct reading *f, const config_setting_t *group, const char *what)
{
	if (!only_these(f, group, what, " type call "))
		return NULL;
	if (!config_setting_get_member(group, "call"))
		return wrong(f, group, "%s has no call: must be call = function(ctx) ... end", what), NULL;
	return arena_printf(&f->arena, "%lld", (long long)config_setting_get_int64(config_setting_get_member(group, "call"))).p;
}

static void
rule(struct reading *f, const config_setting_t *group)
{
	struct rule r = { .forced_swr_s = -1, .connect_timeout_ms = -1, .read_timeout_ms = -1, .line = line_of(group) };
	if (!type_in(f, group, "a rule", false, &r.kind))
		return;
	if (r.kind == RULE_Callable) {
		if ((r.text = callable(f, group, "a Callable rule")))
			rule_add(f, &r, group);
		return;
	}
	bool header = r.kind == RULE_HeaderEquals, suffix = r.kind == RULE_Suffix, contains = r.kind == RULE_HostContains;
	const char *words = header ? " type name equals contains matches policy timeouts forced_swr_seconds "
	                  : suffix ? " type match with_query policy timeouts forced_swr_seconds "
	                  : contains ? " type match exclude policy timeouts forced_swr_seconds " : " type match policy timeouts forced_swr_seconds ";
	const char *what = header ? "a Header rule" : suffix ? "a Suffix rule" : contains ? "a HostContains rule" : "a rule of this type";
	const config_setting_t *times = config_setting_get_member(group, "timeouts");
	if (!only_these(f, group, what, words) || !policy_in(f, group, "a rule", "policy", true, &r.policy))
		return;
	if (times && !config_setting_is_group(times)) {
		wrong(f, times, "timeouts: must be a group: { connect = 10; read = 60; }");
	} else if (times && only_these(f, times, "timeouts", " connect read total low_speed low_speed_time ")) {
		r.connect_timeout_ms = seconds_in(f, times, "connect", RULE_CONNECT_MAX);
		r.read_timeout_ms = seconds_in(f, times, "read", RULE_READ_MAX);
		r.limits.total_ms = transfer_limit(seconds_in(f, times, "total", RULE_TOTAL_MAX));
		r.limits.low_speed = transfer_limit(int_in(f, times, "low_speed", RULE_LOW_SPEED_MAX, -1));
		r.limits.low_speed_ms = transfer_limit(seconds_in(f, times, "low_speed_time", RULE_LOW_SPEED_TIME_MAX));
	}
	r.forced_swr_s = int_in(f, group, "forced_swr_seconds", RULE_SECONDS_MAX, -1);
	if (suffix && bool_in(f, group, "with_query"))
		r.kind = RULE_SuffixQuery;
	if (contains)
		r.other = text_in(f, group, "a rule", "exclude", false);
	if (r.other && !*r.other)
		r.other = NULL;
	if (f->problem[0])
		return;
	if (header)
		header_rule(f, group, &r);
	else
		rule_texts(f, group, &r, "match");
}

static void
key_rule(struct reading *f, const config_setting_t *group)
{
	struct key_rule k = { .line = line_of(group) };
	if (!type_in(f, group, "a key rule", true, &k.kind))
		return;
	if (k.kind == RULE_Callable) {
		if ((k.text = callable(f, group, "a Callable key rule"))) {
			GROW(f->keys, f->keys_n);
			f->keys[f->keys_n++] = k;
		}
		return;
	}
	if (!only_these(f, group, "a key rule", " type match pattern rewrite "))
		return;
	k.text = text_in(f, group, "a key rule", "match", true);
	if (k.text)
		can_match(f, config_setting_get_member(group, "match"), k.kind, k.text, NULL);
	k.pattern = text_in(f, group, "a key rule", "pattern", false);
	if (!f->problem[0] && !config_setting_get_member(group, "rewrite"))
		wrong(f, group, "a key rule has no rewrite: must be rewrite = \"...\";");
	k.rewrite = text_in(f, group, "a key rule", "rewrite", false);
	if (!f->problem[0] && ++f->regexes > REGEXES_MAX)
		wrong(f, group, "too many regular expressions: at most %d", REGEXES_MAX);
	if (f->problem[0])
		return;
	GROW(f->keys, f->keys_n);
	f->keys[f->keys_n++] = k;
}

static void
refresh_rule(struct reading *f, const config_setting_t *group)
{
	struct refresh_rule r = { .line = line_of(group) };
	if (!only_these(f, group, "a refresh pattern", " match min percent max ignore_no_store "))
		return;
	r.text = text_in(f, group, "a refresh pattern", "match", true);
	r.refresh.min_s = int_in(f, group, "min", RULE_SECONDS_MAX, 0);
	r.refresh.percent = int_in(f, group, "percent", PERCENT_MAX, 0);
	r.refresh.max_s = int_in(f, group, "max", RULE_SECONDS_MAX, 0);
	r.refresh.ignore_no_store = bool_in(f, group, "ignore_no_store");
	if (!f->problem[0] && r.refresh.max_s > 0 && r.refresh.max_s < r.refresh.min_s)
		wrong(f, group, "max = %lld is less than min = %lld: must be more, or 0 (no limit)", (long long)r.refresh.max_s, (long long)r.refresh.min_s);
	if (!f->problem[0] && ++f->regexes > REGEXES_MAX)
		wrong(f, group, "too many regular expressions: at most %d", REGEXES_MAX);
	if (f->problem[0])
		return;
	GROW(f->refresh, f->refresh_n);
	f->refresh[f->refresh_n++] = r;
}

static void
each(struct reading *f, const config_setting_t *root, const char *name, void (*take)(struct reading *, const config_setting_t *))
{
	const config_setting_t *list = config_setting_get_member(root, name);
	if (!list || f->problem[0])
		return;
	if (!config_setting_is_list(list)) {
		wrong(f, list, "%s: must be a list of groups: ( { ... }, { ... } )", name);
		return;
	}
	for (int i = 0; i < config_setting_length(list) && !f->problem[0]; i++) {
		const config_setting_t *s = config_setting_get_elem(list, (unsigned)i);
		if (f->program)
			snprintf(f->where, sizeof(f->where), "%s%s[%d]: ", take == key_rule ? "cache_" : "", name, i + 1);
		if (config_setting_is_group(s))
			take(f, s);
		else
			wrong(f, s, "%s: must be a list of groups: ( { ... }, { ... } )", name);
	}
	f->where[0] = 0;
}

static void
builtin(struct reading *f)
{
	for (unsigned i = 0; i < rules_builtin_n; i++) {
		GROW(f->rules, f->rules_n);
		f->rules[f->rules_n++] = rules_builtin[i];
	}
}

static void
whole(struct reading *f, const config_setting_t *root)
{
	if (!only_these(f, root, "a policy file", " include_defaults default_policy rules key_rules refresh_patterns ") ||
	    !policy_in(f, root, "the file", "default_policy", false, &f->otherwise))
		return;
	const char *defaults = text_in(f, root, "the file", "include_defaults", false);
	if (!defaults)
		defaults = "behind";
	if (strcmp(defaults, "front") != 0 && strcmp(defaults, "behind") != 0 && strcmp(defaults, "none") != 0)
		wrong(f, config_setting_get_member(root, "include_defaults"),
		      "include_defaults = %.60s: must be front (the built-in rules come before these), behind or none", defaults);
	if (strcmp(defaults, "front") == 0)
		builtin(f);
	each(f, root, "rules", rule);
	if (strcmp(defaults, "behind") == 0)
		builtin(f);
	each(f, root, "key_rules", key_rule);
	each(f, root, "refresh_patterns", refresh_rule);
}

/* --- files ----------------------------------------------------------------------------------------------------------------- */

/* The end of a reading: a set, when nothing was wrong. */
static struct ruleset *
made(struct reading *f)
{
	const struct rule_lists lists = { f->rules, f->keys, f->refresh, f->rules_n, f->keys_n, f->refresh_n, f->otherwise, f->program };
	struct ruleset *set = NULL;
	char why[RULE_PROBLEM];
	int line = 0;
	if (!f->problem[0] && !(set = ruleset_make(&lists, why, &line)))
		snprintf(f->problem, RULE_PROBLEM, "%.200s:%d: %.280s", f->name, line, why);
	free(f->rules);
	free(f->keys);
	free(f->refresh);
	arena_fini(&f->arena);
	return set;
}

struct ruleset *
rulefile_parse(const char *name, struct str text, enum policy otherwise, char problem[RULE_PROBLEM])
{
	struct reading f = { .name = name, .problem = problem, .otherwise = otherwise };
	struct ruleset *set;
	int include_line;
	config_t c;
	problem[0] = 0;
	if (text.n && memchr(text.p, 0, text.n)) {
		snprintf(problem, RULE_PROBLEM, "%.200s: must be text, and has a NUL byte", name);
		return NULL;
	}
	arena_init(&f.arena);
	const char *prepared = settings_prepare(arena_dup(&f.arena, text), &f.arena, &include_line);
	config_init(&c);
	if (include_line)
		snprintf(problem, RULE_PROBLEM, "%.200s:%d: @include is not supported: all rules are in one file", name, include_line);
	else if (config_read_string(&c, prepared) != CONFIG_TRUE)
		snprintf(problem, RULE_PROBLEM, "%.200s:%d: %s: must be name = value; with strings in quotes and lists as ( {...}, {...} )", name,
			config_error_line(&c), config_error_text(&c));
	else
		whole(&f, config_root_setting(&c));
	set = made(&f);
	config_destroy(&c);
	return set;
}

struct ruleset *
rulefile_of_program(const char *name, const struct config_t *c, struct luafile *program, enum policy otherwise, char problem[RULE_PROBLEM])
{
	struct reading f = { .name = name, .problem = problem, .otherwise = otherwise, .program = program };
	problem[0] = 0;
	arena_init(&f.arena);
	whole(&f, config_root_setting(c));
	return made(&f);
}
