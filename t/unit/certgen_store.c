/* The shared table, and the message that asks for a name. */
#include "certgen_pki.h"
#include <sys/wait.h>

static struct certstore *store;
static struct cert_record rec, got;

static struct cert_record *
record(const char *name, int64_t minted, int64_t refresh, int64_t end, unsigned failed)
{
	memset(&rec, 0, sizeof(rec));
	rec.minted_at = minted;
	rec.refresh_at = refresh;
	rec.not_after = end;
	rec.failed = failed;
	rec.name_n = (uint16_t)strlen(name);
	memcpy(rec.name, name, rec.name_n);
	if (!failed) {
		rec.der_n = 601;
		memset(rec.der, (int)minted & 0xff, rec.der_n);
	}
	return &rec;
}

static int
find(const char *name, int64_t now)
{
	return certstore_find(store, str_c(name), now, &got);
}

static void
records(void)
{
	uint32_t seen = atomic_load(certstore_event(store, STR("a.test")));
	is_int(find("a.test", 100), -ERR_NOT_FOUND, "an empty table has nothing");
	certstore_publish(store, record("a.test", 10, 60, 90, 0));
	is_int(find("a.test", 50), 0, "what was published is found");
	ok(memcmp(&got, &rec, offsetof(struct cert_record, der) + rec.der_n) == 0, "... as it was");
	ok(atomic_load(certstore_event(store, STR("a.test"))) != seen, "... and whoever waits is told");
	is_int(find("a.tes", 50), -ERR_NOT_FOUND, "a part of the name is another name");
	is_int(find("a.test", 90), -ERR_NOT_FOUND, "what has ended is not there");
	certstore_publish(store, record("a.test", 90, 92, 95, ERR_CERTGEN));
	is_int(find("a.test", 50), 0, "a failure does not hide what still holds");
	is_int(got.failed, 0, "...");
	is_int(find("a.test", 91), 0, "after its end the failure shows");
	is_int(got.failed, ERR_CERTGEN, "...");
	is_int(find("a.test", 95), -ERR_NOT_FOUND, "for its short time");
	certstore_publish(store, record("b.test", 90, 92, 95, ERR_CERTGEN));
	is_int(find("b.test", 80), -ERR_NOT_FOUND, "a failure of the future (the clock was set back) does not count");
	certstore_publish(store, record("a.test", 91, 150, 200, 0));
	is_int(find("a.test", 92), 0, "a new one replaces both");
	is_int(got.minted_at, 91, "...");
	is_int(find("a.test", 201), -ERR_NOT_FOUND, "... the failure is gone");
	is_int(certstore_minted(store), 2, "two were minted");
}

static void
bounds(void)
{
	char name[64];
	int there = 0;
	certstore_publish(store, record("first.test", 1, 500, 1000, 0));
	certstore_publish(store, record("second.test", 1, 500, 1000, 0));
	for (int i = 0; i < CERTSTORE_SLOTS - 2; i++) {
		snprintf(name, sizeof(name), "n%d.test", i);
		certstore_publish(store, record(name, 2, 500, 1000, 0));
	}
	is_int(find("first.test", 10), 0, "a full table has all");
	certstore_publish(store, record("one-more.test", 2, 500, 1000, 0));
	is_int(find("first.test", 10), -ERR_NOT_FOUND, "one more, and the least recently minted is gone");
	is_int(find("second.test", 10), 0, "... and no other");
	for (int i = 0; i < 3 * CERTSTORE_FAILURES; i++) {
		snprintf(name, sizeof(name), "f%d.test", i);
		certstore_publish(store, record(name, 2, 500, 1000, ERR_CERTGEN));
	}
	for (int i = 0; i < CERTSTORE_SLOTS - 2; i++) {
		snprintf(name, sizeof(name), "n%d.test", i);
		there += find(name, 10) == 0;
	}
	is_int(there, CERTSTORE_SLOTS - 2, "failures push no good one out");
	snprintf(name, sizeof(name), "f%d.test", 3 * CERTSTORE_FAILURES - 1);
	is_int(find(name, 10), 0, "the last failures are remembered");
	is_int(find("f0.test", 10), -ERR_NOT_FOUND, "the first are not");
	int64_t t = clock_mono();
	for (int i = 0; i < 1000; i++)
		find("not-there.test", 10);
	note("a miss in a full table takes %d us", (int)(clock_mono() - t));
}

