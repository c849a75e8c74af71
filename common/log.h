/* log.h - the error log: one line an event, to standard error or --log-file. Thread- and process-safe (one write(2) a line).
 * "2026-01-31T12:00:00.123Z warn worker 3[4711]: text" */
#pragma once
#include "str.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
extern _Atomic enum log_level log_level; /* lines above it are not written; default LOG_INFO */

void log_open(const char *path);           /* NULL: standard error. Also reopens. die()s when it cannot at first */
void log_title(const char *title);         /* "worker 3": what stands in each line */
int log_fd(void);
void log_line(enum log_level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) (log_level >= LOG_DEBUG ? log_line(LOG_DEBUG, __VA_ARGS__) : (void)0)
/* At start-up only: "passsage: text" to standard error, exit status 1 (EX_ usage: 64). */
_Noreturn void die(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
