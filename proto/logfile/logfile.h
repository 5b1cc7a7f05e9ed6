/* logfile.h - the log outside the store: write, verify offline, re-apply
 *
 * A log file holds consecutive records with their hashes and the digest marks between them. It is
 * checked without the store and without trust: the chain links the records, and the end frame says
 * how many there are. What the chain cannot show is that somebody rewrote all of it: for that
 * compare `head_hash` with a checkpoint kept elsewhere.
 *
 * On-disk layout: daemon/store/FORMAT.md, "log file".
 */
#ifndef SLUIS_PROTO_LOGFILE_LOGFILE_H
#define SLUIS_PROTO_LOGFILE_LOGFILE_H

#include "proto/logfile/entry.h"

struct logfile_summary {
	uint64_t records, marks;
	uint64_t first_seq, last_seq;	     /* both 0 when there are no records */
	int64_t t_min_ms, t_max_ms;	     /* smallest and largest logical time */
	uint8_t prev_hash[STORE_HASH_BYTES]; /* of record first_seq - 1 */
	uint8_t head_hash[STORE_HASH_BYTES]; /* of record last_seq */
};

/* A file being written: header, records in order with their marks, end. ERR_IO throughout. */
struct logfile_writer;
int logfile_create(const char *path, struct logfile_writer **ret, struct err *err) NODISCARD;
/* The next record, checked by whoever read it; its marks follow it. */
int logfile_write(struct logfile_writer *w, const struct store_entry *e, struct err *err) NODISCARD;
void logfile_write_mark(struct logfile_writer *w, const struct store_mark *m);
/* Records `seq`, `seq` + 1 ... up to `to`, as frames of this format that came from elsewhere: every hash
 * and link is checked before anything is written. ERR_FORMAT, ERR_CORRUPT and others of a damaged record. */
int logfile_write_frames(struct logfile_writer *w, const uint8_t *p, size_t len, uint64_t seq, uint64_t to,
			 struct err *err) NODISCARD;
/* The end frame, and sync. */
int logfile_end(struct logfile_writer *w, struct err *err) NODISCARD;
void logfile_writer_free(struct logfile_writer *w); /* accepts NULL; closes */

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
