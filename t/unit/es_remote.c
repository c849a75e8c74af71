/* The client of Elasticsearch: which URL is asked, with what, what an error is, when nobody is asked. Against an Elasticsearch of its own. */
#include "tap.h"
#include "es_fake.h"
#include "../../common/counters.h"
#include "../../common/err.h"
#include "../../common/log.h"
#include "../../es/remote.h"

static struct httpc *engine;

static int
open_urls(struct remote **r, const char *const *urls, unsigned n, const char *user, const char *api_key, int64_t timeout_ms, char problem[256])
{
	return remote_open(r, &(struct remote_options){ .httpc = engine, .urls = urls, .urls_n = n, .index = "idx", .user = user, .password = *user ? "pa:ss" : "",
	                                               .api_key = api_key, .replicas = 1, .shards = 9, .ask_ms = 200, .timeout_ms = timeout_ms }, problem);
}

static int
call(struct remote *r)
{
	return remote_do(r, &(struct remote_call){ .method = "POST", .path = STR("_mget"), .body = STR("{\"ids\":[]}") }, NULL);
}

static void
test_settings(void)
{
	static const struct { const char *url, *user, *api_key; const char *problem, *authorization; } cases[] = {
		{ "http://127.0.0.1:%u", "", "", NULL, "" },
		{ "http://127.0.0.1:%u/", "", "", NULL, "" },
		{ "http://us%%65r:p%%40ss@127.0.0.1:%u", "", "", NULL, "Basic dXNlcjpwQHNz" },
		{ "http://other:x@127.0.0.1:%u", "user", "", NULL, "Basic dXNlcjpwYTpzcw==" },
		{ "http://other:x@127.0.0.1:%u", "user", "a2V5", NULL, "ApiKey a2V5" },
		{ "ftp://127.0.0.1:%u", "", "", "begins with http", NULL },
		{ "127.0.0.1:%u", "", "", "begins with http", NULL },
		{ "http://", "", "", "no URL", NULL },
		{ "http://127.0.0.1:%u/x?y=z", "", "", "no URL", NULL },
		{ "http://127.0.0.1:%u", "us\ner", "", NULL, "Basic dXMKZXI6cGE6c3M=" },
		{ "http://127.0.0.1:%u", "", "a\r\nX: y", "cannot be sent", NULL },
	};
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		char url[256], problem[256] = "";
		const char *urls[] = { url };
		struct remote *r = NULL;
		snprintf(url, sizeof url, cases[i].url, fake.port[0]);
		int err = open_urls(&r, urls, 1, cases[i].user, cases[i].api_key, 1000, problem);
		if (cases[i].problem)
			ok(err == -ERR_SETTING && !r && strstr(problem, cases[i].problem), "%s is refused: %s", cases[i].url, problem);
		else {
			fake.authorization[0] = 0;
			ok(err == 0 && call(r) == 0, "%s is called %s", cases[i].url, problem);
			ok(!strcmp(fake.authorization, cases[i].authorization), "with its credentials: %s", fake.authorization);
		}
		remote_close(&r);
	}
	static const struct { const char *index; bool good; } names[] = {
		{ "passsage_meta", true }, { "a.b-c+1", true }, { "", false }, { "_all", false }, { "-x", false }, { "A", false }, { "a/b", false }, { "a,b", false },
		{ "a*", false }, { "..", false }, { "a b", false },
	};
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		const char *urls[] = { "http://127.0.0.1:9" };
		char problem[256];
		struct remote *r = NULL;
		int err = remote_open(&r, &(struct remote_options){ .httpc = engine, .urls = urls, .urls_n = 1, .index = names[i].index }, problem);
		is_int(err, names[i].good ? 0 : -ERR_SETTING, "\"%s\" as an index", names[i].index);
		remote_close(&r);
	}
}

static void
test_failover(void)
{
	char text[3][64], problem[256];
	const char *urls[3] = { text[0], text[1], text[2] };
	struct remote *r;
	static const struct { const char *what; int how; } cases[] = {
		{ "one that closes", FAKE_CLOSE }, { "one that answers 503", 503 }, { "one that answers nonsense", FAKE_HTML },
	};

	for (int i = 0; i < 3; i++)
		snprintf(text[i], sizeof text[i], "http://127.0.0.1:%u", fake.port[i]);
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		open_urls(&r, urls, 3, "", "", 2000, problem);
		fake.fail[0] = cases[i].how;
		for (int k = 0; k < 3; k++)
			fake.calls_at[k] = 0;
		is_int(call(r), 0, "%s: the next is asked", cases[i].what);
		is_int(call(r), 0, "%s: and again", cases[i].what);
		ok(fake.calls_at[0] >= 1 && fake.calls_at[0] <= 2 && fake.calls_at[1] == 2 && fake.calls_at[2] == 0, "%s: the one that answered last is the first",
		   cases[i].what);
		ok(!remote_trouble(r), "%s: which is no trouble", cases[i].what);
		fake.fail[0] = 0;
		remote_close(&r);
	}
	/* one that hangs takes the time of one call */
	open_urls(&r, urls, 2, "", "", 300, problem);
	fake.fail[0] = FAKE_HANG;
	int64_t t = clock_mono();
	is_int(call(r), -ERR_ES_FAILED, "one that hangs");
	ok(clock_mono() - t < 600, "costs the call's limit and no more");
	is_int(call(r), 0, "and the next call begins with another");
	fake.fail[0] = 0;
	remote_close(&r);
}

