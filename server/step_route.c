/* step_route.c - what kind of request is it? Our own pages, CONNECT, loops and Max-Forwards are settled here; the rest goes on to be answered. */
#include "../common/err.h"
#include "../common/log.h"
#include "../common/netrange.h"
#include "gate.h"
#include "onboard.h"
#include "purge.h"
#include "request.h"
#include "worker.h"

/* The address that the client came to, as text; is it IPv6? Empty when it cannot be told. */
static bool local_address(int fd, char text[INET6_ADDRSTRLEN])
{
	struct sockaddr_storage me;
	socklen_t n = sizeof me;
	text[0] = 0;
	if (getsockname(fd, (struct sockaddr *)&me, &n) < 0)
		return false;
	struct in6_addr a;
	address_of(&me, &a);
	address_text(&a, text);
	return !IN6_IS_ADDR_V4MAPPED(&a);
}

static bool our_address(const struct request *r)
{
	char text[INET6_ADDRSTRLEN];
	const struct url *u = &r->http.url;
	if (u->port != heritage.port)
		return false;
	if (str_caseeq(u->host, STR("localhost")) || str_starts(u->host, STR("127.")) || str_eq(u->host, STR("::1")) ||
	    str_caseeq(u->host, str_c(heritage.hostname)))
		return true;
	local_address(r->conn->fd, text);
	return str_caseeq(u->host, str_c(text));
}

/* RFC 9110 7.6.3: our own name among the received-by of Via means that the request has been here before */
static bool been_here(const struct request *r)
{
	struct str member;
	for (struct list_iter it = list_start(&r->http.headers, STR("Via")); list_next(&it, &member);) {
		str_cut(&member, ' ');
		if (str_caseeq(str_cut(&member, ' '), str_c(heritage.via_name)) && str_has(member, STR("passsage/")))
			return true;
	}
	return false;
}

bool request_loops(const struct request *r) { return been_here(r) || our_address(r); }

bool request_onboards(struct str host)
{
	const struct str_list *aliases = &conf()->onboarding_host;
	if (str_caseeq(host, STR("mitm.it")))
		return true;
	for (unsigned i = 0; i < aliases->n; i++)
		if (str_caseeq(host, str_c(aliases->v[i])))
			return true;
	return false;
}

/* How this client came to us, which is how it can write our address: localhost when it is on this machine. */
static struct str url_of_ours(const struct request *r)
{
	char host[INET6_ADDRSTRLEN];
	bool v6 = local_address(r->conn->fd, host);
	struct str h = str_c(host);
	if (h.n == 0 || str_starts(h, STR("127.")) || str_eq(h, STR("::1")))
		return arena_printf(r->arena, "http://localhost:%u", heritage.port);
	return arena_printf(r->arena, v6 ? "http://[%s]:%u" : "http://%s:%u", host, heritage.port);
}

static enum req_step onboarding(struct request *r)
{
	const struct settings *s = conf();
	struct page p;
	struct str proxy = *s->public_proxy_url ? str_c(s->public_proxy_url) : url_of_ours(r);
	const struct onboard_context ctx = { .proxy_url = proxy, .no_proxy_extra = str_c(s->no_proxy_extra), .ca_pem = heritage.ca_pem,
	                                     .ca_der = heritage.ca_der, .ca_p12 = heritage.ca_p12 };
	onboard_answer(&ctx, &r->http, r->arena, &p);
	count(COUNT_onboarding);
	r->reason = REASON_onboarding;
	request_answer(r, &p);
	return STEP_deliver;
}

/* RFC 9110 7.6.2, for TRACE and OPTIONS: true when we are the one who must answer */
static bool last_hop(struct request *r)
{
	uint64_t hops;
	if (r->http.method != METHOD_TRACE && r->http.method != METHOD_OPTIONS)
		return false;
	if (!str_u64(headers_get(&r->http.headers, STR("Max-Forwards")), UINT32_MAX, &hops))
		return false;
	if (hops == 0)
		return true;
	headers_set(&r->http.headers, STR("Max-Forwards"), arena_printf(r->arena, "%llu", (unsigned long long)hops - 1));
	return false;
}

static enum req_step answer_as_last_hop(struct request *r)
{
	struct page p = { .status = 200 };
	headers_init(&p.headers, r->arena);
	if (r->http.method == METHOD_OPTIONS) {
		headers_add(&p.headers, STR("Allow"), STR("GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH"));
	} else { /* RFC 9110 9.3.8: the request as we got it, without what is secret */
		struct str text = arena_printf(r->arena, "TRACE %.*s HTTP/1.%d\r\n", STRP(r->http.url.text), r->http.minor);
		for (unsigned i = 0; i < r->http.headers.n; i++) {
			const struct field *f = &r->http.headers.v[i];
			if (!str_caseeq(f->name, STR("Authorization")) && !str_caseeq(f->name, STR("Cookie")) && !str_caseeq(f->name, STR("Proxy-Authorization")))
				text = arena_printf(r->arena, "%.*s%.*s: %.*s\r\n", STRP(text), STRP(f->name), STRP(f->value));
		}
		headers_add(&p.headers, STR("Content-Type"), STR("message/http"));
		p.body = arena_printf(r->arena, "%.*s\r\n", STRP(text));
	}
	request_answer(r, &p);
	return STEP_deliver;
}

enum req_step step_route(struct request *r)
{
	if (gate_refuses(r))
		return STEP_deliver;
	if (r->target == TARGET_AUTHORITY) {
		if (r->conn->in_tunnel) {
			request_error(r, -ERR_BAD_REQUEST, "CONNECT inside a tunnel");
			return STEP_deliver;
		}
		return STEP_tunnel;
	}
	if (!r->conn->in_tunnel && (r->target == TARGET_ORIGIN || r->target == TARGET_ASTERISK)) {
		struct page p;
		const struct errorpage_context ctx = { .request_id = str_c(r->id), .proxy = str_c(heritage.via_name) };
		errorpage_self(&ctx, &r->http, r->arena, &p);
		request_answer(r, &p);
		return STEP_deliver;
	}
	if (request_onboards(r->http.url.host))
		return onboarding(r);
	if (request_loops(r)) {
		request_error(r, -ERR_LOOP, "");
		return STEP_deliver;
	}
	if (last_hop(r))
		return answer_as_last_hop(r);
	if (str_eq(r->http.method_name, STR("PURGE"))) {
		purge_answer(r);
		return STEP_deliver;
	}
	return STEP_plan;
}
