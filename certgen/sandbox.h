/* sandbox.h - what the certgen process cannot do any more. Private to certgen/. */
#pragma once

/* From here on: no file but these two and standard error, no new ones, no sockets, no programs, no core, no peeking by others.
 * What the kernel refuses is logged and lived without: an old kernel must not be the end of TLS. */
void sandbox_enter(int sock, int log);
