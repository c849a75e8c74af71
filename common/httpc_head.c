/* Heads of responses as httpc collects them, into fields. Pure. */
#include "httpc_impl.h"

/* Framing and Expect are made from the request's fields, never from the client's text (RFC 9112 6). */
bool
head_field_is_ours(struct str name)
{
	return (name.n == 14 && str_caseeq(name, STR("Content-Length"))) || (name.n == 17 && str_caseeq(name, STR("Transfer-Encoding"))) ||
		(name.n == 6 && str_caseeq(name, STR("Expect")));
}

static struct str
next_line(struct str *rest)
{
	struct str line = str_cut(rest, '\n');
	if (line.n && line.p[line.n - 1] == '\r')
		line.n--;
	return line;
}

/* Fields into headers, as views of text, which is ours to change. RFC 9112 5.1: no blank before the colon of a response goes on;
 * 5.2: folded lines are joined by SP; RFC 9110 5.5: what must not stand in a value becomes SP. */
void
head_parse_fields(struct str text, struct headers *h)
{
	char *p = (char *)(uintptr_t)text.p, *end = p + text.n;
	for (char *q = p; q + 1 < end; q++) {
		if (*q == '\n' && (q[1] == ' ' || q[1] == '\t') && q > p) {
			*q = ' ';
			if (q[-1] == '\r')
				q[-1] = ' ';
		}
	}
	while (text.n) {
		struct str value = next_line(&text);
		char *v = (char *)(uintptr_t)value.p;
		for (size_t i = 0; i < value.n; i++) {
			if (((unsigned char)v[i] < ' ' && v[i] != '\t') || v[i] == 0x7f)
				v[i] = ' ';
		}
		if (!memchr(value.n ? value.p : "", ':', value.n))
			continue; /* the blank line; libcurl has refused others */
		struct str name = str_cut(&value, ':');
		value = value.n ? str_trim(value) : STR("");
		struct str trimmed = str_trim(name);
		if (field_name_valid(trimmed))
			headers_add(h, trimmed, value.n ? value : STR(""));
	}
}

/* "HTTP/1.1 200 OK", "HTTP/2 200": libcurl has checked the beginning. */
static int
parse_status_line(struct str line, struct http_response *out)
{
	uint64_t n;
	struct str version = str_from(str_cut(&line, ' '), 5);
	struct str code = str_cut(&line, ' ');
	struct str major = str_cut(&version, '.');
	if (!str_u64(major, 9, &n))
		return -ERR_ORIGIN_PROTOCOL;
	out->major = (int)n;
	out->minor = version.n && str_u64(version, 9, &n) ? (int)n : 0;
	if (code.n != 3 || !str_u64(code, 999, &n) || n < 100)
		return -ERR_ORIGIN_PROTOCOL;
	out->status = (int)n;
	out->reason = str_trim(line);
	return 0;
}

int
head_parse(struct str text, struct arena *a, struct http_response *out)
{
	headers_init(&out->headers, a);
	int r = parse_status_line(next_line(&text), out);
	if (r == 0)
		head_parse_fields(text, &out->headers);
	/* RFC 9112 6.3: Transfer-Encoding overrides Content-Length, which must not be forwarded with it */
	if (r == 0 && headers_has(&out->headers, STR("Transfer-Encoding")))
		headers_remove(&out->headers, STR("Content-Length"));
	return r;
}

/* The length of the first head in text: up to and with its blank line. */
size_t
head_length(struct str text)
{
	for (size_t i = 0; i < text.n;) {
		const char *nl = memchr(text.p + i, '\n', text.n - i);
		size_t line = nl ? (size_t)(nl - text.p) - i + 1 : text.n - i;
		if (line == 1 || (line == 2 && text.p[i] == '\r'))
			return i + line;
		i += line;
	}
	return text.n;
}
