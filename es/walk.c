/* walk.c - all manifests of the index, for whoever cleans the bucket: a document that is not seen costs its body, so what is not certain is an error. */
#include "codec.h"
#include "documents.h"
#include "../common/err.h"
#include "../common/log.h"

#define PAGE 100 /* documents: with a manifest of 1 MiB each a page is still an answer that is read */

struct walk {
	remote_walk_f *fn;
	void *arg;
	struct arena arena;
	bool broken;
};

static bool
visit(void *arg, const struct document *d)
{
	struct walk *w = arg;
	struct meta meta;

	arena_reset(&w->arena);
	meta_init(&meta, &w->arena);
	meta.id = d->id;
	if (!json_is_object(d->source)) {
		w->broken = true;
		return false;
	}
	meta.doc_type = str_c(json_string_value(json_object_get(d->source, "doc_type")));
	if (codec_manifest(d->source, &w->arena, &meta.manifest) < 0) {
		log_warn("the manifest of %.*s in Elasticsearch cannot be read", STRP(d->id));
		w->broken = true;
		return false;
	}
	return !meta.manifest.n || w->fn(w->arg, &meta);
}

int
remote_walk(struct remote *r, remote_walk_f *fn, void *arg, char problem[256])
{
	struct walk w = { .fn = fn, .arg = arg };
	json_t *search = json_pack("{sis[ss]s[s]}", "size", PAGE, "_source", "manifest_b64", "doc_type", "sort", "_doc");
	json_t *answer;
	int err = remote_do(r, &(struct remote_call){ .method = "POST", .path = STR("_refresh") }, &answer);

	arena_init(&w.arena);
	if (err == 0 && json_integer_value(json_object_get(json_object_get(answer, "_shards"), "failed")))
		err = -ERR_ES_FAILED;
	json_decref(answer);
	if (err == 0)
		err = documents_walk(r, search, visit, &w);
	if (err == 0 && w.broken)
		err = -ERR_CORRUPT;
	snprintf(problem, 256, "%s", err == 0 ? "" : remote_trouble(r) ? remote_trouble(r) : err_text(err));
	json_decref(search);
	arena_fini(&w.arena);
	return err;
}
