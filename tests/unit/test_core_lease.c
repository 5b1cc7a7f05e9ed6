/* test_core_lease.c - the life of leases, told through commands
 *
 * Without these a provider's promise could be broken by a clock, a restart, a repeated message or a
 * neighbour, or be kept for ever by nobody. core_check() is walked after every single command.
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

static uint64_t active_lease(struct core_world *w, uint32_t units)
{
	uint64_t id = cw_lease(w, w->acme, "acme", units, LEASE_FIRM);

	cw_settle(w);
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	return id;
}

/* An obedient holder: renews every five minutes for `ms`. */
static void renewing(struct core_world *w, uint64_t id, int64_t ms, uint64_t *seq)
{
	for (; ms > 0; ms -= 5 * MIN) {
		cw_advance(w, ms < 5 * MIN ? ms : 5 * MIN);
		assert_int_equal(cw_renew(w, w->acme, id, ++*seq).code, 0);
	}
}

static void manner(struct core_world *w, uint8_t how)
{
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = how;
}

/* All 32 devices on loan to bob, in jobs of `each`. */
static void loans_everywhere(struct core_world *w, uint32_t each)
{
	for (uint32_t i = 0; i < 32 / each; i++) {
		struct command cmd = cw_submit_cmd(w, w->bob, "heart", each, 24 * HOUR);

		cmd.job_submit.spec.loan = LOAN_ONLY;
		assert_int_equal(cw_do(w, &cmd), 0);
	}
	cw_settle(w);
	assert_int_equal(cw_allocs(w), 32 / each);
}

/* ---- the table of states --------------------------------------------------- */

static void auto_accept_goes_straight_to_active(void **state)
{
	struct core_world *w = *state;
	uint64_t id = cw_lease(w, w->acme, "acme", 4, LEASE_FIRM);
	const struct lease *l;

	assert_int_equal(cw_lease_state(w, id), LEASE_REQUESTED);
	cw_tick(w);
	assert_int_equal(cw_lease_state(w, id), LEASE_BINDING);
	assert_int_equal(core_lease(w->core, id)->fence, 0);
	cw_settle(w);
	l = core_lease(w->core, id);
	assert_int_equal(l->state, LEASE_ACTIVE);
	assert_int_equal(l->fence, cw_alloc_of(w, OWNER_LEASE, id)->id);
	assert_int_equal(l->term_end_ms, w->t + 30 * MS_PER_DAY);
	assert_int_equal(core_renewal(w->core, id)->expires_live_ms, w->t + 15 * MIN);
	assert_int_equal(cw_alloc_of(w, OWNER_LEASE, id)->klass, CLASS_GUARANTEED);
}

static uint64_t offered(struct core_world *w, uint32_t units, uint8_t klass)
{
	struct command cmd = cw_lease_cmd(w, w->acme, "acme", units, klass);
	uint64_t id;

	cmd.lease_request.spec.auto_accept = false;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	return id;
}

static void an_offer_holds_its_devices_until_accepted(void **state)
{
	struct core_world *w = *state;
	uint64_t id, thief;

	cw_quota(w, CW_ACME, 0, SHAPE_GPU, 32, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_HEART, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_BETA, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	id = offered(w, 32, LEASE_FIRM);
	assert_int_equal(cw_lease_state(w, id), LEASE_OFFERED);
	assert_int_equal(core_lease(w->core, id)->offer_until_ms, w->t + 10 * MIN);
	assert_int_equal(cw_claims(w), 1);
	{
		struct command cmd = cw_submit_cmd(w, w->bob, "heart", 1, HOUR);

		cmd.job_submit.spec.loan = LOAN_ONLY;
		assert_int_equal(cw_do(w, &cmd), 0);
		thief = w->d.result.id;
	}
	cw_settle(w);
	assert_int_equal(cw_job_state(w, thief), JOB_PENDING);
	assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_ACCEPT, id), 0);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 32);
	assert_int_equal(cw_claims(w), 0);
	assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_ACCEPT, id), ERR_STATE);
}

static void an_offer_declined_or_forgotten_is_withdrawn(void **state)
{
	struct core_world *w = *state;
	uint64_t no = offered(w, 4, LEASE_FIRM), late = offered(w, 4, LEASE_FIRM);

	assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_DECLINE, no), 0);
	assert_int_equal(cw_lease_state(w, no), LEASE_WITHDRAWN);
	cw_advance(w, 10 * MIN - 1);
	assert_int_equal(cw_lease_state(w, late), LEASE_OFFERED);
	cw_advance(w, 1);
	assert_int_equal(cw_lease_state(w, late), LEASE_WITHDRAWN);
	assert_int_equal(cw_claims(w), 0);
	assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_ACCEPT, late), ERR_GONE);
	assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_DECLINE, no), ERR_GONE);
}

/* Nobody is told to go for an offer that may be declined; on acceptance they are. */
static void an_offer_over_loans_recalls_only_when_accepted(void **state)
{
	struct core_world *w = *state;
	uint64_t id;
	uint32_t stopping = 0;

	loans_everywhere(w, 4);
	id = offered(w, 8, LEASE_FIRM);
	assert_int_equal(cw_lease_state(w, id), LEASE_OFFERED);
	for (uint64_t a = 0; (a = core_next_id(w->core, RECORD_ALLOC, a)) != 0;)
		assert_int_equal(core_alloc(w->core, a)->state, ALLOC_ACTIVE);
	manner(w, CW_STUBBORN);
	assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_ACCEPT, id), 0);
	assert_int_equal(cw_lease_state(w, id), LEASE_GRANTED);
	for (uint64_t a = 0; (a = core_next_id(w->core, RECORD_ALLOC, a)) != 0;)
		stopping += core_alloc(w->core, a)->state == ALLOC_STOPPING;
	assert_int_equal(stopping, 2);
	assert_int_equal(cw_claim_of(w, OWNER_LEASE, id)->deadline_ms, w->t + 15 * MIN);
	manner(w, CW_OBEY);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
}

/* While the offer is open the loan it counts on becomes entitled to its place: it must stay a loan until
 * the offer is decided, and accepting must work. */
static void a_loan_on_offer_is_not_promoted(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	uint64_t own = cw_submit(w, w->bob, "heart", 8, 24 * HOUR), loan, id;

	cw_settle(w);
	cmd = cw_submit_cmd(w, w->bob, "heart", 8, 24 * HOUR);
	cmd.job_submit.spec.loan = LOAN_OK;
	assert_int_equal(cw_do(w, &cmd), 0);
	loan = w->d.result.id;
	cmd = cw_submit_cmd(w, w->alice, "lung", 16, 24 * HOUR);
	cmd.job_submit.spec.loan = LOAN_ONLY;
	cmd.job_submit.spec.klass = JOB_URGENT;
	cmd.job_submit.spec.exempt_ms = MIN;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	assert_int_equal(cw_alloc_of(w, OWNER_JOB, loan)->klass, CLASS_LOAN);
	id = offered(w, 8, LEASE_FIRM);
	assert_int_equal(cw_lease_state(w, id), LEASE_OFFERED);
	assert_int_equal(cw_claim_of(w, OWNER_LEASE, id)->victims_n, 1);
	cw_exit(w, own, 0);
	assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_ACCEPT, id), 0);
	cw_settle(w);
	cw_advance(w, 3 * MIN);
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	assert_int_equal(cw_job_state(w, loan), JOB_RUNNING);
}

