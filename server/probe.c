/* probe.c - see probe.h. A probe is a HEAD of the origin's root: whoever answers it, whatever the status, is there. That takes the very way
 * that a request would: resolver, trust, all addresses. */
#include "probe.h"
#include "../common/clock.h"
#include "../common/err.h"
#include "failover.h"
#include "worker.h"

#define PROBES_MAX 16         /* at a time: each holds a thread for up to PROBE_MS */
#define PROBE_MS 5000         /* to connect, and to answer: who needs longer is not back */

struct probe {
	struct pool_item item; /* first */
	struct worker *worker;
	struct ban ban;
};

static int ask(struct probe *p, const struct url *u, struct arena *a, char problem[256])
{
	struct headers h;
	struct http_response resp;
	struct xfer *x;
	headers_init(&h, a);
	headers_add(&h, STR("Host"), url_host_field(a, u));
	headers_add(&h, STR("User-Agent"), STR("passsage (is it back?)"));
	headers_add(&h, STR("Via"), str_c(heritage.via));
	const struct httpc_request hr = { .method = STR("HEAD"), .url = u->text, .headers = &h, .body_length = -1, .connect_timeout_ms = PROBE_MS,
	                                  .read_timeout_ms = PROBE_MS, .total_timeout_ms = 2 * PROBE_MS, .fresh_connection = true, .internal = true,
	                                  .to = { &conf()->deny_destinations, true } }; /* nobody asks, so it is this machine that does */
	int r = httpc_begin(p->worker->httpc, &hr, &x);
	if (r < 0)
		return r;
	headers_init(&resp.headers, a);
	r = httpc_head(x, a, &resp, NEVER); /* any status, 1xx too */
	snprintf(problem, 256, "%s", *httpc_problem(x) ? httpc_problem(x) : err_text(r));
	httpc_end(&x);
	return r;
}

static void probe_run(struct pool_item *it)
{
	struct probe *p = (struct probe *)it;
	struct arena a;
	struct url u;
	char problem[256] = "";
	arena_init(&a);
	pool_blocking(p->worker->pool);
	if (url_parse(&a, arena_printf(&a, "%s/", p->ban.origin), &u) == 0) {
		int r = ask(p, &u, &a, problem);
		if (r == 0)
			origin_worked(&u);
		else if (r == -ERR_ORIGIN_TIMEOUT)
			bans_mute(heritage.shared.bans, &u);
		else
			origin_failed(&u, r, problem, true);
	}
	arena_fini(&a);
	atomic_fetch_sub(&p->worker->probes, 1);
	free(p);
}

void probe_banned(struct worker *w)
{
	struct ban ban;
	if (w->index != 0 || conf()->ban_ms <= 0)
		return;
	while (atomic_load(&w->probes) < PROBES_MAX && pool_spare(w->pool) && bans_due(heritage.shared.bans, clock_mono(), &ban)) {
		struct probe *p = xcalloc(1, sizeof *p);
		p->worker = w;
		p->ban = ban;
		p->item.run = probe_run;
		atomic_fetch_add(&w->probes, 1);
		count(COUNT_ban_probes);
		pool_submit(w->pool, &p->item, POOL_JOB);
	}
}
