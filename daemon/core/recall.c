/* recall.c - which loans go for a claim: the state seen as a question for victims.c
 *
 * The order of cost never changes with time: what stopping a loan now would lose grows at the same slope
 * for every device, from `lost_from_ms`, which core_apply keeps (start or last checkpoint, less what a
 * restart costs). So nothing is ever sorted again; a plan is one walk over nodes and loans.
 *
 * Who may go, strictly in this order:
 *   pass    those that are back in time; any. Whose nominal a loan was noted against does not matter: notes are
 *           bookkeeping and follow (novation), so every loan is a candidate for everybody who is owed something.
 *   rank    extra units of elastic jobs, then by class, the loans of leases last: nobody of a higher rank goes
 *           while those below suffice
 *   cost    lost work of everything that goes, as little as possible (victims.c), and an interruption for each
 * That its job was recalled before makes no loan dearer; it cools down for longer (cooldown_ms). Ten minutes more of lost
 * work for each time recall the others, who have run for longer, too: 6,742 recalls instead of 3,990, and 1.5 % of what
 * training held is lost, not 1.2 % (sluis-sim divide, philly on 96 nodes of 8, ServeGen m-large from day 42).
 * A lease goes as a whole. place() has the last word: if it cannot use what the count promises (a leaf that is
 * required, a node that must stay whole) the shortest sufficient prefix by cost is found by asking it.
 * A request for a few devices, one by one, or for whole nodes is answered from a short list where that suffices,
 * without a look at all nodes and loans.
 * Complete: if recalling every loan helps, a plan is found. Guaranteed work is not looked at.
 */
#include "daemon/core/reservation.h"
#include "daemon/core/roster.h"
#include "daemon/core/state.h"
#include "daemon/core/victims.h"

#include <stdlib.h>
#include <string.h>

enum {
	RANK_EXTRA = 0, /* extra units of an elastic job: separate loan allocations */
	RANK_JOB = 1,   /* plus the job's class */
	RANK_LEASE = RANK_JOB + JOB_SYSTEM + 1,
	RANKS,
	RANK_SHIFT = 3, /* within what is needed, a rank higher counts as eight times the work */
	RESTART_MS = 240 * 1000, /* runs on through its notice, and loads again */
	INTERRUPTION_S = 1800, /* device-seconds, whatever its size: one job stopped is less trouble than many */
	PASSES = 2,
	SHORT_MAX = 256, /* devices; the list of more is longer than it saves */
};

void victim_key_set(const struct core *c, struct alloc_s *a)
{
	const struct job *j = a->r.owner_kind == OWNER_JOB ? core_job(c, a->r.owner) : NULL;

	a->rank = a->r.extra ? RANK_EXTRA : RANK_LEASE;
	a->lost_from_ms = a->r.state == ALLOC_ACTIVE ? a->r.start_ms - RESTART_MS : T_NEVER;
	if (a->r.extra)
		a->lost_from_ms = T_NEVER; /* the rest of its job goes on */
	if (a->r.extra || a->r.owner_kind == OWNER_LEASE)
		return;
	if (!j || j->alloc != a->r.id) { /* its job runs elsewhere, or goes on without: nothing is lost */
		a->rank = a->r.extra ? RANK_EXTRA : RANK_JOB;
		a->lost_from_ms = T_NEVER;
		return;
	}
	a->rank = (uint8_t)(RANK_JOB + j->spec.klass);
	if (a->lost_from_ms != T_NEVER && j->checkpoint_ms > a->r.start_ms)
		a->lost_from_ms = j->checkpoint_ms - RESTART_MS;
}

struct loan_key loan_key_of(const struct alloc_s *a)
{
	return (struct loan_key){.id = a->r.id, .alloc = a, .lost_from_ms = a->lost_from_ms, .units = a->r.units,
				 .node = a->r.parts_n == 1 ? a->r.parts->node : 0, .flavor = a->r.flavor, .shape = a->r.shape,
				 .rank = a->rank};
}

int64_t loan_back_ms(const struct core *c, const struct alloc *a, int64_t t)
{
	int64_t stop = a->exempt_until_ms > t ? a->exempt_until_ms - t : 0;


	stop = a->state == ALLOC_BINDING    ? 0 :
	       a->state == ALLOC_STOPPING ? max64(0, a->stop_at_ms - t) :
					    stop + a->notice_ms;
	stop += c->cluster.kill_margin_ms + flavor_of(c, a->flavor)->scrub_ms_max;
	return a->state == ALLOC_ACTIVE ? max64(stop, a->back_ms) : stop;
}

