/* chunks.h - the local store: immutable files named by the SHA-256 of their content (behaviour.md 4.8 layout:
 * data/<h>/<h>/<h>/<h>/<64 hex>), or, for a fleet that has nodes of the old system, by a random number (32 hex digits). Thread- and
 * process-safe: files appear by link(2) or rename(2), whole or not at all. Open it after fork: its memory and locks are one process's.
 *
 * Nothing is synced to the disk here: a power cut may take chunks with it, and their names may then stand over wrong bytes. So
 * the size is checked at every open, the hash whenever a chunk is loaded into hot memory, and the hash of longer ones at their
 * first open when the file is of the time that an unclean end makes suspect (verify_after_ms). A random name proves nothing: such a
 * chunk is checked by its size, and not believed at all when it is suspect.
 * Use is noted in the file's atime, by ourselves (relatime or noatime do not matter), at most once in CHUNKS_TOUCH_MS a chunk:
 * that is what evict.h sorts by.
 * Counted here: stored_bytes, store_errors, corrupt. */
#pragma once
#include "../common/hash.h"
#include "../common/fd.h"

#define CHUNKS_TOUCH_MS (3600 * 1000) /* eviction looks at days, not minutes; one inode write an hour is nothing */
#define CHUNKS_HEAL_MS 1000           /* the store is well again when a write succeeds so long after the last failure */
#define CHUNKS_DIR_MAX 800            /* longest name of the store's directory */
#define CHUNKS_PATH 1024              /* room for any path in the store */

#define CHUNK_UUID 16                 /* bytes of a random name (UUIDv4) */
#define CHUNK_NAME (SHA256_HEX + 1)   /* room for any chunk's name in hex digits, with NUL */

struct chunk_id {
	uint8_t b[SHA256_RAW];
	uint8_t n;                       /* SHA256_RAW: the hash of its bytes; CHUNK_UUID: random */
};
struct chunk_id chunk_id_of(const uint8_t *raw, size_t n); /* n: one of the two */
struct chunk_id chunk_id_random(void);
bool chunk_id_same(const struct chunk_id *, const struct chunk_id *);
void chunk_name(const struct chunk_id *, char out[CHUNK_NAME]);
bool chunk_id_parse(struct str name, struct chunk_id *);   /* 64 or 32 hex digits */

struct chunks;                       /* an open store */
struct chunks_options {
	const char *dir;                 /* <state>/store */
	size_t hot_bytes;                /* small chunks kept in this process's memory; 0 none */
	size_t hot_max;                  /* the largest that is kept there: 64 KiB */
	unsigned fds;                    /* open files kept */
	int64_t verify_after_ms;         /* wall time from which on an unclean end may have spoilt files; 0: it was clean */
	bool random_ids;                 /* new chunks get random names (--chunk-ids uuid) */
};
/* An unusable directory is no error: the store says so (chunks_health), and heals when the directory does. -ERR_SYSTEM: name too long. */
int chunks_open(struct chunks **, const struct chunks_options *);
void chunks_close(struct chunks **); /* all chunks are closed by then */
/* A whole small chunk from memory; goes into hot memory too. Idempotent: writing it again heals a spoilt file. -ERR_FULL, -ERR_SYSTEM. */
int chunks_put(struct chunks *, const void *, size_t, struct chunk_id *out);
/* The same under a name that is known, and right: it came from the bucket. */
int chunks_put_as(struct chunks *, const void *, size_t, const struct chunk_id *);
bool chunks_random_ids(const struct chunks *);
/* A chunk of something that nobody may ever ask for again, by its open file: it counts as not used for CHUNKS_COLD_S, until it is. */
#define CHUNKS_COLD_S 3600
void chunks_cool(int fd);
/* A file that was written in tmp (chunks_tmp_path) becomes the chunk: linked by its hash, the tmp name stays the caller's. */
int chunks_adopt(struct chunks *, const char *tmp_path, const struct chunk_id *);
/* A chunk that is there gets the name of a growing one as well. -ERR_NOT_FOUND, -ERR_CORRUPT as chunk_open, -ERR_FULL, -ERR_SYSTEM. */
int chunks_borrow(struct chunks *, const struct chunk_id *, uint64_t size, const char *tmp_path);
/* A name under <state>/store/tmp for a growing chunk: fill slot, its generation, chunk number. n: CHUNKS_PATH. */
void chunks_tmp_path(const struct chunks *, unsigned slot, uint32_t generation, uint32_t chunk, char *out, size_t n);
/* Makes that file, new and empty: an fd to write and read, or -ERR_FULL, -ERR_SYSTEM. */
int chunks_tmp_create(struct chunks *, const char *tmp_path);
/* What became of a write to a tmp file (errno as the failed call left it): feeds chunks_health. Returns r, -ERR_FULL or -ERR_SYSTEM. */
int chunks_result(struct chunks *, int r);

/* A chunk opened for reading; refcounted inside, shared by threads. */
struct chunk;
int chunk_open(struct chunks *, const struct chunk_id *, uint64_t size, struct chunk **); /* -ERR_NOT_FOUND; -ERR_CORRUPT (wrong size or, when checked, hash): it is removed */
/* A view of up to n bytes at off: straight from memory, or read into buf (which has room for n). 0 or more bytes; -ERR_CORRUPT/-ERR_SYSTEM. */
ssize_t chunk_read(struct chunk *, uint64_t off, void *buf, size_t n, const void **view);
bool chunk_in_memory(const struct chunk *);  /* chunk_read needs no buffer */
void chunk_close(struct chunk **);
/* Is it there, as far as its size says? Counts as a use. */
bool chunks_has(struct chunks *, const struct chunk_id *, uint64_t size);
bool chunks_need(struct chunks *, const struct chunk_id *); /* it will be read in a moment: the note of use is made now, whenever the last was. false: not there */
/* Where the chunk's file is, or would be: in the store with this folder. For those who look at it, or link it. */
void chunks_path(const char *dir, const struct chunk_id *, char out[CHUNKS_PATH]);
const char *chunks_dir(const struct chunks *);
int chunks_link(struct chunks *, const char *path, const struct chunk_id *); /* the file of that path, which is right, gets its name in the store; -ERR_X */
bool chunks_suspect(const struct chunks *, int64_t mtime_ms); /* a file of that time may be spoilt (verify_after_ms) */
bool chunks_peek(const struct chunks *, const struct chunk_id *, uint64_t size); /* the same, and no use: for who looks on */
int chunks_remove(struct chunks *, const struct chunk_id *);
const char *chunks_health(struct chunks *);  /* NULL, or what is wrong (full, unwritable); a write that succeeds clears it (CHUNKS_HEAL_MS) */
