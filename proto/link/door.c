/* door.c - the context and the server's sockets
 *
 * ZMQ_FD tells of new work only once: after it woke us, and after every send (which may read
 * ZeroMQ's mailbox and swallow the wake-up), ZMQ_EVENTS has to be asked again. So a watched door has
 * a timer `again`, set to "now" after a send and when a turn ends with messages left; it costs one
 * turn that does not wait.
 *
 * Whether a connection still stands is the kernel's to find out (keepalive, TCP_USER_TIMEOUT). ZeroMQ's own
 * heartbeats would arm a timer per connection and take it back with each message, which libzmq does by
 * walking all timers of the I/O thread: with 10,000 agents that was most of what sluisd did.
 *
 * ROUTER takes one message in turn from each peer that has some (fq.cpp). So between two messages of one peer every
 * other one that waits has had one taken: that is a round, counted by a sentinel. One that does not speak for long is
 * replaced by the next peer that does; how long doubles each time, so that it comes to more than there are peers.
 *
 * User-Id is read from the body frame: libzmq 4.3.4 can lose the properties of the first one.
 *
 * ROUTER_HANDOVER stays off: with it a peer takes over another one's routing id and its replies.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/link/guarded.h"
#include "proto/link/impl.h"
#include "proto/link/loop.h"

enum {
	DOOR_MAGIC = 0x646f6f72,
	PATIENCE_MIN = 64, /* messages of others until a sentinel that does not speak is given up */
	TURN_BYTES = 2 << 20, /* taken in one turn of the loop */
	TURN_MIN = 16,	      /* messages taken in one turn: this many when they are dear, */
	TURN_FIRST = 64,      /* in the first turn that finds some, and ever more while turns are short */
	TURN_MS = 100,
};

struct link_door {
	uint32_t magic;
	struct link_ctx *ctx;
	void *socket;
	enum link_door_kind kind;
	char endpoint[LINK_ENDPOINT_BYTES];
	struct stat ipc_file; /* st_ino 0: none */
	struct link_door_stats stats;

	struct loop *loop; /* NULL: not watched */
	int fd;
	link_door_fn *cb;
	void *arg;
	unsigned int max_per_turn, per_turn;
	struct loop_timer again;
	int64_t cpu_ns; /* of this thread, when that turn began */
	struct mono drained; /* the turn that did it last */
	bool behind; /* messages were left then, or are being taken */
	int depth;   /* messages of one peer that may wait here */
	struct link_peer sentinel; /* rounds are counted by it */
	uint64_t others, patience; /* messages since it had its turn, and how many it may be */
	uint64_t rounds;
	bool *freed; /* set while the callback runs: link_door_free says so there */
};

/* ---- sockets in general ------------------------------------------------------------------------- */

void link_set_int(void *socket, int option, int value)
{
	link_set_bytes(socket, option, &value, sizeof(value));
}

void link_set_bytes(void *socket, int option, const void *data, size_t len)
{
	ENSURE(zmq_setsockopt(socket, option, data, len) == 0);
}

void link_set_common(void *socket, const char *endpoint, int rcvhwm, int sndhwm,
		     size_t max_msg_bytes)
{
	int64_t max = (int64_t)max_msg_bytes;

	link_set_int(socket, ZMQ_LINGER, 0);
	link_set_int(socket, ZMQ_RCVHWM, rcvhwm);
	link_set_int(socket, ZMQ_SNDHWM, sndhwm);
	link_set_bytes(socket, ZMQ_MAXMSGSIZE, &max, sizeof(max));
	link_set_int(socket, ZMQ_HANDSHAKE_IVL, LINK_HANDSHAKE_MS);
	link_set_int(socket, ZMQ_TCP_KEEPALIVE, 1);
	link_set_int(socket, ZMQ_TCP_KEEPALIVE_IDLE, LINK_KEEPALIVE_S);
	link_set_int(socket, ZMQ_TCP_KEEPALIVE_INTVL, LINK_KEEPALIVE_S);
	link_set_int(socket, ZMQ_TCP_MAXRT, LINK_DEAD_MS);
	/* Only where IPv6 is meant: with it "localhost" is ::1, where an IPv4 door does not listen. */
	link_set_int(socket, ZMQ_IPV6, strchr(endpoint, '[') != NULL);
}

