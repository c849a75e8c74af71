#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "httpdate.h"
#include "log.h"

#define LINE_MAX_BYTES 4096 /* longer lines are cut: what hostile input can make us write is bounded */

_Atomic enum log_level log_level = LOG_INFO;
static _Atomic int current = STDERR_FILENO;
static int file_fd = -1; /* log_open is called by one thread */
static bool opened;
static char title[48] = "passsage";

void
log_open(const char *path)
{
	int fd;

	if (!path || !*path) {
		current = STDERR_FILENO;
		opened = true;
		return;
	}
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
	if (fd < 0) {
		if (!opened)
			die(1, "%s: %s", path, strerror(errno));
		log_error("%s cannot be opened, the log goes on where it was: %s", path, strerror(errno));
		return;
	}
	opened = true;
	if (file_fd < 0) {
		file_fd = fd;
	} else {
		/* under the same number, so that a thread that is about to write never meets a closed or a foreign descriptor */
		dup3(fd, file_fd, O_CLOEXEC);
		close(fd);
	}
	current = file_fd;
}

void
log_title(const char *t)
{
	snprintf(title, sizeof title, "%s", t);
}

int
log_fd(void)
{
	return current;
}

/* Copies text with control bytes escaped, so that a peer's bytes cannot forge a line or drive a terminal. Returns the new length. */
static size_t
escape(char *to, size_t room, const char *text)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = 0;

	for (const unsigned char *s = (const unsigned char *)text; *s && n + 4 <= room; s++) {
		if (*s >= 0x20 && *s != 0x7f) {
			to[n++] = (char)*s;
		} else if (*s == '\t') {
			to[n++] = ' ';
		} else {
			to[n++] = '\\';
			to[n++] = 'x';
			to[n++] = hex[*s >> 4];
			to[n++] = hex[*s & 15];
		}
	}
	return n;
}

void
log_line(enum log_level level, const char *fmt, ...)
{
	static const char *const names[] = { "error", "warn", "info", "debug" };
	char text[LINE_MAX_BYTES], line[LINE_MAX_BYTES], when[33];
	int saved = errno;
	size_t n;
	va_list ap;

	if (level > log_level)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	iso8601_format(clock_wall(), when);
	n = (size_t)snprintf(line, sizeof line, "%.23sZ %s %s[%d]: ", when, names[level], title, (int)getpid());
	n += escape(line + n, sizeof line - n - 1, text);
	line[n++] = '\n';
	while (write(log_fd(), line, n) < 0 && errno == EINTR)
		;
	errno = saved; /* whoever logs a failure may still want to look at it */
}

_Noreturn void
die(int status, const char *fmt, ...)
{
	char text[LINE_MAX_BYTES], line[LINE_MAX_BYTES + 16] = "passsage: ";
	size_t n = strlen(line);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	n += escape(line + n, sizeof line - n - 1, text);
	line[n++] = '\n';
	while (write(STDERR_FILENO, line, n) < 0 && errno == EINTR)
		;
	exit(status);
}
