/* The callers' side of httpc: making requests, waiting for heads and bodies. */
#include "httpc_impl.h"
#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "counters.h"
#include "hash.h"
#include "log.h"

/* ---- what both sides use */

bool
xfer_command(struct xfer *x, unsigned cmd)
{
	struct httpc *e = x->e;
	if (atomic_fetch_or(&x->cmds, cmd) != 0)
		return true; /* it is in the queue, and will be seen with this command as well */
	atomic_fetch_add(&x->refs, 1);
	struct xfer *head = atomic_load(&e->queue);
	do {
		if (head == QUEUE_CLOSED) {
			xfer_unref(x);
			return false;
		}
		x->qnext = head;
	} while (!atomic_compare_exchange_weak(&e->queue, &head, x));
	if (atomic_exchange(&e->sleeping, false))
		eventfd_write(e->wake, 1);
	return true;
}

void
xfer_wake(struct xfer *x)
{
	httpc_ready_f *ready = atomic_exchange(&x->ready, NULL);
	if (ready) {
		ready(atomic_load(&x->ready_arg));
		return;
	}
	atomic_fetch_add(&x->futex, 1);
	syscall(SYS_futex, &x->futex, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

struct block *
block_new(struct httpc *e, bool large)
{
	struct block *b;
	pthread_mutex_lock(&e->pool_lock);
	if ((b = e->blocks[large])) {
		e->blocks[large] = b->next;
		e->blocks_n[large]--;
	}
	pthread_mutex_unlock(&e->pool_lock);
	if (!b) {
		size_t size = large ? BLOCK_LARGE : BLOCK_SMALL;
		b = xmalloc(sizeof *b + size);
		b->size = size;
	}
	b->next = NULL;
	b->r = b->w = 0;
	return b;
}

void
block_free(struct httpc *e, struct block *b)
{
	bool large = b->size == BLOCK_LARGE;
	pthread_mutex_lock(&e->pool_lock);
	if (!e->pool_closed && e->blocks_n[large] < BLOCKS_KEPT) {
		b->next = e->blocks[large];
		e->blocks[large] = b;
		e->blocks_n[large]++;
		b = NULL;
	}
	pthread_mutex_unlock(&e->pool_lock);
	free(b);
}

void
engine_unref(struct httpc *e)
{
	if (atomic_fetch_sub(&e->refs, 1) > 1)
		return;
	curl_share_cleanup(e->share);
	X509_STORE_free(e->store);
	SSL_CTX_free(e->ctx);
	for (int i = 0; i < CURL_LOCK_DATA_LAST; i++)
		pthread_mutex_destroy(&e->share_lock[i]);
	pthread_mutex_destroy(&e->pool_lock);
	close(e->wake); /* not earlier: a caller may be about to write to it */
	free(e->ca_file);
	free(e->via_proxy);
	free(e);
}

void
xfer_destroy(struct xfer *x)
{
	curl_easy_cleanup(x->easy);
	pthread_mutex_destroy(&x->lock);
	free(x->request);
	free(x->origin);
	free(x->heads);
	free(x->ring);
	free(x);
}

/* The last reference is gone: back into the pool with it, without what was large. */
void
xfer_unref(struct xfer *x)
{
	if (atomic_fetch_sub(&x->refs, 1) > 1)
		return;
	struct httpc *e = x->e;
	while (x->first) {
		struct block *b = x->first;
		x->first = b->next;
		block_free(e, b);
	}
	if (x->heads_cap > 16 * 1024) {
		free(x->heads);
		x->heads = NULL;
		x->heads_cap = 0;
	}
	free(x->ring);
	x->ring = NULL;
	pthread_mutex_lock(&e->pool_lock);
	bool keep = !e->pool_closed && e->pool_n < XFERS_KEPT && x->request_cap <= 16 * 1024;
	if (keep) {
		x->qnext = e->pool;
		e->pool = x;
		e->pool_n++;
	}
	pthread_mutex_unlock(&e->pool_lock);
	if (!keep)
		xfer_destroy(x);
	engine_unref(e);
}

static struct xfer *
xfer_new(struct httpc *e)
{
	struct xfer *x;
	pthread_mutex_lock(&e->pool_lock);
	if ((x = e->pool)) {
		e->pool = x->qnext;
		e->pool_n--;
	}
	pthread_mutex_unlock(&e->pool_lock);
	if (!x) {
		x = xcalloc(1, sizeof *x);
		x->e = e;
		pthread_mutex_init(&x->lock, NULL);
		if (!(x->easy = fetcher_easy(e, x))) {
			xfer_destroy(x);
			return NULL;
		}
		x->kind = KIND_PLAIN;
		x->connect_ms = -1;
	}
	memset((char *)x + offsetof(struct xfer, qnext), 0, sizeof *x - offsetof(struct xfer, qnext));
	x->problem[0] = '\0';
	atomic_store(&x->refs, 1);
	atomic_fetch_add(&e->refs, 1);
	return x;
}

/* ---- starting */

static void
options_copy(struct httpc *e, const struct httpc_options *o)
{
	e->o = *o;
	e->ca_file = o->ca_file && *o->ca_file ? xstrdup(o->ca_file) : NULL;
	e->via_proxy = o->via_proxy && *o->via_proxy ? xstrdup(o->via_proxy) : NULL;
	e->o.ca_file = e->ca_file;
	e->o.via_proxy = e->via_proxy;
	if (e->o.max_connections <= 0)
		e->o.max_connections = 512;
	if (e->o.max_per_host <= 0)
		e->o.max_per_host = e->o.max_connections;
	if (e->o.idle_ms <= 0)
		e->o.idle_ms = 60 * 1000;
}

static void
curl_once(void)
{
	if (curl_global_init(CURL_GLOBAL_ALL) != 0)
		die(1, "libcurl cannot be started");
	if (!(curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_ASYNCHDNS))
		log_warn("this libcurl resolves names synchronously: a slow name server stalls all transfers");
}

struct httpc *
httpc_start(const struct httpc_options *o)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, curl_once);
	struct httpc *e = xcalloc(1, sizeof *e);
	atomic_store(&e->refs, 1);
	options_copy(e, o);
	e->alive_max = e->o.max_connections + XFERS_WAITING;
	pthread_mutex_init(&e->pool_lock, NULL);
	trust_init(e);
	fetcher_init(e);
	int r = pthread_create(&e->thread, NULL, fetcher_main, e);
	if (r != 0)
		die(1, "the fetcher thread cannot be made: %s", strerror(r));
	return e;
}

void
httpc_stop(struct httpc **ep)
{
	struct httpc *e = *ep;
	if (!e)
		return;
	*ep = NULL;
	atomic_store(&e->stopping, true);
	eventfd_write(e->wake, 1);
	pthread_join(e->thread, NULL);
	pthread_mutex_lock(&e->pool_lock);
	struct xfer *pool = e->pool;
	struct block *blocks[2] = { e->blocks[0], e->blocks[1] };
	e->pool = NULL;
	e->blocks[0] = e->blocks[1] = NULL;
	e->pool_closed = true;
	pthread_mutex_unlock(&e->pool_lock);
	while (pool) {
		struct xfer *x = pool;
		pool = x->qnext;
		xfer_destroy(x);
	}
	for (int i = 0; i < 2; i++) {
		while (blocks[i]) {
			struct block *b = blocks[i];
			blocks[i] = b->next;
			free(b);
		}
	}
	fetcher_fini(e);
	engine_unref(e);
}

void
httpc_kill_idle(struct httpc *e)
{
	atomic_store(&e->kill_idle, true);
	eventfd_write(e->wake, 1);
}

/* ---- the request */

/* scheme://authority and the request target that follows it; false for what libcurl must not see. */
static bool
url_split(struct str url, struct str *origin, struct str *target)
{
	for (size_t i = 0; i < url.n; i++) {
		if ((unsigned char)url.p[i] <= ' ' || url.p[i] == 0x7f || url.p[i] == '#')
			return false;
	}
	size_t start = str_starts(url, STR("http://")) ? 7 : str_starts(url, STR("https://")) ? 8 : 0;
	if (start == 0 || url.n == start)
		return false;
	size_t end = start;
	while (end < url.n && url.p[end] != '/' && url.p[end] != '?' && url.p[end] != '*')
		end++;
	*origin = str_upto(url, end);
	*target = str_from(url, end);
	return end > start;
}

static bool
value_sendable(struct str v)
{
	for (size_t i = 0; i < v.n; i++) {
		if ((unsigned char)v.p[i] < ' ' && v.p[i] != '\t')
			return false;
	}
	return true;
}

struct list {
	struct curl_slist *next;
	char *text;
	struct curl_slist *last;
};

static void
list_add(struct list *l, char *line)
{
	struct curl_slist *n = l->next++;
	n->data = line;
	n->next = NULL;
	if (l->last)
		l->last->next = n;
	l->last = n;
}

/* NTLM and Negotiate (RFC 4559 6) say who the client is once for all that follows on a connection. A pooled one would lend that to the
 * next client, so these go out on one of their own, which is closed afterwards. */
static bool
sticks_to_connection(struct str credentials)
{
	struct str scheme = str_cut(&credentials, ' ');
	return str_caseeq(scheme, STR("NTLM")) || str_caseeq(scheme, STR("Negotiate"));
}

/* The header list in one piece of memory that stays with the transfer; libcurl only reads it. */
static int
build_headers(struct xfer *x, const struct httpc_request *q, struct curl_slist **out)
{
	enum { OWN = 4 };
	const struct headers *h = q->headers;
	unsigned count = h ? h->n : 0;
	size_t nodes = (count + OWN) * sizeof(struct curl_slist), text = 0;
	for (unsigned i = 0; i < count; i++)
		text += h->v[i].name.n + h->v[i].value.n + 3;
	if (x->request_cap < nodes + text) {
		free(x->request);
		x->request_cap = nodes + text + 1024;
		x->request = xmalloc(x->request_cap);
	}
	struct list l = { (struct curl_slist *)(void *)x->request, x->request + nodes, NULL };
	/* libcurl looks only at the first Expect and takes an empty one for "add none"; all that have a value are sent. So waiting
	 * for the 100 is ours, and a 417 is an answer like any other instead of a silent second request. */
	list_add(&l, (char *)(uintptr_t)"Expect:");
	if (x->await_continue)
		list_add(&l, (char *)(uintptr_t)"Expect: 100-continue");
	bool accept = false;
	for (unsigned i = 0; i < count; i++) {
		struct str name = h->v[i].name, value = h->v[i].value;
		if (!field_name_valid(name) || !value_sendable(value))
			return -ERR_BAD_REQUEST;
		if (head_field_is_ours(name))
			continue;
		accept |= name.n == 6 && str_caseeq(name, STR("Accept"));
		x->own_connection |= name.n == 13 && str_caseeq(name, STR("Authorization")) && sticks_to_connection(value);
		char *line = l.text;
		memcpy(line, name.p, name.n);
		l.text += name.n;
		if (value.n == 0) {
			*l.text++ = ';'; /* libcurl's way to say: send it with an empty value */
		} else {
			*l.text++ = ':';
			*l.text++ = ' ';
			memcpy(l.text, value.p, value.n);
			l.text += value.n;
		}
		*l.text++ = '\0';
		list_add(&l, line);
	}
	if (!accept)
		list_add(&l, (char *)(uintptr_t)"Accept:");
	if (q->body_length == 0 && !x->bodyless_method)
		list_add(&l, (char *)(uintptr_t)"Content-Length: 0");
	*out = (struct curl_slist *)(void *)x->request;
	return 0;
}

/* Only what differs from the handle's last request is set. */
static int
set_options(struct xfer *x, const struct httpc_request *q, struct str origin, struct str target, struct curl_slist *headers)
{
	CURLcode c = CURLE_OK;
	char small[1024], *z = small;
	if (target.n + 2 > sizeof small)
		z = xmalloc(target.n + 2);
	size_t lead = target.n == 0 || target.p[0] == '?'; /* an empty path is sent as "/" (RFC 9112 3.2.1) */
	z[0] = '/';
	if (target.n)
		memcpy(z + lead, target.p, target.n);
	z[lead + target.n] = '\0';
	if (x->e->via_proxy) { /* absolute-form: libcurl makes the target from the URL */
		char *url = xmalloc(origin.n + lead + target.n + 1);
		memcpy(url, origin.p, origin.n);
		memcpy(url + origin.n, z, lead + target.n + 1);
		c |= curl_easy_setopt(x->easy, CURLOPT_URL, url);
		free(url);
	} else {
		if (!x->origin || strlen(x->origin) != origin.n || memcmp(x->origin, origin.p, origin.n) != 0) {
			free(x->origin);
			x->origin = xmalloc(origin.n + 1);
			memcpy(x->origin, origin.p, origin.n);
			x->origin[origin.n] = '\0';
			c |= curl_easy_setopt(x->easy, CURLOPT_URL, x->origin);
		}
		c |= curl_easy_setopt(x->easy, CURLOPT_REQUEST_TARGET, z);
	}
	if (z != small)
		free(z);

	int kind = x->bodyless_method ? KIND_HEAD : q->body_length == -2 || q->body_length > 0 ? KIND_UPLOAD : KIND_PLAIN;
	if (kind != x->kind) {
		c |= curl_easy_setopt(x->easy, CURLOPT_UPLOAD, kind == KIND_UPLOAD ? 1L : 0L);
		c |= curl_easy_setopt(x->easy, CURLOPT_NOBODY, kind == KIND_HEAD ? 1L : 0L);
		x->kind = kind;
	}
	if (kind == KIND_UPLOAD)
		c |= curl_easy_setopt(x->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)(q->body_length == -2 ? -1 : q->body_length));
	char method[sizeof x->method] = "";
	if (!(kind == KIND_HEAD || (kind == KIND_PLAIN && str_eq(q->method, STR("GET")))))
		memcpy(method, q->method.p, q->method.n);
	if (strcmp(method, x->method) != 0) {
		memcpy(x->method, method, sizeof method);
		c |= curl_easy_setopt(x->easy, CURLOPT_CUSTOMREQUEST, *method ? method : NULL);
	}
	c |= curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, headers);
	bool fresh = q->fresh_connection || x->own_connection;
	if (fresh != x->fresh) {
		c |= curl_easy_setopt(x->easy, CURLOPT_FRESH_CONNECT, fresh ? 1L : 0L);
		x->fresh = fresh;
	}
	if (q->http1 != x->http1) {
		long version = q->http1 || !x->e->o.http2 ? (long)CURL_HTTP_VERSION_1_1 : (long)CURL_HTTP_VERSION_2TLS;
		c |= curl_easy_setopt(x->easy, CURLOPT_HTTP_VERSION, version);
		x->http1 = q->http1;
	}
	if (x->own_connection != x->alone) {
		c |= curl_easy_setopt(x->easy, CURLOPT_FORBID_REUSE, x->own_connection ? 1L : 0L);
		x->alone = x->own_connection;
	}
	/* 0 would be libcurl's default of 300 s */
	long connect_ms = q->connect_timeout_ms > 0 && q->connect_timeout_ms < INT32_MAX ? (long)q->connect_timeout_ms : INT32_MAX;
	if (connect_ms != x->connect_ms) {
		c |= curl_easy_setopt(x->easy, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
		x->connect_ms = connect_ms;
	}
	return c == CURLE_OK ? 0 : -ERR_NO_MEMORY;
}

int
httpc_begin(struct httpc *e, const struct httpc_request *q, struct xfer **out)
{
	struct str origin, target;
	*out = NULL;
	if (!url_split(q->url, &origin, &target) || !field_name_valid(q->method) || q->method.n >= sizeof (*out)->method ||
		str_eq(q->method, STR("CONNECT")))
		return -ERR_BAD_REQUEST;
	if (atomic_fetch_add(&e->alive, 1) >= e->alive_max) {
		atomic_fetch_sub(&e->alive, 1);
		return -ERR_BUSY;
	}
	struct xfer *x = xfer_new(e);
	int r = -ERR_NO_MEMORY;
	if (x) {
		x->body_length = q->body_length;
		x->bodyless_method = str_eq(q->method, STR("HEAD"));
		bool body = !x->bodyless_method && (q->body_length > 0 || q->body_length == -2);
		x->refused = !body;
		x->await_continue = body && q->expect_continue;
		x->idempotent = http_method_idempotent(http_method(q->method));
		x->internal = q->internal;
		x->bulk = q->bulk;
		x->origin_hash = hash64(origin.p, origin.n);
		x->read_ms = q->read_timeout_ms;
		x->total_ms = q->total_timeout_ms;
		x->low_speed = q->low_speed;
		x->low_ms = q->low_speed > 0 ? q->low_speed_ms : 0;
		x->to = q->to;
		x->limit = q->buffer ? q->buffer : HTTPC_BUFFER;
		x->cl = -1;
		struct curl_slist *headers = NULL;
		if ((r = build_headers(x, q, &headers)) == 0)
			r = set_options(x, q, origin, target, headers);
		if (r == 0 && !xfer_command(x, DO_BEGIN))
			r = -ERR_GONE;
	}
	if (r < 0) {
		atomic_fetch_sub(&e->alive, 1);
		if (x)
			xfer_unref(x);
		return r;
	}
	if (!q->internal)
		count(COUNT_upstream_requests);
	*out = x;
	return 0;
}

void
httpc_end(struct xfer **xp)
{
	struct xfer *x = *xp;
	if (!x)
		return;
	*xp = NULL;
	pthread_mutex_lock(&x->lock);
	bool done = x->done;
	pthread_mutex_unlock(&x->lock);
	if (!done)
		xfer_command(x, DO_CANCEL);
	xfer_unref(x);
}

/* ---- waiting */

/* With the lock held. False when the deadline has passed. */
static bool
wait_for_fetcher(struct xfer *x, int64_t deadline)
{
	if (deadline != NEVER && (deadline <= 0 || clock_mono() >= deadline))
		return false;
	unsigned seen = atomic_load(&x->futex);
	atomic_store(&x->ready, NULL);
	x->waiting = true;
	pthread_mutex_unlock(&x->lock);
	struct timespec ts = { .tv_sec = deadline / 1000, .tv_nsec = deadline % 1000 * 1000000 };
	syscall(SYS_futex, &x->futex, FUTEX_WAIT_BITSET_PRIVATE, seen, deadline == NEVER ? NULL : &ts, NULL, FUTEX_BITSET_MATCH_ANY);
	pthread_mutex_lock(&x->lock);
	x->waiting = false;
	return true;
}

int
httpc_send(struct xfer *x, const void *data, size_t n, int64_t deadline)
{
	const unsigned char *p = data;
	int r = 0;
	if (x->body_length >= 0 && n > (uint64_t)x->body_length - x->given && !x->bodyless_method)
		return -ERR_BAD_REQUEST;
	pthread_mutex_lock(&x->lock);
	while (n > 0) {
		if (x->done && x->err < 0) {
			r = x->err;
			break;
		}
		if (x->done || x->refused || x->body_end) {
			r = -ERR_GONE;
			break;
		}
		size_t room = RING_SIZE - (size_t)(x->ring_in - x->ring_out);
		if (room == 0) {
			if (!wait_for_fetcher(x, deadline)) {
				r = -ERR_TIMEOUT;
				break;
			}
			continue;
		}
		if (!x->ring)
			x->ring = xmalloc(RING_SIZE);
		size_t at = (size_t)(x->ring_in % RING_SIZE), take = n < room ? n : room;
		if (take > RING_SIZE - at)
			take = RING_SIZE - at;
		memcpy(x->ring + at, p, take);
		x->ring_in += take;
		x->given += take;
		p += take;
		n -= take;
		if (x->send_starved) {
			x->send_starved = false;
			xfer_command(x, DO_BODY);
		}
	}
	pthread_mutex_unlock(&x->lock);
	return r;
}

int
httpc_finish_body(struct xfer *x)
{
	pthread_mutex_lock(&x->lock);
	x->body_end = true;
	int r = x->done && x->err < 0 ? x->err : 0;
	if (x->send_starved) {
		x->send_starved = false;
		xfer_command(x, DO_BODY);
	}
	pthread_mutex_unlock(&x->lock);
	return r;
}

/* ---- heads */

int
httpc_head(struct xfer *x, struct arena *a, struct http_response *out, int64_t deadline)
{
	struct str text = STR_NONE;
	int r = 0;
	if (x->head_taken)
		return -ERR_END;
	pthread_mutex_lock(&x->lock);
	while (x->heads_r == x->heads_pub && r == 0) {
		if (x->done)
			r = x->err < 0 ? x->err : -ERR_ORIGIN_BROKEN;
		else if (!wait_for_fetcher(x, deadline))
			r = -ERR_TIMEOUT;
	}
	if (r == 0) {
		text = (struct str){ x->heads + x->heads_r, x->heads_pub - x->heads_r };
		text.n = head_length(text);
		x->heads_r += text.n;
		x->head_taken = x->final && x->heads_r == x->heads_pub;
		text = arena_dup(a, text); /* under the lock: the fetcher may move the buffer as it grows */
	}
	pthread_mutex_unlock(&x->lock);
	return r == 0 ? head_parse(text, a, out) : r;
}

