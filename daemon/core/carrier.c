/* carrier.c - nodes that their owner breaks: single devices inside a nominal of whole nodes
 *
 * A project whose own nominal is of whole nodes may run smaller things in it. The node they lie on, its *carrier*, is
 * taken from that nominal as a whole, until the last piece of it is gone: one node of quota, one node in the plan, no
 * node in the certificate. Nothing else lies on a carrier, be it guaranteed or on loan, so nobody's node is broken
 * but one's own, and what is idle on it is there for the next piece.
 *
 * As few nodes as possible: the fullest carrier of the project that has room comes first, and a node is broken only
 * when none has. It is then found, or claimed, as a whole node would be. The single-device quota of the project,
 * where it has one, comes before all that.
 *
 * Carried is a guaranteed job on one node. A piece that stays longer than its carrier would takes the node for longer,
 * and is judged so by the plan; it gets no place in the plan itself, and no promise.
 *
 * Invariants (carrier_check): a carrier is what the pieces on it make it; they are of one project and flavor, and
 * nobody else has devices of that flavor there. The trees, the plan and the certificate count it (check.c).
 */
#include "daemon/core/elastic.h"
#include "daemon/core/reservation.h"
#include "daemon/core/roster.h"
#include "daemon/core/state.h"

#include <inttypes.h>

/* What the pieces on it make of a node. */
static struct carrier carrier_of(const struct core *c, const struct node_s *n)
{
	struct carrier is = {0};

	for (uint32_t i = 0; i < n->units_n; i++) {
		const struct alloc_s *a = alloc_of(c, n->units[i].alloc);

		if (!a->r.carried)
			continue;
		is.qnode = a->r.qnode;
		is.flavor = a->r.flavor;
		is.until_ms = max64(is.until_ms, a->until_ms);
	}
	for (uint32_t i = 0; is.flavor && i < n->r.devices_n; i++)
		if (n->r.devices[i].flavor == is.flavor)
			is.devices |= UINT64_C(1) << i;
	return is;
}

static void list(struct core *c, struct node_s *n, bool in)
{
	struct qnode_s *q = qnode_of(c, n->carrier.qnode);
	struct node_s **at = &q->carriers;

	while (!in && *at != n)
		at = &(*at)->carrier_next;
	if (in)
		n->carrier_next = *at;
	*at = in ? n : n->carrier_next;
}

static void owned(struct core *c, struct node_s *n, bool in)
{
	if (!n->carrier.flavor)
		return;
	list(c, n, in);
	quota_count(c, n->carrier.qnode, n->carrier.flavor, SHAPE_NODE, in ? 1 : -1, true);
}

void carrier_again(struct core *c, struct node_s *n)
{
	struct carrier is = carrier_of(c, n), was = n->carrier;
	bool same = is.flavor == was.flavor && is.qnode == was.qnode;

	if (same && is.devices == was.devices && is.until_ms == was.until_ms)
		return;
	if (was.flavor)
		plan_carrier(c, n, -1);
	if (!same) {
		certify_node(c, n, -1);
		owned(c, n, false);
	}
	n->carrier = is;
	if (!same) {
		owned(c, n, true);
		node_index(c, n);
		certify_node(c, n, 1);
	}
	if (is.flavor)
		plan_carrier(c, n, 1);
}

/* ---- questions ------------------------------------------------------------------------------------------ */

bool carrier_suits(const struct core *c, const struct job_spec *s)
{
	const struct flavor *f = flavor_of(c, s->flavor);

	return f && f->unit == UNIT_DEVICE && s->shape == SHAPE_GPU && !s->reservation && !elastic_is(s) &&
	       (!s->per_node || s->per_node == s->units);
}

struct place_ask carrier_whole(const struct place_ask *ask)
{
	struct place_ask whole = *ask;

	whole.shape = SHAPE_NODE;
	whole.units = 1;
	whole.chunk = 0;
	whole.distinct = false;
	whole.topology = TOPOLOGY_ANY;
	whole.topology_required = false;
	whole.magnet = 0;
	return whole;
}

