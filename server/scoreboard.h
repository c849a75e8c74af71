/* scoreboard.h - what every process and handler thread is doing, in shared memory: ps, panic, /debug and SIGUSR1 show it. */
#pragma once
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SCORE_PROCS 160
#define SCORE_THREADS 64     /* handler threads shown a process; more work unseen */
#define SCORE_RESTING 64     /* the same for requests that rest until their origin answers; looked at about once a second */

struct score_thread {
	_Atomic int step;         /* enum req_step, -1 idle */
	_Atomic int64_t since;    /* wall, ms */
	char what[120];           /* host and path as text; torn reads are possible and harmless: it is always terminated by its last byte */
};
struct score_proc {
	_Atomic pid_t pid;        /* 0 free */
	char title[24];
	_Atomic int64_t started;
	_Atomic uint32_t restarts;
	struct score_thread threads[SCORE_THREADS];
	struct score_thread resting[SCORE_RESTING]; /* step -1: no more */
};
struct scoreboard { struct score_proc procs[SCORE_PROCS]; };
static inline size_t scoreboard_size(void) { return sizeof(struct scoreboard); }
