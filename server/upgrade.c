/* upgrade.c - see upgrade.h */
#include "upgrade.h"
#include "../common/err.h"
#include "errorpage.h"
#include "http1.h"

struct str upgrade_request(const struct http_request *req, struct headers *h, struct arena *a)
{
	struct page_text t = { .arena = a };
	headers_add(h, STR("Connection"), STR("Upgrade"));
	headers_add(h, STR("Upgrade"), headers_joined(&req->headers, STR("Upgrade"), a));
	page_add(&t, req->method_name);
	page_addz(&t, " ");
	page_add(&t, req->url.path);
	if (req->url.query.p != NULL) {
		page_addz(&t, "?");
		page_add(&t, req->url.query);
	}
	page_addz(&t, " HTTP/1.1\r\n");
	for (unsigned i = 0; i < h->n; i++) {
		page_add(&t, h->v[i].name);
		page_addz(&t, ": ");
		page_add(&t, h->v[i].value);
		page_addz(&t, "\r\n");
	}
	page_addz(&t, "\r\n");
	return (struct str){ t.p, t.n };
}

/* HTTP/1.x SP 3DIGIT [ SP reason ] (RFC 9112 4) */
static bool status_line(struct str line, struct http_response *out)
{
	uint64_t status;
	if (!str_starts(line, STR("HTTP/1.")) || line.n < sizeof "HTTP/1.1 200" - 1 || (line.p[7] != '0' && line.p[7] != '1') || line.p[8] != ' ')
		return false;
	if (line.n > 12 && line.p[12] != ' ')
		return false;
	if (!str_u64((struct str){ line.p + 9, 3 }, 599, &status) || status < 100)
		return false;
	out->status = (int)status;
	out->major = 1;
	out->minor = line.p[7] - '0';
	out->reason = str_from(line, 13);
	return field_value_valid(out->reason);
}

int upgrade_response(struct str head, struct arena *a, struct http_response *out)
{
	struct str rest = arena_dup(a, head);
	*out = (struct http_response){ 0 };
	headers_init(&out->headers, a);
	for (bool first = true; rest.n > 0; first = false) {
		struct str line = str_cut(&rest, '\n');
		if (line.n == 0 || line.p[line.n - 1] != '\r')
			return -ERR_ORIGIN_PROTOCOL;
		line.n--;
		if (first) {
			if (!status_line(line, out))
				return -ERR_ORIGIN_PROTOCOL;
			continue;
		}
		if (line.n == 0)
			return rest.n == 0 ? 0 : -ERR_ORIGIN_PROTOCOL;
		struct str value = line, name = str_cut(&value, ':');
		if (name.n == line.n || !field_name_valid(name) || out->headers.n >= UPGRADE_FIELDS)
			return -ERR_ORIGIN_PROTOCOL; /* folded lines too: their name begins with a blank */
		value = str_trim(value);
		if (!field_value_valid(value))
			return -ERR_ORIGIN_PROTOCOL;
		headers_add(&out->headers, name, value);
	}
	return -ERR_ORIGIN_PROTOCOL; /* no empty line at the end */
}

int upgrade_framing(const struct http_request *req, struct http_response *resp, enum upgrade_body *body, int64_t *length)
{
	struct headers *h = &resp->headers;
	*length = -1;
	if (req->method == METHOD_HEAD || resp->status == 204 || resp->status == 304 || resp->status < 200) {
		*body = UPGRADE_BODY_NONE;
		return 0;
	}
	if (headers_has(h, STR("Transfer-Encoding"))) {
		headers_remove(h, STR("Content-Length"));
		*body = UPGRADE_BODY_CHUNKED;
		return headers_count(h, STR("Transfer-Encoding")) == 1 && str_caseeq(headers_get(h, STR("Transfer-Encoding")), STR("chunked")) && resp->minor >= 1
		           ? 0 : -ERR_ORIGIN_PROTOCOL;
	}
	if (http_content_length(h, length) < 0)
		return -ERR_ORIGIN_PROTOCOL;
	*body = *length >= 0 ? UPGRADE_BODY_LENGTH : UPGRADE_BODY_CLOSE;
	return 0;
}
