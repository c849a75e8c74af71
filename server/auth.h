/* auth.h - who is it? Basic credentials (RFC 7617) against the file of users, at a cost that is bounded whatever clients send:
 * what was right is remembered for AUTH_REMEMBER_MS as a keyed hash, and what was wrong for a shorter time, so a password is worked out once,
 * not with each request; one password at a time is worked out in a worker, by a handler that has told the pool; and an address that
 * guesses wrong too often is told to wait before any work is done for it. One for each worker. Thread-safe. */
#pragma once
#include <netinet/in.h>
#include "htpasswd.h"

#define AUTH_REMEMBER_MS 600000
#define AUTH_WRONG_MS 60000
#define AUTH_FAILURES 10        /* so many different wrong ones from an address (of IPv6: a /64) at once … */
#define AUTH_FORGIVE_MS 6000    /* … and then one more in each of these */
#define AUTH_WAIT_MS 5000       /* for one's turn */
#define AUTH_WAITING 128        /* who wait for it, each with credentials of his own */
#define AUTH_VALUE_MAX 1024     /* bytes of Proxy-Authorization: more is no password */

struct auth;
struct auth *auth_new(void);
void auth_free(struct auth **);
/* From now on these users, or nobody must say who he is (NULL). What was remembered is forgotten. The old ones are kept: they may be in use. */
void auth_use(struct auth *, struct htpasswd *);
bool auth_wanted(const struct auth *);

/* What an answer of AUTH_YES stands for; it outlives a reload when the user's line in the file has stayed as it was. */
struct auth_pass { unsigned generation; uint64_t line; struct str user; };
bool auth_holds(struct auth *, struct auth_pass *);

enum auth_answer { AUTH_YES, AUTH_NO, AUTH_LIMIT, AUTH_BUSY };
typedef void auth_wait_f(void *arg); /* the caller is about to wait or to work for long */
/* value: of Proxy-Authorization. pass->user is in buf, when AUTH_YES. now: clock_mono. */
enum auth_answer auth_check(struct auth *, struct str value, const struct in6_addr *client, int64_t now, auth_wait_f *, void *arg, char buf[AUTH_VALUE_MAX],
                            struct auth_pass *pass);
