/* profile.c - see profile.h
 *
 * Invariants (profile_check):
 *  - keys ascend from left to right, priorities descend from the root down
 *  - sum, min and max of a node are those of its subtree; no delta is zero
 *  - weight is |base| plus all |delta|, at most PROFILE_UNITS_MAX
 *
 * Links are 32-bit indexes; index 0 is the empty tree, whose min and max are so far off that they
 * never win a comparison (FAR), which spares the questions a branch per child.
 */
#include "daemon/core/profile.h"

#include <stdbool.h>
#include <stdlib.h>

#include "proto/base/buf.h"
#include "proto/base/ckd.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

struct profile_node {
	int64_t t_ms;
	int64_t delta;
	int64_t sum; /* of the deltas of the subtree */
	int64_t min; /* least sum of a non-empty prefix of the subtree, in order of time */
	int64_t max;
	uint32_t left;
	uint32_t right;
};

#define FAR (PROFILE_UNITS_MAX * 2)
/* FAR plus or minus any sum stays beyond any sum, and fits. */
_Static_assert(FAR - PROFILE_UNITS_MAX >= PROFILE_UNITS_MAX, "the empty tree never wins");
_Static_assert(FAR <= INT64_MAX - PROFILE_UNITS_MAX, "sums of FAR do not overflow");

/* The empty tree of a profile without changes, as most are. Nobody writes to it. */
static struct profile_node nothing = {.min = FAR, .max = -FAR};

