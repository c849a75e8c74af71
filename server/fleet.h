/* fleet.h - S3 and Elasticsearch as the settings say: what each process that uses them opens after fork, and what the processes share of
 * their state. Without S3 (--s3-bucket, --s3-endpoint) there is no fleet: nothing of this is made, and nothing costs anything. */
#pragma once
#include "../common/settings.h"
#include "../es/remote.h"
#include "../s3/bucket.h"
#include "../s3/spool.h"

#define FLEET_STALE_MS 60000      /* the uploader looks every few seconds: what it said longer ago is not known any more */

/* In shared memory: what the uploader finds out, for health and metrics. The texts are read while they are written: torn ones are harmless,
 * the last byte is always 0. */
struct fleet_state {
	struct spool_totals spool;
	_Atomic int64_t s3_checked, es_checked;  /* wall ms; 0: never */
	_Atomic int s3_err, es_err;              /* 0 well, -ERR_X */
	char s3_problem[160], es_problem[160];
	_Atomic uint64_t outbox;                 /* documents that wait for S3 and Elasticsearch */
	_Atomic int64_t outbox_oldest;           /* wall ms: since when the first of them waits; 0: none */
};

static inline bool fleet_configured(void) { return *conf()->s3_bucket != 0; }
static inline bool fleet_has_es(void) { return conf()->es_urls.n > 0; }

/* An engine of its own beside the one for origins: their connections are many and slow, and a hit whose bytes are in S3 must not stand in
 * line behind them; nor does --upstream-tls-skip-verify reach it. */
struct fleet {
	struct httpc *httpc;
	struct credentials *credentials;
	struct bucket *bucket;
	struct remote *remote;                   /* NULL: no Elasticsearch */
};
/* All NULL when there is no fleet. connections: to each of the two, at most. Does not connect; die()s on what a start would have refused. */
void fleet_open(struct fleet *, long connections);
void fleet_close(struct fleet *);                /* after all that uses them */
struct spool *fleet_spool(struct chunks *);      /* NULL: no fleet, or (said in the log) the folder cannot be made */
void fleet_say(void);                            /* at start: a log line of what is configured; no secrets */
/* 0 well, -ERR_X as the uploader saw it last, -ERR_AGAIN: not known. problem (or ""): in words. */
int fleet_s3_health(char problem[160]);
int fleet_es_health(char problem[160]);
