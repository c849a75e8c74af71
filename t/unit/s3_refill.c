/* What the store has lost comes back from the bucket: once, however many want it; right, or not at all. */
#include "tap.h"
#include "s3_store.h"
#include "s3_fake.h"
#include "s3/object.h"
#include "s3/refill.h"
#include "common/arena.h"
#include "common/counters.h"
#include "common/shm.h"
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

#define MIB (1024 * 1024)
#define CHUNK (2 * MIB)          /* longer than REFILL_WHOLE */
#define SIZE (3 * CHUNK + 12345)
#define N 4                      /* chunks of it */
#define SLOTS 16

static struct chunks *store;
static struct spool *spool;
static struct spool_totals *totals;
static struct fill_table *table;
static struct bucket *bucket;
static struct arena a;
static unsigned char *body;
static struct chunk_id ids[N];
static struct str whole;         /* its manifest */
static _Atomic unsigned running;
static unsigned threads_left = UINT32_MAX;

static int64_t in_ms(int64_t ms) { return clock_mono() + ms; }

struct start { void (*job)(void *); void *arg; };
static void *
thread_main(void *arg)
{
	struct start s = *(struct start *)arg;
	free(arg);
	s.job(s.arg);
	atomic_fetch_sub(&running, 1);
	return NULL;
}

static bool
run(void *arg, void (*job)(void *), void *job_arg)
{
	struct start *s;
	pthread_t t;

	if (threads_left == 0)
		return false;
	threads_left -= threads_left != UINT32_MAX;
	s = malloc(sizeof *s);
	*s = (struct start){ job, job_arg };
	atomic_fetch_add(&running, 1);
	if (pthread_create(&t, NULL, thread_main, s) != 0)
		abort();
	pthread_detach(t);
	return true;
}

static void
quiet(void)
{
	for (int64_t until = in_ms(10000); atomic_load(&running) > 0 && clock_mono() < until; )
		usleep(500);
}

static struct refill *
made(unsigned ahead, bool threads)
{
	return refill_new(&(struct refill_options){ .bucket = bucket, .chunks = store, .fills = table, .spool = spool, .worker = 1, .prefix = "data/",
	                                            .depth = 4, .ahead = ahead, .run = threads ? run : NULL });
}

static void
forget_local(void)
{
	quiet();
	for (unsigned i = 0; i < N; i++)
		chunks_remove(store, &ids[i]);
	FAKE_SET(bucket, gets, 0);
	FAKE_SET(bucket, get_err, 0);
	FAKE_SET(bucket, wrong_at, UINT64_MAX);
	FAKE_SET(bucket, cuts, 0);
	FAKE_SET(bucket, short_end, false);
	threads_left = UINT32_MAX;
}

static unsigned
local(void)
{
	unsigned n = 0;
	quiet();
	for (unsigned i = 0; i < N; i++)
		n += chunks_has(store, &ids[i], i < N - 1 ? CHUNK : 12345);
	return n;
}

/* As delivery does it: [from, end); the number of right bytes, or what went wrong; *right: bytes before that. */
static int64_t
read_range(struct object *o, uint64_t from, uint64_t end, size_t piece, uint64_t *right)
{
	const void *v;
	uint64_t at = from;
	int64_t n = 0;

	*right = 0;
	while (at < end && (n = object_read(o, at, end - at < piece ? (size_t)(end - at) : piece, &v, in_ms(20000))) > 0) {
		if ((uint64_t)n > end - at || memcmp(v, body + at, (size_t)n) != 0)
			return -1000;
		at += (uint64_t)n;
		*right = at - from;
	}
	return n < 0 ? n : (int64_t)(at - from);
}

static int64_t
fetched(struct refill *r, struct str m, uint64_t from, uint64_t end, size_t piece)
{
	struct object *o;
	uint64_t right;
	int64_t n = object_open(&o, store, r, m);

	if (n < 0)
		return n;
	n = object_prepare(o, from, end - from, in_ms(20000));
	if (n == 0)
		n = read_range(o, from, end, piece, &right);
	object_close(&o);
	return n;
}

