/* Arbitrary bytes as a stored record. The checksum is made right first, or no input would ever get behind it.
 * Build: clang -g -fsanitize=fuzzer,address,undefined with the options of the Makefile; seeds: FUZZ_SEEDS=folder common_meta. */
#include "../../common/err.h"
#include "../../common/hash.h"
#include "../../common/meta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arena a;
	struct meta m, again;
	char *rec = xmalloc(n + !n);

	arena_init(&a);
	memcpy(rec, data, n);
	if (n >= 16) {
		uint64_t sum = hash64(rec + 16, n - 16);
		uint32_t len = (uint32_t)n;
		memcpy(rec + 4, &len, 4);
		memcpy(rec + 8, &sum, 8);
	}
	if (meta_decode((struct str){ rec, n }, &a, &m) == 0) {
		struct str out = meta_encode(&m, &a);
		INVARIANT(meta_decode(out, &a, &again) == 0);
		meta_copy(&again, &m, &a);
		INVARIANT(str_eq(meta_encode(&again, &a), out));
	}
	arena_fini(&a);
	free(rec);
	return 0;
}
