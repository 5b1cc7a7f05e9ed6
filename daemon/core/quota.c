/* quota.c - see quota.h
 *
 * Invariants (tests/unit/test_quota.c holds them against a model that recomputes from the definition):
 *  - lent_sum and up_sum of a node equal the sums over its children, after every charge
 *  - quota_fits(leaf, x) ⇔ quota_legal after quota_charge(leaf, x, 0), from any legal state
 *  - quota_covers(leaf, x) ⇔ quota_in_order after quota_charge(leaf, x, x), from any state in order
 */
#include "daemon/core/quota.h"

#include "proto/base/ensure.h"
#include "proto/base/minmax.h"
#include "proto/model/resource.h"

#include <stddef.h>


static int64_t cell_slack(const struct quota_cell *c) { return c->own - c->usage_at + c->lent_sum; }
static int64_t cell_up(const struct quota_cell *c)
{
	return max64(0, c->guaranteed_at + c->up_sum - c->own);
}

int64_t quota_slack(const struct quota_tree *t, uint32_t node) { return cell_slack(&t->cell[node]); }
int64_t quota_up(const struct quota_tree *t, uint32_t node) { return cell_up(&t->cell[node]); }

int64_t quota_own_left(const struct quota_tree *t, uint32_t node)
{
	const struct quota_cell *c = &t->cell[node];

	return c->own - min64(c->own, c->guaranteed_at + c->up_sum);
}

void quota_rebuild(struct quota_tree *t)
{
	for (uint32_t i = 0; i < t->nodes_n; i++)
		t->cell[i].lent_sum = t->cell[i].up_sum = 0;
	for (uint32_t i = t->nodes_n; i-- > 1;) { /* children come after parents */
		const struct quota_cell *c = &t->cell[i];

		ENSURE(t->parent[i] < i);
		t->cell[t->parent[i]].lent_sum += min64(c->lending, cell_slack(c));
		t->cell[t->parent[i]].up_sum += cell_up(c);
	}
}

bool quota_legal(const struct quota_tree *t)
{
	for (uint32_t i = 0; i < t->nodes_n; i++)
		if (cell_slack(&t->cell[i]) < (i && t->cell[i].borrowing != QTY_UNLIMITED ? -t->cell[i].borrowing :
					       i ? INT64_MIN : 0))
			return false;
	return true;
}

bool quota_in_order(const struct quota_tree *t)
{
	for (uint32_t i = 0; i < t->nodes_n; i++)
		if (cell_up(&t->cell[i]) > (i ? t->cell[i].borrowing_firm : 0))
			return false;
	return true;
}

bool quota_path_in_order(const struct quota_tree *t, uint32_t leaf)
{
	for (uint32_t i = leaf;; i = t->parent[i]) {
		if (cell_up(&t->cell[i]) > (i ? t->cell[i].borrowing_firm : 0))
			return false;
		if (!i)
			return true;
	}
}

bool quota_fits(const struct quota_tree *t, uint32_t leaf, int64_t units, uint32_t *ret_at)
{
	int64_t delta = -units; /* change of slack at the current node */

	for (uint32_t i = leaf;; i = t->parent[i]) {
		const struct quota_cell *c = &t->cell[i];
		int64_t old = cell_slack(c), now = old + delta;

		if (i ? c->borrowing != QTY_UNLIMITED && now < -c->borrowing : now < 0) {
			if (ret_at)
				*ret_at = i;
			return false;
		}
		if (!i)
			return true;
		delta = min64(c->lending, now) - min64(c->lending, old);
	}
}

bool quota_covers(const struct quota_tree *t, uint32_t leaf, int64_t units, uint32_t *ret_at)
{
	int64_t delta = units; /* change of what arrives at the current node */

	for (uint32_t i = leaf;; i = t->parent[i]) {
		const struct quota_cell *c = &t->cell[i];
		int64_t now = max64(0, c->guaranteed_at + c->up_sum + delta - c->own);

		if (now > (i ? c->borrowing_firm : 0)) {
			if (ret_at)
				*ret_at = i;
			return false;
		}
		if (!i)
			return true;
		delta = now - cell_up(c);
		if (!delta)
			return true; /* nothing changes further up */
	}
}

static int64_t most(const struct quota_tree *t, uint32_t leaf,
		    bool (*ok)(const struct quota_tree *, uint32_t, int64_t, uint32_t *))
{
	int64_t lo = 0, hi = 1;

	while (hi < INT64_C(1) << 40 && ok(t, leaf, hi, NULL)) {
		lo = hi;
		hi *= 2;
	}
	while (hi - lo > 1) {
		int64_t mid = lo + (hi - lo) / 2;

		if (ok(t, leaf, mid, NULL))
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

int64_t quota_headroom(const struct quota_tree *t, uint32_t leaf) { return most(t, leaf, quota_fits); }
int64_t quota_cover_left(const struct quota_tree *t, uint32_t leaf) { return most(t, leaf, quota_covers); }

void quota_charge(struct quota_tree *t, uint32_t leaf, int64_t usage, int64_t guaranteed)
{
	struct quota_cell *c = &t->cell[leaf];
	int64_t lent_old = min64(c->lending, cell_slack(c)), up_old = cell_up(c);

	c->usage_at += usage;
	c->guaranteed_at += guaranteed;
	ENSURE(c->usage_at >= 0);
	ENSURE(c->guaranteed_at >= 0);
	for (uint32_t i = leaf; i;) {
		int64_t lent = min64(c->lending, cell_slack(c)) - lent_old;
		int64_t up = cell_up(c) - up_old;

		if (!lent && !up)
			return;
		i = t->parent[i];
		c = &t->cell[i];
		lent_old = min64(c->lending, cell_slack(c));
		up_old = cell_up(c);
		c->lent_sum += lent;
		c->up_sum += up;
	}
}

int64_t quota_to_lend(const struct quota_tree *t, uint32_t node)
{
	return min64(quota_own_left(t, node), t->cell[node].lending) - t->cell[node].noted;
}

void quota_lenders(const struct quota_tree *t, uint32_t leaf, int64_t units, int64_t unnoted, const int64_t *slo_ms,
		   int64_t back_ms, uint32_t *node, int64_t *lent, uint32_t *n, uint32_t max)
{
	uint32_t old_node[8], old_n = *n;
	int64_t old[8];

	ENSURE(old_n <= max && max <= ARRAY_LEN(old));
	for (uint32_t k = 0; k < old_n; k++) {
		old_node[k] = node[k];
		old[k] = lent[k];
	}
	/* what the path itself still covers is not borrowed */
	units -= max64(0, quota_cover_left(t, leaf) - max64(0, unnoted));
	*n = 0;
	while (units > 0 && *n < max) {
		uint32_t best = 0;
		int64_t most = 0;

		for (uint32_t i = 1; i < t->nodes_n; i++) {
			int64_t left = quota_to_lend(t, i);
			bool out = slo_ms && slo_ms[i] < back_ms;

			for (uint32_t k = 0; k < old_n; k++)
				left += old_node[k] == i ? old[k] : 0;
			if (out || left <= most)
				continue;
			for (uint32_t p = leaf; p; p = t->parent[p])
				out |= p == i;
			for (uint32_t k = 0; k < *n; k++)
				out |= node[k] == i;
			if (out)
				continue;
			best = i;
			most = left;
		}
		if (!best)
			break;
		node[*n] = best;
		lent[*n] = min64(units, most);
		units -= lent[*n];
		++*n;
	}
}