static void
test_errors(void)
{
	static const struct { const char *what; int how, err; bool trouble; } cases[] = {
		{ "200", 0, 0, false }, { "400", 400, -ERR_BAD_REQUEST, false }, { "401", 401, -ERR_ES_DENIED, true }, { "403", 403, -ERR_ES_DENIED, true },
		{ "404", 404, -ERR_NOT_FOUND, false }, { "409", 409, -ERR_CONFLICT, false }, { "413", 413, -ERR_BAD_REQUEST, false }, { "429", 429, -ERR_BUSY, false },
		{ "500", 500, -ERR_ES_FAILED, true }, { "503", 503, -ERR_ES_FAILED, true }, { "nothing", FAKE_EMPTY, -ERR_ES_FAILED, true },
		{ "cut JSON", FAKE_GARBAGE, -ERR_ES_FAILED, true }, { "a cut body", FAKE_CUT, -ERR_ES_FAILED, true }, { "too much", FAKE_LARGE, -ERR_ES_FAILED, true },
		{ "a tower of brackets", FAKE_DEEP, -ERR_ES_FAILED, true }, { "a 404 that is not its own", FAKE_HTML, -ERR_ES_FAILED, true },
	};
	char url[64], problem[256];
	const char *urls[] = { url };

	snprintf(url, sizeof url, "http://127.0.0.1:%u", fake.port[3]);
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct remote *r;
		open_urls(&r, urls, 1, "", "", 3000, problem);
		fake.fail[3] = cases[i].how;
		is_int(call(r), cases[i].err, "%s", cases[i].what);
		is_int(remote_trouble(r) != NULL, cases[i].trouble, "%s: is it trouble? %s", cases[i].what, remote_trouble(r) ? remote_trouble(r) : "no");
		remote_close(&r);
		fake.fail[3] = 0;
	}
}

static void *
caller(void *arg)
{
	return (void *)(intptr_t)call(arg);
}

static void
test_breaker(void)
{
	char url[64], problem[256];
	const char *urls[] = { url };
	struct remote *r;
	int before;

	snprintf(url, sizeof url, "http://127.0.0.1:%u", fake.port[3]);
	open_urls(&r, urls, 1, "", "", 1000, problem);
	fake.fail[3] = 500;
	for (int i = 0; i < REMOTE_FAILURES; i++) {
		ok(!remote_resting(r), "after %d failures it is asked", i);
		call(r);
	}
	ok(remote_resting(r), "after %d the breaker is open", REMOTE_FAILURES);
	before = fake.calls;
	is_int(call(r), -ERR_ES_FAILED, "and a call fails at once");
	is_int(fake.calls, before, "without asking");
	is_int(remote_check(r, 500, problem), -ERR_ES_FAILED, "a check asks all the same: %s", problem);
	/* half open: one, however many want to */
	usleep(REMOTE_REST_MS * 1300 * 1);
	fake.fail[3] = FAKE_HANG;
	before = fake.calls;
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, caller, r);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	ok(fake.calls - before == 1, "when its time has come one call goes out: %d", fake.calls - before);
	ok(remote_resting(r), "it failed, and the breaker rests again");
	fake.fail[3] = 0;
	int64_t from = clock_mono();
	while (call(r) && clock_mono() - from < 5000)
		usleep(20000);
	ok(clock_mono() - from > REMOTE_REST_MS && clock_mono() - from < 4000, "longer than before: %lld ms", (long long)(clock_mono() - from));
	ok(!remote_trouble(r), "then all is well");
	remote_close(&r);
}

static void
test_index(void)
{
	static const char want[] = "{\"settings\":{\"number_of_shards\":9,\"number_of_replicas\":1,\"refresh_interval\":\"60s\"},\"mappings\":{\"dynamic\":false,"
		"\"properties\":{\"headers\":{\"type\":\"object\",\"enabled\":false},\"status_code\":{\"type\":\"integer\",\"index\":false},\"url\":{\"type\":\"keyword\"},"
		"\"extension\":{\"type\":\"keyword\"},\"content_size\":{\"type\":\"long\",\"index\":false},\"stored_at\":{\"type\":\"date\"},\"last_access\":{\"type\":\"date\"},"
		"\"vary\":{\"type\":\"keyword\",\"index\":false},\"vary_request\":{\"type\":\"keyword\",\"index\":false},\"doc_type\":{\"type\":\"keyword\"},"
		"\"manifest_b64\":{\"type\":\"keyword\",\"index\":false,\"doc_values\":false}}}}";
	char url[64], problem[256];
	const char *urls[] = { url };
	struct remote *r;

	snprintf(url, sizeof url, "http://127.0.0.1:%u", fake.port[0]);
	open_urls(&r, urls, 1, "", "", 1000, problem);
	fake.index = false;
	fake.makes = 0;
	is_int(remote_make_index(r, 1000), 0, "the index is made");
	json_t *a = json_loads(want, 0, NULL), *b = json_loads(fake.made, 0, NULL);
	ok(json_equal(a, b), "as behaviour.md 4.5 says");
	json_decref(a), json_decref(b);
	is_int(remote_make_index(r, 1000), 0, "once more");
	is_int(fake.makes, 1, "changes nothing");
	is_int(remote_check(r, 1000, problem), 0, "a yellow cluster is well");
	is_int(remote_measure(r), 0, "its clock is known");
	is_int(remote_offset(r), 0, "and ours");
	remote_close(&r);
}

int
main(void)
{
	signal(SIGPIPE, SIG_IGN);
	log_level = LOG_ERROR;
	engine = httpc_start(&(struct httpc_options){ .max_connections = 32, .max_per_host = 32, .idle_ms = 5000 });
	fake_start();
	fake.index = true;
	test_settings();
	test_failover();
	test_errors();
	test_breaker();
	test_index();
	httpc_stop(&engine);
	json_decref(fake.docs);
	return done_testing();
}
