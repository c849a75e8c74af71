/* cmd.c - see cmd.h: the table, options, and both ways to an answer. */
#include "cmd.h"
#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>
#include "../common/err.h"
#include "../common/fd.h"
#include "../common/log.h"
#include "../common/settings.h"
#include "../s3/chunks.h"
#include "request.h"
#include "worker.h"

#define SOCKET_TRIES 30          /* an instance that just starts, or whose admin process is started again, listens soon … */
#define SOCKET_NAP_MS 100        /* … so this is three seconds */
#define QUEUE_MAX 1024           /* documents that wait to be dropped */
#define CHUNK_FDS 16
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
	fprintf(stderr, "passsage: %s\nUsage: passsage %s %s\n", text, name, c != NULL ? c->words : "");
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

/* ---- questions */

static bool unreserved(char c) { return (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || (c >= '0' && c <= '9') || (c != 0 && strchr("-._~/:", c) != NULL); }

void question_begin(struct cmd_question *q, const char *path)
{
	arena_init(&q->arena);
	q->target = arena_dup(&q->arena, str_c(path));
}

void question_add(struct cmd_question *q, const char *name, const char *value)
{
	size_t n = strlen(value);
	char *p = arena_alloc(&q->arena, 3 * n + 1), *w = p;
	for (size_t i = 0; i < n; i++)
		if (unreserved(value[i]))
			*w++ = value[i];
		else
			w += snprintf(w, 4, "%%%02X", (unsigned char)value[i]);
	*w = 0;
	q->target = arena_printf(&q->arena, "%.*s%c%s=%s", STRP(q->target), str_has(q->target, STR("?")) ? '&' : '?', name, p);
}

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

/* ---- the instance's socket. A path for it may be 107 bytes long, and state directories may be longer: by its folder's descriptor. */

static int socket_address(struct sockaddr_un *sa, int *dir)
{
	char path[4200];
	snprintf(path, sizeof path, "%s/run", conf()->state_dir);
	*dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(sa->sun_path, sizeof sa->sun_path, "/proc/self/fd/%d/admin", *dir);
	return *dir < 0 ? -1 : 0;
}

int cmd_socket_listen(void)
{
	struct sockaddr_un sa;
	int dir, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (socket_address(&sa, &dir) == 0) {
		unlinkat(dir, "admin", 0); /* an earlier one's: the lock on run/lock says that it is gone */
		mode_t mask = umask(0177);
		int r = bind(fd, (struct sockaddr *)&sa, sizeof sa);
		umask(mask);
		if (r == 0 && listen(fd, 64) == 0) {
			close(dir);
			return fd;
		}
	}
	int e = errno;
	fd_close(&dir);
	close(fd);
	errno = e;
	return -1;
}

/* Master and children hold run/lock as long as one of them lives. */
bool cmd_instance(void)
{
	char path[4200];
	snprintf(path, sizeof path, "%s/run/lock", conf()->state_dir);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool held = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	fd_close(&fd);
	return held;
}

static size_t collect(char *p, size_t size, size_t n, void *arg)
{
	page_add(arg, (struct str){ p, size * n });
	return size * n;
}

/* > 0 the status; 0 nobody listens there; -1 with errno. */
static int ask_instance(struct cmd_question *q, const char *method, struct str *body)
{
	struct sockaddr_un sa;
	struct page_text t = { .arena = &q->arena };
	long status = 0, os = 0;
	int dir;
	if (socket_address(&sa, &dir) < 0)
		return errno == ENOENT ? 0 : -1;
	CURL *h = curl_easy_init();
	if (h == NULL)
		die(EX_SOFTWARE, "libcurl cannot be set up");
	curl_easy_setopt(h, CURLOPT_URL, arena_printf(&q->arena, "http://passsage%.*s", STRP(q->target)).p);
	curl_easy_setopt(h, CURLOPT_UNIX_SOCKET_PATH, sa.sun_path);
	curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(h, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, collect);
	curl_easy_setopt(h, CURLOPT_WRITEDATA, &t);
	CURLcode e = curl_easy_perform(h); /* as long as it takes: a purge looks at every document */
	curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(h, CURLINFO_OS_ERRNO, &os);
	curl_easy_cleanup(h);
	close(dir);
	*body = (struct str){ t.p, t.n };
	if (e == CURLE_OK)
		return (int)status;
	if (e == CURLE_COULDNT_CONNECT && (os == ENOENT || os == ECONNREFUSED || os == 0))
		return 0;
	errno = (int)os;
	return -1;
}

/* ---- without an instance */

/* What root wrote here the instance could not change. */
static void become_owner(const char *dir)
{
	struct stat st;
	if (geteuid() != 0 || stat(dir, &st) < 0 || st.st_uid == 0)
		return;
	if (setgroups(0, NULL) < 0 || setegid(st.st_gid) < 0 || seteuid(st.st_uid) < 0)
		die(EX_OSERR, "cannot become the owner of %s: %s", dir, strerror(errno));
}

void cmd_state_close(struct cmd_place *p)
{
	metadata_close(&p->metadata);
	chunks_close(&p->chunks);
	if (getuid() == 0 && (seteuid(0) < 0 || setegid(0) < 0))
		die(EX_OSERR, "cannot become root again: %s", strerror(errno));
}

void cmd_place_open(struct cmd_place *p, bool writes)
{
	const struct settings *s = conf();
	char path[4300];
	snprintf(path, sizeof path, "%s/meta", s->state_dir);
	const struct metadata_options mo = { .dir = xstrdup(path), .map_size = s->meta_size, .commit_ms = s->commit_ms, .queue_max = QUEUE_MAX, .recorder = writes };
	snprintf(path, sizeof path, "%s/store", s->state_dir);
	const struct chunks_options co = { .dir = xstrdup(path), .fds = CHUNK_FDS, .verify_after_ms = 1 };
	if (metadata_open(&p->metadata, &mo) < 0 || chunks_open(&p->chunks, &co) < 0) {
		log_error("%s: the name is too long", path);
		p->metadata = NULL;
	}
}

void cmd_state(struct cmd_place *p, bool writes)
{
	char path[4300];
	snprintf(path, sizeof path, "%s/meta/data.mdb", conf()->state_dir);
	if (access(path, F_OK) < 0)
		return;
	snprintf(path, sizeof path, "%s/meta", conf()->state_dir);
	become_owner(path);
	if (eaccess(path, W_OK | X_OK) < 0) /* readers, too, write to LMDB's table of readers */
		die(EX_NOPERM, "%s: %s (run this as its owner, or as root)", path, strerror(errno));
	cmd_place_open(p, writes);
	const char *trouble = p->metadata != NULL ? metadata_health(p->metadata) : NULL;
	if (trouble != NULL)
		die(EX_IOERR, "%s: %s", path, trouble);
}

static int answer_here(struct cmd_question *q, const char *method, struct str *body)
{
	char problem[RULE_PROBLEM];
	struct cmd_place place = { .rules = rules_read(problem) };
	struct http_request req = { .method = http_method(str_c(method)), .method_name = str_c(method), .minor = 1 };
	struct page page;
	if (place.rules == NULL)
		die(EX_USAGE, "%s", problem);
	headers_init(&req.headers, &q->arena);
	struct str query = q->target, path = str_cut(&query, '?');
	req.url = (struct url){ .path = path, .query = query };
	cmd_state(&place, cmd_page(path) == CMD_CHANGES);
	if (place.metadata == NULL && cmd_page(path) == CMD_CHANGES)
		die(EX_NOINPUT, "%s has no stored objects of passsage (setting state_dir: another --state-dir?)", conf()->state_dir);
	if (!cmd_answer(&place, &req, &q->arena, &page))
		die(EX_SOFTWARE, "%.*s: nobody can answer this", STRP(path));
	cmd_state_close(&place);
	*body = page.body;
	return page.status;
}

int question_ask(struct cmd_question *q, const char *method, struct str *body)
{
	const struct timespec nap = { 0, SOCKET_NAP_MS * 1000000 };
	for (int i = 0; i < SOCKET_TRIES; i++) {
		int status = ask_instance(q, method, body);
		if (status > 0)
			return status;
		if (status < 0 && (errno == EACCES || errno == EPERM))
			die(EX_NOPERM, "%s/run/admin: %s (run this as the user that passsage runs as, or as root)", conf()->state_dir, strerror(errno));
		if (status < 0)
			die(EX_UNAVAILABLE, "%s/run/admin: passsage broke off before it had answered: %s", conf()->state_dir, strerror(errno));
		if (!cmd_instance())
			return answer_here(q, method, body);
		nanosleep(&nap, NULL);
	}
	die(EX_UNAVAILABLE, "%s: a passsage runs there, but does not answer at run/admin", conf()->state_dir);
}

int question_print(struct cmd_question *q, const char *method)
{
	struct str body;
	int status = question_ask(q, method, &body);
	bool well = status == 200 || status == 404;
	if (!well)
		fputs("passsage: ", stderr);
	fwrite(body.p, 1, body.n, well ? stdout : stderr);
	arena_fini(&q->arena);
	return status == 200 ? 0 : status == 404 ? 1 : status == 400 ? EX_USAGE : EX_UNAVAILABLE;
}

/* ---- pages */

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

static bool client_of(struct str text, struct in6_addr *out)
{
	char z[INET6_ADDRSTRLEN];
	struct in_addr v4;
	snprintf(z, sizeof z, "%.*s", STRP(text));
	if (inet_pton(AF_INET, z, &v4) == 1) {
		*out = (struct in6_addr){ .s6_addr = { [10] = 0xff, [11] = 0xff } };
		memcpy(out->s6_addr + 12, &v4, 4);
		return true;
	}
	return inet_pton(AF_INET6, z, out) == 1;
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
				*problem = arena_printf(a, "%.*s: must be a URL such as https://example.com/a.deb", STRP(value)).p;
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
		} else if (str_eq(name, STR("client")) && !client_of(value, &req->client))
			*problem = arena_printf(a, "%.*s: must be an address such as 10.1.2.3 or 2001:db8::1", STRP(value)).p;
	}
	if (*problem == NULL && !has_url)
		*problem = "a URL is missing";
	if (*problem == NULL && !headers_has(&req->headers, STR("Host")))
		headers_add(&req->headers, STR("Host"), url_host_field(a, &req->url));
	return *problem == NULL;
}
