/* test_core_carrier.c - inside a nominal of whole nodes its owner may run less than a node
 *
 * Beside the core stands a naive model over the records: the nodes that count against an owner are those on which any
 * piece of it lies, no node has pieces of two owners or anything else on it, and a piece opens a node only when no
 * other of its owner has room.
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
#include "proto/base/prng.h"
#include "tests/lib/core_world.h"

#define HOUR MS_PER_HOUR
enum { RUNS = 300 /* or as RUNS in the environment says */, EVENTS = 60, NODES = 6 };

/* ---- the model: from the records alone ------------------------------------------------------------------------ */

struct broken { uint32_t owner; uint32_t devices; }; /* by node id; owner 0: nobody's */

/* Nodes broken by pieces older than `before`. */
static void broken_by(const struct core *c, uint64_t before, struct broken *of)
{
	memset(of, 0, (NODES + 1) * sizeof *of);
	for (uint64_t id = 0; (id = core_next_id(c, RECORD_ALLOC, id)) != 0 && id < before;) {
		const struct alloc *a = core_alloc(c, id);

		if (!a->carried)
			continue;
		assert_int_equal(a->parts_n, 1);
		assert_true(a->parts->node <= NODES);
		assert_true(!of[a->parts->node].owner || of[a->parts->node].owner == a->qnode);
		of[a->parts->node].owner = a->qnode;
		of[a->parts->node].devices += a->units;
	}
}

/* Whole nodes that count against `owner`: as they are, claimed, and broken. */
static int64_t nodes_of(const struct core *c, uint32_t owner)
{
	struct broken of[NODES + 1];
	int64_t n = 0;

	broken_by(c, UINT64_MAX, of);
	for (uint32_t i = 1; i <= NODES; i++)
		n += of[i].owner == owner;
	for (uint64_t id = 0; (id = core_next_id(c, RECORD_ALLOC, id)) != 0;) {
		const struct alloc *a = core_alloc(c, id);

		n += a->qnode == owner && a->shape == SHAPE_NODE && a->klass == CLASS_GUARANTEED ? a->units : 0;
	}
	for (uint64_t id = 0; (id = core_next_id(c, RECORD_CLAIM, id)) != 0;) {
		const struct claim *m = core_claim(c, id);

		n += m->qnode == owner && m->shape == SHAPE_NODE ? m->units : 0;
	}
	return n;
}

/* Nothing but its owner's pieces lies on a broken node. */
static void nobody_else_is_there(const struct core *c)
{
	struct broken of[NODES + 1];

	broken_by(c, UINT64_MAX, of);
	for (uint64_t id = 0; (id = core_next_id(c, RECORD_ALLOC, id)) != 0;) {
		const struct alloc *a = core_alloc(c, id);

		for (uint32_t i = 0; i < a->parts_n; i++)
			assert_true(!of[a->parts[i].node].owner || (a->carried && a->qnode == of[a->parts[i].node].owner));
	}
	for (uint64_t id = 0; (id = core_next_id(c, RECORD_CLAIM, id)) != 0;) {
		const struct claim *m = core_claim(c, id);

		for (uint32_t i = 0; i < m->parts_n; i++)
			assert_int_equal(of[m->parts[i].node].owner, 0);
	}
}

struct seen { uint32_t pieces, promised, opened, shared; };

/* `a` has just been placed: where did it have to be? */
static void as_few_as_possible(const struct core *c, const struct alloc *a, struct seen *seen)
{
	struct broken of[NODES + 1];
	uint32_t fullest = 0;

	broken_by(c, a->id, of);
	for (uint32_t i = 1; i <= NODES; i++)
		if (of[i].owner == a->qnode && of[i].devices + a->units <= CW_GPUS && of[i].devices > fullest &&
		    core_node(c, i)->state == NODE_READY && core_node(c, i)->admin == NODE_ENABLED)
			fullest = of[i].devices;
	seen->pieces++;
	if (c->holds.count) { /* to stay longer on the fullest could delay what was promised */
		seen->promised++;
		return;
	}
	assert_int_equal(of[a->parts->node].devices, fullest); /* 0: on a node of its own, then */
	seen->opened += !fullest;
	seen->shared += fullest != 0;
}

/* ---- a run ----------------------------------------------------------------------------------------------------------- */

