/* counters.c - a row of counters a process, in shared memory. */
#include "counters.h"
#include "err.h"
#include <string.h>

/* Two lines of 64 bytes: the prefetcher of common machines takes them in pairs. */
#define LINE 128
#define PER_LINE (LINE / sizeof(uint64_t))
#define ROW_CELLS ((COUNT_MAX + PER_LINE - 1) / PER_LINE * PER_LINE)

struct row { _Alignas(LINE) _Atomic uint64_t cells[ROW_CELLS]; };
struct counters { struct row rows[COUNTERS_ROWS]; };
_Static_assert(sizeof(struct row) % LINE == 0, "rows must not share a cache line");

const struct counter_info counter_table[COUNT_MAX] = {
#define COUNTER(name, kind, help) { #name, #kind, help },
#include "tbl/counters.h"
};

enum kind { counter, gauge };
static const enum kind kinds[COUNT_MAX] = {
#define COUNTER(name, kind, help) kind,
#include "tbl/counters.h"
};

static struct row private_row;
_Atomic uint64_t *counters_row = private_row.cells;

size_t
counters_size(void)
{
	return sizeof(struct counters);
}

struct counters *
counters_init(void *shm)
{
	struct counters *c = shm;
	INVARIANT((uintptr_t)shm % LINE == 0);
	for (unsigned row = 0; row < COUNTERS_ROWS; row++)
		for (unsigned i = 0; i < ROW_CELLS; i++)
			atomic_init(&c->rows[row].cells[i], 0);
	return c;
}

void
counters_use(struct counters *c, unsigned row)
{
	INVARIANT(row < COUNTERS_ROWS);
	counters_row = c->rows[row].cells;
}

/* A gauge may for a moment be below zero: what one thread added is seen after what another took away. */
uint64_t
counters_get(const struct counters *c, enum counter which)
{
	uint64_t sum = 0;
	for (unsigned row = 0; row < COUNTERS_ROWS; row++)
		sum += atomic_load_explicit(&c->rows[row].cells[which], memory_order_relaxed);
	return kinds[which] == gauge && sum > INT64_MAX ? 0 : sum;
}

/* What it counted stays counted; what it held is gone with it. */
void
counters_bury(struct counters *c, unsigned row)
{
	INVARIANT(row < COUNTERS_ROWS);
	for (unsigned i = 0; i < COUNT_MAX; i++)
		if (kinds[i] == gauge)
			atomic_store_explicit(&c->rows[row].cells[i], 0, memory_order_relaxed);
}
