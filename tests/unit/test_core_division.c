/* test_core_division.c - the contract: what may be promised, and what a change of it leaves alone
 *
 * Without these more could be promised than is there, a project could lose its name, its spending or
 * its running work by an edit of the file, or a half-wrong file be half applied.
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

static int apply(struct core_world *w)
{
	struct command cmd = cw_cmd(w, w->admin, CMD_DIVISION_APPLY);

	cmd.division_apply = w->div;
	return cw_do(w, &cmd);
}

static void no_more_is_promised_than_committed(void **state)
{
	struct core_world *w = *state;

	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 9, QTY_UNLIMITED, QTY_UNLIMITED);
	assert_int_equal(apply(w), ERR_QUOTA);
	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 8, QTY_UNLIMITED, QTY_UNLIMITED);
	assert_int_equal(apply(w), 0);
	/* whole nodes count in devices, and may not come out of committed single devices */
	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_LUNG, 0, SHAPE_NODE, 1, QTY_UNLIMITED, QTY_UNLIMITED);
	assert_int_equal(apply(w), 0);
	cw_quota(w, CW_LUNG, 0, SHAPE_NODE, 2, QTY_UNLIMITED, QTY_UNLIMITED);
	assert_int_equal(apply(w), ERR_QUOTA);
	w->flavor[0].committed_units = 8; /* devices enough, nodes enough: 2 + 24 single */
	assert_int_equal(apply(w), 0);
	w->flavor[0].committed_nodes = 1;
	w->flavor[0].committed_units = 64;
	assert_int_equal(apply(w), ERR_QUOTA); /* devices enough, nodes not */
	cw_quota(w, CW_LUNG, 0, SHAPE_NODE, INT64_MAX / 4, QTY_UNLIMITED, QTY_UNLIMITED);
	assert_int_equal(apply(w), ERR_RANGE);
	assert_int_equal(core_cluster(w->core)->division_version, 4); /* refused ones are no versions */
}

static void versions_guard_against_lost_updates(void **state)
{
	struct core_world *w = *state;

	assert_int_equal(core_cluster(w->core)->division_version, 1);
	w->div.expect_version = 2;
	assert_int_equal(apply(w), ERR_VERSION_MOVED);
	w->div.expect_version = 1;
	assert_int_equal(apply(w), 0);
	assert_int_equal(w->d.result.version, 2);
	assert_int_equal(apply(w), ERR_VERSION_MOVED);
}

static void a_wrong_tree_is_refused_as_a_whole(void **state)
{
	struct core_world *w = *state;
	uint64_t before = cw_digest(w);
	struct qnode keep[CW_QNODES];
	struct flavor flavor = w->flavor[0];

	memcpy(keep, w->qnode, sizeof keep);
#define REFUSED(change, code)                                                                      \
	do {                                                                                       \
		change;                                                                            \
		assert_int_equal(apply(w), (code));                                                \
		assert_true(w->err.msg[0]);                                                        \
		memcpy(w->qnode, keep, sizeof keep);                                               \
		w->flavor[0] = flavor;                                                             \
		w->div.qnodes_n = CW_QNODES;                                                       \
		w->div.flavors_n = 1;                                                              \
		assert_int_equal(cw_digest(w), before);                                            \
		assert_int_equal(core_cluster(w->core)->division_version, 1);                      \
	} while (0)
	REFUSED(w->div.qnodes_n = 0, ERR_RANGE);
	REFUSED(w->div.flavors_n = 0, ERR_RANGE);
	REFUSED(w->qnode[CW_ROOT].kind = QNODE_PUBLIC, ERR_INVAL);
	REFUSED(w->qnode[CW_LUNG].name[0] = '\0', ERR_INVAL);
	REFUSED(strcpy(w->qnode[CW_LUNG].name, "a/b"), ERR_INVAL);
	REFUSED(strcpy(w->qnode[CW_LUNG].name, "heart"), ERR_EXISTS);
	REFUSED(w->qnode[CW_LUNG].parent = CW_PRIVATE + 1, ERR_INVAL); /* a project under the private side */
	REFUSED(w->qnode[CW_LUNG].parent = CW_BETA + 1, ERR_INVAL);	/* a parent that comes later */
	REFUSED(w->qnode[CW_LUNG].parent = 0, ERR_INVAL);
	REFUSED(w->qnode[CW_ACME].kind = QNODE_PROJECT, ERR_INVAL);
	REFUSED(w->flavor[0].name[0] = '\0', ERR_INVAL);
	REFUSED(w->flavor[0].devices_per_node = 0, ERR_INVAL);
	REFUSED(w->flavor[0].weight_milli = 0, ERR_INVAL);
	REFUSED(w->qnode[CW_LUNG].recall_slo_ms = -1, ERR_RANGE);
	REFUSED(w->qnode[CW_LUNG].recall_slo_ms = INT64_MAX, ERR_RANGE);
#undef REFUSED
	{
		struct quota *u = &w->quota[CW_LUNG][0], was = *u;

		u->nominal = -1;
		assert_int_equal(apply(w), ERR_INVAL);
		*u = was;
		u->borrowing = -1;
		assert_int_equal(apply(w), ERR_INVAL);
		*u = was;
		u->lending = -1;
		assert_int_equal(apply(w), ERR_INVAL);
		*u = was;
		u->flavor = 2;
		assert_int_equal(apply(w), ERR_INVAL);
		*u = was;
		u->shape = SHAPE_COUNT;
		assert_int_equal(apply(w), ERR_INVAL);
		*u = was;
	}
	cw_stage(w, CW_LUNG, "one", STAGE_RELEASED, -5);
	assert_int_equal(apply(w), ERR_RANGE);
	w->stage[CW_LUNG][0].amount_rums = INT64_MAX;
	assert_int_equal(apply(w), ERR_RANGE);
	w->qnode[CW_LUNG].stages_n = 0;
	assert_int_equal(apply(w), 0);
}

