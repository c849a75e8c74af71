/* rulefile.h - the policy file (etc/passsage.policy.sample), in libconfig's syntax, to a set of rules. */
#pragma once
#include "rules.h"

/* path "": the built-in rules alone. NULL and *problem: "FILE:LINE: what is wrong: what would be right".
 * otherwise: the policy of what no rule matches, when the file does not say. */
struct ruleset *rulefile_load(const char *path, enum policy otherwise, char problem[RULE_PROBLEM]);
struct ruleset *rulefile_parse(const char *name, struct str text, enum policy otherwise, char problem[RULE_PROBLEM]);
