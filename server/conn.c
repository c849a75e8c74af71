/* conn.c - see conn.h */
#include "conn.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/fd.h"
#include "../common/log.h"
#include "../common/netrange.h"
#include "request.h"
#include "tls.h"
#include "worker.h"

#define ACCEPT_MAX 8             /* in one go: others have what to do as well */
#define TURNS_MAX 32             /* requests of one connection without a pause before others are looked after */
#define SAY_AGAIN_MS 60000        /* that connections cannot be accepted: clients bring it about, so they may not fill the log with it */
#define DISCARD_MAX (1024 * 1024) /* of a request that was refused: no more is read for politeness' sake */

/* ---- bytes */

int64_t conn_patience(uint64_t n, int64_t stall_ms) { return stall_ms + (int64_t)(n / CONN_RATE_MIN) * 1000; }

static int64_t raw_read(struct conn *c, void *p, size_t n)
{
	if (c->ssl != NULL) {
		ERR_clear_error();
		int r = SSL_read(c->ssl, p, n > INT32_MAX ? INT32_MAX : (int)n);
		if (r > 0)
			return r;
		switch (SSL_get_error(c->ssl, r)) {
		case SSL_ERROR_WANT_READ:
			return -ERR_AGAIN;
		case SSL_ERROR_ZERO_RETURN:
			return 0;
		default:
			return -ERR_END;
		}
	}
	if (c->drained)
		return -ERR_AGAIN;
	ssize_t r;
	do
		r = recv(c->fd, p, n, 0);
	while (r < 0 && errno == EINTR);
	if (r >= 0) {
		c->drained = r > 0 && (size_t)r < n && !c->item.ended;
		return r;
	}
	c->drained = errno == EAGAIN;
	return errno == EAGAIN ? -ERR_AGAIN : -ERR_END;
}

static void stash(struct conn *c, const char *p, size_t n) /* into c->in, which is empty */
{
	c->in = xmalloc(n > CONN_BUFFER ? n : CONN_BUFFER);
	c->in_cap = n > CONN_BUFFER ? n : CONN_BUFFER;
	memcpy(c->in, p, n);
	c->in_off = 0;
	c->in_n = n;
}

static void unstash(struct conn *c)
{
	free(c->in);
	c->in = NULL;
	c->in_off = c->in_n = c->in_cap = 0;
}

int64_t conn_read(struct conn *c, void *p, size_t n)
{
	if (c->in == NULL)
		return raw_read(c, p, n);
	size_t have = c->in_n - c->in_off;
	if (n > have)
		n = have;
	memcpy(p, c->in + c->in_off, n);
	c->in_off += n;
	if (c->in_off == c->in_n)
		unstash(c);
	return (int64_t)n;
}

void conn_unread(struct conn *c, const void *p, size_t n)
{
	size_t have = c->in != NULL ? c->in_n - c->in_off : 0;
	char *old = c->in;
	size_t old_off = c->in_off;
	c->in = xmalloc(n + have > CONN_BUFFER ? n + have : CONN_BUFFER);
	c->in_cap = n + have > CONN_BUFFER ? n + have : CONN_BUFFER;
	memcpy(c->in, p, n);
	if (have > 0)
		memcpy(c->in + n, old + old_off, have);
	c->in_off = 0;
	c->in_n = n + have;
	c->scanned = 0;
	free(old);
}

static int wait_for(struct conn *c, short events, int64_t deadline)
{
	pool_blocking(c->worker->pool);
	for (;;) {
		struct pollfd pfd = { .fd = c->fd, .events = events };
		int r = poll(&pfd, 1, clock_left(deadline));
		if (r > 0) {
			c->drained = false;
			return 0;
		}
		if (r == 0)
			return -ERR_TIMEOUT;
		if (errno != EINTR)
			return -ERR_SYSTEM;
	}
}

