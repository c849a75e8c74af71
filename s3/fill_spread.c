/* fill_spread.c - a fill whose body comes in any order (fill.h). The writer knows which bytes are there and publishes them as a list of extents;
 * readers say what they will read next, and each sleeps on a word of its own, so that a byte wakes those who wait for it and nobody else.
 *
 * Who may change what: the extents are the writer's. One that only grows at its end is changed in place: a reader that sees the old end
 * sees fewer bytes, never wrong ones. All other changes stand between two increments of extents_seq, odd meanwhile. A want is its reader's:
 * `at`, then `waits`, then it looks at the extents; the writer changes the extents, then looks at `waits`. All of these are seq_cst:
 * either the reader sees the byte, or the writer sees that it waits. */
#include "fill_impl.h"
#include "iobuf.h"
#include "manifest.h"
#include "../common/arena.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define OPEN_CHUNKS 32   /* chunk files that the writer has open: half of all streams (parts.h) each in another; more are opened again as they come */
#define SEQ_LOOKS 100    /* of a reader at a list that is being changed: that is over in a moment, or its writer does not run, or is dead */

struct open_chunk {
	int fd;                     /* -1: free */
	uint32_t chunk;
	struct sha256 *sum;         /* of its bytes [0, hashed); NULL for random names */
	uint64_t hashed;
	uint64_t used;              /* when, in puts */
};

struct spread {
	struct extents have;
	uint64_t *got;              /* bytes of each chunk */
	uint32_t chunks, done;
	uint64_t puts;
	struct open_chunk open[OPEN_CHUNKS];
};

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t
chunk_length(const struct fill *f, uint32_t i)
{
	uint64_t size = f->s->chunk_size, total = (uint64_t)atomic_load_explicit(&f->s->total, memory_order_relaxed);

	return least(size, total - i * size);
}

/* --- which bytes are there: the writer's side --- */

/* The list has changed in more than the end of one extent. Who sees one of these stores sees extents_seq odd, or later: they release. */
static void
publish_all(struct fill *f)
{
	struct slot *s = f->s;
	const struct extents *have = &f->spread->have;

	atomic_fetch_add(&s->extents_seq, 1);
	for (unsigned i = 0; i < have->n; i++) {
		atomic_store_explicit(&s->extents[i].at, have->v[i].at, memory_order_release);
		atomic_store_explicit(&s->extents[i].end, have->v[i].end, memory_order_release);
	}
	atomic_store_explicit(&s->extents_n, have->n, memory_order_release);
	atomic_fetch_add(&s->extents_seq, 1);
}

static void
publish_extent(struct fill *f, struct extent e)
{
	struct slot *s = f->s;
	struct extents *have = &f->spread->have;
	unsigned n = have->n, i;

	extents_add(have, e);
	i = extents_find(have, e.at);
	if (have->n == n && have->v[i].at == atomic_load_explicit(&s->extents[i].at, memory_order_relaxed))
		atomic_store(&s->extents[i].end, have->v[i].end);
	else
		publish_all(f);
	if (have->v[0].at == 0)
		fill_slot_publish(s, have->v[0].end);
}

static void
wake_want(struct want *w)
{
	atomic_store(&w->waits, 0);
	shm_wake_all(&w->event);
}

/* Another process has written it. */
static uint32_t wants_of(const struct slot *s) { return (uint32_t)least(atomic_load(&s->wants_top), FILL_WANTS); }

static void
wake_readers(struct slot *s, struct extent e)
{
	uint32_t top = wants_of(s);

	for (uint32_t i = 0; i < top; i++) {
		struct want *w = &s->wants[i];
		if (atomic_load(&w->waits)) {
			uint64_t at = atomic_load(&w->at);
			if (at >= e.at && at < e.end)
				wake_want(w);
		}
	}
}

void
fill_spread_wake(struct slot *s)
{
	for (uint32_t i = 0; i < FILL_WANTS; i++)
		if (atomic_load(&s->wants[i].waits))
			wake_want(&s->wants[i]);
}

const struct extents *
fill_extents(const struct fill *f)
{
	return &f->spread->have;
}

/* --- its files --- */

static void
close_chunk(struct open_chunk *c)
{
	fd_close(&c->fd);
	sha256_free(&c->sum);
}