/* With the lock held. */
static bool
call_when(struct xfer *x, bool there, httpc_ready_f *ready, void *arg)
{
	if (!there) {
		atomic_store(&x->ready_arg, arg);
		atomic_store(&x->ready, ready);
		x->waiting = true;
	}
	return there;
}

bool
httpc_when_head(struct xfer *x, httpc_ready_f *ready, void *arg)
{
	pthread_mutex_lock(&x->lock);
	bool there = call_when(x, x->head_taken || x->heads_r != x->heads_pub || x->done, ready, arg);
	pthread_mutex_unlock(&x->lock);
	return there;
}

bool
httpc_when_read(struct xfer *x, httpc_ready_f *ready, void *arg)
{
	pthread_mutex_lock(&x->lock);
	bool head = !x->head_taken && x->heads_r != x->heads_pub;
	bool body = x->head_taken && x->buffered > x->viewed;
	bool there = call_when(x, head || body || x->done || x->recv_paused, ready, arg);
	pthread_mutex_unlock(&x->lock);
	return there;
}

unsigned
httpc_filled(struct xfer *x)
{
	pthread_mutex_lock(&x->lock);
	unsigned n = x->filled;
	pthread_mutex_unlock(&x->lock);
	return n;
}

void
httpc_trailers(struct xfer *x, struct headers *h)
{
	pthread_mutex_lock(&x->lock);
	struct str text = STR_NONE;
	if (x->done && x->final && x->heads_w > x->trailers)
		text = arena_dup(h->arena, (struct str){ x->heads + x->trailers, x->heads_w - x->trailers });
	pthread_mutex_unlock(&x->lock);
	struct headers all;
	headers_init(&all, h->arena);
	head_parse_fields(text, &all);
	for (unsigned i = 0; i < all.n; i++) {
		if (!head_field_is_ours(all.v[i].name)) /* framing has no place in trailers (RFC 9110 6.5.1) */
			headers_add(h, all.v[i].name, all.v[i].value);
	}
}

/* ---- body */

int64_t
httpc_read(struct xfer *x, const void **out, int64_t deadline)
{
	int64_t r = 0;
	bool resume = false;
	pthread_mutex_lock(&x->lock);
	if (x->viewed) {
		struct block *b = x->first;
		b->r += x->viewed;
		x->buffered -= x->viewed;
		x->viewed = 0;
		if (b->r == b->w && b->next) {
			x->first = b->next;
			block_free(x->e, b);
		} else if (b->r == b->w) {
			b->r = b->w = 0; /* the tail: start it anew */
		}
		if (x->recv_paused && x->buffered <= x->limit / 2) {
			x->recv_paused = false;
			resume = true;
		}
	}
	if (resume)
		xfer_command(x, DO_RESUME);
	for (;;) {
		struct block *b = x->first;
		if (b && b->w > b->r) {
			*out = b->data + b->r;
			r = (int64_t)(x->viewed = b->w - b->r);
			break;
		}
		if (x->done) {
			r = x->err;
			break;
		}
		if (!wait_for_fetcher(x, deadline)) {
			r = -ERR_AGAIN;
			break;
		}
	}
	pthread_mutex_unlock(&x->lock);
	return r;
}

/* ---- afterwards */

const char *
httpc_problem(struct xfer *x)
{
	pthread_mutex_lock(&x->lock);
	const char *p = x->done && x->err < 0 ? x->problem : "";
	pthread_mutex_unlock(&x->lock);
	return p;
}

bool
httpc_reused(struct xfer *x)
{
	pthread_mutex_lock(&x->lock);
	bool r = x->reused;
	pthread_mutex_unlock(&x->lock);
	return r;
}

unsigned
httpc_attempts(const struct xfer *x)
{
	return atomic_load(&x->attempts);
}

uint64_t
httpc_body_sent(struct xfer *x)
{
	pthread_mutex_lock(&x->lock);
	uint64_t r = x->ring_out;
	pthread_mutex_unlock(&x->lock);
	return r;
}
