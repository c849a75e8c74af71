/* Settings: each in every source, the sources in their order, and an exact complaint for whatever is wrong. */
#include "tap.h"
#include "../../common/err.h"
#include "../../common/fd.h"
#include "../../common/log.h"
#include "../../common/settings.h"
#include <ctype.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/passsage-settings-XXXXXX", conf_path[80];

/* A start in a process of its own: args, file (NULL: none) and environment as given, nothing else. What it printed is in out. */
static char out[65536];
static int
run_as(bool root, const char *file, const char *const *env, const char *const *args)
{
	int fd[2], status;
	size_t n = 0;
	if (file)
		fd_write_file(conf_path, str_c(file), 0644);
	if (pipe(fd) < 0)
		return -1;
	pid_t pid = fork();
	if (pid == 0) {
		const char *argv[32] = { "passsage" };
		int argc = 1;
		dup2(fd[1], 1);
		dup2(fd[1], 2);
		close(fd[0]);
		clearenv();
		setenv("HOME", "/home/somebody", 1);
		for (; env && *env; env += 2)
			if (env[1])
				setenv(env[0], env[1], 1);
			else
				unsetenv(env[0]);
		if (file) {
			argv[argc++] = "--config";
			argv[argc++] = conf_path;
		}
		for (; args && *args; args++)
			argv[argc++] = *args;
		if (!root && geteuid() == 0 && setuid(65534) < 0)
			_exit(99);
		if (chdir("/usr") < 0)
			_exit(99);
		struct settings_command c = settings_init(argc, (char **)(uintptr_t)argv);
		switch (c.ask) {
		case ASK_HELP: settings_help(stdout); break;
		case ASK_VERSION: printf("version\n"); break;
		case ASK_DUMP: settings_dump(stdout); break;
		case ASK_SAMPLE: settings_sample(stdout); break;
		case ASK_MANUAL: settings_manual(stdout); break;
		case ASK_MARKDOWN: settings_markdown(stdout); break;
		case ASK_RUN: printf("run\n"); break;
		}
		for (int i = 0; i < c.argc; i++)
			printf("word %s\n", c.argv[i]);
		fflush(stdout);
		_exit(0);
	}
	close(fd[1]);
	for (ssize_t r; (r = read(fd[0], out + n, sizeof out - 1 - n)) > 0;)
		n += (size_t)r;
	out[n] = 0;
	close(fd[0]);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
#define LIST(...) (const char *const[]){ __VA_ARGS__, NULL }
static int run(const char *file, const char *const *env, const char *const *args) { return run_as(false, file, env, args); }

/* The line of the dump that begins with "key = ", blanks before # folded. */
static struct str
dumped(const char *key)
{
	static char line[4096];
	size_t k = strlen(key), n = 0;
	for (const char *p = out; p; p = strchr(p, '\n'), p += p != NULL)
		if (!strncmp(p, key, k) && !strncmp(p + k, " = ", 3)) {
			for (p += k + 3; *p && *p != '\n' && n < sizeof line; p++)
				if (!(*p == ' ' && p[1] == ' '))
					line[n++] = *p;
			return (struct str){ line, n };
		}
	return STR("(not there)");
}

static void
test_table(void)
{
	unsigned n;
	const struct setting_info *t = settings_table(&n);
	settings_defaults();
	ok(n > 50, "there is a table");
	for (unsigned i = 0; i < n; i++) {
		bool good = *t[i].field && *t[i].group && *t[i].option && *t[i].key && *t[i].text &&
		            (!strncmp(t[i].env, "PASSSAGE_", 9) || !strcmp(t[i].group, "S3")); /* whose names are those of 0.5, and AWS's */
		const char *dot = strchr(t[i].key, '.');
		good &= !dot || !strchr(dot + 1, '.'); /* the sample has one level of groups */
		for (const char *p = t[i].key; *p; p++)
			good &= islower((unsigned char)*p) || *p == '_' || *p == '.' || isdigit((unsigned char)*p);
		for (const char *p = t[i].env; *p; p++)
			good &= isupper((unsigned char)*p) || *p == '_' || isdigit((unsigned char)*p);
		good &= t[i].text[strlen(t[i].text) - 1] == '.';
		ok(good, "%s has an option, a variable, a key and a sentence", t[i].field);
		for (unsigned k = 0; k < i; k++)
			if (!strcmp(t[i].option, t[k].option) || !strcmp(t[i].env, t[k].env) || !strcmp(t[i].key, t[k].key))
				ok(0, "%s and %s differ in all names", t[i].field, t[k].field);
		char value[512];
		ok(settings_value(t[i].field, value, sizeof value) != NULL, "%s has a default that parses", t[i].field);
	}
	is_int(conf()->port, 8080, "a port");
	is_int(conf()->drain_ms, 30000, "seconds are kept in ms");
	is_int(conf()->commit_ms, 50, "fractions of them too");
	is_int(conf()->chunk_size, 32 << 20, "sizes are kept in bytes");
	is_int(conf()->access_log_headers.n, 13, "a list");
	is_str(str_c(conf()->access_log_headers.v[12]), STR("x-amz-request-id"), "its last member");
	is_int(conf()->bind.n, 0, "an empty list");
	is_str(str_c(conf()->default_policy), STR("Standard"), "a word");
	is_int(conf()->connection_strategy, STRATEGY_LAZY, "a choice");
	ok(!settings_value("nothing", (char[8]){ 0 }, 8), "no such field: NULL");
}

/* A value through each of the sources, and how it shows in the dump. */
static const struct { const char *option, *env, *key, *text, *dump; } good[] = {
	{ "port", "PASSSAGE_PORT", "listen.port", "0", "0" },
	{ "port", "PASSSAGE_PORT", "listen.port", " 65535 ", "65535" },
	{ "health-port", "PASSSAGE_HEALTH_PORT", "health.port", "-1", "-1" },
	{ "bind", "PASSSAGE_HOST", "listen.bind", " 127.0.0.1 ,, ::1,", "[ \"127.0.0.1\", \"::1\" ]" },
	{ "mode", "PASSSAGE_MODE", "listen.mode", "Regular", "\"regular\"" },
	{ "default-policy", "PASSSAGE_DEFAULT_POLICY", "policy.default", "noREFRESH", "\"NoRefresh\"" },
	{ "connection-strategy", "PASSSAGE_CONNECTION_STRATEGY", "upstream.strategy", "eager", "\"eager\"" },
	{ "cache-status", "PASSSAGE_CACHE_STATUS", "policy.cache_status", "all", "\"all\"" },
	{ "verbose", "PASSSAGE_VERBOSE", "log.verbose", "YES", "true" },
	{ "allow-policy-header", "PASSSAGE_ALLOW_POLICY_HEADER", "policy.allow_header", "0", "false" }, /* was on by any text (behaviour.md 1.1) */
	{ "allow-policy-header", "PASSSAGE_ALLOW_POLICY_HEADER", "policy.allow_header", "off", "false" },
	{ "upstream-http2", "PASSSAGE_UPSTREAM_HTTP2", "upstream.http2", "no", "false" },
	{ "drain-seconds", "PASSSAGE_DRAIN_SECONDS", "processes.drain_seconds", "500ms", "0.5" },
	{ "drain-seconds", "PASSSAGE_DRAIN_SECONDS", "processes.drain_seconds", "1.5", "1.5" },
	{ "drain-seconds", "PASSSAGE_DRAIN_SECONDS", "processes.drain_seconds", "1d", "86400" },
	{ "drain-seconds", "PASSSAGE_DRAIN_SECONDS", "processes.drain_seconds", "0.0001", "0.001" }, /* 0 may mean no limit */
	{ "upstream-read-timeout", "PASSSAGE_UPSTREAM_READ_TIMEOUT", "upstream.read", "5m", "300" },
	{ "tunnel-idle-timeout", "PASSSAGE_TUNNEL_IDLE_TIMEOUT", "limits.tunnel_idle", "2h", "7200" },
	{ "cache-size", "PASSSAGE_CACHE_SIZE", "cache.size", "5000000000", "\"5000000000\"" },
	{ "cache-size", "PASSSAGE_CACHE_SIZE", "cache.size", "1.5GiB", "\"1536M\"" },
	{ "cache-size", "PASSSAGE_CACHE_SIZE", "cache.size", "10 kb", "\"10K\"" },
	{ "cache-size", "PASSSAGE_CACHE_SIZE", "cache.size", "1e", "\"1E\"" },
	{ "metadata-size", "PASSSAGE_METADATA_SIZE", "cache.metadata_size", "1t", "\"1T\"" },
	{ "state-dir", "PASSSAGE_STATE_DIR", "state_dir", "~/x/", "\"/home/somebody/x\"" },
	{ "state-dir", "PASSSAGE_STATE_DIR", "state_dir", "rel", "\"/usr/rel\"" },
	{ "state-dir", "PASSSAGE_STATE_DIR", "state_dir", "/", "\"/\"" },
	{ "access-log-file", "PASSSAGE_ACCESS_LOG_FILE", "log.access_file", "-", "\"-\"" },
	{ "access-log-headers", "PASSSAGE_ACCESS_LOG_HEADERS", "log.access_headers", "Via,ETag", "[ \"via\", \"etag\" ]" },
	{ "purge-from", "PASSSAGE_PURGE_FROM", "cache.purge_from", " 10.1.0.0/16,, ::1 ", "[ \"10.1.0.0/16\", \"::1\" ]" },
	{ "user", "PASSSAGE_USER", "processes.user", "a \"b\" \\", "\"a \\\"b\\\" \\\\\"" },
};

static const char *
file_with(const char *key, const char *value)
{
	static char text[1024];
	const char *dot = strchr(key, '.');
	if (dot)
		snprintf(text, sizeof text, "# a comment\n%.*s: {\n\t%s = %s;\n};\n", (int)(dot - key), key, dot + 1, value);
	else
		snprintf(text, sizeof text, "# a comment\n\n%s = %s;\n", key, value);
	return text;
}

static void
test_sources(void)
{
	char option[300], quoted[200], want[400];
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		const char *o = good[i].option, *e = good[i].env, *k = good[i].key, *v = good[i].text;
		snprintf(option, sizeof option, "--%s=%s", o, v);
		run(NULL, NULL, LIST("--dump-settings", option));
		snprintf(want, sizeof want, "%s # from option --%s", good[i].dump, o);
		is_str(dumped(k), str_c(want), "%s as an option", option);
		run(NULL, LIST(e, v), LIST("--dump-settings"));
		snprintf(want, sizeof want, "%s # from environment %s", good[i].dump, e);
		is_str(dumped(k), str_c(want), "%s=%s in the environment", e, v);
		size_t n = 0;
		for (const char *p = v; *p; p++) {
			if (*p == '"' || *p == '\\')
				quoted[n + 1] = *p, quoted[n++] = '\\', n++;
			else
				quoted[n++] = *p;
		}
		quoted[n] = 0;
		snprintf(option, sizeof option, "\"%s\"", quoted);
		run(file_with(k, option), NULL, LIST("--dump-settings"));
		snprintf(want, sizeof want, "%s # from file %s:3", good[i].dump, conf_path);
		is_str(dumped(k), str_c(want), "%s = %s in the file", k, option);
	}
	/* The types that libconfig has. */
	static const struct { const char *key, *value, *dump; } typed[] = {
		{ "listen.port", "81", "81" },
		{ "health.port", "-1", "-1" },
		{ "cache.size", "5000000000", "\"5000000000\"" },
		{ "cache.size", "5000000000L", "\"5000000000\"" },
		{ "cache.size", "0x100000000", "\"4G\"" },
		{ "processes.drain_seconds", "0.25", "0.25" },
		{ "processes.drain_seconds", "2", "2" },
		{ "log.verbose", "true", "true" },
		{ "log.verbose", "1", "true" },
		{ "listen.bind", "[ \"::1\", \"127.0.0.1\" ]", "[ \"::1\", \"127.0.0.1\" ]" },
		{ "listen.bind", "( \"::1\" )", "[ \"::1\" ]" },
		{ "listen.bind", "[]", "[ ]" },
		{ "onboarding.no_proxy", "\"@include 5000000000 # no\" /* 5000000000 \" */", NULL },
	};
	for (size_t i = 0; i < sizeof typed / sizeof *typed; i++) {
		int status = run(file_with(typed[i].key, typed[i].value), NULL, LIST("--dump-settings"));
		if (!typed[i].dump) {
			is_int(status, 64, "text in quotes and comments is left alone");
			ok(strstr(out, "= \"@include 5000000000 # no\": must be host names"), "and shown as it is");
			continue;
		}
		snprintf(want, sizeof want, "%s # from file %s:3", typed[i].dump, conf_path);
		is_str(dumped(typed[i].key), str_c(want), "%s = %s", typed[i].key, typed[i].value);
	}
	/* The order. */
	const char *file = "listen: { port = 1; };";
	run(file, LIST("PASSSAGE_PORT", "2"), LIST("--dump-settings", "-p", "3"));
	is_str(dumped("listen.port"), STR("3 # from option -p"), "the command line wins over the environment");
	run(file, LIST("PASSSAGE_PORT", "2"), LIST("--dump-settings"));
	is_str(dumped("listen.port"), STR("2 # from environment PASSSAGE_PORT"), "the environment wins over the file");
	run(file, LIST("PASSSAGE_PORT", ""), LIST("--dump-settings"));
	ok(str_starts(dumped("listen.port"), STR("1 # from file ")), "the file wins over the default; an empty variable is an unset one");
	run(NULL, NULL, LIST("--dump-settings"));
	is_str(dumped("listen.port"), STR("8080 # default"), "the default");
	is_str(dumped("state_dir"), STR("\"/home/somebody/.passsage\" # default"), "the state directory of a user");
	if (geteuid() == 0) {
		run_as(true, NULL, LIST("HOME", NULL), LIST("--dump-settings"));
		is_str(dumped("state_dir"), STR("\"/var/lib/passsage\" # default"), "and of root, who needs no HOME");
	}
	fd_write_file(conf_path, str_c(file), 0644);
	run(NULL, LIST("PASSSAGE_CONFIG", conf_path), LIST("--dump-settings"));
	ok(str_starts(dumped("listen.port"), STR("1 # from file ")), "PASSSAGE_CONFIG names the file");
	char other[100];
	snprintf(other, sizeof other, "%s/none", dir);
	is_int(run(file, LIST("PASSSAGE_CONFIG", other), LIST("--dump-settings")), 0, "--config wins over it");
}

