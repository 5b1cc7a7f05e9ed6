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

#include "daemon/core/state.h"
#include "proto/base/ensure.h"
#include "tests/lib/core_world.h"

#define HOUR MS_PER_HOUR
#define MIN MS_PER_MIN

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

static bool lent_on(struct core_world *w, const struct require *requires, uint32_t n, int64_t notice_ms)
{
	struct command cmd = cw_submit_cmd(w, w->bob, "heart", 1, 24 * HOUR);
	struct require copy[2];
	uint64_t id;

	memcpy(copy, requires, n * sizeof *copy);
	cmd.job_submit.spec.loan = LOAN_ONLY;
	cmd.job_submit.spec.notice_ms = notice_ms;
	cmd.job_submit.spec.requires = copy;
	cmd.job_submit.spec.requires_n = n;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	if (cw_job_state(w, id) == JOB_RUNNING)
		return true;
	assert_int_equal(cw_reason(w, id), REASON_LOAN_NOTICE);
	return false;
}

/* Two whole nodes are promised within a minute. In sums there is room for many slow loans of one device; on the
 * third node one of them would leave a single whole node: where it lands decides. */
static void slow_loans_leave_the_whole_nodes_that_are_promised(void **state)
{
	static const struct require us = {"jurisdiction", "US"}, eu2[] = {{"jurisdiction", "EU"}, {"leaf", "leaf2"}},
				    leaf1 = {"leaf", "leaf1"};
	struct core_world *w = *state;

	cw_quota(w, CW_ACME, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_BETA, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_BETA, 0, SHAPE_NODE, 2, QTY_UNLIMITED, QTY_UNLIMITED);
	w->qnode[CW_BETA].recall_slo_ms = MIN;
	cw_apply(w);
	assert_true(lent_on(w, &us, 1, 6 * MIN));   /* n4 */
	assert_true(lent_on(w, eu2, 2, 6 * MIN));   /* n3 */
	assert_false(lent_on(w, &leaf1, 1, 6 * MIN)); /* n1 or n2 */
	assert_true(lent_on(w, &us, 1, 6 * MIN));   /* beside the first */
	assert_true(lent_on(w, &leaf1, 1, 30 * MS_PER_S)); /* back within the minute */
}

/* ---- whose nominal a loan uses -------------------------------------------------------------------------- */

static const struct alloc *alloc_of_job(const struct core_world *w, uint64_t job)
{
	return core_alloc(w->core, core_job(w->core, job)->alloc);
}

/* No unit is named for two loans; when a lender uses its own after all, its note moves to one who has some left. */
static void notes_name_each_unit_once_and_move(void **state)
{
	struct core_world *w = *state;
	uint64_t first = loan(w, 16, 2 * MIN), second = loan(w, 8, 2 * MIN), lease;

	assert_int_equal(alloc_of_job(w, first)->lenders_n, 1); /* eight are heart's own */
	assert_int_equal(alloc_of_job(w, first)->lenders[0].qnode, cw_id(w, "lung"));
	assert_int_equal(alloc_of_job(w, first)->lenders[0].units, 8);
	assert_int_equal(alloc_of_job(w, second)->lenders_n, 1); /* and in use by the first */
	assert_int_equal(alloc_of_job(w, second)->lenders[0].qnode, cw_id(w, "acme"));
	assert_int_equal(alloc_of_job(w, second)->lenders[0].units, 8);
	lease = cw_lease(w, w->acme, "acme", 6, LEASE_FIRM); /* from what is idle */
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, lease), LEASE_ACTIVE);
	assert_int_equal(cw_claims(w), 0);
	assert_int_equal(alloc_of_job(w, second)->lenders_n, 1);
	assert_int_equal(alloc_of_job(w, second)->lenders[0].qnode, cw_id(w, "beta"));
	/* with nobody left to lend, the rest is without a note; and what was told to go is nobody's debt */
	(void)cw_lease(w, w->beta, "beta", 2, LEASE_FIRM);
	cw_settle(w);
	assert_int_equal(alloc_of_job(w, second)->lenders_n, 2);
	assert_int_equal(alloc_of_job(w, second)->lenders[0].qnode, cw_id(w, "beta"));
	assert_int_equal(alloc_of_job(w, second)->lenders[0].units, 6);
	assert_int_equal(alloc_of_job(w, second)->lenders[1].qnode, cw_id(w, "acme"));
	assert_int_equal(alloc_of_job(w, second)->lenders[1].units, 2);
	manner(w, CW_STUBBORN);
	(void)cw_lease(w, w->beta, "beta", 6, LEASE_FIRM);
	cw_settle(w);
	assert_int_equal(cw_claims(w), 1);
	cw_reload(w, 0); /* the same from the records alone */
	manner(w, CW_OBEY);
	cw_settle(w);
}

