/* test_core_view.c - what the state says of itself: sums that add up, reasons and changes that are true
 *
 * Without these people would decide by figures that nothing holds to the records, and be told to make
 * changes that do not help.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/ensure.h"
#include "tests/lib/core_world.h"

#define HOUR MS_PER_HOUR
#define MIN MS_PER_MIN

static void ask(struct core_world *w, struct cw_who who, uint16_t type, uint64_t id, const char *name, void *v,
		struct arena *arena)
{
	struct query q = {.type = type, .id = id};

	(void)snprintf(q.name, sizeof q.name, "%s", name);
	assert_int_equal(core_view(w->core, w->t, who.principal, &q, v, arena, &w->err), 0);
}

/* A mixed afternoon: guaranteed work and loans of both sides, something waiting, a node away. */
static void mixed(struct core_world *w)
{
	struct command cmd;

	(void)cw_submit(w, w->alice, "lung", 6, HOUR);
	(void)cw_lease(w, w->acme, "acme", 4, LEASE_FIRM);
	cw_settle(w);
	cmd = cw_submit_cmd(w, w->bob, "heart", 10, 2 * HOUR);
	cmd.job_submit.spec.loan = LOAN_OK;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	(void)cw_lease(w, w->beta, "beta", 3, LEASE_LOAN);
	cw_settle(w);
	(void)cw_submit(w, w->alice, "lung", 8, HOUR);
	cw_settle(w);
}

static void the_sums_of_status_are_those_of_the_records(void **state)
{
	struct core_world *w = *state;
	struct view_status v;
	struct arena arena = {0};
	int64_t guaranteed = 0, loan = 0, nominal = 0, sides_guaranteed = 0, sides_loan = 0, lent = 0, lenders = 0;

	mixed(w);
	ask(w, w->admin, QUERY_STATUS, 0, "", &v, &arena);
	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_ALLOC, id)) != 0;) {
		const struct alloc *a = core_alloc(w->core, id);

		if (a->klass == CLASS_LOAN)
			loan += a->units;
		else
			guaranteed += a->units;
		for (uint32_t i = 0; i < a->lenders_n; i++)
			lenders += a->lenders[i].units;
	}
	assert_true(loan > 0 && guaranteed > 0);
	assert_string_equal(v.cluster, "test");
	assert_int_equal(v.flavors_n, 1);
	assert_int_equal(v.flavors[0].installed, 32);
	assert_int_equal(v.flavors[0].used, guaranteed + loan);
	assert_int_equal(v.flavors[0].free, 32 - guaranteed - loan);
	assert_int_equal(v.flavors[0].committed, 32);
	assert_int_equal(v.flavors[0].nodes, 4);
	assert_int_equal(v.sides_n, 2);
	for (uint32_t i = 0; i < v.sides_n; i++) {
		nominal += v.sides[i].nominal;
		sides_guaranteed += v.sides[i].guaranteed;
		sides_loan += v.sides[i].loan;
		lent += v.sides[i].lent;
	}
	assert_int_equal(nominal, 32);
	assert_int_equal(sides_guaranteed, guaranteed);
	assert_int_equal(sides_loan, loan);
	assert_int_equal(lent, lenders);
	assert_string_equal(v.sides[0].side, "public");
	assert_int_equal(v.sides[0].waiting, 8);
	assert_int_equal(v.nodes, 4);
	assert_int_equal(v.nodes_ready, 4);
	assert_int_equal(v.jobs_running, 2);
	assert_int_equal(v.jobs_pending, 1);
	assert_int_equal(v.leases_live, 2);
	/* a node away: its free devices are out, its used ones still used */
	assert_int_equal(cw_liveness(w, 1, NODE_UNREACHABLE), 0);
	ask(w, w->admin, QUERY_STATUS, 0, "", &v, &arena);
	assert_int_equal(v.nodes_ready, 3);
	assert_int_equal(v.flavors[0].used, guaranteed + loan);
	assert_int_equal(v.flavors[0].free + v.flavors[0].used + v.flavors[0].out, 32);
	assert_int_equal(v.notes_n, 2);
	assert_string_equal(v.notes[0].s, "node n1 is unreachable");
	assert_string_equal(v.notes[1].s, "h100: 8 of 32 promised are missing: sluisctl deficit show"); /* there is no spare */
	arena_done(&arena);
}

