/* test_store_record.c - records as canonical bytes
 *
 * Without these the same record could have two hashes, or a few hostile bytes on disk could make
 * the daemon read past them or allocate what they ask for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "proto/logfile/pending.h"
#include "proto/logfile/record.h"
#include "proto/base/ensure.h"
#include "proto/base/prng.h"

static const uint8_t PREV[STORE_HASH_BYTES] = {0xaa, 0xbb};

/* The bytes are for good: FORMAT.md prints them, and every later build has to read them. */
static void test_golden_bytes(void **state)
{
	static const uint8_t golden[] = {
		0x8b, 0x00, 0x01,			     /* version 1 */
		0x01, 0x07,				     /* seq 7 */
		0x02, 0xd1, 0xff, 0x00,			     /* t -256 */
		0x03, 0xcd, 0x01, 0x2c,			     /* principal 300 */
		0x04, 0xce, 0x00, 0x01, 0x00, 0x00,	     /* cred 65536 */
		0x05, 0x0c,				     /* rule 12 */
		0x06, 0x02,				     /* policy version 2 */
		0x07, 0xcc, 0xc8,			     /* command type 200 */
		0x08, 0xc4, 0x02, 'h',	'i',		     /* command */
		0x09, 0x92,				     /* two facts */
		0x93, 0x03, 0x2a, 0xc4, 0x01, 'v',	     /* kind 3 id 42 = "v" */
		0x93, 0x03, 0x2b, 0xc0,			     /* kind 3 id 43 deleted */
		0x0a, 0xc4, 0x20, 0xaa, 0xbb, 0,    0, 0, 0, /* previous hash */
		0,    0,    0,	  0,	0,    0,    0, 0, 0, 0, 0, 0, 0,
		0,    0,    0,	  0,	0,    0,    0, 0, 0, 0, 0, 0, 0,
	};
	const struct store_fact facts[] = {{3, 42, (const uint8_t *)"v", 1}, {3, 43, NULL, 0}};
	const struct store_record rec = {7, -256,  300, 65536, 12, 2, 200, (const uint8_t *)"hi",
					 2, facts, 2};
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	CLEANUP(record_facts_done) struct record_facts got = {0};
	struct store_entry e;

	(void)state;
	record_encode(&rec, PREV, &b);
	assert_int_equal(b.len, sizeof(golden));
	assert_memory_equal(b.data, golden, sizeof(golden));
	assert_int_equal(record_decode(golden, sizeof(golden), &got, &e, NULL), 0);
	assert_int_equal(e.rec.t_ms, -256);
	assert_memory_equal(e.prev, PREV, sizeof(PREV));
}

static void random_record(struct prng *rng, struct store_record *rec, struct store_fact *facts,
			  const uint8_t *bytes)
{
	*rec = (struct store_record){
		.seq = prng_next(rng) >> prng_below(rng, 64),
		.t_ms = (int64_t)prng_next(rng) >> prng_below(rng, 64),
		.principal = (uint32_t)prng_next(rng) >> prng_below(rng, 32),
		.cred = prng_next(rng) >> prng_below(rng, 64),
		.rule = (uint16_t)prng_below(rng, 300),
		.policy_version = prng_next(rng) >> prng_below(rng, 64),
		.cmd_type = (uint16_t)prng_next(rng),
		.cmd = bytes,
		.cmd_len = (uint32_t)prng_below(rng, prng_below(rng, 2) ? 70000 : 300),
		.facts = facts,
		.facts_n = (uint32_t)prng_below(rng, 20)};
	for (uint32_t i = 0; i < rec->facts_n; i++) {
		facts[i] = (struct store_fact){.kind = (uint8_t)prng_next(rng),
					       .id = prng_next(rng) >> prng_below(rng, 64)};
		if (prng_below(rng, 3)) {
			facts[i].val = bytes;
			facts[i].len = (uint32_t)prng_below(rng, 300);
		}
	}
}

