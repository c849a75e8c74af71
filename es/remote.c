/* remote.c - see remote.h: the URLs, the breaker, one call. What is called is in index.c, ask.c, drain.c, follow.c. */
#include "remote.h"
#include "../common/clock.h"
#include "../common/counters.h"
#include "../common/err.h"
#include "../common/log.h"
#include <jansson.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>

#define CONNECT_MS 2000 /* for one URL: longer makes the next one useless */
#define CLOCK_MAX 253402300799000 /* ms: the end of 9999; sums with it cannot overflow */
#define DEPTH_MAX 64    /* of an answer's JSON: ours have 6 levels; jansson's parser is recursive, and allows 2048 */

struct place {
	struct str base, authorization; /* "http://host:port/base", "" or "Basic …" */
};

struct remote {
	struct remote_options o;
	struct arena arena;       /* all strings */
	struct place places[REMOTE_URLS_MAX];

	pthread_mutex_t lock;     /* all below */
	unsigned first;           /* the place that answered last */
	unsigned failures;        /* in a row */
	int64_t rest_ms, closed_until; /* the breaker: 0 it is not open; mono */
	bool probing;
	const char *trouble;

	_Atomic int64_t offset;
};

const struct remote_options *
remote_options(const struct remote *r)
{
	return &r->o;
}

/* --- opening --------------------------------------------------------------------------------------------------------------- */

static struct str
base64(struct arena *arena, struct str s)
{
	unsigned char *out = arena_alloc(arena, (s.n + 2) / 3 * 4 + 1);

	return (struct str){ (char *)out, (size_t)EVP_EncodeBlock(out, (const unsigned char *)s.p, (int)s.n) };
}

/* %41 of a URL's userinfo. */
static struct str
unescape(struct arena *arena, struct str s)
{
	char *out = arena_alloc(arena, s.n + 1), hex[3] = "";
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		char *end;
		if (s.p[i] == '%' && i + 2 < s.n) {
			memcpy(hex, s.p + i + 1, 2);
			long c = strtol(hex, &end, 16);
			if (end == hex + 2) {
				out[n++] = (char)c;
				i += 2;
				continue;
			}
		}
		out[n++] = s.p[i];
	}
	return (struct str){ out, n };
}

static int
add_place(struct remote *r, struct place *p, struct str text, char problem[256])
{
	bool tls = str_starts(text, STR("https://"));
	struct str scheme = tls ? STR("https://") : STR("http://"), rest = str_from(text, scheme.n), authority, userinfo = STR_NONE;
	struct str user = str_c(r->o.user), password = str_c(r->o.password);
	struct url url;

	if (!tls && !str_starts(text, scheme)) {
		snprintf(problem, 256, "an Elasticsearch URL begins with http:// or https://");
		return -ERR_SETTING;
	}
	authority = str_cut(&rest, '/');
	for (size_t i = authority.n; i-- > 0; )
		if (authority.p[i] == '@') {
			userinfo = str_upto(authority, i);
			authority = str_from(authority, i + 1);
			break;
		}
	while (str_ends(rest, STR("/")))
		rest.n--;
	p->base = arena_printf(&r->arena, "%.*s%.*s%s%.*s", STRP(scheme), STRP(authority), rest.n ? "/" : "", STRP(rest));
	if (url_parse(&r->arena, p->base, &url) < 0 || url.query.p) {
		snprintf(problem, 256, "%.*s%.*s is no URL of an Elasticsearch, http[s]://[user:password@]host[:port][/path]", STRP(scheme),
		         STRP(str_upto(authority, 100)));
		return -ERR_SETTING;
	}
	if (!user.n && userinfo.n) {
		user = unescape(&r->arena, str_cut(&userinfo, ':'));
		password = unescape(&r->arena, userinfo);
	}
	if (r->o.api_key[0])
		p->authorization = arena_printf(&r->arena, "ApiKey %s", r->o.api_key);
	else if (user.n)
		p->authorization = arena_printf(&r->arena, "Basic %.*s",
			STRP(base64(&r->arena, arena_printf(&r->arena, "%.*s:%.*s", STRP(user), STRP(password)))));
	if (p->authorization.n && !field_value_valid(p->authorization)) {
		snprintf(problem, 256, "the Elasticsearch credentials have bytes that cannot be sent");
		return -ERR_SETTING;
	}
	return 0;
}

