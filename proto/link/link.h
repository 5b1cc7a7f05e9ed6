/* link.h - ZeroMQ sockets of sluis: doors (ROUTER, server side) and clients (DEALER)
 *
 * What holds true:
 *  - Who sent a message is what the ZAP handler said about the connection it came over (`ident`,
 *    from the User-Id property of the body frame). The routing id says only where a reply goes.
 *  - A TCP door speaks CURVE only. Doors AGENTS and USERS let in the keys of the published table,
 *    door ENROL any key (the application then asks for a token), door LOCAL whoever may open the
 *    ipc socket, as the kernel names them.
 *  - Nothing here blocks except link_client_wait and link_prove_refusal, nothing queues without
 *    bound, and closing never lingers.
 *  - A sent message is on its way, not delivered: commands need an answer of the application.
 *
 * One struct link_ctx per process; its doors and clients belong to the thread that runs the loop.
 * link_keys_publish and link_refusals may be called from any thread. Do not fork without exec.
 *
 * A message is one frame; behind a ROUTER it is [routing id][payload], without an empty delimiter.
 *
 * Source: ZeroMQ RFC 23 (ZMTP), 26 (CurveZMQ), 27 (ZAP); libzmq 4.3.4.
 */
#ifndef SLUIS_PROTO_LINK_LINK_H
#define SLUIS_PROTO_LINK_LINK_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

struct loop;
struct link_ctx;
struct link_door;
struct link_client;

enum {
	LINK_KEY_BYTES = 32,       /* a CURVE key */
	LINK_Z85_BYTES = 41,       /* the same as text, with NUL */
	LINK_PEER_BYTES_MAX = 255, /* a routing id (ZMTP's bound) */
	LINK_ENDPOINT_BYTES = 256,
	LINK_ADDRESS_BYTES = 64,
	LINK_REFUSALS_KEPT = 32,
};

/* ---- context ------------------------------------------------------------------------------------ */

struct link_ctx_opts {
	int io_threads;  /* 0: 1; take 2 above 5,000 agents */
	int max_sockets; /* 0: libzmq's 1023; counts sockets we open, not peers */
	bool zap;        /* run the ZAP handler: needed for doors, useless for clients */
};

int link_ctx_new(const struct link_ctx_opts *opts, struct link_ctx **ret_ctx,
		 struct err *err) NODISCARD;
/* Ends the ZAP thread. Every door and client has to be freed before. Accepts NULL. */
void link_ctx_free(struct link_ctx *ctx);

/* ---- keys --------------------------------------------------------------------------------------- */

/* A new CURVE key pair. ERR_UNSUPPORTED when libzmq was built without CURVE. */
int link_keypair(uint8_t ret_pub[LINK_KEY_BYTES], uint8_t ret_sec[LINK_KEY_BYTES],
		 struct err *err) NODISCARD;
/* The public key that belongs to a secret one. */
int link_public_of(const uint8_t sec[LINK_KEY_BYTES], uint8_t ret_pub[LINK_KEY_BYTES],
		   struct err *err) NODISCARD;
void link_z85_encode(const uint8_t key[LINK_KEY_BYTES], char ret_text[LINK_Z85_BYTES]);
/* Exactly 40 Z85 characters. ERR_FORMAT otherwise. */
int link_z85_decode(const char *text, uint8_t ret_key[LINK_KEY_BYTES], struct err *err) NODISCARD;

/* Write a new key file (0600, never over an existing one, synced with its folder):
 *     public-key: <40 characters>
 *     secret-key: <40 characters>
 * ERR_EXISTS; ERR_IO. Nothing is left behind on failure. */
int link_key_save(const char *path, const uint8_t pub[LINK_KEY_BYTES],
		  const uint8_t sec[LINK_KEY_BYTES], struct err *err) NODISCARD;
/* Read one. ERR_NOTFOUND; ERR_DENIED when group or others may open it (the hint names the chmod);
 * ERR_FORMAT, also when the two keys are not a pair. */
int link_key_load(const char *path, uint8_t ret_pub[LINK_KEY_BYTES],
		  uint8_t ret_sec[LINK_KEY_BYTES], struct err *err) NODISCARD;

/* ---- who may come in ---------------------------------------------------------------------------- */

enum link_door_kind { DOOR_AGENTS, DOOR_USERS, DOOR_ENROL, DOOR_LOCAL, DOOR_KINDS };
#define DOOR_BIT(kind) ((uint8_t)(1U << (kind)))

/* "agents", "users", "enrol", "local": also the ZAP domain. */
const char *link_door_kind_name(enum link_door_kind kind);

struct link_key {
	uint8_t pub[LINK_KEY_BYTES];
	uint64_t cred_id;
	uint8_t doors; /* DOOR_BIT(DOOR_AGENTS) | DOOR_BIT(DOOR_USERS) */
};

