#include "tap.h"
#include "common/headers.h"

static struct arena a;

/* "Name: value|Name: value" */
static struct headers
make(const char *text)
{
	struct headers h;
	struct str rest = str_c(text);

	headers_init(&h, &a);
	while (rest.n) {
		struct str line = str_cut(&rest, '|'), name = str_cut(&line, ':');
		headers_add(&h, name, str_trim(line));
	}
	return h;
}

static struct str
text_of(const struct headers *h)
{
	struct str s = STR("");

	for (unsigned i = 0; i < h->n; i++)
		s = arena_printf(&a, "%.*s%s%.*s:%.*s", STRP(s), i ? "|" : "", STRP(h->v[i].name), STRP(h->v[i].value));
	return s;
}

static void
basics(void)
{
	struct headers h = make("A: 1|b: 2|a: 3|Empty:|C: 4"), copy;
	struct str s;

	is_str(headers_get(&h, STR("a")), STR("1"), "the first of a name, whatever its case");
	s = headers_get(&h, STR("empty"));
	ok(s.n == 0 && s.p && headers_has(&h, STR("EMPTY")), "an empty field is there");
	ok(headers_get(&h, STR("none")).p == NULL && !headers_has(&h, STR("none")), "an absent one is not");
	headers_add(&h, STR("Nothing"), STR_NONE);
	ok(headers_get(&h, STR("nothing")).p != NULL, "a field added without a value is empty, not absent");
	is_int(headers_count(&h, STR("A")), 2, "counted");
	is_str(headers_joined(&h, STR("A"), &a), STR("1, 3"), "several lines are one list (RFC 9110 5.3)");
	ok(headers_joined(&h, STR("b"), &a).p == headers_get(&h, STR("b")).p, "one line is not copied");
	ok(headers_joined(&h, STR("none"), &a).p == NULL, "none joined is none");
	is_int(headers_remove(&h, STR("a")), 2, "removed");
	is_str(text_of(&h), STR("b:2|Empty:|C:4|Nothing:"), "the others keep their order");
	headers_set(&h, STR("B"), STR("9"));
	is_str(text_of(&h), STR("Empty:|C:4|Nothing:|B:9"), "set replaces");
	headers_init(&copy, &a);
	headers_copy(&copy, &h);
	is_str(text_of(&copy), text_of(&h), "a copy is the same");
	ok(copy.v[1].name.p != h.v[1].name.p && copy.v[1].value.p != h.v[1].value.p, "and has its own bytes");
	h = make("X:|X: b|X:");
	is_str(headers_joined(&h, STR("x"), &a), STR(", b, "), "empty lines are joined too");
	headers_init(&h, &a);
	for (unsigned i = 0; i < 1000; i++)
		headers_add(&h, arena_printf(&a, "n%u", i), arena_printf(&a, "v%u", i));
	is_str(headers_get(&h, STR("N999")), STR("v999"), "a thousand fields");
}

static void
lists(void)
{
	static const struct { const char *fields, *want; } t[] = {
		{ "", "" }, { "L: ", "" }, { "L: , ,\t,", "" }, { "L: a", "<a>" }, { "L: a,b , c", "<a><b><c>" }, { "L: a|M: x|l: b", "<a><b>" },
		{ "L: |L: b", "<b>" }, { "L: a=\"x, y\", b", "<a=\"x, y\"><b>" }, { "L: \"a\\\", b\", c", "<\"a\\\", b\"><c>" },
		{ "L: \"open, b", "<\"open, b>" }, { "L: \"open\\", "<\"open\\>" }, { "L: a b", "<a b>" }, { "L: a\\, b", "<a\\><b>" },
	};
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
		struct headers h = make(t[i].fields);
		struct str got = STR(""), member;
		for (struct list_iter it = list_start(&h, STR("L")); list_next(&it, &member);)
			got = arena_printf(&a, "%.*s<%.*s>", STRP(got), STRP(member));
		is_str(got, str_c(t[i].want), "members of %s", t[i].fields);
	}
	struct headers h = make("Connection: Keep-Alive, x|Connection: Close");
	ok(headers_lists(&h, STR("connection"), STR("close")) && !headers_lists(&h, STR("connection"), STR("clos")), "is a token listed?");
}

static void
hop_by_hop(void)
{
	static const struct { const char *fields, *want; } t[] = {
		{ "A: 1|Connection: close|B: 2", "A:1|B:2" },
		{ "Connection: x-a, X-B|X-A: 1|x-b: 2|X-C: 3|X-A: 4", "X-C:3" },
		{ "X-A: 1|Connection: |connection: x-a", "" },
		{ "Keep-Alive: 1|Proxy-Connection: 1|TE: 1|Trailer: 1|Transfer-Encoding: 1|Upgrade: 1|Proxy-Authenticate: 1|Proxy-Authorization: 1|"
		  "proxy-authentication-info: 1|Host: h", "Host:h" },
		{ "Connection: content-length, host, close|Content-Length: 5|Host: h", "Content-Length:5|Host:h" },
		{ "Connection: connection, te|Te: 1|Tee: 2", "Tee:2" },
		{ "Trailers: 1|Upgrades: 2|T: 3", "Trailers:1|Upgrades:2|T:3" },
	};
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
		struct headers h = make(t[i].fields);
		headers_strip_hop_by_hop(&h);
		is_str(text_of(&h), str_c(t[i].want), "what goes on of %s", t[i].fields);
	}
}

static void
syntax(void)
{
	char c[2] = { 0 };
	unsigned names = 0, values = 0;

	for (int i = 0; i < 256; i++) {
		c[0] = (char)i;
		names += field_name_valid((struct str){ c, 1 });
		values += field_value_valid((struct str){ c, 1 });
	}
	is_int(names, 10 + 52 + 15, "exactly the tchars make a name (RFC 9110 5.6.2)");
	is_int(values, 256 - 33 + 1, "a value has no controls but HTAB (RFC 9110 5.5)");
	ok(!field_name_valid(STR("")) && !field_name_valid(STR("a b")) && !field_name_valid(STR("a:")) && field_name_valid(STR("X-a_1.b")), "names");
	ok(field_value_valid(STR("")) && !field_value_valid(STR("a\r\nb")) && field_value_valid(STR("caf\xe9 \t\"x\"")), "values");
}

int
main(void)
{
	arena_init(&a);
	basics();
	lists();
	hop_by_hop();
	syntax();
	arena_fini(&a);
	return done_testing();
}
