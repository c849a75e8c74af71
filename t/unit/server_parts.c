/* The plan of a download: played against origins of all kinds, every byte is written exactly once; and what it asks for first, when it opens
 * more connections, when it gives up. */
#include "tap.h"
#include <stdlib.h>
#include "../../common/arena.h"
#include "../../server/parts.h"

#define MIB (1024 * 1024ull)
#define KIB 1024ull

/* ---- an origin, played in steps of 10 ms */

enum kind { STEADY, SHARED, REFUSES, BREAKS, TINY, NO_RANGES, FORBIDS, LIES, STALLS, FEW, DEAD_RANGES, SHORT, BEHIND, SILENT };
static const struct scene {
	const char *what;
	enum kind kind;
	uint64_t size;             /* MiB */
	unsigned streams;
	uint64_t rate;             /* KiB/s of a connection; SHARED: of all */
	int64_t latency;
	bool proven, spread;
	uint64_t first_breaks;     /* MiB: the first stream dies there */
	unsigned from_ms, until_ms; /* how long it takes */
	unsigned most_live;
	unsigned dropped_percent;  /* at most, of the size: came, and was not needed */
	bool fails;
} scenes[] = {
	{ "eight limited connections", STEADY, 64, 8, 4096, 20, true, true, 0, 2000, 2600, 8, 1, false },
	{ "… the parts in order", STEADY, 64, 8, 4096, 20, true, false, 0, 2000, 2900, 8, 1, false },
	{ "… that are far away", STEADY, 64, 8, 4096, 200, true, true, 0, 2000, 3400, 8, 1, false },
	{ "… of which nobody knows whether they know ranges", STEADY, 64, 8, 4096, 20, false, true, 0, 2000, 2700, 8, 1, false },
	{ "one connection may be", STEADY, 8, 1, 4096, 20, true, true, 0, 2000, 2100, 1, 0, false },
	{ "… and it breaks: the rest is asked for", STEADY, 8, 1, 4096, 20, true, true, 3, 2000, 2500, 1, 0, false },
	{ "the first breaks early, others live", STEADY, 32, 4, 4096, 20, true, true, 2, 2000, 3000, 4, 1, false },
	{ "a link that they share: more do not help", SHARED, 32, 8, 4096, 20, true, true, 0, 8000, 9000, 4, 2, false },
	{ "fast: one is enough", STEADY, 64, 8, 1024 * 1024, 20, true, true, 0, 60, 120, 1, 0, false },
	{ "slow, but what comes waits for us: one is enough", BEHIND, 64, 8, 4096, 20, true, true, 0, 15000, 17000, 1, 0, false },
	{ "three at a time, the others get 503", FEW, 64, 8, 4096, 20, true, true, 0, 4500, 7500, 8, 1, false },
	{ "range requests get no connection", REFUSES, 16, 8, 4096, 20, true, true, 0, 4000, 4200, 8, 0, false },
	{ "each breaks after 300 KiB", BREAKS, 16, 8, 4096, 20, true, true, 0, 500, 9000, 8, 3, false },
	{ "each breaks after 10 bytes: given up", TINY, 16, 8, 4096, 20, true, true, 1, 3000, 60000, 8, 0, true },
	{ "ranges are ignored", NO_RANGES, 16, 8, 4096, 20, true, true, 0, 4000, 4200, 8, 1, false },
	{ "… when the first is gone: begun again, what is there dropped", NO_RANGES, 16, 8, 4096, 20, true, true, 6, 4000, 7000, 8, 40, false },
	{ "ranges are forbidden", FORBIDS, 16, 8, 4096, 20, true, true, 0, 4000, 4200, 8, 0, false },
	{ "… and the first breaks: the whole again", FORBIDS, 16, 8, 4096, 20, true, true, 6, 5000, 7000, 8, 40, false },
	{ "ranges lie", LIES, 16, 8, 4096, 20, true, true, 0, 4000, 4200, 8, 0, false },
	{ "every other connection falls silent after 1 MiB", STALLS, 32, 4, 4096, 20, true, true, 0, 2000, 20000, 4, 1, false },
	{ "the first is silent after its first bytes: others do it", SILENT, 128, 4, 4096, 20, true, true, 0, 8000, 20000, 4, 1, false },
	{ "a range brings less than was asked for", SHORT, 16, 4, 4096, 20, true, true, 0, 1000, 9000, 4, 1, false },
	{ "nothing can be had again after the first broke", DEAD_RANGES, 8, 8, 4096, 20, true, true, 3, 5000, 60000, 8, 0, true },
};

