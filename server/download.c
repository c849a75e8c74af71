/* download.c - see download.h: redirects, the state file, the file, tries. */
#include "download.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/fd.h"
#include "../common/log.h"
#include "../common/settings.h"
#include "fetch_ranges.h"
#include "progress.h"

#define REDIRECTS 10
#define TRIES 3                /* of the whole: when another version was there, or what came cannot be continued */
#define TRY_PAUSE_MS 500
#define STATE_MS 1000          /* how often it is written */
#define STATE_MAX (4 << 20)    /* of its size */
#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define STATE_MAGIC "passsage download 1"
#define SPARE_CONNECTIONS 4    /* redirects, and streams that just end */
#define LOOK_MS 200            /* how soon a signal is noticed while the origin has not answered */

/* ---- redirects */

static volatile sig_atomic_t interrupted; /* by which signal */

static bool is_redirect(int status) { return status == 301 || status == 302 || status == 303 || status == 307 || status == 308; }

int get_following(struct httpc *c, struct arena *a, struct str text, const struct headers *given, struct http_response *out, struct str *final, struct xfer **x,
                  char problem[256])
{
	struct headers h;
	struct url first, url, next;
	problem[0] = 0;
	headers_init(&h, a);
	headers_copy(&h, given);
	int r = url_parse(a, text, &url);
	first = url;
	for (int hops = 0; r == 0; hops++) {
		const struct httpc_request q = { .method = STR("GET"), .url = url.text, .headers = &h, .body_length = -1, .connect_timeout_ms = conf()->connect_ms,
		                                 .read_timeout_ms = conf()->read_ms };
		if ((r = httpc_begin(c, &q, x)) < 0)
			break;
		do {
			headers_init(&out->headers, a);
			r = httpc_head(*x, a, out, clock_mono() + LOOK_MS);
			if (r == -ERR_TIMEOUT && interrupted) {
				snprintf(problem, 256, "interrupted");
				r = -ERR_CLIENT_GONE;
			}
		} while (r == -ERR_TIMEOUT || (r == 0 && out->status < 200)); /* bounded by the time-outs of the request */
		if (r < 0 && problem[0] == 0)
			snprintf(problem, 256, "%s", httpc_problem(*x));
		struct str to = headers_get(&out->headers, STR("Location"));
		if (r < 0 || !is_redirect(out->status) || to.n == 0)
			break;
		httpc_end(x);
		if (hops == REDIRECTS || url_resolve(a, &url, str_cut(&to, '#'), &next) < 0 || (str_eq(url.scheme, STR("https")) && str_eq(next.scheme, STR("http")))) {
			snprintf(problem, 256, hops == REDIRECTS ? "it is redirected more than %d times" : "it is redirected to where no redirect is followed", REDIRECTS);
			r = -ERR_ORIGIN_PROTOCOL;
			break;
		}
		url = next;
		if (!url_same_origin(&first, &url)) {
			headers_remove(&h, STR("Authorization"));
			headers_remove(&h, STR("Cookie"));
		}
	}
	if (r < 0) {
		httpc_end(x);
		if (problem[0] == 0)
			snprintf(problem, 256, "%s", err_text(r));
	}
	*final = url.text;
	return r;
}

/* ---- what is kept of a download */

struct download {
	const char *file;
	char *part, *state;
	int fd;
	struct str url;
	const struct headers *headers;
	struct arena arena;             /* of one try */
	struct arena kept;              /* of what the state file says, */
	struct ranges_object object;    /* … which is this, and these: */
	struct extent *have;
	unsigned have_n;
	bool resumes;
	char boot[64];
	uint64_t written;
	int64_t state_at;
	struct progress bar;
};

static void on_signal(int sig) { interrupted = sig; }

