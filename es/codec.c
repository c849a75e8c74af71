/* codec.c - see codec.h. */
#include "codec.h"
#include "../common/err.h"
#include "../common/httpdate.h"
#include <math.h>
#include <openssl/evp.h>
#include <stdlib.h>

#define URL_MAX 512             /* characters, in the old system */
#define KEYWORD_MAX 32000       /* bytes: Lucene refuses a keyword with doc values above 32766 */
#define TIME_MAX 253402300799000 /* ms: the end of 9999 */

/* what older readers look at (4.5); lower case */
static const char *const allowed[] = {
	"etag", "last-modified", "vary", "cache-control", "content-type", "content-encoding", "content-length", "content-language",
	"content-disposition", "content-location", "accept-ranges", "location", "link", "expires",
};
/* members that are ours to write, or that older versions wrote about a response that is gone when ours is written */
static const char *const known[] = {
#define META(name, type, es_name) es_name,
#define META_TYPE_str
#define META_TYPE_i64
#define META_TYPE_headers
#include "../common/tbl/meta.h"
	"px_stored_at", "px_headers", "px_vary", "px_vary_request", "method", "sha224", "last_modified", "reason",
};

static bool
is_known(const char *name)
{
	for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
		if (!strcmp(name, known[i]))
			return true;
	return false;
}

/* --- writing ------------------------------------------------------------------------------------------------------------------ */

static bool
is_utf8(struct str s)
{
	for (size_t i = 0, n; i < s.n; i += n)
		if (!s.p[i] || !(n = utf8_sequence(s.p + i, s.n - i)))
			return false;
	return true;
}

/* Bytes that are no UTF-8 are taken for Latin-1, as old readers of header fields do. */
static json_t *
text(struct str s)
{
	char *out, *p;
	json_t *j;

	if (is_utf8(s))
		return json_stringn(s.n ? s.p : "", s.n);
	p = out = xmalloc(2 * s.n);
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if (c >= 0x80) {
			*p++ = (char)(0xc0 | c >> 6);
			*p++ = (char)(0x80 | (c & 0x3f));
		} else
			*p++ = c ? (char)c : ' ';
	}
	j = json_stringn(out, (size_t)(p - out));
	free(out);
	return j;
}

static json_t *
base64(struct str s)
{
	unsigned char *out = xmalloc((s.n + 2) / 3 * 4 + 1);
	int n = EVP_EncodeBlock(out, (const unsigned char *)s.p, (int)s.n);
	json_t *j = json_stringn((char *)out, (size_t)n);

	free(out);
	return j;
}

static int64_t
clamp(int64_t t, int64_t max)
{
	return t < 0 ? 0 : t > max ? max : t;
}

json_t *
codec_time(int64_t ms)
{
	char buf[33];

	iso8601_format(clamp(ms, TIME_MAX), buf);
	return json_string(buf);
}

static json_t *
integer(int64_t v)
{
	return json_integer(v);
}

static bool
is_allowed(struct str name)
{
	for (unsigned i = 0; i < sizeof allowed / sizeof *allowed; i++)
		if (str_caseeq(name, str_c(allowed[i])))
			return true;
	return false;
}

/* The map of 4.5. content-length is the whole body's. */
static json_t *
allowed_headers(const struct meta *m, struct arena *arena)
{
	json_t *map = json_object();

	for (unsigned i = 0; i < m->headers.n; i++) {
		struct str name = arena_lower(arena, m->headers.v[i].name);
		if (is_allowed(name) && !str_eq(name, STR("content-length")))
			json_object_setn_new(map, name.p, name.n, text(headers_joined(&m->headers, name, arena)));
	}
	if (m->content_size >= 0)
		json_object_set_new(map, "content-length", text(arena_printf(arena, "%lld", (long long)m->content_size)));
	return map;
}

