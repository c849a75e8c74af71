/* resume.h - a response whose download has ended before its client had all of it, through no fault of the origin: the store took no more, or the
 * worker that fetched it has died. The rest is asked for again, for this client alone. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct request;
struct xfer;

#define RESUMES_MAX 8 /* of one response: its store or its workers fail faster than it gets on */

/* May the rest be asked for after this error of r->object? */
bool resume_may(const struct request *, int err);
/* Bytes at … end - 1 of the very version that the client has the beginning of (If-Range with its strong validator, the answer checked to be a
 * part of it): *x brings exactly these. Waits for the origin's head, and looks once a second whether the client is still there. -ERR_X: they cannot be had. */
int resume_body(struct request *, uint64_t at, uint64_t end, struct xfer **x);
