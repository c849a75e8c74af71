/* s3host.h - requests for the bucket that we ourselves store in (behaviour.md 2.1 step 2, 2.6): they should never have come through the
 * proxy, are passed through uncached whatever the rules say, and their answers carry a warning. Pure. */
#pragma once
#include "policy.h"

#define S3HOST_MAX 320
extern const char s3_domain[]; /* defaults.c */
/* Where such requests go to: host and port of the endpoint (a URL; without a scheme and a port: any port) when there is one, else
 * <bucket>.s3.<region>.<s3_domain>, any port. (The old system looked at the host alone: an endpoint on localhost made all of localhost
 * uncacheable.) host is lower case; "" when it cannot be said, and then no request is one. */
struct s3host { char host[S3HOST_MAX]; unsigned port; }; /* port 0: any */
void s3host_of(const char *endpoint, const char *bucket, const char *region, struct s3host *);
/* Is this a request for it? Then the plan becomes NoCache by the rule "s3", without times; the caller's reason is
 * REASON_no_cache_s3_request. Its key stays. */
bool s3host_applies(const struct s3host *, const struct http_request *, struct plan *);
struct str s3host_warning(struct arena *, const struct http_request *); /* the value of x-passsage-warning */
