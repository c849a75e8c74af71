/* policy.c - names of policies and rule kinds. */
#include "rules.h"

static const struct str names[] = {
#define X(p) [POLICY_##p] = STR(#p),
	POLICIES(X)
#undef X
};

const char *
policy_name(enum policy p)
{
	return (unsigned)p < POLICY_MAX ? names[p].p : "?";
}

bool
policy_parse(struct str s, enum policy *out)
{
	s = str_trim(s);
	for (unsigned i = 0; i < POLICY_MAX; i++) {
		if (str_caseeq(s, names[i])) {
			*out = (enum policy)i;
			return true;
		}
	}
	return false;
}
