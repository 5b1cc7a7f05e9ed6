/* store.c - what the daemon remembers: open, append, read
 *
 * The order inside store_append() is the durability contract: check everything that may be refused,
 * encode, open one transaction, write log, blobs, state and head, commit (LMDB: data pages,
 * fdatasync, then the meta page through an O_DSYNC descriptor), and only then say yes. From the
 * opening of the transaction on there is no refusal any more, only success or a broken store.
 */
#include "daemon/store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/failpoint.h"
#include "proto/logfile/bytes.h"
#include "daemon/store/impl.h"
#include "proto/base/ckd.h"
#include "proto/base/ensure.h"

#define STORE_MAGIC UINT32_C(0x73746f72)
/* State held back beyond this is written with the next batch, whatever state_every says. */
#define PENDING_BYTES_MAX ((size_t)64 << 20)

/* ---- small things --------------------------------------------------------------------------- */

char *store_path(const char *dir, const char *name)
{
	size_t n = strlen(dir) + strlen(name) + 2;
	char *path = xmalloc(n);

	(void)snprintf(path, n, "%s/%s", dir, name); /* n is its length */
	return path;
}

static int refuse_broken(struct err *err)
{
	(void)err_set(err, ERR_IO, "the store is broken: a write or sync failed before");
	err_hint(err, "the daemon must stop; the next start reads what the disk has");
	return ERR_IO;
}

/* Remember that the disk is not what memory says; returns `code`. */
static int broke(struct store *s, int code)
{
	atomic_store(&s->broken, true);
	return code;
}

bool store_broken(const struct store *s)
{
	return atomic_load(&s->broken);
}

/* Let store_head() and store_space() see where we are. */
static void publish(struct store *s)
{
	MDB_envinfo info;
	MDB_stat st;

	(void)mdb_env_info(s->disk.env, &info); /* both fail only for a NULL argument */
	(void)mdb_env_stat(s->disk.env, &st);
	pthread_mutex_lock(&s->lock);
	s->public = disk_head_public(&s->head);
	s->used_bytes = ((uint64_t)info.me_last_pgno + 1) * st.ms_psize;
	s->map_bytes = info.me_mapsize;
	if (s->data_bytes < s->used_bytes)
		s->data_bytes = s->used_bytes;
	pthread_mutex_unlock(&s->lock);
}

void store_head(struct store *s, struct store_head *ret_head)
{
	pthread_mutex_lock(&s->lock);
	*ret_head = s->public;
	pthread_mutex_unlock(&s->lock);
}

/* Keep the map under 70 % with `need` more bytes. Between transactions only, and a copy being made on
 * another thread is one: then the map stays as it is, until it gets so full that waiting for the
 * copy (seconds) is better than ending the daemon. */
static int ensure_map(struct store *s, size_t need, struct err *err)
{
	uint64_t want = s->map_bytes;
	int rc;

	while (s->used_bytes + need > want / 10 * 7 && want < s->map_bytes_max)
		want = want > s->map_bytes_max / 2 ? s->map_bytes_max : 2 * want;
	if (want == s->map_bytes)
		return 0;
	if (pthread_mutex_trylock(&s->map_lock) != 0) {
		if (s->used_bytes + need <= s->map_bytes / 10 * 9)
			return 0;
		pthread_mutex_lock(&s->map_lock);
	}
	FAILPOINT("store.grow.before");
	rc = mdb_env_set_mapsize(s->disk.env, want);
	FAILPOINT("store.grow.after");
	pthread_mutex_unlock(&s->map_lock);
	if (rc)
		return disk_err(err, rc, "cannot grow the map to %" PRIu64 " bytes", want);
	publish(s);
	return 0;
}

/* ---- opening -------------------------------------------------------------------------------- */

static int lock_file(int dir_fd, const char *dir, int *ret_fd, struct err *err)
{
	char pid[32] = "";
	int n, fd = openat(dir_fd, STORE_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_set_errno(err, ERR_SYS, "cannot open '%s/" STORE_LOCK "'", dir);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int e = errno;

		if (e == EWOULDBLOCK && pread(fd, pid, sizeof(pid) - 1, 0) <= 0)
			(void)snprintf(pid, sizeof(pid), "unknown");
		(void)close(fd); /* only read from */
		errno = e;
		if (e != EWOULDBLOCK)
			return err_set_errno(err, ERR_SYS, "cannot lock '%s/" STORE_LOCK "'", dir);
		pid[strcspn(pid, "\n")] = '\0';
		return err_set(err, ERR_BUSY, "another sluisd holds '%s' (pid %s)", dir, pid);
	}
	/* The number is for people; the lock is what counts. */
	n = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)n, 0) != n) {
		(void)close(fd);
		return err_set_errno(err, ERR_IO, "cannot write '%s/" STORE_LOCK "'", dir);
	}
	*ret_fd = fd;
	return 0;
}

