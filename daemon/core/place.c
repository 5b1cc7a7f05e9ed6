/* place.c - which devices, cores and memory serve a request
 *
 * Order of preference: one node before several, the fullest node that fits (best fit), then topology
 * order. A fixed order is not only reproducible, it packs better than random ties. Whole nodes come from
 * as few leaves as possible, the leaf with the fewest free nodes that suffices first. Loans come from the same end of
 * that order as guaranteed work: taking one of them, or long loans, from the other end was tried, moved neither what is
 * lost to recalls nor the mean time to completion (tests/FIGURES.md), and was left out.
 *
 * Candidates come from the index of the flavor's nodes (roster.h), best first. Only nodes that are taken
 * from, or hold loans that are thought away, become candidates with a copy of what they have left; what
 * the index says of them is changed for the time of the call and taken back at its end. So placing costs
 * what it places, not what the cluster is.
 *
 * Shape safety: guaranteed single-device work may break at most `live nodes - whole nodes promised`
 * nodes of a flavor (the fractional area); loans go anywhere, because they can be recalled. What an owner breaks
 * inside its own nominal of whole nodes is not found here: carrier.c.
 */
#include "daemon/core/affinity.h"
#include "daemon/core/reservation.h"
#include "daemon/core/roster.h"
#include "daemon/core/state.h"

#include <stdlib.h>
#include <string.h>

struct cand {
	struct node_s *n;
	const struct seat *seat;
	uint32_t at;      /* in the roster */
	uint64_t devices; /* that may be used */
	uint64_t cores[CORE_WORDS];
	uint32_t memory_mib;
	uint32_t avail;   /* units left */
	uint32_t used_chunks;
	bool breaks;      /* guaranteed gpu-shaped work here would break a whole node */
};

