/* fill.c - see fill.h. What all processes share is struct slot and the arrays of struct fill_table; struct fill is one process's own.
 *
 * Who may change what:
 *   under the table's lock   tags (is it taken, and by which key), the writer, readers' counts, lanes' owners, unshareable keys.
 *                            A holder that dies inside leaves nothing half done that fill_bury does not sweep up: a slot becomes
 *                            visible by its tag, which is written last when it is claimed and last when it is freed.
 *   the writer alone         state, head, total, available and the bytes; published by the seq_cst store of state or available
 *   anybody                  the event words
 *
 * Waiting: a reader lowers `wanted` to the offset that it needs, looks again, and sleeps on `event`. The writer looks at `wanted` after
 * every publication and only makes a system call when it is below what is there now. All of these are seq_cst: either the writer sees
 * the wish, or the reader sees the bytes. The writer resets `wanted` before it bumps `event`, and a reader reads `event` before it
 * writes its wish, so a wish that the reset wiped out finds the event changed. A reader that was killed leaves a wish behind: it
 * costs one wake-up. */
#include "fill_impl.h"
#include "iobuf.h"
#include "manifest.h"
#include "../common/arena.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#define TO(name) (1u << (name))
static const unsigned successors[] = {
#define STATE(name, to) [name] = (to),
	STATES
#undef STATE
};

/* --- the table --- */

static size_t tags_end(unsigned slots) { return sizeof(struct fill_table) + slots * sizeof(uint64_t); }
static size_t slots_at(unsigned slots) { return (tags_end(slots) + PAGE - 1) / PAGE * PAGE; }
size_t fill_table_size(unsigned slots) { return slots_at(slots) + (size_t)slots * sizeof(struct slot); }

static struct slot *
slot_of(const struct fill_table *t, unsigned i)
{
	return (struct slot *)((char *)(uintptr_t)t + t->slots_at) + i;
}

struct fill_table *
fill_table_init(void *shm, unsigned slots)
{
	struct fill_table *t = shm;
	uint32_t epoch;

	_Static_assert(sizeof(struct slot) % PAGE == 0, "slots begin on pages");
	INVARIANT(slots > 0);
	t->slots = slots;
	t->slots_at = slots_at(slots);
	shm_lock_init(&t->lock);
	/* so that debris of an earlier run never has the name of a tmp file of ours */
	if (getrandom(&epoch, sizeof epoch, GRND_NONBLOCK) != sizeof epoch)
		epoch = (uint32_t)clock_wall();
	for (unsigned i = 0; i < slots; i++)
		atomic_init(&slot_of(t, i)->generation, epoch);
	t->magic = TABLE_MAGIC;
	return t;
}

static uint64_t
tag_of(struct str key)
{
	uint64_t h = hash64(key.p, key.n);

	return h > TAG_KEYLESS ? h : h + 2;
}

static uint64_t tag_get(const struct fill_table *t, unsigned i) { return atomic_load_explicit(&t->tags[i], memory_order_acquire); }
static void tag_set(struct fill_table *t, unsigned i, uint64_t tag) { atomic_store_explicit(&t->tags[i], tag, memory_order_release); }

unsigned
fill_slot_readers(const struct slot *s)
{
	unsigned n = 0;

	for (unsigned w = 0; w < FILL_WORKERS; w++)
		n += atomic_load_explicit(&s->readers[w], memory_order_relaxed);
	return n;
}

void
fill_slot_readers_add(struct slot *s, unsigned worker, uint32_t n)
{
	atomic_store_explicit(&s->readers[worker], atomic_load_explicit(&s->readers[worker], memory_order_relaxed) + n,
	    memory_order_relaxed);
}

void
fill_slot_state(struct slot *s, enum state to)
{
	INVARIANT(successors[atomic_load(&s->state)] & TO(to));
	atomic_store(&s->state, to);
}

/* --- waking --- */

void
fill_slot_wake(struct slot *s)
{
	atomic_store(&s->wanted, NOTHING);
	shm_wake_all(&s->event);
}

