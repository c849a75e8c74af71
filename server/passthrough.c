/* passthrough.c - see passthrough.h */
#include "passthrough.h"
#include "../common/netrange.h"

/* In brackets or without. */
static bool address_in(struct str s, struct in6_addr *a)
{
	if (s.n >= 2 && s.p[0] == '[' && s.p[s.n - 1] == ']')
		s = str_upto(str_from(s, 1), s.n - 2);
	return address_parse(s, a);
}

/* Unlike in netrange_parse bits behind the mask may be anything: it was always so. *whole: one address alone. */
static bool network_of(struct str pattern, struct netrange *range, bool *whole)
{
	struct str bits_text = pattern, net_text = str_cut(&bits_text, '/');
	const bool v4 = !str_has(net_text, STR(":"));
	uint64_t bits;
	range->bits = 128;
	*whole = net_text.n == pattern.n;
	if (!address_in(net_text, &range->net) || (!*whole && !str_u64(bits_text, v4 ? 32 : 128, &bits)))
		return false;
	if (!*whole)
		range->bits = (unsigned)bits + (v4 ? 96 : 0);
	return true;
}

static bool address_matches(struct str pattern, const struct in6_addr *host)
{
	struct netrange range;
	bool whole;
	return network_of(pattern, &range, &whole) && netrange_has(&range, host);
}

bool passthrough_network(struct str pattern)
{
	struct netrange range;
	bool whole;
	return network_of(pattern, &range, &whole) && !whole;
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
	struct in6_addr a;
	bool is_address = address_in(host, &a);
	if (host.n > 1 && host.p[host.n - 1] == '.') /* the root's dot: the same host */
		host.n--;
	for (unsigned i = 0; i < patterns->n; i++) {
		struct str p = str_c(patterns->v[i]);
		if (is_address ? str_eq(p, STR("*")) || address_matches(p, &a) : name_matches(p, host))
			return true;
	}
	return false;
}
