/* test_core_usage.c - usage that fades, and whose turn it is by it */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/core/state.h"
#include "tests/lib/core_world.h"

#define HOUR MS_PER_HOUR
#define DAY MS_PER_DAY

/* Four nodes of eight; bob is a member of lung, too. */
static int start(void **state)
{
	struct core_world *w = xcalloc(1, sizeof *w);

	cw_open(w, 4);
	memcpy(w->member[CW_LUNG][1].name, "bob", 4);
	w->qnode[CW_LUNG].members_n = 2;
	cw_apply(w);
	for (uint32_t n = 1; n <= w->nodes_n; n++)
		assert_int_equal(cw_hello(w, n), 0);
	cw_settle(w);
	*state = w;
	return 0;
}

static uint64_t submit(struct core_world *w, struct cw_who who, uint32_t units, int64_t limit_ms)
{
	struct command cmd = cw_submit_cmd(w, who, "lung", units, limit_ms);

	cmd.job_submit.spec.loan = LOAN_NEVER;
	assert_int_equal(cw_do(w, &cmd), 0);
	return w->d.result.id;
}

static void usage_halves_and_fades_evenly(void **state)
{
	const int64_t t = 1800000000000 / (14 * DAY) * (14 * DAY); /* the start of a step */
	int64_t before = INT64_C(1) << 50;

	(void)state;
	assert_int_equal(usage_decay(1 << 20, t, t), 1 << 20);
	assert_int_equal(usage_decay(1 << 20, t, t + 14 * DAY), 1 << 19);
	assert_int_equal(usage_decay(1 << 20, t, t + 20 * 14 * DAY), 1);
	assert_int_equal(usage_decay(INT64_MAX, t, t + 100 * 14 * DAY), 0);
	assert_int_equal(usage_decay(1 << 20, t, t - DAY), 1 << 20); /* an instant before does not add to it */
	for (int64_t h = 1; h < 14 * 24 * 3; h++) {
		int64_t now = usage_decay(INT64_C(1) << 50, t, t + h * HOUR);
		double steps = floor((double)h * 3600000 / 1181250), want = ldexp(exp2(-steps / 1024), 50);

		assert_true(now < before);
		assert_true(fabs((double)now - want) < want * 1e-8);
		before = now;
	}
}

static void what_is_booked_often_fades_like_what_is_booked_once(void **state)
{
	const int64_t t = 1800000000000;
	int64_t often = 0, last = t;
	double want = 0;

	(void)state;
	for (int64_t m = 0; m <= 28 * 1440; m += 7) { /* a job ends every seven minutes for four weeks */
		int64_t now = t + m * MS_PER_MIN;

		often = usage_decay(often, last, now) + 1000000;
		last = now;
		want += 1000000 * exp2(-(double)(28 * 1440 - m) / (14 * 1440));
	}
	assert_true(fabs((double)often - want) < want * 0.002); /* a step is 0.07 % */
}

/* Alice has used the project up and asks for less; bob, who had nothing of it, goes first. */
static void who_had_less_of_his_project_goes_first(void **state)
{
	struct core_world *w = *state;
	uint64_t first, paula, alice, bob;
	struct view_shares v;
	struct query q = {.type = QUERY_SHARES, .name = "lung"};
	struct arena arena = {0};

	first = cw_submit(w, w->alice, "lung", 8, HOUR);
	cw_settle(w);
	cw_advance(w, HOUR / 2);
	cw_exit(w, first, 0);
	assert_int_equal(usage_of_user(w->core, w->t, cw_id(w, "public/health/cancer/lung"), w->alice.principal), 4 * HOUR);
	paula = submit(w, w->paula, 8, HOUR); /* all that lung has */
	cw_settle(w);
	assert_int_equal(cw_job_state(w, paula), JOB_RUNNING);
	alice = submit(w, w->alice, 4, HOUR / 4);
	bob = submit(w, w->bob, 8, HOUR / 4);
	cw_tick(w);
	assert_int_equal(core_view(w->core, w->t, w->alice.principal, &q, &v, &arena, &w->err), 0);
	assert_int_equal(v.items_n, 2);
	assert_string_equal(v.items[0].path, "public/health/cancer/lung");
	assert_string_equal(v.items[0].user, "");
	assert_string_equal(v.items[1].user, "alice");
	assert_int_equal(v.items[1].usage_rums, 4 * HOUR);
	cw_reload(w, 0); /* whose turn it is outlives sluisd */
	sched_order(w->core, w->t);
	assert_true(job_of(w->core, bob)->order < job_of(w->core, alice)->order);
	cw_exit(w, paula, 0);
	assert_int_equal(cw_job_state(w, bob), JOB_RUNNING);
	assert_int_equal(cw_job_state(w, alice), JOB_PENDING);
	arena_done(&arena);
}

/* Between users it goes by usage, whoever waits longest; between the jobs of one the old one goes first. */
static void age_counts_between_the_jobs_of_one_user(void **state)
{
	struct core_world *w = *state;
	uint64_t paula, big, small;

	paula = submit(w, w->paula, 8, 20 * HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, paula), JOB_RUNNING);
	big = submit(w, w->alice, 8, HOUR);
	cw_advance(w, 2 * HOUR);
	small = submit(w, w->alice, 8, HOUR / 4);
	cw_tick(w);
	sched_order(w->core, w->t);
	assert_true(job_of(w->core, small)->order < job_of(w->core, big)->order);
	cw_advance(w, 3 * HOUR);
	w->core->scratch->ordered_ms = 0;
	sched_order(w->core, w->t);
	assert_true(job_of(w->core, big)->order < job_of(w->core, small)->order);
}

/* A project that a thousand people used: whoever had least makes room. */
static void a_full_list_of_users_drops_the_least(void **state)
{
	struct core_world *w = *state;
	uint32_t lung = cw_id(w, "public/health/cancer/lung");
	static struct user_usage users[USERS_KEPT];
	struct usage u = {.qnode = lung, .decayed_at_ms = w->t, .users = users, .users_n = USERS_KEPT};
	struct fact fact = {.kind = RECORD_USAGE, .id = lung, .usage = &u};
	uint64_t job;

	for (uint32_t i = 0; i < USERS_KEPT; i++) {
		users[i] = (struct user_usage){1000 + i, i == 77 ? HOUR : 2 * HOUR};
		u.decayed_rums += users[i].decayed_rums;
	}
	core_apply(w->core, &fact);
	job = cw_submit(w, w->alice, "lung", 8, HOUR);
	cw_settle(w);
	cw_advance(w, HOUR / 2);
	cw_exit(w, job, 0);
	assert_int_equal(qnode_of(w->core, lung)->usage.users_n, USERS_KEPT);
	assert_int_equal(qnode_of(w->core, lung)->usage.users[0].user, w->alice.principal);
	assert_int_equal(usage_of_user(w->core, w->t, lung, 1077), 0);
	assert_true(usage_of_user(w->core, w->t, lung, 1078) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(usage_halves_and_fades_evenly),
		cmocka_unit_test(what_is_booked_often_fades_like_what_is_booked_once),
		cmocka_unit_test_setup_teardown(who_had_less_of_his_project_goes_first, start, cw_teardown),
		cmocka_unit_test_setup_teardown(age_counts_between_the_jobs_of_one_user, start, cw_teardown),
		cmocka_unit_test_setup_teardown(a_full_list_of_users_drops_the_least, start, cw_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
