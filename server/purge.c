/* purge.c - see purge.h */
#include "purge.h"
#include "../common/counters.h"
#include "../common/err.h"
#include "../common/log.h"
#include "cmd.h"
#include "commitwait.h"
#include "passthrough.h"
#include "request.h"
#include "worker.h"

#define ROUNDS 3

const char *const purge_names[PURGE_KINDS] = { [PURGE_URL] = "url", [PURGE_PREFIX] = "prefix", [PURGE_HOST] = "host", [PURGE_ALL] = "all" };

/* Is it the one host that keys have in the same words? Else it is a pattern, or an address that may be written in other ways. */
static bool is_one_host(struct str host)
{
	return !str_has(host, STR("*")) && !str_has(host, STR("/")) && !str_has(host, STR(":")) && !str_starts(host, STR(".")) && !str_ends(host, STR("."));
}

/* What could never be that of a host is a mistake, and would look as if nothing were stored. */
static bool host_valid(struct str pattern)
{
	struct str name = pattern, host;
	unsigned port = 0;
	bool v6 = false;
	if (str_eq(pattern, STR("*")) || passthrough_network(pattern) || (url_is_ip(pattern, &v6) && v6))
		return true;
	if (str_starts(name, STR("*.")))
		name = str_from(name, 2);
	else if (str_starts(name, STR(".")))
		name = str_from(name, 1);
	return !str_has(name, STR("*")) && url_authority(name, &host, &port) == 0 && port == 0;
}

int purge_parse(struct arena *a, enum purge_kind kind, struct str text, struct purge *p, const char **problem)
{
	*p = (struct purge){ .kind = kind, .text = kind == PURGE_HOST ? arena_lower(a, text) : STR_NONE };
	*problem = NULL;
	switch (kind) {
	case PURGE_URL:
		if (url_parse(a, text, &p->url) < 0)
			*problem = url_problem(text);
		break;
	case PURGE_PREFIX:
		if (text.n > PURGE_PREFIX_MAX)
			*problem = "must be at most 512 bytes: no more is known of a stored URL";
		else if (url_parse(a, text, &p->url) < 0)
			*problem = "must be the beginning of URLs, with its host: https://example.com/dists/";
		break;
	case PURGE_HOST:
		if (!host_valid(text))
			*problem = "must be a host such as example.com, *.example.com or 192.0.2.7, without scheme, port and path, or a network such as 192.0.2.0/24";
		break;
	case PURGE_ALL:
	case PURGE_KINDS:
		break;
	}
	return *problem == NULL ? 0 : -ERR_BAD_REQUEST;
}

static struct str path_of(const struct url *u) /* and query: views into text, as are host, path and query */
{
	return (struct str){ u->path.p, (size_t)(u->text.p + u->text.n - u->path.p) };
}

static bool has_prefix(const struct purge *p, struct str text, struct arena *scratch)
{
	struct url u;
	return url_parse(scratch, text, &u) == 0 && url_same_origin(&u, &p->url) && str_starts(path_of(&u), path_of(&p->url));
}

static bool has_host(const struct purge *p, struct str host)
{
	const char *pattern = p->text.p;
	const struct str_list one = { &pattern, 1 };
	return passthrough_matches(&one, host);
}

bool purge_covers(const struct purge *p, const struct meta *m, struct arena *scratch)
{
	struct str rest = m->id, host;
	struct url u;
	switch (p->kind) {
	case PURGE_PREFIX:
		return has_prefix(p, m->url, scratch);
	case PURGE_HOST: /* of the key, scheme/host/…, or of the URL, when a key rule has given it another */
		str_cut(&rest, '/');
		host = str_cut(&rest, '/');
		return has_host(p, host) || (m->url.n > 0 && url_parse(scratch, m->url, &u) == 0 && has_host(p, u.host));
	case PURGE_ALL:
		return true;
	case PURGE_URL:
	case PURGE_KINDS:
		break;
	}
	return false;
}

/* ---- doing it */

struct outdated { struct fill_table *table; struct str id; };

