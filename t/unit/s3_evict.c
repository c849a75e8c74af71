/* The janitor: the least recently used go first and only as many as must; nothing in use goes; debris goes. */
#include "tap.h"
#include "s3_store.h"
#include "s3/evict.h"
#include "s3/needed.h"
#include "common/arena.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/shm.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define N 100
#define SIZE 40960

static struct chunk_id ids[N];

static void
path_of(const struct chunk_id *id, char *out, size_t n)
{
	char hex[CHUNK_NAME];
	chunk_name(id, hex);
	snprintf(out, n, "%s/data/%c/%c/%c/%c/%s", store_dir, hex[0], hex[1], hex[2], hex[3], hex);
}

static bool
there(unsigned i)
{
	char path[256];
	path_of(&ids[i], path, sizeof path);
	return access(path, F_OK) == 0;
}

static void
used(unsigned i, int64_t ago_s)
{
	char path[256];
	struct timespec t[2] = { { .tv_sec = clock_wall() / 1000 - ago_s }, { .tv_nsec = UTIME_OMIT } };
	path_of(&ids[i], path, sizeof path);
	utimensat(AT_FDCWD, path, t, 0);
}

static void
gone(void *arg, const struct chunk_id *id)
{
	unsigned *n = arg;
	for (unsigned i = 0; i < N; i++)
		*n += chunk_id_same(&ids[i], id);
}

static void
touch_file(const char *name, int64_t ago_s)
{
	char path[256];
	struct timespec t[2] = { { .tv_nsec = UTIME_NOW }, { .tv_sec = clock_wall() / 1000 - ago_s } };
	snprintf(path, sizeof path, "%s/tmp/%s", store_dir, name);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	utimensat(AT_FDCWD, path, t, 0);
}

/* What a crash has left that no document needs. */
static void
orphans(struct chunks *s)
{
	enum { CHUNKS = 60 };
	static unsigned char body[1000];
	static struct chunk_id made[CHUNKS];
	struct needed *set = needed_new(CHUNKS);
	struct arena a;
	unsigned removed, linked, wrong = 0, yes = 0;
	char path[256], other[256];
	int64_t start;

	arena_init(&a);
	snprintf(other, sizeof other, "%s/spool", store_dir);
	unlink(other);
	for (unsigned i = 0; i < CHUNKS; i++) {
		bytes_make(body, 0, sizeof body, 7000 + i);
		if (i % 3 == 0)
			made[i] = chunk_id_random();
		if (i % 3 == 0)
			chunks_put_as(s, body, sizeof body, &made[i]);
		else
			chunks_put(s, body, sizeof body, &made[i]);
		if (i % 2 == 0)
			needed_add(set, manifest_build(&a, sizeof body, sizeof body, &made[i], 1));
	}
	needed_add(set, STR_NONE);
	needed_add(set, STR("nonsense"));
	usleep(20000);
	start = clock_wall();
	usleep(20000);
	chunks_need(s, &made[1]); /* used in this run */
	path_of(&made[5], path, sizeof path);
	snprintf(other, sizeof other, "%s/spool2", store_dir);
	ok(link(path, other) == 0, "one is in the spool");
	is_int(evict_orphans(store_dir, start, needed_has, set, &removed, &linked), 0, "orphans");
	for (unsigned i = 0; i < CHUNKS; i++) {
		path_of(&made[i], path, sizeof path);
		wrong += (access(path, F_OK) == 0) != (i % 2 == 0 || i == 1 || i == 5);
	}
	ok(wrong == 0 && removed >= CHUNKS / 2 - 2 && linked == 1, "go, but not what a document needs, what this run has used, or what the spool has (%u, %u wrong)", removed, wrong);
	unlink(other);
	is_int(evict_orphans(store_dir, start, needed_has, set, &removed, &linked), 0, "once more when the spool has been swept");
	ok(removed == 1 && linked == 0, "the rest goes");
	ok(evict_orphans("/nowhere", start, needed_has, set, &removed, &linked) < 0 && removed == 0, "no store, no orphans");
	for (unsigned i = 0; i < 100000; i++) {
		struct chunk_id id = chunk_id_random();
		yes += needed_has(set, &id);
	}
	is_int(yes, 0, "what was not added is hardly ever taken for needed");
	needed_free(&set);
	ok(set == NULL, "freed");
	arena_fini(&a);
}

