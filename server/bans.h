/* bans.h - origins (scheme, host, port) that cannot be reached, known to all workers: a table in shared memory.
 * An origin whose connections fail several times in a short while is banned: no request goes there. A probe in the background (probe.h) finds
 * out now and then whether it is back. A ban ends by the first success; a probe that fails when it has run out makes it longer.
 *
 *   limits.failures within window_ms ──► banned for first_ms ──► a probe fails at its end: twice as long … max_ms
 *   any success ──► forgotten. No probe knew more by its end ──► one request at a time is the probe, for as long again.
 *   Then everybody may, but the next failure bans it for longer.
 *
 * Bounded: BANS_MAX origins in sets of BANS_WAYS; in a full set the one that failed longest ago makes room. Asking about an origin takes
 * no lock while nothing stands in the table about it. Pure, but for its lock: the time (clock_mono) and the limits are given. */
#pragma once
#include <stdbool.h>
#include "../common/url.h"

#define BANS_WAYS 8
#define BANS_MAX (256 * BANS_WAYS) /* what a build farm talks to, many times over; 1.2 MB, touched only where origins fail */
#define BANS_PROBE_MS 60000        /* a probe of which nothing was heard is forgotten: its worker may have died */

struct bans;                       /* no pointers in it */
struct bans_limits { int64_t failures, window_ms, first_ms, max_ms; };

/* What stands there of an origin: a copy. */
struct ban {
	char origin[288], problem[192]; /* "https://host:port"; the last failure in words */
	int err;                        /* the same as -ERR_X */
	unsigned times, failures;       /* banned so often without a success; failures towards the first ban */
	int64_t length_ms, left_ms;     /* of the ban; left_ms <= 0: it has run out, nobody has found out more */
	bool probed;                    /* somebody is at it */
};

size_t bans_size(void);
struct bans *bans_init(void *shm); /* zeroed */

/* Is it not worth waiting for? While banned, and after it for as long again (then nobody has asked, and it may well be back). */
bool bans_down(const struct bans *, const struct url *, int64_t now);
/* The same, for one that wants to go there. GO: no ban. PROBE: it has run out, and the caller finds out: that ends with bans_failed,
 * _worked or _left. DOWN: *why */
enum bans_answer { BANS_GO, BANS_PROBE, BANS_DOWN };
enum bans_answer bans_ask(struct bans *, const struct url *, int64_t now, struct ban *why);
/* What stands there, when it is down; false: nothing. Changes nothing. */
bool bans_why(struct bans *, const struct url *, int64_t now, struct ban *why);
/* It could not be reached. true: this began a ban or made it longer, *now_banned says which. */
bool bans_failed(struct bans *, const struct bans_limits *, const struct url *, int err, const char *problem, bool probe, int64_t now, struct ban *now_banned);
/* It answered. true: this ended a ban. */
bool bans_worked(struct bans *, const struct url *, struct ban *was);
/* The probe ended, and nothing is known. */
void bans_left(struct bans *, const struct url *);

/* Forgets an origin ("https://host:port"), all of a host, or (STR_NONE) all, and so lifts their bans. How many it forgot. */
unsigned bans_lift(struct bans *, struct str what);

/* The background's: an origin that is to be probed now. true: *which is, and the caller does, as after PROBE. An origin of which nobody has
 * wanted anything for BANS_WATCH_MS is not probed. */
bool bans_due(struct bans *, int64_t now, struct ban *which);
/* That probe was taken, but got no answer. It tells nothing (a host may answer some questions and not others), so no more of them: the
 * first request after the ban's end finds out. */
void bans_mute(struct bans *, const struct url *);
#define BANS_PROBES 5              /* in each ban, the last at its end … */
#define BANS_GAP_MS 1000           /* … but not more often */
#define BANS_WATCH_MS 600000

unsigned bans_count(const struct bans *, int64_t now); /* origins that are down */
void bans_each(struct bans *, int64_t now, void (*fn)(void *arg, const struct ban *), void *arg);