/* Apply ticks one by one, so that every placement is seen in the state that it was decided in. */
static void ticks(struct core_world *w, struct seen *seen)
{
	struct command tick = cw_cmd(w, (struct cw_who){.via = VIA_INTERNAL}, CMD_TICK);

	for (;;) {
		uint64_t from = w->core->cluster.next_alloc;

		if (cw_do(w, &tick) || !w->d.facts_n)
			return;
		for (uint64_t id = from; id < w->core->cluster.next_alloc; id++) {
			const struct alloc *a = core_alloc(w->core, id);

			if (a && a->carried)
				as_few_as_possible(w->core, a, seen);
		}
	}
}

static void settle(struct core_world *w, struct seen *seen)
{
	do
		ticks(w, seen);
	while (cw_agents(w));
}

/* A whole look at everything finds nothing that the ticks have not. */
static void nobody_is_left_behind(struct core_world *w)
{
	struct command tick = cw_cmd(w, (struct cw_who){.via = VIA_INTERNAL}, CMD_TICK);

	w->core->scratch->work |= WORK_ALL;
	assert_int_equal(cw_do(w, &tick), 0);
	assert_int_equal(w->d.facts_n, 0);
}

static void submit(struct core_world *w, struct prng *prng)
{
	static const char *const PROJECT[] = {"lung", "heart"};
	bool heart = prng_below(prng, 2);
	struct command cmd = cw_submit_cmd(w, heart ? w->bob : w->alice, PROJECT[heart], 1 + (uint32_t)prng_below(prng, 8),
					   (1 + (int64_t)prng_below(prng, 8)) * HOUR / 4);
	struct job_spec *s = &cmd.job_submit.spec;

	s->shape = prng_below(prng, 4) ? SHAPE_GPU : SHAPE_NODE;
	if (s->shape == SHAPE_NODE)
		s->units = 1 + (uint32_t)prng_below(prng, 2);
	else if (!prng_below(prng, 4))
		s->units = 1;
	s->loan = (uint8_t[]){LOAN_NEVER, LOAN_OK, LOAN_ONLY}[prng_below(prng, 3)];
	(void)cw_do(w, &cmd);
}

static void something(struct core_world *w, struct prng *prng, struct seen *seen)
{
	uint64_t next = core_cluster(w->core)->next_job, job = next > 1 ? 1 + prng_below(prng, next - 1) : 0;
	const struct job *j = job ? core_job(w->core, job) : NULL;

	switch (prng_below(prng, 12)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4: submit(w, prng); break;
	case 5:
	case 6:
		if (j && !job_terminal(j->state))
			(void)cw_job(w, w->admin, prng_below(prng, 4) ? CMD_JOB_CANCEL : CMD_JOB_REQUEUE, job);
		break;
	case 7:
		(void)cw_lease(w, w->acme, "acme", 1 + (uint32_t)prng_below(prng, 8), (uint8_t)prng_below(prng, 2));
		break;
	case 8: {
		uint32_t node = 1 + (uint32_t)prng_below(prng, NODES);

		(void)cw_admin_node(w, prng_below(prng, 2) ? CMD_NODE_DRAIN : CMD_NODE_UNCORDON, node, "test");
		break;
	}
	default: w->t += (int64_t)prng_below(prng, 20 * MS_PER_MIN); break;
	}
	settle(w, seen);
}

