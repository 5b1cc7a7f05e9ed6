/* store_world.c - random work for the store, and the slow, obvious model of what it must remember
 */
#include "tests/lib/store_world.h"

#include <ftw.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "proto/base/ensure.h"

void world_init(struct world *w, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	prng_seed(&w->rng, seed);
}

static void fill(struct prng *rng, uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)prng_next(rng);
}

static void make_fact(struct world *w, struct store_fact *f, uint8_t *val)
{
	uint8_t kind = (uint8_t)prng_below(&w->rng, WORLD_KINDS);
	uint64_t id = prng_below(&w->rng, WORLD_IDS);
	struct world_rec *rec = &w->rec[kind][id];

	*f = (struct store_fact){.kind = kind, .id = id};
	if (prng_below(&w->rng, 4) == 0) {
		rec->live = false;
		return;
	}
	f->len = (uint32_t)prng_below(&w->rng, WORLD_VAL_MAX + 1);
	f->val = val;
	fill(&w->rng, val, f->len);
	rec->live = true;
	rec->len = f->len;
	memcpy(rec->val, val, f->len);
}

size_t world_batch(struct world *w, size_t max)
{
	size_t n = 1 + (size_t)prng_below(&w->rng, max);

	ENSURE(max <= WORLD_BATCH_MAX);
	for (size_t i = 0; i < n; i++) {
		struct store_record *r = &w->batch[i];

		*r = (struct store_record){.seq = ++w->seq,
					   .t_ms = (int64_t)w->seq * 7 - 100,
					   .principal = 3,
					   .cred = prng_next(&w->rng),
					   .rule = 12,
					   .policy_version = 9,
					   .cmd_type = (uint16_t)prng_below(&w->rng, 500),
					   .cmd = w->cmd[i],
					   .facts = w->facts[i]};
		r->cmd_len = (uint32_t)prng_below(&w->rng, sizeof(w->cmd[i]) + 1);
		fill(&w->rng, w->cmd[i], r->cmd_len);
		r->facts_n = (uint32_t)prng_below(&w->rng, WORLD_FACTS_MAX + 1);
		for (uint32_t f = 0; f < r->facts_n; f++)
			make_fact(w, &w->facts[i][f], w->vals[i][f]);
	}
	return n;
}

int world_append(struct world *w, struct store *s, size_t max, struct err *err)
{
	struct store_head head;
	size_t n = world_batch(w, max);

	store_head(s, &head);
	return store_append(s, head.seq, head.epoch, w->batch, n, NULL, 0, err);
}

static uint64_t lane(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v * 256 + p[i];
	return v;
}

uint64_t world_digest(const struct world *w, uint8_t ret[STORE_HASH_BYTES])
{
	uint64_t sum[4] = {0}, n = 0;

	for (unsigned kind = 0; kind < WORLD_KINDS; kind++) {
		for (unsigned id = 0; id < WORLD_IDS; id++) {
			const struct world_rec *r = &w->rec[kind][id];
			uint8_t in[9 + WORLD_VAL_MAX] = {(uint8_t)kind}, out[32];

			if (!r->live)
				continue;
			n++;
			in[8] = (uint8_t)id;
			memcpy(in + 9, r->val, r->len);
			crypto_hash_sha256(out, in, 9 + r->len);
			for (int i = 0; i < 4; i++)
				sum[i] += lane(out + 8 * i);
		}
	}
	for (int i = 0; i < STORE_HASH_BYTES; i++)
		ret[i] = (uint8_t)(sum[i / 8] >> (56 - i % 8 * 8));
	return n;
}

struct compare {
	const struct world *w;
	uint64_t n;
	int last; /* kind and id of the record before, to see the order */
};

static int compare_rec(void *ctx, uint8_t kind, uint64_t id, const uint8_t *val, uint32_t len,
		       struct err *err)
{
	struct compare *c = ctx;
	const struct world_rec *r;

	if (kind >= WORLD_KINDS || id >= WORLD_IDS)
		return err_set(err, ERR_CORRUPT, "record kind %u id %" PRIu64 " was never made",
			       kind, id);
	if (kind * WORLD_IDS + (int)id <= c->last)
		return err_set(err, ERR_CORRUPT, "record kind %u id %" PRIu64 " is out of order",
			       kind, id);
	c->last = kind * WORLD_IDS + (int)id;
	r = &c->w->rec[kind][id];
	if (!r->live || r->len != len || memcmp(r->val, val, len) != 0)
		return err_set(err, ERR_CORRUPT, "record kind %u id %" PRIu64 " differs", kind, id);
	c->n++;
	return 0;
}

int world_compare(const struct world *w, struct store *s, struct err *err)
{
	uint8_t digest[STORE_HASH_BYTES];
	struct compare c = {.w = w, .last = -1};
	struct store_head head;
	uint64_t n = world_digest(w, digest);
	int r = store_load(s, compare_rec, &c, err);

	if (r)
		return r;
	store_head(s, &head);
	if (head.seq != w->seq)
		return err_set(err, ERR_CORRUPT, "head is %" PRIu64 ", not %" PRIu64, head.seq,
			       w->seq);
	if (c.n != n)
		return err_set(err, ERR_CORRUPT, "%" PRIu64 " records, not %" PRIu64, c.n, n);
	if (memcmp(head.digest, digest, sizeof(digest)) != 0)
		return err_set(err, ERR_CORRUPT, "the digest differs");
	return 0;
}

char *world_tmpdir(void)
{
	const char *tmp = getenv("TMPDIR");
	struct buf b = BUF_INIT;

	buf_addf(&b, "%s/sluis-store-XXXXXX", tmp ? tmp : "/tmp");
	ENSURE(mkdtemp((char *)(uintptr_t)buf_cstr(&b)));
	return (char *)b.data;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

void world_rmdir(char *dir)
{
	(void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS); /* best effort */
	free(dir);
}
