/* s3host.h - requests for the bucket that we ourselves store in (behaviour.md 2.1 step 2, 2.6): they should never have come through the
 * proxy, are passed through uncached whatever the rules say, and their answers carry a warning. Pure. A set of rules asks it (rules.h). */
#pragma once
#include "policy.h"

#define S3HOST_MAX 320
extern const char s3_domain[]; /* defaults.c */
struct s3host {
	char name[S3HOST_MAX];     /* lower case; "": none, then no request is for it */
	unsigned port;             /* 0: any */
};
/* Where such requests go: to the endpoint (a URL, with or without scheme and port) when there is one, else <bucket>.s3.<region>.<s3_domain>.
 * The port counts when the endpoint names one: else all that is on localhost beside the S3 of a developer would be uncached. */
void s3host_of(const char *endpoint, const char *bucket, const char *region, struct s3host *out);
/* Is this a request for it? Then the plan becomes NoCache by the rule "s3", without times, with own_bucket. Its key stays. */
bool s3host_applies(const struct s3host *, const struct http_request *, struct plan *);
struct str s3host_warning(struct arena *, const struct http_request *); /* the value of x-passsage-warning */
