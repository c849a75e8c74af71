/* Our own words: error pages, the onboarding pages, and the script, which real shells run here. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../../common/err.h"
#include "../../server/onboard.h"
#include "tap.h"

static struct arena arena;

static struct http_request
request(const char *method, const char *url, const char *accept)
{
	struct http_request req = { .method = http_method(str_c(method)), .method_name = str_c(method), .minor = 1 };

	headers_init(&req.headers, &arena);
	if (accept)
		headers_add(&req.headers, STR("Accept"), str_c(accept));
	if (url_parse(&arena, str_c(url), &req.url) < 0)
		ok(false, "%s is a URL", url);
	return req;
}

static struct str
type_of(const struct page *p)
{
	return headers_get(&p->headers, STR("Content-Type"));
}

static void
test_forms(void)
{
	static const struct { const char *accept; enum page_form want; const char *who; } rows[] = {
		{ NULL, PAGE_TEXT, "nothing said" },
		{ "*/*", PAGE_TEXT, "curl" },
		{ "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", PAGE_HTML, "a browser" },
		{ "application/json", PAGE_JSON, "a program" },
		{ "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*", PAGE_JSON, "npm" },
		{ "text/html;q=0.3, application/json;q=0.5", PAGE_JSON, "the heavier one" },
		{ "text/html;q=0.51, application/json;q=0.5", PAGE_HTML, "weights have three digits" },
		{ "application/json, text/plain, */*", PAGE_JSON, "the first of equals" },
		{ "text/html;q=0", PAGE_TEXT, "what is refused" },
		{ "TEXT/HTML ; Q=1.0", PAGE_HTML, "case does not matter" },
		{ "text/html;q=", PAGE_HTML, "a weight that is none" },
		{ ";;,,text/html", PAGE_HTML, "empty members" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct http_request req = request("GET", "http://a/", rows[i].accept);
		is_int(page_form(&req, PAGE_TEXT), rows[i].want, "RFC 9110 12.5.1: %s", rows[i].who);
	}
	is_int(page_form(NULL, PAGE_HTML), PAGE_HTML, "a request that could not be read has no opinion");
}

