/* confine.c - limits of the process that holds the CA's key. */
#include "certgen.h"
#include "confine.h"
#include "../common/sandbox.h"
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

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
confine(int sock, int log)
{
	struct stat st;
	certgen_secret(true);
	limit(RLIMIT_CORE, 0);
	close_all_but(sock, log);
	if (!SANITIZED) {
		limit(RLIMIT_NOFILE, 0);
		limit(RLIMIT_NPROC, 0);
		if (fstat(log, &st) == 0 && !S_ISREG(st.st_mode))
			limit(RLIMIT_FSIZE, 0); /* with a log file it must be able to grow */
	}
	sandbox_enter(SANDBOX_SIGN);
}