/* A node that takes nothing new is not ready, and one that is drained says why. */
static void a_node_out_of_use_is_not_ready(void **state)
{
	struct core_world *w = *state;
	struct view_status v;
	struct arena arena = {0};

	assert_int_equal(cw_admin_node(w, CMD_NODE_DRAIN, 1, "job-7 could not start: prolog failed"), 0);
	assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, 2, "a fan"), 0);
	ask(w, w->admin, QUERY_STATUS, 0, "", &v, &arena);
	assert_int_equal(v.nodes, 4);
	assert_int_equal(v.nodes_ready, 2);
	assert_int_equal(v.nodes_draining, 1);
	assert_int_equal(v.nodes_cordoned, 1);
	assert_int_equal(v.notes_n, 1);
	assert_string_equal(v.notes[0].s, "node n1 is draining: job-7 could not start: prolog failed");
	arena_done(&arena);
}

/* An array waiting or running is one job in line, not one more that runs. */
static void an_array_is_not_counted_beside_its_children(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR);
	struct view_status v;
	struct arena arena = {0};

	cmd.job_submit.spec.array_step = 1;
	cmd.job_submit.spec.array_last = 3;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	ask(w, w->admin, QUERY_STATUS, 0, "", &v, &arena);
	assert_int_equal(v.jobs_running, 4);
	assert_int_equal(v.jobs_pending, 0);
	arena_done(&arena);
}

static void nodes_and_their_holders(void **state)
{
	struct core_world *w = *state;
	struct view_nodes v;
	struct arena arena = {0};
	uint32_t used = 0;

	mixed(w);
	ask(w, w->alice, QUERY_NODES, 0, "", &v, &arena);
	assert_int_equal(v.items_n, 4);
	for (uint32_t i = 0; i < v.items_n; i++) {
		assert_int_equal(v.items[i].devices, 8);
		assert_int_equal(v.items[i].used + v.items[i].free, 8);
		assert_string_equal(v.items[i].flavor, "h100");
		assert_int_equal(v.items[i].used > 0, v.items[i].holders[0] != '\0');
		used += v.items[i].used;
	}
	assert_int_equal(used, 6 + 4 + 10 + 3);
	ask(w, w->alice, QUERY_NODES, 0, "n3", &v, &arena);
	assert_int_equal(v.items_n, 1);
	assert_string_equal(v.items[0].node.name, "n3");
	assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, 3, "fan"), 0);
	ask(w, w->alice, QUERY_NODES, 0, "n3", &v, &arena);
	assert_string_equal(v.items[0].state, "cordoned");
	assert_string_equal(v.items[0].note, "fan");
	arena_done(&arena);
}

