/* The metadata database: what it promises to its callers, to other processes, and after a crash. */
#include "tap.h"
#include "../../common/arena.h"
#include "../../common/clock.h"
#include "../../common/counters.h"
#include "../../common/err.h"
#include "../../common/fd.h"
#include "../../common/log.h"
#include "../../es/metadata.h"
#include "../../es/mirror.h"
#include "../../es/outbox.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char top[256], dir[300];
static struct arena a;
#define MiB ((size_t)1 << 20)

static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *f)
{
	return remove(path);
}

static void
clean(void)
{
	nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	mkdir(top, 0700);
}

static struct metadata *
open_with(size_t map, unsigned queue_max, bool remote)
{
	struct metadata *m;
	metadata_open(&m, &(struct metadata_options){ .dir = dir, .map_size = map, .commit_ms = 1, .queue_max = queue_max,
	                                               .recorder = true, .outbox = remote });
	return m;
}

static struct metadata *open_plain(void) { return open_with(64 * MiB, 256, false); }

/* Document i of a series: its header is a function of i, so that a reader can tell whole from mixed up. */
static struct str
make(struct arena *arena, struct meta *m, const char *series, unsigned i)
{
	meta_init(m, arena);
	m->id = arena_printf(arena, "https/example.com/%s-%06u", series, i);
	m->status = 200;
	m->content_size = i;
	m->url = arena_printf(arena, "https://example.com/%s/%u", series, i);
	m->doc_type = STR("metadata");
	headers_add(&m->headers, STR("ETag"), arena_printf(arena, "\"%s-%u\"", series, i));
	headers_add(&m->headers, STR("Content-Type"), STR("application/octet-stream"));
	headers_add(&m->headers, STR("Cache-Control"), STR("public, max-age=31536000, immutable"));
	headers_add(&m->headers, STR("Last-Modified"), STR("Tue, 15 Nov 1994 12:45:26 GMT"));
	m->manifest = arena_printf(arena, "%0*u", 40 + (int)(i % 7) * 100, i);
	return m->id;
}

static bool
is_made(const struct meta *m, const char *series, unsigned i)
{
	struct arena b;
	struct meta want;
	bool same;
	arena_init(&b);
	make(&b, &want, series, i);
	same = str_eq(m->id, want.id) && str_eq(m->url, want.url) && m->content_size == i && str_eq(m->manifest, want.manifest)
		&& str_eq(headers_get(&m->headers, STR("etag")), headers_get(&want.headers, STR("etag")));
	arena_fini(&b);
	return same;
}

static int
get1(struct metadata *m, struct str id, struct meta *meta)
{
	bool found;
	int r = metadata_get(m, &id, 1, &a, meta, &found);
	return r == 1 && found ? 0 : r;
}

static uint64_t
counted(enum counter c)
{
	return counters_row[c];
}

static unsigned
set_asides(void)
{
	char pattern[320];
	glob_t g;
	snprintf(pattern, sizeof pattern, "%s.corrupt-*", dir);
	unsigned n = glob(pattern, 0, NULL, &g) == 0 ? (unsigned)g.gl_pathc : 0;
	globfree(&g);
	return n;
}

/* --- one process --------------------------------------------------------------------------------------------------------- */

static bool
visit_id(void *arg, const struct meta *m)
{
	struct str *out = arg;
	*out = out->n ? arena_printf(&a, "%.*s %.*s", STRP(*out), STRP(m->id)) : arena_dup(&a, m->id);
	return !str_ends(m->id, STR("stop"));
}

