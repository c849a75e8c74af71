/* uploader.c - the process between this node and the fleet: what is new goes to S3 (s3/upload.h), then its documents to Elasticsearch
 * (es/drain.h); what other nodes have purged comes from there (es/follow.h); both are looked at for health.
 *
 *   workers ──spool, outbox──► main thread: drain ──► Elasticsearch
 *                                   │ ready?  ▲ done
 *                              upload's threads ──► S3
 *
 * What is to be sent stands in the spool and the outbox, and nowhere else: when it dies or is killed it begins again from those. */
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/log.h"
#include "../es/drain.h"
#include "../es/follow.h"
#include "../s3/needed.h"
#include "../s3/upload.h"
#include "heritage.h"

#define QUEUE_MAX 4096             /* writes to the mirror that wait for a commit */
#define CHUNK_FDS 64
#define CONNECTIONS_MORE 16        /* beside one for each upload: documents, the follower, checks */
#define WAIT_MS 1000               /* looks at least so often whether it should end, and how much waits */
#define CHECK_MS 5000              /* S3 and Elasticsearch are looked at so often … */
#define CHECK_MOST_MS 3000         /* … and have so long to answer */

#define COUNT_MS 100               /* what waits is counted so often: two reads of a header */
#define SWEEP_MS (60 * 1000)       /* the spool is counted anew so often: what a killed process miscounted is right again */
#define SWEEP_SOON_MS (15 * 1000)  /* … and so soon after the first time: what a crash left may have looked new then, for others tidied up, too */
#define DEBRIS_MS (10 * 1000)      /* what nothing needs is left alone so long: its document may be about to be committed */

struct uploader {
	struct fleet fleet;
	struct chunks *chunks;
	struct metadata *metadata;
	struct spool *spool;
	struct upload *upload;
	struct drain *drain;
	struct follow *follow;
	int64_t sweep_due;
	unsigned sweeps;
};

/* ---- its threads beside the main one: they end with the process */

static void nap(int64_t ms)
{
	const struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
	nanosleep(&t, NULL);
}

static void *follow_main(void *arg)
{
	struct uploader *u = arg;
	for (;;)
		nap(follow_step(u->follow));
	return NULL;
}

/* Says it in the log when it changes, too. */
static void checked(const char *what, const char *who, int e, const char *problem, _Atomic int *err, _Atomic int64_t *at, char text[160])
{
	const bool first = atomic_load(at) == 0;
	const int was = atomic_load(err);
	if (e < 0)
		snprintf(text, 160, "%.159s", *problem ? problem : err_text(e));
	if (e < 0 && (first || was == 0))
		log_error("%s: %s", what, text);
	else if (e == 0 && (first || was < 0))
		log_info("%s answers%s%s", what, *who ? "; credentials: " : "", who);
	atomic_store(err, e < 0 ? e : 0);
	atomic_store(at, clock_wall());
}

static void *check_main(void *arg)
{
	struct uploader *u = arg;
	struct fleet_state *f = heritage.shared.fleet;
	for (;; nap(CHECK_MS)) {
		char problem[BUCKET_PROBLEM] = "";
		int e = bucket_check(u->fleet.bucket, CHECK_MOST_MS, problem);
		if (e == 0 && atomic_load(&f->s3_err) < 0)
			upload_kick(u->upload); /* what pauses goes on at once */
		checked("S3", credentials_source(u->fleet.credentials), e, problem, &f->s3_err, &f->s3_checked, f->s3_problem);
		if (u->fleet.remote == NULL)
			continue;
		problem[0] = 0;
		e = remote_check(u->fleet.remote, CHECK_MOST_MS, problem);
		checked("Elasticsearch", "", e, problem, &f->es_err, &f->es_checked, f->es_problem);
	}
	return NULL;
}

static void thread(void *(*fn)(void *), struct uploader *u)
{
	pthread_t t;
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old); /* signals are the main thread's */
	int e = pthread_create(&t, NULL, fn, u);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (e != 0)
		die(1, "a thread cannot be made: %s", strerror(e));
	pthread_detach(t);
}

/* ---- what waits */

static enum drain_ready ready(void *arg, const struct meta *m)
{
	struct uploader *u = arg;
	if (m->manifest.n == 0)
		return DRAIN_THERE;
	switch (upload_want(u->upload, m->manifest)) {
	case UPLOAD_THERE:
		return DRAIN_THERE;
	case UPLOAD_UNDER_WAY:
		return DRAIN_UNDER_WAY;
	case UPLOAD_BUSY:
		return DRAIN_BUSY;
	case UPLOAD_FAILED:
		break;
	}
	return DRAIN_FAILED;
}

static void uploaded(void *arg)
{
	struct uploader *u = arg;
	spool_ring(u->spool);
}

static bool note_needed(void *set, const struct meta *m)
{
	needed_add(set, m->manifest);
	return true;
}

/* What a crash left of documents that were never committed. The outbox is read first: what is committed meanwhile has links that are
 * younger than debris. The first time nothing from before this run can be about to be committed. */
