/* manifest.h - which chunks make an object (behaviour.md 4.7). Pure. */
#pragma once
#include "../common/arena.h"
#include "chunks.h"
enum { MANIFEST_SHA256 = 1, MANIFEST_UUID = 2 };
struct manifest {
	unsigned algorithm;
	uint64_t chunk_size, total_size;
	uint32_t n;
	const uint8_t *ids;     /* n times 32 (SHA256) or 16 (UUID) bytes: a view */
};
int manifest_parse(struct str raw, struct manifest *);  /* -ERR_CORRUPT; ids are cross-checked against the sizes */
/* The algorithm is the ids' (all are of one kind). */
struct str manifest_build(struct arena *, uint64_t chunk_size, uint64_t total_size, const struct chunk_id *, uint32_t n);
bool manifest_has(const struct manifest *, uint32_t i); /* false: a hole, in the manifest of an object that is not whole (its name is all zeros) */
struct chunk_id manifest_id(const struct manifest *, uint32_t i);
uint64_t manifest_chunk_length(const struct manifest *, uint32_t i);
unsigned manifest_id_size(unsigned algorithm);          /* 32, 16, or 0: not known */
