/* How libcurl talks to a transfer, on the fetcher thread: the connection stands, a line of a head, a piece of the body, room for
 * more of the request. They never wait for the caller. */
#include "httpc_impl.h"

void
fetcher_sweep_by(struct httpc *e, int64_t at)
{
	if (at < e->sweep_at)
		e->sweep_at = at;
}

void
xfer_alive(struct xfer *x)
{
	x->last = x->e->now;
}

void
xfer_stretch(struct xfer *x)
{
	x->stretch_at = x->e->now;
	x->stretch_from = x->received;
	fetcher_sweep_by(x->e, x->stretch_at + x->low_ms);
}

void
xfer_dirty(struct xfer *x)
{
	if (x->dirty)
		return;
	x->dirty = true;
	x->dnext = x->e->dirty;
	x->e->dirty = x;
}

void
xfer_give_up(struct xfer *x, int err, const char *why)
{
	x->fail = err;
	x->why = why;
}

/* The connection stands and the request is about to go out on it. */
int
xfer_prereq_cb(void *arg, char *ip, char *local, int port, int local_port)
{
	struct xfer *x = arg;
	long made = 0;
	if (atomic_fetch_add(&x->attempts, 1) > 0 && !x->idempotent) {
		/* RFC 9110 9.2.2: a proxy must not retry what is not idempotent */
		xfer_give_up(x, -ERR_ORIGIN_BROKEN, "the kept connection was closed before an answer came");
		return CURL_PREREQFUNC_ABORT;
	}
	/* A connection that another client made, or that was made when the settings were others: it may lead where this client must not go. */
	const char *no = x->e->via_proxy ? NULL : destination_refused_host(&x->to, str_c(ip));
	if (no) {
		xfer_give_up(x, -ERR_DESTINATION, httpc_destination_problem(no));
		return CURL_PREREQFUNC_ABORT;
	}
	curl_easy_getinfo(x->easy, CURLINFO_NUM_CONNECTS, &made);
	pthread_mutex_lock(&x->lock);
	x->reused = made == 0;
	pthread_mutex_unlock(&x->lock);
	x->connected = true;
	xfer_alive(x);
	if (x->read_ms > 0)
		fetcher_sweep_by(x->e, x->e->now + x->read_ms);
	if (x->await_continue && x->go_on_at == 0) {
		x->go_on_at = x->e->now + CONTINUE_MS;
		fetcher_sweep_by(x->e, x->go_on_at);
	}
	return CURL_PREREQFUNC_OK;
}

/* What of the framing decides where the body ends is watched as it comes by, because libcurl is lenient (RFC 9112 6.3). */
static void
watch_length(struct xfer *x, struct str value)
{
	if (value.n == 0)
		x->bad_length = true;
	while (value.n) {
		uint64_t n = 0;
		if (!str_u64(str_trim(str_cut(&value, ',')), INT64_MAX, &n) || (x->cl >= 0 && (uint64_t)x->cl != n))
			x->bad_length = true;
		x->cl = (int64_t)n;
	}
}

static void
watch_coding(struct xfer *x, struct str value)
{
	/* Never asked for by us, so not to be sent; passed on raw they would be content that they are not. A coding that nobody knows
	 * is left alone, and ends with the connection. */
	static const struct str unasked[] = { { "gzip", 4 }, { "x-gzip", 6 }, { "deflate", 7 }, { "compress", 8 }, { "x-compress", 10 } };
	while (value.n) {
		struct str params = str_trim(str_cut(&value, ',')), coding = str_trim(str_cut(&params, ';'));
		if (coding.n == 0)
			continue;
		if (x->te_chunked) /* chunked must be the last, and only once */
			x->bad_coding = true;
		x->te = true;
		x->te_chunked = str_caseeq(coding, STR("chunked"));
		for (size_t i = 0; i < sizeof unasked / sizeof *unasked; i++)
			x->bad_coding |= str_caseeq(coding, unasked[i]);
	}
}

static void
watch_framing(struct xfer *x, struct str line)
{
	struct str value = str_upto(line, line.n - (line.n > 1 && line.p[line.n - 2] == '\r' ? 2 : 1));
	struct str name = str_cut(&value, ':'), trimmed = str_trim(name);
	bool length = trimmed.n == 14 && str_caseeq(trimmed, STR("Content-Length"));
	bool coding = trimmed.n == 17 && str_caseeq(trimmed, STR("Transfer-Encoding"));
	value = str_trim(value);
	if ((length || coding) && trimmed.n != name.n)
		x->bad_blank = true; /* libcurl does not take it for framing, others would: smuggling (RFC 9112 5.1) */
	else if (length)
		watch_length(x, value);
	else if (coding)
		watch_coding(x, value);
}

static bool
heads_append(struct xfer *x, const char *p, size_t n)
{
	if (x->heads_w + n > x->heads_cap) {
		if (x->heads_w + n > HEAD_MAX)
			return false;
		size_t cap = x->heads_cap ? x->heads_cap * 2 : 2048;
		while (cap < x->heads_w + n)
			cap *= 2;
		pthread_mutex_lock(&x->lock); /* the caller may be reading */
		x->heads = xrealloc(x->heads, cap);
		x->heads_cap = cap;
		pthread_mutex_unlock(&x->lock);
	}
	memcpy(x->heads + x->heads_w, p, n);
	x->heads_w += n;
	return true;
}

