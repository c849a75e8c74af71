/* The access record: valid JSON whatever a client sent, in the table's order; lines that arrive whole. */
#include "tap.h"
#include "../../common/access.h"
#include "../../common/clock.h"
#include "../../common/counters.h"
#include "../../common/fd.h"
#include "../../common/settings.h"
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct { const char *in; size_t n; const char *json; } strings[] = {
#define S(in, json) { in, sizeof in - 1, json }
	S("", "\"\""),
	S("plain", "\"plain\""),
	S("/a/long/path/of/more/than/eight/bytes?x=1&y=2", "\"/a/long/path/of/more/than/eight/bytes?x=1&y=2\""),
	S("say \"hi\"", "\"say \\\"hi\\\"\""),
	S("1234567\"", "\"1234567\\\"\""),
	S("12345678\"", "\"12345678\\\"\""),
	S("a\\b", "\"a\\\\b\""),
	S("a\r\nb\tc", "\"a\\r\\nb\\tc\""),
	S("\0", "\"\\u0000\""),
	S("x\0y\x1f", "\"x\\u0000y\\u001f\""),
	S("\x7f", "\"\x7f\""),
	S("gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\""),
	S("\xe2\x82\xac \xf0\x9f\x98\x80", "\"\xe2\x82\xac \xf0\x9f\x98\x80\""),
#define BAD "\xef\xbf\xbd"
	S("\xff", "\"" BAD "\""),
	S("a\x80z", "\"a" BAD "z\""),
	S("cut\xe2\x82", "\"cut" BAD BAD "\""),
	S("cut\xc3", "\"cut" BAD "\""),
	S("\xc0\xaf", "\"" BAD BAD "\""),                 /* overlong / */
	S("\xe0\x80\xaf", "\"" BAD BAD BAD "\""),
	S("\xed\xa0\x80", "\"" BAD BAD BAD "\""),         /* a surrogate */
	S("\xf4\x90\x80\x80", "\"" BAD BAD BAD BAD "\""), /* above U+10FFFF */
	S("\xf0\x80\x80\x80", "\"" BAD BAD BAD BAD "\""),
	S("\xf5\x80\x80\x80", "\"" BAD BAD BAD BAD "\""),
	S("\xef\xbf\xbf", "\"\xef\xbf\xbf\""),
};

static const struct { int64_t ms; const char *json; } times[] = {
	{ 0, "\"1970-01-01T00:00:00.000Z\"" },
	{ 951782399999, "\"2000-02-28T23:59:59.999Z\"" },
	{ 951782400000, "\"2000-02-29T00:00:00.000Z\"" },
	{ 951868800000, "\"2000-03-01T00:00:00.000Z\"" },
	{ 1704067199001, "\"2023-12-31T23:59:59.001Z\"" },
	{ 1704067200000, "\"2024-01-01T00:00:00.000Z\"" },
	{ 1769860800123, "\"2026-01-31T12:00:00.123Z\"" },
	{ 4107542400000, "\"2100-03-01T00:00:00.000Z\"" },
	{ 253402300799999, "\"9999-12-31T23:59:59.999Z\"" },
	{ 253402300800000, "null" },
	{ -1, "null" },
	{ ACCESS_NULL, "null" },
};

static struct str
member(struct str line, const char *name, struct arena *a)
{
	struct str key = arena_printf(a, "\"%s\":", name);
	const char *p = memmem(line.p, line.n, key.p, key.n);
	return p ? (struct str){ p + key.n, (size_t)(line.p + line.n - p) - key.n } : STR_NONE;
}

static json_t *
parsed(struct str line)
{
	json_error_t e;
	json_t *j = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
	if (!j)
		note("%s in %.*s", e.text, STRP(line));
	return j;
}

