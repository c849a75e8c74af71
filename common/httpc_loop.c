/* The fetcher thread of httpc: libcurl's multi handle on epoll, and the callbacks through which it talks to transfers.
 * Nothing here ever waits for a caller. Callers are woken once a round, not once an event: a small response is one wake-up. */
#include "httpc_impl.h"
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "counters.h"
#include "log.h"

#define EVENTS 256
#define WAKE_AT (64 * 1024) /* a caller that has this much to do is woken though more may be coming at once */
#define WAKE_ROUNDS 4       /* and whoever has waited for so many rounds of events */
#define SWEEP_MS 20         /* timeouts are no finer than this */
#define REAP_MIN_MS 1000    /* libcurl looks for dead connections at most once a second */
#define REAP_MAX_MS 30000

/* ---- sockets: libcurl tells which events it wants. Between two requests on a kept connection it wants none, and the same
 * again a moment later; so a socket that we see closed stays in epoll as it is, and a request costs no epoll_ctl at all. */

static struct sock *
sock_of(struct httpc *e, int fd)
{
	if (fd >= e->socks_n) {
		int n = fd + 64;
		e->socks = xrealloc(e->socks, (size_t)n * sizeof *e->socks);
		memset(e->socks + e->socks_n, 0, (size_t)(n - e->socks_n) * sizeof *e->socks);
		e->socks_n = n;
	}
	return &e->socks[fd];
}

static void
sock_set(struct httpc *e, int fd, struct sock *s, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.fd = fd };
	if (events == 0)
		epoll_ctl(e->ep, EPOLL_CTL_DEL, fd, &ev);
	else if (epoll_ctl(e->ep, s->set ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev) != 0) {
		/* closed and opened behind our back: then the other one is right */
		if (epoll_ctl(e->ep, errno == EEXIST ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev) != 0)
			log_warn("epoll_ctl: %s", strerror(errno));
	}
	s->set = events;
}

