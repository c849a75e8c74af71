/* The pool under threads: nothing that was submitted or became readable is lost, nothing runs twice at a time, nobody starves.
 * Waits are for counts; a lost wake-up shows as a count that is never reached. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "../../common/arena.h"
#include "../../common/clock.h"
#include "../../server/pool.h"
#include "tap.h"

#define PATIENCE_MS 20000
#define THREADS 8

static void nap(long us) { nanosleep(&(struct timespec){ us / 1000000, us % 1000000 * 1000 }, NULL); }

static bool reaches(_Atomic unsigned *n, unsigned want)
{
	for (int64_t until = clock_mono() + PATIENCE_MS; atomic_load(n) < want && clock_mono() < until;)
		nap(1000);
	return atomic_load(n) == want;
}

/* ---- a pool in a thread of its own, with items that are watched */

struct thing {
	struct pool_item item; /* first */
	struct pool *pool;
	int fd, far;
	_Atomic int inside;
	unsigned turn;
	_Atomic unsigned runs;
};

enum { THINGS = 64 };
static struct thing things[THINGS];
static _Atomic unsigned ticks, twice, got, ran;

static void no_accept(void *arg, struct pool_item *it) { (void)arg, (void)it; }
static void count_tick(void *arg)
{
	(void)arg;
	atomic_fetch_add(&ticks, 1);
}

static void *run_pool(void *arg)
{
	pool_run(arg);
	return NULL;
}

static struct pool *begin(pthread_t *t, unsigned threads)
{
	const struct pool_options o = { .threads_max = threads, .stack = 256 * 1024, .tick = count_tick, .accept = no_accept,
	                                .items = &things[0].item, .item_size = sizeof *things, .items_n = THINGS };
	static struct pool *all[64]; /* a pool is for the process's life: it stays reachable, so that no sanitizer misses it */
	static int n;
	struct pool *p = all[n++ % 64] = pool_new(&o);
	for (int i = 0; i < THINGS; i++) { /* as a slot that had another owner before */
		uint32_t generation = things[i].item.generation + 1;
		things[i] = (struct thing){ .pool = p, .fd = -1, .far = -1 };
		atomic_store(&things[i].item.generation, generation);
	}
	atomic_store(&ticks, 0);
	atomic_store(&got, 0);
	atomic_store(&ran, 0);
	atomic_store(&twice, 0);
	pthread_create(t, NULL, run_pool, p);
	while (pool_threads(p) == 0) /* it is the first, as in a worker */
		nap(100);
	return p;
}

static void end(struct pool *p, pthread_t t)
{
	int64_t until = clock_mono() + PATIENCE_MS;
	pool_stop(p);
	pthread_join(t, NULL);
	while (pool_threads(p) > 1 && clock_mono() < until) /* the first is not counted out */
		nap(1000);
	is_int(pool_threads(p), 1, "all threads leave when it is stopped");
}

static void enter(struct thing *g)
{
	if (atomic_exchange(&g->inside, 1))
		atomic_fetch_add(&twice, 1);
}

static void leave(struct thing *g) { atomic_store(&g->inside, 0); }

/* ---- jobs from many threads */

enum { SUBMITTERS = 4, JOBS = 1500 };
struct job { struct pool_item item; struct pool *pool; unsigned kind, left; };

static void job_run(struct pool_item *it)
{
	struct job *j = (struct job *)it;
	if (j->kind % 5 == 0) {
		pool_blocking(j->pool);
		nap(j->kind % 7 * 50);
	}
	if (j->left > 0) { /* once more: from a thread that is running, or from one that has said that it blocks */
		j->left--;
		pool_submit(j->pool, it, j->kind % POOL_RANKS);
		return;
	}
	atomic_fetch_add(&ran, 1);
	free(j);
}

static void *submit_jobs(void *arg)
{
	for (unsigned i = 0; i < JOBS; i++) {
		struct job *j = xcalloc(1, sizeof *j);
		*j = (struct job){ .item.run = job_run, .pool = arg, .kind = i, .left = i % 3 };
		pool_submit(arg, &j->item, i % POOL_RANKS);
		if (i % 64 == 0)
			nap(300); /* so that it also comes to sleeping threads */
	}
	return NULL;
}

static void every_job_runs(unsigned threads)
{
	pthread_t t, from[SUBMITTERS];
	struct pool *p = begin(&t, threads);
	for (int i = 0; i < SUBMITTERS; i++)
		pthread_create(&from[i], NULL, submit_jobs, p);
	for (int i = 0; i < SUBMITTERS; i++)
		pthread_join(from[i], NULL);
	reaches(&ran, SUBMITTERS * JOBS);
	is_int(atomic_load(&ran), SUBMITTERS * JOBS, "%u threads: each job that four threads submit runs", threads);
	ok(pool_threads(p) <= 2 * threads + threads / 4 + 2, "… with no more threads than allowed");
	end(p, t);
}