static void
comes_back(bool threads)
{
	const char *how = threads ? "another thread" : "the reader itself";
	struct refill *r = made(2, threads);
	static const struct { const char *what; uint64_t from, end; unsigned gets, local; } ranges[] = {
		{ "its first bytes", 0, 100, 1, 1 },
		{ "its last bytes", SIZE - 100, SIZE, 1, 1 },
		{ "one byte at a chunk's end", CHUNK - 1, CHUNK, 1, 1 },
		{ "the middle of a chunk", CHUNK + 1000, CHUNK + 500000, 1, 1 },
		{ "over a boundary", 2 * CHUNK - 10, 2 * CHUNK + 10, 2, 2 },
		{ "nearly all", 1, SIZE - 12346, 3, 3 },
	};

	forget_local();
	is_int(fetched(r, whole, 0, SIZE, 256 * 1024), SIZE, "a body that is in the bucket only, fetched by %s: all bytes", how);
	is_int(FAKE(bucket, gets), N, "each chunk was asked for once");
	is_int(local(), N, "they are here now");
	is_int(fetched(r, whole, 0, SIZE, 100000), SIZE, "the next one");
	is_int(FAKE(bucket, gets), N, "does not ask the bucket");
	for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
		forget_local();
		is_int(fetched(r, whole, ranges[i].from, ranges[i].end, 256 * 1024), ranges[i].end - ranges[i].from, "%s: %s", how, ranges[i].what);
		ok(FAKE(bucket, gets) == ranges[i].gets && local() == ranges[i].local, "%s: touched no other chunk (%u asked for, %u here)", ranges[i].what,
		    (unsigned)bucket->gets, local());
	}
	forget_local();
	chunks_put(store, body + CHUNK, CHUNK, &ids[1]);
	is_int(fetched(r, whole, 0, SIZE, 77777), SIZE, "one chunk is here, the others are not");
	is_int(FAKE(bucket, gets), N - 1, "those were asked for");
	quiet();
	is_int(fill_active(table), 0, "no fill is left");
	refill_free(&r);
}

static void
ahead(void)
{
	struct refill *r = made(3, true);
	struct object *o;
	uint64_t right;

	forget_local();
	FAKE_SET(bucket, hold_from, 1000);
	FAKE_SET(bucket, held, true);
	object_open(&o, store, r, whole);
	is_int(object_prepare(o, 0, SIZE, in_ms(200)), 0, "the first bytes are there");
	for (int64_t until = in_ms(5000); FAKE(bucket, gets) < 3 && clock_mono() < until; )
		usleep(1000);
	is_int(FAKE(bucket, gets), 3, "three chunks come at a time");
	ok(object_ready(o, 999) && !object_ready(o, 1000), "ready as far as it goes");
	fake_release(bucket);
	is_int(read_range(o, 0, SIZE, 256 * 1024, &right), SIZE, "and all bytes");
	object_close(&o);
	forget_local();
	FAKE_SET(bucket, held, true);
	FAKE_SET(bucket, hold_from, 0);
	object_open(&o, store, r, whole);
	is_int(object_prepare(o, 0, SIZE, in_ms(50)), -ERR_TIMEOUT, "a bucket that does not come round: the deadline");
	is_int(object_prepare(o, 0, SIZE, 0), -ERR_TIMEOUT, "no wait");
	fake_release(bucket);
	is_int(object_prepare(o, 0, SIZE, in_ms(5000)), 0, "then it does");
	object_close(&o);
	is_int(local(), 3, "who leaves does not stop what is under way");
	refill_free(&r);
}

/* --- lost, wrong, broken --- */

static void
lost(void)
{
	struct refill *r = made(4, true);
	struct object *o;
	struct str key = chunk_key(&a, "data/", 4, &ids[1]);
	uint64_t right;

	forget_local();
	fake_remove(bucket, key);
	is_int(fetched(r, whole, CHUNK, SIZE, 1000), -ERR_NOT_FOUND, "a chunk that S3 has lost: it is known before a byte is sent");
	ok(spool_doubted(spool, &ids[1]), "and noted, so that it is sent when we have it again");
	object_open(&o, store, r, whole);
	is_int(object_prepare(o, 0, SIZE, in_ms(5000)), 0, "lost in the middle");
	is_int(read_range(o, 0, SIZE, 100000, &right), -ERR_NOT_FOUND, "the body breaks");
	is_int(right, CHUNK, "there");
	object_close(&o);
	fake_put(bucket, key, body + CHUNK, CHUNK - 1);
	forget_local();
	is_int(fetched(r, whole, CHUNK, SIZE, 1000), -ERR_CORRUPT, "a chunk of another length is not believed");
	fake_put(bucket, key, body + CHUNK, CHUNK);
	spool_settle(spool, &ids[1]);
	refill_free(&r);
}

