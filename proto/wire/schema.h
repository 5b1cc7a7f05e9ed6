/* schema.h - one table per struct: how it becomes bytes and comes back
 *
 * Every struct that travels or is stored has a `struct schema`: its fields with their keys. One codec
 * walks the tables, so encoding, strict decoding and printing cannot drift apart.
 *
 * Encoding is canonical: a map with ascending small-integer keys, shortest integers, no floats;
 * a field that is zero, empty or NULL is left out. Equal structs give equal bytes, and but for
 * ignored keys no other bytes decode to them.
 * Decoding is strict: keys strictly ascending, unknown keys below 128 refused (from 128 on: ignored),
 * every length checked against the bytes left and the field's limit before anything is allocated;
 * enums are compared with their names, texts are UTF-8 without control characters (FIELD_TEXT may
 * have them, but no NUL). What decodes admits no nonsense a type could keep out.
 * Lists are allocated from the caller's arena; `bytes` and strings too, so nothing borrows the frame.
 *
 * Evolution: a key is never reused or retyped. A new field that an older peer must understand gets a
 * key below 128, one that it may ignore a key from 128 on.
 */
#ifndef SLUIS_PROTO_WIRE_SCHEMA_H
#define SLUIS_PROTO_WIRE_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/err.h"
#include "proto/model/payload.h"

enum field_type {
	FIELD_U8 = 1, FIELD_U16, FIELD_U32, FIELD_U64, FIELD_I8, FIELD_I32, FIELD_I64, FIELD_BOOL,
	FIELD_STR,    /* char[N], NUL-terminated UTF-8 */
	FIELD_FIXED,  /* uint8_t[N], all N bytes on the wire unless all zero */
	FIELD_WORDS,  /* uint64_t[N]: array of integers, trailing zero words left out */
	FIELD_TEXT,   /* const char *, NULL or arena string */
	FIELD_BYTES,  /* struct bytes */
	FIELD_STRUCT, /* struct inside */
	FIELD_LIST,   /* T *ptr + uint32_t count: array of maps */
	FIELD_ARRAY,  /* T[N] inside + uint16_t count: array of maps */
};

enum { SCHEMA_KEY_IGNORABLE = 128 }; /* unknown keys from here on are skipped */

struct schema;
struct field {
	uint8_t key;
	uint8_t type;     /* enum field_type */
	uint32_t elem;    /* FIELD_LIST, FIELD_ARRAY: sizeof one element */
	uint32_t offset;
	uint32_t size;    /* sizeof the member (FIELD_STR/FIXED/WORDS), most bytes for TEXT/BYTES */
	uint32_t count_offset; /* FIELD_LIST: of the uint32_t count; FIELD_ARRAY: of the uint16_t one */
	uint32_t max;     /* FIELD_LIST, FIELD_ARRAY: most elements */
	const struct schema *sub; /* FIELD_STRUCT, FIELD_LIST, FIELD_ARRAY */
	const char *name; /* as in JSON */
	const char *const *names; /* enum (FIELD_U8): value → text, NULL-terminated; else NULL */
};
struct schema {
	const char *name;
	uint32_t size;
	uint32_t fields_n;
	bool bare; /* as a list element: its one field's value itself instead of a map */
	const struct field *fields; /* ascending by key */
};

/* Append the encoding of `obj` to `out`. Cannot fail: a struct we hold obeys its limits (ENSURE). A
 * text that was cut inside a character, or holds what texts may not, is written with '?' for each
 * such byte; wire_text_ok() (cursor.h) tells beforehand. NULL and "" are the same text. */
void schema_encode(const struct schema *schema, const void *obj, struct buf *out);

/* Decode exactly `len` bytes into `obj` (schema->size bytes, zeroed first). Lists, texts and bytes are
 * allocated from `arena`. Returns 0, ERR_FORMAT, ERR_TRUNCATED, ERR_TOOBIG or ERR_UNKNOWN_FIELD; the
 * message names the struct and the field. Cost: O(len), no allocation larger than len × a constant. */
int schema_decode(const struct schema *schema, const uint8_t *data, size_t len, void *obj,
		  struct arena *arena, struct err *err) NODISCARD;

/* Deep equality and deep copy, by the same tables. */
bool schema_equal(const struct schema *schema, const void *a, const void *b);
void schema_copy(const struct schema *schema, void *dst, const void *src, struct arena *arena);

/* Is every field zero, empty or NULL (its encoding the empty map)? */
bool schema_is_zero(const struct schema *schema, const void *obj);

/* Tables (tables_*.c): record kind → schema (NULL for a foreign kind); command type → schema of its
 * body; query type → schema of its reply. */
const struct schema *schema_of_record(uint8_t kind);
const struct schema *schema_of_command(uint16_t type);
const struct schema *schema_of_view(uint16_t query_type);
extern const struct schema schema_query, schema_result, schema_payload, schema_unit, schema_unit_status,
	schema_inventory;

#endif
