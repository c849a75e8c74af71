/* err.h - one return convention: 0 or a positive result, or -ERR_X. The table is tbl/errors.h.
 * Four words, by who is to blame: INVARIANT our bug, die() the environment at start-up, -ERR_X anything that a peer
 * or the machine can cause, log_warn() degraded but serving. */
#pragma once
#include <stdbool.h>

enum err {
	ERR_OK,
#define ERR(name, status, again, text) ERR_##name,
#include "tbl/errors.h"
	ERR_MAX
};

const char *err_name(int r);  /* "ORIGIN_TIMEOUT" of -ERR_ORIGIN_TIMEOUT (either sign) */
const char *err_text(int r);
int err_status(int r);        /* HTTP status */
bool err_again(int r);

/* Our bug: says where, dumps what the panic hook knows, and aborts. Hostile input can never reach it. */
#define INVARIANT(x) ((x) ? (void)0 : panic(#x, __FILE__, __LINE__, __func__))
_Noreturn void panic(const char *what, const char *file, int line, const char *func);
extern void (*panic_hook)(void); /* set once at start: prints the scoreboard slot and trace ring */
