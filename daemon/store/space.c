/* space.c - room on the disk: reserve, ballast, and when to say no
 *
 * A commit that meets a full disk ends the daemon, so the daemon has to stop taking new work long
 * before. Three cushions: the data file is preallocated; LOW is said while there is still headroom
 * for renewals and completions; and a ballast file is given up when that is gone too, which buys
 * the time for a person to come.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "daemon/store/impl.h"
#include "proto/base/ckd.h"
#include "proto/base/failpoint.h"

#define LOW_BYTES_DEFAULT_MAX (UINT64_C(1) << 30)

/* Blocks for all of [0, bytes) of the data file; what the disk has no room for stays sparse, and
 * then store_space() says LOW. The length is also raised over the last page in use: LMDB need not
 * have written that page, and a map must not end before it. */
static void reserve(struct store *s)
{
	struct stat st;
	int fd;

	if (mdb_env_get_fd(s->disk.env, &fd) || fstat(fd, &st) < 0)
		return;
	if ((uint64_t)st.st_size < s->used_bytes && ftruncate(fd, (off_t)s->used_bytes) == 0)
		st.st_size = (off_t)s->used_bytes;
	if ((uint64_t)st.st_size < s->reserve_bytes && s->reserve_bytes <= INT64_MAX &&
	    fallocate(fd, 0, 0, (off_t)s->reserve_bytes) == 0)
		st.st_size = (off_t)s->reserve_bytes;
	s->data_bytes = (uint64_t)st.st_size;
}

static bool take_ballast(struct store *s)
{
	int fd = openat(s->dir_fd, STORE_BALLAST, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	bool ok = fd >= 0 && posix_fallocate(fd, 0, (off_t)s->ballast_bytes) == 0;

	FAILPOINT("store.space.ballast");
	if (fd >= 0)
		(void)close(fd); /* nothing was written through it */
	if (!ok)
		(void)unlinkat(s->dir_fd, STORE_BALLAST, 0); /* half a ballast only takes room */
	return ok;
}

void space_open(struct store *s)
{
	reserve(s);
	FAILPOINT("store.space.reserved");
	s->ballast_held = s->ballast_bytes > 0 && s->ballast_bytes <= INT64_MAX && take_ballast(s);
}

/* Bytes that can still be written: free on the disk, and preallocated but not in use. */
static uint64_t headroom(const struct store *s, const struct statvfs *vfs)
{
	uint64_t unused = s->data_bytes > s->used_bytes ? s->data_bytes - s->used_bytes : 0,
		 free_bytes;

	if (ckd_mul(&free_bytes, (uint64_t)vfs->f_bavail, (uint64_t)vfs->f_frsize) ||
	    ckd_add(&free_bytes, free_bytes, unused))
		return UINT64_MAX;
	return free_bytes;
}

static uint64_t low_bytes(const struct store *s, const struct statvfs *vfs)
{
	uint64_t total;

	if (s->low_bytes)
		return s->low_bytes;
	if (ckd_mul(&total, (uint64_t)vfs->f_blocks, (uint64_t)vfs->f_frsize) ||
	    total / 10 > LOW_BYTES_DEFAULT_MAX)
		return LOW_BYTES_DEFAULT_MAX;
	return total / 10;
}

static enum store_space judge(struct store *s, const struct statvfs *vfs)
{
	uint64_t low = low_bytes(s, vfs), room = headroom(s, vfs);
	bool map_low = s->used_bytes > s->map_bytes_max / 10 * 9;

	if (s->ballast_held && room < low / 4) {
		(void)unlinkat(s->dir_fd, STORE_BALLAST,
			       0); /* if it is gone already, so much the better */
		s->ballast_held = false;
		return STORE_SPACE_CRITICAL;
	}
	/* Taken back only with room for it and to spare, or it would be given up again at once. */
	if (s->ballast_bytes && !s->ballast_held && room > low && room - low > s->ballast_bytes)
		s->ballast_held = take_ballast(s);
	if (room < low && !s->ballast_held && (s->ballast_bytes || room < low / 4))
		return STORE_SPACE_CRITICAL;
	return room < low || map_low ? STORE_SPACE_LOW : STORE_SPACE_OK;
}

enum store_space store_space(struct store *s)
{
	enum store_space space;
	struct statvfs vfs;

	/* A disk that cannot even be asked gets no new work. */
	if (fstatvfs(s->dir_fd, &vfs) < 0)
		return STORE_SPACE_LOW;
	pthread_mutex_lock(&s->lock);
	space = judge(s, &vfs);
	pthread_mutex_unlock(&s->lock);
	return space;
}