static int
open_chunk(struct fill *f, uint32_t chunk, struct open_chunk **out)
{
	struct spread *p = f->spread;
	struct open_chunk *c = NULL;
	char path[CHUNKS_PATH];
	bool begun = p->got[chunk] > 0;

	for (unsigned i = 0; i < OPEN_CHUNKS; i++) {
		struct open_chunk *o = &p->open[i];
		if (o->fd >= 0 && o->chunk == chunk) {
			*out = o;
			return 0;
		}
		if (c == NULL || (c->fd >= 0 && (o->fd < 0 || o->used < c->used)))
			c = o;
	}
	close_chunk(c);
	fill_tmp_path(f, chunk, path);
	int fd = begun ? open(path, O_RDWR | O_CLOEXEC | O_NOATIME) : chunks_tmp_create(f->chunks, path);
	if (fd < 0)
		return begun ? chunks_result(f->chunks, errno_err()) : fd;
	*c = (struct open_chunk){ .fd = fd, .chunk = chunk, .sum = chunks_random_ids(f->chunks) ? NULL : sha256_new() };
	*out = c;
	return 0;
}

/* What did not come in order is read again: it is in the page cache. */
static int
hash_rest(struct open_chunk *c, uint64_t length)
{
	void *buf = c->hashed < length ? iobuf_take() : NULL;
	int64_t n = 1;

	for (; c->hashed < length && n > 0; c->hashed += (uint64_t)n) {
		n = fd_pread_all(c->fd, buf, (size_t)least(IOBUF_SIZE, length - c->hashed), (off_t)c->hashed);
		if (n > 0)
			sha256_update(c->sum, buf, (size_t)n);
	}
	iobuf_give(&buf);
	return n > 0 ? 0 : n < 0 ? (int)n : -ERR_SYSTEM;
}

/* All bytes of the chunk are there. That it cannot be stored hurts no reader: it is told at the seal. */
static void
chunk_done(struct fill *f, struct open_chunk *c)
{
	struct chunk_id *id = &f->ids[c->chunk];
	char path[CHUNKS_PATH];
	int r = 0;

	if (c->sum == NULL)
		*id = chunk_id_random();
	else if ((r = hash_rest(c, chunk_length(f, c->chunk))) == 0) {
		id->n = SHA256_RAW;
		sha256_final(c->sum, id->b);
	}
	if (r == 0) {
		if (f->cold)
			chunks_cool(c->fd);
		fill_tmp_path(f, c->chunk, path);
		r = chunks_adopt(f->chunks, path, id);
	}
	if (r < 0) {
		*id = (struct chunk_id){ 0 };
		f->unstored = f->unstored < 0 ? f->unstored : r;
	}
	f->spread->done++;
	close_chunk(c);
}

/* --- the writer --- */

int
fill_spread(struct fill *f)
{
	struct slot *s = f->s;
	uint64_t total = (uint64_t)atomic_load(&s->total), size = s->chunk_size, have = atomic_load(&s->available), n = (total + size - 1) / size;
	struct spread *p;

	INVARIANT(f->is_writer && f->spread == NULL && f->failed == 0 && atomic_load(&s->state) == GROWING && total > FILL_INLINE && f->name.n == 0);
	if (n > FILL_SPREAD_CHUNKS)
		return -ERR_FULL;
	p = xcalloc(1, sizeof *p);
	p->chunks = (uint32_t)n;
	p->got = xcalloc((size_t)n, sizeof *p->got);
	f->ids = xrealloc(f->ids, (size_t)n * sizeof *f->ids);
	memset(f->ids + f->n_ids, 0, (size_t)(n - f->n_ids) * sizeof *f->ids);
	for (unsigned i = 0; i < OPEN_CHUNKS; i++)
		p->open[i].fd = -1;
	for (uint32_t i = 0; i < f->n_ids; i++, p->done++)
		p->got[i] = chunk_length(f, i);
	if (f->fd >= 0) { /* what came in order goes on from there */
		p->got[f->chunk] = have % size;
		p->open[0] = (struct open_chunk){ .fd = f->fd, .chunk = f->chunk, .sum = f->sum, .hashed = have % size };
		f->fd = -1;
		f->sum = NULL;
	}
	f->n_ids = p->chunks;
	f->spilled = true;
	f->spread = p;
	atomic_store(&s->files, p->chunks);
	if (have > 0)
		extents_add(&p->have, (struct extent){ 0, have });
	publish_all(f);
	atomic_store(&s->spread, 1);
	fill_slot_wake(s); /* who sleeps for bytes says from now on for which */
	return 0;
}

