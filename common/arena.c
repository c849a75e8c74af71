#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "log.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#define REDZONE ALIGN /* so that running off one allocation does not land in the next unseen */
#else
#define POISON(p, n) ((void)0)
#define UNPOISON(p, n) ((void)0)
#define REDZONE 0
#endif

#define ALIGN 16
#define SMALL 4096    /* the first block */
#define LARGE 65536   /* blocks double up to this, and one up to this is kept at a reset: what one request needed the next will need */

struct arena_block {
	struct arena_block *next; /* older */
	size_t size;              /* of data */
	_Alignas(ALIGN) char data[];
};

void
arena_init(struct arena *a)
{
	*a = (struct arena){ 0 };
}

static struct arena_block *
block_new(size_t size)
{
	struct arena_block *b = xmalloc(sizeof *b + size);

	b->size = size;
	b->next = NULL;
	POISON(b->data, size);
	return b;
}

static void
block_free(struct arena_block *b)
{
	UNPOISON(b->data, b->size);
	free(b);
}

void
arena_reset(struct arena *a)
{
	struct arena_block *keep = NULL, *next;

	for (struct arena_block *b = a->head; b; b = next) {
		next = b->next;
		if (!keep && b->size <= LARGE) {
			keep = b;
			POISON(b->data, b->size);
		} else {
			block_free(b);
		}
	}
	if (keep)
		keep->next = NULL;
	*a = (struct arena){ .head = keep };
}

void
arena_fini(struct arena *a)
{
	struct arena_block *next;

	for (struct arena_block *b = a->head; b; b = next) {
		next = b->next;
		block_free(b);
	}
	*a = (struct arena){ 0 };
}

void *
arena_alloc(struct arena *a, size_t n)
{
	size_t need = (n + REDZONE + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	struct arena_block *b = a->head;
	char *p;

	if (need < n) /* wrapped: no machine has that much */
		return xmalloc(n);
	a->total += n;
	if (!b || b->size - a->used < need) {
		size_t size = !b ? SMALL - sizeof *b : b->size < LARGE / 2 ? 2 * (b->size + sizeof *b) - sizeof *b : LARGE - sizeof *b;
		if (need > size / 2 && b) {
			/* a large one gets a block of its own behind the head, whose room stays in use */
			struct arena_block *own = block_new(need);
			own->next = b->next;
			b->next = own;
			UNPOISON(own->data, n);
			return own->data;
		}
		b = block_new(need > size ? need : size);
		b->next = a->head;
		a->head = b;
		a->used = 0;
	}
	p = b->data + a->used;
	a->used += need;
	UNPOISON(p, n);
	return p;
}

void *
arena_zalloc(struct arena *a, size_t n)
{
	return memset(arena_alloc(a, n), 0, n);
}

struct str
arena_dup(struct arena *a, struct str s)
{
	char *p = arena_alloc(a, s.n + 1);

	if (s.n)
		memcpy(p, s.p, s.n);
	p[s.n] = 0;
	return (struct str){ p, s.n };
}

struct str
arena_lower(struct arena *a, struct str s)
{
	char *p = arena_alloc(a, s.n + 1);

	for (size_t i = 0; i < s.n; i++)
		p[i] = ascii_lower(s.p[i]);
	p[s.n] = 0;
	return (struct str){ p, s.n };
}

struct str
arena_printf(struct arena *a, const char *fmt, ...)
{
	char shortbuf[512], *p;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(shortbuf, sizeof shortbuf, fmt, ap);
	va_end(ap);
	if (n < 0) /* only a wrong format or more than INT_MAX bytes */
		return arena_dup(a, STR_NONE);
	if ((size_t)n < sizeof shortbuf)
		return arena_dup(a, (struct str){ shortbuf, (size_t)n });
	p = arena_alloc(a, (size_t)n + 1);
	va_start(ap, fmt);
	n = vsnprintf(p, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return (struct str){ p, (size_t)n };
}

/* No memory ends the process: the master starts another, which is the cleanest way back. */
static void *
must(void *p, size_t n)
{
	if (!p) {
		log_error("out of memory (%zu bytes)", n);
		die(1, "out of memory (%zu bytes)", n);
	}
	return p;
}

void *
xmalloc(size_t n)
{
	return must(malloc(n ? n : 1), n);
}

void *
xcalloc(size_t n, size_t size)
{
	return must(calloc(n ? n : 1, size ? size : 1), n);
}

void *
xrealloc(void *p, size_t n)
{
	return must(realloc(p, n ? n : 1), n);
}

char *
xstrdup(const char *z)
{
	size_t n = strlen(z) + 1;

	return memcpy(xmalloc(n), z, n);
}
