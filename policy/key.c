/* key.c - URL normalisation, document ids, variant keys. Other versions of this product find our documents by these very strings,
 * so each step does what behaviour.md 4.1 to 4.4 says, down to the re-encoding. */
#include "key.h"
#include "../common/hash.h"

#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD: what the old decoder made of bytes that are not UTF-8 */

/* Parameters that only sign or date a URL: two URLs that differ in these alone name the same object. */
static const struct str signing[] = {
	STR("expires"), STR("key-pair-id"), STR("policy"), STR("signature"),                /* CloudFront */
	STR("se"), STR("sig"), STR("ske"), STR("skoid"), STR("sks"), STR("skt"), STR("sktid"), STR("skv"), STR("sp"), STR("spr"),
	STR("sr"), STR("sv"), STR("hmac"),                                                  /* Azure SAS, GitHub */
};

static bool
signs(struct str name, const char *const *more)
{
	for (; more && *more; more++)
		if (str_caseeq(name, str_c(*more)))
			return true;
	if (name.n < 2)
		return false;
	if (str_casestarts(name, STR("x-amz-")))
		return true;
	if (name.n > sizeof("key-pair-id") - 1)
		return false;
	for (unsigned i = 0; i < sizeof(signing) / sizeof(*signing); i++)
		if (str_caseeq(name, signing[i]))
			return true;
	return false;
}

static int
hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Length of the well-formed UTF-8 sequence at p, or 0 with *bad bytes that one U+FFFD stands for (Unicode 3.9, maximal subpart). */
static size_t
utf8_length(const unsigned char *p, size_t n, size_t *bad)
{
	unsigned lo = 0x80, hi = 0xBF;
	size_t len;
	*bad = 1;
	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xC2 && p[0] <= 0xDF)
		len = 2;
	else if (p[0] >= 0xE0 && p[0] <= 0xEF)
		len = 3, lo = p[0] == 0xE0 ? 0xA0 : 0x80, hi = p[0] == 0xED ? 0x9F : 0xBF;
	else if (p[0] >= 0xF0 && p[0] <= 0xF4)
		len = 4, lo = p[0] == 0xF0 ? 0x90 : 0x80, hi = p[0] == 0xF4 ? 0x8F : 0xBF;
	else
		return 0;
	for (size_t i = 1; i < len; i++, lo = 0x80, hi = 0xBF) {
		if (i == n || p[i] < lo || p[i] > hi) {
			*bad = i;
			return 0;
		}
	}
	return len;
}

/* Form decoding: percent signs, + for a blank. What is no UTF-8 afterwards is replaced, as the old decoder did. */
static struct str
decode(struct arena *a, struct str s)
{
	if (!s.n || (!memchr(s.p, '%', s.n) && !memchr(s.p, '+', s.n)))
		return s;
	unsigned char *raw = arena_alloc(a, s.n), *clean, *w;
	size_t n = 0, bad;
	bool valid = true;
	for (size_t i = 0; i < s.n; i++) {
		int hi, lo;
		if (s.p[i] == '%' && i + 2 < s.n && (hi = hex(s.p[i + 1])) >= 0 && (lo = hex(s.p[i + 2])) >= 0) {
			raw[n++] = (unsigned char)(hi << 4 | lo);
			i += 2;
		} else {
			raw[n++] = s.p[i] == '+' ? ' ' : (unsigned char)s.p[i];
		}
		valid &= raw[n - 1] < 0x80;
	}
	if (valid)
		return (struct str){ (char *)raw, n };
	w = clean = arena_alloc(a, n * 3);
	for (size_t i = 0; i < n;) {
		size_t len = utf8_length(raw + i, n - i, &bad);
		memcpy(w, len ? (char *)raw + i : REPLACEMENT, len ? len : 3);
		w += len ? len : 3;
		i += len ? len : bad;
	}
	return (struct str){ (char *)clean, (size_t)(w - clean) };
}

static char *
encode(char *w, struct str s)
{
	static const char digits[] = "0123456789ABCDEF";
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		char l = ascii_lower((char)c);
		if ((l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-' || c == '~') {
			*w++ = (char)c;
		} else if (c == ' ') {
			*w++ = '+';
		} else {
			*w++ = '%';
			*w++ = digits[c >> 4];
			*w++ = digits[c & 15];
		}
	}
	return w;
}

struct pair { struct str name, lower, value; };

static int
pair_cmp(const void *x, const void *y)
{
	const struct pair *a = x, *b = y;
	int r;
	if ((r = str_cmp(a->lower, b->lower)) || (r = str_cmp(a->name, b->name)))
		return r;
	return str_cmp(a->value, b->value);
}

struct str
key_normalise(struct arena *a, struct str url)
{
	return key_normalise_more(a, url, NULL);
}

