/* follow_impl.h - what writes event documents and what reads them agree on this: { "doc_type": "px_purge", "stored_at": when it was written,
 * "px_events": [[id, "gone" | "invalid", until when stored, ms]…] }, with an id that no stored response can have. */
#pragma once
#define FOLLOW_DOC_TYPE "px_purge"
#define FOLLOW_ID_PREFIX "_px/purge/"
#define FOLLOW_IDS_MAX 256 /* events in a document */