int
fill_put(struct fill *f, uint64_t at, const void *bytes, size_t n)
{
	struct spread *p = f->spread;
	uint64_t size = f->s->chunk_size;
	const char *from = bytes;
	struct open_chunk *c;

	INVARIANT(f->is_writer && p != NULL && at + n <= (uint64_t)atomic_load_explicit(&f->s->total, memory_order_relaxed));
	if (f->failed < 0)
		return f->failed;
	for (size_t k; n > 0; at += k, from += k, n -= k) {
		uint64_t in_chunk = at % size;
		k = (size_t)least(n, size - in_chunk);
		int r = p->have.n >= FILL_EXTENTS ? -ERR_FULL : open_chunk(f, (uint32_t)(at / size), &c);
		if (r == 0)
			r = chunks_result(f->chunks, fd_pwrite_all(c->fd, from, k, (off_t)in_chunk));
		if (r < 0) {
			f->failed = r;
			return r;
		}
		c->used = ++p->puts;
		if (c->sum != NULL && c->hashed == in_chunk) {
			sha256_update(c->sum, from, k);
			c->hashed += k;
		}
		p->got[c->chunk] += k;
		publish_extent(f, (struct extent){ at, at + k });
		wake_readers(f->s, (struct extent){ at, at + k });
		if (p->got[c->chunk] == chunk_length(f, c->chunk))
			chunk_done(f, c);
	}
	return 0;
}

void
fill_adopt(struct fill *f, struct str sparse)
{
	struct spread *p = f->spread;
	struct manifest m;
	char path[CHUNKS_PATH];

	if (manifest_parse(sparse, &m) < 0 || m.chunk_size != f->s->chunk_size || m.total_size != (uint64_t)atomic_load(&f->s->total) ||
	    m.algorithm != (chunks_random_ids(f->chunks) ? MANIFEST_UUID : MANIFEST_SHA256))
		return;
	for (uint32_t i = 0; i < m.n && p->have.n < FILL_EXTENTS; i++) {
		struct chunk_id id = manifest_id(&m, i);
		if (p->got[i] > 0 || !manifest_has(&m, i))
			continue;
		fill_tmp_path(f, i, path);
		if (chunks_borrow(f->chunks, &id, chunk_length(f, i), path) < 0)
			continue;
		f->ids[i] = id;
		p->got[i] = chunk_length(f, i);
		p->done++;
		extents_add(&p->have, (struct extent){ i * m.chunk_size, i * m.chunk_size + p->got[i] });
	}
	publish_all(f);
	if (p->have.n > 0 && p->have.v[0].at == 0)
		fill_slot_publish(f->s, p->have.v[0].end);
	fill_spread_wake(f->s);
}

struct str
fill_sparse(const struct fill *f, struct arena *a, uint32_t *done)
{
	struct chunk_id *ids;
	uint8_t n = chunks_random_ids(f->chunks) ? CHUNK_UUID : SHA256_RAW;

	*done = 0;
	if (f->spread == NULL || f->spread->done == 0)
		return STR_NONE;
	ids = arena_alloc(a, f->n_ids * sizeof *ids);
	for (uint32_t i = 0; i < f->n_ids; i++) {
		ids[i] = f->ids[i];
		*done += ids[i].n > 0;
		ids[i].n = n; /* a hole is a name of zeros */
	}
	return manifest_build(a, f->s->chunk_size, (uint64_t)atomic_load(&f->s->total), ids, f->n_ids);
}

uint32_t fill_done_chunks(const struct fill *f) { return f->spread == NULL ? 0 : f->spread->done; }

/* The first byte from at on that is not there. */
static uint64_t
missing(const struct extents *have, uint64_t at)
{
	unsigned i = extents_find(have, at);

	return i < have->n && have->v[i].at <= at ? have->v[i].end : at;
}

/* Several who wait for one byte are one. */
static unsigned
add_wanted(struct extent out[], unsigned n, unsigned max, struct extent e)
{
	for (unsigned i = 0; i < n; i++)
		if (out[i].at == e.at) {
			out[i].end = e.end > out[i].end ? e.end : out[i].end;
			return n;
		}
	if (n < max)
		out[n++] = e;
	return n;
}

unsigned
fill_wanted(const struct fill *f, struct extent out[], unsigned max, bool by_chunks)
{
	const struct spread *p = f->spread;
	uint64_t size = f->s->chunk_size, total = (uint64_t)atomic_load_explicit(&f->s->total, memory_order_relaxed);
	uint32_t top = wants_of(f->s);
	unsigned n = 0;

	for (unsigned asleep = 2; asleep-- > 0;)
		for (uint32_t i = 0; i < top; i++) {
			struct want *w = &f->s->wants[i];
			if (atomic_load(&w->owner) == 0 || (atomic_load(&w->waits) != 0) != (asleep != 0))
				continue;
			struct extent e = { atomic_load(&w->at), least(atomic_load(&w->end), total) };
			e.at = missing(&p->have, e.at);
			if (e.at >= e.end)
				continue;
			if (by_chunks)
				e.end = least((e.end + size - 1) / size * size, total);
			n = add_wanted(out, n, max, e);
		}
	for (uint32_t i = 0; by_chunks && i < p->chunks && n < max; i++)
		if (p->got[i] > 0 && p->got[i] < chunk_length(f, i))
			n = add_wanted(out, n, max, (struct extent){ missing(&p->have, i * size), i * size + chunk_length(f, i) });
	return n;
}

