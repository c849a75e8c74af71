/* Nodes that share an Elasticsearch: what is drained, asked, purged. In the test's own process there are two nodes with a mirror each, and an
 * Elasticsearch that can fail (es_fake.h). With ES_URL set the same is done against that real server, where failures cannot be ordered. */
#include "tap.h"
#include "es_fake.h"
#include "../../common/counters.h"
#include "../../common/err.h"
#include "../../common/log.h"
#include "../../es/documents.h"
#include "../../es/drain.h"
#include "../../es/follow.h"
#include "../../es/metadata.h"
#include "../../es/metadata_impl.h"
#include "../../es/outbox.h"
#include <ftw.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define MiB ((size_t)1 << 20)
static char top[256];
static const char *real; /* URL of a real one */
static struct arena a;
static struct httpc *engine;

struct node {
	char dir[300];
	struct remote *remote;
	struct metadata *m;
	struct drain *drain;
	struct follow *follow;
	enum drain_ready ready;
};
static struct node A, B;
static char index_name[64];

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *f) { return remove(path); }

static enum drain_ready
ready(void *arg, const struct meta *m)
{
	struct node *n = arg;
	if (str_has(m->id, STR("late")))
		return DRAIN_UNDER_WAY;
	if (str_has(m->id, STR("lost")))
		return DRAIN_FAILED;
	return n->ready;
}

static void
node_open(struct node *n, const char *name)
{
	char url[64], problem[256];
	const char *urls[] = { url };
	snprintf(url, sizeof url, "http://127.0.0.1:%u", fake.port[0]);
	if (real)
		urls[0] = real;
	snprintf(n->dir, sizeof n->dir, "%s/%s", top, name);
	struct remote_options o = { .httpc = engine, .urls = urls, .urls_n = 1, .index = index_name, .user = "", .password = "", .api_key = "", .replicas = 0,
	                            .shards = 3, .ask_ms = real ? 2000 : 500, .timeout_ms = 3000 };
	if (remote_open(&n->remote, &o, problem) < 0)
		printf("# %s\n", problem);
	metadata_open(&n->m, &(struct metadata_options){ .dir = n->dir, .map_size = 256 * MiB, .commit_ms = 1, .queue_max = 1024, .recorder = true,
	                                                  .outbox = true, .remote = n->remote });
	n->drain = drain_new(&(struct drain_options){ .metadata = n->m, .remote = n->remote, .ready = ready, .arg = n, .flush_ms = 3600000 });
	n->follow = follow_new(n->m, n->remote, 0);
	n->ready = DRAIN_THERE;
}

static void
node_close(struct node *n)
{
	follow_free(&n->follow);
	drain_free(&n->drain);
	metadata_close(&n->m);
	remote_close(&n->remote);
}

/* Drains until the outbox is empty, or nothing moves any more. */
static uint64_t
drain(struct node *n)
{
	int64_t oldest;
	int idle = 0;
	for (int i = 0; i < 100 && metadata_outbox(n->m, &oldest); i++) {
		int64_t ms = drain_step(n->drain);
		if (ms > 900 && ++idle == 2) /* once may be a busy machine's Elasticsearch that did not answer in time */
			break;
		if (ms > 0)
			usleep(ms > 900 ? 500000 : 20000);
	}
	metadata_flush(n->m);
	return metadata_outbox(n->m, &oldest);
}

static struct str manifest_of(uint64_t size) /* 4.7, one chunk */
{
	char *p = arena_zalloc(&a, 42);
	memcpy(p, "XS3M\1\2", 6);
	p[8] = 0x80;
	memcpy(p + 14, &size, 8); /* little endian */
	p[22] = 1;
	memset(p + 26, 0xab, 16);
	return (struct str){ p, 42 };
}