/* after a change that is not about bytes: everybody who sleeps looks again */
static void
notify(struct slot *s)
{
	if (atomic_load(&s->wanted) != NOTHING)
		fill_slot_wake(s);
	if (atomic_load(&s->spread))
		fill_spread_wake(s);
}

void
fill_slot_publish(struct slot *s, uint64_t available)
{
	atomic_store(&s->available, available);
	if (atomic_load(&s->wanted) < available)
		fill_slot_wake(s);
}

static void
want(struct slot *s, uint64_t off)
{
	uint64_t w = atomic_load(&s->wanted);

	while (w > off && !atomic_compare_exchange_weak(&s->wanted, &w, off))
		;
}

/* --- taking and freeing slots --- */

/* Under the lock: frees slot i when nobody has it. true: the caller unlinks its files, afterwards, by generation and files */
bool
fill_free_if_left(struct fill_table *t, unsigned i, uint32_t *generation, uint32_t *files)
{
	struct slot *s = slot_of(t, i);

	if (tag_get(t, i) != TAG_KEYLESS || s->writer != 0 || fill_slot_readers(s) > 0)
		return false;
	*generation = atomic_load(&s->generation);
	*files = atomic_load(&s->files);
	if (atomic_load(&s->relaying)) /* rare, and larger than all the rest: back to the system */
		madvise(s->ring, FILL_RELAY, MADV_REMOVE);
	atomic_store(&s->state, FREE);
	tag_set(t, i, TAG_FREE);
	while (t->top > 0 && tag_get(t, t->top - 1) == TAG_FREE)
		t->top--;
	return true;
}

void
fill_unlink_files(struct chunks *chunks, unsigned slot, uint32_t generation, uint32_t files)
{
	char path[CHUNKS_PATH];

	for (uint32_t i = 0; i < files; i++) {
		chunks_tmp_path(chunks, slot, generation, i, path, sizeof path);
		unlink(path);
	}
}

void
fill_tmp_path(const struct fill *f, uint32_t chunk, char path[CHUNKS_PATH])
{
	chunks_tmp_path(f->chunks, f->index, atomic_load(&f->s->generation), chunk, path, CHUNKS_PATH);
}

static struct fill *
handle_new(struct fill_table *t, struct chunks *chunks, unsigned index, unsigned worker, bool is_writer)
{
	struct fill *f = xcalloc(1, sizeof *f);

	f->t = t;
	f->chunks = chunks;
	f->s = slot_of(t, index);
	f->index = index;
	f->worker = worker;
	f->is_writer = is_writer;
	f->fd = -1;
	f->lane = f->want = -1;
	return f;
}

static struct unshareable *
unshareable_find(struct fill_table *t, uint64_t tag)
{
	struct unshareable *set = t->unshareable[tag % SETS];

	for (unsigned i = 0; i < WAYS; i++)
		if (set[i].tag == tag)
			return &set[i];
	return NULL;
}

static void
unshareable_add(struct fill_table *t, uint64_t tag, int64_t ms)
{
	struct unshareable *u = unshareable_find(t, tag), *set = t->unshareable[tag % SETS];

	if (u == NULL) { /* the one that ends first gives way */
		u = &set[0];
		for (unsigned i = 1; i < WAYS; i++)
			if (set[i].until < u->until)
				u = &set[i];
	}
	*u = (struct unshareable){ tag, clock_mono() + ms };
}

void
fill_shareable(struct fill_table *t, struct str key)
{
	struct unshareable *u;

	shm_lock(&t->lock);
	u = unshareable_find(t, tag_of(key));
	if (u != NULL)
		*u = (struct unshareable){ 0, 0 };
	shm_unlock(&t->lock);
}

