/* run.c - one command line from words to exit status */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ctl/cmd.h"

static int run_once(struct ctl *c, const struct call *call)
{
	int status;

	c->cmd = call->cmd;
	c->about = call->args_n && call->cmd->args_max != ARGS_JOB ? call->args[0] : NULL;
	status = call->cmd->run(c, call);

	fflush(c->out);
	return status;
}

/* --watch: on a terminal redrawn in place, else one answer after the other. */
static int run_again(struct ctl *c, const struct call *call)
{
	int status;

	stop_catch();
	for (;;) {
		if (c->tty)
			fputs("\033[H\033[2J", c->out);
		c->now_ms = wall_ms(wall_now());
		status = run_once(c, call);
		if (status || stop_signal)
			return stop_signal ? EXIT_INTERRUPTED : status;
		sleep_ms(c->watch_ms);
		if (stop_signal)
			return EXIT_INTERRUPTED;
	}
}

static int color_check(struct ctl *c)
{
	if (!c->opt_color || !strcmp(c->opt_color, "auto"))
		return 0;
	if (!strcmp(c->opt_color, "always")) {
		c->colors = true;
		return 0;
	}
	if (!strcmp(c->opt_color, "never")) {
		c->colors = false;
		c->ascii = true;
		return 0;
	}
	try_next(c, "--color auto, always or never");
	return usage_fault(c, "--color: '%s' is not known", c->opt_color);
}

/* Nothing asks a question unless somebody sits there to answer it. */
int sure(struct ctl *c, const char *what, const char *name)
{
	char line[NAME_BYTES + 2] = "";

	if (c->yes || c->dry_run || !c->errtty || isatty(STDIN_FILENO) != 1)
		return 0;
	fprintf(c->errs, "%s. Type %s to go on: ", what, name);
	fflush(c->errs);
	if (fgets(line, sizeof line, stdin) && !strncmp(line, name, strlen(name)) && line[strlen(name)] == '\n')
		return 0;
	fputs("not done\n", c->errs);
	return EXIT_OTHER;
}

int ctl_run(struct ctl *c, const char *const *words, size_t n)
{
	struct call call;
	int status = args_parse(c, words, n, &call);

	if (!status)
		status = color_check(c);
	if (status)
		return status;
	if (c->version) {
		fprintf(c->out, "sluisctl %s\n", SLUIS_VERSION);
		return 0;
	}
	if (!call.cmd || c->help) {
		if (call.cmd)
			help_command(c->out, call.cmd);
		else
			help_top(c->help || !n ? c->out : c->errs);
		return call.cmd || c->help || !n ? 0 : EXIT_USAGE;
	}
	status = c->watch_ms ? run_again(c, &call) : run_once(c, &call);
	if (fflush(c->out) != 0 || ferror(c->out)) { /* the answer did not arrive: do not say it did */
		if (errno != EPIPE)
			fprintf(c->errs, "sluisctl: cannot write the answer: %s\n", strerror(errno));
		return status ? status : EXIT_OTHER;
	}
	return status;
}

void ctl_done(struct ctl *c)
{
	context_learn(c);
	client_free(c->client);
	c->client = NULL;
	arena_done(&c->arena);
}
