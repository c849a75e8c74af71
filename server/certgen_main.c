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

/* The PEM in a file, from its first block on: what stands before (openssl pkcs12 says whose it is) would make it look like a path. NULL: none */
static const char *pem_of(int fd, char *room)
{
	ssize_t n = fd_pread_all(fd, room, CA_MAX, 0);
	return n > 0 ? strstr(room, "-----BEGIN") : NULL;
}

int certgen_main(unsigned index)
{
	(void)index;
	certgen_secret(true); /* before the key is read */
	char problem[256] = "it is empty, unreadable, or no PEM", dir[4200];
	struct ca *ca = NULL;
	char *room = xcalloc(2, CA_MAX + 1);
	snprintf(dir, sizeof dir, "%s/ca", conf()->state_dir);
	const struct ca_options o = { .dir = dir, .bundle = pem_of(heritage.ca_fd, room),
	                              .cert = heritage.ca_cert_fd >= 0 ? pem_of(heritage.ca_cert_fd, room + CA_MAX + 1) : conf()->mitm_ca_cert };
	if (o.bundle == NULL || o.cert == NULL || ca_load(&o, &ca, problem) < 0) {
		log_error("the CA cannot be loaded: %s", problem);
		return 1;
	}
	OPENSSL_cleanse(room, 2 * (CA_MAX + 1));
	free(room);
	fd_close(&heritage.ca_fd);
	fd_close(&heritage.ca_cert_fd);
	int r = certgen_serve(ca, heritage.shared.certs, heritage.certgen_answer, &stopping);
	ca_free(&ca);
	return r < 0 ? 1 : 0;
}