static int
socket_cb(CURL *easy, curl_socket_t fd, int what, void *arg, void *sockp)
{
	struct httpc *e = arg;
	struct sock *s = sock_of(e, fd);
	s->want = what == CURL_POLL_REMOVE ? 0 : (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
	if (s->want != s->set && !(s->ours && s->want == 0))
		sock_set(e, fd, s, s->want);
	return 0;
}

const char *
httpc_destination_problem(const char *setting)
{
	return setting[2] == 'l' ? "it is this machine's own address, which is for its own clients (--loopback-from)" :
		"its address is among those that this proxy does not go to (--deny-destinations)";
}

/* The address is what the resolver gave for this very connection: whatever the name says the next time, this is where it goes. One that is
 * closed counts as one that does not answer; libcurl tries the others. */
static curl_socket_t
open_cb(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct xfer *x = arg;
	const char *no = x->e->via_proxy ? NULL : destination_refused_sockaddr(&x->to, &a->addr); /* else it is the parent's address */
	if (no) {
		x->denied = no;
		return CURL_SOCKET_BAD;
	}
	int fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
	if (fd >= 0) {
		*sock_of(x->e, fd) = (struct sock){ .ours = true };
		x->e->conns++;
	} else {
		x->no_socket = x->no_socket || httpc_exhausted(errno);
	}
	return fd;
}

static int
close_cb(void *arg, curl_socket_t fd)
{
	struct httpc *e = arg;
	struct sock *s = sock_of(e, fd);
	if (s->ours)
		e->conns--;
	*s = (struct sock){ 0 };
	return close(fd);
}

static void
on_event(struct httpc *e, int fd, uint32_t events)
{
	struct sock *s = sock_of(e, fd);
	int running, mask;
	if (s->want == 0) { /* an idle or paused connection: libcurl will look at it when it needs it */
		if (s->set)
			sock_set(e, fd, s, 0);
		return;
	}
	/* an error is found by reading or writing: libcurl then knows which, and takes what was sent before it */
	if (events & (EPOLLERR | EPOLLHUP))
		events |= s->want;
	mask = (events & EPOLLIN ? CURL_CSELECT_IN : 0) | (events & EPOLLOUT ? CURL_CSELECT_OUT : 0);
	curl_multi_socket_action(e->multi, fd, mask, &running);
}

static int
timer_cb(CURLM *m, long ms, void *arg)
{
	struct httpc *e = arg;
	e->curl_at = ms < 0 ? NEVER : ms == 0 ? 0 : clock_mono() + ms;
	return 0;
}

/* ---- beginning and ending */

static void
list_insert(struct httpc *e, struct xfer *x)
{
	x->next = e->active;
	x->prev = NULL;
	if (e->active)
		e->active->prev = x;
	e->active = x;
	x->active = true;
}

static void
list_remove(struct httpc *e, struct xfer *x)
{
	if (x->next)
		x->next->prev = x->prev;
	if (x->prev)
		x->prev->next = x->next;
	else
		e->active = x->next;
	x->active = false;
}

/* The fetcher lets go of it; its reference goes when the caller has been woken. */
static void
finish(struct httpc *e, struct xfer *x, int err)
{
	if (!x->waits)
		curl_multi_remove_handle(e->multi, x->easy);
	turn_give(e, x);
	list_remove(e, x);
	if (!x->internal) {
		count_add(COUNT_bytes_received, x->received);
		if (err < 0 && err != -ERR_GONE)
			count(COUNT_upstream_errors);
	}
	atomic_fetch_sub(&e->alive, 1);
	if (x->why)
		snprintf(x->problem, sizeof x->problem, "%s", x->why);
	pthread_mutex_lock(&x->lock);
	x->done = true;
	x->err = err;
	pthread_mutex_unlock(&x->lock);
	xfer_dirty(x);
}

/* A transfer that waits for its turn has no bound by libcurl. This is later than libcurl's for a connection. */
static int64_t
connected_by(const struct xfer *x)
{
	return x->read_ms > 0 ? x->begun + x->connect_ms + (x->read_ms > 1000 ? x->read_ms : 1000) : NEVER;
}

static void
go(struct httpc *e, struct xfer *x)
{
	if (curl_multi_add_handle(e->multi, x->easy) != CURLM_OK) {
		xfer_give_up(x, -ERR_NO_MEMORY, "libcurl does not take the transfer");
		finish(e, x, -ERR_NO_MEMORY);
	}
}

static void
begin(struct httpc *e, struct xfer *x)
{
	int r;
	atomic_fetch_add(&x->refs, 1); /* the fetcher's */
	list_insert(e, x);
	x->begun = x->last = e->now;
	fetcher_sweep_by(e, connected_by(x));
	if (x->total_ms > 0)
		fetcher_sweep_by(e, x->begun + x->total_ms);
	if ((r = turn_take(e, x)) > 0) {
		go(e, x);
	} else if (r < 0) {
		xfer_give_up(x, r, "too many requests wait for this origin");
		finish(e, x, r);
	}
}

/* Those that waited and may go now. */
static void
take_turns(struct httpc *e)
{
	struct xfer *x;
	while ((x = turn_next(e)))
		go(e, x);
}

static int
error_of(struct xfer *x, CURLcode c)
{
	if (x->fail)
		return x->fail;
	if (x->denied && !x->connected && c == CURLE_COULDNT_CONNECT) {
		x->why = httpc_destination_problem(x->denied);
		return -ERR_DESTINATION;
	}
	switch (c) {
	case CURLE_OK:
		if (!x->final)
			return -ERR_ORIGIN_BROKEN;
		/* libcurl has seen to it; a client must never take a short body for a whole one, so look again */
		return !x->bodyless && !x->te && x->cl >= 0 && x->received < (uint64_t)x->cl ? -ERR_ORIGIN_SHORT : 0;
	case CURLE_COULDNT_RESOLVE_HOST: case CURLE_COULDNT_RESOLVE_PROXY:
		return -ERR_ORIGIN_RESOLVE;
	case CURLE_COULDNT_CONNECT: case CURLE_PROXY: case CURLE_INTERFACE_FAILED:
		if (!x->no_socket)
			return -ERR_ORIGIN_CONNECT;
		x->why = "no socket could be made: too many are open here";
		return -ERR_BUSY;
	case CURLE_OPERATION_TIMEDOUT:
		/* the time to connect is over; libcurl's words alone tell in which phase */
		return x->connected ? -ERR_ORIGIN_TIMEOUT : strncmp(x->problem, "Resolving", 9) == 0 ? -ERR_ORIGIN_RESOLVE : -ERR_ORIGIN_CONNECT;
	case CURLE_PEER_FAILED_VERIFICATION: case CURLE_SSL_ISSUER_ERROR: case CURLE_SSL_INVALIDCERTSTATUS:
		return -ERR_ORIGIN_CERT;
	case CURLE_SSL_CONNECT_ERROR: case CURLE_SSL_CIPHER: case CURLE_SSL_CERTPROBLEM: case CURLE_SSL_ENGINE_INITFAILED:
	case CURLE_SSL_CLIENTCERT: case CURLE_USE_SSL_FAILED:
		return -ERR_ORIGIN_TLS;
	case CURLE_PARTIAL_FILE:
		return x->te_chunked ? -ERR_ORIGIN_BROKEN : -ERR_ORIGIN_SHORT;
	case CURLE_WEIRD_SERVER_REPLY: case CURLE_UNSUPPORTED_PROTOCOL: case CURLE_BAD_CONTENT_ENCODING:
	case CURLE_UPLOAD_FAILED: case CURLE_FILESIZE_EXCEEDED:
		return -ERR_ORIGIN_PROTOCOL;
	case CURLE_URL_MALFORMAT:
		return -ERR_BAD_REQUEST;
	case CURLE_OUT_OF_MEMORY:
		return -ERR_NO_MEMORY;
	default: /* GOT_NOTHING, RECV_ERROR, SEND_ERROR, SEND_FAIL_REWIND, HTTP2, HTTP2_STREAM, … */
		return x->connected ? -ERR_ORIGIN_BROKEN : -ERR_ORIGIN_CONNECT;
	}
}

static void
collect(struct httpc *e)
{
	CURLMsg *m;
	int left;
	while ((m = curl_multi_info_read(e->multi, &left))) {
		if (m->msg != CURLMSG_DONE)
			continue;
		CURLcode c = m->data.result;
		CURL *easy = m->easy_handle;
		char *private = NULL;
		if (easy == e->reaper) {
			curl_multi_remove_handle(e->multi, easy);
			e->reaping = false;
			continue;
		}
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
		struct xfer *x = (struct xfer *)(void *)private;
		int err = error_of(x, c);
		if (err < 0 && !x->problem[0])
			snprintf(x->problem, sizeof x->problem, "%s", c == CURLE_OK ? err_text(err) : curl_easy_strerror(c));
		if (e->o.http2 && err == 0) {
			long version = 0;
			curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
			turn_http2(e, x, version >= CURL_HTTP_VERSION_2_0);
		}
		finish(e, x, err);
	}
}

/* Tells libcurl which directions are held. */
static void
pause_as_held(struct xfer *x)
{
	curl_easy_pause(x->easy, (x->recv_held ? CURLPAUSE_RECV : 0) | (x->send_held ? CURLPAUSE_SEND : 0));
}

static void
release(struct xfer *x, bool recv, bool send)
{
	if (recv)
		x->recv_held = false;
	if (send)
		x->send_held = false;
	xfer_alive(x);
	if (x->read_ms > 0)
		fetcher_sweep_by(x->e, x->e->now + x->read_ms);
	if (recv && x->stretch_at)
		xfer_stretch(x); /* what the caller held up is not the origin's slowness */
	pause_as_held(x);
}

static void
obey(struct httpc *e, struct xfer *x, unsigned cmds)
{
	if (cmds & DO_CANCEL) {
		if (x->active)
			finish(e, x, -ERR_GONE);
		else if (cmds & DO_BEGIN)
			atomic_fetch_sub(&e->alive, 1);
		return;
	}
	if (cmds & DO_BEGIN)
		begin(e, x);
	if (!x->active)
		return;
	pthread_mutex_lock(&x->lock);
	bool wait = x->await_continue;
	pthread_mutex_unlock(&x->lock);
	bool recv = (cmds & DO_RESUME) && x->recv_held, send = (cmds & DO_BODY) && x->send_held && !wait;
	if (recv || send)
		release(x, recv, send);
}

static void
take_commands(struct httpc *e)
{
	struct xfer *q = atomic_load(&e->queue), *in_order = NULL, *x;
	if (!q)
		return;
	q = atomic_exchange(&e->queue, NULL);
	while ((x = q)) {
		q = x->qnext;
		x->qnext = in_order;
		in_order = x;
	}
	while ((x = in_order)) {
		in_order = x->qnext;
		obey(e, x, atomic_exchange(&x->cmds, 0)); /* from here on it may be queued again */
		xfer_unref(x);
	}
}

/* ---- time */

/* Has the transfer had its time, or is its body too slow? Then why, else NULL and *at is when to look again. */
static const char *
over(struct xfer *x, int64_t now, int64_t *at)
{
	if (x->total_ms > 0) {
		if (now >= x->begun + x->total_ms)
			return "the answer took longer than it may in all";
		*at = x->begun + x->total_ms < *at ? x->begun + x->total_ms : *at;
	}
	if (!x->stretch_at || x->recv_held)
		return NULL;
	if (now >= x->stretch_at + x->low_ms) {
		if ((double)(x->received - x->stretch_from) * 1000 < (double)x->low_speed * (double)(now - x->stretch_at))
			return "the origin sends more slowly than it may";
		xfer_stretch(x);
	}
	*at = x->stretch_at + x->low_ms < *at ? x->stretch_at + x->low_ms : *at;
	return NULL;
}

static void
sweep(struct httpc *e)
{
	int64_t now = e->now;
	e->sweep_at = NEVER;
	for (struct xfer *x = e->active, *next; x; x = next) {
		next = x->next;
		if (x->await_continue && x->go_on_at && x->go_on_at <= now) { /* only this thread changes it */
			pthread_mutex_lock(&x->lock);
			x->await_continue = false;
			pthread_mutex_unlock(&x->lock);
			x->go_on = x->send_held;
		} else if (x->await_continue && x->go_on_at) {
			fetcher_sweep_by(e, x->go_on_at);
		}
		if (x->go_on) {
			x->go_on = false;
			release(x, false, true);
		}
		int64_t at = NEVER;
		if (!x->connected)
			at = connected_by(x);
		else if (x->read_ms > 0 && !x->recv_held && !x->send_held)
			at = x->last + x->read_ms;
		const char *why = at > now ? over(x, now, &at) : NULL;
		if (why) {
			snprintf(x->problem, sizeof x->problem, "%s", x->send_held ? "the request took longer than it and its answer may in all" : why);
			finish(e, x, x->send_held ? -ERR_BUSY : -ERR_ORIGIN_TIMEOUT); /* who still waits for the request is not slow */
		} else if (at > now) {
			fetcher_sweep_by(e, at);
		} else if (x->connected) {
			snprintf(x->problem, sizeof x->problem, "the origin was silent for %.1f seconds", (double)x->read_ms / 1000);
			finish(e, x, -ERR_ORIGIN_TIMEOUT);
		} else {
			snprintf(x->problem, sizeof x->problem, "no connection to the origin became free in time");
			finish(e, x, -ERR_BUSY);
		}
	}
	if (e->sweep_at < now + SWEEP_MS)
		e->sweep_at = now + SWEEP_MS;
}

static curl_socket_t
open_nothing_cb(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	return CURL_SOCKET_BAD;
}

/* libcurl closes connections that are dead or too old only when it looks for one. So it is sent looking, for one that open_cb
 * then refuses: no packet leaves. */
static void
reap(struct httpc *e)
{
	bool all = atomic_exchange(&e->kill_idle, false);
	e->reap_at = e->now + (e->o.idle_ms / 2 < REAP_MIN_MS ? REAP_MIN_MS : e->o.idle_ms / 2 > REAP_MAX_MS ? REAP_MAX_MS : e->o.idle_ms / 2);
	if (e->conns == 0 || e->reaping || !e->reaper)
		return;
	curl_easy_setopt(e->reaper, CURLOPT_MAXAGE_CONN, all ? 0L : (long)(e->o.idle_ms + 999) / 1000);
	e->reaping = curl_multi_add_handle(e->multi, e->reaper) == CURLM_OK;
}

/* ---- the loop */

/* Wakes the callers of dirty transfers; when more may be coming at once (!all) only those that have a good deal to do. */
static void
wake_callers(struct httpc *e, bool all)
{
	struct xfer *x = e->dirty;
	e->dirty = NULL;
	for (struct xfer *next; x; x = next) {
		next = x->dnext;
		bool gone = !x->active;
		pthread_mutex_lock(&x->lock);
		bool wake = all || x->done || x->recv_paused || x->buffered >= WAKE_AT;
		bool signal = wake && x->waiting, hold = x->recv_paused && x->active && !x->recv_held;
		if (signal)
			x->waiting = false;
		pthread_mutex_unlock(&x->lock);
		if (signal) /* not under the lock: the caller would wake up only to wait for it */
			xfer_wake(x);
		if (hold) {
			x->recv_held = true;
			pause_as_held(x);
		}
		x->dirty = false;
		if (!wake)
			xfer_dirty(x);
		else if (gone)
			xfer_unref(x);
	}
}

static int
nap(struct httpc *e)
{
	int64_t at = e->curl_at < e->sweep_at ? e->curl_at : e->sweep_at;
	if (e->conns > 0 && e->reap_at < at)
		at = e->reap_at;
	if (e->dirty || at <= e->now)
		return 0;
	return at == NEVER ? -1 : at - e->now > 60000 ? 60000 : (int)(at - e->now);
}

void *
fetcher_main(void *arg)
{
	struct httpc *e = arg;
	struct epoll_event ev[EVENTS];
	int running, rounds = 0;
	pthread_setname_np(pthread_self(), "fetcher");
	while (!atomic_load(&e->stopping)) {
		e->now = clock_mono();
		take_commands(e);
		/* libcurl sets it anew, often to "at once": but full buffers must be seen to before it reads on */
		for (int i = 0; e->curl_at <= e->now && (i == 0 || !e->dirty) && i < 8; i++) {
			e->curl_at = NEVER;
			curl_multi_socket_action(e->multi, CURL_SOCKET_TIMEOUT, 0, &running);
		}
		collect(e);
		if (e->sweep_at <= e->now)
			sweep(e);
		if ((e->conns > 0 && e->reap_at <= e->now) || atomic_load(&e->kill_idle))
			reap(e);
		take_turns(e);
		int timeout = nap(e);
		if (timeout != 0) {
			atomic_store(&e->sleeping, true);
			if (atomic_load(&e->queue) || atomic_load(&e->stopping) || atomic_load(&e->kill_idle)) {
				atomic_store(&e->sleeping, false);
				timeout = 0;
			}
		}
		int n = epoll_wait(e->ep, ev, EVENTS, timeout);
		if (timeout != 0) {
			atomic_store(&e->sleeping, false);
			e->now = clock_mono();
		}
		for (int i = 0; i < n; i++) {
			if (ev[i].data.fd != e->wake)
				on_event(e, ev[i].data.fd, ev[i].events);
		}
		if (n > 0)
			collect(e);
		if (e->dirty) {
			bool all = n <= 0 || ++rounds >= WAKE_ROUNDS;
			if (all)
				rounds = 0;
			wake_callers(e, all);
		}
	}
	e->now = clock_mono();
	for (struct xfer *q = atomic_exchange(&e->queue, QUEUE_CLOSED), *next; q; q = next) {
		next = q->qnext;
		obey(e, q, atomic_exchange(&q->cmds, 0));
		xfer_unref(q);
	}
	while (e->active) {
		xfer_give_up(e->active, -ERR_GONE, "the proxy is stopping");
		finish(e, e->active, -ERR_GONE);
	}
	wake_callers(e, true);
	return NULL;
}

/* ---- options that never change */

static CURLcode
ssl_ctx_cb(CURL *easy, void *ctx, void *arg)
{
	struct xfer *x = arg;
	struct httpc *e = x->e;
	/* One store for all connections: reading the system's certificates for each one takes longer than its handshake. */
	SSL_CTX_set1_cert_store(ctx, e->store);
	trust_demands(e, ctx, x);
	return CURLE_OK;
}

static void
connection_options(struct httpc *e, CURL *c)
{
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* Else giving up on a name waits for its lookup's thread, and all transfers with it, for as long as a name server may be silent. */
	curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L);
#endif
	curl_easy_setopt(c, CURLOPT_SHARE, e->share);
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c, CURLOPT_PROXY, e->via_proxy ? e->via_proxy : "");
	curl_easy_setopt(c, CURLOPT_NOPROXY, e->via_proxy ? "" : "*");
	curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, open_cb);
	curl_easy_setopt(c, CURLOPT_CLOSESOCKETFUNCTION, close_cb);
	curl_easy_setopt(c, CURLOPT_CLOSESOCKETDATA, e);
	curl_easy_setopt(c, CURLOPT_MAXAGE_CONN, (long)(e->o.idle_ms + 999) / 1000);
	curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(c, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(c, CURLOPT_CAINFO, NULL);
	curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
	curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, e->o.tls_skip_verify ? 0L : 1L);
	curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, e->o.tls_skip_verify ? 0L : 2L);
	curl_easy_setopt(c, CURLOPT_HTTP_VERSION, e->o.http2 ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
}

