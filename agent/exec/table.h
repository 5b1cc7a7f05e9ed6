/* table.h - what an agent must not forget: its rows, device epochs and a few counters
 *
 * An append log in one file, replayed and compacted when opened. Callers change, then table_sync(),
 * then act: what was synced is there after any crash.
 *
 * The log begins with 16 bytes "sluis-agent-tbl1"; each entry is
 *     u32 length of the body, u32 CRC-32C of length and body, body     (little-endian)
 * and a body is a type byte and its fields: 1 row (u64 alloc, u16 part, payload), 2 row deleted
 * (u64, u16), 3 epoch (u64, name), 4 meta (u8 id, u64).
 *
 * A torn tail (an append that a crash cut short) is cut off: nobody acted on it. (Damage to the very last
 * synced entry looks the same and cannot be told apart; `cut_bytes` is worth a log line.) An entry that is bad
 * with good ones behind it is damage to synced data: rows from there on are dropped, epochs and the
 * counters that only grow are still taken, and `rebuilt` says that rows may be missing. The new file says
 * so itself, in TABLE_ROWS_MISSING, from its first byte on: a caller that dies before it has made good what
 * was lost finds `rebuilt` again. A caller that sees `rebuilt` treats its rows as unknown and starts nothing
 * until the daemon has spoken; then it sets the mark back.
 *
 * Not thread-safe; one process per directory.
 */
#ifndef SLUIS_AGENT_EXEC_TABLE_H
#define SLUIS_AGENT_EXEC_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

struct table;

enum {
	TABLE_ROWS_MAX = 16384,
	TABLE_PAYLOAD_BYTES_MAX = 65536,
	TABLE_DEVICES_MAX = 4096,
	TABLE_DEVICE_NAME_BYTES = 65, /* with its NUL */
};

enum table_meta {
	TABLE_CLUSTER_EPOCH, /* highest seen; only grows */
	TABLE_INCARNATION,   /* of this agent; only grows */
	TABLE_SEQ_ACKED,     /* highest the daemon has acknowledged to us; may be set back */
	TABLE_ROWS_MISSING,  /* 1 since the file was lost or damaged, until the caller sets it to 0 */
	TABLE_META_COUNT,
};

/* How the file was found. */
struct table_found {
	bool rebuilt;      /* no file, or damaged, now or before: rows may be missing */
	bool none;         /* there was no file */
	uint64_t cut_bytes; /* torn tail or damage cut off */
};

/* Open DIR/table, made if absent. Returns 0; ERR_BUSY if another process has it; ERR_VERSION for a file
 * of another format; ERR_TOOBIG; ERR_IO, ERR_NOSPACE, ERR_SYS. */
int table_open(const char *dir, struct table **ret_table, struct table_found *ret_found,
		struct err *err) NODISCARD;
/* What was not synced may be lost. NULL is fine. */
void table_close(struct table *t);

/* Put or replace. Returns 0; ERR_NOROOM; ERR_TOOBIG. */
int table_put_row(struct table *t, uint64_t alloc, uint16_t part, const void *payload, size_t len,
		struct err *err) NODISCARD;
/* Fine if there is none. */
void table_del_row(struct table *t, uint64_t alloc, uint16_t part);
/* Returns false if there is none. *ret_payload is borrowed until the next change. */
bool table_get_row(const struct table *t, uint64_t alloc, uint16_t part, const void **ret_payload,
		size_t *ret_len) NODISCARD;
/* Ascending by (alloc, part); fn changes nothing. */
void table_each_row(const struct table *t,
		void (*fn)(void *ctx, uint64_t alloc, uint16_t part, const void *payload, size_t len),
		void *ctx);
size_t table_row_count(const struct table *t);

/* Highest epoch seen for a device; 0 if none. */
uint64_t table_epoch_get(const struct table *t, const char *device);
/* The highest of all devices. */
uint64_t table_epoch_max(const struct table *t);
/* Returns 0, also for the epoch it has; ERR_STALE for a lower one; ERR_INVAL, ERR_NOROOM. */
int table_epoch_raise(struct table *t, const char *device, uint64_t epoch, struct err *err) NODISCARD;

uint64_t table_meta_get(const struct table *t, enum table_meta id);
/* Returns 0; ERR_STALE when one that only grows would shrink. */
int table_meta_set(struct table *t, enum table_meta id, uint64_t value, struct err *err) NODISCARD;

/* Everything put so far is on disk when this returns 0. No change since the last time: no system call.
 * ERR_IO, ERR_NOSPACE: the file's state is unknown and every later sync fails; reopen to find out.
 * Compacts when the log has outgrown its contents eightfold (and 1 MiB). */
int table_sync(struct table *t, struct err *err) NODISCARD;

#endif