static const struct { const char *args[8]; const char *contains; } lines[] = {
	{ { "--dump-settings", "-p80" }, "listen.port = 80 " },
	{ { "--dump-settings", "--port", "80" }, "listen.port = 80 " },
	{ { "--dump-settings", "--health-port", "-1" }, "\nhealth.port = -1 " },
	{ { "--dump-settings", "-p", "1", "-p2" }, "listen.port = 2 " },
	{ { "--dump-settings", "-v" }, "\nlog.verbose = true " },
	{ { "--dump-settings", "-Xvp80" }, "listen.port = 80 " },
	{ { "--dump-settings", "-Xvp80" }, "\nprocesses.single = true " },
	{ { "--dump-settings", "--verbose" }, "\nlog.verbose = true " },
	{ { "--dump-settings", "--verbose", "--no-verbose" }, "\nlog.verbose = false " },
	{ { "--dump-settings", "--verbose=false" }, "\nlog.verbose = false " },
	{ { "--dump-settings", "--no-upstream-http2" }, "\nupstream.http2 = false " },
	{ { "--dump-settings", "--no-proxy-extra", "a,b" }, "\nonboarding.no_proxy = \"a,b\" " },
	{ { "--dump-settings", "--bind=" }, "\nlisten.bind = [ ] " },
	{ { "--dump-settings", "stat", "--nonsense", "x" }, "\nword stat\nword --nonsense\nword x\n" },
	{ { "--dump-settings", "stat", "--port", "81" }, "listen.port = 81 " },
	{ { "stat", "-a", "--port", "81", "b", "--no-verbose", "--state-dir=/x", "-p" }, "run\nword stat\nword -a\nword b\nword -p\n" },
	{ { "stat", "--", "--port", "81" }, "run\nword stat\nword --\nword --port\nword 81\n" },
	{ { "stat", "--help", "--no-port", "--no", "--", "-" }, "run\nword stat\nword --help\nword --no-port\nword --no\nword --\nword -\n" },
	{ { "stat", "--mitm-ca", "/no/such/file" }, "run\nword stat\n" },
	{ { "-v", "stat", "-h" }, "run\nword stat\nword -h\n" },
	{ { "--", "-v" }, "run\nword -v\n" },
	{ { "-" }, "run\nword -\n" },
	{ { "--port", "1" }, "run\n" },
	{ { "-h", "--nonsense" }, "Usage: passsage" },
	{ { "-V" }, "version\n" },
	{ { "--version" }, "version\n" },
	{ { "--help" }, "PASSSAGE_STATE_DIR" },
	{ { "-vh" }, "Usage: passsage" },
};