/* --- readers --- */

/* Under a list that does not change meanwhile: true, *there and *end are right. */
static bool
look(const struct slot *s, uint64_t off, bool *there, uint64_t *end)
{
	uint32_t seq = atomic_load(&s->extents_seq), lo = 0, hi = atomic_load_explicit(&s->extents_n, memory_order_acquire), n = hi;

	if (seq & 1 || n > FILL_EXTENTS)
		return false;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		if (atomic_load_explicit(&s->extents[mid].end, memory_order_acquire) > off)
			hi = mid;
		else
			lo = mid + 1;
	}
	*there = lo < n && atomic_load_explicit(&s->extents[lo].at, memory_order_acquire) <= off;
	if (*there)
		*end = atomic_load(&s->extents[lo].end);
	return atomic_load(&s->extents_seq) == seq;
}

enum seen { NOT_THERE, THERE, UNSEEN };
static enum seen
look_for(const struct slot *s, uint64_t off, uint64_t *end)
{
	bool there = false;

	for (unsigned i = 0; i < SEQ_LOOKS; i++)
		if (look(s, off, &there, end))
			return there ? THERE : NOT_THERE;
	return UNSEEN;
}

bool fill_spread_there(const struct slot *s, uint64_t off, uint64_t *end) { return look_for(s, off, end) == THERE; }

void
fill_spread_wants(struct fill *f, uint64_t off)
{
	struct slot *s = f->s;
	uint32_t nobody;

	for (uint32_t i = 0; i < FILL_WANTS && f->want < 0; i++) {
		nobody = 0;
		if (atomic_load(&s->wants[i].owner) == 0 && atomic_compare_exchange_strong(&s->wants[i].owner, &nobody, f->worker + 1)) {
			uint32_t top = atomic_load(&s->wants_top);
			while (top <= i && !atomic_compare_exchange_weak(&s->wants_top, &top, i + 1))
				;
			f->want = (int)i;
		}
	}
	if (f->want < 0)
		return;
	atomic_store(&s->wants[f->want].at, off);
	atomic_store(&s->wants[f->want].end, f->until > off ? f->until : off + 1);
}

int
fill_spread_wait(struct fill *f, uint64_t off, int64_t deadline)
{
	struct slot *s = f->s;
	struct want *w;
	uint64_t end;
	uint32_t event;
	enum seen seen;
	int64_t look_again = clock_mono() + FILL_LOOK_MS;
	int r = 0;

	if (f->want < 0) { /* there is no place to say what it wants, or to be woken at */
		shm_wait(&s->event, atomic_load(&s->event), look_again < deadline ? look_again : deadline);
		return clock_mono() < deadline ? 0 : -ERR_TIMEOUT;
	}
	w = &s->wants[f->want];
	event = atomic_load(&w->event);
	atomic_store(&w->waits, 1);
	seen = look_for(s, off, &end);
	if (seen != THERE && atomic_load(&s->state) == GROWING) /* unseen, the byte may be there already: then nobody wakes who sleeps for it */
		r = shm_wait(&w->event, event, seen == UNSEEN && look_again < deadline ? look_again : deadline);
	atomic_store(&w->waits, 0);
	return seen == UNSEEN && clock_mono() < deadline ? 0 : r;
}

/* --- the ends --- */

void
fill_spread_leave(struct fill *f)
{
	if (f->want >= 0) {
		atomic_store(&f->s->wants[f->want].waits, 0);
		atomic_store(&f->s->wants[f->want].owner, 0);
		f->want = -1;
	}
	if (f->spread == NULL)
		return;
	for (unsigned i = 0; i < OPEN_CHUNKS; i++)
		close_chunk(&f->spread->open[i]);
	extents_free(&f->spread->have);
	free(f->spread->got);
	free(f->spread);
	f->spread = NULL;
}

void
fill_spread_reset(struct slot *s)
{
	uint32_t top = wants_of(s);

	atomic_store(&s->spread, 0);
	atomic_store(&s->extents_n, 0);
	if (atomic_load(&s->extents_seq) & 1) /* its writer died in the middle of a change */
		atomic_fetch_add(&s->extents_seq, 1);
	for (uint32_t i = 0; i < top; i++) {
		atomic_store(&s->wants[i].owner, 0);
		atomic_store(&s->wants[i].waits, 0);
	}
	atomic_store(&s->wants_top, 0);
}

void
fill_spread_bury(struct slot *s, unsigned worker)
{
	for (uint32_t i = 0; i < FILL_WANTS; i++)
		if (atomic_load(&s->wants[i].owner) == worker + 1) {
			atomic_store(&s->wants[i].waits, 0);
			atomic_store(&s->wants[i].owner, 0);
		}
}
