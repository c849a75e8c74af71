/* resume.c - see resume.h */
#include "resume.h"
#include "../common/clock.h"
#include "../common/err.h"
#include "fetch_ranges.h"
#include "gate.h"
#include "request.h"
#include "worker.h"

#define SLICE_MS 1000

bool resume_may(const struct request *r, int err)
{
	return r->object != NULL && r->has_meta && r->meta.status == 200 && r->meta.content_size > 0 && r->plan.policy != POLICY_NoCache &&
		(err == -ERR_FULL || err == -ERR_SYSTEM || err == -ERR_FILL_FAILED || err == -ERR_BUSY);
}

static int final_head(struct request *r, struct xfer *x, struct http_response *resp)
{
	int err;
	do {
		headers_init(&resp->headers, r->arena);
		err = httpc_head(x, r->arena, resp, clock_mono() + SLICE_MS);
		if (err == -ERR_TIMEOUT && conn_gone(r->conn))
			return -ERR_CLIENT_GONE;
	} while (err == -ERR_TIMEOUT || (err == 0 && resp->status < 200)); /* bounded by the time-outs of the request */
	return err;
}

int resume_body(struct request *r, uint64_t at, uint64_t end, struct xfer **x)
{
	const struct http_response had = { .status = 200, .major = 1, .minor = 1, .headers = r->meta.headers };
	struct ranges_object o;
	struct http_response resp;
	struct headers h;
	uint64_t brings;
	*x = NULL;
	ranges_object(&had, clock_wall() / 1000, &o);
	o.size = r->meta.content_size;
	if (o.pin.n == 0 || o.coding.n > 0) /* fetch_ranges.h: it need not come out the same twice */
		return -ERR_FILL_FAILED;
	headers_init(&h, r->arena);
	upstream_headers(&r->http, &h);
	judge_conditional(NULL, &h);
	headers_set(&h, STR("Range"), arena_printf(r->arena, "bytes=%llu-%llu", (unsigned long long)at, (unsigned long long)end - 1));
	headers_set(&h, STR("If-Range"), o.pin);
	struct httpc_request q = { .method = STR("GET"), .url = r->http.url.text, .headers = &h, .body_length = -1, .to = gate_destinations(&r->http.client) };
	plan_limits(&r->plan, &q);
	pool_blocking(r->worker->pool);
	count(COUNT_resumed);
	int err = httpc_begin(r->worker->httpc, &q, x);
	if (err == 0)
		err = final_head(r, *x, &resp);
	if (err == 0 && (!ranges_check(&resp, &o, (struct extent){ at, end }, &brings) || brings != end))
		err = -ERR_ORIGIN_BROKEN;
	if (err < 0)
		httpc_end(x);
	return err;
}
