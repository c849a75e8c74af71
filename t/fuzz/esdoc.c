/* Arbitrary JSON as a document of the index: whatever is read can be kept and written, and what we write is read as the same.
 * The first byte says how far the clocks are apart. */
#include "../../common/err.h"
#include "../../es/codec.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const int64_t now = 1795500000000;
	int64_t offset;
	struct arena a;
	struct meta m, again;
	struct str manifest;
	json_t *doc, *mine;

	if (!n || !(doc = json_loadb((const char *)data + 1, n - 1, 0, NULL)))
		return 0;
	arena_init(&a);
	offset = ((int64_t)data[0] - 128) * 60000;
	codec_stored_at(doc, offset);
	codec_invalidated(doc);
	codec_manifest(doc, &a, &manifest);
	if (codec_read(doc, STR("https/example.com/x"), offset, now, &a, &m) == 0) {
		struct str rec = meta_encode(&m, &a);
		INVARIANT(rec.p && meta_decode(rec, &a, &again) == 0);
		mine = codec_write(&m, offset);
		codec_merge(mine, doc);
		if (m.stored_at > 0 && m.stored_at + offset > 0) {
			INVARIANT(codec_read(mine, m.id, offset, now, &a, &again) == 0);
			INVARIANT(again.stored_at == m.stored_at && again.status == m.status && again.headers.n == m.headers.n);
			INVARIANT(str_eq(again.manifest, m.manifest) && again.content_size == m.content_size && str_eq(again.vary, m.vary));
			for (unsigned i = 0; i < m.headers.n; i++)
				INVARIANT(str_eq(again.headers.v[i].value, m.headers.v[i].value));
		}
		json_decref(mine);
	}
	json_decref(doc);
	arena_fini(&a);
	return 0;
}
