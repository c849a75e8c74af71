/* settings_print.c - what is made of the settings table: --help, --dump-settings, the sample file, the manual page and the README. */
#include "settings_row.h"

#define WIDTH 100 /* columns of --help */
#define COLUMN 36 /* where its texts begin */

static bool
same_group(const struct row *a, const struct row *b)
{
	return strcmp(a->info->group, b->info->group) == 0;
}

/* --help */

#define GLUE '\1' /* a blank at which no line is broken */

/* Prints text from column at on, words broken at WIDTH, following lines indented. */
static void
wrap(FILE *f, unsigned at, unsigned indent, struct str text)
{
	bool first = true;
	while (text.n) {
		struct str word = str_cut(&text, ' ');
		if (!first && at + 1 + word.n > WIDTH) {
			fprintf(f, "\n%*s", (int)indent, "");
			at = indent;
			first = true;
		}
		if (!first)
			putc(' ', f);
		for (size_t i = 0; i < word.n; i++)
			putc(word.p[i] == GLUE ? ' ' : word.p[i], f);
		at += (unsigned)word.n + !first;
		first = false;
	}
	putc('\n', f);
}

static void
help_line(FILE *f, const char *label, struct str text)
{
	size_t n = strlen(label);
	if (n + 2 > COLUMN)
		fprintf(f, "%s\n%*s", label, COLUMN, "");
	else
		fprintf(f, "%-*s", COLUMN, label);
	wrap(f, COLUMN, COLUMN, text);
}

static const char *
label(const struct row *r, struct arena *a)
{
	struct str letter = r->letter ? arena_printf(a, "-%c,", r->letter) : STR("   ");
	const char *option = r->info->option;
	if (r->type->word)
		return arena_printf(a, "  %.*s --%s %s", STRP(letter), option, r->type->word).p;
	return arena_printf(a, "  %.*s --%s%s", STRP(letter), strcmp(r->info->def, "true") == 0 ? "[no-]" : "", option).p;
}

/* Lists get a blank behind each comma, to be broken there. */
static const char *
readable(const struct row *r, const char *text, struct arena *a)
{
	struct str rest = str_c(text);
	const char *all = "";
	if (!r->type->is_list)
		return text;
	while (rest.n) {
		struct str one = str_trim(str_cut(&rest, ','));
		all = arena_printf(a, "%s%s%.*s", all, *all ? ", " : "", STRP(one)).p;
	}
	return all;
}

void
settings_help(FILE *f)
{
	const struct row *rows = settings_rows();
	struct arena a;
	arena_init(&a);
	fputs("Usage: passsage [OPTION]... [COMMAND [ARGUMENT]...]\n"
		"A caching, TLS-intercepting forward proxy for build farms. Without a COMMAND it runs the proxy.\n\n"
		"Each setting may come from the file of --config, from the environment, or from the command line;\n"
		"the later wins. Behind each stand its environment variable, its name in the file, and its default.\n"
		"SECONDS may be 30, 0.5, 500ms, 5m, 2h, 1d; SIZE may be 1048576, 512K, 1.5G (1K is 1024 bytes);\n"
		"a flag may be --flag, --no-flag or --flag=false.\n\n", f);
	for (unsigned i = 0; i < settings_asks_n; i++) {
		struct str letter = settings_asks[i].letter ? arena_printf(&a, "-%c,", settings_asks[i].letter) : STR("   ");
		help_line(f, arena_printf(&a, "  %.*s --%s", STRP(letter), settings_asks[i].name).p, str_c(settings_asks[i].text));
	}
	help_line(f, "      --" CONFIG_OPTION " FILE", STR("Configuration file; see --print-sample. (" CONFIG_ENV ")"));
	for (const struct row *r = rows; r < rows + ROW_MAX; r++) {
		const struct setting_info *info = r->info;
		if (r == rows || !same_group(r, r - 1))
			fprintf(f, "\n%s:\n", info->group);
		bool silent = !*info->def || !r->type->word; /* a flag's default shows in its label */
		bool words = r->type->choices && !str_has(str_c(info->text), str_c(r->type->choices[0])); /* not named in the text yet */
		struct str text = arena_printf(&a, "%s%s%s (%s, %s%s%s)", info->text, words ? " One of " : "", words ? settings_allowed(r, &a) : "",
			info->env, info->key, silent ? "" : "; default:\1", silent ? "" : readable(r, info->def, &a));
		help_line(f, label(r, &a), text);
	}
	arena_fini(&a);
}