/* [[name, value]…]; [name, null, base64] when the value is no UTF-8. */
static json_t *
all_headers(const struct headers *h)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < h->n; i++) {
		json_t *f = json_array();
		json_array_append_new(f, text(h->v[i].name));
		if (is_utf8(h->v[i].value))
			json_array_append_new(f, text(h->v[i].value));
		else {
			json_array_append_new(f, json_null());
			json_array_append_new(f, base64(h->v[i].value));
		}
		json_array_append_new(list, f);
	}
	return list;
}

/* The first so many characters of a text. */
static struct str
characters(struct str s, size_t max)
{
	size_t at = 0;

	for (size_t n, i = 0; at < s.n && i < max; i++, at += n)
		if (!(n = utf8_sequence(s.p + at, s.n - at)))
			n = 1;
	return str_upto(s, at);
}

static bool
is_vary_index(const struct meta *m)
{
	return str_eq(m->doc_type, STR("vary_index"));
}

/* The Date field is the origin's word; without one it is when we received it. */
static int64_t
date_offset(const struct meta *m, int64_t offset)
{
	return headers_has(&m->headers, STR("Date")) ? 0 : offset / 1000;
}

static void
keep_unknown(json_t *doc, const json_t *older)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)older, name, value)
		if (!is_known(name))
			json_object_set(doc, name, value);
}

json_t *
codec_write(const struct meta *m, int64_t offset)
{
	json_t *doc = json_object();
	json_error_t e;
	struct arena a;

	arena_init(&a);
	if (m->unknown.n) {
		json_t *unknown = json_loadb(m->unknown.p, m->unknown.n, 0, &e);
		keep_unknown(doc, unknown);
		json_decref(unknown);
	}
	json_object_set_new(doc, "doc_type", text(m->doc_type.n ? m->doc_type : STR("metadata")));
	json_object_set_new(doc, "px_stored_at", integer(clamp(m->stored_at + offset, TIME_MAX)));
	if (m->vary.p && m->vary.n <= KEYWORD_MAX)
		json_object_set_new(doc, "vary", text(m->vary));
	if (is_vary_index(m)) {
		json_object_set_new(doc, "px_vary", text(m->vary));
		arena_fini(&a);
		return doc;
	}
	json_object_set_new(doc, "status_code", integer(m->status));
	json_object_set_new(doc, "url", text(characters(m->url, URL_MAX)));
	json_object_set_new(doc, "extension", text(m->extension));
	if (m->content_size >= 0)
		json_object_set_new(doc, "content_size", integer(m->content_size));
	json_object_set_new(doc, "stored_at", codec_time(m->stored_at + offset));
	if (m->last_access > 0)
		json_object_set_new(doc, "last_access", codec_time(m->last_access + offset));
	json_object_set_new(doc, "headers", allowed_headers(m, &a));
	if (m->vary_request.p && m->vary_request.n <= KEYWORD_MAX)
		json_object_set_new(doc, "vary_request", text(m->vary_request));
	json_object_set_new(doc, "manifest_b64", m->manifest.n ? base64(m->manifest) : json_null());
	json_object_set_new(doc, "px_headers", all_headers(&m->headers));
	if (m->vary.n > KEYWORD_MAX || !is_utf8(m->vary))
		json_object_set_new(doc, "px_vary", base64(m->vary));
	if (m->vary_request.n > KEYWORD_MAX || !is_utf8(m->vary_request))
		json_object_set_new(doc, "px_vary_request", base64(m->vary_request));
	json_object_set_new(doc, "px_request_time", integer(clamp(m->request_time + offset, TIME_MAX)));
	json_object_set_new(doc, "px_response_time", integer(clamp(m->response_time + offset, TIME_MAX)));
	json_object_set_new(doc, "px_date", integer(clamp(m->date + date_offset(m, offset), TIME_MAX / 1000)));
	json_object_set_new(doc, "px_age", integer(m->age_value));
	json_object_set_new(doc, "px_flags", integer(m->flags & ~META_HEADERS_ONLY));
	json_object_set_new(doc, "px_http_minor", integer(m->minor));
	json_object_set_new(doc, "px_reason", text(m->reason));
	arena_fini(&a);
	return doc;
}

