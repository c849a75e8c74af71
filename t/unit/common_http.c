#include "tap.h"
#include "common/err.h"
#include "common/http.h"

static struct arena a;

int
main(void)
{
	static const struct { const char *lines; int r; int64_t want; } t[] = {
		{ NULL, 0, -1 }, { "0", 0, 0 }, { "5", 0, 5 }, { "005", 0, 5 }, { "9223372036854775807", 0, INT64_MAX }, { "5|5", 0, 5 }, { "5, 5", 0, 5 }, { "5 ,\t5|05", 0, 5 },
		{ "", -1, -1 }, { "5|6", -1, -1 }, { "5, 6", -1, -1 }, { "5,", -1, -1 }, { ",5", -1, -1 }, { "5,,5", -1, -1 }, { "-5", -1, -1 }, { "+5", -1, -1 }, { "5x", -1, -1 }, { "0x5", -1, -1 },
		{ "5 5", -1, -1 }, { "5.0", -1, -1 }, { "9223372036854775808", -1, -1 }, { "99999999999999999999", -1, -1 }, { "5|", -1, -1 }, { "\"5\"", -1, -1 },
	};
	arena_init(&a);
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
		struct headers h;
		struct str rest = str_c(t[i].lines);
		int64_t len = 77;
		int r;
		headers_init(&h, &a);
		while (rest.p)
			headers_add(&h, h.n ? STR("content-length") : STR("Content-Length"), str_cut(&rest, '|'));
		r = http_content_length(&h, &len);
		ok(r == (t[i].r ? -ERR_BAD_REQUEST : 0) && len == t[i].want, "Content-Length: %s", t[i].lines ? t[i].lines : "(none)");
	}

	ok(http_method(STR("GET")) == METHOD_GET && http_method(STR("PATCH")) == METHOD_PATCH && http_method(STR("CONNECT")) == METHOD_CONNECT, "methods");
	ok(http_method(STR("get")) == METHOD_OTHER && http_method(STR("GETX")) == METHOD_OTHER && http_method(STR("")) == METHOD_OTHER, "their case matters (RFC 9110 9.1)");
	ok(http_method_safe(METHOD_GET) && http_method_safe(METHOD_HEAD) && http_method_safe(METHOD_OPTIONS) && http_method_safe(METHOD_TRACE), "safe ones");
	ok(!http_method_safe(METHOD_POST) && !http_method_safe(METHOD_DELETE) && !http_method_safe(METHOD_CONNECT) && !http_method_safe(METHOD_OTHER), "unsafe ones");
	ok(http_method_idempotent(METHOD_GET) && http_method_idempotent(METHOD_PUT) && http_method_idempotent(METHOD_DELETE), "idempotent ones");
	ok(!http_method_idempotent(METHOD_POST) && !http_method_idempotent(METHOD_PATCH) && !http_method_idempotent(METHOD_OTHER), "those that are not");
	is_str(str_c(http_reason(404)), STR("Not Found"), "a reason");
	is_str(str_c(http_reason(299)), STR(""), "none");
	is_str(str_c(http_reason(-1)), STR(""), "none below");
	is_str(str_c(http_reason(999)), STR(""), "none above");
	unsigned nameless = 0;
	for (int e = 1; e < ERR_MAX; e++)
		nameless += !*http_reason(err_status(-e));
	is_int(nameless, 0, "every status that an error leads to has a reason");
	is_str(str_c(err_name(-ERR_ORIGIN_TIMEOUT)), STR("ORIGIN_TIMEOUT"), "an error's name");
	ok(err_name(ERR_ORIGIN_TIMEOUT) == err_name(-ERR_ORIGIN_TIMEOUT) && err_status(-ERR_LOOP) == 508 && err_again(-ERR_CERTGEN), "either sign");
	ok(err_status(-100000) == 500 && err_status(100000) == 500 && *err_text(INT32_MIN), "what is no error does not lead outside the table");
	arena_fini(&a);
	return done_testing();
}
