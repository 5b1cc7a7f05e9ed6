/* test_core_recall_cost.c - whoever goes for a few devices costs as little as can be
 *
 * Without these a recall from the short list of recall.c could stop dear loans where cheap ones would do, loans that
 * give nothing back, or some of a class whose turn it is not. The optimum below is found by dynamic programming over
 * all loans.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "daemon/core/core.h"
#include "daemon/core/state.h"
#include "proto/base/prng.h"

enum { YARD_NODES = 40, YARD_DEVICES = 8, YARD_LOANS = YARD_NODES * YARD_DEVICES, YARD_PROJECT = 3 };
static const int64_t YARD_T = INT64_C(1800000000000);

struct yard { struct core *core; struct prng prng; uint64_t loans; };

static uint32_t below(struct yard *y, uint32_t n) { return (uint32_t)prng_below(&y->prng, n); }

static void put(struct yard *y, uint8_t kind, uint64_t id, const void *rec)
{
	struct fact f = {.kind = kind, .id = id, .any = rec};

	core_apply(y->core, &f);
}

/* A loan of any class and age, one in eight not back in time, one in eight still binding. */
static void yard_loan(struct yard *y, uint32_t node, uint32_t nodes, uint32_t first, uint32_t each)
{
	uint64_t id = ++y->loans;
	struct part part[4] = {0};
	int64_t start = YARD_T - below(y, 20 * (uint32_t)MS_PER_HOUR);
	struct job j = {.id = id, .state = JOB_RUNNING, .submit_ms = start, .start_ms = start, .first_start_ms = start,
			.alloc = id, .attempt = 1,
			.spec = {.project = YARD_PROJECT, .flavor = 1, .units = nodes * each, .loan = LOAN_ONLY,
				 .klass = (uint8_t)(JOB_STANDBY + below(y, 2)), .time_limit_ms = MS_PER_DAY}};
	struct alloc a = {.id = id, .owner = id, .attempt = 1, .qnode = YARD_PROJECT, .flavor = 1, .klass = CLASS_LOAN,
			  .state = below(y, 8) ? ALLOC_ACTIVE : ALLOC_BINDING, .units = nodes * each,
			  .created_ms = start, .start_ms = start, .limit_ms = start + MS_PER_DAY,
			  .notice_ms = below(y, 8) ? MS_PER_MIN : 2 * MS_PER_HOUR, .charged_until_ms = start, .parts = part,
			  .parts_n = nodes};

	for (uint32_t i = 0; i < nodes; i++)
		part[i] = (struct part){.index = (uint16_t)i, .node = node + i, .state = PART_RUNNING, .units = each,
					.devices = ((UINT64_C(1) << each) - 1) << first};
	put(y, RECORD_JOB, id, &j);
	put(y, RECORD_ALLOC, id, &a);
}

static void yard_open(struct yard *y)
{
	struct flavor flavor = {.id = 1, .name = "h100", .weight_milli = 1000, .devices_per_node = YARD_DEVICES,
				.committed_nodes = YARD_NODES};
	struct cluster cluster = {.name = "yard", .next_job = 1000, .next_lease = 1, .next_alloc = 1000, .next_claim = 2,
				  .next_node = YARD_NODES + 1, .next_qnode = 4, .next_flavor = 2,
				  .bind_timeout_ms = MS_PER_HOUR, .notice_ms = MS_PER_MIN, .lost_after_ms = MS_PER_HOUR};
	struct qnode root = {.id = 1, .kind = QNODE_ROOT, .name = "root", .weight = 1};
	struct qnode public = {.id = 2, .kind = QNODE_PUBLIC, .name = "public", .parent = 1, .weight = 1};
	struct qnode heart = {.id = YARD_PROJECT, .kind = QNODE_PROJECT, .name = "heart", .parent = 2, .weight = 1};
	struct part kept = {.node = 1, .units = 4, .devices = 0x0f};
	struct claim claim = {.id = 1, .owner_kind = OWNER_JOB, .owner = 1, .qnode = YARD_PROJECT, .flavor = 1,
			      .klass = CLASS_GUARANTEED, .units = 4, .created_ms = YARD_T, .deadline_ms = YARD_T + MS_PER_HOUR,
			      .parts = &kept, .parts_n = 1};

	y->core = core_new();
	y->loans = 0;
	put(y, RECORD_CLUSTER, 1, &cluster);
	put(y, RECORD_FLAVOR, 1, &flavor);
	put(y, RECORD_QNODE, 1, &root);
	put(y, RECORD_QNODE, 2, &public);
	put(y, RECORD_QNODE, YARD_PROJECT, &heart);
	for (uint32_t i = 1; i <= YARD_NODES; i++) {
		struct device dev[YARD_DEVICES] = {0};
		struct label odd = {.key = "odd", .value = "yes"};
		struct node n = {.id = i, .state = i % 10 == 3 ? NODE_UNREACHABLE : NODE_READY, .cores_n = 64,
				 .admin = i % 10 == 6 ? NODE_CORDONED : NODE_ENABLED, .memory_mib = 1 << 20,
				 .devices_n = YARD_DEVICES, .devices = dev, .labels = &odd, .labels_n = i % 2,
				 .digest = {1}};

		(void)snprintf(n.name, sizeof n.name, "n%05u", i);
		for (uint16_t k = 0; k < YARD_DEVICES; k++) {
			dev[k].flavor = 1;
			dev[k].cores[0] = UINT64_C(0xff) << k * 8;
		}
		put(y, RECORD_NODE, i, &n);
	}
	put(y, RECORD_CLAIM, 1, &claim);
	for (uint32_t i = 1; i <= YARD_NODES;) {
		uint32_t nodes = below(y, 4) || i + 4 > YARD_NODES ? 1 : 1 + below(y, 4), each;

		for (uint32_t k = 0; k < YARD_DEVICES; k += each) {
			each = nodes > 1 ? YARD_DEVICES : 1 + below(y, YARD_DEVICES - k);
			if (below(y, 12)) /* or a few are free */
				yard_loan(y, i, nodes, k, each);
		}
		i += nodes;
	}
}

