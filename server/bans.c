/* bans.c - see bans.h */
#include "bans.h"
#include <stdio.h>
#include <string.h>
#include "../common/err.h"
#include "../common/hash.h"
#include "../common/shm.h"

/* tag and down_until are read without the lock, all else only with it. */
struct slot {
	_Atomic uint64_t tag;        /* of the origin; 0: free */
	_Atomic int64_t down_until;  /* mono ms; 0: not banned */
	_Atomic int64_t wanted;      /* when somebody last wanted something of it */
	int64_t used, first_failure, until, length, probe_until, next_probe;
	int err;
	unsigned times, failures;
	char origin[sizeof ((struct ban *)0)->origin], problem[sizeof ((struct ban *)0)->problem];
};
struct bans {
	struct shm_lock lock;
	_Atomic uint32_t used;       /* slots that are not free */
	struct slot slots[BANS_MAX];
	struct { _Atomic uint64_t tag; _Atomic int64_t at; } alive[BANS_ALIVE]; /* no lock: half a pair is at worst a failure too few or too many */
};

struct name { char text[sizeof ((struct ban *)0)->origin]; uint64_t tag; };

size_t bans_size(void) { return sizeof(struct bans); }

struct bans *bans_init(void *shm)
{
	struct bans *b = shm;
	shm_lock_init(&b->lock);
	return b;
}

/* false: too long for a name that resolves; such an origin is never banned */
static bool name_of(const struct url *u, struct name *n)
{
	const bool v6 = u->host.n > 0 && memchr(u->host.p, ':', u->host.n) != NULL;
	int len = snprintf(n->text, sizeof n->text, "%.*s://%s%.*s%s:%u", STRP(u->scheme), v6 ? "[" : "", STRP(u->host), v6 ? "]" : "", u->port);
	if (len < 0 || (size_t)len >= sizeof n->text)
		return false;
	for (int i = 0; i < len; i++)
		n->text[i] = ascii_lower(n->text[i]);
	n->tag = hash64(n->text, (size_t)len) | 1;
	return true;
}

static struct slot *set_of(const struct bans *b, uint64_t tag) { return (struct slot *)&b->slots[(tag >> 8) % (BANS_MAX / BANS_WAYS) * BANS_WAYS]; }

static bool is_there(const struct bans *b, const struct url *u, struct name *n, struct slot **s)
{
	if (atomic_load_explicit(&b->used, memory_order_relaxed) == 0 || !name_of(u, n))
		return false;
	struct slot *set = set_of(b, n->tag);
	for (unsigned i = 0; i < BANS_WAYS; i++)
		if (atomic_load_explicit(&set[i].tag, memory_order_acquire) == n->tag) {
			*s = &set[i];
			return true;
		}
	return false;
}

/* A holder that died inside may have made a slot, or freed it, and not counted it. */
static void lock(struct bans *b)
{
	uint32_t n = 0;
	if (shm_lock(&b->lock) == 0)
		return;
	for (unsigned i = 0; i < BANS_MAX; i++)
		n += atomic_load(&b->slots[i].tag) != 0;
	atomic_store(&b->used, n);
}

/* With the lock held. Half of what a holder wrote that died inside is harmless: texts have an end, numbers are only times. */
static struct slot *find(struct bans *b, const struct name *n)
{
	struct slot *set = set_of(b, n->tag);
	for (unsigned i = 0; i < BANS_WAYS; i++)
		if (atomic_load(&set[i].tag) == n->tag && strcmp(set[i].origin, n->text) == 0)
			return &set[i];
	return NULL;
}

/* The slot of an origin, with the lock held; NULL, without it, when there is none. */
static struct slot *hold(struct bans *b, const struct url *u)
{
	struct name n;
	struct slot *s;
	if (!is_there(b, u, &n, &s))
		return NULL;
	lock(b);
	if ((s = find(b, &n)) == NULL)
		shm_unlock(&b->lock);
	return s;
}

static void drop(struct bans *b, struct slot *s)
{
	if (atomic_load(&s->tag) == 0)
		return;
	atomic_store(&s->tag, 0);
	atomic_store(&s->down_until, 0);
	atomic_fetch_sub(&b->used, 1);
}

