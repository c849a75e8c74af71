/* hash.h - digests through OpenSSL. Thread-safe. */
#pragma once
#include "str.h"
#define SHA224_HEX 56
#define SHA256_RAW 32
#define SHA256_HEX 64
void sha224_hex(struct str, char out[SHA224_HEX + 1]);
void sha256_raw(const void *, size_t, uint8_t out[SHA256_RAW]);
struct sha256;                       /* a running digest */
struct sha256 *sha256_new(void);
void sha256_update(struct sha256 *, const void *, size_t);
void sha256_final(struct sha256 *, uint8_t out[SHA256_RAW]); /* and starts anew */
void sha256_free(struct sha256 **);
void hex_encode(const uint8_t *, size_t, char *out); /* lower case, NUL behind */
bool hex_decode(struct str, uint8_t *out, size_t n); /* exactly 2n digits */
uint64_t hash64(const void *, size_t);               /* fast (16 bytes a multiplication), not cryptographic, differs between machines */
