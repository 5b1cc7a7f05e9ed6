/* claim.c - a claim owns what it frees, from the moment it is raised
 *
 * A claim fixes its devices at once: some are free (held for it from now on), the rest belong to
 * loans that are told to go (the victims). Nobody else can take any of them (I11). When the last one
 * is free the claim turns into an allocation. Guaranteed work is never a victim. Who goes: recall.c.
 */
#include "daemon/core/state.h"

#include <stdlib.h>
#include <string.h>

static int id_cmp(const void *pa, const void *pb)
{
	uint64_t a, b;

	memcpy(&a, pa, sizeof a);
	memcpy(&b, pb, sizeof b);
	return a < b ? -1 : a > b;
}

/* Whoever holds a device or a core of the claim, and whoever the plan needs gone for the memory alone:
 * those of the plan that sit on its nodes. */
static void victims_of_parts(const struct core *c, struct decision *d, struct claim *m, const struct recall *plan)
{
	uint64_t *ids;
	uint32_t n = 0, cap = 0;

	for (uint32_t i = 0; i < m->parts_n; i++)
		cap += node_of(c, m->parts[i].node)->units_n;
	ids = arena_alloc(&d->arena, (cap + 1) * sizeof *ids);
	for (uint32_t i = 0; i < m->parts_n; i++) {
		const struct node_s *node = node_of(c, m->parts[i].node);

		for (uint32_t u = 0; u < node->units_n; u++) {
			const struct alloc *a = core_alloc(c, node->units[u].alloc);
			const struct part *p = NULL;
			bool hit;

			for (uint32_t k = 0; k < a->parts_n && !p; k++)
				if (a->parts[k].index == node->units[u].part)
					p = &a->parts[k];
			ENSURE(p);
			hit = (p->devices & m->parts[i].devices) != 0 ||
			      bsearch(&a->id, plan->ids, plan->ids_n, sizeof *plan->ids, id_cmp) != NULL;
			for (int w = 0; w < CORE_WORDS; w++)
				hit |= (p->cores[w] & m->parts[i].cores[w]) != 0;
			if (hit)
				ids[n++] = a->id;
		}
	}
	if (n)
		qsort(ids, n, sizeof *ids, id_cmp);
	m->victims = arena_alloc(&d->arena, (n + 1) * sizeof *m->victims);
	for (uint32_t i = 0; i < n; i++)
		if ((!i || ids[i] != ids[i - 1]) && m->victims_n < VICTIMS_PER_CLAIM_MAX)
			m->victims[m->victims_n++].alloc = ids[i];
}

void loan_recall(const struct core *c, struct decision *d, int64_t t, uint64_t alloc, uint64_t claim)
{
	const struct alloc *a = peek(c, d, RECORD_ALLOC, alloc);
	int64_t exempt;

	if (!a)
		return;
	ENSURE(a->klass == CLASS_LOAN); /* guaranteed work is never a victim */
	exempt = a->exempt_until_ms > t ? a->exempt_until_ms - t : 0;
	alloc_stop(c, d, t, alloc, END_RECALL, a->state == ALLOC_BINDING ? 0 : exempt + a->notice_ms, claim);
	if (a->owner_kind == OWNER_LEASE) {
		const struct lease *l = core_lease(c, a->owner);

		if (l && (l->state == LEASE_ACTIVE || l->state == LEASE_GRACE)) {
			struct lease *e = EDIT(c, d, RECORD_LEASE, lease, a->owner);

			e->state = LEASE_RECALLING;
			e->state_since_ms = t;
			e->recall_at_ms = t + exempt + a->notice_ms;
			e->claim = claim;
			/* a lease goes as a whole: half of one is nothing its holder asked for */
			EACH(c, allocs, alloc_s, o)
				if (o->r.owner_kind == OWNER_LEASE && o->r.owner == a->owner && o->r.id != alloc)
					alloc_stop(c, d, t, o->r.id, END_RECALL,
						   o->r.state == ALLOC_BINDING ? 0 : exempt + a->notice_ms, claim);
		}
	}
}

