/* documents.c - see documents.h. */
#include "documents.h"
#include "../common/counters.h"
#include "../common/err.h"
#include <stdlib.h>
#include <string.h>

static int64_t
integer(const json_t *j, const char *name, int64_t otherwise)
{
	const json_t *v = json_object_get(j, name);

	return json_is_integer(v) ? json_integer_value(v) : otherwise;
}

int
documents_get(struct remote *r, const struct str ids[], unsigned n, const char *excludes, int64_t timeout_ms, size_t answer_max,
	documents_get_f *fn, void *arg)
{
	struct remote_call c = { .method = "POST", .timeout_ms = timeout_ms, .answer_max = answer_max };
	json_t *list = json_array(), *body = json_pack("{so}", "ids", list), *answer, *docs, *d;
	char *text, path[256];
	int err, seen = 0;
	bool no_index = false;
	size_t i;

	for (unsigned k = 0; k < n; k++)
		json_array_append_new(list, json_stringn(ids[k].p, ids[k].n)); /* an id that is no UTF-8 is not there: checked below by its place */
	if (json_array_size(list) != n) {
		json_decref(body);
		return -ERR_BAD_REQUEST;
	}
	text = json_dumps(body, JSON_COMPACT);
	snprintf(path, sizeof path, "_mget?filter_path=docs._id,docs._source,docs._seq_no,docs._primary_term,docs.found,docs.error.type%s%s",
	         excludes ? "&_source_excludes=" : "", excludes ? excludes : "");
	c.path = str_c(path);
	c.body = str_c(text);
	err = remote_do(r, &c, &answer);
	docs = json_object_get(answer, "docs");
	if (err == 0 && json_array_size(docs) != n)
		err = -ERR_ES_FAILED;
	if (err == 0)
		json_array_foreach(docs, i, d) {
			const json_t *id = json_object_get(d, "_id");
			struct document doc = { ids[i], json_object_get(d, "_source"), integer(d, "_seq_no", -1), integer(d, "_primary_term", -1) };
			bool whole = doc.source ? json_is_object(doc.source) && doc.seq_no >= 0 && doc.primary_term >= 0
				: json_is_false(json_object_get(d, "found"));
			if (!whole || !str_eq(ids[i], (struct str){ json_string_value(id), json_string_length(id) })) {
				const char *type = json_string_value(json_object_get(json_object_get(d, "error"), "type"));
				no_index |= type && !strcmp(type, "index_not_found_exception");
				continue;
			}
			fn(arg, (unsigned)i, &doc);
			seen++;
		}
	json_decref(answer);
	json_decref(body);
	free(text);
	return err ? err : seen == (int)n ? 0 : seen ? -ERR_AGAIN : no_index ? -ERR_NOT_FOUND : -ERR_ES_FAILED;
}

/* --- bulk ------------------------------------------------------------------------------------------------------------------------ */

void
bulk_fini(struct bulk *b)
{
	free(b->p);
	*b = (struct bulk){ 0 };
}

static int
append(const char *p, size_t n, void *arg)
{
	struct bulk *b = arg;

	if (b->cap - b->n < n) {
		b->cap = (b->n + n) * 2;
		b->p = xrealloc(b->p, b->cap);
	}
	memcpy(b->p + b->n, p, n);
	b->n += n;
	return 0;
}

static void
line(struct bulk *b, const json_t *j)
{
	json_dump_callback(j, append, b, JSON_COMPACT);
	append("\n", 1, b);
}

static void
action(struct bulk *b, const char *verb, struct str id, const struct document *condition, const json_t *source)
{
	json_t *at = json_pack("{ss%}", "_id", id.p, id.n), *a;

	if (!at) /* an id that is no UTF-8 */
		return;
	if (condition) {
		json_object_set_new(at, "if_seq_no", json_integer(condition->seq_no));
		json_object_set_new(at, "if_primary_term", json_integer(condition->primary_term));
	}
	a = json_pack("{so}", verb, at);
	line(b, a);
	json_decref(a);
	if (source)
		line(b, source);
	b->actions++;
}

void
bulk_put(struct bulk *b, const struct document *d, const json_t *source)
{
	if (d->source)
		action(b, source ? "index" : "delete", d->id, d, source);
	else if (source)
		action(b, "create", d->id, NULL, source);
}

void
bulk_update(struct bulk *b, struct str id, const json_t *partial)
{
	json_t *doc = json_pack("{sO}", "doc", partial);

	action(b, "update", id, NULL, doc);
	json_decref(doc);
}

