/* The CA: made at the first start, or given; and in words what is wrong with one that cannot be used. */
#include "certgen_pki.h"
#include "../../common/fd.h"
#include "../../common/log.h"
#include <openssl/pkcs12.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char problem[256];
static const char *folder;

static const char *
in_folder(const char *name)
{
	static char path[2][128];
	static int i;
	i = !i;
	snprintf(path[i], sizeof(path[i]), "%s/%s", folder, name);
	return path[i];
}

static int
mode_of(const char *name)
{
	struct stat st;
	return stat(in_folder(name), &st) < 0 ? -1 : (int)(st.st_mode & 07777);
}

static struct str
text_of(const char *name)
{
	struct str s;
	return fd_read_file(in_folder(name), 1 << 20, &s) < 0 ? STR_NONE : s;
}

static void
forget(struct str *s)
{
	free((char *)s->p);
	*s = STR_NONE;
}

static void
made(void)
{
	folder = pki_folder();
	char dir[128];
	snprintf(dir, sizeof(dir), "%s/state-ca", folder);
	struct ca_options o = { .dir = dir };
	struct ca *ca = NULL, *again = NULL;
	is_int(ca_prepare(&o, problem), 0, "the first start makes a CA (%s)", problem);
	folder = dir;
	is_int(mode_of("mitmproxy-ca.pem"), 0600, "its key is its owner's alone");
	is_int(mode_of("mitmproxy-ca-cert.pem"), 0644, "its certificate is everybody's");
	is_int(ca_load(&o, &ca, problem), 0, "certgen loads it (%s)", problem);
	X509 *x = ca->cert;
	is_int(X509_check_ca(x), 1, "it is a CA");
	is_int(X509_get_key_usage(x), KU_KEY_CERT_SIGN | KU_CRL_SIGN, "for signing certificates and nothing else");
	is_int(X509_get_pathlen(x), 0, "and no CAs below it");
	ok(X509_get0_subject_key_id(x) != NULL, "with a subject key identifier");
	is_int(sk_X509_num(ca->chain), 0, "it is a root: not sent");
	int64_t now = clock_wall() / 1000;
	ok(ca->not_before <= now - 2 * DAY + 5 && ca->not_before > now - 3 * DAY, "valid since two days ago");
	ok(ca->not_after > now + 3640 * DAY && ca->not_after < now + 3660 * DAY, "for ten years");
	char subject[128];
	X509_NAME_oneline(X509_get_subject_name(x), subject, sizeof(subject));
	ok(strstr(subject, "CN=passsage CA "), "it says whose it is: %s", subject);

	is_int(ca_prepare(&o, problem), 0, "the second start");
	is_int(ca_load(&o, &again, problem), 0, "... loads");
	is_int(X509_cmp(ca->cert, again->cert), 0, "... the same CA");
	ca_free(&again);

	struct str pem, der, p12, cer = text_of("mitmproxy-ca-cert.cer");
	is_int(ca_public(&o, &pem, &der, &p12, problem), 0, "the public half is read");
	is_str(cer, pem, ".cer is the PEM, as mitmproxy has it");
	ok(!str_has(pem, STR("PRIVATE")) && str_starts(pem, STR("-----BEGIN CERTIFICATE-----")), "PEM: a certificate, no key");
	const unsigned char *p = (const unsigned char *)der.p;
	X509 *d = d2i_X509(NULL, &p, (long)der.n);
	ok(d && X509_cmp(d, ca->cert) == 0, "DER: the same certificate");
	X509_free(d);
	p = (const unsigned char *)p12.p;
	PKCS12 *pk = d2i_PKCS12(NULL, &p, (long)p12.n);
	EVP_PKEY *key = NULL;
	STACK_OF(X509) *cas = NULL;
	d = NULL;
	ok(pk && PKCS12_parse(pk, "", &key, &d, &cas) == 1, "PKCS#12: opens with an empty password");
	ok(!key && sk_X509_num(cas) == 1 && X509_cmp(sk_X509_value(cas, 0), ca->cert) == 0, "... the same certificate, no key");
	sk_X509_pop_free(cas, X509_free);
	X509_free(d);
	PKCS12_free(pk);

	unlink(in_folder("mitmproxy-ca-cert.p12"));
	is_int(ca_prepare(&o, problem), 0, "a start");
	is_int(mode_of("mitmproxy-ca-cert.p12"), 0644, "... brings back a public file that was lost");
	chmod(in_folder("mitmproxy-ca.pem"), 0644);
	ca_prepare(&o, problem);
	is_int(mode_of("mitmproxy-ca.pem"), 0600, "... and closes a key file that others could read");

	struct str key_text = text_of("mitmproxy-ca.pem");
	fd_write_file(in_folder("mitmproxy-ca.pem"), str_upto(key_text, key_text.n / 2), 0600);
	ok(ca_prepare(&o, problem) < 0, "half a key file is not overwritten but complained about: %s", problem);
	fd_write_file(in_folder("mitmproxy-ca.pem"), STR(""), 0600);
	ok(ca_prepare(&o, problem) < 0 && strstr(problem, "no private key"), "an empty one too: %s", problem);
	forget(&key_text);
	forget(&pem);
	forget(&der);
	forget(&p12);
	forget(&cer);
	ca_free(&ca);
	pki_remove(dir);
	*strrchr(dir, '/') = 0;
	rmdir(dir);
}

