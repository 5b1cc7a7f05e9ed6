/* plan.c - what is taken until when, and by whom it may be counted on
 *
 * Profiles (profile.h) of what is taken, per flavor and per pool of quota:
 *
 *   flavor.firm    devices of guaranteed work and of claims for it
 *   flavor.total   of all work, and of claims from their deadline on
 *   pool.firm      units charged to the pool, guaranteed work only
 *
 * free(t) is then what there is (devices ready, the pool's own nominal) plus the profile's value, which
 * is never positive. A job counts until its time limit, while it binds until the latest instant at which
 * that can begin; a claim of a job until the job it fetches for would end; leases, whose term may be
 * extended, for ever. Time limits are promises of sluisd, not of the program: the end is enforced.
 *
 * A *pool* is the tree node whose own nominal pays for a project's guaranteed work: the project itself if
 * it has quota, else the nearest node above it that has some, as long as nobody below that one has quota
 * of its own and nothing limits the borrowing on the way. Then guaranteed work of these projects is the
 * only thing that can be charged to that nominal, so what is free in the pool at t can be promised: nobody
 * else may be given it but as a loan, and a loan comes back within recall_slo. Projects whose quota is
 * arranged otherwise have no pool.
 *
 * A *reservation* (job.reserved_ms) is a job's place in the plan: from that instant on, for as long as it may
 * run, its units are taken from its pool and its devices from the flavor, so that nothing else is decided
 * that would leave too little. It is part of the record, because it may carry a promise: a restart changes
 * nothing about it. The plan runs behind by the margin (plan_margin()) within which an enforced end is proven: what should
 * have ended less than that ago still counts as held.
 *
 * Invariant (plan_check): every profile is the sum of the allocations, claims and reservations there are. The
 * profiles are derived state; a pool's follow the quota trees and are made again with them.
 *
 * Source: Mu'alem & Feitelson 2001, conservative backfilling; reservations up to a number as in Maui.
 */
#include "daemon/core/state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* So many changes never happen: two per allocation, claim and reservation. */
enum { CHANGES_MAX = 1 << 26 };

static void take(struct profile *p, int64_t from_ms, int64_t to_ms, int64_t units)
{
	int rc = profile_hold(p, from_ms, to_ms, units, NULL);

	ENSURE(rc == 0);
}

/* ---- until when -------------------------------------------------------------------------------------- */

static int64_t after(int64_t at_ms, int64_t span_ms)
{
	return at_ms == T_NEVER || at_ms > INSTANT_MAX_MS || span_ms > SPAN_MAX_MS ? T_NEVER : at_ms + span_ms;
}

static int64_t alloc_until(const struct core *c, const struct alloc *a)
{
	const struct job *j = a->owner_kind == OWNER_JOB ? core_job(c, a->owner) : NULL;

	if (a->state == ALLOC_STOPPING)
		return a->stop_at_ms;
	if (a->owner_kind == OWNER_LEASE)
		return T_NEVER;
	if (a->state == ALLOC_BINDING)
		return j ? after(a->bind_by_ms, j->spec.time_limit_ms) : T_NEVER;
	return a->limit_ms;
}

static int64_t claim_until(const struct core *c, const struct claim *m)
{
	const struct job *j = m->owner_kind == OWNER_JOB ? core_job(c, m->owner) : NULL;

	return j ? after(m->deadline_ms, c->cluster.bind_timeout_ms + j->spec.time_limit_ms) : T_NEVER;
}

/* ---- pools ------------------------------------------------------------------------------------------- */

struct pool *plan_pool(const struct core *c, uint32_t qnode, uint16_t flavor, uint8_t shape)
{
	const struct plan_pools *p;

	if (!tree_of(c, flavor, shape))
		return NULL;
	p = &c->pools[resource_index(flavor, shape)];
	return p->of[qnode_of(c, qnode)->at];
}

static void pools_free(struct plan_pools *p)
{
	for (uint32_t i = 0; i < p->n; i++)
		profile_done(&p->pool[i].firm);
	free(p->pool);
	free(p->of);
	*p = (struct plan_pools){0};
}