/* What is wrong, and the complaint to the letter. $ is the file's path. */
static const struct { const char *args[6], *env[5], *file, *complaint; } wrong[] = {
	{ { "--port", "99999" }, { NULL }, NULL, "passsage: --port 99999: must be 0 to 65535\n" },
	{ { "-p99999" }, { NULL }, NULL, "passsage: -p 99999: must be 0 to 65535\n" },
	{ { "--port=" }, { NULL }, NULL, "passsage: --port \"\": must be 0 to 65535\n" },
	{ { "--port=-1" }, { NULL }, NULL, "passsage: --port -1: must be 0 to 65535\n" },
	{ { "--port=8080x" }, { NULL }, NULL, "passsage: --port 8080x: must be 0 to 65535\n" },
	{ { "--port=18446744073709551617" }, { NULL }, NULL, "passsage: --port 18446744073709551617: must be 0 to 65535\n" },
	{ { NULL }, { "PASSSAGE_PORT", "99999" }, NULL, "passsage: PASSSAGE_PORT=99999: must be 0 to 65535 (setting listen.port)\n" },
	{ { NULL }, { NULL }, "\nlisten: {\n port = 99999; };", "passsage: $:3: listen.port = 99999: must be 0 to 65535\n" },
	{ { NULL }, { NULL }, "listen: {\n port = 9999999999; };", "passsage: $:2: listen.port = 9999999999: must be 0 to 65535\n" },
	{ { NULL }, { NULL }, "listen: { port = 1.5; };", "passsage: $:1: listen.port = 1.5: must be 0 to 65535\n" },
	{ { NULL }, { NULL }, "listen: { port = true; };", "passsage: $:1: listen.port = true: must be 0 to 65535\n" },
	{ { NULL }, { NULL }, "listen: { port = [ 1 ]; };", "passsage: $:1: listen.port = [ ... ]: must be 0 to 65535\n" },
	{ { NULL }, { NULL }, "listen: { bind = [ 1 ]; };", "passsage: $:1: listen.bind = [ ... ]: must be a list of strings, such as [ \"a\", \"b\" ]\n" },
	{ { NULL }, { NULL }, "listen: { prot = 1; };", "passsage: $:1: listen.prot: there is no such setting; did you mean listen.port?\n" },
	{ { NULL }, { NULL }, "\n\nelephants = { grey = true; };", "passsage: $:3: elephants: there is no such setting; see --help\n" },
	{ { NULL }, { NULL }, "listen = 8080;", "passsage: $:1: listen: must be a group of settings: listen: { ... };\n" },
	{ { NULL }, { NULL }, "state_dir: { a = 1; };", "passsage: $:1: state_dir = { ... }: must be a string in quotes\n" },
	{ { NULL }, { NULL }, "processes: { user = 5; };", "passsage: $:1: processes.user = 5: must be a string in quotes\n" },
	{ { NULL }, { NULL }, "health: { debug_token = 12345; };", "passsage: $:1: health.debug_token = ***: must be a string in quotes\n" },
	{ { NULL }, { NULL }, "log: { verbose = \"perhaps\"; };",
		"passsage: $:1: log.verbose = perhaps: must be true or false (or yes, no, on, off, 1, 0)\n" },
	{ { NULL }, { NULL }, "listen: {\n port 80; };", "passsage: $:2: syntax error\n" },
	{ { NULL }, { NULL }, "listen: { port = 1; };\nlisten: { mode = 1; };", "passsage: $:2: duplicate setting name\n" },
	{ { NULL }, { NULL }, "# @include \"x\"\n@include \"/\"\n", "passsage: $:2: @include is not supported: settings are in one file\n" },
	{ { "--config", "/nonexistent" }, { NULL }, NULL, "passsage: /nonexistent: cannot be read: No such file or directory\n" },
	{ { "--config" }, { NULL }, NULL, "passsage: --config: needs the path of a file\n" },
	{ { "--prot", "1" }, { NULL }, NULL, "passsage: --prot: there is no such option; did you mean --port?\n" },
	{ { "--cache-sise=5" }, { NULL }, NULL, "passsage: --cache-sise: there is no such option; did you mean --cache-size?\n" },
	{ { "--hlep" }, { NULL }, NULL, "passsage: --hlep: there is no such option; did you mean --help?\n" },
	{ { "--xyzzyxyzzy" }, { NULL }, NULL, "passsage: --xyzzyxyzzy: there is no such option; see --help\n" },
	{ { "--no-port" }, { NULL }, NULL, "passsage: --no-port: there is no such option; did you mean --port?\n" },
	{ { "--help=yes" }, { NULL }, NULL, "passsage: --help: takes no value\n" },
	{ { "--no-verbose=1" }, { NULL }, NULL, "passsage: --no-verbose: takes no value\n" },
	{ { "-q" }, { NULL }, NULL, "passsage: -q: there is no such option; see --help\n" },
	{ { "--port" }, { NULL }, NULL, "passsage: --port: needs a value: 0 to 65535\n" },
	{ { "-m" }, { NULL }, NULL, "passsage: -m: needs a value: regular\n" },
	{ { "--mode", "transparrent" }, { NULL }, NULL, "passsage: --mode transparrent: must be regular\n" },
	{ { "--connection-strategy=maybe" }, { NULL }, NULL, "passsage: --connection-strategy maybe: must be lazy or eager\n" },
	{ { "--default-policy=Sometimes" }, { NULL }, NULL,
		"passsage: --default-policy Sometimes: must be NoCache, NoRefresh, Standard, StaleIfError or AlwaysUpstream\n" },
	{ { "--chunk-size=1" }, { NULL }, NULL, "passsage: --chunk-size 1: must be 64K to 1G bytes, such as 1048576, 512K or 1.5G\n" },
	{ { "--cache-size=1.K" }, { NULL }, NULL, "passsage: --cache-size 1.K: must be 0 to 1E bytes, such as 1048576, 512K or 1.5G\n" },
	{ { "--cache-size=1.2.3" }, { NULL }, NULL, "passsage: --cache-size 1.2.3: must be 0 to 1E bytes, such as 1048576, 512K or 1.5G\n" },
	{ { "--cache-size=99999999E" }, { NULL }, NULL, "passsage: --cache-size 99999999E: must be 0 to 1E bytes, such as 1048576, 512K or 1.5G\n" },
	{ { "--client-head-timeout=0" }, { NULL }, NULL,
		"passsage: --client-head-timeout 0: must be 0.1 to 3600 seconds, such as 30, 0.5, 500ms, 5m or 1h\n" },
	{ { "--client-head-timeout=5 parsecs" }, { NULL }, NULL,
		"passsage: --client-head-timeout 5 parsecs: must be 0.1 to 3600 seconds, such as 30, 0.5, 500ms, 5m or 1h\n" },
	{ { "--user=a\nb" }, { NULL }, NULL, "passsage: --user a\\x0ab: must be text without control characters\n" },
	{ { "--debug-token=\x1b[1m" }, { NULL }, NULL, "passsage: --debug-token ***: must be text without control characters\n" },
	{ { "--cache-low-watermark=96" }, { NULL }, NULL,
		"passsage: --cache-low-watermark 96: must be below cache.high_watermark, which is 95\n" },
	{ { "--cache-high-watermark=85" }, { "PASSSAGE_CACHE_LOW_WATERMARK", "85" }, NULL,
		"passsage: --cache-high-watermark 85: must be above cache.low_watermark, which is 85\n" },
	{ { NULL }, { "PASSSAGE_HEALTH_PORT", "8080" }, NULL,
		"passsage: PASSSAGE_HEALTH_PORT=8080: must be another port than listen.port, which is 8080 (setting health.port)\n" },
	{ { "--upstream-ca", "/nonexistent" }, { NULL }, NULL,
		"passsage: --upstream-ca /nonexistent: must be a file that can be read: No such file or directory\n" },
	{ { NULL }, { "PASSSAGE_MITM_CA", "/nonexistent" }, NULL,
		"passsage: PASSSAGE_MITM_CA=/nonexistent: must be a file that can be read: No such file or directory (setting tls.ca)\n" },
	{ { "--mitm-ca-cert", "/etc/passwd" }, { NULL }, NULL, "passsage: --mitm-ca-cert /etc/passwd: needs tls.ca beside it, which has the key\n" },
	{ { "--public-proxy-url", "ftp://x" }, { NULL }, NULL, "passsage: --public-proxy-url ftp://x: must begin with http:// or https://\n" },
	{ { "--public-proxy-url", "http://$(x)" }, { NULL }, NULL, "passsage: --public-proxy-url http://$(x): must be a URL\n" },
	{ { "--no-proxy-extra", "a;b" }, { NULL }, NULL, "passsage: --no-proxy-extra a;b: must be host names, addresses and commas\n" },
	{ { "--purge-from", "10.0.0.0/8,here" }, { NULL }, NULL,
		"passsage: --purge-from 10.0.0.0/8,here: must be addresses and networks such as 10.1.0.0/16, 192.0.2.7, 2001:db8::/32; here is none\n" },
	{ { "--purge-from", "10.1.2.3/8" }, { NULL }, NULL,
		"passsage: --purge-from 10.1.2.3/8: must be addresses and networks such as 10.1.0.0/16, 192.0.2.7, 2001:db8::/32; 10.1.2.3/8 is none (are bits behind the mask 0?)\n" },
	{ { "--state-dir", "~/x" }, { "HOME", NULL }, NULL, "passsage: --state-dir ~/x: must be a path without ~, for HOME is not set\n" },
	{ { "-v" }, { "HOME", NULL }, NULL,
		"passsage: state_dir: HOME is not set, so say where: --state-dir, PASSSAGE_STATE_DIR, or state_dir in the file\n" },
	{ { "--port=x", "--workers=y" }, { "PASSSAGE_MAX_FILLS", "z" }, NULL,
		"passsage: PASSSAGE_MAX_FILLS=z: must be 16 to 16384 (setting limits.fills)\n"
		"passsage: --port x: must be 0 to 65535\npasssage: --workers y: must be 0 to 64\n" },
};

