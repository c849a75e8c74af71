/* clock.h - time in one unit: milliseconds in an int64_t. wall: since the epoch, for stored things and HTTP dates;
 * mono: for deadlines. A deadline is mono time; NEVER means no limit. */
#pragma once
#include <stdint.h>
#define NEVER INT64_MAX
int64_t clock_wall(void);
int64_t clock_mono(void);
int clock_left(int64_t deadline);  /* ms until deadline for poll(2): 0 when passed, -1 for NEVER */
