/* The commands. COMMAND(name, words, what it does, more: paragraphs for `passsage help NAME` and the manual, "" none)
 * Each is cmd_<name>() in cmd_<name>.c, or in cmd.c. --help, the manual page and main.c use this. */
COMMAND(explain, "[-H 'NAME: VALUE']... [-X METHOD] [--client ADDRESS] [--json] URL",
	"Says which rule decides on a request and why, its key, what is stored for it, and what would be done with it now.",
	"-H is a field of the request, -X its method (GET), --client the address that it comes from, for rules that look at that.\n"
	"Nothing is asked of the origin, and nothing changes. --json is for scripts: the same names, with _ for blanks.")
COMMAND(get, "[--head | -i] [-o FILE] [-H 'NAME: VALUE']... URL",
	"Writes the body of what is stored for a request, exactly as the origin sent it; the origin is not asked.",
	"--head writes the status and the header fields instead, -i both. -o writes to FILE, which appears when all of it is there and right. -H is a field of the request: it selects among variants.\n"
	"The status is 1 when nothing is stored for it. The bytes are checked; when they are not those that were stored the status is 65.")
COMMAND(fetch, "-o FILE [-H 'NAME: VALUE']... URL | [-j N] [-H 'NAME: VALUE']... [--from FILE] URL...",
	"With -o downloads to FILE, by several requests at a time where that is faster; without, fetches URLs through the running instance, so that it has them.",
	"-o needs no instance. It goes on where an earlier one was interrupted: what is there is in FILE.part and FILE.part.state until all is. FILE appears when it is complete. --http-concurrency and --parallel-min are its bounds.\n"
	"Without -o, -j is how many URLs at a time (4), and FILE has one a line; - is standard input. For each the status, its size, hit or miss, the time, and the URL are printed, and the sums.\n"
	"-H is a field of the request. Redirects are followed, but not from https to http. The status is 1 when the origin, or any URL of many, answered with an error status or not at all.")
COMMAND(purge, "URL | --prefix URLPREFIX | --host HOST | --all",
	"Removes what is stored under a URL with all its variants, under all URLs that begin so, of a host, or all; says how many responses that were.",
	"From then on no request finds it, and what was being downloaded at that moment is not stored either.\n"
	"A prefix without a path is a whole origin. HOST may be *.example.com, all hosts below it, or a network.\n"
	"Bodies are shared by all objects with the same bytes, so their disk space is freed by the janitor, not at once.\n"
	"Clients may do the same for a URL with the method PURGE, from the addresses of --purge-from.")
COMMAND(bans, "[list | lift HOST | lift ORIGIN | lift --all]",
	"Lists the origins that cannot be reached, and lifts their bans, so that the next request goes there.",
	"HOST is all origins of a host; ORIGIN is one of them, as in the list: https://example.com:443. Bans are those of a running instance.")
COMMAND(gc, "[--delete] [--grace TIME]",
	"Says which objects in the bucket no document in Elasticsearch needs any more, and that are older than --grace (7d).",
	"--delete removes them; --grace must be 2d or more then. When the bucket or the index cannot be read to the end, nothing is deleted.")
COMMAND(steps, "", "Prints the steps of a request's way: what each does, and which may follow it.", "")
COMMAND(help, "[COMMAND]", "Explains a command.", "")
#undef COMMAND