/* The finalizer of splitmix64: a bijection, so distinct keys never tie. */
static uint64_t priority(int64_t t_ms)
{
	uint64_t z = (uint64_t)t_ms + UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static uint64_t magnitude(int64_t v) { return v < 0 ? 0 - (uint64_t)v : (uint64_t)v; }

static void pull(struct profile_node *nodes, uint32_t at)
{
	struct profile_node *n = &nodes[at];
	const struct profile_node *l = &nodes[n->left], *r = &nodes[n->right];
	int64_t here = l->sum + n->delta;

	n->sum = here + r->sum;
	n->min = least(least(l->min, here), here + r->min);
	n->max = most(most(l->max, here), here + r->max);
}

void profile_init(struct profile *p, int64_t units, uint32_t changes_max)
{
	ENSURE(changes_max > 0);
	ENSURE(changes_max <= (UINT32_C(1) << 31) - 2);
	ENSURE(magnitude(units) <= PROFILE_UNITS_MAX);
	*p = (struct profile){.cap = changes_max, .used = 1, .base = units, .weight = magnitude(units)};
	p->nodes = &nothing;
}

void profile_done(struct profile *p)
{
	if (p->nodes != &nothing)
		free(p->nodes);
	*p = (struct profile){0};
}

/* Room for one more node behind nodes[used - 1]; the array doubles. */
static void grow(struct profile *p)
{
	size_t n = p->used;

	if (n == 1) {
		p->nodes = xmalloc(2 * sizeof *p->nodes);
		p->nodes[0] = nothing;
	} else if ((n & (n - 1)) == 0) /* a power of two is full */
		p->nodes = xrealloc(p->nodes, 2 * n * sizeof *p->nodes);
	p->used++;
}

static uint32_t node_new(struct profile *p, int64_t t_ms, int64_t delta)
{
	uint32_t at = p->spare;

	if (at) {
		p->spare = p->nodes[at].left;
	} else {
		at = p->used;
		grow(p);
	}
	p->nodes[at] = (struct profile_node){.t_ms = t_ms, .delta = delta};
	p->count++;
	return at;
}

static void node_free(struct profile *p, uint32_t at)
{
	p->nodes[at].left = p->spare;
	p->spare = at;
	p->count--;
}

/* Cut the tree `at` into the keys <= t_ms and those > t_ms. */
static void split(struct profile_node *nodes, uint32_t at, int64_t t_ms, uint32_t *ret_low, uint32_t *ret_high)
{
	if (!at) {
		*ret_low = *ret_high = 0;
	} else if (nodes[at].t_ms <= t_ms) {
		split(nodes, nodes[at].right, t_ms, &nodes[at].right, ret_high);
		pull(nodes, at);
		*ret_low = at;
	} else {
		split(nodes, nodes[at].left, t_ms, ret_low, &nodes[at].left);
		pull(nodes, at);
		*ret_high = at;
	}
}

/* All keys of `low` are less than all keys of `high`. */
static uint32_t merge(struct profile_node *nodes, uint32_t low, uint32_t high)
{
	if (!low || !high)
		return low ? low : high;
	if (priority(nodes[low].t_ms) > priority(nodes[high].t_ms)) {
		nodes[low].right = merge(nodes, nodes[low].right, high);
		pull(nodes, low);
		return low;
	}
	nodes[high].left = merge(nodes, low, nodes[high].left);
	pull(nodes, high);
	return high;
}

/* Add `delta` at t_ms below `at`; returns the new root of that subtree. `rank` is priority(t_ms).
 * A node of lower rank than the key shows that the key is nowhere below it: if it were, it would
 * stand above. So one walk both searches and finds the place to insert. */
static uint32_t add(struct profile *p, uint32_t at, int64_t t_ms, uint64_t rank, int64_t delta)
{
	struct profile_node *n = &p->nodes[at];
	uint32_t low, high, child;

	if (!at || (n->t_ms != t_ms && priority(n->t_ms) < rank)) {
		split(p->nodes, at, t_ms, &low, &high);
		at = node_new(p, t_ms, delta);
		p->nodes[at].left = low;
		p->nodes[at].right = high;
		pull(p->nodes, at);
		return at;
	}
	if (n->t_ms == t_ms) {
		n->delta += delta;
		if (n->delta == 0) {
			child = merge(p->nodes, n->left, n->right);
			node_free(p, at);
			return child;
		}
	} else if (t_ms < n->t_ms) {
		child = add(p, n->left, t_ms, rank, delta);
		p->nodes[at].left = child; /* n may have moved */
	} else {
		child = add(p, n->right, t_ms, rank, delta);
		p->nodes[at].right = child;
	}
	pull(p->nodes, at);
	return at;
}

/* The delta at exactly t_ms, 0 if there is none. */
static int64_t delta_at(const struct profile *p, int64_t t_ms)
{
	uint32_t at = p->root;

	while (at && p->nodes[at].t_ms != t_ms)
		at = t_ms < p->nodes[at].t_ms ? p->nodes[at].left : p->nodes[at].right;
	return p->nodes[at].delta;
}

int profile_add(struct profile *p, int64_t t_ms, int64_t delta, struct err *err)
{
	uint64_t weight;
	int64_t old, sum;

	if (delta == 0)
		return 0;
	if (magnitude(delta) > PROFILE_UNITS_MAX)
		return err_set(err, ERR_RANGE, "a change of capacity is too large");
	old = delta_at(p, t_ms);
	if (old == 0 && p->count == p->cap)
		return err_set(err, ERR_NOROOM, "the profile holds at most %u changes", p->cap);
	sum = old + delta; /* both at most 2^60 in magnitude */
	weight = p->weight - magnitude(old) + magnitude(sum);
	if (weight > (uint64_t)PROFILE_UNITS_MAX)
		return err_set(err, ERR_RANGE, "the changes of capacity add up to too much");
	p->weight = weight;
	p->root = add(p, p->root, t_ms, priority(t_ms), delta);
	return 0;
}

int profile_hold(struct profile *p, int64_t from_ms, int64_t to_ms, int64_t units, struct err *err)
{
	int r;

	if (from_ms >= to_ms)
		return 0;
	if (magnitude(units) > PROFILE_UNITS_MAX)
		return err_set(err, ERR_RANGE, "a change of capacity is too large");
	r = profile_add(p, from_ms, -units, err);
	if (r || to_ms == T_NEVER)
		return r;
	r = profile_add(p, to_ms, units, err);
	if (r) {
		/* Taking back what was just added needs no room and shrinks no limit. */
		int undone = profile_add(p, from_ms, units, NULL);

		ENSURE(undone == 0);
	}
	return r;
}

static void free_subtree(struct profile *p, uint32_t at)
{
	while (at) {
		uint32_t right = p->nodes[at].right;

		p->weight -= magnitude(p->nodes[at].delta);
		free_subtree(p, p->nodes[at].left);
		node_free(p, at);
		at = right;
	}
}

void profile_forget(struct profile *p, int64_t t_ms)
{
	uint32_t past, rest;

	split(p->nodes, p->root, t_ms, &past, &rest);
	p->root = rest;
	p->weight -= magnitude(p->base);
	p->base += p->nodes[past].sum;
	free_subtree(p, past);
	/* |base + sum| <= |base| + the deltas behind sum, so the weight did not grow. */
	p->weight += magnitude(p->base);
}

int64_t profile_at(const struct profile *p, int64_t t_ms)
{
	const struct profile_node *nodes = p->nodes;
	int64_t here = p->base;

	for (uint32_t at = p->root; at;) {
		const struct profile_node *n = &nodes[at];

		if (n->t_ms <= t_ms) {
			here += nodes[n->left].sum + n->delta;
			at = n->right;
		} else {
			at = n->left;
		}
	}
	return here;
}

int64_t profile_next(const struct profile *p, int64_t t_ms)
{
	int64_t next_ms = T_NEVER;

	for (uint32_t at = p->root; at;)
		if (p->nodes[at].t_ms > t_ms) {
			next_ms = p->nodes[at].t_ms;
			at = p->nodes[at].left;
		} else {
			at = p->nodes[at].right;
		}
	return next_ms;
}

/* Least value after a change of the subtree `at` later than from_ms; `before` is the value in front
 * of the subtree. */
static int64_t min_after(const struct profile_node *nodes, uint32_t at, int64_t before, int64_t from_ms)
{
	int64_t best = FAR;

	while (at) {
		const struct profile_node *n = &nodes[at];
		int64_t here = before + nodes[n->left].sum + n->delta;

		if (n->t_ms > from_ms) {
			best = least(best, least(here, here + nodes[n->right].min));
			at = n->left;
		} else {
			before = here;
			at = n->right;
		}
	}
	return best;
}

/* The same for the changes earlier than to_ms. */
static int64_t min_until(const struct profile_node *nodes, uint32_t at, int64_t before, int64_t to_ms)
{
	int64_t best = FAR;

	while (at) {
		const struct profile_node *n = &nodes[at];
		int64_t here = before + nodes[n->left].sum + n->delta;

		if (n->t_ms < to_ms) {
			best = least(best, least(before + nodes[n->left].min, here));
			before = here;
			at = n->right;
		} else {
			at = n->left;
		}
	}
	return best;
}

int64_t profile_min(const struct profile *p, int64_t from_ms, int64_t to_ms)
{
	const struct profile_node *nodes = p->nodes;
	int64_t before = p->base;
	uint32_t at = p->root;

	ENSURE(from_ms < to_ms);
	while (at) {
		const struct profile_node *n = &nodes[at];
		int64_t here = before + nodes[n->left].sum + n->delta;

		if (n->t_ms <= from_ms) {
			before = here;
			at = n->right;
		} else if (n->t_ms >= to_ms) {
			at = n->left;
		} else {
			/* The ways to from_ms and to to_ms part here. */
			int64_t low = least(here, min_after(nodes, n->left, before, from_ms));

			low = least(low, min_until(nodes, n->right, here, to_ms));
			return least(low, profile_at(p, from_ms));
		}
	}
	return before;
}

/* Is a value in the subtree `at`, with `before` in front of it, on the wanted side of `units`? */
static bool any_wanted(const struct profile_node *n, int64_t before, int64_t units, bool below)
{
	return below ? before + n->min < units : before + n->max >= units;
}
static bool wanted(int64_t value, int64_t units, bool below)
{
	return below ? value < units : value >= units;
}

/* The first t >= from_ms where free(t) is below `units`, or else at least `units`.
 *
 * Walking towards from_ms, each node later than it is a candidate together with its right subtree;
 * those met later in the walk lie earlier in time, so the last one with a wanted value is the one. */
static int64_t first(const struct profile *p, int64_t from_ms, int64_t units, bool below)
{
	const struct profile_node *nodes = p->nodes;
	int64_t before = p->base, at_candidate = 0;
	uint32_t candidate = 0;

	for (uint32_t at = p->root; at;) {
		const struct profile_node *n = &nodes[at];
		int64_t here = before + nodes[n->left].sum + n->delta;

		if (n->t_ms <= from_ms) {
			before = here;
			at = n->right;
			continue;
		}
		if (wanted(here, units, below) || any_wanted(&nodes[n->right], here, units, below)) {
			candidate = at;
			at_candidate = here;
		}
		at = n->left;
	}
	if (wanted(before, units, below)) /* the walk ended at from_ms */
		return from_ms;
	if (!candidate)
		return T_NEVER;
	if (wanted(at_candidate, units, below))
		return nodes[candidate].t_ms;
	before = at_candidate;
	for (uint32_t at = nodes[candidate].right; at;) {
		const struct profile_node *n = &nodes[at];

		if (any_wanted(&nodes[n->left], before, units, below)) {
			at = n->left;
			continue;
		}
		before += nodes[n->left].sum + n->delta;
		if (wanted(before, units, below))
			return n->t_ms;
		at = n->right;
	}
	UNREACHABLE();
}

int64_t profile_first_below(const struct profile *p, int64_t from_ms, int64_t units)
{
	return first(p, from_ms, units, true);
}

int64_t profile_first_least(const struct profile *p, int64_t from_ms, int64_t units)
{
	return first(p, from_ms, units, false);
}

int64_t profile_fit(const struct profile *p, int64_t from_ms, int64_t length_ms, int64_t units)
{
	int64_t t_ms = from_ms;

	ENSURE(length_ms > 0);
	for (;;) {
		int64_t low_ms, end_ms;

		t_ms = profile_first_least(p, t_ms, units);
		if (t_ms == T_NEVER)
			return T_NEVER;
		if (length_ms == T_NEVER || ckd_add(&end_ms, t_ms, length_ms))
			end_ms = T_NEVER;
		low_ms = profile_first_below(p, t_ms, units);
		if (low_ms >= end_ms)
			return t_ms;
		t_ms = low_ms;
	}
}

/* What the walk of profile_check() has seen so far, in order of time. */
struct walk {
	int64_t last_ms;
	uint32_t count;
	uint64_t weight;
};

static void check(const struct profile *p, uint32_t at, struct walk *w)
{
	const struct profile_node *n = &p->nodes[at];
	struct profile_node kept = *n;
	uint32_t children[] = {n->left, n->right};

	if (!at)
		return;
	ENSURE(n->delta != 0);
	for (size_t i = 0; i < ARRAY_LEN(children); i++)
		ENSURE(!children[i] || priority(p->nodes[children[i]].t_ms) < priority(n->t_ms));
	check(p, n->left, w);
	ENSURE(w->count == 0 || w->last_ms < n->t_ms);
	w->last_ms = n->t_ms;
	w->count++;
	w->weight += magnitude(n->delta);
	check(p, n->right, w);
	pull(p->nodes, at);
	ENSURE(kept.sum == n->sum);
	ENSURE(kept.min == n->min);
	ENSURE(kept.max == n->max);
}

void profile_check(const struct profile *p)
{
	struct walk w = {.weight = magnitude(p->base)};

	check(p, p->root, &w);
	ENSURE(w.count == p->count);
	ENSURE(w.weight == p->weight);
	ENSURE(w.weight <= (uint64_t)PROFILE_UNITS_MAX);
}