enum fill_claim
fill_claim(struct fill_table *t, struct chunks *chunks, struct str key, unsigned worker, uint64_t chunk_size, struct fill **h)
{
	uint64_t tag = tag_of(key);
	unsigned i, free_slot = UINT32_MAX;
	struct unshareable *u;
	struct slot *s;

	INVARIANT(worker < FILL_WORKERS && chunk_size > 0 && t->magic == TABLE_MAGIC);
	*h = NULL;
	if (key.n > FILL_KEY)
		return FILL_TABLE_FULL;
	shm_lock(&t->lock);
	for (i = 0; i < t->top; i++) {
		uint64_t there = tag_get(t, i);
		if (there == TAG_FREE && free_slot == UINT32_MAX)
			free_slot = i;
		if (there != tag)
			continue;
		s = slot_of(t, i);
		if (!str_eq(key, (struct str){ s->key, s->key_n }))
			continue;
		fill_slot_readers_add(s, worker, 1);
		shm_unlock(&t->lock);
		*h = handle_new(t, chunks, i, worker, false);
		return FILL_READER;
	}
	u = unshareable_find(t, tag);
	if (u != NULL && u->until > clock_mono()) {
		shm_unlock(&t->lock);
		return FILL_UNSHAREABLE;
	}
	if (free_slot == UINT32_MAX && t->top < t->slots)
		free_slot = t->top++; /* the lowest: few pages are ever touched */
	if (free_slot == UINT32_MAX) {
		shm_unlock(&t->lock);
		return FILL_TABLE_FULL;
	}
	s = slot_of(t, free_slot);
	atomic_store(&s->state, CLAIMED);
	atomic_store(&s->err, 0);
	atomic_store(&s->relaying, 0);
	atomic_store(&s->wanted, NOTHING);
	atomic_store(&s->available, 0);
	atomic_store(&s->total, -1);
	atomic_store(&s->in_slot, 0);
	fill_spread_reset(s);
	atomic_store(&s->room_wanted, 0);
	atomic_store(&s->storing, 0);
	atomic_fetch_add(&s->generation, 1);
	atomic_store(&s->files, 0);
	s->chunk_size = chunk_size;
	s->head_n = 0;
	s->writer = worker + 1;
	for (unsigned w = 0; w < FILL_WORKERS; w++)
		atomic_store_explicit(&s->readers[w], 0, memory_order_relaxed);
	for (unsigned l = 0; l < FILL_LANES; l++)
		s->lanes[l].owner = 0;
	memcpy(s->key, key.p, key.n);
	s->key_n = (uint32_t)key.n;
	tag_set(t, free_slot, tag);
	shm_unlock(&t->lock);
	*h = handle_new(t, chunks, free_slot, worker, true);
	return FILL_WRITER;
}

struct fill *
fill_reader(struct fill *f)
{
	INVARIANT(!f->lost);
	shm_lock(&f->t->lock);
	fill_slot_readers_add(f->s, f->worker, 1);
	shm_unlock(&f->t->lock);
	return handle_new(f->t, f->chunks, f->index, f->worker, false);
}

unsigned fill_readers(const struct fill *f) { return fill_slot_readers(f->s); }

/* --- the writer --- */

int
fill_head(struct fill *f, struct str record, int64_t total)
{
	struct slot *s = f->s;

	INVARIANT(f->is_writer);
	if (record.n > FILL_HEAD)
		return -ERR_FULL;
	if (record.n > 0)
		memcpy(s->head, record.p, record.n);
	s->head_n = (uint32_t)record.n;
	atomic_store(&s->total, total);
	fill_slot_state(s, GROWING);
	notify(s);
	return 0;
}

void
fill_name(struct fill *f, const struct chunk_id *id)
{
	INVARIANT(f->is_writer && f->at == 0 && atomic_load(&f->s->available) == 0);
	f->name = *id;
}

static uint64_t inline_max(const struct slot *s) { return s->chunk_size < FILL_INLINE ? s->chunk_size : FILL_INLINE; }

