/* bench_recall.c - what it costs to find who has to go: "name: value unit" lines
 *
 * A cluster full of loans, the state made of records as after a restart. A provider asks for whole nodes of
 * its own nominal, all of them lent out. Timed: the plan alone (recall_plan: victims and their devices, one
 * place() included), then the whole step: plan, claim, every victim told, facts applied.
 *
 *     bench_recall [NODES [GPUS]]     (10240 nodes of 8, 16000 GPUs recalled)
 */
#include "daemon/core/core.h"
#include "daemon/core/state.h"
#include "proto/base/prng.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DEVICES = 8, RUNS = 5, PROJECTS = 20, CHAT = PROJECTS + 4 };
static const int64_t T0 = INT64_C(1800000000000);

struct world { struct core *core; struct prng prng; uint32_t nodes; uint64_t loans; };

/* Processor time: others on the machine do not count. */
static int64_t now_ns(void)
{
	struct timespec ts;

	ENSURE(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts) == 0);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static void put(struct world *w, uint8_t kind, uint64_t id, const void *rec)
{
	struct fact f = {.kind = kind, .id = id, .any = rec};

	core_apply(w->core, &f);
}

static void divide(struct world *w)
{
	struct flavor flavor = {.id = 1, .name = "h100", .weight_milli = 1000, .devices_per_node = DEVICES,
				.committed_nodes = w->nodes, .scrub_ms_max = 10 * MS_PER_S};
	struct cluster cluster = {.name = "bench", .next_job = 1, .next_lease = 2, .next_alloc = 1, .next_claim = 1,
				  .next_node = w->nodes + 1, .next_qnode = PROJECTS + 5, .next_flavor = 2,
				  .bind_timeout_ms = MS_PER_HOUR, .notice_ms = MS_PER_MIN,
				  .kill_margin_ms = 10 * MS_PER_S, .lost_after_ms = MS_PER_HOUR};
	struct quota quota = {1, SHAPE_NODE, w->nodes - 2, QTY_UNLIMITED, QTY_UNLIMITED};
	struct qnode q = {.id = 1, .kind = QNODE_ROOT, .name = "root", .weight = 1};

	put(w, RECORD_CLUSTER, 1, &cluster);
	put(w, RECORD_FLAVOR, 1, &flavor);
	put(w, RECORD_QNODE, 1, &q);
	q = (struct qnode){.id = 2, .kind = QNODE_PUBLIC, .name = "public", .parent = 1, .weight = 1};
	put(w, RECORD_QNODE, 2, &q);
	q = (struct qnode){.id = 3, .kind = QNODE_PRIVATE, .name = "private", .parent = 1, .weight = 1};
	put(w, RECORD_QNODE, 3, &q);
	for (uint32_t i = 0; i < PROJECTS; i++) {
		q = (struct qnode){.id = 4 + i, .kind = QNODE_PROJECT, .parent = 2, .weight = 1};
		(void)snprintf(q.name, sizeof q.name, "project-%u", i);
		put(w, RECORD_QNODE, q.id, &q);
	}
	q = (struct qnode){.id = CHAT, .kind = QNODE_PROVIDER, .name = "chat", .parent = 3, .weight = 1,
			   .quotas = &quota, .quotas_n = 1};
	put(w, RECORD_QNODE, q.id, &q);
}

static void nodes_put(struct world *w)
{
	for (uint32_t i = 1; i <= w->nodes; i++) {
		struct device dev[DEVICES] = {0};
		struct label leaf = {.key = "leaf"};
		struct node n = {.id = i, .state = NODE_READY, .cores_n = 64, .memory_mib = 1 << 20, .devices_n = DEVICES,
				 .devices = dev, .labels = &leaf, .labels_n = 1, .digest = {1}};

		(void)snprintf(n.name, sizeof n.name, "n%05u", i);
		(void)snprintf(leaf.value, sizeof leaf.value, "leaf%03u", (i - 1) / 32);
		for (uint16_t k = 0; k < DEVICES; k++) {
			dev[k].flavor = 1;
			dev[k].numa = k / 4;
			dev[k].cores[0] = UINT64_C(0xff) << k * 8;
		}
		put(w, RECORD_NODE, i, &n);
	}
}

