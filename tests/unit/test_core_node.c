/* test_core_node.c - nodes coming, going and lying still, told through commands
 *
 * Without these a device could be given twice because somebody believed that time frees it, or be
 * lost for good because nobody would believe the evidence.
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

static uint32_t index_of(const struct core_world *w, uint32_t id)
{
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		if (w->node[i].id == id)
			return i;
	return 0;
}
static uint32_t node_of_job(const struct core_world *w, uint64_t job)
{
	return index_of(w, core_alloc(w->core, core_job(w->core, job)->alloc)->parts[0].node);
}
static void partition(struct core_world *w, uint32_t node)
{
	w->node[node].manner = CW_MUTE;
	cw_advance(w, 30 * MS_PER_S);
	assert_int_equal(cw_liveness(w, node, NODE_SUSPECT), 0);
	cw_advance(w, 60 * MS_PER_S);
	assert_int_equal(cw_liveness(w, node, NODE_UNREACHABLE), 0);
	cw_settle(w);
}

/* ---- greeting -------------------------------------------------------------------------------- */

static void a_greeting_brings_devices_with_flavors(void **state)
{
	struct core_world *w = *state;
	const struct node *n = core_node_named(w->core, "n2");

	assert_int_equal(n->state, NODE_READY);
	assert_int_equal(n->devices_n, 8);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(n->devices[i].flavor, 1);
	assert_string_equal(n->address, "10.0.0.2");
	assert_null(core_node_named(w->core, "n9"));
}

static void an_older_agent_of_the_same_boot_is_superseded(void **state)
{
	struct core_world *w = *state;

	w->node[1].incarnation = 5;
	assert_int_equal(cw_hello(w, 1), 0);
	w->node[1].incarnation = 4;
	assert_int_equal(cw_hello(w, 1), ERR_SUPERSEDED);
	assert_int_equal(cw_report(w, 1, 1, 0, UNIT_RUNNING, 0), ERR_SUPERSEDED);
	w->node[1].incarnation = 5;
	assert_int_equal(cw_report(w, 1, 1, 0, UNIT_RUNNING, 0), 0);
	w->node[1].boot++; /* nor may a greeting of another boot be older: it was only long on its way */
	w->node[1].incarnation = 1;
	assert_int_equal(cw_hello(w, 1), ERR_SUPERSEDED);
	w->node[1].incarnation = 6;
	assert_int_equal(cw_hello(w, 1), 0);
}

static void an_agent_restart_adopts_what_runs(void **state)
{
	struct core_world *w = *state;
	uint64_t id = cw_submit(w, w->alice, "lung", 4, HOUR);
	uint32_t node;

	cw_settle(w);
	node = node_of_job(w, id);
	w->node[node].incarnation++;
	assert_int_equal(cw_hello(w, node), 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, id), JOB_RUNNING);
	assert_int_equal(core_job(w->core, id)->attempt, 1);
}

static void a_greeting_too_large_is_refused(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_cmd(w, w->node[1].agent, CMD_NODE_HELLO);

	cmd.node_hello.node = w->node[1].id;
	(void)snprintf(cmd.node_hello.boot_id, sizeof cmd.node_hello.boot_id, "x");
	cmd.node_hello.devices_n = DEVICES_PER_NODE_MAX + 1;
	assert_int_equal(cw_do(w, &cmd), ERR_RANGE);
	cmd.node_hello.devices_n = 0;
	cmd.node_hello.cores_n = CORES_PER_NODE_MAX + 1;
	assert_int_equal(cw_do(w, &cmd), ERR_RANGE);
	cmd.node_hello.cores_n = 4;
	cmd.node_hello.cores_reserved = 5;
	assert_int_equal(cw_do(w, &cmd), ERR_RANGE);
	cmd.node_hello.cores_reserved = 0;
	cmd.node_hello.boot_id[0] = '\0';
	assert_int_equal(cw_do(w, &cmd), ERR_INVAL);
}

/* An allocation that an older copy of the state does not know: its number is not given again. */
static void numbers_seen_on_a_node_are_not_given_again(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_cmd(w, w->node[1].agent, CMD_NODE_HELLO);
	struct unit_status row = {.alloc = 5000, .state = UNIT_RUNNING};
	const struct node *n = core_node(w->core, w->node[1].id);

	cmd.node_hello.node = n->id;
	cmd.node_hello.incarnation = n->incarnation + 1;
	(void)snprintf(cmd.node_hello.boot_id, sizeof cmd.node_hello.boot_id, "%s", n->boot_id);
	cmd.node_hello.units = &row;
	cmd.node_hello.units_n = 1;
	cmd.node_hello.cores_n = n->cores_n;
	cmd.node_hello.devices = n->devices;
	cmd.node_hello.devices_n = n->devices_n;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(core_cluster(w->core)->next_alloc, 5000 + ALLOCS_LOST_MAX);
	row.alloc = UINT64_MAX; /* made up: the numbers would be used up */
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(core_cluster(w->core)->next_alloc, 5000 + ALLOCS_LOST_MAX);
	cmd.node_hello.alloc_seen = UINT64_MAX;
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(core_cluster(w->core)->next_alloc, 5000 + ALLOCS_LOST_MAX);
	cmd.node_hello.alloc_seen = 7000 + ALLOCS_LOST_MAX; /* it is over there, but the node takes no lower one on that device */
	assert_int_equal(cw_do(w, &cmd), 0);
	assert_int_equal(core_cluster(w->core)->next_alloc, 7000 + 2 * ALLOCS_LOST_MAX); /* another, still silent, may have had 7001 */
}

