/* claim.c - a claim owns what it frees, from the moment it is raised
 *
 * A claim fixes its devices at once: some are free (held for it from now on), the rest belong to
 * loans that are told to go (the victims). Nobody else can take any of them (I11). When the last one
 * is free the claim turns into an allocation. Guaranteed work is never a victim. Who goes: recall.c.
 *
 *   raised ──▶ ready ──▶ bound            each victim gets its notice; at its end SIGKILL
 *     │  ▲
 *     ▼  └─ planned anew ──┐              a node of it was lost, or a victim at the deadline is behind a node that
 *   parked (no parts) ─────┘              cannot be reached or cannot be killed: others go, the soonest back first;
 *                                         with nobody left to go it waits for hardware, before everybody else, as
 *                                         long as its quota is still there and enough to have it
 *
 * The instant that was promised stays the same however often it is planned. Whoever is in the way then is written
 * into the claim, and how late it came into the usage record of who waited.
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

static struct part *replicas(const struct core *c, struct decision *d, const struct claim *m, const struct recall *plan)
{
	struct part *parts = arena_copy(&d->arena, plan->parts, plan->parts_n * sizeof *parts);

	if (m->owner_kind == OWNER_LEASE)
		lease_replicas_fill(core_lease(c, m->owner), parts, plan->parts_n);
	return parts;
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
	if (!recall_plan(c, t, &place, qnode_recall_slo(c, ask->qnode), true, &d->arena, &plan))
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
	m->parts = replicas(c, d, m, &plan);
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

/* Did the division leave the quota that it was raised within? One with a plan is kept all the same. */
static bool in_quota(const struct core *c, const struct claim *m)
{
	const struct quota_tree *t = tree_of(c, m->flavor, m->shape);
	uint32_t at = qnode_of(c, m->qnode)->at;

	return t && (m->klass == CLASS_GUARANTEED ? quota_path_in_order(t, at) : quota_fits(t, at, 0, NULL));
}

/* Is its quota enough to have it again, once the hardware is back? A job that asks how its devices lie may find that
 * guaranteed work has settled between them meanwhile: it waits in line, where others may use the quota. */
static bool assured(const struct core *c, const struct claim *m)
{
	return m->owner_kind == OWNER_LEASE || job_promisable(core_job(c, m->owner));
}

static bool claim_replan(const struct core *c, struct decision *d, int64_t t, const struct claim *old)
{
	/* the soonest back first, whatever is lost by it: within what is left, or little more */
	static const int64_t STEP_MS[] = {0, 30 * MS_PER_S, MS_PER_MIN, 5 * MS_PER_MIN};
	int64_t left = max64(0, old->deadline_ms - t);
	struct place_ask ask;
	struct recall plan, any;
	bool found = false;
	struct claim *m;

	if (old->owner_kind == OWNER_JOB)
		job_place_ask(c, t, core_job(c, old->owner), CLASS_GUARANTEED, &ask);
	else
		lease_place_ask(c, t, core_lease(c, old->owner), &ask);
	if (ask.shape != old->shape)
		ask = carrier_whole(&ask);
	ask.units = old->units;
	if (ask.until_ms)
		ask.until_ms += left;
	if (!recall_plan(c, t, &ask, left, true, &d->arena, &any)) {
		if (!ask.excluded_n || old->owner_kind == OWNER_JOB)
			return false;
		ask.excluded_n = 0; /* better on a node that failed it before than not at all */
		if (!recall_plan(c, t, &ask, left, true, &d->arena, &any))
			return false;
	}
	for (size_t i = 0; i < ARRAY_LEN(STEP_MS) && !found; i++)
		found = recall_plan(c, t, &ask, left + STEP_MS[i], false, &d->arena, &plan);
	if (!found)
		plan = any;
	m = EDIT(c, d, RECORD_CLAIM, claim, old->id);
	m->parts = replicas(c, d, m, &plan);
	m->parts_n = plan.parts_n;
	m->victims_n = 0;
	victims_of_parts(c, d, m, &plan);
	for (uint32_t i = 0; i < m->victims_n; i++)
		loan_recall(c, d, t, m->victims[i].alloc, m->id);
	return true;
}

bool claim_unpark(const struct core *c, struct decision *d, int64_t t, const struct claim *m)
{
	if (claim_replan(c, d, t, m))
		return true;
	if (in_quota(c, m) && assured(c, m))
		return false; /* asked again whenever something is freed: so once is enough */
	claim_drop(c, d, t, m->id);
	return true;
}

/* ---- the end, and what is kept of it --------------------------------------------------------------- */

static void late_note(const struct core *c, struct decision *d, int64_t t, const struct claim *m, bool dropped)
{
	struct usage *u = usage_edit(c, d, m->qnode);
	struct breach *list;
	uint32_t from;

	u->claims_done += !dropped;
	if (!m->breached)
		return;
	u->claims_late++;
	from = u->breaches_n < BREACHES_KEPT ? 0 : 1;
	list = arena_alloc(&d->arena, (u->breaches_n + 1) * sizeof *list);
	if (u->breaches_n - from)
		memcpy(list, u->breaches + from, (u->breaches_n - from) * sizeof *list);
	u->breaches = list;
	u->breaches_n -= from;
	list[u->breaches_n++] = (struct breach){
		.claim = m->id, .owner_kind = m->owner_kind, .owner = m->owner, .cause = m->breach_cause,
		.victim_kind = m->breach_owner_kind, .victim = m->breach_owner, .node = m->breach_node,
		.due_ms = m->deadline_ms, .late_ms = t - m->deadline_ms, .dropped = dropped,
	};
}

void claim_served(const struct core *c, struct decision *d, int64_t t, const struct claim *m)
{
	late_note(c, d, t, m, false);
	drop(d, RECORD_CLAIM, m->id);
}

