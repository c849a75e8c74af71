/* A small HTTP server of a test's own: each request, with its body, goes to a function that fills in the answer. One thread a connection. */
#pragma once
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

struct heard {
	char method[16], path[2048]; /* with the query */
	char head[16384];
	char *body;
	size_t n;
};
enum { SAY_CLOSE = 1, SAY_HOLD = 2, SAY_NO_LENGTH = 4 };
struct answer {
	int status;
	char fields[1024];           /* "Name: value\r\n"… */
	char body[16384];
	size_t n, promise;           /* bytes of body (0: to its NUL); Content-Length when it is another (0: as it is) */
	int then;                    /* SAY_X */
	const char *raw;             /* instead of all that */
};
typedef void answer_f(const struct heard *, struct answer *);

static struct {
	int fd;
	unsigned port;
	answer_f *answer;
	atomic_int requests;
	char base[64];
} http;

static inline const char *
heard_field(const struct heard *h, const char *name, char *out, size_t size)
{
	const char *p = h->head;
	size_t n = strlen(name);

	out[0] = '\0';
	while ((p = strstr(p, "\r\n"))) {
		p += 2;
		if (strncasecmp(p, name, n) == 0 && p[n] == ':') {
			p += n + 1;
			p += strspn(p, " ");
			snprintf(out, size, "%.*s", (int)strcspn(p, "\r"), p);
			break;
		}
	}
	return out;
}

static void *
http_conn(void *arg)
{
	int fd = (int)(intptr_t)arg;
	struct heard *h = calloc(1, sizeof *h);
	struct answer *a = calloc(1, sizeof *a);
	char *in = calloc(1, sizeof h->head);
	size_t n = 0;

	for (;;) {
		char *end, value[64];
		ssize_t r;
		while (!(end = memmem(in, n, "\r\n\r\n", 4))) {
			if (n >= sizeof h->head - 1 || (r = recv(fd, in + n, sizeof h->head - 1 - n, 0)) <= 0)
				goto out;
			n += (size_t)r;
		}
		size_t head = (size_t)(end - in) + 4;
		memcpy(h->head, in, head);
		h->head[head] = '\0';
		sscanf(h->head, "%15s %2047s", h->method, h->path);
		heard_field(h, "Content-Length", value, sizeof value);
		h->n = value[0] ? strtoul(value, NULL, 10) : 0;
		free(h->body);
		h->body = calloc(1, h->n + 1);
		size_t have = n - head < h->n ? n - head : h->n;
		memcpy(h->body, in + head, have);
		memmove(in, in + head + have, n - head - have);
		n -= head + have;
		while (have < h->n && (r = recv(fd, h->body + have, h->n - have, 0)) > 0)
			have += (size_t)r;
		memset(a, 0, sizeof *a);
		a->status = 200;
		atomic_fetch_add(&http.requests, 1);
		http.answer(h, a);
		if (a->raw) {
			send(fd, a->raw, strlen(a->raw), MSG_NOSIGNAL);
		} else {
			char top[2048];
			size_t len = a->n ? a->n : strlen(a->body);
			int k = snprintf(top, sizeof top, "HTTP/1.1 %d X\r\n%s", a->status, a->fields);
			if (!(a->then & SAY_NO_LENGTH))
				k += snprintf(top + k, sizeof top - (size_t)k, "Content-Length: %zu\r\n", a->promise ? a->promise : len);
			k += snprintf(top + k, sizeof top - (size_t)k, "\r\n");
			send(fd, top, (size_t)k, MSG_NOSIGNAL);
			if (strcmp(h->method, "HEAD") != 0)
				send(fd, a->body, len, MSG_NOSIGNAL);
		}
		if (a->then & SAY_CLOSE)
			break;
		while (a->then & SAY_HOLD)
			if (recv(fd, in, 1, 0) <= 0)
				goto out;
	}
out:
	close(fd);
	free(h->body);
	free(h);
	free(a);
	free(in);
	return NULL;
}

static void *
http_main(void *arg)
{
	int fd;

	while ((fd = accept(http.fd, NULL, NULL)) >= 0) {
		pthread_t t;
		if (pthread_create(&t, NULL, http_conn, (void *)(intptr_t)fd) == 0)
			pthread_detach(t);
	}
	return NULL;
}

static inline void
http_serve(answer_f *answer)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof sa;
	pthread_t t;

	http.answer = answer;
	http.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(http.fd, (struct sockaddr *)&sa, n) < 0 || listen(http.fd, 64) < 0 || getsockname(http.fd, (struct sockaddr *)&sa, &n) < 0)
		exit(1);
	http.port = ntohs(sa.sin_port);
	snprintf(http.base, sizeof http.base, "http://127.0.0.1:%u", http.port);
	pthread_create(&t, NULL, http_main, NULL);
	pthread_detach(t);
}
