/* certify.c - what can be freed in time, and what was promised: kept by core_apply, checked before a commit
 *
 * The counters that cert.c walks, one set for each flavor of devices.
 *
 *   classes   the recall times that the division promises, ascending; no other instant matters. More than
 *             CERT_CLASSES_MAX of them: the longest ones count as the longest kept.
 *   supply    what is idle or on loan on nodes that may be used. A loan is in the class of the bound it
 *             signed: exempt time, notice, kill margin, scrub. Guaranteed work and what a claim has fixed are
 *             nobody's to take: not counted; nor is what is idle on a node that its owner has broken.
 *   demand    what the owners of nominals have not taken yet, single devices or whole nodes as promised, in
 *             the class of their recall time: forever, since what is within quota may be renewed without end.
 *             A live firm lease whose replicas still lack devices wants cells of a replica's size instead: of the next
 *             larger one where no cell has that size. That the walk is exact needs sizes that divide each other: 3
 *             and 5 of a node of 8 are a packing problem. It errs to the safe side until they are bound, and
 *             says so (certify_text).
 *
 * A node whose devices come back one after the other can be counted early in small cells or late in large
 * ones. Each such reading is sound, none is complete; a reading for each class up to which everything is
 * waited for is kept, and one that holds suffices. With one recall time, the usual case, that is exact.
 *
 * A lease that lives into a window of the calendar cannot have what is pinned for it: it is judged once more by a
 * supply without that (certify_firm), beside the plan's count of devices over time (plan_may_lease).
 *
 * When a lease ends makes no difference here: what it holds is not counted until it is given back, and from then on the
 * nominal it was charged to is demand again. Its end counts in the plan.
 *
 * What would lower what can be freed in time is measured against the state before it: hardware may be missing
 * already, then only what adds to the shortfall is refused.
 *
 * Invariant (core_check): all counters equal those rebuilt from the records.
 */
#include "daemon/core/reservation.h"
#include "daemon/core/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- classes ----------------------------------------------------------------------------------------- */

/* The last class whose recall time is no longer than `ms`: promised within `ms`. */
static uint32_t class_promised(const struct certify *cy, int64_t ms)
{
	uint32_t k = 0;

	while (k + 1 < cy->classes && cy->class_ms[k + 1] <= ms)
		k++;
	return k;
}

/* The first class by whose recall time something that takes `ms` is back; CERT_NEVER if none. */
static uint32_t class_back(const struct certify *cy, int64_t ms)
{
	for (uint32_t k = 0; k < cy->classes; k++)
		if (ms <= cy->class_ms[k])
			return k;
	return CERT_NEVER;
}

static uint32_t class_of_loan(const struct core *c, const struct alloc *a)
{
	return class_back(&c->certify, alloc_bound_ms(c, a));
}

static int ms_cmp(const void *pa, const void *pb)
{
	int64_t a, b;

	memcpy(&a, pa, sizeof a);
	memcpy(&b, pb, sizeof b);
	return a < b ? -1 : a > b;
}

static void classes_find(const struct core *c, struct certify *cy)
{
	int64_t *ms = xcalloc(c->tree_n + 1, sizeof *ms);
	uint32_t n = 0;

	for (uint32_t i = 0; i < c->tree_n; i++)
		for (int r = 0; r < RESOURCES_MAX; r++)
			if (c->tree[r].cell && c->tree[r].cell[i].own > 0) {
				ms[n++] = c->tree_slo_ms[i];
				break;
			}
	if (n)
		qsort(ms, n, sizeof *ms, ms_cmp);
	cy->classes = 0;
	memset(cy->class_ms, 0, sizeof cy->class_ms);
	for (uint32_t i = 0; i < n && cy->classes < CERT_CLASSES_MAX; i++)
		if (!cy->classes || ms[i] != cy->class_ms[cy->classes - 1])
			cy->class_ms[cy->classes++] = ms[i];
	free(ms);
}

/* ---- supply: what a node contributes ------------------------------------------------------------------- */

