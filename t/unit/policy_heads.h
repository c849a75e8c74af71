/* policy_heads.h - header sections for tables: "Name: value" lines; a value "@-60" is the HTTP date 60 s before T0. */
#pragma once
#include "../../common/headers.h"
#include "../../common/httpdate.h"
#include "../../policy/judge.h"

#define T0 INT64_C(1700000000) /* s: when the stored response arrived */
static const struct judge_options shared_cache = { 10, 86400, true, false };

static void __attribute__((unused))
heads(struct headers *h, struct arena *a, const char *text)
{
	struct str rest = str_c(text);
	headers_init(h, a);
	while (rest.n) {
		struct str value = str_cut(&rest, '\n'), name = str_cut(&value, ':');
		value = str_trim(value);
		if (value.n && value.p[0] == '@') {
			char date[HTTPDATE_SIZE], *offset = (char *)arena_dup(a, str_from(value, 1)).p;
			httpdate_format(T0 + strtoll(offset, NULL, 10), date);
			value = arena_dup(a, str_c(date));
		}
		headers_add(h, name, value);
	}
}

static struct http_request __attribute__((unused))
request_of(struct arena *a, enum http_method method, const char *url, const char *fields)
{
	struct http_request req = { .method = method, .minor = 1 };
	url_parse(a, str_c(url), &req.url);
	heads(&req.headers, a, fields);
	return req;
}

static struct http_response __attribute__((unused))
response_of(struct arena *a, int status, const char *fields)
{
	struct http_response resp = { .status = status, .major = 1, .minor = 1, .reason = STR("Reason") };
	heads(&resp.headers, a, fields);
	return resp;
}

/* Stored at T0 for a request with these fields. */
static struct meta __attribute__((unused))
stored_of(struct arena *a, const char *request_fields, int status, const char *fields)
{
	struct http_request req = request_of(a, METHOD_GET, "http://h/p?q", request_fields);
	struct http_response resp = response_of(a, status, fields);
	struct plan plan = { .policy = POLICY_Standard, .forced_swr_s = -1 };
	struct meta m;
	judge_meta(&shared_cache, &plan, &req, &resp, T0 * 1000, T0 * 1000, a, &m);
	return m;
}