int store_dir_lock(const char *dir, bool create, int *ret_dir_fd, int *ret_lock_fd, struct err *err)
{
	int r, fd;

	if (create && mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_set_errno(err, ERR_SYS, "cannot make '%s'", dir);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_SYS,
				     "cannot open '%s'", dir);
	r = lock_file(fd, dir, ret_lock_fd, err);
	if (r) {
		(void)close(fd); /* a directory */
		return r;
	}
	*ret_dir_fd = fd;
	return 0;
}

/* Make an empty store under another name and rename it into place, so that a half-made one is never
 * taken for ours. */
static int create_data(struct store *s, struct err *err)
{
	char *path = store_path(s->dir, STORE_DATA_NEW);
	struct disk d;
	int r;

	(void)unlinkat(s->dir_fd, STORE_DATA_NEW, 0); /* what an interrupted start left */
	(void)unlinkat(s->dir_fd, STORE_DATA_NEW "-lock", 0);
	r = disk_open(&d, path, STORE_MAP_BYTES, 0, err);
	free(path);
	if (r)
		return r;
	r = disk_migrate(&d, disk_steps, STORE_SCHEMA, true, err);
	disk_close(&d);
	(void)unlinkat(s->dir_fd, STORE_DATA_NEW "-lock", 0);
	if (r)
		return r;
	FAILPOINT("store.create.before_rename");
	if (renameat(s->dir_fd, STORE_DATA_NEW, s->dir_fd, STORE_DATA) < 0)
		return err_set_errno(err, ERR_IO, "cannot rename '%s/" STORE_DATA_NEW "'", s->dir);
	FAILPOINT("store.create.after_rename");
	if (fsync(s->dir_fd) < 0)
		return err_set_errno(err, ERR_IO, "cannot sync '%s'", s->dir);
	return 0;
}

/* Write the pending state and the head in one transaction. */
static int flush_state(struct store *s, const struct disk_head *head, const struct store_mark *mark,
		       struct err *err)
{
	struct disk_head h = *head;
	MDB_txn *txn;
	int r, rc;

	r = ensure_map(s, 4 * pending_bytes(&s->pending), err);
	if (r)
		return broke(s, r);
	rc = mdb_txn_begin(s->disk.env, NULL, 0, &txn);
	if (rc)
		return broke(s, disk_err(err, rc, "cannot begin to write"));
	r = disk_flush(&s->disk, txn, &s->pending, err);
	h.applied_seq = h.seq;
	h.applied = h.digest;
	if (!r && mark)
		r = disk_mark_put(&s->disk, txn, mark, err);
	if (!r)
		r = disk_head_put(&s->disk, txn, &h, err);
	if (r) {
		mdb_txn_abort(txn);
		return broke(s, r);
	}
	FAILPOINT("store.flush.before_commit");
	rc = mdb_txn_commit(txn);
	if (rc)
		return broke(s, disk_err(err, rc, "cannot commit"));
	FAILPOINT("store.flush.after_commit");
	s->head = h;
	s->batches_pending = 0;
	publish(s);
	return 0;
}

/* Read the head, replay the log's tail, and bring the state table up to it. */
static int recover(struct store *s, struct err *err)
{
	MDB_txn *txn;
	int r, rc = mdb_txn_begin(s->disk.env, NULL, MDB_RDONLY, &txn);

	if (rc)
		return disk_err(err, rc, "cannot begin to read");
	r = disk_head_get(&s->disk, txn, &s->head, err);
	if (!r)
		r = disk_replay(&s->disk, txn, &s->head, &s->pending, err);
	mdb_txn_abort(txn);
	if (r)
		return r;
	publish(s);
	return s->head.applied_seq < s->head.seq ? flush_state(s, &s->head, NULL, err) : 0;
}

