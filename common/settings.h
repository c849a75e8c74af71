/* settings.h - every setting, from one table (tbl/settings.h): defaults < file (--config) < environment < command line.
 * The whole is parsed and checked by the master before a port is bound; children inherit it. On SIGHUP each process makes a new
 * struct and swaps it in: old ones stay readable (they are kept), so any thread may hold conf() through a request. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "netrange.h"
#include "str.h"

struct str_list { const char **v; unsigned n; };
struct range_list { struct netrange *v; struct str_list text; unsigned n; };
struct port_list { struct { unsigned first, last; } *v; struct str_list text; unsigned n; };

enum setting_mode { MODE_REGULAR };
enum setting_strategy { STRATEGY_LAZY, STRATEGY_EAGER };
enum setting_cachestatus { CACHE_STATUS_HITS, CACHE_STATUS_ALL };
enum setting_chunkids { CHUNK_IDS_SHA256, CHUNK_IDS_UUID };

struct settings {
#define GROUP(title)
#define SETTING(field, type, def, option, env, key, min, max, when, text) SETTING_TYPE_##type field;
#define SETTING_TYPE_bool bool
#define SETTING_TYPE_port unsigned
#define SETTING_TYPE_int int64_t
#define SETTING_TYPE_size uint64_t
#define SETTING_TYPE_rest uint64_t         /* a size, or the words never (0) and always (UINT64_MAX) */
#define SETTING_TYPE_seconds int64_t      /* in ms; text is seconds, fractions allowed, or "500ms", "30s", "5m", "2h", "1d" */
#define SETTING_TYPE_str const char *     /* never NULL */
#define SETTING_TYPE_url const char *     /* text; what stands before an @ is not shown */
#define SETTING_TYPE_path const char *    /* ~ expanded, made absolute; "-" and "" stay */
#define SETTING_TYPE_pem const char *     /* a path, or text that begins (after blanks) with -----BEGIN */
#define SETTING_TYPE_list struct str_list
#define SETTING_TYPE_names struct str_list /* in lower case: host names, header fields */
#define SETTING_TYPE_ranges struct range_list /* addresses and networks */
#define SETTING_TYPE_ports struct port_list
#define SETTING_TYPE_mode enum setting_mode
#define SETTING_TYPE_strategy enum setting_strategy
#define SETTING_TYPE_cachestatus enum setting_cachestatus
#define SETTING_TYPE_chunkids enum setting_chunkids
#define SETTING_TYPE_policy const char *  /* its canonical name: common does not know policies, only their names (settings.c) */
#include "tbl/settings.h"
};

extern const struct settings *_Atomic settings_now;
static inline const struct settings *conf(void) { return atomic_load_explicit(&settings_now, memory_order_acquire); }

/* What the command line asked for besides settings. */
enum settings_ask { ASK_RUN, ASK_HELP, ASK_VERSION, ASK_DUMP, ASK_MANUAL, ASK_SAMPLE, ASK_MARKDOWN };
/* What is left of the line is a command and its words, NULL behind them: the first word that is no option, and all that follows but options
 * that are settings (by their long names) or --config; "--" ends these. */
struct settings_command { enum settings_ask ask; int argc; char **argv; };
/* Parses all sources, checks each value and what must hold between values (low < high watermark …), and sets conf().
 * Anything wrong: an exact complaint to standard error ("passsage: file:line: name = value: what is allowed") and exit status 64. */
struct settings_command settings_init(int argc, char **argv);
void settings_defaults(void);    /* conf() has the defaults alone: for unit tests, fuzzing, and --help */
/* SIGHUP: the same sources again (the file is read anew; the environment and the command line are as they were at the start). One
 * thread at a time. 0: conf() is new, with LIVE changes only (RESTART ones are named in the log and stay as they are); -ERR_SETTING:
 * a log line says what was wrong, conf() is the old one. */
int settings_reload(void);
/* The master, before it forks, when mitm_ca was given inline and now lies in this file: every copy of the key in this process is wiped,
 * and from now on, through reloads too, the setting is that path. */
void settings_ca_moved(const char *path);
void settings_help(FILE *);
void settings_dump(FILE *);      /* name = value  # where it came from; secrets as *** */
void settings_sample(FILE *);    /* a commented configuration file */
void settings_manual(FILE *);    /* mdoc list for the manual page */
void settings_markdown(FILE *);  /* the README's table */
/* The table as data, for tests and /debug. */
struct setting_info { const char *field, *group, *option, *env, *key, *def, *text; bool secret, live; };
const struct setting_info *settings_table(unsigned *n);
const char *settings_value(const char *field, char *buf, size_t n); /* as text, redacted, cut to fit; NULL: no such field */
/* Text in libconfig's syntax, made safe for libconfig, in the arena: 64-bit integers, and *include_line is not 0 when it says @include,
 * which must be refused. For other files in that syntax. */
struct arena;
const char *settings_prepare(struct str text, struct arena *, int *include_line);
