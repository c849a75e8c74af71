/* step_deliver.c - the answer to the client: head, body, ranges, 304. It reads from an object (stored, growing, our own page) or from a
 * relayed transfer, and knows nothing of where either came from. A body that breaks breaks the connection (invariant 1). */
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/httpdate.h"
#include "../common/log.h"
#include "../common/range.h"
#include "../policy/cachestatus.h"
#include "../policy/s3host.h"
#include "../policy/judge.h"
#include "request.h"
#include "resume.h"
#include "worker.h"

#define READ_PIECE (256 * 1024)       /* of a large body at once: sixteen TLS records */
#define LONG_BODY (128 * 1024)        /* sending more than this is "long" for the pool: others go on meanwhile */
#define FIRST_RECORD 16384            /* head and beginning of the body share the first TLS record and system call */
#define SLICE_MS 1000

struct delivery {
	struct request *r;
	bool chunked;                  /* the client gets chunked coding */
	bool no_body;                  /* HEAD, 204, 304 */
	int64_t length;                /* of the body as sent, -1 unknown */
	struct range ranges[RANGE_MAX];
	unsigned ranges_n;
	char boundary[40];
	struct xfer *rest;             /* what the object cannot give any more (resume.h), to the end of what is sent now */
	unsigned resumes;
	char *out;                     /* the thread's buffer */
	size_t out_n;
};

static int write_out(struct delivery *d)
{
	int e = d->out_n == 0 ? 0 : conn_write(d->r->conn, d->out, d->out_n, conf()->client_write_ms);
	d->out_n = 0;
	return e;
}

/* ---- where the body comes from */

/* > 0 bytes at off, 0 the end, -ERR_X. Looks once a second whether the client is still there. */
static int64_t source_read(struct delivery *d, uint64_t off, size_t want, const void **view)
{
	struct request *r = d->r;
	struct xfer *x = d->rest != NULL ? d->rest : r->object == NULL ? r->xfer : NULL;
	bool first = true;
	for (;;) {
		int64_t n = x != NULL ? httpc_read(x, view, first ? 0 : clock_mono() + SLICE_MS)
		                      : object_read(r->object, off, want, view, first ? 0 : clock_mono() + SLICE_MS);
		if (n != -ERR_AGAIN && n != -ERR_TIMEOUT)
			return n;
		if (!first && conn_gone(r->conn))
			return -ERR_CLIENT_GONE;
		if (first) { /* about to wait: what we have goes out, so that events arrive one by one */
			int e = write_out(d);
			if (e < 0)
				return e;
			pool_blocking(r->worker->pool);
		}
		first = false;
	}
}

/* ---- sending */

static int send_view(struct delivery *d, const char *p, size_t n)
{
	int e;
	d->r->bytes_sent += n;
	if (d->chunked) {
		char line[20];
		size_t k = http1_write_chunk_size(line, n);
		if (d->out_n + k + n + 2 > sizeof thread_self->out && (e = write_out(d)) < 0)
			return e;
		memcpy(d->out + d->out_n, line, k);
		d->out_n += k;
		if (d->out_n + n + 2 > sizeof thread_self->out) {
			if ((e = write_out(d)) < 0 || (e = conn_write(d->r->conn, p, n, conf()->client_write_ms)) < 0)
				return e;
		} else {
			memcpy(d->out + d->out_n, p, n);
			d->out_n += n;
		}
		memcpy(d->out + d->out_n, "\r\n", 2);
		d->out_n += 2;
		return 0;
	}
	if (d->out_n > 0) { /* fill the record that the head began */
		size_t room = d->out_n < FIRST_RECORD ? FIRST_RECORD - d->out_n : 0, k = n < room ? n : room;
		memcpy(d->out + d->out_n, p, k);
		d->out_n += k;
		p += k;
		n -= k;
		if (n == 0)
			return 0;
		if ((e = write_out(d)) < 0)
			return e;
	}
	return conn_write(d->r->conn, p, n, conf()->client_write_ms);
}

/* The object has failed: from at on, the rest comes from the origin. */
static int resume(struct delivery *d, uint64_t at, uint64_t end, int err)
{
	if (d->rest != NULL || end == UINT64_MAX || d->resumes++ >= RESUMES_MAX || !resume_may(d->r, err))
		return err;
	int e = write_out(d);
	return e < 0 ? e : resume_body(d->r, at, end, &d->rest) < 0 ? err : 0;
}

