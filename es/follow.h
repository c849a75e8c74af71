/* follow.h - what other nodes have purged or invalidated reaches this one: each node's drain writes event documents into the index
 * (doc_type "px_purge", which older readers never ask for), and each node's follower searches for new ones. One process follows: the uploader.
 *
 * The bound: while Elasticsearch answers, another node no longer serves what was purged, or serves it without validation, interval_ms and the
 * time of one search after the purging node's uploader has written the event, which it does at its next step (within a second of the purge).
 * While Elasticsearch cannot be reached nothing is heard; then all that was missed is caught up with. The event's times are in
 * Elasticsearch's clock as far as the nodes know it (remote_offset_exactly); searches overlap by FOLLOW_SKEW_MS on top of that, so that an event of a
 * node whose clock is wrong is not missed. Where it stopped is kept in the mirror. Events live for FOLLOW_KEEP_MS; a node that was
 * away for longer (stopped, or without Elasticsearch) cannot know what it has missed, so it forgets what its mirror has as soon as Elasticsearch answers
 * again (Elasticsearch and S3 still have it). */
#pragma once
#include "metadata.h"
#include "remote.h"

#define FOLLOW_SKEW_MS (10 * 60 * 1000)
#define FOLLOW_KEEP_MS (3 * 24 * 3600 * 1000)

struct follow;
struct follow *follow_new(struct metadata *, struct remote *, int64_t interval_ms);
void follow_free(struct follow **);
/* Looks when it is time. The result: so many ms until the next look. One thread at a time. */
int64_t follow_step(struct follow *);
