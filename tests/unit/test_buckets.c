/* test_buckets.c - the placement index against a slow search
 *
 * Without these a stale bit would place a job on a node that is full or gone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "daemon/core/buckets.h"
#include "proto/base/buf.h"
#include "proto/base/prng.h"

enum { NODES = 24, PER_NODE = 4 };

static struct bucket_key key(uint32_t free)
{
	return (struct bucket_key){.free = (uint16_t)free, .served = (uint16_t)free, .size = PER_NODE,
				   .whole = free == PER_NODE};
}

/* Three leaves of eight nodes with four devices each, the first two in a pod, all free. */
static void hall(struct buckets *b)
{
	struct bucket_spot spot[NODES];

	for (uint32_t i = 0; i < NODES; i++)
		spot[i] = (struct bucket_spot){{i / 8, i / 16}, {true, true}};
	buckets_init(b, NODES, spot);
	for (uint32_t i = 0; i < NODES; i++)
		buckets_put(b, i, key(PER_NODE));
}

/* Best fit: the fewest that suffice. */
static const uint32_t *tight(const struct buckets *b, uint32_t need)
{
	static uint32_t rank[4096];

	for (uint32_t i = 0; i < b->buckets_n; i++)
		rank[i] = b->bucket[i].key.free < need ? BUCKETS_NONE : b->bucket[i].key.free;
	return rank;
}

static uint32_t first(const struct buckets *b, uint32_t need, uint32_t from, uint32_t to)
{
	struct bucket_cursor at = BUCKETS_START;

	return buckets_next(b, tight(b, need), from, to, &at) ? at.node : BUCKETS_NONE;
}

static void the_first_of_the_best_rank(void **state)
{
	struct bucket_cursor at = BUCKETS_START;
	struct buckets b;

	(void)state;
	hall(&b);
	buckets_put(&b, 21, key(1));
	buckets_put(&b, 5, key(2));
	buckets_put(&b, 20, key(2));
	assert_int_equal(first(&b, 1, 0, NODES), 21);
	assert_int_equal(first(&b, 2, 0, NODES), 5);
	assert_int_equal(first(&b, 2, 6, NODES), 20);
	assert_int_equal(first(&b, 2, 6, 20), 6);
	assert_int_equal(first(&b, 3, 0, NODES), 0);
	assert_int_equal(first(&b, 5, 0, NODES), BUCKETS_NONE);
	for (uint32_t want = 0; want < 3; want++) { /* the walk goes on behind it */
		static const uint32_t order[] = {21, 5, 20};

		assert_true(buckets_next(&b, tight(&b, 1), 0, NODES, &at));
		assert_int_equal(at.node, order[want]);
	}
	buckets_put(&b, 21, (struct bucket_key){0});
	assert_int_equal(first(&b, 1, 0, NODES), 5);
	buckets_check(&b);
	buckets_done(&b);
	buckets_done(&b);
}

/* Gangs stay in the tightest leaf; what no leaf can hold stays in a pod; what no pod can hold takes the
 * fullest, and its rest goes where it fits best, even if that is a group narrower than those used. */
static void gangs_stay_together(void **state)
{
	struct buckets b;
	uint32_t got[NODES];

	(void)state;
	hall(&b);
	for (uint32_t i = 0; i < 3; i++) /* 5, 8 and 7 left in the leaves */
		buckets_put(&b, i, key(1));
	buckets_put(&b, 16, key(0));
	assert_int_equal(buckets_widest(&b, LEVEL_LEAF), 8);
	assert_int_equal(buckets_widest(&b, LEVEL_POD), 13);
	assert_true(buckets_gang(&b, 4, LEVEL_LEAF, got));
	assert_int_equal(got[0], 3);
	assert_int_equal(got[3], 6);
	assert_true(buckets_gang(&b, 6, LEVELS, got));
	assert_int_equal(got[0], 17);
	assert_false(buckets_gang(&b, 9, LEVEL_LEAF, got));
	assert_true(buckets_gang(&b, 9, LEVEL_POD, got)); /* all of the fullest, and one more */
	assert_int_equal(got[0], 8);
	assert_int_equal(got[7], 15);
	assert_int_equal(got[8], 3);
	assert_false(buckets_gang(&b, 14, LEVEL_POD, got));
	assert_true(buckets_gang(&b, 14, LEVELS, got)); /* the rest from the other pod */
	assert_int_equal(got[13], 17);
	assert_true(buckets_gang(&b, 20, LEVELS, got));
	assert_false(buckets_gang(&b, 21, LEVELS, got));
	buckets_check(&b);
	buckets_done(&b);
}

