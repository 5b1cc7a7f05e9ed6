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
#include "proto/base/ensure.h"
#include "proto/base/prng.h"

/* Two leaves of three nodes with four devices: the tightest node first, then topology order. */
static void the_smallest_that_suffices(void **state)
{
	static const uint32_t leaf_of[] = {0, 0, 0, 1, 1, 1};
	struct buckets b;

	(void)state;
	buckets_init(&b, 6, 4, leaf_of);
	assert_int_equal(buckets_pick(&b, 1), BUCKETS_NONE); /* all out of service */
	for (uint32_t i = 0; i < 6; i++)
		buckets_put(&b, i, 4);
	buckets_put(&b, 5, 1);
	buckets_put(&b, 1, 2);
	buckets_put(&b, 4, 2);
	assert_int_equal(buckets_pick(&b, 1), 5);
	assert_int_equal(buckets_pick(&b, 2), 1);
	assert_int_equal(buckets_next(&b, 1), 4);
	assert_int_equal(buckets_next(&b, 4), 0);
	assert_int_equal(buckets_next(&b, 3), BUCKETS_NONE);
	assert_int_equal(buckets_pick(&b, 3), 0);
	assert_int_equal(buckets_whole(&b), 3);
	assert_int_equal(buckets_widest(&b), 2);
	buckets_out(&b, 0);
	buckets_out(&b, 0);
	assert_int_equal(buckets_pick(&b, 3), 2);
	buckets_put(&b, 2, 0);
	buckets_put(&b, 3, 0);
	assert_int_equal(buckets_pick(&b, 3), BUCKETS_NONE);
	assert_int_equal(buckets_widest(&b), 0);
	buckets_check(&b);
	buckets_done(&b);
	buckets_done(&b);
}

/* Gangs stay in the tightest leaf; what no leaf can hold takes the fullest leaves, and its rest goes
 * where it fits best, even if that is a leaf narrower than those already used. */
static void gangs_stay_together(void **state)
{
	uint32_t leaf_of[24], got[24];
	struct buckets b;
	struct err err;

	(void)state;
	for (uint32_t i = 0; i < 24; i++)
		leaf_of[i] = i / 8;
	buckets_init(&b, 24, 2, leaf_of);
	for (uint32_t i = 0; i < 24; i++)
		buckets_put(&b, i, 2);
	for (uint32_t i = 0; i < 3; i++) /* 5, 8 and 2 left in the leaves */
		buckets_put(&b, i, 1);
	for (uint32_t i = 16; i < 22; i++)
		buckets_out(&b, i);
	assert_int_equal(buckets_gang(&b, 2, true, got, &err), 0);
	assert_int_equal(got[0], 22);
	assert_int_equal(got[1], 23);
	assert_int_equal(buckets_gang(&b, 4, true, got, &err), 0);
	assert_int_equal(got[0], 3);
	assert_int_equal(got[3], 6);
	assert_int_equal(buckets_gang(&b, 9, true, got, &err), ERR_NOROOM);
	assert_string_equal(err.msg, "9 whole nodes are needed in one leaf, at most 8 are free in one");
	assert_int_equal(buckets_gang(&b, 9, false, got, &err), 0);
	assert_int_equal(got[0], 8);
	assert_int_equal(got[7], 15);
	assert_int_equal(got[8], 22); /* the rest: two free suffice for one */
	assert_int_equal(buckets_gang(&b, 12, false, got, &err), 0);
	assert_int_equal(got[8], 3);
	assert_int_equal(got[11], 6);
	assert_int_equal(buckets_gang(&b, 15, false, got, &err), 0);
	assert_int_equal(buckets_gang(&b, 16, false, got, &err), ERR_NOROOM);
	assert_string_equal(err.msg, "16 whole nodes are needed, 15 are free");
	buckets_check(&b);
	buckets_done(&b);
}

/* ---- the model: free devices in an array, answers by looking at all of them -------------------- */

static uint32_t slow_pick(const uint8_t *free_n, uint32_t n, uint32_t need)
{
	uint32_t best = BUCKETS_NONE;

	for (uint32_t i = 0; i < n; i++)
		if (free_n[i] != BUCKETS_OUT && free_n[i] >= need && (best == BUCKETS_NONE || free_n[i] < free_n[best]))
			best = i;
	return best;
}

