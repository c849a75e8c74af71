/* settings_types.c - the types of settings: text to value with its bounds, and back. The same texts hold in every source. */
#include "settings_row.h"
#include <inttypes.h>
#include <limits.h>

struct settings_place settings_place;

/* Numbers with units. */

struct unit { const char *name; uint64_t factor; };

/* 1024-based whatever the spelling: "K" meant that before us (behaviour.md 8.3), and two meanings for K and KB would be a trap. */
static const struct unit size_units[] = {
	{ "", 1 }, { "b", 1 },
	{ "k", 1ULL << 10 }, { "kb", 1ULL << 10 }, { "kib", 1ULL << 10 }, { "m", 1ULL << 20 }, { "mb", 1ULL << 20 }, { "mib", 1ULL << 20 },
	{ "g", 1ULL << 30 }, { "gb", 1ULL << 30 }, { "gib", 1ULL << 30 }, { "t", 1ULL << 40 }, { "tb", 1ULL << 40 }, { "tib", 1ULL << 40 },
	{ "p", 1ULL << 50 }, { "pb", 1ULL << 50 }, { "pib", 1ULL << 50 }, { "e", 1ULL << 60 }, { "eb", 1ULL << 60 }, { "eib", 1ULL << 60 },
	{ NULL, 0 }
};
static const struct unit time_units[] = {
	{ "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 }, { NULL, 0 }
};

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* digits [ "." digits ] [ blanks ] unit. A fraction of the smallest unit is rounded up, for 0 often means "no limit". */
static bool
parse_units(const char *text, const struct unit *units, uint64_t *out)
{
	struct str s = str_trim(str_c(text)), whole = s;
	while (whole.n && !is_digit(whole.p[whole.n - 1]))
		whole.n--;
	struct str unit = str_trim(str_from(s, whole.n)), fraction = whole;
	bool dotted = str_has(whole, STR("."));
	whole = str_cut(&fraction, '.');
	uint64_t n, part = 0;
	if (!str_u64(whole, INT64_MAX, &n) || (dotted && fraction.n == 0))
		return false;
	for (size_t i = 0; i < fraction.n; i++) {
		if (!is_digit(fraction.p[i]))
			return false;
		if (i < 9) /* billionths are enough for anybody */
			part = part * 10 + (uint64_t)(fraction.p[i] - '0');
	}
	for (size_t i = fraction.n; i < 9; i++)
		part *= 10;
	for (const struct unit *u = units; u->name; u++) {
		if (!str_caseeq(unit, str_c(u->name)))
			continue;
		uint64_t more = (uint64_t)(((unsigned __int128)part * u->factor + 999999999) / 1000000000);
		if (n > INT64_MAX / u->factor || n * u->factor > (uint64_t)INT64_MAX - more)
			return false;
		*out = n * u->factor + more;
		return true;
	}
	return false;
}

static bool
parse_i64(const char *text, int64_t *out)
{
	struct str s = str_trim(str_c(text));
	bool minus = s.n && s.p[0] == '-';
	uint64_t n;
	if (!str_u64(str_from(s, minus), INT64_MAX, &n))
		return false;
	*out = minus ? -(int64_t)n : (int64_t)n;
	return true;
}

static const char *
refuse_number(const struct row *r, struct arena *a)
{
	return arena_printf(a, "must be %s", settings_allowed(r, a)).p;
}

static const char *
parse_int(const struct row *r, const char *text, void *value, struct arena *a)
{
	int64_t n, min = INT64_MIN, max = INT64_MAX;
	if (r->min)
		parse_i64(r->min, &min);
	if (r->max)
		parse_i64(r->max, &max);
	if (!parse_i64(text, &n) || n < min || n > max)
		return refuse_number(r, a);
	*(int64_t *)value = n;
	return NULL;
}

static const char *
print_int(const struct row *r, const void *value, struct arena *a)
{
	return arena_printf(a, "%" PRId64, *(const int64_t *)value).p;
}
const struct type settings_type_int = { .word = "NUMBER", .from_int = true, .parse = parse_int, .print = print_int };

static const char *
parse_port(const struct row *r, const char *text, void *value, struct arena *a)
{
	int64_t n;
	const char *wrong = parse_int(r, text, &n, a);
	if (!wrong)
		*(unsigned *)value = (unsigned)n;
	return wrong;
}

static const char *
print_port(const struct row *r, const void *value, struct arena *a)
{
	return arena_printf(a, "%u", *(const unsigned *)value).p;
}
const struct type settings_type_port = { .word = "PORT", .from_int = true, .parse = parse_port, .print = print_port };

static const char *
parse_bounded(const struct row *r, const char *text, const struct unit *units, uint64_t *out, struct arena *a)
{
	uint64_t n, min = 0, max = INT64_MAX;
	if (r->min)
		parse_units(r->min, units, &min);
	if (r->max)
		parse_units(r->max, units, &max);
	if (!parse_units(text, units, &n) || n < min || n > max)
		return refuse_number(r, a);
	*out = n;
	return NULL;
}

static const char *
parse_size(const struct row *r, const char *text, void *value, struct arena *a)
{
	return parse_bounded(r, text, size_units, value, a);
}

static const char *
print_size(const struct row *r, const void *value, struct arena *a)
{
	uint64_t n = *(const uint64_t *)value;
	unsigned i = 0;
	while (n && n % 1024 == 0 && i < 6) {
		n /= 1024;
		i++;
	}
	return arena_printf(a, "%" PRIu64 "%.*s", n, i ? 1 : 0, &"-KMGTPE"[i]).p;
}
const struct type settings_type_size = { .word = "SIZE", .quoted = true, .from_int = true, .from_float = true,
	.parse = parse_size, .print = print_size };

static const char *
parse_rest(const struct row *r, const char *text, void *value, struct arena *a)
{
	uint64_t n = 0;
	const struct str word = str_trim(str_c(text));
	if (str_caseeq(word, STR("always")))
		n = UINT64_MAX;
	else if (!str_caseeq(word, STR("never")) && !parse_units(text, size_units, &n))
		return "must be always, never, or a size such as 10G";
	*(uint64_t *)value = n;
	return NULL;
}

static const char *
print_rest(const struct row *r, const void *value, struct arena *a)
{
	uint64_t n = *(const uint64_t *)value;
	return n == UINT64_MAX ? "always" : n == 0 ? "never" : print_size(r, value, a);
}
const struct type settings_type_rest = { .word = "SIZE", .quoted = true, .from_int = true, .parse = parse_rest, .print = print_rest };

static const char *
parse_seconds(const struct row *r, const char *text, void *value, struct arena *a)
{
	uint64_t ms;
	const char *wrong = parse_bounded(r, text, time_units, &ms, a);
	if (!wrong)
		*(int64_t *)value = (int64_t)ms;
	return wrong;
}

static const char *
print_seconds(const struct row *r, const void *value, struct arena *a)
{
	int64_t ms = *(const int64_t *)value;
	char fraction[8];
	snprintf(fraction, sizeof fraction, ".%03d", (int)(ms % 1000));
	for (size_t n = 4; n && (fraction[n - 1] == '0' || fraction[n - 1] == '.'); n--)
		fraction[n - 1] = 0;
	return arena_printf(a, "%" PRId64 "%s", ms / 1000, fraction).p;
}
const struct type settings_type_seconds = { .word = "SECONDS", .from_int = true, .from_float = true,
	.parse = parse_seconds, .print = print_seconds };

/* Words. */

static const char *
parse_bool(const struct row *r, const char *text, void *value, struct arena *a)
{
	static const struct { const char *word; bool is; } words[] = {
		{ "true", true }, { "1", true }, { "yes", true }, { "on", true }, { "t", true }, { "y", true },
		{ "false", false }, { "0", false }, { "no", false }, { "off", false }, { "f", false }, { "n", false },
	};
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (str_caseeq(str_trim(str_c(text)), str_c(words[i].word))) {
			*(bool *)value = words[i].is;
			return NULL;
		}
	return "must be true or false (or yes, no, on, off, 1, 0)";
}

static const char *
print_bool(const struct row *r, const void *value, struct arena *a)
{
	return *(const bool *)value ? "true" : "false";
}
const struct type settings_type_bool = { .from_bool = true, .from_int = true, .parse = parse_bool, .print = print_bool };

static int
choice_of(const struct row *r, const char *text)
{
	for (int i = 0; r->type->choices[i]; i++)
		if (str_caseeq(str_trim(str_c(text)), str_c(r->type->choices[i])))
			return i;
	return -1;
}

/* An enum of settings.h: its values are the places of the words below. gcc's enums without negative values are unsigned. */
static const char *
parse_enum(const struct row *r, const char *text, void *value, struct arena *a)
{
	int i = choice_of(r, text);
	if (i < 0)
		return arena_printf(a, "must be %s", settings_allowed(r, a)).p;
	*(unsigned *)value = (unsigned)i;
	return NULL;
}

static const char *
print_enum(const struct row *r, const void *value, struct arena *a)
{
	return r->type->choices[*(const unsigned *)value];
}
#define ENUM(name, placeholder, ...) \
	const struct type settings_type_##name = { .word = placeholder, .quoted = true, .parse = parse_enum, .print = print_enum, \
		.choices = (const char *const[]){ __VA_ARGS__, NULL } }
