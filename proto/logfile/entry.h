/* entry.h - what the log is made of: commands as they were decided, and the records they changed
 *
 * Shared by whoever writes the log (daemon/store) and whoever checks it from outside (logfile.h).
 * Layout: daemon/store/FORMAT.md.
 */
#ifndef SLUIS_PROTO_LOGFILE_ENTRY_H
#define SLUIS_PROTO_LOGFILE_ENTRY_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

enum {
	STORE_HASH_BYTES = 32,
	STORE_VAL_BYTES_MAX = 1 << 20,	   /* one state record */
	STORE_CMD_BYTES_MAX = 4 << 20,	   /* one command */
	STORE_FACTS_MAX = 1 << 18,	   /* facts of one record */
	STORE_RECORD_BYTES_MAX = 64 << 20, /* one encoded log record */
};

/* One changed state record, whole: `val` NULL deletes (kind, id). An empty value is not a delete:
 * point `val` at anything and set `len` 0. Deleting what is not there is allowed and does nothing.
 */
struct store_fact {
	uint8_t kind;
	uint64_t id;
	const uint8_t *val; /* borrowed */
	uint32_t len;
};

/* One command as it was decided, and what it changed. Everything is borrowed for the call. */
struct store_record {
	uint64_t seq; /* head + 1, + 2, ... without gaps; the first of a store is 1 */
	int64_t t_ms; /* the daemon's logical time */
	uint32_t principal;
	uint64_t cred; /* credential id */
	uint16_t rule; /* authorisation rule that allowed it */
	uint64_t policy_version;
	uint16_t cmd_type;
	const uint8_t *cmd;
	uint32_t cmd_len;
	const struct store_fact *facts;
	uint32_t facts_n;
};

/* A log record as read back. Pointers are valid until the callback returns. */
struct store_entry {
	struct store_record rec;
	uint8_t prev[STORE_HASH_BYTES]; /* hash of record seq - 1; zeros for the first */
	uint8_t hash[STORE_HASH_BYTES]; /* checked against the bytes */
	const uint8_t *raw;		/* the canonical bytes that were hashed */
	uint32_t raw_len;
};

/* Digest of the state after record `seq`, whose hash is `hash`. */
struct store_mark {
	uint64_t seq;
	uint8_t hash[STORE_HASH_BYTES];
	uint8_t digest[STORE_HASH_BYTES];
};

/* One live record; `val` is valid until it returns. 0, or a negative code that ends the walk. */
typedef int store_load_fn(void *ctx, uint8_t kind, uint64_t id, const uint8_t *val, uint32_t len,
			  struct err *err);

#endif
