/* A bucket in memory, linked in place of s3/bucket*.c: it does what a test tells it, and counts. Thread-safe. */
#pragma once
#include "s3/bucket.h"
#include "common/clock.h"
#include "common/err.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FAKE_OBJECTS 4096

struct bucket {
	pthread_mutex_t m;
	pthread_cond_t c;
	struct { char key[128]; char *bytes; uint64_t size; bool old; } objects[FAKE_OBJECTS];
	unsigned n;
	/* what it does */
	int get_err, head_err, put_err;  /* -ERR_X: says so */
	unsigned get_errs, put_errs;     /* … so many times (0: always) */
	uint64_t cut_at;                 /* streams break there … */
	unsigned cuts;                   /* … so many times */
	bool no_copy;                    /* what is old stays so */
	bool short_end;                  /* … and look as if that were all */
	uint64_t wrong_at;               /* this byte is another; UINT64_MAX: none */
	bool held;                       /* bytes behind hold_from come only after fake_release */
	uint64_t hold_from;
	bool put_held;                   /* puts wait */
	unsigned piece;                  /* bytes a view */
	unsigned delay_us;               /* before each view */
	/* what was done */
	unsigned gets, heads, puts, there, forced, most, now;
	uint64_t got_from;               /* of the last get */
};

struct bucket_read { struct bucket *b; unsigned i; uint64_t at, cut; char *view; };

static inline struct bucket *
fake_new(void)
{
	struct bucket *b = calloc(1, sizeof *b);
	pthread_mutex_init(&b->m, NULL);
	pthread_cond_init(&b->c, NULL);
	b->wrong_at = UINT64_MAX;
	b->piece = 60000;
	return b;
}

static inline int
fake_find(struct bucket *b, struct str key)
{
	for (unsigned i = 0; i < b->n; i++)
		if (str_eq(key, str_c(b->objects[i].key)))
			return (int)i;
	return -1;
}

static inline void __attribute__((unused))
fake_put(struct bucket *b, struct str key, const void *p, uint64_t n)
{
	pthread_mutex_lock(&b->m);
	int i = fake_find(b, key);
	if (i < 0) {
		i = (int)b->n++;
		snprintf(b->objects[i].key, sizeof b->objects[i].key, "%.*s", STRP(key));
	}
	free(b->objects[i].bytes);
	b->objects[i].bytes = malloc(n + 1);
	memcpy(b->objects[i].bytes, p, n);
	b->objects[i].size = n;
	pthread_mutex_unlock(&b->m);
}

static inline void __attribute__((unused))
fake_remove(struct bucket *b, struct str key)
{
	pthread_mutex_lock(&b->m);
	int i = fake_find(b, key);
	if (i >= 0)
		b->objects[i].key[0] = 0;
	pthread_mutex_unlock(&b->m);
}

static inline void __attribute__((unused))
fake_release(struct bucket *b)
{
	pthread_mutex_lock(&b->m);
	b->held = b->put_held = false;
	pthread_cond_broadcast(&b->c);
	pthread_mutex_unlock(&b->m);
}

#define FAKE_SET(b, what, v) (pthread_mutex_lock(&(b)->m), (void)((b)->what = (v)), pthread_mutex_unlock(&(b)->m))
/* one look at a number that a thread of the code under test changes */
#define FAKE(b, what) (pthread_mutex_lock(&(b)->m), fake_tmp = (b)->what, pthread_mutex_unlock(&(b)->m), fake_tmp)
static uint64_t fake_tmp __attribute__((unused));

static inline void
fake_delay(struct bucket *b)
{
	pthread_mutex_lock(&b->m);
	unsigned us = b->delay_us;
	pthread_mutex_unlock(&b->m);
	if (us > 0)
		usleep(us);
}

static int
fake_says(int err, unsigned *times)
{
	if (err < 0 && *times > 0 && --*times == 0)
		return err - 10000; /* the last time */
	return err;
}
#define FAKE_SAYS(b, what) do { int e_ = fake_says((b)->what##_err, &(b)->what##_errs); \
	if (e_ < -10000) { e_ += 10000; (b)->what##_err = 0; } \
	if (e_ < 0) { pthread_mutex_unlock(&(b)->m); snprintf(problem, BUCKET_PROBLEM, "as told"); return e_; } } while (0)

