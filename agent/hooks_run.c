/* hooks_run.c - see hooks.h
 *
 * A process of its own under a shim of its own: it outlives the agent, as tasks do, and its end, and what it
 * said, are there for the next one. What a program starts stays below that shim, whatever session it makes for
 * itself: when this runner has ended, the shim kills the rest.
 *
 * Source: the order and choice of run-parts(8); one process group per program and a limit as Slurm's prologs.
 */
#include "agent/hooks.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

enum {
	KILL_WAIT_MS = 10000,
	TAKE_BYTES = 65536, /* at a time: what a pipe holds, so that all is taken from one that nobody writes to any more */
	CANNOT = 126,
};

/* Root's or ours, and nobody else's to change. In a folder with the sticky bit others may make files of their own, that is all. */
static bool ours_alone(const struct stat *st, bool above)
{
	return (st->st_uid == 0 || st->st_uid == geteuid()) && (!(st->st_mode & 022) || (above && (st->st_mode & S_ISVTX)));
}

/* May others change what `path` leads to, a folder on the way there, or a link? Then at[PATH_MAX] says which. */
static bool changeable(const char *path, char *at)
{
	size_t n = (size_t)snprintf(at, PATH_MAX, "%s", path);

	if (n >= PATH_MAX)
		return true;
	for (bool above = false; n; above = true) {
		struct stat link, there;

		at[n] = '\0';
		if (lstat(at, &link) != 0 || stat(at, &there) != 0 || !ours_alone(&there, above) ||
		    (link.st_uid != 0 && link.st_uid != geteuid()))
			return true;
		while (n > 1 && at[n - 1] != '/')
			n--;
		while (n > 1 && at[n - 1] == '/')
			n--;
		if (n == 1 && !at[1])
			n = 0; /* the root was the last */
	}
	return false;
}

/* The same for where it is in the end. */
static bool changed_by_others(const char *path, char *at)
{
	char real[PATH_MAX];

	return changeable(path, at) || !realpath(path, real) || changeable(real, at);
}

int hooks_folder_check(const char *path, struct err *err)
{
	char at[PATH_MAX];
	struct stat st;

	if (stat(path, &st) != 0)
		return err_set_errno(err, ERR_CONFIG, "cannot find '%.120s'", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, ERR_CONFIG, "'%.120s' is no folder", path);
	if (changed_by_others(path, at))
		return err_set(err, ERR_CONFIG, "'%.120s' may be changed by others than root and this user", at);
	return 0;
}

/* Why a name is passed over, or NULL. Editors and package managers leave such files beside the real ones. */
static const char *passed_over(const char *name)
{
	static const char *const ends[] = {"~", ".bak", ".orig", ".rej", ".swp", ".tmp", ".rpmnew", ".rpmsave", ".rpmorig",
					   ".dpkg-old", ".dpkg-dist", ".dpkg-new", ".dpkg-tmp", ".disabled"};
	size_t n = strlen(name);

	if (name[0] == '.')
		return "hidden";
	if (name[0] == '#')
		return "a backup";
	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		if (n >= strlen(ends[i]) && strcmp(name + n - strlen(ends[i]), ends[i]) == 0)
			return "a backup";
	return NULL;
}

static int name_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All names but "." and "..", sorted. Returns their number; -1 with errno. */
static ssize_t list(const char *folder, char ***ret)
{
	DIR *dir = opendir(folder);
	struct dirent *d;
	char **names = NULL;
	size_t n = 0;

	if (!dir)
		return -1;
	while ((d = readdir(dir)) != NULL) {
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		names = xrealloc(names, (n + 1) * sizeof *names);
		names[n++] = xstrdup(d->d_name);
	}
	(void)closedir(dir);
	if (n)
		qsort(names, n, sizeof *names, name_cmp);
	*ret = names;
	return (ssize_t)n;
}

/* ---- one program --------------------------------------------------------------------------------------- */

struct output {
	const char *name;
	struct buf line;
	size_t bytes, lines, more;
};

static void put_line(struct output *o)
{
	(void)printf("%s: %.*s\n", o->name, (int)o->line.len, (const char *)o->line.data);
	o->lines++;
	buf_reset(&o->line);
}

/* One turn of it: a program that writes without pause never empties its pipe, and its time limit has to be looked at. */
static void take_output(struct output *o, int fd)
{
	char data[4096];
	ssize_t n;

	for (size_t taken = 0; taken < TAKE_BYTES && (n = read(fd, data, sizeof data)) > 0; taken += (size_t)n)
		for (ssize_t i = 0; i < n; i++) {
			if (o->bytes == HOOKS_OUTPUT_BYTES || o->lines == HOOKS_OUTPUT_LINES) {
				o->more++;
				continue;
			}
			o->bytes++;
			if (data[i] == '\n' || o->line.len >= 400)
				put_line(o);
			if (data[i] != '\n')
				buf_add(&o->line, &data[i], 1);
		}
}

static _Noreturn void become(const char *path, int out)
{
	char *const argv[] = {xstrdup(path), NULL};
	sigset_t none;
	int null = open("/dev/null", O_RDONLY);

	(void)setsid(); /* a group, and no terminal */
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 || close_range(3, ~0U, 0))
		_exit(CANNOT);
	(void)execv(path, argv);
	(void)dprintf(2, "cannot execute: %s\n", strerror(errno));
	_exit(CANNOT);
}

