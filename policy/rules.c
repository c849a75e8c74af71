/* rules.c - from a request to its policy. Runs on every request: the URL is lower-cased once, all texts were lower-cased when the
 * set was made, and a regular expression runs as machine code (PCRE2 JIT). */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "rules.h"
#include "key.h"
#include <pcre2.h>
#include <pthread.h>

/* What one match may cost: some hundred times what a sane pattern needs on the longest URL that we take (16 KiB),
 * and still only milliseconds. A pattern that needs more does not match. */
#define REGEX_MATCH_LIMIT 100000
#define REGEX_HEAP_KIB 16384 /* the interpreter's memory for as many frames as that */
#define LOWER_STACK 1024 /* URLs up to this length are lower-cased on the stack */

struct compiled {
	enum rule_kind kind;
	struct str text, exclude;  /* lower case */
	pcre2_code *code;
	bool jit;
	const struct rule *rule;   /* policy and times, our own copy */
	char *label;               /* "Suffix .deb": for the log and "passsage explain" */
};
struct ruleset {
	unsigned n;
	enum policy otherwise;
	struct rule *rules;
	struct compiled *v;
	pcre2_match_context *limits;
};

static const char *const kinds[] = { "Prefix", "Suffix", "HostPrefix", "HostContains", "PathContains", "Regex" };

static struct str
lower_copy(const char *z)
{
	struct str s = str_c(z);
	char *p = xmalloc(s.n + 1);
	for (size_t i = 0; i < s.n; i++)
		p[i] = ascii_lower(s.p[i]);
	p[s.n] = 0;
	return (struct str){ p, s.n };
}

static bool
compile(struct compiled *c, char problem[256])
{
	struct str pattern = str_c(c->rule->text);
	PCRE2_UCHAR text[128];
	PCRE2_SIZE at;
	int err;
	/* A search is not anchored, so a leading .* changes nothing but the cost: without it PCRE2 can skip to the first literal. */
	if (str_starts(pattern, STR(".*")) && pattern.n > 2 && !strchr("?+*{", pattern.p[2]) && !memchr(pattern.p, '|', pattern.n))
		pattern = str_from(pattern, 2);
	c->code = pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n, PCRE2_CASELESS | PCRE2_NEVER_BACKSLASH_C, &err, &at, NULL);
	if (!c->code) {
		pcre2_get_error_message(err, text, sizeof(text));
		snprintf(problem, 256, "Regex %.100s: %s at offset %zu", c->rule->text, (char *)text, (size_t)at);
		return false;
	}
	c->jit = pcre2_jit_compile(c->code, PCRE2_JIT_COMPLETE) == 0; /* not on every machine: then it is interpreted */
	return true;
}

struct ruleset *
ruleset_new(const struct rule *rules, unsigned n, enum policy otherwise, char problem[256])
{
	struct ruleset *set = xcalloc(1, sizeof(*set));
	set->n = n;
	set->otherwise = otherwise;
	set->v = xcalloc(n + 1, sizeof(*set->v));
	set->rules = xcalloc(n + 1, sizeof(*set->rules));
	set->limits = pcre2_match_context_create(NULL);
	if (set->limits)
		pcre2_set_match_limit(set->limits, REGEX_MATCH_LIMIT), pcre2_set_heap_limit(set->limits, REGEX_HEAP_KIB);
	problem[0] = 0;

	/* Prefix rules first, the longest first, equal ones as listed; then the others as listed (3.2). */
	unsigned k = 0, prefixes;
	for (unsigned i = 0; i < n; i++) {
		if (rules[i].kind != RULE_Prefix)
			continue;
		unsigned at = k++;
		for (; at > 0 && strlen(set->rules[at - 1].text) < strlen(rules[i].text); at--)
			set->rules[at] = set->rules[at - 1];
		set->rules[at] = rules[i];
	}
	prefixes = k;
	for (unsigned i = 0; i < n; i++)
		if (rules[i].kind != RULE_Prefix)
			set->rules[k++] = rules[i];
	for (unsigned i = 0; i < n; i++) {
		struct compiled *c = &set->v[i];
		size_t label = strlen(set->rules[i].text) + 32;
		c->kind = i < prefixes ? RULE_Prefix : set->rules[i].kind;
		c->rule = &set->rules[i];
		c->text = lower_copy(c->rule->text);
		if (c->rule->exclude)
			c->exclude = lower_copy(c->rule->exclude);
		c->label = xmalloc(label);
		snprintf(c->label, label, "%s %s", kinds[c->kind], c->rule->text);
		if (!set->limits)
			snprintf(problem, 256, "no memory for regular expressions");
		else if (c->kind == RULE_Regex)
			compile(c, problem);
		if (problem[0]) {
			ruleset_free(&set);
			return NULL;
		}
	}
	return set;
}

