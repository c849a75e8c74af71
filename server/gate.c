/* gate.c - see gate.h */
#include "gate.h"
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/log.h"
#include "auth.h"
#include "request.h"
#include "worker.h"

static bool in_ranges(const struct range_list *l, const struct in6_addr *a)
{
	for (unsigned i = 0; i < l->n; i++)
		if (netrange_has(&l->v[i], a))
			return true;
	return false;
}

struct destinations gate_destinations(const struct in6_addr *client)
{
	const struct settings *s = conf();
	return (struct destinations){ &s->deny_destinations, (address_is_loopback(client) && !IN6_IS_ADDR_UNSPECIFIED(client)) || in_ranges(&s->loopback_from, client) };
}

static bool refuse(struct request *r, int err, const char *problem)
{
	if (r->target == TARGET_AUTHORITY)
		r->framing.keep_alive = false; /* what comes next may be meant for the tunnel that there is not */
	count(COUNT_access_denied);
	request_error(r, err, problem);
	return true;
}

static bool client_refused(struct request *r)
{
	const struct settings *s = conf();
	const char *by = in_ranges(&s->deny, &r->http.client) ? "--deny" : s->allow.n > 0 && !in_ranges(&s->allow, &r->http.client) ? "--allow" : NULL;
	char host[INET6_ADDRSTRLEN];
	unsigned port;
	if (by == NULL)
		return false;
	r->framing.keep_alive = false;
	conn_peer(r->conn, host, &port);
	return refuse(r, -ERR_FORBIDDEN, arena_printf(r->arena, "clients with your address, %s, are not served (%s)", host, by).p);
}

static bool port_refused(struct request *r)
{
	const struct port_list *l = &conf()->connect_ports;
	const unsigned port = r->http.url.port;
	bool open = l->n == 0;
	for (unsigned i = 0; i < l->n && !open; i++)
		open = l->v[i].first <= port && port <= l->v[i].last;
	return !open && refuse(r, -ERR_FORBIDDEN, arena_printf(r->arena, "CONNECT may not name port %u (--connect-ports)", port).p);
}

static bool destination_refuses(struct request *r)
{
	const struct destinations to = gate_destinations(&r->http.client);
	const char *by = destination_refused_host(&to, r->http.url.host); /* names are looked at when they are resolved */
	return by != NULL && refuse(r, -ERR_DESTINATION, httpc_destination_problem(by));
}

/* ---- passwords */

static void about_to_wait(void *worker) { pool_blocking(((struct worker *)worker)->pool); }

/* The one value; more than one is no credentials. */
static struct str credentials(const struct headers *h)
{
	struct str value = STR_NONE;
	for (unsigned i = 0; i < h->n; i++)
		if (h->v[i].name.n == 19 && str_caseeq(h->v[i].name, STR("Proxy-Authorization"))) {
			if (value.p != NULL)
				return STR_NONE;
			value = h->v[i].value;
		}
	return value;
}

static bool ask_who(struct request *r, int err, const char *problem)
{
	count(COUNT_auth_failures);
	refuse(r, err, problem);
	if (err == -ERR_CREDENTIALS)
		headers_add(&r->response.headers, STR("Proxy-Authenticate"), STR("Basic realm=\"passsage\", charset=\"UTF-8\"")); /* RFC 9110 11.7.1, RFC 7617 */
	else if (err == -ERR_ATTEMPTS)
		headers_add(&r->response.headers, STR("Retry-After"), arena_printf(r->arena, "%d", AUTH_FORGIVE_MS / 1000));
	return true;
}

static bool password_refused(struct request *r)
{
	struct auth *a = r->worker->auth;
	struct conn *c = r->conn;
	char buf[AUTH_VALUE_MAX];
	struct auth_pass pass = { 0 };
	if (c->in_tunnel) { /* the CONNECT said who it is, and a client says it only there (RFC 9110 11.7.1) */
		if (c->pass.user.n > 0 && auth_holds(a, &c->pass))
			return false;
		r->framing.keep_alive = false;
		return ask_who(r, -ERR_CREDENTIALS, "this tunnel was opened without a name and password that hold now (--htpasswd)");
	}
	struct str value = credentials(&r->http.headers);
	switch (auth_check(a, value, &r->http.client, clock_mono(), about_to_wait, r->worker, buf, &pass)) {
	case AUTH_YES:
		if (r->target == TARGET_AUTHORITY) {
			c->pass = pass;
			c->pass.user = arena_dup(&c->arena, pass.user);
		}
		return false;
	case AUTH_NO:
		return ask_who(r, -ERR_CREDENTIALS, value.n == 0 ? "the request has no Proxy-Authorization (--htpasswd)" : "the name or the password is wrong (--htpasswd)");
	case AUTH_LIMIT:
		return ask_who(r, -ERR_ATTEMPTS, "");
	case AUTH_BUSY:
		break;
	}
	return ask_who(r, -ERR_BUSY, "too many passwords wait to be checked");
}

bool gate_refuses(struct request *r)
{
	conn_client(r->conn, &r->http.client);
	if (client_refused(r))
		return true;
	if (!r->conn->in_tunnel && (r->target == TARGET_ORIGIN || r->target == TARGET_ASTERISK))
		return false; /* it is for the proxy itself, which only says that it is one */
	if (r->target == TARGET_AUTHORITY && port_refused(r))
		return true;
	if (request_onboards(r->http.url.host)) /* what a client needs before it can be one: how to, and the CA's public certificate */
		return false;
	if (auth_wanted(r->worker->auth) && password_refused(r))
		return true;
	return destination_refuses(r);
}

struct htpasswd *gate_users(char *problem)
{
	*problem = 0;
	return *conf()->htpasswd != 0 ? htpasswd_read(conf()->htpasswd, problem) : NULL;
}

void gate_reload(struct worker *w)
{
	char problem[HTPASSWD_PROBLEM];
	struct htpasswd *users = gate_users(problem);
	if (*problem == 0) {
		auth_use(w->auth, users); /* old ones are kept, as rules are */
		return;
	}
	if (conf()->foreground_worker || w->index == 0) /* it may be that only the master can read it */
		log_error("%s; the old users stay in force", problem);
}
