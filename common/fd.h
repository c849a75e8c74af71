/* fd.h - file descriptors and paths. 0 or more, or -ERR_X; EINTR is handled inside. */
#pragma once
#include "str.h"
#include <sys/types.h>

int fd_write_all(int fd, const void *, size_t);               /* -ERR_FULL on ENOSPC/EDQUOT, -ERR_SYSTEM */
int fd_pwrite_all(int fd, const void *, size_t, off_t);
ssize_t fd_pread_all(int fd, void *, size_t, off_t);          /* as much as there is up to n */
void fd_close(int *fd);                                       /* closes when >= 0, sets to -1 */
void fd_nonblock(int fd);
void fd_cloexec(int fd);
int fd_read_file(const char *path, size_t max, struct str *out); /* malloc'ed, NUL behind; caller frees (char *)out->p; -ERR_FULL: more than max */
int fd_write_file(const char *path, struct str, mode_t);      /* new file beside it, synced, then rename: all or nothing */
int path_mkdirs(const char *path, mode_t);                    /* mkdir -p */
int errno_err(void);                                          /* errno as -ERR_X (ENOSPC, EDQUOT: FULL; ENOENT: NOT_FOUND; …) */
