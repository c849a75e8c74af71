/* Bodies that come in any order: every reader gets the right bytes of whatever range it reads, in whatever order they come; chunks are hashed whole
 * and right; what was there of a body that did not end is used again. */
#include "tap.h"
#include "s3_store.h"
#include "s3/fill.h"
#include "s3/fill_impl.h" /* a writer that stops in the middle of a change */
#include "s3/manifest.h"
#include "s3/object.h"
#include "common/arena.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/shm.h"
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#define KIB 1024
#define CHUNK (256 * KIB)
#define SIZE (10 * CHUNK + 12345)
#define HEAD STR("the head")

static unsigned char *bytes;
static struct chunks *store;
static struct fill_table *table;
static unsigned names;
static uint64_t random_state = 88172645463325252u;

static uint64_t
random_below(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % n;
}

static int64_t in_ms(int64_t ms) { return clock_mono() + ms; }

static struct fill *
claim_as(struct str key, unsigned worker)
{
	struct fill *f;
	if (fill_claim(table, store, key, worker, CHUNK, &f) != FILL_WRITER)
		exit(2);
	return f;
}

static struct fill *
begin(struct str key, int64_t total)
{
	struct fill *f = claim_as(key, 0);
	fill_head(f, HEAD, total);
	return f;
}

static struct str
new_key(struct arena *a)
{
	return arena_printf(a, "https/example.com/%u", ++names);
}

static int put(struct fill *f, uint64_t at, uint64_t n) { return fill_put(f, at, bytes + at, (size_t)n); }

/* Pieces of these bytes, in a random order, after the first have come in order. */
static int
put_all(struct fill *f, uint64_t from, uint64_t to, uint64_t piece, unsigned pause_us)
{
	uint64_t n = (to - from + piece - 1) / piece, *order = calloc(n, sizeof *order);
	int r = 0;

	for (uint64_t i = 0; i < n; i++)
		order[i] = i;
	for (uint64_t i = n; i > 1; i--) {
		uint64_t k = random_below(i), t = order[k];
		order[k] = order[i - 1];
		order[i - 1] = t;
	}
	for (uint64_t i = 0; i < n && r == 0; i++) {
		uint64_t at = from + order[i] * piece;
		r = put(f, at, at + piece < to ? piece : to - at);
		if (pause_us)
			usleep(pause_us);
	}
	free(order);
	return r;
}

struct reader { pthread_t th; struct fill *f; uint64_t at, end; int64_t got; };

static void *
reader_main(void *arg)
{
	struct reader *r = arg;
	const void *v;
	int64_t n = 0;

	fill_intends(r->f, r->end);
	for (uint64_t at = r->at; at < r->end; at += (uint64_t)n) {
		n = fill_read(r->f, at, (size_t)(r->end - at), &v, in_ms(20000));
		if (n <= 0)
			break;
		if ((uint64_t)n > r->end - at)
			n = (int64_t)(r->end - at);
		if (memcmp(v, bytes + at, (size_t)n) != 0) {
			n = -1000;
			break;
		}
		r->got += n;
	}
	if (n < 0)
		r->got = n;
	fill_leave(&r->f);
	return NULL;
}

static bool
stored_right(struct str manifest)
{
	struct object *o;
	const void *v;
	int64_t n;
	uint64_t at = 0;

	if (object_open(&o, store, NULL, manifest) < 0)
		return false;
	while ((n = object_read(o, at, 64 * KIB, &v, in_ms(1000))) > 0 && memcmp(v, bytes + at, (size_t)n) == 0)
		at += (uint64_t)n;
	object_close(&o);
	return n == 0 && at == SIZE;
}

