/* A stored response and its document in Elasticsearch: what the old system wrote is read, what it reads is written, what RFC 9111 needs survives. */
#include "tap.h"
#include "../../common/clock.h"
#include "../../common/err.h"
#include "../../common/httpdate.h"
#include "../../es/codec.h"
#include <stdlib.h>

static struct arena a;
#define NOW 1795500000000 /* 2026-11-24T06:00:00Z */
#define ID "https/example.com/a930673acaa220a10bcdf5825f2baf2794a32b307b51fa34c0c51fe6"
/* behaviour.md 4.7's example */
#define MANIFEST "WFMzTQECAACAAAAAAAAALTEBAAAAAAMAAACrq6urq6urq6urq6urq6urzc3Nzc3Nzc3Nzc3Nzc3Nze/v7+/v7+/v7+/v7+/v7+8="
static const unsigned char manifest_head[26] = { 'X', 'S', '3', 'M', 1, 2, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0x2d, 0x31, 1, 0, 0, 0, 0, 3, 0, 0, 0 };

static int
read_doc(const char *text, int64_t offset, struct meta *m)
{
	json_t *j = json_loads(text, 0, NULL);
	int r;

	if (!j)
		printf("# the test's own JSON is bad: %s\n", text);
	r = codec_read(j, STR(ID), offset, NOW, &a, m);
	json_decref(j);
	return r;
}

static struct str
write_doc(const struct meta *m, int64_t offset)
{
	json_t *j = codec_write(m, offset);
	char *s = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
	struct str out = arena_dup(&a, str_c(s));

	free(s);
	json_decref(j);
	return out;
}

static struct str
manifest(void)
{
	char *p = arena_alloc(&a, 74);
	memcpy(p, manifest_head, 26);
	memset(p + 26, 0xab, 16), memset(p + 42, 0xcd, 16), memset(p + 58, 0xef, 16);
	return (struct str){ p, 74 };
}

static struct meta
make(void)
{
	struct meta m;

	meta_init(&m, &a);
	m.id = STR(ID);
	m.status = 200;
	m.url = STR("https://ex.com/f.tar.gz");
	m.extension = STR(".gz");
	m.content_size = 20000000;
	m.stored_at = 1795436116123;   /* 2026-11-23T12:15:16.123Z */
	m.last_access = 1795436117000;
	m.doc_type = STR("metadata");
	m.vary = STR("Accept-Encoding");
	m.vary_request = STR("accept-encoding=gzip");
	m.manifest = manifest();
	m.request_time = 1795436116000;
	m.response_time = 1795436116100;
	m.date = 1795436115;
	m.age_value = 7;
	m.minor = 1;
	m.reason = STR("OK");
	m.flags = META_COOKIE;
	headers_add(&m.headers, STR("ETag"), STR("\"x\""));
	headers_add(&m.headers, STR("Date"), STR("Mon, 23 Nov 2026 12:15:15 GMT"));
	headers_add(&m.headers, STR("Link"), STR("<a>"));
	headers_add(&m.headers, STR("Set-Cookie"), STR("k=\xe9")); /* Latin-1 */
	headers_add(&m.headers, STR("Link"), STR("<b>"));
	headers_add(&m.headers, STR("X-Private"), STR("1"));
	headers_add(&m.headers, STR("Content-Length"), STR("20000000"));
	return m;
}