static void
test_errors(void)
{
	const struct errorpage_context ctx = { STR("id-1"), STR("host<1>") };
	struct http_request req = request("GET", "https://a.example:8443/x", "text/html"), none = { 0 };
	struct page p;
	bool whole = true;

	errorpage_make(&ctx, -ERR_ORIGIN_CONNECT, "connect to <script>alert('\"&')</script> failed", &req, &arena, &p);
	is_int(p.status, 502, "the status is the error's");
	is_str(headers_get(&p.headers, STR("Cache-Control")), STR("no-store"), "nobody stores an error page");
	ok(str_starts(type_of(&p), STR("text/html")), "HTML for a browser");
	ok(!str_has(p.body, STR("<script")) && str_has(p.body, STR("&lt;script&gt;alert(&#39;&quot;&amp;&#39;)")), "the problem's text is escaped");
	ok(str_has(p.body, STR("https://a.example:8443")) && str_has(p.body, STR("id-1")) && str_has(p.body, STR("host&lt;1&gt;")),
	   "the page names the origin, the request and the proxy");
	ok(headers_has(&p.headers, STR("Content-Security-Policy")), "the page runs nothing");
	ok(!str_has(p.body, STR("src=")) && !str_has(p.body, STR("@import")), "the page loads nothing");

	req = request("GET", "https://a.example/x", "application/json");
	errorpage_make(&ctx, -ERR_ORIGIN_CERT, "a \"quote\", a \\, a \n, \xff and \xc3\xa9", &req, &arena, &p);
	is_str(type_of(&p), STR("application/json"), "JSON for a program");
	ok(str_has(p.body, STR("\"detail\":\"a \\\"quote\\\", a \\\\, a \\u000a, \\ufffd and \xc3\xa9\"")), "whose strings are valid whatever is in them");
	ok(str_has(p.body, STR("\"error\":\"ORIGIN_CERT\"")) && str_has(p.body, STR("\"origin\":\"https://a.example\"")), "and say what a program asks");

	req = request("GET", "https://a.example/x", NULL);
	errorpage_make(&ctx, -ERR_ORIGIN_TIMEOUT, "x\033[31my", &req, &arena, &p);
	ok(str_starts(type_of(&p), STR("text/plain")) && p.status == 504, "text for curl");
	ok(!memchr(p.body.p, 033, p.body.n), "without escape sequences");

	errorpage_make(&ctx, -ERR_BAD_REQUEST, "two Hosts (RFC 9112 3.2)", &none, &arena, &p);
	ok(p.status == 400 && str_has(p.body, STR("two Hosts (RFC 9112 3.2)")), "400 says which rule was broken, though nothing was read");
	errorpage_make(&ctx, -ERR_BAD_REQUEST, NULL, NULL, &arena, &p);
	ok(p.status == 400 && p.body.n, "and works without any request");
	for (int e = 1; e < ERR_MAX; e++)
		for (int form = 0; form < 3; form++) {
			req = request("GET", "https://a.example/x", (const char *[]){ "text/plain", "text/html", "application/json" }[form]);
			errorpage_make(&ctx, -e, "", &req, &arena, &p);
			whole &= p.status == err_status(-e) && p.body.n > 80;
		}
	ok(whole, "every error of the table has a page in every form");
	struct { int err, status; } rows[] = { { ERR_URI_TOO_LONG, 414 }, { ERR_HEAD_TOO_LARGE, 431 }, { ERR_NOT_IMPLEMENTED, 501 }, { ERR_LOOP, 508 } };
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		errorpage_make(&ctx, -rows[i].err, err_text(-rows[i].err), &req, &arena, &p);
		ok(p.status == rows[i].status && !str_has(p.body, STR("\"detail\"")), "%d has its page, and says things once", rows[i].status);
	}

	req = request("GET", "http://proxy:8080/", "text/html");
	errorpage_self(&ctx, &req, &arena, &p);
	ok(p.status == 200 && str_has(p.body, STR("http://proxy:8080")), "GET / of the proxy itself helps");
	req = request("GET", "http://proxy:8080/file.tar", NULL);
	errorpage_self(&ctx, &req, &arena, &p);
	is_int(p.status, 400, "any other path is refused, so that nobody takes our words for a file");
	req = request("POST", "http://proxy:8080/", NULL);
	errorpage_self(&ctx, &req, &arena, &p);
	is_int(p.status, 400, "and so is any other method");
	req.url.host = STR("");
	errorpage_self(&ctx, &req, &arena, &p);
	ok(p.status == 400 && str_has(p.body, STR("ADDRESS:PORT")), "HTTP/1.0 without a Host gets the same");
	arena_reset(&arena);
}

#define LINE1 "MIIBszCCAVmgAwIBAgIUSomeSerialNumberHere0aCgYIKoZIzj0EAwIwHjEcMBo0"
#define LINE2 "QmFzZTY0TGluZU9mVGhlU2lnbmF0dXJlVGhhdE5vT3RoZXJDZXJ0aWZpY2F0ZUhh"
#define CERT "-----BEGIN CERTIFICATE-----\n" LINE1 "\n" LINE2 "\nc2g=\n-----END CERTIFICATE-----\n"
#define PROXY "http://u:p'w \"$(touch pwned)`touch pwned`$HOME;\\n\\\\&|*!@h:8080"
#define EXTRA ".a b,'c',$(touch pwned)"
#define BASE "localhost,127.0.0.1,::1,169.254.169.254,169.254.170.2,.amazonaws.com"

static const struct onboard_context hostile = { STR(PROXY), STR(EXTRA), STR(CERT), STR("der"), STR("p12"), STR("s3'.example") };
static const struct onboard_context plain = { STR("http://proxy.example:3128"), STR_NONE, STR(CERT), STR("der"), STR("p12"), STR_NONE };