static void
orders(uint64_t in_order, uint64_t piece, unsigned readers)
{
	struct reader r[300] = { 0 };
	struct arena a;
	struct str manifest;
	unsigned right = 0;

	arena_init(&a);
	struct fill *f = begin(new_key(&a), SIZE);
	for (uint64_t at = 0; at < in_order; at += 16 * KIB)
		fill_append(f, bytes + at, in_order - at < 16 * KIB ? in_order - at : 16 * KIB);
	for (unsigned i = 0; i < readers; i++) {
		r[i].f = fill_reader(f);
		r[i].at = i % 3 == 0 ? 0 : random_below(SIZE);
		r[i].end = i % 3 == 0 ? SIZE : r[i].at + 1 + random_below(SIZE - r[i].at);
		pthread_create(&r[i].th, NULL, reader_main, &r[i]);
	}
	is_int(fill_spread(f), 0, "from byte %llu on in pieces of %llu for %u readers", (unsigned long long)in_order, (unsigned long long)piece, readers);
	is_int(put_all(f, in_order, SIZE, piece, readers > 0 ? 50 : 0), 0, "... all of them");
	is_int(fill_seal(f, &a, &manifest), 0, "... it is whole");
	fill_done(&f);
	for (unsigned i = 0; i < readers; i++) {
		pthread_join(r[i].th, NULL);
		right += r[i].got == (int64_t)(r[i].end - r[i].at);
	}
	is_int(right, readers, "... every reader has its bytes");
	ok(stored_right(manifest), "... and so has the store");
	is_int(fill_active(table), 0, "... nothing is left behind");
	arena_fini(&a);
}

static void
wishes(void)
{
	struct arena a;
	struct extent e[8];
	const void *v;

	arena_init(&a);
	struct fill *f = begin(new_key(&a), SIZE);
	fill_spread(f);
	is_int(fill_wanted(f, e, 8, false), 0, "nobody wants anything");
	struct fill *r = fill_reader(f), *q = fill_reader(f);
	fill_intends(r, 700 * KIB);
	is_int(fill_read(r, 600 * KIB, 1, &v, 0), -ERR_TIMEOUT, "a reader whose byte is not there waits");
	is_int(fill_wanted(f, e, 8, false), 1, "... the writer knows what it will read");
	ok(e[0].at == 600 * KIB && e[0].end == 700 * KIB, "... and where that ends");
	fill_intends(q, 650 * KIB);
	fill_read(q, 600 * KIB, 1, &v, 0);
	is_int(fill_wanted(f, e, 8, false), 1, "two who wait for one byte are one wish");
	ok(e[0].end == 700 * KIB, "... as far as the farther");
	is_int(fill_wanted(f, e, 8, true), 1, "by chunks: nothing else was begun");
	ok(e[0].at == 600 * KIB && e[0].end == 3 * CHUNK, "... to the end of the chunk");
	put(f, 600 * KIB, 100 * KIB);
	ok(fill_read(r, 600 * KIB, 1, &v, 0) > 0, "it is there");
	fill_read(r, 699 * KIB, 1, &v, 0);
	is_int(fill_wanted(f, e, 8, false), 0, "nothing that is wanted lacks");
	is_int(fill_wanted(f, e, 8, true), 1, "by chunks: what was begun is to be whole");
	ok(e[0].at == 2 * CHUNK && e[0].end == 3 * CHUNK, "... which is this one");
	is_int(fill_read(r, 700 * KIB, 1, &v, 0), -ERR_TIMEOUT, "beyond that nothing is there");
	fill_leave(&r);
	fill_leave(&q);
	is_int(fill_wanted(f, e, 8, false), 0, "who has left wants nothing");
	fill_fail(&f, -ERR_FILL_FAILED, 0);
	is_int(fill_active(table), 0, "nothing is left behind");
	arena_fini(&a);
}

