/* sweep.h - what a crash left: chunks in the spool, and in the store, of documents that were never committed. The uploader's.
 * All that the outbox's documents need is wanted; what else has been in the spool for a while is debris (s3/spool.h). A chunk that was
 * debris there is removed from the store too, when a moment later no document at all has it, and no second name: a document that was about
 * to be committed with the same bytes is there by then. */
#pragma once
#include "../es/metadata.h"
#include "../s3/spool.h"

struct sweep;
struct sweep *sweep_new(struct metadata *, struct spool *, struct chunks *, const char *store); /* all outlive it */
/* Does what is due; now and then, from one thread. started (wall ms): what was in the spool before this instance cannot be about to be committed. */
void sweep_step(struct sweep *, int64_t started);
