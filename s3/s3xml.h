/* s3xml.h - the XML that S3 and STS answer with, read by expat. What comes from the network is bounded: depth, text, number of keys; a
 * document type (and so any entity but the five) is refused. One thread at a time. */
#pragma once
#include "../common/arena.h"

#define S3XML_DEPTH 16
#define S3XML_TEXT 8192       /* the longest text of an element: session tokens have up to 4 KiB, an encoded key 3 */
#define S3XML_BODY (64 * 1024) /* what is read of an answer that is not a list */

/* An element has ended: its name, its parent's ("" of the root), both without namespace, and the text that is directly in it, after its
 * last child. false stops the reading (-ERR_CORRUPT). Views are good for the call. */
typedef bool s3xml_element_f(void *arg, struct str parent, struct str name, struct str text);
struct s3xml;
struct s3xml *s3xml_new(s3xml_element_f *, void *arg);
int s3xml_feed(struct s3xml *, const void *, size_t); /* 0 or -ERR_CORRUPT: it is no XML, or beyond a bound */
int s3xml_end(struct s3xml *);                        /* no more comes: 0, or -ERR_CORRUPT when that is not all of it */
void s3xml_free(struct s3xml **);

/* <Error><Code>…: what S3 says is wrong. Fields that are not there are "". false: this is no such document. Message is one line of text. */
struct s3xml_error { char code[64], message[192], region[64]; };
bool s3xml_error(struct str body, struct s3xml_error *);
/* The first <parent><name>…; false when there is none, or it does not fit. */
bool s3xml_value(struct str body, struct str parent, struct str name, char *out, size_t size);

/* A page of ListObjectsV2, as it comes. */
#define S3XML_KEYS 1000       /* S3 sends no more on a page */
struct s3_object { struct str key; uint64_t size; int64_t mtime; }; /* mtime in ms */
struct s3_page {
	struct arena *arena;
	struct s3_object *v;
	unsigned n;
	bool truncated;          /* there are more, from next on */
	struct str next;
	/* while it is read */
	struct str key;
	uint64_t size;
	int64_t mtime;
	bool encoded, is_list;
};
void s3_page_init(struct s3_page *, struct arena *);
s3xml_element_f s3_page_element; /* arg: the page */
/* After s3xml_end: is it a whole list? */
bool s3_page_valid(const struct s3_page *);