/* Who is promised its own within a minute lends nothing that takes six. */
static void a_note_keeps_to_the_lenders_time(void **state)
{
	struct core_world *w = *state;
	uint64_t slow;

	w->qnode[CW_LUNG].recall_slo_ms = MIN;
	cw_apply(w);
	slow = loan(w, 12, 6 * MIN);
	assert_int_equal(alloc_of_job(w, slow)->lenders_n, 1);
	assert_int_equal(alloc_of_job(w, slow)->lenders[0].qnode, cw_id(w, "acme"));
}

/* ---- late: why, and what is done about it ---------------------------------------------------------------- */

/* All 32 devices lent to bob in jobs of `each`. */
static void loans_everywhere(struct core_world *w, uint32_t each, int64_t notice_ms)
{
	for (uint32_t i = 0; i < 32 / each; i++)
		assert_int_not_equal(loan(w, each, notice_ms), 0);
}

static uint32_t index_of(const struct core_world *w, uint32_t node)
{
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		if (w->node[i].id == node)
			return i;
	fail();
	return 0;
}

static const struct usage *usage_of(const struct core_world *w, const char *path)
{
	return core_record(w->core, RECORD_USAGE, cw_id(w, path));
}

/* A node of the claim is lost on the way: others go in its place, within the time that was promised first. */
static void a_claim_is_planned_anew_when_a_node_is_lost(void **state)
{
	struct core_world *w = *state;
	uint64_t acme, claim;
	uint32_t node;
	int64_t due;

	loans_everywhere(w, 8, 2 * MIN);
	manner(w, CW_STUBBORN);
	acme = cw_lease(w, w->acme, "acme", 8, LEASE_FIRM);
	cw_settle(w);
	claim = cw_claim_of(w, OWNER_LEASE, acme)->id;
	due = cw_claim_of(w, OWNER_LEASE, acme)->deadline_ms;
	node = index_of(w, cw_claim_of(w, OWNER_LEASE, acme)->parts[0].node);
	cw_advance(w, 5 * MIN);
	w->node[node].manner = CW_MUTE;
	assert_int_equal(cw_liveness(w, node, NODE_UNREACHABLE), 0);
	cw_settle(w);
	assert_int_equal(cw_claim_of(w, OWNER_LEASE, acme)->id, claim);
	assert_int_equal(cw_claim_of(w, OWNER_LEASE, acme)->deadline_ms, due); /* the promise stands */
	assert_int_equal(cw_claim_of(w, OWNER_LEASE, acme)->victims_n, 1);
	for (uint32_t i = 0; i < cw_claim_of(w, OWNER_LEASE, acme)->parts_n; i++)
		assert_int_not_equal(cw_claim_of(w, OWNER_LEASE, acme)->parts[i].node, w->node[node].id);
	for (uint32_t i = 1; i <= 4; i++)
		w->node[i].manner = i == node ? CW_MUTE : CW_OBEY;
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, acme), LEASE_ACTIVE);
	assert_int_equal(usage_of(w, "acme")->claims_done, 1);
	assert_int_equal(usage_of(w, "acme")->claims_late, 0);
}

/* The victim's node is not heard at the deadline: somebody else goes, the breach says where, and how late it
 * became in the end. */
