/* Commands: their words, and that what is asked arrives as it was meant. */
#include "tap.h"
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../../server/cmd.h"

static struct arena a;
static const struct cmd_option options[] = { { 'H', "header", true }, { 'i', NULL, false }, { 0, "json", false } };

/* The words as "0=value,1,w=word,", or what is complained of. */
static const struct { const char *words[8], *result; } lines[] = {
	{ { "get", "-H", "a: b", "url" }, "0=a: b,w=url," },
	{ { "get", "-Ha: b", "--header=c", "--header", "d", "-i" }, "0=a: b,0=c,0=d,1," },
	{ { "get", "--header=" }, "0=," },
	{ { "get", "--json", "-", "--", "--json", "-H" }, "2,w=-,w=--json,w=-H," },
	{ { "get", "-H" }, "passsage: -H: needs a value\n" },
	{ { "get", "--json=1" }, "passsage: --json=1: it takes no value\n" },
	{ { "get", "-x" }, "passsage: -x: there is no such option\n" },
	{ { "get", "--head" }, "passsage: --head: there is no such option\n" },
	{ { "get", "--headers", "x" }, "passsage: --headers: there is no such option\n" },
};

static void words(unsigned k)
{
	int fd[2], status, argc = 0;
	char out[1024];
	size_t n = 0;
	while (lines[k].words[argc] != NULL)
		argc++;
	if (pipe(fd) < 0)
		return;
	pid_t pid = fork();
	if (pid == 0) {
		struct cmd_words w = { argc, (char **)(uintptr_t)lines[k].words, 0, NULL, false };
		dup2(fd[1], 1);
		dup2(fd[1], 2);
		for (int o; (o = cmd_next(&w, options, 3)) != WORDS_END;)
			if (o == WORDS_WORD)
				printf("w=%s,", w.value);
			else if (options[o].takes)
				printf("%d=%s,", o, w.value);
			else
				printf("%d,", o);
		fflush(stdout);
		_exit(0);
	}
	close(fd[1]);
	for (ssize_t r; (r = read(fd[0], out + n, sizeof out - n)) > 0;)
		n += (size_t)r;
	close(fd[0]);
	waitpid(pid, &status, 0);
	bool wrong = str_starts(str_c(lines[k].result), STR("passsage:"));
	is_int(WEXITSTATUS(status), wrong ? 64 : 0, "words %u: status", k);
	is_str(wrong ? str_upto((struct str){ out, n }, strlen(lines[k].result)) : ((struct str){ out, n }), str_c(lines[k].result), "... and what was understood");
	if (wrong)
		ok(str_has((struct str){ out, n }, STR("\nUsage: passsage get [--head")), "... and how it would be right");
}

/* Any bytes but NUL go there and come back. */
static void questions(void)
{
	static const char *const values[] = { "", "https://a.test/x?y=1&z=%20+#f", "Accept: a;q=0.1, */*", "%", "%4", "%zz", "a+b c", "=&=", "\x01\x7f\xc3\xa4\xff\"'" };
	struct cmd_question q;
	struct str rest, name, value;
	question_begin(&q, "/x");
	for (size_t i = 0; i < sizeof values / sizeof *values; i++)
		question_add(&q, "v", values[i]);
	bool clean = true;
	for (size_t i = 0; i < q.target.n; i++)
		clean &= q.target.p[i] > ' ' && q.target.p[i] < 0x7f && q.target.p[i] != '#';
	ok(clean, "a question is a request target");
	rest = q.target;
	is_str(str_cut(&rest, '?'), STR("/x"), "... of its page");
	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		ok(query_next(&a, &rest, &name, &value) && str_eq(name, STR("v")), "value %u", (unsigned)i);
		is_str(value, str_c(values[i]), "... as it was");
	}
	ok(!query_next(&a, &rest, &name, &value), "that is all");
	rest = STR("a&%zz=%4&&b=1=2");
	static const char *const odd[][2] = { { "a", "" }, { "%zz", "%4" }, { "", "" }, { "b", "1=2" } };
	for (size_t i = 0; i < 4; i++)
		ok(query_next(&a, &rest, &name, &value) && str_eq(name, str_c(odd[i][0])) && str_eq(value, str_c(odd[i][1])), "an odd query, %u", (unsigned)i);
	arena_fini(&q.arena);
}

static const struct { const char *query, *problem; } requests[] = {
	{ "url=http://a.test/x&method=HEAD&header=A:+b&client=10.0.0.1", NULL },
	{ "url=http://a.test/&client=2001:db8::1", NULL },
	{ "", "a URL is missing" },
	{ "url=x", "x: must be a URL" },
	{ "url=http://a.test/&method=G+T", "G T: must be a method" },
	{ "url=http://a.test/&header=nothing", "nothing: must be a header field" },
	{ "url=http://a.test/&header=a%20b:c", "a b:c: must be a header field" },
	{ "url=http://a.test/&header=a:b%0d%0ac:d", "a:b\r\nc:d: must be a header field" },
	{ "url=http://a.test/&client=10.0.0.0/8", "10.0.0.0/8: must be an address" },
};

static void asked(void)
{
	struct http_request req;
	const char *problem;
	for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
		bool good = cmd_request(&a, str_c(requests[i].query), &req, &problem);
		ok(requests[i].problem == NULL ? good && problem == NULL : !good && str_starts(str_c(problem), str_c(requests[i].problem)), "%s: %s", requests[i].query,
		   requests[i].problem != NULL ? requests[i].problem : "good");
	}
	cmd_request(&a, str_c(requests[0].query), &req, &problem);
	ok(req.method == METHOD_HEAD && str_eq(headers_get(&req.headers, STR("a")), STR("b")) && str_eq(headers_get(&req.headers, STR("Host")), STR("a.test")) &&
	   req.client.s6_addr[12] == 10 && req.client.s6_addr[11] == 0xff, "a request as it was described");
}

int main(void)
{
	arena_init(&a);
	for (unsigned i = 0; i < sizeof lines / sizeof *lines; i++)
		words(i);
	questions();
	asked();
	arena_fini(&a);
	return done_testing();
}
