/* unit.c - see unit.h */
#include "agent/exec/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/exec/crc32c.h"
#include "proto/base/ensure.h"

enum { SUM_BYTES = 4 + 8 + 1 }; /* "sum=XXXXXXXX\0" */

void unit_put(struct buf *b, const char *key, const char *value)
{
	buf_add(b, key, strlen(key));
	buf_add(b, "=", 1);
	buf_add(b, value, strlen(value) + 1);
}

void unit_put_u64(struct buf *b, const char *key, uint64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRIu64, value);
	unit_put(b, key, text);
}

static int write_all(int fd, const uint8_t *data, size_t n)
{
	while (n) {
		ssize_t done = write(fd, data, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -1;
		data += done;
		n -= (size_t)done;
	}
	return 0;
}

int unit_write(int dirfd, const char *name, struct buf *b, bool sync, struct err *err)
{
	char tmp[32];
	char sum[9];
	int code = 0;
	int fd;

	(void)snprintf(sum, sizeof(sum), "%08" PRIx32, crc32c(0, b->data, b->len));
	unit_put(b, "sum", sum);
	(void)snprintf(tmp, sizeof(tmp), ".%s", name);
	fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set_errno(err, errno == ENOSPC ? ERR_NOSPACE : ERR_IO, "cannot create '%s'", tmp);
	if (write_all(fd, b->data, b->len))
		code = err_set_errno(err, errno == ENOSPC ? ERR_NOSPACE : ERR_IO, "cannot write '%s'", tmp);
	else if (sync && fsync(fd))
		code = err_set_errno(err, ERR_IO, "cannot sync '%s'", tmp);
	(void)close(fd);
	if (!code && renameat(dirfd, tmp, dirfd, name))
		code = err_set_errno(err, ERR_IO, "cannot rename '%s'", tmp);
	if (code) {
		(void)unlinkat(dirfd, tmp, 0); /* best effort: the next write truncates it */
		return code;
	}
	if (sync) {
		fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || fsync(fd))
			code = err_set_errno(err, ERR_IO, "cannot sync the directory of '%s'", name);
		if (fd >= 0)
			(void)close(fd);
	}
	return code;
}

int unit_read(int dirfd, const char *name, struct buf *b, size_t max, struct err *err)
{
	char sum[9];
	ssize_t n = 1;
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_set_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO, "cannot open '%s'", name);
	buf_reset(b);
	while (n > 0 && b->len <= max) {
		n = read(fd, buf_reserve(b, 4096), 4096);
		if (n > 0)
			b->len += (size_t)n;
	}
	(void)close(fd);
	if (n < 0)
		return err_set_errno(err, ERR_IO, "cannot read '%s'", name);
	if (b->len > max)
		return err_set(err, ERR_TOOBIG, "'%s' is larger than %zu bytes", name, max);
	if (b->len < SUM_BYTES)
		return err_set(err, ERR_CORRUPT, "'%s' is cut short", name);
	b->len -= SUM_BYTES;
	(void)snprintf(sum, sizeof(sum), "%08" PRIx32, crc32c(0, b->data, b->len));
	if (memcmp(b->data + b->len, "sum=", 4) || memcmp(b->data + b->len + 4, sum, sizeof(sum)))
		return err_set(err, ERR_CORRUPT, "'%s' does not match its sum", name);
	if (b->len && b->data[b->len - 1])
		return err_set(err, ERR_CORRUPT, "'%s' holds an open record", name);
	return 0;
}

const char *unit_next(const struct buf *b, const char *key, const char *prev)
{
	const char *p = (const char *)b->data;
	const char *end = p + b->len;
	size_t n = strlen(key);

	if (prev)
		p = prev + strlen(prev) + 1;
	for (; p && p < end; p += strlen(p) + 1)
		if (!strncmp(p, key, n) && p[n] == '=')
			return p + n + 1;
	return NULL;
}

const char *unit_get(const struct buf *b, const char *key) { return unit_next(b, key, NULL); }

uint64_t unit_get_u64(const struct buf *b, const char *key)
{
	const char *text = unit_get(b, key);

	return text ? strtoull(text, NULL, 10) : 0;
}