static struct slot *take(struct bans *b, const struct name *n)
{
	struct slot *set = set_of(b, n->tag), *s = set;
	for (unsigned i = 0; i < BANS_WAYS && atomic_load(&s->tag) != 0; i++)
		if (atomic_load(&set[i].tag) == 0 || set[i].used < s->used)
			s = &set[i];
	drop(b, s);
	s->used = s->first_failure = s->until = s->length = s->probe_until = s->next_probe = 0;
	s->times = s->failures = 0;
	s->err = 0;
	s->problem[0] = 0;
	snprintf(s->origin, sizeof s->origin, "%s", n->text);
	atomic_store_explicit(&s->tag, n->tag, memory_order_release);
	atomic_fetch_add(&b->used, 1);
	return s;
}

static void copy(const struct slot *s, int64_t now, struct ban *out)
{
	*out = (struct ban){ .err = s->err, .times = s->times, .failures = s->failures, .length_ms = s->length,
	                     .left_ms = s->times > 0 ? s->until - now : 0, .probed = now < s->probe_until };
	snprintf(out->origin, sizeof out->origin, "%s", s->origin);
	snprintf(out->problem, sizeof out->problem, "%s", s->problem);
}

static bool is_down(const struct slot *s, int64_t now) { return now < atomic_load_explicit(&s->down_until, memory_order_relaxed); }
static void wanted(struct slot *s, int64_t now) { atomic_store_explicit(&s->wanted, now, memory_order_relaxed); }

/* When the background looks next: never later than at the ban's end. */
static void schedule(struct slot *s, int64_t now)
{
	int64_t gap = s->length / BANS_PROBES > BANS_GAP_MS ? s->length / BANS_PROBES : BANS_GAP_MS;
	s->next_probe = now < s->until && now + gap > s->until ? s->until : now + gap;
}

bool bans_down(const struct bans *b, const struct url *u, int64_t now)
{
	struct name n;
	struct slot *s;
	if (!is_there(b, u, &n, &s) || !is_down(s, now))
		return false;
	wanted(s, now);
	return true;
}

enum bans_answer bans_ask(struct bans *b, const struct url *u, int64_t now, struct ban *why)
{
	struct name n;
	struct slot *s;
	enum bans_answer answer = BANS_GO;
	if (!is_there(b, u, &n, &s) || !is_down(s, now))
		return BANS_GO;
	lock(b);
	if ((s = find(b, &n)) != NULL && is_down(s, now)) {
		answer = now < s->until || now < s->probe_until ? BANS_DOWN : BANS_PROBE;
		copy(s, now, why);
		wanted(s, now);
		if (answer == BANS_PROBE)
			s->probe_until = now + BANS_PROBE_MS;
	}
	shm_unlock(&b->lock);
	return answer;
}

bool bans_why(struct bans *b, const struct url *u, int64_t now, struct ban *why)
{
	struct name n;
	struct slot *s;
	if (!is_there(b, u, &n, &s) || !is_down(s, now))
		return false;
	lock(b);
	s = find(b, &n);
	const bool down = s != NULL && is_down(s, now);
	if (down)
		copy(s, now, why);
	shm_unlock(&b->lock);
	return down;
}

/* One more failure: does it begin a ban, or the next? */
static bool bans_it(struct slot *s, const struct bans_limits *l, int64_t now)
{
	if (s->times > 0 && now > s->until + l->max_ms) /* so long ago that it says nothing of today */
		s->times = s->failures = 0;
	if (s->times > 0)
		return now >= s->until; /* within it, the probe only confirms it */
	if (s->failures == 0 || now - s->first_failure > l->window_ms) {
		s->failures = 0;
		s->first_failure = now;
	}
	return ++s->failures >= l->failures;
}

void bans_answered(struct bans *b, const struct url *u, int64_t now)
{
	struct name n;
	if (!name_of(u, &n))
		return;
	atomic_store_explicit(&b->alive[n.tag >> 8 & (BANS_ALIVE - 1)].tag, n.tag, memory_order_relaxed);
	atomic_store_explicit(&b->alive[n.tag >> 8 & (BANS_ALIVE - 1)].at, now, memory_order_relaxed);
}

static bool answers_others(const struct bans *b, const struct name *n, int64_t window_ms, int64_t now)
{
	const size_t i = n->tag >> 8 & (BANS_ALIVE - 1);
	return atomic_load_explicit(&b->alive[i].tag, memory_order_relaxed) == n->tag && now - atomic_load_explicit(&b->alive[i].at, memory_order_relaxed) <= window_ms;
}

