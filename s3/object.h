/* object.h - the bytes of one response, wherever they are: stored chunks, or still growing. Delivery reads through this and nothing else.
 * One thread at a time. A buffer is held only between a read from a file and the next call that needs none. */
#pragma once
#include "fill.h"
#include "manifest.h"
struct object;
/* All chunks must be there (checked by size; that counts as a use, so they are the last to be evicted): -ERR_NOT_FOUND, -ERR_CORRUPT.
 * An empty manifest is an empty body. A chunk may still turn out missing or spoilt while it is read: object_read says so. */
int object_open(struct object **, struct chunks *, struct str manifest);
struct object *object_growing(struct fill **); /* takes the reader */
struct object *object_memory(struct str bytes); /* our own pages: a view, not copied */
int64_t object_size(const struct object *);    /* -1 while unknown */
/* Up to want bytes at off as a view, good until the next call on this object; 0 at the end; -ERR_X. Blocks for growing ones only. */
int64_t object_read(struct object *, uint64_t off, size_t want, const void **view, int64_t deadline);
bool object_ready(struct object *, uint64_t off);  /* would object_read answer at once? */
void object_close(struct object **);
