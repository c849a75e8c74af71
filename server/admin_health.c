/* admin_health.c - is this node of use? What load balancers, orchestrators and people make of it:
 *
 *   /health  200 "ok"           all is well
 *            200 "degraded: …"  it serves, but does not cache as it should (disk full, store unwritable, database away). The node
 *                               stays in its balancer: a proxy without a cache is better than none. JSON says "degraded", and the
 *                               metric passsage_degraded is 1: that is for whoever gets the alarms
 *            503                it draws to its end, or no worker is alive: send clients elsewhere
 *   /ready   200 or 503         the same, without a look at the cache */
#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "../common/clock.h"
#include "../common/fd.h"
#include "../common/log.h"
#include "admin.h"
#include "heritage.h"

#define PROBE_MS 1000      /* the store is written to at most so often, however many ask */
#define PROBE_SIZE 4096    /* a block: less may find room where nothing else does */

struct health {
	unsigned workers;
	bool draining;
	char store[160], metadata[160];   /* "": well */
	unsigned disk_percent;
};

static unsigned workers_alive(void)
{
	unsigned n = 0;
	for (unsigned i = 0; i < SCORE_PROCS; i++) {
		const struct score_proc *p = &heritage.shared.scoreboard->procs[i];
		n += atomic_load(&p->pid) != 0 && strncmp(p->title, "worker", 6) == 0;
	}
	return n;
}

/* Can a file be made, written and removed where bodies are stored? */
static void probe_store(char problem[160], unsigned *disk_percent)
{
	static const char block[PROBE_SIZE] = "passsage";
	char dir[4200], path[4300];
	struct statvfs fs;
	problem[0] = 0;
	snprintf(dir, sizeof dir, "%s/store/tmp", conf()->state_dir);
	snprintf(path, sizeof path, "%s/health-%d", dir, (int)getpid());
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 && errno == ENOENT && path_mkdirs(dir, 0755) == 0)
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		snprintf(problem, 160, "the store cannot be written: %s", strerror(errno));
	else if (fd_write_all(fd, block, sizeof block) < 0)
		snprintf(problem, 160, "the store's disk: %s", strerror(errno));
	if (fd >= 0) {
		close(fd);
		unlink(path);
	}
	if (statvfs(dir, &fs) == 0 && fs.f_blocks > 0)
		*disk_percent = (unsigned)(100.0 * (double)(fs.f_blocks - fs.f_bfree) / (double)(fs.f_blocks - fs.f_bfree + fs.f_bavail)); /* as df */
}

static void look(struct health *h)
{
	static char probed[160];
	static unsigned disk;
	static int64_t next;
	static bool was_bad;
	struct state *s = heritage.shared.state;
	int64_t now = clock_mono();
	if (now >= next) {
		probe_store(probed, &disk);
		next = now + PROBE_MS;
	}
	*h = (struct health){ .workers = workers_alive(), .draining = atomic_load(&s->draining) != 0, .disk_percent = disk };
	if (*probed)
		memcpy(h->store, probed, sizeof h->store);
	else if (atomic_load(&s->store_bad))
		snprintf(h->store, sizeof h->store, "the last write to the store failed");
	if (atomic_load(&s->meta_bad))
		snprintf(h->metadata, sizeof h->metadata, "the metadata database failed");
	bool bad = *h->store || *h->metadata;
	if (bad != was_bad) {
		if (bad)
			log_error("health: degraded: %s%s%s; requests are served uncached", h->store, *h->store && *h->metadata ? "; " : "", h->metadata);
		else
			log_info("health: ok again");
		was_bad = bad;
	}
}

static const char *why_down(const struct health *h)
{
	return h->draining ? "draining" : h->workers == 0 ? "no worker is running" : NULL;
}

static void json_check(struct page_text *t, const char *name, const char *problem, const char *after)
{
	page_addz(t, "\"");
	page_addz(t, name);
	page_addz(t, "\":");
	page_add_json(t, str_c(*problem ? problem : "ok"));
	page_addz(t, after);
}

void admin_health(const struct http_request *req, struct arena *a, struct page *out)
{
	struct page_text t = { .arena = a };
	struct health h;
	look(&h);
	const char *down = why_down(&h);
	bool degraded = *h.store || *h.metadata;
	int status = down != NULL ? 503 : 200;
	if (page_form(req, PAGE_TEXT) == PAGE_JSON) {
		admin_add(&t, "{\"status\":\"%s\",\"checks\":{", down != NULL ? "down" : degraded ? "degraded" : "ok");
		json_check(&t, "serving", down != NULL ? down : "", ",");
		json_check(&t, "store", h.store, ",");
		json_check(&t, "metadata", h.metadata, "},");
		admin_add(&t, "\"workers\":%u,\"disk_percent\":%u,\"version\":\"%s\"}\n", h.workers, h.disk_percent, PACKAGE_VERSION);
		page_finish(out, status, STR("application/json"), &t);
		return;
	}
	if (down != NULL)
		admin_add(&t, "%s\n", down);
	else if (degraded)
		admin_add(&t, "degraded: %s%s%s\n", h.store, *h.store && *h.metadata ? "; " : "", h.metadata);
	else
		page_addz(&t, "ok\n");
	page_finish(out, status, STR("text/plain; charset=utf-8"), &t);
}

void admin_ready(struct arena *a, struct page *out)
{
	struct page_text t = { .arena = a };
	const struct health h = { .workers = workers_alive(), .draining = atomic_load(&heritage.shared.state->draining) != 0 };
	const char *down = why_down(&h);
	admin_add(&t, "%s\n", down != NULL ? down : "ready");
	page_finish(out, down != NULL ? 503 : 200, STR("text/plain; charset=utf-8"), &t);
}

void admin_metrics(struct arena *a, struct page *out)
{
	struct page_text t = { .arena = a };
	const struct state *s = heritage.shared.state;
	struct health h;
	look(&h);
	const struct metrics_extra x = { .started = s->started, .workers = h.workers, .fills = fill_active(heritage.shared.fills), .banned = bans_count(heritage.shared.bans, clock_mono()),
	                                 .degraded = *h.store || *h.metadata, .store_bytes = atomic_load(&s->store_bytes),
	                                 .store_files = atomic_load(&s->store_files), .disk_percent = h.disk_percent };
	metrics_text(&t, heritage.shared.counters, &x);
	page_finish(out, 200, STR(METRICS_TYPE), &t);
}
