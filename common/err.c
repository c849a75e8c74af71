#include <execinfo.h>
#include <stdlib.h>

#include "err.h"
#include "log.h"

static const struct row {
	const char *name, *text;
	int status;
	bool again;
} rows[ERR_MAX] = {
	[ERR_OK] = { "OK", "no error", 200, false },
#define ERR(name, status, again, text) [ERR_##name] = { #name, text, status, again },
#include "tbl/errors.h"
};

/* Either sign is taken. A positive result that is no error at all, such as a byte count, must not lead outside the table. */
static const struct row *
row_of(int r)
{
	static const struct row unknown = { "UNKNOWN", "unknown error", 500, false };

	if (r <= -ERR_MAX || r >= ERR_MAX)
		return &unknown;
	return &rows[r < 0 ? -r : r];
}

const char *
err_name(int r)
{
	return row_of(r)->name;
}

const char *
err_text(int r)
{
	return row_of(r)->text;
}

int
err_status(int r)
{
	return row_of(r)->status;
}

bool
err_again(int r)
{
	return row_of(r)->again;
}

void (*panic_hook)(void);

_Noreturn void
panic(const char *what, const char *file, int line, const char *func)
{
	static _Thread_local bool panicking; /* the hook itself may be what is broken */
	void *frames[64];

	if (!panicking) {
		panicking = true;
		log_error("panic at %s:%d in %s: %s does not hold", file, line, func, what);
		backtrace_symbols_fd(frames, backtrace(frames, 64), log_fd());
		if (panic_hook)
			panic_hook();
	}
	abort();
}
