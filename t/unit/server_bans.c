/* Bans: when one begins, how it grows and ends, who may ask meanwhile, and that the table is bounded. */
#include "tap.h"
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../../common/arena.h"
#include "../../common/err.h"
#include "../../common/shm.h"
#include "../../server/bans.h"

static const struct bans_limits limits = { .failures = 2, .window_ms = 10000, .first_ms = 5000, .max_ms = 600000 };
static struct arena a;
static struct bans *b;

static struct url url_of(const char *text)
{
	struct url u = { 0 };
	url_parse(&a, str_c(text), &u);
	return u;
}

static bool fails(const char *text, bool probe, int64_t now)
{
	struct ban ban;
	struct url u = url_of(text);
	return bans_failed(b, &limits, &u, -ERR_ORIGIN_CONNECT, "refused", probe, now, &ban);
}
static bool works(const char *text)
{
	struct ban ban;
	struct url u = url_of(text);
	return bans_worked(b, &u, &ban);
}
static enum bans_answer asks(const char *text, int64_t now)
{
	struct ban ban;
	struct url u = url_of(text);
	return bans_ask(b, &u, now, &ban);
}
static bool down(const char *text, int64_t now)
{
	struct url u = url_of(text);
	return bans_down(b, &u, now);
}

static void fresh(void)
{
	memset(b, 0, bans_size());
	bans_init(b);
}

static unsigned listed;
static struct ban last;
static void list(void *arg, const struct ban *ban)
{
	(void)arg;
	listed++;
	last = *ban;
}

#define A "http://a.test/"
/* Each row happens after those above it, in ms. f failure, p failure of the probe, s success, a asks, l the probe ends without a word, d is one
 * due in the background, m it was mute. Then:
 * does a failure begin a ban, a success end one? The answer to the question. Is it down? */
static const struct { int64_t at; char what; int result; bool down; const char *why; } life[] = {
	{ 0,      'a', BANS_GO,    false, "nothing is known" },
	{ 0,      'f', false,      false, "one failure is no ban" },
	{ 10001,  'f', false,      false, "nor is a second, long after" },
	{ 12000,  's', false,      false, "a success between them" },
	{ 13000,  'f', false,      false, "… makes the next the first" },
	{ 14000,  'f', true,       true,  "two in a short while are one, for 5 s" },
	{ 14000,  'a', BANS_DOWN,  true,  "nobody goes there while it lasts" },
	{ 14002,  'f', false,      true,  "who was there before fails too, which is nothing new" },
	{ 14999,  'd', false,      true,  "the background waits for a second" },
	{ 15000,  'd', true,       true,  "… then it probes" },
	{ 15001,  'd', false,      true,  "… once at a time" },
	{ 15004,  'p', false,      true,  "the probe fails within the ban: nothing new either" },
	{ 16003,  'd', false,      true,  "the next is due a second later" },
	{ 16004,  'd', true,       true,  "… which it is" },
	{ 16005,  'l', 0,          true,  "it ends, and nothing is known" },
	{ 16006,  'd', true,       true,  "… so another does it" },
	{ 18500,  'p', false,      true,  "it fails, too" },
	{ 18999,  'd', false,      true,  "not before the ban's end" },
	{ 19000,  'd', true,       true,  "… but at it" },
	{ 19500,  'p', true,       true,  "the probe fails after the ban's end: 10 s more" },
	{ 21499,  'd', false,      true,  "now every two seconds" },
	{ 21500,  'd', true,       true,  "… after two" },
	{ 21501,  'm', 0,          true,  "it gets no answer, which says nothing" },
	{ 29498,  'd', false,      true,  "… so there is no other" },
	{ 29499,  'a', BANS_DOWN,  true,  "until the ban's end" },
	{ 29500,  'a', BANS_PROBE, true,  "… a request finds out" },
	{ 29501,  'a', BANS_DOWN,  true,  "while somebody is at it, nobody else goes" },
	{ 29501,  'd', false,      true,  "nor does the background" },
	{ 29502,  's', true,       false, "he comes through: all may" },
	{ 29503,  'a', BANS_GO,    false, "… at once" },
	{ 29504,  'f', false,      false, "… and all begins anew" },
	{ 29505,  'f', true,       true,  "… with 5 s" },
	{ 34600,  'a', BANS_PROBE, true,  "over, but nobody knows more" },
	{ 39600,  'a', BANS_GO,    false, "over for as long again: it may well be back" },
	{ 39601,  'f', true,       true,  "it is not: 10 s, by one failure" },
	{ 49700,  'f', true,       true,  "20 s" },
	{ 69800,  'f', true,       true,  "40 s" },
	{ 109900, 'f', true,       true,  "80 s" },
	{ 190000, 'f', true,       true,  "160 s" },
	{ 350100, 'f', true,       true,  "320 s" },
	{ 670200, 'f', true,       true,  "600 s, not 640" },
	{ 1270200, 'd', false,     true,  "nobody has wanted anything of it for ten minutes: it is not probed" },
	{ 1270201, 'a', BANS_PROBE, true, "… which end" },
	{ 1330200, 'a', BANS_DOWN, true,  "a probe that takes long" },
	{ 1330202, 'a', BANS_PROBE, true, "… is forgotten after a minute: its worker may be dead" },
	{ 1870202, 'f', false,     false, "after ten more minutes the ban is forgotten" },
	{ 1870203, 'f', true,      true,  "… and begins with 5 s" },
	{ 1880203, 'a', BANS_GO,   false, "… which were those" },
};

