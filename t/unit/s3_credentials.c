/* Who we are for S3: each source, their order, renewal before the end, and that a source which fails makes nobody somebody else. */
#include "../../common/clock.h"
#include "../../common/err.h"
#include "../../common/fd.h"
#include "../../common/httpdate.h"
#include "../../s3/credentials.h"
#include "s3_http.h"
#include "s3_store.h"
#include "tap.h"

static struct httpc *engine;
static struct keys got;
static char problem[256];

/* ---- metadata services: one for all */

static struct {
	pthread_mutex_t lock;
	char key[64];          /* the access key of the next answer */
	int64_t seconds;       /* until it ends; 0: no Expiration */
	int status;            /* 0: well */
	const char *garbage;
	char last_body[4096], last_authorization[256];
	atomic_int asked, gate; /* gate 1: answers wait */
} cloud = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void
json(struct answer *a)
{
	char ends[33], expires[80] = "";

	if (cloud.seconds) {
		iso8601_format(clock_wall() + cloud.seconds * 1000, ends);
		snprintf(expires, sizeof expires, ",\"Expiration\":\"%s\"", ends);
	}
	snprintf(a->body, sizeof a->body, "{\"Code\":\"Success\",\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"cloud-secret\",\"Token\":\"cloud-token\"%s}",
		cloud.key, expires);
}

static void
xml(struct answer *a)
{
	char ends[33];

	iso8601_format(clock_wall() + cloud.seconds * 1000, ends);
	snprintf(a->body, sizeof a->body, "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult>"
		"<Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>cloud-secret</SecretAccessKey><SessionToken>cloud-token</SessionToken>"
		"<Expiration>%.19sZ</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>", cloud.key, ends);
}

static void
serve(const struct heard *h, struct answer *a)
{
	char value[256];
	bool keys = true;

	while (atomic_load(&cloud.gate))
		usleep(1000);
	pthread_mutex_lock(&cloud.lock);
	heard_field(h, "Authorization", cloud.last_authorization, sizeof cloud.last_authorization);
	if (strcmp(h->path, "/latest/api/token") == 0) {
		keys = false;
		if (strcmp(h->method, "PUT") != 0 || strcmp(heard_field(h, "X-aws-ec2-metadata-token-ttl-seconds", value, sizeof value), "21600") != 0)
			a->status = 400;
		snprintf(a->body, sizeof a->body, "imds-token");
	} else if (strncmp(h->path, "/latest/", 8) == 0) {
		if (strcmp(heard_field(h, "X-aws-ec2-metadata-token", value, sizeof value), "imds-token") != 0)
			a->status = 401;
		else if (strcmp(h->path, "/latest/meta-data/iam/security-credentials/") == 0) {
			keys = false;
			snprintf(a->body, sizeof a->body, "the role\nanother");
		} else if (strcmp(h->path, "/latest/meta-data/iam/security-credentials/the%20role") == 0)
			json(a);
		else
			a->status = 404;
	} else if (strcmp(h->path, "/container") == 0 || strcmp(h->path, "/v2/credentials/id") == 0) {
		json(a);
	} else if (strcmp(h->path, "/") == 0 && strcmp(h->method, "POST") == 0) {
		snprintf(cloud.last_body, sizeof cloud.last_body, "%s", h->body);
		xml(a);
	} else {
		a->status = 404;
	}
	if (keys) {
		atomic_fetch_add(&cloud.asked, 1);
		if (cloud.status)
			a->status = cloud.status;
		if (cloud.garbage)
			snprintf(a->body, sizeof a->body, "%s", cloud.garbage);
	}
	pthread_mutex_unlock(&cloud.lock);
}

static void
cloud_has(const char *key, int64_t seconds, int status, const char *garbage)
{
	pthread_mutex_lock(&cloud.lock);
	snprintf(cloud.key, sizeof cloud.key, "%s", key);
	cloud.seconds = seconds;
	cloud.status = status;
	cloud.garbage = garbage;
	atomic_store(&cloud.asked, 0);
	pthread_mutex_unlock(&cloud.lock);
}

