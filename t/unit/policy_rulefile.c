/* The policy file: what each kind of rule matches, what keys and lifetimes come of it, and what is said of a file that is wrong. */
#include "tap.h"
#include <arpa/inet.h>
#include "../../common/clock.h"
#include "../../policy/freshness.h"
#include "../../policy/hostsuffix.h"
#include "../../common/netrange.h"
#include "../../policy/rulefile.h"
#include <limits.h>
#include <stdlib.h>

static struct arena a;
static char problem[RULE_PROBLEM];
#define N(v) (sizeof(v) / sizeof(*(v)))

static struct ruleset *
parse(const char *text)
{
	struct ruleset *set = rulefile_parse("f", str_c(text), POLICY_Standard, problem);
	if (!set)
		note("%s", problem);
	return set;
}

/* asker: "METHOD", "10.0.0.1" (a client), or "Name: value" */
static struct plan
plan_of(const struct ruleset *set, const char *url, const char *asker)
{
	struct http_request req = { .method = METHOD_GET, .method_name = STR("GET") };
	struct plan plan = { .policy = POLICY_MAX };
	struct str value = str_c(asker);
	struct netrange who;
	headers_init(&req.headers, &a);
	if (asker && strchr(asker, '.') && netrange_parse(value, &who)) {
		req.client = who.net;
	} else if (asker && strstr(asker, ": ")) {
		struct str name = str_cut(&value, ':');
		headers_add(&req.headers, name, str_trim(value));
	} else if (asker && netrange_parse(value, &who)) {
		req.client = who.net;
	} else if (asker) {
		req.method_name = value;
		req.method = http_method(value);
	}
	if (url_parse(&a, str_c(url), &req.url) < 0)
		ok(0, "url_parse(%s)", url);
	else if (set)
		ruleset_plan(set, &req, STR_NONE, &a, &plan);
	return plan;
}

static const char rules[] =
	"include_defaults = \"behind\"; default_policy = \"alwaysupstream\";\n"
	"rules = ( { type = \"Suffix\"; match = \".bin\"; policy = \"NoRefresh\"; timeouts = { connect = 1.5; read = 0; total = 60; low_speed = 1000; low_speed_time = 2.5; }; forced_swr_seconds = 60; },\n"
	"{ type = \"suffix\"; match = \"&z=1\"; with_query = true; policy = \"NoCache\"; },\n"
	"{ type = \"Prefix\"; match = [ \"http://p/\", \"HTTP://p/long/\" ]; policy = \"NoCache\"; },\n"
	"{ type = \"HostPrefix\"; match = \"npm.\"; policy = \"StaleIfError\"; },\n"
	"{ type = \"HostContains\"; match = \"corp\"; exclude = \"guest\"; policy = \"NoCache\"; },\n"
	"{ type = \"HostSuffix\"; match = [ \"Example.org\", \"*.wild.net\", \".dot.net\" ]; policy = \"StaleIfError\"; },\n"
	"{ type = \"HostSuffix\"; match = \"deep.example.org\"; policy = \"NoCache\"; },\n"
	"{ type = \"PathContains\"; match = \"/Snap/\"; policy = \"Standard\"; timeouts = { total = 0; low_speed = 0; }; },\n"
	"{ type = \"PathContains\"; match = \"corner.net/in\"; policy = \"Standard\"; },\n"
	"{ type = \"PathContains\"; match = \"https://sub.net/\"; policy = \"Standard\"; },\n"
	"{ type = \"UrlContains\"; match = \"anywhere\"; policy = \"Standard\"; },\n"
	"{ type = \"Regex\"; match = \"/v[0-9]+\\\\.tgz$\"; policy = \"NoRefresh\"; },\n"
	"{ type = \"Method\"; match = \"HEAD\"; policy = \"Standard\"; },\n"
	"{ type = \"Header\"; name = \"X-Mode\"; equals = \"Fast\"; policy = \"NoRefresh\"; },\n"
	"{ type = \"Header\"; name = \"User-Agent\"; contains = \"check\"; policy = \"NoCache\"; },\n"
	"{ type = \"Header\"; name = \"Accept\"; matches = \"^image/(png|gif)$\"; policy = \"NoRefresh\"; },\n"
	"{ type = \"Client\"; match = [ \"10.1.0.0/16\", \"2001:db8::/33\", \"192.0.2.7\" ]; policy = \"NoCache\"; } );\n";