int link_endpoint_err(const char *what, const char *endpoint, struct err *err)
{
	int code;

	switch (errno) {
	case EADDRINUSE:
		code = ERR_BUSY;
		break;
	case EACCES:
	case EPERM:
		code = ERR_DENIED;
		break;
	case EINVAL:
	case ENODEV:
	case EADDRNOTAVAIL:
	case EPROTONOSUPPORT:
	case ENOCOMPATPROTO:
	case ENOENT:
	case ENAMETOOLONG:
		code = ERR_INVAL;
		break;
	default:
		code = ERR_SYS;
		break;
	}
	return err_set(err, code, "cannot %s '%s': %s", what, endpoint, zmq_strerror(errno));
}

bool link_tcp_ok(const char *endpoint, bool wildcard)
{
	const char *colon = strrchr(endpoint, ':');
	size_t digits;

	if (strncmp(endpoint, "tcp://", 6) != 0 || strlen(endpoint) >= LINK_ENDPOINT_BYTES ||
	    colon <= endpoint + 6)
		return false;
	if (strcmp(colon + 1, "*") == 0)
		return wildcard;
	digits = strspn(colon + 1, "0123456789");
	return digits > 0 && digits <= 5 && colon[1 + digits] == '\0' && atoi(colon + 1) >= 1 &&
	       atoi(colon + 1) <= UINT16_MAX;
}

bool link_ipc_ok(const char *endpoint)
{
	/* '@' would be an abstract name, '*' a name libzmq makes up: neither has a mode. */
	return strncmp(endpoint, "ipc:///", 7) == 0 &&
	       strlen(endpoint + 6) < sizeof(((struct sockaddr_un *)NULL)->sun_path);
}

bool link_socket_ready(void *socket)
{
	int events = 0;
	size_t size = sizeof(events);

	ENSURE(zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size) == 0);
	return (events & ZMQ_POLLIN) != 0;
}

int link_socket_fd(void *socket)
{
	int fd = -1;
	size_t size = sizeof(fd);

	ENSURE(zmq_getsockopt(socket, ZMQ_FD, &fd, &size) == 0);
	return fd;
}

static int recv_frame(void *socket, zmq_msg_t *frame)
{
	int rc;

	ENSURE(zmq_msg_init(frame) == 0);
	do
		rc = zmq_msg_recv(frame, socket, ZMQ_DONTWAIT);
	while (rc < 0 && errno == EINTR);
	if (rc >= 0)
		return 0;
	ENSURE(errno == EAGAIN);
	(void)zmq_msg_close(frame);
	return ERR_AGAIN;
}

int link_recv_last(void *socket, zmq_msg_t *ret_frame)
{
	int rc = recv_frame(socket, ret_frame);

	if (rc < 0 || !zmq_msg_more(ret_frame))
		return rc;
	while (rc == 0 && zmq_msg_more(ret_frame)) {
		(void)zmq_msg_close(ret_frame);
		rc = recv_frame(socket, ret_frame);
		ENSURE(rc == 0); /* libzmq hands out whole messages only */
	}
	(void)zmq_msg_close(ret_frame);
	return ERR_FORMAT;
}

