/* Any bytes as URLs, targets, authorities and references: what is taken has the form that keys and requests rely on, and reads back as itself. */
#include "../../common/err.h"
#include "../../common/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
check(const struct url *u, struct arena *a)
{
	struct url again;
	struct str host;
	unsigned port = 0;

	INVARIANT(str_eq(u->scheme, STR("http")) || str_eq(u->scheme, STR("https")));
	INVARIANT(u->port >= 1 && u->port <= 65535 && u->host.n && u->path.n);
	INVARIANT(u->path.p[0] == '/' || str_eq(u->path, STR("*")));
	for (size_t i = 0; i < u->text.n; i++)
		INVARIANT((unsigned char)u->text.p[i] > 0x20 && u->text.p[i] != 0x7f && u->text.p[i] != '#');
	for (size_t i = 0; i < u->host.n; i++)
		INVARIANT(!memchr("/?#@[]\\", u->host.p[i], 7));
	INVARIANT(url_authority(url_host_field(a, u), &host, &port) == 0 && str_eq(host, u->host) && (port == 0 || port == u->port));
	INVARIANT(url_parse(a, u->text, &again) == 0 && url_same_origin(u, &again));
	if (u->path.p[0] == '/')
		INVARIANT(str_eq(u->text, again.text) && str_eq(u->path, again.path) && str_eq(u->query, again.query) && !u->query.p == !again.query.p);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *copy = xmalloc(n + !n);
	struct str in = { memcpy(copy, data, n), n }, first, rest = in, host;
	struct url u, base, to;
	struct arena a;
	unsigned port = 7;
	bool v6;

	arena_init(&a);
	if (url_parse(&a, in, &u) == 0)
		check(&u, &a);
	/* two parts, cut at a newline */
	first = str_cut(&rest, '\n');
	if (url_authority(first, &host, &port) == 0)
		INVARIANT(host.n && port >= 1 && port <= 65535);
	else
		INVARIANT(port == 7);
	if (url_from_target(&a, STR("https"), first, rest, &u) == 0)
		check(&u, &a);
	if (url_parse(&a, first, &base) == 0 && url_resolve(&a, &base, rest, &to) == 0)
		check(&to, &a);
	url_is_ip(in, &v6);
	arena_fini(&a);
	free(copy);
	return 0;
}
