/* message.c - schemas of the messages, and the way in and out; see message.h */
#include "proto/wire/message.h"

#include <string.h>

#include "proto/base/sha256.h"
#include "proto/model/unit.h"
#include "proto/wire/table_macros.h"

enum { TEXT_MAX = 1024 }; /* of an error message or a hint */
_Static_assert((int)ERR_MSG_BYTES <= (int)TEXT_MAX, "a message fits a reply");
_Static_assert((int)ERR_HINT_BYTES <= (int)TEXT_MAX, "a hint fits a reply");

#define T struct msg_hello
FIELDS(msg_hello) = {
	F(1, version_min), F(2, version_max), F(3, features), F(4, program),
	BYTES(10, node, AGENT_FRAME_BYTES_MAX),
};
#undef T
SCHEMA(msg_hello);

#define T struct msg_welcome
FIELDS(msg_welcome) = {
	F(1, version), F(3, features), F(4, program), F(5, cluster), F(6, uid), F(7, epoch),
	F(8, session), F(9, hb_ms), F(10, jitter_ms), F(11, server_ms), F(12, principal),
	ENUM(13, role, role_names), F(14, node), F(15, server_next),
};
#undef T
SCHEMA(msg_welcome);

#define T struct msg_ping
FIELDS(msg_ping) = {F(1, nonce), F(2, server_ms)};
#undef T
SCHEMA(msg_ping);

#define T struct msg_command
FIELDS(msg_command) = {
	F(1, type), F(2, idem_key), F(3, dry_run), BYTES(4, body, FRAME_BYTES_MAX),
	BYTES(5, payload, PAYLOAD_BYTES_MAX), F(6, approves), F(7, cluster),
};
#undef T
SCHEMA(msg_command);

#define T struct msg_reply
FIELDS(msg_reply) = {
	F(1, code), F(2, reason), F(3, seq), TEXT(4, message, TEXT_MAX), TEXT(5, hint, TEXT_MAX),
	SUB(6, result, result),
};
#undef T
SCHEMA(msg_reply);

#define T struct msg_view
FIELDS(msg_view) = {
	F(1, code), F(2, reason), F(3, seq), TEXT(4, message, TEXT_MAX), TEXT(5, hint, TEXT_MAX),
	F(6, type), BYTES(7, body, FRAME_BYTES_MAX), F(8, more),
};
#undef T
SCHEMA(msg_view);

#define T struct msg_desired
FIELDS(msg_desired) = {
	F(1, rev), F(2, epoch), F(3, session), LIST(4, units, UNITS_PER_NODE_MAX, unit),
};
#undef T
SCHEMA(msg_desired);

#define T struct msg_report
FIELDS(msg_report) = {
	F(1, rev_seen), F(2, epoch), F(3, session), F(4, incarnation), F(5, counter),
	LIST(6, units, UNITS_PER_NODE_MAX, unit_status),
};
#undef T
SCHEMA(msg_report);

#define T struct ack_row
FIELDS(ack_row) = {F(1, alloc), F(2, part), ENUM(3, state, unit_state_names)};
#undef T
SCHEMA(ack_row);

#define T struct msg_report_ack
FIELDS(msg_report_ack) = {F(1, counter), LIST(2, rows, UNITS_PER_NODE_MAX, ack_row)};
#undef T
SCHEMA(msg_report_ack);

#define T struct msg_heartbeat
FIELDS(msg_heartbeat) = {
	F(1, rev_seen), F(2, epoch), F(3, session), F(4, incarnation), F(5, counter),
};
#undef T
SCHEMA(msg_heartbeat);

#define T struct msg_payload_get
FIELDS(msg_payload_get) = {F(1, hash)};
#undef T
SCHEMA(msg_payload_get);

#define T struct msg_payload
FIELDS(msg_payload) = {F(1, code), F(2, hash), BYTES(3, data, PAYLOAD_BYTES_MAX)};
#undef T
SCHEMA(msg_payload);