/* --- reading: whatever is in the index comes in here ------------------------------------------------------------------------- */

static struct str
string(const json_t *j, struct arena *arena)
{
	return json_is_string(j) ? arena_dup(arena, (struct str){ json_string_value(j), json_string_length(j) }) : STR_NONE;
}

static struct str
member(const json_t *source, const char *name, struct arena *arena)
{
	return string(json_object_get(source, name), arena);
}

static int64_t
number(const json_t *source, const char *name, int64_t min, int64_t max, int64_t otherwise)
{
	const json_t *j = json_object_get(source, name);

	return json_is_integer(j) && json_integer_value(j) >= min && json_integer_value(j) <= max ? json_integer_value(j) : otherwise;
}

/* ISO 8601, or an epoch number: seconds as the old generations wrote them, or milliseconds as Elasticsearch has them. */
static int64_t
time_of(const json_t *j)
{
	int64_t t = 0;
	double d;

	if (json_is_string(j)) {
		struct str s = { json_string_value(j), json_string_length(j) };
		t = iso8601_parse(s);
	} else if (json_is_number(j)) {
		d = json_number_value(j);
		if (isfinite(d) && d > 0 && d < (double)TIME_MAX)
			t = d < 1e11 ? (int64_t)llround(d * 1000) : (int64_t)d;
	}
	return t <= 0 || t > TIME_MAX ? 0 : t;
}

void
codec_merge(json_t *doc, const json_t *older)
{
	const json_t *last = json_object_get(older, "last_access");

	keep_unknown(doc, older);
	if (json_object_get(doc, "status_code") && time_of(last) > time_of(json_object_get(doc, "last_access")))
		json_object_set(doc, "last_access", (json_t *)last);
}

bool
codec_invalidated(const json_t *source)
{
	return number(source, "px_flags", 0, INT32_MAX, 0) & META_INVALIDATED;
}

/* p == NULL: there is none. Standard alphabet, padded; anything else is not ours. */
static bool
from_base64(const json_t *j, struct arena *arena, struct str *out)
{
	struct str s = { json_string_value(j), json_string_length(j) };
	unsigned char *buf;
	int n, pad = 0;

	*out = STR_NONE;
	if (!json_is_string(j))
		return json_is_null(j) || !j;
	if (s.n % 4 || s.n > META_RECORD_MAX)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '=') {
			pad++;
			if (i + 2 < s.n)
				return false;
		} else if (pad || !strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", s.p[i]) || !s.p[i])
			return false;
	buf = arena_alloc(arena, s.n / 4 * 3 + 1);
	if ((n = EVP_DecodeBlock(buf, (const unsigned char *)s.p, (int)s.n)) < 0)
		return false;
	*out = (struct str){ (char *)buf, (size_t)(n - pad) };
	return true;
}

/* A text, or base64 where it could not be one. */
static struct str
text_or_base64(const json_t *source, const char *name, const char *px_name, struct arena *arena)
{
	struct str s;

	if (json_is_string(json_object_get(source, px_name)) && from_base64(json_object_get(source, px_name), arena, &s))
		return s;
	return member(source, name, arena);
}

static bool
read_all_headers(const json_t *list, struct arena *arena, struct headers *h)
{
	size_t i;
	json_t *f;

	json_array_foreach(list, i, f) {
		struct str name = string(json_array_get(f, 0), arena), value = string(json_array_get(f, 1), arena);
		if (json_is_null(json_array_get(f, 1)) && !from_base64(json_array_get(f, 2), arena, &value))
			return false;
		if (!name.p || !value.p || !field_name_valid(name) || !field_value_valid(value))
			return false;
		headers_add(h, name, value);
	}
	return true;
}

/* The map of 4.5, from an older writer: what could not be a field is left out. */
static void
read_allowed_headers(const json_t *map, struct arena *arena, struct headers *h)
{
	const char *key;
	json_t *j;

	json_object_foreach((json_t *)map, key, j) {
		struct str name = arena_dup(arena, str_c(key)), value = str_trim(string(j, arena));
		if (value.p && field_name_valid(name) && field_value_valid(value) && !str_caseeq(name, STR("content-range")))
			headers_add(h, name, value);
	}
}

