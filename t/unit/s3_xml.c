/* What S3 answers is read as it is meant; what is no answer of S3's, or too much, is refused and never more than that. */
#include "../../common/err.h"
#include "../../common/httpdate.h"
#include "../../s3/s3xml.h"
#include "tap.h"

#define HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define LIST HEAD "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name><Prefix>data/</Prefix>"
#define ONE "<Contents><Key>data/a</Key><LastModified>2026-01-31T12:00:00.000Z</LastModified><ETag>&quot;x&quot;</ETag><Size>42</Size></Contents>"

static const struct {
	const char *what, *body, *code, *message, *region; /* code NULL: no error document */
} errors[] = {
	{ "an error", HEAD "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Key>k</Key></Error>", "NoSuchKey",
	  "The specified key does not exist.", "" },
	{ "with a namespace, a prefix and a region", "<s:Error xmlns:s='urn:x'><s:Code> AuthorizationHeaderMalformed </s:Code><s:Region>eu-west-1</s:Region></s:Error>",
	  "AuthorizationHeaderMalformed", "", "eu-west-1" },
	{ "of STS", "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code>"
	  "<Message>no</Message></Error></ErrorResponse>", "InvalidIdentityToken", "no", "" },
	{ "entities, comments, CDATA", "<Error><!-- <Code>X</Code> --><Code>A&amp;B&#x41;</Code><Message><![CDATA[<b>]]></Message></Error>", "A&BA", "<b>", "" },
	{ "a message of several lines is one", "<Error><Code>A</Code><Message>one\ntwo</Message></Error>", "A", "one two", "" },
	{ "nothing", "", NULL, NULL, NULL },
	{ "no XML", "Bad Gateway", NULL, NULL, NULL },
	{ "HTML", "<html><head><title>404</title></head><body><p>Not here<br></body></html>", NULL, NULL, NULL },
	{ "an error that is cut", "<Error><Code>NoSuchKey</Code><Message>The", NULL, NULL, NULL },
	{ "a list", LIST "</ListBucketResult>", NULL, NULL, NULL },
	{ "a document type", "<!DOCTYPE Error [<!ENTITY x \"NoSuchKey\">]><Error><Code>&x;</Code></Error>", NULL, NULL, NULL },
	{ "an external entity", "<!DOCTYPE Error SYSTEM \"file:///etc/passwd\"><Error><Code>x</Code></Error>", NULL, NULL, NULL },
	{ "an entity that is none of the five", "<Error><Code>&nbsp;</Code></Error>", NULL, NULL, NULL },
	{ "a control character", "<Error><Code>A\x01</Code></Error>", NULL, NULL, NULL },
	{ "an end that ends nothing", "<Error><Code>A</Code></Error></Error>", NULL, NULL, NULL },
};

static void
test_errors(void)
{
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
		struct s3xml_error e;
		bool is = s3xml_error(str_c(errors[i].body), &e);
		ok(is == (errors[i].code != NULL), "%s is %san error of S3's", errors[i].what, errors[i].code ? "" : "not ");
		is_str(str_c(e.code), str_c(errors[i].code), "%s: its code", errors[i].what);
		if (errors[i].code) {
			is_str(str_c(e.message), str_c(errors[i].message), "%s: its message", errors[i].what);
			is_str(str_c(e.region), str_c(errors[i].region), "%s: its region", errors[i].what);
		}
	}
}

static void
test_bounds(void)
{
	struct s3xml_error e;
	struct arena a;
	char *text = xmalloc(S3XML_TEXT + 1);
	struct str deep = STR_NONE, tail = STR("<Code>A</Code>");

	arena_init(&a);
	memset(text, 'x', S3XML_TEXT);
	text[S3XML_TEXT] = '\0';
	ok(s3xml_error(arena_printf(&a, "<Error><Code>A</Code><Message>%s</Message></Error>", text), &e), "a long text is read");
	is_int(strlen(e.message), sizeof e.message - 1, "and cut");
	ok(!s3xml_error(arena_printf(&a, "<Error><Code>A</Code><Message>%sx</Message></Error>", text), &e), "one that is too long is refused");
	memset(text, 0, S3XML_TEXT);
	for (unsigned i = 0; i < sizeof e.message / 2; i++)
		snprintf(text + 2 * i, 3, "\xc3\xa9");
	ok(s3xml_error(arena_printf(&a, "<Error><Code>A</Code><Message>x%s</Message></Error>", text), &e) && strlen(e.message) == sizeof e.message - 1,
		"a message is not cut within a character");
	ok(s3xml_error(arena_printf(&a, "<Error><Code>A</Code><Message>%s</Message></Error>", text), &e) && strlen(e.message) == sizeof e.message - 2,
		"wherever that would be");
	for (unsigned i = 0; i < S3XML_DEPTH - 2; i++) {
		deep = arena_printf(&a, "%.*s<a>", STRP(deep));
		tail = arena_printf(&a, "%.*s</a>", STRP(tail));
	}
	deep = arena_printf(&a, "%.*s<Error>%.*s", STRP(deep), 14, tail.p);
	struct str whole = arena_printf(&a, "%.*s</Error>%s", STRP(deep), tail.p + 14);
	ok(s3xml_error(whole, &e), "as deep as may be");
	ok(!s3xml_error(arena_printf(&a, "<a>%.*s</a>", STRP(whole)), &e), "deeper is refused");
	free(text);
	arena_fini(&a);
}

