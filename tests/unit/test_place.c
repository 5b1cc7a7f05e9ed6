/* test_place.c - which devices, cores and memory serve a request
 *
 * Without these work would be scattered over nodes that could have stayed whole, or be given what
 * somebody else was promised. place() is asked directly over states made by commands.
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
#include "proto/base/prng.h"
#include "tests/lib/core_world.h"

struct answer { int rc; uint32_t n; struct part part[64]; };

static struct answer asked(const struct core_world *w, const struct place_ask *ask)
{
	struct answer a = {0};
	struct arena arena = {0};
	struct part *parts = NULL;

	a.rc = place(w->core, ask, &arena, &parts, &a.n);
	if (!a.rc)
		memcpy(a.part, parts, a.n * sizeof *parts);
	arena_done(&arena);
	return a;
}

static struct place_ask gpus(uint32_t units)
{
	return (struct place_ask){.flavor = 1, .klass = CLASS_LOAN, .units = units};
}

/* `units` of the node's devices taken by a loan that runs on. */
static void busy(struct core_world *w, uint32_t node, uint32_t units)
{
	struct command cmd = cw_submit_cmd(w, w->bob, "heart", units, 24 * MS_PER_HOUR);

	for (uint32_t i = 1; i <= w->nodes_n; i++)
		if (i != node)
			assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, i, "not here"), 0);
	cmd.job_submit.spec.loan = LOAN_ONLY;
	assert_int_equal(cw_do(w, &cmd), 0);
	cw_settle(w);
	assert_int_equal(cw_job_state(w, core_cluster(w->core)->next_job - 1), JOB_RUNNING);
	for (uint32_t i = 1; i <= w->nodes_n; i++)
		if (i != node)
			assert_int_equal(cw_admin_node(w, CMD_NODE_UNCORDON, i, ""), 0);
}

static void the_fullest_node_that_fits_is_taken(void **state)
{
	struct core_world *w = *state;
	struct place_ask ask;
	struct answer a;

	busy(w, 2, 3);
	busy(w, 3, 6);
	for (uint32_t units = 1; units <= 8; units++) {
		uint32_t want = units <= 2 ? 3 : units <= 5 ? 2 : 1;

		ask = gpus(units);
		a = asked(w, &ask);
		assert_int_equal(a.rc, 0);
		assert_int_equal(a.n, 1);
		assert_int_equal(a.part[0].node, w->node[want].id);
		assert_int_equal(a.part[0].units, units);
		assert_int_equal(popcount64(a.part[0].devices), units);
	}
}

static void fewest_nodes_then_best_fit_for_the_rest(void **state)
{
	struct core_world *w = *state;
	struct place_ask ask = gpus(18);
	struct answer a;

	busy(w, 2, 3); /* 5 free */
	busy(w, 3, 6); /* 2 free: just the rest */
	a = asked(w, &ask);
	assert_int_equal(a.rc, 0);
	assert_int_equal(a.n, 3);
	assert_int_equal(a.part[0].units, 8);
	assert_int_equal(a.part[1].units, 8);
	assert_int_equal(a.part[2].units, 2);
	assert_int_equal(a.part[2].node, w->node[3].id);
	ask = gpus(23);
	assert_int_equal(asked(w, &ask).n, 4);
	ask = gpus(24);
	assert_int_equal(asked(w, &ask).rc, REASON_NO_SHAPE);
	ask.over = PLACE_OVER_LOANS;
	assert_int_equal(asked(w, &ask).rc, 0);
	ask = gpus(33);
	ask.over = PLACE_EMPTY;
	assert_int_equal(asked(w, &ask).rc, REASON_NO_SHAPE);
}