/* ---- */

static const char *const variables[] = { "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE",
	"AWS_CONFIG_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
	"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_EC2_METADATA_DISABLED" };

static void
environment_clear(void)
{
	for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
		unsetenv(variables[i]);
}

static const char *
path_of(const char *name)
{
	static char path[4][256];
	static unsigned n;
	char *p = path[n++ % 4];

	snprintf(p, sizeof path[0], "%s/%s", store_dir, name);
	return p;
}

static void
file_has(const char *name, const char *text)
{
	if (fd_write_file(path_of(name), str_c(text), 0600) < 0)
		exit(1);
}

static struct credentials *
looking(const char *imds)
{
	return credentials_new(&(struct credentials_options){ .httpc = engine, .region = "us-west-2", .home = store_dir, .imds = imds, .sts = http.base,
		.container = http.base });
}

/* What a new look around finds: the source, and the access key. */
static void
found(struct credentials *c, const char *source, const char *key, const char *what)
{
	memset(&got, 0, sizeof got);
	int r = credentials_get(c, &got, problem);
	is_int(r, key ? 0 : -ERR_S3_DENIED, "%s", what);
	if (key) {
		is_str(str_c(got.access_key), str_c(key), "%s: the key", what);
		is_str(str_c(credentials_source(c)), str_c(source), "%s: where from", what);
	} else if (!str_has(str_c(problem), str_c(source))) {
		ok(false, "%s: says why", what);
		note("%s", problem);
	}
}

static void
look(const char *source, const char *key, const char *what)
{
	struct credentials *c = looking(http.base);

	found(c, source, key, what);
	credentials_free(&c);
}

static void
test_order(void)
{
	cloud_has("ec2", 3600, 0, NULL);
	look("EC2", "ec2", "nothing but the machine's role");
	is_str(str_c(got.secret_key), STR("cloud-secret"), "its secret");
	is_str(str_c(got.session_token), STR("cloud-token"), "its token");
	cloud_has("container", 3600, 0, NULL);
	setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/id", 1);
	look("container", "container", "a container's before the machine's");
	file_has("creds", "[default]\naws_access_key_id = file\naws_secret_access_key = file-secret\n");
	setenv("AWS_SHARED_CREDENTIALS_FILE", path_of("creds"), 1);
	look("credentials file", "file", "a file before these");
	is_str(str_c(got.session_token), STR(""), "without a token");
	cloud_has("web", 3600, 0, NULL);
	file_has("token", "header.pay+load.sig\n");
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", path_of("token"), 1);
	setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/x", 1);
	look("web identity", "web", "a web identity before that");
	setenv("AWS_ACCESS_KEY_ID", "env", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "env-secret", 1);
	setenv("AWS_SESSION_TOKEN", "env-token", 1);
	look("environment", "env", "the environment before that");
	is_str(str_c(got.session_token), STR("env-token"), "with its token");
	struct credentials *c = credentials_new(&(struct credentials_options){ .httpc = engine, .access_key = "set", .secret_key = "set-secret" });
	found(c, "settings", "set", "settings before all");
	is_str(str_c(got.session_token), STR(""), "and not with the environment's token");
	credentials_free(&c);
	environment_clear();
	setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
	look("no credentials", NULL, "nothing anywhere");
	environment_clear();
	look("EC2", "web", "again when it is not switched off");
}

