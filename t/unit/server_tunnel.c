/* Tunnels: every byte both ways, in order; ends passed on; nobody who takes nothing makes memory grow. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>
#include "../../common/clock.h"
#include "../../common/counters.h"
#include "../../common/err.h"
#include "../../common/settings.h"
#include "../../server/tunnel.h"
#include "tap.h"

#define MANY 200
#define BIG (8 * 1024 * 1024)

static struct tunnels *ts;

/* client ↔ [0]=tunnel=[1] ↔ origin */
static void
make(int *client, int *origin, struct str to_origin, struct str to_client)
{
	int a[2], b[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, a) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, b) < 0 || tunnel_reserve(ts) < 0) {
		printf("Bail out! no sockets\n");
		_exit(1);
	}
	fcntl(a[1], F_SETFL, O_NONBLOCK);
	fcntl(b[1], F_SETFL, O_NONBLOCK);
	*client = a[0];
	*origin = b[0];
	tunnel_add(ts, &(struct tunnel_ends){ .client_fd = a[1], .origin_fd = b[1], .early_to_origin = to_origin, .early_to_client = to_client });
}

static ssize_t
get(int fd, char *p, size_t n) /* up to n, up to the end, 5 s */
{
	size_t have = 0;
	while (have < n) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN };
		if (poll(&pfd, 1, 5000) <= 0)
			return -1;
		ssize_t r = read(fd, p + have, n - have);
		if (r <= 0)
			return r < 0 ? -1 : (ssize_t)have;
		have += (size_t)r;
	}
	return (ssize_t)have;
}

static bool
gone(unsigned n) /* are there only n tunnels, soon? */
{
	for (int i = 0; i < 500 && tunnels_open(ts) != n; i++)
		usleep(10000);
	return tunnels_open(ts) == n;
}

static void
talk(void)
{
	int c, o;
	char b[64];
	make(&c, &o, STR("early"), STR("hello"));
	ok(get(o, b, 5) == 5 && memcmp(b, "early", 5) == 0, "what was read behind the head comes first");
	ok(get(c, b, 5) == 5 && memcmp(b, "hello", 5) == 0, "… the other way too");
	for (int i = 0; i < 3; i++) {
		ok(write(c, "ping", 4) == 4 && get(o, b, 4) == 4 && memcmp(b, "ping", 4) == 0, "client to origin");
		ok(write(o, "pong", 4) == 4 && get(c, b, 4) == 4 && memcmp(b, "pong", 4) == 0, "origin to client");
	}
	shutdown(c, SHUT_WR);
	is_int(get(o, b, 1), 0, "the end of one way is passed on");
	ok(write(o, "after", 5) == 5 && get(c, b, 5) == 5, "… and the other way goes on");
	is_int(tunnels_open(ts), 1, "it is open");
	close(o);
	is_int(get(c, b, 1), 0, "the other end too");
	ok(gone(0), "then it is over");
	close(c);
}

static void *
pour(void *arg)
{
	int fd = *(int *)arg;
	char piece[5000];
	for (size_t at = 0; at < BIG;) {
		size_t n = BIG - at < sizeof piece ? BIG - at : sizeof piece;
		for (size_t i = 0; i < n; i++)
			piece[i] = (char)((at + i) * 31 >> 3);
		ssize_t r = write(fd, piece, n);
		if (r <= 0)
			break;
		at += (size_t)r;
	}
	shutdown(fd, SHUT_WR);
	return NULL;
}

static bool
check(int fd)
{
	char b[65536];
	size_t at = 0;
	for (;;) {
		ssize_t r = read(fd, b, sizeof b);
		if (r <= 0)
			return r == 0 && at == BIG;
		for (ssize_t i = 0; i < r; i++)
			if (b[i] != (char)((at + (size_t)i) * 31 >> 3))
				return false;
		at += (size_t)r;
	}
}

static void *check_thread(void *arg) { return check(*(int *)arg) ? arg : NULL; }

