/* progress.h - a line on a terminal that says how far something is: standard error, when that is a terminal; otherwise nothing. One thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool on;
	int64_t shown, last;       /* when */
	uint64_t bytes, rate;      /* then; smoothed, a second */
	bool line;                 /* there is one on the terminal */
};
void progress_begin(struct progress *);
/* what: before the bar. done of total (UINT64_MAX: nobody knows), or, with bytes only counted: parts of a whole of another kind. Shows it four times
 * a second at most. tail: behind it */
void progress_show(struct progress *, const char *what, uint64_t done, uint64_t total, uint64_t bytes, const char *tail, int64_t now);
void progress_clear(struct progress *); /* before other text, and at the end */
void size_text(uint64_t bytes, char out[16]); /* "1.5 MiB" */