static int open_data(struct store *s, const struct store_cfg *cfg, struct err *err)
{
	store_migrate_fn *const *steps = cfg->steps ? cfg->steps : disk_steps;
	uint32_t steps_n = cfg->steps ? cfg->steps_n : (uint32_t)STORE_SCHEMA;
	char *path = store_path(s->dir, STORE_DATA);
	int r = disk_open(&s->disk, path, cfg->map_bytes ? cfg->map_bytes : STORE_MAP_BYTES, 0,
			  err);

	free(path);
	if (r)
		return r;
	publish(s);
	space_open(s);
	r = disk_migrate(&s->disk, steps, steps_n, false, err);
	if (!r)
		r = disk_tables(&s->disk, err);
	return r ? r : recover(s, err);
}

static int open_store(struct store *s, const struct store_cfg *cfg, struct err *err)
{
	int r = store_dir_lock(cfg->dir, cfg->create, &s->dir_fd, &s->lock_fd, err);

	if (r)
		return r;
	if (faccessat(s->dir_fd, STORE_DATA, F_OK, 0) < 0) {
		if (errno != ENOENT)
			return err_set_errno(err, ERR_SYS, "cannot look for '%s/" STORE_DATA "'",
					     s->dir);
		if (!cfg->create)
			return err_set(err, ERR_NOTFOUND, "there is no store in '%s'", s->dir);
		r = create_data(s, err);
		if (r)
			return r;
	}
	r = open_data(s, cfg, err);
	if (r)
		err_prefix(err, "store '%.80s'", s->dir);
	return r;
}

int store_open(const struct store_cfg *cfg, struct store **ret_store, struct err *err)
{
	struct store *s = xcalloc(1, sizeof(*s));
	int r;

	s->magic = STORE_MAGIC;
	s->dir = xstrdup(cfg->dir);
	s->dir_fd = s->lock_fd = -1;
	s->map_bytes_max = cfg->map_bytes_max ? cfg->map_bytes_max : STORE_MAP_BYTES_MAX;
	s->reserve_bytes = cfg->reserve_bytes;
	s->ballast_bytes = cfg->ballast_bytes;
	s->low_bytes = cfg->low_bytes;
	s->state_every = cfg->state_every ? cfg->state_every : 1;
	(void)pthread_mutex_init(&s->lock, NULL); /* cannot fail without attributes */
	(void)pthread_mutex_init(&s->map_lock, NULL);
	r = open_store(s, cfg, err);
	if (r) {
		store_close(s);
		return r;
	}
	*ret_store = s;
	return 0;
}

void store_close(struct store *s)
{
	int e = errno;

	if (!s)
		return;
	ENSURE(s->magic == STORE_MAGIC);
	disk_close(&s->disk);
	pending_done(&s->pending);
	buf_done(&s->batch);
	if (s->lock_fd >= 0)
		(void)close(s->lock_fd); /* drops the flock; its content does not matter */
	if (s->dir_fd >= 0)
		(void)close(s->dir_fd);
	(void)pthread_mutex_destroy(&s->map_lock);
	(void)pthread_mutex_destroy(&s->lock);
	free(s->dir);
	s->magic = 0;
	free(s);
	errno = e;
}

/* ---- appending ------------------------------------------------------------------------------ */

static int check_record(const struct store_record *rec, uint64_t seq, struct err *err)
{
	if (rec->seq != seq)
		return err_set(err, ERR_INVAL, "record %" PRIu64 " where %" PRIu64 " belongs",
			       rec->seq, seq);
	if (rec->cmd_len > STORE_CMD_BYTES_MAX)
		return err_set(err, ERR_TOOBIG, "record %" PRIu64 ": command of %u bytes", seq,
			       rec->cmd_len);
	if (rec->facts_n > STORE_FACTS_MAX)
		return err_set(err, ERR_TOOBIG, "record %" PRIu64 ": %u facts", seq, rec->facts_n);
	for (uint32_t i = 0; i < rec->facts_n; i++)
		if (rec->facts[i].val && rec->facts[i].len > STORE_VAL_BYTES_MAX)
			return err_set(err, ERR_TOOBIG,
				       "record %" PRIu64 ": state record of %u bytes", seq,
				       rec->facts[i].len);
	return 0;
}

/* Everything that may be refused is refused here. Fills s->batch; the hash of record i goes to
 * hashes[i]. */
