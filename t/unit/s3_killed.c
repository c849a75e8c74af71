/* A worker that is killed anywhere while it has to do with the table of fills, inside its lock and outside: the table is sound after the
 * burial, no slot is lost, nobody who reads or waits is stuck. The damage of all kills adds up in one table. */
#include "tap.h"
#include "killed.h"
#include "s3_store.h"
#include "s3/fill.h"
#include "common/arena.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/shm.h"

#define SLOTS 4
#define CHUNK 65536
#define KEY STR("https/example.com/0123")
#define DEAD 1 /* the worker that is killed */

static struct chunks *store;
static struct fill_table *table;
static struct fill *writer; /* another worker's, whose fill the killed one reads */

static void begin(struct fill **w, unsigned worker)
{
	if (fill_claim(table, store, KEY, worker, CHUNK, w) == FILL_WRITER)
		fill_head(*w, STR("the head"), 5);
}

static void write_and_fail(void *arg)
{
	struct fill *w, *r;
	begin(&w, DEAD);
	r = fill_reader(w);
	fill_append(w, "he", 2);
	fill_fail(&w, -ERR_ORIGIN_BROKEN, 0);
	fill_leave(&r);
}

static void write_and_store(void *arg)
{
	struct arena a;
	struct str manifest;
	struct fill *w;
	arena_init(&a);
	begin(&w, DEAD);
	fill_append(w, "hello", 5);
	fill_seal(w, &a, &manifest);
	fill_may_store(w, fill_version(table));
	fill_done(&w);
}

static void write_unshareable(void *arg)
{
	struct fill *w;
	begin(&w, DEAD);
	fill_fail(&w, -ERR_UNSHAREABLE, 1000);
	fill_shareable(table, KEY);
}

static void relay(void *arg)
{
	const void *v;
	struct fill *w, *r;
	begin(&w, DEAD);
	r = fill_reader(w);
	fill_append(w, "he", 2);
	fill_degrade(w);
	fill_append(w, "llo", 3);
	fill_read(r, 0, 2, &v, 0);
	fill_read(r, 2, 3, &v, 0);
	fill_leave(&r);
	fill_fail(&w, -ERR_FULL, 0);
}

static void outdate(void *arg)
{
	fill_outdate(table, KEY);
	fill_outdate_host(table, STR("example.com"));
	fill_outdate_all(table);
	fill_storing(table, KEY);
	fill_growing(table, KEY);
}

static void read_it(void *arg)
{
	struct arena a;
	struct str record;
	int64_t total;
	const void *v;
	struct fill *r;
	arena_init(&a);
	if (fill_claim(table, store, KEY, DEAD, CHUNK, &r) != FILL_READER)
		return;
	fill_wait_head(r, 0, &a, &record, &total);
	fill_read(r, 0, 5, &v, 0);
	fill_leave(&r);
}

/* As the master does it. */
static bool buried_and_sound(void *arg)
{
	struct arena a;
	struct fill *w[SLOTS + 1], *r;
	struct str record;
	const void *v;
	int64_t total;
	bool sound = true;
	arena_init(&a);
	fill_bury(table, DEAD);
	if (writer != NULL) {
		sound &= fill_readers(writer) == 0;
		fill_fail(&writer, -ERR_AGAIN, 0);
	}
	sound &= fill_active(table) == 0;
	fill_shareable(table, KEY);
	for (unsigned i = 0; i <= SLOTS; i++) { /* every slot can be had */
		struct str key = i == 0 ? KEY : arena_printf(&a, "https/example.com/%u", i);
		sound &= fill_claim(table, store, key, 0, CHUNK, &w[i]) == (i < SLOTS ? FILL_WRITER : FILL_TABLE_FULL);
		if (w[i] == NULL)
			continue;
		sound &= fill_claim(table, store, key, 2, CHUNK, &r) == FILL_READER && fill_readers(w[i]) == 1;
		sound &= fill_head(w[i], STR("the head"), 5) == 0 && fill_append(w[i], "hello", 5) == 0;
		sound &= r != NULL && fill_wait_head(r, 0, &a, &record, &total) == 0 && total == 5 && fill_read(r, 0, 5, &v, 0) == 5 && memcmp(v, "hello", 5) == 0;
		if (r != NULL)
			fill_leave(&r);
	}
	for (unsigned i = 0; i < SLOTS; i++)
		if (w[i] != NULL)
			fill_fail(&w[i], -ERR_AGAIN, 0);
	sound &= fill_active(table) == 0;
	arena_fini(&a);
	if (*(bool *)arg) {
		begin(&writer, 0);
		fill_append(writer, "he", 2);
	}
	return sound;
}

static const struct { killed_f *op; bool of_another; const char *what; } rows[] = {
	{ write_and_fail, false, "writing what fails" },
	{ write_and_store, false, "writing what is stored" },
	{ write_unshareable, false, "writing what is not to be shared" },
	{ relay, false, "relaying" },
	{ read_it, true, "reading" },
	{ outdate, true, "outdating" },
};

int main(void)
{
	store_make();
	store = store_open(0);
	table = fill_table_init(shm_map(fill_table_size(SLOTS)), SLOTS);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		bool of_another = rows[i].of_another;
		long kills;
		ok(buried_and_sound(&of_another), "%s: at first all is well", rows[i].what);
		if (i == 0 && killed_after(rows[i].op, NULL, 1) < 0) {
			note("processes may not be traced here");
			break;
		}
		const long good = killed_everywhere(rows[i].op, &of_another, buried_and_sound, &kills);
		is_int(good, kills, "… and after each of %ld kills", kills);
		if (writer != NULL)
			fill_fail(&writer, -ERR_AGAIN, 0);
	}
	is_int(fill_active(table), 0, "in the end nobody has a slot");
	chunks_close(&store);
	return done_testing();
}
