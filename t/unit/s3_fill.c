/* Fills: one writer, many readers, several processes; everybody gets the same right bytes or an error, and nothing is left behind. */
#include "tap.h"
#include "s3_store.h"
#include "s3/evict.h"
#include "s3/fill.h"
#include "s3/object.h"
#include "common/arena.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/shm.h"
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define MIB (1024 * 1024)
#define CHUNK MIB
#define CROWD 200

static unsigned char *bytes; /* 10 MiB and a bit */
static struct chunks *store;
static struct fill_table *table;
#define KEY STR("https/example.com/0123")

static int64_t in_ms(int64_t ms) { return clock_mono() + ms; }

static unsigned
tmp_files(void)
{
	char path[128];
	unsigned n = 0;
	struct dirent *e;
	snprintf(path, sizeof path, "%s/tmp", store_dir);
	DIR *d = opendir(path);
	while (d != NULL && (e = readdir(d)) != NULL)
		n += e->d_name[0] != '.';
	if (d != NULL)
		closedir(d);
	return n;
}

/* Reads all from off on; the number of right bytes, or what went wrong. */
static int64_t
read_all(struct fill *f, uint64_t off, size_t piece, unsigned slow_us)
{
	uint64_t from = off;
	const void *v;
	int64_t n;

	while ((n = fill_read(f, off, piece, &v, in_ms(20000))) > 0) {
		if (memcmp(v, bytes + off, (size_t)n) != 0)
			return -1000;
		off += (uint64_t)n;
		if (slow_us)
			usleep(slow_us);
	}
	return n < 0 ? n : (int64_t)(off - from);
}

static int
append_all(struct fill *f, uint64_t from, uint64_t to, size_t piece, unsigned pause_us)
{
	int r = 0;
	for (uint64_t off = from; off < to && r == 0; off += piece) {
		r = fill_append(f, bytes + off, to - off < piece ? (size_t)(to - off) : piece);
		if (pause_us)
			usleep(pause_us);
	}
	return r;
}

struct reader {
	pthread_t th;
	struct fill *f;
	uint64_t off;
	size_t piece;
	unsigned slow_us;
	int64_t got, total;
	bool head;
};

static void *
reader_main(void *arg)
{
	struct reader *r = arg;
	struct arena a;
	struct str head;

	arena_init(&a);
	r->got = fill_wait_head(r->f, in_ms(20000), &a, &head, &r->total);
	r->head = r->got == 0 && str_eq(head, STR("the head"));
	if (r->got == 0)
		r->got = read_all(r->f, r->off, r->piece, r->slow_us);
	fill_leave(&r->f);
	arena_fini(&a);
	return NULL;
}

static void
reader_start(struct reader *r, struct fill *f, size_t piece, unsigned slow_us)
{
	*r = (struct reader){ .f = f, .piece = piece, .slow_us = slow_us };
	pthread_create(&r->th, NULL, reader_main, r);
}

/* --- a crowd of threads --- */

static const struct { size_t n; bool known; size_t piece; } sizes[] = {
	{ 0, true, 1 }, { 0, false, 1 }, { 1, true, 1 }, { 1, false, 1 }, { 65536, true, 10000 }, { 65536, false, 16384 },
	{ 65537, true, 65537 }, { 65537, false, 1000 }, { MIB, false, 16384 }, { 2 * MIB, true, 300001 },
	{ 10 * MIB, true, 16384 }, { 10 * MIB + 7, false, 250000 },
};

static void
crowd(size_t n, bool known, size_t piece)
{
	static struct reader readers[CROWD];
	struct arena a;
	struct str manifest;
	struct fill *w, *f;
	struct object *o;
	const void *v;
	unsigned right = 0, joined = 0;
	int64_t got;
	uint64_t off = 0;

	arena_init(&a);
	ok(fill_claim(table, store, KEY, 0, CHUNK, &w) == FILL_WRITER, "%zu bytes%s: the first one fetches", n, known ? "" : ", length not known");
	for (unsigned i = 0; i < CROWD; i++) {
		joined += fill_claim(table, store, KEY, i % 5, CHUNK, &f) == FILL_READER;
		reader_start(&readers[i], f, i % 7 ? 65536 : 777 + i * 100, 0);
		if (i == CROWD / 2) {
			is_int(fill_head(w, STR("the head"), known ? (int64_t)n : -1), 0, "the head goes out");
			append_all(w, 0, n / 2, piece, 0);
		}
	}
	is_int(joined, CROWD, "all others join");
	is_int(append_all(w, n / 2, n, piece, 0), 0, "all is appended");
	is_int(fill_seal(w, &a, &manifest), 0, "and sealed");
	ok(fill_claim(table, store, KEY, 1, CHUNK, &f) == FILL_READER, "until it is committed, who comes joins");
	ok(read_all(f, 0, 100000, 0) == (int64_t)n && fill_total(f) == (int64_t)n, "and reads all");
	fill_done(&w);
	for (unsigned i = 0; i < CROWD; i++) {
		pthread_join(readers[i].th, NULL);
		right += readers[i].got == (int64_t)n && readers[i].head && (readers[i].total == (int64_t)n || !known);
	}
	is_int(right, CROWD, "%u readers got the head and the same right bytes", CROWD);
	is_int(fill_active(table), 1, "the slot lives as long as its last reader");
	fill_leave(&f);
	is_int(fill_active(table), 0, "and not longer");
	is_int(tmp_files(), 0, "nor do its files");
	is_int(object_open(&o, store, NULL, manifest), 0, "the object is in the store");
	while ((got = object_read(o, off, 200000, &v, NEVER)) > 0 && memcmp(v, bytes + off, (size_t)got) == 0)
		off += (uint64_t)got;
	ok(got == 0 && off == n && object_size(o) == (int64_t)n, "with the right bytes");
	object_close(&o);
	arena_fini(&a);
}

