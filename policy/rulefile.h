/* rulefile.h - the policy file (etc/passsage.policy.sample), in libconfig's syntax, to a set of rules. */
#pragma once
#include "rules.h"

/* The text of a file of that name. NULL and *problem: "NAME:LINE: what is wrong: what would be right".
 * otherwise: the policy of what no rule matches, when the file does not say. */
struct ruleset *rulefile_parse(const char *name, struct str text, enum policy otherwise, char problem[RULE_PROBLEM]);
/* What a program has made (luafile.c), in libconfig's form: read as a file is, but for rules of type Callable, whose "call" is the number of
 * the program's function. The program becomes the set's, when there is one. */
struct config_t;
struct ruleset *rulefile_of_program(const char *name, const struct config_t *, struct luafile *, enum policy otherwise, char problem[RULE_PROBLEM]);
