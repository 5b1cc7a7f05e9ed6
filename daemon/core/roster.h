/* roster.h - the nodes of one flavor, indexed for placing
 *
 * Derived state: core_apply tells node_index() of every node that it changed, and what changes the order
 * of nodes (labels, flavors, nodes that come and go) only marks the rosters stale; they are made anew when
 * somebody asks next. So the index is a function of the records, and a restart gives the same one.
 *
 * Two views: what is free now on nodes that take work, and what nodes that ever reported have when idle.
 */
#ifndef SLUIS_DAEMON_CORE_ROSTER_H
#define SLUIS_DAEMON_CORE_ROSTER_H

#include "daemon/core/buckets.h"
#include "daemon/core/frag.h"
#include "daemon/core/state.h"

enum roster_view { ROSTER_FREE = 0, ROSTER_IDLE, ROSTER_VIEWS };

/* How a shape likes each bucket, as far as they were ranked; buckets only ever join. */
struct roster_rank {
	uint32_t need;
	bool careful;
	uint32_t n, cap;
	uint32_t *of;
};
enum { RANKS_KEPT = 64 };
/* Bits of a rank: what weighs most stands highest. */
enum { RANK_CLEAN = 1 << 30, RANK_UNSERVED = 1 << 29, RANK_SCORE = 20, RANK_SIZE = 10 };
/* Whole nodes count for at least so much of the mix, however rarely they are asked for. */
enum { MIX_WEIGHT = 65536, MIX_WHOLE_MIN = MIX_WEIGHT / 8 };

struct roster_undo { uint32_t at; struct bucket_key key; };

struct roster {
	uint16_t flavor;   /* 0: nodes without devices, counted in cores */
	uint32_t per_node; /* devices of a whole node */
	uint32_t nodes_n;
	struct node_s **node; /* in topology order */
	struct buckets view[ROSTER_VIEWS];
	uint32_t live[ROSTER_VIEWS];   /* nodes of the view with a device that works */
	uint32_t broken;             /* of those that take work: by guaranteed work of less than a node */
	uint32_t pinned;             /* nodes with pins of reservations */
	struct frag_typical typical[DEVICES_PER_NODE_MAX];
	struct frag_mix mix;         /* of those: what is usually asked for */
	struct roster_rank rank[ROSTER_VIEWS][RANKS_KEPT];
	/* of a place() under way: */
	uint32_t *cand; /* [node] its candidate + 1 */
	struct roster_undo *undo;
	uint32_t undo_n, undo_cap;
};

/* The roster that serves a flavor; NULL when no node has it. Made anew when it is stale: O(nodes log nodes). */
struct roster *roster_of(const struct core *c, uint16_t flavor);
void rosters_done(struct core *c);

/* What a node with so much left looks like to whoever places. */
struct bucket_key roster_key(const struct core *c, const struct roster *p, const struct node_s *n,
			     const struct seat *s, uint64_t devices, uint32_t cores, uint32_t memory_mib);

/* Ranks of the buckets of a view for `need` units on one node. First where fragmentation grows least (frag.h,
 * in 50 steps), then the smaller node, then the fuller; those that cannot give cores and memory along stand
 * behind the others. `careful`: nodes that are not broken yet last of all (RANK_CLEAN). Cores are not
 * scored. need 0: nodes with most units first. Good until the next change of the index.
 * O(buckets that are new since the mix was). */
const uint32_t *roster_rank(const struct core *c, struct roster *p, enum roster_view view, uint32_t need, bool careful);

/* The mix of a flavor follows the requests whose records the core still has: jobs by the devices that they
 * want on a node, leases by their replicas. A count weighs as its highest bit, so that the mix, and with it
 * all scores, stays the same but for lasting changes. */
void arrivals_count(struct core *c, uint16_t flavor, uint8_t shape, uint32_t units, uint32_t chunk, bool add);

/* Change what the index says, to be taken back by roster_undo() to an earlier length of the list. */
void roster_put(struct roster *p, enum roster_view view, uint32_t at, struct bucket_key key);
void roster_undo(struct roster *p, enum roster_view view, uint32_t length);

/* Is every index what its nodes say? */
int rosters_check(const struct core *c, struct err *err);

/* Name of the group a node is in at a level, "" if nobody said: labels `leaf` (or `rack`) and `pod` (or
 * `site`). The hosts of a rail-optimised fabric hang on several leaves: a leaf here is the set of hosts with
 * the same set of them ("l1,l2" is "l2,l1"). */
void node_group(const struct node *n, enum bucket_level level, char ret[LABEL_BYTES]);

#endif
