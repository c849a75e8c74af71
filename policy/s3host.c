/* s3host.c - see s3host.h */
#include "s3host.h"
#include <stdio.h>
#include <string.h>

static struct str
host_of_endpoint(struct str s)
{
	unsigned port;
	struct str host;
	const char *scheme = s.n ? memmem(s.p, s.n, "://", 3) : NULL;
	if (scheme)
		s = str_from(s, (size_t)(scheme - s.p) + 3);
	s = str_cut(&s, '/');
	return url_authority(s, &host, &port) == 0 ? host : STR_NONE;
}

void
s3host_of(const char *endpoint, const char *bucket, const char *region, char out[S3HOST_MAX])
{
	struct str host = endpoint && *endpoint ? host_of_endpoint(str_c(endpoint)) : STR_NONE;
	int n = 0;
	if (host.n)
		n = snprintf(out, S3HOST_MAX, "%.*s", STRP(host));
	else if (!(endpoint && *endpoint) && bucket && *bucket && region && *region)
		n = snprintf(out, S3HOST_MAX, "%s.s3.%s.%s", bucket, region, s3_domain);
	if (n <= 0 || n >= S3HOST_MAX)
		n = 0;
	out[n] = 0;
	for (int i = 0; i < n; i++)
		out[i] = ascii_lower(out[i]);
}

bool
s3host_applies(const char *s3_host, const struct http_request *req, struct plan *plan)
{
	if (!*s3_host || !str_caseeq(req->url.host, str_c(s3_host)))
		return false;
	plan->policy = POLICY_NoCache;
	plan->rule = "s3";
	plan->connect_timeout_ms = plan->read_timeout_ms = plan->forced_swr_s = -1;
	plan->limits = (struct transfer_limits){ 0, 0, 0 };
	plan->refresh = NULL;
	return true;
}

struct str
s3host_warning(struct arena *a, const struct http_request *req)
{
	return arena_printf(a, "no_proxy-bypass: this request to %.*s should bypass the proxy (check client no_proxy setting)", STRP(req->url.host));
}
