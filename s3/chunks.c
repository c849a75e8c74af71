/* chunks.c - see chunks.h. Two kinds of open chunk, in one table of up to 16 shards: copies in memory (small ones) and open files. The
 * table holds one reference, each reader another; whoever drops the last frees it, so a chunk that is pushed out or removed stays
 * readable for those who have it open. */
#include "chunks.h"
#include "iobuf.h"
#include "../common/arena.h"
#include "../common/clock.h"
#include "../common/counters.h"
#include "../common/err.h"
#include "../common/log.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHARDS 16
#define SAY_AGAIN_MS (60 * 1000)      /* a disk on the edge, full and not full in turns, is not worth more lines than one a minute */
#define SEQUENTIAL_FROM (1024 * 1024) /* files from this size on are told to the kernel as read from front to back */

struct chunk {
	struct chunk_id id;
	struct chunks *owner;
	uint64_t size;
	_Atomic unsigned refs;
	int fd;                          /* -1: data holds all of it */
	_Atomic int64_t touched;         /* wall ms of the last note in the file's atime */
	_Atomic int64_t seen;            /* wall ms when the file was last known to be there */
	/* under the shard's lock */
	struct chunk *in_bucket;
	struct chunk *newer, *older;     /* least recently used list of its kind */
	unsigned char data[];
};

struct lru { struct chunk *newest, *oldest; };

struct shard {
	pthread_mutex_t m;
	struct chunk **buckets;
	struct lru hot, files;
	size_t hot_bytes;
	unsigned nfiles;
} __attribute__((aligned(64)));

struct chunks {
	char dir[CHUNKS_DIR_MAX + 1];
	struct chunks_options o;
	int64_t opened_ms;
	unsigned nshards, nbuckets;      /* powers of two */
	size_t hot_share;                /* of one shard */
	unsigned fd_share;
	_Atomic(const char *) health;
	_Atomic int64_t failed_ms;       /* mono: the last failure; the last that was logged */
	_Atomic int64_t logged_ms;
	_Atomic bool said;               /* the log's last word was that it is bad */
	_Atomic bool no_unnamed;         /* see put_unnamed */
	_Atomic uint64_t names;          /* numbers for tmp names */
	struct shard shards[SHARDS];
};

#define SEEN_MS 1000 /* an eviction in between costs a fetch later, not a wrong byte */
static const struct timespec now_and_omit[2] = { { .tv_nsec = UTIME_NOW }, { .tv_nsec = UTIME_OMIT } }; /* atime, mtime */

static const char health_full[] = "the disk of the store is full";
static const char health_bad[] = "the store cannot be written";

/* --- names and paths --- */

struct chunk_id
chunk_id_of(const uint8_t *raw, size_t n)
{
	struct chunk_id id = { .n = (uint8_t)n };

	INVARIANT(n == SHA256_RAW || n == CHUNK_UUID);
	memcpy(id.b, raw, n);
	return id;
}

/* RFC 9562 5.4: version and variant; 122 random bits. From a reserve of the thread's: a system call for 64 names. */
struct chunk_id
chunk_id_random(void)
{
	static _Thread_local uint8_t reserve[64 * CHUNK_UUID];
	static _Thread_local pid_t owner; /* a child must not give out its parent's names */
	static _Thread_local unsigned left;
	struct chunk_id id;

	if (left == 0 || owner != getpid()) {
		for (size_t got = 0; got < sizeof reserve; ) {
			ssize_t n = getrandom(reserve + got, sizeof reserve - got, 0);
			INVARIANT(n > 0 || errno == EINTR);
			got += n > 0 ? (size_t)n : 0;
		}
		left = sizeof reserve / CHUNK_UUID;
		owner = getpid();
	}
	id = chunk_id_of(reserve + (size_t)--left * CHUNK_UUID, CHUNK_UUID);
	id.b[6] = (id.b[6] & 0x0f) | 0x40;
	id.b[8] = (id.b[8] & 0x3f) | 0x80;
	return id;
}

bool chunk_id_same(const struct chunk_id *a, const struct chunk_id *b) { return a->n == b->n && memcmp(a->b, b->b, a->n) == 0; }
void chunk_name(const struct chunk_id *id, char out[CHUNK_NAME]) { hex_encode(id->b, id->n, out); }