static void
test_command_line(void)
{
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		int status = run(NULL, NULL, lines[i].args);
		char all[300] = "";
		for (const char *const *p = lines[i].args; *p; p++)
			snprintf(all + strlen(all), sizeof all - strlen(all), " %s", *p);
		if (!ok(status == 0 && strstr(out, lines[i].contains), "passsage%s", all))
			note("status %d, got %s", status, out);
	}
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		char want[1024];
		size_t n = 0;
		for (const char *p = wrong[i].complaint; *p; p++)
			if (wrong[i].file && *p == '$')
				n += (size_t)snprintf(want + n, sizeof want - n, "%s", conf_path);
			else
				want[n++] = *p;
		int status = run(wrong[i].file, wrong[i].env, wrong[i].args);
		want[n] = 0;
		is_str(str_c(out), str_c(want), "complaint: %.*s", (int)strcspn(want, "\n"), want);
		is_int(status, 64, "and exit status 64");
	}
	is_int(run("listen: { prot = 1; };", LIST("PASSSAGE_PORT", "x"), LIST("--help")), 0, "--help is to be had when all else is wrong");
}

static void
test_secrets(void)
{
	static const char pem[] = "\n  -----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n";
	run(NULL, LIST("PASSSAGE_DEBUG_TOKEN", "hunter2", "PASSSAGE_MITM_CA", pem), LIST("--dump-settings"));
	is_str(dumped("health.debug_token"), STR("\"***\" # from environment PASSSAGE_DEBUG_TOKEN"), "a secret is not shown");
	is_str(dumped("tls.ca"), STR("\"***\" # from environment PASSSAGE_MITM_CA"), "nor an inline key");
	ok(!strstr(out, "hunter2") && !strstr(out, "MIGH"), "nowhere");
	run(NULL, LIST("PASSSAGE_MITM_CA", "/etc/passwd"), LIST("--dump-settings"));
	is_str(dumped("tls.ca"), STR("\"/etc/passwd\" # from environment PASSSAGE_MITM_CA"), "where a key lies is shown");
}

