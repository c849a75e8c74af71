/* Sending objects: in one request, or in parts (multipart upload) when large. Every request says the SHA-256 of what it carries, which S3
 * verifies before it acknowledges. */
#include <errno.h>
#include <unistd.h>
#include "../common/httpdate.h"
#include "bucket_impl.h"

#define ASK_FIRST (256u << 10)   /* smaller ones are sent with If-None-Match: a HEAD would cost as much as they do */
#define PARTS_MAX 10000          /* S3's bound */
#define PART_TRIES 4             /* of one part: all the others would have to be sent again */
#define PART_PAUSE_MS 200        /* before the second try; doubled */
#define COMPLETE_MS (5 * 60000)  /* S3 may take minutes to put parts together, and sends blanks meanwhile */
#define UPLOAD_ID 1024

enum there { ABSENT, OTHER, OLD, FRESH };

/* What the bucket has of that name. Negative: it cannot be asked. */
static int
look(struct bucket *b, struct str key, uint64_t size, char *problem)
{
	uint64_t has;
	int64_t mtime;
	int r = bucket_stat(b, key, &has, &mtime, problem);

	if (r == -ERR_NOT_FOUND)
		return ABSENT;
	if (r < 0)
		return r;
	if (has != size)
		return OTHER;
	return bucket_now(b) - mtime > BUCKET_FRESH_MS ? OLD : FRESH;
}

/* Makes what is there young (BUCKET_FRESH_MS) without sending its bytes: it is copied onto itself. -ERR_S3_REFUSED: this S3 does not do that, or
 * leaves it as old as it was. */
static int
refresh(struct bucket *b, struct str key, char *problem)
{
	struct call c = { .b = b, .method = STR("PUT"), .key = key, .problem = problem, .read_ms = COMPLETE_MS };
	struct arena a;
	struct str body;
	char date[64];

	arena_init(&a);
	c.fields[0] = (struct field){ STR("x-amz-copy-source"), arena_printf(&a, "/%s/%.*s", b->bucket, STRP(sigv4_encode(&a, key, true))) };
	c.fields[1] = (struct field){ STR("x-amz-metadata-directive"), STR("REPLACE") };
	int r = call_run(&c);
	if (r == 0)
		r = call_body(&c, &body);
	if (r == 0 && s3xml_error(body, &c.error)) /* S3 may find out after it has said 200 */
		r = call_fail(&c, -ERR_S3_FAILED, "%s: %s", c.error.code, c.error.message);
	else if (r == 0 && (!s3xml_value(body, STR("CopyObjectResult"), STR("LastModified"), date, sizeof date) ||
		bucket_now(b) - iso8601_parse(str_c(date)) > BUCKET_FRESH_MS))
		r = -ERR_S3_REFUSED;
	call_end(&c);
	arena_fini(&a);
	return r;
}

static int
put_whole(struct bucket *b, struct str key, int fd, uint64_t size, const char *sum, bool if_absent, char *problem)
{
	struct call c = { .b = b, .method = STR("PUT"), .key = key, .problem = problem, .fd = fd, .body_length = (int64_t)size };

	snprintf(c.sum, sizeof c.sum, "%s", sum);
	if (if_absent)
		c.fields[0] = (struct field){ STR("If-None-Match"), STR("*") };
	int r = call_run(&c);
	if (r == 0)
		call_drain(&c);
	else if (if_absent && (strcmp(c.error.code, "NotImplemented") == 0 || c.resp.status == 501))
		atomic_store(&b->no_conditions, true);
	call_end(&c);
	return r;
}

/* ---- in parts */

struct upload_call {
	struct bucket *b;
	struct str key;
	char id[UPLOAD_ID];
	struct arena arena;
	struct str done; /* <Part>… for each that S3 has */
};