static void nodes_count_as_the_model_says(void **state)
{
	struct core_world *w = *state;
	const char *asked = getenv("RUNS");
	uint32_t runs = asked ? (uint32_t)strtoul(asked, NULL, 10) : RUNS;
	struct seen seen = {0};
	struct prng prng;

	for (uint64_t seed = 1; seed <= runs; seed++) {
		uint32_t owner[2];

		cw_close(w);
		memset(w, 0, sizeof *w);
		cw_open(w, NODES);
		prng_seed(&prng, seed);
		/* two owners of whole nodes; single devices are acme's, and heart's in every other run */
		cw_quota(w, CW_LUNG, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
		cw_quota(w, CW_LUNG, 0, SHAPE_NODE, 2, QTY_UNLIMITED, QTY_UNLIMITED);
		cw_quota(w, CW_HEART, 0, SHAPE_GPU, seed % 2 ? 0 : 4, QTY_UNLIMITED, QTY_UNLIMITED);
		cw_quota(w, CW_HEART, 0, SHAPE_NODE, 2, QTY_UNLIMITED, QTY_UNLIMITED);
		cw_quota(w, CW_BETA, 0, SHAPE_GPU, 0, QTY_UNLIMITED, QTY_UNLIMITED);
		cw_apply(w);
		for (uint32_t i = 1; i <= NODES; i++)
			assert_int_equal(cw_hello(w, i), 0);
		cw_tick(w);
		owner[0] = cw_id(w, "public/health/cancer/lung");
		owner[1] = cw_id(w, "public/health/cancer/heart");
		for (int i = 0; i < EVENTS; i++) {
			something(w, &prng, &seen);
			nobody_else_is_there(w->core);
			nobody_is_left_behind(w);
			for (int k = 0; k < 2; k++) {
				const struct quota_tree *t = tree_of(w->core, 1, SHAPE_NODE);
				const struct quota_cell *cell = &t->cell[qnode_of(w->core, owner[k])->at];

				assert_int_equal(cell->guaranteed_at, nodes_of(w->core, owner[k]));
				assert_true(cell->guaranteed_at <= 2);
			}
			if (!prng_below(&prng, 20)) {
				cw_reload(w, 0);
				settle(w, &seen);
			}
		}
	}
	print_message("%u pieces, %u beside promises, %u opened, %u shared\n", seen.pieces, seen.promised, seen.opened, seen.shared);
	/* nothing of that was idle talk */
	assert_true(seen.opened > runs);
	assert_true(seen.shared > runs);
}

/* ---- who else counts on what is idle there ------------------------------------------------------------------------------ */

/* `nodes` nodes, one of them lung's, whole; single devices are acme's. */
static void one_is_lungs(struct core_world *w, uint32_t nodes, int64_t acme)
{
	cw_close(w);
	memset(w, 0, sizeof *w);
	cw_open(w, nodes);
	for (int q = 0; q < CW_QNODES; q++)
		cw_quota(w, (uint32_t)q, 0, SHAPE_GPU, q == CW_ACME ? acme : 0, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_quota(w, CW_LUNG, 0, SHAPE_NODE, 1, QTY_UNLIMITED, QTY_UNLIMITED);
	cw_apply(w);
	for (uint32_t i = 1; i <= nodes; i++)
		assert_int_equal(cw_hello(w, i), 0);
	cw_settle(w);
}

/* What is idle on a broken node is freed for nobody: acme's sixteen have to come from the other three. */
static void a_broken_node_frees_nothing_for_others(void **state)
{
	struct core_world *w = *state;
	struct command cmd;
	uint64_t piece, slow[2];

	one_is_lungs(w, 4, 16);
	piece = cw_submit(w, w->alice, "lung", 1, HOUR);
	cw_settle(w);
	assert_true(cw_alloc_of(w, OWNER_JOB, piece)->carried);
	for (int i = 0; i < 2; i++) {
		cmd = cw_submit_cmd(w, w->bob, "heart", i ? 1 : 8, HOUR);
		cmd.job_submit.spec.loan = LOAN_ONLY;
		cmd.job_submit.spec.notice_ms = HOUR / 2; /* longer than acme would wait */
		assert_int_equal(cw_do(w, &cmd), 0);
		slow[i] = w->d.result.id;
		cw_settle(w);
	}
	assert_int_equal(cw_job_state(w, slow[0]), JOB_RUNNING);
	assert_int_equal(cw_reason(w, slow[1]), REASON_LOAN_NOTICE);
}

static int reserve(struct core_world *w, int64_t in_ms, uint32_t units)
{
	struct command cmd = cw_cmd(w, w->operator, CMD_RESERVATION_CREATE);
	struct window window = {w->t + in_ms, w->t + in_ms + HOUR};
	struct cmd_reservation_create *r = &cmd.reservation_create;
	struct text_ref member;

	(void)snprintf(member.s, TEXT_BYTES, "user:alice");
	(void)snprintf(r->spec.name, NAME_BYTES, "in-%d", (int)(in_ms / MS_PER_MIN));
	(void)snprintf(r->flavor, FLAVOR_NAME_BYTES, "h100");
	r->spec.windows = &window;
	r->spec.windows_n = 1;
	r->spec.units = units;
	r->members = &member;
	r->members_n = 1;
	return cw_do(w, &cmd);
}

/* The node of the latest reservation. */
static uint32_t pinned(const struct core_world *w)
{
	const struct reservation *r = core_record(w->core, RECORD_RESERVATION, w->core->cluster.next_reservation - 1);

	return r->parts->node;
}

/* It is taken as a whole, by the calendar, too: until its last piece is gone, and then for nobody else. */
static void the_calendar_takes_it_as_a_whole(void **state)
{
	struct core_world *w = *state;
	uint64_t piece, longer;
	uint32_t node;
	struct command cmd;

	one_is_lungs(w, 2, 8);
	piece = cw_submit(w, w->alice, "lung", 2, HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, piece), JOB_RUNNING);
	node = cw_alloc_of(w, OWNER_JOB, piece)->parts->node;
	assert_int_equal(reserve(w, HOUR / 2, 4), 0);
	assert_int_not_equal(pinned(w), node); /* six are idle there, but it is lung's for an hour */
	assert_int_equal(reserve(w, 2 * HOUR, 4), 0);
	assert_int_equal(pinned(w), node);
	longer = cw_submit(w, w->alice, "lung", 1, 4 * HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, longer), JOB_PENDING); /* though two are idle that nobody has reserved */
	cmd = cw_cmd(w, w->admin, CMD_JOB_UPDATE);
	cmd.job_update.job = piece;
	cmd.job_update.time_limit_ms = 4 * HOUR;
	assert_int_equal(cw_do(w, &cmd), ERR_CONFLICT);
	piece = cw_submit(w, w->alice, "lung", 1, HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, piece), JOB_RUNNING);
}

