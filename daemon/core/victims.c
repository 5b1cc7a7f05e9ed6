/* victims.c - see victims.h
 *
 * Invariants:
 *  - covered = Σ over open spots of the units they serve with what is free there now
 *  - a spot that would be broken serves nothing until it is opened, and at most `breakable` are opened
 *  - the key of a spot in the heap is never worse than its true one; it is looked at again when it comes up,
 *    because what is still needed has shrunk since (lazy greedy, Minoux 1978)
 */
#include "daemon/core/victims.h"

#include "proto/base/ensure.h"
#include "proto/base/minmax.h"

#include <stdlib.h>
#include <string.h>

__extension__ typedef __int128 wide; /* cost times units */

enum {
	EXACT_STEPS = 50000,  /* looks of branch and bound */
	GANG_WEIGHED_MAX = 64, /* larger gangs are weighed at their first spot only */
};

struct spot {
	uint32_t free, cores, memory_mib;
	uint32_t units; /* that it serves with these, if it is open */
	uint32_t first, n;
	uint32_t version;
	bool breaks, open;
};
struct step { int64_t cost, gain; uint32_t take; }; /* the first `take` of its candidates */
struct entry { struct step step; uint32_t spot, version; };

struct choosing {
	struct victim_ask *ask;
	struct spot *spot;
	uint32_t *at;     /* candidates by spot: spot[].first.. */
	uint32_t *held;   /* what each of them holds there, beside */
	uint32_t *chosen; /* scratch: candidates of one spot in order */
	struct entry *heap;
	uint32_t heap_n;
	int64_t covered;
	uint32_t opened;
};

static uint32_t units_of(const struct victim_need *n, const struct spot *s)
{
	uint32_t units;

	if (s->cores < n->cores || s->memory_mib < n->memory_mib)
		return 0;
	units = s->free / n->size;
	return n->distinct && units > 1 ? 1 : units;
}

static int64_t serves(const struct spot *s) { return s->open ? s->units : 0; }

/* The candidate goes (or comes back): returns by how much what is covered changes. O(its pieces). */
static int64_t move(struct choosing *c, uint32_t cand, bool goes)
{
	const struct victim_cand *v = &c->ask->cands[cand];
	int64_t change = 0;

	for (uint32_t i = 0; i < v->pieces_n; i++) {
		const struct victim_piece *p = &c->ask->pieces[v->piece + i];
		struct spot *s = &c->spot[p->spot];

		change -= serves(s);
		s->free += goes ? p->free : -p->free;
		s->cores += goes ? p->cores : -p->cores;
		s->memory_mib += goes ? p->memory_mib : -p->memory_mib;
		s->units = units_of(&c->ask->need, s);
		change += serves(s);
	}
	return change;
}

static void start(struct choosing *c, struct victim_ask *ask, struct arena *arena)
{
	uint32_t most = 0;

	memset(c, 0, sizeof *c);
	c->ask = ask;
	c->spot = arena_alloc(arena, (ask->spots_n + 1) * sizeof *c->spot);
	c->at = arena_alloc(arena, (ask->pieces_n + 1) * sizeof *c->at);
	c->held = arena_alloc(arena, (ask->pieces_n + 1) * sizeof *c->held);
	for (uint32_t i = 0; i < ask->pieces_n; i++)
		c->spot[ask->pieces[i].spot].n++;
	for (uint32_t i = 0, first = 0; i < ask->spots_n; i++) {
		struct spot *s = &c->spot[i];

		s->free = ask->spots[i].free;
		s->cores = ask->spots[i].cores;
		s->memory_mib = ask->spots[i].memory_mib;
		s->breaks = ask->spots[i].breaks;
		s->open = !s->breaks;
		s->units = units_of(&ask->need, s);
		s->first = first;
		first += s->n;
		if (s->n > most)
			most = s->n;
		s->n = 0;
		c->covered += serves(s);
	}
	c->chosen = arena_alloc(arena, (most + 1) * sizeof *c->chosen);
	for (uint32_t v = 0; v < ask->cands_n; v++) {
		ask->cands[v].goes = false;
		ENSURE(ask->cands[v].cost >= 0 && ask->cands[v].cost <= VICTIM_COST_MAX);
		for (uint32_t i = 0; i < ask->cands[v].pieces_n; i++) {
			const struct victim_piece *p = &ask->pieces[ask->cands[v].piece + i];
			struct spot *s = &c->spot[p->spot];

			c->at[s->first + s->n] = v;
			c->held[s->first + s->n++] = p->free;
		}
	}
}

