/* fuzz_msgpack.c - our reader of MessagePack beside msgpack-c
 *
 * Both ways: what ours accepts msgpack-c accepts, with the same values; and what msgpack-c reads, writes again
 * with the same bytes and holds nothing that we refuse (nil, floats, extensions, keys that are no ascending
 * unsigned integers, bad UTF-8, deep nesting) ours accepts.
 */
#include <stdint.h>
#include <string.h>

#include <msgpack.h>

#include "proto/base/ensure.h"
#include "proto/base/limits.h"
#include "proto/wire/cursor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_text(const struct wire_item *it, const char *p, uint32_t n)
{
	ENSURE(it->n == n);
	ENSURE(n == 0 || memcmp(it->data, p, n) == 0);
}

static void same(struct cursor *c, const msgpack_object *o)
{
	struct wire_item it;

	ENSURE(cursor_next(c, &it) == 0);
	switch (o->type) {
	case MSGPACK_OBJECT_BOOLEAN: ENSURE(it.kind == WIRE_BOOL && it.u == o->via.boolean); break;
	case MSGPACK_OBJECT_POSITIVE_INTEGER: ENSURE(it.kind == WIRE_UINT && it.u == o->via.u64); break;
	case MSGPACK_OBJECT_NEGATIVE_INTEGER: ENSURE(it.kind == WIRE_NEGINT && it.i == o->via.i64); break;
	case MSGPACK_OBJECT_STR:
		ENSURE(it.kind == WIRE_STR);
		same_text(&it, o->via.str.ptr, o->via.str.size);
		break;
	case MSGPACK_OBJECT_BIN:
		ENSURE(it.kind == WIRE_BIN);
		same_text(&it, o->via.bin.ptr, o->via.bin.size);
		break;
	case MSGPACK_OBJECT_ARRAY:
		ENSURE(it.kind == WIRE_ARRAY && it.n == o->via.array.size);
		for (uint32_t i = 0; i < it.n; i++)
			same(c, &o->via.array.ptr[i]);
		break;
	case MSGPACK_OBJECT_MAP:
		ENSURE(it.kind == WIRE_MAP && it.n == o->via.map.size);
		for (uint32_t i = 0; i < it.n; i++) {
			same(c, &o->via.map.ptr[i].key);
			same(c, &o->via.map.ptr[i].val);
		}
		break;
	case MSGPACK_OBJECT_NIL:
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
	case MSGPACK_OBJECT_EXT:
	default: UNREACHABLE(); /* ours does not accept it */
	}
}

static bool utf8(const char *p, size_t n)
{
	for (size_t at = 0; at < n;) {
		unsigned len = wire_utf8_len((const uint8_t *)p + at, n - at);

		if (!len)
			return false;
		at += len;
	}
	return true;
}

/* Within the subset, `depth` containers from the bottom? */
static bool within(const msgpack_object *o, int depth)
{
	bool ok = true;

	switch (o->type) {
	case MSGPACK_OBJECT_BOOLEAN:
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
	case MSGPACK_OBJECT_BIN: return true;
	case MSGPACK_OBJECT_STR: return utf8(o->via.str.ptr, o->via.str.size);
	case MSGPACK_OBJECT_ARRAY:
		for (uint32_t i = 0; ok && i < o->via.array.size; i++)
			ok = within(&o->via.array.ptr[i], depth - 1);
		return ok && depth > 0;
	case MSGPACK_OBJECT_MAP:
		for (uint32_t i = 0; ok && i < o->via.map.size; i++) {
			const msgpack_object *key = &o->via.map.ptr[i].key;

			ok = key->type == MSGPACK_OBJECT_POSITIVE_INTEGER && within(&o->via.map.ptr[i].val, depth - 1) &&
			     (i == 0 || o->via.map.ptr[i - 1].key.via.u64 < key->via.u64);
		}
		return ok && depth > 0;
	case MSGPACK_OBJECT_NIL:
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
	case MSGPACK_OBJECT_EXT:
	default: return false;
	}
}

/* Does msgpack-c write the value with these bytes? */
static bool canonical(const msgpack_object *o, const uint8_t *data, size_t size)
{
	msgpack_sbuffer b;
	msgpack_packer pk;
	bool ok;

	msgpack_sbuffer_init(&b);
	msgpack_packer_init(&pk, &b, msgpack_sbuffer_write);
	ok = msgpack_pack_object(&pk, *o) == 0 && b.size == size && memcmp(b.data, data, size) == 0;
	msgpack_sbuffer_destroy(&b);
	return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool ours = size > 0 && wire_scan(data, size, NULL) == 0, large;
	msgpack_unpacked u;
	size_t off = 0;

	/* msgpack-c reserves what an array or map of 32-bit length announces: only where it is known to be there */
	large = size > 4096 || memchr(data, 0xdd, size) || memchr(data, 0xdf, size);
	if (size == 0 || (large && !ours))
		return 0;
	msgpack_unpacked_init(&u);
	if (msgpack_unpack_next(&u, (const char *)data, size, &off) != MSGPACK_UNPACK_SUCCESS) {
		ENSURE(!ours);
	} else if (ours) {
		struct cursor c = cursor_of(data, size);

		ENSURE(off == size);
		same(&c, &u.data);
		ENSURE(cursor_left(&c) == 0);
		ENSURE(canonical(&u.data, data, size));
	} else {
		ENSURE(off != size || !within(&u.data, WIRE_DEPTH_MAX) || !canonical(&u.data, data, size));
	}
	msgpack_unpacked_destroy(&u);
	return 0;
}
