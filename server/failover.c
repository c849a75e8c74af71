/* failover.c - see failover.h */
#include "failover.h"
#include <stdio.h>
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/log.h"
#include "heritage.h"

static bool is_on(void) { return conf()->ban_ms > 0; }

static int64_t seconds_left(const struct ban *b) { return b->left_ms > 0 ? (b->left_ms + 999) / 1000 : 1; }

bool origin_down(const struct url *u) { return bans_down(heritage.shared.bans, u, clock_mono()) && is_on(); }

static void say(const struct ban *why, int *err, char *problem, size_t n)
{
	*err = why->err;
	snprintf(problem, n, "the origin was not asked, for it failed before: %s", why->problem);
	count(COUNT_ban_refusals);
}

bool origin_ask(const struct url *u, bool *probe, int *err, char *problem, size_t n)
{
	struct ban why;
	enum bans_answer a = is_on() ? bans_ask(heritage.shared.bans, u, clock_mono(), &why) : BANS_GO;
	*probe = a == BANS_PROBE;
	if (a == BANS_DOWN)
		say(&why, err, problem, n);
	return a != BANS_DOWN;
}

bool origin_refuses(const struct url *u, int *err, char *problem, size_t n)
{
	struct ban why;
	if (!is_on() || !bans_why(heritage.shared.bans, u, clock_mono(), &why) || (why.left_ms <= 0 && !why.probed))
		return false;
	say(&why, err, problem, n);
	return true;
}

bool origin_wants_probe(const struct url *u)
{
	struct ban why;
	return bans_why(heritage.shared.bans, u, clock_mono(), &why) && why.left_ms <= 0 && !why.probed;
}

int64_t origin_retry_s(const struct url *u)
{
	struct ban why;
	return is_on() && bans_why(heritage.shared.bans, u, clock_mono(), &why) ? seconds_left(&why) : 0;
}

/* That a connection came to nothing speaks against the origin. That what came over it was no good does not: it is there. All else is us, or
 * the client. */
void origin_failed(const struct url *u, int err, const char *problem, bool probe)
{
	const struct settings *s = conf();
	const struct bans_limits l = { .failures = s->ban_failures, .window_ms = s->ban_window_ms, .first_ms = s->ban_ms,
	                               .max_ms = s->ban_max_ms > s->ban_ms ? s->ban_max_ms : s->ban_ms };
	struct ban b;
	switch (-err) {
	case ERR_ORIGIN_RESOLVE:
	case ERR_ORIGIN_CONNECT:
	case ERR_ORIGIN_TLS:
	case ERR_ORIGIN_CERT:
	case ERR_ORIGIN_TIMEOUT:
		if (is_on() && bans_failed(heritage.shared.bans, &l, u, err, problem, probe, clock_mono(), &b)) {
			count(COUNT_bans);
			log_warn("%s is banned for %.3g s%s: %s", b.origin, (double)b.length_ms / 1000, b.times > 1 ? " more" : "", b.problem);
		}
		break;
	case ERR_ORIGIN_BROKEN:
	case ERR_ORIGIN_SHORT:
	case ERR_ORIGIN_PROTOCOL:
		origin_worked(u);
		break;
	default:
		if (probe)
			bans_left(heritage.shared.bans, u);
	}
}

void origin_worked(const struct url *u)
{
	struct ban was;
	if (bans_worked(heritage.shared.bans, u, &was))
		log_info("%s answers again: it is no longer banned", was.origin);
}