/* 8 MiB each way at the same time, each side slower than its sender, and the first bytes only after a pause. */
static void
big(void)
{
	int c, o;
	pthread_t t[3];
	void *good;
	uint64_t sent = counters_row[COUNT_bytes_sent];
	make(&c, &o, STR_NONE, STR_NONE);
	pthread_create(&t[0], NULL, pour, &c);
	pthread_create(&t[1], NULL, pour, &o);
	usleep(300000);
	ok(counters_row[COUNT_bytes_sent] - sent < 2 * 1024 * 1024, "a sender waits while nobody takes what it sends");
	pthread_create(&t[2], NULL, check_thread, &o);
	ok(check(c), "a client gets 8 MiB as they were sent, up to their end");
	pthread_join(t[2], &good);
	ok(good != NULL, "so does the origin at the same time");
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	is_int(counters_row[COUNT_bytes_sent] - sent, BIG, "bytes to the client are counted");
	ok(gone(0), "both ways ended: it is over");
	close(c);
	close(o);
}

static void
broken(void)
{
	int c, o;
	char b[8];
	make(&c, &o, STR_NONE, STR_NONE);
	ok(write(c, "x", 1) == 1 && get(o, b, 1) == 1, "a tunnel works");
	close(c); /* an end of file: the origin still talks … */
	is_int(get(o, b, 1), 0, "a client that left is an end");
	ok(write(o, "y", 1) == 1, "the origin talks to nobody");
	ok(gone(0), "… and the tunnel is over");
	close(o);
}

static void
many(void)
{
	static int c[MANY], o[MANY];
	char b[2];
	int good = 0;
	for (int i = 0; i < MANY; i++)
		make(&c[i], &o[i], STR_NONE, STR_NONE);
	is_int(tunnel_reserve(ts), -ERR_BUSY, "the bound holds");
	for (int round = 0; round < 5; round++)
		for (int i = 0; i < MANY; i++) {
			char x = (char)(i + round);
			good += write(c[i], &x, 1) == 1;
		}
	for (int i = 0; i < MANY; i++)
		for (int round = 0; round < 5; round++)
			good += get(o[i], b, 1) == 1 && b[0] == (char)(i + round);
	is_int(good, 10 * MANY, "many at a time, none gets another's bytes");
	for (int i = 0; i < MANY; i++)
		close(i % 2 ? c[i] : o[i]);
	for (int i = 0; i < MANY; i++)
		good += get(i % 2 ? o[i] : c[i], b, 1) == 0;
	is_int(good, 11 * MANY, "all of them hear of the end");
	for (int i = 0; i < MANY; i++)
		close(i % 2 ? o[i] : c[i]);
	ok(gone(0), "… and are over");
}

static void
idle(struct settings *s)
{
	int c, o;
	char b[2];
	s->tunnel_idle_ms = 300;
	make(&c, &o, STR_NONE, STR_NONE);
	is_int(get(c, b, 1), 0, "silence both ways ends a tunnel");
	is_int(get(o, b, 1), 0, "… on both sides");
	ok(gone(0), "… and it is over");
	s->tunnel_idle_ms = 60000;
	close(c);
	close(o);
}

static void
stop(void)
{
	int c, o;
	char b[2];
	make(&c, &o, STR_NONE, STR_NONE);
	int64_t began = clock_mono();
	tunnels_stop(&ts, began + 400);
	ok(clock_mono() - began >= 400, "stopping waits for tunnels up to the deadline");
	ok(get(c, b, 1) <= 0 && get(o, b, 1) <= 0, "… and then cuts them");
	close(c);
	close(o);
	ts = tunnels_start();
	began = clock_mono();
	tunnels_stop(&ts, began + 5000);
	ok(clock_mono() - began < 3000, "none open: it stops at once");
}

int
main(void)
{
	static struct settings s;
	signal(SIGPIPE, SIG_IGN);
	settings_defaults();
	const struct settings *defaults = conf();
	s = *defaults;
	s.connections_max = MANY;
	settings_now = &s;
	ts = tunnels_start();
	talk();
	big();
	broken();
	many();
	idle(&s);
	stop();
	settings_now = defaults; /* for the leak checker */
	return done_testing();
}