static void pools_of_tree(const struct quota_tree *t, struct plan_pools *p)
{
	bool *below = xcalloc(t->nodes_n, sizeof *below); /* somebody below has quota of its own */

	for (uint32_t i = t->nodes_n; i-- > 1;)
		if (below[i] || t->cell[i].own > 0)
			below[t->parent[i]] = true;
	p->of = xcalloc(t->nodes_n, sizeof *p->of);
	p->pool = xcalloc(t->nodes_n, sizeof *p->pool);
	for (uint32_t i = 0; i < t->nodes_n; i++)
		if (t->cell[i].own > 0 && i > 0) {
			struct pool *mine = &p->pool[p->n++];

			mine->at = i;
			mine->own = t->cell[i].own;
			profile_init(&mine->firm, 0, CHANGES_MAX);
			p->of[i] = mine;
		} else if (i > 0 && t->cell[i].borrowing == QTY_UNLIMITED) {
			struct pool *above = p->of[t->parent[i]];

			p->of[i] = above && !below[above->at] ? above : NULL;
		}
	free(below);
}

static struct pool *pool_take(struct core *c, uint32_t qnode, uint16_t flavor, uint8_t shape, int64_t from_ms,
			      int64_t to_ms, int64_t units)
{
	struct pool *pool = c->tree_stale ? NULL : plan_pool(c, qnode, flavor, shape); /* the rebuild counts all */

	if (pool)
		take(&pool->firm, from_ms, to_ms, units);
	return pool;
}

static void pool_hold(struct core *c, const struct hold *h, int sign)
{
	struct pool *pool = pool_take(c, h->qnode, h->flavor, h->shape, h->from_ms, h->to_ms, sign * h->units);

	if (pool)
		pool->holds += (uint32_t)sign;
}

void plan_pools_rebuild(struct core *c)
{
	for (uint32_t r = 0; r < RESOURCES_MAX; r++) {
		pools_free(&c->pools[r]);
		if (c->tree[r].cell)
			pools_of_tree(&c->tree[r], &c->pools[r]);
	}
	EACH(c, allocs, alloc_s, a)
		if (a->r.klass == CLASS_GUARANTEED)
			(void)pool_take(c, a->r.qnode, a->r.flavor, a->r.shape, 0, a->until_ms, alloc_units(&a->r));
	EACH(c, claims, claim_s, m)
		if (m->r.klass == CLASS_GUARANTEED)
			(void)pool_take(c, m->r.qnode, m->r.flavor, m->r.shape, 0, m->until_ms, m->r.units);
	EACH(c, holds, hold, h)
		pool_hold(c, h, 1);
}

/* ---- what the records contribute ------------------------------------------------------------------------ */

static void flavors_init(struct plan_flavor plan[FLAVORS_MAX + 1])
{
	for (int f = 0; f <= FLAVORS_MAX; f++) {
		profile_init(&plan[f].firm, 0, CHANGES_MAX);
		profile_init(&plan[f].total, 0, CHANGES_MAX);
	}
}

static void flavors_done(struct plan_flavor plan[FLAVORS_MAX + 1])
{
	for (int f = 0; f <= FLAVORS_MAX; f++) {
		profile_done(&plan[f].firm);
		profile_done(&plan[f].total);
	}
}

void plan_init(struct core *c) { flavors_init(c->plan); }

void plan_done(struct core *c)
{
	flavors_done(c->plan);
	for (uint32_t r = 0; r < RESOURCES_MAX; r++)
		pools_free(&c->pools[r]);
	EACH(c, holds, hold, h)
		free(h);
	idtab_done(&c->holds);
}

/* Of a division that says otherwise by now, the parts still hold what they hold. */
static int64_t parts_devices(const struct part *parts, uint32_t n, uint8_t shape)
{
	int64_t devices = 0;

	for (uint32_t i = 0; i < n; i++)
		devices += shape == SHAPE_GPU	? parts[i].units :
			   parts[i].devices	? popcount64(parts[i].devices) :
						  mask_count(parts[i].cores);
	return devices;
}

static void alloc_take(struct plan_flavor *plan, const struct alloc_s *a, int64_t sign)
{
	int64_t devices = sign * parts_devices(a->r.parts, a->r.parts_n, a->r.shape);

	take(&plan[a->r.flavor].total, 0, a->until_ms, devices);
	if (a->r.klass == CLASS_GUARANTEED)
		take(&plan[a->r.flavor].firm, 0, a->until_ms, devices);
}

void plan_alloc(struct core *c, struct alloc_s *a, bool add)
{
	int64_t sign = add ? 1 : -1;

	if (add)
		a->until_ms = alloc_until(c, &a->r);
	alloc_take(c->plan, a, sign);
	if (a->r.klass == CLASS_GUARANTEED)
		(void)pool_take(c, a->r.qnode, a->r.flavor, a->r.shape, 0, a->until_ms, sign * alloc_units(&a->r));
}

/* Until its deadline most of what a claim fetches is counted with its victims. */
static void claim_take(struct plan_flavor *plan, const struct claim_s *m, int64_t sign)
{
	int64_t devices = sign * parts_devices(m->r.parts, m->r.parts_n, m->r.shape);

	take(&plan[m->r.flavor].total, m->r.deadline_ms, m->until_ms, devices);
	if (m->r.klass == CLASS_GUARANTEED)
		take(&plan[m->r.flavor].firm, 0, m->until_ms, devices);
}

void plan_claim(struct core *c, struct claim_s *m, bool add)
{
	int64_t sign = add ? 1 : -1;

	if (add)
		m->until_ms = claim_until(c, &m->r);
	claim_take(c->plan, m, sign);
	if (m->r.klass == CLASS_GUARANTEED)
		(void)pool_take(c, m->r.qnode, m->r.flavor, m->r.shape, 0, m->until_ms, sign * (int64_t)m->r.units);
}

/* A job's time limit says until when its allocation and its claim count. */
void plan_job(struct core *c, const struct job *j)
{
	struct alloc_s *a = j->alloc ? alloc_of(c, j->alloc) : NULL;
	struct claim_s *m = j->claim ? claim_of(c, j->claim) : NULL;

	if (a && alloc_until(c, &a->r) != a->until_ms) {
		plan_alloc(c, a, false);
		plan_alloc(c, a, true);
	}
	if (m && claim_until(c, &m->r) != m->until_ms) {
		plan_claim(c, m, false);
		plan_claim(c, m, true);
	}
}

static void node_ready(struct plan_flavor *plan, const struct node_s *n, int64_t sign)
{
	if (n->r.state != NODE_READY || n->r.admin != NODE_ENABLED)
		return;
	if (node_is_cpu(n))
		plan[0].ready += sign * (int64_t)mask_count(n->cores_usable);
	for (uint32_t i = 0; i < n->r.devices_n; i++)
		if (n->r.devices[i].health == DEVICE_OK && n->r.devices[i].flavor)
			plan[n->r.devices[i].flavor].ready += sign;
}

void plan_node(struct core *c, const struct node_s *n, bool add) { node_ready(c->plan, n, add ? 1 : -1); }

/* Flavors counted in cores share the nodes that have nothing else. */
int64_t plan_ready(const struct core *c, uint16_t flavor)
{
	return c->plan[flavor_of(c, flavor)->unit == UNIT_CORE ? 0 : flavor].ready;
}

/* ---- reservations --------------------------------------------------------------------------------------- */

/* From the limit of work to the proof that it is gone. */
int64_t plan_margin(const struct core *c, uint16_t flavor)
{
	return c->cluster.kill_margin_ms + flavor_of(c, flavor)->scrub_ms_max;
}

int64_t plan_span(const struct core *c, const struct job_spec *s, bool claimed)
{
	return c->cluster.bind_timeout_ms + s->time_limit_ms + (claimed ? qnode_recall_slo(c, s->project) : 0);
}

