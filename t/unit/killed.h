/* killed.h - a process that is killed after so many instructions, critical sections and all, as a debugger steps it: a dozen times for each
 * operation, evenly spread, or as often as the environment's KILLS says. Stepping is slow, and a sanitizer's instructions are many: fewer times there. */
#pragma once
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../common/sandbox.h"

#define KILLED_TRIALS (SANITIZED ? 2 : 12)
#define KILLED_MOST 2000000 /* instructions of an operation */

typedef void killed_f(void *arg);

/* Runs op in a child, for at most so many instructions; then it is killed. How many it had; -1: processes may not be traced here. */
static inline long killed_after(killed_f *op, void *arg, long steps)
{
	int status;
	long n = 0;
	pid_t pid = fork();
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(2);
		raise(SIGSTOP);
		op(arg);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		return -1;
	for (; n < steps; n++)
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
			return n;
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return n;
}

/* Kills op again and again, always a few instructions later, and asks after each time whether all is well. How many times that was so in a
 * row; *kills: of how many. */
static inline long killed_everywhere(killed_f *op, void *arg, bool (*well)(void *arg), long *kills)
{
	const long all = killed_after(op, arg, KILLED_MOST), wanted = getenv("KILLS") != NULL ? strtol(getenv("KILLS"), NULL, 10) : KILLED_TRIALS;
	long good = all >= 0 && well(arg);
	*kills = 1;
	for (long at = 1, stride = wanted > 0 && wanted < all ? all / wanted : 1; good == *kills && at < all; at += stride) {
		++*kills;
		killed_after(op, arg, at);
		good += well(arg);
	}
	return good;
}