bool
chunk_id_parse(struct str name, struct chunk_id *id)
{
	memset(id, 0, sizeof *id);
	id->n = name.n == SHA256_HEX ? SHA256_RAW : CHUNK_UUID;
	return (name.n == SHA256_HEX || name.n == 2 * CHUNK_UUID) && hex_decode(name, id->b, id->n);
}

void
chunks_path(const char *dir, const struct chunk_id *id, char out[CHUNKS_PATH])
{
	char hex[CHUNK_NAME];

	chunk_name(id, hex);
	snprintf(out, CHUNKS_PATH, "%s/data/%c/%c/%c/%c/%s", dir, hex[0], hex[1], hex[2], hex[3], hex);
}

const char *chunks_dir(const struct chunks *s) { return s->dir; }
bool chunks_random_ids(const struct chunks *s) { return s->o.random_ids; }
static void id_path(const struct chunks *s, const struct chunk_id *id, char out[CHUNKS_PATH]) { chunks_path(s->dir, id, out); }

void
chunks_tmp_path(const struct chunks *s, unsigned slot, uint32_t generation, uint32_t chunk, char *out, size_t n)
{
	snprintf(out, n, "%s/tmp/fill-%u-%" PRIx32 "-%" PRIu32, s->dir, slot, generation, chunk);
}

/* The folders above path. From below, for nearly always only the last is missing. 0, or -1 with errno. */
static int
make_parent(const char *path)
{
	char dir[CHUNKS_PATH];

	snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(path, '/') - path), path);
	if (mkdir(dir, 0750) == 0 || errno == EEXIST)
		return 0;
	if (errno != ENOENT || strrchr(dir, '/') == NULL || make_parent(dir) < 0)
		return -1;
	return mkdir(dir, 0750) == 0 || errno == EEXIST ? 0 : -1;
}

/* --- health --- */

const char *chunks_health(struct chunks *s) { return atomic_load_explicit(&s->health, memory_order_relaxed); }

/* A disk with a few bytes left takes small files and refuses large ones: that it works again is believed after a while without a
 * failure, and each change is said once. */
int
chunks_result(struct chunks *s, int r)
{
	const char *now, *was = chunks_health(s);
	int64_t t, logged;

	if (r >= 0 && was == NULL)
		return r; /* nearly always */
	if (r < 0 && r != -ERR_FULL)
		r = -ERR_SYSTEM;
	t = clock_mono();
	logged = atomic_load(&s->logged_ms);
	if (r >= 0) {
		if (t - atomic_load(&s->failed_ms) >= CHUNKS_HEAL_MS && atomic_compare_exchange_strong(&s->health, &was, NULL) &&
		    atomic_exchange(&s->said, false))
			log_warn("store %s works again: responses are cached", s->dir);
		return r;
	}
	count(COUNT_store_errors);
	atomic_store(&s->failed_ms, t);
	now = r == -ERR_FULL ? health_full : health_bad;
	if (was != now && atomic_compare_exchange_strong(&s->health, &was, now) && (logged == 0 || t - logged >= SAY_AGAIN_MS)) {
		atomic_store(&s->logged_ms, t);
		atomic_store(&s->said, true);
		log_error("store %s: %s (%s): responses are served uncached", s->dir, now, strerror(errno));
	}
	return r;
}

/* --- the table of open chunks --- */

static unsigned id_hash(const struct chunk_id *id) { uint32_t h; memcpy(&h, id->b + 4, sizeof h); return h; }
static struct shard *id_shard(struct chunks *s, const struct chunk_id *id) { return &s->shards[id->b[8] & (s->nshards - 1)]; }
static struct lru *chunk_lru(struct shard *sh, const struct chunk *c) { return c->fd < 0 ? &sh->hot : &sh->files; }
static struct chunk **bucket(const struct chunks *s, struct shard *sh, const struct chunk_id *id)
	{ return &sh->buckets[id_hash(id) & (s->nbuckets - 1)]; }

static struct chunk *
chunk_ref(struct chunk *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

static void
chunk_unref(struct chunk *c)
{
	if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) > 1)
		return;
	fd_close(&c->fd);
	free(c);
}

static void
lru_add(struct lru *l, struct chunk *c)
{
	c->newer = NULL;
	c->older = l->newest;
	if (l->newest != NULL)
		l->newest->newer = c;
	else
		l->oldest = c;
	l->newest = c;
}

static void
lru_del(struct lru *l, struct chunk *c)
{
	if (c->newer != NULL)
		c->newer->older = c->older;
	else
		l->newest = c->older;
	if (c->older != NULL)
		c->older->newer = c->newer;
	else
		l->oldest = c->newer;
}

