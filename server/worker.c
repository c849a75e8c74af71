/* worker.c - see worker.h */
#include "worker.h"
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>
#include "../common/access.h"
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/fd.h"
#include "../common/log.h"
#include "gate.h"
#include "master.h"
#include "policyfile.h"
#include "probe.h"
#include "request.h"
#include "tls.h"

#define HEAP_KEEP (16 * 1024 * 1024) /* freed memory a heap keeps: a request's worth goes up and down all the time, and page faults cost more than it */
#define HEAP_STEP (1024 * 1024)
#define HEAPS 8                     /* malloc's arenas, which many threads share: one each would multiply what is kept */
#define STACK (256 * 1024)          /* getaddrinfo and OpenSSL's handshake are the deepest that a handler calls */
#define METADATA_QUEUE 8192         /* documents that wait for a commit */
#define CERT_CACHE 1024             /* names that a worker keeps parsed */
#define CHUNK_FDS 512               /* open chunk files */
#define REST_FDS 1024               /* descriptors for all that is no connection: chunk files, fills, the database */
#define HOT_MAX (256 * 1024)        /* a body up to this may be kept in memory */
#define FLEET_CONNECTIONS 64        /* to S3, and as many to Elasticsearch: more at a time only wait for one another */
#define UPSTREAM_IDLE_MS 60000      /* an idle connection to an origin */

struct judge_options judge_settings(const struct settings *s)
{
	return (struct judge_options){ .heuristic_percent = HEURISTIC_PERCENT, .heuristic_max_s = HEURISTIC_MAX_S, .shared = true,
	                               .targeted = s->targeted_cache_control };
}

static void thread_start(void *arg, unsigned number)
{
	struct worker *w = arg;
	sigset_t all;
	struct thread *t = xcalloc(1, sizeof *t);
	t->number = number;
	if (number < SCORE_THREADS)
		t->score = &heritage.shared.scoreboard->procs[w->place].threads[number];
	thread_self = t;
	if (number > 0) { /* signals are the first thread's */
		sigfillset(&all);
		pthread_sigmask(SIG_BLOCK, &all, NULL);
	}
}

static void thread_end(void *arg, unsigned number)
{
	(void)arg, (void)number;
	struct thread *t = thread_self;
	request_spare_free(t->spare);
	free(t);
	thread_self = NULL;
}

/* The master has said what is wrong, once for all workers. */
static void rules_load(struct worker *w)
{
	char problem[RULE_PROBLEM];
	struct ruleset *rs = rules_reread(problem);
	if (rs != NULL)
		atomic_store(&w->rules, rs); /* the old set is kept: a handler may be reading it; changes are few */
	else if (*problem == 0)
		return;
	else if (conf()->foreground_worker)
		log_error("%s; the old rules stay in force", problem);
	else
		log_debug("%s; the old rules stay in force", problem);
}

static void dump(struct worker *w)
{
	const struct score_proc *p = &heritage.shared.scoreboard->procs[w->place];
	log_info("state: %u connections, %u threads, %u background", (unsigned)w->open, pool_threads(w->pool), (unsigned)w->background);
	for (unsigned i = 0; i < SCORE_THREADS; i++) {
		int step = atomic_load(&p->threads[i].step);
		if (step >= 0)
			log_info("state: thread %u %s since %lld ms: %.119s", i, step_name((enum req_step)step),
			         (long long)(clock_wall() - atomic_load(&p->threads[i].since)), p->threads[i].what);
	}
	for (unsigned i = 0; i < SCORE_RESTING && atomic_load(&p->resting[i].step) >= 0; i++)
		log_info("state: resting since %lld ms: %.119s", (long long)(clock_wall() - atomic_load(&p->resting[i].since)), p->resting[i].what);
}

static void reload(struct worker *w)
{
	if (settings_reload() < 0)
		return;
	log_level = conf()->debug ? LOG_DEBUG : LOG_INFO;
	log_open(conf()->log_file);
	access_open(conf()->access_log_file);
	rules_load(w);
	gate_reload(w);
}