/* Names of chunks: random ones when the store is told so; a known one when there is one. */
static void
names(void)
{
	static const size_t ns[] = { 1000, FILL_INLINE, FILL_INLINE + 1, 3 * CHUNK + 5 };
	struct chunks *was = store, *s;
	struct manifest p;
	struct fill *w;
	struct arena a;
	struct str m;
	struct object *o;
	struct chunk_id id;
	const void *v;

	arena_init(&a);
	chunks_open(&s, &(struct chunks_options){ .dir = store_dir, .hot_bytes = 1 << 20, .hot_max = 64 * 1024, .fds = 64, .random_ids = true });
	store = s;
	for (size_t i = 0; i < sizeof ns / sizeof *ns; i++) {
		uint64_t off = 0;
		int64_t n;
		fill_claim(table, s, KEY, 0, CHUNK, &w);
		fill_head(w, STR("h"), -1);
		append_all(w, 0, ns[i], 100000, 0);
		ok(fill_seal(w, &a, &m) == 0 && manifest_parse(m, &p) == 0 && p.algorithm == MANIFEST_UUID && p.total_size == ns[i] &&
		   m.n == 26 + 16 * ((ns[i] - 1) / CHUNK + 1), "a body of %zu bytes in chunks with random names", ns[i]);
		fill_done(&w);
		ok(object_open(&o, s, NULL, m) == 0, "is in the store");
		while ((n = object_read(o, off, 200000, &v, NEVER)) > 0 && memcmp(v, bytes + off, (size_t)n) == 0)
			off += (uint64_t)n;
		ok(n == 0 && off == ns[i], "with its bytes");
		object_close(&o);
		id = chunk_id_random();
		if (ns[i] > CHUNK)
			continue;
		fill_claim(table, was, KEY, 0, ns[i], &w);
		fill_name(w, &id);
		fill_head(w, STR("h"), (int64_t)ns[i]);
		append_all(w, 0, ns[i], 100000, 0);
		ok(fill_seal(w, &a, &m) == 0 && chunks_has(was, &id, ns[i]), "one whose name is known is stored under it");
		fill_done(&w);
	}
	store = was;
	chunks_close(&s);
	arena_fini(&a);
	is_int(tmp_files(), 0, "no files are left");
}

/* --- processes --- */

static pid_t
in_child(int (*run)(void))
{
	pid_t pid = fork();
	if (pid == 0) {
		struct chunks *mine = store_open(1 << 20); /* a process has its own */
		store = mine;
		_exit(run());
	}
	return pid;
}

static int
wait_for(pid_t pid)
{
	int st;
	waitpid(pid, &st, 0);
	return WIFEXITED(st) ? WEXITSTATUS(st) : 1000 + WTERMSIG(st);
}

static void
until_active(unsigned n)
{
	for (int i = 0; i < 2000 && fill_active(table) != n; i++)
		usleep(1000);
}

static int
child_writes(void)
{
	struct arena a;
	struct str manifest;
	struct fill *w;

	arena_init(&a);
	if (fill_claim(table, store, KEY, 1, CHUNK, &w) != FILL_WRITER)
		return 1;
	for (int i = 0; i < 5000 && fill_readers(w) < 20; i++)
		usleep(1000);
	if (fill_head(w, STR("the head"), -1) || append_all(w, 0, 10 * MIB, 100000, 300) || fill_seal(w, &a, &manifest))
		return 2;
	fill_done(&w);
	arena_fini(&a);
	return 0;
}

static int
child_writes_and_hangs(void)
{
	struct fill *w;
	if (fill_claim(table, store, KEY, 1, CHUNK, &w) != FILL_WRITER)
		return 1;
	fill_head(w, STR("the head"), 10 * MIB);
	append_all(w, 0, 3 * MIB + 5, 100000, 0);
	for (;;)
		pause();
}

static int
child_reads(void)
{
	struct reader r[20];
	struct fill *f;
	int bad = 0;

	for (unsigned i = 0; i < 20; i++) {
		if (fill_claim(table, store, KEY, 2, CHUNK, &f) != FILL_READER)
			return 100;
		reader_start(&r[i], f, i == 3 ? 30000 : 100000, i == 3 ? 500 : 0);
	}
	for (unsigned i = 0; i < 20; i++) {
		pthread_join(r[i].th, NULL);
		bad += r[i].got != 10 * MIB || !r[i].head;
	}
	return bad;
}

static int
child_reads_broken(void)
{
	struct fill *f;
	if (fill_claim(table, store, KEY, 2, CHUNK, &f) != FILL_READER)
		return 100;
	int64_t n = read_all(f, 0, 100000, 0);
	fill_leave(&f);
	return n == -ERR_FILL_FAILED ? 0 : 1;
}