static void supply_cut(const struct certify *cy, struct cert_flavor *f, uint64_t mask, uint64_t gone,
		       const uint64_t *back, int64_t sign)
{
	uint32_t whole = popcount64(mask) == f->levels.size[f->levels.n - 1] ? popcount64(mask) : 0;
	uint64_t by = mask & ~gone; /* idle */
	uint32_t free[CERT_CLASSES_MAX];

	for (uint32_t k = 0; k < cy->classes; k++) {
		by |= back[k] & mask;
		free[k] = popcount64(by);
	}
	for (uint32_t v = 0; v < cy->classes; v++) { /* the reading that waits for class v first */
		cert_cut(&f->levels, free[v], free[v] && free[v] == whole, sign, f->supply[v].n[v]);
		for (uint32_t k = v + 1; k < cy->classes; k++)
			cert_cut(&f->levels, free[k] - free[k - 1], free[k] != free[k - 1] && free[k] - free[k - 1] == whole,
				 sign, f->supply[v].n[k]);
	}
}

/* With `lent` held by loans of class `k` on top of what the node says itself, and without what is barred. */
static void node_count(const struct certify *cy, struct cert_flavor *f, uint16_t flavor, const struct node_s *n,
		       uint64_t lent, uint32_t k, uint64_t barred, int64_t sign)
{
	uint64_t mask = node_flavor_mask(n, flavor), back[CERT_CLASSES_MAX];

	if (!mask || n->r.state != NODE_READY || n->r.admin != NODE_ENABLED || n->carrier.flavor == flavor)
		return;
	for (uint32_t i = 0; i < cy->classes; i++)
		back[i] = (n->back[i] | (i == k ? lent : 0)) & ~n->claimed & ~barred;
	supply_cut(cy, f, mask, n->held | n->claimed | lent | barred, back, sign);
}

static void node_seats(struct certify *cy, const struct node_s *n, int sign)
{
	for (uint32_t i = 0; i < n->seats_n && cy->classes; i++) {
		uint16_t id = n->seat[i].flavor;

		if (id && cy->flavor[id].levels.n)
			node_count(cy, &cy->flavor[id], id, n, 0, CERT_NEVER, 0, sign);
	}
}

void certify_node(struct core *c, const struct node_s *n, int sign)
{
	if (!c->tree_stale) /* the rebuild counts everything */
		node_seats(&c->certify, n, sign);
}

void certify_part(struct core *c, const struct alloc *a, const struct part *p, bool add)
{
	struct node_s *n = node_of(c, p->node);
	uint32_t k = add && a->klass == CLASS_LOAN && !c->tree_stale ? class_of_loan(c, a) : CERT_NEVER;

	for (uint32_t i = 0; i < CERT_CLASSES_MAX; i++)
		n->back[i] &= ~p->devices;
	if (k != CERT_NEVER)
		n->back[k] |= p->devices;
}

/* ---- demand ------------------------------------------------------------------------------------------------ */

/* What node `at` of a quota tree owns and nobody has taken: +1 adds it, -1 takes it back. */
static void own_count(struct certify *cy, uint16_t flavor, uint8_t shape, const struct quota_tree *t, uint32_t at,
		      int64_t slo_ms, int64_t sign)
{
	struct cert_flavor *f = &cy->flavor[flavor];
	int64_t left = quota_own_left(t, at);

	if (left > 0)
		f->demand.n[class_promised(cy, slo_ms)][shape == SHAPE_NODE ? f->levels.n - 1 : 0] += sign * left;
}

void certify_path(struct core *c, uint16_t flavor, uint8_t shape, uint32_t at, int sign)
{
	const struct quota_tree *t = &c->tree[resource_index(flavor, shape)];

	if (!c->certify.flavor[flavor].levels.n || !c->certify.classes)
		return;
	for (uint32_t i = at;; i = t->parent[i]) {
		own_count(&c->certify, flavor, shape, t, i, c->tree_slo_ms[i], sign);
		if (!i)
			return;
	}
}

/* Replicas that lack devices: so many cells of their size, instead of as many single devices. */
struct replicas { uint32_t class, level; int64_t cells, devices; };

static struct replicas replicas_of(const struct core *c, const struct lease *l, int64_t missing)
{
	const struct cert_flavor *f = &c->certify.flavor[l->spec.flavor];
	struct replicas r = {0};

