/* failpoint.c - places where a test lets the process die */
#include "proto/base/failpoint.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void say(const char *word, const char *name)
{
	const char *path = getenv("SLUIS_FAILPOINT_LOG");
	char line[160];
	int n, fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;

	if (fd < 0)
		return;
	n = snprintf(line, sizeof line, "%s %s\n", word, name);
	(void)!write(fd, line, (size_t)n); /* one write, so lines of two threads do not mix */
	(void)close(fd);
}

void failpoint_reached(const char *name)
{
	static atomic_ulong times;
	const char *wanted = getenv("SLUIS_FAILPOINT");
	size_t n = strlen(name);
	unsigned long nth = 1;

	say("reached", name);
	if (!wanted || strncmp(wanted, name, n) != 0 || (wanted[n] && wanted[n] != ':'))
		return;
	if (wanted[n])
		nth = strtoul(wanted + n + 1, NULL, 10);
	if (atomic_fetch_add(&times, 1) + 1 != nth)
		return;
	say("died", name);
	(void)kill(getpid(), SIGKILL);
	for (;;)
		(void)pause(); /* not one instruction more of what comes next */
}
