/* settings.c - the settings from their sources: default < file < environment < command line, each value with its origin.
 * The types are in settings_types.c, the file in settings_file.c, what is printed of the table in settings_print.c. */
#include "settings_row.h"
#include "settings_file.h"
#include "err.h"
#include "log.h"
#include "url.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <sysexits.h>
#include <unistd.h>

const struct settings *_Atomic settings_now;

const struct ask_option settings_asks[] = {
	{ "help",           'h', ASK_HELP,     "This text." },
	{ "version",        'V', ASK_VERSION,  "The version." },
	{ "dump-settings",  0,   ASK_DUMP,     "All settings, each with where its value came from; secrets as ***. Complains as a start would." },
	{ "print-sample",   0,   ASK_SAMPLE,   "A commented configuration file." },
	{ "print-manual",   0,   ASK_MANUAL,   "The settings as mdoc, for the manual page." },
	{ "print-markdown", 0,   ASK_MARKDOWN, "The settings as Markdown, for the README." },
};
const unsigned settings_asks_n = sizeof settings_asks / sizeof *settings_asks;

/* The table, and from it the rows. */

static const struct {
	const char *group;  /* a heading, and nothing else */
	const char *field;
	const struct type *type;
	const char *def, *option, *env, *key, *min, *max, *text;
	unsigned when;
	size_t offset, size;
} table[] = {
#define GROUP(title) { .group = title },
#define SETTING(field_, type_, def_, option_, env_, key_, min_, max_, when_, text_) { .field = #field_, .type = &settings_type_##type_, \
	.def = def_, .option = option_, .env = env_, .key = key_, .min = min_, .max = max_, .text = text_, .when = when_, \
	.offset = offsetof(struct settings, field_), .size = sizeof(((struct settings *)0)->field_) },
#include "tbl/settings.h"
};
static struct row rows[ROW_MAX];
static struct setting_info infos[ROW_MAX];

static void
build_rows(void)
{
	const char *group = "";
	unsigned n = 0;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		if (table[i].group) {
			group = table[i].group;
			continue;
		}
		bool letter = table[i].option[1] == '/'; /* "p/port" */
		infos[n] = (struct setting_info){ table[i].field, group, table[i].option + (letter ? 2 : 0), table[i].env, table[i].key,
			table[i].def, table[i].text, .secret = table[i].when & SECRET, .live = table[i].when & LIVE };
		rows[n] = (struct row){ &infos[n], table[i].type, letter ? table[i].option[0] : 0, table[i].min, table[i].max,
			table[i].offset, table[i].size };
		n++;
	}
}

const struct row *
settings_rows(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, build_rows);
	return rows;
}

const struct setting_info *
settings_table(unsigned *n)
{
	settings_rows();
	*n = ROW_MAX;
	return infos;
}

/* Complaints: all that is wrong is said, each in one line; then the start ends, or the reload has not happened. */

static bool reloading;
static unsigned complaints;

void
settings_complain(const char *fmt, ...)
{
	char text[2048];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	complaints++;
	if (reloading) {
		log_error("settings: %s", text);
		return;
	}
	fputs("passsage: ", stderr); /* not die(): there may be more to say. Like it, no controls for a terminal to act on */
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		if (*p < ' ' || *p == 0x7f)
			fprintf(stderr, "\\x%02x", *p);
		else
			putc(*p, stderr);
	putc('\n', stderr);
}

static void
exit_if_wrong(void)
{
	if (complaints)
		exit(EX_USAGE);
}

static void
complain_value(const struct row *r, const struct given *g, const char *wrong)
{
	const char *key = r->info->key;
	struct arena a;
	arena_init(&a);
	const char *text = settings_redact(r, g->text, &a);
	switch (g->origin) {
	case FROM_OPTION:
		settings_complain("%s %s: %s", g->name, *text ? text : "\"\"", wrong);
		break;
	case FROM_ENVIRONMENT:
		settings_complain("%s=%s: %s (setting %s)", g->name, text, wrong, key);
		break;
	case FROM_FILE:
		settings_complain("%s:%d: %s = %s: %s", g->name, g->line, key, settings_quote(r, text, &a), wrong);
		break;
	case FROM_DEFAULT:
		settings_complain("%s = %s (the default): %s", key, settings_quote(r, text, &a), wrong);
		break;
	}
	arena_fini(&a);
}