/* A loan lease, offered: it recalls nobody, and counts as a loan in the books from the offer on. */
static void an_offered_loan_lease_recalls_nobody(void **state)
{
	struct core_world *w = *state;
	uint64_t id;

	loans_everywhere(w, 4);
	id = offered(w, 8, LEASE_LOAN);
	assert_int_equal(cw_lease_state(w, id), LEASE_REQUESTED);
	assert_int_equal(cw_claims(w), 0);
	for (uint64_t j = 0; (j = core_next_id(w->core, RECORD_JOB, j)) != 0;)
		assert_int_equal(cw_job(w, w->bob, CMD_JOB_CANCEL, j), 0);
	cw_settle(w);
	cw_advance(w, MIN);
	assert_int_equal(cw_lease_state(w, id), LEASE_OFFERED);
	/* the offered loan does not eat acme's own quota: a firm lease of all of it fits beside */
	assert_int_equal(cw_lease_state(w, active_lease(w, 8)), LEASE_ACTIVE);
	assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_ACCEPT, id), 0);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	assert_int_equal(cw_alloc_of(w, OWNER_LEASE, id)->klass, CLASS_LOAN);
}

static void release_gives_back_on_evidence_only(void **state)
{
	struct core_world *w = *state;
	uint64_t id = active_lease(w, 4);

	manner(w, CW_STUBBORN);
	assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_RELEASE, id), 0);
	assert_int_equal(cw_lease_state(w, id), LEASE_RELEASING);
	assert_int_equal(cw_alloc_of(w, OWNER_LEASE, id)->stop_at_ms, w->t + MIN);
	assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_RELEASE, id), 0); /* again: no error */
	cw_advance(w, HOUR);
	assert_int_equal(cw_lease_state(w, id), LEASE_RELEASING); /* time frees nothing */
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 4);
	manner(w, CW_OBEY);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, id), LEASE_RELEASED);
	assert_int_equal(cw_allocs(w), 0);
	assert_int_equal(cw_renew(w, w->acme, id, 99).code, ERR_GONE);
}

static void only_a_loan_can_be_revoked_by_one_admin(void **state)
{
	struct core_world *w = *state;
	uint64_t firm = active_lease(w, 2), loan = cw_lease(w, w->acme, "acme", 4, LEASE_LOAN), queued;

	cw_settle(w);
	assert_int_equal(cw_lease_op(w, w->admin, CMD_LEASE_REVOKE, firm), 0); /* proposed: test_core_approval.c */
	assert_int_not_equal(w->d.result.approval, 0);
	assert_int_equal(cw_lease_op(w, w->admin, CMD_LEASE_REVOKE, loan), 0);
	assert_int_equal(cw_lease_state(w, loan), LEASE_REVOKING);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, loan), LEASE_REVOKED);
	queued = cw_lease(w, w->acme, "acme", 32, LEASE_LOAN);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, queued), LEASE_REQUESTED);
	assert_int_equal(cw_lease_op(w, w->admin, CMD_LEASE_REVOKE, queued), 0);
	assert_int_equal(cw_lease_state(w, queued), LEASE_REVOKED); /* it held nothing */
	assert_int_equal(cw_lease_state(w, firm), LEASE_ACTIVE);
}

/* An agent nacks: the lease tries again after a while, and is not lost. */
static void a_failed_bind_is_tried_again(void **state)
{
	struct core_world *w = *state;
	uint64_t id;

	manner(w, CW_NACK);
	id = cw_lease(w, w->acme, "acme", 4, LEASE_FIRM);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, id), LEASE_BINDING);
	assert_int_equal(core_lease(w->core, id)->bind_failures, 1);
	assert_int_equal(cw_allocs(w), 0);
	manner(w, CW_OBEY);
	cw_advance(w, MIN);
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	assert_int_equal(core_lease(w->core, id)->bind_failures, 0);
}

/* ---- renewals -------------------------------------------------------------------------------- */

static void a_renewal_moves_the_deadline_and_never_back(void **state)
{
	struct core_world *w = *state;
	uint64_t id = active_lease(w, 4);
	int64_t born = w->t;
	struct renew_result r;
	struct command cmd;
	struct lease_renew_item item;

	cw_advance(w, 5 * MIN);
	r = cw_renew(w, w->acme, id, 1);
	assert_int_equal(r.code, 0);
	assert_int_equal(r.ttl_ms, 15 * MIN);
	assert_int_equal(r.units, 4);
	assert_int_equal(r.units_target, 4);
	assert_int_equal(r.recall_in_ms, -1);
	assert_int_equal(r.term_left_ms, born + 30 * MS_PER_DAY - w->t);
	assert_in_range(r.renew_after_ms, 5 * MIN * 9 / 10, 5 * MIN * 11 / 10);
	assert_int_equal(core_renewal(w->core, id)->expires_live_ms, w->t + 15 * MIN);
	/* a shorter wish does not shorten what was promised; a longer one is cut to the ttl */
	item = (struct lease_renew_item){id, core_lease(w->core, id)->fence, 2, MIN};
	cmd = cw_cmd(w, w->acme, CMD_LEASE_RENEW);
	cmd.lease_renew.items = &item;
	cmd.lease_renew.items_n = 1;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(core_renewal(w->core, id)->expires_live_ms, w->t + 15 * MIN);
	item.renew_seq = 3;
	item.ttl_ms = HOUR;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(core_renewal(w->core, id)->expires_live_ms, w->t + 15 * MIN);
}

static void fence_and_sequence_guard_the_renewal(void **state)
{
	struct core_world *w = *state;
	uint64_t id = active_lease(w, 4);
	struct command cmd = cw_cmd(w, w->acme, CMD_LEASE_RENEW);
	struct lease_renew_item item[4] = {{0}};
	int64_t expires;

	assert_int_equal(cw_renew(w, w->acme, id, 5).code, 0);
	expires = core_renewal(w->core, id)->expires_live_ms;
	cw_advance(w, 3 * MIN);
	item[0] = (struct lease_renew_item){id, core_lease(w->core, id)->fence + 1, 6, 0};
	item[1] = (struct lease_renew_item){id, core_lease(w->core, id)->fence, 4, 0};
	item[2] = (struct lease_renew_item){id, core_lease(w->core, id)->fence, 5, 0}; /* a repeat */
	item[3] = (struct lease_renew_item){777, 1, 1, 0};
	cmd.lease_renew.items = item;
	cmd.lease_renew.items_n = 4;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(w->d.result.renewals_n, 4);
	assert_int_equal(w->d.result.renewals[0].code, ERR_STALE_FENCE);
	assert_int_equal(w->d.result.renewals[1].code, ERR_STALE);
	assert_int_equal(w->d.result.renewals[2].code, 0);
	assert_int_equal(w->d.result.renewals[2].ttl_ms, 12 * MIN); /* what is left of the first answer */
	assert_int_equal(w->d.result.renewals[3].code, ERR_NOTFOUND);
	assert_int_equal(core_renewal(w->core, id)->expires_live_ms, expires);
	/* somebody else's key renews nothing */
	assert_int_equal(cw_renew(w, w->beta, id, 9).code, ERR_DENIED);
	assert_int_equal(core_renewal(w->core, id)->expires_live_ms, expires);
	/* twice in one message: the second is a repeat */
	item[0] = item[1] = (struct lease_renew_item){id, core_lease(w->core, id)->fence, 6, 0};
	cmd.lease_renew.items_n = 2;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(core_renewal(w->core, id)->renewals, 2);
	cmd.lease_renew.items_n = 0;
	assert_int_equal(cw_do(w, &cmd), ERR_RANGE);
}

