/* policy.h - the five policies (behaviour.md 3.1) and what a plan for one request holds. */
#pragma once
#include "../common/http.h"

#define POLICIES(X) X(NoCache) X(NoRefresh) X(Standard) X(StaleIfError) X(AlwaysUpstream)
enum policy {
#define X(p) POLICY_##p,
	POLICIES(X)
#undef X
	POLICY_MAX
};
const char *policy_name(enum policy);            /* exactly as in x-proxy-policy */
bool policy_parse(struct str, enum policy *);    /* case-insensitive, trimmed */

/* A refresh pattern (behaviour.md 5.3): how long what it matches is fresh, whatever the origin says of that. */
struct refresh {
	int64_t min_s, percent, max_s; /* min + percent of (Date - Last-Modified), at most max when that is not 0 */
	bool ignore_no_store;          /* no-store, private and no-cache of its answers do not count */
};

/* How long a whole answer may take, and how slow it may come. 0: not said (the setting's); NO_LIMIT: none. */
struct transfer_limits {
	int64_t total_ms;          /* from the request to the last byte of the body */
	int64_t low_speed;         /* bytes a second that the body must bring on average … */
	int64_t low_speed_ms;      /* … over each stretch of this length */
};
#define NO_LIMIT INT64_C(-1)
/* From what a policy file says: -1 nothing, 0 none. */
static inline int64_t transfer_limit(int64_t said) { return said < 0 ? 0 : said == 0 ? NO_LIMIT : said; }

/* What the rules say of one request, before anything was looked up. */
struct plan {
	enum policy policy;
	const char *rule;          /* which rule matched, for the log; "default", "header" */
	int64_t connect_timeout_ms; /* -1: the setting */
	int64_t read_timeout_ms;    /* -1: the setting; 0: none */
	struct transfer_limits limits;
	int64_t forced_swr_s;      /* -1: off */
	const struct refresh *refresh; /* NULL: the origin's word; good as long as the set of rules is */
	struct str key_url;        /* normalised */
	struct str id;             /* base document id: scheme/host/hash */
	struct str vary_id;        /* scheme/host/_vary/hash */
};