int64_t alloc_bound_ms(const struct core *c, const struct alloc *a)
{
	int64_t exempt = a->exempt_until_ms ? a->exempt_until_ms - a->created_ms : 0;

	return max64(a->back_ms, exempt + a->notice_ms + c->cluster.kill_margin_ms +
					 flavor_of(c, a->flavor)->scrub_ms_max);
}

int64_t job_back_ms(const struct core *c, const struct job *j) { return spec_back_ms(c, &j->spec, j->back_ms); }

int64_t spec_back_ms(const struct core *c, const struct job_spec *s, int64_t back_ms)
{
	return max64(back_ms, s->exempt_ms + s->notice_ms + c->cluster.kill_margin_ms +
					 flavor_of(c, s->flavor)->scrub_ms_max);
}

/* ---- the question ---------------------------------------------------------------------------------- */

struct loan {
	uint64_t id;
	uint64_t lease;  /* 0: a job's */
	int64_t cost;
	const struct part *parts;
	uint64_t devices; /* of its first part, which is often all there is: it is not fetched a second time */
	uint32_t parts_n, node, memory_mib;
	uint8_t rank, pass; /* the first one in which it may go */
};

struct planning {
	const struct core *c;
	int64_t t, slo_ms;
	struct place_ask ask;
	struct arena *arena;
	uint32_t *spot_of; /* by node id: index + 1 */
	uint64_t *usable;  /* by spot: devices of the flavor that no claim and no reservation keeps */
	struct victim_ask q;
	bool unsure; /* a "no" of victims.c may be wrong */
	struct loan *all;   /* by rank; those of a lease together; else by id: the younger have the higher index */
	uint32_t all_n;
	struct loan *loans; /* of the pass, in that order */
	uint32_t loans_n;
	uint32_t *cand_loan;  /* first loan of each candidate; one more at the end */
	uint32_t rank_cands[RANKS], rank_pieces[RANKS]; /* up to and with that rank */
	uint64_t *ids;
	uint32_t ids_n;
	struct part *parts;
	uint32_t parts_n;
};

/* Amounts of the flavor: devices, or cores of a node without devices. */
static uint32_t held_of(const struct planning *p, const struct node_s *n, uint32_t spot, const struct part *part)
{
	uint64_t cores[CORE_WORDS];

	if (flavor_of(p->c, p->ask.flavor)->unit == UNIT_DEVICE)
		return popcount64(part->devices & p->usable[spot]);
	memcpy(cores, part->cores, sizeof cores);
	mask_andnot(cores, n->cores_claimed);
	return mask_count(cores);
}

/* Ten thousand nodes and eighty thousand loans lie all over the memory: fetch the next ones while this one is
 * looked at. */
enum { AHEAD = 12, LINE = 64 };

static void fetch(const void *p, size_t bytes)
{
	for (size_t k = 0; k < bytes; k += LINE)
		__builtin_prefetch((const char *)p + k);
}

static void fetch_node(const struct node_s *n)
{
	fetch(&n->r.state, 1);
	fetch(&n->r.memory_mib, 1);
	fetch(&n->held, offsetof(struct node_s, timer) - offsetof(struct node_s, held));
}

static const struct node_s **nodes_all(const struct planning *p, uint32_t *ret_n)
{
	const struct node_s **all = arena_alloc(p->arena, (p->c->nodes.count + 1) * sizeof *all);

	*ret_n = 0;
	EACH(p->c, nodes, node_s, n)
		all[(*ret_n)++] = n;
	return all;
}

