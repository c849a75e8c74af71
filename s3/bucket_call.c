/* One request to S3: signed, sent, its answer judged; sent once more where that may help. */
#include <stdarg.h>
#include <openssl/crypto.h>
#include "../common/fd.h"
#include "../common/httpdate.h"
#include "bucket_impl.h"

#define SKEW_MS (2 * 60 * 1000)  /* S3 allows 15 minutes; clocks that differ less than this are not the reason */
#define PIECE (64 * 1024)        /* what is read of a file at a time: as much as libcurl takes */
#define ACCESS_KEY sizeof(((struct keys *)0)->access_key)
#define ERROR_MS 10000           /* an error's text is worth no longer wait */

int
call_fail(struct call *c, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->problem, BUCKET_PROBLEM, fmt, ap);
	va_end(ap);
	return r;
}

static int64_t
read_ms(const struct call *c)
{
	return c->read_ms ? c->read_ms : c->b->read_ms;
}

/* ---- what is sent */

static struct str
region_of(struct call *c)
{
	pthread_mutex_lock(&c->b->lock);
	struct str r = arena_dup(&c->arena, str_c(c->b->region));
	pthread_mutex_unlock(&c->b->lock);
	return r;
}

/* Sends the head: 0, or why not. used: the access key that it is signed with. */
static int
begin(struct call *c, bool fresh, char used[ACCESS_KEY])
{
	struct bucket *b = c->b;
	struct arena *a = &c->arena;
	struct headers h;
	struct str key = sigv4_encode(a, c->key, true), url;

	headers_init(&h, a);
	for (size_t i = 0; i < sizeof c->fields / sizeof *c->fields && c->fields[i].name.n; i++)
		headers_add(&h, c->fields[i].name, c->fields[i].value);
	if (c->open) {
		url = arena_printf(a, "%.*s/%.*s", STRP(b->read_url), STRP(key));
	} else {
		c->region = region_of(c);
		c->skew = atomic_load(&b->skew);
		struct str host = b->aws ? bucket_aws_host(a, b->bucket, c->region, b->path_style) : b->host_field;
		struct str path = b->path_style ? arena_printf(a, "%.*s/%s%s%.*s", STRP(b->base), b->bucket, key.n ? "/" : "", STRP(key))
			: arena_printf(a, "%.*s/%.*s", STRP(b->base), STRP(key));
		struct str sum = c->sum[0] ? str_c(c->sum) : STR(SIGV4_EMPTY);
		headers_add(&h, STR("Host"), host);
		headers_add(&h, STR("x-amz-content-sha256"), sum);
		url = arena_printf(a, "%.*s://%.*s%.*s%s%.*s", STRP(b->scheme), STRP(host), STRP(path), c->query.n ? "?" : "", STRP(c->query));
		if (b->credentials) {
			struct keys k;
			int r = credentials_get(b->credentials, &k, c->problem);
			if (r < 0)
				return r;
			struct sigv4 s = { str_c(k.access_key), str_c(k.secret_key), arena_dup(a, str_c(k.session_token)), c->region, STR("s3"),
				(clock_wall() + c->skew) / 1000 };
			sigv4_sign(&s, c->method, path, c->query, sum, &h);
			snprintf(used, ACCESS_KEY, "%s", k.access_key);
			OPENSSL_cleanse(&k, sizeof k);
		}
	}
	bool body = str_eq(c->method, STR("PUT")) || str_eq(c->method, STR("POST"));
	struct httpc_request q = { .method = c->method, .url = url, .headers = &h, .body_length = body ? c->body_length : -1,
		.connect_timeout_ms = c->connect_ms ? c->connect_ms : b->connect_ms, .read_timeout_ms = read_ms(c),
		.fresh_connection = fresh, .internal = true };
	int r = httpc_begin(b->httpc, &q, &c->xfer);
	if (r == -ERR_BAD_REQUEST)
		return call_fail(c, -ERR_S3_REFUSED, "this cannot be asked of S3: %.*s", (int)(url.n < 100 ? url.n : 100), url.p);
	return r < 0 ? call_fail(c, -ERR_S3_FAILED, "%s", err_text(r)) : 0;
}

