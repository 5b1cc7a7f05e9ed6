/* test_core_job.c - the life of jobs, told through commands
 *
 * Without these a job could be lost, run twice, be charged for what it did not get, or wait without
 * anybody being able to say why. core_check() is walked after every single command.
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
#include "daemon/core/state.h"
#include "tests/lib/core_world.h"

#define HOUR MS_PER_HOUR
#define MIN MS_PER_MIN

static int64_t stage_held(const struct core_world *w, const char *path, uint32_t i)
{
	return core_qnode(w->core, cw_id(w, path))->stages[i].held_rums;
}
static int64_t stage_spent(const struct core_world *w, const char *path, uint32_t i)
{
	return core_qnode(w->core, cw_id(w, path))->stages[i].spent_rums;
}

/* ---- a plain life ---------------------------------------------------------------------------- */

static void a_job_runs_to_completed(void **state)
{
	struct core_world *w = *state;
	uint64_t id = cw_submit(w, w->alice, "lung", 4, HOUR), alloc;
	const struct job *j = core_job(w->core, id);

	assert_int_equal(j->state, JOB_PENDING);
	assert_string_equal(j->user, "alice");
	cw_tick(w);
	assert_int_equal(j->state, JOB_BINDING);
	assert_int_equal(j->attempt, 1);
	alloc = j->alloc;
	assert_int_equal(core_alloc(w->core, alloc)->klass, CLASS_GUARANTEED);
	assert_int_equal(core_alloc(w->core, alloc)->parts_n, 1); /* one node before several */
	assert_int_equal(cw_held(w, OWNER_JOB, id), 4);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING);
	assert_int_equal(core_job(w->core, id)->start_ms, w->t);
	assert_int_equal(core_alloc(w->core, alloc)->limit_ms, w->t + HOUR);
	cw_advance(w, 10 * MIN);
	cw_exit(w, id, 0);
	j = core_job(w->core, id);
	assert_int_equal(j->state, JOB_COMPLETED);
	assert_int_equal(j->end_cause, END_EXIT);
	assert_int_equal(j->exit_code, 0);
	assert_int_equal(j->end_ms, w->t);
	assert_int_equal(j->alloc, 0);
	assert_int_equal(j->used_guaranteed_rums, 4 * 10 * MIN);
	assert_int_equal(cw_allocs(w), 0);
}

static void a_failing_job_is_failed_and_retried_as_asked(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR);
	uint64_t id;

	cmd.job_submit.spec.retries_user = 1;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	cw_exit(w, id, 3);
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING); /* one retry */
	assert_int_equal(core_job(w->core, id)->attempt, 2);
	cw_exit(w, id, 3);
	assert_int_equal(cw_job_state(w, id), JOB_FAILED);
	assert_int_equal(core_job(w->core, id)->exit_code, 3);
}

/* One task of a gang fails: the rest is stopped, and the first failure is the one remembered. */
static void one_failure_ends_the_gang(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 8, HOUR);
	const struct alloc *a;
	uint64_t id;

	cmd.job_submit.spec.per_node = 4;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	a = cw_alloc_of(w, OWNER_JOB, id);
	assert_int_equal(a->parts_n, 2);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		if (w->node[i].id == a->parts[1].node)
			assert_int_equal(cw_report(w, i, a->id, 1, UNIT_EXITED, 7), 0);
	assert_int_equal(cw_job_state(w, id), JOB_STOPPING);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_FAILED);
	assert_int_equal(core_job(w->core, id)->exit_code, 7); /* not the 143 of the one that was stopped */
	assert_int_equal(cw_allocs(w), 0);
}

/* A job of one part ends by `row`. */
static const struct job *ended_by(struct core_world *w, struct unit_status row)
{
	uint64_t id = cw_submit(w, w->alice, "lung", 1, HOUR);
	struct command cmd;

	cw_settle(w);
	cmd = cw_cmd(w, w->node[1].agent, CMD_NODE_REPORT);
	row.alloc = core_job(w->core, id)->alloc;
	row.state = UNIT_EXITED;
	row.checkpoint_ago_ms = -1;
	cmd.node_report.node = w->node[1].id;
	cmd.node_report.incarnation = 1;
	cmd.node_report.units = &row;
	cmd.node_report.units_n = 1;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	return core_job(w->core, id);
}

static void out_of_memory_has_a_state_of_its_own(void **state)
{
	assert_int_equal(ended_by(*state, (struct unit_status){.exit_signal = 9, .oom = true})->state, JOB_OOM);
}

static void the_end_says_what_the_agent_says(void **state)
{
	struct unit_status row = {.exit_signal = 9};

	assert_string_equal(ended_by(*state, row)->end_text, "ended on n1 by a signal");
	strcpy(row.text, "the shim of task 0 is gone, its exit status is not known");
	assert_string_equal(ended_by(*state, row)->end_text,
			    "ended on n1: the shim of task 0 is gone, its exit status is not known");
	memset(row.text, 'x', sizeof row.text - 1); /* what does not fit is cut and marked so */
	assert_string_equal(ended_by(*state, row)->end_text,
			    "ended on n1: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
			    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...");
}

static void the_time_limit_gives_notice_and_then_ends(void **state)
{
	struct core_world *w = *state;
	uint64_t id = cw_submit(w, w->alice, "lung", 2, HOUR);
	int64_t begun;

	cw_settle(w);
	begun = w->t;
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_STUBBORN;
	cw_advance(w, 58 * MIN - 1);
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING);
	cw_advance(w, 1); /* notice is 2 min */
	assert_int_equal(cw_job_state(w, id), JOB_STOPPING);
	assert_int_equal(cw_alloc_of(w, OWNER_JOB, id)->stop_cause, END_TIME);
	assert_int_equal(cw_alloc_of(w, OWNER_JOB, id)->stop_at_ms, begun + HOUR);
	cw_advance(w, 10 * MIN); /* killed at the limit; the devices come back late */
	assert_int_equal(cw_job_state(w, id), JOB_STOPPING);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_OBEY;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_TIMEOUT);
	/* it is charged up to its limit, not for the time the node took to clean up */
	assert_int_equal(core_job(w->core, id)->used_guaranteed_rums, 2 * HOUR);
}

/* It finishes within the notice: that is a completed job, not a timeout. */
static void exit_zero_within_the_notice_is_completed(void **state)
{
	struct core_world *w = *state;
	uint64_t id = cw_submit(w, w->alice, "lung", 2, HOUR);

	cw_settle(w);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_STUBBORN;
	cw_advance(w, 59 * MIN);
	assert_int_equal(cw_job_state(w, id), JOB_STOPPING);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_OBEY;
	cw_exit(w, id, 0);
	assert_int_equal(cw_job_state(w, id), JOB_COMPLETED);
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void a_full_quota_says_501_and_starts_when_freed(void **state)
{
	struct core_world *w = *state;
	uint64_t first = cw_submit(w, w->alice, "lung", 8, HOUR), second;

	cw_settle(w);
	second = cw_submit(w, w->alice, "lung", 2, HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, second), JOB_PENDING);
	assert_int_equal(cw_reason(w, second), REASON_LEAF_FULL);
	cw_exit(w, first, 0);
	assert_int_equal(cw_job_state(w, second), JOB_RUNNING);
}

static void a_borrowing_limit_says_503(void **state)
{
	struct core_world *w = *state;
	uint64_t id;

	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 4, 2, QTY_UNLIMITED);
	cw_quota(w, CW_CANCER, 0, SHAPE_GPU, 4, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	(void)cw_submit(w, w->alice, "lung", 6, HOUR);
	cw_settle(w);
	id = cw_submit(w, w->alice, "lung", 1, HOUR);
	cw_settle(w);
	assert_int_equal(cw_reason(w, id), REASON_BORROWING);
}

static void an_ancestor_that_is_full_says_502(void **state)
{
	struct core_world *w = *state;
	uint64_t id;

	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 4, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_HEART, 0, SHAPE_GPU, 4, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_CANCER, 0, SHAPE_GPU, 4, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	(void)cw_submit(w, w->bob, "heart", 8, HOUR);
	(void)cw_submit(w, w->alice, "lung", 4, HOUR);
	cw_settle(w);
	id = cw_submit(w, w->alice, "lung", 1, HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_PENDING);
	assert_int_equal(cw_reason(w, id), REASON_ANCESTOR_FULL);
}

static void begin_holds_back_until_then(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR);
	uint64_t id;

	cmd.job_submit.spec.begin_ms = w->t + HOUR;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_advance(w, HOUR - 1);
	assert_int_equal(cw_job_state(w, id), JOB_PENDING);
	assert_int_equal(cw_reason(w, id), REASON_BEGIN);
	cw_advance(w, 1);
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING);
}

static void hold_and_release(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR);
	uint64_t id;

	cmd.job_submit.spec.hold = true;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_HELD);
	assert_int_equal(cw_reason(w, id), REASON_HELD_USER);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_RELEASE, id), 0);
	assert_int_equal(cw_job(w, w->admin, CMD_JOB_HOLD, id), 0); /* before it starts */
	assert_int_equal(cw_reason(w, id), REASON_HELD_ADMIN);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_RELEASE, id), ERR_DENIED);
	assert_int_equal(cw_job(w, w->admin, CMD_JOB_RELEASE, id), 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_HOLD, id), ERR_STATE);
}

/* A deadline that can no longer be met ends the job instead of starting it in vain. */
static void a_deadline_passed_while_waiting_ends_it(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 8, HOUR);
	uint64_t id;

	(void)cw_submit(w, w->alice, "lung", 8, 10 * HOUR);
	cw_settle(w);
	cmd.job_submit.spec.deadline_ms = w->t + MIN - 1;
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	assert_string_equal(w->err.hint, "a later --deadline"); /* there is no time of 0 minutes */
	cmd.job_submit.spec.deadline_ms = w->t + HOUR - 1;
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	assert_int_equal(w->err.reason, REASON_DEADLINE);
	assert_string_equal(w->err.hint, "--time 59m at most, or a later --deadline");
	cmd.job_submit.spec.deadline_ms = w->t + 3 * HOUR;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_advance(w, 2 * HOUR);
	assert_int_equal(cw_job_state(w, id), JOB_PENDING);
	cw_advance(w, 1);
	assert_int_equal(cw_job_state(w, id), JOB_DEADLINE);
}

