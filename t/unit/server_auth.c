/* The file of users, and what checking passwords costs: wrong lines are refused with their number, secrets are not shown, a password is worked
 * out once, guessing is slowed down, and what was remembered does not outlive its file. */
#include "tap.h"
#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>
#include "../../common/clock.h"
#include "../../server/auth.h"

#define BCRYPT "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"
#define SHA256 "$5$abcd$BgCbKzckrgGdFcL/gWllSOkKJCXQV5rwJeTh9xnsJ1D"
#define SHA256R "$5$rounds=1000$salt$CCvcOM6b7TEJDPb37Aec/9UpOg4QhPNAxPpL9ZzjTB7"
#define SHA512 "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG."

static const struct { const char *text; int users; const char *problem; } files[] = {
	{ "ci:" BCRYPT "\n", 1, "" },
	{ "ci:" BCRYPT, 1, "" },
	{ "ci:" SHA256 "\r\nbob:" SHA512 "\r\n", 2, "" },
	{ "# users\n\n  \xc3\xa4:" SHA256R "\n\nzoe:" SHA512 "\n", 2, "" },
	{ "", -1, "no user" },
	{ "# none\n", -1, "no user" },
	{ "ci:" BCRYPT "\nbob\n", -1, "f:2: the line must be name:hash" },
	{ ":" BCRYPT "\n", -1, "f:1: the line must be name:hash" },
	{ "\n\nci:secret\n", -1, "f:3: user ci has a hash that is neither" },
	{ "ci:$apr1$abc$def\n", -1, "neither" },
	{ "ci:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n", -1, "neither" },
	{ "ci:$1$abcd$efgh\n", -1, "neither" },
	{ "ci:$2y$05$tooshort\n", -1, "no whole bcrypt" },
	{ "ci:" BCRYPT "x\n", -1, "no whole bcrypt" },
	{ "ci:$2y$15$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n", -1, "cost" },
	{ "ci:$2y$03$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n", -1, "cost" },
	{ "ci:$2x$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n", -1, "neither" },
	{ "ci:$5$rounds=999999999$salt$CCvcOM6b7TEJDPb37Aec/9UpOg4QhPNAxPpL9ZzjTB7\n", -1, "rounds" },
	{ "ci:$5$rounds=1$salt$CCvcOM6b7TEJDPb37Aec/9UpOg4QhPNAxPpL9ZzjTB7\n", -1, "rounds" },
	{ "ci:$5$salt$short\n", -1, "no whole SHA" },
	{ "ci:$6$salt\n", -1, "no whole SHA" },
	{ "c\ti:" BCRYPT "\n", -1, "control" },
	{ "ci:" BCRYPT "\nbob:" SHA512 "\nci:" SHA256 "\n", -1, "ci is there twice" },
};

static void the_file(void)
{
	char problem[HTPASSWD_PROBLEM];
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		*problem = 0;
		struct htpasswd *h = htpasswd_parse("f", str_c(files[i].text), problem);
		is_int(h != NULL ? (int)htpasswd_users(h) : -1, files[i].users, "a file with \"%.30s\"", files[i].text);
		ok(strstr(problem, files[i].problem) != NULL && (files[i].users > 0) == (*problem == 0), "… %s", problem);
		ok(strstr(problem, "secret") == NULL, "… and no password is shown");
		htpasswd_free(&h);
	}
	struct htpasswd *h = htpasswd_parse("f", (struct str){ "ci:" BCRYPT "\0x\n", sizeof "ci:" BCRYPT "\0x\n" - 1 }, problem);
	ok(h == NULL, "a NUL in a line: %s", problem);
	ok(htpasswd_read("/nonexistent/users", problem) == NULL && strstr(problem, "No such file") != NULL, "no file: %s", problem);

	static const char all[] = "a:" BCRYPT "\nb:" SHA256 "\nc:" SHA512 "\nd:" SHA256R "\n";
	static const struct { const char *user, *password; size_t n; bool right; } words[] = {
		{ "a", "secret", 6, true }, { "b", "secret", 6, true }, { "c", "secret", 6, true }, { "d", "secret", 6, true },
		{ "a", "Secret", 6, false }, { "a", "secre", 5, false }, { "a", "", 0, false }, { "a", "secret\0", 7, false }, { "a", "secret\0x", 8, false },
		{ "e", "secret", 6, false }, { "", "secret", 6, false }, { "A", "secret", 6, false },
	};
	h = htpasswd_parse("f", str_c(all), problem);
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		is_int(htpasswd_verify(h, str_c(words[i].user), (struct str){ words[i].password, words[i].n }), words[i].right, "%s with %s", words[i].user, words[i].password);
	char *large = malloc(100000);
	memset(large, 'x', 100000);
	ok(!htpasswd_verify(h, STR("a"), (struct str){ large, 100000 }), "a password that is far too long");
	free(large);
	htpasswd_free(&h);
}

