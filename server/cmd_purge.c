/* cmd_purge.c - passsage purge */
#include <sysexits.h>
#include "../common/err.h"
#include "../common/log.h"
#include "cmd.h"
#include "purge.h"

void page_purge(const struct cmd_place *place, const struct http_request *req, struct arena *a, struct page *out)
{
	struct str query = req->url.query, name, value;
	enum purge_kind kind = PURGE_KINDS;
	const char *problem;
	struct purge p;
	while (query_next(a, &query, &name, &value))
		for (enum purge_kind k = 0; k < PURGE_KINDS; k++)
			if (str_eq(name, str_c(purge_names[k]))) {
				if (kind != PURGE_KINDS) {
					cmd_say(a, out, 400, "one of url, prefix, host and all at a time");
					return;
				}
				kind = k;
				if (purge_parse(a, kind, value, &p, &problem) < 0) {
					cmd_say(a, out, 400, "%.*s: %s", (int)(value.n < 1024 ? value.n : 1024), value.p, problem);
					return;
				}
			}
	if (kind == PURGE_KINDS) {
		cmd_say(a, out, 400, "what? It needs one of url, prefix, host and all");
		return;
	}
	int64_t n = purge_run(&p, place->fills, place->metadata, place->rules);
	if (n < 0) {
		const char *trouble = metadata_health(place->metadata);
		cmd_say(a, out, 503, "the metadata database: %s", trouble != NULL ? trouble : err_text((int)n));
		return;
	}
	log_info("purge of %s %.*s: %lld removed", purge_names[kind], STRP(kind == PURGE_URL || kind == PURGE_PREFIX ? p.url.text : p.text), (long long)n);
	cmd_say(a, out, 200, "%lld removed", (long long)n);
}

int cmd_purge(int argc, char **argv)
{
	static const struct cmd_option options[] = { { 0, "prefix", true }, { 0, "host", true }, { 0, "all", false } };
	static const char *const names[] = { "prefix", "host", "all" };
	struct cmd_words w = { argc, argv, 0, NULL, false };
	struct cmd_question q;
	int o, given = 0;
	question_begin(&q, "/purge");
	while ((o = cmd_next(&w, options, 3)) != WORDS_END) {
		question_add(&q, o == WORDS_WORD ? "url" : names[o], o == WORDS_WORD || options[o].takes ? w.value : "1");
		given++;
	}
	if (given != 1)
		cmd_refuse(argv[0], given == 0 ? "purge what? It needs a URL, --prefix, --host or --all" : "one URL, --prefix, --host or --all at a time");
	return question_print(&q, "POST");
}