int
codec_manifest(const json_t *source, struct arena *arena, struct str *manifest)
{
	return from_base64(json_object_get(source, "manifest_b64"), arena, manifest) ? 0 : -ERR_CORRUPT;
}

static int64_t
le64(const char *p)
{
	uint64_t v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | (unsigned char)p[i];
	return v > INT64_MAX ? -1 : (int64_t)v;
}

/* The body's length in a manifest (4.7); the rest of it is s3/'s business. -1: it is none. */
static int64_t
manifest_size(struct str m)
{
	return m.n < 26 || memcmp(m.p, "XS3M", 4) ? -1 : le64(m.p + 14);
}

/* Are the added members about the version that is in the document? */
static bool
is_ours(const json_t *source, bool vary_index)
{
	int64_t t = number(source, "px_stored_at", 1, TIME_MAX, 0);

	if (vary_index)
		return t && json_equal(json_object_get(source, "px_vary"), json_object_get(source, "vary"));
	return t && t == time_of(json_object_get(source, "stored_at")) && json_is_array(json_object_get(source, "px_headers"));
}

static bool
says_vary_index(const json_t *source)
{
	const char *type = json_string_value(json_object_get(source, "doc_type"));

	return type && !strcmp(type, "vary_index");
}

int64_t
codec_stored_at(const json_t *source, int64_t offset)
{
	bool vary_index = says_vary_index(source);
	int64_t t = !vary_index ? time_of(json_object_get(source, "stored_at"))
		: is_ours(source, true) ? number(source, "px_stored_at", 1, TIME_MAX, 0) : 0;

	return t ? clamp(t - offset, TIME_MAX) : 0;
}

static void
read_ours(const json_t *source, int64_t offset, struct meta *m, struct arena *arena)
{
	m->request_time = clamp(number(source, "px_request_time", 0, TIME_MAX, m->stored_at + offset) - offset, TIME_MAX);
	m->response_time = clamp(number(source, "px_response_time", 0, TIME_MAX, m->stored_at + offset) - offset, TIME_MAX);
	m->date = clamp(number(source, "px_date", 0, TIME_MAX / 1000, m->stored_at / 1000) - date_offset(m, offset), TIME_MAX / 1000);
	m->age_value = number(source, "px_age", 0, INT32_MAX, 0);
	m->minor = number(source, "px_http_minor", 0, 9, 1);
	m->reason = member(source, "px_reason", arena);
}

/* What the old system wrote: freshness counts from stored_at, which it moves at each validation. */
static void
read_theirs(const json_t *source, struct meta *m, struct arena *arena)
{
	struct str modified = member(source, "last_modified", arena);

	m->request_time = m->response_time = m->stored_at;
	m->date = m->stored_at / 1000;
	m->minor = 1;
	m->reason = member(source, "reason", arena);
	m->flags |= META_HEADERS_ONLY;
	if (modified.n && field_value_valid(modified) && !headers_has(&m->headers, STR("Last-Modified")))
		headers_add(&m->headers, STR("last-modified"), modified);
	if (m->reason.n && !field_value_valid(m->reason))
		m->reason = STR_NONE;
}

/* Nothing was stored in the future. Who says so has a clock that is ahead of ours, which remote_offset does not know of: the age is then counted
 * from now on, and begins with what it was there (RFC 9111 4.2.3: the larger of apparent_age and corrected_age_value). When that is more than
 * clocks may differ, nobody knows how long it has been there: it is to be validated. */
static void
clamp_to_now(struct meta *m, int64_t now)
{
	int64_t response = m->response_time, delay = response - m->request_time, apparent;

	if (m->stored_at > now)
		m->stored_at = now;
	if (m->last_access > now)
		m->last_access = now;
	if (response <= now)
		return;
	if (response > now + CODEC_TOLERANCE_MS)
		m->flags |= META_INVALIDATED;
	if (delay < 0)
		delay = 0;
	apparent = response / 1000 - m->date;
	if (apparent > m->age_value + delay / 1000)
		m->age_value = apparent - delay / 1000;
	m->response_time = now;
	m->request_time = now > delay ? now - delay : 0;
}