/* What is nearest to a wrong name: Levenshtein's distance, at most a third of the name's length. */

static unsigned
distance(const char *a, const char *b)
{
	enum { LONGEST = 64 };
	unsigned char row[LONGEST + 1];
	size_t n = strlen(a), m = strlen(b);
	if (n > LONGEST || m > LONGEST)
		return UINT_MAX;
	for (size_t j = 0; j <= m; j++)
		row[j] = (unsigned char)j;
	for (size_t i = 1; i <= n; i++) {
		unsigned char diagonal = row[0];
		row[0] = (unsigned char)i;
		for (size_t j = 1; j <= m; j++) {
			unsigned char best = (unsigned char)(diagonal + (a[i - 1] != b[j - 1]));
			diagonal = row[j];
			if (row[j - 1] + 1 < best)
				best = (unsigned char)(row[j - 1] + 1);
			if (row[j] + 1 < best)
				best = (unsigned char)(row[j] + 1);
			row[j] = best;
		}
	}
	return row[m];
}

void
nearest_start(struct nearest *n, const char *wrong)
{
	size_t length = strlen(wrong);
	*n = (struct nearest){ wrong, NULL, length < 6 ? 3 : (unsigned)length / 3 + 1 };
}

void
nearest_try(struct nearest *n, const char *name)
{
	unsigned d = distance(n->wrong, name);
	if (d < n->d) {
		n->d = d;
		n->best = name;
	}
}

/* The command line. */

static struct given from_option[ROW_MAX], from_environment[ROW_MAX];
static const char *config_path; /* absolute; NULL none */

static const struct row *
row_of_option(const char *name)
{
	for (const struct row *r = settings_rows(); r < rows + ROW_MAX; r++)
		if (strcmp(r->info->option, name) == 0)
			return r;
	return NULL;
}

static void
unknown_option(const char *name)
{
	struct nearest near;
	nearest_start(&near, strncmp(name, "no-", 3) ? name : name + 3);
	for (unsigned i = 0; i < ROW_MAX; i++)
		nearest_try(&near, rows[i].info->option);
	for (unsigned i = 0; i < settings_asks_n; i++)
		nearest_try(&near, settings_asks[i].name);
	nearest_try(&near, CONFIG_OPTION);
	if (near.best)
		settings_complain("--%s: there is no such option; did you mean --%s?", name, near.best);
	else
		settings_complain("--%s: there is no such option; see --help", name);
}

static void
take(const struct row *r, const char *text, const char *name)
{
	from_option[r - rows] = (struct given){ text, FROM_OPTION, name, 0 };
}

static void
missing(const struct row *r, const char *name)
{
	struct arena a;
	arena_init(&a);
	const char *allowed = settings_allowed(r, &a);
	settings_complain("%s: needs a value%s%s", name, allowed ? ": " : "", allowed ? allowed : "");
	arena_fini(&a);
}

/* --name value, --name=value, --flag, --flag=false, --no-flag. Takes argv[*i], and the next word when it is the value.
 * An ask is done at once, whatever follows, except the dump: that shows what the rest of the line leads to. */
static void
long_option(int argc, char **argv, int *i, struct settings_command *command)
{
	const char *name = argv[*i], *word = name + 2, *value = NULL;
	char *equals = strchr(argv[*i], '=');
	if (equals) {
		*equals = 0; /* name is kept: the dump and complaints show it */
		value = equals + 1;
	}
	const struct row *r = row_of_option(word);
	if (r) {
		if (!value && !r->type->word)
			value = "true";
		else if (!value && *i + 1 < argc)
			value = argv[++*i];
		if (value)
			take(r, value, name);
		else
			missing(r, name);
		return;
	}
	if (strncmp(word, "no-", 3) == 0) {
		r = row_of_option(word + 3);
		if (r && !r->type->word) {
			if (value)
				settings_complain("%s: takes no value", name);
			take(r, "false", name);
			return;
		}
	}
	if (strcmp(word, CONFIG_OPTION) == 0) {
		if (!value && *i + 1 < argc)
			value = argv[++*i];
		if (value && *value)
			config_path = value;
		else
			settings_complain("--" CONFIG_OPTION ": needs the path of a file");
		return;
	}
	for (unsigned k = 0; k < settings_asks_n; k++)
		if (strcmp(word, settings_asks[k].name) == 0) {
			if (value)
				settings_complain("%s: takes no value", name);
			command->ask = settings_asks[k].ask;
			return;
		}
	unknown_option(word);
}

