/* auth.c - see auth.h */
#include "auth.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "../common/arena.h"
#include "../common/hash.h"
#include "../common/log.h"

#define KEY 32
#define WAYS 4
#define SETS 1024                       /* credentials remembered: 4096, which is 100 KiB; only touched when they are asked for */
#define GUESSERS 1024                   /* addresses that guessed wrong of late */

struct known { uint8_t tag[16]; int64_t until; bool right; };
struct guesser { uint8_t prefix[16]; int64_t clean_at; }; /* each wrong one adds AUTH_FORGIVE_MS to it */

struct auth {
	uint8_t key[KEY];
	struct htpasswd *_Atomic users;
	_Atomic unsigned generation;
	pthread_mutex_t lock;               /* for all that follows */
	pthread_cond_t turn;
	bool working;                       /* somebody works one out: */
	uint8_t doing[16];
	unsigned waiting;
	struct known known[SETS][WAYS];
	struct guesser guessers[GUESSERS / WAYS][WAYS];
};

struct auth *auth_new(void)
{
	struct auth *a = xcalloc(1, sizeof *a);
	pthread_condattr_t ca;
	if (RAND_bytes(a->key, KEY) != 1)
		die(71, "OpenSSL has no random numbers");
	pthread_mutex_init(&a->lock, NULL);
	pthread_condattr_init(&ca);
	pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
	pthread_cond_init(&a->turn, &ca);
	pthread_condattr_destroy(&ca);
	return a;
}

void auth_free(struct auth **ap)
{
	struct auth *a = *ap;
	if (a == NULL)
		return;
	pthread_cond_destroy(&a->turn);
	pthread_mutex_destroy(&a->lock);
	OPENSSL_cleanse(a->key, KEY);
	free(a);
	*ap = NULL;
}

void auth_use(struct auth *a, struct htpasswd *users)
{
	pthread_mutex_lock(&a->lock);
	atomic_store(&a->users, users);
	atomic_fetch_add(&a->generation, 1); /* it is part of the tags: what they stood for is not asked for any more */
	pthread_mutex_unlock(&a->lock);
}

bool auth_wanted(const struct auth *a) { return atomic_load_explicit(&a->users, memory_order_relaxed) != NULL; }

static uint64_t line_of(const struct htpasswd *users, struct str user)
{
	const char *hash = htpasswd_hash(users, user);
	return hash != NULL ? hash64(hash, strlen(hash)) : 0;
}

bool auth_holds(struct auth *a, struct auth_pass *p)
{
	const unsigned now = atomic_load(&a->generation);
	if (p->generation == now)
		return true;
	const struct htpasswd *users = atomic_load(&a->users);
	if (p->user.n == 0 || users == NULL || line_of(users, p->user) != p->line)
		return false;
	p->generation = now;
	return true;
}

/* ---- what is remembered */

