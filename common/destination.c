/* destination.c - see destination.h */
#include "destination.h"
#include <arpa/inet.h>
#include <string.h>

static const struct in6_addr mapped_prefix = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

static struct in6_addr
mapped(const void *v4)
{
	struct in6_addr a = mapped_prefix;
	memcpy(a.s6_addr + 12, v4, 4);
	return a;
}

bool
address_is_loopback(const struct in6_addr *a)
{
	if (IN6_IS_ADDR_V4MAPPED(a))
		return a->s6_addr[12] == 127 || a->s6_addr[12] == 0; /* RFC 1122 3.2.1.3; Linux takes 0.0.0.0 for "here" */
	return IN6_IS_ADDR_LOOPBACK(a) || IN6_IS_ADDR_UNSPECIFIED(a);
}

static const char *
refused(const struct destinations *to, const struct in6_addr *a)
{
	if (!to->loopback && address_is_loopback(a))
		return "--loopback-from";
	for (unsigned i = 0; i < to->deny->n; i++)
		if (netrange_has(&to->deny->v[i], a))
			return "--deny-destinations";
	return NULL;
}

const char *
destination_refused(const struct destinations *to, const struct in6_addr *a)
{
	static const unsigned char nat64[12] = { 0x00, 0x64, 0xff, 0x9b }, compatible[12] = { 0 };
	if (!to->deny)
		return NULL;
	const char *why = refused(to, a);
	const void *v4 = a->s6_addr[0] == 0x20 && a->s6_addr[1] == 0x02 ? a->s6_addr + 2 :
		memcmp(a, nat64, 12) == 0 || (memcmp(a, compatible, 12) == 0 && !IN6_IS_ADDR_LOOPBACK(a)) ? a->s6_addr + 12 : NULL;
	if (!why && v4) {
		struct in6_addr inside = mapped(v4);
		why = refused(to, &inside);
	}
	return why;
}

const char *
destination_refused_sockaddr(const struct destinations *to, const struct sockaddr *sa)
{
	struct in6_addr a;
	if (sa->sa_family == AF_INET)
		a = mapped(&((const struct sockaddr_in *)(const void *)sa)->sin_addr);
	else if (sa->sa_family == AF_INET6)
		a = ((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
	else
		return NULL;
	return destination_refused(to, &a);
}

const char *
destination_refused_host(const struct destinations *to, struct str host)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr a;
	if (!to->deny || !host.n)
		return NULL;
	if (str_caseeq(host, STR("localhost")) || str_caseends(host, STR(".localhost"))) /* RFC 6761 6.3 */
		return to->loopback ? NULL : "--loopback-from";
	if (host.n >= sizeof text)
		return NULL;
	memcpy(text, host.p, host.n);
	text[host.n] = '\0';
	if (memchr(text, ':', host.n) ? inet_pton(AF_INET6, text, &a) == 1 : text[0] >= '0' && text[0] <= '9' && inet_pton(AF_INET, text, a.s6_addr + 12) == 1) {
		if (!memchr(text, ':', host.n))
			memcpy(&a, &mapped_prefix, 12);
		return destination_refused(to, &a);
	}
	return NULL;
}