/* ---- the best step at one spot -------------------------------------------------------------------- */

/* Cheaper for what it gives; then more at once. */
static bool step_better(const struct step *a, const struct step *b)
{
	wide l = (wide)a->cost * b->gain, r = (wide)b->cost * a->gain;

	return l != r ? l < r : a->gain > b->gain;
}

/* Candidates of a spot that have not gone, cheapest for what they hold there first; ties: higher index. */
static uint32_t in_order(const struct choosing *c, const struct spot *s)
{
	uint32_t held[512], n = 0;

	for (uint32_t i = 0; i < s->n && n < ARRAY_LEN(held); i++) {
		uint32_t v = c->at[s->first + i], h = c->held[s->first + i], k;
		int64_t cost = c->ask->cands[v].cost;

		if (c->ask->cands[v].goes || (i && c->at[s->first + i - 1] == v))
			continue;
		for (k = n; k; k--) {
			wide mine = (wide)cost * held[k - 1], other = (wide)c->ask->cands[c->chosen[k - 1]].cost * h;

			if (mine > other || (mine == other && v < c->chosen[k - 1]))
				break;
			c->chosen[k] = c->chosen[k - 1];
			held[k] = held[k - 1];
		}
		c->chosen[k] = v;
		held[k] = h;
		n++;
	}
	return n;
}

/* What going does elsewhere counts, too; of a very large gang at its first spot only. */
static int64_t move_weighed(struct choosing *c, uint32_t cand, uint32_t at, bool goes)
{
	struct victim_cand *v = &c->ask->cands[cand], here = *v;
	int64_t change;

	if (v->pieces_n <= GANG_WEIGHED_MAX || c->ask->pieces[v->piece].spot == at)
		return move(c, cand, goes);
	while (c->ask->pieces[here.piece].spot != at)
		here.piece++;
	here.pieces_n = 1;
	change = 0;
	{
		struct victim_cand keep = *v;

		*v = here;
		change = move(c, cand, goes);
		*v = keep;
	}
	return change;
}

/* False if nothing can be gained here. Leaves the candidates in c->chosen. */
static bool step_find(struct choosing *c, uint32_t at, struct step *ret)
{
	struct spot *s = &c->spot[at];
	int64_t left = c->ask->need.units - c->covered, gain = 0, cost = 0;
	bool opens = !s->open, found = false;
	uint32_t n;

	if (opens && c->opened >= c->ask->need.breakable)
		return false;
	n = in_order(c, s);
	s->open = true;
	if (opens)
		gain = serves(s);
	for (uint32_t i = 0; i <= n; i++) {
		struct step step = {cost, min64(gain, left), i};

		if (step.gain > 0 && (!found || step_better(&step, ret))) {
			*ret = step;
			found = true;
		}
		if (i == n)
			break;
		cost += c->ask->cands[c->chosen[i]].cost;
		gain += move_weighed(c, c->chosen[i], at, true);
	}
	for (uint32_t i = n; i-- > 0;)
		(void)move_weighed(c, c->chosen[i], at, false);
	s->open = !opens;
	return found;
}

/* ---- a heap of steps ----------------------------------------------------------------------------------- */

static bool entry_before(const struct entry *a, const struct entry *b)
{
	if (step_better(&a->step, &b->step))
		return true;
	if (step_better(&b->step, &a->step))
		return false;
	return a->spot < b->spot;
}

static void heap_push(struct choosing *c, struct entry e)
{
	uint32_t i = c->heap_n++;

	for (; i && entry_before(&e, &c->heap[(i - 1) / 2]); i = (i - 1) / 2)
		c->heap[i] = c->heap[(i - 1) / 2];
	c->heap[i] = e;
}

