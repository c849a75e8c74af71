/* master.c - see master.h. Prepares (all that can be wrong is said here, before the port is bound where possible), forks, supervises. */
#include "master.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>
#include "../common/access.h"
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/fd.h"
#include "../common/log.h"
#include "../common/sandbox.h"
#include "../es/metadata.h"
#include "gate.h"
#include "htpasswd.h"
#include "heritage.h"
#include "listen.h"
#include "policyfile.h"
#include "worker.h"
#include "tls.h"

#define RESTART_FIRST_MS 100    /* a child that died is started again after this; each further death doubles it … */
#define RESTART_MOST_MS 10000   /* … up to this */
#define RESTART_CALM_MS 60000   /* a child that lived this long starts at the first pause again */
#define LOCK_TRIES 5
#define LOCK_NAP_MS 10
#define KILL_MS 3000            /* after SIGQUIT: what does not go is killed */
#define UPLOADER_MS 1000        /* the uploader gets what the workers left of drain-seconds, and this at least: what is not sent by then stays */
#define ALIVE_MS 10000          /* run/alive is touched this often: a start after a power cut knows from when on files may be hollow */
#define HOLLOW_MS 60000         /* … and how long the kernel may have kept what was written (vm.dirty_expire and reserve) */

enum proc_kind {
#define PROC(kind, title, main, many, identity, text) PROC_##kind,
#include "tbl/procs.h"
	PROC_KINDS
};
enum { ONE, WORKERS, FLEET };
enum { UNPRIVILEGED, KEEPS_CA };
static const struct proc_row { const char *title; proc_main_f *main; int many, identity; } rows[] = {
#define PROC(kind, title, main, many, identity, text) { title, main, many, identity },
#include "tbl/procs.h"
};

/* A place for one child; its number is its row of the counters and the scoreboard. */
struct child { enum proc_kind kind; unsigned index; pid_t pid; int64_t started, again_at, pause; bool told; /* to end, and to be started again */ };

struct heritage heritage = { .health_fd = -1, .ca_fd = -1, .ca_cert_fd = -1 };
_Atomic int stopping, reload_wanted, dump_wanted;
static volatile sig_atomic_t wake_fd = -1;
static struct child children[SCORE_PROCS];
static unsigned children_n;
static int lifeline_master = -1;

void signal_wakes(int fd) { wake_fd = fd; }

bool master_gone(void)
{
	char c;
	return heritage.lifeline >= 0 && read(heritage.lifeline, &c, 1) == 0;
}

/* ---- preparing */

static const char *below(const char *name)
{
	static char path[4][4200];
	static unsigned turn;
	char *p = path[turn++ % 4];
	snprintf(p, sizeof path[0], "%s/%s", conf()->state_dir, name);
	return p;
}

/* Bodies and documents are what clients were given: nobody else's. Scripts look into run/. */
static void make_folders(const struct passwd *become)
{
	static const struct { const char *name; mode_t bits; } all[] = { { "", 0755 }, { "store", 0750 }, { "meta", 0750 }, { "run", 0755 } };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		const char *p = below(all[i].name);
		struct stat st;
		if (path_mkdirs(p, all[i].bits) < 0)
			die(EX_CANTCREAT, "%s: %s (setting state_dir)", p, strerror(errno));
		if (all[i].bits == 0750 && stat(p, &st) == 0 && (st.st_mode & 07) != 0 && chmod(p, st.st_mode & 07770) < 0) /* an older version's */
			log_warn("%s can be read by everybody, and that cannot be changed: %s", p, strerror(errno));
		if (become != NULL && chown(p, become->pw_uid, become->pw_gid) < 0)
			die(EX_NOPERM, "chown %s: %s", p, strerror(errno));
	}
	if (path_mkdirs(below("ca"), 0700) < 0)
		die(EX_CANTCREAT, "%s: %s", below("ca"), strerror(errno));
}

/* Two masters on one state directory would clear each other's debris. Who can open the file can hold its lock, and we would never start. */
static void lock_state(const struct passwd *become)
{
	const char *p = below("run/lock");
	int fd = open(p, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		die(EX_CANTCREAT, "%s: %s", p, strerror(errno));
	if (fchmod(fd, 0600) < 0 || (become != NULL && fchown(fd, become->pw_uid, become->pw_gid) < 0))
		log_warn("%s: its mode and owner cannot be set: %s", p, strerror(errno));
	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) { /* a command looks, for a moment, whether somebody has it (cmd.c) */
		if (i == LOCK_TRIES)
			die(EX_TEMPFAIL, "%s is in use by another passsage (choose another --state-dir)", conf()->state_dir);
		nanosleep(&(struct timespec){ 0, LOCK_NAP_MS * 1000000 }, NULL);
	}
	/* stays open, in the children too: those that a killed master left behind still write to the store */
}

