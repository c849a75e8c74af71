/* download.h - passsage fetch -o: one URL into a file, without a proxy, by fetch_ranges. What is there of it is in FILE.part, and what that is
 * worth in FILE.part.state; FILE is replaced in one step when all is there. */
#pragma once
#include "../common/httpc.h"

/* A GET whose redirects are followed: ten at most, never from https to http; Authorization and Cookie go to the first origin only. 0: *out is the
 * final answer's head, *final its URL, *x its body. */
int get_following(struct httpc *, struct arena *, struct str url, const struct headers *, struct http_response *out, struct str *final, struct xfer **x,
                  char problem[256]);
/* url is valid. The exit status; what went wrong is said on standard error. */
int download(struct str url, const struct headers *, const char *file);
