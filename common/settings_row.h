/* settings_row.h - for common/settings*.c only: the table's rows, the types of values, and one reading of all sources. */
#pragma once
#include "arena.h"
#include "settings.h"

enum { LIVE = 1, RESTART = 2, SECRET = 4 }; /* the column "when" of tbl/settings.h */

enum row_id {
#define GROUP(title)
#define SETTING(field, ...) ROW_##field,
#include "tbl/settings.h"
	ROW_MAX
};

struct row;
struct type {
	const char *word;           /* stands for a value in --help; NULL: a flag */
	bool quoted;                /* the configuration file has it in quotes */
	bool is_list;
	bool from_bool, from_int, from_float; /* what the file may hold beside a string */
	const char *const *choices; /* the words that are allowed, NULL-terminated */
	/* NULL: *value is good. Otherwise what is allowed: "must be …", in the arena (as are the strings of *value). */
	const char *(*parse)(const struct row *, const char *text, void *value, struct arena *);
	/* The text that parses to the same value. */
	const char *(*print)(const struct row *, const void *value, struct arena *);
};

struct row {
	const struct setting_info *info;
	const struct type *type;
	char letter;                /* the short option, 0 none */
	const char *min, *max;      /* texts of the same type, NULL none */
	size_t offset, size;        /* in struct settings */
};
const struct row *settings_rows(void); /* ROW_MAX of them */

/* Where ~ and relative paths lead; taken when the program starts, for a daemon changes its directory and its user. */
struct settings_place { const char *home, *cwd; }; /* NULL: not known */
extern struct settings_place settings_place;

/* settings_types.c */
#define TYPES(X) X(bool) X(port) X(int) X(size) X(rest) X(seconds) X(str) X(url) X(path) X(pem) X(list) X(names) X(ranges) X(ports) \
	X(mode) X(strategy) X(cachestatus) X(policy) X(chunkids)
#define X(t) extern const struct type settings_type_##t;
TYPES(X)
#undef X
bool pem_is_inline(const char *text);
/* What the range or the choices of a row are, in words: "0 to 65535", "lazy or eager"; NULL when there is nothing to say. */
const char *settings_allowed(const struct row *, struct arena *);
/* As the configuration file would have it: quotes and brackets put on. */
const char *settings_quote(const struct row *, const char *text, struct arena *);
/* The same text, or what may be shown of a secret; a URL without user and password. */
const char *settings_redact(const struct row *, const char *text, struct arena *);

/* Options that are no settings, for the parser and for --help. */
struct ask_option { const char *name; char letter; enum settings_ask ask; const char *text; };
extern const struct ask_option settings_asks[];
extern const unsigned settings_asks_n;
#define CONFIG_OPTION "config"
#define CONFIG_ENV "PASSSAGE_CONFIG"

/* Where a value came from. */
enum origin { FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_OPTION };
struct given {
	const char *text;
	enum origin origin;
	const char *name;           /* as written: "--port", "-p", "PASSSAGE_PORT", the file's path */
	int line;
};
/* All values of one reading. It is never freed once conf() has shown it, see settings_reload(). */
struct generation {
	struct settings s;          /* first: conf() points here */
	struct given given[ROW_MAX];
	struct arena arena;
	struct generation *older;
};
static inline const void *row_value(const struct row *r, const struct settings *s) { return (const char *)s + r->offset; }
