/* main.c - the program: settings first, then what the command line asks for. */
#include <stdio.h>
#include <sysexits.h>
#include "../common/log.h"
#include "../common/settings.h"
#include "cmd.h"
#include "gate.h"
#include "htpasswd.h"
#include "master.h"
#include "policyfile.h"
#include "worker.h"

static void check_rules(void)
{
	char problem[RULE_PROBLEM];
	struct ruleset *rules = rules_read(problem);
	if (rules == NULL)
		die(EX_USAGE, "%s", problem);
	ruleset_free(&rules);
	char wrong[HTPASSWD_PROBLEM];
	struct htpasswd *users = gate_users(wrong);
	if (*wrong != 0)
		die(EX_USAGE, "%s", wrong);
	htpasswd_free(&users);
}

int main(int argc, char **argv)
{
	title_init(argc, argv);
	struct settings_command c = settings_init(argc, argv);
	switch (c.ask) {
	case ASK_HELP:
		settings_help(stdout);
		cmd_list(stdout);
		return 0;
	case ASK_VERSION:
		printf("passsage %s\n", PACKAGE_VERSION);
		return 0;
	case ASK_DUMP: /* it checks a configuration, so this file, too */
		check_rules();
		settings_dump(stdout);
		return 0;
	case ASK_MANUAL:
		settings_manual(stdout);
		return 0;
	case ASK_SAMPLE:
		settings_sample(stdout);
		return 0;
	case ASK_MARKDOWN:
		settings_markdown(stdout);
		return 0;
	case ASK_RUN:
		break;
	}
	if (c.argc > 0)
		return cmd_run(c.argc, c.argv);
	return master_run();
}