/* ---- one job at a time into an idle pool: each must wake somebody */

static void one_run(struct pool_item *it)
{
	struct thing *g = (struct thing *)it;
	if (g->turn++ % 3 == 0)
		pool_blocking(g->pool);
	atomic_fetch_add(&ran, 1);
}

static void each_wakes_somebody(void)
{
	pthread_t t;
	struct pool *p = begin(&t, THREADS);
	bool all = true;
	things[0].item.run = one_run;
	for (unsigned i = 0; i < 3000 && all; i++) {
		pool_submit(p, &things[0].item, i % POOL_RANKS);
		all = false;
		for (int64_t until = clock_mono() + PATIENCE_MS; !all && clock_mono() < until;)
			all = atomic_load(&ran) > i;
	}
	ok(all, "3000 times one job into an idle pool: it is run each time");
	end(p, t);
}

/* ---- readable, parked, seized */

enum { BYTES = 4000 };

static void reader_run(struct pool_item *it)
{
	struct thing *g = (struct thing *)it;
	char buf[16];
	enter(g);
	for (;;) {
		ssize_t n = read(g->fd, buf, sizeof buf);
		if (n > 0) {
			atomic_fetch_add(&got, (unsigned)n);
			if (g->turn++ % 37 == 0) {
				pool_blocking(g->pool);
				nap(100);
			}
			continue;
		}
		leave(g);
		if (pool_park(it))
			return;
		enter(g);
	}
}

static void pair(struct thing *g)
{
	int sv[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv) < 0)
		return;
	g->fd = sv[0];
	g->far = sv[1];
	fcntl(g->far, F_SETFL, 0);
	atomic_store(&g->item.ended, false);
	pool_item_parked(&g->item);
	pool_watch(g->pool, g->fd, &g->item);
}

struct part { unsigned from, to; };
static void *write_bytes(void *arg)
{
	const struct part *part = arg;
	for (unsigned n = 0; n < BYTES; n++)
		for (unsigned i = part->from; i < part->to; i++)
			if (write(things[i].far, "x", 1) != 1)
				return NULL;
	return NULL;
}

static _Atomic bool sweeping;
static void *sweep(void *arg) /* as conns_sweep does */
{
	while (atomic_load(&sweeping))
		for (int i = 0; i < THINGS; i++)
			if (pool_seize(&things[i].item)) {
				enter(&things[i]);
				leave(&things[i]);
				if (!pool_park(&things[i].item))
					pool_submit(arg, &things[i].item, POOL_CLIENT);
			}
	return NULL;
}

