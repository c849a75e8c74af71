#include "err.h"
#include "http.h"

enum http_method
http_method(struct str s)
{
#define X(m) if (str_eq(s, STR(#m))) return METHOD_##m;
	HTTP_METHODS(X)
#undef X
	return METHOD_OTHER;
}

bool
http_method_safe(enum http_method m)
{
	return m == METHOD_GET || m == METHOD_HEAD || m == METHOD_OPTIONS || m == METHOD_TRACE;
}

bool
http_method_idempotent(enum http_method m)
{
	return http_method_safe(m) || m == METHOD_PUT || m == METHOD_DELETE;
}

/* RFC 9110 15 and what else the registry has; 499, 508 and 507 are answers of ours too. */
static const char *const reasons[] = {
	[100] = "Continue", [101] = "Switching Protocols", [102] = "Processing", [103] = "Early Hints",
	[200] = "OK", [201] = "Created", [202] = "Accepted", [203] = "Non-Authoritative Information", [204] = "No Content",
	[205] = "Reset Content", [206] = "Partial Content", [207] = "Multi-Status", [208] = "Already Reported", [226] = "IM Used",
	[300] = "Multiple Choices", [301] = "Moved Permanently", [302] = "Found", [303] = "See Other", [304] = "Not Modified",
	[305] = "Use Proxy", [307] = "Temporary Redirect", [308] = "Permanent Redirect",
	[400] = "Bad Request", [401] = "Unauthorized", [402] = "Payment Required", [403] = "Forbidden", [404] = "Not Found",
	[405] = "Method Not Allowed", [406] = "Not Acceptable", [407] = "Proxy Authentication Required", [408] = "Request Timeout",
	[409] = "Conflict", [410] = "Gone", [411] = "Length Required", [412] = "Precondition Failed", [413] = "Content Too Large",
	[414] = "URI Too Long", [415] = "Unsupported Media Type", [416] = "Range Not Satisfiable", [417] = "Expectation Failed",
	[421] = "Misdirected Request", [422] = "Unprocessable Content", [423] = "Locked", [424] = "Failed Dependency",
	[425] = "Too Early", [426] = "Upgrade Required", [428] = "Precondition Required", [429] = "Too Many Requests",
	[431] = "Request Header Fields Too Large", [451] = "Unavailable For Legal Reasons", [499] = "Client Closed Request",
	[500] = "Internal Server Error", [501] = "Not Implemented", [502] = "Bad Gateway", [503] = "Service Unavailable",
	[504] = "Gateway Timeout", [505] = "HTTP Version Not Supported", [506] = "Variant Also Negotiates",
	[507] = "Insufficient Storage", [508] = "Loop Detected", [511] = "Network Authentication Required",
};

const char *
http_reason(int status)
{
	if (status < 0 || status >= (int)(sizeof reasons / sizeof *reasons) || !reasons[status])
		return "";
	return reasons[status];
}

int
http_content_length(const struct headers *h, int64_t *len)
{
	*len = -1;
	for (unsigned i = 0; i < h->n; i++) {
		struct str rest;
		if (h->v[i].name.n != 14 || !str_caseeq(h->v[i].name, STR("Content-Length")))
			continue;
		/* "5, 5" may come from a recipient that joined two lines. An empty member is no number: two readers could differ about it. */
		rest = h->v[i].value;
		do {
			uint64_t n;
			if (!rest.p || !str_u64(str_trim(str_cut(&rest, ',')), INT64_MAX, &n) || (*len >= 0 && (uint64_t)*len != n)) {
				*len = -1;
				return -ERR_BAD_REQUEST;
			}
			*len = (int64_t)n;
		} while (rest.p);
	}
	return 0;
}
