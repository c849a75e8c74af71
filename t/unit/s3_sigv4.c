/* Signatures are those that AWS publishes: the examples of the S3 user guide, and of its suite of test vectors. */
#include "../../s3/sigv4.h"
#include "tap.h"

#define GUIDE "AKIA" "IOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "s3", 1369353600 /* 20130524T000000Z */
#define SUITE "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "service", 1440938160      /* 20150830T123600Z */
#define BUCKET { "Host", "examplebucket.s3.amazonaws.com" }, { "x-amz-content-sha256", SIGV4_EMPTY }
#define EXAMPLE { "Host", "example.amazonaws.com" }
#define PUT_HASH "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"

static const struct vector {
	const char *what, *access, *secret, *service;
	int64_t now;
	const char *method, *path, *query, *payload;
	struct { const char *name, *value; } fields[6];
	const char *names, *signature;
} vectors[] = {
	{ "S3: GET with Range", GUIDE, "GET", "/test.txt", "", SIGV4_EMPTY, { BUCKET, { "Range", "bytes=0-9" } },
	  "host;range;x-amz-content-sha256;x-amz-date", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41" },
	{ "S3: PUT, a path to be encoded", GUIDE, "PUT", "/test%24file.text", "", PUT_HASH,
	  { { "Host", "examplebucket.s3.amazonaws.com" }, { "Date", "Fri, 24 May 2013 00:00:00 GMT" }, { "x-amz-content-sha256", PUT_HASH },
	    { "x-amz-storage-class", "REDUCED_REDUNDANCY" } },
	  "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd" },
	{ "S3: a parameter without value", GUIDE, "GET", "/", "lifecycle", SIGV4_EMPTY, { BUCKET },
	  "host;x-amz-content-sha256;x-amz-date", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543" },
	{ "S3: a list, parameters out of order", GUIDE, "GET", "/", "prefix=J&max-keys=2", SIGV4_EMPTY, { BUCKET },
	  "host;x-amz-content-sha256;x-amz-date", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7" },
	{ "suite: get-vanilla", SUITE, "GET", "/", "", SIGV4_EMPTY, { EXAMPLE },
	  "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31" },
	{ "suite: post-vanilla", SUITE, "POST", "/", "", SIGV4_EMPTY, { EXAMPLE },
	  "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b" },
	{ "suite: get-vanilla-query-order-key-case", SUITE, "GET", "/", "Param2=value2&Param1=value1", SIGV4_EMPTY, { EXAMPLE },
	  "host;x-amz-date", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500" },
	{ "suite: get-vanilla-empty-query-key", SUITE, "GET", "/", "Param1=value1", SIGV4_EMPTY, { EXAMPLE },
	  "host;x-amz-date", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb" },
	{ "suite: get-header-key-duplicate", SUITE, "GET", "/", "", SIGV4_EMPTY,
	  { EXAMPLE, { "My-Header1", "value2" }, { "My-Header1", "value2" }, { "My-Header1", "value1" } },
	  "host;my-header1;x-amz-date", "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea" },
	{ "suite: get-header-value-trim", SUITE, "GET", "/", "", SIGV4_EMPTY,
	  { EXAMPLE, { "My-Header1", " value1" }, { "My-Header2", " \"a   b   c\"" } },
	  "host;my-header1;my-header2;x-amz-date", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736" },
};

static void
test_vectors(void)
{
	for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
		const struct vector *v = &vectors[i];
		struct sigv4 s = { str_c(v->access), str_c(v->secret), STR_NONE, STR("us-east-1"), str_c(v->service), v->now };
		struct arena a;
		struct headers h;
		arena_init(&a);
		headers_init(&h, &a);
		for (size_t f = 0; f < 6 && v->fields[f].name; f++)
			headers_add(&h, str_c(v->fields[f].name), str_c(v->fields[f].value));
		sigv4_sign(&s, str_c(v->method), str_c(v->path), str_c(v->query), str_c(v->payload), &h);
		struct str want = arena_printf(&a, "AWS4-HMAC-SHA256 Credential=%s/%.8s/us-east-1/%s/aws4_request, SignedHeaders=%s, Signature=%s", v->access,
			headers_get(&h, STR("X-Amz-Date")).p, v->service, v->names, v->signature);
		is_str(headers_get(&h, STR("Authorization")), want, "%s", v->what);
		arena_fini(&a);
	}
}

static void
test_token(void)
{
	struct sigv4 s = { STR("AKIDEXAMPLE"), STR("secret"), STR("the-token"), STR("us-east-1"), STR("s3"), 1440938160 };
	struct arena a;
	struct headers h;

	arena_init(&a);
	headers_init(&h, &a);
	headers_add(&h, STR("Host"), STR("example.com"));
	sigv4_sign(&s, STR("GET"), STR("/"), STR_NONE, STR(SIGV4_EMPTY), &h);
	is_str(headers_get(&h, STR("X-Amz-Security-Token")), STR("the-token"), "a session token is sent");
	ok(str_has(headers_get(&h, STR("Authorization")), STR("SignedHeaders=host;x-amz-date;x-amz-security-token,")), "and signed");
	is_str(headers_get(&h, STR("X-Amz-Date")), STR("20150830T123600Z"), "the date is of the time that was given");
	arena_fini(&a);
}

static void
test_encode(void)
{
	struct arena a;

	arena_init(&a);
	is_str(sigv4_encode(&a, STR("data/0/a b+c%~\xc3\xa9?#"), true), STR("data/0/a%20b%2Bc%25~%C3%A9%3F%23"), "a path is encoded as S3 wants it, slashes stay");
	is_str(sigv4_encode(&a, STR("a/b=c&d"), false), STR("a%2Fb%3Dc%26d"), "a parameter's slashes go");
	is_str(sigv4_encode(&a, (struct str){ "a\0b", 3 }, false), STR("a%00b"), "so does a NUL");
	arena_fini(&a);
}

int
main(void)
{
	test_vectors();
	test_token();
	test_encode();
	return done_testing();
}
