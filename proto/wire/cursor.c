/* cursor.c - see cursor.h */
#include "proto/wire/cursor.h"

#include <string.h>

#include "proto/base/ensure.h"
#include "proto/base/limits.h"

static uint64_t be(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v = v << 8 | p[i];
	return v;
}

unsigned wire_utf8_len(const uint8_t *s, size_t left)
{
	unsigned n;
	uint8_t lo = 0x80, hi = 0xbf; /* bounds of the second byte: no overlong forms, no surrogates */

	if (!left)
		return 0;
	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf) {
		n = 2;
	} else if (s[0] >= 0xe0 && s[0] <= 0xef) {
		n = 3;
		if (s[0] == 0xe0)
			lo = 0xa0;
		if (s[0] == 0xed)
			hi = 0x9f;
	} else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
		n = 4;
		if (s[0] == 0xf0)
			lo = 0x90;
		if (s[0] == 0xf4)
			hi = 0x8f;
	} else {
		return 0;
	}
	if (left < n || s[1] < lo || s[1] > hi)
		return 0;
	for (unsigned i = 2; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

/* Are all of them printable ASCII, as most texts are? False may be wrong. */
static bool plain(const uint8_t *s, size_t len)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t odd = 0, w;
	size_t i = 0;

	for (; i + 8 <= len; i += 8) {
		memcpy(&w, s + i, 8);
		odd |= w | (w - ones * 0x20) | (w + ones); /* from 0x80 on; below 0x20; 0x7f */
	}
	for (w = ones * 0x20; i < len; i++)
		w = w << 8 | s[i];
	return ((odd | w | (w - ones * 0x20) | (w + ones)) & ones * 0x80) == 0;
}

static bool utf8_ok(const uint8_t *s, size_t len)
{
	for (size_t i = 0; i < len;) {
		unsigned n = wire_utf8_len(s + i, len - i);

		if (!n)
			return false;
		i += n;
	}
	return true;
}

bool wire_text_ok(const void *text, size_t len, bool one_line)
{
	const uint8_t *s = text;

	if (plain(s, len))
		return true;
	for (size_t i = 0; i < len; i++)
		if (s[i] == 0 || (one_line && (s[i] < 0x20 || s[i] == 0x7f)))
			return false;
	return utf8_ok(s, len);
}

/* What the first byte announces: the kind, how many bytes of number follow, and the smallest number
 * that needs so many (a smaller one has a shorter form). */
struct head { uint8_t kind; uint8_t bytes; uint64_t min; };
static const struct head HEADS[] = {
	/* 0xc0 nil, 0xc1 never used: refused */
	[0xc4 - 0xc0] = {WIRE_BIN, 1, 0},
	[0xc5 - 0xc0] = {WIRE_BIN, 2, 0x100},
	[0xc6 - 0xc0] = {WIRE_BIN, 4, 0x10000},
	/* 0xc7..0xc9 ext, 0xca 0xcb floats: refused */
	[0xcc - 0xc0] = {WIRE_UINT, 1, 0x80},
	[0xcd - 0xc0] = {WIRE_UINT, 2, 0x100},
	[0xce - 0xc0] = {WIRE_UINT, 4, 0x10000},
	[0xcf - 0xc0] = {WIRE_UINT, 8, 0x100000000},
	/* 0xd4..0xd8 fixext: refused */
	[0xd9 - 0xc0] = {WIRE_STR, 1, 0x20},
	[0xda - 0xc0] = {WIRE_STR, 2, 0x100},
	[0xdb - 0xc0] = {WIRE_STR, 4, 0x10000},
	[0xdc - 0xc0] = {WIRE_ARRAY, 2, 0x10},
	[0xdd - 0xc0] = {WIRE_ARRAY, 4, 0x10000},
	[0xde - 0xc0] = {WIRE_MAP, 2, 0x10},
	[0xdf - 0xc0] = {WIRE_MAP, 4, 0x10000},
};

