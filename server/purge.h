/* purge.h - forgetting what is stored, on an operator's word: by URL, by the beginning of a URL, by host, or all of it. Workers do it for the
 * method PURGE, the admin process for `passsage purge`, and that itself where no instance runs. */
#pragma once
#include "../es/metadata.h"
#include "../policy/rules.h"
#include "../s3/fill.h"

enum purge_kind { PURGE_URL, PURGE_PREFIX, PURGE_HOST, PURGE_ALL, PURGE_KINDS };
struct purge {
	enum purge_kind kind;
	struct url url;            /* URL and PREFIX */
	struct str text;           /* HOST: as --tls-passthrough has them, in lower case */
};
#define PURGE_PREFIX_MAX 512       /* so much of its URL a document knows (behaviour.md 4.5) */

extern const char *const purge_names[PURGE_KINDS]; /* "url", "prefix", "host", "all" */
/* 0, or -ERR_BAD_REQUEST, and *problem says what would be right. A prefix without a path means its whole origin, not every host that begins
 * so. Copies into the arena. */
int purge_parse(struct arena *, enum purge_kind, struct str text, struct purge *, const char **problem);
/* Not for URL, which is a matter of keys. A document that several URLs share is known under the one that it was fetched by. */
bool purge_covers(const struct purge *, const struct meta *, struct arena *scratch);
/* When it returns, no request finds it any more, nor what was under way when it was called: that is not stored. How many responses are
 * gone, or -ERR_X. fills may be NULL: no instance runs. Waits for commits, and PREFIX, HOST and ALL look at every document. */
int64_t purge_run(const struct purge *, struct fill_table *, struct metadata *, const struct ruleset *);

/* Who overtakes what is stored under id: what is under way will not be stored, and what is on its way into the database is there when this
 * returns (then the result is true), so that it can be dropped or marked. Waits for that (commitwait.h). */
bool purge_outdate(struct fill_table *, struct str id);

/* A request with the method PURGE: its answer (RFC 9110 has no such method; squid's meaning): 200 and how many, 404 nothing was stored, 403
 * not from this address. It is never sent on. */
struct request;
void purge_answer(struct request *);