ENUM(mode, "MODE", [MODE_REGULAR] = "regular");
ENUM(strategy, "WHEN", [STRATEGY_LAZY] = "lazy", [STRATEGY_EAGER] = "eager");
ENUM(cachestatus, "WHICH", [CACHE_STATUS_HITS] = "hits", [CACHE_STATUS_ALL] = "all");
ENUM(chunkids, "WHICH", [CHUNK_IDS_SHA256] = "sha256", [CHUNK_IDS_UUID] = "uuid");

/* The canonical name is the value: what the policies mean is known to policy/ alone. */
static const char *
parse_policy(const struct row *r, const char *text, void *value, struct arena *a)
{
	int i = choice_of(r, text);
	if (i < 0)
		return arena_printf(a, "must be %s", settings_allowed(r, a)).p;
	*(const char **)value = r->type->choices[i];
	return NULL;
}

static const char *
print_str(const struct row *r, const void *value, struct arena *a)
{
	return *(const char *const *)value;
}
const struct type settings_type_policy = { .word = "POLICY", .quoted = true, .parse = parse_policy, .print = print_str,
	.choices = (const char *const[]){ "NoCache", "NoRefresh", "Standard", "StaleIfError", "AlwaysUpstream", NULL } };

/* Text. It ends up in logs, headers and scripts, so no controls. */