/* Elasticsearch's own rules for the name of an index; all else could reach other parts of its API. */
static bool
is_index_name(struct str s)
{
	if (!s.n || s.n > 255 || strchr("-_+.", s.p[0]))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9') || strchr("-_+.", s.p[i])))
			return false;
	return true;
}

static const char *
keep(struct remote *r, const char *s)
{
	return arena_dup(&r->arena, str_c(s ? s : "")).p;
}

int
remote_open(struct remote **out, const struct remote_options *o, char problem[256])
{
	struct remote *r = xcalloc(1, sizeof *r);
	int err = 0;

	r->o = *o;
	arena_init(&r->arena);
	pthread_mutex_init(&r->lock, NULL);
	r->o.index = keep(r, o->index);
	r->o.user = keep(r, o->user);
	r->o.password = keep(r, o->password);
	r->o.api_key = keep(r, o->api_key);
	if (!o->urls_n || o->urls_n > REMOTE_URLS_MAX) {
		snprintf(problem, 256, "1 to %d Elasticsearch URLs are possible", REMOTE_URLS_MAX);
		err = -ERR_SETTING;
	} else if (!is_index_name(str_c(r->o.index))) {
		snprintf(problem, 256, "\"%.100s\" cannot be the name of an Elasticsearch index: a-z 0-9 - _ + . and not beginning with a sign", r->o.index);
		err = -ERR_SETTING;
	}
	for (unsigned i = 0; i < o->urls_n && !err; i++)
		err = add_place(r, &r->places[i], str_trim(str_c(o->urls[i])), problem);
	if (err)
		remote_close(&r);
	*out = r;
	return err;
}

void
remote_close(struct remote **rp)
{
	struct remote *r = *rp;

	if (!r)
		return;
	pthread_mutex_destroy(&r->lock);
	arena_fini(&r->arena);
	free(r);
	*rp = NULL;
}

/* --- the breaker ------------------------------------------------------------------------------------------------------------ */

static unsigned
jitter(int64_t ms)
{
	return (unsigned)(ms * 3 / 4 + random() % (ms / 2 + 1));
}

/* May this call go out? *first: the place to begin with. */
static bool
admit(struct remote *r, unsigned *first, bool *probe)
{
	bool yes = true;

	pthread_mutex_lock(&r->lock);
	*first = r->first;
	*probe = false;
	if (r->closed_until) {
		yes = *probe = !r->probing && clock_mono() >= r->closed_until;
		r->probing |= *probe;
	}
	pthread_mutex_unlock(&r->lock);
	return yes;
}

bool
remote_resting(struct remote *r)
{
	bool yes;

	pthread_mutex_lock(&r->lock);
	yes = r->closed_until && (r->probing || clock_mono() < r->closed_until);
	pthread_mutex_unlock(&r->lock);
	return yes;
}

/* place: the one that has answered, or the next to begin with. */
static void
tell(struct remote *r, bool answered, unsigned place, bool probe, const char *trouble)
{
	pthread_mutex_lock(&r->lock);
	r->first = place;
	if (probe)
		r->probing = false;
	if (answered) {
		if (r->closed_until)
			log_info("Elasticsearch answers again");
		r->failures = 0;
		r->closed_until = r->rest_ms = 0;
	} else if (++r->failures >= REMOTE_FAILURES && (probe || !r->closed_until)) {
		if (!r->closed_until)
			log_warn("Elasticsearch cannot be used (%s): it is left alone for a while, and clients are served all the same", trouble);
		r->rest_ms = r->rest_ms ? r->rest_ms * 2 : REMOTE_REST_MS;
		if (r->rest_ms > REMOTE_REST_MAX_MS)
			r->rest_ms = REMOTE_REST_MAX_MS;
		r->closed_until = clock_mono() + jitter(r->rest_ms);
	}
	if (answered && trouble && trouble != r->trouble) /* it denies access: what failed is said when the breaker opens */
		log_warn("%s", trouble);
	r->trouble = trouble;
	pthread_mutex_unlock(&r->lock);
}

const char *
remote_trouble(struct remote *r)
{
	const char *t;

	pthread_mutex_lock(&r->lock);
	t = r->trouble;
	pthread_mutex_unlock(&r->lock);
	return t;
}

/* --- one call ---------------------------------------------------------------------------------------------------------------- */

