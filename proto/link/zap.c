/* zap.c - who may come in: the ZAP handler, a thread of its own
 *
 * libzmq asks here during every handshake at a door: [version, request id, domain, address, routing
 * id, mechanism, key], and gets [version, request id, status, text, user id, metadata]. The user id
 * becomes the property User-Id of every message of that connection; door.c reads it back:
 *
 *     cred:<id>               doors agents and users: the key is in the table for this door
 *     key:<z85>               door enrol: any key
 *     uid:<N> gid:<M> pid:<P> door local
 *
 * The table is a sorted array behind a mutex: publishing sorts outside of it and swaps pointers.
 * When the thread is gone, doors refuse everybody (ZAP_ENFORCE_DOMAIN), they do not open up.
 *
 * Source: ZeroMQ RFC 27.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/link/impl.h"

enum { ZAP_FRAMES = 7, ZAP_FRAME_BYTES = 256, ZAP_USER_BYTES = 96 };

struct zap_frame {
	size_t len;
	char data[ZAP_FRAME_BYTES]; /* NUL behind the bytes */
};

struct zap_request {
	size_t n; /* frames that came, also beyond those kept */
	struct zap_frame frame[ZAP_FRAMES];
};
enum { F_VERSION, F_ID, F_DOMAIN, F_ADDRESS, F_ROUTING_ID, F_MECHANISM, F_KEY };

const char *link_door_kind_name(enum link_door_kind kind)
{
	static const char *const names[DOOR_KINDS] = {"agents", "users", "enrol", "local"};

	ENSURE(kind < DOOR_KINDS);
	return names[kind];
}

/* ---- the table ---------------------------------------------------------------------------------- */

static int key_order(const void *a, const void *b)
{
	const struct link_key *x = a, *y = b;
	int order = memcmp(x->pub, y->pub, LINK_KEY_BYTES);

	return order != 0 ? order : (x->cred_id > y->cred_id) - (x->cred_id < y->cred_id);
}

void link_keys_publish(struct link_ctx *ctx, const struct link_key *keys, size_t n)
{
	struct link_key *copy = xcalloc(n + 1, sizeof(*copy)), *old;

	if (n > 0)
		memcpy(copy, keys, n * sizeof(*copy));
	qsort(copy, n, sizeof(*copy), key_order);
	pthread_mutex_lock(&ctx->lock);
	old = ctx->keys;
	ctx->keys = copy;
	ctx->n_keys = n;
	ctx->keys_cap = n + 1;
	pthread_mutex_unlock(&ctx->lock);
	free(old);
}