static void raise_files(void)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
	rlim_t wanted = (rlim_t)conf()->connections_max + (rlim_t)conf()->upstream_max + 1024;
	if (r.rlim_cur < wanted)
		log_warn("open files are limited to %llu: less than max-connections and the rest need (%llu); raise the limit (ulimit -n)",
		         (unsigned long long)r.rlim_cur, (unsigned long long)wanted);
}

/* What functions that have returned left on the stack: the parsing of settings had the text there. */
static void __attribute__((noinline)) wipe_stack(void)
{
	char below_us[128 * 1024];
	OPENSSL_cleanse(below_us, sizeof below_us);
}

static void prepare_ca(void)
{
	char problem[256] = "";
	const struct settings *s = conf();
	static char dir[4200], path[sizeof dir + 64];
	snprintf(dir, sizeof dir, "%s/ca", s->state_dir);
	const struct ca_options o = { .dir = dir, .bundle = s->mitm_ca, .cert = s->mitm_ca_cert };
	if (ca_prepare(&o, problem) < 0 || ca_public(&o, &heritage.ca_pem, &heritage.ca_der, &heritage.ca_p12, problem) < 0)
		die(EX_CONFIG, "the CA: %s", problem);
	bool inline_pem = str_has(str_c(s->mitm_ca), STR("-----BEGIN"));
	const char *bundle = path;
	if (*s->mitm_ca && !inline_pem)
		bundle = s->mitm_ca;
	else
		snprintf(path, sizeof path, "%s/%s", dir, inline_pem ? CA_GIVEN_FILE : "mitmproxy-ca.pem");
	if (inline_pem) { /* it has become a file: nobody needs it in memory any more */
		settings_ca_moved(bundle);
		wipe_stack();
	}
	heritage.ca_fd = open(bundle, O_RDONLY | O_CLOEXEC);
	if (heritage.ca_fd < 0)
		die(EX_NOINPUT, "%s: %s", bundle, strerror(errno));
	const char *cert = s->mitm_ca_cert;
	if (*cert && !str_has(str_c(cert), STR("-----BEGIN")) && (heritage.ca_cert_fd = open(cert, O_RDONLY | O_CLOEXEC)) < 0)
		die(EX_NOINPUT, "%s: %s", cert, strerror(errno));
}

static void prepare_names(void)
{
	if (gethostname(heritage.hostname, sizeof heritage.hostname - 1) < 0 || !*heritage.hostname)
		snprintf(heritage.hostname, sizeof heritage.hostname, "localhost");
	/* Several on one host are told apart by their port (RFC 9110 7.6.3: received-by may have one); the usual one keeps the short form. */
	if (heritage.port == 8080)
		snprintf(heritage.via_name, sizeof heritage.via_name, "%s", heritage.hostname);
	else
		snprintf(heritage.via_name, sizeof heritage.via_name, "%s:%u", heritage.hostname, heritage.port);
	snprintf(heritage.via, sizeof heritage.via, "1.1 %s (passsage/%s)", heritage.via_name, PACKAGE_VERSION);
}

static void prepare_shared(void)
{
	struct shared *sh = &heritage.shared;
	sh->counters = counters_init(shm_map(counters_size()));
	sh->scoreboard = shm_map(scoreboard_size());
	sh->fills = fill_table_init(shm_map(fill_table_size((unsigned)conf()->fills_max)), (unsigned)conf()->fills_max);
	sh->certs = certstore_init(shm_map(certstore_size()));
	sh->bans = bans_init(shm_map(bans_size()));
	sh->fleet = shm_map(sizeof *sh->fleet);
	sh->state = shm_map(sizeof *sh->state);
	sh->state->started = clock_wall();
	tickets_init();
	int sv[2];
	if (certgen_channel(sv) < 0)
		die(EX_OSERR, "socketpair: %s", strerror(errno));
	heritage.certgen_answer = sv[0];
	heritage.certgen_ask = sv[1];
	int p[2];
	if (pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0)
		die(EX_OSERR, "pipe: %s", strerror(errno));
	heritage.lifeline = p[0];
	lifeline_master = p[1];
}