static struct meta
make(const char *id, int64_t stored_at, const char *etag)
{
	struct meta m;
	meta_init(&m, &a);
	m.id = arena_dup(&a, str_c(id));
	m.status = 200;
	m.url = arena_printf(&a, "https://example.com/%s", id);
	m.extension = STR(".gz");
	m.content_size = 5;
	m.stored_at = m.request_time = m.response_time = stored_at;
	m.date = stored_at / 1000;
	m.doc_type = STR("metadata");
	m.minor = 1;
	m.reason = STR("OK");
	m.manifest = manifest_of(5);
	headers_add(&m.headers, STR("Date"), STR("Mon, 23 Nov 2026 18:00:00 GMT"));
	headers_add(&m.headers, STR("ETag"), arena_dup(&a, str_c(etag)));
	headers_add(&m.headers, STR("Set-Cookie"), STR("a=1"));
	headers_add(&m.headers, STR("Set-Cookie"), STR("b=2"));
	return m;
}

static int
get(struct node *n, const char *id, struct meta *m)
{
	struct str s = str_c(id);
	bool found;
	return metadata_get(n->m, &s, 1, &a, m, &found);
}

static int
ask(struct node *n, const char *id, struct meta *m)
{
	struct str s = str_c(id);
	bool found;
	return metadata_ask(n->m, &s, 1, &a, m, &found);
}

/* ask() of something that was asked for less than METADATA_ABSENT_MS ago. */
static int
ask_later(struct node *n, const char *id, struct meta *m)
{
	usleep((METADATA_ABSENT_MS + 50) * 1000);
	return ask(n, id, m);
}

static void keep_doc(void *arg, unsigned i, const struct document *d) { *(json_t **)arg = json_incref(d->source); }
static json_t *
doc(const char *id) /* as Elasticsearch has it */
{
	struct str s = str_c(id);
	json_t *j = NULL;
	documents_get(A.remote, &s, 1, NULL, 3000, 0, keep_doc, &j);
	return j;
}
static void
put_doc(const char *id, json_t *source)
{
	struct bulk b = { 0 };
	bulk_index(&b, str_c(id), source);
	bulk_send(A.remote, &b, true, 3000, NULL, NULL);
	bulk_fini(&b);
	json_decref(source);
}
static const char *
text_of(json_t *j, const char *name)
{
	const char *s = json_string_value(json_object_get(j, name));
	return s ? s : "";
}

/* --- documents -------------------------------------------------------------------------------------------------------------- */

static void
test_publish(void)
{
	int64_t now = clock_wall();
	struct meta m = make("https/example.com/one", now - 1000, "\"1\""), got;
	json_t *j;

	metadata_store(A.m, &m);
	ok(ask(&B, "https/example.com/one", &got) < 0, "what is not published is not there for another node");
	is_int(drain(&A), 0, "a document whose bytes are in S3 is published, and the outbox is empty");
	j = doc("https/example.com/one");
	ok(j && json_integer_value(json_object_get(j, "status_code")) == 200, "Elasticsearch has it");
	json_decref(j);
	int asked = fake.mgets;
	ok(ask(&B, "https/example.com/none", &got) < 0 && ask(&B, "https/example.com/none", &got) < 0 && fake.mgets <= asked + 1,
	   "what Elasticsearch did not have is not asked for again for a moment");
	ok(ask_later(&B, "https/example.com/one", &got) == 1, "then another node has it by asking");
	is_int(got.stored_at, m.stored_at, "with its time");
	is_int(headers_count(&got.headers, STR("set-cookie")), 2, "with fields that the old system drops");
	is_str(got.manifest, m.manifest, "with its manifest");
	metadata_flush(B.m);
	ok(get(&B, "https/example.com/one", &got) == 1, "and in its mirror");
	int64_t oldest;
	is_int(metadata_outbox(B.m, &oldest), 0, "without a place in its outbox");

	/* an update that keeps what it does not know; the headers are replaced as a whole */
	j = doc("https/example.com/one");
	json_object_set_new(j, "somebody_else", json_string("keeps this"));
	json_object_set_new(json_object_get(j, "headers"), "content-encoding", json_string("gzip"));
	put_doc("https/example.com/one", j);
	m = make("https/example.com/one", now - 500, "\"2\"");
	metadata_store(A.m, &m);
	drain(&A);
	j = doc("https/example.com/one");
	ok(!strcmp(text_of(j, "somebody_else"), "keeps this"), "members of others stay");
	ok(!strcmp(text_of(json_object_get(j, "headers"), "etag"), "\"2\"") && !json_object_get(json_object_get(j, "headers"), "content-encoding"),
	   "fields that the new response has no longer do not survive");
	json_decref(j);
	ok(ask(&B, "https/example.com/one", &got) == 1 && str_eq(headers_get(&got.headers, STR("ETag")), STR("\"2\"")), "a stale copy is replaced by asking");
	ok(str_has(got.unknown, STR("keeps this")), "and carries the members along");

	/* the newer wins */
	struct meta older = make("https/example.com/one", now - 900, "\"old\"");
	metadata_store(B.m, &older);
	is_int(drain(&B), 0, "an older version is settled");
	j = doc("https/example.com/one");
	ok(!strcmp(text_of(json_object_get(j, "headers"), "etag"), "\"2\""), "without replacing the newer one");
	json_decref(j);
	ok(get(&B, "https/example.com/one", &got) == 1 && str_eq(headers_get(&got.headers, STR("ETag")), STR("\"2\"")), "which comes into the mirror instead");
}