struct played { bool used, answered, whole, first; struct extent range; int64_t asked; uint64_t brought; unsigned nth; };

static void play(const struct scene *c)
{
	const uint64_t size = c->size * MIB + 12345;
	const struct parts_options o = { .size = size, .streams = c->streams, .pinned = true, .ranges = true, .proven = c->proven, .spread = c->spread, .tries = 6 };
	struct parts *p = parts_new(&o);
	struct played s[PARTS_STREAMS] = { 0 };
	uint8_t *times = xcalloc(size, 1);
	uint64_t dropped = 0, outside = 0;
	unsigned asked = 0, live_max = 1;
	int64_t now = 1000, end = now + 120000;
	unsigned k = parts_first(p, (struct extent){ 0, size }, true, now);
	s[k] = (struct played){ .used = true, .answered = true, .whole = true, .first = true, .range = { 0, size }, .asked = now };
	for (; now < end && parts_state(p) == PARTS_GOING; now += 10) {
		struct parts_step step;
		unsigned live = 0;
		while ((step = parts_next(p, now)).act != PARTS_WAIT)
			if (step.act == PARTS_STOP)
				s[step.stream].used = false;
			else
				s[step.stream] = (struct played){ .used = true, .whole = step.whole, .range = step.range, .asked = now, .nth = ++asked };
		for (unsigned i = 0; i < PARTS_STREAMS; i++)
			live += s[i].used;
		if (live > live_max)
			live_max = live;
		uint64_t each = c->rate * KIB / 100 / (c->kind == SHARED && live > 0 ? live : 1);
		for (unsigned i = 0; i < PARTS_STREAMS; i++) {
			struct played *q = &s[i];
			if (!q->used || (!q->answered && now - q->asked < c->latency))
				continue;
			if (!q->answered) {
				bool range = !q->whole;
				q->answered = true;
				q->used = false;
				if ((c->kind == REFUSES && range) || (c->kind == FEW && live > 3) || c->kind == DEAD_RANGES)
					parts_broke(p, i, PARTS_REFUSED, 0, now);
				else if (c->kind == FORBIDS && range)
					parts_broke(p, i, PARTS_DENIED, 0, now);
				else if (c->kind == LIES && range)
					parts_broke(p, i, PARTS_LIED, 0, now);
				else if (c->kind == NO_RANGES && range) {
					q->used = parts_ignored(p, i, now);
					q->whole = true;
					q->range = (struct extent){ 0, size };
				} else {
					if (c->kind == SHORT && range && q->range.end - q->range.at > 700000)
						q->range.end = q->range.at + 700000;
					parts_answered(p, i, q->range.end, now);
					q->used = true;
				}
				if (!q->used)
					live--;
				continue;
			}
			uint64_t n = each, left = q->range.end - q->range.at - q->brought;
			bool breaks = (c->kind == BREAKS && !q->first && q->brought + n > 300 * KIB) || (q->first && c->first_breaks && q->brought + n > c->first_breaks * MIB);
			if (c->kind == TINY && !q->first) {
				n = 10;
				breaks = true;
			}
			if (c->kind == SILENT && q->first && q->brought > 0)
				continue;
			if (c->kind == STALLS && q->nth % 2 == 1 && q->brought > MIB)
				continue;
			if (n > left)
				n = left;
			q->brought += n;
			while (n > 0) {
				struct extent run;
				bool write = parts_run(p, i, &run);
				uint64_t take = run.end - run.at < n ? run.end - run.at : n;
				if (take == 0) {
					parts_end(p, i, now);
					q->used = false;
					dropped += n;
					break;
				}
				for (uint64_t at = run.at; at < run.at + take; at++)
					if (at >= size)
						outside++;
					else if (write)
						times[at]++;
				dropped += write ? 0 : take;
				parts_got(p, i, take, now);
				if (c->kind == BEHIND)
					parts_waited(p, take);
				n -= take;
			}
			if (q->used && breaks) {
				parts_broke(p, i, PARTS_BROKEN, 0, now);
				q->used = false;
			} else if (q->used && q->range.at + q->brought == q->range.end) {
				parts_end(p, i, now);
				q->used = false;
			}
		}
	}
	uint64_t once = 0, more = 0;
	for (uint64_t i = 0; i < size; i++) {
		once += times[i] == 1;
		more += times[i] > 1;
	}
	unsigned took = (unsigned)(now - 1000);
	is_int(parts_state(p), c->fails ? PARTS_FAILED : PARTS_DONE, "%s: %s", c->what, c->fails ? "fails" : "is done");
	ok(more == 0 && outside == 0, "… no byte is written twice, or outside");
	is_int(once, c->fails ? parts_bytes(p) : size, "… what is said to be there is, %llu dropped", (unsigned long long)dropped);
	ok(took >= c->from_ms && took <= c->until_ms, "… in %u ms (%u to %u), %u asked", took, c->from_ms, c->until_ms, asked);
	ok(live_max <= c->most_live, "… by %u at a time (%u)", live_max, c->most_live);
	ok(dropped * 100 <= size * c->dropped_percent, "… and little comes for nothing: %.2f%%", (double)dropped * 100 / (double)size);
	free(times);
	parts_free(&p);
}

