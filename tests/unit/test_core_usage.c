/* test_core_usage.c - usage that fades, and whose turn it is by it */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
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

/* ---- whose turn: sectors and projects by their weights ------------------------------------------------------ */

enum { ENERGY = CW_QNODES, CLIMATE, GRID };

static void below(struct core_world *w, uint32_t at, uint32_t parent, uint8_t kind, const char *name, uint32_t weight)
{
	struct qnode *q = &w->qnode[at];

	*q = (struct qnode){.parent = parent + 1, .kind = kind, .weight = weight, .quotas = w->quota[at], .members = w->member[at]};
	(void)snprintf(q->name, NAME_BYTES, "%s", name);
	w->div.qnodes_n = at + 1;
}

/* One node, all of it acme's and lent to whose turn it is: sector health (weight 1) with lung (2) and heart (5), sector
 * energy (3) with grid. */
static int start_sectors(void **state)
{
	struct core_world *w = xcalloc(1, sizeof *w);

	cw_open(w, 1);
	for (uint32_t q = CW_LUNG; q <= CW_BETA; q++)
		if (w->qnode[q].quotas_n)
			cw_quota(w, q, 0, SHAPE_GPU, q == CW_ACME ? 8 : 0, QTY_UNLIMITED, QTY_UNLIMITED);
	below(w, ENERGY, CW_PUBLIC, QNODE_SECTOR, "energy", 3);
	below(w, CLIMATE, ENERGY, QNODE_CHALLENGE, "climate", 1);
	below(w, GRID, CLIMATE, QNODE_PROJECT, "grid", 1);
	w->qnode[CW_LUNG].weight = 2;
	w->qnode[CW_HEART].weight = 5;
	cw_apply(w);
	assert_int_equal(cw_hello(w, 1), 0);
	cw_settle(w);
	*state = w;
	return 0;
}

static uint64_t borrow(struct core_world *w, const char *project)
{
	struct command cmd = cw_submit_cmd(w, w->admin, project, 8, DAY);

	cmd.job_submit.spec.loan = LOAN_ONLY;
	assert_int_equal(cw_do(w, &cmd), 0);
	return w->d.result.id;
}

/* The project has all eight devices for so many hours. */
static void uses(struct core_world *w, const char *project, int64_t hours)
{
	uint64_t job = borrow(w, project);

	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	cw_advance(w, hours * HOUR);
	cw_exit(w, job, 0);
	assert_int_equal(cw_job_state(w, job), JOB_COMPLETED);
}

/* Both wait for the devices that the provider has and gives back: `first` has them, whoever was submitted first. */
static void goes_first(struct core_world *w, const char *first, const char *second)
{
	for (int turn = 0; turn < 2; turn++) {
		uint64_t lease = cw_lease(w, w->acme, "acme", 8, LEASE_FIRM), winner = 0, loser;

		cw_settle(w);
		assert_int_equal(cw_lease_state(w, lease), LEASE_ACTIVE);
		if (turn)
			winner = borrow(w, first);
		loser = borrow(w, second);
		if (!turn)
			winner = borrow(w, first);
		cw_settle(w);
		assert_int_equal(cw_job_state(w, winner), JOB_PENDING);
		assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_RELEASE, lease), 0);
		cw_settle(w);
		assert_int_equal(cw_job_state(w, winner), JOB_RUNNING);
		assert_int_equal(cw_job_state(w, loser), JOB_PENDING);
		assert_int_equal(cw_job(w, w->admin, CMD_JOB_CANCEL, loser), 0);
		assert_int_equal(cw_job(w, w->admin, CMD_JOB_CANCEL, winner), 0);
		cw_settle(w);
	}
}

/* Health has used 24 of weight 1, energy 48 of weight 3: energy's turn, though grid has used most of all and lung, in
 * health, nothing. */
static void sectors_go_by_usage_per_weight(void **state)
{
	struct core_world *w = *state;

	uses(w, "heart", 3);
	uses(w, "grid", 6);
	goes_first(w, "grid", "lung");
	goes_first(w, "grid", "heart");
	uses(w, "grid", 4); /* 80 of 3 */
	goes_first(w, "lung", "grid");
	goes_first(w, "heart", "grid");
}

/* Inside a sector: lung has used 16 of weight 2, heart 32 of weight 5. */
static void projects_go_by_usage_per_weight(void **state)
{
	struct core_world *w = *state;

	uses(w, "lung", 2);
	uses(w, "heart", 4);
	goes_first(w, "heart", "lung");
	uses(w, "heart", 2); /* 48 of 5 */
	goes_first(w, "lung", "heart");
}

/* Four weeks halve twice what was used before them: old usage counts as a quarter beside new. */
static void old_usage_counts_less_between_sectors_and_projects(void **state)
{
	struct core_world *w = *state;

	uses(w, "heart", 8);
	goes_first(w, "grid", "lung");
	goes_first(w, "lung", "heart");
	cw_advance(w, 28 * DAY);
	uses(w, "grid", 7); /* 56 of 3 beside 16 of 1: without the four weeks, 64 of 1 */
	goes_first(w, "lung", "grid");
	uses(w, "lung", 1); /* 8 of 2 beside 16 of 5: without them, 64 of 5 */
	goes_first(w, "heart", "lung");
	goes_first(w, "grid", "lung"); /* and health has 24 of 1 by now */
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
		cmocka_unit_test_setup_teardown(sectors_go_by_usage_per_weight, start_sectors, cw_teardown),
		cmocka_unit_test_setup_teardown(projects_go_by_usage_per_weight, start_sectors, cw_teardown),
		cmocka_unit_test_setup_teardown(old_usage_counts_less_between_sectors_and_projects, start_sectors, cw_teardown),
		cmocka_unit_test_setup_teardown(a_full_list_of_users_drops_the_least, start, cw_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
