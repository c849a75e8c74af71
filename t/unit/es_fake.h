/* es_fake.h - as much of an Elasticsearch as es/ asks for, in the test's own process, and one that can be made to fail: whole calls by
 * fake.fail (a status, or one of the words below), items of a bulk by the id's text. */
#pragma once
#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "../../common/arena.h"
#include "../../common/clock.h"
#include "../../common/httpdate.h"

enum { FAKE_WELL = 0, FAKE_CLOSE = 1, FAKE_HANG, FAKE_GARBAGE, FAKE_HTML, FAKE_LARGE, FAKE_DEEP, FAKE_CUT, FAKE_EMPTY };
#define FAKE_PLACES 4
static struct fake {
	int fd[FAKE_PLACES];
	unsigned port[FAKE_PLACES];
	atomic_int fail[FAKE_PLACES];     /* of a place: a status, or a word */
	atomic_int calls, calls_at[FAKE_PLACES], mgets, bulks, searches, makes;
	atomic_bool index;                /* is it there? */
	atomic_llong clock;               /* its clock is so much ahead */
	atomic_int item_status;           /* of bulk items whose id has "poison" in it */
	char authorization[256], made[4096];
	pthread_mutex_t lock;             /* docs */
	json_t *docs;                     /* id: { source, seq } */
	int64_t seq;
} fake = { .lock = PTHREAD_MUTEX_INITIALIZER };

struct fake_conn { int fd; unsigned place; };

static inline void
fake_reply(int fd, int status, const char *body, size_t n)
{
	char head[256];
	int k = snprintf(head, sizeof head, "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", status, n);
	(void)!send(fd, head, (size_t)k, MSG_NOSIGNAL);
	for (size_t at = 0; at < n; ) {
		ssize_t w = send(fd, body + at, n - at, MSG_NOSIGNAL);
		if (w <= 0)
			return;
		at += (size_t)w;
	}
}

static inline void
fake_json(int fd, int status, json_t *j)
{
	char *s = json_dumps(j, JSON_COMPACT);
	fake_reply(fd, status, s, strlen(s));
	free(s);
	json_decref(j);
}

static inline json_t *
fake_get(const char *id)
{
	json_t *d = json_object_get(fake.docs, id);
	return d ? json_pack("{sssisisbsO}", "_id", id, "_seq_no", (int)json_integer_value(json_object_get(d, "seq")), "_primary_term", 1, "found", 1,
	                     "_source", json_object_get(d, "source"))
		: json_pack("{sssb}", "_id", id, "found", 0);
}

static inline void
fake_set(const char *id, json_t *source)
{
	json_object_set_new(fake.docs, id, json_pack("{sosI}", "source", source, "seq", (json_int_t)++fake.seq));
}

/* One action of a bulk; *p: the rest of its lines. */
static inline json_t *
fake_action(char **p)
{
	char *line = strsep(p, "\n"), *body;
	json_t *a = json_loads(line, 0, NULL), *at = NULL, *source = NULL, *have;
	const char *verb = NULL, *id;
	int status = 200;
	json_object_foreach(a, verb, at)
		break;
	id = json_string_value(json_object_get(at, "_id"));
	if (strcmp(verb, "delete") && (body = strsep(p, "\n")))
		source = json_loads(body, 0, NULL);
	have = json_object_get(fake.docs, id);
	if (strstr(id, "poison") && fake.item_status)
		status = fake.item_status;
	else if (json_object_get(at, "if_seq_no") && (!have || json_integer_value(json_object_get(have, "seq")) != json_integer_value(json_object_get(at, "if_seq_no"))))
		status = 409;
	else if (!strcmp(verb, "create") && have)
		status = 409;
	else if (!strcmp(verb, "delete"))
		status = json_object_del(fake.docs, id) ? 404 : 200;
	else if (!strcmp(verb, "update")) {
		if (!have)
			status = 404;
		else {
			json_t *merged = json_copy(json_object_get(have, "source"));
			json_object_update(merged, json_object_get(source, "doc"));
			fake_set(id, merged);
		}
	} else
		fake_set(id, json_incref(source));
	json_decref(source);
	json_t *r = json_pack("{s{si}}", verb, "status", status);
	if (status >= 400)
		json_object_set_new(json_object_get(r, verb), "error", json_pack("{ssss}", "type", "some_exception", "reason", "because"));
	json_decref(a);
	return r;
}

