/* s3host.h - requests for the bucket that we ourselves store in (behaviour.md 2.1 step 2, 2.6): they should never have come through the
 * proxy, are passed through uncached whatever the rules say, and their answers carry a warning. Pure. */
#pragma once
#include "policy.h"

#define S3HOST_MAX 320
extern const char s3_domain[]; /* defaults.c */
/* The host, lower case, that such requests go to: that of the endpoint (a URL, with or without scheme and port) when there is one, else
 * <bucket>.s3.<region>.<s3_domain>. "" when neither can be said, and then no request is one. */
void s3host_of(const char *endpoint, const char *bucket, const char *region, char out[S3HOST_MAX]);
/* Is this a request for it? Then the plan becomes NoCache by the rule "s3", without times; the caller's reason is
 * REASON_no_cache_s3_request. Its key stays. */
bool s3host_applies(const char *s3_host, const struct http_request *, struct plan *);
struct str s3host_warning(struct arena *, const struct http_request *); /* the value of x-passsage-warning */