static void dependencies_of_every_kind(void **state)
{
	struct core_world *w = *state;
	uint64_t ok = cw_submit(w, w->alice, "lung", 1, HOUR), bad = cw_submit(w, w->alice, "lung", 1, HOUR), id[6];
	struct {
		uint8_t type;
		uint64_t on;
	} want[] = {{DEP_AFTER, ok},	  {DEP_AFTEROK, ok},   {DEP_AFTERNOTOK, ok},
		    {DEP_AFTERANY, bad}, {DEP_AFTEROK, bad}, {DEP_AFTERNOTOK, bad}};

	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		struct command cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR);
		struct dependency dep = {want[i].type, want[i].on};

		cmd.job_submit.spec.deps = &dep;
		cmd.job_submit.spec.deps_n = 1;
		assert_int_equal(cw_do(w, &cmd), 0);
		id[i] = w->d.result.id;
	}
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id[0]), JOB_RUNNING); /* after: as soon as it has started */
	for (size_t i = 1; i < ARRAY_LEN(want); i++) {
		assert_int_equal(cw_job_state(w, id[i]), JOB_PENDING);
		assert_int_equal(cw_reason(w, id[i]), REASON_DEPENDENCY);
	}
	cw_exit(w, ok, 0);
	cw_exit(w, bad, 1);
	assert_int_equal(cw_job_state(w, id[1]), JOB_RUNNING);
	assert_int_equal(cw_job_state(w, id[2]), JOB_CANCELLED); /* can never be met: 106 */
	assert_non_null(strstr(core_job(w->core, id[2])->end_text, "106"));
	assert_int_equal(cw_job_state(w, id[3]), JOB_RUNNING);
	assert_int_equal(cw_job_state(w, id[4]), JOB_CANCELLED);
	assert_int_equal(cw_job_state(w, id[5]), JOB_RUNNING);
	{
		struct command cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR);
		struct dependency dep = {DEP_AFTEROK, 999};

		cmd.job_submit.spec.deps = &dep;
		cmd.job_submit.spec.deps_n = 1;
		assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
		assert_int_equal(w->err.reason, REASON_DEPENDENCY_NEVER);
	}
}

/* What cannot come is refused with what has happened, not taken and cancelled a moment later. */
static void a_dead_dependency_is_refused(void **state)
{
	struct core_world *w = *state;
	uint64_t bad = cw_submit(w, w->alice, "lung", 1, HOUR), ok = cw_submit(w, w->alice, "lung", 1, HOUR);
	struct {
		uint8_t type;
		uint64_t on;
		int code;
		const char *text;
	} want[] = {{DEP_AFTEROK, bad, ERR_NEVER, "failed: afterok:"}, {DEP_AFTERNOTOK, ok, ERR_NEVER, "ended well: afternotok:"},
		    {DEP_AFTERNOTOK, bad, 0, ""}, {DEP_AFTEROK, ok, 0, ""}, {DEP_AFTERANY, bad, 0, ""}, {DEP_AFTER, bad, 0, ""}};

	cw_settle(w);
	cw_exit(w, bad, 1);
	cw_exit(w, ok, 0);
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		struct command cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR);
		struct dependency dep = {want[i].type, want[i].on};

		cmd.job_submit.spec.deps = &dep;
		cmd.job_submit.spec.deps_n = 1;
		assert_int_equal(cw_do(w, &cmd), want[i].code);
		if (!want[i].code)
			continue;
		assert_int_equal(w->err.reason, REASON_DEPENDENCY_NEVER);
		assert_non_null(strstr(w->err.msg, want[i].text));
		assert_non_null(strstr(w->err.hint, "explain"));
	}
}

/* An earlier attempt that a drain moved has nothing to do with how it ended; who waits is told of, too. */
static void a_cancelled_job_says_by_whom(void **state)
{
	struct core_world *w = *state;
	uint64_t moved = cw_submit(w, w->alice, "lung", 8, HOUR), waits = cw_submit(w, w->alice, "lung", 8, HOUR);
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 8, HOUR);
	uint64_t array;
	uint32_t at = 1;

	cmd.job_submit.spec.loan = LOAN_NEVER;
	cmd.job_submit.spec.array_last = 1;
	cmd.job_submit.spec.array_step = 1;
	assert_int_equal(cw_do(w, &cmd), 0);
	array = w->d.result.id;
	cw_settle(w);
	while (w->node[at].id != cw_alloc_of(w, OWNER_JOB, moved)->parts[0].node)
		at++;
	cmd = cw_cmd(w, w->operator, CMD_NODE_DRAIN);
	(void)snprintf(cmd.node_admin.node, NAME_BYTES, "n%u", at);
	(void)snprintf(cmd.node_admin.reason, TEXT_BYTES, "firmware");
	cmd.node_admin.deadline_ms = w->t + MIN;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_advance(w, 5 * MIN);
	assert_int_equal(core_job(w->core, moved)->attempt, 2);
	assert_string_equal(core_job(w->core, moved)->end_text, "its node was drained");
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, moved), 0);
	assert_int_equal(cw_job(w, w->paula, CMD_JOB_CANCEL, waits), 0);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, array), 0);
	cw_advance(w, 5 * MIN);
	assert_int_equal(cw_job_state(w, moved), JOB_CANCELLED);
	assert_null(strstr(core_job(w->core, moved)->end_text, "drained"));
	assert_non_null(strstr(core_job(w->core, moved)->end_text, "cancelled by alice"));
	assert_int_equal(cw_job_state(w, waits), JOB_CANCELLED);
	assert_int_equal(core_job(w->core, waits)->end_cause, END_CANCEL);
	assert_string_equal(core_job(w->core, waits)->end_text, "cancelled by paula");
	assert_string_equal(core_job(w->core, array)->end_text, "cancelled by alice");
}

static void a_refusal_says_what_there_is(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 9, HOUR);

	cmd.job_submit.spec.per_node = 9;
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	assert_string_equal(w->err.msg, "9 devices of h100 on one node: a node has 8");
	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 2, 4, QTY_UNLIMITED);
	cw_quota(w, CW_CANCER, 0, SHAPE_GPU, 0, 4, QTY_UNLIMITED);
	cw_quota(w, CW_HEALTH, 0, SHAPE_GPU, 0, 4, QTY_UNLIMITED);
	cw_quota(w, CW_PUBLIC, 0, SHAPE_GPU, 0, 4, QTY_UNLIMITED);
	cw_apply(w);
	cmd.job_submit.spec.per_node = 0;
	cmd.job_submit.spec.loan = LOAN_OK;
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	assert_string_equal(w->err.msg, "9 is more than lung can ever have: 6, on loan included");
	assert_string_equal(w->err.hint, "ask for at most 6");
	cmd.job_submit.spec.loan = LOAN_NEVER;
	cmd.job_submit.spec.units = 6;
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	assert_string_equal(w->err.msg, "6 is more than lung can ever have without a loan: 2");
	assert_string_equal(w->err.hint, "--loan ok: 6 with loans");
	cmd.job_submit.spec.units = 1;
	cmd.job_submit.spec.deadline_ms = w->t + 30 * MIN;
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	assert_non_null(strstr(w->err.hint, "--time 30m at most"));
}

static void a_singleton_waits_for_its_namesake(void **state)
{
	struct core_world *w = *state;
	uint64_t first = cw_submit(w, w->alice, "lung", 1, HOUR), id;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR);
	struct dependency dep = {DEP_SINGLETON, 0};

	cmd.job_submit.spec.deps = &dep;
	cmd.job_submit.spec.deps_n = 1;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_reason(w, id), REASON_DEPENDENCY);
	cw_exit(w, first, 0);
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING);
}

/* Backfill: a short job may use the gap in front of a promised start, a long one may not. */
static void a_gap_takes_the_short_and_not_the_long(void **state)
{
	struct core_world *w = *state;
	uint64_t big, shorty, longy;

	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 32, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_HEART, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_ACME, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_BETA, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_LUNG, 0, SHAPE_NODE, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	{
		/* 28 of 32 are busy for an hour; what is free lies on one node */
		struct command cmd = cw_submit_cmd(w, w->alice, "lung", 24, HOUR);

		cmd.job_submit.spec.per_node = 8;
		assert_int_equal(cw_do(w, &cmd), 0);
		(void)cw_submit(w, w->alice, "lung", 4, HOUR);
		cw_settle(w);
	}
	cw_advance(w, MIN);
	{
		struct command cmd = cw_submit_cmd(w, w->alice, "lung", 4, HOUR / 2);

		cmd.job_submit.spec.requires_n = 0;
		cmd.job_submit.spec.units = 4;
		cmd.job_submit.spec.klass = JOB_URGENT; /* first in line */
		cmd.job_submit.spec.memory_mib = 800 * 1024; /* not beside the job that is there */
		assert_int_equal(cw_do(w, &cmd), 0);
		big = w->d.result.id;
	}
	longy = cw_submit(w, w->alice, "lung", 2, 2 * HOUR);
	shorty = cw_submit(w, w->alice, "lung", 2, HOUR / 2);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, big), JOB_PENDING);
	assert_int_equal(cw_job_state(w, longy), JOB_PENDING);
	assert_int_equal(cw_job_state(w, shorty), JOB_PENDING);
}

/* peers' failure 9 (flux-sched#1383): thousands of impossible submits stand in front of one possible. */
static void peers_9_impossible_submits_do_not_block_a_possible_one(void **state)
{
	struct core_world *w = *state;
	uint64_t id;

	(void)cw_submit(w, w->alice, "lung", 8, 100 * HOUR);
	cw_settle(w);
	for (int i = 0; i < 10000; i++) {
		struct command cmd = cw_submit_cmd(w, w->alice, "lung", 64, HOUR);
		struct err err;

		/* larger than the machine: refused at once, with the reason */
		assert_int_equal(core_decide(w->core, w->t, &cmd, &w->d, &err), ERR_NEVER);
		assert_true(err.reason == REASON_SHAPE || err.reason == REASON_OVER_LIMIT);
	}
	for (int i = 0; i < 300; i++)
		(void)cw_submit(w, w->alice, "lung", 8, HOUR); /* possible some day, not now */
	id = cw_submit(w, w->bob, "heart", 1, HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING);
}

/* ---- the gang -------------------------------------------------------------------------------- */

/* peers' failure 11: half of an 8-way gang's agents nack: nothing runs, nothing leaks. */
static void peers_11_half_of_a_gang_nacks(void **state)
{
	struct core_world *w = *state;
	uint64_t id;

	cw_close(w);
	cw_open(w, 8);
	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 64, QTY_UNLIMITED, QTY_UNLIMITED);
	for (uint32_t q = CW_HEART; q <= CW_BETA; q++)
		if (w->qnode[q].quotas_n)
			cw_quota(w, q, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	for (uint32_t i = 1; i <= 8; i++)
		assert_int_equal(cw_hello(w, i), 0);
	{
		struct command cmd = cw_submit_cmd(w, w->alice, "lung", 64, HOUR);

		cmd.job_submit.spec.per_node = 8;
		assert_int_equal(cw_do(w, &cmd), 0);
		id = w->d.result.id;
	}
	for (uint32_t i = 5; i <= 8; i++)
		w->node[i].manner = CW_NACK;
	cw_tick(w);
	assert_int_equal(cw_job_state(w, id), JOB_BINDING);
	for (int turn = 0; turn < 20; turn++) {
		(void)cw_agents(w);
		cw_tick(w);
		for (uint32_t i = 1; i <= 8; i++)
			for (uint32_t k = 0; k < w->node[i].units_n; k++)
				assert_int_not_equal(w->node[i].unit[k].state, UNIT_RUNNING);
	}
	assert_int_equal(cw_allocs(w), 0);
	assert_int_equal(cw_job_state(w, id), JOB_PENDING);
	assert_int_equal(core_job(w->core, id)->start_ms, 0);
	assert_int_equal(core_job(w->core, id)->used_guaranteed_rums, 0);
	/* mended: the same nodes serve it, although they were blamed */
	for (uint32_t i = 5; i <= 8; i++)
		w->node[i].manner = CW_OBEY;
	cw_advance(w, 10 * MIN);
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING);
}