static void
wrong(void)
{
	struct refill *r = made(1, true);
	struct object *o;
	uint64_t right;
	struct chunk_id id;
	struct str small;
	unsigned whole_right = 0;

	for (unsigned i = 0; i < 3; i++) {
		static const uint64_t at[] = { 0, 1000000, CHUNK - 1 };
		forget_local();
		FAKE_SET(bucket, wrong_at, at[i]);
		object_open(&o, store, r, whole);
		if (object_prepare(o, 0, SIZE, in_ms(5000)) == 0) {
			const void *v;
			uint64_t off = 0;
			int64_t n;
			while ((n = object_read(o, off, 256 * 1024, &v, in_ms(5000))) > 0)
				off += (uint64_t)n;
			is_int(n, -ERR_CORRUPT, "wrong bytes at %llu: an error", (unsigned long long)at[i]);
			ok(off < CHUNK, "before the chunk's end (%llu)", (unsigned long long)off);
		} else
			ok(true, "wrong bytes at %llu: an error", (unsigned long long)at[i]);
		object_close(&o);
		is_int(local(), 0, "nothing is stored");
		FAKE_SET(bucket, wrong_at, UINT64_MAX);
		is_int(fetched(r, whole, 0, SIZE, 1000000), SIZE, "and the next one is right again");
	}
	/* ranges that end before the chunk does */
	static const struct { uint64_t from, end; size_t piece; } ranges[] = {
		{ 0, 100, 100 }, { 0, 1, 1 }, { 500000, 900000, 256 * 1024 }, { 500000, 900000, 4096 }, { 10, 11, 256 * 1024 }, { CHUNK - 10, CHUNK - 1, 3 },
	};
	for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
		forget_local();
		FAKE_SET(bucket, wrong_at, 2000); /* not even in it */
		FAKE_SET(bucket, delay_us, 500);
		object_open(&o, store, r, whole);
		int e = object_prepare(o, ranges[i].from, ranges[i].end - ranges[i].from, in_ms(5000));
		int64_t n = e < 0 ? e : read_range(o, ranges[i].from, ranges[i].end, ranges[i].piece, &right);
		whole_right += n == -ERR_CORRUPT && (e < 0 || right < ranges[i].end - ranges[i].from);
		object_close(&o);
	}
	FAKE_SET(bucket, delay_us, 0);
	is_int(whole_right, sizeof ranges / sizeof *ranges, "a range that ends inside a chunk that does not verify never ends well");
	forget_local();
	bytes_make(body + SIZE, 0, 500000, 77);
	sha256_raw(body + SIZE, 500000, id.b);
	id.n = SHA256_RAW;
	small = manifest_build(&a, 32 * MIB, 500000, &id, 1);
	fake_put(bucket, chunk_key(&a, "data/", 4, &id), body + SIZE, 500000);
	FAKE_SET(bucket, wrong_at, 499999);
	is_int(object_open(&o, store, r, small), 0, "a small body");
	is_int(object_prepare(o, 0, 500000, in_ms(5000)), -ERR_CORRUPT, "wrong in its last byte: it is known before the first is sent");
	object_close(&o);
	FAKE_SET(bucket, wrong_at, UINT64_MAX);
	object_open(&o, store, r, small);
	ok(object_prepare(o, 0, 500000, in_ms(5000)) == 0 && object_ready(o, 499999), "a right one is there as a whole");
	object_close(&o);
	quiet();
	ok(chunks_has(store, &id, 500000), "and in the store");
	is_int(fill_active(table), 0, "no fill is left");
	refill_free(&r);
}