/* No nesting that is deeper than ours can be: before the parser, which is recursive. */
static bool
is_shallow(const char *p, size_t n)
{
	unsigned depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < n; i++)
		if (quoted) {
			if (p[i] == '\\')
				i++;
			else
				quoted = p[i] != '"';
		} else if (p[i] == '"')
			quoted = true;
		else if (p[i] == '{' || p[i] == '[') {
			if (++depth > DEPTH_MAX)
				return false;
		} else if ((p[i] == '}' || p[i] == ']') && depth)
			depth--;
	return true;
}

/* The body, whole. -ERR_CORRUPT above the bound. */
static int64_t
read_all(struct xfer *x, size_t max, int64_t deadline, char **out)
{
	char *buf = NULL;
	size_t n = 0, cap = 0;
	const void *p;
	int64_t got;

	while ((got = httpc_read(x, &p, deadline)) > 0) {
		if ((size_t)got > max - n) {
			got = -ERR_CORRUPT;
			break;
		}
		if (n + (size_t)got > cap) {
			cap = (n + (size_t)got) * 2;
			buf = xrealloc(buf, cap);
		}
		memcpy(buf + n, p, (size_t)got);
		n += (size_t)got;
	}
	*out = buf;
	return got < 0 ? got : (int64_t)n;
}

/* One place. The result is the status, or -ERR_ES_FAILED. */
static int
call_place(struct remote *r, const struct place *p, const struct remote_call *c, struct arena *arena, int64_t deadline, json_t **json,
	const char **trouble)
{
	struct httpc_request req = { .method = str_c(c->method), .body_length = c->body.n ? (int64_t)c->body.n : -1, .connect_timeout_ms = CONNECT_MS,
	                             .internal = true };
	size_t max = c->answer_max ? c->answer_max : REMOTE_ANSWER_MAX;
	struct http_response resp = { .status = 0 };
	struct xfer *x = NULL;
	struct headers h;
	char *body = NULL;
	int64_t n = 0;
	int err;

	headers_init(&h, arena);
	headers_add(&h, STR("Accept"), STR("application/json"));
	if (c->body.n)
		headers_add(&h, STR("Content-Type"), c->lines ? STR("application/x-ndjson") : STR("application/json"));
	if (p->authorization.n)
		headers_add(&h, STR("Authorization"), p->authorization);
	req.headers = &h;
	req.url = str_starts(c->path, STR("/")) ? arena_printf(arena, "%.*s%.*s", STRP(p->base), STRP(c->path))
		: arena_printf(arena, "%.*s/%s%s%.*s", STRP(p->base), r->o.index, c->path.n && c->path.p[0] != '?' ? "/" : "", STRP(c->path));
	req.read_timeout_ms = deadline - clock_mono();
	*trouble = "Elasticsearch cannot be reached, or does not answer in time";
	if (req.read_timeout_ms <= 0)
		return -ERR_ES_FAILED;
	if ((err = httpc_begin(r->o.httpc, &req, &x)) == 0 && c->body.n && (err = httpc_send(x, c->body.p, c->body.n, deadline)) == 0)
		httpc_finish_body(x);
	if (err == -ERR_GONE && x)
		err = 0; /* it has answered already */
	while (err == 0 && (err = httpc_head(x, arena, &resp, deadline)) == 0 && resp.status < 200)
		;
	if (err == 0 && (n = read_all(x, max, deadline, &body)) < 0)
		err = (int)n;
	if (err)
		log_debug("Elasticsearch: %s", x && *httpc_problem(x) ? httpc_problem(x) : err_text(err));
	else if (n && is_shallow(body, (size_t)n))
		*json = json_loadb(body, (size_t)n, 0, NULL);
	if (x)
		httpc_end(&x);
	free(body);
	if (err)
		return -ERR_ES_FAILED;
	*trouble = "Elasticsearch answers something that is not its own";
	/* 404 and the like without JSON come from something between */
	return (!*json || !json_is_object(*json)) && strcmp(c->method, "HEAD") && resp.status != 401 && resp.status != 403 && resp.status != 429
		? -ERR_ES_FAILED : resp.status;
}

static int
err_of(int status)
{
	return status >= 200 && status < 300 ? 0 : status == 401 || status == 403 ? -ERR_ES_DENIED : status == 404 ? -ERR_NOT_FOUND
		: status == 409 ? -ERR_CONFLICT : status == 429 ? -ERR_BUSY : status >= 400 && status < 500 ? -ERR_BAD_REQUEST : -ERR_ES_FAILED;
}

