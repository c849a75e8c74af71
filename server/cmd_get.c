/* cmd_get.c - passsage get: which document answers a request is asked like everything else; its bytes are then read from the state directory,
 * whether an instance runs or not. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/fd.h"
#include "../common/log.h"
#include "../common/settings.h"
#include "../s3/object.h"
#include "../s3/refill.h"
#include "cmd.h"
#include "fleet.h"

#define PIECE (1024 * 1024)

static char *part; /* where -o writes until all is there and well; NULL: straight to its place */

static void remove_part(void)
{
	if (part != NULL && (getuid() != 0 || seteuid(0) == 0)) /* whose it is: see cmd_state */
		unlink(part);
}

/* A file appears under its name when it is whole, or not at all: what it replaces stays until then. Where a rename would replace something
 * else than a file (/dev/null, a pipe, a link) its bytes go there as they come. */
static int open_file(const char *file)
{
	struct stat st;
	if (file == NULL || strcmp(file, "-") == 0)
		return 1;
	if (lstat(file, &st) == 0 && !S_ISREG(st.st_mode))
		return open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	size_t n = strlen(file) + sizeof ".part.XXXXXX";
	part = xmalloc(n);
	snprintf(part, n, "%s.part.XXXXXX", file); /* a name of its own: FILE.part may be one that passsage fetch goes on with */
	int fd = mkostemp(part, O_CLOEXEC);
	if (fd < 0) {
		free(part);
		part = NULL;
		return -1;
	}
	atexit(remove_part); /* die() comes by there, too */
	mode_t mask = umask(0);
	umask(mask);
	fchmod(fd, 0666 & ~mask);
	return fd;
}

static void close_file(int fd, const char *file)
{
	if (fd == 1)
		return;
	if (close(fd) < 0 || (part != NULL && rename(part, file) < 0))
		die(EX_IOERR, "%s: %s", file, strerror(errno));
	free(part);
	part = NULL;
}

static void put(int fd, const char *name, const void *p, size_t n)
{
	if (fd_write_all(fd, p, n) < 0)
		die(EX_IOERR, "%s: %s", name, strerror(errno));
}

static void put_head(int fd, const char *name, const struct meta *m, struct arena *a)
{
	struct page_text t = { .arena = a };
	struct str reason = m->reason.n > 0 ? m->reason : str_c(http_reason((int)m->status));
	page_add(&t, arena_printf(a, "HTTP/1.%d %d %.*s\r\n", m->minor == 0 ? 0 : 1, (int)m->status, STRP(reason)));
	for (unsigned i = 0; i < m->headers.n; i++)
		page_add(&t, arena_printf(a, "%.*s: %.*s\r\n", STRP(m->headers.v[i].name), STRP(m->headers.v[i].value)));
	page_addz(&t, "\r\n");
	put(fd, name, t.p, t.n);
}

static _Noreturn void broken(const struct meta *m, const char *where, const char *why)
{
	die(EX_DATAERR, "%.*s: %s: %s", STRP(m->url), where, why);
}

/* -ERR_NOT_FOUND: not all of it is here, and nothing was written. */
static int put_here(int fd, const char *name, const struct cmd_place *place, const struct meta *m)
{
	struct object *o;
	const void *p;
	int64_t n;
	int e = object_open(&o, place->chunks, NULL, m->manifest);
	if (e < 0)
		return e;
	for (uint64_t at = 0; (n = object_read(o, at, PIECE, &p, NEVER)) != 0; at += (uint64_t)n) {
		if (n < 0)
			broken(m, "its body breaks off", err_text((int)n));
		put(fd, name, p, (size_t)n);
	}
	object_close(&o);
	return 0;
}

static void put_chunk_here(int fd, const char *name, struct chunk *c, uint64_t length, const struct meta *m)
{
	static char buffer[PIECE];
	const void *p;
	for (uint64_t at = 0; at < length;) {
		ssize_t n = chunk_read(c, at, buffer, sizeof buffer, &p);
		if (n <= 0)
			broken(m, "its body breaks off", err_text(n < 0 ? (int)n : -ERR_CORRUPT));
		put(fd, name, p, (size_t)n);
		at += (uint64_t)n;
	}
}