static void a_victim_out_of_reach_is_replaced_at_the_deadline(void **state)
{
	struct core_world *w = *state;
	const struct breach *b;
	uint64_t acme, victim;
	uint32_t node;

	loans_everywhere(w, 8, 2 * MIN);
	manner(w, CW_STUBBORN);
	acme = cw_lease(w, w->acme, "acme", 8, LEASE_FIRM);
	cw_settle(w);
	node = index_of(w, cw_claim_of(w, OWNER_LEASE, acme)->parts[0].node);
	victim = core_alloc(w->core, cw_claim_of(w, OWNER_LEASE, acme)->victims[0].alloc)->owner;
	w->node[node].manner = CW_MUTE;
	assert_int_equal(cw_liveness(w, node, NODE_SUSPECT), 0);
	cw_advance(w, 15 * MIN - 1);
	assert_false(cw_claim_of(w, OWNER_LEASE, acme)->breached);
	cw_advance(w, 1);
	assert_true(cw_claim_of(w, OWNER_LEASE, acme)->breached);
	assert_int_equal(cw_claim_of(w, OWNER_LEASE, acme)->breach_cause, BREACH_NODE);
	assert_int_equal(cw_claim_of(w, OWNER_LEASE, acme)->breach_node, w->node[node].id);
	assert_int_equal(cw_claim_of(w, OWNER_LEASE, acme)->breach_owner, victim);
	assert_int_not_equal(cw_claim_of(w, OWNER_LEASE, acme)->parts[0].node, w->node[node].id);
	cw_advance(w, 30 * MS_PER_S);
	for (uint32_t i = 1; i <= 4; i++)
		w->node[i].manner = i == node ? CW_MUTE : CW_OBEY;
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, acme), LEASE_ACTIVE);
	assert_int_equal(usage_of(w, "acme")->claims_late, 1);
	b = &usage_of(w, "acme")->breaches[0];
	assert_int_equal(b->cause, BREACH_NODE);
	assert_int_equal(b->owner, acme);
	assert_int_equal(b->victim, victim);
	assert_int_equal(b->node, w->node[node].id);
	assert_int_equal(b->late_ms, 30 * MS_PER_S);
	assert_false(b->dropped);
	assert_int_equal(core_job(w->core, victim)->back_ms, 0); /* not its fault */
}

static uint8_t cause_when(struct core_world *w, uint64_t lease)
{
	cw_advance(w, 15 * MIN);
	assert_true(cw_claim_of(w, OWNER_LEASE, lease)->breached);
	return cw_claim_of(w, OWNER_LEASE, lease)->breach_cause;
}

/* Processes that outlive SIGKILL: reported as such, replaced, and the job is believed no more. */
static void what_cannot_be_killed_is_replaced(void **state)
{
	struct core_world *w = *state;
	uint64_t acme, alloc, victim;
	uint32_t node;

	loans_everywhere(w, 8, 2 * MIN);
	manner(w, CW_STUBBORN);
	acme = cw_lease(w, w->acme, "acme", 8, LEASE_FIRM);
	cw_settle(w);
	alloc = cw_claim_of(w, OWNER_LEASE, acme)->victims[0].alloc;
	victim = core_alloc(w->core, alloc)->owner;
	node = index_of(w, core_alloc(w->core, alloc)->parts[0].node);
	assert_int_equal(cw_report(w, node, alloc, core_alloc(w->core, alloc)->parts[0].index, UNIT_UNKILLABLE, 0), 0);
	assert_int_equal(cause_when(w, acme), BREACH_UNKILLABLE);
	assert_int_equal(cw_claim_of(w, OWNER_LEASE, acme)->breach_owner, victim);
	assert_int_equal(core_job(w->core, victim)->back_ms, 15 * MIN / 4 * 5);
	for (uint32_t i = 1; i <= 4; i++)
		w->node[i].manner = i == node ? CW_STUBBORN : CW_OBEY;
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, acme), LEASE_ACTIVE);
	/* it borrows no more from whoever was promised a quarter of an hour; the others do */
	manner(w, CW_OBEY);
	assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_RELEASE, acme), 0);
	cw_settle(w);
	cw_advance(w, 2 * MIN);
	assert_int_equal(cw_job_state(w, victim), JOB_PENDING);
	assert_int_equal(cw_reason(w, victim), REASON_LOAN_NOTICE);
}