int link_ctx_new(const struct link_ctx_opts *opts, struct link_ctx **ret_ctx, struct err *err)
{
	struct link_ctx *ctx = xcalloc(1, sizeof(*ctx));
	int rc;

	ENSURE(pthread_mutex_init(&ctx->lock, NULL) == 0);
	guarded_use();
	ctx->zmq = zmq_ctx_new();
	if (ctx->zmq == NULL) {
		link_ctx_free(ctx);
		return err_set_errno(err, ERR_SYS, "cannot make a ZeroMQ context");
	}
	if (!zmq_has("curve")) {
		link_ctx_free(ctx);
		return err_set(err, ERR_UNSUPPORTED, "this libzmq was built without CURVE");
	}
	(void)zmq_ctx_set(ctx->zmq, ZMQ_BLOCKY, 0);
	if ((opts->io_threads > 0 && zmq_ctx_set(ctx->zmq, ZMQ_IO_THREADS, opts->io_threads) < 0) ||
	    (opts->max_sockets > 0 &&
	     zmq_ctx_set(ctx->zmq, ZMQ_MAX_SOCKETS, opts->max_sockets) < 0)) {
		link_ctx_free(ctx);
		return err_set(err, ERR_RANGE, "ZeroMQ does not take %d I/O threads, %d sockets",
			       opts->io_threads, opts->max_sockets);
	}
	rc = opts->zap ? link_zap_start(ctx, err) : 0;
	if (rc < 0) {
		link_ctx_free(ctx);
		return rc;
	}
	*ret_ctx = ctx;
	return 0;
}

void link_ctx_free(struct link_ctx *ctx)
{
	int saved = errno;

	if (ctx == NULL)
		return;
	ENSURE(ctx->sockets == 0);
	if (ctx->zmq != NULL)
		(void)zmq_ctx_shutdown(ctx->zmq);
	link_zap_stop(ctx);
	while (ctx->zmq != NULL && zmq_ctx_term(ctx->zmq) < 0 && errno == EINTR)
		;
	pthread_mutex_destroy(&ctx->lock);
	free(ctx->keys);
	free(ctx);
	errno = saved;
}

/* ---- opening a door ----------------------------------------------------------------------------- */

/* Is there something at the ipc path? libzmq would unlink it whatever it is, so we look first. */
static int ipc_path_free(const char *path, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct stat st;
	int fd, rc;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_set_errno(err, ERR_INVAL, "cannot look at '%s'", path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, ERR_EXISTS, "'%s' exists and is not a socket", path);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set_errno(err, ERR_SYS, "cannot make a socket");
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0 || errno != ECONNREFUSED) {
		rc = err_set(err, ERR_BUSY, "'%s' is in use", path);
		(void)err_hint(err, "another instance is running; stop it first");
	} else {
		rc = unlink(path) == 0 || errno == ENOENT
			? 0
			: err_set_errno(err, ERR_DENIED, "cannot remove the stale socket '%s'", path);
	}
	close(fd);
	return rc;
}

static int door_bind(struct link_door *door, const char *endpoint, unsigned int ipc_mode,
		     struct err *err)
{
	size_t size = sizeof(door->endpoint);
	mode_t before;
	int rc;

	if (door->kind == DOOR_LOCAL) {
		rc = ipc_path_free(endpoint + strlen("ipc://"), err);
		if (rc < 0)
			return rc;
		before = umask((mode_t)(0777 & ~ipc_mode)); /* never open wider, not for a moment */
		rc = zmq_bind(door->socket, endpoint);
		umask(before);
	} else {
		rc = zmq_bind(door->socket, endpoint);
	}
	if (rc < 0)
		return link_endpoint_err("open", endpoint, err);
	ENSURE(zmq_getsockopt(door->socket, ZMQ_LAST_ENDPOINT, door->endpoint, &size) == 0);
	if (door->kind == DOOR_LOCAL && lstat(endpoint + strlen("ipc://"), &door->ipc_file) < 0)
		return err_set_errno(err, ERR_SYS, "cannot look at '%s'", endpoint);
	return 0;
}

/* Take our socket file away, if it is still ours; libzmq leaves it. */
static void ipc_remove(const struct link_door *door)
{
	const char *path = door->endpoint + strlen("ipc://");
	struct stat st;

	if (door->kind == DOOR_LOCAL && door->ipc_file.st_ino != 0 && lstat(path, &st) == 0 &&
	    st.st_dev == door->ipc_file.st_dev && st.st_ino == door->ipc_file.st_ino)
		(void)unlink(path); /* a stale one is removed at the next start */
}

