/* mirror.c - see mirror.h. */
#include "mirror.h"
#include "../common/arena.h"
#include "../common/clock.h"
#include "../common/counters.h"
#include "../common/err.h"
#include "../common/fd.h"
#include "../common/log.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define READERS 32                        /* snapshots at a time in a process: a lookup takes microseconds, so waiting for one is short */
#define READERS_MAX (COUNTERS_ROWS * READERS) /* slots in the lock file: as many processes as there can be */
#define FULL_PERCENT 97
#define RESERVE_MIN 48                    /* pages: what a small delete copies on write (three trees, four levels), some times over */
#define AHEAD_MAX (16u << 20)             /* what a transaction may grow the database by, or 1/16 of the map; see keep_ahead */
#define ROOM_MS 100                       /* a sum over the free list is good for this long */
#define LOCK_WAIT_MS 1000                 /* for another process that opens or sets aside */
#define DISK_FULL_MS 1000                 /* how often a full disk is tried again */
#define CHECK_WALK_MS 1000                /* mirror_check walks so long from each end */
#define CHECK_WAIT_MS 30000               /* and its child has this long in all */

enum state {
	WELL,
	REOPEN,  /* the environment must be opened anew: replaced on disk, its map grown by others, or a failed write left it unusable */
	CORRUPT, /* and set aside first */
};

struct mirror {
	char *dir, *file, *lockfile;
	size_t map_size;

	pthread_mutex_t lock;     /* env, idle, n_idle, n_made, n_out */
	pthread_cond_t back;      /* a snapshot came back */
	MDB_env *env;
	MDB_txn *idle[READERS];   /* reset, each with its reader slot */
	unsigned n_idle, n_made, n_out;

	_Atomic int state;
	_Atomic(const char *) closed_why, full_why;
	const char *logged;       /* so that each trouble is logged once */

	/* the tending thread's own */
	MDB_dbi dbi[MIRROR_TABLES];
	size_t page;              /* bytes */
	dev_t dev;
	ino_t ino;
	off_t file_size;          /* at least; it only grows */
	int64_t tended, judged;
	bool room, disk_full;
};

static const char *const table_names[MIRROR_TABLES] = { "documents", "access", "outbox", "events", "used", "state" };
static const unsigned table_flags[MIRROR_TABLES] = { [MIRROR_ACCESS] = MDB_INTEGERKEY, [MIRROR_EVENTS] = MDB_INTEGERKEY };

struct mirror *
mirror_new(const char *dir, size_t map_size)
{
	struct mirror *m = xcalloc(1, sizeof *m);
	size_t n = strlen(dir) + 16;

	m->dir = xstrdup(dir);
	for (size_t end = strlen(dir); end > 1 && dir[end - 1] == '/'; end--) /* <dir>.lock must stand beside the folder, not in it */
		m->dir[end - 1] = 0;
	m->file = xmalloc(n);
	m->lockfile = xmalloc(n);
	snprintf(m->file, n, "%s/data.mdb", m->dir);
	snprintf(m->lockfile, n, "%s.lock", m->dir);
	m->map_size = map_size & ~(size_t)0xffff; /* whole pages, whatever their size */
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->back, NULL);
	m->closed_why = "the metadata database is not open yet";
	m->tended = -MIRROR_TEND_MS;
	return m;
}

void
mirror_free(struct mirror **mp)
{
	struct mirror *m = *mp;

	if (!m)
		return;
	mirror_shut(m);
	pthread_cond_destroy(&m->back);
	pthread_mutex_destroy(&m->lock);
	free(m->dir);
	free(m->file);
	free(m->lockfile);
	free(m);
	*mp = NULL;
}

/* --- trouble ------------------------------------------------------------------------------------------------------------ */

static bool
is_corrupt(int rc)
{
	return rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_INVALID || rc == MDB_VERSION_MISMATCH || rc == MDB_PANIC
		|| rc == MDB_INCOMPATIBLE;
}