/* peers' failure 6: one millisecond before the deadline, and one after; delayed, doubled, out of order. */
static void peers_6_renewals_around_the_deadline(void **state)
{
	struct core_world *w = *state;
	uint64_t id = active_lease(w, 4);

	cw_advance(w, 15 * MIN - 1);
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	assert_int_equal(cw_renew(w, w->acme, id, 1).code, 0); /* 1 ms before: simply renewed */
	cw_advance(w, 15 * MIN);
	assert_int_equal(cw_lease_state(w, id), LEASE_GRACE);
	assert_int_equal(cw_resize(w, w->acme, id, 6), ERR_STATE); /* no growth in grace */
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 4);	    /* work goes on */
	cw_advance(w, 1);
	assert_int_equal(cw_renew(w, w->acme, id, 3).code, 0); /* 1 ms after: back from grace */
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	assert_int_equal(cw_renew(w, w->acme, id, 3).code, 0);		/* doubled */
	assert_int_equal(cw_renew(w, w->acme, id, 2).code, ERR_STALE); /* out of order */
	cw_advance(w, 30 * MIN - 1);
	assert_int_equal(cw_lease_state(w, id), LEASE_GRACE);
	assert_int_equal(cw_renew(w, w->acme, id, 4).code, 0); /* the last millisecond of grace */
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	cw_advance(w, 30 * MIN);
	assert_int_equal(cw_lease_state(w, id), LEASE_EXPIRED);
	assert_int_equal(cw_renew(w, w->acme, id, 5).code, ERR_GONE); /* never resurrected */
	assert_int_equal(cw_lease_state(w, id), LEASE_EXPIRED);
	cw_settle(w);
	assert_int_equal(cw_allocs(w), 0);
	assert_int_equal(cw_resize(w, w->acme, id, 6), ERR_GONE);
	assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_RELEASE, id), ERR_GONE);
}

/* Under overload a renewal waits to be decided while its deadline passes: ticks that have heard less decide what is
 * due but expire nobody, and renewing then is renewing in time. */
static void nobody_expires_for_a_renewal_that_waits(void **state)
{
	struct core_world *w = *state;
	uint64_t id = active_lease(w, 4), job;
	struct command tick = {.type = CMD_TICK};

	cw_advance(w, 15 * MIN - 1);
	tick.tick.heard_ms = w->t;
	w->t += 20 * MIN; /* past ttl and grace */
	job = cw_submit(w, w->alice, "lung", 1, HOUR);
	for (int i = 0; i < 10; i++)
		assert_int_equal(cw_do(w, &tick), 0);
	assert_int_equal(w->d.facts_n, 0);
	assert_int_not_equal(cw_job_state(w, job), JOB_PENDING); /* all else goes on */
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	assert_int_equal(cw_renew(w, w->acme, id, 1).code, 0);
	cw_advance(w, 15 * MIN - 1);
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	/* heard up to the deadline, and nothing was there: it is over, whatever waits since */
	w->t += 20 * MIN;
	tick.tick.heard_ms = core_renewal(w->core, id)->expires_live_ms + 15 * MIN;
	assert_true(tick.tick.heard_ms < w->t);
	for (int i = 0; i < 10; i++)
		assert_int_equal(cw_do(w, &tick), 0);
	assert_int_equal(cw_lease_state(w, id), LEASE_EXPIRED);
}

/* A part that its node lost is no longer there to be given back: what is wanted less comes from what is left. */
static void shrinking_counts_what_is_there(void **state)
{
	struct core_world *w = *state;
	uint64_t id = active_lease(w, 4);
	const struct alloc *a;
	uint32_t lost = 0;

	cw_quota(w, CW_ACME, 0, SHAPE_GPU, 32, QTY_UNLIMITED, QTY_UNLIMITED);
	for (uint32_t q = 0; q < CW_QNODES; q++)
		if (w->qnode[q].quotas_n && q != CW_ACME)
			cw_quota(w, q, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	manner(w, CW_MUTE);
	assert_int_equal(cw_resize(w, w->acme, id, 20), 0);
	cw_tick(w);
	a = cw_alloc_of(w, OWNER_LEASE, id);
	assert_int_equal(a->state, ALLOC_BINDING);
	assert_true(a->parts_n > 1);
	for (uint32_t n = 1; n <= w->nodes_n; n++)
		if (w->node[n].id == a->parts[1].node)
			lost = n;
	cw_reboot(w, lost);
	cw_tick(w);
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 20); /* what was lost binds elsewhere */
	assert_int_equal(cw_resize(w, w->acme, id, 2), 0);
	manner(w, CW_OBEY);
	cw_advance(w, 5 * MIN);
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 2);
}

/* An expired lease's devices are another's only when the agent says so. */
static void terminal_is_not_free(void **state)
{
	struct core_world *w = *state;
	uint64_t id, next;

	cw_quota(w, CW_ACME, 0, SHAPE_GPU, 32, QTY_UNLIMITED, QTY_UNLIMITED);
	for (uint32_t q = 0; q < CW_QNODES; q++)
		if (w->qnode[q].quotas_n && q != CW_ACME)
			cw_quota(w, q, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	id = active_lease(w, 32);
	manner(w, CW_STUBBORN);
	cw_advance(w, 31 * MIN);
	assert_int_equal(cw_lease_state(w, id), LEASE_EXPIRED);
	next = cw_lease(w, w->acme, "acme", 32, LEASE_FIRM);
	cw_advance(w, HOUR);
	assert_int_equal(cw_lease_state(w, next), LEASE_REQUESTED);
	manner(w, CW_OBEY);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, next), LEASE_ACTIVE);
}

/* peers' failure 5 (armada#315): the daemon is down for two hours with many leases: none expires, and
 * those that come back do not come at once. */
