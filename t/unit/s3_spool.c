/* The spool: what was linked stays until it is settled, whatever is evicted, removed or spoilt; it counts right, and debris goes. */
#include "tap.h"
#include "s3_store.h"
#include "s3/evict.h"
#include "s3/spool.h"
#include "common/arena.h"
#include "common/clock.h"
#include "common/err.h"
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

static struct chunks *store;
static struct spool *spool;
static struct spool_totals *totals;
static char dir[128];
static struct arena a;
static unsigned char body[300000];

static void
path_in_spool(const struct chunk_id *id, char out[256])
{
	char hex[CHUNK_NAME];
	chunk_name(id, hex);
	snprintf(out, 256, "%s/%.2s/%s", dir, hex, hex);
}

/* a manifest of n chunks of that size */
static struct str
stored(unsigned seed, unsigned n, size_t size, struct chunk_id *ids)
{
	for (unsigned i = 0; i < n; i++) {
		bytes_make(body, 0, size, seed + i);
		chunks_put(store, body, size, &ids[i]);
	}
	return manifest_build(&a, size, n * size, ids, n);
}

static bool
here(const struct chunk_id *id)
{
	char path[CHUNKS_PATH];
	chunks_path(store_dir, id, path);
	return access(path, F_OK) == 0;
}

static void
overwrite(const char *path)
{
	int fd = open(path, O_WRONLY);
	if (fd < 0 || pwrite(fd, "spoilt", 6, 0) != 6)
		perror(path);
	close(fd);
}

/* Opens it, and it holds what it should. */
static int
take(const struct chunk_id *id, size_t size, unsigned seed)
{
	static unsigned char got[300000];
	int fd, r = spool_take(spool, id, size, &fd);
	if (r < 0)
		return r;
	r = pread(fd, got, size, 0) == (ssize_t)size && bytes_right(got, 0, size, seed) ? 0 : -1000;
	close(fd);
	return r;
}

static void
basics(void)
{
	struct chunk_id ids[3];
	struct str m = stored(100, 3, 1000, ids);
	struct evict_report r;
	char path[CHUNKS_PATH];
	uint32_t seen = spool_news(spool);
	int64_t t0;

	is_int(spool_add(spool, STR_NONE), 0, "an empty body needs nothing");
	is_int(spool_add(spool, STR("nonsense")), -ERR_CORRUPT, "nonsense is refused");
	is_int(spool_add(spool, m), 0, "three chunks are linked");
	ok(totals->entries == 3 && totals->bytes == 3000, "and counted");
	is_int(spool_add(spool, m), 0, "once more");
	ok(totals->entries == 3 && totals->bytes == 3000, "is no more");
	is_int(spool_news(spool), seen, "no news before the commit");
	spool_ring(spool);
	t0 = clock_mono();
	spool_wait(spool, seen, t0 + 10000);
	ok(spool_news(spool) != seen && clock_mono() - t0 < 5000, "news after it");
	evict_pass(&(struct evict_options){ .dir = store_dir, .low = 0, .high = 0, .cache_size = 1 }, &r, NULL, NULL);
	ok(here(&ids[0]) && here(&ids[1]) && here(&ids[2]), "the janitor takes none of them, however full it is");
	ok(spool_has(spool, &ids[1]) && take(&ids[1], 1000, 101) == 0, "one is taken, with its bytes");
	chunks_remove(store, &ids[1]);
	ok(take(&ids[1], 1000, 101) == 0, "also when the store has lost it");
	is_int(spool_restore(spool, &ids[1]), 0, "which can have it back");
	ok(here(&ids[1]), "as it was");
	is_int(spool_settle(spool, &ids[1]), 0, "S3 has it");
	ok(!spool_has(spool, &ids[1]) && totals->entries == 2 && totals->bytes == 2000, "it goes and is not counted any more");
	is_int(spool_settle(spool, &ids[1]), 0, "settled twice");
	ok(totals->entries == 2 && totals->bytes == 2000, "is counted once");
	is_int(spool_restore(spool, &ids[1]), -ERR_NOT_FOUND, "what is not here cannot be restored");
	is_int(spool_add(spool, m), 0, "the same document a moment later");
	ok(!spool_has(spool, &ids[1]), "what S3 has just got is not linked again");
	is_int(take(&ids[1], 1000, 101), 0, "who asks for it all the same gets the store's");
	spool_settle(spool, &ids[1]);
	evict_pass(&(struct evict_options){ .dir = store_dir, .low = 0, .high = 0, .cache_size = 2 }, &r, NULL, NULL);
	chunks_remove(store, &ids[1]);
	is_int(take(&ids[1], 1000, 101), -ERR_NOT_FOUND, "what is neither here nor in the store is not found");
	is_int(spool_give_up(spool, &ids[0]), 0, "one is given up");
	chunk_name(&ids[0], path);
	ok(!spool_has(spool, &ids[0]) && totals->failed == 1 && totals->entries == 1, "it is put aside");
	for (unsigned i = 0; i < SPOOL_KNOWN; i++)
		atomic_store(&totals->known[i], 0);
	is_int(spool_add(spool, m), -ERR_NOT_FOUND, "a chunk that has gone is said");
	spool_settle(spool, &ids[0]);
	spool_settle(spool, &ids[2]);
	is_int(totals->entries, 0, "all settled");
	is_int(totals->bytes, 0, "no bytes");
}