uint32_t plan_reservations_max(const struct core *c)
{
	return c->cluster.reservations_max ? c->cluster.reservations_max : HOLDS_DEFAULT;
}

static void hold_take(struct core *c, const struct hold *h, int sign)
{
	struct plan_flavor *f = &c->plan[h->flavor];

	take(&f->firm, h->from_ms, h->to_ms, sign * h->devices);
	if (h->total)
		take(&f->total, h->from_ms, h->to_ms, sign * h->devices);
	pool_hold(c, h, sign);
	f->holds += (uint32_t)sign;
	f->holds_total += h->total ? (uint32_t)sign : 0;
	qnode_of(c, h->qnode)->holds += (uint32_t)sign;
}

static struct hold hold_of(const struct core *c, const struct job *j)
{
	const struct job_spec *s = &j->spec;

	return (struct hold){
		.job = j->id,
		.from_ms = max64(j->reserved_ms - plan_margin(c, s->flavor), 1),
		.to_ms = after(j->reserved_ms, plan_span(c, s, true)),
		.units = s->units,
		.devices = in_devices(c, s->flavor, s->shape, s->units),
		.qnode = s->project,
		.flavor = s->flavor,
		.shape = s->shape,
		.total = j->reserved_devices,
	};
}

void plan_hold(struct core *c, const struct job *j)
{
	bool wanted = j->state == JOB_PENDING && j->reserved_ms;
	struct hold *h = c->holds.count || wanted ? idtab_get(&c->holds, j->id) : NULL;

	if (h) { /* even if it stays: what it is counted by may have changed */
		hold_take(c, h, -1);
		if (!wanted) {
			work_freed(c, h->flavor);
			(void)idtab_set(&c->holds, h->job, NULL);
			free(h);
		}
	}
	if (!wanted)
		return;
	if (!h) {
		h = xcalloc(1, sizeof *h);
		(void)idtab_set(&c->holds, j->id, h);
	}
	*h = hold_of(c, j);
	hold_take(c, h, 1);
}

/* Asking takes the asker's own reservation out for a moment: the profiles are as before afterwards. */
static struct hold *own_out(const struct core *c, uint64_t job, struct core **ret_mut)
{
	struct hold *h = job && c->holds.count ? idtab_get(&c->holds, job) : NULL;

	memcpy(ret_mut, &c, sizeof *ret_mut);
	if (h)
		hold_take(*ret_mut, h, -1);
	return h;
}

/* The first reservation, by instant and id, that work there until to_ms could delay. */
static uint64_t first_hold(const struct core *c, uint16_t flavor, uint64_t but, int64_t to_ms)
{
	const struct hold *best = NULL;

	EACH(c, holds, hold, h)
		if (h->flavor == flavor && h->job != but && h->from_ms < to_ms && (!best || h->from_ms < best->from_ms))
			best = h;
	return best ? best->job : 0;
}

bool plan_may(const struct core *c, int64_t t, uint32_t qnode, uint16_t flavor, uint8_t shape, int64_t units,
	      int64_t span_ms, uint64_t job, uint64_t *ret_other)
{
	struct pool *pool = plan_pool(c, qnode, flavor, shape);
	const struct plan_flavor *f = &c->plan[flavor];
	int64_t from = t - plan_margin(c, flavor), to = after(t, span_ms);
	struct core *mut;
	struct hold *own;
	bool ok = true;

	if (!f->holds)
		return true;
	own = own_out(c, job, &mut);
	if (pool && pool->holds)
		ok = profile_min(&pool->firm, from, to) + pool->own >= units;
	if (ok && f->holds)
		ok = profile_min(&f->firm, from, to) + plan_ready(c, flavor) >= in_devices(c, flavor, shape, units);
	if (own)
		hold_take(mut, own, 1);
	if (!ok && ret_other)
		*ret_other = first_hold(c, flavor, job, to);
	return ok;
}