struct str
key_normalise_more(struct arena *a, struct str url, const char *const *more)
{
	struct str rest = url, fragment, base, query, pair, name;
	const char *mark;
	bool found = false;
	unsigned n = 0, cap = 1;

	if (!url.n || !(mark = memchr(url.p, '?', url.n)))
		return url;
	rest = str_cut(&rest, '#');
	fragment = str_from(url, rest.n);
	base = str_cut(&rest, '?');
	if (base.n + 1 > url.n - fragment.n) /* the ? is in the fragment */
		return url;
	query = rest;
	while (rest.p) {
		pair = str_cut(&rest, '&');
		name = str_cut(&pair, '=');
		found = found || signs(decode(a, name), more);
		cap++;
	}
	if (!found)
		return url;

	struct pair *v = arena_alloc(a, cap * sizeof(*v));
	size_t room = base.n + fragment.n + 1;
	for (rest = query; rest.p;) {
		pair = str_cut(&rest, '&');
		if (!pair.n)
			continue;
		name = decode(a, str_cut(&pair, '='));
		if (signs(name, more))
			continue;
		v[n] = (struct pair){ name, arena_lower(a, name), decode(a, pair) };
		room += 3 * (v[n].name.n + v[n].value.n) + 2;
		n++;
	}
	qsort(v, n, sizeof(*v), pair_cmp);
	char *out = arena_alloc(a, room), *w = out;
	memcpy(w, base.p, base.n);
	w += base.n;
	for (unsigned i = 0; i < n; i++) {
		*w++ = i ? '&' : '?';
		w = encode(w, v[i].name);
		*w++ = '=';
		w = encode(w, v[i].value);
	}
	if (fragment.n > 1) {
		memcpy(w, fragment.p, fragment.n);
		w += fragment.n;
	}
	return (struct str){ out, (size_t)(w - out) };
}

/* scheme/host<between>hash */
static struct str
id_of(struct arena *a, const struct url *url, struct str between, struct str hash)
{
	struct str scheme = url->scheme.n ? url->scheme : STR("https"), host = url->host.n ? url->host : STR("unknown");
	size_t n = scheme.n + 1 + host.n + between.n + hash.n;
	char *p = arena_alloc(a, n + 1), *w = p;
	if (host.n > 1 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = str_upto(str_from(host, 1), host.n - 2);
	for (size_t i = 0; i < scheme.n; i++)
		*w++ = ascii_lower(scheme.p[i]);
	*w++ = '/';
	for (size_t i = 0; i < host.n; i++)
		*w++ = ascii_lower(host.p[i]);
	memcpy(w, between.p, between.n);
	w += between.n;
	memcpy(w, hash.p, hash.n);
	w += hash.n;
	*w = 0;
	return (struct str){ p, (size_t)(w - p) };
}

void
key_ids(struct arena *a, const struct url *url, struct str key_url, struct str *id, struct str *vary_id)
{
	char hash[SHA224_HEX + 1];
	sha224_hex(key_url, hash);
	*id = id_of(a, url, STR("/"), (struct str){ hash, SHA224_HEX });
	*vary_id = id_of(a, url, STR("/_vary/"), (struct str){ hash, SHA224_HEX });
}

struct str
key_id(struct arena *a, const struct url *url, struct str key_url)
{
	char hash[SHA224_HEX + 1];
	sha224_hex(key_url, hash);
	return id_of(a, url, STR("/"), (struct str){ hash, SHA224_HEX });
}

struct str
key_vary_id(struct arena *a, const struct url *url, struct str key_url)
{
	char hash[SHA224_HEX + 1];
	sha224_hex(key_url, hash);
	return id_of(a, url, STR("/_vary/"), (struct str){ hash, SHA224_HEX });
}

struct str
key_variant_id(struct arena *a, struct str id, struct str raw)
{
	char *p = arena_alloc(a, id.n + 1 + SHA224_HEX + 1);
	memcpy(p, id.p, id.n);
	p[id.n] = '+';
	sha224_hex(raw, p + id.n + 1);
	return (struct str){ p, id.n + 1 + SHA224_HEX };
}

#define EXTENSION_MAX 20 /* behaviour.md 4.6: longer ones say nothing of a file's kind */
struct str
key_extension(struct str path)
{
	size_t dot;
	while (path.n && path.p[path.n - 1] == '/')
		path.n--;
	for (dot = path.n; dot > 0 && path.p[dot - 1] != '.'; dot--)
		if (path.p[dot - 1] == '/')
			return STR("");
	if (dot < 2 || path.p[dot - 2] == '/' || path.n - dot + 1 > EXTENSION_MAX || dot == path.n)
		return STR("");
	for (size_t i = dot; i < path.n; i++) {
		char c = ascii_lower(path.p[i]);
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
			return STR("");
	}
	return str_from(path, dot - 1);
}
