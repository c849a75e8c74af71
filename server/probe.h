/* probe.h - finds out in the background whether banned origins are back (bans.h), so that no client's request has to. One worker does it, a
 * few origins at a time. */
#pragma once
struct worker;
void probe_banned(struct worker *); /* in each tick; begins what is due, never blocks */
