/* ca_files.c - where the CA lives: made at the first start, read from a file or a setting, and its public half written for clients. */
#include "ca.h"
#include "leaf.h"
#include "../common/clock.h"
#include "../common/err.h"
#include "../common/fd.h"
#include "../common/log.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DAY 86400
#define CA_DAYS 3650
#define CA_DAYS_BACK 2  /* clients' clocks go wrong, and their users' time zones too */

static bool
given(const char *text)
{
	return text && *text;
}

static bool
is_inline(const char *text)
{
	return text && strncmp(text + strspn(text, " \t\r\n"), "-----BEGIN", 10) == 0;
}

static void
wipe(struct str *s)
{
	if (s->p)
		OPENSSL_cleanse((char *)s->p, s->n);
	free((char *)s->p);
	*s = STR_NONE;
}

static void
path_in(char path[PATH_MAX], const struct ca_options *o, const char *name, const char *suffix)
{
	snprintf(path, PATH_MAX, "%s/%s%s", o->dir, name, suffix);
}

/* Started as root, the files must be readable by the user that certgen will be: the owner of the folder. */
static void
give_to_owner(const char *path, const char *folder)
{
	struct stat st;
	if (geteuid() == 0 && stat(folder, &st) == 0 && st.st_uid != 0 && chown(path, st.st_uid, st.st_gid) < 0)
		log_warn("%s: chown: %s", path, strerror(errno));
}

static int
write_file(const struct ca_options *o, const char *path, struct str text, mode_t mode, char problem[256])
{
	int r = fd_write_file(path, text, mode);
	if (r < 0)
		return ca_problem(problem, r, "%.180s cannot be written: %s", path, r == -ERR_FULL ? err_text(r) : strerror(errno));
	give_to_owner(path, o->dir);
	return 0;
}

/* The text of a setting: itself, or the file's. malloc'ed. */
static int
read_setting(const char *value, struct str *text, char problem[256])
{
	int r;
	if (is_inline(value)) {
		char *copy = strdup(value);
		*text = str_c(copy);
		return copy ? 0 : ca_problem(problem, -ERR_NO_MEMORY, "out of memory");
	}
	r = fd_read_file(value, CA_FILE_MAX, text);
	if (r == -ERR_FULL)
		return ca_problem(problem, -ERR_SETTING, "%.180s is too large to be a CA", value);
	return r < 0 ? ca_problem(problem, -ERR_SETTING, "%.180s cannot be read: %s", value, strerror(errno)) : 0;
}

static struct str
bio_text(BIO *bio)
{
	char *p;
	long n = BIO_get_mem_data(bio, &p);
	char *copy = n > 0 ? malloc((size_t)n + 1) : NULL;
	if (!copy)
		return STR_NONE;
	memcpy(copy, p, (size_t)n);
	copy[n] = 0;
	return (struct str){ copy, (size_t)n };
}

/* A name of its own, so that two installations' CAs can stand in one trust store, and nothing about the machine. */
static bool
set_ca_name(X509 *x)
{
	unsigned char id[4];
	char cn[32];
	X509_NAME *n = X509_get_subject_name(x);
	if (RAND_bytes(id, sizeof(id)) != 1)
		return false;
	snprintf(cn, sizeof(cn), "passsage CA %02x%02x%02x%02x", id[0], id[1], id[2], id[3]);
	return X509_NAME_add_entry_by_NID(n, NID_organizationName, MBSTRING_UTF8, (const unsigned char *)"passsage", -1, -1, 0) &&
	    X509_NAME_add_entry_by_NID(n, NID_commonName, MBSTRING_UTF8, (unsigned char *)cn, -1, -1, 0) && X509_set_issuer_name(x, n);
}

/* A new CA as one PEM text: key and certificate. */
static struct str
make_ca(void)
{
	static const int usage[] = { 5 /* keyCertSign */, 6 /* cRLSign */ };
	int64_t now = clock_wall() / 1000;
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	BIO *bio = BIO_new(BIO_s_secmem());
	struct str text = STR_NONE;
	if (key && x && bio && x509_begin(x, key, now - CA_DAYS_BACK * DAY, now + CA_DAYS * DAY) && set_ca_name(x) &&
	    x509_add_constraints(x, true, 0) && x509_add_usage(x, usage, 2) && X509_sign(x, key, EVP_sha256()) > 0 &&
	    PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) && PEM_write_bio_X509(bio, x))
		text = bio_text(bio);
	BIO_free(bio);
	X509_free(x);
	EVP_PKEY_free(key);
	return text;
}

