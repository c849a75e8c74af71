/* Whose turn it is: how many connections an origin may have, and who waits. On the fetcher thread only. libcurl has one number for all
 * and one for each host, which nine origins that never answer could use up between them. So, with fair_share, an origin gets no more
 * connections than are still free: each one that wants all it can get leaves as much as it takes, so that there is always something left for
 * one that comes later (dynamic thresholds; Choudhury and Hahne 1998). The places in the queue are given out by the same rule.
 * What belongs to a large download (bulk) takes half of it at most, and only when nothing else waits for that origin.
 *
 * An origin is known by the hash of scheme and authority: two with the same one would share a limit, and there are 2^64. */
#include "httpc_impl.h"

#define STREAMS 100   /* libcurl puts so many requests on an HTTP/2 connection (CURLMOPT_MAX_CONCURRENT_STREAMS) */
#define IDLE_KEPT 4   /* origins without a request in each bucket that are remembered: what they speak, and to spare a malloc */

struct turns_origin {
	struct turns_origin *next;       /* in its bucket */
	struct turns_origin *wprev, *wnext; /* among those that somebody waits for: a ring */
	uint64_t hash;
	long n;                          /* requests under way */
	bool http2;                      /* as its last answer was */
	unsigned waiting;
	struct { struct xfer *first, *last; } queue[2]; /* bulk: 1 */
};

static long cost(const struct turns_origin *o, long n) { return o->http2 ? (n + STREAMS - 1) / STREAMS : n; }

static void
set_n(struct turns *t, struct turns_origin *o, long n)
{
	t->in_use += cost(o, n) - cost(o, o->n);
	o->n = n;
}

static struct turns_origin *
origin_of(struct turns *t, uint64_t hash)
{
	struct turns_origin **at = &t->buckets[hash % TURNS_BUCKETS], *o, *idle = NULL;
	unsigned idle_n = 0;
	for (o = *at; o; o = o->next) {
		if (o->hash == hash)
			return o;
		if (o->n == 0 && o->waiting == 0) {
			idle = o;
			idle_n++;
		}
	}
	if (idle_n >= IDLE_KEPT) {
		idle->hash = hash;
		idle->http2 = false;
		return idle;
	}
	o = xcalloc(1, sizeof *o);
	o->hash = hash;
	o->next = *at;
	*at = o;
	return o;
}

static bool
may_go(const struct httpc *e, const struct turns_origin *o, bool bulk)
{
	long free_n = e->o.max_connections - e->turns.in_use, has = cost(o, o->n);
	if (bulk && (o->queue[0].first || 2 * (o->n + 1) > e->o.max_per_host || (e->o.fair_share && 2 * (has + 1) > free_n)))
		return o->n == 0 && free_n > 0 && !o->queue[0].first;
	if (cost(o, o->n + 1) == has)
		return true;
	return free_n > 0 && has < e->o.max_per_host && (!e->o.fair_share || has < free_n);
}

static void
enqueue(struct turns *t, struct turns_origin *o, struct xfer *x)
{
	x->wprev = o->queue[x->bulk].last;
	if (x->wprev)
		x->wprev->wnext = x;
	else
		o->queue[x->bulk].first = x;
	o->queue[x->bulk].last = x;
	x->waits = true;
	t->waiting++;
	if (o->waiting++ > 0)
		return;
	if (!t->next) {
		t->next = o->wprev = o->wnext = o;
		return;
	}
	o->wnext = t->next;
	o->wprev = t->next->wprev;
	o->wprev->wnext = o->wnext->wprev = o;
}

static void
dequeue(struct turns *t, struct turns_origin *o, struct xfer *x)
{
	if (x->wprev)
		x->wprev->wnext = x->wnext;
	else
		o->queue[x->bulk].first = x->wnext;
	if (x->wnext)
		x->wnext->wprev = x->wprev;
	else
		o->queue[x->bulk].last = x->wprev;
	x->wprev = x->wnext = NULL;
	x->waits = false;
	t->waiting--;
	if (--o->waiting > 0)
		return;
	if (t->next == o)
		t->next = o->wnext == o ? NULL : o->wnext;
	o->wprev->wnext = o->wnext;
	o->wnext->wprev = o->wprev;
}

int
turn_take(struct httpc *e, struct xfer *x)
{
	struct turns *t = &e->turns;
	struct turns_origin *o = origin_of(t, x->origin_hash);
	if (!o->queue[x->bulk].first && may_go(e, o, x->bulk)) {
		x->turn = o;
		set_n(t, o, o->n + 1);
		return 1;
	}
	if (e->o.fair_share && (long)o->waiting >= (long)XFERS_WAITING - t->waiting)
		return -ERR_BUSY;
	x->turn = o;
	enqueue(t, o, x);
	return 0;
}

void
turn_give(struct httpc *e, struct xfer *x)
{
	struct turns_origin *o = x->turn;
	if (!o)
		return;
	if (x->waits)
		dequeue(&e->turns, o, x);
	else
		set_n(&e->turns, o, o->n - 1);
	x->turn = NULL;
	e->turns.freed = true; /* also who waited may have been what bulk ones waited for */
}

void
turn_http2(struct httpc *e, struct xfer *x, bool http2)
{
	struct turns_origin *o = x->turn;
	if (!o || o->http2 == http2)
		return;
	e->turns.in_use -= cost(o, o->n);
	o->http2 = http2;
	e->turns.in_use += cost(o, o->n);
	e->turns.freed = true;
}

struct xfer *
turn_next(struct httpc *e)
{
	struct turns *t = &e->turns;
	struct turns_origin *o = t->next, *first = o;
	if (!t->freed || !o)
		return NULL;
	do {
		struct xfer *x = o->queue[0].first ? o->queue[0].first : o->queue[1].first;
		if (may_go(e, o, x->bulk)) {
			t->next = o->wnext; /* then it is the next one's turn */
			dequeue(t, o, x);
			set_n(t, o, o->n + 1);
			return x;
		}
		o = o->wnext;
	} while (o != first);
	t->freed = false;
	return NULL;
}

void
turns_fini(struct httpc *e)
{
	for (unsigned i = 0; i < TURNS_BUCKETS; i++)
		for (struct turns_origin *o = e->turns.buckets[i], *next; o; o = next) {
			next = o->next;
			free(o);
		}
}
