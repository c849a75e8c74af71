/* commitwait.c - see commitwait.h */
#include "commitwait.h"
#include <time.h>

#define NAP_MS 4
#define NAPS 250

bool commit_wait(bool (*done)(void *arg), void *arg)
{
	const struct timespec nap = { 0, NAP_MS * 1000000 };
	for (int i = 0; i < NAPS; i++) {
		if (done(arg))
			return true;
		nanosleep(&nap, NULL);
	}
	return false;
}
