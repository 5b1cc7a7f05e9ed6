/* test_sha256.c - the digest against the standard's own examples
 *
 * Without these a build could chain its log and name its payloads by a function that nobody else computes: every
 * outside check of an export would fail, and nothing in here would notice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/sha256.h"

static void digest_is(const char *message, size_t times, size_t piece, const char *hex)
{
	uint8_t digest[SHA256_BYTES];
	char text[2 * SHA256_BYTES + 1];
	struct sha256 s;
	size_t len = strlen(message);

	sha256_init(&s);
	for (size_t i = 0; i < times; i++)
		for (size_t at = 0; at < len; at += piece)
			sha256_add(&s, message + at, len - at < piece ? len - at : piece);
	sha256_final(&s, digest);
	for (size_t i = 0; i < SHA256_BYTES; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", digest[i]);
	assert_string_equal(text, hex);
}

/* FIPS 180-4, examples of the Cryptographic Standards and Guidelines site; the empty message from CAVP. */
static void the_standards_examples(void **state)
{
	(void)state;
	digest_is("", 1, 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	digest_is("abc", 1, 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	digest_is("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1, 56,
		  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
	digest_is("aaaaaaaaaa", 100000, 10, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* However the bytes arrive, also across the edges of blocks. */
static void pieces_make_no_difference(void **state)
{
	(void)state;
	for (size_t piece = 1; piece <= 10; piece++)
		digest_is("aaaaaaaaaa", 100000, piece, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_standards_examples),
		cmocka_unit_test(pieces_make_no_difference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
