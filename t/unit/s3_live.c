/* bucket.h against a real S3 server: t/43-s3.t starts one and says where it is. S3_LIVE: its endpoint; S3_LIVE_BUCKET: a bucket of keys
 * testkey, testsecret; S3_LIVE_OPEN: one that anybody may read. S3_LIVE_BENCH: figures instead of tests. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include "../../common/clock.h"
#include "../../common/err.h"
#include "../../common/fd.h"
#include "../../s3/bucket.h"
#include "../../s3/gc.h"
#include "../../s3/refill.h"
#include "s3_store.h"
#include "tap.h"

#define MB (1u << 20)

static struct httpc *engine;
static const char *endpoint, *name, *open_name;
static char problem[BUCKET_PROBLEM];

static void
says(const char *part, const char *what)
{
	if (!ok(str_has(str_c(problem), str_c(part)), "%s", what))
		note("%s", problem);
}

static struct credentials *
keys_of(const char *access_key, const char *secret_key)
{
	return credentials_new(&(struct credentials_options){ .httpc = engine, .access_key = access_key, .secret_key = secret_key });
}

static struct bucket *
bucket_in(const char *region, const char *bucket, struct credentials *c, const char *read_url)
{
	struct bucket *b;
	struct bucket_options o = { .httpc = engine, .credentials = c, .endpoint = endpoint, .bucket = bucket, .region = region, .read_url = read_url,
		.connect_timeout_ms = 2000, .read_timeout_ms = 20000, .multipart_min = 12 * MB, .part_size = 5 * MB };
	int r = bucket_open(&b, &o, problem);

	if (r < 0) {
		printf("Bail out! %s\n", problem);
		exit(1);
	}
	return b;
}
static struct bucket *bucket_of(const char *bucket, struct credentials *c, const char *read_url) { return bucket_in("us-east-1", bucket, c, read_url); }

static int
file_of(size_t n, unsigned seed)
{
	char path[128];
	unsigned char *p = xmalloc(n + !n);

	snprintf(path, sizeof path, "%s/f", store_dir);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bytes_make(p, 0, n, seed);
	if (fd < 0 || fd_write_all(fd, p, n) < 0)
		exit(1);
	unlink(path);
	free(p);
	return fd;
}

/* All bytes that come, compared with what they must be: their number, or an error. */
static int64_t
fetch(struct bucket *b, const char *key, uint64_t off, uint64_t n, unsigned seed, uint64_t *size)
{
	struct bucket_read *rd;
	const void *view;
	int64_t got, sum = 0;
	int r = bucket_get(b, str_c(key), off, n, &rd, size, problem);

	if (r < 0)
		return r;
	while ((got = bucket_read(rd, &view, clock_mono() + 10000)) > 0) {
		if (!bytes_right(view, off + (uint64_t)sum, (size_t)got, seed))
			got = -ERR_CORRUPT;
		if (got < 0)
			break;
		sum += got;
	}
	bucket_read_end(&rd);
	return got < 0 ? got : sum;
}