static void drain_begin(struct worker *w)
{
	w->drain_stage = 1;
	w->drain_deadline = clock_mono() + conf()->drain_ms;
	for (unsigned i = 0; i < heritage.listen_n; i++) {
		pool_unlisten(w->pool, heritage.listen_fd[i]);
		fd_close(&heritage.listen_fd[i]);
	}
}

/* By whatever thread looks after the epoll just now: the first one may be in the middle of a request. What was acknowledged by its origin's
 * end is kept; handlers that still run end with the process. */
static void leave(struct worker *w)
{
	metadata_flush(w->metadata);
	if (conf()->foreground_worker)
		master_left();
	_exit(0);
}

static void tick(void *arg)
{
	struct worker *w = arg;
	if (reload_wanted) {
		reload_wanted = 0;
		reload(w);
	}
	conns_resting(w, heritage.shared.scoreboard->procs[w->place].resting, SCORE_RESTING);
	if (dump_wanted) {
		dump_wanted = 0;
		dump(w);
	}
	if (w->drain_stage == 0 && (stopping || (!conf()->foreground_worker && master_gone())))
		drain_begin(w);
	conns_sweep(w, w->drain_stage > 0);
	if (w->drain_stage == 0)
		probe_banned(w);
	if (stopping == 2 || (w->drain_stage > 0 && (clock_mono() >= w->drain_deadline || (w->open == 0 && w->background == 0 && tunnels_open(w->tunnels) == 0))))
		leave(w);
}

static void accept_ready(void *arg, struct pool_item *it)
{
	struct worker *w = arg;
	struct conn *c = (struct conn *)it;
	if (w->drain_stage > 0)
		return;
	conn_accept(w, c->fd);
	if (w->siblings) { /* the kernel calls who waits longest: behind the others again, so that connections are spread */
		pool_unlisten(w->pool, c->fd);
		pool_listen(w->pool, c->fd, it);
	}
}

/* A handler is about to wait for the database (its queue is full, or it wants a commit). */
static void about_to_wait(void *arg)
{
	struct worker *w = arg;
	if (w->pool != NULL)
		pool_blocking(w->pool);
}

/* What a refill does beside its reader (s3/refill.h). */
struct aside { struct pool_item item; void (*job)(void *); void *arg; };

static void aside_run(struct pool_item *it)
{
	struct aside *a = (struct aside *)it;
	a->job(a->arg);
	free(a);
}

static bool any_spare(void *arg)
{
	const struct worker *w = arg;
	return w->pool != NULL && pool_spare(w->pool);
}

/* Jobs have threads of their own (POOL_JOB). A reader that had to fetch for itself would be bound by S3's time-out, not by its patience. */
static bool run_aside(void *arg, void (*job)(void *), void *job_arg)
{
	struct worker *w = arg;
	if (w->pool == NULL)
		return false;
	struct aside *a = xcalloc(1, sizeof *a);
	a->item.run = aside_run;
	a->job = job;
	a->arg = job_arg;
	pool_submit(w->pool, &a->item, POOL_JOB);
	return true;
}

static void open_fleet(struct worker *w)
{
	const struct settings *s = conf();
	if (!fleet_configured())
		return;
	w->spool = fleet_spool(w->chunks);
	s3host_of(conf()->s3_endpoint, conf()->s3_bucket, conf()->s3_region, &w->s3_host);
	const struct refill_options ro = { .bucket = w->fleet.bucket, .chunks = w->chunks, .fills = heritage.shared.fills, .spool = w->spool, .worker = w->index,
	                                   .prefix = s->data_prefix, .depth = (unsigned)s->prefix_depth, .ahead = (unsigned)s->refill_ahead, .run = run_aside, .spare = any_spare,
	                                   .run_arg = w, .about_to_wait = about_to_wait, .about_arg = w };
	w->refill = refill_new(&ro);
	w->shared_documents = w->fleet.remote != NULL;
}