	if (l->spec.klass != LEASE_FIRM || l->spec.shape != SHAPE_GPU || l->spec.units_per_replica < 2 || missing <= 0 ||
	    !f->levels.n || !c->certify.classes)
		return r;
	r.class = class_promised(&c->certify, qnode_recall_slo(c, l->spec.provider));
	r.level = cert_level_of(&f->levels, l->spec.units_per_replica);
	r.cells = missing / l->spec.units_per_replica;
	r.devices = r.cells * l->spec.units_per_replica;
	return r;
}

static void replicas_count(struct cert_flavor *f, const struct replicas *r, int64_t sign)
{
	if (!r->cells)
		return;
	f->demand.n[r->class][r->level] += sign * r->cells;
	f->demand.n[r->class][0] -= sign * r->devices;
}

int64_t lease_lacks_units(const struct lease_s *l)
{
	bool live = l->r.state == LEASE_GRANTED || l->r.state == LEASE_BINDING || l->r.state == LEASE_ACTIVE ||
		    l->r.state == LEASE_GRACE;

	return live && l->r.spec.klass == LEASE_FIRM ?
		       max64(0, (int64_t)l->r.spec.units - l->units_held - l->units_claimed) :
		       0;
}

void certify_lease(struct core *c, const struct lease_s *l, int sign)
{
	struct replicas r;

	if (c->tree_stale)
		return;
	r = replicas_of(c, &l->r, lease_lacks_units(l));
	replicas_count(&c->certify.flavor[l->r.spec.flavor], &r, sign);
}

/* ---- all of it anew ------------------------------------------------------------------------------------------ */

void certify_rebuild(const struct core *c, struct certify *cy)
{
	classes_find(c, cy);
	for (uint16_t id = 1; id <= FLAVORS_MAX; id++) {
		const struct flavor *f = flavor_of(c, id);

		cy->flavor[id].levels.n = 0; /* nothing else of it is looked at then */
		if (!f || f->unit != UNIT_DEVICE || !f->devices_per_node || f->devices_per_node > DEVICES_PER_NODE_MAX)
			continue;
		memset(&cy->flavor[id], 0, sizeof cy->flavor[id]);
		cy->flavor[id].levels = cert_levels(f->devices_per_node);
	}
	if (!cy->classes)
		return;
	for (uint16_t id = 1; id <= FLAVORS_MAX; id++)
		for (uint8_t s = 0; s < SHAPE_COUNT && cy->flavor[id].levels.n; s++) {
			const struct quota_tree *t = &c->tree[resource_index(id, s)];

			for (uint32_t i = 0; t->cell && i < t->nodes_n; i++)
				own_count(cy, id, s, t, i, c->tree_slo_ms[i], 1);
		}
}

/* After certify_rebuild: what depends on the classes it found. */
void certify_count(struct core *c)
{
	EACH(c, nodes, node_s, n)
		memset(n->back, 0, sizeof n->back);
	EACH(c, loans, alloc_s, a)
		for (uint32_t i = 0; i < a->r.parts_n; i++)
			certify_part(c, &a->r, &a->r.parts[i], true);
	EACH(c, nodes, node_s, n)
		certify_node(c, n, 1);
	EACH(c, leases, lease_s, l)
		certify_lease(c, l, 1);
}

/* ---- questions -------------------------------------------------------------------------------------------------- */

/* The least that any reading lacks, and where. */
static int64_t lacks(const struct certify *cy, const struct cert_flavor *f, struct cert_short *ret)
{
	struct cert_cells demand = f->demand;
	int64_t least = INT64_MAX;

	for (uint32_t k = 0; k < cy->classes; k++)
		demand.n[k][0] = max64(0, demand.n[k][0]); /* a nominal was lowered below what leases lack */
	for (uint32_t v = 0; v < cy->classes && least; v++) {
		struct cert_short tight;

		(void)cert_holds(&f->levels, cy->classes, &f->supply[v], &demand, &tight);
		if (tight.devices < least) {
			least = tight.devices;
			if (ret)
				*ret = tight;
		}
	}
	return least == INT64_MAX ? 0 : least;
}

static const struct cert_flavor *certified(const struct core *c, uint16_t flavor)
{
	(void)tree_of(c, flavor, SHAPE_GPU); /* brings everything up to date */
	return c->certify.classes && c->certify.flavor[flavor].levels.n ? &c->certify.flavor[flavor] : NULL;
}