static void
test_objects(struct bucket *b)
{
	static const struct { const char *key; size_t n; } objects[] = {
		{ "data/0/1/2/3/0123", 1 }, { "data/0/1/2/3/0124", 65536 }, { "data/0/1/2/4/empty", 0 }, { "data/1/0/0/0/big", 3 * MB + 17 },
		{ "data/odd/a b+c%25&=~$(x)\xc3\xa9", 100 },
	};
	uint64_t size = 0;
	int64_t mtime = 0;

	for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) {
		const char *key = objects[i].key;
		size_t n = objects[i].n;
		int fd = file_of(n, (unsigned)i);
		is_int(bucket_head(b, str_c(key), &size, problem), -ERR_NOT_FOUND, "%s is not there at first", key);
		is_int(bucket_put_file(b, str_c(key), fd, n, NULL, true, problem), 0, "%s is sent", key);
			is_int(bucket_put_file(b, str_c(key), fd, n, NULL, true, problem), 1, "%s is not sent again", key);
		is_int(bucket_put_file(b, str_c(key), fd, n, NULL, false, problem), 0, "%s is, when asked for", key);
		is_int(bucket_stat(b, str_c(key), &size, &mtime, problem), 0, "%s is there", key);
		is_int(size, n, "%s: its size", key);
		ok(mtime > bucket_now(b) - 60000 && mtime < bucket_now(b) + 60000, "%s: its time", key);
		size = 0;
		is_int(fetch(b, key, 0, 0, (unsigned)i, &size), n, "%s comes back", key);
		is_int(size, n, "%s: with its size", key);
		fd_close(&fd);
	}
	const char *big = objects[3].key;
	is_int(fetch(b, big, 1000, 5000, 3, &size), 5000, "a range");
	is_int(size, 3 * MB + 17, "knows the whole object's size");
	is_int(fetch(b, big, 3 * MB, 0, 3, &size), 17, "a range to the end");
	is_int(fetch(b, big, 3 * MB, MB, 3, &size), 17, "a range beyond the end ends there");
	is_int(fetch(b, big, 0, 1, 3, &size), 1, "the first byte");
	is_int(fetch(b, big, 4 * MB, 1, 3, &size), -ERR_S3_REFUSED, "a range behind the end is refused");
	is_int(fetch(b, "data/none", 0, 0, 3, &size), -ERR_NOT_FOUND, "a key that is not there");
	says("NoSuchKey", "says so");
	int fd = file_of(100, 9);
	is_int(bucket_put_file(b, STR("data/0/1/2/3/0123"), fd, 100, NULL, true, problem), 0, "what is there with another size is replaced");
	is_int(fetch(b, "data/0/1/2/3/0123", 0, 0, 9, &size), 100, "so it is");
	uint8_t wrong[32] = { 1 };
	is_int(bucket_put_file(b, STR("data/wrong"), fd, 100, wrong, false, problem), -ERR_S3_FAILED, "bytes that are not those of their hash are not taken by S3");
	is_int(bucket_head(b, STR("data/wrong"), &size, problem), -ERR_NOT_FOUND, "and are not there");
	is_int(bucket_put_file(b, STR("data/short"), fd, 200, NULL, false, problem), -ERR_CORRUPT, "a file that is shorter than it was said to be");
	is_int(bucket_put_file(b, STR("data/short"), fd, 200, wrong, false, problem), -ERR_CORRUPT, "found out while it is sent");
	is_int(bucket_head(b, STR("data/short"), &size, problem), -ERR_NOT_FOUND, "is not there");
	fd_close(&fd);
	is_int(bucket_delete(b, STR("data/0/1/2/3/0124"), problem), 0, "an object is deleted");
	is_int(bucket_head(b, STR("data/0/1/2/3/0124"), &size, problem), -ERR_NOT_FOUND, "and gone");
	is_int(bucket_delete(b, STR("data/0/1/2/3/0124"), problem), 0, "deleting what is not there is no error");
}

static void
test_parts(struct bucket *b)
{
	uint64_t size = 0, n = 12 * MB + 4321;
	int fd = file_of(n, 77);

	is_int(bucket_put_file(b, STR("data/parts"), fd, n, NULL, true, problem), 0, "a large object goes in parts");
	is_int(fetch(b, "data/parts", 0, 0, 77, &size), n, "and comes back whole");
	is_int(fetch(b, "data/parts", 5 * MB - 10, 20, 77, &size), 20, "across the border of two parts");
	is_int(bucket_put_file(b, STR("data/parts"), fd, n, NULL, true, problem), 1, "it is not sent again");
	is_int(bucket_put_file(b, STR("data/parts2"), fd, n + 6 * MB, NULL, false, problem), -ERR_CORRUPT, "parts of a file that is too short");
	is_int(bucket_head(b, STR("data/parts2"), &size, problem), -ERR_NOT_FOUND, "make no object");
	is_int(bucket_delete(b, STR("data/parts"), problem), 0, "deleted");
	fd_close(&fd);
}

struct seen { unsigned n, stop; char last[64]; bool ordered; uint64_t bytes; };
static bool
visit(void *arg, struct str key, uint64_t size, int64_t mtime)
{
	struct seen *s = arg;

	s->ordered = s->ordered && str_cmp(str_c(s->last), key) < 0;
	snprintf(s->last, sizeof s->last, "%.*s", STRP(key));
	s->bytes += size;
	s->n++;
	return s->n != s->stop;
}

