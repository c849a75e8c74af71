/* access.c - the access record as a JSON line, and the sink that takes it. */
#include "access.h"
#include "counters.h"
#include "fd.h"
#include "log.h"
#include "settings.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

void
access_init(struct access_record *r)
{
	memset(r, 0, sizeof *r);
#define SET_time(f) r->f = ACCESS_NULL;
#define SET_i64(f) r->f = ACCESS_NULL;
#define SET_bool(f) r->f = -1;
#define SET_str(f)
#define SET_headers(f)
#define ACCESS(name, type) SET_##type(name)
#include "tbl/access.h"
}

/* JSON strings. Almost all are plain ASCII, so eight bytes are looked at at a time. */

#define EACH(b) (0x0101010101010101ULL * (b))

/* No control, nothing outside ASCII, no '"', no '\\' among eight bytes. Never says so wrongly; a borrow may make it say no too often. */
static inline bool
all_plain(uint64_t w)
{
	uint64_t quote = w ^ EACH('"'), backslash = w ^ EACH('\\');
	return ((w | (w - EACH(0x20)) | ((quote - EACH(1)) & ~quote) | ((backslash - EACH(1)) & ~backslash)) & EACH(0x80)) == 0;
}

/* How many bytes from p are plain. */
static size_t
plain_run(const char *p, size_t n)
{
	size_t i = 0;
	for (uint64_t w; i + 8 <= n; i += 8) {
		memcpy(&w, p + i, 8);
		if (!all_plain(w))
			break;
	}
	for (; i < n; i++) {
		unsigned char c = (unsigned char)p[i];
		if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\')
			break;
	}
	return i;
}

#define ESCAPED_MAX(n) ((n) * 6) /* \u001f for each byte */

static char *
escape(char *out, struct str s)
{
	static const char hex[] = "0123456789abcdef";
	size_t i = 0;
	for (;;) {
		size_t run = plain_run(s.p + i, s.n - i);
		memcpy(out, s.p + i, run);
		out += run;
		i += run;
		if (i == s.n)
			return out;
		unsigned char c = (unsigned char)s.p[i];
		if (c >= 0x80) {
			size_t len = utf8_sequence(s.p + i, s.n - i);
			memcpy(out, len ? s.p + i : "\xef\xbf\xbd", len ? len : 3);
			out += len ? len : 3;
			i += len ? len : 1;
			continue;
		}
		*out++ = '\\';
		i++;
		switch (c) {
		case '"': case '\\': *out++ = (char)c; break;
		case '\n': *out++ = 'n'; break;
		case '\r': *out++ = 'r'; break;
		case '\t': *out++ = 't'; break;
		default:
			memcpy(out, "u00", 3);
			out[3] = hex[c >> 4];
			out[4] = hex[c & 15];
			out += 5;
		}
	}
}

/* Each type: the most bytes that its value takes, and the value. */

#define NULL_MAX 4

static size_t
max_str(struct str s)
{
	return (s.n ? plain_run(s.p, s.n) == s.n ? s.n : ESCAPED_MAX(s.n) : 0) + 2 + NULL_MAX;
}

static char *
put_null(char *out)
{
	memcpy(out, "null", 4);
	return out + 4;
}

static char *
put_str(char *out, struct str s)
{
	if (!s.p)
		return put_null(out);
	*out++ = '"';
	if (s.n)
		out = escape(out, s);
	*out++ = '"';
	return out;
}

static char *
put_digits(char *out, uint64_t n, int width)
{
	char buf[20];
	int i = sizeof buf;
	do {
		buf[--i] = (char)('0' + n % 10);
		n /= 10;
		width--;
	} while (n || width > 0);
	memcpy(out, buf + i, sizeof buf - (size_t)i);
	return out + sizeof buf - i;
}

static size_t
max_i64(int64_t n)
{
	return 21;
}

static char *
put_i64(char *out, int64_t n)
{
	if (n == ACCESS_NULL)
		return put_null(out);
	if (n < 0)
		*out++ = '-';
	return put_digits(out, n < 0 ? -(uint64_t)n : (uint64_t)n, 1);
}

static size_t
max_bool(int b)
{
	return 5;
}

static char *
put_bool(char *out, int b)
{
	if (b < 0)
		return put_null(out);
	memcpy(out, b ? "true" : "false", b ? 4 : 5);
	return out + (b ? 4 : 5);
}

static size_t
max_time(int64_t ms)
{
	return sizeof "\"2026-01-31T12:00:00.123Z\"";
}

/* ISO 8601 in UTC. Not by gmtime_r, which takes a lock that all threads share. */
static char *
put_time(char *out, int64_t ms)
{
	if (ms < 0 || ms >= 253402300800000) /* the year 10000 */
		return put_null(out);
	uint64_t s = (uint64_t)ms / 1000, days = s / 86400;
	s %= 86400;
	/* Years that begin in March, in eras of 400: the leap day is a year's last. */
	days += 719468;
	uint64_t era = days / 146097, day = days % 146097;
	uint64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	day -= 365 * year + year / 4 - year / 100;
	uint64_t month = (5 * day + 2) / 153;
	day -= (153 * month + 2) / 5;
	month += month < 10 ? 3 : (uint64_t)-9;
	year += era * 400 + (month <= 2);
	*out++ = '"';
	out = put_digits(out, year, 4);
	*out++ = '-';
	out = put_digits(out, month, 2);
	*out++ = '-';
	out = put_digits(out, day + 1, 2);
	*out++ = 'T';
	out = put_digits(out, s / 3600, 2);
	*out++ = ':';
	out = put_digits(out, s / 60 % 60, 2);
	*out++ = ':';
	out = put_digits(out, s % 60, 2);
	*out++ = '.';
	out = put_digits(out, (uint64_t)ms % 1000, 3);
	*out++ = 'Z';
	*out++ = '"';
	return out;
}