static void
test_value(void)
{
	const struct str body = STR(HEAD "<InitiateMultipartUploadResult xmlns=\"u\"><Bucket>b</Bucket><Key>k</Key><UploadId>an-id</UploadId>"
		"<UploadId>other</UploadId></InitiateMultipartUploadResult>");
	char out[16];

	ok(s3xml_value(body, STR("InitiateMultipartUploadResult"), STR("UploadId"), out, sizeof out), "a value is found");
	is_str(str_c(out), STR("an-id"), "the first");
	ok(!s3xml_value(body, STR("Other"), STR("UploadId"), out, sizeof out), "not below another");
	ok(!s3xml_value(body, STR("InitiateMultipartUploadResult"), STR("UploadId"), out, 5), "nor when it does not fit");
	ok(!s3xml_value(str_upto(body, body.n - 3), STR("InitiateMultipartUploadResult"), STR("UploadId"), out, sizeof out), "nor in half a document");
}

static const struct {
	const char *what, *body;
	bool valid;
	unsigned n;
	bool truncated;
	const char *key, *next;
} lists[] = {
	{ "an empty list", LIST "<IsTruncated>false</IsTruncated></ListBucketResult>", true, 0, false, NULL, "" },
	{ "a key", LIST ONE "<IsTruncated>false</IsTruncated></ListBucketResult>", true, 1, false, "data/a", "" },
	{ "one of more pages", LIST "<IsTruncated>true</IsTruncated><NextContinuationToken>t=+/</NextContinuationToken>" ONE "</ListBucketResult>", true, 1, true,
	  "data/a", "t=+/" },
	{ "keys that are encoded", LIST "<Contents><Key>data/a%2Fb+c%2B%zz%</Key><LastModified>2026-01-31T12:00:00Z</LastModified><Size>0</Size></Contents>"
	  "<EncodingType>url</EncodingType></ListBucketResult>", true, 1, false, "data/a/b c+%zz%", "" },
	{ "keys that are not", LIST "<Contents><Key>data/a%2Fb+c</Key><LastModified>2026-01-31T12:00:00Z</LastModified><Size>0</Size></Contents></ListBucketResult>",
	  true, 1, false, "data/a%2Fb+c", "" },
	{ "the prefix of the whole is no key", LIST "<CommonPrefixes><Prefix>data/x/</Prefix></CommonPrefixes></ListBucketResult>", true, 0, false, NULL, "" },
	{ "more without a token", LIST "<IsTruncated>true</IsTruncated></ListBucketResult>", false, 0, true, NULL, "" },
	{ "an object without a key", LIST "<Contents><LastModified>2026-01-31T12:00:00Z</LastModified><Size>0</Size></Contents></ListBucketResult>", false, 0, false, NULL, "" },
	{ "an object without a time", LIST "<Contents><Key>a</Key><Size>0</Size></Contents></ListBucketResult>", false, 0, false, NULL, "" },
	{ "a time that is none", LIST "<Contents><Key>a</Key><LastModified>now</LastModified></Contents></ListBucketResult>", false, 0, false, NULL, "" },
	{ "a size that is none", LIST "<Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>", false, 0, false, NULL, "" },
	{ "half a list", LIST ONE, false, 1, false, "data/a", "" },
	{ "something else", "<Error><Code>NoSuchBucket</Code></Error>", false, 0, false, NULL, "" },
};

static void
test_lists(void)
{
	struct arena a;

	arena_init(&a);
	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
		for (size_t step = 1; step < 4096; step = step == 1 ? 4096 : step + 1) { /* a byte at a time, and at once */
			struct s3_page p;
			s3_page_init(&p, &a);
			struct s3xml *x = s3xml_new(s3_page_element, &p);
			struct str body = str_c(lists[i].body);
			int r = 0;
			for (size_t at = 0; at < body.n && r == 0; at += step)
				r = s3xml_feed(x, body.p + at, body.n - at < step ? body.n - at : step);
			if (r == 0)
				r = s3xml_end(x);
			s3xml_free(&x);
			ok((r == 0 && s3_page_valid(&p)) == lists[i].valid, "%s: %s", lists[i].what, lists[i].valid ? "is a page" : "is none");
			is_int(p.n, lists[i].n, "%s: so many keys", lists[i].what);
			if (lists[i].key)
				is_str(p.v[0].key, str_c(lists[i].key), "%s: the key", lists[i].what);
			if (lists[i].valid) {
				ok(p.truncated == lists[i].truncated, "%s: are there more", lists[i].what);
				is_str(p.next, str_c(lists[i].next), "%s: what follows", lists[i].what);
			}
		}
	}
	struct s3_page p;
	s3_page_init(&p, &a);
	struct s3xml *x = s3xml_new(s3_page_element, &p);
	const char one[] = ONE;
	ok(s3xml_feed(x, LIST, sizeof LIST - 1) == 0, "a page");
	int r = 0;
	for (unsigned i = 0; i < S3XML_KEYS && r == 0; i++)
		r = s3xml_feed(x, one, sizeof one - 1);
	is_int(r, 0, "of as many keys as S3 sends");
	is_int(p.v[999].size, 42, "with their sizes");
	is_int(p.v[999].mtime, 1769860800000, "and times");
	is_int(s3xml_feed(x, one, sizeof one - 1), -ERR_CORRUPT, "and not one more");
	s3xml_free(&x);
	arena_fini(&a);
}

int
main(void)
{
	test_errors();
	test_bounds();
	test_value();
	test_lists();
	return done_testing();
}