static int
file_open(struct fill *f)
{
	char path[CHUNKS_PATH];
	int fd;

	f->chunk = (uint32_t)(f->at / f->s->chunk_size);
	/* counted before it exists, so that whoever cleans up finds it */
	atomic_store(&f->s->files, f->chunk + 1);
	fill_tmp_path(f, f->chunk, path);
	fd = chunks_tmp_create(f->chunks, path);
	if (fd < 0)
		return fd;
	f->fd = fd;
	if (f->sum == NULL && f->name.n == 0 && !chunks_random_ids(f->chunks))
		f->sum = sha256_new();
	return 0;
}

void
fill_cold(struct fill *f)
{
	f->cold = true;
}

/* The open chunk file is whole. That it cannot be linked into the store hurts no reader: it is told at the seal. */
static void
file_finish(struct fill *f)
{
	char path[CHUNKS_PATH];
	int r;

	if (f->n_ids == f->room_ids) {
		f->room_ids = f->room_ids > 0 ? 2 * f->room_ids : 8;
		f->ids = xrealloc(f->ids, f->room_ids * sizeof *f->ids);
	}
	if (f->name.n > 0)
		f->ids[f->n_ids] = f->name;
	else if (f->sum == NULL)
		f->ids[f->n_ids] = chunk_id_random();
	else {
		f->ids[f->n_ids].n = SHA256_RAW;
		sha256_final(f->sum, f->ids[f->n_ids].b);
	}
	if (f->cold)
		chunks_cool(f->fd);
	fd_close(&f->fd);
	if (f->unstored == 0) {
		fill_tmp_path(f, f->chunk, path);
		r = chunks_adopt(f->chunks, path, &f->ids[f->n_ids]);
		if (r < 0)
			f->unstored = r;
	}
	f->n_ids++;
}

static int
file_append(struct fill *f, const char *p, size_t n)
{
	uint64_t size = f->s->chunk_size, in_chunk;
	size_t k;
	int r;

	for (; n > 0; p += k, n -= k) {
		if (f->fd < 0 && (r = file_open(f)) < 0)
			return r;
		in_chunk = f->at % size;
		k = n < size - in_chunk ? n : (size_t)(size - in_chunk);
		r = fd_pwrite_all(f->fd, p, k, (off_t)in_chunk);
		if (r < 0)
			return chunks_result(f->chunks, r);
		if (f->sum != NULL)
			sha256_update(f->sum, p, k);
		f->at += k;
		if (in_chunk + k == size)
			file_finish(f);
	}
	return 0;
}

/* The body has outgrown the slot: what is there goes to the file; readers may go on reading it from the slot. */
int
fill_spill(struct fill *f)
{
	f->spilled = true;
	return file_append(f, f->s->body, (size_t)atomic_load_explicit(&f->s->available, memory_order_relaxed));
}

int
fill_append(struct fill *f, const void *p, size_t n)
{
	struct slot *s = f->s;
	uint64_t have = atomic_load_explicit(&s->available, memory_order_relaxed);
	int64_t total = atomic_load_explicit(&s->total, memory_order_relaxed), took;
	int r = 0;

	INVARIANT(f->is_writer);
	if (total >= 0 && n > (uint64_t)total - have)
		return -ERR_ORIGIN_PROTOCOL;
	if (n == 0)
		return 0;
	if (atomic_load_explicit(&s->state, memory_order_relaxed) == RELAYED) {
		for (const char *q = p; n > 0; q += took, n -= (size_t)took)
			if ((took = fill_relay(f, q, n, NEVER)) < 0)
				return (int)took;
		return 0;
	}
	INVARIANT(atomic_load_explicit(&s->state, memory_order_relaxed) == GROWING && f->spread == NULL);
	if (f->failed < 0)
		return f->failed;
	if (!f->spilled && have + n <= inline_max(s) && (total < 0 || (uint64_t)total <= inline_max(s))) {
		memcpy(s->body + have, p, n);
		atomic_store_explicit(&s->in_slot, have + n, memory_order_relaxed); /* published by available */
		fill_slot_publish(s, have + n);
		return 0;
	}
	if (!f->spilled)
		r = fill_spill(f);
	if (r == 0)
		r = file_append(f, p, n);
	if (r < 0) {
		f->failed = r;
		return r;
	}
	fill_slot_publish(s, have + n);
	return 0;
}

