/* disk.h - the LMDB environment below the store: tables, head, walks (inside daemon/store only)
 *
 * Everything here works inside one transaction of the caller and trusts nothing it reads. The same
 * walks serve the live store, a backup file, and recovery.
 */
#ifndef SLUIS_DAEMON_STORE_DISK_H
#define SLUIS_DAEMON_STORE_DISK_H

#include <lmdb.h>

#include "proto/logfile/pending.h"
#include "proto/logfile/record.h"
#include "daemon/store/store.h"

struct disk {
	MDB_env *env;
	MDB_dbi meta, log, mark, state, blob;
};

/* What the one "head" row of the meta table says. */
struct disk_head {
	uint64_t epoch;
	uint64_t seq;
	uint64_t applied_seq;
	uint64_t base_seq;
	bool restored;
	uint8_t hash[STORE_HASH_BYTES];	     /* of record seq */
	uint8_t base_hash[STORE_HASH_BYTES]; /* of record base_seq */
	struct digest digest;		     /* of the state after seq */
	struct digest applied;		     /* of the state table */
};

/* An error from an LMDB result (or errno value) `rc`, which is not 0: maps the code, says "...:
 * text". */
int disk_err(struct err *err, int rc, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Open the single-file environment at `path`; `flags` are MDB_RDONLY, MDB_NOLOCK or 0. */
int disk_open(struct disk *d, const char *path, uint64_t map_bytes, unsigned flags,
	      struct err *err) NODISCARD;
void disk_close(struct disk *d);
/* Raise the schema to `n` step by step; `fresh` says the file was just made (schema 0). */
int disk_migrate(struct disk *d, store_migrate_fn *const *steps, uint32_t n, bool fresh,
		 struct err *err) NODISCARD;
/* Refuse a schema other than `schema`. */
int disk_schema_check(struct disk *d, uint32_t schema, struct err *err) NODISCARD;
/* Open the tables (after disk_migrate). */
int disk_tables(struct disk *d, struct err *err) NODISCARD;

int disk_head_get(const struct disk *d, MDB_txn *txn, struct disk_head *ret,
		  struct err *err) NODISCARD;
int disk_head_put(const struct disk *d, MDB_txn *txn, const struct disk_head *h,
		  struct err *err) NODISCARD;

/* Batches: the value of one log row. */
void disk_batch_begin(struct buf *b, uint32_t records);
/* Append one record behind `prev`; its hash goes to ret_hash. ERR_TOOBIG. */
int disk_batch_add(struct buf *b, const struct store_record *rec,
		   const uint8_t prev[STORE_HASH_BYTES], uint8_t ret_hash[STORE_HASH_BYTES],
		   struct err *err) NODISCARD;

/* store_read() inside a transaction; checks on the way that the log ends where `h` says. */
int disk_log_walk(const struct disk *d, MDB_txn *txn, const struct disk_head *h, uint64_t from,
		  store_entry_fn *cb, void *ctx, struct err *err) NODISCARD;
int disk_mark_walk(const struct disk *d, MDB_txn *txn, uint64_t from, uint64_t to,
		   store_mark_fn *cb, void *ctx, struct err *err) NODISCARD;
int disk_mark_put(const struct disk *d, MDB_txn *txn, const struct store_mark *m,
		  struct err *err) NODISCARD;
/* Every row of the state table; `cb` may be NULL. Sums the digest. */
int disk_state_walk(const struct disk *d, MDB_txn *txn, store_load_fn *cb, void *ctx,
		    struct digest *ret_sum, uint64_t *ret_n, struct err *err) NODISCARD;

/* Take a fact into `p` and `sum`. What it replaces is looked up in `p`, then in the state table. */
int disk_fold(const struct disk *d, MDB_txn *txn, struct pending *p, struct digest *sum,
	      const struct store_fact *f, struct err *err) NODISCARD;
/* Write `p` to the state table in key order. */
int disk_flush(const struct disk *d, MDB_txn *txn, struct pending *p, struct err *err) NODISCARD;
/* Fold the log behind applied_seq into `p` (empty) and compare the digest with the head's. */
int disk_replay(const struct disk *d, MDB_txn *txn, const struct disk_head *h, struct pending *p,
		struct err *err) NODISCARD;

/* The walk of store_verify() in a transaction of its own. */
int disk_verify(const struct disk *d, struct store_check *ret, struct err *err) NODISCARD;

/* The public view of a head. */
struct store_head disk_head_public(const struct disk_head *h);

/* Our steps; steps[i] leads from schema i to i + 1. */
extern store_migrate_fn *const disk_steps[STORE_SCHEMA];

#endif
