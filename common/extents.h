/* extents.h - a set of bytes, as a list of extents in order, none adjacent. Pure; one thread a set. Memory grows with their number: the caller's bound. */
#pragma once
#include <stdint.h>

struct extent { uint64_t at, end; }; /* bytes at … end - 1; at >= end: none */
struct extents {                     /* all zero: the empty set */
	struct extent *v;
	unsigned n, cap;
	uint64_t bytes;                  /* in all of them */
};
void extents_add(struct extents *, struct extent);
unsigned extents_find(const struct extents *, uint64_t x); /* the first that ends behind x; n: none does */
struct extent extents_clip(struct extent, uint64_t end);
void extents_free(struct extents *);