CURL *
fetcher_easy(struct httpc *e, struct xfer *x)
{
	CURL *c = curl_easy_init();
	if (!c)
		return NULL;
	connection_options(e, c);
	curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, x);
	curl_easy_setopt(c, CURLOPT_PRIVATE, x);
	curl_easy_setopt(c, CURLOPT_SSL_CTX_FUNCTION, ssl_ctx_cb);
	curl_easy_setopt(c, CURLOPT_SSL_CTX_DATA, x);
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, x->problem);
	curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, xfer_header_cb);
	curl_easy_setopt(c, CURLOPT_HEADERDATA, x);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, xfer_write_cb);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, x);
	curl_easy_setopt(c, CURLOPT_READFUNCTION, xfer_read_cb);
	curl_easy_setopt(c, CURLOPT_READDATA, x);
	curl_easy_setopt(c, CURLOPT_PREREQFUNCTION, xfer_prereq_cb);
	curl_easy_setopt(c, CURLOPT_PREREQDATA, x);
	curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(c, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	curl_easy_setopt(c, CURLOPT_HTTP09_ALLOWED, 0L);
	curl_easy_setopt(c, CURLOPT_HTTP_CONTENT_DECODING, 0L);
	curl_easy_setopt(c, CURLOPT_HTTP_TRANSFER_DECODING, 1L);
	curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(c, CURLOPT_BUFFERSIZE, (long)RECEIVE_SIZE);
	return c;
}

