/* str.h - views of bytes. A view owns nothing: it is good as long as what it points into (an arena, a literal). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str {
	const char *p; /* not NUL-terminated; may be NULL when n is 0 */
	size_t n;
};

#define STR(lit) ((struct str){ "" lit, sizeof(lit) - 1 })
#define STR_NONE ((struct str){ NULL, 0 })
/* for printf("%.*s", STRP(s)) */
#define STRP(s) (int)(s).n, (s).n ? (s).p : ""

struct str str_c(const char *z);                     /* view of a C string; NULL gives STR_NONE */
bool str_eq(struct str a, struct str b);             /* exact */
bool str_caseeq(struct str a, struct str b);         /* ASCII case folded, locale-free */
int str_cmp(struct str a, struct str b);             /* memcmp order, shorter first */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
bool str_casestarts(struct str s, struct str prefix);
bool str_caseends(struct str s, struct str suffix);
bool str_has(struct str s, struct str part);         /* substring */
bool str_casehas(struct str s, struct str part);
struct str str_trim(struct str s);                   /* without SP and HTAB at both ends (OWS, RFC 9110 5.6.3) */
struct str str_from(struct str s, size_t off);       /* the rest after off bytes (off is clamped) */
struct str str_upto(struct str s, size_t n);         /* the first n bytes (n is clamped) */
/* Cuts s at the first c: the part before it is returned, *s is what follows. No c: all of it, *s becomes STR_NONE. */
struct str str_cut(struct str *s, char c);
/* Decimal digits only, no sign, no blanks; false when empty, not digits, or more than max. */
bool str_u64(struct str s, uint64_t max, uint64_t *out);
/* The length of the UTF-8 sequence at p, of which n > 0 bytes are there; 0: it is none (RFC 3629: no overlong forms, no surrogates,
 * nothing above U+10FFFF). */
size_t utf8_sequence(const char *p, size_t n);
static inline char ascii_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }
