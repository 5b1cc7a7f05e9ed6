/* check.c - invariants that one state can show, recomputed from the records alone */
#include "daemon/core/state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int broken(struct err *err, const char *what, uint64_t id)
{
	return err_set(err, ERR_CORRUPT, "%s (%" PRIu64 ")", what, id);
}

static int check_nodes(const struct core *c, struct err *err)
{
	EACH(c, nodes, node_s, n) {
		uint64_t held = 0, loaned = 0, claimed = 0, cores[CORE_WORDS] = {0};
		uint32_t units = 0, fraction = 0, memory = 0, memory_claimed = 0;

		EACH(c, allocs, alloc_s, a)
			for (uint32_t i = 0; i < a->r.parts_n; i++) {
				const struct part *p = &a->r.parts[i];

				if (p->node != n->r.id)
					continue;
				if (held & p->devices)
					return broken(err, "I1: a device is in two allocations", a->r.id);
				for (int w = 0; w < CORE_WORDS; w++)
					if (cores[w] & p->cores[w])
						return broken(err, "a core is in two allocations", a->r.id);
				mask_or(cores, p->cores);
				held |= p->devices;
				if (a->r.klass == CLASS_LOAN)
					loaned |= p->devices;
				else
					fraction += a->r.shape == SHAPE_GPU;
				memory += p->memory_mib;
				units++;
			}
		EACH(c, claims, claim_s, m)
			for (uint32_t i = 0; i < m->r.parts_n; i++)
				if (m->r.parts[i].node == n->r.id) {
					if (claimed & m->r.parts[i].devices)
						return broken(err, "I11: a device is claimed twice", m->r.id);
					claimed |= m->r.parts[i].devices;
					memory_claimed += m->r.parts[i].memory_mib;
				}
		if (held != n->held || loaned != n->loaned || claimed != n->claimed || units != n->units_n ||
		    fraction != n->fraction_parts || memory != n->memory_held_mib ||
		    memory_claimed != n->memory_claimed_mib ||
		    memcmp(cores, n->cores_held, sizeof cores) != 0)
			return broken(err, "what a node holds differs from its allocations", n->r.id);
		if (memory > node_memory_mib(&n->r))
			return broken(err, "a node's memory is given out twice", n->r.id);
		if (n->r.devices_n < 64 && held >> n->r.devices_n)
			return broken(err, "a device is held that the node does not have", n->r.id);
	}
	return 0;
}

static int check_quota(const struct core *c, struct err *err)
{
	for (uint16_t f = 1; f <= FLAVORS_MAX; f++)
		for (uint8_t s = 0; s < SHAPE_COUNT; s++) {
			const struct quota_tree *t = tree_of(c, f, s);
			struct quota_tree again;
			int64_t *usage, *guaranteed;
			bool same = true;

			if (!t)
				continue;
			usage = xcalloc(t->nodes_n, sizeof *usage);
			guaranteed = xcalloc(t->nodes_n, sizeof *guaranteed);
			again = *t;
			again.cell = xmalloc(t->nodes_n * sizeof *again.cell);
			memcpy(again.cell, t->cell, t->nodes_n * sizeof *again.cell);
			quota_rebuild(&again);
			EACH(c, allocs, alloc_s, a)
				for (uint32_t i = 0; a->r.flavor == f && a->r.shape == s && i < a->r.parts_n; i++) {
					usage[qnode_of(c, a->r.qnode)->at] += a->r.parts[i].units;
					if (a->r.klass == CLASS_GUARANTEED)
						guaranteed[qnode_of(c, a->r.qnode)->at] += a->r.parts[i].units;
				}
			EACH(c, claims, claim_s, m)
				if (m->r.flavor == f && m->r.shape == s) {
					usage[qnode_of(c, m->r.qnode)->at] += m->r.units;
					if (m->r.klass == CLASS_GUARANTEED)
						guaranteed[qnode_of(c, m->r.qnode)->at] += m->r.units;
				}
			for (uint32_t i = 0; i < t->nodes_n; i++)
				same &= usage[i] == t->cell[i].usage_at && guaranteed[i] == t->cell[i].guaranteed_at &&
					again.cell[i].lent_sum == t->cell[i].lent_sum &&
					again.cell[i].up_sum == t->cell[i].up_sum;
			free(again.cell);
			free(usage);
			free(guaranteed);
			if (!same)
				return broken(err, "I16: usage counters differ from the allocations", f);
		}
	return 0;
}

