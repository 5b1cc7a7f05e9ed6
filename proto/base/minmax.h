/* minmax.h - the smaller and the larger of two amounts */
#ifndef SLUIS_PROTO_BASE_MINMAX_H
#define SLUIS_PROTO_BASE_MINMAX_H

#include <stdint.h>

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

#endif
