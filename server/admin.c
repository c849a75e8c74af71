/* admin.c - the admin process: a small HTTP/1.1 server on the health port. One thread, one poll loop, one request a connection; everything
 * about it is bounded, for its port may be open to the world:
 *   CLIENTS_MAX connections (a newcomer takes the place of the one that has been there longest), REQUEST_MS for each to ask and as
 *   much again to take the answer, HEAD_MAX bytes of a head, no request bodies.
 * /health, /ready and /metrics are for all. /debug/… is for this machine, and for who knows the debug token; to others it does not exist.
 * What changes something (POST /purge, /bans/lift) is for who knows the token, and for who can open the socket <state>/run/admin: the commands.
 * Their pages (cmd.h) may take long, so they have a thread of their own; there are up to COMMANDS_MAX at a time, the others get 503. */
#include "admin.h"
#include <errno.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/fd.h"
#include "../common/httpdate.h"
#include "../common/log.h"
#include "../common/netrange.h"
#include "cmd.h"
#include "heritage.h"
#include "http1.h"
#include "policyfile.h"
#include "worker.h"

#define CLIENTS_MAX 64
#define HEAD_MAX (64 * 1024)  /* a command's URL and header fields stand in its request line */
#define ANSWER_HEAD_MAX 4096
#define COMMANDS_MAX 8
#define REQUEST_MS 5000
#define LINGER_MS 1000       /* after the answer: what still comes is thrown away so long, so that the answer arrives (RFC 9112 9.6) */
#define TICK_MS 1000

enum phase { READING, ASKED, WRITING, LINGERING };
struct client {
	int fd;                      /* -1: free */
	enum phase phase;
	bool local, trusted;         /* from this machine; by the socket */
	int64_t deadline;
	size_t n, seen;
	struct arena arena;
	struct str out;              /* what is still to be written */
	char in[HEAD_MAX];
	/* ASKED: the commands' thread has the arena and these until answered */
	struct http_request req;
	struct page page;
	_Atomic bool answered;
};
static struct client clients[CLIENTS_MAX];
static int wakefd = -1, socket_fd = -1;
static struct ruleset *_Atomic rules;  /* replaced by SIGHUP, when they have changed; old ones are kept, for a command may be using one */

static void client_close(struct client *c)
{
	fd_close(&c->fd);
	arena_fini(&c->arena);
}

/* ---- answering */

static bool is_loopback(const struct sockaddr_storage *a)
{
	struct in6_addr peer;
	address_of(a, &peer);
	return IN6_IS_ADDR_LOOPBACK(&peer) || (IN6_IS_ADDR_V4MAPPED(&peer) && peer.s6_addr[12] == 127);
}

static bool has_token(const struct http_request *req)
{
	struct str token = str_c(conf()->debug_token), given = headers_get(&req->headers, STR("Authorization"));
	if (token.n == 0 || !str_caseeq(str_cut(&given, ' '), STR("Bearer")))
		return false;
	given = str_trim(given);
	return given.n == token.n && CRYPTO_memcmp(given.p, token.p, token.n) == 0;
}

static bool may_change(const struct client *c, const struct http_request *req) { return c->trusted || has_token(req); }

/* A page of a stranger's in a browser on this machine may ask for what it likes here, and read the answer when its name resolves to us. */
static bool names_us(struct str host)
{
	return url_is_ip(host, NULL) || str_caseeq(host, STR("localhost")) || str_caseeq(host, str_c(heritage.hostname));
}

static bool may_debug(const struct client *c, const struct http_request *req)
{
	if (c->local && !headers_has(&req->headers, STR("Via")) && names_us(req->url.host)) /* a client of the proxy that asks for this port through it is not local */
		return true;
	return may_change(c, req);
}

static void not_allowed(struct arena *a, struct page *out, bool changes)
{
	cmd_say(a, out, 405, "%s", changes ? "POST only" : "GET and HEAD only");
	headers_add(&out->headers, STR("Allow"), changes ? STR("POST") : STR("GET, HEAD"));
}

/* Some ten milliseconds, or as long as it takes to look at all documents: not in this thread. */
static bool is_command(const struct client *c, const struct http_request *req)
{
	enum cmd_page kind = cmd_page(req->url.path);
	if (kind == CMD_CHANGES)
		return req->method == METHOD_POST && may_change(c, req);
	return kind == CMD_TELLS && (req->method == METHOD_GET || req->method == METHOD_HEAD) && may_debug(c, req);
}

static void answer(const struct client *c, const struct http_request *req, struct arena *a, struct page *out)
{
	struct str path = req->url.path;
	bool debug = (str_eq(path, STR("/debug")) || str_starts(path, STR("/debug/"))) && may_debug(c, req);
	if (cmd_page(path) == CMD_CHANGES && may_change(c, req))
		not_allowed(a, out, true);
	else if (req->method != METHOD_GET && req->method != METHOD_HEAD)
		not_allowed(a, out, false);
	else if (str_eq(path, STR("/health")))
		admin_health(req, a, out);
	else if (str_eq(path, STR("/ready")))
		admin_ready(a, out);
	else if (str_eq(path, STR("/metrics")))
		admin_metrics(a, out);
	else if (!debug || !admin_debug(str_from(path, sizeof "/debug/" - 1), a, out))
		cmd_say(a, out, 404, "there is no such page");
}