static void drop_root(const struct passwd *become)
{
	if (become == NULL)
		return;
	if (initgroups(become->pw_name, become->pw_gid) < 0 || setgid(become->pw_gid) < 0 || setuid(become->pw_uid) < 0)
		die(EX_OSERR, "cannot become %s: %s", become->pw_name, strerror(errno));
	if (access(below("store"), R_OK | W_OK | X_OK) < 0)
		die(EX_NOPERM, "%s cannot be reached by user %s: %s (choose another --state-dir or --user)", below("store"), become->pw_name, strerror(errno));
}

static const struct passwd *user_to_become(void)
{
	if (geteuid() != 0)
		return NULL;
	const char *name = conf()->user;
	if (strcmp(name, "root") == 0)
		return NULL;
	const struct passwd *pw = getpwnam(name);
	if (pw == NULL && strcmp(name, "passsage") != 0)
		die(EX_NOUSER, "--user %s: there is no such user", name);
	return pw != NULL ? pw : getpwnam("nobody");
}

static void run_file(const char *name, long long value)
{
	char text[32];
	char path[4300];
	snprintf(path, sizeof path, "%s/run/%s", conf()->state_dir, name);
	int n = snprintf(text, sizeof text, "%lld\n", value);
	if (fd_write_file(path, (struct str){ text, (size_t)n }, 0644) < 0)
		log_warn("%s: %s", path, strerror(errno));
}

/* Has the machine gone down since the last run? What the kernel had not yet written is then lost, and files written shortly before may be
 * hollow: chunks of that time are verified before they are trusted. A process that is killed loses nothing that way. */
static void prepare_trust(void)
{
	struct stat st;
	struct str now = STR_NONE, was = STR_NONE;
	bool same = fd_read_file("/proc/sys/kernel/random/boot_id", 64, &now) >= 0 && fd_read_file(below("run/boot"), 64, &was) >= 0 && str_eq(now, was);
	if (!same && stat(below("run/alive"), &st) == 0) {
		heritage.shared.state->unclean_since = (int64_t)st.st_mtim.tv_sec * 1000 - HOLLOW_MS;
		log_info("the machine was started anew since the last run: chunks of its last minutes are verified at first use");
	}
	if (!same && now.n > 0 && fd_write_file(below("run/boot"), now, 0644) < 0)
		log_warn("%s: %s", below("run/boot"), strerror(errno));
	free((char *)(uintptr_t)now.p);
	free((char *)(uintptr_t)was.p);
}

static int daemon_ready = -1; /* told when the daemon can be left alone */

/* The process that was started waits, so that its end and status are the start's: then run/pid is there, and requests are taken. */
static void go_daemon(void)
{
	int p[2];
	if (!conf()->daemon)
		return;
	if (pipe2(p, O_CLOEXEC) < 0)
		die(EX_OSERR, "pipe: %s", strerror(errno));
	pid_t pid = fork();
	if (pid < 0)
		die(EX_OSERR, "fork: %s", strerror(errno));
	if (pid > 0) {
		char c;
		close(p[1]);
		_exit(read(p[0], &c, 1) == 1 ? 0 : EX_SOFTWARE); /* why, it has said itself */
	}
	close(p[0]);
	daemon_ready = p[1];
	setsid();
	int null = open("/dev/null", O_RDWR);
	dup2(null, 0);
	dup2(null, 1);
	if (*conf()->log_file)
		dup2(null, 2);
	if (null > 2)
		close(null);
}

/* ---- children */

static void on_signal(int sig)
{
	int e = errno;
	if (sig == SIGTERM && stopping == 0)
		stopping = 1;
	else if (sig == SIGQUIT || sig == SIGINT)
		stopping = 2;
	else if (sig == SIGHUP)
		reload_wanted = 1;
	else if (sig == SIGUSR1)
		dump_wanted = 1;
	if (wake_fd >= 0) {
		uint64_t one = 1;
		if (write(wake_fd, &one, sizeof one) < 0)
			e = errno;
	}
	errno = e;
}