static void
test_pages(void)
{
	static const struct { const char *method, *path; int status; const char *type, *has; } rows[] = {
		{ "GET", "/", 200, "text/html; charset=utf-8", "http://proxy.example:3128" },
		{ "HEAD", "/", 200, "text/html; charset=utf-8", NULL },
		{ "GET", "/?x", 200, "text/html; charset=utf-8", NULL },
		{ "GET", "/cert/pem", 200, "application/x-x509-ca-cert", CERT },
		{ "HEAD", "/cert/pem", 200, "application/x-x509-ca-cert", NULL },
		{ "GET", "/cert/cer", 200, "application/x-x509-ca-cert", "der" },
		{ "GET", "/cert/p12", 200, "application/x-pkcs12", "p12" },
		{ "GET", "/proxy-env", 200, "text/plain; charset=utf-8", LINE2 },
		{ "GET", "/proxy-env.sh", 200, "text/plain; charset=utf-8", LINE2 },
		{ "POST", "/proxy-env", 200, "text/plain; charset=utf-8", LINE2 },
		{ "DELETE", "/proxy-env.sh", 200, "text/plain; charset=utf-8", LINE2 },
		{ "POST", "/", 405, "text/plain; charset=utf-8", "http://mitm.it/" },
		{ "PUT", "/cert/pem", 405, "text/plain; charset=utf-8", NULL },
		{ "GET", "/nothing", 404, "text/plain; charset=utf-8", "http://mitm.it/cert/pem" },
		{ "GET", "/cert/pem/", 404, "text/plain; charset=utf-8", NULL },
	};
	static const char *const told[] = { "Linux", "macOS", "Windows", "Docker", "Kubernetes", "pip", "npm", "cargo", "Go", "Java", "curl", "apt",
		"git", "Python requests", "/cert/pem", "/cert/cer", "/cert/p12", "/proxy-env.sh" };
	struct http_request req;
	struct page p;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		req = request(rows[i].method, arena_printf(&arena, "http://mitm.it%s", rows[i].path).p, NULL);
		onboard_answer(&plain, &req, &arena, &p);
		ok(p.status == rows[i].status && str_eq(type_of(&p), str_c(rows[i].type)) && (!rows[i].has || str_has(p.body, str_c(rows[i].has))) &&
		   p.body.n && str_eq(headers_get(&p.headers, STR("Cache-Control")), STR("no-store")), "%s %s: %d", rows[i].method, rows[i].path, rows[i].status);
	}
	req = request("GET", "https://mitm.it/cert/pem", NULL);
	onboard_answer(&plain, &req, &arena, &p);
	is_str(headers_get(&p.headers, STR("Content-Disposition")), STR("attachment; filename=mitmproxy-ca-cert.pem"), "browsers save the certificate");
	req = request("PUT", "https://mitm.it/cert/pem", NULL);
	onboard_answer(&plain, &req, &arena, &p);
	is_str(headers_get(&p.headers, STR("Allow")), STR("GET, HEAD"), "405 says what is allowed");
	for (int form = 0; form < 2; form++) {
		bool all = true;
		req = request("GET", "http://mitm.it/", form ? "text/plain" : "text/html");
		onboard_answer(&plain, &req, &arena, &p);
		for (size_t i = 0; i < sizeof told / sizeof *told; i++)
			if (!str_has(p.body, str_c(told[i])))
				all = false, printf("# no %s\n", told[i]);
		ok(all && str_has(p.body, STR("-Dhttps.proxyHost=proxy.example -Dhttps.proxyPort=3128")) && !str_has(p.body, STR("{proxy}")),
		   "the index explains itself for all, as %s", form ? "text" : "HTML");
		ok(form || (!str_has(p.body, STR("<script")) && str_has(p.body, STR("prefers-color-scheme"))), "and needs no script");
	}
	struct onboard_context c = plain;
	c.proxy_url = STR("http://x\"><script>:8080");
	onboard_answer(&c, &(struct http_request){ .method = METHOD_GET, .url.path = STR("/") }, &arena, &p);
	ok(!str_has(p.body, STR("<script")), "a proxy URL cannot break out of the page");

	c = plain;
	c.ca_pem = STR("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\nsubject=x\r\n" CERT "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n");
	req = request("GET", "http://mitm.it/cert/pem", NULL);
	onboard_answer(&c, &req, &arena, &p);
	is_str(p.body, STR(CERT), "nothing but certificates is shown, even when the CA's file has the key in it");
	c.ca_pem = STR("-----BEGIN CERTIFICATE-----\n" LINE1 "\n-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n-----END CERTIFICATE-----\n");
	onboard_answer(&c, &req, &arena, &p);
	ok(p.status == 500 && !str_has(p.body, STR("c2VjcmV0")), "a broken file shows nothing");
	c.ca_pem = STR_NONE;
	req = request("GET", "http://mitm.it/proxy-env", NULL);
	onboard_answer(&c, &req, &arena, &p);
	ok(p.status == 500 && str_has(p.body, STR("proxy env script unavailable")), "without a certificate there is no script (behaviour 9.1)");
	arena_reset(&arena);
}

