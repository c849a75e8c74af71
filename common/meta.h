/* meta.h - what is known about one stored response (behaviour.md 4.5). Judged by policy, stored by es, filled in by server.
 * Its members are tbl/meta.h; strings are views into whatever the record was decoded from or built in. */
#pragma once
#include "headers.h"
#include "http.h"

enum meta_flags {
	META_MUST_REVALIDATE_ALWAYS = 1, /* stored response with no-cache (unqualified) */
	META_AUTHORIZED = 2,             /* the request had Authorization */
	META_INVALIDATED = 4,            /* RFC 9111 4.4: must be validated before use */
	META_HEADERS_ONLY = 8,           /* a document of the old system whose headers went through its allow-list */
	META_COOKIE = 16,                /* the request had Cookie */
};

struct meta {
#define META(name, type, es_name) META_TYPE_##type name;
#define META_TYPE_str struct str
#define META_TYPE_i64 int64_t
#define META_TYPE_headers struct headers
#include "tbl/meta.h"
};

void meta_init(struct meta *, struct arena *); /* empty; content_size -1 */
/* The flat record: what LMDB and the shared fill table hold. Layout version first, so a record of another version is refused.
 * Encodes into the arena. Little endian, no alignment needs, checksummed. p == NULL when it would be above META_RECORD_MAX. */
#define META_RECORD_MAX (16u << 20) /* bytes: the manifest of some 30,000 chunks is 1 MiB; what is larger is not worth keeping */
struct str meta_encode(const struct meta *, struct arena *);
/* Views into rec; the header vector is allocated in the arena. -ERR_CORRUPT for anything that is not exactly a record. */
int meta_decode(struct str rec, struct arena *, struct meta *);
void meta_copy(struct meta *dst, const struct meta *src, struct arena *); /* deep */
