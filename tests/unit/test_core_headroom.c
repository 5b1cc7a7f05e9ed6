/* test_core_headroom.c - devices that are not lent, because a lease is likely to want them soon
 *
 * Without it a job of a day gets the device that a lease gave back a minute ago and wants again in ten, and loses what it did.
 * With too much of it devices stand idle. Neither a lease nor guaranteed work may ever wait for it.
 */
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
#define MIN MS_PER_MIN

static uint64_t lease(struct core_world *w, uint32_t units, uint8_t klass)
{
	struct command cmd = cw_lease_cmd(w, w->acme, "acme", units, klass);

	cmd.lease_request.spec.ttl_ms = cmd.lease_request.spec.term_ms = 1000 * HOUR; /* nobody renews here */
	assert_int_equal(cw_do(w, &cmd), 0);
	return w->d.result.id;
}

static uint64_t loan(struct core_world *w, uint32_t units, int64_t limit_ms)
{
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", units, limit_ms);

	cmd.job_submit.spec.loan = LOAN_ONLY;
	assert_int_equal(cw_do(w, &cmd), 0);
	return w->d.result.id;
}

/* For hours a lease has three devices more for a quarter of an hour of every half: kept are three. */
static uint64_t wave(struct core_world *w)
{
	uint64_t id = lease(w, 2, LEASE_FIRM);

	w->div.lend_risk_ppm = 200000;
	cw_apply(w);
	for (int i = 0; i < 12; i++) {
		cw_advance(w, 15 * MIN);
		assert_int_equal(cw_resize(w, w->acme, id, i % 2 ? 2 : 5), 0);
		cw_settle(w);
	}
	cw_advance(w, 6 * MIN);
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 2);
	assert_int_equal(headroom_kept(w->core, 1, T_NEVER), 3);
	return id;
}

/* The long loan leaves what the lease will want; a job that is gone before then may have it. The lease grows at once, and
 * nobody is recalled for it. */
static void a_device_is_lent_for_as_long_as_it_is_idle(void **state)
{
	struct core_world *w = *state;
	uint64_t id = wave(w), most = loan(w, 27, 24 * HOUR), more = loan(w, 1, 24 * HOUR), brief;
	struct query q = {.type = QUERY_EXPLAIN, .id = more};
	struct view_explain v;
	struct arena arena = {0};
	struct err err;

	cw_settle(w);
	assert_int_equal(cw_job_state(w, most), JOB_RUNNING);
	assert_int_equal(cw_job_state(w, more), JOB_PENDING);
	assert_int_equal(cw_reason(w, more), REASON_HEADROOM);
	assert_int_equal(core_view(w->core, w->t, 1, &q, &v, &arena, &err), 0);
	assert_int_equal(v.reasons_n, 1);
	assert_string_equal(v.reasons[0].text, "3 of h100 are kept for leases that may grow before it ends");
	brief = loan(w, 1, 8 * MIN);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, brief), JOB_RUNNING);
	cw_exit(w, brief, 0);
	assert_int_equal(cw_resize(w, w->acme, id, 5), 0);
	cw_tick(w);
	assert_int_equal(cw_claims(w), 0);
	cw_settle(w);
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 5);
	arena_done(&arena);
}

/* Headroom is a rule about loans alone. */
static void guaranteed_work_takes_what_is_kept(void **state)
{
	struct core_world *w = *state;
	uint64_t job;

	(void)wave(w);
	(void)loan(w, 27, 24 * HOUR);
	cw_settle(w);
	job = cw_submit(w, w->bob, "heart", 3, 24 * HOUR);
	cw_tick(w);
	assert_int_equal(cw_claims(w), 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
}

/* A lease on loan stays until it is recalled, so it is no better than a long job. */
static void a_loan_lease_does_not_get_it(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	uint64_t id;

	(void)wave(w);
	(void)loan(w, 26, 24 * HOUR);
	cw_settle(w);
	cmd = cw_lease_cmd(w, w->beta, "beta", 2, LEASE_LOAN);
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, id), LEASE_REQUESTED);
	assert_int_equal(lease_of(w->core, id)->reason, REASON_HEADROOM);
	w->div.lend_risk_ppm = 1000000; /* whoever lends at any risk lends it */
	cw_apply(w);
	cw_settle(w);
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 2);
}

