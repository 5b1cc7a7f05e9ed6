/* test_quota.c - slack and charging against a model that knows only the definition
 *
 * Without these the incremental sums could drift from the tree they stand for: quota handed out
 * twice, or withheld for good (nomad#27820 and Slurm's underflows are that bug).
 *
 * The model recomputes s(c) and up(c) from the formulas at the top of quota.h, by recursion, each
 * time it is asked. It shares no code with quota.c.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "daemon/core/quota.h"
#include "proto/base/prng.h"
#include "proto/model/resource.h"

enum { NODES_MAX = 40 };

struct node { int64_t own, borrowing, firm, lending, usage, guaranteed; }; /* firm: the strictest borrowing there will be */
struct model {
	uint32_t n;
	uint32_t parent[NODES_MAX];
	struct node node[NODES_MAX];
};

static uint64_t compared;

/* ---- the definition --------------------------------------------------------------------------------- */

static int64_t model_slack(const struct model *m, uint32_t c)
{
	int64_t s = m->node[c].own - m->node[c].usage;

	for (uint32_t k = c + 1; k < m->n; k++)
		if (m->parent[k] == c) {
			int64_t below = model_slack(m, k);

			s += below < m->node[k].lending ? below : m->node[k].lending;
		}
	return s;
}

static int64_t model_up(const struct model *m, uint32_t c)
{
	int64_t u = m->node[c].guaranteed - m->node[c].own;

	for (uint32_t k = c + 1; k < m->n; k++)
		if (m->parent[k] == c)
			u += model_up(m, k);
	return u > 0 ? u : 0;
}

static bool model_legal_at(const struct model *m, uint32_t c)
{
	if (!c)
		return model_slack(m, 0) >= 0;
	return m->node[c].borrowing == QTY_UNLIMITED || model_slack(m, c) >= -m->node[c].borrowing;
}

static bool model_legal(const struct model *m)
{
	for (uint32_t c = 0; c < m->n; c++)
		if (!model_legal_at(m, c))
			return false;
	return true;
}

static bool model_order_at(const struct model *m, uint32_t c)
{
	return model_up(m, c) <= (c ? m->node[c].firm : 0);
}

static bool model_in_order(const struct model *m)
{
	for (uint32_t c = 0; c < m->n; c++)
		if (!model_order_at(m, c))
			return false;
	return true;
}

/* The first node from the leaf up whose limit breaks, or UINT32_MAX. */
static uint32_t model_breaks(const struct model *m, uint32_t leaf, bool guaranteed)
{
	for (uint32_t c = leaf;; c = m->parent[c]) {
		if (!(guaranteed ? model_order_at(m, c) : model_legal_at(m, c)))
			return c;
		if (!c)
			return UINT32_MAX;
	}
}

/* ---- the two side by side ------------------------------------------------------------------------------ */

static struct quota_tree tree_from(const struct model *m, struct quota_cell *cell)
{
	struct quota_tree t = {m->n, m->parent, cell};

	memset(cell, 0, m->n * sizeof *cell);
	for (uint32_t i = 0; i < m->n; i++) {
		cell[i].own = m->node[i].own;
		cell[i].borrowing = m->node[i].borrowing;
		cell[i].borrowing_firm = m->node[i].firm;
		cell[i].lending = m->node[i].lending;
		cell[i].usage_at = m->node[i].usage;
		cell[i].guaranteed_at = m->node[i].guaranteed;
	}
	quota_rebuild(&t);
	return t;
}

static void compare_state(const struct quota_tree *t, const struct model *m)
{
	for (uint32_t c = 0; c < m->n; c++) {
		assert_int_equal(quota_slack(t, c), model_slack(m, c));
		assert_int_equal(quota_up(t, c), model_up(m, c));
		assert_int_equal(quota_path_in_order(t, c), model_breaks(m, c, true) == UINT32_MAX);
	}
	assert_int_equal(quota_legal(t), model_legal(m));
	assert_int_equal(quota_in_order(t), model_in_order(m));
}