/* Makes <dir>/mitmproxy-ca.pem unless it is there. Of two that start at once one wins, and both use what it made. */
static int
make_key_file(const struct ca_options *o, char problem[256])
{
	char path[PATH_MAX], temp[PATH_MAX], suffix[32];
	path_in(path, o, CA_KEY_FILE, "");
	if (access(path, F_OK) == 0)
		return 0;
	snprintf(suffix, sizeof(suffix), ".new-%d", (int)getpid());
	path_in(temp, o, CA_KEY_FILE, suffix);
	struct str text = make_ca();
	if (text.n == 0)
		return ca_problem(problem, -ERR_SYSTEM, "OpenSSL could not make a CA key");
	int r = write_file(o, temp, text, 0600, problem);
	wipe(&text);
	if (r < 0)
		return r;
	/* never over another's: a link fails when the name is taken; where there are no hard links, a rename that does the same */
	if (link(temp, path) < 0 && errno != EEXIST && renameat2(AT_FDCWD, temp, AT_FDCWD, path, RENAME_NOREPLACE) < 0 && access(path, F_OK) < 0)
		r = ca_problem(problem, -ERR_SYSTEM, "%.180s cannot be made: %s", path, strerror(errno));
	else
		log_info("a new CA: %s; its certificate for clients is %s.pem beside it", path, CA_CERT_FILE);
	unlink(temp);
	int fd = open(o->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		fsync(fd); /* clients will trust it from now on: it must not be another after a power cut */
	fd_close(&fd);
	return r;
}

static struct str
to_p12(X509 *x)
{
	/* Certificate only. The seal keeps nothing secret with an empty password, but some importers want one, and know only SHA-1's */
	PKCS12 *p12 = PKCS12_create(NULL, NULL, NULL, x, NULL, -1, -1, 0, -1, 0);
	BIO *bio = BIO_new(BIO_s_mem());
	struct str text = STR_NONE;
	if (p12 && bio && PKCS12_set_mac(p12, "", 0, NULL, 0, 2048, EVP_sha1()) && i2d_PKCS12_bio(bio, p12))
		text = bio_text(bio);
	BIO_free(bio);
	PKCS12_free(p12);
	return text;
}

static bool
same_file(const char *path, struct str text)
{
	struct str there;
	if (fd_read_file(path, CA_FILE_MAX, &there) < 0)
		return false;
	bool same = str_eq(there, text);
	free((char *)there.p);
	return same;
}

/* The certificate for clients, as .pem, .cer (PEM too, as mitmproxy has it) and .p12; .pem last: if it is right, all are. */
static int
write_public(const struct ca_options *o, X509 *anchor, char problem[256])
{
	char path[3][PATH_MAX];
	BIO *bio = BIO_new(BIO_s_mem());
	struct str pem = bio && PEM_write_bio_X509(bio, anchor) ? bio_text(bio) : STR_NONE, p12 = to_p12(anchor);
	int r = pem.n && p12.n ? 0 : ca_problem(problem, -ERR_SYSTEM, "OpenSSL could not write the CA's certificate");
	path_in(path[0], o, CA_CERT_FILE, ".p12");
	path_in(path[1], o, CA_CERT_FILE, ".cer");
	path_in(path[2], o, CA_CERT_FILE, ".pem");
	bool right = r == 0 && access(path[0], R_OK) == 0 && same_file(path[1], pem) && same_file(path[2], pem);
	for (int i = 0; i < 3 && r == 0 && !right; i++)
		r = write_file(o, path[i], i == 0 ? p12 : pem, 0644, problem);
	BIO_free(bio);
	free((char *)pem.p);
	free((char *)p12.p);
	return r;
}

static void
warn_if_readable(const struct ca_options *o, const char *bundle)
{
	char own[PATH_MAX];
	struct stat st;
	path_in(own, o, CA_KEY_FILE, "");
	if (is_inline(bundle))
		return;
	const char *path = given(bundle) ? bundle : own;
	if (stat(path, &st) < 0 || !(st.st_mode & 077) || !S_ISREG(st.st_mode))
		return;
	if (path != own || chmod(path, 0600) < 0)
		log_warn("%s holds the CA's private key and can be read by others than its owner: chmod 600 it", path);
}

static int
prepare(const struct ca_options *o, char problem[256])
{
	char path[PATH_MAX], parent[PATH_MAX];
	struct stat st;
	struct ca *ca = NULL;
	bool fresh = stat(o->dir, &st) < 0;
	int r = path_mkdirs(o->dir, 0755);
	if (r < 0)
		return ca_problem(problem, r, "%.180s cannot be made: %s", o->dir, strerror(errno));
	snprintf(parent, sizeof(parent), "%s/..", o->dir);
	if (fresh)
		give_to_owner(o->dir, parent);
	if (!given(o->bundle) && !given(o->cert))
		r = make_key_file(o, problem);
	if (r == 0)
		r = ca_load(o, &ca, problem);
	if (r == 0 && is_inline(o->bundle)) {
		path_in(path, o, CA_GIVEN_FILE, "");
		r = write_file(o, path, str_c(o->bundle), 0600, problem);
	}
	if (r == 0)
		r = write_public(o, ca->anchor, problem);
	if (r == 0)
		warn_if_readable(o, o->bundle);
	ca_free(&ca);
	return r;
}

int
ca_prepare(const struct ca_options *o, char problem[256])
{
	struct answer { int r; char problem[256]; } a = { .r = -ERR_SYSTEM };
	int pipes[2], status;
	problem[0] = 0;
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return ca_problem(problem, -ERR_SYSTEM, "pipe: %s", strerror(errno));
	pid_t pid = fork();
	if (pid < 0) {
		close(pipes[0]);
		close(pipes[1]);
		return ca_problem(problem, -ERR_SYSTEM, "fork: %s", strerror(errno));
	}
	if (pid == 0) {
		a.r = prepare(o, a.problem);
		_exit(fd_write_all(pipes[1], &a, sizeof(a)) < 0); /* less than PIPE_BUF: whole or not at all */
	}
	close(pipes[1]);
	ssize_t n;
	while ((n = read(pipes[0], &a, sizeof(a))) < 0 && errno == EINTR)
		;
	close(pipes[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (n != sizeof(a))
		return ca_problem(problem, -ERR_SYSTEM, "the process that was to check the CA died");
	memcpy(problem, a.problem, sizeof(a.problem));
	return a.r;
}

int
ca_load(const struct ca_options *o, struct ca **ca, char problem[256])
{
	struct str keyed = STR_NONE, certs = STR_NONE;
	char own[PATH_MAX], name[160];
	const char *bundle = given(o->bundle) ? o->bundle : own;
	*ca = NULL;
	problem[0] = 0;
	path_in(own, o, CA_KEY_FILE, "");
	snprintf(name, sizeof(name), "%.150s", is_inline(bundle) ? "the inline CA" : bundle);
	if (!given(o->bundle) && given(o->cert) && access(own, F_OK) < 0)
		return ca_problem(problem, -ERR_SETTING, "a CA certificate was given, but not its key: set mitm-ca (PASSSAGE_MITM_CA) too");
	int r = read_setting(bundle, &keyed, problem);
	if (r == 0 && given(o->cert))
		r = read_setting(o->cert, &certs, problem);
	if (r == 0)
		r = ca_read(keyed, certs, name, ca, problem);
	wipe(&keyed);
	wipe(&certs);
	return r;
}

int
ca_public(const struct ca_options *o, struct str *pem, struct str *der, struct str *p12, char problem[256])
{
	char path[PATH_MAX];
	*pem = *der = *p12 = STR_NONE;
	problem[0] = 0;
	path_in(path, o, CA_CERT_FILE, ".pem");
	int r = read_setting(path, pem, problem);
	if (r == 0) {
		path_in(path, o, CA_CERT_FILE, ".p12");
		r = read_setting(path, p12, problem);
	}
	BIO *in = r == 0 ? BIO_new_mem_buf(pem->p, (int)pem->n) : NULL, *out = BIO_new(BIO_s_mem());
	X509 *x = in ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;
	if (x && out && i2d_X509_bio(out, x))
		*der = bio_text(out);
	else if (r == 0)
		r = ca_problem(problem, -ERR_CORRUPT, "%s/%s.pem is no certificate", o->dir, CA_CERT_FILE);
	X509_free(x);
	BIO_free(in);
	BIO_free(out);
	ERR_clear_error();
	if (r < 0) {
		free((char *)pem->p);
		free((char *)p12->p);
		*pem = *p12 = STR_NONE;
	}
	return r;
}
