/* spool.c - see spool.h */
#include "spool.h"
#include "iobuf.h"
#include "../common/arena.h"
#include "../common/clock.h"
#include "../common/counters.h"
#include "../common/err.h"
#include "../common/log.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define REST_EVERY 512               /* a sweep looks at so many names, then … */
#define REST_MS 1                    /* … leaves the disk to others so long */

struct spool {
	char dir[CHUNKS_DIR_MAX + 1];
	struct chunks *chunks;
	struct spool_totals *totals;
	uint64_t max_bytes;
};

static void
entry_path(const struct spool *s, const struct chunk_id *id, char out[CHUNKS_PATH])
{
	char hex[CHUNK_NAME];

	chunk_name(id, hex);
	snprintf(out, CHUNKS_PATH, "%s/%.2s/%s", s->dir, hex, hex);
}

int
spool_open(struct spool **out, struct chunks *chunks, const struct spool_options *o)
{
	struct spool *s;
	struct stat ours, store;
	char path[CHUNKS_PATH];
	int r;

	if (strlen(o->dir) > CHUNKS_DIR_MAX)
		return -ERR_SYSTEM;
	snprintf(path, sizeof path, "%s/failed", o->dir);
	r = path_mkdirs(path, 0750);
	if (r == 0) {
		snprintf(path, sizeof path, "%s/doubt", o->dir);
		r = path_mkdirs(path, 0750);
	}
	if (r < 0) {
		log_error("spool %s: %s", path, strerror(errno));
		return r == -ERR_FULL ? r : -ERR_SYSTEM;
	}
	if (stat(o->dir, &ours) == 0 && stat(chunks_dir(chunks), &store) == 0 && ours.st_dev != store.st_dev) {
		log_error("spool %s: it must be on the file system of the store, %s", o->dir, chunks_dir(chunks));
		return -ERR_SYSTEM;
	}
	s = xcalloc(1, sizeof *s);
	memcpy(s->dir, o->dir, strlen(o->dir));
	s->chunks = chunks;
	s->totals = o->totals;
	s->max_bytes = o->max_bytes;
	*out = s;
	return 0;
}

void
spool_close(struct spool **s)
{
	free(*s);
	*s = NULL;
}

bool
spool_full(const struct spool *s)
{
	return atomic_load_explicit(&s->totals->bytes, memory_order_relaxed) >= s->max_bytes ||
	       atomic_load_explicit(&s->totals->entries, memory_order_relaxed) >= SPOOL_ENTRIES;
}

/* Never below zero: who was killed between a link and its count leaves one too few, until the next sweep. */
static void
move(_Atomic uint64_t *v, int64_t by)
{
	uint64_t was = atomic_load_explicit(v, memory_order_relaxed), is;

	do
		is = by >= 0 || was >= (uint64_t)-by ? was + (uint64_t)by : 0;
	while (!atomic_compare_exchange_weak_explicit(v, &was, is, memory_order_relaxed, memory_order_relaxed));
}

static void
counted(struct spool *s, int64_t entries, int64_t bytes)
{
	move(&s->totals->entries, entries);
	move(&s->totals->bytes, bytes);
}

/* --- what the bucket has got of late: a note is 40 bits of the name and 24 of the minute. That two chunks have one note costs a look at
 * the store and the bucket, for upload.c asks there for what it does not find here. --- */

static _Atomic uint64_t *
known_note(const struct spool *s, const struct chunk_id *id, uint64_t *tag)
{
	uint16_t at;

	memcpy(tag, id->b + 8, sizeof *tag); /* behind a UUID's version */
	*tag &= ~UINT64_C(0xffffff);
	memcpy(&at, id->b, sizeof at);
	return &s->totals->known[at % SPOOL_KNOWN];
}

static uint64_t this_minute(void) { return (uint64_t)(clock_mono() / 60000) & 0xffffff; }

static void
known_add(struct spool *s, const struct chunk_id *id)
{
	uint64_t tag;
	_Atomic uint64_t *note = known_note(s, id, &tag);

	atomic_store_explicit(note, tag | this_minute(), memory_order_relaxed);
}

static bool
is_known(const struct spool *s, const struct chunk_id *id)
{
	uint64_t tag, note = atomic_load_explicit(known_note(s, id, &tag), memory_order_relaxed);

	return (note & ~UINT64_C(0xffffff)) == tag && note != 0 && this_minute() - (note & 0xffffff) <= SPOOL_KNOWN_MINUTES;
}

/* --- adding --- */

/* One link. size: what it counts for. 0 also when it is there already. */
static int
add(struct spool *s, const struct chunk_id *id, uint64_t size)
{
	static const struct timespec now_and_omit[2] = { { .tv_nsec = UTIME_NOW }, { .tv_nsec = UTIME_OMIT } };
	char from[CHUNKS_PATH], to[CHUNKS_PATH], *slash;

	chunks_path(chunks_dir(s->chunks), id, from);
	entry_path(s, id, to);
	for (int tries = 0;; tries++) {
		if (link(from, to) == 0) {
			counted(s, 1, (int64_t)size);
			return 0;
		}
		if (errno == EEXIST) { /* perhaps as debris: its time of change is now, so that a sweep leaves it alone */
			utimensat(AT_FDCWD, to, now_and_omit, 0);
			return 0;
		}
		if (errno != ENOENT || tries > 0)
			return errno_err();
		slash = strrchr(to, '/');
		*slash = 0;
		if (mkdir(to, 0750) < 0 && errno != EEXIST)
			return errno_err();
		*slash = '/';
	}
}

