/* htpasswd.h - the file of users: one "name:hash" a line, as `htpasswd -B` and `openssl passwd -5` or -6 make them; empty lines and those that
 * begin with # count for nothing. Hashes are bcrypt ($2a$, $2b$, $2y$) and SHA-256 and SHA-512 crypt ($5$, $6$): others are refused,
 * and so are those that would take longer than a proxy can afford. Read-only once read: thread-safe. */
#pragma once
#include "../common/str.h"

#define HTPASSWD_FILE_MAX (1024 * 1024)
#define HTPASSWD_BCRYPT_MAX 12          /* 0.25 s */
#define HTPASSWD_ROUNDS_MAX 250000      /* the same for SHA-512 crypt, whose default is 5000 */
#define HTPASSWD_PROBLEM 512

struct htpasswd;
/* NULL: *problem has file, line, what is wrong, and what would be right. */
struct htpasswd *htpasswd_read(const char *path, char problem[HTPASSWD_PROBLEM]);
struct htpasswd *htpasswd_parse(const char *path, struct str text, char problem[HTPASSWD_PROBLEM]); /* text copied; path for words */
void htpasswd_free(struct htpasswd **);
unsigned htpasswd_users(const struct htpasswd *);
const char *htpasswd_hash(const struct htpasswd *, struct str user); /* NULL: there is no such user */
/* Slow by design (milliseconds), and as slow for users that are none. */
bool htpasswd_verify(const struct htpasswd *, struct str user, struct str password);