static void the_division_shows_what_each_subtree_uses(void **state)
{
	struct core_world *w = *state;
	struct view_division v;
	struct arena arena = {0};
	bool root = false, lung = false, private = false;

	mixed(w);
	cw_quota(w, CW_ROOT, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_PRIVATE, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	ask(w, w->auditor, QUERY_DIVISION, 0, "", &v, &arena);
	assert_int_equal(v.version, 2);
	assert_int_equal(v.items_n, CW_QNODES);
	for (uint32_t i = 0; i < v.items_n; i++) {
		const struct qnode_view *q = &v.items[i];

		if (!strcmp(q->path, "root")) {
			root = true;
			assert_int_equal(q->uses[0].total, 32);
			assert_int_equal(q->uses[0].guaranteed + q->uses[0].loan, 6 + 4 + 10 + 3);
			assert_int_equal(q->uses[0].slack, 32 - (6 + 4 + 10 + 3));
			assert_int_equal(q->depth, 0);
		} else if (!strcmp(q->path, "public/health/cancer/lung")) {
			lung = true;
			assert_int_equal(q->uses[0].guaranteed, 6);
			assert_int_equal(q->uses[0].slack, 2);
			assert_int_equal(q->depth, 4);
		} else if (!strcmp(q->path, "private")) {
			private = true;
			assert_int_equal(q->uses[0].total, 16);
			assert_int_equal(q->uses[0].guaranteed, 4 + 0);
			assert_int_equal(q->uses[0].loan, 3);
		}
	}
	assert_true(root && lung && private);
	arena_done(&arena);
}

/* What runs is in the usage before it is booked, and exactly that much is booked. */
static void usage_is_continuous_over_the_booking(void **state)
{
	struct core_world *w = *state;
	struct view_usage v;
	struct arena arena = {0};
	uint64_t job;

	cw_stage(w, CW_LUNG, "one", STAGE_RELEASED, 100);
	cw_apply(w);
	job = cw_submit(w, w->alice, "lung", 4, HOUR);
	cw_settle(w);
	cw_advance(w, 30 * MIN);
	ask(w, w->alice, QUERY_USAGE, 0, "lung", &v, &arena);
	assert_int_equal(v.items_n, 1);
	assert_string_equal(v.items[0].path, "public/health/cancer/lung");
	assert_int_equal(v.items[0].guaranteed_rums, 2 * HOUR);
	assert_int_equal(v.items[0].budget_left_rums, 96 * HOUR); /* less what is held */
	cw_exit(w, job, 0);
	ask(w, w->alice, QUERY_USAGE, 0, "lung", &v, &arena);
	assert_int_equal(v.items[0].guaranteed_rums, 2 * HOUR);
	assert_int_equal(v.items[0].budget_left_rums, 98 * HOUR);
	arena_done(&arena);
}

static void a_provider_sees_its_own_leases_and_usage_only(void **state)
{
	struct core_world *w = *state;
	struct view_leases l;
	struct view_usage u;
	struct view_endpoints e;
	struct arena arena = {0};

	mixed(w);
	cw_advance(w, MIN);
	ask(w, w->beta, QUERY_LEASES, 0, "", &l, &arena);
	assert_int_equal(l.items_n, 1);
	assert_string_equal(l.items[0].provider, "private/sme/beta");
	assert_int_equal(l.items[0].units_here, 3);
	assert_int_equal(l.items[0].expires_in_ms, 14 * MIN);
	assert_int_equal(l.items[0].replicas_n > 0, 1);
	ask(w, w->alice, QUERY_LEASES, 0, "", &l, &arena);
	assert_int_equal(l.items_n, 0);
	ask(w, w->auditor, QUERY_LEASES, 0, "", &l, &arena);
	assert_int_equal(l.items_n, 2);
	ask(w, w->beta, QUERY_USAGE, 0, "", &u, &arena);
	for (uint32_t i = 0; i < u.items_n; i++)
		assert_null(strstr(u.items[i].path, "acme"));
	ask(w, w->beta, QUERY_ENDPOINTS, 0, "", &e, &arena);
	assert_int_equal(e.items_n, 1);
	assert_true(e.items[0].port != 0);
	arena_done(&arena);
}

static void jobs_are_listed_by_owner_state_and_name(void **state)
{
	struct core_world *w = *state;
	struct query q = {.type = QUERY_JOBS};
	struct view_jobs v;
	struct arena arena = {0};
	uint64_t done = cw_submit(w, w->alice, "lung", 1, HOUR);

	cw_settle(w);
	cw_exit(w, done, 0);
	mixed(w);
	assert_int_equal(core_view(w->core, w->t, w->alice.principal, &q, &v, &arena, &w->err), 0);
	assert_int_equal(v.items_n, 3); /* live ones of everybody */
	q.mine = true;
	assert_int_equal(core_view(w->core, w->t, w->alice.principal, &q, &v, &arena, &w->err), 0);
	assert_int_equal(v.items_n, 2);
	q.all = true;
	assert_int_equal(core_view(w->core, w->t, w->alice.principal, &q, &v, &arena, &w->err), 0);
	assert_int_equal(v.items_n, 3);
	assert_string_equal(v.items[0].state, "CD");
	assert_string_equal(v.items[1].state, "R");
	assert_string_equal(v.items[2].state, "PD");
	assert_int_equal(v.items[2].order, 1);
	assert_int_equal(v.items[2].reason, REASON_LEAF_FULL);
	q = (struct query){.type = QUERY_JOBS, .state_mask = 1u << JOB_PENDING};
	assert_int_equal(core_view(w->core, w->t, w->bob.principal, &q, &v, &arena, &w->err), 0);
	assert_int_equal(v.items_n, 1);
	q = (struct query){.type = QUERY_JOBS, .name = "heart"};
	assert_int_equal(core_view(w->core, w->t, w->bob.principal, &q, &v, &arena, &w->err), 0);
	assert_int_equal(v.items_n, 1);
	assert_true(v.items[0].loan);
	q.limit = 1;
	q.name[0] = '\0';
	assert_int_equal(core_view(w->core, w->t, w->bob.principal, &q, &v, &arena, &w->err), 0);
	assert_int_equal(v.items_n, 1);
	arena_done(&arena);
}

/* One job, or an array with the children that have begun, however many others there are. */
static void jobs_are_found_by_their_id(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR);
	struct query q = {.type = QUERY_JOBS};
	struct view_jobs v;
	struct arena arena = {0};
	uint64_t one = cw_submit(w, w->alice, "lung", 1, HOUR), array;

	cmd.job_submit.spec.array_step = 1;
	cmd.job_submit.spec.array_last = 2;
	assert_int_equal(cw_do(w, &cmd), 0);
	array = w->d.result.id;
	cw_settle(w);
	(void)cw_submit(w, w->bob, "heart", 1, HOUR);
	q.id = one;
	assert_int_equal(core_view(w->core, w->t, w->bob.principal, &q, &v, &arena, &w->err), 0);
	assert_int_equal(v.items_n, 1);
	assert_int_equal(v.items[0].job.id, one);
	cw_exit(w, one, 0);
	assert_int_equal(core_view(w->core, w->t, w->bob.principal, &q, &v, &arena, &w->err), 0);
	assert_int_equal(v.items_n, 1); /* who asks for it by name gets it, ended or not */
	q.id = array;
	assert_int_equal(core_view(w->core, w->t, w->bob.principal, &q, &v, &arena, &w->err), 0);
	assert_int_equal(v.items_n, 4);
	assert_int_equal(v.items[0].job.id, array);
	for (uint32_t i = 1; i < 4; i++)
		assert_int_equal(v.items[i].job.array, array);
	q.limit = 2;
	assert_int_equal(core_view(w->core, w->t, w->bob.principal, &q, &v, &arena, &w->err), 0);
	assert_int_equal(v.items_n, 2);
	q.id = 999;
	assert_int_equal(core_view(w->core, w->t, w->bob.principal, &q, &v, &arena, &w->err), 0);
	assert_int_equal(v.items_n, 0);
	arena_done(&arena);
}

