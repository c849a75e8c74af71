/* The sources that are asked over HTTP: STS with a web identity (Kubernetes), the container's endpoint (ECS, EKS Pod Identity), EC2's
 * metadata service, version 2. */
#include <jansson.h>
#include <openssl/crypto.h>
#include "../common/fd.h"
#include "../common/httpdate.h"
#include "credentials_impl.h"
#include "s3xml.h"
#include "sigv4.h"

#define ANSWER_MAX S3XML_BODY
#define NEAR_CONNECT_MS 1000    /* link-local: there at once, or not at all */
#define NEAR_MS 3000
#define FAR_CONNECT_MS 5000
#define FAR_MS 15000
#define TOKEN_FILE_MAX (16 * 1024)

/* A request and its whole answer, which lives in out (of ANSWER_MAX + 1, NUL behind). The status, or SOURCE_FAILED with why. */
static int
ask(struct credentials *c, struct str method, struct str url, const struct headers *h, struct str body, bool near, char *out, size_t *n, char *why, size_t size)
{
	struct httpc_request q = { .method = method, .url = url, .headers = h, .body_length = str_eq(method, STR("GET")) ? -1 : (int64_t)body.n,
		.connect_timeout_ms = near ? NEAR_CONNECT_MS : FAR_CONNECT_MS, .read_timeout_ms = near ? NEAR_MS : FAR_MS, .internal = true };
	int64_t deadline = clock_mono() + (near ? NEAR_CONNECT_MS + NEAR_MS : FAR_CONNECT_MS + FAR_MS), got = 0;
	struct http_response resp;
	struct arena a;
	struct xfer *x;
	const void *p;
	int r = httpc_begin(c->o.httpc, &q, &x), status = 0;

	*n = 0;
	if (r < 0)
		return source_fail(why, size, "%s", r == -ERR_BAD_REQUEST ? "its URL or token cannot be sent" : err_text(r));
	arena_init(&a);
	if (body.n)
		r = httpc_send(x, body.p, body.n, deadline);
	if (r == 0 && body.n)
		r = httpc_finish_body(x);
	if (r == -ERR_GONE)
		r = 0;
	while (r == 0 && (r = httpc_head(x, &a, &resp, deadline)) == 0 && (status = resp.status) < 200)
		;
	while (r == 0 && (got = httpc_read(x, &p, deadline)) > 0 && (size_t)got <= ANSWER_MAX - *n) {
		memcpy(out + *n, p, (size_t)got);
		*n += (size_t)got;
	}
	out[*n] = '\0';
	if (r < 0 || got < 0)
		source_fail(why, size, "%s", *httpc_problem(x) ? httpc_problem(x) : err_text(r < 0 ? r : (int)got));
	else if (got > 0)
		source_fail(why, size, "an answer that is too long");
	httpc_end(&x);
	arena_fini(&a);
	return r < 0 || got != 0 ? SOURCE_FAILED : status;
}

/* ---- JSON of container and EC2 */

static struct str
json_take(json_t *doc, const char *name)
{
	json_t *v = json_object_get(doc, name);
	return json_is_string(v) ? (struct str){ json_string_value(v), json_string_length(v) } : STR_NONE;
}

static int
json_keys(const char *text, size_t n, struct found *f, char *why, size_t size)
{
	static const char *const secrets[] = { "SecretAccessKey", "Token" };
	json_t *doc = json_loadb(text, n, 0, NULL);
	struct str code = json_take(doc, "Code"), expires = json_take(doc, "Expiration");
	int r = 0;

	f->expires = expires.n ? iso8601_parse(expires) : NEVER;
	if (!json_is_object(doc))
		r = source_fail(why, size, "an answer that is no JSON object");
	else if (code.n && !str_eq(code, STR("Success")))
		r = source_fail(why, size, "it says %.*s", (int)(code.n < 60 ? code.n : 60), code.p);
	else if (f->expires == HTTPDATE_NONE || !keys_set(&f->keys, json_take(doc, "AccessKeyId"), json_take(doc, "SecretAccessKey"), json_take(doc, "Token")))
		r = source_fail(why, size, "an answer without keys, or with wrong ones");
	for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++) {
		struct str s = json_take(doc, secrets[i]);
		OPENSSL_cleanse((char *)(uintptr_t)s.p, s.n);
	}
	json_decref(doc);
	return r;
}

