/* OpenSSL marks SHA224_Init and its like as deprecated, but they alone have no allocation, no lock and no look-up of an
 * algorithm by name; the document id of every request is made here. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>

#include "arena.h"
#include "err.h"
#include "hash.h"

void
sha224_hex(struct str s, char out[SHA224_HEX + 1])
{
	uint8_t raw[SHA224_DIGEST_LENGTH];
	SHA256_CTX c;

	SHA224_Init(&c);
	SHA224_Update(&c, s.p, s.n);
	SHA224_Final(raw, &c);
	hex_encode(raw, sizeof raw, out);
}

void
sha256_raw(const void *p, size_t n, uint8_t out[SHA256_RAW])
{
	SHA256_CTX c;

	SHA256_Init(&c);
	SHA256_Update(&c, p, n);
	SHA256_Final(out, &c);
}

struct sha256 {
	SHA256_CTX c;
};

struct sha256 *
sha256_new(void)
{
	struct sha256 *h = xmalloc(sizeof *h);

	SHA256_Init(&h->c);
	return h;
}

void
sha256_update(struct sha256 *h, const void *p, size_t n)
{
	SHA256_Update(&h->c, p, n);
}

void
sha256_final(struct sha256 *h, uint8_t out[SHA256_RAW])
{
	SHA256_Final(out, &h->c);
	SHA256_Init(&h->c);
}

void
sha256_free(struct sha256 **h)
{
	free(*h);
	*h = NULL;
}

void
hex_encode(const uint8_t *p, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		*out++ = digits[p[i] >> 4];
		*out++ = digits[p[i] & 15];
	}
	*out = 0;
}

static int
hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool
hex_decode(struct str s, uint8_t *out, size_t n)
{
	if (s.n != 2 * n)
		return false;
	for (size_t i = 0; i < n; i++) {
		int hi = hex_digit(s.p[2 * i]), lo = hex_digit(s.p[2 * i + 1]);
		if (hi < 0 || lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

/* Multiply and fold, 16 bytes a step: the 128-bit product mixes every bit of both halves into every bit of the result. */
static uint64_t
fold(uint64_t a, uint64_t b)
{
	__extension__ unsigned __int128 m = (unsigned __int128)a * b;

	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static uint64_t
load(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	memcpy(&v, p, n);
	return v;
}

uint64_t
hash64(const void *data, size_t n)
{
	const uint64_t k0 = 0x9e3779b97f4a7c15, k1 = 0xd1b54a32d192ed03; /* odd, half of the bits set */
	uint64_t h = k0 ^ n;
	const uint8_t *p = data;

	for (; n > 16; p += 16, n -= 16)
		h = fold(load(p, 8) ^ k1, load(p + 8, 8) ^ h);
	if (n > 8)
		h = fold(load(p, 8) ^ k1, load(p + 8, n - 8) ^ h);
	else if (n)
		h = fold(load(p, n) ^ k1, h);
	return fold(h ^ k0, k1);
}
