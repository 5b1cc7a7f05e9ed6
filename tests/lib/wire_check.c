/* wire_check.c - see wire_check.h */
#include "tests/lib/wire_check.h"

#include <string.h>

#include "proto/base/ensure.h"
#include "proto/wire/cursor.h"

static bool has_ignorable(struct cursor *c)
{
	struct wire_item item, key;
	bool found = false;

	ENSURE(cursor_next(c, &item) == 0);
	if (item.kind != WIRE_MAP && item.kind != WIRE_ARRAY)
		return false;
	for (uint32_t i = 0; i < item.n; i++) {
		if (item.kind == WIRE_MAP) {
			ENSURE(cursor_next(c, &key) == 0);
			found |= key.u >= SCHEMA_KEY_IGNORABLE;
		}
		found |= has_ignorable(c);
	}
	return found;
}

void wire_check_canonical(const struct schema *schema, const uint8_t *data, size_t len)
{
	CLEANUP(arena_done) struct arena arena = {0};
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	void *obj = arena_alloc(&arena, schema->size), *again = arena_alloc(&arena, schema->size);
	struct cursor c = cursor_of(data, len);
	struct err err = {0};
	int r = schema_decode(schema, data, len, obj, &arena, &err);

	if (r) {
		ENSURE(r < 0);
		ENSURE(err.code == r);
		ENSURE(err.msg[0]);
		return;
	}
	ENSURE(wire_scan(data, len, NULL) == 0);
	schema_encode(schema, obj, &b);
	if (has_ignorable(&c)) {
		ENSURE(b.len < len);
	} else {
		ENSURE(b.len == len);
		ENSURE(memcmp(b.data, data, len) == 0);
	}
	ENSURE(schema_decode(schema, b.data, b.len, again, &arena, NULL) == 0);
	ENSURE(schema_equal(schema, obj, again));
	schema_copy(schema, again, obj, &arena);
	ENSURE(schema_equal(schema, obj, again));
}
