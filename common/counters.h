/* counters.h - counters in shared memory: a row a process, so that nobody shares a cache line; readers add the rows up.
 * Any thread may count. A process's gauges are cleared when it has died (counters_bury). */
#pragma once
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum counter {
#define COUNTER(name, kind, help) COUNT_##name,
#include "tbl/counters.h"
	COUNT_MAX
};
#define COUNTERS_ROWS 160
struct counters;
size_t counters_size(void);
struct counters *counters_init(void *shm);                /* before fork */
void counters_use(struct counters *, unsigned row);       /* this process's row; before it, counts go to a private one */
extern _Atomic uint64_t *counters_row;
static inline void count_add(enum counter c, uint64_t n) { atomic_fetch_add_explicit(&counters_row[c], n, memory_order_relaxed); }
static inline void count(enum counter c) { count_add(c, 1); }
static inline void count_sub(enum counter c, uint64_t n) { atomic_fetch_sub_explicit(&counters_row[c], n, memory_order_relaxed); }
uint64_t counters_get(const struct counters *, enum counter);  /* all rows added up */
void counters_bury(struct counters *, unsigned row);
struct counter_info { const char *name, *kind, *help; };
extern const struct counter_info counter_table[COUNT_MAX];
