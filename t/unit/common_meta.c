/* The flat record of a stored response: what goes in comes out, and nothing but a whole record is ever accepted. */
#include "tap.h"
#include "../../common/err.h"
#include "../../common/hash.h"
#include "../../common/meta.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
same_str(struct str a, struct str b)
{
	return !a.p == !b.p && str_eq(a, b);
}

static bool
same_headers(struct headers a, struct headers b)
{
	bool same = a.n == b.n;
	for (unsigned i = 0; same && i < a.n; i++)
		same = str_eq(a.v[i].name, b.v[i].name) && str_eq(a.v[i].value, b.v[i].value);
	return same;
}

static bool same_i64(int64_t a, int64_t b) { return a == b; }

static bool
same(const struct meta *a, const struct meta *b)
{
	bool all = true;
#define META(name, type, es_name) if (!same_##type(a->name, b->name)) { all = false; note("member " #name " differs"); }
#include "../../common/tbl/meta.h"
	return all;
}

static void
fill(struct meta *m, struct arena *a, unsigned fields)
{
	meta_init(m, a);
	m->id = STR("https/example.com/599370d5687c3fd078c314add6d37c2d714e57a5d9157d4a703cfcc0");
	m->status = 200;
	m->url = STR("https://example.com/a.tar.gz");
	m->extension = STR("");
	m->content_size = INT64_MAX;
	m->stored_at = 1700000000123;
	m->last_access = -1;
	m->manifest = (struct str){ "\0\1\2\377", 4 };
	m->reason = STR("OK");
	m->flags = META_AUTHORIZED | META_INVALIDATED;
	for (unsigned i = 0; i < fields; i++)
		headers_add(&m->headers, arena_printf(a, "X-Field-%u", i), i % 3 ? arena_printf(a, "value %u", i) : STR(""));
}

/* An accepted record with a new checksum, so that damage reaches the code behind it. */
static void
reseal(char *rec, size_t n)
{
	uint64_t sum = n >= 16 ? hash64(rec + 16, n - 16) : 0;
	uint32_t len = (uint32_t)n;
	if (n >= 16) {
		memcpy(rec + 4, &len, 4);
		memcpy(rec + 8, &sum, 8);
	}
}

static void
seed(const char *dir, const char *name, struct str rec)
{
	char path[512];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0 || write(fd, rec.p, rec.n) != (ssize_t)rec.n)
		note("cannot write the seed %s", path);
	if (fd >= 0)
		close(fd);
}

int
main(void)
{
	struct arena a;
	struct meta m, d;
	const char *seeds = getenv("FUZZ_SEEDS"); /* a folder: the records made here become the corpus of t/fuzz/meta.c */

	arena_init(&a);
	if (seeds)
		mkdir(seeds, 0755);
	for (unsigned fields = 0; fields <= 128; fields = fields ? fields * 2 : 1) {
		char name[32];
		fill(&m, &a, fields);
		struct str rec = meta_encode(&m, &a);
		ok(rec.p && meta_decode(rec, &a, &d) == 0 && same(&m, &d), "a record with %u header fields comes back as it was", fields);
		snprintf(name, sizeof name, "fields-%u", fields);
		if (seeds)
			seed(seeds, name, rec);
	}
	meta_init(&m, &a);
	struct str empty = meta_encode(&m, &a);
	ok(meta_decode(empty, &a, &d) == 0 && same(&m, &d), "an empty record comes back: there is none stays apart from empty");
	is_int(d.content_size, -1, "an empty record has an unknown size");
	if (seeds)
		seed(seeds, "empty", empty);

	fill(&m, &a, 5);
	struct str rec = meta_encode(&m, &a);
	char *bytes = xmalloc(rec.n + 1);
	memcpy(bytes + 1, rec.p, rec.n);
	ok(meta_decode((struct str){ bytes + 1, rec.n }, &a, &d) == 0 && same(&m, &d), "a record need not be aligned");
	ok(d.url.p > bytes && d.url.p < bytes + 1 + rec.n, "strings are views into the record, not copies");
	headers_add(&d.headers, STR("More"), STR("1"));
	is_int(d.headers.n, 6, "a decoded header section can be added to");

	unsigned wrong = 0;
	for (size_t n = 0; n < rec.n; n++) {
		char *cut = xmalloc(n + !n); /* a heap copy of exactly n bytes, so that the sanitizer sees one read too many */
		memcpy(cut, rec.p, n);
		wrong += meta_decode((struct str){ cut, n }, &a, &d) != -ERR_CORRUPT;
		reseal(cut, n);
		wrong += meta_decode((struct str){ cut, n }, &a, &d) != -ERR_CORRUPT;
		free(cut);
	}
	is_int(wrong, 0, "a record cut anywhere is refused, even with a right checksum");
	memcpy(bytes, rec.p, rec.n);
	bytes[rec.n] = 0;
	reseal(bytes, rec.n + 1);
	is_int(meta_decode((struct str){ bytes, rec.n + 1 }, &a, &d), -ERR_CORRUPT, "a record with a byte too many is refused");
	wrong = 0;
	for (size_t bit = 0; bit < rec.n * 8; bit++) {
		memcpy(bytes, rec.p, rec.n);
		bytes[bit / 8] ^= (char)(1 << bit % 8);
		wrong += meta_decode((struct str){ bytes, rec.n }, &a, &d) != -ERR_CORRUPT;
	}
	is_int(wrong, 0, "any flipped bit is found");
	memcpy(bytes, rec.p, rec.n);
	bytes[3]++;
	is_int(meta_decode((struct str){ bytes, rec.n }, &a, &d), -ERR_CORRUPT, "a record of another layout version is refused");

	/* lengths and counts that lie, behind a right checksum: nothing is read outside the record, whatever the answer is */
	uint64_t x = 88172645463325252u;
	for (unsigned i = 0; i < 20000; i++) {
		char *bad = xmalloc(rec.n);
		memcpy(bad, rec.p, rec.n);
		for (unsigned j = 0; j <= i % 4; j++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			bad[16 + x % (rec.n - 16)] = (char)(x >> 56);
		}
		reseal(bad, rec.n);
		if (meta_decode((struct str){ bad, rec.n }, &a, &d) == 0)
			meta_encode(&d, &a);
		free(bad);
		if (i % 500 == 0)
			arena_reset(&a), fill(&m, &a, 5), rec = meta_encode(&m, &a);
	}
	ok(true, "20,000 damaged records with right checksums are survived");

	fill(&m, &a, 3);
	m.manifest = (struct str){ xcalloc(1, META_RECORD_MAX), META_RECORD_MAX };
	ok(!meta_encode(&m, &a).p, "a record above the bound is not made");
	free((char *)m.manifest.p);

	struct arena b;
	arena_init(&b);
	fill(&m, &b, 7);
	meta_copy(&d, &m, &a);
	struct meta again;
	fill(&again, &a, 7);
	arena_fini(&b);
	ok(same(&d, &again), "a copy outlives what it was copied from");
	free(bytes);
	arena_fini(&a);
	return done_testing();
}