static struct chunk *
table_find(struct chunks *s, struct shard *sh, const struct chunk_id *id)
{
	struct chunk *c = *bucket(s, sh, id);

	while (c != NULL && !chunk_id_same(&c->id, id))
		c = c->in_bucket;
	return c;
}

static size_t chunk_weight(const struct chunk *c) { return sizeof *c + (size_t)c->size; }

/* out of the table; its reference goes to the caller */
static void
table_del(struct chunks *s, struct shard *sh, struct chunk *c)
{
	struct chunk **p = bucket(s, sh, &c->id);

	while (*p != c)
		p = &(*p)->in_bucket;
	*p = c->in_bucket;
	lru_del(chunk_lru(sh, c), c);
	if (c->fd < 0)
		sh->hot_bytes -= chunk_weight(c);
	else
		sh->nfiles--;
}

/* Puts c (whose one reference is the caller's) into the table and returns it, or the one that is there already, for the caller. What
 * does not fit any more is pushed out, the least recently used first. */
static struct chunk *
table_add(struct chunks *s, struct chunk *c)
{
	struct shard *sh = id_shard(s, &c->id);
	struct chunk *there, *out = NULL, *next, **b;

	pthread_mutex_lock(&sh->m);
	there = table_find(s, sh, &c->id);
	if (there != NULL && there->fd < 0) {
		chunk_ref(there);
		pthread_mutex_unlock(&sh->m);
		chunk_unref(c);
		return there;
	}
	if (there != NULL) { /* an open file gives way: to memory, or to a file that was opened since */
		table_del(s, sh, there);
		there->in_bucket = out;
		out = there;
	}
	while (c->fd < 0 && sh->hot.oldest != NULL && sh->hot_bytes + chunk_weight(c) > s->hot_share) {
		struct chunk *old = sh->hot.oldest;
		table_del(s, sh, old);
		old->in_bucket = out;
		out = old;
	}
	while (c->fd >= 0 && sh->files.oldest != NULL && sh->nfiles >= s->fd_share) {
		struct chunk *old = sh->files.oldest;
		table_del(s, sh, old);
		old->in_bucket = out;
		out = old;
	}
	b = bucket(s, sh, &c->id);
	c->in_bucket = *b;
	*b = chunk_ref(c);
	lru_add(chunk_lru(sh, c), c);
	if (c->fd < 0)
		sh->hot_bytes += chunk_weight(c);
	else
		sh->nfiles++;
	pthread_mutex_unlock(&sh->m);
	for (; out != NULL; out = next) { /* closing files and freeing memory needs no lock */
		next = out->in_bucket;
		chunk_unref(out);
	}
	return c;
}

static struct chunk *
table_get(struct chunks *s, const struct chunk_id *id)
{
	struct shard *sh = id_shard(s, id);
	struct chunk *c;

	pthread_mutex_lock(&sh->m);
	c = table_find(s, sh, id);
	if (c != NULL) {
		struct lru *l = chunk_lru(sh, c);
		if (l->newest != c) {
			lru_del(l, c);
			lru_add(l, c);
		}
		chunk_ref(c);
	}
	pthread_mutex_unlock(&sh->m);
	return c;
}

static void
table_drop(struct chunks *s, const struct chunk_id *id)
{
	struct shard *sh = id_shard(s, id);
	struct chunk *c;

	pthread_mutex_lock(&sh->m);
	c = table_find(s, sh, id);
	if (c != NULL)
		table_del(s, sh, c);
	pthread_mutex_unlock(&sh->m);
	if (c != NULL)
		chunk_unref(c);
}

static struct chunk *
chunk_new(struct chunks *s, const struct chunk_id *id, uint64_t size, int fd)
{
	struct chunk *c = xmalloc(sizeof *c + (fd < 0 ? (size_t)size : 0));

	c->id = *id;
	c->owner = s;
	c->size = size;
	atomic_init(&c->refs, 1);
	c->fd = fd;
	atomic_init(&c->touched, 0);
	atomic_init(&c->seen, 0);
	return c;
}

static bool fits_hot(const struct chunks *s, uint64_t size)
{
	return size <= s->o.hot_max && size + sizeof(struct chunk) <= s->hot_share;
}

/* --- writing --- */