/* ---- web identity */

static int
token_file(const char *path, struct arena *a, struct str *token, char *why, size_t size)
{
	struct str file;
	int r = fd_read_file(path, TOKEN_FILE_MAX, &file);

	if (r < 0)
		return source_fail(why, size, "%.80s: %s", path, err_text(r));
	struct str s = str_trim(file);
	while (s.n && (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == '\r'))
		s.n--;
	*token = arena_dup(a, s);
	OPENSSL_cleanse((char *)(uintptr_t)file.p, file.n);
	free((char *)(uintptr_t)file.p);
	return s.n ? 0 : source_fail(why, size, "%.80s is empty", path);
}

static int
sts_keys(struct str xml, struct found *f, char *why, size_t size)
{
	char *access = xcalloc(4, sizeof f->keys.session_token), *secret = access + sizeof f->keys.session_token;
	char *token = secret + sizeof f->keys.session_token, *expires = token + sizeof f->keys.session_token;
	size_t room = sizeof f->keys.session_token;
	const struct str parent = STR("Credentials");
	int r = 0;

	if (!s3xml_value(xml, parent, STR("AccessKeyId"), access, room) || !s3xml_value(xml, parent, STR("SecretAccessKey"), secret, room) ||
		!s3xml_value(xml, parent, STR("SessionToken"), token, room) || !s3xml_value(xml, parent, STR("Expiration"), expires, room) ||
		(f->expires = iso8601_parse(str_c(expires))) == HTTPDATE_NONE || !keys_set(&f->keys, str_c(access), str_c(secret), str_c(token)))
		r = source_fail(why, size, "an answer without keys, or with wrong ones");
	OPENSSL_cleanse(access, 4 * room);
	free(access);
	return r;
}