/* ---- explain --------------------------------------------------------------------------------- */

/* Make the change that was named, on a new job in the old one's place, and see it start. */
static void change_starts(struct core_world *w, uint64_t id, const char *option)
{
	const struct job *j = core_job(w->core, id);
	struct cw_who who = {j->owner, 0, VIA_USERS};
	struct command cmd = cw_submit_cmd(w, who, core_qnode(w->core, j->spec.project)->name, j->spec.units,
					   j->spec.time_limit_ms);
	uint64_t other;

	cmd.job_submit.spec = j->spec;
	cmd.job_submit.spec.requires = NULL;
	cmd.job_submit.spec.requires_n = 0;
	(void)snprintf(cmd.job_submit.flavor, FLAVOR_NAME_BYTES, "%s",
		       ((const struct flavor *)core_record(w->core, RECORD_FLAVOR, j->spec.flavor))->name);
	if (!strcmp(option, "--loan ok"))
		cmd.job_submit.spec.loan = LOAN_OK;
	else if (!strncmp(option, "--flavor ", 9))
		(void)snprintf(cmd.job_submit.flavor, FLAVOR_NAME_BYTES, "%s", option + 9);
	else if (!strncmp(option, "--gpus ", 7))
		cmd.job_submit.spec.units = cmd.job_submit.spec.units_max = (uint32_t)strtoul(option + 7, NULL, 10);
	else if (!strncmp(option, "--nodes ", 8))
		cmd.job_submit.spec.units = cmd.job_submit.spec.units_max = (uint32_t)strtoul(option + 8, NULL, 10);
	else if (!strncmp(option, "--time ", 7)) {
		cmd.job_submit.spec.time_limit_ms = strtoll(option + 7, NULL, 10) * 1000;
		cmd.job_submit.spec.exempt_ms = 0;
	} else
		fail_msg("an option nobody knows: %s", option);
	assert_int_equal(cw_job(w, w->admin, CMD_JOB_CANCEL, id), 0);
	assert_int_equal(cw_do(w, &cmd), 0);
	other = w->d.result.id;
	cw_settle(w);
	if (cw_job_state(w, other) != JOB_RUNNING)
		fail_msg("'%s' does not start it: %d", option, cw_reason(w, other));
}