static int
tmp_create(const char *path)
{
	int fd = -1;

	/* EEXIST: debris of an earlier run. Never truncate it: it may be the inode of a stored chunk. */
	for (int tries = 0; fd < 0 && tries < 3; tries++) {
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOATIME, 0640);
		if (fd < 0 && errno == EEXIST && unlink(path) < 0)
			break;
		if (fd < 0 && errno == ENOENT && make_parent(path) < 0)
			break;
	}
	return fd >= 0 ? fd : errno_err();
}

int
chunks_tmp_create(struct chunks *s, const char *path)
{
	int r = tmp_create(path);

	return r >= 0 ? r : chunks_result(s, r); /* that a name could be made does not mean that there is room */
}

/* 0 or -ERR_X, errno set. rename(2) replaces what is there, which heals a spoilt file. */
static int
name_chunk(int (*how)(const char *, const char *), const char *from, const char *to)
{
	int r = how(from, to);

	if (r < 0 && errno == ENOENT && make_parent(to) == 0)
		r = how(from, to);
	return r == 0 ? 0 : errno_err();
}

/* Every chunk comes through here when it has its name: what else must happen then (a link in the spool) belongs here. */
static void stored(uint64_t size) { count_add(COUNT_stored_bytes, size); }

static bool
same_bytes(const char *path, const void *p, size_t n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *buf = fd >= 0 ? xmalloc(n + 1) : NULL;
	bool same = buf != NULL && fd_pread_all(fd, buf, n + 1, 0) == (ssize_t)n && memcmp(buf, p, n) == 0;

	if (same)
		futimens(fd, now_and_omit);
	free(buf);
	fd_close(&fd);
	return same;
}

/* A file without a name that gets one when it is whole: on ext4 less than half the cost of create and rename, and a crash leaves
 * nothing behind. 0 (also when a good one was there), -ERR_X with errno; -ERR_NOT_IMPLEMENTED: this file system or a missing /proc
 * does not let us. */
static int
put_unnamed(const char *path, const void *p, size_t n)
{
	char dir[CHUNKS_PATH], self[32];
	int fd, r;

	snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(path, '/') - path), path);
	fd = open(dir, O_WRONLY | O_TMPFILE | O_CLOEXEC, 0640);
	if (fd < 0 && errno == ENOENT && make_parent(path) == 0)
		fd = open(dir, O_WRONLY | O_TMPFILE | O_CLOEXEC, 0640);
	if (fd < 0)
		return errno == EOPNOTSUPP || errno == EISDIR ? -ERR_NOT_IMPLEMENTED : errno_err();
	r = fd_write_all(fd, p, n);
	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	for (int tries = 0; r == 0; tries++) {
		if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
			break;
		if (errno == ENOENT)
			r = -ERR_NOT_IMPLEMENTED;
		else if (errno != EEXIST || tries > 2)
			r = errno_err();
		else if (same_bytes(path, p, n))
			break;
		else
			unlink(path); /* spoilt: ours is the better one */
	}
	fd_close(&fd);
	return r;
}

static int
put_named(struct chunks *s, const char *path, const void *p, size_t n)
{
	char tmp[CHUNKS_PATH];
	int fd, r, e;

	snprintf(tmp, sizeof tmp, "%s/tmp/put-%d-%" PRIx64, s->dir, (int)getpid(), atomic_fetch_add(&s->names, 1));
	fd = tmp_create(tmp);
	if (fd < 0)
		return fd;
	r = fd_write_all(fd, p, n);
	if (r == 0)
		r = name_chunk(rename, tmp, path);
	e = errno;
	fd_close(&fd);
	if (r < 0)
		unlink(tmp);
	errno = e;
	return r;
}

/* the note of use that evict.h sorts by; by fd when there is one, else by name */
static void
touch(struct chunk *c)
{
	int64_t now = clock_wall(), was = atomic_load_explicit(&c->touched, memory_order_relaxed);
	char path[CHUNKS_PATH];

	if (now - was < CHUNKS_TOUCH_MS && was <= now)
		return;
	if (!atomic_compare_exchange_strong(&c->touched, &was, now))
		return; /* another thread does it */
	if (c->fd >= 0)
		futimens(c->fd, now_and_omit);
	else {
		id_path(c->owner, &c->id, path);
		utimensat(AT_FDCWD, path, now_and_omit, 0);
	}
}