static const struct { const char *url, *asker, *rule; } matched[] = {
	{ "http://o/a.BIN", NULL, "Suffix .bin" },
	{ "http://o/a.bin?x=1", NULL, "Suffix .bin" },
	{ "http://o/a?x=.bin", NULL, "default" },
	{ "http://o/a?y=1&z=1", NULL, "SuffixQuery &z=1" },
	{ "http://p/a.bin", NULL, "Prefix http://p/" },
	{ "http://p/long/a.bin", NULL, "Prefix HTTP://p/long/" },
	{ "http://npm.x/", NULL, "HostPrefix npm." },
	{ "http://x.CORP/", NULL, "HostContains corp" },
	{ "http://guest.corp/", NULL, "default" },
	{ "http://o/corp", NULL, "default" },
	{ "http://example.org/", NULL, "HostSuffix Example.org" },
	{ "http://a.b.Example.ORG/", NULL, "HostSuffix Example.org" },
	{ "http://example.org./", NULL, "HostSuffix Example.org" },
	{ "http://deep.example.org/", NULL, "HostSuffix Example.org" },   /* the first listed, not the longest */
	{ "http://anexample.org/", NULL, "default" },                     /* only at a dot */
	{ "http://org/", NULL, "default" },
	{ "http://x.wild.net/", NULL, "HostSuffix *.wild.net" },
	{ "http://dot.net/", NULL, "HostSuffix .dot.net" },
	{ "http://o/x/snap/y", NULL, "PathContains /Snap/" },
	{ "http://o/snap/", NULL, "PathContains /Snap/" },
	{ "http://o/y?x=/snap/", NULL, "default" },                       /* a path rule matches the path … */
	{ "http://o/snap?/", NULL, "default" },
	{ "http://corner.net/in/x", NULL, "PathContains corner.net/in" }, /* … or across its border with the host */
	{ "https://a.Corner.net/In", NULL, "PathContains corner.net/in" },
	{ "http://o/corner.net/inner", NULL, "PathContains corner.net/in" },
	{ "http://corner.net/out?corner.net/in", NULL, "default" },
	{ "https://sub.net/x", NULL, "PathContains https://sub.net/" },
	{ "http://sub.net/x", NULL, "default" },
	{ "http://o/x?https://sub.net/", NULL, "default" },
	{ "http://o/?anywhere", NULL, "UrlContains anywhere" },
	{ "http://anywhere/", NULL, "UrlContains anywhere" },
	{ "http://o/V12.TGZ", NULL, "Regex /v[0-9]+\\.tgz$" },
	{ "http://o/v.tgz", NULL, "default" },
	{ "http://o/", "HEAD", "Method HEAD" },
	{ "http://o/", "head", "default" },
	{ "http://o/", "x-mode: fast", "HeaderEquals X-Mode Fast" },
	{ "http://o/", "X-Mode: fast!", "default" },
	{ "http://o/", "User-Agent: a HealthCheck/1", "HeaderContains User-Agent check" },
	{ "http://o/", "User-Agents: a HealthCheck/1", "default" },
	{ "http://o/", "Accept: image/GIF", "HeaderMatches Accept ^image/(png|gif)$" },
	{ "http://o/", "Accept: image/gif, a/b", "default" },
	{ "http://o/", "10.1.255.7", "Client 10.1.0.0/16" },
	{ "http://o/", "10.2.0.1", "default" },
	{ "http://o/", "192.0.2.7", "Client 192.0.2.7" },
	{ "http://o/", "192.0.2.6", "default" },
	{ "http://o/", "2001:db8:7fff::1", "Client 2001:db8::/33" },
	{ "http://o/", "2001:db8:8000::1", "default" },
	{ "http://o/", "::ffff:10.1.0.1", "Client 10.1.0.0/16" },
	{ "http://169.254.169.254/", NULL, "HostPrefix 169.254.169." },
};