/* A writer that changes a name's record all the time, and another process that reads it: never half of one and half of another. */
static void
torn(void)
{
	pid_t pid = fork();
	if (pid == 0)
		for (int64_t i = 1;; i++)
			certstore_publish(store, record("torn.test", i, 0, INT64_MAX, 0));
	int found = 0, mixed = 0;
	for (int64_t end = clock_mono() + 300; clock_mono() < end;) {
		if (find("torn.test", 0) < 0)
			continue;
		found++;
		for (int i = 0; i < got.der_n; i++)
			if (got.der[i] != (got.minted_at & 0xff)) {
				mixed++;
				break;
			}
	}
	ok(found > 0, "a reader beside a busy writer finds records (%d times)", found);
	is_int(mixed, 0, "... and none is half written");
	kill(pid, SIGKILL); /* wherever it is */
	waitpid(pid, NULL, 0);
	certstore_recover(store);
	certstore_publish(store, record("after.test", 1, 0, 10, 0));
	is_int(find("after.test", 5), 0, "after the writer was killed the next one goes on");
	certstore_publish(store, record("torn.test", 7, 0, 10, 0));
	is_int(find("torn.test", 5), 0, "... with the same name, too");
}

static void
identities(void)
{
	static struct cert_identity id, back;
	certstore_init(memset(store, 0, certstore_size()));
	is_int(certstore_generation(store), 0, "no identity at first");
	is_int(certstore_identity(store, &back), 0, "...");
	memset(&id, 7, sizeof(id));
	id.key_n = 138;
	id.chain_n = 1000;
	certstore_publish_identity(store, &id);
	uint32_t first = certstore_generation(store);
	ok(first != 0 && certstore_identity(store, &back) == first, "it is published with a generation");
	ok(memcmp(&id, &back, sizeof(id)) == 0, "... as it was");
	certstore_publish(store, record("a.test", 1, 5, 10, 0));
	certstore_publish_identity(store, &id);
	ok(certstore_generation(store) != first, "another identity is another generation");
	is_int(find("a.test", 5), -ERR_NOT_FOUND, "... and makes the leaves of the old one disappear");
}

static void
requests(void)
{
	static const struct { struct str bytes; bool good; const char *what; } row[] = {
		{ STR("\1\6a.test"), true, "a request" },
		{ STR("\1\11" "127.0.0.1"), true, "for an address" },
		{ STR(""), false, "nothing" },
		{ STR("\1"), false, "a version" },
		{ STR("\1\0"), false, "no name" },
		{ STR("\2\6a.test"), false, "another version" },
		{ STR("\1\5a.test"), false, "too long" },
		{ STR("\1\7a.test"), false, "too short" },
		{ STR("\1\6A.test"), false, "not lower case" },
		{ STR("\1\7a.test."), false, "a dot behind" },
		{ STR("\1\6*.test"), false, "no host name" },
		{ STR("\1\6a\0test"), false, "a NUL" },
	};
	struct str name;
	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++)
		is_int(cert_request_parse(row[i].bytes.p, row[i].bytes.n, &name), row[i].good ? 0 : -ERR_BAD_REQUEST, "request: %s", row[i].what);
	char longest[CERT_NAME_MAX + 1];
	for (int i = 0; i < CERT_NAME_MAX; i++)
		longest[i] = i % 32 == 31 ? '.' : 'x';
	struct cert_request r;
	size_t n = cert_request_encode((struct str){ longest, CERT_NAME_MAX }, &r);
	is_int(cert_request_parse(&r, n, &name), 0, "the longest name goes there and back");
	is_str(name, ((struct str){ longest, CERT_NAME_MAX }), "...");
}

int
main(void)
{
	store = certstore_init(shm_map(certstore_size()));
	note("the store has %zu KiB", certstore_size() / 1024);
	records();
	bounds();
	torn();
	identities();
	requests();
	return done_testing();
}
