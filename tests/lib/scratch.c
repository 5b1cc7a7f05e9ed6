/* scratch.c - see scratch.h */
#include "tests/lib/scratch.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/ensure.h"

static char dir[256], path[512];

static void clean(void)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			(void)unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		(void)closedir(d);
	(void)rmdir(dir);
}

const char *scratch_dir(void)
{
	const char *below = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");

	if (dir[0])
		return dir;
	(void)snprintf(dir, sizeof dir, "%s/sluis-scratch.XXXXXX", below ? below : "/tmp");
	ENSURE(mkdtemp(dir) != NULL);
	ENSURE(atexit(clean) == 0);
	return dir;
}

const char *scratch_file(const char *name, const void *data, size_t len)
{
	FILE *f;

	(void)snprintf(path, sizeof path, "%s/%s", scratch_dir(), name);
	f = fopen(path, "wb");
	ENSURE(f != NULL);
	ENSURE(len == 0 || fwrite(data, 1, len, f) == len);
	ENSURE(fclose(f) == 0);
	return path;
}
