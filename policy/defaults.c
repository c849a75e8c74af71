/* defaults.c - the built-in rules (behaviour.md 3.3), in order. The one place in the program that names well-known public hosts. */
#include "rules.h"
#include "s3host.h"

#define PLAIN -1, -1, -1, 0, { 0, 0, 0 }
#define DAY_OLD 86400, -1, -1, 0, { 0, 0, 0 } /* an index: a day old is good enough to start with, while the background asks for a newer one */

const struct rule rules_builtin[] = {
	/* Wherever it is, also in a query (behaviour.md 3.3). */
	{ RULE_UrlContains, "/mitm.it/", NULL, POLICY_NoCache, PLAIN },
	{ RULE_Suffix, ".deb", NULL, POLICY_StaleIfError, PLAIN },
	{ RULE_Suffix, "/Packages", NULL, POLICY_StaleIfError, PLAIN },
	{ RULE_Suffix, "/Packages.gz", NULL, POLICY_StaleIfError, PLAIN },
	{ RULE_Suffix, "/Packages.xz", NULL, POLICY_StaleIfError, PLAIN },
	{ RULE_Suffix, "/InRelease", NULL, POLICY_StaleIfError, PLAIN },
	{ RULE_Regex, ".*by-hash/[A-Z0-9]+/[a-f0-9]+$", NULL, POLICY_StaleIfError, PLAIN },
	{ RULE_HostContains, "files.pythonhosted.org", NULL, POLICY_StaleIfError, PLAIN },
	{ RULE_PathContains, "pypi.org/simple", NULL, POLICY_StaleIfError, DAY_OLD },
	/* Cloud metadata services hand out credentials. */
	{ RULE_HostPrefix, "169.254.169.", NULL, POLICY_NoCache, PLAIN },
	{ RULE_HostPrefix, "169.254.170.", NULL, POLICY_NoCache, PLAIN },
	{ RULE_HostPrefix, "100.100.100.", NULL, POLICY_NoCache, PLAIN },
	{ RULE_HostContains, "metadata.azure.internal", NULL, POLICY_NoCache, PLAIN },
	{ RULE_HostContains, "metadata.google.internal", NULL, POLICY_NoCache, PLAIN },
	{ RULE_HostContains, "amazonaws.com", "codeartifact", POLICY_NoCache, PLAIN },
	{ RULE_PathContains, "mran.microsoft.com/snapshot/", NULL, POLICY_StaleIfError, PLAIN },
};
const unsigned rules_builtin_n = sizeof(rules_builtin) / sizeof(*rules_builtin);

/* behaviour.md 4.1, the table by host: of it only what does not sign everywhere. A layer of an image is fetched by a redirect whose query
 * says the registry's version beside the signature; the object is the same. */
static const char *const image_layers[] = { "version", NULL };
const struct signed_host signed_hosts[] = {
	{ "production.cloudflare.docker.com", image_layers },
};
const char s3_domain[] = "amazonaws.com";
const unsigned signed_hosts_n = sizeof(signed_hosts) / sizeof(*signed_hosts);
