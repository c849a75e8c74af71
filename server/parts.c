/* parts.c - see parts.h: gaps, speeds, how many streams, what to ask for, what became of it. */
#include "parts.h"
#include <stdlib.h>
#include <string.h>
#include "../common/arena.h"

#define RATE_MS 200                     /* a speed is measured over so long at least */
#define FIRST_MS 50                     /* the first stream's, before others are opened */
#define LEVEL_MS 100                    /* after it a level may have shown that it helps, */
#define DOUBT_MS 600                    /* … and after this that it does not */
#define OPENING_MS 1000                 /* a level is judged after it though some of its streams have not brought a byte */
#define GROWTH_PERCENT 120              /* of the level before: else more streams do not help */
#define SETTLED_MS 10000                /* then it is tried again after this, and each time twice as long */
#define WORTH_MS 500                    /* what is done that soon needs no more streams */
#define SPLIT_MS 100                    /* nor splitting, if it takes no longer than this and */
#define SPLIT_TRIPS 4                   /* … so many times what a request takes to be answered */
#define FIRST_LEVEL 4                   /* streams after the first, when the origin says that it knows ranges */
#define STALL_MS 5000                   /* silent so long, while others bring bytes: asked for again; */
#define SILENT_MS 15000                 /* … so long, whatever others do: too, if it was asked for by a range */
#define UNHEARD_MS 2000                 /* so long a stream that has brought nothing is taken for one of average speed, */
#define YOUNG_MS 50                     /* … and so long one that has just begun to */
#define HEAL_MS 10000                   /* after a refusal one stream more is allowed this often */
#define BACKOFF_MS 250                  /* doubled with each failure in a row, */
#define BACKOFF_DOUBLINGS 5             /* … up to 8 s */
#define PART_SECONDS 8                  /* a part in order is that long at a stream's average speed: a round trip is nothing to it */
#define PART_MIN (4u << 20)
#define PART_MAX (128u << 20)
#define NEAR_MIN (1u << 20)             /* what a stream reaches within this, or a second, is not asked for apart */
#define LOOK_MS 100                     /* how often the plan wants to be looked at */

struct stream {
	bool used, whole, heard;
	uint64_t at, end;               /* it brings at … end - 1 still */
	uint64_t news;                  /* what it brought that was not there */
	uint64_t upto;                  /* where its transfer ends by itself */
	unsigned round;
	int64_t asked, last;            /* when: it was, the last byte came */
	int64_t begun, mark;            /* when its first byte came; since when marked bytes did */
	uint64_t marked, rate;
};

