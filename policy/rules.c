/* rules.c - see rules.h. Runs on every request: the URL is lower-cased once, all texts were lower-cased when the set was made, host
 * suffixes are found by one sorted lookup for all their rules, and a regular expression runs as machine code. */
#include "rules.h"
#include "hostsuffix.h"
#include "key.h"
#include "luafile.h"
#include "../common/netrange.h"
#include "regex.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define LOWER_STACK 1024 /* URLs up to this length are lower-cased on the stack */

struct compiled {
	enum rule_kind kind;
	struct str text, other;    /* lower case */
	struct regex *regex;
	struct netrange range;     /* Client */
	unsigned call;             /* Callable */
	bool with_scheme;          /* PathContains: "https://h.example/x" */
};
struct policy_rule {
	struct compiled when;
	enum policy policy;
	int64_t forced_swr_s, connect_timeout_ms, read_timeout_ms;
	struct transfer_limits limits;
	unsigned run_end;          /* HostSuffix: the first rule behind it that is none */
	const char *label;         /* "Suffix .deb": for the log and "passsage explain" */
};
struct keying {
	struct compiled when;
	struct regex *pattern;     /* what is replaced; NULL: what "when" matches by */
	struct str rewrite;
};
struct refreshing { struct regex *regex; struct refresh refresh; };
struct ruleset {
	struct policy_rule *rules;
	struct keying *keys;
	struct refreshing *refresh;
	unsigned rules_n, keys_n, refresh_n;
	struct host_suffixes *suffixes; /* of all HostSuffix rules: suffix to rule */
	struct host_suffixes *signed_at; /* signed_hosts: domain to row */
	enum policy otherwise;
	struct luafile *program;        /* NULL none */
	bool match_query;
};

static const char *const kinds[] = {
#define X(k) [RULE_##k] = #k,
	RULE_KINDS(X)
#undef X
};

static struct str
copy_of(struct str s, bool lower)
{
	char *p = xmalloc(s.n + 1);
	for (size_t i = 0; i < s.n; i++)
		p[i] = lower ? ascii_lower(s.p[i]) : s.p[i];
	p[s.n] = 0;
	return (struct str){ p, s.n };
}

/* --- making a set ------------------------------------------------------------------------------------------------------ */

/* A search is not anchored, so a leading .* changes nothing but the cost: without it PCRE2 can skip to the first literal. (What is to be
 * replaced is another thing.) */
static struct str
searched(struct str pattern)
{
	bool needless = str_starts(pattern, STR(".*")) && pattern.n > 2 && !strchr("?+*{", pattern.p[2]) && !memchr(pattern.p, '|', pattern.n) &&
	                !memchr(pattern.p, '(', pattern.n);
	return needless ? str_from(pattern, 2) : pattern;
}

static struct regex *
compile_regex(const char *what, const char *text, bool search_only, char problem[RULE_PROBLEM])
{
	char why[RULE_PROBLEM / 2];
	struct regex *r = regex_new(search_only ? searched(str_c(text)) : str_c(text), why, sizeof(why));
	if (!r)
		snprintf(problem, RULE_PROBLEM, "%s %.100s: %s", what, text, why);
	return r;
}

static bool
compile(struct compiled *c, enum rule_kind kind, const char *text, const char *other, bool search_only, char problem[RULE_PROBLEM])
{
	c->kind = kind;
	c->text = copy_of(str_c(text), kind != RULE_Method); /* methods are case-sensitive (RFC 9110 9.1) */
	if (other)
		c->other = copy_of(str_c(other), true);
	c->with_scheme = strstr(text, "://") != NULL;
	if (kind == RULE_Regex || kind == RULE_HeaderMatches)
		return (c->regex = compile_regex(kinds[kind], text, search_only, problem)) != NULL;
	if (kind == RULE_Callable) {
		uint64_t number = 0;
		str_u64(str_c(text), UINT32_MAX, &number);
		c->call = LUAFILE_CALLABLE + (unsigned)number;
	}
	if (kind == RULE_Client && !netrange_parse(str_c(text), &c->range)) {
		snprintf(problem, RULE_PROBLEM, "Client %.100s: must be an address or a range of them, such as 10.1.0.0/16 or 2001:db8::/32", text);
		return false;
	}
	return true;
}

