/* ask.c - the workers' side: host → certificate, from this process's cache, from the shared table, from certgen. */
#include "certstore.h"
#include "leaf.h"
#include "../common/arena.h"
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/hash.h"
#include "../common/log.h"
#include <errno.h>
#include <openssl/err.h>
#include <sys/socket.h>

#define RESEND_MS 1000   /* an unanswered request is sent again: certgen may have died with it */
#define FULL_MS 10       /* the socket was full: certgen empties it by some hundred requests in that time */
#define REFRESH_MS 5000  /* a leaf that nears its end: how often a newer one is looked for */
#define CONDS 16         /* waiters of one name are woken without most of the others */

/* The leaves' key and chain, as parsed; of one generation of the store. */
struct identity {
	_Atomic uint32_t refs;
	uint32_t generation;
	EVP_PKEY *key;
	STACK_OF(X509) *chain;  /* NULL when nothing is sent behind the leaf */
};

/* One name. Changed and read under the client's lock; what is taken out for a handshake is referenced. */
struct entry {
	struct entry *next;          /* in its bucket */
	struct entry *newer, *older; /* in the order of use */
	X509 *cert;                  /* NULL: none yet */
	struct identity *id;
	int64_t not_after, refresh_at, look_again; /* wall */
	int64_t failed_until;        /* wall: no certificate can be made, do not ask before */
	unsigned users;              /* threads that hold it beyond the lock: it stays */
	bool asking;                 /* one of them is at it */
	unsigned bucket;
	uint16_t name_n;
	char name[];
};

struct certgen_client {
	struct certstore *store;
	int sock;
	unsigned cap, n, buckets;    /* buckets: a power of two */
	struct entry **bucket;
	struct entry *newest, *oldest;
	struct identity *identity;
	pthread_mutex_t lock;        /* short: a lookup and some pointers. What takes long (parsing, waiting) is done outside */
	pthread_cond_t cond[CONDS];
};

static void
identity_unref(struct identity *id)
{
	if (!id || atomic_fetch_sub(&id->refs, 1) != 1)
		return;
	EVP_PKEY_free(id->key);
	sk_X509_pop_free(id->chain, X509_free);
	free(id);
}

static struct identity *
identity_ref(struct identity *id)
{
	atomic_fetch_add(&id->refs, 1);
	return id;
}

static struct identity *
identity_parse(const struct cert_identity *raw, uint32_t generation)
{
	struct identity *id = xcalloc(1, sizeof(*id));
	const unsigned char *p = raw->key, *end = raw->chain + raw->chain_n;
	atomic_init(&id->refs, 1);
	id->generation = generation;
	id->key = d2i_AutoPrivateKey(NULL, &p, (long)raw->key_n);
	if (raw->chain_n)
		id->chain = sk_X509_new_null();
	for (p = raw->chain; id->key && id->chain && p < end;) {
		X509 *x = d2i_X509(NULL, &p, end - p);
		if (!x || !sk_X509_push(id->chain, x)) {
			X509_free(x);
			break;
		}
	}
	if (id->key && p == end)
		return id;
	ERR_clear_error();
	identity_unref(id);
	return NULL;
}

/* The current identity, referenced; NULL when certgen has not published one. */
static struct identity *
identity_now(struct certgen_client *c)
{
	uint32_t generation = certstore_generation(c->store);
	pthread_mutex_lock(&c->lock);
	struct identity *id = c->identity && c->identity->generation == generation ? identity_ref(c->identity) : NULL;
	pthread_mutex_unlock(&c->lock);
	if (id || generation == 0)
		return id;
	struct cert_identity *raw = xmalloc(sizeof(*raw)); /* once a generation */
	generation = certstore_identity(c->store, raw);
	if (generation)
		id = identity_parse(raw, generation);
	OPENSSL_cleanse(raw, sizeof(*raw));
	free(raw);
	if (id) {
		pthread_mutex_lock(&c->lock);
		struct identity *old = c->identity;
		c->identity = identity_ref(id);
		pthread_mutex_unlock(&c->lock);
		identity_unref(old);
	}
	return id;
}

struct certgen_client *
certgen_connect(struct certstore *store, int sock, unsigned cache)
{
	struct certgen_client *c = xcalloc(1, sizeof(*c));
	pthread_condattr_t attr;
	c->store = store;
	c->sock = sock;
	c->cap = cache ? cache : 1;
	for (c->buckets = 16; c->buckets < c->cap;)
		c->buckets *= 2;
	c->bucket = xcalloc(c->buckets, sizeof(*c->bucket));
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	for (int i = 0; i < CONDS; i++)
		pthread_cond_init(&c->cond[i], &attr);
	pthread_condattr_destroy(&attr);
	return c;
}

static void
lru_unlink(struct certgen_client *c, struct entry *e)
{
	*(e->newer ? &e->newer->older : &c->newest) = e->older;
	*(e->older ? &e->older->newer : &c->oldest) = e->newer;
}