/* The rest runs in a folder of its own: home/, bin/, tmp/, env.sh. */
static char dir[64];

static void
write_file(const char *name, struct str text, mode_t mode)
{
	int fd = openat(AT_FDCWD, name, O_WRONLY | O_CREAT | O_TRUNC, mode);

	if (fd < 0 || write(fd, text.p, text.n) != (ssize_t)text.n)
		ok(false, "%s can be written", name);
	close(fd);
}

/* Runs words with env and input; its standard output, at most 64 KiB, is returned. */
static struct str
run(const char *const words[], const char *const env[], struct str input, int *status)
{
	int in[2], out[2], st = -1;
	char *text = arena_alloc(&arena, 65536);
	size_t n = 0;
	ssize_t got;
	pid_t pid;

	if (pipe(in) < 0 || pipe(out) < 0)
		return STR_NONE;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		alarm(20);
		signal(SIGPIPE, SIG_DFL);
		int err = open("err", O_WRONLY | O_CREAT | O_APPEND, 0600);
		dup2(in[0], 0), dup2(out[1], 1), dup2(err, 2);
		close(in[0]), close(in[1]), close(out[0]), close(out[1]), close(err);
		execvpe(words[0], (char *const *)(uintptr_t)words, (char *const *)(uintptr_t)env);
		_exit(127);
	}
	close(in[0]), close(out[1]);
	if (input.n && write(in[1], input.p, input.n) < 0)
		n = 0; /* the reader has gone: its status tells */
	close(in[1]);
	while (n < 65536 && (got = read(out[0], text + n, 65536 - n)) > 0)
		n += (size_t)got;
	close(out[0]);
	waitpid(pid, &st, 0);
	*status = WIFEXITED(st) ? WEXITSTATUS(st) : -1;
	return (struct str){ text, n };
}

static struct str
slurp(const char *name)
{
	char *text = arena_alloc(&arena, 1 << 20);
	int fd = open(name, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, 1 << 20);

	if (fd >= 0)
		close(fd);
	return n < 0 ? STR_NONE : (struct str){ text, (size_t)n };
}

static bool
exists(const char *name)
{
	struct stat st;
	return lstat(name, &st) == 0;
}

#define HOME_NAME "it's a \"home\""
static const char *const shells[][4] = {
	{ "sh" }, { "dash" }, { "bash" }, { "bash", "--posix" }, { "zsh", "-f" }, { "busybox", "ash" }, { "mksh" },
};

