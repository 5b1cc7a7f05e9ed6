/* quota.h - dividing capacity: slack and guaranteed charging over the quota tree
 *
 * For one resource r = (flavor, shape), with own(c) the part of the nominal that c does not hand down:
 *
 *   slack     s(c)  = own(c) - usage_at(c) + Σ over children k of min(lending(k), s(k))
 *             legal ⇔ s(root) >= 0 and s(c) >= -borrowing(c) for every other c
 *   charging  up(c) = max(0, guaranteed_at(c) + Σ over children k of up(k) - own(c))
 *             in quota ⇔ up(root) = 0 and up(c) <= borrowing_firm(c) for every other c
 *
 * `usage` counts everything, `guaranteed` what is not a loan. up(c) is what c's subtree charges to the
 * own nominals of its ancestors: guaranteed units are charged leaf first, then upwards, and are
 * re-attributed by the arithmetic itself whenever something is released. A request is in quota when
 * the path's nominals cover it with everything lent out counted as free, because that can be claimed.
 *
 * Both sums are kept per node, so admission and release touch one path: O(depth).
 *
 * Source: the slack form of Kueue's cohort arithmetic.
 */
#ifndef SLUIS_DAEMON_CORE_QUOTA_H
#define SLUIS_DAEMON_CORE_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

/* One node's numbers for one resource. The caller sets own, borrowing and lending. Borrowing may change with the time of
 * day: loans go by what holds now; what is guaranteed must fit at all times, so it goes by the strictest there will be. */
struct quota_cell {
	int64_t own, borrowing, lending;
	int64_t borrowing_firm; /* <= borrowing */
	int64_t borrowing_most; /* >= borrowing: nothing above it will ever fit */
	int64_t usage_at, guaranteed_at; /* charged to this very node (leaves) */
	int64_t lent_sum; /* Σ min(lending(k), s(k)) */
	int64_t up_sum;   /* Σ up(k) */
	int64_t noted;    /* units of loans that name this node as their lender */
	int64_t unnoted;  /* units of this node's loans that name nobody: its path's own */
};
struct quota_tree {
	uint32_t nodes_n;       /* node 0 is the root */
	const uint32_t *parent; /* parent[0] = 0; parent[i] < i */
	struct quota_cell *cell;
};

/* Recompute every sum from own/usage_at/guaranteed_at. O(nodes). */
void quota_rebuild(struct quota_tree *t);
int64_t quota_slack(const struct quota_tree *t, uint32_t node);
int64_t quota_up(const struct quota_tree *t, uint32_t node);
/* What is left of a node's own nominal when everything guaranteed is charged: leaf first, then upwards. */
int64_t quota_own_left(const struct quota_tree *t, uint32_t node);
/* Is the whole state legal; does everything guaranteed fit its paths? O(nodes). */
bool quota_legal(const struct quota_tree *t);
bool quota_in_order(const struct quota_tree *t);
/* Does what is guaranteed at `leaf` fit its path still, or was the path lowered below it? O(depth). */
bool quota_path_in_order(const struct quota_tree *t, uint32_t leaf);
/* Would the state stay legal (on the path of `leaf`) with `units` more used there?  O(depth).
 * On false, *ret_at (may be NULL) is the node whose limit would break. */
bool quota_fits(const struct quota_tree *t, uint32_t leaf, int64_t units, uint32_t *ret_at);
/* Would `units` more guaranteed at `leaf` be in quota? O(depth). */
bool quota_covers(const struct quota_tree *t, uint32_t leaf, int64_t units, uint32_t *ret_at);
/* Most units that still fit / are covered (0 if none): what "could still have" means. O(depth × log). */
int64_t quota_headroom(const struct quota_tree *t, uint32_t leaf);
int64_t quota_cover_left(const struct quota_tree *t, uint32_t leaf);
/* Change usage at a node; both deltas may be negative. O(depth). */
void quota_charge(struct quota_tree *t, uint32_t leaf, int64_t usage, int64_t guaranteed);
/* What a node may still be named for as a lender: what it owns, has not taken, may lend and has not lent. */
int64_t quota_to_lend(const struct quota_tree *t, uint32_t node);
/* Who lends when `units` more are used at `leaf` as a loan: off-path nodes that have something to lend, largest
 * first, ties by index. No unit is named for two loans. `unnoted`: what other loans of the leaf use of its path
 * already. `slo_ms` (may be NULL): only those whose entry is at least back_ms. *n and the arrays (of `max`, 8 at most)
 * hold the notes that are given up for this, 0 for a new loan; on return the new ones. O(nodes × max). */
void quota_lenders(const struct quota_tree *t, uint32_t leaf, int64_t units, int64_t unnoted, const int64_t *slo_ms,
		   int64_t back_ms, uint32_t *node, int64_t *lent, uint32_t *n, uint32_t max);

#endif