static struct str
base_of(struct str key)
{
	return str_cut(&key, '+'); /* of all variants: which one a request wants is known only after its lookup */
}

static _Atomic uint32_t *
epoch_of(struct fill_table *t, struct str key)
{
	struct str base = base_of(key);
	return &t->epochs[hash64(base.p, base.n) % EPOCHS];
}

uint32_t fill_epoch(struct fill_table *t, struct str key) { return atomic_load(epoch_of(t, key)); }

/* The key goes; nobody can join any more. Under the lock. */
void
fill_give_up_key(struct fill_table *t, unsigned i)
{
	struct slot *s = slot_of(t, i);

	tag_set(t, i, TAG_KEYLESS);
	atomic_fetch_add(epoch_of(t, (struct str){ s->key, s->key_n }), 1);
}

/* --- what is not to be stored any more --- */

static struct str
host_of(struct str key)
{
	str_cut(&key, '/');
	return str_cut(&key, '/');
}

static _Atomic uint64_t *outdated_of(struct fill_table *t, struct str base) { return &t->outdated[hash64(base.p, base.n) % EPOCHS]; }
static _Atomic uint64_t *outdated_host(struct fill_table *t, struct str host) { return &t->outdated_hosts[hash64(host.p, host.n) % HOSTS]; }

uint64_t fill_version(const struct fill_table *t) { return atomic_load(&t->version); }

bool
fill_outdated(struct fill_table *t, struct str id, uint64_t version)
{
	return atomic_load(&t->outdated_all) > version || atomic_load(outdated_host(t, host_of(id))) > version || atomic_load(outdated_of(t, base_of(id))) > version;
}

/* Seq_cst: either this sees that it is outdated, or who outdates it sees that it is being stored. */
bool
fill_may_store(struct fill *f, uint64_t version)
{
	struct slot *s = f->s;

	INVARIANT(f->is_writer);
	atomic_store(&s->storing, 1);
	if (!fill_outdated(f->t, (struct str){ s->key, s->key_n }, version))
		return true;
	atomic_store(&s->storing, 0);
	return false;
}

/* One of base and host is given, or none: all. */
static bool
is_about(const struct slot *s, struct str base, struct str host)
{
	struct str key = { s->key, s->key_n };

	return (!base.n || str_eq(base_of(key), base)) && (!host.n || str_eq(host_of(key), host));
}

/* Last of all the version changes: who takes it before sees all that is outdated here as newer. */
static void
outdate(struct fill_table *t, _Atomic uint64_t *when, struct str base, struct str host)
{
	shm_lock(&t->lock);
	uint64_t next = atomic_load(&t->version) + 1;
	atomic_store(when, next);
	for (unsigned i = 0; i < t->top; i++)
		if (tag_get(t, i) > TAG_KEYLESS && is_about(slot_of(t, i), base, host))
			fill_give_up_key(t, i);
	atomic_store(&t->version, next);
	shm_unlock(&t->lock);
}

void fill_outdate(struct fill_table *t, struct str id) { outdate(t, outdated_of(t, base_of(id)), base_of(id), STR_NONE); }
void fill_outdate_host(struct fill_table *t, struct str host) { outdate(t, outdated_host(t, host), STR_NONE, host); }
void fill_outdate_all(struct fill_table *t) { outdate(t, &t->outdated_all, STR_NONE, STR_NONE); }

/* Is there a slot that about is true of? */
static bool
any_slot(struct fill_table *t, bool (*about)(const struct fill_table *, unsigned i, struct str base), struct str id)
{
	bool found = false;

	shm_lock(&t->lock);
	for (unsigned i = 0; i < t->top && !found; i++)
		found = about(t, i, base_of(id));
	shm_unlock(&t->lock);
	return found;
}

