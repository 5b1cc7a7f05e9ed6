/* client.c - see client.h */
#include "proto/client/client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/link/link.h"

enum {
	MAGIC = 0x636c6e74,
	HELLO_AGAIN_MS = 3000,   /* a new socket and a new HELLO when no WELCOME comes */
	COMMAND_AGAIN_MS_MIN = 500, /* the same command again, on a new connection: after a quarter */
	COMMAND_AGAIN_MS_MAX = 5000, /* of the time, within these bounds */
};

struct client {
	uint32_t magic;
	struct link_ctx *ctx;
	struct link_client *link;
	char endpoint[LINK_ENDPOINT_BYTES];
	char program[sizeof((struct msg_hello *)0)->program];
	void (*away)(void *arg); /* NULL: not wanted, or told */
	void *arg;
	uint64_t req; /* last request id used */
	bool greeted;
	bool have_cluster;
	uint8_t cluster[16]; /* the one that greeted first: what is asked is for that one */
	struct msg_welcome welcome;
};

/* ---- open and close -------------------------------------------------------------------------- */

static int open_link(struct client *c, const uint8_t *server_key, const uint8_t *pub,
		     const uint8_t *sec, struct err *err)
{
	struct link_client_opts opts = {.max_msg_bytes = FRAME_BYTES_MAX};
	int r = link_ctx_new(&(struct link_ctx_opts){0}, &c->ctx, err);

	if (r)
		return r;
	return link_client_open(c->ctx, c->endpoint, server_key, pub, sec, &opts, &c->link, err);
}

static int client_new(const char *endpoint, const char *program, struct client **ret,
		      struct err *err)
{
	struct client *c;

	if (strlen(endpoint) >= LINK_ENDPOINT_BYTES)
		return err_set(err, ERR_INVAL, "the endpoint is too long");
	c = xcalloc(1, sizeof *c);
	c->magic = MAGIC;
	snprintf(c->endpoint, sizeof c->endpoint, "%s", endpoint);
	snprintf(c->program, sizeof c->program, "%s", program ? program : "");
	/* Any start will do: request ids only have to differ within this connection. */
	c->req = (uint64_t)mono_now().ns;
	*ret = c;
	return 0;
}

int client_open(const struct client_opts *opts, struct client **ret_client, struct err *err)
{
	uint8_t pub[LINK_KEY_BYTES], sec[LINK_KEY_BYTES];
	struct client *c;
	int r;

	ENSURE(!opts->server_key == !opts->key_file);
	if (opts->key_file) {
		r = link_key_load(opts->key_file, pub, sec, err);
		if (r)
			return r;
	}
	r = client_new(opts->endpoint, opts->program, &c, err);
	if (r)
		return r;
	r = open_link(c, opts->server_key, opts->key_file ? pub : NULL, opts->key_file ? sec : NULL,
		      err);
	if (r) {
		client_free(c);
		return r;
	}
	c->away = opts->away;
	c->arg = opts->arg;
	if (opts->server_key && opts->server_key_next)
		link_client_server_next(c->link, opts->server_key_next);
	*ret_client = c;
	return 0;
}

const uint8_t *client_server_key(const struct client *c) { return link_client_server_key(c->link); }

void client_free(struct client *c)
{
	if (!c)
		return;
	ENSURE(c->magic == MAGIC);
	link_client_free(c->link);
	link_ctx_free(c->ctx);
	free(c);
}

const struct msg_welcome *client_welcome(const struct client *c)
{
	return c->greeted ? &c->welcome : NULL;
}

/* ---- one exchange ---------------------------------------------------------------------------- */

static int64_t left_ms(struct mono until)
{
	int64_t ms = (until.ns - mono_now().ns + NS_PER_MS - 1) / NS_PER_MS;

	return ms > 0 ? ms : 0;
}

static int64_t again_ms(int timeout_ms)
{
	int64_t ms = timeout_ms / 4;

	if (ms < COMMAND_AGAIN_MS_MIN)
		return COMMAND_AGAIN_MS_MIN;
	return ms > COMMAND_AGAIN_MS_MAX ? COMMAND_AGAIN_MS_MAX : ms;
}

static struct mono after_ms(int64_t ms) { return (struct mono){mono_now().ns + ms * NS_PER_MS}; }

static int fresh_link(struct client *c, struct err *err)
{
	c->greeted = false;
	return link_client_reopen(c->link, err);
}

/* Wait for a frame that answers `req`. What answers something else was given up and is dropped; what is
 * no frame at all is dropped too: the server is who it says it is, so it is no reason to give up.
 * ERR_TIMEOUT, ERR_DENIED, ERR_INTERRUPTED. `ret_msg` holds the bytes that `ret_frame` borrows. */