/* An object of the fields in names; several lines of one field are joined (RFC 9110 5.3). */
static size_t
max_headers(const struct headers *h, const struct str_list *names)
{
	size_t n = 2 + NULL_MAX;
	if (!h)
		return n;
	for (unsigned i = 0; i < names->n; i++)
		n += ESCAPED_MAX(strlen(names->v[i])) + sizeof "\"\":\"\",";
	for (unsigned i = 0; i < h->n; i++)
		n += max_str(h->v[i].value) + 2;
	return n;
}

static bool
listed_before(const struct str_list *names, unsigned i)
{
	for (unsigned k = 0; k < i; k++)
		if (strcmp(names->v[k], names->v[i]) == 0)
			return true;
	return false;
}

static char *
put_headers(char *out, const struct headers *h, const struct str_list *names)
{
	if (!h)
		return put_null(out);
	char *start = out;
	*out++ = '{';
	for (unsigned i = 0; i < names->n; i++) {
		struct str name = str_c(names->v[i]);
		bool found = false;
		for (unsigned k = 0; k < h->n; k++) {
			if (h->v[k].name.n != name.n || !str_caseeq(h->v[k].name, name))
				continue;
			if (found) {
				memcpy(out, ", ", 2);
				out += 2;
			} else {
				if (listed_before(names, i))
					break; /* what max_headers() counted once is written once */
				if (out - start > 1)
					*out++ = ',';
				out = put_str(out, name);
				memcpy(out, ":\"", 2);
				out += 2;
				found = true;
			}
			if (h->v[k].value.n)
				out = escape(out, h->v[k].value);
		}
		if (found)
			*out++ = '"';
	}
	*out++ = '}';
	return out;
}

struct str
access_json(const struct access_record *r, const struct str_list *names, struct arena *a)
{
	static const struct str_list none;
	if (!names)
		names = &none;
#define MAX_str(f) max_str(r->f)
#define MAX_i64(f) max_i64(r->f)
#define MAX_bool(f) max_bool(r->f)
#define MAX_time(f) max_time(r->f)
#define MAX_headers(f) max_headers(r->f, names)
#define ACCESS(name, type) + sizeof ",\"" #name "\":" + MAX_##type(name)
	size_t most = 4
#include "tbl/access.h"
		;
	char *line = arena_alloc(a, most), *out = line;
#define PUT_str(f) put_str(out, r->f)
#define PUT_i64(f) put_i64(out, r->f)
#define PUT_bool(f) put_bool(out, r->f)
#define PUT_time(f) put_time(out, r->f)
#define PUT_headers(f) put_headers(out, r->f, names)
#define ACCESS(name, type) \
	memcpy(out, ",\"" #name "\":", sizeof ",\"" #name "\":" - 1); \
	out += sizeof ",\"" #name "\":" - 1; \
	out = PUT_##type(name);
#include "tbl/access.h"
	line[0] = '{';
	memcpy(out, "}\n", 2);
	return (struct str){ line, (size_t)(out + 2 - line) };
}

/* The sink. Once open, its descriptor keeps its number for good: what it stands for is replaced under it (dup3), so a thread that is
 * about to write never meets a closed or a foreign one, and no lock is needed. */

static _Atomic int sink = -1;
static _Atomic bool enabled, patient; /* patient: not a regular file, it may be full for a while */
static _Atomic bool torn;             /* the last line was cut short */
#define PATIENCE_MS 1000              /* for a reader at the other end of a pipe; then the record is dropped */

static int
open_sink(const char *path)
{
	if (strcmp(path, "-"))
		return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);
	/* An open file of our own where that is possible, so that O_NONBLOCK does not spread to whoever shares our standard output. */
	struct stat st;
	if (fstat(STDOUT_FILENO, &st) == 0 && S_ISFIFO(st.st_mode)) {
		int fd = open("/proc/self/fd/1", O_WRONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd >= 0)
			return fd;
	}
	return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
}

void
access_open(const char *path)
{
	struct stat st;
	if (!*path) {
		enabled = false; /* the old file stays open: a thread may be writing */
		return;
	}
	int fd = open_sink(path);
	if (fd < 0) {
		log_error("access log %s: %s; %s", path, strerror(errno), sink >= 0 ? "the former one is written on" : "records are dropped");
		enabled = true; /* so that what is lost is counted */
		return;
	}
	patient = fstat(fd, &st) < 0 || !S_ISREG(st.st_mode);
	int old = sink;
	if (old < 0)
		sink = fd;
	else {
		dup3(fd, old, O_CLOEXEC);
		close(fd);
	}
	torn = false;
	enabled = true;
}

bool
access_enabled(void)
{
	return enabled;
}

void
access_write(struct str line)
{
	int fd = sink;
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };
	bool wait = patient;
	size_t done = 0;
	if (fd < 0 || !enabled) {
		count(COUNT_records_dropped);
		return;
	}
	if (wait && poll(&pfd, 1, 0) != 1) { /* do not begin a line that would block */
		count(COUNT_records_dropped);
		return;
	}
	if (torn && atomic_exchange(&torn, false))
		while (write(fd, "\n", 1) < 0 && errno == EINTR)
			;
	while (done < line.n) {
		ssize_t n = write(fd, line.p + done, line.n - done);
		if (n > 0)
			done += (size_t)n;
		else if (n < 0 && errno == EINTR)
			continue;
		else if (!(n < 0 && errno == EAGAIN && wait && done) || poll(&pfd, 1, PATIENCE_MS) != 1)
			break; /* longer lines than a pipe takes at once are worth a wait once begun */
	}
	if (done == line.n)
		return;
	if (done)
		torn = true;
	count(COUNT_records_dropped);
}
