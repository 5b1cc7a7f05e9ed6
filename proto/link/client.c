/* client.c - the DEALER side, its monitor, and the proof that a door refuses
 *
 * What happens to the connection comes from libzmq's socket monitor: HANDSHAKE_SUCCEEDED,
 * DISCONNECTED, HANDSHAKE_FAILED_AUTH. After the last libzmq never connects again, so the way back is
 * a new socket (link_client_reopen). Socket and monitor each have a ZMQ_FD; the care door.c takes of
 * its one holds for both.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/link/impl.h"
#include "proto/link/loop.h"

enum { CLIENT_MAGIC = 0x636c6e74, MONITOR_EVENTS_PER_TURN = 64 };

struct link_client {
	uint32_t magic;
	struct link_ctx *ctx;
	void *socket, *monitor; /* both or none */
	char endpoint[LINK_ENDPOINT_BYTES];
	bool curve;
	uint8_t server_pub[LINK_KEY_BYTES], pub[LINK_KEY_BYTES], sec[LINK_KEY_BYTES];
	uint8_t next_pub[LINK_KEY_BYTES]; /* the other key the server may have */
	bool have_next;
	struct link_client_opts opts;

	bool connected, refused;
	bool reached;           /* something took a connection at the endpoint, ever */
	uint64_t connects;      /* handshakes that succeeded, ever */
	uint64_t told_connects; /* how many of them the callback knows */
	bool told_connected, told_refused;

	struct loop *loop; /* NULL: not watched */
	int socket_fd, monitor_fd;
	link_client_fn *cb;
	void *arg;
	unsigned int max_per_turn;
	struct loop_timer again;
	struct mono drained;
	bool *freed;
};

/* ---- monitor ------------------------------------------------------------------------------------ */

void *link_monitor_open(struct link_ctx *ctx, void *socket, int events, struct err *err)
{
	char name[48];
	void *monitor;

	(void)snprintf(name, sizeof(name), "inproc://link-monitor-%u", ctx->serial++);
	if (zmq_socket_monitor(socket, name, events) < 0) {
		(void)err_set(err, ERR_SYS, "cannot monitor a socket: %s", zmq_strerror(errno));
		return NULL;
	}
	monitor = zmq_socket(ctx->zmq, ZMQ_PAIR);
	if (monitor != NULL && zmq_connect(monitor, name) == 0)
		return monitor;
	(void)err_set(err, ERR_SYS, "cannot monitor a socket: %s", zmq_strerror(errno));
	link_monitor_close(socket, monitor);
	return NULL;
}

void link_monitor_close(void *socket, void *monitor)
{
	(void)zmq_socket_monitor(socket, NULL, 0);
	if (monitor != NULL) {
		link_set_int(monitor, ZMQ_LINGER, 0);
		ENSURE(zmq_close(monitor) == 0);
	}
}