bool plan_may_loan(const struct core *c, int64_t t, uint16_t flavor, int64_t devices, int64_t span_ms, uint64_t job,
		   uint64_t *ret_other)
{
	const struct plan_flavor *f = &c->plan[flavor];
	struct core *mut;
	struct hold *own;
	bool ok;

	if (!f->holds_total)
		return true;
	own = own_out(c, job, &mut);
	ok = !f->holds_total || profile_min(&f->total, t, after(t, span_ms)) + plan_ready(c, flavor) >= devices;
	if (own)
		hold_take(mut, own, 1);
	if (!ok && ret_other)
		*ret_other = first_hold(c, flavor, job, after(t, span_ms));
	return ok;
}

bool plan_may_last(const struct core *c, int64_t t, const struct alloc *a, int64_t more_ms, uint64_t *ret_other)
{
	const struct pool *pool = plan_pool(c, a->qnode, a->flavor, a->shape);
	int64_t from = max64(alloc_of(c, a->id)->until_ms, t), to = after(from, more_ms);
	bool ok = true;

	if (pool && pool->holds)
		ok = profile_min(&pool->firm, from, to) + pool->own >= alloc_units(a);
	if (ok && c->plan[a->flavor].holds)
		ok = profile_min(&c->plan[a->flavor].firm, from, to) + plan_ready(c, a->flavor) >=
		     parts_devices(a->parts, a->parts_n, a->shape);
	if (!ok)
		*ret_other = first_hold(c, a->flavor, 0, to);
	return ok;
}

int64_t plan_changes(const struct core *c, int64_t t, uint32_t qnode, uint16_t flavor, uint8_t shape)
{
	const struct pool *pool = plan_pool(c, qnode, flavor, shape);
	const struct plan_flavor *f = &c->plan[flavor];
	int64_t from = t - plan_margin(c, flavor), at = profile_next(&f->firm, from);

	if (pool)
		at = min64(at, profile_next(&pool->firm, from));
	if (at != T_NEVER)
		at += t - from;
	return min64(at, profile_next(&f->total, t));
}

int64_t plan_reserve(const struct core *c, int64_t t, const struct job_spec *s)
{
	const struct pool *pool = plan_pool(c, s->project, s->flavor, s->shape);
	int64_t behind = plan_margin(c, s->flavor), from = t - behind, length = behind + plan_span(c, s, true);
	int64_t devices = in_devices(c, s->flavor, s->shape, s->units) - plan_ready(c, s->flavor), at;

	/* each round goes to an instant at which one of the two has become free: as many as there are changes */
	for (;;) {
		at = pool ? profile_fit(&pool->firm, from, length, (int64_t)s->units - pool->own) : from;
		from = at == T_NEVER ? at : profile_fit(&c->plan[s->flavor].firm, at, length, devices);
		if (from == T_NEVER || from == at)
			break;
	}
	return from == T_NEVER ? T_NEVER : from + behind;
}

/* ---- questions ---------------------------------------------------------------------------------------- */

int64_t plan_free(const struct core *c, int64_t t, uint16_t flavor)
{
	return plan_ready(c, flavor) + profile_at(&c->plan[flavor].total, t);
}

int64_t plan_fit(const struct core *c, int64_t t, uint16_t flavor, int64_t devices, int64_t span_ms)
{
	return profile_fit(&c->plan[flavor].total, t, span_ms, devices - plan_ready(c, flavor));
}

/* ---- check -------------------------------------------------------------------------------------------- */

/* Equal as functions of time: the same value before everything and at every change of either. */
static bool same(const struct profile *a, const struct profile *b)
{
	int64_t t = 0;

	if (!a->count && !b->count)
		return a->base == b->base;
	if (a->count != b->count || profile_at(a, 0) != profile_at(b, 0))
		return false;
	while ((t = profile_next(a, t)) != T_NEVER)
		if (profile_at(a, t) != profile_at(b, t))
			return false;
	return true;
}