static struct entry heap_pop(struct choosing *c)
{
	struct entry top = c->heap[0], last = c->heap[--c->heap_n];
	uint32_t i = 0;

	for (;;) {
		uint32_t k = 2 * i + 1;

		if (k >= c->heap_n)
			break;
		if (k + 1 < c->heap_n && entry_before(&c->heap[k + 1], &c->heap[k]))
			k++;
		if (!entry_before(&c->heap[k], &last))
			break;
		c->heap[i] = c->heap[k];
		i = k;
	}
	c->heap[i] = last;
	return top;
}

static void look(struct choosing *c, uint32_t at)
{
	struct entry e = {.spot = at, .version = ++c->spot[at].version};

	if (step_find(c, at, &e.step))
		heap_push(c, e);
}

/* ---- greedy, then reverse delete ------------------------------------------------------------------------- */

struct priced { int64_t cost; uint32_t cand; };

static int by_cost(const void *pa, const void *pb)
{
	const struct priced *a = pa, *b = pb;

	if (a->cost != b->cost)
		return a->cost > b->cost ? -1 : 1;
	return a->cand < b->cand ? -1 : a->cand > b->cand; /* the older one stays */
}

/* Whoever is not needed stays, the most expensive first. */
static void delete_spare(struct choosing *c, struct arena *arena)
{
	struct victim_ask *ask = c->ask;
	struct priced *out = arena_alloc(arena, (ask->cands_n + 1) * sizeof *out);
	uint32_t n = 0;

	for (uint32_t v = 0; v < ask->cands_n; v++)
		if (ask->cands[v].goes)
			out[n++] = (struct priced){ask->cands[v].cost, v};
	if (n)
		qsort(out, n, sizeof *out, by_cost);
	for (uint32_t i = 0; i < n; i++) {
		int64_t change = move(c, out[i].cand, false);

		if (c->covered + change >= ask->need.units) {
			c->covered += change;
			ask->cands[out[i].cand].goes = false;
		} else {
			(void)move(c, out[i].cand, true);
		}
	}
}

/* If everybody went. */
static bool suffices_at_all(const struct choosing *c, struct arena *arena)
{
	const struct victim_ask *ask = c->ask;
	struct spot *all = arena_copy(arena, c->spot, ask->spots_n * sizeof *all);
	uint32_t opened = 0;
	int64_t units = 0;

	for (uint32_t i = 0; i < ask->pieces_n; i++) {
		const struct victim_piece *p = &ask->pieces[i];

		all[p->spot].free += p->free;
		all[p->spot].cores += p->cores;
		all[p->spot].memory_mib += p->memory_mib;
	}
	for (uint32_t i = 0; i < ask->spots_n && units < ask->need.units; i++) {
		uint32_t here = units_of(&ask->need, &all[i]);

		if (!all[i].open && (!here || opened == ask->need.breakable))
			continue;
		opened += !all[i].open;
		units += here;
	}
	return units >= ask->need.units;
}

