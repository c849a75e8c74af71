/* metrics.c - see metrics.h */
#include "metrics.h"
#include <inttypes.h>

/* help: the tables' own words, without quotes, backslashes or line ends: nothing needs to be escaped. labels: "" or "{a=\"b\"}" */
static void one(struct page_text *t, const char *name, const char *suffix, const char *kind, const char *help, const char *labels, double value)
{
	char line[512];
	snprintf(line, sizeof line, "# HELP passsage_%s%s %s\n# TYPE passsage_%s%s %s\n", name, suffix, help, name, suffix, kind);
	page_addz(t, line);
	snprintf(line, sizeof line, "passsage_%s%s%s %.17g\n", name, suffix, labels, value);
	page_addz(t, line);
}

static void fleet(struct page_text *t, const struct metrics_extra *x)
{
	one(t, "s3_up", "", "gauge", "1: the bucket could be reached when it was last looked at", "", x->s3_up);
	if (x->es)
		one(t, "elasticsearch_up", "", "gauge", "1: Elasticsearch could be reached when it was last looked at", "", x->es_up);
	one(t, "spool_entries", "", "gauge", "chunks that wait for S3", "", (double)x->spool_entries);
	one(t, "spool_bytes", "", "gauge", "their bytes; nothing new is cached above --spool-size", "", (double)x->spool_bytes);
	one(t, "spool_failed", "", "gauge", "chunks that S3 has refused for good, in spool/failed", "", (double)x->spool_failed);
	one(t, "spool_oldest_seconds", "", "gauge", "how long the oldest of the chunks has waited", "", (double)x->spool_oldest_ms / 1000);
	one(t, "outbox_entries", "", "gauge", "documents that wait for S3 and Elasticsearch", "", (double)x->outbox);
	one(t, "outbox_oldest_seconds", "", "gauge", "how long the oldest of the documents has waited", "", (double)x->outbox_oldest_ms / 1000);
}

void metrics_text(struct page_text *t, const struct counters *c, const struct metrics_extra *x)
{
	for (unsigned i = 0; i < COUNT_MAX; i++) {
		const struct counter_info *k = &counter_table[i];
		one(t, k->name, strcmp(k->kind, "counter") == 0 ? "_total" : "", k->kind, k->help, "", (double)counters_get(c, (enum counter)i));
	}
	one(t, "build_info", "", "gauge", "the version that runs", "{version=\"" PACKAGE_VERSION "\"}", 1);
	one(t, "start_time_seconds", "", "gauge", "when the master started, in seconds since the epoch", "", (double)x->started / 1000);
	one(t, "workers", "", "gauge", "worker processes alive", "", x->workers);
	one(t, "fills_active", "", "gauge", "objects in the making", "", x->fills);
	one(t, "origins_banned", "", "gauge", "origins that are banned, for they could not be reached (see /debug/bans)", "", x->banned);
	one(t, "degraded", "", "gauge", "1: requests are served, but not cached as they should be (see /health)", "", x->degraded);
	one(t, "store_bytes", "", "gauge", "bytes in the local store when it was last measured", "", (double)x->store_bytes);
	one(t, "store_files", "", "gauge", "chunks in the local store when it was last measured", "", (double)x->store_files);
	one(t, "store_disk_percent", "", "gauge", "how full the disk of the store is", "", (double)x->disk_percent);
	if (x->fleet)
		fleet(t, x);
}

void metrics_json(struct page_text *t, const struct counters *c)
{
	char line[128];
	page_addz(t, "{");
	for (unsigned i = 0; i < COUNT_MAX; i++) {
		snprintf(line, sizeof line, "%s\n  \"%s\": %" PRIu64, i > 0 ? "," : "", counter_table[i].name, counters_get(c, (enum counter)i));
		page_addz(t, line);
	}
	page_addz(t, "\n}\n");
}