static void
race(void)
{
	folder = pki_folder();
	struct ca_options o = { .dir = folder };
	int failed = 0, status;
	for (int i = 0; i < 8; i++)
		if (fork() == 0)
			_exit(ca_prepare(&o, problem) < 0);
	while (wait(&status) > 0)
		failed += status != 0;
	is_int(failed, 0, "eight starts at once all succeed");
	struct ca *ca = NULL;
	is_int(ca_load(&o, &ca, problem), 0, "... with a whole CA");
	struct str pem = text_of("mitmproxy-ca-cert.pem");
	BIO *b = BIO_new_mem_buf(pem.p, (int)pem.n);
	X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);
	ok(x && ca && X509_cmp(x, ca->cert) == 0, "... and its certificate for clients");
	X509_free(x);
	BIO_free(b);
	forget(&pem);
	ca_free(&ca);
	DIR *d = opendir(folder);
	int files = 0;
	for (struct dirent *e; (e = readdir(d));)
		files += e->d_name[0] != '.';
	closedir(d);
	is_int(files, 4, "... and nothing left over");
	pki_remove(folder);
}

/* Keys and certificates for the bundles. */
static EVP_PKEY *rsa, *p384, *other, *weak, *odd;
static X509 *root, *sub, *subsub, *plain, *expired, *early, *renewed, *weak_ca, *odd_ca, *stale_root, *stale_sub;

static void
bundle(const char *what, struct str text, const char *wrong, int sent, X509 *anchor)
{
	struct ca *ca;
	int r = ca_read(text, STR_NONE, "bundle.pem", &ca, problem);
	if (wrong) {
		ok(r < 0 && !ca && strstr(problem, wrong), "refused: %s: %s", what, problem);
	} else {
		is_int(r, 0, "taken: %s (%s)", what, problem);
		if (ca) {
			is_int(sk_X509_num(ca->chain), sent, "... with %d certificates behind each leaf", sent);
			is_int(X509_cmp(ca->anchor, anchor), 0, "... and this one for clients to trust");
		}
	}
	ca_free(&ca);
	forget(&text);
}

static struct str
join(EVP_PKEY *key, X509 *a, X509 *b, X509 *c)
{
	struct str s = STR_NONE;
	X509 *x[] = { a, b, c };
	for (int i = 0; i < 3; i++)
		if (x[i])
			pki_append(&s, NULL, NULL, x[i]);
	if (key)
		pki_append(&s, key, NULL, NULL);
	return s;
}