static void
test_basics(void)
{
	struct metadata *m = open_plain();
	struct meta meta, got, got3[3];
	bool found[3];

	ok(!metadata_health(m), "a new database is well");
	struct str id = make(&a, &meta, "one", 1);
	is_int(metadata_store(m, &meta), 0, "a document is stored");
	ok(get1(m, id, &got) == 0 && is_made(&got, "one", 1), "and comes back whole");
	is_int(get1(m, STR("https/nowhere/x"), &got), -ERR_NOT_FOUND, "what was not stored is not found");
	struct meta pair[2];
	make(&a, &pair[0], "pair", 0), make(&a, &pair[1], "pair", 1);
	is_int(metadata_store2(m, &pair[0], &pair[1]), 0, "two documents are stored in one transaction");
	struct str ids[3] = { pair[0].id, STR("https/nowhere/x"), pair[1].id };
	is_int(metadata_get(m, ids, 3, &a, got3, found), 2, "several ids are looked up at once");
	ok(found[0] && !found[1] && found[2] && is_made(&got3[0], "pair", 0) && is_made(&got3[2], "pair", 1), "and each has its own answer");
	meta.status = 404;
	metadata_store(m, &meta);
	ok(get1(m, id, &got) == 0 && got.status == 404, "storing again replaces");
	is_int(metadata_count(m), 3, "documents are counted");
	struct meta older = meta;
	older.stored_at--;
	metadata_drop_seen_later(m, &older);
	metadata_flush(m);
	ok(get1(m, id, &got) == 0 && got.status == 404, "who has seen an older one does not drop what came since");
	metadata_drop_seen_later(m, &meta);
	metadata_flush(m);
	is_int(get1(m, id, &got), -ERR_NOT_FOUND, "but the one that it has seen");
	metadata_store(m, &meta);
	is_int(metadata_drop(m, id), 0, "a document is dropped");
	is_int(get1(m, id, &got), -ERR_NOT_FOUND, "and is gone");
	is_int(metadata_drop(m, id), 0, "dropping what is not there is no error");

	char *host = xmalloc(600);
	memset(host, 'a', 600);
	struct str longest = { host, METADATA_ID_MAX }, too_long = { host, METADATA_ID_MAX + 1 };
	meta.id = longest;
	ok(metadata_store(m, &meta) == 0 && get1(m, longest, &got) == 0, "the longest id is kept");
	ok(metadata_invalidate(m, longest) == 0 && get1(m, longest, &got) == 0 && got.flags & META_INVALIDATED, "and can be invalidated");
	meta.id = too_long;
	is_int(metadata_store(m, &meta), -ERR_BAD_REQUEST, "a longer id is refused, and breaks nothing");
	is_int(get1(m, too_long, &got), -ERR_NOT_FOUND, "and not found");
	ok(metadata_drop(m, too_long) == 0 && metadata_invalidate(m, too_long) == 0, "and nothing to drop or invalidate");
	meta.id = STR_NONE;
	is_int(metadata_store(m, &meta), -ERR_BAD_REQUEST, "nor is an empty id stored");
	free(host);
	metadata_close(&m);
	m = open_plain();
	is_int(metadata_count(m), 3, "documents survive a restart");
	metadata_close(&m);
	clean();
}

static void
test_walk(void)
{
	static const char *const names[] = { "a", "b", "c", "c+1", "d/stop", "e" };
	struct metadata *m = open_plain();
	struct str seen = STR_NONE;
	struct meta meta;

	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		make(&a, &meta, "x", i);
		meta.id = str_c(names[i]);
		metadata_store(m, &meta);
	}
	is_int(metadata_walk(m, STR_NONE, 3, visit_id, &seen), 3, "a walk sees as many as it is told");
	is_str(seen, STR("a b c"), "in key order");
	seen = STR_NONE;
	is_int(metadata_walk(m, STR("c"), 100, visit_id, &seen), 2, "and goes on behind a document until the visitor stops it");
	is_str(seen, STR("c+1 d/stop"), "without it");
	is_int(metadata_walk(m, STR("e"), 100, visit_id, &seen), 0, "at the end there is nothing");
	metadata_close(&m);
	clean();
}

static void
test_touch(void)
{
	struct metadata *m = open_plain();
	int64_t t = 1700000000000;
	struct meta meta, got;

	struct str id = make(&a, &meta, "one", 1);
	meta.last_access = t;
	metadata_store(m, &meta);
	metadata_touch(m, id, t + 1000);
	metadata_flush(m);
	get1(m, id, &got);
	is_int(got.last_access, t + 1000, "the first touch is written");
	metadata_touch(m, id, t + 40000);
	metadata_flush(m);
	get1(m, id, &got);
	is_int(got.last_access, t + 1000, "another within a minute is not");
	metadata_touch(m, id, t + 122000);
	metadata_flush(m);
	get1(m, id, &got);
	is_int(got.last_access, t + 122000, "a later one is");
	ok(is_made(&got, "one", 1), "and leaves the document alone");
	meta.last_access = t;
	metadata_store(m, &meta);
	get1(m, id, &got);
	is_int(got.last_access, t + 122000, "storing with an older time does not turn it back");
	uint64_t commits = counted(COUNT_commits);
	for (int i = 0; i < 100000; i++)
		metadata_touch(m, id, t + 200000 + i % 1000);
	metadata_flush(m);
	ok(counted(COUNT_commits) - commits <= 3, "100,000 touches of one document are one write");
	metadata_drop(m, id);
	metadata_store(m, &meta);
	get1(m, id, &got);
	is_int(got.last_access, t, "what was dropped takes its touches with it");
	metadata_close(&m);
	clean();
}

