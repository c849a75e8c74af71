#include "tap.h"
#include "common/err.h"
#include "common/url.h"

static struct arena a;

static struct str
show(const struct url *u)
{
	return arena_printf(&a, "%.*s %.*s %u %.*s %s%.*s", STRP(u->scheme), STRP(u->host), u->port, STRP(u->path), u->query.p ? "?" : "-", STRP(u->query));
}

static void
parsing(void)
{
	static const struct { const char *in, *parts, *text; } t[] = {
		{ "http://a.test", "http a.test 80 / -", "http://a.test/" },
		{ "HTTPS://A.Test:443/x?y#", NULL, NULL },
		{ "HTTPS://A.Test:443/x?y", "https A.Test 443 /x ?y", "https://A.Test/x?y" },
		{ "http://a.test:8080/?", "http a.test 8080 / ?", "http://a.test:8080/?" },
		{ "http://a.test?q=1", "http a.test 80 / ?q=1", "http://a.test/?q=1" },
		{ "http://a.test:/b", "http a.test 80 /b -", "http://a.test/b" },
		{ "http://a.test:00080/b", "http a.test 80 /b -", "http://a.test/b" },
		{ "https://a.test:80/", "https a.test 80 / -", "https://a.test:80/" },
		{ "http://[::1]:81/a", "http ::1 81 /a -", "http://[::1]:81/a" },
		{ "https://[2001:DB8::1]/a", "https 2001:DB8::1 443 /a -", "https://[2001:DB8::1]/a" },
		{ "http://127.0.0.1/a//b/../c?d?e=/?", "http 127.0.0.1 80 /a//b/../c ?d?e=/?", "http://127.0.0.1/a//b/../c?d?e=/?" },
		{ "http://a.test./", "http a.test. 80 / -", "http://a.test./" },
		{ "http://a_b.test/", "http a_b.test 80 / -", "http://a_b.test/" },
		{ "http://a%2db.test/", NULL, NULL },
		{ "http://a.test/%zz{a}|\"<>^`\\\xc3\xa4[1]", "http a.test 80 /%zz{a}|\"<>^`\\\xc3\xa4[1] -", "http://a.test/%zz{a}|\"<>^`\\\xc3\xa4[1]" },
		{ "", NULL, NULL }, { "/", NULL, NULL }, { "a.test/", NULL, NULL }, { "http:/a", NULL, NULL }, { "http:a", NULL, NULL }, { "http://", NULL, NULL },
		{ "http:///a", NULL, NULL }, { "http://:80/", NULL, NULL }, { "ftp://a.test/", NULL, NULL }, { "http://u@a.test/", NULL, NULL }, { "http://u:p@a.test/", NULL, NULL },
		{ "http://a.test:0/", NULL, NULL }, { "http://a.test:65536/", NULL, NULL }, { "http://a.test:8x/", NULL, NULL }, { "http://a.test:-1/", NULL, NULL },
		{ "http://a.test:1:2/", NULL, NULL }, { "http://a b/", NULL, NULL }, { "http://a.test/a b", NULL, NULL }, { "http://a.test/\t", NULL, NULL }, { "http://a.test/a#b", NULL, NULL },
		{ "http://a.test/\x7f", NULL, NULL }, { "http://a.test\\b/", NULL, NULL }, { "http://[::1/", NULL, NULL }, { "http://[::1%25eth0]/", NULL, NULL }, { "http://[::1%eth0]/", NULL, NULL },
		{ "http://[]/", NULL, NULL }, { "http://[1.2.3.4]/", NULL, NULL }, { "http://[::1]x/", NULL, NULL }, { "http://::1/", NULL, NULL }, { "http://[v1.x]/", NULL, NULL },
		{ "http://1.2.3/", NULL, NULL }, { "http://127.1/", NULL, NULL }, { "http://2130706433/", NULL, NULL }, { "http://0x7f.1/", NULL, NULL }, { "http://0x7f000001/", NULL, NULL },
		{ "http://127.0.0.1./", NULL, NULL }, { "http://256.0.0.1/", NULL, NULL }, { "http://0177.0.0.01/", NULL, NULL }, { "http://../", NULL, NULL }, { "http://./", NULL, NULL },
		{ "http://a..b/", NULL, NULL }, { "http://.a/", NULL, NULL }, { "http://a%2/", NULL, NULL }, { "http://a%/", NULL, NULL }, { "http://a\xc3\xa4/", NULL, NULL }, { "http ://a/", NULL, NULL },
	};
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
		struct url u;
		int r = url_parse(&a, str_c(t[i].in), &u);
		if (!t[i].parts) {
			is_int(r, -ERR_BAD_REQUEST, "refused: %s", t[i].in);
		} else if (ok(r == 0, "taken: %s", t[i].in)) {
			is_str(show(&u), str_c(t[i].parts), "its parts");
			is_str(u.text, str_c(t[i].text), "its text");
		}
	}
	char nul[] = "http://a.test/\0b";
	struct url u;
	is_int(url_parse(&a, (struct str){ nul, sizeof nul - 1 }, &u), -ERR_BAD_REQUEST, "refused: NUL");
	struct str longest = arena_printf(&a, "http://%0255d.test/", 0);
	is_int(url_parse(&a, longest, &u), -ERR_BAD_REQUEST, "refused: a host longer than any can be");
}