#define T struct msg_relay
FIELDS(msg_relay) = {F(1, alloc), F(2, part), SUB(3, query, query)};
#undef T
SCHEMA(msg_relay);

#define T struct msg_output
FIELDS(msg_output) = {F(1, code), TEXT(2, message, TEXT_MAX), SUB(3, output, view_output)};
#undef T
SCHEMA(msg_output);

#define T struct msg_goodbye
FIELDS(msg_goodbye) = {F(1, code), TEXT(2, text, TEXT_MAX)};
#undef T
SCHEMA(msg_goodbye);

#define T struct msg_enrol
FIELDS(msg_enrol) = {F(1, secret), F(2, name), F(3, program)};
#undef T
SCHEMA(msg_enrol);

#define T struct msg_enrolled
FIELDS(msg_enrolled) = {
	F(1, cred), F(2, principal), F(3, node), F(4, cluster), ENUM(5, role, role_names),
	TEXT(6, agents, TEXT_MAX), TEXT(7, users, TEXT_MAX), F(8, server_key),
};
#undef T
SCHEMA(msg_enrolled);

const struct schema *const schema_all[] = {
#define X(name) &schema_##name,
	SCHEMA_TABLE(X)
	MESSAGE_SCHEMA_TABLE(X)
#undef X
	NULL,
};

const char *message_name(uint16_t type)
{
	switch (type) {
#define MESSAGE(name, number, type, doc) case number: return #name;
#include "proto/wire/messages.def"
#undef MESSAGE
	default: return NULL;
	}
}

const char *message_doc(uint16_t type)
{
	switch (type) {
#define MESSAGE(name, number, type, doc) case number: return doc;
#include "proto/wire/messages.def"
#undef MESSAGE
	default: return NULL;
	}
}

const struct schema *message_schema(uint16_t type)
{
	switch (type) {
#define MESSAGE(name, number, type, doc) case number: return &schema_##type;
#include "proto/wire/messages.def"
#undef MESSAGE
	default: return NULL;
	}
}

void message_encode(uint16_t type, uint64_t req, const void *obj, struct buf *out)
{
	const struct schema *schema = message_schema(type);

	ENSURE(schema);
	frame_encode(type, req, schema, obj, out);
}

int message_decode(const struct frame *frame, void *obj, struct arena *arena, struct err *err)
{
	const struct schema *schema = message_schema(frame->type);

	if (!schema)
		return err_set(err, ERR_UNSUPPORTED, "unknown message type 0x%04x",
			       (unsigned)frame->type);
	return schema_decode(schema, frame->body, frame->body_len, obj, arena, err);
}

void command_body_hash(uint16_t type, const void *body, size_t len, uint8_t ret_hash[16])
{
	uint8_t number[2] = {(uint8_t)(type >> 8), (uint8_t)type}, digest[SHA256_BYTES];
	struct sha256 s;

	sha256_init(&s);
	sha256_add(&s, number, sizeof number);
	sha256_add(&s, body, len);
	sha256_final(&s, digest);
	memcpy(ret_hash, digest, 16);
}

int command_decode(const struct msg_command *msg, struct command *cmd, struct arena *arena,
		   struct err *err)
{
	const struct schema *schema = schema_of_command(msg->type);

	memset(cmd, 0, sizeof *cmd);
	if (!schema)
		return err_set(err, ERR_UNSUPPORTED, "unknown command %u", (unsigned)msg->type);
	cmd->type = msg->type;
	cmd->dry_run = msg->dry_run;
	cmd->approves = msg->approves;
	memcpy(cmd->cluster, msg->cluster, sizeof cmd->cluster);
	cmd->body = msg->body;
	memcpy(cmd->idem_key, msg->idem_key, sizeof cmd->idem_key);
	command_body_hash(msg->type, msg->body.data, msg->body.len, cmd->body_hash);
	/* All bodies share the address of the anonymous union. */
	if (!msg->body.len)
		return 0;
	return schema_decode(schema, msg->body.data, msg->body.len, &cmd->tick, arena, err);
}