/* Both questions for `units` more at `leaf`, with the node that stands in the way. */
static void compare_questions(const struct quota_tree *t, struct model *m, uint32_t leaf, int64_t units, bool legal,
			      bool in_order)
{
	uint32_t at = UINT32_MAX, want;
	bool ok;

	if (legal) {
		ok = quota_fits(t, leaf, units, &at);
		m->node[leaf].usage += units;
		want = model_breaks(m, leaf, false);
		assert_int_equal(ok, model_legal(m));
		m->node[leaf].usage -= units;
		assert_int_equal(ok, want == UINT32_MAX);
		if (!ok)
			assert_int_equal(at, want);
	}
	if (in_order) {
		at = UINT32_MAX;
		ok = quota_covers(t, leaf, units, &at);
		m->node[leaf].guaranteed += units;
		want = model_breaks(m, leaf, true);
		assert_int_equal(ok, model_in_order(m));
		m->node[leaf].guaranteed -= units;
		if (!ok)
			assert_int_equal(at, want);
	}
	compared++;
}

static int64_t model_most(struct model *m, uint32_t leaf, bool guaranteed, int64_t limit)
{
	int64_t *p = guaranteed ? &m->node[leaf].guaranteed : &m->node[leaf].usage, was = *p, n = 0;

	for (; n < limit; n++) {
		*p = was + n + 1;
		if (guaranteed ? !model_in_order(m) : !model_legal(m))
			break;
	}
	*p = was;
	return n;
}

static void compare_room(const struct quota_tree *t, struct model *m, uint32_t leaf, bool legal, bool in_order)
{
	enum { FAR = 400 };

	if (legal)
		assert_int_equal(quota_headroom(t, leaf), model_most(m, leaf, false, FAR));
	if (in_order && model_most(m, leaf, true, FAR) < FAR)
		assert_int_equal(quota_cover_left(t, leaf), model_most(m, leaf, true, FAR));
	compared++;
}

/* What a node owns and has not taken, less what it is named for already. */
static int64_t model_over(const struct model *m, const struct quota_tree *t, uint32_t c)
{
	int64_t taken = m->node[c].guaranteed, over;

	for (uint32_t k = c + 1; k < m->n; k++)
		if (m->parent[k] == c)
			taken += model_up(m, k);
	over = taken < m->node[c].own ? m->node[c].own - taken : 0;
	if (over > m->node[c].lending)
		over = m->node[c].lending;
	return over - t->cell[c].noted;
}

/* Lenders lie off the path and promise no less time, are named for no more than they have over and may lend, largest
 * first, and cover what they can. `renew`: for a loan that names somebody already. */
static void compare_lenders(const struct quota_tree *t, struct model *m, uint32_t leaf, int64_t units, bool renew)
{
	enum { LENDERS = 4 };
	int64_t lent[LENDERS], total = 0, offered = 0, short_by, last = INT64_MAX, slo[NODES_MAX], given[NODES_MAX] = {0};
	uint32_t node[LENDERS], n = 0, possible = 0;

	for (uint32_t c = 0; c < m->n; c++) {
		slo[c] = (c * 5 + (uint32_t)units) % 3;
		t->cell[c].noted = (int64_t)(c * 7 + (uint32_t)units) % 4 ? 0 : 2;
	}
	if (renew && m->n > 2) {
		node[n] = m->n - 1;
		lent[n] = given[m->n - 1] = 2;
		t->cell[m->n - 1].noted += 2;
		n++;
	}
	short_by = units - (quota_cover_left(t, leaf) > 1 ? quota_cover_left(t, leaf) - 1 : 0);
	quota_lenders(t, leaf, units, 1, slo, 1, node, lent, &n, LENDERS);
	assert_true(n <= LENDERS);
	for (uint32_t i = 0; i < n; i++) {
		int64_t over = model_over(m, t, node[i]) + given[node[i]];

		for (uint32_t p = leaf; p; p = m->parent[p])
			assert_int_not_equal(node[i], p);
		for (uint32_t k = 0; k < i; k++)
			assert_int_not_equal(node[i], node[k]);
		assert_int_not_equal(node[i], 0);
		assert_true(slo[node[i]] >= 1);
		assert_true(lent[i] > 0 && lent[i] <= over);
		assert_true(over <= last); /* largest first */
		last = over;
		total += lent[i];
	}
	for (uint32_t c = 1; c < m->n; c++) {
		int64_t over = model_over(m, t, c) + given[c];
		bool out = slo[c] < 1;

		for (uint32_t p = leaf; p; p = m->parent[p])
			out |= p == c;
		if (!out && over > 0) {
			offered += over;
			possible++;
		}
	}
	if (possible <= LENDERS) {
		if (short_by < 0)
			short_by = 0;
		assert_int_equal(total, short_by < offered ? short_by : offered);
	}
	for (uint32_t c = 0; c < m->n; c++)
		t->cell[c].noted = 0;
	compared++;
}