static void
broken(void)
{
	struct refill *r = made(1, true);
	struct object *o;
	uint64_t right;

	for (unsigned s = 0; s < 2; s++) {
		forget_local();
		FAKE_SET(bucket, cut_at, 777777);
		FAKE_SET(bucket, cuts, 1);
		FAKE_SET(bucket, short_end, s);
		is_int(fetched(r, whole, 0, CHUNK, 256 * 1024), CHUNK, "a stream that breaks%s", s ? " as if it were at its end" : "");
		ok(FAKE(bucket, gets) == 2 && FAKE(bucket, got_from) == 777777, "is taken up where it ended");
	}
	forget_local();
	FAKE_SET(bucket, cuts, 2);
	FAKE_SET(bucket, held, true);
	FAKE_SET(bucket, hold_from, 500000);
	object_open(&o, store, r, whole);
	is_int(object_prepare(o, 0, SIZE, in_ms(5000)), 0, "one that breaks twice");
	const void *v;
	ok(object_read(o, 0, 1000, &v, in_ms(5000)) > 0, "while it is read");
	fake_release(bucket);
	is_int(read_range(o, 0, SIZE, 100000, &right), -ERR_S3_FAILED, "is an error");
	ok(right < CHUNK, "before its end");
	object_close(&o);
	is_int(local(), 0, "nothing of it is stored");
	is_int(refill_trouble(r) == NULL, 1, "once is no trouble");
	refill_free(&r);
}

static void
away(void)
{
	struct refill *r = made(1, true);
	struct object *o;
	uint64_t right;
	unsigned asked;
	int64_t t0;

	forget_local();
	FAKE_SET(bucket, get_err, -ERR_S3_DENIED);
	FAKE_SET(bucket, get_errs, 0);
	for (unsigned i = 0; i < 3; i++)
		is_int(fetched(r, whole, 0, 10, 10), -ERR_S3_DENIED, "a bucket that denies");
	quiet();
	ok(refill_trouble(r) != NULL, "is trouble");
	asked = (unsigned)FAKE(bucket, gets);
	is_int(fetched(r, whole, 0, 10, 10), -ERR_S3_FAILED, "and not asked for a while");
	is_int(FAKE(bucket, gets), asked, "at all");
	FAKE_SET(bucket, get_err, 0);
	for (t0 = clock_mono(); fetched(r, whole, 0, 10, 10) != 10 && clock_mono() - t0 < 10000; )
		usleep(20000);
	ok(clock_mono() - t0 >= 700 && clock_mono() - t0 < 8000, "a second later it is");
	quiet();
	ok(refill_trouble(r) == NULL, "all is well");

	forget_local(); /* between two chunks */
	object_open(&o, store, r, whole);
	object_prepare(o, 0, CHUNK, in_ms(5000));
	is_int(read_range(o, 0, CHUNK, 100000, &right), CHUNK, "the first chunk");
	quiet();
	FAKE_SET(bucket, get_err, -ERR_S3_SLOW_DOWN);
	FAKE_SET(bucket, get_errs, 2);
	const void *v;
	is_int(object_read(o, CHUNK, 10, &v, in_ms(20)), -ERR_TIMEOUT, "then S3 asks to slow down: the body does not break");
	is_int(read_range(o, CHUNK, SIZE, 100000, &right), SIZE - CHUNK, "it goes on when S3 does");
	object_close(&o);
	refill_free(&r);
}

/* --- many --- */

#define CROWD 500
static struct refill *crowd_refill;
static void *
crowd_reads(void *arg)
{
	uintptr_t k = (uintptr_t)arg;
	uint64_t from = k % 3 == 0 ? 0 : (k * 7919) % (CHUNK - 1000), end = k % 3 == 2 ? from + 1000 : CHUNK;

	return (void *)(uintptr_t)(fetched(crowd_refill, whole, from, end, 1000 + k * 997) != (int64_t)(end - from));
}

