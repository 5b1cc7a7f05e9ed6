/* main.c - sluis-sim: published experiments and sluisd's policies over recorded traces */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/sim/main/cmd.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *text;
} commands[] = {
	{"jobs", cmd_jobs, "run a batch log (SWF) through a queueing policy"},
	{"pack", cmd_pack, "place a list of pods on a list of GPU nodes"},
	{"divide", cmd_divide, "share one pool between training jobs and inference leases"},
	{"golden", cmd_golden, "reproduce the published results, fail if one differs"},
};

static const char top[] =
	"usage: sluis-sim COMMAND [OPTION ...]\n"
	"\n"
	"Runs the scheduling algorithms of sluisd over recorded traces in virtual time.\n"
	"\n";

static int help(void)
{
	(void)fputs(top, stdout);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		(void)printf("  %-8s %s\n", commands[i].name, commands[i].text);
	(void)puts("\n'sluis-sim COMMAND --help' lists the options of a command; see also sluis-sim(1).");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return usage("no command given");
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
		return help();
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		(void)puts("sluis-sim " SLUIS_VERSION);
		return 0;
	}
	opterr = 0; /* usage_option() tells it */
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	return usage("'%s' is not a command", argv[1]);
}

int fail(const struct err *err)
{
	(void)fprintf(stderr, "sluis-sim: %s\n", err->msg);
	if (err->hint[0])
		(void)fprintf(stderr, "  %s\n", err->hint);
	return EXIT_BAD;
}

int usage(const char *fmt, ...)
{
	va_list ap;

	(void)fputs("sluis-sim: ", stderr);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputs("\n  'sluis-sim --help' lists the commands\n", stderr);
	return EXIT_USAGE;
}

int usage_option(int c, char **argv)
{
	const char *word = argv[optind - 1];

	if (c == ':')
		(void)fprintf(stderr, "sluis-sim: %s: the value is missing\n", word);
	else if (optopt >= ' ') /* a letter; the word may hold more of them */
		(void)fprintf(stderr, "sluis-sim: '-%c' is not an option of %s\n", optopt, argv[0]);
	else
		(void)fprintf(stderr, "sluis-sim: '%s' is not an option of %s\n", word, argv[0]);
	(void)fprintf(stderr, "  'sluis-sim %s --help' lists its options\n", argv[0]);
	return EXIT_USAGE;
}

int parse_int(const char *option, const char *text, int64_t low, int64_t high, int64_t *ret, struct err *err)
{
	char *end;
	long long v;

	errno = 0;
	v = strtoll(text, &end, 10);
	if (errno || end == text || *end || v < low || v > high)
		return err_set(err, ERR_RANGE, "%s takes a number from %" PRId64 " to %" PRId64 ", not '%s'", option,
			       low, high, text);
	*ret = v;
	return 0;
}

int parse_bad_lines(const char *text, struct bad_lines *ret, struct err *err)
{
	ret->skip = strcmp(text, "skip") == 0;
	if (!ret->skip && strcmp(text, "refuse") != 0)
		return err_set(err, ERR_INVAL, "--bad-lines takes refuse or skip, not '%s'", text);
	return 0;
}

void progress_begin(struct progress *p, const char *what)
{
	*p = (struct progress){.what = what, .begun_ms = mono_ms(mono_now()), .on = isatty(STDERR_FILENO) == 1};
	p->drawn_ms = p->begun_ms;
}

void progress_step(void *arg, size_t done, size_t all)
{
	enum { WIDTH = 30, EVERY_MS = 200, QUIET_MS = 1000 };
	struct progress *p = arg;
	int64_t now_ms;
	size_t filled;

	if (!p->on)
		return;
	now_ms = mono_ms(mono_now());
	if (now_ms - p->begun_ms < QUIET_MS || now_ms - p->drawn_ms < EVERY_MS)
		return;
	filled = all ? done * WIDTH / all : WIDTH;
	(void)fprintf(stderr, "\r%s [%.*s%*s] %zu of %zu, %" PRId64 " s left ", p->what, (int)filled,
		      "##############################", (int)(WIDTH - filled), "", done, all,
		      done ? (now_ms - p->begun_ms) * (int64_t)(all - done) / (int64_t)done / 1000 : 0);
	p->drawn_ms = now_ms;
}

void progress_end(struct progress *p)
{
	if (p->on && p->drawn_ms != p->begun_ms)
		(void)fputs("\r\033[K", stderr);
}

const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int make_dir(const char *dir, struct err *err)
{
	if (mkdir(dir, 0777) && errno != EEXIST)
		return err_set_errno(err, ERR_IO, "cannot make '%s'", dir);
	return 0;
}

int write_file(const char *dir, const char *name, struct buf *b, struct err *err)
{
	char path[4096];
	FILE *f;
	bool failed;

	if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path)
		return err_set(err, ERR_RANGE, "the path '%s' is too long", dir);
	f = fopen(path, "w");
	if (!f)
		return err_set_errno(err, ERR_IO, "cannot write '%s'", path);
	failed = fwrite(b->data, 1, b->len, f) != b->len;
	failed |= fclose(f) != 0;
	buf_reset(b);
	return failed ? err_set(err, ERR_IO, "cannot write '%s'", path) : 0;
}

int print_out(const struct buf *b)
{
	if (fwrite(b->data, 1, b->len, stdout) == b->len && fflush(stdout) == 0)
		return 0;
	(void)fprintf(stderr, "sluis-sim: cannot write the result: %s\n", strerror(errno));
	return EXIT_BAD;
}
