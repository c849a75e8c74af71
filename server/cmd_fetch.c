/* cmd_fetch.c - passsage fetch: with -o a downloader (download.h); without, URLs through the running instance, several at a time, whose bytes are
 * dropped here: it has them now. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>
#include "../certgen/ca.h"
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/fd.h"
#include "../common/log.h"
#include "../common/settings.h"
#include "cmd.h"
#include "download.h"
#include "progress.h"

#define AT_A_TIME 4
#define AT_A_TIME_MAX 256
#define URL_MAX 65536          /* bytes of a line */
#define STACK (256 * 1024)

/* What the threads share; all of it under the lock. */
struct warming {
	pthread_mutex_t lock;
	char **words;              /* URLs, and then: */
	FILE *from;
	const char *from_name;
	struct httpc *httpc;
	const struct headers *headers;
	struct progress bar;
	unsigned long started, done, hits, errors;
	uint64_t bytes;
	int64_t began;
};

/* ---- one URL */

static bool next_url(struct warming *w, struct arena *a, struct str *url)
{
	char line[URL_MAX];
	bool found = false;
	pthread_mutex_lock(&w->lock);
	if (*w->words != NULL) {
		*url = str_c(*w->words++);
		found = true;
	}
	while (!found && w->from != NULL && fgets(line, sizeof line, w->from) != NULL) {
		struct str s = str_c(line);
		while (s.n > 0 && (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == '\r'))
			s.n--;
		s = str_trim(s);
		if (s.n > 0 && s.p[0] != '#') {
			*url = arena_dup(a, s);
			found = true;
		}
	}
	w->started += found;
	pthread_mutex_unlock(&w->lock);
	return found;
}

/* Ours is the last member of Cache-Status: whoever is nearer to the client adds itself behind (RFC 9211 2). */
static bool is_hit(const struct http_response *resp)
{
	struct str member, last = STR_NONE;
	for (struct list_iter it = list_start(&resp->headers, STR("Cache-Status")); list_next(&it, &member);)
		last = member;
	return str_casestarts(last, STR("passsage;")) && str_casehas(last, STR(";hit")) ;
}

static void show(struct warming *w, int64_t now)
{
	char what[64], tail[64];
	snprintf(what, sizeof what, "%lu of %lu%s URLs", w->done, w->started, w->from != NULL || *w->words != NULL ? "+" : "");
	snprintf(tail, sizeof tail, w->errors > 0 ? "%lu failed" : "", w->errors);
	progress_show(&w->bar, what, 0, UINT64_MAX, w->bytes, tail, now);
}

static void add_bytes(struct warming *w, uint64_t n)
{
	pthread_mutex_lock(&w->lock);
	w->bytes += n;
	if (w->bar.on)
		show(w, clock_mono());
	pthread_mutex_unlock(&w->lock);
}

static void report(struct warming *w, struct str url, int status, uint64_t size, bool hit, int64_t ms, const char *problem)
{
	char text[16], code[16];
	size_text(size, text);
	snprintf(code, sizeof code, status > 0 ? "%d" : "---", status);
	pthread_mutex_lock(&w->lock);
	w->done++;
	w->hits += hit;
	w->errors += *problem != 0;
	progress_clear(&w->bar);
	printf("%s %9s %-4s %8.3f s  %.*s%s%s\n", code, text, *problem ? "-" : hit ? "hit" : "miss", (double)ms / 1000, STRP(url), *problem ? ": " : "", problem);
	fflush(stdout);
	pthread_mutex_unlock(&w->lock);
}

static void warm_one(struct warming *w, struct arena *a, struct str url)
{
	char problem[256] = "";
	struct http_response resp = { 0 };
	struct xfer *x = NULL;
	struct url parsed;
	struct str final;
	const void *p;
	uint64_t size = 0;
	int64_t began = clock_mono(), n;
	if (url_parse(a, url, &parsed) < 0) {
		report(w, url, 0, 0, false, 0, "must be a URL such as https://example.com/a.deb");
		return;
	}
	if (get_following(w->httpc, a, url, w->headers, &resp, &final, &x, problem) < 0) {
		report(w, url, 0, 0, false, clock_mono() - began, problem);
		return;
	}
	while ((n = httpc_read(x, &p, NEVER)) > 0) { /* bounded by the read time-out */
		size += (uint64_t)n;
		add_bytes(w, (uint64_t)n);
	}
	if (n < 0)
		snprintf(problem, sizeof problem, "%s", err_text((int)n));
	else if (resp.status >= 300)
		snprintf(problem, sizeof problem, "%s", *http_reason(resp.status) ? http_reason(resp.status) : "no success");
	httpc_end(&x);
	report(w, url, resp.status, size, is_hit(&resp), clock_mono() - began, problem);
}

static void *warm_some(void *arg)
{
	struct warming *w = arg;
	struct arena a;
	struct str url;
	arena_init(&a);
	while (next_url(w, &a, &url)) {
		warm_one(w, &a, url);
		arena_reset(&a);
	}
	arena_fini(&a);
	return NULL;
}

/* ---- through the instance */

/* Where clients on this machine reach it. */
static char *proxy_url(void)
{
	const struct settings *s = conf();
	const char *host = s->bind.n > 0 ? s->bind.v[0] : "127.0.0.1";
	char path[4300], out[512];
	struct str text;
	uint64_t port;
	snprintf(path, sizeof path, "%s/run/port", s->state_dir);
	if (!cmd_instance() || fd_read_file(path, 64, &text) < 0)
		die(EX_UNAVAILABLE, "no passsage runs with the state directory %s (another --state-dir? to download without one: -o FILE)", s->state_dir);
	if (!str_u64(str_upto(text, strcspn(text.p, "\n")), 65535, &port) || port == 0)
		die(EX_UNAVAILABLE, "%s: is no port", path);
	free((char *)(uintptr_t)text.p);
	if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "*") == 0)
		host = "127.0.0.1";
	else if (strcmp(host, "::") == 0)
		host = "::1";
	snprintf(out, sizeof out, strchr(host, ':') != NULL && host[0] != '[' ? "http://[%s]:%u" : "http://%s:%u", host, (unsigned)port);
	return xstrdup(out);
}

