/* place.c - which devices, cores and memory serve a request
 *
 * Order of preference: one node before several, the fullest node that fits (best fit), then topology
 * order (node id, device index). A fixed order is not only reproducible, it packs better than random
 * ties. Whole nodes are taken leaf by leaf: the leaf with the fewest free nodes that suffices.
 *
 * Shape safety: guaranteed single-device work may break at most `live nodes - whole nodes promised`
 * nodes of a flavor (the fractional area); loans go anywhere, because they can be recalled.
 */
#include "daemon/core/reservation.h"
#include "daemon/core/state.h"

#include <stdlib.h>
#include <string.h>

struct cand {
	struct node_s *n;
	uint64_t devices; /* that may be used */
	uint64_t cores[CORE_WORDS];
	uint32_t memory_mib;
	uint32_t avail;   /* units left */
	uint32_t used_chunks;
	uint32_t leaf;    /* index of the leaf label's first holder */
	bool breaks;      /* guaranteed gpu-shaped work here would break a whole node */
};

struct placing {
	const struct core *c;
	const struct place_ask *ask;
	const struct flavor *flavor;
	struct cand *cand;
	uint32_t cand_n;
	uint32_t breakable; /* nodes that may still be broken */
	bool barred; /* a reservation keeps something from it */
	struct part *part;
	uint32_t part_n, part_cap;
	struct arena *arena;
};

bool place_node_matches(const struct node *n, const struct place_ask *ask)
{
	for (uint32_t i = 0; i < ask->excluded_n; i++)
		if (ask->excluded[i].node == n->id)
			return false;
	for (uint32_t i = 0; i < ask->requires_n; i++) {
		bool has = false;

		for (uint32_t k = 0; k < n->labels_n && !has; k++)
			has = !strcmp(n->labels[k].key, ask->requires[i].key) &&
			      (!ask->requires[i].value[0] || !strcmp(n->labels[k].value, ask->requires[i].value));
		if (!has)
			return false;
	}
	return true;
}