/* One node fails to prepare: the next attempt goes elsewhere. */
static void a_blamed_node_is_not_used_again_while_others_are_free(void **state)
{
	struct core_world *w = *state;
	uint64_t id;

	w->node[1].manner = CW_NACK;
	id = cw_submit(w, w->alice, "lung", 8, HOUR);
	cw_advance(w, MIN);
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING);
	assert_int_not_equal(cw_alloc_of(w, OWNER_JOB, id)->parts[0].node, w->node[1].id);
	assert_int_equal(core_job(w->core, id)->attempt, 2);
}

/* An agent that says nothing holds up the gang for the bind timeout, not until it is declared lost. */
static void a_silent_agent_costs_the_bind_timeout(void **state)
{
	struct core_world *w = *state;
	uint64_t id;

	w->node[1].manner = CW_MUTE;
	id = cw_submit(w, w->alice, "lung", 4, HOUR);
	cw_advance(w, 2 * MIN);
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING);
	assert_int_equal(core_job(w->core, id)->attempt, 2);
	assert_int_equal(cw_allocs(w), 2); /* n1 keeps its devices until it is heard */
	w->node[1].manner = CW_OBEY;
	cw_settle(w);
	assert_int_equal(cw_allocs(w), 1);
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING);
}

/* ---- stopping -------------------------------------------------------------------------------- */

/* What a trainer says on notice (save, exit 0) does not make a requeued job a finished one. */
static void requeue_outranks_the_exit_code(void **state)
{
	struct core_world *w = *state;
	uint64_t id = cw_submit(w, w->alice, "lung", 4, HOUR);

	cw_settle(w);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_REQUEUE, id), 0);
	assert_int_equal(cw_job_state(w, id), JOB_STOPPING);
	cw_exit(w, id, 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING);
	assert_int_equal(core_job(w->core, id)->attempt, 2);
}

/* It has ended by itself, its devices are not back yet, and then it is asked for once more. */
static void requeue_after_the_exit_was_seen(void **state)
{
	struct core_world *w = *state;
	uint64_t id = cw_submit(w, w->alice, "lung", 4, HOUR);

	cw_settle(w);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_STUBBORN;
	cw_exit(w, id, 0);
	assert_int_equal(cw_job_state(w, id), JOB_STOPPING);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_REQUEUE, id), 0);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_OBEY;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING);
	assert_int_equal(core_job(w->core, id)->attempt, 2);
}

static void cancel_in_every_state(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR);
	uint64_t held, pending, binding, running, stopping, done;

	cmd.job_submit.spec.hold = true;
	assert_int_equal(cw_do(w, &cmd), 0);
	held = w->d.result.id;
	done = cw_submit(w, w->alice, "lung", 1, HOUR);
	running = cw_submit(w, w->alice, "lung", 1, HOUR);
	stopping = cw_submit(w, w->alice, "lung", 1, HOUR);
	cw_settle(w);
	cw_exit(w, done, 0);
	binding = cw_submit(w, w->alice, "lung", 1, HOUR);
	pending = cw_submit(w, w->alice, "lung", 6, HOUR);
	cw_tick(w);
	assert_int_equal(cw_job_state(w, binding), JOB_BINDING);
	assert_int_equal(cw_job_state(w, pending), JOB_PENDING);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_REQUEUE, stopping), 0);
	assert_int_equal(cw_job_state(w, stopping), JOB_STOPPING);

	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, held), 0);
	assert_int_equal(cw_job_state(w, held), JOB_CANCELLED);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, pending), 0);
	assert_int_equal(cw_job_state(w, pending), JOB_CANCELLED);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, binding), 0);
	assert_int_equal(cw_job_state(w, binding), JOB_STOPPING);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, running), 0);
	assert_int_equal(cw_job_state(w, running), JOB_STOPPING);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, stopping), 0); /* the later word counts */
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, done), 0);	    /* no error, as in Slurm */
	assert_int_equal(cw_job_state(w, done), JOB_COMPLETED);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, binding), JOB_CANCELLED);
	assert_int_equal(core_job(w->core, binding)->used_guaranteed_rums, 0);
	assert_int_equal(cw_job_state(w, running), JOB_CANCELLED);
	assert_int_equal(cw_job_state(w, stopping), JOB_CANCELLED);
	assert_int_equal(cw_allocs(w), 0);
}

/* A job that is being recalled, and has but seconds left, is cancelled: it must not come back. */
static void a_cancel_outranks_a_recall_under_way(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 32, HOUR);
	uint64_t loan, firm;

	cmd.job_submit.spec.loan = LOAN_OK;
	cmd.job_submit.spec.per_node = 8;
	assert_int_equal(cw_do(w, &cmd), 0);
	loan = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_alloc_of(w, OWNER_JOB, loan)->klass, CLASS_LOAN);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_STUBBORN;
	firm = cw_submit(w, w->bob, "heart", 8, HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, firm), JOB_EARMARKED);
	cw_advance(w, 110 * MS_PER_S); /* ten seconds of the notice are left */
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, loan), 0);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_OBEY;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, loan), JOB_CANCELLED);
	assert_int_equal(cw_job_state(w, firm), JOB_RUNNING);
}

static void an_earmarked_job_can_be_cancelled(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 32, HOUR);
	uint64_t loan, firm;

	cmd.job_submit.spec.loan = LOAN_OK;
	assert_int_equal(cw_do(w, &cmd), 0);
	loan = w->d.result.id;
	cw_settle(w);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_STUBBORN;
	firm = cw_submit(w, w->bob, "heart", 8, HOUR);
	cw_settle(w);
	assert_int_equal(cw_reason(w, firm), REASON_CLAIM);
	assert_int_equal(cw_claims(w), 1);
	assert_int_equal(cw_job(w, w->bob, CMD_JOB_CANCEL, firm), 0);
	assert_int_equal(cw_job_state(w, firm), JOB_CANCELLED);
	assert_int_equal(cw_claims(w), 0); /* the earmarks are gone with it */
	assert_int_equal(cw_job_state(w, loan), JOB_STOPPING);
}

/* ---- recall ---------------------------------------------------------------------------------- */

/* The whole story of a loan: idle private capacity serves it, its owner claims it back. */
static void a_loan_is_recalled_cools_down_and_resumes(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 24, 4 * HOUR);
	uint64_t loan, lease, beside, thief;
	const struct claim *m;
	const struct alloc *a;
	int64_t raised, submitted = w->t;

	lease = cw_lease(w, w->acme, "acme", 2, LEASE_FIRM);
	beside = cw_submit(w, w->bob, "heart", 6, HOUR);
	cw_settle(w);
	cmd.job_submit.spec.loan = LOAN_OK;
	cmd.job_submit.spec.per_node = 8;
	assert_int_equal(cw_do(w, &cmd), 0);
	loan = w->d.result.id;
	cw_settle(w);
	a = cw_alloc_of(w, OWNER_JOB, loan);
	assert_int_equal(cw_job_state(w, loan), JOB_RUNNING);
	assert_int_equal(a->klass, CLASS_LOAN);
	assert_true(a->lenders_n > 0);
	cw_advance(w, 10 * MIN);
	/* acme grows within its quota; all devices are in use, 24 of them by the loan */
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_STUBBORN;
	raised = w->t;
	assert_int_equal(cw_resize(w, w->acme, lease, 8), 0);
	cw_settle(w);
	m = cw_claim_of(w, OWNER_LEASE, lease);
	assert_non_null(m);
	assert_int_equal(m->units, 6);
	assert_int_equal(m->created_ms, raised);
	assert_int_equal(m->deadline_ms, raised + 15 * MIN);
	assert_int_equal(m->victims_n, 1);
	a = cw_alloc_of(w, OWNER_JOB, loan);
	assert_int_equal(m->victims[0].alloc, a->id);
	assert_int_equal(a->state, ALLOC_STOPPING);
	assert_int_equal(a->stop_cause, END_RECALL);
	assert_int_equal(a->claim, m->id);
	assert_int_equal(a->stop_at_ms, raised + 2 * MIN); /* its notice, in full */
	assert_int_equal(core_job(w->core, beside)->attempt, 1); /* guaranteed work is left alone */
	/* the thief wants what the claim will free; the rest of it is anybody's */
	cmd = cw_submit_cmd(w, w->bob, "heart", 20, HOUR);
	cmd.job_submit.spec.loan = LOAN_ONLY;
	cmd.job_submit.spec.klass = JOB_URGENT;
	assert_int_equal(cw_do(w, &cmd), 0);
	thief = w->d.result.id;
	cw_advance(w, MIN);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_OBEY;
	cw_settle(w);
	assert_int_equal(cw_claims(w), 0);
	assert_int_equal(cw_held(w, OWNER_LEASE, lease), 8); /* in time: one of the fifteen minutes */
	assert_int_equal(cw_lease_state(w, lease), LEASE_ACTIVE);
	assert_int_equal(cw_job_state(w, thief), JOB_PENDING);
	assert_int_equal(cw_job(w, w->bob, CMD_JOB_CANCEL, thief), 0);
	assert_int_equal(core_job(w->core, loan)->recalls, 1);
	assert_int_equal(cw_job_state(w, loan), JOB_PENDING);
	assert_int_equal(core_job(w->core, loan)->eligible_ms, w->t + MIN); /* cool-down */
	assert_int_equal(core_job(w->core, loan)->submit_ms, submitted);    /* age kept */
	assert_int_equal(core_job(w->core, loan)->used_loan_rums, 24 * 10 * MIN); /* charged to the notice */
	/* the lease shrinks, the others leave: after the cool-down the loan resumes as attempt 2 */
	assert_int_equal(cw_resize(w, w->acme, lease, 2), 0);
	cw_settle(w);
	assert_int_equal(cw_reason(w, loan), REASON_COOLDOWN);
	assert_int_equal(cw_job_state(w, loan), JOB_PENDING);
	cw_advance(w, MIN);
	assert_int_equal(cw_job_state(w, loan), JOB_RUNNING);
	assert_int_equal(core_job(w->core, loan)->attempt, 2);
}

/* peers' failure 1 (kueue#13662): the victims leave one after the other, a thief waits in the queue. */
static void peers_1_victims_leave_one_by_one_past_a_thief(void **state)
{
	struct core_world *w = *state;
	uint64_t loan[8], firm, thief[8];
	uint32_t earmarked, running = 0;

	for (int i = 0; i < 8; i++) {
		struct command cmd = cw_submit_cmd(w, w->alice, "lung", 4, 4 * HOUR);

		cmd.job_submit.spec.loan = LOAN_ONLY;
		assert_int_equal(cw_do(w, &cmd), 0);
		loan[i] = w->d.result.id;
	}
	cw_settle(w);
	for (int i = 0; i < 8; i++)
		assert_int_equal(cw_job_state(w, loan[i]), JOB_RUNNING);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_STUBBORN;
	firm = cw_submit(w, w->bob, "heart", 8, HOUR);
	for (int i = 0; i < 8; i++) {
		struct command cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR);

		cmd.job_submit.spec.loan = LOAN_ONLY;
		cmd.job_submit.spec.klass = JOB_URGENT;
		assert_int_equal(cw_do(w, &cmd), 0);
		thief[i] = w->d.result.id;
	}
	cw_settle(w);
	assert_int_equal(cw_job_state(w, firm), JOB_EARMARKED);
	earmarked = core_claim(w->core, core_job(w->core, firm)->claim)->victims_n;
	assert_int_equal(earmarked, 2); /* no more than are needed */
	for (int i = 0; i < 8; i++) {
		const struct alloc *a = cw_alloc_of(w, OWNER_JOB, loan[i]);
		uint64_t alloc = a->id;
		uint32_t node = a->parts[0].node;

		if (a->state != ALLOC_STOPPING)
			continue;
		cw_advance(w, 7 * MS_PER_S);
		for (uint32_t n = 1; n <= w->nodes_n; n++)
			if (w->node[n].id == node)
				assert_int_equal(cw_report(w, n, alloc, 0, UNIT_RELEASED, 0), 0);
		cw_tick(w);
		for (int k = 0; k < 8; k++) /* 0 thefts */
			assert_int_equal(cw_job_state(w, thief[k]), JOB_PENDING);
		running++;
	}
	assert_int_equal(running, 2);
	assert_int_equal(cw_job_state(w, firm), JOB_BINDING);
}

