/* Uploads: what is in the spool gets into the bucket whatever the bucket does, once, and only what is there is called there. */
#include "tap.h"
#include "s3_store.h"
#include "s3_fake.h"
#include "s3/refill.h"
#include "s3/upload.h"
#include "common/arena.h"
#include "common/shm.h"
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>

static struct chunks *store;
static struct spool *spool;
static struct spool_totals *totals;
static struct bucket *bucket;
static struct arena a;
static shm_event ends;
static unsigned char body[100000];

static void on_done(void *arg) { thread_wake_all(&ends); }

static struct upload *
started(unsigned threads)
{
	return upload_start(&(struct upload_options){ .bucket = bucket, .spool = spool, .prefix = "data/", .depth = 4, .threads = threads, .pause_ms = 10,
	                                              .done = on_done });
}

static struct str
made(unsigned seed, unsigned n, size_t size, struct chunk_id *ids)
{
	for (unsigned i = 0; i < n; i++) {
		bytes_make(body, 0, size, seed + i);
		chunks_put(store, body, size, &ids[i]);
	}
	return manifest_build(&a, size, n * size, ids, n);
}

/* asks until it is no more under way */
static enum upload_state
settled(struct upload *u, struct str m)
{
	int64_t until = clock_mono() + 20000;
	for (;;) {
		uint32_t seen = atomic_load(&ends);
		enum upload_state s = upload_want(u, m);
		if ((s != UPLOAD_UNDER_WAY && s != UPLOAD_BUSY) || clock_mono() > until)
			return s;
		thread_wait(&ends, seen, clock_mono() + 200);
	}
}

static bool
stands(const struct chunk_id *id, size_t size, unsigned seed)
{
	pthread_mutex_lock(&bucket->m);
	int i = fake_find(bucket, chunk_key(&a, "data/", 4, id));
	bool right = i >= 0 && bucket->objects[i].size == size && bytes_right(bucket->objects[i].bytes, 0, size, seed);
	pthread_mutex_unlock(&bucket->m);
	return right;
}

static void
goes_up(void)
{
	struct upload *u = started(4);
	struct chunk_id ids[20];
	struct str m = made(100, 20, 5000, ids);
	unsigned right = 0, puts;

	is_int(upload_want(u, STR_NONE), UPLOAD_THERE, "an empty body is there");
	is_int(upload_want(u, STR("nonsense")), UPLOAD_FAILED, "nonsense will never be");
	spool_add(spool, m);
	FAKE_SET(bucket, delay_us, 2000);
	is_int(upload_want(u, m), UPLOAD_UNDER_WAY, "twenty chunks");
	is_int(settled(u, m), UPLOAD_THERE, "are there in the end");
	for (unsigned i = 0; i < 20; i++)
		right += stands(&ids[i], 5000, 100 + i);
	is_int(right, 20, "under their keys, with their bytes");
	ok(totals->entries == 0 && totals->bytes == 0, "the spool is empty");
	ok(FAKE(bucket, most) > 1 && FAKE(bucket, most) <= 4, "several at a time, no more than threads (%u)", (unsigned)bucket->most);
	puts = (unsigned)FAKE(bucket, puts);
	is_int(puts, 20, "each was sent once");
	is_int(upload_want(u, m), UPLOAD_THERE, "they still are");
	is_int(FAKE(bucket, puts), puts, "and S3 is not asked");
	for (unsigned i = 0; i < SPOOL_KNOWN; i++)
		atomic_store(&totals->known[i], 0);
	spool_add(spool, m);
	is_int(totals->entries, 20, "linked once more");
	is_int(upload_want(u, m), UPLOAD_THERE, "there at once");
	is_int(totals->entries, 0, "and the links go");
	upload_stop(&u);
	ok(u == NULL, "stopped");
	u = started(2);
	spool_add(spool, made(100, 1, 5000, ids));
	is_int(settled(u, manifest_build(&a, 5000, 5000, ids, 1)), UPLOAD_THERE, "a new process does not know it");
	is_int(FAKE(bucket, there), 1, "but the bucket says that it has it: it is not sent again");
	upload_stop(&u);
	FAKE_SET(bucket, delay_us, 0);
}

static void
heals(int err, const char *what)
{
	struct upload *u = started(8);
	struct chunk_id ids[30];
	static unsigned seed = 5000;
	struct str m = made(seed += 100, 30, 300, ids);
	unsigned right = 0, most;

	FAKE_SET(bucket, put_err, err);
	FAKE_SET(bucket, put_errs, 0);
	FAKE_SET(bucket, most, 0);
	spool_add(spool, m);
	upload_want(u, m);
	int64_t until = clock_mono() + 10000;
	while (upload_trouble(u) == NULL && clock_mono() < until)
		usleep(1000);
	ok(upload_trouble(u) != NULL && strcmp(upload_trouble(u), err_text(err)) == 0, "%s: it is said", what);
	FAKE_SET(bucket, put_err, 0);
	most = (unsigned)FAKE(bucket, now);
	is_int(settled(u, m), UPLOAD_THERE, "%s: tried again until it is well", what);
	for (unsigned i = 0; i < 30; i++)
		right += stands(&ids[i], 300, seed + i);
	is_int(right, 30, "%s: all is there", what);
	ok(totals->entries == 0 && upload_trouble(u) == NULL && upload_queued(u) == 0 && most <= 8, "%s: nothing is left", what);
	upload_stop(&u);
}