static bool
is_storing(const struct fill_table *t, unsigned i, struct str base)
{
	const struct slot *s = slot_of(t, i);

	return tag_get(t, i) == TAG_KEYLESS && s->writer != 0 && atomic_load(&s->storing) && is_about(s, base, STR_NONE);
}

static bool
is_growing(const struct fill_table *t, unsigned i, struct str base)
{
	return tag_get(t, i) > TAG_KEYLESS && is_about(slot_of(t, i), base, STR_NONE);
}

bool fill_storing(struct fill_table *t, struct str id) { return any_slot(t, is_storing, id); }
bool fill_growing(struct fill_table *t, struct str id) { return any_slot(t, is_growing, id); }

int
fill_seal(struct fill *f, struct arena *a, struct str *manifest)
{
	struct slot *s = f->s;
	uint64_t have = atomic_load(&s->available);
	int64_t total = atomic_load(&s->total);
	bool relayed = atomic_load(&s->state) == RELAYED;
	struct chunk_id id;
	int r;

	INVARIANT(f->is_writer && (f->failed == 0 || relayed)); /* bytes that were refused are not whole */
	*manifest = STR_NONE;
	if (total >= 0 && have < (uint64_t)total)
		return -ERR_ORIGIN_SHORT;
	/* readers first: that the body is whole does not depend on the store */
	atomic_store(&s->total, (int64_t)have);
	fill_slot_state(s, SEALED);
	notify(s);
	if (relayed)
		return f->failed < 0 ? f->failed : -ERR_SYSTEM;
	if (have == 0)
		return 0;
	if (!f->spilled) {
		id = f->name;
		r = id.n > 0 ? chunks_put_as(f->chunks, s->body, (size_t)have, &id) : chunks_put(f->chunks, s->body, (size_t)have, &id);
		if (r == 0)
			*manifest = manifest_build(a, s->chunk_size, have, &id, 1);
		return r;
	}
	if (f->fd >= 0)
		file_finish(f);
	if (f->unstored < 0)
		return f->unstored;
	*manifest = manifest_build(a, s->chunk_size, have, f->ids, f->n_ids);
	return 0;
}

/* the end of a handle, the writer's or a reader's */
static void
leave(struct fill **fp)
{
	struct fill *f = *fp;
	struct slot *s = f->s;
	uint32_t generation, files;
	bool last = false;

	*fp = NULL;
	fd_close(&f->fd);
	iobuf_give(&f->buf);
	fill_spread_leave(f);
	if (!f->lost) {
		shm_lock(&f->t->lock);
		if (f->is_writer) {
			fill_give_up_key(f->t, f->index);
			s->writer = 0;
		} else {
			fill_slot_readers_add(s, f->worker, (uint32_t)-1);
			if (f->lane >= 0)
				s->lanes[f->lane].owner = 0;
			fill_room_notify(s);
		}
		last = fill_free_if_left(f->t, f->index, &generation, &files);
		shm_unlock(&f->t->lock);
	}
	if (last)
		fill_unlink_files(f->chunks, f->index, generation, files);
	sha256_free(&f->sum);
	free(f->ids);
	free(f);
}

void
fill_done(struct fill **fp)
{
	INVARIANT((*fp)->is_writer && atomic_load(&(*fp)->s->state) == SEALED);
	leave(fp);
}

void
fill_fail(struct fill **fp, int err, int64_t unshareable_ms)
{
	struct fill *f = *fp;
	struct slot *s = f->s;

	INVARIANT(f->is_writer);
	/* The key goes first: who comes now must not join what has failed, and must find the reason that it was released for. */
	shm_lock(&f->t->lock);
	if (unshareable_ms > 0)
		unshareable_add(f->t, tag_of((struct str){ s->key, s->key_n }), unshareable_ms);
	fill_give_up_key(f->t, f->index);
	shm_unlock(&f->t->lock);
	if (atomic_load(&s->state) != SEALED) {
		if (err < 0)
			err = -err;
		atomic_store(&s->err, unshareable_ms > 0 ? ERR_UNSHAREABLE : err != 0 ? err : ERR_FILL_FAILED);
		fill_slot_state(s, FAILED);
		notify(s);
	}
	leave(fp);
}