static void
compiled_fini(struct compiled *c)
{
	free((char *)(uintptr_t)c->text.p);
	free((char *)(uintptr_t)c->other.p);
	regex_free(&c->regex);
}

/* The order in which rules are asked: Prefix rules first, the longest first, equal ones as listed; then the others as listed (3.2). */
struct place { unsigned from; size_t length; bool prefix; };

static int
place_cmp(const void *x, const void *y)
{
	const struct place *a = x, *b = y;
	if (a->prefix != b->prefix)
		return a->prefix ? -1 : 1;
	if (a->prefix && a->length != b->length)
		return a->length > b->length ? -1 : 1;
	return a->from < b->from ? -1 : 1;
}

#define ORDER(v, n) ({ \
	struct place *places_ = xcalloc((n) + 1, sizeof(*places_)); \
	for (unsigned i_ = 0; i_ < (n); i_++) \
		places_[i_] = (struct place){ i_, strlen((v)[i_].text), (v)[i_].kind == RULE_Prefix }; \
	qsort(places_, (n), sizeof(*places_), place_cmp); \
	places_; })

static bool
make_rule(struct policy_rule *r, const struct rule *from, char problem[RULE_PROBLEM])
{
	bool header = from->kind >= RULE_HeaderEquals && from->kind <= RULE_HeaderMatches;
	size_t label = strlen(from->text) + (from->other ? strlen(from->other) : 0) + 32;
	r->policy = from->policy;
	r->forced_swr_s = from->forced_swr_s;
	r->connect_timeout_ms = from->connect_timeout_ms;
	r->read_timeout_ms = from->read_timeout_ms;
	r->limits = from->limits;
	char *words = xmalloc(label);
	r->label = words;
	snprintf(words, label, "%s %s%s%s", kinds[from->kind], header ? from->other : "", header ? " " : "", from->text);
	return compile(&r->when, from->kind, from->text, from->other, true, problem);
}

static bool
make_key(struct keying *k, const struct key_rule *from, char problem[RULE_PROBLEM])
{
	char why[RULE_PROBLEM / 2];
	if (!compile(&k->when, from->kind, from->text, NULL, false, problem))
		return false;
	if (from->kind == RULE_Callable)
		return true;
	k->rewrite = copy_of(str_c(from->rewrite), false);
	if ((from->pattern || from->kind != RULE_Regex) &&
	    !(k->pattern = compile_regex("pattern", from->pattern ? from->pattern : "^.*$", false, problem)))
		return false;
	if (regex_template_check(k->pattern ? k->pattern : k->when.regex, k->rewrite, why, sizeof(why)))
		return true;
	snprintf(problem, RULE_PROBLEM, "rewrite %.100s: %s", from->rewrite, why);
	return false;
}

