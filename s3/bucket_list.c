/* Listing, a page at a time: a page is read whole before its keys are shown, so that slow visits hold no connection. */
#include "bucket_impl.h"

#define PAGE_MAX (8u << 20) /* bytes of an answer: 1,000 keys of at most 1 KiB, encoded three to one, and some words to each */

static int
read_page(struct call *c, struct s3_page *page)
{
	struct s3xml *x = s3xml_new(s3_page_element, page);
	const void *p;
	size_t n = 0;
	int64_t got, deadline = clock_mono() + 2 * c->b->read_ms;
	int r = 0;

	s3_page_init(page, &c->arena);
	while (r == 0 && n <= PAGE_MAX && (got = httpc_read(c->xfer, &p, deadline)) != 0) {
		if (got < 0) {
			r = call_fail(c, -ERR_S3_FAILED, "a list broke off: %s", httpc_problem(c->xfer));
			break;
		}
		n += (size_t)got;
		if (s3xml_feed(x, p, (size_t)got) < 0)
			r = call_fail(c, -ERR_S3_FAILED, "a list that cannot be understood");
	}
	if (r == 0 && (n > PAGE_MAX || s3xml_end(x) < 0 || !s3_page_valid(page)))
		r = call_fail(c, -ERR_S3_FAILED, "a list that cannot be understood");
	s3xml_free(&x);
	httpc_end(&c->xfer);
	return r;
}

int
bucket_list(struct bucket *b, struct str prefix, struct str after, bucket_visit_f *fn, void *arg, char problem[BUCKET_PROBLEM])
{
	struct arena args; /* what outlives a page */
	struct str token = STR_NONE;
	bool more = true;
	int r = 0;

	arena_init(&args);
	while (r == 0 && more) {
		struct s3_page page;
		struct call c = { .b = b, .method = STR("GET"), .problem = problem };
		struct str from = token.n ? STR_NONE : after;
		c.query = arena_printf(&args, "%s%s&encoding-type=url&list-type=2&max-keys=%u&prefix=%s%s%s",
			token.n ? "continuation-token=" : "", sigv4_encode(&args, token, false).p, S3XML_KEYS, sigv4_encode(&args, prefix, false).p,
			from.n ? "&start-after=" : "", sigv4_encode(&args, from, false).p);
		if (token.n == 0)
			c.query = str_from(c.query, 1);
		if ((r = call_run(&c)) == 0 && (r = read_page(&c, &page)) == 0) {
			for (unsigned i = 0; more && i < page.n; i++)
				more = fn(arg, page.v[i].key, page.v[i].size, page.v[i].mtime);
			more = more && page.truncated;
			/* a page that leads to itself would never end */
			if (more && str_eq(page.next, token))
				r = call_fail(&c, -ERR_S3_FAILED, "a list that does not go on");
			struct arena next;
			arena_init(&next);
			token = arena_dup(&next, page.next);
			arena_fini(&args);
			args = next;
		} else if (r == -ERR_NOT_FOUND) {
			r = -ERR_S3_FAILED;
		}
		call_end(&c);
	}
	arena_fini(&args);
	return r;
}