void
ruleset_free(struct ruleset **setp)
{
	struct ruleset *set = *setp;
	*setp = NULL;
	if (!set)
		return;
	for (unsigned i = 0; i < set->n; i++) {
		free((char *)set->v[i].text.p);
		free((char *)set->v[i].exclude.p);
		free(set->v[i].label);
		pcre2_code_free(set->v[i].code);
	}
	pcre2_match_context_free(set->limits);
	free(set->v);
	free(set->rules);
	free(set);
}

/* PCRE2 needs a place for offsets that no two matches share: one a thread, freed with it. */
static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static void scratch_free(void *p) { pcre2_match_data_free(p); }
static void scratch_init(void) { pthread_key_create(&scratch_key, scratch_free); }

static pcre2_match_data *
scratch(void)
{
	static _Thread_local pcre2_match_data *mine;
	if (!mine) {
		pthread_once(&scratch_once, scratch_init);
		mine = pcre2_match_data_create(1, NULL);
		pthread_setspecific(scratch_key, mine);
	}
	return mine;
}

static bool
regex(const struct ruleset *set, const struct compiled *c, struct str url)
{
	pcre2_match_data *m = scratch();
	int r = PCRE2_ERROR_JIT_STACKLIMIT;
	if (!m)
		return false;
	if (c->jit)
		r = pcre2_jit_match(c->code, (PCRE2_SPTR)url.p, url.n, 0, 0, m, set->limits);
	if (r == PCRE2_ERROR_JIT_STACKLIMIT) /* a long URL and many alternatives: the interpreter has its frames on the heap */
		r = pcre2_match(c->code, (PCRE2_SPTR)url.p, url.n, 0, PCRE2_NO_JIT, m, set->limits);
	return r >= 0; /* at a limit: no match */
}

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

static const struct compiled *
match(const struct ruleset *set, const struct url *url, struct arena *a)
{
	char url_stack[LOWER_STACK], host_stack[256];
	struct str text = lower_into(url_stack, sizeof(url_stack), a, url->text);
	struct str host = lower_into(host_stack, sizeof(host_stack), a, url->host);
	/* Suffix rules see the path's end, whatever query follows. */
	struct str path = text;
	if (url->query.p && path.n > url->query.n)
		path.n -= url->query.n + 1;

	for (const struct compiled *c = set->v; c < set->v + set->n; c++) {
		bool yes = false;
		switch (c->kind) {
		case RULE_Prefix:       yes = str_starts(text, c->text); break;
		case RULE_Suffix:       yes = str_ends(path, c->text); break;
		case RULE_HostPrefix:   yes = str_starts(host, c->text); break;
		case RULE_HostContains: yes = contains(host, c->text) && !(c->exclude.p && contains(host, c->exclude)); break;
		case RULE_PathContains: yes = contains(text, c->text); break;
		case RULE_Regex:        yes = regex(set, c, url->text); break;
		}
		if (yes)
			return c;
	}
	return NULL;
}

void
ruleset_plan(const struct ruleset *set, const struct http_request *req, struct str header, struct arena *a, struct plan *plan)
{
	const struct compiled *c;
	*plan = (struct plan){ .policy = set->otherwise, .rule = "default", .connect_timeout_ms = -1, .read_timeout_ms = -1,
	                       .forced_swr_s = -1 };
	if (header.p && policy_parse(header, &plan->policy)) {
		plan->rule = "header"; /* it stands for itself: times of rules do not apply (3.6) */
	} else if ((c = match(set, &req->url, a))) {
		plan->policy = c->rule->policy;
		plan->rule = c->label;
		plan->connect_timeout_ms = c->rule->connect_timeout_ms;
		plan->read_timeout_ms = c->rule->read_timeout_ms;
		plan->forced_swr_s = c->rule->forced_swr_s;
	}
	plan->key_url = key_normalise(a, req->url.text);
	key_ids(a, &req->url, plan->key_url, &plan->id, &plan->vary_id);
}