/* [first, end) of the source; end UINT64_MAX: to its end. The number of bytes it had, or -ERR_X. */
static int64_t send_part(struct delivery *d, uint64_t first, uint64_t end)
{
	uint64_t at = first;
	if (d->r->object != NULL && end != UINT64_MAX)
		(void)object_prepare(d->r->object, first, end - first, 0); /* what is not here is on its way, several chunks of it; reading waits */
	while (at < end) {
		const void *view;
		size_t want = end - at < READ_PIECE ? (size_t)(end - at) : READ_PIECE;
		int64_t n = source_read(d, at, want, &view);
		if (n < 0 && (n = resume(d, at, end, (int)n)) == 0)
			continue;
		if (n <= 0)
			return n < 0 ? n : (int64_t)(at - first);
		if ((uint64_t)n > end - at)
			n = (int64_t)(end - at);
		int e = send_view(d, view, (size_t)n);
		if (e < 0)
			return e;
		at += (uint64_t)n;
	}
	httpc_end(&d->rest);
	return (int64_t)(at - first);
}

static struct str part_head(struct delivery *d, unsigned i, struct str type, int64_t size)
{
	return arena_printf(d->r->arena, "\r\n--%s\r\n%s%.*s%sContent-Range: bytes %llu-%llu/%lld\r\n\r\n", d->boundary, type.n ? "Content-Type: " : "",
	                    STRP(type), type.n ? "\r\n" : "", (unsigned long long)d->ranges[i].first, (unsigned long long)d->ranges[i].last, (long long)size);
}

static struct str part_end(struct delivery *d) { return arena_printf(d->r->arena, "\r\n--%s--\r\n", d->boundary); }

static int send_multipart(struct delivery *d, struct str type, int64_t size)
{
	for (unsigned i = 0; i < d->ranges_n; i++) {
		struct str h = part_head(d, i, type, size);
		uint64_t n = d->ranges[i].last - d->ranges[i].first + 1;
		int e = send_view(d, h.p, h.n);
		if (e < 0)
			return e;
		int64_t got = send_part(d, d->ranges[i].first, d->ranges[i].last + 1);
		if (got < 0 || (uint64_t)got != n)
			return got < 0 ? (int)got : -ERR_ORIGIN_SHORT;
	}
	struct str end = part_end(d);
	return send_view(d, end.p, end.n);
}

static int send_body(struct delivery *d)
{
	struct request *r = d->r;
	int64_t got;
	if (d->length > LONG_BODY || d->length < 0)
		pool_blocking(r->worker->pool);
	if (d->ranges_n > 1)
		return send_multipart(d, headers_get(&r->meta.headers, STR("Content-Type")), object_size(r->object));
	if (d->ranges_n == 1)
		got = send_part(d, d->ranges[0].first, d->ranges[0].last + 1);
	else
		got = send_part(d, 0, d->length >= 0 && r->xfer == NULL ? (uint64_t)d->length : UINT64_MAX);
	if (got < 0)
		return (int)got;
	if (d->length >= 0 && got != d->length)
		return -ERR_ORIGIN_SHORT;
	if (d->chunked) {
		struct headers trailers;
		headers_init(&trailers, r->arena);
		if (r->xfer != NULL)
			httpc_trailers(r->xfer, &trailers);
		int e = d->out_n + 4096 > sizeof thread_self->out ? write_out(d) : 0;
		int64_t n = e < 0 ? e : http1_write_last_chunk(d->out + d->out_n, sizeof thread_self->out - d->out_n, &trailers);
		if (n < 0)
			return (int)n;
		d->out_n += (size_t)n;
	}
	return 0;
}

/* ---- the head */

static bool field_of_304(struct str name) /* RFC 9110 15.4.5, and what every answer of ours carries */
{
	static const struct str keep[] = { { "Cache-Control", 13 }, { "Content-Location", 16 }, { "Date", 4 }, { "ETag", 4 }, { "Expires", 7 }, { "Vary", 4 },
	                                   { "Last-Modified", 13 }, { "Set-Cookie", 10 }, { "Link", 4 } };
	for (size_t i = 0; i < sizeof keep / sizeof *keep; i++)
		if (str_caseeq(name, keep[i]))
			return true;
	return str_casestarts(name, STR("Access-Control-"));
}

