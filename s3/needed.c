/* needed.c - see needed.h */
#include "needed.h"
#include "../common/arena.h"
#include <stdlib.h>
#include <string.h>

#define BITS_EACH 16
#define LOOKS 6

struct needed {
	uint64_t mask;               /* bits - 1; bits are a power of two */
	uint64_t *words;
};

struct needed *
needed_new(uint64_t chunks)
{
	struct needed *s = xcalloc(1, sizeof *s);
	uint64_t n = NEEDED_MIN;

	while (n < chunks && n < NEEDED_MAX)
		n *= 2;
	s->mask = n * BITS_EACH - 1;
	s->words = xcalloc((size_t)(n * BITS_EACH / 64), sizeof *s->words);
	return s;
}

void
needed_free(struct needed **s)
{
	if (*s != NULL)
		free((*s)->words);
	free(*s);
	*s = NULL;
}

/* Names are random as they are: two numbers of one, and the looks are their sums. */
static void
numbers(const struct chunk_id *id, uint64_t *at, uint64_t *step)
{
	memcpy(at, id->b, sizeof *at);
	memcpy(step, id->b + 8, sizeof *step);
	*step |= 1;
}

void
needed_add(struct needed *s, struct str raw)
{
	struct manifest m;
	struct chunk_id id;
	uint64_t at, step;

	if (raw.n == 0 || manifest_parse(raw, &m) < 0)
		return;
	for (uint32_t i = 0; i < m.n; i++) {
		id = manifest_id(&m, i);
		numbers(&id, &at, &step);
		for (unsigned k = 0; k < LOOKS; k++, at += step)
			s->words[(at & s->mask) / 64] |= UINT64_C(1) << at % 64;
	}
}

bool
needed_has(void *needed, const struct chunk_id *id)
{
	const struct needed *s = needed;
	uint64_t at, step;

	numbers(id, &at, &step);
	for (unsigned k = 0; k < LOOKS; k++, at += step)
		if ((s->words[(at & s->mask) / 64] & UINT64_C(1) << at % 64) == 0)
			return false;
	return true;
}
