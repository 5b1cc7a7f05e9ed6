/* fuzz_message.c - the body of every message, command and view, without the frame around it
 *
 * The first byte chooses the schema, so the fuzzer gets past the header at once.
 */
#include <stdint.h>

#include "proto/wire/message.h"
#include "tests/lib/wire_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static size_t schemas;

	while (schema_all[schemas])
		schemas++;
	if (size < 1)
		return 0;
	wire_check_canonical(schema_all[data[0] % schemas], data + 1, size - 1);
	return 0;
}