struct ruleset *
ruleset_make(const struct rule_lists *lists, char problem[RULE_PROBLEM], int *line)
{
	struct ruleset *set = xcalloc(1, sizeof(*set));
	struct place *order = ORDER(lists->rules, lists->rules_n);
	set->otherwise = lists->otherwise;
	set->rules = xcalloc(lists->rules_n + 1, sizeof(*set->rules));
	set->keys = xcalloc(lists->keys_n + 1, sizeof(*set->keys));
	set->refresh = xcalloc(lists->refresh_n + 1, sizeof(*set->refresh));
	problem[0] = 0;
	bool good = true;
	for (unsigned i = 0; good && i < lists->rules_n; i++) {
		*line = lists->rules[order[i].from].line;
		set->rules_n++;
		good = make_rule(&set->rules[i], &lists->rules[order[i].from], problem);
	}
	free(order);
	order = ORDER(lists->keys, lists->keys_n);
	for (unsigned i = 0; good && i < lists->keys_n; i++) {
		*line = lists->keys[order[i].from].line;
		set->keys_n++;
		good = make_key(&set->keys[i], &lists->keys[order[i].from], problem);
	}
	free(order);
	for (unsigned i = 0; good && i < lists->refresh_n; i++) {
		*line = lists->refresh[i].line;
		set->refresh_n++;
		set->refresh[i].refresh = lists->refresh[i].refresh;
		set->refresh[i].regex = compile_regex("refresh pattern", lists->refresh[i].text, true, problem);
		good = set->refresh[i].regex != NULL;
	}
	if (!good) {
		ruleset_free(&set);
		return NULL;
	}
	set->suffixes = host_suffixes_new(set->rules_n);
	for (unsigned i = 0; i < set->rules_n; i++)
		if (set->rules[i].when.kind == RULE_HostSuffix)
			host_suffixes_add(set->suffixes, set->rules[i].when.text, i);
	host_suffixes_sort(set->suffixes);
	set->program = lists->program;
	set->signed_at = host_suffixes_new(signed_hosts_n);
	for (unsigned i = 0; i < signed_hosts_n; i++)
		host_suffixes_add(set->signed_at, str_c(signed_hosts[i].domain), i);
	host_suffixes_sort(set->signed_at);
	for (unsigned i = set->rules_n; i-- > 0;)
		set->rules[i].run_end = i + 1 < set->rules_n && set->rules[i + 1].when.kind == RULE_HostSuffix ? set->rules[i + 1].run_end : i + 1;
	return set;
}

struct ruleset *
ruleset_new(const struct rule *rules, unsigned n, enum policy otherwise, char problem[RULE_PROBLEM])
{
	const struct rule_lists lists = { .rules = rules, .rules_n = n, .otherwise = otherwise };
	int line;
	return ruleset_make(&lists, problem, &line);
}

void
ruleset_match_query(struct ruleset *set, bool on)
{
	set->match_query = on;
}

void
ruleset_free(struct ruleset **setp)
{
	struct ruleset *set = *setp;
	*setp = NULL;
	if (!set)
		return;
	for (unsigned i = 0; i < set->rules_n; i++) {
		compiled_fini(&set->rules[i].when);
		free((char *)(uintptr_t)set->rules[i].label);
	}
	for (unsigned i = 0; i < set->keys_n; i++) {
		compiled_fini(&set->keys[i].when);
		regex_free(&set->keys[i].pattern);
		free((char *)(uintptr_t)set->keys[i].rewrite.p);
	}
	for (unsigned i = 0; i < set->refresh_n; i++)
		regex_free(&set->refresh[i].regex);
	host_suffixes_free(&set->suffixes);
	luafile_free(&set->program);
	host_suffixes_free(&set->signed_at);
	free(set->rules);
	free(set->keys);
	free(set->refresh);
	free(set);
}

/* --- asking it --------------------------------------------------------------------------------------------------------- */

struct view {                      /* what rules see */
	const struct url *url;
	const struct http_request *req; /* NULL: keys, which are the URL's alone */
	struct str text, host;         /* lower case */
	struct str path;               /* the URL up to its query: what Suffix rules see; all of it by ruleset_match_query */
	size_t authority, path_at;     /* where they begin in it; 0 by ruleset_match_query */
};

static struct str
lower_into(char *stack, size_t room, struct arena *a, struct str s)
{
	char *p = s.n <= room ? stack : arena_alloc(a, s.n);
	for (size_t i = 0; i < s.n; i++)
		p[i] = ascii_lower(s.p[i]);
	return (struct str){ p, s.n };
}

static bool
contains(struct str s, struct str part)
{
	return memmem(s.p, s.n, part.p, part.n) != NULL;
}

/* In the path, or across its border with the host, so that "h.example/simple" may be said: the last byte of what is found is the path's. */
static bool
path_contains(const struct view *v, const struct compiled *c)
{
	size_t lowest = c->with_scheme ? 0 : v->authority, from = v->path_at >= lowest + c->text.n ? v->path_at - c->text.n + 1 : lowest;
	return contains(str_from(v->path, from), c->text);
}

