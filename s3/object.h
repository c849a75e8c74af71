/* object.h - the bytes of one response, wherever they are: stored chunks, still growing, or in the bucket only. Delivery reads through this
 * and nothing else. One thread at a time. A buffer is held only between a read from a file and the next call that needs none. */
#pragma once
#include "fill.h"
#include "manifest.h"
struct object;
struct refill;
/* refill NULL: all chunks must be there (checked by size; that counts as a use, so they are the last to be evicted): -ERR_NOT_FOUND,
 * -ERR_CORRUPT. With a refill (which outlives the object) those that are not come from the bucket while it is read; whether they can is
 * known after object_prepare. An empty manifest is an empty body. A chunk may still turn out missing or spoilt while it is read. */
int object_open(struct object **, struct chunks *, struct refill *, struct str manifest);
struct object *object_growing(struct fill **); /* takes the reader */
struct object *object_memory(struct str bytes); /* our own pages: a view, not copied */
int64_t object_size(const struct object *);    /* -1 while unknown */
/* The n bytes at off will be read next: the bucket is asked for what of them is not here, several chunks ahead and nothing beyond them.
 * 0: the first of them are here (a chunk of up to REFILL_WHOLE whole and verified), so a head may be sent; at once for what is stored or
 * growing. -ERR_NOT_FOUND, -ERR_CORRUPT: the bucket has lost or spoilt it (the document is wrong); -ERR_S3_X, -ERR_BUSY: not now.
 * -ERR_TIMEOUT at the deadline: it goes on, call again. Without it a read asks for no more than the chunk that it needs. */
int object_prepare(struct object *, uint64_t off, uint64_t n, int64_t deadline);
/* Up to want bytes at off as a view, good until the next call on this object; 0 at the end; -ERR_X, -ERR_TIMEOUT at the deadline. Blocks for
 * what is growing or comes from the bucket only. The last byte that is wanted comes only when it is verified: who counts the bytes that a
 * client gets must not want more of the object than those. -ERR_NOT_FOUND, -ERR_CORRUPT: the document is wrong. */
int64_t object_read(struct object *, uint64_t off, size_t want, const void **view, int64_t deadline);
bool object_ready(struct object *, uint64_t off);  /* would object_read answer at once? */
void object_close(struct object **);
