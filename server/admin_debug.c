/* admin_debug.c - the pages below /debug/: what is going on, in plain text for people with a shell. */
#include <arpa/inet.h>
#include <stdarg.h>
#include <unistd.h>
#include "../common/arena.h"
#include "../common/clock.h"
#include "admin.h"
#include "heritage.h"
#include "request.h"

#define SOCKETS_MAX 1000000   /* of the machine's TCP table: more are not even counted */

void admin_add(struct page_text *t, const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	page_addz(t, line);
}

/* ---- processes and threads, from the scoreboard */

typedef void proc_f(struct page_text *, const char *title, pid_t pid, const struct score_proc *);

static void each_process(struct page_text *t, proc_f *fn)
{
	fn(t, "master", getppid(), NULL);
	for (unsigned i = 0; i < SCORE_PROCS; i++) {
		const struct score_proc *p = &heritage.shared.scoreboard->procs[i];
		pid_t pid = atomic_load(&p->pid);
		if (pid != 0)
			fn(t, p->title, pid, p);
	}
}

static unsigned threads_busy(const struct score_proc *p)
{
	unsigned n = 0;
	for (unsigned i = 0; i < SCORE_THREADS; i++)
		n += atomic_load(&p->threads[i].step) >= 0;
	return n;
}

static void process_line(struct page_text *t, const char *title, pid_t pid, const struct score_proc *p)
{
	int64_t since = p != NULL ? atomic_load(&p->started) : heritage.shared.state->started;
	admin_add(t, "%-12s %8d %10.1f %9u %6u\n", title, (int)pid, (double)(clock_wall() - since) / 1000,
	          p != NULL ? (unsigned)atomic_load(&p->restarts) : 0, p != NULL ? threads_busy(p) : 0);
}

static void processes(struct page_text *t)
{
	admin_add(t, "%-12s %8s %10s %9s %6s\n", "process", "pid", "up [s]", "restarts", "busy");
	each_process(t, process_line);
}

static bool score_line(struct page_text *t, const char *kind, unsigned i, const struct score_thread *s)
{
	int step = atomic_load(&s->step);
	if (step >= 0)
		admin_add(t, "  %s %-3u %-8s %10lld ms  %.119s\n", kind, i, step_name((enum req_step)step), (long long)(clock_wall() - atomic_load(&s->since)), s->what);
	return step >= 0;
}

static void thread_lines(struct page_text *t, const char *title, pid_t pid, const struct score_proc *p)
{
	if (p == NULL)
		return;
	admin_add(t, "%s [%d]\n", title, (int)pid);
	for (unsigned i = 0; i < SCORE_THREADS; i++)
		score_line(t, "thread", i, &p->threads[i]);
	for (unsigned i = 0; i < SCORE_RESTING && score_line(t, "resting", i, &p->resting[i]); i++)
		;
}

static void threads(struct page_text *t)
{
	admin_add(t, "handler threads %llu, at work %llu; those at work (the first %d of a process), their step, how long the request takes; and those that rest until their origin answers, as of a second ago:\n",
	          (unsigned long long)counters_get(heritage.shared.counters, COUNT_threads),
	          (unsigned long long)counters_get(heritage.shared.counters, COUNT_threads_busy), SCORE_THREADS);
	each_process(t, thread_lines);
}

/* ---- memory, from /proc */

/* "Name:   123 kB" of a file below /proc/<pid>; -1: not to be had (another user's, or gone) */
static long proc_kb(pid_t pid, const char *file, const char *name)
{
	char path[64], line[256];
	long kb = -1;
	size_t n = strlen(name);
	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return -1;
	while (kb < 0 && fgets(line, sizeof line, f) != NULL)
		if (strncmp(line, name, n) == 0 && line[n] == ':')
			kb = strtol(line + n + 1, NULL, 10);
	fclose(f);
	return kb;
}

static void memory_line(struct page_text *t, const char *title, pid_t pid, const struct score_proc *p)
{
	static const struct { const char *file, *name; } columns[] = { { "status", "VmHWM" }, { "status", "VmRSS" }, { "status", "RssAnon" },
	                                                               { "status", "VmData" }, { "smaps_rollup", "Pss" } };
	admin_add(t, "%-12s %8d", title, (int)pid);
	for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
		long kb = proc_kb(pid, columns[i].file, columns[i].name);
		if (kb < 0)
			admin_add(t, " %10s", "-");
		else
			admin_add(t, " %10ld", kb);
	}
	page_addz(t, "\n");
}

static void memory(struct page_text *t)
{
	admin_add(t, "%-12s %8s %10s %10s %10s %10s %10s  (kB)\n", "process", "pid", "peak", "VmRSS", "RssAnon", "VmData", "Pss");
	each_process(t, memory_line);
}

/* ---- the TCP table of this network namespace */

static const char *const states[] = { "?", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE",
                                      "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV" };
enum { STATES = sizeof states / sizeof *states };

