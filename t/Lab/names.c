/* names.c - for LD_PRELOAD: rebind.test has the addresses that the file $LAB_NAMES lists at the moment. All other names are as ever. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
	const char *path = getenv("LAB_NAMES");
	if (!name || !path || strcasecmp(name, "rebind.test") != 0)
		return real(name, service, hints, out);
	FILE *f = fopen(path, "r");
	char line[100];
	struct addrinfo *first = NULL, **tail = &first, numeric = hints ? *hints : (struct addrinfo){ 0 };
	numeric.ai_flags = AI_NUMERICHOST;
	while (f && fgets(line, sizeof line, f)) {
		line[strcspn(line, "\n")] = 0;
		if (real(line, service, &numeric, tail) == 0)
			while (*tail)
				tail = &(*tail)->ai_next;
	}
	if (f)
		fclose(f);
	*out = first;
	return first ? 0 : EAI_NONAME;
}
