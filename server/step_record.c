/* step_record.c - how it went: the counters, the log line of --verbose, and one access record. */
#include "../common/access.h"
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/log.h"
#include "request.h"
#include "worker.h"

static void counters(const struct request *r)
{
	count_add(COUNT_bytes_sent, r->bytes_sent);
	if (r->joined)
		count(COUNT_joined);
	if (r->cached) {
		count_add(COUNT_bytes_cached, r->bytes_sent);
		if (!r->joined)
			count(r->revalidated ? COUNT_revalidated : COUNT_hits);
		if (r->stale)
			count(COUNT_hits_stale);
	} else if (r->has_meta && !r->joined)
		count(COUNT_misses);
	else if (r->xfer != NULL)
		count(COUNT_passes);
	if (r->err == -ERR_CLIENT_GONE)
		count(COUNT_client_gone);
}

static void access_line(struct request *r)
{
	struct access_record a;
	char ip[INET6_ADDRSTRLEN];
	unsigned port;
	int64_t length;
	const struct url *u = &r->http.url;
	const struct headers *in = &r->http.headers, *out = &r->response.headers;
	conn_peer(r->conn, ip, &port);
	access_init(&a);
	a.timestamp = r->started;
	a.request_id = str_c(r->id);
	a.client_ip = str_c(ip);
	a.client_port = port;
	a.method = r->http.method_name;
	a.url = u->text;
	a.host = u->host;
	a.scheme = u->scheme;
	if (u->port != 0 && u->port != (str_eq(u->scheme, STR("https")) ? 443u : 80u))
		a.port = u->port;
	a.path = u->path;
	a.query = u->query;
	a.user_agent = headers_get(in, STR("User-Agent"));
	a.request_headers = in;
	a.status_code = r->response.status;
	a.reason = r->response.reason;
	a.response_headers = out;
	if (http_content_length(out, &length) == 0 && length >= 0)
		a.content_length = length;
	a.content_type = headers_get(out, STR("Content-Type"));
	a.content_encoding = headers_get(out, STR("Content-Encoding"));
	if (r->planned) {
		a.policy = str_c(policy_name(r->plan.policy));
		a.cache_key = r->has_meta ? r->meta.id : r->plan.id;
	}
	a.cached = r->cached;
	a.cache_hit = r->has_stored;
	if (r->has_stored) {
		a.cache_fresh = r->judgement.lifetime_s >= 0 && r->judgement.age_s < r->judgement.lifetime_s;
		a.cache_head_etag = headers_get(&r->stored.headers, STR("ETag"));
		a.cache_head_last_modified = headers_get(&r->stored.headers, STR("Last-Modified"));
		a.metadata_source = r->told ? STR("elasticsearch") : STR("mirror");
	}
	a.cache_head_status = r->has_stored ? 200 : 404;
	if (r->has_meta)
		a.cache_vary = r->meta.vary;
	a.stale_while_revalidate = r->judgement.verdict == VERDICT_HIT_AND_REVALIDATE;
	a.stale_if_error = r->reason == REASON_stale_if_error_fallback;
	a.serve_reason = str_c(reason_name(r->reason));
	if (r->err < 0) {
		a.error = str_c(r->problem);
		if (err_status(r->err) >= 502)
			a.upstream_error = a.error;
	}
	a.duration_ms = clock_mono() - r->started_mono;
	a.bytes_sent = (int64_t)r->bytes_sent;
	access_write(access_json(&a, &conf()->access_log_headers, r->arena));
}

enum req_step step_record(struct request *r)
{
	counters(r);
	if (conf()->verbose)
		log_info("%.*s %.*s %d %s/%s/%s", STRP(r->http.method_name), STRP(r->http.url.text), r->response.status,
		         r->planned ? policy_name(r->plan.policy) : "-", r->cached ? "True" : "False", r->has_meta && !r->cached ? "True" : "False");
	if (access_enabled())
		access_line(r);
	return STEP_record;
}
