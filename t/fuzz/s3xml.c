/* Any bytes as what S3 or STS answers, at once and a byte at a time: the same comes of both, nothing beyond its bounds, and what is shown of an
 * error is one line of printable text. */
#include "../../common/err.h"
#include "../../common/httpdate.h"
#include "../../s3/s3xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int
page_of(struct s3_page *p, struct arena *a, const uint8_t *data, size_t n, size_t step)
{
	s3_page_init(p, a);
	struct s3xml *x = s3xml_new(s3_page_element, p);
	int r = 0;

	for (size_t at = 0; at < n && r == 0; at += step) {
		size_t k = n - at < step ? n - at : step;
		uint8_t *piece = xmalloc(k);
		memcpy(piece, data + at, k);
		r = s3xml_feed(x, piece, k);
		free(piece);
	}
	if (r == 0)
		r = s3xml_end(x);
	s3xml_free(&x);
	return r == 0 && s3_page_valid(p) ? 0 : -ERR_CORRUPT;
}

static void
line_valid(const char *s, size_t size)
{
	size_t n = strnlen(s, size);

	INVARIANT(n < size);
	for (size_t i = 0, k; i < n; i += k) {
		k = utf8_sequence(s + i, n - i);
		INVARIANT(k > 0 && (unsigned char)s[i] >= ' ' && s[i] != 0x7f);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct s3_page whole, pieces;
	struct s3xml_error e;
	struct arena a;
	char value[64];

	arena_init(&a);
	int r = page_of(&whole, &a, data, n, n + 1);
	INVARIANT(page_of(&pieces, &a, data, n, 1) == r);
	if (r == 0) {
		INVARIANT(whole.n == pieces.n && whole.n <= S3XML_KEYS && str_eq(whole.next, pieces.next));
		for (unsigned i = 0; i < whole.n; i++) {
			INVARIANT(str_eq(whole.v[i].key, pieces.v[i].key) && whole.v[i].size == pieces.v[i].size);
			INVARIANT(whole.v[i].mtime == pieces.v[i].mtime && whole.v[i].mtime != HTTPDATE_NONE);
		}
	}
	char *copy = xmalloc(n + !n);
	struct str body = { memcpy(copy, data, n), n };
	INVARIANT(s3xml_error(body, &e) == (e.code[0] != '\0'));
	line_valid(e.code, sizeof e.code);
	line_valid(e.message, sizeof e.message);
	line_valid(e.region, sizeof e.region);
	if (s3xml_value(body, STR("Credentials"), STR("AccessKeyId"), value, sizeof value))
		INVARIANT(strlen(value) < sizeof value);
	free(copy);
	arena_fini(&a);
	return 0;
}