static void
test_invalidate(void)
{
	struct metadata *m = open_plain();
	struct meta meta, other, got;
	unsigned set = 0;

	for (unsigned i = 0; i < 600; i += 2) {
		make(&a, &meta, "v", i), make(&a, &other, "v", i + 1);
		meta.id = arena_printf(&a, "https/h/x+%04u", i);
		other.id = arena_printf(&a, "https/h/x+%04u", i + 1);
		metadata_store2(m, &meta, &other);
	}
	meta.id = STR("https/h/x"), other.id = STR("https/h/xy");
	metadata_store2(m, &meta, &other);
	is_int(metadata_invalidate(m, STR("https/h/x")), 0, "a document and its variants are invalidated, more than one round of them");
	for (unsigned i = 0; i < 600; i++)
		set += get1(m, arena_printf(&a, "https/h/x+%04u", i), &got) == 0 && got.flags & META_INVALIDATED;
	is_int(set, 600, "all variants are marked");
	ok(get1(m, STR("https/h/x"), &got) == 0 && got.flags & META_INVALIDATED, "and the document");
	ok(get1(m, STR("https/h/xy"), &got) == 0 && !(got.flags & META_INVALIDATED), "but no document with a longer name");
	is_int(metadata_invalidate(m, STR("https/h/absent")), 0, "invalidating what is not there is no error");
	metadata_close(&m);
	clean();
}

struct heard { _Atomic int n, result; };
static void
hear(void *arg, int result)
{
	struct heard *h = arg;
	h->result |= result;
	h->n++;
}

/* What nobody waits for: the caller's memory may go at once, and the recorder's own thread never waits for itself. */
static void
test_later(void)
{
	struct metadata *m = open_with(64 * MiB, 2, false); /* a queue that is full all the time */
	struct heard heard = { 0, 0 };
	struct meta meta, other, got;
	unsigned there = 0, set = 0;
	struct arena b;

	arena_init(&b);
	for (unsigned i = 0; i < 600; i++, arena_reset(&b)) {
		make(&b, &meta, "v", i), make(&b, &other, "w", i);
		meta.id = arena_printf(&b, "https/h/l+%04u", i);
		metadata_store_then(m, (const struct meta *const[]){ &meta, &other }, 2, hear, &heard);
	}
	arena_fini(&b);
	metadata_invalidate_later(m, STR("https/h/l"));
	metadata_drop_later(m, STR("https/example.com/w-000007"));
	metadata_flush(m);
	metadata_close(&m);
	ok(heard.n == 600 && heard.result == 0, "each store that nobody waits for is heard of");
	m = open_plain();
	for (unsigned i = 0; i < 600; i++) {
		there += get1(m, arena_printf(&a, "https/h/l+%04u", i), &got) == 0;
		set += !!(got.flags & META_INVALIDATED);
	}
	ok(there == 600 && set == 600, "and is there, invalidated in more than one round behind a full queue");
	is_int(metadata_count(m), 1199, "and one is dropped");
	make(&a, &meta, "late", 1);
	meta.id = STR_NONE;
	const struct meta *one = &meta;
	heard.n = 0;
	metadata_store_then(m, &one, 1, hear, &heard);
	ok(heard.n == 1 && heard.result == -ERR_BAD_REQUEST, "what cannot be stored is answered at once");
	metadata_close(&m);
	clean();
}

static void
test_outbox(void)
{
	struct metadata *m = open_with(16 * MiB, 256, false);
	struct outbox_row row, newer;
	struct meta meta;
	MDB_txn *txn;

	make(&a, &meta, "local", 1);
	metadata_store(m, &meta);
	metadata_close(&m);
	m = open_with(16 * MiB, 256, true);
	make(&a, &meta, "remote", 1);
	metadata_store(m, &meta);
	metadata_close(&m);
	struct mirror *mirror = mirror_new(dir, 16 * MiB);
	mirror_tend(mirror, clock_mono());
	MDB_dbi dbi = mirror_dbi(mirror, MIRROR_OUTBOX);
	mirror_read(mirror, &txn);
	ok(outbox_next(txn, dbi, STR_NONE, &row) == 0 && str_eq(row.id, meta.id), "with an outbox, what is stored waits in the outbox");
	is_int(outbox_next(txn, dbi, meta.id, &newer), MDB_NOTFOUND, "and nothing that was stored without one");
	mirror_read_end(mirror, txn);
	mirror_write(mirror, &txn);
	outbox_put(txn, dbi, meta.id);
	ok(outbox_settle(txn, dbi, meta.id, row.generation) == 0 && outbox_next(txn, dbi, STR_NONE, &newer) == 0 && newer.generation > row.generation,
	   "an acknowledgement of an older version does not settle the newer");
	ok(outbox_settle(txn, dbi, meta.id, newer.generation) == 0 && outbox_next(txn, dbi, STR_NONE, &newer) == MDB_NOTFOUND, "its own does");
	mirror_commit(mirror, txn);
	mirror_free(&mirror);
	clean();
}

/* --- bounds and trouble -------------------------------------------------------------------------------------------------- */

