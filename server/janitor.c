/* janitor.c - the process that keeps the store within its watermarks (s3/evict.h does it), clears debris, and keeps the metadata honest and
 * within its size: it walks all documents, a slice each janitor-interval, and drops those whose chunks are gone and, when the database
 * is nearly full, those that were not used for longest. When it dies the disk only fills later than it would. */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/log.h"
#include "../es/metadata.h"
#include "../s3/evict.h"
#include "../s3/manifest.h"
#include "../s3/needed.h"
#include "heritage.h"

#define PRESSED_MS 250               /* looks so often whether the store has outgrown its bounds: a look costs two system calls, and at 1 GB/s it grows
                                      * by 250 MB meanwhile */
#define REST 4                       /* … but when it had to walk the store, it rests so many times as long */
#define DEBRIS_MS (3600 * 1000)      /* beside the start: what a worker left that died */
#define QUEUE_MAX 1024               /* drops that wait for a commit */
#define SLICE_MS 1000                /* of walking, each janitor-interval */
#define TROUBLED_MS 1000             /* looks so often while the metadata database cannot be opened: health should not say so for long after */
#define SLICE_PRESSED_MS 20000       /* … when the database is nearly full */
#define BATCH 256                    /* documents in one snapshot */
#define META_HIGH 90                 /* percent of metadata-size at which documents begin to go … */
#define META_LOW 80                  /* … down to this */
#define META_RESERVE (256 * 1024)    /* of it that no document gets: LMDB copies pages before it changes them */

/* Ages of documents: eight steps to each doubling, so that a cut is exact to some 10 % of the age. In seconds, from 0 to 2^40. */
#define AGES (41 * 8)
static unsigned age_bucket(int64_t ms)
{
	uint64_t s = (ms < 0 ? 0 : (uint64_t)ms / 1000) + 8;
	unsigned octave = 63 - (unsigned)__builtin_clzll(s), b = octave * 8 + ((s >> (octave - 3)) & 7);
	return b < AGES ? b : AGES - 1;
}
static int64_t age_least(unsigned bucket) /* ms: the youngest in it */
{
	return (int64_t)(((UINT64_C(8) + bucket % 8) << (bucket / 8 - 3)) - 8) * 1000;
}

struct sums { uint64_t documents, cost, bytes, chunks, gone, old; };

struct janitor {
	struct metadata *metadata;
	char store[CHUNKS_DIR_MAX];
	int wakefd;
	int64_t debris_due, evict_due;
	int evict_err;                   /* the last one: said once */
	bool meta_was_bad;
	uint64_t errors;                 /* COUNT_store_errors at the last round's end */
	/* the walk: where it is, and what it found since its round began */
	char after[METADATA_ID_MAX];
	size_t after_n;
	int64_t deadline;
	bool paused;
	struct sums round;
	uint64_t ages[AGES];             /* cost of the documents of that age */
	struct needed *needed;           /* chunks of all documents: gathered in the first round, for what a crash left in the store */
	bool orphans_done;
	int64_t cut;                     /* wall ms: documents not used since then go in this round; 0: none */
};

/* ---- documents */

/* Bytes of the database that a document takes, about: LMDB's leaf pages are some 70 % full, and long records have pages of their own. */
static uint64_t document_cost(const struct meta *m)
{
	uint64_t n = 128 + m->id.n + m->url.n + m->vary.n + m->vary_request.n + m->manifest.n + m->reason.n + m->unknown.n;
	for (unsigned i = 0; i < m->headers.n; i++)
		n += m->headers.v[i].name.n + m->headers.v[i].value.n + 8;
	return 64 + (n > 2000 ? (n + 4095) / 4096 * 4096 + 2 * m->id.n : (n + m->id.n) * 10 / 7);
}