static void
spoilt(void)
{
	struct chunk_id ids[2];
	struct str m = stored(200, 2, 200000, ids);
	char path[256], there[CHUNKS_PATH];

	spool_add(spool, m);
	path_in_spool(&ids[0], path);
	overwrite(path); /* one file with two names */
	is_int(take(&ids[0], 200000, 200), -ERR_CORRUPT, "a spoilt chunk is not sent");
	ok(!here(&ids[0]), "nor served any more");
	stored(200, 1, 200000, ids);
	chunks_path(store_dir, &ids[0], there);
	is_int(take(&ids[0], 200000, 200), 0, "when the store has a good one again, that is taken in place of the spoilt one");
	ok(totals->entries == 2 && totals->bytes == 400000, "and the count is right");
	is_int(take(&ids[1], 199999, 201), -ERR_CORRUPT, "a wrong size is refused");
	spool_settle(spool, &ids[0]);
	spool_settle(spool, &ids[1]);
	is_int(totals->entries, 0, "nothing is left");
}

static void
random_names(void)
{
	struct chunk_id id = chunk_id_random();
	struct chunks *after;
	struct spool *s;
	struct str m;
	struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = clock_wall() / 1000 - 100 } };
	char path[256];
	int fd;

	bytes_make(body, 0, 5000, 7);
	chunks_put_as(store, body, 5000, &id);
	m = manifest_build(&a, 32768, 5000, &id, 1);
	is_int(spool_add(spool, m), 0, "a chunk with a random name is linked");
	is_int(take(&id, 5000, 7), 0, "and taken");
	is_int(spool_take(spool, &id, 4999, &fd), -ERR_CORRUPT, "its length is checked");
	spool_settle(spool, &id);
	atomic_store(&totals->known[0], 0);
	id = chunk_id_random();
	chunks_put_as(store, body, 5000, &id);
	m = manifest_build(&a, 32768, 5000, &id, 1);
	spool_add(spool, m);
	path_in_spool(&id, path);
	utimensat(AT_FDCWD, path, t, 0);
	chunks_open(&after, &(struct chunks_options){ .dir = store_dir, .fds = 8, .verify_after_ms = clock_wall() - 200000 });
	spool_open(&s, after, &(struct spool_options){ dir, 1, totals });
	is_int(spool_take(s, &id, 5000, &fd), -ERR_CORRUPT, "after a power cut it is not believed when it is as young as that: nothing proves it");
	spool_settle(spool, &id);
	spool_close(&s);
	chunks_close(&after);
}

static void
bounds_and_doubts(void)
{
	struct chunk_id ids[40];
	struct str m;
	unsigned removed;

	ok(!spool_full(spool), "room");
	m = stored(300, 40, 25000, ids);
	is_int(spool_add(spool, m), 0, "a million bytes");
	ok(spool_full(spool), "are the bound");
	spool_settle(spool, &ids[0]);
	ok(!spool_full(spool), "less are not");
	spool_doubt(spool, &ids[0]);
	ok(spool_doubted(spool, &ids[0]) && !spool_doubted(spool, &ids[1]), "a doubt");
	spool_doubt(spool, &ids[0]);
	is_int(totals->doubts, 1, "is one");
	is_int(spool_add(spool, m), 0, "added again");
	ok(spool_has(spool, &ids[0]), "what is in doubt is linked although S3 has just got it");
	spool_settle(spool, &ids[0]);
	ok(!spool_doubted(spool, &ids[0]) && totals->doubts == 0, "S3 has it: no doubt any more");
	totals->entries = 1000;
	totals->bytes = 5;
	spool_doubt(spool, &ids[3]);
	is_int(spool_sweep(spool, 3600 * 1000, NULL, NULL, &removed), 0, "a sweep");
	ok(removed == 0 && totals->entries == 39 && totals->bytes == 39 * 25000 && totals->failed == 1 && totals->doubts == 1,
	    "counts anew (%llu entries, %llu bytes, %llu failed)", (unsigned long long)totals->entries, (unsigned long long)totals->bytes,
	    (unsigned long long)totals->failed);
	ok(totals->oldest > clock_wall() - 60000 && totals->oldest <= clock_wall(), "and knows since when the oldest is here");
	for (unsigned i = 0; i < 40; i++)
		spool_settle(spool, &ids[i]);
	is_int(totals->entries, 0, "all settled");
	totals->bytes = 10;
	spool_add(spool, manifest_build(&a, 25000, 25000, &ids[0], 1));
	atomic_store(&totals->known[0], 0);
	for (unsigned i = 0; i < SPOOL_KNOWN; i++)
		atomic_store(&totals->known[i], 0);
	spool_add(spool, manifest_build(&a, 25000, 25000, &ids[0], 1));
	totals->bytes = 10;
	spool_settle(spool, &ids[0]);
	is_int(totals->bytes, 0, "a count that is too low does not wrap");
	for (unsigned i = 0; i < 2 * SPOOL_FAILED_KEEP; i++) {
		stored(1000 + i, 1, 100, ids);
		spool_add(spool, manifest_build(&a, 100, 100, ids, 1));
		spool_give_up(spool, ids);
	}
	ok(totals->failed == SPOOL_FAILED_KEEP && totals->entries == 0, "failed/ has a bound");
}