bool certify_loan(const struct core *c, uint16_t flavor, int64_t back_ms, const struct part *parts, uint32_t parts_n)
{
	const struct cert_flavor *f = certified(c, flavor);
	uint32_t k = f ? class_back(&c->certify, back_ms) : 0;
	struct cert_flavor after;
	bool promised = false;

	for (uint32_t i = 0; i < k && i < c->certify.classes; i++)
		for (uint32_t l = 0; l < f->levels.n; l++)
			promised |= f->demand.n[i][l] != 0;
	if (!promised)
		return true; /* nobody is promised anything sooner than it is back */
	after = *f;
	for (uint32_t i = 0; i < parts_n; i++) {
		const struct node_s *n = node_of(c, parts[i].node);
		uint64_t devices = 0;
		bool seen = false;

		for (uint32_t j = 0; j < parts_n; j++) /* parts of one node count together */
			if (parts[j].node == parts[i].node) {
				seen |= j < i;
				devices |= parts[j].devices;
			}
		if (seen)
			continue;
		node_count(&c->certify, &after, flavor, n, 0, CERT_NEVER, 0, -1);
		node_count(&c->certify, &after, flavor, n, devices, k, 0, 1);
	}
	return lacks(&c->certify, &after, NULL) <= lacks(&c->certify, f, NULL);
}

/* A necessary condition, in sums: so many devices fewer, wherever they are. */
static bool room_for(const struct core *c, uint16_t flavor, int64_t back_ms, int64_t devices)
{
	const struct cert_flavor *f = certified(c, flavor);
	int64_t left = 0;

	if (!f)
		return false;
	for (uint32_t k = 0; k < class_back(&c->certify, back_ms) && k < c->certify.classes; k++) {
		for (uint32_t l = 0; l < f->levels.n; l++)
			left += (f->supply[0].n[k][l] - f->demand.n[k][l]) * f->levels.size[l];
		if (left < devices)
			return false;
	}
	return true;
}

bool loan_in_time(const struct core *c, uint32_t leaf, uint16_t flavor, uint8_t shape, int64_t units, int64_t back_ms)
{
	return back_ms <= lender_slo_min(c, leaf, flavor, shape) ||
	       room_for(c, flavor, back_ms, in_devices(c, flavor, shape, units));
}

static bool in_time_ever(const struct core *c, uint32_t leaf, uint16_t flavor, uint8_t shape, int64_t units, int64_t back_ms)
{
	int64_t left = -in_devices(c, flavor, shape, units);

	if (back_ms <= lender_slo_min(c, leaf, flavor, shape))
		return true;
	if (!certified(c, flavor))
		return false;
	EACH(c, nodes, node_s, n)
		left += popcount64(node_flavor_mask(n, flavor));
	for (uint8_t s = 0; s < SHAPE_COUNT; s++) {
		const struct quota_tree *t = tree_of(c, flavor, s);

		for (uint32_t i = 0; t && i < t->nodes_n; i++)
			if (c->tree_slo_ms[i] < back_ms)
				left -= in_devices(c, flavor, s, t->cell[i].own);
	}
	return left >= 0;
}

int loan_ever_in_time(const struct core *c, uint32_t leaf, uint16_t flavor, uint8_t shape, int64_t units, int64_t back_ms,
		      struct err *err)
{
	if (in_time_ever(c, leaf, flavor, shape, units, back_ms))
		return 0;
	err_set(err, ERR_NEVER, "as a loan it could not be given back in time: notice needs %" PRId64 " s, lenders recall within %" PRId64
		" s", back_ms / 1000, lender_slo_min(c, leaf, flavor, shape) / 1000);
	err_hint(err, "a shorter --notice, of a job also --exempt");
	return err_reason(err, REASON_LOAN_NOTICE);
}

/* Take out of the supply what reservations have, in a window that [t, until_ms) meets. */
static void supply_bar(const struct core *c, struct cert_flavor *f, uint16_t flavor, int64_t t, int64_t until_ms)
{
	EACH(c, nodes, node_s, n) {
		uint64_t barred = reservation_pinned(c, n, t, until_ms);

		if (!barred)
			continue;
		node_count(&c->certify, f, flavor, n, 0, CERT_NEVER, 0, -1);
		node_count(&c->certify, f, flavor, n, 0, CERT_NEVER, barred, 1);
	}
}

