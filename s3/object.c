/* object.c - see object.h. Where bytes can be is a kind with its functions. A chunk of a stored one that is not here comes from the bucket:
 * that is not another kind, for an object may have some here and some there, and that changes while it is read. */
#include "object.h"
#include "iobuf.h"
#include "refill.h"
#include "../common/arena.h"
#include "../common/clock.h"
#include "../common/err.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

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
	struct chunk *chunk;       /* the one that was read last: open … */
	struct refill_reader *coming; /* … or on its way; or neither */
	uint32_t index;
	void *buf;
	struct refill *refill;     /* NULL: what is not here is nowhere */
	uint64_t until;            /* what lies beyond is not fetched ahead */
	bool given;                /* of what is coming, bytes have been given out that may not be verified yet */
	int64_t patience;          /* mono ms: until then a bucket that fails in the middle of the body is asked again */
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

#define PATIENCE_MS (10 * 1000)  /* a client would rather wait so long than see its download break */
#define PATIENCE_PAUSE_MS 200

static int64_t stored_size(const struct object *o) { return (int64_t)o->m.total_size; }

/* What will be read after chunk i: it is not to be evicted, and what is not here is fetched meanwhile. */
static void
look_ahead(struct object *o, uint32_t i)
{
	uint32_t fetch = o->refill != NULL ? refill_window(o->refill) : 0, most = fetch > NEED_AHEAD ? fetch : NEED_AHEAD;

	for (uint32_t n = 1; n <= most && n < o->m.n - i; n++) {
		struct chunk_id id = manifest_id(&o->m, i + n);
		if (!chunks_need(o->chunks, &id) && n <= fetch && (i + n) * o->m.chunk_size < o->until)
			refill_ahead(o->refill, &id, manifest_chunk_length(&o->m, i + n));
	}
}

/* Chunk i becomes the one that is read: from here, or from the bucket. */
static int
enter(struct object *o, uint32_t i)
{
	struct chunk_id id;
	uint64_t length;
	int r = 1;

	if ((o->chunk != NULL || o->coming != NULL) && o->index == i)
		return 0;
	chunk_close(&o->chunk);
	refill_close(&o->coming);
	id = manifest_id(&o->m, i);
	length = manifest_chunk_length(&o->m, i);
	for (int tries = 0; r == 1 && tries < 3; tries++) { /* 1: it has come while we looked */
		r = chunk_open(o->chunks, &id, length, &o->chunk);
		if ((r == -ERR_NOT_FOUND || r == -ERR_CORRUPT) && o->refill != NULL)
			r = refill_open(o->refill, &id, length, &o->coming);
	}
	if (r != 0)
		return r == 1 ? -ERR_NOT_FOUND : r;
	o->index = i;
	o->given = false;
	look_ahead(o, i);
	return 0;
}

/* In the middle of a body, before a byte of this chunk was given out: may we try again, in a moment? */
static bool
be_patient(struct object *o, int err, int64_t deadline)
{
	int64_t now = clock_mono(), pause;

	if (o->refill == NULL || o->given || (err != -ERR_S3_FAILED && err != -ERR_S3_SLOW_DOWN && err != -ERR_BUSY && err != -ERR_FILL_FAILED))
		return false;
	if (o->patience == 0)
		o->patience = now + PATIENCE_MS;
	if (now >= o->patience)
		return false;
	pause = deadline - now < PATIENCE_PAUSE_MS ? deadline - now : PATIENCE_PAUSE_MS;
	if (pause > 0)
		nanosleep(&(struct timespec){ .tv_nsec = pause * 1000000 }, NULL);
	return true;
}

static int64_t
chunk_bytes(struct object *o, uint64_t off, size_t want, const void **view)
{
	if (chunk_in_memory(o->chunk))
		iobuf_give(&o->buf);
	else if (o->buf == NULL)
		o->buf = iobuf_take();
	if (o->buf != NULL && want > IOBUF_SIZE)
		want = IOBUF_SIZE;
	return chunk_read(o->chunk, off, o->buf, want, view);
}