static void
targets(void)
{
	static const struct { const char *scheme, *authority, *target, *parts, *text; } t[] = {
		{ "http", "a.test", "/x?y", "http a.test 80 /x ?y", "http://a.test/x?y" },
		{ "https", "A.test:443", "//x", "https A.test 443 //x -", "https://A.test//x" },
		{ "https", "[::1]:8443", "/", "https ::1 8443 / -", "https://[::1]:8443/" },
		{ "http", "a.test:81", "*", "http a.test 81 * -", "http://a.test:81" },
		{ "http", "a.test", "", NULL, NULL }, { "http", "a.test", "x", NULL, NULL }, { "http", "a.test", "?x", NULL, NULL }, { "http", "a.test", "*x", NULL, NULL },
		{ "http", "", "/", NULL, NULL }, { "http", "u@a.test", "/", NULL, NULL }, { "ws", "a.test", "/", NULL, NULL }, { "http", "a.test/b", "/", NULL, NULL },
		{ "http", "a.test, b.test", "/", NULL, NULL },
	};
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
		struct url u;
		int r = url_from_target(&a, str_c(t[i].scheme), str_c(t[i].authority), str_c(t[i].target), &u);
		if (!t[i].parts) {
			is_int(r, -ERR_BAD_REQUEST, "refused: %s below %s", t[i].target, t[i].authority);
		} else if (ok(r == 0, "taken: %s below %s", t[i].target, t[i].authority)) {
			is_str(show(&u), str_c(t[i].parts), "its parts");
			is_str(u.text, str_c(t[i].text), "its text");
		}
	}
}

static void
authorities(void)
{
	static const struct { const char *in, *host; int port; } t[] = {
		{ "a.test:443", "a.test", 443 }, { "a.test", "a.test", 7 }, { "a.test:", "a.test", 7 }, { "[::1]:443", "::1", 443 }, { "[::1]", "::1", 7 }, { "10.0.0.1:1", "10.0.0.1", 1 },
		{ "", NULL, 0 }, { ":443", NULL, 0 }, { "a:0", NULL, 0 }, { "a:99999", NULL, 0 }, { "a:1 ", NULL, 0 }, { "::1", NULL, 0 }, { "a@b:1", NULL, 0 }, { "a/b", NULL, 0 },
	};
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
		struct str host = STR_NONE;
		unsigned port = 7;
		int r = url_authority(str_c(t[i].in), &host, &port);
		if (!t[i].host)
			is_int(r, -ERR_BAD_REQUEST, "refused: authority \"%s\"", t[i].in);
		else
			ok(r == 0 && str_eq(host, str_c(t[i].host)) && port == (unsigned)t[i].port, "authority %s", t[i].in);
	}
	static const struct { const char *url, *field; } f[] = {
		{ "http://a.test/", "a.test" }, { "http://a.test:81/", "a.test:81" }, { "https://[::1]/", "[::1]" }, { "https://[::1]:80/", "[::1]:80" },
	};
	for (unsigned i = 0; i < sizeof f / sizeof *f; i++) {
		struct url u;
		url_parse(&a, str_c(f[i].url), &u);
		is_str(url_host_field(&a, &u), str_c(f[i].field), "Host of %s", f[i].url);
	}
	bool v6;
	ok(url_is_ip(STR("10.1.2.3"), &v6) && !v6, "an IPv4 address");
	ok(url_is_ip(STR("fe80::1"), &v6) && v6, "an IPv6 address");
	ok(!url_is_ip(STR("a.test"), &v6) && !v6 && !url_is_ip(STR("10.1.2"), NULL) && !url_is_ip(STR(""), NULL) && !url_is_ip(STR("a:b"), NULL), "names are none");
}