static void chunks_stay_together_and_apart_as_asked(void **state)
{
	struct core_world *w = *state;
	struct place_ask ask = gpus(6);
	struct answer a;

	ask.chunk = 2;
	a = asked(w, &ask);
	assert_int_equal(a.n, 1); /* three chunks on one node are one part */
	ask.chunk_parts = true;
	a = asked(w, &ask);
	assert_int_equal(a.n, 3); /* replicas are a part each */
	assert_int_equal(a.part[0].devices & a.part[1].devices, 0);
	ask.distinct = true;
	a = asked(w, &ask);
	assert_int_equal(a.n, 3);
	assert_int_not_equal(a.part[0].node, a.part[1].node);
	assert_int_not_equal(a.part[1].node, a.part[2].node);
	ask.units = 10;
	assert_int_equal(asked(w, &ask).rc, REASON_FRAGMENTED); /* five chunks, four nodes */
	ask = gpus(4);
	ask.chunk = 4;
	for (uint32_t i = 1; i <= 4; i++)
		busy(w, i, 5);
	assert_int_equal(asked(w, &ask).rc, REASON_FRAGMENTED); /* twelve free, three by three */
}

static void whole_nodes_come_leaf_by_leaf(void **state)
{
	struct core_world *w = *state;
	struct place_ask ask = {.flavor = 1, .shape = SHAPE_NODE, .klass = CLASS_GUARANTEED, .units = 2};
	struct answer a;

	busy(w, 1, 1); /* leaf1 has one whole node left, leaf2 both */
	a = asked(w, &ask);
	assert_int_equal(a.rc, 0);
	assert_int_equal(a.part[0].node, w->node[3].id);
	assert_int_equal(a.part[1].node, w->node[4].id);
	ask.units = 1; /* the leaf with the fewest that suffices */
	a = asked(w, &ask);
	assert_int_equal(a.part[0].node, w->node[2].id);
	assert_int_equal(popcount64(a.part[0].devices), 8);
	assert_int_equal(a.part[0].units, 1);
	assert_int_equal(mask_count(a.part[0].cores), CW_CORES);
	ask.units = 3;
	assert_int_equal(asked(w, &ask).n, 3);
	ask.units = 4;
	assert_int_equal(asked(w, &ask).rc, REASON_NO_SHAPE);
}

static void predicates_exclusions_and_states_are_hard(void **state)
{
	struct core_world *w = *state;
	struct require eu = {"jurisdiction", "EU"}, any = {"jurisdiction", ""}, none = {"rack", ""};
	struct node_ref no = {w->node[1].id};
	struct place_ask ask = gpus(24);
	struct answer a;

	ask.requires = &eu;
	ask.requires_n = 1;
	a = asked(w, &ask);
	assert_int_equal(a.rc, 0);
	for (uint32_t i = 0; i < a.n; i++)
		assert_int_not_equal(a.part[i].node, w->node[4].id);
	ask.units = 25;
	assert_int_equal(asked(w, &ask).rc, REASON_NO_SHAPE);
	ask.requires = &any;
	assert_int_equal(asked(w, &ask).rc, 0);
	ask.requires = &none;
	assert_int_equal(asked(w, &ask).rc, REASON_NODES_OUT);
	ask = gpus(24);
	ask.excluded = &no;
	ask.excluded_n = 1;
	a = asked(w, &ask);
	for (uint32_t i = 0; i < a.n; i++)
		assert_int_not_equal(a.part[i].node, w->node[1].id);
	assert_int_equal(cw_admin_node(w, CMD_NODE_CORDON, 2, "x"), 0);
	assert_int_equal(asked(w, &ask).rc, REASON_NO_SHAPE);
	assert_int_equal(cw_admin_node(w, CMD_NODE_UNCORDON, 2, ""), 0);
	assert_int_equal(cw_liveness(w, 2, NODE_SUSPECT), 0);
	assert_int_equal(asked(w, &ask).rc, REASON_NO_SHAPE);
	ask.over = PLACE_EMPTY; /* could it ever: yes */
	ask.excluded_n = 0;
	assert_int_equal(asked(w, &ask).rc, 0);
}