/* A second flavor in the file twice, or a flavor renamed: names are identities. */
static void flavors_are_kept_by_name(void **state)
{
	struct core_world *w = *state;

	w->flavor[1] = w->flavor[0];
	w->div.flavors_n = 2;
	assert_int_equal(apply(w), ERR_EXISTS); /* the same name twice */
	strcpy(w->flavor[1].name, "a100");
	strcpy(w->flavor[1].model, "NVIDIA A100*");
	w->flavor[1].committed_nodes = 0;
	assert_int_equal(apply(w), 0);
	assert_string_equal(((const struct flavor *)core_record(w->core, RECORD_FLAVOR, 2))->name, "a100");
	w->div.flavors_n = 1;
	assert_int_equal(apply(w), 0);
	assert_true(((const struct flavor *)core_record(w->core, RECORD_FLAVOR, 2))->retired);
	w->div.flavors_n = 2;
	assert_int_equal(apply(w), 0);
	assert_false(((const struct flavor *)core_record(w->core, RECORD_FLAVOR, 2))->retired);
	assert_int_equal(core_cluster(w->core)->next_flavor, 3); /* its old id */
}

/* Vendor exact, model by glob, MIG exact, memory at least; the first in id order wins. */
static void flavors_match_by_globs(void **state)
{
	struct core_world *w = *state;
	static const struct {
		const char *glob, *model;
		bool match;
	} want[] = {
		{"NVIDIA H100*", "NVIDIA H100 80GB HBM3", true},
		{"NVIDIA H100", "NVIDIA H100 80GB HBM3", false},
		{"*H100*", "NVIDIA H100 80GB HBM3", true},
		{"*H?00*", "NVIDIA H200", true},
		{"*H?00", "NVIDIA H200 NVL", false},
		{"*80GB*HBM?", "NVIDIA H100 80GB HBM3", true},
		{"*80GB*HBM?", "NVIDIA H100 80GB PCIe", false},
		{"", "anything", true},
		{"**", "x", true},
		{"?", "", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		const struct node *n = core_node(w->core, w->node[1].id);

		(void)snprintf(w->flavor[0].model, sizeof w->flavor[0].model, "%s", want[i].glob);
		(void)snprintf(w->node[1].model, sizeof w->node[1].model, "%s", want[i].model);
		assert_int_equal(apply(w), 0);
		w->node[1].boot++;
		assert_int_equal(cw_hello(w, 1), 0);
		n = core_node(w->core, w->node[1].id);
		assert_int_equal(n->devices[0].flavor, want[i].match ? 1 : 0);
	}
	/* and a new division matches anew what is there already */
	strcpy(w->node[1].model, "NVIDIA H100 80GB HBM3");
	w->node[1].boot++;
	assert_int_equal(cw_hello(w, 1), 0);
	strcpy(w->flavor[0].model, "*");
	w->flavor[0].memory_mib_min = 81921;
	assert_int_equal(apply(w), 0);
	assert_int_equal(core_node(w->core, w->node[1].id)->devices[7].flavor, 0);
	w->flavor[0].memory_mib_min = 81920;
	assert_int_equal(apply(w), 0);
	assert_int_equal(core_node(w->core, w->node[1].id)->devices[7].flavor, 1);
	strcpy(w->flavor[0].mig, "1g.10gb");
	assert_int_equal(apply(w), 0);
	assert_int_equal(core_node(w->core, w->node[1].id)->devices[7].flavor, 0);
	w->flavor[0].mig[0] = '\0';
	strcpy(w->flavor[0].vendor, "amd");
	assert_int_equal(apply(w), 0);
	assert_int_equal(core_node(w->core, w->node[1].id)->devices[7].flavor, 0);
}

/* What leaves the file is retired: nothing new starts, what runs is not touched; the same path brings
 * back the same id with its spending. */
static void the_same_path_keeps_its_id_and_spending(void **state)
{
	struct core_world *w = *state;
	uint64_t running, waiting;
	uint32_t id = cw_id(w, "lung"), n = w->div.qnodes_n;
	struct qnode lung;
	struct command cmd;

	cw_stage(w, CW_LUNG, "one", STAGE_RELEASED, 100);
	assert_int_equal(apply(w), 0);
	running = cw_submit(w, w->alice, "lung", 4, HOUR);
	cw_settle(w);
	waiting = cw_submit(w, w->alice, "lung", 8, HOUR);
	cw_settle(w);
	/* swap it out: the last of the file takes its place in the array */
	lung = w->qnode[CW_LUNG];
	w->qnode[CW_LUNG] = w->qnode[CW_HEART];
	w->qnode[CW_HEART] = lung;
	strcpy(w->qnode[CW_HEART].name, "kidney");
	assert_int_equal(apply(w), 0);
	assert_true(core_qnode(w->core, id)->retired);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, running), JOB_RUNNING);
	assert_int_equal(cw_job_state(w, waiting), JOB_PENDING);
	assert_int_equal(cw_reason(w, waiting), REASON_FROZEN);
	cmd = cw_submit_cmd(w, w->alice, "lung", 1, HOUR);
	assert_int_equal(cw_do(w, &cmd), ERR_NOTFOUND);
	cw_advance(w, 30 * MIN);
	cw_exit(w, running, 0);
	strcpy(w->qnode[CW_HEART].name, "lung");
	assert_int_equal(apply(w), 0);
	assert_int_equal(cw_id(w, "lung"), id);
	assert_false(core_qnode(w->core, id)->retired);
	assert_int_equal(core_qnode(w->core, id)->stages[0].spent_rums, 2 * HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, waiting), JOB_RUNNING);
	assert_int_equal(core_qnode(w->core, id)->stages[0].held_rums, 8 * HOUR);
	assert_int_equal(w->div.qnodes_n, n);
}

