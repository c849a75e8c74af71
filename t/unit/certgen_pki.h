/* certgen_pki.h - certificates of all kinds for the tests of certgen/, made at run time: none is in the repository, none expires. */
#pragma once
#include "../../certgen/leaf.h"
#include "../../common/arena.h"
#include "../../common/clock.h"
#include "../../common/err.h"
#include "tap.h"
#include <dirent.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#define DAY 86400

static inline EVP_PKEY *
pki_key(const char *kind)
{
	return strncmp(kind, "RSA-", 4) == 0 ? EVP_RSA_gen((unsigned)strtoul(kind + 4, NULL, 10)) : EVP_EC_gen(kind);
}

/* issuer NULL: self-signed. A CA when ca. from, to: seconds from now. */
static inline X509 *
pki_cert(const char *cn, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, bool ca, int64_t from, int64_t to)
{
	static const int usage[] = { 5, 6 };
	X509 *x = X509_new();
	int64_t now = clock_wall() / 1000;
	x509_begin(x, key, now + from, now + to);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
	if (issuer) {
		AUTHORITY_KEYID *aki = AUTHORITY_KEYID_new();
		aki->keyid = ASN1_OCTET_STRING_dup(X509_get0_subject_key_id(issuer));
		X509_add1_ext_i2d(x, NID_authority_key_identifier, aki, 0, 0);
		AUTHORITY_KEYID_free(aki);
	}
	x509_add_constraints(x, ca, -1);
	if (ca)
		x509_add_usage(x, usage, 2);
	X509_sign(x, issuer ? issuer_key : key, EVP_sha256());
	return x;
}

/* PEM of anything, appended to a text that the caller frees. */
static inline void
pki_append(struct str *text, EVP_PKEY *key, const char *passphrase, X509 *cert)
{
	BIO *b = BIO_new(BIO_s_mem());
	char *p;
	if (key)
		PEM_write_bio_PKCS8PrivateKey(b, key, passphrase ? EVP_aes_128_cbc() : NULL, NULL, 0, NULL, (void *)(uintptr_t)passphrase);
	if (cert)
		PEM_write_bio_X509(b, cert);
	size_t n = (size_t)BIO_get_mem_data(b, &p);
	char *all = xrealloc((char *)text->p, text->n + n + 1);
	memcpy(all + text->n, p, n);
	all[text->n + n] = 0;
	*text = (struct str){ all, text->n + n };
	BIO_free(b);
}

static inline char *
pki_folder(void)
{
	static char path[64];
	snprintf(path, sizeof(path), "/tmp/certgen-test-XXXXXX");
	return mkdtemp(path);
}

static inline void
pki_remove(const char *folder)
{
	DIR *d = opendir(folder);
	for (struct dirent *e; d && (e = readdir(d));)
		unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	rmdir(folder);
}

/* As the strictest clients do: strict RFC 5280, the name or address, for TLS servers. X509_V_OK or the error. */
static inline int
pki_verify(X509 *leaf, STACK_OF(X509) *chain, X509 *anchor, const char *host, bool ip)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509_STORE_add_cert(store, anchor);
	X509_STORE_set_flags(store, X509_V_FLAG_X509_STRICT);
	X509_STORE_CTX_init(ctx, store, leaf, chain);
	X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER);
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
	if (ip)
		X509_VERIFY_PARAM_set1_ip_asc(param, host);
	else
		X509_VERIFY_PARAM_set1_host(param, host, 0);
	int r = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return r;
}