static size_t max_msg_default(enum link_door_kind kind)
{
	return kind == DOOR_AGENTS ? (size_t)256 << 10 : kind == DOOR_ENROL ? (size_t)16 << 10
									     : (size_t)1 << 20;
}

static void door_again(struct loop *loop, struct loop_timer *timer, void *arg);

int link_door_open(struct link_ctx *ctx, enum link_door_kind kind, const char *endpoint,
		   const uint8_t *server_sec, const struct link_limits *limits,
		   struct link_door **ret_door, struct err *err)
{
	const char *domain = link_door_kind_name(kind);
	struct link_limits lim = limits != NULL ? *limits : (struct link_limits){0};
	struct link_door *door;
	int rc;

	ENSURE((server_sec != NULL) == (kind != DOOR_LOCAL));
	if (!ctx->zap)
		return err_set(err, ERR_STATE, "door %s needs the ZAP handler", domain);
	if (!(kind == DOOR_LOCAL ? link_ipc_ok(endpoint) : link_tcp_ok(endpoint, true)))
		return err_set(err, ERR_INVAL, "door %s: '%s' is not %s", domain, endpoint,
			       kind == DOOR_LOCAL ? "ipc:///PATH" : "tcp://HOST:PORT");
	if (lim.rcvhwm < 0 || lim.sndhwm < 0 || lim.max_msg_bytes > INT32_MAX)
		return err_set(err, ERR_RANGE, "door %s: limits out of range", domain);
	door = xcalloc(1, sizeof(*door));
	*door = (struct link_door){.magic = DOOR_MAGIC, .ctx = ctx, .kind = kind, .fd = -1,
				   .again = LOOP_TIMER_INIT(door_again, door)};
	door->socket = zmq_socket(ctx->zmq, ZMQ_ROUTER);
	if (door->socket == NULL) {
		free(door);
		return err_set(err, ERR_SYS, "cannot make a socket: %s", zmq_strerror(errno));
	}
	ctx->sockets++;
	door->depth = lim.rcvhwm ? lim.rcvhwm : 64;
	link_set_common(door->socket, endpoint, door->depth, lim.sndhwm ? lim.sndhwm : 256,
			lim.max_msg_bytes ? lim.max_msg_bytes : max_msg_default(kind));
	link_set_int(door->socket, ZMQ_ROUTER_MANDATORY, 1);
	link_set_int(door->socket, ZMQ_BACKLOG, LINK_BACKLOG);
	link_set_bytes(door->socket, ZMQ_ZAP_DOMAIN, domain, strlen(domain));
	link_set_int(door->socket, LINK_ZAP_ENFORCE_DOMAIN, 1);
	if (kind != DOOR_LOCAL) {
		link_set_int(door->socket, ZMQ_CURVE_SERVER, 1);
		link_set_bytes(door->socket, ZMQ_CURVE_SECRETKEY, server_sec, LINK_KEY_BYTES);
	}
	rc = door_bind(door, endpoint, lim.ipc_mode ? lim.ipc_mode : 0660, err);
	if (rc < 0) {
		link_door_free(door);
		return rc;
	}
	*ret_door = door;
	return 0;
}

void link_door_free(struct link_door *door)
{
	int saved = errno;

	if (door == NULL)
		return;
	ENSURE(door->magic == DOOR_MAGIC);
	if (door->loop != NULL) {
		loop_timer_cancel(door->loop, &door->again);
		loop_del(door->loop, door->fd);
	}
	if (door->freed != NULL)
		*door->freed = true;
	ipc_remove(door);
	ENSURE(zmq_close(door->socket) == 0);
	door->ctx->sockets--;
	door->magic = 0;
	free(door);
	errno = saved;
}

const char *link_door_endpoint(const struct link_door *door)
{
	return door->endpoint;
}

enum link_door_kind link_door_kind(const struct link_door *door)
{
	return door->kind;
}

struct link_door_stats link_door_stats(const struct link_door *door)
{
	return door->stats;
}

/* ---- messages ----------------------------------------------------------------------------------- */

