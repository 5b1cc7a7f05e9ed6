/* test_idem.c - what was answered is remembered while the table grows
 *
 * The table moves a few entries at a time. One that fell between the old and the new one would let a repeated command
 * act twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "daemon/core/state.h"
#include "proto/base/prng.h"

enum { N = 6000 };

static void put(struct core *c, uint64_t id, uint64_t result)
{
	struct idem r = {.id = id, .at_ms = (int64_t)(id % 1000), .result_id = result};

	core_apply(c, &(struct fact){.kind = RECORD_IDEM, .id = id, .idem = &r});
}

/* Ids that are hashes, and some that want the same slots. */
static uint64_t id_of(struct prng *r, uint32_t i)
{
	return i % 5 ? prng_next(r) | 1 : (prng_next(r) << 32) + 7;
}

static void nothing_is_forgotten_in_between(void **state)
{
	static uint64_t id[N], result[N]; /* result 0: deleted */
	struct prng r;

	(void)state;
	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct core *c = core_new();
		uint32_t n = 0, there = 0, walked = 0;

		prng_seed(&r, seed);
		while (n < N) {
			uint32_t k = n ? (uint32_t)prng_below(&r, n) : 0;

			if (n && prng_below(&r, 8) == 0) {
				core_apply(c, &(struct fact){.kind = RECORD_IDEM, .id = id[k]});
				result[k] = 0;
			} else if (n && prng_below(&r, 8) == 0) { /* again, or once more */
				result[k] = n + 1;
				put(c, id[k], result[k]);
			} else {
				id[n] = id_of(&r, n);
				result[n] = n + 1;
				put(c, id[n], result[n]);
				n++;
			}
			for (uint32_t i = n > 300 ? n - 3 : 0; i < n; i++) { /* the latest, and any */
				uint32_t at = i + 1 == n ? (uint32_t)prng_below(&r, n) : i;
				const struct idem_s *e = idem_find(c, id[at]);

				assert_int_equal(e ? e->r.result_id : 0, result[at]);
			}
		}
		for (uint32_t i = 0; i < N; i++) {
			const struct idem_s *e = idem_find(c, id[i]);

			assert_int_equal(e ? e->r.result_id : 0, result[i]);
			there += result[i] != 0;
		}
		assert_int_equal(c->idems.n, there);
		for (uint64_t at = 0, last = 0; (at = core_next_id(c, RECORD_IDEM, at)) != 0; last = at, walked++)
			assert_true(at > last);
		assert_int_equal(walked, there);
		core_free(c);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_forgotten_in_between)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