bool certify_firm(const struct core *c, int64_t t, const struct lease *l, int64_t units, int64_t until_ms,
		  struct cert_short *ret)
{
	const struct cert_flavor *f = certified(c, l->spec.flavor);
	struct replicas r;
	struct cert_flavor now, after;
	bool holds;

	memset(ret, 0, sizeof *ret);
	if (!f)
		return true;
	r = replicas_of(c, l, units);
	if (!r.cells)
		return true; /* single devices and whole nodes are wanted already, as nominals */
	now = after = *f;
	replicas_count(&after, &r, 1);
	holds = lacks(&c->certify, &after, ret) <= lacks(&c->certify, &now, NULL);
	if (!holds || !c->bars_n)
		return holds;
	now = *f;
	supply_bar(c, &now, l->spec.flavor, t, until_ms);
	after = now;
	replicas_count(&after, &r, 1);
	ret->calendar = lacks(&c->certify, &after, ret) > lacks(&c->certify, &now, NULL);
	return !ret->calendar;
}

void certify_text(const struct core *c, const struct lease *l, const struct cert_short *tight, char out[TEXT_BYTES])
{
	const struct cert_levels *levels = &c->certify.flavor[l->spec.flavor].levels;
	uint32_t each = l->spec.shape == SHAPE_GPU ? l->spec.units_per_replica : 0;
	uint32_t cell = levels->size[cert_level_of(levels, each)];
	int n = snprintf(out, TEXT_BYTES, "%" PRId64 " more of %u %s on one node cannot be freed within %" PRId64 " s%s", tight->cells,
			 levels->size[tight->level], flavor_of(c, l->spec.flavor)->name,
			 c->certify.class_ms[tight->class] / MS_PER_S, tight->calendar ? ": reservations have them" : "");
	char aside[48];

	if (each <= 1 || cell == each)
		return;
	(void)snprintf(aside, sizeof aside, "; %u are set aside as %u", each, cell);
	if ((size_t)n + strlen(aside) < TEXT_BYTES) /* it explains; the rest says it */
		memcpy(out + n, aside, strlen(aside) + 1);
}

int certify_check(const struct core *c, struct err *err)
{
	struct certify *again;
	bool same;
	int rc = 0;

	if (c->tree_stale)
		return 0;
	again = xmalloc(sizeof *again);
	certify_rebuild(c, again);
	same = again->classes == c->certify.classes && !memcmp(again->class_ms, c->certify.class_ms, sizeof again->class_ms);
	EACH(c, nodes, node_s, n) {
		uint64_t back[CERT_CLASSES_MAX] = {0};

		for (uint32_t i = 0; i < n->units_n; i++) {
			const struct alloc *a = core_alloc(c, n->units[i].alloc);
			uint32_t k = a->klass == CLASS_LOAN ? class_of_loan(c, a) : CERT_NEVER;

			for (uint32_t p = 0; k != CERT_NEVER && p < a->parts_n; p++)
				if (a->parts[p].index == n->units[i].part)
					back[k] |= a->parts[p].devices;
		}
		if (memcmp(back, n->back, sizeof back) != 0)
			rc = err_set(err, ERR_CORRUPT, "what comes back on node %u, and when, is not up to date", n->r.id);
		node_seats(again, n, 1);
	}
	EACH(c, leases, lease_s, l) {
		struct replicas r = replicas_of(c, &l->r, lease_lacks_units(l)); /* by classes and levels, which are the same */

		if (same)
			replicas_count(&again->flavor[l->r.spec.flavor], &r, 1);
	}
	for (uint16_t id = 1; id <= FLAVORS_MAX; id++) {
		same &= again->flavor[id].levels.n == c->certify.flavor[id].levels.n;
		same &= !again->flavor[id].levels.n ||
			!memcmp(&again->flavor[id], &c->certify.flavor[id], sizeof again->flavor[id]);
	}
	if (!rc && !same)
		rc = err_set(err, ERR_CORRUPT, "the certificate's counters differ from the records");
	free(again);
	return rc;
}
