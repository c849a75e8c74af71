/* cmd.c - see cmd.h: the table, options, and what all pages share. */
#include "cmd.h"
#include <errno.h>
#include <sysexits.h>
#include "../common/log.h"
#include "../common/netrange.h"
#include "../common/settings.h"
#include "request.h"

#define WIDTH 100

/* ---- the table */

static const struct command { const char *name, *words, *text, *more; cmd_f *run; } commands[] = {
#define COMMAND(name, words, text, more) { #name, words, text, more, cmd_##name },
#include "tbl/commands.h"
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static const struct command *command_of(const char *name)
{
	for (unsigned i = 0; i < COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* Words broken at WIDTH, each line indented. */
static void wrap(FILE *f, unsigned indent, const char *text)
{
	for (struct str all = str_c(text); all.n > 0;) {
		struct str line = str_cut(&all, '\n');
		unsigned at = 0;
		while (line.n > 0) {
			struct str word = str_cut(&line, ' ');
			if (at > 0 && at + 1 + word.n > WIDTH) {
				putc('\n', f);
				at = 0;
			}
			at += (unsigned)word.n + (at > 0 ? (unsigned)fprintf(f, " ") : (unsigned)fprintf(f, "%*s", (int)indent, ""));
			fprintf(f, "%.*s", STRP(word));
		}
		putc('\n', f);
	}
}

void cmd_list(FILE *f)
{
	fprintf(f, "\nCommands, for which options that are settings may stand anywhere (\"passsage help COMMAND\" says more):\n");
	for (const struct command *c = commands; c < commands + COMMANDS; c++) {
		fprintf(f, "  %s%s%s\n", c->name, *c->words ? " " : "", c->words);
		wrap(f, 8, c->text);
	}
}

static void mdoc(FILE *f, const char *text)
{
	bool start = true;
	for (; *text; start = *text++ == '\n') {
		if (start && (*text == '.' || *text == '\''))
			fputs("\\&", f);
		fputs(*text == '\\' ? "\\e" : *text == '-' ? "\\-" : (char[2]){ *text }, f);
	}
	putc('\n', f);
}

void cmd_manual(FILE *f)
{
	for (const struct command *c = commands; c < commands + COMMANDS; c++) {
		fprintf(f, ".It Cm %s", c->name);
		if (*c->words)
			fputs(" No ", f);
		mdoc(f, c->words);
		mdoc(f, c->text);
		if (*c->more)
			mdoc(f, c->more);
	}
}

static int explain_command(const struct command *c)
{
	printf("Usage: passsage %s%s%s\n", c->name, *c->words ? " " : "", c->words);
	wrap(stdout, 0, c->text);
	if (*c->more) {
		putchar('\n');
		wrap(stdout, 0, c->more);
	}
	return 0;
}

int cmd_help(int argc, char **argv)
{
	const struct command *c = argc > 1 ? command_of(argv[1]) : NULL;
	if (argc == 2 && strcmp(argv[1], "--mdoc") == 0) { /* for etc/generate */
		cmd_manual(stdout);
		return 0;
	}
	if (argc > 2 || (argc == 2 && c == NULL))
		cmd_refuse("help", argc > 2 ? "one command at a time" : "there is no command %s", argv[1]);
	if (c != NULL)
		return explain_command(c);
	settings_help(stdout);
	cmd_list(stdout);
	return 0;
}

int cmd_steps(int argc, char **argv)
{
	if (argc > 1)
		cmd_refuse(argv[0], "%s: it has no arguments", argv[1]);
	steps_print(stdout);
	return 0;
}

int cmd_run(int argc, char **argv)
{
	const struct command *c = command_of(argv[0]);
	struct arena a;
	arena_init(&a);
	if (c == NULL) {
		struct str names = STR("");
		for (unsigned i = 0; i < COMMANDS; i++)
			names = arena_printf(&a, "%.*s%s%s", STRP(names), i > 0 ? ", " : "", commands[i].name);
		die(EX_USAGE, "%s: there is no such command; there are %.*s", argv[0], STRP(names));
	}
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return explain_command(c);
	log_level = conf()->debug ? LOG_DEBUG : LOG_WARN;
	int status = c->run(argc, argv);
	if (fflush(stdout) != 0 || ferror(stdout))
		die(EX_IOERR, "standard output: %s", strerror(errno));
	return status;
}

void cmd_refuse(const char *name, const char *fmt, ...)
{
	char text[1024];
	const struct command *c = command_of(name);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	fprintf(stderr, "passsage: %s\nUsage: passsage %s%s%s\n", text, name, c != NULL && *c->words ? " " : "", c != NULL ? c->words : "");
	exit(EX_USAGE);
}

/* ---- words */

int cmd_next(struct cmd_words *w, const struct cmd_option *options, unsigned n)
{
	if (++w->at >= w->argc)
		return WORDS_END;
	const char *word = w->argv[w->at];
	if (!w->ended && strcmp(word, "--") == 0) {
		w->ended = true;
		return cmd_next(w, options, n);
	}
	w->value = word;
	if (w->ended || word[0] != '-' || word[1] == 0)
		return WORDS_WORD;
	for (unsigned i = 0; i < n; i++) {
		const struct cmd_option *o = &options[i];
		size_t length = o->name != NULL ? strlen(o->name) : 0;
		const char *behind = NULL;
		if (word[1] == '-' && length > 0 && strncmp(word + 2, o->name, length) == 0 && (word[length + 2] == 0 || word[length + 2] == '='))
			behind = word + length + 2 + (word[length + 2] == '=');
		else if (word[1] != '-' && o->letter != 0 && word[1] == o->letter)
			behind = word + 2;
		if (behind == NULL)
			continue;
		if (!o->takes) {
			if (*behind)
				cmd_refuse(w->argv[0], "%s: it takes no value", word);
			return (int)i;
		}
		if (*behind == 0 && behind[-1] != '=') {
			if (++w->at >= w->argc)
				cmd_refuse(w->argv[0], "%s: needs a value", word);
			behind = w->argv[w->at];
		}
		w->value = behind;
		return (int)i;
	}
	cmd_refuse(w->argv[0], "%s: there is no such option", word);
}

/* ---- pages */

static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : ascii_lower(c) >= 'a' && ascii_lower(c) <= 'f' ? ascii_lower(c) - 'a' + 10 : -1; }

static struct str decoded(struct arena *a, struct str s)
{
	char *p = arena_alloc(a, s.n + 1), *w = p;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '%' && i + 2 < s.n && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0) {
			*w++ = (char)(hex(s.p[i + 1]) << 4 | hex(s.p[i + 2]));
			i += 2;
		} else
			*w++ = s.p[i] == '+' ? ' ' : s.p[i];
	return (struct str){ p, (size_t)(w - p) };
}

bool query_next(struct arena *a, struct str *rest, struct str *name, struct str *value)
{
	if (rest->n == 0)
		return false;
	*value = str_cut(rest, '&');
	*name = decoded(a, str_cut(value, '='));
	*value = decoded(a, *value);
	return true;
}

static const struct { const char *path; cmd_page_f *make; enum cmd_page kind; } pages[] = {
	{ "/debug/explain", page_explain, CMD_TELLS },
	{ "/debug/stored",  page_stored,  CMD_TELLS },
	{ "/purge",         page_purge,   CMD_CHANGES },
	{ "/bans/lift",     page_lift,    CMD_CHANGES },
};
enum { PAGES = sizeof pages / sizeof *pages };

enum cmd_page cmd_page(struct str path)
{
	for (unsigned i = 0; i < PAGES; i++)
		if (str_eq(path, str_c(pages[i].path)))
			return pages[i].kind;
	return CMD_NONE;
}

bool cmd_answer(const struct cmd_place *place, const struct http_request *req, struct arena *a, struct page *out)
{
	for (unsigned i = 0; i < PAGES; i++)
		if (str_eq(req->url.path, str_c(pages[i].path))) {
			pages[i].make(place, req, a, out);
			return true;
		}
	return false;
}

void cmd_say(struct arena *a, struct page *out, int status, const char *fmt, ...)
{
	char line[2048];
	struct page_text t = { .arena = a };
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line - 1, fmt, ap);
	va_end(ap);
	page_addz(&t, line);
	page_addz(&t, "\n");
	page_finish(out, status, STR("text/plain; charset=utf-8"), &t);
}