/* The same bytes were stored or read a moment ago, and their file is still there (asked at most once a second): many URLs have one body. */
static bool
put_before(struct chunks *s, const char *path, const struct chunk_id *id, size_t n)
{
	struct chunk *c = table_get(s, id);
	struct stat st;
	int64_t now = clock_wall();
	bool there = c != NULL && chunk_in_memory(c);

	if (there && now - atomic_load_explicit(&c->seen, memory_order_relaxed) >= SEEN_MS) {
		there = stat(path, &st) == 0 && (uint64_t)st.st_size == n;
		if (there) {
			atomic_store_explicit(&c->seen, now, memory_order_relaxed);
			touch(c);
		}
	}
	if (c != NULL)
		chunk_unref(c);
	return there;
}

int
chunks_put(struct chunks *s, const void *p, size_t n, struct chunk_id *out)
{
	if (s->o.random_ids)
		*out = chunk_id_random();
	else {
		out->n = SHA256_RAW;
		sha256_raw(p, n, out->b);
	}
	return chunks_put_as(s, p, n, out);
}

int
chunks_put_as(struct chunks *s, const void *p, size_t n, const struct chunk_id *id)
{
	char path[CHUNKS_PATH];
	int r = -ERR_NOT_IMPLEMENTED;

	id_path(s, id, path);
	if (chunks_health(s) == NULL && put_before(s, path, id, n))
		return 0;
	if (!atomic_load_explicit(&s->no_unnamed, memory_order_relaxed))
		r = put_unnamed(path, p, n);
	if (r == -ERR_NOT_IMPLEMENTED) {
		atomic_store_explicit(&s->no_unnamed, true, memory_order_relaxed);
		r = put_named(s, path, p, n);
	}
	r = chunks_result(s, r);
	if (r < 0)
		return r;
	stored(n);
	if (fits_hot(s, n)) {
		struct chunk *c = chunk_new(s, id, n, -1);
		memcpy(c->data, p, n);
		atomic_store_explicit(&c->touched, clock_wall(), memory_order_relaxed);
		c = table_add(s, c);
		chunk_unref(c);
	} else
		table_drop(s, id); /* an open file may be the spoilt one */
	return 0;
}

bool
chunks_suspect(const struct chunks *s, int64_t mtime_ms)
{
	return s->o.verify_after_ms > 0 && mtime_ms >= s->o.verify_after_ms && mtime_ms < s->opened_ms;
}

static bool
suspect(const struct chunks *s, const struct stat *st)
{
	return chunks_suspect(s, (int64_t)st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000);
}

void
chunks_cool(int fd)
{
	const struct timespec t[2] = { { .tv_sec = clock_wall() / 1000 - CHUNKS_COLD_S }, { .tv_nsec = UTIME_OMIT } };

	futimens(fd, t);
}

int
chunks_adopt(struct chunks *s, const char *tmp_path, const struct chunk_id *id)
{
	char path[CHUNKS_PATH], aside[CHUNKS_PATH];
	struct stat tmp, there;
	int r;

	id_path(s, id, path);
	r = name_chunk(link, tmp_path, path);
	if (r < 0 && errno == EEXIST) {
		r = stat(tmp_path, &tmp) < 0 ? -ERR_SYSTEM : 0;
		if (r == 0 && (stat(path, &there) < 0 || there.st_size != tmp.st_size || suspect(s, &there))) {
			/* ours is the better one. link(2) does not replace and rename(2) would take the tmp name: both, then */
			snprintf(aside, sizeof aside, "%s/tmp/put-%d-%" PRIx64, s->dir, (int)getpid(), atomic_fetch_add(&s->names, 1));
			r = name_chunk(link, tmp_path, aside);
			if (r == 0) {
				r = name_chunk(rename, aside, path);
				unlink(aside); /* a rename onto the same inode leaves both names */
			}
			table_drop(s, id);
		} else if (r == 0)
			utimensat(AT_FDCWD, path, now_and_omit, 0);
	}
	r = chunks_result(s, r);
	if (r == 0 && stat(path, &there) == 0)
		stored((uint64_t)there.st_size);
	return r;
}

int
chunks_link(struct chunks *s, const char *from, const struct chunk_id *id)
{
	char path[CHUNKS_PATH];
	int r;

	id_path(s, id, path);
	r = name_chunk(link, from, path);
	if (r < 0 && errno == EEXIST)
		return 0;
	return r == -ERR_NOT_FOUND ? r : chunks_result(s, r);
}

/* --- reading --- */