/* Twice the same copy: what either future gave out before is not given again, also at the same instant of a clock
 * that was set back. */
static void a_restored_copy_leaves_a_gap_in_the_numbers(void **state)
{
	struct core_world *w = *state, other;
	struct command cmd = {.type = CMD_RECOVER, .via = VIA_INTERNAL, .principal = 1};
	uint64_t before = core_cluster(w->core)->next_alloc, first;

	cmd.recover.safe_mode = true;
	assert_int_equal(cw_do(w, &cmd), 0);
	first = core_cluster(w->core)->next_alloc;
	assert_true(first >= before + (UINT64_C(1) << 32));
	assert_true(first >= (uint64_t)w->t << 16);
	cw_start(&other);
	other.t = w->t;
	cmd.recover.salt = UINT64_C(0xfedcba9876543210);
	assert_int_equal(cw_do(&other, &cmd), 0);
	assert_int_equal(core_cluster(other.core)->next_alloc - first, cmd.recover.salt & ((UINT64_C(1) << 52) - 1));
	cw_close(&other);
}

/* ---- evidence -------------------------------------------------------------------------------- */

/* A copy of the machine was heard while the node lived: its boot is no reboot, and nothing of the node is over, also
 * when the node has fallen silent since. Once an operator has said that the node is dead it may take its place. */
static void a_twin_is_no_reboot(void **state)
{
	struct core_world *w = *state;
	uint64_t job = cw_submit(w, w->alice, "lung", 8, HOUR);
	uint32_t at;
	struct command twin, hello, dead;
	const struct node *n;

	cw_settle(w);
	at = node_of_job(w, job);
	n = core_node(w->core, w->node[at].id);
	twin = (struct command){.type = CMD_NODE_LIVENESS, .via = VIA_INTERNAL, .principal = 1};
	twin.node_liveness.node = n->id;
	twin.node_liveness.state = n->state;
	strcpy(twin.node_liveness.twin_boot, "a copy");
	assert_int_equal(cw_do(w, &twin), 0);
	assert_string_equal(core_node(w->core, w->node[at].id)->twin_boot, "a copy");
	assert_int_equal(core_node(w->core, w->node[at].id)->state, NODE_READY);
	partition(w, at);
	n = core_node(w->core, w->node[at].id);
	hello = cw_cmd(w, w->node[at].agent, CMD_NODE_HELLO);
	hello.node_hello.node = n->id;
	hello.node_hello.incarnation = n->incarnation + 1;
	strcpy(hello.node_hello.boot_id, "a copy");
	hello.node_hello.cores_n = n->cores_n;
	hello.node_hello.devices = n->devices;
	hello.node_hello.devices_n = n->devices_n;
	assert_int_equal(cw_do(w, &hello), ERR_CONFLICT);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	assert_int_equal(core_job(w->core, job)->attempt, 1);
	dead = cw_cmd(w, w->admin, CMD_NODE_DECLARE_DEAD);
	strcpy(dead.node_admin.node, n->name);
	strcpy(dead.node_admin.boot_id, n->boot_id);
	assert_int_equal(cw_do(w, &dead), 0);
	assert_int_equal(cw_do(w, &hello), 0);
	assert_string_equal(core_node(w->core, w->node[at].id)->boot_id, "a copy");
	assert_string_equal(core_node(w->core, w->node[at].id)->twin_boot, "");
}

/* Two copies that try in turn: the one that is noticed last does not make the other one a reboot. Who takes the node's
 * place is no copy any more, the other one still is; as many are known as there is room for. */
