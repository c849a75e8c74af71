/* shm.h - memory that all processes share: mapped by the master before it forks, never moved, no pointers in it.
 * Futex words and locks in it are process-shared. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

void *shm_map(size_t n);      /* anonymous, shared, zeroed, NORESERVE; die()s when there is none */

/* A futex word: counts events. Waiter: v = load; check the condition; shm_wait(w, v, deadline). */
typedef _Atomic uint32_t shm_event;
/* 0 woken or changed (check again), -ERR_TIMEOUT. deadline: clock.h */
int shm_wait(shm_event *, uint32_t seen, int64_t deadline);
void shm_wake_all(shm_event *); /* adds one and wakes */
/* The same between threads of one process, which is cheaper: the word must not be shared with others. */
int thread_wait(shm_event *, uint32_t seen, int64_t deadline);
void thread_wake_all(shm_event *);

/* A robust mutex: a holder that dies leaves it to the next, who is told by -ERR_CORRUPT from lock (and holds it). */
struct shm_lock { pthread_mutex_t m; };
void shm_lock_init(struct shm_lock *);
int shm_lock(struct shm_lock *);   /* 0, or -ERR_CORRUPT: the last holder died inside; held either way */
void shm_unlock(struct shm_lock *);