static void a_slow_agent_is_named(void **state)
{
	struct core_world *w = *state;
	uint64_t acme, claim, alloc;

	loans_everywhere(w, 8, 2 * MIN);
	manner(w, CW_STUBBORN);
	acme = cw_lease(w, w->acme, "acme", 8, LEASE_FIRM);
	cw_settle(w);
	claim = cw_claim_of(w, OWNER_LEASE, acme)->id;
	alloc = cw_claim_of(w, OWNER_LEASE, acme)->victims[0].alloc;
	assert_int_equal(cause_when(w, acme), BREACH_AGENT);
	assert_int_equal(cw_claim_of(w, OWNER_LEASE, acme)->victims[0].alloc, alloc); /* it will come: nobody else goes */
	assert_int_equal(cw_claim_of(w, OWNER_LEASE, acme)->id, claim);
	assert_int_equal(cw_allocs(w), 4);
}

/* The division shortened what acme was promised; who borrowed before that keeps the longer notice. */
static void a_notice_longer_than_promised_is_named(void **state)
{
	struct core_world *w = *state;
	uint64_t acme;

	loans_everywhere(w, 8, 10 * MIN);
	w->qnode[CW_ACME].recall_slo_ms = MIN;
	cw_apply(w);
	acme = cw_lease(w, w->acme, "acme", 8, LEASE_FIRM);
	manner(w, CW_STUBBORN);
	cw_tick(w);
	cw_advance(w, MIN);
	assert_true(cw_claim_of(w, OWNER_LEASE, acme)->breached);
	assert_int_equal(cw_claim_of(w, OWNER_LEASE, acme)->breach_cause, BREACH_NOTICE);
	assert_int_equal(core_alloc(w->core, cw_claim_of(w, OWNER_LEASE, acme)->victims[0].alloc)->stop_at_ms,
			 w->t + 9 * MIN); /* and kept to */
	manner(w, CW_OBEY);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, acme), LEASE_ACTIVE);
}

/* Nothing to recall any more: late, on record, and served before everybody else when hardware is back. */
static void lost_hardware_is_named(void **state)
{
	struct core_world *w = *state;
	uint64_t acme;

	loans_everywhere(w, 8, 2 * MIN);
	manner(w, CW_STUBBORN);
	acme = cw_lease(w, w->acme, "acme", 8, LEASE_FIRM);
	cw_settle(w);
	manner(w, CW_MUTE);
	for (uint32_t i = 1; i <= 4; i++)
		assert_int_equal(cw_liveness(w, i, NODE_UNREACHABLE), 0);
	cw_settle(w);
	assert_int_equal(cw_claim_of(w, OWNER_LEASE, acme)->parts_n, 0);
	cw_advance(w, 15 * MIN);
	assert_true(cw_claim_of(w, OWNER_LEASE, acme)->breached);
	assert_int_equal(cw_claim_of(w, OWNER_LEASE, acme)->breach_cause, BREACH_NODE);
	cw_advance(w, HOUR);
	for (uint32_t i = 1; i <= 4; i++) {
		w->node[i].manner = CW_OBEY;
		assert_int_equal(cw_liveness(w, i, NODE_READY), 0);
	}
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, acme), LEASE_ACTIVE);
	assert_int_equal(usage_of(w, "acme")->breaches[0].late_ms, HOUR);
}

/* A claim without a plan holds on to a promise of the division. When that is taken back it ends: else its job would wait
 * for good, next to idle devices that it would have taken on loan. */