static void
share_lock(CURL *c, curl_lock_data d, curl_lock_access a, void *arg)
{
	pthread_mutex_lock(&((struct httpc *)arg)->share_lock[d]);
}

static void
share_unlock(CURL *c, curl_lock_data d, void *arg)
{
	pthread_mutex_unlock(&((struct httpc *)arg)->share_lock[d]);
}

void
fetcher_init(struct httpc *e)
{
	for (int i = 0; i < CURL_LOCK_DATA_LAST; i++)
		pthread_mutex_init(&e->share_lock[i], NULL);
	e->multi = curl_multi_init();
	e->share = curl_share_init();
	e->ep = epoll_create1(EPOLL_CLOEXEC);
	e->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!e->multi || !e->share || e->ep < 0 || e->wake < 0)
		die(1, "the fetcher cannot be made: %s", strerror(errno));
	/* edge-triggered: each write is one event, and it need not be read */
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.fd = e->wake };
	epoll_ctl(e->ep, EPOLL_CTL_ADD, e->wake, &ev);
	e->now = clock_mono();
	e->curl_at = e->sweep_at = NEVER;
	e->reap_at = e->now + REAP_MIN_MS;
	curl_share_setopt(e->share, CURLSHOPT_LOCKFUNC, share_lock);
	curl_share_setopt(e->share, CURLSHOPT_UNLOCKFUNC, share_unlock);
	curl_share_setopt(e->share, CURLSHOPT_USERDATA, e);
	curl_share_setopt(e->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
	curl_multi_setopt(e->multi, CURLMOPT_SOCKETFUNCTION, socket_cb);
	curl_multi_setopt(e->multi, CURLMOPT_SOCKETDATA, e);
	curl_multi_setopt(e->multi, CURLMOPT_TIMERFUNCTION, timer_cb);
	curl_multi_setopt(e->multi, CURLMOPT_TIMERDATA, e);
	curl_multi_setopt(e->multi, CURLMOPT_MAXCONNECTS, e->o.max_connections);
	curl_multi_setopt(e->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, e->o.max_connections);
	curl_multi_setopt(e->multi, CURLMOPT_MAX_HOST_CONNECTIONS, e->via_proxy ? 0L : e->o.max_per_host); /* the proxy is not the origin */
	curl_multi_setopt(e->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
	if ((e->reaper = curl_easy_init())) {
		connection_options(e, e->reaper);
		curl_easy_setopt(e->reaper, CURLOPT_URL, "http://127.0.0.1:9/");
		curl_easy_setopt(e->reaper, CURLOPT_PROXY, "");
		curl_easy_setopt(e->reaper, CURLOPT_NOPROXY, "*");
		curl_easy_setopt(e->reaper, CURLOPT_OPENSOCKETFUNCTION, open_nothing_cb);
	}
}

void
fetcher_fini(struct httpc *e)
{
	if (e->reaper) {
		curl_multi_remove_handle(e->multi, e->reaper);
		curl_easy_cleanup(e->reaper);
	}
	curl_multi_cleanup(e->multi);
	turns_fini(e);
	close(e->ep);
	free(e->socks);
	e->socks = NULL;
	e->socks_n = 0;
}
