/* What an origin says of its own certificate in the handshake: a stapled OCSP answer (RFC 6066 8, RFC 6960). One that is signed by who may
 * and says "revoked" is believed. Without one nothing is asked of anybody: a proxy would tell the CA who reads what, and wait for it. But a
 * certificate that says that it always comes with one (RFC 7633, must-staple) has to. */
#include "httpc_impl.h"
#include <openssl/ocsp.h>
#include <openssl/x509v3.h>

#define SKEW_S 300             /* by which clocks may differ */
#define STATUS_REQUEST 5       /* RFC 7633: the TLS extension that must be there */

enum staple { STAPLE_NONE, STAPLE_GOOD, STAPLE_REVOKED };

/* The id is made with the digest that the answer uses, so all of its entries are looked at. */
static enum staple
entry_of(OCSP_BASICRESP *basic, X509 *leaf, X509 *issuer)
{
	enum staple result = STAPLE_NONE;
	for (int i = 0; i < OCSP_resp_count(basic); i++) {
		OCSP_SINGLERESP *single = OCSP_resp_get0(basic, i);
		ASN1_OBJECT *digest = NULL;
		ASN1_GENERALIZEDTIME *from = NULL, *until = NULL;
		int why;
		OCSP_id_get0_info(NULL, &digest, NULL, NULL, (OCSP_CERTID *)(uintptr_t)OCSP_SINGLERESP_get0_id(single));
		OCSP_CERTID *id = OCSP_cert_to_id(EVP_get_digestbyobj(digest), leaf, issuer);
		if (id && OCSP_id_cmp(id, OCSP_SINGLERESP_get0_id(single)) == 0) {
			int status = OCSP_single_get0_status(single, &why, NULL, &from, &until);
			if (status == V_OCSP_CERTSTATUS_REVOKED)
				result = STAPLE_REVOKED; /* however old: nothing is ever taken back but a hold */
			else if (status == V_OCSP_CERTSTATUS_GOOD && result == STAPLE_NONE && OCSP_check_validity(from, until, SKEW_S, -1) == 1)
				result = STAPLE_GOOD;
		}
		OCSP_CERTID_free(id);
	}
	return result;
}

static enum staple
staple_of(struct httpc *e, SSL *ssl)
{
	const unsigned char *p = NULL;
	long n = SSL_get_tlsext_status_ocsp_resp(ssl, &p);
	STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
	enum staple result = STAPLE_NONE;
	if (!p || n <= 0 || !chain || sk_X509_num(chain) < 1)
		return STAPLE_NONE;
	X509 *leaf = sk_X509_value(chain, 0), *issuer = sk_X509_value(chain, sk_X509_num(chain) > 1 ? 1 : 0);
	OCSP_RESPONSE *answer = d2i_OCSP_RESPONSE(NULL, &p, n);
	OCSP_BASICRESP *basic = answer && OCSP_response_status(answer) == OCSP_RESPONSE_STATUS_SUCCESSFUL ? OCSP_response_get1_basic(answer) : NULL;
	if (basic && OCSP_basic_verify(basic, chain, e->store, 0) == 1)
		result = entry_of(basic, leaf, issuer);
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(answer);
	return result;
}

static bool
must_staple(const X509 *leaf)
{
	TLS_FEATURE *features = leaf ? X509_get_ext_d2i(leaf, NID_tlsfeature, NULL, NULL) : NULL;
	bool must = false;
	for (int i = 0; features && i < sk_ASN1_INTEGER_num(features); i++)
		must |= ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i)) == STATUS_REQUEST;
	TLS_FEATURE_free(features);
	return must;
}

/* arg: the transfer that shakes hands (it outlives that; later there is no renegotiation), NULL for httpc_connect. */
static int
status_cb(SSL *ssl, void *arg)
{
	struct xfer *x = arg;
	struct httpc *e = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	long why = X509_V_OK;
	if (SSL_session_reused(ssl)) /* the certificate was judged when the session began, and is not sent again */
		return 1;
	enum staple s = staple_of(e, ssl);
	if (s == STAPLE_REVOKED)
		why = X509_V_ERR_CERT_REVOKED;
	else if (s == STAPLE_NONE && must_staple(SSL_get0_peer_certificate(ssl)))
		why = X509_V_ERR_OCSP_VERIFY_NEEDED;
	if (why == X509_V_OK)
		return 1;
	SSL_set_verify_result(ssl, why);
	if (x)
		xfer_give_up(x, -ERR_ORIGIN_CERT, why == X509_V_ERR_CERT_REVOKED ? "SSL certificate problem: certificate revoked (the origin itself says so: stapled OCSP)" :
			"SSL certificate problem: the certificate must come with an OCSP answer, and there is none that is valid");
	return 0;
}

/* What both kinds of connections demand, whatever the system's openssl.cnf says. */
void
trust_demands(struct httpc *e, SSL_CTX *ctx, struct xfer *x)
{
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION); /* RFC 8996 */
	if (SSL_CTX_get_security_level(ctx) < SECURITY_LEVEL)
		SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	if (e->o.tls_skip_verify)
		return;
	SSL_CTX_set_app_data(ctx, (char *)e);
	SSL_CTX_set_tlsext_status_type(ctx, TLSEXT_STATUSTYPE_ocsp);
	SSL_CTX_set_tlsext_status_cb(ctx, status_cb);
	SSL_CTX_set_tlsext_status_arg(ctx, x);
}
