/* passthrough.h - which hosts --tls-passthrough keeps closed. Pure. */
#pragma once
#include "../common/settings.h"

/* Patterns, letter case aside: a name is that host alone; "*.suffix" and ".suffix" are all hosts below suffix, not itself; "*" is every
 * host; an address is that address however it is written; address/bits is a network (IPv4 or IPv6). */
bool passthrough_matches(const struct str_list *patterns, struct str host);
bool passthrough_network(struct str pattern); /* is it address/bits? */