static int
child_joins_and_hangs(void)
{
	struct fill *f;
	const void *v;
	if (fill_claim(table, store, KEY, 2, CHUNK, &f) != FILL_READER)
		return 1;
	(void)fill_read(f, UINT32_MAX, 1, &v, NEVER);
	return 2;
}

/* does everything, for ever; the key says which of several */
static int
child_churns(void)
{
	struct fill *f, *own;
	struct arena a;
	struct str manifest, head;
	const void *v;
	int64_t total;
	char key[8];

	arena_init(&a);
	for (unsigned x = (unsigned)getpid();; x = x * 1103515245 + 12345) {
		snprintf(key, sizeof key, "k%u", x >> 20 & 7);
		switch (fill_claim(table, store, str_c(key), 3, CHUNK, &f)) {
		case FILL_WRITER:
			own = fill_reader(f);
			fill_head(f, STR("h"), -1);
			append_all(f, 0, x >> 16 & 1 ? 100000 : 5000, 3000, 0);
			(void)fill_read(own, 0, 1000, &v, 0);
			fill_leave(&own);
			if (x >> 17 & 1) {
				(void)fill_seal(f, &a, &manifest);
				fill_done(&f);
			} else
				fill_fail(&f, ERR_ORIGIN_BROKEN, x >> 18 & 1);
			break;
		case FILL_READER:
			(void)fill_wait_head(f, in_ms(20), &a, &head, &total);
			(void)fill_read(f, 0, 1000, &v, in_ms(5));
			fill_leave(&f);
			break;
		default:
			break;
		}
		arena_reset(&a);
	}
	return 0;
}

static void
processes(void)
{
	struct fill *f;
	int64_t t0;
	const void *v;
	pid_t w, r, r2;
	unsigned debris;
	uint32_t epoch;
	struct arena a;
	struct str manifest;

	arena_init(&a);
	w = in_child(child_writes);
	until_active(1);
	r = in_child(child_reads);
	is_int(wait_for(r), 0, "20 readers in another process, a slow one among them: all bytes right");
	is_int(wait_for(w), 0, "the writer went its way");
	is_int(fill_active(table), 0, "nothing is left");
	is_int(tmp_files(), 0, "no files either");

	w = in_child(child_writes_and_hangs);
	until_active(1);
	r = in_child(child_reads_broken);
	ok(fill_claim(table, store, KEY, 0, CHUNK, &f) == FILL_READER, "a writer that will be killed");
	is_int(fill_read(f, 3 * MIB, 5, &v, in_ms(5000)), 5, "some of it is there");
	for (int i = 0; i < 2000 && fill_readers(f) < 2; i++)
		usleep(1000);
	epoch = fill_epoch(table, KEY);
	kill(w, SIGKILL);
	wait_for(w);
	t0 = clock_mono();
	fill_bury(table, 1);
	ok(fill_epoch(table, KEY) != epoch, "who looked into the metadata before a writer died looks again: it may have committed");
	is_int(read_all(f, 0, 100000, 0), -ERR_FILL_FAILED, "its reader here is told");
	is_int(wait_for(r), 0, "its reader in another process is told");
	ok(clock_mono() - t0 < 3000, "at once (%lld ms)", (long long)(clock_mono() - t0));
	{
		struct fill *again;
		ok(fill_claim(table, store, KEY, 0, CHUNK, &again) == FILL_WRITER, "the key is free while an old reader is still there");
		fill_fail(&again, ERR_ORIGIN_BROKEN, 0);
	}
	fill_leave(&f);
	ok(fill_active(table) == 0 && tmp_files() == 0, "the last reader takes the dead writer's files with it");

	w = in_child(child_writes_and_hangs);
	until_active(1);
	for (int i = 0; i < 5000 && tmp_files() < 4; i++)
		usleep(1000);
	is_int(evict_debris(store_dir, table, &debris), 0, "the janitor looks");
	ok(debris == 0 && tmp_files() == 4, "and leaves a live fill's files alone");
	kill(w, SIGKILL);
	wait_for(w);
	fill_bury(table, 1);
	is_int(fill_active(table), 0, "a dead writer without readers frees its slot");
	ok(evict_debris(store_dir, table, &debris) == 0 && debris == 4 && tmp_files() == 0, "its files are the janitor's");

	ok(fill_claim(table, store, KEY, 0, CHUNK, &f) == FILL_WRITER, "a reader that will be killed");
	fill_head(f, STR("h"), -1);
	r = in_child(child_joins_and_hangs);
	r2 = in_child(child_joins_and_hangs);
	for (int i = 0; i < 2000 && fill_readers(f) < 2; i++)
		usleep(1000);
	kill(r, SIGKILL);
	kill(r2, SIGKILL);
	wait_for(r);
	wait_for(r2);
	is_int(append_all(f, 0, 100, 1, 0), 0, "is no harm to the writer");
	ok(fill_seal(f, &a, &manifest) == 0, "who goes on");
	fill_done(&f);
	is_int(fill_active(table), 1, "its slot stays taken");
	fill_bury(table, 2);
	is_int(fill_active(table), 0, "until the dead reader is buried");

	/* at any moment, inside the lock too */
	for (int i = 0; i < 60; i++) {
		pid_t p[3];
		for (int k = 0; k < 3; k++)
			p[k] = in_child(child_churns);
		usleep(5000 + (useconds_t)(i * 7919 % 5000));
		for (int k = 0; k < 3; k++)
			kill(p[k], SIGKILL);
		for (int k = 0; k < 3; k++)
			wait_for(p[k]);
		fill_bury(table, 3);
		if (fill_active(table) != 0)
			ok(0, "round %d: %u slots lost", i, fill_active(table));
	}
	is_int(fill_active(table), 0, "180 processes killed at random moments: no slot is lost");
	ok(fill_claim(table, store, KEY, 0, CHUNK, &f) == FILL_WRITER, "the table works");
	fill_fail(&f, ERR_ORIGIN_BROKEN, 0);
	evict_debris(store_dir, table, &debris);
	is_int(tmp_files(), 0, "and %u files of the dead are cleared", debris);
	arena_fini(&a);
}

