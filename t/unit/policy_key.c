/* Documents must be found again: by other nodes, by other versions. Vectors of behaviour.md 4.1 to 4.4 and 4.6, made with the real code. */
#include "tap.h"
#include "../../policy/key.h"

static struct arena a;

static struct url
url_of(const char *text)
{
	struct url u;
	struct str s = str_c(text), plain = s;
	plain = str_cut(&plain, '#'); /* url_parse rightly refuses fragments */
	if (url_parse(&a, plain, &u) < 0)
		ok(0, "url_parse(%s)", text);
	return u;
}

static const struct { const char *url, *key, *id; } ids[] = {
	{ "http://example.com/", NULL, "http/example.com/599370d5687c3fd078c314add6d37c2d714e57a5d9157d4a703cfcc0" },
	{ "https://pypi.org/simple/requests/", NULL, "https/pypi.org/eac61126daf80149d2a016f12a54eab5e3b5c1dbc77410ff1a97edc4" },
	{ "https://Example.COM:8443/A/b.tar.gz?b=2&a=1", NULL, "https/example.com/1eb7c48b6a5295f2bb06bcb21cfcf06f72cc8891c5d34e0f55937b9a" },
	{ "https://ex.com/f?X-Amz-Date=1&b=2&a=1&A=3&k=", "https://ex.com/f?A=3&a=1&b=2&k=", "https/ex.com/5d39b7431aec05f8e694d9882a7613f171ab1cb3b0e96df4aeb7b7a9" },
	{ "https://ex.com/f?sig=abc", "https://ex.com/f", "https/ex.com/a930673acaa220a10bcdf5825f2baf2794a32b307b51fa34c0c51fe6" },
	{ "https://ex.com/f?sig=abc&q=a%20b+c%2Fd&u=%C3%A9", "https://ex.com/f?q=a+b+c%2Fd&u=%C3%A9", "https/ex.com/1c0ed3a8b62180dc795cb663f359fb93a81dfb4a64de02a20fe2053f" },
	{ "https://ex.com/f?version=3&signature=x&expires=2#frag", "https://ex.com/f?version=3#frag", "https/ex.com/92208381940a506ca74634fd56da83222b13fc0b03ff555fd296b8d9" },
	{ "http://[::1]:8080/x?sv=1", "http://[::1]:8080/x", "http/::1/9a551fc21626b5f5249e9d528df7ccfb1529e56c52b1e0255ca45caa" },
};

static const struct { const char *url, *key, *why; } keys[] = {
	{ "http://h/p", NULL, "no query: unchanged" },
	{ "http://h/p?", NULL, "an empty query: unchanged" },
	{ "http://h/p?b=1&a=%2f+%zz", NULL, "no signing name: neither sorted nor re-encoded" },
	{ "http://h/p?st=1&version=2", NULL, "st and version do not sign" },
	{ "http://h/p?SiG=1&b=1&a=2", "http://h/p?a=2&b=1", "names compare case-insensitively" },
	{ "http://h/p?s%69g=1&b=1", "http://h/p?b=1", "names compare decoded" },
	{ "http://h/p?x-amz-anything=1&b", "http://h/p?b=", "a name without = gets an empty value" },
	{ "http://h/p?sig=1&&b=2&", "http://h/p?b=2", "empty pairs go" },
	{ "http://h/p?sig=1&b=%zz%4", "http://h/p?b=%25zz%254", "broken percent signs are themselves encoded" },
	{ "http://h/p?sig=1&b=%ff~x", "http://h/p?b=%EF%BF%BD~x", "bytes that are no UTF-8 become U+FFFD" },
	{ "http://h/p?sig=1&b=%e2%82x", "http://h/p?b=%EF%BF%BDx", "one U+FFFD for a sequence cut short" },
	{ "http://h/p?sig=1&b=%ed%a0%80", "http://h/p?b=%EF%BF%BD%EF%BF%BD%EF%BF%BD", "surrogates are no UTF-8" },
	{ "http://h/p?sig=1&b=2&B=1&a=2&a=1", "http://h/p?a=1&a=2&B=1&b=2", "sorted by lower-case name, name, value" },
	{ "http://h/p?sig=1&b=a=c", "http://h/p?b=a%3Dc", "only the first = divides" },
	{ "http://h/p#f?sig=1", NULL, "a question mark in the fragment is no query" },
	{ "http://h/p?sig=1#", "http://h/p", "an empty fragment goes" },
};