uint64_t claim_raise(const struct core *c, struct decision *d, int64_t t, const struct grant_ask *ask, uint32_t units,
		     bool offered)
{
	struct place_ask place = ask->place;
	struct recall plan;
	struct cluster *cl;
	struct claim *m;

	place.units = units;
	if (place.until_ms) /* it begins when the victims are gone */
		place.until_ms += qnode_recall_slo(c, ask->qnode);
	if (!recall_plan(c, t, &place, ask->qnode, &d->arena, &plan))
		return 0;
	cl = edit_cluster(c, d);
	m = create(d, RECORD_CLAIM, cl->next_claim);
	m->id = cl->next_claim++;
	m->owner_kind = ask->owner_kind;
	m->owner = ask->owner;
	m->qnode = ask->qnode;
	m->flavor = ask->place.flavor;
	m->shape = ask->place.shape;
	m->klass = ask->klass;
	m->units = units;
	m->created_ms = t;
	m->deadline_ms = t + qnode_recall_slo(c, ask->qnode);
	m->offered = offered;
	m->parts = plan.parts;
	m->parts_n = plan.parts_n;
	victims_of_parts(c, d, m, &plan);
	if (!offered)
		for (uint32_t i = 0; i < m->victims_n; i++)
			loan_recall(c, d, t, m->victims[i].alloc, m->id);
	return m->id;
}

void claim_start(const struct core *c, struct decision *d, int64_t t, uint64_t id)
{
	struct claim *m = EDIT(c, d, RECORD_CLAIM, claim, id);

	m->offered = false;
	m->created_ms = t;
	m->deadline_ms = t + qnode_recall_slo(c, m->qnode);
	for (uint32_t i = 0; i < m->victims_n; i++)
		loan_recall(c, d, t, m->victims[i].alloc, id);
}

void claim_drop(const struct core *c, struct decision *d, uint64_t id)
{
	const struct claim *m = peek(c, d, RECORD_CLAIM, id);

	if (!m)
		return;
	if (m->owner_kind == OWNER_JOB) {
		const struct job *j = peek(c, d, RECORD_JOB, m->owner);

		if (j && j->claim == id) {
			struct job *e = EDIT(c, d, RECORD_JOB, job, m->owner);

			e->claim = 0;
			if (e->state == JOB_EARMARKED) {
				e->state = JOB_PENDING;
				job_settle(c, d, e, 0); /* what the claim held of its budget */
			}
		}
	}
	drop(d, RECORD_CLAIM, id);
}

void claims_drop_on(const struct core *c, struct decision *d, uint32_t node)
{
	EACH(c, claims, claim_s, m)
		for (uint32_t i = 0; i < m->r.parts_n; i++)
			if (m->r.parts[i].node == node) {
				claim_drop(c, d, m->r.id);
				break;
			}
}

bool claim_ready(const struct core *c, const struct claim *m)
{
	if (m->offered)
		return false;
	for (uint32_t i = 0; i < m->parts_n; i++) {
		const struct node_s *n = node_of(c, m->parts[i].node);
		uint64_t memory = n->memory_held_mib;

		if (n->r.state != NODE_READY || (n->held & m->parts[i].devices))
			return false;
		for (uint32_t k = 0; k < m->parts_n; k++)
			memory += m->parts[k].node == n->r.id ? m->parts[k].memory_mib : 0;
		if (memory > node_memory_mib(&n->r))
			return false;
		for (int w = 0; w < CORE_WORDS; w++)
			if (n->cores_held[w] & m->parts[i].cores[w])
				return false;
	}
	return true;
}

bool tick_claim_timer(const struct core *c, int64_t t, struct decision *d, uint64_t id)
{
	const struct claim *m = core_claim(c, id);
	bool unreachable = false;

	(void)t; /* the deadline itself is what brought us here */
	for (uint32_t i = 0; i < m->parts_n; i++)
		unreachable |= node_of(c, m->parts[i].node)->r.state != NODE_READY;
	if (unreachable)
		claim_drop(c, d, id); /* planned anew over other nodes by the next pass */
	else
		EDIT(c, d, RECORD_CLAIM, claim, id)->breached = true;
	return true;
}
