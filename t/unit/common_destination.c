/* Which addresses origins may have: every spelling and every wrapping of a closed address is closed, and nothing else is. */
#include "tap.h"
#include <arpa/inet.h>
#include "../../common/destination.h"

enum { OPEN, LOOPBACK, DENIED };
static const struct { const char *address; int remote, local; const char *why; } rows[] = {
	{ "93.184.216.34",          OPEN,     OPEN,   "an address like others" },
	{ "10.0.0.1",               OPEN,     OPEN,   "a private one" },
	{ "2001:db8::1",            OPEN,     OPEN,   "IPv6" },
	{ "127.0.0.1",              LOOPBACK, OPEN,   "loopback" },
	{ "127.255.255.254",        LOOPBACK, OPEN,   "all of 127.0.0.0/8" },
	{ "126.255.255.255",        OPEN,     OPEN,   "just before it" },
	{ "128.0.0.0",              OPEN,     OPEN,   "just behind it" },
	{ "0.0.0.0",                LOOPBACK, OPEN,   "which Linux takes for loopback" },
	{ "::1",                    LOOPBACK, OPEN,   "loopback of IPv6" },
	{ "::",                     LOOPBACK, OPEN,   "likewise" },
	{ "::ffff:127.0.0.1",       LOOPBACK, OPEN,   "mapped" },
	{ "::127.0.0.1",            LOOPBACK, OPEN,   "compatible" },
	{ "64:ff9b::7f00:1",        LOOPBACK, OPEN,   "through NAT64" },
	{ "2002:7f00:1::",          LOOPBACK, OPEN,   "through 6to4" },
	{ "::2",                    LOOPBACK, OPEN,   "0.0.0.2, compatible" },
	{ "169.254.169.254",        DENIED,   DENIED, "metadata of clouds" },
	{ "169.254.0.1",            DENIED,   DENIED, "link-local" },
	{ "169.253.255.255",        OPEN,     OPEN,   "just before it" },
	{ "169.255.0.0",            OPEN,     OPEN,   "just behind it" },
	{ "::ffff:169.254.169.254", DENIED,   DENIED, "mapped" },
	{ "64:ff9b::a9fe:a9fe",     DENIED,   DENIED, "through NAT64" },
	{ "2002:a9fe:a9fe::1",      DENIED,   DENIED, "through 6to4" },
	{ "fe80::1",                DENIED,   DENIED, "link-local of IPv6" },
	{ "febf::1",                DENIED,   DENIED, "all of fe80::/10" },
	{ "fec0::1",                OPEN,     OPEN,   "just behind it" },
	{ "fd00:ec2::254",          DENIED,   DENIED, "metadata by IPv6" },
	{ "fd00:ec2::255",          OPEN,     OPEN,   "its neighbour" },
	{ "100.100.100.200",        DENIED,   DENIED, "another cloud's" },
};
static const struct { const char *host; int remote, local; } hosts[] = {
	{ "example.com", OPEN, OPEN }, { "localhost", LOOPBACK, OPEN }, { "LOCALHOST", LOOPBACK, OPEN }, { "a.b.localhost", LOOPBACK, OPEN },
	{ "localhost.example.com", OPEN, OPEN }, { "notlocalhost", OPEN, OPEN }, { "127.0.0.1", LOOPBACK, OPEN }, { "::1", LOOPBACK, OPEN },
	{ "169.254.169.254", DENIED, DENIED }, { "fe80::1", DENIED, DENIED }, { "169.254.169.254.example.com", OPEN, OPEN }, { "", OPEN, OPEN },
	{ "1", OPEN, OPEN }, { "0x7f.1", OPEN, OPEN }, /* names, until the resolver has said otherwise */
	{ "0123456789012345678901234567890123456789012345678901234567890123456789", OPEN, OPEN },
};

static int kind(const char *why) { return why == NULL ? OPEN : strcmp(why, "--loopback-from") == 0 ? LOOPBACK : strcmp(why, "--deny-destinations") == 0 ? DENIED : -1; }

int main(void)
{
	settings_defaults();
	const struct destinations remote = { &conf()->deny_destinations, false }, local = { &conf()->deny_destinations, true }, internal = { NULL, false };
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct sockaddr_in v4 = { .sin_family = AF_INET };
		struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
		bool is_v4 = inet_pton(AF_INET, rows[i].address, &v4.sin_addr) == 1;
		ok(is_v4 || inet_pton(AF_INET6, rows[i].address, &v6.sin6_addr) == 1, "%s is an address", rows[i].address);
		const struct sockaddr *sa = is_v4 ? (const void *)&v4 : (const void *)&v6;
		is_int(kind(destination_refused_sockaddr(&remote, sa)), rows[i].remote, "%s (%s), for clients elsewhere", rows[i].address, rows[i].why);
		is_int(kind(destination_refused_sockaddr(&local, sa)), rows[i].local, "… for those on this machine");
		is_int(kind(destination_refused_sockaddr(&internal, sa)), OPEN, "… for what the operator has named");
		is_int(kind(destination_refused_host(&remote, str_c(rows[i].address))), rows[i].remote, "… as a host");
	}
	for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
		is_int(kind(destination_refused_host(&remote, str_c(hosts[i].host))), hosts[i].remote, "the host \"%s\", for clients elsewhere", hosts[i].host);
		is_int(kind(destination_refused_host(&local, str_c(hosts[i].host))), hosts[i].local, "… for those on this machine");
	}
	struct sockaddr other = { .sa_family = AF_UNIX };
	ok(destination_refused_sockaddr(&remote, &other) == NULL, "other families are not ours to judge");
	return done_testing();
}