/* In one pod: all of the fullest leaf, and the rest from the narrowest that has it. */
static void the_rest_goes_where_it_fits_best(void **state)
{
	struct bucket_spot spot[NODES];
	struct buckets b;
	uint32_t got[NODES];

	(void)state;
	for (uint32_t i = 0; i < NODES; i++)
		spot[i] = (struct bucket_spot){{i / 8, 0}, {true, true}};
	buckets_init(&b, NODES, spot);
	for (uint32_t i = 1; i < NODES; i++) /* 7, 8 and 3 in the leaves */
		buckets_put(&b, i, key(i < 21 - 5 || i >= 21 ? PER_NODE : 1));
	assert_true(buckets_gang(&b, 10, LEVELS, got));
	assert_int_equal(got[0], 8);
	assert_int_equal(got[8], 21);
	assert_int_equal(got[9], 22);
	assert_true(buckets_gang(&b, 12, LEVELS, got)); /* four: only the wider one has them */
	assert_int_equal(got[8], 1);
	buckets_done(&b);
}

/* Nodes of which nobody said where they are keep no promise to be close, but are as good as others. */
static void what_nobody_knows_keeps_no_promise(void **state)
{
	struct bucket_spot spot[6];
	struct buckets b;
	uint32_t got[6];

	(void)state;
	for (uint32_t i = 0; i < 6; i++)
		spot[i] = (struct bucket_spot){{i / 4, 0}, {i >= 4, false}};
	buckets_init(&b, 6, spot);
	for (uint32_t i = 0; i < 6; i++)
		buckets_put(&b, i, key(PER_NODE));
	assert_true(buckets_gang(&b, 3, LEVELS, got));
	assert_int_equal(got[0], 0);
	assert_false(buckets_gang(&b, 3, LEVEL_LEAF, got));
	assert_true(buckets_gang(&b, 2, LEVEL_LEAF, got));
	assert_int_equal(got[0], 4);
	assert_true(buckets_gang(&b, 2, LEVEL_POD, got)); /* a leaf that is known lies in one pod */
	assert_false(buckets_gang(&b, 3, LEVEL_POD, got));
	buckets_done(&b);
}

/* ---- the model: an array of keys, answers by looking at all of them ------------------------------ */

struct world {
	uint32_t n, devices;
	struct bucket_spot *spot;
	struct bucket_key *key;
};

static uint32_t slow_first(const struct world *w, uint32_t need, uint32_t from, uint32_t to)
{
	uint32_t best = BUCKETS_NONE;

	for (uint32_t i = from; i < to; i++)
		if (w->key[i].free && w->key[i].free >= need && (best == BUCKETS_NONE || w->key[i].free < w->key[best].free))
			best = i;
	return best;
}

/* How few groups can hold `count` whole nodes: the fullest first. */
static uint32_t fewest(uint32_t *whole, uint32_t groups_n, uint32_t count)
{
	uint32_t used = 0;

	while (count > 0) {
		uint32_t best = 0;

		for (uint32_t l = 1; l < groups_n; l++)
			if (whole[l] > whole[best])
				best = l;
		count -= count < whole[best] ? count : whole[best];
		whole[best] = 0;
		used++;
	}
	return used;
}

