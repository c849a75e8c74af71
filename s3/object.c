/* object.c - see object.h. Where bytes can be is a kind with its functions; that the bucket has some of them will be another. */
#include "object.h"
#include "iobuf.h"
#include "../common/arena.h"
#include "../common/err.h"

struct kind {
	int64_t (*size)(const struct object *);
	int64_t (*read)(struct object *, uint64_t off, size_t want, const void **view, int64_t deadline);
	void (*close)(struct object *);
};

struct object {
	const struct kind *kind;
	struct str bytes;          /* memory; stored: our copy of the manifest */
	struct fill *fill;         /* growing */
	/* stored */
	struct chunks *chunks;
	struct manifest m;
	struct chunk *chunk;       /* the one that was read last */
	uint32_t index;
	void *buf;
};

/* --- our own pages --- */

static int64_t memory_size(const struct object *o) { return (int64_t)o->bytes.n; }

static int64_t
memory_read(struct object *o, uint64_t off, size_t want, const void **view, int64_t deadline)
{
	if (off >= o->bytes.n)
		return 0;
	*view = o->bytes.p + off;
	return (int64_t)(want < o->bytes.n - off ? want : o->bytes.n - off);
}

static void memory_close(struct object *o) { }
static const struct kind kind_memory = { memory_size, memory_read, memory_close };

/* --- growing --- */

static int64_t growing_size(const struct object *o) { return fill_total(o->fill); }

static int64_t
growing_read(struct object *o, uint64_t off, size_t want, const void **view, int64_t deadline)
{
	return fill_read(o->fill, off, want, view, deadline);
}

static void growing_close(struct object *o) { fill_leave(&o->fill); }
static const struct kind kind_growing = { growing_size, growing_read, growing_close };

/* --- stored --- */

/* The janitor takes what was used least recently: a slow reader's next chunks must not be that, whatever came meanwhile. What it has open
 * stays readable anyway. */
#define NEED_AHEAD 4

static struct chunk_id
stored_id(const struct manifest *m, uint32_t i)
{
	struct chunk_id id;

	memcpy(id.b, m->ids + (size_t)i * SHA256_RAW, SHA256_RAW);
	return id;
}

static int64_t stored_size(const struct object *o) { return (int64_t)o->m.total_size; }

static int64_t
stored_read(struct object *o, uint64_t off, size_t want, const void **view, int64_t deadline)
{
	uint32_t i;
	struct chunk_id id;
	int r;

	if (off >= o->m.total_size || want == 0)
		return 0;
	i = (uint32_t)(off / o->m.chunk_size);
	if (o->chunk == NULL || o->index != i) {
		chunk_close(&o->chunk);
		id = stored_id(&o->m, i);
		r = chunk_open(o->chunks, &id, manifest_chunk_length(&o->m, i), &o->chunk);
		if (r < 0)
			return r;
		o->index = i;
		for (uint32_t ahead = i + 1; ahead < o->m.n && ahead <= i + NEED_AHEAD; ahead++) {
			id = stored_id(&o->m, ahead);
			chunks_need(o->chunks, &id);
		}
	}
	if (chunk_in_memory(o->chunk))
		iobuf_give(&o->buf);
	else if (o->buf == NULL)
		o->buf = iobuf_take();
	if (o->buf != NULL && want > IOBUF_SIZE)
		want = IOBUF_SIZE;
	return chunk_read(o->chunk, off - (uint64_t)i * o->m.chunk_size, o->buf, want, view);
}

static void
stored_close(struct object *o)
{
	chunk_close(&o->chunk);
	iobuf_give(&o->buf);
}

static const struct kind kind_stored = { stored_size, stored_read, stored_close };

/* --- all of them --- */

static struct object *
object_new(const struct kind *kind, size_t extra)
{
	struct object *o = xmalloc(sizeof *o + extra);

	memset(o, 0, sizeof *o);
	o->kind = kind;
	return o;
}

struct object *
object_memory(struct str bytes)
{
	struct object *o = object_new(&kind_memory, 0);

	o->bytes = bytes;
	return o;
}

struct object *
object_growing(struct fill **f)
{
	struct object *o = object_new(&kind_growing, 0);

	o->fill = *f;
	*f = NULL;
	return o;
}

int
object_open(struct object **out, struct chunks *chunks, struct str raw)
{
	struct object *o;
	struct manifest m;
	struct chunk_id id;
	int r = 0;

	if (raw.n == 0) {
		*out = object_memory(STR_NONE);
		return 0;
	}
	r = manifest_parse(raw, &m);
	if (r < 0)
		return r;
	if (m.algorithm != MANIFEST_SHA256 && m.n > 0)
		return -ERR_NOT_FOUND; /* chunks with random names are never local: they are not named by what they hold */
	o = object_new(&kind_stored, raw.n);
	memcpy(o + 1, raw.p, raw.n);
	o->bytes = (struct str){ (const char *)(o + 1), raw.n };
	o->chunks = chunks;
	(void)manifest_parse(o->bytes, &o->m);
	if (m.n == 1) { /* most objects: what proves that it is there is what will be read */
		id = stored_id(&o->m, 0);
		r = chunk_open(chunks, &id, m.total_size, &o->chunk);
	}
	for (uint32_t i = 0; i < m.n && m.n > 1 && r == 0; i++) {
		id = stored_id(&o->m, i);
		if (!chunks_has(chunks, &id, manifest_chunk_length(&o->m, i)))
			r = -ERR_NOT_FOUND;
	}
	if (r < 0)
		object_close(&o);
	else
		*out = o;
	return r;
}

int64_t object_size(const struct object *o) { return o->kind->size(o); }

int64_t
object_read(struct object *o, uint64_t off, size_t want, const void **view, int64_t deadline)
{
	return o->kind->read(o, off, want, view, deadline);
}

bool object_ready(struct object *o, uint64_t off) { return o->fill == NULL || fill_ready(o->fill, off); }

void
object_close(struct object **o)
{
	if (*o != NULL) {
		(*o)->kind->close(*o);
		free(*o);
	}
	*o = NULL;
}
