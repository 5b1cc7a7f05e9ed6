/* prng.h - xoshiro256** (Blackman & Vigna 2018), seeded by splitmix64: for tests, simulation and
 * jitter, never for keys. Same seed, same sequence, on every machine. */
#ifndef SLUIS_PROTO_BASE_PRNG_H
#define SLUIS_PROTO_BASE_PRNG_H

#include <stdint.h>

struct prng { uint64_t s[4]; };

void prng_seed(struct prng *p, uint64_t seed);
uint64_t prng_next(struct prng *p);
/* Uniform in [0, n), n > 0, without modulo bias. */
uint64_t prng_below(struct prng *p, uint64_t n);

#endif
