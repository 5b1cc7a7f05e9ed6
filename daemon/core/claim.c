/* claim.c - a claim owns what it frees, from the moment it is raised
 *
 * A claim fixes its devices at once: some are free (held for it from now on), the rest belong to
 * loans that are told to go (the victims). Nobody else can take any of them (I11). When the last one
 * is free the claim turns into an allocation. Guaranteed work is never a victim.
 *
 * Victims: every loan is considered, cheapest first: class, lost work per device that helps in powers of
 * two, most devices that help, latest start, id. Per device, because a job that holds what many small ones
 * hold together loses no more than they do, and is one interruption instead of many; devices beyond what
 * is asked for help nobody. The shortest prefix that suffices is found by bisection, then whoever is not
 * needed is dropped again in reverse (Kueue's fillBackWorkloads idea). The search is complete: if recalling
 * every loan helps, a plan is found.
 */
#include "daemon/core/state.h"

#include <stdlib.h>
#include <string.h>

struct cost { uint64_t id; uint32_t klass; uint32_t lost_log2; int64_t helps; int64_t start_ms; };

static int cost_cmp(const void *pa, const void *pb)
{
	const struct cost *a = pa, *b = pb;

	if (a->klass != b->klass)
		return a->klass < b->klass ? -1 : 1;
	if (a->lost_log2 != b->lost_log2)
		return a->lost_log2 < b->lost_log2 ? -1 : 1;
	if (a->helps != b->helps)
		return a->helps > b->helps ? -1 : 1;
	if (a->start_ms != b->start_ms)
		return a->start_ms > b->start_ms ? -1 : 1;
	return a->id < b->id ? -1 : a->id > b->id;
}

static int id_cmp(const void *pa, const void *pb)
{
	uint64_t a, b;

	memcpy(&a, pa, sizeof a);
	memcpy(&b, pb, sizeof b);
	return a < b ? -1 : a > b;
}

/* For somebody who needs `need` devices. */
static uint32_t loans_by_cost(const struct core *c, int64_t t, uint16_t flavor, int64_t need, struct arena *arena,
			      struct cost **ret)
{
	struct cost *cost = arena_alloc(arena, c->loans.count * sizeof *cost);
	uint32_t n = 0;

	EACH(c, loans, alloc_s, a) {
		const struct job *j = a->r.owner_kind == OWNER_JOB ? core_job(c, a->r.owner) : NULL;
		int64_t since, lost, devices = in_devices(c, a->r.flavor, a->r.shape, a->r.units);

		if (a->r.flavor != flavor)
			continue;
		since = a->r.start_ms;
		if (j && j->checkpoint_ms > since)
			since = j->checkpoint_ms;
		cost[n].helps = devices < need ? devices : need;
		lost = a->r.state == ALLOC_ACTIVE && cost[n].helps > 0 ? (t - since) * devices / cost[n].helps : 0;
		cost[n].id = a->r.id;
		cost[n].klass = j ? j->spec.klass : JOB_SYSTEM;
		cost[n].lost_log2 = lost > 0 ? 64 - (uint32_t)__builtin_clzll((uint64_t)lost) : 0;
		cost[n].start_ms = a->r.start_ms;
		n++;
	}
	if (n)
		qsort(cost, n, sizeof *cost, cost_cmp);
	*ret = cost;
	return n;
}

struct plan {
	const struct core *c;
	struct decision *d;
	struct place_ask ask;
	uint64_t *ids; /* scratch */
	struct part *parts;
	uint32_t parts_n;
};

static bool plan_try(struct plan *p, const struct cost *cost, const bool *out, uint32_t n)
{
	uint32_t k = 0;

	for (uint32_t i = 0; i < n; i++)
		if (!out[i])
			p->ids[k++] = cost[i].id;
	if (k)
		qsort(p->ids, k, sizeof *p->ids, id_cmp);
	p->ask.victims = p->ids;
	p->ask.victims_n = k;
	return place(p->c, &p->ask, &p->d->arena, &p->parts, &p->parts_n) == 0;
}

static bool among(const uint64_t *ids, uint32_t n, uint64_t id)
{
	return bsearch(&id, ids, n, sizeof *ids, id_cmp) != NULL;
}

/* Whoever holds a device or a core of the claim, and whoever the plan needs gone for the memory alone:
 * those of the plan's `ids` that sit on its nodes. */
static void victims_of_parts(const struct core *c, struct decision *d, struct claim *m, const struct plan *plan)
{
	m->victims = arena_alloc(&d->arena, VICTIMS_PER_CLAIM_MAX * sizeof *m->victims);
	for (uint32_t i = 0; i < m->parts_n; i++) {
		const struct node_s *n = node_of(c, m->parts[i].node);

		for (uint32_t u = 0; u < n->units_n; u++) {
			const struct alloc *a = core_alloc(c, n->units[u].alloc);
			const struct part *p = NULL;
			bool hit, known = false;

			for (uint32_t k = 0; k < a->parts_n; k++)
				if (a->parts[k].index == n->units[u].part)
					p = &a->parts[k];
			ENSURE(p);
			hit = (p->devices & m->parts[i].devices) != 0 ||
			      among(plan->ask.victims, plan->ask.victims_n, a->id);
			for (int w = 0; w < CORE_WORDS; w++)
				hit |= (p->cores[w] & m->parts[i].cores[w]) != 0;
			for (uint32_t k = 0; k < m->victims_n; k++)
				known |= m->victims[k].alloc == a->id;
			if (hit && !known && m->victims_n < VICTIMS_PER_CLAIM_MAX)
				m->victims[m->victims_n++].alloc = a->id;
		}
	}
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
	struct plan p = {.c = c, .d = d, .ask = ask->place};
	struct cost *cost = NULL;
	/* a loan recalls nobody */
	uint32_t n = ask->klass == CLASS_LOAN ?
			     0 :
			     loans_by_cost(c, t, ask->place.flavor,
					   in_devices(c, ask->place.flavor, ask->place.shape, units), &d->arena, &cost);
	uint32_t lo = 0, hi = n;
	bool *out = arena_alloc(&d->arena, n + 1);
	struct cluster *cl;
	struct claim *m;

	p.ask.over = PLACE_OVER_LOANS;
	p.ask.units = units;
	if (p.ask.until_ms) /* it begins when the victims are gone */
		p.ask.until_ms += qnode_recall_slo(c, ask->qnode);
	p.ids = arena_alloc(&d->arena, (n + 1) * sizeof *p.ids);
	if (!plan_try(&p, cost, out, n))
		return 0;
	while (lo < hi) { /* shortest prefix that suffices */
		uint32_t mid = lo + (hi - lo) / 2;

		if (plan_try(&p, cost, out, mid))
			hi = mid;
		else
			lo = mid + 1;
	}
	for (uint32_t i = hi; i-- > 0;) { /* drop, in reverse, whoever is not needed */
		out[i] = true;
		if (!plan_try(&p, cost, out, hi))
			out[i] = false;
	}
	ENSURE(plan_try(&p, cost, out, hi));

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
	m->parts = p.parts;
	m->parts_n = p.parts_n;
	victims_of_parts(c, d, m, &p);
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