/* --dump-settings */

static const struct generation *
current(void)
{
	return (const struct generation *)conf();
}

void
settings_dump(FILE *f)
{
	const struct generation *g = current();
	const struct row *rows = settings_rows();
	struct arena a;
	arena_init(&a);
	for (const struct row *r = rows; r < rows + ROW_MAX; r++) {
		const struct given *given = &g->given[r - rows];
		const char *text = settings_redact(r, r->type->print(r, row_value(r, &g->s), &a), &a);
		struct str line = arena_printf(&a, "%s = %s", r->info->key, settings_quote(r, text, &a));
		fprintf(f, "%-48.*s # ", (int)line.n, line.p);
		switch (given->origin) {
		case FROM_DEFAULT: fputs("default\n", f); break;
		case FROM_FILE: fprintf(f, "from file %s:%d\n", given->name, given->line); break;
		case FROM_ENVIRONMENT: fprintf(f, "from environment %s\n", given->name); break;
		case FROM_OPTION: fprintf(f, "from option %s\n", given->name); break;
		}
	}
	arena_fini(&a);
}

const char *
settings_value(const char *field, char *buf, size_t n)
{
	const struct settings *s = conf();
	const struct row *rows = settings_rows();
	for (const struct row *r = rows; r < rows + ROW_MAX; r++) {
		if (strcmp(r->info->field, field))
			continue;
		struct arena a;
		arena_init(&a);
		snprintf(buf, n, "%s", settings_redact(r, r->type->print(r, row_value(r, s), &a), &a));
		arena_fini(&a);
		return buf;
	}
	return NULL;
}

/* --print-sample: valid as it is (all is commented out), and valid with any of its settings uncommented. libconfig wants each
 * group once, so it goes by the first word of the keys. */

static void
comment(FILE *f, const char *indent, struct str text)
{
	size_t at = 0;
	fprintf(f, "%s#", indent);
	while (text.n) {
		struct str word = str_cut(&text, ' ');
		if (at && at + word.n > WIDTH - 8) {
			fprintf(f, "\n%s#", indent);
			at = 0;
		}
		fprintf(f, " %.*s", STRP(word));
		at += word.n + 1;
	}
	putc('\n', f);
}

static void
sample_row(FILE *f, const struct row *r, const char *name, const char *indent)
{
	struct arena a;
	arena_init(&a);
	const char *allowed = settings_allowed(r, &a);
	comment(f, indent, str_c(r->info->text));
	comment(f, indent, arena_printf(&a, "%s%s%s, --%s%s", allowed ? allowed : "", allowed ? "; " : "", r->info->env, r->info->option,
		r->info->live ? "" : "; needs a restart"));
	fprintf(f, "%s#%s = %s;\n", indent, name, settings_quote(r, r->info->def, &a));
	arena_fini(&a);
}