static bool
has_controls(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return true;
	return false;
}
#define NO_CONTROLS "must be text without control characters"

static const char *
parse_str(const struct row *r, const char *text, void *value, struct arena *a)
{
	if (has_controls(text))
		return NO_CONTROLS;
	*(const char **)value = arena_dup(a, str_c(text)).p;
	return NULL;
}
const struct type settings_type_str = { .word = "TEXT", .quoted = true, .parse = parse_str, .print = print_str };

static const char *
parse_path(const struct row *r, const char *text, void *value, struct arena *a)
{
	struct str s = str_c(text);
	const char *from = "";
	if (has_controls(text))
		return NO_CONTROLS;
	if (s.n > 1 && str_ends(s, STR("/")))
		s.n--;
	if (str_eq(s, STR("~")) || str_starts(s, STR("~/"))) {
		if (!settings_place.home)
			return "must be a path without ~, for HOME is not set";
		from = settings_place.home;
		s = str_from(s, 1);
	} else if (s.n && !str_starts(s, STR("/")) && !str_eq(s, STR("-"))) {
		if (!settings_place.cwd)
			return "must be an absolute path, for the current directory is not known";
		from = settings_place.cwd;
		s = arena_printf(a, "/%.*s", STRP(s));
	}
	s = arena_printf(a, "%s%.*s", from, STRP(s));
	if (s.n >= PATH_MAX)
		return "must be a shorter path";
	*(const char **)value = s.p;
	return NULL;
}
const struct type settings_type_url = { .word = "URL", .quoted = true, .parse = parse_str, .print = print_str }; /* shown without a user */
const struct type settings_type_path = { .word = "PATH", .quoted = true, .parse = parse_path, .print = print_str };

bool
pem_is_inline(const char *text)
{
	return str_starts(str_c(text + strspn(text, " \t\r\n")), STR("-----BEGIN"));
}

static const char *
parse_pem(const struct row *r, const char *text, void *value, struct arena *a)
{
	if (!pem_is_inline(text))
		return parse_path(r, text, value, a);
	*(const char **)value = arena_dup(a, str_c(text)).p;
	return NULL;
}
const struct type settings_type_pem = { .word = "PEM", .quoted = true, .parse = parse_pem, .print = print_str };

static const char *
parse_list(const struct row *r, const char *text, void *value, struct arena *a)
{
	struct str rest = str_c(text);
	unsigned most = 1;
	if (has_controls(text))
		return NO_CONTROLS;
	for (size_t i = 0; i < rest.n; i++)
		most += rest.p[i] == ',';
	struct str_list list = { arena_alloc(a, most * sizeof *list.v), 0 };
	while (rest.n) {
		struct str one = str_trim(str_cut(&rest, ','));
		if (one.n)
			list.v[list.n++] = arena_dup(a, one).p;
	}
	*(struct str_list *)value = list;
	return NULL;
}

static const char *
print_list(const struct row *r, const void *value, struct arena *a)
{
	const struct str_list *list = value;
	const char *text = "";
	for (unsigned i = 0; i < list->n; i++)
		text = arena_printf(a, "%s%s%s", text, i ? "," : "", list->v[i]).p;
	return text;
}
const struct type settings_type_list = { .word = "A,B,...", .is_list = true, .parse = parse_list, .print = print_list };

static const char *
parse_names(const struct row *r, const char *text, void *value, struct arena *a)
{
	return parse_list(r, arena_lower(a, str_c(text)).p, value, a);
}
const struct type settings_type_names = { .word = "A,B,...", .is_list = true, .parse = parse_names, .print = print_list };