static void a_parked_claim_ends_with_its_quota(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 8, HOUR);
	uint64_t job;

	loans_everywhere(w, 8, 2 * MIN);
	manner(w, CW_STUBBORN);
	cmd.job_submit.spec.loan = LOAN_OK;
	assert_int_equal(cw_do(w, &cmd), 0);
	job = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_EARMARKED);
	manner(w, CW_MUTE);
	for (uint32_t i = 1; i <= 4; i++)
		assert_int_equal(cw_liveness(w, i, NODE_UNREACHABLE), 0);
	cw_settle(w);
	assert_int_equal(cw_claim_of(w, OWNER_JOB, job)->parts_n, 0);
	/* lost hardware takes no quota: it waits, before everybody else */
	cw_advance(w, HOUR);
	assert_int_equal(cw_job_state(w, job), JOB_EARMARKED);
	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_BETA, 0, SHAPE_NODE, 1, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	cw_settle(w);
	assert_int_equal(cw_claims(w), 0);
	assert_int_equal(cw_job_state(w, job), JOB_PENDING);
	assert_true(usage_of(w, "lung")->breaches[0].dropped); /* it was late by then, and is on record */
	for (uint32_t i = 1; i <= 4; i++) {
		w->node[i].manner = CW_OBEY;
		assert_int_equal(cw_liveness(w, i, NODE_READY), 0);
	}
	for (uint64_t id = 1; id < job; id++)
		assert_int_equal(cw_job(w, w->bob, CMD_JOB_CANCEL, id), 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	assert_int_equal(cw_alloc_of(w, OWNER_JOB, job)->klass, CLASS_LOAN);
}

/* A job that asks how its devices lie has no promise of that: without a plan it waits in line, and its quota serves others
 * meanwhile. */
static void a_claim_for_more_than_devices_is_not_parked(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 8, HOUR);
	uint64_t job;

	loans_everywhere(w, 8, 2 * MIN);
	manner(w, CW_STUBBORN);
	cmd.job_submit.spec.per_node = 4;
	cmd.job_submit.spec.loan = LOAN_NEVER;
	assert_int_equal(cw_do(w, &cmd), 0);
	job = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_EARMARKED);
	for (uint32_t i = 2; i <= 4; i++) { /* one is left: two times four on two nodes cannot be had any more */
		w->node[i].manner = CW_MUTE;
		assert_int_equal(cw_liveness(w, i, NODE_UNREACHABLE), 0);
	}
	cw_settle(w);
	assert_int_equal(cw_claims(w), 0);
	assert_int_equal(cw_job_state(w, job), JOB_PENDING);
	assert_int_equal(quota_ask(w->core, cw_id(w, "lung"), 1, SHAPE_GPU, 8, CLASS_GUARANTEED), 0);
	for (uint32_t i = 1; i <= 4; i++) {
		w->node[i].manner = CW_OBEY;
		assert_int_equal(cw_liveness(w, i, NODE_READY), 0);
	}
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
}

/* ---- less alive than promised ------------------------------------------------------------------------------- */

static bool previewed(const struct core_world *w, const char *lost, const char *step, const char *who, const char *effect)
{
	struct query q = {.type = QUERY_DEFICIT};
	struct view_deficit v;
	struct arena arena = {0};
	struct err err;
	bool found = false;

	(void)snprintf(q.name, sizeof q.name, "%s", lost);
	assert_int_equal(core_view(w->core, w->t, w->admin.principal, &q, &v, &arena, &err), 0);
	for (uint32_t i = 0; i < v.items_n; i++)
		found |= !strcmp(v.items[i].step, step) && !strcmp(v.items[i].who, who) && strstr(v.items[i].effect, effect);
	arena_done(&arena);
	return found;
}

/* A node is lost under a lease: previewed, on record with whom it hit, the declared steps hold while it lasts, the
 * lease is served first, nobody healthy is stopped for it but loans, and all is as before when it is over. */