static void
test_texts(void)
{
	run(NULL, NULL, LIST("--help"));
	size_t longest = 0, n;
	for (const char *p = out; *p; p += n + (p[n] == '\n')) {
		n = strcspn(p, "\n");
		longest = n > longest ? n : longest;
	}
	ok(longest <= 100, "--help is at most 100 columns wide (%zu)", longest);
	unsigned count;
	const struct setting_info *t = settings_table(&count);
	for (unsigned i = 0; i < count; i++)
		if (!strstr(out, t[i].option) || !strstr(out, t[i].env) || !strstr(out, t[i].key))
			ok(0, "--help has %s", t[i].field);
	ok(strstr(out, "\n      --user TEXT                   User to become when started as root (nobody when there is no\n"
		"                                    such user). (PASSSAGE_USER, processes.user; default: passsage)\n"), "each with its names and default");
	ok(strstr(out, " default:\n") == NULL && strstr(out, "x-cache, x-cache-lookup, x-amz-request-id)\n"), "defaults are readable");

	static char sample[65536];
	run(NULL, NULL, LIST("--dump-settings"));
	char *defaults = strdup(out);
	run(NULL, NULL, LIST("--print-sample"));
	snprintf(sample, sizeof sample, "%s", out);
	is_int(run(sample, NULL, LIST("--dump-settings")), 0, "the sample is a valid file");
	ok(strcmp(out, defaults) == 0, "that changes nothing");
	/* All of it uncommented: "#name =" becomes "name =". */
	for (char *p = sample; (p = strchr(p, '#')); p++)
		if (p[1] != ' ')
			*p = ' ';
	run(sample, NULL, LIST("--dump-settings"));
	bool same = true;
	for (unsigned i = 0; i < count; i++) {
		struct str line = dumped(t[i].key);
		struct str value = { line.p, line.n };
		char *mark = memmem(line.p, line.n, " # from file ", 13);
		value.n = mark ? (size_t)(mark - line.p) : 0;
		const char *at = defaults;
		size_t k = strlen(t[i].key);
		while (at && !(!strncmp(at, t[i].key, k) && at[k] == ' '))
			at = strchr(at, '\n'), at += at != NULL;
		if (!at || !mark || strncmp(at + k + 3, value.p, value.n)) {
			note("%s = %.*s", t[i].key, STRP(line));
			same = false;
		}
	}
	ok(same, "uncommented it sets every setting to its default");
	free(defaults);
	run(NULL, NULL, LIST("--print-manual"));
	for (unsigned i = 0; i < count; i++)
		if (!strstr(out, t[i].env))
			ok(0, "the manual has %s", t[i].field);
	ok(strstr(out, ".It Fl p Ar PORT , Fl -port Ar PORT\n"), "the manual lists options in mdoc");
	run(NULL, NULL, LIST("--print-markdown"));
	for (unsigned i = 0; i < count; i++)
		if (!strstr(out, t[i].env))
			ok(0, "the README's table has %s", t[i].field);
	ok(strstr(out, "| `-p`, `--port` | `PASSSAGE_PORT` | `listen.port` | `8080` | Port"), "the README has a table");
}