/* By its name (chunks.h), not by chunks_has(): that would count as a use, and everything would look as if it had just been used. */
static bool chunk_there(const struct janitor *j, const struct chunk_id *id, uint64_t size)
{
	char path[CHUNKS_PATH];
	struct stat st;
	chunks_path(j->store, id, path);
	return stat(path, &st) == 0 ? (uint64_t)st.st_size == size : errno != ENOENT;
}

static bool chunks_there(struct janitor *j, const struct meta *m)
{
	struct manifest mf;
	if (m->manifest.n == 0)
		return true;
	if (manifest_parse(m->manifest, &mf) < 0)
		return false;
	const bool partial = str_ends(m->id, STR("+partial")); /* server/partial.h: of use as long as one of its chunks is there */
	uint64_t bytes = 0;
	uint32_t there = 0;
	for (uint32_t i = 0; i < mf.n; i++) {
		struct chunk_id id = manifest_id(&mf, i);
		if (manifest_has(&mf, i) && chunk_there(j, &id, manifest_chunk_length(&mf, i))) {
			bytes += manifest_chunk_length(&mf, i);
			there++;
		} else if (!partial)
			return false;
	}
	j->round.bytes += bytes;
	j->round.chunks += there;
	return !partial || there > 0;
}

struct first { struct str prefix; bool found; };
static bool is_first(void *arg, const struct meta *m)
{
	struct first *f = arg;
	f->found = str_starts(m->id, f->prefix);
	return false;
}

/* An index scheme/host/_vary/hash is of use as long as there is a variant scheme/host/hash+… (behaviour.md 4.3, 4.4). */
static bool index_used(struct janitor *j, struct str id)
{
	static const char mark[] = "/_vary/";
	char base[METADATA_ID_MAX + 2];
	const char *at = id.n < METADATA_ID_MAX ? memmem(id.p, id.n, mark, sizeof mark - 1) : NULL;
	if (at == NULL)
		return true;
	int n = snprintf(base, sizeof base, "%.*s/%.*s+", (int)(at - id.p), id.p, (int)(id.p + id.n - (at + sizeof mark - 1)), at + sizeof mark - 1);
	struct first f = { .prefix = { base, (size_t)n } };
	return metadata_walk(j->metadata, f.prefix, 1, is_first, &f) < 0 || f.found;
}

/* The walk sees a snapshot: what was stored again meanwhile is another document, which stays. */
static void drop(struct janitor *j, const struct meta *m)
{
	struct arena a;
	struct meta now;
	bool found;
	arena_init(&a);
	if (metadata_get(j->metadata, &m->id, 1, &a, &now, &found) > 0 && found && now.stored_at == m->stored_at && now.response_time == m->response_time)
		metadata_forget(j->metadata, m->id); /* in a fleet it is there for the others, and for us when it is asked for again */
	arena_fini(&a);
}

static bool visit(void *arg, const struct meta *m)
{
	struct janitor *j = arg;
	bool index = str_eq(m->doc_type, STR("vary_index"));
	int64_t used = m->last_access > m->stored_at ? m->last_access : m->stored_at;
	if (j->needed != NULL)
		needed_add(j->needed, m->manifest);
	memcpy(j->after, m->id.p, m->id.n);
	j->after_n = m->id.n;
	const bool here = index ? index_used(j, m->id) : chunks_there(j, m);
	if (!here && (index || !fleet_configured())) { /* in a fleet the chunks are in S3, too */
		j->round.gone++;
		drop(j, m);
	} else if (!index && j->cut > 0 && used < j->cut) {
		j->round.old++;
		drop(j, m);
	} else {
		uint64_t cost = document_cost(m);
		j->round.documents++;
		j->round.cost += cost;
		if (!index) /* it goes with the last of its variants */
			j->ages[age_bucket(clock_wall() - used)] += cost;
	}
	j->paused = stopping || clock_mono() >= j->deadline;
	return !j->paused;
}

