/* fill_impl.h - what fill.c, fill_relay.c and fill_spread.c share; for nobody else. The comment at the top of fill.c says who may change what. */
#pragma once
#include "fill.h"
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/shm.h"
#include <stdatomic.h>

/* STATE(name, legal successors) */
#define STATES \
	STATE(FREE,    TO(CLAIMED))              /* nobody's */ \
	STATE(CLAIMED, TO(GROWING) | TO(FAILED)) /* there is a writer, who knows nothing yet */ \
	STATE(GROWING, TO(RELAYED) | TO(SEALED) | TO(FAILED)) /* the head is known, bytes [0, available) can be read */ \
	STATE(RELAYED, TO(SEALED) | TO(FAILED))  /* degraded: from relay_base on, bytes go through the ring */ \
	STATE(SEALED,  TO(FREE))                 /* the body is whole */ \
	STATE(FAILED,  TO(FREE))                 /* it will never be */

enum state {
#define STATE(name, to) name,
	STATES
#undef STATE
};
#define PAGE 4096
#define NOTHING UINT64_MAX /* nobody wants anything; no relay */

struct lane {
	uint32_t owner;            /* worker + 1; 0: free */
	_Atomic uint64_t pos;      /* everything below it may be overwritten */
};

/* What a reader of a spread body will read: as long as it is there. Its own, once it has set owner. */
struct want {
	_Atomic uint32_t owner;    /* worker + 1; 0: free */
	shm_event event;
	_Atomic uint32_t waits;    /* it sleeps until the byte at `at` is there */
	_Atomic uint64_t at, end;
};

struct slot {
	/* what a waiting reader and the writer look at, on a line of its own */
	_Atomic uint32_t state;
	_Atomic int32_t err;
	shm_event event;
	_Atomic uint32_t relaying;      /* relay_base is good */
	_Atomic uint64_t wanted;        /* the lowest offset that somebody sleeps for; NOTHING: nobody sleeps */
	_Atomic uint64_t available;
	_Atomic int64_t total;          /* -1 unknown */
	_Atomic uint64_t in_slot;       /* bytes of the body that can be read from `body` below */
	uint64_t chunk_size;
	uint32_t head_n;

	_Alignas(64) uint32_t writer;   /* worker + 1; 0: gone */
	_Atomic uint32_t generation;    /* of this slot: one more at every claim; names the tmp files */
	_Atomic uint32_t files;         /* tmp files that may exist: 0 .. files - 1 */
	uint32_t key_n;
	shm_event room;                 /* for the writer of a relay */
	_Atomic uint32_t room_wanted;
	_Atomic uint32_t storing;       /* fill_may_store said yes */
	uint64_t relay_base;            /* where the ring begins; and, under the lock, what it may have lost: all below ring_from */
	uint64_t ring_from;
	_Atomic uint32_t readers[FILL_WORKERS]; /* written under the lock */
	struct lane lanes[FILL_LANES];
	char key[FILL_KEY];

	/* a body that comes in any order: fill_spread.c */
	_Alignas(64) _Atomic uint32_t spread; /* the extents say which bytes are there, and readers have wants */
	_Atomic uint32_t extents_seq;   /* odd: the list is being changed */
	_Atomic uint32_t extents_n;
	_Atomic uint32_t wants_top;     /* no want from here on has an owner */
	struct want wants[FILL_WANTS];
	struct { _Atomic uint64_t at, end; } extents[FILL_EXTENTS];

	_Alignas(PAGE) char head[FILL_HEAD];
	_Alignas(PAGE) char body[FILL_INLINE];
	_Alignas(PAGE) char ring[FILL_RELAY];
};

/* Keys that are not to be shared: by their tag alone. Two keys with one tag cost a fetch, and there are 2^64. */
#define SETS 1024
#define WAYS 4
struct unshareable { uint64_t tag; int64_t until; };

#define TABLE_MAGIC 0x66696c6c

