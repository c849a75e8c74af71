/* leaf.h - X.509 as this proxy writes it (RFC 5280). Values are built from typed structures, never from OpenSSL's configuration
 * strings, so a host name cannot turn into something else on its way into a certificate. Private to certgen/. */
#pragma once
#include "ca.h"
#include "certstore.h"

/* The host as it stands in a certificate: lower case, without trailing dot, an IP address in its canonical text. 0, or -ERR_BAD_REQUEST
 * for what is neither a host name (RFC 1123, and "_", which exists) nor an address. Pure; out gets a NUL. */
int leaf_name(struct str host, char out[CERT_NAME_MAX + 1], size_t *n);

EVP_PKEY *leaf_key_new(void); /* P-256 */
/* Mints: fills in name, der, minted_at, refresh_at, not_after. -ERR_CERTGEN with problem in words. now: ms since the epoch. */
int leaf_mint(const struct ca *, EVP_PKEY *leaf_key, struct str name, int64_t now, struct cert_record *, char problem[256]);

/* Parts that the CA's own certificate shares (ca_files.c). false when OpenSSL has no memory or no entropy. */
bool x509_begin(X509 *, EVP_PKEY *, int64_t not_before, int64_t not_after); /* version, serial, validity, key, subject key id */
bool x509_add_usage(X509 *, const int *bits, size_t n);                     /* keyUsage, critical */
bool x509_add_constraints(X509 *, bool is_ca, int pathlen);                 /* basicConstraints, critical; pathlen < 0: none */