/* 0: all of it has been taken, or the answer has come early. */
static int
send_body(struct call *c)
{
	char *buf = c->mem ? NULL : xmalloc(PIECE);
	int r = 0;

	for (uint64_t at = 0; at < (uint64_t)c->body_length && r == 0;) {
		uint64_t left = (uint64_t)c->body_length - at;
		size_t n = left < PIECE ? (size_t)left : PIECE;
		if (!c->mem) {
			ssize_t got = fd_pread_all(c->fd, buf, n, (off_t)(c->off + at));
			if (got < 0 || (size_t)got < n) {
				r = call_fail(c, got < 0 ? -ERR_SYSTEM : -ERR_CORRUPT, got < 0 ? "the file cannot be read" : "the file is shorter than it was");
				break;
			}
		}
		r = httpc_send(c->xfer, c->mem ? (const char *)c->mem + at : buf, n, clock_mono() + read_ms(c));
		at += n;
	}
	free(buf);
	if (r == 0)
		r = httpc_finish_body(c->xfer);
	return r == -ERR_GONE ? 0 : r;
}

/* ---- what comes back */

static struct {
	const char *code;
	int err;
	bool doubt; /* other credentials may help */
} codes[] = {
	{ "NoSuchKey", -ERR_NOT_FOUND, false },
	{ "NoSuchBucket", -ERR_S3_FAILED, false },
	{ "NoSuchUpload", -ERR_S3_FAILED, false },
	{ "PermanentRedirect", -ERR_S3_FAILED, false },
	{ "TemporaryRedirect", -ERR_S3_FAILED, false },
	{ "SlowDown", -ERR_S3_SLOW_DOWN, false },
	{ "TooManyRequests", -ERR_S3_SLOW_DOWN, false },
	{ "RequestLimitExceeded", -ERR_S3_SLOW_DOWN, false },
	{ "Throttling", -ERR_S3_SLOW_DOWN, false },
	{ "ThrottlingException", -ERR_S3_SLOW_DOWN, false },
	{ "ExpiredToken", -ERR_S3_DENIED, true },
	{ "InvalidToken", -ERR_S3_DENIED, true },
	{ "TokenRefreshRequired", -ERR_S3_DENIED, true },
	{ "InvalidAccessKeyId", -ERR_S3_DENIED, true },
	{ "XAdminUserNotFound", -ERR_S3_DENIED, true },   /* versitygw's word for that, with 404 */
	{ "SignatureDoesNotMatch", -ERR_S3_DENIED, true },
	{ "AuthorizationHeaderMalformed", -ERR_S3_DENIED, false },
	{ "InvalidBucketName", -ERR_S3_DENIED, false },   /* settings, not the object */
	{ "RequestTimeout", -ERR_S3_FAILED, false },
	{ "IncompleteBody", -ERR_S3_FAILED, false },
	{ "BadDigest", -ERR_S3_FAILED, false },           /* spoilt on the way; a file that is itself is for its reader to find out */
	{ "XAmzContentSHA256Mismatch", -ERR_S3_FAILED, false },
	{ "OperationAborted", -ERR_S3_FAILED, false },
	{ "InternalError", -ERR_S3_FAILED, false },
};

static int
judge(const struct call *c, int status, bool *doubt)
{
	bool head = str_eq(c->method, STR("HEAD"));

	*doubt = head && !c->open && (status == 403 || status == 400); /* a HEAD has no body to say why */
	if (c->error.code[0])
		for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
			if (strcmp(codes[i].code, c->error.code) == 0) {
				*doubt = codes[i].doubt;
				return codes[i].err;
			}
	if (status == 429)
		return -ERR_S3_SLOW_DOWN;
	if (status == 401 || status == 403)
		return -ERR_S3_DENIED;
	if (status == 409 || status == 412)
		return -ERR_CONFLICT;
	if (status == 404)
		return head || c->open ? -ERR_NOT_FOUND : -ERR_S3_FAILED;
	/* what S3 does not explain is not S3's, or no reason to give up */
	if (status >= 400 && status < 500 && (c->error.code[0] || status == 416))
		return -ERR_S3_REFUSED;
	return -ERR_S3_FAILED;
}