/* -p 80, -p80, and flags together: -vX, -vp80. */
static void
short_options(int argc, char **argv, int *i, struct settings_command *command)
{
	for (const char *p = argv[*i] + 1; *p; p++) {
		const struct row *r = rows, *end = rows + ROW_MAX;
		while (r < end && r->letter != *p)
			r++;
		unsigned k = 0;
		while (r == end && k < settings_asks_n && settings_asks[k].letter != *p)
			k++;
		static char names[128][3]; /* "-p", kept */
		char *name = names[*p & 127];
		name[0] = '-';
		name[1] = *p;
		if (r == end && k == settings_asks_n) {
			settings_complain("%s: there is no such option; see --help", name);
			return;
		}
		if (r == end) {
			command->ask = settings_asks[k].ask;
			continue;
		}
		if (!r->type->word) {
			take(r, "true", name);
			continue;
		}
		if (p[1])
			take(r, p + 1, name);
		else if (*i + 1 < argc)
			take(r, argv[++*i], name);
		else
			missing(r, name);
		return;
	}
}

/* Is it a setting, as a command's word? */
static bool
is_setting(const char *word)
{
	char name[64];
	if (strncmp(word, "--", 2) || strcspn(word + 2, "=") >= sizeof name)
		return false;
	snprintf(name, sizeof name, "%.*s", (int)strcspn(word + 2, "="), word + 2);
	if (strcmp(name, CONFIG_OPTION) == 0 || row_of_option(name))
		return true;
	const struct row *r = strncmp(name, "no-", 3) ? NULL : row_of_option(name + 3);
	return r && !r->type->word;
}

/* Takes the settings out of a command's words, which are moved together. */
static void
parse_command_words(int argc, char **argv, int at, struct settings_command *command)
{
	int left = at + 1;
	bool options = true;
	command->argv = argv + at;
	for (int i = at + 1; i < argc; i++) {
		options = options && strcmp(argv[i], "--");
		if (options && is_setting(argv[i]))
			long_option(argc, argv, &i, command);
		else
			argv[left++] = argv[i];
	}
	argv[left] = NULL;
	command->argc = left - at;
}

static struct settings_command
parse_command_line(int argc, char **argv)
{
	struct settings_command command = { .ask = ASK_RUN };
	int i = 1;
	settings_rows();
	for (; i < argc && (command.ask == ASK_RUN || command.ask == ASK_DUMP); i++) {
		if (argv[i][0] != '-' || !argv[i][1])
			break; /* a command */
		if (strcmp(argv[i], "--") == 0) {
			i++;
			break;
		}
		if (argv[i][1] == '-')
			long_option(argc, argv, &i, &command);
		else
			short_options(argc, argv, &i, &command);
	}
	if (i < argc)
		parse_command_words(argc, argv, i, &command);
	return command;
}

/* What was given inline and now lies in a file. */

static void
wipe(const char *text)
{
	size_t n = strlen(text);
	for (volatile char *p = (volatile char *)(uintptr_t)text; n > 0; n--)
		*p++ = 0;
}

static char **words, **words_given; /* the command line: our copy, which is kept for argv's memory becomes the title, and main's */

static void
wipe_in(char **list, const char *text)
{
	for (; list && *list; list++) {
		const char *found = strstr(*list, text); /* --mitm-ca=… too */
		if (found)
			wipe(found);
	}
}

void
settings_ca_moved(const char *path)
{
	enum row_id id = ROW_mitm_ca;
	const struct row *r = &settings_rows()[id];
	struct generation *g = (struct generation *)(uintptr_t)conf();
	const char **value = (const char **)((char *)&g->s + r->offset), *env = getenv(r->info->env);
	char *text = xstrdup(*value); /* to find the others by, when they go one by one */
	struct given *all[] = { &from_environment[id], &from_option[id], &g->given[id] };
	wipe_in(words, text);
	wipe_in(words_given, text);
	if (env)
		wipe(env);
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (all[i]->text) {
			wipe(all[i]->text);
			all[i]->text = xstrdup(path);
		}
	wipe(*value);
	*value = xstrdup(path);
	wipe(text);
	free(text);
}

/* One reading of all sources. */