/* How few leaves can hold `count` whole nodes: the fullest first. */
static uint32_t fewest_leaves(uint32_t *whole, uint32_t leaves_n, uint32_t count)
{
	uint32_t used = 0;

	while (count > 0) {
		uint32_t best = 0;

		for (uint32_t l = 1; l < leaves_n; l++)
			if (whole[l] > whole[best])
				best = l;
		count -= count < whole[best] ? count : whole[best];
		whole[best] = 0;
		used++;
	}
	return used;
}

static void check_gang(const struct buckets *b, const uint8_t *free_n, const uint32_t *leaf_of, uint32_t count)
{
	uint32_t *got = xcalloc(b->nodes_n, sizeof *got), *whole = xcalloc(b->leaves_n, sizeof *whole);
	uint32_t *used = xcalloc(b->leaves_n, sizeof *used), all = 0, leaves = 0, tight = BUCKETS_NONE;

	for (uint32_t i = 0; i < b->nodes_n; i++)
		if (free_n[i] == b->devices) {
			whole[leaf_of[i]]++;
			all++;
		}
	for (uint32_t l = 0; l < b->leaves_n; l++)
		if (whole[l] >= count && (tight == BUCKETS_NONE || whole[l] < whole[tight]))
			tight = l;
	assert_int_equal(buckets_gang(b, count, true, got, NULL), tight == BUCKETS_NONE ? ERR_NOROOM : 0);
	if (tight != BUCKETS_NONE)
		assert_int_equal(leaf_of[got[0]], tight);
	assert_int_equal(buckets_gang(b, count, false, got, NULL), count > all ? ERR_NOROOM : 0);
	if (count <= all) {
		for (uint32_t i = 0; i < count; i++) {
			assert_int_equal(free_n[got[i]], b->devices);
			for (uint32_t j = 0; j < i; j++)
				assert_int_not_equal(got[i], got[j]);
			leaves += used[leaf_of[got[i]]]++ == 0;
		}
		assert_int_equal(leaves, fewest_leaves(whole, b->leaves_n, count));
	}
	free(got);
	free(whole);
	free(used);
}

/* 200,000 random changes over clusters of odd shapes. */
static void agrees_with_a_search(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 40; seed++) {
		struct buckets b;
		struct prng r;
		uint32_t n, devices, *leaf_of;
		uint8_t *free_n;

		prng_seed(&r, seed);
		n = 1 + (uint32_t)prng_below(&r, seed < 36 ? 150 : 9000);
		devices = 1 + (uint32_t)prng_below(&r, seed % 2 ? 8 : DEVICES_PER_NODE_MAX);
		leaf_of = xcalloc(n, sizeof *leaf_of);
		free_n = xmalloc(n);
		memset(free_n, BUCKETS_OUT, n);
		for (uint32_t i = 1; i < n; i++)
			leaf_of[i] = leaf_of[i - 1] + (prng_below(&r, 9) == 0);
		buckets_init(&b, n, devices, leaf_of);
		for (int step = 0; step < 5000; step++) {
			uint32_t node = (uint32_t)prng_below(&r, n), need = 1 + (uint32_t)prng_below(&r, devices), at;

			if (prng_below(&r, 10) == 0) {
				free_n[node] = BUCKETS_OUT;
				buckets_out(&b, node);
			} else {
				free_n[node] = prng_below(&r, 3) ? (uint8_t)prng_below(&r, devices + 1)
								 : (uint8_t)devices;
				buckets_put(&b, node, free_n[node]);
			}
			if (n > 1000 && step % 50)
				continue;
			at = buckets_pick(&b, need);
			assert_int_equal(at, slow_pick(free_n, n, need));
			if (at != BUCKETS_NONE) { /* the walk meets every candidate once, in order */
				uint32_t seen = 0, fitting = 0;

				for (uint32_t i = 0; i < n; i++)
					fitting += free_n[i] != BUCKETS_OUT && free_n[i] >= need;
				for (uint32_t last = at; at != BUCKETS_NONE; last = at, at = buckets_next(&b, at), seen++)
					assert_true(seen == 0 || free_n[at] > free_n[last] ||
						    (free_n[at] == free_n[last] && at > last));
				assert_int_equal(seen, fitting);
			}
			if (step % 20 == 0)
				check_gang(&b, free_n, leaf_of, 1 + (uint32_t)prng_below(&r, n < 60 ? n : 60));
			if (step % 500 == 0)
				buckets_check(&b);
		}
		buckets_check(&b);
		buckets_done(&b);
		free(leaf_of);
		free(free_n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_smallest_that_suffices),
		cmocka_unit_test(gangs_stay_together),
		cmocka_unit_test(agrees_with_a_search),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
