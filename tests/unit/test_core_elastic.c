/* test_core_elastic.c - jobs between a least and a most
 *
 * Surplus is free for everybody only as long as whoever is entitled gets it back at once, and the job that
 * had it goes on. A job that grows into what somebody waits for, that dies with an extra, or whose extras
 * outlive it would each undo that.
 */
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
#define MIN MS_PER_MIN

static struct command range_cmd(const struct core_world *w, struct cw_who who, const char *project, uint32_t least,
				uint32_t most, int64_t limit)
{
	struct command cmd = cw_submit_cmd(w, who, project, least, limit);

	cmd.job_submit.spec.units_max = most;
	return cmd;
}

static uint64_t range(struct core_world *w, struct cw_who who, const char *project, uint32_t least, uint32_t most,
		      int64_t limit)
{
	struct command cmd = range_cmd(w, who, project, least, most, limit);

	assert_int_equal(cw_do(w, &cmd), 0);
	return w->d.result.id;
}

static uint32_t extra(const struct core_world *w, uint64_t job) { return job_of(w->core, job)->extra_units; }
static uint32_t core_units(const struct core_world *w, uint64_t job)
{
	const struct alloc *a = core_alloc(w->core, core_job(w->core, job)->alloc);

	return a ? a->units : 0;
}

/* With nobody waiting it has its most, all of it on loan, while its least is guaranteed. */
static void grows_into_what_is_idle(void **state)
{
	struct core_world *w = *state;
	uint64_t job = range(w, w->alice, "lung", 4, 16, 5 * HOUR), script;
	struct command cmd;
	uint32_t ranks = 0, allocs = 0;

	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	assert_int_equal(core_units(w, job), 4);
	assert_int_equal(extra(w, job), 12);
	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_ALLOC, id)) != 0; allocs++) {
		const struct alloc *a = core_alloc(w->core, id);

		assert_int_equal(a->klass, a->extra ? CLASS_LOAN : CLASS_GUARANTEED);
		assert_int_equal(a->units, 4); /* in steps of its least */
		for (uint32_t i = 0; i < a->parts_n; i++) {
			assert_false(ranks >> a->parts[i].rank0 & 1); /* each its own rank */
			ranks |= 1u << a->parts[i].rank0;
		}
	}
	assert_int_equal(allocs, 4);
	assert_int_equal(ranks, 0xf);
	cw_advance(w, 20 * MIN);
	assert_int_equal(extra(w, job), 12); /* not beyond its most, and never promoted */
	cw_exit(w, job, 0);
	cw_settle(w);
	assert_int_equal(w->core->allocs.count, 0); /* they end with the job */
	assert_int_equal(cw_job_state(w, job), JOB_COMPLETED);
	/* a script runs once, on its first node: more nodes would be of no use to it */
	cmd = range_cmd(w, w->alice, "lung", 4, 16, HOUR);
	cmd.job_submit.spec.mode = JOB_SCRIPT;
	assert_int_equal(cw_do(w, &cmd), 0);
	script = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, script), JOB_RUNNING);
	assert_int_equal(extra(w, script), 0);
}