static const struct generation *
current(void)
{
	return (const struct generation *)conf();
}

static void
offer(struct generation *g, const struct row *r, struct given given)
{
	const char *wrong = r->type->parse(r, given.text, (char *)&g->s + r->offset, &g->arena);
	if (wrong)
		complain_value(r, &given, wrong);
	else
		g->given[r - rows] = given;
}

static struct generation *
generation_new(void)
{
	struct generation *g = xcalloc(1, sizeof *g);
	arena_init(&g->arena);
	for (const struct row *r = settings_rows(); r < rows + ROW_MAX; r++)
		offer(g, r, (struct given){ r->info->def, FROM_DEFAULT, NULL, 0 });
	return g;
}

static void
generation_free(struct generation **g)
{
	arena_fini(&(*g)->arena);
	free(*g);
	*g = NULL;
}

static void
offer_from_file(void *generation, const struct row *r, struct given given)
{
	if (r->type == &settings_type_pem && r->info->secret && pem_is_inline(given.text))
		complain_value(r, &given, "must be the path of a file here: every process reads this one"); /* and would have the key */
	else
		offer(generation, r, given);
}

static const char *state_dir_default; /* found at the start, for the user changes */
static const char *region_default = "us-west-2";

static struct generation *
read_all(void)
{
	struct generation *g = generation_new();
	if (config_path)
		settings_file_read(config_path, &g->arena, offer_from_file, g);
	for (unsigned i = 0; i < ROW_MAX; i++)
		if (from_environment[i].text)
			offer(g, &rows[i], from_environment[i]);
	for (unsigned i = 0; i < ROW_MAX; i++)
		if (from_option[i].text)
			offer(g, &rows[i], from_option[i]);
	if (!*g->s.state_dir && state_dir_default)
		g->s.state_dir = state_dir_default;
	/* behaviour.md 1.1: as the old system had them */
	if (!*g->s.s3_region)
		g->s.s3_region = region_default;
	if (!*g->s.s3_bucket && *g->s.s3_endpoint)
		g->s.s3_bucket = "proxy-cache";
	return g;
}

/* What must hold between values. The complaint goes to the value of the two that was said most explicitly. */

static const struct given *
given_of(const struct generation *g, enum row_id id)
{
	return &g->given[id];
}

static void
check_pair(const struct generation *g, enum row_id a, const char *wrong_a, enum row_id b, const char *wrong_b)
{
	bool first = given_of(g, a)->origin >= given_of(g, b)->origin;
	enum row_id id = first ? a : b, other = first ? b : a;
	char wrong[300];
	snprintf(wrong, sizeof wrong, "must be %s %s, which is %s", first ? wrong_a : wrong_b, rows[other].info->key, given_of(g, other)->text);
	complain_value(&rows[id], given_of(g, id), wrong);
}

static void
check_characters(const struct generation *g, enum row_id id, const char *value, const char *also, const char *allowed)
{
	for (; *value; value++) {
		char c = ascii_lower(*value);
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr(also, c))) {
			complain_value(&rows[id], given_of(g, id), allowed);
			return;
		}
	}
}

/* "http[s]://host[:port][/base]", with or without user:password@ (which is cut out: the rest must be a URL). */
static bool
is_base_url(const char *text, bool with_user)
{
	struct arena a;
	struct url u;
	struct str all = str_c(text), rest = str_starts(all, STR("https://")) ? str_from(all, 8) : str_from(all, 7);
	size_t host = all.n - rest.n, authority = 0;
	bool good;
	if (!str_starts(all, STR("http://")) && !str_starts(all, STR("https://")))
		return false;
	while (authority < rest.n && rest.p[authority] != '/')
		authority++;
	for (size_t i = authority; with_user && i > 0; i--)
		if (rest.p[i - 1] == '@') {
			rest = str_from(rest, i);
			break;
		}
	arena_init(&a);
	good = url_parse(&a, arena_printf(&a, "%.*s%.*s", (int)host, all.p, STRP(rest)), &u) == 0 && u.query.p == NULL;
	arena_fini(&a);
	return good;
}

