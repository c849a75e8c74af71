/* System calls that no process of a proxy makes once its ports are bound and it has become its user: they are what somebody who has
 * taken one over would go on with. DENIED(call); they fail with EPERM (sandbox.h says why). Not every machine has all of them.
 * Left out on purpose: executable memory (PCRE2 compiles rules to code, the resolver loads modules) and clone, which sandbox.c looks into. */

/* other programs; a tracer and sanitizers' runtimes need these (the symbolizer is started, leaks are looked for by a tracing process) */
#if !SANITIZED
DENIED(execve)
DENIED(execveat)
DENIED(ptrace)
DENIED(process_vm_readv)
DENIED(process_vm_writev)
DENIED(personality)
#ifdef SYS_fork
DENIED(fork)
DENIED(vfork)
#endif
#endif

/* what other processes have open or in memory */
DENIED(pidfd_getfd)
DENIED(process_madvise)
DENIED(kcmp)
DENIED(open_by_handle_at)

/* somebody else's identity */
DENIED(setuid)
DENIED(setgid)
DENIED(setreuid)
DENIED(setregid)
DENIED(setresuid)
DENIED(setresgid)
DENIED(setfsuid)
DENIED(setfsgid)
DENIED(setgroups)
DENIED(capset)

/* another view of the machine */
DENIED(unshare)
DENIED(setns)
DENIED(chroot)
DENIED(pivot_root)
DENIED(mount)
DENIED(umount2)
DENIED(move_mount)
DENIED(open_tree)
DENIED(fsopen)
DENIED(fsconfig)
DENIED(fsmount)
DENIED(fspick)
DENIED(mount_setattr)
DENIED(mknodat)
#ifdef SYS_mknod
DENIED(mknod)
#endif

/* the machine itself */
DENIED(init_module)
DENIED(finit_module)
DENIED(delete_module)
DENIED(kexec_load)
#ifdef SYS_kexec_file_load
DENIED(kexec_file_load)
#endif
DENIED(reboot)
DENIED(swapon)
DENIED(swapoff)
DENIED(acct)
DENIED(quotactl)
DENIED(quotactl_fd)
DENIED(syslog)
DENIED(sethostname)
DENIED(setdomainname)
DENIED(settimeofday)
DENIED(clock_settime)
DENIED(clock_adjtime)
DENIED(adjtimex)
DENIED(vhangup)
#ifdef SYS_iopl
DENIED(iopl)
DENIED(ioperm)
DENIED(modify_ldt)
#endif

/* parts of the kernel that have been its way in, and that nothing here needs */
DENIED(bpf)
DENIED(perf_event_open)
DENIED(userfaultfd)
DENIED(io_uring_setup)
DENIED(io_uring_enter)
DENIED(io_uring_register)
DENIED(add_key)
DENIED(request_key)
DENIED(keyctl)
DENIED(lookup_dcookie)
DENIED(vmsplice)
#undef DENIED
