/* bucket.h against a server that plays what an S3 should not do, and what it may: t/43-s3.t has a real one. */
#include <fcntl.h>
#include "../../common/clock.h"
#include "../../common/err.h"
#include "../../common/httpdate.h"
#include "../../s3/bucket.h"
#include "s3_http.h"
#include "s3_store.h"
#include "tap.h"

#define KB 1024
#define ERROR(code) "<?xml version=\"1.0\"?><Error><Code>" code "</Code><Message>of the test</Message></Error>"

static struct httpc *engine;
static char problem[BUCKET_PROBLEM];

/* ---- one answer to a GET, and what must come of it */

static const struct script {
	const char *what, *key;
	int status;
	const char *fields, *body;
	size_t promise;
	int then;
	const char *raw;
	unsigned off, n;  /* asked for */
	int err;          /* of bucket_get, or of the bytes when read */
	bool read;
	const char *says;
} scripts[] = {
	{ .what = "an object", .key = "well", .status = 200, .body = "hello", .err = 5, .read = true },
	{ .what = "an empty object", .key = "empty", .status = 200, .body = "", .err = 0, .read = true },
	{ .what = "a range", .key = "range", .status = 206, .fields = "Content-Range: bytes 2-4/10\r\n", .body = "llo", .off = 2, .n = 3, .err = 3, .read = true },
	{ .what = "a range that ends before", .key = "range-end", .status = 206, .fields = "Content-Range: bytes 2-4/5\r\n", .body = "llo", .off = 2, .n = 30, .err = 3, .read = true },
	{ .what = "500", .key = "500", .status = 500, .body = ERROR("InternalError"), .err = -ERR_S3_FAILED, .says = "500 InternalError: of the test" },
	{ .what = "500 without words", .key = "500b", .status = 500, .err = -ERR_S3_FAILED, .says = "500" },
	{ .what = "503 SlowDown", .key = "503", .status = 503, .body = ERROR("SlowDown"), .err = -ERR_S3_SLOW_DOWN },
	{ .what = "503 of somebody else", .key = "503b", .status = 503, .body = "<html>later</html>", .err = -ERR_S3_FAILED },
	{ .what = "429", .key = "429", .status = 429, .err = -ERR_S3_SLOW_DOWN },
	{ .what = "403", .key = "403", .status = 403, .body = ERROR("AccessDenied"), .err = -ERR_S3_DENIED, .says = "AccessDenied" },
	{ .what = "401", .key = "401", .status = 401, .err = -ERR_S3_DENIED },
	{ .what = "no such key", .key = "404", .status = 404, .body = ERROR("NoSuchKey"), .err = -ERR_NOT_FOUND },
	{ .what = "no such bucket", .key = "404b", .status = 404, .body = ERROR("NoSuchBucket"), .err = -ERR_S3_FAILED, .says = "NoSuchBucket" },
	{ .what = "404 of a web server", .key = "404c", .status = 404, .body = "<html><body>Not Found</body></html>", .err = -ERR_S3_FAILED },
	{ .what = "404 without words", .key = "404d", .status = 404, .err = -ERR_S3_FAILED },
	{ .what = "an error that does not end", .key = "404e", .status = 404, .body = "<Error><Code>NoSuchKey</Code>", .err = -ERR_S3_FAILED },
	{ .what = "400 that will not heal", .key = "400", .status = 400, .body = ERROR("InvalidArgument"), .err = -ERR_S3_REFUSED },
	{ .what = "400 of somebody else", .key = "400b", .status = 400, .body = "Bad Request", .err = -ERR_S3_FAILED },
	{ .what = "400 that heals", .key = "400c", .status = 400, .body = ERROR("RequestTimeout"), .err = -ERR_S3_FAILED },
	{ .what = "412", .key = "412", .status = 412, .body = ERROR("PreconditionFailed"), .err = -ERR_CONFLICT },
	{ .what = "416", .key = "416", .status = 416, .body = ERROR("InvalidRange"), .off = 99, .n = 1, .err = -ERR_S3_REFUSED },
	{ .what = "a redirect to anywhere", .key = "301", .status = 301, .fields = "Location: http://127.0.0.1:1/\r\n", .err = -ERR_S3_FAILED },
	{ .what = "the whole instead of a range", .key = "200", .status = 200, .body = "0123456789", .off = 2, .n = 3, .err = -ERR_S3_FAILED, .says = "200 instead" },
	{ .what = "a range instead of the whole", .key = "206", .status = 206, .fields = "Content-Range: bytes 0-1/10\r\n", .body = "01", .err = -ERR_S3_FAILED },
	{ .what = "another range", .key = "206b", .status = 206, .fields = "Content-Range: bytes 3-5/10\r\n", .body = "345", .off = 2, .n = 3, .err = -ERR_S3_FAILED },
	{ .what = "a shorter range", .key = "206c", .status = 206, .fields = "Content-Range: bytes 2-3/10\r\n", .body = "23", .off = 2, .n = 3, .err = -ERR_S3_FAILED },
	{ .what = "a range of unknown size", .key = "206d", .status = 206, .fields = "Content-Range: bytes 2-4/*\r\n", .body = "234", .off = 2, .n = 3, .err = -ERR_S3_FAILED },
	{ .what = "a range of another length", .key = "206e", .status = 206, .fields = "Content-Range: bytes 2-4/10\r\n", .body = "2345", .off = 2, .n = 3, .err = -ERR_S3_FAILED },
	{ .what = "a range that says nothing", .key = "206f", .status = 206, .body = "234", .off = 2, .n = 3, .err = -ERR_S3_FAILED },
	{ .what = "no length", .key = "length", .status = 200, .body = "hello", .then = SAY_NO_LENGTH | SAY_CLOSE, .err = -ERR_S3_FAILED },
	{ .what = "a body that is cut", .key = "cut", .status = 200, .body = "hello", .promise = 10, .then = SAY_CLOSE, .err = -ERR_S3_FAILED, .read = true },
	{ .what = "a range that is cut", .key = "cut2", .status = 206, .fields = "Content-Range: bytes 2-9/10\r\n", .body = "2345", .promise = 8, .then = SAY_CLOSE,
	  .off = 2, .err = -ERR_S3_FAILED, .read = true },
	{ .what = "a range that ends early, in chunks", .key = "chunks", .raw = "HTTP/1.1 206 X\r\nContent-Range: bytes 2-4/10\r\nTransfer-Encoding: chunked\r\n\r\n"
	  "2\r\n23\r\n0\r\n\r\n", .off = 2, .n = 3, .err = -ERR_S3_FAILED, .read = true },
	{ .what = "a range that goes on, in chunks", .key = "chunks2", .raw = "HTTP/1.1 206 X\r\nContent-Range: bytes 2-4/10\r\nTransfer-Encoding: chunked\r\n\r\n"
	  "4\r\n2345\r\n0\r\n\r\n", .off = 2, .n = 3, .err = -ERR_S3_FAILED, .read = true },
	{ .what = "silence in a body", .key = "hold", .status = 200, .body = "hello", .promise = 10, .then = SAY_HOLD, .err = -ERR_S3_FAILED, .read = true },
	{ .what = "silence", .key = "silent", .raw = "", .then = SAY_HOLD, .err = -ERR_S3_FAILED, .says = "in time" },
	{ .what = "an end instead of an answer", .key = "end", .raw = "", .then = SAY_CLOSE, .err = -ERR_S3_FAILED },
	{ .what = "no HTTP", .key = "ssh", .raw = "SSH-2.0-x\r\n\r\n", .then = SAY_CLOSE, .err = -ERR_S3_FAILED },
	{ .what = "half a head", .key = "half", .raw = "HTTP/1.1 200 OK\r\nContent-Le", .then = SAY_CLOSE, .err = -ERR_S3_FAILED },
};

