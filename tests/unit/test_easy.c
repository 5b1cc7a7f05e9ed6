/* test_easy.c - backfilling: no promise is delayed, published figures are reproduced, waits are bounded
 *
 * The KTH-SP2 rows need the recorded log: set SLUIS_DATA, or keep it in ../shared/data.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "daemon/core/backfill.h"
#include "daemon/sim/golden.h"
#include "daemon/sim/jobsim_core.h"
#include "daemon/sim/text.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/base/prng.h"

/* Ten units, six busy until 100, the head wants eight: it is promised 100. Behind it may start what
 * ends by then, or what fits beside it for good; and the promise is gone without trace after the pass. */
static void easy_keeps_its_one_promise(void **state)
{
	struct profile p;
	struct backfill b;
	int64_t at;

	(void)state;
	profile_init(&p, 10, 64);
	assert_int_equal(profile_hold(&p, 0, 100, 6, NULL), 0);
	backfill_init(&b);
	backfill_begin(&b, &p, 0, 1);
	assert_int_equal(backfill_offer(&b, 8, 50, &at, NULL), BACKFILL_RESERVE);
	assert_int_equal(at, 100);
	assert_true(backfill_full(&b));
	assert_int_equal(backfill_offer(&b, 5, 1, &at, NULL), BACKFILL_WAIT);   /* does not fit now */
	assert_int_equal(backfill_offer(&b, 3, 101, &at, NULL), BACKFILL_WAIT); /* would delay the head */
	assert_int_equal(backfill_offer(&b, 2, 1000, &at, NULL), BACKFILL_START); /* beside the head */
	assert_int_equal(backfill_offer(&b, 1, 101, &at, NULL), BACKFILL_WAIT);  /* no room beside it left */
	assert_int_equal(backfill_offer(&b, 2, 100, &at, NULL), BACKFILL_START); /* ends in time */
	assert_int_equal(backfill_offer(&b, 1, 1, &at, NULL), BACKFILL_WAIT);
	backfill_end(&b);
	profile_check(&p);
	assert_int_equal(profile_at(&p, 0), 0);
	assert_int_equal(profile_at(&p, 100), 8);
	assert_int_equal(profile_at(&p, 1000), 10);
	backfill_done(&b);
	profile_done(&p);
}

/* The second of two reservations is as firm as the first; with none the pass is plain first fit. */
static void more_or_no_reservations(void **state)
{
	struct profile p;
	struct backfill b;
	int64_t at;

	(void)state;
	profile_init(&p, 10, 64);
	assert_int_equal(profile_hold(&p, 0, 100, 6, NULL), 0);
	backfill_init(&b);
	backfill_begin(&b, &p, 0, 2);
	assert_int_equal(backfill_offer(&b, 10, 50, &at, NULL), BACKFILL_RESERVE);
	assert_int_equal(at, 100);
	assert_int_equal(backfill_offer(&b, 6, 50, &at, NULL), BACKFILL_RESERVE);
	assert_int_equal(at, 150);
	assert_int_equal(backfill_offer(&b, 4, 101, &at, NULL), BACKFILL_WAIT);
	assert_int_equal(backfill_offer(&b, 4, 100, &at, NULL), BACKFILL_START);
	backfill_end(&b);
	backfill_begin(&b, &p, 0, 0);
	assert_int_equal(backfill_offer(&b, 1, 1, &at, NULL), BACKFILL_WAIT);
	backfill_end(&b);
	backfill_begin(&b, &p, 100, 1);
	assert_int_equal(backfill_offer(&b, 11, 1, &at, NULL), BACKFILL_RESERVE);
	assert_int_equal(at, T_NEVER); /* larger than the machine: holds its turn, blocks no time */
	assert_int_equal(backfill_offer(&b, 10, T_NEVER, &at, NULL), BACKFILL_START);
	backfill_end(&b);
	assert_int_equal(profile_min(&p, 100, T_NEVER), 0);
	profile_check(&p);
	backfill_done(&b);
	profile_done(&p);
}

/* Passes over profiles with little room, on a time line so narrow that reservations cancel changes
 * which they later restore: the answer is ERR_NOROOM, and afterwards only the starts are left. */
