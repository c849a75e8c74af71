/* cmd_bans.c - passsage bans */
#include "cmd.h"
#include <sysexits.h>
#include "../common/log.h"
#include "../common/settings.h"

void page_lift(const struct cmd_place *place, const struct http_request *req, struct arena *a, struct page *out)
{
	struct str query = req->url.query, name, value, what = STR_NONE;
	bool all = false;
	while (query_next(a, &query, &name, &value)) {
		all |= str_eq(name, STR("all"));
		if (str_eq(name, STR("origin")))
			what = value;
	}
	if (all == (what.n > 0)) {
		cmd_say(a, out, 400, "what? It needs an origin such as https://example.com:443, a host, or all");
		return;
	}
	unsigned n = place->bans != NULL ? bans_lift(place->bans, what) : 0;
	log_info("bans of %.*s are lifted: %u", (int)(all ? 3 : what.n), all ? "all" : what.p, n);
	if (n > 0 || all)
		cmd_say(a, out, 200, "%u lifted", n);
	else
		cmd_say(a, out, 404, "no failure of %.*s is known", (int)(what.n < 300 ? what.n : 300), what.p);
}

int cmd_bans(int argc, char **argv)
{
	static const struct cmd_option options[] = { { 0, "all", false } };
	struct cmd_words w = { argc, argv, 0, NULL, false };
	struct cmd_question q;
	const char *verb = NULL, *what = NULL;
	bool all = false;
	for (int o; (o = cmd_next(&w, options, 1)) != WORDS_END;) {
		if (o == 0)
			all = true;
		else if (verb == NULL)
			verb = w.value;
		else if (what == NULL)
			what = w.value;
		else
			cmd_refuse(argv[0], "%s: one HOST or ORIGIN at a time", w.value);
	}
	const bool lift = verb != NULL && strcmp(verb, "lift") == 0;
	if (verb != NULL && !lift && strcmp(verb, "list") != 0)
		cmd_refuse(argv[0], "%s: must be list or lift", verb);
	if (lift ? all == (what != NULL) : all || what != NULL)
		cmd_refuse(argv[0], lift ? "lift what? It needs a HOST, an ORIGIN or --all" : "list takes no argument");
	question_begin(&q, lift ? "/bans/lift" : "/debug/bans");
	if (lift)
		question_add(&q, all ? "all" : "origin", all ? "1" : what);
	if (!cmd_instance())
		die(EX_UNAVAILABLE, "no passsage runs on %s, so there are no bans", conf()->state_dir);
	return question_print(&q, lift ? "POST" : "GET");
}
