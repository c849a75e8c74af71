/* admin.h - the pages of the admin process (admin.c serves them, admin_health.c and admin_debug.c write them). */
#pragma once
#include "errorpage.h"
#include "metrics.h"

#define ADMIN_TEXT_MAX (8 * 1024 * 1024) /* a page that grows with the machine (its TCP table) is cut here, and says so */

void admin_add(struct page_text *, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* a line, up to 1 KiB */

/* admin_health.c */
void admin_health(const struct http_request *, struct arena *, struct page *);
void admin_ready(struct arena *, struct page *);
void admin_metrics(struct arena *, struct page *);

/* admin_debug.c: the page below /debug/ of that name; false: there is none. */
bool admin_debug(struct str name, struct arena *, struct page *);
