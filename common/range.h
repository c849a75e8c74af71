/* range.h - byte ranges (RFC 9110 14). Pure. */
#pragma once
#include "str.h"
#define RANGE_MAX 64 /* more in one request are refused as abuse (RFC 9110 14.2): the whole is sent instead */

struct range { uint64_t first, last; }; /* inclusive */

enum range_result {
	RANGE_IGNORE,        /* no bytes unit, malformed, or too many: send the whole */
	RANGE_OK,            /* *n ranges, clamped to size, in the order asked, overlapping and adjacent ones coalesced */
	RANGE_UNSATISFIABLE, /* 416 */
};
enum range_result range_parse(struct str value, uint64_t size, struct range out[RANGE_MAX], unsigned *n);
/* "bytes a-b/size" and "bytes a-b/ *": false when malformed or b < a or b >= size. size UINT64_MAX for "*". */
bool content_range_parse(struct str value, struct range *, uint64_t *size);
