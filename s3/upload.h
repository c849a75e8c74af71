/* upload.h - the spool's way into the bucket: threads that PUT chunks and retry for ever what can heal: with a jittered, growing pause for the
 * chunk, and one for all of them, in which one request at a time finds out; fewer at a time when S3 asks to slow down, more again with each
 * success. What cannot heal is put aside (spool_give_up). A chunk that is not in the spool is looked for in the store, then in the bucket.
 * Memory is bounded by UPLOAD_QUEUE and UPLOAD_KNOWN. One a process: the uploader's. Thread-safe.
 * Counted: uploads, upload_bytes, uploads_known, upload_errors, upload_slow_downs, uploads_denied, uploads_failed. */
#pragma once
#include "bucket.h"
#include "spool.h"

#define UPLOAD_QUEUE 4096                /* chunks queued or being sent */
#define UPLOAD_KNOWN 500000              /* chunks whose end is remembered; a document of more is never published */
#define UPLOAD_KNOWN_MS (3600 * 1000)    /* … so long: much shorter than what gc leaves alone (BUCKET_FRESH_MS) */
#define UPLOAD_PAUSE_MS 500              /* after the first failure; then twice as long each time … */
#define UPLOAD_PAUSE_DENIED_MS 5000      /* a policy or a key is not mended within a second */
#define UPLOAD_PAUSE_MAX_MS (60 * 1000)

struct upload_options {
	struct bucket *bucket;
	struct spool *spool;
	const char *prefix;
	unsigned depth, threads;
	int64_t pause_ms;            /* in place of UPLOAD_PAUSE_MS: for tests; 0 */
	void (*done)(void *arg);     /* from its threads: something has ended, upload_want may answer otherwise; must not block; NULL */
	void *arg;
};
struct upload;
struct upload *upload_start(const struct upload_options *);
/* Waits for what is being sent just now (bounded by the bucket's timeouts); a process that ends may as well not call it: what was under way
 * stays in the spool. */
void upload_stop(struct upload **);
enum upload_state {
	UPLOAD_THERE,     /* all of it is in the bucket: its document may be published */
	UPLOAD_UNDER_WAY, /* queued or being sent */
	UPLOAD_BUSY,      /* the queue is full: ask again later */
	UPLOAD_FAILED,    /* it will never be there: the document must not be published */
};
/* Never waits for S3. Ask again after done. A manifest that is empty is there; one that is none has failed. */
enum upload_state upload_want(struct upload *, struct str manifest);
void upload_kick(struct upload *);           /* S3 is known to answer again: pauses end now */
unsigned upload_queued(struct upload *);     /* chunks queued or being sent */
const char *upload_trouble(struct upload *); /* what the last failure was, a static text; NULL well */