/* A piece beside what is reserved on its node cannot stay for longer either: the node would be lung's still. */
static void a_piece_beside_a_reservation_cannot_stay(void **state)
{
	struct core_world *w = *state;
	uint64_t piece[2];
	struct command cmd;
	uint64_t pin;

	one_is_lungs(w, 2, 8);
	for (int i = 0; i < 2; i++) {
		piece[i] = cw_submit(w, w->alice, "lung", i ? 1 : 4, HOUR);
		cw_settle(w);
		assert_int_equal(cw_job_state(w, piece[i]), JOB_RUNNING);
	}
	assert_int_equal(reserve(w, 2 * HOUR, 2), 0);
	pin = ((const struct reservation *)core_record(w->core, RECORD_RESERVATION, w->core->cluster.next_reservation - 1))
		      ->parts->devices;
	assert_int_equal(pinned(w), cw_alloc_of(w, OWNER_JOB, piece[1])->parts->node);
	assert_int_equal(cw_alloc_of(w, OWNER_JOB, piece[1])->parts->devices & pin, 0);
	cmd = cw_cmd(w, w->admin, CMD_JOB_UPDATE);
	cmd.job_update.job = piece[1];
	cmd.job_update.time_limit_ms = 4 * HOUR;
	assert_int_equal(cw_do(w, &cmd), ERR_CONFLICT);
	cmd.job_update.time_limit_ms = 3 * HOUR / 2;
	assert_int_equal(cw_do(w, &cmd), 0);
}

/* Its last piece may leave while others of its owner wait for longer than it would have stayed: they are looked at. */
static void who_waits_for_room_is_looked_at(void **state)
{
	struct core_world *w = *state;
	uint64_t whole, waits, node;

	one_is_lungs(w, 2, 8);
	whole = cw_submit(w, w->alice, "lung", 6, HOUR);
	cw_settle(w);
	assert_true(cw_alloc_of(w, OWNER_JOB, whole)->carried);
	node = cw_alloc_of(w, OWNER_JOB, whole)->parts->node;
	waits = cw_submit(w, w->alice, "lung", 4, HOUR);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, waits), JOB_PENDING);
	assert_int_equal(cw_job(w, w->alice, CMD_JOB_CANCEL, whole), 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, waits), JOB_RUNNING);
	assert_int_equal(cw_alloc_of(w, OWNER_JOB, waits)->parts->node, node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(nodes_count_as_the_model_says),
		STORY(a_broken_node_frees_nothing_for_others),
		STORY(the_calendar_takes_it_as_a_whole),
		STORY(a_piece_beside_a_reservation_cannot_stay),
		STORY(who_waits_for_room_is_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