struct item { int64_t cost; uint32_t rank, gives; };

/* What recall.c says it costs to stop it, and what it gives back of the nodes that suit. */
static struct item item_of(const struct yard *y, const struct alloc_s *a, const struct place_ask *ask)
{
	bool nothing = a->lost_from_ms == T_NEVER;
	struct item item = {.rank = a->rank};

	item.cost = (nothing ? 1 : max64(0, YARD_T - a->lost_from_ms) / 1000 * a->r.units + 1800) << 3 * a->rank;
	for (uint32_t i = 0; i < a->r.parts_n; i++) {
		const struct node_s *n = node_of(y->core, a->r.parts[i].node);

		if (n->r.state == NODE_READY && n->r.admin == NODE_ENABLED && (!ask->requires_n || n->r.labels_n))
			item.gives += popcount64(a->r.parts[i].devices & ~n->claimed);
	}
	return item;
}

/* The least that it costs to get `need` devices from those of up to that rank, or -1: dynamic programming. */
static int64_t least(const struct yard *y, const struct place_ask *ask, uint32_t need, uint32_t rank)
{
	int64_t least[YARD_LOANS + 1];

	for (uint32_t k = 0; k <= need; k++)
		least[k] = k ? -1 : 0;
	EACH(y->core, loans, alloc_s, a) {
		struct item item = item_of(y, a, ask);

		if (item.rank > rank || (a->r.state == ALLOC_ACTIVE && a->r.notice_ms > MS_PER_HOUR))
			continue;
		for (uint32_t k = need; k > 0; k--) {
			int64_t rest = least[k > item.gives ? k - item.gives : 0];

			if (rest >= 0 && (least[k] < 0 || rest + item.cost < least[k]))
				least[k] = rest + item.cost;
		}
	}
	return least[need];
}

/* What plans cost beside the optimum, each in thousandths of it. */
struct tally { int64_t paid, due; uint32_t plans, exact; };

static void tally(struct tally *sum, int64_t cost, int64_t best)
{
	assert_true(cost >= best);
	sum->paid += cost / (1 + best / 1000);
	sum->due += best / (1 + best / 1000);
	sum->exact += cost == best;
	sum->plans++;
}

static int64_t per_mille(const struct tally *sum) { return sum->paid * 1000 / sum->due; }

/* Devices one by one, wherever they are or on nodes of a label: what goes costs little more than the least that is
 * possible, nobody of a higher rank goes while those below suffice, and nobody who is late while the others do. */
static void single_devices_cost_the_least(void **state)
{
	struct require odd = {.key = "odd", .value = "yes"};
	struct yard y = {0};
	struct arena arena = {0};
	struct tally sum = {0};

	(void)state;
	prng_seed(&y.prng, 7);
	for (int run = 0; run < 450; run++) {
		struct place_ask ask = {.flavor = 1, .shape = SHAPE_GPU, .klass = CLASS_LOAN, .requires = &odd,
					.requires_n = run % 4 == 3};
		uint32_t free = 0, need, rank = 0;
		struct recall plan;
		int64_t cost = 0, best = -1;
		uint64_t gives = 0;

		yard_open(&y);
		for (uint32_t i = 1; i <= YARD_NODES; i++) {
			const struct node_s *n = node_of(y.core, i);

			if (n->r.state == NODE_READY && n->r.admin == NODE_ENABLED && (!ask.requires_n || n->r.labels_n))
				free += popcount64(0xff & ~n->held & ~n->claimed);
		}
		need = 1 + below(&y, run % 3 == 0 ? 3 : run % 3 == 1 ? 12 : 60);
		ask.klass = CLASS_GUARANTEED;
		ask.units = free + need;
		for (; rank < 20 && best < 0; rank++)
			best = least(&y, &ask, need, rank);
		if (best < 0)
			goto next;
		assert_true(recall_plan(y.core, YARD_T, &ask, 15 * MS_PER_MIN, true, &arena, &plan));
		for (uint32_t i = 0; i < plan.ids_n; i++) {
			struct item item = item_of(&y, alloc_of(y.core, plan.ids[i]), &ask);

			assert_true(item.rank < rank);
			cost += item.cost;
			gives += item.gives;
		}
		assert_true(gives >= need);
		if (need <= 3 && !ask.requires_n)
			assert_true(cost == best); /* so few are on the list that every set of them is looked at */
		tally(&sum, cost, best);
next:
		arena_reset(&arena);
		core_free(y.core);
	}
	printf("%u plans, %u the cheapest, %" PRId64 " per mille of the optimum\n", sum.plans, sum.exact, per_mille(&sum));
	assert_true(sum.plans > 300);
	assert_true(sum.paid * 1000 <= sum.due * 1020);
	arena_done(&arena);
}

