/* The chunk store: what it says is there is there and right, and what is not right is removed. */
#include "tap.h"
#include "s3_store.h"
#include "common/clock.h"
#include "common/err.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static unsigned char big[3 * 1024 * 1024], buf[3 * 1024 * 1024];

static void
path_of(const struct chunk_id *id, char *out, size_t n)
{
	char hex[CHUNK_NAME];
	chunk_name(id, hex);
	snprintf(out, n, "%s/data/%c/%c/%c/%c/%s", store_dir, hex[0], hex[1], hex[2], hex[3], hex);
}

static bool
reads_back(struct chunks *s, const struct chunk_id *id, size_t n, unsigned seed)
{
	struct chunk *c;
	const void *v;
	size_t off = 0;
	ssize_t got;

	if (chunk_open(s, id, n, &c) < 0)
		return false;
	while ((got = chunk_read(c, off, buf, sizeof buf, &v)) > 0 && bytes_right(v, off, (size_t)got, seed))
		off += (size_t)got;
	chunk_close(&c);
	return got == 0 && off == n;
}

static void
overwrite(const struct chunk_id *id, off_t at, const char *what)
{
	char path[256];
	int fd;
	path_of(id, path, sizeof path);
	fd = open(path, O_WRONLY);
	if (fd < 0 || pwrite(fd, what, strlen(what), at) < 0)
		perror(path);
	close(fd);
}

static struct chunk_id
adopt(struct chunks *s, const void *p, size_t n, unsigned slot, int *r)
{
	struct chunk_id id = { .n = SHA256_RAW };
	char tmp[CHUNKS_PATH];
	int fd;

	sha256_raw(p, n, id.b);
	chunks_tmp_path(s, slot, 7, 0, tmp, sizeof tmp);
	fd = chunks_tmp_create(s, tmp);
	*r = fd < 0 ? fd : fd_write_all(fd, p, n);
	fd_close(&fd);
	if (*r == 0)
		*r = chunks_adopt(s, tmp, &id);
	unlink(tmp);
	return id;
}

static struct { struct chunks *s; struct chunk_id ids[64]; } crowd;

static void *
crowd_reads(void *arg)
{
	unsigned x = (unsigned)(uintptr_t)arg;
	uintptr_t bad = 0;

	for (int i = 0; i < 3000; i++) {
		unsigned k = (x = x * 1103515245 + 12345) >> 16 & 63;
		struct chunk *c;
		const void *v;
		char room[4096];
		if (chunk_open(crowd.s, &crowd.ids[k], 4000 + k, &c) < 0) {
			bad++;
			continue;
		}
		ssize_t n = chunk_read(c, 0, room, sizeof room, &v);
		bad += n != (ssize_t)(4000 + k < 4096 ? 4000 + k : 4096) || !bytes_right(v, 0, (size_t)n, k);
		chunk_close(&c);
	}
	return (void *)bad;
}

/* In a root directory without /proc: files cannot be named by their descriptor. 0, 1 wrong, 77 not permitted */
static int
without_proc(void)
{
	struct chunks *s;
	struct chunk_id id;
	int r = 1;

	if (chroot(store_dir) < 0 || chdir("/") < 0)
		return 77;
	snprintf(store_dir, sizeof store_dir, "/inner");
	s = store_open(0);
	if (chunks_put(s, big, 5000, &id) == 0 && reads_back(s, &id, 5000, 1) && chunks_put(s, big, 5000, &id) == 0 &&
	    chunks_put(s, big, 70000, &id) == 0 && reads_back(s, &id, 70000, 1) && chunks_health(s) == NULL && rmdir("/inner/tmp") == 0)
		r = 0;
	return r;
}

