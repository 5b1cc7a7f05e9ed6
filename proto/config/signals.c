/* signals.c - signals by name (see signals.h) */
#include "proto/config/signals.h"

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <strings.h>

#include "proto/base/ensure.h"
#include "proto/config/units.h"

static const struct { const char *name; int number; } signals[] = {
	{"HUP", SIGHUP},   {"INT", SIGINT},	{"QUIT", SIGQUIT}, {"ABRT", SIGABRT}, {"KILL", SIGKILL}, {"USR1", SIGUSR1},
	{"USR2", SIGUSR2}, {"ALRM", SIGALRM},	{"TERM", SIGTERM}, {"CHLD", SIGCHLD}, {"CONT", SIGCONT}, {"STOP", SIGSTOP},
	{"TSTP", SIGTSTP}, {"TTIN", SIGTTIN},	{"TTOU", SIGTTOU}, {"URG", SIGURG},   {"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ},
	{"IO", SIGIO},	   {"WINCH", SIGWINCH}, {"PWR", SIGPWR},
};

int signal_number(const char *text)
{
	int64_t v = 0;

	if (units_count(text, 1, 64, &v, NULL) == 0)
		return (int)v;
	if (strncasecmp(text, "SIG", 3) == 0)
		text += 3;
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		if (strcasecmp(signals[i].name, text) == 0)
			return signals[i].number;
	return 0;
}

const char *signal_text(int number)
{
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		if (signals[i].number == number)
			return signals[i].name;
	return "?";
}