int
source_web_identity(struct credentials *c, struct found *f, char *why, size_t size)
{
	struct arena a;
	struct str token = STR_NONE, url;
	struct headers h;
	struct s3xml_error e;
	size_t n;

	if (!c->env[AWS_WEB_IDENTITY_TOKEN_FILE][0] || !c->env[AWS_ROLE_ARN][0])
		return SOURCE_NONE;
	arena_init(&a);
	int r = token_file(c->env[AWS_WEB_IDENTITY_TOKEN_FILE], &a, &token, why, size);
	if (r == 0) {
		char *answer = xmalloc(ANSWER_MAX + 1);
		const char *region = c->o.region[0] ? c->o.region : "us-east-1", *session = c->env[AWS_ROLE_SESSION_NAME];
		url = c->o.sts[0] ? arena_printf(&a, "%s/", c->o.sts)
			: arena_printf(&a, "https://sts.%s.amazonaws.com%s/", region, strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
		struct str body = arena_printf(&a, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=%s&RoleSessionName=%s&WebIdentityToken=%s",
			sigv4_encode(&a, str_c(c->env[AWS_ROLE_ARN]), false).p, sigv4_encode(&a, str_c(session[0] ? session : "passsage"), false).p,
			sigv4_encode(&a, token, false).p);
		headers_init(&h, &a);
		headers_add(&h, STR("Content-Type"), STR("application/x-www-form-urlencoded"));
		r = ask(c, STR("POST"), url, &h, body, false, answer, &n, why, size);
		if (r == 200)
			r = sts_keys((struct str){ answer, n }, f, why, size);
		else if (r != SOURCE_FAILED)
			r = s3xml_error((struct str){ answer, n }, &e) ? source_fail(why, size, "STS: %s: %.90s", e.code, e.message)
				: source_fail(why, size, "STS answered %d", r);
		OPENSSL_cleanse(answer, ANSWER_MAX + 1);
		OPENSSL_cleanse((char *)(uintptr_t)body.p, body.n);
		OPENSSL_cleanse((char *)(uintptr_t)token.p, token.n);
		free(answer);
	}
	arena_fini(&a);
	return r;
}

/* ---- the container */

/* In the clear only to where no stranger listens, as AWS's own programs have it. */
static bool
container_host_allowed(struct arena *a, struct str url)
{
	static const char *const hosts[] = { "169.254.170.2", "169.254.170.23", "fd00:ec2::23", "::1", "localhost" };
	struct url u;

	if (url_parse(a, url, &u) < 0)
		return false;
	if (str_eq(u.scheme, STR("https")))
		return true;
	for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
		if (str_caseeq(u.host, str_c(hosts[i])))
			return true;
	bool v6;
	return str_starts(u.host, STR("127.")) && url_is_ip(u.host, &v6);
}

int
source_container(struct credentials *c, struct found *f, char *why, size_t size)
{
	const char *relative = c->env[AWS_CONTAINER_CREDENTIALS_RELATIVE_URI], *full = c->env[AWS_CONTAINER_CREDENTIALS_FULL_URI];
	struct str url, token = str_c(c->env[AWS_CONTAINER_AUTHORIZATION_TOKEN]);
	struct arena a;
	struct headers h;
	size_t n;
	int r = 0;

	if (!relative[0] && !full[0])
		return SOURCE_NONE;
	arena_init(&a);
	headers_init(&h, &a);
	url = relative[0] ? arena_printf(&a, "%s%s%s", c->o.container, relative[0] == '/' ? "" : "/", relative) : str_c(full);
	if (!relative[0] && !container_host_allowed(&a, url))
		r = source_fail(why, size, "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or of this machine");
	if (r == 0 && c->env[AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE][0]) /* it changes */
		r = token_file(c->env[AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE], &a, &token, why, size);
	if (r == 0) {
		char *answer = xmalloc(ANSWER_MAX + 1);
		if (token.n)
			headers_add(&h, STR("Authorization"), token);
		r = ask(c, STR("GET"), url, &h, STR_NONE, true, answer, &n, why, size);
		if (r == 200)
			r = json_keys(answer, n, f, why, size);
		else if (r != SOURCE_FAILED)
			r = source_fail(why, size, "it answered %d", r);
		OPENSSL_cleanse(answer, ANSWER_MAX + 1);
		free(answer);
	}
	arena_fini(&a);
	return r;
}

/* ---- EC2 */

int
source_ec2(struct credentials *c, struct found *f, char *why, size_t size)
{
	struct arena a;
	struct headers h;
	struct str url;
	char *answer;
	size_t n;

	if (!c->o.imds[0] || str_caseeq(str_c(c->env[AWS_EC2_METADATA_DISABLED]), STR("true")))
		return SOURCE_NONE;
	arena_init(&a);
	headers_init(&h, &a);
	answer = xmalloc(ANSWER_MAX + 1);
	headers_add(&h, STR("X-aws-ec2-metadata-token-ttl-seconds"), STR("21600"));
	url = arena_printf(&a, "%s/latest/api/token", c->o.imds);
	int r = ask(c, STR("PUT"), url, &h, STR_NONE, true, answer, &n, why, size);
	if (r != 200) { /* this is no EC2, or it is not for us */
		r = SOURCE_NONE;
		goto out;
	}
	struct str token = arena_dup(&a, str_trim((struct str){ answer, n }));
	headers_init(&h, &a);
	headers_add(&h, STR("X-aws-ec2-metadata-token"), token);
	url = arena_printf(&a, "%s/latest/meta-data/iam/security-credentials/", c->o.imds);
	r = ask(c, STR("GET"), url, &h, STR_NONE, true, answer, &n, why, size);
	if (r == 404) { /* an instance without a role */
		r = SOURCE_NONE;
		goto out;
	}
	struct str roles = { answer, n };
	struct str role = str_trim(str_cut(&roles, '\n'));
	if (r == 200 && role.n > 0 && role.n <= 128) {
		url = arena_printf(&a, "%.*s%.*s", STRP(url), STRP(sigv4_encode(&a, role, false)));
		r = ask(c, STR("GET"), url, &h, STR_NONE, true, answer, &n, why, size);
	}
	if (r == 200)
		r = json_keys(answer, n, f, why, size);
	else if (r != SOURCE_FAILED)
		r = source_fail(why, size, "it answered %d", r);
out:
	OPENSSL_cleanse(answer, ANSWER_MAX + 1);
	free(answer);
	arena_fini(&a);
	return r;
}
