/* ppm.h - a share of an amount, in millionths */
#ifndef SLUIS_PROTO_BASE_PPM_H
#define SLUIS_PROTO_BASE_PPM_H

#include <stdint.h>

/* `ppm` millionths of v >= 0, rounded down, without a product of both. */
static inline int64_t ppm_of(int64_t v, int64_t ppm) { return v / 1000000 * ppm + v % 1000000 * ppm / 1000000; }

#endif