static void
test_json(void)
{
	struct arena a;
	struct access_record r;
	arena_init(&a);
	const char *names_v[] = { "accept", "etag", "via", "accept" };
	const struct str_list names = { names_v, 4 };

	access_init(&r);
	struct str line = access_json(&r, &names, &a);
	json_t *j = parsed(line);
	ok(j && line.p[line.n - 1] == '\n', "an empty record is a JSON object in one line");
	unsigned n = 0;
	static const char *const fields[] = {
#define ACCESS(name, type) #name,
#include "../../common/tbl/access.h"
	};
	const char *key;
	json_t *value;
	bool order = true, nulls = true;
	json_object_foreach(j, key, value) {
		order &= strcmp(key, fields[n++]) == 0;
		nulls &= json_is_null(value);
	}
	ok(order && n == sizeof fields / sizeof *fields, "all fields are there, in the table's order");
	ok(nulls, "what is absent is null");
	json_decref(j);

	for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
		access_init(&r);
		r.url = (struct str){ strings[i].in, strings[i].n };
		line = access_json(&r, &names, &a);
		struct str got = member(line, "url", &a);
		is_str(str_upto(got, strlen(strings[i].json)), str_c(strings[i].json), "string %zu is escaped", i);
		j = parsed(line);
		ok(j, "string %zu gives valid JSON", i);
		json_decref(j);
	}
	for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
		access_init(&r);
		r.timestamp = times[i].ms;
		struct str got = member(access_json(&r, &names, &a), "timestamp", &a);
		is_str(str_upto(got, strlen(times[i].json)), str_c(times[i].json), "time %s", times[i].json);
	}

	struct headers h;
	headers_init(&h, &a);
	headers_add(&h, STR("Via"), STR("1.1 a"));
	headers_add(&h, STR("ACCEPT"), STR("text/html\xff"));
	headers_add(&h, STR("Cookie"), STR("secret"));
	headers_add(&h, STR("via"), STR("1.1 \"b\""));
	headers_add(&h, STR("ETag"), (struct str){ "", 0 });
	access_init(&r);
	r.request_headers = &h;
	r.status_code = 200;
	r.content_length = INT64_MAX;
	r.bytes_sent = INT64_MIN + 1;
	r.cached = 1;
	r.cache_hit = 0;
	r.method = (struct str){ "", 0 };
	line = access_json(&r, &names, &a);
	j = parsed(line);
	struct str got = member(line, "request_headers", &a), want = STR("{\"accept\":\"text/html" BAD "\",\"etag\":\"\",\"via\":\"1.1 a, 1.1 \\\"b\\\"\"}");
	is_str(str_upto(got, want.n), want, "header fields: only those named, once, lines of one joined");
	is_int(json_integer_value(json_object_get(j, "status_code")), 200, "a number");
	is_int(json_integer_value(json_object_get(j, "content_length")), INT64_MAX, "the largest number");
	is_int(json_integer_value(json_object_get(j, "bytes_sent")), INT64_MIN + 1, "the smallest number");
	ok(json_is_true(json_object_get(j, "cached")) && json_is_false(json_object_get(j, "cache_hit")), "booleans");
	ok(json_is_string(json_object_get(j, "method")), "an empty string is not null");
	json_decref(j);
	json_decref(j = parsed(access_json(&r, NULL, &a)));
	ok(j, "no names: no fields");

	/* Random bytes: always valid, never past the memory that was asked for (the address sanitizer looks on). */
	unsigned seed = 4711;
	bool good = true;
	for (int i = 0; i < 3000; i++) {
		char bytes[64];
		size_t len = rand_r(&seed) % sizeof bytes;
		for (size_t k = 0; k < len; k++)
			bytes[k] = (char)(i % 3 ? rand_r(&seed) : "\xe2\x82\xac\"\\\x01 a"[rand_r(&seed) % 8]);
		access_init(&r);
		r.url = r.user_agent = r.path = (struct str){ bytes, len };
		headers_init(&h, &a);
		headers_add(&h, STR("etag"), r.url);
		headers_add(&h, STR("etag"), r.url);
		r.response_headers = &h;
		j = parsed(access_json(&r, &names, &a));
		good &= j != NULL;
		json_decref(j);
		arena_reset(&a);
	}
	ok(good, "3000 records of random bytes are valid JSON");
	arena_fini(&a);
}

enum { WRITERS = 4, LINES = 2000 };

static void *
writer(void *arg)
{
	char line[200];
	memset(line, 'a' + (int)(intptr_t)arg, sizeof line);
	line[sizeof line - 1] = '\n';
	for (int i = 0; i < LINES; i++)
		access_write((struct str){ line, sizeof line });
	return NULL;
}

