/* evict.c - see evict.h */
#include "evict.h"
#include "../common/clock.h"
#include "../common/counters.h"
#include "../common/err.h"
#include "../common/log.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define REST_EVERY 512                /* looks at so many names, then … */
#define REST_MS 1                     /* … leaves the disk to others so long: a million chunks in some seconds */
#define WALK_ANYHOW_MS (600 * 1000)   /* with cache_size: the store is measured at least this often */
#define WARN_AGAIN_MS (600 * 1000)
#define PUT_OLD_MS (3600 * 1000)      /* no small chunk takes that long to write */

/* Ages in seconds, 64 steps to each doubling: the cut is exact to 1.6 % of the age. */
#define STEPS 64
#define BUCKETS (40 * STEPS)
struct histogram { uint64_t bytes[BUCKETS]; };

static unsigned
age_bucket(int64_t age)
{
	unsigned octave = 0, b;

	if (age < 0)
		age = 0; /* from the future: the clock was set back */
	for (; age >= 2 * STEPS; age /= 2)
		octave++;
	b = age < STEPS ? (unsigned)age : octave * STEPS + (unsigned)age;
	return b < BUCKETS ? b : BUCKETS - 1;
}

/* --- the walk: data/<h>/<h>/<h>/<h>/ --- */

struct walk {
	int64_t now;              /* s */
	unsigned seen;
	void (*file)(struct walk *, int dirfd, const char *name, const struct stat *);
	struct histogram *ages;
	uint64_t bytes, files;
	/* second walk */
	unsigned cut;             /* this bucket and older ones go … */
	uint64_t need;            /* … until so much is gone */
	struct evict_report *report;
	evict_gone_f *gone;
	void *arg;
	/* orphans */
	int64_t before_ms;
	evict_needed_f *needed;
	unsigned orphans, linked;
};

static uint64_t disk_bytes(const struct stat *st) { return (uint64_t)st->st_blocks * 512; }

static void
walk_dir(struct walk *w, int parent, const char *name, unsigned depth)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;
	struct stat st;

	if (d == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(d)) != NULL && (w->report == NULL || w->need > 0)) {
		if (e->d_name[0] == '.')
			continue;
		if (depth > 0) {
			if (e->d_name[1] == 0)
				walk_dir(w, fd, e->d_name, depth - 1);
			continue;
		}
		if (++w->seen % REST_EVERY == 0)
			nanosleep(&(struct timespec){ .tv_nsec = REST_MS * 1000000 }, NULL);
		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			w->file(w, fd, e->d_name, &st);
	}
	closedir(d);
}

static void
measure(struct walk *w, int dirfd, const char *name, const struct stat *st)
{
	w->files++;
	w->bytes += disk_bytes(st);
	if (st->st_nlink == 1)
		w->ages->bytes[age_bucket(w->now - st->st_atim.tv_sec)] += disk_bytes(st);
}

static void
reap(struct walk *w, int dirfd, const char *name, const struct stat *st)
{
	struct chunk_id id;
	uint64_t n = disk_bytes(st);

	if (st->st_nlink > 1 || age_bucket(w->now - st->st_atim.tv_sec) < w->cut)
		return;
	if (unlinkat(dirfd, name, 0) < 0)
		return;
	w->report->removed++;
	w->report->removed_bytes += n;
	count(COUNT_evicted);
	count_add(COUNT_evicted_bytes, n);
	w->need -= n < w->need ? n : w->need;
	if (w->gone != NULL && chunk_id_parse(str_c(name), &id))
		w->gone(w->arg, &id);
}

/* --- the pass --- */

uint64_t
evict_capacity(const char *dir, uint64_t cache_size, unsigned high)
{
	struct statvfs fs;

	if (cache_size > 0)
		return cache_size;
	return statvfs(dir, &fs) == 0 ? (uint64_t)fs.f_blocks * fs.f_frsize / 100 * high : UINT64_MAX;
}

/* What the last walk found, so that a pass every few seconds does not stat a million files to learn that little has changed. */
static struct {
	uint64_t dir;             /* its hash */
	int64_t at;               /* mono ms */
	uint64_t store, disk;     /* bytes then: of the store, used on its disk */
	uint64_t stored;          /* the counter then */
	int64_t warned;           /* mono ms; 0 never */
} last;