int
chunks_remove(struct chunks *s, const struct chunk_id *id)
{
	char path[CHUNKS_PATH];

	table_drop(s, id);
	id_path(s, id, path);
	return unlink(path) == 0 ? 0 : errno_err();
}

static int
spoilt(struct chunks *s, const struct chunk_id *id, const char *why)
{
	char hex[CHUNK_NAME];

	chunk_name(id, hex);
	count(COUNT_corrupt);
	log_error("chunk %s: %s: removed", hex, why);
	chunks_remove(s, id);
	return -ERR_CORRUPT;
}

/* The whole file against its name. Then the file's time is moved before the suspect ones, so that no process does it again. */
static int
verify(struct chunks *s, int fd, const struct chunk_id *id)
{
	struct sha256 *h;
	void *buf;
	uint8_t sum[SHA256_RAW];
	off_t off = 0;
	ssize_t n;
	int64_t before = s->o.verify_after_ms - 1000;
	struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = before / 1000 } };

	if (id->n != SHA256_RAW)
		return -ERR_CORRUPT;
	h = sha256_new();
	buf = iobuf_take();
	while ((n = fd_pread_all(fd, buf, IOBUF_SIZE, off)) > 0) {
		sha256_update(h, buf, (size_t)n);
		off += n;
	}
	sha256_final(h, sum);
	sha256_free(&h);
	iobuf_give(&buf);
	if (n < 0)
		return (int)n;
	if (memcmp(sum, id->b, sizeof sum) != 0)
		return -ERR_CORRUPT;
	if (fdatasync(fd) == 0) /* or the next power cut would find an old time over new doubts */
		futimens(fd, t);
	return 0;
}

static int
load(struct chunks *s, int fd, const struct chunk_id *id, uint64_t size, struct chunk **out)
{
	struct chunk *c = chunk_new(s, id, size, -1);
	uint8_t sum[SHA256_RAW];
	ssize_t n = fd_pread_all(fd, c->data, (size_t)size, 0);
	bool right = n == (ssize_t)size;

	if (right && id->n == SHA256_RAW) {
		sha256_raw(c->data, (size_t)size, sum);
		right = memcmp(sum, id->b, sizeof sum) == 0;
	}
	if (!right) {
		chunk_unref(c);
		return n < 0 ? (int)n : -ERR_CORRUPT;
	}
	*out = c;
	return 0;
}

int
chunk_open(struct chunks *s, const struct chunk_id *id, uint64_t size, struct chunk **out)
{
	char path[CHUNKS_PATH];
	struct stat st;
	struct chunk *c = table_get(s, id);
	int fd, r = 0;

	if (c != NULL) {
		if (c->size != size) {
			chunk_unref(c);
			return spoilt(s, id, "its size is not what its object says");
		}
		touch(c);
		*out = c;
		return 0;
	}
	id_path(s, id, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? -ERR_NOT_FOUND : errno_err();
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != size) {
		fd_close(&fd);
		return spoilt(s, id, "its size is not what its object says");
	}
	if (fits_hot(s, size)) {
		r = id->n != SHA256_RAW && suspect(s, &st) ? -ERR_CORRUPT : load(s, fd, id, size, &c);
		if (r == 0)
			atomic_store_explicit(&c->touched, (int64_t)st.st_atim.tv_sec * 1000, memory_order_relaxed);
	} else {
		if (suspect(s, &st))
			r = verify(s, fd, id);
		if (r == 0) {
			if (size >= SEQUENTIAL_FROM)
				posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
			c = chunk_new(s, id, size, fd);
			atomic_store_explicit(&c->touched, (int64_t)st.st_atim.tv_sec * 1000, memory_order_relaxed);
			fd = -1;
		}
	}
	fd_close(&fd);
	if (r == -ERR_CORRUPT)
		return spoilt(s, id, "its bytes are not those of its name");
	if (r < 0)
		return r;
	*out = table_add(s, c);
	touch(*out);
	return 0;
}

int
chunks_borrow(struct chunks *s, const struct chunk_id *id, uint64_t size, const char *tmp_path)
{
	char path[CHUNKS_PATH];
	struct chunk *c;
	int r = chunk_open(s, id, size, &c);

	if (r < 0)
		return r;
	chunk_close(&c);
	id_path(s, id, path);
	return link(path, tmp_path) < 0 ? errno_err() : 0;
}

bool chunk_in_memory(const struct chunk *c) { return c->fd < 0; }

