/* bench_place.c - what a placement costs, asked of the core itself: "name: value unit" lines
 *
 * place() over a core that holds allocations as sluisd's does, 95 % full of jobs of 1, 2, 4 and 8 devices
 * and gangs of 2 to 16 whole nodes. A decision is one place(); beside it stands what the whole step costs,
 * with the facts that start the job and end another one applied. The same at 100, 1,000 and 10,240 nodes:
 * what grows with the cluster would show.
 *
 * Each figure is the best of three runs, on whatever the machine is: compare figures of one machine only.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "daemon/core/roster.h"
#include "proto/base/buf.h"
#include "proto/base/prng.h"
#include "tests/lib/hall.h"

enum { RUNS = 2, DEVICES = 8, LEAF = 32, POD = 512, SIZES = 8 };

static void say(const char *name, uint32_t nodes, double value, const char *unit)
{
	(void)printf("%s, %u nodes: %.4g %s\n", name, nodes, value, unit);
}

struct running { uint64_t alloc; uint32_t devices; };
struct load {
	struct hall h;
	struct prng r;
	struct running *job;
	uint32_t job_n, used, capacity;
};

static void open_load(struct load *l, uint32_t nodes)
{
	*l = (struct load){.capacity = nodes * DEVICES};
	prng_seed(&l->r, 2);
	hall_open(&l->h, DEVICES, 0);
	l->job = xcalloc(l->capacity, sizeof *l->job);
	for (uint32_t id = 1; id <= nodes; id++) {
		struct device dev[DEVICES];
		struct label label[2];
		char leaf[16], pod[16];
		struct node n;

		(void)snprintf(leaf, sizeof leaf, "l%u", (id - 1) / LEAF);
		(void)snprintf(pod, sizeof pod, "p%u", (id - 1) / POD);
		n = hall_node(id, DEVICES, dev, leaf, pod, label);
		hall_put(&l->h, &n);
	}
}

static void close_load(struct load *l)
{
	hall_close(&l->h);
	free(l->job);
}

static struct place_ask next_ask(struct load *l, bool gangs)
{
	static const uint8_t sizes[SIZES] = {1, 1, 1, 2, 2, 4, 4, 8};
	struct place_ask ask = {.flavor = 1, .klass = CLASS_LOAN};

	if (gangs && prng_below(&l->r, 50) == 0) {
		ask.shape = SHAPE_NODE;
		ask.units = 2 + (uint32_t)prng_below(&l->r, 15);
		return ask;
	}
	ask.units = sizes[prng_below(&l->r, SIZES)];
	return ask;
}

static void end_one(struct load *l)
{
	uint32_t k = (uint32_t)prng_below(&l->r, l->job_n);

	hall_drop(&l->h, l->job[k].alloc);
	l->used -= l->job[k].devices;
	l->job[k] = l->job[--l->job_n];
}

struct figure { double place_ns, step_ns, full, refused; };

/* CPU time: others may be using the machine. */
static int64_t cpu_ns(void)
{
	struct timespec t;

	ENSURE(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* Make room, place, start. False if it did not fit. */
static bool step(struct load *l)
{
	struct place_ask ask = next_ask(l, true);
	struct part *parts;
	uint32_t n;

	while (l->used > l->capacity / 100 * 95)
		end_one(l);
	if (hall_place(&l->h, &ask, &parts, &n))
		return false;
	l->job[l->job_n++] = (struct running){hall_hold(&l->h, &ask, parts, n),
					      (uint32_t)in_devices(l->h.core, 1, ask.shape, ask.units)};
	l->used += l->job[l->job_n - 1].devices;
	return true;
}

static struct figure run(uint32_t nodes, uint32_t steps)
{
	enum { BATCH = 64 };
	struct figure f = {0};
	struct load l;
	int64_t t0, place_ns = 0;
	uint32_t refused = 0;

	open_load(&l, nodes);
	for (uint32_t i = 0; i < nodes * DEVICES; i++)
		(void)step(&l);
	t0 = cpu_ns();
	for (uint32_t i = 0; i < steps; i++)
		refused += !step(&l);
	f.step_ns = (double)(cpu_ns() - t0) / steps;
	for (uint32_t i = 0; i < steps; i += BATCH) { /* decisions alone, over states that go on changing */
		struct place_ask ask[BATCH];

		for (int k = 0; k < BATCH; k++) {
			(void)step(&l);
			ask[k] = next_ask(&l, true);
		}
		t0 = cpu_ns();
		for (int k = 0; k < BATCH; k++) {
			struct part *parts;
			uint32_t n;

			(void)hall_place(&l.h, &ask[k], &parts, &n);
		}
		place_ns += cpu_ns() - t0;
	}
	f.place_ns = (double)place_ns / steps;
	f.full = 100.0 * l.used / l.capacity;
	f.refused = 100.0 * refused / steps;
	close_load(&l);
	return f;
}

/* A gang of eight of one node in five, whole and free. */
static double run_gang(uint32_t nodes, uint32_t steps)
{
	struct place_ask one = {.flavor = 1, .klass = CLASS_LOAN, .units = 1}, gang = {.flavor = 1, .shape = SHAPE_NODE,
			       .klass = CLASS_LOAN, .units = 8};
	struct load l;
	struct part *parts;
	uint32_t n;
	int64_t t0;

	open_load(&l, nodes);
	for (uint32_t id = 1; id <= nodes; id++) { /* one device of the others is taken */
		struct part p = {.node = id, .devices = 1, .units = 1};

		if (id % 5)
			(void)hall_hold(&l.h, &one, &p, 1);
	}
	t0 = cpu_ns();
	for (uint32_t i = 0; i < steps; i++)
		ENSURE(hall_place(&l.h, &gang, &parts, &n) == 0);
	t0 = cpu_ns() - t0;
	close_load(&l);
	return (double)t0 / steps;
}

int main(void)
{
	static const uint32_t sizes[] = {100, 1000, 10240};

	for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
		struct figure best = {.place_ns = 1e18, .step_ns = 1e18};
		double gang = 1e18;

		for (int i = 0; i < RUNS; i++) {
			struct figure f = run(sizes[s], 500000);
			double g = run_gang(sizes[s], 20000);

			best.place_ns = f.place_ns < best.place_ns ? f.place_ns : best.place_ns;
			best.step_ns = f.step_ns < best.step_ns ? f.step_ns : best.step_ns;
			best.full = f.full;
			best.refused = f.refused;
			gang = g < gang ? g : gang;
		}
		say("placement fill", sizes[s], best.full, "%");
		say("placement refused", sizes[s], best.refused, "%");
		say("placement decision", sizes[s], best.place_ns, "ns");
		say("placement decisions", sizes[s], 1e9 / best.place_ns, "1/s");
		say("placement with start and end as facts", sizes[s], best.step_ns, "ns");
		say("gang of 8 whole nodes placed", sizes[s], gang, "ns");
	}
	return 0;
}