static void a_deficit_gives_in_the_declared_order(void **state)
{
	struct core_world *w = *state;
	const struct flavor *f = core_record(w->core, RECORD_FLAVOR, 1);
	uint64_t acme = cw_lease(w, w->acme, "acme", 8, LEASE_FIRM), lung, heart, lent;
	char who[32], node[NAME_BYTES];
	uint32_t bad;

	cw_settle(w);
	bad = index_of(w, cw_alloc_of(w, OWNER_LEASE, acme)->parts[0].node);
	(void)snprintf(who, sizeof who, "lease-%" PRIu64, acme);
	(void)snprintf(node, sizeof node, "n%u", bad);
	lung = cw_submit(w, w->alice, "lung", 8, 24 * HOUR);
	cw_settle(w);
	lent = loan(w, 16, 2 * MIN);
	assert_int_not_equal(lent, 0);
	assert_int_equal(f->deficit, 0);
	assert_true(previewed(w, node, "spare", "h100", "32 live, 8 lost, 32 promised: short"));
	assert_true(previewed(w, node, "replace_broken", who, "loses 8"));
	assert_true(previewed(w, node, "slow_public_starts", "h100", "up to 12 of its 16"));
	assert_true(previewed(w, node, "recall_loans", "h100", "up to 8"));
	assert_false(previewed(w, "", "spare", "h100", ""));
	w->node[bad].manner = CW_MUTE;
	assert_int_equal(cw_liveness(w, bad, NODE_UNREACHABLE), 0);
	cw_settle(w);
	f = core_record(w->core, RECORD_FLAVOR, 1);
	assert_int_equal(f->deficit, 8);
	assert_int_equal(f->deficit_since_ms, w->t);
	assert_string_equal(f->deficit_hits, who);
	assert_true(previewed(w, "", "replace_broken", who, "loses 8"));
	/* the public side has 12 of its 16: lung holds eight, heart may start four of its own, not five */
	heart = cw_submit(w, w->bob, "heart", 5, HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, heart), JOB_PENDING);
	assert_int_equal(cw_reason(w, heart), REASON_DEFICIT);
	assert_int_equal(cw_job(w, w->bob, CMD_JOB_CANCEL, heart), 0);
	/* evidence that the devices are gone: the lease is replaced at once, from the loan */
	assert_int_equal(cw_admin_node(w, CMD_NODE_DECLARE_DEAD, bad, "burnt"), 0);
	for (uint32_t i = 1; i <= 4; i++)
		w->node[i].manner = i == bad ? CW_MUTE : CW_STUBBORN;
	cw_settle(w);
	assert_non_null(cw_claim_of(w, OWNER_LEASE, acme));
	assert_int_equal(cw_job_state(w, lent), JOB_STOPPING);
	assert_int_equal(cw_job_state(w, lung), JOB_RUNNING);
	for (uint32_t i = 1; i <= 4; i++)
		w->node[i].manner = i == bad ? CW_MUTE : CW_OBEY;
	cw_settle(w);
	assert_int_equal(cw_held(w, OWNER_LEASE, acme), 8);
	/* one more node: the lease has nowhere to go, and nobody new starts on what it waits for */
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, lung), 0);
	cw_settle(w);
	cw_advance(w, 10 * MIN); /* the cool-down */
	assert_int_equal(cw_renew(w, w->acme, acme, 1).code, 0);
	for (uint32_t i = 1; i <= 4; i++)
		if (i != bad) {
			w->node[i].manner = CW_MUTE;
			assert_int_equal(cw_liveness(w, i, NODE_UNREACHABLE), 0);
			assert_int_equal(cw_admin_node(w, CMD_NODE_DECLARE_DEAD, i, "all of them"), 0);
		}
	cw_settle(w);
	assert_int_equal(((const struct flavor *)core_record(w->core, RECORD_FLAVOR, 1))->deficit, 32);
	for (uint32_t i = 1; i <= 4; i++)
		cw_reboot(w, i);
	cw_settle(w);
	assert_int_equal(((const struct flavor *)core_record(w->core, RECORD_FLAVOR, 1))->deficit, 0);
	assert_int_equal(cw_held(w, OWNER_LEASE, acme), 8);
	cw_reload(w, 0);
}