/* What S3 is asked while it is down: little. */
static void
outage(void)
{
	struct upload *u = upload_start(&(struct upload_options){ bucket, spool, "data/", 4, 8, 100, on_done, NULL });
	struct chunk_id ids[50];
	struct str m = made(9000, 50, 100, ids);
	unsigned before, during;

	FAKE_SET(bucket, put_err, -ERR_S3_FAILED);
	FAKE_SET(bucket, put_errs, 0);
	spool_add(spool, m);
	before = (unsigned)FAKE(bucket, puts);
	upload_want(u, m);
	usleep(600000);
	during = (unsigned)FAKE(bucket, puts) - before;
	ok(during >= 2 && during <= 8 + 6, "fifty chunks wait for a bucket that is away, with pauses that grow: it was asked %u times in 600 ms", during);
	is_int(upload_want(u, m), UPLOAD_UNDER_WAY, "they wait");
	is_int(totals->entries, 50, "in the spool");
	FAKE_SET(bucket, put_err, 0);
	is_int(settled(u, m), UPLOAD_THERE, "and go up when it is back");
	upload_stop(&u);
}

static void
kicked(void)
{
	struct upload *u = upload_start(&(struct upload_options){ bucket, spool, "data/", 4, 4, 20000, on_done, NULL });
	struct chunk_id ids[5];
	struct str m = made(9500, 5, 100, ids);
	int64_t t0 = clock_mono();

	FAKE_SET(bucket, put_err, -ERR_S3_FAILED);
	FAKE_SET(bucket, put_errs, 0);
	spool_add(spool, m);
	upload_want(u, m);
	while (upload_trouble(u) == NULL && clock_mono() - t0 < 10000)
		usleep(1000);
	FAKE_SET(bucket, put_err, 0);
	usleep(20000);
	upload_kick(u);
	is_int(settled(u, m), UPLOAD_THERE, "who knows that S3 is back ends the pause");
	ok(clock_mono() - t0 < 9000, "of ten seconds or more");
	upload_stop(&u);
}

static void
slow_down(void)
{
	struct upload *u = started(16);
	struct chunk_id ids[40];
	struct str m = made(12000, 40, 100, ids);

	FAKE_SET(bucket, put_err, -ERR_S3_SLOW_DOWN);
	FAKE_SET(bucket, put_errs, 16 + 3);
	FAKE_SET(bucket, most, 0);
	FAKE_SET(bucket, put_held, true);
	spool_add(spool, m);
	upload_want(u, m);
	while (FAKE(bucket, now) < 16)
		usleep(1000);
	is_int(FAKE(bucket, most), 16, "sixteen at a time");
	FAKE_SET(bucket, most, 0);
	FAKE_SET(bucket, delay_us, 3000);
	fake_release(bucket);
	is_int(settled(u, m), UPLOAD_THERE, "S3 asks to slow down, and gets all in the end");
	ok(FAKE(bucket, most) < 16, "by fewer at a time (%u)", (unsigned)bucket->most);
	FAKE_SET(bucket, delay_us, 0);
	upload_stop(&u);
}