/* "0100007F:1F90": words of the address as this machine stores them */
static void endpoint(const char *hex, unsigned port, char *out, size_t n)
{
	uint32_t w[4] = { 0 };
	char text[INET6_ADDRSTRLEN] = "?";
	bool v6 = strlen(hex) == 32;
	for (unsigned i = 0; i < (v6 ? 4 : 1); i++) {
		char word[9];
		snprintf(word, sizeof word, "%.8s", hex + 8 * i);
		w[i] = (uint32_t)strtoul(word, NULL, 16);
	}
	inet_ntop(v6 ? AF_INET6 : AF_INET, w, text, sizeof text);
	snprintf(out, n, v6 ? "[%s]:%u" : "%s:%u", text, port);
}

static void tcp_table(const char *path, unsigned counts[STATES], struct page_text *t)
{
	char line[512];
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return;
	for (unsigned seen = 0; fgets(line, sizeof line, f) != NULL && seen < SOCKETS_MAX; seen++) {
		char local[33], remote[33], a[64], b[64];
		unsigned lport, rport, state;
		if (sscanf(line, " %*u: %32[0-9A-F]:%x %32[0-9A-F]:%x %x", local, &lport, remote, &rport, &state) != 5)
			continue; /* the heading */
		state = state < STATES ? state : 0;
		counts[state]++;
		if (t->n > ADMIN_TEXT_MAX)
			continue;
		endpoint(local, lport, a, sizeof a);
		endpoint(remote, rport, b, sizeof b);
		admin_add(t, "%s -> %s %s\n", a, b, states[state]);
	}
	fclose(f);
}

static void connections(struct page_text *t)
{
	struct page_text lines = { .arena = t->arena };
	unsigned counts[STATES] = { 0 };
	tcp_table("/proc/net/tcp", counts, &lines);
	tcp_table("/proc/net/tcp6", counts, &lines);
	for (unsigned i = 0; i < STATES; i++)
		if (counts[i] > 0)
			admin_add(t, "%-12s %u\n", states[i], counts[i]);
	page_addz(t, "\n");
	page_add(t, (struct str){ lines.p, lines.n });
	if (lines.n > ADMIN_TEXT_MAX)
		page_addz(t, "… and more\n");
}

/* ---- origins that cannot be reached */

static void ban_line(void *arg, const struct ban *b)
{
	char state[64] = "";
	if (b->times > 0 && b->left_ms > 0)
		snprintf(state, sizeof state, "%.1f s left of %.3g", (double)b->left_ms / 1000, (double)b->length_ms / 1000);
	else
		snprintf(state, sizeof state, b->times > 0 ? "over since %.1f s" : "not yet", (double)-b->left_ms / 1000);
	admin_add(arg, "%-40s %-22s %6u %9u %-6s %s\n", b->origin, state, b->times, b->failures, b->probed ? "probed" : "-", b->problem);
}

static void bans(struct page_text *t)
{
	admin_add(t, "%-40s %-22s %6s %9s %-6s %s\n", "origin", "banned", "bans", "failures", "probe", "the last failure");
	bans_each(heritage.shared.bans, clock_mono(), ban_line, t);
}

/* ---- the rest */

static void counters(struct page_text *t) { metrics_json(t, heritage.shared.counters); }

static void settings(struct page_text *t)
{
	char *p = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&p, &n);
	if (f == NULL)
		return;
	settings_dump(f);
	fclose(f);
	page_add(t, (struct str){ p, n });
	free(p);
}

static const struct { const char *name, *type; void (*make)(struct page_text *); const char *text; } pages[] = {
	{ "processes",   "text/plain; charset=utf-8", processes,   "every process, how long it has been up, how often it was started again" },
	{ "threads",     "text/plain; charset=utf-8", threads,     "what every handler thread is doing" },
	{ "connections", "text/plain; charset=utf-8", connections, "the TCP table: counts per state, then the connections" },
	{ "memory",      "text/plain; charset=utf-8", memory,      "memory of every process" },
	{ "bans",        "text/plain; charset=utf-8", bans,        "origins that failed, and those that are banned for it" },
	{ "counters",    "application/json",          counters,    "the counters as JSON" },
	{ "settings",    "text/plain; charset=utf-8", settings,    "every setting, and where it came from" },
};

bool admin_debug(struct str name, struct arena *a, struct page *out)
{
	struct page_text t = { .arena = a };
	const char *type = NULL;
	for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
		if (name.n == 0) {
			admin_add(&t, "/debug/%-12s %s\n", pages[i].name, pages[i].text);
			type = "text/plain; charset=utf-8";
		} else if (str_eq(name, str_c(pages[i].name))) {
			pages[i].make(&t);
			type = pages[i].type;
		}
	}
	if (name.n == 0) /* cmd.h */
		admin_add(&t, "/debug/%-12s %s\n", "explain?url=", "as `passsage explain`: &header=NAME:+VALUE, &method=, &client=, &json=1");
	if (type == NULL)
		return false;
	page_finish(out, 200, str_c(type), &t);
	return true;
}