int link_monitor_next(void *monitor)
{
	uint8_t head[6]; /* event, 16 bits; value, 32 bits; then a frame with the address */
	char address[LINK_ENDPOINT_BYTES];
	uint16_t event;
	int n;

	do
		n = zmq_recv(monitor, head, sizeof(head), ZMQ_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n != (int)sizeof(head))
		return 0;
	memcpy(&event, head, sizeof(event));
	do
		n = zmq_recv(monitor, address, sizeof(address), ZMQ_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return event;
}

/* ---- opening and closing ------------------------------------------------------------------------ */

static void client_unwatch(struct link_client *c)
{
	if (c->loop == NULL || c->socket == NULL)
		return;
	loop_del(c->loop, c->socket_fd);
	loop_del(c->loop, c->monitor_fd);
}

static void client_close(struct link_client *c)
{
	client_unwatch(c);
	if (c->socket == NULL)
		return;
	link_monitor_close(c->socket, c->monitor);
	ENSURE(zmq_close(c->socket) == 0);
	c->socket = c->monitor = NULL;
	c->connected = c->refused = c->told_refused = false;
}

static int client_connect(struct link_client *c, struct err *err)
{
	const struct link_client_opts *o = &c->opts;

	c->socket = zmq_socket(c->ctx->zmq, ZMQ_DEALER);
	if (c->socket == NULL)
		return err_set(err, ERR_SYS, "cannot make a socket: %s", zmq_strerror(errno));
	link_set_common(c->socket, c->endpoint, o->rcvhwm, o->sndhwm, o->max_msg_bytes);
	link_set_int(c->socket, ZMQ_RECONNECT_IVL, o->reconnect_ms);
	link_set_int(c->socket, ZMQ_RECONNECT_IVL_MAX, o->reconnect_max_ms);
	if (c->curve) {
		link_set_bytes(c->socket, ZMQ_CURVE_SERVERKEY, c->server_pub, LINK_KEY_BYTES);
		link_set_bytes(c->socket, ZMQ_CURVE_PUBLICKEY, c->pub, LINK_KEY_BYTES);
		link_set_bytes(c->socket, ZMQ_CURVE_SECRETKEY, c->sec, LINK_KEY_BYTES);
	}
	c->monitor = link_monitor_open(c->ctx, c->socket,
				       ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED |
				       ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_CONNECTED, err);
	if (c->monitor == NULL) {
		ENSURE(zmq_close(c->socket) == 0);
		c->socket = NULL;
		return ERR_SYS;
	}
	if (zmq_connect(c->socket, c->endpoint) < 0) {
		int rc = link_endpoint_err("connect to", c->endpoint, err);

		client_close(c);
		return rc;
	}
	return 0;
}

int link_client_open(struct link_ctx *ctx, const char *endpoint, const uint8_t *server_pub,
		     const uint8_t *pub, const uint8_t *sec, const struct link_client_opts *opts,
		     struct link_client **ret_client, struct err *err)
{
	bool ipc = link_ipc_ok(endpoint);
	struct link_client *c;
	int rc;

	ENSURE((server_pub != NULL) == (pub != NULL));
	ENSURE((server_pub != NULL) == (sec != NULL));
	if (!ipc && !link_tcp_ok(endpoint, false))
		return err_set(err, ERR_INVAL, "'%s' is not tcp://HOST:PORT or ipc:///PATH", endpoint);
	if (!ipc && server_pub == NULL)
		return err_set(err, ERR_INVAL, "'%s' needs the server's public key", endpoint);
	c = xcalloc(1, sizeof(*c));
	c->magic = CLIENT_MAGIC;
	c->ctx = ctx;
	memcpy(c->endpoint, endpoint, strlen(endpoint) + 1);
	c->curve = server_pub != NULL;
	if (c->curve) {
		memcpy(c->server_pub, server_pub, LINK_KEY_BYTES);
		memcpy(c->pub, pub, LINK_KEY_BYTES);
		memcpy(c->sec, sec, LINK_KEY_BYTES);
	}
	if (opts != NULL)
		c->opts = *opts;
	c->opts.max_msg_bytes = c->opts.max_msg_bytes ? c->opts.max_msg_bytes : (size_t)16 << 20;
	c->opts.rcvhwm = c->opts.rcvhwm ? c->opts.rcvhwm : 1000;
	c->opts.sndhwm = c->opts.sndhwm ? c->opts.sndhwm : 1000;
	c->opts.reconnect_ms = c->opts.reconnect_ms ? c->opts.reconnect_ms : 500;
	c->opts.reconnect_max_ms = c->opts.reconnect_max_ms ? c->opts.reconnect_max_ms : 30000;
	ctx->sockets++;
	rc = client_connect(c, err);
	if (rc < 0) {
		link_client_free(c);
		return rc;
	}
	*ret_client = c;
	return 0;
}

void link_client_free(struct link_client *client)
{
	int saved = errno;

	if (client == NULL)
		return;
	ENSURE(client->magic == CLIENT_MAGIC);
	client_close(client);
	if (client->loop != NULL)
		loop_timer_cancel(client->loop, &client->again);
	if (client->freed != NULL)
		*client->freed = true;
	client->ctx->sockets--;
	explicit_bzero(client, sizeof(*client));
	free(client);
	errno = saved;
}

/* ---- messages ----------------------------------------------------------------------------------- */

/* Learn what the monitor has to tell. */
static void client_learn(struct link_client *c)
{
	int event;

	if (c->monitor == NULL)
		return;
	for (int i = 0; i < MONITOR_EVENTS_PER_TURN; i++) {
		event = link_monitor_next(c->monitor);
		if (event == 0)
			return;
		if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
			c->connected = true;
			c->connects++;
		} else if (event == ZMQ_EVENT_CONNECTED) {
			c->reached = true;
		} else if (event == ZMQ_EVENT_DISCONNECTED) {
			c->connected = false;
		} else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) {
			c->connected = false;
			c->refused = true;
		}
	}
}

bool link_client_connected(struct link_client *client)
{
	client_learn(client);
	return client->connected;
}

bool link_client_refused(struct link_client *client)
{
	client_learn(client);
	return client->refused;
}

bool link_client_reached(struct link_client *client)
{
	client_learn(client);
	return client->reached;
}

static void client_soon(struct link_client *c)
{
	if (c->loop != NULL && !loop_timer_armed(&c->again))
		loop_timer_after(c->loop, &c->again, 0);
}