static void
lru_push(struct certgen_client *c, struct entry *e)
{
	e->newer = NULL;
	e->older = c->newest;
	*(c->newest ? &c->newest->newer : &c->oldest) = e;
	c->newest = e;
}

static void
entry_drop(struct certgen_client *c, struct entry *e)
{
	struct entry **at = &c->bucket[e->bucket];
	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	lru_unlink(c, e);
	c->n--;
	X509_free(e->cert);
	identity_unref(e->id);
	free(e);
}

void
certgen_disconnect(struct certgen_client **p)
{
	struct certgen_client *c = *p;
	*p = NULL;
	if (!c)
		return;
	while (c->oldest)
		entry_drop(c, c->oldest);
	identity_unref(c->identity);
	pthread_mutex_destroy(&c->lock);
	for (int i = 0; i < CONDS; i++)
		pthread_cond_destroy(&c->cond[i]);
	free(c->bucket);
	free(c);
}

static struct entry *
entry_find(struct certgen_client *c, struct str name, unsigned bucket)
{
	struct entry *e = c->bucket[bucket];
	while (e && !(e->name_n == name.n && memcmp(e->name, name.p, name.n) == 0))
		e = e->next;
	return e;
}

/* Finds or makes; the least recently used makes room. More than cap only by those that threads are waiting for. */
static struct entry *
entry_get(struct certgen_client *c, struct str name)
{
	unsigned bucket = (unsigned)hash64(name.p, name.n) & (c->buckets - 1);
	struct entry *e = entry_find(c, name, bucket), *newer;
	if (e) {
		if (e != c->newest) {
			lru_unlink(c, e);
			lru_push(c, e);
		}
		return e;
	}
	for (struct entry *old = c->oldest; old && c->n >= c->cap; old = newer) {
		newer = old->newer;
		if (old->users == 0)
			entry_drop(c, old);
	}
	e = xcalloc(1, sizeof(*e) + name.n);
	memcpy(e->name, name.p, name.n);
	e->name_n = (uint16_t)name.n;
	e->bucket = bucket;
	e->next = c->bucket[bucket];
	c->bucket[bucket] = e;
	lru_push(c, e);
	c->n++;
	return e;
}

static bool
entry_serves(const struct certgen_client *c, const struct entry *e, int64_t now)
{
	return e->cert && now < e->not_after && e->id->generation == certstore_generation(c->store);
}

