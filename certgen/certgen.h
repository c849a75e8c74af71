/* certgen.h - identities for intercepted hosts. certgen (a process of its own) alone holds the CA key; workers ask.
 * Leaves and their one P-256 key are kept in a table in shared memory, so each is minted once whatever worker asks, and all of them
 * outlive a certgen that died. */
#pragma once
#include "../common/str.h"
#include "../common/shm.h"
#include <openssl/ssl.h>

#define CERTSTORE_SLOTS 4096  /* names kept; the least recently minted goes first */
struct certstore;             /* shared memory */
size_t certstore_size(void);
struct certstore *certstore_init(void *shm); /* before fork */

/* The CA: from a bundle (file or inline PEM: key + certificate + chain), or made at the first start below dir
 * (mitmproxy-ca.pem 0600, mitmproxy-ca-cert.pem/.cer/.p12). 0 or -ERR_X with problem in words. */
struct ca;
struct ca_options {
	const char *dir;            /* <state>/ca */
	const char *bundle;         /* PASSSAGE_MITM_CA: path or inline, NULL none */
	const char *cert;           /* PASSSAGE_MITM_CA_CERT: path or inline, NULL none */
};
int ca_prepare(const struct ca_options *, char problem[256]);  /* master, at start: make or check the files; the key does not stay in memory */
int ca_load(const struct ca_options *, struct ca **, char problem[256]); /* certgen only */
void ca_free(struct ca **);
/* The CA certificate (and chain) for onboarding, without the key: PEM, DER and PKCS#12, malloc'ed. */
int ca_public(const struct ca_options *, struct str *pem, struct str *der, struct str *p12, char problem[256]);

/* The certgen process: answers on sock (SOCK_SEQPACKET, one for all workers, see ask) until it is closed. Never returns an error
 * to the host but its text. Drops what it can (no new privileges, no network, no files) before the first request. */
int certgen_serve(struct ca *, struct certstore *, int sock);

/* The workers' side. identity: certificate chain and key for a name or IP address (lower case). */
struct certgen_client;
struct certgen_client *certgen_connect(struct certstore *, int sock, unsigned cache);
/* 0: ssl got the certificate, chain and key for the host. Looks in this process's cache, then in the shared table, then asks certgen
 * (blocking, until deadline). -ERR_CERTGEN, -ERR_TIMEOUT. Thread-safe; a storm for one name asks once. */
int certgen_identify(struct certgen_client *, SSL *, struct str host, int64_t deadline);
/* Is it in the cache or the table, so that certgen_identify would not block? */
bool certgen_known(struct certgen_client *, struct str host);
