/* test_timer.c - the heap of deadlines against a slow model
 *
 * Without these a lost or misplaced deadline would be a lease that never expires or a job that runs
 * on, and an order that depends on history would make a replay decide differently.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "daemon/core/timer.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/base/prng.h"

enum { TIMERS = 97 };

static const struct timer *model_first(const struct timer *t, const int64_t *at)
{
	const struct timer *best = NULL;

	for (int i = 0; i < TIMERS; i++) {
		if (at[i] == T_NEVER)
			continue;
		if (!best || at[i] < best->at_ms ||
		    (at[i] == best->at_ms && (t[i].kind < best->kind || (t[i].kind == best->kind && t[i].id < best->id))))
			best = &t[i];
	}
	return best;
}

/* 200,000 random sets, moves and unsets: the earliest is always the model's earliest. */
static void first_is_the_least_of_all(void **state)
{
	struct timers ts = {0};
	struct timer t[TIMERS];
	int64_t at[TIMERS];
	struct prng r;

	(void)state;
	prng_seed(&r, 0x71);
	memset(t, 0, sizeof t);
	for (int i = 0; i < TIMERS; i++)
		at[i] = T_NEVER;
	for (int step = 0; step < 200000; step++) {
		uint64_t i = prng_below(&r, TIMERS);

		at[i] = prng_below(&r, 4) ? (int64_t)prng_below(&r, 40) : T_NEVER;
		timer_set(&ts, &t[i], (uint8_t)(1 + i % 3), 1000 - i, at[i]);
		assert_ptr_equal(timer_first(&ts), model_first(t, at));
	}
	timers_done(&ts);
}

/* Draining gives ascending (instant, kind, id), whatever the order of setting was. */
static void equal_instants_come_by_kind_and_id(void **state)
{
	struct prng r;
	uint64_t ids[2][TIMERS];

	(void)state;
	prng_seed(&r, 0x72);
	for (int round = 0; round < 2; round++) {
		struct timers ts = {0};
		struct timer t[TIMERS];
		int n = 0;

		memset(t, 0, sizeof t);
		for (int i = 0; i < TIMERS; i++) {
			int k = round ? TIMERS - 1 - i : i;

			timer_set(&ts, &t[k], (uint8_t)(k % 4), (uint64_t)k + 1, k % 5);
		}
		for (const struct timer *f; (f = timer_first(&ts)) != NULL; n++) {
			struct timer *mine = &t[f->id - 1];

			if (n) {
				const struct timer *prev = &t[ids[round][n - 1] - 1];

				assert_true((f->id - 1) % 5 >= (prev->id - 1) % 5);
			}
			ids[round][n] = f->id;
			timer_set(&ts, mine, f->kind, f->id, T_NEVER);
			assert_int_equal(mine->place, 0);
		}
		assert_int_equal(n, TIMERS);
		timers_done(&ts);
	}
	assert_memory_equal(ids[0], ids[1], sizeof ids[0]);
}

/* Unsetting what is not set is nothing; a set timer may be moved both ways. */
static void unset_and_move(void **state)
{
	struct timers ts = {0};
	struct timer a = {0}, b = {0};

	(void)state;
	timer_set(&ts, &a, 1, 1, T_NEVER);
	assert_null(timer_first(&ts));
	timer_set(&ts, &a, 1, 1, 50);
	timer_set(&ts, &b, 1, 2, 40);
	assert_ptr_equal(timer_first(&ts), &b);
	timer_set(&ts, &b, 1, 2, 60);
	assert_ptr_equal(timer_first(&ts), &a);
	timer_set(&ts, &b, 1, 2, 10);
	assert_ptr_equal(timer_first(&ts), &b);
	timer_set(&ts, &b, 1, 2, T_NEVER);
	timer_set(&ts, &a, 1, 1, T_NEVER);
	assert_null(timer_first(&ts));
	timers_done(&ts);
	timers_done(&ts); /* an empty one as well */
}

/* A walk up to an instant finds all that are due by then, each once. */
static void those_within_are_found(void **state)
{
	enum { N = 200 };

	(void)state;
	for (int round = 0; round < 50; round++) {
		struct timers ts = {0};
		struct timer t[N] = {0};
		uint64_t x = (uint64_t)round + 1;
		int n = round * N / 50;

		for (int i = 0; i < n; i++) {
			x = x * UINT64_C(6364136223846793005) + 1442695040888963407;
			timer_set(&ts, &t[i], 1, (uint64_t)i + 1, (int64_t)(x >> 58));
		}
		for (int64_t limit = -1; limit <= 64; limit++) {
			bool seen[N] = {false};
			int found = 0, due = 0;

			for (uint32_t at = 0; (at = timers_within(&ts, at, limit)) != 0; found++) {
				assert_false(seen[ts.heap[at - 1]->id - 1]);
				seen[ts.heap[at - 1]->id - 1] = true;
				assert_true(ts.heap[at - 1]->at_ms <= limit);
			}
			for (int i = 0; i < n; i++)
				due += t[i].at_ms <= limit;
			assert_int_equal(found, due);
		}
		timers_done(&ts);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_is_the_least_of_all),
		cmocka_unit_test(equal_instants_come_by_kind_and_id),
		cmocka_unit_test(unset_and_move),
		cmocka_unit_test(those_within_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
