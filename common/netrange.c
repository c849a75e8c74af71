/* netrange.c - see netrange.h */
#include "netrange.h"
#include <arpa/inet.h>
#include <string.h>

static bool
bit(const struct in6_addr *a, unsigned i)
{
	return a->s6_addr[i / 8] >> (7 - i % 8) & 1;
}

bool
netrange_parse(struct str s, struct netrange *r)
{
	char text[INET6_ADDRSTRLEN];
	struct str address = str_cut(&s, '/');
	struct in_addr v4;
	uint64_t bits;
	if (!address.n || address.n >= sizeof(text))
		return false;
	memcpy(text, address.p, address.n);
	text[address.n] = 0;
	bool is_v4 = inet_pton(AF_INET, text, &v4) == 1;
	if (is_v4) {
		r->net = (struct in6_addr){ .s6_addr = { [10] = 0xff, [11] = 0xff } };
		memcpy(r->net.s6_addr + 12, &v4, 4);
	} else if (inet_pton(AF_INET6, text, &r->net) != 1) {
		return false;
	}
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