static int await(struct client *c, uint64_t req, struct mono until, struct link_msg *ret_msg,
		 struct frame *ret_frame, struct err *err)
{
	for (;;) {
		int r = link_client_recv(c->link, ret_msg);

		if (r == ERR_AGAIN) {
			if (left_ms(until) == 0)
				return err_set(err, ERR_TIMEOUT, "no answer from %s", c->endpoint);
			r = link_client_wait(c->link, (int)left_ms(until), err);
			if (r)
				return r;
			continue;
		}
		if (r)
			return err_set(err, r, "cannot receive from %s", c->endpoint);
		r = frame_decode(ret_msg->data, ret_msg->len, ret_frame, err);
		if (!r && ret_frame->req == req)
			return 0;
		link_msg_done(ret_msg);
		if (r == ERR_VERSION)
			return r;
	}
}

/* A server that has another key than we expect drops the handshake without a word, so does any other program. */
static int unreachable(const struct client *c, int timeout_ms, struct err *err)
{
	bool there = link_client_reached(c->link) && link_client_server_key(c->link);

	(void)err_set(err, ERR_UNREACHABLE, "no answer from %s within %.3g s%s; nothing was sent", c->endpoint,
		      timeout_ms / 1000.0, there ? ", though it takes connections" : "");
	if (err)
		(void)err_hint(err, there ? "does sluisd there have the public key that it is asked under, and is this the right one of its doors?"
					  : "check that sluisd runs and that the endpoint is right");
	return ERR_UNREACHABLE;
}

/* A REPLY that refuses becomes the caller's error. Returns its code, 0 when it does not refuse. */
static int refusal(int32_t code, uint16_t reason, const char *message, const char *hint,
		   struct err *err)
{
	if (!code)
		return 0;
	if (code > 0) /* no code of ours */
		code = ERR_FORMAT;
	(void)err_set(err, code, "%s", message ? message : err_text(code));
	if (err && hint)
		(void)err_hint(err, "%s", hint);
	(void)err_reason(err, reason);
	return code;
}

/* The server answered with another message than `type`: a refusal, or nonsense. */
static int unexpected(const struct frame *frame, struct arena *arena, struct err *err)
{
	struct msg_reply reply;
	struct msg_goodbye bye;
	int r;

	if (frame->type == MSG_REPLY) {
		r = message_decode(frame, &reply, arena, err);
		if (r)
			return r;
		r = refusal(reply.code, reply.reason, reply.message, reply.hint, err);
		if (r)
			return r;
	}
	if (frame->type == MSG_GOODBYE) {
		r = message_decode(frame, &bye, arena, err);
		if (r)
			return r;
		r = refusal(bye.code, 0, bye.text, NULL, err);
		if (r)
			return r;
	}
	return err_set(err, ERR_FORMAT, "the server answered with message 0x%04x, which is no answer",
		       (unsigned)frame->type);
}

int client_greet(struct client *c, int timeout_ms, struct err *err)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct mono until = after_ms(timeout_ms);
	struct msg_hello hello = {.version_min = FRAME_VERSION, .version_max = FRAME_VERSION,
				  .features = FEATURES_KNOWN};

	if (c->greeted)
		return 0;
	snprintf(hello.program, sizeof hello.program, "%s", c->program);
	while (left_ms(until) > 0) {
		CLEANUP(arena_done) struct arena arena = {0};
		struct mono again = after_ms(HELLO_AGAIN_MS);
		struct link_msg msg;
		struct frame frame;
		int r;

		buf_reset(&b);
		message_encode(MSG_HELLO, ++c->req, &hello, &b);
		r = link_client_send(c->link, b.data, b.len);
		if (!r)
			r = await(c, c->req, again.ns < until.ns ? again : until, &msg, &frame, err);
		if (r == ERR_TIMEOUT || r == ERR_AGAIN) {
			if (c->away && left_ms(until) > 0)
				c->away(c->arg);
			c->away = NULL;
			r = fresh_link(c, err);
			if (r)
				return r;
			continue;
		}
		if (r)
			return r;
		r = frame.type == MSG_WELCOME ? message_decode(&frame, &c->welcome, &arena, err)
					      : unexpected(&frame, &arena, err);
		link_msg_done(&msg);
		if (r)
			return r;
		if (c->welcome.version != FRAME_VERSION)
			return err_set(err, ERR_VERSION, "%s speaks version %u of the protocol, this program %d",
				       c->endpoint, (unsigned)c->welcome.version, FRAME_VERSION);
		c->greeted = true;
		if (!c->have_cluster)
			memcpy(c->cluster, c->welcome.uid, sizeof c->cluster);
		c->have_cluster = true;
		return 0;
	}
	return unreachable(c, timeout_ms, err);
}

