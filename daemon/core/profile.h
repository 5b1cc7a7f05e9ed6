/* profile.h - free capacity over time: a tree of capacity changes
 *
 * A profile is the step function free(t): an amount that holds before the first change, and a set of
 * changes, each an instant in ms and a signed delta. Running jobs, reservations, leases and outages
 * are all pairs of changes: -units where they begin, +units where they end.
 *
 * The changes lie in a treap keyed by time whose priority is a hash of the key, so the shape depends
 * on the set of instants alone, never on the order of the calls. Each node knows the sum of its
 * subtree and the least and greatest prefix sum, so every question below is one walk from the root.
 * A change that cancels to zero leaves the tree.
 *
 * Amounts are in whatever unit the caller counts (processors, devices, milli-GPUs).
 *
 * Source: treaps, Seidel & Aragon 1996; prefix minima in a balanced tree as in the planner of Flux.
 */
#ifndef SLUIS_DAEMON_CORE_PROFILE_H
#define SLUIS_DAEMON_CORE_PROFILE_H

#include <stdint.h>

#include "proto/base/err.h"

/* What the absolute deltas of one profile may add up to, so that no sum can overflow. */
#define PROFILE_UNITS_MAX (INT64_C(1) << 60)

struct profile_node;
struct profile {
	struct profile_node *nodes; /* [0] is the empty tree */
	uint32_t cap;               /* changes that fit */
	uint32_t used;              /* nodes ever handed out */
	uint32_t spare;             /* list of returned nodes, by left link */
	uint32_t root;
	uint32_t count;  /* changes in the tree */
	int64_t base;    /* free(t) before the first change */
	uint64_t weight; /* sum of |delta| over the tree, and |base| */
};

/* An empty profile: free(t) = `units` for all t, room for `changes_max` changes (at most 2^31 - 2),
 * 48 bytes each, taken as the profile grows. profile_done() frees; it accepts a zeroed object. */
void profile_init(struct profile *p, int64_t units, uint32_t changes_max);
void profile_done(struct profile *p);

/* From t_ms on, free(t) changes by `delta`.
 * ERR_NOROOM when the tree is full, ERR_RANGE when the amounts get too large; nothing is changed then.
 * Cost: O(log n) expected. */
int profile_add(struct profile *p, int64_t t_ms, int64_t delta, struct err *err) NODISCARD;

/* Take `units` (negative: give back) during [from_ms, to_ms): both changes or none. An empty interval
 * is no change; to_ms T_NEVER means for good. Errors as profile_add(). */
int profile_hold(struct profile *p, int64_t from_ms, int64_t to_ms, int64_t units, struct err *err) NODISCARD;

/* Forget what happened at or before t_ms: the changes are folded into what was always so. free(t)
 * stays the same for t >= t_ms. Cost: O(log n + changes folded). */
void profile_forget(struct profile *p, int64_t t_ms);

/* free(t). O(log n), as all below. */
int64_t profile_at(const struct profile *p, int64_t t_ms);

/* The first instant after t_ms at which free(t) changes, or T_NEVER. */
int64_t profile_next(const struct profile *p, int64_t t_ms);

/* The least free(t) in [from_ms, to_ms), from_ms < to_ms. */
int64_t profile_min(const struct profile *p, int64_t from_ms, int64_t to_ms);

/* The first t >= from_ms with free(t) < units, or T_NEVER. */
int64_t profile_first_below(const struct profile *p, int64_t from_ms, int64_t units);

/* The first t >= from_ms with free(t) >= units, or T_NEVER. */
int64_t profile_first_least(const struct profile *p, int64_t from_ms, int64_t units);

/* The first t >= from_ms such that `units` are free during all of [t, t + length_ms), or T_NEVER.
 * length_ms > 0; T_NEVER means for good. Cost: O(h log n), h the number of times free(t) falls below
 * `units` before the answer: reservations, since running jobs only ever give capacity back. */
int64_t profile_fit(const struct profile *p, int64_t from_ms, int64_t length_ms, int64_t units);

/* Abort unless keys ascend, priorities form a heap and every sum is right. For tests. O(n). */
void profile_check(const struct profile *p);

#endif
