/* Names that may stand in a certificate, and the certificates made for them. */
#include "certgen_pki.h"

#define L63 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff123"
static const char name_253[] = L63 "." L63 "." L63 ".aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff1";

static void
names(void)
{
	static const struct { struct str in; const char *out; const char *why; } row[] = {
		{ STR("example.test"), "example.test", "a plain name" },
		{ STR("EXAMPLE.Test"), "example.test", "lower case" },
		{ STR("example.test."), "example.test", "the root's dot goes" },
		{ STR("localhost"), "localhost", "one label" },
		{ STR("a_b.example.test"), "a_b.example.test", "underscores exist" },
		{ STR("r3---sn-4g5e.test"), "r3---sn-4g5e.test", "hyphens in a row exist" },
		{ STR("xn--bcher-kva.test"), "xn--bcher-kva.test", "an A-label" },
		{ STR("127.0.0.1"), "127.0.0.1", "an IPv4 address" },
		{ STR("::1"), "::1", "an IPv6 address" },
		{ STR("2001:DB8:0:0::1"), "2001:db8::1", "one text for one address" },
		{ STR(L63 ".test"), L63 ".test", "a label of 63" },
		{ STR(""), NULL, "nothing" },
		{ STR("."), NULL, "the root" },
		{ STR("a..b"), NULL, "an empty label" },
		{ STR(".a"), NULL, "a leading dot" },
		{ STR("a.."), NULL, "two dots behind" },
		{ STR("x" L63 ".test"), NULL, "a label of 64" },
		{ STR("*.example.test"), NULL, "a wildcard" },
		{ STR("a b.test"), NULL, "a blank" },
		{ STR("a\0b.test"), NULL, "a NUL" },
		{ STR("good.test\0.evil.test"), NULL, "a NUL behind a good name" },
		{ STR("127.0.0.1\0x"), NULL, "a NUL behind an address" },
		{ STR("a.test\n"), NULL, "a line end" },
		{ STR("a.test,DNS:b.test"), NULL, "OpenSSL's list syntax" },
		{ STR("DNS:b.test"), NULL, "OpenSSL's prefix" },
		{ STR("a/b"), NULL, "a slash" },
		{ STR("b\xc3\xbc""cher.test"), NULL, "not ASCII" },
		{ STR("[::1]"), NULL, "brackets are the URL's" },
		{ STR("fe80::1%eth0"), NULL, "a zone is this machine's" },
		{ STR("a.test:443"), NULL, "a port" },
		{ STR("@section"), NULL, "a reference into a configuration" },
	};
	char out[CERT_NAME_MAX + 1];
	size_t n;
	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		int r = leaf_name(row[i].in, out, &n);
		if (row[i].out)
			is_str(r == 0 ? ((struct str){ out, n }) : STR_NONE, str_c(row[i].out), "host name: %s", row[i].why);
		else
			is_int(r, -ERR_BAD_REQUEST, "refused as host name: %s", row[i].why);
	}
	is_int(strlen(name_253), 253, "the longest name");
	is_int(leaf_name(str_c(name_253), out, &n), 0, "... is taken");
	char longer[300];
	snprintf(longer, sizeof(longer), "%s.", name_253);
	is_int(leaf_name(str_c(longer), out, &n), 0, "... and with the root's dot");
	snprintf(longer, sizeof(longer), "%s2", name_253);
	is_int(leaf_name(str_c(longer), out, &n), -ERR_BAD_REQUEST, "one more is not");
}

static struct ca *
ca_of(const char *kind)
{
	EVP_PKEY *key = pki_key(kind);
	X509 *x = pki_cert("test CA", key, NULL, NULL, true, -2 * DAY, 3650 * DAY);
	struct str text = STR_NONE;
	struct ca *ca;
	char problem[256];
	pki_append(&text, key, NULL, x);
	if (ca_read(text, STR_NONE, kind, &ca, problem) < 0)
		note("%s", problem);
	free((char *)text.p);
	X509_free(x);
	EVP_PKEY_free(key);
	return ca;
}