/* ---- idempotency keys ------------------------------------------------------------------------ */

int client_idem_key(uint8_t ret_key[IDEM_KEY_BYTES], struct err *err)
{
	if (getrandom(ret_key, IDEM_KEY_BYTES, 0) != IDEM_KEY_BYTES)
		return err_set_errno(err, ERR_SYS, "cannot draw random bytes");
	return 0;
}

void client_idem_text(const uint8_t key[IDEM_KEY_BYTES], char ret_text[2 * IDEM_KEY_BYTES + 1])
{
	for (int i = 0; i < IDEM_KEY_BYTES; i++)
		snprintf(ret_text + 2 * i, 3, "%02x", key[i]);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int client_idem_parse(const char *text, uint8_t ret_key[IDEM_KEY_BYTES], struct err *err)
{
	uint8_t key[IDEM_KEY_BYTES], any = 0;

	if (strlen(text) != 2 * IDEM_KEY_BYTES)
		goto bad;
	for (int i = 0; i < IDEM_KEY_BYTES; i++) {
		int hi = hex_digit(text[2 * i]), lo = hex_digit(text[2 * i + 1]);

		if (hi < 0 || lo < 0)
			goto bad;
		key[i] = (uint8_t)(hi << 4 | lo);
		any |= key[i];
	}
	if (!any) /* on the wire that means "none" */
		goto bad;
	memcpy(ret_key, key, sizeof key);
	return 0;
bad:
	return err_set(err, ERR_FORMAT, "an idempotency key is 32 hex digits, not all zero");
}

/* ---- commands -------------------------------------------------------------------------------- */

static int unknown_outcome(const struct client *c, int code, int timeout_ms, const uint8_t *key,
			   struct err *err)
{
	static const uint8_t none[IDEM_KEY_BYTES];
	char text[2 * IDEM_KEY_BYTES + 1];

	client_idem_text(key, text);
	if (code == ERR_INTERRUPTED)
		(void)err_set(err, code, "interrupted while waiting for %s; the command may have been accepted",
			      c->endpoint);
	else
		(void)err_set(err, code,
			      "no answer from %s within %.3g s; the command may have been accepted",
			      c->endpoint, timeout_ms / 1000.0);
	if (err && memcmp(key, none, sizeof none) == 0)
		(void)err_hint(err, "renew again: the same sequence number grants nothing twice");
	else if (err)
		(void)err_hint(err, "the same command with --idempotency-key %s : it will not act twice",
			       text);
	return code;
}

static int take_reply(const struct frame *frame, struct client_reply *ret, struct arena *arena,
		      struct err *err)
{
	struct msg_reply reply;
	int r;

	if (frame->type != MSG_REPLY)
		return unexpected(frame, arena, err);
	r = message_decode(frame, &reply, arena, err);
	if (r)
		return r;
	r = refusal(reply.code, reply.reason, reply.message, reply.hint, err);
	if (r)
		return r;
	*ret = (struct client_reply){.seq = reply.seq, .reason = reply.reason,
				     .message = reply.message ? reply.message : "",
				     .hint = reply.hint ? reply.hint : "", .result = reply.result};
	return 0;
}

int client_command(struct client *c, const struct client_command *cmd, int timeout_ms,
		   struct client_reply *ret_reply, struct arena *arena, struct err *err)
{
	CLEANUP(buf_done) struct buf body = BUF_INIT, b = BUF_INIT;
	struct mono until = after_ms(timeout_ms);
	const struct schema *schema = schema_of_command(cmd->type);
	struct msg_command msg = {.type = cmd->type, .dry_run = cmd->dry_run, .payload = cmd->payload,
				  .approves = cmd->approves};
	bool sent = false;
	int r;

	ENSURE(schema);
	if (cmd->idem_key) {
		memcpy(msg.idem_key, cmd->idem_key, sizeof msg.idem_key);
	} else if (cmd->type != CMD_LEASE_RENEW) { /* there renew_seq does the same service */
		r = client_idem_key(msg.idem_key, err);
		if (r)
			return r;
	}
	if (cmd->approves)
		buf_add(&body, cmd->body_sent.data, cmd->body_sent.len);
	else
		schema_encode(schema, cmd->body, &body);
	if (body.len > FRAME_BYTES_MAX / 2 || cmd->payload.len > PAYLOAD_BYTES_MAX ||
	    body.len + cmd->payload.len > FRAME_BYTES_MAX - 1024)
		return err_set(err, ERR_TOOBIG, "the command takes %zu bytes, at most %d",
			       body.len + cmd->payload.len, (int)FRAME_BYTES_MAX - 1024);
	msg.body = (struct bytes){body.data, (uint32_t)body.len};
	while (left_ms(until) > 0) {
		struct mono again = after_ms(again_ms(timeout_ms));
		struct link_msg in;
		struct frame frame;

		r = client_greet(c, (int)left_ms(until), err);
		if (r == ERR_UNREACHABLE)
			break;
		if (r && sent && r == ERR_INTERRUPTED)
			return unknown_outcome(c, r, timeout_ms, msg.idem_key, err);
		if (r)
			return r;
		/* if the address comes to lead to another cluster, the command is not for that one */
		memcpy(msg.cluster, c->cluster, sizeof msg.cluster);
		buf_reset(&b);
		message_encode(MSG_COMMAND, ++c->req, &msg, &b);
		r = link_client_send(c->link, b.data, b.len);
		if (!r) {
			sent = true;
			r = await(c, c->req, again.ns < until.ns ? again : until, &in, &frame, err);
		}
		if (r == ERR_INTERRUPTED)
			return unknown_outcome(c, r, timeout_ms, msg.idem_key, err);
		if (r == ERR_TIMEOUT || r == ERR_AGAIN) {
			/* Perhaps the connection is dead and nobody noticed. */
			r = left_ms(until) > 0 ? fresh_link(c, err) : 0;
			if (r)
				return r;
			continue;
		}
		if (r)
			return r;
		r = take_reply(&frame, ret_reply, arena, err);
		link_msg_done(&in);
		return r;
	}
	if (!sent)
		return unreachable(c, timeout_ms, err);
	return unknown_outcome(c, ERR_TIMEOUT, timeout_ms, msg.idem_key, err);
}

/* ---- queries --------------------------------------------------------------------------------- */

/* Put the lists of `pieces_n` views behind one another into the first of them. */
static int join_lists(const struct schema *schema, void *const *pieces, size_t pieces_n,
		      struct arena *arena, struct err *err)
{
	for (uint32_t i = 0; i < schema->fields_n; i++) {
		const struct field *f = &schema->fields[i];
		uint64_t total = 0;
		uint8_t *list, *to;
		uint32_t n;

		if (f->type != FIELD_LIST)
			continue;
		for (size_t k = 0; k < pieces_n; k++) {
			memcpy(&n, (uint8_t *)pieces[k] + f->count_offset, sizeof n);
			total += n;
		}
		if (total > UINT32_MAX)
			return err_set(err, ERR_TOOBIG, "the answer has too many %s", f->name);
		list = to = arena_alloc(arena, total * f->elem);
		for (size_t k = 0; k < pieces_n; k++) {
			const void *from;

			memcpy(&n, (uint8_t *)pieces[k] + f->count_offset, sizeof n);
			memcpy(&from, (uint8_t *)pieces[k] + f->offset, sizeof from);
			if (n)
				memcpy(to, from, (size_t)n * f->elem);
			to += (size_t)n * f->elem;
		}
		n = (uint32_t)total;
		memcpy((uint8_t *)pieces[0] + f->offset, &list, sizeof list);
		memcpy((uint8_t *)pieces[0] + f->count_offset, &n, sizeof n);
	}
	return 0;
}

/* Decode one VIEW into `view`. Sets *ret_more; *bytes counts what came so far. */
static int take_view(const struct frame *frame, uint16_t type, void *view, bool *ret_more,
		     size_t *bytes, struct arena *arena, struct err *err)
{
	struct msg_view msg;
	int r;

	if (frame->type != MSG_VIEW)
		return unexpected(frame, arena, err);
	*bytes += frame->body_len;
	if (*bytes > CLIENT_VIEW_BYTES_MAX)
		return err_set(err, ERR_TOOBIG, "the answer is larger than %d MiB",
			       (int)CLIENT_VIEW_BYTES_MAX >> 20);
	r = message_decode(frame, &msg, arena, err);
	if (r)
		return r;
	r = refusal(msg.code, msg.reason, msg.message, msg.hint, err);
	if (r)
		return r;
	if (msg.type != type)
		return err_set(err, ERR_FORMAT, "the server answered another question");
	*ret_more = msg.more;
	return schema_decode(schema_of_view(type), msg.body.data, msg.body.len, view, arena, err);
}

int client_query(struct client *c, const struct query *query, int timeout_ms, void *ret_view,
		 struct arena *arena, struct err *err)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT, pieces = BUF_INIT;
	const struct schema *schema = schema_of_view(query->type);
	struct mono until = after_ms(timeout_ms);
	void *piece = ret_view;
	bool more = true;
	size_t bytes = 0;
	int r;

	ENSURE(schema);
	r = client_greet(c, timeout_ms, err);
	if (r)
		return r;
	message_encode(MSG_QUERY, ++c->req, query, &b);
	r = link_client_send(c->link, b.data, b.len);
	if (r)
		return err_set(err, ERR_UNREACHABLE, "cannot send to %s", c->endpoint);
	while (more) {
		struct link_msg in;
		struct frame frame;

		r = await(c, c->req, until, &in, &frame, err);
		if (r == ERR_TIMEOUT) {
			/* The next call begins with a new connection: this one may be dead. */
			(void)fresh_link(c, NULL);
			return err_set(err, r, "no answer from %s within %.3g s", c->endpoint,
				       timeout_ms / 1000.0);
		}
		if (r)
			return r;
		r = take_view(&frame, query->type, piece, &more, &bytes, arena, err);
		link_msg_done(&in);
		if (r)
			return r;
		buf_add(&pieces, &piece, sizeof piece);
		if (more)
			piece = arena_alloc(arena, schema->size);
		/* A long answer may take longer than a short one: each piece has the whole time. */
		until = after_ms(timeout_ms);
	}
	if (pieces.len == sizeof piece)
		return 0;
	return join_lists(schema, (void *const *)(void *)pieces.data, pieces.len / sizeof piece, arena,
			  err);
}

