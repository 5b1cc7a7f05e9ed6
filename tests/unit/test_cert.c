/* test_cert.c - the lease certificate against exhaustive search
 *
 * Without these a lease could be granted that cannot be bound in time: an urgent small one splits the only
 * whole node that a later one was promised. The search below knows only the definition: it tries every
 * assignment of demands to cells. It shares no code with cert.c.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "daemon/core/cert.h"
#include "proto/base/prng.h"

enum { CELLS_MAX = 8, DEMANDS_MAX = 8 };

/* A cell, or a node whose devices come free one class after the other. */
struct cell { uint32_t by[CERT_CLASSES_MAX]; uint32_t size; };
struct want { uint32_t class, size; };
struct instance {
	struct cert_levels levels;
	uint32_t classes, cells, wants;
	struct cell cell[CELLS_MAX];
	struct want want[DEMANDS_MAX];
};

/* ---- the definition ------------------------------------------------------------------------------ */

/* used[k]: devices of the cell promised by class k. In time iff by each class no more is used than is free. */
static bool in_time(const struct instance *in, const struct cell *c, const uint32_t used[CERT_CLASSES_MAX])
{
	uint32_t sum = 0;

	for (uint32_t k = 0; k < in->classes; k++) {
		sum += used[k];
		if (sum > c->by[k])
			return false;
	}
	return true;
}

static bool search(const struct instance *in, uint32_t (*used)[CERT_CLASSES_MAX], uint32_t at)
{
	const struct want *w = &in->want[at];

	if (at == in->wants)
		return true;
	for (uint32_t i = 0; i < in->cells; i++) {
		if (w->size > in->cell[i].size)
			continue;
		used[i][w->class] += w->size;
		if (in_time(in, &in->cell[i], used[i]) && search(in, used, at + 1))
			return true;
		used[i][w->class] -= w->size;
	}
	return false;
}

static bool feasible(const struct instance *in)
{
	uint32_t used[CELLS_MAX][CERT_CLASSES_MAX] = {{0}};

	return search(in, used, 0);
}

/* ---- the certificate's view of it ------------------------------------------------------------------- */

static uint32_t level_named(const struct cert_levels *l, uint32_t size)
{
	for (uint32_t i = 0; i < l->n; i++)
		if (l->size[i] == size)
			return i;
	fail();
	return 0;
}

static void demand_of(const struct instance *in, struct cert_cells *demand)
{
	memset(demand, 0, sizeof *demand);
	for (uint32_t i = 0; i < in->wants; i++)
		demand->n[in->want[i].class][level_named(&in->levels, in->want[i].size)]++;
}

/* Each cell is of one class. */
static void supply_of(const struct instance *in, struct cert_cells *supply)
{
	memset(supply, 0, sizeof *supply);
	for (uint32_t i = 0; i < in->cells; i++)
		for (uint32_t k = 0; k < in->classes; k++)
			if (in->cell[i].by[k]) {
				supply->n[k][level_named(&in->levels, in->cell[i].size)]++;
				break;
			}
}

/* The unsound shortcut: for each class and level, is so much of cells that large free by then? */
static bool prefix_sums(const struct instance *in, const struct cert_cells *supply, const struct cert_cells *demand)
{
	for (uint32_t k = 0; k < in->classes; k++)
		for (uint32_t l = 0; l < in->levels.n; l++) {
			int64_t have = 0, want = 0;

			for (uint32_t i = 0; i <= k; i++)
				for (uint32_t j = l; j < in->levels.n; j++) {
					have += supply->n[i][j] * (in->levels.size[j] / in->levels.size[l]);
					want += demand->n[i][j] * (in->levels.size[j] / in->levels.size[l]);
				}
			if (want > have)
				return false;
		}
	return true;
}

struct score { uint64_t tried, feasible, mismatches, prefix_wrong; };

static void judge(const struct instance *in, struct score *s)
{
	struct cert_cells supply, demand;
	struct cert_short tight;
	bool want = feasible(in), got;

	supply_of(in, &supply);
	demand_of(in, &demand);
	got = cert_holds(&in->levels, in->classes, &supply, &demand, &tight);
	assert_int_equal(got, tight.devices == 0);
	if (!got) { /* what is named as tight is really asked for there */
		assert_true(tight.cells > 0 && tight.cells <= demand.n[tight.class][tight.level]);
		assert_true(tight.devices >= tight.cells * in->levels.size[tight.level]);
	}
	s->tried++;
	s->feasible += want;
	s->mismatches += want != got;
	s->prefix_wrong += !want && prefix_sums(in, &supply, &demand);
}

static void say(const char *what, const struct score *s)
{
	printf("# %s: %" PRIu64 " instances, %" PRIu64 " feasible, %" PRIu64 " mismatches, %" PRIu64
	       " let through by prefix sums\n",
	       what, s->tried, s->feasible, s->mismatches, s->prefix_wrong);
}

/* ---- stories ------------------------------------------------------------------------------------------ */

/* One idle node, one device of another that comes later. The small lease is due first and must split the
 * node; the whole node promised for later is then gone. Sums see nine devices for nine. */
