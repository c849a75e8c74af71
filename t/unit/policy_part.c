/* Partial content: what is kept of it, what it answers, and when two pieces may be put together (RFC 9111 3.3, 3.4). */
#include "policy_heads.h"
#include "tap.h"
#include "../../common/range.h"

static struct arena a;

static struct meta
part_of_whole(const char *asked, const char *fields, int64_t came)
{
	struct meta m = stored_of(&a, "", 206, fields);
	m.vary_request = str_c(asked);
	m.content_size = came;
	return m;
}

static const struct { enum http_method method; enum policy policy; const char *request; bool yes; const char *why; } wants[] = {
	{ METHOD_GET, POLICY_Standard, "Range: bytes=-5", true, "a tail is asked for by itself" },
	{ METHOD_GET, POLICY_Standard, "Range: bytes=0-5", false, "a beginning comes first with the whole" },
	{ METHOD_GET, POLICY_Standard, "Range: bytes=-5,0-1", false, "several are served from the whole" },
	{ METHOD_GET, POLICY_Standard, "Range: bytes=-", false, "no number" },
	{ METHOD_GET, POLICY_Standard, "Range: bytes=-5\nRange: bytes=-6", false, "two fields" },
	{ METHOD_GET, POLICY_Standard, "Range: bytes=-5\nIf-Range: \"a\"", false, "a condition" },
	{ METHOD_GET, POLICY_Standard, "Range: bytes=-5\nIf-None-Match: \"a\"", false, "another condition" },
	{ METHOD_GET, POLICY_Standard, "", false, "no range" },
	{ METHOD_HEAD, POLICY_Standard, "Range: bytes=-5", false, "ranges are for GET" },
	{ METHOD_GET, POLICY_NoCache, "Range: bytes=-5", false, "NoCache keeps nothing" },
	{ METHOD_GET, POLICY_AlwaysUpstream, "Range: bytes=-5", false, "AlwaysUpstream's fallback is the whole" },
};
static const struct { int status; const char *request, *response; bool yes; const char *why; } keeps[] = {
	{ 206, "Range: bytes=-5", "Content-Range: bytes 5-9/10\nCache-Control: max-age=60", true, "3.3" },
	{ 206, "Range: bytes=-5", "Content-Range: bytes 5-9/10\nLast-Modified: @-900000", true, "4.2.2: a 206 may be guessed about" },
	{ 206, "Range: bytes=-5", "Content-Range: bytes 5-9/10\nCache-Control: no-store", false, "no-store" },
	{ 206, "Range: bytes=-5", "Content-Range: bytes 5-9/10\nCache-Control: private", false, "private" },
	{ 206, "Range: bytes=-5\nAuthorization: x", "Content-Range: bytes 5-9/10\nCache-Control: max-age=60", false, "3.5" },
	{ 206, "Range: bytes=-5", "Content-Range: bytes 5-9/10\nCache-Control: max-age=60\nVary: Foo", false, "variants are kept whole" },
	{ 206, "Range: bytes=-5", "Content-Range: bytes 5-9/*\nCache-Control: max-age=60", false, "of nobody knows how much" },
	{ 206, "Range: bytes=-5", "Content-Range: bytes 5-10/10\nCache-Control: max-age=60", false, "9110 14.4: an invalid Content-Range" },
	{ 206, "Range: bytes=-5", "Content-Type: multipart/byteranges\nCache-Control: max-age=60", false, "several" },
	{ 206, "Range: bytes=-5", "Content-Range: bytes 5-9/10\nContent-Range: bytes 4-8/10\nCache-Control: max-age=60", false, "two minds" },
	{ 200, "Range: bytes=-5", "Cache-Control: max-age=60", false, "the whole is no part" },
	{ 416, "Range: bytes=-5", "Content-Range: bytes */10\nCache-Control: max-age=60", false, "nothing" },
};