bool bans_failed(struct bans *b, const struct bans_limits *l, const struct url *u, int err, const char *problem, bool probe, int64_t now, struct ban *now_banned)
{
	struct name n;
	if (!name_of(u, &n) || (err == -ERR_ORIGIN_TIMEOUT && !probe && answers_others(b, &n, l->window_ms, now)))
		return false;
	lock(b);
	struct slot *s = find(b, &n);
	if (s == NULL)
		s = take(b, &n);
	s->used = now;
	s->err = err;
	snprintf(s->problem, sizeof s->problem, "%s", problem);
	if (probe)
		s->probe_until = 0;
	else
		wanted(s, now);
	const bool begins = bans_it(s, l, now);
	if (begins) {
		s->length = s->times == 0 ? l->first_ms : 2 * s->length;
		if (s->length > l->max_ms)
			s->length = l->max_ms;
		s->times++;
		s->until = now + s->length;
		atomic_store(&s->down_until, s->until + s->length);
		copy(s, now, now_banned);
	}
	if (begins || probe)
		schedule(s, now);
	shm_unlock(&b->lock);
	return begins;
}

bool bans_worked(struct bans *b, const struct url *u, struct ban *was)
{
	struct slot *s = hold(b, u);
	if (s == NULL)
		return false;
	const bool banned = s->times > 0;
	if (banned)
		copy(s, 0, was);
	drop(b, s);
	shm_unlock(&b->lock);
	return banned;
}

void bans_left(struct bans *b, const struct url *u)
{
	struct slot *s = hold(b, u);
	if (s == NULL)
		return;
	s->probe_until = 0;
	shm_unlock(&b->lock);
}

/* "https://host:port": the whole, or its host */
static bool is_about(struct str origin, struct str what)
{
	struct str host = str_from(origin, 8 - !str_starts(origin, STR("https:")));
	while (host.n > 0 && host.p[host.n - 1] != ':')
		host.n--;
	host.n -= host.n > 0;
	if (host.n > 2 && host.p[0] == '[') /* a host is said without brackets */
		host = str_upto(str_from(host, 1), host.n - 2);
	return what.n == 0 || str_caseeq(what, origin) || str_caseeq(what, host);
}

unsigned bans_lift(struct bans *b, struct str what)
{
	unsigned n = 0;
	for (unsigned i = 0; i < BANS_MAX; i++) {
		struct slot *s = &b->slots[i];
		if (atomic_load(&s->tag) == 0)
			continue;
		lock(b);
		if (atomic_load(&s->tag) != 0 && is_about(str_c(s->origin), what)) {
			drop(b, s);
			n++;
		}
		shm_unlock(&b->lock);
	}
	return n;
}

static bool is_due(const struct slot *s, int64_t now)
{
	return atomic_load(&s->tag) != 0 && is_down(s, now) && now >= s->next_probe && now >= s->probe_until && now - atomic_load(&s->wanted) < BANS_WATCH_MS;
}

bool bans_due(struct bans *b, int64_t now, struct ban *which)
{
	struct slot *s = NULL;
	if (atomic_load(&b->used) == 0)
		return false;
	lock(b);
	for (unsigned i = 0; i < BANS_MAX; i++) /* the one that has waited longest: none is forgotten when there are many */
		if (is_due(&b->slots[i], now) && (s == NULL || b->slots[i].next_probe < s->next_probe))
			s = &b->slots[i];
	if (s != NULL) {
		copy(s, now, which);
		s->probe_until = now + BANS_PROBE_MS;
	}
	shm_unlock(&b->lock);
	return s != NULL;
}

void bans_mute(struct bans *b, const struct url *u)
{
	struct slot *s = hold(b, u);
	if (s == NULL)
		return;
	s->probe_until = 0;
	s->next_probe = INT64_MAX;
	shm_unlock(&b->lock);
}

unsigned bans_count(const struct bans *b, int64_t now)
{
	unsigned n = 0;
	if (atomic_load(&b->used) == 0)
		return 0;
	for (unsigned i = 0; i < BANS_MAX; i++)
		n += is_down(&b->slots[i], now);
	return n;
}

void bans_each(struct bans *b, int64_t now, void (*fn)(void *arg, const struct ban *), void *arg)
{
	for (unsigned i = 0; i < BANS_MAX; i++) {
		struct ban one;
		if (atomic_load(&b->slots[i].tag) == 0)
			continue;
		lock(b);
		const bool there = atomic_load(&b->slots[i].tag) != 0;
		if (there)
			copy(&b->slots[i], now, &one);
		shm_unlock(&b->lock);
		if (there)
			fn(arg, &one);
	}
}