/* Stages are known by name. One that running jobs draw on cannot be taken away, nor change its place. */
static void a_stage_in_use_stays_where_it_is(void **state)
{
	struct core_world *w = *state;
	uint64_t job;
	struct stage one, two;
	const struct qnode *q;

	cw_stage(w, CW_LUNG, "one", STAGE_RELEASED, 10);
	cw_stage(w, CW_LUNG, "two", STAGE_LOCKED, 100);
	assert_int_equal(apply(w), 0);
	job = cw_submit(w, w->alice, "lung", 4, HOUR);
	cw_settle(w);
	one = w->stage[CW_LUNG][0];
	two = w->stage[CW_LUNG][1];
	w->stage[CW_LUNG][0] = two;
	w->stage[CW_LUNG][1] = one;
	assert_int_equal(apply(w), ERR_CONFLICT);
	w->qnode[CW_LUNG].stages_n = 1; /* only "two" */
	assert_int_equal(apply(w), ERR_CONFLICT);
	w->qnode[CW_LUNG].stages_n = 2;
	w->stage[CW_LUNG][0] = one;
	w->stage[CW_LUNG][1] = two;
	w->stage[CW_LUNG][0].amount_rums = 20 * HOUR; /* its amount may change, and its state is not the file's */
	w->stage[CW_LUNG][0].state = STAGE_LOCKED;
	assert_int_equal(apply(w), 0);
	q = core_qnode(w->core, cw_id(w, "lung"));
	assert_int_equal(q->stages[0].held_rums, 4 * HOUR);
	assert_int_equal(q->stages[0].amount_rums, 20 * HOUR);
	assert_int_equal(q->stages[0].state, STAGE_RELEASED);
	cw_advance(w, 30 * MIN);
	cw_exit(w, job, 0);
	w->stage[CW_LUNG][0] = two; /* unused now: it may move, and keeps what was spent */
	w->stage[CW_LUNG][1] = one;
	assert_int_equal(apply(w), 0);
	q = core_qnode(w->core, cw_id(w, "lung"));
	assert_string_equal(q->stages[1].name, "one");
	assert_int_equal(q->stages[1].spent_rums, 2 * HOUR);
}

