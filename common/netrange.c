/* netrange.c - see netrange.h */
#include "netrange.h"
#include <arpa/inet.h>
#include <string.h>

static const struct in6_addr mapped = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

bool
address_parse(struct str s, struct in6_addr *out)
{
	char text[INET6_ADDRSTRLEN];
	if (!s.n || s.n >= sizeof(text))
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = 0;
	*out = mapped;
	return inet_pton(AF_INET, text, out->s6_addr + 12) == 1 || inet_pton(AF_INET6, text, out) == 1;
}

void
address_of(const struct sockaddr_storage *sa, struct in6_addr *out)
{
	*out = in6addr_any;
	if (sa->ss_family == AF_INET) {
		*out = mapped;
		memcpy(out->s6_addr + 12, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
	} else if (sa->ss_family == AF_INET6) {
		*out = ((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
	}
}

const char *
address_text(const struct in6_addr *a, char out[INET6_ADDRSTRLEN])
{
	bool v4 = IN6_IS_ADDR_V4MAPPED(a);
	return inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? (const void *)(a->s6_addr + 12) : a, out, INET6_ADDRSTRLEN);
}

static bool
bit(const struct in6_addr *a, unsigned i)
{
	return a->s6_addr[i / 8] >> (7 - i % 8) & 1;
}

bool
netrange_parse(struct str s, struct netrange *r)
{
	struct str address = str_cut(&s, '/');
	bool is_v4 = !str_has(address, STR(":"));
	uint64_t bits;
	if (!address_parse(address, &r->net))
		return false;
	r->bits = 128;
	if (s.p) {
		if (!str_u64(s, is_v4 ? 32 : 128, &bits))
			return false;
		r->bits = (unsigned)bits + (is_v4 ? 96 : 0);
	}
	for (unsigned i = r->bits; i < 128; i++)
		if (bit(&r->net, i))
			return false;
	return true;
}

bool
netrange_has(const struct netrange *r, const struct in6_addr *a)
{
	if (IN6_IS_ADDR_UNSPECIFIED(a) || memcmp(&r->net, a, r->bits / 8))
		return false;
	return r->bits % 8 == 0 || (r->net.s6_addr[r->bits / 8] ^ a->s6_addr[r->bits / 8]) >> (8 - r->bits % 8) == 0;
}