static void
never(void)
{
	struct upload *u = started(2);
	struct chunk_id ids[4], other;
	struct str m = made(20000, 3, 4000, ids), two;
	char path[CHUNKS_PATH];

	spool_add(spool, m);
	FAKE_SET(bucket, put_err, -ERR_S3_REFUSED);
	FAKE_SET(bucket, put_errs, 0);
	is_int(settled(u, m), UPLOAD_FAILED, "what S3 refuses will never be there");
	while (upload_queued(u) > 0)
		usleep(1000);
	ok(totals->failed == 3 && totals->entries == 0, "it is put aside");
	FAKE_SET(bucket, put_err, 0);
	is_int(upload_want(u, m), UPLOAD_FAILED, "and stays so");
	spool_add(spool, m);
	is_int(settled(u, m), UPLOAD_THERE, "until it is stored anew");

	m = made(21000, 2, 4000, ids);
	spool_add(spool, m);
	spool_settle(spool, &ids[0]);
	chunks_remove(store, &ids[0]);
	is_int(settled(u, m), UPLOAD_FAILED, "a chunk that is nowhere: its document is not published");
	m = made(22000, 1, 4000, ids);
	chunks_path(store_dir, &ids[0], path);
	spool_add(spool, m);
	int fd = open(path, O_WRONLY);
	ok(pwrite(fd, "spoilt", 6, 100) == 6, "a spoilt chunk");
	close(fd);
	is_int(settled(u, m), UPLOAD_FAILED, "is never sent");
	ok(!stands(&ids[0], 4000, 22000) && fake_find(bucket, chunk_key(&a, "data/", 4, &ids[0])) < 0, "in no form");

	m = made(23000, 1, 4000, ids);
	bytes_make(body, 0, 4000, 23000);
	fake_put(bucket, chunk_key(&a, "data/", 4, &ids[0]), body, 4000);
	chunks_remove(store, &ids[0]);
	int at = fake_find(bucket, chunk_key(&a, "data/", 4, &ids[0]));
	FAKE_SET(bucket, objects[at].old, true);
	is_int(settled(u, m), UPLOAD_THERE, "one that is neither in the spool nor in the store, but in the bucket, is there");
	ok(!FAKE(bucket, objects[at].old), "and was made young: gc deletes what is old and what no document needs yet");
	m = made(23500, 1, 4000, ids);
	bytes_make(body, 0, 4000, 23500);
	fake_put(bucket, chunk_key(&a, "data/", 4, &ids[0]), body, 4000);
	chunks_remove(store, &ids[0]);
	at = fake_find(bucket, chunk_key(&a, "data/", 4, &ids[0]));
	FAKE_SET(bucket, objects[at].old, true);
	FAKE_SET(bucket, no_copy, true);
	is_int(settled(u, m), UPLOAD_FAILED, "one that cannot be made young is not relied on");
	FAKE_SET(bucket, no_copy, false);
	m = made(24000, 1, 4000, ids);
	is_int(settled(u, m), UPLOAD_THERE, "one that is in the store only is sent from there");
	ok(stands(&ids[0], 4000, 24000), "whole");
	other = ids[0];
	two = manifest_build(&a, 5000, 4001, &other, 1);
	is_int(upload_want(u, two), UPLOAD_FAILED, "a manifest that says another length is not what was sent");
	upload_stop(&u);
}

static void
doubted(void)
{
	struct upload *u = started(2);
	struct chunk_id id;
	struct str m = made(30000, 1, 4000, &id), key = chunk_key(&a, "data/", 4, &id);
	unsigned forced = (unsigned)FAKE(bucket, forced);

	memset(body, 1, 4000);
	fake_put(bucket, key, body, 4000); /* as long as it should be, and wrong */
	spool_add(spool, m);
	is_int(settled(u, m), UPLOAD_THERE, "the bucket has it, it seems");
	spool_doubt(spool, &id);
	is_int(upload_want(u, m), UPLOAD_UNDER_WAY, "it is in doubt");
	is_int(settled(u, m), UPLOAD_THERE, "sent again");
	ok(stands(&id, 4000, 30000) && FAKE(bucket, forced) == forced + 1, "over what was there");
	ok(!spool_doubted(spool, &id), "no doubt any more");
	spool_doubt(spool, &id);
	chunks_remove(store, &id);
	spool_settle(spool, &id);
	spool_doubt(spool, &id);
	is_int(settled(u, m), UPLOAD_FAILED, "in doubt, and we have it no more: not published");
	upload_stop(&u);
}

static void
queue_bound(void)
{
	struct upload *u = started(4);
	static struct chunk_id ids[UPLOAD_QUEUE + 1000];
	struct str m;
	unsigned n = UPLOAD_QUEUE + 1000;

	for (unsigned i = 0; i < n; i++) {
		memset(ids[i].b, 0, sizeof ids[i].b);
		sha256_raw(&i, sizeof i, ids[i].b);
		ids[i].n = SHA256_RAW;
	}
	m = manifest_build(&a, 10, (uint64_t)n * 10, ids, n);
	FAKE_SET(bucket, head_err, -ERR_S3_FAILED);
	is_int(upload_want(u, m), UPLOAD_BUSY, "more chunks than the queue takes");
	is_int(upload_queued(u), UPLOAD_QUEUE, "fill it");
	FAKE_SET(bucket, head_err, 0);
	is_int(settled(u, m), UPLOAD_FAILED, "and come to an end");
	upload_stop(&u);
}

int
main(void)
{
	char dir[128];

	store_make();
	arena_init(&a);
	store = store_open(1 << 20);
	totals = shm_map(sizeof *totals);
	bucket = fake_new();
	snprintf(dir, sizeof dir, "%s/spool", store_dir);
	if (spool_open(&spool, store, &(struct spool_options){ dir, 1 << 30, totals }) < 0)
		return 1;
	goes_up();
	heals(-ERR_S3_FAILED, "S3 fails");
	heals(-ERR_S3_SLOW_DOWN, "S3 is busy");
	heals(-ERR_S3_DENIED, "S3 denies");
	heals(-ERR_CONFLICT, "a conflict");
	outage();
	kicked();
	slow_down();
	never();
	doubted();
	queue_bound();
	spool_close(&spool);
	chunks_close(&store);
	arena_fini(&a);
	return done_testing();
}