static void
again(void)
{
	struct arena a;
	struct str sparse, manifest;
	struct manifest m;
	uint32_t done;

	arena_init(&a);
	struct str key = new_key(&a);
	struct fill *f = begin(key, SIZE);
	fill_spread(f);
	ok(fill_sparse(f, &a, &done).n == 0 && done == 0, "no chunk is whole");
	put(f, CHUNK, CHUNK);
	put(f, 4 * CHUNK, CHUNK);
	put(f, 6 * CHUNK, CHUNK / 2);
	put(f, 10 * CHUNK, SIZE - 10 * CHUNK);
	sparse = fill_sparse(f, &a, &done);
	is_int(done, 3, "three are");
	is_int(fill_done_chunks(f), 3, "... which costs nothing to know");
	is_int(manifest_parse(sparse, &m), 0, "what is there, as a manifest");
	ok(!manifest_has(&m, 0) && manifest_has(&m, 1) && !manifest_has(&m, 6) && manifest_has(&m, 10), "... with holes");
	fill_fail(&f, -ERR_ORIGIN_BROKEN, 0);

	struct chunk_id gone = manifest_id(&m, 4);
	chunks_remove(store, &gone);
	f = begin(key, SIZE);
	fill_spread(f);
	fill_adopt(f, sparse);
	const struct extents *have = fill_extents(f);
	is_int(have->n, 2, "used again: two of them, for one was evicted");
	ok(have->v[0].at == CHUNK && have->v[0].end == 2 * CHUNK && have->v[1].end == SIZE, "... these");
	put_all(f, 0, CHUNK, 10000, 0);
	put_all(f, 2 * CHUNK, 10 * CHUNK, 70000, 0);
	is_int(fill_seal(f, &a, &manifest), 0, "with the rest it is whole");
	fill_done(&f);
	ok(stored_right(manifest), "... and right");

	f = begin(key, SIZE + 1);
	fill_spread(f);
	fill_adopt(f, sparse);
	is_int(fill_extents(f)->n, 0, "of another length nothing is used");
	fill_fail(&f, -ERR_FILL_FAILED, 0);
	is_int(fill_active(table), 0, "nothing is left behind");
	arena_fini(&a);
}

static void
bounds(void)
{
	struct arena a;
	const struct rlimit small = { CHUNK / 2, RLIM_INFINITY }, none = { RLIM_INFINITY, RLIM_INFINITY };
	unsigned n = 0;
	int r = 0;

	arena_init(&a);
	struct fill *f = begin(new_key(&a), SIZE);
	fill_spread(f);
	while (r == 0 && n <= 2 * FILL_EXTENTS)
		r = put(f, 2 * n++, 1);
	is_int(r, -ERR_FULL, "too many pieces");
	is_int(n - 1, FILL_EXTENTS, "... is more than FILL_EXTENTS");
	fill_fail(&f, r, 0);

	f = begin(new_key(&a), SIZE);
	struct reader reader = { .f = fill_reader(f), .at = CHUNK, .end = SIZE };
	pthread_create(&reader.th, NULL, reader_main, &reader);
	fill_spread(f);
	setrlimit(RLIMIT_FSIZE, &small);
	r = put(f, CHUNK, CHUNK);
	setrlimit(RLIMIT_FSIZE, &none);
	is_int(r, -ERR_FULL, "the disk is full");
	is_int(put(f, 0, 1), -ERR_FULL, "... and stays so for this one");
	fill_fail(&f, r, 0);
	pthread_join(reader.th, NULL);
	is_int(reader.got, -ERR_FULL, "... and its reader is told");

	struct fill *many[FILL_WANTS + 2];
	const void *v;
	f = begin(new_key(&a), SIZE);
	fill_spread(f);
	for (unsigned i = 0; i < FILL_WANTS + 2; i++) {
		many[i] = fill_reader(f);
		fill_read(many[i], i, 1, &v, 0);
	}
	put(f, 0, CHUNK);
	ok(fill_read(many[FILL_WANTS + 1], 0, 1, &v, in_ms(1000)) > 0, "one more than there are places for wishes reads all the same");
	for (unsigned i = 0; i < FILL_WANTS + 2; i++)
		fill_leave(&many[i]);
	fill_fail(&f, -ERR_FILL_FAILED, 0);
	is_int(fill_active(table), 0, "nothing is left behind");
	arena_fini(&a);
}

