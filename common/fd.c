#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena.h"
#include "err.h"
#include "fd.h"

int
errno_err(void)
{
	switch (errno) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return -ERR_FULL;
	case ENOENT:
	case ENOTDIR:
		return -ERR_NOT_FOUND;
	case ENOMEM:
		return -ERR_NO_MEMORY;
	case EMFILE:
	case ENFILE:
		return -ERR_BUSY;
	case EAGAIN:
		return -ERR_AGAIN;
	case ETIMEDOUT:
		return -ERR_TIMEOUT;
	case EPIPE:
	case ECONNRESET:
		return -ERR_END;
	case EIO:
		return -ERR_CORRUPT;
	default:
		return -ERR_SYSTEM;
	}
}

int
fd_write_all(int fd, const void *data, size_t n)
{
	const char *p = data;

	while (n) {
		ssize_t w = write(fd, p, n);
		if (w < 0) {
			if (errno == EINTR)
				continue;
			return errno_err();
		}
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

int
fd_pwrite_all(int fd, const void *data, size_t n, off_t at)
{
	const char *p = data;

	while (n) {
		ssize_t w = pwrite(fd, p, n, at);
		if (w < 0) {
			if (errno == EINTR)
				continue;
			return errno_err();
		}
		p += w;
		n -= (size_t)w;
		at += w;
	}
	return 0;
}

ssize_t
fd_pread_all(int fd, void *data, size_t n, off_t at)
{
	size_t got = 0;

	while (got < n) {
		ssize_t r = pread(fd, (char *)data + got, n - got, at + (off_t)got);
		if (r < 0) {
			if (errno == EINTR)
				continue;
			return errno_err();
		}
		if (r == 0)
			break;
		got += (size_t)r;
	}
	return (ssize_t)got;
}

void
fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd); /* never again on EINTR: Linux has released the number already, and it may be somebody else's by now */
	*fd = -1;
}

void
fd_nonblock(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void
fd_cloexec(int fd)
{
	fcntl(fd, F_SETFD, FD_CLOEXEC);
}

int
fd_read_file(const char *path, size_t max, struct str *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;
	size_t n = 0, cap = 4096;
	char *p;

	if (fd < 0)
		return errno_err();
	/* by reading and not by its size: files in /proc and pipes have none */
	p = xmalloc(cap);
	for (;;) {
		ssize_t got;
		if (n + 1 == cap)
			p = xrealloc(p, cap *= 2);
		got = read(fd, p + n, cap - n - 1);
		if (got < 0) {
			if (errno == EINTR)
				continue;
			r = errno_err();
			break;
		}
		if (got == 0)
			break;
		n += (size_t)got;
		if (n > max) {
			r = -ERR_FULL;
			break;
		}
	}
	fd_close(&fd);
	if (r < 0) {
		free(p);
		return r;
	}
	p[n] = 0;
	*out = (struct str){ p, n };
	return 0;
}

/* So that the name survives a power cut too. Its failure is not told: the file is there, and some file systems cannot do it. */
static void
sync_folder_of(char *path)
{
	char *slash = strrchr(path, '/');
	int fd;

	if (slash)
		slash[slash == path] = 0;
	fd = open(slash ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		fsync(fd);
	fd_close(&fd);
}

int
fd_write_file(const char *path, struct str content, mode_t mode)
{
	size_t size = strlen(path) + sizeof ".XXXXXX";
	char *temp = xmalloc(size);
	int fd, r;

	snprintf(temp, size, "%s.XXXXXX", path);
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0) {
		r = errno_err();
		free(temp);
		return r;
	}
	r = fd_write_all(fd, content.p, content.n);
	/* the mode last, so that nobody else may read a secret in the making; the sync before the rename, or a power cut leaves an empty file */
	if (r == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0))
		r = errno_err();
	fd_close(&fd);
	if (r == 0 && rename(temp, path) < 0)
		r = errno_err();
	if (r < 0)
		unlink(temp);
	else
		sync_folder_of(temp);
	free(temp);
	return r;
}

static int
make_folder(const char *path, mode_t mode)
{
	struct stat st;

	if (mkdir(path, mode) == 0 || (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode)))
		return 0;
	return errno == EEXIST ? -ERR_SYSTEM : errno_err();
}

int
path_mkdirs(const char *path, mode_t mode)
{
	char *copy = xstrdup(path);
	int r = 0;

	for (char *slash = copy + 1; *copy && r == 0 && (slash = strchr(slash, '/')); *slash++ = '/') {
		*slash = 0;
		r = make_folder(copy, mode | 0300); /* we must be able to go on below it */
	}
	if (r == 0)
		r = make_folder(copy, mode);
	free(copy);
	return r;
}
