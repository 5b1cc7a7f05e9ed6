/* logfile.h - the log outside the store: export, verify offline, re-apply
 *
 * A log file holds consecutive records with their hashes and the digest marks between them. It is
 * checked without the store and without trust: the chain links the records, and the end frame says
 * how many there are. What the chain cannot show is that somebody rewrote all of it: for that
 * compare `head_hash` with a checkpoint kept elsewhere.
 *
 * On-disk layout: FORMAT.md, "log file".
 */
#ifndef SLUIS_DAEMON_STORE_LOGFILE_H
#define SLUIS_DAEMON_STORE_LOGFILE_H

#include "daemon/store/store.h"

struct logfile_summary {
	uint64_t records, marks;
	uint64_t first_seq, last_seq;	     /* both 0 when there are no records */
	int64_t t_min_ms, t_max_ms;	     /* smallest and largest logical time */
	uint8_t prev_hash[STORE_HASH_BYTES]; /* of record first_seq - 1 */
	uint8_t head_hash[STORE_HASH_BYTES]; /* of record last_seq */
};

/* Write records from..to (`to` UINT64_MAX: up to the head) into the new file `path`, synced,
 * verified, renamed into place. `ret` may be NULL. ERR_EXISTS; ERR_GONE: trimmed; ERR_RANGE: no
 * such records. */
int logfile_export(struct store *s, uint64_t from, uint64_t to, const char *path,
		   struct logfile_summary *ret, struct err *err) NODISCARD;

/* Check the whole file: every hash, every link, order, end. An error names file, byte offset and
 * record. ERR_TRUNCATED: it stops early; ERR_CORRUPT: bytes changed, records missing, doubled or
 * out of order; ERR_FORMAT: no log file; ERR_VERSION. `ret` may be NULL. Cost: one pass, memory for
 * one record. */
int logfile_verify(const char *path, struct logfile_summary *ret, struct err *err) NODISCARD;

/* State being rebuilt from log files, one after the other, from nothing. */
struct logfile_state;
struct logfile_state *logfile_state_new(void);
void logfile_state_free(struct logfile_state *st);

/* Where the rebuilt state stands: seq, hash of the last record, digest of the state. */
struct store_mark logfile_state_at(const struct logfile_state *st);

/* Verify `path` and re-apply its facts up to and including `until` (UINT64_MAX: all). The file has
 * to go on where `st` stands (record 1 at first). At each mark the digest is compared: ERR_CORRUPT
 * names the first mark that differs. *ret_marks (may be NULL) counts the marks compared. After an
 * error `st` is only good for freeing. */
int logfile_replay(struct logfile_state *st, const char *path, uint64_t until, uint64_t *ret_marks,
		   struct err *err) NODISCARD;

/* The live records in order of (kind, id), as store_load() gives them. */
int logfile_state_each(struct logfile_state *st, store_load_fn *cb, void *ctx,
		       struct err *err) NODISCARD;

#endif
