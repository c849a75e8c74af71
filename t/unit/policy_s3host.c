/* Requests for our own bucket (behaviour.md 2.1 step 2, 2.6): which they are, and what becomes of them. */
#include "tap.h"
#include "policy_heads.h"
#include "../../policy/s3host.h"

static const struct { const char *endpoint, *bucket, *region, *host; unsigned port; } hosts[] = {
	{ "", "b", "eu-1", "b.s3.eu-1.amazonaws.com", 0 },
	{ NULL, "My-Bucket", "eu-1", "my-bucket.s3.eu-1.amazonaws.com", 0 },
	{ "https://S3.Example.com", "b", "eu-1", "s3.example.com", 443 },
	{ "http://localhost:4566/", "b", "", "localhost", 4566 },
	{ "http://localhost", "b", "", "localhost", 80 },
	{ "s3.example.com", "b", "", "s3.example.com", 0 },
	{ "s3.example.com:9000", "b", "", "s3.example.com", 9000 },
	{ "http://[::1]:9000", "b", "", "::1", 9000 },
	{ "http://", "b", "eu-1", "", 0 }, /* an endpoint that names no host is not replaced by a guess */
	{ "", "", "eu-1", "", 0 },
	{ "", "b", "", "", 0 },
	{ NULL, NULL, NULL, "", 0 },
};
static const struct { struct s3host s3; const char *url; bool is; } requests[] = {
	{ { "s3.example.com", 0 }, "https://s3.example.com/b/key", true },
	{ { "s3.example.com", 0 }, "http://S3.EXAMPLE.com:9000/b/key", true },
	{ { "s3.example.com", 0 }, "https://b.s3.example.com/key", false },
	{ { "s3.example.com", 0 }, "https://example.com/s3.example.com", false },
	{ { "", 0 }, "https://s3.example.com/", false },
	{ { "localhost", 4566 }, "http://localhost:4566/b/key", true },
	{ { "localhost", 4566 }, "http://localhost:8080/b/key", false }, /* something else on that machine */
	{ { "s3.example.com", 443 }, "https://s3.example.com/b/key", true },
	{ { "s3.example.com", 443 }, "http://s3.example.com/b/key", false },
};

int
main(void)
{
	struct arena a;
	struct s3host host;
	char large[400];
	arena_init(&a);
	for (unsigned i = 0; i < sizeof(hosts) / sizeof(*hosts); i++) {
		s3host_of(hosts[i].endpoint, hosts[i].bucket, hosts[i].region, &host);
		ok(host.port == hosts[i].port, "… its port");
		is_str(str_c(host.host), str_c(hosts[i].host), "2.1: the S3 host of %s, %s", hosts[i].endpoint ? hosts[i].endpoint : "no endpoint", hosts[i].bucket ? hosts[i].bucket : "no bucket");
	}
	memset(large, 'b', sizeof(large));
	large[sizeof(large) - 1] = 0;
	s3host_of(NULL, large, "eu-1", &host);
	is_str(str_c(host.host), STR(""), "a name that no host has");
	for (unsigned i = 0; i < sizeof(requests) / sizeof(*requests); i++) {
		static const struct refresh refresh = { 60, 0, 0, true };
		struct http_request req = request_of(&a, METHOD_GET, requests[i].url, "");
		struct plan plan = { .policy = POLICY_StaleIfError, .rule = "Suffix .deb", .forced_swr_s = 60, .connect_timeout_ms = 5, .read_timeout_ms = 6, .refresh = &refresh,
		                     .limits = { 1, 2, 3 } };
		ok(s3host_applies(&requests[i].s3, &req, &plan) == requests[i].is, "%s is %sone for %s", requests[i].url, requests[i].is ? "" : "not ", requests[i].s3.host);
		is_str(str_c(policy_name(plan.policy)), requests[i].is ? STR("NoCache") : STR("StaleIfError"), "… its policy");
		is_str(str_c(plan.rule), requests[i].is ? STR("s3") : STR("Suffix .deb"), "… by which rule");
		ok((plan.forced_swr_s == -1 && plan.connect_timeout_ms == -1 && plan.read_timeout_ms == -1 && !plan.refresh && !plan.limits.total_ms) == requests[i].is, "… its times");
	}
	struct http_request req = request_of(&a, METHOD_GET, "https://s3.example.com:9000/x", "");
	is_str(s3host_warning(&a, &req), STR("no_proxy-bypass: this request to s3.example.com should bypass the proxy (check client no_proxy setting)"), "2.6: x-passsage-warning");
	arena_fini(&a);
	return done_testing();
}
