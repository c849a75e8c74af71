/* iobuf.c - see iobuf.h */
#include "iobuf.h"
#include "../common/arena.h"
#include <pthread.h>

static struct {
	pthread_mutex_t m;
	unsigned n;
	void *kept[IOBUF_KEPT];
} pool = { .m = PTHREAD_MUTEX_INITIALIZER };

void *
iobuf_take(void)
{
	void *b = NULL;

	pthread_mutex_lock(&pool.m);
	if (pool.n > 0)
		b = pool.kept[--pool.n];
	pthread_mutex_unlock(&pool.m);
	return b != NULL ? b : xmalloc(IOBUF_SIZE);
}

void
iobuf_give(void **b)
{
	if (*b == NULL)
		return;
	pthread_mutex_lock(&pool.m);
	if (pool.n < IOBUF_KEPT) {
		pool.kept[pool.n++] = *b;
		*b = NULL;
	}
	pthread_mutex_unlock(&pool.m);
	free(*b);
	*b = NULL;
}
