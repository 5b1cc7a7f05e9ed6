/* store_world.h - random work for the store, and the slow, obvious model of what it must remember
 *
 * The model is an array of every record there can be; its digest is summed anew from all of them
 * each time it is asked for, sharing no code with the store.
 */
#ifndef SLUIS_TESTS_LIB_STORE_WORLD_H
#define SLUIS_TESTS_LIB_STORE_WORLD_H

#include <stdbool.h>

#include "daemon/store/store.h"
#include "proto/base/prng.h"

enum {
	WORLD_KINDS = 3,
	WORLD_IDS = 40,
	WORLD_VAL_MAX = 120,
	WORLD_BATCH_MAX = 8,
	WORLD_FACTS_MAX = 6,
};

struct world_rec {
	bool live;
	uint32_t len;
	uint8_t val[WORLD_VAL_MAX];
};

struct world {
	struct prng rng;
	uint64_t seq;
	struct world_rec rec[WORLD_KINDS][WORLD_IDS];
	/* The batch made last; valid until the next. */
	struct store_record batch[WORLD_BATCH_MAX];
	struct store_fact facts[WORLD_BATCH_MAX][WORLD_FACTS_MAX];
	uint8_t vals[WORLD_BATCH_MAX][WORLD_FACTS_MAX][WORLD_VAL_MAX];
	uint8_t cmd[WORLD_BATCH_MAX][64];
};

void world_init(struct world *w, uint64_t seed);
/* Make 1..max records behind w->seq, taking them into the model. Returns how many. */
size_t world_batch(struct world *w, size_t max);
/* Make a batch and append it at the store's head and epoch. */
int world_append(struct world *w, struct store *s, size_t max, struct err *err) NODISCARD;
/* Digest of the model's live records, and how many there are. */
uint64_t world_digest(const struct world *w, uint8_t ret[STORE_HASH_BYTES]);
/* Load everything from `s` and compare with the model, record by record. 0, or ERR_CORRUPT saying
 * what differs, or the store's error. */
int world_compare(const struct world *w, struct store *s, struct err *err) NODISCARD;

/* A fresh directory under TMPDIR; the caller removes and frees it. */
char *world_tmpdir(void);
void world_rmdir(char *dir);

#endif
