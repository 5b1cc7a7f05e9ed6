/* hall.h - a machine hall around the core, made of records alone
 *
 * For tests and benchmarks of placing that need more nodes, or stranger ones, than commands make in
 * reasonable time: a cluster, flavors, a root of the quota tree, nodes, and allocations that hold what
 * place() gave. Everything goes in by core_apply(), as it does when sluisd starts.
 */
#ifndef SLUIS_TESTS_LIB_HALL_H
#define SLUIS_TESTS_LIB_HALL_H

#include "daemon/core/state.h"

enum { HALL_ROOT = 1, HALL_CORES = 64, HALL_MEMORY_MIB = 1 << 20 };

struct hall {
	struct core *core;
	uint32_t nodes_n;
	uint64_t allocs_n; /* made so far: ids 1.. */
	uint64_t claims_n;
	struct arena arena; /* of the last placement */
};

/* A core with a root that owns `whole` nodes of flavor 1, "gpu", `devices` on a node. */
void hall_open(struct hall *h, uint32_t devices, int64_t whole);
void hall_close(struct hall *h);
/* Another flavor, counted in `unit`. */
void hall_flavor(struct hall *h, uint16_t id, uint8_t unit, uint32_t devices);

/* Start of a node's record: `devices` healthy ones of flavor 1 in two NUMA halves, HALL_CORES cores,
 * HALL_MEMORY_MIB, ready. The arrays are the caller's; labels: leaf and pod, each may be "". */
struct node hall_node(uint32_t id, uint32_t devices, struct device *dev, const char *leaf, const char *pod,
		      struct label label[2]);
void hall_put(struct hall *h, const struct node *n);

/* An allocation of these parts, or a claim on them. Returns its id. */
uint64_t hall_hold(struct hall *h, const struct place_ask *ask, struct part *parts, uint32_t n);
void hall_drop(struct hall *h, uint64_t alloc);
uint64_t hall_claim(struct hall *h, const struct place_ask *ask, struct part *parts, uint32_t n);
void hall_unclaim(struct hall *h, uint64_t claim);

/* place(); the parts live until the next call. */
int hall_place(struct hall *h, const struct place_ask *ask, struct part **ret_parts, uint32_t *ret_n);
/* Place and hold; 0 if it does not fit. */
uint64_t hall_start(struct hall *h, const struct place_ask *ask);

#endif
