/* regex.h - regular expressions that cannot hang a worker: machine code (PCRE2 JIT), a match limit, ASCII case ignored. Immutable once
 * made, so any thread may ask. */
#pragma once
#include "../common/arena.h"

struct regex;
struct regex *regex_new(struct str pattern, char *problem, size_t problem_size); /* NULL and *problem: why, and where in the pattern */
void regex_free(struct regex **);
bool regex_search(const struct regex *, struct str subject); /* anywhere in it; false also at a limit */
/* May this be put in the place of a match: $1, ${name}, $0 the whole match, $$ a dollar sign? */
bool regex_template_check(const struct regex *, struct str with, char *problem, size_t problem_size);
/* subject with its first match replaced, in the arena; STR_NONE: no match, a limit, or nothing is left. */
struct str regex_replace(const struct regex *, struct str subject, struct str with, struct arena *);