static void *
fill_main(void *arg)
{
	struct bucket *b = arg;
	static _Atomic unsigned next;
	int fd = file_of(1, 1);
	char problem_here[BUCKET_PROBLEM];
	unsigned i;

	while ((i = next++) < 1203) {
		char key[64];
		snprintf(key, sizeof key, "list/%x/%04u", i % 16, i);
		int tries = 3; /* this server fails now and then when several make one folder */
		while (bucket_put_file(b, str_c(key), fd, 1, NULL, false, problem_here) != 0 && --tries > 0)
			printf("# %s was not sent: %s\n", key, problem_here);
	}
	fd_close(&fd);
	return NULL;
}

static void
test_list(struct bucket *b)
{
	pthread_t t[4];
	struct seen s = { .ordered = true };

	is_int(bucket_list(b, STR("list/"), STR_NONE, visit, &s, problem), 0, "a list of nothing");
	is_int(s.n, 0, "is empty");
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, fill_main, b);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	is_int(bucket_list(b, STR("list/"), STR_NONE, visit, &s, problem), 0, "a list of more than a page");
	is_int(s.n, 1203, "has all keys");
	is_int(s.bytes, 1203, "and their sizes");
	ok(s.ordered, "in order");
	s = (struct seen){ .ordered = true };
	is_int(bucket_list(b, STR("list/a/"), STR_NONE, visit, &s, problem), 0, "of a prefix");
	is_int(s.n, 75, "has only those below it");
	char last[64];
	snprintf(last, sizeof last, "%s", s.last);
	s = (struct seen){ .ordered = true, .stop = 5 };
	is_int(bucket_list(b, STR("list/"), str_c(last), visit, &s, problem), 0, "from a key on");
	is_int(s.n, 5, "stops when told to");
	ok(strncmp(s.last, "list/b/", 7) == 0, "begins behind that key");
	s = (struct seen){ .ordered = true };
	is_int(bucket_list(b, STR("data/odd/"), STR_NONE, visit, &s, problem), 0, "a key with odd characters");
	is_str(str_c(s.last), STR("data/odd/a b+c%25&=~$(x)\xc3\xa9"), "is listed as it is");
}

static void
test_access(void)
{
	struct credentials *good = keys_of("testkey", "testsecret"), *bad = keys_of("testkey", "wrong"), *stranger = keys_of("nobody", "secret");
	struct bucket *b = bucket_of(name, bad, ""), *missing, *open, *by_url;
	uint64_t size;
	char url[256];
	int fd = file_of(10, 5);

	is_int(bucket_check(b, 2000, problem), -ERR_S3_DENIED, "a wrong secret: the check");
	is_int(fetch(b, "data/1/0/0/0/big", 0, 0, 3, &size), -ERR_S3_DENIED, "a wrong secret: reading");
	says("SignatureDoesNotMatch", "says why");
	ok(!str_has(str_c(problem), STR("wrong")), "and not the secret");
	is_int(bucket_put_file(b, STR("data/x"), fd, 10, NULL, true, problem), -ERR_S3_DENIED, "a wrong secret: sending");
	bucket_close(&b);
	b = bucket_of(name, stranger, "");
	is_int(fetch(b, "data/1/0/0/0/big", 0, 0, 3, &size), -ERR_S3_DENIED, "an unknown access key");
	bucket_close(&b);
	b = bucket_of(name, NULL, "");
	is_int(fetch(b, "data/1/0/0/0/big", 0, 0, 3, &size), -ERR_S3_DENIED, "nobody may not read");
	bucket_close(&b);

	b = bucket_in("us-west-2", name, good, "");
	is_int(bucket_check(b, 2000, problem), 0, "another region than the bucket's: the check learns it, as a node's first question");
	bucket_close(&b);
	missing = bucket_of("there-is-none", good, "");
	is_int(bucket_check(missing, 2000, problem), -ERR_NOT_FOUND, "no such bucket: the check");
	is_int(fetch(missing, "data/x", 0, 0, 3, &size), -ERR_S3_FAILED, "no such bucket is not a missing object");
	says("NoSuchBucket", "says so");
	is_int(bucket_put_file(missing, STR("data/x"), fd, 10, NULL, true, problem), -ERR_S3_FAILED, "nor can be sent to");
	struct seen s = { .ordered = true };
	is_int(bucket_list(missing, STR("data/"), STR_NONE, visit, &s, problem), -ERR_S3_FAILED, "nor listed");
	bucket_close(&missing);

	open = bucket_of(open_name, good, "");
	is_int(bucket_put_file(open, STR("data/a b"), fd, 10, NULL, true, problem), 0, "into a bucket that all may read");
	bucket_close(&open);
	snprintf(url, sizeof url, "%s/%s/", endpoint, open_name);
	by_url = bucket_of(open_name, NULL, url);
	is_int(fetch(by_url, "data/a b", 0, 0, 5, &size), 10, "read from its URL without keys");
	is_int(fetch(by_url, "data/a b", 3, 4, 5, &size), 4, "a range, too");
	is_int(fetch(by_url, "data/none", 0, 0, 5, &size), -ERR_NOT_FOUND, "what is not there");
	bucket_close(&by_url);
	open = bucket_of(open_name, NULL, "");
	is_int(fetch(open, "data/a b", 0, 0, 5, &size), 10, "read by the API without keys");
	is_int(bucket_put_file(open, STR("data/x"), fd, 10, NULL, false, problem), -ERR_S3_DENIED, "but not written to");
	bucket_close(&open);
	fd_close(&fd);
	credentials_free(&good);
	credentials_free(&bad);
	credentials_free(&stranger);
}

