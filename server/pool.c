/* pool.c - see pool.h */
#include "pool.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "../common/arena.h"
#include "../common/clock.h"
#include "../common/counters.h"
#include "../common/err.h"
#include "../common/log.h"
#include "../common/shm.h"

enum { ITEM_RUNNING, ITEM_PARKED, ITEM_RUNNING_EVENT }; /* zeroed memory is nobody's to take */
enum { BATCH = 64 };            /* events taken at once: the more, the fewer system calls under load */
#define POOL_IDLE_MS 5000       /* long enough to outlive a burst's pauses, short enough to give its stacks back */
#define POLL_MS 1000            /* the tick */
#define WAKE UINT64_MAX         /* the names of wakefd and callfd among the events */
#define CALL (UINT64_MAX - 1)

/* A thread with nothing to do, on the pool's stack: the one that came last is the warmest and is called first. Whoever calls it has
 * already decided what it does, so that it need not take the lock to find out. */
struct idler {
	struct idler *below;
	shm_event called;
	enum { ROLE_NONE, ROLE_LOOK, ROLE_POLL, ROLE_RUN } role;
	struct pool_item *item;     /* ROLE_RUN */
};

struct pool {
	struct pool_options o;
	int epfd, wakefd, callfd;   /* a signal was caught; there is something in the queue */
	pthread_mutex_t lock;
	struct idler *idlers;
	struct queue { struct pool_item *first, **last; } queues[POOL_RANKS];
	unsigned busy, busy_max[POOL_RANKS]; /* threads that run an item, blocked or not; how many may when one of that rank is taken */
	unsigned threads, numbers_n;
	unsigned running;           /* threads that run an item and have not said that they block, or are being made: they come and see the queue */
	unsigned since_poll;        /* items taken off the queue since epoll was last looked at */
	uint8_t *numbers;           /* which thread numbers are taken */
	bool polling, stop;
	_Atomic int64_t next_tick;
};

static void *thread_main(void *);

struct pool *pool_new(const struct pool_options *o)
{
	struct pool *p = xcalloc(1, sizeof *p);
	p->o = *o;
	p->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (p->epfd < 0)
		die(71, "epoll_create1: %s", strerror(errno));
	p->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.u64 = WAKE };
	p->callfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct epoll_event call = { .events = EPOLLIN | EPOLLET, .data.u64 = CALL };
	if (p->wakefd < 0 || p->callfd < 0 || epoll_ctl(p->epfd, EPOLL_CTL_ADD, p->wakefd, &ev) < 0 || epoll_ctl(p->epfd, EPOLL_CTL_ADD, p->callfd, &call) < 0)
		die(71, "eventfd: %s", strerror(errno));
	pthread_mutex_init(&p->lock, NULL);
	for (int r = 0; r < POOL_RANKS; r++)
		p->queues[r].last = &p->queues[r].first;
	p->busy_max[POOL_CLIENT] = o->threads_max;
	p->busy_max[POOL_RESUMED] = p->busy_max[POOL_CLIENT] + o->threads_max / 4 + 1;
	p->busy_max[POOL_JOB] = p->busy_max[POOL_RESUMED] + o->threads_max;
	p->numbers_n = p->busy_max[POOL_JOB] + 1;
	p->numbers = xcalloc(p->numbers_n, 1);
	return p;
}

/* Events name items by index and generation, so that a late one for a connection that is gone hits nobody. */
static uint64_t item_name(struct pool *p, struct pool_item *it)
{
	size_t index = (size_t)((char *)it - (char *)p->o.items) / p->o.item_size;
	return (uint64_t)it->generation << 32 | index;
}

static struct pool_item *item_at(struct pool *p, uint32_t index)
{
	return (struct pool_item *)((char *)p->o.items + index * p->o.item_size);
}

int pool_watch(struct pool *p, int fd, struct pool_item *it)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.u64 = item_name(p, it) };
	return epoll_ctl(p->epfd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -ERR_SYSTEM : 0;
}

int pool_listen(struct pool *p, int fd, struct pool_item *it)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLEXCLUSIVE, .data.u64 = item_name(p, it) };
	it->listening = true;
	return epoll_ctl(p->epfd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -ERR_SYSTEM : 0;
}

void pool_unwatch(struct pool *p, int fd) { epoll_ctl(p->epfd, EPOLL_CTL_DEL, fd, NULL); }
void pool_unlisten(struct pool *p, int fd) { epoll_ctl(p->epfd, EPOLL_CTL_DEL, fd, NULL); }

bool pool_park(struct pool_item *it)
{
	int expect = ITEM_RUNNING;
	if (atomic_compare_exchange_strong(&it->state, &expect, ITEM_PARKED))
		return true;
	atomic_store(&it->state, ITEM_RUNNING); /* an event came: it is used up by going on */
	return false;
}

void pool_item_parked(struct pool_item *it) { atomic_store(&it->state, ITEM_PARKED); }
bool pool_is_parked(struct pool_item *it) { return atomic_load_explicit(&it->state, memory_order_relaxed) == ITEM_PARKED; }