/* Read back what zap.c wrote, for this kind of door only. */
static bool ident_parse(enum link_door_kind door, const char *user, struct link_ident *ret)
{
	int end = -1;

	*ret = (struct link_ident){0};
	if (user == NULL)
		return false;
	switch (door) {
	case DOOR_AGENTS:
	case DOOR_USERS:
		ret->kind = LINK_IDENT_CRED;
		return sscanf(user, "cred:%" SCNu64 "%n", &ret->cred_id, &end) == 1 && end > 0 &&
		       user[end] == '\0';
	case DOOR_ENROL:
		ret->kind = LINK_IDENT_KEY;
		return strncmp(user, "key:", 4) == 0 && link_z85_decode(user + 4, ret->key, NULL) == 0;
	case DOOR_LOCAL:
		ret->kind = LINK_IDENT_UID;
		return sscanf(user, "uid:%" SCNu32 " gid:%" SCNu32 " pid:%" SCNd32 "%n", &ret->uid,
			      &ret->gid, &ret->pid, &end) == 3 && end > 0 && user[end] == '\0';
	case DOOR_KINDS:
		break;
	}
	return false;
}

static void round_note(struct link_door *door, const struct link_peer *peer)
{
	if (!peer->len)
		return;
	if (peer->len == door->sentinel.len && !memcmp(peer->id, door->sentinel.id, peer->len)) {
		door->rounds++;
		door->patience = PATIENCE_MIN + 2 * door->others;
		door->others = 0;
	} else if (++door->others > door->patience) {
		door->sentinel = *peer;
		door->patience = PATIENCE_MIN + 2 * door->patience;
		door->others = 0;
	}
}

/* One message. 0, ERR_AGAIN, or ERR_FORMAT for one that was dropped. */
static int door_recv_one(struct link_door *door, struct link_msg *msg)
{
	zmq_msg_t *frame = link_frame(msg);
	size_t len;
	bool fits, more;
	int rc = recv_frame(door->socket, frame);

	if (rc < 0)
		return rc;
	/* ZMTP bounds the routing id a peer chooses, libzmq does not check it. */
	len = zmq_msg_size(frame);
	fits = len > 0 && len <= LINK_PEER_BYTES_MAX;
	msg->peer.len = fits ? (uint8_t)len : 0;
	memcpy(msg->peer.id, zmq_msg_data(frame), msg->peer.len);
	round_note(door, &msg->peer);
	more = zmq_msg_more(frame);
	(void)zmq_msg_close(frame);
	rc = more ? link_recv_last(door->socket, frame) : ERR_FORMAT;
	ENSURE(rc != ERR_AGAIN);
	if (rc == 0 && !fits)
		(void)zmq_msg_close(frame);
	if (rc < 0 || !fits) {
		door->stats.dropped_frames++;
		return ERR_FORMAT;
	}
	if (!ident_parse(door->kind, zmq_msg_gets(frame, "User-Id"), &msg->ident)) {
		(void)zmq_msg_close(frame);
		door->stats.dropped_identity++;
		return ERR_FORMAT;
	}
	msg->data = zmq_msg_data(frame);
	msg->len = zmq_msg_size(frame);
	door->stats.received++;
	return 0;
}

int link_door_recv(struct link_door *door, struct link_msg *ret_msg)
{
	ENSURE(door->magic == DOOR_MAGIC);
	for (int i = 0; i < LINK_DROPS_PER_RECV; i++) {
		int rc = door_recv_one(door, ret_msg);

		if (rc != ERR_FORMAT)
			return rc;
	}
	return ERR_AGAIN;
}

void link_msg_done(struct link_msg *msg)
{
	(void)zmq_msg_close(link_frame(msg));
	msg->data = NULL;
	msg->len = 0;
}

bool link_door_ready(struct link_door *door)
{
	return link_socket_ready(door->socket);
}

bool link_door_behind(const struct link_door *door) { return door->behind; }
uint64_t link_door_rounds(const struct link_door *door) { return door->rounds; }
/* One more than the queue: a message that its reader has begun to take has left it. */
uint64_t link_door_depth(const struct link_door *door) { return (uint64_t)door->depth + 1; }

