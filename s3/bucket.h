/* bucket.h - the S3 API, as little of it as we need: objects by key in one bucket, over httpc.h. Thread-safe; every call blocks, with a
 * bound (the timeouts of its options). Requests are signed (SigV4, sigv4.h) with what credentials.h has, or anonymous.
 * Errors: -ERR_NOT_FOUND (404), -ERR_S3_DENIED (403, no credentials), -ERR_S3_SLOW_DOWN (503 SlowDown, 429), -ERR_S3_FAILED (5xx,
 * the network, no answer in time, an answer that is no S3's), -ERR_S3_REFUSED (any other 4xx: it will not heal), -ERR_CONFLICT (412).
 * An object is -ERR_NOT_FOUND only when S3 itself says so of the key: a bucket that is not there, or a 404 that is not S3's, is
 * -ERR_S3_FAILED, because a wrong setting must not look like lost bytes. (AWS says 403 of a missing key to who may not list the bucket.)
 * problem, where it is asked for, is the reason in words (S3's Code and Message, or libcurl's), never a secret.
 * Within a call: a request is sent again once on a fresh connection, with S3's clock, with the bucket's region or with new credentials, when
 * that was what it failed of. All other retries are the caller's. */
#pragma once
#include "../common/httpc.h"
#include "credentials.h"

#define BUCKET_PROBLEM 256

struct bucket_options {
	struct httpc *httpc;         /* outlives the bucket */
	struct credentials *credentials; /* NULL: anonymous requests; outlives the bucket */
	const char *endpoint;        /* "http://host:port[/base]": path style; "": https://<bucket>.s3.<region>.amazonaws.com (path style for names with a dot) */
	const char *bucket, *region;
	const char *read_url;        /* where bytes are read from, without credentials (--object-store-url): <read_url>/<key>; "": the API */
	int64_t connect_timeout_ms, read_timeout_ms;
	uint64_t multipart_min;      /* larger objects are sent in parts; 0: BUCKET_MULTIPART */
	uint64_t part_size;          /* 0: BUCKET_PART */
};
#define BUCKET_MULTIPART (64u << 20)
#define BUCKET_PART (16u << 20)      /* S3 wants 5 MiB to 5 GiB a part and at most 10,000 parts: larger objects have larger parts */
/* What if_absent finds older than this is made young (copied onto itself in S3): so that gc.h, which deletes only what is old, never deletes
 * what somebody has begun to refer to meanwhile. Whoever remembers that the bucket has a key asks again after it. */
#define BUCKET_FRESH_MS (24 * 3600 * 1000LL)

struct bucket;
int bucket_open(struct bucket **, const struct bucket_options *, char problem[BUCKET_PROBLEM]); /* -ERR_SETTING: an option is wrong */
void bucket_close(struct bucket **);
struct str bucket_host(const struct bucket *);  /* of the API, without port: what must bypass the proxy (behaviour.md 2.1 step 2) */

/* An object being read. 0: its head is there and well: *size is the whole object's, and the bytes that follow are those at off.
 * n 0: to the end. A 200 to a range, or a Content-Range that is not what was asked for, is -ERR_S3_FAILED. */
struct bucket_read;
int bucket_get(struct bucket *, struct str key, uint64_t off, uint64_t n, struct bucket_read **, uint64_t *size, char problem[BUCKET_PROBLEM]);
/* As httpc_read: > 0 bytes as a view good until the next call, 0 the end (all that was promised came), -ERR_AGAIN at the deadline, -ERR_S3_FAILED. */
int64_t bucket_read(struct bucket_read *, const void **view, int64_t deadline);
void bucket_read_end(struct bucket_read **);

int bucket_head(struct bucket *, struct str key, uint64_t *size, char problem[BUCKET_PROBLEM]);
int bucket_stat(struct bucket *, struct str key, uint64_t *size, int64_t *mtime, char problem[BUCKET_PROBLEM]); /* mtime in ms, of S3's clock */
int64_t bucket_now(struct bucket *); /* S3's wall clock as far as it is known (bucket_stat, any call), in ms: to compare with mtime */
/* size bytes of fd from 0 on (pread; fd stays the caller's), in parts when large. sha256: of the whole, sent as x-amz-content-sha256
 * when it goes in one request (so that S3 verifies it); NULL: computed. Returns when S3 has acknowledged all of it; an upload in parts that
 * fails is aborted. With if_absent it is not sent when the bucket has that key with that size already (1: it was there): asked first, small ones
 * by the condition If-None-Match. -ERR_CORRUPT: the file has less than size; -ERR_SYSTEM: it cannot be read. */
int bucket_put_file(struct bucket *, struct str key, int fd, uint64_t size, const uint8_t *sha256, bool if_absent, char problem[BUCKET_PROBLEM]);
/* It is there with this size, and young enough that gc.h leaves it alone, or made so by a copy onto itself, for whoever has not its bytes. 0;
 * -ERR_NOT_FOUND: not there, or of another size; -ERR_CONFLICT: it is old, and this S3 copies nothing; -ERR_X. */
int bucket_renew(struct bucket *, struct str key, uint64_t size, char problem[BUCKET_PROBLEM]);
int bucket_delete(struct bucket *, struct str key, char problem[BUCKET_PROBLEM]); /* 0 also when it was not there */
/* ListObjectsV2: calls fn for each key below prefix in order, from after (exclusive) on; fn false stops. mtime in ms. */
typedef bool bucket_visit_f(void *arg, struct str key, uint64_t size, int64_t mtime);
int bucket_list(struct bucket *, struct str prefix, struct str after, bucket_visit_f *, void *arg, char problem[BUCKET_PROBLEM]);
/* Does the bucket answer (HEAD on it)? For health. */
int bucket_check(struct bucket *, int64_t timeout_ms, char problem[BUCKET_PROBLEM]);
