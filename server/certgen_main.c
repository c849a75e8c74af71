/* certgen_main.c - the process that alone has the CA's key: reads it from the descriptor that the master opened, closes that, and serves. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "../common/arena.h"
#include "../common/err.h"
#include "../common/fd.h"
#include "../common/log.h"
#include "heritage.h"

#define CA_MAX (256 * 1024) /* a key and a chain of certificates */

int certgen_main(unsigned index)
{
	(void)index;
	char problem[256] = "", dir[4200];
	struct ca *ca = NULL;
	char *pem = xcalloc(1, CA_MAX + 1);
	ssize_t n = fd_pread_all(heritage.ca_fd, pem, CA_MAX, 0);
	snprintf(dir, sizeof dir, "%s/ca", conf()->state_dir);
	const struct ca_options o = { .dir = dir, .bundle = pem, .cert = conf()->mitm_ca_cert };
	if (n <= 0 || ca_load(&o, &ca, problem) < 0) {
		log_error("the CA cannot be loaded: %s", n <= 0 ? "its file is empty or unreadable" : problem);
		return 1;
	}
	OPENSSL_cleanse(pem, CA_MAX);
	free(pem);
	fd_close(&heritage.ca_fd);
	int r = certgen_serve(ca, heritage.shared.certs, heritage.certgen_answer, &stopping);
	ca_free(&ca);
	return r < 0 ? 1 : 0;
}