static uint32_t every_change_is_true(void (*world)(struct core_world *), uint64_t (*job)(struct core_world *))
{
	struct core_world w;
	struct view_explain v;
	uint32_t n = 1, k;

	for (k = 0; k < n; k++) {
		struct arena arena = {0};
		uint64_t id;

		cw_start(&w);
		world(&w);
		id = job(&w);
		cw_settle(&w);
		assert_int_equal(cw_job_state(&w, id), JOB_PENDING);
		ask(&w, w.admin, QUERY_EXPLAIN, id, "", &v, &arena);
		n = v.changes_n;
		assert_true(v.reasons_n > 0 && v.reasons[0].blocking);
		if (k < n)
			change_starts(&w, id, v.changes[k].option);
		arena_done(&arena);
		cw_close(&w);
	}
	return n;
}

static void full_leaf(struct core_world *w)
{
	(void)cw_submit(w, w->alice, "lung", 6, HOUR);
	cw_settle(w);
}
static uint64_t eight_more(struct core_world *w) { return cw_submit(w, w->alice, "lung", 8, HOUR); }

/* 24 devices at hand, 12 of them busy for an hour; the first in line is promised 20 when those end. */
static void gap(struct core_world *w)
{
	struct command cmd;

	for (uint32_t q = 0; q < CW_QNODES; q++)
		if (w->qnode[q].quotas_n)
			cw_quota(w, q, 0, SHAPE_GPU, q == CW_LUNG ? 32 : 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, 4, "fan"), 0);
	(void)cw_submit(w, w->alice, "lung", 12, HOUR);
	cw_settle(w);
	cmd = cw_submit_cmd(w, w->alice, "lung", 20, HOUR);
	cmd.job_submit.spec.klass = JOB_URGENT;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
}
static uint64_t a_long_one(struct core_world *w) { return cw_submit(w, w->alice, "lung", 8, 4 * HOUR); }

static void named_changes_do_start_the_job(void **state)
{
	uint32_t n;

	(void)state;
	n = every_change_is_true(full_leaf, eight_more);
	assert_true(n >= 1);
	printf("# full leaf: %u changes tried\n", n);
}

/* A long job behind a promised start: only what really fits the gap may be named. */
static void changes_respect_a_promised_start(void **state)
{
	(void)state;
	printf("# gap: %u changes tried\n", every_change_is_true(gap, a_long_one));
}