static void
test_files(void)
{
	static const struct { const char *what, *profile, *credentials, *config, *key, *why; } files[] = {
		{ "the default profile", NULL, "# x\n\n[other]\naws_access_key_id=o\naws_secret_access_key=os\n[default]\r\naws_access_key_id = a=b\r\n"
		  "  nested = x\naws_secret_access_key\t=\t s \r\n", "", "a=b", NULL },
		{ "a profile", "other", "[default]\naws_access_key_id=d\naws_secret_access_key=ds\n[ other ]\nAWS_ACCESS_KEY_ID=o\naws_secret_access_key=os\n"
		  "aws_session_token=t", "", "o", NULL },
		{ "of the configuration file", "other", "[default]\naws_access_key_id=d\naws_secret_access_key=ds\n", "[other]\naws_access_key_id=no\naws_secret_access_key=no\n"
		  "[profile other]\naws_access_key_id=c\naws_secret_access_key=cs\n", "c", NULL },
		{ "default of the configuration file", NULL, "", "[default]\nregion=x\naws_access_key_id=c\naws_secret_access_key=cs\n", "c", NULL },
		{ "a profile that is nowhere", "none", "[default]\naws_access_key_id=d\naws_secret_access_key=ds\n", "", NULL, "profile none" },
		{ "half a key", NULL, "[default]\naws_access_key_id=d\n", "", NULL, "only one of" },
		{ "an impossible key", NULL, "[default]\naws_access_key_id=d d\naws_secret_access_key=s\n", "", NULL, "or no key" },
	};

	cloud_has("ec2", 3600, 0, NULL);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		file_has("credentials", files[i].credentials);
		file_has("config", files[i].config);
		setenv("AWS_SHARED_CREDENTIALS_FILE", path_of("credentials"), 1);
		setenv("AWS_CONFIG_FILE", path_of("config"), 1);
		if (files[i].profile)
			setenv("AWS_PROFILE", files[i].profile, 1);
		look(files[i].key ? "credentials file" : files[i].why, files[i].key, files[i].what);
		environment_clear();
	}
	path_mkdirs(path_of(".aws"), 0700);
	file_has(".aws/credentials", "[default]\naws_access_key_id=home\naws_secret_access_key=hs\n");
	look("credentials file", "home", "~/.aws/credentials");
	unlink(path_of(".aws/credentials"));
	look("EC2", "ec2", "no file at all is no failure");
	setenv("AWS_ACCESS_KEY_ID", "lonely", 1);
	look("missing", NULL, "half of the environment's keys");
	environment_clear();
}

static void
test_web_identity(void)
{
	cloud_has("web", 3600, 0, NULL);
	file_has("token", "a.b+c/d=\n");
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", path_of("token"), 1);
	setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/x", 1);
	look("web identity", "web", "a web identity");
	is_str(str_c(cloud.last_body), STR("Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx"
		"&RoleSessionName=passsage&WebIdentityToken=a.b%2Bc%2Fd%3D"), "is what STS is asked for");
	cloud_has("web", 3600, 400, "<ErrorResponse><Error><Code>ExpiredTokenException</Code><Message>Token expired</Message></Error></ErrorResponse>");
	look("ExpiredTokenException: Token expired", NULL, "STS says no, and nobody else is asked");
	cloud_has("web", 3600, 500, "what");
	look("STS answered 500", NULL, "STS fails");
	cloud_has("web", 3600, 0, "<x/>");
	look("without keys", NULL, "STS answers something else");
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent/token", 1);
	look("/nonexistent/token", NULL, "no token");
	environment_clear();
}

static void
test_container(void)
{
	char url[128];

	cloud_has("container", 0, 0, NULL);
	snprintf(url, sizeof url, "%s/container", http.base);
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer one", 1);
	look("container", "container", "a container's full URI");
	is_str(str_c(cloud.last_authorization), STR("Bearer one"), "with its token");
	file_has("token", "Bearer two\n");
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path_of("token"), 1);
	look("container", "container", "a token in a file");
	is_str(str_c(cloud.last_authorization), STR("Bearer two"), "wins");
	cloud_has("container", 0, 403, NULL);
	look("it answered 403", NULL, "it says no");
	cloud_has("container", 0, 0, "{\"Code\":\"NoRole\"}");
	look("it says NoRole", NULL, "it has none");
	cloud_has("container", 0, 0, "{\"AccessKeyId\":\"a b\",\"SecretAccessKey\":\"s\"}");
	look("without keys", NULL, "a key that cannot be");
	cloud_has("container", 0, 0, "{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"s\",\"Expiration\":\"soon\"}");
	look("without keys", NULL, "an end that is no time");
	cloud_has("container", 0, 0, "[");
	look("no JSON", NULL, "it answers something else");
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/x", 1);
	look("must be https", NULL, "a token is not sent in the clear to anybody");
	environment_clear();
	struct credentials *c = looking("http://127.0.0.1:1");
	found(c, "no credentials", NULL, "no EC2 here");
	int64_t start = clock_mono();
	found(c, "no credentials", NULL, "which is remembered");
	ok(clock_mono() - start < 500, "for a while");
	credentials_free(&c);
}

