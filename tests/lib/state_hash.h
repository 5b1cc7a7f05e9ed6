/* state_hash.h - one number for everything the core remembers, kept up to date fact by fact
 *
 *     state = sum over all live records of mix(kind, id, canonical bytes)    modulo 2^64
 *     facts = mix(facts, of each fact in order)
 *
 * A fact costs its own length: what the record contributed before is taken back. Equal records give an equal state
 * however they came to be; `facts` also tells the order. The same idea as the digest of sluisd's log, which is
 * cryptographic and 256 bits wide; this one is for comparing millions of facts in a test.
 */
#ifndef SLUIS_TESTS_LIB_STATE_HASH_H
#define SLUIS_TESTS_LIB_STATE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/model/record.h"

struct state_hash {
	uint64_t state, facts;
	uint64_t facts_n;
	struct state_slot { uint64_t key, hash; } *slots; /* open addressing; key 0: free */
	size_t slots_n, used;
	struct buf scratch;
};

/* Zeroed is empty. */
void state_hash_done(struct state_hash *h);
void state_hash_fact(struct state_hash *h, const struct fact *f);

/* 64 bits of `len` bytes; the same on every machine. */
uint64_t state_hash_mix(uint64_t seed, const void *data, size_t len);

#endif
