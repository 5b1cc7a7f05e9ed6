/* test_scan.c - the cursor under everything that strangers send
 *
 * Without these tests five bytes could make a server allocate gigabytes, or one value could have two
 * spellings and thereby two hashes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/limits.h"
#include "proto/base/prng.h"
#include "proto/wire/cursor.h"
#include "proto/wire/pack.h"

/* Scan a copy of exactly `len` bytes, so that a sanitizer sees a read behind them. */
static int scan(const void *data, size_t len)
{
	uint8_t *exact = xmalloc(len);
	struct err err;
	int r;

	memcpy(exact, data, len);
	r = wire_scan(exact, len, &err);
	if (r)
		assert_true(err.code == r && err.msg[0]);
	free(exact);
	return r;
}

#define SCAN(literal) scan(literal, sizeof(literal) - 1)

/* Each width of integer has exactly one value range: the border values, and one below each. */
static void integers_have_one_spelling(void **state)
{
	static const struct { const char *bytes; size_t len; int code; uint64_t u; int64_t i; } cases[] = {
#define GOOD_U(bytes, v) {bytes, sizeof(bytes) - 1, 0, v, 0}
#define GOOD_I(bytes, v) {bytes, sizeof(bytes) - 1, 0, 0, v}
#define BAD(bytes) {bytes, sizeof(bytes) - 1, ERR_FORMAT, 0, 0}
		GOOD_U("\x00", 0), GOOD_U("\x7f", 127),
		BAD("\xcc\x7f"), GOOD_U("\xcc\x80", 128), GOOD_U("\xcc\xff", 255),
		BAD("\xcd\x00\xff"), GOOD_U("\xcd\x01\x00", 256), GOOD_U("\xcd\xff\xff", 65535),
		BAD("\xce\x00\x00\xff\xff"), GOOD_U("\xce\x00\x01\x00\x00", 65536),
		GOOD_U("\xce\xff\xff\xff\xff", 4294967295U),
		BAD("\xcf\x00\x00\x00\x00\xff\xff\xff\xff"),
		GOOD_U("\xcf\x00\x00\x00\x01\x00\x00\x00\x00", 4294967296U),
		GOOD_U("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", UINT64_MAX),
		GOOD_I("\xff", -1), GOOD_I("\xe0", -32),
		BAD("\xd0\xe0"), GOOD_I("\xd0\xdf", -33), GOOD_I("\xd0\x80", -128), BAD("\xd0\x05"),
		BAD("\xd1\xff\x80"), GOOD_I("\xd1\xff\x7f", -129), GOOD_I("\xd1\x80\x00", -32768), BAD("\xd1\x01\x00"),
		BAD("\xd2\xff\xff\x80\x00"), GOOD_I("\xd2\xff\xff\x7f\xff", -32769),
		GOOD_I("\xd2\x80\x00\x00\x00", INT32_MIN), BAD("\xd2\x00\x01\x00\x00"),
		BAD("\xd3\xff\xff\xff\xff\x80\x00\x00\x00"),
		GOOD_I("\xd3\xff\xff\xff\xff\x7f\xff\xff\xff", (int64_t)INT32_MIN - 1),
		GOOD_I("\xd3\x80\x00\x00\x00\x00\x00\x00\x00", INT64_MIN),
		BAD("\xd3\x00\x00\x00\x01\x00\x00\x00\x00"),
	};

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(cases); k++) {
		struct cursor c = cursor_of(cases[k].bytes, cases[k].len);
		CLEANUP(buf_done) struct buf b = BUF_INIT;
		struct wire_item item;

		assert_int_equal(cursor_next(&c, &item), cases[k].code);
		if (cases[k].code)
			continue;
		assert_int_equal(cursor_left(&c), 0);
		assert_int_equal(item.kind, cases[k].i ? WIRE_NEGINT : WIRE_UINT);
		assert_true(item.u == cases[k].u && item.i == cases[k].i);
		/* and it is the spelling that we write */
		if (item.i)
			pack_int(&b, item.i);
		else
			pack_uint(&b, item.u);
		assert_int_equal(b.len, cases[k].len);
		assert_memory_equal(b.data, cases[k].bytes, b.len);
		for (size_t cut = 0; cut < cases[k].len; cut++)
			assert_int_equal(scan(cases[k].bytes, cut), ERR_TRUNCATED);
	}
}