static void many(void)
{
	char text[64];
	unsigned n = 0;
	fresh();
	for (unsigned i = 0; i < 3 * BANS_MAX; i++) {
		snprintf(text, sizeof text, "http://host-%u.test/", i);
		fails(text, false, i);
		fails(text, false, i);
	}
	bans_each(b, 0, list, (listed = 0, NULL));
	ok(listed <= BANS_MAX && listed > BANS_MAX / 2, "as many as there is room for are remembered (%u)", listed);
	is_int(bans_count(b, 3 * BANS_MAX), listed, "and counted");
	snprintf(text, sizeof text, "http://host-%u.test/", 3 * BANS_MAX - 1);
	ok(down(text, 3 * BANS_MAX), "the last one is");
	for (unsigned i = 0; i < BANS_MAX / 8; i++) {
		snprintf(text, sizeof text, "http://host-%u.test/", i);
		n += down(text, 3 * BANS_MAX);
	}
	is_int(n, 0, "the oldest are not");
	for (unsigned i = 0; i < 3 * BANS_MAX; i++) {
		snprintf(text, sizeof text, "http://host-%u.test/", i);
		works(text);
	}
	bans_each(b, 0, list, (listed = 0, NULL));
	is_int(listed, 0, "successes empty the table");
	is_int(bans_count(b, 0), 0, "and the count");
}

static void processes(void)
{
	char text[64];
	int status, bad = 0;
	fresh();
	for (int p = 0; p < 4; p++)
		if (fork() == 0) {
			for (int i = 0; i < 20000; i++) {
				snprintf(text, sizeof text, "http://h%d.test/", (i * 7 + p) % 50);
				enum bans_answer x = asks(text, i);
				if (i % 3 == 0)
					fails(text, x == BANS_PROBE, i);
				else if (i % 5 == 0)
					works(text);
				arena_reset(&a);
			}
			_exit(0);
		}
	for (int p = 0; p < 4; p++)
		bad += wait(&status) < 0 || status != 0;
	is_int(bad, 0, "several processes at a time");
	bans_each(b, 0, list, (listed = 0, NULL));
	ok(listed <= 50, "leave one entry an origin");
	for (int i = 0; i < 50; i++) {
		snprintf(text, sizeof text, "http://h%d.test/", i);
		works(text);
	}
	bans_each(b, 0, list, (listed = 0, NULL));
	is_int(listed, 0, "each of which is found again");
}

