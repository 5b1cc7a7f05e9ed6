/* test_hooks_run.c - the site's programs of one folder: which are run at all, and what is left of them
 *
 * They run as the agent, perhaps as root: a program that somebody else could have put there is that somebody's way to be
 * root on every node. The tests of foreign owners need root, and say so where they have to do without.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/exec/procfs.h"
#include "agent/hooks.h"
#include "proto/base/buf.h"
#include "proto/base/instant.h"

enum { NOBODY = 65534, LIMIT_MS = 20000, PATIENCE_MS = 10000, PATIENCE_S = 30 };

/* A writer that is never slower than its reader: a pipe has more whenever it is asked. */
static bool endless;

ssize_t read(int fd, void *to, size_t n)
{
	struct stat st;

	if (!endless || fstat(fd, &st) != 0 || !S_ISFIFO(st.st_mode))
		return syscall(SYS_read, fd, to, n);
	memset(to, 'y', n);
	return (ssize_t)n;
}

struct world {
	char dir[64];   /* site/hooks.d is below it */
	char site[80], folder[100];
	char said[32768], wrong[512]; /* by the last run */
};

static char *in(const struct world *w, const char *name, char path[PATH_MAX])
{
	(void)snprintf(path, PATH_MAX, "%s/%s", w->dir, name);
	return path;
}

static int setup(void **state)
{
	struct world *w = xcalloc(1, sizeof *w);

	(void)umask(022);
	(void)snprintf(w->dir, sizeof w->dir, "/tmp/sluis-hooks-XXXXXX");
	if (!mkdtemp(w->dir))
		return -1;
	(void)snprintf(w->site, sizeof w->site, "%s/site", w->dir);
	(void)snprintf(w->folder, sizeof w->folder, "%s/hooks.d", w->site);
	*state = w;
	return mkdir(w->site, 0755) || mkdir(w->folder, 0755);
}

static int remove_one(const char *path, const struct stat *st, int what, struct FTW *at)
{
	(void)st;
	(void)what;
	(void)at;
	return remove(path);
}

static int teardown(void **state)
{
	struct world *w = *state;
	int rc = nftw(w->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);

	free(w);
	return rc;
}