static inline json_t *
fake_search(json_t *q)
{
	json_t *filter = json_object_get(json_object_get(json_object_get(q, "query"), "bool"), "filter"), *d, *hits = json_array();
	json_t *range = json_object_get(json_object_get(json_array_get(filter, 1), "range"), "stored_at");
	const char *type = json_string_value(json_object_get(json_object_get(json_array_get(filter, 0), "term"), "doc_type")), *id;
	json_object_foreach(fake.docs, id, d) {
		json_t *source = json_object_get(d, "source");
		const char *t = json_string_value(json_object_get(source, "doc_type")), *at = json_string_value(json_object_get(source, "stored_at"));
		int64_t ms = iso8601_parse(str_c(at)), gte = iso8601_parse(str_c(json_string_value(json_object_get(range, "gte"))));
		int64_t lt = iso8601_parse(str_c(json_string_value(json_object_get(range, "lt"))));
		if (t && !strcmp(t, type) && (gte == HTTPDATE_NONE || ms >= gte) && (lt == HTTPDATE_NONE || ms < lt))
			json_array_append_new(hits, json_pack("{sss[I]}", "_id", id, "sort", (json_int_t)ms));
	}
	return json_pack("{sbs{si}s{so}}", "timed_out", 0, "_shards", "failed", 0, "hits", "hits", hits);
}

static inline bool
fake_misbehave(struct fake_conn *c, int how)
{
	char *large;
	switch (how) {
	case FAKE_CLOSE:   return false;
	case FAKE_HANG:    usleep(1500000); return false;
	case FAKE_GARBAGE: fake_reply(c->fd, 200, "{\"docs\": [", 10); return true;
	case FAKE_HTML:    fake_reply(c->fd, 404, "<html>no</html>", 15); return true;
	case FAKE_EMPTY:   fake_reply(c->fd, 200, "", 0); return true;
	case FAKE_LARGE:
		large = malloc(40 << 20);
		memset(large, ' ', 40 << 20);
		fake_reply(c->fd, 200, large, 40 << 20);
		free(large);
		return true;
	case FAKE_DEEP:
		large = malloc(1 << 20);
		memset(large, '[', 1 << 20);
		fake_reply(c->fd, 200, large, 1 << 20);
		free(large);
		return true;
	case FAKE_CUT:
		(void)!send(c->fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"docs\":[]", 50, MSG_NOSIGNAL);
		return false;
	}
	fake_json(c->fd, how, json_pack("{s{ss}si}", "error", "type", "some_exception", "status", how));
	return true;
}

static inline void
fake_answer(struct fake_conn *c, const char *method, char *path, char *body)
{
	json_t *answer = NULL, *q = NULL, *id, *d;
	size_t i;
	char *verb = strchr(path + 1, '/');

	if (strchr(path, '?'))
		*strchr(path, '?') = 0;
	verb = verb ? verb + 1 : path + strlen(path);
	pthread_mutex_lock(&fake.lock);
	if (!strcmp(method, "HEAD")) {
		pthread_mutex_unlock(&fake.lock);
		const char *r = fake.index ? "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" : "HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\n";
		(void)!send(c->fd, r, strlen(r), MSG_NOSIGNAL);
		return;
	} else if (!strcmp(method, "PUT")) {
		fake.makes++;
		snprintf(fake.made, sizeof fake.made, "%s", body);
		answer = fake.index ? json_pack("{s{ss}}", "error", "type", "resource_already_exists_exception") : json_pack("{sb}", "acknowledged", 1);
	} else if (!strncmp(path, "/_nodes", 7))
		answer = json_pack("{s{s{sI}}}", "nodes", "n1", "timestamp", (json_int_t)(clock_wall() + fake.clock));
	else if (!strncmp(path, "/_cluster", 9))
		answer = json_pack("{ss}", "status", "yellow");
	else if (!strcmp(verb, "_mget")) {
		fake.mgets++;
		answer = json_pack("{s[]}", "docs");
		q = json_loads(body, 0, NULL);
		json_array_foreach(json_object_get(q, "ids"), i, id)
			json_array_append_new(json_object_get(answer, "docs"), fake.index ? fake_get(json_string_value(id))
				: json_pack("{sOs{ss}}", "_id", id, "error", "type", "index_not_found_exception"));
	} else if (!strcmp(verb, "_bulk")) {
		char *p = body;
		fake.bulks++;
		answer = json_pack("{s[]}", "items");
		while (p && *p && *p != '\n')
			json_array_append_new(json_object_get(answer, "items"), fake_action(&p));
	} else if (!strcmp(verb, "_search")) {
		fake.searches++;
		q = json_loads(body, 0, NULL);
		answer = fake_search(q);
	}
	json_decref(q);
	d = answer;
	pthread_mutex_unlock(&fake.lock);
	int status = !strcmp(method, "PUT") && fake.index ? 400 : d ? 200 : 400;
	if (!strcmp(method, "PUT"))
		fake.index = true;
	fake_json(c->fd, status, d ? d : json_object());
}

