/* luafile_impl.h - between luafile.c and luadeclared.c alone. */
#pragma once
#include "luafile.h"
#include <libconfig.h>
#include <pthread.h>

/* Where things are in the registry: 1 and 2 are Lua's. */
enum { AT_CTX = 10, AT_FUNCTIONS = 16 };

/* What a program may declare */
enum { DECLARED_RULES, DECLARED_KEYS, DECLARED_REFRESH, DECLARED_DEFAULTS, DECLARED_POLICY, DECLARED_RESOLVER, DECLARED_CACHE_KEY, DECLARED_N };

struct luafile {
	pthread_mutex_t lock;
	struct luabox *box;       /* NULL: has to be begun */
	const struct http_request *req; /* of the call under way */
	char *name, *text;
	size_t text_n;
	struct lua_budget budget;
	unsigned callables;
	bool has[2];              /* LUAFILE_RESOLVER, LUAFILE_CACHE_KEY */
	int lines[DECLARED_N];    /* where it did */
	int64_t begun, said;      /* when, ms; 0 never */
	uint64_t failures;
};

/* One run of the program, to find out what it declares. */
struct beginning {
	struct luafile *f;
	config_t *tree;
	char *problem;
	unsigned callables;
	bool has[2];
	int line;
	char where[40];          /* "rules[3]: " */
};

/* A new state, in which the program has run, and what it declares in b. false: b->problem says why, and f->box stays NULL. */
bool luafile_begin(struct beginning *);
