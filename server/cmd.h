/* cmd.h - the commands (tbl/commands.h). Each asks a question in the form of an HTTP request: a running instance answers it through the
 * socket <state>/run/admin, which is its owner's and root's alone (admin.c). Where none runs, the command answers itself, with the same
 * functions, from the state directory. So each cmd_<name>.c has two sides: cmd_<name>, which asks, and pages, which answer. */
#pragma once
#include "../es/metadata.h"
#include "../policy/rules.h"
#include "../s3/fill.h"
#include "bans.h"
#include "errorpage.h"

/* ---- answering */

/* What pages look at. */
struct cmd_place {
	struct metadata *metadata;     /* NULL: there is no database yet */
	struct chunks *chunks;         /* likewise */
	const struct ruleset *rules;
	struct fill_table *fills;      /* this and bans are NULL where no instance runs */
	struct bans *bans;
};
/* The page that the request asks for. false: there is none. It may take long (a purge looks at every document). */
bool cmd_answer(const struct cmd_place *, const struct http_request *, struct arena *, struct page *);
enum cmd_page { CMD_NONE, CMD_TELLS, CMD_CHANGES };
enum cmd_page cmd_page(struct str path); /* is it one of ours, and does it change anything (then it wants POST)? */
void cmd_place_open(struct cmd_place *, bool writes); /* metadata and chunks, by the settings */

typedef void cmd_page_f(const struct cmd_place *, const struct http_request *, struct arena *, struct page *);
cmd_page_f page_explain, page_stored, page_purge, page_lift;
void cmd_say(struct arena *, struct page *, int status, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Decoded values of a query (a=1&b=2), one after the other; rest starts as the whole. */
bool query_next(struct arena *, struct str *rest, struct str *name, struct str *value);
/* The request that url, method, header and client of a query describe. false: *problem says what is wrong. */
bool cmd_request(struct arena *, struct str query, struct http_request *, const char **problem);

/* ---- asking */

/* Options of a command: -x VALUE or -xVALUE, --name VALUE or --name=VALUE, flags. What is no option is a word. */
struct cmd_option { char letter; const char *name; bool takes; };
struct cmd_words { int argc; char **argv; int at; const char *value; bool ended; };
enum { WORDS_END = -1, WORDS_WORD = -2 }; /* of cmd_next; else the place of the option in the table. value: the word, or the option's value */
int cmd_next(struct cmd_words *, const struct cmd_option *, unsigned n);
_Noreturn void cmd_refuse(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* what is wrong, and what would be right: status 64 */

/* A question, put together piece by piece: path?name=value&… */
struct cmd_question { struct arena arena; struct str target; };
void question_begin(struct cmd_question *, const char *path);
void question_add(struct cmd_question *, const char *name, const char *value);
/* Asks it. *body is the answer, the result its status. die()s when there is nobody to answer. method is GET, or POST for what changes. */
int question_ask(struct cmd_question *, const char *method, struct str *body);
/* Prints the answer (what is wrong to standard error). The exit status: 0 of 200, 1 of 404, 64 of 400, else 69. */
int question_print(struct cmd_question *, const char *method);
bool cmd_instance(void);                  /* is there one that runs, or begins to? */
/* The command itself looks: metadata and chunks of the state directory, which stay NULL when there are none. Root is its owner
 * until it is closed. */
void cmd_state(struct cmd_place *, bool writes);
void cmd_state_close(struct cmd_place *);

/* server/tbl/commands.h */
typedef int cmd_f(int argc, char **argv); /* its words, itself the first; the exit status */
#define COMMAND(name, words, text, more) cmd_f cmd_##name;
#include "tbl/commands.h"
int cmd_run(int argc, char **argv);       /* argv[0] is the command's name */
void cmd_list(FILE *);                    /* for --help */
void cmd_manual(FILE *);                  /* mdoc, for etc/generate */

int cmd_socket_listen(void);              /* the admin process's end: a socket, or -1 with errno */
