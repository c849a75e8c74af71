/* fetch_ranges.c - see fetch_ranges.h: heads, waiting for several transfers at once, one transfer's way, the whole. */
#include "fetch_ranges.h"
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/httpdate.h"
#include "../common/range.h"

#define TRIES 5                     /* failures in a row: with their pauses some 8 s */
#define TURN (1024 * 1024)          /* bytes of one transfer before the others have their turn */
#define TICK_MS 100
#define WANTED_MS 20                /* a reader that comes is noticed after it: readers may be in other processes */
#define DATE_STRONG_S 60            /* Last-Modified so long before Date: no second version can have the same (RFC 9110 8.8.2.2) */
#define RETRY_AFTER_MAX_S 60
#define REUSE_MS 50                 /* for the end of a transfer of which all has come, so that its connection is of use again */

/* ---- heads */

static bool is_strong_date(const struct http_response *resp, struct str modified, int64_t now_s)
{
	int64_t at = httpdate_parse(modified, now_s), date = httpdate_parse(headers_get(&resp->headers, STR("Date")), now_s);
	return at != HTTPDATE_NONE && date != HTTPDATE_NONE && date - at >= DATE_STRONG_S;
}

static struct str coding_of(const struct http_response *resp)
{
	struct str coding = str_trim(headers_get(&resp->headers, STR("Content-Encoding")));
	return str_caseeq(coding, STR("identity")) ? STR_NONE : coding;
}

void ranges_object(const struct http_response *resp, int64_t now_s, struct ranges_object *o)
{
	const struct headers *h = &resp->headers;
	*o = (struct ranges_object){ .etag = headers_get(h, STR("ETag")), .modified = headers_get(h, STR("Last-Modified")), .coding = coding_of(resp) };
	if (http_content_length(h, &o->size) < 0)
		o->size = -1;
	if (o->etag.n >= 2 && o->etag.p[0] == '"' && o->etag.p[o->etag.n - 1] == '"')
		o->pin = o->etag;
	else if (o->etag.n == 0 && o->modified.n > 0 && is_strong_date(resp, o->modified, now_s))
		o->pin = o->modified;
	/* An encoding that is made while it is sent need not come out the same twice; and what speaks HTTP/1.0 is too old for If-Range. */
	bool old = resp->major == 1 && resp->minor == 0;
	o->proven = headers_lists(h, STR("Accept-Ranges"), STR("bytes"));
	o->ranges = resp->status == 200 && o->size > 0 && o->pin.n > 0 && o->coding.n == 0 && !old && (o->proven || !headers_has(h, STR("Accept-Ranges")));
}

static bool same_validators(const struct http_response *resp, const struct ranges_object *o)
{
	struct str etag = headers_get(&resp->headers, STR("ETag"));
	struct str modified = headers_get(&resp->headers, STR("Last-Modified"));
	if (o->etag.n > 0 ? !str_eq(etag, o->etag) : etag.n > 0 || !str_eq(modified, o->modified))
		return false;
	return str_eq(coding_of(resp), o->coding);
}

bool ranges_same(const struct http_response *resp, const struct ranges_object *o)
{
	int64_t size;
	return resp->status == 200 && o->pin.n > 0 && http_content_length(&resp->headers, &size) == 0 && size == o->size && same_validators(resp, o);
}

bool ranges_check(const struct http_response *resp, const struct ranges_object *o, struct extent asked, uint64_t *end)
{
	struct range r;
	uint64_t total;
	int64_t length;
	if (resp->status != 206 || headers_count(&resp->headers, STR("Content-Range")) != 1 || !same_validators(resp, o) ||
		!content_range_parse(headers_get(&resp->headers, STR("Content-Range")), &r, &total))
		return false;
	*end = r.last + 1;
	return total == (uint64_t)o->size && r.first == asked.at && *end <= asked.end &&
		http_content_length(&resp->headers, &length) == 0 && (length < 0 || (uint64_t)length == *end - r.first);
}

/* ---- waiting for several transfers: httpc may call a moment after a transfer has ended, so these are never freed but used again */

struct waker {
	sem_t sem;
	atomic_bool set;
	struct waker *next;
};
static struct waker *wakers;
static pthread_mutex_t wakers_lock = PTHREAD_MUTEX_INITIALIZER;