static void
test_ready(void)
{
	struct meta late = make("https/example.com/late", clock_wall(), "x"), lost = make("https/example.com/lost", clock_wall(), "x");
	struct meta fine = make("https/example.com/zfine", clock_wall(), "x"), part = make("https/example.com/zfine+part", clock_wall(), "x");
	uint64_t before = atomic_load(&counters_row[COUNT_es_unpublished]);
	json_t *j;

	metadata_store(A.m, &late), metadata_store(A.m, &lost), metadata_store(A.m, &fine), metadata_store(A.m, &part);
	is_int(drain(&A), 1, "what is on its way to S3 waits, and nothing else");
	ok(!(j = doc("https/example.com/late")), "nobody sees it before its bytes are in S3");
	ok(!(j = doc("https/example.com/lost")) && atomic_load(&counters_row[COUNT_es_unpublished]) == before + 1, "what will never be in S3 is not published");
	ok((j = doc("https/example.com/zfine")), "those behind it are");
	json_decref(j);
	ok(!(j = doc("https/example.com/zfine+part")), "parts of bodies are not shared");
	struct meta got;
	ok(get(&A, "https/example.com/lost", &got) == 1, "it stays this node's own");
	A.ready = DRAIN_BUSY;
	struct meta one = make("https/example.com/busy1", clock_wall(), "x");
	metadata_store(A.m, &one);
	ok(drain_step(A.drain) > 0, "a busy S3 makes it wait");
	A.ready = DRAIN_THERE;
	metadata_drop(A.m, late.id);
	is_int(drain(&A), 0, "and come again; what was dropped meanwhile is not published");
}

static void
test_vary(void)
{
	int64_t now = clock_wall();
	struct meta index, got;

	meta_init(&index, &a);
	index.id = STR("https/example.com/_vary/v");
	index.doc_type = STR("vary_index");
	index.vary = STR("Accept-Encoding");
	index.stored_at = now - 100;
	metadata_store(A.m, &index);
	drain(&A);
	json_t *j = doc("https/example.com/_vary/v");
	ok(j && !strcmp(text_of(j, "vary"), "Accept-Encoding") && !strcmp(text_of(j, "doc_type"), "vary_index"), "a vary index is published");
	json_decref(j);
	ok(ask(&B, "https/example.com/_vary/v", &got) == 1 && str_eq(got.vary, STR("Accept-Encoding")), "and read");
	put_doc("https/example.com/_vary/v", json_pack("{ssss}", "vary", "User-Agent", "doc_type", "vary_index"));
	metadata_flush(B.m);
	ok(ask(&B, "https/example.com/_vary/v", &got) == 1 && str_eq(got.vary, STR("User-Agent")), "one of the old system, which has no time, replaces it");
}

/* --- purges -------------------------------------------------------------------------------------------------------------------- */