static void a_full_profile_is_an_answer(void **state)
{
	unsigned refused = 0;
	struct backfill b;
	struct prng r;

	(void)state;
	prng_seed(&r, 11);
	backfill_init(&b);
	for (int round = 0; round < 20000; round++) {
		struct profile p, expected;
		int64_t at;

		profile_init(&p, 10, 4 + (uint32_t)prng_below(&r, 12));
		profile_init(&expected, 10, 64);
		for (int i = 0, n = (int)prng_below(&r, 5); i < n; i++) { /* running, or leased later on */
			int64_t units = 1 + (int64_t)prng_below(&r, 3), from = (int64_t)prng_below(&r, 4);
			int64_t end = from + 1 + (int64_t)prng_below(&r, 5);

			if (profile_hold(&p, from, end, units, NULL) == 0)
				assert_int_equal(profile_hold(&expected, from, end, units, NULL), 0);
		}
		backfill_begin(&b, &p, 0, (uint32_t)prng_below(&r, 6));
		for (int i = 0; i < 12; i++) {
			int64_t units = 1 + (int64_t)prng_below(&r, 6), length = 1 + (int64_t)prng_below(&r, 5);
			int verdict = backfill_offer(&b, units, length, &at, NULL);

			assert_true(verdict >= 0 || verdict == ERR_NOROOM);
			refused += verdict == ERR_NOROOM;
			if (verdict == BACKFILL_START)
				assert_int_equal(profile_hold(&expected, 0, length, units, NULL), 0);
		}
		backfill_end(&b);
		profile_check(&p);
		assert_int_equal(p.count, expected.count);
		for (int64_t t = 0; t < 12; t++)
			assert_int_equal(profile_at(&p, t), profile_at(&expected, t));
		profile_done(&p);
		profile_done(&expected);
	}
	assert_true(refused > 1000);
	{
		struct profile p;
		int64_t at;

		profile_init(&p, 10, 64);
		backfill_begin(&b, &p, 0, 1);
		assert_int_equal(backfill_offer(&b, BACKFILL_UNITS_MAX + 1, 10, &at, NULL), ERR_RANGE);
		backfill_end(&b);
		profile_done(&p);
	}
	backfill_done(&b);
}

/* The worst case for taking back: both reservations fall exactly between an end and a beginning of the
 * same size, so they take three changes out of the profile, which starts could then fill up. */
static void reservations_find_their_way_back(void **state)
{
	(void)state;
	for (uint32_t cap = 5; cap <= 24; cap++) {
		struct profile p;
		struct backfill b;
		int64_t at;
		int r;

		profile_init(&p, 100, cap);
		assert_int_equal(profile_hold(&p, 0, 10, 40, NULL), 0);
		assert_int_equal(profile_hold(&p, 0, 30, 40, NULL), 0);
		assert_int_equal(profile_hold(&p, 20, 25, 40, NULL), 0); /* a lease later on */
		backfill_init(&b);
		backfill_begin(&b, &p, 0, 2);
		r = backfill_offer(&b, 40, 10, &at, NULL);
		if (r == BACKFILL_RESERVE)
			assert_int_equal(at, 10);
		if (r == BACKFILL_RESERVE)
			r = backfill_offer(&b, 40, 5, &at, NULL);
		for (int64_t length = 1; r > 0 && length <= 9; length++)
			r = backfill_offer(&b, 1, length, &at, NULL);
		assert_int_equal(r, cap >= 18 ? BACKFILL_START : ERR_NOROOM);
		backfill_end(&b);
		profile_check(&p);
		assert_int_equal(profile_at(&p, 10), 60);
		assert_int_equal(profile_at(&p, 20), 20);
		assert_int_equal(profile_at(&p, 25), 60);
		backfill_done(&b);
		profile_done(&p);
	}
}