static bool wants_even(void *arg, const struct chunk_id *id) { return id->b[31] % 2 == 0; }

static void
sweeps(void)
{
	struct chunk_id ids[60];
	struct str m = stored(2000, 60, 50, ids);
	unsigned removed, even = 0, wrong = 0;

	for (unsigned i = 0; i < SPOOL_KNOWN; i++)
		atomic_store(&totals->known[i], 0);
	spool_add(spool, m);
	spool_sweep(spool, 60000, NULL, NULL, &removed);
	is_int(removed, 0, "young entries are no debris");
	usleep(30000);
	is_int(spool_sweep(spool, 20, wants_even, NULL, &removed), 0, "old ones");
	for (unsigned i = 0; i < 60; i++) {
		even += ids[i].b[31] % 2 == 0;
		wrong += spool_has(spool, &ids[i]) != (ids[i].b[31] % 2 == 0);
		wrong += !here(&ids[i]);
	}
	ok(wrong == 0 && removed == 60 - even && totals->entries == even, "go when nobody wants them (%u of 60), and only from the spool", removed);
	spool_sweep(spool, 0, NULL, NULL, &removed);
}

/* Many processes add, one settles; the sum is right in the end. */
static struct { struct str m[64]; struct chunk_id ids[64][3]; } crowd;
static void *
adds(void *arg)
{
	unsigned x = (unsigned)(uintptr_t)arg;
	for (int i = 0; i < 2000; i++) {
		unsigned k = (x = x * 1103515245 + 12345) >> 16 & 63;
		if (spool_add(spool, crowd.m[k]) < 0)
			return (void *)1;
	}
	return NULL;
}

static void *
settles(void *arg)
{
	unsigned x = (unsigned)(uintptr_t)arg;
	for (int i = 0; i < 6000; i++) {
		unsigned k = (x = x * 1103515245 + 12345) >> 16 & 63, bad = 0;
		int fd;
		if (spool_take(spool, &crowd.ids[k][i % 3], 300, &fd) == 0)
			close(fd);
		else
			bad++;
		spool_settle(spool, &crowd.ids[k][i % 3]);
		if (bad)
			return (void *)1;
	}
	return NULL;
}

static void
threads(void)
{
	pthread_t t[5];
	void *r;
	unsigned bad = 0;
	uint64_t left = 0;

	for (unsigned i = 0; i < 64; i++)
		crowd.m[i] = stored(5000 + 3 * i, 3, 300, crowd.ids[i]);
	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, adds, (void *)(i + 1));
	pthread_create(&t[4], NULL, settles, (void *)99);
	for (unsigned i = 0; i < 5; i++) {
		pthread_join(t[i], &r);
		bad += r != NULL;
	}
	is_int(bad, 0, "adding and settling at once: every chunk that is asked for is there");
	for (unsigned i = 0; i < 64; i++)
		for (unsigned k = 0; k < 3; k++)
			left += spool_has(spool, &crowd.ids[i][k]);
	ok(totals->entries == left && totals->bytes == left * 300, "and the counts are right (%llu)", (unsigned long long)left);
	int64_t t0 = clock_mono();
	struct chunk_id id;
	for (unsigned i = 0; i < 4000; i++) {
		stored(9000 + i, 1, 64, &id);
		spool_add(spool, manifest_build(&a, 64, 64, &id, 1));
	}
	int64_t both = clock_mono() - t0;
	t0 = clock_mono();
	for (unsigned i = 0; i < 4000; i++)
		stored(19000 + i, 1, 64, &id);
	note("spool_add: about %.1f us", (double)(both - (clock_mono() - t0)) / 4);
}

int
main(void)
{
	store_make();
	arena_init(&a);
	store = store_open(1 << 20);
	totals = shm_map(sizeof *totals);
	snprintf(dir, sizeof dir, "%s/spool", store_dir);
	is_int(spool_open(&spool, store, &(struct spool_options){ dir, 1000000, totals }), 0, "opens");
	basics();
	spoilt();
	random_names();
	bounds_and_doubts();
	sweeps();
	threads();
	spool_close(&spool);
	ok(spool == NULL, "closed");
	if (strncmp(store_dir, "/dev/shm", 8) == 0)
		is_int(spool_open(&spool, store, &(struct spool_options){ "/proc/self/spool", 1000000, totals }), -ERR_SYSTEM, "where no folder can be made, it does not open");
	chunks_close(&store);
	arena_fini(&a);
	return done_testing();
}