/* A lowered nominal never stops what runs; it binds from the next admission on. */
static void a_lowered_nominal_binds_the_next(void **state)
{
	struct core_world *w = *state;
	uint64_t running = cw_submit(w, w->alice, "lung", 8, HOUR), next;

	cw_settle(w);
	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 2, QTY_UNLIMITED, QTY_UNLIMITED);
	assert_int_equal(apply(w), 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, running), JOB_RUNNING);
	next = cw_submit(w, w->alice, "lung", 1, HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, next), JOB_PENDING);
	cw_exit(w, running, 0);
	assert_int_equal(cw_job_state(w, next), JOB_RUNNING);
}

static void names_and_paths(void **state)
{
	struct core_world *w = *state;
	struct err err;
	uint32_t id, n = CW_QNODES;
	char path[TEXT_BYTES];

	w->qnode[n] = w->qnode[CW_LUNG]; /* another "lung", in another challenge */
	w->qnode[n].parent = n + 2;
	w->qnode[n + 1] = w->qnode[CW_CANCER];
	strcpy(w->qnode[n + 1].name, "stroke");
	w->qnode[n + 1].quotas_n = 0;
	{
		struct qnode swap = w->qnode[n];

		w->qnode[n] = w->qnode[n + 1];
		w->qnode[n + 1] = swap;
		w->qnode[n + 1].parent = n + 1;
		w->qnode[n + 1].quotas_n = 0;
	}
	w->div.qnodes_n = n + 2;
	assert_int_equal(apply(w), 0);
	assert_int_equal(core_qnode_find(w->core, "lung", &id, &err), ERR_CONFLICT);
	assert_non_null(strstr(err.hint, "public/health/cancer/lung"));
	assert_non_null(strstr(err.hint, "public/health/stroke/lung"));
	assert_int_equal(core_qnode_find(w->core, "stroke/lung", &id, &err), 0);
	core_qnode_path(w->core, id, path);
	assert_string_equal(path, "public/health/stroke/lung");
	assert_int_equal(core_qnode_find(w->core, "public/health/cancer/lung", &id, &err), 0);
	assert_int_equal(core_qnode_find(w->core, "heart", &id, &err), 0);
	assert_int_equal(core_qnode_find(w->core, "nonsense", &id, &err), ERR_NOTFOUND);
	assert_int_equal(core_qnode_find(w->core, "", &id, &err), ERR_INVAL);
	core_qnode_path(w->core, 1, path);
	assert_string_equal(path, "root");
	/* what was unique and is no longer: the old answer is not remembered */
	w->div.qnodes_n = CW_QNODES;
	assert_int_equal(apply(w), 0);
	assert_int_equal(core_qnode_find(w->core, "lung", &id, &err), 0);
	w->div.qnodes_n = n + 2;
	assert_int_equal(apply(w), 0);
	assert_int_equal(core_qnode_find(w->core, "lung", &id, &err), ERR_CONFLICT);
}

