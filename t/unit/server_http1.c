/* The strict parser: every clause of RFC 9112 and RFC 9110 that it keeps is a row, the known ways to smuggle a request among them. */
#include <time.h>
#include "../../common/err.h"
#include "../../server/http1.h"
#include "tap.h"

static const struct http1_limits limits = { .line = 1024, .head = 8192, .fields = 40 };
static struct arena arena;

#define OK 0
#define BAD (-ERR_BAD_REQUEST)
#define N501 (-ERR_NOT_IMPLEMENTED)
#define N505 (-ERR_VERSION)
#define N414 (-ERR_URI_TOO_LONG)
#define N431 (-ERR_HEAD_TOO_LARGE)
#define H "GET /x HTTP/1.1\r\nHost: a\r\n"
#define P "POST /x HTTP/1.1\r\nHost: a\r\n"
#define END "\r\n"
#define B(lit) STR(lit) /* heads may have NULs in them */

/* As the server does it: scan, and what it measured is parsed. */
static int
parse(struct str in, const struct http1_tunnel *tunnel, struct http_request *req, struct http1_framing *f, enum http1_target *form)
{
	size_t seen = 0;
	int n = http1_scan(in.p, in.n, &seen, &limits);

	if (n < 0)
		f->problem = http1_scan_problem(in.p, in.n);
	if (n <= 0)
		return n < 0 ? n : -ERR_AGAIN;
	return http1_request((struct str){ in.p, (size_t)n }, tunnel, &limits, &arena, req, f, form);
}

static const struct http1_tunnel tunnel_a = { { "https", 5 }, { "a", 1 }, 443 }, tunnel_p = { { "https", 5 }, { "a", 1 }, 8443 },
	tunnel_6 = { { "https", 5 }, { "::1", 3 }, 8443 };

