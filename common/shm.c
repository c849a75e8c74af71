#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "err.h"
#include "log.h"
#include "shm.h"

void *
shm_map(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		die(1, "%zu bytes of shared memory cannot be had: %s", n, strerror(errno));
	return p;
}

_Static_assert(sizeof(shm_event) == 4, "the kernel's futex word");

/* private: FUTEX_PRIVATE_FLAG, or 0 where other processes wake us */
static int
wait_on(shm_event *word, uint32_t seen, int64_t deadline, int private)
{
	/* WAIT_BITSET takes the moment, not a duration: no time is lost between looking at the clock and the call. */
	struct timespec at = { .tv_sec = deadline / 1000, .tv_nsec = deadline % 1000 * 1000000 };

	if (deadline <= 0) /* long ago; the kernel refuses negative times */
		return atomic_load(word) != seen ? 0 : -ERR_TIMEOUT;
	if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET | private, seen, deadline == NEVER ? NULL : &at, NULL, FUTEX_BITSET_MATCH_ANY) < 0 &&
	    errno == ETIMEDOUT)
		return -ERR_TIMEOUT;
	return 0; /* woken, changed before we slept (EAGAIN), or a signal: the caller looks again */
}

static void
wake(shm_event *word, int private)
{
	atomic_fetch_add(word, 1);
	syscall(SYS_futex, word, FUTEX_WAKE | private, INT_MAX, NULL, NULL, 0);
}

int shm_wait(shm_event *word, uint32_t seen, int64_t deadline) { return wait_on(word, seen, deadline, 0); }
void shm_wake_all(shm_event *word) { wake(word, 0); }
int thread_wait(shm_event *word, uint32_t seen, int64_t deadline) { return wait_on(word, seen, deadline, FUTEX_PRIVATE_FLAG); }
void thread_wake_all(shm_event *word) { wake(word, FUTEX_PRIVATE_FLAG); }

void
shm_lock_init(struct shm_lock *l)
{
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	INVARIANT(pthread_mutex_init(&l->m, &a) == 0);
	pthread_mutexattr_destroy(&a);
}

int
shm_lock(struct shm_lock *l)
{
	int r = pthread_mutex_lock(&l->m);

	if (r == EOWNERDEAD) {
		INVARIANT(pthread_mutex_consistent(&l->m) == 0);
		return -ERR_CORRUPT;
	}
	INVARIANT(r == 0);
	return 0;
}

void
shm_unlock(struct shm_lock *l)
{
	INVARIANT(pthread_mutex_unlock(&l->m) == 0);
}