/* Its byte is there, but its look falls into a change of the list; the change is about other bytes, so nobody is woken for this one. */
static void
in_a_change(void)
{
	struct arena a;

	arena_init(&a);
	struct fill *f = begin(new_key(&a), SIZE);
	fill_spread(f);
	put(f, CHUNK, CHUNK);
	struct slot *s = f->s;
	struct reader r = { .f = fill_reader(f), .at = CHUNK, .end = CHUNK + 1000 };
	atomic_fetch_add(&s->extents_seq, 1);
	pthread_create(&r.th, NULL, reader_main, &r);
	for (int64_t until = in_ms(2000); !atomic_load(&s->wants[0].waits) && clock_mono() < until; )
		usleep(1000);
	ok(atomic_load(&s->wants[0].waits), "a reader waits while the list is being changed");
	usleep(2000); /* it has looked */
	atomic_fetch_add(&s->extents_seq, 1);
	int64_t changed = clock_mono();
	pthread_join(r.th, NULL);
	ok(clock_mono() - changed < 5000, "... and looks again soon after it");
	is_int(r.got, 1000, "... at bytes that were there before");
	fill_fail(&f, -ERR_FILL_FAILED, 0);
	f = begin(new_key(&a), SIZE);
	atomic_store(&f->s->wants_top, 1u << 20); /* a process that has gone mad */
	fill_spread(f);
	put(f, CHUNK, CHUNK);
	struct extent e[4];
	is_int(fill_wanted(f, e, 4, false), 0, "wishes beyond the places for them are none");
	fill_fail(&f, -ERR_FILL_FAILED, 0);
	is_int(fill_active(table), 0, "nothing is left behind");
	arena_fini(&a);
}

/* A writer that is killed anywhere: its readers end, with right bytes until then, and the slot is of use again. Before there are threads. */
static void
killed(void)
{
	unsigned bad = 0, ended = 0;

	for (unsigned i = 0; i < 60; i++) {
		struct arena a;
		arena_init(&a);
		struct str key = new_key(&a);
		int begun[2];
		char byte = 1;
		pid_t pid = pipe(begun) == 0 ? fork() : -1;
		if (pid == 0) {
			struct fill *f = claim_as(key, 1);
			fill_head(f, HEAD, SIZE);
			fill_spread(f);
			if (write(begun[1], &byte, 1) != 1)
				_exit(1);
			for (;;)
				if (put_all(f, 0, SIZE, 700, 0) < 0 || fill_extents(f)->bytes == SIZE)
					pause();
		}
		struct fill *f = NULL;
		close(begun[1]);
		bad += read(begun[0], &byte, 1) != 1 || fill_claim(table, store, key, 0, CHUNK, &f) != FILL_READER;
		close(begun[0]);
		struct str head;
		int64_t total, n = 0;
		const void *v;
		fill_wait_head(f, in_ms(5000), &a, &head, &total);
		usleep((useconds_t)random_below(8000));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		fill_bury(table, 1);
		for (uint64_t at = 0; at < SIZE; at += 5000 + random_below(9000)) {
			n = fill_read(f, at, 4000, &v, in_ms(5000));
			bad += n > 0 && memcmp(v, bytes + at, (size_t)n) != 0;
			bad += n <= 0 && n != -ERR_FILL_FAILED;
		}
		fill_leave(&f);
		ended += fill_active(table) == 0;
		arena_fini(&a);
	}
	is_int(bad, 0, "writers killed anywhere: no wrong byte, and no wait");
	is_int(ended, 60, "... and no slot lost");
}

int
main(void)
{
	signal(SIGXFSZ, SIG_IGN);
	alarm(300);
	store_make();
	bytes = malloc(SIZE);
	bytes_make(bytes, 0, SIZE, 7);
	table = fill_table_init(shm_map(fill_table_size(16)), 16);
	store = store_open(1 << 20);
	killed();
	orders(0, CHUNK, 0);
	orders(0, 16 * KIB, 20);
	orders(100 * KIB, 64 * KIB, 20);
	orders(CHUNK, 5000, 3);
	orders(3 * CHUNK + 17, 3 * CHUNK, 5);
	orders(0, 16 * KIB, 290); /* more than FILL_WANTS */
	wishes();
	again();
	bounds();
	in_a_change();
	chunks_close(&store);
	free(bytes);
	return done_testing();
}