static void
crowd(void)
{
	pthread_t t[CROWD];
	unsigned bad = 0;
	void *v;
	pid_t child[2];
	int status;

	crowd_refill = made(1, true);
	forget_local();
	FAKE_SET(bucket, held, true);
	FAKE_SET(bucket, hold_from, 300000);
	pthread_create(&t[0], NULL, crowd_reads, (void *)0);
	while (FAKE(bucket, gets) < 1)
		usleep(1000);
	for (unsigned i = 0; i < 2; i++) { /* two other workers */
		child[i] = fork();
		if (child[i] == 0) {
			struct chunks *s = store_open(0);
			struct refill *r = refill_new(&(struct refill_options){ .bucket = fake_new(), .chunks = s, .fills = table, .worker = 2 + i, .prefix = "data/",
			                                                        .depth = 4, .ahead = 1, .run = NULL });
			store = s;
			_exit(fetched(r, whole, 0, CHUNK, 100000) == CHUNK ? 0 : 1);
		}
	}
	for (uintptr_t i = 1; i < CROWD; i++)
		pthread_create(&t[i], NULL, crowd_reads, (void *)i);
	usleep(100000);
	fake_release(bucket);
	for (unsigned i = 0; i < CROWD; i++) {
		pthread_join(t[i], &v);
		bad += v != NULL;
	}
	is_int(bad, 0, "%u readers of one cold chunk get its bytes", CROWD);
	for (unsigned i = 0; i < 2; i++) {
		waitpid(child[i], &status, 0);
		ok(WIFEXITED(status) && WEXITSTATUS(status) == 0, "so does another worker");
	}
	is_int(FAKE(bucket, gets), 1, "and the bucket is asked once");
	quiet();
	is_int(fill_active(table), 0, "no fill is left");
	refill_free(&crowd_refill);
}