int64_t conn_read_wait(struct conn *c, void *p, size_t n, int64_t deadline)
{
	for (;;) {
		int64_t r = conn_read(c, p, n);
		if (r != -ERR_AGAIN)
			return r;
		if ((r = wait_for(c, POLLIN, deadline)) < 0)
			return r;
	}
}

int conn_write(struct conn *c, const void *p, size_t n, int64_t stall_ms)
{
	const char *at = p;
	int64_t last = NEVER; /* known at the first wait: what goes out at once needs no clock */
	while (n > 0) {
		int64_t r;
		short want = POLLOUT;
		if (c->ssl != NULL) {
			ERR_clear_error();
			r = SSL_write(c->ssl, at, n > INT32_MAX ? INT32_MAX : (int)n);
			if (r <= 0)
				switch (SSL_get_error(c->ssl, (int)r)) {
				case SSL_ERROR_WANT_READ:
					want = POLLIN;
					break;
				case SSL_ERROR_WANT_WRITE:
					break;
				default:
					return -ERR_CLIENT_GONE;
				}
		} else {
			r = send(c->fd, at, n, MSG_NOSIGNAL);
			if (r < 0 && errno != EAGAIN && errno != EINTR)
				return -ERR_CLIENT_GONE;
		}
		if (r > 0) {
			at += r;
			n -= (size_t)r;
			continue;
		}
		int64_t now = clock_mono();
		if (last == NEVER)
			last = now + conn_patience(n, stall_ms);
		if (now >= last)
			return -ERR_TIMEOUT;
		int w = wait_for(c, want, now + stall_ms < last ? now + stall_ms : last);
		if (w < 0)
			return w == -ERR_TIMEOUT ? w : -ERR_CLIENT_GONE;
	}
	return 0;
}

