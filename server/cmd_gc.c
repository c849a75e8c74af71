/* cmd_gc.c - passsage gc [--delete] [--grace TIME]: which objects in the bucket no document in Elasticsearch needs any more. s3/gc.h says why that
 * is safe while nodes write; here the two sides are brought together: the list of the bucket first, then all documents, then what is left. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include "../common/err.h"
#include "../common/httpdate.h"
#include "../common/log.h"
#include "../s3/gc.h"
#include "cmd.h"
#include "fleet.h"

#define CONNECTIONS 16

struct cleaning { struct gc *gc; int err; uint64_t documents; };

static bool refer(void *arg, const struct meta *m)
{
	struct cleaning *c = arg;
	c->documents++;
	c->err = gc_refer(c->gc, m->manifest);
	if (c->err == -ERR_CORRUPT)
		log_error("the manifest of %.*s cannot be read: which chunks it needs is not known", STRP(m->id));
	return c->err == 0;
}

static void found(void *arg, struct str key, uint64_t size, int64_t mtime)
{
	char date[HTTPDATE_SIZE];
	(void)arg;
	httpdate_format(mtime / 1000, date);
	printf("%.*s\t%llu\t%s\n", STRP(key), (unsigned long long)size, date);
}

/* "7d", "48h", "90m", or seconds; -1: neither. */
static int64_t duration(const char *text)
{
	static const struct { char unit; int64_t ms; } units[] = { { 's', 1000 }, { 'm', 60000 }, { 'h', 3600000 }, { 'd', 86400000 } };
	struct str s = str_c(text);
	int64_t factor = 1000;
	uint64_t n;
	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if (s.n > 0 && s.p[s.n - 1] == units[i].unit) {
			factor = units[i].ms;
			s.n--;
			break;
		}
	return str_u64(s, 100000000, &n) ? (int64_t)n * factor : -1;
}

static void words(int argc, char **argv, struct gc_options *o)
{
	for (int i = 1; i < argc; i++) {
		const char *value = strncmp(argv[i], "--grace=", 8) == 0 ? argv[i] + 8 : NULL;
		if (strcmp(argv[i], "--delete") == 0) {
			o->remove = true;
			continue;
		}
		if (value == NULL && strcmp(argv[i], "--grace") == 0 && i + 1 < argc)
			value = argv[++i];
		if (value == NULL)
			die(EX_USAGE, "gc: %s: there are --delete and --grace TIME", argv[i]);
		if ((o->grace_ms = duration(value)) < 0)
			die(EX_USAGE, "gc: --grace %s: must be a time such as 7d, 48h or 3600", value);
	}
	if (o->remove && o->grace_ms < GC_GRACE_MIN_MS)
		die(EX_USAGE, "gc: --grace: must be %d days or more with --delete: what is younger may belong to a document that is yet to come",
		    (int)(GC_GRACE_MIN_MS / 86400000));
}

static int fail(struct gc **gc, const char *what, int err, const char *problem)
{
	gc_end(gc);
	log_error("gc: %s: %s; nothing more is deleted", what, *problem ? problem : err_text(err));
	return EX_UNAVAILABLE;
}

static int clean(const struct gc_options *o, struct remote *remote)
{
	struct cleaning c = { .err = 0 };
	struct gc_report r = { 0 };
	char problem[BUCKET_PROBLEM] = "";
	int e = gc_begin(&c.gc, o, problem);
	if (e < 0)
		return fail(&c.gc, "the bucket", e, problem);
	problem[0] = 0;
	e = remote_walk(remote, refer, &c, problem);
	if (e < 0 || c.err < 0)
		return fail(&c.gc, "Elasticsearch's documents", e < 0 ? e : c.err, problem);
	problem[0] = 0;
	e = gc_sweep(c.gc, &r, problem);
	printf("%llu objects below %s, %llu documents that need %llu chunks; %llu younger than the grace time, %llu that are none of ours\n",
	       (unsigned long long)r.listed, o->prefix, (unsigned long long)c.documents, (unsigned long long)r.referred, (unsigned long long)r.young,
	       (unsigned long long)r.foreign);
	printf("no longer needed: %llu objects, %llu bytes", (unsigned long long)r.garbage, (unsigned long long)r.garbage_bytes);
	if (o->remove)
		printf("; deleted: %llu, %llu bytes; wanted again meanwhile: %llu\n", (unsigned long long)r.deleted, (unsigned long long)r.deleted_bytes,
		       (unsigned long long)r.spared);
	else
		printf("; nothing is deleted without --delete\n");
	if (e < 0)
		return fail(&c.gc, "the bucket", e, problem);
	gc_end(&c.gc);
	return 0;
}

int cmd_gc(int argc, char **argv)
{
	const char *tmp = getenv("TMPDIR");
	struct fleet fleet;
	struct gc_options o = { .prefix = conf()->data_prefix, .depth = (unsigned)conf()->prefix_depth, .grace_ms = GC_GRACE_MS,
	                        .tmp = tmp != NULL && *tmp ? tmp : "/tmp", .found = found };
	words(argc, argv, &o);
	if (!fleet_configured() || !fleet_has_es())
		die(EX_USAGE, "gc: needs the bucket (s3.bucket) and Elasticsearch (elasticsearch.url), with the settings of the nodes that use them");
	fleet_open(&fleet, CONNECTIONS);
	o.bucket = fleet.bucket;
	int status = clean(&o, fleet.remote);
	fleet_close(&fleet);
	return status;
}
