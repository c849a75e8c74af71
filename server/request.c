/* request.c - see request.h */
#include "request.h"
#include <sys/random.h>
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/log.h"
#include "failover.h"
#include "worker.h"

#define TO(step) (1u << STEP_##step)
static const struct { const char *name, *text; step_f *run; unsigned to; } steps[] = {
#define STEP(n, t, words) [STEP_##n] = { #n, words, step_##n, t },
#include "tbl/steps.h"
};

_Thread_local struct thread *thread_self;

const char *step_name(enum req_step s) { return s < STEP_MAX ? steps[s].name : "idle"; }

void steps_print(FILE *f)
{
	for (unsigned i = 0; i < STEP_MAX; i++) {
		fprintf(f, "%-8s", steps[i].name);
		const char *sep = " -> ";
		for (unsigned j = 0; j < STEP_MAX; j++)
			if (steps[i].to & 1u << j) {
				fprintf(f, "%s%s", sep, steps[j].name);
				sep = ", ";
			}
		fprintf(f, "\n           %s\n", steps[i].text);
	}
}

static uint64_t rotl(uint64_t x, int k) { return x << k | x >> (64 - k); }

/* xoshiro256**, seeded by the kernel once a thread: identifiers need to be unique, not secret */
static uint64_t random64(struct thread *t)
{
	uint64_t *s = t->random;
	while ((s[0] | s[1] | s[2] | s[3]) == 0)
		if (getrandom(s, sizeof t->random, 0) != sizeof t->random)
			s[0] = (uint64_t)clock_mono() ^ (uint64_t)(uintptr_t)t;
	uint64_t r = rotl(s[1] * 5, 7) * 9, x = s[1] << 17;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= x;
	s[3] = rotl(s[3], 45);
	return r;
}

void request_id_new(char out[37])
{
	static const char hex[] = "0123456789abcdef";
	uint64_t r[2] = { random64(thread_self), random64(thread_self) };
	uint8_t b[16];
	memcpy(b, r, sizeof b);
	b[6] = (b[6] & 0x0f) | 0x40;
	b[8] = (b[8] & 0x3f) | 0x80;
	char *o = out;
	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*o++ = '-';
		*o++ = hex[b[i] >> 4];
		*o++ = hex[b[i] & 15];
	}
	*o = 0;
}

void request_score(const struct request *r, struct score_thread *s)
{
	size_t n = r->http.url.text.n < sizeof s->what - 1 ? r->http.url.text.n : sizeof s->what - 1;
	memcpy(s->what, r->http.url.text.n ? r->http.url.text.p : "", n);
	s->what[n] = 0;
	atomic_store_explicit(&s->since, r->started, memory_order_relaxed);
	atomic_store_explicit(&s->step, (int)r->step, memory_order_relaxed);
}

/* step -1: none. What it is about is written by run(), once: a request comes to a thread there alone. */
static void score(int step)
{
	if (thread_self->score != NULL)
		atomic_store_explicit(&thread_self->score->step, step, memory_order_relaxed);
}

static struct request *begin(struct conn *c)
{
	struct request *r = thread_self->spare;
	struct arena arena = { 0 };
	if (r != NULL) {
		thread_self->spare = NULL;
		arena = r->own;
	} else {
		r = xmalloc(sizeof *r);
		arena_init(&arena);
	}
	arena_reset(&arena);
	*r = (struct request){ .worker = c->worker, .conn = c, .own = arena, .started = clock_wall(), .started_mono = clock_mono(), .served_age = -1,
	                       .reason = REASON_error_page };
	r->arena = &r->own;
	count(COUNT_requests_open);
	request_id_new(r->id);
	headers_init(&r->http.headers, r->arena);
	headers_init(&r->response.headers, r->arena);
	return r;
}

void request_spare_free(struct request *r)
{
	if (r != NULL)
		arena_fini(&r->own);
	free(r);
}

static enum request_end finish(struct request *r)
{
	struct conn *c = r->conn;
	object_close(&r->object);
	httpc_end(&r->xfer);
	score(-1);
	enum request_end end = REQUEST_NEXT;
	if (r->broken || c->fd < 0)
		end = REQUEST_DEAD;
	else if (!r->framing.keep_alive || atomic_load_explicit(&heritage.shared.state->draining, memory_order_relaxed))
		end = REQUEST_LAST;
	c->request = NULL;
	count_sub(COUNT_requests_open, 1);
	if (thread_self->spare == NULL)
		thread_self->spare = r;
	else
		request_spare_free(r);
	return end;
}

