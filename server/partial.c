/* partial.c - see partial.h */
#include "partial.h"
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/range.h"
#include "../policy/key.h"
#include "../s3/manifest.h"
#include "worker.h"

static struct str partial_id(struct arena *a, struct str id) { return arena_printf(a, "%.*s+partial", STRP(id)); }

struct noted { struct worker *worker; uint64_t version; size_t n; char id[]; };

static void noted(void *arg, int result)
{
	struct noted *n = arg;
	(void)result;
	if (fill_outdated(heritage.shared.fills, (struct str){ n->id, n->n }, n->version))
		partial_forget(n->worker, (struct str){ n->id, n->n });
	free(n);
}

void partial_note(struct worker *w, const struct meta *whole, struct str sparse, uint64_t version, struct arena *a)
{
	struct noted *n = xmalloc(sizeof *n + whole->id.n);
	struct meta m = *whole;
	const struct meta *doc = &m;
	*n = (struct noted){ .worker = w, .version = version, .n = whole->id.n };
	memcpy(n->id, whole->id.p, whole->id.n);
	m.id = partial_id(a, whole->id);
	m.manifest = sparse;
	metadata_store_then(w->metadata, &doc, 1, noted, n);
}

void partial_forget(struct worker *w, struct str id)
{
	struct arena a;
	arena_init(&a);
	metadata_forget(w->metadata, partial_id(&a, id));
	arena_fini(&a);
}

bool partial_find(struct worker *w, struct str id, struct arena *a, struct meta *out)
{
	const struct str pid = partial_id(a, id);
	bool there;
	return metadata_get(w->metadata, &pid, 1, a, out, &there) > 0 && there;
}

/* Of the whole; what cannot be said of a part (a condition that fails, an impossible range) is said when it is there. */
static struct extent wanted(const struct http_request *req, const struct meta *m)
{
	struct range ranges[RANGE_MAX];
	unsigned n = 0;
	if (judge_select(req, m, m->content_size, clock_wall(), ranges, &n) == SELECT_RANGES && n == 1)
		return (struct extent){ ranges[0].first, ranges[0].last + 1 };
	return (struct extent){ 0, (uint64_t)m->content_size };
}

static bool chunk_there(struct worker *w, const struct manifest *mf, uint64_t at)
{
	const uint32_t i = (uint32_t)(at / mf->chunk_size);
	const struct chunk_id id = manifest_id(mf, i);
	return manifest_has(mf, i) && chunks_has(w->chunks, &id, manifest_chunk_length(mf, i));
}

/* From x on, where what is there (or is not) ends; not beyond end. */
static uint64_t run_of(struct worker *w, const struct manifest *mf, uint64_t x, uint64_t end, bool there)
{
	while (x < end && chunk_there(w, mf, x) == there)
		x = (x / mf->chunk_size + 1) * mf->chunk_size;
	return x < end ? x : end;
}

enum partial_use partial_plan(struct worker *w, const struct plan *plan, const struct http_request *req, const struct meta *m,
                              struct ranges_object *o, struct extent *ask)
{
	const struct judge_options opt = judge_settings(conf());
	const struct http_response head = { .status = 200, .major = 1, .minor = 1, .headers = m->headers };
	struct manifest mf;
	if (manifest_parse(m->manifest, &mf) < 0 || mf.chunk_size != conf()->chunk_size || (int64_t)mf.total_size != m->content_size || !vary_matches(m, &req->headers))
		return PARTIAL_NONE;
	ranges_object(&head, clock_wall() / 1000, o);
	o->size = m->content_size;
	if (o->pin.n == 0 || o->coding.n > 0)
		return PARTIAL_NONE;
	const struct extent want = wanted(req, m);
	ask->at = run_of(w, &mf, want.at, want.end, true);
	ask->end = run_of(w, &mf, ask->at, want.end, false);
	if (ask->at < want.end)
		return PARTIAL_ASK;
	*ask = (struct extent){ want.at, want.at + 1 }; /* all is there: is it still that version? A byte tells */
	return judge_stored(&opt, plan, req, m, clock_wall(), false).verdict == VERDICT_HIT ? PARTIAL_THERE : PARTIAL_ASK;
}
