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

/* What the rules say of one request, before anything was looked up. */
struct plan {
	enum policy policy;
	const char *rule;          /* which rule matched, for the log; "default", "header" */
	int64_t connect_timeout_ms; /* -1: the setting */
	int64_t read_timeout_ms;    /* -1: the setting; 0: none */
	int64_t forced_swr_s;      /* -1: off */
	struct str key_url;        /* normalised */
	struct str id;             /* base document id: scheme/host/hash */
	struct str vary_id;        /* scheme/host/_vary/hash */
};
