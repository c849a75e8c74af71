/* tunnel.h - bytes both ways between a client and an origin, neither looked at nor changed: blind CONNECT tunnels, and connections that
 * were upgraded. One thread a worker moves them all, without blocking, over an epoll of its own: a tunnel costs its two sockets and a few
 * hundred bytes while it is idle, and no handler thread ever.
 *
 * Back-pressure: nothing is read from one side while the other takes nothing; what does not fit a socket is held, at most TUNNEL_BUFFER
 * bytes each way. The end of one way is passed on (close_notify and FIN) and the other goes on. When one side breaks, the other gets what
 * was read for it, and is then reset, so that nobody takes it for a clean end. Silence both ways ends it after tunnel-idle-timeout.
 * Counted here: tunnels, tunnels_open, bytes_sent (to clients), bytes_received (from origins). */
#pragma once
#include <openssl/ssl.h>
#include "../common/str.h"

#define TUNNEL_BUFFER (64 * 1024)    /* read at once, and held each way at most: four TLS records. Beside it, what stood behind the head */
#define TUNNEL_BROKEN_MS 10000       /* a tunnel with one broken side has this long to hand over what is held for the other */

struct tunnels;
struct tunnels *tunnels_start(void);              /* after fork; makes the thread */
/* Waits until all are over, at most until deadline (clock_mono), then cuts the rest. By then nobody calls the others any more. */
void tunnels_stop(struct tunnels **, int64_t deadline);
unsigned tunnels_open(struct tunnels *);          /* how many there are, places that are promised included */

/* A place for one more, taken before the peer is promised anything. -ERR_BUSY at the bound (max-connections), or when stopping. */
int tunnel_reserve(struct tunnels *);
void tunnel_unreserve(struct tunnels *);          /* it came to nothing */

struct tunnel_ends {
	int client_fd, origin_fd;                 /* non-blocking, in no other epoll */
	SSL *client_ssl, *origin_ssl;             /* NULL: plain. Whatever BIO they had, they get a plain one on the fd */
	struct str early_to_origin, early_to_client; /* what was read already; copied */
};
/* Uses up a reservation. All that the ends name is the tunnel's from now on. */
void tunnel_add(struct tunnels *, const struct tunnel_ends *);
