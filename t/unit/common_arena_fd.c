/* Memory by lifetime, files, and the log. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"
#include "common/arena.h"
#include "common/err.h"
#include "common/fd.h"
#include "common/log.h"

static char folder[] = "/tmp/passsage-unit-XXXXXX";
static struct arena a;

static const char *
in_folder(const char *name)
{
	return arena_printf(&a, "%s/%s", folder, name).p;
}

static void
arenas(void)
{
	struct arena m;
	unsigned unaligned = 0, damaged = 0;
	struct { unsigned char *p; size_t n; } all[400];

	arena_init(&m);
	for (int round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 400; i++) {
			all[i].n = i % 50 == 49 ? i * 1000 : (i * 37) % 700;
			all[i].p = arena_alloc(&m, all[i].n);
			unaligned += ((uintptr_t)all[i].p & 15) != 0;
			memset(all[i].p, (int)i, all[i].n);
		}
		for (unsigned i = 0; i < 400; i++)
			for (size_t k = 0; k < all[i].n; k++)
				damaged += all[i].p[k] != (unsigned char)i;
		ok(m.total > 1000000, "what was handed out is counted");
		arena_reset(&m);
		ok(m.head && m.total == 0, "after a reset one small block is left");
	}
	is_int(unaligned, 0, "every allocation is aligned for any type");
	is_int(damaged, 0, "none overlaps another");
	char *z = arena_zalloc(&m, 100);
	unsigned dirty = 0;
	for (int i = 0; i < 100; i++)
		dirty += z[i] != 0;
	is_int(dirty, 0, "zalloc clears used memory");
	struct str s = arena_dup(&m, (struct str){ "a\0b", 3 });
	ok(s.n == 3 && memcmp(s.p, "a\0b", 4) == 0, "a copy has a NUL behind it");
	is_str(arena_dup(&m, STR_NONE), STR(""), "a copy of nothing");
	is_str(arena_lower(&m, STR("AbC\xc3\x84")), STR("abc\xc3\x84"), "lower case is ASCII's");
	is_str(arena_printf(&m, "%d-%s", 5, "x"), STR("5-x"), "a short print");
	s = arena_printf(&m, "%0600d", 7);
	ok(s.n == 600 && s.p[599] == '7' && s.p[600] == 0, "a long one");
	arena_fini(&m);
	ok(m.head == NULL, "fini leaves nothing");
	arena_reset(&m);
	ok(m.head == NULL, "a reset of nothing");
}

static void
files(void)
{
	const char *path = in_folder("file"), *deep = in_folder("x/y//z/");
	struct str s;
	struct stat st;
	char buf[16];
	int fd;

	is_int(fd_write_file(path, STR("first"), 0640), 0, "a file is written");
	is_int(fd_write_file(path, STR("second, longer"), 0600), 0, "and replaced");
	ok(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600, "with the mode asked for");
	is_int(fd_read_file(path, 100, &s), 0, "read");
	is_str(s, STR("second, longer"), "the whole of it");
	ok(s.p[s.n] == 0, "with a NUL behind");
	free((char *)s.p);
	is_int(fd_read_file(path, 14, &s), 0, "the bound may be reached");
	free((char *)s.p);
	is_int(fd_read_file(path, 13, &s), -ERR_FULL, "but not passed");
	is_int(fd_read_file(in_folder("none"), 100, &s), -ERR_NOT_FOUND, "no such file");
	is_int(fd_write_file(in_folder("none/file"), STR("x"), 0600), -ERR_NOT_FOUND, "no such folder");
	is_int(fd_read_file(folder, 100, &s), -ERR_SYSTEM, "a folder is not a file");
	ok(fd_read_file("/proc/self/status", 100000, &s) == 0 && s.n > 0, "a file of unknown size");
	free((char *)s.p);
	is_int(path_mkdirs(deep, 0755), 0, "folders on the way are made");
	is_int(path_mkdirs(deep, 0755), 0, "twice is fine");
	ok(stat(deep, &st) == 0 && S_ISDIR(st.st_mode), "there it is");
	ok(path_mkdirs(in_folder("file/x"), 0755) < 0 && path_mkdirs(path, 0755) < 0, "a file is in the way");
	is_int(path_mkdirs("", 0755), -ERR_NOT_FOUND, "no name, no folder");

	fd = open(path, O_RDWR);
	is_int(fd_pwrite_all(fd, "SECOND", 6, 0), 0, "written in place");
	is_int(fd_pread_all(fd, buf, 16, 7), 7, "read up to the end");
	ok(memcmp(buf, " longer", 7) == 0, "from the right place");
	fd_cloexec(fd);
	fd_nonblock(fd);
	ok((fcntl(fd, F_GETFD) & FD_CLOEXEC) && (fcntl(fd, F_GETFL) & O_NONBLOCK), "flags are set");
	fd_close(&fd);
	is_int(fd, -1, "a closed one is -1");
	fd_close(&fd);
	is_int(fd_pread_all(-1, buf, 1, 0), -ERR_SYSTEM, "a bad descriptor");
	if ((fd = open("/dev/full", O_WRONLY)) >= 0) {
		is_int(fd_write_all(fd, "x", 1), -ERR_FULL, "a full disk says so");
		fd_close(&fd);
	}
	errno = EDQUOT;
	is_int(errno_err(), -ERR_FULL, "so does a full quota");
}

static void
logging(void)
{
	const char *path = in_folder("log"), *moved = in_folder("log.1");
	struct str s, rest, line;
	char big[10000];

	log_open(path);
	log_title("worker 3");
	log_warn("a %s", "bad\r\n2026-01-31T12:00:00.123Z error x[1]: forged\x1b[2J\x7f\ttail");
	log_debug("not %s", "shown");
	memset(big, '\n', sizeof big - 1);
	big[sizeof big - 1] = 0;
	log_error("%s", big);
	fd_read_file(path, 100000, &s);
	rest = s;
	line = str_cut(&rest, '\n');
	ok(line.n > 24 && line.p[10] == 'T' && line.p[23] == 'Z', "a line begins with the time");
	line = str_from(line, 24);
	is_str(line, arena_printf(&a, " warn worker 3[%d]: a bad\\x0d\\x0a2026-01-31T12:00:00.123Z error x[1]: forged\\x1b[2J\\x7f tail", (int)getpid()),
	    "control bytes cannot forge a second line");
	line = str_cut(&rest, '\n');
	ok(line.n < 4096 && line.n > 4000 && str_ends(line, STR("\\x0a")), "a long line is cut at 4 KiB, and never inside an escape");
	is_int(rest.n, 0, "nothing else was written");
	free((char *)s.p);

	int before = log_fd();
	rename(path, moved);
	log_open(path);
	is_int(log_fd(), before, "a reopened log keeps its number");
	log_info("new");
	fd_read_file(path, 100000, &s);
	ok(str_ends(s, STR(": new\n")), "and goes to the new file");
	free((char *)s.p);
	log_open(in_folder("none/log"));
	fd_read_file(path, 100000, &s);
	ok(str_has(s, STR("the log goes on where it was")), "one that cannot be reopened is told of in the old one");
	free((char *)s.p);
}

static void hook(void) { log_error("the hook was called"); }

static void
panicking(void)
{
	pid_t pid = fork();
	int status;
	struct str s;

	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		panic_hook = hook;
		INVARIANT(1 + 1 == 2);
		INVARIANT(1 + 1 == 3);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "a broken invariant aborts");
	fd_read_file(in_folder("log"), 1000000, &s);
	ok(str_has(s, STR("in panicking: 1 + 1 == 3 does not hold")) && str_has(s, STR("the hook was called")), "and says where, and what the hook knows");
	free((char *)s.p);

	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);
		dup2(null, 2);
		die(64, "wrong %s", "option");
	}
	waitpid(pid, &status, 0);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 64, "die ends with the status asked for");
}

int
main(void)
{
	static const char *const left[] = { "file", "log", "log.1", "x/y/z", "x/y", "x" };

	arena_init(&a);
	if (!mkdtemp(folder)) {
		ok(0, "a folder of our own");
		return done_testing();
	}
	arenas();
	files();
	logging();
	panicking();
	for (unsigned i = 0; i < sizeof left / sizeof *left; i++)
		remove(in_folder(left[i]));
	ok(rmdir(folder) == 0, "nothing is left behind, temporary files neither");
	arena_fini(&a);
	return done_testing();
}
