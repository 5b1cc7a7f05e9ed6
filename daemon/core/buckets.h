/* buckets.h - which nodes have how many free devices, in topology order
 *
 * One index per flavor. Nodes are numbered 0..n-1 in topology order, leaf by leaf. Each number of free
 * devices has a set of nodes, each number of wholly free nodes a set of leaves; a set is a bitmap with
 * a summary bitmap on top, so "the first node with at least k free" is a few find-first-set and the
 * work does not depend on how full the cluster is.
 *
 * Choices are always the smallest that suffices, and among equals the first in topology order. That
 * keeps whole nodes and whole leaves free, and equal inputs give equal placements.
 *
 * Free means: may be given out now. Whoever owns the devices keeps the index up to date.
 */
#ifndef SLUIS_DAEMON_CORE_BUCKETS_H
#define SLUIS_DAEMON_CORE_BUCKETS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/err.h"
#include "proto/base/limits.h"

#define BUCKETS_NONE UINT32_MAX
#define BUCKETS_OUT UINT8_MAX

/* A set of small numbers: bit per number, bit per non-zero word. */
struct idset {
	uint64_t *word;
	uint64_t *summary;
	uint32_t words;
};

struct buckets {
	uint32_t nodes_n;
	uint32_t leaves_n;
	uint32_t devices;     /* per node */
	uint8_t *free;        /* [node] free devices, or BUCKETS_OUT */
	struct idset *nodes;  /* [k] nodes with k free, k = 1..devices */
	struct idset levels;  /* the k whose set is not empty */
	uint32_t *level_n;    /* [k] size of it */
	uint32_t *leaf_of;    /* [node] */
	uint32_t *leaf_begin; /* [leaf] first node; [leaves_n] = nodes_n */
	uint32_t *whole;      /* [leaf] wholly free nodes */
	struct idset *leaves; /* [w] leaves with w wholly free nodes, w = 1..widest leaf */
	struct idset widths;  /* the w whose set is not empty */
	uint32_t *width_n;
	uint32_t widest;
};

/* An index of `nodes_n` (> 0) nodes of `devices` each (1..DEVICES_PER_NODE_MAX), all out of service.
 * leaf_of[i] is the leaf of node i: 0 first, each next one the same or one more. Copied.
 * Memory: about nodes_n * (devices + 48) / 8 bytes. buckets_done() accepts a zeroed object. */
void buckets_init(struct buckets *b, uint32_t nodes_n, uint32_t devices, const uint32_t *leaf_of);
void buckets_done(struct buckets *b);

/* Node has `free` devices free (0..devices), or is out of service. O(1). */
void buckets_put(struct buckets *b, uint32_t node, uint32_t free);
void buckets_out(struct buckets *b, uint32_t node);

/* The node with the fewest free devices that still has `need` (1..devices), the first in topology
 * order; BUCKETS_NONE if there is none. O(1). */
uint32_t buckets_pick(const struct buckets *b, uint32_t need);

/* The candidate after `node` in the order of buckets_pick(), for a caller to whom `node` does not
 * suit (memory, labels); BUCKETS_NONE after the last. O(1). */
uint32_t buckets_next(const struct buckets *b, uint32_t node);

/* `count` (1..nodes_n) wholly free nodes, close together: from the leaf that has the fewest sufficient;
 * if no leaf has enough, unless `one_leaf`, from as few leaves as possible, the fullest first and the
 * rest from the leaf that fits it best. Fills ret_nodes, ascending within each leaf.
 * ERR_NOROOM if there are not enough. Nothing is taken: the caller puts the nodes.
 * Cost: O(leaves used + count). */
int buckets_gang(const struct buckets *b, uint32_t count, bool one_leaf, uint32_t *ret_nodes, struct err *err) NODISCARD;

/* Wholly free nodes in all, and in the leaf that has most. */
uint32_t buckets_whole(const struct buckets *b);
uint32_t buckets_widest(const struct buckets *b);

/* Abort unless sets, summaries and counters agree with free[]. For tests. O(nodes x devices). */
void buckets_check(const struct buckets *b);

#endif