/* Replace the table of known keys by a copy of these `n`; counts for connections made from now on.
 * A connection that stands is not cut (ZeroMQ cannot): look the credential up on every message. Of
 * equal keys that are good for one door the lowest cred_id counts. O(n log n). */
void link_keys_publish(struct link_ctx *ctx, const struct link_key *keys, size_t n);
/* One more, without copying and sorting the others: O(n) to move what is behind it. */
void link_key_add(struct link_ctx *ctx, const struct link_key *key);

struct link_refusal {
	uint64_t count; /* serial number, from 1; gaps mean that older ones were overwritten */
	enum link_door_kind door;
	char address[LINK_ADDRESS_BYTES]; /* the peer's, as libzmq names it */
	char key[LINK_Z85_BYTES];         /* its public key; empty at door LOCAL */
};

/* Refused handshakes after serial `after`, oldest first, at most `max`; returns how many. */
size_t link_refusals(struct link_ctx *ctx, uint64_t after, struct link_refusal *ret, size_t max);

/* ---- doors -------------------------------------------------------------------------------------- */

struct link_peer {
	uint8_t len; /* 1..255 */
	uint8_t id[LINK_PEER_BYTES_MAX];
};

enum link_ident_kind { LINK_IDENT_CRED = 1, LINK_IDENT_KEY, LINK_IDENT_UID };
struct link_ident {
	enum link_ident_kind kind;
	uint64_t cred_id;            /* CRED: doors AGENTS and USERS */
	uint8_t key[LINK_KEY_BYTES]; /* KEY: door ENROL, the public key the peer proved to hold */
	uint32_t uid, gid;           /* UID: door LOCAL, from SO_PEERCRED at connect time */
	int32_t pid;
};

/* A received message. Holds a zmq message: never copy the struct; link_msg_done it once. */
struct link_msg {
	struct link_peer peer;
	struct link_ident ident;
	const uint8_t *data; /* owned by this struct */
	size_t len;
	alignas(void *) unsigned char frame[64];
};
void link_msg_done(struct link_msg *msg);

struct link_limits {
	size_t max_msg_bytes;  /* 0: 256 KiB for agents, 16 KiB for enrol, 1 MiB otherwise */
	int rcvhwm;            /* messages queued per peer; 0: 64 */
	int sndhwm;            /* 0: 256 */
	unsigned int ipc_mode; /* permission bits of the ipc socket; 0: 0660 */
};

struct link_door_stats {
	uint64_t received;
	uint64_t sent;
	uint64_t dropped_frames;   /* not exactly one payload frame */
	uint64_t dropped_identity; /* no or a strange User-Id: has to stay 0 */
	uint64_t unreachable;      /* sends to a peer that is gone */
	uint64_t full;             /* sends to a peer that does not read */
};

/* Open a door of `kind`. `endpoint` is tcp://HOST:PORT (port or host may be `*`; an IPv6 address in
 * brackets) for the CURVE doors and ipc:///PATH for LOCAL; `server_sec` is NULL for LOCAL. `limits`
 * may be NULL. Publish the keys first: a client that is refused does not come back by itself.
 * A stale ipc socket is removed, a living one is ERR_BUSY, another file there ERR_EXISTS;
 * link_door_free removes the socket file, if it is still ours. The umask changes for a moment.
 * ERR_INVAL; ERR_BUSY (address in use); ERR_STATE (no ZAP handler: everybody would be let in). */
int link_door_open(struct link_ctx *ctx, enum link_door_kind kind, const char *endpoint,
		   const uint8_t *server_sec, const struct link_limits *limits,
		   struct link_door **ret_door, struct err *err) NODISCARD;
void link_door_free(struct link_door *door); /* accepts NULL; ends its watch */

/* The endpoint with the real port. Borrowed, lives as long as the door. */
const char *link_door_endpoint(const struct link_door *door);
enum link_door_kind link_door_kind(const struct link_door *door);
struct link_door_stats link_door_stats(const struct link_door *door);

/* Next message, without waiting. 0: fill *ret_msg, to be ended with link_msg_done. ERR_AGAIN: none
 * now. What is dropped (see stats) counts towards a bound: ERR_AGAIN may come with messages left
 * when a peer sends much rubbish, then link_door_ready is still true. */
int link_door_recv(struct link_door *door, struct link_msg *ret_msg) NODISCARD;
/* More to receive? Asks ZeroMQ (ZMQ_EVENTS). */
bool link_door_ready(struct link_door *door);
/* Did its last turn in the loop leave messages behind, for being full? */
bool link_door_behind(const struct link_door *door);
/* How often every peer with messages waiting has had one taken. When this has risen by more than
 * link_door_depth, the most that waits of one peer, all that waited before has been taken, also where the
 * door has not been empty since. O(1). */
uint64_t link_door_rounds(const struct link_door *door);
uint64_t link_door_depth(const struct link_door *door);
/* Hand `len` bytes to the peer's queue. 0; ERR_UNREACHABLE: no such connection any more; ERR_AGAIN:
 * its queue is full. Never waits. The bytes are copied. */
