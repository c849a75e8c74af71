/* The metrics page: every row of the counters table, as Prometheus reads it. */
#include <stdlib.h>
#include "../../common/counters.h"
#include "../../server/metrics.h"
#include "tap.h"

static struct counters *table;

/* Every line is a comment of a known kind or "name[{labels}] value". */
static bool
line_ok(struct str line)
{
	if (str_starts(line, STR("# HELP passsage_")) || str_starts(line, STR("# TYPE passsage_")))
		return true;
	struct str value = line, name = str_cut(&value, ' ');
	char number[64], *end;
	if (!str_starts(name, STR("passsage_")) || value.n == 0 || value.n >= sizeof number)
		return false;
	memcpy(number, value.p, value.n);
	number[value.n] = 0;
	strtod(number, &end);
	return *end == 0;
}

int
main(void)
{
	struct arena a;
	arena_init(&a);
	table = counters_init(aligned_alloc(128, (counters_size() + 127) / 128 * 128));
	counters_use(table, 0);
	count_add(COUNT_requests, 12);
	count_add(COUNT_bytes_sent, 123456789012345);
	count_add(COUNT_connections_open, 3);
	counters_use(table, 1);
	count_add(COUNT_requests, 30);

	struct page_text t = { .arena = &a };
	metrics_text(&t, table, &(struct metrics_extra){ .started = 1700000000500, .workers = 2, .degraded = true });
	struct str all = { t.p, t.n };
	ok(str_has(all, STR("\n# TYPE passsage_requests_total counter\npasssage_requests_total 42\n")), "counters of all processes are added up, and end in _total");
	ok(str_has(all, STR("\npasssage_bytes_sent_total 123456789012345\n")), "large numbers are exact");
	ok(str_has(all, STR("\n# TYPE passsage_connections_open gauge\npasssage_connections_open 3\n")), "a gauge keeps its name");
	ok(str_has(all, STR("\npasssage_build_info{version=\"" PACKAGE_VERSION "\"} 1\n")), "the version is a label");
	ok(str_has(all, STR("\npasssage_start_time_seconds 1700000000.5\n")), "times are in seconds");
	ok(str_has(all, STR("\npasssage_degraded 1\n")), "degraded shows");
	for (unsigned i = 0; i < COUNT_MAX; i++)
		if (!str_has(all, arena_printf(&a, "# HELP passsage_%s", counter_table[i].name)))
			ok(0, "%s is there", counter_table[i].name);
	ok(all.p[all.n - 1] == '\n', "the last line ends");
	unsigned bad = 0;
	while (all.n > 0) {
		struct str line = str_cut(&all, '\n');
		if (!line_ok(line)) {
			bad++;
			note("%.*s", STRP(line));
		}
	}
	is_int(bad, 0, "every line is one that Prometheus reads");

	struct page_text j = { .arena = &a };
	metrics_json(&j, table);
	struct str json = { j.p, j.n };
	ok(str_starts(json, STR("{\n  \"connections\": 0,")) && str_has(json, STR("\n  \"requests\": 42,")) && str_ends(json, STR("\n}\n")), "the same as JSON");
	arena_fini(&a);
	return done_testing();
}