static bool none_stored(void *arg)
{
	const struct outdated *o = arg;
	return !fill_storing(o->table, o->id);
}

bool purge_outdate(struct fill_table *t, struct str id)
{
	struct outdated o = { t, id };
	fill_outdate(t, id);
	if (none_stored(&o))
		return false;
	commit_wait(none_stored, &o);
	return true;
}

/* Fills know their key's host, which is the URL's unless there are key rules. */
static void outdate_many(const struct purge *p, struct fill_table *t, const struct ruleset *rules)
{
	struct outdated any = { t, STR_NONE };
	struct arena a;
	arena_init(&a);
	if (ruleset_rewrites(rules) || p->kind == PURGE_ALL || (p->kind == PURGE_HOST && !is_one_host(p->text)))
		fill_outdate_all(t);
	else
		fill_outdate_host(t, p->kind == PURGE_HOST ? p->text : arena_lower(&a, p->url.host));
	arena_fini(&a);
	commit_wait(none_stored, &any);
}

struct covering { const struct purge *purge; struct arena scratch; };

static bool covers(void *arg, const struct meta *m)
{
	struct covering *c = arg;
	arena_reset(&c->scratch);
	return purge_covers(c->purge, m, &c->scratch);
}

static int64_t purge_url(const struct purge *p, struct fill_table *fills, struct metadata *m, const struct ruleset *rules)
{
	struct str key, id, vary_id;
	struct arena a;
	arena_init(&a);
	ruleset_keys(rules, &p->url, &a, &key, &id, &vary_id);
	if (fills != NULL)
		purge_outdate(fills, id);
	int64_t n = metadata_purge(m, id, vary_id);
	arena_fini(&a);
	return n;
}

static int64_t purge_once(const struct purge *p, struct fill_table *fills, struct metadata *m, const struct ruleset *rules)
{
	int64_t n;
	if (p->kind == PURGE_URL)
		n = purge_url(p, fills, m, rules);
	else {
		struct covering c = { .purge = p };
		arena_init(&c.scratch);
		if (fills != NULL)
			outdate_many(p, fills, rules);
		n = metadata_purge_if(m, covers, &c);
		arena_fini(&c.scratch);
	}
	return n;
}

/* Who found it after it was outdated and before it was dropped may have had it confirmed since (304), so that it is stored again: it is looked
 * for until nothing is there any more. Three times at most, for others may fetch it anew all the while. */
int64_t purge_run(const struct purge *p, struct fill_table *fills, struct metadata *m, const struct ruleset *rules)
{
	int64_t all = 0, n = 1;
	for (int i = 0; i < ROUNDS && n > 0; i++)
		if ((n = purge_once(p, fills, m, rules)) > 0)
			all += n;
	if (all > 0)
		count_add(COUNT_purged, (uint64_t)all);
	if (heritage.shared.fleet != NULL) /* the uploader tells the other nodes; it would look within a second anyway */
		shm_wake_all(&heritage.shared.fleet->spool.news);
	return n < 0 ? n : all;
}

/* ---- the method */

static bool may_purge(const struct request *r)
{
	const struct range_list *from = &conf()->purge_from;
	struct in6_addr client;
	conn_client(r->conn, &client);
	for (unsigned i = 0; i < from->n; i++)
		if (netrange_has(&from->v[i], &client))
			return true;
	return false;
}

void purge_answer(struct request *r)
{
	const struct purge p = { .kind = PURGE_URL, .url = r->http.url };
	struct page page;
	r->reason = REASON_purge;
	if (!may_purge(r)) {
		cmd_say(r->arena, &page, 403, "PURGE is not allowed from this address (setting cache.purge_from)");
		request_answer(r, &page);
		return;
	}
	pool_blocking(r->worker->pool);
	int64_t n = purge_run(&p, heritage.shared.fills, r->worker->metadata, atomic_load(&r->worker->rules));
	if (n < 0) {
		request_error(r, -ERR_BUSY, "the metadata database cannot be written");
		return;
	}
	cmd_say(r->arena, &page, n > 0 ? 200 : 404, "%lld removed", (long long)n);
	request_answer(r, &page);
}
