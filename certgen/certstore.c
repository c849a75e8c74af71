/* certstore.c - the shared table of minted leaves: lock-free for readers, written by certgen alone. */
#include "certstore.h"
#include "leaf.h"
#include "../common/err.h"
#include "../common/hash.h"

#define MAGIC 0x43455254u          /* "CERT" */
#define EVENTS 64                  /* waiters of one name are woken without most of the others */
#define ALL_SLOTS (CERTSTORE_SLOTS + CERTSTORE_FAILURES)
#define WORDS(type) ((sizeof(type) + 7) / 8)

/* seq is odd while certgen writes. 0: never written. */
struct cell {
	_Atomic uint32_t seq;
	uint32_t pad;
};

struct certstore {
	uint32_t magic;
	_Atomic uint32_t next, next_failure;  /* rings: the next slot to use; used by certgen only, here to outlive it */
	_Atomic uint64_t minted;
	shm_event event[EVENTS];
	struct cell identity_cell;
	_Atomic uint64_t identity[WORDS(struct cert_identity)];
	_Atomic uint32_t tag[ALL_SLOTS];      /* of the name, 0 empty. Scanned from end to end: 16 KiB, once a name and process */
	struct cell cell[ALL_SLOTS];
	_Atomic uint64_t record[ALL_SLOTS][WORDS(struct cert_record)];
};

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && sizeof(_Atomic uint64_t) == 8, "shared words must be lock-free and plain");
_Static_assert(sizeof(struct cert_record) % 8 == 0 && sizeof(struct cert_identity) % 8 == 0, "records are copied in words");
_Static_assert(offsetof(struct cert_record, der) % 8 == 0, "the head is copied in words");

size_t
certstore_size(void)
{
	return sizeof(struct certstore);
}

struct certstore *
certstore_init(void *shm)
{
	struct certstore *s = shm;
	s->magic = MAGIC;
	return s;
}

static uint64_t
name_hash(struct str name)
{
	return hash64(name.p, name.n);
}

static uint32_t
name_tag(struct str name)
{
	uint32_t t = (uint32_t)(name_hash(name) >> 32);
	return t ? t : 1;
}

shm_event *
certstore_event(struct certstore *s, struct str name)
{
	return &s->event[name_hash(name) % EVENTS];
}

uint64_t
certstore_minted(const struct certstore *s)
{
	return atomic_load_explicit(&s->minted, memory_order_relaxed);
}

/* A seqlock without fences (which thread sanitizers do not know): words are released and acquired one by one, so whoever has read a new
 * word also sees the odd sequence number that was written before it. */
static void
words_out(_Atomic uint64_t *dst, const void *src, size_t bytes)
{
	const char *p = src;
	for (size_t i = 0; i * 8 < bytes; i++) {
		uint64_t w;
		memcpy(&w, p + i * 8, 8);
		atomic_store_explicit(&dst[i], w, memory_order_release);
	}
}

static void
words_in(void *dst, const _Atomic uint64_t *src, size_t bytes)
{
	char *p = dst;
	for (size_t i = 0; i * 8 < bytes; i++) {
		uint64_t w = atomic_load_explicit(&src[i], memory_order_acquire);
		memcpy(p + i * 8, &w, 8);
	}
}

static void
cell_open(struct cell *c)
{
	uint32_t seq = atomic_load_explicit(&c->seq, memory_order_relaxed);
	atomic_store_explicit(&c->seq, seq | 1, memory_order_relaxed);
}

static void
cell_close(struct cell *c)
{
	uint32_t seq = (atomic_load_explicit(&c->seq, memory_order_relaxed) | 1) + 1;
	atomic_store_explicit(&c->seq, seq ? seq : 2, memory_order_release); /* 0 means never written, also after it wraps */
}

uint32_t
certstore_generation(const struct certstore *s)
{
	uint32_t seq = atomic_load_explicit(&s->identity_cell.seq, memory_order_acquire);
	return seq & 1 ? 0 : seq;
}

uint32_t
certstore_identity(const struct certstore *s, struct cert_identity *out)
{
	uint32_t seq = certstore_generation(s);
	if (seq == 0)
		return 0;
	words_in(out, s->identity, sizeof(*out));
	if (certstore_generation(s) != seq || out->key_n > sizeof(out->key) || out->chain_n > sizeof(out->chain))
		return 0;
	return seq;
}

/* Is it the name's, and whole? */
static bool
slot_read(const struct certstore *s, unsigned i, struct str name, struct cert_record *out)
{
	uint32_t seq = atomic_load_explicit(&s->cell[i].seq, memory_order_acquire);
	if (seq & 1)
		return false;
	words_in(out, s->record[i], offsetof(struct cert_record, der));
	if (out->name_n != name.n || out->der_n > CERT_DER_MAX || memcmp(out->name, name.p, name.n) != 0)
		return false;
	words_in(out->der, s->record[i] + offsetof(struct cert_record, der) / 8, (out->der_n + 7u) / 8 * 8);
	return atomic_load_explicit(&s->cell[i].seq, memory_order_relaxed) == seq;
}

