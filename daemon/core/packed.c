/* packed.c - see packed.h */
#include "daemon/core/packed.h"

#include <string.h>

#include "proto/base/bits.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"

enum { WORD = 8, WORDS_MAX = PACKED_RECORD_BYTES_MAX / WORD };

/* Bytes with the bits of the words. */
static size_t words_bytes(size_t bytes) { return (bytes / WORD + 7) / 8; }

/* Bits that are set in `n` bytes. */
static size_t bits(const uint8_t *p, size_t n)
{
	size_t sum = 0;

	for (uint64_t w; n >= WORD; n -= WORD, p += WORD) {
		memcpy(&w, p, WORD);
		sum += popcount64(w);
	}
	for (uint64_t w = 0; n; n--) {
		w = w << 8 | p[n - 1];
		if (n == 1)
			sum += popcount64(w);
	}
	return sum;
}

uint8_t *packed_new(const void *record, size_t bytes)
{
	uint8_t words[WORDS_MAX / 8] = {0}, masks[WORDS_MAX], rest[PACKED_RECORD_BYTES_MAX], *p;
	const uint8_t *from = record;
	size_t head = words_bytes(bytes), masks_n = 0, rest_n = 0;

	ENSURE(bytes % WORD == 0 && bytes <= PACKED_RECORD_BYTES_MAX);
	for (size_t w = 0; w < bytes / WORD; w++) {
		uint64_t word;
		uint8_t mask = 0;

		memcpy(&word, from + w * WORD, WORD);
		if (!word)
			continue;
		for (unsigned b = 0; b < WORD; b++)
			if (from[w * WORD + b]) {
				mask |= (uint8_t)(1U << b);
				rest[rest_n++] = from[w * WORD + b];
			}
		words[w / 8] |= (uint8_t)(1U << w % 8);
		masks[masks_n++] = mask;
	}
	p = xmalloc(head + masks_n + rest_n);
	memcpy(p, words, head);
	memcpy(p + head, masks, masks_n);
	memcpy(p + head + masks_n, rest, rest_n);
	return p;
}

/* A word of those whose bytes begin at `from`; returns where the next one's do. */
static const uint8_t *word_open(const uint8_t *from, uint8_t mask, uint8_t to[WORD])
{
	if (mask == UINT8_MAX) {
		memcpy(to, from, WORD);
		return from + WORD;
	}
	for (unsigned m = mask; m; m &= m - 1)
		to[__builtin_ctz(m)] = *from++;
	return from;
}

void packed_open(const uint8_t *p, void *ret_record, size_t bytes)
{
	size_t head = words_bytes(bytes);
	uint8_t *to = ret_record;
	const uint8_t *mask = p + head, *from = mask + bits(p, head);

	memset(ret_record, 0, bytes);
	for (size_t i = 0; i < head; i++)
		for (unsigned m = p[i]; m; m &= m - 1)
			from = word_open(from, *mask++, to + (i * 8 + (unsigned)__builtin_ctz(m)) * WORD);
}

void packed_field(const uint8_t *p, size_t bytes, size_t offset, void *ret_field, size_t field_bytes)
{
	size_t head = words_bytes(bytes), w = offset / WORD, before;
	uint8_t word[WORD] = {0};
	const uint8_t *mask = p + head;

	ENSURE(offset % WORD + field_bytes <= WORD && offset + field_bytes <= bytes);
	if (p[w / 8] >> w % 8 & 1) {
		before = bits(p, w / 8) + popcount64(p[w / 8] & ((1U << w % 8) - 1));
		(void)word_open(mask + bits(p, head) + bits(mask, before), mask[before], word);
	}
	memcpy(ret_field, word + offset % WORD, field_bytes);
}