/* While somebody entitled lacks devices, loans wait: 606. With the step left out of the order they start. */
static void no_new_loans_while_somebody_lacks_its_own(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_lease_cmd(w, w->acme, "acme", 8, LEASE_FIRM);
	CLEANUP(arena_done) struct arena arena = {0};
	struct query q = {.type = QUERY_EXPLAIN};
	struct view_explain v;
	uint64_t acme, job;
	uint32_t bad;

	cmd.lease_request.spec.units_per_replica = 8;
	assert_int_equal(cw_do(w, &cmd), 0);
	acme = w->d.result.id;
	cw_settle(w);
	bad = index_of(w, cw_alloc_of(w, OWNER_LEASE, acme)->parts[0].node);
	for (uint32_t i = 1; i <= 4; i++) /* a guaranteed device on every other node: no room for a replica */
		if (i != bad) {
			for (uint32_t k = 1; k <= 4; k++)
				if (k != i && k != bad)
					assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, k, "one at a time"), 0);
			assert_int_equal(cw_job_state(w, (job = cw_submit(w, w->bob, "heart", 1, 24 * HOUR))), JOB_PENDING);
			cw_settle(w);
			for (uint32_t k = 1; k <= 4; k++)
				if (k != i && k != bad)
					assert_int_equal(cw_admin_node(w, CMD_NODE_UNCORDON, k, ""), 0);
		}
	w->node[bad].manner = CW_MUTE;
	assert_int_equal(cw_liveness(w, bad, NODE_UNREACHABLE), 0);
	assert_int_equal(cw_admin_node(w, CMD_NODE_DECLARE_DEAD, bad, "burnt"), 0);
	cw_settle(w);
	assert_int_equal(cw_held(w, OWNER_LEASE, acme), 0);
	cmd = cw_submit_cmd(w, w->bob, "heart", 2, HOUR);
	cmd.job_submit.spec.loan = LOAN_ONLY;
	assert_int_equal(cw_do(w, &cmd), 0);
	job = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_PENDING);
	assert_int_equal(cw_reason(w, job), REASON_DEFICIT);
	q.id = job;
	assert_int_equal(core_view(w->core, w->t, 1, &q, &v, &arena, &w->err), 0);
	assert_int_equal(v.changes_n, 0); /* nor does a smaller or shorter one, so none is named */
	w->div.deficit_order = DEFICIT_SPARE | DEFICIT_REPLACE_BROKEN << 4;
	cw_apply(w);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
}

/* A node that failed a lease, or lost its devices, is not the first choice for the next try; the last it may be. */
static void a_lease_avoids_the_node_that_failed_it(void **state)
{
	struct core_world *w = *state;
	uint64_t acme = cw_lease(w, w->acme, "acme", 8, LEASE_FIRM);
	uint32_t bad;

	cw_settle(w);
	bad = index_of(w, cw_alloc_of(w, OWNER_LEASE, acme)->parts[0].node);
	cw_reboot(w, bad);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, acme), LEASE_ACTIVE);
	assert_int_equal(cw_held(w, OWNER_LEASE, acme), 8);
	assert_int_not_equal(cw_alloc_of(w, OWNER_LEASE, acme)->parts[0].node, w->node[bad].id);
	assert_int_equal(core_lease(w->core, acme)->excluded_n, 1);
	for (uint32_t i = 1; i <= 4; i++) /* only the bad one is left */
		if (i != bad)
			assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, i, "no other choice"), 0);
	cw_reboot(w, index_of(w, cw_alloc_of(w, OWNER_LEASE, acme)->parts[0].node));
	cw_settle(w);
	assert_int_equal(cw_held(w, OWNER_LEASE, acme), 8);
	assert_int_equal(cw_alloc_of(w, OWNER_LEASE, acme)->parts[0].node, w->node[bad].id);
}