/* The slot that the name has in [from, to), or -1. */
static int
slot_find(const struct certstore *s, struct str name, unsigned from, unsigned to, struct cert_record *out)
{
	uint32_t tag = name_tag(name);
	for (unsigned i = from; i < to; i++)
		if (atomic_load_explicit(&s->tag[i], memory_order_relaxed) == tag && slot_read(s, i, name, out))
			return (int)i;
	return -1;
}

int
certstore_find(const struct certstore *s, struct str name, int64_t now, struct cert_record *out)
{
	if (name.n == 0 || name.n > CERT_NAME_MAX)
		return -ERR_NOT_FOUND;
	if (slot_find(s, name, 0, CERTSTORE_SLOTS, out) >= 0 && out->not_after > now)
		return 0;
	/* minted_at: a clock that was set back must not make a short memory long */
	if (slot_find(s, name, CERTSTORE_SLOTS, ALL_SLOTS, out) >= 0 && out->minted_at <= now && out->not_after > now)
		return 0;
	return -ERR_NOT_FOUND;
}

static void
slot_clear(struct certstore *s, unsigned i)
{
	atomic_store_explicit(&s->tag[i], 0, memory_order_relaxed);
}

void
certstore_recover(struct certstore *s)
{
	INVARIANT(s->magic == MAGIC);
	for (unsigned i = 0; i < ALL_SLOTS; i++)
		if (atomic_load(&s->cell[i].seq) & 1) {
			slot_clear(s, i);
			cell_close(&s->cell[i]);
		}
	/* a half-written identity: nothing that was minted is of use, and its owner publishes another */
	if (atomic_load(&s->identity_cell.seq) & 1) {
		struct cert_identity none = { .key_n = 0 };
		certstore_publish_identity(s, &none);
	}
}

void
certstore_publish_identity(struct certstore *s, const struct cert_identity *id)
{
	cell_open(&s->identity_cell);
	for (unsigned i = 0; i < ALL_SLOTS; i++)
		slot_clear(s, i);
	words_out(s->identity, id, sizeof(*id));
	cell_close(&s->identity_cell);
	for (unsigned i = 0; i < EVENTS; i++)
		shm_wake_all(&s->event[i]);
}

void
certstore_publish(struct certstore *s, const struct cert_record *r)
{
	struct str name = { r->name, r->name_n };
	struct cert_record old;
	int was = slot_find(s, name, 0, CERTSTORE_SLOTS, &old);
	int was_failure = slot_find(s, name, CERTSTORE_SLOTS, ALL_SLOTS, &old);
	unsigned i;
	if (r->failed)
		i = CERTSTORE_SLOTS + atomic_fetch_add(&s->next_failure, 1) % CERTSTORE_FAILURES;
	else
		i = atomic_fetch_add(&s->next, 1) % CERTSTORE_SLOTS;
	slot_clear(s, i);
	cell_open(&s->cell[i]);
	words_out(s->record[i], r, offsetof(struct cert_record, der) + (r->der_n + 7u) / 8 * 8);
	cell_close(&s->cell[i]);
	atomic_store_explicit(&s->tag[i], name_tag(name), memory_order_release);
	/* the new one stands: now the old may go, so that there is no moment without one */
	if (was >= 0 && (unsigned)was != i && !r->failed)
		slot_clear(s, (unsigned)was);
	if (was_failure >= 0 && (unsigned)was_failure != i)
		slot_clear(s, (unsigned)was_failure);
	if (!r->failed)
		atomic_fetch_add_explicit(&s->minted, 1, memory_order_relaxed);
	shm_wake_all(certstore_event(s, name));
}

size_t
cert_request_encode(struct str name, struct cert_request *r)
{
	INVARIANT(name.n > 0 && name.n <= CERT_NAME_MAX);
	r->version = CERT_REQUEST_VERSION;
	r->name_n = (uint8_t)name.n;
	memcpy(r->name, name.p, name.n);
	return offsetof(struct cert_request, name) + name.n;
}

int
cert_request_parse(const void *p, size_t n, struct str *name)
{
	const struct cert_request *r = p;
	char normal[CERT_NAME_MAX + 1];
	size_t normal_n;
	if (n < offsetof(struct cert_request, name) || r->version != CERT_REQUEST_VERSION ||
	    n - offsetof(struct cert_request, name) != r->name_n)
		return -ERR_BAD_REQUEST;
	*name = (struct str){ r->name, r->name_n };
	/* workers send normal names; whatever else came did not come from ours */
	if (leaf_name(*name, normal, &normal_n) < 0 || !str_eq(*name, (struct str){ normal, normal_n }))
		return -ERR_BAD_REQUEST;
	return 0;
}
