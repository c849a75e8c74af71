/* tunnel.c - see tunnel.h. An end is a socket, a way is one direction; run_way() is all that happens to bytes. */
#include "tunnel.h"
#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "../common/arena.h"
#include "../common/clock.h"
#include "../common/counters.h"
#include "../common/err.h"
#include "../common/fd.h"
#include "../common/log.h"
#include "../common/settings.h"

enum { BATCH = 64 };
#define TURN 16                  /* reads of one way before others have their turn: a megabyte */
#define SWEEP_MS 1000            /* time-outs are looked for so often */

/* Events are edge-triggered: an end may be read or written until it says no, and then only after the next event. */
struct end {
	struct tunnel *tunnel;
	int fd;
	SSL *ssl;
	bool can_read, can_write, hung_up;
};

struct way { /* from end[i] to end[!i] */
	char *held;              /* read, and not yet taken by the other end; NULL none */
	size_t off, n;
	bool ended;              /* no more comes */
	bool over;               /* … and all of it, and the news of its end, are passed on; or there is nobody to pass it to */
};

enum { CLIENT, ORIGIN };

struct tunnel {
	struct tunnel *next, *prev;      /* all of them */
	struct tunnel *next_ready;
	bool ready, dead;
	struct end end[2];
	struct way way[2];
	int broken;                      /* which end broke: its number + 1; 0 none */
	int64_t active, broken_since;    /* mono */
};

struct tunnels {
	int epfd, wakefd;
	pthread_t thread;
	_Atomic unsigned open;
	_Atomic bool stop;
	_Atomic int64_t deadline;
	pthread_mutex_t lock;
	struct tunnel *incoming;         /* under lock; by next */
	/* the thread's own */
	struct tunnel *all, *ready, **ready_last;
	struct tunnel *dead;             /* freed when the batch of events, which may name them, is over */
	char buf[TUNNEL_BUFFER];
};

/* ---- one end */

/* > 0 bytes, 0 end of file, -ERR_AGAIN (and the flags say so), -ERR_END broken */
static int64_t end_read(struct end *e, char *p, size_t n)
{
	if (e->ssl != NULL) {
		ERR_clear_error();
		int r = SSL_read(e->ssl, p, (int)n);
		if (r > 0)
			return r;
		switch (SSL_get_error(e->ssl, r)) {
		case SSL_ERROR_WANT_READ:
		case SSL_ERROR_WANT_WRITE: /* any event makes it try again */
			e->can_read = false;
			return -ERR_AGAIN;
		case SSL_ERROR_ZERO_RETURN:
			return 0;
		default:
			return -ERR_END;
		}
	}
	ssize_t r;
	do
		r = recv(e->fd, p, n, 0);
	while (r < 0 && errno == EINTR);
	if (r < 0 && errno != EAGAIN)
		return -ERR_END;
	if (r < 0 || (r > 0 && (size_t)r < n && !e->hung_up)) /* all there was: the next event tells of more */
		e->can_read = false;
	return r < 0 ? -ERR_AGAIN : r;
}

