/* onboard.h - http://mitm.it/: how a client gets to use and to trust this proxy. An index page for people, the CA's certificate in three
 * forms, and a script that sets a shell up (behaviour.md 9.1). Pure: a request in, a page out. */
#pragma once
#include "errorpage.h"

struct onboard_context {
	struct str proxy_url;                /* this proxy as clients write it */
	struct str no_proxy_extra;           /* comma-separated hosts, or empty */
	struct str ca_pem, ca_der, ca_p12;   /* the CA's certificate; of ca_pem nothing but certificates is ever shown */
	struct str s3_host;                  /* which clients should ask without us, or empty */
};

/* Always an answer: 0. GET and HEAD (405 for others, but the script answers any method); 404 with links; 500 when there is no certificate. */
int onboard_answer(const struct onboard_context *, const struct http_request *, struct arena *, struct page *out);
