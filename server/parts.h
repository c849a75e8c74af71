/* parts.h - the plan of one object's download: what is there, what is under way, what readers wait for, and so what to ask the origin for next,
 * and over how many connections. It does nothing itself: no I/O, no clock (now is clock_mono's, the caller's), no lock: one thread a plan.
 * Bounded: PARTS_STREAMS streams, PARTS_WANTS wants, PARTS_EXTENTS extents that are there.
 *
 * A stream is a request under way. The first one is a GET of the whole object: it goes on until a part begins that another stream has, where it
 * is cut off. All others are asked for a range. How many at a time: one more level is opened as long as the last one brought a fifth more bytes
 * a second; a refusal (429, 503, no connection) takes it back to what works. A stream that breaks leaves a gap, which is asked for again after a
 * pause; when nothing lives and nothing came so many times in a row, the download has failed. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "../common/extents.h"

#define PARTS_STREAMS 64
#define PARTS_WANTS 64
#define PARTS_EXTENTS 65536   /* 1 MiB of them; beyond it no new holes are made */
#define PARTS_ALIGN 65536     /* parts begin at multiples of it where they can, so that holes are not many */

enum parts_rest { REST_ALWAYS, REST_NEVER, REST_LIMIT }; /* what no reader asked for: fetched, not, or when the object is no larger than rest_limit */

struct parts_options {
	uint64_t size;            /* of the object */
	unsigned streams;         /* at most, 1 to PARTS_STREAMS */
	bool pinned;              /* it has a strong validator, so it may be asked for again: without, one stream is all there is */
	bool ranges;              /* ranges may be asked for */
	bool proven;              /* the origin says that it knows them; else one is tried alone first */
	bool spread;              /* large parts at once, the largest split when a stream is free: for nobody who reads in order, and for URLs
	                           * that expire. Otherwise parts of some seconds, in the order of the wants, then from the front */
	enum parts_rest rest;
	uint64_t rest_limit;
	unsigned tries;           /* failures in a row */
	unsigned extents;         /* of what is there, at most, PARTS_STREAMS and a few above it; 0: PARTS_EXTENTS */
};

struct parts;
struct parts *parts_new(const struct parts_options *);
void parts_free(struct parts **);
void parts_have(struct parts *, struct extent);                   /* it is there: of an earlier download */
void parts_want(struct parts *, const struct extent *, unsigned n); /* what readers wait for, the most urgent first; replaces the last ones */

enum parts_act { PARTS_WAIT, PARTS_ASK, PARTS_STOP };
struct parts_step {
	enum parts_act act;
	unsigned stream;          /* ASK: its number from now on. STOP: end its transfer, the number is free again */
	struct extent range;      /* ASK: for these bytes; */
	bool whole;               /* … or without a range */
	int64_t until;            /* WAIT: look again then, if nothing has happened */
};
/* Call it until it says WAIT. */
struct parts_step parts_next(struct parts *, int64_t now);

/* The transfer that is there already: it brings these bytes. whole: of a GET, that ends with the object; else of a range request. Before all else. */
unsigned parts_first(struct parts *, struct extent, bool whole, int64_t now);
/* The head of the answer is as it should be. end: what it brings ends there (an origin may give less of a range than it was asked for). */
void parts_answered(struct parts *, unsigned stream, uint64_t end, int64_t now);
/* The answer to a range request is the whole object, of the right version: there are no ranges then. false: it is of no use, end it (the
 * number is free). */
bool parts_ignored(struct parts *, unsigned stream, int64_t now);
/* What the stream's next bytes are, as long as that is one thing: true to be written there, false to be dropped. Empty: no more are wanted;
 * when its transfer brings more, end it with parts_end. */
bool parts_run(struct parts *, unsigned stream, struct extent *);
void parts_got(struct parts *, unsigned stream, uint64_t n, int64_t now); /* n bytes of that run have been written, or dropped */
void parts_waited(struct parts *, uint64_t n);                            /* n bytes waited for us, not we for them */
void parts_end(struct parts *, unsigned stream, int64_t now);             /* the transfer is over, in order */

enum parts_why {
	PARTS_BROKEN,             /* it broke off, or was silent for too long */
	PARTS_REFUSED,            /* too many (429, 503), no connection: fewer, later */
	PARTS_DENIED,             /* not this (403, 404, 416 …): no more ranges, but what flows may go on */
	PARTS_LIED,               /* not what was asked for: no range of this origin is believed any more */
};
void parts_broke(struct parts *, unsigned stream, enum parts_why, int64_t retry_after_ms, int64_t now);

enum parts_state { PARTS_GOING, PARTS_DONE, PARTS_FAILED };
enum parts_state parts_state(const struct parts *);
bool parts_whole_lives(const struct parts *);                     /* does a stream that needs no range request live? */
const struct extent *parts_there(const struct parts *, unsigned *n); /* in order, none adjacent; good until anything is called */
uint64_t parts_bytes(const struct parts *);                       /* how many that are */
unsigned parts_live(const struct parts *);                        /* streams */
uint64_t parts_rate(const struct parts *, int64_t now);           /* bytes a second, now */