static void peers_5_two_hours_down_expires_nobody(void **state)
{
	struct core_world *w = *state;
	uint64_t id[32];
	int64_t least = INT64_MAX, most = 0;

	cw_quota(w, CW_ACME, 0, SHAPE_GPU, 32, QTY_UNLIMITED, QTY_UNLIMITED);
	for (uint32_t q = 0; q < CW_QNODES; q++)
		if (w->qnode[q].quotas_n && q != CW_ACME)
			cw_quota(w, q, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	for (int i = 0; i < 32; i++)
		id[i] = cw_lease(w, w->acme, "acme", 1, LEASE_FIRM);
	cw_settle(w);
	cw_advance(w, 14 * MIN); /* nearly due when the daemon goes */
	w->t += 2 * HOUR;
	cw_reload(w, 2 * HOUR);
	cw_settle(w);
	for (int i = 0; i < 32; i++)
		assert_int_equal(cw_lease_state(w, id[i]), LEASE_ACTIVE);
	cw_advance(w, 4 * MIN); /* beyond the ttl, within the rejoin grace */
	for (int i = 0; i < 32; i++)
		assert_int_equal(cw_lease_state(w, id[i]), LEASE_ACTIVE);
	for (int i = 0; i < 32; i++) {
		struct renew_result r = cw_renew(w, w->acme, id[i], 1);

		assert_int_equal(r.code, 0);
		least = r.renew_after_ms < least ? r.renew_after_ms : least;
		most = r.renew_after_ms > most ? r.renew_after_ms : most;
	}
	assert_true(most - least > 30 * MS_PER_S); /* spread, not a storm */
	cw_advance(w, 14 * MIN);
	for (int i = 0; i < 32; i++)
		assert_int_equal(cw_lease_state(w, id[i]), LEASE_ACTIVE);
	/* and without renewals they do end: grace, then expiry, as always */
	cw_advance(w, 16 * MIN);
	for (int i = 0; i < 32; i++)
		assert_int_equal(cw_lease_state(w, id[i]), LEASE_EXPIRED);
}

/* What was left of the ttl when the daemon went is left when it is back, rejoin grace or not. */
static void downtime_uses_up_no_ttl(void **state)
{
	struct core_world *w = *state;
	uint64_t id = active_lease(w, 4);

	cw_advance(w, MIN);
	w->t += 2 * HOUR;
	cw_reload(w, 2 * HOUR);
	cw_advance(w, 14 * MIN - 1);
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	cw_advance(w, 1);
	assert_int_equal(cw_lease_state(w, id), LEASE_GRACE);
}

static void downtime_is_added_to_every_deadline_and_then_the_rejoin_grace(void **state)
{
	struct core_world *w = *state;
	uint64_t id = active_lease(w, 4);

	cw_advance(w, 29 * MIN); /* in grace, one minute from the end */
	assert_int_equal(cw_lease_state(w, id), LEASE_GRACE);
	w->t += HOUR;
	cw_reload(w, HOUR);
	cw_advance(w, 5 * MIN - 1); /* one minute of grace is left, but five to rejoin */
	assert_int_equal(cw_lease_state(w, id), LEASE_GRACE);
	cw_advance(w, 1);
	assert_int_equal(cw_lease_state(w, id), LEASE_EXPIRED);
}

static void safe_mode_starts_and_expires_nothing(void **state)
{
	struct core_world *w = *state;
	uint64_t id = active_lease(w, 4), more, job;
	struct command cmd = cw_cmd(w, w->admin, CMD_RECOVER);

	cmd.via = VIA_INTERNAL;
	cmd.recover.down_ms = 25 * HOUR;
	cmd.recover.safe_mode = true;
	w->t += 25 * HOUR;
	assert_int_equal(cw_do(w, &cmd), 0);
	more = cw_lease(w, w->acme, "acme", 2, LEASE_FIRM);
	job = cw_submit(w, w->alice, "lung", 1, HOUR);
	cw_advance(w, 3 * HOUR);
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	assert_int_equal(cw_lease_state(w, more), LEASE_REQUESTED);
	assert_int_equal(cw_job_state(w, job), JOB_PENDING);
	assert_int_equal(cw_reason(w, job), REASON_SAFE_MODE);
	assert_int_equal(cw_renew(w, w->acme, id, 1).code, 0); /* renewals are taken */
	cmd = cw_cmd(w, w->admin, CMD_RESUME);
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	assert_int_equal(cw_lease_state(w, more), LEASE_ACTIVE);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
}

/* ---- term ------------------------------------------------------------------------------------ */

static uint64_t with_term(struct core_world *w, int64_t term, bool auto_extend)
{
	struct command cmd = cw_lease_cmd(w, w->acme, "acme", 4, LEASE_FIRM);
	uint64_t id;

	cmd.lease_request.spec.term_ms = term;
	cmd.lease_request.spec.auto_extend = auto_extend;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	return id;
}

static void the_term_ends_the_lease(void **state)
{
	struct core_world *w = *state;
	uint64_t id = with_term(w, HOUR, false), seq = 0;
	int64_t born = w->t;

	renewing(w, id, 55 * MIN, &seq);
	/* a holder is told of no more than the term */
	assert_int_equal(cw_renew(w, w->acme, id, ++seq).ttl_ms, born + HOUR - w->t);
	cw_advance(w, 5 * MIN - 1);
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	cw_advance(w, 1);
	assert_int_equal(cw_lease_state(w, id), LEASE_ENDED);
	cw_settle(w);
	assert_int_equal(cw_allocs(w), 0);
	assert_int_equal(cw_renew(w, w->acme, id, ++seq).code, ERR_GONE);
}

static void auto_extend_goes_on_and_extend_moves_the_end(void **state)
{
	struct core_world *w = *state;
	uint64_t id = with_term(w, HOUR, true), by_hand = with_term(w, HOUR, false), seq = 0, seq2 = 0;
	struct command cmd = cw_cmd(w, w->acme, CMD_LEASE_EXTEND);
	int64_t born = w->t;

	cmd.lease_extend.lease = by_hand;
	cmd.lease_extend.term_ms = 0;
	assert_int_equal(cw_do(w, &cmd), ERR_RANGE);
	cmd.lease_extend.term_ms = INT64_MAX;
	assert_int_equal(cw_do(w, &cmd), ERR_RANGE);
	cmd.lease_extend.term_ms = 2 * HOUR;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(core_lease(w->core, by_hand)->term_end_ms, born + 2 * HOUR);
	for (int i = 0; i < 13; i++) {
		cw_advance(w, 5 * MIN);
		assert_int_equal(cw_renew(w, w->acme, id, ++seq).code, 0);
		assert_int_equal(cw_renew(w, w->acme, by_hand, ++seq2).code, 0);
	}
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	assert_int_equal(core_lease(w->core, id)->term_end_ms, born + 2 * HOUR);
	assert_int_equal(cw_lease_state(w, by_hand), LEASE_ACTIVE);
	/* silence never extends: an auto-extending lease that nobody renews expires */
	cw_advance(w, 31 * MIN);
	assert_int_equal(cw_lease_state(w, id), LEASE_EXPIRED);
}

/* ---- size ------------------------------------------------------------------------------------ */

/* A claim for more: notice, earmark, in time; the lease itself is never touched. */
static void growth_within_quota_arrives_within_the_slo(void **state)
{
	struct core_world *w = *state;
	uint64_t id = active_lease(w, 2), fence = core_lease(w->core, id)->fence, seq = 0;
	int64_t raised;

	for (int i = 0; i < 15; i++) {
		struct command cmd = cw_submit_cmd(w, w->bob, "heart", 2, 24 * HOUR);

		cmd.job_submit.spec.loan = LOAN_ONLY;
		assert_int_equal(cw_do(w, &cmd), 0);
	}
	cw_settle(w);
	renewing(w, id, 10 * MIN, &seq);
	manner(w, CW_STUBBORN);
	raised = w->t;
	assert_int_equal(cw_resize(w, w->acme, id, 8), 0);
	assert_int_equal(cw_resize(w, w->acme, id, 9), ERR_NEVER); /* 8 is all it has, firm */
	assert_string_equal(w->err.hint, "at most --gpus 8");
	assert_int_equal(w->err.reason, REASON_OVER_LIMIT);
	cw_settle(w);
	assert_int_equal(cw_claim_of(w, OWNER_LEASE, id)->units, 6);
	assert_int_equal(cw_claim_of(w, OWNER_LEASE, id)->victims_n, 3);
	assert_int_equal(cw_claim_of(w, OWNER_LEASE, id)->deadline_ms, raised + 15 * MIN);
	cw_advance(w, 2 * MIN);
	manner(w, CW_OBEY);
	cw_settle(w);
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 8);
	assert_int_equal(cw_renew(w, w->acme, id, ++seq).units, 8);
	assert_int_equal(core_lease(w->core, id)->fence, fence); /* growth changes nothing for the holder */
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
}

/* A lease that grows again while its first growth is on its way is promised the same time once more: the
 * second claim does not wait for the first. */
