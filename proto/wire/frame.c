/* frame.c - see frame.h */
#include "proto/wire/frame.h"

#include <string.h>

#include "proto/base/ensure.h"
#include "proto/base/limits.h"
#include "proto/wire/cursor.h"

static const uint8_t MAGIC[4] = {'S', 'L', 'U', 'I'};

void frame_encode(uint16_t type, uint64_t req, const struct schema *schema, const void *obj,
		  struct buf *out)
{
	size_t start = out->len;
	uint8_t *h = buf_reserve(out, FRAME_HEADER_BYTES);

	memcpy(h, MAGIC, sizeof MAGIC);
	h[4] = FRAME_VERSION;
	h[5] = 0;
	h[6] = (uint8_t)(type >> 8);
	h[7] = (uint8_t)type;
	for (int i = 0; i < 8; i++)
		h[8 + i] = (uint8_t)(req >> (56 - 8 * i));
	out->len += FRAME_HEADER_BYTES;
	schema_encode(schema, obj, out);
	ENSURE(out->len - start <= FRAME_BYTES_MAX);
}

int frame_decode(const void *data, size_t len, struct frame *f, struct err *err)
{
	const uint8_t *h = data;

	*f = (struct frame){0};
	if (len < FRAME_HEADER_BYTES)
		return err_set(err, ERR_TRUNCATED, "%zu bytes are no frame", len);
	if (memcmp(h, MAGIC, sizeof MAGIC) != 0)
		return err_set(err, ERR_FORMAT, "not a frame of sluis");
	f->version = h[4];
	f->flags = h[5];
	f->type = (uint16_t)(h[6] << 8 | h[7]);
	for (int i = 0; i < 8; i++)
		f->req = f->req << 8 | h[8 + i];
	f->body = h + FRAME_HEADER_BYTES;
	f->body_len = len - FRAME_HEADER_BYTES;
	if (f->version != FRAME_VERSION)
		return err_set(err, ERR_VERSION, "a frame of version %u, this build speaks %d",
			       (unsigned)f->version, FRAME_VERSION);
	if (f->flags)
		return err_set(err, ERR_FORMAT, "unknown flags 0x%02x", (unsigned)f->flags);
	if (len > FRAME_BYTES_MAX)
		return err_set(err, ERR_TOOBIG, "a frame of %zu bytes, at most %d", len,
			       (int)FRAME_BYTES_MAX);
	return wire_scan(f->body, f->body_len, err);
}
