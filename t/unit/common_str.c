#include "tap.h"
#include "common/hash.h"

static void
comparing(void)
{
	static const struct { const char *a, *b; int eq, caseeq, cmp; } t[] = {
		{ "", "", 1, 1, 0 }, { "a", "a", 1, 1, 0 }, { "a", "A", 0, 1, 1 }, { "abc", "abd", 0, 0, -1 }, { "ab", "abc", 0, 0, -1 },
		{ "b", "abc", 0, 0, 1 }, { "@[`{", "`{@[", 0, 0, -1 }, { "\xc3\x84", "\xc3\xa4", 0, 0, -1 },
	};
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
		struct str a = str_c(t[i].a), b = str_c(t[i].b);
		int c = str_cmp(a, b);
		ok(str_eq(a, b) == t[i].eq && str_caseeq(a, b) == t[i].caseeq && (c > 0) - (c < 0) == t[i].cmp, "\"%s\" against \"%s\"", t[i].a, t[i].b);
	}
	ok(str_eq(STR_NONE, STR("")) && str_caseeq(STR(""), STR_NONE) && str_cmp(STR_NONE, STR("")) == 0, "nothing equals the empty string");
	ok(str_c(NULL).p == NULL && str_c(NULL).n == 0, "a NULL C string is STR_NONE");
}

static void
finding(void)
{
	ok(str_starts(STR("http://"), STR("http")) && !str_starts(STR("ht"), STR("http")) && str_starts(STR_NONE, STR("")), "starts");
	ok(str_ends(STR("a.deb"), STR(".deb")) && !str_ends(STR("deb"), STR(".deb")) && str_ends(STR_NONE, STR_NONE), "ends");
	ok(str_casestarts(STR("BYTES=1"), STR("bytes=")) && !str_casestarts(STR("byte"), STR("bytes")), "starts, in any case");
	ok(str_caseends(STR("A.DEB"), STR(".deb")) && !str_caseends(STR("EB"), STR("deb")), "ends, in any case");
	ok(str_has(STR("abcabd"), STR("abd")) && !str_has(STR("ab"), STR("abc")) && str_has(STR_NONE, STR("")), "has");
	ok(str_casehas(STR("xxABD"), STR("abd")) && !str_casehas(STR("ab"), STR("abc")) && str_casehas(STR_NONE, STR("")), "has, in any case");
	ok(str_has((struct str){ "a\0b", 3 }, (struct str){ "\0b", 2 }), "NUL is a byte like others");
}

static void
cutting(void)
{
	struct str s = STR("a=b=c"), none = STR_NONE;

	is_str(str_trim(STR(" \t a b\t ")), STR("a b"), "OWS goes at both ends only");
	is_str(str_trim(STR(" \r\n ")), STR("\r\n"), "CR and LF are not OWS");
	is_str(str_trim(STR_NONE), STR(""), "nothing to trim");
	is_str(str_from(STR("abc"), 1), STR("bc"), "from");
	is_str(str_from(STR("abc"), 9), STR(""), "from behind the end is empty");
	is_str(str_upto(STR("abc"), 9), STR("abc"), "more than there is, is all");
	is_str(str_cut(&s, '='), STR("a"), "cut at the first");
	is_str(s, STR("b=c"), "the rest");
	is_str(str_cut(&s, '!'), STR("b=c"), "no such byte: all of it");
	ok(s.p == NULL && s.n == 0, "... and nothing is left");
	s = STR("a,");
	str_cut(&s, ',');
	ok(s.p != NULL && s.n == 0, "an empty rest is told from none");
	ok(str_cut(&none, ',').n == 0 && none.p == NULL, "nothing to cut");
}

static void
numbers(void)
{
	static const struct { const char *s; uint64_t max; int fine; uint64_t v; } t[] = {
		{ "0", 0, 1, 0 }, { "1", 0, 0, 0 }, { "007", 9, 1, 7 }, { "", 9, 0, 0 }, { "+1", 9, 0, 0 }, { "-1", 9, 0, 0 }, { " 1", 9, 0, 0 }, { "1 ", 9, 0, 0 },
		{ "0x1", 99, 0, 0 }, { "65535", 65535, 1, 65535 }, { "65536", 65535, 0, 0 }, { "5", 3, 0, 0 }, { "9223372036854775807", INT64_MAX, 1, INT64_MAX },
		{ "9223372036854775808", INT64_MAX, 0, 0 }, { "18446744073709551615", UINT64_MAX, 1, UINT64_MAX }, { "18446744073709551616", UINT64_MAX, 0, 0 },
		{ "99999999999999999999999", UINT64_MAX, 0, 0 },
	};
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
		uint64_t v = 0;
		ok(str_u64(str_c(t[i].s), t[i].max, &v) == t[i].fine && v == t[i].v, "number \"%s\", at most %llu", t[i].s, (unsigned long long)t[i].max);
	}
}

static void
digests(void)
{
	char hex[65];
	uint8_t raw[32], back[32];
	struct sha256 *h = sha256_new();

	sha224_hex(STR("abc"), hex);
	is_str(str_c(hex), STR("23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"), "SHA-224 of FIPS 180-2");
	sha256_raw("abc", 3, raw);
	hex_encode(raw, 32, hex);
	is_str(str_c(hex), STR("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"), "SHA-256 of FIPS 180-2");
	ok(hex_decode(str_c(hex), back, 32) && memcmp(raw, back, 32) == 0, "hexadecimal digits there and back");
	ok(!hex_decode(STR("0g"), back, 1) && !hex_decode(STR("000"), back, 1) && !hex_decode(STR("0"), back, 1), "only digits, and exactly so many");
	for (int i = 0; i < 2; i++) {
		sha256_update(h, "a", 1);
		sha256_update(h, "bc", 2);
		sha256_final(h, back);
		ok(memcmp(raw, back, 32) == 0, "a running digest, round %d", i);
	}
	sha256_free(&h);
	ok(h == NULL, "free takes the pointer");
}

static void
hash(void)
{
	static uint64_t seen[4096];
	char text[64];
	unsigned same = 0, n = 0, buckets[64] = { 0 }, fullest = 0;

	for (unsigned len = 0; len < 40; len++) { /* all lengths, one byte changed at each place */
		memset(text, 'a', sizeof text);
		for (unsigned at = 0; at <= len; at++) {
			if (at)
				text[at - 1] ^= 1;
			seen[n] = hash64(text, len);
			for (unsigned i = 0; i < n; i++)
				same += seen[i] == seen[n];
			n++;
			if (at)
				text[at - 1] ^= 1;
		}
	}
	is_int(same, 0, "hash64 tells %u like strings apart", n);
	for (unsigned i = 0; i < 64 * 100; i++) {
		int len = snprintf(text, sizeof text, "https/host%u.test/", i);
		unsigned b = (unsigned)(hash64(text, (size_t)len) & 63);
		fullest = ++buckets[b] > fullest ? buckets[b] : fullest;
	}
	ok(fullest < 150, "its low bits spread evenly (%u in the fullest of 64 buckets, 100 expected)", fullest);
	is_int(hash64("same", 4), hash64("same", 4), "and it is a function");
}

int
main(void)
{
	comparing();
	finding();
	cutting();
	numbers();
	digests();
	hash();
	return done_testing();
}