static void put_chunk_of_s3(int fd, const char *name, struct bucket *b, const struct chunk_id *id, uint64_t length, const struct meta *m, struct arena *a)
{
	char problem[BUCKET_PROBLEM] = "";
	uint8_t sum[SHA256_RAW];
	struct bucket_read *r;
	struct sha256 *hash = sha256_new();
	const void *p;
	uint64_t size;
	int64_t n;
	int e = bucket_get(b, chunk_key(a, conf()->data_prefix, (unsigned)conf()->prefix_depth, id), 0, 0, &r, &size, problem);
	if (e < 0)
		broken(m, "S3 gives not all of its body", *problem ? problem : err_text(e));
	if (size != length)
		broken(m, "S3 has other bytes than were stored", err_text(-ERR_CORRUPT));
	while ((n = bucket_read(r, &p, NEVER)) > 0) {
		sha256_update(hash, p, (size_t)n);
		put(fd, name, p, (size_t)n);
	}
	if (n < 0)
		broken(m, "S3 gives not all of its body", err_text((int)n));
	bucket_read_end(&r);
	sha256_final(hash, sum);
	sha256_free(&hash);
	if (id->n == SHA256_RAW && memcmp(sum, id->b, SHA256_RAW) != 0)
		broken(m, "S3 has other bytes than were stored", err_text(-ERR_CORRUPT));
}

/* In a fleet what is not here is in S3. */
static void put_body(int fd, const char *name, const struct cmd_place *place, const struct meta *m, struct arena *a)
{
	struct fleet fleet;
	struct manifest mf;
	int e = put_here(fd, name, place, m);
	if (e == 0)
		return;
	if ((e != -ERR_NOT_FOUND && e != -ERR_CORRUPT) || !fleet_configured() || manifest_parse(m->manifest, &mf) < 0)
		broken(m, "its body cannot be read", err_text(e));
	fleet_open(&fleet, 1);
	for (uint32_t i = 0; i < mf.n; i++) {
		const struct chunk_id id = manifest_id(&mf, i);
		const uint64_t length = manifest_chunk_length(&mf, i);
		struct chunk *c;
		if (chunk_open(place->chunks, &id, length, &c) < 0) {
			put_chunk_of_s3(fd, name, fleet.bucket, &id, length, m, a);
			continue;
		}
		put_chunk_here(fd, name, c, length, m);
		chunk_close(&c);
	}
	fleet_close(&fleet);
}

int cmd_get(int argc, char **argv)
{
	enum { HEAD, BOTH, FILE_NAME, FIELD };
	static const struct cmd_option options[] = { [HEAD] = { 0, "head", false }, [BOTH] = { 'i', NULL, false }, [FILE_NAME] = { 'o', NULL, true }, [FIELD] = { 'H', "header", true } };
	struct cmd_words w = { argc, argv, 0, NULL, false };
	struct cmd_question q;
	const char *file = NULL;
	bool head = false, body = true;
	unsigned urls = 0;
	question_begin(&q, "/debug/stored");
	for (int o; (o = cmd_next(&w, options, 4)) != WORDS_END;) {
		head |= o == HEAD || o == BOTH;
		body &= o != HEAD;
		if (o == FILE_NAME)
			file = w.value;
		else if (o == FIELD)
			question_add(&q, "header", w.value);
		else if (o == WORDS_WORD && ++urls == 1)
			question_add(&q, "url", w.value);
	}
	if (urls != 1)
		cmd_refuse(argv[0], urls == 0 ? "get what? A URL is missing" : "one URL at a time");

	struct cmd_place place = { 0 };
	struct meta m;
	struct str said;
	bool found;
	int status = question_ask(&q, "GET", &said);
	if (status != 200) {
		fprintf(stderr, "passsage: %.*s", STRP(said));
		return status == 404 ? 1 : status == 400 ? EX_USAGE : EX_UNAVAILABLE;
	}
	int fd = open_file(file);
	const char *name = file != NULL ? file : "standard output";
	if (fd < 0)
		die(EX_CANTCREAT, "%s: %s", name, strerror(errno));
	const struct str id = str_upto(said, said.n - 1); /* a line */
	cmd_state(&place, false);
	if (metadata_get(place.metadata, &id, 1, &q.arena, &m, &found) != 1)
		die(EX_TEMPFAIL, "%.*s: it went away just now", STRP(id));
	if (head)
		put_head(fd, name, &m, &q.arena);
	if (body)
		put_body(fd, name, &place, &m, &q.arena);
	cmd_state_close(&place);
	close_file(fd, name);
	return 0;
}
