/* certgen.h - identities for intercepted hosts. certgen (a process of its own) alone holds the CA key; workers ask.
 * Leaves and their one P-256 key are kept in a table in shared memory, so each is minted once whatever worker asks, and all of them
 * outlive a certgen that died. */
#pragma once
#include "../common/str.h"
#include "../common/shm.h"
#include <openssl/ssl.h>
#include <signal.h>

#define CERTSTORE_SLOTS 4096  /* names kept; the least recently minted goes first */
struct certstore;             /* shared memory */
size_t certstore_size(void);
struct certstore *certstore_init(void *shm); /* before fork */

/* The CA: from a bundle (file or inline PEM: key + certificate + chain, in any order), or made at the first start below dir
 * (mitmproxy-ca.pem 0600: the key; mitmproxy-ca-cert.pem/.cer/.p12: what clients must trust). 0 or -ERR_X with problem in words. */
struct ca;
struct ca_options {
	const char *dir;            /* <state>/ca */
	const char *bundle;         /* PASSSAGE_MITM_CA: path or inline, NULL or "" none */
	const char *cert;           /* PASSSAGE_MITM_CA_CERT: path or inline, NULL or "" none */
};
/* Master, at start, before it has threads: makes or checks all, in a child process, so that the key never enters the master's memory
 * and by fork that of the workers. New files belong to dir's owner.
 * An inline bundle is in the memory of whoever has the setting. It is therefore also written to <dir>/CA_GIVEN_FILE (0600): before
 * forking, the master wipes its copy (environment and settings) and from then on gives that path as bundle. */
#define CA_GIVEN_FILE "given-ca.pem"
int ca_prepare(const struct ca_options *, char problem[256]);
int ca_load(const struct ca_options *, struct ca **, char problem[256]); /* certgen only, while it can still read files */
void ca_free(struct ca **);
/* What clients must trust (the root of the chain, as far as it is known), for onboarding: PEM, DER and PKCS#12 without a key and with an
 * empty password, malloc'ed. Reads only the public files that ca_prepare wrote: any process may call it. */
int ca_public(const struct ca_options *, struct str *pem, struct str *der, struct str *p12, char problem[256]);

/* Both ends of the way to certgen: sv[0] is certgen's, sv[1] is shared by all workers. The master makes it once and keeps both, so that
 * requests wait for a certgen that is being started again. 0 or -ERR_SYSTEM. */
int certgen_channel(int sv[2]);
/* The certgen process: answers on sock until *stop, all workers have closed their end, or the parent is gone: 0. Before the first request
 * it drops what it can: new privileges, core dumps, every file but sock and the log, and by seccomp every system call that would
 * open anything again (so the log cannot be reopened here: start certgen again instead, nothing is lost). Fork it from the master's main
 * thread, and after the last setuid: the kernel ties PR_SET_PDEATHSIG to the thread that forked, and forgets it with a change of user. */
int certgen_serve(struct ca *, struct certstore *, int sock, const _Atomic int *stop);

/* The workers' side: certificate, chain and key for a name or an IP address (no brackets). */
struct certgen_client;
struct certgen_client *certgen_connect(struct certstore *, int sock, unsigned cache); /* cache: names that this process keeps parsed */
void certgen_disconnect(struct certgen_client **);
/* 0: ssl got the certificate, chain and key for the host. Looks in this process's cache, then in the shared table, then asks certgen
 * (blocking, until deadline). -ERR_BAD_REQUEST: no host name that a certificate can be for; -ERR_CERTGEN; -ERR_TIMEOUT.
 * Thread-safe; a storm for one name asks once. A leaf that nears its end is served while a new one is asked for. */
int certgen_identify(struct certgen_client *, SSL *, struct str host, int64_t deadline);
/* Is it in the cache or the table, so that certgen_identify would not block? */
bool certgen_known(struct certgen_client *, struct str host);
unsigned certgen_cached(struct certgen_client *); /* how many names this process keeps parsed */
/* This process has the CA's key, or makes one that reads it: no core dump, and no look into it by others of its user. false: as it was before. */
void certgen_secret(bool has);