/* The first victims of a recall, while the job itself is no victim at all. */
static void extras_go_first_and_the_job_goes_on(void **state)
{
	struct core_world *w = *state;
	uint64_t job, loan, mine;
	struct command cmd;

	cw_quota(w, CW_HEART, 0, SHAPE_GPU, 16, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_ACME, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	cmd = cw_submit_cmd(w, w->alice, "lung", 8, 9 * HOUR); /* a whole loan, that would be cheap to take */
	cmd.job_submit.spec.loan = LOAN_ONLY;
	cmd.job_submit.spec.klass = JOB_SCAVENGER;
	assert_int_equal(cw_do(w, &cmd), 0);
	loan = w->d.result.id;
	cw_settle(w);
	job = range(w, w->alice, "lung", 8, 24, 9 * HOUR);
	cw_settle(w);
	assert_int_equal(extra(w, job), 16);
	assert_int_equal(cw_job_state(w, loan), JOB_RUNNING);
	cw_advance(w, MIN);
	mine = cw_submit(w, w->bob, "heart", 16, HOUR); /* heart is entitled to 16 */
	cw_tick(w);
	assert_int_equal(cw_job_state(w, mine), JOB_EARMARKED);
	assert_int_equal(extra(w, job), 0);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	assert_int_equal(cw_job_state(w, loan), JOB_RUNNING); /* nobody was stopped */
	cw_settle(w);
	cw_advance(w, 3 * MIN);
	assert_int_equal(cw_job_state(w, mine), JOB_RUNNING);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	assert_int_equal(core_job(w->core, job)->attempt, 1);
	assert_int_equal(core_units(w, job), 8);
	cw_exit(w, mine, 0);
	cw_advance(w, 6 * MIN);
	assert_int_equal(extra(w, job), 16); /* and back again */
}

/* A job that waits for devices and nothing else comes before anybody's surplus, also as a loan. */
static void a_waiting_least_comes_before_surplus(void **state)
{
	struct core_world *w = *state;
	uint64_t job, waiting;
	struct command cmd;

	job = range(w, w->alice, "lung", 8, 32, 9 * HOUR);
	cw_settle(w);
	assert_int_equal(extra(w, job), 24);
	cmd = cw_submit_cmd(w, w->bob, "heart", 16, HOUR); /* 8 are its own: 16 are a loan */
	cmd.job_submit.spec.loan = LOAN_ONLY;
	assert_int_equal(cw_do(w, &cmd), 0);
	waiting = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, waiting), JOB_PENDING);
	assert_int_equal(extra(w, job), 24); /* not every minute: it grew just now */
	cw_advance(w, 5 * MIN);
	assert_int_equal(cw_job_state(w, waiting), JOB_RUNNING);
	assert_int_equal(extra(w, job), 8); /* no more than was needed */
	cw_exit(w, waiting, 0);
	cw_settle(w);
	assert_int_equal(extra(w, job), 8);
	cw_advance(w, 5 * MIN);
	assert_int_equal(extra(w, job), 24);
}

static void nobody_grows_while_somebody_waits_for_devices(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->bob, "heart", 8, HOUR);
	uint64_t held[4], job, waiting;

	for (int i = 0; i < 4; i++) { /* all is full of loans of one class */
		cmd = cw_submit_cmd(w, w->bob, "heart", 8, 9 * HOUR);
		cmd.job_submit.spec.loan = LOAN_ONLY;
		assert_int_equal(cw_do(w, &cmd), 0);
		held[i] = w->d.result.id;
	}
	cw_settle(w);
	cw_exit(w, held[0], 0);
	job = range(w, w->alice, "lung", 4, 32, 9 * HOUR);
	cmd = cw_submit_cmd(w, w->alice, "heart", 8, 9 * HOUR);
	cmd = cw_submit_cmd(w, w->bob, "heart", 8, 9 * HOUR);
	cmd.job_submit.spec.loan = LOAN_ONLY;
	assert_int_equal(cw_do(w, &cmd), 0);
	waiting = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	assert_int_equal(cw_job_state(w, waiting), JOB_PENDING);
	cw_advance(w, HOUR);
	assert_int_equal(extra(w, job), 0); /* four devices are free, and waited for */
	assert_int_equal(cw_job(w, w->bob, CMD_JOB_CANCEL, waiting), 0);
	cw_settle(w);
	assert_int_equal(extra(w, job), 4);
}

/* Two that could grow share by their least, step by step. */
/* Nor does he hold anybody up who no longer waits for devices alone. */
static void who_waits_for_something_else_holds_nobody_up(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	uint64_t job;

	w->qnode[CW_HEART].running_jobs_max = 1;
	cw_apply(w);
	job = range(w, w->alice, "lung", 8, 16, 9 * HOUR);
	cmd = cw_submit_cmd(w, w->bob, "heart", 32, HOUR);
	cmd.job_submit.spec.loan = LOAN_ONLY;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	assert_int_equal(extra(w, job), 0);
	(void)cw_submit(w, w->bob, "heart", 1, HOUR); /* the one that may run */
	cw_settle(w);
	assert_int_equal(extra(w, job), 8);
}

static void surplus_goes_to_whoever_has_least_for_its_least(void **state)
{
	struct core_world *w = *state;
	uint64_t a, b;

	for (uint32_t n = 1; n <= 4; n++)
		assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, n, "until both have begun"), 0);
	a = range(w, w->alice, "lung", 2, 32, 9 * HOUR);
	b = range(w, w->bob, "heart", 4, 32, 9 * HOUR);
	for (uint32_t n = 1; n <= 4; n++)
		assert_int_equal(cw_admin_node(w, CMD_NODE_UNCORDON, n, ""), 0);
	cw_tick(w); /* both are placed; nothing grows before they run */
	assert_int_equal(extra(w, a) + extra(w, b), 0);
	cw_agents(w);
	cw_agents(w);
	cw_tick(w);
	cw_settle(w);
	/* 26 to share, in steps of 2 and 4: five times the least for both, and the last two for the older */
	assert_int_equal(extra(w, a), 10);
	assert_int_equal(extra(w, b), 16);
}

