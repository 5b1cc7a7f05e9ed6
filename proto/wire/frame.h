/* frame.h - the envelope of every message
 *
 *     0  4  magic "SLUI"
 *     4  1  version of the protocol, 1
 *     5  1  flags, 0
 *     6  2  message type, big-endian
 *     8  8  request id, big-endian: chosen by who asks, repeated in the answer
 *    16     one MessagePack map, the body
 *
 * What holds true of a decoded frame: the body is one whole MessagePack value of the canonical subset
 * (cursor.h), so every length in it has been compared with the bytes that are there.
 */
#ifndef SLUIS_PROTO_WIRE_FRAME_H
#define SLUIS_PROTO_WIRE_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/err.h"
#include "proto/wire/schema.h"

enum { FRAME_HEADER_BYTES = 16, FRAME_VERSION = 1 };

struct frame {
	uint8_t version;
	uint8_t flags;
	uint16_t type; /* perhaps of a later protocol: message_schema() tells */
	uint64_t req;
	const uint8_t *body; /* borrowed */
	size_t body_len;
};

/* Append header and body. ENSUREs that the frame stays within FRAME_BYTES_MAX. */
void frame_encode(uint16_t type, uint64_t req, const struct schema *schema, const void *obj,
		  struct buf *out);

/* Take a frame of `len` bytes apart. Returns 0; ERR_TRUNCATED; ERR_FORMAT (magic, flags, body);
 * ERR_VERSION; ERR_TOOBIG. From ERR_VERSION and later errors on, ret_frame->req and type are set,
 * so that the sender can be told. Allocates nothing, O(len). */
int frame_decode(const void *data, size_t len, struct frame *ret_frame, struct err *err) NODISCARD;

#endif