static uint64_t loan_with_memory(struct core_world *w, uint32_t units, uint32_t gib)
{
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", units, HOUR);
	uint64_t id;

	cmd.job_submit.spec.loan = LOAN_ONLY;
	cmd.job_submit.spec.memory_mib = gib * 1024;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	return id;
}

/* A claim owns the memory of its plan, too: whoever would fit beside it by devices alone waits. Nodes have
 * 1 TiB. */
static void memory_is_earmarked_with_the_devices(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->bob, "heart", 4, HOUR);
	uint64_t big, small, firm, thief;

	for (uint32_t i = 2; i <= w->nodes_n; i++)
		assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, i, "one node will do"), 0);
	big = loan_with_memory(w, 4, 600);
	small = loan_with_memory(w, 3, 10);
	w->node[1].manner = CW_STUBBORN;
	cmd.job_submit.spec.memory_mib = 700 * 1024;
	assert_int_equal(cw_do(w, &cmd), 0);
	firm = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, firm), JOB_EARMARKED);
	assert_int_equal(cw_job_state(w, big), JOB_STOPPING);
	assert_int_equal(cw_job_state(w, small), JOB_RUNNING);
	thief = loan_with_memory(w, 1, 400); /* a device is free, and 1024 - 610 GiB are */
	assert_int_equal(cw_job_state(w, thief), JOB_PENDING);
	w->node[1].manner = CW_OBEY;
	cw_advance(w, 20 * MS_PER_S);
	assert_int_equal(cw_job_state(w, firm), JOB_RUNNING);
	assert_int_equal(cw_job_state(w, thief), JOB_PENDING);
	assert_int_equal(cw_job_state(w, loan_with_memory(w, 1, 300)), JOB_RUNNING);
}

/* Enough devices are free, but a loan holds the memory: it goes for that. */
static void a_loan_is_recalled_for_its_memory(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->bob, "heart", 1, HOUR);
	uint64_t first, loan, firm;

	for (uint32_t i = 2; i <= w->nodes_n; i++)
		assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, i, "one node will do"), 0);
	first = loan_with_memory(w, 1, 1);
	loan = loan_with_memory(w, 1, 900);
	cw_exit(w, first, 0); /* its device is the one that comes first */
	w->node[1].manner = CW_STUBBORN;
	cmd.job_submit.spec.memory_mib = 700 * 1024;
	assert_int_equal(cw_do(w, &cmd), 0);
	firm = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, firm), JOB_EARMARKED);
	assert_int_equal(cw_job_state(w, loan), JOB_STOPPING);
	w->node[1].manner = CW_OBEY;
	cw_advance(w, 20 * MS_PER_S);
	assert_int_equal(cw_job_state(w, firm), JOB_RUNNING);
}

/* peers' failure 2 (kueue#3948): the nominal sits on the parent, a cousin has borrowed it. */
static void peers_2_nominal_on_the_parent_is_served_within_the_slo(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	uint64_t loan, owner;

	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_HEART, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_CANCER, 0, SHAPE_GPU, 16, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	cmd = cw_lease_cmd(w, w->acme, "acme", 32, LEASE_LOAN);
	assert_int_equal(cw_do(w, &cmd), 0);
	loan = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_held(w, OWNER_LEASE, loan), 32);
	owner = cw_submit(w, w->alice, "lung", 16, HOUR);
	cw_settle(w);
	cw_advance(w, 15 * MIN);
	assert_int_equal(cw_job_state(w, owner), JOB_RUNNING);
	assert_int_equal(cw_alloc_of(w, OWNER_JOB, owner)->klass, CLASS_GUARANTEED);
}

/* peers' failure 3 (kai#1750): protected work of low priority stands in the way of the search. */
static void peers_3_protected_low_priority_does_not_stop_the_search(void **state)
{
	struct core_world *w = *state;
	uint64_t protected[2], firm;

	for (int i = 0; i < 2; i++) { /* guaranteed, though of the lowest class that may be so */
		protected[i] = cw_submit(w, w->alice, "lung", 4, 4 * HOUR);
		cw_settle(w);
	}
	for (int i = 0; i < 6; i++) {
		struct command cmd = cw_submit_cmd(w, w->bob, "heart", 4, 4 * HOUR);

		cmd.job_submit.spec.loan = LOAN_ONLY;
		assert_int_equal(cw_do(w, &cmd), 0);
	}
	cw_settle(w);
	firm = cw_lease(w, w->acme, "acme", 8, LEASE_FIRM);
	cw_settle(w);
	cw_advance(w, 3 * MIN);
	assert_int_equal(cw_held(w, OWNER_LEASE, firm), 8);
	assert_int_equal(cw_lease_state(w, firm), LEASE_ACTIVE);
	for (int i = 0; i < 2; i++) /* guaranteed work is never a victim */
		assert_int_equal(core_job(w->core, protected[i])->attempt, 1);
}

/* peers' failure 4 (kueue#7393): another flavor is borrowed too; only what is short is recalled. */
static void peers_4_only_the_flavor_that_is_short_is_recalled(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	uint64_t other, loan, firm;

	w->flavor[1] = w->flavor[0];
	(void)snprintf(w->flavor[1].name, sizeof w->flavor[1].name, "a100");
	(void)snprintf(w->flavor[1].model, sizeof w->flavor[1].model, "NVIDIA A100*");
	w->flavor[0].committed_nodes = 3;
	w->flavor[1].committed_nodes = 1;
	w->div.flavors_n = 2;
	cw_quota(w, CW_BETA, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_ACME, 1, SHAPE_GPU, 8, QTY_UNLIMITED, QTY_UNLIMITED);
	(void)snprintf(w->node[4].model, sizeof w->node[4].model, "NVIDIA A100-SXM4-80GB");
	w->node[4].topology = 2;
	cw_apply(w);
	cw_close(w);
	{
		struct core_world keep = *w;

		cw_open(w, 4);
		memcpy(w->flavor, keep.flavor, sizeof w->flavor);
		memcpy(w->quota, keep.quota, sizeof w->quota);
		for (uint32_t q = 0; q < CW_QNODES; q++)
			w->qnode[q].quotas_n = keep.qnode[q].quotas_n;
		w->div.flavors_n = 2;
		(void)snprintf(w->node[4].model, sizeof w->node[4].model, "NVIDIA A100-SXM4-80GB");
	}
	cw_apply(w);
	for (uint32_t i = 1; i <= 4; i++)
		assert_int_equal(cw_hello(w, i), 0);
	cmd = cw_submit_cmd(w, w->bob, "heart", 8, 4 * HOUR);
	(void)snprintf(cmd.job_submit.flavor, FLAVOR_NAME_BYTES, "a100");
	cmd.job_submit.spec.loan = LOAN_ONLY;
	assert_int_equal(cw_do(w, &cmd), 0);
	other = w->d.result.id;
	cmd = cw_submit_cmd(w, w->bob, "heart", 24, 4 * HOUR);
	cmd.job_submit.spec.loan = LOAN_ONLY;
	assert_int_equal(cw_do(w, &cmd), 0);
	loan = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, other), JOB_RUNNING);
	assert_int_equal(cw_job_state(w, loan), JOB_RUNNING);
	firm = cw_lease(w, w->acme, "acme", 8, LEASE_FIRM);
	cw_settle(w);
	cw_advance(w, 3 * MIN);
	assert_int_equal(cw_lease_state(w, firm), LEASE_ACTIVE);
	assert_int_equal(core_job(w->core, other)->recalls, 0);
	assert_int_equal(core_job(w->core, loan)->recalls, 1);
}

/* A loan whose notice is longer than its lenders may have to wait is refused: 506. */
static void a_notice_beyond_the_recall_time_is_refused(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 12, HOUR);
	uint64_t id;

	cmd.job_submit.spec.loan = LOAN_ONLY;
	cmd.job_submit.spec.notice_ms = 15 * MIN - 10 * MS_PER_S; /* with the kill margin: exactly 15 min */
	assert_int_equal(cw_do(w, &cmd), 0);
	cmd.job_submit.spec.notice_ms++;
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	assert_int_equal(w->err.reason, REASON_LOAN_NOTICE);
	cmd.job_submit.spec.loan = LOAN_OK; /* it may still get its own */
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_PENDING);
	assert_int_equal(cw_reason(w, id), REASON_LOAN_NOTICE);
}

/* The loan's own quota comes free while it runs: it becomes guaranteed without being touched. */
static void a_loan_becomes_guaranteed_when_quota_frees(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	uint64_t own = cw_submit(w, w->alice, "lung", 8, HOUR), loan, alloc;

	cw_settle(w);
	cmd = cw_submit_cmd(w, w->alice, "lung", 8, HOUR);
	cmd.job_submit.spec.loan = LOAN_OK;
	assert_int_equal(cw_do(w, &cmd), 0);
	loan = w->d.result.id;
	cw_settle(w);
	alloc = core_job(w->core, loan)->alloc;
	assert_int_equal(core_alloc(w->core, alloc)->klass, CLASS_LOAN);
	cw_advance(w, 10 * MIN);
	cw_exit(w, own, 0);
	assert_int_equal(core_job(w->core, loan)->alloc, alloc);
	assert_int_equal(core_alloc(w->core, alloc)->klass, CLASS_GUARANTEED);
	assert_int_equal(core_alloc(w->core, alloc)->lenders_n, 0);
	cw_advance(w, 10 * MIN);
	cw_exit(w, loan, 0);
	assert_int_equal(core_job(w->core, loan)->used_loan_rums, 8 * 10 * MIN);
	assert_int_equal(core_job(w->core, loan)->used_guaranteed_rums, 8 * 10 * MIN);
}

/* ---- budgets --------------------------------------------------------------------------------- */

static void with_stages(struct core_world *w, int64_t gpu_hours, uint8_t state)
{
	cw_stage(w, CW_LUNG, "one", state, gpu_hours);
	cw_apply(w);
}

static void the_hold_is_taken_captured_and_released(void **state)
{
	struct core_world *w = *state;
	uint64_t id;

	with_stages(w, 100, STAGE_RELEASED);
	id = cw_submit(w, w->alice, "lung", 4, 2 * HOUR);
	assert_int_equal(w->d.result.hold_rums, 8 * HOUR);
	assert_int_equal(w->d.result.left_rums, 100 * HOUR);
	assert_int_equal(stage_held(w, "lung", 0), 0); /* waiting costs nothing */
	cw_tick(w);
	assert_int_equal(stage_held(w, "lung", 0), 8 * HOUR);
	cw_settle(w);
	cw_advance(w, 30 * MIN);
	cw_exit(w, id, 0);
	assert_int_equal(stage_held(w, "lung", 0), 0);
	assert_int_equal(stage_spent(w, "lung", 0), 2 * HOUR);
}

