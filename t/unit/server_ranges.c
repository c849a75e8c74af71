/* What heads say about an object, and which 206 is believed: nothing that could mix two versions. */
#include "tap.h"
#include "../../common/arena.h"
#include "../../server/fetch_ranges.h"

static struct arena a;

/* "200 HTTP/1.1|ETag: x|…" */
static struct http_response response(const char *text)
{
	struct http_response r = { .major = 1, .minor = 1 };
	struct str rest = str_c(text), first = str_cut(&rest, '|');
	uint64_t status;
	str_u64(str_upto(first, 3), 999, &status);
	r.status = (int)status;
	if (str_has(first, STR("1.0")))
		r.minor = 0;
	headers_init(&r.headers, &a);
	while (rest.n > 0) {
		struct str value = str_cut(&rest, '|'), name = str_cut(&value, ':');
		headers_add(&r.headers, name, str_trim(value));
	}
	return r;
}

#define LATE "Date: Sun, 01 Nov 2020 10:01:00 GMT|Last-Modified: Sun, 01 Nov 2020 10:00:00 GMT"
#define EARLY "Date: Sun, 01 Nov 2020 10:00:59 GMT|Last-Modified: Sun, 01 Nov 2020 10:00:00 GMT"
static const struct { const char *head; int64_t size; const char *pin; bool ranges, proven; } objects[] = {
	{ "200|Content-Length: 100|ETag: \"a\"|Accept-Ranges: bytes", 100, "\"a\"", true, true },
	{ "200|Content-Length: 100|ETag: \"a\"", 100, "\"a\"", true, false },
	{ "200|Content-Length: 100|ETag: \"a\"|Accept-Ranges: none", 100, "\"a\"", false, false },
	{ "200|Content-Length: 100|ETag: \"a\"|Accept-Ranges: none, bytes", 100, "\"a\"", true, true },
	{ "200|Content-Length: 100|ETag: W/\"a\"|Accept-Ranges: bytes", 100, "", false, true },
	{ "200|Content-Length: 100|ETag: W/\"a\"|" LATE, 100, "", false, false },
	{ "200|Content-Length: 100|ETag: a|Accept-Ranges: bytes", 100, "", false, true },
	{ "200|Content-Length: 100|ETag: \"|Accept-Ranges: bytes", 100, "", false, true },
	{ "200|Content-Length: 100|" LATE, 100, "Sun, 01 Nov 2020 10:00:00 GMT", true, false },
	{ "200|Content-Length: 100|" EARLY, 100, "", false, false },
	{ "200|Content-Length: 100|Last-Modified: Sun, 01 Nov 2020 10:00:00 GMT", 100, "", false, false },
	{ "200|Content-Length: 100|Last-Modified: yesterday|Date: Sun, 01 Nov 2020 10:01:00 GMT", 100, "", false, false },
	{ "200|ETag: \"a\"|Accept-Ranges: bytes", -1, "\"a\"", false, true },
	{ "200|Content-Length: 1|Content-Length: 2|ETag: \"a\"", -1, "\"a\"", false, false },
	{ "200|Content-Length: 0|ETag: \"a\"|Accept-Ranges: bytes", 0, "\"a\"", false, true },
	{ "200|Content-Length: 100|ETag: \"a\"|Accept-Ranges: bytes|Content-Encoding: gzip", 100, "\"a\"", false, true },
	{ "200|Content-Length: 100|ETag: \"a\"|Accept-Ranges: bytes|Content-Encoding: identity", 100, "\"a\"", true, true },
	{ "200 HTTP/1.0|Content-Length: 100|ETag: \"a\"|Accept-Ranges: bytes", 100, "\"a\"", false, true },
	{ "203|Content-Length: 100|ETag: \"a\"|Accept-Ranges: bytes", 100, "\"a\"", false, true },
};