static void every_byte_is_read(void)
{
	pthread_t t, writers[4], sweeper;
	struct part parts[4];
	struct pool *p = begin(&t, THREADS);
	atomic_store(&sweeping, true);
	for (int i = 0; i < THINGS; i++) {
		things[i].item.run = reader_run;
		pair(&things[i]);
	}
	pthread_create(&sweeper, NULL, sweep, p);
	for (unsigned i = 0; i < 4; i++) {
		parts[i] = (struct part){ i * THINGS / 4, (i + 1) * THINGS / 4 };
		pthread_create(&writers[i], NULL, write_bytes, &parts[i]);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(writers[i], NULL);
	reaches(&got, THINGS * BYTES);
	is_int(atomic_load(&got), THINGS * BYTES, "64 sockets, four writers, one that seizes and parks: each byte is read");
	atomic_store(&sweeping, false);
	pthread_join(sweeper, NULL);
	is_int(atomic_load(&twice), 0, "no item runs in two threads at a time");
	end(p, t);
	for (int i = 0; i < THINGS; i++) {
		close(things[i].fd);
		close(things[i].far);
	}
}

/* ---- who always has something to do */

static void again_run(struct pool_item *it)
{
	struct thing *g = (struct thing *)it;
	atomic_fetch_add(&g->runs, 1);
	if (atomic_load(&sweeping))
		pool_submit(g->pool, it, POOL_CLIENT);
	else
		atomic_fetch_add(&ran, 1);
}

static void nobody_starves(void)
{
	pthread_t t;
	struct pool *p = begin(&t, THREADS);
	atomic_store(&sweeping, true);
	nap(100000); /* its first thread sleeps in epoll, and is the only one */
	for (int i = 0; i < 3; i++) {
		things[i].item.run = again_run;
		pool_submit(p, &things[i].item, POOL_CLIENT);
	}
	things[9].item.run = reader_run;
	pair(&things[9]);
	bool all = true;
	for (unsigned i = 0; i < 20 && all; i++)
		all = write(things[9].far, "x", 1) == 1 && reaches(&got, i + 1);
	ok(all, "items that come back at once, as a pipelining client's does, do not keep others from being read");
	unsigned was = atomic_load(&ticks);
	nap(2500000);
	ok(atomic_load(&ticks) > was, "… nor the tick, and with it signals and time-outs");
	for (int i = 0; i < 3; i++)
		ok(atomic_load(&things[i].runs) > 100, "… and they take turns");
	atomic_store(&sweeping, false);
	ok(reaches(&ran, 3), "and come to an end");
	end(p, t);
	close(things[9].fd);
	close(things[9].far);
}

/* ---- who waits for whom */

static _Atomic bool woken, moved;

static void wait_run(struct pool_item *it) /* as in a crowd: first for the head, then for the body */
{
	pool_blocking(((struct thing *)it)->pool);
	while (!atomic_load(&moved))
		nap(1000);
	atomic_fetch_add(&ran, 1);
}

static void move_run(struct pool_item *it)
{
	pool_blocking(((struct thing *)it)->pool);
	nap(10000);
	atomic_store(&moved, true);
	atomic_fetch_add(&ran, 1);
}

static void resumed_run(struct pool_item *it)
{
	atomic_store(&woken, true);
	pool_submit(((struct thing *)it)->pool, &things[THINGS - 1].item, POOL_JOB);
	wait_run(it);
}

static void none_waits_for_itself(void)
{
	pthread_t t;
	struct pool *p = begin(&t, 4);
	atomic_store(&woken, false);
	atomic_store(&moved, false);
	for (int i = 0; i < 40; i++) {
		things[i].item.run = wait_run;
		pool_submit(p, &things[i].item, POOL_CLIENT);
	}
	nap(50000);
	is_int(atomic_load(&ran), 0, "40 clients wait, more than there are threads");
	unsigned was = atomic_load(&ticks);
	nap(2500000);
	ok(atomic_load(&ticks) > was, "signals and time-outs are looked after all the same");
	things[THINGS - 1].item.run = move_run;
	for (int i = 40; i < 50; i++) {
		things[i].item.run = wait_run;
		pool_submit(p, &things[i].item, POOL_RESUMED);
	}
	things[50].item.run = resumed_run;
	pool_submit(p, &things[50].item, POOL_CLIENT); /* behind all of them */
	nap(50000);
	ok(!atomic_load(&woken), "who comes last waits, too");
	pool_submit(p, &things[THINGS - 1].item, POOL_JOB);
	reaches(&ran, 52);
	nap(20000); /* things[50] submits the job again */
	is_int(atomic_load(&ran), 53, "what they wait for has a thread left: all come to an end");
	end(p, t);
}

/* ---- slots change owners */

static void owner_run(struct pool_item *it)
{
	struct thing *g = (struct thing *)it;
	char c;
	enter(g);
	for (;;) {
		ssize_t n = read(g->fd, &c, 1);
		if (n == 0) { /* as conn_close does */
			it->generation++;
			close(g->fd);
			leave(g);
			atomic_fetch_add(&ran, 1);
			return;
		}
		if (n > 0) {
			atomic_fetch_add(&got, 1);
			continue;
		}
		leave(g);
		if (pool_park(it))
			return;
		enter(g);
	}
}

static void owners_change(void)
{
	pthread_t t;
	struct pool *p = begin(&t, THREADS);
	unsigned rounds = 200, early = 0;
	for (unsigned r = 0; r < rounds; r++) {
		for (int i = 0; i < THINGS; i++) {
			things[i].item.run = owner_run;
			pair(&things[i]);
		}
		for (int i = 0; i < THINGS; i++) { /* two events: the second may come when the first one's run has closed it */
			if (write(things[i].far, "x", 1) != 1)
				early++;
			close(things[i].far);
		}
		if (!reaches(&ran, (r + 1) * THINGS))
			break;
	}
	is_int(atomic_load(&ran), rounds * THINGS, "200 owners of each of 64 slots: each sees its end, once");
	is_int(atomic_load(&got), rounds * THINGS, "… and its byte");
	is_int(early, 0, "… and no other's end");
	is_int(atomic_load(&twice), 0, "no item runs in two threads at a time");
	end(p, t);
}

int main(void)
{
	every_job_runs(1);
	every_job_runs(2);
	every_job_runs(THREADS);
	each_wakes_somebody();
	every_byte_is_read();
	owners_change();
	nobody_starves();
	none_waits_for_itself();
	return done_testing();
}