int
spool_add(struct spool *s, struct str raw)
{
	struct manifest m;
	struct chunk_id id;
	int r = 0;

	if (raw.n == 0)
		return 0;
	r = manifest_parse(raw, &m);
	for (uint32_t i = 0; i < m.n && r == 0; i++) {
		id = manifest_id(&m, i);
		if (!is_known(s, &id))
			r = add(s, &id, manifest_chunk_length(&m, i));
	}
	return r;
}

void spool_ring(struct spool *s) { shm_wake_all(&s->totals->news); }
uint32_t spool_news(const struct spool *s) { return atomic_load(&s->totals->news); }
void spool_wait(struct spool *s, uint32_t seen, int64_t deadline) { (void)shm_wait(&s->totals->news, seen, deadline); }

int
spool_restore(struct spool *s, const struct chunk_id *id)
{
	char path[CHUNKS_PATH];

	entry_path(s, id, path);
	return chunks_link(s->chunks, path, id);
}

static void
doubt_path(const struct spool *s, const struct chunk_id *id, char out[CHUNKS_PATH])
{
	char hex[CHUNK_NAME];

	chunk_name(id, hex);
	snprintf(out, CHUNKS_PATH, "%s/doubt/%s", s->dir, hex);
}

void
spool_doubt(struct spool *s, const struct chunk_id *id)
{
	char path[CHUNKS_PATH];
	uint64_t tag;
	int fd;

	atomic_store_explicit(known_note(s, id, &tag), 0, memory_order_relaxed);
	if (atomic_load(&s->totals->doubts) >= SPOOL_DOUBTS)
		return;
	doubt_path(s, id, path);
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0640);
	if (fd >= 0)
		move(&s->totals->doubts, 1);
	fd_close(&fd);
}

bool
spool_doubted(struct spool *s, const struct chunk_id *id)
{
	char path[CHUNKS_PATH];

	if (atomic_load_explicit(&s->totals->doubts, memory_order_relaxed) == 0) /* nearly always */
		return false;
	doubt_path(s, id, path);
	return access(path, F_OK) == 0;
}

/* --- the uploader's side --- */

bool
spool_has(struct spool *s, const struct chunk_id *id)
{
	char path[CHUNKS_PATH];

	entry_path(s, id, path);
	return access(path, F_OK) == 0;
}

static int64_t mtime_ms(const struct stat *st) { return (int64_t)st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000; }

static int
verify(struct spool *s, int fd, const struct chunk_id *id, uint64_t size)
{
	struct stat st;
	struct sha256 *h;
	uint8_t sum[SHA256_RAW];
	void *buf;
	off_t off = 0;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return errno_err();
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != size)
		return -ERR_CORRUPT;
	if (id->n != SHA256_RAW)
		return chunks_suspect(s->chunks, mtime_ms(&st)) ? -ERR_CORRUPT : 0;
	h = sha256_new();
	buf = iobuf_take();
	while ((n = fd_pread_all(fd, buf, IOBUF_SIZE, off)) > 0) {
		sha256_update(h, buf, (size_t)n);
		off += n;
	}
	sha256_final(h, sum);
	sha256_free(&h);
	iobuf_give(&buf);
	return n < 0 ? (int)n : memcmp(sum, id->b, sizeof sum) == 0 ? 0 : -ERR_CORRUPT;
}

/* Takes the entry away: its bytes are no more counted. how: unlink, or rename to a place. 0 also when it was not here. */
static int
take_away(struct spool *s, const struct chunk_id *id, const char *to)
{
	char path[CHUNKS_PATH];
	struct stat st;

	entry_path(s, id, path);
	if (stat(path, &st) < 0)
		return errno == ENOENT ? 0 : errno_err();
	if ((to != NULL ? rename(path, to) : unlink(path)) < 0)
		return errno == ENOENT ? 0 : errno_err();
	counted(s, -1, -(int64_t)st.st_size);
	return 0;
}

