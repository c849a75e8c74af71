/* upload.h - the spool's way into the bucket: threads that PUT chunks, retry for ever what can heal (back-off with jitter, longer when S3 asks to
 * slow down), and put aside what cannot. Memory is bounded by the threads; the queue by UPLOAD_QUEUE. One a process: the uploader's. */
#pragma once
#include "bucket.h"
#include "spool.h"

#define UPLOAD_QUEUE 4096

struct upload_options {
	struct bucket *bucket;
	struct spool *spool;
	const char *prefix;
	unsigned depth, threads;
	void (*done)(void *arg);     /* from its threads: something has ended, upload_want may answer otherwise; must not block */
	void *arg;
};
struct upload;
struct upload *upload_start(const struct upload_options *);
void upload_stop(struct upload **);   /* what is under way is given up; it stays in the spool */
enum upload_state {
	UPLOAD_THERE,     /* all of it is in the bucket: its document may be published */
	UPLOAD_UNDER_WAY, /* queued or being sent */
	UPLOAD_BUSY,      /* the queue is full: ask again later */
	UPLOAD_FAILED,    /* it will never be there: the document must not be published */
};
enum upload_state upload_want(struct upload *, struct str manifest);
const char *upload_trouble(struct upload *); /* what the last failure was, a static text; NULL well */
