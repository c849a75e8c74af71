/* What `passsage purge` takes, refuses, and covers. */
#include "tap.h"
#include "../../common/err.h"
#include "../../server/purge.h"

static struct arena a;

static const struct { enum purge_kind kind; const char *text, *problem; } parsed[] = {
	{ PURGE_URL,    "https://a.test/x?y=1", NULL },
	{ PURGE_URL,    "a.test/x", "must be a URL" },
	{ PURGE_URL,    "", "must be a URL" },
	{ PURGE_PREFIX, "https://a.test/", NULL },
	{ PURGE_PREFIX, "/x", "must be the beginning of URLs" },
	{ PURGE_PREFIX, "https://", "must be the beginning of URLs" },
	{ PURGE_HOST,   "a.test", NULL },
	{ PURGE_HOST,   "*.a.test", NULL },
	{ PURGE_HOST,   "10.0.0.0/8", NULL },
	{ PURGE_HOST,   "https://a.test/", "must be a host" },
	{ PURGE_HOST,   "a test", "must be a host" },
	{ PURGE_HOST,   "", "must be a host" },
	{ PURGE_ALL,    "1", NULL },
};

static const struct { enum purge_kind kind; const char *text, *id, *url; bool covers; const char *why; } covered[] = {
	{ PURGE_PREFIX, "https://a.test/dists/", "https/a.test/1", "https://a.test/dists/x", true, "below it" },
	{ PURGE_PREFIX, "https://a.test/dists/", "https/a.test/1+2", "https://a.test/dists/", true, "itself" },
	{ PURGE_PREFIX, "https://a.test/dists/", "https/a.test/1", "https://a.test/dists", false, "shorter" },
	{ PURGE_PREFIX, "https://a.test/dists/", "https/a.test/1", "https://a.test/Dists/x", false, "paths know upper and lower case" },
	{ PURGE_PREFIX, "https://A.test:443/d", "https/a.test/1", "https://a.TEST/d?q", true, "the host's case and the default port say nothing" },
	{ PURGE_PREFIX, "https://a.test/d", "http/a.test/1", "http://a.test/d", false, "another scheme" },
	{ PURGE_PREFIX, "https://a.test/d", "https/a.test/1", "https://a.test:444/d", false, "another port" },
	{ PURGE_PREFIX, "https://a.test", "https/a.test/1", "https://a.test/d", true, "no path: all of an origin" },
	{ PURGE_PREFIX, "https://a.test", "https/a.test.evil/1", "https://a.test.evil/d", false, "... and not of others that begin so" },
	{ PURGE_PREFIX, "https://a.test/x?a", "https/a.test/1", "https://a.test/x?ab=1", true, "the query counts" },
	{ PURGE_PREFIX, "https://a.test/x", "https/a.test/1", "", false, "a document without a URL" },
	{ PURGE_HOST, "a.test", "https/a.test/1", "https://a.test:8443/d", true, "any scheme and port" },
	{ PURGE_HOST, "A.test", "https/a.test/1", "", true, "a vary index, which has no URL" },
	{ PURGE_HOST, "a.test", "https/b.a.test/1", "https://b.a.test/", false, "not what is below it" },
	{ PURGE_HOST, "*.a.test", "https/b.a.test/1", "https://b.a.test/", true, "... but for a star" },
	{ PURGE_HOST, "a.test", "https/mirror.test/1", "https://a.test/x", true, "what a key rule has put under another host" },
	{ PURGE_HOST, "mirror.test", "https/mirror.test/1", "https://a.test/x", true, "... belongs to both" },
	{ PURGE_HOST, "::1", "http/::1/1", "http://[::1]:80/", true, "an address" },
	{ PURGE_ALL, "1", "https/a.test/1", "", true, "all is all" },
};

int main(void)
{
	const char *problem;
	struct purge p;
	char longer[PURGE_PREFIX_MAX + 2];
	arena_init(&a);
	for (size_t i = 0; i < sizeof parsed / sizeof *parsed; i++) {
		int e = purge_parse(&a, parsed[i].kind, str_c(parsed[i].text), &p, &problem);
		ok(parsed[i].problem == NULL ? e == 0 && problem == NULL : e == -ERR_BAD_REQUEST && problem != NULL && str_starts(str_c(problem), str_c(parsed[i].problem)),
		   "%s \"%s\" is %s", purge_names[parsed[i].kind], parsed[i].text, parsed[i].problem == NULL ? "good" : "refused");
	}
	memset(longer, 'x', sizeof longer);
	memcpy(longer, "http://a/", 9);
	ok(purge_parse(&a, PURGE_PREFIX, (struct str){ longer, PURGE_PREFIX_MAX + 1 }, &p, &problem) < 0, "a prefix longer than what is known of URLs is refused");
	ok(purge_parse(&a, PURGE_PREFIX, (struct str){ longer, PURGE_PREFIX_MAX }, &p, &problem) == 0, "... one of that length not");
	for (size_t i = 0; i < sizeof covered / sizeof *covered; i++) {
		struct meta m;
		meta_init(&m, &a);
		m.id = str_c(covered[i].id);
		m.url = str_c(covered[i].url);
		purge_parse(&a, covered[i].kind, str_c(covered[i].text), &p, &problem);
		is_int(purge_covers(&p, &m, &a), covered[i].covers, "%s %s, %s: %s", purge_names[covered[i].kind], covered[i].text, covered[i].url, covered[i].why);
	}
	arena_fini(&a);
	return done_testing();
}
