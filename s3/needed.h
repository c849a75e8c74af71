/* needed.h - which chunks a lot of documents need: an approximate set (a Bloom filter), of two bytes a chunk. It never says no of one that was
 * added; it says yes of one in a thousand that were not. One thread at a time. */
#pragma once
#include "manifest.h"

#define NEEDED_MIN (UINT64_C(1) << 19)  /* chunks that it is made for at least: 1 MiB … */
#define NEEDED_MAX (UINT64_C(1) << 26)  /* … and at most: 128 MiB. More only make it say yes more often */

struct needed;
struct needed *needed_new(uint64_t chunks);  /* about so many */
void needed_free(struct needed **);
void needed_add(struct needed *, struct str manifest); /* all of its chunks; what is no manifest adds nothing */
bool needed_has(void *needed, const struct chunk_id *); /* as spool.h and evict.h ask for it */