ssize_t
chunk_read(struct chunk *c, uint64_t off, void *buf, size_t n, const void **view)
{
	ssize_t got;

	if (off >= c->size)
		return 0;
	if (n > c->size - off)
		n = (size_t)(c->size - off);
	if (c->fd < 0) {
		*view = c->data + off;
		return (ssize_t)n;
	}
	got = fd_pread_all(c->fd, buf, n, (off_t)off);
	if (got < 0)
		return got;
	if ((size_t)got < n)
		return spoilt(c->owner, &c->id, "it has become shorter");
	*view = buf;
	return got;
}

void
chunk_close(struct chunk **c)
{
	if (*c != NULL)
		chunk_unref(*c);
	*c = NULL;
}

bool
chunks_peek(const struct chunks *s, const struct chunk_id *id, uint64_t size)
{
	char path[CHUNKS_PATH];
	struct stat st;

	chunks_path(s->dir, id, path);
	return stat(path, &st) == 0 && (uint64_t)st.st_size == size;
}

bool
chunks_has(struct chunks *s, const struct chunk_id *id, uint64_t size)
{
	char path[CHUNKS_PATH];
	struct stat st;
	struct chunk *c = table_get(s, id);
	bool has;

	if (c != NULL) {
		has = c->size == size;
		if (has)
			touch(c);
		chunk_unref(c);
		return has;
	}
	id_path(s, id, path);
	if (stat(path, &st) < 0 || (uint64_t)st.st_size != size)
		return false;
	if (clock_wall() - (int64_t)st.st_atim.tv_sec * 1000 >= CHUNKS_TOUCH_MS)
		utimensat(AT_FDCWD, path, now_and_omit, 0);
	return true;
}

bool
chunks_need(struct chunks *s, const struct chunk_id *id)
{
	char path[CHUNKS_PATH];

	id_path(s, id, path);
	return utimensat(AT_FDCWD, path, now_and_omit, 0) == 0 || errno != ENOENT;
}

/* --- opening the store --- */

int
chunks_open(struct chunks **out, const struct chunks_options *o)
{
	struct chunks *s;
	char path[CHUNKS_PATH];
	size_t buckets;

	if (strlen(o->dir) > CHUNKS_DIR_MAX)
		return -ERR_SYSTEM;
	if (posix_memalign((void **)&s, 64, sizeof *s) != 0)
		return -ERR_NO_MEMORY;
	memset(s, 0, sizeof *s);
	memcpy(s->dir, o->dir, strlen(o->dir));
	s->o = *o;
	s->o.dir = s->dir;
	s->opened_ms = clock_wall();
	/* a small memory in few shards, or no chunk would fit into its share */
	for (s->nshards = SHARDS; s->nshards > 1 && ((o->hot_bytes > 0 && o->hot_bytes / s->nshards < 8 * o->hot_max) || o->fds / s->nshards < 4); )
		s->nshards /= 2;
	s->hot_share = o->hot_bytes / s->nshards;
	s->fd_share = o->fds / s->nshards > 0 ? o->fds / s->nshards : 1;
	buckets = s->hot_share / 2048 + s->fd_share;
	for (s->nbuckets = 64; s->nbuckets < buckets && s->nbuckets < 65536; )
		s->nbuckets *= 2;
	for (unsigned i = 0; i < s->nshards; i++) {
		pthread_mutex_init(&s->shards[i].m, NULL);
		s->shards[i].buckets = xcalloc(s->nbuckets, sizeof(struct chunk *));
	}
	snprintf(path, sizeof path, "%s/data/x", s->dir);
	if (make_parent(path) < 0)
		chunks_result(s, -ERR_SYSTEM);
	snprintf(path, sizeof path, "%s/tmp/x", s->dir);
	if (make_parent(path) < 0)
		chunks_result(s, -ERR_SYSTEM);
	*out = s;
	return 0;
}

void
chunks_close(struct chunks **sp)
{
	struct chunks *s = *sp;

	*sp = NULL;
	if (s == NULL)
		return;
	for (unsigned i = 0; i < s->nshards; i++) {
		struct shard *sh = &s->shards[i];
		struct chunk *c;
		while ((c = sh->hot.oldest) != NULL || (c = sh->files.oldest) != NULL) {
			table_del(s, sh, c);
			chunk_unref(c);
		}
		free(sh->buckets);
		pthread_mutex_destroy(&sh->m);
	}
	free(s);
}