static void
test_written(void)
{
	struct meta m = make();

	is_str(write_doc(&m, 0), STR(
		"{\"content_size\":20000000,\"doc_type\":\"metadata\",\"extension\":\".gz\",\"headers\":{\"content-length\":\"20000000\",\"etag\":\"\\\"x\\\"\","
		"\"link\":\"<a>, <b>\"},\"last_access\":\"2026-11-23T12:15:17.000000+00:00\",\"manifest_b64\":\"" MANIFEST "\",\"px_age\":7,\"px_date\":1795436115,"
		"\"px_flags\":16,\"px_headers\":[[\"ETag\",\"\\\"x\\\"\"],[\"Date\",\"Mon, 23 Nov 2026 12:15:15 GMT\"],[\"Link\",\"<a>\"],[\"Set-Cookie\",null,\"az3p\"],"
		"[\"Link\",\"<b>\"],[\"X-Private\",\"1\"],[\"Content-Length\",\"20000000\"]],\"px_http_minor\":1,\"px_reason\":\"OK\",\"px_request_time\":1795436116000,"
		"\"px_response_time\":1795436116100,\"px_stored_at\":1795436116123,\"status_code\":200,\"stored_at\":\"2026-11-23T12:15:16.123000+00:00\","
		"\"url\":\"https://ex.com/f.tar.gz\",\"vary\":\"Accept-Encoding\",\"vary_request\":\"accept-encoding=gzip\"}"),
		"a document is what behaviour.md 4.5 says, and our own members");
	meta_init(&m, &a);
	m.id = STR("https/ex.com/_vary/1");
	m.doc_type = STR("vary_index");
	m.vary = STR("Accept");
	m.stored_at = 5;
	is_str(write_doc(&m, 0), STR("{\"doc_type\":\"vary_index\",\"px_stored_at\":5,\"px_vary\":\"Accept\",\"vary\":\"Accept\"}"), "a vary index");
	m = make();
	m.content_size = 0;
	m.manifest = STR_NONE;
	ok(str_has(write_doc(&m, 0), STR("\"manifest_b64\":null")), "without a body there is no manifest");
	m.unknown = STR("{\"theirs\":[1,2],\"url\":\"not theirs\"}");
	ok(str_has(write_doc(&m, 0), STR("\"theirs\":[1,2]")) && !str_has(write_doc(&m, 0), STR("not theirs")), "what is not ours is written back");
	char *long_url = arena_alloc(&a, 3000);
	memset(long_url, 'u', 3000);
	m.url = (struct str){ long_url, 3000 };
	m.vary_request = (struct str){ long_url, 3000 };
	json_t *j = codec_write(&m, 0);
	is_int(json_string_length(json_object_get(j, "url")), 512, "a URL is cut to 512 characters");
	json_decref(j);
}

static void
test_both_ways(void)
{
	struct meta m = make(), back;
	char text[4096];

	snprintf(text, sizeof text, "%.*s", STRP(write_doc(&m, 0)));
	is_int(read_doc(text, 0, &back), 0, "what is written is read");
	meta_copy(&back, &back, &a);
	is_str(meta_encode(&back, &a), meta_encode(&m, &a), "and is the same, to the last byte of its fields");
	snprintf(text, sizeof text, "%.*s", STRP(write_doc(&m, 250000)));
	ok(str_has(str_c(text), STR("\"px_stored_at\":1795436366123,")), "with another clock its times are Elasticsearch's");
	is_int(read_doc(text, 250000, &back), 0, "with another clock");
	is_str(meta_encode(&back, &a), meta_encode(&m, &a), "it comes back the same");
}