/* Of these nodes, in the order of their ids. */
static void spots_make(struct planning *p, const struct node_s *const *all, uint32_t all_n)
{
	const struct core *c = p->c;
	const struct flavor *f = flavor_of(c, p->ask.flavor);
	const struct roster *r = roster_of(c, p->ask.flavor);
	struct victim_need *need = &p->q.need;

	p->spot_of = arena_alloc(p->arena, ((size_t)c->cluster.next_node + 1) * sizeof *p->spot_of);
	p->q.spots = arena_alloc(p->arena, (all_n + 1) * sizeof *p->q.spots);
	p->usable = arena_alloc(p->arena, (all_n + 1) * sizeof *p->usable);
	for (uint32_t i = 0; i < all_n; i++) {
		const struct node_s *n = all[i];
		uint64_t mask, cores[CORE_WORDS];
		struct victim_spot *s = &p->q.spots[p->q.spots_n];
		uint32_t memory, used;

		if (i + AHEAD < all_n)
			fetch_node(all[i + AHEAD]);
		if (i + AHEAD / 2 < all_n)
			fetch(all[i + AHEAD / 2]->seat, 1);
		mask = node_flavor_mask(n, p->ask.flavor);
		memory = node_memory_mib(&n->r);
		if (n->r.state != NODE_READY || n->r.admin != NODE_ENABLED)
			continue;
		if (f->unit == UNIT_DEVICE ? !mask || n->carrier.flavor == p->ask.flavor : !node_is_cpu(n))
			continue;
		if (p->ask.shape == SHAPE_NODE && popcount64(mask) != f->devices_per_node)
			continue;
		if (!place_node_matches(&n->r, &p->ask))
			continue;
		memcpy(cores, n->cores_usable, sizeof cores);
		mask &= ~n->claimed;
		if (n->pins_n || p->ask.reservation)
			(void)reservation_bar(c, n, &p->ask, &mask, cores, &memory);
		mask_andnot(cores, n->cores_held);
		mask_andnot(cores, n->cores_claimed);
		p->usable[p->q.spots_n] = mask;
		s->cores = mask_count(cores);
		s->free = f->unit == UNIT_DEVICE ? popcount64(mask & ~n->held) : s->cores;
		used = n->memory_held_mib + (p->ask.memory_mib ? node_memory_owed(c, n, NULL) : 0);
		s->memory_mib = memory > used ? memory - used : 0;
		s->breaks = p->ask.klass == CLASS_GUARANTEED && p->ask.shape == SHAPE_GPU && !n->fraction_parts &&
			    f->unit == UNIT_DEVICE;
		p->unsure |= s->breaks;
		p->spot_of[n->r.id] = ++p->q.spots_n;
	}
	need->size = p->ask.shape == SHAPE_NODE ? f->devices_per_node : p->ask.chunk ? p->ask.chunk : 1;
	need->units = p->ask.shape == SHAPE_NODE ? p->ask.units : (p->ask.units + need->size - 1) / need->size;
	need->cores = f->unit == UNIT_CORE ? 0 : p->ask.cpus;
	need->memory_mib = p->ask.memory_mib;
	need->distinct = p->ask.distinct;
	p->unsure |= p->ask.chunk && p->ask.units % p->ask.chunk; /* the last one may be smaller */
	need->breakable = r ? place_breakable(c, p->ask.flavor, r->live[ROSTER_FREE], r->broken) : 0;
}

/* The first pass in which it may go; PASSES: in none. */
static uint8_t pass_of(const struct planning *p, const struct alloc *a)
{
	/* of other flavors only cores and memory can be wanted */
	if (a->flavor != p->ask.flavor && !p->q.need.cores && !p->q.need.memory_mib)
		return PASSES;
	for (uint32_t i = 0; i < a->parts_n; i++)
		if (a->parts[i].unkillable)
			return PASSES; /* told already, to no avail */
	if (loan_back_ms(p->c, a, p->t) > p->slo_ms ||
	    (a->state == ALLOC_STOPPING && a->stop_at_ms + p->c->cluster.kill_margin_ms < p->t))
		return PASSES - 1; /* or it should be back, and is not */
	return 0;
}

static int loan_cmp(const void *pa, const void *pb)
{
	const struct loan *a = pa, *b = pb;

	if (a->lease != b->lease)
		return a->lease < b->lease ? -1 : 1;
	return a->id < b->id ? -1 : 1;
}

static int64_t lost(const struct planning *p, const struct loan_key *a)
{
	int64_t devices = in_devices(p->c, a->flavor, a->shape, a->units), s;

	s = a->lost_from_ms == T_NEVER ? 0 : max64(0, p->t - a->lost_from_ms) / MS_PER_S;
	if (__builtin_mul_overflow(s, devices, &s) || s > VICTIM_COST_MAX / 2 >> RANK_SHIFT * (RANKS - 1))
		s = VICTIM_COST_MAX / 2 >> RANK_SHIFT * (RANKS - 1);
	return (s + (a->lost_from_ms == T_NEVER ? 1 : INTERRUPTION_S)) << RANK_SHIFT * a->rank;
}

static const struct alloc_s **loans_all(const struct planning *p, uint32_t *ret_n)
{
	const struct alloc_s **all = arena_alloc(p->arena, (p->c->loans.count + 1) * sizeof *all);

	*ret_n = 0;
	EACH(p->c, loans, alloc_s, a)
		all[(*ret_n)++] = a;
	return all;
}