static void
both_have(const char *id, int64_t stored_at)
{
	struct meta m = make(id, stored_at, "x"), got;
	metadata_store(A.m, &m);
	drain(&A);
	ask(&B, id, &got);
	metadata_flush(B.m);
	if (get(&B, id, &got) != 1)
		printf("# %s did not come to B\n", id);
}

static bool
waits_until_gone(struct node *n, const char *id)
{
	struct meta got;
	for (int i = 0; i < 50; i++) {
		follow_step(n->follow);
		if (get(n, id, &got) < 0)
			return true;
		usleep(50000);
	}
	return false;
}

static void
test_purge(void)
{
	int64_t now = clock_wall();
	struct meta got;
	json_t *j;

	follow_step(A.follow), follow_step(B.follow); /* they begin now */
	both_have("https/example.com/p1", now - 60000);
	metadata_drop(A.m, STR("https/example.com/p1"));
	drain(&A);
	ok(!(j = doc("https/example.com/p1")), "what is dropped goes in Elasticsearch");
	ok(waits_until_gone(&B, "https/example.com/p1"), "and at the other node");
	ok(ask_later(&B, "https/example.com/p1", &got) < 0, "and does not come back");

	both_have("https/example.com/p2", now - 60000);
	struct meta newer = make("https/example.com/p2", clock_wall() + 100, "newer");
	metadata_drop(A.m, STR("https/example.com/p2"));
	metadata_store(B.m, &newer);
	drain(&B);
	drain(&A);
	ok((j = doc("https/example.com/p2")), "a newer version of another node is not dropped");
	json_decref(j);
	follow_step(B.follow), follow_step(B.follow);
	ok(get(&B, "https/example.com/p2", &got) == 1, "there neither");

	/* A has never had it; B has variants that A does not know of */
	struct meta v1 = make("https/example.com/p3+v1", now - 60000, "x"), v0 = make("https/example.com/p3", now - 60000, "x");
	metadata_store(B.m, &v1), metadata_store(B.m, &v0);
	drain(&B);
	metadata_withdraw(A.m, STR("https/example.com/p3"));
	metadata_flush(A.m);
	drain(&A);
	ok(!(j = doc("https/example.com/p3")), "an operator's purge deletes what this node never had");
	ok(waits_until_gone(&B, "https/example.com/p3") && get(&B, "https/example.com/p3+v1", &got) < 0, "other nodes drop it with its variants");
	drain(&B);
	ok(!(j = doc("https/example.com/p3+v1")), "and delete these in Elasticsearch");
	ok(drain(&A) == 0 && drain(&B) == 0, "all events are settled");

	/* between a purge and its delivery Elasticsearch still has the document */
	both_have("https/example.com/p6", now - 60000);
	both_have("https/example.com/p6+v1", now - 60000);
	metadata_withdraw(A.m, STR("https/example.com/p6"));
	metadata_flush(A.m);
	ok((j = doc("https/example.com/p6")), "a purge on its way: Elasticsearch has not heard of it");
	json_decref(j);
	ok(ask(&A, "https/example.com/p6", &got) <= 0 && ask(&A, "https/example.com/p6+v1", &got) <= 0, "it does not come back from there, nor its variants");
	drain(&A);
	ok(!(j = doc("https/example.com/p6")), "then it has");

	/* what comes right after a purge is not hit by it */
	both_have("https/example.com/p5", now - 60000);
	metadata_withdraw(A.m, STR("https/example.com/p5"));
	metadata_flush(A.m);
	usleep(500000); /* more than a busy machine's answers are late: nodes tell the other's clock by them, and this is no closer than that */
	struct meta fresh = make("https/example.com/p5", clock_wall(), "fresh");
	metadata_store(A.m, &fresh);
	drain(&A);
	ask_later(&B, "https/example.com/p5", &got);
	metadata_flush(B.m);
	for (int i = 0; i < 4; i++)
		follow_step(A.follow), follow_step(B.follow), usleep(20000);
	drain(&A), drain(&B);
	ok(get(&A, "https/example.com/p5", &got) == 1 && get(&B, "https/example.com/p5", &got) == 1 && str_eq(headers_get(&got.headers, STR("ETag")), STR("fresh")),
	   "what is fetched right after a purge stays, at both nodes");
	ok((j = doc("https/example.com/p5")), "and in Elasticsearch");
	json_decref(j);

	/* not published yet, at another node */
	B.ready = DRAIN_UNDER_WAY;
	struct meta pending = make("https/example.com/p4", now - 60000, "x");
	metadata_store(B.m, &pending);
	metadata_withdraw(A.m, STR("https/example.com/p4"));
	metadata_flush(A.m);
	drain(&A);
	ok(waits_until_gone(&B, "https/example.com/p4"), "what another node has not published yet goes, too");
	B.ready = DRAIN_THERE;
	is_int(drain(&B), 0, "and its outbox");
	ok(!(j = doc("https/example.com/p4")), "so that it is never published");
}