static struct waker *waker_take(void)
{
	pthread_mutex_lock(&wakers_lock);
	struct waker *w = wakers;
	if (w != NULL)
		wakers = w->next;
	pthread_mutex_unlock(&wakers_lock);
	if (w == NULL) {
		w = xcalloc(1, sizeof *w);
		sem_init(&w->sem, 0, 0);
	}
	return w;
}

static void waker_give(struct waker *w)
{
	pthread_mutex_lock(&wakers_lock);
	w->next = wakers;
	wakers = w;
	pthread_mutex_unlock(&wakers_lock);
}

static void wake(void *arg)
{
	struct waker *w = arg;
	if (!atomic_exchange(&w->set, true))
		sem_post(&w->sem);
}

static void waker_wait(struct waker *w, int64_t until)
{
	struct timespec ts = { .tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000 };
	sem_clockwait(&w->sem, CLOCK_MONOTONIC, &ts);
	atomic_store(&w->set, false);
}

/* ---- transfers */

struct line {
	struct xfer *x;
	struct arena arena;
	bool answered, whole;
	struct extent asked;
	uint64_t left;             /* bytes until the transfer ends by itself */
	unsigned filled;           /* httpc_filled, so far */
};

struct run {
	const struct ranges_ask *ask;
	const struct ranges_sink *sink;
	struct parts *parts;
	struct waker *waker;
	struct line lines[PARTS_STREAMS];
	int err;                   /* of the last failure, */
	char *problem;             /* and in words */
	int64_t now;
};