/* One request to certgen. 0, -ERR_AGAIN: the socket is full, -ERR_CERTGEN: nobody has the other end. */
static int
request(struct certgen_client *c, struct str name)
{
	struct cert_request r;
	size_t n = cert_request_encode(name, &r);
	for (;;) {
		if (send(c->sock, &r, n, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return 0;
		if (errno == EAGAIN || errno == ENOBUFS)
			return -ERR_AGAIN;
		if (errno != EINTR)
			return -ERR_CERTGEN;
	}
}

/* What one search found, outside the lock. */
struct obtained {
	struct cert_record rec;
	X509 *cert;
	struct identity *id;
	int64_t failed_until;  /* certgen has tried, and says until when it will not again; 0 otherwise */
};

/* From the shared table: 0, -ERR_NOT_FOUND, or the failure that certgen remembers. */
static int
look(struct certgen_client *c, struct str name, struct obtained *o)
{
	o->id = identity_now(c);
	if (!o->id)
		return -ERR_NOT_FOUND;
	int r = certstore_find(c->store, name, clock_wall(), &o->rec);
	if (r == 0 && o->rec.failed) {
		o->failed_until = o->rec.not_after;
		r = -ERR_CERTGEN;
	}
	if (r == 0) {
		const unsigned char *p = o->rec.der;
		o->cert = d2i_X509(NULL, &p, o->rec.der_n);
		/* the identity may have been replaced between the two looks: a leaf of another key must not be paired with it */
		if (o->cert && X509_check_private_key(o->cert, o->id->key) == 1)
			return 0;
		ERR_clear_error();
		X509_free(o->cert);
		o->cert = NULL;
		r = -ERR_NOT_FOUND;
	}
	identity_unref(o->id);
	o->id = NULL;
	return r;
}

/* Looks, asks, waits, and again. */
static int
obtain(struct certgen_client *c, struct str name, struct obtained *o, int64_t deadline)
{
	shm_event *event = certstore_event(c->store, name);
	int64_t resend = 0;
	for (;;) {
		uint32_t seen = atomic_load(event);
		int r = look(c, name, o);
		if (r != -ERR_NOT_FOUND)
			return r;
		int64_t now = clock_mono();
		if (now >= deadline)
			return -ERR_TIMEOUT;
		if (now >= resend) {
			r = request(c, name);
			if (r == -ERR_CERTGEN)
				return r;
			resend = now + (r == 0 ? RESEND_MS : FULL_MS);
		}
		shm_wait(event, seen, resend < deadline ? resend : deadline);
	}
}

/* Under the lock: what was found becomes the entry's. The old certificate lives as long as a handshake uses it. */
static void
entry_take(struct entry *e, int r, struct obtained *o)
{
	e->failed_until = r < 0 ? o->failed_until : 0;
	if (r < 0)
		return;
	X509_free(e->cert);
	identity_unref(e->id);
	e->cert = o->cert;
	e->id = o->id;
	e->not_after = o->rec.not_after;
	e->refresh_at = o->rec.refresh_at;
}

/* Another leaf is due, and this thread's turn: takes it if it is there, otherwise asks and goes on. Called with the lock, returns with it. */
static void
entry_refresh(struct certgen_client *c, struct entry *e, int64_t now)
{
	struct str name = { e->name, e->name_n };
	struct obtained o = { .cert = NULL };
	e->look_again = now + REFRESH_MS;
	e->users++;
	pthread_mutex_unlock(&c->lock);
	int r = look(c, name, &o);
	if (r < 0 || o.rec.refresh_at <= now)
		request(c, name); /* a full socket: another time */
	pthread_mutex_lock(&c->lock);
	e->users--;
	if (r == 0)
		entry_take(e, r, &o);
}

static int
wait_for_asker(struct certgen_client *c, struct entry *e, int64_t deadline)
{
	int64_t now = clock_mono(), until = deadline < now + RESEND_MS ? deadline : now + RESEND_MS;
	struct timespec ts = { .tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000 };
	if (now >= deadline)
		return -ERR_TIMEOUT;
	e->users++;
	pthread_cond_timedwait(&c->cond[e->bucket % CONDS], &c->lock, &ts);
	e->users--;
	return 0;
}

/* Under the lock: brings the entry to where it can serve. The first thread asks for it, the others wait for that one; if its time is up
 * before theirs, another takes its place. */
static int
entry_fill(struct certgen_client *c, struct entry *e, int64_t deadline)
{
	for (;;) {
		int64_t now = clock_wall();
		if (entry_serves(c, e, now)) {
			if (now >= e->refresh_at && (now >= e->look_again || e->look_again > now + REFRESH_MS))
				entry_refresh(c, e, now);
			return 0;
		}
		if (now < e->failed_until && e->failed_until <= now + CERT_FAILURE_MS) /* not longer, if the clock was set back */
			return -ERR_CERTGEN;
		if (e->asking) {
			int r = wait_for_asker(c, e, deadline);
			if (r < 0)
				return r;
			continue;
		}
		struct obtained o = { .cert = NULL };
		e->asking = true;
		e->users++;
		pthread_mutex_unlock(&c->lock);
		int r = obtain(c, (struct str){ e->name, e->name_n }, &o, deadline);
		pthread_mutex_lock(&c->lock);
		e->users--;
		e->asking = false;
		entry_take(e, r, &o);
		pthread_cond_broadcast(&c->cond[e->bucket % CONDS]);
		return r;
	}
}

int
certgen_identify(struct certgen_client *c, SSL *ssl, struct str host, int64_t deadline)
{
	char name[CERT_NAME_MAX + 1];
	size_t n;
	X509 *cert = NULL;
	struct identity *id = NULL;
	int r = leaf_name(host, name, &n);
	if (r < 0)
		return r;
	pthread_mutex_lock(&c->lock);
	struct entry *e = entry_get(c, (struct str){ name, n });
	r = entry_fill(c, e, deadline);
	if (r == 0) {
		cert = e->cert;
		X509_up_ref(cert);
		id = identity_ref(e->id);
	}
	pthread_mutex_unlock(&c->lock);
	if (r < 0)
		return r;
	/* 1.5 us, below 1 % of a handshake; a cached SSL_CTX a host is no faster, and costs tens of KiB each */
	SSL_set_mode(ssl, SSL_MODE_NO_AUTO_CHAIN); /* or OpenSSL searches its own store for a chain, in every handshake */
	if (SSL_use_cert_and_key(ssl, cert, id->key, id->chain, 1) != 1) {
		log_warn("the certificate for %s does not suit the TLS settings: %s", name, ERR_reason_error_string(ERR_peek_last_error()));
		ERR_clear_error();
		r = -ERR_CERTGEN;
	}
	X509_free(cert);
	identity_unref(id);
	return r;
}

bool
certgen_known(struct certgen_client *c, struct str host)
{
	char text[CERT_NAME_MAX + 1];
	size_t n;
	struct cert_record rec;
	if (leaf_name(host, text, &n) < 0)
		return true; /* the refusal does not block either */
	struct str name = { text, n };
	int64_t now = clock_wall();
	pthread_mutex_lock(&c->lock);
	struct entry *e = entry_find(c, name, (unsigned)hash64(name.p, name.n) & (c->buckets - 1));
	bool known = e && entry_serves(c, e, now);
	pthread_mutex_unlock(&c->lock);
	return known || (certstore_generation(c->store) != 0 && certstore_find(c->store, name, now, &rec) == 0);
}

unsigned
certgen_cached(struct certgen_client *c)
{
	pthread_mutex_lock(&c->lock);
	unsigned n = c->n;
	pthread_mutex_unlock(&c->lock);
	return n;
}