static void two_twins_are_no_reboot(void **state)
{
	static const char *const boot[] = {"a copy", "another copy", "a copy"};
	struct core_world *w = *state;
	uint64_t job = cw_submit(w, w->alice, "lung", 8, HOUR);
	struct command twin, hello, dead;
	const struct node *n;
	uint32_t at;

	cw_settle(w);
	at = node_of_job(w, job);
	n = core_node(w->core, w->node[at].id);
	twin = (struct command){.type = CMD_NODE_LIVENESS, .via = VIA_INTERNAL, .principal = 1};
	twin.node_liveness.node = n->id;
	twin.node_liveness.state = n->state;
	for (size_t i = 0; i < ARRAY_LEN(boot); i++) {
		for (char *c = strcpy(twin.node_liveness.twin_boot, boot[i]); *c; c++)
			*c = *c == ' ' ? '-' : *c;
		assert_int_equal(cw_do(w, &twin), 0);
	}
	n = core_node(w->core, w->node[at].id);
	assert_string_equal(n->twin_boot, "a-copy");
	assert_string_equal(n->twins_before, "another-copy ");
	partition(w, at);
	hello = cw_cmd(w, w->node[at].agent, CMD_NODE_HELLO);
	hello.node_hello.node = n->id;
	hello.node_hello.incarnation = n->incarnation + 1;
	hello.node_hello.cores_n = n->cores_n;
	hello.node_hello.devices = n->devices;
	hello.node_hello.devices_n = n->devices_n;
	strcpy(hello.node_hello.boot_id, "another-copy");
	assert_int_equal(cw_do(w, &hello), ERR_CONFLICT);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	for (int i = 0; i < 20; i++) { /* one that reboots again and again */
		(void)snprintf(twin.node_liveness.twin_boot, sizeof twin.node_liveness.twin_boot,
			       "00000000-0000-4000-8000-%012d", i);
		assert_int_equal(cw_do(w, &twin), 0);
	}
	n = core_node(w->core, w->node[at].id);
	assert_string_equal(n->twin_boot, "00000000-0000-4000-8000-000000000019");
	assert_string_equal(n->twins_before, "00000000-0000-4000-8000-000000000018 00000000-0000-4000-8000-000000000017 "
					     "00000000-0000-4000-8000-000000000016 00000000-0000-4000-8000-000000000015 ");
	strcpy(hello.node_hello.boot_id, "00000000-0000-4000-8000-000000000016");
	assert_int_equal(cw_do(w, &hello), ERR_CONFLICT);
	dead = cw_cmd(w, w->admin, CMD_NODE_DECLARE_DEAD);
	strcpy(dead.node_admin.node, n->name);
	strcpy(dead.node_admin.boot_id, n->boot_id);
	assert_int_equal(cw_do(w, &dead), 0);
	assert_int_equal(cw_do(w, &hello), 0);
	n = core_node(w->core, w->node[at].id);
	assert_string_equal(n->twin_boot, "");
	assert_string_equal(n->twins_before, "00000000-0000-4000-8000-000000000019 00000000-0000-4000-8000-000000000018 "
					     "00000000-0000-4000-8000-000000000017 00000000-0000-4000-8000-000000000015 ");
}

static void a_reboot_is_evidence(void **state)
{
	struct core_world *w = *state;
	uint64_t job = cw_submit(w, w->alice, "lung", 8, HOUR), lease = cw_lease(w, w->acme, "acme", 8, LEASE_FIRM);
	uint32_t node;

	cw_settle(w);
	node = node_of_job(w, job);
	cw_advance(w, 5 * MIN);
	cw_reboot(w, node);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING); /* again */
	assert_int_equal(core_job(w->core, job)->attempt, 2);
	assert_int_equal(core_job(w->core, job)->infra_retries, 1);
	/* a lease's devices are replaced without anybody asking; the lease lives on */
	node = index_of(w, cw_alloc_of(w, OWNER_LEASE, lease)->parts[0].node);
	cw_reboot(w, node);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, lease), LEASE_ACTIVE);
	assert_int_equal(cw_held(w, OWNER_LEASE, lease), 8);
}

/* What an infrastructure failure destroyed is not charged: from the last checkpoint on it is refunded. */
static void a_lost_attempt_costs_nothing(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	uint64_t job;
	const struct stage *s;

	cw_stage(w, CW_LUNG, "one", STAGE_RELEASED, 100);
	cw_apply(w);
	job = cw_submit(w, w->alice, "lung", 4, 8 * HOUR);
	cw_settle(w);
	cw_advance(w, HOUR);
	cmd = cw_cmd(w, w->alice, CMD_JOB_CHECKPOINTED);
	cmd.job_checkpointed.job = job;
	cmd.job_checkpointed.step = 5;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_advance(w, 5 * HOUR); /* more than the cap of a recall's refund */
	cw_reboot(w, node_of_job(w, job));
	s = &core_qnode(w->core, cw_id(w, "lung"))->stages[0];
	assert_int_equal(s->spent_rums, 4 * HOUR);
	assert_int_equal(core_job(w->core, job)->refunded_rums, 4 * 5 * HOUR);
}

static void retries_after_infrastructure_end_some_day(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 2, HOUR);
	uint64_t job;

	cmd.job_submit.spec.retries_infra = 1;
	assert_int_equal(cw_do(w, &cmd), 0);
	job = w->d.result.id;
	cw_settle(w);
	cw_reboot(w, node_of_job(w, job));
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	cw_reboot(w, node_of_job(w, job));
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_NODE_FAIL);
}