static void check_gang(const struct buckets *b, const struct world *w, uint32_t count)
{
	uint32_t *got = xcalloc(w->n, sizeof *got), all = 0;
	bool level_has[LEVELS] = {false, false};

	for (uint32_t i = 0; i < w->n; i++)
		all += w->key[i].whole;
	for (int l = 0; l < LEVELS; l++) {
		uint32_t groups = w->spot[w->n - 1].group[l] + 1, tight = BUCKETS_NONE, used_n = 0;
		uint32_t *whole = xcalloc(groups, sizeof *whole), *used = xcalloc(groups, sizeof *used);

		for (uint32_t i = 0; i < w->n; i++)
			whole[w->spot[i].group[l]] += w->key[i].whole;
		for (uint32_t g = 0; g < groups; g++)
			if (whole[g] >= count && (tight == BUCKETS_NONE || whole[g] < whole[tight]))
				tight = g;
		level_has[l] = tight != BUCKETS_NONE;
		assert_int_equal(buckets_gang(b, count, (enum bucket_level)l, got), level_has[0] || level_has[l]);
		if (level_has[l] && (l == 0 || !level_has[0]))
			assert_int_equal(w->spot[got[0]].group[l], tight);
		assert_int_equal(buckets_gang(b, count, LEVELS, got), count <= all);
		for (uint32_t i = 0; count <= all && i < count; i++)
			used_n += used[w->spot[got[i]].group[l]]++ == 0;
		/* pods come first: among several, leaves may be more than the fewest */
		if (count <= all && (l == LEVEL_POD || level_has[0]))
			assert_int_equal(used_n, fewest(whole, groups, count));
		for (uint32_t i = 0; count <= all && i < count; i++) {
			assert_true(w->key[got[i]].whole);
			for (uint32_t j = 0; j < i; j++)
				assert_int_not_equal(got[i], got[j]);
		}
		free(whole);
		free(used);
	}
	free(got);
}

static void step(struct buckets *b, struct world *w, struct prng *r)
{
	uint32_t node = (uint32_t)prng_below(r, w->n), free = (uint32_t)prng_below(r, w->devices + 1);
	struct bucket_key *k = &w->key[node];

	if (prng_below(r, 3) == 0)
		free = w->devices;
	*k = (struct bucket_key){.free = (uint16_t)free, .size = (uint16_t)w->devices, .whole = free == w->devices};
	k->served = (uint16_t)(free - prng_below(r, 2) * prng_below(r, free + 1));
	k->broken = prng_below(r, 9) == 0;
	if (prng_below(r, 10) == 0)
		*k = (struct bucket_key){0};
	buckets_put(b, node, *k);
}

/* 200,000 random changes over clusters of odd shapes. */
static void agrees_with_a_search(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 40; seed++) {
		struct world w;
		struct buckets b;
		struct prng r;

		prng_seed(&r, seed);
		w.n = 1 + (uint32_t)prng_below(&r, seed < 36 ? 150 : 9000);
		w.devices = 1 + (uint32_t)prng_below(&r, seed % 2 ? 8 : 20);
		w.spot = xcalloc(w.n, sizeof *w.spot);
		w.key = xcalloc(w.n, sizeof *w.key);
		for (uint32_t i = 0; i < w.n; i++) {
			uint32_t next = i && prng_below(&r, 9) == 0;

			w.spot[i] = i ? w.spot[i - 1] : (struct bucket_spot){{0, 0}, {true, true}};
			w.spot[i].group[LEVEL_LEAF] += next;
			w.spot[i].group[LEVEL_POD] += next && prng_below(&r, 4) == 0;
		}
		buckets_init(&b, w.n, w.spot);
		for (int i = 0; i < 5000; i++) {
			uint32_t need = 1 + (uint32_t)prng_below(&r, w.devices), from = (uint32_t)prng_below(&r, w.n), seen = 0;
			uint32_t to = from + (uint32_t)prng_below(&r, w.n - from + 1), fitting = 0;
			struct bucket_cursor at = BUCKETS_START, last = at;

			step(&b, &w, &r);
			if (w.n > 1000 && i % 50)
				continue;
			assert_int_equal(first(&b, need, 0, w.n), slow_first(&w, need, 0, w.n));
			assert_int_equal(first(&b, need, from, to), slow_first(&w, need, from, to));
			for (uint32_t k = from; k < to; k++)
				fitting += w.key[k].free && w.key[k].free >= need;
			for (; buckets_next(&b, tight(&b, need), from, to, &at); last = at, seen++)
				assert_true(!seen || at.rank > last.rank || (at.rank == last.rank && at.node > last.node));
			assert_int_equal(seen, fitting); /* the walk meets every candidate once, in order */
			if (i % 20 == 0)
				check_gang(&b, &w, 1 + (uint32_t)prng_below(&r, w.n < 60 ? w.n : 60));
			if (i % 500 == 0)
				buckets_check(&b);
		}
		buckets_check(&b);
		buckets_done(&b);
		free(w.spot);
		free(w.key);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_of_the_best_rank),
		cmocka_unit_test(gangs_stay_together),
		cmocka_unit_test(the_rest_goes_where_it_fits_best),
		cmocka_unit_test(what_nobody_knows_keeps_no_promise),
		cmocka_unit_test(agrees_with_a_search),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