static void gates_open_stage_by_stage(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_cmd(w, w->gatekeeper, CMD_STAGE_SET);

	cw_stage(w, CW_LUNG, "one", STAGE_LOCKED, 10);
	assert_int_equal(apply(w), 0);
	strcpy(cmd.stage_set.project, "lung");
	strcpy(cmd.stage_set.stage, "two");
	cmd.stage_set.state = STAGE_RELEASED;
	assert_int_equal(cw_do(w, &cmd), ERR_NOTFOUND);
	strcpy(cmd.stage_set.stage, "one");
	cmd.stage_set.state = STAGE_LAPSED + 1;
	assert_int_equal(cw_do(w, &cmd), ERR_INVAL);
	cmd.stage_set.state = STAGE_RELEASED;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(core_qnode(w->core, cw_id(w, "lung"))->stages[0].state, STAGE_RELEASED);
	strcpy(cmd.stage_set.project, "nowhere");
	assert_int_equal(cw_do(w, &cmd), ERR_NOTFOUND);
}

/* Who names no notice or time limit gets the division's; without one sluisd's own setting holds. A
 * job that got no notice at all would lose its work at every stop. */
static void the_division_names_defaults(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 1, 0);
	const struct job *j;

	cmd.job_submit.spec.time_limit_ms = cmd.job_submit.spec.notice_ms = 0;
	assert_int_equal(cw_do(w, &cmd), 0);
	j = core_job(w->core, w->d.result.id);
	assert_int_equal(j->spec.notice_ms, core_cluster(w->core)->notice_ms);
	assert_int_equal(j->spec.time_limit_ms, core_cluster(w->core)->job_time_ms);

	w->div.defaults = (struct division_defaults){.job_time_ms = 600000, .job_notice_ms = 7000};
	cw_apply(w);
	assert_int_equal(cw_do(w, &cmd), 0);
	j = core_job(w->core, w->d.result.id);
	assert_int_equal(j->spec.notice_ms, 7000);
	assert_int_equal(j->spec.time_limit_ms, 600000);

	w->div.defaults.job_notice_ms = -1;
	assert_int_equal(apply(w), ERR_RANGE);
}