struct parts {
	struct parts_options o;
	bool dead;                      /* nothing more can be asked for */
	struct extents have;
	struct extent want[PARTS_WANTS];
	unsigned want_n;
	uint64_t received;              /* dropped ones too */
	struct stream s[PARTS_STREAMS];
	unsigned live, level, ceiling, failures;
	unsigned round;                 /* of asking: a failure ends it */
	int64_t hold, healed;           /* nothing is asked for before; the ceiling was last changed */
	int64_t latency;                /* from asking to the head of an answer, smoothed */
	int64_t opened, window, settled, settled_ms, last;
	uint64_t waited;                /* bytes that waited for us */
	uint64_t window_received, window_waited, base;
};

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }
static uint64_t most(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t down(uint64_t x) { return x - x % PARTS_ALIGN; }

/* ---- what is neither there nor under way */

/* The first bytes in [x, end) that are neither there nor under way. */
static bool gap_in(const struct parts *p, uint64_t x, uint64_t end, struct extent *gap)
{
	for (bool moved = true; moved && x < end;) {
		moved = false;
		unsigned i = extents_find(&p->have, x);
		if (i < p->have.n && p->have.v[i].at <= x) {
			x = p->have.v[i].end;
			moved = true;
		}
		for (const struct stream *s = p->s; s < p->s + PARTS_STREAMS; s++)
			if (s->used && s->at <= x && x < s->end) {
				x = s->end;
				moved = true;
			}
	}
	if (x >= end)
		return false;
	*gap = (struct extent){ x, end };
	unsigned i = extents_find(&p->have, x);
	if (i < p->have.n)
		gap->end = least(gap->end, p->have.v[i].at);
	for (const struct stream *s = p->s; s < p->s + PARTS_STREAMS; s++)
		if (s->used && s->at > x && s->at < s->end)
			gap->end = least(gap->end, s->at);
	return true;
}

static bool fills_rest(const struct parts *p)
{
	return p->o.rest == REST_ALWAYS || (p->o.rest == REST_LIMIT && p->o.size <= p->o.rest_limit);
}

/* ---- speeds */

static uint64_t per_second(uint64_t bytes, int64_t ms) { return ms > 0 ? bytes * 1000 / (uint64_t)ms : 0; }

/* What it did lately; 0 when that is not known yet. */
static uint64_t rate_of(const struct stream *s, int64_t now)
{
	int64_t ms = now - s->mark;
	uint64_t recent = per_second(s->marked, ms);
	if (!s->heard || now - s->begun < YOUNG_MS)
		return 0;
	return ms >= 2 * RATE_MS ? least(s->rate > 0 ? s->rate : recent, recent) : s->rate > 0 ? s->rate : recent;
}

static bool is_young(const struct stream *s, int64_t now) { return s->heard ? now - s->begun < YOUNG_MS : now - s->asked < UNHEARD_MS; }

uint64_t parts_rate(const struct parts *p, int64_t now)
{
	uint64_t sum = 0;
	for (const struct stream *s = p->s; s < p->s + PARTS_STREAMS; s++)
		sum += s->used ? rate_of(s, now) : 0;
	return sum;
}

static uint64_t average(const struct parts *p, int64_t now)
{
	unsigned n = 0;
	for (const struct stream *s = p->s; s < p->s + PARTS_STREAMS; s++)
		n += s->used && s->heard && !is_young(s, now);
	return n > 0 ? parts_rate(p, now) / n : 0;
}

/* The length of a part in order. */
static uint64_t part_length(const struct parts *p, int64_t now)
{
	uint64_t n = average(p, now) * PART_SECONDS;
	return down(n < PART_MIN ? PART_MIN : n > PART_MAX ? PART_MAX : n);
}

/* ---- how many streams */

static unsigned streams_now(const struct parts *p) { return p->level < p->ceiling ? p->level : p->ceiling; }

static void judge_level(struct parts *p, int64_t now)
{
	unsigned heard = 0;
	if (p->ceiling < p->o.streams && now - p->healed >= HEAL_MS) {
		p->ceiling++;
		p->healed = now;
	}
	for (const struct stream *s = p->s; s < p->s + PARTS_STREAMS; s++)
		heard += s->used && s->heard;
	if (!p->o.ranges || p->level >= p->o.streams || now < p->settled || heard == 0 || p->live < streams_now(p) ||
		(heard < p->live && now - p->opened < OPENING_MS)) {
		p->window = 0;
		return;
	}
	if (p->window == 0) {
		p->window = now;
		p->window_received = p->received;
		p->window_waited = p->waited;
	}
	if (now - p->window < (p->level == 1 ? FIRST_MS : LEVEL_MS))
		return;
	uint64_t rate = per_second(p->received - p->window_received, now - p->window);
	if ((p->o.size - p->have.bytes) / (rate / 1000 + 1) < WORTH_MS)
		return;
	if (p->waited - p->window_waited > (p->received - p->window_received) / 2) { /* the origin is not what limits us */
		p->window = 0;
		return;
	}
	bool helps = rate * 100 >= p->base * GROWTH_PERCENT;
	if (!helps && now - p->window < DOUBT_MS)
		return;
	p->window = 0;
	if (!helps) {
		p->settled = now + p->settled_ms;
		p->settled_ms *= 2;
		p->base = 0;
		return;
	}
	p->base = rate;
	p->level = p->level > 1 ? 2 * p->level : p->o.proven ? FIRST_LEVEL : 2;
	if (p->level > p->o.streams)
		p->level = p->o.streams;
}

/* ---- what to ask for */

/* The stream that has x before it. */
static struct stream *stream_of(struct parts *p, uint64_t x)
{
	for (struct stream *s = p->s; s < p->s + PARTS_STREAMS; s++)
		if (s->used && s->at <= x && x < s->end)
			return s;
	return NULL;
}

/* The first byte that a reader waits for. */
static bool missing(const struct parts *p, const struct extent *want, uint64_t *x)
{
	unsigned k = extents_find(&p->have, want->at);
	*x = k < p->have.n && p->have.v[k].at <= want->at ? p->have.v[k].end : want->at;
	return *x < least(want->end, p->o.size);
}

static bool is_wanted(const struct parts *p, const struct stream *s)
{
	uint64_t x;
	for (unsigned i = 0; i < p->want_n; i++)
		if (missing(p, &p->want[i], &x) && x < s->end && s->at < p->want[i].end)
			return true;
	return false;
}

static bool has_work(const struct parts *p)
{
	uint64_t x;
	for (unsigned i = 0; i < p->want_n; i++)
		if (missing(p, &p->want[i], &x))
			return true;
	return fills_rest(p);
}

/* At the bound, only what is next to something that is there is asked for. */
static uint64_t begin_at(const struct parts *p, uint64_t gap_at, uint64_t x)
{
	return p->have.n + PARTS_STREAMS >= p->o.extents || down(x) < gap_at ? gap_at : down(x);
}

static struct extent part_of(const struct parts *p, struct extent gap, int64_t now)
{
	uint64_t n = part_length(p, now);
	if (!p->o.spread && gap.end - gap.at > n + n / 2)
		gap.end = gap.at + n;
	return gap;
}

/* Has it the very byte that a reader waits for? */
static bool is_urgent(struct parts *p, const struct stream *s)
{
	uint64_t x;
	for (unsigned i = 0; i < p->want_n; i++)
		if (missing(p, &p->want[i], &x) && s->at <= x && x < s->end)
			return true;
	return false;
}

/* The most urgent want that no stream reaches soon; *x is the byte, *s who would have reached it some day, or NULL. */
static const struct extent *unserved(struct parts *p, int64_t now, uint64_t *x, struct stream **s)
{
	for (unsigned i = 0; i < p->want_n; i++) {
		if (!missing(p, &p->want[i], x))
			continue;
		*s = stream_of(p, *x);
		if (*s == NULL || (*x - (*s)->at > most(NEAR_MIN, rate_of(*s, now)) && begin_at(p, (*s)->at, *x) > (*s)->at))
			return &p->want[i];
	}
	return NULL;
}

static struct extent urgent_part(struct parts *p, const struct extent *want, uint64_t x, struct stream *s, int64_t now)
{
	struct extent gap = { x, p->o.size };
	if (s != NULL) {
		gap = (struct extent){ begin_at(p, s->at, x), s->end };
		s->end = gap.at;
	} else {
		unsigned k = extents_find(&p->have, x);
		uint64_t front = k > 0 ? p->have.v[k - 1].end : 0; /* where the gap begins that x is in */
		for (const struct stream *t = p->s; t < p->s + PARTS_STREAMS; t++)
			if (t->used && t->end <= x && t->end > front)
				front = t->end;
		gap_in(p, begin_at(p, front, x), p->o.size, &gap);
	}
	if (!fills_rest(p))
		gap.end = least(gap.end, want->end);
	return part_of(p, gap, now);
}

/* Half of the part that would take longest, or what a new stream would do of it while the old one does the rest. */
static bool split(struct parts *p, unsigned opening, int64_t now, struct extent *part)
{
	uint64_t avg = average(p, now), longest = 0, rate = 0;
	uint64_t worth = SPLIT_MS > SPLIT_TRIPS * p->latency ? SPLIT_MS : SPLIT_TRIPS * (uint64_t)p->latency;
	struct stream *best = NULL;
	for (struct stream *s = p->s; s < p->s + PARTS_STREAMS; s++) {
		if (!s->used || s->end - s->at < 2 * PARTS_ALIGN)
			continue;
		uint64_t r = is_young(s, now) ? avg : rate_of(s, now), left = s->end - s->at;
		uint64_t ms = r > 0 ? left / (r / 1000 + 1) : UINT64_MAX - p->o.size + left;
		if (ms >= worth && ms > longest) {
			longest = ms;
			best = s;
			rate = r;
		}
	}
	if (best == NULL || avg == 0)
		return false;
	uint64_t left = best->end - best->at, length = part_length(p, now), keep;
	if (!p->o.spread && best->whole && left > 2 * length)
		keep = length;
	else if (p->live == 1)
		keep = left / (opening + 1) ; /* equal shares for all that are opened now: the next one takes of what follows */
	else
		keep = (uint64_t)((double)left * (double)rate / (double)(rate + avg));
	uint64_t cut = keep > 0 && down(best->at + keep) > best->at ? down(best->at + keep) : keep > 0 ? best->at + PARTS_ALIGN : best->at;
	*part = part_of(p, (struct extent){ cut, best->end }, now);
	best->end = cut;
	return true;
}

static bool background(struct parts *p, int64_t now, struct extent *part)
{
	struct extent gap;
	bool found = false;
	for (unsigned i = 0; i < p->want_n && !found; i++)
		found = gap_in(p, p->want[i].at, least(p->want[i].end, p->o.size), &gap);
	if (!found && fills_rest(p))
		found = (p->want_n > 0 && gap_in(p, p->want[0].at, p->o.size, &gap)) || gap_in(p, 0, p->o.size, &gap);
	if (found) {
		*part = part_of(p, gap, now);
		return true;
	}
	return p->live > 0 && split(p, streams_now(p) - p->live, now, part);
}

/* ---- streams */

static struct stream *begin(struct parts *p, struct extent e, bool whole, int64_t now)
{
	for (struct stream *s = p->s; s < p->s + PARTS_STREAMS; s++)
		if (!s->used) {
			*s = (struct stream){ .used = true, .whole = whole, .at = e.at, .end = e.end, .upto = whole ? p->o.size : e.end, .asked = now, .last = now, .round = p->round };
			p->live++;
			p->opened = now;
			return s;
		}
	return NULL;
}

static void release(struct parts *p, struct stream *s)
{
	s->used = false;
	p->live--;
}

static void failed(struct parts *p, const struct stream *s, int64_t at_least, int64_t now)
{
	if (s->news >= PARTS_ALIGN) /* an origin that gives a little each time gets there */
		p->failures = 0;
	else if (s->round == p->round) /* what was asked for together and fails together is one failure */
		p->failures++;
	p->round = s->round == p->round ? p->round + 1 : p->round;
	unsigned n = p->failures > BACKOFF_DOUBLINGS ? BACKOFF_DOUBLINGS : p->failures > 0 ? p->failures - 1 : 0;
	int64_t pause = p->failures > 0 ? (int64_t)BACKOFF_MS << n : 0;
	p->hold = now + (pause > at_least ? pause : at_least);
}

/* A stream that needs no range request goes on over what nobody has, and over the part of a stream that has brought nothing yet: whether
 * that ever will is not known, and once cut off the whole cannot be had back. */
static void extend(struct parts *p, struct stream *s)
{
	struct extent gap;
	if (!s->whole || s->at < s->end || s->at >= s->upto || (!fills_rest(p) && p->want_n == 0))
		return;
	struct stream *other = stream_of(p, s->at);
	if (other != NULL && !other->heard && !other->whole)
		s->end = other->end;
	else if (gap_in(p, s->at, p->o.size, &gap) && gap.at == s->at)
		s->end = gap.end;
}

/* Its first bytes come, and the whole is in the middle of its part: that will do the rest of it. */
static void overtaken(struct parts *p, struct stream *s)
{
	for (const struct stream *w = p->s; w < p->s + PARTS_STREAMS; w++)
		if (w->used && w->whole && w != s && w->at > s->at && w->at < s->end && w->end >= s->end)
			s->end = s->at;
}

static struct parts_step stop(struct parts *p, struct stream *s)
{
	release(p, s);
	return (struct parts_step){ .act = PARTS_STOP, .stream = (unsigned)(s - p->s) };
}

static struct stream *to_be_stopped(struct parts *p, int64_t now)
{
	for (struct stream *s = p->s; s < p->s + PARTS_STREAMS; s++) {
		if (!s->used)
			continue;
		extend(p, s);
		if (s->at >= s->end && s->end < s->upto)
			return s; /* cut off */
		if (!fills_rest(p) && !is_wanted(p, s))
			return s;
		bool others = p->live > 1 && now - s->last >= STALL_MS && p->last - s->last >= STALL_MS / 2;
		if (p->o.ranges && (others || (!s->whole && now - s->last >= SILENT_MS))) {
			failed(p, s, 0, now);
			return s;
		}
	}
	return NULL;
}

/* For a reader when all streams are taken: the one with the most before it of those that nobody waits for just now. */
static struct stream *background_stream(struct parts *p)
{
	struct stream *best = NULL;
	for (struct stream *s = p->s; s < p->s + PARTS_STREAMS; s++)
		if (s->used && !is_urgent(p, s) && (best == NULL || s->end - s->at > best->end - best->at))
			best = s;
	return best;
}

static struct parts_step ask(struct parts *p, struct extent part, bool whole, int64_t now)
{
	struct stream *s = begin(p, part, whole, now);
	return (struct parts_step){ .act = PARTS_ASK, .stream = (unsigned)(s - p->s), .range = part, .whole = whole };
}

struct parts_step parts_next(struct parts *p, int64_t now)
{
	struct parts_step wait = { .act = PARTS_WAIT, .until = now + LOOK_MS };
	struct extent part;
	struct stream *s = to_be_stopped(p, now);
	if (s != NULL)
		return stop(p, s);
	if (parts_state(p) != PARTS_GOING)
		return wait;
	judge_level(p, now);
	for (const struct stream *t = p->s; p->failures > 0 && t < p->s + PARTS_STREAMS; t++)
		if (t->used && !t->heard)
			return wait; /* after a failure one at a time */
	if (now < p->hold) {
		if (p->hold < wait.until)
			wait.until = p->hold;
		return wait;
	}
	if (!p->o.ranges)
		return p->live > 0 || !has_work(p) ? wait : ask(p, (struct extent){ 0, p->o.size }, true, now);
	if (!p->o.proven && p->live >= 2)
		return wait; /* one is tried alone */
	uint64_t x;
	const struct extent *want = unserved(p, now, &x, &s);
	if (want != NULL && p->live < p->ceiling)
		return ask(p, urgent_part(p, want, x, s, now), false, now);
	if (want != NULL && (p->ceiling > 1 || p->o.proven) && (s = background_stream(p)) != NULL)
		return stop(p, s);
	if (p->live < streams_now(p) && background(p, now, &part))
		return ask(p, part, false, now);
	return wait;
}

/* ---- what became of it */

struct parts *parts_new(const struct parts_options *o)
{
	struct parts *p = xcalloc(1, sizeof *p);
	p->o = *o;
	if (p->o.streams < 1)
		p->o.streams = 1;
	if (p->o.streams > PARTS_STREAMS)
		p->o.streams = PARTS_STREAMS;
	if (p->o.extents == 0)
		p->o.extents = PARTS_EXTENTS;
	p->o.ranges = o->ranges && o->pinned;
	p->level = 1;
	p->ceiling = p->o.streams;
	p->settled_ms = SETTLED_MS;
	return p;
}

void parts_free(struct parts **pp)
{
	if (*pp != NULL)
		extents_free(&(*pp)->have);
	free(*pp);
	*pp = NULL;
}

void parts_have(struct parts *p, struct extent e) { extents_add(&p->have, extents_clip(e, p->o.size)); }

void parts_want(struct parts *p, const struct extent *want, unsigned n)
{
	p->want_n = n < PARTS_WANTS ? n : PARTS_WANTS;
	if (n > 0)
		memcpy(p->want, want, p->want_n * sizeof *want);
}

unsigned parts_first(struct parts *p, struct extent e, bool whole, int64_t now)
{
	const uint64_t upto = e.end;
	unsigned k = extents_find(&p->have, e.at);
	if (p->o.ranges && k < p->have.n && p->have.v[k].at > e.at)
		e.end = least(e.end, p->have.v[k].at);
	struct stream *s = begin(p, e, whole, now);
	s->upto = upto;
	p->o.proven |= !whole;
	return (unsigned)(s - p->s);
}

void parts_answered(struct parts *p, unsigned stream, uint64_t end, int64_t now)
{
	struct stream *s = &p->s[stream];
	s->last = now;
	p->latency = p->latency > 0 ? (3 * p->latency + now - s->asked) / 4 : now - s->asked;
	p->o.proven |= !s->whole;
	if (end < s->upto)
		s->upto = end;
	if (s->end > s->upto)
		s->end = s->upto;
}

/* There are no ranges: whatever brings the whole brings all that is missing, and nobody else begins. */
static void no_ranges(struct parts *p, bool cut_others)
{
	p->o.ranges = false;
	for (struct stream *s = p->s; s < p->s + PARTS_STREAMS; s++) {
		if (s->used && s->whole)
			s->end = s->upto;
		else if (s->used && cut_others)
			s->end = s->at;
	}
}

bool parts_ignored(struct parts *p, unsigned stream, int64_t now)
{
	struct stream *s = &p->s[stream];
	s->at = s->end = 0;
	if (parts_whole_lives(p)) {
		release(p, s);
		no_ranges(p, true);
		return false;
	}
	s->whole = true;
	s->last = now;
	s->upto = p->o.size;
	no_ranges(p, true);
	return true;
}

bool parts_run(struct parts *p, unsigned stream, struct extent *run)
{
	struct stream *s = &p->s[stream];
	if (p->o.ranges)
		extend(p, s);
	*run = (struct extent){ s->at, s->end };
	if (s->at >= s->end)
		return true;
	unsigned k = extents_find(&p->have, s->at);
	bool there = k < p->have.n && p->have.v[k].at <= s->at;
	if (k < p->have.n)
		run->end = least(run->end, there ? p->have.v[k].end : p->have.v[k].at);
	return !there;
}

void parts_got(struct parts *p, unsigned stream, uint64_t n, int64_t now)
{
	struct stream *s = &p->s[stream];
	uint64_t before = p->have.bytes;
	extents_add(&p->have, extents_clip((struct extent){ s->at, s->at + n }, p->o.size));
	s->news += p->have.bytes - before;
	s->at += n;
	s->last = p->last = now;
	p->received += n;
	if (!s->heard) {
		s->heard = true;
		s->begun = s->mark = now;
		overtaken(p, s);
	}
	if (s->news >= PARTS_ALIGN)
		p->failures = 0;
	s->marked += n;
	if (now - s->mark >= RATE_MS) {
		uint64_t recent = per_second(s->marked, now - s->mark);
		s->rate = s->rate > 0 ? (s->rate + recent) / 2 : recent;
		s->marked = 0;
		s->mark = now;
	}
}

void parts_waited(struct parts *p, uint64_t n) { p->waited += n; }

void parts_end(struct parts *p, unsigned stream, int64_t now)
{
	struct stream *s = &p->s[stream];
	release(p, s);
	if (s->at < s->end) /* less than it promised; what it brought is good */
		failed(p, s, 0, now);
	else
		p->failures = 0;
}

void parts_broke(struct parts *p, unsigned stream, enum parts_why why, int64_t retry_after_ms, int64_t now)
{
	struct stream *s = &p->s[stream];
	release(p, s);
	failed(p, s, why == PARTS_REFUSED ? retry_after_ms : 0, now);
	if (why == PARTS_REFUSED) {
		p->ceiling = p->live > 1 ? p->live : 1;
		p->healed = now;
	} else if (why != PARTS_BROKEN) {
		p->dead |= !p->o.ranges && s->whole;
		no_ranges(p, why == PARTS_LIED);
	}
	p->dead |= !p->o.pinned;
}

enum parts_state parts_state(const struct parts *p)
{
	if (p->have.bytes == p->o.size)
		return PARTS_DONE;
	return p->live == 0 && (p->dead || p->failures > p->o.tries) ? PARTS_FAILED : PARTS_GOING;
}

bool parts_whole_lives(const struct parts *p)
{
	for (const struct stream *s = p->s; s < p->s + PARTS_STREAMS; s++)
		if (s->used && s->whole && s->at < s->upto)
			return true;
	return false;
}

const struct extent *parts_there(const struct parts *p, unsigned *n) { return *n = p->have.n, p->have.v; }
uint64_t parts_bytes(const struct parts *p) { return p->have.bytes; }
unsigned parts_live(const struct parts *p) { return p->live; }
