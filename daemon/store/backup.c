/* backup.c - a consistent copy, its verification, and the way back
 *
 * A backup is LMDB's compacting copy with a trailer: magic, length, SHA-256 of all before it. LMDB
 * has no page checksums and follows a damaged page wherever it points, so the trailer is checked
 * before LMDB sees the file at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/logfile/bytes.h"
#include "proto/base/failpoint.h"
#include "proto/logfile/files.h"
#include "daemon/store/impl.h"
#include "proto/base/ckd.h"

enum { TRAILER_BYTES = 8 + 8 + STORE_HASH_BYTES, CHUNK_BYTES = 1 << 18 };

static const char TRAILER_MAGIC[9] = "SLUISBAK";

/* Read `bytes` of fd from its start: hash them and, if out >= 0, copy them there. */
static int stream(int fd, uint64_t bytes, int out, uint8_t ret_hash[STORE_HASH_BYTES],
		  struct err *err)
{
	crypto_hash_sha256_state st;
	uint8_t *chunk = xmalloc(CHUNK_BYTES);
	uint64_t at = 0;
	int r = 0;

	crypto_hash_sha256_init(&st);
	while (at < bytes && !r) {
		size_t want = bytes - at < CHUNK_BYTES ? (size_t)(bytes - at) : CHUNK_BYTES;
		ssize_t n = pread(fd, chunk, want, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			r = err_set_errno(err, ERR_IO, "cannot read at byte %" PRIu64, at);
		else if (n == 0)
			r = err_set(err, ERR_TRUNCATED, "ends at byte %" PRIu64 " of %" PRIu64, at,
				    bytes);
		else if (out >= 0)
			r = file_write(out, chunk, (size_t)n, err);
		if (!r) {
			crypto_hash_sha256_update(&st, chunk, (uint64_t)n);
			at += (uint64_t)n;
		}
	}
	free(chunk);
	crypto_hash_sha256_final(&st, ret_hash);
	return r;
}

/* Put the trailer behind a fresh copy and sync it. */
static int seal(const char *path, struct err *err)
{
	uint8_t trailer[TRAILER_BYTES];
	struct stat st;
	int r, fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC);

	if (fd < 0)
		return err_set_errno(err, ERR_IO, "cannot open '%s'", path);
	if (fstat(fd, &st) < 0) {
		r = err_set_errno(err, ERR_IO, "cannot stat '%s'", path);
	} else {
		memcpy(trailer, TRAILER_MAGIC, 8);
		put_be64(trailer + 8, (uint64_t)st.st_size);
		r = stream(fd, (uint64_t)st.st_size, -1, trailer + 16, err);
		if (!r)
			r = file_write(fd, trailer, sizeof(trailer), err);
		if (!r && fsync(fd) < 0)
			r = err_set_errno(err, ERR_IO, "cannot sync '%s'", path);
	}
	if (close(fd) < 0 && !r)
		r = err_set_errno(err, ERR_IO, "cannot close '%s'", path);
	return r;
}

/* Check the trailer of the backup open as `fd`, copying what it covers to `out` if that is >= 0. */
static int check_seal(int fd, int out, struct err *err)
{
	uint8_t trailer[TRAILER_BYTES], hash[STORE_HASH_BYTES];
	struct stat st;
	uint64_t bytes;
	int r;

	if (fstat(fd, &st) < 0)
		return err_set_errno(err, ERR_IO, "cannot stat it");
	if (st.st_size < TRAILER_BYTES)
		return err_set(err, ERR_TRUNCATED, "%jd bytes are too few", (intmax_t)st.st_size);
	bytes = (uint64_t)st.st_size - TRAILER_BYTES;
	if (pread(fd, trailer, sizeof(trailer), (off_t)bytes) != TRAILER_BYTES)
		return err_set_errno(err, ERR_IO, "cannot read its end");
	if (memcmp(trailer, TRAILER_MAGIC, 8) != 0 || get_be64(trailer + 8) != bytes)
		return err_set(err, ERR_TRUNCATED, "its end is missing, or it is no backup");
	r = stream(fd, bytes, out, hash, err);
	if (!r && memcmp(hash, trailer + 16, sizeof(hash)) != 0)
		r = err_set(err, ERR_CORRUPT, "its bytes do not have the hash at its end");
	return r;
}

static int verify_sealed(const char *path, struct store_check *ret, struct err *err)
{
	struct disk d;
	int r = disk_open(&d, path, 0, MDB_RDONLY | MDB_NOLOCK, err);

	if (!r)
		r = disk_schema_check(&d, STORE_SCHEMA, err);
	if (!r)
		r = disk_tables(&d, err);
	if (!r)
		r = disk_verify(&d, ret, err);
	disk_close(&d);
	return r;
}

int store_backup_verify(const char *path, struct store_check *ret_check, struct err *err)
{
	struct store_check check;
	int r, fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_set_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO,
				     "cannot open '%s'", path);
	r = check_seal(fd, -1, err);
	(void)close(fd); /* only read from */
	if (!r)
		r = verify_sealed(path, &check, err);
	if (r)
		err_prefix(err, "backup '%.100s'", path);
	else if (ret_check)
		*ret_check = check;
	return r;
}

