/* freshen.c - what becomes of header fields: when a response is stored, when it is validated, when we ask whether it still holds. */
#include "key.h"
#include "storable.h"
#include "../common/httpdate.h"

#define URL_MAX 512 /* behaviour.md 4.5 */

static void
set_times(struct meta *m, const struct facts *x, int64_t request_time, int64_t response_time)
{
	m->request_time = request_time;
	m->response_time = m->stored_at = response_time;
	m->date = freshness_date(x, response_time / 1000);
	m->age_value = freshness_age_value(x);
}

/* RFC 9110 6.6.1: what is cached has a Date; without one of its own, that of its arrival. */
static void
add_date(struct headers *h, int64_t received_ms)
{
	char text[HTTPDATE_SIZE];
	httpdate_format(received_ms / 1000, text);
	headers_add_copy(h, STR("Date"), str_c(text));
}

static void
set_flag(struct meta *m, int64_t flag, bool on)
{
	m->flags = on ? m->flags | flag : m->flags & ~flag;
}

void
judge_meta(const struct judge_options *o, const struct plan *plan, const struct http_request *req, const struct http_response *resp, int64_t request_time,
           int64_t response_time, struct arena *a, struct meta *m)
{
	struct facts x;
	meta_init(m, a);
	facts_for(o, &resp->headers, &x);
	m->status = resp->status;
	m->minor = resp->major == 1 ? resp->minor : 1;
	m->reason = arena_dup(a, resp->reason);
	m->url = arena_dup(a, str_upto(req->url.text, URL_MAX));
	m->extension = arena_dup(a, key_extension(req->url.path));
	m->doc_type = STR("metadata");
	headers_copy(&m->headers, &resp->headers);
	headers_strip_hop_by_hop(&m->headers); /* 3.1 */
	headers_remove(&m->headers, STR("age"));
	if (!x.date.p)
		add_date(&m->headers, response_time);
	if (x.cc.bits & (CC_NO_CACHE_FIELDS | CC_PRIVATE_FIELDS))
		cc_drop_listed(&m->headers, x.control);
	m->vary = headers_joined(&m->headers, STR("vary"), a);
	if (m->vary.n)
		m->vary_request = vary_request(a, m->vary, &req->headers);
	set_times(m, &x, request_time, response_time);
	m->last_access = response_time;
	set_flag(m, META_MUST_REVALIDATE_ALWAYS, x.cc.bits & CC_NO_CACHE);
	set_flag(m, META_AUTHORIZED, headers_has(&req->headers, STR("authorization")));
	set_flag(m, META_COOKIE, headers_has(&req->headers, STR("cookie")));
}

/* 3.2: the stored bytes are read by these, and a 304 sent from elsewhere does not change the bytes. An origin that confirms the very
 * representation and names another coding contradicts itself (RFC 9110 8.8.1); the bytes decide. */
static bool
describes_bytes(const struct meta *m, struct str name)
{
	return str_caseeq(name, STR("content-length")) || str_caseeq(name, STR("content-encoding")) ||
	       (str_caseeq(name, STR("content-range")) && (m->status == 206 || !headers_has(&m->headers, name))); /* means nothing elsewhere */
}

void
judge_freshen(const struct judge_options *o, struct meta *m, const struct http_response *resp, int64_t request_time, int64_t response_time, struct arena *a)
{
	struct headers new, merged;
	struct facts x;
	headers_init(&new, a);
	headers_copy(&new, &resp->headers);
	headers_strip_hop_by_hop(&new);
	facts_of(&new, &x); /* before Age goes: it is the age of this answer, not of the old one */
	headers_remove(&new, STR("age"));
	if (!x.date.p)
		add_date(&new, response_time); /* the old one would make it old again */

	/* A 304's cookie is for the client that asked just now, unless what is stored was shared with one from the start. */
	if (!headers_has(&m->headers, STR("set-cookie")))
		headers_remove(&new, STR("set-cookie"));
	/* A field of the new answer replaces all of its name. */
	headers_init(&merged, a);
	for (unsigned i = 0; i < m->headers.n; i++) {
		const struct field *f = &m->headers.v[i];
		if (describes_bytes(m, f->name) || !headers_has(&new, f->name))
			headers_add(&merged, f->name, f->value);
	}
	for (unsigned i = 0; i < new.n; i++)
		if (!describes_bytes(m, new.v[i].name))
			headers_add(&merged, new.v[i].name, new.v[i].value);
	m->headers = merged;
	set_times(m, &x, request_time, response_time);
	/* vary and vary_request stay: they are the name under which it is stored. */
	facts_for(o, &m->headers, &x);
	if (x.cc.bits & (CC_NO_CACHE_FIELDS | CC_PRIVATE_FIELDS))
		cc_drop_listed(&m->headers, x.control);
	set_flag(m, META_MUST_REVALIDATE_ALWAYS, x.cc.bits & CC_NO_CACHE);
	set_flag(m, META_INVALIDATED, false);
}

void
judge_conditional(const struct meta *stored, struct headers *h)
{
	static const struct str own[] = { STR("if-match"), STR("if-none-match"), STR("if-modified-since"), STR("if-unmodified-since"),
	                                  STR("if-range"), STR("range") };
	struct facts x;
	for (unsigned i = 0; i < sizeof(own) / sizeof(*own); i++)
		headers_remove(h, own[i]);
	if (!stored)
		return;
	facts_of(&stored->headers, &x);
	if (x.etag.n) {
		/* A bare tag is what some origins send; what we send follows the grammar (RFC 9110 8.8.3). */
		if (memchr(x.etag.p, '"', x.etag.n))
			headers_add_copy(h, STR("If-None-Match"), x.etag);
		else
			headers_add(h, STR("If-None-Match"), arena_printf(h->arena, "\"%.*s\"", STRP(x.etag)));
	}
	if (x.last_modified.n)
		headers_add_copy(h, STR("If-Modified-Since"), x.last_modified);
}