static void prediction_is_the_mean_of_two(void **state)
{
	struct predictor p = {0};

	(void)state;
	assert_int_equal(predictor_guess(&p, 5000, 1000), 5000);
	predictor_saw(&p, 3000);
	assert_int_equal(predictor_guess(&p, 5000, 1000), 5000);
	predictor_saw(&p, 4000);
	assert_int_equal(predictor_guess(&p, 5000, 1000), 3000); /* 3.5 s, cut to whole seconds */
	assert_int_equal(predictor_guess(&p, 5000, 1), 3500);
	assert_int_equal(predictor_guess(&p, 2000, 1), 2000);
	predictor_saw(&p, INT64_MAX);
	predictor_saw(&p, INT64_MAX);
	assert_int_equal(predictor_guess(&p, INT64_MAX, 1), INT64_MAX);
	predictor_saw(&p, 0);
	predictor_saw(&p, 1);
	assert_int_equal(predictor_guess(&p, 5000, 1), 1);
	assert_int_equal(backfill_area(INT64_C(1) << 40, INT64_C(1) << 40), INT64_MAX);
	assert_int_equal(backfill_area(3, 4), 12);
}

static void simulate(const struct swf_job *jobs, size_t n, int64_t procs, const struct jobsim_policy *policy,
		     enum jobsim_estimate estimate, int64_t *start_s)
{
	assert_int_equal(jobsim_run(jobs, n, procs, policy, estimate, NULL, NULL, start_s, NULL), 0);
}

/* Five jobs on ten processors: who overtakes whom under each policy. */
static void policies_differ_as_they_should(void **state)
{
	static const struct swf_job jobs[] = {
		{.submit_s = 0, .run_s = 100, .request_s = 100, .procs = 6},
		{.submit_s = 0, .run_s = 10, .request_s = 10, .procs = 4},
		{.submit_s = 1, .run_s = 10, .request_s = 10, .procs = 8},   /* the head */
		{.submit_s = 2, .run_s = 50, .request_s = 90, .procs = 4},   /* either of these fits beside */
		{.submit_s = 2, .run_s = 20, .request_s = 20, .procs = 4},
	};
	int64_t start[ARRAY_LEN(jobs)];

	(void)state;
	simulate(jobs, ARRAY_LEN(jobs), 10, jobsim_policy_find("fcfs"), ESTIMATE_REQUESTED, start);
	assert_int_equal(start[2], 100);
	assert_int_equal(start[3], 110);
	assert_int_equal(start[4], 110);
	simulate(jobs, ARRAY_LEN(jobs), 10, jobsim_policy_find("easy"), ESTIMATE_REQUESTED, start);
	assert_int_equal(start[2], 100);
	assert_int_equal(start[3], 10);
	assert_int_equal(start[4], 60);
	/* The shorter one first; then 90 s more would delay the head. */
	simulate(jobs, ARRAY_LEN(jobs), 10, jobsim_policy_find("easy-sjbf"), ESTIMATE_REQUESTED, start);
	assert_int_equal(start[2], 100);
	assert_int_equal(start[3], 110);
	assert_int_equal(start[4], 10);
	assert_null(jobsim_policy_find("nonsense"));
}

static void random_log(struct swf_job *jobs, size_t n, int64_t procs)
{
	struct prng r;

	prng_seed(&r, 3);
	for (size_t i = 0; i < n; i++) {
		int64_t run = 1 + (int64_t)prng_below(&r, prng_below(&r, 3) ? 600 : 20000);

		jobs[i] = (struct swf_job){.submit_s = (i ? jobs[i - 1].submit_s : 0) + (int64_t)prng_below(&r, 1200),
					   .run_s = run, .request_s = run + (int64_t)prng_below(&r, 5) * run,
					   .procs = 1 + (int64_t)prng_below(&r, prng_below(&r, 4) ? 16 : (uint64_t)procs),
					   .user = (int64_t)prng_below(&r, 9)};
	}
}

/* Two thousand random jobs under every policy and estimate: never more processors in use than there
 * are, nobody starts before submission, and a second run gives the same answer. */
