/* Addresses and ranges of them: what is read, what is written, what is in what. */
#include "tap.h"
#include "../../common/netrange.h"
#include <arpa/inet.h>

static const struct { const char *given, *text; } addresses[] = { /* text NULL: is none */
	{ "192.0.2.7", "192.0.2.7" }, { "2001:DB8:0::1", "2001:db8::1" }, { "::ffff:192.0.2.7", "192.0.2.7" }, { "::1", "::1" },
	{ "", NULL }, { "192.0.2", NULL }, { "[::1]", NULL }, { "fe80::1%eth0", NULL }, { "192.0.2.7 ", NULL }, { "example.com", NULL },
	{ "1111:2222:3333:4444:5555:6666:7777:8888:9999:0000:1111", NULL },
};
static const struct { const char *range, *address; bool in; } ranges[] = {
	{ "10.1.0.0/16", "10.1.255.255", true }, { "10.1.0.0/16", "10.2.0.0", false }, { "10.1.0.0/16", "::ffff:10.1.2.3", true },
	{ "192.0.2.7", "192.0.2.7", true }, { "192.0.2.7", "192.0.2.6", false }, { "0.0.0.0/0", "255.1.2.3", true }, { "0.0.0.0/0", "2001:db8::1", false },
	{ "192.0.2.128/25", "192.0.2.127", false }, { "192.0.2.128/25", "192.0.2.129", true },
	{ "2001:db8::/33", "2001:db8:7fff::1", true }, { "2001:db8::/33", "2001:db8:8000::1", false }, { "::/0", "2001:db8::1", true }, { "::/0", "10.1.2.3", true },
	{ "::/0", "::", false }, /* not known */
};
static const char *const wrong[] = { "10.1.2.3/8", "10.0.0.0/33", "2001:db8::/129", "10.0.0.0/", "/8", "10.0.0.0/8/8", "2001:db8::1/32", "host/8", "10.0.0.0/-1" };

int
main(void)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr a;
	struct netrange r;
	for (unsigned i = 0; i < sizeof(addresses) / sizeof(*addresses); i++) {
		bool good = address_parse(str_c(addresses[i].given), &a);
		ok(good == (addresses[i].text != NULL), "%s is %s address", addresses[i].given, addresses[i].text ? "an" : "no");
		if (good)
			is_str(str_c(address_text(&a, text)), str_c(addresses[i].text), "… in the usual words");
	}
	for (unsigned i = 0; i < sizeof(ranges) / sizeof(*ranges); i++)
		ok(netrange_parse(str_c(ranges[i].range), &r) && address_parse(str_c(ranges[i].address), &a) && netrange_has(&r, &a) == ranges[i].in,
		   "%s is %s %s", ranges[i].address, ranges[i].in ? "in" : "not in", ranges[i].range);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		ok(!netrange_parse(str_c(wrong[i]), &r), "%s is no range", wrong[i]);
	struct sockaddr_storage sa = { .ss_family = AF_INET };
	((struct sockaddr_in *)(void *)&sa)->sin_addr.s_addr = htonl(0xc0000207);
	address_of(&sa, &a);
	is_str(str_c(address_text(&a, text)), STR("192.0.2.7"), "of a socket's address");
	sa = (struct sockaddr_storage){ .ss_family = AF_INET6 };
	((struct sockaddr_in6 *)(void *)&sa)->sin6_addr = in6addr_loopback;
	address_of(&sa, &a);
	is_str(str_c(address_text(&a, text)), STR("::1"), "… of IPv6");
	sa.ss_family = AF_UNIX;
	address_of(&sa, &a);
	ok(IN6_IS_ADDR_UNSPECIFIED(&a), "… of another family: not known");
	return done_testing();
}
