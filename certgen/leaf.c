/* leaf.c - the certificate of one host. */
#include "leaf.h"
#include "../common/err.h"
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#define DAY 86400
/* Total validity is 46 days: below the 47 that browsers will demand of public CAs from 2029 on, and so below every limit of today (825
 * days for CAs that users add on Apple systems). A day back, because clients' clocks go wrong. */
#define LEAF_DAYS 45
#define LEAF_DAYS_BACK 1
#define COMMON_NAME_MAX 64 /* ub-common-name, RFC 5280 appendix A.1 */

static bool
host_name(struct str h)
{
	size_t label = 0;
	for (size_t i = 0; i < h.n; i++) {
		char c = h.p[i];
		if (c == '.') {
			if (label == 0)
				return false;
			label = 0;
			continue;
		}
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_') || ++label > 63)
			return false;
	}
	return label > 0;
}

int
leaf_name(struct str host, char out[CERT_NAME_MAX + 1], size_t *n)
{
	char text[INET6_ADDRSTRLEN];
	unsigned char addr[16];
	if (host.n > 0 && host.p[host.n - 1] == '.')
		host.n--;
	if (host.n == 0 || host.n > CERT_NAME_MAX)
		return -ERR_BAD_REQUEST;
	for (size_t i = 0; i < host.n; i++)
		out[i] = ascii_lower(host.p[i]);
	out[host.n] = 0;
	*n = host.n;
	if (memchr(out, 0, host.n))
		return -ERR_BAD_REQUEST;
	for (int af = AF_INET;; af = AF_INET6) {
		if (inet_pton(af, out, addr) == 1 && inet_ntop(af, addr, text, sizeof(text))) {
			*n = strlen(text);
			memcpy(out, text, *n + 1);
			return 0;
		}
		if (af == AF_INET6)
			break;
	}
	return host_name((struct str){ out, host.n }) ? 0 : -ERR_BAD_REQUEST;
}

EVP_PKEY *
leaf_key_new(void)
{
	return EVP_EC_gen("P-256");
}

/* 159 bits: positive in 20 octets (RFC 5280 4.1.2.2), and no two alike without anybody counting. */
static bool
set_serial(X509 *x)
{
	BIGNUM *bn = BN_new();
	bool good = bn && BN_rand(bn, 159, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 && !BN_is_zero(bn) &&
	    BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(x)) != NULL;
	BN_free(bn);
	return good;
}

bool
x509_begin(X509 *x, EVP_PKEY *key, int64_t not_before, int64_t not_after)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned md_n = 0;
	ASN1_OCTET_STRING *id = NULL;
	bool good = X509_set_version(x, X509_VERSION_3) && set_serial(x) && X509_set_pubkey(x, key) &&
	    ASN1_TIME_set(X509_getm_notBefore(x), not_before) && ASN1_TIME_set(X509_getm_notAfter(x), not_after) &&
	    X509_pubkey_digest(x, EVP_sha1(), md, &md_n) && /* a name, not a seal: RFC 5280 4.2.1.2 (1) */
	    (id = ASN1_OCTET_STRING_new()) && ASN1_OCTET_STRING_set(id, md, (int)md_n) &&
	    X509_add1_ext_i2d(x, NID_subject_key_identifier, id, 0, 0) == 1;
	ASN1_OCTET_STRING_free(id);
	return good;
}

bool
x509_add_usage(X509 *x, const int *bits, size_t n)
{
	ASN1_BIT_STRING *usage = ASN1_BIT_STRING_new();
	bool good = usage != NULL;
	for (size_t i = 0; good && i < n; i++)
		good = ASN1_BIT_STRING_set_bit(usage, bits[i], 1);
	good = good && X509_add1_ext_i2d(x, NID_key_usage, usage, 1, 0) == 1;
	ASN1_BIT_STRING_free(usage);
	return good;
}

bool
x509_add_constraints(X509 *x, bool is_ca, int pathlen)
{
	BASIC_CONSTRAINTS *bc = BASIC_CONSTRAINTS_new();
	bool good = bc != NULL;
	if (good) {
		bc->ca = is_ca ? 0xff : 0;
		if (pathlen >= 0)
			good = (bc->pathlen = ASN1_INTEGER_new()) && ASN1_INTEGER_set(bc->pathlen, pathlen);
	}
	good = good && X509_add1_ext_i2d(x, NID_basic_constraints, bc, 1, 0) == 1;
	BASIC_CONSTRAINTS_free(bc);
	return good;
}

static bool
add_server_auth(X509 *x)
{
	EXTENDED_KEY_USAGE *eku = EXTENDED_KEY_USAGE_new();
	bool good = eku && sk_ASN1_OBJECT_push(eku, OBJ_nid2obj(NID_server_auth)) > 0 && /* a static object: freeing it is nothing */
	    X509_add1_ext_i2d(x, NID_ext_key_usage, eku, 0, 0) == 1;
	EXTENDED_KEY_USAGE_free(eku);
	return good;
}

