/* iobuf.h - buffers for reading files in large pieces, taken only while there is something to read: a parked thread has none. */
#pragma once
#include <stddef.h>
#define IOBUF_SIZE (256 * 1024)  /* large enough that a read's cost is the copy, small enough to stay in L2 */
#define IOBUF_KEPT 32            /* free ones that a process keeps: 8 MiB; more are given back to malloc */
void *iobuf_take(void);
void iobuf_give(void **);        /* NULL is fine; sets to NULL */