static void growth_on_growth_is_fetched_at_once(void **state)
{
	struct core_world *w = *state;
	uint64_t id = active_lease(w, 2), seq = 0;

	for (int i = 0; i < 15; i++) {
		struct command cmd = cw_submit_cmd(w, w->bob, "heart", 2, 24 * HOUR);

		cmd.job_submit.spec.loan = LOAN_ONLY;
		assert_int_equal(cw_do(w, &cmd), 0);
	}
	cw_settle(w);
	renewing(w, id, 10 * MIN, &seq);
	manner(w, CW_STUBBORN);
	assert_int_equal(cw_resize(w, w->acme, id, 4), 0);
	cw_settle(w);
	assert_int_equal(cw_claims(w), 1);
	cw_advance(w, MIN);
	assert_int_equal(cw_resize(w, w->acme, id, 8), 0);
	cw_settle(w);
	assert_int_equal(cw_claims(w), 2);
	cw_settle(w);
	assert_int_equal(cw_claims(w), 2); /* and no third for what is on its way */
	cw_advance(w, MIN);
	manner(w, CW_OBEY);
	cw_settle(w);
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 8);
	assert_int_equal(cw_claims(w), 0);
}

/* Six devices are wanted: one job of six that ran ten minutes goes rather than six of one that ran thirty.
 * By the work of each alone the six would be cheaper, and three times as much would be lost. */
static void a_claim_weighs_lost_work_by_the_device(void **state)
{
	struct core_world *w = *state;
	uint64_t id = active_lease(w, 2), beta, big;
	struct command cmd = cw_submit_cmd(w, w->bob, "heart", 1, 24 * HOUR);

	(void)cw_submit(w, w->alice, "lung", 8, 24 * HOUR);
	(void)cw_submit(w, w->bob, "heart", 8, 24 * HOUR);
	beta = cw_lease(w, w->beta, "beta", 2, LEASE_FIRM);
	cmd.job_submit.spec.loan = LOAN_ONLY;
	for (int i = 0; i < 6; i++)
		assert_int_equal(cw_do(w, &cmd), 0);
	cw_advance(w, 10 * MIN); /* in two steps: leases live 15 minutes */
	assert_int_equal(cw_renew(w, w->acme, id, 1).code, 0);
	assert_int_equal(cw_renew(w, w->beta, beta, 1).code, 0);
	cw_advance(w, 10 * MIN);
	assert_int_equal(cw_renew(w, w->acme, id, 2).code, 0);
	assert_int_equal(cw_renew(w, w->beta, beta, 2).code, 0);
	cmd.job_submit.spec.units = cmd.job_submit.spec.units_max = 6;
	assert_int_equal(cw_do(w, &cmd), 0);
	big = w->d.result.id;
	cw_advance(w, 10 * MIN);
	assert_int_equal(cw_job_state(w, big), JOB_RUNNING);
	manner(w, CW_STUBBORN);
	assert_int_equal(cw_resize(w, w->acme, id, 8), 0);
	cw_settle(w);
	assert_int_equal(cw_claim_of(w, OWNER_LEASE, id)->victims_n, 1);
	assert_int_equal(cw_claim_of(w, OWNER_LEASE, id)->victims[0].alloc, core_job(w->core, big)->alloc);
	manner(w, CW_OBEY);
}

/* A claim whose victims do not leave in time is marked and counted, and still served first. */
static void a_late_claim_is_a_breach_on_record(void **state)
{
	struct core_world *w = *state;
	struct query q = {.type = QUERY_STATUS};
	struct view_status v;
	struct arena arena = {0};
	struct err err;
	uint64_t id;

	loans_everywhere(w, 8);
	manner(w, CW_STUBBORN);
	id = cw_lease(w, w->acme, "acme", 8, LEASE_FIRM);
	cw_advance(w, 15 * MIN - 1);
	assert_false(cw_claim_of(w, OWNER_LEASE, id)->breached);
	cw_advance(w, 1);
	assert_true(cw_claim_of(w, OWNER_LEASE, id)->breached);
	manner(w, CW_OBEY);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	assert_int_equal(core_view(w->core, w->t, w->admin.principal, &q, &v, &arena, &err), 0);
	assert_int_equal(v.claims_breached, 1);
	assert_int_equal(v.claims_done, 1);
	arena_done(&arena);
}

static void a_bare_lease_shrinks_by_single_devices(void **state)
{
	struct core_world *w = *state;
	uint64_t id = active_lease(w, 8), job;
	const struct alloc *a;

	assert_int_equal(cw_resize(w, w->acme, id, 5), 0);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 5);
	a = cw_alloc_of(w, OWNER_LEASE, id);
	assert_int_equal(a->units, 5);
	assert_int_equal(__builtin_popcountll(a->parts[0].devices), 5);
	/* the three are anybody's now */
	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 8, QTY_UNLIMITED, QTY_UNLIMITED);
	job = cw_submit(w, w->alice, "lung", 3, HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	assert_int_equal(cw_alloc_of(w, OWNER_JOB, job)->parts[0].node, a->parts[0].node);
	assert_int_equal(cw_resize(w, w->acme, id, 0), ERR_RANGE);
	cw_advance(w, HOUR / 6);
	assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_RELEASE, id), 0);
	cw_settle(w);
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 0);
}

static uint64_t service(struct core_world *w, uint32_t units, uint32_t per_replica)
{
	struct command cmd = cw_lease_cmd(w, w->acme, "acme", units, LEASE_FIRM);
	uint64_t id;

	cmd.lease_request.spec.units_per_replica = per_replica;
	cmd.lease_request.spec.payload[0] = 1;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	return id;
}

/* Its quota is there, but another lease of its own uses it: refused now, with what is left. */
static void growth_beyond_what_is_left_says_501(void **state)
{
	struct core_world *w = *state;
	uint64_t id = active_lease(w, 2);

	(void)active_lease(w, 4);
	assert_int_equal(cw_resize(w, w->acme, id, 5), ERR_QUOTA);
	assert_int_equal(w->err.reason, REASON_LEAF_FULL);
	assert_non_null(strstr(w->err.msg, "2 are left"));
	assert_int_equal(cw_resize(w, w->acme, id, 4), 0);
}

/* What is given back gets a name of its own each time. An agent that has not heard yet that its word on the last one
 * arrived says it again: that is no proof for the next one. */
static void a_part_given_back_is_named_once(void **state)
{
	struct core_world *w = *state;
	uint64_t id = active_lease(w, 6), alloc = cw_alloc_of(w, OWNER_LEASE, id)->id;
	uint32_t node = 0;

	for (uint32_t i = 1; i <= 4; i++)
		if (cw_alloc_of(w, OWNER_LEASE, id)->parts[0].node == w->node[i].id)
			node = i;
	assert_int_equal(cw_alloc_of(w, OWNER_LEASE, id)->parts_n, 1);
	assert_int_equal(cw_resize(w, w->acme, id, 5), 0);
	cw_settle(w);
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 5); /* part 1 is back */
	manner(w, CW_STUBBORN);
	assert_int_equal(cw_resize(w, w->acme, id, 3), 0);
	cw_settle(w);
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 5);
	(void)cw_report(w, node, alloc, 1, UNIT_RELEASED, 0); /* late, or once more */
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 5);
	assert_int_equal(cw_report(w, node, alloc, 2, UNIT_RELEASED, 0), 0);
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 3);
}

