/* files.c - writing a file whole or not at all */
#include "proto/logfile/files.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "proto/base/failpoint.h"

int file_write(int fd, const void *data, size_t n, struct err *err)
{
	const char *p = data;

	while (n > 0) {
		ssize_t w = write(fd, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return err_set_errno(
				err, errno == ENOSPC || errno == EDQUOT ? ERR_NOSPACE : ERR_IO,
				"cannot write");
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

char *file_part(const char *path)
{
	size_t n = strlen(path) + sizeof(".part");
	char *part = xmalloc(n);

	(void)snprintf(part, n, "%s.part", path); /* n is its length */
	return part;
}

static int sync_dir_of(const char *path, struct err *err)
{
	char *copy = xstrdup(path);
	int r = 0, fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		r = err_set_errno(err, ERR_IO, "cannot sync the directory of '%s'", path);
	if (fd >= 0)
		(void)close(fd); /* a directory */
	free(copy);
	return r;
}

int file_publish(const char *part, const char *path, struct err *err)
{
	FAILPOINT("file.publish.before_rename");
	if (renameat2(AT_FDCWD, part, AT_FDCWD, path, RENAME_NOREPLACE) < 0)
		return err_set_errno(err, errno == EEXIST ? ERR_EXISTS : ERR_IO,
				     "cannot rename to '%s'", path);
	FAILPOINT("file.publish.after_rename");
	return sync_dir_of(path, err);
}