/* ---- every small tree ------------------------------------------------------------------------------------ */

static const int64_t LIMITS[] = {0, 1, QTY_UNLIMITED};
enum { LIMITS_N = 3, OWN_N = 3, USE_N = 3 };

static void every_use(struct model *m)
{
	struct quota_cell cell[NODES_MAX];

	/* guaranteed and loan usage of 0..2 units at each node that has no children */
	bool leaf[NODES_MAX];
	uint32_t combos = 1;

	for (uint32_t c = 0; c < m->n; c++) {
		leaf[c] = c || m->n == 1;
		for (uint32_t k = c + 1; k < m->n; k++)
			leaf[c] &= m->parent[k] != c;
		combos *= leaf[c] ? USE_N : 1;
	}
	for (uint32_t combo = 0; combo < combos; combo++) {
		uint32_t rest = combo;
		struct quota_tree t;
		bool legal, in_order;

		for (uint32_t c = 0; c < m->n; c++) {
			m->node[c].usage = m->node[c].guaranteed = 0;
			if (!leaf[c])
				continue;
			m->node[c].usage = rest % USE_N;
			m->node[c].guaranteed = m->node[c].usage - (rest % USE_N == 2); /* 0; 1 and 1; 2 and 1 */
			rest /= USE_N;
		}
		t = tree_from(m, cell);
		compare_state(&t, m);
		legal = model_legal(m);
		in_order = model_in_order(m);
		for (uint32_t c = 0; c < m->n; c++)
			for (int64_t units = 1; leaf[c] && units <= 3; units++)
				compare_questions(&t, m, c, units, legal, in_order);
	}
}

static void every_node_value(struct model *m, uint32_t at)
{
	if (at == m->n) {
		every_use(m);
		return;
	}
	for (int64_t own = 0; own < OWN_N; own++)
		for (int b = 0; b < (at ? LIMITS_N : 1); b++)
			for (int l = 0; l < (at ? LIMITS_N : 1); l++) {
				m->node[at] = (struct node){.own = own, .borrowing = LIMITS[b], .firm = LIMITS[b],
						       .lending = LIMITS[l]};
				every_node_value(m, at + 1);
			}
}

static void every_shape(struct model *m, uint32_t at)
{
	if (at == m->n) {
		every_node_value(m, 0);
		return;
	}
	for (m->parent[at] = 0; m->parent[at] < at; m->parent[at]++)
		every_shape(m, at + 1);
}

/* All trees of up to 3 nodes with own 0..2 and limits 0, 1, none; all uses of 0..2 at the leaves. */
static void small_trees_are_enumerated(void **state)
{
	(void)state;
	for (uint32_t n = 1; n <= 3; n++) {
		struct model m = {.n = n};

		every_shape(&m, 1);
	}
}

/* Four nodes: the same with own 0..1 and limits 0 or none, or the number of cases explodes. */
static void four_nodes_are_enumerated(void **state)
{
	static const int64_t two[] = {0, QTY_UNLIMITED};

	(void)state;
	for (uint32_t shape = 0; shape < 6; shape++) {
		struct model m = {.n = 4};

		m.parent[2] = shape % 2;
		m.parent[3] = shape / 2;
		for (uint32_t bits = 0; bits < 1u << 10; bits++) {
			for (uint32_t c = 0; c < 4; c++)
				m.node[c] = (struct node){.own = 2 * (bits >> c & 1),
							  .borrowing = two[c ? bits >> (3 + c) & 1 : 1],
							  .firm = two[c ? bits >> (3 + c) & 1 : 1],
							  .lending = two[c ? bits >> (6 + c) & 1 : 1]};
			every_use(&m);
		}
	}
}

