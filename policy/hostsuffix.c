/* hostsuffix.c - see hostsuffix.h */
#include "hostsuffix.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct entry { struct str domain; unsigned value; };
struct host_suffixes { unsigned n, most; struct entry v[]; };

struct host_suffixes *
host_suffixes_new(unsigned most)
{
	struct host_suffixes *h = xcalloc(1, sizeof(*h) + most * sizeof(h->v[0]));
	h->most = most;
	return h;
}

void
host_suffixes_add(struct host_suffixes *h, struct str domain, unsigned value)
{
	if (str_starts(domain, STR("*.")))
		domain = str_from(domain, 2);
	else if (str_starts(domain, STR(".")))
		domain = str_from(domain, 1);
	if (domain.n && h->n < h->most)
		h->v[h->n++] = (struct entry){ domain, value };
}

static int
entry_cmp(const void *x, const void *y)
{
	const struct entry *a = x, *b = y;
	int r = str_cmp(a->domain, b->domain);
	return r ? r : a->value < b->value ? -1 : a->value > b->value;
}

void
host_suffixes_sort(struct host_suffixes *h)
{
	unsigned k = 0;
	qsort(h->v, h->n, sizeof(h->v[0]), entry_cmp);
	for (unsigned i = 0; i < h->n; i++) /* of equal domains the least value */
		if (!k || !str_eq(h->v[k - 1].domain, h->v[i].domain))
			h->v[k++] = h->v[i];
	h->n = k;
}

void
host_suffixes_free(struct host_suffixes **hp)
{
	free(*hp);
	*hp = NULL;
}

unsigned
host_suffixes_find(const struct host_suffixes *h, struct str host)
{
	unsigned best = UINT_MAX;
	if (host.n && host.p[host.n - 1] == '.')
		host.n--; /* a name that is said to be complete */
	while (h->n && host.n) {
		unsigned lo = 0, hi = h->n;
		while (lo < hi) {
			unsigned mid = lo + (hi - lo) / 2;
			int r = str_cmp(h->v[mid].domain, host);
			if (r == 0 && h->v[mid].value < best)
				best = h->v[mid].value;
			if (r == 0)
				break;
			if (r < 0)
				lo = mid + 1;
			else
				hi = mid;
		}
		const char *dot = memchr(host.p, '.', host.n);
		host = dot ? str_from(host, (size_t)(dot - host.p) + 1) : STR_NONE;
	}
	return best;
}
