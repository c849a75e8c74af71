/* Any bytes as what a client sends. The first byte says whether it comes through a tunnel. What is promised for every input:
 * it is judged the same at once and in pieces; what is accepted has one framing and one Host; and said again in our words it means the same. */
#include "../../common/err.h"
#include "../../server/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct http1_limits limits = { .line = 1024, .head = 4096, .fields = 32 };

static int
scan_in_pieces(const char *in, size_t n, size_t step)
{
	size_t seen = 0;
	int r = 0;

	for (size_t have = 0; r == 0; have = have + step < n ? have + step : n) {
		char *copy = xmalloc(have + !have); /* no byte behind what has come */
		memcpy(copy, in, have);
		r = http1_scan(copy, have, &seen, &limits);
		INVARIANT(seen <= have);
		if (r == -ERR_BAD_REQUEST)
			INVARIANT(*http1_scan_problem(copy, have));
		free(copy);
		if (have == n)
			break;
	}
	return r;
}

/* The accepted request as absolute-form, which needs no tunnel. */
static struct str
say_again(const struct http_request *req, struct arena *a)
{
	struct str s = arena_printf(a, "%.*s %.*s HTTP/1.%d\r\n", STRP(req->method_name), STRP(req->url.text), req->minor);

	for (unsigned i = 0; i < req->headers.n; i++)
		s = arena_printf(a, "%.*s%.*s: %.*s\r\n", STRP(s), STRP(req->headers.v[i].name), STRP(req->headers.v[i].value));
	return arena_printf(a, "%.*s\r\n", STRP(s));
}

static void
check_accepted(const struct http_request *req, const struct http1_framing *f, enum http1_target form, struct arena *a)
{
	const struct http1_limits wide = { 65536, 65536, 64 };
	struct http_request again;
	struct http1_framing f2;
	enum http1_target form2;
	struct str text;
	size_t seen = 0;

	INVARIANT(!f->problem && req->url.text.n && field_name_valid(req->method_name));
	INVARIANT(headers_count(&req->headers, STR("Host")) <= 1);
	INVARIANT(!(headers_has(&req->headers, STR("Content-Length")) && headers_has(&req->headers, STR("Transfer-Encoding"))));
	INVARIANT((f->body == BODY_LENGTH) == (f->length > 0));
	INVARIANT((f->body == BODY_CHUNKED) == headers_has(&req->headers, STR("Transfer-Encoding")));
	INVARIANT(headers_count(&req->headers, STR("Content-Length")) <= 1);
	for (unsigned i = 0; i < req->headers.n; i++)
		INVARIANT(field_name_valid(req->headers.v[i].name) && field_value_valid(req->headers.v[i].value));
	if (form == TARGET_AUTHORITY || req->url.host.n == 0)
		return;
	INVARIANT(str_caseeq(headers_get(&req->headers, STR("Host")), url_host_field(a, &req->url)) || req->url.port == 80 || req->url.port == 443 ||
	          str_caseends(headers_get(&req->headers, STR("Host")), arena_printf(a, "%u", req->url.port)));
	if (memchr(req->url.text.p, '\0', req->url.text.n))
		return;
	text = say_again(req, a);
	INVARIANT(http1_scan(text.p, text.n, &seen, &wide) == (int)text.n);
	INVARIANT(http1_request(text, NULL, &wide, a, &again, &f2, &form2) == 0);
	INVARIANT(form2 == TARGET_ABSOLUTE && str_eq(again.url.text, req->url.text) && again.method == req->method);
	INVARIANT(f2.body == f->body && f2.length == f->length && f2.expect_continue == f->expect_continue && f2.upgrade == f->upgrade);
	INVARIANT(again.headers.n == req->headers.n);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const struct http1_tunnel tunnels[] = { { { "https", 5 }, { "a.example", 9 }, 8443 }, { { "http", 4 }, { "::1", 3 }, 80 } };
	const struct http1_tunnel *tunnel = n && data[0] % 3 ? &tunnels[data[0] % 3 - 1] : NULL;
	const char *in = (const char *)data + !!n;
	struct http_request req;
	struct http1_framing f;
	enum http1_target form;
	struct arena a;
	size_t seen = 0;
	char *copy;
	int r, scanned;

	n -= !!n;
	copy = xmalloc(n + !n);
	memcpy(copy, in, n);
	scanned = http1_scan(copy, n, &seen, &limits);
	INVARIANT(scanned <= (int)n);
	r = scan_in_pieces(in, n, 1 + n / 16);
	/* in pieces a limit may be seen to be passed before the fault behind it */
	INVARIANT(r == scanned || (r < 0 && scanned < 0));
	arena_init(&a);
	if (scanned > 0) {
		r = http1_request((struct str){ copy, (size_t)scanned }, tunnel, &limits, &a, &req, &f, &form);
		INVARIANT(r == 0 || (r < 0 && f.problem));
		if (r == 0)
			check_accepted(&req, &f, form, &a);
	}
	/* and what nobody has scanned must not hurt either */
	http1_request((struct str){ copy, n }, tunnel, &limits, &a, &req, &f, &form);
	arena_fini(&a);
	free(copy);
	return 0;
}