static void cores_and_memory_are_the_share_or_what_was_asked(void **state)
{
	struct core_world *w = *state;
	struct place_ask ask = gpus(2);
	struct answer a = asked(w, &ask);

	assert_int_equal(mask_count(a.part[0].cores), CW_CORES / 4);
	assert_int_equal(a.part[0].memory_mib, 1024 * 1024 / 4);
	ask.cpus = 40;
	ask.memory_mib = 900 * 1024;
	a = asked(w, &ask);
	assert_int_equal(mask_count(a.part[0].cores), 40);
	assert_int_equal(popcount64(a.part[0].cores[0] & UINT64_C(0xffffffff)), 32); /* those beside the devices first */
	assert_int_equal(a.part[0].memory_mib, 900 * 1024);
	busy(w, 1, 1); /* an eighth of the memory is gone there */
	ask.memory_mib = 1000 * 1024;
	a = asked(w, &ask);
	assert_int_not_equal(a.part[0].node, w->node[1].id);
	ask.cpus = 60;
	assert_int_not_equal(asked(w, &ask).part[0].node, w->node[1].id);
	ask.memory_mib = 1024 * 1024 + 1;
	assert_int_equal(asked(w, &ask).rc, REASON_NO_SHAPE);
}

/* Devices that see one another over NVLink are taken together, and those of one NUMA node before that. */
static void linked_devices_are_taken_together(void **state)
{
	struct core_world *w = *state;
	struct place_ask ask = gpus(2);
	struct node n = *core_node(w->core, w->node[1].id);
	struct device dev[8];
	struct label label[2];
	struct fact f = {.kind = RECORD_NODE, .id = n.id, .node = &n};
	struct answer a;

	memcpy(dev, n.devices, sizeof dev);
	dev[0].peers = 1u << 3;
	dev[3].peers = 1u << 0;
	n.devices = dev;
	memcpy(label, n.labels, sizeof label);
	n.labels = label;
	core_apply(w->core, &f);
	a = asked(w, &ask);
	assert_int_equal(a.part[0].node, w->node[1].id);
	assert_int_equal(a.part[0].devices, 0x9);
	ask.units = 4;
	assert_int_equal(asked(w, &ask).part[0].devices, 0xf);
	dev[1].health = DEVICE_FAILED;
	core_apply(w->core, &f);
	ask.units = 7;
	a = asked(w, &ask);
	assert_int_equal(a.part[0].node, w->node[1].id);
	assert_int_equal(a.part[0].devices & 2, 0);
	ask.units = 8; /* and no whole node any more */
	assert_int_not_equal(asked(w, &ask).part[0].node, w->node[1].id);
	ask = (struct place_ask){.flavor = 1, .shape = SHAPE_NODE, .klass = CLASS_LOAN, .units = 4};
	assert_int_equal(asked(w, &ask).rc, REASON_NO_SHAPE);
}

/* A flavor that counts cores lives on nodes without devices of another flavor. */
static void cores_as_a_flavor(void **state)
{
	struct core_world *w = *state;
	struct place_ask ask = {.flavor = 2, .klass = CLASS_LOAN, .units = 60};
	struct answer a;

	w->flavor[1] = (struct flavor){.name = "cpu", .unit = UNIT_CORE, .weight_milli = 10, .devices_per_node = 1,
				       .committed_units = 64};
	w->div.flavors_n = 2;
	cw_apply(w);
	assert_int_equal(asked(w, &ask).rc, REASON_NO_SHAPE);
	w->node[1].gpus = 0;
	w->node[1].topology = 2;
	cw_reboot(w, 1);
	assert_int_equal(cw_admin_node(w, CMD_NODE_ACCEPT, 1, ""), 0);
	assert_int_equal(cw_hello(w, 1), 0);
	a = asked(w, &ask);
	assert_int_equal(a.rc, 0);
	assert_int_equal(a.part[0].node, w->node[1].id);
	assert_int_equal(a.part[0].units, 60);
	assert_int_equal(mask_count(a.part[0].cores), 60);
	assert_int_equal(a.part[0].devices, 0);
	ask.units = 65;
	assert_int_equal(asked(w, &ask).rc, REASON_NO_SHAPE);
}