/* Nor one that was named in a future that a restored copy does not know: the node shows it, or has not been heard yet. */
static void a_part_of_a_lost_future_is_not_named_again(void **state)
{
	for (int heard = 0; heard < 2; heard++) {
		struct core_world world, *w = heard ? *state : &world;
		struct command cmd = {.type = CMD_RECOVER, .via = VIA_INTERNAL, .principal = 1};
		uint64_t id, alloc;
		uint32_t node = 0;

		if (!heard)
			cw_start(w);
		id = active_lease(w, 6);
		alloc = cw_alloc_of(w, OWNER_LEASE, id)->id;
		for (uint32_t i = 1; i <= 4; i++)
			if (cw_alloc_of(w, OWNER_LEASE, id)->parts[0].node == w->node[i].id)
				node = i;
		manner(w, CW_STUBBORN);
		if (heard) {
			(void)cw_report(w, node, alloc, 1, UNIT_RELEASED, 0);
		} else {
			cmd.recover.safe_mode = true;
			assert_int_equal(cw_do(w, &cmd), 0);
			cmd = cw_cmd(w, w->admin, CMD_RESUME);
			assert_int_equal(cw_do(w, &cmd), 0);
		}
		assert_int_equal(cw_resize(w, w->acme, id, 3), 0);
		cw_settle(w);
		assert_int_equal(cw_alloc_of(w, OWNER_LEASE, id)->parts_n, 2);
		(void)cw_report(w, node, alloc, 1, UNIT_RELEASED, 0); /* that of the future */
		assert_int_equal(cw_held(w, OWNER_LEASE, id), 6);
		assert_int_equal(cw_report(w, node, alloc, cw_alloc_of(w, OWNER_LEASE, id)->parts[1].index, UNIT_RELEASED, 0), 0);
		assert_int_equal(cw_held(w, OWNER_LEASE, id), 3);
		if (!heard)
			cw_close(w);
	}
}

static void a_service_shrinks_by_replicas(void **state)
{
	struct core_world *w = *state;
	uint64_t id = service(w, 8, 2);
	const struct alloc *a = cw_alloc_of(w, OWNER_LEASE, id);

	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	assert_int_equal(a->parts_n, 4);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(a->parts[i].tasks, 1);
	assert_int_equal(cw_resize(w, w->acme, id, 5), ERR_INVAL);
	assert_int_equal(cw_resize(w, w->acme, id, 4), 0);
	cw_settle(w);
	a = cw_alloc_of(w, OWNER_LEASE, id);
	assert_int_equal(a->parts_n, 2);
	assert_int_equal(a->units, 4);
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	assert_int_equal(cw_resize(w, w->acme, id, 8), 0);
	cw_settle(w);
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 8);
}

/* Fewer are wanted while the first ones are still being bound: nothing fails, the smaller lease comes. */
static void a_shrink_while_binding(void **state)
{
	struct core_world *w = *state;
	uint64_t id = cw_lease(w, w->acme, "acme", 8, LEASE_FIRM);

	cw_tick(w);
	assert_int_equal(cw_lease_state(w, id), LEASE_BINDING);
	assert_int_equal(cw_resize(w, w->acme, id, 3), 0);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 3);
	assert_int_equal(core_lease(w->core, id)->bind_failures, 0);
}

/* Growth that has not arrived is given up by asking for less again: its victims keep what is left. */
static void shrinking_drops_the_claim_first(void **state)
{
	struct core_world *w = *state;
	uint64_t id = active_lease(w, 2);

	for (int i = 0; i < 10; i++) {
		struct command cmd = cw_submit_cmd(w, w->bob, "heart", 3, 24 * HOUR);

		cmd.job_submit.spec.loan = LOAN_ONLY;
		assert_int_equal(cw_do(w, &cmd), 0);
	}
	cw_settle(w);
	manner(w, CW_STUBBORN);
	assert_int_equal(cw_resize(w, w->acme, id, 8), 0);
	cw_settle(w);
	assert_int_equal(cw_claims(w), 1);
	assert_int_equal(cw_resize(w, w->acme, id, 2), 0);
	assert_int_equal(cw_claims(w), 0);
	cw_settle(w);
	assert_int_equal(cw_claims(w), 0);
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 2);
}

/* ---- loans ----------------------------------------------------------------------------------- */

static void a_loan_lease_is_recalled_with_notice(void **state)
{
	struct core_world *w = *state;
	uint64_t id = cw_lease(w, w->acme, "acme", 30, LEASE_LOAN), owner;
	struct renew_result r;
	int64_t raised;

	cw_settle(w);
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	cw_advance(w, 5 * MIN);
	manner(w, CW_STUBBORN);
	raised = w->t;
	owner = cw_submit(w, w->bob, "heart", 8, HOUR);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, id), LEASE_RECALLING);
	assert_int_equal(core_lease(w->core, id)->recall_at_ms, raised + 2 * MIN);
	r = cw_renew(w, w->acme, id, 1); /* renewals are taken, and end with the notice */
	assert_int_equal(r.code, 0);
	assert_int_equal(r.recall_in_ms, 2 * MIN);
	assert_int_equal(r.ttl_ms, 2 * MIN);
	assert_int_equal(cw_resize(w, w->acme, id, 31), ERR_STATE);
	cw_advance(w, 20 * MIN);
	manner(w, CW_OBEY);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, id), LEASE_REVOKED);
	assert_int_equal(cw_job_state(w, owner), JOB_RUNNING);
}

/* A loan lease that has grown holds two allocations: recalled, it ends; it does not linger with one. */
static void a_loan_lease_of_two_parts_does_not_linger(void **state)
{
	struct core_world *w = *state;
	uint64_t id = cw_lease(w, w->acme, "acme", 4, LEASE_LOAN), owner[4];
	uint32_t n = 0;

	cw_settle(w);
	assert_int_equal(cw_resize(w, w->acme, id, 28), 0);
	cw_settle(w);
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 28);
	assert_int_equal(cw_allocs(w), 2);
	for (n = 0; n < 2; n++)
		owner[n] = cw_submit(w, w->bob, "heart", 4, HOUR);
	cw_settle(w);
	cw_advance(w, 5 * MIN);
	for (n = 0; n < 2; n++)
		assert_int_equal(cw_job_state(w, owner[n]), JOB_RUNNING);
	assert_int_equal(cw_lease_state(w, id), LEASE_REVOKED);
	assert_int_equal(cw_held(w, OWNER_LEASE, id), 0);
}