static void respond(struct client *c, struct page *p, bool head_only)
{
	char date[HTTPDATE_SIZE];
	struct page_text t = { .arena = &c->arena };
	char *head = arena_alloc(&c->arena, ANSWER_HEAD_MAX);
	httpdate_format(clock_wall() / 1000, date);
	headers_add_copy(&p->headers, STR("Date"), str_c(date));
	headers_set(&p->headers, STR("Content-Length"), arena_printf(&c->arena, "%zu", p->body.n));
	headers_set(&p->headers, STR("Connection"), STR("close"));
	int64_t n = http1_write_status(head, ANSWER_HEAD_MAX, p->status, STR_NONE, &p->headers);
	INVARIANT(n > 0); /* all of it is our own words */
	page_add(&t, (struct str){ head, (size_t)n });
	if (!head_only)
		page_add(&t, p->body);
	c->out = (struct str){ t.p, t.n };
	c->phase = WRITING;
	c->deadline = clock_mono() + REQUEST_MS;
}

/* ---- commands, in their own thread */

static struct { pthread_mutex_t lock; pthread_cond_t work; struct client *waiting[COMMANDS_MAX]; unsigned n; } commands =
	{ .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER };
static unsigned asked; /* clients in ASKED: also those that wait for nothing but this thread to see their answer */

static struct client *next_command(void)
{
	pthread_mutex_lock(&commands.lock);
	while (commands.n == 0)
		pthread_cond_wait(&commands.work, &commands.lock);
	struct client *c = commands.waiting[0];
	memmove(commands.waiting, commands.waiting + 1, --commands.n * sizeof *commands.waiting);
	pthread_mutex_unlock(&commands.lock);
	return c;
}

static void *commands_main(void *arg)
{
	struct cmd_place place = { .fills = heritage.shared.fills, .bans = heritage.shared.bans };
	(void)arg;
	for (;;) {
		struct client *c = next_command();
		if (place.metadata == NULL) /* most instances are never asked */
			cmd_place_open(&place, true);
		place.rules = atomic_load(&rules);
		if (place.metadata == NULL || !cmd_answer(&place, &c->req, &c->arena, &c->page))
			cmd_say(&c->arena, &c->page, 503, "the state directory cannot be used");
		atomic_store(&c->answered, true);
		eventfd_write(wakefd, 1);
	}
	return NULL;
}

