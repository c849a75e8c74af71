/* fetch_ranges.h - one object's body from its origin by as many range requests at a time as help, beside the one GET that is there already. It
 * executes what parts.h plans: begins and ends transfers, judges their heads, hands their bytes to a sink in whatever order they come. All in the
 * caller's thread, which waits for whatever transfer has something (httpc_when_read). Redirects are not followed.
 *
 * No byte of another version gets into an object: range requests are made of objects with a strong validator only and carry it (If-Range, RFC
 * 9110 13.1.5); of a 206 status, place, length, whole length and validator must be those that were asked for. Any other answer makes the origin
 * one without ranges: the whole GET then brings all, or is made once more, and must be of that version, too. */
#pragma once
#include "../common/httpc.h"
#include "parts.h"

/* What the head of a 200 says about the object. Views of it. */
struct ranges_object {
	int64_t size;          /* -1: not known */
	struct str etag, modified, coding;
	struct str pin;        /* its strong validator, for If-Range; .n == 0: none */
	bool ranges, proven;   /* ranges may be asked for; the origin says that it knows them */
};
void ranges_object(const struct http_response *, int64_t now_s, struct ranges_object *);
/* A 206: does it bring what was asked for, of this object? *end: where what it brings ends (RFC 9110 15.3.7 allows less). */
bool ranges_check(const struct http_response *, const struct ranges_object *, struct extent asked, uint64_t *end);
bool ranges_same(const struct http_response *, const struct ranges_object *); /* a 200: is it the same version? */

struct ranges_sink {
	int (*write)(void *arg, uint64_t at, const void *, size_t); /* -ERR_X ends it all. Never twice for a byte, nor for what ask->have has */
	unsigned (*wanted)(void *arg, struct extent out[PARTS_WANTS]); /* what readers wait for, the most urgent first; NULL: nobody does */
	bool (*tick)(void *arg, const struct parts *, int64_t now); /* ten times a second at least; parts is NULL when the length is not known; false: give up. May be NULL */
	void *arg;
};
struct ranges_ask {
	struct httpc *httpc;
	const struct httpc_request *request; /* the GET of the whole, with neither conditions nor ranges: the pattern of all others */
	unsigned streams;                   /* at a time, at most */
	uint64_t parallel_min;              /* a smaller object comes by one; but what breaks off is asked for again all the same */
	bool spread;                        /* these three: parts.h */
	enum parts_rest rest;
	uint64_t rest_limit;
	const struct ranges_object *object;
	const struct extent *have;          /* what is there already of it */
	unsigned have_n;
	struct xfer **first;                /* a transfer whose final head was taken and judged; taken over. NULL: none. It brings: */
	struct extent brings;
	bool whole;                         /* … as (the rest of) a GET, not as the answer to a range request */
	unsigned extents;                   /* that the sink can have; 0: as many as parts.h allows */
};
/* 0: all is there. -ERR_X and why: the sink's; -ERR_CLIENT_GONE when tick said so; -ERR_GONE: the origin has another version by now, what came is of
 * no more use; -ERR_ORIGIN_*: it cannot be had now. */
int fetch_ranges(const struct ranges_ask *, const struct ranges_sink *, char problem[256]);
