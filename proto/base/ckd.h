/* ckd.h - checked arithmetic: true when the result does not fit (C23 <stdckdint.h> names) */
#ifndef SLUIS_PROTO_BASE_CKD_H
#define SLUIS_PROTO_BASE_CKD_H

#define ckd_add(res, a, b) __builtin_add_overflow((a), (b), (res))
#define ckd_sub(res, a, b) __builtin_sub_overflow((a), (b), (res))
#define ckd_mul(res, a, b) __builtin_mul_overflow((a), (b), (res))

#endif
