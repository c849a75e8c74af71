/* access.h - one record a request (tbl/access.h), and its JSON line. */
#pragma once
#include "headers.h"
#define ACCESS_NULL INT64_MIN
struct access_record {
#define ACCESS(name, type) ACCESS_TYPE_##type name;
#define ACCESS_TYPE_time int64_t
#define ACCESS_TYPE_str struct str          /* p == NULL: null */
#define ACCESS_TYPE_i64 int64_t
#define ACCESS_TYPE_bool int                /* -1: null */
#define ACCESS_TYPE_headers const struct headers * /* NULL: null; only those that access-log-headers lists are written */
#include "tbl/access.h"
};
void access_init(struct access_record *);   /* all null */
/* One line with LF, valid JSON whatever the bytes were (bad UTF-8 becomes U+FFFD), in the arena. names: lower case. */
struct str_list;
struct str access_json(const struct access_record *, const struct str_list *names, struct arena *);
/* The sink of this process: a path, "-" or "". Reopens too (SIGHUP). One write(2) a line, O_APPEND. */
void access_open(const char *path);
void access_write(struct str line);         /* a line that cannot be written is counted (records_dropped) */
bool access_enabled(void);