static void an_urgent_small_one_splits_the_only_whole_node(void **state)
{
	struct instance in = {.levels = cert_levels(8), .classes = 2, .cells = 2, .wants = 2,
			      .cell = {{{8, 8}, 8}, {{0, 1}, 1}},
			      .want = {{0, 1}, {1, 8}}};
	struct cert_cells supply, demand;
	struct cert_short tight;

	(void)state;
	supply_of(&in, &supply);
	demand_of(&in, &demand);
	assert_false(feasible(&in));
	assert_true(prefix_sums(&in, &supply, &demand));
	assert_false(cert_holds(&in.levels, 2, &supply, &demand, &tight));
	assert_int_equal(tight.class, 1);
	assert_int_equal(tight.level, 3);
	assert_int_equal(tight.cells, 1);
	assert_int_equal(tight.devices, 8);
	in.want[0].class = 1; /* it can wait for the single one */
	demand_of(&in, &demand);
	assert_true(feasible(&in));
	assert_true(cert_holds(&in.levels, 2, &supply, &demand, NULL));
}

static void levels_divide_each_other(void **state)
{
	(void)state;
	for (uint32_t devices = 1; devices <= 64; devices++) {
		struct cert_levels l = cert_levels(devices);

		assert_true(l.n >= 1 && l.n <= CERT_LEVELS_MAX);
		assert_int_equal(l.size[0], 1);
		assert_int_equal(l.size[l.n - 1], devices);
		for (uint32_t i = 1; i < l.n; i++) {
			assert_true(l.size[i] > l.size[i - 1]);
			assert_int_equal(l.size[i] % l.size[i - 1], 0);
		}
		for (uint32_t part = 1; part <= devices; part++) {
			uint32_t at = cert_level_of(&l, part);
			int64_t counts[CERT_LEVELS_MAX] = {0}, sum = 0;

			assert_true(l.size[at] >= part && (!at || l.size[at - 1] < part));
			cert_cut(&l, part, part == devices, 1, counts);
			for (uint32_t i = 0; i < l.n; i++)
				sum += counts[i] * l.size[i];
			assert_int_equal(sum, part);
			assert_int_equal(counts[l.n - 1], devices == 1 || part == devices);
			cert_cut(&l, part, part == devices, -1, counts);
			for (uint32_t i = 0; i < l.n; i++)
				assert_int_equal(counts[i], 0);
		}
	}
}

/* Every multiset of up to 3 cells and 3 demands over 2 classes and the levels 1, 2, 4. */
static void tiny_spaces_are_enumerated(void **state)
{
	enum { KINDS = 6 };
	struct score s = {0};

	(void)state;
	for (uint32_t cells = 0; cells <= 3; cells++)
		for (uint32_t wants = 0; wants <= 3; wants++) {
			uint32_t total = 1;

			for (uint32_t i = 0; i < cells + wants; i++)
				total *= KINDS;
			for (uint32_t combo = 0; combo < total; combo++) {
				struct instance in = {.levels = cert_levels(4), .classes = 2, .cells = cells, .wants = wants};
				uint32_t rest = combo;

				for (uint32_t i = 0; i < cells; i++, rest /= KINDS) {
					uint32_t size = 1u << rest % KINDS / 2;

					in.cell[i] = (struct cell){.by = {rest % 2 ? 0 : size, size}, .size = size};
				}
				for (uint32_t i = 0; i < wants; i++, rest /= KINDS)
					in.want[i] = (struct want){rest % 2, 1u << rest % KINDS / 2};
				judge(&in, &s);
			}
		}
	say("enumerated", &s);
	assert_int_equal(s.mismatches, 0);
	assert_true(s.feasible > 1000 && s.feasible < s.tried);
}

static void random_instances(void **state)
{
	static const uint32_t per_node[] = {2, 4, 8, 6, 12};
	struct score s = {0};
	struct prng r;

	(void)state;
	prng_seed(&r, 0xce47);
	while (s.tried < 400000) {
		struct instance in = {.levels = cert_levels(per_node[prng_below(&r, 5)])};

		in.classes = 1 + (uint32_t)prng_below(&r, 5);
		in.cells = 1 + (uint32_t)prng_below(&r, CELLS_MAX - 1);
		in.wants = 1 + (uint32_t)prng_below(&r, DEMANDS_MAX - 1);
		for (uint32_t i = 0; i < in.cells; i++) {
			uint32_t from = (uint32_t)prng_below(&r, in.classes);

			in.cell[i].size = in.levels.size[prng_below(&r, in.levels.n)];
			for (uint32_t k = from; k < in.classes; k++)
				in.cell[i].by[k] = in.cell[i].size;
		}
		for (uint32_t i = 0; i < in.wants; i++)
			in.want[i] = (struct want){(uint32_t)prng_below(&r, in.classes),
						   in.levels.size[prng_below(&r, in.levels.n)]};
		judge(&in, &s);
	}
	say("random", &s);
	assert_int_equal(s.mismatches, 0);
	assert_true(s.feasible > s.tried / 10 && s.feasible < s.tried / 10 * 9);
	assert_true(s.prefix_wrong > 0); /* the shortcut is caught, or the instances are too tame */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_urgent_small_one_splits_the_only_whole_node),
		cmocka_unit_test(levels_divide_each_other),
		cmocka_unit_test(tiny_spaces_are_enumerated),
		cmocka_unit_test(random_instances),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
