/* scratch.c - see scratch.h
 *
 * Everything is done with the effective user of the task (setresuid keeps the agent as saved user), so
 * nothing here can reach further than the task itself: a symbolic link, a swapped folder or a file that
 * was put there before us can only fool its own user. A folder that is not the user's is refused.
 */
#include "agent/shim/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/exec/remove.h"
#include "agent/exec/unit.h"
#include "proto/base/ensure.h"

enum { TRIES = 100, NONE = -1, FAILED = -2 };

struct ids { uid_t uid; gid_t gid; };

/* The user's rights from here to as_agent(), for files alone. To the real ids and back to the saved ones:
 * the kernel always allows both. */
static struct ids as_user(void)
{
	struct ids agent = {geteuid(), getegid()};

	ENSURE(setresgid((gid_t)-1, getgid(), (gid_t)-1) == 0);
	ENSURE(setresuid((uid_t)-1, getuid(), (uid_t)-1) == 0);
	return agent;
}

static void as_agent(struct ids agent)
{
	ENSURE(setresuid((uid_t)-1, agent.uid, (uid_t)-1) == 0);
	ENSURE(setresgid((gid_t)-1, agent.gid, (gid_t)-1) == 0);
}

static int say(char *error, size_t size, const char *what, const char *name)
{
	(void)snprintf(error, size, "cannot %s '%.80s': %s", what, name, strerror(errno));
	return FAILED;
}

/* The folder with our shared lock on it; it may be removed under us, then once more. */
static int take(const char *path, char *error, size_t size)
{
	struct stat held, named;

	for (int i = 0; i < TRIES; i++) {
		int fd;

		if (mkdir(path, 0700) && errno != EEXIST)
			return say(error, size, "make the scratch folder", path);
		fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT)
			continue;
		if (fd < 0 || fstat(fd, &held))
			return say(error, size, "open the scratch folder", path);
		if (held.st_uid != geteuid() || (held.st_mode & 077)) {
			(void)close(fd);
			(void)snprintf(error, size, "the scratch folder '%.80s' is not this user's alone", path);
			return FAILED;
		}
		if (!flock(fd, LOCK_SH) && !stat(path, &named) && named.st_ino == held.st_ino && named.st_dev == held.st_dev)
			return fd;
		(void)close(fd);
	}
	errno = EBUSY;
	return say(error, size, "keep the scratch folder", path);
}

static int put_file(int dir, const char *name, bool executable, const char *text)
{
	size_t left = strlen(text);
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, executable ? 0700 : 0600);

	if (fd < 0)
		return errno == EEXIST ? 0 : -1; /* another task of the unit was first */
	while (left > 0) {
		ssize_t n = write(fd, text, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		text += n;
		left -= (size_t)n;
	}
	return close(fd) || left ? -1 : 0;
}

/* Whole before it has its name: a task that shares the folder may be about to read it. */
static int put_whole(int dir, const char *name, bool executable, const char *text)
{
	char fresh[64];
	int code;

	(void)snprintf(fresh, sizeof(fresh), ".new-%d", (int)getpid());
	if (faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	code = put_file(dir, fresh, executable, text);
	if (!code && renameat(dir, fresh, dir, name))
		code = -1;
	if (code)
		(void)unlinkat(dir, fresh, 0);
	return code;
}

static int fill(int dir, const struct buf *task, char *error, size_t size)
{
	const char *text = NULL;

	for (const char *f = unit_get(task, "file"); f; f = unit_next(task, "file", f)) {
		size_t n = strlen(f);
		bool executable = n && f[n - 1] == '*';
		char name[128];

		text = unit_next(task, "text", text);
		(void)snprintf(name, sizeof(name), "%.*s", (int)(n - executable), f);
		if (!text || put_whole(dir, name, executable, text))
			return say(error, size, "write", name);
	}
	return 0;
}

int scratch_open(const struct buf *task, char *error, size_t size)
{
	const char *path = unit_get(task, "scratch");
	struct ids agent;
	mode_t mask;
	int fd;

	if (!path)
		return NONE;
	agent = as_user();
	mask = umask(077);
	fd = take(path, error, size);
	if (fd >= 0 && fill(fd, task, error, size)) {
		(void)close(fd);
		fd = FAILED;
	}
	(void)umask(mask);
	as_agent(agent);
	return fd;
}

/* What fill() made, and nothing else. */
static void take_back(int dir, const struct buf *task)
{
	for (const char *f = unit_get(task, "file"); f; f = unit_next(task, "file", f)) {
		size_t n = strlen(f);
		char name[128];

		(void)snprintf(name, sizeof(name), "%.*s", (int)(n - (n && f[n - 1] == '*')), f);
		(void)unlinkat(dir, name, 0);
	}
}

bool scratch_close(const struct buf *task, int *fd, bool deep)
{
	const char *path = unit_get(task, "scratch");
	bool done = true;
	struct ids agent;
	int copy;

	if (*fd < 0)
		return true;
	agent = as_user();
	if (!flock(*fd, LOCK_EX | LOCK_NB)) {
		take_back(*fd, task);
		if (deep && (copy = fcntl(*fd, F_DUPFD_CLOEXEC, 0)) >= 0)
			remove_below(copy, true);
		done = !rmdir(path) || deep; /* deep is all we can do */
	}
	as_agent(agent);
	if (done) {
		(void)close(*fd);
		*fd = NONE;
	}
	return done;
}