int
bucket_get(struct bucket *b, struct str key, uint64_t off, uint64_t n, struct bucket_read **out, uint64_t *size, char problem[BUCKET_PROBLEM])
{
	pthread_mutex_lock(&b->m);
	b->gets++;
	b->got_from = off;
	FAKE_SAYS(b, get);
	int i = fake_find(b, key);
	if (i < 0) {
		pthread_mutex_unlock(&b->m);
		return -ERR_NOT_FOUND;
	}
	struct bucket_read *r = calloc(1, sizeof *r);
	*r = (struct bucket_read){ b, (unsigned)i, off, UINT64_MAX, NULL };
	if (b->cuts > 0) {
		b->cuts--;
		r->cut = b->cut_at;
	}
	*size = b->objects[i].size;
	*out = r;
	pthread_mutex_unlock(&b->m);
	return 0;
}

int64_t
bucket_read(struct bucket_read *r, const void **view, int64_t deadline)
{
	struct bucket *b = r->b;
	uint64_t n;

	fake_delay(b);
	pthread_mutex_lock(&b->m);
	while (b->held && r->at >= b->hold_from) {
		if (deadline != NEVER) { /* a test's reader drives: it asks again */
			pthread_mutex_unlock(&b->m);
			usleep(1000);
			return -ERR_AGAIN;
		}
		pthread_cond_wait(&b->c, &b->m);
	}
	n = b->objects[r->i].size - r->at;
	if (n > b->piece)
		n = b->piece;
	if (b->held && n > b->hold_from - r->at)
		n = b->hold_from - r->at;
	if (r->cut != UINT64_MAX && r->at + n > r->cut)
		n = r->cut > r->at ? r->cut - r->at : 0;
	if (n == 0 && r->at < b->objects[r->i].size) {
		pthread_mutex_unlock(&b->m);
		return b->short_end ? 0 : -ERR_S3_FAILED;
	}
	free(r->view); /* so that a view that is used too long is found */
	r->view = malloc(n + 1);
	memcpy(r->view, b->objects[r->i].bytes + r->at, n);
	if (b->wrong_at >= r->at && b->wrong_at < r->at + n)
		r->view[b->wrong_at - r->at] ^= 1;
	r->at += n;
	*view = r->view;
	pthread_mutex_unlock(&b->m);
	return (int64_t)n;
}

void
bucket_read_end(struct bucket_read **r)
{
	free((*r)->view);
	free(*r);
	*r = NULL;
}

int
bucket_head(struct bucket *b, struct str key, uint64_t *size, char problem[BUCKET_PROBLEM])
{
	pthread_mutex_lock(&b->m);
	b->heads++;
	int e = b->head_err;
	if (e < 0) {
		pthread_mutex_unlock(&b->m);
		return e;
	}
	int i = fake_find(b, key);
	if (i >= 0)
		*size = b->objects[i].size;
	pthread_mutex_unlock(&b->m);
	return i >= 0 ? 0 : -ERR_NOT_FOUND;
}

int
bucket_renew(struct bucket *b, struct str key, uint64_t size, char problem[BUCKET_PROBLEM])
{
	uint64_t has;
	int r = bucket_head(b, key, &has, problem);

	if (r < 0 || has != size)
		return r < 0 ? r : -ERR_NOT_FOUND;
	pthread_mutex_lock(&b->m);
	int i = fake_find(b, key);
	r = b->objects[i].old && b->no_copy ? -ERR_CONFLICT : 0;
	b->objects[i].old &= b->no_copy;
	pthread_mutex_unlock(&b->m);
	return r;
}

int
bucket_put_file(struct bucket *b, struct str key, int fd, uint64_t size, const uint8_t *sha256, bool if_absent, char problem[BUCKET_PROBLEM])
{
	char *p = malloc(size + 1);
	ssize_t n = pread(fd, p, size + 1, 0);

	pthread_mutex_lock(&b->m);
	b->puts++;
	b->forced += !if_absent;
	b->now++;
	b->most = b->now > b->most ? b->now : b->most;
	while (b->put_held)
		pthread_cond_wait(&b->c, &b->m);
	pthread_mutex_unlock(&b->m);
	fake_delay(b);
	pthread_mutex_lock(&b->m);
	b->now--;
	if (n != (ssize_t)size) {
		pthread_mutex_unlock(&b->m);
		free(p);
		return -ERR_CORRUPT;
	}
	int e = fake_says(b->put_err, &b->put_errs);
	if (e < -10000) {
		e += 10000;
		b->put_err = 0;
	}
	int i = fake_find(b, key);
	bool there = if_absent && i >= 0 && b->objects[i].size == size;
	b->there += e == 0 && there;
	pthread_mutex_unlock(&b->m);
	if (e == 0 && !there)
		fake_put(b, key, p, size);
	free(p);
	snprintf(problem, BUCKET_PROBLEM, "as told");
	return e < 0 ? e : there;
}