/* Whole lines in a file; -1 when one is torn. */
static long
whole_lines(const char *path)
{
	struct str text;
	long n = 0;
	if (fd_read_file(path, 10 << 20, &text) < 0)
		return 0;
	for (size_t i = 0; i < text.n; i += 200, n++)
		for (size_t k = 0; k < 200; k++)
			if (i + k >= text.n || text.p[i + k] != (k == 199 ? '\n' : text.p[i]))
				n = -WRITERS * LINES;
	free((char *)(uintptr_t)text.p);
	return n;
}

static void
test_sink(void)
{
	char dir[] = "/tmp/passsage-access-XXXXXX", a[64], b[64], fifo[64];
	if (!ok(mkdtemp(dir) != NULL, "a folder for the test"))
		return;
	snprintf(a, sizeof a, "%s/a", dir);
	snprintf(b, sizeof b, "%s/b", dir);
	snprintf(fifo, sizeof fifo, "%s/fifo", dir);

	ok(!access_enabled(), "nothing is written before a file is named");
	access_open("");
	ok(!access_enabled(), "nor when none is named");
	uint64_t dropped = counters_row[COUNT_records_dropped];
	access_open("/nonexistent/x");
	access_write(STR("lost\n"));
	is_int(counters_row[COUNT_records_dropped] - dropped, 1, "a file that cannot be opened: records are counted as dropped");

	access_open(a);
	ok(access_enabled(), "a file is open");
	dropped = counters_row[COUNT_records_dropped];
	pthread_t t[WRITERS];
	for (intptr_t i = 0; i < WRITERS; i++)
		pthread_create(&t[i], NULL, writer, (void *)i);
	for (int i = 0; i < 50; i++)
		access_open(i % 2 ? a : b);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(t[i], NULL);
	is_int(whole_lines(a) + whole_lines(b), WRITERS * LINES, "threads write while the file is reopened: each line arrives, whole");
	is_int(counters_row[COUNT_records_dropped] - dropped, 0, "none is dropped");
	struct stat st;
	stat(a, &st);
	is_int(st.st_mode & 0777 & ~0640, 0, "others cannot read which URLs were asked for");

	mkfifo(fifo, 0600);
	int rd = open(fifo, O_RDONLY | O_NONBLOCK);
	access_open(fifo);
	char line[1000];
	memset(line, 'x', sizeof line - 1);
	line[sizeof line - 1] = '\n';
	int64_t began = clock_mono();
	for (int i = 0; i < 200; i++)
		access_write((struct str){ line, sizeof line });
	ok(counters_row[COUNT_records_dropped] - dropped > 100, "a pipe that nobody empties: records are dropped and counted");
	ok(clock_mono() - began < 1500, "and nobody waits for it");
	char buf[4096];
	size_t total = 0;
	for (ssize_t n; (n = read(rd, buf, sizeof buf)) > 0;)
		total += (size_t)n;
	is_int(total % sizeof line, 0, "what is in the pipe is whole lines");
	close(rd);

	access_open("");
	ok(!access_enabled(), "it can be switched off");
	unlink(a);
	unlink(b);
	unlink(fifo);
	rmdir(dir);
}

static void
speed(void)
{
	struct arena a;
	struct access_record r;
	struct headers h;
	arena_init(&a);
	headers_init(&h, &a);
	const char *names_v[] = { "accept", "accept-encoding", "cache-control", "content-type", "etag", "last-modified", "range", "user-agent", "via" };
	const struct str_list names = { names_v, 9 };
	for (unsigned i = 0; i < 9; i++)
		headers_add(&h, str_c(names_v[i]), STR("some value of a common length"));
	access_init(&r);
	r.timestamp = 1769860800123;
	r.url = STR("https://files.example.org/packages/ab/cd/efghijkl/some-package-1.2.3-py3-none-any.whl");
	r.request_headers = r.response_headers = &h;
	r.method = STR("GET");
	r.status_code = 200;
	struct arena line;
	arena_init(&line);
	int64_t began = clock_mono();
	for (int i = 0; i < 20000; i++) {
		access_json(&r, &names, &line);
		arena_reset(&line);
	}
	note("a record takes %.2f us", (double)(clock_mono() - began) / 20);
	arena_fini(&line);
	arena_fini(&a);
}

int
main(void)
{
	test_json();
	test_sink();
	speed();
	return done_testing();
}
