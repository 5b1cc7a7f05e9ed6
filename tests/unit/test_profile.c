/* test_profile.c - the capacity profile against a slow model
 *
 * Without these a wrong prefix minimum would start a job on capacity that was promised to another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "daemon/core/profile.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/base/prng.h"

/* The model: the value of every instant in [0, LINE); changes and questions begin before SPAN. */
enum { SPAN = 96, LINE = SPAN + 40 };
struct model { int64_t at[LINE]; };

static void model_add(struct model *m, int64_t t, int64_t delta)
{
	for (int64_t i = t < 0 ? 0 : t; i < LINE; i++)
		m->at[i] += delta;
}
static int64_t model_min(const struct model *m, int64_t a, int64_t b)
{
	int64_t low = m->at[a];

	for (int64_t i = a; i < b && i < LINE; i++)
		low = m->at[i] < low ? m->at[i] : low;
	return low;
}
static int64_t model_first(const struct model *m, int64_t a, int64_t units, int below)
{
	for (int64_t i = a; i < LINE; i++)
		if (below ? m->at[i] < units : m->at[i] >= units)
			return i;
	return T_NEVER;
}
static int64_t model_fit(const struct model *m, int64_t a, int64_t length, int64_t units)
{
	for (int64_t t = a; t < LINE; t++)
		if (model_min(m, t, length > LINE ? LINE : t + length) >= units)
			return t;
	return T_NEVER;
}

static void ask_everything(const struct profile *p, const struct model *m, struct prng *r)
{
	int64_t a = (int64_t)prng_below(r, SPAN), b = a + 1 + (int64_t)prng_below(r, SPAN);
	int64_t units = (int64_t)prng_below(r, 60) - 10;
	int64_t length = prng_below(r, 8) ? 1 + (int64_t)prng_below(r, SPAN) : T_NEVER;

	assert_int_equal(profile_at(p, a), m->at[a]);
	assert_int_equal(profile_min(p, a, b), model_min(m, a, b));
	assert_int_equal(profile_first_below(p, a, units), model_first(m, a, units, 1));
	assert_int_equal(profile_first_least(p, a, units), model_first(m, a, units, 0));
	assert_int_equal(profile_fit(p, a, length, units), model_fit(m, a, length, units));
}

/* 400,000 random changes on a narrow time line, where keys collide and cancel all the time. */
static void agrees_with_the_model(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct model m = {0};
		struct profile p;
		struct prng r;
		int64_t past = 0;

		prng_seed(&r, seed);
		profile_init(&p, 20, 4096);
		model_add(&m, 0, 20);
		for (int step = 0; step < 2000; step++) {
			int64_t t = past + (int64_t)prng_below(&r, (uint64_t)(SPAN - past));
			int64_t delta = (int64_t)prng_below(&r, 21) - 10;

			if (prng_below(&r, 4) == 0) {
				int64_t end = t + (int64_t)prng_below(&r, 40);

				assert_int_equal(profile_hold(&p, t, end, delta, NULL), 0);
				if (end > t) {
					model_add(&m, t, -delta);
					model_add(&m, end, delta);
				}
			} else {
				assert_int_equal(profile_add(&p, t, delta, NULL), 0);
				model_add(&m, t, delta);
			}
			if (seed % 4 == 3 && prng_below(&r, 50) == 0 && past < SPAN - 2) {
				past++;
				profile_forget(&p, past);
				for (int64_t i = 0; i < past; i++)
					m.at[i] = m.at[past];
			}
			ask_everything(&p, &m, &r);
			if (step % 100 == 0)
				profile_check(&p);
		}
		profile_check(&p);
		profile_done(&p);
	}
}

/* The shape is a function of the set of changes: two histories, one tree, link by link the same
 * answers; and what was taken and given back leaves nothing behind. */