/* ---- the rest is played by functions that the tests set */

static answer_f *play;
static atomic_int gets_n, heads_n, puts_n, posts_n, deletes_n, copies_n;

static void
serve(const struct heard *h, struct answer *a)
{
	char value[512];
	atomic_int *counter = strcmp(h->method, "GET") == 0 ? &gets_n : strcmp(h->method, "HEAD") == 0 ? &heads_n : strcmp(h->method, "PUT") == 0 ? &puts_n
		: strcmp(h->method, "POST") == 0 ? &posts_n : &deletes_n;

	atomic_fetch_add(counter, 1);
	if (heard_field(h, "x-amz-copy-source", value, sizeof value)[0])
		atomic_fetch_add(&copies_n, 1);
	if (strncmp(h->path, "/base/bkt/s/", 12) == 0) {
		for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
			const struct script *s = &scripts[i];
			if (strcmp(h->path + 12, s->key) == 0) {
				a->status = s->status;
				snprintf(a->fields, sizeof a->fields, "%s", s->fields ? s->fields : "");
				snprintf(a->body, sizeof a->body, "%s", s->body ? s->body : "");
				a->promise = s->promise;
				a->then = s->then;
				a->raw = s->raw;
				return;
			}
		}
	}
	if (play)
		play(h, a);
	else
		a->status = 501;
}

