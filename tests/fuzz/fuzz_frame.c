/* fuzz_frame.c - whatever arrives at a door
 *
 * Checks beside "no crash": what the scan accepts, msgpack-c accepts too and takes the same bytes;
 * what a message decodes to encodes back to the same bytes, unless an ignored key was in it; a command
 * inside a COMMAND likewise.
 */
#include <stdint.h>

#include <msgpack.h>

#include "proto/base/ensure.h"
#include "proto/wire/cursor.h"
#include "proto/wire/message.h"
#include "tests/lib/wire_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_command(const struct frame *f, struct arena *arena)
{
	struct msg_command msg;
	struct command cmd;

	if (f->type != MSG_COMMAND || message_decode(f, &msg, arena, NULL))
		return;
	if (command_decode(&msg, &cmd, arena, NULL) || !msg.body.len)
		return;
	wire_check_canonical(schema_of_command(msg.type), msg.body.data, msg.body.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(arena_done) struct arena arena = {0};
	struct frame f;
	struct err err;
	msgpack_unpacked u;
	size_t off = 0;

	if (frame_decode(data, size, &f, &err)) {
		ENSURE(err.msg[0]);
		return 0;
	}
	msgpack_unpacked_init(&u);
	ENSURE(msgpack_unpack_next(&u, (const char *)f.body, f.body_len, &off) == MSGPACK_UNPACK_SUCCESS);
	ENSURE(off == f.body_len);
	msgpack_unpacked_destroy(&u);
	if (!message_schema(f.type))
		return 0;
	wire_check_canonical(message_schema(f.type), f.body, f.body_len);
	check_command(&f, &arena);
	return 0;
}
