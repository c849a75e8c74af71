/* remote.h - Elasticsearch, or OpenSearch, over httpc.h: the index's documents as JSON. Thread-safe; calls block with a bound.
 * Several URLs are one cluster: the one that answered last is asked first, the next when it fails. A breaker answers at once while all
 * are down, and lets one request through now and then to find out.
 * -ERR_ES_FAILED (network, 5xx, no answer in time, garbage, the breaker), -ERR_ES_DENIED (401, 403), -ERR_BUSY (429), -ERR_CONFLICT (409). */
#pragma once
#include "../common/httpc.h"
#include "../common/meta.h"

struct remote_options {
	struct httpc *httpc;                      /* outlives it */
	const char *const *urls;                  /* http[s]://[user:password@]host[:port][/base] */
	unsigned urls_n;
	const char *index;
	const char *user, *password, *api_key;    /* "" none; api_key wins */
	int replicas, shards;                     /* of an index that we make */
	int64_t ask_ms;                           /* the request path's limit for a look-up */
	int64_t timeout_ms;                       /* everything else */
};
struct remote;
int remote_open(struct remote **, const struct remote_options *, char problem[256]); /* -ERR_SETTING; does not connect */
void remote_close(struct remote **);
const char *remote_trouble(struct remote *);  /* NULL well; a static text; for health */
int remote_check(struct remote *, int64_t timeout_ms, char problem[256]); /* asks it; for health */