/* A shell, an option more, a script on its standard input. */
static void
shell_words(const char *words[8], size_t shell, const char *option, const char *script)
{
	size_t n = 0;

	for (size_t i = 0; i < 4 && shells[shell][i]; i++)
		words[n++] = shells[shell][i];
	if (option)
		words[n++] = option;
	words[n++] = script;
	words[n] = NULL;
}

static void
test_script(size_t shell, const char *name, const char *home, const char *path)
{
	static const char driver[] =
		"set -C\nalias rm='echo alias' cp='echo alias' grep='echo alias' cat='echo alias' mv='echo alias' 2>/dev/null || :\n"
		"before=$(set +o)\n. ./env.sh\n. ./env.sh\nafter=$(set +o)\n"
		"[ \"$before\" = \"$after\" ] && echo same\ntrap > trap.now; command cat trap.now; command rm -f trap.now\n"
		"command -v _passsage_main _passsage_say || :\nset | command grep '^_passsage' || :\n"
		"printf '%s\\n' \"$HTTP_PROXY\" \"$HTTPS_PROXY\" \"$http_proxy\" \"$https_proxy\" \"$NO_PROXY\" \"$no_proxy\"\n"
		"printf '%s\\n' \"${SSL_CERT_FILE-}\"\n"
		"[ \"${SSL_CERT_FILE-}$PIP_CERT$CURL_CA_BUNDLE$CARGO_HTTP_CAINFO$NODE_EXTRA_CA_CERTS$REQUESTS_CA_BUNDLE\" = "
		"\"$GIT_SSL_CAINFO$GIT_SSL_CAINFO$GIT_SSL_CAINFO$GIT_SSL_CAINFO$GIT_SSL_CAINFO$GIT_SSL_CAINFO\" ] && echo equal\necho alive\n";
	static const char values[] = PROXY "\n" PROXY "\n" PROXY "\n" PROXY "\n" BASE ",s3'.example," EXTRA "\n" BASE ",s3'.example," EXTRA "\n";
	const char *words[8];
	const char *env[] = { home, path, "TMPDIR=tmp", "PASSSAGE_NO_CERTIFICATE=1", NULL };
	const char *saved_name = HOME_NAME "/.passsage/proxy-env.sh";
	int st;
	struct str out;
	bool bundle = exists("/etc/ssl/certs/ca-certificates.crt");

	write_file("driver.sh", str_c(driver), 0600);
	for (int strict = 0; strict < 2; strict++) {
		unlink(saved_name);
		shell_words(words, shell, strict ? "-eu" : NULL, "./driver.sh");
		out = run(words, env, STR_NONE, &st);
		if (st == 127 && out.n == 0) {
			ok(true, "%s: the script # SKIP there is no %s here", name, name);
			return;
		}
		struct str want = arena_printf(&arena, "same\n%s%s\nequal\nalive\n", values, bundle ? "/etc/ssl/certs/ca-certificates.crt" : "");
		if (bundle || exists("/etc/ssl/cert.pem") || exists("/etc/pki/tls/certs/ca-bundle.crt") || exists("/etc/ssl/ca-bundle.pem"))
			if (!ok(str_starts(out, arena_printf(&arena, "same\n%s", values)) && str_ends(out, STR("\nequal\nalive\n")) && (!bundle || str_eq(out, want)) && st == 0,
			   "%s%s: sourced twice it sets what it should, and leaves the shell alive and as it was", name, strict ? " -eu" : ""))
				printf("# status %d\n# %.*s\n", st, STRP(out));
		/* what it left for other shells */
		shell_words(words, shell, "-c", ". \"$HOME/.passsage/proxy-env.sh\"; printf '%s\\n' \"$HTTP_PROXY\" \"$HTTPS_PROXY\" \"$http_proxy\" "
			"\"$https_proxy\" \"$NO_PROXY\" \"$no_proxy\"");
		out = run(words, (const char *const[]){ home, path, NULL }, STR_NONE, &st);
		is_str(out, str_c(values), "%s%s: the file that it leaves says the same", name, strict ? " -eu" : "");
	}
	unlink(saved_name);
	shell_words(words, shell, "-s", "--");
	for (size_t i = 0; i < 8; i++)
		if (!words[i]) {
			words[i] = "--no-certificate";
			words[i + 1] = NULL;
			break;
		}
	out = run(words, (const char *const[]){ home, path, "TMPDIR=tmp", NULL }, slurp("env.sh"), &st);
	ok(st == 0 && out.n == 0 && exists(saved_name), "%s: piped into it, the script says nothing on standard output and leaves its file", name);
	unlink(saved_name);
	if (strcmp(name, "sh") == 0 || strcmp(name, "zsh") == 0 || strcmp(name, "bash") == 0) {
		shell_words(words, shell, "-c", "eval \"$(command cat env.sh)\"; printf %s \"$HTTP_PROXY\"");
		out = run(words, env, STR_NONE, &st);
		is_str(out, STR(PROXY), "%s: eval \"$(curl …)\" works as well", name);
		unlink(saved_name);
	}
	ok(!exists("pwned") && !exists(HOME_NAME "/pwned"), "%s: no value was ever run", name);
	ok(rmdir("tmp") == 0 && mkdir("tmp", 0700) == 0, "%s: no temporary file is left", name);
}