/* ---- extents */

static void extents(void)
{
	static const struct { struct extent add[6]; const char *there; } rows[] = {
		{ { { 0, 10 } }, "0-10 " },
		{ { { 10, 20 }, { 0, 10 } }, "0-20 " },
		{ { { 0, 10 }, { 20, 30 }, { 10, 20 } }, "0-30 " },
		{ { { 40, 50 }, { 20, 30 }, { 0, 10 } }, "0-10 20-30 40-50 " },
		{ { { 40, 50 }, { 20, 30 }, { 0, 10 }, { 5, 45 } }, "0-50 " },
		{ { { 20, 30 }, { 20, 30 }, { 22, 24 } }, "20-30 " },
		{ { { 90, 200 }, { 5, 5 }, { 7, 3 } }, "90-100 " },
		{ { { 1, 2 }, { 3, 4 }, { 5, 6 }, { 2, 3 }, { 99, 100 } }, "1-4 5-6 99-100 " },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct parts_options o = { .size = 100, .streams = 1 };
		struct parts *p = parts_new(&o);
		char text[256] = "";
		unsigned n;
		uint64_t sum = 0;
		for (size_t k = 0; k < 6 && rows[i].add[k].end > 0; k++)
			parts_have(p, rows[i].add[k]);
		const struct extent *e = parts_there(p, &n);
		for (unsigned k = 0; k < n; k++) {
			snprintf(text + strlen(text), sizeof text - strlen(text), "%llu-%llu ", (unsigned long long)e[k].at, (unsigned long long)e[k].end);
			sum += e[k].end - e[k].at;
		}
		is_str(str_c(text), str_c(rows[i].there), "extents %u", (unsigned)i);
		is_int(parts_bytes(p), sum, "… counted");
		parts_free(&p);
	}
}

/* ---- what is asked for first */