static void
test_invalidate(void)
{
	int64_t now = clock_wall();
	struct meta got;
	bool there = false;
	json_t *j;

	both_have("https/example.com/i1", now - 60000);
	both_have("https/example.com/i1+v", now - 60000);
	metadata_invalidate(A.m, STR("https/example.com/i1"));
	drain(&A);
	j = doc("https/example.com/i1+v");
	ok(json_integer_value(json_object_get(j, "px_flags")) == META_INVALIDATED, "an invalidation is in Elasticsearch, for variants too");
	json_decref(j);
	for (int i = 0; i < 50 && !there; i++) {
		follow_step(B.follow);
		there = get(&B, "https/example.com/i1", &got) == 1 && (got.flags & META_INVALIDATED);
		if (!there)
			usleep(50000);
	}
	ok(there && get(&B, "https/example.com/i1+v", &got) == 1 && (got.flags & META_INVALIDATED), "and at the other node");
	uint64_t before = atomic_load(&counters_row[COUNT_es_events_sent]);
	metadata_invalidate(A.m, STR("https/example.com/nobody-has-it"));
	is_int(drain(&A), 0, "one of what nobody has is settled");
	is_int(atomic_load(&counters_row[COUNT_es_events_sent]), before, "and not told");
	struct meta again = make("https/example.com/i1", clock_wall() + 50, "valid");
	metadata_store(A.m, &again);
	drain(&A);
	ok(ask(&B, "https/example.com/i1", &got) == 1 && !(got.flags & META_INVALIDATED), "a new version is valid");
}

/* --- the rest ------------------------------------------------------------------------------------------------------------------ */

static void
test_used(void)
{
	int64_t now = clock_wall();
	struct meta m = make("https/example.com/used", now - 60000, "x");

	metadata_store(A.m, &m);
	drain(&A);
	metadata_touch(A.m, m.id, now);
	metadata_touch(A.m, STR("https/example.com/not-there"), now);
	metadata_flush(A.m);
	usleep(100000);
	metadata_close(&A.m); /* touches are written at the end */
	node_close(&A);
	node_open(&A, "a");
	drain_finish(A.drain, clock_mono() + 5000);
	json_t *j = doc("https/example.com/used"), *none = doc("https/example.com/not-there");
	is_int(iso8601_parse(str_c(text_of(j, "last_access"))), now, "times of last use are flushed at exit");
	ok(!none, "and make no documents");
	json_decref(j);
}