/* Whatever decodes encodes to the same bytes: there is one form only, also for damaged input. */
static void test_what_decodes_is_canonical(void **state)
{
	CLEANUP(record_facts_done) struct record_facts got = {0};
	static uint8_t bytes[70000];
	struct store_fact facts[20];
	struct store_record rec;
	struct store_entry e;
	struct prng rng;
	unsigned odd = 0;

	(void)state;
	prng_seed(&rng, 1);
	for (int i = 0; i < 3000; i++) {
		CLEANUP(buf_done) struct buf b = BUF_INIT;
		CLEANUP(buf_done) struct buf again = BUF_INIT;

		random_record(&rng, &rec, facts, bytes);
		record_encode(&rec, PREV, &b);
		assert_int_equal(record_decode(b.data, b.len, &got, &e, NULL), 0);
		assert_int_equal(e.rec.seq, rec.seq);
		assert_int_equal(e.rec.t_ms, rec.t_ms);
		record_encode(&e.rec, e.prev, &again);
		assert_int_equal(again.len, b.len);
		assert_memory_equal(again.data, b.data, b.len);
		for (int k = 0; k < 20; k++) {
			size_t at = (size_t)prng_below(&rng, b.len < 90 ? b.len : 90);
			uint8_t was = b.data[at];

			b.data[at] = (uint8_t)prng_next(&rng);
			if (record_decode(b.data, b.len, &got, &e, NULL) == 0) {
				buf_reset(&again);
				record_encode(&e.rec, e.prev, &again);
				assert_int_equal(again.len, b.len);
				assert_memory_equal(again.data, b.data, b.len);
				odd++;
			}
			b.data[at] = was;
		}
	}
	assert_true(odd > 1000); /* the damage was not all refused at the first byte */
}

/* Every prefix is refused, read from memory that ends where it does (ASan watches). */
static void test_every_prefix_is_truncated(void **state)
{
	CLEANUP(record_facts_done) struct record_facts got = {0};
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	const struct store_fact facts[] = {{3, 1 << 20, (const uint8_t *)"value", 5},
					   {3, 43, NULL, 0}};
	const struct store_record rec = {.seq = 1 << 20,
					 .t_ms = -1000000,
					 .cmd = (const uint8_t *)"hello",
					 .cmd_len = 5,
					 .facts = facts,
					 .facts_n = 2};
	struct store_entry e;

	(void)state;
	record_encode(&rec, PREV, &b);
	for (size_t n = 0; n < b.len; n++) {
		uint8_t *cut = xmalloc(n ? n : 1);

		memcpy(cut, b.data, n);
		assert_int_equal(record_decode(cut, n, &got, &e, NULL), ERR_TRUNCATED);
		free(cut);
	}
	buf_add(&b, "x", 1);
	assert_int_equal(record_decode(b.data, b.len, &got, &e, NULL), ERR_FORMAT);
}

/* Replace `n` bytes at `at` of an empty record and decode. Offsets: golden bytes above, without
 * facts. */
static int decode_patched(size_t at, size_t n, const void *with, size_t with_n)
{
	CLEANUP(record_facts_done) struct record_facts got = {0};
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	CLEANUP(buf_done) struct buf p = BUF_INIT;
	struct store_record rec = {.seq = 1};
	struct store_entry e;

	record_encode(&rec, PREV, &b);
	buf_add(&p, b.data, at);
	buf_add(&p, with, with_n);
	buf_add(&p, b.data + at + n, b.len - at - n);
	return record_decode(p.data, p.len, &got, &e, NULL);
}

static void test_longer_forms_are_refused(void **state)
{
	enum { SEQ = 4, T = 6, CMD = 18, FACTS = 21, PREV_AT = 23 };

	(void)state;
	assert_int_equal(decode_patched(SEQ, 1, "\x05", 1), 0);
	assert_int_equal(decode_patched(SEQ, 1, "\xcc\x05", 2), ERR_FORMAT);
	assert_int_equal(decode_patched(SEQ, 1, "\xcc\x80", 2), 0);
	assert_int_equal(decode_patched(SEQ, 1, "\xcd\x00\xff", 3), ERR_FORMAT);
	assert_int_equal(decode_patched(SEQ, 1, "\xce\x00\x00\xff\xff", 5), ERR_FORMAT);
	assert_int_equal(decode_patched(SEQ, 1, "\xcf\x00\x00\x00\x00\xff\xff\xff\xff", 9),
			 ERR_FORMAT);
	assert_int_equal(decode_patched(SEQ, 1, "\xff", 1), ERR_FORMAT); /* negative */
	assert_int_equal(decode_patched(T, 1, "\xe0", 1), 0);
	assert_int_equal(decode_patched(T, 1, "\xd0\xe0", 2), ERR_FORMAT);
	assert_int_equal(decode_patched(T, 1, "\xd0\x05", 2), ERR_FORMAT);
	assert_int_equal(decode_patched(T, 1, "\xd1\xff\x80", 3), ERR_FORMAT);
	assert_int_equal(decode_patched(T, 1, "\xd2\xff\xff\x80\x00", 5), ERR_FORMAT);
	assert_int_equal(decode_patched(T, 1, "\xd3\xff\xff\xff\xff\x80\x00\x00\x00", 9),
			 ERR_FORMAT);
	assert_int_equal(decode_patched(T, 1, "\xcf\x80\x00\x00\x00\x00\x00\x00\x00", 9),
			 ERR_FORMAT);
	assert_int_equal(decode_patched(CMD, 2, "\xc4\x01x", 3), 0);
	assert_int_equal(decode_patched(CMD, 2, "\xc5\x00\x01x", 4), ERR_FORMAT);
	assert_int_equal(decode_patched(CMD, 2, "\xa1x", 2), ERR_FORMAT);
	assert_int_equal(decode_patched(FACTS, 1, "\xdc\x00\x00", 3), ERR_FORMAT);
	assert_int_equal(decode_patched(PREV_AT, 1, "\xc4\x1f", 2), ERR_FORMAT);
	assert_int_equal(decode_patched(2, 1, "\x02", 1), ERR_VERSION);
	assert_int_equal(decode_patched(0, 1, "\x8a", 1), ERR_FORMAT);
}

