/* sigv4.h - AWS Signature Version 4 in the Authorization field, as S3 wants it (its user guide: "Authenticating Requests: Using the
 * Authorization Header"): paths are encoded once and not normalised. Pure, but for OpenSSL's digests. */
#pragma once
#include "../common/headers.h"

#define SIGV4_EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" /* SHA-256 of nothing: the payload of a GET */
#define SIGV4_UNSIGNED "UNSIGNED-PAYLOAD"

struct sigv4 {
	struct str access_key, secret_key, session_token; /* session_token empty: none */
	struct str region, service;                       /* "us-west-2", "s3" */
	int64_t now;                                      /* seconds since the epoch, as the server's clock has it */
};
/* Adds X-Amz-Date, X-Amz-Security-Token and Authorization to h, which has Host and whatever else is to be signed (for S3
 * x-amz-content-sha256, too): all fields in h are signed, so what may change on the way is added afterwards.
 * path and query are as they are sent: encoded already; query without "?", its parts in any order. payload: the digest in hex. */
void sigv4_sign(const struct sigv4 *, struct str method, struct str path, struct str query, struct str payload, struct headers *h);
/* Percent-encodes all but A-Z a-z 0-9 - . _ ~ (and / when slash is true). */
struct str sigv4_encode(struct arena *, struct str, bool slash);