static void loans_go_cheapest_first_and_no_more_than_needed(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	uint64_t saved, unsaved, lease;

	/* two equal loans; one has saved a minute ago, the other never: the saved one is the cheap one */
	cmd = cw_submit_cmd(w, w->bob, "heart", 16, 24 * HOUR);
	cmd.job_submit.spec.loan = LOAN_ONLY;
	assert_int_equal(cw_do(w, &cmd), 0);
	unsaved = w->d.result.id;
	assert_int_equal(cw_do(w, &cmd), 0);
	saved = w->d.result.id;
	cw_settle(w);
	cw_advance(w, 3 * HOUR);
	cmd = cw_cmd(w, w->bob, CMD_JOB_CHECKPOINTED);
	cmd.job_checkpointed.job = saved;
	cmd.job_checkpointed.step = 1;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_advance(w, MIN);
	lease = cw_lease(w, w->acme, "acme", 8, LEASE_FIRM);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, lease), LEASE_ACTIVE);
	assert_int_equal(core_job(w->core, saved)->recalls, 1);
	assert_int_equal(core_job(w->core, unsaved)->recalls, 0);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void refusals_name_their_reason(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
#define REFUSED(change, code, why)                                                                 \
	do {                                                                                       \
		cmd = cw_lease_cmd(w, w->acme, "acme", 4, LEASE_FIRM);                             \
		change;                                                                            \
		assert_int_equal(cw_do(w, &cmd), (code));                                          \
		assert_int_equal(w->err.reason, (why));                                            \
		assert_true(w->err.msg[0]);                                                        \
	} while (0)
	struct lease_spec *s = &cmd.lease_request.spec;

	REFUSED((void)snprintf(cmd.lease_request.provider, NAME_BYTES, "nobody"), ERR_NOTFOUND, REASON_UNKNOWN);
	REFUSED((void)snprintf(cmd.lease_request.provider, NAME_BYTES, "lung"), ERR_INVAL, 0);
	REFUSED((void)snprintf(cmd.lease_request.provider, NAME_BYTES, "beta"), ERR_DENIED, 0);
	REFUSED((void)snprintf(cmd.lease_request.flavor, FLAVOR_NAME_BYTES, "tpu"), ERR_NOTFOUND, REASON_UNKNOWN);
	REFUSED(s->units = 0, ERR_RANGE, 0);
	REFUSED(s->klass = LEASE_LOAN + 1, ERR_RANGE, 0);
	REFUSED(s->units = 9, ERR_NEVER, REASON_OVER_LIMIT); /* firm leases use private nominal only */
	REFUSED(s->units = 33, ERR_NEVER, REASON_SHAPE);
	REFUSED((s->units = 8, s->units_per_replica = 3), ERR_INVAL, 0);
	REFUSED((s->units = 16, s->units_per_replica = 16), ERR_INVAL, 0);
	REFUSED(s->ttl_ms = 10, ERR_RANGE, 0);
	REFUSED(s->grace_ms = -1, ERR_RANGE, 0);
	REFUSED(s->notice_ms = -1, ERR_RANGE, 0);
	REFUSED((s->ttl_ms = HOUR, s->term_ms = MIN), ERR_RANGE, 0);
	REFUSED(s->term_ms = INT64_MAX, ERR_RANGE, 0);
	REFUSED(s->grace_ms = INT64_MAX, ERR_RANGE, 0);
	REFUSED(s->notice_ms = INT64_MAX, ERR_RANGE, 0);
#undef REFUSED
	w->qnode[CW_ACME].leases_max = 1;
	w->qnode[CW_ACME].term_ms_max = MS_PER_DAY;
	cw_apply(w);
	cmd = cw_lease_cmd(w, w->acme, "acme", 1, LEASE_FIRM);
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	assert_int_equal(w->err.reason, REASON_TIME_LIMIT);
	assert_string_equal(w->err.hint, "--term 1d");
	cmd.lease_request.spec.shape = SHAPE_NODE; /* it owns single devices only */
	cmd.lease_request.spec.term_ms = MS_PER_DAY;
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	assert_string_equal(w->err.hint, "its quota is of single devices: at most --gpus 8");
	cmd.lease_request.spec.shape = SHAPE_GPU;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(cw_do(w, &cmd), ERR_NOROOM);
	assert_int_equal(w->err.reason, REASON_JOB_LIMIT);
}

/* A loan lease whose notice is longer than the lenders' recall time could never start: 506. Where the division took the
 * time away later it waits, and says so. */
static void a_loan_lease_with_a_long_notice_is_refused_with_506(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_lease_cmd(w, w->acme, "acme", 12, LEASE_LOAN);
	struct query q = {.type = QUERY_LEASES};
	struct view_leases v;
	struct arena arena = {0};
	struct err err;

	cmd.lease_request.spec.notice_ms = 15 * MIN;
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	assert_int_equal(w->err.reason, REASON_LOAN_NOTICE);
	assert_non_null(strstr(w->err.hint, "--notice"));
	cmd.lease_request.spec.notice_ms = 5 * MIN;
	assert_int_equal(cw_do(w, &cmd), 0);
	for (int i = 0; i < CW_QNODES; i++)
		w->qnode[i].recall_slo_ms = MIN;
	cw_apply(w);
	cw_settle(w);
	assert_int_equal(core_view(w->core, w->t, w->acme.principal, &q, &v, &arena, &err), 0);
	assert_int_equal(v.items_n, 1);
	assert_int_equal(v.items[0].reason, REASON_LOAN_NOTICE);
	arena_done(&arena);
}

/* ---- spread ----------------------------------------------------------------------------------------------- */

static void per_leaf(const struct core_world *w, uint64_t lease, uint32_t ret[2])
{
	ret[0] = ret[1] = 0;
	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_ALLOC, id)) != 0;) {
		const struct alloc *a = core_alloc(w->core, id);

		for (uint32_t i = 0; a->owner_kind == OWNER_LEASE && a->owner == lease && i < a->parts_n; i++)
			ret[a->parts[i].node != w->node[1].id && a->parts[i].node != w->node[2].id] += a->parts[i].units;
	}
}

/* Half of a service outlives the loss of a leaf, also when it grows. */
static void a_service_is_spread_over_leaves(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_lease_cmd(w, w->acme, "acme", 4, LEASE_FIRM);
	uint32_t in[2];
	uint64_t id;

	cmd.lease_request.spec.units_per_replica = 2;
	cmd.lease_request.spec.leaf_percent_max = 50;
	cmd.lease_request.spec.auto_accept = true;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
	per_leaf(w, id, in);
	assert_int_equal(in[0], 2);
	assert_int_equal(in[1], 2);
	assert_int_equal(cw_resize(w, w->acme, id, 8), 0);
	cw_settle(w);
	per_leaf(w, id, in);
	assert_int_equal(in[0], 4);
	assert_int_equal(in[1], 4);
	cmd.lease_request.spec.leaf_percent_max = 25; /* two leaves hold half of it at most */
	cmd.lease_request.spec.units = 8;
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	assert_string_equal(w->err.msg, "there are too few leaves to hold 8 with at most 2 in each");
	cmd.lease_request.spec.leaf_percent_max = 101;
	assert_int_equal(cw_do(w, &cmd), ERR_RANGE);
	cmd.lease_request.spec = (struct lease_spec){.shape = SHAPE_NODE, .units = 3, .klass = LEASE_LOAN,
						     .leaf_percent_max = 34, .units_per_replica = 1};
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER); /* whole nodes, one in each leaf: there are two */
	assert_string_equal(w->err.msg, "there are too few leaves to hold 3 with at most 1 in each");
}

/* ---- concentration -------------------------------------------------------------------------------------- */

/* acme and beta belong to one tenant, which may have 12 of the private side's 16 devices. */
static void capped(struct core_world *w, uint32_t ppm)
{
	(void)snprintf(w->qnode[CW_ACME].tenant, NAME_BYTES, "holding");
	(void)snprintf(w->qnode[CW_BETA].tenant, NAME_BYTES, "holding");
	w->qnode[CW_SME].concentration_cap_ppm = ppm;
	cw_apply(w);
}

static int asked(struct core_world *w, struct cw_who who, const char *provider, uint32_t units, uint8_t klass)
{
	struct command cmd = cw_lease_cmd(w, who, provider, units, klass);

	return cw_do(w, &cmd);
}

