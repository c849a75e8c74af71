/* listen.h - listening sockets, bound once by the master. */
#pragma once
#include "../common/settings.h"
/* Binds each address of the list (empty: all, one dual-stack socket where there is IPv6). Returns how many; *port becomes the real one when
 * it was 0. die()s with address, port, the option that says which, and the reason. */
unsigned listen_all(const struct str_list *, const char *option, unsigned *port, int *fds, unsigned max);