int
mirror_err(struct mirror *m, int rc)
{
	switch (rc) {
	case 0:
		return 0;
	case MDB_NOTFOUND:
		return -ERR_NOT_FOUND;
	case MDB_MAP_FULL:
	case MDB_TXN_FULL:
	case ENOSPC:
	case EDQUOT:
		return -ERR_FULL;
	case MDB_BAD_VALSIZE:
		return -ERR_BAD_REQUEST;
	case MDB_READERS_FULL:
		return -ERR_GONE;
	case MDB_PANIC:       /* a meta page could not be written: this process's view is over, the database is as it was */
	case MDB_MAP_RESIZED: /* a process with a larger map_size has outgrown our map */
	case MDB_BAD_RSLOT:
	case MDB_BAD_TXN:
	case MDB_BAD_DBI:
		m->state = REOPEN;
		return -ERR_GONE;
	}
	if (is_corrupt(rc)) {
		m->state = CORRUPT;
		return -ERR_GONE;
	}
	return -ERR_SYSTEM;
}

bool
mirror_is_open(const struct mirror *m)
{
	return !m->closed_why && m->state == WELL;
}

const char *
mirror_trouble(const struct mirror *m)
{
	const char *why = m->closed_why;

	if (!why && m->state != WELL)
		why = "the metadata database is broken and is being opened anew";
	return why ? why : m->full_why;
}

static void
say(struct mirror *m, const char *why, const char *detail)
{
	if (why && why != m->logged)
		log_error("%s: %s%s%s; requests go on without it", m->dir, why, detail ? ": " : "", detail ? detail : "");
	else if (!why && m->logged)
		log_info("%s: the metadata database is well again", m->dir);
	m->logged = why;
}

void
mirror_set_full(struct mirror *m, const char *why)
{
	m->full_why = why;
	say(m, why, NULL);
}

/* LMDB found itself inconsistent and aborts after this. The master's next mirror_check meets the same in its child. */
static void
on_assert(MDB_env *env, const char *text)
{
	log_error("metadata database: %s", text);
}

/* --- the folder: one process at a time opens it or sets it aside ---------------------------------------------------------- */

/* LMDB opens its two files by name; a rename between the two would pair files of different databases. */
static int
lock_folder(const char *lockfile)
{
	int64_t deadline = clock_mono() + LOCK_WAIT_MS;
	int fd = open(lockfile, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return errno_err();
	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if ((errno != EWOULDBLOCK && errno != EINTR) || clock_mono() >= deadline) {
			close(fd);
			return -ERR_TIMEOUT;
		}
		poll(NULL, 0, 10);
	}
	return fd;
}