/* A quota of whole nodes covers devices of one node; whoever asks for others is told what it does cover. */
static void a_quota_of_nodes_says_so(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 2, MS_PER_HOUR);

	cmd.job_submit.spec.loan = LOAN_NEVER;
	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	assert_null(strstr(w->err.hint, "whole nodes"));
	cw_quota(w, CW_LUNG, 0, SHAPE_NODE, 1, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	assert_int_equal(cw_do(w, &cmd), 0);
	cmd.job_submit.spec.per_node = 1; /* on two nodes */
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	assert_int_equal(w->err.reason, REASON_OVER_LIMIT);
	assert_non_null(strstr(w->err.hint, "its quota is of whole nodes, up to 1: --nodes N, or devices of one node"));
	cmd.job_submit.spec.per_node = 0;
	cmd.job_submit.spec.units = 9;
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	assert_non_null(strstr(w->err.hint, "or devices of one node"));
	/* nor the other way round */
	cmd.job_submit.spec.shape = SHAPE_NODE;
	cmd.job_submit.spec.units = 2;
	cw_quota(w, CW_LUNG, 0, SHAPE_NODE, 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 8, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	assert_int_equal(w->err.reason, REASON_OVER_LIMIT);
	assert_non_null(strstr(w->err.hint, "its quota is of single devices, up to 8: --gpus N, or --nodes N --gpus-per-node M"));
}

/* ---- windows -------------------------------------------------------------------------------------------- */

static struct quota_window windows[2];
static struct window_limit limits[2];
static struct window_span spans[4];

/* beta owns nothing and borrows 2, but `in_0` while window 0 is open: 18:00 to 24:00, tomorrow and the day after. */
static void windowed(struct core_world *w, int64_t in_0)
{
	struct qnode *q = &w->qnode[CW_BETA];
	int64_t day = (w->t / MS_PER_DAY + 1) * MS_PER_DAY;

	memset(windows, 0, sizeof windows);
	memset(limits, 0, sizeof limits);
	cw_quota(w, CW_BETA, 0, SHAPE_GPU, 0, 2, QTY_UNLIMITED);
	windows[0] = (struct quota_window){.from_min = 18 * 60, .to_min = 24 * 60};
	(void)snprintf(windows[0].zone, NAME_BYTES, "UTC");
	limits[0] = (struct window_limit){.window = 0, .flavor = 1, .borrowing = in_0};
	for (int i = 0; i < 2; i++)
		spans[i] = (struct window_span){0, day + i * MS_PER_DAY + 18 * HOUR, day + (i + 1) * MS_PER_DAY};
	q->windows = windows;
	q->window_limits = limits;
	q->window_spans = spans;
	q->windows_n = q->window_limits_n = 1;
	q->window_spans_n = 2;
}

static const struct qnode *beta(const struct core_world *w) { return core_qnode(w->core, cw_id(w, "beta")); }

static int loan(struct core_world *w, uint32_t units)
{
	struct command cmd = cw_lease_cmd(w, w->beta, "beta", units, LEASE_LOAN);

	cmd.lease_request.spec.ttl_ms = 10 * MS_PER_DAY; /* nobody renews here */
	return cw_do(w, &cmd);
}

static const struct lease_view *seen(struct core_world *w, uint64_t lease, struct arena *arena)
{
	struct query q = {.type = QUERY_LEASES, .id = lease};
	struct view_leases *v = arena_alloc(arena, sizeof *v);
	struct err err;

	assert_int_equal(core_view(w->core, w->t, w->admin.principal, &q, v, arena, &err), 0);
	assert_int_equal(v->items_n, 1);
	return &v->items[0];
}

/* The note about windows in the status; "" if there is none. */
static const char *windows_noted(struct core_world *w, struct arena *arena)
{
	struct query q = {.type = QUERY_STATUS};
	struct view_status v;

	assert_int_equal(core_view(w->core, w->t, w->admin.principal, &q, &v, arena, &w->err), 0);
	for (uint32_t i = 0; i < v.notes_n; i++)
		if (strstr(v.notes[i].s, "windows of beta"))
			return v.notes[i].s;
	return "";
}

/* Whoever looks at the status hears a month before that the windows were not counted out for longer. */
static void windows_that_run_out_are_noted(void **state)
{
	struct core_world *w = *state;
	struct arena arena = {0};

	windowed(w, 6);
	spans[1].from_ms += 40 * MS_PER_DAY;
	spans[1].to_ms += 40 * MS_PER_DAY;
	cw_apply(w);
	assert_string_equal(windows_noted(w, &arena), "");
	w->t = spans[1].to_ms - 30 * MS_PER_DAY;
	cw_tick(w);
	assert_string_equal(windows_noted(w, &arena), "windows of beta end at 2027-02-27 00:00 UTC: apply the division again, "
						      "sluisctl division apply");
	w->t = spans[1].to_ms;
	cw_tick(w);
	assert_string_equal(windows_noted(w, &arena), "windows of beta are over: apply the division again, sluisctl division apply");
	cw_quota(w, CW_BETA, 0, SHAPE_GPU, 0, 2, QTY_UNLIMITED);
	w->qnode[CW_BETA].windows_n = w->qnode[CW_BETA].window_limits_n = w->qnode[CW_BETA].window_spans_n = 0;
	cw_apply(w);
	assert_string_equal(windows_noted(w, &arena), "");
	arena_done(&arena);
}

/* To the millisecond, once each; nothing but the record says what is open, so a restart changes nothing. */
static void a_window_opens_and_closes(void **state)
{
	struct core_world *w = *state;
	struct arena arena = {0};
	uint64_t small, large, third;

	windowed(w, 6);
	cw_apply(w);
	assert_int_equal(beta(w)->windows_open, 0);
	assert_int_equal(loan(w, 2), 0);
	small = w->d.result.id;
	assert_int_equal(loan(w, 7), ERR_NEVER); /* no window lets it have that */
	assert_int_equal(w->err.reason, REASON_OVER_LIMIT);
	assert_int_equal(loan(w, 4), 0); /* one will let it have these: it waits */
	large = w->d.result.id;
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, small), LEASE_ACTIVE);
	assert_int_equal(cw_lease_state(w, large), LEASE_REQUESTED);
	assert_int_equal(seen(w, large, &arena)->reason, REASON_BORROWING);
	assert_string_equal(seen(w, large, &arena)->reason_text, "beta borrows at most 2 now, 6 from 2027-01-16 18:00 UTC on");
	assert_int_equal(core_next_tick(w->core, w->t) <= spans[0].from_ms, 1);
	w->t = spans[0].from_ms - 1;
	cw_tick(w);
	assert_int_equal(beta(w)->windows_open, 0);
	assert_int_equal(core_next_tick(w->core, w->t), spans[0].from_ms);
	w->t = spans[0].from_ms;
	cw_tick(w);
	assert_int_equal(beta(w)->windows_open, 1);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, large), LEASE_ACTIVE);
	cw_reload(w, 0); /* in the middle of it */
	assert_int_equal(beta(w)->windows_open, 1);
	assert_int_equal(loan(w, 1), 0); /* full: it waits, and no window will help it */
	third = w->d.result.id;
	cw_settle(w);
	assert_int_equal(seen(w, third, &arena)->reason, REASON_BORROWING);
	assert_string_equal(seen(w, third, &arena)->reason_text, reason_text(REASON_BORROWING));
	/* it closes over 6 borrowed devices: nobody is stopped, nothing new comes */
	w->t = spans[0].to_ms - 1;
	cw_settle(w);
	assert_int_equal(beta(w)->windows_open, 1);
	w->t = spans[0].to_ms;
	cw_settle(w);
	assert_int_equal(beta(w)->windows_open, 0);
	assert_int_equal(beta(w)->window_spans_n, 1);
	assert_int_equal(cw_lease_op(w, w->beta, CMD_LEASE_RELEASE, small), 0);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, third), LEASE_REQUESTED);
	assert_int_equal(cw_held(w, OWNER_LEASE, large), 4);
	assert_int_equal(cw_resize(w, w->beta, large, 5), ERR_QUOTA);
	assert_int_equal(w->err.reason, REASON_BORROWING);
	arena_done(&arena);
}

