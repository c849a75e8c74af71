/* bucket_impl.h - what the files of bucket share: bucket_call.c sends one signed request and judges the answer; bucket.c has the simple
 * calls, bucket_put.c uploads, bucket_list.c lists. Nobody else includes this. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include "../common/arena.h"
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/hash.h"
#include "bucket.h"
#include "s3xml.h"
#include "sigv4.h"

#define REGION_MAX 64

struct bucket {
	struct httpc *httpc;
	struct credentials *credentials;
	char *bucket;
	struct arena arena;             /* strings that live as long as the bucket */
	struct str scheme, base;        /* of the endpoint; base without a slash at its end */
	struct str host_field;          /* host[:port] of the endpoint; with AWS of the first region */
	struct str host;                /* without port */
	struct str read_url;            /* without a slash at its end */
	bool aws, path_style;
	int64_t connect_ms, read_ms;
	uint64_t multipart_min, part_size;

	pthread_mutex_t lock;
	char region[REGION_MAX];        /* changes when AWS says that the bucket is elsewhere */

	_Atomic int64_t ahead;          /* ms that S3's clock was ahead of ours when it last answered */
	_Atomic int64_t skew;           /* the same when it refused us because of that; signed with */
	atomic_bool no_conditions;      /* this S3 does not know If-None-Match */
	atomic_bool no_copy;            /* nor copies */
};

/* One request. Cleared, then b, method, and what differs from nothing are set. */
struct call {
	struct bucket *b;
	struct str method, key;         /* key STR_NONE: the bucket itself */
	struct str query;               /* encoded */
	struct field fields[4];         /* more of them; name.n 0: none */
	int64_t body_length;            /* 0: none, but for PUT and POST, which then say so */
	int fd;                         /* the body is body_length bytes of it at off, when mem is NULL */
	uint64_t off;
	const void *mem;
	char sum[SHA256_HEX + 1];       /* its SHA-256; "" when there is none */
	bool open;                      /* read from read_url: no signature */
	bool once;                      /* never sent twice */
	int64_t connect_ms, read_ms;    /* 0: the bucket's */
	/* made by call_run */
	struct arena arena;
	struct xfer *xfer;
	struct http_response resp;
	struct s3xml_error error;       /* what S3 says, when it does */
	struct str region;              /* what it was last signed with: others may have learnt better meanwhile */
	int64_t skew;
	char *problem;                  /* of BUCKET_PROBLEM; the caller's, or own */
	char own[BUCKET_PROBLEM];
};
/* 0: a status of 2xx; its body is to be read, or call_drain()ed. Otherwise an error as bucket.h has them (-ERR_SYSTEM, -ERR_CORRUPT: the file could
 * not be read, or has less), and there is no transfer any more. Always followed by call_end. */
int call_run(struct call *);
/* The whole body when it has at most S3XML_BODY bytes, in the arena: 0, -ERR_S3_FAILED. Ends the transfer. */
int call_body(struct call *, struct str *);
void call_drain(struct call *);  /* so that its connection can be used again */
void call_end(struct call *);
int call_fail(struct call *, int r, const char *fmt, ...) __attribute__((format(printf, 3, 4))); /* returns r, problem set */
struct str call_etag(struct call *);

struct str bucket_aws_host(struct arena *, const char *bucket, struct str region, bool path_style);
int bucket_sum(int fd, uint64_t off, uint64_t n, char sum[SHA256_HEX + 1]); /* 0, -ERR_CORRUPT, -ERR_SYSTEM */