struct str request_cache_status(struct request *r)
{
	const bool fetched = r->fetching.arena != NULL, asked = fetched || r->joined || !r->cached;
	struct cache_told t = { .all = conf()->cache_status == CACHE_STATUS_ALL, .from_cache = r->cached, .stale = r->stale, .page = r->page,
	                        .collapsed = r->joined, .stored = r->has_meta && !r->cached && !r->joined,
	                        .spool_full = r->fetching.got.full, .store_full = r->fetching.got.store_full, .too_large = r->fetching.got.too_large, .reason = r->reason };
	if (!t.all && !(t.from_cache && t.stale))
		return cache_status(r->arena, &t);
	if (asked)
		t.forward = r->judgement.forward;
	if (fetched)
		t.fwd_status = r->fetching.refused || r->fetching.got.response.status < 200 ? 0 : r->fetching.got.response.status;
	else if (!r->cached && !r->page)
		t.fwd_status = r->response.status;
	if (r->cached) {
		const struct judge_options opt = judge_settings(conf());
		int64_t life = judge_lifetime(&opt, &r->plan, &r->meta);
		t.ttl_s = (life < 0 ? 0 : life) - r->served_age;
	}
	return cache_status(r->arena, &t);
}

/* What the answer is: the object's or transfer's head, made fit for this request and this hop. */
static void shape(struct delivery *d, struct headers *h)
{
	struct request *r = d->r;
	const struct headers *src = &r->response.headers;
	int64_t now = clock_wall(), size = r->object != NULL ? object_size(r->object) : -1;
	enum selection sel = SELECT_FULL;
	if (r->has_meta && !r->page) {
		if (size < 0 && r->object == NULL)
			size = r->meta.content_size;
		sel = judge_select(&r->http, &r->meta, size, now, d->ranges, &d->ranges_n);
	}
	headers_init(h, r->arena);
	for (unsigned i = 0; i < src->n; i++)
		if (sel != SELECT_NOT_MODIFIED || field_of_304(src->v[i].name))
			headers_add(h, src->v[i].name, src->v[i].value);
	if (r->xfer != NULL || (r->has_meta && !r->cached))
		headers_strip_hop_by_hop(h);
	int status = r->response.status;
	switch (sel) {
	case SELECT_NOT_MODIFIED:
		status = 304;
		break;
	case SELECT_PRECONDITION_FAILED:
		status = 412;
		break;
	case SELECT_UNSATISFIABLE:
		status = 416;
		headers_set(h, STR("Content-Range"), arena_printf(r->arena, "bytes */%lld", (long long)size));
		break;
	case SELECT_RANGES:
		status = 206;
		judge_drop_digests(h);
		break;
	case SELECT_FULL:
		break;
	}
	if (status != r->response.status)
		r->response.reason = STR_NONE;
	r->response.status = status;
	if (sel == SELECT_FULL || sel == SELECT_RANGES) {
		int64_t declared;
		d->length = size;
		if (r->xfer != NULL && r->object == NULL)
			d->length = http_content_length(src, &declared) == 0 ? declared : -1;
	} else
		d->length = 0;
	if (sel == SELECT_RANGES && d->ranges_n == 1) {
		struct range held = { 0, 0 };
		uint64_t total = (uint64_t)size;
		if (r->meta.status == 206) /* the object is a part of the whole */
			content_range_parse(headers_get(src, STR("Content-Range")), &held, &total);
		d->length = (int64_t)(d->ranges[0].last - d->ranges[0].first + 1);
		headers_set(h, STR("Content-Range"), arena_printf(r->arena, "bytes %llu-%llu/%llu", (unsigned long long)(held.first + d->ranges[0].first),
		                                                  (unsigned long long)(held.first + d->ranges[0].last), (unsigned long long)total));
	} else if (sel == SELECT_RANGES) {
		struct str type = headers_get(h, STR("Content-Type"));
		request_id_new(d->boundary);
		d->length = (int64_t)part_end(d).n;
		for (unsigned i = 0; i < d->ranges_n; i++)
			d->length += (int64_t)part_head(d, i, type, size).n + (int64_t)(d->ranges[i].last - d->ranges[i].first + 1);
		headers_set(h, STR("Content-Type"), arena_printf(r->arena, "multipart/byteranges; boundary=%s", d->boundary));
	}
	d->no_body = r->http.method == METHOD_HEAD || status == 204 || status == 304 || (status >= 100 && status < 200);
}

static void framing(struct delivery *d, struct headers *h)
{
	struct request *r = d->r;
	int status = r->response.status;
	headers_remove(h, STR("Transfer-Encoding"));
	if (status == 304 || status == 204) {
		if (status == 204)
			headers_remove(h, STR("Content-Length"));
	} else if (d->length >= 0)
		headers_set(h, STR("Content-Length"), arena_printf(r->arena, "%lld", (long long)d->length));
	else {
		headers_remove(h, STR("Content-Length"));
		if (!d->no_body) {
			if (r->http.minor >= 1) {
				d->chunked = true;
				headers_add(h, STR("Transfer-Encoding"), STR("chunked"));
			} else
				r->framing.keep_alive = false;
		}
	}
	if (r->body_left != 0) /* of the request: it was not read to its end */
		r->framing.keep_alive = false;
	if (!r->framing.keep_alive)
		headers_add(h, STR("Connection"), STR("close"));
	else if (r->http.minor == 0)
		headers_add(h, STR("Connection"), STR("keep-alive"));
}