/* peers' failure 8 (nomad#12680): the node returns after lost_after with its tasks alive. */
static void peers_8_a_node_returns_after_lost_after_one_survivor(void **state)
{
	struct core_world *w = *state;
	uint64_t job = cw_submit(w, w->alice, "lung", 4, 10 * HOUR), lease, old, fresh;
	uint32_t node;

	cw_settle(w);
	node = node_of_job(w, job);
	old = core_job(w->core, job)->alloc;
	lease = cw_lease(w, w->acme, "acme", 2, LEASE_FIRM);
	cw_settle(w);
	partition(w, node);
	for (int i = 0; i < 3; i++) { /* its holder is well and renews */
		cw_advance(w, 10 * MIN - (i == 2));
		assert_int_equal(cw_renew(w, w->acme, lease, (uint64_t)i + 1).code, 0);
	}
	assert_int_equal(core_job(w->core, job)->attempt, 1); /* unknown never kills */
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	cw_advance(w, 1);
	fresh = core_job(w->core, job)->alloc;
	assert_int_equal(core_job(w->core, job)->attempt, 2);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	assert_int_not_equal(fresh, old);
	assert_int_not_equal(node_of_job(w, job), node);
	assert_non_null(core_alloc(w->core, old)); /* its devices stay held: nothing is proven */
	assert_int_equal(core_alloc(w->core, old)->state, ALLOC_STOPPING);
	assert_int_equal(cw_lease_state(w, lease), LEASE_ACTIVE); /* never for a lease */
	cw_advance(w, 9 * MIN);
	assert_int_equal(cw_renew(w, w->acme, lease, 4).code, 0);
	/* it is back, its task still alive: the old attempt is stopped, the new one is the survivor */
	w->node[node].manner = CW_OBEY;
	assert_int_equal(cw_hello(w, node), 0);
	assert_int_equal(cw_unit(w, node, old)->state, UNIT_RUNNING);
	cw_settle(w);
	assert_null(core_alloc(w->core, old));
	assert_int_equal(core_job(w->core, job)->alloc, fresh);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	/* and what the old one reports late moves nothing */
	assert_int_equal(cw_report(w, node, old, 0, UNIT_EXITED, 1), 0);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	assert_int_equal(core_job(w->core, job)->exit_code, 0);
}

static void a_node_back_in_time_keeps_its_job(void **state)
{
	struct core_world *w = *state;
	uint64_t job = cw_submit(w, w->alice, "lung", 4, 10 * HOUR);
	uint32_t node;

	cw_settle(w);
	node = node_of_job(w, job);
	partition(w, node);
	cw_advance(w, 29 * MIN);
	w->node[node].manner = CW_OBEY;
	assert_int_equal(cw_liveness(w, node, NODE_READY), 0);
	cw_advance(w, 2 * HOUR);
	assert_int_equal(core_job(w->core, job)->attempt, 1);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
}

/* The daemon, not the node, was away: what it could not hear counts against nobody. */
static void downtime_of_the_daemon_does_not_lose_a_node(void **state)
{
	struct core_world *w = *state;
	uint64_t job = cw_submit(w, w->alice, "lung", 4, 10 * HOUR);
	uint32_t node;

	cw_settle(w);
	node = node_of_job(w, job);
	partition(w, node);
	cw_advance(w, MIN);
	w->t += HOUR;
	cw_reload(w, HOUR);
	cw_advance(w, 5 * MIN);
	assert_int_equal(core_job(w->core, job)->attempt, 1);
	w->node[node].manner = CW_OBEY;
	assert_int_equal(cw_hello(w, node), 0);
	cw_settle(w);
	assert_int_equal(core_job(w->core, job)->attempt, 1);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
}

/* Cancelled while its node was away: lost_after must not bring it to life elsewhere. */
static void a_cancelled_job_on_a_lost_node_stays_cancelled(void **state)
{
	struct core_world *w = *state;
	uint64_t job = cw_submit(w, w->alice, "lung", 4, 10 * HOUR), timed = cw_submit(w, w->alice, "lung", 2, HOUR / 4);
	uint32_t node;

	cw_settle(w);
	node = node_of_job(w, job);
	assert_int_equal(node_of_job(w, timed), node);
	partition(w, node);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, job), 0);
	cw_advance(w, HOUR);
	assert_int_equal(cw_job_state(w, job), JOB_CANCELLED);
	assert_int_equal(cw_job_state(w, timed), JOB_TIMEOUT); /* its time was over before the node was lost */
	assert_int_equal(cw_allocs(w), 2);			/* still held */
	w->node[node].manner = CW_OBEY;
	assert_int_equal(cw_hello(w, node), 0);
	cw_settle(w);
	assert_int_equal(cw_allocs(w), 0);
	assert_int_equal(core_job(w->core, job)->attempt, 1);
}