static const char keys[] =
	"key_rules = ( { type = \"Regex\"; match = \"^https?://[a-z]+\\\\.m\\\\.example/(?<rest>.*)$\"; rewrite = \"https://m.example/${rest}\"; },\n"
	"{ type = \"HostContains\"; match = \"files\"; pattern = \"\\\\?.*$\"; rewrite = \"\"; },\n"
	"{ type = \"PathContains\"; match = \"/empty/\"; rewrite = \"\"; },\n"
	"{ type = \"PathContains\"; match = \"/empty/\"; pattern = \"empty\"; rewrite = \"$$full\"; },\n"
	"{ type = \"Prefix\"; match = \"http://files.x/one\"; rewrite = \"one thing\"; },\n"
	"{ type = \"Regex\"; match = \".*/all/[0-9]\"; rewrite = \"all\"; } );\n";
static const struct { const char *url, *key, *id; } keyed[] = {
	{ "https://de.m.example/a/b?c", "https://m.example/a/b?c", "https/m.example/" },
	{ "http://fr.m.example/a/b?c", "https://m.example/a/b?c", "https/m.example/" },
	{ "http://files.y/a?token=1", "http://files.y/a", "http/files.y/" },
	{ "http://files.y/a", "http://files.y/a", "http/files.y/" },
	{ "http://files.x/one/2?x", "one thing", "http/files.x/" },
	{ "http://o/empty/1", "http://o/$full/1", "http/o/" },
	{ "http://o/b/all/7/x", "all/x", "http/o/" },                      /* .* is part of what is replaced */
	{ "http://o/a?sig=1", "http://o/a", "http/o/" },                   /* no rule: as without the file */
};

