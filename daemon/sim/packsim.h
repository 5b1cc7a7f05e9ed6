/* packsim.h - placing a stream of pods on GPU nodes, one after the other
 *
 * Pods arrive, are placed or refused, and never leave: what counts is how much of the GPUs is in use
 * when a multiple of the capacity has been asked for. The stream is the list in order of name, shuffled,
 * then drawn from with replacement.
 *
 * Fragmentation of a node is the GPU amount on it that a pod drawn from the typical ones cannot use, in
 * the mean. Typical are the most frequent shapes that make up 95 % of the list.
 *
 * Source: Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation
 * Gradient Descent", USENIX ATC 2023, and its published artifact.
 */
#ifndef SLUIS_DAEMON_SIM_PACKSIM_H
#define SLUIS_DAEMON_SIM_PACKSIM_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/sim/openb.h"
#include "proto/base/err.h"

enum packsim_policy {
	PACK_RANDOM = 0, /* any node that fits */
	PACK_BESTFIT,    /* least left over, CPU and GPU weighed alike, in 100 steps */
	PACK_FGD,        /* least growth of fragmentation, in 100 steps; ties to the last node */
	PACK_SLUIS,      /* integer version of it; ties to the smaller node, then to the first */
	PACK_COUNT,
};
extern const char *const packsim_policy_names[PACK_COUNT];

struct packsim_result {
	uint64_t arrived, placed;
	int64_t capacity_milli;  /* of all GPUs */
	int64_t asked_milli;
	int64_t allocated_milli;
	double allocation_pct;   /* of the capacity */
	double fragmented_pct;   /* of the capacity */
	double fragmented_idle_pct; /* of what is idle */
};

/* What happened: each arrival, and how things stood from 0 on, half a per cent of the capacity asked for apart, and
 * at the end.
 * packsim_log_done() frees; it accepts a zeroed object. */
#define PACKSIM_NO_NODE UINT32_MAX
struct packsim_arrival { uint32_t pod, node; }; /* indexes into the lists; PACKSIM_NO_NODE: refused */
struct packsim_point { double asked_pct, allocated_pct, fragmented_pct; };
struct packsim_log {
	struct packsim_arrival *arrivals;
	struct packsim_point *points;
	size_t arrivals_n, points_n;
};
void packsim_log_done(struct packsim_log *log);

typedef void packsim_progress_fn(void *arg, size_t done, size_t all);

/* Place pods of `o` until they asked for until_milli/1000 of the GPU capacity. Same seed, same result.
 * `log`, empty, is filled; NULL: not wanted. ERR_INVAL when there is no GPU or no pod that asks for one.
 * Cost: O(arrivals x nodes), about 2 us per arrival on 1,213 nodes. */
int packsim_run(const struct openb *o, enum packsim_policy policy, uint64_t seed, int64_t until_milli,
		packsim_progress_fn *progress, void *arg, struct packsim_log *log, struct packsim_result *ret_result,
		struct err *err) NODISCARD;

#endif