static void
playing(answer_f *f)
{
	play = f;
	gets_n = heads_n = puts_n = posts_n = deletes_n = copies_n = 0;
}

static struct credentials *
keys_of(const char *key)
{
	return credentials_new(&(struct credentials_options){ .httpc = engine, .access_key = key, .secret_key = "a-secret" });
}

static struct bucket *
bucket_at(const char *base, struct credentials *c)
{
	struct bucket *b;
	char url[128];

	snprintf(url, sizeof url, "%s/base/", base);
	if (bucket_open(&b, &(struct bucket_options){ .httpc = engine, .credentials = c, .endpoint = url, .bucket = "bkt", .region = "us-east-1",
		.connect_timeout_ms = 1000, .read_timeout_ms = 500, .multipart_min = 64 * KB, .part_size = 32 * KB }, problem) < 0) {
		printf("Bail out! %s\n", problem);
		exit(1);
	}
	return b;
}

static int
file_of(size_t n)
{
	char path[128];
	unsigned char *p = xmalloc(n + !n);

	snprintf(path, sizeof path, "%s/f", store_dir);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bytes_make(p, 0, n, 1);
	if (fd < 0 || fd_write_all(fd, p, n) < 0)
		exit(1);
	unlink(path);
	free(p);
	return fd;
}

static void
says(const char *part, const char *what)
{
	if (!ok(str_has(str_c(problem), str_c(part)), "%s: says %s", what, part))
		note("%s", problem);
}

static void
test_answers(struct bucket *b)
{
	for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
		const struct script *s = &scripts[i];
		struct bucket_read *rd;
		const void *view;
		uint64_t size;
		int64_t got = 0, sum = 0, start = clock_mono();
		char key[64];
		snprintf(key, sizeof key, "s/%s", s->key);
		int r = bucket_get(b, str_c(key), s->off, s->n, &rd, &size, problem);
		if (!s->read) {
			is_int(r, s->err, "%s", s->what);
			ok(rd == NULL, "%s: nothing to read", s->what);
		} else {
			is_int(r, 0, "%s: its head is well", s->what);
			while (r == 0 && (got = bucket_read(rd, &view, clock_mono() + 3000)) > 0)
				sum += got;
			is_int(got < 0 ? got : sum, s->err, "%s: its bytes", s->what);
		}
		if (s->says)
			says(s->says, s->what);
		ok(clock_mono() - start < 2500, "%s: in time", s->what);
		bucket_read_end(&rd);
	}
}

/* ---- what a request is sent again for */

static char region_said[128];
static void
play_region(const struct heard *h, struct answer *a)
{
	char value[512];

	heard_field(h, "Authorization", value, sizeof value);
	if (strstr(value, "/eu-west-9/s3/"))
		snprintf(a->body, sizeof a->body, "here");
	else if (strcmp(h->method, "HEAD") == 0) {
		a->status = 301;
		snprintf(a->fields, sizeof a->fields, "x-amz-bucket-region: %s\r\n", region_said);
	} else {
		a->status = 400;
		snprintf(a->body, sizeof a->body, "<Error><Code>AuthorizationHeaderMalformed</Code><Region>%s</Region></Error>", region_said);
	}
}

