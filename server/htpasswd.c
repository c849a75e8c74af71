/* htpasswd.c - see htpasswd.h */
#include "htpasswd.h"
#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../common/arena.h"

struct user { const char *name, *hash; };
struct htpasswd {
	char *text;         /* the file, cut into strings */
	struct user *users; /* sorted by name */
	unsigned n;
};

static bool is_b64(const char *p, size_t n) /* crypt's own alphabet */
{
	return strlen(p) == n && strspn(p, "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == n;
}

static const char *bcrypt_wrong(const char *h) /* $2y$05$ and 53 more */
{
	if (strlen(h) != 60 || h[4] < '0' || h[4] > '3' || h[5] < '0' || h[5] > '9' || h[6] != '$' || !is_b64(h + 7, 53))
		return "is no whole bcrypt hash ($2y$05$ and 53 characters)";
	int cost = (h[4] - '0') * 10 + h[5] - '0';
	return cost < 4 || cost > HTPASSWD_BCRYPT_MAX ? "has a bcrypt cost that is not 4 to 12: htpasswd -B -C 10" : NULL;
}

static const char *sha_wrong(const char *h, size_t digest) /* $6$[rounds=5000$]salt$digest */
{
	h += 3;
	if (strncmp(h, "rounds=", 7) == 0) {
		uint64_t rounds;
		const char *end = strchr(h += 7, '$');
		if (end == NULL || !str_u64((struct str){ h, (size_t)(end - h) }, UINT32_MAX, &rounds) || rounds < 1000 || rounds > HTPASSWD_ROUNDS_MAX)
			return "has a number of rounds that is not 1000 to 250000";
		h = end + 1;
	}
	const char *end = strchr(h, '$');
	if (end == NULL || end == h || end - h > 16 || !is_b64(end + 1, digest))
		return "is no whole SHA crypt hash ($6$salt$ and 86 characters, or $5$salt$ and 43)";
	return NULL;
}

static const char *hash_wrong(const char *h)
{
	if (h[0] == '$' && h[1] == '2' && h[2] != 0 && strchr("aby", h[2]) != NULL && h[3] == '$')
		return bcrypt_wrong(h);
	if (strncmp(h, "$5$", 3) == 0)
		return sha_wrong(h, 43);
	if (strncmp(h, "$6$", 3) == 0)
		return sha_wrong(h, 86);
	return "has a hash that is neither bcrypt nor SHA crypt: make it by htpasswd -B, or openssl passwd -6";
}

static int by_name(const void *a, const void *b) { return strcmp(((const struct user *)a)->name, ((const struct user *)b)->name); }

/* NULL, or what is wrong with the line, of which *u are the parts. */
static const char *line_wrong(char *line, struct user *u)
{
	char *colon = strchr(line, ':');
	if (colon == NULL || colon == line)
		return "must be name:hash, as htpasswd -B makes it";
	*colon = 0;
	*u = (struct user){ line, colon + 1 };
	for (const char *p = line; *p != 0; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return "has a control character in the name";
	return hash_wrong(u->hash);
}

struct htpasswd *htpasswd_parse(const char *path, struct str text, char problem[HTPASSWD_PROBLEM])
{
	struct htpasswd *h = xcalloc(1, sizeof *h);
	unsigned line_number = 0, cap = 0;
	h->text = xmalloc(text.n + 1);
	if (text.n > 0)
		memcpy(h->text, text.p, text.n);
	h->text[text.n] = 0;
	for (char *line = h->text, *next; line < h->text + text.n; line = next) {
		char *end = memchr(line, '\n', (size_t)(h->text + text.n - line));
		next = end != NULL ? end + 1 : h->text + text.n;
		line_number++;
		if (end == NULL)
			end = h->text + text.n;
		else if (end > line && end[-1] == '\r')
			end--;
		*end = 0;
		if (line[0] == '#' || (line[0] == 0 && end == line))
			continue;
		struct user u = { line, "" };
		const char *wrong = strlen(line) != (size_t)(end - line) ? "has a NUL in it" : line_wrong(line, &u);
		if (wrong != NULL) { /* the name is shown, not the rest: it may be a password in the clear */
			snprintf(problem, HTPASSWD_PROBLEM, "%.300s:%u: %s%.80s%s%s", path, line_number, *u.hash != 0 ? "user " : "the line ", *u.hash != 0 ? u.name : "",
			         *u.hash != 0 ? " " : "", wrong);
			htpasswd_free(&h);
			return NULL;
		}
		if (h->n == cap)
			h->users = xrealloc(h->users, (cap = cap * 2 + 16) * sizeof *h->users);
		h->users[h->n++] = u;
	}
	if (h->n > 0)
		qsort(h->users, h->n, sizeof *h->users, by_name);
	for (unsigned i = 1; i < h->n; i++)
		if (strcmp(h->users[i - 1].name, h->users[i].name) == 0) {
			snprintf(problem, HTPASSWD_PROBLEM, "%.300s: user %.80s is there twice", path, h->users[i].name);
			htpasswd_free(&h);
			return NULL;
		}
	if (h->n == 0) {
		snprintf(problem, HTPASSWD_PROBLEM, "%.300s: there is no user in it: nobody could use the proxy (--htpasswd \"\" asks nobody)", path);
		htpasswd_free(&h);
	}
	return h;
}

struct htpasswd *htpasswd_read(const char *path, char problem[HTPASSWD_PROBLEM])
{
	struct htpasswd *h = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		snprintf(problem, HTPASSWD_PROBLEM, "%.300s: %s (--htpasswd)", path, strerror(errno));
		return NULL;
	}
	char *text = xmalloc(HTPASSWD_FILE_MAX + 1);
	size_t n = 0;
	ssize_t got;
	while (n <= HTPASSWD_FILE_MAX && (got = read(fd, text + n, HTPASSWD_FILE_MAX + 1 - n)) != 0) {
		if (got < 0 && errno != EINTR)
			break;
		if (got > 0)
			n += (size_t)got;
	}
	if (got < 0)
		snprintf(problem, HTPASSWD_PROBLEM, "%.300s: %s (--htpasswd)", path, strerror(errno));
	else if (n > HTPASSWD_FILE_MAX)
		snprintf(problem, HTPASSWD_PROBLEM, "%.300s: it is larger than 1 MiB (--htpasswd)", path);
	else
		h = htpasswd_parse(path, (struct str){ text, n }, problem);
	close(fd);
	free(text);
	return h;
}

void htpasswd_free(struct htpasswd **hp)
{
	struct htpasswd *h = *hp;
	if (h == NULL)
		return;
	free(h->users);
	free(h->text);
	free(h);
	*hp = NULL;
}

unsigned htpasswd_users(const struct htpasswd *h) { return h->n; }

const char *htpasswd_hash(const struct htpasswd *h, struct str user)
{
	unsigned lo = 0, hi = h->n;
	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		int c = str_cmp(str_c(h->users[mid].name), user);
		if (c == 0)
			return h->users[mid].hash;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

bool htpasswd_verify(const struct htpasswd *h, struct str user, struct str password)
{
	const char *hash = htpasswd_hash(h, user), *against = hash != NULL ? hash : h->users[0].hash;
	if (password.n >= CRYPT_MAX_PASSPHRASE_SIZE || (password.n > 0 && memchr(password.p, 0, password.n) != NULL))
		return false; /* a C string would end there, and less than all of it would do */
	struct crypt_data *d = xcalloc(1, sizeof *d); /* 32 KiB: more than a handler's stack should bear */
	char *word = xmalloc(password.n + 1);
	if (password.n > 0)
		memcpy(word, password.p, password.n);
	word[password.n] = 0;
	const char *made = crypt_r(word, against, d);
	size_t n = strlen(against);
	bool same = made != NULL && strlen(made) == n && CRYPTO_memcmp(made, against, n) == 0;
	OPENSSL_cleanse(word, password.n);
	OPENSSL_cleanse(d, sizeof *d);
	free(word);
	free(d);
	return same && hash != NULL;
}
