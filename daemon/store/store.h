/* store.h - what the daemon remembers: a hash-chained log, the state it leads to, and blobs
 *
 * The store is opaque to the core: it keeps *records* (kind, id, bytes) and the *log* of the
 * commands and facts that made them. One append is one LMDB transaction and one sync; when
 * store_append() has returned 0 the batch is on stable storage, and not before.
 *
 * What holds true:
 *  - acknowledged is visible: a batch whose append returned 0 is there after any crash, whole;
 *    a batch that was not acknowledged is there whole or not at all
 *  - each log record carries SHA-256 over its canonical bytes, which contain its predecessor's hash
 *  - the digest is a function of the live records alone, however they came to be
 *  - after one failed write or sync every later call answers ERR_IO: Linux reports a failed sync
 *    once and then forgets it, so trying again would be a lie. The daemon exits 70 and the next
 *    start reads the disk
 *  - nothing read from disk is believed: lengths, versions, hashes and digest are checked
 *
 * Threads: calls on one store must not overlap, from whichever thread they come, with three
 * exceptions: store_head() and store_space() may run beside anything, and store_backup() may run
 * on a second thread beside appends.
 *
 * On-disk layout: FORMAT.md. Sources: Howard Chu, "The LMDB Technology" 2011; Rebello et al., "Can
 * Applications Recover from fsync Failures?", USENIX ATC 2020; the additive set hash after Clarke
 * et al., "Incremental Multiset Hash Functions", ASIACRYPT 2003 (it finds divergence and bit rot;
 * the chain is the evidence against tampering).
 */
#ifndef SLUIS_DAEMON_STORE_STORE_H
#define SLUIS_DAEMON_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/err.h"
#include "proto/logfile/entry.h"

struct MDB_txn;
struct store;

enum {
	STORE_SCHEMA = 1, /* layout version this build reads and writes */
	STORE_MARK_EVERY = 4096,	   /* records between two digest marks */
	STORE_BATCH_RECORDS_MAX = 4096,	   /* records of one append */
	STORE_BATCH_BYTES_MAX = 128 << 20, /* one encoded batch */
	STORE_BLOB_BYTES_MAX = 16 << 20,   /* one blob */
};

/* Bytes addressed by their SHA-256 (store_blob_hash); appended with the batch that refers to them.
 */
struct store_blob {
	const uint8_t *data; /* borrowed */
	uint32_t len;
};

struct store_head {
	uint64_t seq;			  /* last record of the log; 0 = none */
	uint8_t hash[STORE_HASH_BYTES];	  /* its hash; zeros when seq is 0 */
	uint8_t digest[STORE_HASH_BYTES]; /* of the state after it */
	uint64_t epoch;			  /* cluster epoch */
	uint64_t applied_seq;		  /* state tables on disk are this far; <= seq */
	uint64_t base_seq;		  /* log records up to here were trimmed; 0 = none */
	bool restored; /* came from a backup and nobody has confirmed it: safe mode */
};

/* Raises the layout of an open environment by one version, inside the one transaction `txn` that
 * also records the new version. */
typedef int store_migrate_fn(struct MDB_txn *txn, struct err *err);

struct store_cfg {
	const char *dir; /* created 0700 if `create` */
	bool create;     /* make a store where there is none; otherwise ERR_NOTFOUND */
	/* First size of the map (0 = 1 GiB), doubled at 70 % up to the largest (0 = 256 GiB). */
	uint64_t map_bytes;
	uint64_t map_bytes_max;
	/* The data file is preallocated to this; 0 = not. */
	uint64_t reserve_bytes;
	/* A file given up when the disk is full; 0 = none, 64 MiB is usual. */
	uint64_t ballast_bytes;
	/* Headroom below which space is LOW; 0 = 10 % of the disk, 1 GiB at most. */
	uint64_t low_bytes;
	/* Write state records each n-th batch; 0 or 1 = with every batch. Between, they are held in
	 * memory and in the log, and the next open replays them. */
	uint32_t state_every;
	/* For tests of migration: steps[i] leads from version i to i + 1; NULL = ours. */
	store_migrate_fn *const *steps;
	uint32_t steps_n;
};

enum store_space {
	STORE_SPACE_OK,
	STORE_SPACE_LOW,      /* refuse new submissions; take renewals and completions */
	STORE_SPACE_CRITICAL, /* the ballast has been given up (or there is none left to give) */
};

/* Open the store in cfg->dir, replaying what the log has and the state tables do not. `cfg` is
 * borrowed for the call. On success the caller owns *ret_store.
 *
 * ERR_BUSY: another process (or this one) holds the directory. ERR_NOTFOUND: none there and not
 * `create`. ERR_VERSION: written by a newer build (the daemon exits 78). ERR_CORRUPT: the log's
 * end, its head and the digest do not agree; nothing was changed. ERR_NOSPACE, ERR_IO, ERR_SYS: the
 * disk. */
int store_open(const struct store_cfg *cfg, struct store **ret_store, struct err *err) NODISCARD;

/* Close without writing. What was appended is safe; a store_checkpoint() before makes the next
 * start quick. */
void store_close(struct store *s);

/* Append `n` records if the log's head is `expect_head` and the epoch is `epoch`: one transaction,
 * one sync. Blobs already present are skipped.
 *
 * ERR_CONFLICT: the head is another; ERR_SUPERSEDED: the epoch is; ERR_INVAL: sequence numbers have
 * a gap; ERR_TOOBIG: a limit above. These change nothing and the store stays usable. ERR_NOSPACE,
 * ERR_IO, ERR_CORRUPT: not known to be on disk, or known not to be: stop the process (exit 70). The
 * store answers ERR_IO from now on. Cost: O(bytes + changed records); one fdatasync and one
 * synchronous 4 KiB write. */