static void a_budget_too_small_says_402_and_none_released_says_204(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_cmd(w, w->gatekeeper, CMD_STAGE_SET);
	uint64_t id;

	with_stages(w, 10, STAGE_LOCKED);
	id = cw_submit(w, w->alice, "lung", 4, 2 * HOUR);
	cw_settle(w);
	assert_int_equal(cw_reason(w, id), REASON_STAGE);
	{
		struct command big = cw_submit_cmd(w, w->alice, "lung", 8, 2 * HOUR); /* 16 of 10 */

		assert_int_equal(cw_do(w, &big), ERR_BUDGET);
		assert_int_equal(w->err.reason, REASON_HOLD_TOO_LARGE);
	}
	(void)snprintf(cmd.stage_set.project, TEXT_BYTES, "lung");
	(void)snprintf(cmd.stage_set.stage, FLAVOR_NAME_BYTES, "one");
	cmd.stage_set.state = STAGE_RELEASED;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING); /* the gate opened: it starts */
	assert_int_equal(stage_held(w, "lung", 0), 8 * HOUR);
	{
		struct command more = cw_submit_cmd(w, w->alice, "lung", 4, HOUR); /* 4 of the 2 left */

		assert_int_equal(cw_do(w, &more), ERR_BUDGET);
	}
	/* budgets never kill: freezing the stage lets it run on */
	cmd.stage_set.state = STAGE_FROZEN;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING);
	cw_exit(w, id, 0);
	assert_int_equal(stage_held(w, "lung", 0), 0);
}

/* A stage whose window opens by time alone wakes the queue. */
static void a_stage_opens_by_its_date(void **state)
{
	struct core_world *w = *state;
	uint64_t id;

	cw_stage(w, CW_LUNG, "later", STAGE_RELEASED, 100);
	w->stage[CW_LUNG][0].from_ms = w->t + HOUR;
	w->stage[CW_LUNG][0].to_ms = w->t + 10 * HOUR;
	cw_apply(w);
	id = cw_submit(w, w->alice, "lung", 1, HOUR);
	cw_advance(w, HOUR - 1);
	assert_int_equal(cw_reason(w, id), REASON_STAGE);
	cw_advance(w, 1);
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING);
}

/* Work thrown away by a recall is refunded from the last checkpoint on; loans cost half. */
static void a_recall_is_refunded_from_the_last_checkpoint(void **state)
{
	struct core_world *w = *state;
	struct command cmd, ck;
	uint64_t loan, firm;

	with_stages(w, 1000, STAGE_RELEASED);
	cmd = cw_submit_cmd(w, w->alice, "lung", 32, 4 * HOUR);
	cmd.job_submit.spec.loan = LOAN_OK;
	assert_int_equal(cw_do(w, &cmd), 0);
	loan = w->d.result.id;
	cw_settle(w);
	assert_int_equal(stage_held(w, "lung", 0), 32 * 4 * HOUR / 2); /* the loan rate */
	cw_advance(w, HOUR);
	ck = cw_cmd(w, w->alice, CMD_JOB_CHECKPOINTED);
	ck.job_checkpointed.job = loan;
	ck.job_checkpointed.step = 100;
	assert_int_equal(cw_do(w, &ck), 0);
	cw_advance(w, HOUR);
	firm = cw_submit(w, w->bob, "heart", 8, HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, firm), JOB_RUNNING);
	/* two hours used, the second one lost and refunded */
	assert_int_equal(core_job(w->core, loan)->used_loan_rums, 32 * 2 * HOUR);
	assert_int_equal(core_job(w->core, loan)->lost_rums, 32 * HOUR);
	assert_int_equal(core_job(w->core, loan)->refunded_rums, 32 * HOUR);
	assert_int_equal(stage_spent(w, "lung", 0), 32 * HOUR / 2);
}

/* A job that did not want to be requeued is refunded all the same. */
static void no_requeue_is_preempted_and_refunded(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	uint64_t loan;

	with_stages(w, 1000, STAGE_RELEASED);
	cmd = cw_submit_cmd(w, w->alice, "lung", 32, 4 * HOUR);
	cmd.job_submit.spec.loan = LOAN_ONLY;
	cmd.job_submit.spec.no_requeue = true;
	assert_int_equal(cw_do(w, &cmd), 0);
	loan = w->d.result.id;
	cw_settle(w);
	cw_advance(w, HOUR);
	(void)cw_submit(w, w->bob, "heart", 8, HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, loan), JOB_PREEMPTED);
	assert_int_equal(core_job(w->core, loan)->refunded_rums, 32 * HOUR);
	assert_int_equal(stage_spent(w, "lung", 0), 0);
}

/* A promoted loan costs the full rate from then on: the stage must be able to carry it. */
static void a_loan_is_not_promoted_beyond_the_budget(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	uint64_t own, loan;

	with_stages(w, 20, STAGE_RELEASED);
	own = cw_submit(w, w->alice, "lung", 8, HOUR); /* holds 8 */
	cw_settle(w);
	cmd = cw_submit_cmd(w, w->alice, "lung", 8, 2 * HOUR); /* on loan: holds 8 instead of 16 */
	cmd.job_submit.spec.loan = LOAN_ONLY;
	cmd.job_submit.spec.loan = LOAN_OK;
	cmd.job_submit.spec.time_limit_ms = 3 * HOUR / 2; /* 12 guaranteed, 6 on loan */
	assert_int_equal(cw_do(w, &cmd), 0);
	loan = w->d.result.id;
	cw_settle(w);
	assert_int_equal(stage_held(w, "lung", 0), 14 * HOUR);
	cw_advance(w, 59 * MIN);
	cw_exit(w, own, 0); /* spent nearly 8, so 12 fit exactly once more */
	assert_true(stage_spent(w, "lung", 0) + stage_held(w, "lung", 0) <= 20 * HOUR);
	cw_advance(w, 31 * MIN);
	cw_settle(w);
	assert_true(job_terminal(cw_job_state(w, loan)));
	assert_true(stage_spent(w, "lung", 0) <= 20 * HOUR);
}

static void a_longer_time_limit_needs_a_larger_hold(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_cmd(w, w->alice, CMD_JOB_UPDATE);
	uint64_t id;

	with_stages(w, 10, STAGE_RELEASED);
	id = cw_submit(w, w->alice, "lung", 4, HOUR);
	cw_settle(w);
	cmd.job_update.job = id;
	cmd.job_update.time_limit_ms = 3 * HOUR;
	assert_int_equal(cw_do(w, &cmd), ERR_BUDGET);
	assert_int_equal(stage_held(w, "lung", 0), 4 * HOUR);
	cmd.job_update.time_limit_ms = 2 * HOUR;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(stage_held(w, "lung", 0), 8 * HOUR);
	assert_int_equal(cw_alloc_of(w, OWNER_JOB, id)->limit_ms, w->t + 2 * HOUR);
	cmd.job_update.time_limit_ms = 0;
	cmd.job_update.klass_plus1 = JOB_URGENT + 1;
	assert_int_equal(cw_do(w, &cmd), ERR_STATE);
}

/* A claim holds budget already: the hold follows a change of the limit while it waits for its devices. */
static void the_hold_of_an_earmarked_job_follows_its_limit(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	uint64_t id;

	with_stages(w, 100, STAGE_RELEASED);
	cmd = cw_submit_cmd(w, w->bob, "heart", 32, 4 * HOUR);
	cmd.job_submit.spec.loan = LOAN_ONLY;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_STUBBORN;
	id = cw_submit(w, w->alice, "lung", 4, HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_EARMARKED);
	assert_int_equal(stage_held(w, "lung", 0), 4 * HOUR);
	cmd = cw_cmd(w, w->alice, CMD_JOB_UPDATE);
	cmd.job_update.job = id;
	cmd.job_update.time_limit_ms = 2 * HOUR;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(stage_held(w, "lung", 0), 8 * HOUR);
	/* a grant given to a project meanwhile does not break what is under way */
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_OBEY;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING);
}

/* A project without a grant gets one, locked, while its job's claim is being filled. */
static void a_grant_that_arrives_during_a_claim(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->bob, "heart", 32, 4 * HOUR);
	uint64_t id;

	cmd.job_submit.spec.loan = LOAN_ONLY;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_STUBBORN;
	id = cw_submit(w, w->alice, "lung", 4, HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_EARMARKED);
	with_stages(w, 100, STAGE_LOCKED);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_OBEY;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_PENDING);
	assert_int_equal(cw_reason(w, id), REASON_STAGE);
	assert_int_equal(cw_claims(w), 0);
}

static void urgent_costs_its_multiple(void **state)
{
	struct core_world *w = *state;
	struct command cmd;

	with_stages(w, 100, STAGE_RELEASED);
	cmd = cw_submit_cmd(w, w->alice, "lung", 4, HOUR);
	cmd.job_submit.spec.klass = JOB_URGENT;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(w->d.result.hold_rums, 8 * HOUR);
}

/* The site decides which jobs find SLURM_*, from the next submission on. */
static void slurms_variables_are_for_whom_the_site_says(void **state)
{
	struct core_world *w = *state;
	struct command set = cw_cmd(w, (struct cw_who){0, 0, VIA_INTERNAL}, CMD_INIT), cmd;
	uint64_t first = 0, last = 0;

	for (uint8_t says = SLURM_ENV_COMPAT; says <= SLURM_ENV_NEVER; says++) {
		set.init.settings = *core_cluster(w->core);
		set.init.settings.slurm_env = says;
		assert_int_equal(cw_do(w, &set), 0);
		for (int asked = 0; asked < 2; asked++) {
			cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR);
			cmd.job_submit.spec.slurm_env = asked;
			assert_int_equal(cw_do(w, &cmd), 0);
			last = w->d.result.id;
			first = first ? first : last;
			assert_int_equal(core_job(w->core, last)->spec.slurm_env,
					 says == SLURM_ENV_COMPAT ? asked : says == SLURM_ENV_ALWAYS);
		}
	}
	assert_false(core_job(w->core, first)->spec.slurm_env);
	assert_true(core_job(w->core, first + 1)->spec.slurm_env); /* it was told so */
	assert_int_equal(last, first + 5);
}

/* ---- flavors of other weights --------------------------------------------------------------------------------- */

/* Slices of a device: what they cost is their part of one. */
static int64_t priced(const struct core_world *w, int64_t units, int64_t ms)
{
	return units * ms * w->flavor[0].weight_milli / 1000;
}

static void of_weight(struct core_world *w, uint32_t weight_milli)
{
	cw_close(w);
	cw_open(w, 4);
	w->flavor[0].weight_milli = weight_milli;
	with_stages(w, 1000, STAGE_RELEASED);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		assert_int_equal(cw_hello(w, i), 0);
	cw_settle(w);
}

