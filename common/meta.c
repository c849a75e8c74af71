/* meta.c - the flat record of a stored response.
 *
 *   u32 magic and layout version    u32 length of the whole record    u64 checksum of all that follows
 *   then each member in the order of tbl/meta.h:
 *     i64      8 bytes
 *     str      u32 length, bytes
 *     headers  u32 number of fields, then for each: str name, str value
 *
 * All integers are little endian and unaligned. Whoever changes the table's members or their order raises VERSION: records of
 * another version are refused as a whole. That is all the forward compatibility there is, because the database is a cache, and
 * asking again is cheaper than guessing. LMDB has no checksums of its own, hence ours: a bit that flipped on the disk must not
 * become a header field that no origin sent. */
#include "meta.h"
#include "err.h"
#include "hash.h"
#include <endian.h>

#define VERSION 1u
#define MAGIC (0x00524d50u | VERSION << 24) /* "PMR" and the version */
#define HEAD 16
#define LEN_NULL UINT32_MAX                 /* a str with p == NULL: "there is none" is not the same as "it is empty" */

void
meta_init(struct meta *m, struct arena *arena)
{
	*m = (struct meta){ .content_size = -1 };
	headers_init(&m->headers, arena);
}

/* --- encode ----------------------------------------------------------------------------------------------------------- */

static size_t size_i64(int64_t v) { return 8; }
static size_t size_str(struct str s) { return 4 + s.n; }

static size_t
size_headers(struct headers h)
{
	size_t n = 4;

	for (unsigned i = 0; i < h.n; i++)
		n += size_str(h.v[i].name) + size_str(h.v[i].value);
	return n;
}

static char *
put_u32(char *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, 4);
	return p + 4;
}

static char *
put_i64(char *p, int64_t v)
{
	uint64_t u = htole64((uint64_t)v);

	memcpy(p, &u, 8);
	return p + 8;
}

static char *
put_str(char *p, struct str s)
{
	p = put_u32(p, s.p ? (uint32_t)s.n : LEN_NULL);
	if (!s.n)
		return p;
	memcpy(p, s.p, s.n);
	return p + s.n;
}

static char *
put_headers(char *p, struct headers h)
{
	p = put_u32(p, h.n);
	for (unsigned i = 0; i < h.n; i++) {
		p = put_str(p, h.v[i].name);
		p = put_str(p, h.v[i].value);
	}
	return p;
}

struct str
meta_encode(const struct meta *m, struct arena *arena)
{
	size_t n = HEAD;
	char *rec, *p;

#define META(name, type, es_name) n += size_##type(m->name);
#include "tbl/meta.h"
	if (n > META_RECORD_MAX)
		return STR_NONE;
	rec = arena_alloc(arena, n);
	p = rec + HEAD;
#define META(name, type, es_name) p = put_##type(p, m->name);
#include "tbl/meta.h"
	INVARIANT((size_t)(p - rec) == n);
	p = put_u32(rec, MAGIC);
	p = put_u32(p, (uint32_t)n);
	put_i64(p, (int64_t)hash64(rec + HEAD, n - HEAD));
	return (struct str){ rec, n };
}

/* --- decode: arbitrary bytes come in here, so each step looks at what is left first ------------------------------------ */

static bool
get_u32(struct str *s, uint32_t *v)
{
	if (s->n < 4)
		return false;
	memcpy(v, s->p, 4);
	*v = le32toh(*v);
	*s = (struct str){ s->p + 4, s->n - 4 };
	return true;
}

static bool
get_i64(struct str *s, struct arena *arena, int64_t *v)
{
	uint64_t u;

	if (s->n < 8)
		return false;
	memcpy(&u, s->p, 8);
	*v = (int64_t)le64toh(u);
	*s = (struct str){ s->p + 8, s->n - 8 };
	return true;
}

static bool
get_str(struct str *s, struct arena *arena, struct str *v)
{
	uint32_t n;

	if (!get_u32(s, &n))
		return false;
	if (n == LEN_NULL) {
		*v = STR_NONE;
		return true;
	}
	if (n > s->n)
		return false;
	*v = (struct str){ s->p, n };
	*s = (struct str){ s->p + n, s->n - n };
	return true;
}

static bool
get_headers(struct str *s, struct arena *arena, struct headers *h)
{
	uint32_t n;

	/* a field takes 8 bytes at least, so that the record's own size bounds what a lying count can make us allocate */
	if (!get_u32(s, &n) || n > s->n / 8)
		return false;
	headers_init(h, arena);
	if (!n)
		return true;
	h->v = arena_alloc(arena, n * sizeof *h->v);
	h->cap = n;
	for (; h->n < n; h->n++)
		if (!get_str(s, arena, &h->v[h->n].name) || !get_str(s, arena, &h->v[h->n].value)
		    || !h->v[h->n].name.p || !h->v[h->n].value.p)
			return false;
	return true;
}

int
meta_decode(struct str rec, struct arena *arena, struct meta *m)
{
	struct str s = rec;
	uint32_t magic, n;
	int64_t sum;

	if (!get_u32(&s, &magic) || magic != MAGIC || !get_u32(&s, &n) || n != rec.n || !get_i64(&s, arena, &sum)
	    || (uint64_t)sum != hash64(s.p, s.n))
		return -ERR_CORRUPT;
#define META(name, type, es_name) if (!get_##type(&s, arena, &m->name)) return -ERR_CORRUPT;
#include "tbl/meta.h"
	return s.n ? -ERR_CORRUPT : 0;
}

/* --- copy --------------------------------------------------------------------------------------------------------------- */

static void copy_i64(int64_t *dst, int64_t src, struct arena *arena) { *dst = src; }
static void copy_str(struct str *dst, struct str src, struct arena *arena) { *dst = src.p ? arena_dup(arena, src) : STR_NONE; }

static void
copy_headers(struct headers *dst, struct headers src, struct arena *arena)
{
	headers_init(dst, arena);
	headers_copy(dst, &src);
}

void
meta_copy(struct meta *dst, const struct meta *src, struct arena *arena)
{
#define META(name, type, es_name) copy_##type(&dst->name, src->name, arena);
#include "tbl/meta.h"
}