static int send_frame(void *socket, const void *data, size_t len, int flags)
{
	int rc;

	do
		rc = zmq_send(socket, data, len, flags | ZMQ_DONTWAIT);
	while (rc < 0 && errno == EINTR);
	if (rc < 0 && errno == ENOMEM)
		memory_out(len);
	return rc < 0 ? -1 : 0;
}

int link_door_send(struct link_door *door, const struct link_peer *peer, const void *data,
		   size_t len)
{
	ENSURE(door->magic == DOOR_MAGIC);
	if (door->loop != NULL && !loop_timer_armed(&door->again))
		loop_timer_after(door->loop, &door->again, 0);
	if (send_frame(door->socket, peer->id, peer->len, ZMQ_SNDMORE) < 0) {
		if (errno == EAGAIN) {
			door->stats.full++;
			return ERR_AGAIN;
		}
		ENSURE(errno == EHOSTUNREACH);
		door->stats.unreachable++;
		return ERR_UNREACHABLE;
	}
	/* libzmq has judged the peer with the first frame; it takes the second, or drops both when
	 * the connection went in between. */
	ENSURE(send_frame(door->socket, data, len, 0) == 0);
	door->stats.sent++;
	return 0;
}

/* ---- in the loop -------------------------------------------------------------------------------- */

/* What the last turn cost, in processor time: who waits for the disk shares that wait with as many as may come. */
static void pace(struct link_door *door)
{
	unsigned int n = door->per_turn;
	struct timespec cpu;
	int64_t took_ns;

	ENSURE(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu) == 0);
	took_ns = cpu.tv_sec * NS_PER_S + cpu.tv_nsec - door->cpu_ns;
	door->cpu_ns += took_ns;
	if (!door->behind)
		n = TURN_FIRST;
	else if (took_ns > TURN_MS * NS_PER_MS)
		n = n / 2 > TURN_MIN ? n / 2 : TURN_MIN;
	else if (took_ns < TURN_MS * NS_PER_MS / 2)
		n *= 2;
	door->per_turn = n < door->max_per_turn ? n : door->max_per_turn;
}

static void door_drain(struct link_door *door)
{
	bool freed = false;
	size_t bytes = 0;

	pace(door);
	door->freed = &freed;
	door->drained = loop_now(door->loop);
	door->behind = true;
	for (unsigned int n = 0; n < door->per_turn && bytes < TURN_BYTES; n++) {
		struct link_msg msg;

		if (link_door_recv(door, &msg) < 0)
			break;
		bytes += msg.len;
		door->cb(door, &msg, door->arg);
		link_msg_done(&msg);
		if (freed)
			return;
	}
	door->freed = NULL;
	door->behind = link_door_ready(door);
	if (door->behind)
		loop_timer_after(door->loop, &door->again, 0);
}

static void door_again(struct loop *loop, struct loop_timer *timer, void *arg)
{
	(void)loop;
	(void)timer;
	door_drain(arg);
}

static void door_fd_ready(struct loop *loop, int fd, uint32_t events, void *arg)
{
	struct link_door *door = arg;

	(void)fd;
	(void)events;
	ENSURE(door->magic == DOOR_MAGIC);
	/* Once a turn. What `again` left behind armed it; what came since keeps the fd readable. */
	if (door->drained.ns != loop_now(loop).ns)
		door_drain(door);
}

int link_door_watch(struct loop *loop, struct link_door *door, link_door_fn *cb, void *arg,
		    unsigned int max_per_turn, struct err *err)
{
	int fd = link_socket_fd(door->socket);
	int rc;

	ENSURE(door->loop == NULL);
	ENSURE(max_per_turn > 0);
	rc = loop_add_fd(loop, fd, EPOLLIN, door_fd_ready, door, err);
	if (rc < 0)
		return rc;
	door->loop = loop;
	door->fd = fd;
	door->cb = cb;
	door->arg = arg;
	door->max_per_turn = max_per_turn;
	loop_timer_after(loop, &door->again, 0); /* what came before the watch */
	return 0;
}
