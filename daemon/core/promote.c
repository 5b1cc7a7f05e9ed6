/* promote.c - loans that become guaranteed where they stand
 *
 * Work that its project could have guaranteed by now, because something else of the project ended, is a loan no
 * longer: nobody can recall it, and whoever lent gets his nominal back. Not if that delays a reservation.
 *
 * A project has thousands of loans and, most of the time, room for a few units that somebody's reserved start
 * needs soon. So its loans are kept by what they take of the quota, alike in resource and units, each of these
 * classes by when its loans end: only those that end before the plan runs short are looked at.
 *
 * Invariant (promote_check): a running loan of a job, which has a limit, is in the class of its project, resource and units, at the
 * instant until which the plan counts it; nothing else is in any.
 */
#include "daemon/core/reservation.h"
#include "daemon/core/state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- classes ------------------------------------------------------------------------------------------- */

static bool may_ever(const struct alloc *a)
{
	return a->klass == CLASS_LOAN && a->state == ALLOC_ACTIVE && a->owner_kind == OWNER_JOB && !a->extra &&
	       a->limit_ms != T_NEVER;
}

static struct loan_class *class_for(struct qnode_s *q, const struct alloc *a)
{
	uint32_t resource = resource_index(a->flavor, a->shape), i = 0;

	while (i < q->loan_classes_n && (q->loan_class[i].resource < resource ||
					 (q->loan_class[i].resource == resource && q->loan_class[i].units < a->units)))
		i++;
	if (i < q->loan_classes_n && q->loan_class[i].resource == resource && q->loan_class[i].units == a->units)
		return &q->loan_class[i];
	q->loan_class = xrealloc(q->loan_class, (q->loan_classes_n + 1) * sizeof *q->loan_class);
	memmove(&q->loan_class[i + 1], &q->loan_class[i], (q->loan_classes_n - i) * sizeof *q->loan_class);
	q->loan_class[i] = (struct loan_class){.resource = resource, .units = a->units};
	q->loan_classes_n++;
	return &q->loan_class[i];
}

void promote_track(struct core *c, struct alloc_s *a, bool add)
{
	struct qnode_s *q = qnode_of(c, a->r.qnode);

	bool in = add && may_ever(&a->r);

	if (!q || (!a->by_end.place && !in))
		return;
	(void)idtab_set(&q->loans, a->r.id, in ? a : NULL);
	timer_set(&class_for(q, &a->r)->by_end, &a->by_end, RECORD_ALLOC, a->r.id,
		  in ? a->until_ms : T_NEVER);
}

void loan_classes_done(struct qnode_s *q)
{
	for (uint32_t i = 0; i < q->loan_classes_n; i++)
		timers_done(&q->loan_class[i].by_end);
	free(q->loan_class);
	idtab_done(&q->loans);
}

int promote_check(const struct core *c, struct err *err)
{
	uint64_t there = 0, listed = 0, by_id = 0;

	EACH(c, allocs, alloc_s, a) {
		if (may_ever(&a->r) != (a->by_end.place > 0) || (a->by_end.place && a->by_end.at_ms != a->until_ms))
			return err_set(err, ERR_CORRUPT, "loan %" PRIu64 " is not among those that may be promoted", a->r.id);
		there += may_ever(&a->r);
	}
	EACH(c, qnodes, qnode_s, q) {
		by_id += q->loans.count;
		for (uint32_t i = 0; i < q->loan_classes_n; i++)
			for (uint32_t k = 0; k < q->loan_class[i].by_end.n; k++, listed++) {
				const struct alloc_s *a = alloc_of(c, q->loan_class[i].by_end.heap[k]->id);

				if (!a || idtab_get(&q->loans, a->r.id) != a || a->r.units != q->loan_class[i].units ||
				    resource_index(a->r.flavor, a->r.shape) != q->loan_class[i].resource)
					return err_set(err, ERR_CORRUPT, "a loan is in the class of another");
			}
	}
	return there == listed && there == by_id ? 0 : err_set(err, ERR_CORRUPT, "loans are listed that are gone");
}

/* ---- what stands against one --------------------------------------------------------------------------- */

/* Devices of an offer that was not accepted yet: whoever they are held by may still have to go. */
static bool on_offer(const struct core *c, const struct alloc *a)
{
	for (uint32_t i = 0; i < a->parts_n; i++) {
		const struct node_s *n = node_of(c, a->parts[i].node);

		if (n->claimed & a->parts[i].devices)
			return true;
		for (int w = 0; w < CORE_WORDS; w++)
			if (n->cores_claimed[w] & a->parts[i].cores[w])
				return true;
	}
	EACH(c, claims, claim_s, m) /* it may be the memory alone that is wanted */
		for (uint32_t i = 0; m->r.offered && i < m->r.victims_n; i++)
			if (m->r.victims[i].alloc == a->id)
				return true;
	return false;
}