/* --- rules --- */

static void *
late_append(void *arg)
{
	usleep(30000);
	fill_append(arg, bytes, 10);
	return NULL;
}

static void
rules(void)
{
	struct fill *w, *f, *g, *h[8];
	struct arena a;
	struct str s, manifest;
	const void *v;
	int64_t total, t0;
	pthread_t th;
	struct fill_table *small = fill_table_init(shm_map(fill_table_size(4)), 4);
	char big_head[FILL_HEAD + 1] = "";
	char key[FILL_KEY + 1];
	struct reader r[5];

	arena_init(&a);
	fill_claim(table, store, KEY, 0, CHUNK, &w);
	f = fill_reader(w);
	is_int(fill_wait_head(f, in_ms(20), &a, &s, &total), -ERR_TIMEOUT, "waiting for a head ends at the deadline");
	is_int(fill_head(w, (struct str){ big_head, sizeof big_head }, -1), -ERR_FULL, "a head that is too long is refused");
	is_int(fill_head(w, STR("head"), 100), 0, "a head");
	ok(fill_wait_head(f, 0, &a, &s, &total) == 0 && total == 100 && fill_total(f) == 100, "is read, with the length");
	is_str(s, STR("head"), "as it was");
	is_int(fill_read(f, 0, 10, &v, in_ms(20)), -ERR_TIMEOUT, "waiting for bytes ends at the deadline");
	is_int(fill_read(f, 0, 10, &v, 0), -ERR_TIMEOUT, "at once, if it is now");
	ok(!fill_ready(f, 0), "no byte is ready");
	t0 = clock_mono();
	pthread_create(&th, NULL, late_append, w);
	is_int(fill_read(f, 0, 100, &v, in_ms(5000)), 10, "a few bytes come through at once, as events must");
	ok(clock_mono() - t0 < 4000, "not when more follow");
	pthread_join(th, NULL);
	ok(fill_ready(f, 9) && !fill_ready(f, 10), "ten are ready");
	is_int(fill_read(f, 50, 10, &v, in_ms(20)), -ERR_TIMEOUT, "a range that is not there yet waits");
	is_int(fill_append(w, bytes + 10, 91), -ERR_ORIGIN_PROTOCOL, "more than the length is refused");
	is_int(append_all(w, 10, 60, 10, 0), 0, "more");
	ok(fill_read(f, 50, 100, &v, 0) == 10 && memcmp(v, bytes + 50, 10) == 0, "then the range is there");
	is_int(fill_seal(w, &a, &manifest), -ERR_ORIGIN_SHORT, "a short body is not whole");
	ok(!fill_over(f), "its key is held");
	fill_fail(&w, ERR_ORIGIN_SHORT, 0);
	ok(fill_over(f), "its key is held no longer");
	is_int(fill_read(f, 50, 100, &v, 0), 10, "what came is still read");
	is_int(fill_read(f, 60, 100, &v, NEVER), -ERR_ORIGIN_SHORT, "but its end is the writer's error");
	ok(fill_ready(f, 60), "without waiting");
	ok(fill_claim(table, store, KEY, 0, CHUNK, &w) == FILL_WRITER, "the key is free at once");
	ok(w != NULL && fill_total(w) == -1, "and begins anew");

	/* not shareable */
	for (unsigned i = 0; i < 5; i++) {
		fill_claim(table, store, KEY, i, CHUNK, &g);
		reader_start(&r[i], g, 100, 0);
	}
	usleep(20000);
	fill_fail(&w, ERR_UNSHAREABLE, 700);
	for (unsigned i = 0; i < 5; i++) {
		pthread_join(r[i].th, NULL);
		is_int(r[i].got, -ERR_UNSHAREABLE, "who waited for a head is released, %u", i);
	}
	ok(fill_claim(table, store, KEY, 1, CHUNK, &g) == FILL_UNSHAREABLE && g == NULL, "the key is remembered as not shareable");
	ok(fill_claim(table, store, STR("other"), 1, CHUNK, &g) == FILL_WRITER, "no other key is");
	fill_fail(&g, ERR_ORIGIN_BROKEN, 0);
	usleep(710000);
	ok(fill_claim(table, store, KEY, 1, CHUNK, &g) == FILL_WRITER, "for so long only");
	fill_fail(&g, ERR_UNSHAREABLE, 100000);
	fill_shareable(table, KEY);
	ok(fill_claim(table, store, KEY, 1, CHUNK, &g) == FILL_WRITER, "or until it is taken back");
	fill_fail(&g, ERR_UNSHAREABLE, 0);
	fill_leave(&f);
	is_int(fill_active(table), 0, "nothing is left");

	/* bounds */
	for (unsigned i = 0; i < 4; i++) {
		snprintf(key, sizeof key, "key %u", i);
		ok(fill_claim(small, store, str_c(key), 0, CHUNK, &h[i]) == FILL_WRITER, "slot %u of 4", i);
	}
	ok(fill_claim(small, store, STR("one more"), 0, CHUNK, &g) == FILL_TABLE_FULL && g == NULL, "the fifth finds the table full");
	ok(fill_claim(small, store, STR("key 2"), 0, CHUNK, &g) == FILL_READER, "joining is possible all the same");
	fill_leave(&g);
	fill_fail(&h[1], ERR_ORIGIN_BROKEN, 0);
	ok(fill_claim(small, store, STR("one more"), 0, CHUNK, &h[1]) == FILL_WRITER, "a slot that is free is used again");
	for (unsigned i = 0; i < 4; i++)
		fill_fail(&h[i], ERR_ORIGIN_BROKEN, 0);
	is_int(fill_active(small), 0, "all free");
	memset(key, 'k', sizeof key);
	ok(fill_claim(small, store, (struct str){ key, FILL_KEY }, 0, CHUNK, &g) == FILL_WRITER, "the longest key");
	fill_fail(&g, 0, 0);
	ok(fill_claim(small, store, (struct str){ key, FILL_KEY + 1 }, 0, CHUNK, &g) == FILL_TABLE_FULL, "a longer one is never shared");
	ok(!fill_tmp_live(table, "fill-0-0-0") && !fill_tmp_live(table, "fill-99999-0-0") && !fill_tmp_live(table, "x"), "no such files live");
	arena_fini(&a);
}

