/* record.h - log records as canonical bytes, their hash, and the digest of the state
 *
 * A record is one MessagePack map with integer keys ascending and every integer and length in its
 * shortest form, so equal records have equal bytes and one hash (FORMAT.md, "record"). The decoder
 * is a cursor of our own that checks every length against the bytes left; it believes nothing.
 */
#ifndef SLUIS_PROTO_LOGFILE_RECORD_H
#define SLUIS_PROTO_LOGFILE_RECORD_H

#include "proto/base/buf.h"
#include "proto/logfile/entry.h"

enum { RECORD_VERSION = 1 };

/* Append the canonical bytes of `rec`, whose predecessor has hash `prev`, to `out`. The caller has
 * checked the limits of store.h. */
void record_encode(const struct store_record *rec, const uint8_t prev[STORE_HASH_BYTES],
		   struct buf *out);

/* A reusable array for the facts of a decoded record. */
struct record_facts {
	struct store_fact *v;
	size_t cap;
};
void record_facts_done(struct record_facts *f);

/* Decode exactly `len` canonical bytes. The result borrows from `p` and `facts`; entry->hash is not
 * filled. ERR_TRUNCATED, ERR_FORMAT, ERR_VERSION, ERR_TOOBIG. */
int record_decode(const uint8_t *p, size_t len, struct record_facts *facts,
		  struct store_entry *ret_entry, struct err *err) NODISCARD;

/* Check the hash of raw bytes, decode them, and check that they are record `seq` behind `prev`
 * (NULL: any). Errors as above, ERR_CORRUPT for a wrong hash, number or link; the message names
 * `seq`. */
int record_check(const uint8_t *p, size_t len, const uint8_t hash[STORE_HASH_BYTES], uint64_t seq,
		 const uint8_t prev[STORE_HASH_BYTES], struct record_facts *facts,
		 struct store_entry *ret_entry, struct err *err) NODISCARD;

void record_hash(const uint8_t *p, size_t len, uint8_t ret_hash[STORE_HASH_BYTES]);

/* The digest: per live record SHA-256(kind, id, bytes) as four 64-bit lanes, summed modulo 2^64. */
struct digest {
	uint64_t lane[4];
};
void digest_fact(uint8_t kind, uint64_t id, const uint8_t *val, uint32_t len,
		 uint8_t ret_hash[STORE_HASH_BYTES]);
void digest_add(struct digest *d, const uint8_t hash[STORE_HASH_BYTES]);
void digest_sub(struct digest *d, const uint8_t hash[STORE_HASH_BYTES]);
void digest_put(const struct digest *d, uint8_t ret[STORE_HASH_BYTES]);
struct digest digest_get(const uint8_t p[STORE_HASH_BYTES]);

#endif
