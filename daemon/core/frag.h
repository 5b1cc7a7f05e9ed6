/* frag.h - fragmentation: what of a node is free and yet of no use to those who usually ask
 *
 * Fragmentation of a node is the device amount on it that a request drawn from the typical ones cannot use,
 * in the mean. To place is to choose where it grows least (or shrinks most); the difference is cut into
 * steps, because coarse scores with a fixed order behind them pack better than exact ones.
 *
 * Integers only: frequencies stay weights, and the sigmoid that maps a difference to a step is a table.
 *
 * Source: Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation
 * Gradient Descent", USENIX ATC 2023; steps and order: scheduling study 2.4.
 */
#ifndef SLUIS_DAEMON_CORE_FRAG_H
#define SLUIS_DAEMON_CORE_FRAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/limits.h"

enum { FRAG_DEVICE = 1000 /* one device, in milli */, FRAG_STEPS = 100 };

/* What a request wants on one node. */
struct frag_shape {
	int32_t cpu_milli, memory_mib;
	int32_t devices;      /* so many, */
	int32_t device_milli; /* and so much of each */
	uint32_t models;      /* bits: kinds that will do */
};

/* What a node has left. */
struct frag_node {
	int32_t cpu_milli, memory_mib;
	int32_t devices;
	uint32_t model; /* bit: its kind */
	int32_t device_milli[DEVICES_PER_NODE_MAX];
};

/* The typical requests, without regard to memory. */
struct frag_typical { struct frag_shape shape; int64_t weight; };
struct frag_mix {
	const struct frag_typical *typical;
	size_t n;
	int64_t weight; /* sum */
};

/* A part of one device. */
static inline bool frag_is_share(const struct frag_shape *s) { return s->devices == 1 && s->device_milli < FRAG_DEVICE; }
bool frag_fits(const struct frag_node *n, const struct frag_shape *s);
int64_t frag_left(const struct frag_node *n); /* milli-devices */

/* The milli-devices that a typical request cannot use, times mix->weight. Requests without devices use none.
 * O(typical x devices). */
int64_t frag_lost(const struct frag_mix *mix, const struct frag_node *n);

/* A node after `s` was taken from it: a share from device `at`, else the first whole ones. It must fit. */
struct frag_node frag_after(const struct frag_node *n, const struct frag_shape *s, int32_t at);
void frag_take(struct frag_node *n, const struct frag_shape *s, int32_t at);

/* The step, 0..FRAG_STEPS - 1, of 100 sigmoid(gradient / 1000 / weight); more is better. `gradient` is what
 * frag_lost() was before less what it is after. */
int16_t frag_steps(int64_t gradient, int64_t weight);

#endif