static void signals_set(void)
{
	static const int sigs[] = { SIGTERM, SIGQUIT, SIGHUP, SIGUSR1 };
	struct sigaction sa = { .sa_handler = on_signal };
	sigset_t none;
	for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++)
		sigaction(sigs[i], &sa, NULL);
	sa.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &sa, NULL);
	sigaction(SIGXFSZ, &sa, NULL); /* a file size limit is a full disk */
	sigaction(SIGINT, &sa, NULL); /* Ctrl-C goes to the whole group: the master decides */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void score_begin(unsigned place, const char *title)
{
	struct score_proc *p = &heritage.shared.scoreboard->procs[place];
	snprintf(p->title, sizeof p->title, "%s", title);
	for (unsigned i = 0; i < SCORE_THREADS; i++)
		atomic_store(&p->threads[i].step, -1);
	atomic_store(&p->resting[0].step, -1);
	atomic_store(&p->started, clock_wall());
	atomic_store(&p->pid, getpid());
}

static void child_begin(unsigned place)
{
	struct child *c = &children[place];
	char title[32];
	if (rows[c->kind].many == WORKERS)
		snprintf(title, sizeof title, "%s %u", rows[c->kind].title, c->index);
	else
		snprintf(title, sizeof title, "%s", rows[c->kind].title);
	title_set(title);
	log_title(title);
	heritage.place = place;
	counters_use(heritage.shared.counters, place);
	score_begin(place, title);
	fd_close(&lifeline_master);
	fd_close(&daemon_ready);
	if (rows[c->kind].identity != KEEPS_CA) {
		fd_close(&heritage.ca_fd);
		fd_close(&heritage.ca_cert_fd);
		fd_close(&heritage.certgen_answer);
	}
	if (c->kind != PROC_worker) {
		fd_close(&heritage.certgen_ask);
		for (unsigned i = 0; i < heritage.listen_n; i++)
			fd_close(&heritage.listen_fd[i]);
	}
	if (c->kind != PROC_admin)
		fd_close(&heritage.health_fd);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	signals_set();
	sandbox_enter(SANDBOX_SERVE);
}

static void child_start(unsigned place)
{
	struct child *c = &children[place];
	fflush(stdout);
	pid_t pid = fork();
	if (pid < 0) {
		log_error("fork: %s", strerror(errno));
		c->again_at = clock_mono() + RESTART_MOST_MS;
		return;
	}
	if (pid == 0) {
		child_begin(place);
		exit(rows[c->kind].main(c->index));
	}
	c->pid = pid;
	c->started = clock_mono();
	c->again_at = 0;
}

static unsigned workers_wanted(void)
{
	if (conf()->foreground_worker)
		return 1;
	if (conf()->workers > 0)
		return (unsigned)conf()->workers;
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : n > 64 ? 64 : (unsigned)n;
}

static void children_plan(void)
{
	for (enum proc_kind k = 0; k < PROC_KINDS; k++) {
		unsigned many = rows[k].many == WORKERS ? workers_wanted() : rows[k].many == FLEET ? fleet_configured() : 1;
		for (unsigned i = 0; i < many; i++)
			children[children_n++] = (struct child){ .kind = k, .index = i, .pause = RESTART_FIRST_MS };
	}
}

static void child_ended(pid_t pid, int status)
{
	for (unsigned i = 0; i < children_n; i++) {
		struct child *c = &children[i];
		if (c->pid != pid)
			continue;
		const char *title = heritage.shared.scoreboard->procs[i].title;
		int64_t now = clock_mono();
		if (WIFSIGNALED(status)) {
			log_error("%s (%d) ended by signal %d (%s)", title, (int)pid, WTERMSIG(status), strsignal(WTERMSIG(status)));
			if (WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGTERM)
				count(COUNT_panics);
		} else if (WEXITSTATUS(status) != 0 || (!stopping && !c->told))
			log_warn("%s (%d) ended with status %d", title, (int)pid, WEXITSTATUS(status));
		atomic_store(&heritage.shared.scoreboard->procs[i].pid, 0);
		if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS || WTERMSIG(status) == SIGABRT))
			metadata_check(below("meta"), conf()->meta_size); /* was it the database? */
		if (c->kind == PROC_worker)
			fill_bury(heritage.shared.fills, c->index);
		counters_bury(heritage.shared.counters, i);
		c->pid = 0;
		if (c->told) {
			c->told = false;
			c->again_at = now;
			return;
		}
		if (now - c->started > RESTART_CALM_MS)
			c->pause = RESTART_FIRST_MS;
		c->again_at = now + c->pause;
		c->pause = c->pause * 2 < RESTART_MOST_MS ? c->pause * 2 : RESTART_MOST_MS;
		return;
	}
}

static void reap(void)
{
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
		child_ended(pid, status);
}

