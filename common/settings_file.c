/* settings_file.c - the configuration file, in libconfig's syntax: listen.port is "listen: { port = 80; };". */
#include "settings_file.h"
#include "err.h"
#include "fd.h"
#include <errno.h>
#include <inttypes.h>
#include <libconfig.h>

#define FILE_MAX (1 << 20) /* ten times all settings with inline certificate chains */

struct reading {
	const char *path;
	struct arena *arena;
	void (*take)(void *, const struct row *, struct given);
	void *arg;
};

/* libconfig 1.5 cuts integers silently to 32 bits unless they end in L, so "size = 5000000000" would be 705032704: the L is put
 * there. And an @include that names a folder makes its scanner end the process, which a reload must not: refused (*line says where).
 * Lines stay what they are. */
const char *
settings_prepare(struct str text, struct arena *a, int *include_line)
{
	char *out = arena_alloc(a, text.n + text.n / 10 + 2), *o = out; /* an L for ten digits at most */
	const char *p = text.p, *end = text.p + text.n;
	int line = 1;
	*include_line = 0;
	while (p < end) {
		const char *from = p;
		if (*p == '"') {
			for (p++; p < end && *p != '"'; p++)
				if (*p == '\\' && p + 1 < end)
					p++;
			p += p < end;
		} else if (*p == '#' || (*p == '/' && p + 1 < end && p[1] == '/')) {
			while (p < end && *p != '\n')
				p++;
		} else if (*p == '/' && p + 1 < end && p[1] == '*') {
			for (p += 2; p < end && !(p[-1] == '*' && *p == '/' && p - from > 2); p++)
				;
			p += p < end;
		} else if (strchr("0123456789", *p) && *p) {
			int base = 10;
			char *stop;
			if (*p == '0' && p + 1 < end && (p[1] == 'x' || p[1] == 'X'))
				base = 16;
			unsigned long long n = strtoull(p, &stop, base); /* the text has a NUL behind it */
			p = stop;
			memcpy(o, from, (size_t)(p - from));
			o += p - from;
			if (n > INT32_MAX && *p != 'L' && *p != '.' && *p != 'e' && *p != 'E')
				*o++ = 'L';
			while (p < end && (*p == '.' || *p == '+' || *p == '-' || *p == '_' || (*p >= '0' && *p <= '9')
			    || (ascii_lower(*p) >= 'a' && ascii_lower(*p) <= 'z')))
				*o++ = *p++; /* a fraction, an exponent */
			continue;
		} else if (ascii_lower(*p) >= 'a' && ascii_lower(*p) <= 'z') {
			while (p < end && (*p == '-' || *p == '_' || *p == '*' || (*p >= '0' && *p <= '9')
			    || (ascii_lower(*p) >= 'a' && ascii_lower(*p) <= 'z')))
				p++; /* a name, which may have digits */
		} else {
			if (*p == '@' && !*include_line)
				*include_line = line;
			p++;
		}
		for (const char *q = from; q < p; q++)
			line += *q == '\n';
		memcpy(o, from, (size_t)(p - from));
		o += p - from;
	}
	*o = 0;
	return out;
}

/* The value as the text that any other source would give; NULL when a setting of this type cannot be that. */
static const char *
text_of(const struct row *r, config_setting_t *s, struct arena *a)
{
	const struct type *t = r->type;
	switch (config_setting_type(s)) {
	case CONFIG_TYPE_STRING:
		return arena_dup(a, str_c(config_setting_get_string(s))).p;
	case CONFIG_TYPE_BOOL:
		return !t->from_bool ? NULL : config_setting_get_bool(s) ? "true" : "false";
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
		return t->from_int ? arena_printf(a, "%lld", config_setting_get_int64(s)).p : NULL;
	case CONFIG_TYPE_FLOAT: {
		if (!t->from_float)
			return NULL;
		struct str text = arena_printf(a, "%.9f", config_setting_get_float(s));
		while (text.n && text.p[text.n - 1] == '0')
			text.n--;
		text.n -= text.n && text.p[text.n - 1] == '.';
		return arena_dup(a, text).p;
	}
	case CONFIG_TYPE_ARRAY:
	case CONFIG_TYPE_LIST: {
		const char *all = "";
		if (!t->is_list)
			return NULL;
		for (int i = 0; i < config_setting_length(s); i++) {
			const char *one = config_setting_get_string_elem(s, i);
			if (!one)
				return NULL;
			all = arena_printf(a, "%s%s%s", all, i ? "," : "", one).p;
		}
		return all;
	}
	}
	return NULL;
}