/* Documents that others wrote. status 0: what codec_read answers must be r. */
#define BASE "\"status_code\":200,\"doc_type\":\"metadata\",\"url\":\"https://ex.com/f\",\"content_size\":20000000,\"manifest_b64\":\"" MANIFEST "\""
static const struct {
	const char *what, *text;
	int r;
	int64_t stored_at;
} documents[] = {
	{ "the old front's", "{" BASE ",\"stored_at\":\"2026-11-23T12:15:16.123456+00:00\"}", 0, 1795436116123 },
	{ "whole seconds, as the old plane's", "{" BASE ",\"stored_at\":\"2026-11-23T12:15:16+00:00\"}", 0, 1795436116000 },
	{ "Z", "{" BASE ",\"stored_at\":\"2026-11-23T12:15:16Z\"}", 0, 1795436116000 },
	{ "epoch seconds", "{" BASE ",\"stored_at\":1795436116}", 0, 1795436116000 },
	{ "epoch seconds with a fraction", "{" BASE ",\"stored_at\":1795436116.5}", 0, 1795436116500 },
	{ "epoch milliseconds", "{" BASE ",\"stored_at\":1795436116123}", 0, 1795436116123 },
	{ "no time at all: as old as can be", "{" BASE "}", 0, 0 },
	{ "a time that is none", "{" BASE ",\"stored_at\":\"yesterday\"}", 0, 0 },
	{ "a time that is a list", "{" BASE ",\"stored_at\":[]}", 0, 0 },
	{ "a negative time", "{" BASE ",\"stored_at\":-5}", 0, 0 },
	{ "a time beyond all calendars", "{" BASE ",\"stored_at\":1e300}", 0, 0 },
	{ "a HEAD's", "{" BASE ",\"method\":\"HEAD\",\"stored_at\":1795436116}", -ERR_NOT_FOUND, 0 },
	{ "a GET's", "{" BASE ",\"method\":\"GET\",\"stored_at\":1795436116}", 0, 1795436116000 },
	{ "a manifest alone, as after a first range", "{\"manifest_b64\":\"" MANIFEST "\"}", -ERR_NOT_FOUND, 0 },
	{ "a lost body", "{\"status_code\":200,\"doc_type\":\"metadata\",\"content_size\":5,\"manifest_b64\":null}", -ERR_NOT_FOUND, 0 },
	{ "a body of unknown length without a manifest", "{\"status_code\":200,\"doc_type\":\"metadata\"}", -ERR_NOT_FOUND, 0 },
	{ "the same by its field", "{\"status_code\":404,\"doc_type\":\"metadata\",\"headers\":{\"content-length\":\"7\"}}", -ERR_NOT_FOUND, 0 },
	{ "an empty body", "{\"status_code\":200,\"doc_type\":\"metadata\",\"content_size\":0,\"stored_at\":1795436116}", 0, 1795436116000 },
	{ "a redirect without a body", "{\"status_code\":301,\"doc_type\":\"metadata\",\"headers\":{\"location\":\"/x\"},\"stored_at\":1795436116}", 0, 1795436116000 },
	{ "a length that is not the manifest's", "{\"status_code\":200,\"doc_type\":\"metadata\",\"content_size\":5,\"manifest_b64\":\"" MANIFEST "\"}", -ERR_CORRUPT, 0 },
	{ "a negative length", "{\"status_code\":200,\"doc_type\":\"metadata\",\"content_size\":-5,\"manifest_b64\":\"" MANIFEST "\"}", -ERR_CORRUPT, 0 },
	{ "a manifest that is no base64", "{\"status_code\":200,\"doc_type\":\"metadata\",\"manifest_b64\":\"====\"}", -ERR_CORRUPT, 0 },
	{ "a manifest in the other alphabet", "{\"status_code\":200,\"doc_type\":\"metadata\",\"manifest_b64\":\"_-8=\"}", -ERR_CORRUPT, 0 },
	{ "a manifest that is a number", "{\"status_code\":200,\"doc_type\":\"metadata\",\"manifest_b64\":7}", -ERR_CORRUPT, 0 },
	{ "a manifest that is short", "{\"status_code\":200,\"doc_type\":\"metadata\",\"manifest_b64\":\"WFMz\"}", -ERR_CORRUPT, 0 },
	{ "a status that is none", "{\"status_code\":7,\"doc_type\":\"metadata\",\"content_size\":0}", -ERR_NOT_FOUND, 0 },
	{ "a status that is a text", "{\"status_code\":\"200\",\"doc_type\":\"metadata\",\"content_size\":0}", -ERR_NOT_FOUND, 0 },
	{ "an event of ours", "{\"doc_type\":\"px_purge\",\"px_events\":[]}", -ERR_NOT_FOUND, 0 },
	{ "a vary index of the old system", "{\"doc_type\":\"vary_index\",\"vary\":\"Accept\"}", 0, 0 },
	{ "a vary index of ours that the old system has changed", "{\"doc_type\":\"vary_index\",\"vary\":\"Accept\",\"px_vary\":\"Cookie\",\"px_stored_at\":5}", 0, 0 },
	{ "a vary index without a value", "{\"doc_type\":\"vary_index\"}", -ERR_NOT_FOUND, 0 },
	{ "a vary index with a line break", "{\"doc_type\":\"vary_index\",\"vary\":\"a\\nb\"}", -ERR_NOT_FOUND, 0 },
	{ "nothing", "{}", -ERR_NOT_FOUND, 0 },
	{ "a list", "[]", -ERR_CORRUPT, 0 },
	{ "a smuggled field", "{" BASE ",\"stored_at\":1795436116123,\"px_stored_at\":1795436116123,\"px_headers\":[[\"a\",\"b\\r\\nc: d\"]]}", -ERR_CORRUPT, 0 },
	{ "a field without a name", "{" BASE ",\"stored_at\":1795436116123,\"px_stored_at\":1795436116123,\"px_headers\":[[\"\",\"b\"]]}", -ERR_CORRUPT, 0 },
	{ "fields of some other shape", "{" BASE ",\"stored_at\":1795436116123,\"px_stored_at\":1795436116123,\"px_headers\":[7]}", -ERR_CORRUPT, 0 },
	{ "fields that are no list: not ours, then", "{" BASE ",\"stored_at\":1795436116123,\"px_stored_at\":1795436116123,\"px_headers\":{}}", 0, 1795436116123 },
};

