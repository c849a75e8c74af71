#include <arpa/inet.h>
#include <string.h>

#include "err.h"
#include "url.h"

#define HOST_MAX 255 /* RFC 1035 2.3.4; longer ones resolve nowhere */

/* What may stand in a reg-name besides %HH: unreserved and sub-delims (RFC 3986 3.2.2) */
static const bool host_byte[256] = {
	['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1, ['-'] = 1, ['.'] = 1, ['_'] = 1, ['~'] = 1,
	['!'] = 1, ['$'] = 1, ['&'] = 1, ['\''] = 1, ['('] = 1, [')'] = 1, ['*'] = 1, ['+'] = 1, [','] = 1, [';'] = 1, ['='] = 1,
};

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_hex(char c)
{
	return is_digit(c) || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'f');
}

/* inet_pton on a view. It takes exactly the canonical dotted quad, and no zone ids. */
static bool
is_address(int family, struct str host)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr addr; /* large enough for both */

	if (host.n == 0 || host.n >= sizeof text || memchr(host.p, 0, host.n))
		return false;
	memcpy(text, host.p, host.n);
	text[host.n] = 0;
	return inet_pton(family, text, &addr) == 1;
}

bool
url_is_ip(struct str host, bool *v6)
{
	bool colon = host.n && memchr(host.p, ':', host.n);
	bool yes = (colon || (host.n && is_digit(host.p[0]))) && is_address(colon ? AF_INET6 : AF_INET, host);

	if (v6)
		*v6 = yes && colon;
	return yes;
}

/* Would a resolver take the name for a number ("127.1", "0x7f000001")? Such a host must not slip past rules for addresses. */
static bool
ends_in_number(struct str host)
{
	struct str last = host;
	size_t i = 0;

	for (size_t k = 0; k < host.n; k++)
		if (host.p[k] == '.' && k + 1 < host.n)
			last = str_from(host, k + 1);
	if (last.n && last.p[last.n - 1] == '.')
		last.n--;
	if (str_casestarts(last, STR("0x"))) {
		for (i = 2; i < last.n && is_hex(last.p[i]); i++)
			;
	} else {
		while (i < last.n && is_digit(last.p[i]))
			i++;
	}
	return i == last.n;
}

/* Nothing percent-encoded: RFC 3986 3.2.2 would let it stand, but no name in DNS needs it, and libcurl decodes what keys, certificates and our own
 * rules see as it was sent. */
static bool
is_reg_name(struct str host)
{
	if (host.n == 0 || host.n > HOST_MAX)
		return false;
	for (size_t i = 0; i < host.n; i++) {
		char c = host.p[i];
		if (!host_byte[(unsigned char)c]) {
			return false;
		} else if (c == '.' && (i == 0 || host.p[i - 1] == '.')) {
			return false; /* an empty label is no name, and hosts stand in document ids: never ".." */
		}
	}
	return !ends_in_number(host) || is_address(AF_INET, host);
}

int
url_authority(struct str authority, struct str *host, unsigned *port)
{
	struct str h, rest;
	uint64_t number;

	if (authority.n && authority.p[0] == '[') {
		const char *close = memchr(authority.p, ']', authority.n);
		if (!close)
			return -ERR_BAD_REQUEST;
		h = (struct str){ authority.p + 1, (size_t)(close - authority.p - 1) };
		rest = str_from(authority, h.n + 2);
		if (!is_address(AF_INET6, h))
			return -ERR_BAD_REQUEST;
	} else {
		const char *colon = authority.n ? memchr(authority.p, ':', authority.n) : NULL;
		h = str_upto(authority, colon ? (size_t)(colon - authority.p) : authority.n);
		rest = str_from(authority, h.n);
		if (!is_reg_name(h))
			return -ERR_BAD_REQUEST;
	}
	if (rest.n) {
		if (rest.p[0] != ':')
			return -ERR_BAD_REQUEST;
		rest = str_from(rest, 1);
		if (rest.n) { /* "host:" is legal and means the default (RFC 3986 3.2.3) */
			if (!str_u64(rest, 65535, &number) || number == 0)
				return -ERR_BAD_REQUEST;
			*port = (unsigned)number;
		}
	}
	*host = h;
	return 0;
}