/* Five bytes that announce four thousand million facts, or a command of 4 GiB, cost nothing. */
static void test_announced_sizes_are_not_believed(void **state)
{
	enum { CMD = 18, FACTS = 21 };

	(void)state;
	assert_int_equal(decode_patched(FACTS, 1, "\xdd\xff\xff\xff\xff", 5), ERR_TRUNCATED);
	assert_int_equal(decode_patched(CMD, 2, "\xc6\xff\xff\xff\xff", 5), ERR_TOOBIG);
	assert_int_equal(decode_patched(CMD, 2, "\xc6\x00\x10\x00\x00", 5), ERR_TRUNCATED);
}

static void test_hash_number_and_link_are_checked(void **state)
{
	CLEANUP(record_facts_done) struct record_facts got = {0};
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct store_record rec = {.seq = 9};
	uint8_t hash[STORE_HASH_BYTES], other[STORE_HASH_BYTES] = {0};
	struct store_entry e;

	(void)state;
	record_encode(&rec, PREV, &b);
	record_hash(b.data, b.len, hash);
	assert_int_equal(record_check(b.data, b.len, hash, 9, PREV, &got, &e, NULL), 0);
	assert_int_equal(record_check(b.data, b.len, hash, 9, NULL, &got, &e, NULL), 0);
	assert_int_equal(record_check(b.data, b.len, hash, 8, PREV, &got, &e, NULL), ERR_CORRUPT);
	assert_int_equal(record_check(b.data, b.len, hash, 9, other, &got, &e, NULL), ERR_CORRUPT);
	hash[0] ^= 1;
	assert_int_equal(record_check(b.data, b.len, hash, 9, PREV, &got, &e, NULL), ERR_CORRUPT);
}

/* The table of held-back records against an array. */
static void test_pending_keeps_the_newest(void **state)
{
	enum { IDS = 700 };
	uint32_t newest[IDS] = {0}; /* 0: never set; 1: deleted; else the value */
	struct pending p = {0};
	struct prng rng;
	size_t known = 0;

	(void)state;
	prng_seed(&rng, 5);
	for (uint32_t i = 2; i < 20000; i++) {
		uint64_t id = prng_below(&rng, IDS);
		struct store_fact f = {(uint8_t)(id % 5), id, (const uint8_t *)&i, sizeof(i)};
		uint8_t hash[STORE_HASH_BYTES] = {0};

		memcpy(hash, &i, sizeof(i));
		if (prng_below(&rng, 4) == 0)
			f.val = NULL;
		known += newest[id] == 0;
		newest[id] = f.val ? i : 1;
		pending_set(&p, &f, hash);
	}
	assert_int_equal(p.n, known);
	assert_null(pending_find(&p, 1, 0)); /* the kind counts, too */
	for (uint64_t id = 0; id < IDS; id++) {
		const struct pending_entry *e = pending_find(&p, (uint8_t)(id % 5), id);

		assert_int_equal(e != NULL, newest[id] != 0);
		if (!e)
			continue;
		assert_int_equal(e->val != NULL, newest[id] > 1);
		if (e->val)
			assert_memory_equal(e->val, &newest[id], sizeof(newest[id]));
		if (e->val)
			assert_memory_equal(e->hash, &newest[id], sizeof(newest[id]));
	}
	pending_sort(&p);
	for (size_t i = 1; i < p.n; i++)
		assert_true(p.v[i - 1].kind < p.v[i].kind ||
			    (p.v[i - 1].kind == p.v[i].kind && p.v[i - 1].id < p.v[i].id));
	pending_clear(&p);
	assert_null(pending_find(&p, 0, 0));
	assert_int_equal(pending_bytes(&p), 0);
	pending_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden_bytes),
		cmocka_unit_test(test_what_decodes_is_canonical),
		cmocka_unit_test(test_every_prefix_is_truncated),
		cmocka_unit_test(test_longer_forms_are_refused),
		cmocka_unit_test(test_announced_sizes_are_not_believed),
		cmocka_unit_test(test_hash_number_and_link_are_checked),
		cmocka_unit_test(test_pending_keeps_the_newest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