int
main(void)
{
	static unsigned char body[SIZE];
	struct chunks *s;
	struct chunk *c;
	struct evict_report r;
	unsigned told = 0, removed, wrong;
	char path[256], other[256];
	struct statvfs fs;
	const void *v;
	struct fill_table *t = fill_table_init(shm_map(fill_table_size(4)), 4);
	struct fill *w;
	uint64_t size;

	store_make();
	s = store_open(0);
	for (unsigned i = 0; i < N; i++) {
		bytes_make(body, 0, sizeof body, i);
		if (i % 4 == 0) { /* some have random names */
			ids[i] = chunk_id_random();
			chunks_put_as(s, body, sizeof body, &ids[i]);
		} else
			chunks_put(s, body, sizeof body, &ids[i]);
		used(i, 1000 + 100000 * ((i * 37) % N)); /* 37 and 100 have no common divisor: each age once */
	}
	size = (uint64_t)N * SIZE;

	struct evict_options o = { .dir = store_dir, .low = 50, .high = 101, .cache_size = size };
	is_int(evict_pass(&o, &r, gone, &told), 0, "below the high mark");
	ok(r.files == N && r.bytes == size && r.removed == 0, "nothing goes (%llu files, %llu bytes)", (unsigned long long)r.files, (unsigned long long)r.bytes);
	is_int(chunk_open(s, &ids[3], SIZE, &c), 0, "one is being read");
	used(3, 99999999);
	path_of(&ids[5], path, sizeof path);
	used(5, 88888888);
	snprintf(other, sizeof other, "%s/spool", store_dir);
	ok(link(path, other) == 0, "one is in the spool");
	o.high = 90;
	is_int(evict_pass(&o, &r, gone, &told), 0, "above it");
	ok(r.removed >= 51 && r.removed <= 52, "as many go as must (%llu)", (unsigned long long)r.removed);
	ok(told == r.removed && r.removed_bytes == r.removed * SIZE, "each is told");
	ok(there(5), "what has a second name stays");
	ok(!there(3) && chunk_read(c, 0, body, 100, &v) == 100 && bytes_right(v, 0, 100, 3), "what is being read can be read to its end");
	chunk_close(&c);
	wrong = 0;
	for (unsigned i = 0; i < N; i++)
		if (i != 3 && i != 5)
			wrong += there(i) != ((i * 37) % N < 49);
	ok(wrong <= 2, "the least recently used are gone, the others are there (%u at the cut)", wrong);
	told = 0;
	is_int(evict_pass(&o, &r, gone, &told), 0, "once more");
	ok(r.removed == 0 && told == 0, "nothing more goes");

	/* by the disk */
	statvfs(store_dir, &fs);
	o.cache_size = 0;
	o.high = 100;
	is_int(evict_pass(&o, &r, NULL, NULL), 0, "a disk that is not full");
	ok(r.removed == 0 && r.files == 0, "is not even walked");
	o.high = o.low = r.disk_percent > 0 ? r.disk_percent : 0;
	if (r.disk_percent == 0) { /* an empty file system: everything is above zero */
		is_int(evict_pass(&o, &r, NULL, NULL), 0, "a disk above its mark");
		ok(r.removed > 0, "chunks go (%llu)", (unsigned long long)r.removed);
		ok(there(5), "but not the one in the spool");
	}
	o.dir = "/nowhere/at/all";
	ok(evict_pass(&o, &r, NULL, NULL) < 0, "a store that is not there is an error");

	/* debris */
	fill_claim(t, s, STR("key"), 0, 1024, &w);
	fill_head(w, STR("h"), -1);
	fill_append(w, body, 3000);
	touch_file("fill-0-1-0", 0);
	touch_file("fill-3-1-0", 0);
	snprintf(path, sizeof path, "put-%d-0", (int)getpid());
	touch_file(path, 0);
	touch_file("put-4194305-0", 0); /* beyond any pid */
	snprintf(path, sizeof path, "put-%d-1", (int)getpid());
	touch_file(path, 7200);
	is_int(evict_debris(store_dir, t, &removed), 0, "debris");
	is_int(removed, 4, "files of no live fill, of dead writers, and very old ones go; live ones stay");
	ok(fill_append(w, body, 3000) == 0, "the live fill goes on");
	fill_fail(&w, ERR_ORIGIN_BROKEN, 0);
	touch_file("fill-0-1-0", 0);
	ok(evict_debris(store_dir, NULL, &removed) == 0 && removed == 1, "at start no fill is live");
	ok(evict_debris("/nowhere", NULL, &removed) == 0 && removed == 0, "no store, no debris");
	orphans(s);
	chunks_close(&s);
	return done_testing();
}