static void declare_dead_is_guarded(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_cmd(w, w->admin, CMD_NODE_DECLARE_DEAD);
	uint64_t job = cw_submit(w, w->alice, "lung", 8, 10 * HOUR);
	uint32_t node;

	cw_settle(w);
	node = node_of_job(w, job);
	assert_int_equal(cw_admin_node(w, CMD_NODE_DECLARE_DEAD, node, "burnt"), ERR_STATE); /* it is alive */
	partition(w, node);
	(void)snprintf(cmd.node_admin.node, NAME_BYTES, "n%u", node);
	(void)snprintf(cmd.node_admin.boot_id, sizeof cmd.node_admin.boot_id, "another");
	assert_int_equal(cw_do(w, &cmd), ERR_INVAL); /* the wrong machine is meant */
	cmd.principal = w->operator.principal;
	cmd.cred = w->operator.cred;
	cmd.via = VIA_USERS;
	assert_int_equal(cw_do(w, &cmd), ERR_DENIED);
	assert_int_equal(cw_admin_node(w, CMD_NODE_DECLARE_DEAD, node, "burnt"), 0);
	assert_int_equal(core_node(w->core, w->node[node].id)->state, NODE_DOWN);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING); /* elsewhere, at once */
	assert_int_equal(core_job(w->core, job)->attempt, 2);
	assert_int_equal(cw_allocs(w), 1);
	/* in that very boot it may not come back: its devices may be another's */
	assert_int_equal(cw_hello(w, node), ERR_STATE);
	assert_int_equal(cw_liveness(w, node, NODE_READY), 0);
	assert_int_equal(core_node(w->core, w->node[node].id)->state, NODE_DOWN);
	cw_reboot(w, node);
	assert_int_equal(core_node(w->core, w->node[node].id)->state, NODE_READY);
}

/* ---- topology -------------------------------------------------------------------------------- */

static void a_changed_topology_is_suspect_until_accepted(void **state)
{
	struct core_world *w = *state;
	uint64_t job;

	w->node[1].topology = 9;
	w->node[1].gpus = 7;
	cw_reboot(w, 1);
	assert_int_equal(core_node(w->core, w->node[1].id)->state, NODE_SUSPECT);
	assert_int_equal(core_node(w->core, w->node[1].id)->devices_n, 8); /* the old picture stays */
	assert_int_equal(cw_liveness(w, 1, NODE_READY), 0);
	assert_int_equal(core_node(w->core, w->node[1].id)->state, NODE_SUSPECT); /* heartbeats do not settle it */
	job = cw_submit(w, w->alice, "lung", 8, HOUR);
	cw_settle(w);
	assert_int_not_equal(node_of_job(w, job), 1);
	assert_int_equal(cw_admin_node(w, CMD_NODE_ACCEPT, 2, ""), ERR_STATE); /* nothing to accept */
	assert_int_equal(cw_admin_node(w, CMD_NODE_ACCEPT, 1, ""), 0);
	assert_int_equal(cw_hello(w, 1), 0);
	assert_int_equal(core_node(w->core, w->node[1].id)->state, NODE_READY);
	assert_int_equal(core_node(w->core, w->node[1].id)->devices_n, 7);
}

static void accepting_waits_for_the_old_work(void **state)
{
	struct core_world *w = *state;
	uint64_t job = cw_submit(w, w->alice, "lung", 2, HOUR);
	uint32_t node;

	cw_settle(w);
	node = node_of_job(w, job);
	w->node[node].topology = 9;
	w->node[node].incarnation++;
	assert_int_equal(cw_hello(w, node), 0); /* same boot: the job runs on */
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	assert_int_equal(cw_admin_node(w, CMD_NODE_ACCEPT, node, ""), ERR_STATE);
	cw_exit(w, job, 0);
	assert_int_equal(cw_admin_node(w, CMD_NODE_ACCEPT, node, ""), 0);
}

/* ---- administration -------------------------------------------------------------------------- */

static void cordon_keeps_new_work_away_until_lifted(void **state)
{
	struct core_world *w = *state;
	uint64_t running = cw_submit(w, w->alice, "lung", 2, 10 * HOUR), job;
	struct command cmd = cw_cmd(w, w->operator, CMD_NODE_CORDON);
	uint32_t node;

	cw_settle(w);
	node = node_of_job(w, running);
	assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, node, ""), ERR_INVAL); /* say why */
	(void)snprintf(cmd.node_admin.node, NAME_BYTES, "n%u", node);
	(void)snprintf(cmd.node_admin.reason, TEXT_BYTES, "fan");
	cmd.node_admin.until_ms = w->t + HOUR;
	assert_int_equal(cw_do(w, &cmd), 0);
	job = cw_submit(w, w->alice, "lung", 2, 10 * HOUR);
	cw_settle(w);
	assert_int_not_equal(node_of_job(w, job), node);
	assert_int_equal(cw_job_state(w, running), JOB_RUNNING); /* what runs is left alone */
	cw_advance(w, HOUR - 1);
	assert_int_equal(core_node(w->core, w->node[node].id)->admin, NODE_CORDONED);
	cw_advance(w, 1);
	assert_int_equal(core_node(w->core, w->node[node].id)->admin, NODE_ENABLED);
	(void)snprintf(cmd.node_admin.node, NAME_BYTES, "n99");
	assert_int_equal(cw_do(w, &cmd), ERR_NOTFOUND);
}

