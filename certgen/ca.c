/* ca.c - the CA from PEM text: finds key, certificate and chain in it, and says in words when they do not make a CA. */
#include "ca.h"
#include "leaf.h"
#include "../common/clock.h"
#include "../common/err.h"
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>

#define CERTS_MAX 16 /* in a bundle: chains have 2 to 4 */

int
ca_problem(char problem[256], int r, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(problem, 256, fmt, ap);
	va_end(ap);
	return r;
}

int64_t
asn1_seconds(const ASN1_TIME *t)
{
	struct tm tm;
	return ASN1_TIME_to_tm(t, &tm) ? (int64_t)timegm(&tm) : INT64_MIN;
}

/* What the PEM texts held. */
struct found {
	EVP_PKEY *key;
	STACK_OF(X509) *certs;
	bool encrypted;
};

/* One PEM block. Blocks of other kinds (EC PARAMETERS, DH PARAMETERS, CRLs) are not for us. 0 or -ERR_CORRUPT. */
static int
take_block(struct found *f, const char *kind, const char *header, const unsigned char *data, long n)
{
	bool trusted = strcmp(kind, PEM_STRING_X509_TRUSTED) == 0;
	if (trusted || strcmp(kind, PEM_STRING_X509) == 0 || strcmp(kind, PEM_STRING_X509_OLD) == 0) {
		X509 *x = trusted ? d2i_X509_AUX(NULL, &data, n) : d2i_X509(NULL, &data, n);
		if (!x || sk_X509_num(f->certs) >= CERTS_MAX || !sk_X509_push(f->certs, x)) {
			X509_free(x);
			return -ERR_CORRUPT;
		}
		return 0;
	}
	if (strcmp(kind, PEM_STRING_PKCS8) == 0 || strstr(header, "ENCRYPTED")) {
		f->encrypted = true;
		return 0;
	}
	if (!f->key && (strcmp(kind, PEM_STRING_PKCS8INF) == 0 || strcmp(kind, PEM_STRING_RSA) == 0 || strcmp(kind, PEM_STRING_ECPRIVATEKEY) == 0))
		return (f->key = d2i_AutoPrivateKey(NULL, &data, n)) ? 0 : -ERR_CORRUPT;
	return 0;
}

static int
read_pem(struct found *f, struct str text)
{
	BIO *bio = text.n ? BIO_new_mem_buf(text.p, (int)text.n) : NULL;
	char *kind, *header;
	unsigned char *data;
	long n;
	int r = 0;
	ERR_clear_error(); /* what others left there is not ours */
	while (bio && r == 0 && PEM_read_bio(bio, &kind, &header, &data, &n) == 1) {
		r = take_block(f, kind, header, data, n);
		OPENSSL_free(kind);
		OPENSSL_free(header);
		OPENSSL_clear_free(data, (size_t)n);
	}
	BIO_free(bio);
	unsigned long e = ERR_peek_last_error();
	if (r == 0 && e && !(ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE))
		r = -ERR_CORRUPT; /* a block that began, and was broken */
	ERR_clear_error();
	return r;
}

static int
check_key(EVP_PKEY *key, const EVP_MD **digest, const char *name, char problem[256])
{
	char group[64] = "";
	if (EVP_PKEY_is_a(key, "RSA")) {
		if (EVP_PKEY_get_bits(key) < 2048)
			return ca_problem(problem, -ERR_SETTING, "%s: the RSA key has only %d bits, today's clients want 2048", name, EVP_PKEY_get_bits(key));
		*digest = EVP_sha256();
		return 0;
	}
	if (EVP_PKEY_is_a(key, "EC"))
		EVP_PKEY_get_group_name(key, group, sizeof(group), NULL);
	*digest = !strcmp(group, "prime256v1") ? EVP_sha256() : !strcmp(group, "secp384r1") ? EVP_sha384() : !strcmp(group, "secp521r1") ? EVP_sha512() : NULL;
	if (!*digest)
		return ca_problem(problem, -ERR_SETTING, "%s: the key must be RSA or ECDSA on P-256, P-384 or P-521", name);
	return 0;
}

/* The certificate of the key: one that is valid now, when there are more of them (renewed, cross-signed). */
static X509 *
choose_cert(const struct found *f, int64_t now)
{
	X509 *best = NULL;
	for (int i = 0; i < sk_X509_num(f->certs); i++) {
		X509 *x = sk_X509_value(f->certs, i);
		if (X509_check_private_key(x, f->key) == 1 &&
		    (!best || (asn1_seconds(X509_get0_notAfter(best)) <= now && asn1_seconds(X509_get0_notAfter(x)) > now)))
			best = x;
	}
	ERR_clear_error();
	return best;
}