static unsigned waits;
static void waiting(void *arg) { (void)arg; __atomic_fetch_add(&waits, 1, __ATOMIC_RELAXED); }

static struct auth *a;
static enum auth_answer ask_from(const char *value, const char *address, int64_t now, struct auth_pass *pass)
{
	static _Thread_local char buf[AUTH_VALUE_MAX];
	struct in6_addr client;
	struct auth_pass unused = { 0 };
	inet_pton(AF_INET6, address, &client);
	return auth_check(a, str_c(value), &client, now, waiting, NULL, buf, pass != NULL ? pass : &unused);
}
static enum auth_answer ask(const char *value, int64_t now) { return ask_from(value, "::ffff:10.0.0.1", now, NULL); }

#define RIGHT "Basic Y2k6c2VjcmV0"          /* ci:secret */
static const struct { const char *value; enum auth_answer answer; const char *what; } values[] = {
	{ RIGHT, AUTH_YES, "the right one" },
	{ "basic Y2k6c2VjcmV0", AUTH_YES, "the scheme's case" },
	{ "Basic  Y2k6c2VjcmV0", AUTH_YES, "two blanks" },
	{ "", AUTH_NO, "nothing" },
	{ "Basic", AUTH_NO, "no credentials" },
	{ "Basic ", AUTH_NO, "no credentials but a blank" },
	{ "Basic Y2k", AUTH_NO, "no whole base64" },
	{ "Basic !!!!", AUTH_NO, "no base64" },
	{ "Basic ====", AUTH_NO, "padding alone" },
	{ "Basic Y2k=", AUTH_NO, "no colon" },
	{ "Basic OnNlY3JldA==", AUTH_NO, "no name" },
	{ "Bearer Y2k6c2VjcmV0", AUTH_NO, "another scheme" },
	{ "Basic Y2k6c2VjcmV0, Basic Y2k6c2VjcmV0", AUTH_NO, "two of them" },
};

static char *guess(int i) /* "Basic ci:NNNNN" */
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	static char text[32];
	snprintf(text, sizeof text, "Basic Y2k6%c%c%c%c", alphabet[i % 64], alphabet[i / 64 % 64], alphabet[3], alphabet[5]);
	return text;
}

static void *crowd(void *arg)
{
	(void)arg; /* its clock is the real one, for it waits: so it comes from where nobody has guessed by a clock that may be ahead of that */
	return (void *)(uintptr_t)ask_from(RIGHT, "::ffff:10.0.0.3", clock_mono(), NULL);
}

