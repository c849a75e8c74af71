/* --tls-passthrough: which hosts stay closed. */
#include "../../server/passthrough.h"
#include "tap.h"

static const struct { const char *pattern, *host; bool want; } rows[] = {
	{ "example.org", "example.org", true },
	{ "example.org", "EXAMPLE.org", true },
	{ "example.org", "example.org.", true },
	{ "example.org", "www.example.org", false },
	{ "example.org", "notexample.org", false },
	{ "*.example.org", "www.example.org", true },
	{ "*.example.org", "a.b.Example.org", true },
	{ "*.example.org", "example.org", false },
	{ "*.example.org", ".example.org", false },
	{ "*.example.org", "notexample.org", false },
	{ ".example.org", "www.example.org", true },
	{ ".example.org", "example.org", false },
	{ "*", "anything.at.all", true },
	{ "*", "192.0.2.1", true },
	{ "192.0.2.1", "192.0.2.1", true },
	{ "192.0.2.1", "192.0.2.10", false },
	{ "192.0.2.1", "::ffff:192.0.2.1", true },
	{ "192.0.2.0/24", "192.0.2.77", true },
	{ "192.0.2.0/24", "192.0.3.1", false },
	{ "192.0.2.64/26", "192.0.2.127", true },
	{ "192.0.2.64/26", "192.0.2.128", false },
	{ "0.0.0.0/0", "198.51.100.7", true },
	{ "0.0.0.0/0", "2001:db8::1", false },
	{ "192.0.2.0/33", "192.0.2.1", false },
	{ "192.0.2.0/", "192.0.2.1", false },
	{ "2001:db8::1", "2001:0DB8:0:0::1", true },
	{ "[2001:db8::1]", "2001:db8::1", true },
	{ "2001:db8::/32", "2001:db8:ffff::1", true },
	{ "2001:db8::/32", "2001:db9::1", false },
	{ "::/0", "2001:db8::1", true },
	{ "192.0.2.1", "192.0.2.1.example.org", false },
	{ ".2.1", "192.0.2.1", false },
	{ "", "", false },
	{ "*.", "a", false },
};

int
main(void)
{
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct str_list one = { (const char **)(uintptr_t)&rows[i].pattern, 1 };
		is_int(passthrough_matches(&one, str_c(rows[i].host)), rows[i].want, "\"%s\" %s \"%s\"", rows[i].pattern,
		       rows[i].want ? "keeps closed" : "leaves open", rows[i].host);
	}
	const struct str_list none = { NULL, 0 };
	ok(!passthrough_matches(&none, STR("example.org")), "no pattern, no passthrough");
	const char *two[] = { "a.example", "b.example" };
	ok(passthrough_matches(&(struct str_list){ two, 2 }, STR("b.example")), "any of several");
	return done_testing();
}
