/* http.h - the message heads that every folder talks about. Who parses them: server/http1 (clients), common/httpc (origins). */
#pragma once
#include <netinet/in.h>
#include "headers.h"
#include "url.h"

#define HTTP_METHODS(X) X(GET) X(HEAD) X(POST) X(PUT) X(DELETE) X(CONNECT) X(OPTIONS) X(TRACE) X(PATCH)
enum http_method {
	METHOD_OTHER, /* any other token: method_name says which */
#define X(m) METHOD_##m,
	HTTP_METHODS(X)
#undef X
};
enum http_method http_method(struct str); /* methods are case-sensitive */
bool http_method_safe(enum http_method);  /* GET, HEAD, OPTIONS, TRACE (RFC 9110 9.2.1) */
bool http_method_idempotent(enum http_method); /* these, PUT and DELETE: may be sent again (RFC 9110 9.2.2) */

struct http_request {
	enum http_method method;
	struct str method_name;
	struct url url;         /* of the resource; for CONNECT host and port only */
	int minor;              /* HTTP/1.minor */
	struct headers headers;
	struct in6_addr client; /* who asks, as far as rules want to know: IPv4 mapped; :: when it is not known */
};

struct http_response {
	int status;
	int major, minor;       /* as the origin spoke it: 1.0, 1.1, 2.0 */
	struct str reason;
	struct headers headers;
};

const char *http_reason(int status); /* "" when unknown */

/* Content-Length over all its fields: -1 none, -ERR_BAD_REQUEST - 1 … use the out parameter.
 * 0 and *len = -1 when there is none; equal repeats count once (RFC 9110 8.6); -ERR_BAD_REQUEST when they differ or are no number. */
int http_content_length(const struct headers *, int64_t *len);