static void
test_clock(void)
{
	int64_t now = clock_wall();
	struct meta m = make("https/example.com/clock", now - 1000, "x"), got;
	json_t *j;

	if (real)
		return;
	/* B is right with Elasticsearch, A is five minutes behind both: seen from A, Elasticsearch is five minutes ahead */
	drain_step(A.drain), drain_step(B.drain); /* they measure once a minute */
	remote_set_offset(A.remote, 300000);
	metadata_store(A.m, &m);
	drain(&A);
	j = doc("https/example.com/clock");
	is_int(json_integer_value(json_object_get(j, "px_response_time")), now - 1000 + 300000, "times are written in Elasticsearch's clock");
	json_decref(j);
	remote_set_offset(B.remote, 600000); /* now B is the one that is behind, more than A */
	ok(ask(&B, "https/example.com/clock", &got) == 1, "another node reads it");
	is_int(got.response_time, now - 1000 - 300000, "in its own clock");
	remote_set_offset(A.remote, 0);
	remote_set_offset(B.remote, 0);
	fake.clock = 300000;
	is_int(remote_measure(A.remote), 0, "the clock is measured");
	ok(remote_offset(A.remote) > 299000 && remote_offset(A.remote) < 301000, "well enough");
	fake.clock = 1000;
	remote_measure(A.remote);
	is_int(remote_offset(A.remote), 0, "a small difference is none");
	fake.clock = INT64_MAX / 2;
	ok(remote_measure(A.remote) < 0 && remote_offset(A.remote) == 0, "a time that no clock can have is not believed");
	fake.clock = 0;
	remote_measure(A.remote);

	/* a purge, and a node whose clock is four minutes behind: its documents of half a minute before and of ten seconds after */
	remote_set_offset(B.remote, 240000);
	struct meta before = make("https/example.com/c1", clock_wall() - 270000, "x"), after = make("https/example.com/c2", clock_wall() - 230000, "x");
	metadata_store(B.m, &before), metadata_store(B.m, &after);
	drain(&B);
	metadata_withdraw(A.m, before.id), metadata_withdraw(A.m, after.id);
	metadata_flush(A.m);
	drain(&A);
	ok(!(j = doc("https/example.com/c1")) && (j = doc("https/example.com/c2")), "a purge knows before from after by Elasticsearch's clock");
	json_decref(j);
	follow_step(B.follow), follow_step(B.follow);
	ok(get(&B, "https/example.com/c1", &got) < 0 && get(&B, "https/example.com/c2", &got) == 1, "at a node whose clock is wrong, too");
	drain(&B);
	remote_set_offset(B.remote, 0);
}

static int
days_ago(struct recorder *r, MDB_txn *txn, struct note *note)
{
	return state_put(txn, recorder_dbi(r, MIRROR_STATE), STATE_FOLLOWED, clock_wall() - FOLLOW_KEEP_MS);
}

static void
test_away_for_days(void)
{
	struct meta m = make("https/example.com/days", clock_wall() - 1000, "x"), got;
	struct note note = { .kind = NOTE_RUN, .run = days_ago };

	if (real)
		return;
	metadata_store(B.m, &m);
	drain(&B);
	is_int(recorder_do(B.m->recorder, &note), 0, "a node that has not heard of purges for days");
	follow_free(&B.follow);
	B.follow = follow_new(B.m, B.remote, 0);
	fake.fail[0] = FAKE_CLOSE;
	follow_step(B.follow), follow_step(B.follow);
	metadata_flush(B.m);
	ok(get(&B, "https/example.com/days", &got) == 1, "keeps what it has while Elasticsearch is away");
	fake.fail[0] = 0;
	for (int i = 0; i < 60 && get(&B, "https/example.com/days", &got) == 1; i++)
		follow_step(B.follow), usleep(50000);
	ok(get(&B, "https/example.com/days", &got) < 0, "and forgets it when Elasticsearch answers");
	ok(ask_later(&B, "https/example.com/days", &got) == 1, "from which it comes again");
}