static bool
add_authority(X509 *x, const ASN1_OCTET_STRING *keyid)
{
	AUTHORITY_KEYID *aki = AUTHORITY_KEYID_new();
	bool good = aki && (aki->keyid = ASN1_OCTET_STRING_dup(keyid)) && X509_add1_ext_i2d(x, NID_authority_key_identifier, aki, 0, 0) == 1;
	AUTHORITY_KEYID_free(aki);
	return good;
}

/* The name exactly, and nothing but it: dNSName or iPAddress (RFC 5280 4.2.1.6, RFC 6125). */
static bool
add_alt_name(X509 *x, struct str name, bool critical)
{
	unsigned char addr[16];
	int addr_n = inet_pton(AF_INET, name.p, addr) == 1 ? 4 : inet_pton(AF_INET6, name.p, addr) == 1 ? 16 : 0;
	GENERAL_NAMES *names = GENERAL_NAMES_new();
	GENERAL_NAME *gn = GENERAL_NAME_new();
	ASN1_STRING *value = addr_n ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
	bool good = names && gn && value && (addr_n ? ASN1_STRING_set(value, addr, addr_n) : ASN1_STRING_set(value, name.p, (int)name.n));
	if (good) {
		GENERAL_NAME_set0_value(gn, addr_n ? GEN_IPADD : GEN_DNS, value);
		value = NULL;
		good = sk_GENERAL_NAME_push(names, gn) > 0;
		if (good)
			gn = NULL;
	}
	good = good && X509_add1_ext_i2d(x, NID_subject_alt_name, names, critical, 0) == 1;
	ASN1_STRING_free(value);
	GENERAL_NAME_free(gn);
	GENERAL_NAMES_free(names);
	return good;
}

static bool
set_names(X509 *x, const struct ca *ca, struct str name)
{
	X509_NAME *subject = X509_get_subject_name(x);
	/* a longer name has no place there: then the subject stays empty, and the alternative name is critical (RFC 5280 4.1.2.6) */
	bool common = name.n <= COMMON_NAME_MAX;
	return X509_set_issuer_name(x, X509_get_subject_name(ca->cert)) &&
	    (!common || X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8, (const unsigned char *)name.p, (int)name.n, -1, 0)) &&
	    add_alt_name(x, name, !common);
}

int
leaf_mint(const struct ca *ca, EVP_PKEY *leaf_key, struct str name, int64_t now, struct cert_record *r, char problem[256])
{
	static const int usage[] = { 0 /* digitalSignature */ };
	int64_t s = now / 1000, from = s - LEAF_DAYS_BACK * DAY, to = s + LEAF_DAYS * DAY;
	if (s >= ca->not_after)
		return ca_problem(problem, -ERR_CERTGEN, "the CA's certificate has expired");
	if (s < ca->not_before)
		return ca_problem(problem, -ERR_CERTGEN, "the CA's certificate is not valid yet");
	from = from < ca->not_before ? ca->not_before : from;
	to = to > ca->not_after ? ca->not_after : to;
	INVARIANT(name.n > 0 && name.n <= CERT_NAME_MAX);
	memset(r, 0, sizeof(*r));
	memcpy(r->name, name.p, name.n); /* with a NUL behind it: there is room for it */
	r->name_n = (uint16_t)name.n;

	X509 *x = X509_new();
	int n = -1;
	if (x && x509_begin(x, leaf_key, from, to) && set_names(x, ca, (struct str){ r->name, name.n }) && x509_add_constraints(x, false, -1) &&
	    x509_add_usage(x, usage, 1) && add_server_auth(x) && add_authority(x, ca->keyid) && X509_sign(x, ca->key, ca->digest) > 0)
		n = i2d_X509(x, NULL);
	if (n > 0 && n <= CERT_DER_MAX) {
		unsigned char *p = r->der;
		r->der_n = (uint16_t)i2d_X509(x, &p);
	}
	X509_free(x);
	if (n > CERT_DER_MAX)
		return ca_problem(problem, -ERR_CERTGEN, "the certificate would have %d bytes, more than %d: the CA's name or key is too large", n, CERT_DER_MAX);
	if (n <= 0) {
		char why[128];
		ERR_error_string_n(ERR_get_error(), why, sizeof(why));
		ERR_clear_error();
		return ca_problem(problem, -ERR_CERTGEN, "OpenSSL could not make it: %s", why);
	}
	r->minted_at = now;
	r->not_after = to * 1000;
	/* with a third left another is made, unless the CA ends so soon that it would be no better */
	r->refresh_at = to - s > 3 * DAY ? (s + (to - s) * 2 / 3) * 1000 : r->not_after;
	return 0;
}