/* Down over both edges: what is in force afterwards is what the clock says then, in one tick. */
static void edges_that_were_missed_are_made_up(void **state)
{
	struct core_world *w = *state;

	windowed(w, 6);
	cw_apply(w);
	w->t = spans[0].from_ms - HOUR;
	cw_reload(w, 0);
	w->t = spans[0].to_ms + HOUR;
	cw_tick(w);
	assert_int_equal(beta(w)->windows_open, 0);
	assert_int_equal(beta(w)->window_spans_n, 1);
	w->t = spans[1].from_ms + HOUR;
	cw_reload(w, 0);
	cw_tick(w);
	assert_int_equal(beta(w)->windows_open, 1);
	w->t = spans[1].to_ms;
	cw_tick(w);
	assert_int_equal(beta(w)->windows_open, 0);
	assert_int_equal(beta(w)->window_spans_n, 0);
	assert_int_equal(beta(w)->windows_n, 1);
	/* applied inside a window it is open at once; what has passed is not kept */
	windowed(w, 6);
	spans[0].from_ms -= 3 * MS_PER_DAY;
	spans[0].to_ms -= 3 * MS_PER_DAY;
	spans[1].from_ms = w->t - 1;
	spans[1].to_ms = w->t + 1;
	cw_apply(w);
	assert_int_equal(beta(w)->windows_open, 1);
	assert_int_equal(beta(w)->window_spans_n, 1);
	/* gone from the file: no edge of it is waited for */
	w->div.qnodes_n = CW_QNODES - 1;
	cw_apply(w);
	cw_tick(w);
	assert_int_equal(core_next_tick(w->core, w->t) > w->t + 1, 1);
}

