/* Between real processes: what counts is that others see it, and what is left when one is killed. */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/shm.h"

static struct shared {
	struct shm_lock lock;
	shm_event event, held;
	uint64_t count;
} *shared;

static void *
add_many(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20000; i++) {
		shm_lock(&shared->lock);
		shared->count++;
		shm_unlock(&shared->lock);
	}
	return NULL;
}

static void
locking(void)
{
	pthread_t threads[2];
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		add_many(NULL);
		_exit(0);
	}
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, add_many, NULL);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	waitpid(pid, &status, 0);
	is_int(shared->count, 60000, "threads of two processes never lose a step");

	pid = fork();
	if (pid == 0) {
		shm_lock(&shared->lock);
		shm_wake_all(&shared->held);
		pause();
		_exit(0);
	}
	while (atomic_load(&shared->held) == 0)
		shm_wait(&shared->held, 0, clock_mono() + 5000);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	is_int(shm_lock(&shared->lock), -ERR_CORRUPT, "a holder that was killed leaves the lock to the next, who is told");
	shm_unlock(&shared->lock);
	is_int(shm_lock(&shared->lock), 0, "and after that it is as new");
	shm_unlock(&shared->lock);
}

static void
events(void)
{
	int64_t start = clock_mono(), took;
	uint32_t seen = atomic_load(&shared->event);
	pid_t pid;
	int r, status;

	is_int(shm_wait(&shared->event, seen, start + 30), -ERR_TIMEOUT, "a wait ends at its deadline");
	took = clock_mono() - start;
	ok(took >= 30 && took < 2000, "not before and not long after (%d ms)", (int)took);
	is_int(shm_wait(&shared->event, seen, start), -ERR_TIMEOUT, "a deadline that has passed");
	is_int(shm_wait(&shared->event, seen, -1), -ERR_TIMEOUT, "before time began");
	is_int(shm_wait(&shared->event, seen + 1, NEVER), 0, "a word that has changed is not waited for");
	is_int(shm_wait(&shared->event, seen + 1, 0), 0, "not even when it is too late");

	pid = fork();
	if (pid == 0) {
		usleep(20000);
		shm_wake_all(&shared->event);
		_exit(0);
	}
	for (r = 0; r == 0 && atomic_load(&shared->event) == seen;)
		r = shm_wait(&shared->event, seen, clock_mono() + 5000);
	is_int(r, 0, "another process wakes us");
	waitpid(pid, &status, 0);
}

static void
clocks(void)
{
	ok(clock_wall() > 1700000000000, "the wall clock counts ms of the epoch");
	is_int(clock_left(NEVER), -1, "no deadline is -1 for poll(2)");
	is_int(clock_left(0), 0, "one that has passed is 0");
	ok(clock_left(clock_mono() + 1000) > 900, "one to come is what is left");
	is_int(clock_left(NEVER - 1), INT32_MAX, "a far one fits an int");
}

int
main(void)
{
	shared = shm_map(sizeof *shared);
	ok(shared->count == 0 && shared->event == 0, "shared memory is clean");
	char *huge = shm_map((size_t)1 << 36);
	huge[((size_t)1 << 36) - 1] = 1;
	ok(huge[(size_t)1 << 35] == 0, "64 GiB of addresses cost what is used of them");
	shm_lock_init(&shared->lock);
	locking();
	events();
	clocks();
	return done_testing();
}
