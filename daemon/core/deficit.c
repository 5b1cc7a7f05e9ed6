/* deficit.c - less is alive than was promised: who gives, in the declared order
 *
 * Hardware dies. As long as the devices on nodes that are heard cover the sum of the nominals nobody notices: the spare
 * covers it. Below that the division says what gives, in which order; each step that is named holds while it lasts:
 *
 *   stop_new_loans      nobody starts on loan while somebody entitled lacks devices: it would be recalled at once
 *   recall_loans        a lease or job within its quota that lacks devices recalls loans, as ever (recall.c)
 *   slow_public_starts  guaranteed starts of the public side stay within its share of what is alive, rounded up
 *   loan_leases         a loan lease ends with its recall, as ever (claim.c)
 *   replace_broken      who lost hardware is first in line, without the node that failed it (lease.c, job.c)
 *
 * Healthy guaranteed work is never stopped. That there is a deficit, how large and whom it hit is a fact in the flavor's
 * record, so it is in the log and its end is, too.
 */
#include "daemon/core/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void deficit_node(struct core *c, const struct node_s *n, int sign)
{
	if (n->r.state != NODE_READY)
		return;
	for (uint32_t i = 0; i < n->r.devices_n; i++)
		if (n->r.devices[i].flavor && n->r.devices[i].health == DEVICE_OK)
			c->live[n->r.devices[i].flavor] += sign;
}

bool deficit_step_on(const struct core *c, enum deficit_step step)
{
	for (uint32_t o = c->cluster.deficit_order ? c->cluster.deficit_order : DEFICIT_ORDER_DEFAULT; o; o >>= 4)
		if ((o & 15) == (uint32_t)step)
			return true;
	return false;
}

/* Who has parts of that flavor on nodes that are not heard. */
static void hits_find(const struct core *c, uint16_t flavor, char out[TEXT_BYTES])
{
	out[0] = '\0';
	EACH(c, nodes, node_s, n)
		for (uint32_t i = 0; n->r.state != NODE_READY && i < n->units_n; i++) {
			const struct alloc *a = core_alloc(c, n->units[i].alloc);
			size_t used = strlen(out);
			char who[32];

			(void)snprintf(who, sizeof who, "%s-%" PRIu64, a->owner_kind == OWNER_JOB ? "job" : "lease", a->owner);
			if (a->flavor == flavor && used + strlen(who) + 2 < TEXT_BYTES && !strstr(out, who))
				(void)snprintf(out + used, TEXT_BYTES - used, "%s%s", used ? " " : "", who);
		}
}

bool deficit_tick(const struct core *c, int64_t t, struct decision *d)
{
	if (!c->scratch->deficit_look)
		return false;
	(void)tree_of(c, 1, SHAPE_GPU); /* what is promised is up to date */
	for (uint16_t id = 1; id <= FLAVORS_MAX; id++) {
		const struct flavor *f = flavor_of(c, id);
		int64_t missing;
		struct flavor *e;

		if (!f || f->unit != UNIT_DEVICE)
			continue;
		missing = f->retired ? 0 : max64(0, c->promised[id] - c->live[id]);
		if (missing == f->deficit)
			continue;
		e = EDIT(c, d, RECORD_FLAVOR, flavor, id);
		e->deficit_since_ms = missing ? or_else(f->deficit_since_ms, t) : 0;
		e->deficit = (uint32_t)missing;
		hits_find(c, id, e->deficit_hits);
		return true;
	}
	c->scratch->deficit_look = false;
	return false;
}

bool deficit_stops_loan(const struct core *c, uint16_t flavor)
{
	if (!flavor_of(c, flavor)->deficit || !deficit_step_on(c, DEFICIT_STOP_LOANS))
		return false;
	EACH(c, claims, claim_s, m)
		if (m->r.flavor == flavor && !m->r.parts_n && !m->r.offered)
			return true;
	EACH(c, hungry, lease_s, l)
		if (l->r.spec.flavor == flavor && l->r.spec.klass == LEASE_FIRM && l->r.state != LEASE_REQUESTED &&
		    l->units_held + l->units_claimed < l->r.spec.units)
			return true;
	return false;
}

bool qnode_public(const struct core *c, uint32_t qnode)
{
	for (const struct qnode_s *q = qnode_of(c, qnode); q && q->r.kind != QNODE_ROOT; q = qnode_of(c, q->r.parent))
		if (q->r.kind == QNODE_PUBLIC)
			return true;
	return false;
}

int64_t deficit_public_share(const struct core *c, uint16_t flavor, int64_t live)
{
	int64_t own = 0, promised;

	for (uint8_t s = 0; s < SHAPE_COUNT; s++) {
		const struct quota_tree *t = tree_of(c, flavor, s);

		for (uint32_t i = 0; t && i < t->nodes_n; i++)
			own += qnode_public(c, c->tree_id[i]) ? in_devices(c, flavor, s, t->cell[i].own) : 0;
	}
	promised = c->promised[flavor];
	return live >= promised || !promised ? own : (own * live + promised - 1) / promised;
}

bool deficit_stops_public(const struct core *c, uint32_t project, uint16_t flavor, uint8_t shape, uint32_t units)
{
	int64_t used = in_devices(c, flavor, shape, units);

	if (!flavor_of(c, flavor)->deficit || !deficit_step_on(c, DEFICIT_SLOW_PUBLIC) || !qnode_public(c, project))
		return false;
	for (uint8_t s = 0; s < SHAPE_COUNT; s++) {
		const struct quota_tree *t = tree_of(c, flavor, s);

		for (uint32_t i = 0; t && i < t->nodes_n; i++)
			if (t->cell[i].guaranteed_at && qnode_public(c, c->tree_id[i]))
				used += in_devices(c, flavor, s, t->cell[i].guaranteed_at);
	}
	return used > deficit_public_share(c, flavor, c->live[flavor]);
}