int
spool_take(struct spool *s, const struct chunk_id *id, uint64_t size, int *fd)
{
	char path[CHUNKS_PATH];
	int r, spoilt = 0;

	entry_path(s, id, path);
	for (int tries = 0;; tries++) {
		*fd = open(path, O_RDONLY | O_CLOEXEC);
		r = *fd >= 0 ? verify(s, *fd, id, size) : errno_err();
		if (r == 0)
			return 0;
		fd_close(fd);
		if (r == -ERR_CORRUPT && tries > 0) { /* it is the store's, too */
			char hex[CHUNK_NAME];
			chunk_name(id, hex);
			count(COUNT_corrupt);
			log_error("chunk %s: its bytes are not those of its name: removed before its upload", hex);
			chunks_remove(s->chunks, id);
		}
		if ((r != -ERR_NOT_FOUND && r != -ERR_CORRUPT) || tries > 0)
			return r;
		/* The store may have a good one: it has healed, or what was known to be in the bucket was not linked here. */
		spoilt = r == -ERR_CORRUPT ? r : 0;
		if (spoilt < 0 && (r = take_away(s, id, NULL)) < 0)
			return r;
		r = add(s, id, size);
		if (r < 0)
			return spoilt < 0 && r == -ERR_NOT_FOUND ? spoilt : r;
	}
}

int
spool_settle(struct spool *s, const struct chunk_id *id)
{
	char path[CHUNKS_PATH];

	if (spool_doubted(s, id)) {
		doubt_path(s, id, path);
		if (unlink(path) == 0)
			move(&s->totals->doubts, -1);
	}
	known_add(s, id);
	return take_away(s, id, NULL);
}

int
spool_give_up(struct spool *s, const struct chunk_id *id)
{
	char hex[CHUNK_NAME], to[CHUNKS_PATH];
	int r;

	if (atomic_load(&s->totals->failed) >= SPOOL_FAILED_KEEP)
		return take_away(s, id, NULL);
	chunk_name(id, hex);
	snprintf(to, sizeof to, "%s/failed/%s", s->dir, hex);
	if (access(to, F_OK) == 0) /* and rename(2) does nothing when both are names of one file */
		return take_away(s, id, NULL);
	r = take_away(s, id, to);
	if (r == 0 && access(to, F_OK) == 0)
		atomic_fetch_add(&s->totals->failed, 1);
	return r;
}

/* --- the sweep --- */

struct sweep {
	struct spool *s;
	int64_t now, debris_ms, oldest;
	spool_wanted_f *wanted;
	void *arg;
	uint64_t entries, bytes, doubts, failed;
	unsigned seen, removed;
};

static void
sweep_entry(struct sweep *w, int dirfd, const char *name)
{
	struct chunk_id id;
	struct stat st;
	int64_t since;

	if (++w->seen % REST_EVERY == 0)
		nanosleep(&(struct timespec){ .tv_nsec = REST_MS * 1000000 }, NULL);
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) || !chunk_id_parse(str_c(name), &id))
		return;
	since = (int64_t)st.st_ctim.tv_sec * 1000 + st.st_ctim.tv_nsec / 1000000; /* link(2) sets it */
	if (w->now - since > w->debris_ms && (w->wanted == NULL || !w->wanted(w->arg, &id)) && unlinkat(dirfd, name, 0) == 0) {
		w->removed++;
		return;
	}
	w->entries++;
	w->bytes += (uint64_t)st.st_size;
	if (w->oldest == 0 || since < w->oldest)
		w->oldest = since;
}

static void
sweep_doubt(struct sweep *w, int dirfd, const char *name)
{
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && w->now - mtime_ms(&st) > SPOOL_DOUBT_MS && unlinkat(dirfd, name, 0) == 0)
		w->removed++;
	else
		w->doubts++;
}

static void sweep_failed(struct sweep *w, int dirfd, const char *name) { w->failed++; }

/* No folder: no names. */
static int
sweep_folder(struct sweep *w, const char *sub, void (*look)(struct sweep *, int dirfd, const char *name))
{
	char path[CHUNKS_PATH];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof path, "%s/%s", w->s->dir, sub);
	d = opendir(path);
	if (d == NULL)
		return errno == ENOENT ? 0 : errno_err();
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			look(w, dirfd(d), e->d_name);
	closedir(d);
	return 0;
}

int
spool_sweep(struct spool *s, int64_t debris_ms, spool_wanted_f *wanted, void *arg, unsigned *removed)
{
	struct spool_totals *t = s->totals;
	struct sweep w = { .s = s, .now = clock_wall(), .debris_ms = debris_ms, .wanted = wanted, .arg = arg };
	/* what is added or settled meanwhile is counted twice or not at all: until the next sweep */
	uint64_t entries = atomic_load(&t->entries), bytes = atomic_load(&t->bytes), doubts = atomic_load(&t->doubts);
	int r = sweep_folder(&w, "failed", sweep_failed);

	if (r == 0)
		r = sweep_folder(&w, "doubt", sweep_doubt);
	for (unsigned i = 0; i < 256 && r == 0; i++) {
		char sub[3];
		snprintf(sub, sizeof sub, "%02x", i);
		r = sweep_folder(&w, sub, sweep_entry);
	}
	*removed = w.removed;
	if (r < 0)
		return r;
	counted(s, (int64_t)(w.entries - entries), (int64_t)(w.bytes - bytes));
	move(&t->doubts, (int64_t)(w.doubts - doubts));
	atomic_store(&t->failed, w.failed);
	atomic_store(&t->oldest, w.oldest);
	return 0;
}