static bool submit(struct client *c)
{
	static bool started;
	pthread_t thread;
	if (!started) {
		sigset_t all, old;
		sigfillset(&all); /* signals are the first thread's */
		pthread_sigmask(SIG_SETMASK, &all, &old);
		started = pthread_create(&thread, NULL, commands_main, NULL) == 0;
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	pthread_mutex_lock(&commands.lock);
	bool room = started && asked < COMMANDS_MAX;
	if (room) {
		asked++;
		c->phase = ASKED;
		atomic_store(&c->answered, false);
		commands.waiting[commands.n++] = c;
		pthread_cond_signal(&commands.work);
	}
	pthread_mutex_unlock(&commands.lock);
	return room;
}

static void request(struct client *c, struct str head)
{
	static const struct http1_limits limits = { .line = HEAD_MAX, .head = HEAD_MAX, .fields = 100 };
	struct http1_framing framing;
	enum http1_target target;
	struct page p;
	int e = http1_request(head, NULL, &limits, &c->arena, &c->req, &framing, &target);
	if (e < 0)
		cmd_say(&c->arena, &p, err_status(e), "%s", framing.problem != NULL ? framing.problem : err_text(e));
	else if (target == TARGET_AUTHORITY || target == TARGET_ASTERISK)
		not_allowed(&c->arena, &p, false);
	else if (is_command(c, &c->req)) {
		if (submit(c))
			return;
		cmd_say(&c->arena, &p, 503, "too many commands at a time");
	} else
		answer(c, &c->req, &c->arena, &p);
	respond(c, &p, e == 0 && c->req.method == METHOD_HEAD);
}

/* ---- connections */

static void client_read(struct client *c)
{
	static const struct http1_limits limits = { .line = HEAD_MAX, .head = HEAD_MAX, .fields = 100 };
	struct page p;
	ssize_t r = recv(c->fd, c->in + c->n, sizeof c->in - c->n, 0);
	if (r <= 0) {
		if (r == 0 || (errno != EAGAIN && errno != EINTR))
			client_close(c);
		return;
	}
	c->n += (size_t)r;
	int head = http1_scan(c->in, c->n, &c->seen, &limits);
	if (head > 0)
		request(c, (struct str){ c->in, (size_t)head });
	else if (head < 0) {
		cmd_say(&c->arena, &p, err_status(head), "%s", head == -ERR_BAD_REQUEST ? http1_scan_problem(c->in, c->n) : err_text(head));
		respond(c, &p, false);
	}
}

static void client_write(struct client *c)
{
	ssize_t r = send(c->fd, c->out.p, c->out.n, MSG_NOSIGNAL);
	if (r < 0) {
		if (errno != EAGAIN && errno != EINTR)
			client_close(c);
		return;
	}
	c->out = str_from(c->out, (size_t)r);
	if (c->out.n > 0)
		return;
	shutdown(c->fd, SHUT_WR);
	c->phase = LINGERING;
	c->deadline = clock_mono() + LINGER_MS;
}

static void client_linger(struct client *c)
{
	ssize_t r = recv(c->fd, c->in, sizeof c->in, 0);
	if (r == 0 || (r < 0 && errno != EAGAIN && errno != EINTR))
		client_close(c);
}

static void client_ready(struct client *c)
{
	if (c->phase == READING)
		client_read(c);
	if (c->fd >= 0 && c->phase == WRITING) /* mostly at once: the socket's buffer is empty */
		client_write(c);
	if (c->fd >= 0 && c->phase == LINGERING)
		client_linger(c);
}

/* A free place, or that of the one that was given its deadline first. There is one: COMMANDS_MAX is less than CLIENTS_MAX. */
static struct client *place(void)
{
	struct client *oldest = NULL;
	for (unsigned i = 0; i < CLIENTS_MAX; i++) {
		if (clients[i].fd < 0)
			return &clients[i];
		if (clients[i].phase != ASKED && (oldest == NULL || clients[i].deadline < oldest->deadline))
			oldest = &clients[i];
	}
	client_close(oldest);
	return oldest;
}

static void accept_clients(int listen_fd)
{
	for (int i = 0; i < CLIENTS_MAX; i++) {
		struct sockaddr_storage peer;
		socklen_t n = sizeof peer;
		int fd = accept4(listen_fd, (struct sockaddr *)&peer, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		struct client *c = place();
		c->fd = fd;
		c->phase = READING;
		c->trusted = listen_fd == socket_fd;
		c->local = c->trusted || is_loopback(&peer);
		c->deadline = clock_mono() + REQUEST_MS;
		c->n = c->seen = 0;
		c->out = STR_NONE;
		arena_init(&c->arena);
	}
}

static void serve_once(void)
{
	struct pollfd pfds[CLIENTS_MAX + 4];
	unsigned who[CLIENTS_MAX], n = 0;
	int64_t now = clock_mono(), until = now + TICK_MS;
	for (unsigned i = 0; i < CLIENTS_MAX; i++) {
		struct client *c = &clients[i];
		if (c->fd >= 0 && c->phase == ASKED) {
			if (!atomic_load(&c->answered))
				continue; /* as long as it takes */
			asked--;
			respond(c, &c->page, c->req.method == METHOD_HEAD);
		}
		if (c->fd >= 0 && c->deadline <= now)
			client_close(c);
		if (c->fd < 0)
			continue;
		until = c->deadline < until ? c->deadline : until;
		who[n] = i;
		pfds[n++] = (struct pollfd){ .fd = c->fd, .events = c->phase == WRITING ? POLLOUT : POLLIN };
	}
	pfds[n] = (struct pollfd){ .fd = heritage.health_fd, .events = POLLIN };
	pfds[n + 1] = (struct pollfd){ .fd = heritage.lifeline, .events = 0 }; /* it hangs up when the master is gone */
	pfds[n + 2] = (struct pollfd){ .fd = wakefd, .events = POLLIN };
	pfds[n + 3] = (struct pollfd){ .fd = socket_fd, .events = POLLIN };
	if (poll(pfds, n + 4, clock_left(until)) <= 0)
		return;
	for (unsigned i = 0; i < n; i++)
		if (pfds[i].revents != 0)
			client_ready(&clients[who[i]]);
	if (pfds[n].revents & POLLIN)
		accept_clients(heritage.health_fd);
	if (pfds[n + 3].revents & POLLIN)
		accept_clients(socket_fd);
	eventfd_t ignored;
	if (pfds[n + 2].revents != 0)
		eventfd_read(wakefd, &ignored);
}

/* As a worker does; the master has said what is wrong. */
static void reload(void)
{
	char problem[RULE_PROBLEM];
	if (settings_reload() < 0)
		return;
	log_open(conf()->log_file);
	struct ruleset *rs = rules_reread(problem);
	if (rs != NULL)
		atomic_store(&rules, rs);
}

int admin_main(unsigned index)
{
	(void)index;
	wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	signal_wakes(wakefd);
	for (unsigned i = 0; i < CLIENTS_MAX; i++)
		clients[i].fd = -1;
	if (heritage.health_fd >= 0)
		fd_nonblock(heritage.health_fd);
	atomic_store(&rules, heritage.rules);
	if ((socket_fd = cmd_socket_listen()) < 0)
		log_warn("%s/run/admin: %s; passsage purge and others cannot reach this instance", conf()->state_dir, strerror(errno));
	while (!stopping && !master_gone()) { /* draining comes as a word in shared memory: /ready answers until the end */
		serve_once();
		if (reload_wanted) {
			reload_wanted = 0;
			reload();
		}
		dump_wanted = 0;
	}
	_exit(0); /* a command may be at work */
}
