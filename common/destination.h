/* destination.h - which addresses an origin may have. Judged on the address that is about to be connected to (or that a kept connection has),
 * never on a name: a name can say one thing when it is looked at and another when it is dialled. Pure, thread-safe. */
#pragma once
#include <sys/socket.h>
#include "settings.h"

/* What a client may reach. deny NULL: everything; for S3 and Elasticsearch, which the operator names. It must outlive the transfer (those of
 * conf() always do). */
struct destinations {
	const struct range_list *deny;
	bool loopback;              /* this machine's own addresses, 127.0.0.0/8 and ::1 (and 0.0.0.0, ::, which lead there) */
};
bool address_is_loopback(const struct in6_addr *); /* IPv4 mapped */
/* NULL: it may. Otherwise which setting says no: "--deny-destinations". An IPv4 address inside one of IPv6 (mapped, compatible, NAT64 of RFC 6052,
 * 6to4 of RFC 3056) counts as itself, too: it is where the packets go in the end. */
const char *destination_refused(const struct destinations *, const struct in6_addr *);
const char *destination_refused_sockaddr(const struct destinations *, const struct sockaddr *); /* other families: NULL */
/* The same for a host that is an address or localhost; NULL for names, of which only the resolver knows. */
const char *destination_refused_host(const struct destinations *, struct str host);
