/* tap.h - the Test Anything Protocol for C unit tests. Each test says the promise that it guards. */
#pragma once
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "../../common/str.h"

static int tap_n, tap_failed;
static inline int __attribute__((format(printf, 4, 5), unused))
tap_ok_at(const char *file, int line, int pass, const char *fmt, ...)
{
	va_list ap;
	printf("%sok %d - ", pass ? "" : "not ", ++tap_n);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	if (!pass) {
		tap_failed++;
		printf("# at %s:%d\n", file, line);
	}
	fflush(stdout);
	return pass;
}
#define ok(cond, ...) tap_ok_at(__FILE__, __LINE__, (cond) ? 1 : 0, __VA_ARGS__)
#define is_int(got, want, ...) do { long long g_ = (long long)(got), w_ = (long long)(want); \
	if (!ok(g_ == w_, __VA_ARGS__)) printf("# got %lld, expected %lld\n", g_, w_); } while (0)
#define is_str(got, want, ...) do { struct str g_ = (got), w_ = (want); \
	if (!ok(g_.n == w_.n && (g_.n == 0 || memcmp(g_.p, w_.p, g_.n) == 0), __VA_ARGS__)) \
		printf("# got \"%.*s\", expected \"%.*s\"\n", (int)g_.n, g_.n ? g_.p : "", (int)w_.n, w_.n ? w_.p : ""); } while (0)
#define note(...) do { printf("# " __VA_ARGS__); putchar('\n'); } while (0)
static inline int __attribute__((unused)) done_testing(void) { printf("1..%d\n", tap_n); return tap_failed ? 1 : 0; }
