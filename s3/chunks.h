/* chunks.h - the local store: immutable files named by the SHA-256 of their content (behaviour.md 4.8 layout:
 * data/<h>/<h>/<h>/<h>/<64 hex>). Thread- and process-safe: files appear by link(2) or rename(2), whole or not at all. */
#pragma once
#include "../common/hash.h"
#include "../common/fd.h"

struct chunk_id { uint8_t b[SHA256_RAW]; };
struct chunks;                       /* an open store */
struct chunks_options {
	const char *dir;                 /* <state>/store */
	size_t hot_bytes;                /* small chunks kept in this process's memory; 0 none */
	size_t hot_max;                  /* the largest that is kept there: 64 KiB */
	unsigned fds;                    /* open files kept */
};
int chunks_open(struct chunks **, const struct chunks_options *);
void chunks_close(struct chunks **);
/* A whole small chunk from memory: no file is touched until it must be. Idempotent. */
int chunks_put(struct chunks *, const void *, size_t, struct chunk_id *out);
/* A file that was written in tmp (chunks_tmp_path) becomes the chunk: linked by its hash, the tmp name stays the caller's. */
int chunks_adopt(struct chunks *, const char *tmp_path, const struct chunk_id *);
/* A name under <state>/store/tmp for a growing chunk: fill slot, its generation, chunk number. */
void chunks_tmp_path(const struct chunks *, unsigned slot, uint32_t generation, uint32_t chunk, char *out, size_t n);

/* A chunk opened for reading; refcounted inside, shared by threads. */
struct chunk;
int chunk_open(struct chunks *, const struct chunk_id *, uint64_t size, struct chunk **); /* -ERR_NOT_FOUND; -ERR_CORRUPT (wrong size or, when checked, hash): it is removed */
/* A view of up to n bytes at off: straight from memory, or read into buf (which has room for n). 0 or more bytes; -ERR_CORRUPT/-ERR_SYSTEM. */
ssize_t chunk_read(struct chunk *, uint64_t off, void *buf, size_t n, const void **view);
void chunk_close(struct chunk **);
bool chunks_has(struct chunks *, const struct chunk_id *, uint64_t size);
int chunks_remove(struct chunks *, const struct chunk_id *);
const char *chunks_health(struct chunks *);  /* NULL, or what is wrong (full, unwritable) */
