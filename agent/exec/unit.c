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

/* b and its sum, behind what `out` holds. */
static void seal(const struct buf *b, struct buf *out)
{
	char sum[9];

	(void)snprintf(sum, sizeof(sum), "%08" PRIx32, crc32c(0, b->data, b->len));
	buf_add(out, b->data, b->len);
	unit_put(out, "sum", sum);
}

/* Check the sum at the end of b and take it off. */
static int unseal(struct buf *b, const char *what, struct err *err)
{
	char sum[9];

	if (b->len < SUM_BYTES)
		return err_set(err, ERR_CORRUPT, "'%s' is cut short", what);
	b->len -= SUM_BYTES;
	(void)snprintf(sum, sizeof(sum), "%08" PRIx32, crc32c(0, b->data, b->len));
	if (memcmp(b->data + b->len, "sum=", 4) || memcmp(b->data + b->len + 4, sum, sizeof(sum)))
		return err_set(err, ERR_CORRUPT, "'%s' does not match its sum", what);
	if (b->len && b->data[b->len - 1])
		return err_set(err, ERR_CORRUPT, "'%s' holds an open record", what);
	return 0;
}

int unit_write(int dirfd, const char *name, const struct buf *b, struct err *err)
{
	CLEANUP(buf_done) struct buf out = BUF_INIT;
	char tmp[32];
	int code = 0;
	int fd;

	seal(b, &out);
	(void)snprintf(tmp, sizeof(tmp), ".%s", name);
	fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set_errno(err, errno == ENOSPC ? ERR_NOSPACE : ERR_IO, "cannot create '%s'", tmp);
	if (write_all(fd, out.data, out.len))
		code = err_set_errno(err, errno == ENOSPC ? ERR_NOSPACE : ERR_IO, "cannot write '%s'", tmp);
	(void)close(fd);
	if (!code && renameat(dirfd, tmp, dirfd, name))
		code = err_set_errno(err, ERR_IO, "cannot rename '%s'", tmp);
	if (code)
		(void)unlinkat(dirfd, tmp, 0); /* best effort: the next write truncates it */
	return code;
}

int unit_read(int dirfd, const char *name, struct buf *b, size_t max, struct err *err)
{
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
	return unseal(b, name, err);
}

int unit_slot_put(int fd, uint64_t slot, bool exit_half, const struct buf *b, struct err *err)
{
	CLEANUP(buf_done) struct buf out = BUF_INIT;
	uint8_t half[UNIT_SLOT_HALF] = {0};

	if (b->len) { /* nothing at all empties the half */
		seal(b, &out);
		if (out.len > sizeof(half) - 4)
			return err_set(err, ERR_TOOBIG, "%zu bytes do not fit a slot", out.len);
		for (int i = 0; i < 4; i++)
			half[i] = (uint8_t)(out.len >> (8 * i));
		memcpy(half + 4, out.data, out.len);
	}
	if (pwrite(fd, half, sizeof(half), (off_t)((slot * 2 + exit_half) * UNIT_SLOT_HALF)) != sizeof(half))
		return err_set_errno(err, errno == ENOSPC ? ERR_NOSPACE : ERR_IO, "cannot write slot %" PRIu64, slot);
	return 0;
}

int unit_slot_get(int fd, uint64_t slot, bool exit_half, struct buf *b, struct err *err)
{
	uint8_t half[UNIT_SLOT_HALF];
	size_t len = 0;

	if (pread(fd, half, sizeof(half), (off_t)((slot * 2 + exit_half) * UNIT_SLOT_HALF)) != sizeof(half))
		return err_set_errno(err, ERR_IO, "cannot read slot %" PRIu64, slot);
	for (int i = 4; i-- > 0;)
		len = len << 8 | half[i];
	if (!len)
		return err_set(err, ERR_NOTFOUND, "slot %" PRIu64 " is empty", slot);
	if (len > sizeof(half) - 4)
		return err_set(err, ERR_CORRUPT, "slot %" PRIu64 " is torn", slot);
	buf_reset(b);
	buf_add(b, half + 4, len);
	return unseal(b, "slot", err);
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
