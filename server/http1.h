/* http1.h - HTTP/1.1 messages on the wire, strictly (RFC 9112): the one place that parses what clients send, and that writes what they get.
 * Pure: bytes in, structures out; no I/O. Ambiguous input is refused (invariant 7), never repaired. */
#pragma once
#include "../common/http.h"

struct http1_limits { size_t line, head; unsigned fields; };

/* Looks for the end of a head in buf[0..n). *seen is how far an earlier call came (start with 0): each byte is looked at once.
 * > 0: the head's length, with its last CRLF. 0: more is needed. -ERR_URI_TOO_LONG, -ERR_HEAD_TOO_LARGE as soon as a limit is passed,
 * -ERR_BAD_REQUEST as soon as it is hopeless (control bytes, bare CR, bare LF). CRLFs before the request line are skipped: they count to the length (RFC 9112 2.2: at most a few).
 * limits->head bounds the whole, request line included: a buffer of that size is always enough. */
int http1_scan(const char *buf, size_t n, size_t *seen, const struct http1_limits *);
const char *http1_scan_problem(const char *buf, size_t n); /* after -ERR_BAD_REQUEST: which rule was broken, in words */

enum http1_body { BODY_NONE, BODY_LENGTH, BODY_CHUNKED };
struct http1_framing {
	enum http1_body body;
	int64_t length;         /* of BODY_LENGTH */
	bool keep_alive;        /* what the client asked for (RFC 9112 9.3), HTTP/1.0 included */
	bool expect_continue;
	bool upgrade;           /* Connection: upgrade and an Upgrade field */
	const char *problem;    /* when the request was refused: which rule was broken, in words (a literal) */
};
enum http1_target { TARGET_ORIGIN, TARGET_ABSOLUTE, TARGET_AUTHORITY, TARGET_ASTERISK };

/* A complete head (as http1_scan measured it) → request. All copied into the arena: head may go. tunnel is NULL on a connection to the
 * proxy itself; inside a CONNECT it says what the tunnel goes to, and origin-form targets are resolved against it and Host.
 * -ERR_BAD_REQUEST for: obs-fold, blanks before the colon, bad names or values, Content-Length with Transfer-Encoding, differing
 * Content-Lengths, Transfer-Encoding not just "chunked" (-ERR_NOT_IMPLEMENTED) or in HTTP/1.0, no or several Host fields in 1.1,
 * a bad target; -ERR_VERSION for another major. Absolute-form wins over a differing Host, which is replaced (RFC 9112 3.2.2).
 * In a tunnel Host names the resource (it is what document ids are made of, so it is also what must be asked), and the tunnel lends the
 * host when there is no Host (HTTP/1.0) and the port when Host has none and is the tunnel's host. After success the Host field agrees
 * with req->url. HTTP/1.0 to the proxy itself without Host: url.host is empty. CONNECT: url has host, port and text only. */
struct http1_tunnel { struct str scheme, host; unsigned port; };
int http1_request(struct str head, const struct http1_tunnel *, const struct http1_limits *, struct arena *,
                  struct http_request *, struct http1_framing *, enum http1_target *);

/* Chunked decoding (RFC 9112 7.1), incremental. */
struct http1_chunked { int state; uint64_t left; size_t line; /* bytes of chunk extensions that no data has paid for, bounded */ struct arena *arena; struct headers *trailers;
	unsigned digits, extension; bool semicolon; char *section; size_t section_n; /* http1.c's */
	const char *problem; /* when refused: which rule was broken, in words (a literal) */ };
void http1_chunked_init(struct http1_chunked *, struct arena *, struct headers *trailers /* may be NULL: dropped */);
/* Takes from in[0..n): *used bytes were consumed; *out is a view of decoded data among them (may be empty).
 * 1: the body and its trailers are complete; 0: more input; -ERR_BAD_REQUEST. */
int http1_chunked_feed(struct http1_chunked *, const char *in, size_t n, size_t *used, struct str *out);

/* Writing. Appends to buf (n bytes room): the length, or -ERR_HEAD_TOO_LARGE; -ERR_ORIGIN_PROTOCOL for a name or value that may not stand
 * in a head (an origin's CR would split the response). A reason with p == NULL: the usual one. headers may be NULL. */
int64_t http1_write_status(char *buf, size_t n, int status, struct str reason, const struct headers *);
/* "1a2b\r\n" before n bytes of a chunk, and what ends it is "\r\n"; the last chunk with trailers. */
size_t http1_write_chunk_size(char buf[20], size_t n);
int64_t http1_write_last_chunk(char *buf, size_t n, const struct headers *trailers);
