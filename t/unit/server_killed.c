/* A worker that is killed anywhere while it has to do with the table of bans, inside its lock and outside: others go on, and the table does
 * what it does. The damage of all kills adds up in one table. */
#include "tap.h"
#include "killed.h"
#include "../../common/arena.h"
#include "../../common/err.h"
#include "../../common/shm.h"
#include "../../server/bans.h"

#define NOW 1000000
static const struct bans_limits limits = { .failures = 2, .window_ms = 10000, .first_ms = 5000, .max_ms = 600000 };
static struct bans *bans;
static struct url url, other;

static void fails(const struct url *u)
{
	struct ban b;
	for (int i = 0; i < 2; i++)
		bans_failed(bans, &limits, u, -ERR_ORIGIN_CONNECT, "refused", false, NOW, &b);
}

static void fail(void *arg) { fails(&url); }

static void fail_and_work(void *arg)
{
	struct ban b;
	fails(&url);
	bans_worked(bans, &url, &b);
}

static void seen(void *arg, const struct ban *b) { ++*(unsigned *)arg; }

static void look(void *arg)
{
	struct ban b;
	unsigned n;
	fails(&url);
	bans_why(bans, &url, NOW, &b);
	bans_ask(bans, &url, NOW + 6000, &b);
	bans_left(bans, &url);
	bans_due(bans, NOW + 6000, &b);
	bans_mute(bans, &url);
	bans_each(bans, NOW, seen, &n);
}

static void lift(void *arg)
{
	fails(&url);
	bans_lift(bans, STR_NONE);
}

/* The dead one's ban stands or does not; either way all can be done with it and with others. */
static bool goes_on(void *arg)
{
	struct ban b;
	unsigned n = 0;
	bool sound = true;
	fails(&url);
	sound &= bans_down(bans, &url, NOW) && bans_ask(bans, &url, NOW, &b) == BANS_DOWN && bans_why(bans, &url, NOW, &b);
	fails(&other);
	bans_each(bans, NOW, seen, &n);
	sound &= n == 2 && bans_count(bans, NOW) == 2;
	sound &= bans_worked(bans, &other, &b) && !bans_down(bans, &other, NOW);
	sound &= bans_lift(bans, STR_NONE) == 1 && bans_count(bans, NOW) == 0 && !bans_down(bans, &url, NOW);
	return sound;
}

static const struct { killed_f *op; const char *what; } rows[] = {
	{ fail, "banning" }, { fail_and_work, "banning, and an answer" }, { look, "asking and probing" }, { lift, "lifting" },
};

int main(void)
{
	struct arena a;
	arena_init(&a);
	bans = bans_init(shm_map(bans_size()));
	url_parse(&a, STR("https://example.com/x"), &url);
	url_parse(&a, STR("http://example.net:8080/x"), &other);
	ok(goes_on(NULL), "at first all is well");
	if (killed_after(fail, NULL, 1) < 0)
		note("processes may not be traced here");
	else
		for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
			long kills;
			const long good = killed_everywhere(rows[i].op, NULL, goes_on, &kills);
			is_int(good, kills, "%s: all goes on after each of %ld kills", rows[i].what, kills);
		}
	arena_fini(&a);
	return done_testing();
}