static void restart_due(void)
{
	int64_t now = clock_mono();
	for (unsigned i = 0; i < children_n; i++)
		if (children[i].pid == 0 && children[i].again_at <= now && !(conf()->foreground_worker && children[i].kind == PROC_worker)) {
			count(COUNT_restarts);
			atomic_fetch_add(&heritage.shared.scoreboard->procs[i].restarts, 1);
			child_start(i);
		}
}

#define ALL (~0u)
#define ONLY(kind) (1u << PROC_##kind)

static void tell(int sig, unsigned kinds)
{
	for (unsigned i = 0; i < children_n; i++)
		if (children[i].pid > 0 && (kinds & 1u << children[i].kind))
			kill(children[i].pid, sig);
}

static bool alive(unsigned kinds)
{
	for (unsigned i = 0; i < children_n; i++)
		if (children[i].pid > 0 && (kinds & 1u << children[i].kind))
			return true;
	return false;
}

/* ---- the master's own life */

static int next_signal(const sigset_t *set, int64_t ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
	return sigtimedwait(set, NULL, &t);
}

static void wait_gone(const sigset_t *set, unsigned kinds, int64_t ms)
{
	int64_t until = clock_mono() + ms;
	while (reap(), alive(kinds)) {
		int64_t left = until - clock_mono();
		if (left <= 0 || next_signal(set, left < 100 ? left : 100) == SIGQUIT)
			break;
	}
}

static void stop_all(const sigset_t *set, bool gently)
{
	stopping = gently ? 1 : 2; /* children that end now were told to */
	atomic_store(&heritage.shared.state->draining, 1);
	for (unsigned i = 0; i < heritage.listen_n; i++)
		fd_close(&heritage.listen_fd[i]); /* refused from now on, not left waiting */
	if (gently) {
		log_info("draining for up to %.1f s", (double)conf()->drain_ms / 1000);
		tell(SIGTERM, ONLY(worker));
		int64_t until = clock_mono() + conf()->drain_ms;
		wait_gone(set, ONLY(worker), conf()->drain_ms + 1000);
		tell(SIGTERM, ONLY(uploader)); /* it has what the last responses left */
		int64_t left = until - clock_mono();
		wait_gone(set, ONLY(uploader), left > UPLOADER_MS ? left : UPLOADER_MS);
	}
	tell(SIGQUIT, ALL);
	wait_gone(set, ALL, KILL_MS);
	tell(SIGKILL, ALL);
	wait_gone(set, ALL, KILL_MS);
	unlink(below("run/pid"));
	log_info("stopped");
}

/* For the workers that start from now on. This process has no threads that could be reading the old ones. */
static void reload_rules(void)
{
	char problem[RULE_PROBLEM];
	struct ruleset *rs = rules_reread(problem);
	if (rs == NULL) {
		if (*problem)
			log_error("%s; the old rules stay in force", problem);
		return;
	}
	ruleset_free(&heritage.rules);
	heritage.rules = rs;
}

static void reload_users(void)
{
	char problem[HTPASSWD_PROBLEM];
	struct htpasswd *users = gate_users(problem);
	if (*problem != 0) {
		log_error("%s; the old users stay in force", problem);
		return;
	}
	htpasswd_free(&heritage.users);
	heritage.users = users;
}

static void reload(void)
{
	if (settings_reload() < 0)
		return; /* it said why; the old settings stay in force */
	log_open(conf()->log_file);
	reload_rules();
	reload_users();
	for (unsigned i = 0; i < children_n; i++)
		if (children[i].pid > 0 && children[i].kind == PROC_certgen && *conf()->log_file) {
			children[i].told = true;
			kill(children[i].pid, SIGTERM); /* it may open nothing any more, not even a log: its successor has the new one */
		} else if (children[i].pid > 0)
			kill(children[i].pid, SIGHUP);
	log_info("settings are read again");
}

static void dump(void)
{
	log_info("state: %u fills, %llu requests, %llu hits, %llu misses", fill_active(heritage.shared.fills),
	         (unsigned long long)counters_get(heritage.shared.counters, COUNT_requests), (unsigned long long)counters_get(heritage.shared.counters, COUNT_hits),
	         (unsigned long long)counters_get(heritage.shared.counters, COUNT_misses));
	for (unsigned i = 0; i < children_n; i++)
		log_info("state: %s pid %d, %u restarts", heritage.shared.scoreboard->procs[i].title, (int)children[i].pid,
		         (unsigned)atomic_load(&heritage.shared.scoreboard->procs[i].restarts));
	tell(SIGUSR1, ONLY(worker));
}

