/* failover.h - what a worker makes of bans.h: by the settings, with counters and a line in the log. */
#pragma once
#include "bans.h"

/* Is the origin known to be down? Then what is stored is served stale where the policy allows it (judge_stored). */
bool origin_down(const struct url *);
/* May a request go there? false: *err and problem say why not. *probe: the request is the one that finds out, and its end must be told: */
bool origin_ask(const struct url *, bool *probe, int *err, char *problem, size_t n);
void origin_failed(const struct url *, int err, const char *problem, bool probe); /* without a head; a probe that was given up, too */
void origin_worked(const struct url *);                                           /* a head came */
/* It is down, and whoever is at it still was so before or finds out: no sense in waiting with him. As origin_ask, but takes nothing. */
bool origin_refuses(const struct url *, int *err, char *problem, size_t n);
/* It is down and its ban has run out, and nobody is at it: a request that needs no answer may find out. */
bool origin_wants_probe(const struct url *);
int64_t origin_retry_s(const struct url *); /* for Retry-After; 0: not banned */
