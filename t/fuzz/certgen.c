/* Any bytes as a request to certgen: what is taken is a name that is its own normal form, and mints a certificate for exactly that name. */
#include "../../certgen/leaf.h"
#include "../../common/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str name;
	struct cert_request again;
	char normal[CERT_NAME_MAX + 1];
	size_t normal_n;
	if (cert_request_parse(data, n, &name) == 0) {
		INVARIANT(name.n > 0 && name.n <= CERT_NAME_MAX && memchr(name.p, 0, name.n) == NULL);
		INVARIANT(cert_request_encode(name, &again) == n && memcmp(&again, data, n) == 0);
	}
	/* and as a host name from a ClientHello */
	if (leaf_name((struct str){ (const char *)data, n }, normal, &normal_n) == 0) {
		char twice[CERT_NAME_MAX + 1];
		size_t twice_n;
		INVARIANT(leaf_name((struct str){ normal, normal_n }, twice, &twice_n) == 0);
		INVARIANT(str_eq((struct str){ normal, normal_n }, (struct str){ twice, twice_n }));
	}
	return 0;
}
