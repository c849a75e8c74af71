/* upgrade.h - the two heads of an upgrade (RFC 9110 7.8), on a connection of its own that libcurl knows nothing of. Pure. */
#pragma once
#include "../common/http.h"

#define UPGRADE_HEAD (64 * 1024)      /* longest head of an answer, interim ones included one at a time */
#define UPGRADE_FIELDS 256

/* The request as it goes to the origin: h is its end-to-end fields (upstream_headers), to which what the upgrade needs is added. */
struct str upgrade_request(const struct http_request *, struct headers *h, struct arena *);
/* A whole head, CRLF CRLF included → response; all copied into the arena. -ERR_ORIGIN_PROTOCOL for whatever is not exactly a head. */
int upgrade_response(struct str head, struct arena *, struct http_response *);

/* Where an answer that is no upgrade ends (RFC 9112 6.3). */
enum upgrade_body { UPGRADE_BODY_NONE, UPGRADE_BODY_LENGTH, UPGRADE_BODY_CHUNKED, UPGRADE_BODY_CLOSE };
/* -ERR_ORIGIN_PROTOCOL when two readers could differ. Content-Length beside Transfer-Encoding is removed. */
int upgrade_framing(const struct http_request *, struct http_response *, enum upgrade_body *, int64_t *length);
