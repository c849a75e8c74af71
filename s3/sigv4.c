#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include "../common/err.h"
#include "../common/hash.h"
#include "sigv4.h"

#define FIELDS_MAX 32   /* a request of ours has less than ten */
#define PARAMS_MAX 32

struct str
sigv4_encode(struct arena *a, struct str s, bool slash)
{
	static const char hex[] = "0123456789ABCDEF";
	char *out = arena_alloc(a, 3 * s.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("-._~", c)) || (slash && c == '/')) {
			out[n++] = (char)c;
		} else {
			out[n++] = '%';
			out[n++] = hex[c >> 4];
			out[n++] = hex[c & 15];
		}
	}
	out[n] = '\0';
	return (struct str){ out, n };
}

static void
hmac(const void *key, size_t n, struct str text, uint8_t out[SHA256_RAW])
{
	unsigned len = SHA256_RAW;
	INVARIANT(HMAC(EVP_sha256(), key, (int)n, (const unsigned char *)(text.n ? text.p : ""), text.n, out, &len) != NULL);
}

static void
add(struct sha256 *h, struct str s)
{
	sha256_update(h, s.n ? s.p : "", s.n);
}

/* Query parameters sorted by name, then value, each with its "=". */
static void
add_query(struct sha256 *h, struct str query)
{
	struct str v[PARAMS_MAX];
	unsigned n = 0;

	while (query.n && n < PARAMS_MAX) {
		struct str one = str_cut(&query, '&');
		unsigned i = n;
		if (one.n == 0)
			continue;
		/* by name first: "a-b" is after "a", though '-' comes before '=' */
		for (; i > 0; i--) {
			struct str rest = one, other = v[i - 1], name = str_cut(&rest, '='), other_name = str_cut(&other, '=');
			int c = str_cmp(other_name, name);
			if (c < 0 || (c == 0 && str_cmp(other, rest) <= 0))
				break;
			v[i] = v[i - 1];
		}
		v[i] = one;
		n++;
	}
	for (unsigned i = 0; i < n; i++) {
		if (i)
			add(h, STR("&"));
		add(h, v[i]);
		if (!v[i].n || !memchr(v[i].p, '=', v[i].n))
			add(h, STR("="));
	}
}

/* Runs of blanks count as one. */
static void
add_value(struct sha256 *h, struct str v)
{
	v = str_trim(v);
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] != ' ' || v.p[i - 1] != ' ')
			sha256_update(h, v.p + i, 1);
}

/* The fields in the order of their names, which are left in lower case and separated by ";" in names. Those of one name become one. */
static struct str
add_fields(struct sha256 *h, const struct headers *fields)
{
	struct field v[FIELDS_MAX];
	unsigned n = 0;
	struct arena *a = fields->arena;
	struct str names = STR_NONE;

	INVARIANT(fields->n <= FIELDS_MAX);
	for (unsigned i = 0; i < fields->n; i++) {
		struct field f = { arena_lower(a, fields->v[i].name), fields->v[i].value };
		unsigned at = n++;
		for (; at > 0 && str_cmp(v[at - 1].name, f.name) > 0; at--)
			v[at] = v[at - 1];
		v[at] = f;
	}
	for (unsigned i = 0; i < n; i++) {
		if (i && str_eq(v[i].name, v[i - 1].name)) {
			add(h, STR(","));
		} else {
			if (i)
				add(h, STR("\n"));
			add(h, v[i].name);
			add(h, STR(":"));
			names = arena_printf(a, "%.*s%s%.*s", STRP(names), i ? ";" : "", STRP(v[i].name));
		}
		add_value(h, v[i].value);
	}
	add(h, STR("\n\n"));
	return names;
}

void
sigv4_sign(const struct sigv4 *s, struct str method, struct str path, struct str query, struct str payload, struct headers *h)
{
	struct arena *a = h->arena;
	uint8_t key[SHA256_RAW], sum[SHA256_RAW];
	char hex[SHA256_HEX + 1], date[32], prefixed[4 + 256];
	time_t t = (time_t)s->now;
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL)
		memset(&tm, 0, sizeof tm);
	strftime(date, sizeof date, "%Y%m%dT%H%M%SZ", &tm);
	headers_set(h, STR("X-Amz-Date"), arena_dup(a, str_c(date)));
	if (s->session_token.n)
		headers_set(h, STR("X-Amz-Security-Token"), s->session_token);

	struct sha256 *request = sha256_new();
	add(request, method);
	add(request, STR("\n"));
	add(request, path);
	add(request, STR("\n"));
	add_query(request, query);
	add(request, STR("\n"));
	struct str names = add_fields(request, h);
	add(request, names);
	add(request, STR("\n"));
	add(request, payload);
	sha256_final(request, sum);
	sha256_free(&request);
	hex_encode(sum, sizeof sum, hex);

	struct str day = str_upto(str_c(date), 8);
	struct str scope = arena_printf(a, "%.*s/%.*s/%.*s/aws4_request", STRP(day), STRP(s->region), STRP(s->service));
	struct str text = arena_printf(a, "AWS4-HMAC-SHA256\n%s\n%.*s\n%s", date, STRP(scope), hex);
	int n = snprintf(prefixed, sizeof prefixed, "AWS4%.*s", STRP(s->secret_key));
	hmac(prefixed, n < (int)sizeof prefixed ? (size_t)n : sizeof prefixed - 1, day, key);
	hmac(key, sizeof key, s->region, sum);
	hmac(sum, sizeof sum, s->service, key);
	hmac(key, sizeof key, STR("aws4_request"), sum);
	hmac(sum, sizeof sum, text, key);
	hex_encode(key, sizeof key, hex);
	OPENSSL_cleanse(prefixed, sizeof prefixed);
	OPENSSL_cleanse(sum, sizeof sum);
	headers_set(h, STR("Authorization"), arena_printf(a, "AWS4-HMAC-SHA256 Credential=%.*s/%.*s, SignedHeaders=%.*s, Signature=%s",
		STRP(s->access_key), STRP(scope), STRP(names), hex));
}