/* Devices for the next piece. */
static uint32_t room(const struct node_s *n, uint16_t flavor)
{
	if (n->carrier.flavor != flavor || n->r.state != NODE_READY || n->r.admin != NODE_ENABLED)
		return 0;
	return popcount64(node_flavor_mask(n, flavor) & ~n->held & ~n->claimed);
}

int carrier_ask(const struct core *c, uint32_t project, uint16_t flavor, uint32_t units)
{
	for (const struct node_s *n = qnode_of(c, project)->carriers; n; n = n->carrier_next)
		if (room(n, flavor) >= units)
			return 0;
	if (units > flavor_of(c, flavor)->devices_per_node)
		return REASON_LEAF_FULL;
	return quota_ask(c, project, flavor, SHAPE_NODE, 1, CLASS_GUARANTEED);
}

static uint32_t order_of(const struct node_s *n, uint16_t flavor)
{
	const struct seat *seat = node_seat(n, flavor);

	return seat ? seat->at : UINT32_MAX;
}

int carrier_place(const struct core *c, uint32_t project, const struct place_ask *ask, int64_t until_ms,
		  struct arena *arena, struct part **ret_part, uint64_t *ret_other)
{
	struct place_ask mine = *ask;
	const struct node_s *best = NULL;
	int rc = REASON_NO_SHAPE;

	mine.magnet = 0;
	*ret_other = 0;
	(void)roster_of(c, ask->flavor); /* the order of nodes is up to date */
	for (const struct node_s *n = qnode_of(c, project)->carriers; n; n = n->carrier_next) {
		uint32_t free = room(n, ask->flavor), least = best ? room(best, ask->flavor) : 0;
		struct part whole = carrier_part(n), *part;

		if (free < ask->units || (best && (free > least || (free == least && order_of(n, ask->flavor) >
										  order_of(best, ask->flavor)))))
			continue;
		if (reservation_bars_parts(c, &mine, &whole, 1) || !place_inside(c, &mine, n, NULL, arena, &part))
			continue;
		if (!plan_may_carry(c, n, until_ms, ret_other)) {
			rc = best ? rc : REASON_WOULD_DELAY;
			continue;
		}
		best = n;
		*ret_part = part;
	}
	return best ? 0 : rc;
}

/* ---- check -------------------------------------------------------------------------------------------------- */

static bool its_alone(const struct core *c, const struct node_s *n)
{
	for (uint32_t i = 0; i < n->units_n; i++) {
		const struct alloc *a = core_alloc(c, n->units[i].alloc);
		uint64_t devices = 0;

		for (uint32_t k = 0; k < a->parts_n; k++)
			devices |= a->parts[k].node == n->r.id ? a->parts[k].devices & n->carrier.devices : 0;
		if (devices && (!a->carried || a->qnode != n->carrier.qnode || a->flavor != n->carrier.flavor))
			return false;
	}
	return !(n->claimed & n->carrier.devices);
}

int carrier_check(const struct core *c, struct err *err)
{
	uint32_t all = 0, listed = 0;

	EACH(c, allocs, alloc_s, a)
		if (a->r.carried && (a->r.klass != CLASS_GUARANTEED || a->r.shape != SHAPE_GPU || a->r.parts_n != 1))
			return err_set(err, ERR_CORRUPT, "allocation %" PRIu64 " cannot be inside a whole node", a->r.id);
	EACH(c, nodes, node_s, n) {
		struct carrier is = carrier_of(c, n);

		all += n->carrier.flavor != 0;
		if (is.qnode != n->carrier.qnode || is.flavor != n->carrier.flavor || is.devices != n->carrier.devices ||
		    is.until_ms != n->carrier.until_ms)
			return err_set(err, ERR_CORRUPT, "node %u is not broken as what lies on it says", n->r.id);
		if (n->carrier.flavor && !its_alone(c, n))
			return err_set(err, ERR_CORRUPT, "node %u is broken by one and used by another", n->r.id);
	}
	EACH(c, qnodes, qnode_s, q)
		for (const struct node_s *n = q->carriers; n; n = n->carrier_next) {
			listed++;
			if (n->carrier.qnode != q->r.id)
				return err_set(err, ERR_CORRUPT, "node %u is in another's list", n->r.id);
		}
	return listed == all ? 0 : err_set(err, ERR_CORRUPT, "broken nodes are in no list (%u)", all - listed);
}
