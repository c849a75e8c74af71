#include <string.h>

#include "../common/err.h"
#include "errorpage.h"

static const struct words {
	const char *title, *what, *advice;
	bool origin; /* is it about the origin? Then the page names it */
} words[ERR_MAX] = {
	[ERR_BAD_REQUEST] = { "This request is not valid",
		"The proxy cannot read it without guessing what is meant, so it refuses it and closes the connection.",
		"This is a fault of the program that sent the request. The detail says which rule it breaks." },
	[ERR_URI_TOO_LONG] = { "The address is too long",
		"The request line is longer than this proxy takes.",
		"Send long data in the request's body, or ask the operator to raise max-line." },
	[ERR_HEAD_TOO_LARGE] = { "The request has too many or too large header fields",
		"Its header section is larger than this proxy takes. Often it is cookies that have piled up.",
		"Clear the cookies of this site, or ask the operator to raise max-head or max-fields." },
	[ERR_NOT_IMPLEMENTED] = { "This transfer coding is not known",
		"The request's body comes in a transfer coding that this proxy cannot decode.",
		"Send the body with Content-Length, or with \"Transfer-Encoding: chunked\" alone." },
	[ERR_VERSION] = { "This HTTP version is not spoken here",
		"The proxy speaks HTTP/1.1 and HTTP/1.0 to clients.",
		"Set the client to HTTP/1.1 for its proxy." },
	[ERR_FORBIDDEN] = { "This proxy is not for that",
		"The operator of this proxy has closed it for this client, or for this use.",
		"The detail names the setting. Ask the operator if you think that it should be open." },
	[ERR_DESTINATION] = { "This address is closed",
		"The host has an address that this proxy does not go to for you: one of the proxy's own machine, or one that its operator has closed.",
		"The detail names the setting. If your own machine can reach the host without the proxy, put it into NO_PROXY.", true },
	[ERR_CREDENTIALS] = { "A user name and a password, please",
		"This proxy serves those whom it knows: the request came without a name and password, or with ones that are wrong.",
		"Put them into the proxy's URL: HTTPS_PROXY=http://NAME:PASSWORD@PROXY:8080, with special characters percent-encoded." },
	[ERR_ATTEMPTS] = { "Too many wrong passwords",
		"Wrong names or passwords came from your address, too many in too short a time.",
		"Wait a moment, and correct the password." },
	[ERR_LOOP] = { "The request runs in a circle",
		"You have sent this proxy a request through itself: it arrived a second time, or asks for the proxy's own address.",
		"Check that the address is not the proxy's, and that no proxy behind this one sends requests back to it." },
	[ERR_BUSY] = { "The proxy is busy",
		"It has reached one of its limits and cannot take this request now.",
		"Try again in a moment." },
	[ERR_TIMEOUT] = { "The request did not arrive in time",
		"The proxy waited for the rest of the request, and nothing came.",
		"Try again; if it happens often, look at the network between you and the proxy." },
	[ERR_NOT_FOUND] = { "There is no such page", "The proxy has no page of this name.", "Start at http://mitm.it/ instead." },
	[ERR_CERTGEN] = { "No certificate could be made for this host",
		"The proxy could not sign a certificate in the host's name.", "Try again; if it stays, tell the operator." },
	[ERR_ORIGIN_RESOLVE] = { "The host is not known",
		"The proxy asked for the host's address, and got none.",
		"Check the name for a typing error. Names that only your machine knows are not known to the proxy: put them into NO_PROXY.", true },
	[ERR_ORIGIN_CONNECT] = { "The host cannot be reached",
		"The proxy knows the host's address but gets no connection to it.",
		"The host may be down, or a firewall may be between it and the proxy. If only your machine can reach it, put it into NO_PROXY.", true },
	[ERR_ORIGIN_TLS] = { "No secure connection to the host",
		"The host and the proxy could not agree on a TLS connection.",
		"The host may not speak TLS on this port, or only versions that are no longer safe.", true },
	[ERR_ORIGIN_CERT] = { "The host's certificate cannot be trusted",
		"The proxy does not believe that this is the host you asked for, so it sent nothing to it.",
		"If the host has a certificate of a private authority, the operator can add it with upstream-ca.", true },
	[ERR_ORIGIN_PROTOCOL] = { "The host's answer is not valid HTTP",
		"The host answered, but with something that the proxy cannot read.",
		"This is a fault of the host. Check that its port is one for HTTP.", true },
	[ERR_ORIGIN_BROKEN] = { "The host broke off",
		"The connection to the host ended before its answer was complete.", "Try again.", true },
	[ERR_ORIGIN_SHORT] = { "The host sent too little",
		"The host's answer ended before all that it had promised was there.", "Try again.", true },
	[ERR_ORIGIN_TIMEOUT] = { "The host does not answer",
		"The proxy reached the host, and then heard nothing from it for too long.", "Try again later.", true },
	[ERR_ONLY_IF_CACHED] = { "Not in the cache",
		"The request asked for an answer from the cache only (Cache-Control: only-if-cached), and there is none.",
		"Leave only-if-cached out.", true },
	[ERR_FILL_FAILED] = { "The download failed",
		"Another request was already downloading this, and its download failed.", "Try again.", true },
};