/* An object that is days old is made young. The server's files are the only way to age it: S3_LIVE_DIR. */
static void
test_age(struct bucket *b)
{
	const char *dir = getenv("S3_LIVE_DIR");
	char path[512];
	uint64_t size;
	int64_t mtime;

	if (!dir)
		return;
	for (int large = 0; large < 2; large++) {
		const char *key = large ? "data/old/large" : "data/old/small";
		size_t n = large ? MB : 10;
		int fd = file_of(n, 6);
		is_int(bucket_put_file(b, str_c(key), fd, n, NULL, true, problem), 0, "%s is sent", key);
		snprintf(path, sizeof path, "%s/buckets/%s/%s", dir, name, key);
		struct timespec t[2] = { { time(NULL) - 3 * 86400, 0 }, { time(NULL) - 3 * 86400, 0 } };
		ok(utimensat(AT_FDCWD, path, t, 0) == 0 && bucket_stat(b, str_c(key), &size, &mtime, problem) == 0 && bucket_now(b) - mtime > 2 * 86400000LL,
			"days pass");
		ok(bucket_put_file(b, str_c(key), fd, n, NULL, true, problem) >= 0, "it is there"); /* whether it is sent again is for the server: some copy */
		ok(bucket_stat(b, str_c(key), &size, &mtime, problem) == 0 && bucket_now(b) - mtime < 60000, "but young now");
		is_int(fetch(b, key, 0, 0, 6, &size), n, "with the bytes that it had");
		fd_close(&fd);
	}
}

/* ---- garbage */

#define GC_PREFIX "gc/"
enum { REFERRED, GARBAGE, YOUNG, MADE_YOUNG, KINDS };
static struct chunk_id chunk(unsigned i)
{
	uint8_t raw[SHA256_RAW];
	sha256_raw(&i, sizeof i, raw);
	return chunk_id_of(raw, i % 5 ? SHA256_RAW : CHUNK_UUID); /* every fifth is of the old system */
}

static void
age(struct str key, int days)
{
	char path[512];
	struct timespec t[2] = { { time(NULL) - days * 86400, 0 }, { time(NULL) - days * 86400, 0 } };

	snprintf(path, sizeof path, "%s/buckets/%s/%.*s", getenv("S3_LIVE_DIR"), name, STRP(key));
	utimensat(AT_FDCWD, path, t, 0);
}

static void
count_found(void *arg, struct str key, uint64_t size, int64_t mtime)
{
	++*(unsigned *)arg;
}