/* Did writes of documents fail since the last round? meta_bad alone does not tell: near the bound some succeed, and clear it. */
static bool writes_failed(struct janitor *j)
{
	const struct state *s = heritage.shared.state;
	uint64_t before = j->errors;
	j->errors = counters_get(heritage.shared.counters, COUNT_store_errors);
	return atomic_load(&s->meta_bad) || (j->errors != before && !atomic_load(&s->store_bad));
}

/* Chunks whose document was never committed, for a process was killed in between. Once a run; once more when the spool has some of them, too. */
static void orphans(struct janitor *j)
{
	unsigned removed = 0, linked = 0;
	int e = evict_orphans(j->store, heritage.shared.state->started, needed_has, j->needed, &removed, &linked);
	if (removed > 0)
		log_info("janitor: %u chunks removed that no document has", removed);
	j->orphans_done = e < 0 || linked == 0;
	needed_free(&j->needed);
}

/* All documents were seen: what follows for the next round. */
static void round_over(struct janitor *j)
{
	struct state *s = heritage.shared.state;
	const struct sums *r = &j->round;
	bool failed = writes_failed(j) && r->old == 0; /* what failed before room was made is settled */
	uint64_t size = conf()->meta_size - META_RESERVE, high = size / 100 * META_HIGH, low = size / 100 * META_LOW;
	if (r->gone + r->old > 0)
		log_info("metadata: %llu documents; dropped: %llu whose chunks are gone, %llu not used for long", (unsigned long long)r->documents,
		         (unsigned long long)r->gone, (unsigned long long)r->old);
	log_debug("metadata: %llu documents, about %llu bytes; writes %s, %s", (unsigned long long)r->documents, (unsigned long long)r->cost,
	          failed ? "fail" : "succeed", j->meta_was_bad ? metadata_health(j->metadata) : "well here");
	if (conf()->cache_size == 0) { /* else eviction measures it, exactly */
		atomic_store(&s->store_bytes, r->bytes);
		atomic_store(&s->store_files, r->chunks);
	}
	if (r->old > 0 && !j->meta_was_bad) /* there is room again; whoever finds none says so anew */
		atomic_store(&s->meta_bad, 0);
	j->cut = 0;
	/* It counts as full, too, when writes fail although our sum of costs is below: that is an estimate, and pages may be half empty. */
	if (r->cost > high || (failed && r->cost > size / 2)) {
		uint64_t target = r->cost > high ? low : r->cost / 100 * META_LOW, need = r->cost - target;
		unsigned b = AGES;
		for (uint64_t older = 0; b > 25 && older < need;)
			older += j->ages[--b];
		j->cut = clock_wall() - age_least(b);
		log_info("metadata: about %llu of %llu bytes are in use; documents not used for %lld s go", (unsigned long long)r->cost, (unsigned long long)size,
		         (long long)age_least(b) / 1000);
	}
	if (j->needed != NULL)
		orphans(j);
	j->round = (struct sums){ 0 };
	memset(j->ages, 0, sizeof j->ages);
	j->after_n = 0;
}

static void evict(struct janitor *j);
static void walk(struct janitor *j)
{
	bool pressed = j->cut > 0 || atomic_load(&heritage.shared.state->meta_bad);
	j->deadline = clock_mono() + (pressed ? SLICE_PRESSED_MS : SLICE_MS);
	if (j->needed == NULL && !j->orphans_done && j->after_n == 0)
		j->needed = needed_new(metadata_count(j->metadata));
	for (j->paused = false; !j->paused;) {
		char after[METADATA_ID_MAX];
		size_t n = j->after_n;
		memcpy(after, j->after, n);
		int seen = metadata_walk(j->metadata, (struct str){ after, n }, BATCH, visit, j);
		if (seen < 0 || j->paused)
			return;
		if (seen < BATCH) {
			round_over(j);
			return;
		}
		evict(j); /* writers do not wait for the walk */
	}
}

/* ---- the store */