static const struct { const char *head; uint64_t end; } answers[] = { /* to 10-19 of 100, ETag "a"; end 0: not believed */
	{ "206|Content-Range: bytes 10-19/100|ETag: \"a\"", 20 },
	{ "206|Content-Range: bytes 10-19/100|ETag: \"a\"|Content-Length: 10", 20 },
	{ "206|Content-Range: bytes 10-14/100|ETag: \"a\"|Content-Length: 5", 15 },
	{ "206|Content-Range: bytes 10-19/100|ETag: \"a\"|Content-Encoding: identity", 20 },
	{ "200|Content-Range: bytes 10-19/100|ETag: \"a\"", 0 },
	{ "206|Content-Range: bytes 10-19/100|ETag: \"b\"", 0 },
	{ "206|Content-Range: bytes 10-19/100|ETag: W/\"a\"", 0 },
	{ "206|Content-Range: bytes 10-19/100", 0 },
	{ "206|ETag: \"a\"|Content-Length: 10", 0 },
	{ "206|Content-Range: bytes 10-19/100|Content-Range: bytes 10-19/100|ETag: \"a\"", 0 },
	{ "206|Content-Range: bytes 11-19/100|ETag: \"a\"", 0 },
	{ "206|Content-Range: bytes 9-19/100|ETag: \"a\"", 0 },
	{ "206|Content-Range: bytes 10-20/100|ETag: \"a\"", 0 },
	{ "206|Content-Range: bytes 10-19/101|ETag: \"a\"", 0 },
	{ "206|Content-Range: bytes 10-19/*|ETag: \"a\"", 0 },
	{ "206|Content-Range: bytes 10-19|ETag: \"a\"", 0 },
	{ "206|Content-Range: bytes 19-10/100|ETag: \"a\"", 0 },
	{ "206|Content-Range: bytes 10-18446744073709551615/100|ETag: \"a\"", 0 },
	{ "206|Content-Range: items 10-19/100|ETag: \"a\"", 0 },
	{ "206|Content-Range: bytes 10-19/100|ETag: \"a\"|Content-Length: 11", 0 },
	{ "206|Content-Range: bytes 10-19/100|ETag: \"a\"|Content-Encoding: gzip", 0 },
};

static const struct { const char *head; bool same; } wholes[] = {
	{ "200|Content-Length: 100|ETag: \"a\"", true },
	{ "200|Content-Length: 101|ETag: \"a\"", false },
	{ "200|ETag: \"a\"", false },
	{ "200|Content-Length: 100|ETag: \"b\"", false },
	{ "200|Content-Length: 100", false },
	{ "200|Content-Length: 100|ETag: \"a\"|Content-Encoding: br", false },
	{ "206|Content-Length: 100|ETag: \"a\"", false },
};

int main(void)
{
	struct ranges_object o;
	arena_init(&a);
	for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) {
		struct http_response r = response(objects[i].head);
		ranges_object(&r, 1604224800, &o);
		is_int(o.size, objects[i].size, "%s: size", objects[i].head);
		is_str(o.pin, str_c(objects[i].pin), "… strong validator");
		ok(o.ranges == objects[i].ranges, "… ranges %s be asked for", objects[i].ranges ? "may" : "may not");
		ok(o.proven == objects[i].proven, "… it %s that it knows them", objects[i].proven ? "says" : "does not say");
	}
	struct http_response first = response("200|Content-Length: 100|ETag: \"a\"|Accept-Ranges: bytes");
	ranges_object(&first, 1604224800, &o);
	for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
		struct http_response r = response(answers[i].head);
		uint64_t end = 0;
		bool good = ranges_check(&r, &o, (struct extent){ 10, 20 }, &end);
		ok(good == (answers[i].end > 0) && (!good || end == answers[i].end), "%s: %s", answers[i].head, answers[i].end > 0 ? "believed" : "not believed");
	}
	for (size_t i = 0; i < sizeof wholes / sizeof *wholes; i++) {
		struct http_response r = response(wholes[i].head);
		ok(ranges_same(&r, &o) == wholes[i].same, "%s: %s version", wholes[i].head, wholes[i].same ? "the same" : "another");
	}
	struct http_response dated = response("200|Content-Length: 100|" LATE), other = response("206|Content-Range: bytes 10-19/100|Last-Modified: Sun, 01 Nov 2020 10:00:01 GMT"),
	                     same = response("206|Content-Range: bytes 10-19/100|Last-Modified: Sun, 01 Nov 2020 10:00:00 GMT"), tagged = response("206|Content-Range: bytes 10-19/100|ETag: \"x\"|Last-Modified: Sun, 01 Nov 2020 10:00:00 GMT");
	uint64_t end;
	ranges_object(&dated, 1604224800, &o);
	ok(ranges_check(&same, &o, (struct extent){ 10, 20 }, &end), "by date: the same");
	ok(!ranges_check(&other, &o, (struct extent){ 10, 20 }, &end), "… another");
	ok(!ranges_check(&tagged, &o, (struct extent){ 10, 20 }, &end), "… with a tag that it did not have");
	arena_fini(&a);
	return done_testing();
}
