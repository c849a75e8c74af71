/* http1.c - see http1.h. In the order of a message: the end of a head, the request line, fields, framing, chunked bodies, writing. */
#include <endian.h>
#include <string.h>

#include "../common/err.h"
#include "http1.h"

#define EMPTY_LINES 4               /* CRLFs before a request line that are forgiven (RFC 9112 2.2 speaks of "at least one") */
#define CHUNK_DIGITS 16             /* of a chunk's size: all that an uint64_t takes, leading zeros included */
#define CHUNK_EXTENSIONS 4096       /* bytes of one chunk's extensions, and of those that data has not paid back (RFC 9112 7.1.1) */
#define TRAILER_SECTION 8192        /* bytes */
#define TRAILER_FIELDS 64

/* tchar (RFC 9110 5.6.2) */
static const bool tchar[256] = {
	['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,
	['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1, ['~'] = 1,
	['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

/* The first control byte (below 0x20, or DEL), eight bytes at a time: in a head these are nearly only its CRs. Borrows make false hits
 * above a true one only, so the lowest hit is true; le64toh makes the lowest the first. */
static inline const char *
find_control(const char *p, const char *end)
{
	const uint64_t ones = ~UINT64_C(0) / 255;

	for (; end - p >= 8; p += 8) {
		uint64_t w, del, hit;
		memcpy(&w, p, 8);
		w = le64toh(w);
		del = w ^ ones * 0x7f;
		hit = (((w - ones * 0x20) & ~w) | ((del - ones) & ~del)) & ones * 0x80;
		if (hit)
			return p + (__builtin_ctzll(hit) >> 3);
	}
	while (p < end && (unsigned char)*p >= 0x20 && *p != 0x7f)
		p++;
	return p;
}

/* The same without HTAB, which is a blank: what is found ends a line, or is an error. */
static inline const char *
find_end(const char *p, const char *end)
{
	while ((p = find_control(p, end)) < end && *p == '\t')
		p++;
	return p;
}

static size_t
empty_lines(const char *buf, size_t n)
{
	size_t i = 0;

	while (n - i >= 2 && buf[i] == '\r' && buf[i + 1] == '\n')
		i += 2;
	return i;
}

int
http1_scan(const char *buf, size_t n, size_t *seen, const struct http1_limits *limits)
{
	size_t start = empty_lines(buf, n), length = 0, room;
	const char *end = buf + n, *p = buf + (*seen > start ? *seen : start);

	if (start > 2 * EMPTY_LINES)
		return -ERR_BAD_REQUEST;
	while (!length) {
		p = find_end(p, end);
		if (p == end || (*p == '\r' && p + 1 == end))
			break;
		if (*p != '\r' || p[1] != '\n')
			return -ERR_BAD_REQUEST; /* RFC 9112 2.2 forbids a bare CR, and lets us refuse a bare LF */
		p += 2;
		if (p - buf >= (ptrdiff_t)start + 4 && p[-3] == '\n')
			length = (size_t)(p - buf);
	}
	*seen = (size_t)(p - buf);

	/* The request line is looked for only when there is enough for it to be too long: a trickle costs nothing here. */
	room = (length ? length : n) - start;
	if (room >= limits->line + 2 && !memchr(buf + start, '\n', limits->line + 2))
		return -ERR_URI_TOO_LONG;
	if (length > limits->head || (!length && n >= limits->head))
		return memchr(buf + start, '\n', room) ? -ERR_HEAD_TOO_LARGE : -ERR_URI_TOO_LONG;
	return (int)length;
}

const char *
http1_scan_problem(const char *buf, size_t n)
{
	const char *end = buf + n, *p = find_end(buf, end);

	if (empty_lines(buf, n) > 2 * EMPTY_LINES)
		return "too many empty lines before the request line";
	while (end - p >= 2 && p[0] == '\r' && p[1] == '\n')
		p = find_end(p + 2, end);
	if (p == end)
		return "the head is not complete";
	return *p == '\r' ? "a CR that no LF follows (RFC 9112 2.2)" :
	       *p == '\n' ? "a LF without a CR before it (RFC 9112 2.2)" : "a control byte in the head (RFC 9110 5.5)";
}

/* One field line at *p: 1 and *f, 0 at the empty line that ends the section; *p is behind the line. */
static int
parse_field(const char **p, const char *end, struct field *f, const char **problem)
{
	const char *name = *p, *colon = name, *eol;

	while (colon < end && tchar[(unsigned char)*colon])
		colon++;
	if (colon == name || colon == end || *colon != ':') {
		if (end - name >= 2 && name[0] == '\r' && name[1] == '\n') {
			*p = name + 2;
			return 0;
		}
		*problem = colon < end && (*colon == ' ' || *colon == '\t') ?
			colon == name ? "a header line that begins with a blank (RFC 9112 5.2)" :
			"a blank between a field's name and its colon (RFC 9112 5.1)" : "a header line without a valid name (RFC 9112 5)";
		return -ERR_BAD_REQUEST;
	}
	eol = find_end(colon + 1, end);
	if (end - eol < 2 || eol[0] != '\r' || eol[1] != '\n') {
		*problem = "a control byte in a field's value (RFC 9110 5.5)";
		return -ERR_BAD_REQUEST;
	}
	f->name = (struct str){ name, (size_t)(colon - name) };
	f->value = str_trim((struct str){ colon + 1, (size_t)(eol - colon - 1) });
	*p = eol + 2;
	return 1;
}

/* What is gathered about the fields that decide framing and routing, while they go by. */
struct seen {
	struct str host, coding;
	unsigned hosts, codings, lengths;
	bool close, keep_alive, upgrade_option, upgrade, expect_continue;
};

static void
look(struct seen *s, const struct field *f)
{
	struct str rest = f->value, member;

	switch (f->name.n) {
	case 4:
		if (str_caseeq(f->name, STR("Host"))) {
			s->hosts++;
			s->host = f->value;
		}
		break;
	case 6:
		if (str_caseeq(f->name, STR("Expect")) && str_caseeq(f->value, STR("100-continue")))
			s->expect_continue = true;
		break;
	case 7:
		if (str_caseeq(f->name, STR("Upgrade")) && f->value.n)
			s->upgrade = true;
		break;
	case 10:
		if (str_caseeq(f->name, STR("Connection")))
			while (value_next(&rest, &member)) {
				s->close |= str_caseeq(member, STR("close"));
				s->keep_alive |= str_caseeq(member, STR("keep-alive"));
				s->upgrade_option |= str_caseeq(member, STR("upgrade"));
			}
		break;
	case 14:
		s->lengths += str_caseeq(f->name, STR("Content-Length"));
		break;
	case 17:
		if (str_caseeq(f->name, STR("Transfer-Encoding"))) {
			s->codings++;
			s->coding = f->value;
		}
		break;
	}
}

/* "chunked" alone is understood. Others before a last chunked could be, but are not (501); what does not end in one chunked has no
 * length that two readers agree on (RFC 9112 6.1, 6.3). */
static int
judge_coding(const struct headers *h, const struct seen *s, const char **problem)
{
	struct str member = STR_NONE, last = STR_NONE;
	unsigned chunked = 0, others = 0;

	if (s->codings == 1 && str_caseeq(s->coding, STR("chunked")))
		return 0;
	for (struct list_iter it = list_start(h, STR("Transfer-Encoding")); list_next(&it, &member); last = member) {
		struct str params = member, name = str_trim(str_cut(&params, ';'));
		if (!field_name_valid(name)) {
			*problem = "a Transfer-Encoding that is no list of codings (RFC 9112 6.1)";
			return -ERR_BAD_REQUEST;
		}
		if (str_caseeq(member, STR("chunked")))
			chunked++;
		else
			others++;
	}
	if (chunked == 1 && others && str_caseeq(last, STR("chunked"))) {
		*problem = "a transfer coding besides chunked (RFC 9112 6.1)";
		return -ERR_NOT_IMPLEMENTED;
	}
	*problem = chunked ? "a Transfer-Encoding with chunked not once and last (RFC 9112 6.1)" :
		"a Transfer-Encoding without chunked at its end (RFC 9112 6.3)";
	return -ERR_BAD_REQUEST;
}

static int
judge_framing(struct http_request *req, const struct seen *s, bool tunnel, struct http1_framing *f)
{
	struct headers *h = &req->headers;
	int r;

	f->length = -1;
	if (s->codings) {
		if (s->lengths) {
			f->problem = "Content-Length together with Transfer-Encoding (RFC 9112 6.1)";
			return -ERR_BAD_REQUEST;
		}
		if (req->minor == 0) {
			f->problem = "Transfer-Encoding in HTTP/1.0 (RFC 9112 6.1)";
			return -ERR_BAD_REQUEST;
		}
		if ((r = judge_coding(h, s, &f->problem)) < 0)
			return r;
		f->body = BODY_CHUNKED;
	} else if (s->lengths) {
		if (http_content_length(h, &f->length) < 0) {
			f->problem = "a Content-Length that is no number, or several that differ (RFC 9110 8.6)";
			return -ERR_BAD_REQUEST;
		}
		if (s->lengths > 1 || memchr(headers_get(h, STR("Content-Length")).p, ',', headers_get(h, STR("Content-Length")).n))
			headers_set(h, STR("Content-Length"), arena_printf(h->arena, "%lld", (long long)f->length));
		f->body = f->length > 0 ? BODY_LENGTH : BODY_NONE;
	}
	if (req->method == METHOD_CONNECT && f->body != BODY_NONE) {
		/* RFC 9110 9.3.6: what follows belongs to the tunnel, so a body here has two readings */
		f->problem = "CONNECT with a body (RFC 9110 9.3.6)";
		return -ERR_BAD_REQUEST;
	}
	/* RFC 9112 9.3: a proxy never keeps an HTTP/1.0 client's connection. Inside a tunnel we are the origin as the client sees it. */
	f->keep_alive = !s->close && (req->minor >= 1 || (s->keep_alive && tunnel));
	f->expect_continue = s->expect_continue && req->minor >= 1 && f->body != BODY_NONE; /* RFC 9110 10.1.1 */
	f->upgrade = s->upgrade && s->upgrade_option && req->minor >= 1;                    /* RFC 9110 7.8 */
	return 0;
}

/* Origin-form: the resource is named by Host; a tunnel lends what Host leaves open. */
static int
resolve_origin(struct arena *a, struct str target, const struct http1_tunnel *tunnel, const struct seen *s, struct http_request *req)
{
	struct str scheme = tunnel ? tunnel->scheme : STR("http"), authority = s->host, host;
	unsigned port = 0;
	bool v6, named = true;
	int r;

	if (s->hosts && url_authority(s->host, &host, &port) < 0)
		return -ERR_BAD_REQUEST;
	/* A Host without a port where the tunnel has one: clients forget it, and mean the tunnel's. */
	if (tunnel && (!s->hosts || (port == 0 && str_caseeq(host, tunnel->host)))) {
		v6 = tunnel->host.n && memchr(tunnel->host.p, ':', tunnel->host.n);
		authority = arena_printf(a, v6 ? "[%.*s]:%u" : "%.*s:%u", STRP(tunnel->host), tunnel->port);
		named = false;
	} else if (!s->hosts) { /* HTTP/1.0 to the proxy itself: there is no name to take */
		r = url_from_target(a, scheme, STR("localhost"), target, &req->url);
		req->url.host = STR("");
		return r;
	}
	if ((r = url_from_target(a, scheme, authority, target, &req->url)) < 0)
		return r;
	/* One key, one Host: else the same document id could be asked for with two of them. */
	if (!named && !str_caseeq(s->host, url_host_field(a, &req->url)))
		headers_set(&req->headers, STR("Host"), url_host_field(a, &req->url));
	return 0;
}

/* Absolute-form: its authority wins over Host, which is replaced (RFC 9112 3.2.2). */
static int
resolve_absolute(struct arena *a, struct str target, const struct seen *s, struct http_request *req)
{
	struct str authority = str_from(target, str_casestarts(target, STR("https")) ? 8 : 7), path;
	int r = url_parse(a, target, &req->url);
	size_t n = 0;

	if (r < 0)
		return r;
	while (n < authority.n && authority.p[n] != '/' && authority.p[n] != '?')
		n++;
	path = str_from(authority, n);
	authority = str_upto(authority, n);
	if (path.n == 0 && req->method == METHOD_OPTIONS && /* RFC 9112 3.2.4: it was "*" before a client made it absolute */
	    (r = url_from_target(a, req->url.scheme, authority, STR("*"), &req->url)) < 0)
		return r;
	if (!s->hosts || !str_caseeq(s->host, authority))
		headers_set(&req->headers, STR("Host"), url_host_field(a, &req->url));
	return 0;
}

static int
resolve_authority(struct arena *a, struct str target, struct http_request *req)
{
	int r;

	req->url = (struct url){ .text = target };
	if ((r = url_authority(target, &req->url.host, &req->url.port)) < 0)
		return r;
	return req->url.port ? 0 : -ERR_BAD_REQUEST; /* RFC 9110 9.3.6: there is no default port */
}

static int
resolve(struct arena *a, struct str target, const struct http1_tunnel *tunnel, const struct seen *s, struct http_request *req,
        enum http1_target *form, const char **problem)
{
	struct str host;
	unsigned port;
	int r;

	if (s->hosts > 1 || (s->hosts == 0 && req->minor >= 1)) {
		*problem = s->hosts ? "several Host fields (RFC 9112 3.2)" : "no Host field (RFC 9112 3.2)";
		return -ERR_BAD_REQUEST;
	}
	if (s->host.n && url_authority(s->host, &host, &port) < 0) {
		*problem = "a Host that is no host and port (RFC 9110 7.2)";
		return -ERR_BAD_REQUEST;
	}
	*problem = "a request target that is not valid (RFC 9112 3.2)";
	if (req->method == METHOD_CONNECT) {
		*form = TARGET_AUTHORITY;
		*problem = "a CONNECT target that is not host:port (RFC 9110 9.3.6)";
		r = resolve_authority(a, target, req);
	} else if (target.p[0] == '/' || str_eq(target, STR("*"))) {
		*form = target.p[0] == '/' ? TARGET_ORIGIN : TARGET_ASTERISK;
		if (*form == TARGET_ASTERISK && req->method != METHOD_OPTIONS) {
			*problem = "a target of * with a method other than OPTIONS (RFC 9112 3.2.4)";
			return -ERR_BAD_REQUEST;
		}
		if (s->hosts && s->host.n == 0)
			*problem = "an empty Host (RFC 9110 4.2.1)";
		r = resolve_origin(a, target, tunnel, s, req);
	} else {
		*form = TARGET_ABSOLUTE;
		r = resolve_absolute(a, target, s, req);
	}
	if (r == 0)
		*problem = NULL;
	return r;
}

/* request-line = method SP request-target SP HTTP-version, exactly (RFC 9112 3). *p is behind it. */
static int
parse_request_line(const char **p, const char *end, struct http_request *req, struct str *target, const char **problem)
{
	const char *line = *p, *eol = find_control(line, end), *sp = line, *version;

	*problem = "a request line that is not \"method target HTTP/1.1\" (RFC 9112 3)";
	if (end - eol < 2 || eol[0] != '\r' || eol[1] != '\n' || eol - line < (ptrdiff_t)sizeof "G / HTTP/1.1" - 1)
		return -ERR_BAD_REQUEST;
	while (tchar[(unsigned char)*sp])
		sp++;
	version = eol - 8;
	if (sp == line || *sp != ' ' || version - 1 <= sp + 1 || version[-1] != ' ')
		return -ERR_BAD_REQUEST;
	if (memcmp(version, "HTTP/", 5) != 0 || version[6] != '.' || version[5] < '0' || version[5] > '9' ||
	    version[7] < '0' || version[7] > '9')
		return -ERR_BAD_REQUEST;
	*target = (struct str){ sp + 1, (size_t)(version - 1 - (sp + 1)) };
	if (memchr(target->p, ' ', target->n))
		return -ERR_BAD_REQUEST;
	if (version[5] != '1') {
		*problem = "another version than HTTP/1.0 or HTTP/1.1 (RFC 9110 2.5)";
		return -ERR_VERSION;
	}
	req->method_name = (struct str){ line, (size_t)(sp - line) };
	req->method = http_method(req->method_name);
	req->minor = version[7] == '0' ? 0 : 1; /* a later minor is read as the one that we speak (RFC 9110 2.5) */
	*p = eol + 2;
	*problem = NULL;
	return 0;
}

int
http1_request(struct str head, const struct http1_tunnel *tunnel, const struct http1_limits *limits, struct arena *a,
              struct http_request *req, struct http1_framing *framing, enum http1_target *form)
{
	struct str copy = arena_dup(a, str_from(head, empty_lines(head.p, head.n))), target;
	const char *p = copy.p, *end = copy.p + copy.n;
	struct seen seen = { 0 };
	struct field f;
	int r;

	*framing = (struct http1_framing){ .length = -1 };
	*req = (struct http_request){ 0 };
	headers_init(&req->headers, a);
	if ((r = parse_request_line(&p, end, req, &target, &framing->problem)) < 0)
		return r;
	if (target.p - 1 + target.n + 10 - copy.p > (ptrdiff_t)limits->line) {
		framing->problem = "the request line is too long";
		return -ERR_URI_TOO_LONG;
	}
	while ((r = parse_field(&p, end, &f, &framing->problem)) > 0) {
		if (req->headers.n >= limits->fields) {
			framing->problem = "too many header fields";
			return -ERR_HEAD_TOO_LARGE;
		}
		look(&seen, &f);
		headers_add(&req->headers, f.name, f.value);
	}
	if (r < 0)
		return r;
	if (p != end) {
		framing->problem = "bytes behind the empty line that ends the head";
		return -ERR_BAD_REQUEST;
	}
	if ((r = judge_framing(req, &seen, tunnel != NULL, framing)) < 0)
		return r;
	return resolve(a, target, tunnel, &seen, req, form, &framing->problem);
}

enum {
	SIZE_FIRST,  /* the first digit of a chunk's size */
	SIZE,
	EXTENSION,
	SIZE_LF,
	DATA,
	DATA_CR,
	DATA_LF,
	TRAILER,     /* at the beginning of a trailer line */
	TRAILER_LINE,
	TRAILER_LF,
	LAST_LF,
	DONE,
	BROKEN,      /* stays so, whatever comes */
};

void
http1_chunked_init(struct http1_chunked *c, struct arena *a, struct headers *trailers)
{
	*c = (struct http1_chunked){ .state = SIZE_FIRST, .arena = a, .trailers = trailers };
}

static int
broken(struct http1_chunked *c, const char *problem)
{
	c->state = BROKEN;
	c->problem = problem;
	return -ERR_BAD_REQUEST;
}

static int
hex(char ch)
{
	char low = ascii_lower(ch);

	return ch >= '0' && ch <= '9' ? ch - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

/* Fields that may not come late: they decide where the message ends or goes (refused, for somebody upstream may believe them), or how it is
 * handled, which has been decided by now (dropped; RFC 9110 6.5.1). */
static bool
trailer_refused(struct str name)
{
	return str_caseeq(name, STR("Transfer-Encoding")) || str_caseeq(name, STR("Content-Length")) || str_caseeq(name, STR("Host"));
}

static bool
trailer_dropped(struct str name)
{
	static const char *const names[] = {
		"Authorization", "Cache-Control", "Connection", "Content-Encoding", "Content-Range", "Content-Type", "Cookie", "Expect",
		"Keep-Alive", "Max-Forwards", "Pragma", "Proxy-Authorization", "Proxy-Connection", "Range", "TE", "Trailer", "Upgrade", "Via",
	};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (str_caseeq(name, str_c(names[i])))
			return true;
	return str_casestarts(name, STR("If-"));
}

/* The section is complete in c->section, its last empty line included. */
static int
parse_trailers(struct http1_chunked *c)
{
	const char *p = c->section, *end = p + c->section_n, *problem = NULL;
	struct field kept[TRAILER_FIELDS], f;
	unsigned n = 0, n_kept = 0;
	int r;

	while ((r = parse_field(&p, end, &f, &problem)) > 0) {
		if (++n > TRAILER_FIELDS)
			return broken(c, "too many trailer fields");
		if (trailer_refused(f.name))
			return broken(c, "a trailer field that decides the message's framing (RFC 9110 6.5.1)");
		if (!trailer_dropped(f.name))
			kept[n_kept++] = f;
	}
	if (r < 0)
		return broken(c, problem);
	for (unsigned i = 0; c->trailers && i < n_kept; i++)
		headers_add_copy(c->trailers, kept[i].name, kept[i].value);
	return 0;
}

static bool
keep_trailer_byte(struct http1_chunked *c, char ch)
{
	if (!c->section)
		c->section = arena_alloc(c->arena, TRAILER_SECTION);
	if (c->section_n == TRAILER_SECTION)
		return false;
	c->section[c->section_n++] = ch;
	return true;
}

int
http1_chunked_feed(struct http1_chunked *c, const char *in, size_t n, size_t *used, struct str *out)
{
	size_t i = 0;

	*out = STR_NONE;
	*used = 0;
	while (i < n && c->state != DONE) {
		char ch = in[i];
		switch (c->state) {
		case SIZE_FIRST:
		case SIZE:
			if (hex(ch) >= 0) {
				if (c->digits++ == CHUNK_DIGITS || c->left > (uint64_t)INT64_MAX >> 4)
					return broken(c, "a chunk size that is too large (RFC 9112 7.1)");
				c->left = c->left << 4 | (uint64_t)hex(ch);
				c->state = SIZE;
			} else if (c->state == SIZE && ch == '\r') {
				c->state = SIZE_LF;
			} else if (c->state == SIZE && (ch == ';' || ch == ' ' || ch == '\t')) {
				c->state = EXTENSION;
				c->extension = 1;
				c->line++;
				c->semicolon = ch == ';';
			} else {
				return broken(c, "a chunk size that is no hexadecimal number (RFC 9112 7.1)");
			}
			i++;
			break;
		case EXTENSION: /* of no meaning here, but its end must be (RFC 9112 7.1.1): no byte that another reader could take for it */
			if (ch == '\r') {
				if (!c->semicolon)
					return broken(c, "blanks behind a chunk size (RFC 9112 7.1)");
				c->state = SIZE_LF;
			} else if (((unsigned char)ch < 0x20 && ch != '\t') || ch == 0x7f) {
				return broken(c, "a control byte in a chunk extension (RFC 9112 7.1.1)");
			} else if (!c->semicolon && ch != ' ' && ch != '\t' && ch != ';') {
				return broken(c, "a chunk size that is no hexadecimal number (RFC 9112 7.1)");
			} else if (++c->extension > CHUNK_EXTENSIONS || ++c->line > CHUNK_EXTENSIONS) {
				return broken(c, "chunk extensions that are too long (RFC 9112 7.1.1)");
			}
			c->semicolon |= ch == ';';
			i++;
			break;
		case SIZE_LF:
			if (ch != '\n')
				return broken(c, "a chunk size that CRLF does not end (RFC 9112 7.1)");
			c->state = c->left ? DATA : TRAILER;
			c->line -= c->left < c->line ? (size_t)c->left : c->line; /* data pays for extensions */
			i++;
			break;
		case DATA: {
			size_t take = n - i < c->left ? n - i : (size_t)c->left;
			*out = (struct str){ in + i, take };
			c->left -= take;
			*used = i + take;
			if (!c->left)
				c->state = DATA_CR;
			return 0;
		}
		case DATA_CR:
		case DATA_LF:
			if (ch != (c->state == DATA_CR ? '\r' : '\n'))
				return broken(c, "a chunk that CRLF does not end (RFC 9112 7.1)");
			c->state = c->state == DATA_CR ? DATA_LF : SIZE_FIRST;
			c->digits = 0;
			i++;
			break;
		case TRAILER:
		case TRAILER_LINE:
			if (ch == '\r')
				c->state = c->state == TRAILER ? LAST_LF : TRAILER_LF;
			else if (((unsigned char)ch < 0x20 && ch != '\t') || ch == 0x7f)
				return broken(c, "a control byte in the trailer section (RFC 9110 5.5)");
			else
				c->state = TRAILER_LINE;
			if ((c->section || c->state != LAST_LF) && !keep_trailer_byte(c, ch)) /* nearly always there are none */
				return broken(c, "a trailer section that is too large");
			i++;
			break;
		case TRAILER_LF:
		case LAST_LF:
			if (ch != '\n')
				return broken(c, "a CR that no LF follows (RFC 9112 2.2)");
			if (c->section && !keep_trailer_byte(c, ch))
				return broken(c, "a trailer section that is too large");
			i++;
			if (c->state == LAST_LF) {
				if (c->section && parse_trailers(c) < 0)
					return -ERR_BAD_REQUEST;
				c->state = DONE;
			} else {
				c->state = TRAILER;
			}
			break;
		default:
			return -ERR_BAD_REQUEST;
		}
	}
	*used = i;
	return c->state == DONE ? 1 : 0;
}

/* Appending to a buffer of n bytes, whose end may be passed in thought only. */
struct out { char *p; size_t n, room; };

static inline void
put(struct out *o, const char *p, size_t n)
{
	if (n && o->n + n <= o->room)
		memcpy(o->p + o->n, p, n);
	o->n += n;
}

static int64_t
put_fields(struct out *o, const struct headers *h)
{
	for (unsigned i = 0; h && i < h->n; i++) {
		const struct field *f = &h->v[i];
		/* Where values come from (HTTP/2, stored records) a CR can stand in them: it must never split what we write. */
		if (!field_name_valid(f->name) || find_end(f->value.p, f->value.p + f->value.n) != f->value.p + f->value.n)
			return -ERR_ORIGIN_PROTOCOL;
		put(o, f->name.p, f->name.n);
		put(o, ": ", 2);
		put(o, f->value.p, f->value.n);
		put(o, "\r\n", 2);
	}
	put(o, "\r\n", 2);
	return o->n <= o->room ? (int64_t)o->n : -ERR_HEAD_TOO_LARGE;
}

int64_t
http1_write_status(char *buf, size_t n, int status, struct str reason, const struct headers *h)
{
	struct out o = { .p = buf, .room = n };
	char digits[3] = { (char)('0' + status / 100 % 10), (char)('0' + status / 10 % 10), (char)('0' + status % 10) };

	if (!reason.p || !field_value_valid(reason))
		reason = str_c(http_reason(status));
	put(&o, "HTTP/1.1 ", 9);
	put(&o, digits, 3);
	put(&o, " ", 1);
	put(&o, reason.p, reason.n);
	put(&o, "\r\n", 2);
	return put_fields(&o, h);
}

size_t
http1_write_chunk_size(char buf[20], size_t n)
{
	char digits[16];
	size_t k = sizeof digits;

	do
		digits[--k] = "0123456789abcdef"[n & 15];
	while (n >>= 4);
	memcpy(buf, digits + k, sizeof digits - k);
	memcpy(buf + sizeof digits - k, "\r\n", 2);
	return sizeof digits - k + 2;
}

int64_t
http1_write_last_chunk(char *buf, size_t n, const struct headers *trailers)
{
	struct out o = { .p = buf, .room = n };

	put(&o, "0\r\n", 3);
	return put_fields(&o, trailers);
}
