/* remove.c - see remove.h
 *
 * By descriptors, each folder opened below the one before and never through a link: a walk by paths (nftw) follows what
 * somebody puts in the place of a folder between two looks, and would remove as the agent what lies there.
 */
#include "agent/exec/remove.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MAX = 128, FOLDER = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

/* Takes `dir`. What cannot be removed is for the system's own cleaning. */
static void empty(int dir, dev_t dev, bool unlock, int depth)
{
	DIR *list = fdopendir(dir);
	struct dirent *e;

	if (!list) {
		(void)close(dir);
		return;
	}
	while ((e = readdir(list))) {
		struct stat st;
		int sub;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (!unlinkat(dir, e->d_name, 0) || depth == DEPTH_MAX)
			continue;
		if (unlock)
			(void)!fchmodat(dir, e->d_name, 0700, 0); /* the open tells */
		sub = openat(dir, e->d_name, FOLDER);
		if (sub < 0)
			continue;
		if (fstat(sub, &st) || st.st_dev != dev)
			(void)close(sub);
		else
			empty(sub, dev, unlock, depth + 1);
		(void)unlinkat(dir, e->d_name, AT_REMOVEDIR);
	}
	(void)closedir(list);
}

void remove_below(int dir, bool unlock)
{
	struct stat st;

	if (fstat(dir, &st))
		(void)close(dir);
	else
		empty(dir, st.st_dev, unlock, 0);
}

void remove_own(const char *path)
{
	int dir = openat(AT_FDCWD, path, FOLDER);
	struct stat st;

	if (dir < 0)
		return; /* usually there is none */
	if (fstat(dir, &st) || st.st_uid != geteuid()) {
		(void)close(dir);
		return;
	}
	remove_below(dir, false);
	(void)rmdir(path);
}