void
bulk_index(struct bulk *b, struct str id, const json_t *source)
{
	action(b, source ? "index" : "delete", id, NULL, source);
}

static int
err_of(int64_t status)
{
	return status >= 200 && status < 300 ? 0 : status == 404 ? -ERR_NOT_FOUND : status == 409 ? -ERR_CONFLICT : status == 429 ? -ERR_BUSY
		: status == 400 || status == 413 ? -ERR_BAD_REQUEST : -ERR_ES_FAILED; /* 403 is an index that is read-only for a while */
}

int
bulk_send(struct remote *r, struct bulk *b, bool refresh, int64_t timeout_ms, bulk_f *fn, void *arg)
{
	struct remote_call c = { .method = "POST", .lines = true, .body = { b->p, b->n }, .timeout_ms = timeout_ms };
	json_t *answer, *items, *item, *result;
	const char *verb;
	size_t i;
	int err;

	if (!b->actions)
		return 0;
	/* the only errors of the request as a whole are its own; those of the items are in the items */
	c.path = refresh ? STR("_bulk?refresh=true&filter_path=items.*.status,items.*.error.type,items.*.error.reason")
		: STR("_bulk?filter_path=items.*.status,items.*.error.type,items.*.error.reason");
	err = remote_do(r, &c, &answer);
	items = json_object_get(answer, "items");
	if (err == 0 && json_array_size(items) != b->actions)
		err = -ERR_ES_FAILED;
	if (err == 0)
		json_array_foreach(items, i, item)
			json_object_foreach(item, verb, result) {
				const char *reason = json_string_value(json_object_get(json_object_get(result, "error"), "reason"));
				int status = err_of(integer(result, "status", 500));
				if (status == -ERR_BUSY)
					count(COUNT_es_throttled);
				if (fn)
					fn(arg, (unsigned)i, status, reason ? reason : "");
				break;
			}
	json_decref(answer);
	return err;
}

/* --- searches ---------------------------------------------------------------------------------------------------------------------- */

/* One page: 1 there was something, 0 the end or fn has stopped, -ERR_X. */
static int
page(const json_t *answer, documents_walk_f *fn, void *arg)
{
	json_t *hits = json_object_get(json_object_get(answer, "hits"), "hits"), *hit;
	size_t i;

	if (!json_is_array(hits) || json_is_true(json_object_get(answer, "timed_out"))
	    || integer(json_object_get(answer, "_shards"), "failed", 1) != 0)
		return -ERR_ES_FAILED;
	json_array_foreach(hits, i, hit) {
		const json_t *id = json_object_get(hit, "_id");
		struct document d = { .id = { json_string_value(id), json_string_length(id) }, .source = json_object_get(hit, "_source") };
		if (!json_is_string(id))
			return -ERR_ES_FAILED;
		if (!fn(arg, &d))
			return 0;
	}
	return json_array_size(hits) > 0;
}

static void
end_scroll(struct remote *r, const json_t *answer)
{
	json_t *id = json_object_get(answer, "_scroll_id"), *body = json_is_string(id) ? json_pack("{sO}", "scroll_id", id) : NULL;
	char *text;

	if (!body)
		return;
	text = json_dumps(body, JSON_COMPACT);
	remote_do(r, &(struct remote_call){ .method = "DELETE", .path = STR("/_search/scroll"), .body = str_c(text) }, NULL);
	json_decref(body);
	free(text);
}

int
documents_walk(struct remote *r, const json_t *search, documents_walk_f *fn, void *arg)
{
	struct remote_call c = { .method = "POST", .path = STR("_search?scroll=1m") };
	char *text = json_dumps(search, JSON_COMPACT);
	json_t *answer, *body;
	int err;

	c.body = str_c(text);
	err = remote_do(r, &c, &answer);
	free(text);
	while (err == 0 && (err = page(answer, fn, arg)) > 0) {
		json_t *id = json_object_get(answer, "_scroll_id");
		if (!json_is_string(id)) {
			err = -ERR_ES_FAILED;
			break;
		}
		body = json_pack("{sssO}", "scroll", "1m", "scroll_id", id);
		text = json_dumps(body, JSON_COMPACT);
		json_decref(answer);
		c.path = STR("/_search/scroll");
		c.body = str_c(text);
		err = remote_do(r, &c, &answer);
		json_decref(body);
		free(text);
	}
	end_scroll(r, answer);
	json_decref(answer);
	return err;
}