/* ---- a million steps ---------------------------------------------------------------------------------------- */

static void tree_random(struct model *m, struct prng *r)
{
	uint32_t depth[NODES_MAX] = {0};

	memset(m, 0, sizeof *m);
	m->n = 2 + (uint32_t)prng_below(r, 11);
	for (uint32_t c = 1; c < m->n; c++)
		do {
			m->parent[c] = (uint32_t)prng_below(r, c);
			depth[c] = depth[m->parent[c]] + 1;
		} while (depth[c] > 5);
	for (uint32_t c = 0; c < m->n; c++) {
		m->node[c].own = (int64_t)prng_below(r, 9);
		m->node[c].borrowing = prng_below(r, 2) ? (int64_t)prng_below(r, 6) : QTY_UNLIMITED;
		m->node[c].lending = prng_below(r, 2) ? (int64_t)prng_below(r, 6) : QTY_UNLIMITED;
		m->node[c].firm = m->node[c].borrowing;
		if (prng_below(r, 2)) /* a window is open that allows more, or one is to come that allows less */
			m->node[c].firm = (int64_t)prng_below(r, m->node[c].borrowing < 6 ? (uint64_t)m->node[c].borrowing + 1 : 6);
	}
}

/* Charges and releases as the core makes them, and now and then some it never would (a lowered
 * nominal leaves an illegal state behind): after each the sums are those of the definition. */
static void random_trees_random_steps(void **state)
{
	struct quota_cell cell[NODES_MAX];
	struct prng r;
	uint64_t steps = 0, admitted = 0, covered = 0;

	(void)state;
	prng_seed(&r, 0x9007a);
	while (steps < 1000000) {
		struct model m;
		struct quota_tree t;

		tree_random(&m, &r);
		t = tree_from(&m, cell);
		for (int i = 0; i < 400; i++, steps++) {
			uint32_t c = (uint32_t)prng_below(&r, m.n);
			int64_t units = 1 + (int64_t)prng_below(&r, 6);
			bool legal = model_legal(&m), in_order = model_in_order(&m);
			uint64_t kind = prng_below(&r, 8);

			compare_questions(&t, &m, c, units, legal, in_order);
			if (kind < 3) { /* guaranteed */
				if (legal && in_order && quota_covers(&t, c, units, NULL) &&
				    quota_fits(&t, c, units, NULL)) {
					quota_charge(&t, c, units, units);
					m.node[c].usage += units;
					m.node[c].guaranteed += units;
					covered++;
				}
			} else if (kind < 5) { /* a loan */
				if (legal && quota_fits(&t, c, units, NULL)) {
					quota_charge(&t, c, units, 0);
					m.node[c].usage += units;
					admitted++;
				}
			} else if (kind < 7) { /* release */
				int64_t g = units < m.node[c].guaranteed ? units : m.node[c].guaranteed;
				int64_t u = prng_below(&r, 2) && m.node[c].usage - m.node[c].guaranteed > 0 ? 1 : 0;

				quota_charge(&t, c, -g - u, -g);
				m.node[c].usage -= g + u;
				m.node[c].guaranteed -= g;
			} else { /* what is promised was lowered, or a loan became guaranteed, whatever the rules say */
				int64_t loan = m.node[c].usage - m.node[c].guaranteed;

				if (loan > 0) {
					quota_charge(&t, c, 0, 1);
					m.node[c].guaranteed++;
				} else if (m.node[c].own && i % 3 == 0) {
					m.node[c].own--;
					t = tree_from(&m, cell);
				}
			}
			compare_state(&t, &m);
			if (i % 16 == 0)
				compare_room(&t, &m, c, model_legal(&m), model_in_order(&m));
			if (i % 16 == 1 && model_in_order(&m))
				compare_lenders(&t, &m, c, units, i % 32 == 1);
		}
	}
	assert_true(covered > 10000 && admitted > 10000); /* the walk was not spent being refused */
	compared += steps;
}

