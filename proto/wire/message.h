/* message.h - what travels in a frame
 *
 * The body of each message is one struct, encoded by its schema. Bodies that the daemon hands on
 * without reading (an agent's inventory, a command, a view) travel as bytes inside it and are decoded
 * by a schema of their own, so each step judges only what it needs.
 */
#ifndef SLUIS_PROTO_WIRE_MESSAGE_H
#define SLUIS_PROTO_WIRE_MESSAGE_H

#include "proto/base/buf.h"
#include "proto/base/err.h"
#include "proto/model/command.h"
#include "proto/model/view.h"
#include "proto/wire/frame.h"
#include "proto/wire/tables.h"

enum message_type {
#define MESSAGE(name, number, type, doc) MSG_##name = (number),
#include "proto/wire/messages.def"
#undef MESSAGE
};

enum { IDEM_KEY_BYTES = 16, ENROL_SECRET_BYTES = 32 };

/* Optional abilities, negotiated by HELLO and WELCOME; none so far. */
#define FEATURES_KNOWN UINT64_C(0)

struct msg_hello {
	uint16_t version_min; /* of the protocol */
	uint16_t version_max;
	uint64_t features;    /* bits the sender understands */
	char program[64];     /* "sluisctl 0.1.0" */
	struct bytes node;    /* an agent's cmd_node_hello, encoded; empty for others */
};

struct msg_welcome {
	uint16_t version;
	uint64_t features; /* bits both understand */
	char program[64];  /* "sluisd 0.1.0" */
	char cluster[NAME_BYTES];
	uint8_t uid[16];   /* of the cluster */
	uint64_t epoch;    /* rises with every start of the daemon */
	uint64_t session;  /* agents: names this greeting */
	int64_t hb_ms;     /* agents: heartbeat period */
	int64_t jitter_ms; /* agents: spread of the first report */
	int64_t server_ms; /* the daemon's wall clock */
	char principal[NAME_BYTES]; /* who the daemon takes the sender for */
	uint8_t role;      /* enum role */
	uint32_t node;     /* agents: id of their node */
	uint8_t server_next[32]; /* public key the server will have next; zero: no change is planned */
};

struct msg_ping {
	uint64_t nonce;
	int64_t server_ms; /* PONG: the daemon's wall clock */
};

struct msg_command {
	uint16_t type; /* enum command_type */
	uint8_t idem_key[IDEM_KEY_BYTES];
	bool dry_run;
	struct bytes body;    /* by schema_of_command(type) */
	struct bytes payload; /* what the body names by its hash: a job's payload, a division's text */
	uint64_t approves;    /* under dual control: the approval it brings into effect */
	uint8_t cluster[16];  /* uid of the cluster it is meant for; all zero: any */
};

struct msg_reply {
	int32_t code; /* 0 or an enum err_code */
	uint16_t reason;
	uint64_t seq; /* log position at which this is true */
	const char *message;
	const char *hint;
	struct result result;
};

struct msg_view {
	int32_t code;
	uint16_t reason;
	uint64_t seq;
	const char *message;
	const char *hint;
	uint16_t type;     /* of the query answered */
	struct bytes body; /* by schema_of_view(type); a further frame goes on with the list */
	bool more;
};

struct msg_desired {
	uint64_t rev;
	uint64_t epoch;
	uint64_t session;
	uint32_t units_n;
	struct unit *units;
};

struct msg_report {
	uint64_t rev_seen; /* newest DESIRED acted on */
	uint64_t epoch;
	uint64_t session;
	uint64_t incarnation;
	uint64_t counter; /* rises with every REPORT and HEARTBEAT */
	uint32_t units_n;
	struct unit_status *units;
};

struct ack_row { uint64_t alloc; uint16_t part; uint8_t state; /* enum unit_state */ };
struct msg_report_ack {
	uint64_t counter; /* of the REPORT */
	uint32_t rows_n;
	struct ack_row *rows;
};

struct msg_heartbeat {
	uint64_t rev_seen; /* ACK: newest rev of the daemon */
	uint64_t epoch;
	uint64_t session;
	uint64_t incarnation;
	uint64_t counter; /* ACK: the same */
};

struct msg_payload_get { uint8_t hash[32]; };
struct msg_payload {
	int32_t code;
	uint8_t hash[32];
	struct bytes data; /* struct payload, encoded; its SHA-256 is `hash` */
};

struct msg_relay {
	uint64_t alloc;
	uint16_t part;
	struct query query;
};
struct msg_output {
	int32_t code;
	const char *message;
	struct view_output output;
};

struct msg_goodbye {
	int32_t code; /* ERR_SUPERSEDED, ERR_REVOKED, ERR_INTERRUPTED (going down) ... */
	const char *text;
};

struct msg_enrol {
	uint8_t secret[ENROL_SECRET_BYTES];
	char name[NAME_BYTES]; /* node or principal */
	char program[64];
};
struct msg_enrolled {
	uint64_t cred;
	uint32_t principal;
	uint32_t node;
	char cluster[NAME_BYTES];
	uint8_t role; /* enum role */
	const char *agents; /* endpoint of the door for agents */
	const char *users;
	uint8_t server_key[32];
};

#define MESSAGE_SCHEMA_TABLE(X)                                                                    \
	X(msg_hello) X(msg_welcome) X(msg_ping) X(msg_command) X(msg_reply) X(msg_view)            \
	X(msg_desired) X(msg_report) X(ack_row) X(msg_report_ack) X(msg_heartbeat)                 \
	X(msg_payload_get) X(msg_payload) X(msg_relay) X(msg_output) X(msg_goodbye) X(msg_enrol)   \
	X(msg_enrolled)
#define X(name) extern const struct schema schema_##name;
MESSAGE_SCHEMA_TABLE(X)
#undef X

/* "COMMAND" ..., its one-line description, and the schema of its body; NULL for a foreign number. */
const char *message_name(uint16_t type);
const char *message_doc(uint16_t type);
const struct schema *message_schema(uint16_t type);

/* Append a whole frame. `type` is an enum message_type, `obj` its struct. */
void message_encode(uint16_t type, uint64_t req, const void *obj, struct buf *out);

/* Decode the body of `frame` into `obj`, the struct of frame->type. Nothing borrows the frame.
 * Returns 0; ERR_UNSUPPORTED for a type this build does not know; as schema_decode otherwise. */
int message_decode(const struct frame *frame, void *obj, struct arena *arena,
		   struct err *err) NODISCARD;

/* Decode the command inside a COMMAND: type, body, idempotency key and body hash; who speaks and
 * through which door is the caller's to fill. ERR_UNSUPPORTED for a foreign command type. */
int command_decode(const struct msg_command *msg, struct command *ret_cmd, struct arena *arena,
		   struct err *err) NODISCARD;

/* The hash that tells a repeated command from another one under the same idempotency key: the first
 * 16 bytes of SHA-256 over the type (two bytes, big-endian) and the encoded body. */
void command_body_hash(uint16_t type, const void *body, size_t len, uint8_t ret_hash[16]);

#endif
