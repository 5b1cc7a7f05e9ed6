/* impl.h - what the parts of link share: keys.c zap.c door.c client.c; nobody else includes this */
#ifndef SLUIS_PROTO_LINK_IMPL_H
#define SLUIS_PROTO_LINK_IMPL_H

#include <pthread.h>
#include <zmq.h>

#include "proto/link/link.h"

_Static_assert(sizeof(zmq_msg_t) == sizeof(((struct link_msg *)NULL)->frame),
	       "link_msg.frame holds a zmq_msg_t");

enum {
	LINK_HANDSHAKE_MS = 30000, /* shorter makes a reconnect storm feed itself */
	LINK_KEEPALIVE_S = 10,	/* silence until the kernel asks, and between its questions */
	LINK_DEAD_MS = 30000,	/* without an answer: the connection is gone */
	LINK_BACKLOG = 4096,
	LINK_DROPS_PER_RECV = 16,
	/* In libzmq since 4.3.0; the name is behind ZMQ_BUILD_DRAFT_API, the option works without. */
	LINK_ZAP_ENFORCE_DOMAIN = 93,
};

struct link_ctx {
	void *zmq;
	unsigned int sockets; /* doors and clients open */
	unsigned int serial;  /* for names of monitors */

	bool zap;
	pthread_t zap_thread;
	void *zap_socket; /* the thread's */
	pthread_mutex_t lock; /* for what follows */
	struct link_key *keys; /* ascending by pub, then cred_id */
	size_t n_keys, keys_cap;
	struct link_refusal refusals[LINK_REFUSALS_KEPT]; /* ring */
	uint64_t n_refusals;
};

static inline zmq_msg_t *link_frame(struct link_msg *msg)
{
	return (zmq_msg_t *)(void *)msg->frame;
}

/* zap.c */
int link_zap_start(struct link_ctx *ctx, struct err *err) NODISCARD;
void link_zap_stop(struct link_ctx *ctx); /* after zmq_ctx_shutdown */

/* door.c: options that cannot fail on a live socket */
void link_set_int(void *socket, int option, int value);
void link_set_bytes(void *socket, int option, const void *data, size_t len);
/* Options that doors and clients have in common. */
void link_set_common(void *socket, const char *endpoint, int rcvhwm, int sndhwm,
		     size_t max_msg_bytes);
/* Is it tcp://HOST:PORT (`wildcard`: PORT may be `*`)? libzmq takes port 99999 for 34463. */
bool link_tcp_ok(const char *endpoint, bool wildcard);
/* Is it ipc:///PATH with a path that fits? */
bool link_ipc_ok(const char *endpoint);
/* Name what zmq_bind or zmq_connect said in errno. */
int link_endpoint_err(const char *what, const char *endpoint, struct err *err);
/* Receive the frame that has to be the only one left of its message; more frames are thrown away.
 * 0, ERR_AGAIN, or ERR_FORMAT when there were more (nothing to close then). */
int link_recv_last(void *socket, zmq_msg_t *ret_frame);
/* Does ZeroMQ have something to receive? Also makes it look at its mailbox. */
bool link_socket_ready(void *socket);
int link_socket_fd(void *socket);

/* client.c: watch a socket's handshakes. NULL with err set when out of sockets. */
void *link_monitor_open(struct link_ctx *ctx, void *socket, int events, struct err *err);
void link_monitor_close(void *socket, void *monitor);
/* Next event without waiting, or 0. */
int link_monitor_next(void *monitor);

#endif
