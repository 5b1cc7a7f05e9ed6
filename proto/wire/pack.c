/* pack.c - see pack.h */
#include "proto/wire/pack.h"

#include <msgpack/pack.h>

#include "proto/base/ensure.h"

static int to_buf(void *arg, const char *data, size_t len)
{
	buf_add(arg, data, len);
	return 0;
}

static msgpack_packer packer(struct buf *b)
{
	msgpack_packer pk;

	msgpack_packer_init(&pk, b, to_buf);
	return pk;
}

/* Keys, states, small counts and short texts, which are most of all, are a byte whose value says it. */
static void put(struct buf *b, unsigned byte)
{
	*buf_reserve(b, 1) = (uint8_t)byte;
	b->len++;
}

void pack_uint(struct buf *b, uint64_t v)
{
	msgpack_packer pk;

	if (v < 0x80) {
		put(b, (unsigned)v);
		return;
	}
	pk = packer(b);
	ENSURE(msgpack_pack_uint64(&pk, v) == 0);
}

void pack_int(struct buf *b, int64_t v)
{
	msgpack_packer pk = packer(b);

	ENSURE(msgpack_pack_int64(&pk, v) == 0);
}

void pack_bool(struct buf *b, bool v) { put(b, 0xc2 + v); }

void pack_bin(struct buf *b, const void *data, uint32_t len)
{
	msgpack_packer pk = packer(b);

	ENSURE(msgpack_pack_bin(&pk, len) == 0);
	ENSURE(msgpack_pack_bin_body(&pk, data, len) == 0);
}

void pack_str(struct buf *b, const void *text, uint32_t len)
{
	msgpack_packer pk;

	if (len < 0x20) {
		put(b, 0xa0 | len);
		buf_add(b, text, len);
		return;
	}
	pk = packer(b);
	ENSURE(msgpack_pack_str(&pk, len) == 0);
	ENSURE(msgpack_pack_str_body(&pk, text, len) == 0);
}

void pack_array(struct buf *b, uint32_t n)
{
	msgpack_packer pk;

	if (n < 0x10) {
		put(b, 0x90 | n);
		return;
	}
	pk = packer(b);
	ENSURE(msgpack_pack_array(&pk, n) == 0);
}

void pack_map(struct buf *b, uint32_t n)
{
	msgpack_packer pk;

	if (n < 0x10) {
		put(b, 0x80 | n);
		return;
	}
	pk = packer(b);
	ENSURE(msgpack_pack_map(&pk, n) == 0);
}
