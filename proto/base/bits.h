/* bits.h - counting bits where the processor's own instruction may not be used
 *
 * A build for every x86-64 machine turns __builtin_popcountll() into a call of the compiler's library; these few
 * operations in place are a third of it.
 *
 * Source: Warren, "Hacker's Delight", 5-1.
 */
#ifndef SLUIS_PROTO_BASE_BITS_H
#define SLUIS_PROTO_BASE_BITS_H

#include <stdint.h>

static inline unsigned popcount64(uint64_t x)
{
#ifdef __POPCNT__
	return (unsigned)__builtin_popcountll(x);
#else
	x -= x >> 1 & UINT64_C(0x5555555555555555);
	x = (x & UINT64_C(0x3333333333333333)) + (x >> 2 & UINT64_C(0x3333333333333333));
	x = (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	return (unsigned)(x * UINT64_C(0x0101010101010101) >> 56);
#endif
}

#endif
