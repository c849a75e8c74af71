/* rules.h - from a request to its policy (behaviour.md 3.2 to 3.6). Immutable once made, so any thread may ask. */
#pragma once
#include "policy.h"

enum rule_kind { RULE_Prefix, RULE_Suffix, RULE_HostPrefix, RULE_HostContains, RULE_PathContains, RULE_Regex };
struct rule {
	enum rule_kind kind;
	const char *text;
	const char *exclude;       /* HostContains only; NULL none */
	enum policy policy;
	int64_t forced_swr_s;      /* -1 off */
	int64_t connect_timeout_ms, read_timeout_ms; /* -1 not said */
};
struct ruleset;
extern const struct rule rules_builtin[];  /* 3.3, in order */
extern const unsigned rules_builtin_n;
/* Prefix rules first, longest first; then list order. NULL and *problem (static text) when a pattern does not compile. */
struct ruleset *ruleset_new(const struct rule *, unsigned n, enum policy otherwise, char problem[256]);
void ruleset_free(struct ruleset **);
/* header: the value of X-Passsage-Policy when it may be honoured, else STR_NONE. Fills in all of plan (keys too, in the arena).
 * plan->rule is a view into the set: good as long as the set is. Suffix rules match the path without the query. */
void ruleset_plan(const struct ruleset *, const struct http_request *, struct str header, struct arena *, struct plan *);