static void one_tenant_has_no_more_than_the_cap(void **state)
{
	struct core_world *w = *state;
	uint64_t firm, loan;

	capped(w, 799999); /* 12.799984 of 16 devices */
	assert_int_equal(asked(w, w->acme, "acme", 13, LEASE_LOAN), ERR_NEVER);
	assert_int_equal(w->err.reason, REASON_CONCENTRATION);
	assert_string_equal(w->err.msg, "holding holds 0 devices of h100 and asks for 13 more; the cap of sme allows 12");
	firm = active_lease(w, 8);
	/* over both its providers, firm and on loan; what is only asked for counts */
	manner(w, CW_MUTE);
	loan = cw_lease(w, w->beta, "beta", 3, LEASE_LOAN);
	assert_int_equal(cw_lease_state(w, loan), LEASE_REQUESTED);
	assert_int_equal(asked(w, w->beta, "beta", 2, LEASE_FIRM), ERR_QUOTA);
	assert_int_equal(w->err.reason, REASON_CONCENTRATION);
	assert_string_equal(w->err.msg, "holding holds 11 devices of h100 and asks for 2 more; the cap of sme allows 12");
	assert_string_equal(w->err.hint, "at most 1 more; or release or shrink a lease: sluisctl lease list");
	assert_int_equal(asked(w, w->beta, "beta", 1, LEASE_FIRM), 0);
	assert_int_equal(asked(w, w->acme, "acme", 1, LEASE_LOAN), ERR_QUOTA);
	manner(w, CW_OBEY);
	cw_settle(w);
	/* what an agent has not given back is still held, whatever the lease asks for now */
	manner(w, CW_STUBBORN);
	assert_int_equal(cw_resize(w, w->acme, firm, 4), 0);
	assert_int_equal(asked(w, w->beta, "beta", 1, LEASE_LOAN), ERR_QUOTA);
	assert_int_equal(cw_lease_op(w, w->beta, CMD_LEASE_RELEASE, loan), 0);
	assert_int_equal(asked(w, w->beta, "beta", 1, LEASE_LOAN), ERR_QUOTA);
	manner(w, CW_OBEY);
	cw_settle(w);
	assert_int_equal(asked(w, w->acme, "acme", 8, LEASE_LOAN), ERR_QUOTA);
	assert_int_equal(asked(w, w->acme, "acme", 7, LEASE_LOAN), 0);
}

static void the_cap_is_each_tenants_own_and_counts_devices(void **state)
{
	struct core_world *w = *state;

	cw_quota(w, CW_ACME, 0, SHAPE_NODE, 1, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_ACME, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	capped(w, 750000);
	(void)cw_lease(w, w->beta, "beta", 4, LEASE_FIRM);
	cw_settle(w);
	{
		struct command cmd = cw_lease_cmd(w, w->acme, "acme", 1, LEASE_FIRM);

		cmd.lease_request.spec.shape = SHAPE_NODE;
		assert_int_equal(cw_do(w, &cmd), 0); /* a node are eight devices */
		cw_settle(w);
		cmd.lease_request.spec.klass = LEASE_LOAN;
		assert_int_equal(cw_do(w, &cmd), ERR_QUOTA);
		assert_string_equal(w->err.msg, "holding holds 12 devices of h100 and asks for 8 more; the cap of sme allows 12");
		assert_string_equal(w->err.hint, "release or shrink a lease first: sluisctl lease list");
	}
	assert_int_equal(asked(w, w->beta, "beta", 1, LEASE_FIRM), ERR_QUOTA);
	(void)snprintf(w->qnode[CW_BETA].tenant, NAME_BYTES, "other");
	cw_apply(w);
	assert_int_equal(asked(w, w->beta, "beta", 1, LEASE_FIRM), 0);
}

static void growth_is_capped_and_a_lowered_cap_takes_nothing(void **state)
{
	struct core_world *w = *state;
	uint64_t firm, seq = 0;

	capped(w, 750000);
	firm = active_lease(w, 6);
	(void)cw_lease(w, w->beta, "beta", 5, LEASE_FIRM);
	cw_settle(w);
	assert_int_equal(cw_resize(w, w->acme, firm, 8), ERR_QUOTA);
	assert_int_equal(w->err.reason, REASON_CONCENTRATION);
	assert_int_equal(cw_resize(w, w->acme, firm, 7), 0);
	cw_settle(w);
	assert_int_equal(cw_held(w, OWNER_LEASE, firm), 7);
	capped(w, 250000); /* 4: nobody loses anything, nothing is admitted */
	renewing(w, firm, 30 * MIN, &seq);
	assert_int_equal(cw_held(w, OWNER_LEASE, firm), 7);
	assert_int_equal(asked(w, w->beta, "beta", 1, LEASE_FIRM), ERR_QUOTA);
	assert_int_equal(cw_resize(w, w->acme, firm, 8), ERR_QUOTA);
	assert_int_equal(cw_resize(w, w->acme, firm, 3), 0);
	w->qnode[CW_SME].concentration_cap_ppm = 1000001;
	{
		struct command cmd = cw_cmd(w, w->admin, CMD_DIVISION_APPLY);

		cmd.division_apply = w->div;
		assert_int_equal(cw_do(w, &cmd), ERR_RANGE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(auto_accept_goes_straight_to_active),
		STORY(an_offer_holds_its_devices_until_accepted),
		STORY(an_offer_declined_or_forgotten_is_withdrawn),
		STORY(an_offer_over_loans_recalls_only_when_accepted),
		STORY(a_loan_on_offer_is_not_promoted),
		STORY(an_offered_loan_lease_recalls_nobody),
		STORY(release_gives_back_on_evidence_only),
		STORY(only_a_loan_can_be_revoked_by_one_admin),
		STORY(a_failed_bind_is_tried_again),
		STORY(a_renewal_moves_the_deadline_and_never_back),
		STORY(fence_and_sequence_guard_the_renewal),
		STORY(peers_6_renewals_around_the_deadline),
		STORY(terminal_is_not_free),
		STORY(nobody_expires_for_a_renewal_that_waits),
		STORY(shrinking_counts_what_is_there),
		STORY(peers_5_two_hours_down_expires_nobody),
		STORY(downtime_uses_up_no_ttl),
		STORY(downtime_is_added_to_every_deadline_and_then_the_rejoin_grace),
		STORY(safe_mode_starts_and_expires_nothing),
		STORY(the_term_ends_the_lease),
		STORY(auto_extend_goes_on_and_extend_moves_the_end),
		STORY(growth_within_quota_arrives_within_the_slo),
		STORY(growth_on_growth_is_fetched_at_once),
		STORY(a_claim_weighs_lost_work_by_the_device),
		STORY(a_late_claim_is_a_breach_on_record),
		STORY(a_bare_lease_shrinks_by_single_devices),
		STORY(growth_beyond_what_is_left_says_501),
		STORY(a_part_given_back_is_named_once),
		STORY(a_part_of_a_lost_future_is_not_named_again),
		STORY(a_service_shrinks_by_replicas),
		STORY(a_shrink_while_binding),
		STORY(shrinking_drops_the_claim_first),
		STORY(a_loan_lease_is_recalled_with_notice),
		STORY(a_loan_lease_of_two_parts_does_not_linger),
		STORY(loans_go_cheapest_first_and_no_more_than_needed),
		STORY(refusals_name_their_reason),
		STORY(a_loan_lease_with_a_long_notice_is_refused_with_506),
		STORY(a_service_is_spread_over_leaves),
		STORY(one_tenant_has_no_more_than_the_cap),
		STORY(the_cap_is_each_tenants_own_and_counts_devices),
		STORY(growth_is_capped_and_a_lowered_cap_takes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