bool pool_seize(struct pool_item *it)
{
	int expect = ITEM_PARKED;
	return atomic_compare_exchange_strong(&it->state, &expect, ITEM_RUNNING);
}

static void enqueue(struct pool *p, struct pool_item *it, enum pool_rank rank) /* with the lock */
{
	struct queue *q = &p->queues[rank];
	it->next = NULL;
	*q->last = it;
	q->last = &it->next;
	if (p->busy >= p->busy_max[rank])
		count(COUNT_threads_limited);
}

static bool spawn(struct pool *p) /* with the lock */
{
	if (p->threads >= p->numbers_n || p->stop)
		return false;
	pthread_attr_t attr;
	pthread_t t;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, p->o.stack);
	p->threads++;
	int r = pthread_create(&t, &attr, thread_main, p);
	pthread_attr_destroy(&attr);
	if (r != 0) {
		p->threads--;
		return false;
	}
	p->running++;
	count(COUNT_threads);
	return true;
}

/* The queue whose turn it is; NULL: there is nothing that may be run now. With the lock. */
static struct queue *runnable(struct pool *p)
{
	for (int r = POOL_RANKS - 1; r >= 0; r--)
		if (p->queues[r].first != NULL && p->busy < p->busy_max[r])
			return &p->queues[r];
	return NULL;
}

static struct pool_item *dequeue(struct pool *p) /* with the lock; the caller runs it */
{
	struct queue *q = runnable(p);
	if (q == NULL)
		return NULL;
	struct pool_item *it = q->first;
	if ((q->first = it->next) == NULL)
		q->last = &q->first;
	p->since_poll++;
	p->busy++;
	p->running++;
	return it;
}

static _Thread_local bool inside; /* this thread runs an item */
static _Thread_local bool blocks; /* … and has said that it blocks: it is not among the running */

/* Somebody shall look after queue and epoll. With the lock; the idler is to be woken without it. */
static struct idler *call_somebody(struct pool *p)
{
	struct idler *w = p->idlers;
	if (p->running > 0)
		return NULL; /* it comes back in a moment, which is cheaper than waking one */
	if (w != NULL) {
		p->idlers = w->below;
		if ((w->item = dequeue(p)) != NULL)
			w->role = ROLE_RUN;
		else if (!p->polling) {
			p->polling = true;
			w->role = ROLE_POLL;
		} else
			w->role = ROLE_LOOK;
		return w;
	}
	if (!spawn(p) && p->polling && runnable(p) != NULL) /* the last one that is free sleeps in epoll */
		eventfd_write(p->callfd, 1);
	return NULL;
}

static void unlock_and_wake(struct pool *p, struct idler *w)
{
	pthread_mutex_unlock(&p->lock);
	if (w != NULL)
		thread_wake_all(&w->called);
}

int pool_wakefd(struct pool *p) { return p->wakefd; }

void pool_submit(struct pool *p, struct pool_item *it, enum pool_rank rank)
{
	pthread_mutex_lock(&p->lock);
	enqueue(p, it, rank);
	if (p->polling && p->running == 0) { /* the one in epoll takes it, and epoll again if it must */
		pthread_mutex_unlock(&p->lock);
		eventfd_write(p->callfd, 1);
	} else
		unlock_and_wake(p, call_somebody(p));
}

void pool_blocking(struct pool *p)
{
	if (!inside)
		return;
	pthread_mutex_lock(&p->lock);
	if (!blocks) {
		blocks = true;
		p->running--;
	}
	unlock_and_wake(p, !p->polling || runnable(p) != NULL ? call_somebody(p) : NULL);
}

bool pool_spare(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	bool spare = p->busy < p->o.threads_max - p->o.threads_max / 4;
	pthread_mutex_unlock(&p->lock);
	return spare;
}

unsigned pool_threads(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	unsigned n = p->threads;
	pthread_mutex_unlock(&p->lock);
	return n;
}

