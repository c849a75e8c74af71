/* policyfile.h - the set of rules that is in force: made of the policy file (rulefile.h, luafile.h) and what the settings say beside it. */
#pragma once
#include "../policy/rules.h"

/* As the settings say now; NULL and *problem when the policy file is wrong. The caller's, for as long as a plan of it may live. */
struct ruleset *rules_read(char problem[RULE_PROBLEM]);
/* The same, for a process that has a set which it, or the one that it was forked from, has read last: NULL and an empty *problem when neither
 * the file nor the settings have changed since. So a SIGHUP for the logs' sake costs nothing, and leaves a program (luafile.h) what it
 * remembers. One thread at a time. */
struct ruleset *rules_reread(char problem[RULE_PROBLEM]);