/* --- a store that fails in the middle --- */

static const struct { const char *what; size_t limit; size_t n; bool known; unsigned readers; } failures[] = {
	{ "no room for the first file, length not known", 0, 5 * MIB, false, 10 },
	{ "no room for the first file", 0, 5 * MIB + 3, true, 10 },
	{ "the disk fills in the middle", 500000, 5 * MIB + 1, false, 30 },
	{ "the disk fills, one reader", 500000, 3 * MIB, true, 1 },
};

static void
degraded(const char *what, size_t limit, size_t n, bool known, unsigned nreaders)
{
	static struct reader readers[64];
	struct rlimit rl, low;
	struct arena a;
	struct str manifest;
	struct fill *w, *f;
	unsigned right = 0;
	size_t piece = 30000;
	uint64_t off = 0;
	int r = 0, degrades = 0;

	arena_init(&a);
	getrlimit(RLIMIT_FSIZE, &rl);
	low = (struct rlimit){ limit, rl.rlim_max };
	setrlimit(RLIMIT_FSIZE, &low);
	fill_claim(table, store, KEY, 0, CHUNK, &w);
	for (unsigned i = 0; i < nreaders; i++) {
		fill_claim(table, store, KEY, i % 3, CHUNK, &f);
		reader_start(&readers[i], f, 20000 + i * 1000, i == 1 ? 1000 : 0);
	}
	fill_head(w, STR("the head"), known ? (int64_t)n : -1);
	for (; off < n && r == 0; off += piece) {
		size_t k = n - off < piece ? (size_t)(n - off) : piece;
		r = fill_append(w, bytes + off, k);
		if (r == -ERR_FULL && degrades++ == 0) {
			r = fill_degrade(w);
			if (r == 0)
				r = fill_append(w, bytes + off, k);
		}
	}
	is_int(r, 0, "%s: the body goes on to those who are there", what);
	is_int(degrades, 1, "degraded once");
	setrlimit(RLIMIT_FSIZE, &rl);
	ok(chunks_health(store) != NULL, "the store says what is wrong");
	ok(fill_claim(table, store, KEY, 0, CHUNK, &f) == FILL_WRITER, "who comes later fetches for himself");
	fill_fail(&f, ERR_ORIGIN_BROKEN, 0);
	is_int(fill_seal(w, &a, &manifest), -ERR_FULL, "sealed, but not to be committed");
	is_int(manifest.n, 0, "without a manifest");
	fill_done(&w);
	for (unsigned i = 0; i < nreaders; i++) {
		pthread_join(readers[i].th, NULL);
		right += readers[i].got == (int64_t)n;
		if (readers[i].got != (int64_t)n)
			note("reader %u: %lld", i, (long long)readers[i].got);
	}
	is_int(right, nreaders, "all readers got all bytes, a slow one too");
	ok(fill_active(table) == 0 && tmp_files() == 0, "nothing is left");
	arena_fini(&a);
}