/* Half an hour of the two that were held. */
static void a_slice_is_held_and_paid_by_its_weight(struct core_world *w)
{
	uint64_t id = cw_submit(w, w->alice, "lung", 4, 2 * HOUR);
	const struct usage *u;

	assert_int_equal(w->d.result.hold_rums, priced(w, 4, 2 * HOUR));
	cw_tick(w);
	assert_int_equal(stage_held(w, "lung", 0), priced(w, 4, 2 * HOUR));
	cw_settle(w);
	cw_advance(w, 30 * MIN);
	cw_exit(w, id, 0);
	assert_int_equal(core_job(w->core, id)->used_guaranteed_rums, priced(w, 4, 30 * MIN));
	assert_int_equal(stage_held(w, "lung", 0), 0);
	assert_int_equal(stage_spent(w, "lung", 0), priced(w, 4, 30 * MIN));
	u = core_record(w->core, RECORD_USAGE, cw_id(w, "lung"));
	assert_int_equal(u->rows[0].guaranteed_rums, priced(w, 4, 30 * MIN));
	assert_int_equal(u->decayed_rums, priced(w, 4, 30 * MIN));
}

/* Recalled after two hours, an hour after its last checkpoint, at the rate of a loan. */
static void a_slice_is_refunded_by_its_weight(struct core_world *w)
{
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 32, 4 * HOUR);
	int64_t spent = stage_spent(w, "lung", 0);
	uint64_t loan;

	cmd.job_submit.spec.loan = LOAN_ONLY;
	assert_int_equal(cw_do(w, &cmd), 0);
	loan = w->d.result.id;
	cw_settle(w);
	assert_int_equal(stage_held(w, "lung", 0), priced(w, 32, 4 * HOUR) / 2);
	cw_advance(w, HOUR);
	cmd = cw_cmd(w, w->alice, CMD_JOB_CHECKPOINTED);
	cmd.job_checkpointed.job = loan;
	cmd.job_checkpointed.step = 100;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_advance(w, HOUR);
	(void)cw_submit(w, w->bob, "heart", 8, HOUR);
	cw_settle(w);
	assert_int_equal(core_job(w->core, loan)->recalls, 1);
	assert_int_equal(core_job(w->core, loan)->used_loan_rums, priced(w, 32, 2 * HOUR));
	assert_int_equal(core_job(w->core, loan)->lost_rums, priced(w, 32, HOUR));
	assert_int_equal(core_job(w->core, loan)->refunded_rums, priced(w, 32, HOUR));
	assert_int_equal(stage_held(w, "lung", 0), 0);
	assert_int_equal(stage_spent(w, "lung", 0) - spent, priced(w, 32, HOUR) / 2);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, loan), 0);
}

/* Eight kept for an hour, of which a job of two has the half. */
static void what_is_kept_of_slices_is_charged_by_their_weight(struct core_world *w)
{
	struct command cmd = cw_cmd(w, w->operator, CMD_RESERVATION_CREATE);
	struct cmd_reservation_create *r = &cmd.reservation_create;
	struct window window = {w->t + 2 * HOUR, w->t + 3 * HOUR};
	int64_t spent = stage_spent(w, "lung", 0);
	struct text_ref member = {"project:lung"};
	const struct reservation *kept;
	uint64_t id, job;

	(void)snprintf(r->spec.name, sizeof r->spec.name, "course");
	(void)snprintf(r->flavor, sizeof r->flavor, "h100");
	r->spec.windows = &window;
	r->spec.windows_n = 1;
	r->spec.units = 8;
	r->members = &member;
	r->members_n = 1;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_advance(w, 2 * HOUR);
	cmd = cw_submit_cmd(w, w->alice, "lung", 2, 45 * MIN);
	(void)snprintf(cmd.job_submit.reservation, NAME_BYTES, "course");
	assert_int_equal(cw_do(w, &cmd), 0);
	job = w->d.result.id;
	cw_settle(w);
	cw_advance(w, 30 * MIN);
	cw_exit(w, job, 0);
	assert_int_equal(core_job(w->core, job)->used_guaranteed_rums, priced(w, 2, 30 * MIN));
	cw_advance(w, 30 * MIN);
	kept = core_record(w->core, RECORD_RESERVATION, id);
	assert_int_equal(kept->state, RESERVATION_ENDED);
	assert_int_equal(kept->kept_rums, priced(w, 8, HOUR));
	assert_int_equal(kept->used_rums, priced(w, 2, 30 * MIN));
	assert_int_equal(kept->idle_rums, priced(w, 7, HOUR));
	assert_int_equal(stage_spent(w, "lung", 0) - spent, priced(w, 8, HOUR));
}

static void slices_cost_by_their_weight(void **state)
{
	static const uint32_t WEIGHT[] = {143, 620};
	struct core_world *w = *state;

	for (size_t i = 0; i < ARRAY_LEN(WEIGHT); i++) {
		of_weight(w, WEIGHT[i]);
		a_slice_is_held_and_paid_by_its_weight(w);
		a_slice_is_refunded_by_its_weight(w);
		what_is_kept_of_slices_is_charged_by_their_weight(w);
	}
}

/* ---- arrays ---------------------------------------------------------------------------------- */

static uint64_t array(struct core_world *w, uint32_t last, uint32_t running_max)
{
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR);

	cmd.job_submit.spec.array_first = 0;
	cmd.job_submit.spec.array_last = last;
	cmd.job_submit.spec.array_step = 1;
	cmd.job_submit.spec.array_running_max = running_max;
	assert_int_equal(cw_do(w, &cmd), 0);
	return w->d.result.id;
}

static uint64_t child(const struct core_world *w, uint64_t parent, uint32_t index)
{
	for (uint64_t id = 0; (id = core_next_id(w->core, RECORD_JOB, id)) != 0;)
		if (core_job(w->core, id)->array == parent && core_job(w->core, id)->array_index == index)
			return id;
	return 0;
}

static void an_array_respects_its_running_limit(void **state)
{
	struct core_world *w = *state;
	uint64_t id = array(w, 5, 2);

	cw_settle(w);
	for (uint32_t i = 0; i < 6; i++) {
		uint32_t live = 0;

		assert_int_not_equal(child(w, id, i), 0);
		assert_int_equal(cw_job_state(w, child(w, id, i)), JOB_RUNNING);
		for (uint32_t k = 0; k < 6; k++)
			live += child(w, id, k) && !job_terminal(cw_job_state(w, child(w, id, k)));
		assert_true(live <= 2);
		if (i < 4) {
			char text[TEXT_BYTES];
			const struct job_s *j = job_of(w->core, id);

			assert_int_equal(cw_reason(w, id), REASON_JOB_LIMIT);
			sched_reason_text(w->core, j->line->need, core_job(w->core, id), text);
			assert_string_equal(text, "2 of its children run, its own limit (%2)");
		}
		cw_exit(w, child(w, id, i), 0);
	}
	assert_int_equal(cw_job_state(w, id), JOB_COMPLETED);
	assert_int_equal(child(w, id, 6), 0);
}

static void cancelling_an_array_cancels_all_of_it(void **state)
{
	struct core_world *w = *state;
	uint64_t id = array(w, 9, 3);

	cw_settle(w);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, id), 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_CANCELLED);
	assert_int_equal(child(w, id, 3), 0); /* no more children */
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(cw_job_state(w, child(w, id, i)), JOB_CANCELLED);
	assert_int_equal(cw_allocs(w), 0);
}

/* It is no error, and the answer does not claim that it was cancelled. */
static void cancelling_what_has_ended_says_so(void **state)
{
	struct core_world *w = *state;
	uint64_t id = cw_submit(w, w->alice, "lung", 1, HOUR);

	cw_settle(w);
	cw_exit(w, id, 0);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, id), 0);
	assert_int_equal(w->d.result.state, JOB_COMPLETED);
	assert_int_equal(cw_job_state(w, id), JOB_COMPLETED);
	id = cw_submit(w, w->alice, "lung", 1, HOUR);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, id), 0);
	assert_false(job_terminal(w->d.result.state));
}

/* A child that has ended is run again: its array counts it once more, and ends once more. */
static void a_finished_child_can_be_requeued(void **state)
{
	struct core_world *w = *state;
	uint64_t id = array(w, 1, 0), one;

	cw_settle(w);
	one = child(w, id, 1);
	cw_exit(w, child(w, id, 0), 0);
	cw_exit(w, one, 1);
	assert_int_equal(cw_job_state(w, id), JOB_FAILED);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_REQUEUE, one), 0);
	assert_int_equal(core_job(w->core, id)->array_live, 1);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, one), JOB_RUNNING);
	cw_exit(w, one, 0);
	assert_int_equal(cw_job_state(w, one), JOB_COMPLETED);
	assert_int_equal(core_job(w->core, id)->array_live, 0);
	assert_int_equal(cw_job_state(w, id), JOB_COMPLETED);
	/* the array itself has nothing to run again */
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_REQUEUE, id), ERR_STATE);
}

static uint64_t depends(struct core_world *w, uint64_t on, uint8_t type)
{
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR);
	struct dependency dep = {.job = on, .type = type};

	cmd.job_submit.spec.deps = &dep;
	cmd.job_submit.spec.deps_n = 1;
	assert_int_equal(cw_do(w, &cmd), 0);
	return w->d.result.id;
}

/* It ends as the first child that did not end well, and what depends on it goes by that. */
static void an_array_fails_if_a_child_failed(void **state)
{
	struct core_world *w = *state;
	uint64_t id = array(w, 3, 2), ok = depends(w, id, DEP_AFTEROK), notok = depends(w, id, DEP_AFTERNOTOK);

	cw_settle(w);
	cw_exit(w, child(w, id, 0), 0);
	cw_exit(w, child(w, id, 1), 7);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING); /* the others go on */
	assert_string_equal(core_job(w->core, child(w, id, 3))->end_text, ""); /* and know nothing of it */
	assert_int_equal(core_job(w->core, child(w, id, 3))->end_cause, END_NONE);
	cw_exit(w, child(w, id, 2), 3);
	cw_exit(w, child(w, id, 3), 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_FAILED);
	assert_int_equal(core_job(w->core, id)->exit_code, 7);
	assert_int_equal(core_job(w->core, id)->end_cause, END_EXIT);
	assert_non_null(strstr(core_job(w->core, id)->end_text, "_1: ended on n"));
	assert_int_equal(cw_job_state(w, notok), JOB_RUNNING);
	assert_int_equal(cw_job_state(w, ok), JOB_CANCELLED); /* 106 */
	/* run again with success, the other failure is what is left of it */
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_REQUEUE, child(w, id, 1)), 0);
	cw_settle(w);
	cw_exit(w, child(w, id, 1), 0);
	assert_int_equal(cw_job_state(w, id), JOB_FAILED);
	assert_int_equal(core_job(w->core, id)->exit_code, 3);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_REQUEUE, child(w, id, 2)), 0);
	cw_settle(w);
	cw_exit(w, child(w, id, 2), 0);
	assert_int_equal(cw_job_state(w, id), JOB_COMPLETED);
	assert_int_equal(core_job(w->core, id)->exit_code, 0);
	assert_string_equal(core_job(w->core, id)->end_text, "");
}

static void an_array_with_a_cancelled_child_did_not_complete(void **state)
{
	struct core_world *w = *state;
	uint64_t id = array(w, 1, 0), ok = depends(w, id, DEP_AFTEROK);

	cw_settle(w);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, child(w, id, 0)), 0);
	cw_settle(w);
	cw_exit(w, child(w, id, 1), 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_CANCELLED);
	assert_int_equal(cw_job_state(w, ok), JOB_CANCELLED); /* 106 */
}

