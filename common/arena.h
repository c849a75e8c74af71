/* arena.h - memory by lifetime: everything that belongs to a request or a connection goes with it.
 * Not thread-safe: one owner at a time. Allocation never fails (xmalloc semantics: no memory ends the process). */
#pragma once
#include "str.h"

struct arena {
	struct arena_block *head; /* newest first */
	size_t used;              /* in head */
	size_t total;             /* bytes handed out, for bounds */
};

void arena_init(struct arena *);              /* allocates nothing yet */
void arena_reset(struct arena *);             /* all is gone; the newest block is kept for reuse */
void arena_fini(struct arena *);              /* frees all */
void *arena_alloc(struct arena *, size_t n);  /* aligned for any type, not cleared */
void *arena_zalloc(struct arena *, size_t n); /* cleared */
struct str arena_dup(struct arena *, struct str);        /* a copy, with a NUL behind it */
struct str arena_lower(struct arena *, struct str);      /* an ASCII lower-case copy */
struct str arena_printf(struct arena *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The process's lifetime: never NULL, end the process when there is no memory. */
void *xmalloc(size_t n);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *, size_t n);
char *xstrdup(const char *);