void
settings_sample(FILE *f)
{
	const struct row *rows = settings_rows(), *end = rows + ROW_MAX;
	fputs("# passsage.conf - sample configuration, made by \"passsage --print-sample\".\n"
		"# Each setting is shown with its default. What is set here is overridden by the environment, and that by the\n"
		"# command line. \"passsage --config FILE --dump-settings\" checks the file. SIGHUP applies changes, except of what\n"
		"# needs a restart. Times are seconds (30, 0.5) or text (\"500ms\", \"5m\", \"2h\", \"1d\"); sizes are bytes or text\n"
		"# (\"512K\", \"1.5G\"; 1K is 1024). Paths may begin with ~.\n", f);
	for (const struct row *r = rows; r < end; r++) {
		const char *dot = strchr(r->info->key, '.');
		if (!dot) {
			putc('\n', f);
			sample_row(f, r, r->info->key, "");
			continue;
		}
		struct str group = { r->info->key, (size_t)(dot - r->info->key) + 1 };
		bool seen = false;
		for (const struct row *q = rows; q < r; q++)
			seen |= str_starts(str_c(q->info->key), group);
		if (seen)
			continue;
		fprintf(f, "\n%.*s: {\n", (int)group.n - 1, group.p);
		for (const struct row *q = r; q < end; q++)
			if (str_starts(str_c(q->info->key), group))
				sample_row(f, q, q->info->key + group.n, "\t");
		fputs("};\n", f);
	}
}

/* --print-manual */

static void
mdoc_text(FILE *f, const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", f);
	for (; *text; text++)
		if (*text == '\\')
			fputs("\\e", f);
		else if (*text == '-')
			fputs("\\-", f);
		else
			putc(*text, f);
}

void
settings_manual(FILE *f)
{
	const struct row *rows = settings_rows(), *end = rows + ROW_MAX;
	struct arena a;
	arena_init(&a);
	for (const struct row *r = rows; r < end; r++) {
		const struct setting_info *info = r->info;
		if (r == rows || !same_group(r, r - 1))
			fprintf(f, ".Ss %s\n.Bl -tag -width Ds\n", info->group);
		fputs(".It", f);
		if (r->letter)
			fprintf(f, " Fl %c%s%s ,", r->letter, r->type->word ? " Ar " : "", r->type->word ? r->type->word : "");
		fprintf(f, " Fl -%s%s%s\n", info->option, r->type->word ? " Ar " : "", r->type->word ? r->type->word : "");
		mdoc_text(f, info->text);
		fprintf(f, "\n.Pp\nEnvironment\n.Ev %s ,\nfile\n.Ic %s .\n", info->env, info->key);
		if (*info->def) {
			fputs("Default: ", f);
			mdoc_text(f, readable(r, info->def, &a));
			fputs(".\n", f);
		}
		const char *allowed = settings_allowed(r, &a);
		if (allowed) {
			fputs("Allowed: ", f);
			mdoc_text(f, allowed);
			fputs(".\n", f);
		}
		if (!info->live)
			fputs("A change needs a restart.\n", f);
		if (r + 1 == end || !same_group(r, r + 1))
			fputs(".El\n", f);
	}
	arena_fini(&a);
}

/* --print-markdown */

static void
markdown_text(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (*text == '<')
			fputs("&lt;", f);
		else if (strchr("|*_", *text))
			fprintf(f, "\\%c", *text);
		else
			putc(*text, f);
	}
}

void
settings_markdown(FILE *f)
{
	const struct row *rows = settings_rows();
	struct arena a;
	arena_init(&a);
	for (const struct row *r = rows; r < rows + ROW_MAX; r++) {
		const struct setting_info *info = r->info;
		if (r == rows || !same_group(r, r - 1))
			fprintf(f, "%s**%s**\n\n| option | environment | file | default | meaning |\n| --- | --- | --- | --- | --- |\n",
				r == rows ? "" : "\n", info->group);
		fputs("| `", f);
		if (r->letter)
			fprintf(f, "-%c`, `", r->letter);
		fprintf(f, "--%s` | `%s` | `%s` | ", info->option, info->env, info->key);
		if (*info->def)
			fprintf(f, "`%s`", readable(r, info->def, &a));
		fputs(" | ", f);
		markdown_text(f, info->text);
		fputs(info->live ? " |\n" : " † |\n", f);
	}
	fputs("\n† A change needs a restart; the others are applied by SIGHUP.\n", f);
	arena_fini(&a);
}
