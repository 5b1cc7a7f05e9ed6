/* test_remove.c - a task's scratch folder is removed, and nothing else
 *
 * The agent removes what a task left, in a folder that the task and its user's other processes may write to: who can lead
 * it out of there has the agent remove its own state, or its key.
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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/exec/remove.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"

enum { NOBODY = 65534 };

struct world { char dir[64]; }; /* ours/ is to be removed, other/ to stay */

/* Somebody's hand: before "swap" is opened, it is put aside and a link to other/ is in its place. */
static const struct world *hand;

static char *in(const struct world *w, const char *name, char path[160])
{
	(void)snprintf(path, 160, "%s/%s", w->dir, name);
	return path;
}

int openat(int dir, const char *name, int flags, ...)
{
	char other[160];

	if (hand && !strcmp(name, "swap")) {
		(void)in(hand, "other", other);
		hand = NULL;
		assert_int_equal(renameat(dir, "swap", dir, "aside"), 0);
		assert_int_equal(symlinkat(other, dir, "swap"), 0);
	}
	return (int)syscall(SYS_openat, dir, name, flags, 0600);
}

static void folder(const struct world *w, const char *name)
{
	char path[160];

	assert_int_equal(mkdir(in(w, name, path), 0700), 0);
}

static void file(const struct world *w, const char *name)
{
	char path[160];
	int fd = openat(AT_FDCWD, in(w, name, path), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC);

	assert_true(fd >= 0);
	(void)close(fd);
}

static bool there(const struct world *w, const char *name)
{
	struct stat st;
	char path[160];

	return lstat(in(w, name, path), &st) == 0;
}

static int setup(void **state)
{
	struct world *w = xcalloc(1, sizeof *w);

	(void)snprintf(w->dir, sizeof w->dir, "/tmp/sluis-remove-XXXXXX");
	if (!mkdtemp(w->dir))
		return -1;
	hand = NULL;
	folder(w, "ours");
	folder(w, "other");
	file(w, "other/kept");
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	char command[128];
	int rc;

	(void)snprintf(command, sizeof command, "rm -rf '%s'", w->dir);
	rc = system(command);
	free(w);
	return rc;
}

static void all_of_it_goes_and_links_are_not_followed(void **state)
{
	struct world *w = *state;
	char path[160], to[160];

	folder(w, "ours/a");
	folder(w, "ours/a/b");
	file(w, "ours/a/b/x");
	file(w, "ours/y");
	assert_int_equal(symlink(in(w, "other", to), in(w, "ours/a/link", path)), 0);
	assert_int_equal(symlink(in(w, "other/kept", to), in(w, "ours/file", path)), 0);
	remove_own(in(w, "ours", path));
	assert_false(there(w, "ours"));
	assert_true(there(w, "other/kept"));
	remove_own(path); /* it is gone: nothing to do */
}

static void a_folder_that_becomes_a_link_leads_nowhere(void **state)
{
	struct world *w = *state;
	char path[160];

	folder(w, "ours/swap");
	file(w, "ours/swap/x");
	hand = w;
	remove_own(in(w, "ours", path));
	assert_null(hand); /* it was there */
	assert_true(there(w, "other/kept"));
}

static void a_link_in_its_place_is_left(void **state)
{
	struct world *w = *state;
	char path[160], to[160];

	assert_int_equal(rmdir(in(w, "ours", path)), 0);
	assert_int_equal(symlink(in(w, "other", to), path), 0);
	remove_own(path);
	assert_true(there(w, "other/kept"));
	assert_true(there(w, "ours"));
}

/* The shim removes what is its user's; what is left of it, in a folder opened to everybody, is not ours to walk through. */
static void the_folder_of_somebody_else_is_left(void **state)
{
	struct world *w = *state;
	char path[160];

	if (geteuid() != 0) {
		print_message("skip: only root can give a folder away\n");
		skip();
	}
	file(w, "ours/x");
	assert_int_equal(chown(in(w, "ours", path), NOBODY, NOBODY), 0);
	remove_own(path);
	assert_true(there(w, "ours/x"));
}

int main(void)
{
#define STORY(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		STORY(all_of_it_goes_and_links_are_not_followed),
		STORY(a_folder_that_becomes_a_link_leads_nowhere),
		STORY(a_link_in_its_place_is_left),
		STORY(the_folder_of_somebody_else_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