static int
parts_begin(struct upload_call *u, char *problem)
{
	struct call c = { .b = u->b, .method = STR("POST"), .key = u->key, .query = STR("uploads="), .problem = problem };
	struct str body;
	int r = call_run(&c);

	if (r == 0 && (r = call_body(&c, &body)) == 0 && (!s3xml_value(body, STR("InitiateMultipartUploadResult"), STR("UploadId"), u->id, sizeof u->id) || !u->id[0]))
		r = call_fail(&c, -ERR_S3_FAILED, "no name of an upload");
	call_end(&c);
	return r;
}

static int
part_once(struct upload_call *u, unsigned number, int fd, uint64_t off, uint64_t n, const char *sum, struct str *etag, char *problem)
{
	struct call c = { .b = u->b, .method = STR("PUT"), .key = u->key, .problem = problem, .fd = fd, .off = off, .body_length = (int64_t)n };

	snprintf(c.sum, sizeof c.sum, "%s", sum);
	c.query = arena_printf(&u->arena, "partNumber=%u&uploadId=%s", number, sigv4_encode(&u->arena, str_c(u->id), false).p);
	int r = call_run(&c);
	if (r == 0) {
		*etag = arena_dup(&u->arena, call_etag(&c));
		/* it goes into XML */
		if (etag->n == 0 || etag->n > 128 || memchr(etag->p, '<', etag->n) || memchr(etag->p, '&', etag->n))
			r = call_fail(&c, -ERR_S3_FAILED, "a part without an ETag");
		call_drain(&c);
	}
	call_end(&c);
	return r;
}

static int
part_send(struct upload_call *u, unsigned number, int fd, uint64_t off, uint64_t n, struct str *etag, char *problem)
{
	char sum[SHA256_HEX + 1];
	int r = bucket_sum(fd, off, n, sum);

	if (r < 0)
		return r;
	for (unsigned try = 0;; try++) {
		r = part_once(u, number, fd, off, n, sum, etag, problem);
		if ((r != -ERR_S3_FAILED && r != -ERR_S3_SLOW_DOWN) || try + 1 == PART_TRIES)
			return r;
		int64_t pause = (int64_t)PART_PAUSE_MS << try;
		pause += (int64_t)(hash64(&(int64_t){ clock_mono() + number }, sizeof(int64_t)) % (uint64_t)pause); /* not all at the same time */
		struct timespec t = { pause / 1000, pause % 1000 * 1000000 };
		nanosleep(&t, NULL);
	}
}

static int
parts_complete(struct upload_call *u, uint64_t size, const struct str *etags, unsigned n, char *problem)
{
	struct call c = { .b = u->b, .method = STR("POST"), .key = u->key, .problem = problem, .once = true, .read_ms = COMPLETE_MS };
	size_t room = 64, at;
	char value[8];
	struct str body;

	for (unsigned i = 0; i < n; i++)
		room += etags[i].n + 80;
	char *xml = arena_alloc(&u->arena, room);
	at = (size_t)snprintf(xml, room, "<CompleteMultipartUpload>");
	for (unsigned i = 0; i < n; i++)
		at += (size_t)snprintf(xml + at, room - at, "<Part><PartNumber>%u</PartNumber><ETag>%.*s</ETag></Part>", i + 1, STRP(etags[i]));
	at += (size_t)snprintf(xml + at, room - at, "</CompleteMultipartUpload>");
	uint8_t raw[SHA256_RAW];
	sha256_raw(xml, at, raw);
	hex_encode(raw, sizeof raw, c.sum);
	c.mem = xml;
	c.body_length = (int64_t)at;
	c.query = arena_printf(&u->arena, "uploadId=%s", sigv4_encode(&u->arena, str_c(u->id), false).p);
	int r = call_run(&c);
	if (r == 0 && (r = call_body(&c, &body)) == 0) {
		if (s3xml_error(body, &c.error)) /* found out after the 200 was sent */
			r = call_fail(&c, strcmp(c.error.code, "SlowDown") == 0 ? -ERR_S3_SLOW_DOWN : -ERR_S3_FAILED, "%s: %s", c.error.code, c.error.message);
		else if (!s3xml_value(body, STR(""), STR("CompleteMultipartUploadResult"), value, sizeof value))
			r = call_fail(&c, -ERR_S3_FAILED, "an answer that is no CompleteMultipartUploadResult");
	}
	call_end(&c);
	if (r == -ERR_S3_FAILED) { /* the answer may have been lost, and only that */
		uint64_t has;
		if (bucket_head(u->b, u->key, &has, NULL) == 0 && has == size)
			r = 0;
	}
	return r;
}

