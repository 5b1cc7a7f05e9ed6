/* check.c - invariants that one state can show, recomputed from the records alone
 *
 * Each kind of record is walked a fixed number of times and summed up by owner, so that the whole check costs
 * O(records × log owners) and can follow every decision of a simulation.
 */
#include "daemon/core/elastic.h"
#include "daemon/core/reservation.h"
#include "daemon/core/roster.h"
#include "daemon/core/state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int broken(struct err *err, const char *what, uint64_t id)
{
	return err_set(err, ERR_CORRUPT, "%s (%" PRIu64 ")", what, id);
}

/* ---- sums by owner: filled in one walk over allocations, claims and jobs, then compared -------------- */

struct node_sum {
	uint64_t held, loaned, claimed, cores[CORE_WORDS];
	uint32_t units, fraction, memory, memory_claimed;
};
struct lease_sum { uint32_t held, allocs; };
struct tree_sum { int64_t *usage, *guaranteed; }; /* by place in the tree */

/* Ids of a table, ascending, so that a record's place is found without changing the record. */
struct ids { uint64_t *id; uint32_t n; };

static struct ids ids_of(const struct idtab *table, struct arena *arena)
{
	struct ids ids = {.id = arena_alloc(arena, (table->count + 1) * sizeof *ids.id)};

	for (uint64_t id = 0; (id = idtab_next(table, id, NULL)) != 0;)
		ids.id[ids.n++] = id;
	return ids;
}