/* A head is complete. Returns false when the transfer must end. */
static bool
end_of_head(struct xfer *x)
{
	bool interim = x->status < 200;
	if (x->status == 101) {
		xfer_give_up(x, -ERR_ORIGIN_PROTOCOL, "the origin switched protocols unasked");
		return false;
	}
	if (interim && ++x->interims > INTERIM_MAX) {
		xfer_give_up(x, -ERR_ORIGIN_PROTOCOL, "the origin sends interim answers without end");
		return false;
	}
	if (!interim) {
		x->bodyless = x->bodyless_method || x->status == 204 || x->status == 304;
		if (x->bad_length || x->bad_blank || (x->bad_coding && !x->bodyless)) {
			xfer_give_up(x, -ERR_ORIGIN_PROTOCOL, x->bad_length ? "the Content-Length of the origin's answer is not one number" :
				x->bad_blank ? "the origin's answer has a blank before the colon of a framing field" :
				"the origin's answer has a transfer coding that was not asked for");
			return false;
		}
	}
	pthread_mutex_lock(&x->lock);
	x->heads_pub = x->heads_w;
	if (!interim) {
		x->final = true;
		x->trailers = x->heads_w;
		if (x->status >= 300 && !x->refused && !(x->body_end && x->ring_in == x->ring_out))
			x->refused = true; /* libcurl stops sending and will close the connection */
	}
	if (!interim && x->low_ms > 0 && !x->bodyless)
		xfer_stretch(x);
	bool waited = x->await_continue, refused = x->refused && x->send_held;
	x->await_continue = false;
	pthread_mutex_unlock(&x->lock);
	xfer_dirty(x);
	/* Sending goes on after a 100; and when it is refused libcurl must not take it for paused, or the transfer would never end. */
	if (x->send_held && (waited || refused)) {
		x->go_on = true;
		fetcher_sweep_by(x->e, 0); /* not from within a callback */
	}
	return true;
}

size_t
xfer_header_cb(char *p, size_t size, size_t n, void *arg)
{
	struct xfer *x = arg;
	struct str line = { p, n *= size };
	xfer_alive(x);
	if (!x->final) { /* only this thread sets it */
		if (str_starts(line, STR("HTTP/"))) {
			const char *sp = memchr(p, ' ', n);
			uint64_t status = 0;
			if (!sp || !str_u64(str_upto(str_from(line, (size_t)(sp - p) + 1), 3), 999, &status)) {
				xfer_give_up(x, -ERR_ORIGIN_PROTOCOL, "the origin's answer has no status");
				return 0;
			}
			x->status = (int)status;
			x->te = x->te_chunked = x->bad_length = x->bad_coding = x->bad_blank = false;
			x->cl = -1;
			pthread_mutex_lock(&x->lock);
			if (x->heads_r == x->heads_pub) /* 1xx heads that were taken make room */
				x->heads_r = x->heads_pub = x->heads_w = 0;
			pthread_mutex_unlock(&x->lock);
		} else if (n > 14 && ((p[0] | 0x20) == 'c' || (p[0] | 0x20) == 't')) {
			watch_framing(x, line);
		}
	}
	if (!heads_append(x, p, n)) {
		xfer_give_up(x, -ERR_ORIGIN_PROTOCOL, "the head of the origin's answer is too large");
		return 0;
	}
	bool blank = n > 0 && (p[0] == '\n' || (p[0] == '\r' && n > 1 && p[1] == '\n'));
	if (blank && !x->final && !end_of_head(x))
		return 0;
	return n;
}

size_t
xfer_write_cb(char *p, size_t size, size_t n, void *arg)
{
	struct xfer *x = arg;
	size_t left = n *= size;
	xfer_alive(x);
	pthread_mutex_lock(&x->lock);
	if (x->buffered > 0 && x->buffered + n > x->limit + OVERSHOOT) {
		x->recv_paused = x->recv_held = true;
		pthread_mutex_unlock(&x->lock);
		xfer_dirty(x);
		return CURL_WRITEFUNC_PAUSE;
	}
	while (left > 0) {
		struct block *b = x->tail;
		if (!x->first || b->w == b->size) {
			/* never longer than the answer is known to be: a caller that reads block by block gets large ones */
			b = block_new(x->e, x->first || left > BLOCK_SMALL || x->received + left > BLOCK_SMALL || x->cl > BLOCK_SMALL);
			if (x->first)
				x->tail->next = b;
			else
				x->first = b;
			x->tail = b;
		}
		size_t take = b->size - b->w < left ? b->size - b->w : left;
		memcpy(b->data + b->w, p, take);
		b->w += take;
		p += take;
		left -= take;
	}
	x->buffered += n;
	if (!x->recv_paused && x->buffered >= x->limit) {
		x->recv_paused = true; /* wake_callers tells libcurl */
		x->filled++;
	}
	pthread_mutex_unlock(&x->lock);
	x->received += n;
	xfer_dirty(x);
	return n;
}

size_t
xfer_read_cb(char *p, size_t size, size_t n, void *arg)
{
	struct xfer *x = arg;
	size_t r = CURL_READFUNC_PAUSE;
	n *= size;
	xfer_alive(x);
	pthread_mutex_lock(&x->lock);
	size_t have = (size_t)(x->ring_in - x->ring_out);
	if (x->await_continue) {
		x->send_held = true;
	} else if (have > 0) {
		size_t at = (size_t)(x->ring_out % RING_SIZE);
		r = have < n ? have : n;
		if (r > RING_SIZE - at)
			r = RING_SIZE - at;
		memcpy(p, x->ring + at, r);
		x->ring_out += r;
		xfer_dirty(x);
	} else if (!x->body_end) {
		x->send_starved = x->send_held = true;
	} else if (x->body_length >= 0 && x->ring_out != (uint64_t)x->body_length) {
		xfer_give_up(x, -ERR_BAD_REQUEST, "the request's body is shorter than its length");
		r = CURL_READFUNC_ABORT;
	} else {
		r = 0;
	}
	pthread_mutex_unlock(&x->lock);
	return r;
}