static void
relay_rules(void)
{
	struct fill *w, *f[FILL_LANES + 2], *own;
	struct rlimit rl, low;
	struct arena a;
	struct str manifest;
	const void *v;
	uint64_t off = 0, got = 0;
	int64_t n = 0;

	arena_init(&a);
	getrlimit(RLIMIT_FSIZE, &rl);
	low = (struct rlimit){ 0, rl.rlim_max };
	setrlimit(RLIMIT_FSIZE, &low);
	/* a writer that is its own reader, in one thread */
	fill_claim(table, store, KEY, 0, CHUNK, &w);
	own = fill_reader(w);
	fill_head(w, STR("the head"), -1);
	append_all(w, 0, 60000, 60000, 0);
	is_int(fill_append(w, bytes + 60000, 60000), -ERR_FULL, "no room");
	is_int(fill_append(w, bytes + 60000, 60000), -ERR_FULL, "still not");
	is_int(fill_degrade(w), 0, "degraded");
	for (off = 60000; off < 2 * MIB; ) {
		n = fill_relay(w, bytes + off, 2 * MIB - off, 0);
		if (n > 0)
			off += (uint64_t)n;
		else if (n != -ERR_AGAIN)
			break;
		n = fill_read(own, got, 50000, &v, 0);
		if (n <= 0 || memcmp(v, bytes + got, (size_t)n) != 0)
			break;
		got += (uint64_t)n;
	}
	is_int(off, 2 * MIB, "a writer that reads itself takes turns without blocking");
	is_int(fill_seal(w, &a, &manifest), -ERR_FULL, "at the end");
	is_int(read_all(own, got, 1000, 0), (int64_t)(2 * MIB - got), "the reader reads the rest");
	is_int(fill_read(own, 100, 1, &v, 0), 1, "what was in the slot before is there for ever");
	is_int(fill_read(own, 70000, 1, &v, 0), -ERR_FILL_FAILED, "what went through the ring is not");
	fill_leave(&own);
	fill_done(&w);
	is_int(fill_active(table), 0, "nothing is left");

	/* too late */
	fill_claim(table, store, KEY, 0, CHUNK, &w);
	own = fill_reader(w);
	fill_head(w, STR("the head"), -1);
	append_all(w, 0, 60000, 60000, 0);
	is_int(fill_append(w, bytes + 60000, 60000), -ERR_FULL, "no room");
	is_int(fill_degrade(w), 0, "degraded");
	is_int(fill_relay(w, bytes + 60000, 60000, 0), 60000, "some bytes");
	f[0] = fill_reader(w);
	is_int(fill_read(f[0], 0, 60000, &v, 0), 60000, "a reader that comes before the ring has turned reads what was there");
	ok(fill_read(f[0], 60000, 60000, &v, 0) == 60000 && memcmp(v, bytes + 60000, 60000) == 0, "and all else");
	fill_leave(&f[0]);
	ok(fill_read(own, 60000, 60000, &v, 0) == 60000 && fill_read(own, 120000, 1, &v, 0) == -ERR_TIMEOUT, "the first goes on");
	for (off = 120000; off < 120000 + FILL_RELAY; off += (uint64_t)n)
		n = fill_relay(w, bytes + off, 120000 + FILL_RELAY - off, 0);
	f[0] = fill_reader(w);
	is_int(fill_read(f[0], 0, 100, &v, 0), -ERR_FILL_FAILED, "one that comes later is refused before it has read a byte");
	is_int(fill_read(f[0], 60000, 100, &v, 0), -ERR_FILL_FAILED, "whatever it wants");
	ok(fill_read(own, 120000, 100, &v, 0) == 100 && memcmp(v, bytes + 120000, 100) == 0, "the first is not disturbed");
	fill_fail(&w, ERR_ORIGIN_BROKEN, 0);
	fill_leave(&f[0]);
	ok(fill_read(own, 120100, FILL_RELAY, &v, 0) > 0 && memcmp(v, bytes + 120100, 100) == 0, "nor by the writer's end");
	fill_leave(&own);
	ok(fill_active(table) == 0 && tmp_files() == 0, "nothing is left");

	/* lanes */
	fill_claim(table, store, KEY, 0, CHUNK, &w);
	for (unsigned i = 0; i < FILL_LANES + 2; i++)
		f[i] = fill_reader(w);
	fill_head(w, STR("the head"), 1000000);
	is_int(fill_append(w, bytes, 1000), -ERR_FULL, "no room");
	is_int(fill_degrade(w), 0, "degraded");
	is_int(fill_relay(w, bytes, 1000, 0), 1000, "some bytes");
	for (unsigned i = 0, bad = 0; i < FILL_LANES + 2; i++) {
		bad += fill_read(f[i], 0, 1000, &v, 0) != 1000;
		if (i == FILL_LANES - 1)
			is_int(bad, 0, "%u readers can follow", FILL_LANES);
		if (i == FILL_LANES + 1)
			is_int(bad, 2, "those beyond get an error");
	}
	is_int(fill_readers(w), FILL_LANES, "and count no more");
	is_int(fill_read(f[FILL_LANES], 0, 1, &v, 0), -ERR_FILL_FAILED, "for good");
	ok(fill_relay(w, bytes + 1000, 900000, 0) == FILL_RELAY - 1000 && fill_relay(w, bytes, 1, in_ms(20)) == -ERR_AGAIN,
	    "the slowest reader's place bounds what is ahead of it");
	for (unsigned i = 0; i < FILL_LANES + 2; i++)
		fill_leave(&f[i]);
	is_int(fill_relay(w, bytes, 1, 0), -ERR_GONE, "without readers there is no point in going on");
	fill_fail(&w, ERR_FULL, 0);
	is_int(fill_active(table), 0, "nothing is left");
	setrlimit(RLIMIT_FSIZE, &rl);
	arena_fini(&a);
}

