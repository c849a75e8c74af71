/* commitwait.h - for who must see a document whose bytes are all there, and which is on its way into the database: --commit-interval and a sync,
 * some ten milliseconds; a busy disk takes more. */
#pragma once
#include <stdbool.h>

/* Looks until done(arg), for up to a second. false: it never was. Blocks: pool_blocking is the caller's. */
bool commit_wait(bool (*done)(void *arg), void *arg);
