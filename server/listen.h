/* listen.h - listening sockets, bound once by the master. */
#pragma once
#include "../common/settings.h"
/* Binds each address of the list (empty: all, one dual-stack socket where there is IPv6). Returns how many; *port becomes the real one when
 * it was 0. die()s with address, port and reason. */
unsigned listen_all(const struct str_list *, unsigned *port, int *fds, unsigned max);
