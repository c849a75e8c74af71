/* Any bytes as a chunked body. The first byte is the size of the pieces in which they come: the outcome, the data and the trailers must
 * not depend on it; what is complete and said again in our chunks decodes to the same. */
#include "../../common/err.h"
#include "../../server/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct outcome { int r; char *body; size_t n, used; struct headers trailers; };

static void
decode(struct outcome *o, const char *in, size_t n, size_t piece, struct arena *a)
{
	struct http1_chunked c;

	*o = (struct outcome){ .body = arena_alloc(a, n + 1) };
	headers_init(&o->trailers, a);
	http1_chunked_init(&c, a, &o->trailers);
	while (o->used < n && o->r == 0) {
		size_t len = n - o->used < piece ? n - o->used : piece, used = 0, off = 0;
		char *copy = xmalloc(len);
		memcpy(copy, in + o->used, len);
		while (off < len && o->r == 0) {
			struct str data;
			o->r = http1_chunked_feed(&c, copy + off, len - off, &used, &data);
			INVARIANT(used <= len - off);
			if (o->r < 0) {
				INVARIANT(c.problem && data.n == 0);
				INVARIANT(http1_chunked_feed(&c, "0\r\n\r\n", 5, &used, &data) == o->r);
				break;
			}
			INVARIANT(used > 0 && data.n <= used);
			if (data.n)
				memcpy(o->body + o->n, data.p, data.n);
			o->n += data.n;
			off += used;
		}
		o->used += off;
		free(copy);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const char *in = (const char *)data + 1;
	struct outcome once, pieces, again;
	struct arena a;

	if (n < 2)
		return 0;
	n--;
	arena_init(&a);
	decode(&once, in, n, n, &a);
	decode(&pieces, in, n, 1 + data[0] % 32, &a);
	INVARIANT(once.r == pieces.r && once.n == pieces.n && memcmp(once.body, pieces.body, once.n) == 0);
	INVARIANT(once.trailers.n == pieces.trailers.n);
	if (once.r == 1) {
		size_t room = once.n + 20000, at = 0;
		char *out = arena_alloc(&a, room);
		int64_t last;
		INVARIANT(once.used == pieces.used);
		if (once.n) {
			at = http1_write_chunk_size(out, once.n);
			memcpy(out + at, once.body, once.n);
			memcpy(out + at + once.n, "\r\n", 2);
			at += once.n + 2;
		}
		last = http1_write_last_chunk(out + at, room - at, &once.trailers);
		INVARIANT(last > 0);
		decode(&again, out, at + (size_t)last, 1000, &a);
		INVARIANT(again.r == 1 && again.n == once.n && memcmp(again.body, once.body, once.n) == 0);
		INVARIANT(again.used == at + (size_t)last && again.trailers.n == once.trailers.n);
	}
	arena_fini(&a);
	return 0;
}
