/* sweep.c - see sweep.h */
#include "sweep.h"
#include <limits.h>
#include <sys/stat.h>
#include "../common/arena.h"
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/log.h"
#include "../s3/manifest.h"

#define SWEEP_MS (60 * 1000)       /* the spool is counted anew so often: what a killed process miscounted is right again */
#define SWEEP_SOON_MS (15 * 1000)  /* … and so soon after the first time: what a crash left may have looked new then, for others tidied up, too */
#define DEBRIS_MS (10 * 1000)      /* what nothing needs is left alone so long: its document may be about to be committed */
#define ORPHAN_MS (5 * 1000)       /* between the link in the spool and the commit: far less, but for a very busy disk */
#define ORPHANS_MAX 65536          /* looked at together; more are the next sweeps', or the janitor's when the disk is full */
#define FILTER_BITS (8u << 20)     /* of what is wanted: 1 MiB. A chunk that looks wanted only stays longer */

struct sweep {
	struct metadata *metadata;
	struct spool *spool;
	struct chunks *chunks;
	const char *store;
	int64_t sweep_due, orphans_due; /* mono ms */
	unsigned sweeps;
	uint8_t *wanted;               /* a Bloom filter, while sweeping */
	struct chunk_id *orphans;      /* sorted once they are all there */
	unsigned orphans_n;
	bool *needed;
};

struct sweep *sweep_new(struct metadata *m, struct spool *spool, struct chunks *chunks, const char *store)
{
	struct sweep *s = xcalloc(1, sizeof *s);
	s->metadata = m;
	s->spool = spool;
	s->chunks = chunks;
	s->store = xstrdup(store);
	return s;
}

/* ---- the spool */

static void filter_bits(const struct chunk_id *id, uint32_t at[3])
{
	for (int i = 0; i < 3; i++) {
		memcpy(&at[i], id->b + 4 * i, 4);
		at[i] %= FILTER_BITS;
	}
}

static bool note_wanted(void *arg, const struct meta *m)
{
	struct sweep *s = arg;
	struct manifest mf;
	if (m->manifest.n == 0 || manifest_parse(m->manifest, &mf) < 0)
		return true;
	for (uint32_t i = 0; i < mf.n; i++) {
		const struct chunk_id id = manifest_id(&mf, i);
		uint32_t at[3];
		filter_bits(&id, at);
		for (int k = 0; k < 3; k++)
			s->wanted[at[k] / 8] |= (uint8_t)(1u << at[k] % 8);
	}
	return true;
}

static bool is_wanted(void *arg, const struct chunk_id *id)
{
	struct sweep *s = arg;
	uint32_t at[3];
	filter_bits(id, at);
	for (int k = 0; k < 3; k++)
		if (!(s->wanted[at[k] / 8] & 1u << at[k] % 8)) {
			if (s->orphans == NULL)
				s->orphans = xcalloc(ORPHANS_MAX, sizeof *s->orphans);
			if (s->orphans_n < ORPHANS_MAX)
				s->orphans[s->orphans_n++] = *id;
			return false;
		}
	return true;
}

/* The outbox is read first: what is committed meanwhile has links that are younger than debris. */
static void sweep_spool(struct sweep *s, int64_t started)
{
	const int64_t age = s->sweeps > 0 ? DEBRIS_MS : clock_wall() - started;
	unsigned removed = 0;
	s->wanted = xcalloc(1, FILTER_BITS / 8);
	int e = metadata_walk_outbox(s->metadata, STR_NONE, UINT_MAX, note_wanted, s);
	if (e >= 0 || e == -ERR_NOT_FOUND) {
		e = spool_sweep(s->spool, age < 0 ? 0 : age < DEBRIS_MS ? age : DEBRIS_MS, is_wanted, s, &removed);
		if (e < 0)
			log_warn("the spool cannot be looked through: %s", err_text(e));
		else if (removed > 0)
			log_info("the spool: %u chunks removed that no document needs", removed);
		s->sweeps++;
	}
	free(s->wanted);
	s->wanted = NULL;
	s->orphans_due = clock_mono() + ORPHAN_MS;
}

/* ---- the store */

static int by_name(const void *a, const void *b) { return memcmp(((const struct chunk_id *)a)->b, ((const struct chunk_id *)b)->b, SHA256_RAW); }

static bool note_needed(void *arg, const struct meta *m)
{
	struct sweep *s = arg;
	struct manifest mf;
	if (m->manifest.n == 0 || manifest_parse(m->manifest, &mf) < 0)
		return true;
	for (uint32_t i = 0; i < mf.n; i++) {
		const struct chunk_id id = manifest_id(&mf, i), *at = bsearch(&id, s->orphans, s->orphans_n, sizeof id, by_name);
		if (at != NULL)
			s->needed[at - s->orphans] = true;
	}
	return true;
}

/* Has it one name only? A fill that is under way, and the spool, have another. */
static bool alone(const struct sweep *s, const struct chunk_id *id)
{
	char path[CHUNKS_PATH];
	struct stat st;
	chunks_path(s->store, id, path);
	return stat(path, &st) == 0 && st.st_nlink == 1;
}

static void remove_orphans(struct sweep *s)
{
	unsigned removed = 0;
	qsort(s->orphans, s->orphans_n, sizeof *s->orphans, by_name);
	s->needed = xcalloc(s->orphans_n, sizeof *s->needed);
	int e = metadata_walk(s->metadata, STR_NONE, UINT_MAX, note_needed, s);
	for (unsigned i = 0; (e >= 0 || e == -ERR_NOT_FOUND) && i < s->orphans_n; i++)
		if (!s->needed[i] && alone(s, &s->orphans[i]))
			removed += chunks_remove(s->chunks, &s->orphans[i]) == 0;
	if (removed > 0)
		log_info("the store: %u chunks removed that no document has", removed);
	free(s->needed);
	s->needed = NULL;
	s->orphans_n = 0;
}

void sweep_step(struct sweep *s, int64_t started)
{
	const int64_t now = clock_mono();
	if (s->orphans_n > 0 && now >= s->orphans_due)
		remove_orphans(s);
	if (s->orphans_n == 0 && now >= s->sweep_due) {
		sweep_spool(s, started);
		s->sweep_due = now + (s->sweeps > 1 ? SWEEP_MS : SWEEP_SOON_MS);
	}
}