/* Of these loans, in the order of their ids; each is looked at once. */
static void loans_gather(struct planning *p, const struct alloc_s *const *all, uint32_t all_n)
{
	struct loan *found = arena_alloc(p->arena, (all_n + 1) * sizeof *found);
	uint32_t of_rank[RANKS] = {0}, at[RANKS] = {0}, n = 0;

	for (uint32_t i = 0; i < all_n; i++) {
		const struct alloc_s *a = all[i];
		struct loan_key key;
		uint8_t pass;

		if (i + AHEAD < all_n)
			fetch(all[i + AHEAD], sizeof **all);
		if (i + AHEAD / 2 < all_n)
			fetch(all[i + AHEAD / 2]->r.parts, LINE + 1);
		pass = pass_of(p, &a->r);
		if (pass == PASSES)
			continue;
		key = loan_key_of(a);
		found[n++] = (struct loan){
			.id = a->r.id, .lease = a->r.owner_kind == OWNER_LEASE ? a->r.owner : 0, .cost = lost(p, &key),
			.parts = a->r.parts, .parts_n = a->r.parts_n, .rank = a->rank, .pass = pass,
			.devices = a->r.parts[0].devices, .node = a->r.parts[0].node, .memory_mib = a->r.parts[0].memory_mib,
		};
		of_rank[a->rank]++;
	}
	for (uint32_t r = 0; r < RANKS; r++) {
		at[r] = p->all_n;
		p->all_n += of_rank[r];
	}
	p->all = arena_alloc(p->arena, (n + 1) * sizeof *p->all);
	for (uint32_t i = 0; i < n; i++)
		p->all[at[found[i].rank]++] = found[i];
	if (of_rank[RANK_LEASE])
		qsort(p->all + n - of_rank[RANK_LEASE], of_rank[RANK_LEASE], sizeof *p->all, loan_cmp);
	p->loans = arena_alloc(p->arena, (n + 1) * sizeof *p->loans);
}

/* Those that may go in this pass; false if they are the same as before. */
static bool loans_of_pass(struct planning *p, int pass)
{
	uint32_t before = p->loans_n;

	p->loans_n = 0;
	for (uint32_t i = 0; i < p->all_n; i++)
		if (p->all[i].pass <= pass)
			p->loans[p->loans_n++] = p->all[i];
	return !pass || p->loans_n != before;
}

/* Are the devices of its one part all that matters, and is that its only piece? */
static bool is_simple(const struct planning *p, const struct loan *loan)
{
	return loan->parts_n == 1 && !loan->lease && !p->q.need.cores && flavor_of(p->c, p->ask.flavor)->unit == UNIT_DEVICE;
}

static void piece_add(struct planning *p, struct victim_cand *v, const struct loan *loan)
{
	if (is_simple(p, loan)) {
		uint32_t spot = p->spot_of[loan->node];

		if (spot)
			p->q.pieces[v->piece] = (struct victim_piece){.spot = spot - 1, .memory_mib = loan->memory_mib,
								      .free = popcount64(loan->devices & p->usable[spot - 1])};
		v->pieces_n += spot != 0;
		p->q.pieces_n += spot != 0;
		return;
	}
	for (uint32_t i = 0; i < loan->parts_n; i++) {
		const struct part *part = &loan->parts[i];
		uint32_t spot = p->spot_of[part->node], k = v->piece;
		const struct node_s *n;

		if (!spot)
			continue;
		n = node_of(p->c, part->node);
		for (; k < v->piece + v->pieces_n && p->q.pieces[k].spot != spot - 1; k++)
			if (v->pieces_n > 64 && k + 64 < v->piece + v->pieces_n)
				k = v->piece + v->pieces_n - 64; /* parts of one node lie near each other */
		if (k == v->piece + v->pieces_n) {
			p->q.pieces[k] = (struct victim_piece){.spot = spot - 1};
			v->pieces_n++;
			p->q.pieces_n++;
		}
		p->q.pieces[k].free += held_of(p, n, spot - 1, part);
		if (p->q.need.cores)
			p->q.pieces[k].cores += mask_count(part->cores);
		p->q.pieces[k].memory_mib += part->memory_mib;
	}
}

static void cands_make(struct planning *p)
{
	uint32_t pieces = 0;

	for (uint32_t i = 0; i < p->loans_n; i++)
		pieces += p->loans[i].parts_n;
	p->q.cands = arena_alloc(p->arena, (p->loans_n + 1) * sizeof *p->q.cands);
	p->q.pieces = arena_alloc(p->arena, (pieces + 1) * sizeof *p->q.pieces);
	p->cand_loan = arena_alloc(p->arena, (p->loans_n + 1) * sizeof *p->cand_loan);
	p->q.cands_n = p->q.pieces_n = 0;
	memset(p->rank_cands, 0, sizeof p->rank_cands);
	for (uint32_t i = 0, rank = 0; i < p->loans_n;) {
		struct victim_cand *v = &p->q.cands[p->q.cands_n];
		const struct loan *first = &p->loans[i];

		for (; rank < first->rank; rank++) {
			p->rank_cands[rank] = p->q.cands_n;
			p->rank_pieces[rank] = p->q.pieces_n;
		}
		*v = (struct victim_cand){.piece = p->q.pieces_n};
		p->cand_loan[p->q.cands_n++] = i;
		do {
			v->cost = min64(VICTIM_COST_MAX, v->cost + p->loans[i].cost);
			piece_add(p, v, &p->loans[i]);
			if (++i + AHEAD < p->loans_n && !is_simple(p, &p->loans[i + AHEAD]))
				fetch(p->loans[i + AHEAD].parts, sizeof(struct part));
		} while (first->lease && i < p->loans_n && p->loans[i].lease == first->lease);
		for (uint32_t r = rank; r < RANKS; r++) {
			p->rank_cands[r] = p->q.cands_n;
			p->rank_pieces[r] = p->q.pieces_n;
		}
	}
	p->cand_loan[p->q.cands_n] = p->loans_n;
}