static void
test_failures(void)
{
	int64_t now = clock_wall(), oldest;
	struct meta good = make("https/example.com/good", now, "x"), poison = make("https/example.com/a-poison", now, "x"), got;
	uint64_t before = atomic_load(&counters_row[COUNT_es_rejected]);
	json_t *j;

	if (real)
		return;
	fake.item_status = 400;
	metadata_store(A.m, &poison), metadata_store(A.m, &good);
	is_int(drain(&A), 0, "a document that Elasticsearch will never take is put aside");
	is_int(atomic_load(&counters_row[COUNT_es_rejected]), before + 1, "and counted");
	ok((j = doc("https/example.com/good")), "and does not block others");
	json_decref(j);
	for (int i = 0; i < 2; i++) {
		fake.item_status = i ? 503 : 429;
		struct meta other = make(i ? "https/example.com/good2" : "https/example.com/good1", now + 1 + i, "y");
		metadata_store(A.m, &poison), metadata_store(A.m, &other);
		drain(&A);
		ok(metadata_outbox(A.m, &oldest) == 1 && oldest > 0, "item status %d: it waits", fake.item_status);
		fake.item_status = 0;
		node_close(&A), node_open(&A, "a"); /* without its rest */
		is_int(drain(&A), 0, "and is taken later");
		fake_put("https/example.com/a-poison", NULL);
	}
	static const struct { const char *what; int how; } cases[] = {
		{ "500", 500 }, { "503", 503 }, { "429", 429 }, { "401", 401 }, { "403", 403 }, { "a closed connection", FAKE_CLOSE }, { "garbage", FAKE_GARBAGE },
		{ "somebody's HTML", FAKE_HTML }, { "too large an answer", FAKE_LARGE }, { "deep nesting", FAKE_DEEP }, { "a cut answer", FAKE_CUT }, { "nothing", FAKE_EMPTY },
	};
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		char id[64];
		snprintf(id, sizeof id, "https/example.com/f%u", i);
		struct meta m = make(id, now, "z");
		metadata_store(A.m, &m);
		fake.fail[0] = cases[i].how;
		drain_step(A.drain);
		ok(metadata_outbox(A.m, &oldest) == 1 && ask(&B, id, &got) < 0, "%s: the document waits, and a request goes on", cases[i].what);
		fake.fail[0] = 0;
		node_close(&A), node_open(&A, "a");
		node_close(&B), node_open(&B, "b");
		is_int(drain(&A), 0, "%s: afterwards it is published", cases[i].what);
	}
	fake.fail[0] = FAKE_HANG;
	int64_t t = clock_mono();
	ask(&B, "https/example.com/hang", &got);
	ok(clock_mono() - t < 1000, "a server that hangs costs a request no more than its limit");
	for (int i = 0; i < 3; i++)
		ask(&B, "https/example.com/hang", &got);
	t = clock_mono();
	ask(&B, "https/example.com/hang", &got);
	ok(clock_mono() - t < 50, "and then nothing, for the breaker has opened");
	ok(remote_trouble(B.remote), "which is said");
	fake.fail[0] = 0;
	for (int i = 0; i < 60 && remote_trouble(B.remote); i++) {
		usleep(50000);
		ask(&B, "https/example.com/hang", &got);
	}
	ok(!remote_trouble(B.remote), "when it answers again it is asked again");
}

/* A node that is killed at any moment, again and again: what was stored for good is in Elasticsearch in the end, and the outbox empty. */
static void
test_kill(void)
{
	enum { ROUNDS = 25 };
	unsigned stored = 0, missing = 0;
	struct node N;
	json_t *j;

	if (!real)
		return;
	for (int round = 0; round < ROUNDS; round++) {
		int fds[2];
		unsigned i;
		if (pipe(fds) < 0)
			return;
		pid_t pid = fork();
		if (pid == 0) {
			engine = httpc_start(&(struct httpc_options){ .max_connections = 8, .max_per_host = 8, .idle_ms = 5000 });
			node_open(&N, "killed");
			for (i = stored;; i++) {
				struct meta m = make("", clock_wall(), "k");
				m.id = arena_printf(&a, "https/example.com/killed%06u", i);
				if (metadata_store(N.m, &m) == 0)
					(void)!write(fds[1], &i, sizeof i);
				if (i % 7 == 0)
					drain_step(N.drain);
			}
		}
		close(fds[1]);
		usleep(50000 + (unsigned)random() % 200000);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		while (read(fds[0], &i, sizeof i) == sizeof i)
			stored = i + 1;
		close(fds[0]);
	}
	node_open(&N, "killed");
	is_int(drain(&N), 0, "after %d kills the outbox drains", ROUNDS);
	node_close(&N);
	for (unsigned i = 0; i < stored; i++) {
		char id[64];
		snprintf(id, sizeof id, "https/example.com/killed%06u", i);
		missing += !(j = doc(id));
		json_decref(j);
	}
	ok(stored > ROUNDS && missing == 0, "of %u documents that were stored %u are missing", stored, missing);
}