/* --chunk-ids uuid (behaviour.md 4.8) */
static void
random_names(void)
{
	struct chunks_options o = { .dir = store_dir, .hot_bytes = 1 << 20, .hot_max = 64 * 1024, .fds = 8, .random_ids = true };
	struct chunks *s, *after;
	struct chunk_id id, id2, back;
	struct chunk *c;
	char name[CHUNK_NAME], path[CHUNKS_PATH];
	struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = clock_wall() / 1000 - 100 } };
	unsigned bad = 0;
	struct stat st;

	chunks_open(&s, &o);
	ok(chunks_random_ids(s) && chunks_put(s, big, 7000, &id) == 0 && chunks_put(s, big, 7000, &id2) == 0, "chunks with random names");
	ok(id.n == CHUNK_UUID && !chunk_id_same(&id, &id2), "each has another, whatever is in it");
	for (unsigned i = 0; i < 1000; i++) {
		back = chunk_id_random();
		bad += (back.b[6] & 0xf0) != 0x40 || (back.b[8] & 0xc0) != 0x80;
	}
	is_int(bad, 0, "they are UUIDs of version 4 (RFC 9562 5.4)");
	chunk_name(&id, name);
	snprintf(path, sizeof path, "%s/data/%c/%c/%c/%c/%.32s", store_dir, name[0], name[1], name[2], name[3], name);
	ok(strlen(name) == 32 && stat(path, &st) == 0 && st.st_size == 7000, "and stand where the old system has them");
	ok(chunk_id_parse(str_c(name), &back) && chunk_id_same(&id, &back), "a name is read again");
	ok(!chunk_id_parse(str_c("0123"), &back) && !chunk_id_parse(str_c("0123456789abcdef0123456789abcdeg"), &back), "what is none is not");
	ok(reads_back(s, &id, 7000, 1) && reads_back(s, &id2, 7000, 1), "their bytes, from memory");
	chunks_open(&after, &(struct chunks_options){ .dir = store_dir, .hot_bytes = 1 << 20, .hot_max = 64 * 1024, .fds = 8 });
	ok(reads_back(after, &id, 7000, 1), "from the file, in a store that names new ones otherwise");
	is_int(chunk_open(after, &id2, 6999, &c), -ERR_CORRUPT, "their length is checked");
	chunks_close(&after);
	o.verify_after_ms = clock_wall() - 200000;
	utimensat(AT_FDCWD, path, t, 0);
	chunks_open(&after, &o);
	is_int(chunk_open(after, &id, 7000, &c), -ERR_CORRUPT, "after a power cut a young one is not believed, for nothing proves it");
	ok(stat(path, &st) < 0, "it is removed");
	chunks_close(&after);
	chunks_close(&s);
}

