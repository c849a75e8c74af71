/* sandbox.c - limits, and a list of system calls (seccomp(2)) of the process that holds the CA's key. */
#include "certgen.h"
#include "sandbox.h"
#include "../common/log.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* their runtimes open /proc, map, and start programs (the symbolizer) */
#else
#define SANITIZED 0
#endif

#if defined(__x86_64__)
#define THIS_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCH AUDIT_ARCH_AARCH64
#endif

static void
limit(int what, rlim_t n)
{
	struct rlimit l = { n, n };
	setrlimit(what, &l);
}

static void
close_all_but(int a, int b)
{
	unsigned keep[] = { (unsigned)a, (unsigned)b, STDERR_FILENO };
	unsigned from = 0;
	for (;;) { /* the gaps between the three, in order */
		unsigned next = ~0u;
		for (size_t i = 0; i < sizeof(keep) / sizeof(*keep); i++)
			if (keep[i] >= from && keep[i] < next)
				next = keep[i];
		if (next > from)
			close_range(from, next == ~0u ? ~0u : next - 1, 0);
		if (next == ~0u)
			return;
		from = next + 1;
	}
}

#ifdef THIS_ARCH
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
#define ALLOW(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), RETURN(SECCOMP_RET_ALLOW)
/* anonymous and not executable: no code that was not in the program */
#define LOW(arg) (offsetof(struct seccomp_data, args) + 8 * (arg))
#define ALLOW_NO_EXEC(call) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 4), \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, LOW(2)), \
	BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1), \
	RETURN(SECCOMP_RET_ERRNO | EPERM), \
	RETURN(SECCOMP_RET_ALLOW)

/* What is not listed fails with EPERM rather than killing: a C library that tries something new must not cost every handshake. */
static const struct sock_filter filter[] = {
	LOAD(arch),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCH, 1, 0),
	RETURN(SECCOMP_RET_KILL_PROCESS),
	LOAD(nr), /* x32 calls have a bit more, so they match nothing here */
	ALLOW(recvfrom), ALLOW(read), ALLOW(write), ALLOW(futex), ALLOW(clock_gettime), ALLOW(clock_nanosleep), ALLOW(gettimeofday),
	ALLOW(getppid), ALLOW(getpid), ALLOW(gettid), ALLOW(getrandom),
	ALLOW(brk), ALLOW(munmap), ALLOW(mremap), ALLOW(madvise), ALLOW_NO_EXEC(mmap), ALLOW_NO_EXEC(mprotect),
	ALLOW(rt_sigreturn), ALLOW(rt_sigaction), ALLOW(rt_sigprocmask), ALLOW(tgkill), ALLOW(restart_syscall),
	ALLOW(sched_yield), ALLOW(close), ALLOW(exit), ALLOW(exit_group),
	RETURN(SECCOMP_RET_ERRNO | EPERM),
};
#endif

void
certgen_secret(bool has)
{
	static struct rlimit cores;
	static int dumpable;
	if (has) {
		getrlimit(RLIMIT_CORE, &cores);
		dumpable = prctl(PR_GET_DUMPABLE);
	}
	const struct rlimit now = { has ? 0 : cores.rlim_cur, cores.rlim_max };
	setrlimit(RLIMIT_CORE, &now);
	if (!SANITIZED)
		prctl(PR_SET_DUMPABLE, has ? 0 : dumpable); /* no ptrace and no /proc/<pid>/mem for others of the same user */
}

void
sandbox_enter(int sock, int log)
{
	struct stat st;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	certgen_secret(true);
	limit(RLIMIT_CORE, 0);
	close_all_but(sock, log);
	if (SANITIZED)
		return;
	limit(RLIMIT_NOFILE, 0);
	limit(RLIMIT_NPROC, 0);
	if (fstat(log, &st) == 0 && !S_ISREG(st.st_mode))
		limit(RLIMIT_FSIZE, 0); /* with a log file it must be able to grow */
#ifdef THIS_ARCH
	struct sock_fprog program = { sizeof(filter) / sizeof(*filter), (struct sock_filter *)filter };
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		log_warn("certgen runs without a system call filter: %s", strerror(errno));
#endif
}