/* The pools of `c`, summed anew. */
static void pools_sum(const struct core *c, struct plan_pools again[RESOURCES_MAX])
{
	for (uint32_t r = 0; r < RESOURCES_MAX; r++)
		if (c->tree[r].cell)
			pools_of_tree(&c->tree[r], &again[r]);
	EACH(c, allocs, alloc_s, a) {
		const struct pool *p = plan_pool(c, a->r.qnode, a->r.flavor, a->r.shape);

		if (p && a->r.klass == CLASS_GUARANTEED)
			take(&again[resource_index(a->r.flavor, a->r.shape)].of[p->at]->firm, 0, a->until_ms,
			     alloc_units(&a->r));
	}
	EACH(c, claims, claim_s, m) {
		const struct pool *p = plan_pool(c, m->r.qnode, m->r.flavor, m->r.shape);

		if (p && m->r.klass == CLASS_GUARANTEED)
			take(&again[resource_index(m->r.flavor, m->r.shape)].of[p->at]->firm, 0, m->until_ms,
			     m->r.units);
	}
	EACH(c, holds, hold, h) {
		const struct pool *p = plan_pool(c, h->qnode, h->flavor, h->shape);

		if (p)
			take(&again[resource_index(h->flavor, h->shape)].of[p->at]->firm, h->from_ms, h->to_ms,
			     h->units);
	}
}

int plan_check(const struct core *c, struct err *err)
{
	struct plan_flavor again[FLAVORS_MAX + 1] = {0};
	struct plan_pools pools[RESOURCES_MAX] = {0};
	bool equal = true;

	for (int f = 0; f <= FLAVORS_MAX; f++) {
		profile_check(&c->plan[f].firm);
		profile_check(&c->plan[f].total);
	}
	flavors_init(again);
	EACH(c, allocs, alloc_s, a)
		alloc_take(again, a, 1);
	EACH(c, claims, claim_s, m)
		claim_take(again, m, 1);
	EACH(c, holds, hold, h) {
		take(&again[h->flavor].firm, h->from_ms, h->to_ms, h->devices);
		if (h->total)
			take(&again[h->flavor].total, h->from_ms, h->to_ms, h->devices);
		again[h->flavor].holds++;
	}
	for (int f = 0; f <= FLAVORS_MAX; f++)
		equal &= same(&c->plan[f].firm, &again[f].firm) && same(&c->plan[f].total, &again[f].total);
	EACH(c, nodes, node_s, n)
		node_ready(again, n, 1);
	for (int f = 0; f <= FLAVORS_MAX; f++)
		equal &= c->plan[f].ready == again[f].ready && c->plan[f].holds == again[f].holds;
	flavors_done(again);
	if (!equal)
		return err_set(err, ERR_CORRUPT, "the profiles are not the sum of what is held");
	EACH(c, allocs, alloc_s, a)
		if (a->until_ms != alloc_until(c, &a->r))
			return err_set(err, ERR_CORRUPT, "allocation %" PRIu64 " is counted until another instant",
				       a->r.id);
	EACH(c, jobs, job_s, js) {
		const struct job *j = job_rec(c, js);
		const struct hold *h = idtab_get(&c->holds, j->id);

		if ((j->state == JOB_PENDING && j->reserved_ms) != (h != NULL) ||
		    (h && (h->units != j->spec.units || h->qnode != j->spec.project)))
			return err_set(err, ERR_CORRUPT, "job %" PRIu64 " is not reserved as it says", j->id);
	}
	if (c->tree_stale)
		return 0;
	pools_sum(c, pools);
	for (uint32_t r = 0; r < RESOURCES_MAX; r++) {
		for (uint32_t i = 0; i < c->pools[r].n; i++) {
			profile_check(&c->pools[r].pool[i].firm);
			equal &= same(&c->pools[r].pool[i].firm, &pools[r].pool[i].firm);
		}
		pools_free(&pools[r]);
	}
	return equal ? 0 : err_set(err, ERR_CORRUPT, "a pool's profile is not the sum of what is charged to it");
}
