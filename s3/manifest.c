/* manifest.c - see manifest.h */
#include "manifest.h"
#include "../common/err.h"

/* offsets of behaviour.md 4.7; little endian */
enum { MAGIC = 0, VERSION_AT = 4, ALGORITHM = 5, CHUNK_SIZE = 6, TOTAL_SIZE = 14, COUNT = 22, IDS = 26 };

static uint64_t
get(const char *p, unsigned bytes)
{
	uint64_t v = 0;
	while (bytes-- > 0)
		v = v << 8 | (uint8_t)p[bytes];
	return v;
}

static void
put(char *p, uint64_t v, unsigned bytes)
{
	for (; bytes-- > 0; v >>= 8)
		*p++ = (char)(v & 0xff);
}

unsigned
manifest_id_size(unsigned algorithm)
{
	return algorithm == MANIFEST_SHA256 ? SHA256_RAW : algorithm == MANIFEST_UUID ? 16 : 0;
}

int
manifest_parse(struct str raw, struct manifest *m)
{
	unsigned id_size;
	uint64_t want;

	if (raw.n < IDS || memcmp(raw.p + MAGIC, "XS3M", 4) != 0 || raw.p[VERSION_AT] != 1)
		return -ERR_CORRUPT;
	m->algorithm = (uint8_t)raw.p[ALGORITHM];
	m->chunk_size = get(raw.p + CHUNK_SIZE, 8);
	m->total_size = get(raw.p + TOTAL_SIZE, 8);
	m->n = (uint32_t)get(raw.p + COUNT, 4);
	m->ids = (const uint8_t *)raw.p + IDS;
	id_size = manifest_id_size(m->algorithm);
	if (id_size == 0 || m->total_size > INT64_MAX)
		return -ERR_CORRUPT;
	/* longer is accepted, as the old readers do */
	if ((raw.n - IDS) / id_size < m->n)
		return -ERR_CORRUPT;
	/* the old readers do not check this, and then serve short or never end */
	if (m->total_size > 0 && m->chunk_size == 0)
		return -ERR_CORRUPT;
	want = m->total_size == 0 ? 0 : (m->total_size - 1) / m->chunk_size + 1;
	return want == m->n ? 0 : -ERR_CORRUPT;
}

struct str
manifest_build(struct arena *a, uint64_t chunk_size, uint64_t total_size, const struct chunk_id *ids, uint32_t n)
{
	size_t id_size = n > 0 ? ids[0].n : SHA256_RAW, len = IDS + (size_t)n * id_size;
	char *p = arena_alloc(a, len);

	memcpy(p + MAGIC, "XS3M", 4);
	p[VERSION_AT] = 1;
	p[ALGORITHM] = id_size == SHA256_RAW ? MANIFEST_SHA256 : MANIFEST_UUID;
	put(p + CHUNK_SIZE, chunk_size, 8);
	put(p + TOTAL_SIZE, total_size, 8);
	put(p + COUNT, n, 4);
	for (uint32_t i = 0; i < n; i++) {
		INVARIANT(ids[i].n == id_size);
		memcpy(p + IDS + i * id_size, ids[i].b, id_size);
	}
	return (struct str){ p, len };
}

bool
manifest_has(const struct manifest *m, uint32_t i)
{
	static const uint8_t hole[SHA256_RAW];
	unsigned n = manifest_id_size(m->algorithm);

	return memcmp(m->ids + (size_t)i * n, hole, n) != 0;
}

struct chunk_id
manifest_id(const struct manifest *m, uint32_t i)
{
	unsigned n = manifest_id_size(m->algorithm);

	INVARIANT(i < m->n);
	return chunk_id_of(m->ids + (size_t)i * n, n);
}

uint64_t
manifest_chunk_length(const struct manifest *m, uint32_t i)
{
	uint64_t from = (uint64_t)i * m->chunk_size;

	if (i >= m->n)
		return 0;
	return m->total_size - from < m->chunk_size ? m->total_size - from : m->chunk_size;
}