static int check_jobs(const struct core *c, struct err *err)
{
	uint32_t waiting = 0;

	EACH(c, jobs, job_s, j) {
		const struct alloc *a = core_alloc(c, j->r.alloc);
		bool holds = j->r.state == JOB_BINDING || j->r.state == JOB_RUNNING || j->r.state == JOB_STOPPING;

		waiting += job_waits(&j->r);
		if ((j->r.state == JOB_PENDING) != (j->line != NULL) || (j->line && !j->wait.place))
			return broken(err, "a job is not in line exactly while it is pending", j->r.id);
		if (job_terminal(j->r.state) != (idtab_get(&c->ended, j->r.id) == j))
			return broken(err, "the list of ended jobs is not what has ended", j->r.id);
		if (holds && !j->r.spec.array_step && (!a || a->owner != j->r.id || a->owner_kind != OWNER_JOB))
			return broken(err, "I9: a running job without its allocation", j->r.id);
		if (!holds && j->r.alloc)
			return broken(err, "a job that does not run names an allocation", j->r.id);
		if (j->r.state == JOB_EARMARKED && !core_claim(c, j->r.claim))
			return broken(err, "an earmarked job without its claim", j->r.id);
		if (job_terminal(j->r.state) && j->r.held_rums)
			return broken(err, "I5: an ended job still holds budget", j->r.id);
		if (a && a->state == ALLOC_ACTIVE)
			for (uint32_t i = 0; i < a->parts_n; i++)
				if (a->parts[i].state == PART_ASSIGNED)
					return broken(err, "I9: running before every agent was prepared", j->r.id);
	}
	if (waiting != c->pending_n)
		return broken(err, "the list of waiting jobs is not what waits", c->pending_n);
	return 0;
}

static int check_budgets(const struct core *c, struct err *err)
{
	EACH(c, qnodes, qnode_s, q)
		for (uint32_t i = 0; i < q->r.stages_n; i++) {
			int64_t held = 0;

			EACH(c, jobs, job_s, j)
				if (j->r.spec.project == q->r.id && j->r.held_rums && j->r.held_stage == i)
					held += j->r.held_rums;
			if (held != q->r.stages[i].held_rums)
				return broken(err, "I5: a stage's holds are not those of its jobs", q->r.id);
		}
	return 0;
}

static int check_allocs(const struct core *c, struct err *err)
{
	EACH(c, allocs, alloc_s, a) {
		if ((a->r.klass == CLASS_LOAN) != (idtab_get(&c->loans, a->r.id) == a))
			return broken(err, "the list of loans is not what is on loan", a->r.id);
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
	EACH(c, qnodes, qnode_s, q) {
		uint32_t live = 0;

		EACH(c, leases, lease_s, l)
			live += l->r.spec.provider == q->r.id && !lease_terminal(l->r.state);
		if (live != q->leases)
			return broken(err, "a provider's count of leases is not that of its leases", q->r.id);
	}
	EACH(c, leases, lease_s, l) {
		uint32_t held = 0, allocs = 0;

		EACH(c, allocs, alloc_s, a)
			if (a->r.owner_kind == OWNER_LEASE && a->r.owner == l->r.id) {
				allocs++;
				for (uint32_t i = 0; a->r.state != ALLOC_STOPPING && i < a->r.parts_n; i++)
					held += a->r.parts[i].stop ? 0 : a->r.parts[i].units;
			}
		if (held != l->units_held || allocs != l->allocs_n)
			return broken(err, "a lease's counters differ from its allocations", l->r.id);
		if (held > l->r.spec.units && !lease_terminal(l->r.state))
			return broken(err, "a lease holds more than it asked for", l->r.id);
	}
	return 0;
}

int core_check(const struct core *c, struct err *err)
{
	int rc = 0;

	if (!c->have_cluster)
		return 0;
	rc = check_nodes(c, err);
	if (!rc)
		rc = check_quota(c, err);
	if (!rc)
		rc = check_jobs(c, err);
	if (!rc)
		rc = check_budgets(c, err);
	if (!rc)
		rc = check_allocs(c, err);
	return rc;
}
