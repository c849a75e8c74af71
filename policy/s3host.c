/* s3host.c - see s3host.h */
#include "s3host.h"
#include <stdio.h>
#include <string.h>

/* [scheme://]host[:port][/...] */
static struct str
host_of_endpoint(struct str s, unsigned *port)
{
	struct str host;
	const char *scheme = s.n ? memmem(s.p, s.n, "://", 3) : NULL;
	if (scheme)
		s = str_from(s, (size_t)(scheme - s.p) + 3);
	s = str_cut(&s, '/');
	return url_authority(s, &host, port) == 0 ? host : STR_NONE;
}

void
s3host_of(const char *endpoint, const char *bucket, const char *region, struct s3host *out)
{
	bool given = endpoint && *endpoint;
	int n = 0;
	out->port = 0;
	struct str host = given ? host_of_endpoint(str_c(endpoint), &out->port) : STR_NONE;
	if (host.n)
		n = snprintf(out->name, S3HOST_MAX, "%.*s", STRP(host));
	else if (!given && bucket && *bucket && region && *region)
		n = snprintf(out->name, S3HOST_MAX, "%s.s3.%s.%s", bucket, region, s3_domain);
	if (n <= 0 || n >= S3HOST_MAX)
		n = 0;
	out->name[n] = 0;
	for (int i = 0; i < n; i++)
		out->name[i] = ascii_lower(out->name[i]);
}

bool
s3host_applies(const struct s3host *s3, const struct http_request *req, struct plan *plan)
{
	if (!*s3->name || !str_caseeq(req->url.host, str_c(s3->name)) || (s3->port && s3->port != req->url.port))
		return false;
	*plan = (struct plan){ .policy = POLICY_NoCache, .rule = "s3", .connect_timeout_ms = -1, .read_timeout_ms = -1, .forced_swr_s = -1,
	                       .own_bucket = true, .key_url = plan->key_url, .id = plan->id, .vary_id = plan->vary_id };
	return true;
}

struct str
s3host_warning(struct arena *a, const struct http_request *req)
{
	return arena_printf(a, "no_proxy-bypass: this request to %.*s should bypass the proxy (check client no_proxy setting)", STRP(req->url.host));
}