void claim_drop(const struct core *c, struct decision *d, int64_t t, uint64_t id)
{
	const struct claim *m = peek(c, d, RECORD_CLAIM, id);

	if (!m)
		return;
	if (m->breached)
		late_note(c, d, t, m, true);
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

void claims_drop_on(const struct core *c, struct decision *d, int64_t t, uint32_t node)
{
	EACH(c, claims, claim_s, m)
		for (uint32_t i = 0; i < m->r.parts_n; i++)
			if (m->r.parts[i].node == node) {
				if (m->r.offered)
					claim_drop(c, d, t, m->r.id);
				else
					EDIT(c, d, RECORD_CLAIM, claim, m->r.id)->parts_n = 0;
				break;
			}
}

bool claim_ready(const struct core *c, const struct claim *m)
{
	if (m->offered || !m->parts_n)
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

/* Who is in the way at the deadline, the worst first. */
static void breach_find(const struct core *c, struct claim *m)
{
	m->breach_cause = m->parts_n ? BREACH_NONE : BREACH_CAPACITY;
	for (uint32_t i = 0; i < m->victims_n; i++) {
		const struct alloc *a = core_alloc(c, m->victims[i].alloc);

		for (uint32_t k = 0; a && k < a->parts_n; k++) {
			const struct part *p = &a->parts[k];
			uint8_t cause;

			cause = node_of(c, p->node)->r.state != NODE_READY	       ? BREACH_NODE :
				p->unkillable					       ? BREACH_UNKILLABLE :
				a->stop_at_ms + c->cluster.kill_margin_ms > m->deadline_ms ? BREACH_NOTICE :
											     BREACH_AGENT;
			if (m->breach_cause && m->breach_cause <= cause)
				continue;
			m->breach_cause = cause;
			m->breach_owner_kind = a->owner_kind;
			m->breach_owner = a->owner;
			m->breach_node = p->node;
		}
	}
	for (uint32_t i = 0; !m->breach_cause && i < m->parts_n; i++)
		if (node_of(c, m->parts[i].node)->r.state != NODE_READY) { /* all have left, and the node with them */
			m->breach_cause = BREACH_NODE;
			m->breach_node = m->parts[i].node;
		}
	if (!m->breach_cause)
		m->breach_cause = BREACH_AGENT;
}

/* A victim that missed what it had declared is believed no more: from now on it counts as late as it was, and a
 * quarter more. It loses the loans that are promised back sooner than that. */
static void bounds_raise(const struct core *c, struct decision *d, int64_t t, const struct claim *m)
{
	for (uint32_t i = 0; i < m->victims_n; i++) {
		const struct alloc *a = core_alloc(c, m->victims[i].alloc);
		const struct job *j = a && a->owner_kind == OWNER_JOB ? peek(c, d, RECORD_JOB, a->owner) : NULL;
		bool well = true;

		if (!j || j->alloc != a->id || a->stop_at_ms > t)
			continue;
		for (uint32_t k = 0; k < a->parts_n; k++)
			well &= node_of(c, a->parts[k].node)->r.state == NODE_READY;
		if (well) /* not its fault that nobody can reach its node */
			EDIT(c, d, RECORD_JOB, job, a->owner)->back_ms =
				max64(j->back_ms, (t - m->created_ms) / 4 * 5);
	}
}

bool tick_claim_timer(const struct core *c, int64_t t, struct decision *d, uint64_t id)
{
	struct claim *m = EDIT(c, d, RECORD_CLAIM, claim, id);

	m->breached = true;
	breach_find(c, m);
	bounds_raise(c, d, t, m);
	if (m->breach_cause == BREACH_NODE || m->breach_cause == BREACH_UNKILLABLE)
		m->parts_n = 0; /* others go in its place */
	return true;
}

/* ---- cool-down ------------------------------------------------------------------------------------------ */

void recalled_note(const struct core *c, struct decision *d, int64_t t, const struct alloc *a)
{
	struct usage *u = usage_edit(c, d, a->qnode);
	struct recalled *list = arena_alloc(&d->arena, (u->recalled_n + 1) * sizeof *list);
	uint32_t n = 0, of_it = 0;

	for (uint32_t i = 0; i < u->recalled_n; i++)
		of_it += u->recalled[i].flavor == a->flavor && u->recalled[i].shape == a->shape;
	for (uint32_t i = 0; i < u->recalled_n; i++) {
		const struct recalled *r = &u->recalled[i];
		bool same = r->flavor == a->flavor && r->shape == a->shape;

		if (t - r->at_ms >= MS_PER_HOUR || (same && r->claim == a->claim) || (same && of_it-- >= RECALLS_KEPT))
			continue; /* one claim is one recall, however many it takes */
		list[n++] = *r;
	}
	list[n++] = (struct recalled){.claim = a->claim, .flavor = a->flavor, .shape = a->shape, .at_ms = t};
	u->recalled = list;
	u->recalled_n = n;
}

int64_t cooldown_ms(const struct core *c, const struct usage *u, int64_t t, const struct alloc *a, uint32_t recalls)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < u->recalled_n; i++)
		n += u->recalled[i].flavor == a->flavor && u->recalled[i].shape == a->shape &&
		     u->recalled[i].at_ms > t - MS_PER_HOUR;
	/* this one is among them: alone it begins anew. Counting only what the last hour saw recalls the same jobs over and
	 * over where lending is tight (sluis-sim divide, 96 nodes of 8: 2.9 % of what training held is lost, not 2.6 %) */
	n = n < 2 ? 0 : recalls < 6 ? recalls : 6;
	return min64(c->cluster.cooldown_ms << n, MS_PER_HOUR);
}