static void the_machine_is_never_overbooked(void **state)
{
	enum { N = 2000, PROCS = 64 };
	static struct swf_job jobs[N];
	static int64_t start[N], again[N];

	(void)state;
	random_log(jobs, N, PROCS);
	for (size_t k = 0; jobsim_policies[k]; k++) {
		for (int e = 0; e < ESTIMATE_COUNT; e++) {
			struct profile used;

			profile_init(&used, PROCS, 3 * N);
			simulate(jobs, N, PROCS, jobsim_policies[k], (enum jobsim_estimate)e, start);
			simulate(jobs, N, PROCS, jobsim_policies[k], (enum jobsim_estimate)e, again);
			assert_memory_equal(start, again, sizeof start);
			for (size_t i = 0; i < N; i++) {
				assert_true(start[i] >= jobs[i].submit_s);
				assert_int_equal(profile_hold(&used, start[i], start[i] + jobs[i].run_s, jobs[i].procs,
							      NULL), 0);
			}
			assert_int_equal(profile_min(&used, 0, T_NEVER), 0); /* full at times, never below */
			profile_done(&used);
		}
	}
}

/* The same through the core of sluisd; 300 users fill more than one project. */
static void the_core_plays_a_log(void **state)
{
	enum { N = 2000, PROCS = 63 };
	static struct swf_job jobs[N];
	static int64_t start[N], again[N];
	struct jobsim_told told;
	struct profile used;
	struct err err;

	(void)state;
	random_log(jobs, N, PROCS);
	for (size_t i = 0; i < N; i++)
		jobs[i].user = (int64_t)(i * i) % 300;
	assert_int_equal(jobsim_core_run(jobs, N, PROCS, NULL, NULL, start, NULL, &err), 0);
	assert_int_equal(jobsim_core_run(jobs, N, PROCS, NULL, NULL, again, &told, &err), 0);
	assert_memory_equal(start, again, sizeof start); /* to be asked changes nothing */
	assert_true(told.waited > N / 2 && told.told > told.waited / 2 && told.told <= told.waited);
	assert_true(told.in_time > 0 && told.in_time <= told.told);
	profile_init(&used, PROCS, 3 * N);
	for (size_t i = 0; i < N; i++) {
		assert_true(start[i] >= jobs[i].submit_s);
		assert_int_equal(profile_hold(&used, start[i], start[i] + jobs[i].run_s, jobs[i].procs, NULL), 0);
	}
	assert_int_equal(profile_min(&used, 0, T_NEVER), 0);
	profile_done(&used);
	assert_int_equal(jobsim_core_run(jobs, N, 2000000, NULL, NULL, start, NULL, &err), ERR_RANGE);
}

/* Ten jobs of one user before one of another: the other one's is next. */
static void the_core_serves_users_in_turn(void **state)
{
	struct swf_job jobs[12];
	int64_t start[12];
	struct err err;

	(void)state;
	for (int i = 0; i < 12; i++)
		jobs[i] = (struct swf_job){.submit_s = i, .run_s = 1000, .request_s = 1000, .procs = 4, .user = i == 11};
	jobs[11].request_s = jobs[11].run_s = 1001; /* the largest, too */
	assert_int_equal(jobsim_core_run(jobs, 12, 4, NULL, NULL, start, NULL, &err), 0);
	for (int i = 2; i < 11; i++)
		assert_true(start[11] < start[i]);
}

/* A stream of small jobs that keeps the machine busy for a month, and one job that needs all of it. The
 * guard lets it through after two days and one request; the same policy without guard starves it. */
static void the_guard_ends_starvation(void **state)
{
	enum { N = 4000, DAY = 86400 };
	static struct swf_job jobs[N];
	static int64_t start[N];
	struct jobsim_policy unguarded = *jobsim_policy_find("sluis");

	(void)state;
	for (size_t i = 0; i < N; i++)
		jobs[i] = (struct swf_job){.submit_s = (int64_t)i * 700, .run_s = 7000, .request_s = 7200, .procs = 1};
	jobs[100].procs = 10;
	simulate(jobs, N, 10, &unguarded, ESTIMATE_REQUESTED, start);
	assert_in_range(start[100] - jobs[100].submit_s, 2 * DAY, 2 * DAY + 7200);
	unguarded.guard_s = 0;
	unguarded.reservations = 1;
	simulate(jobs, N, 10, &unguarded, ESTIMATE_REQUESTED, start);
	assert_true(start[100] - jobs[100].submit_s > 20 * DAY);
}