static void an_extra_that_fails_ends_alone(void **state)
{
	struct core_world *w = *state;
	uint64_t job = range(w, w->alice, "lung", 8, 32, 9 * HOUR), first = 0, lost = 0;
	const struct alloc *a;
	uint32_t node = 0;

	cw_settle(w);
	assert_int_equal(extra(w, job), 24);
	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_ALLOC, id)) != 0;)
		if (core_alloc(w->core, id)->extra) {
			lost = first && !lost ? id : lost;
			first = first ? first : id;
		}
	/* its program ends */
	a = core_alloc(w->core, first);
	for (uint32_t n = 1; n <= 4; n++)
		if (w->node[n].id == a->parts[0].node)
			node = n;
	assert_int_equal(cw_report(w, node, first, 0, UNIT_EXITED, 1), 0);
	cw_settle(w);
	assert_int_equal(extra(w, job), 16);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	/* its node dies */
	a = core_alloc(w->core, lost);
	for (uint32_t n = 1; n <= 4; n++)
		if (w->node[n].id == a->parts[0].node)
			node = n;
	cw_reboot(w, node);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	assert_int_equal(extra(w, job), 8);
	/* cannot be bound: tried once per interval, not for ever */
	for (uint32_t n = 1; n <= 4; n++)
		w->node[n].manner = CW_NACK;
	cw_advance(w, 6 * MIN);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	assert_int_equal(extra(w, job), 8);
	for (uint32_t n = 1; n <= 4; n++)
		w->node[n].manner = CW_OBEY;
	cw_advance(w, 6 * MIN);
	assert_int_equal(extra(w, job), 24);
	assert_int_equal(core_job(w->core, job)->attempt, 1);
}

/* A lost node is missed for long enough to be given up: the job does not wait for its extra there. */
static void an_extra_on_a_lost_node_is_given_up(void **state)
{
	struct core_world *w = *state;
	uint64_t job = range(w, w->alice, "lung", 8, 16, 90 * HOUR);
	uint32_t node = 0;

	cw_settle(w);
	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_ALLOC, id)) != 0;)
		for (uint32_t n = 1; n <= 4 && core_alloc(w->core, id)->extra; n++)
			if (w->node[n].id == core_alloc(w->core, id)->parts[0].node)
				node = n;
	w->node[node].manner = CW_MUTE;
	assert_int_equal(cw_liveness(w, node, NODE_UNREACHABLE), 0);
	cw_advance(w, 2 * HOUR);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	assert_int_equal(extra(w, job), 8); /* another one, elsewhere */
	assert_int_equal(job_of(w->core, job)->extras_n, 2); /* and the old one is still held: nobody proved it gone */
}

/* Budget: what extras hold is a loan's price to the limit, and what they did not use comes back. */
static void extras_are_paid_at_the_loan_rate(void **state)
{
	struct core_world *w = *state;
	uint64_t job;
	int64_t spent;
	const struct qnode *q;

	cw_stage(w, CW_LUNG, "pilot", STAGE_RELEASED, 30);
	cw_apply(w);
	job = range(w, w->alice, "lung", 4, 12, 2 * HOUR); /* 8 GPU-hours, and 16 at the loan rate */
	cw_settle(w);
	assert_int_equal(extra(w, job), 8);
	q = core_qnode(w->core, cw_id(w, "public/health/cancer/lung"));
	assert_true(q->stages[0].held_rums == 8 * HOUR + 16 * HOUR * core_cluster(w->core)->loan_rate_ppm / 1000000);
	cw_advance(w, HOUR);
	cw_exit(w, job, 0);
	cw_settle(w);
	q = core_qnode(w->core, cw_id(w, "public/health/cancer/lung"));
	assert_true(q->stages[0].held_rums == 0);
	spent = 4 * HOUR + 8 * HOUR * core_cluster(w->core)->loan_rate_ppm / 1000000;
	assert_true(q->stages[0].spent_rums <= spent && q->stages[0].spent_rums > spent - 20 * MS_PER_S * 12);
	/* a stage that carries the least alone: it starts, and stays as it is */
	cw_stage(w, CW_HEART, "pilot", STAGE_RELEASED, 10);
	cw_apply(w);
	job = range(w, w->bob, "heart", 4, 32, 2 * HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	assert_int_equal(extra(w, job), 0); /* 2 GPU-hours are left, 4 would be needed */
}

static void a_requeued_job_takes_no_extras_along(void **state)
{
	struct core_world *w = *state;
	uint64_t job = range(w, w->alice, "lung", 8, 32, 9 * HOUR);

	cw_settle(w);
	assert_int_equal(extra(w, job), 24);
	for (uint32_t n = 1; n <= 4; n++)
		w->node[n].manner = CW_STUBBORN; /* devices are slow to come back */
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_REQUEUE, job), 0);
	cw_settle(w);
	cw_advance(w, MIN);
	assert_int_equal(extra(w, job), 0);
	for (uint32_t n = 1; n <= 4; n++)
		w->node[n].manner = CW_OBEY;
	cw_settle(w);
	assert_int_equal(core_job(w->core, job)->attempt, 2);
	cw_advance(w, 6 * MIN);
	assert_int_equal(extra(w, job), 24);
	cw_reload(w, MIN);
	cw_advance(w, 10 * MIN);
	assert_int_equal(extra(w, job), 24);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, job), 0);
	cw_settle(w);
	cw_advance(w, MIN);
	assert_int_equal(w->core->allocs.count, 0);
}

