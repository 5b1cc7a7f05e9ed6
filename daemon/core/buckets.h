/* buckets.h - which nodes have how much free, in topology order
 *
 * One index per flavor. Nodes are numbered 0..n-1 in topology order: pod by pod, leaf by leaf. A bucket
 * is the set of nodes that are alike to whoever wants to place something: so many units free, so many of
 * them with their share of cores and memory, so large, broken or not. Sets are bitmaps with a summary
 * bitmap on top; so the best node is found by looking at the few buckets that are not empty, and the work
 * does not depend on how many nodes there are.
 *
 * The caller ranks the buckets (a score per bucket and shape, kept and extended as buckets appear); among
 * nodes of equal rank the first in topology order is next. Whole free nodes are counted per leaf and per
 * pod, for gangs.
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

/* A set of small numbers: bit per number, bit per non-zero word. */
struct idset {
	uint64_t *word;
	uint64_t *summary;
	uint32_t words;
};

/* Groups of nodes that are close to one another, innermost first. */
enum bucket_level { LEVEL_LEAF = 0, LEVEL_POD, LEVELS };

/* What an index holds of one node. Nothing free: in no bucket. */
struct bucket_key {
	uint16_t free;   /* units */
	uint16_t served; /* as many of them still find their share of cores and memory; <= free */
	uint16_t size;   /* units when idle */
	bool broken;     /* part of it is given to guaranteed work of less than a node */
	bool whole;      /* can be given away as a whole node */
};

struct bucket {
	struct bucket_key key; /* but for `whole` */
	uint32_t n;
	struct idset nodes;
};

struct level {
	uint32_t groups_n;
	uint32_t *of;       /* [node] its group */
	uint32_t *begin;    /* [group] first node; [groups_n] = nodes_n */
	bool *known;        /* [group] somebody said where it is */
	uint32_t *whole;    /* [group] wholly free nodes */
	uint32_t *free;     /* [group] free units */
	struct idset *set;  /* [w] groups with w wholly free nodes, w = 1..widest */
	struct idset widths; /* the w whose set is not empty */
	uint32_t *width_n;
	uint32_t widest;
};

struct buckets {
	uint32_t nodes_n;
	struct bucket_key *key; /* [node] */
	uint32_t *in;           /* [node] its bucket or BUCKETS_NONE */
	struct bucket *bucket;  /* in order of appearance; never moved, never removed */
	uint32_t buckets_n, buckets_cap;
	uint32_t *slot;         /* by key: open addressing, capacity a power of two; bucket + 1 */
	uint32_t slots;
	struct idset live;      /* buckets that are not empty */
	struct idset whole;     /* nodes that are wholly free */
	uint32_t whole_n;
	uint64_t free_sum;      /* units */
	struct level level[LEVELS];
};

/* Where a node is: numbers of its groups, each counted from 0 without gaps in the order of nodes. */
struct bucket_spot {
	uint32_t group[LEVELS];
	bool known[LEVELS];
};

/* An index of `nodes_n` (> 0) nodes, with nothing free. A leaf lies in one pod. `spot` is copied. */
void buckets_init(struct buckets *b, uint32_t nodes_n, const struct bucket_spot *spot);
void buckets_done(struct buckets *b); /* accepts a zeroed object */

/* What `node` has from now on. O(1). */
void buckets_put(struct buckets *b, uint32_t node, struct bucket_key key);

/* Where a walk stands. Starts as BUCKETS_START. */
struct bucket_cursor { uint32_t rank, node; };
#define BUCKETS_START ((struct bucket_cursor){0, BUCKETS_NONE})

/* The next node of [from, to) by rank, then number; false after the last. rank[i] is that of bucket i, of
 * each bucket there is; one ranked BUCKETS_NONE is passed over. O(buckets in use). */
bool buckets_next(const struct buckets *b, const uint32_t *rank, uint32_t from, uint32_t to,
		  struct bucket_cursor *cursor);

/* `count` (> 0) wholly free nodes, close together: from the leaf with the fewest that suffice; else from
 * one such pod, unless `within` is LEVEL_LEAF, of as few leaves as possible; else from as few pods as
 * possible, unless `within` is LEVEL_POD. Groups nobody knows anything about keep no promise: `within`
 * passes them over. LEVELS: anywhere. Fills ret_nodes; nothing is taken.
 * False if there are not enough. O(groups used + widths + count). */
bool buckets_gang(const struct buckets *b, uint32_t count, enum bucket_level within, uint32_t *ret_nodes);

/* Wholly free nodes in the group that has most. */
uint32_t buckets_widest(const struct buckets *b, enum bucket_level level);

/* Abort unless sets, summaries and counters agree with key[]. For tests. O(nodes x buckets). */
void buckets_check(const struct buckets *b);

/* The least wholly free node >= `node`, or BUCKETS_NONE. */
uint32_t buckets_whole_from(const struct buckets *b, uint32_t node);

#endif