static bool may_recall(const struct core *c, const struct place_ask *ask, uint64_t alloc)
{
	const struct alloc *a = core_alloc(c, alloc);

	if (!a || a->klass != CLASS_LOAN)
		return false;
	if (!ask->victims)
		return true;
	for (uint32_t lo = 0, hi = ask->victims_n; lo < hi;) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (ask->victims[mid] == alloc)
			return true;
		if (ask->victims[mid] < alloc)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

void node_masks(struct node_s *n)
{
	n->mask = 0;
	n->mask_flavor = 0;
	n->mask_all = true;
	for (uint32_t i = 0; i < n->r.devices_n; i++) {
		const struct device *dev = &n->r.devices[i];

		if (!dev->flavor)
			continue;
		if (!n->mask_flavor)
			n->mask_flavor = dev->flavor;
		if (dev->flavor != n->mask_flavor)
			n->mask_all = false;
		else if (dev->health == DEVICE_OK)
			n->mask |= UINT64_C(1) << i;
	}
	memset(n->cores_usable, 0, sizeof n->cores_usable);
	for (unsigned i = n->r.cores_reserved; i < n->r.cores_n; i++)
		n->cores_usable[i / 64] |= UINT64_C(1) << (i % 64);
}

uint64_t node_flavor_mask(const struct node_s *n, uint16_t flavor)
{
	uint64_t m = 0;

	if (n->mask_flavor == flavor)
		return n->mask;
	if (n->mask_all)
		return 0;
	for (uint32_t i = 0; i < n->r.devices_n; i++)
		if (n->r.devices[i].flavor == flavor && n->r.devices[i].health == DEVICE_OK)
			m |= UINT64_C(1) << i;
	return m;
}

/* A loan on claimed devices or cores, or one told to go for a claim. With `ask`: not one that its plan
 * counts as gone already. */
uint32_t node_memory_owed(const struct core *c, const struct node_s *n, const struct place_ask *ask)
{
	uint32_t owed = n->memory_claimed_mib;

	for (uint32_t i = 0; owed && i < n->units_n; i++) {
		const struct alloc *a = core_alloc(c, n->units[i].alloc);

		if (a->klass != CLASS_LOAN ||
		    (ask && ask->over == PLACE_OVER_LOANS && may_recall(c, ask, a->id)))
			continue;
		for (uint32_t k = 0; k < a->parts_n; k++) {
			const struct part *p = &a->parts[k];
			bool goes = a->state == ALLOC_STOPPING && a->claim;

			if (p->index != n->units[i].part)
				continue;
			goes |= (p->devices & n->claimed) != 0;
			for (int w = 0; w < CORE_WORDS; w++)
				goes |= (p->cores[w] & n->cores_claimed[w]) != 0;
			if (goes)
				owed -= p->memory_mib < owed ? p->memory_mib : owed;
		}
	}
	return owed;
}

static void cand_fill(struct placing *p, struct cand *cd)
{
	const struct place_ask *ask = p->ask;
	const struct node *n = &cd->n->r;
	uint64_t mask = node_flavor_mask(cd->n, ask->flavor);
	uint32_t memory = node_memory_mib(n);

	memcpy(cd->cores, cd->n->cores_usable, sizeof cd->cores);
	cd->devices = mask;
	cd->memory_mib = memory;
	if (ask->over == PLACE_FREE || ask->over == PLACE_OVER_LOANS) {
		uint64_t held = cd->n->held, cores[CORE_WORDS];
		uint64_t memory_held = (uint64_t)cd->n->memory_held_mib + node_memory_owed(p->c, cd->n, ask);

		memcpy(cores, cd->n->cores_held, sizeof cores);
		if (ask->over == PLACE_OVER_LOANS)
			for (uint32_t i = 0; i < cd->n->units_n; i++) {
				const struct alloc *a = core_alloc(p->c, cd->n->units[i].alloc);

				if (!may_recall(p->c, ask, cd->n->units[i].alloc))
					continue;
				for (uint32_t k = 0; k < a->parts_n; k++)
					if (a->parts[k].index == cd->n->units[i].part) {
						held &= ~a->parts[k].devices;
						mask_andnot(cores, a->parts[k].cores);
						memory_held -= a->parts[k].memory_mib;
					}
			}
		cd->devices = mask & ~held & ~cd->n->claimed;
		mask_andnot(cd->cores, cores);
		mask_andnot(cd->cores, cd->n->cores_claimed);
		cd->memory_mib = memory > memory_held ? (uint32_t)(memory - memory_held) : 0;
	}
	if ((cd->n->pins_n || ask->reservation || ask->over == PLACE_CALENDAR) && ask->over != PLACE_EMPTY)
		p->barred |= reservation_bar(p->c, cd->n, ask, &cd->devices, cd->cores, &cd->memory_mib);
	if (p->flavor->unit == UNIT_CORE)
		cd->avail = node_is_cpu(cd->n) ? mask_count(cd->cores) : 0;
	else if (ask->shape == SHAPE_NODE)
		cd->avail = popcount64(mask) == p->flavor->devices_per_node && cd->devices == mask;
	else
		cd->avail = popcount64(cd->devices);
	if (ask->cpus && p->flavor->unit != UNIT_CORE && mask_count(cd->cores) < ask->cpus)
		cd->avail = 0;
	if (ask->memory_mib && cd->memory_mib < ask->memory_mib)
		cd->avail = 0;
	cd->breaks = ask->klass == CLASS_GUARANTEED && ask->shape == SHAPE_GPU && !cd->n->fraction_parts &&
		     p->flavor->unit == UNIT_DEVICE;
}

/* Take `want` bits of `from`, those in `near` first, lowest index first. */
static void take_cores(uint64_t to[CORE_WORDS], uint64_t from[CORE_WORDS], const uint64_t *near, unsigned want)
{
	for (int pass = near ? 0 : 1; pass < 2; pass++)
		for (int w = 0; w < CORE_WORDS; w++) {
			uint64_t bits = pass ? from[w] : from[w] & near[w];

			for (; bits && want; bits &= bits - 1, want--) {
				uint64_t bit = bits & -bits;

				to[w] |= bit;
				from[w] &= ~bit;
			}
		}
}

/* `k` devices of `avail`: on the NUMA node with the fewest that suffice, else from the lowest. Devices
 * linked to the first one (NVLink, XGMI) come first. */
static uint64_t pick_devices(const struct node *n, uint64_t avail, unsigned k)
{
	uint64_t picked = 0, best = 0;
	unsigned best_count = UINT32_MAX;

	for (uint64_t m = avail; m; m &= m - 1) {
		const struct device *dev = &n->devices[__builtin_ctzll(m)];
		uint64_t same = 0;

		for (uint64_t o = avail; o; o &= o - 1)
			if (n->devices[__builtin_ctzll(o)].numa == dev->numa)
				same |= o & -o;
		if (popcount64(same) >= k && popcount64(same) < best_count) {
			best = same;
			best_count = popcount64(same);
		}
	}
	if (!best)
		best = avail;
	while (k--) {
		uint64_t next = best & ~picked;

		if (picked) {
			uint64_t linked = next & n->devices[__builtin_ctzll(picked)].peers;

			if (linked)
				next = linked;
		}
		picked |= next & -next;
	}
	return picked;
}

static struct part *part_new(struct placing *p)
{
	if (p->part_n == p->part_cap) {
		uint32_t cap = p->part_cap ? p->part_cap * 2 : 8;
		struct part *more = arena_alloc(p->arena, cap * sizeof *more);

		if (p->part_n)
			memcpy(more, p->part, p->part_n * sizeof *more);
		p->part = more;
		p->part_cap = cap;
	}
	p->part[p->part_n].index = (uint16_t)p->part_n;
	return &p->part[p->part_n++];
}

/* Give `units` of candidate cd to a part. */
static void part_take(struct placing *p, struct cand *cd, uint32_t units)
{
	const struct node *n = &cd->n->r;
	const struct place_ask *ask = p->ask;
	struct part *part = NULL;
	uint64_t cores[CORE_WORDS] = {0};
	unsigned usable = n->cores_n - n->cores_reserved, want_cores;
	uint32_t memory, total_memory;

	if (!ask->chunk_parts)
		for (uint32_t i = 0; i < p->part_n; i++)
			if (p->part[i].node == n->id)
				part = &p->part[i];
	if (!part) {
		part = part_new(p);
		part->node = n->id;
	}
	if (cd->breaks) {
		ENSURE(p->breakable > 0);
		p->breakable--;
		cd->breaks = false;
	}
	total_memory = node_memory_mib(n);
	if (p->flavor->unit == UNIT_CORE) {
		take_cores(cores, cd->cores, NULL, units);
		memory = usable ? (uint32_t)((uint64_t)total_memory * units / usable) : 0;
		cd->avail -= units;
	} else {
		unsigned devices = ask->shape == SHAPE_NODE ? popcount64(cd->devices) : units;
		uint64_t picked = pick_devices(n, cd->devices, devices);
		uint64_t near[CORE_WORDS] = {0};

		for (uint64_t m = picked; m; m &= m - 1)
			mask_or(near, n->devices[__builtin_ctzll(m)].cores);
		want_cores = ask->cpus ? (part->devices ? 0 : ask->cpus) : usable * devices / n->devices_n;
		take_cores(cores, cd->cores, near, want_cores ? want_cores : !ask->cpus);
		memory = (uint32_t)((uint64_t)total_memory * devices / n->devices_n);
		part->devices |= picked;
		cd->devices &= ~picked;
		cd->avail = ask->shape == SHAPE_NODE ? 0 : cd->avail - units;
	}
	if (ask->memory_mib)
		memory = part->memory_mib ? 0 : ask->memory_mib;
	if (memory > cd->memory_mib)
		memory = cd->memory_mib;
	cd->memory_mib -= memory;
	part->memory_mib += memory;
	mask_or(part->cores, cores);
	part->units += units;
	cd->used_chunks++;
}

static bool usable(const struct placing *p, const struct cand *cd, uint32_t units)
{
	return cd->avail >= units && units && !(cd->breaks && !p->breakable) &&
	       !(p->ask->distinct && cd->used_chunks);
}

/* The fullest node on which `units` fit; ties by id. */
static struct cand *best_fit(struct placing *p, uint32_t units)
{
	struct cand *best = NULL;

	for (uint32_t i = 0; i < p->cand_n; i++) {
		struct cand *cd = &p->cand[i];

		if (!usable(p, cd, units))
			continue;
		if (!best || (cd->breaks ? 1 : 0) < (best->breaks ? 1 : 0) ||
		    (cd->breaks == best->breaks && cd->avail < best->avail))
			best = cd;
	}
	return best;
}

static bool place_spread(struct placing *p, uint32_t units)
{
	struct cand *one = best_fit(p, units);

	if (one) {
		part_take(p, one, units);
		return true;
	}
	while (units) { /* largest first: fewest nodes */
		struct cand *most = NULL;
		uint32_t take;

		for (uint32_t i = 0; i < p->cand_n; i++)
			if (usable(p, &p->cand[i], 1) && (!most || p->cand[i].avail > most->avail))
				most = &p->cand[i];
		if (!most)
			return false;
		one = best_fit(p, units); /* the last piece: where it fits best */
		if (one)
			most = one;
		take = most->avail < units ? most->avail : units;
		part_take(p, most, take);
		units -= take;
	}
	return true;
}

static bool place_nodes(struct placing *p, uint32_t units)
{
	while (units) {
		uint32_t best = UINT32_MAX, best_free = 0, take;

		/* the leaf with the fewest free nodes that suffices, else the one with most */
		for (uint32_t i = 0; i < p->cand_n; i++) {
			uint32_t nfree = 0;

			if (p->cand[i].leaf != i)
				continue;
			for (uint32_t k = i; k < p->cand_n; k++)
				nfree += p->cand[k].leaf == i && p->cand[k].avail;
			if (!nfree)
				continue;
			if (best == UINT32_MAX || (nfree >= units && (best_free < units || nfree < best_free)) ||
			    (best_free < units && nfree > best_free)) {
				best = i;
				best_free = nfree;
			}
		}
		if (best == UINT32_MAX)
			return false;
		take = best_free < units ? best_free : units;
		for (uint32_t k = best; k < p->cand_n && take; k++)
			if (p->cand[k].leaf == best && p->cand[k].avail) {
				part_take(p, &p->cand[k], 1);
				take--;
				units--;
			}
	}
	return true;
}

static const char *leaf_of(const struct node *n)
{
	for (uint32_t i = 0; i < n->labels_n; i++)
		if (!strcmp(n->labels[i].key, "leaf"))
			return n->labels[i].value;
	return "";
}

/* Nodes of the fractional area that guaranteed single-device work has not broken yet. */
uint32_t place_breakable(const struct core *c, uint16_t flavor, uint32_t live, uint32_t broken)
{
	const struct quota_tree *t = tree_of(c, flavor, SHAPE_NODE);
	int64_t whole = 0;

	for (uint32_t i = 0; t && i < t->nodes_n; i++)
		whole += t->cell[i].own;
	return live > whole + broken ? (uint32_t)((int64_t)live - whole - broken) : 0;
}

bool place_may_guarantee(const struct core *c, const struct alloc *a)
{
	uint32_t live = 0, broken = 0, more = 0;

	if (a->shape == SHAPE_NODE || flavor_of(c, a->flavor)->unit == UNIT_CORE)
		return true;
	EACH(c, nodes, node_s, n)
		if (n->r.state == NODE_READY && node_flavor_mask(n, a->flavor)) {
			live++;
			broken += n->fraction_parts > 0;
		}
	for (uint32_t i = 0; i < a->parts_n; i++)
		more += !node_of(c, a->parts[i].node)->fraction_parts;
	return more <= place_breakable(c, a->flavor, live, broken);
}

int place(const struct core *c, const struct place_ask *ask, struct arena *arena, struct part **ret_parts,
	  uint32_t *ret_n)
{
	struct placing p = {.c = c, .ask = ask, .flavor = flavor_of(c, ask->flavor), .arena = arena};
	uint64_t total = 0, mask;
	uint32_t live = 0, broken = 0, schedulable = 0;
	bool ok = true;

	ENSURE(p.flavor);
	p.cand = arena_alloc(arena, (size_t)c->nodes.count * sizeof *p.cand);
	EACH(c, nodes, node_s, n) {
		struct cand *cd = &p.cand[p.cand_n];
		bool up = n->r.state == NODE_READY && n->r.admin == NODE_ENABLED;

		if (ask->over == PLACE_EMPTY ? n->r.state == NODE_DOWN || n->r.state == NODE_JOINING : !up)
			continue;
		mask = node_flavor_mask(n, ask->flavor);
		if (mask) {
			live++;
			broken += n->fraction_parts > 0;
		}
		if (!place_node_matches(&n->r, ask))
			continue;
		if (p.flavor->unit == UNIT_DEVICE && ask->over == PLACE_FREE && !(mask & ~n->held & ~n->claimed)) {
			schedulable++; /* up, and full: no need to look closer */
			continue;
		}
		memset(cd, 0, sizeof *cd);
		cd->n = n;
		cand_fill(&p, cd);
		schedulable++;
		if (!cd->avail)
			continue;
		total += cd->avail;
		cd->leaf = p.cand_n;
		if (ask->shape == SHAPE_NODE)
			for (uint32_t i = 0; i < p.cand_n; i++)
				if (p.cand[i].leaf == i && !strcmp(leaf_of(&p.cand[i].n->r), leaf_of(&n->r))) {
					cd->leaf = i;
					break;
				}
		p.cand_n++;
	}
	p.breakable = place_breakable(c, ask->flavor, live, ask->over == PLACE_EMPTY ? 0 : broken);
	if (ask->shape == SHAPE_NODE) {
		ok = place_nodes(&p, ask->units);
	} else if (!ask->chunk) {
		ok = place_spread(&p, ask->units);
	} else {
		for (uint32_t left = ask->units; left && ok;) {
			uint32_t units = left < ask->chunk ? left : ask->chunk;
			struct cand *cd = best_fit(&p, units);

			ok = cd != NULL;
			if (cd)
				part_take(&p, cd, units);
			left -= ok ? units : 0;
		}
	}
	if (ok && p.part_n > PARTS_PER_ALLOC_MAX)
		ok = false;
	if (!ok && ask->ret_total)
		*ask->ret_total = schedulable ? total : UINT64_MAX;
	if (!ok && p.barred) {
		struct place_ask again = *ask;

		again.unbarred = true;
		again.ret_total = NULL;
		if (place(c, &again, arena, ret_parts, ret_n) == 0) {
			const struct reservation *r = reservation_in_way(c, ask);

			return r && r->spec.maint ? REASON_MAINTENANCE : REASON_RESERVED;
		}
	}
	if (!ok)
		return !schedulable ? REASON_NODES_OUT : total >= ask->units ? REASON_FRAGMENTED : REASON_NO_SHAPE;
	*ret_parts = p.part;
	*ret_n = p.part_n;
	return 0;
}