static void
parts_abort(struct upload_call *u)
{
	struct call c = { .b = u->b, .method = STR("DELETE"), .key = u->key };

	c.query = arena_printf(&u->arena, "uploadId=%s", sigv4_encode(&u->arena, str_c(u->id), false).p);
	if (call_run(&c) == 0)
		call_drain(&c);
	call_end(&c);
}

static int
put_parts(struct bucket *b, struct str key, int fd, uint64_t size, char *problem)
{
	struct upload_call u = { .b = b, .key = key };
	uint64_t part = b->part_size;
	unsigned n;
	int r;

	if (size / part >= PARTS_MAX)
		part = size / (PARTS_MAX - 1) + 1;
	n = (unsigned)((size + part - 1) / part);
	if ((r = parts_begin(&u, problem)) < 0)
		return r;
	arena_init(&u.arena);
	struct str *etags = arena_alloc(&u.arena, n * sizeof *etags);
	for (unsigned i = 0; i < n && r == 0; i++) {
		uint64_t off = i * part;
		r = part_send(&u, i + 1, fd, off, size - off < part ? size - off : part, &etags[i], problem);
	}
	if (r == 0)
		r = parts_complete(&u, size, etags, n, problem);
	if (r < 0)
		parts_abort(&u);
	arena_fini(&u.arena);
	return r;
}

/* ---- */

int
bucket_renew(struct bucket *b, struct str key, uint64_t size, char problem[BUCKET_PROBLEM])
{
	int r = look(b, key, size, problem);

	if (r == OLD)
		r = refresh(b, key, problem);
	else if (r >= 0)
		return r == FRESH ? 0 : -ERR_NOT_FOUND;
	else
		return r;
	return r == -ERR_S3_REFUSED || r == -ERR_S3_DENIED ? -ERR_CONFLICT : r; /* denied, where looking was not: a policy */
}

int
bucket_put_file(struct bucket *b, struct str key, int fd, uint64_t size, const uint8_t *sha256, bool if_absent, char problem[BUCKET_PROBLEM])
{
	char sum[SHA256_HEX + 1], unasked[BUCKET_PROBLEM];
	bool small = size <= ASK_FIRST, large = size > b->multipart_min, condition = false;
	int r = 0;

	if (!problem)
		problem = unasked;
	if (if_absent) {
		condition = small && !atomic_load(&b->no_conditions);
		r = condition ? ABSENT : look(b, key, size, problem);
	}
	for (unsigned tries = 0;; tries++) {
		if (r == FRESH)
			return 1;
		if (r == OLD && !atomic_load(&b->no_copy)) {
			if ((r = refresh(b, key, problem)) == 0)
				return 1;
			if (r == -ERR_S3_REFUSED) /* this S3 copies nothing */
				atomic_store(&b->no_copy, true);
			else if (r != -ERR_NOT_FOUND && r != -ERR_S3_DENIED)
				return r;
		}
		if (r == -ERR_S3_SLOW_DOWN)
			return r;
		/* absent, another size, or it cannot be said: the bytes are sent */
		if (large)
			return put_parts(b, key, fd, size, problem);
		if (sha256)
			hex_encode(sha256, SHA256_RAW, sum);
		else if (tries == 0 && (r = bucket_sum(fd, 0, size, sum)) < 0) {
			snprintf(problem, BUCKET_PROBLEM, "%s", err_text(r));
			return r;
		}
		r = put_whole(b, key, fd, size, sum, condition, problem);
		if (!condition || r == 0 || (r != -ERR_CONFLICT && !atomic_load(&b->no_conditions)))
			return r;
		/* it is there already, or conditions are not known here: looked at as the others are, and sent without a condition */
		condition = false;
		r = look(b, key, size, problem);
	}
}