/* The same for a claim whose node was lost: the node that failed it rather than none. */
static void a_parked_claim_takes_the_node_that_failed_it(void **state)
{
	struct core_world *w = *state;
	uint64_t acme = cw_lease(w, w->acme, "acme", 8, LEASE_FIRM);
	uint32_t bad, other;

	cw_settle(w);
	bad = index_of(w, cw_alloc_of(w, OWNER_LEASE, acme)->parts[0].node);
	for (uint32_t i = 1; i <= 4; i++) /* loans on all others */
		if (i != bad)
			assert_int_not_equal(loan(w, 8, 2 * MIN), 0);
	manner(w, CW_STUBBORN);
	w->node[bad].manner = CW_OBEY;
	cw_reboot(w, bad);
	cw_settle(w);
	assert_non_null(cw_claim_of(w, OWNER_LEASE, acme));
	other = index_of(w, cw_claim_of(w, OWNER_LEASE, acme)->parts[0].node);
	assert_int_not_equal(other, bad);
	manner(w, CW_MUTE);
	w->node[bad].manner = CW_OBEY;
	for (uint32_t i = 1; i <= 4; i++)
		if (i != bad)
			assert_int_equal(cw_liveness(w, i, NODE_UNREACHABLE), 0);
	cw_settle(w);
	assert_int_equal(cw_held(w, OWNER_LEASE, acme), 8);
	assert_int_equal(cw_alloc_of(w, OWNER_LEASE, acme)->parts[0].node, w->node[bad].id);
}

/* Whoever is recalled borrows no more for a minute, then two, four, …: from the claims of the last hour. */
static void a_cool_down_doubles_and_is_forgotten(void **state)
{
	struct core_world *w = *state;
	uint64_t acme = cw_lease(w, w->acme, "acme", 1, LEASE_FIRM), seq = 0;

	cw_settle(w);
	for (uint32_t i = 0; i < 31; i++)
		assert_int_not_equal(loan(w, 1, 0), 0);
	for (int n = 0; n < 3; n++) {
		uint64_t job = 0;

		assert_int_equal(cw_resize(w, w->acme, acme, (uint32_t)(2 + n)), 0);
		cw_settle(w);
		assert_int_equal(cw_held(w, OWNER_LEASE, acme), 2 + n);
		for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_JOB, id)) != 0;)
			if (cw_job_state(w, id) == JOB_PENDING)
				job = id;
		assert_int_not_equal(job, 0);
		assert_int_equal(cw_resize(w, w->acme, acme, 1), 0); /* room again, and yet it waits */
		cw_settle(w);
		assert_int_equal(cw_job_state(w, job), JOB_PENDING);
		assert_int_equal(cw_reason(w, job), REASON_COOLDOWN);
		cw_advance(w, (MIN << n) - 1);
		assert_int_equal(cw_job_state(w, job), JOB_PENDING);
		cw_advance(w, 1);
		assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
		assert_int_equal(cw_renew(w, w->acme, acme, ++seq).code, 0);
	}
	for (int i = 0; i < 7; i++) { /* an hour */
		cw_advance(w, 10 * MIN);
		assert_int_equal(cw_renew(w, w->acme, acme, ++seq).code, 0);
	}
	assert_int_equal(cw_resize(w, w->acme, acme, 2), 0);
	cw_settle(w);
	assert_int_equal(cw_resize(w, w->acme, acme, 1), 0);
	cw_advance(w, MIN);
	assert_int_equal(cw_allocs(w), 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(a_slow_loan_is_lent_what_nobody_needs_sooner),
		STORY(a_lease_that_cannot_be_bound_is_not_granted),
		STORY(replicas_do_not_take_whole_nodes_promised),
		STORY(slow_loans_leave_the_whole_nodes_that_are_promised),
		STORY(notes_name_each_unit_once_and_move),
		STORY(a_note_keeps_to_the_lenders_time),
		STORY(a_claim_is_planned_anew_when_a_node_is_lost),
		STORY(a_victim_out_of_reach_is_replaced_at_the_deadline),
		STORY(what_cannot_be_killed_is_replaced),
		STORY(a_slow_agent_is_named),
		STORY(a_notice_longer_than_promised_is_named),
		STORY(lost_hardware_is_named),
		STORY(a_parked_claim_ends_with_its_quota),
		STORY(a_claim_for_more_than_devices_is_not_parked),
		STORY(a_deficit_gives_in_the_declared_order),
		STORY(no_new_loans_while_somebody_lacks_its_own),
		STORY(a_lease_avoids_the_node_that_failed_it),
		STORY(a_parked_claim_takes_the_node_that_failed_it),
		STORY(a_cool_down_doubles_and_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