/* Bodies and metadata of a fleet. */
static void
check_fleet(const struct generation *g)
{
	const struct settings *s = &g->s;
	const bool s3 = *s->s3_bucket;
	if (*s->s3_endpoint && !is_base_url(s->s3_endpoint, false))
		complain_value(&rows[ROW_s3_endpoint], given_of(g, ROW_s3_endpoint), "must be a URL such as http://s3.example.com:9000");
	if (*s->object_store_url && !is_base_url(s->object_store_url, false))
		complain_value(&rows[ROW_object_store_url], given_of(g, ROW_object_store_url), "must be a URL such as http://bodies.example.com/cache");
	if (*s->object_store_url && !s3)
		complain_value(&rows[ROW_object_store_url], given_of(g, ROW_object_store_url), "needs s3.bucket beside it, where bodies are written");
	check_characters(g, ROW_s3_bucket, s->s3_bucket, ".-_", "must be a bucket's name: letters, digits, dots, hyphens");
	check_characters(g, ROW_s3_region, s->s3_region, "-", "must be a region such as eu-central-1");
	if (*s->s3_access_key && !*s->s3_secret_key)
		complain_value(&rows[ROW_s3_access_key], given_of(g, ROW_s3_access_key), "needs s3.secret_key beside it");
	if (*s->s3_secret_key && !*s->s3_access_key)
		complain_value(&rows[ROW_s3_secret_key], given_of(g, ROW_s3_secret_key), "needs s3.access_key beside it");
	check_characters(g, ROW_data_prefix, s->data_prefix, "/.-_", "must be letters, digits and / . - _");
	if (*s->data_prefix == '/' || (*s->data_prefix && !str_ends(str_c(s->data_prefix), STR("/"))))
		complain_value(&rows[ROW_data_prefix], given_of(g, ROW_data_prefix), "must begin with a name and end with /, as data/ does");
	for (unsigned i = 0; i < s->es_urls.n; i++)
		if (!is_base_url(s->es_urls.v[i], true)) {
			complain_value(&rows[ROW_es_urls], given_of(g, ROW_es_urls), "must be URLs such as http://es.example.com:9200, comma-separated");
			break;
		}
	if (s->es_urls.n > 0 && !s3)
		complain_value(&rows[ROW_es_urls], given_of(g, ROW_es_urls),
		               "needs s3.bucket or s3.endpoint beside it: else the fleet would know of bodies that are on one machine only");
	check_characters(g, ROW_es_index, s->es_index, "-_.+", "must be the name of an index: letters, digits and - _ . +");
	if (s->es_urls.n > 0 && (!*s->es_index || strchr("-_+.", *s->es_index)))
		complain_value(&rows[ROW_es_index], given_of(g, ROW_es_index), "must begin with a letter or digit");
	if (*s->es_password && !*s->es_user)
		complain_value(&rows[ROW_es_password], given_of(g, ROW_es_password), "needs elasticsearch.user beside it");
}

static void
check_between(const struct generation *g)
{
	const struct settings *s = &g->s;
	check_fleet(g);
	if (s->low_watermark >= s->high_watermark)
		check_pair(g, ROW_low_watermark, "below", ROW_high_watermark, "above");
	if (s->port && s->health_port > 0 && s->port == (uint64_t)s->health_port)
		check_pair(g, ROW_port, "another port than", ROW_health_port, "another port than");
	if (*s->mitm_ca_cert && !*s->mitm_ca)
		complain_value(&rows[ROW_mitm_ca_cert], given_of(g, ROW_mitm_ca_cert), "needs tls.ca beside it, which has the key");
	/* Both end up in a shell script that strangers are asked to run. */
	if (*s->public_proxy_url && !str_casestarts(str_c(s->public_proxy_url), STR("http://"))
	    && !str_casestarts(str_c(s->public_proxy_url), STR("https://")))
		complain_value(&rows[ROW_public_proxy_url], given_of(g, ROW_public_proxy_url), "must begin with http:// or https://");
	else
		check_characters(g, ROW_public_proxy_url, s->public_proxy_url, ":/.-_~%@[]?&=+,", "must be a URL");
	check_characters(g, ROW_no_proxy_extra, s->no_proxy_extra, ".,:-_*/[] ", "must be host names, addresses and commas");
}

static void
check_readable(const struct generation *g, enum row_id id)
{
	const char *path = *(const char *const *)row_value(&rows[id], &g->s);
	if (!*path || pem_is_inline(path))
		return;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0) {
		close(fd);
		return;
	}
	char wrong[200];
	snprintf(wrong, sizeof wrong, "must be a file that can be read: %s", strerror(errno));
	complain_value(&rows[id], given_of(g, id), wrong);
}