/* ---- asking place() ---------------------------------------------------------------------------------- */

static int id_cmp(const void *pa, const void *pb)
{
	uint64_t a, b;

	memcpy(&a, pa, sizeof a);
	memcpy(&b, pb, sizeof b);
	return a < b ? -1 : a > b;
}

struct priced { int64_t cost; uint32_t cand; };

/* With those that go among the first `cands_n`, in `order` or as they come. */
static bool try(struct planning *p, uint32_t cands_n, const struct priced *order)
{
	p->ids = arena_alloc(p->arena, (p->loans_n + 1) * sizeof *p->ids);
	p->ids_n = 0;
	for (uint32_t i = 0; i < cands_n; i++) {
		uint32_t v = order ? order[i].cand : i;

		for (uint32_t k = p->cand_loan[v]; p->q.cands[v].goes && k < p->cand_loan[v + 1]; k++)
			p->ids[p->ids_n++] = p->loans[k].id;
	}
	if (p->ids_n)
		qsort(p->ids, p->ids_n, sizeof *p->ids, id_cmp);
	p->ask.victims = p->ids;
	p->ask.victims_n = p->ids_n;
	return place(p->c, &p->ask, p->arena, &p->parts, &p->parts_n) == 0;
}

static int cost_cmp(const void *pa, const void *pb)
{
	const struct priced *a = pa, *b = pb;

	if (a->cost != b->cost)
		return a->cost < b->cost ? -1 : 1;
	return a->cand > b->cand ? -1 : a->cand < b->cand;
}

/* The shortest prefix by cost that suffices, then without whoever is not needed. */
static bool by_asking(struct planning *p)
{
	struct priced *order = arena_alloc(p->arena, (p->q.cands_n + 1) * sizeof *order);
	uint32_t n = p->q.cands_n, lo = 0, hi = n;

	for (uint32_t i = 0; i < n; i++) {
		order[i] = (struct priced){p->q.cands[i].cost, i};
		p->q.cands[i].goes = true;
	}
	if (!try(p, n, NULL))
		return false;
	if (n)
		qsort(order, n, sizeof *order, cost_cmp);
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (try(p, mid, order))
			hi = mid;
		else
			lo = mid + 1;
	}
	for (uint32_t i = hi; i-- > 0;) {
		p->q.cands[order[i].cand].goes = false;
		if (!try(p, hi, order))
			p->q.cands[order[i].cand].goes = true;
	}
	ENSURE(try(p, hi, order));
	return true;
}

/* With as few ranks as suffice. */
static bool choose(struct planning *p)
{
	bool found = false;

	for (uint32_t r = 0; r < RANKS && !found; r++) {
		if (r && p->rank_cands[r] == p->rank_cands[r - 1])
			continue;
		p->q.cands_n = p->rank_cands[r];
		p->q.pieces_n = p->rank_pieces[r];
		found = victims_choose(&p->q, p->arena);
	}
	p->q.cands_n = p->rank_cands[RANKS - 1];
	p->q.pieces_n = p->rank_pieces[RANKS - 1];
	return found;
}

/* ---- the short list ----------------------------------------------------------------------------------
 * Where devices are wanted one by one, wherever they are, a loan is what it costs and how many it gives back. Of
 * those of a rank that give back d of `need` no more than need / d, rounded up, can be of use, and the cheapest are
 * as good as any: these hold a cheapest set. A shelf keeps them, the first to be crowded out on top. Whatever else
 * the request wants of a node can only make it dearer: if place() takes the answer it is the cheapest of that, too,
 * and if not all are looked at. */

struct listed { int64_t cost; uint64_t id; uint32_t held; uint8_t rank; };
struct shelf { struct listed *heap; uint32_t n, most; };

/* Where that is not so this seldom leads anywhere. */
static bool one_by_one(const struct planning *p)
{
	return flavor_of(p->c, p->ask.flavor)->unit == UNIT_DEVICE && p->ask.shape == SHAPE_GPU &&
	       p->ask.chunk <= 1 && !p->ask.topology_required;
}

