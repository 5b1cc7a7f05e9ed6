/* victims.h - which loans have to go, so that so much comes free?
 *
 * A pure function: spots (nodes) with what is free on them, candidates with what they hold where and what it
 * costs to stop them, a need. One candidate is one thing that goes as a whole: a gang on many spots is
 * counted once, and everything that its going completes counts for it.
 *
 * Best spot first, so that whole units are completed: for each spot the cheapest set of its candidates that
 * completes a unit more, by cost per unit completed anywhere, no more than is still needed. When enough is
 * free, whoever is not needed stays, the most expensive first. If few candidates matter the answer is
 * improved by branch and bound, within a fixed number of steps.
 *
 * Guarantees: complete (false only if all candidates together do not suffice) and inclusion-minimal (none
 * of the chosen can stay). Ties end in the candidate's index: give younger ones the higher index, they go
 * first. tests/unit/test_victims.c compares with the optimum.
 *
 * Source: greedy set cover with reverse delete (Vazirani, Approximation Algorithms, ch. 15); Lyra
 * (EuroSys 2023) for counting collateral.
 */
#ifndef SLUIS_DAEMON_CORE_VICTIMS_H
#define SLUIS_DAEMON_CORE_VICTIMS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/buf.h"

/* What is free on a node, in units of the flavor; cores and memory only matter where they are asked for. */
struct victim_spot {
	uint32_t free, cores, memory_mib;
	bool breaks; /* using it takes one of the few nodes that may be broken */
};
/* What a candidate holds on one spot. The pieces of a candidate lie together. */
struct victim_piece { uint32_t spot, free, cores, memory_mib; };
struct victim_cand {
	int64_t cost; /* 0..VICTIM_COST_MAX */
	uint32_t piece, pieces_n; /* into pieces[] */
	bool goes; /* the answer */
};
#define VICTIM_COST_MAX (INT64_C(1) << 56)

struct victim_need {
	uint32_t units;
	uint32_t size;      /* of one unit on one spot, ≥ 1 */
	uint32_t cores, memory_mib; /* a spot with less serves nothing */
	bool distinct;      /* one unit a spot */
	uint32_t breakable; /* spots that may still be broken */
};
struct victim_ask {
	struct victim_need need;
	struct victim_spot *spots;
	uint32_t spots_n;
	struct victim_cand *cands;
	uint32_t cands_n;
	struct victim_piece *pieces;
	uint32_t pieces_n;
};

enum { VICTIMS_EXACT_MAX = 20 };

/* Set `goes` of those that have to go. False, and none goes, if all together do not suffice. Scratch comes
 * from `arena`. `spots` are not changed. O((spots + pieces) log spots) plus the pieces of gangs squared. */
bool victims_choose(struct victim_ask *ask, struct arena *arena) NODISCARD;
/* The same without branch and bound: for tests of how good it is alone. */
bool victims_greedy(struct victim_ask *ask, struct arena *arena) NODISCARD;

#endif
