/* Who has the keys, when they are looked for again, and the sources that are on this machine. */
#include <stdarg.h>
#include <openssl/crypto.h>
#include "../common/fd.h"
#include "credentials_impl.h"

#define FILE_MAX (256 * 1024) /* of a shared credentials file */

int
source_fail(char *why, size_t size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, size, fmt, ap);
	va_end(ap);
	return SOURCE_FAILED;
}

static bool
key_set(char *out, size_t size, struct str s, bool needed)
{
	if (s.n >= size || (needed && s.n == 0))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] <= ' ' || (unsigned char)s.p[i] >= 0x7f)
			return false;
	memcpy(out, s.n ? s.p : "", s.n);
	out[s.n] = '\0';
	return true;
}

bool
keys_set(struct keys *k, struct str access_key, struct str secret_key, struct str session_token)
{
	return key_set(k->access_key, sizeof k->access_key, access_key, true) && key_set(k->secret_key, sizeof k->secret_key, secret_key, true) &&
		key_set(k->session_token, sizeof k->session_token, session_token, false);
}

/* ---- settings, environment, files */

static int
source_settings(struct credentials *c, struct found *f, char *why, size_t size)
{
	if (!c->o.access_key[0] && !c->o.secret_key[0])
		return SOURCE_NONE;
	f->expires = NEVER;
	return keys_set(&f->keys, str_c(c->o.access_key), str_c(c->o.secret_key), str_c(c->o.session_token)) ? 0
		: source_fail(why, size, "one of access key and secret key is missing, or no key");
}

static int
source_environment(struct credentials *c, struct found *f, char *why, size_t size)
{
	if (!c->env[AWS_ACCESS_KEY_ID][0] && !c->env[AWS_SECRET_ACCESS_KEY][0])
		return SOURCE_NONE;
	f->expires = NEVER;
	return keys_set(&f->keys, str_c(c->env[AWS_ACCESS_KEY_ID]), str_c(c->env[AWS_SECRET_ACCESS_KEY]), str_c(c->env[AWS_SESSION_TOKEN])) ? 0
		: source_fail(why, size, "one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is missing, or no key");
}

/* The keys of [section] in a file of that form. SOURCE_NONE: no such file, section, or keys in it. */
static int
file_keys(const char *path, struct str section, struct found *f, char *why, size_t size)
{
	struct str file, rest, access = STR_NONE, secret = STR_NONE, token = STR_NONE;
	bool ours = false, there = false;
	int r = fd_read_file(path, FILE_MAX, &file);

	if (r == -ERR_NOT_FOUND)
		return SOURCE_NONE;
	if (r < 0)
		return source_fail(why, size, "%s: %s", path, err_text(r));
	for (rest = file; rest.n;) {
		struct str line = str_cut(&rest, '\n'), name, value;
		if (line.n && line.p[line.n - 1] == '\r')
			line.n--;
		if (line.n == 0 || line.p[0] == '#' || line.p[0] == ';' || line.p[0] == ' ' || line.p[0] == '\t') /* indented: below another setting */
			continue;
		if (line.p[0] == '[') {
			name = str_from(line, 1);
			name = str_trim(str_cut(&name, ']'));
			ours = str_eq(name, section);
			there |= ours;
			continue;
		}
		value = line;
		name = str_trim(str_cut(&value, '='));
		value = str_trim(value);
		if (!ours)
			continue;
		if (str_caseeq(name, STR("aws_access_key_id")))
			access = value;
		else if (str_caseeq(name, STR("aws_secret_access_key")))
			secret = value;
		else if (str_caseeq(name, STR("aws_session_token")))
			token = value;
	}
	r = SOURCE_NONE;
	if (there && (access.n || secret.n))
		r = keys_set(&f->keys, access, secret, token) ? 0
			: source_fail(why, size, "%s: [%.*s] has only one of aws_access_key_id and aws_secret_access_key, or no key", path, STRP(section));
	f->expires = NEVER;
	OPENSSL_cleanse((char *)(uintptr_t)file.p, file.n);
	free((char *)(uintptr_t)file.p);
	return r;
}

/* The file that env names, else ~/.aws/name; "" when there is neither. */
static void
file_path(struct credentials *c, int env, const char *name, char *out, size_t size)
{
	if (c->env[env][0])
		snprintf(out, size, "%s", c->env[env]);
	else if (c->o.home[0])
		snprintf(out, size, "%s/.aws/%s", c->o.home, name);
	else
		out[0] = '\0';
}

static int
source_file(struct credentials *c, struct found *f, char *why, size_t size)
{
	const char *profile = c->o.profile[0] ? c->o.profile : c->env[AWS_PROFILE];
	const char *name = profile[0] ? profile : "default";
	char shared[1024], config[1024], section[256];
	int r = SOURCE_NONE;

	file_path(c, AWS_SHARED_CREDENTIALS_FILE, "credentials", shared, sizeof shared);
	file_path(c, AWS_CONFIG_FILE, "config", config, sizeof config);
	if (shared[0])
		r = file_keys(shared, str_c(name), f, why, size);
	if (r == SOURCE_NONE && config[0]) {
		snprintf(section, sizeof section, "%s%s", strcmp(name, "default") == 0 ? "" : "profile ", name);
		r = file_keys(config, str_c(section), f, why, size);
	}
	/* A profile that somebody asked for by name is not to be replaced by the machine's role. */
	if (r == SOURCE_NONE && profile[0])
		return source_fail(why, size, "no keys of profile %.64s in %.60s", name, shared[0] ? shared : "any file");
	return r;
}