void
page_add(struct page_text *t, struct str s)
{
	if (t->n + s.n > t->cap) {
		size_t cap = 2 * (t->n + s.n) + 1024;
		char *p = arena_alloc(t->arena, cap);
		if (t->n)
			memcpy(p, t->p, t->n);
		t->p = p;
		t->cap = cap;
	}
	if (s.n)
		memcpy(t->p + t->n, s.p, s.n);
	t->n += s.n;
}

void
page_addz(struct page_text *t, const char *z)
{
	page_add(t, str_c(z));
}

void
page_add_html(struct page_text *t, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		if (c == '&')
			page_addz(t, "&amp;");
		else if (c == '<')
			page_addz(t, "&lt;");
		else if (c == '>')
			page_addz(t, "&gt;");
		else if (c == '"')
			page_addz(t, "&quot;");
		else if (c == '\'')
			page_addz(t, "&#39;");
		else if ((unsigned char)c < 0x20 && c != '\n' && c != '\t')
			page_addz(t, "\xef\xbf\xbd"); /* U+FFFD: controls may not stand in HTML */
		else
			page_add(t, (struct str){ s.p + i, 1 });
	}
}

void
page_add_json(struct page_text *t, struct str s)
{
	static const char digits[] = "0123456789abcdef";

	page_addz(t, "\"");
	for (size_t i = 0; i < s.n;) {
		unsigned char c = (unsigned char)s.p[i];
		size_t len = utf8_sequence(s.p + i, s.n - i);
		if (c == '"' || c == '\\') {
			page_add(t, (struct str){ (char[]){ '\\', (char)c }, 2 });
		} else if (c < 0x20 || c == 0x7f) {
			page_add(t, (struct str){ (char[]){ '\\', 'u', '0', '0', digits[c >> 4], digits[c & 15] }, 6 });
		} else if (len == 0) {
			page_addz(t, "\\ufffd");
		} else {
			page_add(t, (struct str){ s.p + i, len });
		}
		i += len ? len : 1;
	}
	page_addz(t, "\"");
}