static bool
self_signed(X509 *x)
{
	return X509_self_signed(x, 0) == 1;
}

/* From the CA upwards. Root or not, the last one found is what clients trust; a root itself is not sent (RFC 8446 4.4.2), they have it. */
static void
build_chain(struct ca *ca, const struct found *f)
{
	X509 *top = ca->cert;
	for (int n = 0; n < CERTS_MAX; n++) { /* bounded: certificates may sign each other in a ring */
		X509 *up = NULL;
		if (self_signed(top))
			break;
		X509_up_ref(top);
		sk_X509_push(ca->chain, top);
		for (int i = 0; i < sk_X509_num(f->certs) && !up; i++) {
			X509 *x = sk_X509_value(f->certs, i);
			if (x != top && X509_check_issued(x, top) == X509_V_OK && X509_verify(top, X509_get0_pubkey(x)) == 1)
				up = x;
		}
		if (!up)
			break;
		top = up;
	}
	ERR_clear_error();
	X509_up_ref(top);
	ca->anchor = top;
}

static int
check_cert(struct ca *ca, int64_t now, const char *name, char problem[256])
{
	char subject[100];
	X509_NAME_oneline(X509_get_subject_name(ca->cert), subject, sizeof(subject));
	uint32_t usage = X509_get_key_usage(ca->cert), extended = X509_get_extended_key_usage(ca->cert);
	ca->not_before = asn1_seconds(X509_get0_notBefore(ca->cert));
	ca->not_after = asn1_seconds(X509_get0_notAfter(ca->cert));
	if (X509_check_ca(ca->cert) != 1)
		return ca_problem(problem, -ERR_SETTING, "%s: the certificate %s is not a CA's (no basicConstraints with CA:TRUE)", name, subject);
	if (!(usage & KU_KEY_CERT_SIGN))
		return ca_problem(problem, -ERR_SETTING, "%s: the certificate %s may not sign others (keyUsage without keyCertSign)", name, subject);
	if (extended != UINT32_MAX && !(extended & (XKU_SSL_SERVER | XKU_ANYEKU)))
		return ca_problem(problem, -ERR_SETTING, "%s: the certificate %s is not for TLS servers (extendedKeyUsage)", name, subject);
	if (X509_NAME_entry_count(X509_get_subject_name(ca->cert)) == 0)
		return ca_problem(problem, -ERR_SETTING, "%s: the CA's certificate has no subject name", name);
	for (int i = -1; i < sk_X509_num(ca->chain); i++) { /* all that is sent, too: a link that has expired breaks it */
		X509 *x = i < 0 ? ca->cert : sk_X509_value(ca->chain, i);
		int64_t from = asn1_seconds(X509_get0_notBefore(x)), to = asn1_seconds(X509_get0_notAfter(x));
		X509_NAME_oneline(X509_get_subject_name(x), subject, sizeof(subject));
		if (from == INT64_MIN || to == INT64_MIN)
			return ca_problem(problem, -ERR_SETTING, "%s: the certificate %s has dates that are none", name, subject);
		if (now >= to)
			return ca_problem(problem, -ERR_SETTING, "%s: the certificate %s has expired", name, subject);
		if (now < from)
			return ca_problem(problem, -ERR_SETTING, "%s: the certificate %s is not valid yet (is the clock right?)", name, subject);
	}
	return 0;
}

/* The leaves name the CA's key as the CA names it, and by its digest when it does not (RFC 5280 4.2.1.1). */
static bool
find_keyid(struct ca *ca)
{
	const ASN1_OCTET_STRING *own = X509_get0_subject_key_id(ca->cert);
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n;
	if (own)
		return (ca->keyid = ASN1_OCTET_STRING_dup(own)) != NULL;
	return (ca->keyid = ASN1_OCTET_STRING_new()) && X509_pubkey_digest(ca->cert, EVP_sha1(), md, &n) && ASN1_OCTET_STRING_set(ca->keyid, md, (int)n);
}

/* The proof: mints a leaf and verifies it as a client would. Also the first use of all that certgen needs of OpenSSL, before it may no
 * longer open files. */