static int encode(struct store *s, const struct store_record *recs, size_t n,
		  uint8_t (*hashes)[STORE_HASH_BYTES], struct err *err)
{
	const uint8_t *prev = s->head.hash;

	disk_batch_begin(&s->batch, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		uint64_t seq;
		int r;

		if (ckd_add(&seq, s->head.seq, i + 1))
			return err_set(err, ERR_RANGE, "the log is full");
		r = check_record(&recs[i], seq, err);
		if (!r)
			r = disk_batch_add(&s->batch, &recs[i], prev, hashes[i], err);
		if (r)
			return r;
		prev = hashes[i];
	}
	return 0;
}

static int check_append(struct store *s, uint64_t expect_head, uint64_t epoch, size_t n,
			const struct store_blob *blobs, size_t blobs_n, struct err *err)
{
	if (store_broken(s))
		return refuse_broken(err);
	if (epoch != s->head.epoch)
		return err_set(err, ERR_SUPERSEDED, "epoch is %" PRIu64 ", not %" PRIu64,
			       s->head.epoch, epoch);
	if (expect_head != s->head.seq)
		return err_set(err, ERR_CONFLICT, "the log ends at %" PRIu64 ", not at %" PRIu64,
			       s->head.seq, expect_head);
	if (n == 0)
		return err_set(err, ERR_INVAL, "a batch without records");
	if (n > STORE_BATCH_RECORDS_MAX)
		return err_set(err, ERR_TOOBIG, "a batch of %zu records", n);
	for (size_t i = 0; i < blobs_n; i++)
		if (blobs[i].len > STORE_BLOB_BYTES_MAX)
			return err_set(err, ERR_TOOBIG, "a blob of %u bytes", blobs[i].len);
	return 0;
}

static int put_blob(struct store *s, MDB_txn *txn, const struct store_blob *blob, struct err *err)
{
	uint8_t hash[STORE_HASH_BYTES];
	MDB_val k = {sizeof(hash), hash}, v = {blob->len, (void *)(uintptr_t)blob->data};
	int rc;

	store_blob_hash(blob->data, blob->len, hash);
	rc = mdb_put(txn, s->disk.blob, &k, &v, MDB_NOOVERWRITE);
	return rc && rc != MDB_KEYEXIST ? disk_err(err, rc, "cannot write a blob") : 0;
}

/* Fold the facts of the batch, with a mark behind each record that is due one. */
static int fold_batch(struct store *s, MDB_txn *txn, const struct store_record *recs, size_t n,
		      uint8_t (*hashes)[STORE_HASH_BYTES], struct digest *sum, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		struct store_mark m = {.seq = recs[i].seq};
		int r = 0;

		for (uint32_t f = 0; f < recs[i].facts_n && !r; f++)
			r = disk_fold(&s->disk, txn, &s->pending, sum, &recs[i].facts[f], err);
		if (!r && m.seq % STORE_MARK_EVERY == 0) {
			memcpy(m.hash, hashes[i], sizeof(m.hash));
			digest_put(sum, m.digest);
			r = disk_mark_put(&s->disk, txn, &m, err);
		}
		if (r)
			return r;
	}
	return 0;
}

/* The writing half of an append, up to the commit. */
static int write_batch(struct store *s, MDB_txn *txn, const struct store_record *recs, size_t n,
		       uint8_t (*hashes)[STORE_HASH_BYTES], const struct store_blob *blobs,
		       size_t blobs_n, struct disk_head *h, struct err *err)
{
	uint8_t key[8];
	MDB_val k = {sizeof(key), key}, v = {s->batch.len, s->batch.data};
	int r, rc;

	put_be64(key, recs[0].seq);
	rc = mdb_put(txn, s->disk.log, &k, &v, MDB_APPEND);
	if (rc)
		return disk_err(err, rc == MDB_KEYEXIST ? MDB_CORRUPTED : rc,
				"cannot write record %" PRIu64, recs[0].seq);
	for (size_t i = 0; i < blobs_n; i++) {
		r = put_blob(s, txn, &blobs[i], err);
		if (r)
			return r;
	}
	r = fold_batch(s, txn, recs, n, hashes, &h->digest, err);
	if (r)
		return r;
	h->seq += n;
	memcpy(h->hash, hashes[n - 1], sizeof(h->hash));
	if (s->batches_pending + 1 >= s->state_every ||
	    pending_bytes(&s->pending) > PENDING_BYTES_MAX) {
		r = disk_flush(&s->disk, txn, &s->pending, err);
		if (r)
			return r;
		h->applied_seq = h->seq;
		h->applied = h->digest;
	}
	return disk_head_put(&s->disk, txn, h, err);
}

