/* cmd_golden.c - sluis-sim golden: the published results, one line each */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "daemon/sim/golden.h"
#include "daemon/sim/main/cmd.h"

static const char help_text[] =
	"usage: sluis-sim golden [--data DIR]\n"
	"\n"
	"Reproduces published results and prints 'name: value expected' for each; the exit status is 1 if\n"
	"one is not reproduced: EASY rows in 12 digits, openb rows within their band, rows of the\n"
	"policy sluis at most (slowdown) or at least (allocation) what they are held against.\n"
	"\n"
	"  --data DIR   folder with the recorded data (default: $SLUIS_DATA, else ../shared/data)\n";

struct tally { unsigned rows, wrong; };

static void print_row(void *arg, const struct golden_report *r)
{
	struct tally *t = arg;

	t->rows++;
	t->wrong += !r->ok;
	(void)printf("%s: %.15g %.15g%s\n", r->name, r->value, r->expected, r->ok ? "" : "  DIFFERS");
	(void)fflush(stdout);
}

int cmd_golden(int argc, char **argv)
{
	enum { DATA = 1, HELP };
	static const struct option longs[] = {
		{"data", required_argument, NULL, DATA}, {"help", no_argument, NULL, HELP}, {NULL, 0, NULL, 0},
	};
	const char *data = golden_data_dir();
	struct tally tally = {0};
	struct err err;
	int c;

	while ((c = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
		switch (c) {
		case DATA: data = optarg; break;
		case HELP: (void)fputs(help_text, stdout); return 0;
		default: return usage_option(c, argv);
		}
	}
	if (optind < argc)
		return usage("'%s' is not an option", argv[optind]);
	if (golden_easy(data, NULL, print_row, &tally, &err) || golden_pack(data, NULL, print_row, &tally, &err)) {
		(void)err_hint(&err, "the recorded data is looked for in '%s'; set SLUIS_DATA or give --data", data);
		return fail(&err);
	}
	(void)printf("%u of %u reproduced\n", tally.rows - tally.wrong, tally.rows);
	return tally.wrong ? EXIT_BAD : 0;
}
