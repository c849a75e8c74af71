/* passthrough.c - see passthrough.h */
#include "passthrough.h"
#include <arpa/inet.h>
#include <string.h>

struct address { uint8_t b[16]; };  /* IPv4 as its mapped IPv6, so that both are compared alike */

static bool address_parse(struct str s, struct address *a, bool *v4)
{
	char text[INET6_ADDRSTRLEN];
	if (s.n >= 2 && s.p[0] == '[' && s.p[s.n - 1] == ']')
		s = str_upto(str_from(s, 1), s.n - 2);
	if (s.n == 0 || s.n >= sizeof text)
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = 0;
	*a = (struct address){ .b = { [10] = 0xff, [11] = 0xff } };
	*v4 = inet_pton(AF_INET, text, a->b + 12) == 1;
	return *v4 || inet_pton(AF_INET6, text, a->b) == 1;
}

static bool same_bits(const struct address *a, const struct address *b, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;
	if (memcmp(a->b, b->b, whole) != 0)
		return false;
	return rest == 0 || (a->b[whole] ^ b->b[whole]) >> (8 - rest) == 0;
}

static bool address_matches(struct str pattern, const struct address *host)
{
	struct address net;
	struct str bits_text = pattern, net_text = str_cut(&bits_text, '/');
	uint64_t bits;
	bool v4;
	if (!address_parse(net_text, &net, &v4))
		return false;
	if (net_text.n == pattern.n)
		return same_bits(&net, host, 128);
	return str_u64(bits_text, v4 ? 32 : 128, &bits) && same_bits(&net, host, (unsigned)bits + (v4 ? 96 : 0));
}

bool passthrough_network(struct str pattern)
{
	struct address net;
	struct str bits_text = pattern, net_text = str_cut(&bits_text, '/');
	uint64_t bits;
	bool v4;
	return net_text.n < pattern.n && address_parse(net_text, &net, &v4) && str_u64(bits_text, v4 ? 32 : 128, &bits);
}

static bool name_matches(struct str pattern, struct str host)
{
	if (str_eq(pattern, STR("*")))
		return true;
	if (str_starts(pattern, STR("*.")))
		pattern = str_from(pattern, 1);
	if (str_starts(pattern, STR(".")))
		return host.n > pattern.n && str_caseends(host, pattern);
	return pattern.n > 0 && str_caseeq(host, pattern);
}

bool passthrough_matches(const struct str_list *patterns, struct str host)
{
	struct address a;
	bool v4, is_address = address_parse(host, &a, &v4);
	if (host.n > 1 && host.p[host.n - 1] == '.') /* the root's dot: the same host */
		host.n--;
	for (unsigned i = 0; i < patterns->n; i++) {
		struct str p = str_c(patterns->v[i]);
		if (is_address ? str_eq(p, STR("*")) || address_matches(p, &a) : name_matches(p, host))
			return true;
	}
	return false;
}