/* What is lent out counts as free for its owner, because it can be claimed. */
static void lent_capacity_still_covers_its_owner(void **state)
{
	uint32_t parent[] = {0, 0, 0};
	struct quota_cell cell[3] = {{.borrowing = QTY_UNLIMITED, .borrowing_firm = QTY_UNLIMITED, .lending = QTY_UNLIMITED},
				     {.own = 8, .borrowing = QTY_UNLIMITED, .borrowing_firm = QTY_UNLIMITED, .lending = QTY_UNLIMITED},
				     {.own = 8, .borrowing = QTY_UNLIMITED, .borrowing_firm = QTY_UNLIMITED, .lending = QTY_UNLIMITED}};
	struct quota_tree t = {3, parent, cell};
	uint32_t at = 9, node[4], n = 0;
	int64_t units[4];

	(void)state;
	quota_rebuild(&t);
	assert_int_equal(quota_headroom(&t, 1), 16);
	assert_int_equal(quota_cover_left(&t, 1), 8);
	quota_lenders(&t, 1, 12, 0, NULL, 0, node, units, &n, 4);
	assert_int_equal(n, 1);
	assert_int_equal(node[0], 2);
	assert_int_equal(units[0], 4); /* the first 8 are its own */
	cell[2].noted = 6; /* two loans never name the same unit */
	n = 0;
	quota_lenders(&t, 1, 12, 0, NULL, 0, node, units, &n, 4);
	assert_int_equal(units[0], 2);
	n = 0;
	quota_lenders(&t, 1, 2, 8, NULL, 0, node, units, &n, 4); /* its own are in use by another loan of it */
	assert_int_equal(units[0], 2);
	cell[2].noted = 0;
	quota_charge(&t, 1, 16, 0); /* a loan over everything */
	assert_false(quota_fits(&t, 2, 1, &at));
	assert_int_equal(at, 0);
	assert_true(quota_covers(&t, 2, 8, NULL)); /* and yet the owner's 8 are covered */
	assert_false(quota_covers(&t, 2, 9, &at));
	assert_int_equal(at, 0);
}

/* A lending limit hides slack from the neighbours, a borrowing limit bounds the borrower (kueue). */
static void limits_bind_where_they_stand(void **state)
{
	uint32_t parent[] = {0, 0, 0};
	struct quota_cell cell[3] = {{.borrowing = QTY_UNLIMITED, .borrowing_firm = QTY_UNLIMITED, .lending = QTY_UNLIMITED},
				     {.own = 8, .borrowing = 2, .borrowing_firm = 1, .lending = QTY_UNLIMITED},
				     {.own = 8, .borrowing = QTY_UNLIMITED, .borrowing_firm = QTY_UNLIMITED, .lending = 3}};
	struct quota_tree t = {3, parent, cell};
	uint32_t at = 9;

	(void)state;
	quota_rebuild(&t);
	assert_int_equal(quota_slack(&t, 0), 11);
	assert_int_equal(quota_headroom(&t, 1), 10);
	cell[0].own = 8;
	assert_int_equal(quota_cover_left(&t, 1), 9); /* what is guaranteed has to fit when the window is closed, too */
	cell[0].own = 0;
	assert_false(quota_fits(&t, 1, 11, &at));
	assert_int_equal(at, 1);
	cell[1].borrowing = QTY_UNLIMITED;
	assert_int_equal(quota_headroom(&t, 1), 11);
	assert_false(quota_fits(&t, 1, 12, &at));
	assert_int_equal(at, 0);
	quota_charge(&t, 2, 6, 6);
	assert_int_equal(quota_slack(&t, 0), 10);
}

static int report(void **state)
{
	(void)state;
	printf("# compared %" PRIu64 "\n", compared);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lent_capacity_still_covers_its_owner),
		cmocka_unit_test(limits_bind_where_they_stand),
		cmocka_unit_test(small_trees_are_enumerated),
		cmocka_unit_test(four_nodes_are_enumerated),
		cmocka_unit_test(random_trees_random_steps),
	};

	return cmocka_run_group_tests(tests, NULL, report);
}
