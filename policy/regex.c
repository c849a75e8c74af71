/* regex.c - see regex.h */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "regex.h"
#include <pcre2.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* What one match may cost: some hundred times what a sane pattern needs on the longest URL that we take (16 KiB), and still only
 * milliseconds. A pattern that needs more does not match. PCRE2 counts anew at each place where a match may begin but gives up
 * altogether at the limit, so the worst that a pattern can be made for stays below it everywhere: a second, measured. */
#define MATCH_LIMIT 100000
#define HEAP_KIB 16384       /* the interpreter's memory for as many frames as that */
#define GROUPS_MAX 32        /* groups that a template may refer to */
#define REPLACED_MAX 65536   /* four times the longest URL: a template cannot make memory go */

struct regex {
	pcre2_code *code;
	bool jit;
	uint32_t groups;
};

static pcre2_match_context *limits;
static pthread_once_t limits_once = PTHREAD_ONCE_INIT;

/* PCRE2 needs a place for offsets that no two matches share: one a thread, freed with it. */
static pthread_key_t scratch_key;
static void scratch_free(void *p) { pcre2_match_data_free(p); }

static void
init(void)
{
	limits = pcre2_match_context_create(NULL);
	if (limits)
		pcre2_set_match_limit(limits, MATCH_LIMIT), pcre2_set_heap_limit(limits, HEAP_KIB);
	pthread_key_create(&scratch_key, scratch_free);
}

static pcre2_match_data *
scratch(void)
{
	static _Thread_local pcre2_match_data *mine;
	if (!mine) {
		mine = pcre2_match_data_create(GROUPS_MAX + 1, NULL);
		pthread_setspecific(scratch_key, mine);
	}
	return mine;
}

struct regex *
regex_new(struct str pattern, char *problem, size_t size)
{
	PCRE2_UCHAR text[128];
	PCRE2_SIZE at;
	int err;
	struct regex r = { .jit = false };
	pthread_once(&limits_once, init);
	if (!limits) {
		snprintf(problem, size, "no memory for regular expressions");
		return NULL;
	}
	r.code = pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n, PCRE2_CASELESS | PCRE2_NEVER_BACKSLASH_C, &err, &at, NULL);
	if (!r.code) {
		pcre2_get_error_message(err, text, sizeof(text));
		snprintf(problem, size, "%s at offset %zu", (char *)text, (size_t)at);
		return NULL;
	}
	r.jit = pcre2_jit_compile(r.code, PCRE2_JIT_COMPLETE) == 0; /* not on every machine: then it is interpreted */
	pcre2_pattern_info(r.code, PCRE2_INFO_CAPTURECOUNT, &r.groups);
	struct regex *out = xmalloc(sizeof(*out));
	*out = r;
	return out;
}

void
regex_free(struct regex **rp)
{
	struct regex *r = *rp;
	*rp = NULL;
	if (!r)
		return;
	pcre2_code_free(r->code);
	free(r);
}

bool
regex_search(const struct regex *x, struct str s)
{
	pcre2_match_data *m = scratch();
	int r = PCRE2_ERROR_JIT_STACKLIMIT;
	if (!m)
		return false;
	if (x->jit)
		r = pcre2_jit_match(x->code, (PCRE2_SPTR)(s.n ? s.p : ""), s.n, 0, 0, m, limits);
	if (r == PCRE2_ERROR_JIT_STACKLIMIT) /* a long URL and many alternatives: the interpreter has its frames on the heap */
		r = pcre2_match(x->code, (PCRE2_SPTR)(s.n ? s.p : ""), s.n, 0, PCRE2_NO_JIT, m, limits);
	return r >= 0; /* at a limit: no match */
}

static bool
is_name(char c)
{
	return c == '_' || (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
}

bool
regex_template_check(const struct regex *x, struct str with, char *problem, size_t size)
{
	if (x->groups > GROUPS_MAX) {
		snprintf(problem, size, "has %u groups: at most %u are possible; (?:...) does not count", (unsigned)x->groups, GROUPS_MAX);
		return false;
	}
	for (size_t i = 0; i < with.n; i++) {
		char name[33];
		size_t from, n;
		uint64_t group;
		if (with.p[i] != '$')
			continue;
		if (++i < with.n && with.p[i] == '$')
			continue;
		bool braces = i < with.n && with.p[i] == '{';
		for (from = i += braces; i < with.n && is_name(with.p[i]); i++)
			;
		n = i - from;
		if (!n || n >= sizeof(name) || (braces && (i == with.n || with.p[i] != '}'))) {
			snprintf(problem, size, "has a $ that is none of $0 to $%u, ${name} and $$ (a dollar sign)", (unsigned)x->groups);
			return false;
		}
		memcpy(name, with.p + from, n);
		name[n] = 0;
		bool number = name[0] >= '0' && name[0] <= '9';
		if (number ? !str_u64(str_c(name), x->groups, &group) : pcre2_substring_number_from_name(x->code, (PCRE2_SPTR)name) < 0) {
			snprintf(problem, size, "refers to $%s, which the pattern does not have: it has $0 to $%u", name, (unsigned)x->groups);
			return false;
		}
		i -= !braces;
	}
	return true;
}

struct str
regex_replace(const struct regex *x, struct str s, struct str with, struct arena *a)
{
	const uint32_t how = PCRE2_SUBSTITUTE_UNSET_EMPTY | PCRE2_SUBSTITUTE_OVERFLOW_LENGTH;
	pcre2_match_data *m = scratch();
	PCRE2_SIZE room = s.n + with.n + 64;
	if (!m || !regex_search(x, s)) /* most rules do not match: they cost no memory */
		return STR_NONE;
	for (uint32_t no_jit = 0, tries = 0; tries < 3; tries++) {
		if (room > REPLACED_MAX)
			return STR_NONE;
		PCRE2_SIZE n = room;
		char *out = arena_alloc(a, room);
		int r = pcre2_substitute(x->code, (PCRE2_SPTR)(s.n ? s.p : ""), s.n, 0, how | no_jit, m, limits, (PCRE2_SPTR)(with.n ? with.p : ""), with.n,
		                         (PCRE2_UCHAR *)out, &n);
		if (r > 0)
			return n ? (struct str){ out, n } : STR_NONE;
		if (r == PCRE2_ERROR_JIT_STACKLIMIT)
			no_jit = PCRE2_NO_JIT;
		else if (r == PCRE2_ERROR_NOMEMORY)
			room = n;
		else
			return STR_NONE;
	}
	return STR_NONE;
}