static void extras_stay_out_of_what_is_reserved_soon(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_cmd(w, w->operator, CMD_RESERVATION_CREATE);
	struct window window = {w->t + 4 * MIN, w->t + 2 * HOUR};
	struct text_ref nodes[3] = {{"n2"}, {"n3"}, {"n4"}};
	uint64_t job;

	(void)snprintf(cmd.reservation_create.spec.name, NAME_BYTES, "disks");
	cmd.reservation_create.spec.maint = true;
	cmd.reservation_create.spec.windows = &window;
	cmd.reservation_create.spec.windows_n = 1;
	cmd.reservation_create.nodes = nodes;
	cmd.reservation_create.nodes_n = 3;
	assert_int_equal(cw_do(w, &cmd), 0);
	job = range(w, w->alice, "lung", 4, 32, 9 * HOUR);
	cw_settle(w);
	assert_int_equal(extra(w, job), 4); /* not on three nodes for two minutes */
	cw_advance(w, 3 * HOUR);
	assert_int_equal(extra(w, job), 28);
}

/* What a task is told: all there is, its own place in it, and how far it may go. */
static void units_say_what_the_job_has(void **state)
{
	struct core_world *w = *state;
	struct command cmd = range_cmd(w, w->alice, "lung", 1, 3, 9 * HOUR);
	uint32_t ranks = 0, seen = 0;
	uint64_t job;

	cmd.job_submit.spec.shape = SHAPE_NODE;
	cw_quota(w, CW_LUNG, 0, SHAPE_NODE, 1, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_BETA, 0, SHAPE_NODE, 2, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_BETA, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_HEART, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	assert_int_equal(cw_do(w, &cmd), 0);
	job = w->d.result.id;
	cw_settle(w);
	assert_int_equal(extra(w, job), 2);
	for (uint32_t n = 1; n <= 4; n++) {
		struct arena arena = {0};
		struct unit *units;
		uint32_t count;

		core_units_of_node(w->core, w->t, w->node[n].id, &arena, &units, &count);
		for (uint32_t i = 0; i < count; i++, seen++) {
			assert_int_equal(units[i].nodes_min, 1);
			assert_int_equal(units[i].nodes_max, 3);
			assert_int_equal(units[i].nodes_now, 3);
			assert_int_equal(units[i].units_now, 3);
			assert_int_equal(units[i].world, 3);
			assert_int_equal(units[i].hosts_n, 3);
			assert_int_equal(units[i].rank0, units[i].node_rank);
			assert_int_equal(units[i].master_port, units[0].master_port);
			assert_true(units[i].master_port > 0);
			ranks |= 1u << units[i].rank0;
		}
		arena_done(&arena);
	}
	assert_int_equal(seen, 3);
	assert_int_equal(ranks, 7);
}


int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(grows_into_what_is_idle),
		STORY(extras_go_first_and_the_job_goes_on),
		STORY(a_waiting_least_comes_before_surplus),
		STORY(nobody_grows_while_somebody_waits_for_devices),
		STORY(who_waits_for_something_else_holds_nobody_up),
		STORY(surplus_goes_to_whoever_has_least_for_its_least),
		STORY(an_extra_that_fails_ends_alone),
		STORY(an_extra_on_a_lost_node_is_given_up),
		STORY(extras_are_paid_at_the_loan_rate),
		STORY(a_requeued_job_takes_no_extras_along),
		STORY(extras_stay_out_of_what_is_reserved_soon),
		STORY(units_say_what_the_job_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
