#include <expat.h>
#include "../common/err.h"
#include "../common/httpdate.h"
#include "s3xml.h"

#define NAME_MAX_ 64 /* longer names are none that we look for */

struct s3xml {
	XML_Parser parser;
	s3xml_element_f *element;
	void *arg;
	unsigned depth;
	char names[S3XML_DEPTH][NAME_MAX_];
	char text[S3XML_TEXT];
	size_t n;
};

static void XMLCALL
start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	struct s3xml *x = arg;
	const char *colon = strrchr(name, ':');

	if (x->depth == S3XML_DEPTH) {
		XML_StopParser(x->parser, XML_FALSE);
		return;
	}
	snprintf(x->names[x->depth++], NAME_MAX_, "%s", colon ? colon + 1 : name);
	x->n = 0;
}

static void XMLCALL
text(void *arg, const XML_Char *s, int n)
{
	struct s3xml *x = arg;

	if ((size_t)n > sizeof x->text - x->n) {
		XML_StopParser(x->parser, XML_FALSE);
		return;
	}
	memcpy(x->text + x->n, s, (size_t)n);
	x->n += (size_t)n;
}

static void XMLCALL
end(void *arg, const XML_Char *name)
{
	struct s3xml *x = arg;

	x->depth--;
	struct str parent = x->depth ? str_c(x->names[x->depth - 1]) : STR("");
	if (!x->element(x->arg, parent, str_c(x->names[x->depth]), (struct str){ x->text, x->n }))
		XML_StopParser(x->parser, XML_FALSE);
	x->n = 0;
}

static void XMLCALL
doctype(void *arg, const XML_Char *name, const XML_Char *system, const XML_Char *public, int internal)
{
	XML_StopParser(((struct s3xml *)arg)->parser, XML_FALSE);
}

struct s3xml *
s3xml_new(s3xml_element_f *element, void *arg)
{
	struct s3xml *x = xcalloc(1, sizeof *x);

	x->element = element;
	x->arg = arg;
	x->parser = XML_ParserCreate("UTF-8"); /* whatever the document says of itself */
	INVARIANT(x->parser != NULL);
	XML_SetUserData(x->parser, x);
	XML_SetElementHandler(x->parser, start, end);
	XML_SetCharacterDataHandler(x->parser, text);
	XML_SetStartDoctypeDeclHandler(x->parser, doctype);
	return x;
}

int
s3xml_feed(struct s3xml *x, const void *p, size_t n)
{
	const char *s = p;

	while (n) {
		int now = n > 1 << 20 ? 1 << 20 : (int)n; /* expat counts in int */
		if (XML_Parse(x->parser, s, now, 0) != XML_STATUS_OK)
			return -ERR_CORRUPT;
		s += now;
		n -= (size_t)now;
	}
	return 0;
}

int
s3xml_end(struct s3xml *x)
{
	return XML_Parse(x->parser, "", 0, 1) == XML_STATUS_OK ? 0 : -ERR_CORRUPT;
}

void
s3xml_free(struct s3xml **xp)
{
	struct s3xml *x = *xp;

	*xp = NULL;
	if (!x)
		return;
	XML_ParserFree(x->parser);
	/* an STS answer has secrets */
	explicit_bzero(x->text, sizeof x->text);
	free(x);
}

/* ---- small documents */

static int
parse(struct str body, s3xml_element_f *element, void *arg)
{
	struct s3xml *x = s3xml_new(element, arg);
	int r = s3xml_feed(x, body.p, body.n);

	if (r == 0)
		r = s3xml_end(x);
	s3xml_free(&x);
	return r;
}

/* As one line of printable text, cut to what fits (not within a character). */
static void
copy_line(char *out, size_t size, struct str s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n;) {
		size_t k = utf8_sequence(s.p + i, s.n - i);
		if (k == 0 || n + k >= size)
			break;
		memcpy(out + n, s.p + i, k);
		if ((unsigned char)out[n] < ' ' || out[n] == 0x7f)
			out[n] = ' ';
		n += k;
		i += k;
	}
	out[n] = '\0';
}