/* Does the stage that holds for `j` carry the full rate as well? ret_more: what is missing to it. */
static bool stage_carries(const struct core *c, const struct job *j, int64_t *ret_more)
{
	const struct qnode *q = core_qnode(c, j->spec.project);
	const struct stage *s;

	*ret_more = 0;
	if (!j->held_rums || j->held_stage >= q->stages_n)
		return true;
	s = &q->stages[j->held_stage];
	*ret_more = job_hold(c, &j->spec, CLASS_GUARANTEED) - j->held_rums;
	return *ret_more <= stage_left(s);
}

/* Units of each resource for which the project has room in its quota; false if for none. */
static bool room_of(const struct core *c, const struct qnode_s *q, int64_t room[RESOURCES_MAX])
{
	bool any = false;

	memset(room, 0, RESOURCES_MAX * sizeof *room);
	for (uint16_t f = 1; f <= FLAVORS_MAX; f++)
		for (uint8_t s = 0; s < SHAPE_COUNT && flavor_of(c, f); s++) {
			const struct quota_tree *t = tree_of(c, f, s);

			if (!t || !quota_covers(t, q->at, 1, NULL))
				continue;
			room[resource_index(f, s)] = quota_cover_left(t, q->at);
			any = true;
		}
	return any;
}

static bool promote(const struct core *c, int64_t t, struct decision *d, const struct alloc_s *a)
{
	const struct job *j = core_job(c, a->r.owner);
	struct plan_ask ask = {.qnode = a->r.qnode,
			       .flavor = a->r.flavor,
			       .shape = a->r.shape,
			       .units = a->r.units,
			       .span_ms = max64(a->until_ms - t, 1),
			       .parts = a->r.parts,
			       .parts_n = a->r.parts_n};
	struct alloc *e;
	int64_t more;

	if (!j || waits_for_loan_only(&j->spec))
		return false;
	if (quota_ask(c, a->r.qnode, a->r.flavor, a->r.shape, a->r.units, CLASS_GUARANTEED) ||
	    !plan_may(c, t, &ask, NULL) || !place_may_guarantee(c, &a->r) || reservation_blocks(c, &a->r, a->r.limit_ms) || on_offer(c, &a->r) ||
	    !stage_carries(c, j, &more))
		return false;
	alloc_charge(c, d, t, a->r.id); /* so far as a loan */
	if (more) {
		EDIT(c, d, RECORD_QNODE, qnode, j->spec.project)->stages[j->held_stage].held_rums += more;
		EDIT(c, d, RECORD_JOB, job, j->id)->held_rums += more;
	}
	e = EDIT(c, d, RECORD_ALLOC, alloc, a->r.id);
	e->klass = CLASS_GUARANTEED;
	e->lenders_n = 0;
	return true;
}

/* ---- who is next ---------------------------------------------------------------------------------------- */

static int id_cmp(const void *pa, const void *pb)
{
	uint64_t a, b;

	memcpy(&a, pa, sizeof a);
	memcpy(&b, pb, sizeof b);
	return a < b ? -1 : a > b;
}

/* Of one project, the lowest id first: all that fit. */
static bool promote_by_id(const struct core *c, int64_t t, struct decision *d, const struct qnode_s *q,
			  const int64_t room[RESOURCES_MAX])
{
	EACH(q, loans, alloc_s, a)
		if (a->r.units <= room[resource_index(a->r.flavor, a->r.shape)] &&
		    promote(c, t, d, a))
			return true;
	return false;
}

/* The same, but those that end too late for the plan are not looked at. */
static bool promote_one_of(const struct core *c, int64_t t, struct decision *d, const struct qnode_s *q,
			   const int64_t room[RESOURCES_MAX])
{
	uint64_t *ids = NULL;
	uint32_t n = 0, cap = 0;
	bool done = false;

	for (uint32_t i = 0; i < q->loan_classes_n; i++) {
		const struct loan_class *k = &q->loan_class[i];
		const struct timer *first = timer_first(&k->by_end);
		int64_t until;

		if (!first || k->units > room[k->resource])
			continue;
		until = plan_may_until(c, t, q->r.id, (uint16_t)(k->resource / SHAPE_COUNT),
				       (uint8_t)(k->resource % SHAPE_COUNT), k->units);
		if (until <= t || first->at_ms > until)
			continue;
		if (until == T_NEVER) { /* the plan turns nobody away: most likely the first one that fits */
			free(ids);
			return promote_by_id(c, t, d, q, room);
		}
		for (uint32_t at = 0; (at = timers_within(&k->by_end, at, until)) != 0;) {
			if (n == cap) {
				cap = cap ? cap * 2 : 64;
				ids = xrealloc(ids, cap * sizeof *ids);
			}
			ids[n++] = k->by_end.heap[at - 1]->id;
		}
	}
	if (n)
		qsort(ids, n, sizeof *ids, id_cmp);
	for (uint32_t i = 0; i < n && !done; i++)
		done = promote(c, t, d, alloc_of(c, ids[i]));
	free(ids);
	return done;
}

bool sched_promote(const struct core *c, int64_t t, struct decision *d)
{
	int64_t room[RESOURCES_MAX];

	EACH(c, qnodes, qnode_s, q)
		if (q->loan_classes_n && room_of(c, q, room) && promote_one_of(c, t, d, q, room))
			return true;
	return false;
}