static int64_t end_write(struct end *e, const char *p, size_t n)
{
	if (e->ssl != NULL) {
		ERR_clear_error();
		int r = SSL_write(e->ssl, p, (int)n);
		if (r > 0)
			return r;
		switch (SSL_get_error(e->ssl, r)) {
		case SSL_ERROR_WANT_READ:
		case SSL_ERROR_WANT_WRITE:
			e->can_write = false;
			return -ERR_AGAIN;
		default:
			return -ERR_END;
		}
	}
	ssize_t r;
	do
		r = send(e->fd, p, n, MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	if (r < 0 && errno != EAGAIN)
		return -ERR_END;
	if (r < 0)
		e->can_write = false;
	return r < 0 ? -ERR_AGAIN : r;
}

/* No more is written to it. false: not yet, it takes nothing now. */
static bool end_finish(struct end *e)
{
	if (e->ssl != NULL) {
		ERR_clear_error();
		int r = SSL_shutdown(e->ssl);
		if (r < 0 && SSL_get_error(e->ssl, r) == SSL_ERROR_WANT_WRITE) {
			e->can_write = false;
			return false;
		}
	}
	shutdown(e->fd, SHUT_WR);
	return true;
}

static void end_close(struct end *e, bool reset)
{
	if (reset) /* FIN would look like a clean end */
		setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
	SSL_free(e->ssl);
	e->ssl = NULL;
	fd_close(&e->fd);
}

/* ---- one tunnel */

static void drop_held(struct way *w)
{
	free(w->held);
	w->held = NULL;
	w->off = w->n = 0;
}

static void hold(struct way *w, const char *p, size_t n)
{
	if (n == 0)
		return;
	w->held = xmalloc(n);
	memcpy(w->held, p, n);
	w->n = n;
}

static void broke(struct tunnel *t, int which)
{
	if (t->broken)
		return;
	t->broken = which + 1;
	t->broken_since = clock_mono();
}

/* Moves what can be moved from end i to the other. true: its turn is over, and there may be more. */
static bool run_way(struct tunnels *ts, struct tunnel *t, int i)
{
	struct way *w = &t->way[i];
	struct end *from = &t->end[i], *to = &t->end[!i];
	for (int turn = 0; !w->over && to->can_write;) {
		const char *p = w->held + w->off;
		size_t n = w->n - w->off;
		if (w->held == NULL) {
			if (w->ended) {
				w->over = t->broken || end_finish(to);
				return false;
			}
			if (!from->can_read)
				return false;
			if (++turn > TURN)
				return true;
			int64_t r = end_read(from, ts->buf, sizeof ts->buf);
			if (r == -ERR_AGAIN)
				return false;
			if (r < 0)
				broke(t, i);
			w->ended = r <= 0;
			if (r <= 0)
				continue;
			if (i == ORIGIN)
				count_add(COUNT_bytes_received, (uint64_t)r);
			p = ts->buf;
			n = (size_t)r;
		}
		while (n > 0 && to->can_write) {
			int64_t r = end_write(to, p, n);
			if (r == -ERR_AGAIN)
				break;
			if (r < 0) {
				broke(t, !i);
				w->over = true;
				drop_held(w);
				return false;
			}
			p += r;
			n -= (size_t)r;
			t->active = clock_mono();
			if (i == ORIGIN)
				count_add(COUNT_bytes_sent, (uint64_t)r);
		}
		if (w->held == NULL)
			hold(w, p, n);
		else if (n == 0)
			drop_held(w);
		else
			w->off = w->n - n;
	}
	return false;
}

static bool is_over(const struct tunnel *t)
{
	if (t->way[CLIENT].over && t->way[ORIGIN].over)
		return true;
	return t->broken && t->way[CLIENT].held == NULL && t->way[ORIGIN].held == NULL;
}

/* cut: neither side shall take it for a clean end; else only the one that did not break is told so. */
static void tunnel_end(struct tunnels *ts, struct tunnel *t, bool cut)
{
	for (int i = 0; i < 2; i++) {
		drop_held(&t->way[i]);
		end_close(&t->end[i], cut || t->broken == !i + 1);
	}
	if (t->prev != NULL)
		t->prev->next = t->next;
	else
		ts->all = t->next;
	if (t->next != NULL)
		t->next->prev = t->prev;
	t->dead = true;
	t->next = ts->dead;
	ts->dead = t;
	count_sub(COUNT_tunnels_open, 1);
	atomic_fetch_sub(&ts->open, 1);
}

static void make_ready(struct tunnels *ts, struct tunnel *t)
{
	if (t->ready)
		return;
	t->ready = true;
	t->next_ready = NULL;
	*ts->ready_last = t;
	ts->ready_last = &t->next_ready;
}

static void run(struct tunnels *ts, struct tunnel *t)
{
	bool more = run_way(ts, t, CLIENT);
	more |= run_way(ts, t, ORIGIN);
	if (is_over(t))
		tunnel_end(ts, t, false);
	else if (more)
		make_ready(ts, t);
}

/* ---- the thread */

static void watch(struct tunnels *ts, struct tunnel *t)
{
	t->next = ts->all;
	if (ts->all != NULL)
		ts->all->prev = t;
	ts->all = t;
	for (int i = 0; i < 2; i++) {
		struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = &t->end[i] };
		if (epoll_ctl(ts->epfd, EPOLL_CTL_ADD, t->end[i].fd, &ev) < 0) {
			log_warn("tunnel: epoll: %s", strerror(errno));
			tunnel_end(ts, t, true);
			return;
		}
	}
	make_ready(ts, t);
}

static void take_incoming(struct tunnels *ts)
{
	eventfd_t ignored;
	eventfd_read(ts->wakefd, &ignored);
	pthread_mutex_lock(&ts->lock);
	struct tunnel *t = ts->incoming;
	ts->incoming = NULL;
	pthread_mutex_unlock(&ts->lock);
	while (t != NULL) {
		struct tunnel *next = t->next;
		watch(ts, t);
		t = next;
	}
}

static void event(struct tunnels *ts, struct end *e, uint32_t events)
{
	if (e->tunnel->dead)
		return;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		e->hung_up = true;
	if (e->ssl != NULL || e->hung_up) /* TLS may have to write to read, and to read to write */
		e->can_read = e->can_write = true;
	e->can_read |= (events & EPOLLIN) != 0;
	e->can_write |= (events & EPOLLOUT) != 0;
	make_ready(ts, e->tunnel);
}

static void sweep(struct tunnels *ts, int64_t now)
{
	int64_t idle = conf()->tunnel_idle_ms;
	for (struct tunnel *t = ts->all, *next; t != NULL; t = next) {
		next = t->next;
		if (now - t->active >= idle || (t->broken && now - t->broken_since >= TUNNEL_BROKEN_MS)) {
			for (int i = 0; i < 2 && !t->broken; i++)
				if (!t->way[!i].over)
					end_finish(&t->end[i]);
			tunnel_end(ts, t, false);
		}
	}
}