/* A program `name` below the world's folder, which says its name before it does `text`. */
static void put(const struct world *w, const char *name, const char *text)
{
	char path[PATH_MAX];
	int fd = open(in(w, name, path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	assert_true(fd >= 0);
	assert_true(dprintf(fd, "#!/bin/sh\necho ran\n%s\n", text) > 0);
	assert_int_equal(close(fd), 0);
}

static void read_back(const struct world *w, const char *name, char *ret, size_t size)
{
	char path[PATH_MAX];
	int fd = open(in(w, name, path), O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, ret, size - 1);

	ret[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		(void)close(fd);
}

/* Its exit status. */
static int run(struct world *w, int64_t limit_ms)
{
	int status;
	pid_t pid;

	(void)fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		char path[PATH_MAX];

		(void)alarm(PATIENCE_S); /* one that does not come back is ended, and fails */
		if (!freopen(in(w, "said", path), "w", stdout) || !freopen(in(w, "wrong", path), "w", stderr))
			_exit(99);
		exit(hooks_run(w->folder, limit_ms));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	read_back(w, "said", w->said, sizeof w->said);
	read_back(w, "wrong", w->wrong, sizeof w->wrong);
	return WEXITSTATUS(status);
}

static void refused(const struct world *w, const char *folder, const char *why)
{
	char path[PATH_MAX];
	struct err err = {0};

	assert_int_equal(hooks_folder_check(in(w, folder, path), &err), ERR_CONFIG);
	if (!strstr(err.msg, why))
		fail_msg("'%s' does not say '%s'", err.msg, why);
}

static void taken(const struct world *w, const char *folder)
{
	char path[PATH_MAX];
	struct err err = {0};

	if (hooks_folder_check(in(w, folder, path), &err) != 0)
		fail_msg("%s", err.msg);
}

static bool root(const char *what)
{
	if (geteuid() != 0)
		print_message("# not root: %s is not tested\n", what);
	return geteuid() == 0;
}

/* ---- whose they are ---------------------------------------------------------------------------------------- */

static void a_folder_that_others_may_change_is_not_taken(void **state)
{
	struct world *w = *state;

	taken(w, "site/hooks.d");
	taken(w, "site/hooks.d/");
	refused(w, "site/none", "cannot find");
	put(w, "site/program", "");
	refused(w, "site/program", "is no folder");
	put(w, "site/hooks.d/10-one", "");
	for (mode_t bit = 020; bit; bit = bit == 020 ? 002 : 0) {
		assert_int_equal(chmod(w->folder, 0755 | bit), 0);
		refused(w, "site/hooks.d", "hooks.d' may be changed by others");
		assert_int_equal(run(w, LIMIT_MS), 1);
		assert_string_equal(w->said, "");
		assert_non_null(strstr(w->wrong, "may be changed by others"));
	}
	assert_int_equal(chmod(w->folder, 01777), 0); /* anybody may add one */
	refused(w, "site/hooks.d", "hooks.d' may be changed by others");
	assert_int_equal(chmod(w->folder, 0755), 0);
	assert_int_equal(run(w, LIMIT_MS), 0);
	assert_string_equal(w->said, "10-one: ran\n");
	if (!root("a folder of somebody else"))
		return;
	assert_int_equal(chown(w->folder, NOBODY, 0), 0);
	refused(w, "site/hooks.d", "hooks.d' may be changed by others");
	assert_int_equal(run(w, LIMIT_MS), 1);
	assert_string_equal(w->said, "");
}

/* Who may change a folder above it puts another in its place between the look and the run: a link to /usr/bin will do. */
static void nor_one_below_such_a_folder(void **state)
{
	struct world *w = *state;
	char path[PATH_MAX], to[PATH_MAX];

	put(w, "site/hooks.d/10-one", "");
	assert_int_equal(symlink(w->folder, in(w, "link", path)), 0);
	taken(w, "link");
	assert_int_equal(chmod(w->site, 0777), 0);
	refused(w, "site/hooks.d", "site' may be changed by others");
	refused(w, "link", "site' may be changed by others");
	assert_int_equal(run(w, LIMIT_MS), 1);
	assert_string_equal(w->said, "");
	assert_int_equal(chmod(w->site, 01777), 0); /* as /tmp: what is there is its owner's */
	taken(w, "site/hooks.d");
	assert_int_equal(mkdir(in(w, "open", path), 0777) || chmod(path, 0777), 0);
	assert_int_equal(symlink(w->folder, in(w, "open/link", path)), 0);
	refused(w, "open/link", "open' may be changed by others");
	if (!root("a link of somebody else"))
		return;
	assert_int_equal(symlink("/usr/bin", in(w, "site/link", path)), 0);
	taken(w, "site/link");
	assert_int_equal(lchown(path, NOBODY, NOBODY), 0);
	refused(w, "site/link", "link' may be changed by others");
	assert_int_equal(mkdir(in(w, "theirs", to), 0755), 0); /* a way through what is theirs */
	assert_int_equal(symlink(w->folder, in(w, "theirs/link", path)), 0);
	assert_int_equal(symlink(to, in(w, "via", path)), 0);
	taken(w, "via/link");
	assert_int_equal(chown(to, NOBODY, NOBODY), 0);
	refused(w, "via/link", "via' may be changed by others");
}

static void a_program_that_others_may_change_is_not_run(void **state)
{
	struct world *w = *state;
	char path[PATH_MAX], open_path[PATH_MAX];

	put(w, "site/hooks.d/10-one", "");
	put(w, "site/hooks.d/20-two", "");
	for (mode_t bit = 020; bit; bit = bit == 020 ? 002 : 0) {
		assert_int_equal(chmod(in(w, "site/hooks.d/10-one", path), 0755 | bit), 0);
		assert_int_equal(run(w, LIMIT_MS), 1);
		assert_string_equal(w->said, ""); /* nor what comes after it */
		assert_string_equal(w->wrong, "10-one: not run: others than root and this user may change it\n");
	}
	assert_int_equal(unlink(path), 0);
	/* a link to where others may put something else */
	assert_int_equal(mkdir(in(w, "open", open_path), 0777) || chmod(open_path, 0777), 0);
	put(w, "open/one", "");
	assert_int_equal(symlink(in(w, "open/one", open_path), path), 0);
	assert_int_equal(run(w, LIMIT_MS), 1);
	assert_string_equal(w->said, "");
	assert_int_equal(chmod(in(w, "open", open_path), 0755), 0);
	assert_int_equal(run(w, LIMIT_MS), 0);
	assert_string_equal(w->said, "10-one: ran\n20-two: ran\n");
	if (!root("a program of somebody else"))
		return;
	assert_int_equal(chown(path, NOBODY, 0), 0); /* that of the link's target */
	assert_int_equal(run(w, LIMIT_MS), 1);
	assert_string_equal(w->said, "");
}

/* ---- what is left of them ----------------------------------------------------------------------------------- */

/* A zombie whose parent does not look counts as gone. */
static bool alive(pid_t pid)
{
	struct proc p;

	return proc_read(pid, &p) && p.state != 'Z' && p.state != 'X';
}

static bool dies(pid_t pid)
{
	int64_t until_ms = mono_ms(mono_now()) + PATIENCE_MS;

	while (alive(pid)) {
		if (mono_ms(mono_now()) > until_ms)
			return false;
		(void)poll(NULL, 0, 5);
	}
	return true;
}

/* Not when the last has ended, but before the next one begins: it may want what the first still has. */
static void what_one_leaves_is_killed_before_the_next(void **state)
{
	struct world *w = *state;
	char text[64], body[PATH_MAX + 100];
	pid_t left;

	(void)snprintf(body, sizeof body, "sleep 600 >/dev/null 2>&1 &\necho $! >%s/left", w->dir);
	put(w, "site/hooks.d/10-leaves", body);
	(void)snprintf(body, sizeof body,
		       "for i in 1 2 3 4 5 6 7 8 9 10; do s=$(cut -d' ' -f3 /proc/$(cat %s/left)/stat 2>/dev/null)\n"
		       "[ -z \"$s\" ] || [ \"$s\" = Z ] && exit 0; sleep 0.2; done; exit 7", w->dir);
	put(w, "site/hooks.d/20-looks", body);
	assert_int_equal(run(w, LIMIT_MS), 0);
	read_back(w, "left", text, sizeof text);
	left = (pid_t)atoi(text);
	assert_true(left > 1);
	assert_true(dies(left));
}

static void one_that_runs_too_long_is_killed_with_its_own(void **state)
{
	struct world *w = *state;
	char text[64], body[PATH_MAX + 100];
	int64_t began_ms = mono_ms(mono_now());
	int pids[2];

	(void)snprintf(body, sizeof body, "sleep 600 &\necho $! $$ >%s/left\nwait", w->dir);
	put(w, "site/hooks.d/10-hangs", body);
	put(w, "site/hooks.d/20-never", "");
	assert_int_equal(run(w, 500), 1);
	assert_in_range(mono_ms(mono_now()) - began_ms, 500, PATIENCE_MS);
	assert_string_equal(w->wrong, "10-hangs: ran longer than 0.500 s\n");
	assert_string_equal(w->said, "10-hangs: ran\n");
	read_back(w, "left", text, sizeof text);
	assert_int_equal(sscanf(text, "%d %d", &pids[0], &pids[1]), 2);
	assert_true(dies(pids[0]) && dies(pids[1]));
}

/* Who reads until the pipe is empty comes to nothing else, not to the limit and not to the end. */
static void one_that_writes_without_pause_is_not_read_to_its_end(void **state)
{
	struct world *w = *state;
	int64_t began_ms = mono_ms(mono_now());

	put(w, "site/hooks.d/10-ends", "");
	put(w, "site/hooks.d/20-hangs", "exec sleep 600");
	put(w, "site/hooks.d/30-never", "");
	endless = true;
	assert_int_equal(run(w, 500), 1);
	endless = false;
	assert_in_range(mono_ms(mono_now()) - began_ms, 500, PATIENCE_MS);
	assert_string_equal(w->wrong, "20-hangs: ran longer than 0.500 s\n");
	assert_non_null(strstr(w->said, "10-ends: yyyy"));
	assert_non_null(strstr(w->said, "20-hangs: yyyy"));
	assert_null(strstr(w->said, "30-never"));
}

int main(void)
{
#define STORY(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		STORY(a_folder_that_others_may_change_is_not_taken),
		STORY(nor_one_below_such_a_folder),
		STORY(a_program_that_others_may_change_is_not_run),
		STORY(what_one_leaves_is_killed_before_the_next),
		STORY(one_that_runs_too_long_is_killed_with_its_own),
		STORY(one_that_writes_without_pause_is_not_read_to_its_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