int
call_body(struct call *c, struct str *out)
{
	char *buf = arena_alloc(&c->arena, S3XML_BODY);
	const void *p;
	size_t n = 0;
	int64_t r, deadline = clock_mono() + read_ms(c);

	while ((r = httpc_read(c->xfer, &p, deadline)) > 0 && (size_t)r <= S3XML_BODY - n) {
		memcpy(buf + n, p, (size_t)r);
		n += (size_t)r;
	}
	if (r < 0)
		call_fail(c, -ERR_S3_FAILED, "S3's answer broke off: %s", httpc_problem(c->xfer));
	else if (r > 0)
		call_fail(c, -ERR_S3_FAILED, "S3's answer is too long");
	httpc_end(&c->xfer);
	*out = (struct str){ buf, n };
	return r == 0 ? 0 : -ERR_S3_FAILED;
}

void
call_drain(struct call *c)
{
	const void *p;
	int64_t deadline = clock_mono() + ERROR_MS;
	size_t n = 0;
	int64_t r;

	while (n < S3XML_BODY && (r = httpc_read(c->xfer, &p, deadline)) > 0)
		n += (size_t)r;
	httpc_end(&c->xfer);
}

void
call_end(struct call *c)
{
	if (c->xfer)
		httpc_end(&c->xfer);
	arena_fini(&c->arena);
}

struct str
call_etag(struct call *c)
{
	return headers_get(&c->resp.headers, STR("ETag"));
}

/* Reads what is wrong, and says it in problem. */
static int
refused(struct call *c, bool *doubt)
{
	struct str body;
	int status = c->resp.status;
	char said[BUCKET_PROBLEM];
	int64_t patience = c->read_ms;

	memset(&c->error, 0, sizeof c->error);
	if (read_ms(c) > ERROR_MS)
		c->read_ms = ERROR_MS;
	if (call_body(c, &body) == 0 && !c->open)
		s3xml_error(body, &c->error);
	c->read_ms = patience;
	if (c->error.code[0])
		snprintf(said, sizeof said, "%s: %s", c->error.code, c->error.message);
	else
		snprintf(said, sizeof said, "%s", status == 404 && c->key.n == 0 ? "there is no such bucket" : http_reason(status));
	call_fail(c, 0, "%d %s", status, said);
	return judge(c, status, doubt);
}

/* Where the bucket is, if S3 says that it is elsewhere than where it was asked for. */
static bool
region_learnt(struct call *c)
{
	struct str r = headers_get(&c->resp.headers, STR("x-amz-bucket-region"));

	if (r.n == 0)
		r = str_c(c->error.region);
	if (r.n == 0 || r.n >= REGION_MAX)
		return false;
	for (size_t i = 0; i < r.n; i++) /* it becomes part of a host name */
		if (!(r.p[i] >= 'a' && r.p[i] <= 'z') && !(r.p[i] >= '0' && r.p[i] <= '9') && r.p[i] != '-')
			return false;
	pthread_mutex_lock(&c->b->lock);
	snprintf(c->b->region, sizeof c->b->region, "%.*s", STRP(r));
	pthread_mutex_unlock(&c->b->lock);
	return !str_eq(r, c->region);
}

/* What time is it there? True when that explains a refusal, and we know better now. */
static bool
skew_learnt(struct call *c)
{
	bool head = str_eq(c->method, STR("HEAD"));

	if (c->resp.status != 403 || !headers_has(&c->resp.headers, STR("Date")))
		return false;
	if (strcmp(c->error.code, "RequestTimeTooSkewed") != 0 && strcmp(c->error.code, "RequestExpired") != 0 && !head)
		return false;
	int64_t ahead = atomic_load(&c->b->ahead);
	if (ahead - c->skew < SKEW_MS && c->skew - ahead < SKEW_MS)
		return false;
	atomic_store(&c->b->skew, ahead);
	return true;
}