/* The array itself is no running job: its last child may be requeued under a limit of one. */
static void an_array_counts_once_against_the_running_limit(void **state)
{
	struct core_world *w = *state;
	uint64_t id, one;

	w->qnode[CW_LUNG].running_jobs_max = 1;
	cw_apply(w);
	id = array(w, 1, 0);
	cw_settle(w);
	cw_exit(w, child(w, id, 0), 0);
	one = child(w, id, 1);
	assert_int_not_equal(one, 0);
	assert_int_equal(cw_job_state(w, one), JOB_RUNNING);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_REQUEUE, one), 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, one), JOB_RUNNING);
	assert_int_equal(core_job(w->core, one)->attempt, 2);
}

/* ---- idempotency ----------------------------------------------------------------------------- */

/* peers' failure 10: asked twice with one key is one job, before and after a restart. */
static void peers_10_one_key_one_job(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR);
	uint64_t id;

	cmd.idem_key[3] = 7;
	cmd.body_hash[0] = 1;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	assert_false(w->d.replayed);
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_true(w->d.replayed);
	assert_int_equal(w->d.result.id, id);
	assert_int_equal(w->d.facts_n, 0);
	cw_reload(w, 0);
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(w->d.result.id, id);
	cmd.body_hash[0] = 2;
	assert_int_equal(cw_do(w, &cmd), ERR_IDEM_CONFLICT);
	cmd.body_hash[0] = 1;
	/* another user's key is another key */
	cmd.principal = w->paula.principal;
	cmd.cred = w->paula.cred;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_not_equal(w->d.result.id, id);
	/* after thirty days it is forgotten */
	cw_advance(w, 31 * MS_PER_DAY);
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_false(w->d.replayed);
}

static void a_refused_command_leaves_its_key_free(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 1000, HOUR);

	cmd.idem_key[0] = 9;
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	cmd.job_submit.spec.units = 1;
	cmd.body_hash[0] = 5;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_false(w->d.replayed);
}

static void a_dry_run_decides_the_same_and_changes_nothing(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR);
	uint64_t before = cw_digest(w), id;

	cmd.dry_run = true;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	assert_int_equal(cw_digest(w), before);
	cmd.dry_run = false;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(w->d.result.id, id);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void refusals_name_their_reason(void **state)
{
	struct core_world *w = *state;
	struct require us = {"jurisdiction", "CH"};
	struct command cmd;
#define REFUSED(change, code, why)                                                                 \
	do {                                                                                       \
		cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR);                                 \
		change;                                                                            \
		assert_int_equal(cw_do(w, &cmd), (code));                                          \
		assert_int_equal(w->err.reason, (why));                                            \
		assert_true(w->err.msg[0]);                                                        \
	} while (0)
	struct job_spec *s = &cmd.job_submit.spec;

	REFUSED((void)snprintf(cmd.job_submit.project, TEXT_BYTES, "nowhere"), ERR_NOTFOUND, REASON_UNKNOWN);
	REFUSED((void)snprintf(cmd.job_submit.flavor, FLAVOR_NAME_BYTES, "h200"), ERR_NOTFOUND, REASON_UNKNOWN);
	REFUSED((void)snprintf(cmd.job_submit.project, TEXT_BYTES, "heart"), ERR_DENIED, 0);
	REFUSED((void)snprintf(cmd.job_submit.project, TEXT_BYTES, "health"), ERR_DENIED, 0);
	REFUSED(s->units = 33, ERR_NEVER, REASON_SHAPE);
	REFUSED(s->units = 9, ERR_NEVER, REASON_OVER_LIMIT);
	REFUSED((s->units = 18, s->per_node = 9, s->loan = LOAN_OK), ERR_NEVER, REASON_SHAPE);
	REFUSED(s->units = 0, ERR_RANGE, 0);
	REFUSED((s->units = 131073, s->loan = LOAN_OK), ERR_NEVER, REASON_SHAPE);
	assert_string_equal(w->err.hint, "1 to 131072");
	REFUSED((s->units = UINT32_MAX, s->shape = SHAPE_NODE), ERR_NEVER, REASON_SHAPE);
	REFUSED((s->units = 8, s->per_node = 3), ERR_INVAL, 0);
	REFUSED(s->time_limit_ms = -1, ERR_RANGE, 0);
	REFUSED(s->notice_ms = -1, ERR_RANGE, 0);
	REFUSED(s->shape = SHAPE_COUNT, ERR_INVAL, 0);
	REFUSED(s->klass = JOB_SYSTEM, ERR_INVAL, 0);
	REFUSED(s->loan = LOAN_ONLY + 1, ERR_INVAL, 0);
	REFUSED(s->mode = JOB_COMMAND + 1, ERR_INVAL, 0);
	REFUSED((s->requires = &us, s->requires_n = 1), ERR_NEVER, REASON_NO_ATTESTED);
	assert_non_null(strstr(w->err.hint, "sluisctl node show"));
	/* no node has so much: devices enough make no difference */
	REFUSED(s->memory_mib = 1024 * 1024 + 1, ERR_NEVER, REASON_SHAPE);
	assert_non_null(strstr(w->err.msg, "the most is 1048576"));
	REFUSED(s->cpus_per_task = CW_CORES + 1, ERR_NEVER, REASON_SHAPE);
	assert_non_null(strstr(w->err.hint, "up to 64 cores and 1048576 MiB"));
	REFUSED((s->tasks_per_node = 2, s->cpus_per_task = CW_CORES / 2 + 1), ERR_NEVER, REASON_SHAPE);
	REFUSED((s->array_step = 1, s->array_first = 2, s->array_last = 1), ERR_RANGE, 0);
	/* numbers from outside that would overflow a sum of instants */
	REFUSED(s->time_limit_ms = INT64_MAX, ERR_RANGE, 0);
	REFUSED(s->notice_ms = INT64_MAX, ERR_RANGE, 0);
	REFUSED(s->exempt_ms = INT64_MAX, ERR_RANGE, 0);
	REFUSED(s->begin_ms = INT64_MAX, ERR_RANGE, 0);
#undef REFUSED
	assert_int_equal(cw_allocs(w), 0);
}

static void limits_of_a_project(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	uint64_t id;

	w->qnode[CW_LUNG].running_jobs_max = 1;
	w->qnode[CW_LUNG].pending_jobs_max = 1;
	w->qnode[CW_LUNG].time_ms_max = 2 * HOUR;
	cw_apply(w);
	(void)cw_submit(w, w->alice, "lung", 1, HOUR);
	cw_settle(w);
	id = cw_submit(w, w->alice, "lung", 1, HOUR);
	cw_settle(w);
	assert_int_equal(cw_reason(w, id), REASON_JOB_LIMIT);
	cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR);
	assert_int_equal(cw_do(w, &cmd), ERR_NOROOM);
	assert_int_equal(w->err.reason, REASON_JOB_LIMIT);
	cmd = cw_cmd(w, w->alice, CMD_JOB_UPDATE); /* the job that waits may be changed all the same */
	cmd.job_update.job = id;
	cmd.job_update.time_limit_ms = HOUR / 2;
	assert_int_equal(cw_do(w, &cmd), 0);
	cmd.job_update.time_limit_ms = 3 * HOUR;
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	assert_int_equal(w->err.reason, REASON_TIME_LIMIT);
}

/* Placement: near NUMA node, cores beside the devices, predicates, whole nodes by leaf. */
static void placement_is_tight_and_obeys_predicates(void **state)
{
	struct core_world *w = *state;
	struct require us = {"jurisdiction", "US"};
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 2, HOUR);
	const struct alloc *a;
	uint64_t id;

	cmd.job_submit.spec.requires = &us;
	cmd.job_submit.spec.requires_n = 1;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	a = cw_alloc_of(w, OWNER_JOB, id);
	assert_int_equal(a->parts[0].node, w->node[4].id);
	assert_int_equal(a->parts[0].devices, 3); /* same NUMA node, lowest first */
	assert_int_equal(__builtin_popcountll(a->parts[0].cores[0]), CW_CORES / 4);
	assert_int_equal(a->parts[0].cores[0] >> 32, 0); /* the cores beside them */
	assert_int_equal(a->parts[0].memory_mib, 1024 * 1024 / 4);
	id = cw_submit(w, w->alice, "lung", 2, HOUR);
	cw_settle(w);
	assert_int_equal(cw_alloc_of(w, OWNER_JOB, id)->parts[0].node, w->node[4].id); /* best fit */
	assert_int_equal(cw_alloc_of(w, OWNER_JOB, id)->parts[0].devices, 0xc);
}

/* Whole nodes that are promised stay whole: single GPUs keep to the fractional area. */
static void promised_nodes_stay_whole(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	uint64_t id[10], whole;
	uint64_t broken = 0;

	cw_quota(w, CW_HEART, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_ACME, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_BETA, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_HEART, 0, SHAPE_NODE, 3, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	for (int i = 0; i < 8; i++) { /* eight singles that must not touch more than one node */
		cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR);
		cmd.job_submit.spec.memory_mib = 1024;
		assert_int_equal(cw_do(w, &cmd), 0);
		id[i] = w->d.result.id;
	}
	cw_settle(w);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(cw_job_state(w, id[i]), JOB_RUNNING);
		broken |= UINT64_C(1) << cw_alloc_of(w, OWNER_JOB, id[i])->parts[0].node;
	}
	assert_int_equal(__builtin_popcountll(broken), 1);
	cw_exit(w, id[7], 0);
	cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR); /* it fits beside nobody, and may break no other node */
	cmd.job_submit.spec.memory_mib = 1024 * 1024;
	assert_int_equal(cw_do(w, &cmd), 0);
	id[8] = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id[8]), JOB_PENDING);
	assert_int_equal(cw_reason(w, id[8]), REASON_FRAGMENTED);
	cmd = cw_submit_cmd(w, w->bob, "heart", 3, HOUR);
	cmd.job_submit.spec.shape = SHAPE_NODE;
	assert_int_equal(cw_do(w, &cmd), 0);
	whole = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, whole), JOB_RUNNING);
	assert_int_equal(cw_alloc_of(w, OWNER_JOB, whole)->parts_n, 3);
	assert_int_equal(core_job(w->core, whole)->spec.units, 3);
	cw_advance(w, 30 * MIN);
	cw_exit(w, whole, 0);
	assert_int_equal(core_job(w->core, whole)->used_guaranteed_rums, 3 * 8 * 30 * MIN);
}

/* A job with two live attempts on paper: the older one's reports change nothing. */
static void stale_reports_are_ignored(void **state)
{
	struct core_world *w = *state;
	uint64_t id = cw_submit(w, w->alice, "lung", 1, HOUR), before;

	cw_settle(w);
	before = cw_digest(w);
	assert_int_equal(cw_report(w, 1, 4711, 0, UNIT_EXITED, 1), 0);  /* no such allocation */
	assert_int_equal(cw_report(w, 2, core_job(w->core, id)->alloc, 0, UNIT_RELEASED, 0), 0); /* not there */
	assert_int_equal(cw_report(w, 1, core_job(w->core, id)->alloc, 5, UNIT_RELEASED, 0), 0); /* no such part */
	assert_int_equal(cw_report(w, 1, core_job(w->core, id)->alloc, 0, UNIT_UNKNOWN, 0), 0);
	assert_int_equal(cw_report(w, 1, core_job(w->core, id)->alloc, 0, UNIT_UNKILLABLE, 0), 0);
	assert_int_equal(cw_report(w, 1, core_job(w->core, id)->alloc, 0, UNIT_ABSENT, 0), 0);
	assert_int_equal(cw_digest(w), before);
}

