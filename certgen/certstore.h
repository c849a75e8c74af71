/* certstore.h - what certgen and the workers share: the table of minted leaves, and the one message between them. Private to certgen/.
 *
 * Only certgen writes; readers take no lock: each record is a seqlock over relaxed words, and a reader that meets a half-written record
 * sees nothing there. A false miss costs a message to certgen, which looks again before it mints. So no process that dies,
 * wherever it is, can block another. */
#pragma once
#include "certgen.h"

#define CERT_NAME_MAX 253       /* RFC 1035 2.3.4, in text */
#define CERT_DER_MAX 2048       /* a leaf is some 600 bytes; an RSA-4096 signature adds 440, a long name twice 250 */
#define CERT_CHAIN_MAX (15 * 1024) /* what is sent behind a leaf: at most a few certificates of 1 to 2 KiB */
#define CERTSTORE_FAILURES 64   /* names that could not be minted, remembered apart so that they push no good one out */
#define CERT_FAILURE_MS 5000    /* such a name is not tried again for so long */

/* A minted leaf, or why there is none. */
struct cert_record {
	int64_t minted_at, refresh_at, not_after; /* ms since the epoch; for a failure not_after is when to try again */
	uint32_t failed;                          /* 0, or an ERR_X */
	uint16_t name_n, der_n;
	char name[CERT_NAME_MAX + 3];
	uint8_t der[CERT_DER_MAX];
};

/* What all leaves have in common. */
struct cert_identity {
	uint8_t ca[32];        /* SHA-256 of the CA's certificate: another CA makes the table worthless */
	uint32_t key_n, chain_n;
	uint8_t key[256];      /* the leaves' private key, DER: 138 bytes for P-256. Never the CA's */
	uint8_t chain[CERT_CHAIN_MAX]; /* certificates to send behind the leaf, DER one after the other */
};

/* Readers. The generation is 0 before certgen has published an identity, and changes with it. */
uint32_t certstore_generation(const struct certstore *);
uint32_t certstore_identity(const struct certstore *, struct cert_identity *); /* its generation, 0: none */
int certstore_find(const struct certstore *, struct str name, int64_t now, struct cert_record *); /* what holds now: 0, -ERR_NOT_FOUND */
shm_event *certstore_event(struct certstore *, struct str name); /* bumped when something happened to the name (or to one like it) */
uint64_t certstore_minted(const struct certstore *);

/* certgen alone. */
void certstore_recover(struct certstore *);  /* at start: what the last certgen left half-written goes */
void certstore_publish_identity(struct certstore *, const struct cert_identity *); /* forgets all leaves */
void certstore_publish(struct certstore *, const struct cert_record *); /* replaces the name's old record, and wakes */

/* The request: one datagram. A newer version is refused, so old and new processes never misread each other. */
#define CERT_REQUEST_VERSION 1
struct cert_request {
	uint8_t version;
	uint8_t name_n;        /* 1 to CERT_NAME_MAX */
	char name[CERT_NAME_MAX];
};
size_t cert_request_encode(struct str name, struct cert_request *); /* its length on the wire */
int cert_request_parse(const void *, size_t, struct str *name);     /* a view; 0 or -ERR_BAD_REQUEST: not exactly a request for a normal name */