/* ---- the order */

static const struct { const char *name; source_f *look; } sources[] = {
	{ "settings", source_settings },
	{ "environment", source_environment },
	{ "web identity", source_web_identity },
	{ "credentials file", source_file },
	{ "container", source_container },
	{ "EC2", source_ec2 },
};

static int
look(struct credentials *c, struct found *f, char why[256])
{
	char said[160] = "";

	for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
		int r = sources[i].look(c, f, said, sizeof said);
		if (r == 0) {
			atomic_store(&c->source, (int)i);
			return 0;
		}
		if (r == SOURCE_FAILED) {
			snprintf(why, 256, "no credentials for S3: %s: %s", sources[i].name, said);
			return -ERR_S3_DENIED;
		}
	}
	snprintf(why, 256, "no credentials for S3 in settings, environment, web identity, credentials file, container, EC2");
	return -ERR_S3_DENIED;
}

/* With the lock, which is given up meanwhile: others use what there is. */
static void
renew(struct credentials *c)
{
	struct found f = { .expires = NEVER };
	char why[256];

	c->looking = true;
	c->doubted = false;
	pthread_mutex_unlock(&c->lock);
	int r = look(c, &f, why);
	pthread_mutex_lock(&c->lock);
	c->looking = false;
	c->next_look = clock_mono() + CREDENTIALS_RETRY_MS;
	if (r == 0) {
		OPENSSL_cleanse(&c->found, sizeof c->found);
		c->found = f;
		c->have = true;
	} else {
		memcpy(c->why, why, sizeof c->why);
	}
	OPENSSL_cleanse(&f, sizeof f);
	pthread_cond_broadcast(&c->changed);
}

int
credentials_get(struct credentials *c, struct keys *out, char problem[256])
{
	int r = 0;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		int64_t left = c->have ? c->found.expires == NEVER ? NEVER : c->found.expires - clock_wall() : 0;
		bool due = c->doubted || (left < CREDENTIALS_AHEAD_MS && clock_mono() >= c->next_look);
		if (due && !c->looking) {
			renew(c);
		} else if (left > 0) {
			*out = c->found.keys;
			break;
		} else if (c->looking) {
			pthread_cond_wait(&c->changed, &c->lock);
		} else {
			snprintf(problem, 256, "%s", c->why);
			r = -ERR_S3_DENIED;
			break;
		}
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}

void
credentials_doubt(struct credentials *c)
{
	pthread_mutex_lock(&c->lock);
	if (clock_mono() >= c->next_doubt) {
		c->doubted = true;
		c->next_doubt = clock_mono() + CREDENTIALS_RETRY_MS;
	}
	pthread_mutex_unlock(&c->lock);
}

const char *
credentials_source(const struct credentials *c)
{
	int i = atomic_load(&((struct credentials *)(uintptr_t)c)->source);
	return i < 0 ? "none" : sources[i].name;
}

/* ---- */

static const char *
keep(struct credentials *c, const char *s)
{
	return arena_dup(&c->arena, str_c(s ? s : "")).p;
}

struct credentials *
credentials_new(const struct credentials_options *o)
{
	static const char *const names[] = {
#define X(name) #name,
		CREDENTIALS_ENV(X)
#undef X
	};
	struct credentials *c = xcalloc(1, sizeof *c);

	arena_init(&c->arena);
	c->o = (struct credentials_options){
		.httpc = o->httpc, .access_key = keep(c, o->access_key), .secret_key = keep(c, o->secret_key), .session_token = keep(c, o->session_token),
		.profile = keep(c, o->profile), .region = keep(c, o->region), .home = keep(c, o->home),
		.imds = keep(c, o->imds ? o->imds : "http://169.254.169.254"), .sts = keep(c, o->sts),
		.container = keep(c, o->container ? o->container : "http://169.254.170.2"),
	};
	for (int i = 0; i < CREDENTIALS_ENVS; i++)
		c->env[i] = (char *)(uintptr_t)keep(c, getenv(names[i]));
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	atomic_store(&c->source, -1);
	return c;
}

static void
wipe(const char *s)
{
	OPENSSL_cleanse((char *)(uintptr_t)s, strlen(s));
}

void
credentials_free(struct credentials **cp)
{
	struct credentials *c = *cp;

	*cp = NULL;
	if (!c)
		return;
	wipe(c->o.secret_key);
	wipe(c->o.session_token);
	wipe(c->env[AWS_SECRET_ACCESS_KEY]);
	wipe(c->env[AWS_SESSION_TOKEN]);
	wipe(c->env[AWS_CONTAINER_AUTHORIZATION_TOKEN]);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->changed);
	arena_fini(&c->arena);
	OPENSSL_cleanse(c, sizeof *c);
	free(c);
}
