/* Counters: rows add up, a dead process's gauges go, and nothing is lost between threads. */
#include "tap.h"
#include "../../common/counters.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, ROUNDS = 20000 };

static void *
worker(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		count(COUNT_requests);
		count_add(COUNT_bytes_sent, 3);
		count(COUNT_threads_busy);
		count_sub(COUNT_threads_busy, 1);
	}
	return NULL;
}

int
main(void)
{
	count(COUNT_requests);
	is_int(counters_row[COUNT_requests], 1, "before a row is taken, counts go to a private one");

	void *shm = mmap(NULL, counters_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct counters *c = counters_init(shm);
	for (unsigned i = 0; i < COUNT_MAX; i++)
		if (counters_get(c, i) != 0)
			ok(0, "%s begins at 0", counter_table[i].name);
	counters_use(c, 0);
	uintptr_t first = (uintptr_t)counters_row;
	counters_use(c, 1);
	ok(first % 64 == 0 && (uintptr_t)counters_row % 64 == 0, "rows begin at a cache line");
	ok((uintptr_t)counters_row - first >= COUNT_MAX * sizeof(uint64_t), "rows do not overlap");
	counters_use(c, COUNTERS_ROWS - 1);
	ok((uintptr_t)(counters_row + COUNT_MAX) <= (uintptr_t)shm + counters_size(), "the last row is inside");

	counters_use(c, 0);
	pthread_t t[THREADS];
	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, worker, NULL);
	for (int i = 0; i < 100; i++)
		counters_get(c, COUNT_requests); /* a reader meanwhile: the thread sanitizer looks on */
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	is_int(counters_get(c, COUNT_requests), THREADS * ROUNDS, "threads lose no count");
	is_int(counters_get(c, COUNT_bytes_sent), 3 * THREADS * ROUNDS, "count_add loses none");
	is_int(counters_get(c, COUNT_threads_busy), 0, "a gauge goes up and down");

	pid_t pid = fork();
	if (pid == 0) {
		counters_use(c, 7);
		count_add(COUNT_requests, 5);
		count_add(COUNT_connections_open, 9);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	is_int(counters_get(c, COUNT_requests), THREADS * ROUNDS + 5, "another process's row is added");
	is_int(counters_get(c, COUNT_connections_open), 9, "its gauges too");
	counters_bury(c, 7);
	is_int(counters_get(c, COUNT_connections_open), 0, "a dead process holds nothing");
	is_int(counters_get(c, COUNT_requests), THREADS * ROUNDS + 5, "but what it counted stays");
	count_sub(COUNT_connections_open, 1);
	is_int(counters_get(c, COUNT_connections_open), 0, "a gauge is never shown below zero");

	for (unsigned i = 0; i < COUNT_MAX; i++) {
		const struct counter_info *one = &counter_table[i];
		bool good = *one->help && (!strcmp(one->kind, "counter") || !strcmp(one->kind, "gauge"));
		for (unsigned k = 0; k < i; k++)
			good &= strcmp(one->name, counter_table[k].name) != 0;
		for (const char *p = one->name; *p; p++)
			good &= (*p >= 'a' && *p <= 'z') || *p == '_';
		ok(good, "%s is a valid row: unique, a Prometheus name, a kind, a text", one->name);
	}
	munmap(shm, counters_size());
	return done_testing();
}