static const struct { const char *promise; struct str in; int want; const struct http1_tunnel *tunnel; } verdicts[] = {
	/* RFC 9112 2.2, 3: the lines */
	{ "3: a plain request", B(H END), OK, NULL },
	{ "2.2: an empty line before the request line is skipped", B("\r\n" H END), OK, NULL },
	{ "2.2: four of them too", B("\r\n\r\n\r\n\r\n" H END), OK, NULL },
	{ "2.2: but not a flood of them", B("\r\n\r\n\r\n\r\n\r\n" H END), BAD, NULL },
	{ "2.2: a bare LF before it", B("\n" H END), BAD, NULL },
	{ "2.2: a bare LF ends the request line", B("GET /x HTTP/1.1\nHost: a\r\n\r\n"), BAD, NULL },
	{ "2.2: a bare LF ends a field", B("GET /x HTTP/1.1\r\nHost: a\n\r\n"), BAD, NULL },
	{ "2.2: a bare LF ends the head", B("GET /x HTTP/1.1\r\nHost: a\r\n\n"), BAD, NULL },
	{ "2.2: a bare CR in the request line", B("GET /x\r HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "2.2: a bare CR in a value", B(H "X: a\rb\r\n\r\n"), BAD, NULL },
	{ "2.2: CR CR LF", B(H "X: a\r\r\n\r\n"), BAD, NULL },
	{ "2.2: a bare CR before a hidden field", B(H "X: y\rTransfer-Encoding: chunked\r\n\r\n"), BAD, NULL },
	{ "2.2: blanks before the first field", B("GET /x HTTP/1.1\r\n Host: a\r\n\r\n"), BAD, NULL },
	{ "3: two blanks after the method", B("GET  /x HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3: two blanks before the version", B("GET /x  HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3: a tab instead of a blank", B("GET\t/x HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3: a tab in the target", B("GET /x\ty HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3: a blank before the method", B(" GET /x HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3: a blank behind the version", B("GET /x HTTP/1.1 \r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3.2: a blank in the target", B("GET /x y HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3.2: a second version in the target", B("GET /x HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3.2: no target", B("GET HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3.2: an empty target", B("GET  HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3.1: a method that is no token", B("G(T /x HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3.1: no method", B("/x HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3.1: any token is a method", B("M-SEARCH /x HTTP/1.1\r\nHost: a\r\n\r\n"), OK, NULL },
	{ "9110 5.5: NUL in a value", B(H "X: a\0b\r\n\r\n"), BAD, NULL },
	{ "9110 5.5: NUL in the target", B("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "9110 5.5: DEL in a value", B(H "X: a\177b\r\n\r\n"), BAD, NULL },
	{ "9110 5.5: other controls in a value", B(H "X: a\013b\r\n\r\n"), BAD, NULL },
	{ "9110 5.5: a tab in a value is a blank", B(H "X: a\tb\r\n\r\n"), OK, NULL },
	{ "9110 5.5: obs-text in a value", B(H "X: caf\303\251\r\n\r\n"), OK, NULL },
	{ "a TLS hello on a plain connection", B("\026\003\001\002\000\001\000\001\374\003\003\r\n\r\n"), BAD, NULL },
	/* 2.3: versions */
	{ "2.3: HTTP/1.0", B("GET /x HTTP/1.0\r\nHost: a\r\n\r\n"), OK, NULL },
	{ "9110 2.5: a later minor version", B("GET /x HTTP/1.9\r\nHost: a\r\n\r\n"), OK, NULL },
	{ "2.3: HTTP/2.0", B("GET /x HTTP/2.0\r\nHost: a\r\n\r\n"), N505, NULL },
	{ "2.3: the preface of HTTP/2", B("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), N505, NULL },
	{ "2.3: HTTP/0.9", B("GET /x\r\n\r\n"), BAD, NULL },
	{ "2.3: HTTP/0.9 with a version", B("GET /x HTTP/0.9\r\n\r\n"), N505, NULL },
	{ "2.3: lower case", B("GET /x http/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "2.3: two digits", B("GET /x HTTP/1.10\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "2.3: HTTP/01.1", B("GET /x HTTP/01.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "2.3: HTTP/1,1", B("GET /x HTTP/1,1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "2.3: HTTP/+1.1", B("GET /x HTTP/+.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "2.3: another protocol", B("GET /x ICAP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	/* 3.2: targets */
	{ "3.2.2: absolute-form", B("GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n"), OK, NULL },
	{ "3.2.2: absolute-form https", B("GET https://a/x HTTP/1.1\r\nHost: a\r\n\r\n"), OK, NULL },
	{ "3.2.2: absolute-form in a tunnel", B("GET https://a/x HTTP/1.1\r\nHost: a\r\n\r\n"), OK, &tunnel_a },
	{ "3.2.2: another scheme", B("GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3.2.2: a scheme in capitals", B("GET HTTP://a/x HTTP/1.1\r\nHost: a\r\n\r\n"), OK, NULL },
	{ "9110 4.2.4: user information", B("GET http://u:p@a/x HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "9110 4.2.1: an empty host", B("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "9110 7.1: a fragment", B("GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3986: a port that is none", B("GET http://a:b/ HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3986: port 65536", B("GET http://a:65536/ HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3.2: neither form", B("GET x HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3.2.3: authority-form is CONNECT's", B("GET a:443 HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3.2.3: CONNECT host:port", B("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"), OK, NULL },
	{ "3.2.3: CONNECT [v6]:port", B("CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n"), OK, NULL },
	{ "3.2.3: CONNECT in HTTP/1.0 without Host", B("CONNECT a:443 HTTP/1.0\r\n\r\n"), OK, NULL },
	{ "9110 9.3.6: CONNECT without a port", B("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "9110 9.3.6: CONNECT with an empty port", B("CONNECT a: HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "9110 9.3.6: CONNECT to port 0", B("CONNECT a:0 HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3.2.3: CONNECT with a path", B("CONNECT a:443/x HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3.2.3: CONNECT with a URL", B("CONNECT http://a:443 HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3.2.3: CONNECT /", B("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3.2.3: CONNECT u@a:443", B("CONNECT u@a:443 HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "9110 9.3.6: CONNECT with a body", B("CONNECT a:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"), BAD, NULL },
	{ "9110 9.3.6: CONNECT with a chunked body", B("CONNECT a:443 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), BAD, NULL },
	{ "9110 9.3.6: CONNECT with a length of 0", B("CONNECT a:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"), OK, NULL },
	{ "3.2.4: OPTIONS *", B("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), OK, NULL },
	{ "3.2.4: GET *", B("GET * HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	{ "3.2.4: OPTIONS **", B("OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, NULL },
	/* 3.2: Host */
	{ "3.2: no Host", B("GET /x HTTP/1.1\r\n\r\n"), BAD, NULL },
	{ "3.2: no Host with absolute-form", B("GET http://a/ HTTP/1.1\r\n\r\n"), BAD, NULL },
	{ "3.2: no Host in HTTP/1.0", B("GET http://a/ HTTP/1.0\r\n\r\n"), OK, NULL },
	{ "3.2: no Host in HTTP/1.0, origin-form", B("GET / HTTP/1.0\r\n\r\n"), OK, NULL },
	{ "3.2: two Hosts", B(H "Host: a\r\n\r\n"), BAD, NULL },
	{ "3.2: two differing Hosts", B(H "Host: b\r\n\r\n"), BAD, NULL },
	{ "3.2: two Hosts with absolute-form", B("GET http://a/ HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n"), BAD, NULL },
	{ "3.2: two Hosts in HTTP/1.0", B("GET /x HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"), BAD, NULL },
	{ "3.2: a list of Hosts", B("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"), BAD, NULL },
	{ "3.2: a Host with a path", B("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), BAD, NULL },
	{ "3.2: a Host with user information", B("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), BAD, NULL },
	{ "3.2: a Host with a blank", B("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), BAD, NULL },
	{ "3.2: a Host with a bad port", B("GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n"), BAD, NULL },
	{ "3.2: an invalid Host is refused with absolute-form too", B("GET http://a/ HTTP/1.1\r\nHost: a/b\r\n\r\n"), BAD, NULL },
	{ "9110 4.2.1: an empty Host", B("GET / HTTP/1.1\r\nHost:\r\n\r\n"), BAD, NULL },
	{ "3.2.2: an empty Host does not matter with absolute-form", B("GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n"), OK, NULL },
	{ "3.2: a Host hidden by obs-fold", B("GET / HTTP/1.1\r\nX: y\r\n Host: a\r\n\r\n"), BAD, NULL },
	/* 5: fields */
	{ "5.1: a blank before the colon", B(H "X : y\r\n\r\n"), BAD, NULL },
	{ "5.1: a tab before the colon", B(H "X\t: y\r\n\r\n"), BAD, NULL },
	{ "5.1: no colon", B(H "X y\r\n\r\n"), BAD, NULL },
	{ "5.1: an empty name", B(H ": y\r\n\r\n"), BAD, NULL },
	{ "5.1: a name that is no token", B(H "X(y): z\r\n\r\n"), BAD, NULL },
	{ "5.1: a name with obs-text", B(H "X\303\251: z\r\n\r\n"), BAD, NULL },
	{ "5.2: obs-fold with a blank", B(H "X: y\r\n z\r\n\r\n"), BAD, NULL },
	{ "5.2: obs-fold with a tab", B(H "X: y\r\n\tz\r\n\r\n"), BAD, NULL },
	{ "5.2: obs-fold of nothing", B(H "X: y\r\n \r\n\r\n"), BAD, NULL },
	{ "5: an empty value", B(H "X:\r\n\r\n"), OK, NULL },
	{ "5: no blank behind the colon", B(H "X:y\r\n\r\n"), OK, NULL },
	{ "5: a value of blanks", B(H "X: \t \r\n\r\n"), OK, NULL },
	/* 6: framing */
	{ "6.2: a length", B(P "Content-Length: 5\r\n\r\n"), OK, NULL },
	{ "8.6: leading zeros are digits", B(P "Content-Length: 0005\r\n\r\n"), OK, NULL },
	{ "8.6: +5", B(P "Content-Length: +5\r\n\r\n"), BAD, NULL },
	{ "8.6: -5", B(P "Content-Length: -5\r\n\r\n"), BAD, NULL },
	{ "8.6: 0x5", B(P "Content-Length: 0x5\r\n\r\n"), BAD, NULL },
	{ "8.6: 5 5", B(P "Content-Length: 5 5\r\n\r\n"), BAD, NULL },
	{ "8.6: 5.0", B(P "Content-Length: 5.0\r\n\r\n"), BAD, NULL },
	{ "8.6: \"5\"", B(P "Content-Length: \"5\"\r\n\r\n"), BAD, NULL },
	{ "8.6: nothing", B(P "Content-Length:\r\n\r\n"), BAD, NULL },
	{ "8.6: 2^63", B(P "Content-Length: 9223372036854775808\r\n\r\n"), BAD, NULL },
	{ "8.6: 2^63 - 1", B(P "Content-Length: 9223372036854775807\r\n\r\n"), OK, NULL },
	{ "8.6: 2^64 + 5", B(P "Content-Length: 18446744073709551621\r\n\r\n"), BAD, NULL },
	{ "8.6: two that differ", B(P "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"), BAD, NULL },
	{ "8.6: two that differ in case of the name", B(P "Content-Length: 5\r\ncontent-length: 6\r\n\r\n"), BAD, NULL },
	{ "8.6: a list that differs", B(P "Content-Length: 5, 6\r\n\r\n"), BAD, NULL },
	{ "8.6: two equal ones are one", B(P "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"), OK, NULL },
	{ "8.6: an equal list is one", B(P "Content-Length: 5, 5\r\n\r\n"), OK, NULL },
	{ "8.6: an empty member", B(P "Content-Length: 5,\r\n\r\n"), BAD, NULL },
	{ "8.6: an empty member in front", B(P "Content-Length: ,5\r\n\r\n"), BAD, NULL },
	{ "6.1: CL.TE", B(P "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), BAD, NULL },
	{ "6.1: TE.CL", B(P "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"), BAD, NULL },
	{ "6.1: TE.CL with a length of 0", B(P "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n"), BAD, NULL },
	{ "6.1: chunked", B(P "Transfer-Encoding: chunked\r\n\r\n"), OK, NULL },
	{ "6.1: in capitals", B(P "transfer-ENCODING: CHUNKED\r\n\r\n"), OK, NULL },
	{ "6.1: with OWS around", B(P "Transfer-Encoding: \tchunked \r\n\r\n"), OK, NULL },
	{ "6.1: in HTTP/1.0", B("POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), BAD, NULL },
	{ "6.1: a coding before chunked", B(P "Transfer-Encoding: gzip, chunked\r\n\r\n"), N501, NULL },
	{ "6.1: in two lines", B(P "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"), N501, NULL },
	{ "6.1: an unknown coding with parameters", B(P "Transfer-Encoding: x;q=\"a,b\", chunked\r\n\r\n"), N501, NULL },
	{ "6.3: chunked is not last", B(P "Transfer-Encoding: chunked, gzip\r\n\r\n"), BAD, NULL },
	{ "6.3: TE.TE: a second line hides it", B(P "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n"), BAD, NULL },
	{ "6.3: TE.TE: identity", B(P "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"), BAD, NULL },
	{ "6.3: identity alone", B(P "Transfer-Encoding: identity\r\n\r\n"), BAD, NULL },
	{ "6.3: gzip alone", B(P "Transfer-Encoding: gzip\r\n\r\n"), BAD, NULL },
	{ "6.1: chunked twice", B(P "Transfer-Encoding: chunked, chunked\r\n\r\n"), BAD, NULL },
	{ "6.1: chunked twice in two lines", B(P "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), BAD, NULL },
	{ "6.1: chunked, gzip, chunked", B(P "Transfer-Encoding: chunked, gzip, chunked\r\n\r\n"), BAD, NULL },
	{ "6.1: TE.TE: xchunked", B(P "Transfer-Encoding: xchunked\r\n\r\n"), BAD, NULL },
	{ "6.1: TE.TE: nothing", B(P "Transfer-Encoding:\r\n\r\n"), BAD, NULL },
	{ "6.1: TE.TE: an empty member", B(P "Transfer-Encoding: ,chunked\r\n\r\n"), BAD, NULL },
	{ "6.1: TE.TE: quoted", B(P "Transfer-Encoding: \"chunked\"\r\n\r\n"), BAD, NULL },
	{ "6.1: TE.TE: chunk ed", B(P "Transfer-Encoding: chunk ed\r\n\r\n"), BAD, NULL },
	{ "6.1: TE.TE: a blank before the colon", B(P "Transfer-Encoding : chunked\r\n\r\n"), BAD, NULL },
	{ "6.1: TE.TE: a vertical tab", B(P "Transfer-Encoding: \013chunked\r\n\r\n"), BAD, NULL },
	{ "6.1: TE.TE: folded", B(P "Transfer-Encoding:\r\n chunked\r\n\r\n"), BAD, NULL },
	{ "6.1: TE.TE: a bare LF in front", B(P "X: y\nTransfer-Encoding: chunked\r\n\r\n"), BAD, NULL },
	{ "6.1: TE.TE: NUL behind", B(P "Transfer-Encoding: chunked\0\r\n\r\n"), BAD, NULL },
	{ "7.1: chunked with a parameter", B(P "Transfer-Encoding: chunked;a=b\r\n\r\n"), BAD, NULL },
	{ "6.3: CL.TE with a hidden coding", B(P "Content-Length: 5\r\nTransfer-Encoding: x\r\n\r\n"), BAD, NULL },
	{ "6: a body with GET has a length", B(H "Content-Length: 5\r\n\r\n"), OK, NULL },
	{ "the name is another one: Transfer_Encoding", B(P "Transfer_Encoding: chunked\r\n\r\n"), OK, NULL },
	{ "half a head needs more", B(H), -ERR_AGAIN, NULL },
	{ "nothing needs more", B("\r\n\r"), -ERR_AGAIN, NULL },
};

/* What comes out. */
static const struct {
	const char *promise;
	struct str in;
	const struct http1_tunnel *tunnel;
	enum http1_target form;
	const char *url, *host; /* the URL's text, the Host field; NULL: none */
	enum http1_body body;
	int64_t length;
	bool keep, expect, upgrade;
} results[] = {
	{ "origin-form", B(H END), NULL, TARGET_ORIGIN, "http://a/x", "a", BODY_NONE, -1, true, false, false },
	{ "origin-form in a tunnel", B(H END), &tunnel_a, TARGET_ORIGIN, "https://a/x", "a", BODY_NONE, -1, true, false, false },
	{ "a Host without the tunnel's port means the tunnel's", B(H END), &tunnel_p, TARGET_ORIGIN, "https://a:8443/x", "a:8443", BODY_NONE, -1, true, false, false },
	{ "a Host of another name is what is asked", B("GET / HTTP/1.1\r\nHost: b\r\n\r\n"), &tunnel_p, TARGET_ORIGIN, "https://b/", "b", BODY_NONE, -1, true, false, false },
	{ "a Host with a port keeps it", B("GET / HTTP/1.1\r\nHost: a:444\r\n\r\n"), &tunnel_p, TARGET_ORIGIN, "https://a:444/", "a:444", BODY_NONE, -1, true, false, false },
	{ "3.2: HTTP/1.0 without Host in a tunnel", B("GET /y?z HTTP/1.0\r\n\r\n"), &tunnel_6, TARGET_ORIGIN, "https://[::1]:8443/y?z", "[::1]:8443", BODY_NONE, -1, false, false, false },
	{ "3.2.2: absolute-form wins over Host", B("GET http://b:81/ HTTP/1.1\r\nHost: a\r\n\r\n"), NULL, TARGET_ABSOLUTE, "http://b:81/", "b:81", BODY_NONE, -1, true, false, false },
	{ "3.2.2: absolute-form https to the plain port", B("GET https://b HTTP/1.1\r\nHost: b\r\n\r\n"), NULL, TARGET_ABSOLUTE, "https://b/", "b", BODY_NONE, -1, true, false, false },
	{ "3.2.2: and brings a Host in HTTP/1.0", B("GET http://b/?q HTTP/1.0\r\n\r\n"), NULL, TARGET_ABSOLUTE, "http://b/?q", "b", BODY_NONE, -1, false, false, false },
	{ "3.2.3: authority-form", B("CONNECT a.b:8443 HTTP/1.1\r\nHost: a.b:8443\r\n\r\n"), NULL, TARGET_AUTHORITY, "a.b:8443", "a.b:8443", BODY_NONE, -1, true, false, false },
	{ "3.2.4: asterisk-form", B("OPTIONS * HTTP/1.1\r\nHost: a:81\r\n\r\n"), NULL, TARGET_ASTERISK, "http://a:81", "a:81", BODY_NONE, -1, true, false, false },
	{ "3.2.4: OPTIONS with an authority alone is *", B("OPTIONS http://a:81 HTTP/1.1\r\nHost: a:81\r\n\r\n"), NULL, TARGET_ABSOLUTE, "http://a:81", "a:81", BODY_NONE, -1, true, false, false },
	{ "3.2.4: with a path it is the path", B("OPTIONS http://a:81/ HTTP/1.1\r\nHost: a:81\r\n\r\n"), NULL, TARGET_ABSOLUTE, "http://a:81/", "a:81", BODY_NONE, -1, true, false, false },
	{ "6.2: a length", B(P "Content-Length: 5\r\n\r\n"), NULL, TARGET_ORIGIN, "http://a/x", "a", BODY_LENGTH, 5, true, false, false },
	{ "6.2: a length of 0 is no body", B(P "Content-Length: 0\r\n\r\n"), NULL, TARGET_ORIGIN, "http://a/x", "a", BODY_NONE, 0, true, false, false },
	{ "6.1: chunked", B(P "Transfer-Encoding: chunked\r\n\r\n"), NULL, TARGET_ORIGIN, "http://a/x", "a", BODY_CHUNKED, -1, true, false, false },
	{ "9.3: close", B(H "Connection: x, CLOSE\r\n\r\n"), NULL, TARGET_ORIGIN, "http://a/x", "a", BODY_NONE, -1, false, false, false },
	{ "9.3: close wins", B(H "Connection: keep-alive\r\nConnection: close\r\n\r\n"), NULL, TARGET_ORIGIN, "http://a/x", "a", BODY_NONE, -1, false, false, false },
	{ "9.3: HTTP/1.0 closes", B("GET / HTTP/1.0\r\nHost: a\r\n\r\n"), &tunnel_a, TARGET_ORIGIN, "https://a/", "a", BODY_NONE, -1, false, false, false },
	{ "9.3: HTTP/1.0 keep-alive in a tunnel", B("GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n"), &tunnel_a, TARGET_ORIGIN, "https://a/", "a", BODY_NONE, -1, true, false, false },
	{ "C.2.2: HTTP/1.0 keep-alive to a proxy", B("GET http://a/ HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), NULL, TARGET_ABSOLUTE, "http://a/", "a", BODY_NONE, -1, false, false, false },
	{ "10.1.1: 100-continue", B(P "Content-Length: 5\r\nExpect: 100-Continue\r\n\r\n"), NULL, TARGET_ORIGIN, "http://a/x", "a", BODY_LENGTH, 5, true, true, false },
	{ "10.1.1: without a body there is nothing to wait for", B(P "Expect: 100-continue\r\n\r\n"), NULL, TARGET_ORIGIN, "http://a/x", "a", BODY_NONE, -1, true, false, false },
	{ "10.1.1: HTTP/1.0 cannot mean it", B("POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"), NULL, TARGET_ORIGIN, "http://a/", "a", BODY_LENGTH, 5, false, false, false },
	{ "7.8: an upgrade", B(H "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"), NULL, TARGET_ORIGIN, "http://a/x", "a", BODY_NONE, -1, true, false, true },
	{ "7.8: an Upgrade that Connection does not name", B(H "Upgrade: websocket\r\n\r\n"), NULL, TARGET_ORIGIN, "http://a/x", "a", BODY_NONE, -1, true, false, false },
	{ "9110 4.2.3: the host keeps its case, the scheme not", B("GET HTTP://Aa/X HTTP/1.1\r\nHost: aa\r\n\r\n"), NULL, TARGET_ABSOLUTE, "http://Aa/X", "aa", BODY_NONE, -1, true, false, false },
};

static void
test_verdicts(void)
{
	for (size_t i = 0; i < sizeof verdicts / sizeof *verdicts; i++) {
		struct http_request req;
		struct http1_framing f = { 0 };
		enum http1_target form;
		int r = parse(verdicts[i].in, verdicts[i].tunnel, &req, &f, &form);
		if (!ok(r == verdicts[i].want, "%s: %s", verdicts[i].promise, verdicts[i].want ? err_name(verdicts[i].want) : "accepted"))
			printf("# got %s (%s)\n", r ? err_name(r) : "accepted", f.problem ? f.problem : "");
		if (r < 0 && r != -ERR_AGAIN && !f.problem)
			ok(false, "%s: the refusal has words", verdicts[i].promise);
		if (r == 0 && f.problem)
			ok(false, "%s: no words without a refusal", verdicts[i].promise);
		arena_reset(&arena);
	}
}

static void
test_results(void)
{
	for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
		struct http_request req;
		struct http1_framing f;
		enum http1_target form = 99;
		int r = parse(results[i].in, results[i].tunnel, &req, &f, &form);
		if (!ok(r == 0 && form == results[i].form && str_eq(req.url.text, str_c(results[i].url)) &&
		        str_eq(headers_get(&req.headers, STR("host")), str_c(results[i].host)) && headers_count(&req.headers, STR("Host")) == 1 &&
		        f.body == results[i].body && f.length == results[i].length && f.keep_alive == results[i].keep &&
		        f.expect_continue == results[i].expect && f.upgrade == results[i].upgrade, "%s", results[i].promise))
			printf("# r %d form %d url %.*s host %.*s body %d length %lld keep %d expect %d upgrade %d %s\n", r, (int)form, STRP(req.url.text),
			       STRP(headers_get(&req.headers, STR("host"))), (int)f.body, (long long)f.length, f.keep_alive, f.expect_continue, f.upgrade,
			       f.problem ? f.problem : "");
		arena_reset(&arena);
	}
}

static void
test_details(void)
{
	struct http_request req;
	struct http1_framing f;
	enum http1_target form;

	is_int(parse(STR(P "Content-Length: 5, 5\r\nX:  a b \r\ncontent-length: 5\r\n\r\nhello"), NULL, &req, &f, &form), 0, "8.6: repeats are folded");
	is_int(headers_count(&req.headers, STR("Content-Length")), 1, "8.6: into one field");
	is_str(headers_get(&req.headers, STR("Content-Length")), STR("5"), "8.6: with the one value");
	is_str(headers_get(&req.headers, STR("x")), STR("a b"), "5.1: OWS around a value is not part of it");
	is_int(parse(STR("GET / HTTP/1.0\r\n\r\n"), NULL, &req, &f, &form), 0, "a request of HTTP/1.0 to the proxy itself");
	ok(req.url.host.n == 0 && req.minor == 0 && form == TARGET_ORIGIN, "has no host");
	is_int(parse(STR("CONNECT [::1]:44 HTTP/1.1\r\nHost: x\r\n\r\n"), NULL, &req, &f, &form), 0, "CONNECT to an IPv6 address");
	is_str(req.url.host, STR("::1"), "its host is without brackets");
	is_int(req.url.port, 44, "its port");
	is_int(parse(STR("M-SEARCH /a?b HTTP/1.7\r\nHost: x\r\n\r\n"), NULL, &req, &f, &form), 0, "another method");
	ok(req.method == METHOD_OTHER && str_eq(req.method_name, STR("M-SEARCH")) && req.minor == 1, "keeps its name, and 1.7 is read as 1.1");
	arena_reset(&arena);
}

static void
fill(char *p, size_t n)
{
	memset(p, 'a', n);
}

/* Limits are exact, however the bytes come. */
static void
test_limits(void)
{
	static char buf[20000];
	struct http_request req;
	struct http1_framing f;
	enum http1_target form;
	size_t n, seen;

	for (int over = 0; over < 2; over++) {
		size_t line = limits.line + (size_t)over, path = line - strlen("GET / HTTP/1.1");
		n = (size_t)snprintf(buf, sizeof buf, "GET /%*s HTTP/1.1\r\nHost: a\r\n\r\n", (int)path, "");
		fill(buf + 5, path);
		is_int(parse((struct str){ buf, n }, NULL, &req, &f, &form), over ? N414 : 0, "a request line of %zu", line);
		seen = 0;
		is_int(http1_scan(buf, limits.line + 2, &seen, &limits), over ? N414 : 0, "which is told when no more has come");
	}
	fill(buf, sizeof buf);
	seen = 0;
	is_int(http1_scan(buf, limits.line + 1, &seen, &limits), 0, "up to the limit more may come");
	is_int(http1_scan(buf, limits.line + 2, &seen, &limits), N414, "one more, and it cannot end in time");
	for (int over = 0; over < 2; over++) {
		size_t head = limits.head + (size_t)over, value = head - strlen(H "X: \r\n\r\n");
		n = (size_t)snprintf(buf, sizeof buf, H "X: %*s\r\n\r\n", (int)value, "");
		fill(buf + strlen(H "X: "), value);
		is_int(parse((struct str){ buf, n }, NULL, &req, &f, &form), over ? N431 : 0, "a head of %zu", head);
	}
	seen = 0;
	is_int(http1_scan(buf, limits.head - 1, &seen, &limits), 0, "an unfinished head below the limit");
	is_int(http1_scan(buf, limits.head, &seen, &limits), N431, "is refused when a buffer of the limit's size is full");
	for (unsigned over = 0; over < 2; over++) {
		n = (size_t)snprintf(buf, sizeof buf, H);
		for (unsigned i = 1; i < limits.fields + over; i++)
			n += (size_t)snprintf(buf + n, sizeof buf - n, "X: y\r\n");
		n += (size_t)snprintf(buf + n, sizeof buf - n, "\r\n");
		is_int(parse((struct str){ buf, n }, NULL, &req, &f, &form), over ? N431 : 0, "%u fields", limits.fields + over);
	}
	arena_reset(&arena);
}

/* A head that comes byte by byte is judged like one that comes at once, and no earlier than it is complete. */
static void
test_trickle(void)
{
	unsigned wrong = 0;

	for (size_t i = 0; i < sizeof verdicts / sizeof *verdicts; i++) {
		struct str in = verdicts[i].in;
		size_t seen_once = 0, seen = 0;
		int once = http1_scan(in.p, in.n, &seen_once, &limits), r = 0;
		for (size_t n = 0; n <= in.n && r == 0; n++) {
			char *copy = xmalloc(n + 1); /* exactly what has come: the sanitizer sees a look beyond */
			memcpy(copy, in.p, n);
			r = http1_scan(copy, n, &seen, &limits);
			free(copy);
		}
		if (r != once)
			wrong++, printf("# %s: %d at once, %d in bytes\n", verdicts[i].promise, once, r);
	}
	is_int(wrong, 0, "2.2: heads that come byte by byte are judged like those that come at once");
}

static const struct { const char *promise; struct str in; const char *out; int want; const char *trailers; } bodies[] = {
	{ "7.1: one chunk", B("5\r\nhello\r\n0\r\n\r\n"), "hello", 1, "" },
	{ "7.1: several", B("5\r\nhello\r\n1\r\n \r\nA\r\n0123456789\r\n0\r\n\r\n"), "hello 0123456789", 1, "" },
	{ "7.1: sizes in either case", B("0a\r\n0123456789\r\n0A\r\n0123456789\r\n0\r\n\r\n"), "01234567890123456789", 1, "" },
	{ "7.1: an empty body", B("0\r\n\r\n"), "", 1, "" },
	{ "7.1: leading zeros", B("0000000000000005\r\nhello\r\n0000\r\n\r\n"), "hello", 1, "" },
	{ "7.1: leading zeros without end", B("00000000000000005\r\nhello\r\n0\r\n\r\n"), "", BAD, "" },
	{ "7.1: what follows is not touched", B("0\r\n\r\nGET / HTTP/1.1\r\n"), "", 1, "" },
	{ "7.1: more is needed", B("5\r\nhel"), "hel", 0, "" },
	{ "7.1: more is needed behind the last chunk", B("5\r\nhello\r\n0\r\n"), "hello", 0, "" },
	{ "7.1: negative", B("-5\r\nhello\r\n0\r\n\r\n"), "", BAD, "" },
	{ "7.1: +5", B("+5\r\nhello\r\n0\r\n\r\n"), "", BAD, "" },
	{ "7.1: 0x5", B("0x5\r\nhello\r\n0\r\n\r\n"), "", BAD, "" },
	{ "7.1: no size", B("\r\nhello\r\n0\r\n\r\n"), "", BAD, "" },
	{ "7.1: an extension without a size", B(";a=b\r\nhello\r\n0\r\n\r\n"), "", BAD, "" },
	{ "7.1: a blank before", B(" 5\r\nhello\r\n0\r\n\r\n"), "", BAD, "" },
	{ "7.1: a blank behind", B("5 \r\nhello\r\n0\r\n\r\n"), "", BAD, "" },
	{ "7.1: a tab behind", B("5\t\r\nhello\r\n0\r\n\r\n"), "", BAD, "" },
	{ "7.1: two sizes", B("5 5\r\nhello\r\n0\r\n\r\n"), "", BAD, "" },
	{ "7.1: no digit", B("g\r\nhello\r\n0\r\n\r\n"), "", BAD, "" },
	{ "7.1: 2^63 - 1 is a size", B("7fffffffffffffff\r\nx"), "x", 0, "" },
	{ "7.1: 2^63", B("8000000000000000\r\nx"), "", BAD, "" },
	{ "7.1: 2^64 + 5", B("10000000000000005\r\nhello\r\n0\r\n\r\n"), "", BAD, "" },
	{ "7.1: 2^64 - 1", B("ffffffffffffffff\r\nx"), "", BAD, "" },
	{ "7.1: a bare LF behind the size", B("5\nhello\r\n0\r\n\r\n"), "", BAD, "" },
	{ "7.1: a bare CR behind the size", B("5\rhello\r\n0\r\n\r\n"), "", BAD, "" },
	{ "7.1: CR CR LF", B("5\r\r\nhello\r\n0\r\n\r\n"), "", BAD, "" },
	{ "7.1: no CRLF behind the data", B("5\r\nhello0\r\n\r\n"), "hello", BAD, "" },
	{ "7.1: a LF behind the data", B("5\r\nhello\n0\r\n\r\n"), "hello", BAD, "" },
	{ "7.1: a CR behind the data", B("5\r\nhello\r0\r\n\r\n"), "hello", BAD, "" },
	{ "7.1: data longer than its size", B("5\r\nhello!\r\n0\r\n\r\n"), "hello", BAD, "" },
	{ "7.1.1: an extension", B("5;a=b\r\nhello\r\n0;c\r\n\r\n"), "hello", 1, "" },
	{ "7.1.1: an extension behind a blank", B("5 ; a = \"b;c\"\r\nhello\r\n0\r\n\r\n"), "hello", 1, "" },
	{ "7.1.1: a bare LF in an extension", B("5;a\nb\r\nhello\r\n0\r\n\r\n"), "", BAD, "" },
	{ "7.1.1: a LF ends an extension", B("5;\nhello\r\n0\r\n\r\n"), "", BAD, "" },
	{ "7.1.1: a bare CR in an extension", B("5;a\rb\r\nhello\r\n0\r\n\r\n"), "", BAD, "" },
	{ "7.1.1: NUL in an extension", B("5;a\0\r\nhello\r\n0\r\n\r\n"), "", BAD, "" },
	{ "7.1.2: a trailer", B("1\r\nx\r\n0\r\nDigest: abc\r\nX-Y:z \r\n\r\n"), "x", 1, "Digest=abc;X-Y=z;" },
	{ "7.1.2: a trailer section cut short", B("0\r\nDigest: abc\r\n"), "", 0, "" },
	{ "7.1.2: a trailer line without a colon", B("0\r\nDigest\r\n\r\n"), "", BAD, "" },
	{ "7.1.2: a blank before the colon", B("0\r\nDigest : a\r\n\r\n"), "", BAD, "" },
	{ "7.1.2: obs-fold", B("0\r\nDigest: a\r\n b\r\n\r\n"), "", BAD, "" },
	{ "7.1.2: a bare LF", B("0\r\nDigest: a\n\r\n"), "", BAD, "" },
	{ "7.1.2: a bare LF ends the section", B("0\r\n\n"), "", BAD, "" },
	{ "7.1.2: a bare CR ends the section", B("0\r\n\rGET"), "", BAD, "" },
	{ "7.1.2: NUL", B("0\r\nDigest: \0\r\n\r\n"), "", BAD, "" },
	{ "9110 6.5.1: a Content-Length", B("0\r\nContent-Length: 5\r\n\r\n"), "", BAD, "" },
	{ "9110 6.5.1: a Transfer-Encoding", B("0\r\nX: y\r\ntransfer-encoding: chunked\r\n\r\n"), "", BAD, "" },
	{ "9110 6.5.1: a Host", B("0\r\nHost: evil\r\n\r\n"), "", BAD, "" },
	{ "9110 6.5.1: Authorization and conditions are dropped", B("0\r\nAuthorization: x\r\nIf-Match: *\r\nCookie: a\r\nA: b\r\nRange: bytes=0-\r\n\r\n"), "", 1, "A=b;" },
};

/* Feeds piece by piece, from memory that holds no more than the piece. */
static int
decode(struct str in, size_t piece, struct headers *trailers, char *out, size_t *n_out, size_t *taken)
{
	struct http1_chunked c;
	int r = 0;

	http1_chunked_init(&c, &arena, trailers);
	*n_out = *taken = 0;
	for (size_t at = 0; at < in.n && r == 0; at += piece) {
		size_t n = in.n - at < piece ? in.n - at : piece, off = 0;
		char *copy = xmalloc(n);
		memcpy(copy, in.p + at, n);
		while (off < n && r == 0) {
			struct str data;
			size_t used;
			r = http1_chunked_feed(&c, copy + off, n - off, &used, &data);
			if (r < 0) {
				if (http1_chunked_feed(&c, "0\r\n\r\n", 5, &used, &data) != r || !c.problem)
					r = -ERR_SYSTEM; /* broken stays broken, and says why */
				break;
			}
			if (data.n)
				memcpy(out + *n_out, data.p, data.n);
			*n_out += data.n;
			*taken += used;
			off += used;
		}
		free(copy);
	}
	return r;
}

static void
test_chunked(void)
{
	static char out[70000];

	for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
		bool good = true;
		for (size_t piece = 1; piece <= bodies[i].in.n; piece++) {
			struct headers trailers;
			char text[256];
			size_t n, taken, at = 0, tail = str_ends(bodies[i].in, STR("GET / HTTP/1.1\r\n")) ? strlen("GET / HTTP/1.1\r\n") : 0;
			headers_init(&trailers, &arena);
			int r = decode(bodies[i].in, piece, &trailers, out, &n, &taken);
			text[0] = 0;
			for (unsigned k = 0; k < trailers.n; k++)
				at += (size_t)snprintf(text + at, sizeof text - at, "%.*s=%.*s;", STRP(trailers.v[k].name), STRP(trailers.v[k].value));
			if (r != bodies[i].want || !str_eq((struct str){ out, n }, str_c(bodies[i].out)) || strcmp(text, bodies[i].trailers) != 0 ||
			    (r == 1 && taken != bodies[i].in.n - tail)) {
				good = false;
				printf("# piece %zu: %d \"%.*s\" trailers %s taken %zu\n", piece, r, (int)n, out, text, taken);
				break;
			}
			arena_reset(&arena);
		}
		ok(good, "%s: %s", bodies[i].promise, bodies[i].want < 0 ? "refused" : bodies[i].want ? "complete" : "more is needed");
	}
	struct { char p[70000]; size_t n; } *big = xmalloc(sizeof *big);
	size_t n, taken;
	for (int over = 0; over < 2; over++) {
		big->n = (size_t)snprintf(big->p, sizeof big->p, "1;%*s\r\nx\r\n0\r\n\r\n", 4095 + over, "");
		is_int(decode((struct str){ big->p, big->n }, 1000, NULL, out, &n, &taken), over ? BAD : 1, "7.1.1: an extension of %d", 4096 + over);
	}
	big->n = 0;
	for (int i = 0; i < 6000; i++)
		big->n += (size_t)snprintf(big->p + big->n, sizeof big->p - big->n, "1;ab\r\nx\r\n");
	is_int(decode((struct str){ big->p, big->n }, 1000, NULL, out, &n, &taken), BAD, "7.1.1: small chunks with extensions without end are refused");
	big->n = 0;
	for (int i = 0; i < 5000; i++)
		big->n += (size_t)snprintf(big->p + big->n, sizeof big->p - big->n, "4;ab\r\nxxxx\r\n");
	is_int(decode((struct str){ big->p, big->n }, 1000, NULL, out, &n, &taken), 0, "7.1.1: extensions that data pays for are not");
	big->n = (size_t)snprintf(big->p, sizeof big->p, "0\r\nX: %*s\r\n\r\n", 9000, "");
	is_int(decode((struct str){ big->p, big->n }, 1000, NULL, out, &n, &taken), BAD, "7.1.2: a trailer section is bounded");
	big->n = (size_t)snprintf(big->p, sizeof big->p, "0\r\n");
	for (int i = 0; i < 65; i++)
		big->n += (size_t)snprintf(big->p + big->n, sizeof big->p - big->n, "X: y\r\n");
	big->n += (size_t)snprintf(big->p + big->n, sizeof big->p - big->n, "\r\n");
	is_int(decode((struct str){ big->p, big->n }, 1000, NULL, out, &n, &taken), BAD, "7.1.2: and so is the number of its fields");
	is_int(decode(STR("0\r\nContent-Length: 1\r\n\r\n"), 100, NULL, out, &n, &taken), BAD, "9110 6.5.1: dropped trailers are judged all the same");
	free(big);
	arena_reset(&arena);
}

static void
test_write(void)
{
	struct headers h;
	char buf[256];
	int64_t n;

	headers_init(&h, &arena);
	headers_add(&h, STR("A"), STR("b"));
	headers_add(&h, STR("C"), STR(""));
	n = http1_write_status(buf, sizeof buf, 200, STR_NONE, &h);
	is_str(((struct str){ buf, (size_t)n }), STR("HTTP/1.1 200 OK\r\nA: b\r\nC: \r\n\r\n"), "4: a status line and fields");
	is_int(http1_write_status(buf, (size_t)n, 200, STR_NONE, &h), n, "it may fill the buffer");
	is_int(http1_write_status(buf, (size_t)n - 1, 200, STR_NONE, &h), N431, "and never more than that");
	n = http1_write_status(buf, sizeof buf, 299, STR("Fine thing"), NULL);
	is_str(((struct str){ buf, (size_t)n }), STR("HTTP/1.1 299 Fine thing\r\n\r\n"), "4: the origin's own words");
	n = http1_write_status(buf, sizeof buf, 299, STR("x\r\nSet-Cookie: y"), NULL);
	is_str(((struct str){ buf, (size_t)n }), STR("HTTP/1.1 299 \r\n\r\n"), "11.1: a reason cannot split the response");
	headers_add(&h, STR("X"), STR("y\r\nZ: z"));
	is_int(http1_write_status(buf, sizeof buf, 200, STR_NONE, &h), -ERR_ORIGIN_PROTOCOL, "11.1: nor can a value");
	headers_remove(&h, STR("X"));
	headers_add(&h, STR("X y"), STR("z"));
	is_int(http1_write_status(buf, sizeof buf, 200, STR_NONE, &h), -ERR_ORIGIN_PROTOCOL, "11.1: nor a name");
	is_str(((struct str){ buf, http1_write_chunk_size(buf, 0x1a2b) }), STR("1a2b\r\n"), "7.1: a chunk's size");
	is_int(http1_write_chunk_size(buf, SIZE_MAX), 18, "7.1: the largest fits");
	n = http1_write_last_chunk(buf, sizeof buf, NULL);
	is_str(((struct str){ buf, (size_t)n }), STR("0\r\n\r\n"), "7.1: the last chunk");
	headers_remove(&h, STR("X y"));
	n = http1_write_last_chunk(buf, sizeof buf, &h);
	is_str(((struct str){ buf, (size_t)n }), STR("0\r\nA: b\r\nC: \r\n\r\n"), "7.1.2: with trailers");
	arena_reset(&arena);
}

/* Not a promise, a figure: what a usual head costs. */
static void
measure(void)
{
	static const char head[] = "GET /debian/pool/main/libx/libxml2/libxml2_2.9.14_amd64.deb HTTP/1.1\r\nHost: mirror.example.org\r\n"
		"User-Agent: Debian APT-HTTP/1.3 (2.6.1) non-interactive\r\nAccept: text/*, */*;q=0.5\r\nAccept-Encoding: gzip, deflate\r\n"
		"Connection: keep-alive\r\nIf-Modified-Since: Sat, 01 Feb 2025 00:00:00 GMT\r\n\r\n";
	enum { ROUNDS = 200000 };
	struct timespec t0, t1, t2;
	struct http_request req;
	struct http1_framing f;
	enum http1_target form;
	char buf[1024];
	int64_t n = 0;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t0);
	for (int i = 0; i < ROUNDS; i++) {
		parse((struct str){ head, sizeof head - 1 }, &tunnel_a, &req, &f, &form);
		if (i < ROUNDS - 1)
			arena_reset(&arena);
	}
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t1);
	for (int i = 0; i < ROUNDS; i++)
		n += http1_write_status(buf, sizeof buf, 200, STR_NONE, &req.headers);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t2);
	note("a head of %zu bytes: %.0f ns to scan and parse, %.0f ns to write its like", sizeof head - 1,
	     ((double)(t1.tv_sec - t0.tv_sec) * 1e9 + (double)(t1.tv_nsec - t0.tv_nsec)) / ROUNDS,
	     ((double)(t2.tv_sec - t1.tv_sec) * 1e9 + (double)(t2.tv_nsec - t1.tv_nsec)) / ROUNDS);
	arena_reset(&arena);
}

int
main(void)
{
	arena_init(&arena);
	test_verdicts();
	test_results();
	test_details();
	test_limits();
	test_trickle();
	test_chunked();
	test_write();
	measure();
	arena_fini(&arena);
	return done_testing();
}