#define EPOCHS 4096 /* some keys share one: a needless second lookup, or a response that is not stored, no more */
#define HOSTS 256   /* the same for hosts */
struct fill_table {
	uint32_t magic;
	uint32_t slots;
	size_t slots_at;           /* from the table's start */
	struct shm_lock lock;
	uint32_t top;              /* no slot from here on is taken: what a scan need not look at */
	_Atomic uint32_t epochs[EPOCHS]; /* how many fills of such keys have ended */
	_Atomic uint64_t version;        /* counts what was outdated … */
	_Atomic uint64_t outdated[EPOCHS], outdated_hosts[HOSTS], outdated_all; /* … and which of it was the last about such keys, such hosts, all; under the lock */
	struct unshareable unshareable[SETS][WAYS];
	_Atomic uint64_t tags[];   /* TAG_FREE, TAG_KEYLESS, or the key's */
};
enum { TAG_FREE, TAG_KEYLESS };

struct fill {
	struct fill_table *t;
	struct chunks *chunks;
	struct slot *s;
	unsigned index, worker;
	bool is_writer;
	/* the chunk file that is open: written at its end, or read anywhere */
	int fd;
	uint32_t chunk;
	/* writer */
	uint64_t at;               /* bytes that are in files; may be more than available after a failed append */
	bool cold;                 /* fill_cold */
	bool spilled;              /* the body goes to files */
	int failed;                /* what the store said: no append but to a relay */
	int unstored;              /* a chunk that could not be linked: the body is fine, the object is not stored */
	struct chunk_id name;      /* of its only chunk, when name.n > 0: fill_name */
	struct sha256 *sum;
	struct chunk_id *ids;
	uint32_t n_ids, room_ids;
	struct spread *spread;     /* fill_spread.c; NULL: the body comes in order */
	/* reader */
	void *buf;
	int lane;                  /* in a relay; -1 */
	bool lost;                 /* there was no lane left */
	uint64_t floor;            /* the lowest offset that the ring still has for us */
	int want;                  /* in a spread body; -1 */
	uint64_t until;            /* fill_intends */
};

/* fill.c */
unsigned fill_slot_readers(const struct slot *);
void fill_slot_readers_add(struct slot *, unsigned worker, uint32_t n);        /* under the lock */
void fill_slot_state(struct slot *, enum state to);
void fill_slot_wake(struct slot *);                                            /* all who sleep look again */
void fill_slot_publish(struct slot *, uint64_t available);
void fill_give_up_key(struct fill_table *, unsigned i);                        /* under the lock */
/* Under the lock: frees slot i when nobody has it. true: the caller unlinks its files, afterwards, by generation and files */
bool fill_free_if_left(struct fill_table *, unsigned i, uint32_t *generation, uint32_t *files);
void fill_unlink_files(struct chunks *, unsigned slot, uint32_t generation, uint32_t files);
void fill_tmp_path(const struct fill *, uint32_t chunk, char path[CHUNKS_PATH]);
int fill_spill(struct fill *);                                                 /* what is in the slot goes to a file, too */

/* fill_relay.c */
int fill_keep_pace(struct fill *, uint64_t off);     /* a reader of a relay is at off */
void fill_room_notify(struct slot *);                /* a reader of a relay has moved, or left */

/* fill_spread.c */
bool fill_spread_there(const struct slot *, uint64_t off, uint64_t *end);      /* is the byte at off there? and all that follow, to *end */
void fill_spread_wants(struct fill *, uint64_t off);                           /* the reader is at off */
int fill_spread_wait(struct fill *, uint64_t off, int64_t deadline);           /* 0: look again; -ERR_TIMEOUT */
void fill_spread_wake(struct slot *);                                          /* all its readers look again */
void fill_spread_leave(struct fill *);                                         /* the end of a handle, the writer's or a reader's */
void fill_spread_reset(struct slot *);                                         /* nobody's any more, or of a worker that has died: */
void fill_spread_bury(struct slot *, unsigned worker);