/* Wait until `pid` has ended, at most until `until_ms`; its output is taken on the way. It is not reaped. */
static bool ended_in_time(pid_t pid, int pidfd, struct output *o, int out, int64_t until_ms)
{
	for (;;) {
		struct pollfd fds[2] = {{.fd = pidfd, .events = POLLIN}, {.fd = out, .events = POLLIN}};
		int64_t left = until_ms - mono_ms(mono_now());
		siginfo_t info = {0};

		if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid)
			return true;
		if (left <= 0)
			return false;
		(void)poll(fds, 2, left < 1000 ? (int)left : 1000);
		if (fds[1].revents & POLLIN)
			take_output(o, out);
		else if (fds[1].revents)
			out = -1; /* closed by all; the program runs on */
	}
}

/* Returns false, and says why on stderr, if it failed. */
static bool run_one(const char *path, const char *name, int64_t limit_ms)
{
	struct output o = {.name = name};
	int pipes[2], pidfd, status = 0;
	bool in_time, gone;
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC) != 0 || fcntl(pipes[0], F_SETFL, O_NONBLOCK) != 0) {
		(void)fprintf(stderr, "%s: cannot make a pipe: %s\n", name, strerror(errno));
		return false;
	}
	(void)fflush(stdout);
	pid = fork();
	if (!pid)
		become(path, pipes[1]);
	(void)close(pipes[1]);
	if (pid < 0) {
		(void)close(pipes[0]);
		(void)fprintf(stderr, "%s: cannot fork: %s\n", name, strerror(errno));
		return false;
	}
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0); /* without one we look every second */
	in_time = ended_in_time(pid, pidfd, &o, pipes[0], mono_ms(mono_now()) + limit_ms);
	(void)kill(pid, SIGKILL); /* it may not have come to setsid() */
	(void)kill(-pid, SIGKILL); /* before it is reaped: the number is still its own */
	gone = in_time || ended_in_time(pid, pidfd, &o, pipes[0], mono_ms(mono_now()) + KILL_WAIT_MS);
	if (gone)
		(void)waitpid(pid, &status, 0);
	if (pidfd >= 0)
		(void)close(pidfd);
	take_output(&o, pipes[0]); /* what is still in the pipe */
	(void)close(pipes[0]);
	if (o.line.len)
		put_line(&o);
	if (o.more)
		(void)printf("%s: (%zu bytes more)\n", name, o.more);
	buf_done(&o.line);
	if (!in_time)
		(void)fprintf(stderr, "%s: ran longer than %" PRId64 ".%03d s%s\n", name, limit_ms / 1000, (int)(limit_ms % 1000),
			      gone ? "" : ", and SIGKILL does not end it");
	else if (WIFSIGNALED(status))
		(void)fprintf(stderr, "%s: was ended by signal %d\n", name, WTERMSIG(status));
	else if (WEXITSTATUS(status))
		(void)fprintf(stderr, "%s: exited with %d\n", name, WEXITSTATUS(status));
	return in_time && status == 0;
}

/* ---- all of them ----------------------------------------------------------------------------------------- */

static bool step(const char *folder, const char *name, int64_t limit_ms)
{
	CLEANUP(buf_done) struct buf path = BUF_INIT;
	const char *why = passed_over(name);
	char at[PATH_MAX];
	struct stat st;

	buf_addf(&path, "%s/%s", folder, name);
	if (!why && stat(buf_cstr(&path), &st) != 0) {
		(void)fprintf(stderr, "%.80s: cannot look at it: %s\n", name, strerror(errno));
		return false;
	}
	if (!why && !S_ISREG(st.st_mode))
		why = "no file";
	if (!why && !(st.st_mode & 0111))
		why = "not executable";
	if (why) {
		(void)printf("%s: passed over, it is %s\n", name, why);
		return true;
	}
	if (changed_by_others(buf_cstr(&path), at)) {
		(void)fprintf(stderr, "%.80s: not run: others than root and this user may change it\n", name);
		return false;
	}
	return run_one(buf_cstr(&path), name, limit_ms);
}

int hooks_run(const char *folder, int64_t limit_ms)
{
	struct err err = {0};
	char **names = NULL;
	bool fine = true;
	ssize_t n;

	if (hooks_folder_check(folder, &err) != 0) {
		(void)fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	n = list(folder, &names);
	if (n < 0) {
		(void)fprintf(stderr, "cannot read '%.80s': %s\n", folder, strerror(errno));
		return 1;
	}
	/* The pipes of a task: they are closed here. */
	(void)unsetenv("SLUIS_NOTICE_FD");
	(void)unsetenv("SLUIS_NOTICE_FILE");
	(void)unsetenv("SLUIS_REPORT_FD");
	for (ssize_t i = 0; i < n; i++) {
		fine = fine && step(folder, names[i], limit_ms);
		free(names[i]);
	}
	free(names);
	return fflush(stdout) == 0 && fine ? 0 : 1;
}