static const char *
parse_ranges(const struct row *r, const char *text, void *value, struct arena *a)
{
	struct str_list list;
	const char *wrong = parse_list(r, text, &list, a);
	if (wrong)
		return wrong;
	struct range_list ranges = { arena_alloc(a, (list.n + 1) * sizeof *ranges.v), list, list.n };
	for (unsigned i = 0; i < list.n; i++)
		if (!netrange_parse(str_c(list.v[i]), &ranges.v[i]))
			return arena_printf(a, "must be addresses and networks such as 10.1.0.0/16, 192.0.2.7, 2001:db8::/32; %s is none%s", list.v[i],
				strchr(list.v[i], '/') ? " (are bits behind the mask 0?)" : "").p;
	*(struct range_list *)value = ranges;
	return NULL;
}

static const char *
print_ranges(const struct row *r, const void *value, struct arena *a)
{
	return print_list(r, &((const struct range_list *)value)->text, a);
}
const struct type settings_type_ranges = { .word = "A,B,...", .is_list = true, .parse = parse_ranges, .print = print_ranges };

static const char *
parse_ports(const struct row *r, const char *text, void *value, struct arena *a)
{
	struct str_list list;
	const char *wrong = parse_list(r, text, &list, a);
	if (wrong)
		return wrong;
	struct port_list ports = { arena_alloc(a, (list.n + 1) * sizeof *ports.v), list, list.n };
	for (unsigned i = 0; i < list.n; i++) {
		struct str last = str_c(list.v[i]), first = str_trim(str_cut(&last, '-'));
		uint64_t from, to;
		bool good = str_u64(first, 65535, &from);
		to = from;
		if (good && last.p)
			good = str_u64(str_trim(last), 65535, &to);
		if (!good || from == 0 || to < from)
			return arena_printf(a, "must be ports and ranges of them such as 443, 8000-8999; %s is none", list.v[i]).p;
		ports.v[i].first = (unsigned)from;
		ports.v[i].last = (unsigned)to;
	}
	*(struct port_list *)value = ports;
	return NULL;
}

static const char *
print_ports(const struct row *r, const void *value, struct arena *a)
{
	return print_list(r, &((const struct port_list *)value)->text, a);
}
const struct type settings_type_ports = { .word = "A,B-C,...", .is_list = true, .from_int = true, .parse = parse_ports, .print = print_ports };

/* What the texts around a value need to know. */

const char *
settings_allowed(const struct row *r, struct arena *a)
{
	const char *text = "";
	if (r->type == &settings_type_size)
		return arena_printf(a, "%s to %s bytes, such as 1048576, 512K or 1.5G", r->min, r->max).p;
	if (r->type == &settings_type_seconds)
		return arena_printf(a, "%s to %s seconds, such as 30, 0.5, 500ms, 5m or 1h", r->min, r->max).p;
	if (r->min)
		return arena_printf(a, "%s to %s", r->min, r->max).p;
	if (!r->type->choices)
		return NULL;
	for (const char *const *c = r->type->choices; *c; c++)
		text = arena_printf(a, "%s%s%s", text, c == r->type->choices ? "" : c[1] ? ", " : " or ", *c).p;
	return text;
}

static const char *
quote_one(struct str s, struct arena *a)
{
	char *buf = arena_alloc(a, s.n * 2 + 3), *p = buf;
	*p++ = '"';
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		if (c == '"' || c == '\\')
			*p++ = '\\';
		*p++ = (unsigned char)c < ' ' ? ' ' : c;
	}
	*p++ = '"';
	*p = 0;
	return buf;
}

const char *
settings_quote(const struct row *r, const char *text, struct arena *a)
{
	struct str rest = str_c(text);
	const char *all = "[";
	if (r->type->quoted)
		return quote_one(rest, a);
	if (!r->type->is_list)
		return text;
	while (rest.n)
		all = arena_printf(a, "%s%s%s", all, all[1] ? ", " : " ", quote_one(str_trim(str_cut(&rest, ',')), a)).p;
	return arena_printf(a, "%s ]", all).p;
}

/* What a URL may not have it may have been given all the same: without what stands before the last @, but for the scheme. */
static const char *
redact_user(const char *text, struct arena *a)
{
	const char *at = strrchr(text, '@'), *scheme = strstr(text, "://");
	int shown = scheme != NULL && scheme < at ? (int)(scheme - text) + 3 : 0;
	return at != NULL ? arena_printf(a, "%.*s***%s", shown, text, at).p : text;
}

const char *
settings_redact(const struct row *r, const char *text, struct arena *a)
{
	if (r->type == &settings_type_pem)
		return pem_is_inline(text) ? "***" : text; /* where a key lies is no secret */
	if (r->type == &settings_type_url)
		return redact_user(text, a);
	return r->info->secret && *text ? "***" : text;
}