static int
call(struct remote *r, const struct remote_call *c, json_t **answer, unsigned *place, const char **trouble)
{
	int64_t deadline = clock_mono() + (c->timeout_ms ? c->timeout_ms : r->o.timeout_ms);
	json_t *json = NULL;
	struct arena arena;
	int err = -ERR_ES_FAILED;

	arena_init(&arena);
	for (unsigned i = 0; i < r->o.urls_n && err == -ERR_ES_FAILED; i++) {
		if (i && clock_mono() >= deadline) {
			*place = (*place + 1) % r->o.urls_n; /* it had the time of this call; the next one begins with another */
			break;
		}
		if (i)
			*place = (*place + 1) % r->o.urls_n;
		json_decref(json);
		json = NULL;
		arena_reset(&arena);
		err = call_place(r, &r->places[*place], c, &arena, deadline, &json, trouble);
		if (err >= 500)
			*trouble = "Elasticsearch answers 5xx";
		if (err >= 0)
			err = err_of(err);
	}
	if (err == -ERR_ES_FAILED)
		count(COUNT_es_errors);
	else if (err == -ERR_ES_DENIED) {
		count(COUNT_es_denied);
		*trouble = "Elasticsearch denies access";
	} else
		*trouble = NULL;
	if (err == -ERR_BUSY)
		count(COUNT_es_throttled);
	arena_fini(&arena);
	if (answer)
		*answer = json;
	else
		json_decref(json);
	return err;
}

int
remote_do(struct remote *r, const struct remote_call *c, json_t **answer)
{
	const char *trouble = NULL;
	unsigned place;
	bool probe;
	int err;

	if (answer)
		*answer = NULL;
	if (!admit(r, &place, &probe))
		return -ERR_ES_FAILED;
	err = call(r, c, answer, &place, &trouble);
	tell(r, err != -ERR_ES_FAILED, place, probe, trouble);
	return err;
}

int
remote_check(struct remote *r, int64_t timeout_ms, char problem[256])
{
	const struct remote_call c = { .method = "GET", .path = STR("/_cluster/health?filter_path=status"), .timeout_ms = timeout_ms, .answer_max = 65536 };
	const char *trouble = NULL, *status;
	json_t *json;
	unsigned place;
	int err;

	pthread_mutex_lock(&r->lock);
	place = r->first;
	pthread_mutex_unlock(&r->lock);
	err = call(r, &c, &json, &place, &trouble);
	if (err == -ERR_ES_DENIED) /* a user with rights on the index only: it answers, and that is what was asked */
		err = 0;
	status = json_string_value(json_object_get(json, "status"));
	if (err == 0 && status && !strcmp(status, "red")) {
		trouble = "Elasticsearch is red: a part of its data is not available";
		err = -ERR_ES_FAILED;
	} else if (err == 0)
		trouble = NULL;
	snprintf(problem, 256, "%s", trouble ? trouble : err ? err_text(err) : "");
	json_decref(json);
	return err;
}

/* --- its clock ---------------------------------------------------------------------------------------------------------------- */

int64_t
remote_offset(const struct remote *r)
{
	int64_t o = r->offset;

	return o > REMOTE_CLOCK_TOLERANCE_MS || o < -REMOTE_CLOCK_TOLERANCE_MS ? o : 0;
}

int64_t
remote_offset_exactly(const struct remote *r)
{
	return r->offset;
}

void
remote_set_offset(struct remote *r, int64_t offset)
{
	r->offset = offset;
}

int
remote_measure(struct remote *r)
{
	const struct remote_call c = { .method = "GET", .path = STR("/_nodes/_local/stats/jvm?filter_path=nodes.*.timestamp"), .answer_max = 65536 };
	int64_t before = clock_wall(), after, theirs;
	const char *key;
	json_t *json, *node;
	int err = remote_do(r, &c, &json);

	after = clock_wall();
	if (err == 0) {
		err = -ERR_ES_FAILED;
		json_object_foreach(json_object_get(json, "nodes"), key, node) {
			theirs = json_integer_value(json_object_get(node, "timestamp"));
			if (theirs <= 0 || theirs > CLOCK_MAX || after < before || after - before > REMOTE_CLOCK_TOLERANCE_MS)
				break;
			remote_set_offset(r, theirs - (before + after) / 2);
			err = 0;
		}
	}
	json_decref(json);
	return err;
}
