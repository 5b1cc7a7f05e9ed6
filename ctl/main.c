/* main.c - sluisctl: asks sluisd, prints what it said */
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ctl/cmd.h"

static int terminal_columns(void)
{
	const char *env = getenv("COLUMNS");
	int n = env ? atoi(env) : 0;
	struct winsize ws;

	if (n <= 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0)
		n = ws.ws_col;
	return n >= 20 ? n : 80;
}

int main(int argc, char **argv)
{
	const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
	struct ctl c = {.out = stdout, .errs = stderr};
	bool dumb = term && !strcmp(term, "dumb");
	int status;

	(void)signal(SIGPIPE, SIG_IGN); /* a closed pipe shows when the answer is flushed */
	(void)setlocale(LC_ALL, "");    /* libsmartcols and the times need it; "C" stays if it fails */
	(void)setlocale(LC_NUMERIC, "C");
	c.tty = isatty(STDOUT_FILENO) == 1;
	c.errtty = isatty(STDERR_FILENO) == 1 && !dumb;
	c.ascii = dumb || (no_color && no_color[0]) || strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
	c.colors = c.tty && !c.ascii;
	c.columns = terminal_columns();
	c.now_ms = wall_ms(wall_now());
	status = ctl_run(&c, (const char *const *)argv + 1, argc > 0 ? (size_t)argc - 1 : 0);
	ctl_done(&c);
	return status;
}
