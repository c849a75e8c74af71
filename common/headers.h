/* headers.h - a header section: fields in the order received, values as views (RFC 9110 5).
 * Names compare case-insensitively. The arena given to init holds everything that is added by copy. */
#pragma once
#include "arena.h"

struct field {
	struct str name;  /* as received */
	struct str value; /* without leading and trailing OWS */
};

struct headers {
	struct arena *arena;
	struct field *v;
	unsigned n, cap;
};

void headers_init(struct headers *, struct arena *);
void headers_add(struct headers *, struct str name, struct str value);      /* views are kept, not copied */
void headers_add_copy(struct headers *, struct str name, struct str value); /* both copied into the arena */
void headers_set(struct headers *, struct str name, struct str value);      /* removes all of that name, then adds */
unsigned headers_remove(struct headers *, struct str name);                 /* how many went */
bool headers_has(const struct headers *, struct str name);
/* The first of that name, or STR_NONE with p == NULL (an empty field has p != NULL). */
struct str headers_get(const struct headers *, struct str name);
/* All of that name joined by ", " (RFC 9110 5.3), made in the arena only when there is more than one. */
struct str headers_joined(const struct headers *, struct str name, struct arena *);
unsigned headers_count(const struct headers *, struct str name);
void headers_copy(struct headers *dst, const struct headers *src);          /* deep, into dst's arena */

/* Iterates over the members of a comma-separated list field over all its lines, quoted strings kept whole and empty
 * members skipped (RFC 9110 5.6.1): for (struct list_iter it = list_start(h, name); list_next(&it, &member);) */
struct list_iter {
	const struct headers *h;
	struct str name, rest;
	unsigned i;
};
struct list_iter list_start(const struct headers *, struct str name);
bool list_next(struct list_iter *, struct str *member);
/* The same over one value. */
bool value_next(struct str *rest, struct str *member);
/* Is token a member, case-insensitively? ("Connection: close") */
bool headers_lists(const struct headers *, struct str name, struct str token);

/* Removes what is for one connection only: Connection and all that it names, Keep-Alive, Proxy-Connection,
 * TE, Trailer, Transfer-Encoding, Upgrade, Proxy-Authenticate, Proxy-Authorization, Proxy-Authentication-Info
 * (RFC 9110 7.6.1). Content-Length and Host are never removed, even when Connection names them. */
void headers_strip_hop_by_hop(struct headers *);
bool field_name_valid(struct str);  /* 1*tchar */
bool field_value_valid(struct str); /* VCHAR, obs-text, SP, HTAB: no CR, LF, NUL or other controls */