static void
read_unknown(const json_t *source, struct meta *m, struct arena *arena)
{
	json_t *unknown = json_object();
	char *s;

	keep_unknown(unknown, source);
	if (json_object_size(unknown) && (s = json_dumps(unknown, JSON_COMPACT))) {
		if (strlen(s) <= CODEC_UNKNOWN_MAX)
			m->unknown = arena_dup(arena, str_c(s));
		free(s);
	}
	json_decref(unknown);
}

int
codec_read(const json_t *source, struct str id, int64_t offset, int64_t now, struct arena *arena, struct meta *m)
{
	bool vary_index = says_vary_index(source), ours = is_ours(source, vary_index);
	const char *method = json_string_value(json_object_get(source, "method"));
	int64_t size;

	meta_init(m, arena);
	if (!json_is_object(source) || !id.n)
		return -ERR_CORRUPT;
	m->id = arena_dup(arena, id);
	m->doc_type = member(source, "doc_type", arena);
	m->vary = text_or_base64(source, "vary", vary_index ? "" : "px_vary", arena);
	m->stored_at = codec_stored_at(source, offset);
	read_unknown(source, m, arena);
	if (vary_index) {
		clamp_to_now(m, now);
		return m->vary.n && field_value_valid(m->vary) ? 0 : -ERR_NOT_FOUND;
	}
	m->status = number(source, "status_code", 200, 599, 0);
	if (m->status == 206 || m->status == 304) /* no answer to somebody else's request; parts are never shared */
		m->status = 0;
	if (!m->status || !str_eq(m->doc_type, STR("metadata")) || (method && !strcmp(method, "HEAD") && !ours))
		return -ERR_NOT_FOUND;
	m->url = member(source, "url", arena);
	m->extension = member(source, "extension", arena);
	m->last_access = time_of(json_object_get(source, "last_access"));
	m->last_access = m->last_access ? clamp(m->last_access - offset, TIME_MAX) : 0;
	m->vary_request = text_or_base64(source, "vary_request", "px_vary_request", arena);
	m->flags = number(source, "px_flags", 0, INT32_MAX, 0) & (META_MUST_REVALIDATE_ALWAYS | META_AUTHORIZED | META_INVALIDATED | META_COOKIE);
	if (!from_base64(json_object_get(source, "manifest_b64"), arena, &m->manifest)
	    || (ours && !read_all_headers(json_object_get(source, "px_headers"), arena, &m->headers)))
		return -ERR_CORRUPT;
	if (ours)
		read_ours(source, offset, m, arena);
	else {
		read_allowed_headers(json_object_get(source, "headers"), arena, &m->headers);
		read_theirs(source, m, arena);
	}
	headers_strip_hop_by_hop(&m->headers); /* hits are sent as they are stored (RFC 9111 3.1): whoever wrote it may not have known that */
	m->content_size = number(source, "content_size", 0, INT64_MAX, -1);
	if (m->content_size < 0 && json_object_get(source, "content_size") && !json_is_null(json_object_get(source, "content_size")))
		return -ERR_CORRUPT;
	if (m->manifest.n) {
		if ((size = manifest_size(m->manifest)) < 0 || (m->content_size >= 0 && m->content_size != size))
			return -ERR_CORRUPT; /* two writers of the old system that met, or worse */
		m->content_size = size;
	} else if (m->content_size > 0)
		return -ERR_NOT_FOUND; /* its body is lost, or was never stored */
	else if (m->content_size < 0) {
		int64_t length = -1;
		if (http_content_length(&m->headers, &length) < 0 || length > 0 || (length < 0 && m->status < 300))
			return -ERR_NOT_FOUND;
		m->content_size = 0;
	}
	clamp_to_now(m, now);
	return 0;
}