/* When the system cannot be changed there is a bundle in the home. bin/ holds what the script may use: nothing of the system is touched. */
static void
test_private(size_t shell, const char *name, const char *home)
{
	static const struct { const char *promise, *id, *sudo, *tool; } rows[] = {
		{ "no tool for it", "0", NULL, NULL },
		{ "no root and no sudo", "1000", NULL, "#!/bin/sh\ntouch called\n" },
		{ "a sudo that refuses", "1000", "#!/bin/sh\nexit 1\n", "#!/bin/sh\ntouch called\n" },
	};
	static const char driver[] = ". ./env.sh\nprintf '%s\\n' \"$SSL_CERT_FILE\"\n. ./env.sh\nprintf '%s\\n' \"$CURL_CA_BUNDLE\"\n";
	char path[128];
	const char *words[8];
	int st;

	snprintf(path, sizeof path, "PATH=%s/bin", dir);
	write_file("driver.sh", str_c(driver), 0600);
	/* A shell with an id (and a cp) of its own, as busybox can be built, would reach the system: not with that one. */
	unlink("bin/id");
	write_file("bin/id", STR("#!/bin/sh\necho 4711\n"), 0700);
	shell_words(words, shell, "-c", "id -u; command -v cp");
	if (!str_eq(run(words, (const char *const[]){ home, path, NULL }, STR_NONE, &st), STR("4711\n"))) {
		ok(true, "%s: a private bundle # SKIP it is not here, or has programs of its own", name);
		return;
	}
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct str fake_id = arena_printf(&arena, "#!/bin/sh\necho %s\n", rows[i].id), out, bundle, file = STR(HOME_NAME "/.passsage/ca-bundle.pem");
		unlink("called"), unlink("bin/sudo"), unlink("bin/update-ca-certificates"), unlink("bin/id"), unlink(file.p);
		write_file("bin/id", fake_id, 0700);
		if (rows[i].sudo)
			write_file("bin/sudo", str_c(rows[i].sudo), 0700);
		if (rows[i].tool)
			write_file("bin/update-ca-certificates", str_c(rows[i].tool), 0700);
		/* the shell is found by our PATH, the script's programs by its own */
		shell_words(words, shell, NULL, "./driver.sh");
		out = run(words, (const char *const[]){ home, path, "TMPDIR=tmp", NULL }, STR_NONE, &st);
		bundle = slurp(file.p);
		struct str line = arena_printf(&arena, "%s/%.*s\n", home + strlen("HOME="), STRP(STR(".passsage/ca-bundle.pem")));
		is_str(out, arena_printf(&arena, "%.*s%.*s", STRP(line), STRP(line)), "%s: %s: a private bundle is exported", name, rows[i].promise);
		struct str system = slurp("/etc/ssl/certs/ca-certificates.crt");
		ok(str_ends(bundle, STR("\n" CERT)) || str_eq(bundle, STR(CERT)), "%s: %s: with our certificate", name, rows[i].promise);
		ok(str_starts(bundle, system), "%s: %s: and all of the system's", name, rows[i].promise);
		ok(!exists("called") && rmdir("tmp") == 0 && mkdir("tmp", 0700) == 0, "%s: %s: no temporary file is left", name, rows[i].promise);
	}
}