/* The tables of RFC 3986 5.4, below http, and what Location fields bring besides. */
static void
resolving(void)
{
	static const struct { const char *ref, *want; } t[] = {
		{ "http:g", NULL }, { "g:h", NULL }, { "g", "http://a/b/c/g" }, { "./g", "http://a/b/c/g" }, { "g/", "http://a/b/c/g/" }, { "/g", "http://a/g" },
		{ "//g", "http://g/" }, { "?y", "http://a/b/c/d;p?y" }, { "g?y", "http://a/b/c/g?y" }, { "#s", "http://a/b/c/d;p?q" }, { "g#s", "http://a/b/c/g" }, { "g?y#s", "http://a/b/c/g?y" },
		{ ";x", "http://a/b/c/;x" }, { "g;x?y#s", "http://a/b/c/g;x?y" }, { "", "http://a/b/c/d;p?q" }, { ".", "http://a/b/c/" }, { "./", "http://a/b/c/" }, { "..", "http://a/b/" },
		{ "../", "http://a/b/" }, { "../g", "http://a/b/g" }, { "../..", "http://a/" }, { "../../", "http://a/" }, { "../../g", "http://a/g" }, { "../../../g", "http://a/g" },
		{ "../../../../g", "http://a/g" }, { "/./g", "http://a/g" }, { "/../g", "http://a/g" }, { "g.", "http://a/b/c/g." }, { ".g", "http://a/b/c/.g" }, { "g..", "http://a/b/c/g.." },
		{ "./../g", "http://a/b/g" }, { "./g/.", "http://a/b/c/g/" }, { "g/./h", "http://a/b/c/g/h" }, { "g/../h", "http://a/b/c/h" }, { "g;x=1/./y", "http://a/b/c/g;x=1/y" },
		{ "g;x=1/../y", "http://a/b/c/y" }, { "g?y/./x", "http://a/b/c/g?y/./x" }, { "g?y/../x", "http://a/b/c/g?y/../x" },
		{ "HTTPS://B:443/x/../y?", "https://B/y?" }, { "//b:81?q", "http://b:81/?q" }, { "./a:b", "http://a/b/c/a:b" }, { "a b", NULL }, { "//u@b/", NULL }, { "?", "http://a/b/c/d;p?" },
		{ "//", NULL }, { "javascript:1", NULL }, { "/..", "http://a/" }, { "/a/..//b", "http://a//b" },
	};
	struct url base, u;

	url_parse(&a, STR("http://a/b/c/d;p?q"), &base);
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
		int r = url_resolve(&a, &base, str_c(t[i].ref), &u);
		if (!t[i].want)
			is_int(r, -ERR_BAD_REQUEST, "refused: %s", t[i].ref);
		else if (ok(r == 0, "resolved: %s", t[i].ref))
			is_str(u.text, str_c(t[i].want), "against http://a/b/c/d;p?q");
	}
	url_parse(&a, STR("https://[::1]:8443/x"), &base);
	url_resolve(&a, &base, STR("y"), &u);
	is_str(u.text, STR("https://[::1]:8443/y"), "an IPv6 address and a port are kept");
	url_from_target(&a, STR("http"), STR("a.test"), STR("*"), &base);
	is_int(url_resolve(&a, &base, STR("y"), &u), 0, "even below *");
	is_str(u.text, STR("http://a.test/y"), "... there is an answer");
}

static void
origins(void)
{
	struct url x, y;

	url_parse(&a, STR("http://A.test/x"), &x);
	url_parse(&a, STR("http://a.TEST:80/y"), &y);
	ok(url_same_origin(&x, &y), "case and the default port make no difference");
	url_parse(&a, STR("https://a.test:80/y"), &y);
	ok(!url_same_origin(&x, &y), "the scheme does");
	url_parse(&a, STR("http://a.test:81/"), &y);
	ok(!url_same_origin(&x, &y), "the port does");
}

int
main(void)
{
	arena_init(&a);
	parsing();
	targets();
	authorities();
	resolving();
	origins();
	arena_fini(&a);
	return done_testing();
}
