/* targeted.h - Cache-Control for some caches only (RFC 9213): Passsage-Cache-Control, else CDN-Cache-Control. Pure, allocates nothing.
 * Such a field is a dictionary of RFC 8941, and read as strictly as that says: what does not parse, or gives a directive a value of a wrong
 * type, counts as not there as a whole (2.1), and the next one, in the end Cache-Control and Expires, decides (2.2). */
#pragma once
#include "cachecontrol.h"

/* true: the response has one that is valid and not empty, which replaces Cache-Control and Expires. *name is its name. */
bool targeted_parse(const struct headers *, struct cache_control *, struct str *name);