/* More than the batch will take: pages are copied on write, and values fill them badly. */
static size_t batch_need(const struct store *s, const struct store_blob *blobs, size_t blobs_n)
{
	size_t need = 4 * (s->batch.len + pending_bytes(&s->pending)) + ((size_t)256 << 10);

	for (size_t i = 0; i < blobs_n; i++)
		need += 2 * (size_t)blobs[i].len;
	return need;
}

static int append(struct store *s, const struct store_record *recs, size_t n,
		  const struct store_blob *blobs, size_t blobs_n,
		  uint8_t (*hashes)[STORE_HASH_BYTES], struct err *err)
{
	struct disk_head h = s->head;
	MDB_txn *txn;
	int r, rc;

	r = encode(s, recs, n, hashes, err);
	if (r)
		return r;
	r = ensure_map(s, batch_need(s, blobs, blobs_n), err);
	if (r)
		return broke(s, r);
	rc = mdb_txn_begin(s->disk.env, NULL, 0, &txn);
	if (rc)
		return broke(s, disk_err(err, rc, "cannot begin to write"));
	r = write_batch(s, txn, recs, n, hashes, blobs, blobs_n, &h, err);
	if (r) {
		mdb_txn_abort(txn);
		return broke(s, r);
	}
	FAILPOINT("store.append.before_commit");
	rc = mdb_txn_commit(txn);
	if (rc)
		return broke(s, disk_err(err, rc, "cannot commit record %" PRIu64, h.seq));
	FAILPOINT("store.append.after_commit");
	s->batches_pending = h.applied_seq == h.seq ? 0 : s->batches_pending + 1;
	s->head = h;
	publish(s);
	return 0;
}

int store_append(struct store *s, uint64_t expect_head, uint64_t epoch,
		 const struct store_record *recs, size_t n, const struct store_blob *blobs,
		 size_t blobs_n, struct err *err)
{
	uint8_t(*hashes)[STORE_HASH_BYTES];
	int r = check_append(s, expect_head, epoch, n, blobs, blobs_n, err);

	if (r)
		return r;
	hashes = xmalloc(n * sizeof(*hashes));
	r = append(s, recs, n, blobs, blobs_n, hashes, err);
	free(hashes);
	return r;
}

/* ---- reading -------------------------------------------------------------------------------- */

static int begin_read(struct store *s, MDB_txn **ret_txn, struct err *err)
{
	int rc;

	if (store_broken(s))
		return refuse_broken(err);
	rc = mdb_txn_begin(s->disk.env, NULL, MDB_RDONLY, ret_txn);
	return rc ? disk_err(err, rc, "cannot begin to read") : 0;
}

int store_load(struct store *s, store_load_fn *cb, void *ctx, struct err *err)
{
	struct digest sum;
	MDB_txn *txn;
	uint64_t n;
	int r = begin_read(s, &txn, err);

	if (r)
		return r;
	if (s->head.applied_seq != s->head.seq) {
		mdb_txn_abort(txn);
		return err_set(err, ERR_STATE,
			       "records are held back: load before the first append");
	}
	r = disk_state_walk(&s->disk, txn, cb, ctx, &sum, &n, err);
	mdb_txn_abort(txn);
	if (!r && memcmp(&sum, &s->head.digest, sizeof(sum)) != 0)
		r = err_set(err, ERR_CORRUPT,
			    "the %" PRIu64 " state records do not have the digest of the head", n);
	return r;
}

int store_read(struct store *s, uint64_t from, store_entry_fn *cb, void *ctx, struct err *err)
{
	MDB_txn *txn;
	int r = begin_read(s, &txn, err);

	if (r)
		return r;
	r = disk_log_walk(&s->disk, txn, &s->head, from, cb, ctx, err);
	mdb_txn_abort(txn);
	return r;
}

int store_marks(struct store *s, uint64_t from, uint64_t to, store_mark_fn *cb, void *ctx,
		struct err *err)
{
	MDB_txn *txn;
	int r = begin_read(s, &txn, err);