int
evict_pass(const struct evict_options *o, struct evict_report *r, evict_gone_f *gone, void *arg)
{
	static struct histogram ages; /* one thread: see evict.h; 20 KiB that are not for the stack */
	struct walk w = { .now = clock_wall() / 1000, .ages = &ages };
	struct statvfs fs;
	uint64_t disk, size, avail, used, limit, target, here = hash64(o->dir, strlen(o->dir)), grown, older = 0;
	char data[CHUNKS_PATH];

	memset(r, 0, sizeof *r);
	if (statvfs(o->dir, &fs) < 0)
		return errno_err();
	/* As df has it: of what unprivileged processes can use at all. Blocks that are reserved would else look like ours to free. */
	disk = (uint64_t)(fs.f_blocks - fs.f_bfree) * fs.f_frsize;
	avail = (uint64_t)fs.f_bavail * fs.f_frsize;
	size = disk + avail;
	r->disk_percent = size > 0 ? (unsigned)(disk * 100.0 / size) : 0;
	if (avail < o->min_free) {
		/* it must be walked */
	} else if (o->cache_size == 0) {
		if (r->disk_percent < o->high)
			return 0;
	} else if (last.dir == here && clock_mono() - last.at < WALK_ANYHOW_MS) {
		grown = disk > last.disk ? disk - last.disk : 0;
		if (o->stored - last.stored > grown) /* others on this disk may have freed as much as we wrote */
			grown = o->stored - last.stored;
		if (last.store + grown < o->cache_size / 100.0 * o->high)
			return 0;
	}

	memset(&ages, 0, sizeof ages);
	snprintf(data, sizeof data, "%s/data", o->dir);
	w.file = measure;
	walk_dir(&w, AT_FDCWD, data, 4);
	r->bytes = w.bytes;
	r->files = w.files;
	last.dir = here;
	last.at = clock_mono();
	last.store = w.bytes;
	last.disk = disk;
	last.stored = o->stored;
	limit = o->cache_size > 0 ? (uint64_t)(o->cache_size / 100.0 * o->high) : (uint64_t)(size / 100.0 * o->high);
	target = o->cache_size > 0 ? (uint64_t)(o->cache_size / 100.0 * o->low) : (uint64_t)(size / 100.0 * o->low);
	used = o->cache_size > 0 ? w.bytes : disk;
	if (used >= limit)
		w.need = used - target + 1; /* below low, not at it */
	if (avail < o->min_free && w.need < o->min_free + o->min_free / 10 - avail)
		w.need = o->min_free + o->min_free / 10 - avail;
	if (w.need == 0)
		return 0;
	for (w.cut = BUCKETS; w.cut > 0 && older < w.need; )
		older += ages.bytes[--w.cut];
	w.file = reap;
	w.report = r;
	w.gone = gone;
	w.arg = arg;
	walk_dir(&w, AT_FDCWD, data, 4);
	r->left = w.need;
	last.store -= r->removed_bytes;
	last.disk -= r->removed_bytes < last.disk ? r->removed_bytes : last.disk;
	if (r->removed > 0)
		log_info("store %s: %llu chunks evicted, %llu bytes", o->dir, (unsigned long long)r->removed, (unsigned long long)r->removed_bytes);
	if (w.need > 0 && (last.warned == 0 || last.at - last.warned >= WARN_AGAIN_MS)) { /* S3 may be away for hours */
		last.warned = last.at;
		log_warn("store %s: %llu bytes too many stay: what is left is in use or not yet in the bucket, or others fill the disk", o->dir,
		    (unsigned long long)w.need);
	}
	return 0;
}

/* --- debris --- */

static void
orphan(struct walk *w, int dirfd, const char *name, const struct stat *st)
{
	int64_t made = (int64_t)st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000;
	int64_t used = (int64_t)st->st_atim.tv_sec * 1000 + st->st_atim.tv_nsec / 1000000;
	struct chunk_id id;

	if (made >= w->before_ms || used >= w->before_ms || !chunk_id_parse(str_c(name), &id) || w->needed(w->arg, &id))
		return;
	if (st->st_nlink > 1)
		w->linked++;
	else
		w->orphans += unlinkat(dirfd, name, 0) == 0;
}

int
evict_orphans(const char *dir, int64_t before_ms, evict_needed_f *needed, void *arg, unsigned *removed, unsigned *linked)
{
	struct walk w = { .file = orphan, .before_ms = before_ms, .needed = needed, .arg = arg };
	char data[CHUNKS_PATH];

	snprintf(data, sizeof data, "%s/data", dir);
	walk_dir(&w, AT_FDCWD, data, 4);
	*removed = w.orphans;
	*linked = w.linked;
	return access(data, X_OK) == 0 ? 0 : errno_err();
}

/* put-<pid>-<n>, see chunks_put: written in one go by a process that is alive */
static bool
put_is_dead(const char *name, const struct stat *st)
{
	int pid;

	if (sscanf(name, "put-%d-", &pid) == 1 && pid > 0 && kill(pid, 0) < 0 && errno == ESRCH)
		return true;
	return clock_wall() - (int64_t)st->st_mtim.tv_sec * 1000 > PUT_OLD_MS; /* a number that was given out again */
}

int
evict_debris(const char *dir, const struct fill_table *t, unsigned *removed)
{
	char tmp[CHUNKS_PATH];
	struct dirent *e;
	struct stat st;
	DIR *d;

	*removed = 0;
	snprintf(tmp, sizeof tmp, "%s/tmp", dir);
	d = opendir(tmp);
	if (d == NULL)
		return errno == ENOENT ? 0 : errno_err();
	while ((e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.' || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
			continue;
		if (str_starts(str_c(e->d_name), STR("fill-")) ? t != NULL && fill_tmp_live(t, e->d_name) : !put_is_dead(e->d_name, &st))
			continue;
		if (unlinkat(dirfd(d), e->d_name, 0) == 0)
			++*removed;
	}
	closedir(d);
	return 0;
}