static inline void *
fake_serve(void *arg)
{
	struct fake_conn *c = arg;
	size_t cap = 1 << 20, n = 0;
	char *buf = malloc(cap + 1), method[16], path[1024], *end, *f;
	bool on = true;

	while (on) {
		size_t want = 0, head;
		ssize_t r;
		buf[n] = 0;
		while (!(end = strstr(buf, "\r\n\r\n")) && n < cap && (r = recv(c->fd, buf + n, cap - n, 0)) > 0)
			buf[n += (size_t)r] = 0;
		if (!end)
			break;
		head = (size_t)(end - buf) + 4;
		if ((f = strcasestr(buf, "\r\nContent-Length: ")) && f < end)
			want = strtoul(f + 18, NULL, 10);
		if (head + want > cap)
			buf = realloc(buf, (cap = head + want) + 1);
		while (n < head + want && (r = recv(c->fd, buf + n, cap - n, 0)) > 0)
			n += (size_t)r;
		if (n < head + want)
			break;
		buf[n] = 0;
		if ((f = strcasestr(buf, "\r\nAuthorization: ")))
			snprintf(fake.authorization, sizeof fake.authorization, "%.*s", (int)strcspn(f + 17, "\r"), f + 17);
		if (sscanf(buf, "%15s %1023s", method, path) != 2)
			break;
		fake.calls++;
		fake.calls_at[c->place]++;
		if (fake.fail[c->place])
			on = fake_misbehave(c, fake.fail[c->place]);
		else
			fake_answer(c, method, path, buf + head);
		n = 0; /* nothing is pipelined */
	}
	close(c->fd);
	free(buf);
	free(c);
	return NULL;
}

static inline void *
fake_accept(void *arg)
{
	unsigned place = (unsigned)(uintptr_t)arg;
	for (;;) {
		struct fake_conn *c = calloc(1, sizeof *c);
		pthread_t t;
		c->place = place;
		c->fd = accept(fake.fd[place], NULL, NULL);
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
		if (c->fd < 0) {
			free(c);
			return NULL;
		}
		pthread_create(&t, NULL, fake_serve, c);
		pthread_detach(t);
	}
}

static inline void
fake_start(void)
{
	fake.docs = json_object();
	for (unsigned i = 0; i < FAKE_PLACES; i++) {
		struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		socklen_t n = sizeof sa;
		pthread_t t;
		fake.fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		(void)!bind(fake.fd[i], (struct sockaddr *)&sa, sizeof sa);
		listen(fake.fd[i], 64);
		getsockname(fake.fd[i], (struct sockaddr *)&sa, &n);
		fake.port[i] = ntohs(sa.sin_port);
		pthread_create(&t, NULL, fake_accept, (void *)(uintptr_t)i);
		pthread_detach(t);
	}
}

/* What it has under an id: a new reference, or NULL. */
static inline json_t *
fake_doc(const char *id)
{
	pthread_mutex_lock(&fake.lock);
	json_t *d = json_deep_copy(json_object_get(json_object_get(fake.docs, id), "source"));
	pthread_mutex_unlock(&fake.lock);
	return d;
}

static inline void
fake_put(const char *id, json_t *source)
{
	pthread_mutex_lock(&fake.lock);
	if (source)
		fake_set(id, source);
	else
		json_object_del(fake.docs, id);
	pthread_mutex_unlock(&fake.lock);
}

static inline void
fake_empty(void)
{
	pthread_mutex_lock(&fake.lock);
	json_object_clear(fake.docs);
	pthread_mutex_unlock(&fake.lock);
}