static bool greedy(struct choosing *c, struct arena *arena)
{
	struct victim_ask *ask = c->ask;

	if (c->covered >= ask->need.units)
		return true;
	if (!suffices_at_all(c, arena))
		return false;
	c->heap = arena_alloc(arena, (ask->spots_n + ask->pieces_n + 1) * 2 * sizeof *c->heap);
	for (uint32_t i = 0; i < ask->spots_n; i++)
		if (c->spot[i].n || c->spot[i].breaks)
			look(c, i);
	while (c->covered < ask->need.units && c->heap_n) {
		struct entry e = heap_pop(c);
		struct spot *s = &c->spot[e.spot];
		struct step now;

		if (e.version != s->version || !step_find(c, e.spot, &now))
			continue;
		if (step_better(&e.step, &now) && c->heap_n && !step_better(&now, &c->heap[0].step)) {
			e.step = now;
			heap_push(c, e);
			continue;
		}
		if (!s->open) {
			s->open = true;
			c->opened++;
			c->covered += serves(s);
		}
		for (uint32_t i = 0; i < now.take; i++) {
			ask->cands[c->chosen[i]].goes = true;
			c->covered += move(c, c->chosen[i], true);
		}
		for (uint32_t i = now.take; i-- > 0;) {
			uint32_t cand = c->chosen[i];
			const struct victim_cand *v = &ask->cands[cand];

			if (v->pieces_n > 1) { /* its other spots have become cheaper */
				uint32_t keep[512], kept = i;

				ENSURE(kept <= ARRAY_LEN(keep));
				memcpy(keep, c->chosen, kept * sizeof *keep);
				for (uint32_t k = 0; k < v->pieces_n; k++)
					if (ask->pieces[v->piece + k].spot != e.spot)
						look(c, ask->pieces[v->piece + k].spot);
				memcpy(c->chosen, keep, kept * sizeof *keep);
			}
		}
		look(c, e.spot);
	}
	if (c->covered < ask->need.units)
		return false;
	delete_spare(c, arena);
	return true;
}

/* ---- branch and bound ------------------------------------------------------------------------------------- */

struct search { struct choosing *c; struct priced *order; bool *best; int64_t best_cost; uint32_t steps; };

/* All undecided ones are gone in c's spots: what is covered is the most that can still be had. */
static void branch(struct search *s, uint32_t at, int64_t cost)
{
	struct victim_ask *ask = s->c->ask;
	int64_t change;

	if (!s->steps || cost >= s->best_cost || s->c->covered < ask->need.units)
		return;
	s->steps--;
	if (at == ask->cands_n) {
		s->best_cost = cost;
		for (uint32_t v = 0; v < ask->cands_n; v++)
			s->best[v] = ask->cands[v].goes;
		return;
	}
	change = move(s->c, s->order[at].cand, false); /* it stays: try that first, the most expensive are decided first */
	s->c->covered += change;
	ask->cands[s->order[at].cand].goes = false;
	branch(s, at + 1, cost);
	s->c->covered -= change;
	(void)move(s->c, s->order[at].cand, true);
	ask->cands[s->order[at].cand].goes = true;
	branch(s, at + 1, cost + ask->cands[s->order[at].cand].cost);
}

static void exact(struct victim_ask *ask, struct arena *arena)
{
	struct choosing c;
	struct search s = {.c = &c, .steps = EXACT_STEPS};

	s.best = arena_alloc(arena, (ask->cands_n + 1) * sizeof *s.best);
	s.order = arena_alloc(arena, (ask->cands_n + 1) * sizeof *s.order);
	for (uint32_t v = 0; v < ask->cands_n; v++) {
		s.best[v] = ask->cands[v].goes;
		s.best_cost += ask->cands[v].goes ? ask->cands[v].cost : 0;
		s.order[v] = (struct priced){ask->cands[v].cost, v};
	}
	start(&c, ask, arena);
	qsort(s.order, ask->cands_n, sizeof *s.order, by_cost);
	for (uint32_t v = 0; v < ask->cands_n; v++) {
		c.covered += move(&c, v, true);
		ask->cands[v].goes = true;
	}
	branch(&s, 0, 0);
	for (uint32_t v = 0; v < ask->cands_n; v++)
		ask->cands[v].goes = s.best[v];
}

bool victims_greedy(struct victim_ask *ask, struct arena *arena)
{
	struct choosing c;

	start(&c, ask, arena);
	if (greedy(&c, arena))
		return true;
	for (uint32_t v = 0; v < ask->cands_n; v++)
		ask->cands[v].goes = false;
	return false;
}

bool victims_choose(struct victim_ask *ask, struct arena *arena)
{
	bool breaks = false;

	if (!victims_greedy(ask, arena))
		return false;
	for (uint32_t i = 0; i < ask->spots_n; i++)
		breaks |= ask->spots[i].breaks; /* which ones to break is a choice of its own: greedy's stands */
	if (ask->cands_n && ask->cands_n <= VICTIMS_EXACT_MAX && !breaks)
		exact(ask, arena);
	return true;
}