/* Random asks on random states: what is given is free, whole, asked for, and of the right size; and when
 * nothing is given, counting says the same. */
static void what_is_given_is_free_and_complete(void **state)
{
	struct core_world *w = *state;
	struct prng r;
	uint64_t given = 0, refused = 0;

	prng_seed(&r, 0x91ace);
	for (int round = 0; round < 300; round++) {
		uint64_t jobs[8];
		uint32_t jobs_n = 1 + (uint32_t)prng_below(&r, 8);

		for (uint32_t i = 0; i < jobs_n; i++) {
			struct command cmd = cw_submit_cmd(w, w->bob, "heart", 1 + (uint32_t)prng_below(&r, 10), MS_PER_HOUR);

			cmd.job_submit.spec.loan = LOAN_ONLY;
			assert_int_equal(cw_do(w, &cmd), 0);
			jobs[i] = w->d.result.id;
		}
		cw_settle(w);
		for (int k = 0; k < 20; k++) {
			struct place_ask ask = gpus(1 + (uint32_t)prng_below(&r, 34));
			struct answer a;
			uint32_t units = 0, room = 0;

			if (prng_below(&r, 2)) {
				ask.chunk = 1 + (uint32_t)prng_below(&r, 8);
				ask.units -= ask.units % ask.chunk;
				if (!ask.units)
					ask.units = ask.chunk;
				ask.distinct = prng_below(&r, 2);
				ask.chunk_parts = prng_below(&r, 2);
			}
			a = asked(w, &ask);
			EACH(w->core, nodes, node_s, n) {
				uint32_t free_here = popcount64(node_flavor_mask(n, 1) & ~n->held & ~n->claimed);

				room += !ask.chunk ? free_here :
					ask.distinct ? (free_here >= ask.chunk ? ask.chunk : 0) :
						       free_here / ask.chunk * ask.chunk;
			}
			assert_int_equal(a.rc == 0, room >= ask.units);
			given += a.rc == 0;
			refused += a.rc != 0;
			for (uint32_t i = 0; !a.rc && i < a.n; i++) {
				const struct node_s *n = node_of(w->core, a.part[i].node);

				assert_int_equal(a.part[i].devices & (n->held | n->claimed), 0);
				assert_int_equal(a.part[i].devices & ~node_flavor_mask(n, 1), 0);
				assert_int_equal(popcount64(a.part[i].devices), a.part[i].units);
				for (int word = 0; word < CORE_WORDS; word++)
					assert_int_equal(a.part[i].cores[word] & n->cores_held[word], 0);
				for (uint32_t o = 0; o < i; o++)
					if (a.part[o].node == a.part[i].node) {
						assert_int_equal(a.part[o].devices & a.part[i].devices, 0);
						assert_int_equal(a.part[o].cores[0] & a.part[i].cores[0], 0);
					}
				units += a.part[i].units;
			}
			if (!a.rc)
				assert_int_equal(units, ask.units);
		}
		for (uint32_t i = 0; i < jobs_n; i++)
			assert_int_equal(cw_job(w, w->bob, CMD_JOB_CANCEL, jobs[i]), 0);
		cw_settle(w);
	}
	assert_true(given > 1000 && refused > 1000);
	printf("# %" PRIu64 " given, %" PRIu64 " refused\n", given, refused);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(the_fullest_node_that_fits_is_taken),
		STORY(fewest_nodes_then_best_fit_for_the_rest),
		STORY(chunks_stay_together_and_apart_as_asked),
		STORY(whole_nodes_come_leaf_by_leaf),
		STORY(predicates_exclusions_and_states_are_hard),
		STORY(cores_and_memory_are_the_share_or_what_was_asked),
		STORY(linked_devices_are_taken_together),
		STORY(cores_as_a_flavor),
		STORY(what_is_given_is_free_and_complete),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
