/* sha256.c - see sha256.h
 *
 * Source: FIPS 180-4, sections 4.1.2, 4.2.2, 5.1.1, 5.3.3, 6.2.
 */
#include "proto/base/sha256.h"

#include <string.h>

static const uint32_t K[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotr(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

/* One step with the letters a..h at v[a], v[a + 1], … (around); instead of moving them all, the caller moves `a`. */
static inline void step(uint32_t v[8], unsigned a, uint32_t kw)
{
	uint32_t *b = &v[(a + 1) & 7], *c = &v[(a + 2) & 7], *d = &v[(a + 3) & 7], *e = &v[(a + 4) & 7];
	uint32_t *f = &v[(a + 5) & 7], *g = &v[(a + 6) & 7], *h = &v[(a + 7) & 7];
	uint32_t s1 = rotr(*e, 6) ^ rotr(*e, 11) ^ rotr(*e, 25);
	uint32_t s0 = rotr(v[a], 2) ^ rotr(v[a], 13) ^ rotr(v[a], 22);
	uint32_t t1 = *h + s1 + ((*e & *f) ^ (~*e & *g)) + kw;

	*d += t1;
	*h = t1 + s0 + ((v[a] & *b) ^ (v[a] & *c) ^ (*b & *c));
}

static void compress(uint32_t h[8], const uint8_t *p)
{
	uint32_t w[64], v[8];

	for (int i = 0; i < 16; i++, p += 4)
		w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
	for (int i = 16; i < 64; i++) {
		uint32_t s0 = rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
		uint32_t s1 = rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ w[i - 2] >> 10;

		w[i] = w[i - 16] + s0 + w[i - 7] + s1;
	}
	memcpy(v, h, sizeof(v));
	for (int i = 0; i < 64; i += 8) { /* after eight steps each letter is back in its place */
		step(v, 0, K[i] + w[i]);
		step(v, 7, K[i + 1] + w[i + 1]);
		step(v, 6, K[i + 2] + w[i + 2]);
		step(v, 5, K[i + 3] + w[i + 3]);
		step(v, 4, K[i + 4] + w[i + 4]);
		step(v, 3, K[i + 5] + w[i + 5]);
		step(v, 2, K[i + 6] + w[i + 6]);
		step(v, 1, K[i + 7] + w[i + 7]);
	}
	for (int i = 0; i < 8; i++)
		h[i] += v[i];
}

void sha256_init(struct sha256 *s)
{
	static const uint32_t start[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
					   0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };

	*s = (struct sha256){0};
	memcpy(s->h, start, sizeof(start));
}

void sha256_add(struct sha256 *s, const void *data, size_t n)
{
	const uint8_t *p = data;

	s->total_bytes += n;
	while (n > 0) {
		size_t take = sizeof(s->block) - s->fill;

		if (s->fill == 0 && n >= sizeof(s->block)) {
			compress(s->h, p);
			p += sizeof(s->block);
			n -= sizeof(s->block);
			continue;
		}
		if (take > n)
			take = n;
		memcpy(s->block + s->fill, p, take);
		s->fill += (unsigned)take;
		p += take;
		n -= take;
		if (s->fill == sizeof(s->block)) {
			compress(s->h, s->block);
			s->fill = 0;
		}
	}
}

void sha256_final(struct sha256 *s, uint8_t ret_digest[SHA256_BYTES])
{
	uint64_t bits = s->total_bytes * 8;

	s->block[s->fill++] = 0x80;
	if (s->fill > 56) {
		memset(s->block + s->fill, 0, sizeof(s->block) - s->fill);
		compress(s->h, s->block);
		s->fill = 0;
	}
	memset(s->block + s->fill, 0, 56 - s->fill);
	for (int i = 0; i < 8; i++)
		s->block[56 + i] = (uint8_t)(bits >> (56 - 8 * i));
	compress(s->h, s->block);
	for (int i = 0; i < 8; i++) {
		ret_digest[4 * i] = (uint8_t)(s->h[i] >> 24);
		ret_digest[4 * i + 1] = (uint8_t)(s->h[i] >> 16);
		ret_digest[4 * i + 2] = (uint8_t)(s->h[i] >> 8);
		ret_digest[4 * i + 3] = (uint8_t)s->h[i];
	}
}
