/* step_pass.c - requests that the cache has nothing to do with: the origin's answer is relayed, the request's body streamed to it.
 * Unsafe methods invalidate what is stored (RFC 9111 4.4). */
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/log.h"
#include "../policy/key.h"
#include "failover.h"
#include "fetch.h"
#include "gate.h"
#include "purge.h"
#include "request.h"
#include "worker.h"

#define SLICE_MS 1000
#define REPLAY_MAX 65536   /* of a request's body is kept, to send it again when a kept connection turns out dead: RFC 9110 9.2.2 */
#define CONTINUE_MS 1000   /* a client that expects 100 waits this long for the origin's; then it gets ours (RFC 9110 10.1.1) */

static enum req_step fail(struct request *r, int err, bool probe)
{
	char problem[256];
	snprintf(problem, sizeof problem, "%s", r->xfer != NULL && *httpc_problem(r->xfer) ? httpc_problem(r->xfer) : err_text(err));
	origin_failed(&r->http.url, err, problem, probe);
	request_error(r, err, problem);
	return STEP_deliver;
}

static void go_on(struct request *r)
{
	static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
	r->framing.expect_continue = false;
	conn_write(r->conn, line, sizeof line - 1, conf()->client_write_ms);
}

/* 0: a final head is in r->response. -ERR_AGAIN: a 100 came, and was passed on when it was wanted. -ERR_TIMEOUT: not by then (NEVER: the
 * origin's own time-out ends it). */
static int head(struct request *r, int64_t until)
{
	for (;;) {
		int64_t slice = clock_mono() + SLICE_MS;
		headers_init(&r->response.headers, r->arena);
		int e = httpc_head(r->xfer, r->arena, &r->response, slice < until ? slice : until);
		if (e == -ERR_TIMEOUT) {
			if (clock_mono() >= until)
				return e;
			if (conn_gone(r->conn))
				return -ERR_CLIENT_GONE;
			continue;
		}
		if (e < 0)
			return e;
		if (r->response.status >= 200 || r->response.status == 101)
			return 0;
		if (r->response.status == 100) {
			if (r->framing.expect_continue)
				go_on(r);
			return -ERR_AGAIN;
		}
		if (r->http.minor >= 1)
			request_interim(r, &r->response);
		if (conn_gone(r->conn))
			return -ERR_CLIENT_GONE;
	}
}

struct replay { char *p; size_t n; bool lost; }; /* what was sent of the body; lost: more than is kept */

static void keep(struct request *r, struct replay *kept, const void *p, size_t n)
{
	if (kept->lost || (kept->lost = kept->n + n > REPLAY_MAX))
		return;
	if (kept->p == NULL)
		kept->p = arena_alloc(r->arena, r->body_left >= 0 && (size_t)r->body_left + n <= REPLAY_MAX ? (size_t)r->body_left + n : REPLAY_MAX);
	memcpy(kept->p + kept->n, p, n);
	kept->n += n;
}

/* The request's body to the origin. 0 when it is all there, or when the origin does not want more (its answer is then there). */
static int send_body(struct request *r, struct replay *kept)
{
	char *buf = thread_self->in; /* the head has been parsed out of it */
	if (kept->n > 0 && httpc_send(r->xfer, kept->p, kept->n, NEVER) < 0)
		return 0;
	while (r->body_left != 0) {
		int64_t n = request_body(r, buf, sizeof thread_self->in);
		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		if (http_method_idempotent(r->http.method))
			keep(r, kept, buf, (size_t)n);
		if (httpc_send(r->xfer, buf, (size_t)n, NEVER) < 0)
			return 0; /* it answered already, or broke: the head will tell */
	}
	httpc_finish_body(r->xfer);
	return 0;
}

static bool stored(struct request *r, const struct str ids[2])
{
	struct meta found[2];
	bool there[2];
	return metadata_get(r->worker->metadata, ids, 2, r->arena, found, there) > 0;
}

/* Before the client has its answer: its next request must not find the old response. Only what is stored, or is about to be, is worth
 * the wait for a commit. */
