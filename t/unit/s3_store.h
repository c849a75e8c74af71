/* A store of a test's own, in a folder that goes with the process. */
#pragma once
#include "s3/chunks.h"
#include <stdlib.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static char store_dir[64];
static pid_t store_owner;

static inline void
store_remove(void)
{
	char cmd[128];

	if (getpid() != store_owner)
		return;
	snprintf(cmd, sizeof cmd, "rm -rf '%s'", store_dir);
	if (system(cmd) != 0)
		perror(cmd);
}

static inline const char *
store_make(void)
{
	const char *base = getenv("STORE_BASE"); /* to measure a real disk */

	snprintf(store_dir, sizeof store_dir, "%s/s3-unit-XXXXXX", base ? base : access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (mkdtemp(store_dir) == NULL) {
		perror(store_dir);
		exit(1);
	}
	store_owner = getpid();
	atexit(store_remove);
	return store_dir;
}

static inline struct chunks *__attribute__((unused))
store_open(size_t hot)
{
	struct chunks *s;

	if (chunks_open(&s, &(struct chunks_options){ .dir = store_dir, .hot_bytes = hot, .hot_max = 64 * 1024, .fds = 64 }) < 0)
		exit(1);
	return s;
}

/* bytes that no two places have in common, so that a wrong offset shows */
static inline unsigned char
byte_at(uint64_t off, unsigned seed)
{
	uint64_t x = (off / 8 + 1) * 0x9e3779b97f4a7c15u + seed;
	x ^= x >> 29;
	return (unsigned char)(x >> (off % 8 * 8));
}

static inline void __attribute__((unused))
bytes_make(unsigned char *p, uint64_t off, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = byte_at(off + i, seed);
}

static inline bool __attribute__((unused))
bytes_right(const void *p, uint64_t off, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		if (((const unsigned char *)p)[i] != byte_at(off + i, seed))
			return false;
	return true;
}