/* Until when the jobs of a node have that its drain stops, as it is shown. */
static int64_t drained_by(const struct core_world *w, uint32_t node)
{
	struct query q = {.type = QUERY_NODES};
	struct arena arena = {0};
	struct view_nodes v = {0};
	struct err err = {0};
	int64_t by;

	(void)snprintf(q.name, sizeof q.name, "n%u", node);
	assert_int_equal(core_view(w->core, w->t, w->operator.principal, &q, &v, &arena, &err), 0);
	assert_int_equal(v.items_n, 1);
	by = v.items[0].drained_by_ms;
	arena_done(&arena);
	return by;
}

static void drain_stops_what_is_left_at_its_deadline(void **state)
{
	struct core_world *w = *state;
	uint64_t job = cw_submit(w, w->alice, "lung", 2, 10 * HOUR), lease = cw_lease(w, w->acme, "acme", 2, LEASE_FIRM);
	struct command cmd = cw_cmd(w, w->operator, CMD_NODE_DRAIN);
	uint32_t node;
	int64_t by;

	cw_settle(w);
	node = node_of_job(w, job);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_STUBBORN;
	(void)snprintf(cmd.node_admin.node, NAME_BYTES, "n%u", node);
	(void)snprintf(cmd.node_admin.reason, TEXT_BYTES, "firmware");
	cmd.node_admin.deadline_ms = w->t + 10 * MIN;
	by = w->t + 10 * MIN;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING); /* it is told no sooner than its notice wants */
	assert_int_equal(drained_by(w, node), by);
	cw_reload(w, 0);
	cw_advance(w, 10 * MIN - cw_alloc_of(w, OWNER_JOB, job)->notice_ms - 1);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	cw_advance(w, 1);
	assert_int_equal(cw_job_state(w, job), JOB_STOPPING);
	assert_int_equal(cw_alloc_of(w, OWNER_JOB, job)->stop_cause, END_DRAIN);
	assert_int_equal(cw_alloc_of(w, OWNER_JOB, job)->stop_at_ms, by);
	assert_int_equal(drained_by(w, node), by);
	assert_int_equal(cw_alloc_of(w, OWNER_LEASE, lease)->state, ALLOC_ACTIVE); /* firm: moved by its holder */
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_OBEY;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
	assert_int_equal(core_job(w->core, job)->attempt, 2);
	assert_int_not_equal(node_of_job(w, job), node);
	assert_int_equal(drained_by(w, node), 0);
	assert_int_equal(core_job(w->core, job)->recalls, 0); /* no cool-down: it was not recalled */
	assert_int_equal(cw_admin_node(w, CMD_NODE_UNCORDON, node, ""), 0);
	assert_int_equal(core_node(w->core, w->node[node].id)->admin, NODE_ENABLED);
}

/* A node leaves for good, and later joins again under its name. */
static void remove_and_rejoin(void **state)
{
	struct core_world *w = *state;
	uint64_t job = cw_submit(w, w->alice, "lung", 2, HOUR);
	struct command tok = cw_cmd(w, w->admin, CMD_TOKEN_CREATE), en;
	uint32_t node, old;

	cw_settle(w);
	node = node_of_job(w, job);
	old = w->node[node].id;
	assert_int_equal(cw_admin_node(w, CMD_NODE_REMOVE, node, ""), ERR_STATE); /* it holds work */
	cw_exit(w, job, 0);
	assert_int_equal(cw_admin_node(w, CMD_NODE_REMOVE, node, ""), 0);
	assert_null(core_node(w->core, old));
	assert_int_equal(cw_hello(w, node), ERR_REVOKED);
	tok.token_create.role = ROLE_NODE;
	tok.token_create.uses = 3; /* the fleet's token, bound to no name */
	tok.token_create.ttl_ms = HOUR;
	tok.token_create.hash[5] = 77;
	assert_int_equal(cw_do(w, &tok), 0);
	en = cw_cmd(w, (struct cw_who){0, 0, VIA_ENROL}, CMD_ENROL);
	en.enrol.token_hash[5] = 77;
	en.enrol.key[5] = 78;
	(void)snprintf(en.enrol.name, NAME_BYTES, "n%u", node);
	assert_int_equal(cw_do(w, &en), 0);
	w->node[node].agent = (struct cw_who){(uint32_t)w->d.result.version, w->d.result.id, VIA_AGENTS};
	w->node[node].id = core_principal(w->core, w->node[node].agent.principal)->node;
	assert_int_not_equal(w->node[node].id, old); /* ids are used once */
	assert_int_equal(cw_hello(w, node), 0);
	/* while it is there the name is taken */
	en.enrol.key[5] = 79;
	assert_int_equal(cw_do(w, &en), ERR_EXISTS);
}