#define FULL SELECT_FULL
#define PART SELECT_RANGES
#define NONE SELECT_UNSATISFIABLE
static const struct { const char *stored; int64_t came; const char *request; enum selection want; unsigned first, last; const char *why; } uses[] = {
	{ "Content-Range: bytes 4-9/10", 6, "Range: bytes=-6", FULL, 0, 0, "the same question [partial-store-partial-reuse-partial]" },
	{ "Content-Range: bytes 4-9/10", 6, "Range: bytes=6-8", PART, 2, 4, "3.3: within" },
	{ "Content-Range: bytes 4-9/10", 6, "Range: bytes=6-", PART, 2, 5, "3.3: to the end" },
	{ "Content-Range: bytes 4-9/10", 6, "Range: bytes=-1", PART, 5, 5, "3.3: a shorter tail" },
	{ "Content-Range: bytes 4-9/10", 6, "Range: bytes=4-99", PART, 0, 5, "14.1.2: clamped to the whole" },
	{ "Content-Range: bytes 4-9/10", 6, "Range: bytes=3-8", NONE, 0, 0, "3.3: not wholly within" },
	{ "Content-Range: bytes 4-9/10", 6, "Range: bytes=-7", NONE, 0, 0, "nor a longer tail" },
	{ "Content-Range: bytes 4-8/10", 5, "Range: bytes=6-", NONE, 0, 0, "nor to an end that it has not" },
	{ "Content-Range: bytes 4-9/10", 6, "Range: bytes=4-5,7-8", NONE, 0, 0, "several come from the whole" },
	{ "Content-Range: bytes 4-9/10", 6, "Range: bytes=12-13", NONE, 0, 0, "a 416 is the origin's to say" },
	{ "Content-Range: bytes 4-9/10", 6, "", NONE, 0, 0, "3.3: the whole is never answered from a part" },
	{ "Content-Range: bytes 4-9/10", 6, "Range: bytes=6-8\nIf-Range: \"a\"", NONE, 0, 0, "conditions are not its business" },
	{ "Content-Range: bytes 4-9/10", 6, "Range: bytes=6-8\nIf-None-Match: \"a\"", NONE, 0, 0, "nor this one" },
	/* the malformed 206 of the public tests: says six bytes, sends five */
	{ "Content-Range: bytes 4-9/10", 5, "Range: bytes=-6", FULL, 0, 0, "malformed: the same question has the very same answer" },
	{ "Content-Range: bytes 4-9/10", 5, "Range: bytes=6-8", PART, 2, 4, "3.3: what came, from where it was said to begin [-byterange]" },
	{ "Content-Range: bytes 4-9/10", 5, "Range: bytes=6-", NONE, 0, 0, "byte 9 did not come [-absent]" },
	{ "Content-Range: bytes 4-9/10", 5, "Range: bytes=-1", NONE, 0, 0, "nor is byte 8 the last [-suffix]" },
	{ "Content-Range: bytes 4-9/10", 7, "Range: bytes=6-8", NONE, 0, 0, "more than it says: nobody knows where it belongs" },
	{ "Content-Range: bytes 4-9/10", -1, "Range: bytes=6-8", NONE, 0, 0, "not complete yet" },
	{ "Content-Range: bytes 4-9/*", 6, "Range: bytes=6-8", NONE, 0, 0, "of nobody knows how much" },
	{ "", 6, "Range: bytes=6-8", NONE, 0, 0, "from nobody knows where" },
};
static const struct { const char *range, *response; bool yes; const char *why; } answers[] = {
	{ "bytes=4-7", "Content-Range: bytes 4-7/10\nContent-Length: 4", true, "what was asked for" },
	{ "bytes=4-7", "Content-Range: bytes 4-7/10", true, "of a length that is not said" },
	{ "bytes=4-7", "Content-Range: bytes 4-7/*", true, "of nobody knows how much" },
	{ "bytes=4-7", "Content-Range: bytes 4-5/10", true, "the beginning of it" },
	{ "bytes=4-", "Content-Range: bytes 4-9/10", true, "to the end" },
	{ "bytes=4-20", "Content-Range: bytes 4-9/10", true, "there is no more" },
	{ "bytes=4-7", "Content-Range: bytes 5-7/10", false, "another place" },
	{ "bytes=4-7", "Content-Range: bytes 3-7/10", false, "more in front" },
	{ "bytes=4-7", "Content-Range: bytes 4-8/10", false, "more behind" },
	{ "bytes=4-7", "Content-Range: bytes 4-7/10\nContent-Length: 3", false, "fewer bytes than it says" },
	{ "bytes=4-7", "Content-Range: bytes 4-5/10\nContent-Length: 4", false, "more bytes than it says" },
	{ "bytes=4-7", "Content-Range: bytes 5-1/0", false, "none at all" },
	{ "bytes=4-7", "Content-Range: bytes 4-7/10\nContent-Range: bytes 4-7/11", false, "two" },
	{ "bytes=4-7", "", false, "not said" },
	{ "bytes=-4", "Content-Range: bytes 4-9/10\nContent-Length: 5", true, "the tail: where that is its origin says" },
};
static const struct { const char *stored; int64_t came; const char *range, *if_range, *why; } rests[] = {
	{ "Content-Range: bytes 0-4/10\nCache-Control: max-age=60", 5, "bytes=5-", "", "fresh [partial-store-partial-complete]" },
	{ "Content-Range: bytes 0-4/10\nCache-Control: max-age=60\nETag: \"a\"", 5, "bytes=5-", "\"a\"", "with a strong tag, If-Range" },
	{ "Content-Range: bytes 0-4/10\nCache-Control: max-age=0\nETag: \"a\"", 5, "bytes=5-", "\"a\"", "which does for a stale one too" },
	{ "Content-Range: bytes 0-4/10\nCache-Control: max-age=0", 5, "", "", "stale, and nothing to know it by" },
	{ "Content-Range: bytes 0-4/10\nCache-Control: max-age=0\nETag: W/\"a\"", 5, "", "", "3.4: a weak tag does not do" },
	{ "Content-Range: bytes 1-5/10\nCache-Control: max-age=60", 5, "", "", "not the beginning" },
	{ "Content-Range: bytes 0-9/10\nCache-Control: max-age=60", 10, "", "", "all there" },
	{ "Content-Range: bytes 0-5/10\nCache-Control: max-age=60\nETag: \"a\"", 5, "bytes=5-", "\"a\"", "incomplete: from where it broke off" },
	{ "Content-Range: bytes 0-99999999/199999999\nCache-Control: max-age=60", 100000000, "", "", "too much to copy" },
};
static const struct { const char *stored; int status; const char *rest; bool yes; const char *why; } completes[] = {
	{ "ETag: \"a\"", 206, "ETag: \"a\"\nContent-Range: bytes 5-9/10", true, "3.4: the same strong tag" },
	{ "ETag: \"a\"", 206, "ETag: \"b\"\nContent-Range: bytes 5-9/10", false, "3.4: another" },
	{ "ETag: W/\"a\"", 206, "ETag: W/\"a\"\nContent-Range: bytes 5-9/10", false, "3.4: weak" },
	{ "", 206, "Content-Range: bytes 5-9/10", false, "3.4: none" },
	{ "ETag: \"a\"", 206, "Content-Range: bytes 5-9/10", false, "none in the rest" },
	{ "ETag: \"a\"", 206, "ETag: \"a\"\nContent-Range: bytes 6-9/10", false, "a gap" },
	{ "ETag: \"a\"", 206, "ETag: \"a\"\nContent-Range: bytes 4-9/10", false, "an overlap" },
	{ "ETag: \"a\"", 206, "ETag: \"a\"\nContent-Range: bytes 5-8/10", false, "not to the end" },
	{ "ETag: \"a\"", 206, "ETag: \"a\"\nContent-Range: bytes 5-10/11", false, "of another size" },
	{ "ETag: \"a\"", 206, "ETag: \"a\"", false, "from where?" },
	{ "ETag: \"a\"", 200, "ETag: \"a\"\nContent-Range: bytes 5-9/10", false, "a 200 is the whole" },
};