static void
play_clock(const struct heard *h, struct answer *a)
{
	char value[64], date[HTTPDATE_SIZE], want[16];
	time_t now = time(NULL) + 3600;
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(want, sizeof want, "%Y%m%dT%H%M", &tm);
	httpdate_format(now, date);
	snprintf(a->fields, sizeof a->fields, "Date: %s\r\n", date);
	heard_field(h, "X-Amz-Date", value, sizeof value);
	if (strncmp(value, want, 11) != 0) {
		a->status = 403;
		snprintf(a->body, sizeof a->body, ERROR("RequestTimeTooSkewed"));
	} else {
		snprintf(a->body, sizeof a->body, "here");
	}
}

static void
play_expired(const struct heard *h, struct answer *a)
{
	char value[512];

	if (strstr(heard_field(h, "Authorization", value, sizeof value), "=old/")) {
		a->status = 400;
		snprintf(a->body, sizeof a->body, ERROR("ExpiredToken"));
	}
}

/* The second request finds its connection closed. */
static void
play_stale(const struct heard *h, struct answer *a)
{
	if (puts_n == 2) {
		a->raw = "";
		a->then = SAY_CLOSE;
	}
}

static void
test_again(struct credentials *c)
{
	struct bucket *b = bucket_at(http.base, c);
	struct bucket_read *rd;
	uint64_t size;
	char path[128];

	int fd = file_of(1000);
	playing(play_stale);
	is_int(bucket_put_file(b, STR("x"), fd, 1000, NULL, false, problem), 0, "an object is sent");
	is_int(bucket_put_file(b, STR("x"), fd, 1000, NULL, false, problem), 0, "another, on a connection that dies of it");
	is_int(puts_n, 3, "is sent once more");
	fd_close(&fd);
	playing(play_region);
	snprintf(region_said, sizeof region_said, "eu-west-9");
	is_int(bucket_get(b, STR("x"), 0, 0, &rd, &size, problem), 0, "a bucket that is elsewhere");
	bucket_read_end(&rd);
	is_int(gets_n, 2, "is asked there");
	is_int(bucket_get(b, STR("x"), 0, 0, &rd, &size, problem), 0, "and from then on");
	bucket_read_end(&rd);
	is_int(gets_n, 3, "at once");
	bucket_close(&b);
	b = bucket_at(http.base, c);
	is_int(bucket_head(b, STR("x"), &size, problem), 0, "a HEAD finds out, too");
	is_int(heads_n, 2, "by a field");
	bucket_close(&b);
	b = bucket_at(http.base, c);
	playing(play_region);
	snprintf(region_said, sizeof region_said, "evil.example.com/x");
	is_int(bucket_get(b, STR("x"), 0, 0, &rd, &size, problem), -ERR_S3_DENIED, "a region that cannot be one");
	is_int(gets_n, 1, "is not asked");
	snprintf(region_said, sizeof region_said, "xx-west-1");
	is_int(bucket_get(b, STR("x"), 0, 0, &rd, &size, problem), -ERR_S3_DENIED, "a region that is not the one, either");
	is_int(gets_n, 3, "is asked once");
	bucket_close(&b);

	b = bucket_at(http.base, c);
	playing(play_clock);
	is_int(bucket_get(b, STR("x"), 0, 0, &rd, &size, problem), 0, "a clock that is an hour ahead");
	bucket_read_end(&rd);
	is_int(gets_n, 2, "is followed");
	ok(bucket_now(b) - clock_wall() > 3590000, "and known");
	is_int(bucket_get(b, STR("x"), 0, 0, &rd, &size, problem), 0, "from then on");
	bucket_read_end(&rd);
	is_int(gets_n, 3, "at once");
	bucket_close(&b);

	snprintf(path, sizeof path, "%s/creds", store_dir);
	setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
	fd_write_file(path, STR("[default]\naws_access_key_id=old\naws_secret_access_key=s\n"), 0600);
	struct credentials *changing = credentials_new(&(struct credentials_options){ .httpc = engine });
	b = bucket_at(http.base, changing);
	playing(play_expired);
	is_int(bucket_get(b, STR("x"), 0, 0, &rd, &size, problem), -ERR_S3_DENIED, "keys that have expired");
	is_int(gets_n, 1, "are not sent again when there are no others");
	bucket_close(&b);
	credentials_free(&changing);
	changing = credentials_new(&(struct credentials_options){ .httpc = engine });
	b = bucket_at(http.base, changing);
	struct keys k;
	credentials_get(changing, &k, problem);
	fd_write_file(path, STR("[default]\naws_access_key_id=new\naws_secret_access_key=s\n"), 0600);
	is_int(bucket_get(b, STR("x"), 0, 0, &rd, &size, problem), 0, "when there are");
	is_int(gets_n, 3, "once more");
	bucket_read_end(&rd);
	bucket_close(&b);
	credentials_free(&changing);
	unsetenv("AWS_SHARED_CREDENTIALS_FILE");
}

