/* extents.c - see extents.h */
#include "extents.h"
#include <stdlib.h>
#include <string.h>
#include "arena.h"

unsigned extents_find(const struct extents *x, uint64_t at)
{
	unsigned lo = 0, hi = x->n;
	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		if (x->v[mid].end > at)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

void extents_add(struct extents *x, struct extent e)
{
	if (e.at >= e.end)
		return;
	unsigned i = e.at > 0 ? extents_find(x, e.at - 1) : 0, k = i; /* i … k - 1 overlap it or touch it */
	for (; k < x->n && x->v[k].at <= e.end; k++) {
		e.at = x->v[k].at < e.at ? x->v[k].at : e.at;
		e.end = x->v[k].end > e.end ? x->v[k].end : e.end;
		x->bytes -= x->v[k].end - x->v[k].at;
	}
	if (k == i && x->n == x->cap) {
		x->cap = x->cap > 0 ? 2 * x->cap : 16;
		x->v = xrealloc(x->v, x->cap * sizeof *x->v);
	}
	memmove(x->v + i + 1, x->v + k, (x->n - k) * sizeof *x->v);
	x->v[i] = e;
	x->n = x->n - (k - i) + 1;
	x->bytes += e.end - e.at;
}

struct extent extents_clip(struct extent e, uint64_t end)
{
	return (struct extent){ e.at, e.end < end ? e.end : end };
}

void extents_free(struct extents *x)
{
	free(x->v);
	*x = (struct extents){ 0 };
}
