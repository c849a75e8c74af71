/* Any bytes as field values: lists, Range, Content-Range, Content-Length, dates, Accept, and a header section whose hop-by-hop fields go.
 * The first two bytes are the size of an object (for Range); lines of the rest are fields, "name:value" or a value alone. */
#include "../../common/err.h"
#include "../../common/httpdate.h"
#include "../../common/range.h"
#include "../../server/errorpage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
try_list(struct str s)
{
	struct str rest = s, member;
	size_t bytes = 0;

	while (value_next(&rest, &member)) {
		INVARIANT(member.n <= s.n && member.p >= s.p && member.p + member.n <= s.p + s.n);
		bytes += member.n;
	}
	INVARIANT(bytes <= s.n);
}

static void
try_range(struct str s, uint64_t size)
{
	struct range r[RANGE_MAX], one;
	uint64_t of;
	unsigned n = 0;

	if (range_parse(s, size, r, &n) == RANGE_OK) {
		INVARIANT(n >= 1 && n <= RANGE_MAX);
		for (unsigned i = 0; i < n; i++) {
			INVARIANT(r[i].first <= r[i].last && r[i].last < size);
			for (unsigned k = 0; k < i; k++) /* coalesced: no byte twice */
				INVARIANT(r[k].last < r[i].first || r[i].last < r[k].first);
		}
	}
	if (content_range_parse(s, &one, &of))
		INVARIANT(one.first <= one.last && one.last < of);
}

static void
try_date(struct str s)
{
	char text[HTTPDATE_SIZE], iso[33];
	int64_t t = httpdate_parse(s, 1700000000), ms = iso8601_parse(s);

	if (t != HTTPDATE_NONE) {
		httpdate_format(t, text);
		INVARIANT(strlen(text) == HTTPDATE_SIZE - 1 && httpdate_parse(str_c(text), 1700000000) == t);
	}
	if (ms != HTTPDATE_NONE) {
		iso8601_format(ms, iso);
		INVARIANT(iso8601_parse(str_c(iso)) == ms);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const struct errorpage_context ctx = { STR("id"), STR("proxy") };
	uint64_t size = n >= 2 ? (uint64_t)data[0] << 8 | data[1] : 0;
	size_t skip = n < 2 ? n : 2;
	char *copy = xmalloc(n + 1);
	struct http_request req = { .method = METHOD_GET };
	struct str rest = { memcpy(copy, data + skip, n - skip), n - skip };
	struct arena a;
	struct page page;
	int64_t length;

	arena_init(&a);
	headers_init(&req.headers, &a);
	while (rest.n) {
		struct str line = str_cut(&rest, '\n'), value = line, name = str_cut(&value, ':');
		char *exact = xmalloc(line.n + !line.n); /* the sanitizer sees a look beyond */
		memcpy(exact, line.p, line.n);
		struct str s = { exact, line.n };
		try_list(s);
		try_range(s, size);
		try_date(s);
		free(exact);
		if (field_name_valid(name) && field_value_valid(value) && req.headers.n < 64)
			headers_add(&req.headers, name, str_trim(value));
	}
	if (http_content_length(&req.headers, &length) == 0)
		INVARIANT(length >= -1 && (length >= 0) == headers_has(&req.headers, STR("Content-Length")));
	else
		INVARIANT(length == -1);
	headers_joined(&req.headers, STR("Connection"), &a);
	errorpage_make(&ctx, -ERR_ORIGIN_CONNECT, n > 2 ? arena_dup(&a, (struct str){ copy, n - skip }).p : "", &req, &a, &page);
	INVARIANT(page.status == 502 && page.body.n);
	headers_strip_hop_by_hop(&req.headers);
	INVARIANT(!headers_has(&req.headers, STR("Connection")) && !headers_has(&req.headers, STR("Transfer-Encoding")));
	arena_fini(&a);
	free(copy);
	return 0;
}
