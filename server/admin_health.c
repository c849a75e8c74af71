/* admin_health.c - is this node of use? What load balancers, orchestrators and people make of it:
 *
 *   /health  200 "ok"           all is well
 *            200 "degraded: …"  it serves, but does not cache as it should (disk full, store unwritable, database away). The node
 *                               stays in its balancer: a proxy without a cache is better than none. JSON says "degraded", and the
 *                               metric passsage_degraded is 1: that is for whoever gets the alarms
 *            503                it draws to its end, or no worker is alive: send clients elsewhere
 *            503 "s3_unhealthy: …"  the bucket cannot be reached: as the old system has it, and only while --health-check-s3 is on. Requests
 *                               go on all the same; where all nodes have one bucket, one may not want to lose all of them for it
 *   /ready   200 or 503         the same, without a look at the cache: S3 and Elasticsearch are told of, and never the reason
 *
 * S3 and Elasticsearch are looked at by the uploader, every few seconds: no probe waits for them. */
#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "../common/clock.h"
#include "../common/err.h"
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
	char s3[160], es[160];
	bool s3_down;                     /* and that is a reason to be down */
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
	if (fd < 0 && errno == ENOENT && path_mkdirs(dir, 0750) == 0)
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

/* That it is not known yet (the first second) is no problem; that nobody has looked for long is one, but not S3's. */
static void look_at_fleet(struct health *h)
{
	if (!fleet_configured())
		return;
	int e = fleet_s3_health(h->s3);
	h->s3_down = e < 0 && e != -ERR_AGAIN && conf()->health_check_s3;
	if (e == -ERR_AGAIN && atomic_load(&heritage.shared.fleet->s3_checked) == 0)
		h->s3[0] = 0;
	if (!fleet_has_es())
		return;
	e = fleet_es_health(h->es);
	if (e == -ERR_AGAIN && atomic_load(&heritage.shared.fleet->es_checked) == 0)
		h->es[0] = 0;
}

/* What is wrong, in one line; "" nothing. */
static struct str troubles(const struct health *h, struct arena *a)
{
	const struct { const char *what, *problem; } all[] = { { "", h->store }, { "", h->metadata }, { "S3: ", h->s3 }, { "Elasticsearch: ", h->es } };
	struct str text = STR("");
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (*all[i].problem)
			text = arena_printf(a, "%.*s%s%s%s", STRP(text), text.n > 0 ? "; " : "", all[i].what, all[i].problem);
	return text;
}

static void look(struct health *h, struct arena *a)
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
	look_at_fleet(h);
	struct str bad = troubles(h, a);
	if ((bad.n > 0) != was_bad) {
		if (bad.n > 0)
			log_error("health: degraded: %.*s; requests are served%s", STRP(bad), *h->store || *h->metadata ? " uncached" : "");
		else
			log_info("health: ok again");
		was_bad = bad.n > 0;
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
	look(&h, a);
	const char *down = why_down(&h);
	struct str bad = troubles(&h, a);
	int status = down != NULL || h.s3_down ? 503 : 200;
	if (page_form(req, PAGE_TEXT) == PAGE_JSON) {
		admin_add(&t, "{\"status\":\"%s\",\"checks\":{", status != 200 ? "down" : bad.n > 0 ? "degraded" : "ok");
		json_check(&t, "serving", down != NULL ? down : "", ",");
		json_check(&t, "store", h.store, ",");
		if (fleet_configured())
			json_check(&t, "s3", h.s3, ",");
		if (fleet_has_es())
			json_check(&t, "elasticsearch", h.es, ",");
		json_check(&t, "metadata", h.metadata, "},");
		admin_add(&t, "\"workers\":%u,\"disk_percent\":%u,\"version\":\"%s\"}\n", h.workers, h.disk_percent, PACKAGE_VERSION);
		page_finish(out, status, STR("application/json"), &t);
		return;
	}
	if (down != NULL)
		admin_add(&t, "%s\n", down);
	else if (h.s3_down)
		admin_add(&t, "s3_unhealthy: %s\n", h.s3);
	else if (bad.n > 0)
		admin_add(&t, "degraded: %.*s\n", STRP(bad));
	else
		page_addz(&t, "ok\n");
	page_finish(out, status, STR("text/plain; charset=utf-8"), &t);
}

void admin_ready(struct arena *a, struct page *out)
{
	struct page_text t = { .arena = a };
	struct health h = { .workers = workers_alive(), .draining = atomic_load(&heritage.shared.state->draining) != 0 };
	const char *down = why_down(&h);
	admin_add(&t, "%s\n", down != NULL ? down : "ready");
	look_at_fleet(&h);
	if (*h.s3)
		admin_add(&t, "S3: %s\n", h.s3);
	if (*h.es)
		admin_add(&t, "Elasticsearch: %s\n", h.es);
	page_finish(out, down != NULL ? 503 : 200, STR("text/plain; charset=utf-8"), &t);
}

void admin_metrics(struct arena *a, struct page *out)
{
	struct page_text t = { .arena = a };
	const struct state *s = heritage.shared.state;
	struct health h;
	look(&h, a);
	const struct fleet_state *f = heritage.shared.fleet;
	const int64_t now = clock_wall(), spooled = atomic_load(&f->spool.oldest), queued = atomic_load(&f->outbox_oldest);
	const struct metrics_extra x = { .fleet = fleet_configured(), .es = fleet_has_es(), .s3_up = !*h.s3, .es_up = !*h.es,
	                                 .spool_entries = atomic_load(&f->spool.entries), .spool_bytes = atomic_load(&f->spool.bytes),
	                                 .spool_failed = atomic_load(&f->spool.failed), .spool_oldest_ms = spooled > 0 ? now - spooled : 0,
	                                 .outbox = atomic_load(&f->outbox), .outbox_oldest_ms = queued > 0 ? now - queued : 0,
	                                 .started = s->started, .workers = h.workers, .fills = fill_active(heritage.shared.fills), .banned = bans_count(heritage.shared.bans, clock_mono()),
	                                 .degraded = troubles(&h, a).n > 0, .store_bytes = atomic_load(&s->store_bytes),
	                                 .store_files = atomic_load(&s->store_files), .disk_percent = h.disk_percent };
	metrics_text(&t, heritage.shared.counters, &x);
	page_finish(out, 200, STR(METRICS_TYPE), &t);
}