/* One small page, no script, nothing loaded from anywhere: it must work when nothing else does, under any origin's name. */
void
page_html_begin(struct page_text *t, struct str title)
{
	page_addz(t, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<title>");
	page_add_html(t, title);
	page_addz(t, "</title>\n<style>\n"
		":root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --box: #f3f4f6; --line: #c9ced6; --link: #0b57d0 }\n"
		"@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #16181c; --box: #23262c; --line: #454a53; --link: #8ab4f8 } }\n"
		"body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif }\n"
		"main { max-width: 50rem; margin: 0 auto; padding: 2rem 1.2rem }\n"
		"h1 { font-size: 1.6rem; line-height: 1.25 } h2 { font-size: 1.15rem; margin-top: 2rem }\n"
		"a { color: var(--link) } code, pre { font: .9rem/1.45 ui-monospace, monospace }\n"
		"pre { background: var(--box); border: 1px solid var(--line); border-radius: .4rem; padding: .7rem .9rem; overflow-x: auto; "
		"white-space: pre-wrap; overflow-wrap: anywhere }\n"
		"dt { font-weight: 600 } dd { margin: 0 0 .6rem; overflow-wrap: anywhere } footer { margin-top: 2.5rem; border-top: 1px solid var(--line); "
		"padding-top: .6rem; font-size: .9rem }\n</style>\n</head>\n<body>\n<main>\n<h1>");
	page_add_html(t, title);
	page_addz(t, "</h1>\n");
}

void
page_html_end(struct page_text *t)
{
	page_addz(t, "</main>\n</body>\n</html>\n");
}

void
page_finish(struct page *out, int status, struct str type, const struct page_text *t)
{
	out->status = status;
	headers_init(&out->headers, t->arena);
	headers_add(&out->headers, STR("Content-Type"), type);
	headers_add(&out->headers, STR("Cache-Control"), STR("no-store"));
	headers_add(&out->headers, STR("X-Content-Type-Options"), STR("nosniff"));
	if (str_starts(type, STR("text/html"))) /* it stands under the origin's name, whose scripts and frames have no business in it */
		headers_add(&out->headers, STR("Content-Security-Policy"), STR("default-src 'none'; style-src 'unsafe-inline'"));
	out->body = (struct str){ t->p, t->n };
}

/* "0.8" in thousandths (RFC 9110 12.4.2); what is no weight counts as 1. */
static unsigned
weight(struct str params)
{
	while (params.n) {
		struct str p = str_trim(str_cut(&params, ';'));
		if (p.n < 3 || ascii_lower(p.p[0]) != 'q' || p.p[1] != '=')
			continue;
		unsigned q = p.p[2] == '0' ? 0 : 1000, unit = 100;
		for (size_t i = 4; q < 1000 && i < p.n && p.p[3] == '.' && unit; i++, unit /= 10)
			if (p.p[i] >= '0' && p.p[i] <= '9')
				q += unit * (unsigned)(p.p[i] - '0');
		return q;
	}
	return 1000;
}

enum page_form
page_form(const struct http_request *req, enum page_form other)
{
	enum page_form best = other;
	unsigned best_q = 0;
	struct str range;

	if (!req || !req->headers.n)
		return other;
	/* Only what is named counts, the first of the heaviest; a wildcard says nothing about these three. */
	for (struct list_iter it = list_start(&req->headers, STR("Accept")); list_next(&it, &range);) {
		struct str params = range, type = str_trim(str_cut(&params, ';'));
		enum page_form form;
		unsigned q = weight(params);
		if (str_caseeq(type, STR("text/html")) || str_caseeq(type, STR("application/xhtml+xml")))
			form = PAGE_HTML;
		else if (str_caseeq(type, STR("application/json")) || str_caseends(type, STR("+json")))
			form = PAGE_JSON;
		else if (str_caseeq(type, STR("text/plain")))
			form = PAGE_TEXT;
		else
			continue;
		if (q > best_q) {
			best_q = q;
			best = form;
		}
	}
	return best;
}

struct content {
	int status;
	const char *code; /* for programs */
	const char *title, *what, *advice;
	struct str problem, origin;
};

static void
add_item(struct page_text *t, const char *term, struct str s)
{
	if (!s.n)
		return;
	page_addz(t, "<dt>");
	page_addz(t, term);
	page_addz(t, "</dt><dd>");
	page_add_html(t, s);
	page_addz(t, "</dd>\n");
}

static void
as_html(struct page_text *t, const struct content *c, const struct errorpage_context *ctx)
{
	page_html_begin(t, arena_printf(t->arena, "%s", c->title));
	page_addz(t, "<p>");
	page_add_html(t, str_c(c->what));
	page_addz(t, "</p>\n");
	if (c->problem.n) {
		page_addz(t, "<pre>");
		page_add_html(t, c->problem);
		page_addz(t, "</pre>\n");
	}
	page_addz(t, "<h2>What you can do</h2>\n<p>");
	page_add_html(t, str_c(c->advice));
	page_addz(t, "</p>\n<footer><dl>\n");
	add_item(t, "Status", arena_printf(t->arena, "%d %s", c->status, http_reason(c->status)));
	add_item(t, "Origin", c->origin);
	add_item(t, "Request id", ctx->request_id);
	add_item(t, "Proxy", ctx->proxy);
	page_addz(t, "</dl>\n<p>This page comes from a proxy (passsage), not from the site. <a href=\"http://mitm.it/\">About this proxy</a></p></footer>\n");
	page_html_end(t);
}

static void
add_line(struct page_text *t, const char *term, struct str s)
{
	if (!s.n)
		return;
	page_addz(t, term);
	page_addz(t, ": ");
	for (size_t i = 0; i < s.n; i++) /* it goes to terminals: no escape sequences from an origin */
		page_add(t, (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f ? STR(" ") : (struct str){ s.p + i, 1 });
	page_addz(t, "\n");
}

static void
as_text(struct page_text *t, const struct content *c, const struct errorpage_context *ctx)
{
	page_add(t, arena_printf(t->arena, "passsage: %d %s\n%s\n", c->status, c->title, c->what));
	add_line(t, "Detail", c->problem);
	add_line(t, "Advice", str_c(c->advice));
	add_line(t, "Origin", c->origin);
	add_line(t, "Request id", ctx->request_id);
	add_line(t, "Proxy", ctx->proxy);
}

static void
add_member(struct page_text *t, const char *name, struct str s)
{
	if (!s.n)
		return;
	page_addz(t, ",\"");
	page_addz(t, name);
	page_addz(t, "\":");
	page_add_json(t, s);
}

static void
as_json(struct page_text *t, const struct content *c, const struct errorpage_context *ctx)
{
	page_add(t, arena_printf(t->arena, "{\"status\":%d", c->status));
	add_member(t, "error", str_c(c->code));
	add_member(t, "title", str_c(c->title));
	add_member(t, "what", str_c(c->what));
	add_member(t, "detail", c->problem);
	add_member(t, "advice", str_c(c->advice));
	add_member(t, "origin", c->origin);
	add_member(t, "request_id", ctx->request_id);
	add_member(t, "proxy", ctx->proxy);
	page_addz(t, "}\n");
}

static void
make(const struct content *c, const struct errorpage_context *ctx, const struct http_request *req, struct arena *a, struct page *out)
{
	struct page_text t = { .arena = a };

	switch (page_form(req, PAGE_TEXT)) {
	case PAGE_HTML:
		as_html(&t, c, ctx);
		page_finish(out, c->status, STR("text/html; charset=utf-8"), &t);
		break;
	case PAGE_JSON:
		as_json(&t, c, ctx);
		page_finish(out, c->status, STR("application/json"), &t);
		break;
	case PAGE_TEXT:
		as_text(&t, c, ctx);
		page_finish(out, c->status, STR("text/plain; charset=utf-8"), &t);
		break;
	}
	if (c->status == 503)
		headers_add(&out->headers, STR("Retry-After"), STR("1"));
}

void
errorpage_make(const struct errorpage_context *ctx, int err, const char *problem, const struct http_request *req, struct arena *a,
               struct page *out)
{
	static const struct words unnamed = { "The proxy could not answer", NULL,
		"Try again; if it stays, tell the operator of this proxy the request id.", false };
	int e = err < 0 ? -err : err;
	const struct words *w = e < ERR_MAX && e >= 0 && words[e].title ? &words[e] : &unnamed;
	struct content c = {
		.status = err_status(err),
		.code = err_name(err),
		.title = w->title,
		.what = w->what ? w->what : err_text(err),
		.advice = w->advice,
		.problem = str_c(problem && strcmp(problem, err_text(err)) != 0 ? problem : ""), /* not twice the same */
	};

	if (w->origin && req && req->url.host.n)
		c.origin = !req->url.scheme.n ? req->url.text :
			arena_printf(a, "%.*s://%.*s", STRP(req->url.scheme), STRP(url_host_field(a, &req->url)));
	make(&c, ctx, req, a, out);
}

void
errorpage_self(const struct errorpage_context *ctx, const struct http_request *req, struct arena *a, struct page *out)
{
	bool root = (req->method == METHOD_GET || req->method == METHOD_HEAD) && str_eq(req->url.path, STR("/"));
	struct str me = req->url.host.n ? url_host_field(a, &req->url) : STR("ADDRESS:PORT");
	struct content c = {
		.status = root ? 200 : 400,
		.code = root ? "" : "NOT_A_PROXY_REQUEST",
		.title = "This is a forward proxy",
		.what = "It fetches other sites for its clients. This request was sent to the proxy as if it were a site itself.",
		.advice = arena_printf(a, "Set HTTP_PROXY and HTTPS_PROXY to http://%.*s and ask for the site's own address; "
		                          "then http://mitm.it/ explains the rest.", STRP(me)).p,
	};

	make(&c, ctx, req, a, out);
}
