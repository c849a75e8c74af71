/* errorpage.h - the responses that are our own words: what went wrong, for people and for programs, and the look of the onboarding pages.
 * Pure. A page has status, Content-Type, Cache-Control: no-store and a body; what every response has (framing, Date, Via, request id,
 * Cache-Status) is delivery's, and so is leaving the body out for HEAD. */
#pragma once
#include "../common/http.h"

struct page {
	int status;
	struct headers headers;
	struct str body;
};

struct errorpage_context {
	struct str request_id;
	struct str proxy;  /* this proxy's name, as Via has it */
};

/* err: -ERR_X, whose status the page has. problem: the cause in words (libcurl's, or the rule that the request broke); NULL or "" for
 * none. The request may be unread (all zero) or NULL: then there is neither an Accept nor an origin to go by. */
void errorpage_make(const struct errorpage_context *, int err, const char *problem, const struct http_request *, struct arena *,
                    struct page *out);
/* A request to the proxy itself (origin-form, not through it). GET and HEAD of "/" get 200, for load balancers and curious people;
 * anything else gets 400 with the same words, so that no download tool takes them for a file. */
void errorpage_self(const struct errorpage_context *, const struct http_request *, struct arena *, struct page *out);

/* What the client would like to read (RFC 9110 12.5.1). other: when it has no opinion (no Accept, or only wildcards). */
enum page_form { PAGE_TEXT, PAGE_HTML, PAGE_JSON };
enum page_form page_form(const struct http_request *, enum page_form other);

/* Building bodies: text that grows in an arena. */
struct page_text {
	struct arena *arena;
	char *p;
	size_t n, cap;
};
void page_add(struct page_text *, struct str);
void page_addz(struct page_text *, const char *);
void page_add_html(struct page_text *, struct str); /* escaped, for content and quoted attributes */
void page_add_json(struct page_text *, struct str); /* quoted and escaped; bytes that are not UTF-8 become U+FFFD */
void page_html_begin(struct page_text *, struct str title);
void page_html_end(struct page_text *);
void page_finish(struct page *, int status, struct str type, const struct page_text *);