/* --- readers --- */

static int
slot_err(const struct slot *s)
{
	int err = atomic_load(&s->err);

	return err > 0 ? -err : -ERR_FILL_FAILED;
}

int
fill_wait_head(struct fill *f, int64_t deadline, struct arena *a, struct str *record, int64_t *total)
{
	struct slot *s = f->s;

	if (f->lost)
		return -ERR_FILL_FAILED;
	for (bool wanting = false, over = false;; wanting = true) {
		uint32_t seen = atomic_load(&s->event);
		enum state state;
		if (wanting)
			want(s, 0);
		state = atomic_load(&s->state);
		if (state == FAILED)
			return slot_err(s);
		if (state != CLAIMED) {
			*record = arena_dup(a, (struct str){ s->head, s->head_n });
			*total = atomic_load(&s->total);
			return 0;
		}
		if (over)
			return -ERR_TIMEOUT;
		if (wanting) /* else: look again now that the wish is known */
			over = shm_wait(&s->event, seen, deadline) < 0;
	}
}

/* The bytes at off, which are there: from the slot, the ring, or the chunk's file. */
static int64_t
take(struct fill *f, uint64_t off, uint64_t have, size_t n, const void **view)
{
	struct slot *s = f->s;
	uint64_t in_slot = atomic_load_explicit(&s->in_slot, memory_order_relaxed), size = s->chunk_size, at;
	char path[CHUNKS_PATH];
	int64_t got;

	if (n > have - off)
		n = (size_t)(have - off);
	if (off < in_slot) {
		*view = s->body + off;
		return (int64_t)(n < in_slot - off ? n : in_slot - off);
	}
	if (atomic_load(&s->relaying)) {
		if (off >= s->relay_base) {
			at = (off - s->relay_base) % FILL_RELAY;
			*view = s->ring + at;
			return (int64_t)(n < FILL_RELAY - at ? n : FILL_RELAY - at);
		}
		if (n > s->relay_base - off)
			n = (size_t)(s->relay_base - off);
	}
	if (f->fd < 0 || f->chunk != off / size) {
		fd_close(&f->fd);
		f->chunk = (uint32_t)(off / size);
		fill_tmp_path(f, f->chunk, path);
		f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOATIME); /* for chunks_cool */
		if (f->fd < 0 && errno == EPERM) /* a chunk that another user stored */
			f->fd = open(path, O_RDONLY | O_CLOEXEC);
		if (f->fd < 0)
			return errno == ENOENT ? -ERR_FILL_FAILED : errno_err(); /* somebody cleans tmp by hand */
	}
	if (f->buf == NULL)
		f->buf = iobuf_take();
	at = off % size;
	if (n > IOBUF_SIZE)
		n = IOBUF_SIZE;
	if (n > size - at)
		n = (size_t)(size - at);
	got = fd_pread_all(f->fd, f->buf, n, (off_t)at);
	if (got == 0)
		return -ERR_FILL_FAILED; /* cannot be: the bytes were there */
	*view = f->buf;
	return got;
}

/* What fill_read has to say without waiting: > 0 bytes are there from off to *have, 0 the end, -ERR_X; -ERR_AGAIN: wait. */
static int64_t
progress(const struct slot *s, uint64_t off, uint64_t *have)
{
	enum state state = atomic_load(&s->state); /* before available: a final state's bytes are all counted then */

	*have = atomic_load(&s->available);
	if (off < *have || (atomic_load(&s->spread) && fill_spread_there(s, off, have)))
		return 1;
	return state == SEALED ? 0 : state == FAILED ? slot_err(s) : -ERR_AGAIN;
}