static void
test_mapping(void)
{
	json_t *answer, *properties;

	if (!real)
		return;
	remote_do(A.remote, &(struct remote_call){ .method = "GET", .path = STR("_mapping") }, &answer);
	properties = json_object_get(json_object_get(json_object_get(answer, index_name), "mappings"), "properties");
	ok(json_object_size(properties) == 11 && !json_object_get(properties, "px_headers"), "the index was made with the old system's fields, and no document adds any");
	json_decref(answer);
}

static bool count_walk(void *arg, const struct meta *m) { ++*(unsigned *)arg; return m->manifest.n > 0; }

static void
test_walk(void)
{
	unsigned n = 0;
	char problem[256];

	if (!real)
		return;
	for (int i = 0; i < 250; i++) {
		struct meta m = make("", clock_wall(), "w");
		m.id = arena_printf(&a, "https/example.com/walk%d", i);
		metadata_store(A.m, &m);
	}
	drain(&A);
	is_int(remote_walk(A.remote, count_walk, &n, problem), 0, "all manifests are walked over: %s", problem);
	ok(n > 250, "%u of them, over some pages", n);
}

static void
measure(void)
{
	enum { N = 3000 };
	struct meta got;
	int64_t t, sum = 0, max = 0, oldest;

	for (int i = 0; i < N; i++) {
		struct meta m = make("", clock_wall(), "w");
		m.id = arena_printf(&a, "https/example.com/bench%05d", i);
		metadata_store_then(A.m, (const struct meta *const[]){ &m }, 1, NULL, NULL);
	}
	metadata_flush(A.m);
	t = clock_mono();
	while (metadata_outbox(A.m, &oldest) && clock_mono() - t < 30000)
		drain_step(A.drain);
	t = clock_mono() - t;
	note("%d documents drained in %lld ms: %lld a second", N, (long long)t, (long long)(N * 1000 / (t ? t : 1)));
	for (int i = 0; i < 500; i++) {
		struct timespec from, to;
		char id[64];
		snprintf(id, sizeof id, "https/example.com/bench%05d", i);
		clock_gettime(CLOCK_MONOTONIC, &from);
		ask(&B, id, &got);
		clock_gettime(CLOCK_MONOTONIC, &to);
		int64_t us = (to.tv_sec - from.tv_sec) * 1000000 + (to.tv_nsec - from.tv_nsec) / 1000;
		sum += us;
		if (us > max)
			max = us;
	}
	note("asked 500 times: %lld us on average, %lld at most", (long long)(sum / 500), (long long)max);
}

int
main(void)
{
	real = getenv("ES_URL");
	if (real && !*real)
		real = NULL;
	signal(SIGPIPE, SIG_IGN);
	snprintf(top, sizeof top, "/tmp/passsage-es-XXXXXX");
	if (!mkdtemp(top))
		return 1;
	snprintf(index_name, sizeof index_name, "passsage_test_%d", (int)getpid());
	log_level = LOG_ERROR;
	arena_init(&a);
	engine = httpc_start(&(struct httpc_options){ .max_connections = 32, .max_per_host = 32, .idle_ms = 5000 });
	fake_start();
	node_open(&A, "a");
	node_open(&B, "b");
	test_publish();
	test_ready();
	test_vary();
	test_purge();
	test_invalidate();
	test_used();
	test_clock();
	test_away_for_days();
	test_failures();
	test_mapping();
	test_kill();
	test_walk();
	measure();
	if (real)
		remote_do(A.remote, &(struct remote_call){ .method = "DELETE" }, NULL);
	node_close(&A);
	node_close(&B);
	httpc_stop(&engine);
	arena_fini(&a);
	nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return done_testing();
}