static void
worker_dies(void)
{
	struct refill *r = made(1, true);
	struct object *o;
	uint64_t right;
	int p[2], status;
	char c;

	forget_local();
	if (pipe(p) < 0)
		abort();
	pid_t child = fork();
	if (child == 0) { /* claims the chunk and hangs */
		struct chunks *s = store_open(0);
		struct fill *w;
		char key[200], hex[CHUNK_NAME];
		chunk_name(&ids[0], hex);
		snprintf(key, sizeof key, "chunk/%s", hex);
		fill_claim(table, s, str_c(key), 7, CHUNK, &w);
		if (write(p[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	if (read(p[0], &c, 1) != 1)
		abort();
	object_open(&o, store, r, whole);
	is_int(object_prepare(o, 0, CHUNK, in_ms(30)), -ERR_TIMEOUT, "another worker fetches it, and hangs");
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	fill_bury(table, 7);
	is_int(object_prepare(o, 0, CHUNK, in_ms(5000)), 0, "it dies: we fetch it ourselves");
	is_int(read_range(o, 0, CHUNK, 100000, &right), CHUNK, "all of it");
	object_close(&o);
	is_int(FAKE(bucket, gets), 1, "once");
	quiet();
	refill_free(&r);
}

static void
no_thread(void)
{
	struct refill *r = made(4, true);
	struct object *o, *other;
	uint64_t right;
	const void *v;

	forget_local();
	threads_left = 0;
	is_int(fetched(r, whole, 0, SIZE, 256 * 1024), SIZE, "when no thread can be had, the reader does it");
	is_int(FAKE(bucket, gets), N, "nothing twice");
	forget_local();
	threads_left = 0;
	object_open(&o, store, r, whole);
	object_open(&other, store, r, whole);
	is_int(object_prepare(o, 0, CHUNK, in_ms(5000)), 0, "one drives");
	is_int(object_prepare(other, 0, CHUNK, in_ms(5000)), 0, "another follows");
	ok(object_read(other, 0, 100, &v, in_ms(5000)) > 0, "and reads");
	object_close(&o);
	is_int(read_range(other, 0, CHUNK, 100000, &right), CHUNK, "the one leaves before the end: the other gets all");
	object_close(&other);
	forget_local();
	threads_left = 0;
	object_open(&o, store, r, whole);
	object_prepare(o, 0, CHUNK, in_ms(5000));
	threads_left = 1;
	object_close(&o);
	is_int(local(), 1, "who leaves gives it to a thread when there is one");
	is_int(fill_active(table), 0, "no fill is left");
	refill_free(&r);
}

static void
full(bool threads)
{
	const char *how = threads ? "fetched by another thread" : "fetched by the reader";
	struct refill *r = made(2, threads);
	struct rlimit was, small;
	struct chunk_id id;
	struct str m;

	forget_local();
	getrlimit(RLIMIT_FSIZE, &was);
	small = was;
	small.rlim_cur = 400000;
	setrlimit(RLIMIT_FSIZE, &small);
	is_int(fetched(r, whole, 0, SIZE, 256 * 1024), SIZE, "the store is full: all bytes come all the same (%s)", how);
	is_int(fetched(r, whole, CHUNK + 5, CHUNK + 100000, 9999), 99995, "a range");
	is_int(fetched(r, whole, CHUNK + 700000, 2 * CHUNK + 100, 256 * 1024), CHUNK - 700000 + 100, "one that begins behind what the store took");
	FAKE_SET(bucket, wrong_at, CHUNK - 1);
	is_int(fetched(r, whole, 0, SIZE, 256 * 1024), -ERR_CORRUPT, "wrong bytes are an error");
	is_int(fetched(r, whole, CHUNK + 5, CHUNK + 1000000, 9999), -ERR_CORRUPT, "in a range that does not have them, too");
	FAKE_SET(bucket, wrong_at, UINT64_MAX);
	bytes_make(body + SIZE, 0, 500000, 78);
	sha256_raw(body + SIZE, 500000, id.b);
	id.n = SHA256_RAW;
	fake_put(bucket, chunk_key(&a, "data/", 4, &id), body + SIZE, 500000);
	m = manifest_build(&a, 32 * MIB, 500000, &id, 1);
	quiet();
	unsigned char *keep = body;
	body = body + SIZE;
	is_int(fetched(r, m, 0, 500000, 256 * 1024), 500000, "a small one");
	is_int(fetched(r, m, 100, 400000, 1000), 399900, "a range of it");
	body = keep;
	setrlimit(RLIMIT_FSIZE, &was);
	is_int(local(), 1, "what fits is stored, the rest is not");
	is_int(fill_active(table), 0, "no fill is left");
	usleep(1000 * 1100);
	forget_local();
	is_int(fetched(r, whole, 0, SIZE, 256 * 1024), SIZE, "there is room again");
	is_int(local(), N, "and it is stored");
	refill_free(&r);
}

static void
random_names(void)
{
	struct refill *r = made(4, true);
	struct chunk_id uuid[N];
	struct str m;

	for (unsigned i = 0; i < N; i++) {
		uuid[i] = chunk_id_random();
		fake_put(bucket, chunk_key(&a, "data/", 4, &uuid[i]), body + (size_t)i * CHUNK, i < N - 1 ? CHUNK : 12345);
	}
	m = manifest_build(&a, CHUNK, SIZE, uuid, N);
	forget_local();
	is_int(fetched(r, m, 0, SIZE, 256 * 1024), SIZE, "chunks with random names, as the old system has them");
	quiet();
	is_int(FAKE(bucket, gets), N, "each once");
	is_int(fetched(r, m, 0, SIZE, 256 * 1024), SIZE, "then from here");
	is_int(FAKE(bucket, gets), N, "without the bucket");
	fake_put(bucket, chunk_key(&a, "data/", 4, &uuid[0]), body, CHUNK - 5);
	chunks_remove(store, &uuid[0]);
	is_int(fetched(r, m, 0, SIZE, 256 * 1024), -ERR_CORRUPT, "one of another length is not believed");
	quiet();
	ok(str_eq(chunk_key(&a, "x/", 0, &ids[0]), arena_printf(&a, "x/%.64s", ({ static char h[CHUNK_NAME]; chunk_name(&ids[0], h); h; }))), "keys without folders");
	ok(chunk_key(&a, "", 8, &uuid[0]).n == 16 + 32, "and with eight");
	refill_free(&r);
}

static void
local_first(void)
{
	struct refill *r = made(1, true);
	struct object *o;
	struct chunk_id id;
	struct str m;
	uint64_t right;
	char path[CHUNKS_PATH];
	FILE *f;

	forget_local();
	chunks_put(store, body, CHUNK, &ids[0]);
	m = manifest_build(&a, CHUNK, CHUNK, &ids[0], 1);
	spool_add(spool, m);
	chunks_remove(store, &ids[0]);
	is_int(fetched(r, m, 0, CHUNK, 256 * 1024), CHUNK, "what waits for its upload and has gone from the store");
	is_int(FAKE(bucket, gets), 0, "is taken from the spool");
	spool_settle(spool, &ids[0]);
	/* a small one, spoilt on the disk */
	bytes_make(body + SIZE, 0, 5000, 79);
	chunks_put(store, body + SIZE, 5000, &id);
	fake_put(bucket, chunk_key(&a, "data/", 4, &id), body + SIZE, 5000);
	chunks_path(store_dir, &id, path);
	f = fopen(path, "r+");
	fputs("spoilt", f);
	fclose(f);
	m = manifest_build(&a, CHUNK, 5000, &id, 1);
	struct chunks *fresh = store_open(1 << 20), *kept = store;
	refill_free(&r);
	store = fresh;
	r = made(1, true);
	is_int(object_open(&o, fresh, r, m), 0, "a chunk that is spoilt here");
	is_int(object_prepare(o, 0, 5000, in_ms(5000)), 0, "comes from the bucket");
	unsigned char *keep = body;
	body = body + SIZE;
	is_int(read_range(o, 0, 5000, 1000, &right), 5000, "right");
	body = keep;
	object_close(&o);
	quiet();
	refill_free(&r);
	chunks_close(&fresh);
	store = kept;
}

static void
table_full(void)
{
	struct refill *r = made(4, true);
	struct fill *w[SLOTS];
	struct object *o;
	const void *v;
	uint64_t right;
	char key[20];

	forget_local();
	chunks_put(store, body + 3 * CHUNK, 12345, &ids[3]);
	object_open(&o, store, r, whole);
	object_prepare(o, 0, CHUNK, in_ms(5000));
	is_int(read_range(o, 0, CHUNK, 100000, &right), CHUNK, "the first chunk");
	quiet();
	is_int(object_read(o, SIZE - 5, 5, &v, in_ms(5000)), 5, "the last one, which is here: nothing comes now");
	for (unsigned i = 0; i < SLOTS; i++) {
		snprintf(key, sizeof key, "k%u", i);
		if (fill_claim(table, store, str_c(key), 3, 1000, &w[i]) != FILL_WRITER)
			w[i] = NULL;
	}
	is_int(object_read(o, CHUNK, 10, &v, in_ms(30)), -ERR_TIMEOUT, "the table of fills is full: the body waits");
	is_int(fetched(r, whole, CHUNK, SIZE, 1000), -ERR_BUSY, "what has not begun is told");
	for (unsigned i = 0; i < SLOTS; i++)
		if (w[i] != NULL)
			fill_fail(&w[i], -ERR_GONE, 0);
	is_int(read_range(o, CHUNK, SIZE, 100000, &right), SIZE - CHUNK, "until there is room");
	object_close(&o);
	quiet();
	refill_free(&r);
}

int
main(void)
{
	char dir[128];

	signal(SIGXFSZ, SIG_IGN);
	store_make();
	arena_init(&a);
	store = store_open(1 << 20);
	totals = shm_map(sizeof *totals);
	bucket = fake_new();
	table = fill_table_init(shm_map(fill_table_size(SLOTS)), SLOTS);
	snprintf(dir, sizeof dir, "%s/spool", store_dir);
	if (spool_open(&spool, store, &(struct spool_options){ dir, 1 << 30, totals }) < 0)
		return 1;
	body = malloc(SIZE + 500000);
	bytes_make(body, 0, SIZE, 1);
	for (unsigned i = 0; i < N; i++) {
		uint64_t n = i < N - 1 ? CHUNK : 12345;
		sha256_raw(body + (size_t)i * CHUNK, n, ids[i].b);
		ids[i].n = SHA256_RAW;
		fake_put(bucket, chunk_key(&a, "data/", 4, &ids[i]), body + (size_t)i * CHUNK, n);
	}
	whole = manifest_build(&a, CHUNK, SIZE, ids, N);
	comes_back(true);
	comes_back(false);
	ahead();
	lost();
	wrong();
	broken();
	away();
	crowd();
	worker_dies();
	no_thread();
	full(true);
	full(false);
	random_names();
	local_first();
	table_full();
	quiet();
	is_int(fill_active(table), 0, "in the end no fill is left");
	spool_close(&spool);
	chunks_close(&store);
	arena_fini(&a);
	free(body);
	return done_testing();
}