static void
test_gc(struct bucket *b)
{
	enum { N = 200 };
	struct gc_report rep;
	struct gc *g;
	struct arena a;
	unsigned left[KINDS] = { 0 }, found = 0;
	uint64_t size;
	int fd = file_of(10, 1);

	if (!getenv("S3_LIVE_DIR"))
		return;
	arena_init(&a);
	for (unsigned i = 0; i < N; i++) {
		struct chunk_id id = chunk(i);
		struct str key = chunk_key(&a, GC_PREFIX, 4, &id);
		if (bucket_put_file(b, key, fd, 10, NULL, false, problem) < 0)
			ok(false, "%s", problem);
		if (i % KINDS != YOUNG)
			age(key, 9);
	}
	/* none of ours: another depth, another name */
	struct chunk_id odd = chunk(1);
	const struct str foreign[] = { chunk_key(&a, GC_PREFIX, 2, &odd), STR(GC_PREFIX "notes.txt"), STR(GC_PREFIX "a/b/c/d/0123456789abcdef") };
	for (unsigned i = 0; i < 3; i++) {
		bucket_put_file(b, foreign[i], fd, 10, NULL, false, problem);
		age(foreign[i], 9);
	}
	struct gc_options o = { .bucket = b, .prefix = GC_PREFIX, .depth = 4, .grace_ms = GC_GRACE_MS, .tmp = store_dir, .found = count_found, .arg = &found };
	for (int remove = 0; remove < 2; remove++) {
		o.remove = remove;
		is_int(gc_begin(&g, &o, problem), 0, "gc: the bucket is listed (%s)", remove ? "to delete" : "a dry run");
		for (unsigned i = 0; i < N; i++) {
			struct chunk_id id = chunk(i);
			if (i % KINDS == REFERRED && gc_refer(g, manifest_build(&a, 1024, 10, &id, 1)) < 0)
				ok(false, "a reference");
			if (i % KINDS == MADE_YOUNG && remove)
				bucket_put_file(b, chunk_key(&a, GC_PREFIX, 4, &id), fd, 10, NULL, true, problem);
		}
		found = 0;
		is_int(gc_sweep(g, &rep, problem), 0, "gc: swept");
		is_int(rep.listed, N + 3, "gc: it has seen all");
		is_int(rep.foreign, 3, "gc: what is not ours is known");
		is_int(rep.young, N / KINDS, "gc: and what is young");
		is_int(rep.referred, N / KINDS, "gc: and what is referred to");
		is_int(rep.garbage, N / KINDS * 2, "gc: and what is garbage");
		is_int(rep.garbage_bytes, rep.garbage * 10, "gc: and its bytes");
		is_int(found, rep.garbage, "gc: each piece was shown");
		is_int(rep.deleted, remove ? N / KINDS : 0, "gc: deleted");
		is_int(rep.spared, remove ? N / KINDS : 0, "gc: spared what somebody has made young meanwhile");
		gc_end(&g);
	}
	for (unsigned i = 0; i < N; i++) {
		struct chunk_id id = chunk(i);
		left[i % KINDS] += bucket_head(b, chunk_key(&a, GC_PREFIX, 4, &id), &size, problem) == 0;
	}
	is_int(left[REFERRED], N / KINDS, "gc: what documents refer to is there");
	is_int(left[YOUNG], N / KINDS, "gc: so is what was young");
	is_int(left[MADE_YOUNG], N / KINDS, "gc: and what was made young");
	is_int(left[GARBAGE], 0, "gc: garbage is gone");
	for (unsigned i = 0; i < 3; i++)
		is_int(bucket_head(b, foreign[i], &size, problem), 0, "gc: what is not ours was left alone");

	/* what must stop it */
	struct chunk_id one = chunk(0);
	age(chunk_key(&a, GC_PREFIX, 4, &one), 9);
	is_int(gc_begin(&g, &o, problem), 0, "gc: again");
	is_int(gc_sweep(g, &rep, problem), -ERR_SETTING, "gc: no reference at all is rather a wrong index");
	gc_end(&g);
	is_int(gc_begin(&g, &o, problem), 0, "gc: again");
	is_int(gc_refer(g, manifest_build(&a, 1024, 10, &(struct chunk_id){ .n = SHA256_RAW }, 1)), 0, "gc: a reference");
	is_int(gc_refer(g, STR("no manifest")), -ERR_CORRUPT, "gc: a manifest that cannot be read");
	is_int(gc_sweep(g, &rep, problem), -ERR_CORRUPT, "gc: ends it, whatever the caller makes of that");
	gc_end(&g);
	o.grace_ms = GC_GRACE_MIN_MS - 1;
	is_int(gc_begin(&g, &o, problem), -ERR_SETTING, "gc: too short a grace is refused");
	ok(g == NULL, "gc: nothing to end");
	o.grace_ms = GC_GRACE_MS;
	o.tmp = "/nonexistent";
	ok(gc_begin(&g, &o, problem) < 0 && g == NULL, "gc: no folder for its files");
	is_int(bucket_head(b, chunk_key(&a, GC_PREFIX, 4, &one), &size, problem), 0, "gc: none of that has deleted anything");
	fd_close(&fd);
	arena_fini(&a);
}

