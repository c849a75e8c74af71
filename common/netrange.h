/* netrange.h - ranges of addresses, as in 10.1.0.0/16, 2001:db8::/32, 192.0.2.7. IPv4 is looked at as IPv4-mapped IPv6. */
#pragma once
#include "../common/str.h"
#include <netinet/in.h>

struct netrange { struct in6_addr net; unsigned bits; };
bool netrange_parse(struct str, struct netrange *); /* bits behind the mask must be 0: 10.1.2.3/8 is most likely a mistake */
bool netrange_has(const struct netrange *, const struct in6_addr *); /* :: (not known) is in none */