/* The first entry that is not before `pub`; under the lock. */
static size_t key_place(const struct link_ctx *ctx, const void *pub)
{
	size_t low = 0, high = ctx->n_keys;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (memcmp(ctx->keys[mid].pub, pub, LINK_KEY_BYTES) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

void link_key_add(struct link_ctx *ctx, const struct link_key *key)
{
	size_t at;

	pthread_mutex_lock(&ctx->lock);
	if (ctx->n_keys == ctx->keys_cap) {
		ctx->keys_cap = ctx->keys_cap * 2 + 16;
		ctx->keys = xrealloc(ctx->keys, ctx->keys_cap * sizeof(*ctx->keys));
	}
	at = key_place(ctx, key->pub);
	while (at < ctx->n_keys && key_order(&ctx->keys[at], key) < 0)
		at++;
	memmove(&ctx->keys[at + 1], &ctx->keys[at], (ctx->n_keys - at) * sizeof(*ctx->keys));
	ctx->keys[at] = *key;
	ctx->n_keys++;
	pthread_mutex_unlock(&ctx->lock);
}

static bool key_lookup(struct link_ctx *ctx, enum link_door_kind door, const void *pub,
		       uint64_t *ret_cred_id)
{
	bool found = false;
	size_t low;

	pthread_mutex_lock(&ctx->lock);
	low = key_place(ctx, pub);
	for (; low < ctx->n_keys && memcmp(ctx->keys[low].pub, pub, LINK_KEY_BYTES) == 0; low++) {
		if ((ctx->keys[low].doors & DOOR_BIT(door)) == 0)
			continue;
		*ret_cred_id = ctx->keys[low].cred_id;
		found = true;
		break;
	}
	pthread_mutex_unlock(&ctx->lock);
	return found;
}

/* ---- refusals, for the log ---------------------------------------------------------------------- */

static void refusal_note(struct link_ctx *ctx, enum link_door_kind door,
			 const struct zap_request *req)
{
	struct link_refusal *r;

	pthread_mutex_lock(&ctx->lock);
	r = &ctx->refusals[ctx->n_refusals % LINK_REFUSALS_KEPT];
	*r = (struct link_refusal){.count = ++ctx->n_refusals, .door = door};
	(void)snprintf(r->address, sizeof(r->address), "%.*s", LINK_ADDRESS_BYTES - 1,
		       req->frame[F_ADDRESS].data);
	if (req->n > F_KEY && req->frame[F_KEY].len == LINK_KEY_BYTES)
		link_z85_encode((const uint8_t *)req->frame[F_KEY].data, r->key);
	pthread_mutex_unlock(&ctx->lock);
}

size_t link_refusals(struct link_ctx *ctx, uint64_t after, struct link_refusal *ret, size_t max)
{
	uint64_t from;
	size_t n = 0;

	pthread_mutex_lock(&ctx->lock);
	from = ctx->n_refusals > LINK_REFUSALS_KEPT ? ctx->n_refusals - LINK_REFUSALS_KEPT : 0;
	for (uint64_t i = after > from ? after : from; i < ctx->n_refusals && n < max; i++)
		ret[n++] = ctx->refusals[i % LINK_REFUSALS_KEPT];
	pthread_mutex_unlock(&ctx->lock);
	return n;
}

/* ---- judging ------------------------------------------------------------------------------------ */

/* Take ":<decimal>" off the right end of text[0..*len]. */
static bool take_number(const char *text, size_t *len, uint32_t max, uint32_t *ret)
{
	size_t start = *len;
	uint64_t v = 0;

	while (start > 0 && text[start - 1] >= '0' && text[start - 1] <= '9')
		start--;
	if (start == *len || *len - start > 10 || start == 0 || text[start - 1] != ':')
		return false;
	for (size_t i = start; i < *len; i++)
		v = v * 10 + (uint64_t)(text[i] - '0');
	if (v > max)
		return false;
	*ret = (uint32_t)v;
	*len = start - 1;
	return true;
}

/* An ipc peer's address ends in :UID:GID:PID, from SO_PEERCRED. What is before may be anything. */
static bool judge_local(const struct zap_frame *address, char user[ZAP_USER_BYTES])
{
	size_t len = address->len;
	uint32_t uid, gid, pid;

	if (!take_number(address->data, &len, INT32_MAX, &pid) ||
	    !take_number(address->data, &len, UINT32_MAX - 1, &gid) ||
	    !take_number(address->data, &len, UINT32_MAX - 1, &uid))
		return false;
	(void)snprintf(user, ZAP_USER_BYTES, "uid:%" PRIu32 " gid:%" PRIu32 " pid:%" PRIu32, uid,
		       gid, pid);
	return true;
}

static bool frame_is(const struct zap_frame *f, const char *text)
{
	return f->len == strlen(text) && memcmp(f->data, text, f->len) == 0;
}

/* May this connection be made? Then `user` says whose it is. */
static bool judge(struct link_ctx *ctx, const struct zap_request *req, char user[ZAP_USER_BYTES])
{
	enum link_door_kind door = DOOR_AGENTS;
	char z85[LINK_Z85_BYTES];
	uint64_t cred_id;
	bool curve, ok = false;

	if (req->n <= F_MECHANISM || req->n > ZAP_FRAMES || !frame_is(&req->frame[F_VERSION], "1.0"))
		return false;
	while (door < DOOR_KINDS && !frame_is(&req->frame[F_DOMAIN], link_door_kind_name(door)))
		door++;
	curve = frame_is(&req->frame[F_MECHANISM], "CURVE") && req->n == F_KEY + 1 &&
		req->frame[F_KEY].len == LINK_KEY_BYTES;
	switch (door) {
	case DOOR_AGENTS:
	case DOOR_USERS:
		ok = curve && key_lookup(ctx, door, req->frame[F_KEY].data, &cred_id);
		if (ok)
			(void)snprintf(user, ZAP_USER_BYTES, "cred:%" PRIu64, cred_id);
		break;
	case DOOR_ENROL:
		ok = curve;
		if (ok) {
			link_z85_encode((const uint8_t *)req->frame[F_KEY].data, z85);
			(void)snprintf(user, ZAP_USER_BYTES, "key:%s", z85);
		}
		break;
	case DOOR_LOCAL:
		ok = frame_is(&req->frame[F_MECHANISM], "NULL") &&
		     judge_local(&req->frame[F_ADDRESS], user);
		break;
	case DOOR_KINDS: /* a domain we do not know */
		return false;
	}
	if (!ok)
		refusal_note(ctx, door, req);
	return ok;
}

/* ---- the thread --------------------------------------------------------------------------------- */

/* Read one request. False when the context ends. */
static bool zap_recv(void *socket, struct zap_request *req)
{
	int more = 1;

	memset(req, 0, sizeof(*req));
	while (more) {
		struct zap_frame extra, *f = req->n < ZAP_FRAMES ? &req->frame[req->n] : &extra;
		size_t size = sizeof(more);
		int len = zmq_recv(socket, f->data, ZAP_FRAME_BYTES - 1, 0);

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			return false;
		/* A longer frame was cut; no frame that decides may be that long. */
		f->len = len < ZAP_FRAME_BYTES ? (size_t)len : 0;
		f->data[f->len] = '\0';
		req->n++;
		if (zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size) < 0)
			return false;
	}
	return true;
}

static bool zap_reply(void *socket, const struct zap_request *req, bool ok, const char *user)
{
	const char *text[] = {"1.0", NULL, ok ? "200" : "400", ok ? "OK" : "refused",
			      ok ? user : "", ""};

	for (size_t i = 0; i < ARRAY_LEN(text); i++) {
		const char *data = i == 1 ? req->frame[F_ID].data : text[i];
		size_t len = i == 1 ? req->frame[F_ID].len : strlen(text[i]);
		int rc;

		do
			rc = zmq_send(socket, data, len, i + 1 < ARRAY_LEN(text) ? ZMQ_SNDMORE : 0);
		while (rc < 0 && errno == EINTR);
		if (rc < 0)
			return false;
	}
	return true;
}

static void *zap_main(void *arg)
{
	struct link_ctx *ctx = arg;
	struct zap_request req;

	while (zap_recv(ctx->zap_socket, &req)) {
		char user[ZAP_USER_BYTES] = "";
		bool ok = judge(ctx, &req, user);

		if (!zap_reply(ctx->zap_socket, &req, ok, user))
			break;
	}
	zmq_close(ctx->zap_socket);
	return NULL;
}

int link_zap_start(struct link_ctx *ctx, struct err *err)
{
	sigset_t all, before;
	int rc;

	ctx->zap_socket = zmq_socket(ctx->zmq, ZMQ_REP);
	if (ctx->zap_socket == NULL || zmq_bind(ctx->zap_socket, "inproc://zeromq.zap.01") < 0) {
		(void)err_set(err, ERR_SYS, "cannot bind the ZAP handler: %s", zmq_strerror(errno));
		if (ctx->zap_socket != NULL)
			zmq_close(ctx->zap_socket);
		return ERR_SYS;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before); /* signals are the loop's */
	rc = pthread_create(&ctx->zap_thread, NULL, zap_main, ctx);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0) {
		zmq_close(ctx->zap_socket);
		return err_set(err, ERR_SYS, "cannot start the ZAP thread: %s", strerror(rc));
	}
	ctx->zap = true;
	return 0;
}

void link_zap_stop(struct link_ctx *ctx)
{
	if (ctx->zap)
		ENSURE(pthread_join(ctx->zap_thread, NULL) == 0);
	ctx->zap = false;
}
