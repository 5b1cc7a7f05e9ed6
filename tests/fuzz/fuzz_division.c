/* fuzz_division.c - a division file
 *
 * What is accepted survives being written and read again, and what is written then is the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/ensure.h"
#include "proto/config/division.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void division(const char *text, size_t len)
{
	struct config_errors errs = CONFIG_ERRORS_INIT;
	CLEANUP(buf_done) struct buf once = BUF_INIT;
	CLEANUP(buf_done) struct buf twice = BUF_INIT;
	struct division *d = NULL, *back = NULL;

	if (division_read_bytes("fuzz", text, len, &d, &errs) == 0) {
		division_write(d, &once);
		ENSURE(division_read_bytes("back", once.data, once.len, &back, &errs) == 0);
		division_write(back, &twice);
		ENSURE(once.len == twice.len);
		ENSURE(memcmp(once.data, twice.data, once.len) == 0);
	}
	division_free(d);
	division_free(back);
	config_errors_done(&errs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len <= 65536)
		division((const char *)data, len);
	return 0;
}
