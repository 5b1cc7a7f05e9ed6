/* test_idtab.c - objects by id against a slow model
 *
 * Without these a lookup could miss a live object (a lease "not found") or a walk could skip or
 * repeat one, and then every sum recomputed from the records would be wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "daemon/core/idtab.h"
#include "proto/base/prng.h"

enum { IDS = 700 };
static char object[IDS];

/* Ids that sit on, before and behind page edges, far apart and close together. */
static uint64_t id_of(uint32_t i)
{
	static const uint64_t base[] = {0, 250, 65530, UINT64_C(1) << 32, (UINT64_C(1) << 40) - 5,
					UINT64_C(0xfffffffffffffc00)};

	return base[i % 6] + 1 + i / 6;
}

static int u64_cmp(const void *a, const void *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof x);
	memcpy(&y, b, sizeof y);
	return x < y ? -1 : x > y;
}

static void walk_equals(const struct idtab *t, const bool *in)
{
	uint64_t want[IDS], id = 0;
	uint32_t n = 0, at = 0;
	void *obj;

	for (uint32_t i = 0; i < IDS; i++)
		if (in[i])
			want[n++] = id_of(i);
	if (n)
		qsort(want, n, sizeof *want, u64_cmp);
	while ((id = idtab_next(t, id, &obj)) != 0) {
		assert_true(at < n);
		assert_int_equal(id, want[at]);
		assert_ptr_equal(obj, idtab_get(t, id));
		at++;
	}
	assert_int_equal(at, n);
	assert_int_equal(t->count, n);
}

static void behaves_as_an_array_of_flags(void **state)
{
	struct idtab t = {0};
	bool in[IDS] = {0};
	struct prng r;

	(void)state;
	prng_seed(&r, 0x1d);
	walk_equals(&t, in);
	for (int step = 0; step < 20000; step++) {
		uint32_t i = (uint32_t)prng_below(&r, IDS);
		bool set = prng_below(&r, step < 10000 ? 3 : 5) < 2; /* grows, then thins out */
		void *old = idtab_set(&t, id_of(i), set ? &object[i] : NULL);

		assert_ptr_equal(old, in[i] ? &object[i] : NULL);
		in[i] = set;
		assert_ptr_equal(idtab_get(&t, id_of(i)), set ? &object[i] : NULL);
		if (step % 100 == 0)
			walk_equals(&t, in);
	}
	for (uint32_t i = 0; i < IDS; i++)
		assert_ptr_equal(idtab_get(&t, id_of(i)), in[i] ? &object[i] : NULL);
	walk_equals(&t, in);
	idtab_done(&t);
}

/* "Next" is asked for ids that are not there, before, between and behind those that are. */
static void next_from_anywhere(void **state)
{
	struct idtab t = {0};
	void *obj;

	(void)state;
	assert_int_equal(idtab_next(&t, 0, &obj), 0);
	(void)idtab_set(&t, 5, &object[0]);
	(void)idtab_set(&t, 256, &object[1]);
	(void)idtab_set(&t, 100000, &object[2]);
	assert_int_equal(idtab_next(&t, 0, &obj), 5);
	assert_int_equal(idtab_next(&t, 5, &obj), 256);
	assert_int_equal(idtab_next(&t, 255, &obj), 256);
	assert_int_equal(idtab_next(&t, 256, NULL), 100000);
	assert_int_equal(idtab_next(&t, 70000, &obj), 100000);
	assert_ptr_equal(obj, &object[2]);
	assert_int_equal(idtab_next(&t, 100000, &obj), 0);
	assert_int_equal(idtab_next(&t, UINT64_MAX, &obj), 0);
	/* removing the object one stands on does not lose the next */
	(void)idtab_set(&t, 256, NULL);
	assert_int_equal(idtab_next(&t, 256, &obj), 100000);
	assert_null(idtab_set(&t, 77, NULL)); /* removing what is not there */
	idtab_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(behaves_as_an_array_of_flags),
		cmocka_unit_test(next_from_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