static void ours(struct delivery *d, struct headers *h)
{
	struct request *r = d->r;
	struct arena *a = r->arena;
	headers_set(h, STR("x-request-id"), arena_dup(a, str_c(r->id)));
	if (r->planned)
		headers_set(h, STR("x-proxy-policy"), str_c(policy_name(r->plan.policy)));
	struct str via = headers_joined(h, STR("Via"), a);
	headers_set(h, STR("via"), via.n == 0 ? str_c(heritage.via) : arena_printf(a, "%s, %.*s", heritage.via, STRP(via)));
	if (r->own_bucket)
		headers_set(h, STR("x-passsage-warning"), s3host_warning(a, &r->http));
	struct str cs = request_cache_status(r);
	if (cs.n > 0)
		headers_add(h, STR("cache-status"), cs);
	if ((r->cached && r->served_age >= 0) || (r->joined && r->served_age > 0))
		headers_set(h, STR("age"), arena_printf(a, "%lld", (long long)r->served_age));
	if (!headers_has(h, STR("Date"))) { /* RFC 9110 6.6.1: a recipient with a clock adds it */
		char date[HTTPDATE_SIZE];
		httpdate_format(clock_wall() / 1000, date);
		headers_add_copy(h, STR("Date"), str_c(date));
	}
}

static int send_head(struct delivery *d, const struct headers *h)
{
	struct request *r = d->r;
	struct str reason = r->response.reason.n ? r->response.reason : str_c(http_reason(r->response.status));
	int64_t n = http1_write_status(d->out, sizeof thread_self->out, r->response.status, reason, h);
	if (n < 0)
		return (int)n;
	d->out_n = (size_t)n;
	r->head_sent = true;
	return 0;
}

void request_interim(struct request *r, const struct http_response *resp)
{
	struct headers h;
	headers_init(&h, r->arena);
	headers_copy(&h, &resp->headers);
	headers_strip_hop_by_hop(&h);
	int64_t n = http1_write_status(thread_self->out, sizeof thread_self->out, resp->status, str_c(http_reason(resp->status)), &h);
	if (n > 0)
		conn_write(r->conn, thread_self->out, (size_t)n, conf()->client_write_ms);
}

/* The head, in the buffer. */
static int begin(struct delivery *d, struct headers *h)
{
	shape(d, h);
	framing(d, h);
	ours(d, h);
	d->r->response.headers = *h; /* for the record */
	return send_head(d, h);
}

enum req_step step_deliver(struct request *r)
{
	struct delivery d = { .r = r, .length = -1, .out = thread_self->out };
	struct headers h;
	if (r->broken)
		return STEP_record;
	int e = begin(&d, &h);
	if (e < 0 && !r->page) { /* nothing has been sent: it can be said */
		count(COUNT_upstream_errors);
		request_error(r, -ERR_ORIGIN_PROTOCOL, "the head of the origin's answer is too large");
		d = (struct delivery){ .r = r, .length = -1, .out = thread_self->out };
		e = begin(&d, &h);
	}
	if (e == 0 && !d.no_body && d.length != 0)
		e = send_body(&d);
	httpc_end(&d.rest);
	int w = e == -ERR_CLIENT_GONE || e == -ERR_TIMEOUT ? e : write_out(&d); /* also when the source broke: what came is the client's, and the break says that it is not all */
	if (e == 0)
		e = w;
	if (e < 0) {
		if (e == -ERR_TIMEOUT)
			count(COUNT_client_timeouts);
		if (r->err == 0) {
			r->err = e;
			snprintf(r->problem, sizeof r->problem, "%s", r->xfer != NULL && *httpc_problem(r->xfer) ? httpc_problem(r->xfer) : err_text(e));
		}
		if ((e == -ERR_NOT_FOUND || e == -ERR_CORRUPT) && r->cached && r->object != NULL) /* its bytes are nowhere any more: the next request fetches it anew */
			metadata_drop_seen_later(r->worker->metadata, &r->meta);
		r->broken = true;
		if (d.length < 0 && !d.chunked) /* HTTP/1.0: to its client a clean end would be the body's */
			conn_breaks(r->conn);
	}
	return STEP_record;
}