static void
bundles(void)
{
	rsa = pki_key("RSA-2048");
	p384 = pki_key("P-384");
	other = pki_key("P-256");
	weak = pki_key("RSA-1024");
	odd = EVP_EC_gen("secp256k1");
	root = pki_cert("root", rsa, NULL, NULL, true, -DAY, 1000 * DAY);
	sub = pki_cert("sub", p384, root, rsa, true, -DAY, 500 * DAY);
	subsub = pki_cert("subsub", other, sub, p384, true, -DAY, 400 * DAY);
	plain = pki_cert("a server", p384, root, rsa, false, -DAY, 500 * DAY);
	expired = pki_cert("root", rsa, NULL, NULL, true, -10 * DAY, -DAY);
	early = pki_cert("root", rsa, NULL, NULL, true, DAY, 10 * DAY);
	renewed = pki_cert("root", rsa, NULL, NULL, true, -DAY, 2000 * DAY);
	weak_ca = pki_cert("root", weak, NULL, NULL, true, -DAY, 2000 * DAY);
	odd_ca = pki_cert("root", odd, NULL, NULL, true, -DAY, 2000 * DAY);
	stale_root = pki_cert("root", other, NULL, NULL, true, -9 * DAY, -DAY);
	stale_sub = pki_cert("sub", p384, stale_root, other, true, -DAY, 500 * DAY);
	bundle("an RSA root", join(rsa, root, NULL, NULL), NULL, 0, root);
	bundle("a root, then its expired twin", join(rsa, renewed, expired, NULL), NULL, 0, renewed);
	bundle("a root after its expired twin", join(rsa, expired, renewed, NULL), NULL, 0, renewed);
	bundle("an intermediate with its root", join(p384, sub, root, NULL), NULL, 1, root);
	bundle("an intermediate behind its root", join(p384, root, sub, NULL), NULL, 1, root);
	bundle("an intermediate alone", join(p384, sub, NULL, NULL), NULL, 1, sub);
	bundle("two intermediates and the root, any order", join(other, root, subsub, sub), NULL, 2, root);
	bundle("two intermediates", join(other, sub, subsub, NULL), NULL, 2, sub);
	bundle("an intermediate and a stranger", join(p384, sub, weak_ca, NULL), NULL, 1, sub);
	bundle("nothing", STR_NONE, "no private key", 0, NULL);
	bundle("no key", join(NULL, root, NULL, NULL), "no private key", 0, NULL);
	bundle("no certificate", join(rsa, NULL, NULL, NULL), "no certificate", 0, NULL);
	bundle("another's key", join(other, root, NULL, NULL), "does not match", 0, NULL);
	bundle("not a CA", join(p384, plain, root, NULL), "not a CA", 0, NULL);
	bundle("expired", join(rsa, expired, NULL, NULL), "has expired", 0, NULL);
	bundle("not yet valid", join(rsa, early, NULL, NULL), "not valid yet", 0, NULL);
	bundle("a weak key", join(weak, weak_ca, NULL, NULL), "1024 bits", 0, NULL);
	bundle("a curve that clients do not take", join(odd, odd_ca, NULL, NULL), "must be RSA or ECDSA", 0, NULL);
	bundle("an expired root above", join(p384, stale_sub, stale_root, NULL), "expired", 0, NULL);
	struct str s = STR_NONE;
	pki_append(&s, rsa, "secret", root);
	bundle("an encrypted key", s, "encrypted", 0, NULL);
	s = join(rsa, root, NULL, NULL);
	((char *)s.p)[s.n / 2] = '!';
	bundle("a broken block", s, "broken PEM", 0, NULL);
	BIO *b = BIO_new(BIO_s_mem()); /* the older forms of keys */
	PEM_write_bio_PrivateKey_traditional(b, rsa, NULL, NULL, 0, NULL, NULL);
	PEM_write_bio_X509(b, root);
	char *p;
	size_t n = (size_t)BIO_get_mem_data(b, &p);
	bundle("an RSA PRIVATE KEY", (struct str){ memcpy(xmalloc(n), p, n), n }, NULL, 0, root);
	(void)BIO_reset(b);
	PEM_write_bio_PrivateKey_traditional(b, p384, EVP_aes_128_cbc(), (unsigned char *)(uintptr_t)"secret", 6, NULL, NULL);
	PEM_write_bio_X509(b, sub);
	n = (size_t)BIO_get_mem_data(b, &p);
	bundle("an encrypted EC PRIVATE KEY", (struct str){ memcpy(xmalloc(n), p, n), n }, "encrypted", 0, NULL);
	(void)BIO_reset(b);
	BIO_puts(b, "Some words before it\n-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n");
	PEM_write_bio_PrivateKey_traditional(b, p384, NULL, NULL, 0, NULL, NULL);
	PEM_write_bio_X509(b, sub);
	n = (size_t)BIO_get_mem_data(b, &p);
	bundle("an EC PRIVATE KEY behind its parameters", (struct str){ memcpy(xmalloc(n), p, n), n }, NULL, 1, sub);
	BIO_free(b);
}