static int64_t
stored_read(struct object *o, uint64_t off, size_t want, const void **view, int64_t deadline)
{
	uint32_t i;
	int64_t r;

	if (off >= o->m.total_size || want == 0)
		return 0;
	i = (uint32_t)(off / o->m.chunk_size);
	for (;;) {
		r = enter(o, i);
		if (r == 0 && o->coming == NULL)
			return chunk_bytes(o, off - (uint64_t)i * o->m.chunk_size, want, view);
		if (r == 0) {
			r = refill_read(o->coming, off - (uint64_t)i * o->m.chunk_size, want, view, deadline);
			if (r == -ERR_TIMEOUT)
				return r;
			if (r > 0) {
				o->given = true;
				o->patience = 0;
				return r;
			}
			refill_close(&o->coming);
		}
		if (!be_patient(o, (int)r, deadline))
			return r < 0 ? r : -ERR_CORRUPT;
		if (clock_mono() >= deadline)
			return -ERR_TIMEOUT;
	}
}

int
object_prepare(struct object *o, uint64_t off, uint64_t n, int64_t deadline)
{
	const void *view;
	uint32_t i;
	int64_t r = 0;

	if (o->fill != NULL)
		fill_intends(o->fill, off + n);
	if (o->refill == NULL || off >= o->m.total_size || n == 0)
		return 0;
	o->until = n < o->m.total_size - off ? off + n : o->m.total_size;
	i = (uint32_t)(off / o->m.chunk_size);
	if (o->coming != NULL && o->index == i)
		look_ahead(o, i);
	for (int tries = 0; tries < 3; tries++) {
		r = enter(o, i);
		if (r < 0 || o->coming == NULL)
			return (int)r;
		/* 2: that a byte is there is enough, it need not be verified */
		r = refill_read(o->coming, off - (uint64_t)i * o->m.chunk_size, 2, &view, deadline);
		if (r > 0 || r == -ERR_TIMEOUT)
			return r > 0 ? 0 : (int)r;
		refill_close(&o->coming);
		if (r != -ERR_FILL_FAILED || o->given)
			break;
	}
	return r < 0 ? (int)r : -ERR_CORRUPT;
}

static void
stored_close(struct object *o)
{
	chunk_close(&o->chunk);
	refill_close(&o->coming);
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

/* Is chunk i here? That counts as a use of it. The only one is opened at once: most objects, and what proves that it is there is what will
 * be read. */
static int
present(struct object *o, uint32_t i)
{
	struct chunk_id id = manifest_id(&o->m, i);
	uint64_t length = manifest_chunk_length(&o->m, i);

	if (o->m.n == 1)
		return chunk_open(o->chunks, &id, length, &o->chunk);
	return chunks_has(o->chunks, &id, length) ? 0 : -ERR_NOT_FOUND;
}

int
object_open(struct object **out, struct chunks *chunks, struct refill *refill, struct str raw)
{
	struct object *o;
	struct manifest m;
	int r;

	if (raw.n == 0) {
		*out = object_memory(STR_NONE);
		return 0;
	}
	r = manifest_parse(raw, &m);
	if (r < 0)
		return r;
	o = object_new(&kind_stored, raw.n);
	memcpy(o + 1, raw.p, raw.n);
	o->bytes = (struct str){ (const char *)(o + 1), raw.n };
	o->chunks = chunks;
	o->refill = refill;
	(void)manifest_parse(o->bytes, &o->m);
	for (uint32_t i = 0; i < m.n && r == 0; i++) {
		r = present(o, i);
		if (refill != NULL && (r == -ERR_NOT_FOUND || r == -ERR_CORRUPT))
			r = 0; /* the bucket may have it */
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

bool
object_ready(struct object *o, uint64_t off)
{
	struct chunk_id id;
	uint32_t i;

	if (o->fill != NULL)
		return fill_ready(o->fill, off);
	if (o->refill == NULL || off >= o->m.total_size)
		return true;
	i = (uint32_t)(off / o->m.chunk_size);
	if ((o->chunk != NULL || o->coming != NULL) && o->index == i)
		return o->coming == NULL || refill_ready(o->coming, off - (uint64_t)i * o->m.chunk_size);
	id = manifest_id(&o->m, i);
	return chunks_has(o->chunks, &id, manifest_chunk_length(&o->m, i));
}

void
object_close(struct object **o)
{
	if (*o != NULL) {
		(*o)->kind->close(*o);
		free(*o);
	}
	*o = NULL;
}