/* ---- figures */

static struct { struct bucket *b; size_t n; uint8_t sum[32]; unsigned objects; bool get; _Atomic unsigned next, failed; } job;

static void *
job_main(void *arg)
{
	int fd = job.get ? -1 : file_of(job.n, 1);
	unsigned i;

	while ((i = job.next++) < job.objects) {
		char key[64];
		uint64_t size;
		snprintf(key, sizeof key, "bench/%zu/%u", job.n, i);
		if (job.get) {
			struct bucket_read *rd;
			const void *view;
			int64_t got, sum = 0;
			if (bucket_get(job.b, str_c(key), 0, 0, &rd, &size, NULL) < 0) {
				job.failed++;
				continue;
			}
			while ((got = bucket_read(rd, &view, NEVER)) > 0)
				sum += got;
			bucket_read_end(&rd);
			if ((size_t)sum != job.n)
				job.failed++;
		} else if (bucket_put_file(job.b, str_c(key), fd, job.n, job.sum, true, NULL) < 0) {
			job.failed++;
		}
	}
	if (fd >= 0)
		fd_close(&fd);
	return NULL;
}

static void
bench(struct bucket *b, size_t n, unsigned objects, unsigned threads, bool get)
{
	pthread_t t[64];
	unsigned char *bytes = xmalloc(n);

	bytes_make(bytes, 0, n, 1);
	sha256_raw(bytes, n, job.sum); /* as the uploader has it: the chunk's name */
	free(bytes);
	int64_t start = clock_mono();
	job.b = b;
	job.n = n;
	job.objects = objects;
	job.get = get;
	job.next = job.failed = 0;
	for (unsigned i = 0; i < threads; i++)
		pthread_create(&t[i], NULL, job_main, NULL);
	for (unsigned i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	double s = (double)(clock_mono() - start) / 1000;
	printf("%s %8zu bytes, %u threads: %7.0f objects/s %7.1f MiB/s%s\n", get ? "GET" : "PUT", n, threads, objects / s,
		(double)objects * (double)n / MB / s, job.failed ? " FAILED" : "");
}

int
main(void)
{
	endpoint = getenv("S3_LIVE");
	name = getenv("S3_LIVE_BUCKET");
	open_name = getenv("S3_LIVE_OPEN");
	if (!endpoint || !name || !open_name) {
		printf("1..0 # SKIP no S3 server: t/43-s3.t has one\n");
		return 0;
	}
	store_make();
	engine = httpc_start(&(struct httpc_options){ .max_connections = 64 });
	struct credentials *c = keys_of("testkey", "testsecret");
	struct bucket *b = bucket_of(name, c, "");
	if (getenv("S3_LIVE_BENCH")) {
		for (unsigned threads = 1; threads <= 8; threads *= 8) {
			bench(b, 1024 + threads, 4000, threads, false);
			bench(b, 1024 + threads, 4000, threads, true);
			bench(b, 32 * MB - threads, 16, threads, false);
			bench(b, 32 * MB - threads, 16, threads, true);
		}
	} else {
		is_int(bucket_check(b, 2000, problem), 0, "the bucket answers");
		test_objects(b);
		test_parts(b);
		test_list(b);
		test_access();
		test_age(b);
		test_gc(b);
	}
	bucket_close(&b);
	credentials_free(&c);
	httpc_stop(&engine);
	return done_testing();
}