bool cmd_request(struct arena *a, struct str query, struct http_request *req, const char **problem)
{
	struct str name, value;
	bool has_url = false;
	*req = (struct http_request){ .method = METHOD_GET, .method_name = STR("GET"), .minor = 1 };
	*problem = NULL;
	headers_init(&req->headers, a);
	while (*problem == NULL && query_next(a, &query, &name, &value)) {
		if (str_eq(name, STR("url"))) {
			has_url = true;
			if (url_parse(a, value, &req->url) < 0)
				*problem = arena_printf(a, "%.*s: %s", STRP(value), url_problem(value)).p;
		} else if (str_eq(name, STR("method"))) {
			req->method = http_method(value);
			req->method_name = value;
			if (!field_name_valid(value))
				*problem = arena_printf(a, "%.*s: must be a method such as GET", STRP(value)).p;
		} else if (str_eq(name, STR("header"))) {
			struct str v = value, n = str_cut(&v, ':');
			v = str_trim(v);
			if (n.n == value.n || !field_name_valid(n) || !field_value_valid(v))
				*problem = arena_printf(a, "%.*s: must be a header field such as 'Accept-Encoding: gzip'", STRP(value)).p;
			else
				headers_add(&req->headers, n, v);
		} else if (str_eq(name, STR("client")) && !address_parse(value, &req->client))
			*problem = arena_printf(a, "%.*s: must be an address such as 10.1.2.3 or 2001:db8::1", STRP(value)).p;
	}
	if (*problem == NULL && !has_url)
		*problem = "a URL is missing";
	if (*problem == NULL && !headers_has(&req->headers, STR("Host")))
		headers_add(&req->headers, STR("Host"), url_host_field(a, &req->url));
	return *problem == NULL;
}
