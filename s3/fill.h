/* fill.h - the shared table of objects in the making. A fill has one writer (in one worker) and any number of readers in any worker.
 * It lives in memory that the master mapped; a writer whose process dies is buried by the master (fill_bury) and its readers wake with
 * -ERR_FILL_FAILED. Bodies up to FILL_INLINE stay in the slot until they are sealed; longer ones grow in tmp chunk files.
 *
 * A key is held from fill_claim to fill_done or fill_fail. Look into the metadata once more after FILL_WRITER when fill_epoch
 * has changed: the fill that was there before yours may have committed between your lookup and your claim.
 *
 * When the store fails in the middle of a body (fill_append says -ERR_FULL or -ERR_SYSTEM; none of that append's bytes is taken), the
 * writer may call fill_degrade and append the same bytes again: the fill is then a relay. The key is given up, nothing more is stored,
 * and the bytes go through a ring of FILL_RELAY in the slot to the readers that are attached already: the slowest of them sets the
 * pace, so none is cut off (a client that stalls is its server's business: its send timeout makes it leave). The bound: FILL_LANES
 * readers; one more than that gets -ERR_FILL_FAILED at the point where the relay began. Reading back behind what a reader has
 * asked for last fails likewise.
 *
 * The process ignores SIGXFSZ (a file size limit is then a full disk, not death). Chunk files of a fill have names in the store's tmp
 * folder until its slot is freed: readers of any process open them there. Counted by the caller: fills, fills_failed, fills_bound. */
#pragma once
#include "../common/extents.h"
#include "../common/str.h"
#include "chunks.h"

#define FILL_INLINE (64 * 1024)  /* bodies up to this cost no file while they grow */
#define FILL_HEAD (32 * 1024)    /* the longest meta record that can be shared; longer: not cached */
#define FILL_WORKERS 128         /* places for workers' reader counts */
#define FILL_KEY 512             /* the longest key: Elasticsearch's own bound for document ids; a longer one is never shared (FILL_TABLE_FULL) */
#define FILL_RELAY (128 * 1024)  /* the ring of a degraded fill */
#define FILL_LANES 64            /* readers that can follow a degraded fill */
#define FILL_EXTENTS 1024        /* pieces that a spread body may be in: 16 KiB of the slot */
#define FILL_WANTS 256           /* its readers whose wishes are known; others look again every FILL_LOOK_MS, and are served in their turn */
#define FILL_LOOK_MS 20
#define FILL_SPREAD_CHUNKS (1u << 20) /* of a spread body at most: 32 TiB in chunks of the usual size */

struct fill_table;
size_t fill_table_size(unsigned slots);
/* Before fork. shm: zeroed, page-aligned (shm_map). */
struct fill_table *fill_table_init(void *shm, unsigned slots);

struct arena;
struct fill;  /* this process's handle on a slot: writer or reader. One thread at a time */

enum fill_claim {
	FILL_WRITER,      /* yours to fetch: end it with fill_done or fill_fail */
	FILL_READER,      /* somebody fetches it: fill_wait_head */
	FILL_UNSHAREABLE, /* remembered as not shareable: fetch for yourself, do not store through a fill… unless it turns out storable: fill_shareable */
	FILL_TABLE_FULL,  /* the bound: fetch for yourself, uncached */
};
/* key: document id; worker: this worker's index (< FILL_WORKERS). h is set for WRITER and READER. */
enum fill_claim fill_claim(struct fill_table *, struct chunks *, struct str key, unsigned worker, uint64_t chunk_size, struct fill **h);
/* Changes when a fill of this id or of a variant of it ("id+…") has ended. The same before a lookup and after FILL_WRITER: nobody has
 * committed in between, the lookup still stands. */
uint32_t fill_epoch(struct fill_table *, struct str id);
/* What is under way while its URL is purged, or overtaken by an unsafe request, may be as it was before: who reads it gets it, but it must
 * not be stored. So who fetches takes the version before he looks up what is stored, and asks fill_may_store before he stores the
 * answer; or, without a fill, fill_outdated. When it is outdated after that, too, what was stored must go again.
 * id: of a document or a variant of it, scheme/host/hash[+…]. Two ids may be outdated together, which costs a fetch. */
uint64_t fill_version(const struct fill_table *); /* each request takes it: one load */
bool fill_outdated(struct fill_table *, struct str id, uint64_t version); /* since then */
bool fill_may_store(struct fill *, uint64_t version); /* the writer's: from a true on until its end, fill_storing says so */
/* Outdates id and its variants; all of a host (lower case); all. Nobody can join those fills any more. */
void fill_outdate(struct fill_table *, struct str id);
void fill_outdate_host(struct fill_table *, struct str host);
void fill_outdate_all(struct fill_table *);
/* Is the document of a fill that fill_outdate found on its way into the database? Some ten milliseconds. STR_NONE: of any. */
bool fill_storing(struct fill_table *, struct str id);
bool fill_growing(struct fill_table *, struct str id); /* is id or a variant of it being fetched, so that one may join? */
/* Forget that it is not shareable: its response has become storable. */
void fill_shareable(struct fill_table *, struct str key);

