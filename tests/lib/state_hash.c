/* state_hash.c - see state_hash.h */
#include "tests/lib/state_hash.h"

#include <stdlib.h>

#include "proto/base/ensure.h"
#include "proto/wire/schema.h"
#include "proto/wire/tables.h"

/* Finaliser of splitmix64 (Steele, Lea & Flood 2014). */
static uint64_t scramble(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

uint64_t state_hash_mix(uint64_t seed, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t h = scramble(seed + UINT64_C(0x9e3779b97f4a7c15) * (len + 1));

	for (size_t i = 0; i < len; i += 8) {
		uint64_t word = 0;

		for (size_t k = 0; k < 8 && i + k < len; k++)
			word |= (uint64_t)p[i + k] << (8 * k);
		h = scramble(h ^ word) + UINT64_C(0x9e3779b97f4a7c15);
	}
	return scramble(h);
}

void state_hash_done(struct state_hash *h)
{
	free(h->slots);
	buf_done(&h->scratch);
	*h = (struct state_hash){0};
}

static struct state_slot *slot_of(struct state_hash *h, uint64_t key)
{
	size_t i = scramble(key) & (h->slots_n - 1);

	while (h->slots[i].key && h->slots[i].key != key)
		i = (i + 1) & (h->slots_n - 1);
	return &h->slots[i];
}

static void grow(struct state_hash *h)
{
	struct state_slot *old = h->slots;
	size_t n = h->slots_n;

	h->slots_n = n ? 2 * n : 1024;
	h->slots = xcalloc(h->slots_n, sizeof *h->slots);
	for (size_t i = 0; i < n; i++)
		if (old[i].key)
			*slot_of(h, old[i].key) = old[i];
	free(old);
}

void state_hash_fact(struct state_hash *h, const struct fact *f)
{
	uint64_t key = (uint64_t)f->kind << 56 | f->id, hash = 0;
	struct state_slot *s;

	ENSURE(f->id < UINT64_C(1) << 56);
	if (2 * (h->used + 1) > h->slots_n)
		grow(h);
	if (f->any) {
		buf_reset(&h->scratch);
		schema_encode(schema_of_record(f->kind), f->any, &h->scratch);
		hash = state_hash_mix(key, h->scratch.data, h->scratch.len);
	}
	s = slot_of(h, key);
	h->used += s->key == 0;
	h->state += hash - s->hash;
	*s = (struct state_slot){key, hash};
	h->facts = scramble(h->facts ^ key) + hash;
	h->facts_n++;
}