/* What it gives back that nobody waits for. */
static uint32_t gives(const struct planning *p, const struct alloc *a)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < a->parts_n; i++) {
		const struct node_s *node = node_of(p->c, a->parts[i].node);

		if (node->r.state == NODE_READY && node->r.admin == NODE_ENABLED && place_node_matches(&node->r, &p->ask))
			n += popcount64(a->parts[i].devices & node_flavor_mask(node, p->ask.flavor) & ~node->claimed);
	}
	return n;
}

/* Dearer; of equals the older one stays. */
static bool crowded_out(const struct listed *a, const struct listed *b)
{
	return a->cost != b->cost ? a->cost > b->cost : a->id < b->id;
}

static void shelf_put(struct shelf *s, struct listed l)
{
	uint32_t i, k;

	if (s->n < s->most) {
		for (i = s->n++; i && crowded_out(&l, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
			s->heap[i] = s->heap[(i - 1) / 2];
	} else {
		for (i = 0; (k = 2 * i + 1) < s->n; i = k) {
			k += k + 1 < s->n && crowded_out(&s->heap[k + 1], &s->heap[k]);
			if (!crowded_out(&s->heap[k], &l))
				break;
			s->heap[i] = s->heap[k];
		}
	}
	s->heap[i] = l;
}

static bool has_place(const struct shelf *s, const struct listed *l)
{
	return s->n < s->most || crowded_out(&s->heap[0], l);
}

static int listed_cmp(const void *pa, const void *pb)
{
	const struct listed *a = pa, *b = pb;

	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return a->id < b->id ? -1 : 1;
}

/* Those of use, by rank and id. O(loans), with a look at those that find a place. */
static uint32_t list_make(struct planning *p, uint32_t need, struct listed **ret)
{
	struct shelf *shelves = arena_alloc(p->arena, (size_t)RANK_LEASE * (need + 1) * sizeof *shelves);
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->c->loan_keys_n; i++) {
		const struct loan_key *key = &p->c->loan_keys[i];
		struct listed l = {.id = key->id, .rank = key->rank};
		struct shelf *s;
		int64_t devices;

		if (key->flavor != p->ask.flavor || key->rank >= RANK_LEASE)
			continue;
		devices = in_devices(p->c, key->flavor, key->shape, key->units);
		l.cost = lost(p, key);
		s = &shelves[(size_t)key->rank * (need + 1) + (size_t)min64(devices, need)];
		if (s->heap && !has_place(s, &l))
			continue; /* if it gives less than its size, those there are better all the more */
		if (pass_of(p, &key->alloc->r) || !(l.held = gives(p, &key->alloc->r)))
			continue;
		s = &shelves[(size_t)key->rank * (need + 1) + (size_t)min64(l.held, need)];
		if (!s->heap) {
			s->most = (uint32_t)(need + min64(l.held, need) - 1) / (uint32_t)min64(l.held, need);
			s->heap = arena_alloc(p->arena, s->most * sizeof *s->heap);
		}
		if (has_place(s, &l))
			shelf_put(s, l);
	}
	for (uint32_t i = 0; i < RANK_LEASE * (need + 1); i++)
		n += shelves[i].n;
	*ret = arena_alloc(p->arena, (n + 1) * sizeof **ret);
	n = 0;
	for (uint32_t i = 0; i < RANK_LEASE * (need + 1); i++)
		for (uint32_t k = 0; k < shelves[i].n; k++)
			(*ret)[n++] = shelves[i].heap[k];
	if (n)
		qsort(*ret, n, sizeof **ret, listed_cmp);
	return n;
}

/* False: place() wants more than devices, or those that are back in time and no lease's do not suffice. */
static bool short_plan(const struct planning *asked, struct recall *ret)
{
	const struct roster *r = roster_of(asked->c, asked->ask.flavor);
	struct planning p = *asked;
	struct listed *list = NULL;
	uint64_t free;

	if (!r || !one_by_one(&p) || r->pinned) /* what a reservation keeps is not free */
		return false;
	free = r->view[ROSTER_FREE].free_sum;
	if (free < p.ask.units && p.ask.units - free > SHORT_MAX)
		return false;
	p.q.need = (struct victim_need){.units = free < p.ask.units ? (uint32_t)(p.ask.units - free) : 0, .size = 1};
	if (p.q.need.units)
		p.loans_n = list_make(&p, p.q.need.units, &list);
	p.q.cands_n = p.q.pieces_n = p.q.spots_n = p.loans_n;
	p.q.cands = arena_alloc(p.arena, (p.loans_n + 1) * sizeof *p.q.cands);
	p.q.pieces = arena_alloc(p.arena, (p.loans_n + 1) * sizeof *p.q.pieces);
	p.q.spots = arena_alloc(p.arena, (p.loans_n + 1) * sizeof *p.q.spots);
	p.loans = arena_alloc(p.arena, (p.loans_n + 1) * sizeof *p.loans);
	p.cand_loan = arena_alloc(p.arena, (p.loans_n + 1) * sizeof *p.cand_loan);
	for (uint32_t i = 0; i < p.loans_n; i++) {
		p.loans[i].id = list[i].id;
		p.q.cands[i] = (struct victim_cand){.cost = list[i].cost, .piece = i, .pieces_n = 1};
		p.q.pieces[i] = (struct victim_piece){.spot = i, .free = list[i].held};
		p.cand_loan[i + 1] = i + 1;
		for (uint32_t k = list[i].rank; k < RANKS; k++)
			p.rank_cands[k] = p.rank_pieces[k] = i + 1;
	}
	if (!choose(&p) || !try(&p, p.q.cands_n, NULL))
		return false;
	*ret = (struct recall){p.ids, p.ids_n, p.parts, p.parts_n};
	return true;
}

/* ---- whole nodes ---------------------------------------------------------------------------------------
 * A node comes free as a whole when everything on it is a loan and goes. What that costs is summed up from the keys of the
 * loans, of a gang the share that is on it. The cheapest nodes, and as many again since a gang gives back others for
 * nothing, are then looked at as all would be. */

enum { NODES_MORE = 16 };

struct emptied { int64_t cost; uint16_t devices; uint8_t rank; };

static void empty(struct emptied *e, int64_t cost, uint32_t devices, uint8_t rank)
{
	e->cost = min64(VICTIM_COST_MAX, e->cost + cost);
	e->devices = (uint16_t)(e->devices + devices);
	e->rank = rank > e->rank ? rank : e->rank;
}

/* By node id: what it costs to empty it of loans. O(loans), with a look at gangs. */
static const struct emptied *emptied_all(const struct planning *p)
{
	struct emptied *of = arena_alloc(p->arena, ((size_t)p->c->cluster.next_node + 1) * sizeof *of);

	for (uint32_t i = 0; i < p->c->loan_keys_n; i++) {
		const struct loan_key *key = &p->c->loan_keys[i];
		const struct alloc *a = &key->alloc->r;
		int64_t devices, cost;

		if (key->flavor != p->ask.flavor)
			continue;
		devices = in_devices(p->c, key->flavor, key->shape, key->units);
		cost = lost(p, key);
		if (key->node)
			empty(&of[key->node], cost, (uint32_t)devices, key->rank);
		for (uint32_t k = 0; !key->node && k < a->parts_n; k++) {
			uint32_t here = popcount64(a->parts[k].devices);

			empty(&of[a->parts[k].node], cost / max64(devices, 1) * here, here, key->rank);
		}
	}
	return of;
}

static int node_cmp(const void *pa, const void *pb)
{
	const struct node_s *a, *b;

	memcpy(&a, pa, sizeof a);
	memcpy(&b, pb, sizeof b);
	return a->r.id < b->r.id ? -1 : a->r.id > b->r.id;
}

/* The cheapest to empty, of as few ranks as have to go; ascending by id. None if all loans together are too few. */
static const struct node_s **nodes_cheapest(const struct planning *p, const struct roster *r, uint32_t want, uint32_t *ret_n)
{
	const struct emptied *of = emptied_all(p);
	struct listed *could = arena_alloc(p->arena, (r->nodes_n + 1) * sizeof *could);
	struct shelf shelf = {.most = want * 2 + NODES_MORE};
	uint32_t n = 0, of_rank[RANKS] = {0}, rank = 0, there;
	const struct node_s **list;

	for (uint32_t at = 0; at < r->nodes_n; at++) {
		const struct emptied *e = &of[r->node[at]->r.id];

		if (at + AHEAD < r->nodes_n)
			fetch(&r->node[at + AHEAD]->r, 1);
		if (r->view[ROSTER_FREE].key[at].free + e->devices < r->per_node || e->rank >= RANK_LEASE)
			continue;
		could[n++] = (struct listed){.cost = e->cost, .id = at, .rank = e->rank};
		of_rank[e->rank]++;
	}
	for (there = of_rank[0]; there < want && rank + 1 < RANKS; there += of_rank[rank])
		rank++;
	*ret_n = 0;
	if (there < want)
		return NULL;
	shelf.heap = arena_alloc(p->arena, (shelf.most + 1) * sizeof *shelf.heap);
	for (uint32_t i = 0; i < n; i++)
		if (could[i].rank <= rank && has_place(&shelf, &could[i]))
			shelf_put(&shelf, could[i]);
	list = arena_alloc(p->arena, (shelf.n + 1) * sizeof *list);
	for (uint32_t i = 0; i < shelf.n; i++)
		list[i] = r->node[shelf.heap[i].id];
	if (shelf.n)
		qsort(list, shelf.n, sizeof *list, node_cmp);
	*ret_n = shelf.n;
	return list;
}

static int alloc_cmp(const void *pa, const void *pb)
{
	const struct alloc_s *a, *b;

	memcpy(&a, pa, sizeof a);
	memcpy(&b, pb, sizeof b);
	return a->r.id < b->r.id ? -1 : a->r.id > b->r.id;
}

/* The loans on these nodes, ascending by id, each once. */
static const struct alloc_s **loans_on(const struct planning *p, const struct node_s *const *node, uint32_t nodes_n,
				       uint32_t *ret_n)
{
	const struct alloc_s **all;
	uint32_t cap = 0, n = 0, once = 0;

	for (uint32_t i = 0; i < nodes_n; i++)
		cap += node[i]->units_n;
	all = arena_alloc(p->arena, (cap + 1) * sizeof *all);
	for (uint32_t i = 0; i < nodes_n; i++)
		for (uint32_t k = 0; k < node[i]->units_n; k++) {
			const struct alloc_s *a = alloc_of(p->c, node[i]->units[k].alloc);

			if (a->r.klass == CLASS_LOAN)
				all[n++] = a;
		}
	if (n)
		qsort(all, n, sizeof *all, alloc_cmp);
	for (uint32_t i = 0; i < n; i++)
		if (!i || all[i] != all[i - 1])
			all[once++] = all[i];
	*ret_n = once;
	return all;
}

/* Nodes that are wanted as wholes; 0 if that is not what is asked for. */
static uint32_t wholes(const struct planning *p, const struct roster *r)
{
	if (!r || !r->flavor || p->ask.topology_required)
		return 0;
	if (p->ask.shape == SHAPE_NODE)
		return p->ask.units;
	return p->ask.chunk == r->per_node && p->ask.units % r->per_node == 0 ? p->ask.units / r->per_node : 0;
}

/* False: that is not what is asked for, or loans that are back in time and no lease's do not suffice. */
static bool short_nodes(const struct planning *asked, struct recall *ret)
{
	const struct roster *r = roster_of(asked->c, asked->ask.flavor);
	struct planning p = *asked;
	const struct node_s **nodes;
	const struct alloc_s **loans;
	uint32_t want = wholes(&p, r), n, loans_n;

	if (!want || want > r->nodes_n / 4) /* then nearly all are on the list */
		return false;
	nodes = nodes_cheapest(&p, r, want, &n);
	if (n < want)
		return false;
	spots_make(&p, nodes, n);
	loans = loans_on(&p, nodes, n, &loans_n);
	loans_gather(&p, loans, loans_n);
	(void)loans_of_pass(&p, 0);
	cands_make(&p);
	if (!choose(&p) || !try(&p, p.q.cands_n, NULL))
		return false;
	*ret = (struct recall){p.ids, p.ids_n, p.parts, p.parts_n};
	return true;
}

bool recall_plan(const struct core *c, int64_t t, const struct place_ask *ask, int64_t within_ms,
		 bool late_too, struct arena *arena, struct recall *ret)
{
	struct planning p = {.c = c, .t = t, .slo_ms = within_ms, .ask = *ask, .arena = arena};
	int passes = late_too ? PASSES : PASSES - 1;
	const struct alloc_s **loans;
	const struct node_s **nodes;
	bool found = false;
	uint32_t n;

	p.ask.over = PLACE_OVER_LOANS;
	if (ask->klass != CLASS_LOAN && (short_plan(&p, ret) || short_nodes(&p, ret)))
		return true;
	nodes = nodes_all(&p, &n);
	spots_make(&p, nodes, n);
	if (ask->klass != CLASS_LOAN) {
		loans = loans_all(&p, &n);
		loans_gather(&p, loans, n);
	}
	for (int pass = ask->klass == CLASS_LOAN ? PASSES : 0; pass < passes && !found; pass++) {
		if (!loans_of_pass(&p, pass))
			continue; /* each only adds */
		cands_make(&p);
		found = choose(&p);
		if (found)
			found = try(&p, p.q.cands_n, NULL) || by_asking(&p);
	}
	if (!found && ask->klass != CLASS_LOAN && p.unsure)
		found = by_asking(&p); /* which nodes to break was decided greedily */
	if (ask->klass == CLASS_LOAN) { /* a loan recalls nobody */
		p.cand_loan = arena_alloc(arena, sizeof *p.cand_loan);
		found = try(&p, 0, NULL);
	}
	*ret = (struct recall){p.ids, p.ids_n, p.parts, p.parts_n};
	return found;
}
