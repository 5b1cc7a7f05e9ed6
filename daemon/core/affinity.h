/* affinity.h - which of a node's free devices belong together
 *
 * Devices that talk to one another should be close: partitions of one chip, then over NVLink or XGMI, then on
 * one NUMA node. And what stays free should still be worth something: one device is taken from beside those
 * that are busy, not out of four that are free.
 *
 * Nodes of one type share one of these; nothing changes in it after it was made.
 */
#ifndef SLUIS_DAEMON_CORE_AFFINITY_H
#define SLUIS_DAEMON_CORE_AFFINITY_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/model/node.h"

/* What two devices are to one another. Sums over the pairs of a set are compared: a set with one pair that
 * crosses sockets is worse than one with any two pairs on one switch. */
enum {
	AFFINITY_CHIP = 0,   /* partitions of one PCI function */
	AFFINITY_LINK = 1,   /* NVLink or XGMI, the same NUMA node */
	AFFINITY_CROSS = 2,  /* NVLink or XGMI between NUMA nodes */
	AFFINITY_NUMA = 4,   /* the same NUMA node, no link */
	AFFINITY_APART = 8,
	AFFINITY_TABLE_MAX = 8, /* devices for which there is a table of all answers */
};

struct affinity;

/* That of a node with these devices (n <= DEVICES_PER_NODE_MAX). Copies what it keeps. O(n^2). */
struct affinity *affinity_new(const struct device *devices, uint32_t n);
/* Work every answer out, if there are not too many devices for that. Once per type of node: about 0.1 ms. */
void affinity_prepare(struct affinity *a);
void affinity_free(struct affinity *a);
bool affinity_equal(const struct affinity *a, const struct affinity *b);
uint64_t affinity_hash(const struct affinity *a);

/* `k` devices of `avail` (1 <= k <= its bits): least sum of pairs, then what the best pairs, fours and eights
 * of the rest would cost, then the smallest mask. O(1) with a table; with more devices a search that grows a
 * set from each device, of which the tightest is taken, then the one farthest from the rest:
 * O(bits x k x bits). */
uint64_t affinity_pick(const struct affinity *a, uint64_t avail, unsigned k);

/* Sum over the pairs of a set, in the units above. */
uint32_t affinity_cost(const struct affinity *a, uint64_t set);

#endif