/* ---- enrolment ------------------------------------------------------------------------------- */

/* Load the key pair of an interrupted attempt, or make one. */
static int enrol_key(const char *path, uint8_t pub[LINK_KEY_BYTES], uint8_t sec[LINK_KEY_BYTES],
		     bool *ret_made, struct err *err)
{
	int r = link_key_load(path, pub, sec, err);

	*ret_made = false;
	if (r != ERR_NOTFOUND)
		return r;
	r = link_keypair(pub, sec, err);
	if (r)
		return r;
	r = link_key_save(path, pub, sec, err);
	*ret_made = r == 0;
	return r;
}

static int enrol_ask(struct client *c, const struct msg_enrol *ask, int timeout_ms,
		     struct msg_enrolled *ret_enrolled, struct arena *arena, struct err *err)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct link_msg in;
	struct frame frame;
	int r;

	message_encode(MSG_ENROL, ++c->req, ask, &b);
	r = link_client_send(c->link, b.data, b.len);
	if (r)
		return unreachable(c, timeout_ms, err);
	r = await(c, c->req, after_ms(timeout_ms), &in, &frame, err);
	if (r == ERR_TIMEOUT && !link_client_connected(c->link))
		return unreachable(c, timeout_ms, err);
	if (r == ERR_TIMEOUT) {
		(void)err_set(err, r, "no answer from %s within %.3g s; the token may have been used",
			      c->endpoint, timeout_ms / 1000.0);
		return err ? err_hint(err, "run the same command again: the key file is kept") : r;
	}
	if (r)
		return r;
	r = frame.type == MSG_ENROLLED ? message_decode(&frame, ret_enrolled, arena, err)
				       : unexpected(&frame, arena, err);
	link_msg_done(&in);
	return r;
}