/* A node, or the nodes of a gang: what emptying it costs, and how many suitable nodes that makes free; gives 0: not at all. */
static struct item node_item(const struct yard *y, uint32_t node, const struct place_ask *ask)
{
	const struct node_s *n = node_of(y->core, node);
	struct item item = {0};

	for (uint32_t i = 0; i < n->units_n; i++) {
		const struct alloc_s *a = alloc_of(y->core, n->units[i].alloc);
		struct item one = item_of(y, a, ask);

		if (a->r.state == ALLOC_ACTIVE && a->r.notice_ms > MS_PER_HOUR)
			return (struct item){0}; /* not back in time */
		if (a->r.parts_n > 1)
			return (struct item){one.cost, one.rank, a->r.parts->node == node ? one.gives / YARD_DEVICES : 0};
		item.cost += one.cost;
		item.rank = one.rank > item.rank ? one.rank : item.rank;
	}
	item.gives = n->r.state == NODE_READY && n->r.admin == NODE_ENABLED && (!ask->requires_n || n->r.labels_n) && !n->claimed;
	return item;
}

/* The least that it costs to have `need` whole nodes, by dynamic programming; -1. */
static int64_t least_nodes(const struct yard *y, const struct place_ask *ask, uint32_t need, uint32_t rank)
{
	int64_t least[YARD_NODES + 1];

	for (uint32_t k = 0; k <= need; k++)
		least[k] = k ? -1 : 0;
	for (uint32_t i = 1; i <= YARD_NODES; i++) {
		struct item item = node_item(y, i, ask);

		for (uint32_t k = need; item.gives && item.rank <= rank && k > 0; k--) {
			int64_t rest = least[k > item.gives ? k - item.gives : 0];

			if (rest >= 0 && (least[k] < 0 || rest + item.cost < least[k]))
				least[k] = rest + item.cost;
		}
	}
	return least[need];
}

/* The same of whole nodes, asked for as such or as all devices of one: gangs on several of them go as wholes. */
static void whole_nodes_cost_the_least(void **state)
{
	struct require odd = {.key = "odd", .value = "yes"};
	struct yard y = {0};
	struct arena arena = {0};
	struct tally sum = {0};
	uint32_t gangs = 0;

	(void)state;
	prng_seed(&y.prng, 11);
	for (int run = 0; run < 600; run++) {
		struct place_ask ask = {.flavor = 1, .shape = run % 2 ? SHAPE_NODE : SHAPE_GPU, .klass = CLASS_GUARANTEED,
					.requires = &odd, .requires_n = run % 8 >= 6};
		uint32_t need, rank = 0;
		struct recall plan;
		int64_t cost = 0, best = -1;

		yard_open(&y);
		need = 1 + below(&y, 8);
		ask.units = run % 2 ? need : need * YARD_DEVICES;
		ask.chunk = run % 2 ? 0 : YARD_DEVICES;
		for (; rank < 20 && best < 0; rank++)
			best = least_nodes(&y, &ask, need, rank);
		if (best < 0)
			goto next;
		assert_true(recall_plan(y.core, YARD_T, &ask, 15 * MS_PER_MIN, true, &arena, &plan));
		assert_int_equal(plan.parts_n, need);
		for (uint32_t i = 0; i < plan.parts_n; i++)
			assert_int_equal(plan.parts[i].devices, 0xff);
		for (uint32_t i = 0; i < plan.ids_n; i++) {
			struct item item = item_of(&y, alloc_of(y.core, plan.ids[i]), &ask);

			assert_true(item.rank < rank);
			cost += item.cost;
			gangs += alloc_of(y.core, plan.ids[i])->r.parts_n > 1;
		}
		tally(&sum, cost, best);
next:
		arena_reset(&arena);
		core_free(y.core);
	}
	printf("%u plans of whole nodes, %u the cheapest, %u gangs go, %" PRId64 " per mille of the optimum\n", sum.plans,
	       sum.exact, gangs, per_mille(&sum));
	assert_true(sum.plans > 400);
	assert_true(gangs > 100);
	assert_true(sum.paid * 1000 <= sum.due * 1055); /* as near as a look at all of them comes */
	arena_done(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(single_devices_cost_the_least),
		cmocka_unit_test(whole_nodes_cost_the_least),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