/* A claim has its eye on a free device of a node that then dies or leaves: planned anew, no abort. */
static void claims_do_not_outlive_their_node(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	uint64_t owner;
	uint32_t free_node = 0;

	/* 24 devices on loan over three nodes, the fourth takes the rest: 4 free */
	cmd = cw_submit_cmd(w, w->bob, "heart", 28, 24 * HOUR);
	cmd.job_submit.spec.loan = LOAN_ONLY;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	for (uint32_t i = 1; i <= w->nodes_n; i++) {
		const struct alloc *a = core_alloc(w->core, 1);
		bool full = false;

		for (uint32_t k = 0; k < a->parts_n; k++)
			full |= a->parts[k].node == w->node[i].id && a->parts[k].units == 8;
		if (!full)
			free_node = i;
		w->node[i].manner = CW_STUBBORN;
	}
	owner = cw_submit(w, w->alice, "lung", 8, HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, owner), JOB_EARMARKED);
	partition(w, free_node);
	assert_int_equal(cw_admin_node(w, CMD_NODE_DECLARE_DEAD, free_node, "burnt"), 0);
	cw_settle(w);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		if (i != free_node)
			w->node[i].manner = CW_OBEY;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, owner), JOB_RUNNING);
	for (uint32_t k = 0; k < cw_alloc_of(w, OWNER_JOB, owner)->parts_n; k++)
		assert_int_not_equal(cw_alloc_of(w, OWNER_JOB, owner)->parts[k].node, w->node[free_node].id);
}

/* All victims have left, but the node is not well: nothing is bound there until it is heard again. */
static void a_claim_binds_on_ready_nodes_only(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->bob, "heart", 32, 24 * HOUR);
	uint64_t owner;
	uint32_t node;

	cmd.job_submit.spec.loan = LOAN_ONLY;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_STUBBORN;
	owner = cw_submit(w, w->alice, "lung", 8, HOUR);
	cw_settle(w);
	node = index_of(w, cw_claim_of(w, OWNER_JOB, owner)->parts[0].node);
	assert_int_equal(cw_liveness(w, node, NODE_SUSPECT), 0);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		w->node[i].manner = CW_OBEY;
	cw_settle(w);
	assert_int_equal(cw_job_state(w, owner), JOB_EARMARKED);
	assert_int_equal(cw_liveness(w, node, NODE_READY), 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, owner), JOB_RUNNING);
	assert_int_equal(node_of_job(w, owner), node);
}

static void an_offer_survives_the_removal_of_its_node(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_lease_cmd(w, w->acme, "acme", 8, LEASE_FIRM);
	uint64_t id;
	uint32_t node;

	cmd.lease_request.spec.auto_accept = false;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_settle(w);
	node = index_of(w, cw_claim_of(w, OWNER_LEASE, id)->parts[0].node);
	assert_int_equal(cw_admin_node(w, CMD_NODE_REMOVE, node, ""), 0);
	w->node[node].manner = CW_MUTE;
	assert_int_equal(cw_lease_op(w, w->acme, CMD_LEASE_ACCEPT, id), 0);
	cw_settle(w);
	assert_int_equal(cw_lease_state(w, id), LEASE_ACTIVE);
}

/* Devices that match no flavor are never handed out. */
static void a_failed_or_foreign_device_is_not_handed_out(void **state)
{
	struct core_world *w = *state;
	uint64_t job;

	(void)snprintf(w->node[1].model, sizeof w->node[1].model, "Tesla V100");
	cw_reboot(w, 1);
	for (int i = 0; i < 4; i++)
		(void)cw_submit(w, w->alice, "lung", 2, HOUR);
	cw_settle(w);
	for (uint64_t a = 0; (a = core_next_id(w->core, RECORD_ALLOC, a)) != 0;)
		assert_int_not_equal(core_alloc(w->core, a)->parts[0].node, w->node[1].id);
	job = cw_submit(w, w->bob, "heart", 4, HOUR); /* eight of 32 are missing: the public side has 12 of its 16 */
	cw_settle(w);
	assert_int_equal(cw_job_state(w, job), JOB_RUNNING);
}

/* ---- what the agent is told ------------------------------------------------------------------ */

