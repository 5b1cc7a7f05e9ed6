/* test_forecast.c - how much leases are likely to grow
 *
 * A forecast that forgets nothing keeps devices idle for a flash crowd of last month; one that loses count, or sees another past
 * after a restart, lends what is wanted back in a minute.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/core/forecast.h"
#include "proto/base/prng.h"

enum { NEVER = 0, ALWAYS = 1000000 }; /* risk: nothing that may be wanted is lent; everything is */

static struct arena arena;

static int stop(void **state)
{
	(void)state;
	arena_done(&arena);
	return 0;
}

/* The spans of `level`, one after the other. */
static struct forecast of(const uint32_t *level, size_t n)
{
	struct forecast f = {0}, next;

	for (size_t i = 0; i < n; i++) {
		forecast_add(i ? &f : NULL, (int64_t)i, level[i], level[i], &arena, &next);
		f = next;
	}
	return f;
}

/* Up by ten in every fourth span: of the windows of one span a quarter sees it, of those of two half, of longer ones all that
 * do not begin there. */
static void growth_is_the_quantile_of_what_was_seen(void **state)
{
	uint32_t level[400];
	struct forecast f;

	(void)state;
	for (size_t i = 0; i < 400; i++)
		level[i] = 100 + (i % 4 == 0 ? 10 : 0);
	f = of(level, 400);
	assert_int_equal(forecast_growth(&f, 0, 300000), 0);
	assert_int_equal(forecast_growth(&f, 0, 200000), 11); /* 8 to 11 are counted as one */
	assert_int_equal(forecast_growth(&f, 1, 520000), 0);
	assert_int_equal(forecast_growth(&f, 1, 450000), 11);
	assert_int_equal(forecast_growth(&f, 5, 800000), 0);
	assert_int_equal(forecast_growth(&f, 5, 700000), 11);
	for (uint32_t w = 0; w < FORECAST_WINDOWS; w++) {
		assert_int_equal(forecast_growth(&f, w, ALWAYS), 0);
		assert_int_equal(forecast_growth(&f, w, NEVER), 11);
	}
}

/* Never less than what was seen, never more than half above it. */
static void buckets_are_narrow(void **state)
{
	(void)state;
	for (uint32_t up = 1; up < 100000; up += 1 + up / 16) {
		const uint32_t level[] = {5, 5 + up};
		struct forecast f = of(level, 2);
		uint32_t seen = forecast_growth(&f, 0, NEVER);

		assert_in_range(seen, up, up + up / 2);
		if (up <= 3)
			assert_int_equal(seen, up);
	}
}

/* What the shorter windows of a run say the longer ones say at least: nobody waits longer and sees less. */
static void a_window_counts_the_most_within_it(void **state)
{
	uint32_t level[60] = {0};
	struct forecast f;

	(void)state;
	for (size_t i = 0; i < 60; i++)
		level[i] = (uint32_t)i;
	f = of(level, 60);
	for (uint32_t w = 0; w < FORECAST_WINDOWS; w++) {
		uint32_t spans = forecast_window_spans(w), seen = forecast_growth(&f, w, ALWAYS);

		assert_in_range(seen, spans, spans + spans / 2);
	}
}

static void what_was_long_ago_is_forgotten(void **state)
{
	uint32_t level[1000] = {0};
	struct forecast f;

	(void)state;
	level[60] = 50;
	f = of(level, 60 + FORECAST_FADE);
	assert_true(forecast_lives(&f));
	assert_int_equal(forecast_growth(&f, 0, NEVER), 63);
	f = of(level, 1000);
	assert_false(forecast_lives(&f));
	for (uint32_t w = 0; w < FORECAST_WINDOWS; w++)
		assert_int_equal(forecast_growth(&f, w, NEVER), 0);
}

static void assert_same(const struct forecast *a, const struct forecast *b)
{
	assert_int_equal(a->span, b->span);
	assert_int_equal(a->peaks_n, b->peaks_n);
	assert_int_equal(a->counts_n, b->counts_n);
	assert_memory_equal(a->peaks, b->peaks, a->peaks_n * sizeof *a->peaks);
	for (uint32_t i = 0; i < a->counts_n; i++) {
		assert_int_equal(a->counts[i].window, b->counts[i].window);
		assert_int_equal(a->counts[i].bucket, b->counts[i].bucket);
		assert_int_equal(a->counts[i].weight, b->counts[i].weight);
	}
}

/* Spans in which nothing changed need not be written: the next record counts them, however many. */
static void quiet_spans_are_made_up_for(void **state)
{
	struct prng prng;
	struct forecast lazy = {0}, eager = {0}, next;

	(void)state;
	prng_seed(&prng, 7);
	for (int64_t span = 0, i = 0; i < 300; i++) {
		uint32_t level = (uint32_t)prng_below(&prng, 40), peak = level + (uint32_t)prng_below(&prng, 5);
		int64_t quiet = i % 50 == 49 ? 5000 : (int64_t)prng_below(&prng, 8);

		for (int64_t k = 0; i && k < quiet; k++) {
			forecast_add(&eager, span++, eager.level, eager.level, &arena, &next);
			eager = next;
		}
		forecast_add(i ? &eager : NULL, span, peak, level, &arena, &next);
		eager = next;
		forecast_add(i ? &lazy : NULL, span++, peak, level, &arena, &next);
		lazy = next;
		assert_same(&lazy, &eager);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(growth_is_the_quantile_of_what_was_seen, stop),
		cmocka_unit_test_teardown(buckets_are_narrow, stop),
		cmocka_unit_test_teardown(a_window_counts_the_most_within_it, stop),
		cmocka_unit_test_teardown(what_was_long_ago_is_forgotten, stop),
		cmocka_unit_test_teardown(quiet_spans_are_made_up_for, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
