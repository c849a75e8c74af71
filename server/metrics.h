/* metrics.h - the counters table as Prometheus and as JSON have it. Pure, but for reading the counters. */
#pragma once
#include "../common/counters.h"
#include "errorpage.h"

/* What is no counter. */
struct metrics_extra {
	int64_t started;               /* wall, ms */
	unsigned workers;              /* alive */
	unsigned fills;                /* objects in the making */
	unsigned banned;               /* origins */
	bool degraded;
	uint64_t store_bytes, store_files, disk_percent;
	bool fleet, es;                /* S3 is configured, Elasticsearch too: else nothing of what follows is shown */
	bool s3_up, es_up;
	uint64_t spool_entries, spool_bytes, spool_failed, outbox;
	int64_t spool_oldest_ms, outbox_oldest_ms; /* their age */
};
#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"
void metrics_text(struct page_text *, const struct counters *, const struct metrics_extra *);
void metrics_json(struct page_text *, const struct counters *);