int link_door_send(struct link_door *door, const struct link_peer *peer, const void *data,
		   size_t len) NODISCARD;

/* `msg` is borrowed for the call. The callback may send, and may free the door. */
typedef void link_door_fn(struct link_door *door, const struct link_msg *msg, void *arg);
/* Let `loop` receive for this door: at most `max_per_turn` messages a turn, one call each, and no more once they
 * are 2 MiB; fewer when turns cost much, so that they come to about 100 ms of processor time. Once per door;
 * the loop has to outlive it. */
int link_door_watch(struct loop *loop, struct link_door *door, link_door_fn *cb, void *arg,
		    unsigned int max_per_turn, struct err *err) NODISCARD;

/* Prove that a CURVE door refuses a key nobody knows: connect with a fresh one and see the handshake
 * fail for authentication. Waits up to `timeout_ms`. 0: refused, as it should. ERR_STATE: the key
 * was let in. ERR_TIMEOUT: no verdict, which proves nothing. Use on AGENTS and USERS before serving
 * (ENROL lets every key in and fails this by design). */
int link_prove_refusal(struct link_ctx *ctx, const char *endpoint,
		       const uint8_t server_pub[LINK_KEY_BYTES], int timeout_ms,
		       struct err *err) NODISCARD;

/* ---- clients ------------------------------------------------------------------------------------ */

struct link_client_opts {
	size_t max_msg_bytes; /* largest message taken in; 0: 16 MiB */
	int rcvhwm;           /* 0: 1000 */
	int sndhwm;           /* 0: 1000 */
	int reconnect_ms;     /* first wait before connecting again; 0: 500 */
	int reconnect_max_ms; /* it doubles up to here; 0: 30,000 */
};

/* Connect (in the background) to a door: CURVE when `server_pub` is given, with the own key pair;
 * all three NULL for ipc. `opts` may be NULL. Keys and endpoint are copied. */
int link_client_open(struct link_ctx *ctx, const char *endpoint, const uint8_t *server_pub,
		     const uint8_t *pub, const uint8_t *sec, const struct link_client_opts *opts,
		     struct link_client **ret_client, struct err *err) NODISCARD;
void link_client_free(struct link_client *client); /* accepts NULL; what is unsent is lost */

/* Close the socket and connect afresh; unsent and unread messages are lost. The way back after a
 * refusal, and when no answer comes: libzmq never retries a refused connection. A watch stays. */
int link_client_reopen(struct link_client *client, struct err *err) NODISCARD;

/* A key that the server has announced as its next: whenever link_client_reopen finds that no handshake
 * has succeeded, it tries the other of the two. Copied; the same as the present one: none. */
void link_client_server_next(struct link_client *client, const uint8_t server_pub[LINK_KEY_BYTES]);
/* The server's key in use; NULL for ipc. Borrowed. */
const uint8_t *link_client_server_key(const struct link_client *client);

/* Queue one message. 0; ERR_AGAIN: the queue is full (nobody there for long). */
int link_client_send(struct link_client *client, const void *data, size_t len) NODISCARD;
/* Next message without waiting; `peer` and `ident` stay zero. 0 or ERR_AGAIN. */
int link_client_recv(struct link_client *client, struct link_msg *ret_msg) NODISCARD;
/* Wait until a message can be received. 0; ERR_DENIED: the server refused this key; ERR_TIMEOUT;
 * ERR_INTERRUPTED: a signal came. For programs without a loop. */
int link_client_wait(struct link_client *client, int timeout_ms, struct err *err) NODISCARD;

/* Has the handshake succeeded and the connection not ended since? */
bool link_client_connected(struct link_client *client);
/* Did the server refuse us since the last (re)open? */
bool link_client_refused(struct link_client *client);
/* Did something take a connection at the endpoint, ever, whether or not it knew the handshake? */
bool link_client_reached(struct link_client *client);

enum link_client_event {
	LINK_CLIENT_MESSAGE,      /* msg is set */
	LINK_CLIENT_CONNECTED,    /* handshake done */
	LINK_CLIENT_DISCONNECTED, /* libzmq goes on trying */
	LINK_CLIENT_REFUSED,      /* libzmq gave up: link_client_reopen later, with back-off */
};
/* `msg` is borrowed for the call and NULL unless MESSAGE. The callback may send, reopen and free. */
typedef void link_client_fn(struct link_client *client, enum link_client_event event,
			    const struct link_msg *msg, void *arg);
/* Let `loop` receive for this client, at most `max_per_turn` messages a turn. Once per client; the
 * loop has to outlive it. Events and messages are each in order, but not with one another. */
int link_client_watch(struct loop *loop, struct link_client *client, link_client_fn *cb, void *arg,
		      unsigned int max_per_turn, struct err *err) NODISCARD;

#endif