int client_enrol(const struct join_token *token, const char *name, const char *program,
		 const char *key_file, int timeout_ms, struct msg_enrolled *ret_enrolled,
		 struct arena *arena, struct err *err)
{
	uint8_t pub[LINK_KEY_BYTES], sec[LINK_KEY_BYTES];
	struct msg_enrol ask = {0};
	struct client *c = NULL;
	bool made = false;
	int r;

	if (strlen(name) >= sizeof ask.name)
		return err_set(err, ERR_INVAL, "the name '%s' is longer than %d bytes", name,
			       (int)sizeof ask.name - 1);
	snprintf(ask.name, sizeof ask.name, "%s", name);
	snprintf(ask.program, sizeof ask.program, "%s", program ? program : "");
	memcpy(ask.secret, token->secret, sizeof ask.secret);
	r = enrol_key(key_file, pub, sec, &made, err);
	if (r)
		return r;
	r = client_new(token->endpoint, program, &c, err);
	if (!r)
		r = open_link(c, token->server_key, pub, sec, err);
	if (!r)
		r = enrol_ask(c, &ask, timeout_ms, ret_enrolled, arena, err);
	client_free(c);
	/* When nobody answered, the key may be known by now: keep it. */
	if (made && r && r != ERR_TIMEOUT && r != ERR_INTERRUPTED)
		(void)unlink(key_file); /* ours, just made; a file left over is only untidy */
	return r;
}
