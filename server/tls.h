/* tls.h - TLS with clients: one SSL_CTX a worker; the certificate is chosen by SNI (certgen/), tickets are good at every worker. */
#pragma once
#include <openssl/ssl.h>
struct worker;
struct conn;
SSL_CTX *tls_context(struct worker *);
SSL *tls_accept(struct conn *);   /* a new SSL on the connection's socket; NULL when there is no memory */
/* 1 done, 0 wants to read, -ERR_CLIENT_TLS. May block for a certificate. */
int tls_handshake(struct conn *);
void tickets_init(void);          /* master: new keys */
void tickets_rotate(void);        /* master */