/* Place of `id`; ids->n if it is not there. */
static uint32_t place_of(const struct ids *ids, uint64_t id)
{
	uint32_t lo = 0, hi = ids->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (ids->id[mid] < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < ids->n && ids->id[lo] == id ? lo : ids->n;
}

static int check_nodes(const struct core *c, struct arena *arena, struct err *err)
{
	struct ids ids = ids_of(&c->nodes, arena);
	struct node_sum *sum = arena_alloc(arena, (ids.n + 1) * sizeof *sum);
	uint32_t at = 0;

	EACH(c, allocs, alloc_s, a)
		for (uint32_t i = 0; i < a->r.parts_n; i++) {
			const struct part *p = &a->r.parts[i];
			struct node_sum *n = &sum[place_of(&ids, p->node)];

			if (n == &sum[ids.n])
				return broken(err, "an allocation on a node that is gone", a->r.id);
			if (n->held & p->devices)
				return broken(err, "I1: a device is in two allocations", a->r.id);
			for (int w = 0; w < CORE_WORDS; w++)
				if (n->cores[w] & p->cores[w])
					return broken(err, "a core is in two allocations", a->r.id);
			mask_or(n->cores, p->cores);
			n->held |= p->devices;
			if (a->r.klass == CLASS_LOAN)
				n->loaned |= p->devices;
			else
				n->fraction += a->r.shape == SHAPE_GPU && !a->r.carried;
			n->memory += p->memory_mib;
			n->units++;
		}
	EACH(c, claims, claim_s, m)
		for (uint32_t i = 0; i < m->r.parts_n; i++) {
			const struct part *p = &m->r.parts[i];
			struct node_sum *n = &sum[place_of(&ids, p->node)];

			if (n == &sum[ids.n])
				return broken(err, "a claim on a node that is gone", m->r.id);
			if (n->claimed & p->devices)
				return broken(err, "I11: a device is claimed twice", m->r.id);
			n->claimed |= p->devices;
			n->memory_claimed += p->memory_mib;
		}
	EACH(c, nodes, node_s, n) {
		const struct node_sum *s = &sum[at++];

		if (s->held != n->held || s->loaned != n->loaned || s->claimed != n->claimed || s->units != n->units_n ||
		    s->fraction != n->fraction_parts || s->memory != n->memory_held_mib ||
		    s->memory_claimed != n->memory_claimed_mib ||
		    memcmp(s->cores, n->cores_held, sizeof s->cores) != 0)
			return broken(err, "what a node holds differs from its allocations", n->r.id);
		if (s->memory > node_memory_mib(&n->r))
			return broken(err, "a node's memory is given out twice", n->r.id);
		if (n->r.devices_n < 64 && s->held >> n->r.devices_n)
			return broken(err, "a device is held that the node does not have", n->r.id);
	}
	return 0;
}

static int check_quota(const struct core *c, struct arena *arena, struct err *err)
{
	struct tree_sum sum[RESOURCES_MAX] = {{0}};

	for (uint16_t f = 1; f <= FLAVORS_MAX; f++)
		for (uint8_t s = 0; s < SHAPE_COUNT; s++) {
			const struct quota_tree *t = tree_of(c, f, s);

			if (!t)
				continue;
			sum[resource_index(f, s)].usage = arena_alloc(arena, t->nodes_n * sizeof(int64_t));
			sum[resource_index(f, s)].guaranteed = arena_alloc(arena, t->nodes_n * sizeof(int64_t));
		}
	EACH(c, allocs, alloc_s, a) {
		const struct tree_sum *s = &sum[resource_index(a->r.flavor, a->r.shape)];

		for (uint32_t i = 0; s->usage && !a->r.carried && i < a->r.parts_n; i++) {
			s->usage[qnode_of(c, a->r.qnode)->at] += a->r.parts[i].units;
			if (a->r.klass == CLASS_GUARANTEED)
				s->guaranteed[qnode_of(c, a->r.qnode)->at] += a->r.parts[i].units;
		}
	}
	EACH(c, nodes, node_s, n) {
		const struct tree_sum *s = &sum[resource_index(n->carrier.flavor, SHAPE_NODE)];

		if (!n->carrier.flavor || !s->usage)
			continue;
		s->usage[qnode_of(c, n->carrier.qnode)->at]++;
		s->guaranteed[qnode_of(c, n->carrier.qnode)->at]++;
	}
	EACH(c, claims, claim_s, m) {
		const struct tree_sum *s = &sum[resource_index(m->r.flavor, m->r.shape)];

		if (!s->usage)
			continue;
		s->usage[qnode_of(c, m->r.qnode)->at] += m->r.units;
		if (m->r.klass == CLASS_GUARANTEED)
			s->guaranteed[qnode_of(c, m->r.qnode)->at] += m->r.units;
	}
	for (uint32_t r = 0; r < RESOURCES_MAX; r++) {
		const struct quota_tree *t = &c->tree[r];
		struct quota_tree again = *t;

		if (!sum[r].usage)
			continue;
		again.cell = arena_copy(arena, t->cell, t->nodes_n * sizeof *t->cell);
		quota_rebuild(&again);
		for (uint32_t i = 0; i < t->nodes_n; i++)
			if (sum[r].usage[i] != t->cell[i].usage_at || sum[r].guaranteed[i] != t->cell[i].guaranteed_at ||
			    again.cell[i].lent_sum != t->cell[i].lent_sum || again.cell[i].up_sum != t->cell[i].up_sum)
				return broken(err, "I16: usage counters differ from the allocations", r / SHAPE_COUNT);
		/* guarantees can be lowered below what is in use; until then they cover what is given. (Loans may exceed
		 * what is left while they go for a claim: both count.) */
		if (c->cluster.division_version == 1 && !quota_in_order(t))
			return broken(err, "I3: more is given than the division allows", r / SHAPE_COUNT);
	}
	return 0;
}

static int check_jobs(const struct core *c, struct err *err)
{
	uint32_t waiting = 0;

	EACH(c, jobs, job_s, js) {
		const struct job *j = job_rec(c, js);
		const struct alloc *a = core_alloc(c, j->alloc);
		bool holds = j->state == JOB_BINDING || j->state == JOB_RUNNING || j->state == JOB_STOPPING;

		waiting += job_waits(j);
		if (job_terminal(j->state) != (idtab_get(&c->ended, j->id) == js))
			return broken(err, "the list of ended jobs is not what has ended", j->id);
		if (holds && !j->spec.array_step && (!a || a->owner != j->id || a->owner_kind != OWNER_JOB))
			return broken(err, "I9: a running job without its allocation", j->id);
		if (!holds && j->alloc)
			return broken(err, "a job that does not run names an allocation", j->id);
		if (j->state == JOB_EARMARKED && !core_claim(c, j->claim))
			return broken(err, "an earmarked job without its claim", j->id);
		if (j->reserved_ms && !job_waits(j) && j->state != JOB_EARMARKED)
			return broken(err, "a job that does not wait has a reservation", j->id);
		if (job_terminal(j->state) && (j->held_rums || j->held_extra_rums))
			return broken(err, "I5: an ended job still holds budget", j->id);
		if (a && a->state == ALLOC_ACTIVE)
			for (uint32_t i = 0; i < a->parts_n; i++)
				if (a->parts[i].state == PART_ASSIGNED)
					return broken(err, "I9: running before every agent was prepared", j->id);
	}
	if (waiting != c->pending_n)
		return broken(err, "the list of waiting jobs is not what waits", c->pending_n);
	return 0;
}

static int check_budgets(const struct core *c, struct arena *arena, struct err *err)
{
	struct ids ids = ids_of(&c->qnodes, arena);
	int64_t **held = arena_alloc(arena, (ids.n + 1) * sizeof(int64_t *)); /* by stage */
	uint32_t at = 0;

	EACH(c, qnodes, qnode_s, q)
		held[at++] = arena_alloc(arena, (q->r.stages_n + 1) * sizeof(int64_t));
	EACH(c, jobs, job_s, js) {
		const struct job *j = job_rec(c, js);
		const struct qnode_s *q = j->held_rums ? qnode_of(c, j->spec.project) : NULL;

		if (q && j->held_stage < q->r.stages_n)
			held[place_of(&ids, q->r.id)][j->held_stage] += j->held_rums + j->held_extra_rums;
	}
	at = 0;
	EACH(c, qnodes, qnode_s, q) {
		for (uint32_t i = 0; i < q->r.stages_n; i++)
			if (held[at][i] != q->r.stages[i].held_rums)
				return broken(err, "I5: a stage's holds are not those of its jobs", q->r.id);
		at++;
	}
	return 0;
}

static bool loan_key_is(const struct core *c, const struct alloc_s *a)
{
	struct loan_key is, want = loan_key_of(a);

	if (a->r.klass != CLASS_LOAN)
		return !a->loan_at;
	if (!a->loan_at || a->loan_at > c->loan_keys_n || c->loan_keys_n != c->loans.count)
		return false;
	is = c->loan_keys[a->loan_at - 1];
	return is.alloc == a && is.id == want.id && is.lost_from_ms == want.lost_from_ms && is.units == want.units &&
	       is.flavor == want.flavor && is.shape == want.shape && is.rank == want.rank;
}

static int check_allocs(const struct core *c, struct arena *arena, struct err *err)
{
	struct ids leases = ids_of(&c->leases, arena), qnodes = ids_of(&c->qnodes, arena);
	struct lease_sum *sum = arena_alloc(arena, (leases.n + 1) * sizeof *sum);
	uint32_t *live = arena_alloc(arena, (qnodes.n + 1) * sizeof *live);
	uint32_t at = 0;

	EACH(c, allocs, alloc_s, a) {
		struct alloc_s again;

		if ((a->r.klass == CLASS_LOAN) != (idtab_get(&c->loans, a->r.id) == a))
			return broken(err, "the list of loans is not what is on loan", a->r.id);
		again = *a;
		victim_key_set(c, &again);
		if (again.rank != a->rank || again.lost_from_ms != a->lost_from_ms)
			return broken(err, "what stopping it would cost is not up to date", a->r.id);
		if (!loan_key_is(c, a))
			return broken(err, "the key of a loan is not what it would cost", a->r.id);
		if (a->r.id >= c->cluster.next_alloc)
			return broken(err, "I6: an allocation newer than the counter", a->r.id);
		if (a->r.klass == CLASS_GUARANTEED && a->r.lenders_n)
			return broken(err, "I4: a guaranteed allocation with a loan note", a->r.id);
		if (a->r.klass == CLASS_GUARANTEED && a->r.stop_cause == END_RECALL && a->r.claim)
			return broken(err, "I8: guaranteed work is a victim", a->r.id);
		if (!a->r.parts_n)
			return broken(err, "an allocation without parts", a->r.id);
	}
	EACH(c, claims, claim_s, m) {
		const struct job *j = m->r.owner_kind == OWNER_JOB ? core_job(c, m->r.owner) : NULL;

		if (m->r.owner_kind == OWNER_JOB && (!j || j->claim != m->r.id))
			return broken(err, "a claim whose job does not know it", m->r.id);
	}
	EACH(c, allocs, alloc_s, a) {
		struct lease_sum *l = &sum[a->r.owner_kind == OWNER_LEASE ? place_of(&leases, a->r.owner) : leases.n];

		l->allocs++;
		for (uint32_t i = 0; a->r.state != ALLOC_STOPPING && i < a->r.parts_n; i++)
			l->held += a->r.parts[i].stop ? 0 : a->r.parts[i].units;
	}
	EACH(c, leases, lease_s, l) {
		const struct lease_sum *s = &sum[at++];

		live[place_of(&qnodes, l->r.spec.provider)] += !lease_terminal(l->r.state);
		if (s->held != l->units_held || s->allocs != l->allocs_n)
			return broken(err, "a lease's counters differ from its allocations", l->r.id);
		if (s->held > l->r.spec.units && !lease_terminal(l->r.state))
			return broken(err, "a lease holds more than it asked for", l->r.id);
	}
	at = 0;
	EACH(c, qnodes, qnode_s, q)
		if (live[at++] != q->leases)
			return broken(err, "a provider's count of leases is not that of its leases", q->r.id);
	return 0;
}

int core_check(const struct core *c, struct err *err)
{
	CLEANUP(arena_done) struct arena arena = {0};
	int rc = 0;

	if (!c->have_cluster)
		return 0;
	rc = check_nodes(c, &arena, err);
	if (!rc)
		rc = carrier_check(c, err);
	if (!rc)
		rc = rosters_check(c, err);
	if (!rc)
		rc = check_quota(c, &arena, err);
	if (!rc)
		rc = check_jobs(c, err);
	if (!rc)
		rc = check_budgets(c, &arena, err);
	if (!rc)
		rc = check_allocs(c, &arena, err);
	if (!rc)
		rc = line_check(c, err);
	if (!rc)
		rc = plan_check(c, err);
	if (!rc)
		rc = promote_check(c, err);
	if (!rc)
		rc = reservation_check(c, err);
	if (!rc)
		rc = elastic_check(c, err);
	if (!rc)
		rc = certify_check(c, err);
	if (!rc)
		rc = note_check(c, err);
	if (!rc)
		rc = headroom_check(c, err);
	return rc;
}
