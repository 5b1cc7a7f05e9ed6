/* test_core_recall.c - what may be lent, what comes back in time, and who goes for it
 *
 * Without these a loan could be given that cannot be back when its lender was promised, a lease be granted that
 * cannot be bound, or a promise be broken without a trace of why.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/ensure.h"
#include "tests/lib/core_world.h"

#define HOUR MS_PER_HOUR
#define MIN MS_PER_MIN

static int start(void **state)
{
	static struct core_world w;

	cw_start(&w);
	*state = &w;
	return 0;
}
static int end(void **state)
{
	cw_close(*state);
	return 0;
}
#define STORY(name) cmocka_unit_test_setup_teardown(name, start, end)

static void manner(struct core_world *w, uint8_t how)
{
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = how;
}

/* A job of heart that may only be a loan; 0 if it does not run. */
static uint64_t loan(struct core_world *w, uint32_t units, int64_t notice_ms)
{
	struct command cmd = cw_submit_cmd(w, w->bob, "heart", units, 24 * HOUR);
	uint64_t id;

	cmd.job_submit.spec.loan = LOAN_ONLY;
	cmd.job_submit.spec.notice_ms = notice_ms;
	if (cw_do(w, &cmd))
		return 0;
	id = w->d.result.id;
	cw_settle(w);
	if (cw_job_state(w, id) == JOB_RUNNING)
		return id;
	assert_int_equal(cw_reason(w, id), REASON_LOAN_NOTICE);
	assert_int_equal(cw_job(w, w->bob, CMD_JOB_CANCEL, id), 0);
	cw_settle(w);
	return 0;
}

/* ---- the certificate -------------------------------------------------------------------------------- */

/* One provider wants its eight back within a minute. Loans that take six minutes are no danger to it while
 * eight others are idle or back sooner; the one that would leave seven is refused. */
static void a_slow_loan_is_lent_what_nobody_needs_sooner(void **state)
{
	struct core_world *w = *state;
	uint64_t acme;

	w->qnode[CW_ACME].recall_slo_ms = MIN;
	cw_apply(w);
	for (uint32_t i = 0; i < 24 / 4; i++)
		assert_int_not_equal(loan(w, 4, 6 * MIN), 0);
	assert_int_equal(loan(w, 1, 6 * MIN), 0);
	assert_int_not_equal(loan(w, 1, 30 * MS_PER_S), 0); /* back in time: lent */
	assert_int_equal(loan(w, 1, 20 * MIN), 0); /* nobody lends for that long */
	/* and the promise holds: acme's eight are there within its minute, from the idle and the fast one */
	manner(w, CW_STUBBORN);
	acme = cw_lease(w, w->acme, "acme", 8, LEASE_FIRM);
	cw_settle(w);
	if (cw_claim_of(w, OWNER_LEASE, acme))
		for (uint32_t i = 0; i < cw_claim_of(w, OWNER_LEASE, acme)->victims_n; i++)
			assert_true(core_alloc(w->core, cw_claim_of(w, OWNER_LEASE, acme)->victims[i].alloc)->notice_ms <
				    MIN);
	manner(w, CW_OBEY);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, acme), LEASE_ACTIVE);
	assert_int_equal(cw_held(w, OWNER_LEASE, acme), 8);
}

/* Single guaranteed devices on every node: no replica of a whole node can be had, whatever is recalled. */
static void a_lease_that_cannot_be_bound_is_not_granted(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_lease_cmd(w, w->acme, "acme", 8, LEASE_FIRM);
	struct query q = {.type = QUERY_EXPLAIN};
	struct view_explain v;
	struct arena arena = {0};
	struct err err;
	uint64_t lease, job[4], small;

	for (uint32_t i = 1; i <= 4; i++) {
		for (uint32_t k = 1; k <= 4; k++)
			if (k != i)
				assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, k, "one at a time"), 0);
		job[i - 1] = cw_submit(w, w->bob, "heart", 1, 24 * HOUR);
		cw_settle(w);
		assert_int_equal(cw_job_state(w, job[i - 1]), JOB_RUNNING);
		for (uint32_t k = 1; k <= 4; k++)
			if (k != i)
				assert_int_equal(cw_admin_node(w, CMD_NODE_UNCORDON, k, ""), 0);
	}
	cmd.lease_request.spec.units_per_replica = 8;
	assert_int_equal(cw_do(w, &cmd), 0);
	lease = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, lease), LEASE_REQUESTED);
	(void)snprintf(q.name, sizeof q.name, "lease");
	q.id = lease;
	assert_int_equal(core_view(w->core, w->t, w->admin.principal, &q, &v, &arena, &err), 0);
	assert_int_equal(v.leases[0].reason, REASON_FRAGMENTED);
	assert_non_null(strstr(v.leases[0].reason_text, "1 more of 8 h100 on one node cannot be freed within 900 s"));
	arena_done(&arena);
	/* replicas of four fit; growing by more than fit is refused at once, with the same words */
	cmd.lease_request.spec.units = cmd.lease_request.spec.units_per_replica = 4;
	assert_int_equal(cw_do(w, &cmd), 0);
	small = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, small), LEASE_ACTIVE);
	assert_int_equal(cw_resize(w, w->acme, small, 8), 0);
	cw_settle(w);
	assert_int_equal(cw_held(w, OWNER_LEASE, small), 8);
	assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_RELEASE, small), 0);
	cw_settle(w);
	/* a node whose job ends is whole again: now the first one starts */
	assert_int_equal(cw_job(w, w->bob, CMD_JOB_CANCEL, job[2]), 0);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, lease), LEASE_ACTIVE);
	cmd.lease_request.spec.units = 0;
	w->qnode[CW_ACME].leases_max = 0;
	cw_quota(w, CW_ACME, 0, SHAPE_GPU, 16, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	assert_int_equal(cw_resize(w, w->acme, lease, 16), ERR_NOROOM);
	assert_int_equal(w->err.reason, REASON_FRAGMENTED);
	assert_non_null(strstr(w->err.msg, "of 8 h100 on one node"));
	assert_true(w->err.hint[0]);
}

/* Whole nodes promised to one, lent out in single devices: another's replicas may not take them for good. */
static void replicas_do_not_take_whole_nodes_promised(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_lease_cmd(w, w->acme, "acme", 16, LEASE_FIRM);
	uint64_t lease;

	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_HEART, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_BETA, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_BETA, 0, SHAPE_NODE, 2, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_ACME, 0, SHAPE_GPU, 16, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, 4, "broken fan"), 0);
	cmd.lease_request.spec.units_per_replica = 8;
	assert_int_equal(cw_do(w, &cmd), 0);
	lease = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, lease), LEASE_REQUESTED); /* three nodes are up, two are beta's */
	assert_int_equal(cw_admin_node(w, CMD_NODE_UNCORDON, 4, ""), 0);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, lease), LEASE_ACTIVE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(a_slow_loan_is_lent_what_nobody_needs_sooner),
		STORY(a_lease_that_cannot_be_bound_is_not_granted),
		STORY(replicas_do_not_take_whole_nodes_promised),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