static void a_node_left_out_after_a_failed_start_is_named(void **state)
{
	struct core_world *w = *state;
	struct view_explain v;
	struct arena arena = {0};
	uint64_t id = cw_submit(w, w->alice, "lung", 1, HOUR);
	char text[TEXT_BYTES];
	uint32_t at = 1;

	cw_tick(w);
	while (w->node[at].id != cw_alloc_of(w, OWNER_JOB, id)->parts[0].node)
		at++;
	w->node[at].manner = CW_NACK;
	for (uint32_t n = 1; n <= 4; n++)
		if (n != at)
			assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, n, "out"), 0);
	cw_advance(w, 10 * MIN);
	assert_int_equal(core_job(w->core, id)->excluded_n, 1);
	ask(w, w->alice, QUERY_EXPLAIN, id, "", &v, &arena);
	assert_int_equal(v.reasons[0].code, REASON_NODES_OUT);
	(void)snprintf(text, sizeof text, "nodes are unavailable; left out after a failed start: n%u", at);
	assert_string_equal(v.reasons[0].text, text);
	arena_done(&arena);
}

static const char *nodes_of(struct core_world *w, uint64_t job, struct arena *arena)
{
	struct view_jobs v;

	ask(w, w->alice, QUERY_JOBS, job, "", &v, arena);
	assert_int_equal(v.items_n, 1);
	return v.items[0].nodes;
}

/* Who looks for a broken node asks where a job ran, long after its devices were given to others. */
static void a_job_that_ended_says_where_it_ran(void **state)
{
	struct core_world *w = *state;
	struct arena arena = {0};
	uint64_t id = cw_submit(w, w->alice, "lung", 8, HOUR);

	assert_string_equal(nodes_of(w, id, &arena), "");
	cw_settle(w);
	assert_string_equal(nodes_of(w, id, &arena), "n1");
	/* back in line it says where it was, until it runs elsewhere; n2 cannot start it */
	w->node[2].manner = CW_NACK;
	for (uint32_t n = 1; n <= 4; n++)
		if (n != 2)
			assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, n, "a fan"), 0);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_REQUEUE, id), 0);
	cw_advance(w, MIN);
	assert_int_equal(core_job(w->core, id)->excluded_n, 1);
	assert_int_equal(cw_job_state(w, id), JOB_PENDING);
	assert_string_equal(nodes_of(w, id, &arena), "n1");
	assert_int_equal(cw_admin_node(w, CMD_NODE_UNCORDON, 3, ""), 0);
	cw_settle(w);
	assert_string_equal(nodes_of(w, id, &arena), "n3");
	cw_exit(w, id, 1);
	assert_int_equal(cw_job_state(w, id), JOB_FAILED);
	assert_int_equal(cw_allocs(w), 0);
	assert_string_equal(nodes_of(w, id, &arena), "n3");
	cw_reload(w, MIN);
	assert_string_equal(nodes_of(w, id, &arena), "n3");
	assert_int_equal(cw_admin_node(w, CMD_NODE_REMOVE, 3, "sold"), 0);
	assert_string_equal(nodes_of(w, id, &arena), "(removed)");
	arena_done(&arena);
}

/* What an elastic job had beside its least counts, however soon it was taken back; once for each node. */
static void the_nodes_of_extras_are_kept(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 4, 9 * HOUR);
	struct arena arena = {0};
	uint64_t id;

	cmd.job_submit.spec.units_max = 16;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	assert_string_equal(nodes_of(w, id, &arena), "n1,n1,n2,n2"); /* where it is: each of its parts */
	(void)cw_lease(w, w->acme, "acme", 8, LEASE_FIRM);
	(void)cw_lease(w, w->beta, "beta", 8, LEASE_FIRM);
	(void)cw_submit(w, w->bob, "heart", 8, HOUR);
	(void)cw_submit(w, w->alice, "lung", 4, HOUR);
	cw_settle(w);
	assert_string_equal(nodes_of(w, id, &arena), "n1");
	cw_exit(w, id, 0);
	assert_int_equal(cw_job_state(w, id), JOB_COMPLETED);
	assert_string_equal(nodes_of(w, id, &arena), "n1,n2");
	arena_done(&arena);
}