static bool
error_element(void *arg, struct str parent, struct str name, struct str value)
{
	struct s3xml_error *e = arg;

	/* <Error> at the root; STS has <ErrorResponse><Error> */
	if (!str_eq(parent, STR("Error")))
		return true;
	if (str_eq(name, STR("Code")))
		copy_line(e->code, sizeof e->code, str_trim(value));
	else if (str_eq(name, STR("Message")))
		copy_line(e->message, sizeof e->message, value);
	else if (str_eq(name, STR("Region")))
		copy_line(e->region, sizeof e->region, str_trim(value));
	return true;
}

bool
s3xml_error(struct str body, struct s3xml_error *e)
{
	memset(e, 0, sizeof *e);
	if (parse(body, error_element, e) < 0)
		memset(e, 0, sizeof *e);
	return e->code[0] != '\0';
}

struct wanted {
	struct str parent, name;
	char *out;
	size_t size;
	bool found;
};

static bool
value_element(void *arg, struct str parent, struct str name, struct str value)
{
	struct wanted *w = arg;

	if (w->found || !str_eq(parent, w->parent) || !str_eq(name, w->name))
		return true;
	if (value.n >= w->size || (value.n && memchr(value.p, '\0', value.n)))
		return false;
	memcpy(w->out, value.n ? value.p : "", value.n);
	w->out[value.n] = '\0';
	w->found = true;
	return true;
}

bool
s3xml_value(struct str body, struct str parent, struct str name, char *out, size_t size)
{
	struct wanted w = { parent, name, out, size, false };

	out[0] = '\0';
	return parse(body, value_element, &w) == 0 && w.found;
}

/* ---- lists */

void
s3_page_init(struct s3_page *p, struct arena *a)
{
	*p = (struct s3_page){ .arena = a, .v = arena_alloc(a, S3XML_KEYS * sizeof *p->v), .mtime = HTTPDATE_NONE };
}

/* encoding-type=url: "+" is a blank. -ERR_CORRUPT would be too much for a stray "%": it stands for itself. */
static struct str
decode(struct arena *a, struct str s)
{
	char *out = arena_alloc(a, s.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		char hex[3] = { 0 }, *stop;
		if (s.p[i] == '%' && s.n - i > 2) {
			memcpy(hex, s.p + i + 1, 2);
			unsigned long c = strtoul(hex, &stop, 16);
			if (stop == hex + 2 && hex[0] != '-' && hex[0] != '+' && hex[0] != ' ') {
				out[n++] = (char)c;
				i += 2;
				continue;
			}
		}
		out[n++] = s.p[i] == '+' ? ' ' : s.p[i];
	}
	out[n] = '\0';
	return (struct str){ out, n };
}

bool
s3_page_element(void *arg, struct str parent, struct str name, struct str value)
{
	struct s3_page *p = arg;

	if (str_eq(parent, STR("Contents"))) {
		if (str_eq(name, STR("Key"))) {
			p->key = arena_dup(p->arena, value);
		} else if (str_eq(name, STR("Size"))) {
			return str_u64(str_trim(value), INT64_MAX, &p->size);
		} else if (str_eq(name, STR("LastModified"))) {
			p->mtime = iso8601_parse(str_trim(value));
			return p->mtime != HTTPDATE_NONE;
		}
	} else if (str_eq(name, STR("Contents"))) {
		if (p->n == S3XML_KEYS || p->key.n == 0 || p->mtime == HTTPDATE_NONE)
			return false;
		p->v[p->n++] = (struct s3_object){ p->key, p->size, p->mtime };
		p->key = STR_NONE;
		p->size = 0;
		p->mtime = HTTPDATE_NONE;
	} else if (str_eq(parent, STR("ListBucketResult"))) {
		if (str_eq(name, STR("IsTruncated")))
			p->truncated = str_eq(str_trim(value), STR("true"));
		else if (str_eq(name, STR("NextContinuationToken")))
			p->next = arena_dup(p->arena, value);
		else if (str_eq(name, STR("EncodingType")))
			p->encoded = str_eq(str_trim(value), STR("url"));
	} else if (str_eq(name, STR("ListBucketResult"))) {
		p->is_list = true;
		/* at the end only: the element that says so may come after the keys */
		for (unsigned i = 0; p->encoded && i < p->n; i++)
			p->v[i].key = decode(p->arena, p->v[i].key);
	}
	return true;
}

bool
s3_page_valid(const struct s3_page *p)
{
	return p->is_list && (!p->truncated || p->next.n);
}
