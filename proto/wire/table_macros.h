/* table_macros.h - the spelling of schema tables; see tables.h. `T` is the struct. */
#ifndef SLUIS_PROTO_WIRE_TABLE_MACROS_H
#define SLUIS_PROTO_WIRE_TABLE_MACROS_H

#include "proto/base/ensure.h"
#include "proto/model/names.h"
#include "proto/wire/tables.h"

#define M(m) (((T *)0)->m)

/* The field type that belongs to a member; a member that has none does not compile. */
#define FIELD_TYPE_OF(m)                                                                           \
	_Generic(M(m), uint8_t: FIELD_U8, uint16_t: FIELD_U16, uint32_t: FIELD_U32,                \
		 uint64_t: FIELD_U64, int8_t: FIELD_I8, int32_t: FIELD_I32, int64_t: FIELD_I64,    \
		 bool: FIELD_BOOL, char *: FIELD_STR, uint8_t *: FIELD_FIXED, uint64_t *: FIELD_WORDS)

#define FIELDS(s) static const struct field s##_fields[]
#define SCHEMA(s)                                                                                  \
	const struct schema schema_##s = {                                                         \
		.name = #s, .size = sizeof(struct s), .fields_n = ARRAY_LEN(s##_fields),           \
		.fields = s##_fields,                                                              \
	}
/* As an element: the value of its one field instead of a map. */
#define SCHEMA_BARE(s)                                                                             \
	const struct schema schema_##s = {                                                         \
		.name = #s, .size = sizeof(struct s), .fields_n = ARRAY_LEN(s##_fields),           \
		.fields = s##_fields, .bare = true,                                                \
	}

#define F(k, m)                                                                                    \
	{                                                                                          \
		.key = (k), .type = FIELD_TYPE_OF(m), .offset = offsetof(T, m),                    \
		.size = sizeof M(m), .name = #m,                                                   \
	}
#define ENUM(k, m, values)                                                                         \
	{                                                                                          \
		.key = (k), .type = _Generic(M(m), uint8_t: FIELD_U8), .offset = offsetof(T, m),   \
		.size = sizeof M(m), .name = #m, .names = (values),                                \
	}
#define TEXT(k, m, bytes_max)                                                                      \
	{                                                                                          \
		.key = (k), .type = _Generic(M(m), const char *: FIELD_TEXT),                      \
		.offset = offsetof(T, m), .size = (bytes_max), .name = #m,                         \
	}
#define BYTES(k, m, bytes_max)                                                                     \
	{                                                                                          \
		.key = (k), .type = _Generic(M(m), struct bytes: FIELD_BYTES),                     \
		.offset = offsetof(T, m), .size = (bytes_max), .name = #m,                         \
	}
#define SUB(k, m, s)                                                                               \
	{                                                                                          \
		.key = (k), .type = _Generic(M(m), struct s: FIELD_STRUCT),                        \
		.offset = offsetof(T, m), .size = sizeof M(m), .sub = &schema_##s, .name = #m,     \
	}
/* T *m with uint32_t m_n beside it. */
#define LIST(k, m, most, s)                                                                        \
	{                                                                                          \
		.key = (k), .type = _Generic(M(m), struct s *: FIELD_LIST), .elem = sizeof *M(m),  \
		.offset = offsetof(T, m), .size = sizeof M(m),                                     \
		.count_offset = _Generic(M(m##_n), uint32_t: offsetof(T, m##_n)), .max = (most),   \
		.sub = &schema_##s, .name = #m,                                                    \
	}
/* T m[N] with uint16_t count beside it. */
#define ARRAY(k, m, count, s)                                                                      \
	{                                                                                          \
		.key = (k), .type = _Generic(M(m)[0], struct s: FIELD_ARRAY), .elem = sizeof M(m)[0], \
		.offset = offsetof(T, m), .size = sizeof M(m),                                     \
		.count_offset = _Generic(M(count), uint16_t: offsetof(T, count)),                  \
		.max = ARRAY_LEN(M(m)), .sub = &schema_##s, .name = #m,                            \
	}
/* A coreset: its words. */
#define CORES(k, m)                                                                                \
	{                                                                                          \
		.key = (k), .type = _Generic(M(m), struct coreset: FIELD_WORDS),                   \
		.offset = offsetof(T, m), .size = sizeof M(m), .name = #m,                         \
	}

#endif