	if (r)
		return r;
	r = disk_mark_walk(&s->disk, txn, from, to, cb, ctx, err);
	mdb_txn_abort(txn);
	return r;
}

void store_blob_hash(const void *data, size_t len, uint8_t ret_hash[STORE_HASH_BYTES])
{
	record_hash(data, len, ret_hash);
}

int store_blob_get(struct store *s, const uint8_t hash[STORE_HASH_BYTES], struct buf *ret,
		   struct err *err)
{
	uint8_t is[STORE_HASH_BYTES];
	MDB_val k = {STORE_HASH_BYTES, (void *)(uintptr_t)hash}, v;
	MDB_txn *txn;
	int rc, r = begin_read(s, &txn, err);

	if (r)
		return r;
	rc = mdb_get(txn, s->disk.blob, &k, &v);
	if (rc == MDB_NOTFOUND) {
		r = err_set(err, ERR_NOTFOUND, "no blob %02x%02x%02x%02x...", hash[0], hash[1],
			    hash[2], hash[3]);
	} else if (rc) {
		r = disk_err(err, rc, "cannot read a blob");
	} else {
		store_blob_hash(v.mv_data, v.mv_size, is);
		if (memcmp(is, hash, sizeof(is)) != 0)
			r = err_set(err, ERR_CORRUPT,
				    "blob %02x%02x%02x%02x... does not have its hash", hash[0],
				    hash[1], hash[2], hash[3]);
		else
			buf_add(ret, v.mv_data, v.mv_size);
	}
	mdb_txn_abort(txn);
	return r;
}

int store_verify(struct store *s, struct store_check *ret_check, struct err *err)
{
	if (store_broken(s))
		return refuse_broken(err);
	return disk_verify(&s->disk, ret_check, err);
}

/* ---- head changes without records ----------------------------------------------------------- */

/* Commit `h` as the head, the state staying as it is on disk. */
static int commit_head(struct store *s, const struct disk_head *h, struct err *err)
{
	MDB_txn *txn;
	int r, rc = mdb_txn_begin(s->disk.env, NULL, 0, &txn);

	if (rc)
		return broke(s, disk_err(err, rc, "cannot begin to write"));
	r = disk_head_put(&s->disk, txn, h, err);
	if (r) {
		mdb_txn_abort(txn);
		return broke(s, r);
	}
	FAILPOINT("store.head.before_commit");
	rc = mdb_txn_commit(txn);
	if (rc)
		return broke(s, disk_err(err, rc, "cannot commit the head"));
	FAILPOINT("store.head.after_commit");
	s->head = *h;
	publish(s);
	return 0;
}

int store_epoch_raise(struct store *s, uint64_t above, uint64_t *ret_epoch, struct err *err)
{
	struct disk_head h = s->head;
	int r;

	if (store_broken(s))
		return refuse_broken(err);
	if (ckd_add(&h.epoch, h.epoch < above ? above : h.epoch, 1))
		return err_set(err, ERR_RANGE, "the epoch cannot be raised further");
	r = commit_head(s, &h, err);
	if (!r)
		*ret_epoch = h.epoch;
	return r;
}

int store_restored_clear(struct store *s, struct err *err)
{
	struct disk_head h = s->head;

	if (store_broken(s))
		return refuse_broken(err);
	h.restored = false;
	return commit_head(s, &h, err);
}

int store_checkpoint(struct store *s, struct store_mark *ret_mark, struct err *err)
{
	struct store_mark m = {.seq = s->head.seq};
	int r;

	if (store_broken(s))
		return refuse_broken(err);
	memcpy(m.hash, s->head.hash, sizeof(m.hash));
	digest_put(&s->head.digest, m.digest);
	/* Nothing to mark before the first record, or when the record itself has been trimmed. */
	r = flush_state(s, &s->head, m.seq > s->head.base_seq ? &m : NULL, err);
	if (!r && ret_mark)
		*ret_mark = m;
	return r;
}

/* ---- trimming ------------------------------------------------------------------------------- */