int link_client_send(struct link_client *client, const void *data, size_t len)
{
	int rc;

	ENSURE(client->magic == CLIENT_MAGIC);
	if (client->socket == NULL)
		return ERR_AGAIN;
	do
		rc = zmq_send(client->socket, data, len, ZMQ_DONTWAIT);
	while (rc < 0 && errno == EINTR);
	client_soon(client);
	if (rc >= 0)
		return 0;
	if (errno == ENOMEM)
		memory_out(len);
	ENSURE(errno == EAGAIN);
	return ERR_AGAIN;
}

int link_client_recv(struct link_client *client, struct link_msg *ret_msg)
{
	ENSURE(client->magic == CLIENT_MAGIC);
	if (client->socket == NULL)
		return ERR_AGAIN;
	for (int i = 0; i < LINK_DROPS_PER_RECV; i++) {
		int rc = link_recv_last(client->socket, link_frame(ret_msg));

		if (rc == ERR_FORMAT)
			continue; /* no server of ours sends several frames */
		if (rc < 0)
			return rc;
		ret_msg->peer.len = 0;
		ret_msg->ident = (struct link_ident){0};
		ret_msg->data = zmq_msg_data(link_frame(ret_msg));
		ret_msg->len = zmq_msg_size(link_frame(ret_msg));
		return 0;
	}
	return ERR_AGAIN;
}

static int refused_err(const struct link_client *c, struct err *err)
{
	char z85[LINK_Z85_BYTES];

	(void)err_set(err, ERR_DENIED, "'%s' does not let us in", c->endpoint);
	if (c->curve) {
		link_z85_encode(c->pub, z85);
		(void)err_hint(err, "the server does not know this key; its public part is %s", z85);
	} else {
		(void)err_hint(err, "the server does not accept local connections of this user");
	}
	return ERR_DENIED;
}

int link_client_wait(struct link_client *client, int timeout_ms, struct err *err)
{
	int64_t deadline = mono_ms(mono_now()) + timeout_ms;

	ENSURE(timeout_ms >= 0);
	if (client->socket == NULL)
		return err_set(err, ERR_STATE, "not connected to '%s'", client->endpoint);
	for (;;) {
		zmq_pollitem_t items[2] = {{.socket = client->socket, .events = ZMQ_POLLIN},
					   {.socket = client->monitor, .events = ZMQ_POLLIN}};
		int64_t left = deadline - mono_ms(mono_now());

		if (zmq_poll(items, 2, left > 0 ? (long)left : 0) < 0) {
			if (errno == EINTR)
				return err_set(err, ERR_INTERRUPTED, "interrupted");
			return err_set(err, ERR_SYS, "cannot wait: %s", zmq_strerror(errno));
		}
		if (items[0].revents & ZMQ_POLLIN)
			return 0;
		client_learn(client);
		if (client->refused)
			return refused_err(client, err);
		if (left <= 0)
			return err_set(err, ERR_TIMEOUT, "no answer from '%s' within %d ms",
				       client->endpoint, timeout_ms);
	}
}

/* ---- in the loop -------------------------------------------------------------------------------- */

/* Call back for what changed. False when the callback freed the client. */
static bool client_tell(struct link_client *c, const bool *freed)
{
	while (c->told_connects != c->connects || c->told_connected != c->connected ||
	       c->told_refused != c->refused) {
		enum link_client_event event;

		if (c->told_connected && (c->told_connects != c->connects || !c->connected)) {
			event = LINK_CLIENT_DISCONNECTED;
			c->told_connected = false;
		} else if (c->told_connects != c->connects) {
			event = LINK_CLIENT_CONNECTED; /* of several we missed, the last */
			c->told_connects = c->connects;
			c->told_connected = true;
		} else {
			event = LINK_CLIENT_REFUSED;
			c->told_refused = true;
		}
		c->cb(c, event, NULL, c->arg);
		if (*freed)
			return false;
	}
	return true;
}

static void client_drain(struct link_client *c)
{
	bool freed = false;

	c->drained = loop_now(c->loop);
	c->freed = &freed;
	client_learn(c);
	if (!client_tell(c, &freed))
		return;
	for (unsigned int n = 0; n < c->max_per_turn; n++) {
		struct link_msg msg;

		if (link_client_recv(c, &msg) < 0)
			break;
		c->cb(c, LINK_CLIENT_MESSAGE, &msg, c->arg);
		link_msg_done(&msg);
		if (freed)
			return;
	}
	c->freed = NULL;
	if (c->socket != NULL && (link_socket_ready(c->socket) || link_socket_ready(c->monitor)))
		client_soon(c);
}

static void client_again(struct loop *loop, struct loop_timer *timer, void *arg)
{
	(void)loop;
	(void)timer;
	client_drain(arg);
}