static void open_stores(struct worker *w)
{
	const struct settings *s = conf();
	fleet_open(&w->fleet, FLEET_CONNECTIONS);
	char path[4300];
	snprintf(path, sizeof path, "%s/meta", s->state_dir);
	const struct metadata_options mo = { .dir = xstrdup(path), .map_size = s->meta_size, .commit_ms = s->commit_ms, .queue_max = METADATA_QUEUE, .recorder = true,
	                                     .about_to_wait = about_to_wait, .about_to_wait_arg = w, .outbox = fleet_configured(), .remote = w->fleet.remote };
	if (metadata_open(&w->metadata, &mo) < 0)
		die(EX_SOFTWARE, "metadata");
	snprintf(path, sizeof path, "%s/store", s->state_dir);
	const struct chunks_options co = { .dir = xstrdup(path), .hot_bytes = s->hot_size, .hot_max = HOT_MAX, .fds = CHUNK_FDS,
	                                   .verify_after_ms = atomic_load(&heritage.shared.state->unclean_since),
	                                   .random_ids = fleet_configured() && s->chunk_ids == CHUNK_IDS_UUID };
	int e = chunks_open(&w->chunks, &co);
	if (e < 0)
		die(EX_SOFTWARE, "the store %s: %s", path, err_text(e));
	open_fleet(w);
}

/* Connections that descriptors are left for: clients who only connect may not take those that hits and origins need. */
static unsigned connections_bound(const struct settings *s)
{
	struct rlimit r;
	rlim_t most = (rlim_t)s->connections_max, rest = (rlim_t)s->upstream_max + REST_FDS;
	if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur == RLIM_INFINITY || r.rlim_cur >= most + rest)
		return (unsigned)most;
	rlim_t left = r.rlim_cur > 2 * rest ? r.rlim_cur - rest : r.rlim_cur / 2;
	return (unsigned)(left < most ? left : most);
}

static void conns_make(struct worker *w)
{
	w->conns_n = LISTEN_MAX + connections_bound(conf());
	w->conns = mmap(NULL, w->conns_n * sizeof *w->conns, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (w->conns == MAP_FAILED)
		die(EX_OSERR, "no memory for %u connections", w->conns_n);
	w->conns_high = LISTEN_MAX;
}

int worker_main(unsigned index)
{
	struct worker *w = xcalloc(1, sizeof *w);
	const struct settings *s = conf();
	mallopt(M_TRIM_THRESHOLD, HEAP_KEEP);
	mallopt(M_TOP_PAD, HEAP_STEP);
	mallopt(M_ARENA_MAX, HEAPS);
	w->index = index;
	w->place = heritage.place;
	w->siblings = !s->foreground_worker && s->workers != 1;
	pthread_mutex_init(&w->lock, NULL);
	access_open(s->access_log_file);
	open_stores(w);
	w->rules = heritage.rules;
	w->auth = auth_new();
	auth_use(w->auth, heritage.users);
	const struct httpc_options ho = { .ca_file = *s->upstream_ca ? s->upstream_ca : NULL, .max_connections = (long)s->upstream_max,
	                                  .max_per_host = (long)s->upstream_host_max, .fair_share = true, .idle_ms = UPSTREAM_IDLE_MS,
	                                  .tls_skip_verify = s->tls_skip_verify, .http2 = s->upstream_http2 };
	w->httpc = httpc_start(&ho);
	w->certgen = certgen_connect(heritage.shared.certs, heritage.certgen_ask, CERT_CACHE);
	w->tls = tls_context(w);
	w->tunnels = tunnels_start();
	conns_make(w);
	const struct pool_options po = { .threads_max = (unsigned)s->threads_max, .stack = STACK, .thread_start = thread_start, .thread_end = thread_end,
	                                 .tick = tick, .accept = accept_ready, .arg = w, .items = &w->conns[0].item, .item_size = sizeof *w->conns, .items_n = w->conns_n };
	w->pool = pool_new(&po);
	signal_wakes(pool_wakefd(w->pool));
	for (unsigned i = 0; i < heritage.listen_n; i++) {
		w->conns[i].fd = heritage.listen_fd[i];
		if (pool_listen(w->pool, heritage.listen_fd[i], &w->conns[i].item) < 0)
			die(EX_OSERR, "epoll: %s", strerror(errno));
	}
	pool_run(w->pool); /* until tick() leaves */
	return 0;
}