/* ---- sending */

static struct {
	bool conditions;           /* If-None-Match is known */
	const char *has;           /* Content-Length of what HEAD finds; NULL: nothing */
	int64_t age_ms;
	const char *copy_error;    /* in the 200 to a copy */
	bool copy_stays_old;
	int parts_fail;            /* so many times */
	int part_status;
	const char *complete;      /* the answer to the end of parts */
	int complete_then;
	bool no_id, abort_seen;
	size_t last_body;
	char last_sum[80];
} store;

static void
play_store(const struct heard *h, struct answer *a)
{
	char value[512], date[HTTPDATE_SIZE], iso[33];

	if (strcmp(h->method, "HEAD") == 0) {
		httpdate_format((clock_wall() - store.age_ms) / 1000, date);
		snprintf(a->fields, sizeof a->fields, "Last-Modified: %s\r\n", date);
		a->status = store.has ? 200 : 404;
		a->promise = store.has ? strtoul(store.has, NULL, 10) : 0;
	} else if (strcmp(h->method, "PUT") == 0 && heard_field(h, "x-amz-copy-source", value, sizeof value)[0]) {
		iso8601_format(clock_wall() - (store.copy_stays_old ? store.age_ms : 0), iso);
		if (store.copy_error)
			snprintf(a->body, sizeof a->body, "%s", store.copy_error);
		else
			snprintf(a->body, sizeof a->body, "<CopyObjectResult><LastModified>%.19sZ</LastModified></CopyObjectResult>", iso);
	} else if (strcmp(h->method, "PUT") == 0 && strstr(h->path, "partNumber=")) {
		if (store.parts_fail > 0) {
			store.parts_fail--;
			a->status = store.part_status;
			snprintf(a->body, sizeof a->body, store.part_status == 403 ? ERROR("AccessDenied") : ERROR("InternalError"));
		} else {
			snprintf(a->fields, sizeof a->fields, "ETag: \"part\"\r\n");
			store.last_body += h->n;
		}
	} else if (strcmp(h->method, "PUT") == 0) {
		if (heard_field(h, "If-None-Match", value, sizeof value)[0]) {
			a->status = !store.conditions ? 501 : store.has ? 412 : 200;
			snprintf(a->body, sizeof a->body, !store.conditions ? ERROR("NotImplemented") : store.has ? ERROR("PreconditionFailed") : "");
		}
		store.last_body = h->n;
		heard_field(h, "x-amz-content-sha256", store.last_sum, sizeof store.last_sum);
	} else if (strcmp(h->method, "POST") == 0 && strstr(h->path, "?uploads=")) {
		snprintf(a->body, sizeof a->body, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", store.no_id ? "" : "a/b+c");
	} else if (strcmp(h->method, "POST") == 0) {
		snprintf(a->body, sizeof a->body, "%s", store.complete);
		a->then = store.complete_then;
		if (a->then)
			a->raw = "";
	} else {
		store.abort_seen = strstr(h->path, "uploadId=a%2Fb%2Bc") != NULL;
		a->status = 204;
	}
}

static void
test_sending(struct credentials *c)
{
	struct bucket *b = bucket_at(http.base, c);
	int small = file_of(1000), large = file_of(400 * KB);
	uint8_t sum[32];
	char hex[65];

	store.conditions = true;
	playing(play_store);
	is_int(bucket_put_file(b, STR("k"), small, 1000, NULL, true, problem), 0, "a small object is sent");
	is_int(heads_n, 0, "without a question, on a condition");
	unsigned char bytes[1000];
	bytes_make(bytes, 0, 1000, 1);
	sha256_raw(bytes, 1000, sum);
	hex_encode(sum, 32, hex);
	is_str(str_c(store.last_sum), str_c(hex), "with its hash");
	is_int(store.last_body, 1000, "and all its bytes");
	store.has = "1000";
	is_int(bucket_put_file(b, STR("k"), small, 1000, sum, true, problem), 1, "one that is there");
	is_int(puts_n, 2, "is not replaced");
	store.has = "999";
	is_int(bucket_put_file(b, STR("k"), small, 1000, sum, true, problem), 0, "one that is there with another size");
	is_int(puts_n, 4, "is");
	store.conditions = false;
	store.has = NULL;
	playing(play_store);
	is_int(bucket_put_file(b, STR("k"), small, 1000, sum, true, problem), 0, "an S3 that knows no conditions");
	is_int(puts_n, 2, "gets_n it without");
	is_int(bucket_put_file(b, STR("k"), small, 1000, sum, true, problem), 0, "and from then on");
	is_int(puts_n, 3, "at once");
	bucket_close(&b);

	b = bucket_at(http.base, c);
	store.conditions = true;
	store.has = "1000";
	store.age_ms = 2 * BUCKET_FRESH_MS;
	playing(play_store);
	is_int(bucket_put_file(b, STR("k"), small, 1000, sum, true, problem), 1, "one that is there and old");
	is_int(copies_n, 1, "is made young by a copy");
	is_int(bucket_renew(b, STR("k"), 1000, problem), 0, "so it is for whoever has not its bytes");
	is_int(copies_n, 2, "by another copy");
	is_int(bucket_renew(b, STR("k"), 999, problem), -ERR_NOT_FOUND, "one of another size is another");
	store.copy_stays_old = true;
	is_int(bucket_renew(b, STR("k"), 1000, problem), -ERR_CONFLICT, "an S3 that does not renew by copying cannot help");
	store.copy_stays_old = false;
	store.age_ms = 0;
	is_int(bucket_renew(b, STR("k"), 1000, problem), 0, "a young one is well as it is");
	is_int(copies_n, 3, "and is not copied");
	store.age_ms = 2 * BUCKET_FRESH_MS;
	store.copy_error = ERROR("InternalError");
	is_int(bucket_put_file(b, STR("k"), small, 1000, sum, true, problem), -ERR_S3_FAILED, "a copy that fails after its 200");
	store.copy_error = NULL;
	store.copy_stays_old = true;
	is_int(bucket_put_file(b, STR("k"), small, 1000, sum, true, problem), 0, "a copy that is as old as the original");
	is_int(store.last_body, 1000, "is replaced by the bytes");
	store.copy_stays_old = false;
	bucket_close(&b);
	store.age_ms = 0;

	b = bucket_at(http.base, c);
	const char *done = "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>";
	store.has = NULL;
	store.complete = done;
	store.last_body = 0;
	playing(play_store);
	is_int(bucket_put_file(b, STR("k"), large, 400 * KB, NULL, true, problem), 0, "a large object goes in parts");
	is_int(heads_n, 1, "after a question");
	is_int(puts_n, 13, "as many as it takes");
	is_int(store.last_body, 400 * KB, "which are all of it");
	store.parts_fail = 2;
	store.part_status = 500;
	is_int(bucket_put_file(b, STR("k"), large, 400 * KB, NULL, false, problem), 0, "parts that fail twice are sent again");
	store.parts_fail = 1;
	store.part_status = 403;
	store.abort_seen = false;
	is_int(bucket_put_file(b, STR("k"), large, 400 * KB, NULL, false, problem), -ERR_S3_DENIED, "a part that is denied");
	ok(store.abort_seen, "ends the upload");
	store.abort_seen = false;
	store.complete = ERROR("InternalError");
	is_int(bucket_put_file(b, STR("k"), large, 400 * KB, NULL, false, problem), -ERR_S3_FAILED, "an error in the 200 to the last");
	says("InternalError", "that");
	ok(store.abort_seen, "ends the upload, too");
	store.complete = "what";
	is_int(bucket_put_file(b, STR("k"), large, 400 * KB, NULL, false, problem), -ERR_S3_FAILED, "an answer that is none");
	store.complete_then = SAY_CLOSE;
	is_int(bucket_put_file(b, STR("k"), large, 400 * KB, NULL, false, problem), -ERR_S3_FAILED, "no answer to the last");
	store.has = "409600";
	is_int(bucket_put_file(b, STR("k"), large, 400 * KB, NULL, false, problem), 0, "but when the object is there then");
	store.complete_then = 0;
	store.no_id = true;
	is_int(bucket_put_file(b, STR("k"), large, 400 * KB, NULL, false, problem), -ERR_S3_FAILED, "an upload without a name");
	store.no_id = false;
	bucket_close(&b);
	fd_close(&small);
	fd_close(&large);
}

/* ---- lists */

static int list_mode;
static void
play_list(const struct heard *h, struct answer *a)
{
	bool second = strstr(h->path, "continuation-token=t%2F1%3D") != NULL;

	if (!strstr(h->path, "list-type=2") || !strstr(h->path, "prefix=data%2F") || (!second && !strstr(h->path, "start-after=data%2Fa")))
		a->status = 400;
	else if (second && list_mode == 1)
		a->status = 500;
	else
		snprintf(a->body, sizeof a->body, "<ListBucketResult><Contents><Key>data/%d</Key><LastModified>2026-01-31T12:00:00Z</LastModified><Size>7</Size></Contents>"
			"<IsTruncated>%s</IsTruncated><NextContinuationToken>%s</NextContinuationToken>%s", second, second && list_mode != 2 ? "false" : "true",
			second && list_mode != 2 ? "" : "t/1=", second && list_mode == 3 ? "" : "</ListBucketResult>");
}

static bool
visit(void *arg, struct str key, uint64_t size, int64_t mtime)
{
	return ++*(int *)arg < 10;
}

static void
test_lists(struct bucket *b)
{
	int n = 0;

	playing(play_list);
	is_int(bucket_list(b, STR("data/"), STR("data/a"), visit, &n, problem), 0, "a list of two pages");
	is_int(n, 2, "is shown whole");
	list_mode = 1;
	is_int(bucket_list(b, STR("data/"), STR("data/a"), visit, &n, problem), -ERR_S3_FAILED, "one whose second page fails is no shorter list");
	list_mode = 2;
	is_int(bucket_list(b, STR("data/"), STR("data/a"), visit, &n, problem), -ERR_S3_FAILED, "one that goes round in circles ends");
	list_mode = 3;
	is_int(bucket_list(b, STR("data/"), STR("data/a"), visit, &n, problem), -ERR_S3_FAILED, "so does one that is cut");
	list_mode = 0;
	n = 9;
	is_int(bucket_list(b, STR("data/"), STR("data/a"), visit, &n, problem), 0, "one that is stopped is well");
	is_int(n, 10, "and goes no further");
}

/* ---- opening */

static void
test_open(void)
{
	static const struct { const char *endpoint, *bucket, *region, *read_url, *host; } opens[] = {
		{ "", "bkt", "us-west-2", "", "bkt.s3.us-west-2.amazonaws.com" },
		{ "", "with.dot", "us-west-2", "", "s3.us-west-2.amazonaws.com" },
		{ "", "bkt", "cn-north-1", "", "bkt.s3.cn-north-1.amazonaws.com.cn" },
		{ "http://s3.test:9000", "bkt", "us-west-2", "", "s3.test" },
		{ "https://S3.test/base/", "Bkt_1", "us-west-2", "http://cdn.test/x/", "S3.test" },
		{ "http://[::1]:9000", "bkt", "us-west-2", "", "::1" },
		{ "s3.test:9000", "bkt", "us-west-2", "", NULL },
		{ "ftp://s3.test", "bkt", "us-west-2", "", NULL },
		{ "http://s3.test/?x=1", "bkt", "us-west-2", "", NULL },
		{ "", "", "us-west-2", "", NULL },
		{ "", "a/b", "us-west-2", "", NULL },
		{ "http://s3.test", "..", "us-west-2", "", NULL },
		{ "", "Bkt", "us-west-2", "", NULL },
		{ "", "bkt", "", "", NULL },
		{ "", "bkt", "us-west-2/x", "", NULL },
		{ "", "bkt", "us-west-2", "cdn", NULL },
	};

	for (size_t i = 0; i < sizeof opens / sizeof *opens; i++) {
		struct bucket *b;
		int r = bucket_open(&b, &(struct bucket_options){ .httpc = engine, .endpoint = opens[i].endpoint, .bucket = opens[i].bucket,
			.region = opens[i].region, .read_url = opens[i].read_url }, problem);
		is_int(r, opens[i].host ? 0 : -ERR_SETTING, "endpoint \"%s\", bucket \"%s\", region \"%s\", URL \"%s\"", opens[i].endpoint, opens[i].bucket,
			opens[i].region, opens[i].read_url);
		if (r == 0)
			is_str(bucket_host(b), str_c(opens[i].host), "its host");
		bucket_close(&b);
	}
}

/* ---- an URL to read from */

static void
play_read_url(const struct heard *h, struct answer *a)
{
	char value[64];

	if (heard_field(h, "Authorization", value, sizeof value)[0] || strncmp(h->path, "/cdn/data/", 10) != 0)
		a->status = 400;
	else if (strcmp(h->path, "/cdn/data/a%20b") == 0)
		snprintf(a->body, sizeof a->body, "here");
	else
		a->status = 404;
}

static void
test_read_url(struct credentials *c)
{
	struct bucket *b;
	struct bucket_read *rd;
	char url[128];
	uint64_t size;

	snprintf(url, sizeof url, "%s/cdn/", http.base);
	playing(play_read_url);
	is_int(bucket_open(&b, &(struct bucket_options){ .httpc = engine, .credentials = c, .endpoint = http.base, .bucket = "bkt", .region = "us-east-1",
		.read_url = url }, problem), 0, "a bucket with an URL to read from");
	is_int(bucket_get(b, STR("data/a b"), 0, 0, &rd, &size, problem), 0, "is read there, without keys");
	is_int(size, 4, "whole");
	bucket_read_end(&rd);
	is_int(bucket_get(b, STR("data/c"), 0, 0, &rd, &size, problem), -ERR_NOT_FOUND, "what is not there is not found");
	bucket_close(&b);
}

int
main(void)
{
	setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
	store_make();
	http_serve(serve);
	engine = httpc_start(&(struct httpc_options){ .max_connections = 16 });
	struct credentials *c = keys_of("key");
	struct bucket *b = bucket_at(http.base, c), *away = bucket_at("http://127.0.0.1:1", c);
	struct credentials *none = credentials_new(&(struct credentials_options){ .httpc = engine });
	struct bucket *nobody = bucket_at(http.base, none);
	uint64_t size;

	test_open();
	test_answers(b);
	test_again(c);
	test_sending(c);
	test_lists(b);
	test_read_url(c);
	int64_t start = clock_mono();
	is_int(bucket_check(away, 2000, problem), -ERR_S3_FAILED, "a server that is away");
	ok(problem[0] && clock_mono() - start < 2500, "is found out in time: %s", problem);
	playing(NULL);
	is_int(bucket_head(nobody, STR("x"), &size, problem), -ERR_S3_DENIED, "without any keys nothing is asked");
	says("no credentials", "that");
	is_int(heads_n, 0, "of anybody");
	bucket_close(&b);
	bucket_close(&away);
	bucket_close(&nobody);
	credentials_free(&c);
	credentials_free(&none);
	httpc_stop(&engine);
	return done_testing();
}