static void
test_read(void)
{
	struct meta m;

	for (unsigned i = 0; i < sizeof documents / sizeof *documents; i++) {
		int r = read_doc(documents[i].text, 0, &m);
		is_int(r, documents[i].r, "%s", documents[i].what);
		if (r == 0 && documents[i].r == 0)
			is_int(m.stored_at, documents[i].stored_at, "%s: its time", documents[i].what);
		if (r == 0) {
			struct str rec = meta_encode(&m, &a);
			struct meta again;
			ok(rec.p && meta_decode(rec, &a, &again) == 0, "%s: can be kept", documents[i].what);
		}
	}
}

static void
test_old(void)
{
	struct meta m;

	read_doc("{" BASE ",\"stored_at\":\"2026-11-23T12:15:16+00:00\",\"last_access\":\"2026-11-23T13:00:00+00:00\",\"headers\":{\"etag\":\"\\\"x\\\"\","
	         "\"content-range\":\"bytes 0-1/2\",\"content-type\":\"text/html\",\"x\":7,\"bad name\":\"y\",\"link\":\"a\\u0001b\"},"
	         "\"last_modified\":\"Mon, 23 Nov 2026 12:00:00 GMT\",\"reason\":\"Fine\",\"sha224\":\"00\",\"future\":{\"a\":1}}", 0, &m);
	is_int(m.flags, META_HEADERS_ONLY, "a document of the old system says that it is one");
	is_int(m.headers.n, 3, "what could not be a field is left out, and Content-Range");
	is_str(headers_get(&m.headers, STR("Last-Modified")), STR("Mon, 23 Nov 2026 12:00:00 GMT"), "Last-Modified of an early generation");
	is_str(m.reason, STR("Fine"), "its reason");
	is_int(m.date, 1795436116, "freshness counts from stored_at");
	is_int(m.response_time, 1795436116000, "which is when it was received");
	is_int(m.last_access, 1795438800000, "last access");
	is_str(m.unknown, STR("{\"future\":{\"a\":1}}"), "members of others are kept, and what was about the old response is not");

	/* ours, then an old node writes its own fields into the document: ours are about another response */
	struct meta mine = make(), after;
	json_t *j = codec_write(&mine, 0), *theirs = json_loads("{\"stored_at\":\"2026-11-23T20:00:00+00:00\",\"headers\":{\"etag\":\"\\\"y\\\"\"}}", 0, NULL);
	json_object_update(j, theirs);
	is_int(codec_read(j, STR(ID), 0, NOW, &a, &after), 0, "a document that an old node has changed after us");
	ok((after.flags & META_HEADERS_ONLY) && str_eq(headers_get(&after.headers, STR("ETag")), STR("\"y\"")) && !headers_has(&after.headers, STR("Date")),
	   "has its fields, and not ours");
	ok(after.flags & META_COOKIE, "what restricts its use stays");
	json_decref(theirs);
	theirs = json_loads("{\"last_access\":\"2026-11-24T00:00:00+00:00\",\"future\":1}", 0, NULL);
	json_decref(j);
	j = codec_write(&mine, 0);
	codec_merge(j, theirs);
	ok(!strcmp(json_string_value(json_object_get(j, "last_access")), "2026-11-24T00:00:00+00:00") && json_object_get(j, "future"),
	   "a later last access, and what is not known, survive our writing");
	json_decref(j);
	json_decref(theirs);
}