static int copy_and_verify(struct store *s, const char *part, struct store_check *ret,
			   struct err *err)
{
	int r, rc;

	pthread_mutex_lock(&s->map_lock);
	rc = mdb_env_copy2(s->disk.env, part, MDB_CP_COMPACT);
	pthread_mutex_unlock(&s->map_lock);
	if (rc)
		return disk_err(err, rc, "cannot copy to '%s'", part);
	FAILPOINT("store.backup.copied");
	r = seal(part, err);
	FAILPOINT("store.backup.sealed");
	return r ? r : store_backup_verify(part, ret, err);
}

int store_backup(struct store *s, const char *path, struct store_check *ret_check, struct err *err)
{
	char *part;
	int r;

	if (store_broken(s))
		return err_set(err, ERR_IO, "the store is broken: a write or sync failed before");
	if (access(path, F_OK) == 0)
		return err_set(err, ERR_EXISTS, "'%s' exists already", path);
	if (atomic_exchange(&s->backing_up, true))
		return err_set(err, ERR_BUSY, "another backup is running");
	part = file_part(path);
	(void)unlink(part); /* what an interrupted backup left */
	r = copy_and_verify(s, part, ret_check, err);
	if (!r)
		r = file_publish(part, path, err);
	if (r)
		(void)unlink(part);
	free(part);
	atomic_store(&s->backing_up, false);
	return r;
}

/* Make the copied file a store of its own present, and of no other restore's. */
static int renew_epoch(const char *path, int64_t wall_ms, struct err *err)
{
	struct disk_head h;
	struct disk d;
	MDB_txn *txn;
	int r = disk_open(&d, path, 0, 0, err), rc;

	if (r)
		return r;
	r = disk_tables(&d, err);
	rc = r ? 0 : mdb_txn_begin(d.env, NULL, 0, &txn);
	if (rc)
		r = disk_err(err, rc, "cannot begin to write");
	if (r) {
		disk_close(&d);
		return r;
	}
	r = disk_head_get(&d, txn, &h, err);
	if (!r && ckd_add(&h.epoch, h.epoch, STORE_EPOCH_STEP))
		r = err_set(err, ERR_RANGE, "the epoch cannot be raised further");
	if (wall_ms > 0 && h.epoch < STORE_EPOCH_AT(wall_ms))
		h.epoch = STORE_EPOCH_AT(wall_ms);
	h.restored = true;
	if (!r)
		r = disk_head_put(&d, txn, &h, err);
	if (r) {
		mdb_txn_abort(txn);
	} else {
		rc = mdb_txn_commit(txn);
		r = rc ? disk_err(err, rc, "cannot commit the new epoch") : 0;
	}
	disk_close(&d);
	return r;
}

static int copy_to(const char *path, int dir_fd, struct err *err)
{
	int r, out, fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_set_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO,
				     "cannot open '%s'", path);
	out = openat(dir_fd, STORE_DATA_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (out < 0) {
		r = err_set_errno(err, ERR_IO, "cannot make the new store");
	} else {
		r = check_seal(fd, out, err);
		if (!r && fsync(out) < 0)
			r = err_set_errno(err, ERR_IO, "cannot sync the new store");
		(void)close(out); /* synced, or thrown away */
	}
	(void)close(fd);
	return r;
}

static int restore_into(const char *path, const char *dir, int dir_fd, int64_t wall_ms, struct err *err)
{
	char *fresh;
	int r;

	if (faccessat(dir_fd, STORE_DATA, F_OK, 0) == 0)
		return err_set(err, ERR_EXISTS, "'%s' holds a store: move it away first", dir);
	r = copy_to(path, dir_fd, err);
	FAILPOINT("store.restore.copied");
	fresh = store_path(dir, STORE_DATA_NEW);
	if (!r)
		r = verify_sealed(fresh, &(struct store_check){0}, err);
	if (!r)
		r = renew_epoch(fresh, wall_ms, err);
	FAILPOINT("store.restore.renewed");
	free(fresh);
	(void)unlinkat(dir_fd, STORE_DATA_NEW "-lock", 0);
	if (!r && renameat(dir_fd, STORE_DATA_NEW, dir_fd, STORE_DATA) < 0)
		r = err_set_errno(err, ERR_IO, "cannot rename the new store");
	FAILPOINT("store.restore.renamed");
	if (!r && fsync(dir_fd) < 0)
		r = err_set_errno(err, ERR_IO, "cannot sync '%s'", dir);
	if (r)
		(void)unlinkat(dir_fd, STORE_DATA_NEW, 0);
	return r;
}

int store_restore(const char *path, const char *dir, int64_t wall_ms, struct err *err)
{
	int dir_fd, lock_fd, r = store_dir_lock(dir, true, &dir_fd, &lock_fd, err);

	if (r)
		return r;
	r = restore_into(path, dir, dir_fd, wall_ms, err);
	if (r)
		err_prefix(err, "restoring '%.80s'", path);
	(void)close(lock_fd);
	(void)close(dir_fd);
	return r;
}