/* Path and query are taken as clients send them. RFC 3986 wants | { } ^ " \ and bytes above 0x7e encoded, but curl and browsers send
 * some of them bare and origins take them; they mean nothing to us. Controls, blanks and '#' would change the request. */
static bool
is_target(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if (c <= 0x20 || c == 0x7f || c == '#')
			return false;
	}
	return true;
}

static unsigned
default_port(struct str scheme)
{
	return scheme.n == 5 ? 443 : 80;
}

/* "http" or "https", lower case; STR_NONE for any other. */
static struct str
known_scheme(struct str s)
{
	return str_caseeq(s, STR("https")) ? STR("https") : str_caseeq(s, STR("http")) ? STR("http") : STR_NONE;
}

static char *
put(char *to, struct str s)
{
	if (s.n)
		memcpy(to, s.p, s.n);
	return to + s.n;
}

/* One copy holds it all: host, path and query are views into text. target: as in the request, may be empty or begin with "?". */
static int
build(struct arena *a, struct str scheme, struct str authority, struct str target, struct url *u)
{
	unsigned port = default_port(scheme);
	struct str host, path;
	bool v6, asterisk = str_eq(target, STR("*"));
	char *text, *p, *at_host, *at_path;

	if (!scheme.n || url_authority(authority, &host, &port) < 0 || !is_target(target))
		return -ERR_BAD_REQUEST;
	v6 = memchr(host.p, ':', host.n) != NULL;
	text = p = arena_alloc(a, scheme.n + host.n + target.n + sizeof "://[]:65535/");
	p = put(p, scheme);
	p = put(p, STR("://"));
	if (v6)
		*p++ = '[';
	at_host = p;
	p = put(p, host);
	if (v6)
		*p++ = ']';
	if (port != default_port(scheme)) {
		char digits[5];
		int n = 0;
		*p++ = ':';
		for (unsigned left = port; left; left /= 10)
			digits[n++] = (char)('0' + left % 10);
		while (n)
			*p++ = digits[--n];
	}
	at_path = p;
	if (!asterisk) { /* whose effective URI has no path at all (RFC 9112 3.2.4) */
		if (target.n == 0 || target.p[0] != '/')
			*p++ = '/';
		p = put(p, target);
	}
	*p = 0;
	path = (struct str){ at_path, (size_t)(p - at_path) };
	*u = (struct url){
		.scheme = scheme,
		.host = { at_host, host.n },
		.port = port,
		.text = { text, (size_t)(p - text) },
	};
	u->path = asterisk ? STR("*") : str_cut(&path, '?');
	if (!asterisk && u->path.n < (size_t)(p - at_path))
		u->query = (struct str){ u->path.p + u->path.n + 1, (size_t)(p - at_path) - u->path.n - 1 };
	return 0;
}

/* Cuts "scheme:" off. STR_NONE, and *s as it was, when there is none: then it is a relative reference (RFC 3986 4.1). */
static struct str
cut_scheme(struct str *s)
{
	for (size_t i = 0; i < s->n; i++) {
		char c = s->p[i], low = ascii_lower(c);
		if (c == ':' && i > 0) {
			struct str scheme = str_upto(*s, i);
			*s = str_from(*s, i + 1);
			return scheme;
		}
		if (!(low >= 'a' && low <= 'z') && (i == 0 || !(is_digit(c) || c == '+' || c == '-' || c == '.')))
			break;
	}
	return STR_NONE;
}

/* Cuts what stands before the first '/', '?' or '#'. */
static struct str
cut_authority(struct str *s)
{
	size_t n = 0;
	struct str authority;

	while (n < s->n && s->p[n] != '/' && s->p[n] != '?' && s->p[n] != '#')
		n++;
	authority = str_upto(*s, n);
	*s = str_from(*s, n);
	return authority;
}

int
url_parse(struct arena *a, struct str text, struct url *u)
{
	struct str rest = text, scheme = known_scheme(cut_scheme(&rest)), authority;

	if (!scheme.n || !str_starts(rest, STR("//")))
		return -ERR_BAD_REQUEST;
	rest = str_from(rest, 2);
	authority = cut_authority(&rest);
	return build(a, scheme, authority, rest, u);
}