static void
test_shells(void)
{
	static const char *const tools[] = { "grep", "mktemp", "rm", "chmod", "uname", "cat", "mv", "mkdir", "sed", "touch", "printf" };
	struct http_request req = request("GET", "http://mitm.it/proxy-env.sh", NULL);
	char home[128], path[2048];
	struct page p;
	int st;

	snprintf(dir, sizeof dir, "/tmp/passsage-onboard-XXXXXX");
	if (!mkdtemp(dir) || chdir(dir) < 0) {
		ok(false, "a temporary folder");
		return;
	}
	mkdir(HOME_NAME, 0700), mkdir("bin", 0700), mkdir("tmp", 0700);
	snprintf(home, sizeof home, "HOME=%s/%s", dir, HOME_NAME);
	snprintf(path, sizeof path, "PATH=%s", getenv("PATH"));
	onboard_answer(&hostile, &req, &arena, &p);
	write_file("env.sh", p.body, 0600);
	for (size_t i = 0; i < sizeof tools / sizeof *tools; i++) {
		struct str at = run((const char *const[]){ "sh", "-c", "command -v \"$1\"", "sh", tools[i], NULL }, (const char *const[]){ path, NULL },
		                    STR_NONE, &st);
		struct str to = arena_printf(&arena, "bin/%s", tools[i]);
		char link[512];
		snprintf(link, sizeof link, "%.*s", STRP(str_cut(&at, '\n')));
		if (link[0] != '/')
			snprintf(link, sizeof link, "/bin/%s", tools[i]);
		ok(symlink(link, to.p) == 0, "%s for the script", tools[i]);
	}
	for (size_t i = 0; i < sizeof shells / sizeof *shells; i++) {
		const char *name = shells[i][1] && shells[i][1][0] != '-' ? shells[i][1] : shells[i][0];
		test_script(i, name, home, path);
		test_private(i, name, home);
	}
	/* a download that breaks off does nothing, wherever it does */
	bool nothing = true;
	run((const char *const[]){ "rm", "-rf", HOME_NAME "/.passsage", NULL }, (const char *const[]){ path, NULL }, STR_NONE, &st);
	const char *call = memmem(p.body.p, p.body.n, "\n_passsage_main \"$@\"", strlen("\n_passsage_main \"$@\""));
	for (size_t n = 0; call && n < (size_t)(call - p.body.p); n += 97) {
		run((const char *const[]){ "sh", NULL }, (const char *const[]){ home, path, "TMPDIR=tmp", NULL }, str_upto(p.body, n), &st);
		nothing &= !exists(HOME_NAME "/.passsage");
	}
	ok(call && nothing, "a download that breaks off does nothing");
	if (tap_failed)
		note("standard error of the scripts: %.*s", STRP(str_upto(slurp("err"), 4000)));
	if (chdir("/") == 0)
		run((const char *const[]){ "rm", "-rf", dir, NULL }, (const char *const[]){ path, NULL }, STR_NONE, &st);
	unlink("/err");
	arena_reset(&arena);
}

int
main(void)
{
	signal(SIGPIPE, SIG_IGN);
	arena_init(&arena);
	test_forms();
	test_errors();
	test_pages();
	test_shells();
	arena_fini(&arena);
	return done_testing();
}
