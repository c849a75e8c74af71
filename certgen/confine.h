/* confine.h - what the certgen process cannot do any more. Private to certgen/. */
#pragma once

/* From here on: no file but these two and standard error, no new ones, no sockets, no programs, no core, no peeking by others. */
void confine(int sock, int log);
