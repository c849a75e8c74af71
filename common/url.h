/* url.h - absolute http and https URLs and authorities, strictly (RFC 3986, RFC 9110 4.2). Pure. */
#pragma once
#include "arena.h"

struct url {
	struct str scheme; /* "http" or "https", lower case */
	struct str host;   /* as sent, IPv6 without brackets: what is dialled, put in SNI, and (lower-cased) in document ids */
	unsigned port;     /* explicit or the scheme's default; never 0 */
	struct str path;   /* path, at least "/" ("*" for OPTIONS *) */
	struct str query;  /* without "?"; p == NULL when there is no "?" */
	struct str text;   /* scheme://host[:port]path[?query]: default port left out, host as sent, path and query untouched;
	                    * without a path for OPTIONS * (RFC 9112 3.2.4). host, path and query are views into it */
};

/* 0, or -ERR_BAD_REQUEST: userinfo, fragment, empty host, bad port, a byte that may not stand there. Copies into the arena. */
int url_parse(struct arena *, struct str text, struct url *);
const char *url_problem(struct str text); /* in words, of what url_parse does not take: "must begin with http:// or https://" */
/* The same from an origin-form target ("/path?query" or "*") below a known scheme and authority ("host[:port]"). */
int url_from_target(struct arena *, struct str scheme, struct str authority, struct str target, struct url *);
/* "host:port", "host", "[v6]:port", "[v6]"; *port is left as it was when there is none. -ERR_BAD_REQUEST otherwise. */
int url_authority(struct str authority, struct str *host, unsigned *port);
/* host[:port] for a Host field: brackets for IPv6, default port left out. */
struct str url_host_field(struct arena *, const struct url *);
bool url_is_ip(struct str host, bool *v6);
/* RFC 3986 5.2.2: ref resolved against base (Location, Content-Location). 0 or -ERR_BAD_REQUEST. */
int url_resolve(struct arena *, const struct url *base, struct str ref, struct url *);
bool url_same_origin(const struct url *, const struct url *); /* scheme, host (case-insensitive), port */