static void read_boot(char out[64])
{
	int fd = open(BOOT_ID, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? fd_pread_all(fd, out, 63, 0) : 0;
	out[n > 0 ? n : 0] = 0;
	out[strcspn(out, "\n")] = 0;
	fd_close(&fd);
}

static bool extent_parse(struct str text, uint64_t size, struct extent *e)
{
	struct str end = text, at = str_cut(&end, '-');
	return str_u64(at, size, &e->at) && str_u64(end, size, &e->end) && e->at < e->end;
}

/* What was written before the machine went down may not be on the disk, whatever this file says: it holds for one boot. */
static void state_read(struct download *d)
{
	struct str text;
	struct stat st;
	uint64_t size = 0;
	bool url = false, boot = false, good;
	if (fstat(d->fd, &st) < 0 || fd_read_file(d->state, STATE_MAX, &text) < 0)
		return;
	struct str rest = arena_dup(&d->kept, text);
	free((char *)(uintptr_t)text.p);
	good = str_eq(str_cut(&rest, '\n'), STR(STATE_MAGIC));
	d->have = arena_alloc(&d->kept, (rest.n / 9 + 1) * sizeof *d->have); /* "have 0-1\n" is the shortest */
	while (good && rest.n > 0) {
		struct str value = str_cut(&rest, '\n');
		struct str name = str_cut(&value, ' ');
		if (str_eq(name, STR("url")))
			url = str_eq(value, d->url);
		else if (str_eq(name, STR("boot")))
			boot = d->boot[0] && str_eq(value, str_c(d->boot));
		else if (str_eq(name, STR("etag")))
			d->object.etag = d->object.pin = value;
		else if (str_eq(name, STR("modified"))) {
			d->object.modified = value;
			if (d->object.pin.n == 0)
				d->object.pin = value;
		} else if (str_eq(name, STR("size")))
			good = str_u64(value, INT64_MAX, &size);
		else if (str_eq(name, STR("have"))) {
			good = extent_parse(value, size < (uint64_t)st.st_size ? size : (uint64_t)st.st_size, &d->have[d->have_n]);
			d->have_n += good;
		}
	}
	d->object.size = (int64_t)size;
	d->object.ranges = d->object.proven = true;
	d->resumes = good && url && boot && d->object.pin.n > 0 && d->have_n > 0;
	if (!d->resumes)
		d->have_n = 0;
}

static char *beside(const char *file, const char *suffix)
{
	size_t n = strlen(file) + strlen(suffix) + 1;
	char *p = xmalloc(n);
	snprintf(p, n, "%s%s", file, suffix);
	return p;
}

static void state_write(struct download *d, const struct parts *parts)
{
	unsigned n;
	const struct extent *have = parts_there(parts, &n);
	char *new = beside(d->state, ".new");
	FILE *f = fopen(new, "we");
	bool good = f != NULL;
	if (f != NULL) {
		fprintf(f, STATE_MAGIC "\nurl %.*s\nboot %s\nsize %lld\n", STRP(d->url), d->boot, (long long)d->object.size);
		if (d->object.etag.n > 0)
			fprintf(f, "etag %.*s\n", STRP(d->object.etag));
		if (d->object.modified.n > 0)
			fprintf(f, "modified %.*s\n", STRP(d->object.modified));
		for (unsigned i = 0; i < n; i++)
			fprintf(f, "have %llu-%llu\n", (unsigned long long)have[i].at, (unsigned long long)have[i].end);
		good = !ferror(f);
		good &= fclose(f) == 0;
	}
	if (!good || rename(new, d->state) < 0)
		unlink(new); /* then it begins anew the next time: no harm */
	free(new);
}

static void forget(struct download *d)
{
	unlink(d->state);
	d->resumes = false;
	d->have_n = 0;
	d->written = 0;
	if (ftruncate(d->fd, 0) < 0)
		log_warn("%s: %s", d->part, strerror(errno));
}

/* ---- the sink */

static int sink_write(void *arg, uint64_t at, const void *p, size_t n)
{
	struct download *d = arg;
	d->written += n;
	return fd_pwrite_all(d->fd, p, n, (off_t)at);
}

static bool sink_tick(void *arg, const struct parts *parts, int64_t now)
{
	struct download *d = arg;
	char tail[64] = "";
	if (parts != NULL && d->object.ranges && (now - d->state_at >= STATE_MS || interrupted)) {
		state_write(d, parts);
		d->state_at = now;
	}
	if (d->bar.on && parts != NULL) {
		snprintf(tail, sizeof tail, "by %u", parts_live(parts));
		progress_show(&d->bar, d->file, parts_bytes(parts), (uint64_t)d->object.size, parts_bytes(parts), tail, now);
	} else if (d->bar.on) {
		progress_show(&d->bar, d->file, d->written, UINT64_MAX, d->written, tail, now);
	}
	return !interrupted;
}

/* ---- one try */

static int complain(struct download *d, int status, const char *problem)
{
	progress_clear(&d->bar);
	fprintf(stderr, "passsage: %.*s: %s\n", STRP(d->url), problem);
	return status;
}

static uint64_t resume_at(const struct download *d)
{
	uint64_t at = 0;
	for (unsigned i = 0; i < d->have_n && d->have[i].at <= at; i++)
		at = d->have[i].end;
	return at < (uint64_t)d->object.size ? at : (uint64_t)d->object.size - 1; /* all there: the last byte once more, so that the version is known */
}

static void ask_headers(struct download *d, struct headers *h, uint64_t at)
{
	headers_init(h, &d->arena);
	headers_copy(h, d->headers);
	if (d->resumes) {
		headers_set(h, STR("Range"), arena_printf(&d->arena, "bytes=%llu-", (unsigned long long)at));
		headers_set(h, STR("If-Range"), d->object.pin);
	}
}

/* A new object: room is made at once, so that a full disk is known now and not at the end. */
static int begin_anew(struct download *d, const struct http_response *resp)
{
	struct http_response *copy = arena_zalloc(&d->kept, sizeof *copy);
	forget(d);
	*copy = *resp;
	headers_init(&copy->headers, &d->kept);
	headers_copy(&copy->headers, &resp->headers); /* the object's views live as long as the download */
	ranges_object(copy, clock_wall() / 1000, &d->object);
	if (d->object.size > 0 && fallocate(d->fd, FALLOC_FL_KEEP_SIZE, 0, d->object.size) < 0 && (errno == ENOSPC || errno == EFBIG || errno == EDQUOT))
		return -ERR_FULL;
	return 0;
}

enum { AGAIN = -1 };

/* The exit status, or AGAIN. */
static int once(struct download *d, struct httpc *c, bool last)
{
	char problem[256], text[64];
	struct http_response resp;
	struct headers h;
	struct str final;
	struct xfer *x = NULL;
	uint64_t at = d->resumes ? resume_at(d) : 0, end = 0;
	ask_headers(d, &h, at);
	int r = get_following(c, &d->arena, d->url, &h, &resp, &final, &x, problem);
	if (r == -ERR_CLIENT_GONE)
		return complain(d, 128 + interrupted, problem);
	if (r < 0)
		return err_again(r) && !last ? AGAIN : complain(d, err_again(r) ? EX_UNAVAILABLE : 1, problem);
	if (d->resumes && (resp.status == 206 || resp.status == 416) &&
		!(ranges_check(&resp, &d->object, (struct extent){ at, (uint64_t)d->object.size }, &end) && end == (uint64_t)d->object.size)) {
		httpc_end(&x);
		forget(d);
		return last ? complain(d, EX_UNAVAILABLE, "the origin does not let it be resumed") : AGAIN;
	}
	if (resp.status != 200 && !(d->resumes && resp.status == 206)) {
		httpc_end(&x);
		snprintf(text, sizeof text, "the origin answered %d %s", resp.status, http_reason(resp.status));
		return complain(d, 1, text);
	}
	if (resp.status == 200 && (r = begin_anew(d, &resp)) < 0) {
		httpc_end(&x);
		forget(d);
		return complain(d, EX_CANTCREAT, err_text(r));
	}
	if (resp.status == 200)
		at = 0;
	headers_init(&h, &d->arena);
	headers_copy(&h, d->headers);
	const struct ranges_sink sink = { .write = sink_write, .tick = sink_tick, .arg = d };
	const struct httpc_request get = { .method = STR("GET"), .url = final, .headers = &h, .body_length = -1, .connect_timeout_ms = conf()->connect_ms,
	                                   .read_timeout_ms = conf()->read_ms };
	const struct ranges_ask ask = { .httpc = c, .request = &get, .streams = (unsigned)conf()->http_concurrency, .parallel_min = conf()->parallel_min, .spread = true, .rest = REST_ALWAYS,
	                                .object = &d->object, .have = d->have, .have_n = d->have_n, .first = &x, .brings = { at, (uint64_t)d->object.size }, .whole = true };
	r = fetch_ranges(&ask, &sink, problem);
	if (r == 0)
		return 0;
	if (r == -ERR_CLIENT_GONE)
		return complain(d, 128 + interrupted, d->object.ranges ? "interrupted; the same command goes on from here" : "interrupted");
	if (r == -ERR_FULL || r == -ERR_SYSTEM)
		return complain(d, EX_IOERR, problem);
	bool could_resume = d->object.pin.n > 0 && d->object.size >= 0; /* then fetch_ranges has tried, again and again */
	bool anew = r == -ERR_GONE || (err_again(r) && !could_resume);
	return last || !anew ? complain(d, EX_UNAVAILABLE, problem) : AGAIN;
}

static void pause_a_moment(int try)
{
	const struct timespec nap = { TRY_PAUSE_MS * try / 1000, TRY_PAUSE_MS * try % 1000 * 1000000 };
	nanosleep(&nap, NULL);
}

/* What the next try, or the next command, can go on with is known from the state file alone. */
static void state_again(struct download *d)
{
	d->have_n = 0;
	d->object = (struct ranges_object){ 0 };
	d->resumes = false;
	state_read(d);
}

static void place(struct download *d)
{
	struct stat st;
	if (stat(d->file, &st) == 0 && !S_ISREG(st.st_mode))
		die(EX_CANTCREAT, "%s: is no regular file", d->file);
	d->fd = open(d->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
	if (d->fd < 0)
		die(EX_CANTCREAT, "%s: %s", d->part, strerror(errno));
	if (flock(d->fd, LOCK_EX | LOCK_NB) < 0)
		die(EX_TEMPFAIL, "%s: another process is downloading to it", d->part);
}

int download(struct str url, const struct headers *headers, const char *file)
{
	const struct settings *s = conf();
	struct download *d = xcalloc(1, sizeof *d);
	*d = (struct download){ .file = file, .part = beside(file, ".part"), .state = beside(file, ".part.state"), .url = url, .headers = headers };
	const struct httpc_options ho = { .ca_file = *s->upstream_ca ? s->upstream_ca : NULL, .max_connections = (long)s->http_concurrency + SPARE_CONNECTIONS,
	                                  .tls_skip_verify = s->tls_skip_verify, .http2 = s->upstream_http2 };
	const struct sigaction act = { .sa_handler = on_signal };
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
	arena_init(&d->arena);
	arena_init(&d->kept);
	read_boot(d->boot);
	place(d);
	struct httpc *c = httpc_start(&ho);
	progress_begin(&d->bar);
	int status = AGAIN;
	for (int try = 1; status == AGAIN; try++) {
		state_again(d);
		arena_reset(&d->arena);
		if (try > 1)
			pause_a_moment(try);
		status = once(d, c, try == TRIES || interrupted);
	}
	progress_clear(&d->bar);
	httpc_stop(&c);
	struct stat st;
	if (status == 0 && (fstat(d->fd, &st) < 0 || (d->object.size >= 0 && st.st_size != d->object.size)))
		status = complain(d, EX_IOERR, "the file has not the length that it should have");
	if (status == 0 && rename(d->part, d->file) < 0)
		status = complain(d, EX_CANTCREAT, strerror(errno));
	if (status == 0 || !d->object.ranges)
		unlink(d->state);
	if (status != 0 && access(d->state, F_OK) < 0)
		unlink(d->part); /* nothing can go on from it */
	if (status == 0 && d->bar.on) {
		char text[16];
		size_text((uint64_t)st.st_size, text);
		fprintf(stderr, "%s: %s\n", file, text);
	}
	fd_close(&d->fd);
	arena_fini(&d->arena);
	arena_fini(&d->kept);
	free(d->part);
	free(d->state);
	free(d);
	return status;
}