static int trim_marks(struct store *s, MDB_txn *txn, uint64_t upto)
{
	MDB_cursor *cur;
	MDB_val k, v;
	int rc = mdb_cursor_open(txn, s->disk.mark, &cur);

	if (rc)
		return rc;
	for (rc = mdb_cursor_get(cur, &k, &v, MDB_FIRST); !rc;
	     rc = mdb_cursor_get(cur, &k, &v, MDB_NEXT)) {
		if (k.mv_size == 8 && get_be64(k.mv_data) > upto)
			break;
		rc = mdb_cursor_del(cur, 0);
		if (rc)
			break;
	}
	mdb_cursor_close(cur);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int note_base(void *ctx, const struct store_entry *e, struct err *err)
{
	struct disk_head *h = ctx;

	(void)err;
	h->base_seq = e->rec.seq;
	memcpy(h->base_hash, e->hash, sizeof(h->base_hash));
	return 1;
}

/* The end of the last batch that ends at or before `upto`; base_seq if there is none. */
static int trim_point(struct store *s, MDB_txn *txn, uint64_t upto, uint64_t *ret_base,
		      struct err *err)
{
	uint64_t base = s->head.base_seq;
	MDB_cursor *cur;
	MDB_val k, v;
	int rc = mdb_cursor_open(txn, s->disk.log, &cur);

	if (rc)
		return disk_err(err, rc, "cannot trim the log");
	for (rc = mdb_cursor_get(cur, &k, &v, MDB_FIRST); !rc;
	     rc = mdb_cursor_get(cur, &k, &v, MDB_NEXT)) {
		uint64_t last;

		/* A batch says how many records it has; trim_log() checks that it is true. */
		if (k.mv_size != 8 || v.mv_size < 8 ||
		    ckd_add(&last, get_be64(k.mv_data), get_be32((const uint8_t *)v.mv_data + 4)) ||
		    last-- == 0) {
			rc = MDB_CORRUPTED;
			break;
		}
		if (last > upto)
			break;
		base = last;
	}
	mdb_cursor_close(cur);
	if (rc && rc != MDB_NOTFOUND)
		return disk_err(err, rc, "cannot trim the log");
	*ret_base = base;
	return 0;
}

/* Delete the batches that end at or before `upto`; *h gets the new base. */
static int trim_log(struct store *s, MDB_txn *txn, uint64_t upto, struct disk_head *h,
		    struct err *err)
{
	MDB_cursor *cur;
	MDB_val k, v;
	uint64_t base = h->base_seq;
	int rc, r = trim_point(s, txn, upto, &base, err);

	if (r || base == h->base_seq)
		return r;
	r = disk_log_walk(&s->disk, txn, h, base, note_base, h, err);
	if (r < 0)
		return r;
	ENSURE(h->base_seq == base);
	rc = mdb_cursor_open(txn, s->disk.log, &cur);
	if (rc)
		return disk_err(err, rc, "cannot trim the log");
	while (!(rc = mdb_cursor_get(cur, &k, &v, MDB_FIRST)) && get_be64(k.mv_data) <= base) {
		rc = mdb_cursor_del(cur, 0);
		if (rc)
			break;
	}
	mdb_cursor_close(cur);
	if (!rc || rc == MDB_NOTFOUND)
		rc = trim_marks(s, txn, base);
	return rc ? disk_err(err, rc, "cannot trim the log") : 0;
}

int store_trim(struct store *s, uint64_t upto, struct err *err)
{
	struct disk_head h = s->head;
	MDB_txn *txn;
	int r, rc;

	if (store_broken(s))
		return refuse_broken(err);
	if (upto > s->head.applied_seq)
		return err_set(err, ERR_RANGE,
			       "cannot trim the log up to %" PRIu64
			       ": state is written up to %" PRIu64,
			       upto, s->head.applied_seq);
	if (upto <= s->head.base_seq)
		return 0;
	rc = mdb_txn_begin(s->disk.env, NULL, 0, &txn);
	if (rc)
		return broke(s, disk_err(err, rc, "cannot begin to write"));
	r = trim_log(s, txn, upto, &h, err);
	if (!r)
		r = disk_head_put(&s->disk, txn, &h, err);
	if (r) {
		mdb_txn_abort(txn);
		return broke(s, r);
	}
	FAILPOINT("store.trim.before_commit");
	rc = mdb_txn_commit(txn);
	if (rc)
		return broke(s, disk_err(err, rc, "cannot commit the trimmed log"));
	FAILPOINT("store.trim.after_commit");
	s->head = h;
	publish(s);
	return 0;
}
