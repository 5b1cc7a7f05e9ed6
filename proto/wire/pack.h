/* pack.h - writing MessagePack into a buf
 *
 * The shortest form always, by msgpack-c's packer where it is more than one byte: with ascending keys that
 * makes the canonical encoding that cursor.h accepts.
 */
#ifndef SLUIS_PROTO_WIRE_PACK_H
#define SLUIS_PROTO_WIRE_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/buf.h"

void pack_uint(struct buf *b, uint64_t v);
void pack_int(struct buf *b, int64_t v);
void pack_bool(struct buf *b, bool v);
void pack_bin(struct buf *b, const void *data, uint32_t len);
/* `len` bytes of UTF-8. */
void pack_str(struct buf *b, const void *text, uint32_t len);
/* Headers: `n` values, or `n` pairs of key and value, follow. */
void pack_array(struct buf *b, uint32_t n);
void pack_map(struct buf *b, uint32_t n);

#endif
