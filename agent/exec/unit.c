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
#include "agent/exec/exec.h"
#include "proto/base/ensure.h"

enum { SUM_BYTES = 4 + 8 + 1 }; /* "sum=XXXXXXXX\0" */

int unit_name_check(const char *name, struct err *err)
{
	size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

	if (!n || name[n] || n >= EXEC_NAME_BYTES || name[0] == '.')
		return err_set(err, ERR_INVAL, "'%.80s' is no unit name", name);
	return 0;
}

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

int unit_overwrite(int dirfd, const char *name, const struct buf *b, struct err *err)
{
	CLEANUP(buf_done) struct buf out = BUF_INIT;
	int fd = openat(dirfd, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	int code = 0;

	seal(b, &out);
	if (fd < 0)
		return err_set_errno(err, ERR_IO, "cannot open '%s'", name);
	if (write_all(fd, out.data, out.len) || ftruncate(fd, (off_t)out.len))
		code = err_set_errno(err, errno == ENOSPC ? ERR_NOSPACE : ERR_IO, "cannot write '%s'", name);
	(void)close(fd);
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

static int fill_part(uint8_t part[UNIT_PART_BYTES], const struct buf *b, struct err *err)
{
	CLEANUP(buf_done) struct buf out = BUF_INIT;

	memset(part, 0, UNIT_PART_BYTES);
	if (!b->len)
		return 0;
	seal(b, &out);
	if (out.len > UNIT_PART_BYTES - 4)
		return err_set(err, ERR_TOOBIG, "%zu bytes do not fit a slot", out.len);
	for (int i = 0; i < 4; i++)
		part[i] = (uint8_t)(out.len >> (8 * i));
	memcpy(part + 4, out.data, out.len);
	return 0;
}

static int write_slots(int fd, const uint8_t *data, size_t n, uint64_t at, struct err *err)
{
	if (pwrite(fd, data, n, (off_t)at) != (ssize_t)n)
		return err_set_errno(err, errno == ENOSPC ? ERR_NOSPACE : ERR_IO, "cannot write the slots");
	return 0;
}

int unit_part_put(int fd, uint64_t slot, enum unit_part part, const struct buf *b, struct err *err)
{
	uint8_t bytes[UNIT_PART_BYTES];
	int code = fill_part(bytes, b, err);

	if (code)
		return code;
	return write_slots(fd, bytes, sizeof(bytes), slot * UNIT_SLOT_BYTES + part * UNIT_PART_BYTES, err);
}

int unit_slot_begin(int fd, uint64_t slot, const struct buf *b, struct err *err)
{
	uint8_t bytes[UNIT_SLOT_BYTES] = {0};
	int code = fill_part(bytes + UNIT_INTENT * UNIT_PART_BYTES, b, err);

	return code ? code : write_slots(fd, bytes, sizeof(bytes), slot * UNIT_SLOT_BYTES, err);
}

int unit_part_get(int fd, uint64_t slot, enum unit_part part, struct buf *b, struct err *err)
{
	uint8_t bytes[UNIT_PART_BYTES];
	size_t len = 0;

	if (pread(fd, bytes, sizeof(bytes), (off_t)(slot * UNIT_SLOT_BYTES + part * UNIT_PART_BYTES)) !=
			(ssize_t)sizeof(bytes))
		return err_set(err, ERR_IO, "cannot read slot %" PRIu64, slot);
	for (int i = 4; i-- > 0;)
		len = len << 8 | bytes[i];
	if (!len)
		return err_set(err, ERR_NOTFOUND, "slot %" PRIu64 " is empty", slot);
	if (len > sizeof(bytes) - 4)
		return err_set(err, ERR_CORRUPT, "slot %" PRIu64 " is torn", slot);
	buf_reset(b);
	buf_add(b, bytes + 4, len);
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
