/* plan.c - what is taken until when, and by whom it may be counted on
 *
 * Profiles (profile.h) of what is taken, per flavor and per pool of quota:
 *
 *   flavor.firm    devices of guaranteed work and of claims for it
 *   flavor.total   of all work, and of claims from their deadline on
 *   flavor.whole   nodes of guaranteed work, claims and reservations that take whole ones
 *   flavor.single  devices of those that take single ones; what an owner runs inside its whole-node nominal is its
 *                  node, as a whole, until the last piece of it is gone (carrier.c)
 *   pool.firm      units charged to the pool, guaranteed work only
 *
 * free(t) is then what there is (devices ready, the pool's own nominal) plus the profile's value, which
 * is never positive. A job counts until its time limit, while it binds until the latest instant at which
 * that can begin; a claim of a job until the job it fetches for would end. Time limits are promises of sluisd,
 * not of the program: the end is enforced. A lease that extends itself counts for ever: its next term is its right as
 * long as nothing is in the way. Any other counts until its term ends and what is left of it is killed, once that
 * term has begun: before, a bind that fails may move it. To extend it is a request like any other, refused where
 * something was promised or admitted by the end it had (plan_may_extend).
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
 * The *calendar* (reservation.c) takes devices away in its windows: maintenance, a course. Each window to come
 * stands in the profiles of its devices' flavors as a *bar*. Work cannot move, so whoever has a reservation that
 * meets a window can use none of its devices at all, whichever are free at its first instant: a bar reaches over
 * all reservations that meet its window. Then, wherever the profiles are not negative, as many devices are free
 * and clear of the calendar as the reservations want, however everything was placed. What runs on devices of a
 * bar meanwhile (it ends in time, or runs inside) is counted once.
 *
 * Devices that are free need not be whole nodes. Guaranteed work of single devices breaks no more nodes than its area
 * has (place_area()), so whatever it does, the other nodes that are ready, less those of which the calendar has
 * anything, are there for whoever was promised whole ones. And where nodes are promised whole, single devices are
 * promised only from that area, as if all that the calendar takes were of it.
 *
 * Invariant (plan_check): every profile is the sum of the allocations, claims, reservations and bars there are. The
 * profiles are derived state; a pool's follow the quota trees and are made again with them.
 *
 * Source: Mu'alem & Feitelson 2001, conservative backfilling; reservations up to a number as in Maui.
 */
#include "daemon/core/reservation.h"
#include "daemon/core/state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	CHANGES_MAX = 1 << 26, /* never: two per allocation, claim and reservation, a few per window */
	RESERVE_TRIES = 128,   /* instants tried for a job that meets windows; */
	RESERVE_STEPS = 16,    /* each so many, on to behind the windows */
};

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

static int64_t lease_until(const struct core *c, uint64_t id)
{
	const struct lease *l = core_lease(c, id);

	return l && l->term_end_ms && !l->spec.auto_extend ? after(l->term_end_ms, LEASE_STOP_MS) : T_NEVER;
}

static int64_t alloc_until(const struct core *c, const struct alloc *a)
{
	const struct job *j = a->owner_kind == OWNER_JOB ? core_job(c, a->owner) : NULL;

	if (a->state == ALLOC_STOPPING)
		return a->stop_at_ms;
	if (a->owner_kind == OWNER_LEASE)
		return lease_until(c, a->owner);
	if (a->state == ALLOC_BINDING)
		return j ? after(a->bind_by_ms, j->spec.time_limit_ms) : T_NEVER;
	return a->limit_ms;
}

