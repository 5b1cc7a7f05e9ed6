/* test_clock.c - logical time never goes back and is not led astray by the wall clock
 *
 * Without these a wall clock set forward by a day would end every lease at once, and one set back
 * would let a restarted daemon hand out instants it has used before.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The shell is a program, not a library: the unit is compiled in here. */
#include "daemon/clock.c"
#include "proto/base/prng.h"

static const int64_t DAY_MS = MS_PER_DAY;

static struct mono mono(int64_t ms) { return (struct mono){ms * NS_PER_MS}; }
static struct wall wall(int64_t ms) { return (struct wall){ms * NS_PER_MS}; }

static void starts_at_the_later_of_disk_and_wall(void **state)
{
	struct clock c;

	(void)state;
	clock_start(&c, 0, mono(5), wall(1000));
	assert_int_equal(clock_read(&c, mono(5), wall(1000), NULL), 1000);
	/* the machine's battery failed: 1970 again, but the disk knows better */
	clock_start(&c, 5000, mono(5), wall(1000));
	assert_int_equal(clock_read(&c, mono(5), wall(1000), NULL), 5000);
	/* a record that claims an absurd future does not overflow */
	clock_start(&c, INT64_MAX, mono(5), wall(1000));
	assert_true(clock_read(&c, mono(6), wall(1001), NULL) > 0);
}

static void follows_the_monotonic_clock(void **state)
{
	struct clock c;
	int64_t step = -1;

	(void)state;
	clock_start(&c, 0, mono(0), wall(1000));
	assert_int_equal(clock_read(&c, mono(250), wall(1250), &step), 1250);
	assert_int_equal(step, 0);
	assert_int_equal(clock_read(&c, mono(DAY_MS), wall(1000 + DAY_MS), &step), 1000 + DAY_MS);
	assert_int_equal(step, 0);
}

static void a_step_of_the_wall_clock_only_bends_the_pace(void **state)
{
	struct clock c;
	int64_t step, t;

	(void)state;
	clock_start(&c, 0, mono(0), wall(0));
	/* the wall clock jumps a day ahead; 100 s later we are 50 ms faster than the clock on the wall
	 * would have been, not a day */
	t = clock_read(&c, mono(100000), wall(DAY_MS + 100000), &step);
	assert_int_equal(t, 100000 + 50);
	assert_int_equal(step, DAY_MS - 50);
	/* said once, not on each reading */
	t = clock_read(&c, mono(200000), wall(DAY_MS + 200000), &step);
	assert_int_equal(t, 200000 + 100);
	assert_int_equal(step, 0);
	/* a further step is news again, also when it leads back over the goal */
	(void)clock_read(&c, mono(200001), wall(2 * DAY_MS), &step);
	assert_true(step > DAY_MS);
	(void)clock_read(&c, mono(200002), wall(1000), &step);
	assert_int_equal(step, -199102);
}

static void the_difference_is_worked_off_and_the_warning_rearmed(void **state)
{
	struct clock c;
	int64_t step, t;

	(void)state;
	clock_start(&c, 0, mono(0), wall(0));
	(void)clock_read(&c, mono(0), wall(3000), &step);
	assert_int_equal(step, 3000);
	/* 500 ppm of 6000 s are 3 s: then both agree, and go on agreeing */
	t = clock_read(&c, mono(6000000), wall(6003000), &step);
	assert_int_equal(t, 6003000);
	assert_int_equal(step, 0);
	(void)clock_read(&c, mono(6000000), wall(6006500), &step);
	assert_int_equal(step, 3500);
}

static void small_differences_are_nobodys_business(void **state)
{
	struct clock c;
	int64_t step;

	(void)state;
	clock_start(&c, 0, mono(0), wall(0));
	(void)clock_read(&c, mono(0), wall(CLOCK_STEP_MS), &step);
	assert_int_equal(step, 0);
	(void)clock_read(&c, mono(0), wall(-CLOCK_STEP_MS), &step);
	assert_int_equal(step, 0);
	(void)clock_read(&c, mono(0), wall(CLOCK_STEP_MS + 1), &step);
	assert_int_equal(step, CLOCK_STEP_MS + 1);
}

/* Whatever both clocks say: never back, never more than 500 ppm from the monotonic pace. */
static void never_goes_back(void **state)
{
	struct prng p;
	struct clock c;
	int64_t m = 0, w = 1000000, start, last;

	(void)state;
	prng_seed(&p, 0x51075);
	clock_start(&c, 0, mono(m), wall(w));
	start = last = clock_read(&c, mono(m), wall(w), NULL);
	for (int i = 0; i < 100000; i++) {
		int64_t d = (int64_t)prng_below(&p, 2000), t;

		m += d;
		w += d;
		if (prng_below(&p, 50) == 0)
			w += (int64_t)prng_below(&p, 2 * (uint64_t)DAY_MS) - DAY_MS;
		if (prng_below(&p, 1000) == 0)
			w = prng_below(&p, 2) ? INT64_MAX / NS_PER_MS / 2 : INT64_MIN / NS_PER_MS / 2;
		t = clock_read(&c, mono(m), wall(w), NULL);
		assert_true(t >= last);
		assert_true(t - last <= d + d / 2000 + 1);
		last = t;
	}
	assert_true(last - start >= m - m / 2000 - 1);
	/* a monotonic clock that errs is no reason to go back */
	assert_true(clock_read(&c, mono(0), wall(0), NULL) >= last);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(starts_at_the_later_of_disk_and_wall),
		cmocka_unit_test(follows_the_monotonic_clock),
		cmocka_unit_test(a_step_of_the_wall_clock_only_bends_the_pace),
		cmocka_unit_test(the_difference_is_worked_off_and_the_warning_rearmed),
		cmocka_unit_test(small_differences_are_nobodys_business),
		cmocka_unit_test(never_goes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