static void
settings(void)
{
	folder = pki_folder();
	struct ca *ca = NULL;
	struct str both = join(p384, sub, root, NULL), key = join(p384, NULL, NULL, NULL), certs = join(NULL, sub, root, NULL), pem, der, p12;
	struct ca_options o = { .dir = folder, .bundle = both.p, .cert = "" };
	is_int(ca_prepare(&o, problem), 0, "an inline bundle (%s)", problem);
	is_int(mode_of(CA_GIVEN_FILE), 0600, "... is kept in a file of its owner");
	is_int(mode_of("mitmproxy-ca.pem"), -1, "... and no CA is made");
	is_int(ca_public(&o, &pem, &der, &p12, problem), 0, "... the public half is there");
	struct str want = join(NULL, root, NULL, NULL);
	is_str(pem, want, "... and is its root");
	forget(&pem);
	forget(&der);
	forget(&p12);
	forget(&want);
	char given_path[128];
	snprintf(given_path, sizeof(given_path), "%s", in_folder(CA_GIVEN_FILE));
	o.bundle = given_path;
	is_int(ca_load(&o, &ca, problem), 0, "... certgen loads it from that file (%s)", problem);
	ca_free(&ca);

	o.bundle = key.p;
	ok(ca_prepare(&o, problem) < 0 && strstr(problem, "no certificate"), "a key alone: %s", problem);
	o.cert = certs.p;
	is_int(ca_prepare(&o, problem), 0, "a key, and its certificate in the other setting (%s)", problem);
	fd_write_file(in_folder("certs.pem"), certs, 0644);
	o.cert = in_folder("certs.pem");
	is_int(ca_prepare(&o, problem), 0, "... and as a file (%s)", problem);
	o.bundle = "";
	ok(ca_prepare(&o, problem) < 0 && strstr(problem, "not its key"), "a certificate alone: %s", problem);
	o.cert = NULL;
	o.bundle = in_folder("nothing.pem");
	ok(ca_prepare(&o, problem) < 0 && strstr(problem, "cannot be read: No such file"), "a file that is not there: %s", problem);
	o.bundle = folder;
	ok(ca_prepare(&o, problem) < 0 && strstr(problem, "cannot be read"), "a folder: %s", problem);
	o.bundle = NULL;
	is_int(ca_prepare(&o, problem), 0, "without the settings a CA is made (%s)", problem);
	o.dir = "/dev/null/ca";
	ok(ca_prepare(&o, problem) < 0 && strstr(problem, "cannot be made"), "a place where nothing can be made: %s", problem);
	forget(&both);
	forget(&key);
	forget(&certs);
	pki_remove(folder);
}

int
main(void)
{
	log_level = LOG_ERROR;
	made();
	race();
	bundles();
	settings();
	EVP_PKEY *keys[] = { rsa, p384, other, weak, odd };
	X509 *certs[] = { root, sub, subsub, plain, expired, early, renewed, weak_ca, odd_ca, stale_root, stale_sub };
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		EVP_PKEY_free(keys[i]);
	for (size_t i = 0; i < sizeof(certs) / sizeof(*certs); i++)
		X509_free(certs[i]);
	return done_testing();
}