/* What is guaranteed outlasts every window, so it gets what the strictest leaves. */
static void what_is_guaranteed_fits_at_all_times(void **state)
{
	struct core_world *w = *state;
	struct command cmd;

	cw_quota(w, CW_SME, 0, SHAPE_GPU, 8, QTY_UNLIMITED, QTY_UNLIMITED);
	windowed(w, 6);
	cw_apply(w);
	cmd = cw_lease_cmd(w, w->beta, "beta", 3, LEASE_FIRM);
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	w->t = spans[0].from_ms;
	cw_tick(w);
	assert_int_equal(beta(w)->windows_open, 1);
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER); /* open or not */
	cmd.lease_request.spec.units = 2;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, 1), LEASE_ACTIVE);
	/* and one that is stricter than the rest of the day holds for it all day long */
	windowed(w, 1);
	cw_apply(w);
	w->t += MIN;
	cmd = cw_lease_cmd(w, w->beta, "beta", 2, LEASE_FIRM);
	assert_int_equal(cw_do(w, &cmd), ERR_NEVER);
	/* with two open, the larger holds */
	windowed(w, 4);
	spans[0] = (struct window_span){0, w->t, w->t + 5 * MIN};
	spans[1] = (struct window_span){1, w->t, w->t + 2 * HOUR};
	windows[1] = windows[0];
	limits[1] = (struct window_limit){.window = 1, .flavor = 1, .borrowing = 3};
	w->qnode[CW_BETA].windows_n = w->qnode[CW_BETA].window_limits_n = 2;
	cw_apply(w);
	assert_int_equal(beta(w)->windows_open, 3);
	assert_int_equal(loan(w, 2), 0);
	cw_settle(w);
	assert_int_equal(cw_held(w, OWNER_LEASE, 2), 2); /* 2 + 2 of 4 */
	assert_int_equal(cw_lease_op(w, w->beta, CMD_LEASE_RELEASE, 2), 0);
	cw_advance(w, 5 * MIN);
	assert_int_equal(beta(w)->windows_open, 2);
	assert_int_equal(loan(w, 2), 0);
	cw_settle(w);
	assert_int_equal(cw_held(w, OWNER_LEASE, 3), 0); /* 2 + 2 of 3 */
}

static void wrong_windows_are_refused(void **state)
{
	struct core_world *w = *state;
	struct qnode *q = &w->qnode[CW_BETA];
	uint64_t before = cw_digest(w);

#define REFUSED(change, code)                                                                      \
	do {                                                                                       \
		windowed(w, 6);                                                                    \
		change;                                                                            \
		assert_int_equal(apply(w), (code));                                                \
		assert_true(w->err.msg[0]);                                                        \
		assert_int_equal(cw_digest(w), before);                                            \
	} while (0)
	REFUSED(limits[0].window = 1, ERR_INVAL);
	REFUSED(limits[0].flavor = 2, ERR_INVAL);
	REFUSED(limits[0].flavor = 0, ERR_INVAL);
	REFUSED(limits[0].shape = SHAPE_COUNT, ERR_INVAL);
	REFUSED(limits[0].borrowing = -1, ERR_INVAL);
	REFUSED(spans[1].window = 1, ERR_INVAL);
	REFUSED(spans[0].to_ms = spans[0].from_ms, ERR_INVAL);
	REFUSED(spans[1].from_ms = spans[0].to_ms - 1, ERR_INVAL);
	REFUSED(spans[0].from_ms = -1, ERR_INVAL);
	REFUSED(q->windows_n = QUOTA_WINDOWS_MAX + 1, ERR_RANGE);
#undef REFUSED
	windowed(w, 6);
	q->windows_open = 1; /* the file does not say what is open */
	assert_int_equal(apply(w), 0);
	assert_int_equal(beta(w)->windows_open, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(a_quota_of_nodes_says_so),
		STORY(no_more_is_promised_than_committed),
		STORY(versions_guard_against_lost_updates),
		STORY(a_wrong_tree_is_refused_as_a_whole),
		STORY(flavors_are_kept_by_name),
		STORY(flavors_match_by_globs),
		STORY(the_same_path_keeps_its_id_and_spending),
		STORY(a_stage_in_use_stays_where_it_is),
		STORY(a_lowered_nominal_binds_the_next),
		STORY(names_and_paths),
		STORY(gates_open_stage_by_stage),
		STORY(the_division_names_defaults),
		STORY(a_window_opens_and_closes),
		STORY(windows_that_run_out_are_noted),
		STORY(edges_that_were_missed_are_made_up),
		STORY(what_is_guaranteed_fits_at_all_times),
		STORY(wrong_windows_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