static int warm(struct warming *w, unsigned threads)
{
	char ca[4300], text[16];
	pthread_t thread[AT_A_TIME_MAX];
	pthread_attr_t attr;
	snprintf(ca, sizeof ca, "%s/ca/" CA_CERT_FILE ".pem", conf()->state_dir);
	char *proxy = proxy_url();
	const struct httpc_options ho = { .ca_file = ca, .max_connections = (long)threads + 1, .via_proxy = proxy };
	w->httpc = httpc_start(&ho);
	w->began = clock_mono();
	pthread_mutex_init(&w->lock, NULL);
	progress_begin(&w->bar);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK + URL_MAX);
	for (unsigned i = 0; i < threads; i++) {
		int e = pthread_create(&thread[i], &attr, warm_some, w);
		if (e != 0)
			die(EX_OSERR, "a thread cannot be made: %s", strerror(e));
	}
	for (unsigned i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	progress_clear(&w->bar);
	if (w->from != NULL && ferror(w->from))
		die(EX_IOERR, "%s: %s", w->from_name, strerror(errno));
	httpc_stop(&w->httpc);
	size_text(w->bytes, text);
	printf("%lu URL%s, %s in %.3f s: %lu hit%s, %lu failed\n", w->done, w->done == 1 ? "" : "s", text, (double)(clock_mono() - w->began) / 1000, w->hits,
	       w->hits == 1 ? "" : "s", w->errors);
	free(proxy);
	return w->errors > 0 ? 1 : 0;
}

/* ---- words */

static void add_field(struct headers *h, const char *text)
{
	struct str v = str_c(text), n = str_cut(&v, ':');
	v = str_trim(v);
	if (n.n == strlen(text) || !field_name_valid(n) || !field_value_valid(v))
		cmd_refuse("fetch", "%s: must be a header field such as 'Accept: application/json'", text);
	if (str_caseeq(n, STR("Range")) || str_casestarts(n, STR("If-")))
		cmd_refuse("fetch", "%s: a whole object is fetched, without conditions", text);
	headers_add(h, n, v);
}

int cmd_fetch(int argc, char **argv)
{
	enum { FILE_NAME, AT_ONCE, FROM, FIELD, OPTIONS };
	static const struct cmd_option options[] = { [FILE_NAME] = { 'o', "output", true }, [AT_ONCE] = { 'j', "jobs", true }, [FROM] = { 0, "from", true },
	                                             [FIELD] = { 'H', "header", true } };
	struct cmd_words words = { argc, argv, 0, NULL, false };
	char **urls = xcalloc((size_t)argc + 1, sizeof *urls);
	const char *file = NULL, *jobs = NULL, *from = NULL;
	unsigned n = 0;
	uint64_t threads = AT_A_TIME;
	struct arena a;
	struct headers h;
	struct url url;
	arena_init(&a);
	headers_init(&h, &a);
	for (int o; (o = cmd_next(&words, options, OPTIONS)) != WORDS_END;) {
		if (o == WORDS_WORD)
			urls[n++] = (char *)(uintptr_t)words.value;
		else if (o == FIELD)
			add_field(&h, words.value);
		else
			*(o == FILE_NAME ? &file : o == AT_ONCE ? &jobs : &from) = words.value;
	}
	if (file != NULL && (jobs != NULL || from != NULL))
		cmd_refuse("fetch", "%s is for fetching through the instance, without -o%s", jobs != NULL ? "-j" : "--from", jobs != NULL ? "; there is --http-concurrency" : "");
	if (n == 0 && from == NULL)
		cmd_refuse("fetch", "fetch what? A URL is missing");
	if (file != NULL && n > 1)
		cmd_refuse("fetch", "one URL at a time goes into a file");
	if (file != NULL && (*file == 0 || strcmp(file, "-") == 0))
		cmd_refuse("fetch", "-o: must be the name of a file");
	if (jobs != NULL && (!str_u64(str_c(jobs), AT_A_TIME_MAX, &threads) || threads == 0))
		cmd_refuse("fetch", "-j %s: must be 1 to %d", jobs, AT_A_TIME_MAX);
	for (unsigned i = 0; i < n; i++)
		if (url_parse(&a, str_c(urls[i]), &url) < 0)
			cmd_refuse("fetch", "%s: must be a URL such as https://example.com/a.deb", urls[i]);
	if (!headers_has(&h, STR("User-Agent")))
		headers_add(&h, STR("User-Agent"), STR("passsage/" PACKAGE_VERSION));
	if (!headers_has(&h, STR("Accept")))
		headers_add(&h, STR("Accept"), STR("*/*"));
	signal(SIGPIPE, SIG_IGN);
	int status;
	if (file != NULL) {
		status = download(str_c(urls[0]), &h, file);
	} else {
		struct warming w = { .words = urls, .headers = &h, .from_name = from };
		if (from != NULL && (w.from = strcmp(from, "-") == 0 ? stdin : fopen(from, "re")) == NULL)
			die(EX_NOINPUT, "%s: %s", from, strerror(errno));
		status = warm(&w, (unsigned)threads);
		if (w.from != NULL && w.from != stdin)
			fclose(w.from);
	}
	free(urls);
	arena_fini(&a);
	return status;
}