static void client_fd_ready(struct loop *loop, int fd, uint32_t events, void *arg)
{
	struct link_client *c = arg;

	(void)fd;
	(void)events;
	ENSURE(c->magic == CLIENT_MAGIC);
	/* Once a turn; see door.c. */
	if (c->drained.ns != loop_now(loop).ns)
		client_drain(c);
}

static int client_watch_fds(struct link_client *c, struct err *err)
{
	int rc;

	c->socket_fd = link_socket_fd(c->socket);
	c->monitor_fd = link_socket_fd(c->monitor);
	rc = loop_add_fd(c->loop, c->socket_fd, EPOLLIN, client_fd_ready, c, err);
	if (rc == 0)
		rc = loop_add_fd(c->loop, c->monitor_fd, EPOLLIN, client_fd_ready, c, err);
	if (rc < 0)
		client_unwatch(c);
	else
		client_soon(c); /* what came before the watch */
	return rc;
}

int link_client_watch(struct loop *loop, struct link_client *client, link_client_fn *cb, void *arg,
		      unsigned int max_per_turn, struct err *err)
{
	int rc;

	ENSURE(client->loop == NULL);
	ENSURE(client->socket != NULL);
	ENSURE(max_per_turn > 0);
	client->loop = loop;
	client->cb = cb;
	client->arg = arg;
	client->max_per_turn = max_per_turn;
	client->again = (struct loop_timer)LOOP_TIMER_INIT(client_again, client);
	rc = client_watch_fds(client, err);
	if (rc < 0)
		client->loop = NULL;
	return rc;
}

/* A server that does not hold the key we expect drops the handshake without a word, so one that was
 * neither finished nor refused is the sign to try the other key. */
static void other_key(struct link_client *c)
{
	uint8_t key[LINK_KEY_BYTES];

	client_learn(c);
	if (!c->have_next || c->connected || c->refused)
		return;
	memcpy(key, c->server_pub, sizeof key);
	memcpy(c->server_pub, c->next_pub, sizeof key);
	memcpy(c->next_pub, key, sizeof key);
}

void link_client_server_next(struct link_client *client, const uint8_t server_pub[LINK_KEY_BYTES])
{
	ENSURE(client->magic == CLIENT_MAGIC && client->curve);
	memcpy(client->next_pub, server_pub, LINK_KEY_BYTES);
	client->have_next = memcmp(client->next_pub, client->server_pub, LINK_KEY_BYTES) != 0;
}

const uint8_t *link_client_server_key(const struct link_client *client)
{
	ENSURE(client->magic == CLIENT_MAGIC);
	return client->curve ? client->server_pub : NULL;
}

int link_client_reopen(struct link_client *client, struct err *err)
{
	int rc;

	ENSURE(client->magic == CLIENT_MAGIC);
	other_key(client);
	client_close(client);
	rc = client_connect(client, err);
	if (rc == 0 && client->loop != NULL) {
		rc = client_watch_fds(client, err);
		if (rc < 0)
			client_close(client);
	}
	return rc;
}

/* ---- the proof ---------------------------------------------------------------------------------- */

static int refusal_verdict(void *monitor, const char *endpoint, int timeout_ms, struct err *err)
{
	int64_t deadline = mono_ms(mono_now()) + timeout_ms, left;
	zmq_pollitem_t item = {.socket = monitor, .events = ZMQ_POLLIN};

	while ((left = deadline - mono_ms(mono_now())) > 0) {
		int event;

		if (zmq_poll(&item, 1, (long)left) < 0 && errno != EINTR)
			return err_set(err, ERR_SYS, "cannot wait: %s", zmq_strerror(errno));
		event = link_monitor_next(monitor);
		if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
			return 0;
		if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
			(void)err_set(err, ERR_STATE, "'%s' lets in a key that nobody knows", endpoint);
			(void)err_hint(err, "do not serve: the ZAP handler does not work");
			return ERR_STATE;
		}
	}
	return err_set(err, ERR_TIMEOUT, "'%s' neither refused nor accepted a random key in %d ms",
		       endpoint, timeout_ms);
}

int link_prove_refusal(struct link_ctx *ctx, const char *endpoint,
		       const uint8_t server_pub[LINK_KEY_BYTES], int timeout_ms, struct err *err)
{
	uint8_t pub[LINK_KEY_BYTES], sec[LINK_KEY_BYTES];
	struct link_client_opts opts = {.reconnect_ms = 100, .reconnect_max_ms = 1000};
	struct link_client *client;
	int rc;

	rc = link_keypair(pub, sec, err);
	if (rc < 0)
		return rc;
	rc = link_client_open(ctx, endpoint, server_pub, pub, sec, &opts, &client, err);
	if (rc < 0)
		return rc;
	rc = refusal_verdict(client->monitor, endpoint, timeout_ms, err);
	link_client_free(client);
	return rc;
}