static void supervise(const sigset_t *set)
{
	int64_t rotate = clock_mono() + conf()->ticket_rotate_ms, touch = 0;
	for (;;) {
		switch (next_signal(set, 100)) {
		case SIGTERM:
			stop_all(set, true);
			return;
		case SIGINT:
		case SIGQUIT:
			stop_all(set, false);
			return;
		case SIGHUP:
			reload();
			break;
		case SIGUSR1:
			dump();
			break;
		default:
			break;
		}
		reap();
		restart_due();
		int64_t now = clock_mono();
		if (now >= rotate) {
			tickets_rotate();
			rotate = now + conf()->ticket_rotate_ms;
		}
		if (now >= touch) {
			run_file("alive", clock_wall());
			touch = now + ALIVE_MS;
		}
	}
}

static void say_ready(void)
{
	if (daemon_ready >= 0 && write(daemon_ready, "", 1) < 0)
		log_warn("nobody waits for the start any more: %s", strerror(errno));
	fd_close(&daemon_ready);
	if (conf()->daemon)
		return;
	log_info("passsage %s listens on port %u, %u workers, state in %s", PACKAGE_VERSION, heritage.port, workers_wanted(), conf()->state_dir);
	fleet_say();
}

static int run_single(void)
{
	unsigned place = 0;
	while (children[place].kind != PROC_worker)
		place++;
	children[place].pid = 0;
	heritage.place = place;
	counters_use(heritage.shared.counters, place);
	score_begin(place, "worker 0");
	signals_set();
	struct sigaction sa = { .sa_handler = on_signal };
	sigaction(SIGINT, &sa, NULL);
	sandbox_enter(SANDBOX_SERVE);
	return worker_main(0); /* leaves by master_left; the others see that the lifeline hangs up */
}

void master_left(void)
{
	unlink(below("run/pid"));
	log_info("stopped");
}

int master_run(void)
{
	const struct settings *s = conf();
	const struct passwd *become = user_to_become();
	log_level = s->debug ? LOG_DEBUG : LOG_INFO;
	umask(022);
	certgen_secret(true); /* it may have been given inline, and a child is made that reads it */
	char problem[RULE_PROBLEM];
	if ((heritage.rules = rules_read(problem)) == NULL)
		die(EX_USAGE, "%s", problem);
	char wrong[HTPASSWD_PROBLEM];
	if ((heritage.users = gate_users(wrong)) == NULL && *wrong != 0)
		die(EX_USAGE, "%s", wrong);
	make_folders(become);
	lock_state(become);
	prepare_ca();
	certgen_secret(false);
	raise_files();
	heritage.port = s->port;
	heritage.listen_n = listen_all(&s->bind, "--port", &heritage.port, heritage.listen_fd, LISTEN_MAX);
	unsigned health = s->health_port > 0 ? (unsigned)s->health_port : 0;
	if (s->health_port > 0) {
		const struct str_list one = { (const char **)(uintptr_t)&s->health_host, 1 };
		listen_all(&one, "--health-port", &health, &heritage.health_fd, 1);
	}
	prepare_names();
	go_daemon();
	if (*s->log_file)
		log_open(s->log_file);
	if (*s->log_file && become != NULL && fchown(log_fd(), become->pw_uid, become->pw_gid) < 0) /* it must be reopened by who we become */
		log_warn("%s cannot be given to user %s: %s", s->log_file, become->pw_name, strerror(errno));
	drop_root(become);
	log_title("master");
	prepare_shared();
	prepare_trust();
	metadata_check(below("meta"), s->meta_size);
	children_plan();
	counters_use(heritage.shared.counters, SCORE_PROCS - 1);
	title_set("master");
	run_file("alive", clock_wall()); /* at once: a run that ends in its first seconds has written, too */
	run_file("pid", getpid());
	run_file("port", heritage.port);
	run_file("health-port", health);

	sigset_t set;
	sigemptyset(&set);
	const int sigs[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGCHLD };
	for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++)
		sigaddset(&set, sigs[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	for (unsigned i = 0; i < children_n; i++)
		if (!(s->foreground_worker && children[i].kind == PROC_worker))
			child_start(i);
	say_ready();
	if (s->foreground_worker)
		return run_single();
	supervise(&set);
	return 0;
}