struct placing {
	const struct core *c;
	const struct place_ask *ask;
	const struct flavor *flavor;
	struct roster *roster;
	enum roster_view view;
	const struct buckets *index;
	bool plain;         /* enough units are all that it takes */
	struct cand *cand;
	uint32_t cand_n, cand_cap;
	uint32_t breakable; /* nodes that may still be broken */
	bool barred; /* a reservation keeps something from it */
	uint32_t *leaf_used; /* [leaf] units of the lease; NULL: no limit */
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

/* Share that of all nodes of its type. */
static void type_share(struct core *c, struct node_s *n)
{
	struct affinity *mine = affinity_new(n->r.devices, n->r.devices_n);
	uint64_t hash = affinity_hash(mine);
	struct node_type **at = &c->node_types;

	if (n->affinity && affinity_equal(n->affinity, mine)) {
		affinity_free(mine);
		return;
	}
	node_forget_type(c, n);
	while (*at && ((*at)->hash != hash || !affinity_equal((*at)->affinity, mine)))
		at = &(*at)->next;
	if (*at) {
		affinity_free(mine);
	} else {
		affinity_prepare(mine);
		*at = xcalloc(1, sizeof(struct node_type));
		**at = (struct node_type){.affinity = mine, .hash = hash};
	}
	(*at)->nodes++;
	n->affinity = (*at)->affinity;
}

void node_forget_type(struct core *c, struct node_s *n)
{
	for (struct node_type **at = &c->node_types, *t; (t = *at) != NULL; at = &t->next)
		if (t->affinity == n->affinity && --t->nodes == 0) {
			*at = t->next;
			affinity_free(t->affinity);
			free(t);
			break;
		}
	n->affinity = NULL;
}

bool node_derive(struct core *c, struct node_s *n)
{
	struct seat fresh[DEVICES_PER_NODE_MAX];
	uint32_t fresh_n = 0;
	bool same;

	for (uint32_t i = 0; i < n->r.devices_n; i++) {
		const struct device *dev = &n->r.devices[i];
		uint32_t at = 0;

		if (!dev->flavor)
			continue;
		while (at < fresh_n && fresh[at].flavor < dev->flavor)
			at++;
		if (at == fresh_n || fresh[at].flavor != dev->flavor) {
			memmove(&fresh[at + 1], &fresh[at], (fresh_n++ - at) * sizeof *fresh);
			fresh[at] = (struct seat){.flavor = dev->flavor};
		}
		fresh[at].n++;
		if (dev->health == DEVICE_OK)
			fresh[at].mask |= UINT64_C(1) << i;
	}
	if (!fresh_n)
		fresh[fresh_n++] = (struct seat){0};
	type_share(c, n);
	same = fresh_n == n->seats_n;
	for (uint32_t i = 0; same && i < fresh_n; i++)
		same = fresh[i].flavor == n->seat[i].flavor;
	if (same) {
		for (uint32_t i = 0; i < fresh_n; i++) {
			n->seat[i].mask = fresh[i].mask;
			n->seat[i].n = fresh[i].n;
		}
	} else {
		n->seat = xrealloc(n->seat, fresh_n * sizeof *n->seat);
		memcpy(n->seat, fresh, fresh_n * sizeof *n->seat);
		n->seats_n = fresh_n;
	}
	memset(n->cores_usable, 0, sizeof n->cores_usable);
	for (unsigned i = n->r.cores_reserved; i < n->r.cores_n; i++)
		n->cores_usable[i / 64] |= UINT64_C(1) << (i % 64);
	n->cores_usable_n = mask_count(n->cores_usable);
	n->core_words = (n->r.cores_n + 63U) / 64;
	return !same;
}

static uint64_t weight_of(const struct core *c, uint16_t flavor)
{
	const struct flavor *f = flavor_of(c, flavor);

	return f && f->weight_milli ? f->weight_milli : 1;
}

uint64_t share_weight(const struct core *c, const struct node_s *n, uint16_t flavor, uint64_t *ret_all)
{
	*ret_all = 0;
	for (uint32_t i = 0; i < n->seats_n; i++)
		*ret_all += weight_of(c, n->seat[i].flavor) * n->seat[i].n;
	return weight_of(c, flavor);
}

uint64_t share_for(const struct core *c, const struct node_s *n, uint16_t flavor, uint32_t devices, uint64_t total)
{
	uint64_t all, mine = share_weight(c, n, flavor, &all);

	return total * devices * mine / all;
}

uint64_t node_flavor_mask(const struct node_s *n, uint16_t flavor)
{
	const struct seat *seat = node_seat(n, flavor);

	return seat ? seat->mask : 0;
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

/* What node number `at` of the roster has for the request. */
static void cand_fill(struct placing *p, struct cand *cd, uint32_t at)
{
	const struct place_ask *ask = p->ask;
	struct node_s *n = p->roster->node[at];
	uint32_t cores = 0, memory = node_memory_mib(&n->r);

	memset(cd, 0, sizeof *cd);
	cd->n = n;
	cd->at = at;
	for (cd->seat = n->seat; cd->seat->flavor != p->roster->flavor; cd->seat++)
		continue;
	cd->devices = cd->seat->mask;
	cd->memory_mib = memory;
	for (uint32_t w = 0; w < n->core_words; w++)
		cd->cores[w] = n->cores_usable[w];
	if (ask->over == PLACE_FREE || ask->over == PLACE_OVER_LOANS) {
		uint64_t held = n->held, cores_held[CORE_WORDS];
		uint64_t memory_held = (uint64_t)n->memory_held_mib + node_memory_owed(p->c, n, ask);

		memcpy(cores_held, n->cores_held, sizeof cores_held);
		if (ask->over == PLACE_OVER_LOANS)
			for (uint32_t i = 0; i < n->units_n; i++) {
				const struct alloc *a = core_alloc(p->c, n->units[i].alloc);

				if (!may_recall(p->c, ask, n->units[i].alloc))
					continue;
				for (uint32_t k = 0; k < a->parts_n; k++)
					if (a->parts[k].index == n->units[i].part) {
						held &= ~a->parts[k].devices;
						mask_andnot(cores_held, a->parts[k].cores);
						memory_held -= a->parts[k].memory_mib;
					}
			}
		cd->devices &= ~held & ~n->claimed;
		for (uint32_t w = 0; w < n->core_words; w++)
			cd->cores[w] &= ~cores_held[w] & ~n->cores_claimed[w];
		cd->memory_mib = memory > memory_held ? (uint32_t)(memory - memory_held) : 0;
	}
	if ((n->pins_n || ask->reservation || ask->over == PLACE_CALENDAR) && ask->over != PLACE_EMPTY)
		p->barred |= reservation_bar(p->c, n, ask, &cd->devices, cd->cores, &cd->memory_mib);
	for (uint32_t w = 0; w < n->core_words; w++)
		cores += popcount64(cd->cores[w]);
	if (p->flavor->unit == UNIT_CORE)
		cd->avail = ask->shape == SHAPE_NODE ? cores && cores == n->cores_usable_n : cores;
	else if (ask->shape == SHAPE_NODE)
		cd->avail = popcount64(cd->seat->mask) == p->flavor->devices_per_node && cd->devices == cd->seat->mask;
	else
		cd->avail = popcount64(cd->devices);
	if (ask->cpus && p->flavor->unit != UNIT_CORE && cores < ask->cpus)
		cd->avail = 0;
	if (ask->memory_mib && cd->memory_mib < ask->memory_mib)
		cd->avail = 0;
	if (!p->plain && !place_node_matches(&n->r, ask))
		cd->avail = 0;
	if (ask->over == PLACE_CALENDAR && !cd->seat->live[ROSTER_FREE])
		cd->avail = 0;
	cd->breaks = ask->klass == CLASS_GUARANTEED && ask->shape == SHAPE_GPU && p->flavor->unit == UNIT_DEVICE &&
		     (ask->over == PLACE_EMPTY || !n->fraction_parts);
}

/* Its candidate, made when it is not one yet. */
static struct cand *cand_at(struct placing *p, uint32_t at)
{
	if (!p->roster->cand[at]) {
		if (p->cand_n == p->cand_cap) {
			uint32_t cap = p->cand_cap ? p->cand_cap * 2 : 1;
			struct cand *more = arena_alloc(p->arena, cap * sizeof *more);

			if (p->cand_n)
				memcpy(more, p->cand, p->cand_n * sizeof *more);
			p->cand = more;
			p->cand_cap = cap;
		}
		cand_fill(p, &p->cand[p->cand_n], at);
		p->roster->cand[at] = ++p->cand_n;
	}
	return &p->cand[p->roster->cand[at] - 1];
}

/* Let the index say what the candidate has left. */
static void cand_index(struct placing *p, const struct cand *cd)
{
	struct bucket_key k = {0};

	if (!cd->used_chunks || (cd->avail && !p->ask->distinct)) {
		k = roster_key(p->c, p->roster, cd->n, cd->seat, cd->devices, mask_count(cd->cores), cd->memory_mib);
		k.broken &= p->view == ROSTER_FREE;
		k.broken |= cd->used_chunks && p->ask->klass == CLASS_GUARANTEED && p->ask->shape == SHAPE_GPU;
	}
	roster_put(p->roster, p->view, cd->at, k);
}

/* Forget the candidates from number `cands` on, and what the index says of them. */
static void forget(struct placing *p, uint32_t cands, uint32_t puts)
{
	roster_undo(p->roster, p->view, puts);
	while (p->cand_n > cands)
		p->roster->cand[p->cand[--p->cand_n].at] = 0;
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

static struct part *part_new(struct placing *p)
{
	if (p->part_n == p->part_cap) {
		uint32_t cap = p->part_cap ? p->part_cap * 2 : 1;
		struct part *more = arena_alloc(p->arena, cap * sizeof *more);

		if (p->part_n)
			memcpy(more, p->part, p->part_n * sizeof *more);
		p->part = more;
		p->part_cap = cap;
	}
	p->part[p->part_n] = (struct part){.index = (uint16_t)p->part_n};
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

	if (!ask->chunk_parts && cd->used_chunks) /* else it has none yet */
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
		unsigned n_cores = ask->shape == SHAPE_NODE ? usable : units;

		take_cores(cores, cd->cores, NULL, n_cores);
		memory = usable ? (uint32_t)((uint64_t)total_memory * n_cores / usable) : 0;
		cd->avail -= units;
	} else {
		unsigned devices = ask->shape == SHAPE_NODE ? popcount64(cd->devices) : units;
		uint64_t picked = affinity_pick(cd->n->affinity, cd->devices, devices);
		uint64_t near[CORE_WORDS] = {0};

		for (uint64_t m = picked; m; m &= m - 1)
			mask_or(near, n->devices[__builtin_ctzll(m)].cores);
		if (ask->cpus)
			want_cores = part->devices ? 0 : ask->cpus;
		else
			want_cores = (unsigned)share_for(p->c, cd->n, ask->flavor, devices, usable);
		take_cores(cores, cd->cores, near, want_cores ? want_cores : !ask->cpus);
		memory = (uint32_t)share_for(p->c, cd->n, ask->flavor, devices, total_memory);
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
	if (ask->chunk_parts && ((p->flavor->unit == UNIT_DEVICE && mask_count(cd->cores) < ask->cpus) ||
				 cd->memory_mib < ask->memory_mib))
		cd->avail = 0; /* no room for another part of its own */
}

/* ---- choosing ------------------------------------------------------------------------------------- */

static uint32_t *leaf_used(const struct placing *p, uint32_t at)
{
	return &p->leaf_used[p->index->level[LEVEL_LEAF].of[at]];
}

static bool usable(const struct placing *p, const struct cand *cd, uint32_t units)
{
	if (p->leaf_used && *leaf_used(p, cd->at) + units > p->ask->leaf_max)
		return false;
	return cd->avail >= units && units && !(cd->breaks && !p->breakable) &&
	       !(p->ask->distinct && cd->used_chunks);
}

/* The first node of [from, to), in the order of the ranks for `need`, on which `units` fit. What a reservation
 * keeps from the request the index does not know: it is told, and asked again. */
static struct cand *first_by(struct placing *p, uint32_t need, bool careful, uint32_t units, uint32_t from, uint32_t to)
{
	const uint32_t *rank = roster_rank(p->c, p->roster, p->view, need, careful);
	struct bucket_cursor cursor = BUCKETS_START;

	while (buckets_next(p->index, rank, from, to, &cursor)) {
		struct cand *cd;

		if (cursor.rank & RANK_CLEAN && !p->breakable)
			return NULL; /* and so are all that follow */
		if (!p->plain && !p->roster->cand[cursor.node]) {
			struct cand look;

			cand_fill(p, &look, cursor.node);
			if (look.avail && look.avail < p->index->key[cursor.node].free) {
				cand_index(p, cand_at(p, cursor.node));
				rank = roster_rank(p->c, p->roster, p->view, need, careful); /* there may be a new bucket */
				cursor = BUCKETS_START;
				continue;
			}
			if (!usable(p, &look, units))
				continue;
		}
		cd = cand_at(p, cursor.node);
		if (usable(p, cd, units))
			return cd;
	}
	return NULL;
}

/* The fullest node on which `units` fit. */
static struct cand *best_fit(struct placing *p, uint32_t units, uint32_t from, uint32_t to)
{
	bool careful = p->ask->klass == CLASS_GUARANTEED && p->flavor->unit == UNIT_DEVICE &&
		       p->ask->over != PLACE_CALENDAR; /* that one sees idle nodes: none looks broken */

	return first_by(p, units, careful, units, from, to);
}

/* Take, and let the index know if more is to come. */
static void take(struct placing *p, struct cand *cd, uint32_t units, bool more)
{
	part_take(p, cd, units);
	if (p->leaf_used)
		*leaf_used(p, cd->at) += units;
	if (more)
		cand_index(p, cd);
}

static bool place_spread(struct placing *p, uint32_t units, uint32_t from, uint32_t to)
{
	struct cand *one = units <= UINT16_MAX ? best_fit(p, units, from, to) : NULL;

	while (!one && units) { /* largest first: fewest nodes */
		struct cand *most = first_by(p, 0, false, 1, from, to);
		uint32_t n;

		if (!most)
			return false;
		n = most->avail < units ? most->avail : units;
		take(p, most, n, true);
		units -= n;
		if (units && units <= UINT16_MAX)
			one = best_fit(p, units, from, to); /* the last piece: where it fits best */
	}
	if (units)
		take(p, one, units, false);
	return true;
}

static bool place_chunks(struct placing *p, uint32_t units, uint32_t from, uint32_t to)
{
	while (units) {
		uint32_t n = units < p->ask->chunk ? units : p->ask->chunk;
		struct cand *cd = best_fit(p, n, from, to);

		if (!cd)
			return false;
		units -= n;
		take(p, cd, n, units > 0);
	}
	return true;
}

static enum bucket_level level_of(uint8_t topology) { return topology == TOPOLOGY_POD ? LEVEL_POD : LEVEL_LEAF; }

static bool place_nodes(struct placing *p, uint32_t units)
{
	/* one node is as close to itself as can be, wherever it is */
	enum bucket_level within = p->ask->topology_required && units > 1 ? level_of(p->ask->topology) : LEVELS;
	uint32_t *node;

	if (units > p->index->whole_n)
		return false;
	node = arena_alloc(p->arena, units * sizeof *node);
	if (!buckets_gang(p->index, units, within, node))
		return false;
	for (uint32_t i = 0; i < units; i++) {
		struct cand *cd = cand_at(p, node[i]);

		ENSURE(cd->avail);
		part_take(p, cd, 1);
	}
	return true;
}

/* Whole nodes in topology order, as many of each leaf as it may have. */
static bool place_nodes_apart(struct placing *p, uint32_t units)
{
	for (uint32_t at = 0; units && (at = buckets_whole_from(p->index, at)) != BUCKETS_NONE; at++) {
		struct cand *cd = cand_at(p, at);

		if (!usable(p, cd, 1))
			continue;
		take(p, cd, 1, false);
		units--;
	}
	return !units;
}

/* What the lease has in each leaf already. */
static void leaves_count(struct placing *p)
{
	const struct level *l = &p->index->level[LEVEL_LEAF];

	p->leaf_used = arena_alloc(p->arena, l->groups_n * sizeof *p->leaf_used);
	if (!p->ask->lease || p->ask->over == PLACE_EMPTY)
		return;
	EACH(p->c, allocs, alloc_s, a)
		for (uint32_t i = 0; a->r.owner_kind == OWNER_LEASE && a->r.owner == p->ask->lease && i < a->r.parts_n; i++) {
			const struct node_s *n = node_of(p->c, a->r.parts[i].node);

			for (uint32_t k = 0; k < n->seats_n; k++)
				if (n->seat[k].flavor == p->roster->flavor)
					*leaf_used(p, n->seat[k].at) += a->r.parts[i].units;
		}
}

static bool place_devices(struct placing *p, uint32_t from, uint32_t to)
{
	return p->ask->chunk ? place_chunks(p, p->ask->units, from, to) : place_spread(p, p->ask->units, from, to);
}

/* The group after `last` in order of what is free in it, of those with at least `units`. */
static uint32_t next_group(const struct level *l, uint32_t units, uint32_t last)
{
	uint32_t best = BUCKETS_NONE;

	for (uint32_t g = 0; g < l->groups_n; g++) {
		if (!l->known[g] || l->free[g] < units)
			continue;
		if (last != BUCKETS_NONE && (l->free[g] < l->free[last] || (l->free[g] == l->free[last] && g <= last)))
			continue;
		if (best == BUCKETS_NONE || l->free[g] < l->free[best])
			best = g;
	}
	return best;
}

/* place_devices(), and all taken back if it fails. */
static bool try_range(struct placing *p, uint32_t from, uint32_t to)
{
	uint32_t cands = p->cand_n, puts = p->roster->undo_n, breakable = p->breakable;

	if (place_devices(p, from, to))
		return true;
	forget(p, cands, puts);
	for (uint32_t i = 0; i < cands; i++)
		if (p->cand[i].used_chunks)
			cand_fill(p, &p->cand[i], p->cand[i].at);
	p->part_n = 0;
	p->breakable = breakable;
	return false;
}

/* On one node; else in one group of the level that was asked for, the fullest that has room; else, unless it
 * is required, anywhere. */
static bool place_near(struct placing *p)
{
	const struct place_ask *ask = p->ask;
	const struct cand *one = NULL;

	if (ask->units <= UINT16_MAX && !(ask->distinct && ask->units > ask->chunk))
		one = best_fit(p, ask->units, 0, p->roster->nodes_n);
	if (one && try_range(p, one->at, one->at + 1))
		return true;
	for (enum bucket_level k = LEVEL_LEAF; k <= level_of(ask->topology); k++) {
		const struct level *l = &p->index->level[k];

		for (uint32_t g = BUCKETS_NONE; (g = next_group(l, ask->units, g)) != BUCKETS_NONE;)
			if (try_range(p, l->begin[g], l->begin[g + 1]))
				return true;
	}
	return !ask->topology_required && place_devices(p, 0, p->roster->nodes_n);
}

/* ---- the question ----------------------------------------------------------------------------------- */

/* Think the loans away that may be recalled. */
static void over_loan(struct placing *p, const struct alloc *a)
{
	for (uint32_t i = 0; i < a->parts_n; i++) {
		const struct node_s *n = node_of(p->c, a->parts[i].node);

		for (uint32_t k = 0; k < n->seats_n; k++)
			if (n->seat[k].flavor == p->roster->flavor && n->seat[k].live[ROSTER_FREE] &&
			    !p->roster->cand[n->seat[k].at])
				cand_index(p, cand_at(p, n->seat[k].at));
	}
}

static void over_loans(struct placing *p)
{
	const struct place_ask *ask = p->ask;

	if (!ask->victims) {
		EACH(p->c, loans, alloc_s, a)
			over_loan(p, &a->r);
		return;
	}
	for (uint32_t i = 0; i < ask->victims_n; i++) {
		const struct alloc *a = core_alloc(p->c, ask->victims[i]);

		if (a && a->klass == CLASS_LOAN)
			over_loan(p, a);
	}
}

/* Take the whole nodes out of the index that do not suit. */
static void keep_suitable(struct placing *p)
{
	for (uint32_t at = 0; (at = buckets_whole_from(p->index, at)) != BUCKETS_NONE; at++) {
		struct cand look;

		cand_fill(p, &look, at);
		if (!look.avail)
			roster_put(p->roster, p->view, at, (struct bucket_key){0});
	}
}

/* Units that are free in all, for the request; `ret_suits`: is any node of it in service at all? */
static uint64_t total(struct placing *p, bool *ret_suits)
{
	const struct level *l = &p->index->level[level_of(p->ask->topology)];
	uint64_t sum = 0, *group = NULL;
	bool grouped = p->ask->topology_required && p->ask->units > 1;

	*ret_suits = p->plain && p->roster->live[p->view];
	if (p->plain && !p->cand_n && !p->ask->ret_largest)
		return p->ask->shape == SHAPE_NODE ? p->index->whole_n : p->index->free_sum;
	if (p->ask->ret_largest)
		group = arena_alloc(p->arena, l->groups_n * sizeof *group);
	for (uint32_t i = 0; i < p->roster->nodes_n; i++) {
		const struct node_s *n = p->roster->node[i];
		struct cand look;
		bool up = false;

		for (uint32_t k = 0; k < n->seats_n; k++)
			up |= n->seat[k].flavor == p->roster->flavor &&
			      n->seat[k].live[p->ask->over == PLACE_EMPTY ? ROSTER_IDLE : ROSTER_FREE];
		if (!up || (!p->plain && !place_node_matches(&n->r, p->ask)))
			continue;
		*ret_suits = true;
		if (p->index->key[i].free || p->roster->cand[i]) {
			cand_fill(p, &look, i);
			sum += look.avail;
			if (p->ask->ret_largest && (!grouped || l->known[l->of[i]])) {
				group[l->of[i]] = grouped ? group[l->of[i]] + look.avail : look.avail;
				if (group[l->of[i]] > *p->ask->ret_largest)
					*p->ask->ret_largest = group[l->of[i]];
			}
		}
	}
	return sum;
}

/* Nodes of the fractional area that guaranteed single-device work has not broken yet. */
uint32_t place_breakable(const struct core *c, uint16_t flavor, uint32_t live, uint32_t broken)
{
	int64_t whole = tree_of(c, flavor, SHAPE_NODE) ? c->promised_whole[flavor] : 0;

	return live > whole + broken ? (uint32_t)((int64_t)live - whole - broken) : 0;
}

uint32_t place_area_nodes(const struct core *c, uint16_t flavor)
{
	const struct roster *p = roster_of(c, flavor);

	return p ? place_breakable(c, flavor, p->live[ROSTER_FREE], 0) : 0;
}

uint32_t place_area(const struct core *c, uint16_t flavor)
{
	int64_t whole = tree_of(c, flavor, SHAPE_NODE) ? c->promised_whole[flavor] : 0;
	int64_t single = c->promised[flavor] - in_devices(c, flavor, SHAPE_NODE, whole);

	return (uint32_t)min64(place_area_nodes(c, flavor), single);
}

bool place_may_guarantee(const struct core *c, const struct alloc *a)
{
	const struct roster *p = roster_of(c, a->flavor);
	uint32_t more = 0;

	if (!p || a->shape == SHAPE_NODE || flavor_of(c, a->flavor)->unit == UNIT_CORE)
		return true;
	for (uint32_t i = 0; i < a->parts_n; i++)
		more += !node_of(c, a->parts[i].node)->fraction_parts;
	return more <= place_breakable(c, a->flavor, p->live[ROSTER_FREE], p->broken);
}

bool place_inside(const struct core *c, const struct place_ask *ask, const struct node_s *n, const struct part *within,
		  struct arena *arena, struct part **ret_part)
{
	struct placing p = {.c = c, .ask = ask, .flavor = flavor_of(c, ask->flavor), .arena = arena};
	const struct seat *seat = node_seat(n, ask->flavor);
	struct cand cd;

	p.roster = roster_of(c, ask->flavor);
	if (!p.roster || !seat)
		return false;
	cand_fill(&p, &cd, seat->at);
	if (within) {
		cd.devices = within->devices & seat->mask;
		memcpy(cd.cores, within->cores, sizeof cd.cores);
		cd.memory_mib = within->memory_mib;
		cd.avail = popcount64(cd.devices);
	}
	cd.breaks = false;
	if (cd.avail < ask->units)
		return false;
	part_take(&p, &cd, ask->units);
	*ret_part = p.part;
	return true;
}

int place(const struct core *c, const struct place_ask *ask, struct arena *arena, struct part **ret_parts,
	  uint32_t *ret_n)
{
	struct placing p = {.c = c, .ask = ask, .flavor = flavor_of(c, ask->flavor), .arena = arena};
	enum roster_view in_service;
	uint64_t free_units = 0;
	bool ok, suits = true;

	ENSURE(p.flavor);
	if (ask->ret_total)
		*ask->ret_total = 0;
	if (ask->ret_largest)
		*ask->ret_largest = 0;
	p.roster = roster_of(c, ask->flavor);
	if (!p.roster)
		return REASON_NO_SHAPE;
	p.view = ask->over == PLACE_EMPTY || ask->over == PLACE_CALENDAR ? ROSTER_IDLE : ROSTER_FREE;
	in_service = ask->over == PLACE_EMPTY ? ROSTER_IDLE : ROSTER_FREE;
	p.index = &p.roster->view[p.view];
	p.plain = !ask->requires_n && !ask->excluded_n && !ask->cpus && !ask->memory_mib && !ask->leaf_max &&
		  !ask->reservation && !(p.roster->pinned && !ask->unbarred && ask->over != PLACE_EMPTY) &&
		  ask->over != PLACE_CALENDAR;
	p.breakable = place_breakable(c, ask->flavor, p.roster->live[in_service],
				in_service == ROSTER_FREE ? p.roster->broken : 0);
	if (ask->over == PLACE_OVER_LOANS)
		over_loans(&p);
	if (ask->shape == SHAPE_NODE && !p.plain)
		keep_suitable(&p);
	if (ask->leaf_max)
		leaves_count(&p);
	if (ask->shape == SHAPE_NODE && ask->leaf_max)
		ok = place_nodes_apart(&p, ask->units);
	else if (ask->shape == SHAPE_NODE)
		ok = place_nodes(&p, ask->units);
	else if (ask->topology != TOPOLOGY_ANY)
		ok = place_near(&p);
	else
		ok = place_devices(&p, 0, p.roster->nodes_n);
	if (ok && p.part_n > PARTS_PER_ALLOC_MAX)
		ok = false;
	if (!ok && ask->over != PLACE_OVER_LOANS)
		forget(&p, 0, 0);
	if (!ok)
		free_units = total(&p, &suits);
	forget(&p, 0, 0);
	if (!ok && ask->ret_total)
		*ask->ret_total = suits ? free_units : UINT64_MAX;
	if (!ok && p.barred) {
		struct place_ask again = *ask;

		again.unbarred = true;
		again.ret_total = again.ret_largest = NULL;
		if (place(c, &again, arena, ret_parts, ret_n) == 0) {
			const struct reservation *r = reservation_in_way(c, ask);

			return r && r->spec.maint ? REASON_MAINTENANCE : REASON_RESERVED;
		}
	}
	if (!ok)
		return !suits ? REASON_NODES_OUT : free_units >= ask->units ? REASON_FRAGMENTED : REASON_NO_SHAPE;
	*ret_parts = p.part;
	*ret_n = p.part_n;
	return 0;
}