/* A header announces no more than there is. */
static void announced_lengths_are_compared_with_the_bytes(void **state)
{
	(void)state;
	assert_int_equal(SCAN("\xdd\x03\xff\xff\xff"), ERR_TRUNCATED); /* 64 Mi elements */
	assert_int_equal(SCAN("\xdf\x03\xff\xff\xff"), ERR_TRUNCATED);
	assert_int_equal(SCAN("\xdb\xff\xff\xff\xff"), ERR_TRUNCATED);
	assert_int_equal(SCAN("\xc6\xff\xff\xff\xff"), ERR_TRUNCATED);
	assert_int_equal(SCAN("\x92\x01"), ERR_TRUNCATED);
	assert_int_equal(SCAN("\x92\x01\x02"), 0);
	assert_int_equal(SCAN("\x82\x01\x02\x03"), ERR_TRUNCATED);
	assert_int_equal(SCAN("\xa3" "ab"), ERR_TRUNCATED);
	assert_int_equal(SCAN("\xc4\x02" "a"), ERR_TRUNCATED);
	assert_int_equal(SCAN(""), ERR_TRUNCATED);
}

/* The header alone is refused, before anybody allocates by it. */
static void a_header_is_judged_at_once(void **state)
{
	static const struct { const char *bytes; size_t len; int code; } cases[] = {
		{"\xdc\x00\x10", 3, ERR_TRUNCATED},
		{"\x92\x01", 2, ERR_TRUNCATED},
		{"\x92\x01\x02", 3, 0},
		{"\xde\x00\x10" "0123456789abcdef", 19, ERR_TRUNCATED}, /* 16 pairs need 32 bytes */
		{"\x82\x01\x02\x03", 4, ERR_TRUNCATED},
		{"\x82\x01\x02\x03\x04", 5, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct cursor c = cursor_of(cases[i].bytes, cases[i].len);
		struct wire_item item;

		assert_int_equal(cursor_next(&c, &item), cases[i].code);
	}
}

static void lengths_have_one_spelling(void **state)
{
	(void)state;
	assert_int_equal(SCAN("\xd9\x02" "ab"), ERR_FORMAT);
	assert_int_equal(SCAN("\xda\x00\x02" "ab"), ERR_FORMAT);
	assert_int_equal(SCAN("\xc5\x00\x01" "a"), ERR_FORMAT);
	assert_int_equal(SCAN("\xdc\x00\x01\x05"), ERR_FORMAT);
	assert_int_equal(SCAN("\xde\x00\x01\x05\x05"), ERR_FORMAT);
	assert_int_equal(SCAN("\xc4\x00"), 0);
}

static void foreign_types_are_refused(void **state)
{
	static const uint8_t firsts[] = {0xc0, 0xc1, 0xc7, 0xc8, 0xc9, 0xca, 0xcb,
					 0xd4, 0xd5, 0xd6, 0xd7, 0xd8};

	(void)state;
	for (size_t i = 0; i < sizeof firsts; i++) {
		uint8_t bytes[32] = {firsts[i]};

		assert_int_equal(scan(bytes, sizeof bytes), ERR_FORMAT);
	}
}

static void maps_have_ascending_integer_keys(void **state)
{
	(void)state;
	assert_int_equal(SCAN("\x82\x00\x05\x01\x05"), 0);
	assert_int_equal(SCAN("\x82\x01\x05\x01\x05"), ERR_FORMAT);
	assert_int_equal(SCAN("\x82\x02\x05\x01\x05"), ERR_FORMAT);
	assert_int_equal(SCAN("\x81\xa1" "a\x05"), ERR_FORMAT);
	assert_int_equal(SCAN("\x81\xff\x05"), ERR_FORMAT);
	assert_int_equal(SCAN("\x81\x90\x05"), ERR_FORMAT);
}

static void one_value_and_nothing_behind_it(void **state)
{
	(void)state;
	assert_int_equal(SCAN("\x80"), 0);
	assert_int_equal(SCAN("\x80\x80"), ERR_FORMAT);
	assert_int_equal(SCAN("\x80\x00"), ERR_FORMAT);
}

/* Recursion stops at WIRE_DEPTH_MAX, however deep the bomb is. */
static void nesting_is_bounded(void **state)
{
	uint8_t bomb[100000];

	(void)state;
	memset(bomb, 0x91, sizeof bomb);
	for (size_t depth = 1; depth < 20; depth++) {
		bomb[depth] = 0x05;
		assert_int_equal(scan(bomb, depth + 1), depth <= WIRE_DEPTH_MAX ? 0 : ERR_TOOBIG);
		bomb[depth] = 0x91;
	}
	assert_int_equal(scan(bomb, sizeof bomb), ERR_TOOBIG);
	memset(bomb, 0x81, sizeof bomb); /* maps in keys and values */
	assert_int_not_equal(scan(bomb, sizeof bomb), 0);
}

/* Every two-byte and three-byte sequence against a decoder written by the book (RFC 3629). */
static void utf8_is_judged_by_the_book(void **state)
{
	unsigned valid = 0;

	(void)state;
	for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
		uint8_t s[4];
		unsigned n = 0;

		if (cp < 0x80) {
			s[n++] = (uint8_t)cp;
		} else if (cp < 0x800) {
			s[n++] = (uint8_t)(0xc0 | cp >> 6);
		} else if (cp < 0x10000) {
			s[n++] = (uint8_t)(0xe0 | cp >> 12);
			s[n++] = (uint8_t)(0x80 | (cp >> 6 & 63));
		} else {
			s[n++] = (uint8_t)(0xf0 | cp >> 18);
			s[n++] = (uint8_t)(0x80 | (cp >> 12 & 63));
			s[n++] = (uint8_t)(0x80 | (cp >> 6 & 63));
		}
		if (cp >= 0x80)
			s[n++] = (uint8_t)(0x80 | (cp & 63));
		if (wire_utf8_len(s, n) == n)
			valid++;
		else if (cp < 0xd800 || cp > 0xdfff)
			assert_int_equal(wire_utf8_len(s, n), n);
		for (unsigned cut = 1; cut < n; cut++)
			assert_int_equal(wire_utf8_len(s, cut), 0);
	}
	assert_int_equal(valid, 0x110000 - 0x800); /* all but the surrogates */
	/* Of all two-byte sequences only those that encode U+0080..U+07FF or begin with ASCII. */
	for (unsigned a = 0; a < 256; a++)
		for (unsigned b = 0; b < 256; b++) {
			uint8_t s[2] = {(uint8_t)a, (uint8_t)b};
			unsigned want = a < 0x80 ? 1 : a >= 0xc2 && a <= 0xdf && b >> 6 == 2 ? 2 : 0;

			assert_int_equal(wire_utf8_len(s, 2), want);
		}
}