/* the same on a file system that is really full */
static void
small_disk(void)
{
	struct chunks *was = store;
	struct fill *w, *f;
	struct reader r;
	char saved[sizeof store_dir];
	uint64_t off;
	int e = 0;

	memcpy(saved, store_dir, sizeof saved);
	snprintf(store_dir + strlen(store_dir), 8, "/small");
	if (mkdir(store_dir, 0700) < 0 || mount("none", store_dir, "tmpfs", 0, "size=1m") < 0) {
		ok(1, "# SKIP a tmpfs cannot be mounted");
		memcpy(store_dir, saved, sizeof saved);
		return;
	}
	store = store_open(0);
	fill_claim(table, store, KEY, 0, 400000, &w);
	f = fill_reader(w);
	reader_start(&r, f, 50000, 100);
	fill_head(w, STR("the head"), 4 * MIB);
	for (off = 0; off < 4 * MIB && e == 0; off += 16384) {
		e = fill_append(w, bytes + off, 16384);
		if (e == -ERR_FULL && (e = fill_degrade(w)) == 0)
			e = fill_append(w, bytes + off, 16384);
	}
	is_int(e, 0, "4 MiB through a store of 1 MiB");
	struct arena a;
	struct str m;
	arena_init(&a);
	is_int(fill_seal(w, &a, &m), -ERR_FULL, "are not stored");
	fill_done(&w);
	pthread_join(r.th, NULL);
	is_int(r.got, 4 * MIB, "but all read");
	arena_fini(&a);
	chunks_close(&store);
	umount(store_dir);
	memcpy(store_dir, saved, sizeof saved);
	store = was;
}

/* the bytes can be written but the chunks get no names */
static void
nameless(void)
{
	struct chunks *was = store;
	struct fill *w, *f;
	struct arena a;
	struct str m;
	char saved[sizeof store_dir], path[sizeof store_dir + 8];

	memcpy(saved, store_dir, sizeof saved);
	snprintf(store_dir + strlen(store_dir), 8, "/odd");
	store = store_open(0);
	snprintf(path, sizeof path, "%s/data", store_dir);
	if (rmdir(path) < 0 || mknod(path, S_IFREG | 0600, 0) < 0)
		perror(path);
	arena_init(&a);
	fill_claim(table, store, KEY, 0, CHUNK, &w);
	f = fill_reader(w);
	fill_head(w, STR("the head"), -1);
	is_int(append_all(w, 0, 3 * MIB + 9, 100000, 0), 0, "chunks that cannot be named: the body goes on");
	ok(fill_seal(w, &a, &m) == -ERR_SYSTEM && m.n == 0, "at the seal the writer is told");
	fill_done(&w);
	is_int(read_all(f, 0, 100000, 0), 3 * MIB + 9, "the reader has all");
	fill_leave(&f);
	fill_claim(table, store, KEY, 0, CHUNK, &w);
	f = fill_reader(w);
	fill_head(w, STR("the head"), 500);
	fill_append(w, bytes, 500);
	ok(fill_seal(w, &a, &m) == -ERR_SYSTEM && m.n == 0, "the same with a small one");
	fill_done(&w);
	is_int(read_all(f, 0, 100000, 0), 500, "the reader has all");
	fill_leave(&f);
	ok(chunks_health(store) != NULL && fill_active(table) == 0 && tmp_files() == 0, "the store says so, and nothing is left");
	arena_fini(&a);
	chunks_close(&store);
	memcpy(store_dir, saved, sizeof saved);
	store = was;
}

static void
speed(void)
{
	struct fill *w;
	struct arena a;
	struct str manifest;
	int64_t t0 = clock_mono(), t_put;
	enum { N = 2000 };
	char key[96], body[1024] = "";
	struct chunk_id id;

	arena_init(&a);
	for (unsigned i = 0; i < N; i++) {
		snprintf(key, sizeof key, "https/example.com/%056u", i);
		memcpy(body, &i, sizeof i);
		fill_claim(table, store, str_c(key), 0, 32 * MIB, &w);
		fill_head(w, STR("a head of some bytes"), sizeof body);
		fill_append(w, body, sizeof body);
		fill_seal(w, &a, &manifest);
		fill_done(&w);
		arena_reset(&a);
	}
	t_put = clock_mono();
	note("claim + head + append 1 KiB + seal + done: %.1f us", (double)(t_put - t0) * 1000 / N);
	for (unsigned i = 0; i < N; i++) {
		memcpy(body, &i, sizeof i);
		chunks_put(store, body, sizeof body, &id);
	}
	note("of which chunks_put, directories there: %.1f us", (double)(clock_mono() - t_put) * 1000 / N);
	t0 = clock_mono();
	for (unsigned i = 0; i < 100 * N; i++) {
		fill_claim(table, store, KEY, 0, 32 * MIB, &w);
		fill_fail(&w, ERR_ORIGIN_BROKEN, 0);
	}
	note("claim + fail: %.0f ns", (double)(clock_mono() - t0) * 1e6 / (100 * N));
	t0 = clock_mono();
	fill_claim(table, store, KEY, 0, 32 * MIB, &w);
	fill_head(w, STR("h"), -1);
	for (unsigned i = 0; i < 20; i++)
		append_all(w, 0, 10 * MIB, 128 * 1024, 0);
	fill_seal(w, &a, &manifest);
	fill_done(&w);
	note("a fill of 200 MiB: %.0f MB/s written and hashed", 209.7 * 1000 / (double)(clock_mono() - t0));
	arena_fini(&a);
}