static void
leaves(void)
{
	static const char *const kinds[] = { "P-256", "P-384", "P-521", "RSA-2048", "RSA-4096" };
	static const int signatures[] = { NID_ecdsa_with_SHA256, NID_ecdsa_with_SHA384, NID_ecdsa_with_SHA512, NID_sha256WithRSAEncryption,
		NID_sha256WithRSAEncryption };
	static const struct { const char *name; bool ip, critical; } row[] = {
		{ "example.test", false, false }, { "a_b.example.test", false, false }, { name_253, false, true }, { "192.0.2.1", true, false },
		{ "2001:db8::1", true, false },
	};
	EVP_PKEY *key = leaf_key_new();
	char problem[256];
	for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
		struct ca *ca = ca_of(kinds[k]);
		if (!ok(ca, "a CA with a key on %s is read", kinds[k]))
			continue;
		for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
			static struct cert_record rec;
			int64_t now = clock_wall();
			is_int(leaf_mint(ca, key, str_c(row[i].name), now, &rec, problem), 0, "%s mints %.20s", kinds[k], row[i].name);
			const unsigned char *p = rec.der;
			X509 *x = d2i_X509(NULL, &p, rec.der_n);
			is_int(pki_verify(x, NULL, ca->anchor, row[i].name, row[i].ip), X509_V_OK, "... which a strict client takes for that name");
			is_int(pki_verify(x, NULL, ca->anchor, row[i].ip ? "192.0.2.2" : "other.test", row[i].ip), row[i].ip ? X509_V_ERR_IP_ADDRESS_MISMATCH
			    : X509_V_ERR_HOSTNAME_MISMATCH, "... and for no other");
			is_int(X509_get_signature_nid(x), signatures[k], "... signed as strongly as the CA's key is");
			int crit = -1;
			GENERAL_NAMES *san = X509_get_ext_d2i(x, NID_subject_alt_name, &crit, NULL);
			is_int(sk_GENERAL_NAME_num(san), 1, "... one alternative name");
			is_int(crit, row[i].critical, "... %scritical, the subject is %sempty", row[i].critical ? "" : "not ", row[i].critical ? "" : "not ");
			is_int(X509_NAME_entry_count(X509_get_subject_name(x)), !row[i].critical, "... as RFC 5280 wants it");
			GENERAL_NAMES_free(san);
			int64_t from = asn1_seconds(X509_get0_notBefore(x)), to = asn1_seconds(X509_get0_notAfter(x));
			ok(from <= now / 1000 - DAY && to - from < 47 * DAY && to * 1000 == rec.not_after, "... valid since yesterday, shorter than any limit");
			ok(rec.refresh_at > now && rec.refresh_at < rec.not_after - 14 * DAY * 1000LL, "... to be replaced with a third left");
			is_int(X509_get_key_usage(x), KU_DIGITAL_SIGNATURE, "... for signatures");
			is_int(X509_get_extended_key_usage(x), XKU_SSL_SERVER, "... of servers");
			is_int(X509_check_ca(x), 0, "... not a CA");
			ok(i2d_ASN1_INTEGER(X509_get_serialNumber(x), NULL) <= 22, "... its serial number fits 20 octets");
			X509_free(x);
		}
		ca_free(&ca);
		ok(ca == NULL, "ca_free forgets");
	}
	EVP_PKEY_free(key);
}

static void
ends(void)
{
	struct ca *ca = ca_of("P-256");
	EVP_PKEY *key = leaf_key_new();
	static struct cert_record rec;
	char problem[256];
	int64_t end = ca->not_after * 1000;
	is_int(leaf_mint(ca, key, STR("a.test"), end - 10 * DAY * 1000LL, &rec, problem), 0, "ten days before the CA ends");
	is_int(rec.not_after, end, "... a leaf ends with it");
	ok(rec.refresh_at < end, "... and is replaced");
	is_int(leaf_mint(ca, key, STR("a.test"), end - DAY * 1000LL, &rec, problem), 0, "a day before");
	is_int(rec.refresh_at, end, "... it is not replaced by what is no better");
	is_int(leaf_mint(ca, key, STR("a.test"), end, &rec, problem), -ERR_CERTGEN, "after the end none is minted");
	ok(strstr(problem, "expired"), "... and the reason is said: %s", problem);
	EVP_PKEY_free(key);
	ca_free(&ca);
}

int
main(void)
{
	names();
	leaves();
	ends();
	return done_testing();
}