/* Random bytes, half of them shaped like MessagePack: whatever the scan accepts, msgpack-c accepts. */
static void accepted_bytes_are_messagepack(void **state)
{
	static const uint8_t heads[] = {0x80, 0x81, 0x82, 0x90, 0x92, 0xa1, 0xc2, 0xc4, 0xcc, 0xcd, 0xd0, 0xd9, 0xe5, 0x01};
	struct prng p;
	unsigned accepted = 0;

	(void)state;
	prng_seed(&p, 0x5ca9);
	for (int round = 0; round < 200000; round++) {
		uint8_t bytes[24];
		size_t len = 1 + prng_below(&p, sizeof bytes), off = 0;
		msgpack_unpacked u;

		for (size_t i = 0; i < len; i++)
			bytes[i] = prng_below(&p, 2) ? heads[prng_below(&p, sizeof heads)] : (uint8_t)prng_next(&p);
		if (wire_scan(bytes, len, NULL))
			continue;
		accepted++;
		msgpack_unpacked_init(&u);
		assert_int_equal(msgpack_unpack_next(&u, (const char *)bytes, len, &off), MSGPACK_UNPACK_SUCCESS);
		assert_int_equal(off, len);
		msgpack_unpacked_destroy(&u);
	}
	print_message("%u of 200000 accepted\n", accepted);
	assert_true(accepted > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers_have_one_spelling),
		cmocka_unit_test(announced_lengths_are_compared_with_the_bytes),
		cmocka_unit_test(a_header_is_judged_at_once),
		cmocka_unit_test(lengths_have_one_spelling),
		cmocka_unit_test(foreign_types_are_refused),
		cmocka_unit_test(maps_have_ascending_integer_keys),
		cmocka_unit_test(one_value_and_nothing_behind_it),
		cmocka_unit_test(nesting_is_bounded),
		cmocka_unit_test(utf8_is_judged_by_the_book),
		cmocka_unit_test(accepted_bytes_are_messagepack),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