static void *
get_main(void *arg)
{
	struct keys k;
	char why[256];
	return (void *)(intptr_t)(credentials_get(arg, &k, why) == 0 && strcmp(k.access_key, "first") == 0);
}

static void
test_renewal(void)
{
	struct credentials *c = looking(http.base);
	pthread_t renewer, t[4], first[4];
	void *well;
	int good = 0;

	cloud_has("first", 200, 0, NULL); /* ends within CREDENTIALS_AHEAD: to be renewed, but good */
	atomic_store(&cloud.gate, 1);
	for (int i = 0; i < 4; i++)
		pthread_create(&first[i], NULL, get_main, c);
	usleep(20000);
	atomic_store(&cloud.gate, 0);
	for (int i = 0; i < 4; i++, good += well != NULL)
		pthread_join(first[i], &well);
	is_int(good, 4, "several threads wait for the first look");
	is_int(cloud.asked, 1, "which one makes");
	found(c, "EC2", "first", "what ends soon is good until then");
	is_int(cloud.asked, 1, "and not asked for again at once");
	cloud_has("second", 3600, 0, NULL);
	credentials_doubt(c);
	atomic_store(&cloud.gate, 1);
	pthread_create(&renewer, NULL, get_main, c);
	usleep(20000);
	good = 0;
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, get_main, c);
	for (int i = 0; i < 4; i++, good += well != NULL)
		pthread_join(t[i], &well);
	is_int(good, 4, "while one renews, the others go on with what they have");
	atomic_store(&cloud.gate, 0);
	pthread_join(renewer, &well);
	found(c, "EC2", "second", "then they have the new ones");
	is_int(cloud.asked, 1, "asked for once");
	cloud_has("third", 3600, 0, NULL);
	credentials_doubt(c);
	found(c, "EC2", "second", "a doubt just after a doubt changes nothing");
	is_int(cloud.asked, 0, "nor asks anybody");
	credentials_free(&c);

	c = looking(http.base);
	cloud_has("short", 1, 0, NULL);
	found(c, "EC2", "short", "one that ends in a second");
	cloud_has("long", 3600, 500, NULL);
	usleep(1100 * 1000);
	credentials_doubt(c);
	found(c, "it answered 500", NULL, "is not used after its end");
	credentials_free(&c);
	is_int(c == NULL, 1, "free forgets");

	file_has("creds", "[default]\naws_access_key_id=old\naws_secret_access_key=s\n");
	setenv("AWS_SHARED_CREDENTIALS_FILE", path_of("creds"), 1);
	c = looking(http.base);
	found(c, "credentials file", "old", "keys of a file");
	file_has("creds", "[default]\naws_access_key_id=new\naws_secret_access_key=s\n");
	found(c, "credentials file", "old", "are kept");
	credentials_doubt(c);
	found(c, "credentials file", "new", "until they are doubted");
	file_has("creds", "[default]\n");
	found(c, "credentials file", "new", "and are good");
	credentials_free(&c);
	environment_clear();
}

int
main(void)
{
	environment_clear();
	store_make();
	http_serve(serve);
	engine = httpc_start(&(struct httpc_options){ .max_connections = 16 });
	test_order();
	test_files();
	test_web_identity();
	test_container();
	test_renewal();
	httpc_stop(&engine);
	return done_testing();
}
