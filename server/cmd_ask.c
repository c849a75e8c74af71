/* cmd_ask.c - see cmd.h: a command's question, and both ways to an answer: the instance's socket, or the state directory. */
#include "cmd.h"
#include "fleet.h"
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>
#include "../common/fd.h"
#include "../common/log.h"
#include "../common/settings.h"
#include "../s3/chunks.h"
#include "policyfile.h"
#include "worker.h"

#define SOCKET_TRIES 30          /* an instance that just starts, or whose admin process is started again, listens soon … */
#define SOCKET_NAP_MS 100        /* … so this is three seconds */
#define QUEUE_MAX 1024           /* documents that wait to be dropped */
#define CHUNK_FDS 16

/* ---- questions */

static bool unreserved(char c) { return (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || (c >= '0' && c <= '9') || (c != 0 && strchr("-._~/:", c) != NULL); }

void question_begin(struct cmd_question *q, const char *path)
{
	arena_init(&q->arena);
	q->target = arena_dup(&q->arena, str_c(path));
}

void question_add(struct cmd_question *q, const char *name, const char *value)
{
	size_t n = strlen(value);
	char *p = arena_alloc(&q->arena, 3 * n + 1), *w = p;
	for (size_t i = 0; i < n; i++)
		if (unreserved(value[i]))
			*w++ = value[i];
		else
			w += snprintf(w, 4, "%%%02X", (unsigned char)value[i]);
	*w = 0;
	q->target = arena_printf(&q->arena, "%.*s%c%s=%s", STRP(q->target), str_has(q->target, STR("?")) ? '&' : '?', name, p);
}

/* ---- the instance's socket. A path for it may be 107 bytes long, and state directories may be longer: by its folder's descriptor. */

static int socket_address(struct sockaddr_un *sa, int *dir)
{
	char path[4200];
	snprintf(path, sizeof path, "%s/run", conf()->state_dir);
	*dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(sa->sun_path, sizeof sa->sun_path, "/proc/self/fd/%d/admin", *dir);
	return *dir < 0 ? -1 : 0;
}

int cmd_socket_listen(void)
{
	struct sockaddr_un sa;
	int dir, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (socket_address(&sa, &dir) == 0) {
		unlinkat(dir, "admin", 0); /* an earlier one's: the lock on run/lock says that it is gone */
		mode_t mask = umask(0177);
		int r = bind(fd, (struct sockaddr *)&sa, sizeof sa);
		umask(mask);
		if (r == 0 && listen(fd, 64) == 0) {
			close(dir);
			return fd;
		}
	}
	int e = errno;
	fd_close(&dir);
	close(fd);
	errno = e;
	return -1;
}

/* Master and children hold run/lock as long as one of them lives. Others than its user may not look: then it is one until it is found to be silent. */
bool cmd_instance(void)
{
	char path[4200];
	snprintf(path, sizeof path, "%s/run/lock", conf()->state_dir);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool held = fd < 0 ? errno == EACCES : flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	fd_close(&fd);
	return held;
}

static size_t collect(char *p, size_t size, size_t n, void *arg)
{
	page_add(arg, (struct str){ p, size * n });
	return size * n;
}

/* > 0 the status; 0 nobody listens there; -1 with errno. */
static int ask_instance(struct cmd_question *q, const char *method, struct str *body)
{
	struct sockaddr_un sa;
	struct page_text t = { .arena = &q->arena };
	long status = 0, os = 0;
	int dir;
	if (socket_address(&sa, &dir) < 0)
		return errno == ENOENT ? 0 : -1;
	CURL *h = curl_easy_init();
	if (h == NULL)
		die(EX_SOFTWARE, "libcurl cannot be set up");
	curl_easy_setopt(h, CURLOPT_URL, arena_printf(&q->arena, "http://passsage%.*s", STRP(q->target)).p);
	curl_easy_setopt(h, CURLOPT_UNIX_SOCKET_PATH, sa.sun_path);
	curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(h, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, collect);
	curl_easy_setopt(h, CURLOPT_WRITEDATA, &t);
	CURLcode e = curl_easy_perform(h); /* as long as it takes: a purge looks at every document */
	curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(h, CURLINFO_OS_ERRNO, &os);
	curl_easy_cleanup(h);
	close(dir);
	*body = (struct str){ t.p, t.n };
	if (e == CURLE_OK)
		return (int)status;
	if (e == CURLE_COULDNT_CONNECT && (os == ENOENT || os == ECONNREFUSED || os == 0))
		return 0;
	errno = (int)os;
	return -1;
}

/* ---- without an instance */

/* What root wrote here the instance could not change. */
static void become_owner(const char *dir)
{
	struct stat st;
	if (geteuid() != 0 || stat(dir, &st) < 0 || st.st_uid == 0)
		return;
	if (setgroups(0, NULL) < 0 || setegid(st.st_gid) < 0 || seteuid(st.st_uid) < 0)
		die(EX_OSERR, "cannot become the owner of %s: %s", dir, strerror(errno));
}

void cmd_state_close(struct cmd_place *p)
{
	metadata_close(&p->metadata);
	chunks_close(&p->chunks);
	if (getuid() == 0 && (seteuid(0) < 0 || setegid(0) < 0))
		die(EX_OSERR, "cannot become root again: %s", strerror(errno));
}

void cmd_place_open(struct cmd_place *p, bool writes)
{
	const struct settings *s = conf();
	char path[4300];
	snprintf(path, sizeof path, "%s/meta", s->state_dir);
	const struct metadata_options mo = { .dir = xstrdup(path), .map_size = s->meta_size, .commit_ms = s->commit_ms, .queue_max = QUEUE_MAX, .recorder = writes,
	                                     .outbox = fleet_configured() };
	snprintf(path, sizeof path, "%s/store", s->state_dir);
	const struct chunks_options co = { .dir = xstrdup(path), .fds = CHUNK_FDS, .verify_after_ms = 1 };
	if (metadata_open(&p->metadata, &mo) < 0 || chunks_open(&p->chunks, &co) < 0) {
		log_error("%s: the name is too long", path);
		p->metadata = NULL;
	}
}

void cmd_state(struct cmd_place *p, bool writes)
{
	char path[4300];
	snprintf(path, sizeof path, "%s/meta/data.mdb", conf()->state_dir);
	if (access(path, F_OK) < 0 && errno != EACCES)
		return;
	snprintf(path, sizeof path, "%s/meta", conf()->state_dir);
	become_owner(path);
	if (eaccess(path, W_OK | X_OK) < 0) /* readers, too, write to LMDB's table of readers */
		die(EX_NOPERM, "%s: %s (run this as its owner, or as root)", path, strerror(errno));
	cmd_place_open(p, writes);
	const char *trouble = p->metadata != NULL ? metadata_health(p->metadata) : NULL;
	if (trouble != NULL)
		die(EX_IOERR, "%s: %s", path, trouble);
}

static int answer_here(struct cmd_question *q, const char *method, struct str *body)
{
	char problem[RULE_PROBLEM];
	struct cmd_place place = { .rules = rules_read(problem) };
	struct http_request req = { .method = http_method(str_c(method)), .method_name = str_c(method), .minor = 1 };
	struct page page;
	if (place.rules == NULL)
		die(EX_USAGE, "%s", problem);
	headers_init(&req.headers, &q->arena);
	struct str query = q->target, path = str_cut(&query, '?');
	req.url = (struct url){ .path = path, .query = query };
	cmd_state(&place, cmd_page(path) == CMD_CHANGES);
	if (place.metadata == NULL && cmd_page(path) == CMD_CHANGES)
		die(EX_NOINPUT, "%s has no stored objects of passsage (setting state_dir: another --state-dir?)", conf()->state_dir);
	if (!cmd_answer(&place, &req, &q->arena, &page))
		die(EX_SOFTWARE, "%.*s: nobody can answer this", STRP(path));
	cmd_state_close(&place);
	*body = page.body;
	return page.status;
}

int question_ask(struct cmd_question *q, const char *method, struct str *body)
{
	const struct timespec nap = { 0, SOCKET_NAP_MS * 1000000 };
	for (int i = 0; i < SOCKET_TRIES; i++) {
		int status = ask_instance(q, method, body);
		if (status > 0)
			return status;
		if (status < 0 && (errno == EACCES || errno == EPERM))
			die(EX_NOPERM, "%s/run/admin: %s (run this as the user that passsage runs as, or as root)", conf()->state_dir, strerror(errno));
		if (status < 0)
			die(EX_UNAVAILABLE, "%s/run/admin: passsage broke off before it had answered: %s", conf()->state_dir, strerror(errno));
		if (!cmd_instance())
			return answer_here(q, method, body);
		nanosleep(&nap, NULL);
	}
	die(EX_UNAVAILABLE, "%s: a passsage runs there, but does not answer at run/admin", conf()->state_dir);
}

int question_print(struct cmd_question *q, const char *method)
{
	struct str body;
	int status = question_ask(q, method, &body);
	bool well = status == 200 || status == 404;
	if (!well)
		fputs("passsage: ", stderr);
	fwrite(body.p, 1, body.n, well ? stdout : stderr);
	arena_fini(&q->arena);
	return status == 200 ? 0 : status == 404 ? 1 : status == 400 ? EX_USAGE : EX_UNAVAILABLE;
}