static void free_dead(struct tunnels *ts)
{
	/* a dead one may still stand in the queue: then it stays until its turn has come */
	struct tunnel **at = &ts->dead;
	for (struct tunnel *t; (t = *at) != NULL;) {
		if (t->ready) {
			at = &t->next;
			continue;
		}
		*at = t->next;
		free(t);
	}
}

static void run_ready(struct tunnels *ts)
{
	struct tunnel *t = ts->ready;
	ts->ready = NULL;
	ts->ready_last = &ts->ready;
	while (t != NULL) {
		struct tunnel *next = t->next_ready;
		t->ready = false;
		if (!t->dead)
			run(ts, t);
		t = next;
	}
}

static void *thread_main(void *arg)
{
	struct tunnels *ts = arg;
	struct epoll_event ev[BATCH];
	int64_t due = clock_mono() + SWEEP_MS;
	pthread_setname_np(pthread_self(), "tunnels");
	for (;;) {
		int64_t now = clock_mono(), until = ts->all != NULL ? due : NEVER;
		if (now >= due) {
			sweep(ts, now);
			due = now + SWEEP_MS;
		}
		if (atomic_load(&ts->stop)) {
			int64_t deadline = atomic_load(&ts->deadline);
			if (atomic_load(&ts->open) == 0 || now >= deadline)
				break;
			until = deadline < until ? deadline : until;
		}
		int n = epoll_wait(ts->epfd, ev, BATCH, ts->ready != NULL ? 0 : clock_left(until));
		for (int i = 0; i < n; i++)
			if (ev[i].data.ptr != NULL)
				event(ts, ev[i].data.ptr, ev[i].events);
			else
				take_incoming(ts);
		run_ready(ts);
		free_dead(ts);
	}
	take_incoming(ts);
	while (ts->all != NULL)
		tunnel_end(ts, ts->all, true);
	run_ready(ts);
	free_dead(ts);
	return NULL;
}

/* ---- from outside */

struct tunnels *tunnels_start(void)
{
	struct tunnels *ts = xcalloc(1, sizeof *ts);
	ts->ready_last = &ts->ready;
	ts->epfd = epoll_create1(EPOLL_CLOEXEC);
	ts->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };
	if (ts->epfd < 0 || ts->wakefd < 0 || epoll_ctl(ts->epfd, EPOLL_CTL_ADD, ts->wakefd, &ev) < 0)
		die(71, "tunnels: epoll: %s", strerror(errno));
	pthread_mutex_init(&ts->lock, NULL);
	/* signals are for the main thread; and a TLS socket that is gone shall be an error, not a SIGPIPE */
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int r = pthread_create(&ts->thread, NULL, thread_main, ts);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r != 0)
		die(71, "tunnels: thread: %s", strerror(r));
	return ts;
}

void tunnels_stop(struct tunnels **p, int64_t deadline)
{
	struct tunnels *ts = *p;
	if (ts == NULL)
		return;
	*p = NULL;
	atomic_store(&ts->deadline, deadline);
	atomic_store(&ts->stop, true);
	eventfd_write(ts->wakefd, 1);
	pthread_join(ts->thread, NULL);
	pthread_mutex_destroy(&ts->lock);
	close(ts->epfd);
	close(ts->wakefd);
	free(ts);
}

unsigned tunnels_open(struct tunnels *ts) { return atomic_load(&ts->open); }

int tunnel_reserve(struct tunnels *ts)
{
	bool room = atomic_fetch_add(&ts->open, 1) < (unsigned)conf()->connections_max;
	if (room && !atomic_load(&ts->stop))
		return 0;
	tunnel_unreserve(ts);
	return -ERR_BUSY;
}

void tunnel_unreserve(struct tunnels *ts)
{
	if (atomic_fetch_sub(&ts->open, 1) == 1 && atomic_load(&ts->stop))
		eventfd_write(ts->wakefd, 1);
}

static void end_init(struct tunnel *t, int i, int fd, SSL *ssl)
{
	t->end[i] = (struct end){ .tunnel = t, .fd = fd, .ssl = ssl, .can_read = true, .can_write = true };
	if (ssl == NULL)
		return;
	SSL_set_app_data(ssl, NULL); /* the connection that it was is somebody else's soon */
	SSL_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	if (SSL_set_fd(ssl, fd) != 1) /* no memory: the same end as xmalloc's */
		die(71, "tunnel: no memory for a BIO");
}

void tunnel_add(struct tunnels *ts, const struct tunnel_ends *e)
{
	struct tunnel *t = xcalloc(1, sizeof *t);
	end_init(t, CLIENT, e->client_fd, e->client_ssl);
	end_init(t, ORIGIN, e->origin_fd, e->origin_ssl);
	hold(&t->way[CLIENT], e->early_to_origin.p, e->early_to_origin.n);
	hold(&t->way[ORIGIN], e->early_to_client.p, e->early_to_client.n);
	t->active = clock_mono();
	count(COUNT_tunnels);
	count(COUNT_tunnels_open);
	pthread_mutex_lock(&ts->lock);
	t->next = ts->incoming;
	ts->incoming = t;
	pthread_mutex_unlock(&ts->lock);
	eventfd_write(ts->wakefd, 1);
}
