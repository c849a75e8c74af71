/* sandbox.c - see sandbox.h. The filters are programs of BPF that see the number and the registers of each call, never what a pointer leads to. */
#include "sandbox.h"
#include "log.h"
#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define THIS_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef THIS_ARCH
#define X32 0x40000000 /* x86: the same calls under other numbers; no call of ours is that high on any machine */
#define NAMESPACES (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define LOAD_ARG(i) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args) + 8 * (i)) /* its lower half: little endian */
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
#define FAIL(e) RETURN(SECCOMP_RET_ERRNO | (e))
#define JUMP(how, value, yes, no) BPF_JUMP(BPF_JMP | (how) | BPF_K, value, yes, no) /* how many to skip when it is so, and when it is not */
#define IF_CALL(call, n) JUMP(BPF_JEQ, SYS_##call, 0, n)                             /* else skip the n that follow */
#define ALLOW(call) IF_CALL(call, 1), RETURN(SECCOMP_RET_ALLOW)
#define DENY(call, e) IF_CALL(call, 1), FAIL(e)
/* Leaves the call's number loaded. */
#define BEGIN LOAD(arch), JUMP(BPF_JEQ, THIS_ARCH, 1, 0), RETURN(SECCOMP_RET_KILL_PROCESS), LOAD(nr)

static const struct sock_filter serve[] = {
	BEGIN,
	JUMP(BPF_JGE, X32, 0, 1), FAIL(EPERM),
#define DENIED(call) DENY(call, EPERM),
#include "tbl/denied.h"
	/* threads, and nothing that could outlive us or see another machine. clone3's flags are behind a pointer: C libraries take ENOSYS as
	 * "an older kernel" and use clone. */
	DENY(clone3, ENOSYS),
#if !SANITIZED
	IF_CALL(clone, 5), LOAD_ARG(0), JUMP(BPF_JSET, NAMESPACES, 1, 0), JUMP(BPF_JSET, CLONE_THREAD, 1, 0), FAIL(EPERM), RETURN(SECCOMP_RET_ALLOW),
#endif
	IF_CALL(ioctl, 4), LOAD_ARG(1), JUMP(BPF_JEQ, TIOCSTI, 0, 1), FAIL(EPERM), RETURN(SECCOMP_RET_ALLOW),
	IF_CALL(socket, 6), LOAD_ARG(0), JUMP(BPF_JEQ, AF_INET, 4, 0), JUMP(BPF_JEQ, AF_INET6, 3, 0), JUMP(BPF_JEQ, AF_UNIX, 2, 0),
	JUMP(BPF_JEQ, AF_NETLINK, 1, 0), /* the resolver asks which addresses the machine has */
	FAIL(EAFNOSUPPORT),
	RETURN(SECCOMP_RET_ALLOW),
};

/* anonymous and not executable: no code that was not in the program */
#define ALLOW_NO_EXEC(call) IF_CALL(call, 4), LOAD_ARG(2), JUMP(BPF_JSET, PROT_EXEC, 0, 1), FAIL(EPERM), RETURN(SECCOMP_RET_ALLOW)

static const struct sock_filter sign[] = {
	BEGIN, /* x32 calls match nothing here */
	ALLOW(recvfrom), ALLOW(read), ALLOW(write), ALLOW(futex), ALLOW(clock_gettime), ALLOW(clock_nanosleep), ALLOW(gettimeofday),
	ALLOW(getppid), ALLOW(getpid), ALLOW(gettid), ALLOW(getrandom),
	ALLOW(brk), ALLOW(munmap), ALLOW(mremap), ALLOW(madvise), ALLOW_NO_EXEC(mmap), ALLOW_NO_EXEC(mprotect),
	ALLOW(rt_sigreturn), ALLOW(rt_sigaction), ALLOW(rt_sigprocmask), ALLOW(tgkill), ALLOW(restart_syscall),
	ALLOW(sched_yield), ALLOW(close), ALLOW(exit), ALLOW(exit_group),
	FAIL(EPERM),
};

static const struct sock_fprog programs[] = {
	[SANDBOX_SERVE] = { sizeof serve / sizeof *serve, (struct sock_filter *)(uintptr_t)serve },
	[SANDBOX_SIGN] = { sizeof sign / sizeof *sign, (struct sock_filter *)(uintptr_t)sign },
};

static int
filter_calls(enum sandbox s)
{
	return s == SANDBOX_SIGN && SANITIZED ? 0 : prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &programs[s]);
}
#else
static int
filter_calls(enum sandbox s)
{
	errno = ENOSYS; /* nobody has told us this machine's calls */
	return -1;
}
#endif

/* Those that a service manager or a file's attributes gave us to bind a low port. Root without them would not reach its own files. */
static int
drop_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	return geteuid() == 0 ? 0 : (int)syscall(SYS_capset, &head, none);
}

void
sandbox_enter(enum sandbox s)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || (s == SANDBOX_SERVE && drop_capabilities() < 0)) /* which is a call that it denies */
		log_warn("this process keeps privileges: %s", strerror(errno));
	if (filter_calls(s) < 0)
		log_warn("this process runs without a filter of system calls: %s", strerror(errno));
}