static void evict(struct janitor *j)
{
	const struct settings *c = conf();
	struct state *s = heritage.shared.state;
	const struct evict_options o = { .dir = j->store, .low = (unsigned)c->low_watermark, .high = (unsigned)c->high_watermark, .cache_size = c->cache_size,
	                                 .min_free = c->cache_min_free, .stored = counters_get(heritage.shared.counters, COUNT_stored_bytes) };
	struct evict_report r;
	int64_t begun = clock_mono(), now, rest;
	if (begun < j->evict_due)
		return;
	int e = evict_pass(&o, &r, NULL, NULL);
	now = clock_mono();
	rest = e < 0 || r.left > 0 ? c->janitor_ms : REST * (now - begun);
	j->evict_due = now + (rest > PRESSED_MS ? rest : PRESSED_MS < c->janitor_ms ? PRESSED_MS : c->janitor_ms);
	if (e < 0 && e != j->evict_err)
		log_warn("janitor: the store cannot be looked at: %s", err_text(e));
	j->evict_err = e;
	if (e < 0)
		return;
	atomic_store(&s->store_disk_percent, r.disk_percent);
	if (r.files > 0) {
		atomic_store(&s->store_bytes, r.bytes - r.removed_bytes);
		atomic_store(&s->store_files, r.files - r.removed);
	}
}

static void debris(struct janitor *j)
{
	unsigned removed = 0;
	if (clock_mono() < j->debris_due)
		return;
	j->debris_due = clock_mono() + DEBRIS_MS;
	if (evict_debris(j->store, heritage.shared.fills, &removed) == 0 && removed > 0)
		log_info("janitor: %u unfinished files removed", removed);
}

static void look_after_metadata(struct janitor *j)
{
	const char *trouble = metadata_health(j->metadata);
	if ((trouble != NULL) != j->meta_was_bad)
		atomic_store(&heritage.shared.state->meta_bad, trouble != NULL);
	j->meta_was_bad = trouble != NULL;
	metadata_reap_readers(j->metadata);
	walk(j);
}

/* ---- life */

static void wait_until(struct janitor *j, int64_t until)
{
	struct pollfd pfds[2] = { { .fd = heritage.lifeline }, { .fd = j->wakefd, .events = POLLIN } };
	eventfd_t ignored;
	if (poll(pfds, 2, clock_left(until)) > 0 && pfds[1].revents != 0)
		eventfd_read(j->wakefd, &ignored);
}

int janitor_main(unsigned index)
{
	static struct janitor j; /* large, and one a process */
	char meta[4200];
	(void)index;
	j.wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	signal_wakes(j.wakefd);
	snprintf(meta, sizeof meta, "%s/meta", conf()->state_dir);
	if ((size_t)snprintf(j.store, sizeof j.store, "%s/store", conf()->state_dir) >= sizeof j.store) {
		log_error("janitor: the name of the store is too long");
		return 1;
	}
	const struct metadata_options o = { .dir = meta, .map_size = conf()->meta_size, .commit_ms = conf()->commit_ms, .queue_max = QUEUE_MAX, .recorder = true,
	                                    .outbox = fleet_configured() };
	if (metadata_open(&j.metadata, &o) < 0) {
		log_error("janitor: metadata cannot be opened");
		return 1;
	}
	for (int64_t next = 0; !stopping && !master_gone();) {
		if (reload_wanted) {
			reload_wanted = 0;
			if (settings_reload() == 0)
				log_open(conf()->log_file);
		}
		dump_wanted = 0;
		if (clock_mono() >= next) {
			debris(&j);
			j.evict_due = 0;
			evict(&j);
			look_after_metadata(&j);
			next = clock_mono() + (j.meta_was_bad && conf()->janitor_ms > TROUBLED_MS ? TROUBLED_MS : conf()->janitor_ms);
		}
		evict(&j);
		if (!stopping)
			wait_until(&j, next < j.evict_due ? next : j.evict_due);
	}
	metadata_close(&j.metadata);
	return 0;
}