int store_append(struct store *s, uint64_t expect_head, uint64_t epoch,
		 const struct store_record *recs, size_t n, const struct store_blob *blobs,
		 size_t blobs_n, struct err *err) NODISCARD;

/* True after a failed write or sync: the process has to stop. */
bool store_broken(const struct store *s);

/* Where the store stands. Any thread. */
void store_head(struct store *s, struct store_head *ret_head);

/* Feed every live record to `cb` in order of (kind, id) and check each record's hash and the
 * digest of them all. `val` is valid until cb returns; cb returns 0, or a negative code that ends
 * the walk and is returned. ERR_CORRUPT names the first bad record. Call it once, at start-up. */
int store_load(struct store *s, store_load_fn *cb, void *ctx, struct err *err) NODISCARD;

/* Feed the log from record `from` (at least base_seq + 1) to the head to `cb`, in order, each
 * record's hash and link checked. cb returns 0, or a code that ends the walk and is returned
 * (positive codes too: "enough"). ERR_GONE: trimmed, look in the archive. */
typedef int store_entry_fn(void *ctx, const struct store_entry *entry, struct err *err);
int store_read(struct store *s, uint64_t from, store_entry_fn *cb, void *ctx,
	       struct err *err) NODISCARD;

/* Feed the digest marks with from <= seq <= to to `cb`, ascending. */
typedef int store_mark_fn(void *ctx, const struct store_mark *mark, struct err *err);
int store_marks(struct store *s, uint64_t from, uint64_t to, store_mark_fn *cb, void *ctx,
		struct err *err) NODISCARD;

/* SHA-256 of a blob: its address. */
void store_blob_hash(const void *data, size_t len, uint8_t ret_hash[STORE_HASH_BYTES]);
/* Append the blob's bytes to `ret`. ERR_NOTFOUND; ERR_CORRUPT if they no longer have that hash. */
int store_blob_get(struct store *s, const uint8_t hash[STORE_HASH_BYTES], struct buf *ret,
		   struct err *err) NODISCARD;

/* Epochs between one line of starts and the next: more starts than a lost present can have had. */
#define STORE_EPOCH_STEP (UINT64_C(1) << 32)
/* The least epoch of a store restored at this instant, so that two restores of one copy part ways. Below
 * STORE_EPOCH_MADE_UP, which no line of starts reaches before the year 2500. */
#define STORE_EPOCH_AT(wall_ms) ((uint64_t)(wall_ms) << 18)
#define STORE_EPOCH_MADE_UP (UINT64_C(1) << 62)

/* Raise the cluster epoch, synced, to one more than it is and than `above`: at each start, before the first
 * append, above nothing (0); and when a restored store hears that it is not the latest. */
int store_epoch_raise(struct store *s, uint64_t above, uint64_t *ret_epoch, struct err *err) NODISCARD;

/* Write all state records held back, and a digest mark at the head. `ret_mark` may be NULL. Before
 * a clean exit, and whenever a signed checkpoint is wanted. */
int store_checkpoint(struct store *s, struct store_mark *ret_mark, struct err *err) NODISCARD;

/* The operator has confirmed the restored state: clear `restored`, synced. */
int store_restored_clear(struct store *s, struct err *err) NODISCARD;

/* Forget the log up to and including `upto`, which the caller has archived (logfile_export) and
 * verified. Only whole batches go, so less may be removed. ERR_RANGE beyond applied_seq. */
int store_trim(struct store *s, uint64_t upto, struct err *err) NODISCARD;

/* How much room is left, from statvfs, the preallocated part of the data file and the map. Gives up
 * the ballast when nothing else is left and takes it back when there is room. Any thread; a few
 * system calls, so once a second rather than once a command. */
enum store_space store_space(struct store *s);

struct store_check {
	uint64_t records; /* log records walked */
	uint64_t marks;	  /* digest marks whose hash was compared with the chain */
	uint64_t states;  /* live state records */
	uint64_t blobs;
	struct store_head head;
};

/* Walk everything: chain, marks, state records, blobs, digest. ERR_CORRUPT names the first thing
 * that does not hold. Cost: reads the whole store. */
int store_verify(struct store *s, struct store_check *ret_check, struct err *err) NODISCARD;

/* Write a compacted, consistent copy to the file `path`: copy, sync, verify, rename, sync the
 * directory. ERR_EXISTS: there is something at `path`. ERR_BUSY: another backup runs. A
 * failed backup leaves nothing behind and does not break the store. While it copies the map cannot
 * grow; an append that finds the map over 90 % full waits for the copy. */
int store_backup(struct store *s, const char *path, struct store_check *ret_check,
		 struct err *err) NODISCARD;
/* The walk of store_verify() over a backup file, which is only read. */
int store_backup_verify(const char *path, struct store_check *ret_check, struct err *err) NODISCARD;

/* Make a store in `dir` from the backup file `path`: verified, epoch raised by STORE_EPOCH_STEP and at least to
 * STORE_EPOCH_AT(wall_ms) so that nothing of the lost present can be mistaken for ours, and `restored` set.
 * ERR_EXISTS: dir holds a store. */
int store_restore(const char *path, const char *dir, int64_t wall_ms, struct err *err) NODISCARD;

#endif