int
main(void)
{
	static const char *const names[] = { "FULL", "RANGES", "NOT_MODIFIED", "PRECONDITION_FAILED", "UNSATISFIABLE" };
	arena_init(&a);
	for (unsigned i = 0; i < sizeof(wants) / sizeof(*wants); i++) {
		struct plan plan = { .policy = wants[i].policy, .forced_swr_s = -1 };
		struct http_request req = request_of(&a, wants[i].method, "http://h/p", wants[i].request);
		is_int(judge_wants_part(&plan, &req).p != NULL, wants[i].yes, "wanted: %s", wants[i].why);
	}
	for (unsigned i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
		struct http_response resp = response_of(&a, 206, answers[i].response);
		is_int(judge_answers_range(str_c(answers[i].range), &resp), answers[i].yes, "an answer to %s: %s", answers[i].range, answers[i].why);
	}
	for (unsigned i = 0; i < sizeof(keeps) / sizeof(*keeps); i++) {
		struct plan plan = { .policy = POLICY_Standard, .forced_swr_s = -1 };
		struct http_request req = request_of(&a, METHOD_GET, "http://h/p", keeps[i].request);
		struct http_response resp = response_of(&a, keeps[i].status, keeps[i].response);
		is_int(judge_keeps_part(&shared_cache, &plan, &req, &resp, T0 * 1000), keeps[i].yes, "kept: %s", keeps[i].why);
	}
	for (unsigned i = 0; i < sizeof(uses) / sizeof(*uses); i++) {
		struct plan plan = { .policy = POLICY_Standard, .forced_swr_s = -1 };
		struct range in = { 0, 0 }, ranges[RANGE_MAX];
		unsigned n;
		char stored[200];
		snprintf(stored, sizeof stored, "Cache-Control: max-age=60%s%s", *uses[i].stored ? "\n" : "", uses[i].stored);
		struct meta m = part_of_whole("bytes=-6", stored, uses[i].came);
		struct http_request req = request_of(&a, METHOD_GET, "http://h/p", uses[i].request);
		enum selection got = judge_part(&req, &m, &in);
		is_str(str_c(names[got]), str_c(names[uses[i].want]), "%s", uses[i].why);
		is_int((int64_t)(in.first * 100 + in.last), uses[i].first * 100 + uses[i].last, "… its bytes");
		is_int(judge_may_join(&shared_cache, &plan, &req, &m, T0 * 1000), uses[i].want != NONE, "… joined while it comes, if so");
		if (uses[i].want != NONE) {
			is_int(judge_select(&req, &m, uses[i].came, T0 * 1000, ranges, &n), uses[i].want, "… and delivered so");
			ok(n == (uses[i].want == PART) && (n == 0 || (ranges[0].first == in.first && ranges[0].last == in.last)), "… these bytes");
		}
	}
	for (unsigned i = 0; i < sizeof(rests) / sizeof(*rests); i++) {
		struct str range = STR(""), if_range = STR_NONE;
		struct meta m = part_of_whole("bytes=-5", rests[i].stored, rests[i].came);
		bool got = judge_rest(&shared_cache, &m, T0 * 1000, &a, &range, &if_range);
		is_str(got ? range : STR(""), str_c(rests[i].range), "the rest: %s", rests[i].why);
		if (got)
			is_str(if_range, str_c(rests[i].if_range), "… If-Range");
		m.flags |= META_INVALIDATED;
		ok(!judge_rest(&shared_cache, &m, T0 * 1000, &a, &range, &if_range), "… and not when it has been invalidated (4.4)");
	}
	for (unsigned i = 0; i < sizeof(completes) / sizeof(*completes); i++) {
		char stored[200];
		snprintf(stored, sizeof stored, "Content-Range: bytes 0-4/10%s%s", *completes[i].stored ? "\n" : "", completes[i].stored);
		struct meta m = part_of_whole("bytes=-5", stored, 5);
		struct http_response resp = response_of(&a, completes[i].status, completes[i].rest);
		is_int(judge_completes(&m, &resp), completes[i].yes, "the rest of it: %s", completes[i].why);
	}
	struct meta m = part_of_whole("bytes=-5", "Content-Range: bytes 0-4/10\nContent-Length: 5\nETag: \"a\"\nContent-Digest: sha-256=:b2xk:\nFoo: old\nBar: old\nBar: two", 5);
	struct http_response resp = response_of(&a, 206, "Content-Range: bytes 5-9/10\nContent-Length: 5\nETag: \"a\"\nBar: new");
	judge_combine(&m, &resp, &a);
	is_int(resp.status, 200, "3.4: combined to the whole");
	is_str(headers_get(&resp.headers, STR("content-length")), STR("10"), "3.4: of its length");
	ok(!headers_has(&resp.headers, STR("content-range")), "3.4: no range any more");
	is_str(headers_get(&resp.headers, STR("foo")), STR("old"), "3.4: stored fields stay");
	is_str(headers_joined(&resp.headers, STR("bar"), &a), STR("new"), "3.4: and are replaced by newer ones");
	is_int(headers_count(&resp.headers, STR("etag")), 1, "each once");
	ok(!headers_has(&resp.headers, STR("content-digest")), "9530 2: the digest of a part is not that of the whole");
	arena_fini(&a);
	return done_testing();
}