int64_t
fill_read(struct fill *f, uint64_t off, size_t n, const void **view, int64_t deadline)
{
	struct slot *s = f->s;
	uint64_t have;
	uint32_t seen;
	int64_t r;
	int e;

	if (f->lost) /* the slot may be another's by now */
		return -ERR_FILL_FAILED;
	for (bool wanting = false, over = false;; wanting = true) {
		seen = atomic_load(&s->event);
		if (atomic_load(&s->spread))
			fill_spread_wants(f, off);
		else if (wanting)
			want(s, off);
		if (atomic_load(&s->relaying) && (e = fill_keep_pace(f, off)) < 0)
			return e;
		r = progress(s, off, &have);
		if (r > 0)
			return take(f, off, have, n, view);
		if (r != -ERR_AGAIN)
			return r;
		if (!wanting)
			continue; /* look again after the wish is known */
		if (over)
			return -ERR_TIMEOUT;
		iobuf_give(&f->buf); /* who sleeps holds no memory */
		over = (atomic_load(&s->spread) ? fill_spread_wait(f, off, deadline) : shm_wait(&s->event, seen, deadline)) < 0;
	}
}

void fill_intends(struct fill *f, uint64_t end) { f->until = end; }

bool
fill_ready(const struct fill *f, uint64_t off)
{
	uint64_t have;

	return f->lost || progress(f->s, off, &have) != -ERR_AGAIN;
}

int64_t fill_total(const struct fill *f) { return f->lost ? -1 : atomic_load(&f->s->total); }

bool
fill_whole(const struct fill *f)
{
	int64_t total = fill_total(f);

	return total >= 0 && atomic_load(&f->s->available) == (uint64_t)total;
}

bool fill_over(const struct fill *f) { return f->lost || tag_get(f->t, f->index) == TAG_KEYLESS; }

void
fill_leave(struct fill **f)
{
	if (*f == NULL)
		return;
	INVARIANT(!(*f)->is_writer);
	leave(f);
}

/* --- master and janitor --- */

void
fill_bury(struct fill_table *t, unsigned worker)
{
	uint32_t generation, files;

	if (worker >= FILL_WORKERS)
		return;
	shm_lock(&t->lock);
	for (unsigned i = 0; i < t->slots; i++) { /* all of them: it may have died before it raised top */
		struct slot *s = slot_of(t, i);
		enum state state;
		if (tag_get(t, i) == TAG_FREE)
			continue;
		atomic_store_explicit(&s->readers[worker], 0, memory_order_relaxed);
		for (unsigned l = 0; l < FILL_LANES; l++)
			if (s->lanes[l].owner == worker + 1)
				s->lanes[l].owner = 0;
		fill_spread_bury(s, worker);
		if (s->writer == worker + 1) {
			fill_give_up_key(t, i); /* it may have committed before it died */
			s->writer = 0;
			state = atomic_load(&s->state);
			if (state == CLAIMED || state == GROWING || state == RELAYED) {
				atomic_store(&s->err, ERR_FILL_FAILED);
				atomic_store(&s->state, FAILED);
			}
			fill_slot_wake(s); /* whatever it had begun to say */
			fill_spread_wake(s);
		}
		fill_room_notify(s);
		/* the tmp files are the janitor's: the master does not know the store */
		(void)fill_free_if_left(t, i, &generation, &files);
	}
	shm_unlock(&t->lock);
}

unsigned
fill_active(const struct fill_table *t)
{
	unsigned n = 0;

	for (unsigned i = 0; i < t->slots; i++)
		n += tag_get(t, i) != TAG_FREE;
	return n;
}

bool
fill_tmp_live(const struct fill_table *t, const char *name)
{
	unsigned slot;
	uint32_t generation, chunk;

	if (sscanf(name, "fill-%u-%" SCNx32 "-%" SCNu32, &slot, &generation, &chunk) != 3 || slot >= t->slots)
		return false;
	return tag_get(t, slot) != TAG_FREE && atomic_load(&slot_of(t, slot)->generation) == generation;
}