static struct parts *begun(const struct parts_options *o, uint64_t got, int64_t now)
{
	struct parts *p = parts_new(o);
	unsigned k = parts_first(p, (struct extent){ 0, o->size }, true, now);
	parts_got(p, k, got, now);
	return p;
}

static void wants(void)
{
	const struct parts_options all = { .size = 10240 * MIB, .streams = 2, .pinned = true, .ranges = true, .proven = true, .tries = 3 };
	struct parts *p = begun(&all, 100000, 1000);
	struct parts_step s = parts_next(p, 1001);
	is_int(s.act, PARTS_WAIT, "nobody waits: the first stream goes on alone at first");
	parts_want(p, &(struct extent){ 300000, UINT64_MAX }, 1);
	is_int(parts_next(p, 1001).act, PARTS_WAIT, "what it soon reaches is not asked for apart");
	parts_want(p, (struct extent[]){ { 100000, UINT64_MAX }, { 5000 * MIB + 77, 5000 * MIB + 99 } }, 2);
	s = parts_next(p, 1001);
	is_int(s.act, PARTS_ASK, "a reader far ahead: asked for at once");
	is_int(s.range.at, 5000 * MIB, "… from there (a multiple of the alignment)");
	ok(s.range.end >= 5000 * MIB + 99 && s.range.end <= 5000 * MIB + 64 * MIB, "… some seconds of it, for all of the object is fetched");
	is_int(parts_next(p, 1001).act, PARTS_WAIT, "… and once");
	unsigned far = s.stream;
	parts_want(p, (struct extent[]){ { 100000, UINT64_MAX }, { 9000 * MIB, 9001 * MIB } }, 2);
	s = parts_next(p, 1002);
	ok(s.act == PARTS_STOP && s.stream == far, "all are taken: what nobody waits for any more is stopped for a reader");
	s = parts_next(p, 1002);
	ok(s.act == PARTS_ASK && s.range.at == 9000 * MIB, "… who is served");
	parts_want(p, (struct extent[]){ { 100000, UINT64_MAX }, { 9000 * MIB, 9001 * MIB }, { 100 * MIB, 101 * MIB } }, 3);
	is_int(parts_next(p, 1003).act, PARTS_WAIT, "streams that somebody waits for are not stopped for another");
	parts_free(&p);

	struct parts_options never = all;
	never.rest = REST_NEVER;
	p = begun(&never, 100000, 1000);
	parts_want(p, (struct extent[]){ { 5000 * MIB, 5000 * MIB + 200000 } }, 1);
	s = parts_next(p, 1001);
	ok(s.act == PARTS_ASK && s.range.at == 5000 * MIB && s.range.end == 5000 * MIB + 200000, "only what is wanted: asked for to the byte");
	unsigned wanted = s.stream;
	s = parts_next(p, 1001);
	ok(s.act == PARTS_STOP && s.stream != wanted, "… and the rest is stopped");
	parts_answered(p, wanted, s.range.end, 1001);
	parts_got(p, wanted, 200000, 1010);
	parts_end(p, wanted, 1010);
	is_int(parts_next(p, 1010).act, PARTS_WAIT, "… then there is nothing to do");
	is_int(parts_state(p), PARTS_GOING, "… but it is not done");
	parts_want(p, (struct extent[]){ { 5000 * MIB + 1000, 5000 * MIB + 200001 } }, 1);
	s = parts_next(p, 1011);
	ok(s.act == PARTS_ASK && s.range.at == 5000 * MIB + 200000 && s.range.end == s.range.at + 1, "what is there is not asked for again");
	parts_free(&p);

	never.rest = REST_LIMIT;
	never.rest_limit = 10240 * MIB;
	p = begun(&never, 100000, 1000);
	is_int(parts_next(p, 1001).act, PARTS_WAIT, "a limit that it keeps: the rest is fetched");
	parts_free(&p);
	never.rest_limit--;
	p = begun(&never, 100000, 1000);
	is_int(parts_next(p, 1001).act, PARTS_STOP, "… and above it is not");
	parts_free(&p);
}

