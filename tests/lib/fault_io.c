/* fault_io.c - a disk that fails on command and remembers what was asked of it */
#include "tests/lib/fault_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "proto/base/ensure.h"

ssize_t __real_pwrite(int fd, const void *p, size_t n, off_t off);
ssize_t __real_write(int fd, const void *p, size_t n);
ssize_t __real_writev(int fd, const struct iovec *iov, int iov_n);
ssize_t __real_pwritev(int fd, const struct iovec *iov, int iov_n, off_t off);
int __real_fdatasync(int fd);
int __real_fsync(int fd);
int __real_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __real_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
off_t __real_lseek(int fd, off_t off, int whence);

static struct {
	char *prefix;
	uint64_t calls, fail_at; /* fail_at 0 = never */
	enum fault_io_mode mode;
	int err;
	bool struck, record;
	struct fault_io_event *v;
	size_t n, cap;
} io;

void fault_io_watch(const char *prefix)
{
	for (size_t i = 0; i < io.n; i++)
		free(io.v[i].data);
	free(io.v);
	free(io.prefix);
	memset(&io, 0, sizeof(io));
	if (prefix)
		io.prefix = xstrdup(prefix);
}

void fault_io_fail(uint64_t k, enum fault_io_mode mode, int err)
{
	io.fail_at = io.calls + k;
	io.mode = mode;
	io.err = err;
	io.struck = false;
}

void fault_io_heal(void)
{
	io.fail_at = 0;
}

uint64_t fault_io_calls(void)
{
	return io.calls;
}

bool fault_io_struck(void)
{
	return io.struck;
}

void fault_io_record(void)
{
	io.record = true;
}

const struct fault_io_event *fault_io_events(size_t *ret_n)
{
	*ret_n = io.n;
	return io.v;
}

static void event_add(struct fault_io_event e)
{
	if (io.n == io.cap) {
		io.cap = io.cap ? 2 * io.cap : 1024;
		io.v = xrealloc(io.v, io.cap * sizeof(*io.v));
	}
	io.v[io.n++] = e;
}

void fault_io_ack(uint64_t tag)
{
	if (io.record)
		event_add((struct fault_io_event){.kind = FAULT_IO_ACK, .tag = tag});
}

static bool watched(int fd)
{
	char link[64], path[4096];
	ssize_t n;

	if (!io.prefix)
		return false;
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return false;
	path[n] = '\0';
	return strncmp(path, io.prefix, strlen(io.prefix)) == 0;
}

/* Count a call; true if it has to fail. */
static bool strikes(void)
{
	bool hit;

	io.calls++;
	hit = io.fail_at &&
	      (io.mode == FAULT_IO_ONCE ? io.calls == io.fail_at : io.calls >= io.fail_at);
	io.struck |= hit;
	return hit;
}

static ssize_t do_write(int fd, const void *p, size_t n, off_t off)
{
	ssize_t r;

	if (strikes()) {
		if (io.mode == FAULT_IO_HALF && io.calls == io.fail_at && n > 1)
			return __real_pwrite(fd, p, n / 2, off);
		errno = io.err;
		return -1;
	}
	r = __real_pwrite(fd, p, n, off);
	if (r > 0 && io.record) {
		struct fault_io_event e = {
			.kind = FAULT_IO_WRITE, .off = (uint64_t)off, .len = (uint64_t)r};

		e.dsync = fcntl(fd, F_GETFL) & O_DSYNC;
		e.data = xmalloc((size_t)r);
		memcpy(e.data, p, (size_t)r);
		event_add(e);
	}
	return r;
}

static ssize_t do_writev(int fd, const struct iovec *iov, int iov_n, off_t off)
{
	struct buf b = BUF_INIT;
	ssize_t r;

	if (iov_n == 1) /* where it is: O_DIRECT wants it aligned */
		return do_write(fd, iov->iov_base, iov->iov_len, off);
	for (int i = 0; i < iov_n; i++)
		buf_add(&b, iov[i].iov_base, iov[i].iov_len);
	r = do_write(fd, b.data, b.len, off);
	buf_done(&b);
	return r;
}

ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t off)
{
	return watched(fd) ? do_write(fd, p, n, off) : __real_pwrite(fd, p, n, off);
}

ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int iov_n, off_t off)
{
	return watched(fd) ? do_writev(fd, iov, iov_n, off) : __real_pwritev(fd, iov, iov_n, off);
}

/* The two that write at the file position leave it behind what they wrote. */
static ssize_t at_position(int fd, const struct iovec *iov, int iov_n)
{
	off_t off = __real_lseek(fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
	ssize_t r;

	ENSURE(off >= 0);
	r = do_writev(fd, iov, iov_n, off);
	if (r > 0)
		ENSURE(__real_lseek(fd, off + r, SEEK_SET) == off + r);
	return r;
}

ssize_t __wrap_write(int fd, const void *p, size_t n)
{
	struct iovec iov = {(void *)(uintptr_t)p, n};

	return watched(fd) ? at_position(fd, &iov, 1) : __real_write(fd, p, n);
}

ssize_t __wrap_writev(int fd, const struct iovec *iov, int iov_n)
{
	return watched(fd) ? at_position(fd, iov, iov_n) : __real_writev(fd, iov, iov_n);
}

static int do_sync(int fd, int (*real)(int fd))
{
	if (!watched(fd))
		return real(fd);
	if (strikes()) {
		errno = io.err;
		return -1;
	}
	if (io.record)
		event_add((struct fault_io_event){.kind = FAULT_IO_SYNC});
	return real(fd);
}

int __wrap_fdatasync(int fd)
{
	return do_sync(fd, __real_fdatasync);
}

int __wrap_fsync(int fd)
{
	return do_sync(fd, __real_fsync);
}

/* Only of the file whose path is the prefix as a whole: the one that is made under a draft's name. */
static void named(int dir, const char *from)
{
	char at[64], path[4096];
	ssize_t n = 0;

	if (!io.record || !io.prefix)
		return;
	if (from[0] != '/') {
		(void)snprintf(at, sizeof(at), "/proc/self/fd/%d", dir);
		n = readlink(at, path, sizeof(path) / 2);
		ENSURE(n >= 0);
		path[n++] = '/';
	}
	(void)snprintf(path + n, sizeof(path) - (size_t)n, "%s", from);
	if (strcmp(path, io.prefix) == 0)
		event_add((struct fault_io_event){.kind = FAULT_IO_NAME});
}

int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	named(from_dir, from);
	return __real_renameat(from_dir, from, to_dir, to);
}

int __wrap_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	named(from_dir, from);
	return __real_renameat2(from_dir, from, to_dir, to, flags);
}

off_t __wrap_lseek(int fd, off_t off, int whence)
{
	return __real_lseek(fd, off, whence);
}