static void
test_full(void)
{
	struct metadata *m = open_with(1 * MiB, 64, false);
	unsigned stored = 0, dropped = 0, i;
	struct meta meta, got;
	int r = 0;

	for (i = 0; i < 5000 && r == 0; i++) {
		make(&a, &meta, "full", i);
		if ((r = metadata_store(m, &meta)) == 0)
			stored++;
	}
	is_int(r, -ERR_FULL, "a full database refuses documents (1 MiB, after %u)", stored);
	ok(stored > 100, "but not too early");
	ok(metadata_health(m) && strstr(metadata_health(m), "full"), "health says so");
	ok(get1(m, make(&a, &meta, "full", 0), &got) == 0 && is_made(&got, "full", 0), "what is there is still served");
	for (i = 0; i < stored / 2; i++)
		dropped += metadata_drop(m, make(&a, &meta, "full", i)) == 0;
	is_int(dropped, stored / 2, "deletes still work when it is full");
	int64_t deadline = clock_mono() + 8000;
	while (metadata_health(m) && clock_mono() < deadline)
		usleep(20000);
	ok(!metadata_health(m), "health is well again after them");
	make(&a, &meta, "full", 0);
	is_int(metadata_store(m, &meta), 0, "and documents are taken again");
	metadata_close(&m);
	clean();
}

/* In a mount namespace of its own with a small file system; exits 0 when all is as promised, 77 when there can be none. */
static int
full_disk(void)
{
	char filler[320], zeros[65536] = { 0 };
	struct meta meta, got;
	unsigned i, stored = 0;
	int r = 0, fd;

	if (unshare(CLONE_NEWNS | (geteuid() ? CLONE_NEWUSER : 0)) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)
	    || mount("tmpfs", top, "tmpfs", 0, "size=12m"))
		return 77;
	struct metadata *m = open_with(32 * MiB, 64, false);
	make(&a, &meta, "disk", 0);
	if (metadata_store(m, &meta))
		return 2;
	snprintf(filler, sizeof filler, "%s/filler", top);
	fd = open(filler, O_WRONLY | O_CREAT, 0600);
	while (write(fd, zeros, sizeof zeros) > 0)
		;
	close(fd);
	for (i = 1; i < 20000 && r == 0; i++) {
		arena_reset(&a);
		make(&a, &meta, "disk", i);
		if ((r = metadata_store(m, &meta)) == 0)
			stored++;
	}
	if (r != -ERR_FULL || !metadata_health(m))
		return 3;
	if (get1(m, make(&a, &meta, "disk", 0), &got) || !is_made(&got, "disk", 0))
		return 4;
	for (i = 0; i < 50; i++)
		if (metadata_drop(m, make(&a, &meta, "disk", i)))
			return 5;
	unlink(filler);
	int64_t deadline = clock_mono() + 8000;
	while (metadata_health(m) && clock_mono() < deadline)
		usleep(20000);
	if (metadata_health(m))
		return 6;
	make(&a, &meta, "disk", 1);
	if (metadata_store(m, &meta))
		return 7;
	metadata_close(&m);
	umount(top);
	return 0;
}

static void
test_full_disk(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(full_disk());
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		ok(true, "a full disk # SKIP no mount namespace here");
	else
		is_int(WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), 0,
		       "a full disk refuses documents, still deletes and serves, and heals by itself");
	clean();
}

static void
test_unwritable(void)
{
	char keep[300], file[320], moved[320];
	struct meta meta, got;

	snprintf(keep, sizeof keep, "%s", dir);
	snprintf(file, sizeof file, "%s/file", top);
	fd_write_file(file, STR("x"), 0600);
	snprintf(dir, sizeof dir, "%.250s/file/meta", top);
	struct metadata *m = open_plain();
	ok(m && metadata_health(m), "a folder that cannot be made: it opens degraded and says so");
	int64_t t = clock_mono();
	make(&a, &meta, "x", 1);
	ok(get1(m, meta.id, &got) == -ERR_GONE && metadata_store(m, &meta) == -ERR_GONE && metadata_drop(m, meta.id) == -ERR_GONE
	   && metadata_invalidate(m, meta.id) == -ERR_GONE && metadata_count(m) == 0
	   && metadata_walk(m, STR_NONE, 10, visit_id, &(struct str){ NULL, 0 }) == -ERR_GONE, "every call answers GONE");
	metadata_touch(m, meta.id, 1);
	metadata_flush(m);
	ok(clock_mono() - t < 500, "and quickly");
	unlink(file);
	mkdir(file, 0700);
	int64_t deadline = clock_mono() + 2 * MIRROR_TEND_MS;
	while (metadata_health(m) && clock_mono() < deadline)
		usleep(20000);
	ok(!metadata_health(m) && metadata_store(m, &meta) == 0, "it is opened as soon as it can be");

	snprintf(moved, sizeof moved, "%s/moved", top);
	rename(dir, moved);
	deadline = clock_mono() + 2 * MIRROR_TEND_MS;
	while (get1(m, meta.id, &got) == 0 && clock_mono() < deadline)
		usleep(20000);
	ok(get1(m, meta.id, &got) < 0 && (usleep(100000), metadata_store(m, &meta)) == 0 && !access(dir, F_OK), "a folder that is lost is made anew");
	metadata_close(&m);

	snprintf(dir, sizeof dir, "%s", keep);
	metadata_open(&m, &(struct metadata_options){ .dir = dir, .map_size = 16 * MiB });
	ok(metadata_store(m, &meta) == -ERR_GONE && !metadata_health(m), "read-only use stores nothing");
	metadata_close(&m);
	clean();
}