/* 0xd0..0xd3: a number below zero in 1, 2, 4 or 8 bytes that does not fit fewer. */
static int negative(struct cursor *c, unsigned bytes, struct wire_item *item)
{
	int64_t above = bytes == 1 ? -32 : -(INT64_C(1) << (bytes * 4 - 1));
	uint64_t raw;

	if (cursor_left(c) < bytes)
		return ERR_TRUNCATED;
	raw = be(c->p, bytes);
	c->p += bytes;
	if (bytes < 8 && raw >> (bytes * 8 - 1))
		raw |= UINT64_MAX << (bytes * 8);
	item->kind = WIRE_NEGINT;
	item->i = (int64_t)raw;
	return item->i < above ? 0 : ERR_FORMAT;
}

/* The bytes or elements that `item` announces have to be there. */
static int contents(struct cursor *c, struct wire_item *item)
{
	size_t left = cursor_left(c);

	if (item->kind == WIRE_ARRAY)
		return item->n <= left ? 0 : ERR_TRUNCATED;
	if (item->kind == WIRE_MAP)
		return item->n <= left / 2 ? 0 : ERR_TRUNCATED;
	if (item->n > left)
		return ERR_TRUNCATED;
	item->data = c->p;
	c->p += item->n;
	if (item->kind == WIRE_STR && !plain(item->data, item->n) && !utf8_ok(item->data, item->n))
		return ERR_FORMAT;
	return 0;
}

int cursor_next_long(struct cursor *c, struct wire_item *item)
{
	const struct head *head;
	uint8_t b;

	*item = (struct wire_item){0};
	if (!cursor_left(c))
		return ERR_TRUNCATED;
	b = *c->p++;
	ENSURE(b >= 0x80);
	if (b >= 0xe0) {
		item->kind = WIRE_NEGINT;
		item->i = (int64_t)b - 256;
		return 0;
	}
	if (b < 0xc0) {
		item->kind = b < 0x90 ? WIRE_MAP : b < 0xa0 ? WIRE_ARRAY : WIRE_STR;
		item->n = b < 0xa0 ? b & 0x0f : b & 0x1f;
		return contents(c, item);
	}
	if (b == 0xc2 || b == 0xc3) {
		item->kind = WIRE_BOOL;
		item->u = b & 1;
		return 0;
	}
	if (b >= 0xd0 && b <= 0xd3)
		return negative(c, 1U << (b - 0xd0), item);
	head = &HEADS[b - 0xc0];
	if (!head->kind)
		return ERR_FORMAT;
	if (cursor_left(c) < head->bytes)
		return ERR_TRUNCATED;
	item->kind = head->kind;
	item->u = be(c->p, head->bytes);
	c->p += head->bytes;
	if (item->u < head->min)
		return ERR_FORMAT;
	if (item->kind == WIRE_UINT)
		return 0;
	item->n = (uint32_t)item->u;
	item->u = 0;
	return contents(c, item);
}

int cursor_skip(struct cursor *c, int depth)
{
	struct wire_item item;
	uint64_t last = 0;
	int r = cursor_next(c, &item);

	if (r || (item.kind != WIRE_ARRAY && item.kind != WIRE_MAP))
		return r;
	if (depth <= 0)
		return ERR_TOOBIG;
	for (uint32_t i = 0; i < item.n; i++) {
		if (item.kind == WIRE_MAP) {
			struct wire_item key;

			r = cursor_next(c, &key);
			if (r)
				return r;
			if (key.kind != WIRE_UINT || (i > 0 && key.u <= last))
				return ERR_FORMAT;
			last = key.u;
		}
		r = cursor_skip(c, depth - 1);
		if (r)
			return r;
	}
	return 0;
}

int wire_scan(const void *data, size_t len, struct err *err)
{
	struct cursor c = cursor_of(data, len);
	int r = cursor_skip(&c, WIRE_DEPTH_MAX);
	size_t at = len - cursor_left(&c);

	if (r)
		return err_set(err, r, "%s at or before byte %zu of %zu", err_text(r), at, len);
	if (at != len)
		return err_set(err, ERR_FORMAT, "%zu bytes behind the end of the message", len - at);
	return 0;
}