/* Removes what was set aside earlier, all but keep: each may be as large as the map. */
static void
remove_old(const char *dir, const char *keep)
{
	const char *base = strrchr(dir, '/');
	char parent[PATH_MAX], prefix[NAME_MAX + 1], path[PATH_MAX];
	struct dirent *e;
	DIR *d;

	snprintf(parent, sizeof parent, "%.*s", base ? (int)(base - dir) + 1 : 1, base ? dir : ".");
	snprintf(prefix, sizeof prefix, "%s.corrupt-", base ? base + 1 : dir);
	if (!(d = opendir(parent)))
		return;
	while ((e = readdir(d))) {
		int at;
		snprintf(path, sizeof path, "%.*s%s", base ? (int)(base - dir) + 1 : 0, dir, e->d_name);
		if (strncmp(e->d_name, prefix, strlen(prefix)) || !strcmp(path, keep)
		    || (at = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
			continue;
		unlinkat(at, "data.mdb", 0);
		unlinkat(at, "lock.mdb", 0);
		unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
		fd_close(&at);
	}
	closedir(d);
}

/* With the folder's lock held. */
static int
set_aside(const char *dir, const char *why)
{
	char to[PATH_MAX];
	int64_t t = clock_wall() / 1000;

	for (int i = 0; i < 100; i++) {
		if (i)
			snprintf(to, sizeof to, "%s.corrupt-%lld.%d", dir, (long long)t, i);
		else
			snprintf(to, sizeof to, "%s.corrupt-%lld", dir, (long long)t);
		if (!access(to, F_OK))
			continue;
		if (rename(dir, to))
			return errno_err();
		count(COUNT_corrupt);
		log_error("%s: the metadata database is corrupt (%s); it is set aside as %s, and a new one begins", dir, why, to);
		remove_old(dir, to);
		return 0;
	}
	return -ERR_SYSTEM;
}

/* --- open and shut -------------------------------------------------------------------------------------------------------- */

/* Is the file as long as its meta page says? If not, reading it can be a SIGBUS. */
static bool
is_whole(MDB_env *env, struct stat *st)
{
	MDB_envinfo info;
	MDB_stat stat;
	int fd;

	/* the size last: others may be writing, and they extend the file before they commit */
	if (mdb_env_info(env, &info) || mdb_env_stat(env, &stat) || mdb_env_get_fd(env, &fd) || fstat(fd, st))
		return false;
	return (uint64_t)st->st_size >= (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize;
}

static int
open_tables(MDB_env *env, MDB_dbi dbi[])
{
	MDB_txn *txn;
	int rc;

	/* reading first: the writers' lock may be held by a long commit, and mostly there is nothing to create */
	for (unsigned create = 0; create < 2; create++) {
		if ((rc = mdb_txn_begin(env, NULL, create ? 0 : MDB_RDONLY, &txn)))
			return rc;
		for (int t = 0; !rc && t < MIRROR_TABLES; t++)
			rc = mdb_dbi_open(txn, table_names[t], table_flags[t] | (create ? MDB_CREATE : 0), &dbi[t]);
		if (!rc)
			return mdb_txn_commit(txn);
		mdb_txn_abort(txn);
		if (rc != MDB_NOTFOUND)
			return rc;
	}
	return rc;
}

static int
open_env(const char *dir, size_t map_size, unsigned flags, MDB_env **out, MDB_dbi dbi[], struct stat *st)
{
	MDB_env *env;
	int rc = mdb_env_create(&env), dead;

	if (rc)
		return rc;
	if (!(rc = mdb_env_set_mapsize(env, map_size)) && !(rc = mdb_env_set_maxreaders(env, READERS_MAX))
	    && !(rc = mdb_env_set_maxdbs(env, MIRROR_TABLES)) && !(rc = mdb_env_set_assert(env, on_assert))
	    && !(rc = mdb_env_open(env, dir, flags | MDB_NOTLS | MDB_NOMETASYNC | MDB_NORDAHEAD, 0600))) {
		mdb_reader_check(env, &dead);
		rc = is_whole(env, st) ? open_tables(env, dbi) : MDB_CORRUPTED;
	}
	if (rc)
		mdb_env_close(env);
	else
		*out = env;
	return rc;
}

/* Two processes that find the database corrupt at the same time both come here; the second finds another folder, or a sound one. */
static void
open_it(struct mirror *m, bool corrupt)
{
	const char *why = NULL, *detail = NULL;
	MDB_env *env = NULL;
	MDB_stat stat;
	struct stat st;
	int rc = 0, fd = lock_folder(m->lockfile);

	if (fd < 0 && path_mkdirs(m->dir, 0700) == 0)
		fd = lock_folder(m->lockfile);
	if (fd < 0) {
		why = "the metadata database cannot be opened, its lock file neither";
		detail = err_text(fd);
		goto out;
	}
	if (corrupt && !lstat(m->file, &st) && st.st_dev == m->dev && st.st_ino == m->ino
	    && set_aside(m->dir, "found while it was in use") < 0)
		why = "a corrupt metadata database cannot be set aside";
	if (!why && path_mkdirs(m->dir, 0700) < 0)
		why = "the metadata database's folder cannot be made";
	if (why)
		goto out;
	rc = open_env(m->dir, m->map_size, 0, &env, m->dbi, &st);
	if (is_corrupt(rc)) {
		if (set_aside(m->dir, mdb_strerror(rc)) < 0 || path_mkdirs(m->dir, 0700) < 0)
			why = "a corrupt metadata database cannot be set aside";
		else
			rc = open_env(m->dir, m->map_size, 0, &env, m->dbi, &st);
	}
	if (rc && !why) {
		why = rc == ENOSPC || rc == EDQUOT ? "the metadata database cannot be opened: the disk is full"
			: "the metadata database cannot be opened";
		detail = mdb_strerror(rc);
	}
out:
	fd_close(&fd);
	if (env) {
		mdb_env_stat(env, &stat);
		m->page = stat.ms_psize;
		m->dev = st.st_dev;
		m->ino = st.st_ino;
		m->file_size = st.st_size;
		m->judged = -ROOM_MS;
		m->disk_full = false;
		m->state = WELL;
		pthread_mutex_lock(&m->lock);
		m->env = env;
		pthread_mutex_unlock(&m->lock);
	}
	m->closed_why = why;
	say(m, why, detail);
}

void
mirror_shut(struct mirror *m)
{
	MDB_env *env;

	pthread_mutex_lock(&m->lock);
	env = m->env;
	m->env = NULL;
	while (m->n_out)
		pthread_cond_wait(&m->back, &m->lock);
	for (unsigned i = 0; i < m->n_idle; i++)
		mdb_txn_abort(m->idle[i]);
	m->n_idle = m->n_made = 0;
	pthread_cond_broadcast(&m->back);
	pthread_mutex_unlock(&m->lock);
	if (env)
		mdb_env_close(env);
	if (!m->closed_why)
		m->closed_why = "the metadata database is closed";
}

void
mirror_tend(struct mirror *m, int64_t now)
{
	int state = m->state;
	struct stat st;

	if (!(m->env && state != WELL) && now - m->tended < MIRROR_TEND_MS)
		return;
	m->tended = now;
	if (m->env && state == WELL) {
		mirror_reap(m);
		if (!stat(m->file, &st) && st.st_dev == m->dev && st.st_ino == m->ino)
			return;
		log_warn("%s: the metadata database was moved or removed; opening what is there now", m->dir);
	}
	mirror_shut(m);
	open_it(m, state == CORRUPT);
}

void
mirror_reap(struct mirror *m)
{
	int dead;

	pthread_mutex_lock(&m->lock);
	if (m->env && mdb_reader_check(m->env, &dead) == 0 && dead)
		log_info("%s: %d reader slots of dead processes are free again", m->dir, dead);
	pthread_mutex_unlock(&m->lock);
}

/* --- transactions --------------------------------------------------------------------------------------------------------- */

MDB_dbi
mirror_dbi(const struct mirror *m, enum mirror_table t)
{
	return m->dbi[t];
}

static int
first_read(MDB_env *env, MDB_txn **txn)
{
	int dead, rc = mdb_txn_begin(env, NULL, MDB_RDONLY, txn);

	if (rc == MDB_READERS_FULL && mdb_reader_check(env, &dead) == 0 && dead)
		rc = mdb_txn_begin(env, NULL, MDB_RDONLY, txn);
	return rc;
}

int
mirror_read(struct mirror *m, MDB_txn **out)
{
	MDB_txn *txn = NULL;
	MDB_env *env;
	int rc;

	pthread_mutex_lock(&m->lock);
	while (m->env && !m->n_idle && m->n_made == READERS)
		pthread_cond_wait(&m->back, &m->lock);
	if (!(env = m->env) || m->state != WELL) {
		pthread_mutex_unlock(&m->lock);
		return -ERR_GONE;
	}
	m->n_out++;
	if (m->n_idle)
		txn = m->idle[--m->n_idle];
	else
		m->n_made++;
	pthread_mutex_unlock(&m->lock);

	if (txn) {
		if ((rc = mdb_txn_renew(txn)))
			mdb_txn_abort(txn);
	} else
		rc = first_read(env, &txn);
	if (rc == 0) {
		*out = txn;
		return 0;
	}
	pthread_mutex_lock(&m->lock);
	m->n_out--;
	m->n_made--;
	pthread_cond_broadcast(&m->back);
	pthread_mutex_unlock(&m->lock);
	mirror_err(m, rc);
	return -ERR_GONE;
}

void
mirror_read_end(struct mirror *m, MDB_txn *txn)
{
	mdb_txn_reset(txn);
	pthread_mutex_lock(&m->lock);
	m->idle[m->n_idle++] = txn;
	m->n_out--;
	if (!m->env)
		pthread_cond_broadcast(&m->back); /* shut waits for the last */
	else if (m->n_made == READERS)
		pthread_cond_signal(&m->back);
	pthread_mutex_unlock(&m->lock);
}

/* Makes the file n bytes long, with disk space behind them. It never gets shorter. */
static int
extend(int fd, off_t from, off_t n)
{
	int rc;

	while ((rc = fallocate(fd, 0, from, n - from)) && errno == EINTR)
		;
	if (rc == 0)
		return 0;
	if (errno == ENOSPC || errno == EDQUOT)
		return -ERR_FULL;
	return ftruncate(fd, n) ? errno_err() : 0; /* this file system cannot fallocate: at least there will be no SIGBUS */
}

/* Keeps the file longer than what a transaction can grow the database by. The disk space is taken now, while there is some: a delete
 * needs fresh pages too, and must still work when the disk is full. Called with LMDB's write lock held. */
static void
keep_ahead(struct mirror *m)
{
	off_t ahead = (off_t)(m->map_size / 16 < AHEAD_MAX ? m->map_size / 16 : AHEAD_MAX), used, map;
	MDB_envinfo info;
	struct stat st;
	int fd, r = 0;

	mdb_env_info(m->env, &info);
	used = (off_t)((info.me_last_pgno + 1) * m->page);
	map = (off_t)info.me_mapsize;
	if (m->file_size < used + ahead && m->file_size < map) {
		if (mdb_env_get_fd(m->env, &fd) || fstat(fd, &st))
			return;
		/* twice as far, so that it is needed less often; if the disk has not so much, once will do */
		for (off_t times = 2; times; times--) {
			off_t want = used + times * ahead < map ? used + times * ahead : map;
			if ((r = st.st_size >= want ? 0 : extend(fd, st.st_size, want)) == 0)
				break;
		}
		if (fstat(fd, &st) == 0)
			m->file_size = st.st_size;
	}
	m->disk_full = r == -ERR_FULL;
}

int
mirror_write(struct mirror *m, MDB_txn **txn)
{
	int rc;

	if (!m->env || m->state != WELL)
		return -ERR_GONE;
	if ((rc = mdb_txn_begin(m->env, NULL, 0, txn)))
		return mirror_err(m, rc);
	keep_ahead(m);
	return 0;
}

int
mirror_commit(struct mirror *m, MDB_txn *txn)
{
	return mirror_err(m, mdb_txn_commit(txn));
}

void
mirror_abort(MDB_txn *txn)
{
	mdb_txn_abort(txn);
}

/* Pages on the free list: each of its records begins with how many it has. Only a read transaction may look into it (as mdb_stat does). */
static size_t
free_pages(struct mirror *m)
{
	MDB_cursor *c;
	MDB_txn *txn;
	MDB_val key, data;
	size_t sum = 0, n;

	if (mirror_read(m, &txn))
		return 0;
	if (!mdb_cursor_open(txn, 0, &c)) {
		while (!mdb_cursor_get(c, &key, &data, MDB_NEXT)) {
			memcpy(&n, data.mv_data, sizeof n);
			sum += n;
		}
		mdb_cursor_close(c);
	}
	mirror_read_end(m, txn);
	return sum;
}

bool
mirror_has_room(struct mirror *m, int64_t now)
{
	MDB_envinfo info;
	size_t pages, used, reserve, free;
	MDB_txn *txn;

	if (!m->env)
		return false;
	if (now - m->judged < (m->disk_full ? DISK_FULL_MS : ROOM_MS))
		return m->room && !m->disk_full;
	m->judged = now;
	if (m->disk_full && mirror_write(m, &txn) == 0) /* tries to extend the file again */
		mdb_txn_abort(txn);
	mdb_env_info(m->env, &info);
	pages = info.me_mapsize / m->page;
	used = info.me_last_pgno + 1;
	reserve = pages * (100 - FULL_PERCENT) / 100;
	if (reserve < RESERVE_MIN)
		reserve = RESERVE_MIN;
	if (used > pages - pages / 8 || used + 2 * reserve > pages) /* the file never shrinks: near the end the free list counts */
		used -= (free = free_pages(m)) < used ? free : used;
	m->room = used + reserve <= pages;
	return m->room && !m->disk_full;
}

/* --- the check ------------------------------------------------------------------------------------------------------------- */

enum { CHECK_WELL = 0, CHECK_CORRUPT = 3, CHECK_UNKNOWN = 4 };

static int
walk(MDB_txn *txn, MDB_dbi dbi, MDB_cursor_op first, MDB_cursor_op next)
{
	int64_t deadline = clock_mono() + CHECK_WALK_MS;
	volatile unsigned char touched = 0;
	MDB_cursor *c;
	MDB_val key, data;
	int rc = mdb_cursor_open(txn, dbi, &c);

	if (rc)
		return rc;
	for (rc = mdb_cursor_get(c, &key, &data, first); !rc; rc = mdb_cursor_get(c, &key, &data, next)) {
		for (size_t i = 0; i < data.mv_size; i += 4096) /* each page of a large record */
			touched += ((unsigned char *)data.mv_data)[i];
		if (clock_mono() >= deadline)
			break;
	}
	mdb_cursor_close(c);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
check_child(const char *dir, size_t map_size)
{
	MDB_dbi dbi[MIRROR_TABLES];
	MDB_stat stat;
	MDB_env *env;
	MDB_txn *txn;
	struct stat st;
	int rc = open_env(dir, map_size, 0, &env, dbi, &st); /* if damage hides the tables, it is here that creating them fails */

	if (is_corrupt(rc))
		return CHECK_CORRUPT;
	if (rc)
		return CHECK_UNKNOWN;
	if ((rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn)))
		return is_corrupt(rc) ? CHECK_CORRUPT : CHECK_UNKNOWN;
	rc = walk(txn, 0, MDB_FIRST, MDB_NEXT);
	for (int t = 0; !rc && t < MIRROR_TABLES; t++)
		if (!(rc = mdb_stat(txn, dbi[t], &stat)) && !(rc = walk(txn, dbi[t], MDB_FIRST, MDB_NEXT)))
			rc = walk(txn, dbi[t], MDB_LAST, MDB_PREV);
	mdb_txn_abort(txn);
	mdb_env_close(env);
	return !rc ? CHECK_WELL : is_corrupt(rc) ? CHECK_CORRUPT : CHECK_UNKNOWN;
}

/* A damaged tree can make LMDB abort, or read where nothing is. That is a finding like any other, if it happens to a child. */
int
mirror_check(const char *dir, size_t map_size)
{
	struct mirror *m = mirror_new(dir, map_size); /* for its names only */
	int64_t deadline = clock_mono() + CHECK_WAIT_MS;
	int fd = -1, status = 0, r = 0;
	pid_t pid, got;
	char why[64] = "found at start";

	if (access(m->file, F_OK))
		goto out;
	if ((fd = lock_folder(m->lockfile)) < 0) {
		r = fd;
		goto out;
	}
	if ((pid = fork()) < 0) {
		r = -ERR_SYSTEM;
		goto out;
	}
	if (pid == 0) {
		static const int sigs[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGTERM };
		for (unsigned i = 0; i < sizeof sigs / sizeof *sigs; i++)
			signal(sigs[i], SIG_DFL);
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
		_exit(check_child(m->dir, m->map_size));
	}
	while ((got = waitpid(pid, &status, WNOHANG)) == 0 || (got < 0 && errno == EINTR)) {
		if (clock_mono() >= deadline) { /* a slow disk is more likely than damage */
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			log_warn("%s: the check of the metadata database took too long; it is used as it is", m->dir);
			goto out;
		}
		poll(NULL, 0, 2);
	}
	if (got < 0)
		r = -ERR_SYSTEM;
	else if (WIFSIGNALED(status))
		snprintf(why, sizeof why, "reading it ends with signal %d", WTERMSIG(status));
	if (got > 0 && (WIFSIGNALED(status) ? WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGTERM
	                                    : WEXITSTATUS(status) != CHECK_WELL && WEXITSTATUS(status) != CHECK_UNKNOWN))
		r = set_aside(m->dir, why) < 0 ? -ERR_SYSTEM : 1;
	else if (got > 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == CHECK_WELL))
		r = -ERR_SYSTEM;
out:
	fd_close(&fd);
	mirror_free(&m);
	return r;
}