static void nearest_rank_percentiles(void **state)
{
	double values[] = {5, 1, 4, 2, 3}, one[] = {7};
	struct jobsim_spread d = jobsim_spread_of(values, ARRAY_LEN(values));

	(void)state;
	assert_true(d.mean == 3 && d.p50 == 3 && d.p95 == 5 && d.p99 == 5 && d.max == 5);
	d = jobsim_spread_of(one, 1);
	assert_true(d.mean == 7 && d.p50 == 7 && d.max == 7);
	d = jobsim_spread_of(NULL, 0);
	assert_true(d.mean == 0 && d.max == 0);
	assert_true(golden_equal(92.5765397336295, 92.57653973362951));
	assert_false(golden_equal(92.5765397336295, 92.5765397337));
}

static void need_data(const char *file)
{
	struct buf path = BUF_INIT;
	FILE *f;

	buf_addf(&path, "%s/swf/%s", golden_data_dir(), file);
	f = fopen(buf_cstr(&path), "rb");
	if (!f)
		print_message("skip: %s is not there (set SLUIS_DATA)\n", buf_cstr(&path));
	buf_done(&path);
	if (!f)
		skip();
	assert_int_equal(fclose(f), 0);
}

static void check_row(void *arg, const struct golden_report *r)
{
	unsigned *rows = arg;

	print_message("%s: %.15g %.15g\n", r->name, r->value, r->expected);
	assert_true(r->ok);
	++*rows;
}

/* The six published KTH-SP2 rows, to 12 digits, and the bound of our own. */
static void published_kth_rows(void **state)
{
	unsigned rows = 0;
	struct err err;

	(void)state;
	need_data("KTH-SP2-1996-2.swf.gz");
	assert_int_equal(golden_easy(golden_data_dir(), "KTH-SP2", check_row, &rows, &err), 0);
	assert_int_equal(rows, 8);
}

/* Our own policy on the same log: below the best of the published non-clairvoyant configurations
 * (45.80) and below 40, and nobody waits longer than five days. */
static void own_policy_on_kth(void **state)
{
	struct buf path = BUF_INIT, text = BUF_INIT;
	struct swf swf = {0};
	struct swf_dropped dropped;
	struct jobsim_result result;
	int64_t *start_s;

	(void)state;
	need_data("KTH-SP2-1996-2.swf.gz");
	buf_addf(&path, "%s/swf/KTH-SP2-1996-2.swf.gz", golden_data_dir());
	assert_int_equal(text_load(buf_cstr(&path), &text, NULL, NULL), 0);
	assert_int_equal(swf_parse("kth", (const char *)text.data, text.len, NULL, &swf, NULL), 0);
	swf_filter(&swf, swf.max_procs, false, &dropped);
	start_s = xcalloc(swf.jobs_n, sizeof *start_s);
	simulate(swf.jobs, swf.jobs_n, swf.max_procs, jobsim_policy_find("sluis"), ESTIMATE_TSAFRIR, start_s);
	jobsim_measure(swf.jobs, swf.jobs_n, swf.max_procs, start_s, &result);
	print_message("KTH-SP2 sluis: %.15g, longest wait %.0f s\n", result.slowdown.mean, result.wait_s.max);
	assert_true(result.slowdown.mean < 40);
	assert_true(result.wait_s.max <= 5 * 86400);
	free(start_s);
	swf_done(&swf);
	buf_done(&text);
	buf_done(&path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(easy_keeps_its_one_promise),
		cmocka_unit_test(more_or_no_reservations),
		cmocka_unit_test(a_full_profile_is_an_answer),
		cmocka_unit_test(reservations_find_their_way_back),
		cmocka_unit_test(prediction_is_the_mean_of_two),
		cmocka_unit_test(policies_differ_as_they_should),
		cmocka_unit_test(the_machine_is_never_overbooked),
		cmocka_unit_test(the_core_plays_a_log),
		cmocka_unit_test(the_core_serves_users_in_turn),
		cmocka_unit_test(the_guard_ends_starvation),
		cmocka_unit_test(nearest_rank_percentiles),
		cmocka_unit_test(published_kth_rows),
		cmocka_unit_test(own_policy_on_kth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