static int report_unfit(struct core_world *w, uint32_t node, uint64_t alloc, uint8_t state)
{
	struct command cmd = cw_cmd(w, w->node[node].agent, CMD_NODE_REPORT);
	struct unit_status row = {.alloc = alloc, .state = state, .unfit = true, .checkpoint_ago_ms = -1,
				  .text = "prolog 10-mount: exited with 3"};

	cmd.node_report.node = w->node[node].id;
	cmd.node_report.incarnation = w->node[node].incarnation;
	cmd.node_report.units = &row;
	cmd.node_report.units_n = 1;
	return cw_do(w, &cmd);
}

/* The node's fault and nobody's work: it takes nothing new and says why, and the job goes elsewhere. Also when the time
 * to bind was over before the agent knew. An operator who enables it again is obeyed. */
static void a_node_where_nothing_can_start_is_drained(void **state)
{
	struct core_world *w = *state;

	for (int late = 0; late < 2; late++) {
		uint64_t id = cw_submit(w, w->alice, "lung", 1, HOUR), alloc;
		const struct node *n;
		uint32_t at = 1;

		cw_tick(w);
		alloc = core_job(w->core, id)->alloc;
		assert_int_equal(cw_job_state(w, id), JOB_BINDING);
		while (w->node[at].id != core_alloc(w->core, alloc)->parts[0].node)
			at++;
		if (late) {
			w->t = core_alloc(w->core, alloc)->bind_by_ms;
			cw_tick(w);
			assert_int_equal(core_alloc(w->core, alloc)->state, ALLOC_STOPPING);
		}
		n = core_node(w->core, w->node[at].id);
		assert_int_equal(n->admin, NODE_ENABLED);
		assert_int_equal(report_unfit(w, at, alloc, UNIT_FAILED), 0);
		n = core_node(w->core, w->node[at].id);
		assert_int_equal(n->admin, NODE_DRAINING);
		assert_non_null(strstr(n->admin_reason, "could not start: prolog 10-mount: exited with 3"));
		assert_int_equal(cw_report(w, at, alloc, 0, UNIT_RELEASED, 0), 0);
		cw_advance(w, 5 * MIN);
		assert_int_equal(cw_job_state(w, id), JOB_RUNNING);
		assert_int_equal(core_job(w->core, id)->excluded_n, 1);
		assert_int_not_equal(cw_alloc_of(w, OWNER_JOB, id)->parts[0].node, w->node[at].id);
		assert_int_equal(cw_admin_node(w, CMD_NODE_UNCORDON, at, ""), 0);
		cw_exit(w, id, 0);
		assert_int_equal(core_node(w->core, w->node[at].id)->admin, NODE_ENABLED);
	}
}

/* A restart in the middle of anything gives the same core: facts alone carry the state (I7). */
static void a_restart_anywhere_changes_no_decision(void **state)
{
	struct core_world *w = *state;
	uint64_t a = cw_submit(w, w->alice, "lung", 8, HOUR), b;

	cw_tick(w);
	b = cw_submit(w, w->alice, "lung", 4, HOUR);
	cw_reload(w, 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, a), JOB_RUNNING);
	cw_reload(w, 0);
	cw_advance(w, 10 * MIN);
	cw_exit(w, a, 0);
	cw_reload(w, 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, b), JOB_RUNNING);
}

/* ---- topology ------------------------------------------------------------------------------------------ */

static void what_no_leaf_can_hold_is_refused(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->bob, "heart", 17, HOUR);

	cmd.job_submit.spec.loan = LOAN_ONLY;
	cmd.job_submit.spec.topology = TOPOLOGY_LEAF;
	cmd.job_submit.spec.topology_required = true;
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	assert_string_equal(w->err.msg, "no leaf has 17 devices of h100: the largest has 16");
	assert_string_equal(w->err.hint, "--topology preferred=leaf");
	cmd.job_submit.spec.topology = TOPOLOGY_POD; /* nobody said which */
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	assert_string_equal(w->err.hint, "--topology preferred=pod; nodes say where they are by the label 'pod'");
	cmd.job_submit.spec.topology_wait_ms = HOUR;
	assert_int_equal(cw_do(w, &cmd), ERR_INVAL);
	cmd.job_submit.spec.topology_required = false;
	assert_int_equal(cw_do(w, &cmd), 0); /* only preferred: it waits for one, then takes several */
	cmd.job_submit.spec.topology = TOPOLOGY_POD + 1;
	assert_int_equal(cw_do(w, &cmd), ERR_INVAL);
	cmd.job_submit.spec.topology = TOPOLOGY_ANY;
	assert_int_equal(cw_do(w, &cmd), ERR_INVAL);
}

/* One that needs a leaf does not speak for one that does not: they stand in different lines, and what the one
 * could not find is not what the other asks for. */
static void who_needs_no_leaf_passes(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->bob, "heart", 16, HOUR), one = cw_submit_cmd(w, w->bob, "heart", 1, HOUR);
	uint64_t bound, loose;

	cmd.job_submit.spec.loan = one.job_submit.spec.loan = LOAN_ONLY;
	for (uint32_t node = 1; node <= 3; node += 2) { /* one device of each leaf */
		for (uint32_t i = 1; i <= 4; i++)
			assert_int_equal(cw_admin_node(w, i == node ? CMD_NODE_UNCORDON : CMD_NODE_CORDON, i, "not here"), 0);
		assert_int_equal(cw_do(w, &one), 0);
		cw_settle(w);
	}
	for (uint32_t i = 1; i <= 4; i++)
		assert_int_equal(cw_admin_node(w, CMD_NODE_UNCORDON, i, ""), 0);
	cmd.job_submit.spec.topology = TOPOLOGY_LEAF;
	cmd.job_submit.spec.topology_required = true;
	assert_int_equal(cw_do(w, &cmd), 0);
	bound = w->d.result.id;
	cmd.job_submit.spec.topology = TOPOLOGY_ANY;
	cmd.job_submit.spec.topology_required = false;
	assert_int_equal(cw_do(w, &cmd), 0);
	loose = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, bound), JOB_PENDING);
	assert_int_equal(cw_job_state(w, loose), JOB_RUNNING);
}

/* Slurm's --switches=1@20: one leaf for twenty minutes, then any. Nothing else happens in the meantime. */
static void a_leaf_is_waited_for_only_so_long(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->bob, "heart", 17, HOUR);
	uint64_t id;

	cmd.job_submit.spec.loan = LOAN_ONLY;
	cmd.job_submit.spec.topology = TOPOLOGY_LEAF;
	cmd.job_submit.spec.topology_wait_ms = 20 * MIN;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_PENDING);
	assert_int_equal(cw_reason(w, id), REASON_FRAGMENTED);
	cw_advance(w, 20 * MIN - 1);
	assert_int_equal(cw_job_state(w, id), JOB_PENDING);
	cw_advance(w, 1);
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(a_job_runs_to_completed),
		STORY(a_failing_job_is_failed_and_retried_as_asked),
		STORY(one_failure_ends_the_gang),
		STORY(out_of_memory_has_a_state_of_its_own),
		STORY(the_end_says_what_the_agent_says),
		STORY(the_time_limit_gives_notice_and_then_ends),
		STORY(exit_zero_within_the_notice_is_completed),
		STORY(a_full_quota_says_501_and_starts_when_freed),
		STORY(a_borrowing_limit_says_503),
		STORY(an_ancestor_that_is_full_says_502),
		STORY(begin_holds_back_until_then),
		STORY(hold_and_release),
		STORY(a_deadline_passed_while_waiting_ends_it),
		STORY(dependencies_of_every_kind),
		STORY(a_dead_dependency_is_refused),
		STORY(a_cancelled_job_says_by_whom),
		STORY(a_refusal_says_what_there_is),
		STORY(a_singleton_waits_for_its_namesake),
		STORY(a_gap_takes_the_short_and_not_the_long),
		STORY(peers_9_impossible_submits_do_not_block_a_possible_one),
		STORY(peers_11_half_of_a_gang_nacks),
		STORY(a_blamed_node_is_not_used_again_while_others_are_free),
		STORY(a_silent_agent_costs_the_bind_timeout),
		STORY(requeue_outranks_the_exit_code),
		STORY(requeue_after_the_exit_was_seen),
		STORY(cancel_in_every_state),
		STORY(a_cancel_outranks_a_recall_under_way),
		STORY(an_earmarked_job_can_be_cancelled),
		STORY(a_loan_is_recalled_cools_down_and_resumes),
		STORY(peers_1_victims_leave_one_by_one_past_a_thief),
		STORY(memory_is_earmarked_with_the_devices),
		STORY(a_loan_is_recalled_for_its_memory),
		STORY(peers_2_nominal_on_the_parent_is_served_within_the_slo),
		STORY(peers_3_protected_low_priority_does_not_stop_the_search),
		STORY(peers_4_only_the_flavor_that_is_short_is_recalled),
		STORY(a_notice_beyond_the_recall_time_is_refused),
		STORY(a_loan_becomes_guaranteed_when_quota_frees),
		STORY(the_hold_is_taken_captured_and_released),
		STORY(a_budget_too_small_says_402_and_none_released_says_204),
		STORY(a_stage_opens_by_its_date),
		STORY(a_recall_is_refunded_from_the_last_checkpoint),
		STORY(no_requeue_is_preempted_and_refunded),
		STORY(a_loan_is_not_promoted_beyond_the_budget),
		STORY(a_longer_time_limit_needs_a_larger_hold),
		STORY(the_hold_of_an_earmarked_job_follows_its_limit),
		STORY(a_grant_that_arrives_during_a_claim),
		STORY(urgent_costs_its_multiple),
		STORY(slices_cost_by_their_weight),
		STORY(slurms_variables_are_for_whom_the_site_says),
		STORY(an_array_respects_its_running_limit),
		STORY(cancelling_an_array_cancels_all_of_it),
		STORY(a_finished_child_can_be_requeued),
		STORY(cancelling_what_has_ended_says_so),
		STORY(an_array_fails_if_a_child_failed),
		STORY(an_array_with_a_cancelled_child_did_not_complete),
		STORY(an_array_counts_once_against_the_running_limit),
		STORY(peers_10_one_key_one_job),
		STORY(a_refused_command_leaves_its_key_free),
		STORY(a_dry_run_decides_the_same_and_changes_nothing),
		STORY(refusals_name_their_reason),
		STORY(limits_of_a_project),
		STORY(placement_is_tight_and_obeys_predicates),
		STORY(promised_nodes_stay_whole),
		STORY(stale_reports_are_ignored),
		STORY(a_node_where_nothing_can_start_is_drained),
		STORY(a_restart_anywhere_changes_no_decision),
		STORY(what_no_leaf_can_hold_is_refused),
		STORY(a_leaf_is_waited_for_only_so_long),
		STORY(who_needs_no_leaf_passes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