static const struct { const char *text, *problem; } bad[] = {
	/* what nothing can match */
	{ "rules = ( { type = \"Prefix\"; match = \"h.example/x\"; policy = \"NoCache\"; } );", "f:1: match = h.example/x: no URL begins so: must begin with http:// or https:// and a host, without the scheme's own port" },
	{ "rules = ( { type = \"Prefix\"; match = \"https://h.example:443/x\"; policy = \"NoCache\"; } );", "f:1: match = https://h.example:443/x: no URL begins so: must begin with http:// or https:// and a host, without the scheme's own port" },
	{ "rules = ( { type = \"HostSuffix\"; match = [ \"a.example\", \"https://b.example\" ]; policy = \"NoCache\"; } );", "f:1: match = https://b.example: must be a host, or part of one, without scheme, port and path: corp.example" },
	{ "rules = ( { type = \"HostPrefix\"; match = \"h.example:80\"; policy = \"NoCache\"; } );", "f:1: match = h.example:80: must be a host, or part of one, without scheme, port and path: corp.example" },
	{ "rules = ( { type = \"HostContains\"; match = \"h\"; exclude = \"x/\"; policy = \"NoCache\"; } );", "f:1: exclude = x/: must be a host, or part of one, without scheme, port and path: corp.example" },
	{ "rules = ( { type = \"Method\"; match = \"get\"; policy = \"NoCache\"; } );", "f:1: match = get: methods are written in capital letters (RFC 9110 9.1): GET" },
	{ "rules = ( { type = \"Header\"; name = \"X Y\"; equals = \"a\"; policy = \"NoCache\"; } );", "f:1: name = X Y: the name is not that of a field: must be one such as Accept" },
	{ "key_rules = ( { type = \"Prefix\"; match = \"/x\"; rewrite = \"y\"; } );", "f:1: match = /x: no URL begins so: must begin with http:// or https:// and a host, without the scheme's own port" },
	{ "rules = ( { type = Prefix } );", "f:1: syntax error: must be name = value; with strings in quotes and lists as ( {...}, {...} )" },
	{ "\nrule = ( );", "f:2: rule: a policy file does not have it: it has include_defaults default_policy rules key_rules refresh_patterns" },
	{ "include_defaults = \"before\";", "f:1: include_defaults = before: must be front (the built-in rules come before these), behind or none" },
	{ "include_defaults = true;", "f:1: include_defaults: must be a string in quotes" },
	{ "default_policy = \"Sometimes\";", "f:1: default_policy = Sometimes: must be NoCache, NoRefresh, Standard, StaleIfError or AlwaysUpstream" },
	{ "rules = { };", "f:1: rules: must be a list of groups: ( { ... }, { ... } )" },
	{ "rules = ( 1 );", "f:1: rules: must be a list of groups: ( { ... }, { ... } )" },
	{ "rules = (\n{ match = \"x\"; policy = \"NoCache\"; } );", "f:2: a rule has no type: must be type = \"...\";" },
	{ "rules = ( { type = \"Pfx\"; } );", "f:1: type = Pfx: must be one of Prefix, Suffix, HostPrefix, HostContains, HostSuffix, PathContains, UrlContains, Regex, Method, Header, Client" },
	{ "rules = ( { type = \"Prefix\"; match = \"x\"; } );", "f:1: a rule has no policy: must be policy = \"...\";" },
	{ "rules = ( { type = \"Prefix\"; match = \"x\";\npolicy = \"No\"; } );", "f:2: policy = No: must be NoCache, NoRefresh, Standard, StaleIfError or AlwaysUpstream" },
	{ "rules = ( { type = \"Prefix\"; policy = \"NoCache\"; } );", "f:1: a rule has no match: must be match = \"...\";" },
	{ "rules = ( { type = \"Prefix\"; policy = \"NoCache\"; match = 7; } );", "f:1: match: must be a string in quotes" },
	{ "rules = ( { type = \"Prefix\"; policy = \"NoCache\"; match = \"\"; } );", "f:1: match: is empty, which would be everything" },
	{ "rules = ( { type = \"Prefix\"; policy = \"NoCache\"; match = [ ]; } );", "f:1: match: is empty, so the rule would match nothing" },
	{ "rules = ( { type = \"Prefix\"; policy = \"NoCache\"; match = [ 1 ]; } );", "f:1: match: must be strings in quotes that are not empty" },
	{ "rules = ( { type = \"Prefix\"; policy = \"NoCache\"; match = \"x\"; exclude = \"y\"; } );", "f:1: exclude: a rule of this type does not have it: it has type match policy timeouts forced_swr_seconds" },
	{ "rules = ( { type = \"Prefix\"; policy = \"NoCache\"; match = \"x\"; timeouts = 5; } );", "f:1: timeouts: must be a group: { connect = 10; read = 60; }" },
	{ "rules = ( { type = \"Prefix\"; policy = \"NoCache\"; match = \"x\"; timeouts = { read = -1; }; } );", "f:1: read: must be seconds, 0 (no limit) to 86400; fractions are allowed" },
	{ "rules = ( { type = \"Prefix\"; policy = \"NoCache\"; match = \"x\"; timeouts = { write = 1; }; } );", "f:1: write: timeouts does not have it: it has connect read total low_speed low_speed_time" },
	{ "rules = ( { type = \"Prefix\"; policy = \"NoCache\"; match = \"x\"; timeouts = { low_speed = 1.5; }; } );", "f:1: low_speed: must be a whole number from 0 to 2147483647" },
	{ "rules = ( { type = \"Prefix\"; policy = \"NoCache\"; match = \"x\"; forced_swr_seconds = 0.5; } );", "f:1: forced_swr_seconds: must be a whole number from 0 to 316224000" },
	{ "rules = ( { type = \"Prefix\"; policy = \"NoCache\"; match = \"x\"; forced_swr_seconds = 5000000000; } );", "f:1: forced_swr_seconds: must be a whole number from 0 to 316224000" },
	{ "rules = ( { type = \"Suffix\"; policy = \"NoCache\"; match = \"x\"; with_query = 1; } );", "f:1: with_query: must be true or false" },
	{ "rules = ( { type = \"Regex\"; policy = \"NoCache\"; match = \"x\"; },\n{ type = \"Regex\"; policy = \"NoCache\"; match = \"a(b\"; } );", "f:2: Regex a(b: missing closing parenthesis at offset 3" },
	{ "rules = ( { type = \"Client\"; policy = \"NoCache\"; match = \"10.1.2.3/8\"; } );", "f:1: Client 10.1.2.3/8: must be an address or a range of them, such as 10.1.0.0/16 or 2001:db8::/32" },
	{ "rules = ( { type = \"Client\"; policy = \"NoCache\"; match = \"10.0.0.0/33\"; } );", "f:1: Client 10.0.0.0/33: must be an address or a range of them, such as 10.1.0.0/16 or 2001:db8::/32" },
	{ "rules = ( { type = \"Header\"; policy = \"NoCache\"; equals = \"x\"; } );", "f:1: a Header rule has no name: must be name = \"...\";" },
	{ "rules = ( { type = \"Header\"; policy = \"NoCache\"; name = \"x\"; equals = \"x\"; contains = \"y\"; } );", "f:1: a Header rule must have one of equals, contains and matches (a regular expression)" },
	{ "rules = ( { type = \"Header\"; policy = \"NoCache\"; name = \"x\"; matches = \"[\"; } );", "f:1: HeaderMatches [: missing terminating ] for character class at offset 1" },
	{ "key_rules = ( { type = \"Suffix\"; match = \"x\"; rewrite = \"y\"; } );", "f:1: type = Suffix: must be one of Prefix, HostContains, PathContains, UrlContains, Regex" },
	{ "key_rules = ( { type = \"Regex\"; match = \"x\"; } );", "f:1: a key rule has no rewrite: must be rewrite = \"...\";" },
	{ "key_rules = ( { type = \"Regex\"; match = \"x(y)\"; rewrite = \"$2\"; } );", "f:1: rewrite $2: refers to $2, which the pattern does not have: it has $0 to $1" },
	{ "key_rules = ( { type = \"Regex\"; match = \"x(y)\"; rewrite = \"a${b}\"; } );", "f:1: rewrite a${b}: refers to $b, which the pattern does not have: it has $0 to $1" },
	{ "key_rules = ( { type = \"Regex\"; match = \"x(y)\"; rewrite = \"a$\"; } );", "f:1: rewrite a$: has a $ that is none of $0 to $1, ${name} and $$ (a dollar sign)" },
	{ "key_rules = ( { type = \"Prefix\"; match = \"https:\"; pattern = \"*\"; rewrite = \"a\"; } );", "f:1: pattern *: quantifier does not follow a repeatable item at offset 0" },
	{ "refresh_patterns = ( { min = 1; } );", "f:1: a refresh pattern has no match: must be match = \"...\";" },
	{ "refresh_patterns = ( { match = \"x\"; min = 10; max = 5; } );", "f:1: max = 5 is less than min = 10: must be more, or 0 (no limit)" },
	{ "refresh_patterns = ( { match = \"x\"; percent = 5000; } );", "f:1: percent: must be a whole number from 0 to 1000" },
	{ "refresh_patterns = (\n\n{ match = \"(\"; } );", "f:3: refresh pattern (: missing closing parenthesis at offset 1" },
	{ "\n@include \"x\"\n", "f:2: @include is not supported: all rules are in one file" },
};