bool conn_gone(struct conn *c)
{
	struct pollfd pfd = { .fd = c->fd, .events = POLLRDHUP };
	return poll(&pfd, 1, 0) > 0 && pfd.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

void conn_client(const struct conn *c, struct in6_addr *out)
{
	address_of(&c->peer, out);
}

void conn_peer(const struct conn *c, char host[INET6_ADDRSTRLEN], unsigned *port)
{
	struct in6_addr a;
	host[0] = 0;
	*port = 0;
	if (c->peer.ss_family != AF_INET && c->peer.ss_family != AF_INET6)
		return;
	address_of(&c->peer, &a);
	address_text(&a, host);
	*port = ntohs(((const struct sockaddr_in *)(const void *)&c->peer)->sin_port); /* IPv6's is in the same place */
}

/* ---- a connection's life */

static struct conn *slot_take(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	struct conn *c = w->free;
	if (c != NULL)
		w->free = c->next_free;
	else if (w->conns_high < w->conns_n)
		c = &w->conns[w->conns_high++];
	pthread_mutex_unlock(&w->lock);
	return c;
}

static void slot_give(struct conn *c)
{
	struct worker *w = c->worker;
	pthread_mutex_lock(&w->lock);
	c->next_free = w->free;
	w->free = c;
	pthread_mutex_unlock(&w->lock);
}

static void conn_close(struct conn *c)
{
	c->item.generation++; /* events that are still under way are nobody's now */
	c->open = false;
	if (c->ssl != NULL) {
		ERR_clear_error();
		SSL_shutdown(c->ssl); /* close_notify, once, if the socket takes it */
		SSL_free(c->ssl);
		c->ssl = NULL;
	}
	fd_close(&c->fd);
	unstash(c);
	arena_fini(&c->arena);
	atomic_fetch_sub(&c->worker->open, 1);
	count_sub(COUNT_connections_open, 1);
	slot_give(c);
}

void conn_breaks(struct conn *c)
{
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
	if (c->ssl != NULL)
		SSL_set_quiet_shutdown(c->ssl, 1);
}

void conn_detach(struct conn *c, int *fd, SSL **ssl)
{
	*fd = c->fd;
	*ssl = c->ssl;
	c->fd = -1;
	c->ssl = NULL;
}

static void accepted(struct worker *w, int fd, const struct sockaddr_storage *peer)
{
	/* a tunnel has left its slot, but its two descriptors count */
	bool room = atomic_load(&w->open) + 2 * tunnels_open(w->tunnels) < w->conns_n - LISTEN_MAX;
	struct conn *c = room ? slot_take(w) : NULL;
	int on = 1;
	count(COUNT_connections);
	if (c == NULL) {
		count(COUNT_connections_refused);
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	/* not the item: a late event of the slot's last owner may look at it right now */
	memset((char *)c + sizeof c->item, 0, sizeof *c - sizeof c->item);
	c->worker = w;
	c->fd = fd;
	c->open = c->idle = true;
	c->peer = *peer;
	arena_init(&c->arena);
	atomic_store(&c->deadline, clock_mono() + conf()->client_head_ms);
	c->item.run = conn_run;
	atomic_store(&c->item.ended, false);
	pool_item_parked(&c->item);
	atomic_fetch_add(&w->open, 1);
	count(COUNT_connections_open);
	if (pool_watch(w->pool, fd, &c->item) < 0) {
		log_warn("epoll: %s", strerror(errno));
		if (pool_seize(&c->item))
			conn_close(c);
	}
}

void conn_accept(struct worker *w, int listen_fd)
{
	for (int i = 0; i < ACCEPT_MAX; i++) {
		struct sockaddr_storage peer;
		socklen_t n = sizeof peer;
		int fd = accept4(listen_fd, (struct sockaddr *)&peer, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
				if (clock_mono() >= w->accept_said + SAY_AGAIN_MS) {
					w->accept_said = clock_mono();
					log_warn("accept: %s", strerror(errno));
				}
				poll(NULL, 0, 10); /* the event stays: do not spin */
			}
			return;
		}
		accepted(w, fd, &peer);
	}
}

void conn_tunnel_opened(struct conn *c, struct str host, unsigned port)
{
	c->tunnel.host = arena_dup(&c->arena, host);
	c->tunnel.port = port;
	c->in_tunnel = true;
	c->phase = CONN_PEEK;
}

/* Each returns > 0: go on, 0: nothing more to read now, < 0: close; RESTS: a request waits for its origin. */
#define RESTS 2
/* A request that rests: its handler is on its way out; gone; was woken before it was out. Whoever turns THERE into NOT submits it. */
enum { REST_NOT, REST_GOING, REST_THERE, REST_WOKEN };

static int closing_step(struct conn *c)
{
	for (;;) {
		int64_t r = conn_read(c, thread_self->in, sizeof thread_self->in);
		if (r <= 0)
			return r == -ERR_AGAIN ? 0 : -1;
		if ((c->discarded += (size_t)r) > DISCARD_MAX)
			return -1;
	}
}

static int begin_closing(struct conn *c)
{
	if (c->ssl != NULL) {
		ERR_clear_error();
		SSL_shutdown(c->ssl);
	}
	shutdown(c->fd, SHUT_WR);
	c->phase = CONN_CLOSING;
	c->head_since = clock_mono();
	return closing_step(c);
}

static int peek_step(struct conn *c)
{
	unsigned char first;
	if (c->in != NULL) /* bytes came behind the CONNECT: a client that does not wait for the 200 */
		first = (unsigned char)c->in[c->in_off];
	else {
		ssize_t r = recv(c->fd, &first, 1, MSG_PEEK);
		if (r <= 0)
			return r < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
	}
	if (first != 0x16) { /* not a TLS handshake record: HTTP in the clear */
		c->tunnel.scheme = STR("http");
		c->phase = CONN_HEAD;
		return 1;
	}
	if (c->in != NULL || (c->ssl = tls_accept(c)) == NULL)
		return -1;
	c->tunnel.scheme = STR("https");
	c->phase = CONN_HANDSHAKE;
	c->head_since = clock_mono();
	return 1;
}

static int handshake_step(struct conn *c)
{
	int r = tls_handshake(c);
	if (r == 0)
		return 0;
	if (r < 0) {
		count(COUNT_tls_failed);
		unsigned long e = ERR_peek_last_error();
		log_debug("TLS with a client for %.*s: %s", STRP(c->tunnel.host), e ? ERR_reason_error_string(e) : "broken off");
		return -1;
	}
	c->phase = CONN_HEAD;
	c->head_since = 0;
	return 1;
}

static int request_ended(struct conn *c, enum request_end end)
{
	switch (end) {
	case REQUEST_NEXT:
		return 1;
	case REQUEST_LAST:
		return begin_closing(c);
	case REQUEST_RESTS:
		return RESTS;
	case REQUEST_DEAD:
		break;
	}
	return -1;
}

static int head_step(struct conn *c)
{
	struct thread *t = thread_self;
	const struct settings *s = conf();
	const struct http1_limits limits = { .line = s->line_max, .head = s->head_max, .fields = (unsigned)s->fields_max };
	char *buf = t->in;
	size_t n = 0, cap = sizeof t->in;
	if (c->in != NULL) {
		if (c->in_off > 0) {
			memmove(c->in, c->in + c->in_off, c->in_n - c->in_off);
			c->in_n -= c->in_off;
			c->in_off = 0;
		}
		buf = c->in;
		n = c->in_n;
		cap = c->in_cap;
	} else
		c->scanned = 0;
	for (;;) {
		int head = n == 0 ? 0 : http1_scan(buf, n, &c->scanned, &limits);
		if (head < 0)
			return request_refuse(c, head, http1_scan_problem(buf, n)) == REQUEST_DEAD ? -1 : begin_closing(c);
		if (head > 0) {
			c->scanned = 0;
			c->head_since = 0;
			/* what follows the head (a body, a pipelined request) waits in c->in; the head itself stays in buf until it is parsed */
			struct str all = { buf, (size_t)head };
			char *own = NULL;
			if (buf == c->in) {
				own = c->in;
				c->in = NULL;
				size_t rest = n - (size_t)head;
				c->in_off = c->in_n = c->in_cap = 0;
				if (rest > 0)
					stash(c, own + head, rest);
			} else if (n > (size_t)head)
				stash(c, buf + head, n - (size_t)head);
			enum request_end end = request_run(c, all);
			free(own);
			return request_ended(c, end);
		}
		if (n == cap) { /* the limits allow more than what we have room for */
			if (buf != c->in)
				stash(c, buf, n);
			c->in_cap = n + limits.head;
			c->in = xrealloc(c->in, c->in_cap);
			buf = c->in;
			cap = c->in_cap;
		}
		int64_t r = raw_read(c, buf + n, cap - n);
		if (r == -ERR_AGAIN) {
			if (n > 0 && buf != c->in)
				stash(c, buf, n);
			else if (n > 0)
				c->in_n = n;
			if (n > 0 && c->head_since == 0)
				c->head_since = clock_mono();
			return 0;
		}
		if (r <= 0)
			return -1;
		n += (size_t)r;
		if (buf == c->in)
			c->in_n = n;
	}
}

static int64_t park_deadline(const struct conn *c)
{
	const struct settings *s = conf();
	if (c->phase == CONN_CLOSING)
		return c->head_since + CONN_CLOSE_WAIT_MS;
	if (c->head_since != 0)
		return c->head_since + s->client_head_ms;
	return clock_mono() + s->client_idle_ms;
}

void conn_run(struct pool_item *it)
{
	struct conn *c = (struct conn *)it;
	c->drained = false;
	for (unsigned turns = 1;; turns++) {
		int r = -1;
		if (turns == TURNS_MAX) { /* a client that pipelines without end: the others' turn */
			pool_submit(c->worker->pool, it, POOL_CLIENT);
			return;
		}
		if (c->request != NULL) {
			r = request_ended(c, request_resume(c));
			if (r == 1) { /* the next one may wait for others: not in a thread that is left for those who are waited for */
				pool_submit(c->worker->pool, it, POOL_CLIENT);
				return;
			}
		} else switch (c->phase) {
		case CONN_HEAD:
			r = head_step(c);
			break;
		case CONN_PEEK:
			r = peek_step(c);
			break;
		case CONN_HANDSHAKE:
			r = handshake_step(c);
			break;
		case CONN_CLOSING:
			r = closing_step(c);
			break;
		}
		if (r < 0) {
			conn_close(c);
			return;
		}
		if (r == RESTS) {
			c->nudged = false;
			int going = REST_GOING;
			request_score(c->request, &c->rest_score);
			atomic_store(&c->rest, REST_GOING);
			if (request_rest(c) && atomic_compare_exchange_strong(&c->rest, &going, REST_THERE))
				return; /* not ours any more */
			atomic_store(&c->rest, REST_NOT);
			continue;
		}
		if (r > 0)
			continue;
		c->idle = c->phase == CONN_HEAD && c->head_since == 0;
		atomic_store_explicit(&c->deadline, park_deadline(c), memory_order_relaxed);
		if (pool_park(it))
			return; /* not ours any more */
		c->drained = false;
	}
}

void conn_wakes(void *arg)
{
	struct conn *c = arg;
	int was = atomic_load(&c->rest);
	while (was == REST_GOING || was == REST_THERE)
		if (atomic_compare_exchange_weak(&c->rest, &was, was == REST_GOING ? REST_WOKEN : REST_NOT)) {
			if (was == REST_THERE)
				pool_submit(c->worker->pool, &c->item, POOL_RESUMED);
			return;
		}
}

/* Parked connections are found by a walk over the slots: 10,000 cost about a millisecond a second, and requests pay nothing for lists. */
void conns_sweep(struct worker *w, bool draining)
{
	int64_t now = clock_mono();
	unsigned high = w->conns_high;
	uint64_t parked = 0;
	for (unsigned i = LISTEN_MAX; i < high; i++) {
		struct conn *c = &w->conns[i];
		int64_t deadline = atomic_load_explicit(&c->deadline, memory_order_relaxed);
		int there = REST_THERE;
		parked += pool_is_parked(&c->item);
		if (atomic_load_explicit(&c->rest, memory_order_relaxed) == REST_THERE && atomic_load(&c->item.ended) &&
		    atomic_compare_exchange_strong(&c->rest, &there, REST_NOT)) {
			c->nudged = true;
			pool_submit(w->pool, &c->item, POOL_RESUMED);
			continue;
		}
		if (deadline > now && !draining)
			continue;
		if (!pool_seize(&c->item))
			continue;
		if (c->open && (atomic_load(&c->deadline) <= now || (draining && (c->idle || c->phase != CONN_HEAD)))) {
			if (!c->idle && c->phase != CONN_CLOSING && !draining)
				count(COUNT_client_timeouts);
			conn_close(c);
		} else if (!pool_park(&c->item))
			pool_submit(w->pool, &c->item, POOL_CLIENT); /* an event came in these microseconds */
	}
	count_add(COUNT_connections_parked, parked - atomic_exchange(&w->parked, parked)); /* less is more, modulo 2^64 */
}

void conns_resting(struct worker *w, struct score_thread *out, unsigned max)
{
	unsigned n = 0;
	for (unsigned i = LISTEN_MAX; i < w->conns_high && n < max; i++) {
		struct conn *c = &w->conns[i];
		if (atomic_load_explicit(&c->rest, memory_order_relaxed) != REST_THERE)
			continue;
		memcpy(out[n].what, c->rest_score.what, sizeof out[n].what);
		out[n].what[sizeof out[n].what - 1] = 0;
		atomic_store(&out[n].since, atomic_load(&c->rest_score.since));
		atomic_store(&out[n++].step, atomic_load(&c->rest_score.step));
	}
	if (n < max)
		atomic_store(&out[n].step, -1);
}
