/* One bucket, and what is done with its objects one at a time; bucket_put.c and bucket_list.c have the rest. */
#include <stdarg.h>
#include "../common/httpdate.h"
#include "bucket_impl.h"

#define CONNECT_MS 10000
#define READ_MS 30000

/* ---- opening */

static int __attribute__((format(printf, 2, 3)))
wrong(char *problem, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(problem, BUCKET_PROBLEM, fmt, ap);
	va_end(ap);
	return -ERR_SETTING;
}

/* Letters, digits, dots and hyphens: all that a name in a host or a path may have (S3's rules for old buckets allow _ and capitals, too). */
static bool
name_valid(const char *s, size_t max, const char *also)
{
	size_t n = strlen(s);

	for (size_t i = 0; i < n; i++)
		if (!(s[i] >= 'a' && s[i] <= 'z') && !(s[i] >= '0' && s[i] <= '9') && !strchr(also, s[i]))
			return false;
	return n > 0 && n <= max && strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

static int
base_url(struct arena *a, const char *what, const char *text, struct url *u, struct str *base, char *problem)
{
	if (url_parse(a, str_c(text), u) < 0 || u->query.p)
		return wrong(problem, "%s: \"%.100s\" is no http[s]://host[:port][/base]", what, text);
	*base = u->path;
	while (base->n && base->p[base->n - 1] == '/')
		base->n--;
	return 0;
}

struct str
bucket_aws_host(struct arena *a, const char *bucket, struct str region, bool path_style)
{
	return arena_printf(a, "%s%ss3.%.*s.amazonaws.com%s", path_style ? "" : bucket, path_style ? "" : ".", STRP(region),
		str_starts(region, STR("cn-")) ? ".cn" : "");
}

int
bucket_open(struct bucket **out, const struct bucket_options *o, char problem[BUCKET_PROBLEM])
{
	struct url u;
	struct str base;
	int r = 0;

	*out = NULL;
	if (!name_valid(o->region, REGION_MAX - 1, "-"))
		return wrong(problem, "\"%.64s\" is no region: small letters, digits and hyphens are allowed, as in us-west-2", o->region);
	if (!name_valid(o->bucket, 255, o->endpoint[0] ? "-._ABCDEFGHIJKLMNOPQRSTUVWXYZ" : "-."))
		return wrong(problem, "\"%.64s\" is no name of a bucket: small letters, digits, dots and hyphens are allowed", o->bucket);
	struct bucket *b = xcalloc(1, sizeof *b);
	arena_init(&b->arena);
	b->httpc = o->httpc;
	b->credentials = o->credentials;
	b->bucket = (char *)(uintptr_t)arena_dup(&b->arena, str_c(o->bucket)).p;
	b->aws = o->endpoint[0] == '\0';
	b->path_style = !b->aws || strchr(o->bucket, '.') != NULL; /* a certificate's * stands for one label */
	snprintf(b->region, sizeof b->region, "%s", o->region);
	if (b->aws) {
		b->scheme = STR("https");
		b->host = b->host_field = bucket_aws_host(&b->arena, o->bucket, str_c(o->region), b->path_style);
	} else if ((r = base_url(&b->arena, "the endpoint of S3", o->endpoint, &u, &b->base, problem)) == 0) {
		b->scheme = u.scheme;
		b->host = u.host;
		b->host_field = url_host_field(&b->arena, &u);
	}
	if (r == 0 && o->read_url && o->read_url[0] && (r = base_url(&b->arena, "the object store's URL", o->read_url, &u, &base, problem)) == 0)
		b->read_url = str_upto(u.text, u.text.n - (u.path.n - base.n));
	if (r < 0) {
		arena_fini(&b->arena);
		free(b);
		return r;
	}
	b->connect_ms = o->connect_timeout_ms > 0 ? o->connect_timeout_ms : CONNECT_MS;
	b->read_ms = o->read_timeout_ms > 0 ? o->read_timeout_ms : READ_MS;
	b->multipart_min = o->multipart_min ? o->multipart_min : BUCKET_MULTIPART;
	b->part_size = o->part_size ? o->part_size : BUCKET_PART;
	pthread_mutex_init(&b->lock, NULL);
	*out = b;
	return 0;
}

void
bucket_close(struct bucket **bp)
{
	struct bucket *b = *bp;

	*bp = NULL;
	if (!b)
		return;
	pthread_mutex_destroy(&b->lock);
	arena_fini(&b->arena);
	free(b);
}

struct str
bucket_host(const struct bucket *b)
{
	return b->host;
}

int64_t
bucket_now(struct bucket *b)
{
	return clock_wall() + atomic_load(&b->ahead);
}

/* ---- reading */

struct bucket_read {
	struct call call;
	uint64_t left; /* of what was promised */
};

/* Content-Range: bytes first-last/size (RFC 9110 14.4) is what was asked for: *size, and how many bytes come. */
static bool
range_valid(struct str v, uint64_t off, uint64_t n, uint64_t *size, uint64_t *length)
{
	uint64_t first, last;
	struct str unit = str_cut(&v, ' ');
	struct str range = str_cut(&v, '/');
	struct str start = str_cut(&range, '-');

	if (!str_caseeq(unit, STR("bytes")) || !str_u64(start, INT64_MAX, &first) || !str_u64(range, INT64_MAX, &last) || !str_u64(v, INT64_MAX, size))
		return false;
	if (first != off || last < first || last >= *size)
		return false;
	*length = last - first + 1;
	return *length == (n && n < *size - off ? n : *size - off);
}

int
bucket_get(struct bucket *b, struct str key, uint64_t off, uint64_t n, struct bucket_read **out, uint64_t *size, char problem[BUCKET_PROBLEM])
{
	struct bucket_read *rd = xcalloc(1, sizeof *rd);
	struct call *c = &rd->call;
	bool part = off > 0 || n > 0;
	char range[64];
	int64_t length = -1;
	int r;

	*out = NULL;
	c->b = b;
	c->method = STR("GET");
	c->key = key;
	c->open = b->read_url.n > 0;
	c->problem = problem;
	if (part) {
		if (n)
			snprintf(range, sizeof range, "bytes=%llu-%llu", (unsigned long long)off, (unsigned long long)(off + n - 1));
		else
			snprintf(range, sizeof range, "bytes=%llu-", (unsigned long long)off);
		c->fields[0] = (struct field){ STR("Range"), str_c(range) };
	}
	if ((r = call_run(c)) == 0) {
		struct headers *h = &c->resp.headers;
		int len = http_content_length(h, &length);
		if (c->resp.status != (part ? 206 : 200))
			r = call_fail(c, -ERR_S3_FAILED, part ? "%d instead of the range that was asked for" : "%d instead of the object", c->resp.status);
		else if (part && !range_valid(headers_get(h, STR("Content-Range")), off, n, size, &rd->left))
			r = call_fail(c, -ERR_S3_FAILED, "another range than what was asked for: %.*s", STRP(headers_get(h, STR("Content-Range"))));
		else if (part ? len < 0 || (length >= 0 && (uint64_t)length != rd->left) : len < 0 || length < 0)
			r = call_fail(c, -ERR_S3_FAILED, "no length, or a wrong one");
		else if (!part)
			*size = rd->left = (uint64_t)length;
	}
	if (r < 0)
		bucket_read_end(&rd);
	*out = rd;
	return r;
}

int64_t
bucket_read(struct bucket_read *rd, const void **view, int64_t deadline)
{
	int64_t r = httpc_read(rd->call.xfer, view, deadline);

	if (r == -ERR_AGAIN)
		return r;
	if (r < 0 || (uint64_t)r > rd->left || (r == 0 && rd->left > 0))
		return -ERR_S3_FAILED;
	rd->left -= (uint64_t)r;
	return r;
}

void
bucket_read_end(struct bucket_read **rp)
{
	struct bucket_read *rd = *rp;

	*rp = NULL;
	if (!rd)
		return;
	call_end(&rd->call);
	free(rd);
}

/* ---- asking and deleting */

int
bucket_stat(struct bucket *b, struct str key, uint64_t *size, int64_t *mtime, char problem[BUCKET_PROBLEM])
{
	struct call c = { .b = b, .method = STR("HEAD"), .key = key, .problem = problem };
	int64_t length, date;
	int r = call_run(&c);

	if (r == 0) {
		date = httpdate_parse(headers_get(&c.resp.headers, STR("Last-Modified")), clock_wall() / 1000);
		if (http_content_length(&c.resp.headers, &length) < 0 || length < 0)
			r = call_fail(&c, -ERR_S3_FAILED, "an object without a length");
		else if (mtime && date == HTTPDATE_NONE)
			r = call_fail(&c, -ERR_S3_FAILED, "an object without a date");
		else
			*size = (uint64_t)length;
		if (mtime)
			*mtime = date * 1000;
		call_drain(&c);
	}
	call_end(&c);
	return r;
}

int
bucket_head(struct bucket *b, struct str key, uint64_t *size, char problem[BUCKET_PROBLEM])
{
	return bucket_stat(b, key, size, NULL, problem);
}

int
bucket_delete(struct bucket *b, struct str key, char problem[BUCKET_PROBLEM])
{
	struct call c = { .b = b, .method = STR("DELETE"), .key = key, .problem = problem };
	int r = call_run(&c);

	if (r == 0)
		call_drain(&c);
	call_end(&c);
	return r == -ERR_NOT_FOUND ? 0 : r;
}

/* One question whether the bucket answers. *refuses: it does, and says that it is our fault. */
static int
check(struct bucket *b, struct str method, struct str query, int64_t timeout_ms, bool *refuses, char *problem)
{
	struct call c = { .b = b, .method = method, .query = query, .problem = problem,
		.connect_ms = timeout_ms < b->connect_ms ? timeout_ms : b->connect_ms, .read_ms = timeout_ms < b->read_ms ? timeout_ms : b->read_ms };
	int r = call_run(&c);

	*refuses = r < 0 && (c.resp.status == 400 || c.resp.status == 403);
	if (r == 0)
		call_drain(&c);
	call_end(&c);
	return r;
}

/* What is wrong with a HEAD is not said in its answer, for that has no body: another region, a clock that is off. A list has one, from which
 * call_run learns what would be right. */
int
bucket_check(struct bucket *b, int64_t timeout_ms, char problem[BUCKET_PROBLEM])
{
	bool refuses;
	int r = check(b, STR("HEAD"), STR_NONE, timeout_ms, &refuses, problem);

	if (refuses)
		r = check(b, STR("GET"), STR("list-type=2&max-keys=1"), timeout_ms, &refuses, problem);
	return r;
}