static int
try_out(struct ca *ca, const char *name, char problem[256])
{
	struct cert_record rec;
	char why[256];
	EVP_PKEY *key = leaf_key_new();
	int r = key ? leaf_mint(ca, key, STR("name.test"), clock_wall(), &rec, why) : ca_problem(why, -ERR_CERTGEN, "no key could be made");
	EVP_PKEY_free(key);
	if (r < 0)
		return ca_problem(problem, r, "%s: a first certificate could not be made: %.180s", name, why);
	const unsigned char *p = rec.der;
	X509 *leaf = d2i_X509(NULL, &p, rec.der_n);
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	int e = X509_V_ERR_OUT_OF_MEM;
	if (leaf && store && ctx && X509_STORE_add_cert(store, ca->anchor) &&
	    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) && /* when the root is not in the bundle */
	    X509_STORE_CTX_init(ctx, store, leaf, ca->chain)) {
		X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER);
		e = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
	}
	/* a CA for some names only is a sensible CA: the leaves of other names do not verify, as its owner wants it */
	if (e == X509_V_ERR_PERMITTED_VIOLATION || e == X509_V_ERR_EXCLUDED_VIOLATION)
		e = X509_V_OK;
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	X509_free(leaf);
	ERR_clear_error();
	if (e != X509_V_OK)
		return ca_problem(problem, -ERR_SETTING, "%s: clients would not accept its certificates: %s", name, X509_verify_cert_error_string(e));
	return 0;
}

static int
assemble(struct ca *ca, struct found *f, const char *name, char problem[256])
{
	int64_t now = clock_wall() / 1000;
	if (!f->key && f->encrypted)
		return ca_problem(problem, -ERR_SETTING, "%s: the key is encrypted; give it without a passphrase (openssl pkey)", name);
	if (!f->key)
		return ca_problem(problem, -ERR_SETTING, "%s: there is no private key in it", name);
	if (sk_X509_num(f->certs) == 0)
		return ca_problem(problem, -ERR_SETTING, "%s: there is no certificate in it", name);
	ca->cert = choose_cert(f, now);
	ca->key = f->key;
	f->key = NULL;
	if (!ca->cert)
		return ca_problem(problem, -ERR_SETTING, "%s: the key does not match the certificate", name);
	X509_up_ref(ca->cert);
	int r = check_key(ca->key, &ca->digest, name, problem);
	if (r < 0)
		return r;
	if (!(ca->chain = sk_X509_new_null()) || !find_keyid(ca))
		return ca_problem(problem, -ERR_NO_MEMORY, "%s: out of memory", name);
	build_chain(ca, f);
	int bytes = 0;
	for (int i = 0; i < sk_X509_num(ca->chain); i++)
		bytes += i2d_X509(sk_X509_value(ca->chain, i), NULL);
	if (bytes > CERT_CHAIN_MAX)
		return ca_problem(problem, -ERR_SETTING, "%s: the chain has %d bytes, more than %d", name, bytes, CERT_CHAIN_MAX);
	r = check_cert(ca, now, name, problem);
	return r < 0 ? r : try_out(ca, name, problem);
}

int
ca_read(struct str keyed, struct str certs, const char *name, struct ca **out, char problem[256])
{
	struct found f = { .certs = sk_X509_new_null() };
	struct ca *ca = OPENSSL_zalloc(sizeof(*ca));
	int r = -ERR_NO_MEMORY;
	*out = NULL;
	problem[0] = 0;
	if (ca && f.certs) {
		r = read_pem(&f, certs); /* first: the certificate that was given for itself comes before the bundle's */
		if (r == 0)
			r = read_pem(&f, keyed);
		if (r < 0)
			ca_problem(problem, r = -ERR_SETTING, "%s: a broken PEM block, or more than %d certificates", name, CERTS_MAX);
		else
			r = assemble(ca, &f, name, problem);
	}
	EVP_PKEY_free(f.key);
	sk_X509_pop_free(f.certs, X509_free);
	if (r < 0)
		ca_free(&ca);
	*out = ca;
	return r;
}

void
ca_free(struct ca **p)
{
	struct ca *ca = *p;
	*p = NULL;
	if (!ca)
		return;
	EVP_PKEY_free(ca->key); /* wipes it */
	X509_free(ca->cert);
	X509_free(ca->anchor);
	sk_X509_pop_free(ca->chain, X509_free);
	ASN1_OCTET_STRING_free(ca->keyid);
	OPENSSL_free(ca);
}
