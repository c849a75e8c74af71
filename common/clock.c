#include <limits.h>
#include <time.h>

#include "clock.h"

static int64_t
now_ms(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t
clock_wall(void)
{
	return now_ms(CLOCK_REALTIME);
}

int64_t
clock_mono(void)
{
	return now_ms(CLOCK_MONOTONIC);
}

int
clock_left(int64_t deadline)
{
	int64_t left;

	if (deadline == NEVER)
		return -1;
	left = deadline - clock_mono();
	return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}
