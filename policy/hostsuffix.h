/* hostsuffix.h - which of many domains is a host in? One binary search for each of its labels, however many domains there are. */
#pragma once
#include "../common/arena.h"

struct host_suffixes;
struct host_suffixes *host_suffixes_new(unsigned most);
void host_suffixes_add(struct host_suffixes *, struct str domain, unsigned value); /* lower case; a view; a leading "*." or "." is not looked at */
void host_suffixes_sort(struct host_suffixes *);  /* after the last add */
void host_suffixes_free(struct host_suffixes **);
/* host (lower case) is one of the domains, or below one: the least value of all that fit; UINT_MAX: none. */
unsigned host_suffixes_find(const struct host_suffixes *, struct str host);
