/* codec.h - a stored response as the index's document (behaviour.md 4.5), both ways. Pure.
 *
 * The fields of 4.5 are as older readers expect them; what RFC 9111 needs besides is in added members px_…, which they do not look at. The
 * added members describe the version that px_stored_at names: when an older writer has replaced the rest meanwhile (stored_at is another),
 * only its fields count, and META_HEADERS_ONLY says so; flags that restrict use stay.
 *
 * offset: how much Elasticsearch's clock is ahead of ours (remote_offset). Times in documents are in its clock, times in metas in ours. */
#pragma once
#include "../common/meta.h"
#include <jansson.h>

/* A document's source. A reference of the caller's. Never fails. */
json_t *codec_write(const struct meta *, int64_t offset);
/* Adds what must not be lost of an older version of the document: members that we do not know, a later last_access. */
void codec_merge(json_t *doc, const json_t *older);
/* 0; -ERR_NOT_FOUND: nothing that a GET could be answered with (a part of a document, without a body, of a HEAD); -ERR_CORRUPT. Everything is
 * copied into the arena. now (wall): nothing has been stored later than that. stored_at 0: a vary index does not say. */
int codec_read(const json_t *source, struct str id, int64_t offset, int64_t now, struct arena *, struct meta *);
/* When the version in a document was stored, in our clock, if it says; else 0. */
int64_t codec_stored_at(const json_t *source, int64_t offset);
bool codec_invalidated(const json_t *source);
json_t *codec_time(int64_t ms); /* as a date of 4.5; of Elasticsearch's clock */
/* The manifest alone, of whatever document: empty when there is none. -ERR_CORRUPT: it cannot be read. */
int codec_manifest(const json_t *source, struct arena *, struct str *manifest);
#define CODEC_TOLERANCE_MS 2000 /* what is stored so much later than now has times that cannot be trusted: META_INVALIDATED */
#define CODEC_UNKNOWN_MAX (64u << 10) /* bytes of unknown members that a meta carries along (what is in the index keeps all of them) */
