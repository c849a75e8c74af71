/* title.c - what ps shows. The kernel shows the bytes where argv stood at start, so they are written over; environment strings that
 * stand behind them are moved away first. */
#include "master.h"
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include "../common/arena.h"

extern char **environ;
static char *place;
static size_t room;

void title_init(int argc, char **argv)
{
	char *end = argc > 0 ? argv[0] : NULL;
	for (int i = 0; i < argc; i++)
		if (argv[i] == end)
			end = argv[i] + strlen(argv[i]) + 1;
	unsigned n = 0;
	while (environ[n] != NULL)
		n++;
	char **copy = xcalloc(n + 1, sizeof *copy);
	for (unsigned i = 0; i < n; i++) {
		if (environ[i] == end)
			end = environ[i] + strlen(environ[i]) + 1;
		copy[i] = xstrdup(environ[i]);
	}
	environ = copy;
	place = argc > 0 ? argv[0] : NULL;
	room = place != NULL ? (size_t)(end - place) : 0;
	for (int i = 1; i < argc; i++)
		argv[i] = xstrdup(argv[i]);
}

void title_set(const char *title)
{
	prctl(PR_SET_NAME, title);
	if (room == 0)
		return;
	memset(place, 0, room);
	snprintf(place, room, "passsage: %s", title);
}
