/* client.h - what a program needs to talk to sluisd: one question, one answer
 *
 * Blocking, for programs without a loop. One object per connection and thread.
 *
 * What holds true:
 *  - A command leaves only after the server has greeted us. So when no greeting comes, nothing was
 *    sent and the caller may simply try again: ERR_UNREACHABLE, or ERR_DENIED when the key is refused.
 *  - A command that left is repeated under its idempotency key until it is answered or the time is
 *    up. Then the outcome is unknown: ERR_TIMEOUT, and the hint names the key under which the same
 *    command will not act twice.
 *  - An answer is matched by its request id; late answers to given-up requests are dropped.
 */
#ifndef SLUIS_PROTO_CLIENT_CLIENT_H
#define SLUIS_PROTO_CLIENT_CLIENT_H

#include "proto/client/token.h"
#include "proto/wire/message.h"

struct client;

struct client_opts {
	const char *endpoint;      /* tcp://HOST:PORT or ipc://PATH */
	const uint8_t *server_key; /* 32 bytes; NULL for ipc */
	const uint8_t *server_key_next; /* tried when that one fails; NULL: none */
	const char *key_file;      /* own key pair (link.h); NULL for ipc */
	const char *program;       /* "sluisctl 0.1.0" */
	void (*away)(void *arg);   /* called once when no greeting has come for three seconds, and is waited for on; NULL */
	void *arg;
};

struct client_reply {
	uint64_t seq;
	uint16_t reason;
	const char *message; /* a remark beside success; "" if none */
	const char *hint;
	struct result result;
};

/* Prepare a connection; nothing waits here. ERR_NOTFOUND, ERR_DENIED, ERR_FORMAT for the key file;
 * ERR_INVAL for the endpoint. The options are copied. */
int client_open(const struct client_opts *opts, struct client **ret_client,
		struct err *err) NODISCARD;
void client_free(struct client *c); /* accepts NULL */

/* Greet the server, if that has not been done. Every call below does it by itself.
 * 0; ERR_DENIED; ERR_UNREACHABLE; ERR_VERSION; ERR_INTERRUPTED. */
int client_greet(struct client *c, int timeout_ms, struct err *err) NODISCARD;
/* What the server said of itself; NULL before client_greet. */
const struct msg_welcome *client_welcome(const struct client *c);

/* A new random idempotency key. */
int client_idem_key(uint8_t ret_key[IDEM_KEY_BYTES], struct err *err) NODISCARD;
/* The key as 32 hex digits, and back (ERR_FORMAT). */
void client_idem_text(const uint8_t key[IDEM_KEY_BYTES], char ret_text[2 * IDEM_KEY_BYTES + 1]);
int client_idem_parse(const char *text, uint8_t ret_key[IDEM_KEY_BYTES], struct err *err) NODISCARD;

struct client_command {
	uint16_t type;            /* enum command_type */
	const void *body;         /* its struct */
	struct bytes payload;     /* may be empty */
	const uint8_t *idem_key;  /* NULL: a random one, but none for a renewal (renew_seq serves) */
	bool dry_run;
	uint64_t approves;        /* grant this approval: `body_sent` goes out instead of `body` */
	struct bytes body_sent;   /* the approval's own */
};
/* The server's key that the connection uses; NULL for ipc. Lives as long as the client. */
const uint8_t *client_server_key(const struct client *c);

/* Ask for a change. 0: done and durable, *ret_reply is filled from `arena`. The daemon's refusal comes
 * as its own code with message, hint and reason in `err`. Also ERR_UNREACHABLE and ERR_DENIED:
 * nothing was sent; ERR_TIMEOUT and ERR_INTERRUPTED after sending: unknown, see above. */
int client_command(struct client *c, const struct client_command *cmd, int timeout_ms,
		   struct client_reply *ret_reply, struct arena *arena, struct err *err) NODISCARD;

/* Ask to read. `ret_view` is the struct of schema_of_view(query->type). A view in several frames is put
 * together: lists are joined, single values come from the first frame. ERR_TOOBIG beyond
 * CLIENT_VIEW_BYTES_MAX. */
enum { CLIENT_VIEW_BYTES_MAX = 512 * 1024 * 1024 };
int client_query(struct client *c, const struct query *query, int timeout_ms, void *ret_view,
		 struct arena *arena, struct err *err) NODISCARD;

/* Join a cluster: make a key pair in `key_file`, or use the one an interrupted attempt left there, and
 * have it made known against the token. On refusal a key file made here is removed; when no answer
 * comes it stays, and the same call finishes the work.
 * 0; ERR_BADTOKEN; ERR_UNREACHABLE; ERR_TIMEOUT; the daemon's refusal; errors of the key file. */
int client_enrol(const struct join_token *token, const char *name, const char *program,
		 const char *key_file, int timeout_ms, struct msg_enrolled *ret_enrolled,
		 struct arena *arena, struct err *err) NODISCARD;

#endif