/* Any of the field's lines. */
static bool
header_matches(const struct compiled *c, const struct headers *h)
{
	for (unsigned i = 0; i < h->n; i++) {
		const struct field *f = &h->v[i];
		if (f->name.n != c->other.n || !str_caseeq(f->name, c->other))
			continue;
		if (c->kind == RULE_HeaderEquals ? str_caseeq(f->value, c->text) : c->kind == RULE_HeaderContains ? str_casehas(f->value, c->text)
		    : regex_search(c->regex, f->value))
			return true;
	}
	return false;
}

static bool
matches(const struct compiled *c, const struct view *v)
{
	switch (c->kind) {
	case RULE_Prefix:       return str_starts(v->text, c->text);
	case RULE_Suffix:       return str_ends(v->path, c->text);
	case RULE_SuffixQuery:  return str_ends(v->text, c->text);
	case RULE_HostPrefix:   return str_starts(v->host, c->text);
	case RULE_HostContains: return contains(v->host, c->text) && !(c->other.p && contains(v->host, c->other));
	case RULE_HostSuffix:   break; /* first_match() */
	case RULE_PathContains: return path_contains(v, c);
	case RULE_UrlContains:  return contains(v->text, c->text);
	case RULE_Regex:        return regex_search(c->regex, v->url->text);
	case RULE_Method:       return v->req && str_eq(v->req->method_name, c->text);
	case RULE_HeaderEquals:
	case RULE_HeaderContains:
	case RULE_HeaderMatches: return v->req && header_matches(c, &v->req->headers);
	case RULE_Client:       return v->req && netrange_has(&c->range, &v->req->client);
	case RULE_Callable:     break; /* answered() */
	case RULE_KIND_MAX:     break;
	}
	return false;
}

static const struct policy_rule failed = { .label = "default, for the program failed" };

/* The program's word, if it has one. When it fails, further rules are not asked: they may have been made to come behind its exceptions. */
static const struct policy_rule *
answered(const struct ruleset *set, unsigned call, const struct policy_rule *as, const struct view *v, struct plan *plan)
{
	switch (luafile_policy(set->program, call, v->req, plan)) {
	case LUAFILE_SAYS: return as;
	case LUAFILE_FAILS: return &failed;
	case LUAFILE_SILENT: break;
	}
	return NULL;
}

static const struct policy_rule *
first_match(const struct ruleset *set, const struct view *v, struct plan *plan)
{
	const struct policy_rule *called;
	unsigned suffix = host_suffixes_find(set->suffixes, v->host); /* the first HostSuffix rule that matches */
	for (unsigned i = 0; i < set->rules_n; i++) {
		const struct policy_rule *r = &set->rules[i];
		if (r->when.kind == RULE_Callable) {
			if ((called = answered(set, r->when.call, r, v, plan)))
				return called;
		} else if (r->when.kind != RULE_HostSuffix) {
			if (matches(&r->when, v))
				return r;
		} else if (suffix < r->run_end) {
			return &set->rules[suffix]; /* not before i, or it would have been returned there */
		} else {
			i = r->run_end - 1; /* however many there are */
		}
	}
	return NULL;
}

/* The rule that decides, or NULL; what it says is put into the plan. */
static const struct policy_rule *
decide(const struct ruleset *set, const struct view *v, struct plan *plan)
{
	static const struct policy_rule resolver = { .label = "resolver" };
	const struct policy_rule *r = set->program ? answered(set, LUAFILE_RESOLVER, &resolver, v, plan) : NULL;
	if (r || !(r = first_match(set, v, plan)) || r == &failed || r->when.kind == RULE_Callable)
		return r;
	plan->policy = r->policy;
	plan->connect_timeout_ms = r->connect_timeout_ms;
	plan->read_timeout_ms = r->read_timeout_ms;
	plan->limits = r->limits;
	plan->forced_swr_s = r->forced_swr_s;
	return r;
}

