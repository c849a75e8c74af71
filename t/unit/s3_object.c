/* One way to read a body, wherever it is. */
#include "tap.h"
#include "s3_store.h"
#include "s3/object.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/shm.h"

#define SIZE 3000000
#define CHUNK (1024 * 1024)

static unsigned char body[SIZE];

static bool
all_right(struct object *o, uint64_t from, uint64_t size, size_t want)
{
	const void *v;
	int64_t n;

	while ((n = object_read(o, from, want, &v, 0)) > 0) {
		if ((size_t)n > want || !bytes_right(v, from, (size_t)n, 9))
			return false;
		from += (uint64_t)n;
	}
	return n == 0 && from == size;
}

int
main(void)
{
	struct chunks *s, *cold;
	struct fill_table *t = fill_table_init(shm_map(fill_table_size(4)), 4);
	struct fill *w, *f;
	struct object *o, *g;
	struct arena a;
	struct str m, small, broken, uuid;
	struct manifest p;
	struct chunk_id id;
	const void *v;
	char *copy;

	store_make();
	arena_init(&a);
	s = store_open(1 << 20);
	cold = store_open(0);
	bytes_make(body, 0, SIZE, 9);

	is_int(object_open(&o, s, NULL, STR_NONE), 0, "no manifest is an empty body");
	ok(object_size(o) == 0 && object_read(o, 0, 10, &v, 0) == 0 && object_ready(o, 0), "of no bytes");
	object_close(&o);
	ok(o == NULL, "closed");
	o = object_memory((struct str){ (char *)body, 1000 });
	ok(object_size(o) == 1000 && all_right(o, 0, 1000, 300) && object_read(o, 2000, 1, &v, 0) == 0, "our own pages");
	object_close(&o);

	fill_claim(t, s, STR("k"), 0, CHUNK, &w);
	f = fill_reader(w);
	g = object_growing(&f);
	ok(f == NULL && object_size(g) == -1 && !object_ready(g, 0), "a growing one");
	fill_head(w, STR("h"), SIZE);
	is_int(object_size(g), SIZE, "knows its size with the head");
	fill_append(w, body, 2000000);
	ok(object_ready(g, 1999999) && !object_ready(g, 2000000), "is ready as far as it goes");
	is_int(object_read(g, 2000000, 1, &v, 0), -ERR_TIMEOUT, "and not further");
	fill_append(w, body + 2000000, 1000000);
	fill_seal(w, &a, &m);
	fill_done(&w);
	ok(all_right(g, 0, SIZE, 1000000) && all_right(g, 1234567, SIZE, 77777), "whole: all bytes, and from the middle");
	object_close(&g);
	is_int(fill_active(t), 0, "closing leaves the fill");

	is_int(manifest_parse(m, &p), 0, "its manifest");
	is_int(p.n, 3, "has three chunks");
	is_int(object_open(&o, cold, NULL, m), 0, "opens the stored one");
	ok(object_size(o) == SIZE && all_right(o, 0, SIZE, 1000000) && all_right(o, 1048575, SIZE, 5000) && all_right(o, 17, SIZE, 256 * 1024),
	    "all bytes, from anywhere, in any order");
	id = manifest_id(&p, 2);
	chunks_remove(cold, &id);
	is_int(object_read(o, 0, 10, &v, 0), 10, "when a chunk is lost meanwhile, the others are read");
	is_int(object_read(o, 2 * CHUNK, 10, &v, 0), -ERR_NOT_FOUND, "and it is an error");
	object_close(&o);
	is_int(object_open(&o, cold, NULL, m), -ERR_NOT_FOUND, "the next one is told at once");

	chunks_put(s, body, 5000, &id);
	small = manifest_build(&a, 32 * CHUNK, 5000, &id, 1);
	ok(object_open(&o, s, NULL, small) == 0 && all_right(o, 0, 5000, 100000), "a small one, from memory");
	object_close(&o);
	ok(object_open(&o, cold, NULL, small) == 0 && all_right(o, 100, 5000, 100000), "and from its file");
	object_close(&o);
	copy = (char *)arena_dup(&a, small).p;
	copy[14] = 1; /* another length */
	broken = (struct str){ copy, small.n };
	is_int(object_open(&o, cold, NULL, broken), -ERR_CORRUPT, "a chunk that is not as long as the manifest says is refused");
	is_int(object_open(&o, cold, NULL, STR("nonsense")), -ERR_CORRUPT, "nonsense is no manifest");
	copy = (char *)arena_dup(&a, small).p;
	copy[5] = MANIFEST_UUID;
	uuid = (struct str){ copy, small.n };
	is_int(object_open(&o, cold, NULL, uuid), -ERR_NOT_FOUND, "a chunk with a random name that is not here is not found");
	id = chunk_id_random();
	is_int(chunks_put_as(s, body, 5000, &id), 0, "one that is");
	small = manifest_build(&a, 32 * CHUNK, 5000, &id, 1);
	ok(small.n == 26 + 16 && object_open(&o, cold, NULL, small) == 0 && all_right(o, 0, 5000, 100000), "is read");
	object_close(&o);
	arena_fini(&a);
	chunks_close(&s);
	chunks_close(&cold);
	return done_testing();
}