int main(void)
{
	char problem[HTPASSWD_PROBLEM];
	the_file();
	a = auth_new();
	ok(!auth_wanted(a), "at first nobody is asked");
	struct htpasswd *one = htpasswd_parse("f", str_c("ci:" BCRYPT "\n"), problem), *same = htpasswd_parse("f", str_c("ci:" BCRYPT "\nbob:" SHA256 "\n"), problem),
	                *other = htpasswd_parse("f", str_c("ci:" SHA512 "\n"), problem);
	auth_use(a, one);
	ok(auth_wanted(a), "with users everybody is");
	for (size_t i = 0; i < sizeof values / sizeof *values; i++)
		is_int(ask(values[i].value, 1000), values[i].answer, "%s", values[i].what);
	char large[2000] = "Basic ";
	memset(large + 6, 'A', sizeof large - 7);
	large[sizeof large - 1] = 0;
	is_int(ask(large, 1000), AUTH_NO, "far too much");

	waits = 0;
	is_int(ask(RIGHT, 2000), AUTH_YES, "again");
	is_int(waits, 0, "… costs no work: it is remembered");
	is_int(ask(RIGHT, 2000 + AUTH_REMEMBER_MS), AUTH_YES, "long after");
	is_int(waits, 1, "… it is worked out again");

	int64_t now = 2000000;
	int wrong = 0, limited = 0;
	for (int i = 0; i < 40; i++) {
		enum auth_answer w = ask(guess(i), now);
		wrong += w == AUTH_NO;
		limited += w == AUTH_LIMIT;
	}
	is_int(wrong, AUTH_FAILURES, "so many guesses are looked at");
	is_int(limited, 40 - AUTH_FAILURES, "… the others are not");
	is_int(ask(RIGHT, 2000 + AUTH_REMEMBER_MS + 1), AUTH_YES, "who is known from the same address is served");
	is_int(ask_from(guess(50), "::ffff:10.0.0.2", now, NULL), AUTH_NO, "another address may guess");
	is_int(ask_from(guess(51), "2001:db8::1", now, NULL), AUTH_NO, "one of IPv6, too");
	for (int i = 0; i < 20; i++) {
		char address[40];
		snprintf(address, sizeof address, "2001:db8::%x", i + 2);
		limited = ask_from(guess(60 + i), address, now, NULL) == AUTH_LIMIT;
	}
	ok(limited, "… with all its network for one");
	is_int(ask(guess(100), now + AUTH_FORGIVE_MS + 1), AUTH_NO, "later there is one more guess");
	is_int(ask(guess(101), now + AUTH_FORGIVE_MS + 1), AUTH_LIMIT, "… one");
	waits = 0;
	is_int(ask_from(guess(200), "::ffff:10.0.0.9", now, NULL), AUTH_NO, "the same wrong one");
	for (int i = 0; i < 50; i++)
		wrong = ask_from(guess(200), "::ffff:10.0.0.9", now, NULL) == AUTH_NO;
	ok(wrong && waits == 1, "… over and over is worked out once, and is no guessing");

	struct auth_pass pass = { 0 };
	is_int(ask_from(RIGHT, "::1", now, &pass), AUTH_YES, "a tunnel is opened");
	is_str(pass.user, STR("ci"), "… by ci");
	ok(auth_holds(a, &pass), "… and holds");
	auth_use(a, same);
	ok(auth_holds(a, &pass), "the file is read again, with the same line for him: it still holds");
	auth_use(a, other);
	ok(!auth_holds(a, &pass), "his password has changed: not any more");
	waits = 0;
	is_int(ask_from(RIGHT, "::1", now, NULL), AUTH_YES, "the new one is right as well");
	is_int(waits, 1, "… which was worked out: what was remembered was of the old file");
	struct auth_pass none = { 0 };
	auth_use(a, one);
	ok(!auth_holds(a, &none), "a tunnel that nobody opened with a password never holds");

	pthread_t t[64];
	int yes = 0;
	for (int i = 0; i < 64; i++)
		pthread_create(&t[i], NULL, crowd, NULL);
	for (int i = 0; i < 64; i++) {
		void *r;
		pthread_join(t[i], &r);
		yes += (enum auth_answer)(uintptr_t)r == AUTH_YES;
	}
	is_int(yes, 64, "a crowd with the same password is let in at once");
	auth_use(a, NULL);
	ok(!auth_wanted(a), "no users again: nobody is asked");
	auth_free(&a);
	htpasswd_free(&one);
	htpasswd_free(&same);
	htpasswd_free(&other);
	return done_testing();
}