static struct str
rewritten(const struct ruleset *set, const struct view *v, struct arena *a)
{
	struct str said;
	if (set->program && luafile_key(set->program, LUAFILE_CACHE_KEY, v->req, a, &said) != LUAFILE_SILENT)
		return said;
	for (const struct keying *k = set->keys; k < set->keys + set->keys_n; k++) {
		if (k->when.kind == RULE_Callable) {
			if (luafile_key(set->program, k->when.call, v->req, a, &said) != LUAFILE_SILENT)
				return said;
			continue;
		}
		/* regex_replace searches itself */
		if (!(k->when.kind == RULE_Regex && !k->pattern) && !matches(&k->when, v))
			continue;
		struct str key = regex_replace(k->pattern ? k->pattern : k->when.regex, v->url->text, k->rewrite, a);
		if (key.n)
			return key;
	}
	return STR_NONE;
}

/* What signs at this host alone. */
static const char *const *
signed_here(const struct ruleset *set, const struct view *v)
{
	unsigned row = v->url->query.p ? host_suffixes_find(set->signed_at, v->host) : UINT_MAX;
	return row < signed_hosts_n ? signed_hosts[row].names : NULL;
}

/* A key that is a URL makes an id below its own host, so that mirrors of one thing can share it. */
static void
keys(const struct ruleset *set, const struct view *v, struct arena *a, struct str *key_url, struct str *id, struct str *vary_id)
{
	struct str key = set->keys_n || set->program ? rewritten(set, v, a) : STR_NONE;
	struct url own;
	*key_url = key.n ? key : key_normalise_more(a, v->url->text, signed_here(set, v));
	key_ids(a, key.n && url_parse(a, key, &own) == 0 ? &own : v->url, *key_url, id, vary_id);
}

static struct view
view_of(const struct ruleset *set, const struct url *url, char text[LOWER_STACK], char host[256], struct arena *a)
{
	struct view v = { .url = url, .text = lower_into(text, LOWER_STACK, a, url->text), .host = lower_into(host, 256, a, url->host) };
	v.path = v.text;
	if (set->match_query)
		return v;
	if (url->query.p && v.path.n > url->query.n)
		v.path.n -= url->query.n + 1;
	v.path_at = v.path.n > url->path.n ? v.path.n - url->path.n : 0;
	v.authority = url->scheme.n + 3 < v.path_at ? url->scheme.n + 3 : v.path_at;
	return v;
}

void
ruleset_keys(const struct ruleset *set, const struct url *url, struct arena *a, struct str *key_url, struct str *id, struct str *vary_id)
{
	char text[LOWER_STACK], host[256];
	struct view v = view_of(set, url, text, host, a);
	const struct http_request get = { .method = METHOD_GET, .method_name = STR("GET"), .url = *url };
	if (set->program) /* which sees requests; key rules of files are the URL's alone */
		v.req = &get;
	keys(set, &v, a, key_url, id, vary_id);
}

bool ruleset_rewrites(const struct ruleset *set) { return set->keys_n > 0 || set->program != NULL; }

void
ruleset_plan(const struct ruleset *set, const struct http_request *req, struct str header, struct arena *a, struct plan *plan)
{
	char text[LOWER_STACK], host[256];
	struct view v = view_of(set, &req->url, text, host, a);
	const struct policy_rule *r;
	v.req = req;
	*plan = (struct plan){ .policy = set->otherwise, .rule = "default", .connect_timeout_ms = -1, .read_timeout_ms = -1,
	                       .forced_swr_s = -1 };
	if (header.p && policy_parse(header, &plan->policy)) {
		plan->rule = "header"; /* it stands for itself: times of rules do not apply (3.6) */
	} else if ((r = decide(set, &v, plan))) {
		plan->rule = r->label;
	}
	for (unsigned i = 0; i < set->refresh_n && !plan->refresh; i++)
		if (regex_search(set->refresh[i].regex, req->url.text))
			plan->refresh = &set->refresh[i].refresh;
	keys(set, &v, a, &plan->key_url, &plan->id, &plan->vary_id);
}
