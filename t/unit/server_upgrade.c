/* The heads of an upgrade: what goes to the origin, and what is believed of its answer. */
#include "../../common/err.h"
#include "../../server/upgrade.h"
#include "tap.h"

static struct arena arena;

#define BAD (-ERR_ORIGIN_PROTOCOL)
static const struct { const char *promise; struct str head; int want, status; } heads[] = {
	{ "a plain 101", STR("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), 0, 101 },
	{ "no reason, with its blank", STR("HTTP/1.1 200 \r\n\r\n"), 0, 200 },
	{ "no reason, no blank", STR("HTTP/1.1 200\r\n\r\n"), 0, 200 },
	{ "HTTP/1.0", STR("HTTP/1.0 404 No\r\nA: b\r\n\r\n"), 0, 404 },
	{ "HTTP/2 on this connection", STR("HTTP/2.0 200 OK\r\n\r\n"), BAD, 0 },
	{ "no HTTP at all", STR("SSH-2.0-x\r\n\r\n"), BAD, 0 },
	{ "a status of two digits", STR("HTTP/1.1 99 x\r\n\r\n"), BAD, 0 },
	{ "a status below 100", STR("HTTP/1.1 099 x\r\n\r\n"), BAD, 0 },
	{ "a status above 599", STR("HTTP/1.1 600 x\r\n\r\n"), BAD, 0 },
	{ "a status of four digits", STR("HTTP/1.1 2000 x\r\n\r\n"), BAD, 0 },
	{ "bare LF", STR("HTTP/1.1 200 OK\nA: b\r\n\r\n"), BAD, 0 },
	{ "a folded line", STR("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"), BAD, 0 },
	{ "a blank before the colon", STR("HTTP/1.1 200 OK\r\nA : b\r\n\r\n"), BAD, 0 },
	{ "a line without colon", STR("HTTP/1.1 200 OK\r\nA\r\n\r\n"), BAD, 0 },
	{ "an empty name", STR("HTTP/1.1 200 OK\r\n: b\r\n\r\n"), BAD, 0 },
	{ "a NUL in a value", STR("HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n"), BAD, 0 },
	{ "a CR in a value", STR("HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n"), BAD, 0 },
	{ "bytes behind the end", STR("HTTP/1.1 200 OK\r\n\r\nx\r\n"), BAD, 0 },
	{ "no end", STR("HTTP/1.1 200 OK\r\nA: b\r\n"), BAD, 0 },
	{ "nothing", STR(""), BAD, 0 },
};

static const struct { const char *promise, *head; enum http_method method; int want; enum upgrade_body body; int64_t length; } framings[] = {
	{ "a length", "HTTP/1.1 400 x\r\nContent-Length: 5\r\n\r\n", METHOD_GET, 0, UPGRADE_BODY_LENGTH, 5 },
	{ "no length: up to the end", "HTTP/1.1 400 x\r\n\r\n", METHOD_GET, 0, UPGRADE_BODY_CLOSE, -1 },
	{ "chunked", "HTTP/1.1 400 x\r\nTransfer-Encoding: Chunked\r\n\r\n", METHOD_GET, 0, UPGRADE_BODY_CHUNKED, -1 },
	{ "chunked wins over a length", "HTTP/1.1 400 x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", METHOD_GET, 0, UPGRADE_BODY_CHUNKED, -1 },
	{ "another coding", "HTTP/1.1 400 x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", METHOD_GET, BAD, 0, 0 },
	{ "chunked in HTTP/1.0", "HTTP/1.0 400 x\r\nTransfer-Encoding: chunked\r\n\r\n", METHOD_GET, BAD, 0, 0 },
	{ "two codings in two fields", "HTTP/1.1 400 x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", METHOD_GET, BAD, 0, 0 },
	{ "lengths that differ", "HTTP/1.1 400 x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", METHOD_GET, BAD, 0, 0 },
	{ "HEAD has no body", "HTTP/1.1 400 x\r\nContent-Length: 5\r\n\r\n", METHOD_HEAD, 0, UPGRADE_BODY_NONE, -1 },
	{ "304 has no body", "HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n", METHOD_GET, 0, UPGRADE_BODY_NONE, -1 },
};

static void
request(void)
{
	struct http_request req = { .method = METHOD_GET, .method_name = STR("GET"), .minor = 1 };
	struct headers h;
	headers_init(&req.headers, &arena);
	headers_init(&h, &arena);
	url_parse(&arena, STR("http://chat.example:81/room?a=1"), &req.url);
	headers_add(&req.headers, STR("Upgrade"), STR("websocket"));
	headers_add(&h, STR("Host"), STR("chat.example:81"));
	headers_add(&h, STR("Sec-WebSocket-Key"), STR("abc"));
	is_str(upgrade_request(&req, &h, &arena),
	       STR("GET /room?a=1 HTTP/1.1\r\nHost: chat.example:81\r\nSec-WebSocket-Key: abc\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
	       "the request: origin-form, its own fields, and what the upgrade needs");
}

int
main(void)
{
	arena_init(&arena);
	request();
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
		struct http_response r;
		int e = upgrade_response(heads[i].head, &arena, &r);
		is_int(e, heads[i].want, "%s is %s", heads[i].promise, heads[i].want ? "refused" : "taken");
		if (e == 0)
			is_int(r.status, heads[i].status, "… with its status");
	}
	for (size_t i = 0; i < sizeof framings / sizeof *framings; i++) {
		struct http_request req = { .method = framings[i].method };
		struct http_response r;
		enum upgrade_body body = 0;
		int64_t length = 0;
		int e = upgrade_response(str_c(framings[i].head), &arena, &r);
		if (e == 0)
			e = upgrade_framing(&req, &r, &body, &length);
		ok(e == framings[i].want && (e < 0 || (body == framings[i].body && length == framings[i].length)), "framing: %s", framings[i].promise);
		if (e == 0 && body == UPGRADE_BODY_CHUNKED)
			ok(!headers_has(&r.headers, STR("Content-Length")), "… and no length stands beside it");
	}
	arena_fini(&arena);
	return done_testing();
}