const char *
url_problem(struct str text)
{
	struct str rest = text, scheme = known_scheme(cut_scheme(&rest)), authority, host;
	unsigned port;

	if (!scheme.n || !str_starts(rest, STR("//")))
		return "must be a URL that begins with http:// or https://, such as https://example.com/a.deb";
	for (size_t i = 0; i < text.n; i++)
		if ((unsigned char)text.p[i] <= ' ' || text.p[i] == 0x7f)
			return "must be a URL, in which blanks and control characters are written as %20 and the like";
	rest = str_from(rest, 2);
	authority = cut_authority(&rest);
	if (rest.n && memchr(rest.p, '#', rest.n))
		return "must be a URL without #fragment, which is no server's matter";
	if (authority.n && memchr(authority.p, '@', authority.n))
		return "must be a URL without a user's name and password";
	if (url_authority(authority, &host, &port) < 0)
		return "must be a URL with a valid host, and a port from 1 to 65535 or none, such as https://example.com:8443/a.deb";
	return "must be a URL such as https://example.com/a.deb";
}

int
url_from_target(struct arena *a, struct str scheme, struct str authority, struct str target, struct url *u)
{
	if (!str_starts(target, STR("/")) && !str_eq(target, STR("*")))
		return -ERR_BAD_REQUEST;
	return build(a, known_scheme(scheme), authority, target, u);
}

struct str
url_host_field(struct arena *a, const struct url *u)
{
	bool v6 = u->host.n && memchr(u->host.p, ':', u->host.n);

	if (u->port == default_port(u->scheme))
		return v6 ? arena_printf(a, "[%.*s]", STRP(u->host)) : u->host;
	return arena_printf(a, v6 ? "[%.*s]:%u" : "%.*s:%u", STRP(u->host), u->port);
}

/* RFC 3986 5.2.4, in place, on a path that begins with '/'. */
static size_t
remove_dot_segments(char *p, size_t n)
{
	size_t out = 0, in = 0;

	while (in < n) { /* at a '/' */
		size_t end = in + 1;
		while (end < n && p[end] != '/')
			end++;
		struct str segment = { p + in + 1, end - in - 1 };
		bool up = str_eq(segment, STR("..")), last = end == n;
		if (up || str_eq(segment, STR("."))) {
			if (up)
				while (out > 0 && p[--out] != '/')
					;
			if (last)
				p[out++] = '/';
		} else {
			memmove(p + out, p + in, end - in);
			out += end - in;
		}
		in = end;
	}
	return out;
}

int
url_resolve(struct arena *a, const struct url *base, struct str ref, struct url *u)
{
	struct str rest, scheme, authority, path, query = STR_NONE, folder = STR_NONE, base_path = base->path;
	char *target, *p;
	size_t n;
	bool has_query;

	rest = str_cut(&ref, '#'); /* Location may have one; it is never sent (RFC 9110 10.2.2) */
	scheme = cut_scheme(&rest);
	if (scheme.n) {
		if (!known_scheme(scheme).n || !str_starts(rest, STR("//")))
			return -ERR_BAD_REQUEST;
	}
	if (str_starts(rest, STR("//"))) {
		rest = str_from(rest, 2);
		authority = cut_authority(&rest);
		base_path = STR("/");
	} else {
		authority = url_host_field(a, base);
	}
	scheme = scheme.n ? known_scheme(scheme) : base->scheme;
	has_query = rest.n && memchr(rest.p, '?', rest.n);
	path = str_cut(&rest, '?');
	if (has_query)
		query = rest;
	if (path.n == 0) {
		if (!has_query && base_path.p == base->path.p) {
			query = base->query;
			has_query = query.p != NULL;
		}
		path = base_path;
	} else if (path.p[0] != '/') { /* merge (5.2.3) */
		for (n = base_path.n; n && base_path.p[n - 1] != '/'; n--)
			;
		folder = str_upto(base_path, n);
	}
	p = target = arena_alloc(a, folder.n + path.n + query.n + 3);
	if (!str_starts(folder.n ? folder : path, STR("/")))
		*p++ = '/'; /* below "*" */
	p = put(p, folder);
	p = put(p, path);
	n = remove_dot_segments(target, (size_t)(p - target));
	if (has_query) {
		target[n++] = '?';
		n = (size_t)(put(target + n, query) - target);
	}
	return build(a, scheme, authority, (struct str){ target, n }, u);
}

bool
url_same_origin(const struct url *x, const struct url *y)
{
	return x->port == y->port && str_eq(x->scheme, y->scheme) && str_caseeq(x->host, y->host);
}
