#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>
#include "../common/clock.h"
#include "../common/err.h"
#include "gc.h"
#include "refill.h"

#define REF 16          /* bytes of a name that are compared: all of a random one; of a hash enough, and a mistake would keep, not delete */
#define TRIES 5         /* of one deletion */
#define PAUSE_MS 200    /* before the second, doubled each time */
#define THREADS 8
#define THREADS_MAX 64

struct noted { struct chunk_id id; uint64_t size; int64_t mtime; };

struct gc {
	struct gc_options o;
	struct gc_report report;
	FILE *noted[GC_SHARDS], *refs[GC_SHARDS];
	char *problem;
	int err;

	/* of the shard that is swept */
	pthread_mutex_t lock;
	FILE *next;
	uint8_t *sorted;
	size_t refs_n;
};

static unsigned shard_of(const struct chunk_id *id) { return id->b[0] % GC_SHARDS; }

/* A file that is gone when it is closed, however we end. */
static FILE *
nameless(const char *dir)
{
	char path[1024];

	snprintf(path, sizeof path, "%s/gc-XXXXXX", dir);
	int fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return NULL;
	unlink(path);
	FILE *f = fdopen(fd, "w+");
	if (!f)
		close(fd);
	return f;
}

static int
append(FILE *f, const void *p, size_t n)
{
	return fwrite(p, 1, n, f) == n ? 0 : errno_err();
}

/* ---- listing */

static bool
note(void *arg, struct str key, uint64_t size, int64_t mtime)
{
	struct gc *g = arg;
	struct noted n = { .size = size, .mtime = mtime };
	struct str name = key;
	struct arena a;

	g->report.listed++;
	while (memchr(name.p, '/', name.n))
		str_cut(&name, '/');
	arena_init(&a);
	bool ours = chunk_id_parse(name, &n.id) && str_eq(chunk_key(&a, g->o.prefix, g->o.depth, &n.id), key);
	arena_fini(&a);
	if (!ours)
		g->report.foreign++;
	else if (bucket_now(g->o.bucket) - mtime <= g->o.grace_ms)
		g->report.young++;
	else
		g->err = append(g->noted[shard_of(&n.id)], &n, sizeof n);
	return g->err == 0;
}

int
gc_begin(struct gc **out, const struct gc_options *o, char problem[BUCKET_PROBLEM])
{
	*out = NULL;
	if (o->remove && o->grace_ms < GC_GRACE_MIN_MS) {
		snprintf(problem, BUCKET_PROBLEM, "the grace time must be %lld hours at least: nodes may be about to refer to what is younger",
			(long long)(GC_GRACE_MIN_MS / 3600000));
		return -ERR_SETTING;
	}
	struct gc *g = xcalloc(1, sizeof *g);
	g->o = *o;
	pthread_mutex_init(&g->lock, NULL);
	for (unsigned i = 0; i < GC_SHARDS; i++) {
		if (!(g->noted[i] = nameless(o->tmp)) || !(g->refs[i] = nameless(o->tmp))) {
			int r = errno_err();
			snprintf(problem, BUCKET_PROBLEM, "%.150s: no files can be made there: %s", o->tmp, err_text(r));
			gc_end(&g);
			return r;
		}
	}
	int r = bucket_list(o->bucket, str_c(o->prefix), STR_NONE, note, g, problem);
	if (r == 0 && g->err < 0) {
		r = g->err;
		snprintf(problem, BUCKET_PROBLEM, "%.150s: %s", o->tmp, err_text(r));
	}
	if (r < 0)
		gc_end(&g);
	*out = g;
	return r;
}