static void tag_of(const struct auth *a, unsigned generation, struct str value, uint8_t tag[16])
{
	uint8_t text[sizeof generation + AUTH_VALUE_MAX], mac[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	memcpy(text, &generation, sizeof generation);
	memcpy(text + sizeof generation, value.p, value.n);
	if (HMAC(EVP_sha256(), a->key, KEY, text, sizeof generation + value.n, mac, &n) == NULL)
		die(71, "OpenSSL has no HMAC");
	memcpy(tag, mac, 16);
	OPENSSL_cleanse(text, sizeof text);
}

static struct known *set_of(struct auth *a, const uint8_t tag[16]) { return a->known[(tag[0] | (unsigned)tag[1] << 8) % SETS]; }

static const struct known *find(struct auth *a, const uint8_t tag[16], int64_t now)
{
	struct known *set = set_of(a, tag);
	for (int i = 0; i < WAYS; i++)
		if (set[i].until > now && CRYPTO_memcmp(set[i].tag, tag, 16) == 0)
			return &set[i];
	return NULL;
}

/* In a full set the one that ends first makes room: wrong ones before right ones. */
static void remember(struct auth *a, const uint8_t tag[16], bool right, int64_t now)
{
	struct known *set = set_of(a, tag), *k = &set[0];
	for (int i = 1; i < WAYS; i++)
		if (set[i].until < k->until)
			k = &set[i];
	memcpy(k->tag, tag, 16);
	k->right = right;
	k->until = now + (right ? AUTH_REMEMBER_MS : AUTH_WRONG_MS);
}

/* ---- who guesses */

static struct guesser *guesser_of(struct auth *a, const struct in6_addr *client, bool make)
{
	uint8_t prefix[16];
	memcpy(prefix, client, 16);
	if (!IN6_IS_ADDR_V4MAPPED(client))
		memset(prefix + 8, 0, 8);
	struct guesser *set = a->guessers[hash64(prefix, 16) % (GUESSERS / WAYS)], *g = &set[0];
	for (int i = 0; i < WAYS; i++) {
		if (memcmp(set[i].prefix, prefix, 16) == 0)
			return &set[i];
		if (set[i].clean_at < g->clean_at)
			g = &set[i];
	}
	if (!make)
		return NULL;
	memcpy(g->prefix, prefix, 16);
	g->clean_at = 0;
	return g;
}

static bool guesses_too_much(struct auth *a, const struct in6_addr *client, int64_t now)
{
	const struct guesser *g = guesser_of(a, client, false);
	return g != NULL && g->clean_at > now + (AUTH_FAILURES - 1) * AUTH_FORGIVE_MS;
}

static void guessed_wrong(struct auth *a, const struct in6_addr *client, int64_t now)
{
	struct guesser *g = guesser_of(a, client, true);
	g->clean_at = (g->clean_at > now ? g->clean_at : now) + AUTH_FORGIVE_MS;
}

/* ---- the check */

/* "Basic " and base64 of name:password. What is wrong in its form costs nothing and tells nothing. */
static bool decode(struct str value, char buf[AUTH_VALUE_MAX], struct str *user, struct str *password)
{
	struct str scheme = str_cut(&value, ' '), b64 = str_trim(value);
	if (!str_caseeq(scheme, STR("Basic")) || b64.n == 0 || b64.n % 4 != 0)
		return false;
	int n = EVP_DecodeBlock((unsigned char *)buf, (const unsigned char *)b64.p, (int)b64.n);
	if (n < 0)
		return false;
	for (size_t i = b64.n; i > b64.n - 2 && b64.p[i - 1] == '='; i--)
		n--;
	struct str all = { buf, (size_t)n };
	*user = str_cut(&all, ':');
	*password = all;
	return all.p != NULL && user->n > 0;
}

/* With the lock: true, it is this caller's turn to work. Otherwise *answer. */
static bool take_turn(struct auth *a, const uint8_t tag[16], const struct in6_addr *client, int64_t now, auth_wait_f *about_to_wait, void *arg, enum auth_answer *answer)
{
	struct timespec until = { .tv_sec = (now + AUTH_WAIT_MS) / 1000, .tv_nsec = (now + AUTH_WAIT_MS) % 1000 * 1000000 };
	bool late = false, told = false;
	for (;;) {
		const struct known *k = find(a, tag, now);
		if (k != NULL) {
			*answer = k->right ? AUTH_YES : AUTH_NO;
			return false;
		}
		if (guesses_too_much(a, client, now)) {
			*answer = AUTH_LIMIT;
			return false;
		}
		const bool his = a->working && memcmp(a->doing, tag, 16) == 0; /* a crowd with the same password waits for one answer */
		if (late || (a->working && !his && a->waiting >= AUTH_WAITING)) {
			*answer = AUTH_BUSY;
			return false;
		}
		if (!told) { /* without the lock: it may have to make a thread */
			told = true;
			pthread_mutex_unlock(&a->lock);
			about_to_wait(arg);
			pthread_mutex_lock(&a->lock);
			continue;
		}
		if (!a->working)
			break;
		a->waiting += !his;
		late = pthread_cond_timedwait(&a->turn, &a->lock, &until) != 0;
		a->waiting -= !his;
	}
	a->working = true;
	memcpy(a->doing, tag, 16);
	return true;
}

enum auth_answer auth_check(struct auth *a, struct str value, const struct in6_addr *client, int64_t now, auth_wait_f *about_to_wait, void *arg,
                            char buf[AUTH_VALUE_MAX], struct auth_pass *pass)
{
	enum auth_answer answer = AUTH_NO;
	struct str password;
	uint8_t tag[16];
	if (value.n == 0 || value.n >= AUTH_VALUE_MAX || !decode(value, buf, &pass->user, &password))
		return AUTH_NO;
	pthread_mutex_lock(&a->lock);
	pass->generation = atomic_load(&a->generation);
	const struct htpasswd *users = atomic_load(&a->users);
	pthread_mutex_unlock(&a->lock);
	if (users == NULL)
		return AUTH_YES;
	tag_of(a, pass->generation, value, tag);
	pthread_mutex_lock(&a->lock);
	if (take_turn(a, tag, client, now, about_to_wait, arg, &answer)) {
		pthread_mutex_unlock(&a->lock);
		answer = htpasswd_verify(users, pass->user, password) ? AUTH_YES : AUTH_NO;
		pthread_mutex_lock(&a->lock);
		a->working = false;
		remember(a, tag, answer == AUTH_YES, now);
		if (answer == AUTH_NO)
			guessed_wrong(a, client, now);
		pthread_cond_broadcast(&a->turn);
	}
	pthread_mutex_unlock(&a->lock);
	OPENSSL_cleanse((char *)(uintptr_t)password.p, password.n);
	pass->line = line_of(users, pass->user);
	return answer;
}
