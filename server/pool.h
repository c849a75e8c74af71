/* pool.h - a worker's handler threads and its epoll: leader and followers.
 * One thread at a time waits in epoll; it takes a batch of what is ready and handles it itself, one after the other, with no hand-over at
 * all. Whoever is about to block or to take long says so (pool_blocking), and another thread goes on with the rest and with epoll.
 * So a busy worker whose requests do not block runs on one thread, and one with 500 slow downloads on 500.
 * Threads are made on demand up to a maximum and leave after POOL_IDLE_MS. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool;
/* Clients wait for bodies that jobs move, and in a crowd for a request that has rested. So each of these has threads of its own when those
 * before it have taken all of theirs, and comes first: who is further down this list never waits for a thread that is further up. */
enum pool_rank { POOL_CLIENT, POOL_RESUMED, POOL_JOB, POOL_RANKS };
/* Anything that can become ready: embed it. One run at a time: an event that comes while it runs makes it run once more (pool_park). */
struct pool_item {
	struct pool_item *next;
	void (*run)(struct pool_item *);
	_Atomic int state;       /* enum in pool.c */
	_Atomic bool ended;      /* the peer will send no more (or the socket broke): seen by an event */
	bool listening;          /* set by pool_listen */
	_Atomic uint32_t generation; /* bumped when the item is given to another owner: events of the earlier one are ignored */
};
struct pool_options {
	unsigned threads_max; /* for POOL_CLIENT; a quarter more for POOL_RESUMED, as many again for POOL_JOB, and the one in epoll */
	size_t stack;
	void (*thread_start)(void *arg, unsigned number); /* in each new thread, may be NULL */
	void (*thread_end)(void *arg, unsigned number);
	void (*tick)(void *arg); /* about once a second, in the polling thread */
	void (*accept)(void *arg, struct pool_item *); /* a listening item is ready; in the polling thread, must not block */
	void *arg;
	struct pool_item *items; /* the array that events name by index; item_size apart */
	size_t item_size;
	unsigned items_n;
};
struct pool *pool_new(const struct pool_options *);
void pool_run(struct pool *);                       /* the calling thread becomes the first handler; returns after pool_stop */
void pool_stop(struct pool *);
/* An eventfd: who writes to it (a signal handler) makes the tick run at once. */
int pool_wakefd(struct pool *);
/* Edge-triggered readability of fd runs the item. The caller owns the running item until pool_park or pool_release. */
int pool_watch(struct pool *, int fd, struct pool_item *);
void pool_unwatch(struct pool *, int fd); /* before the fd goes to another owner */
/* A listening socket: shared with other processes without a thundering herd. The pool calls accept() for it. */
int pool_listen(struct pool *, int fd, struct pool_item *);
void pool_unlisten(struct pool *, int fd);
/* The item has nothing to do until its fd is readable again. false: an event came meanwhile, go on running. */
bool pool_park(struct pool_item *);
void pool_item_parked(struct pool_item *); /* a new owner's item, before pool_watch */
bool pool_is_parked(struct pool_item *);   /* just now: for statistics */
/* Takes a parked item for oneself (time-outs): true when it was parked and is now running by the caller. */
bool pool_seize(struct pool_item *);
/* Runs it as soon as a thread is there: one that is running and comes back, the one in epoll, or another. From any thread. For jobs, and
 * for items that the caller owns (is running). */
void pool_submit(struct pool *, struct pool_item *, enum pool_rank);
/* The calling handler is about to wait or to work for long: others take over the queue and epoll. Nothing in a thread that runs no item. */
void pool_blocking(struct pool *);
/* Are there threads left for something that could as well not be done? */
bool pool_spare(struct pool *);
unsigned pool_threads(struct pool *);