static void invalidate(struct request *r)
{
	struct url urls[3];
	unsigned n = 0;
	if (!judge_invalidates(&r->http, &r->response, r->arena, urls + 1, &n))
		return;
	urls[0] = r->http.url;
	for (unsigned i = 0; i <= n; i++) {
		struct str key, ids[2];
		ruleset_keys(atomic_load(&r->worker->rules), &urls[i], r->arena, &key, &ids[0], &ids[1]);
		if (purge_outdate(heritage.shared.fills, ids[0]) || stored(r, ids)) /* what is still on its way is not stored */
			metadata_invalidate(r->worker->metadata, ids[0]);
		else
			metadata_invalidate_later(r->worker->metadata, ids[0]);
	}
	count(COUNT_invalidations);
}

/* The answer to a POST may be what a GET would get (RFC 9110 9.3.3); it is then stored, and the client reads along. */
static void store(struct request *r, int64_t requested)
{
	const struct judge_options opt = judge_settings(conf());
	int64_t now = clock_wall();
	struct fetched got = { .outcome = OUTCOME_STORE, .response = r->response };
	if (r->http.method != METHOD_POST || r->reason != REASON_no_cache_method ||
	    judge_response(&opt, &r->plan, &r->http, NULL, &r->response, now) != OUTCOME_STORE)
		return;
	const struct fetch_ask ask = { .worker = r->worker, .plan = &r->plan, .request = &r->http, .version = fill_version(heritage.shared.fills) };
	if (!fetch_keep(&ask, &r->xfer, requested, now, r->arena, &got))
		return;
	r->object = object_growing(&got.reader);
	r->meta = got.meta;
	r->has_meta = true;
}

static int begin(struct request *r)
{
	struct headers h;
	headers_init(&h, r->arena);
	upstream_headers(&r->http, &h);
	const int64_t length = r->framing.body == BODY_CHUNKED ? -2 : r->framing.length; /* of all of it, also when it is sent again */
	struct httpc_request hr = { .method = r->http.method_name, .url = r->http.url.text, .headers = &h, .expect_continue = r->framing.expect_continue,
	                            .body_length = length, .to = gate_destinations(&r->http.client) };
	plan_limits(&r->plan, &hr);
	return httpc_begin(r->worker->httpc, &hr, &r->xfer);
}

enum req_step step_pass(struct request *r)
{
	struct replay kept = { NULL, 0, false };
	bool answered = false, probe;
	char problem[256];
	int64_t requested = clock_wall();
	int e;
	pool_blocking(r->worker->pool);
	if (r->framing.upgrade)
		return STEP_tunnel;
	if (!pool_spare(r->worker->pool)) { /* it holds its thread until the origin has answered: the last quarter is for what needs none that wait */
		count(COUNT_threads_limited);
		request_error(r, -ERR_BUSY, "too many requests wait for their origins");
		return STEP_deliver;
	}
	if (!origin_ask(&r->http.url, &probe, &e, problem, sizeof problem)) {
		request_error(r, e, problem);
		return STEP_deliver;
	}
	for (int try = 1;; try++) {
		const int64_t begun = clock_mono();
		if ((e = begin(r)) < 0)
			return fail(r, e, probe);
		if (r->framing.body != BODY_NONE) {
			if (r->framing.expect_continue) {
				e = head(r, clock_mono() + CONTINUE_MS);
				if (e == 0 && r->response.status >= 300)
					break; /* refused without its body */
				answered = e == 0; /* the transfer ends, for libcurl and a careful origin, only when the body is there too */
				if (e == 0 || e == -ERR_TIMEOUT)
					go_on(r);
				else if (e != -ERR_AGAIN)
					return fail(r, e, probe);
			}
			if ((e = send_body(r, &kept)) < 0)
				return fail(r, e, probe);
		}
		while (!answered && (e = head(r, NEVER)) == -ERR_AGAIN)
			;
		if (e == 0)
			break;
		const bool still_away = probe && e != -ERR_ORIGIN_BROKEN;
		if (try > 1 || still_away || kept.lost || !fetch_again(&r->plan, &r->http, e, begun, r->xfer))
			return fail(r, e, probe);
		count(COUNT_upstream_retries);
		httpc_end(&r->xfer);
	}
	origin_worked(&r->http.url);
	invalidate(r);
	store(r, requested);
	return STEP_deliver;
}
