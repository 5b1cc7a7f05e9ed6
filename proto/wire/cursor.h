/* cursor.h - reading MessagePack that a stranger wrote
 *
 * A cursor walks bytes in place: it allocates nothing and borrows the frame. It accepts the canonical
 * subset that sluis writes and nothing else: shortest integers and lengths, no floats, no extension
 * types, no nil, no 0xc1, strings in UTF-8, an announced element count never above the bytes left
 * (an element takes at least one), maps whose keys are unsigned integers in strictly ascending order.
 *
 * Why not msgpack_unpack: five bytes announcing a 64-Mi-element array make it reserve 2 GiB, and it
 * lets duplicate keys, NaN and padded integers pass.
 *
 * Source: the MessagePack specification (2017); RFC 3629 for UTF-8.
 */
#ifndef SLUIS_PROTO_WIRE_CURSOR_H
#define SLUIS_PROTO_WIRE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

struct cursor {
	const uint8_t *p;
	const uint8_t *end;
};

enum wire_kind { WIRE_BOOL = 1, WIRE_UINT, WIRE_NEGINT, WIRE_STR, WIRE_BIN, WIRE_ARRAY, WIRE_MAP };

struct wire_item {
	enum wire_kind kind;
	uint64_t u;          /* BOOL: 0 or 1; UINT */
	int64_t i;           /* NEGINT: below zero */
	const uint8_t *data; /* STR, BIN: borrowed from the frame */
	uint32_t n;          /* STR, BIN: bytes; ARRAY: elements; MAP: pairs */
};

static inline struct cursor cursor_of(const void *data, size_t len)
{
	const uint8_t *p = data;

	return (struct cursor){p, p + len};
}
static inline size_t cursor_left(const struct cursor *c) { return (size_t)(c->end - c->p); }

int cursor_next_long(struct cursor *c, struct wire_item *ret_item) NODISCARD; /* of cursor_next() */
/* Read one scalar, or the header of an array or map, and move behind it. 0; ERR_TRUNCATED when bytes
 * are missing; ERR_FORMAT for anything outside the subset. After an error the cursor is undefined. */
NODISCARD static inline int cursor_next(struct cursor *c, struct wire_item *ret_item)
{
	if (c->p == c->end || *c->p >= 0x80)
		return cursor_next_long(c, ret_item);
	*ret_item = (struct wire_item){.kind = WIRE_UINT, .u = *c->p++}; /* keys, states, small counts: most of all */
	return 0;
}

/* Move over one whole value of at most `depth` nested containers. As cursor_next, and ERR_TOOBIG for
 * deeper nesting; ERR_FORMAT for map keys that are no integers or do not ascend. */
int cursor_skip(struct cursor *c, int depth) NODISCARD;

/* Walk `len` bytes that have to be exactly one value nested at most WIRE_DEPTH_MAX deep. O(len), no
 * allocation. Returns 0, ERR_TRUNCATED, ERR_FORMAT or ERR_TOOBIG; err names the offset. */
int wire_scan(const void *data, size_t len, struct err *err) NODISCARD;

/* Length of the well-formed UTF-8 sequence at `s` (1..4), or 0. */
unsigned wire_utf8_len(const uint8_t *s, size_t left);

/* May `len` bytes travel as a text? UTF-8 without NUL and, for `one_line`, without control bytes. */
bool wire_text_ok(const void *text, size_t len, bool one_line);

#endif
