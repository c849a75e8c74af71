/* ca.h - the CA inside certgen: key, certificate and what is sent with each leaf. Private to certgen/. */
#pragma once
#include "certgen.h"

struct ca {
	EVP_PKEY *key;
	X509 *cert;               /* whose key it is: the issuer of every leaf */
	X509 *anchor;             /* what clients trust: the top of the chain, cert itself when it is self-signed */
	STACK_OF(X509) *chain;    /* sent behind the leaf: cert and what is above it, without a self-signed root */
	const EVP_MD *digest;     /* as strong as the key (RFC 5758, RFC 8603) */
	ASN1_OCTET_STRING *keyid; /* for the leaves' authorityKeyIdentifier */
	int64_t not_before, not_after; /* seconds since the epoch */
};

#define CA_KEY_FILE "mitmproxy-ca.pem"       /* the names that mitmproxy's users know (behaviour.md 2.11) */
#define CA_CERT_FILE "mitmproxy-ca-cert"     /* .pem, .cer, .p12 */
#define CA_FILE_MAX (256 * 1024)             /* a key and a dozen certificates are some 30 KiB */

/* Finds key, certificate and chain in PEM texts and checks that they make a CA. name: where it came from, for the problem. */
int ca_read(struct str keyed, struct str certs, const char *name, struct ca **, char problem[256]);
int ca_problem(char problem[256], int r, const char *fmt, ...) __attribute__((format(printf, 3, 4))); /* returns r */
int64_t asn1_seconds(const ASN1_TIME *);     /* since the epoch; INT64_MIN when it is no time */