/* A list that does not fit ends behind a whole name, and says that there are more. */
static void nodes_that_do_not_fit_are_hinted_at(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	struct arena arena = {0};
	const char *nodes;
	uint64_t id;

	cw_close(w);
	cw_open(w, 8);
	cw_apply(w);
	for (uint32_t i = 1; i <= 8; i++)
		assert_int_equal(cw_hello(w, i), 0);
	cmd = cw_submit_cmd(w, w->alice, "lung", 1, 9 * HOUR);
	cmd.job_submit.spec.units_max = 64;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	nodes = nodes_of(w, id, &arena); /* n1,n1,...: 64 parts */
	assert_true(strlen(nodes) > TEXT_BYTES - 8);
	assert_string_equal(nodes + strlen(nodes) - 7, ",n6,...");
	arena_done(&arena);
}

static void reasons_keep_their_time(void **state)
{
	struct core_world *w = *state;
	struct view_explain v;
	struct arena arena = {0};
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 4, HOUR);
	uint64_t first = cw_submit(w, w->alice, "lung", 8, 10 * HOUR), id;
	bool begin = false;

	cw_settle(w);
	cmd.job_submit.spec.begin_ms = w->t + 10 * MIN;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_advance(w, 30 * MIN);
	ask(w, w->alice, QUERY_EXPLAIN, id, "", &v, &arena);
	assert_int_equal(v.reasons[0].code, REASON_LEAF_FULL);
	assert_int_equal(v.reasons[0].elapsed_ms, 20 * MIN);
	for (uint32_t i = 1; i < v.reasons_n; i++)
		if (v.reasons[i].code == REASON_BEGIN) {
			begin = true;
			assert_int_equal(v.reasons[i].elapsed_ms, 10 * MIN);
			assert_false(v.reasons[i].blocking);
		}
	assert_true(begin);
	(void)first;
	arena_done(&arena);
}

/* A gang that must stay in one leaf waits while the leaves are broken, and hears what would help. */
static void a_leaf_that_is_broken_is_explained(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->bob, "heart", 16, HOUR), one = cw_submit_cmd(w, w->bob, "heart", 1, HOUR);
	struct view_explain v;
	struct arena arena = {0};
	uint64_t first, second, id;
	bool offered = false;

	one.job_submit.spec.loan = cmd.job_submit.spec.loan = LOAN_ONLY;
	for (uint32_t i = 2; i <= 4; i++)
		assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, i, "not here"), 0);
	assert_int_equal(cw_do(w, &one), 0);
	first = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_admin_node(w, CMD_NODE_UNCORDON, 3, ""), 0);
	one.job_submit.spec.units = 8; /* fits on the other leaf alone */
	assert_int_equal(cw_do(w, &one), 0);
	second = w->d.result.id;
	cw_settle(w);
	for (uint32_t i = 2; i <= 4; i += 2)
		assert_int_equal(cw_admin_node(w, CMD_NODE_UNCORDON, i, ""), 0);
	cmd.job_submit.spec.topology = TOPOLOGY_LEAF;
	cmd.job_submit.spec.topology_required = true;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, first), JOB_RUNNING);
	assert_int_equal(cw_job_state(w, second), JOB_RUNNING);
	assert_int_equal(cw_job_state(w, id), JOB_PENDING);
	ask(w, w->bob, QUERY_EXPLAIN, id, "", &v, &arena);
	assert_int_equal(v.reasons[0].code, REASON_FRAGMENTED);
	assert_string_equal(v.reasons[0].text, "23 devices are free, at most 15 in one leaf");
	for (uint32_t i = 0; i < v.changes_n; i++)
		offered |= !strcmp(v.changes[i].option, "--topology preferred=leaf");
	assert_true(offered);
	cw_exit(w, first, 0); /* the first leaf is whole again */
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING);
	for (uint32_t i = 0; i < cw_alloc_of(w, OWNER_JOB, id)->parts_n; i++)
		assert_true(cw_alloc_of(w, OWNER_JOB, id)->parts[i].node == w->node[1].id ||
			    cw_alloc_of(w, OWNER_JOB, id)->parts[i].node == w->node[2].id);
	arena_done(&arena);
}