int
main(void)
{
	struct chunks *s, *cold, *other;
	struct chunk_id id, id2;
	struct chunk *c;
	struct stat st;
	const void *v;
	char path[256];
	int r;
	int64_t t0;

	signal(SIGXFSZ, SIG_IGN);
	store_make();
	bytes_make(big, 0, sizeof big, 1);
	pid_t child = fork();
	if (child == 0)
		_exit(without_proc());
	waitpid(child, &r, 0);
	ok(WIFEXITED(r) && (WEXITSTATUS(r) == 0 || WEXITSTATUS(r) == 77), "without /proc chunks are stored by rename, and tmp is left empty%s",
	    WEXITSTATUS(r) == 77 ? " # SKIP chroot is not permitted" : "");
	s = store_open(1 << 20);
	cold = store_open(0);

	is_int(chunks_put(s, big, 1000, &id), 0, "a small chunk is stored");
	path_of(&id, path, sizeof path);
	ok(stat(path, &st) == 0 && st.st_size == 1000 && st.st_nlink == 1, "under its hash, by one name");
	ok(chunks_has(s, &id, 1000) && !chunks_has(s, &id, 999) && chunks_has(cold, &id, 1000), "it is there, with this size only");
	is_int(chunk_open(s, &id, 1000, &c), 0, "it is open at once");
	ok(chunk_in_memory(c), "from memory");
	is_int(chunk_read(c, 990, NULL, 100, &v), 10, "a read ends with the chunk");
	is_int(chunk_read(c, 1000, NULL, 100, &v), 0, "behind it is nothing");
	unlink(path);
	ok(chunk_read(c, 0, NULL, 1000, &v) == 1000 && bytes_right(v, 0, 1000, 1), "an evicted file does not matter to a hot copy");
	chunk_close(&c);
	is_int(chunk_open(cold, &id, 1000, &c), -ERR_NOT_FOUND, "another process sees that the file is gone");
	is_int(chunks_put(s, big, 1000, &id), 0, "storing it again heals that");
	ok(reads_back(cold, &id, 1000, 1), "and the other reads it from the file");
	is_int(chunks_put(s, big, 0, &id2), 0, "an empty chunk");
	ok(reads_back(s, &id2, 0, 1), "is one, too");

	/* files */
	id = adopt(s, big, sizeof big, 1, &r);
	is_int(r, 0, "a tmp file is adopted");
	ok(reads_back(s, &id, sizeof big, 1) && reads_back(s, &id, sizeof big, 1), "and read, also from the open file");
	id2 = adopt(s, big, sizeof big, 2, &r);
	ok(r == 0 && chunk_id_same(&id, &id2), "adopted again: the same chunk");
	is_int(chunk_open(s, &id, sizeof big, &c), 0, "open");
	chunks_remove(s, &id);
	ok(chunk_read(c, 5, buf, 100, &v) == 100 && bytes_right(v, 5, 100, 1), "what is being read stays readable when it is removed");
	chunk_close(&c);
	is_int(chunk_open(s, &id, sizeof big, &c), -ERR_NOT_FOUND, "and is gone for the next");

	/* corruption */
	id = adopt(s, big, sizeof big, 1, &r);
	path_of(&id, path, sizeof path);
	if (truncate(path, 12345) < 0)
		perror(path);
	id2 = adopt(s, big, sizeof big, 3, &r);
	ok(r == 0 && reads_back(s, &id, sizeof big, 1), "adopting over a file of the wrong size replaces it");
	other = store_open(0);
	ok(truncate(path, 100) == 0 && chunk_open(other, &id, sizeof big, &c) == -ERR_CORRUPT, "a file of the wrong size is refused");
	ok(stat(path, &st) < 0, "and removed");
	id = adopt(other, big, sizeof big, 1, &r);
	is_int(chunk_open(other, &id, sizeof big, &c), 0, "open");
	ok(truncate(path, 100) == 0 && chunk_read(c, 0, buf, 1000, &v) == -ERR_CORRUPT, "one that becomes shorter while it is read is an error");
	ok(stat(path, &st) < 0, "and removed");
	chunk_close(&c);
	chunks_close(&other);
	is_int(chunks_put(cold, big, 5000, &id), 0, "a small one on disk only");
	overwrite(&id, 4000, "wrong");
	ok(chunks_put(cold, big, 5000, &id) == 0 && reads_back(cold, &id, 5000, 1), "storing it again heals wrong bytes");
	overwrite(&id, 4000, "wrong");
	other = store_open(1 << 20);
	is_int(chunk_open(other, &id, 5000, &c), -ERR_CORRUPT, "with wrong bytes it never gets into hot memory");
	ok(!chunks_has(other, &id, 5000), "and is removed");
	chunks_close(&other);

	/* after an unclean end */
	id = adopt(cold, big, 200000, 1, &r);
	id2 = adopt(cold, big + 1, 200000, 2, &r);
	overwrite(&id2, 100000, "spoilt");
	usleep(5000);
	if (chunks_open(&other, &(struct chunks_options){ .dir = store_dir, .fds = 8, .verify_after_ms = clock_wall() - 60000 }) < 0)
		return 1;
	ok(reads_back(other, &id, 200000, 1), "a long chunk of a doubtful time is served when its hash is right");
	path_of(&id, path, sizeof path);
	ok(stat(path, &st) == 0 && (int64_t)st.st_mtim.tv_sec * 1000 < clock_wall() - 60000, "and is not doubtful any more");
	is_int(chunk_open(other, &id2, 200000, &c), -ERR_CORRUPT, "with the wrong hash it is refused");
	ok(!chunks_has(other, &id2, 200000), "and removed");
	chunks_close(&other);

	/* use is noted */
	id = adopt(cold, big, 300000, 1, &r);
	path_of(&id, path, sizeof path);
	utimensat(AT_FDCWD, path, (struct timespec[2]){ { .tv_sec = 1000000 }, { .tv_sec = 1000000 } }, 0);
	ok(reads_back(cold, &id, 300000, 1) && stat(path, &st) == 0 && st.st_atim.tv_sec > 1600000000 && st.st_mtim.tv_sec == 1000000,
	    "a use is noted in atime alone");
	utimensat(AT_FDCWD, path, (struct timespec[2]){ { .tv_sec = 1000000 }, { .tv_sec = 1000000 } }, 0);
	ok(chunks_has(s, &id, 300000) && stat(path, &st) == 0 && st.st_atim.tv_sec > 1600000000, "chunks_has is a use");

	/* bounds */
	for (unsigned i = 0; i < 200; i++) {
		bytes_make(buf, 0, 70000, i + 100);
		id2 = adopt(s, buf, 70000, 4, &r);
		if (r < 0 || !reads_back(s, &id2, 70000, i + 100))
			ok(0, "chunk %u", i);
	}
	r = 0;
	for (int fd = 3; fd < 1000; fd++)
		r += fcntl(fd, F_GETFD) >= 0;
	ok(r < 64 + 20, "200 files read: at most fds stay open (%d)", r);
	crowd.s = store_open(100 * 1024); /* room for about 24 of 64: they push one another out */
	for (unsigned i = 0; i < 64; i++) {
		bytes_make(buf, 0, 4000 + i, i);
		chunks_put(crowd.s, buf, 4000 + i, &crowd.ids[i]);
	}
	pthread_t th[8];
	void *bad;
	uintptr_t all_bad = 0;
	for (uintptr_t i = 0; i < 8; i++)
		pthread_create(&th[i], NULL, crowd_reads, (void *)(i + 1));
	for (int i = 0; i < 8; i++) {
		pthread_join(th[i], &bad);
		all_bad += (uintptr_t)bad;
	}
	is_int(all_bad, 0, "8 threads read 64 chunks through a memory for 24, all bytes right");
	chunks_close(&crowd.s);

	/* a disk that has no room, and heals */
	struct rlimit rl;
	getrlimit(RLIMIT_FSIZE, &rl);
	struct rlimit small = { 1000, rl.rlim_max };
	is_str(str_c(chunks_health(s)), STR_NONE, "the store is well");
	setrlimit(RLIMIT_FSIZE, &small);
	is_int(chunks_put(s, big, 6000, &id), -ERR_FULL, "no room: -ERR_FULL");
	ok(chunks_health(s) != NULL && strstr(chunks_health(s), "full"), "the store says so");
	ok(!chunks_has(s, &id, 6000), "nothing half is there");
	setrlimit(RLIMIT_FSIZE, &rl);
	ok(chunks_put(s, big, 6000, &id) == 0 && chunks_health(s) != NULL, "a write that works at once is no proof of health");
	usleep((CHUNKS_HEAL_MS + 50) * 1000);
	ok(chunks_put(s, big, 6000, &id) == 0 && chunks_health(s) == NULL, "one a while later is");
	snprintf(path, sizeof path, "%s/file", store_dir);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	is_int(chunks_open(&other, &(struct chunks_options){ .dir = path, .fds = 8 }), 0, "a store that cannot be opens all the same");
	ok(chunks_health(other) != NULL && chunks_put(other, big, 10, &id2) == -ERR_SYSTEM, "and says that it cannot be written");
	is_int(chunk_open(other, &id2, 10, &c), -ERR_NOT_FOUND, "nothing is in it");
	chunks_close(&other);

	random_names();

	/* how fast */
	chunks_put(s, big, 1024, &id);
	t0 = clock_mono();
	for (int i = 0; i < 200000; i++) {
		chunk_open(s, &id, 1024, &c);
		chunk_read(c, 0, NULL, 1024, &v);
		chunk_close(&c);
	}
	note("hot open + read + close: %lld ns", (long long)(clock_mono() - t0) * 1000000 / 200000);
	t0 = clock_mono();
	for (int i = 0; i < 2000; i++) {
		bytes_make(buf, 0, 1024, (unsigned)i + 5000);
		chunks_put(s, buf, 1024, &id);
	}
	note("put of 1 KiB, new each: %.1f us", (double)(clock_mono() - t0) * 1000 / 2000);
	chunks_close(&s);
	chunks_close(&cold);
	return done_testing();
}
