/* index.c - the index as the old system makes it (behaviour.md 4.5): our added fields (px_…) are not in the mapping, for dynamic is false. */
#include "remote.h"
#include "../common/err.h"
#include "../common/log.h"
#include <jansson.h>
#include <string.h>

static const struct { const char *name, *type; bool index, doc_values; } fields[] = {
	{ "status_code",  "integer", false, true },
	{ "url",          "keyword", true,  true },
	{ "extension",    "keyword", true,  true },
	{ "content_size", "long",    false, true },
	{ "stored_at",    "date",    true,  true },
	{ "last_access",  "date",    true,  true },
	{ "vary",         "keyword", false, true },
	{ "vary_request", "keyword", false, true },
	{ "doc_type",     "keyword", true,  true },
	{ "manifest_b64", "keyword", false, false },
};

static json_t *
settings(const struct remote_options *o)
{
	json_t *properties = json_pack("{s{sssb}}", "headers", "type", "object", "enabled", 0);

	for (unsigned i = 0; i < sizeof fields / sizeof *fields; i++) {
		json_t *f = json_pack("{ss}", "type", fields[i].type);
		if (!fields[i].index)
			json_object_set_new(f, "index", json_false());
		if (!fields[i].doc_values)
			json_object_set_new(f, "doc_values", json_false());
		json_object_set_new(properties, fields[i].name, f);
	}
	return json_pack("{s{sisiss}s{sbso}}", "settings", "number_of_shards", o->shards, "number_of_replicas", o->replicas, "refresh_interval", "60s",
	                 "mappings", "dynamic", 0, "properties", properties);
}

int
remote_make_index(struct remote *r, int64_t timeout_ms)
{
	const struct remote_options *o = remote_options(r);
	struct remote_call c = { .method = "HEAD", .timeout_ms = timeout_ms };
	json_t *doc, *answer;
	char *text;
	const char *type;
	int err = remote_do(r, &c, NULL);

	if (err != -ERR_NOT_FOUND)
		return err;
	doc = settings(o);
	text = json_dumps(doc, JSON_COMPACT);
	c = (struct remote_call){ .method = "PUT", .body = str_c(text), .timeout_ms = timeout_ms };
	err = remote_do(r, &c, &answer);
	type = json_string_value(json_object_get(json_object_get(answer, "error"), "type"));
	if (err == -ERR_BAD_REQUEST && type && !strcmp(type, "resource_already_exists_exception"))
		err = 0; /* another node was faster */
	else if (err == 0)
		log_info("the Elasticsearch index %s is made", o->index);
	else if (err == -ERR_BAD_REQUEST)
		log_error("Elasticsearch does not make the index %s: %s", o->index, type ? type : "no reason given");
	json_decref(answer);
	json_decref(doc);
	free(text);
	return err;
}
