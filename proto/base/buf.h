/* buf.h - a growing byte buffer, and a bump arena
 *
 * Both own their memory; `buf_done` and `arena_done` free it and accept a zeroed object. Allocation
 * failure aborts: every size here is bounded by a limit checked before.
 */
#ifndef SLUIS_PROTO_BASE_BUF_H
#define SLUIS_PROTO_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

struct buf {
	uint8_t *data;
	size_t len;
	size_t cap;
};
#define BUF_INIT {0}

void buf_done(struct buf *b);
void buf_reset(struct buf *b); /* len = 0, memory kept */
void buf_grow(struct buf *b, size_t n); /* of buf_reserve() */
/* Room for `n` more bytes; returns where they go. The caller adds to len. */
static inline uint8_t *buf_reserve(struct buf *b, size_t n)
{
	if (b->cap - b->len < n)
		buf_grow(b, n);
	return b->data + b->len;
}
void buf_add(struct buf *b, const void *data, size_t n);
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* NUL behind the bytes (not counted in len); returns the string. */
const char *buf_cstr(struct buf *b);

/* A bump allocator: many small objects freed together. Zeroed memory, 16-byte aligned. */
struct arena_block;
struct arena {
	struct arena_block *head;
	size_t used;
};
void *arena_alloc(struct arena *a, size_t n);
void *arena_copy(struct arena *a, const void *data, size_t n);
void arena_reset(struct arena *a); /* keeps one block */
void arena_done(struct arena *a);

/* malloc and friends that abort when memory is out. */
void *xmalloc(size_t n);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);

#endif