/* A running loan over `nodes_n` nodes from `node`, devices [first, first + each) of each. */
static void loan(struct world *w, uint32_t node, uint32_t nodes_n, uint32_t first, uint32_t each)
{
	uint64_t id = ++w->loans;
	struct part *parts = xcalloc(nodes_n, sizeof *parts);
	int64_t start = T0 - (int64_t)prng_below(&w->prng, 20 * (uint64_t)MS_PER_HOUR);
	struct job j = {.id = id, .state = JOB_RUNNING, .submit_ms = start, .start_ms = start, .first_start_ms = start,
			.alloc = id, .attempt = 1,
			.spec = {.project = 4 + (uint32_t)(id % PROJECTS), .flavor = 1, .units = nodes_n * each,
				 .klass = prng_below(&w->prng, 4) ? JOB_NORMAL : JOB_STANDBY, .loan = LOAN_ONLY,
				 .time_limit_ms = MS_PER_DAY, .name = "train"}};
	struct alloc a = {.id = id, .owner = id, .attempt = 1, .qnode = j.spec.project, .flavor = 1,
			  .klass = CLASS_LOAN, .state = ALLOC_ACTIVE, .units = nodes_n * each, .created_ms = start,
			  .start_ms = start, .limit_ms = start + MS_PER_DAY, .notice_ms = MS_PER_MIN,
			  .charged_until_ms = start, .parts = parts, .parts_n = nodes_n};

	if (prng_below(&w->prng, 2)) {
		j.checkpoint_ms = start + (T0 - start) / 2;
		j.checkpoint_step = 1;
	}
	for (uint32_t i = 0; i < nodes_n; i++) {
		parts[i] = (struct part){.index = (uint16_t)i, .node = node + i, .state = PART_RUNNING, .units = each,
					 .devices = ((UINT64_C(1) << each) - 1) << first, .memory_mib = each << 16};
		parts[i].cores[0] = (each == 8 ? ~UINT64_C(0) : (UINT64_C(1) << each * 8) - 1) << first * 8;
	}
	put(w, RECORD_JOB, id, &j);
	put(w, RECORD_ALLOC, id, &a);
	free(parts);
}

/* All but a few nodes full: of single devices, or of everything from one device to gangs of 64 nodes. */
static void fill(struct world *w, bool mixed)
{
	struct cluster cluster;
	uint32_t full = w->nodes - w->nodes / 43; /* 80,000 of 81,920 */

	for (uint32_t n = 1; n <= full;) {
		uint64_t kind = mixed ? prng_below(&w->prng, 100) : 0;
		uint32_t gang = kind < 90 ? 1 : 2u << prng_below(&w->prng, 6);

		if (gang > full + 1 - n)
			gang = 1;
		if (mixed && kind >= 75)
			loan(w, n, gang, 0, 8);
		else
			for (uint32_t k = 0, each; k < 8; k += each) {
				each = !mixed ? 1 : 1u << prng_below(&w->prng, 3);
				if (k + each > 8)
					each = 8 - k;
				loan(w, n, 1, k, each);
			}
		n += gang;
	}
	cluster = *core_cluster(w->core);
	cluster.next_job = cluster.next_alloc = w->loans + 1;
	put(w, RECORD_CLUSTER, 1, &cluster);
}

static void bench(const char *name, uint32_t nodes, uint32_t gpus, bool mixed)
{
	struct world w = {.core = core_new(), .nodes = nodes};
	struct place_ask ask = {.flavor = 1, .shape = SHAPE_NODE, .units = gpus / DEVICES};
	struct lease lease = {.id = 1, .state = LEASE_REQUESTED,
			      .spec = {.provider = CHAT, .flavor = 1, .shape = SHAPE_NODE, .units = gpus / DEVICES,
				       .auto_accept = true, .ttl_ms = MS_PER_HOUR, .term_ms = MS_PER_DAY}};
	struct command tick = {.type = CMD_TICK};
	struct decision d = {0};
	struct arena arena = {0};
	struct recall plan = {0};
	double best = 1e18, step = 0;
	uint64_t freed = 0;
	struct err err;
	int64_t t0;

	prng_seed(&w.prng, 1);
	divide(&w);
	nodes_put(&w);
	fill(&w, mixed);
	for (int i = 0; i < RUNS; i++) {
		arena_reset(&arena);
		t0 = now_ns();
		ENSURE(recall_plan(w.core, T0, &ask, 15 * MS_PER_MIN, true, &arena, &plan));
		t0 = now_ns() - t0;
		if ((double)t0 < best)
			best = (double)t0;
	}
	for (uint32_t i = 0; i < plan.ids_n; i++)
		freed += core_alloc(w.core, plan.ids[i])->units;
	put(&w, RECORD_LEASE, 1, &lease);
	for (int ticks = 0; ticks < 3 && !w.core->claims.count; ticks++) {
		t0 = now_ns();
		ENSURE(core_decide(w.core, T0, &tick, &d, &err) == 0);
		for (uint32_t i = 0; i < d.facts_n; i++)
			core_apply(w.core, &d.facts[i]);
		step += (double)(now_ns() - t0);
	}
	printf("recall %s, loans: %" PRIu64 " of %u nodes\n", name, w.loans, nodes);
	printf("recall %s, asked: %u GPUs in whole nodes\n", name, gpus);
	printf("recall %s, victims: %u loans that hold %" PRIu64 " GPUs\n", name, plan.ids_n, freed);
	printf("recall %s, plan: %.3g ms\n", name, best / 1e6);
	printf("recall %s, whole step: %.3g ms, %u facts\n", name, step / 1e6, d.facts_n);
	arena_done(&arena);
	decision_done(&d);
	core_free(w.core);
}

int main(int argc, char **argv)
{
	uint32_t nodes = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 10240;
	uint32_t gpus = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 16000;

	bench("of single-GPU loans", nodes, gpus, false);
	bench("of mixed loans", nodes, gpus, true);
	bench("of single-GPU loans, one node more than are free", nodes, (nodes / 43 + 1) * DEVICES, false);
	bench("of mixed loans, one node more than are free", nodes, (nodes / 43 + 1) * DEVICES, true);
	return 0;
}