/* Credentials are looked for anew: are there others than those that were used? */
static bool
keys_learnt(struct call *c, const char used[ACCESS_KEY])
{
	struct keys k;

	if (!c->b->credentials)
		return false;
	credentials_doubt(c->b->credentials);
	bool others = credentials_get(c->b->credentials, &k, c->own) == 0 && strcmp(k.access_key, used) != 0;
	OPENSSL_cleanse(&k, sizeof k);
	return others;
}

/* One time: 0 a status of 2xx. broken: nothing came back on a connection that had been used before. */
static int
once(struct call *c, bool fresh, char used[ACCESS_KEY], bool *broken, bool *answered)
{
	*broken = *answered = false;
	int r = begin(c, fresh, used);
	if (r < 0)
		return r;
	if (c->body_length > 0)
		r = send_body(c);
	if (r == -ERR_SYSTEM || r == -ERR_CORRUPT) {
		httpc_end(&c->xfer);
		return r;
	}
	while (r == 0 && (r = httpc_head(c->xfer, &c->arena, &c->resp, clock_mono() + read_ms(c))) == 0 && c->resp.status < 200)
		;
	if (r < 0) {
		*broken = r == -ERR_ORIGIN_BROKEN && httpc_reused(c->xfer);
		const char *why = httpc_problem(c->xfer);
		call_fail(c, 0, "%s%s%s", r == -ERR_TIMEOUT || r == -ERR_ORIGIN_TIMEOUT ? "S3 has not answered in time" : "S3 cannot be asked", *why ? ": " : "", why);
		httpc_end(&c->xfer);
		return -ERR_S3_FAILED;
	}
	int64_t now = clock_wall(), date = httpdate_parse(headers_get(&c->resp.headers, STR("Date")), now / 1000);
	if (date != HTTPDATE_NONE && !c->open)
		atomic_store(&c->b->ahead, date * 1000 - now);
	*answered = true;
	return c->resp.status < 300 ? 0 : -ERR_S3_FAILED;
}

/* Each reason to send it again counts once. */
int
call_run(struct call *c)
{
	char used[ACCESS_KEY] = "";
	bool fresh = false, moved = false, skewed = false, doubted = false, broken, answered, doubt = false;
	int r;

	if (!c->problem)
		c->problem = c->own;
	c->problem[0] = '\0';
	arena_init(&c->arena);
	while ((r = once(c, fresh, used, &broken, &answered)) < 0) {
		if (answered)
			r = refused(c, &doubt);
		if (broken && !fresh && !c->once)
			fresh = true;
		else if (!answered || c->open)
			break;
		else if (!moved && region_learnt(c))
			moved = true;
		else if (!skewed && skew_learnt(c))
			skewed = true;
		else if (!doubted && doubt && keys_learnt(c, used))
			doubted = true;
		else
			break;
	}
	if (r == 0)
		c->problem[0] = '\0';
	return r;
}

int
bucket_sum(int fd, uint64_t off, uint64_t n, char sum[SHA256_HEX + 1])
{
	struct sha256 *h = sha256_new();
	char *buf = xmalloc(PIECE);
	uint8_t raw[SHA256_RAW];
	int r = 0;

	for (uint64_t at = 0; at < n;) {
		size_t want = n - at < PIECE ? (size_t)(n - at) : PIECE;
		ssize_t got = fd_pread_all(fd, buf, want, (off_t)(off + at));
		if (got < 0 || (size_t)got < want) {
			r = got < 0 ? -ERR_SYSTEM : -ERR_CORRUPT;
			break;
		}
		sha256_update(h, buf, want);
		at += want;
	}
	sha256_final(h, raw);
	hex_encode(raw, sizeof raw, sum);
	sha256_free(&h);
	free(buf);
	return r;
}