static enum request_end run(struct request *r, enum req_step first)
{
	r->step = first;
	if (thread_self->score != NULL)
		request_score(r, thread_self->score);
	while (r->step != STEP_record) {
		score((int)r->step);
		enum req_step next = steps[r->step].run(r);
		if (next == STEP_REST) {
			score(-1);
			r->conn->request = r;
			return REQUEST_RESTS;
		}
		INVARIANT(next < STEP_MAX && steps[r->step].to & 1u << next && next > r->step);
		r->step = next;
	}
	score(STEP_record);
	step_record(r);
	return finish(r);
}

bool request_rest(struct conn *c) { return !httpc_when_head(c->request->fetching.xfer, conn_wakes, c); }

enum request_end request_resume(struct conn *c) { return run(c->request, c->request->step); }

enum request_end request_run(struct conn *c, struct str head)
{
	struct request *r = begin(c);
	const struct settings *s = conf();
	const struct http1_limits limits = { .line = s->line_max, .head = s->head_max, .fields = (unsigned)s->fields_max };
	count(COUNT_requests);
	int e = http1_request(head, c->in_tunnel ? &c->tunnel : NULL, &limits, r->arena, &r->http, &r->framing, &r->target);
	if (e < 0) {
		count(COUNT_requests_bad);
		r->framing.keep_alive = false;
		request_error(r, e, r->framing.problem);
		return run(r, STEP_deliver);
	}
	if (r->framing.body == BODY_CHUNKED)
		http1_chunked_init(&r->chunked, r->arena, NULL);
	r->body_left = r->framing.body == BODY_LENGTH ? r->framing.length : r->framing.body == BODY_CHUNKED ? -1 : 0;
	return run(r, STEP_route);
}

enum request_end request_refuse(struct conn *c, int err, const char *problem)
{
	struct request *r = begin(c);
	count(COUNT_requests);
	count(COUNT_requests_bad);
	request_error(r, err, problem);
	return run(r, STEP_deliver);
}

/* Silence is limited, and so is trickling. */
static int64_t body_read(struct request *r, void *buf, size_t n)
{
	int64_t began = clock_mono(), stall = conf()->client_read_ms;
	if (r->body_waited > conn_patience(r->body_got, stall))
		return -ERR_TIMEOUT;
	int64_t got = conn_read_wait(r->conn, buf, n, began + stall);
	r->body_waited += clock_mono() - began;
	if (got > 0)
		r->body_got += (uint64_t)got;
	return got == 0 ? -ERR_CLIENT_GONE : got;
}

int64_t request_body(struct request *r, void *buf, size_t n)
{
	int64_t got;
	if (r->body_left == 0)
		return 0;
	if (r->body_left > 0) {
		got = body_read(r, buf, (int64_t)n < r->body_left ? n : (size_t)r->body_left);
		if (got > 0)
			r->body_left -= got;
		return got;
	}
	for (;;) { /* chunked: what is read beyond the body's end belongs to the next request, so read no more than a piece and put back */
		struct str out;
		size_t used;
		char piece[4096];
		got = body_read(r, piece, n < sizeof piece ? n : sizeof piece);
		if (got < 0)
			return got;
		size_t made = 0, at = 0;
		int done = 0;
		while (at < (size_t)got && done == 0) {
			done = http1_chunked_feed(&r->chunked, piece + at, (size_t)got - at, &used, &out);
			if (done < 0)
				return done;
			if (out.n > 0)
				memcpy((char *)buf + made, out.p, out.n);
			made += out.n;
			at += used;
			if (used == 0 && done == 0)
				break;
		}
		if (at < (size_t)got)
			conn_unread(r->conn, piece + at, (size_t)got - at);
		if (done > 0)
			r->body_left = 0;
		if (made > 0 || done > 0)
			return (int64_t)made;
	}
}

void request_answer(struct request *r, const struct page *p)
{
	object_close(&r->object);
	httpc_end(&r->xfer);
	r->page = true;
	r->has_meta = r->cached = r->joined = false;
	r->response.status = p->status;
	r->response.reason = STR_NONE;
	r->response.headers = p->headers;
	r->object = object_memory(p->body);
}

void request_error(struct request *r, int err, const char *problem)
{
	struct page p;
	const struct errorpage_context ctx = { .request_id = str_c(r->id), .proxy = str_c(heritage.via_name) };
	r->err = err;
	snprintf(r->problem, sizeof r->problem, "%s", problem != NULL && *problem ? problem : err_text(err));
	r->reason = REASON_error_page;
	count(COUNT_errors);
	errorpage_make(&ctx, err, r->problem, &r->http, r->arena, &p);
	if (err <= -ERR_ORIGIN_RESOLVE && err >= -ERR_ORIGIN_TIMEOUT) {
		int64_t retry = origin_retry_s(&r->http.url);
		if (retry > 0)
			headers_add(&p.headers, STR("Retry-After"), arena_printf(r->arena, "%lld", (long long)retry));
	}
	request_answer(r, &p);
}
