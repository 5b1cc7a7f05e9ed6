/* wire_check.h - what must hold of any bytes given to the codec */
#ifndef SLUIS_TESTS_LIB_WIRE_CHECK_H
#define SLUIS_TESTS_LIB_WIRE_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "proto/wire/schema.h"

/* Decode `data` by `schema`. If it is refused, the error says why. If it is accepted: the scan accepts
 * it too; it encodes back to the same bytes, or to fewer when ignored keys were in it; decoding that
 * again, and a deep copy, give an equal struct. ENSUREs all of it. */
void wire_check_canonical(const struct schema *schema, const uint8_t *data, size_t len);

#endif