static _Atomic bool done;
static void *
reader(void *arg)
{
	char buf[100];
	while (!done) {
		const struct settings *s = conf();
		if (*s->default_policy == 0 || !settings_value("no_proxy_extra", buf, sizeof buf))
			return (void *)1;
	}
	return NULL;
}

static void
test_reload(void)
{
	const char *argv[] = { "passsage", "--config", conf_path, "--verbose", NULL };
	fd_write_file(conf_path, STR("listen: { port = 1000; };\nonboarding: { no_proxy = \"a\"; };"), 0644);
	setenv("PASSSAGE_DEFAULT_POLICY", "NoCache", 1);
	settings_init(4, (char **)(uintptr_t)argv);
	unsetenv("PASSSAGE_DEFAULT_POLICY"); /* what it was at the start is remembered */
	const struct settings *first = conf();
	is_str(str_c(first->no_proxy_extra), STR("a"), "the file is read");
	is_int(settings_reload(), 0, "a reload without a change");
	ok(conf() == first, "keeps the struct");

	fd_write_file(conf_path, STR("listen: { port = 2000; };\nonboarding: { no_proxy = \"b\"; };\nlog: { verbose = false; };"), 0644);
	is_int(settings_reload(), 0, "a reload with one");
	is_str(str_c(conf()->no_proxy_extra), STR("b"), "applies a LIVE setting");
	is_int(conf()->port, 1000, "keeps a RESTART setting");
	ok(conf()->verbose, "the command line still wins");
	is_str(str_c(conf()->default_policy), STR("NoCache"), "the environment of the start still holds");
	is_str(str_c(first->no_proxy_extra), STR("a"), "the old struct can still be read");
	const struct settings *second = conf();

	static const char *const bad[] = {
		"onboarding: { no_proxy = \"c\"; }; cache: { high_watermark = 3; };",
		"onboarding: { no_proxy = \"c\"; }; listen: { port = 70000; };",
		"onboarding: { no_proxy = ", "nonsense = 1;",
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		fd_write_file(conf_path, str_c(bad[i]), 0644);
		is_int(settings_reload(), -ERR_SETTING, "a wrong file is refused");
		ok(conf() == second, "and nothing changes");
	}
	unlink(conf_path);
	is_int(settings_reload(), -ERR_SETTING, "so is a file that has gone");

	pthread_t t[2];
	void *failed, *any = NULL;
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, reader, NULL);
	for (int i = 0; i < 50; i++) {
		fd_write_file(conf_path, i % 2 ? STR("onboarding: { no_proxy = \"x\"; };") : STR("onboarding: { no_proxy = \"y\"; };"), 0644);
		settings_reload();
	}
	done = true;
	for (int i = 0; i < 2; i++) {
		pthread_join(t[i], &failed);
		any = failed ? failed : any;
	}
	ok(!any, "threads read while it is reloaded");
}

int
main(void)
{
	if (!mkdtemp(dir))
		return 1;
	chmod(dir, 0755);
	snprintf(conf_path, sizeof conf_path, "%s/passsage.conf", dir);
	log_open("/dev/null");
	test_table();
	test_command_line();
	test_sources();
	test_secrets();
	test_texts();
	test_reload();
	unlink(conf_path);
	rmdir(dir);
	return done_testing();
}