/* A child that has the database open and does what it is told by fn, then waits to be killed. */
static pid_t
with_mirror(void (*fn)(struct mirror *), size_t map)
{
	int p[2];
	char c;
	if (pipe(p))
		return -1;
	pid_t pid = fork();
	if (pid == 0) {
		struct mirror *mirror = mirror_new(dir, map);
		mirror_tend(mirror, clock_mono());
		fn(mirror);
		if (write(p[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	close(p[1]);
	if (read(p[0], &c, 1) != 1)
		note("the child did not come up");
	close(p[0]);
	return pid;
}

static void
end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void hold_write(struct mirror *m) { MDB_txn *txn; mirror_write(m, &txn); }
static void hold_read(struct mirror *m) { MDB_txn *txn; mirror_read(m, &txn); }

static void
put_garbage(struct mirror *m)
{
	MDB_val key = { 4, (void *)"junk" }, data = { 7, (void *)"garbage" };
	MDB_txn *txn;
	mirror_write(m, &txn);
	mdb_put(txn, mirror_dbi(m, MIRROR_DOCUMENTS), &key, &data, 0);
	mirror_commit(m, txn);
}

static void
test_other_processes(void)
{
	struct metadata *m = open_with(2 * MiB, 16, false);
	struct meta meta, got;

	make(&a, &meta, "x", 1);
	metadata_store(m, &meta);
	pid_t pid = with_mirror(hold_write, 2 * MiB);
	int64_t t = clock_mono();
	uint64_t dropped = counted(COUNT_touches_dropped);
	for (unsigned i = 0; i < 1000; i++)
		metadata_touch(m, arena_printf(&a, "t%u", i), clock_wall());
	ok(counted(COUNT_touches_dropped) - dropped > 900, "touches above the bound are dropped and counted");
	ok(get1(m, meta.id, &got) == 0, "a lookup does not wait for a writer that is stuck");
	ok(clock_mono() - t < 1000, "nor does a touch");
	end(pid);
	ok(metadata_store(m, &meta) == 0, "a writer that is killed in a transaction holds nobody up");

	pid = with_mirror(hold_read, 2 * MiB);
	end(pid);
	metadata_reap_readers(m);
	unsigned stored = 0;
	for (unsigned i = 0; i < 300; i++)
		stored += metadata_store(m, &meta) == 0;
	is_int(stored, 300, "the snapshot of a killed reader does not keep old pages for ever");

	end(with_mirror(put_garbage, 2 * MiB));
	uint64_t before = counted(COUNT_corrupt);
	is_int(metadata_count(m), 2, "a record that does not decode gets into the database");
	is_int(get1(m, STR("junk"), &got), -ERR_NOT_FOUND, "it is not found,");
	metadata_flush(m);
	ok(counted(COUNT_corrupt) == before + 1 && metadata_count(m) == 1, "counted, and dropped");
	metadata_close(&m);
	clean();
}

/* --- corruption ---------------------------------------------------------------------------------------------------------- */

static void
fill_database(unsigned n)
{
	struct metadata *m = open_plain();
	struct meta x, y;
	for (unsigned i = 0; i < n; i += 2) {
		make(&a, &x, "c", i), make(&a, &y, "c", i + 1);
		metadata_store2(m, &x, &y);
	}
	metadata_close(&m);
	arena_reset(&a);
}

static char *
data_file(void)
{
	static char path[320];
	snprintf(path, sizeof path, "%s/data.mdb", dir);
	return path;
}

static void damage_none(int fd) { }
static void damage_empty(int fd) { (void)!ftruncate(fd, 0); }
static void damage_short(int fd) { (void)!ftruncate(fd, 5000); }
static void damage_half(int fd) { (void)!ftruncate(fd, 40 * 4096); }
static void damage_text(int fd) { (void)!pwrite(fd, "this is not a database", 22, 0), (void)!pwrite(fd, "nor is this", 11, 4096); }
static void
damage_noise(int fd)
{
	static unsigned char page[4096];
	for (unsigned i = 0; i < sizeof page; i++)
		page[i] = (unsigned char)(i * 2654435761u >> 13);
	for (off_t at = 2; at < 100; at++)
		(void)!pwrite(fd, page, sizeof page, at * 4096);
}
static void
damage_zeros(int fd)
{
	static const char page[4096];
	for (off_t at = 2; at < 200; at++)
		(void)!pwrite(fd, page, sizeof page, at * 4096);
}

static void
test_corrupt(void)
{
	static const struct { const char *what; void (*fn)(int); bool aside, by_open; } cases[] = {
		{ "a sound file", damage_none, false, true },
		{ "an empty file", damage_empty, false, true },
		{ "a file cut inside its meta pages", damage_short, true, true },
		{ "a file cut in the middle", damage_half, true, true },
		{ "a file that is something else", damage_text, true, true },
		{ "pages full of noise", damage_noise, true, false },
		{ "pages full of zeros", damage_zeros, true, false },
	};
	struct metadata *m;
	struct meta meta, got;

	is_int(metadata_check(dir, 64 * MiB), 0, "a database that is not there is no complaint");
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
		for (int by_open = 0; by_open < (cases[i].by_open ? 2 : 1); by_open++) {
			fill_database(300);
			int fd = open(data_file(), O_RDWR);
			cases[i].fn(fd);
			close(fd);
			if (!by_open)
				is_int(metadata_check(dir, 64 * MiB), cases[i].aside, "%s: the check %s", cases[i].what, cases[i].aside ? "sets it aside" : "lets it be");
			m = open_plain();
			ok(!metadata_health(m) && set_asides() == cases[i].aside, "%s: opening it %s", cases[i].what, by_open ? "does the same" : "goes well then");
			make(&a, &meta, "after", 1);
			ok(metadata_store(m, &meta) == 0 && get1(m, meta.id, &got) == 0, "%s: it stores", cases[i].what);
			metadata_close(&m);
			clean();
		}

	/* many find it at once */
	fill_database(300);
	int fd = open(data_file(), O_RDWR), well = 0, status;
	damage_half(fd);
	close(fd);
	pid_t pids[4];
	for (int i = 0; i < 4; i++)
		if ((pids[i] = fork()) == 0) {
			m = open_plain();
			make(&a, &meta, "mine", (unsigned)i);
			_exit(metadata_store(m, &meta) == 0 && !metadata_health(m) ? 0 : 1);
		}
	for (int i = 0; i < 4; i++)
		well += waitpid(pids[i], &status, 0) > 0 && status == 0;
	m = open_plain();
	ok(well == 4 && set_asides() == 1 && metadata_count(m) == 4, "four processes that find it corrupt at once set it aside once, and share the new one");
	metadata_close(&m);
	for (int i = 0; i < 3; i++) {
		fd = open(data_file(), O_RDWR);
		damage_text(fd);
		close(fd);
		m = open_plain();
		metadata_close(&m);
	}
	is_int(set_asides(), 1, "only the last one that was set aside is kept");
	clean();
}

/* --- crashes and crowds --------------------------------------------------------------------------------------------------- */

struct sound { unsigned n, bad; };
static bool
visit_sound(void *arg, const struct meta *m)
{
	struct sound *s = arg;
	s->n++;
	s->bad += !is_made(m, "crash", (unsigned)m->content_size);
	return true;
}

struct job { struct metadata *m; int fd; unsigned from, step, n, bad; const char *series; };

static void *
store_and_report(void *arg)
{
	struct job *job = arg;
	struct arena b;
	struct meta meta;
	arena_init(&b);
	for (unsigned i = job->from; ; i += job->step, arena_reset(&b)) {
		make(&b, &meta, "crash", i);
		if (metadata_store(job->m, &meta) == 0 && write(job->fd, &i, sizeof i) != sizeof i)
			break;
	}
	return NULL;
}

static void
test_crash(void)
{
	unsigned reported = 0, missing = 0, trouble = 0, next = 0, i, last = 0;
	struct sound sound = { 0, 0 };
	struct meta meta, got;

	for (unsigned round = 0; round < 20; round++) {
		int p[2];
		if (pipe(p))
			return;
		pid_t pid = fork();
		if (pid == 0) {
			struct job jobs[3];
			pthread_t t;
			struct metadata *m = open_plain();
			close(p[0]);
			for (unsigned j = 0; j < 3; j++) {
				jobs[j] = (struct job){ .m = m, .fd = p[1], .from = next + j, .step = 3 };
				if (j < 2)
					pthread_create(&t, NULL, store_and_report, &jobs[j]);
			}
			store_and_report(&jobs[2]);
			_exit(1);
		}
		close(p[1]);
		usleep(30000 + round * 2700);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		struct metadata *m = open_plain();
		trouble += metadata_health(m) != NULL;
		while (read(p[0], &i, sizeof i) == sizeof i) {
			reported++;
			missing += get1(m, make(&a, &meta, "crash", i), &got) != 0 || !is_made(&got, "crash", i);
			last = i > last ? i : last;
		}
		next = last + 10;
		close(p[0]);
		sound = (struct sound){ 0, 0 };
		metadata_walk(m, STR_NONE, 1000000, visit_sound, &sound);
		trouble += sound.bad || sound.n != metadata_count(m);
		metadata_close(&m);
		trouble += metadata_check(dir, 64 * MiB) != 0;
		arena_reset(&a);
	}
	is_int(trouble, 0, "after each of 20 SIGKILLs the database opens, and each of its %u documents is whole", sound.n);
	ok(reported > 100 && !missing, "each of the %u documents whose store had returned is there", reported);
	is_int(set_asides(), 0, "nothing had to be set aside");
	clean();
}

static void *
crowd(void *arg)
{
	struct job *job = arg;
	struct arena b;
	struct meta meta, got;
	struct str id;
	bool found;

	arena_init(&b);
	for (unsigned i = 0; i < job->n; i++, arena_reset(&b)) {
		unsigned mine = job->from + i, shared = i % 8;
		id = make(&b, &meta, "crowd", mine);
		job->bad += metadata_store(job->m, &meta) != 0;
		job->bad += metadata_get(job->m, &id, 1, &b, &got, &found) != 1 || !is_made(&got, "crowd", mine);
		id = make(&b, &meta, "shared", shared);
		job->bad += metadata_store(job->m, &meta) != 0;
		metadata_touch(job->m, id, clock_wall());
		if (i % 16 == 5)
			job->bad += metadata_drop(job->m, id) != 0;
		if (i % 16 == 9)
			job->bad += metadata_invalidate(job->m, id) != 0;
		int r = metadata_get(job->m, &id, 1, &b, &got, &found);
		job->bad += r != -ERR_NOT_FOUND && (r != 1 || !is_made(&got, "shared", shared));
	}
	arena_fini(&b);
	return NULL;
}

static void
test_crowd(void)
{
	enum { PROCESSES = 2, THREADS = 4, N = 60 };
	pid_t pids[PROCESSES];
	int status, well = 0;

	for (unsigned p = 0; p < PROCESSES; p++)
		if ((pids[p] = fork()) == 0) {
			struct metadata *m = open_with(64 * MiB, 4, false); /* a queue that is often full */
			struct job jobs[THREADS];
			pthread_t t[THREADS];
			unsigned bad = 0;
			for (unsigned i = 0; i < THREADS; i++) {
				jobs[i] = (struct job){ .m = m, .from = (p * THREADS + i) * N, .n = N };
				pthread_create(&t[i], NULL, crowd, &jobs[i]);
			}
			for (unsigned i = 0; i < THREADS; i++) {
				pthread_join(t[i], NULL);
				bad += jobs[i].bad;
			}
			bad += metadata_health(m) != NULL;
			metadata_close(&m);
			_exit(bad ? 1 : 0);
		}
	for (unsigned p = 0; p < PROCESSES; p++)
		well += waitpid(pids[p], &status, 0) > 0 && status == 0;
	is_int(well, PROCESSES, "2 processes of 4 threads store, look up, touch, drop and invalidate the same and different documents");
	struct metadata *m = open_plain();
	struct meta meta, got;
	unsigned there = 0;
	for (unsigned i = 0; i < PROCESSES * THREADS * N; i++)
		there += get1(m, make(&a, &meta, "crowd", i), &got) == 0 && is_made(&got, "crowd", i);
	is_int(there, PROCESSES * THREADS * N, "and none is lost");
	metadata_close(&m);
	clean();
}

static void
many(struct mirror *m, unsigned n)
{
	struct arena b;
	struct meta meta;
	MDB_txn *txn;

	arena_init(&b);
	for (unsigned i = 0; i < n; ) {
		mirror_write(m, &txn);
		for (unsigned j = 0; j < 1000; j++, i++, arena_reset(&b)) {
			struct str id = make(&b, &meta, "many", i * 7919 % n), rec = meta_encode(&meta, &b);
			uint64_t hash = i;
			MDB_val key = { id.n, (void *)id.p }, data = { rec.n, (void *)rec.p }, k = { 8, &hash }, d = { 8, &hash };
			mdb_put(txn, mirror_dbi(m, MIRROR_DOCUMENTS), &key, &data, 0);
			mdb_put(txn, mirror_dbi(m, MIRROR_ACCESS), &k, &d, 0);
		}
		mirror_commit(m, txn);
	}
	arena_fini(&b);
}

static void many_documents(struct mirror *m) { many(m, 100000); }

struct look { struct metadata *m; unsigned seed; uint64_t n; };
static void *
look(void *arg)
{
	struct look *l = arg;
	struct arena b;
	struct meta got;
	char text[64];
	bool found;
	uint32_t x = l->seed;
	int64_t end_at = clock_mono() + 500;

	arena_init(&b);
	while (clock_mono() < end_at)
		for (unsigned i = 0; i < 100; i++, arena_reset(&b)) {
			x = x * 1664525 + 1013904223;
			struct str id = { text, (size_t)snprintf(text, sizeof text, "https/example.com/many-%06u", (x >> 8) % 100000) };
			l->n += metadata_get(l->m, &id, 1, &b, &got, &found) == 1;
		}
	arena_fini(&b);
	return NULL;
}

static void
test_speed(void)
{
	end(with_mirror(many_documents, 1024 * MiB));
	struct metadata *m = open_with(1024 * MiB, 256, false);
	is_int(metadata_count(m), 100000, "a hundred thousand documents");
	struct look l[3] = { { .m = m, .seed = 1 }, { .m = m, .seed = 2 }, { .m = m, .seed = 3 } };
	pthread_t t;
	look(&l[0]);
	l[0].n = 0;
	look(&l[0]);
	pthread_create(&t, NULL, look, &l[1]);
	look(&l[2]);
	pthread_join(t, NULL);
	note("lookups/s among 100,000 documents: %llu with one thread, %llu with two", (unsigned long long)l[0].n * 2,
	     (unsigned long long)(l[1].n + l[2].n) * 2);
	ok(l[0].n > 1000, "lookups are quick");
	metadata_close(&m);
	clean();
}

static bool
is_even(void *arg, const struct meta *m)
{
	++*(unsigned *)arg;
	return !(m->content_size % 2);
}

static bool
is_there(struct metadata *m, struct str id)
{
	struct meta got;
	return get1(m, id, &got) == 0;
}

static void
test_purge(void)
{
	struct metadata *m = open_plain(), *reader;
	struct meta doc;
	const char *const ids[] = { "https/x.test/aa", "https/x.test/aa+1", "https/x.test/aa+2", "https/x.test/aa+part", "https/x.test/_vary/aa", "https/x.test/ab",
	                            "https/x.test/aa0" };
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
		make(&a, &doc, "x", (unsigned)i);
		doc.id = str_c(ids[i]);
		if (strstr(ids[i], "_vary"))
			doc.doc_type = STR("vary_index");
		metadata_store(m, &doc);
	}
	metadata_open(&reader, &(struct metadata_options){ .dir = dir, .map_size = 64 * MiB });
	is_int(metadata_purge(reader, STR("https/x.test/aa"), STR("https/x.test/_vary/aa")), -ERR_GONE, "who only reads cannot purge");
	is_int(metadata_purge(m, STR("https/x.test/aa"), STR("https/x.test/_vary/aa")), 4, "the document, two variants and a part are purged");
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
		ok(is_there(reader, str_c(ids[i])) == (i > 4), "%s is %s", ids[i], i > 4 ? "still there" : "gone for every reader at once");
	is_int(metadata_purge(m, STR("https/x.test/aa"), STR("https/x.test/_vary/aa")), 0, "once more: there is nothing");
	is_int(metadata_purge(m, STR("https/x.test/ab"), STR("https/x.test/_vary/ab")), 1, "without variants");
	metadata_purge(m, STR("https/x.test/aa0"), STR("none"));

	for (unsigned i = 0; i < 1000; i++) /* more than a queue, or a snapshot of the walk, holds */
		metadata_store_then(m, (const struct meta *const[]){ (make(&a, &doc, "many", i), &doc) }, 1, NULL, NULL);
	metadata_flush(m);
	unsigned seen = 0;
	is_int(metadata_purge_if(m, is_even, &seen), 500, "every other one of a thousand");
	is_int(seen, 1000, "... each was asked about");
	is_int(metadata_count(reader), 500, "... and half of them are gone");
	is_int(metadata_purge_if(m, is_even, &seen), 0, "once more: none is left");
	metadata_close(&reader);
	metadata_close(&m);
	clean();
}

int
main(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(top, sizeof top, "%.200s/passsage-metadata-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(top))
		return 1;
	snprintf(dir, sizeof dir, "%s/meta", top);
	arena_init(&a);
	test_basics();
	test_walk();
	test_touch();
	test_invalidate();
	test_later();
	test_purge();
	test_outbox();
	test_full();
	test_full_disk();
	test_unwritable();
	test_other_processes();
	test_corrupt();
	test_crash();
	test_crowd();
	test_speed();
	arena_fini(&a);
	clean();
	rmdir(top);
	return done_testing();
}