void
gc_end(struct gc **gp)
{
	struct gc *g = *gp;

	*gp = NULL;
	if (!g)
		return;
	for (unsigned i = 0; i < GC_SHARDS; i++) {
		if (g->noted[i])
			fclose(g->noted[i]);
		if (g->refs[i])
			fclose(g->refs[i]);
	}
	free(g->sorted);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

int
gc_refer(struct gc *g, struct str raw)
{
	struct manifest m;
	int r = manifest_parse(raw, &m);

	for (uint32_t i = 0; r == 0 && i < m.n; i++) {
		struct chunk_id id = manifest_id(&m, i);
		g->report.referred++;
		r = append(g->refs[shard_of(&id)], id.b, REF);
	}
	if (r < 0)
		g->err = r; /* and nothing will be deleted, whatever the caller makes of it */
	return r;
}

/* ---- sweeping */

static int compare(const void *a, const void *b) { return memcmp(a, b, REF); }

/* The shard's references, sorted in memory. */
static int
load(struct gc *g, unsigned shard)
{
	FILE *f = g->refs[shard];

	free(g->sorted);
	g->sorted = NULL;
	g->refs_n = 0;
	if (fflush(f) != 0 || fseeko(f, 0, SEEK_END) != 0)
		return errno_err();
	off_t size = ftello(f);
	if (size < 0 || size % REF)
		return -ERR_SYSTEM;
	if ((uint64_t)size / REF > GC_SHARD_REFS)
		return -ERR_FULL;
	rewind(f);
	g->sorted = xmalloc((size_t)size + 1);
	g->refs_n = (size_t)size / REF;
	if (fread(g->sorted, REF, g->refs_n, f) != g->refs_n)
		return -ERR_SYSTEM;
	qsort(g->sorted, g->refs_n, REF, compare);
	return 0;
}

static int
delete_once(struct gc *g, struct str key, const struct noted *n, char *problem)
{
	uint64_t size;
	int64_t mtime;
	int r = bucket_stat(g->o.bucket, key, &size, &mtime, problem);

	if (r == -ERR_NOT_FOUND || (r == 0 && (bucket_now(g->o.bucket) - mtime <= g->o.grace_ms || size != n->size)))
		return 1;
	return r < 0 ? r : bucket_delete(g->o.bucket, key, problem);
}

static void
delete(struct gc *g, struct str key, const struct noted *n)
{
	char problem[BUCKET_PROBLEM];
	int r;

	for (unsigned try = 0; (r = delete_once(g, key, n, problem)) == -ERR_S3_FAILED || r == -ERR_S3_SLOW_DOWN; try++) {
		if (try + 1 == TRIES)
			break;
		int64_t ms = (int64_t)PAUSE_MS << try;
		nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
	}
	pthread_mutex_lock(&g->lock);
	if (r == 0) {
		g->report.deleted++;
		g->report.deleted_bytes += n->size;
	} else if (r > 0) {
		g->report.spared++;
	} else if (g->err == 0) {
		g->err = r;
		snprintf(g->problem, BUCKET_PROBLEM, "%s", problem);
	}
	pthread_mutex_unlock(&g->lock);
}

/* Takes one after the other of what was noted in the shard. */
static void *
sweep_main(void *arg)
{
	struct gc *g = arg;
	struct arena a;

	arena_init(&a);
	for (;;) {
		struct noted n;
		struct str key;
		pthread_mutex_lock(&g->lock);
		bool more = g->err == 0 && fread(&n, sizeof n, 1, g->next) == 1;
		bool garbage = more && (g->refs_n == 0 || !bsearch(n.id.b, g->sorted, g->refs_n, REF, compare));
		if (garbage) {
			arena_reset(&a);
			key = chunk_key(&a, g->o.prefix, g->o.depth, &n.id);
			g->report.garbage++;
			g->report.garbage_bytes += n.size;
			if (g->o.found)
				g->o.found(g->o.arg, key, n.size, n.mtime);
		}
		pthread_mutex_unlock(&g->lock);
		if (!more)
			break;
		if (garbage && g->o.remove)
			delete(g, key, &n);
	}
	arena_fini(&a);
	return NULL;
}

int
gc_sweep(struct gc *g, struct gc_report *report, char problem[BUCKET_PROBLEM])
{
	unsigned threads = !g->o.remove ? 1 : g->o.threads == 0 ? THREADS : g->o.threads < THREADS_MAX ? g->o.threads : THREADS_MAX;
	pthread_t t[THREADS_MAX];

	problem[0] = '\0';
	g->problem = problem;
	*report = g->report;
	if (g->err < 0) {
		snprintf(problem, BUCKET_PROBLEM, "what documents refer to is not known: %s", err_text(g->err));
		return g->err;
	}
	if (g->o.remove && g->report.referred == 0 && g->report.listed > g->report.foreign) {
		snprintf(problem, BUCKET_PROBLEM, "no document refers to any chunk: is this the right index?");
		return -ERR_SETTING;
	}
	for (unsigned shard = 0; shard < GC_SHARDS && g->err == 0; shard++) {
		g->next = g->noted[shard];
		if (fflush(g->next) != 0 || (rewind(g->next), g->err = load(g, shard)) < 0) {
			g->err = g->err < 0 ? g->err : -ERR_SYSTEM;
			snprintf(problem, BUCKET_PROBLEM, "%.150s: %s", g->o.tmp, err_text(g->err));
			break;
		}
		unsigned made = 0;
		while (made < threads - 1 && pthread_create(&t[made], NULL, sweep_main, g) == 0)
			made++;
		sweep_main(g);
		while (made > 0)
			pthread_join(t[--made], NULL);
		if (g->err == 0 && ferror(g->next))
			g->err = -ERR_SYSTEM;
	}
	*report = g->report;
	return g->err;
}