/* Extra units go at once and lose nothing: they may have what is kept, and count as free. */
static void extras_have_it_meanwhile(void **state)
{
	struct core_world *w = *state;
	uint64_t id = wave(w), job;
	struct command cmd = cw_submit_cmd(w, w->bob, "heart", 4, 24 * HOUR);

	cmd.job_submit.spec.units_max = 30;
	assert_int_equal(cw_do(w, &cmd), 0);
	job = w->d.result.id;
	cw_settle(w);
	assert_int_equal(job_of(w->core, job)->extra_units, 26);
	assert_true(headroom_may(w->core, 1, 23, T_NEVER));
	assert_false(headroom_may(w->core, 1, 24, T_NEVER));
	assert_int_equal(cw_resize(w, w->acme, id, 5), 0);
	cw_settle(w);
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 5);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
}

/* It is in the records: a restart keeps the same, and forgets it as slowly. */
static void risk(struct core_world *w, uint32_t ppm)
{
	struct cluster now = *core_cluster(w->core);

	now.lend_risk_ppm = ppm;
	core_apply(w->core, &(struct fact){.kind = RECORD_CLUSTER, .id = 1, .cluster = &now});
}

/* Whoever waits for what is kept does not lack devices: meanwhile the surplus is an elastic job's. */
static void who_waits_for_it_holds_nobody_up(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	uint64_t job, big;

	(void)wave(w);
	assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, 4, "test"), 0); /* there is more quota than devices */
	risk(w, 1000000);
	assert_int_equal(headroom_kept(w->core, 1, 12 * HOUR), 0);
	cmd = cw_submit_cmd(w, w->alice, "lung", 4, 24 * HOUR);
	cmd.job_submit.spec.units_max = 16;
	assert_int_equal(cw_do(w, &cmd), 0);
	job = w->d.result.id;
	big = loan(w, 19, 24 * HOUR);
	cw_settle(w);
	assert_int_equal(cw_reason(w, big), REASON_NO_SHAPE);
	assert_int_equal(job_of(w->core, job)->extra_units, 0);
	risk(w, 200000);
	cw_tick(w);
	assert_int_equal(headroom_kept(w->core, 1, 12 * HOUR), 3);
	assert_int_equal(job_of(w->core, job)->extra_units, 12);
}

static void a_restart_forgets_nothing(void **state)
{
	struct core_world *w = *state;

	(void)wave(w);
	cw_reload(w, 2 * MIN);
	assert_int_equal(headroom_kept(w->core, 1, T_NEVER), 3);
	cw_advance(w, HOUR);
	assert_int_equal(headroom_kept(w->core, 1, T_NEVER), 3);
}

/* Growth that is not seen any more is kept for no longer, and whoever waited for it starts. */
static void what_is_not_wanted_any_more_is_lent(void **state)
{
	struct core_world *w = *state;
	uint64_t most, more;

	(void)wave(w);
	most = loan(w, 27, 900 * HOUR);
	more = loan(w, 1, 900 * HOUR);
	cw_advance(w, HOUR);
	assert_int_equal(cw_job_state(w, most), JOB_RUNNING);
	assert_int_equal(cw_job_state(w, more), JOB_PENDING);
	cw_advance(w, 72 * HOUR);
	assert_int_equal(headroom_kept(w->core, 1, T_NEVER), 0);
	assert_int_equal(cw_job_state(w, more), JOB_RUNNING);
	assert_int_equal(w->core->scratch->headroom_due, 0); /* and nothing is written of it any more */
}

/* More than the private side is entitled to nobody can want back; what the division keeps it keeps from the first day. */
static void kept_is_what_leases_may_still_have(void **state)
{
	struct core_world *w = *state;
	uint64_t id;

	w->flavor[0].headroom = 5;
	cw_apply(w);
	assert_int_equal(headroom_kept(w->core, 1, MIN), 5);
	id = lease(w, 8, LEASE_FIRM);
	cw_settle(w);
	assert_int_equal(headroom_kept(w->core, 1, MIN), 5);
	w->flavor[0].headroom = 12;
	cw_apply(w);
	assert_int_equal(headroom_kept(w->core, 1, MIN), 8); /* sixteen are the private side's, eight it has */
	assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_RELEASE, id), 0);
	cw_settle(w);
	assert_int_equal(headroom_kept(w->core, 1, MIN), 12);
}

#define TEST(name) STORY(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_device_is_lent_for_as_long_as_it_is_idle),
		TEST(guaranteed_work_takes_what_is_kept),
		TEST(a_loan_lease_does_not_get_it),
		TEST(extras_have_it_meanwhile),
		TEST(who_waits_for_it_holds_nobody_up),
		TEST(a_restart_forgets_nothing),
		TEST(what_is_not_wanted_any_more_is_lent),
		TEST(kept_is_what_leases_may_still_have),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