static void claims_and_a_lease_explained(void **state)
{
	struct core_world *w = *state;
	struct view_claims c;
	struct view_explain v;
	struct arena arena = {0};
	struct command cmd = cw_submit_cmd(w, w->bob, "heart", 32, HOUR);
	uint64_t id;

	cmd.job_submit.spec.loan = LOAN_ONLY;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_STUBBORN;
	id = cw_lease(w, w->acme, "acme", 6, LEASE_FIRM);
	cw_advance(w, MIN);
	ask(w, w->admin, QUERY_CLAIMS, 0, "", &c, &arena);
	assert_int_equal(c.items_n, 1);
	assert_int_equal(c.items[0].due_in_ms, 14 * MIN);
	assert_int_equal(c.items[0].units_here, 0);
	assert_string_equal(c.items[0].victims, "job-1");
	ask(w, w->acme, QUERY_EXPLAIN, id, "lease", &v, &arena);
	assert_int_equal(v.leases_n, 1);
	assert_int_equal(v.leases[0].reason, REASON_CLAIM);
	assert_int_equal(v.leases[0].units_coming, 6);
	arena_done(&arena);
}

static void a_deficit_is_previewed_and_changes_nothing(void **state)
{
	struct core_world *w = *state;
	struct view_deficit v;
	struct arena arena = {0};
	uint64_t before;
	bool spare = false, broken = false;

	mixed(w);
	before = cw_digest(w);
	ask(w, w->admin, QUERY_DEFICIT, 0, "leaf=leaf1", &v, &arena);
	for (uint32_t i = 0; i < v.items_n; i++) {
		spare |= !strcmp(v.items[i].step, "spare") && strstr(v.items[i].effect, "16 lost");
		broken |= !strcmp(v.items[i].step, "replace_broken");
	}
	assert_true(spare && broken);
	assert_int_equal(cw_digest(w), before);
	arena_done(&arena);
}

static void keys_and_tokens_hide_their_secrets(void **state)
{
	struct core_world *w = *state;
	struct view_principals p;
	struct view_tokens k;
	struct arena arena = {0};
	struct command cmd = cw_cmd(w, w->admin, CMD_TOKEN_CREATE);
	bool alice = false;

	cmd.token_create.hash[0] = 5;
	cmd.token_create.role = ROLE_MEMBER;
	cmd.token_create.uses = 1;
	cmd.token_create.ttl_ms = HOUR;
	assert_int_equal(cw_do(w, &cmd), 0);
	ask(w, w->admin, QUERY_TOKENS, 0, "", &k, &arena);
	assert_int_equal(k.items_n, 1);
	assert_int_equal(k.items[0].token.hash[0], 0);
	assert_string_equal(k.items[0].role, "member");
	ask(w, w->admin, QUERY_PRINCIPALS, 0, "", &p, &arena);
	for (uint32_t i = 0; i < p.items_n; i++)
		alice |= !strcmp(p.items[i].principal.name, "alice") && !strcmp(p.items[i].role, "member") &&
			 p.items[i].cred == w->alice.cred;
	assert_true(alice);
	arena_done(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(the_sums_of_status_are_those_of_the_records),
		STORY(a_node_out_of_use_is_not_ready),
		STORY(an_array_is_not_counted_beside_its_children),
		STORY(nodes_and_their_holders),
		STORY(the_division_shows_what_each_subtree_uses),
		STORY(usage_is_continuous_over_the_booking),
		STORY(a_provider_sees_its_own_leases_and_usage_only),
		STORY(jobs_are_listed_by_owner_state_and_name),
		STORY(jobs_are_found_by_their_id),
		cmocka_unit_test(named_changes_do_start_the_job),
		cmocka_unit_test(changes_respect_a_promised_start),
		STORY(a_node_left_out_after_a_failed_start_is_named),
		STORY(a_job_that_ended_says_where_it_ran),
		STORY(the_nodes_of_extras_are_kept),
		STORY(nodes_that_do_not_fit_are_hinted_at),
		STORY(reasons_keep_their_time),
		STORY(a_leaf_that_is_broken_is_explained),
		STORY(claims_and_a_lease_explained),
		STORY(a_deficit_is_previewed_and_changes_nothing),
		STORY(keys_and_tokens_hide_their_secrets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
