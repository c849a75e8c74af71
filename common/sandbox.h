/* sandbox.h - what a process may ask of the kernel from here on, for good: no new privileges, no capabilities unless it is root's, and a
 * filter of system calls (seccomp(2)). The one place that says so for every process; which of them enters what is server/tbl/procs.h's.
 *
 * SANDBOX_SERVE lists what is denied (tbl/denied.h), because libraries whose next version nobody has seen (libcurl, the resolver's modules,
 * OpenSSL, LMDB) run in these processes, and a list of what is allowed would break them one day. It also keeps to the families of sockets
 * that a proxy has, to threads in place of processes, and from typing into the operator's terminal.
 * SANDBOX_SIGN lists what is allowed, which is little: certgen computes, and talks through descriptors that it has.
 *
 * What is not allowed fails with EPERM and does not kill: a library that tries something new is told no and goes on, and its clients with it.
 * Calls of another architecture's table (int 0x80) kill. Debuggers and valgrind work from outside as before. */
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* their runtimes open /proc, trace, and start programs: less is denied, and SANDBOX_SIGN has no filter of its own */
#else
#define SANITIZED 0
#endif

enum sandbox { SANDBOX_SERVE, SANDBOX_SIGN };
/* Before the process has threads; both may be entered, one after the other. What the kernel cannot do is logged and lived without: an old
 * kernel must not be the end of service. */
void sandbox_enter(enum sandbox);