static void says(struct run *r, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void says(struct run *r, int err, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(r->problem, 256, fmt, ap);
	va_end(ap);
	r->err = err;
}

static void broke(struct run *r, unsigned i, enum parts_why why, int64_t retry_after_ms)
{
	httpc_end(&r->lines[i].x);
	parts_broke(r->parts, i, why, retry_after_ms, r->now);
}

static void transfer_failed(struct run *r, unsigned i, int err)
{
	const char *words = r->lines[i].x != NULL ? httpc_problem(r->lines[i].x) : "";
	bool no_connection = err == -ERR_BUSY || err == -ERR_ORIGIN_CONNECT || err == -ERR_ORIGIN_RESOLVE || err == -ERR_ORIGIN_TLS || err == -ERR_ORIGIN_CERT;
	says(r, err, "%s", *words ? words : err_text(err));
	broke(r, i, no_connection || !r->lines[i].answered ? PARTS_REFUSED : PARTS_BROKEN, 0);
}

static void open_line(struct run *r, const struct parts_step *step)
{
	struct line *l = &r->lines[step->stream];
	struct headers h;
	arena_reset(&l->arena);
	l->answered = false;
	l->filled = 0;
	l->whole = step->whole;
	l->asked = step->range;
	headers_init(&h, &l->arena);
	headers_copy(&h, r->ask->request->headers);
	if (!step->whole) {
		headers_set(&h, STR("Range"), arena_printf(&l->arena, "bytes=%llu-%llu", (unsigned long long)step->range.at, (unsigned long long)step->range.end - 1));
		headers_set(&h, STR("If-Range"), r->ask->object->pin);
	}
	struct httpc_request q = *r->ask->request;
	q.headers = &h;
	q.http1 = !step->whole;
	q.bulk = q.bulk && !step->whole;
	int err = httpc_begin(r->ask->httpc, &q, &l->x);
	if (err < 0)
		transfer_failed(r, step->stream, err);
}

static int64_t retry_after_ms(const struct http_response *resp)
{
	uint64_t s;
	if (!str_u64(headers_get(&resp->headers, STR("Retry-After")), UINT32_MAX, &s))
		return 0;
	return 1000 * (int64_t)(s < RETRY_AFTER_MAX_S ? s : RETRY_AFTER_MAX_S);
}

/* The final head is here. -ERR_X: all is over. */
static int judge_head(struct run *r, unsigned i, const struct http_response *resp)
{
	struct line *l = &r->lines[i];
	const struct ranges_object *o = r->ask->object;
	uint64_t end = (uint64_t)o->size;
	const char *kind = l->whole ? "GET" : "range request";
	if (l->whole ? ranges_same(resp, o) : ranges_check(resp, o, l->asked, &end)) {
		parts_answered(r->parts, i, end, r->now);
		l->left = end - l->asked.at;
		return 0;
	}
	if (resp->status == 200 && !l->whole && ranges_same(resp, o)) { /* no ranges here. But the right object */
		says(r, -ERR_ORIGIN_BROKEN, "the origin ignores ranges");
		l->whole = true;
		l->left = (uint64_t)o->size;
		if (!parts_ignored(r->parts, i, r->now))
			httpc_end(&l->x);
		return 0;
	}
	if (resp->status == 200 || resp->status == 206) {
		says(r, -ERR_GONE, "what the origin answered to a %s is not of this version, or not what was asked for", kind);
		broke(r, i, PARTS_LIED, 0);
		return resp->status == 206 || parts_whole_lives(r->parts) ? 0 : -ERR_GONE;
	}
	says(r, -ERR_ORIGIN_BROKEN, "the origin answered %d to a %s", resp->status, kind);
	bool later = resp->status == 429 || resp->status == 408 || resp->status >= 500;
	broke(r, i, later ? PARTS_REFUSED : PARTS_DENIED, retry_after_ms(resp));
	return 0;
}

static int serve_head(struct run *r, unsigned i)
{
	struct line *l = &r->lines[i];
	struct http_response resp;
	int err;
	do {
		headers_init(&resp.headers, &l->arena);
		err = httpc_head(l->x, &l->arena, &resp, 0);
	} while (err == 0 && resp.status < 200);
	if (err == -ERR_TIMEOUT)
		return 0;
	if (err < 0) {
		transfer_failed(r, i, err);
		return 0;
	}
	l->answered = true;
	return judge_head(r, i, &resp);
}

/* One piece of a body, which may be for several places. 0, or -ERR_X of the sink. */
static int place(struct run *r, unsigned i, const char *p, uint64_t n)
{
	struct extent run;
	while (n > 0) {
		bool write = parts_run(r->parts, i, &run);
		uint64_t take = run.end - run.at < n ? run.end - run.at : n;
		if (take == 0) { /* another stream has what follows, or it is more than was promised */
			httpc_end(&r->lines[i].x);
			parts_end(r->parts, i, r->now);
			return 0;
		}
		int err = write ? r->sink->write(r->sink->arg, run.at, p, (size_t)take) : 0;
		if (err < 0) {
			says(r, err, "%s", err_text(err));
			return err;
		}
		parts_got(r->parts, i, take, r->now);
		p += take;
		n -= take;
	}
	return 0;
}

/* What is there of one transfer. 1: and more. -ERR_X: all is over. */
static int serve(struct run *r, unsigned i)
{
	struct line *l = &r->lines[i];
	const void *p;
	int err = l->answered ? 0 : serve_head(r, i);
	for (int64_t taken = 0, n; err == 0 && l->x != NULL && l->answered; taken += n) {
		if (taken >= TURN)
			return 1;
		n = httpc_read(l->x, &p, 0);
		if (n == -ERR_AGAIN)
			break;
		if (n < 0) {
			transfer_failed(r, i, (int)n);
		} else if (n == 0) {
			httpc_end(&l->x);
			parts_end(r->parts, i, r->now);
		} else {
			l->left -= (uint64_t)n < l->left ? (uint64_t)n : l->left;
			err = place(r, i, p, (uint64_t)n);
		}
	}
	if (err == 0 && l->x != NULL) {
		const unsigned filled = httpc_filled(l->x);
		parts_waited(r->parts, (uint64_t)(filled - l->filled) * HTTPC_BUFFER);
		l->filled = filled;
	}
	return err < 0 ? err : l->x != NULL && httpc_when_read(l->x, wake, r->waker);
}

/* ---- the whole */

static int turn(struct run *r)
{
	struct extent want[PARTS_WANTS];
	struct parts_step step;
	bool more = false;
	r->now = clock_mono();
	if (r->sink->wanted != NULL)
		parts_want(r->parts, want, r->sink->wanted(r->sink->arg, want));
	while ((step = parts_next(r->parts, r->now)).act != PARTS_WAIT)
		if (step.act == PARTS_ASK)
			open_line(r, &step);
		else
			httpc_end(&r->lines[step.stream].x);
	for (unsigned i = 0; i < PARTS_STREAMS; i++)
		if (r->lines[i].x != NULL) {
			int e = serve(r, i);
			if (e < 0)
				return e;
			more |= e > 0;
		}
	if (r->sink->tick != NULL && !r->sink->tick(r->sink->arg, r->parts, r->now))
		return -ERR_CLIENT_GONE;
	int64_t most = r->now + (r->sink->wanted != NULL ? WANTED_MS : TICK_MS);
	if (!more && parts_state(r->parts) == PARTS_GOING)
		waker_wait(r->waker, step.until < most ? step.until : most);
	return 0;
}

static void end_lines(struct run *r)
{
	const void *p;
	for (unsigned i = 0; i < PARTS_STREAMS; i++) {
		if (r->lines[i].x != NULL && r->lines[i].answered && r->lines[i].left == 0)
			httpc_read(r->lines[i].x, &p, r->now + REUSE_MS);
		httpc_end(&r->lines[i].x);
		arena_fini(&r->lines[i].arena);
	}
}

static struct parts *plan(const struct ranges_ask *ask)
{
	const struct ranges_object *o = ask->object;
	const struct parts_options po = { .size = (uint64_t)o->size, .streams = (uint64_t)o->size >= ask->parallel_min ? ask->streams : 1, .pinned = o->pin.n > 0,
	                                  .ranges = o->ranges, .proven = o->proven, .spread = ask->spread, .rest = ask->rest, .rest_limit = ask->rest_limit, .tries = TRIES,
	                                  .extents = ask->extents };
	struct parts *p = parts_new(&po);
	for (unsigned i = 0; i < ask->have_n; i++)
		parts_have(p, ask->have[i]);
	return p;
}

/* A body of unknown length, or of which nothing may be asked for again: as it comes. */
static int as_it_comes(struct run *r)
{
	uint64_t at = 0;
	const void *p;
	for (;;) {
		int64_t now = clock_mono(), n = httpc_read(*r->ask->first, &p, now + TICK_MS);
		if (n == 0)
			return 0;
		int err = n > 0 ? r->sink->write(r->sink->arg, at, p, (size_t)n) : 0;
		if (n < 0 && n != -ERR_AGAIN) {
			const char *words = httpc_problem(*r->ask->first);
			says(r, (int)n, "%s", *words ? words : err_text((int)n));
			return (int)n;
		}
		if (err < 0) {
			says(r, err, "%s", err_text(err));
			return err;
		}
		at += n > 0 ? (uint64_t)n : 0;
		if (r->sink->tick != NULL && !r->sink->tick(r->sink->arg, NULL, now))
			return -ERR_CLIENT_GONE;
	}
}

int fetch_ranges(const struct ranges_ask *ask, const struct ranges_sink *sink, char problem[256])
{
	int err = 0;
	struct run *r = xcalloc(1, sizeof *r);
	*r = (struct run){ .ask = ask, .sink = sink, .problem = problem, .now = clock_mono() };
	problem[0] = 0;
	if (ask->object->size < 0) {
		err = as_it_comes(r);
		httpc_end(ask->first);
		free(r);
		return err;
	}
	r->waker = waker_take();
	r->parts = plan(ask);
	if (ask->first != NULL) {
		r->lines[parts_first(r->parts, ask->brings, ask->whole, r->now)] = (struct line){
			.x = *ask->first, .answered = true, .whole = ask->whole, .asked = ask->brings, .left = ask->brings.end - ask->brings.at, .filled = httpc_filled(*ask->first),
		};
		*ask->first = NULL;
	}
	while (err == 0 && parts_state(r->parts) == PARTS_GOING)
		err = turn(r);
	if (err == 0 && parts_state(r->parts) == PARTS_FAILED)
		err = r->err < 0 ? r->err : -ERR_ORIGIN_BROKEN;
	end_lines(r);
	parts_free(&r->parts);
	waker_give(r->waker);
	free(r);
	return err;
}
