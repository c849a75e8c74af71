/* netrange.h - addresses, and ranges of them as in 10.1.0.0/16, 2001:db8::/32, 192.0.2.7. IPv4 is kept as IPv4-mapped IPv6 (RFC 4291 2.5.5.2), so
 * that both are compared alike. */
#pragma once
#include "../common/str.h"
#include <netinet/in.h>
#include <sys/socket.h>

bool address_parse(struct str, struct in6_addr *);                     /* without brackets and zone */
void address_of(const struct sockaddr_storage *, struct in6_addr *);   /* ::, not known, when it is of another family */
const char *address_text(const struct in6_addr *, char out[INET6_ADDRSTRLEN]); /* out: 192.0.2.7, 2001:db8::1 */

struct netrange { struct in6_addr net; unsigned bits; };
bool netrange_parse(struct str, struct netrange *); /* bits behind the mask must be 0: 10.1.2.3/8 is most likely a mistake */
bool netrange_has(const struct netrange *, const struct in6_addr *); /* :: (not known) is in none */
