/* schema_gen.h - random structs, made from the schema tables */
#ifndef SLUIS_TESTS_LIB_SCHEMA_GEN_H
#define SLUIS_TESTS_LIB_SCHEMA_GEN_H

#include "proto/base/buf.h"
#include "proto/base/prng.h"
#include "proto/wire/schema.h"

/* Fill `obj` with values that its schema allows: about three fields in four are set, numbers of every
 * width, texts with characters of every UTF-8 length, lists of 0 to `list_max` elements. What is
 * pointed to comes from `arena`. Same state of `p`, same struct. */
void schema_random(const struct schema *schema, void *obj, uint32_t list_max, struct prng *p,
		   struct arena *arena);

/* Fill `obj` with values that depend on nothing but the names of the fields: every field is set, enums
 * to 1, lists with two elements. A field added to a table leaves the others as they were, so golden
 * bytes written by an older build keep their values. */
void schema_fixture(const struct schema *schema, void *obj, struct arena *arena);

#endif
