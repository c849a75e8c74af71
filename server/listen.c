/* listen.c - see listen.h */
#include "listen.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>
#include "../common/log.h"

#define BACKLOG 4096 /* a farm that starts all its builds at once; the kernel cuts it to net.core.somaxconn */

static int bind_one(const struct addrinfo *ai, bool dual)
{
	int on = 1, off = 0;
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, dual ? &off : &on, sizeof on);
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
		int e = errno;
		close(fd);
		errno = e;
		return -1;
	}
	return fd;
}

static unsigned bound_port(int fd)
{
	struct sockaddr_storage a;
	socklen_t n = sizeof a;
	if (getsockname(fd, (struct sockaddr *)&a, &n) < 0)
		return 0;
	return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port : ((struct sockaddr_in *)&a)->sin_port);
}

static int bind_name(const char *host, const char *option, unsigned port)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV }, *list;
	char text[16];
	snprintf(text, sizeof text, "%u", port);
	int r = getaddrinfo(host, text, &hints, &list);
	if (r != 0)
		die(EX_NOHOST, "cannot listen on %s: %s", host, gai_strerror(r));
	int fd = bind_one(list, false);
	if (fd < 0)
		die(EX_OSERR, "cannot listen on %s port %u (%s): %s", host, port, option, strerror(errno));
	freeaddrinfo(list);
	return fd;
}

unsigned listen_all(const struct str_list *addresses, const char *option, unsigned *port, int *fds, unsigned max)
{
	if (addresses->n > max)
		die(EX_USAGE, "--bind names %u addresses: at most %u are possible", addresses->n, max);
	if (addresses->n == 0) {
		struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)*port) };
		struct addrinfo ai = { .ai_family = AF_INET6, .ai_addr = (struct sockaddr *)&six, .ai_addrlen = sizeof six };
		fds[0] = bind_one(&ai, true);
		if (fds[0] < 0 && errno != EADDRINUSE && errno != EACCES) /* a machine without IPv6 */
			fds[0] = bind_name("0.0.0.0", option, *port);
		if (fds[0] < 0)
			die(EX_OSERR, "cannot listen on port %u (%s): %s", *port, option, strerror(errno));
		*port = bound_port(fds[0]);
		return 1;
	}
	for (unsigned i = 0; i < addresses->n; i++) {
		fds[i] = bind_name(addresses->v[i], option, *port);
		*port = bound_port(fds[i]);
	}
	return addresses->n;
}