static void poll_once(struct pool *p) /* called and left with the lock; p->polling is ours */
{
	struct epoll_event ev[BATCH];
	int wait_ms = runnable(p) == NULL ? POLL_MS : 0;
	p->since_poll = 0;
	pthread_mutex_unlock(&p->lock);
	int n = epoll_wait(p->epfd, ev, BATCH, wait_ms);
	bool woken = false;
	for (int i = 0; i < n; i++)
		woken |= ev[i].data.u64 == WAKE;
	int64_t now = clock_mono(), due = atomic_load_explicit(&p->next_tick, memory_order_relaxed);
	if ((woken || now >= due) && atomic_compare_exchange_strong(&p->next_tick, &due, now + POLL_MS) && p->o.tick)
		p->o.tick(p->o.arg);
	/* New connections first: what they have sent is in the next batch. No other thread polls meanwhile, so the event is not seen twice. */
	for (int i = 0; i < n; i++) {
		uint32_t index = (uint32_t)ev[i].data.u64;
		if (ev[i].data.u64 < CALL && index < p->o.items_n && item_at(p, index)->listening)
			p->o.accept(p->o.arg, item_at(p, index));
	}
	pthread_mutex_lock(&p->lock);
	for (int i = 0; i < n; i++) {
		uint32_t index = (uint32_t)ev[i].data.u64, generation = (uint32_t)(ev[i].data.u64 >> 32);
		if (ev[i].data.u64 >= CALL || index >= p->o.items_n)
			continue;
		struct pool_item *it = item_at(p, index);
		if (it->listening || atomic_load(&it->generation) != generation)
			continue;
		if (ev[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
			atomic_store(&it->ended, true);
		int state = atomic_load(&it->state);
		for (;;) {
			if (state == ITEM_PARKED) {
				if (atomic_compare_exchange_weak(&it->state, &state, ITEM_RUNNING)) {
					enqueue(p, it, POOL_CLIENT);
					break;
				}
			} else if (state == ITEM_RUNNING) {
				if (atomic_compare_exchange_weak(&it->state, &state, ITEM_RUNNING_EVENT))
					break;
			} else
				break;
		}
	}
}

/* Called without the lock, by one that is counted as running; left with the lock, and not counted. */
static void run_item(struct pool *p, struct pool_item *it)
{
	count(COUNT_threads_busy);
	inside = true;
	it->run(it);
	inside = false;
	count_sub(COUNT_threads_busy, 1);
	pthread_mutex_lock(&p->lock);
	p->busy--;
	if (!blocks)
		p->running--;
	blocks = false;
}

/* Waits to be called, for POOL_IDLE_MS. Called with the lock, left without it. ROLE_NONE: nobody called. */
static void idle(struct pool *p, struct idler *me)
{
	int64_t until = clock_mono() + POOL_IDLE_MS;
	int r = 0;
	*me = (struct idler){ .below = p->idlers };
	p->idlers = me;
	pthread_mutex_unlock(&p->lock);
	while (atomic_load(&me->called) == 0 && r != -ERR_TIMEOUT)
		r = thread_wait(&me->called, 0, until);
	if (atomic_load(&me->called) != 0)
		return;
	pthread_mutex_lock(&p->lock);
	struct idler **at = &p->idlers;
	while (*at != NULL && *at != me)
		at = &(*at)->below;
	if (*at == me) {
		*at = me->below;
		pthread_mutex_unlock(&p->lock);
		return;
	}
	pthread_mutex_unlock(&p->lock); /* called in this very moment: the word comes, and the caller still looks at it */
	while (atomic_load(&me->called) == 0)
		thread_wait(&me->called, 0, NEVER);
}

static void thread_loop(struct pool *p)
{
	struct idler me;
	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		/* items that come back at once (a client that pipelines without end) never let the queue run dry: epoll has its turn all the same */
		struct pool_item *it = p->since_poll < BATCH || p->polling ? dequeue(p) : NULL;
		if (it != NULL) {
			pthread_mutex_unlock(&p->lock);
			run_item(p, it);
		} else if (!p->polling) {
			p->polling = true;
			poll_once(p);
			p->polling = false;
		} else {
			idle(p, &me);
			if (me.role == ROLE_RUN)
				run_item(p, me.item);
			else
				pthread_mutex_lock(&p->lock);
			if (me.role == ROLE_POLL) {
				poll_once(p);
				p->polling = false;
			} else if (me.role == ROLE_NONE && runnable(p) == NULL && p->polling)
				break;
		}
	}
	pthread_mutex_unlock(&p->lock);
}

static unsigned take_number(struct pool *p)
{
	unsigned n = 0;
	pthread_mutex_lock(&p->lock);
	while (n < p->numbers_n - 1 && p->numbers[n])
		n++;
	p->numbers[n] = 1;
	pthread_mutex_unlock(&p->lock);
	return n;
}

static void *thread_main(void *arg)
{
	struct pool *p = arg;
	unsigned number = take_number(p);
	if (p->o.thread_start)
		p->o.thread_start(p->o.arg, number);
	pthread_mutex_lock(&p->lock);
	p->running--; /* it was on its way (spawn) */
	pthread_mutex_unlock(&p->lock);
	thread_loop(p);
	if (p->o.thread_end)
		p->o.thread_end(p->o.arg, number);
	pthread_mutex_lock(&p->lock);
	p->numbers[number] = 0;
	p->threads--;
	pthread_mutex_unlock(&p->lock);
	count_sub(COUNT_threads, 1);
	return NULL;
}

void pool_run(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->threads++;
	pthread_mutex_unlock(&p->lock);
	count(COUNT_threads);
	unsigned number = take_number(p);
	if (p->o.thread_start)
		p->o.thread_start(p->o.arg, number);
	while (!p->stop)
		thread_loop(p); /* the first thread never idles away */
}

void pool_stop(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	for (struct idler *w; (w = p->idlers) != NULL;) {
		p->idlers = w->below;
		w->role = ROLE_LOOK;
		thread_wake_all(&w->called); /* with the lock: it must not be gone before the next is taken */
	}
	pthread_mutex_unlock(&p->lock);
	eventfd_write(p->wakefd, 1);
}
