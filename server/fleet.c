/* fleet.c - see fleet.h */
#include "heritage.h"
#include <stdlib.h>
#include <sysexits.h>
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/log.h"

#define CONNECT_MS 5000        /* to S3 and Elasticsearch, which are near: whoever waits can do without them */
#define IDLE_MS 30000          /* shorter than what S3 and load balancers before Elasticsearch leave open */

static const char *environment(const char *name)
{
	const char *text = getenv(name);
	return text != NULL ? text : "";
}

static void open_bucket(struct fleet *f)
{
	const struct settings *s = conf();
	char problem[BUCKET_PROBLEM] = "";
	const struct credentials_options co = { .httpc = f->httpc, .access_key = s->s3_access_key, .secret_key = s->s3_secret_key, .session_token = "",
	                                        .profile = s->s3_profile, .region = s->s3_region, .home = environment("HOME") };
	f->credentials = credentials_new(&co);
	const struct bucket_options bo = { .httpc = f->httpc, .credentials = f->credentials, .endpoint = s->s3_endpoint, .bucket = s->s3_bucket,
	                                   .region = s->s3_region, .read_url = s->object_store_url, .connect_timeout_ms = CONNECT_MS,
	                                   .read_timeout_ms = s->s3_read_ms };
	if (bucket_open(&f->bucket, &bo, problem) < 0)
		die(EX_USAGE, "S3: %s", problem);
}

static void open_remote(struct fleet *f)
{
	const struct settings *s = conf();
	char problem[256] = "";
	const struct remote_options ro = { .httpc = f->httpc, .urls = s->es_urls.v, .urls_n = s->es_urls.n, .index = s->es_index, .user = s->es_user,
	                                   .password = s->es_password, .api_key = s->es_api_key, .replicas = (int)s->es_replicas, .shards = (int)s->es_shards,
	                                   .ask_ms = s->es_ask_ms, .timeout_ms = CONNECT_MS * 2 };
	if (remote_open(&f->remote, &ro, problem) < 0)
		die(EX_USAGE, "Elasticsearch: %s", problem);
}

void fleet_open(struct fleet *f, long connections)
{
	const struct settings *s = conf();
	*f = (struct fleet){ 0 };
	if (!fleet_configured())
		return;
	const struct httpc_options ho = { .ca_file = *s->upstream_ca ? s->upstream_ca : NULL, .max_connections = 2 * connections, .max_per_host = connections,
	                                  .idle_ms = IDLE_MS };
	f->httpc = httpc_start(&ho);
	open_bucket(f);
	if (fleet_has_es())
		open_remote(f);
}

void fleet_close(struct fleet *f)
{
	if (f->httpc == NULL)
		return;
	remote_close(&f->remote);
	bucket_close(&f->bucket);
	credentials_free(&f->credentials);
	httpc_stop(&f->httpc);
}

struct spool *fleet_spool(struct chunks *chunks)
{
	static char dir[4300];
	struct spool *spool = NULL;
	if (!fleet_configured())
		return NULL;
	snprintf(dir, sizeof dir, "%s/spool", conf()->state_dir);
	/* its chunks cannot be evicted: while S3 is away they may not take all of the store */
	const uint64_t most = conf()->cache_size > 0 && conf()->cache_size / 2 < conf()->spool_size ? conf()->cache_size / 2 : conf()->spool_size;
	const struct spool_options o = { .dir = dir, .max_bytes = most, .totals = &heritage.shared.fleet->spool };
	int e = spool_open(&spool, chunks, &o);
	if (e < 0)
		log_error("%s cannot be made (%s): nothing new is cached, requests go on", dir, err_text(e));
	return spool;
}

void fleet_say(void)
{
	const struct settings *s = conf();
	if (!fleet_configured())
		return;
	log_info("S3: bucket %s %s%s, region %s%s%s; spool up to %llu bytes", s->s3_bucket, *s->s3_endpoint ? "at " : "of AWS", s->s3_endpoint, s->s3_region,
	         *s->object_store_url ? ", read from " : "", s->object_store_url, (unsigned long long)s->spool_size);
	if (!fleet_has_es()) {
		log_info("Elasticsearch: none; metadata are this node's alone");
		return;
	}
	const char *url = s->es_urls.v[0], *at = strrchr(url, '@'); /* no user, no password */
	log_info("Elasticsearch: index %s at %s%s%s", s->es_index, at != NULL ? at + 1 : url, s->es_urls.n > 1 ? " and others" : "",
	         *s->es_api_key ? ", with an API key" : *s->es_user || at != NULL ? ", with a user" : "");
}

static int health(_Atomic int64_t *checked, _Atomic int *err, const char text[160], char problem[160])
{
	int64_t at = atomic_load(checked);
	int e = atomic_load(err);
	problem[0] = 0;
	if (clock_wall() - at > FLEET_STALE_MS) {
		snprintf(problem, 160, at == 0 ? "not looked at yet" : "not looked at for a while");
		return -ERR_AGAIN;
	}
	if (e < 0)
		snprintf(problem, 160, "%.159s", *text ? text : err_text(e));
	return e;
}

int fleet_s3_health(char problem[160])
{
	struct fleet_state *f = heritage.shared.fleet;
	return health(&f->s3_checked, &f->s3_err, f->s3_problem, problem);
}

int fleet_es_health(char problem[160])
{
	struct fleet_state *f = heritage.shared.fleet;
	return health(&f->es_checked, &f->es_err, f->es_problem, problem);
}
