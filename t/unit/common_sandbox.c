/* What a process in SANDBOX_SERVE may not, and what it must be able to go on doing. The other one is tested where it is used: certgen_service.c. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"
#include "common/sandbox.h"
#include "common/shm.h"

static const struct call { const char *name; long nr; } denied[] = {
#define DENIED(call) { #call, SYS_##call },
#include "common/tbl/denied.h"
};
#define N (sizeof denied / sizeof *denied)

static void *
thread(void *arg)
{
	return arg;
}

/* What is asked of the kernel here would succeed, or fail otherwise, without a filter: no row can pass by accident. */
static int
failed_with(long r)
{
	return r < 0 ? errno : 0;
}

static struct outcome {
	int entered, no_new_privs;
	int denied[N];
	int trace, program, process, other_clone, spaces, type_in, packets, x32;
	int thread, file, tcp, unix_socket, names, code;
} *o;

static void
try_what_is_denied(void)
{
	char *argv[] = { NULL };

	for (unsigned i = 0; i < N; i++)
		o->denied[i] = failed_with(syscall(denied[i].nr, -1, -1, -1, -1, -1, -1));
#if !SANITIZED /* there it would be granted, and our parent be told of each signal instead of our end */
	o->trace = failed_with(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
#endif
	o->program = failed_with(execv("/nowhere/to/be/found", argv));
	long pid = fork();
	if (pid == 0)
		_exit(0);
	o->process = failed_with(pid);
	o->other_clone = failed_with(syscall(SYS_clone3, NULL, 0));
	o->spaces = failed_with(syscall(SYS_clone, CLONE_THREAD | CLONE_NEWUSER, NULL, NULL, NULL, NULL));
	o->type_in = failed_with(ioctl(-1, TIOCSTI, "x"));
	o->packets = failed_with(socket(AF_PACKET, SOCK_RAW, 0));
	o->x32 = failed_with(syscall(0x40000000 | SYS_getpid));
}

static void
try_what_is_not(void)
{
	pthread_t t;
	struct addrinfo *found = NULL;

	o->thread = pthread_create(&t, NULL, thread, NULL) == 0 && pthread_join(t, NULL) == 0;
	o->file = open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0;
	o->tcp = socket(AF_INET, SOCK_STREAM, 0) >= 0 && failed_with(socket(AF_INET6, SOCK_STREAM, 0)) != EPERM;
	o->unix_socket = socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
	o->names = getaddrinfo("localhost", "80", NULL, &found) == 0; /* loads modules, asks by netlink */
	o->code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
}

static void
serve(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		sandbox_enter(SANDBOX_SERVE);
		o->entered = prctl(PR_GET_SECCOMP) == 2; /* or the machine would be asked for all of that */
		o->no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
		if (o->entered) {
			try_what_is_denied();
			try_what_is_not();
		}
		_exit(7);
	}
	waitpid(pid, &status, 0);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 7, "a process in the sandbox lives and can leave");
	is_int(o->no_new_privs, 1, "no program would give it privileges");
	if (!ok(o->entered, "it has a filter"))
		return;
	for (unsigned i = 0; i < N; i++)
		is_int(o->denied[i], EPERM, "%s is denied", denied[i].name);
#if !SANITIZED
	is_int(o->trace, EPERM, "no tracing, not even of itself");
	is_int(o->program, EPERM, "no program, be it there or not");
	is_int(o->process, EPERM, "no process");
	is_int(o->spaces, EPERM, "no thread in a namespace of its own");
#endif
	is_int(o->other_clone, ENOSYS, "clone3 is as unknown as to an older kernel");
	is_int(o->type_in, EPERM, "nothing is typed into a terminal");
	is_int(o->packets, EAFNOSUPPORT, "no raw packets");
#ifdef __x86_64__
	is_int(o->x32, EPERM, "no call under its x32 number");
#endif
	ok(o->thread, "threads");
	ok(o->file, "files");
	ok(o->tcp, "TCP");
	ok(o->unix_socket, "sockets of this machine");
	ok(o->names, "names are resolved");
	ok(o->code, "rules are compiled to code");
}

/* As a service manager starts a proxy that binds port 80 without being root. */
static void
capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3] = { { .effective = 1u << CAP_NET_BIND_SERVICE, .permitted = 1u << CAP_NET_BIND_SERVICE } };
	int status;
	pid_t pid;

	if (geteuid() != 0) {
		note("only root can give a capability away");
		return;
	}
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_KEEPCAPS, 1);
		if (setuid(65534) < 0 || syscall(SYS_capset, &head, caps) < 0)
			_exit(9);
		sandbox_enter(SANDBOX_SERVE);
		syscall(SYS_capget, &head, caps);
		_exit(caps[0].effective == 0 && caps[0].permitted == 0 ? 7 : 8);
	}
	waitpid(pid, &status, 0);
	is_int(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 7, "capabilities of who is not root are gone");
}

int
main(void)
{
	o = shm_map(sizeof *o);
	serve();
	capabilities();
	munmap(o, sizeof *o);
	return done_testing();
}
