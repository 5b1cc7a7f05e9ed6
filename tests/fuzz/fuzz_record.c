/* fuzz_record.c - records as the disk gives them back; the first byte is the kind */
#include <stdint.h>

#include "proto/model/record.h"
#include "proto/wire/tables.h"
#include "tests/lib/wire_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 || !schema_of_record(data[0]))
		return 0;
	wire_check_canonical(schema_of_record(data[0]), data + 1, size - 1);
	return 0;
}
