/* rules.h - from a request to its policy (behaviour.md 3.2 to 3.6). Immutable once made, so any thread may ask; where there is a program
 * (luafile.h), one at a time asks that. */
#pragma once
#include "policy.h"

#define RULE_KINDS(X) X(Prefix) X(Suffix) X(SuffixQuery) X(HostPrefix) X(HostContains) X(HostSuffix) X(PathContains) X(UrlContains) X(Regex) \
	X(Method) X(HeaderEquals) X(HeaderContains) X(HeaderMatches) X(Client) X(Callable)
enum rule_kind {
#define X(k) RULE_##k,
	RULE_KINDS(X)
#undef X
	RULE_KIND_MAX
};
/* The most that a policy file may say, in either syntax: as much as the settings of these names may (common/tbl/settings.h). */
enum {
	RULE_CONNECT_MAX = 3600, RULE_READ_MAX = 86400, RULE_TOTAL_MAX = 7 * 86400, RULE_LOW_SPEED_TIME_MAX = 86400, /* s */
	RULE_LOW_SPEED_MAX = INT32_MAX, /* bytes a second */
	RULE_SECONDS_MAX = 10 * 366 * 86400, /* forced_swr_seconds, refresh patterns: ten years */
};
struct rule {
	enum rule_kind kind;
	const char *text;          /* Callable: the number of the program's function, from 1 */
	const char *other;         /* HostContains: what the host must not contain, NULL none; Header…: the field's name */
	enum policy policy;
	int64_t forced_swr_s;      /* -1 off */
	int64_t connect_timeout_ms, read_timeout_ms; /* -1 not said; 0 none */
	int line;                  /* of the file; 0 built in */
	struct transfer_limits limits;
};
struct refresh_rule { const char *text; struct refresh refresh; int line; };    /* text: a regular expression */
/* What is under which key: Prefix, HostContains, PathContains or Regex match; the first match of pattern (NULL: for Regex its text, else
 * the whole URL) is then replaced by rewrite. Nothing left: the next rule is tried. */
struct key_rule { enum rule_kind kind; const char *text, *pattern, *rewrite; int line; };
struct luafile;
struct rule_lists {
	const struct rule *rules;
	const struct key_rule *keys;
	const struct refresh_rule *refresh;
	unsigned rules_n, keys_n, refresh_n;
	enum policy otherwise;
	struct luafile *program;   /* NULL: none; else the set's from now on, when it could be made */
};
#define RULE_PROBLEM 512   /* longest complaint */
struct ruleset;
extern const struct rule rules_builtin[];  /* 3.3, in order */
extern const unsigned rules_builtin_n;
/* Query parameters that only sign or date a URL at these hosts (and those below them), beside the ones that do everywhere (key.h). */
struct signed_host { const char *domain; const char *const *names; };
extern const struct signed_host signed_hosts[];
extern const unsigned signed_hosts_n;
/* Prefix rules first, longest first; then list order. NULL and *problem (and the *line it stands in) when a text is not what its kind
 * wants. All texts are copied. */
struct ruleset *ruleset_make(const struct rule_lists *, char problem[RULE_PROBLEM], int *line);
struct ruleset *ruleset_new(const struct rule *, unsigned n, enum policy otherwise, char problem[RULE_PROBLEM]); /* rules alone */
void ruleset_free(struct ruleset **);
/* As it was before version 1: Suffix and PathContains rules see the whole URL, its query too. Only before anybody asks the set. */
void ruleset_match_query(struct ruleset *, bool);
/* header: the value of X-Passsage-Policy when it may be honoured, else STR_NONE. Fills in all of plan (keys too, in the arena).
 * plan->rule and ->refresh are views into the set: good as long as the set is. Suffix rules match the path without the query.
 * PathContains rules match in the path, or across its border with the host ("h.example/simple"), but not in the host or the query alone. */
void ruleset_plan(const struct ruleset *, const struct http_request *, struct str header, struct arena *, struct plan *);
bool ruleset_rewrites(const struct ruleset *); /* may a key be another URL than the one that is asked for? */
/* The keys alone, of any URL: what a GET of it without fields would be stored under. */
void ruleset_keys(const struct ruleset *, const struct url *, struct arena *, struct str *key_url, struct str *id, struct str *vary_id);