static const struct { const char *path, *want; } extensions[] = {
	{ "/x.tar.gz", ".gz" }, { "/.bashrc", "" }, { "/a/b", "" }, { "/a.b/c", "" }, { "/a/b.deb/", ".deb" }, { "/", "" }, { "", "" },
	{ "/x.", "" }, { "/x.a%20b", "" }, { "/x.0123456789012345678", ".0123456789012345678" }, { "/x.01234567890123456789", "" },
	{ "/x.TXT", ".TXT" }, { "/x.a_b-c", ".a_b-c" },
};

int
main(void)
{
	arena_init(&a);
	for (unsigned i = 0; i < sizeof(ids) / sizeof(*ids); i++) {
		struct url u = url_of(ids[i].url);
		struct str key = key_normalise(&a, str_c(ids[i].url));
		is_str(key, str_c(ids[i].key ? ids[i].key : ids[i].url), "key of %s", ids[i].url);
		is_str(key_id(&a, &u, key), str_c(ids[i].id), "document id of %s", ids[i].url);
	}
	for (unsigned i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		is_str(key_normalise(&a, str_c(keys[i].url)), str_c(keys[i].key ? keys[i].key : keys[i].url), "%s: %s", keys[i].why, keys[i].url);
	for (unsigned i = 0; i < sizeof(extensions) / sizeof(*extensions); i++)
		is_str(key_extension(str_c(extensions[i].path)), str_c(extensions[i].want), "extension of %s", extensions[i].path);

	struct url u = url_of("http://example.com/");
	struct str id, vary_id;
	key_ids(&a, &u, STR("http://example.com/"), &id, &vary_id);
	is_str(id, key_id(&a, &u, STR("http://example.com/")), "key_ids gives the same id");
	is_str(vary_id, STR("http/example.com/_vary/599370d5687c3fd078c314add6d37c2d714e57a5d9157d4a703cfcc0"), "id of the vary index");
	is_str(key_vary_id(&a, &u, STR("http://example.com/")), vary_id, "and by itself");

	struct headers h;
	headers_init(&h, &a);
	is_str(vary_request(&a, STR("Accept-Encoding"), &h), STR("accept-encoding="), "an absent field counts as empty");
	ok(vary_proactive(&a, &h).p == NULL, "no proactive key without Accept-Encoding");
	headers_add(&h, STR("Accept-encoding"), STR("gzip"));
	headers_add(&h, STR("User-Agent"), STR("curl/8"));
	headers_add(&h, STR("Foo"), STR("1"));
	headers_add(&h, STR("foo"), STR("2"));
	is_str(vary_request(&a, STR("Accept-Encoding , , USER-agent"), &h), STR("accept-encoding=gzip|user-agent=curl/8"), "names as listed, lower case");
	is_str(vary_request(&a, STR("foo"), &h), STR("foo=1, 2"), "repeated fields are joined");
	ok(vary_request(&a, STR("foo, *"), &h).p == NULL, "an asterisk has no key");
	struct str none = vary_request(&a, STR(""), &h);
	ok(none.p && none.n == 0, "an empty Vary has an empty key");
	is_str(vary_proactive(&a, &h), STR("accept-encoding=gzip"), "the proactive string is that of Vary: Accept-Encoding");
	is_str(key_variant_id(&a, STR("i"), STR("accept-encoding=gzip")), STR("i+1326817f4c14e9d6a359aa1d62b9e77e572cc27155de1b818561199e"), "variant id, gzip");
	is_str(key_variant_id(&a, STR("i"), STR("accept-encoding=")), STR("i+797546624bd2b4a5b039a9dda35790f2e49ae04c9fe04aa2c865751b"), "variant id, none");
	is_str(key_variant_id(&a, STR("i"), STR("accept-encoding=gzip|user-agent=curl/8")),
	       STR("i+287733425afcebcc33ee2f0996d27697fd3610a9c417a44b5656a9b3"), "variant id, two fields");

	static const struct { const char *vary, *raw; bool yes; } select[] = {
		{ "Accept-Encoding", "accept-encoding=gzip", true }, { "Accept-Encoding", "accept-encoding=br", false },
		{ "Accept-Encoding", "accept-encoding=gzi", false }, { "Accept-Encoding", "accept-encoding=gzipp", false },
		{ "Foo", "foo=1, 2", true }, { "Foo", "foo=1", false }, { "Bar", "bar=", true }, { "Bar", "bar=1", false },
		{ "foo,Bar", "foo=1, 2|bar=", true }, { "foo,Bar", "foo=1, 2", false }, { "foo", "foo=1, 2|bar=", false },
		{ "*", "", false }, { "", "", true }, { "foo, *", "foo=1, 2", false }, { "foo", "", false },
	};
	for (unsigned i = 0; i < sizeof(select) / sizeof(*select); i++)
		is_int(vary_selects(str_c(select[i].vary), str_c(select[i].raw), &h), select[i].yes, "RFC 9111 4.1: Vary: %s, stored for %s", select[i].vary, select[i].raw);

	/* requests that mean the same select the same variant; what is not known to mean the same does not */
	static const struct { const char *name, *one, *two; bool same; } pairs[] = {
		{ "Accept-Language", "en, de", "de, en", true }, { "Accept-Language", "en, de", "eN ,  De", true },
		{ "Accept-Language", "de;q=0.5, en", "en, de; q=0.5", true }, { "Accept-Language", "en;q=0.5, de", "de;q=0.5, en", false },
		{ "Accept-Language", "en", "en, de", false }, { "Accept-Language", "en;q=x, de", "de, en;q=x", false },
		{ "Accept-Language", "en;q=1.5, de", "de, en;q=1.5", false },
		{ "Accept-Encoding", "gzip, br", "GZIP,br", true }, { "Accept-Encoding", "gzip, br", "gzip", false },
		{ "Foo", "1,2", " 1, 2 ", true }, { "Foo", "a", "A", false }, { "Foo", "1, 2", "2, 1", false },
		{ "Foo", "\"a,b\"", "\"a, b\"", false }, { "Foo", "a|b", "a||b", false },
		{ "Cookie", "a=1,b", "a=1, b", false }, { "Authorization", "x a,b", "x a, b", false }, { "Cookie", "a=1", "a=1", true },
	};
	for (unsigned i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
		struct headers one, two;
		struct str vary = str_c(pairs[i].name);
		headers_init(&one, &a);
		headers_init(&two, &a);
		headers_add(&one, vary, str_trim(str_c(pairs[i].one)));
		headers_add(&two, vary, str_trim(str_c(pairs[i].two)));
		struct str x = vary_request(&a, vary, &one), y = vary_request(&a, vary, &two);
		is_int(str_eq(x, y), pairs[i].same, "RFC 9111 4.1: %s: %s, and %s", pairs[i].name, pairs[i].one, pairs[i].two);
		is_int(vary_selects(vary, x, &two), pairs[i].same, "and the stored one is %sselected", pairs[i].same ? "" : "not ");
		ok(strchr(pairs[i].one, '|') || vary_selects(vary, vary_request_plain(&a, vary, &one), &one), "what an older version stored for it is found");
	}
	{ /* a bar in a value cannot pass for two fields */
		struct headers one, two;
		headers_init(&one, &a);
		headers_init(&two, &a);
		headers_add(&one, STR("a"), STR("x"));
		headers_add(&one, STR("b"), STR("y|b="));
		headers_add(&two, STR("a"), STR("x|b=y"));
		ok(!str_eq(vary_request(&a, STR("a, b"), &one), vary_request(&a, STR("a, b"), &two)), "a bar in a value does not end it");
		ok(!vary_selects(STR("a, b"), vary_request(&a, STR("a, b"), &one), &two), "nor when it is compared");
		ok(vary_selects(STR("a, b"), vary_request(&a, STR("a, b"), &two), &two), "and is found again");
		char large[5000];
		memset(large, 'x', sizeof large);
		large[2000] = ',';
		headers_add(&one, STR("c"), (struct str){ large, sizeof large });
		ok(vary_selects(STR("c"), vary_request_plain(&a, STR("c"), &one), &one), "a long value is compared as it is");
	}
	/* RFC 9111 4.1, by setting: Accept-Encoding as a set */
	static const struct { const char *sent, *normal; } codings[] = {
		{ "gzip", "gzip" }, { "gzip, deflate, br, zstd", "br, deflate, gzip, zstd" }, { "br;q=1.0, GZIP;q=0.8", "br, gzip" }, { "x-gzip", "gzip" },
		{ "gzip;q=0, br", "br" }, { "gzip;q=0", "identity" }, { "identity", "identity" }, { "", "identity" }, { "lzma, sdch", "identity" }, { "gzip, lzma", "gzip" },
		{ "gzip, *", NULL }, { "*;q=0", NULL }, { "identity;q=0, gzip", NULL }, { "gzip;q=2", NULL }, { "gzip;level=3", NULL }, { NULL, NULL },
	};
	for (unsigned i = 0; i < sizeof(codings) / sizeof(*codings); i++) {
		struct headers one;
		headers_init(&one, &a);
		if (codings[i].sent)
			headers_add(&one, STR("Accept-Encoding"), str_c(codings[i].sent));
		struct str got = vary_accept_encoding(&a, &one);
		is_str(got.p ? got : STR("(as it is)"), codings[i].normal ? str_c(codings[i].normal) : STR("(as it is)"), "Accept-Encoding: %s", codings[i].sent ? codings[i].sent : "(none)");
	}
	/* Content-Language: the answer in the language that is wanted most of all */
	static const struct { const char *stored_for, *in, *asks; bool yes; } language[] = {
		{ "en, de", "de", "fr;q=0.5, de;q=1.0", true }, { "en, de", "de", "fr, de", false }, { "en, de", "de", "fr, de;q=0.5", false },
		{ "en, de", "DE", "de", true }, { "en, de", "de, en", "de", false }, { "en, de", "de", "de;q=0", false }, { "en, de", "", "de", false },
		{ "en, de", "de", "", false }, { "en, de", "de", "de, en", true },
	};
	for (unsigned i = 0; i < sizeof(language) / sizeof(*language); i++) {
		struct meta m;
		struct headers stored, asks;
		struct str names[VARY_NAMES];
		bool named = false;
		meta_init(&m, &a);
		headers_init(&stored, &a);
		headers_init(&asks, &a);
		headers_add(&stored, STR("Accept-Language"), str_c(language[i].stored_for));
		if (*language[i].asks)
			headers_add(&asks, STR("Accept-Language"), str_c(language[i].asks));
		if (*language[i].in)
			headers_add(&m.headers, STR("Content-Language"), str_c(language[i].in));
		m.vary = STR("Accept-Language");
		m.vary_request = vary_request(&a, m.vary, &stored);
		is_int(vary_matches(&m, &asks), language[i].yes, "in '%s', stored for %s, answers %s", language[i].in, language[i].stored_for, language[i].asks);
		for (unsigned n = vary_names(&a, m.vary, &asks, names); n > 0; n--)
			named = named || str_eq(names[n - 1], vary_name(&a, &m, &stored));
		ok(named || !language[i].yes, "and is found by name");
		ok(vary_matches(&m, &stored), "it answers its own request");
	}
	arena_fini(&a);
	return done_testing();
}