int main(void)
{
	arena_init(&a);
	b = bans_init(shm_map(bans_size()));
	for (unsigned i = 0; i < sizeof life / sizeof *life; i++) {
		int got = 0;
		struct ban due;
		struct url u = url_of(A);
		switch (life[i].what) {
		case 'f': got = fails(A, false, life[i].at); break;
		case 'p': got = fails(A, true, life[i].at); break;
		case 's': got = works(A); break;
		case 'a': got = (int)asks(A, life[i].at); break;
		case 'l': bans_left(b, &u); break;
		case 'm': bans_mute(b, &u); break;
		case 'd': got = bans_due(b, life[i].at, &due); break;
		}
		is_int(got, life[i].result, "%s", life[i].why);
		is_int(down(A, life[i].at), life[i].down, "and %s", life[i].down ? "it is down" : "it is not down");
	}

	fresh();
	fails("https://A.test/x?y", false, 0);
	ok(fails("https://a.TEST:443/z", false, 1), "the path and the case of the name make no other origin");
	ok(down("https://a.test/", 2), "it is down");
	ok(!down("http://a.test/", 2) && !down("https://a.test:444/", 2) && !down("https://b.test/", 2), "scheme, port and host do");
	struct ban why = { .err = 0 };
	struct url u = url_of("https://a.test/");
	ok(bans_why(b, &u, 1001, &why) && why.err == -ERR_ORIGIN_CONNECT && why.left_ms == 4000 && why.times == 1 && !why.probed, "why, and for how long");
	is_str(str_c(why.origin), STR("https://a.test:443"), "which origin");
	is_str(str_c(why.problem), STR("refused"), "in words");
	ok(asks("https://a.test/", 5001) == BANS_PROBE && bans_why(b, &u, 5002, &why) && why.probed, "and whether somebody is at it");
	bans_each(b, 1001, list, (listed = 0, NULL));
	ok(listed == 1 && last.left_ms == 4000 && strcmp(last.origin, why.origin) == 0, "the list says the same");
	is_int(bans_count(b, 2), 1, "one is down");
	is_int(bans_count(b, 20000), 0, "later none");

	static const struct { const char *what; unsigned n; } lifts[] = {
		{ "c.test", 0 }, { "test", 0 }, { "http://b.test", 0 }, { "http://b.test:80", 1 }, { "B.test", 1 }, { "::1", 1 }, { "", 1 }, { "", 0 } };
	fresh();
	for (int i = 0; i < 2; i++)
		fails("http://b.test/", false, 0), fails("https://b.test/", false, 0), fails("http://[::1]:81/", false, 0), fails("http://a.test/", false, 0);
	for (unsigned i = 0; i < sizeof lifts / sizeof *lifts; i++)
		is_int(bans_lift(b, str_c(lifts[i].what)), lifts[i].n, "lifting %s", *lifts[i].what ? lifts[i].what : "all");
	is_int(bans_count(b, 1), 0, "leaves none");
	ok(asks("http://b.test/", 1) == BANS_GO && !fails("http://b.test/", false, 1), "... and what was before is forgotten");

	fresh();
	for (int i = 0; i < 2; i++) {
		fails("http://one.test/", false, i);
		fails("http://[::1]:8080/", false, 10 + i);
	}
	ok(bans_due(b, 2000, &why) && strcmp(why.origin, "http://one.test:80") == 0, "of several the one that has waited longest is due");
	ok(bans_due(b, 2000, &why) && strcmp(why.origin, "http://[::1]:8080") == 0, "then the next");
	ok(!bans_due(b, 2000, &why), "then none");
	u = url_of(why.origin);
	ok(bans_worked(b, &u, &why), "its name is a URL's beginning, by which it is found again");
	u = url_of("https://a.test/");

	char text[400];
	memset(text, 'a', sizeof text);
	u.host = (struct str){ text, sizeof text };
	ok(!bans_failed(b, &limits, &u, -ERR_ORIGIN_RESOLVE, "", false, 0, &why) && !bans_failed(b, &limits, &u, -ERR_ORIGIN_RESOLVE, "", false, 0, &why) &&
	   bans_ask(b, &u, 0, &why) == BANS_GO, "a name that is too long for any resolver is nothing to remember");
	many();
	processes();
	arena_fini(&a);
	return done_testing();
}