/* A node whose clock is ahead of ours (and Elasticsearch's clock is not known). */
static void
test_future(void)
{
	static const struct { const char *what; int64_t ahead, date, age; bool validate; int64_t want_age; } cases[] = {
		{ "a little ahead", 1000, 1, 0, false, 1 },
		{ "minutes ahead", 300000, 1, 0, true, 1 },
		{ "an hour ahead, older at its origin", 3600000, 500, 0, true, 500 },
		{ "and by its Age", 3600000, 5, 900, true, 900 },
	};
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct meta m = make(), got;
		m.stored_at = m.request_time = m.response_time = NOW + cases[i].ahead;
		m.date = m.response_time / 1000 - cases[i].date;
		m.age_value = cases[i].age;
		json_t *j = codec_write(&m, 0);
		is_int(codec_read(j, STR(ID), 0, NOW, &a, &got), 0, "%s: it is read", cases[i].what);
		is_int(got.response_time, NOW, "%s: nothing is received in the future", cases[i].what);
		is_int(got.stored_at, NOW, "%s: nor stored", cases[i].what);
		is_int((got.flags & META_INVALIDATED) != 0, cases[i].validate, "%s: is it to be validated?", cases[i].what);
		is_int(got.age_value, cases[i].want_age, "%s: and its age begins with what it was there", cases[i].what);
		json_decref(j);
	}
}

/* What is sent to clients as it is stored must not decide over their connection, whoever has written it. */
static void
test_hostile(void)
{
	static const char ours[] = "{\"doc_type\":\"metadata\",\"status_code\":%d,\"content_size\":0,\"url\":\"http://example.com/\",\"stored_at\":1795436116123,"
		"\"px_stored_at\":1795436116123,\"px_headers\":[[\"Transfer-Encoding\",\"chunked\"],[\"Connection\",\"close, X-Hop\"],[\"X-Hop\",\"1\"],"
		"[\"Keep-Alive\",\"9\"],[\"Upgrade\",\"x\"],[\"Proxy-Authenticate\",\"Basic\"],[\"ETag\",\"\\\"e\\\"\"],[\"Content-Length\",\"0\"]]}";
	static const char *const hop[] = { "Transfer-Encoding", "Connection", "X-Hop", "Keep-Alive", "Upgrade", "Proxy-Authenticate" };
	static const int never[] = { 100, 206, 304, 600 };
	char text[1024];
	struct meta m;

	snprintf(text, sizeof text, ours, 200);
	is_int(read_doc(text, 0, &m), 0, "a document with fields of a connection is read");
	for (unsigned i = 0; i < sizeof hop / sizeof *hop; i++)
		ok(!headers_has(&m.headers, str_c(hop[i])), "without %s", hop[i]);
	ok(headers_has(&m.headers, STR("ETag")), "with the others");
	for (unsigned i = 0; i < sizeof never / sizeof *never; i++) {
		snprintf(text, sizeof text, ours, never[i]);
		is_int(read_doc(text, 0, &m), -ERR_NOT_FOUND, "a stored %d is not used", never[i]);
	}
}

int
main(void)
{
	arena_init(&a);
	test_hostile();
	test_written();
	test_both_ways();
	test_read();
	test_old();
	test_future();
	arena_fini(&a);
	return done_testing();
}