static int64_t claim_until(const struct core *c, const struct claim *m)
{
	const struct job *j = m->owner_kind == OWNER_JOB ? core_job(c, m->owner) : NULL;

	if (m->owner_kind == OWNER_LEASE)
		return lease_until(c, m->owner);
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
		} else if (i > 0 && t->cell[i].borrowing_firm == QTY_UNLIMITED) {
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

static void carrier_pool(struct core *c, const struct node_s *n, int sign)
{
	(void)pool_take(c, n->carrier.qnode, n->carrier.flavor, SHAPE_NODE, 0, n->carrier.until_ms, sign);
}

void plan_pools_rebuild(struct core *c)
{
	for (uint32_t r = 0; r < RESOURCES_MAX; r++) {
		pools_free(&c->pools[r]);
		if (c->tree[r].cell)
			pools_of_tree(&c->tree[r], &c->pools[r]);
	}
	EACH(c, nodes, node_s, n)
		if (n->carrier.flavor)
			carrier_pool(c, n, 1);
	EACH(c, allocs, alloc_s, a)
		if (a->r.klass == CLASS_GUARANTEED && !a->r.carried)
			(void)pool_take(c, a->r.qnode, a->r.flavor, a->r.shape, 0, a->until_ms, alloc_units(&a->r));
	EACH(c, claims, claim_s, m)
		if (m->r.klass == CLASS_GUARANTEED)
			(void)pool_take(c, m->r.qnode, m->r.flavor, m->r.shape, 0, m->until_ms, m->r.units);
	EACH(c, holds, hold, h)
		pool_hold(c, h, 1);
}

/* ---- bars: what the calendar takes away ------------------------------------------------------------------ */

/* Devices (cores) of `flavor` in a pinned part that count as ready; with `in`: of them, those in that part, too. */
static int64_t bar_devices(const struct core *c, const struct node_s *n, const struct part *pin, const struct part *in,
			   uint16_t flavor)
{
	if (n->r.state != NODE_READY || n->r.admin != NODE_ENABLED)
		return 0;
	if (flavor_of(c, flavor)->unit == UNIT_CORE) {
		int64_t cores = 0;

		for (int w = 0; w < CORE_WORDS && node_is_cpu(n); w++)
			cores += popcount64(n->cores_usable[w] & pin->cores[w] & (in ? in->cores[w] : UINT64_MAX));
		return cores;
	}
	return popcount64(node_flavor_mask(n, flavor) & pin->devices & (in ? in->devices : UINT64_MAX));
}

/* Could it be had whole? */
static bool node_whole(const struct core *c, const struct node_s *n, uint16_t flavor)
{
	const struct flavor *f = flavor_of(c, flavor);

	return n->r.state == NODE_READY && n->r.admin == NODE_ENABLED && f->unit == UNIT_DEVICE && f->devices_per_node &&
	       popcount64(node_flavor_mask(n, flavor)) == f->devices_per_node;
}

/* Is this the first part of its reservation at that node, as counted by nodes? */
static bool first_there(const struct node_s *n, uint64_t reservation, uint32_t part)
{
	for (uint32_t i = 0; i < n->pins_n; i++)
		if (n->pins[i].reservation == reservation)
			return n->pins[i].part == part;
	return false;
}

/* Each window with the holds that meet it. Between two windows that one hold meets there is nothing left. */
static struct window *spans_make(const struct core *c, uint16_t flavor, const struct reservation_spec *s,
				 uint32_t *ret_n)
{
	struct window *span = xcalloc(s->windows_n, sizeof *span);
	int64_t last_ms = 0;
	uint32_t n = 0;

	EACH(c, holds, hold, h)
		if (h->flavor == flavor)
			last_ms = max64(last_ms, h->to_ms);
	for (uint32_t i = 0; i < s->windows_n; i++) {
		struct window w = s->windows[i];

		if (w.from_ms < last_ms)
			EACH(c, holds, hold, h)
				if (h->flavor == flavor && h->from_ms < s->windows[i].to_ms &&
				    s->windows[i].from_ms < h->to_ms) {
					w.from_ms = min64(w.from_ms, h->from_ms);
					w.to_ms = max64(w.to_ms, h->to_ms);
				}
		if (n && w.from_ms <= span[n - 1].to_ms)
			span[n - 1].to_ms = max64(span[n - 1].to_ms, w.to_ms);
		else
			span[n++] = w;
	}
	*ret_n = n;
	return span;
}

/* The bars of one reservation, from the records. */
static struct bar *bars_make(const struct core *c, const struct reservation *r, uint32_t *ret_n)
{
	struct bar *bar = NULL;
	uint32_t n = 0;

	if (!reservation_pins(r)) {
		*ret_n = 0;
		return NULL;
	}
	for (uint16_t f = 1; f <= FLAVORS_MAX; f++) {
		int64_t devices = 0, nodes = 0;

		for (uint32_t i = 0; flavor_of(c, f) && i < r->parts_n; i++) {
			const struct node_s *node = node_of(c, r->parts[i].node);
			int64_t here = node ? bar_devices(c, node, &r->parts[i], NULL, f) : 0;

			devices += here;
			nodes += here && node_whole(c, node, f) && first_there(node, r->id, i);
		}
		if (!devices)
			continue;
		bar = xrealloc(bar, (n + 1) * sizeof *bar);
		bar[n] = (struct bar){.flavor = f, .devices = devices, .nodes = nodes};
		bar[n].spans = spans_make(c, f, &r->spec, &bar[n].spans_n);
		n++;
	}
	*ret_n = n;
	return bar;
}

static void bars_free(struct reservation_s *rs)
{
	for (uint32_t i = 0; i < rs->bars_n; i++)
		free(rs->bars[i].spans);
	free(rs->bars);
	rs->bars = NULL;
	rs->bars_n = 0;
}

/* What is held on pinned devices in [from_ms, to_ms) is no further loss while the bar is there: give it back
 * (-1), or undo that (1). */
static void overlap(const struct core *c, struct plan_flavor *plan, const struct reservation_s *rs, uint32_t pin,
		    const struct part *part, uint16_t flavor, uint8_t shape, bool firm, int64_t from_ms, int64_t to_ms,
		    int sign)
{
	const struct node_s *n = node_of(c, rs->r.parts[pin].node);
	int64_t both = sign * bar_devices(c, n, &rs->r.parts[pin], part, flavor);
	bool node = firm && shape == SHAPE_NODE && node_whole(c, n, flavor) && first_there(n, rs->r.id, pin);

	for (uint32_t i = 0; both && i < rs->bars_n; i++) {
		const struct bar *b = &rs->bars[i];

		for (uint32_t k = 0; b->flavor == flavor && k < b->spans_n && b->spans[k].from_ms < to_ms; k++) {
			int64_t from = max64(from_ms, b->spans[k].from_ms), to = min64(to_ms, b->spans[k].to_ms);

			take(&plan[flavor].total, from, to, both);
			if (firm)
				take(&plan[flavor].firm, from, to, both);
			if (node)
				take(&plan[flavor].whole, from, to, sign);
			if (firm && shape == SHAPE_GPU)
				take(&plan[flavor].single, from, to, both);
		}
	}
}

/* The same for all bars that meet these parts. */
static void overlaps(const struct core *c, struct plan_flavor *plan, const struct part *parts, uint32_t parts_n,
		     uint16_t flavor, uint8_t shape, bool firm, int64_t from_ms, int64_t to_ms, int sign)
{
	for (uint32_t i = 0; c->bars_n && i < parts_n; i++) {
		const struct node_s *n = node_of(c, parts[i].node);

		for (uint32_t k = 0; k < n->pins_n; k++) {
			const struct reservation_s *rs = idtab_get(&c->reservations, n->pins[k].reservation);

			overlap(c, plan, rs, n->pins[k].part, &parts[i], flavor, shape, firm, from_ms, to_ms, sign);
		}
	}
}

static void bars_take(const struct core *c, struct plan_flavor *plan, const struct reservation_s *rs, int sign)
{
	for (uint32_t i = 0; i < rs->bars_n; i++) {
		const struct bar *b = &rs->bars[i];

		for (uint32_t k = 0; k < b->spans_n; k++) {
			take(&plan[b->flavor].firm, b->spans[k].from_ms, b->spans[k].to_ms, sign * b->devices);
			take(&plan[b->flavor].total, b->spans[k].from_ms, b->spans[k].to_ms, sign * b->devices);
			take(&plan[b->flavor].whole, b->spans[k].from_ms, b->spans[k].to_ms, sign * b->nodes);
			take(&plan[b->flavor].single, b->spans[k].from_ms, b->spans[k].to_ms, sign * b->devices);
		}
		plan[b->flavor].bars += (uint32_t)sign;
	}
	for (uint32_t i = 0; rs->bars_n && i < rs->r.parts_n; i++) {
		const struct node_s *n = node_of(c, rs->r.parts[i].node);

		if (n && n->carrier.flavor) {
			struct part whole = carrier_part(n);

			overlap(c, plan, rs, i, &whole, n->carrier.flavor, SHAPE_NODE, true, 0, n->carrier.until_ms, -sign);
		}
		for (uint32_t u = 0; n && u < n->units_n; u++) {
			const struct alloc_s *a = alloc_of(c, n->units[u].alloc);

			for (uint32_t p = 0; !a->r.carried && p < a->r.parts_n; p++)
				if (a->r.parts[p].index == n->units[u].part)
					overlap(c, plan, rs, i, &a->r.parts[p], a->r.flavor, a->r.shape,
						a->r.klass == CLASS_GUARANTEED, 0, a->until_ms, -sign);
		}
	}
}

void plan_bar(struct core *c, struct reservation_s *rs, bool add)
{
	if (add) {
		rs->bars = bars_make(c, &rs->r, &rs->bars_n);
		c->bars_n += rs->bars_n;
		bars_take(c, c->plan, rs, 1);
	} else {
		bars_take(c, c->plan, rs, -1);
		c->bars_n -= rs->bars_n;
		bars_free(rs);
	}
}

/* The holds of a flavor have changed between these instants: so have the spans of the windows there. */
static void bars_again(struct core *c, uint16_t flavor, int64_t from_ms, int64_t to_ms)
{
	if (c->plan[flavor].bars)
		EACH(c, reservations, reservation_s, rs)
			for (uint32_t i = 0; i < rs->bars_n; i++) {
				bool meets = false;

				for (uint32_t k = 0; k < rs->r.spec.windows_n && rs->r.spec.windows[k].from_ms < to_ms; k++)
					meets |= from_ms < rs->r.spec.windows[k].to_ms;
				if (rs->bars[i].flavor != flavor || !meets)
					continue;
				bars_take(c, c->plan, rs, -1);
				free(rs->bars[i].spans);
				rs->bars[i].spans = spans_make(c, flavor, &rs->r.spec, &rs->bars[i].spans_n);
				bars_take(c, c->plan, rs, 1);
			}
}

/* The reservations that have something at a node, around a change of it. */
static void bars_of_node(struct core *c, const struct node_s *n, bool add)
{
	uint64_t last = 0;

	for (uint32_t i = 0; i < n->pins_n; i++)
		if (n->pins[i].reservation != last) {
			last = n->pins[i].reservation;
			plan_bar(c, idtab_get(&c->reservations, last), add);
		}
}

/* ---- what the records contribute ------------------------------------------------------------------------ */

static void flavors_init(struct plan_flavor plan[FLAVORS_MAX + 1])
{
	for (int f = 0; f <= FLAVORS_MAX; f++) {
		profile_init(&plan[f].firm, 0, CHANGES_MAX);
		profile_init(&plan[f].total, 0, CHANGES_MAX);
		profile_init(&plan[f].whole, 0, CHANGES_MAX);
		profile_init(&plan[f].single, 0, CHANGES_MAX);
	}
}

static void flavors_done(struct plan_flavor plan[FLAVORS_MAX + 1])
{
	for (int f = 0; f <= FLAVORS_MAX; f++) {
		profile_done(&plan[f].firm);
		profile_done(&plan[f].total);
		profile_done(&plan[f].whole);
		profile_done(&plan[f].single);
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
	EACH(c, reservations, reservation_s, rs)
		bars_free(rs);
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

/* Guaranteed work, until it is gone: nodes as nodes, else single devices. */
static void firm_take(struct plan_flavor *f, uint8_t shape, uint32_t parts_n, int64_t until_ms, int64_t devices, int64_t sign)
{
	take(&f->firm, 0, until_ms, devices);
	if (shape == SHAPE_NODE)
		take(&f->whole, 0, until_ms, sign * parts_n);
	else
		take(&f->single, 0, until_ms, devices);
}

static void alloc_take(struct plan_flavor *plan, const struct alloc_s *a, int64_t sign)
{
	int64_t devices = sign * parts_devices(a->r.parts, a->r.parts_n, a->r.shape);

	if (a->r.carried)
		return; /* its node is taken */
	take(&plan[a->r.flavor].total, 0, a->until_ms, devices);
	if (a->r.klass == CLASS_GUARANTEED)
		firm_take(&plan[a->r.flavor], a->r.shape, a->r.parts_n, a->until_ms, devices, sign);
}

/* A broken node is taken as a whole, until the last piece is gone. */
static void carrier_take(struct plan_flavor *plan, const struct node_s *n, int64_t sign)
{
	int64_t devices = sign * popcount64(n->carrier.devices);

	take(&plan[n->carrier.flavor].total, 0, n->carrier.until_ms, devices);
	firm_take(&plan[n->carrier.flavor], SHAPE_NODE, 1, n->carrier.until_ms, devices, sign);
}

void plan_carrier(struct core *c, const struct node_s *n, int sign)
{
	struct part whole = carrier_part(n);

	carrier_take(c->plan, n, sign);
	carrier_pool(c, n, sign);
	overlaps(c, c->plan, &whole, 1, n->carrier.flavor, SHAPE_NODE, true, 0, n->carrier.until_ms, -sign);
}

static void alloc_overlaps(struct core *c, const struct alloc_s *a, int sign)
{
	overlaps(c, c->plan, a->r.parts, a->r.parts_n, a->r.flavor, a->r.shape, a->r.klass == CLASS_GUARANTEED, 0,
		 a->until_ms, sign);
}

void plan_alloc(struct core *c, struct alloc_s *a, bool add)
{
	int64_t sign = add ? 1 : -1;

	if (add)
		a->until_ms = alloc_until(c, &a->r);
	if (a->r.carried)
		return; /* its node is taken (plan_carrier) */
	alloc_take(c->plan, a, sign);
	if (a->r.klass == CLASS_GUARANTEED)
		(void)pool_take(c, a->r.qnode, a->r.flavor, a->r.shape, 0, a->until_ms, sign * alloc_units(&a->r));
	alloc_overlaps(c, a, add ? -1 : 1);
	promote_track(c, a, add);
}

/* Until its deadline most of what a claim fetches is counted with its victims. */
static void claim_take(struct plan_flavor *plan, const struct claim_s *m, int64_t sign)
{
	int64_t devices = sign * parts_devices(m->r.parts, m->r.parts_n, m->r.shape);

	take(&plan[m->r.flavor].total, m->r.deadline_ms, m->until_ms, devices);
	if (m->r.klass == CLASS_GUARANTEED)
		firm_take(&plan[m->r.flavor], m->r.shape, m->r.parts_n, m->until_ms, devices, sign);
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

/* Count it until another instant, if that is so by now. TRUE if that is sooner. */
static bool alloc_again(struct core *c, struct alloc_s *a)
{
	int64_t was_ms = a->until_ms;

	if (alloc_until(c, &a->r) == was_ms)
		return false;
	plan_alloc(c, a, false);
	plan_alloc(c, a, true);
	return a->until_ms < was_ms;
}

static void claim_again(struct core *c, struct claim_s *m)
{
	if (claim_until(c, &m->r) == m->until_ms)
		return;
	plan_claim(c, m, false);
	plan_claim(c, m, true);
}

/* A job's time limit says until when its allocation and its claim count. */
void plan_job(struct core *c, const struct job *j)
{
	struct alloc_s *a = j->alloc ? alloc_of(c, j->alloc) : NULL;
	struct claim_s *m = j->claim ? claim_of(c, j->claim) : NULL;

	if (a)
		(void)alloc_again(c, a);
	if (m)
		claim_again(c, m);
}

bool plan_lease_end(struct core *c, const struct lease_s *l)
{
	bool sooner = false;

	for (struct alloc_s *a = l->allocs; a; a = a->lease_next)
		sooner |= alloc_again(c, a);
	if (l->units_claimed)
		EACH(c, claims, claim_s, m)
			if (m->r.owner_kind == OWNER_LEASE && m->r.owner == l->r.id)
				claim_again(c, m);
	return sooner;
}

static void node_ready(const struct core *c, struct plan_flavor *plan, const struct node_s *n, int64_t sign)
{
	if (n->r.state != NODE_READY || n->r.admin != NODE_ENABLED)
		return;
	if (node_is_cpu(n))
		plan[0].ready += sign * (int64_t)mask_count(n->cores_usable);
	for (uint32_t i = 0; i < n->r.devices_n; i++)
		if (n->r.devices[i].health == DEVICE_OK && n->r.devices[i].flavor)
			plan[n->r.devices[i].flavor].ready += sign;
	for (uint32_t i = 0; i < n->seats_n; i++)
		if (n->seat[i].flavor && node_whole(c, n, n->seat[i].flavor))
			plan[n->seat[i].flavor].ready_whole += sign;
}

void plan_node(struct core *c, const struct node_s *n, bool add)
{
	bars_of_node(c, n, add);
	node_ready(c, c->plan, n, add ? 1 : -1);
}

void plan_ground(struct core *c, bool add)
{
	EACH(c, reservations, reservation_s, rs)
		plan_bar(c, rs, add);
	EACH(c, nodes, node_s, n)
		node_ready(c, c->plan, n, add ? 1 : -1);
}

/* Flavors counted in cores share the nodes that have nothing else. */
int64_t plan_ready(const struct core *c, uint16_t flavor)
{
	return c->plan[flavor_of(c, flavor)->unit == UNIT_CORE ? 0 : flavor].ready;
}

static void owed_count(struct plan_flavor *plan, const struct lease_s *l, int sign)
{
	plan[l->r.spec.flavor].owed[l->r.spec.shape] += sign * lease_lacks_units(l);
}

void plan_lease(struct core *c, const struct lease_s *l, int sign) { owed_count(c->plan, l, sign); }

/* What may be counted on while the calendar takes devices away: not what was granted and is still lacking. */
static int64_t ready_left(const struct core *c, uint16_t flavor)
{
	const struct plan_flavor *f = &c->plan[flavor];
	int64_t ready = plan_ready(c, flavor);

	for (uint8_t s = 0; f->bars && s < SHAPE_COUNT; s++)
		if (f->owed[s])
			ready -= in_devices(c, flavor, s, f->owed[s]);
	return ready;
}

/* The same in whole nodes: not what single devices may break. */
static int64_t whole_left(const struct core *c, uint16_t flavor)
{
	const struct plan_flavor *f = &c->plan[flavor];

	return f->ready_whole - place_area(c, flavor) - (f->bars ? f->owed[SHAPE_NODE] : 0);
}

static int64_t hold_single(const struct hold *h) { return h->shape == SHAPE_GPU ? h->devices : 0; }
static int64_t hold_nodes(const struct hold *h) { return h->shape == SHAPE_NODE && h->devices ? h->units : 0; }

/* Devices of the area that single ones are taken from; nothing is known of it but its size. */
static int64_t area_left(const struct core *c, uint16_t flavor)
{
	return in_devices(c, flavor, SHAPE_NODE, place_area_nodes(c, flavor)) - c->plan[flavor].owed[SHAPE_GPU];
}

/* Does the area have to be looked at? Else all devices may be taken singly, or nothing is missing of it. */
static bool area_matters(const struct core *c, uint16_t flavor)
{
	return c->plan[flavor].bars && tree_of(c, flavor, SHAPE_NODE) && c->promised_whole[flavor] > 0;
}

/* Is enough of it left for every reservation of single devices in [from_ms, to_ms), if so many more are taken? */
static bool area_keeps(const struct core *c, uint16_t flavor, uint64_t but, int64_t from_ms, int64_t to_ms, int64_t devices)
{
	if (area_matters(c, flavor))
		EACH(c, holds, hold, h) {
			int64_t from = max64(from_ms, h->from_ms), to = min64(to_ms, h->to_ms);

			if (h->flavor == flavor && h->job != but && hold_single(h) && from < to &&
			    profile_min(&c->plan[flavor].single, from, to) + area_left(c, flavor) < devices)
				return false;
		}
	return true;
}

/* Are there nodes for every reservation of whole ones in [from_ms, to_ms)? */
static bool whole_keeps(const struct core *c, uint16_t flavor, int64_t from_ms, int64_t to_ms)
{
	if (c->plan[flavor].holds_whole)
		EACH(c, holds, hold, h) {
			int64_t from = max64(from_ms, h->from_ms), to = min64(to_ms, h->to_ms);

			if (h->flavor == flavor && hold_nodes(h) && from < to &&
			    profile_min(&c->plan[flavor].whole, from, to) + whole_left(c, flavor) < 0)
				return false;
		}
	return true;
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

uint32_t plan_reservations_each(const struct core *c)
{
	return c->cluster.reservations_each ? c->cluster.reservations_each : 1;
}

static void hold_take(struct core *c, const struct hold *h, int sign)
{
	struct plan_flavor *f = &c->plan[h->flavor];

	take(&f->firm, h->from_ms, h->to_ms, sign * h->devices);
	take(&f->whole, h->from_ms, h->to_ms, sign * hold_nodes(h));
	take(&f->single, h->from_ms, h->to_ms, sign * hold_single(h));
	f->holds_whole += hold_nodes(h) ? (uint32_t)sign : 0;
	if (h->total)
		take(&f->total, h->from_ms, h->to_ms, sign * h->devices);
	pool_hold(c, h, sign);
	f->holds += (uint32_t)sign;
	f->holds_total += h->total ? (uint32_t)sign : 0;
	qnode_of(c, h->qnode)->holds += (uint32_t)sign;
}

/* The place of a job in the plan, if it may start at `at`. What is to run inside a reservation of the calendar takes
 * nothing from beside it. */
static struct hold hold_of(const struct core *c, const struct job *j, int64_t at)
{
	const struct job_spec *s = &j->spec;

	return (struct hold){
		.job = j->id,
		.from_ms = max64(at - plan_margin(c, s->flavor), 1),
		.to_ms = after(at, plan_span(c, s, true)),
		.units = s->units,
		.devices = s->reservation ? 0 : in_devices(c, s->flavor, s->shape, s->units),
		.qnode = s->project,
		.flavor = s->flavor,
		.shape = s->shape,
		.total = j->reserved_devices,
		.promised = j->promised_ms != 0,
	};
}

static void hold_list(struct core *c, struct hold *h, bool in)
{
	(void)idtab_set(&c->holds, h->job, in ? h : NULL);
	c->plan[h->flavor].firsts_stale = true;
}

void plan_hold(struct core *c, const struct job *j)
{
	bool wanted = j->state == JOB_PENDING && j->reserved_ms;
	struct hold *h = c->holds.count || wanted ? idtab_get(&c->holds, j->id) : NULL;

	if (h) { /* even if it stays: what it is counted by may have changed */
		hold_take(c, h, -1);
		hold_list(c, h, false);
		bars_again(c, h->flavor, h->from_ms, h->to_ms);
		if (!wanted) {
			work_freed(c, h->flavor);
			c->scratch->work |= WORK_PROMOTE | WORK_RESERVE; /* it stood against loans, and devices for others */
			free(h);
		}
	}
	if (!wanted)
		return;
	if (!h)
		h = xcalloc(1, sizeof *h);
	*h = hold_of(c, j, j->reserved_ms);
	hold_list(c, h, true);
	hold_take(c, h, 1);
	bars_again(c, h->flavor, h->from_ms, h->to_ms);
}

void plan_lengths_again(struct core *c)
{
	EACH(c, holds, hold, h)
		plan_hold(c, job_rec(c, job_of(c, h->job)));
	EACH(c, claims, claim_s, m)
		claim_again(c, m);
}

struct hold **plan_soft_out(struct core *c, struct arena *arena, uint32_t *ret_n)
{
	struct hold **soft = arena_alloc(arena, (c->holds.count + 1) * sizeof(struct hold *));
	uint32_t n = 0;

	EACH(c, holds, hold, h)
		if (!h->promised)
			soft[n++] = h;
	for (uint32_t i = 0; i < n; i++) {
		hold_take(c, soft[i], -1);
		hold_list(c, soft[i], false);
		bars_again(c, soft[i]->flavor, soft[i]->from_ms, soft[i]->to_ms);
	}
	*ret_n = n;
	return soft;
}

void plan_soft_in(struct core *c, struct hold *const *soft, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		hold_list(c, soft[i], true);
		hold_take(c, soft[i], 1);
		bars_again(c, soft[i]->flavor, soft[i]->from_ms, soft[i]->to_ms);
	}
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

/* The two that begin first, by instant and id: one of them is not the asker's. */
static void firsts_make(const struct core *c, uint16_t flavor, uint64_t ret[2])
{
	const struct hold *best[2] = {NULL, NULL};

	EACH(c, holds, hold, h) {
		if (h->flavor != flavor)
			continue;
		if (!best[0] || h->from_ms < best[0]->from_ms) {
			best[1] = best[0];
			best[0] = h;
		} else if (!best[1] || h->from_ms < best[1]->from_ms) {
			best[1] = h;
		}
	}
	for (int i = 0; i < 2; i++)
		ret[i] = best[i] ? best[i]->job : 0;
}

/* The first reservation, by instant and id, that work there until to_ms could delay. O(1), or O(reservations)
 * when they have changed. */
static uint64_t first_hold(const struct core *c, uint16_t flavor, uint64_t but, int64_t to_ms)
{
	struct core *mut;

	memcpy(&mut, &c, sizeof mut); /* derived state, made when it is asked for */
	if (c->plan[flavor].firsts_stale)
		firsts_make(c, flavor, mut->plan[flavor].first);
	mut->plan[flavor].firsts_stale = false;
	for (int i = 0; i < 2 && c->plan[flavor].first[i]; i++)
		if (c->plan[flavor].first[i] != but)
			return ((const struct hold *)idtab_get(&c->holds, c->plan[flavor].first[i]))->from_ms < to_ms ?
				       c->plan[flavor].first[i] : 0;
	return 0;
}

int64_t plan_may_until(const struct core *c, int64_t t, uint32_t qnode, uint16_t flavor, uint8_t shape, int64_t units)
{
	const struct pool *pool = plan_pool(c, qnode, flavor, shape);
	const struct plan_flavor *f = &c->plan[flavor];
	int64_t from = t - plan_margin(c, flavor), until;

	if (!f->holds || f->bars)
		return T_NEVER;
	until = profile_first_below(&f->firm, from, in_devices(c, flavor, shape, units) - ready_left(c, flavor));
	if (pool && pool->holds)
		until = min64(until, profile_first_below(&pool->firm, from, units - pool->own));
	return until;
}

bool plan_may(const struct core *c, int64_t t, const struct plan_ask *a, uint64_t *ret_other)
{
	struct pool *pool = plan_pool(c, a->qnode, a->flavor, a->shape);
	const struct plan_flavor *f = &c->plan[a->flavor];
	int64_t from = t - plan_margin(c, a->flavor), to = after(t, a->span_ms);
	struct core *mut;
	struct hold *own;
	bool ok = true;

	if (!f->holds)
		return true;
	own = own_out(c, a->job, &mut);
	overlaps(c, mut->plan, a->parts, a->parts_n, a->flavor, a->shape, true, from, to, -1);
	if (pool && pool->holds)
		ok = profile_min(&pool->firm, from, to) + pool->own >= a->units;
	if (ok && !a->inside)
		ok = profile_min(&f->firm, from, to) + ready_left(c, a->flavor) >=
		     in_devices(c, a->flavor, a->shape, a->units);
	if (ok && !a->inside && a->shape == SHAPE_NODE && f->holds_whole)
		ok = profile_min(&f->whole, from, to) + whole_left(c, a->flavor) >= a->units;
	if (ok && !a->inside && a->shape == SHAPE_GPU)
		ok = area_keeps(c, a->flavor, a->job, from, to, a->units);
	overlaps(c, mut->plan, a->parts, a->parts_n, a->flavor, a->shape, true, from, to, 1);
	if (own)
		hold_take(mut, own, 1);
	if (!ok && ret_other)
		*ret_other = first_hold(c, a->flavor, a->job, to);
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

/* The reservation whose bar is there at that instant; 0. */
static uint64_t bar_at(const struct core *c, uint16_t flavor, int64_t at_ms)
{
	EACH(c, reservations, reservation_s, rs)
		for (uint32_t i = 0; i < rs->bars_n; i++)
			for (uint32_t k = 0; rs->bars[i].flavor == flavor && k < rs->bars[i].spans_n; k++)
				if (rs->bars[i].spans[k].from_ms <= at_ms && at_ms < rs->bars[i].spans[k].to_ms)
					return rs->r.id;
	return 0;
}

bool plan_may_lease(const struct core *c, int64_t t, const struct lease *l, int64_t units, int64_t until_ms,
		    struct plan_low *ret)
{
	const struct lease_spec *s = &l->spec;
	const struct plan_flavor *f = &c->plan[s->flavor];
	int64_t from = t - plan_margin(c, s->flavor), to = until_ms ? max64(until_ms, t + 1) : T_NEVER;
	int64_t more = in_devices(c, s->flavor, s->shape, units) - ready_left(c, s->flavor);
	int64_t least = f->bars ? profile_min(&f->firm, from, to) : 0;
	const struct profile *by = &f->firm;

	*ret = (struct plan_low){0};
	if (f->bars && least >= more && s->shape == SHAPE_NODE) {
		more = units - whole_left(c, s->flavor);
		least = profile_min(&f->whole, from, to);
		by = &f->whole;
	}
	if (!f->bars)
		return true;
	if (least >= more && (s->shape == SHAPE_NODE || area_keeps(c, s->flavor, 0, from, to, units)))
		return true;
	if (least >= more) { /* of the area, by what jobs were promised */
		*ret = (struct plan_low){.devices = units, .at_ms = t};
		return false;
	}
	ret->devices = (more - least) * (by == &f->whole ? in_devices(c, s->flavor, SHAPE_NODE, 1) : 1);
	ret->at_ms = profile_first_below(by, from, more);
	ret->reservation = bar_at(c, s->flavor, ret->at_ms);
	return false;
}

/* May guaranteed work that is there until `from` stay until `to`? */
static bool may_last(const struct core *c, const struct alloc *a, int64_t from, int64_t to, uint64_t *ret_other)
{
	const struct pool *pool = plan_pool(c, a->qnode, a->flavor, a->shape);
	struct core *mut;
	bool ok = true;

	memcpy(&mut, &c, sizeof mut);
	overlaps(c, mut->plan, a->parts, a->parts_n, a->flavor, a->shape, true, from, to, -1);
	if (pool && pool->holds)
		ok = profile_min(&pool->firm, from, to) + pool->own >= alloc_units(a);
	if (ok && c->plan[a->flavor].holds)
		ok = profile_min(&c->plan[a->flavor].firm, from, to) + plan_ready(c, a->flavor) >=
		     parts_devices(a->parts, a->parts_n, a->shape);
	if (ok && a->shape == SHAPE_NODE && c->plan[a->flavor].holds_whole)
		ok = profile_min(&c->plan[a->flavor].whole, from, to) + whole_left(c, a->flavor) >= a->parts_n;
	if (ok && a->shape == SHAPE_GPU)
		ok = area_keeps(c, a->flavor, 0, from, to, alloc_units(a));
	overlaps(c, mut->plan, a->parts, a->parts_n, a->flavor, a->shape, true, from, to, 1);
	if (!ok)
		*ret_other = first_hold(c, a->flavor, 0, to);
	return ok;
}

bool plan_may_carry(const struct core *c, const struct node_s *n, int64_t until_ms, uint64_t *ret_other)
{
	struct part whole = carrier_part(n);
	struct alloc as = {.qnode = n->carrier.qnode, .flavor = n->carrier.flavor, .shape = SHAPE_NODE, .parts = &whole,
			   .parts_n = 1, .units = 1};

	return until_ms <= n->carrier.until_ms || may_last(c, &as, n->carrier.until_ms, until_ms, ret_other);
}

bool plan_may_last(const struct core *c, int64_t t, const struct alloc *a, int64_t more_ms, uint64_t *ret_other)
{
	int64_t from = max64(alloc_of(c, a->id)->until_ms, t), to = after(from, more_ms);

	return a->carried ? plan_may_carry(c, node_of(c, a->parts[0].node), to, ret_other) :
			    may_last(c, a, from, to, ret_other);
}

static void extend(struct core *c, struct lease_s *l, int64_t term_end_ms)
{
	l->r.term_end_ms = term_end_ms;
	(void)plan_lease_end(c, l);
}

/* What promised starts have to spare, and what is missing in each reservation's windows; without soft holds in the plan. */
static void spares(const struct core *c, uint16_t flavor, int64_t *hold, int64_t *reservation)
{
	EACH(c, holds, hold, h)
		*hold++ = h->flavor == flavor ? plan_spare(c, h) : 0;
	EACH(c, reservations, reservation_s, rs)
		*reservation++ = rs->bars_n ? plan_short(c, flavor, rs->r.spec.windows, rs->r.spec.windows_n) : 0;
}

bool plan_may_extend(const struct core *c, struct lease_s *l, int64_t term_end_ms, struct arena *arena,
		     struct plan_low *ret)
{
	int64_t was_ms = l->r.term_end_ms, from_ms = after(was_ms, LEASE_STOP_MS), *spare[2], *missing[2];
	uint16_t flavor = l->r.spec.flavor;
	uint32_t soft_n, at = 0;
	struct hold **soft;
	struct core *mut;

	*ret = (struct plan_low){0};
	if (l->r.spec.klass != LEASE_FIRM || (!c->plan[flavor].holds && !c->plan[flavor].bars))
		return true;
	memcpy(&mut, &c, sizeof mut); /* for the question only */
	soft = plan_soft_out(mut, arena, &soft_n);
	for (int i = 0; i < 2; i++) {
		spare[i] = arena_alloc(arena, (c->holds.count + 1) * sizeof **spare);
		missing[i] = arena_alloc(arena, (c->reservations.count + 1) * sizeof **missing);
		if (i)
			extend(mut, l, term_end_ms);
		spares(c, flavor, spare[i], missing[i]);
	}
	extend(mut, l, was_ms);
	EACH(c, holds, hold, h) {
		int64_t less = min64(spare[0][at], 0) - spare[1][at];

		if (less > ret->devices)
			*ret = (struct plan_low){.devices = less, .at_ms = max64(h->from_ms, from_ms)};
		at++;
	}
	at = 0;
	EACH(c, reservations, reservation_s, rs) {
		int64_t more = missing[1][at] - missing[0][at];

		if (more > ret->devices)
			*ret = (struct plan_low){.devices = more, .at_ms = from_ms, .reservation = rs->r.id};
		at++;
	}
	plan_soft_in(mut, soft, soft_n);
	return !ret->devices;
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

uint64_t plan_behind(const struct core *c, uint64_t job)
{
	const struct hold *h = c->bars_n ? idtab_get(&c->holds, job) : NULL;

	if (h)
		EACH(c, reservations, reservation_s, rs)
			for (uint32_t i = 0; i < rs->bars_n; i++)
				for (uint32_t k = 0; rs->bars[i].flavor == h->flavor && k < rs->r.spec.windows_n; k++)
					if (rs->r.spec.windows[k].to_ms == h->from_ms)
						return rs->r.id;
	return 0;
}

int64_t plan_short(const struct core *c, uint16_t flavor, const struct window *w, uint32_t n)
{
	int64_t least = INT64_MAX;

	for (uint32_t i = 0; i < n; i++)
		least = min64(least, profile_min(&c->plan[flavor].firm, w[i].from_ms, w[i].to_ms));
	return n ? max64(0, -(least + ready_left(c, flavor))) : 0;
}

int64_t plan_spare(const struct core *c, const struct hold *h)
{
	const struct plan_flavor *f = &c->plan[h->flavor];
	int64_t spare = profile_min(&f->firm, h->from_ms, h->to_ms) + ready_left(c, h->flavor);

	if (hold_nodes(h))
		spare = min64(spare, in_devices(c, h->flavor, SHAPE_NODE,
						profile_min(&f->whole, h->from_ms, h->to_ms) + whole_left(c, h->flavor)));
	if (hold_single(h) && area_matters(c, h->flavor))
		spare = min64(spare, profile_min(&f->single, h->from_ms, h->to_ms) + area_left(c, h->flavor));
	return spare;
}

/* The first instant from `from` on at which pool and flavor have room for so long. */
static int64_t reserve_fit(const struct core *c, const struct pool *pool, const struct job_spec *s, int64_t from,
			   int64_t length)
{
	const struct plan_flavor *f = &c->plan[s->flavor];
	int64_t devices = in_devices(c, s->flavor, s->shape, s->units) - ready_left(c, s->flavor), at;

	/* each round goes to an instant at which one of them has become free: as many as there are changes */
	for (;;) {
		at = pool ? profile_fit(&pool->firm, from, length, (int64_t)s->units - pool->own) : from;
		if (at == T_NEVER || s->reservation)
			return at;
		from = profile_fit(&f->firm, at, length, devices);
		if (from != T_NEVER && s->shape == SHAPE_GPU && area_matters(c, s->flavor))
			from = profile_fit(&f->single, from, length, (int64_t)s->units - area_left(c, s->flavor));
		if (from != T_NEVER && s->shape == SHAPE_NODE)
			from = profile_fit(&f->whole, from, length, (int64_t)s->units - whole_left(c, s->flavor));
		if (from == T_NEVER || from == at)
			return from;
	}
}

/* Is everybody still served with this hold in the plan, and the bars that it stretches? */
static bool hold_fits(const struct core *c, struct hold *h)
{
	const struct plan_flavor *f = &c->plan[h->flavor];
	struct core *mut;
	bool ok;

	if (!f->bars || !h->devices)
		return true;
	memcpy(&mut, &c, sizeof mut); /* for the question only */
	(void)idtab_set(&mut->holds, h->job, h);
	hold_take(mut, h, 1);
	bars_again(mut, h->flavor, h->from_ms, h->to_ms);
	/* where it stretches a bar it is felt by whole nodes, too, whatever it asks for itself */
	ok = plan_spare(c, h) >= 0 && whole_keeps(c, h->flavor, h->from_ms, h->to_ms) &&
	     area_keeps(c, h->flavor, h->job, h->from_ms, h->to_ms, 0);
	hold_take(mut, h, -1);
	(void)idtab_set(&mut->holds, h->job, NULL);
	bars_again(mut, h->flavor, h->from_ms, h->to_ms);
	return ok;
}

/* When the last window is over that [from_ms, to_ms) meets. */
static int64_t bars_over(const struct core *c, uint16_t flavor, int64_t from_ms, int64_t to_ms)
{
	int64_t over_ms = from_ms;

	EACH(c, reservations, reservation_s, rs)
		for (uint32_t i = 0; i < rs->bars_n; i++)
			for (uint32_t k = 0; rs->bars[i].flavor == flavor && k < rs->r.spec.windows_n; k++)
				if (from_ms < rs->r.spec.windows[k].to_ms && rs->r.spec.windows[k].from_ms < to_ms)
					over_ms = max64(over_ms, rs->r.spec.windows[k].to_ms);
	return over_ms;
}

int64_t plan_reserve(const struct core *c, int64_t t, const struct job *j)
{
	const struct job_spec *s = &j->spec;
	const struct pool *pool = plan_pool(c, s->project, s->flavor, s->shape);
	int64_t behind = plan_margin(c, s->flavor), from = t - behind, length = behind + plan_span(c, s, true);

	for (int tries = 1; tries <= RESERVE_TRIES; tries++) {
		struct hold h;
		int64_t next;

		from = reserve_fit(c, pool, s, from, length);
		if (from == T_NEVER)
			return T_NEVER;
		h = hold_of(c, j, from + behind);
		if (hold_fits(c, &h))
			return from + behind;
		next = tries % RESERVE_STEPS ? profile_next(&c->plan[s->flavor].firm, from) : T_NEVER;
		from = next != T_NEVER ? next : max64(bars_over(c, s->flavor, h.from_ms, h.to_ms), from + 1);
	}
	return T_NEVER;
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

		if (p && a->r.klass == CLASS_GUARANTEED && !a->r.carried)
			take(&again[resource_index(a->r.flavor, a->r.shape)].of[p->at]->firm, 0, a->until_ms,
			     alloc_units(&a->r));
	}
	EACH(c, nodes, node_s, n) {
		const struct pool *p = n->carrier.flavor ? plan_pool(c, n->carrier.qnode, n->carrier.flavor, SHAPE_NODE) : NULL;

		if (p)
			take(&again[resource_index(n->carrier.flavor, SHAPE_NODE)].of[p->at]->firm, 0, n->carrier.until_ms, 1);
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
	uint32_t bars_n = 0;
	bool equal = true;

	for (int f = 0; f <= FLAVORS_MAX; f++) {
		profile_check(&c->plan[f].firm);
		profile_check(&c->plan[f].total);
		profile_check(&c->plan[f].whole);
		profile_check(&c->plan[f].single);
	}
	flavors_init(again);
	EACH(c, allocs, alloc_s, a)
		alloc_take(again, a, 1);
	EACH(c, nodes, node_s, n)
		if (n->carrier.flavor)
			carrier_take(again, n, 1);
	EACH(c, claims, claim_s, m)
		claim_take(again, m, 1);
	EACH(c, reservations, reservation_s, rs) {
		struct reservation_s fresh = {.r = rs->r};

		fresh.bars = bars_make(c, &rs->r, &fresh.bars_n);
		bars_n += fresh.bars_n;
		bars_take(c, again, &fresh, 1);
		bars_free(&fresh);
	}
	equal &= bars_n == c->bars_n;
	EACH(c, leases, lease_s, l)
		owed_count(again, l, 1);
	EACH(c, holds, hold, h) {
		take(&again[h->flavor].firm, h->from_ms, h->to_ms, h->devices);
		take(&again[h->flavor].whole, h->from_ms, h->to_ms, hold_nodes(h));
		take(&again[h->flavor].single, h->from_ms, h->to_ms, hold_single(h));
		again[h->flavor].holds_whole += hold_nodes(h) != 0;
		if (h->total)
			take(&again[h->flavor].total, h->from_ms, h->to_ms, h->devices);
		again[h->flavor].holds++;
	}
	for (uint16_t f = 1; f <= FLAVORS_MAX; f++)
		if (!c->plan[f].firsts_stale) {
			firsts_make(c, f, again[f].first);
			equal &= memcmp(c->plan[f].first, again[f].first, sizeof again[f].first) == 0;
		}
	for (int f = 0; f <= FLAVORS_MAX; f++)
		equal &= same(&c->plan[f].firm, &again[f].firm) && same(&c->plan[f].total, &again[f].total) &&
			 same(&c->plan[f].whole, &again[f].whole) && same(&c->plan[f].single, &again[f].single);
	EACH(c, nodes, node_s, n)
		node_ready(c, again, n, 1);
	for (int f = 0; f <= FLAVORS_MAX; f++)
		equal &= c->plan[f].ready == again[f].ready && c->plan[f].holds == again[f].holds &&
			 c->plan[f].bars == again[f].bars && c->plan[f].ready_whole == again[f].ready_whole &&
			 c->plan[f].holds_whole == again[f].holds_whole &&
			 memcmp(c->plan[f].owed, again[f].owed, sizeof again[f].owed) == 0;
	flavors_done(again);
	if (!equal)
		return err_set(err, ERR_CORRUPT, "the profiles are not the sum of what is held");
	EACH(c, allocs, alloc_s, a)
		if (a->until_ms != alloc_until(c, &a->r))
			return err_set(err, ERR_CORRUPT, "allocation %" PRIu64 " is counted until another instant",
				       a->r.id);
	EACH(c, claims, claim_s, m)
		if (m->until_ms != claim_until(c, &m->r))
			return err_set(err, ERR_CORRUPT, "claim %" PRIu64 " is counted until another instant", m->r.id);
	EACH(c, jobs, job_s, js) {
		const struct job *j = job_rec(c, js);
		const struct hold *h = idtab_get(&c->holds, j->id);

		if ((j->state == JOB_PENDING && j->reserved_ms) != (h != NULL) ||
		    (h && (h->units != j->spec.units || h->qnode != j->spec.project ||
			   h->promised != (j->promised_ms != 0))))
			return err_set(err, ERR_CORRUPT, "job %" PRIu64 " is not reserved as it says", j->id);
		if (h) {
			struct hold now = hold_of(c, j, j->reserved_ms);

			if (h->from_ms != now.from_ms || h->to_ms != now.to_ms || h->devices != now.devices ||
			    h->total != now.total)
				return err_set(err, ERR_CORRUPT, "job %" PRIu64 " is reserved for another time than it says",
					       j->id);
		}
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