static void desired_state_tells_all_a_task_needs(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 8, HOUR);
	struct arena arena = {0};
	struct unit *u;
	uint64_t id;
	uint32_t n, seen = 0;

	cmd.job_submit.spec.per_node = 4;
	cmd.job_submit.spec.tasks_per_unit = 1;
	cmd.job_submit.spec.payload[0] = 9;
	assert_int_equal(cw_do(w, &cmd), 0);
	id = w->d.result.id;
	cw_tick(w);
	for (int phase = UNIT_PREPARE; phase <= UNIT_RUN; phase++) {
		seen = 0;
		for (uint32_t i = 1; i <= w->nodes_n; i++) {
			core_units_of_node(w->core, w->t, w->node[i].id, &arena, &u, &n);
			for (uint32_t k = 0; k < n; k++, seen++) {
				assert_int_equal(u[k].phase, phase);
				assert_int_equal(u[k].owner, id);
				assert_int_equal(u[k].kind, UNIT_JOB_COMMAND);
				assert_int_equal(u[k].payload[0], 9);
				assert_string_equal(u[k].user, "alice");
				assert_string_equal(u[k].project, "public/health/cancer/lung");
				assert_int_equal(u[k].tasks, 4);
				assert_int_equal(u[k].world, 8);
				assert_int_equal(u[k].rank0, u[k].node_rank * 4);
				assert_int_equal(u[k].hosts_n, 2);
				assert_int_equal(u[k].devices_n, 4);
				assert_int_equal(u[k].attempt, 1);
				assert_int_equal(u[k].restart_count, 0);
				assert_int_equal(u[k].time_left_ms, HOUR);
				assert_string_equal(u[k].master_address, u[k].hosts[0].address);
				assert_true(phase == UNIT_PREPARE || u[k].master_port != 0);
				assert_true(__builtin_popcountll(u[k].cores[0]) == 32);
			}
		}
		assert_int_equal(seen, 2);
		cw_settle(w);
	}
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, id), 0);
	for (uint32_t i = 1; i <= w->nodes_n; i++) {
		core_units_of_node(w->core, w->t + 10 * MS_PER_S, w->node[i].id, &arena, &u, &n);
		for (uint32_t k = 0; k < n; k++) {
			assert_int_equal(u[k].phase, UNIT_STOP);
			assert_int_equal(u[k].stop_cause, END_CANCEL);
			assert_int_equal(u[k].stop_in_ms, 20 * MS_PER_S);
		}
	}
	arena_done(&arena);
}

/* Of a script only its shell is ours to start; that it asked for tasks is told to it, who starts them. */
static void a_script_knows_the_tasks_it_asked_for(void **state)
{
	struct core_world *w = *state;
	struct command cmd = cw_submit_cmd(w, w->alice, "lung", 8, HOUR);
	struct arena arena = {0};
	struct unit *u;
	uint32_t n, seen = 0;

	cmd.job_submit.spec.mode = JOB_SCRIPT;
	cmd.job_submit.spec.per_node = 4;
	for (uint16_t tasks = 0; tasks <= 2; tasks += 2) {
		cmd.job_submit.spec.tasks_per_node = tasks;
		assert_int_equal(cw_do(w, &cmd), 0);
		cw_settle(w);
		seen = 0;
		for (uint32_t i = 1; i <= w->nodes_n; i++) {
			core_units_of_node(w->core, w->t, w->node[i].id, &arena, &u, &n);
			for (uint32_t k = 0; k < n; k++, seen++) {
				assert_int_equal(u[k].kind, UNIT_JOB_SCRIPT);
				assert_int_equal(u[k].tasks, u[k].node_rank == 0);
				assert_int_equal(u[k].world, tasks ? 4 : 2);
				assert_int_equal(u[k].hosts_n, 2);
				assert_int_equal(u[k].hosts[1].slots, tasks ? 2 : 4);
			}
		}
		assert_int_equal(seen, 2);
		cw_exit(w, w->core->cluster.next_job - 1, 0);
	}
	arena_done(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(a_greeting_brings_devices_with_flavors),
		STORY(an_older_agent_of_the_same_boot_is_superseded),
		STORY(numbers_seen_on_a_node_are_not_given_again),
		STORY(a_restored_copy_leaves_a_gap_in_the_numbers),
		STORY(an_agent_restart_adopts_what_runs),
		STORY(a_greeting_too_large_is_refused),
		STORY(a_twin_is_no_reboot),
		STORY(two_twins_are_no_reboot),
		STORY(a_reboot_is_evidence),
		STORY(a_lost_attempt_costs_nothing),
		STORY(retries_after_infrastructure_end_some_day),
		STORY(peers_8_a_node_returns_after_lost_after_one_survivor),
		STORY(a_node_back_in_time_keeps_its_job),
		STORY(downtime_of_the_daemon_does_not_lose_a_node),
		STORY(a_cancelled_job_on_a_lost_node_stays_cancelled),
		STORY(declare_dead_is_guarded),
		STORY(a_changed_topology_is_suspect_until_accepted),
		STORY(accepting_waits_for_the_old_work),
		STORY(cordon_keeps_new_work_away_until_lifted),
		STORY(drain_stops_what_is_left_at_its_deadline),
		STORY(remove_and_rejoin),
		STORY(claims_do_not_outlive_their_node),
		STORY(a_claim_binds_on_ready_nodes_only),
		STORY(an_offer_survives_the_removal_of_its_node),
		STORY(a_failed_or_foreign_device_is_not_handed_out),
		STORY(desired_state_tells_all_a_task_needs),
		STORY(a_script_knows_the_tasks_it_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