/* The start. */

static void
know_place(void)
{
	const char *home = getenv("HOME");
	settings_place.home = home && *home == '/' ? xstrdup(home) : NULL;
	settings_place.cwd = getcwd(NULL, 0);
	const char *region = getenv("AWS_REGION");
	if (region && *region)
		region_default = xstrdup(region);
	if (geteuid() == 0)
		state_dir_default = "/var/lib/passsage";
	else if (home && *home == '/') {
		size_t n = strlen(home) + sizeof "/.passsage";
		char *dir = xmalloc(n);
		snprintf(dir, n, "%s/.passsage", home);
		state_dir_default = dir;
	}
}

/* Saved, for setting a process's title overwrites the environment's memory. An empty variable is an unset one. */
static void
know_environment(void)
{
	for (unsigned i = 0; i < ROW_MAX; i++) {
		const char *text = getenv(rows[i].info->env);
		if (text && *text)
			from_environment[i] = (struct given){ xstrdup(text), FROM_ENVIRONMENT, rows[i].info->env, 0 };
	}
	const char *text = getenv(CONFIG_ENV);
	if (!config_path && text && *text)
		config_path = text;
	if (!config_path)
		return;
	if (*config_path == '/' || !settings_place.cwd) {
		config_path = xstrdup(config_path);
		return;
	}
	size_t n = strlen(settings_place.cwd) + strlen(config_path) + 2;
	char *path = xmalloc(n);
	snprintf(path, n, "%s/%s", settings_place.cwd, config_path);
	config_path = path;
}

/* Any thread may hold an older generation through a request or a tunnel of days, so none is freed. That costs some 10 KiB for each
 * SIGHUP that changed something, which is bounded by how often an operator does that; a SIGHUP without a change costs nothing. */
static void
show(struct generation *g)
{
	g->older = (struct generation *)(uintptr_t)current();
	atomic_store_explicit(&settings_now, &g->s, memory_order_release);
}

void
settings_defaults(void)
{
	show(generation_new());
}

struct settings_command
settings_init(int argc, char **argv)
{
	words_given = argv;
	words = xcalloc((size_t)argc + 1, sizeof *words);
	for (int i = 0; i < argc; i++)
		words[i] = xstrdup(argv[i]);
	struct settings_command command = parse_command_line(argc, words);
	exit_if_wrong();
	if (command.ask != ASK_RUN && command.ask != ASK_DUMP) {
		settings_defaults(); /* help must be had when all else is wrong */
		return command;
	}
	know_place();
	know_environment();
	struct generation *g = read_all();
	check_between(g);
	if (command.argc == 0) { /* commands have no use for them, and are run by people who may not read them */
		check_readable(g, ROW_upstream_ca);
		check_readable(g, ROW_mitm_ca);
		check_readable(g, ROW_mitm_ca_cert);
	}
	if (!*g->s.state_dir && !complaints)
		settings_complain("state_dir: HOME is not set, so say where: --state-dir, PASSSAGE_STATE_DIR, or state_dir in the file");
	exit_if_wrong();
	show(g);
	return command;
}

/* What needs a restart keeps its value, so that conf() always is what this process runs by. */
int
settings_reload(void)
{
	const struct generation *old = current();
	bool changed = false;
	reloading = true;
	complaints = 0;
	struct generation *g = read_all();
	for (const struct row *r = rows; r < rows + ROW_MAX && !complaints; r++) {
		const char *was = r->type->print(r, row_value(r, &old->s), &g->arena), *is = r->type->print(r, row_value(r, &g->s), &g->arena);
		if (strcmp(was, is) == 0)
			continue;
		was = settings_redact(r, was, &g->arena);
		is = settings_redact(r, is, &g->arena);
		if (r->info->live) {
			log_info("settings: %s = %s (it was %s)", r->info->key, is, was);
			changed = true;
			continue;
		}
		log_warn("settings: %s = %s needs a restart; it stays %s", r->info->key, is, was);
		memcpy((char *)&g->s + r->offset, row_value(r, &old->s), r->size);
		g->given[r - rows] = old->given[r - rows];
	}
	if (!complaints)
		check_between(g);
	if (complaints || !changed) {
		generation_free(&g);
		return complaints ? -ERR_SETTING : 0;
	}
	show(g);
	return 0;
}