/* An earlier download's parts: only what is missing. */
static void resumed(void)
{
	const struct parts_options o = { .size = 100 * MIB, .streams = 4, .pinned = true, .ranges = true, .proven = true, .spread = true, .tries = 3 };
	struct parts *p = parts_new(&o);
	struct extent run;
	parts_have(p, (struct extent){ 0, 10 * MIB });
	parts_have(p, (struct extent){ 20 * MIB, 100 * MIB });
	unsigned k = parts_first(p, (struct extent){ 10 * MIB, o.size }, true, 1000);
	ok(parts_run(p, k, &run) && run.at == 10 * MIB && run.end == 20 * MIB, "up to what is there");
	parts_got(p, k, 10 * MIB, 1001);
	is_int(parts_state(p), PARTS_DONE, "and it is done");
	parts_free(&p);
	p = parts_new(&o);
	parts_have(p, (struct extent){ 0, 100 * MIB - 1 });
	k = parts_first(p, (struct extent){ 100 * MIB - 1, o.size }, true, 1000);
	ok(parts_run(p, k, &run) && run.end - run.at == 1, "one byte");
	parts_free(&p);
	p = parts_new(&(struct parts_options){ .size = 0, .streams = 1 });
	is_int(parts_state(p), PARTS_DONE, "nothing at all");
	parts_free(&p);
}

/* Pauses, their bounds, and Retry-After. */
static void pauses(void)
{
	const struct parts_options o = { .size = 100 * MIB, .streams = 4, .pinned = true, .ranges = true, .proven = true, .tries = 3 };
	struct parts *p = begun(&o, 100 * KIB, 1000);
	int64_t now = 1000, before;
	parts_broke(p, 0, PARTS_BROKEN, 0, now);
	struct parts_step s = parts_next(p, now);
	ok(s.act == PARTS_ASK && s.range.at == 100 * KIB && s.range.end <= 100 * MIB, "it brought something: asked for again at once, from where it stopped");
	int64_t last = 0;
	for (int i = 0; i < 4; i++) {
		parts_broke(p, s.stream, PARTS_BROKEN, 0, now);
		before = now;
		if (i == 3)
			break;
		while ((s = parts_next(p, now)).act != PARTS_ASK && now < before + 60000)
			now++;
		ok(now - before > last && now - before <= 8000, "failure %d: a longer pause, %d ms", i + 1, (int)(now - before));
		last = now - before;
	}
	is_int(parts_state(p), PARTS_FAILED, "too many in a row, and nothing lives");
	parts_free(&p);

	p = begun(&o, 100 * KIB, 1000);
	parts_want(p, &(struct extent){ 50 * MIB, UINT64_MAX }, 1);
	s = parts_next(p, 1000);
	parts_broke(p, s.stream, PARTS_REFUSED, 5000, 1000);
	now = 1000;
	while (parts_next(p, now).act != PARTS_ASK && now < 60000) {
		parts_got(p, 0, 10, now);
		now += 10;
	}
	ok(now >= 6000, "Retry-After is respected: %d ms", (int)(now - 1000));
	is_int(parts_state(p), PARTS_GOING, "… and the first stream goes on meanwhile");
	parts_free(&p);

	const struct parts_options once = { .size = 100 * MIB, .streams = 4, .tries = 3 };
	p = begun(&once, 100 * KIB, 1000);
	is_int(parts_next(p, 90000).act, PARTS_WAIT, "no validator: nothing else is asked for, ever");
	parts_broke(p, 0, PARTS_BROKEN, 0, 90000);
	is_int(parts_state(p), PARTS_FAILED, "… and a break is the end");
	parts_free(&p);
}

int main(void)
{
	extents();
	wants();
	resumed();
	pauses();
	for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++)
		play(&scenes[i]);
	return done_testing();
}