/* Writer. The head is a meta record (meta_encode) of what will be stored; total is the body's length, -1 unknown. -ERR_FULL too long. */
int fill_head(struct fill *, struct str record, int64_t total);
/* A large object: what is stored of it goes before small ones that are in use (chunks_cool). The writer, before the body. */
void fill_cold(struct fill *);
/* Before the first byte: the body is one chunk (chunk_size is its length or more) whose name is known and that the writer verifies. */
void fill_name(struct fill *, const struct chunk_id *);
/* All of it or nothing. -ERR_FULL (disk), -ERR_SYSTEM: fill_degrade and once more, or fill_fail. -ERR_ORIGIN_PROTOCOL: more than
 * total. When degraded it blocks while the slowest reader has not made room, and is -ERR_GONE when no reader is left. */
int fill_append(struct fill *, const void *, size_t);
/* The store has failed: go on as a relay for those who are there. -ERR_GONE: nobody is. */
int fill_degrade(struct fill *);
/* Degraded, for a writer that must not block (it is its own reader): the number of bytes taken, > 0; -ERR_AGAIN no room until
 * deadline (0: do not wait); -ERR_GONE. */
int64_t fill_relay(struct fill *, const void *, size_t, int64_t deadline);
/* A body that comes in any order, by several requests at once. After fill_head with a length above FILL_INLINE, perhaps some fill_append: from
 * now on fill_put brings its bytes, wherever they belong, each of them once. -ERR_FULL: too many chunks; nothing has changed. */
int fill_spread(struct fill *);
/* All of it or nothing. -ERR_FULL (the disk, or more than FILL_EXTENTS pieces), -ERR_SYSTEM: fill_fail, there is no relay for such a body. */
int fill_put(struct fill *, uint64_t at, const void *, size_t);
/* Chunks of an earlier fill of the same version that did not end (fill_sparse): those that are in the store are there now. Before the
 * first fill_put. */
void fill_adopt(struct fill *, struct str sparse);
/* The chunks that are whole by now, as a manifest with holes (manifest_has), in the arena; done: how many. STR_NONE when none is. */
struct str fill_sparse(const struct fill *, struct arena *, uint32_t *done);
uint32_t fill_done_chunks(const struct fill *); /* has it become more since the last fill_sparse? That costs 64 bytes for each of all its chunks */
const struct extents *fill_extents(const struct fill *); /* what is there; good until the next fill_put */
/* What readers will need that is not there, who sleeps for it first. by_chunks: rounded to whole chunks, and with what lacks of chunks that were
 * begun: nothing else is to come. */
unsigned fill_wanted(const struct fill *, struct extent out[], unsigned max, bool by_chunks);
/* The body is whole: readers may finish. Its chunks are hashed and in the store; the manifest (arena) for the meta, empty for an
 * empty body. The slot stays claimed. -ERR_FULL, -ERR_SYSTEM: it is whole for its readers, but not in the store (or degraded): no
 * document, only fill_done. -ERR_ORIGIN_SHORT: less than total, nothing has changed: fill_fail. */
int fill_seal(struct fill *, struct arena *, struct str *manifest);
/* The document is committed (or will not be): the key is free again, readers that are there go on. Frees the handle. */
void fill_done(struct fill **);
/* It failed: readers wake with err, behind the bytes that came. unshareable_ms > 0: the key is remembered as not shareable that long
 * and who waits for the head gets -ERR_UNSHAREABLE. After fill_seal it is the same as fill_done. Frees the handle. */
void fill_fail(struct fill **, int err, int64_t unshareable_ms);
/* Another reader's handle on the same slot, for the writer's own client. From the writer's or a reader's handle. */
struct fill *fill_reader(struct fill *);
unsigned fill_readers(const struct fill *);  /* how many are attached, the writer not counted */

/* Reader. */
/* 0, or what fill_fail said, -ERR_UNSHAREABLE, -ERR_FILL_FAILED (its process died), -ERR_TIMEOUT */
int fill_wait_head(struct fill *, int64_t deadline, struct arena *, struct str *record, int64_t *total);
/* Bytes at off: > 0 a view (good until the next call), 0 the end of a complete body, -ERR_X broken (what fill_fail said,
 * -ERR_FILL_FAILED), -ERR_TIMEOUT. Waits until at least one byte is there. */
int64_t fill_read(struct fill *, uint64_t off, size_t want, const void **view, int64_t deadline);
void fill_intends(struct fill *, uint64_t end); /* what follows will be read, too, up to there */
bool fill_ready(const struct fill *, uint64_t off);  /* would fill_read answer at once? */
int64_t fill_total(const struct fill *);    /* -1 while unknown */
bool fill_whole(const struct fill *);       /* all of its body is there: only its document is to come */
bool fill_over(const struct fill *);        /* its key is free for the next: the document is committed, or will never be */
void fill_leave(struct fill **);            /* reader's end */

/* Master, when worker has died and before its successor starts: its fills fail, its readers are forgotten. */
void fill_bury(struct fill_table *, unsigned worker);
unsigned fill_active(const struct fill_table *);
/* Janitor: is this tmp file name one of a live fill? */
bool fill_tmp_live(const struct fill_table *, const char *name);