/* --- what is purged, or overtaken, while it grows --- */

static void
outdated(void)
{
	struct str ids[] = { STR("https/a.test/1"), STR("https/a.test/1+v"), STR("https/a.test/2"), STR("http/b.test/3") };
	static const struct { const char *what; bool changes[4]; } rows[] = {
		{ "id https/a.test/1", { true, true, false, false } },
		{ "id https/a.test/1+other", { true, true, false, false } },
		{ "host a.test", { true, true, true, false } },
		{ "host b.test", { false, false, false, true } },
		{ "all", { true, true, true, true } },
	};
	struct fill *w[4], *r;
	uint64_t version[4];
	struct arena a;
	struct str manifest, head;
	int64_t total;

	arena_init(&a);
	for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
		struct str what = str_c(rows[k].what);
		bool may = true, joined = true, changed = true, later = true;
		for (unsigned i = 0; i < 4; i++) {
			version[i] = fill_version(table);
			is_int(fill_claim(table, store, ids[i], 0, CHUNK, &w[i]), FILL_WRITER, "%.*s is being fetched", STRP(ids[i]));
		}
		str_cut(&what, ' ');
		if (str_starts(str_c(rows[k].what), STR("id")))
			fill_outdate(table, what);
		else if (what.n)
			fill_outdate_host(table, what);
		else
			fill_outdate_all(table);
		for (unsigned i = 0; i < 4; i++) {
			changed &= fill_outdated(table, ids[i], version[i]) == rows[k].changes[i];
			may &= fill_may_store(w[i], version[i]) != rows[k].changes[i];
			enum fill_claim c = fill_claim(table, store, ids[i], 1, CHUNK, &r);
			joined &= c == (rows[k].changes[i] ? FILL_WRITER : FILL_READER);
			if (c == FILL_WRITER)
				fill_fail(&r, -ERR_AGAIN, 0);
			else if (c == FILL_READER)
				fill_leave(&r);
		}
		ok(changed, "%s outdates what it names", rows[k].what);
		for (unsigned i = 0; i < 4; i++)
			later &= !fill_outdated(table, ids[i], fill_version(table));
		ok(later, "... and nothing that is looked up from then on");
		ok(may, "... which may not be stored, while all else may");
		ok(joined, "... nor be joined");
		for (unsigned i = 0; i < 4; i++)
			fill_fail(&w[i], -ERR_AGAIN, 0);
	}

	version[0] = fill_version(table);
	fill_claim(table, store, ids[1], 0, CHUNK, &w[0]);
	fill_claim(table, store, ids[1], 1, CHUNK, &r);
	fill_head(w[0], STR("the head"), 100);
	fill_append(w[0], bytes, 50);
	ok(fill_growing(table, ids[0]) && !fill_growing(table, ids[2]), "one can see that it grows");
	fill_outdate(table, ids[0]);
	ok(!fill_growing(table, ids[0]), "... not once it is outdated");
	is_int(fill_append(w[0], bytes + 50, 50), 0, "... but it goes on");
	is_int(fill_seal(w[0], &a, &manifest), 0, "... to its end");
	ok(!fill_may_store(w[0], version[0]), "... at which it may not be stored");
	ok(!fill_storing(table, ids[0]), "... and nobody waits for that");
	is_int(fill_wait_head(r, 0, &a, &head, &total), 0, "who reads it");
	is_int(read_all(r, 0, 4096, 0), 100, "... gets all of it");
	fill_done(&w[0]);
	fill_leave(&r);

	version[0] = fill_version(table);
	fill_claim(table, store, ids[0], 0, CHUNK, &w[0]);
	fill_head(w[0], STR("the head"), 0);
	fill_seal(w[0], &a, &manifest);
	ok(fill_may_store(w[0], version[0]), "one that is on its way into the database");
	ok(!fill_storing(table, ids[0]), "... matters only to whom it was before");
	fill_outdate(table, ids[0]);
	ok(fill_storing(table, ids[0]) && fill_storing(table, STR_NONE), "... and that waits for it");
	ok(!fill_storing(table, ids[2]), "... not who is after another one");
	fill_done(&w[0]);
	ok(!fill_storing(table, STR_NONE), "... until it is there");
	is_int(fill_active(table), 0, "nothing is left behind");
	arena_fini(&a);
}

int
main(void)
{
	signal(SIGXFSZ, SIG_IGN);
	alarm(300);
	store_make();
	bytes = malloc(10 * MIB + 64);
	bytes_make(bytes, 0, 10 * MIB + 64, 42);
	table = fill_table_init(shm_map(fill_table_size(64)), 64);
	store = store_open(1 << 20);
	processes(); /* forks, so before there are threads */
	rules();
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		crowd(sizes[i].n, sizes[i].known, sizes[i].piece);
	for (size_t i = 0; i < sizeof failures / sizeof *failures; i++)
		degraded(failures[i].what, failures[i].limit, failures[i].n, failures[i].known, failures[i].readers);
	relay_rules();
	outdated();
	small_disk();
	nameless();
	names();
	speed();
	chunks_close(&store);
	free(bytes);
	return done_testing();
}