static const struct { const char *url; int64_t modified_ago; const char *cc; int64_t status, lifetime; const char *why; } lives[] = {
	{ "http://r/a", 1000, "max-age=5", 200, 300, "min + percent of (Date - Last-Modified), whatever the origin says" },
	{ "http://r/a", 100000, "", 200, 900, "at most max" },
	{ "http://r/a", -1, "", 200, 100, "min alone without Last-Modified" },
	{ "http://r/a", 1000, "max-age=5", 404, 5, "errors keep the origin's word" },
	{ "http://s/a", 1000, "max-age=5", 200, 50, "the first that matches; max 0: no limit" },
	{ "http://t/a", 1000, "max-age=5", 200, 5, "no pattern: the origin's word" },
};

int
main(void)
{
	arena_init(&a);
	struct ruleset *set = parse(rules);
	ok(set != NULL, "a file with all kinds of rules");
	for (unsigned i = 0; i < N(matched); i++)
		is_str(str_c(plan_of(set, matched[i].url, matched[i].asker).rule), str_c(matched[i].rule), "%s %s", matched[i].url, matched[i].asker ? matched[i].asker : "");
	struct plan p = plan_of(set, "http://o/a.bin", NULL);
	ok(p.policy == POLICY_NoRefresh && p.connect_timeout_ms == 1500 && p.read_timeout_ms == 0 && p.forced_swr_s == 60, "policy, timeouts, forced SWR");
	ok(p.limits.total_ms == 60000 && p.limits.low_speed == 1000 && p.limits.low_speed_ms == 2500, "total and low-speed limits");
	p = plan_of(set, "http://o/snap/", NULL);
	ok(p.limits.total_ms == NO_LIMIT && p.limits.low_speed == NO_LIMIT && p.limits.low_speed_ms == 0, "0 is none, and what is not said is the setting's");
	p = plan_of(set, "http://o/", NULL);
	ok(p.policy == POLICY_AlwaysUpstream && p.connect_timeout_ms == -1 && p.forced_swr_s == -1, "default_policy, where no rule matches");
	ruleset_free(&set);

	static const struct { const char *how; enum policy policy; const char *rule; } placed[] = {
		{ "front", POLICY_StaleIfError, "Suffix .deb" }, { "behind", POLICY_NoCache, "PathContains x.deb" }, { "none", POLICY_NoCache, "PathContains x.deb" } };
	for (unsigned i = 0; i < N(placed); i++) {
		char text[200];
		snprintf(text, sizeof(text), "include_defaults = \"%s\"; rules = ( { type = \"PathContains\"; match = \"x.deb\"; policy = \"NoCache\"; } );", placed[i].how);
		set = parse(text);
		is_str(str_c(plan_of(set, "http://o/x.deb", NULL).rule), str_c(placed[i].rule), "include_defaults = %s: which comes first", placed[i].how);
		is_int(plan_of(set, "http://o/y.deb", NULL).policy, i < 2 ? POLICY_StaleIfError : POLICY_Standard, "and whether they are there");
		ruleset_free(&set);
	}
	set = parse("");
	is_int(plan_of(set, "http://o/y.deb", NULL).policy, POLICY_StaleIfError, "an empty file is the built-in rules");
	ruleset_free(&set);
	set = parse(keys);
	for (unsigned i = 0; i < N(keyed); i++) {
		p = plan_of(set, keyed[i].url, NULL);
		is_str(p.key_url, str_c(keyed[i].key), "the key of %s", keyed[i].url);
		is_str(str_upto(p.id, strlen(keyed[i].id)), str_c(keyed[i].id), "its id");
		struct str key, id, vary_id;
		struct url url;
		url_parse(&a, str_c(keyed[i].url), &url);
		ruleset_keys(set, &url, &a, &key, &id, &vary_id);
		ok(str_eq(key, p.key_url) && str_eq(id, p.id) && str_eq(vary_id, p.vary_id), "the same without a request");
	}
	ruleset_free(&set);

	for (unsigned i = 0; i < N(bad); i++) {
		set = rulefile_parse("f", str_c(bad[i].text), POLICY_Standard, problem);
		ok(set == NULL, "refused: %s", strpbrk(bad[i].text, "\n") ? "(see below)" : bad[i].text);
		is_str(str_c(problem), str_c(bad[i].problem), "what is said of it");
		ruleset_free(&set);
	}
	set = rulefile_parse("f", (struct str){ "a\0b", 3 }, POLICY_Standard, problem);
	ok(!set && strcmp(problem, "f: must be text, and has a NUL byte") == 0, "no text");

	set = parse("refresh_patterns = ( { match = \"^http://r/\"; min = 100; percent = 20; max = 900; }, { match = \"^http://s/\"; min = 50; },\n"
	            "{ match = \"^http://(s|n)/\"; min = 70; ignore_no_store = true; } );");
	for (unsigned i = 0; i < N(lives); i++) {
		const struct judge_options o = { .heuristic_percent = 10, .heuristic_max_s = 86400, .shared = true };
		int64_t now = 1700000000;
		struct facts x = { .set_cookie = false };
		bool is_explicit;
		cc_init(&x.cc);
		cc_add(&x.cc, str_c(lives[i].cc));
		char date[64];
		time_t t = (time_t)(now - lives[i].modified_ago);
		struct tm tm;
		strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&t, &tm));
		if (lives[i].modified_ago >= 0)
			x.last_modified = str_c(date);
		p = plan_of(set, lives[i].url, NULL);
		facts_rule(&x, &p);
		is_int(freshness_lifetime(&o, lives[i].status, &x, now, now, &is_explicit), lives[i].lifetime, "5.3: %s", lives[i].why);
	}
	static const struct { const char *url; bool stored; } forbidden[] = { { "http://r/a", false }, { "http://s/a", false }, { "http://n/a", true }, { "http://t/a", false } };
	for (unsigned i = 0; i < N(forbidden); i++) {
		const struct judge_options o = { .heuristic_percent = 10, .heuristic_max_s = 86400, .shared = true };
		struct http_request req = { .method = METHOD_GET, .method_name = STR("GET") };
		struct http_response resp = { .status = 200, .major = 1, .minor = 1 };
		struct meta m;
		headers_init(&req.headers, &a);
		headers_init(&resp.headers, &a);
		headers_add(&resp.headers, STR("Cache-Control"), STR("no-store, no-cache, private"));
		url_parse(&a, str_c(forbidden[i].url), &req.url);
		p = plan_of(set, forbidden[i].url, NULL);
		is_int(judge_response(&o, &p, &req, NULL, &resp, 1700000000000) == OUTCOME_STORE, forbidden[i].stored, "no-store is ignored only where the file says so: %s", forbidden[i].url);
		if (!forbidden[i].stored)
			continue;
		judge_meta(&o, &p, &req, &resp, 1700000000000, 1700000000000, &a, &m);
		is_int(judge_stored(&o, &p, &req, &m, 1700000060000, false).verdict, VERDICT_HIT, "and then it is a hit");
		is_int(judge_stored(&o, &p, &req, &m, 1700000080000, false).verdict == VERDICT_HIT, false, "as long as the pattern says");
		p.refresh = NULL;
		is_int(judge_stored(&o, &p, &req, &m, 1700000060000, false).verdict == VERDICT_HIT, false, "and while the pattern is there");
	}
	ruleset_free(&set);

	/* A block list of twenty thousand domains costs what one does. */
	char *big = malloc(1 << 20), *w = big;
	w += snprintf(w, 128, "rules = ( { type = \"HostSuffix\"; policy = \"NoCache\"; match = [ \"last.example\"");
	for (unsigned i = 0; i < 20000; i++)
		w += snprintf(w, 64, ", \"d%u.x%u.test\"", i, i % 7);
	snprintf(w, 64, " ]; } );");
	set = parse(big);
	is_int(plan_of(set, "http://www.d19999.x0.test/", NULL).policy, POLICY_NoCache, "twenty thousand domains: found");
	is_int(plan_of(set, "http://d20001.x0.test/", NULL).policy, POLICY_Standard, "or not");
	int64_t start = clock_mono();
	for (unsigned i = 0; i < 2000; i++)
		plan_of(set, "http://a.b.c.example.net/", NULL);
	note("a plan with them: %lld ns", (long long)(clock_mono() - start) * 500);
	ruleset_free(&set);
	free(big);
	arena_fini(&a);
	return done_testing();
}
