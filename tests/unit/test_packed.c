/* test_packed.c - a record at rest is the record it was
 *
 * Jobs are kept packed; a byte that came back wrong would be another job than the one submitted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "daemon/core/packed.h"
#include "proto/base/prng.h"

/* `dense` of 256 bytes are not zero. */
static void fill(struct prng *r, uint8_t *rec, size_t bytes, uint64_t dense)
{
	for (size_t i = 0; i < bytes; i++)
		rec[i] = prng_below(r, 256) < dense ? (uint8_t)(1 + prng_below(r, 255)) : 0;
}

static void any_record_comes_back(void **state)
{
	uint8_t rec[PACKED_RECORD_BYTES_MAX], back[PACKED_RECORD_BYTES_MAX];
	struct prng r;

	(void)state;
	prng_seed(&r, 1);
	for (int round = 0; round < 2000; round++) {
		size_t bytes = 8 * (1 + (size_t)prng_below(&r, PACKED_RECORD_BYTES_MAX / 8));
		uint8_t *p;

		fill(&r, rec, bytes, prng_below(&r, 257));
		p = packed_new(rec, bytes);
		memset(back, 0xee, sizeof back);
		packed_open(p, back, bytes);
		assert_memory_equal(rec, back, bytes);
		assert_true(bytes == sizeof back || back[bytes] == 0xee); /* and not a byte more */
		free(p);
	}
}

static void each_field_can_be_asked_for_alone(void **state)
{
	static const size_t width[] = {1, 2, 4, 8};
	uint8_t rec[512], field[8];
	struct prng r;

	(void)state;
	prng_seed(&r, 2);
	for (int round = 0; round < 50; round++) {
		uint8_t *p;

		fill(&r, rec, sizeof rec, (uint64_t)round * 5);
		p = packed_new(rec, sizeof rec);
		for (size_t k = 0; k < sizeof width / sizeof width[0]; k++)
			for (size_t at = 0; at < sizeof rec; at += width[k]) {
				packed_field(p, sizeof rec, at, field, width[k]);
				assert_memory_equal(rec + at, field, width[k]);
			}
		free(p);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_record_comes_back),
		cmocka_unit_test(each_field_can_be_asked_for_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
