/* pending.h - the newest version of state records that are not in the state table yet
 *
 * A renewal changes the same small record again and again; holding the newest version back and
 * writing all of them now and then, in key order, costs a tenth of one put each. What is held here
 * is also in the log, so losing it costs nothing but a replay.
 *
 * Also the whole state, when a log is re-applied from nothing (logfile.c).
 */
#ifndef SLUIS_PROTO_LOGFILE_PENDING_H
#define SLUIS_PROTO_LOGFILE_PENDING_H

#include "proto/base/buf.h"
#include "proto/logfile/entry.h"

struct pending_entry {
	uint64_t id;
	uint8_t *val; /* NULL: deleted */
	uint32_t len;
	uint32_t cap;
	uint8_t kind;
	uint8_t hash[STORE_HASH_BYTES]; /* digest_fact(), when val is set */
};

/* Zeroed is empty. Entries lie dense; `slot` is an open-addressed index into them. */
struct pending {
	struct pending_entry *v;
	size_t n, cap;
	uint32_t *slot; /* entry + 1, 0 = free */
	size_t slots;	/* a power of two */
	size_t bytes;	/* of the values held */
};

void pending_done(struct pending *p);
/* Forget everything, keep the table. */
void pending_clear(struct pending *p);
/* NULL if nothing is known of (kind, id). */
const struct pending_entry *pending_find(const struct pending *p, uint8_t kind, uint64_t id);
/* Remember `f`, whose digest hash is `hash` (ignored for a delete). The value is copied. */
void pending_set(struct pending *p, const struct store_fact *f,
		 const uint8_t hash[STORE_HASH_BYTES]);
/* What writing it will take, about: values, keys, hashes. */
static inline size_t pending_bytes(const struct pending *p)
{
	return p->bytes + p->n * (STORE_HASH_BYTES + 32);
}
/* Order the entries by (kind, id). Only pending_clear, pending_done or walking `v` may follow. */
void pending_sort(struct pending *p);

#endif