static void sweep(struct uploader *u)
{
	const int64_t ran = clock_wall() - heritage.shared.state->started, age = u->sweeps == 0 && ran < DEBRIS_MS ? ran : DEBRIS_MS;
	unsigned removed = 0;
	if (clock_mono() < u->sweep_due)
		return;
	struct needed *set = needed_new(heritage.shared.fleet->outbox);
	int e = metadata_walk_outbox(u->metadata, STR_NONE, UINT_MAX, note_needed, set);
	if (e >= 0 || e == -ERR_NOT_FOUND)
		e = spool_sweep(u->spool, age < 0 ? 0 : age, needed_has, set, &removed);
	needed_free(&set);
	if (e < 0)
		log_warn("the spool cannot be looked through: %s", err_text(e));
	else if (removed > 0)
		log_info("the spool: %u chunks removed that no document needs", removed);
	u->sweep_due = clock_mono() + (u->sweeps++ > 0 ? SWEEP_MS : SWEEP_SOON_MS);
}

static uint64_t outbox(struct uploader *u)
{
	struct fleet_state *f = heritage.shared.fleet;
	int64_t oldest = 0;
	const uint64_t n = metadata_outbox(u->metadata, &oldest);
	atomic_store(&f->outbox, n);
	atomic_store(&f->outbox_oldest, oldest);
	return n;
}

/* The main thread may wait for Elasticsearch for seconds while workers go on committing: who looks at the metrics is to see that. */
static void *count_main(void *arg)
{
	for (;; nap(COUNT_MS))
		outbox(arg);
	return NULL;
}

/* ---- life */

static bool workers_alive(void)
{
	for (unsigned i = 0; i < SCORE_PROCS; i++) {
		const struct score_proc *p = &heritage.shared.scoreboard->procs[i];
		if (atomic_load(&p->pid) != 0 && strncmp(p->title, "worker", 6) == 0)
			return true;
	}
	return false;
}

/* Nothing is lost by leaving: what waits is on the disk. But what can be sent should be: this machine may not come back. */
static bool may_leave(struct uploader *u, int64_t deadline)
{
	if (stopping == 2 || clock_mono() >= deadline)
		return true;
	if (workers_alive() && !master_gone())
		return false;
	return outbox(u) == 0 || upload_trouble(u->upload) != NULL || (u->fleet.remote != NULL && remote_trouble(u->fleet.remote) != NULL);
}

static void step(struct uploader *u)
{
	const uint32_t seen = spool_news(u->spool);
	int64_t wait = drain_step(u->drain);
	outbox(u); /* at once, for who waits for an empty one */
	if (wait > 0)
		spool_wait(u->spool, seen, clock_mono() + (wait < WAIT_MS ? wait : WAIT_MS));
}

static bool open_all(struct uploader *u)
{
	const struct settings *s = conf();
	static char meta[4300], store[4300];
	fleet_open(&u->fleet, (long)s->upload_threads + CONNECTIONS_MORE);
	snprintf(meta, sizeof meta, "%s/meta", s->state_dir);
	snprintf(store, sizeof store, "%s/store", s->state_dir);
	const struct chunks_options co = { .dir = store, .fds = CHUNK_FDS, .verify_after_ms = atomic_load(&heritage.shared.state->unclean_since),
	                                   .random_ids = s->chunk_ids == CHUNK_IDS_UUID };
	const struct metadata_options mo = { .dir = meta, .map_size = s->meta_size, .commit_ms = s->commit_ms, .queue_max = QUEUE_MAX, .recorder = true,
	                                     .outbox = true, .remote = u->fleet.remote };
	if (chunks_open(&u->chunks, &co) < 0 || (u->spool = fleet_spool(u->chunks)) == NULL || metadata_open(&u->metadata, &mo) < 0)
		return false;
	const struct upload_options uo = { .bucket = u->fleet.bucket, .spool = u->spool, .prefix = s->data_prefix, .depth = (unsigned)s->prefix_depth,
	                                   .threads = (unsigned)s->upload_threads, .done = uploaded, .arg = u };
	u->upload = upload_start(&uo);
	const struct drain_options dr = { .metadata = u->metadata, .remote = u->fleet.remote, .ready = ready, .arg = u, .flush_ms = s->es_flush_ms };
	u->drain = drain_new(&dr);
	if (u->fleet.remote != NULL)
		u->follow = follow_new(u->metadata, u->fleet.remote, s->es_follow_ms);
	return true;
}

int uploader_main(unsigned index)
{
	static struct uploader u;
	(void)index;
	if (!open_all(&u))
		return 1;
	thread(check_main, &u);
	thread(count_main, &u);
	if (u.follow != NULL) {
		follow_step(u.follow); /* what was purged while we were away, before we publish anything */
		thread(follow_main, &u);
	}
	while (!stopping && !master_gone()) {
		if (reload_wanted) {
			reload_wanted = 0;
			if (settings_reload() == 0)
				log_open(conf()->log_file);
		}
		dump_wanted = 0;
		sweep(&u);
		step(&u);
	}
	const int64_t deadline = clock_mono() + conf()->drain_ms;
	while (!may_leave(&u, deadline))
		step(&u);
	if (stopping != 2)
		drain_finish(u.drain, deadline);
	outbox(&u);
	if (atomic_load(&heritage.shared.fleet->outbox) > 0)
		log_warn("%llu documents wait for S3 or Elasticsearch: they are sent after the next start", (unsigned long long)atomic_load(&heritage.shared.fleet->outbox));
	metadata_flush(u.metadata);
	_exit(0); /* its threads are in the middle of something; all that counts is on the disk */
}
