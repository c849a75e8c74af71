/* Manifests: the deployed format byte for byte, and nothing that does not add up is believed. */
#include "tap.h"
#include "s3/manifest.h"
#include "common/err.h"

#define M1 "XS3M\x01\x01"
#define M2 "XS3M\x01\x02"
#define U64(x) x "\0\0\0\0"
#define ID16 "0123456789abcdef"
#define ID32 ID16 ID16

static const struct { const char *promise; struct str raw; int want; } parses[] = {
	{ "an empty string is no manifest", STR_NONE, -ERR_CORRUPT },
	{ "25 bytes are too few", STR(M2 U64("\x10\0\0\0") U64("\x10\0\0\0") "\x01\0\0"), -ERR_CORRUPT },
	{ "one UUID chunk", STR(M2 U64("\x10\0\0\0") U64("\x10\0\0\0") "\x01\0\0\0" ID16), 0 },
	{ "one SHA-256 chunk", STR(M1 U64("\x10\0\0\0") U64("\x10\0\0\0") "\x01\0\0\0" ID32), 0 },
	{ "longer than needed is accepted, as deployed readers do", STR(M2 U64("\x10\0\0\0") U64("\x10\0\0\0") "\x01\0\0\0" ID16 "x"), 0 },
	{ "an empty object with no chunk", STR(M1 U64("\x10\0\0\0") U64("\0\0\0\0") "\0\0\0\0"), 0 },
	{ "a wrong magic is refused", STR("XS3N\x01\x02" U64("\x10\0\0\0") U64("\x10\0\0\0") "\x01\0\0\0" ID16), -ERR_CORRUPT },
	{ "version 2 is refused", STR("XS3M\x02\x02" U64("\x10\0\0\0") U64("\x10\0\0\0") "\x01\0\0\0" ID16), -ERR_CORRUPT },
	{ "algorithm 3 is refused", STR("XS3M\x01\x03" U64("\x10\0\0\0") U64("\x10\0\0\0") "\x01\0\0\0" ID32), -ERR_CORRUPT },
	{ "algorithm 0 is refused", STR("XS3M\x01\0" U64("\x10\0\0\0") U64("\x10\0\0\0") "\x01\0\0\0" ID32), -ERR_CORRUPT },
	{ "ids cut short are refused", STR(M1 U64("\x10\0\0\0") U64("\x10\0\0\0") "\x01\0\0\0" ID16 "0123456789abcde"), -ERR_CORRUPT },
	{ "a chunk too many is refused", STR(M2 U64("\x10\0\0\0") U64("\x10\0\0\0") "\x02\0\0\0" ID16 ID16), -ERR_CORRUPT },
	{ "a chunk too few is refused", STR(M2 U64("\x10\0\0\0") U64("\x11\0\0\0") "\x01\0\0\0" ID16), -ERR_CORRUPT },
	{ "chunk size 0 is refused", STR(M2 U64("\0\0\0\0") U64("\x10\0\0\0") "\x01\0\0\0" ID16), -ERR_CORRUPT },
	{ "a count that would overflow is refused", STR(M1 "\x01\0\0\0\0\0\0\0" "\xff\xff\xff\xff\0\0\0\0" "\xff\xff\xff\xff" ID32), -ERR_CORRUPT },
	{ "a size beyond 63 bits is refused", STR(M1 "\xff\xff\xff\xff\xff\xff\xff\xff" "\xff\xff\xff\xff\xff\xff\xff\xff" "\x01\0\0\0" ID32), -ERR_CORRUPT },
};

int
main(void)
{
	struct arena a;
	struct manifest m;
	struct str built;
	struct chunk_id ids[3];
	char raw[26 + 48];

	arena_init(&a);
	for (size_t i = 0; i < sizeof parses / sizeof *parses; i++)
		is_int(manifest_parse(parses[i].raw, &m), parses[i].want, "%s", parses[i].promise);

	/* behaviour.md 4.7 */
	ok(hex_decode(STR("5853334d01020000800000000000002d31010000000003000000"), (uint8_t *)raw, 26), "the vector's hex");
	memset(raw + 26, 0xab, 16);
	memset(raw + 42, 0xcd, 16);
	memset(raw + 58, 0xef, 16);
	is_int(manifest_parse((struct str){ raw, sizeof raw }, &m), 0, "the deployed example is read");
	ok(m.algorithm == MANIFEST_UUID && m.chunk_size == 8388608 && m.total_size == 20000000 && m.n == 3, "with its numbers");
	ok(m.ids[0] == 0xab && m.ids[16] == 0xcd && m.ids[47] == 0xef, "and its ids in order");
	is_int(manifest_chunk_length(&m, 0), 8388608, "its first chunk is whole");
	is_int(manifest_chunk_length(&m, 2), 20000000 - 2 * 8388608, "its last one is the rest");
	is_int(manifest_chunk_length(&m, 3), 0, "there is no fourth");

	for (int i = 0; i < 3; i++) {
		ids[i].n = SHA256_RAW;
		memset(ids[i].b, "\xab\xcd\xef"[i], sizeof ids[i].b);
	}
	built = manifest_build(&a, 8388608, 20000000, ids, 3);
	is_int(built.n, 26 + 96, "a built one has 26 + 32n bytes");
	ok(memcmp(built.p, "XS3M\x01\x01", 6) == 0 && memcmp(built.p + 6, raw + 6, 20) == 0, "and the same header but the algorithm");
	is_int(manifest_parse(built, &m), 0, "it is read again");
	ok(m.algorithm == MANIFEST_SHA256 && m.n == 3, "as it was");
	for (uint32_t i = 0; i < 3; i++) {
		struct chunk_id id = manifest_id(&m, i);
		ok(chunk_id_same(&id, &ids[i]), "id %u", i);
		ids[i].n = CHUNK_UUID;
	}
	built = manifest_build(&a, 8388608, 20000000, ids, 3);
	ok(built.n == sizeof raw && memcmp(built.p, raw, sizeof raw) == 0, "with random names it is the deployed example, byte for byte");
	is_int(manifest_parse(built, &m), 0, "which is read");
	ok(m.algorithm == MANIFEST_UUID && manifest_id(&m, 2).n == CHUNK_UUID && manifest_id(&m, 2).b[0] == 0xef, "with names of 16 bytes");
	ids[0].n = SHA256_RAW;
	built = manifest_build(&a, 8388608, 8388608, ids, 1);
	ok(manifest_parse(built, &m) == 0 && manifest_chunk_length(&m, 0) == 8388608, "an exactly full chunk is one chunk");
	arena_fini(&a);
	return done_testing();
}