static void cancelled_changes_leave(void **state)
{
	struct profile p;
	struct prng r;
	int64_t from[500], to[500], units[500];

	(void)state;
	prng_seed(&r, 7);
	profile_init(&p, 1000, 1000);
	for (size_t i = 0; i < ARRAY_LEN(from); i++) {
		from[i] = (int64_t)prng_below(&r, 1000000);
		to[i] = from[i] + 1 + (int64_t)prng_below(&r, 1000000);
		units[i] = 1 + (int64_t)prng_below(&r, 8);
		assert_int_equal(profile_hold(&p, from[i], to[i], units[i], NULL), 0);
	}
	profile_check(&p);
	assert_true(p.count > 900);
	for (size_t i = 0; i < ARRAY_LEN(from); i++)
		assert_int_equal(profile_hold(&p, from[i], to[i], -units[i], NULL), 0);
	profile_check(&p);
	assert_int_equal(p.count, 0);
	assert_int_equal(p.root, 0);
	assert_int_equal(profile_min(&p, 0, T_NEVER), 1000);
	profile_done(&p);
}

/* A reservation in the middle: the hole before it is too short, so the job goes behind it. */
static void earliest_fit_skips_short_holes(void **state)
{
	struct profile p;

	(void)state;
	profile_init(&p, 8, 64);
	assert_int_equal(profile_hold(&p, 0, 100, 6, NULL), 0);   /* running */
	assert_int_equal(profile_hold(&p, 150, 400, 8, NULL), 0); /* reserved */
	assert_int_equal(profile_fit(&p, 0, 50, 4), 100);
	assert_int_equal(profile_fit(&p, 0, 51, 4), 400);
	assert_int_equal(profile_fit(&p, 0, 150, 2), 0);
	assert_int_equal(profile_fit(&p, 0, 151, 2), 400);
	assert_int_equal(profile_fit(&p, 0, T_NEVER, 8), 400);
	assert_int_equal(profile_fit(&p, 0, 1, 9), T_NEVER);
	assert_int_equal(profile_hold(&p, 500, T_NEVER, 3, NULL), 0); /* for good */
	assert_int_equal(profile_fit(&p, 0, T_NEVER, 8), T_NEVER);
	assert_int_equal(profile_fit(&p, 0, T_NEVER, 5), 400);
	profile_done(&p);
}

/* Limits answer, and a refused hold leaves the profile as it was. */
static void full_and_too_large_are_answers(void **state)
{
	struct profile p;
	struct err err;

	(void)state;
	profile_init(&p, 10, 3);
	assert_int_equal(profile_hold(&p, 10, 20, 1, NULL), 0);
	assert_int_equal(profile_hold(&p, 30, 40, 1, &err), ERR_NOROOM);
	assert_string_equal(err.msg, "the profile holds at most 3 changes");
	assert_int_equal(p.count, 2);
	assert_int_equal(profile_at(&p, 30), 10);
	assert_int_equal(profile_hold(&p, 20, 40, 1, NULL), 0); /* 20 cancels: room for 40 */
	assert_int_equal(p.count, 2);
	assert_int_equal(profile_add(&p, 15, INT64_MIN, NULL), ERR_RANGE);
	assert_int_equal(profile_add(&p, 15, PROFILE_UNITS_MAX, NULL), ERR_RANGE);
	assert_int_equal(profile_hold(&p, 15, 16, INT64_MIN, NULL), ERR_RANGE);
	assert_int_equal(profile_add(&p, 15, PROFILE_UNITS_MAX - 12, NULL), 0);
	assert_int_equal(profile_min(&p, 0, 100), 9);
	assert_int_equal(profile_first_least(&p, 0, 11), 15);
	profile_check(&p);
	profile_done(&p);
	profile_done(&p);
}

/* Times at both ends of the scale. */
static void extreme_instants(void **state)
{
	struct profile p;

	(void)state;
	profile_init(&p, 4, 16);
	assert_int_equal(profile_hold(&p, INT64_MIN, T_NEVER - 1, 3, NULL), 0);
	assert_int_equal(profile_at(&p, INT64_MIN), 1);
	assert_int_equal(profile_fit(&p, INT64_MIN, T_NEVER, 1), INT64_MIN);
	assert_int_equal(profile_fit(&p, -5, 10, 2), T_NEVER - 1);
	assert_int_equal(profile_min(&p, INT64_MIN, T_NEVER), 1);
	profile_forget(&p, T_NEVER - 1);
	assert_int_equal(p.count, 0);
	assert_int_equal(profile_at(&p, T_NEVER), 4);
	profile_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_the_model),
		cmocka_unit_test(cancelled_changes_leave),
		cmocka_unit_test(earliest_fit_skips_short_holes),
		cmocka_unit_test(full_and_too_large_are_answers),
		cmocka_unit_test(extreme_instants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