/* How the wrong thing looks, and what would be right. */
static void
complain_kind(const struct reading *f, const struct row *r, config_setting_t *s)
{
	char value[64];
	const char *allowed = settings_allowed(r, f->arena);
	switch (config_setting_type(s)) {
	case CONFIG_TYPE_BOOL: snprintf(value, sizeof value, "%s", config_setting_get_bool(s) ? "true" : "false"); break;
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64: snprintf(value, sizeof value, "%lld", config_setting_get_int64(s)); break;
	case CONFIG_TYPE_FLOAT: snprintf(value, sizeof value, "%g", config_setting_get_float(s)); break;
	case CONFIG_TYPE_ARRAY: snprintf(value, sizeof value, "[ ... ]"); break;
	case CONFIG_TYPE_LIST: snprintf(value, sizeof value, "( ... )"); break;
	default: snprintf(value, sizeof value, "{ ... }"); break;
	}
	settings_complain("%s:%d: %s = %s: must be %s", f->path, (int)config_setting_source_line(s), r->info->key,
		r->info->secret ? "***" : value,
		r->type->is_list ? "a list of strings, such as [ \"a\", \"b\" ]" : allowed ? allowed : r->type->word ? "a string in quotes" : "true or false");
}

static void
read_group(const struct reading *f, config_setting_t *group, const char *prefix)
{
	const struct row *rows = settings_rows();
	for (int i = 0; i < config_setting_length(group); i++) {
		config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
		struct str key = arena_printf(f->arena, "%s%s%s", prefix, *prefix ? "." : "", config_setting_name(s));
		struct nearest near;
		const struct row *row = NULL;
		bool is_group = false;
		int line = (int)config_setting_source_line(s);
		nearest_start(&near, key.p);
		for (const struct row *r = rows; r < rows + ROW_MAX; r++) {
			if (strcmp(r->info->key, key.p) == 0)
				row = r;
			if (str_starts(str_c(r->info->key), key) && r->info->key[key.n] == '.')
				is_group = true;
			nearest_try(&near, r->info->key);
		}
		if (row) {
			const char *text = text_of(row, s, f->arena);
			if (text)
				f->take(f->arg, row, (struct given){ text, FROM_FILE, f->path, line });
			else
				complain_kind(f, row, s);
		} else if (is_group && config_setting_is_group(s))
			read_group(f, s, key.p);
		else if (is_group)
			settings_complain("%s:%d: %s: must be a group of settings: %s: { ... };", f->path, line, key.p, key.p);
		else if (near.best)
			settings_complain("%s:%d: %s: there is no such setting; did you mean %s?", f->path, line, key.p, near.best);
		else
			settings_complain("%s:%d: %s: there is no such setting; see --help", f->path, line, key.p);
	}
}

void
settings_file_read(const char *path, struct arena *a, void (*take)(void *, const struct row *, struct given), void *arg)
{
	const struct reading f = { path, a, take, arg };
	struct str text;
	int include_line;
	errno = 0;
	int r = fd_read_file(path, FILE_MAX, &text);
	if (r < 0) {
		settings_complain("%s: cannot be read: %s", path, errno ? strerror(errno) : err_text(r));
		return;
	}
	if (memchr(text.p, 0, text.n)) {
		settings_complain("%s: must be text, and has a NUL byte", path);
		free((char *)(uintptr_t)text.p);
		return;
	}
	const char *prepared = settings_prepare(text, a, &include_line);
	free((char *)(uintptr_t)text.p);
	if (include_line) {
		settings_complain("%s:%d: @include is not supported: settings are in one file", path, include_line);
		return;
	}
	config_t c;
	config_init(&c);
	if (config_read_string(&c, prepared) == CONFIG_TRUE)
		read_group(&f, config_root_setting(&c), "");
	else
		settings_complain("%s:%d: %s", path, config_error_line(&c), config_error_text(&c));
	config_destroy(&c);
}
