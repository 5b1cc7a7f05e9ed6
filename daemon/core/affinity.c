/* affinity.c - see affinity.h
 *
 * The table of a node with n devices: for each set of free ones and each k the best set. It is filled from
 * the sums of all sets and the cheapest choice out of each, by walking the subsets of every set: 3^n steps,
 * 6,561 for eight devices.
 *
 * Source: scheduling study 2.4; the buddy cells are those of HiveD (OSDI 2020), taken from the links
 * instead of being declared.
 */
#include "daemon/core/affinity.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/bits.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/limits.h"

enum { SETS = 1 << AFFINITY_TABLE_MAX };

struct affinity {
	uint32_t n;
	uint8_t *cost; /* [n][n] */
	uint8_t (*best)[AFFINITY_TABLE_MAX + 1]; /* [set][k]; NULL: too many devices */
};

static unsigned lowest(uint64_t set) { return (unsigned)__builtin_ctzll(set); }

static uint8_t between(const struct device *a, const struct device *b, unsigned bit_of_b)
{
	bool linked = a->peers >> bit_of_b & 1, near = a->numa == b->numa;

	if (!strcmp(a->pci, b->pci) && a->pci[0])
		return AFFINITY_CHIP;
	if (linked)
		return near ? AFFINITY_LINK : AFFINITY_CROSS;
	return near ? AFFINITY_NUMA : AFFINITY_APART;
}

static unsigned cost_of(const struct affinity *a, unsigned i, unsigned k) { return a->cost[i * a->n + k]; }

uint32_t affinity_cost(const struct affinity *a, uint64_t set)
{
	uint32_t sum = 0;

	for (uint64_t m = set; m; m &= m - 1)
		for (uint64_t o = m & (m - 1); o; o &= o - 1)
			sum += cost_of(a, lowest(m), lowest(o));
	return sum;
}

/* ---- the table ------------------------------------------------------------------------------------- */

void affinity_prepare(struct affinity *a)
{
	uint32_t sets;
	uint32_t sum[SETS];
	uint32_t (*least)[AFFINITY_TABLE_MAX + 1]; /* cost of the best k of a set */
	uint32_t damage[SETS];

	if (a->n > AFFINITY_TABLE_MAX || a->best)
		return;
	sets = UINT32_C(1) << a->n;
	least = xmalloc(SETS * sizeof *least);
	memset(least, 0xff, SETS * sizeof *least);
	a->best = xcalloc(sets, sizeof *a->best);
	for (uint32_t set = 0; set < sets; set++)
		sum[set] = affinity_cost(a, set);
	for (uint32_t set = 0; set < sets; set++) {
		for (uint32_t sub = set;; sub = (sub - 1) & set) {
			if (sum[sub] < least[set][popcount64(sub)])
				least[set][popcount64(sub)] = sum[sub];
			if (!sub)
				break;
		}
		damage[set] = 0;
		for (unsigned k = 2; k <= popcount64(set); k *= 2)
			damage[set] += least[set][k];
	}
	for (uint32_t set = 0; set < sets; set++)
		for (uint32_t sub = set; sub; sub = (sub - 1) & set) { /* descending: the smallest of equals stays */
			uint8_t *best = &a->best[set][popcount64(sub)];

			if (sum[sub] > least[set][popcount64(sub)])
				continue;
			if (!*best || damage[set ^ sub] <= damage[set ^ *best])
				*best = (uint8_t)sub;
		}
	free(least);
}

struct affinity *affinity_new(const struct device *devices, uint32_t n)
{
	struct affinity *a = xcalloc(1, sizeof *a);

	ENSURE(n <= DEVICES_PER_NODE_MAX);
	a->n = n;
	a->cost = xcalloc(n ? (size_t)n * n : 1, 1);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < n; k++)
			a->cost[i * n + k] = i == k ? 0 : between(&devices[i], &devices[k], k);
	return a;
}

void affinity_free(struct affinity *a)
{
	if (!a)
		return;
	free(a->cost);
	free(a->best);
	free(a);
}

bool affinity_equal(const struct affinity *a, const struct affinity *b)
{
	return a->n == b->n && !memcmp(a->cost, b->cost, (size_t)a->n * a->n);
}

uint64_t affinity_hash(const struct affinity *a)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325) ^ a->n; /* FNV-1a */

	for (uint32_t i = 0; i < a->n * a->n; i++)
		h = (h ^ a->cost[i]) * UINT64_C(0x100000001b3);
	return h;
}

/* ---- the search --------------------------------------------------------------------------------------- */

struct grown { uint64_t set; uint32_t cost, near; };

/* From `seed`, whoever is nearest to those that are in. */
static struct grown grow(const struct affinity *a, uint64_t avail, unsigned seed, unsigned k)
{
	struct grown g = {.set = UINT64_C(1) << seed};
	uint32_t sum[DEVICES_PER_NODE_MAX];

	for (uint64_t m = avail & ~g.set; m; m &= m - 1)
		sum[lowest(m)] = cost_of(a, seed, lowest(m));
	while (popcount64(g.set) < k) {
		unsigned next = UINT32_MAX;

		for (uint64_t m = avail & ~g.set; m; m &= m - 1)
			if (next == UINT32_MAX || sum[lowest(m)] < sum[next])
				next = lowest(m);
		g.set |= UINT64_C(1) << next;
		g.cost += sum[next];
		for (uint64_t m = avail & ~g.set; m; m &= m - 1)
			sum[lowest(m)] += cost_of(a, next, lowest(m));
	}
	for (uint64_t m = avail & ~g.set; m; m &= m - 1)
		g.near += k * AFFINITY_APART - sum[lowest(m)];
	return g;
}

uint64_t affinity_pick(const struct affinity *a, uint64_t avail, unsigned k)
{
	struct grown best = {0};

	ENSURE(k >= 1);
	ENSURE(k <= popcount64(avail));
	if (a->best)
		return a->best[avail][k];
	if (k == popcount64(avail))
		return avail;
	for (uint64_t m = avail; m; m &= m - 1) {
		struct grown g = grow(a, avail, lowest(m), k);

		if (!best.set || g.cost < best.cost ||
		    (g.cost == best.cost && (g.near < best.near || (g.near == best.near && g.set < best.set))))
			best = g;
	}
	return best.set;
}
