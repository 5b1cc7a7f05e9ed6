/* test_client.c - join tokens, asking over real sockets, and the holder's clockwork
 *
 * Without these tests a command could act twice after a lost answer, a user could be told "nothing
 * happened" when something did, or a holder could go on serving on devices it no longer leases.
 * The server here is a thread with scripted answers behind real doors; the holder runs in virtual time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/ensure.h"
#include "proto/base/prng.h"
#include "proto/client/client.h"
#include "proto/client/holder.h"
#include "proto/link/link.h"
#include "proto/model/reason.h"

enum { WAIT_MS = 20000 }; /* for what must come; a passing test never waits that long */

static char dir[64];

static const char *in_dir(const char *name)
{
	static char path[4][128];
	static unsigned int turn;
	char *p = path[turn++ % 4];

	snprintf(p, sizeof path[0], "%s/%s", dir, name);
	return p;
}

/* ---- tokens ----------------------------------------------------------------------------------- */

static struct join_token some_token(struct prng *p)
{
	struct join_token t = {.endpoint = "tcp://ctl.example:8473"};

	for (int i = 0; i < TOKEN_KEY_BYTES; i++) {
		t.server_key[i] = (uint8_t)prng_next(p);
		t.secret[i] = (uint8_t)prng_next(p);
	}
	return t;
}

/* A token is copied by hand and by mail: it has to come back whole. */
static void tokens_round_trip(void **state)
{
	struct prng p;

	(void)state;
	prng_seed(&p, 1);
	for (int round = 0; round < 200; round++) {
		struct join_token in = some_token(&p), out;
		char text[TOKEN_TEXT_BYTES], framed[TOKEN_TEXT_BYTES + 8];
		struct err err;

		token_encode(&in, text);
		assert_int_equal(strlen(text), 13 + 43 + 1 + 43 + 1 + strlen(in.endpoint));
		assert_int_equal(strncmp(text, "sluis-join-1.", 13), 0);
		snprintf(framed, sizeof framed, " \t%s\r\n", text);
		assert_int_equal(token_parse(framed, &out, &err), 0);
		assert_memory_equal(&in, &out, sizeof in);
	}
}

/* Known bytes, computed by hand with another base64 implementation. */
static void tokens_spell_as_base64url(void **state)
{
	struct join_token t = {.endpoint = "tcp://[::1]:8473"};
	char text[TOKEN_TEXT_BYTES];

	(void)state;
	memset(t.server_key, 0xfb, sizeof t.server_key);
	memset(t.secret, 0xff, sizeof t.secret);
	token_encode(&t, text);
	assert_string_equal(text, "sluis-join-1.-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s."
				  "__________________________________________8.tcp://[::1]:8473");
}

/* One text per token: a damaged one is refused, with a hint and without its secret in the message. */
static void damaged_tokens_are_refused(void **state)
{
	struct prng p;
	struct join_token t, out;
	char text[TOKEN_TEXT_BYTES], bad[TOKEN_TEXT_BYTES + 8];
	struct err err;

	(void)state;
	prng_seed(&p, 2);
	t = some_token(&p);
	token_encode(&t, text);
	for (size_t cut = 0; cut < 13 + 43 + 1 + 43 + 1 + 8; cut++) {
		snprintf(bad, sizeof bad, "%.*s", (int)cut, text);
		assert_int_equal(token_parse(bad, &out, &err), ERR_BADTOKEN);
		assert_true(err.hint[0]);
	}
	for (size_t i = 0; i < 13 + 43 + 1 + 43 + 1 + 6; i++) {
		strcpy(bad, text);
		bad[i] = '+';
		assert_int_equal(token_parse(bad, &out, &err), ERR_BADTOKEN);
		assert_null(strstr(err.msg, bad + 13));
	}
	strcpy(bad, text);
	bad[13 + 42] = 'B'; /* spare bits that are not zero: a second spelling */
	assert_int_equal(token_parse(bad, &out, &err), ERR_BADTOKEN);
	snprintf(bad, sizeof bad, "%.60s %s", text, text + 60);
	assert_int_equal(token_parse(bad, &out, &err), ERR_BADTOKEN);
}

/* ---- a server with scripted answers ----------------------------------------------------------- */

enum script {
	ANSWER,        /* as it should be */
	SILENT,        /* never greets */
	LOSE_COMMAND,  /* greets, but loses the first command */
	LOSE_COMMANDS, /* greets, and loses every command */
	REFUSE,        /* refuses the command with a reason */
	STALE_FIRST,   /* answers something else first */
	RUBBISH_FIRST, /* and bytes that are no frame */
};

struct server {
	enum link_door_kind kind;
	enum script script;
	struct link_ctx *ctx;
	struct link_door *door;
	char endpoint[LINK_ENDPOINT_BYTES];
	uint8_t pub[LINK_KEY_BYTES], sec[LINK_KEY_BYTES];
	pthread_t thread;
	atomic_bool stop;
	pthread_mutex_t turn; /* for what follows */
	atomic_uint hellos, commands, acted;
	uint8_t first_key[IDEM_KEY_BYTES];
	bool keys_differ;
	struct msg_enrol enrol;
	uint8_t enrol_key[LINK_KEY_BYTES];
};

static void answer(struct server *s, const struct link_msg *to, uint16_t type, uint64_t req,
		   const void *obj)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	message_encode(type, req, obj, &b);
	/* A client that left meanwhile is no fault. */
	ENSURE(link_door_send(s->door, &to->peer, b.data, b.len) <= 0);
}

static void on_command(struct server *s, const struct link_msg *m, const struct frame *f,
		       struct arena *arena)
{
	struct msg_reply reply = {.seq = 42, .message = "done", .result = {.id = 7, .text = "job-7"}};
	struct msg_command cmd;
	struct command decoded;
	unsigned n = atomic_fetch_add(&s->commands, 1);

	ENSURE(message_decode(f, &cmd, arena, NULL) == 0);
	ENSURE(command_decode(&cmd, &decoded, arena, NULL) == 0);
	ENSURE(decoded.type == CMD_LEASE_RENEW ||
	       (decoded.type == CMD_JOB_CANCEL && decoded.job_control.job == 7));
	if (n == 0)
		memcpy(s->first_key, cmd.idem_key, sizeof s->first_key);
	if (memcmp(s->first_key, cmd.idem_key, sizeof s->first_key) != 0)
		s->keys_differ = true;
	else if (n == 0)
		atomic_fetch_add(&s->acted, 1);
	if (s->script == LOSE_COMMANDS || (s->script == LOSE_COMMAND && n == 0))
		return;
	if (s->script == REFUSE)
		reply = (struct msg_reply){.code = ERR_BUDGET, .reason = REASON_HOLD_TOO_LARGE,
					   .message = "the budget does not cover it", .hint = "--time 07:23:00"};
	if (s->script == STALE_FIRST)
		answer(s, m, MSG_REPLY, f->req - 1, &(struct msg_reply){.result = {.id = 666}});
	if (s->script == RUBBISH_FIRST)
		ENSURE(link_door_send(s->door, &m->peer, "SLUIrubbish", 11) == 0);
	answer(s, m, MSG_REPLY, f->req, &reply);
}

static void on_query(struct server *s, const struct link_msg *m, const struct frame *f)
{
	/* Two pieces and an empty last one. */
	for (uint64_t piece = 0; piece < 3; piece++) {
		CLEANUP(buf_done) struct buf body = BUF_INIT;
		struct usage_view rows[2] = {{.path = "a", .loan_rums = (int64_t)piece}, {.path = "b"}};
		struct view_usage view = {.seq = 9 + piece, .items_n = piece < 2 ? 2 : 0, .items = rows};

		schema_encode(&schema_view_usage, &view, &body);
		answer(s, m, MSG_VIEW, f->req,
		       &(struct msg_view){.type = QUERY_USAGE, .more = piece < 2,
					  .body = {body.data, (uint32_t)body.len}});
	}
}

static void on_message(struct server *s, const struct link_msg *m)
{
	CLEANUP(arena_done) struct arena arena = {0};
	struct msg_welcome welcome = {.version = FRAME_VERSION, .cluster = "testbed", .epoch = 3};
	struct frame f;

	ENSURE(frame_decode(m->data, m->len, &f, NULL) == 0);
	switch (f.type) {
	case MSG_HELLO:
		atomic_fetch_add(&s->hellos, 1);
		if (s->script != SILENT)
			answer(s, m, MSG_WELCOME, f.req, &welcome);
		break;
	case MSG_COMMAND: on_command(s, m, &f, &arena); break;
	case MSG_QUERY: on_query(s, m, &f); break;
	case MSG_ENROL:
		ENSURE(message_decode(&f, &s->enrol, &arena, NULL) == 0);
		memcpy(s->enrol_key, m->ident.key, sizeof s->enrol_key);
		if (s->script == REFUSE)
			answer(s, m, MSG_REPLY, f.req,
			       &(struct msg_reply){.code = ERR_BADTOKEN, .message = "the token was used"});
		else if (s->script != SILENT)
			answer(s, m, MSG_ENROLLED, f.req,
			       &(struct msg_enrolled){.cred = 5, .principal = 4, .node = 3, .cluster = "testbed",
						      .agents = "tcp://ctl:1", .users = "tcp://ctl:2"});
		break;
	default: break;
	}
}

static void *serve(void *arg)
{
	struct server *s = arg;

	while (!atomic_load(&s->stop)) {
		struct link_msg m;

		if (link_door_recv(s->door, &m) == 0) {
			pthread_mutex_lock(&s->turn);
			on_message(s, &m);
			pthread_mutex_unlock(&s->turn);
			link_msg_done(&m);
		} else {
			usleep(500);
		}
	}
	return NULL;
}

/* Wait until nothing is being answered: what a test reads of the server does not change under it. */
static void settled(struct server *s)
{
	pthread_mutex_lock(&s->turn);
	pthread_mutex_unlock(&s->turn);
}

static void from_now(struct server *s, enum script script)
{
	pthread_mutex_lock(&s->turn);
	s->script = script;
	pthread_mutex_unlock(&s->turn);
}

static void start(struct server *s, enum link_door_kind kind, enum script script)
{
	struct link_ctx_opts opts = {.zap = true};
	struct err err;

	*s = (struct server){.kind = kind, .script = script, .turn = PTHREAD_MUTEX_INITIALIZER};
	assert_int_equal(link_ctx_new(&opts, &s->ctx, &err), 0);
	assert_int_equal(link_keypair(s->pub, s->sec, &err), 0);
	snprintf(s->endpoint, sizeof s->endpoint, "ipc://%s", in_dir("local.sock"));
	if (kind != DOOR_LOCAL)
		strcpy(s->endpoint, "tcp://127.0.0.1:*");
	assert_int_equal(link_door_open(s->ctx, kind, s->endpoint, kind == DOOR_LOCAL ? NULL : s->sec, NULL,
					&s->door, &err), 0);
	snprintf(s->endpoint, sizeof s->endpoint, "%s", link_door_endpoint(s->door));
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void stop(struct server *s)
{
	atomic_store(&s->stop, true);
	pthread_join(s->thread, NULL);
	link_door_free(s->door);
	link_ctx_free(s->ctx);
	(void)unlink(in_dir("local.sock")); /* ZeroMQ has removed it when all went well */
}

static struct client *connected(const struct server *s)
{
	struct client_opts opts = {.endpoint = s->endpoint, .program = "test 1"};
	struct client *c = NULL;
	struct err err;

	assert_int_equal(client_open(&opts, &c, &err), 0);
	return c;
}

static const struct cmd_job_control CANCEL = {.job = 7};

static int cancel(struct client *c, const uint8_t *key, int timeout_ms, struct client_reply *reply,
		  struct arena *arena, struct err *err)
{
	struct client_command cmd = {.type = CMD_JOB_CANCEL, .body = &CANCEL, .idem_key = key};

	return client_command(c, &cmd, timeout_ms, reply, arena, err);
}

/* The plain way: greet once, ask, be answered. */
static void a_command_is_answered(void **state)
{
	CLEANUP(arena_done) struct arena arena = {0};
	struct client_reply reply;
	struct server s;
	struct client *c;
	struct err err;

	(void)state;
	start(&s, DOOR_LOCAL, ANSWER);
	c = connected(&s);
	assert_null(client_welcome(c));
	assert_int_equal(cancel(c, NULL, WAIT_MS, &reply, &arena, &err), 0);
	assert_int_equal(reply.seq, 42);
	assert_int_equal(reply.result.id, 7);
	assert_string_equal(reply.message, "done");
	assert_string_equal(reply.hint, "");
	assert_string_equal(client_welcome(c)->cluster, "testbed");
	assert_int_equal(cancel(c, NULL, WAIT_MS, &reply, &arena, &err), 0);
	settled(&s);
	assert_int_equal(s.hellos, 1);
	assert_true(s.keys_differ); /* two commands, two keys */
	client_free(c);
	stop(&s);
}

/* A lost answer must not make the command act twice: the repetition carries the same key. */
static void a_lost_command_is_repeated_under_its_key(void **state)
{
	CLEANUP(arena_done) struct arena arena = {0};
	struct client_reply reply;
	struct server s;
	struct client *c;
	struct err err;

	(void)state;
	start(&s, DOOR_LOCAL, LOSE_COMMAND);
	c = connected(&s);
	assert_int_equal(cancel(c, NULL, WAIT_MS / 10, &reply, &arena, &err), 0);
	assert_int_equal(reply.result.id, 7);
	settled(&s);
	assert_true(s.commands >= 2);
	assert_int_equal(s.acted, 1);
	assert_false(s.keys_differ);
	client_free(c);
	stop(&s);
}

/* When no answer came, the user has to know that it may have happened, and how to find out. */
static void an_unknown_outcome_is_said_so(void **state)
{
	CLEANUP(arena_done) struct arena arena = {0};
	uint8_t key[IDEM_KEY_BYTES], again[IDEM_KEY_BYTES];
	char text[2 * IDEM_KEY_BYTES + 1];
	struct client_reply reply;
	struct server s;
	struct client *c;
	struct err err;

	(void)state;
	start(&s, DOOR_LOCAL, LOSE_COMMANDS);
	c = connected(&s);
	assert_int_equal(client_idem_key(key, &err), 0);
	client_idem_text(key, text);
	assert_int_equal(cancel(c, key, 300, &reply, &arena, &err), ERR_TIMEOUT);
	assert_non_null(strstr(err.msg, "within 0.3 s; the command may have been accepted"));
	assert_non_null(strstr(err.hint, text));
	settled(&s);
	assert_true(s.commands >= 1);
	assert_memory_equal(s.first_key, key, sizeof key);
	assert_int_equal(client_idem_parse(text, again, &err), 0);
	assert_memory_equal(key, again, sizeof key);
	client_free(c);
	stop(&s);
}

/* A renewal is made safe by its sequence number: a key per renewal would fill the daemon's table. */
static void renewals_carry_no_key(void **state)
{
	static const uint8_t none[IDEM_KEY_BYTES];
	CLEANUP(arena_done) struct arena arena = {0};
	struct lease_renew_item item = {.lease = 77, .renew_seq = 1};
	struct cmd_lease_renew body = {.items_n = 1, .items = &item};
	struct client_command cmd = {.type = CMD_LEASE_RENEW, .body = &body};
	struct client_reply reply;
	struct server s;
	struct client *c;
	struct err err;

	(void)state;
	start(&s, DOOR_LOCAL, LOSE_COMMANDS);
	c = connected(&s);
	assert_int_equal(client_command(c, &cmd, 300, &reply, &arena, &err), ERR_TIMEOUT);
	assert_non_null(strstr(err.hint, "renew again"));
	settled(&s);
	assert_memory_equal(s.first_key, none, sizeof none);
	client_free(c);
	stop(&s);
}

/* No greeting, no command: then it is certain that nothing happened. */
static void without_a_greeting_nothing_is_sent(void **state)
{
	CLEANUP(arena_done) struct arena arena = {0};
	struct client_opts nobody = {.program = "test 1"};
	struct client_reply reply;
	struct server s;
	struct client *c;
	struct err err;
	char where[160];

	(void)state;
	start(&s, DOOR_LOCAL, SILENT);
	c = connected(&s);
	assert_int_equal(cancel(c, NULL, 300, &reply, &arena, &err), ERR_UNREACHABLE);
	assert_non_null(strstr(err.msg, "nothing was sent"));
	assert_int_equal(s.commands, 0);
	client_free(c);
	stop(&s);
	snprintf(where, sizeof where, "ipc://%s", in_dir("nobody.sock"));
	nobody.endpoint = where;
	assert_int_equal(client_open(&nobody, &c, &err), 0);
	assert_int_equal(cancel(c, NULL, 300, &reply, &arena, &err), ERR_UNREACHABLE);
	assert_true(err.hint[0]);
	client_free(c);
}

/* The daemon's refusal arrives whole: code, reason, message and what to do. */
static void a_refusal_keeps_its_reason(void **state)
{
	CLEANUP(arena_done) struct arena arena = {0};
	struct client_reply reply;
	struct server s;
	struct client *c;
	struct err err;

	(void)state;
	start(&s, DOOR_LOCAL, REFUSE);
	c = connected(&s);
	assert_int_equal(cancel(c, NULL, WAIT_MS, &reply, &arena, &err), ERR_BUDGET);
	assert_int_equal(err.code, ERR_BUDGET);
	assert_int_equal(err.reason, REASON_HOLD_TOO_LARGE);
	assert_string_equal(err.msg, "the budget does not cover it");
	assert_string_equal(err.hint, "--time 07:23:00");
	client_free(c);
	stop(&s);
}

/* Late answers and rubbish do not pass for the answer. */
static void only_the_right_answer_counts(void **state)
{
	(void)state;
	for (enum script script = STALE_FIRST; script <= RUBBISH_FIRST; script++) {
		CLEANUP(arena_done) struct arena arena = {0};
		struct client_reply reply;
		struct server s;
		struct client *c;
		struct err err;

		start(&s, DOOR_LOCAL, script);
		c = connected(&s);
		assert_int_equal(cancel(c, NULL, WAIT_MS, &reply, &arena, &err), 0);
		assert_int_equal(reply.result.id, 7);
		client_free(c);
		stop(&s);
	}
}

/* A listing that takes several frames is one listing. */
static void a_view_in_pieces_is_put_together(void **state)
{
	CLEANUP(arena_done) struct arena arena = {0};
	struct query query = {.type = QUERY_USAGE};
	struct view_usage view;
	struct server s;
	struct client *c;
	struct err err;

	(void)state;
	start(&s, DOOR_LOCAL, ANSWER);
	c = connected(&s);
	assert_int_equal(client_query(c, &query, WAIT_MS, &view, &arena, &err), 0);
	assert_int_equal(view.seq, 9);
	assert_int_equal(view.items_n, 4);
	assert_string_equal(view.items[1].path, "b");
	assert_string_equal(view.items[2].path, "a");
	assert_int_equal(view.items[2].loan_rums, 1);
	client_free(c);
	stop(&s);
}

/* A key that the server does not know: said at once, not after a timeout. */
static void a_refused_key_is_said_at_once(void **state)
{
	CLEANUP(arena_done) struct arena arena = {0};
	uint8_t pub[LINK_KEY_BYTES], sec[LINK_KEY_BYTES];
	struct client_reply reply;
	struct server s;
	struct client *c;
	struct err err;
	struct client_opts opts = {.key_file = in_dir("key")};

	(void)state;
	start(&s, DOOR_USERS, ANSWER);
	opts.endpoint = s.endpoint;
	opts.server_key = s.pub;
	assert_int_equal(client_open(&opts, &c, &err), ERR_NOTFOUND);
	assert_int_equal(link_keypair(pub, sec, &err), 0);
	assert_int_equal(link_key_save(opts.key_file, pub, sec, &err), 0);
	assert_int_equal(client_open(&opts, &c, &err), 0);
	assert_int_equal(cancel(c, NULL, WAIT_MS, &reply, &arena, &err), ERR_DENIED);
	assert_int_equal(s.commands, 0);
	client_free(c);
	stop(&s);
	unlink(opts.key_file);
}

static void count_away(void *arg) { ++*(int *)arg; }

/* A server with another key than the one we know, or a port of something else: nobody refuses anything, so it has to be
 * told from a host that is down, and while it is waited for a person hears of it once. */
static void a_wrong_server_key_is_told_from_silence(void **state)
{
	CLEANUP(arena_done) struct arena arena = {0};
	uint8_t pub[LINK_KEY_BYTES], sec[LINK_KEY_BYTES], other[LINK_KEY_BYTES];
	struct client_reply reply;
	int away = 0;
	struct server s;
	struct client *c;
	struct err err;
	struct client_opts opts = {.key_file = in_dir("key"), .away = count_away, .arg = &away};

	(void)state;
	start(&s, DOOR_USERS, ANSWER);
	assert_int_equal(link_keypair(other, sec, &err), 0);
	assert_int_equal(link_keypair(pub, sec, &err), 0);
	assert_int_equal(link_key_save(opts.key_file, pub, sec, &err), 0);
	opts.endpoint = s.endpoint;
	opts.server_key = other;
	assert_int_equal(client_open(&opts, &c, &err), 0);
	assert_int_equal(cancel(c, NULL, 7000, &reply, &arena, &err), ERR_UNREACHABLE);
	assert_non_null(strstr(err.msg, "though it takes connections; nothing was sent"));
	assert_non_null(strstr(err.hint, "public key"));
	assert_int_equal(away, 1);
	client_free(c);
	stop(&s);
	opts.endpoint = "tcp://127.0.0.1:1"; /* nobody there */
	assert_int_equal(client_open(&opts, &c, &err), 0);
	assert_int_equal(cancel(c, NULL, 300, &reply, &arena, &err), ERR_UNREACHABLE);
	assert_null(strstr(err.msg, "takes connections"));
	client_free(c);
	unlink(opts.key_file);
}

/* Joining makes a key whose private half stays here, and survives a lost answer. */
static void joining_makes_a_key_and_can_be_repeated(void **state)
{
	CLEANUP(arena_done) struct arena arena = {0};
	uint8_t pub[LINK_KEY_BYTES], sec[LINK_KEY_BYTES], first[LINK_KEY_BYTES];
	const char *path = in_dir("node.key");
	struct join_token token = {.secret = {1, 2, 3}};
	struct msg_enrolled got;
	struct server s;
	struct err err;

	(void)state;
	start(&s, DOOR_ENROL, SILENT);
	memcpy(token.server_key, s.pub, sizeof token.server_key);
	snprintf(token.endpoint, sizeof token.endpoint, "%s", s.endpoint);
	/* Loopback needs a moment for the handshake; the answer never comes. */
	assert_int_equal(client_enrol(&token, "n017", "test 1", path, 1500, &got, &arena, &err), ERR_TIMEOUT);
	assert_int_equal(link_key_load(path, first, sec, &err), 0);
	from_now(&s, ANSWER);
	assert_int_equal(client_enrol(&token, "n017", "test 1", path, WAIT_MS, &got, &arena, &err), 0);
	assert_int_equal(got.cred, 5);
	assert_int_equal(got.node, 3);
	assert_string_equal(got.agents, "tcp://ctl:1");
	assert_int_equal(link_key_load(path, pub, sec, &err), 0);
	assert_memory_equal(first, pub, sizeof pub);
	settled(&s);
	assert_memory_equal(s.enrol_key, pub, sizeof pub);
	assert_memory_equal(s.enrol.secret, token.secret, sizeof token.secret);
	assert_string_equal(s.enrol.name, "n017");
	unlink(path);
	/* A refusal leaves nothing behind. */
	from_now(&s, REFUSE);
	assert_int_equal(client_enrol(&token, "n017", "test 1", path, WAIT_MS, &got, &arena, &err), ERR_BADTOKEN);
	assert_string_equal(err.msg, "the token was used");
	assert_int_equal(access(path, F_OK), -1);
	stop(&s);
}

static void odd_idempotency_keys_are_refused(void **state)
{
	uint8_t key[IDEM_KEY_BYTES];
	struct err err;

	(void)state;
	assert_int_equal(client_idem_parse("5f1c09aa", key, &err), ERR_FORMAT);
	assert_int_equal(client_idem_parse("5f1c09aa5f1c09aa5f1c09aa5f1c09ag", key, &err), ERR_FORMAT);
	assert_int_equal(client_idem_parse("00000000000000000000000000000000", key, &err), ERR_FORMAT);
	assert_int_equal(client_idem_parse("5f1c09aa5f1c09aa5f1c09aa5f1c09a0", key, &err), 0);
	assert_int_equal(key[15], 0xa0);
}

/* ---- the holder, in virtual time -------------------------------------------------------------- */

enum { TTL = 900000, SECOND = 1000 };

static struct boot at(int64_t ms) { return (struct boot){ms * NS_PER_MS}; }
/* The wall clock runs 1e9 ms ahead of boottime unless a test moves it. */
static struct wall wall_at(int64_t ms) { return (struct wall){(ms + 1000000000) * NS_PER_MS}; }

static struct renew_result granted(const struct holder *h)
{
	return (struct renew_result){.lease = h->lease, .fence = h->fence, .ttl_ms = TTL,
				     .renew_after_ms = TTL / 3, .state = LEASE_ACTIVE, .recall_in_ms = -1};
}

static enum holder_action step(struct holder *h, int64_t ms, int64_t *when_ms)
{
	struct boot when;
	enum holder_action a = holder_step(h, at(ms), wall_at(ms), &when);

	*when_ms = when.ns == T_NEVER ? T_NEVER : when.ns / NS_PER_MS;
	return a;
}

/* A fresh holder whose first renewal, sent at `ms`, was answered `rtt_ms` later. */
static struct holder held_since(int64_t ms, int64_t rtt_ms)
{
	struct lease_renew_item item;
	struct renew_result res;
	struct holder h;
	int64_t when;

	holder_init(&h, 77, 3, 4020, 1);
	assert_int_equal(step(&h, ms, &when), HOLDER_RENEW);
	assert_false(holder_may_act(&h, at(ms), wall_at(ms)));
	holder_send(&h, at(ms), &item);
	assert_int_equal(item.lease, 77);
	assert_int_equal(item.fence, 3);
	assert_int_equal(item.renew_seq, 4021);
	res = granted(&h);
	holder_reply(&h, at(ms + rtt_ms), wall_at(ms + rtt_ms), 4021, &res);
	return h;
}

/* The deadline counts from the sending, minus rate error and margin: the daemon counts from its
 * commit, which is later, so nobody else can have the devices while we still act. */
static void the_deadline_counts_from_the_sending(void **state)
{
	int64_t last = 5000 + TTL - TTL / 1000 - 1 - HOLDER_MARGIN_MS, when;
	struct holder h = held_since(5000, 40 * SECOND);

	(void)state;
	assert_int_equal(h.state, HOLDER_HELD);
	assert_int_equal(h.deadline.ns, last * NS_PER_MS);
	assert_true(holder_may_act(&h, at(last - 1), wall_at(last - 1)));
	assert_false(holder_may_act(&h, at(last), wall_at(last)));
	assert_int_equal(h.state, HOLDER_LAPSED);
	assert_int_equal(step(&h, last, &when), HOLDER_RENEW); /* grace: still worth asking */
}

/* The daemon says when to come again, so that ten thousand holders do not come together. */
static void the_next_renewal_is_when_the_daemon_says(void **state)
{
	struct holder h = held_since(5000, 100);
	struct lease_renew_item item;
	int64_t when;

	(void)state;
	assert_int_equal(step(&h, 5100, &when), HOLDER_WAIT);
	assert_int_equal(when, 5100 + TTL / 3);
	assert_int_equal(step(&h, when - 1, &when), HOLDER_WAIT);
	assert_int_equal(step(&h, when, &when), HOLDER_RENEW);
	holder_send(&h, at(when), &item);
	assert_int_equal(item.renew_seq, 4022); /* a new stamp, a new number */
}

/* A retry repeats number and stamp; when it is accepted, the first stamp counts. */
static void a_retry_keeps_its_stamp(void **state)
{
	struct holder h;
	struct lease_renew_item item;
	struct renew_result res;
	int64_t now = 1000, gap, last_gap = 0, when;

	(void)state;
	h = held_since(0, 1);
	now = 300001;
	assert_int_equal(step(&h, now, &when), HOLDER_RENEW);
	for (int tries = 0; tries < 3; tries++) {
		holder_send(&h, at(now), &item);
		assert_int_equal(item.renew_seq, 4022);
		assert_int_equal(step(&h, now, &when), HOLDER_WAIT);
		gap = when - now;
		assert_in_range(gap, TTL / 30 * 3 / 4, TTL / 6 * 5 / 4);
		assert_true(gap > last_gap); /* doubling beats the jitter of a quarter */
		last_gap = gap;
		now = when;
	}
	res = granted(&h);
	holder_reply(&h, at(now), wall_at(now), 4022, &res);
	assert_int_equal(h.deadline.ns, (300001 + TTL - TTL / 1000 - 1 - HOLDER_MARGIN_MS) * NS_PER_MS);
}

/* An unanswered renewal grows old: then a new one with a new stamp, and an answer to either counts
 * from its own stamp. */
static void an_old_attempt_is_replaced(void **state)
{
	struct holder h = held_since(0, 1);
	struct lease_renew_item item;
	struct renew_result res = granted(&h);
	int64_t first = 300001, second = first + TTL / 3 + 1;

	(void)state;
	holder_send(&h, at(first), &item);
	holder_send(&h, at(second), &item);
	assert_int_equal(item.renew_seq, 4023);
	holder_reply(&h, at(second + 10), wall_at(second + 10), 4022, &res);
	assert_int_equal(h.deadline.ns, (first + TTL - TTL / 1000 - 1 - HOLDER_MARGIN_MS) * NS_PER_MS);
	holder_reply(&h, at(second + 20), wall_at(second + 20), 4023, &res);
	assert_int_equal(h.deadline.ns, (second + TTL - TTL / 1000 - 1 - HOLDER_MARGIN_MS) * NS_PER_MS);
	/* Answers that were not asked for, or come twice, move nothing. */
	res.ttl_ms = 10 * TTL;
	holder_reply(&h, at(second + 30), wall_at(second + 30), 4023, &res);
	holder_reply(&h, at(second + 30), wall_at(second + 30), 4099, &res);
	holder_reply(&h, at(second + 30), wall_at(second + 30), 0, &res);
	assert_int_equal(h.deadline.ns, (second + TTL - TTL / 1000 - 1 - HOLDER_MARGIN_MS) * NS_PER_MS);
}

/* Recalled, or told of the end of its term: what an earlier answer had promised on top is gone. */
static void a_later_answer_may_tell_less(void **state)
{
	struct holder h = held_since(0, 1);
	struct lease_renew_item item;
	struct renew_result res = granted(&h);
	int64_t last = 300001 + 120 * SECOND - 120 - 1 - HOLDER_MARGIN_MS;

	(void)state;
	holder_send(&h, at(300001), &item);
	res.ttl_ms = 120 * SECOND;
	res.recall_in_ms = 120 * SECOND;
	holder_reply(&h, at(300010), wall_at(300010), 4022, &res);
	assert_int_equal(h.deadline.ns, last * NS_PER_MS);
	assert_true(holder_may_act(&h, at(last - 1), wall_at(last - 1)));
	assert_false(holder_may_act(&h, at(last), wall_at(last)));
}

/* A machine that was frozen and restored finds its wall clock ahead: whatever it believed is void, also
 * an answer that was under way. */
static void a_jump_of_the_wall_clock_voids_all(void **state)
{
	struct holder h = held_since(0, 1);
	struct lease_renew_item item;
	struct renew_result res = granted(&h);
	struct boot when;
	struct wall jumped = wall_at(10000);

	(void)state;
	assert_true(holder_may_act(&h, at(10000), jumped));
	holder_send(&h, at(10000), &item);
	jumped.ns += (HOLDER_JUMP_MS + 1) * NS_PER_MS;
	assert_false(holder_may_act(&h, at(10000), jumped));
	assert_int_equal(h.state, HOLDER_UNSURE);
	assert_int_equal(h.jumps, 1);
	holder_reply(&h, at(10000), jumped, item.renew_seq, &res);
	assert_int_equal(h.state, HOLDER_UNSURE);
	assert_int_equal(holder_step(&h, at(10000), jumped, &when), HOLDER_RENEW);
	holder_send(&h, at(10000), &item);
	holder_reply(&h, at(10001), (struct wall){jumped.ns + NS_PER_MS}, item.renew_seq, &res);
	assert_true(holder_may_act(&h, at(10001), (struct wall){jumped.ns + NS_PER_MS}));
}

/* Small steps of NTP and a clock set back are no reason to stop. */
static void small_or_backward_steps_are_harmless(void **state)
{
	struct holder h = held_since(0, 1);
	struct wall w = wall_at(1000);

	(void)state;
	w.ns += HOLDER_JUMP_MS * NS_PER_MS;
	assert_true(holder_may_act(&h, at(1000), w));
	w.ns -= 3600 * NS_PER_S;
	assert_true(holder_may_act(&h, at(1000), w));
	w.ns += HOLDER_JUMP_MS * NS_PER_MS;
	assert_true(holder_may_act(&h, at(1000), w));
	assert_int_equal(h.jumps, 0);
}

/* The same jump noticed only when the answer arrives: the stamp was taken before it. */
static void an_answer_across_a_jump_is_void(void **state)
{
	struct holder h = held_since(0, 1);
	struct lease_renew_item item;
	struct renew_result res = granted(&h);

	(void)state;
	holder_send(&h, at(5000), &item);
	holder_reply(&h, at(5010), (struct wall){wall_at(5010).ns + 60 * NS_PER_S}, item.renew_seq, &res);
	assert_int_equal(h.state, HOLDER_UNSURE);
}

/* Gone is gone. */
static void a_gone_lease_stays_gone(void **state)
{
	static const int codes[] = {ERR_GONE, ERR_NOTFOUND};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		struct holder h = held_since(0, 1);
		struct lease_renew_item item;
		struct renew_result res = {.lease = 77, .code = codes[i], .state = LEASE_EXPIRED};
		struct renew_result yes = granted(&h);
		int64_t when;

		holder_send(&h, at(1000), &item);
		holder_reply(&h, at(1001), wall_at(1001), item.renew_seq, &res);
		assert_int_equal(step(&h, 1001, &when), HOLDER_STOP);
		assert_int_equal(when, T_NEVER);
		assert_int_equal(h.code, codes[i]);
		assert_false(holder_may_act(&h, at(1001), wall_at(1001)));
		holder_reply(&h, at(1002), wall_at(1002), item.renew_seq, &yes);
		assert_int_equal(step(&h, 1002, &when), HOLDER_STOP);
	}
}

/* Devices bound anew: look first, then hold the new ones. */
static void a_moved_fence_means_looking_again(void **state)
{
	struct holder h = held_since(0, 1);
	struct lease_renew_item item;
	struct renew_result res = {.lease = 77, .code = ERR_STALE_FENCE, .fence = 4};
	int64_t when;

	(void)state;
	holder_send(&h, at(1000), &item);
	holder_reply(&h, at(1001), wall_at(1001), item.renew_seq, &res);
	assert_false(holder_may_act(&h, at(1001), wall_at(1001)));
	assert_int_equal(step(&h, 1001, &when), HOLDER_LOOK);
	assert_int_equal(step(&h, 1001, &when), HOLDER_WAIT); /* the look may fail: back off */
	assert_int_equal(step(&h, when, &when), HOLDER_LOOK);
	holder_looked(&h, at(when), 4, 5000);
	assert_int_equal(step(&h, when, &when), HOLDER_RENEW);
	holder_send(&h, at(when), &item);
	assert_int_equal(item.fence, 4);
	assert_int_equal(item.renew_seq, 5001);
}

/* Somebody else renewed with higher numbers (an older process of the same provider): learn them. */
static void stale_numbers_are_learnt(void **state)
{
	struct holder h = held_since(0, 1);
	struct lease_renew_item item;
	struct renew_result res = {.lease = 77, .code = ERR_STALE, .fence = 3};
	int64_t when;

	(void)state;
	holder_send(&h, at(1000), &item);
	holder_reply(&h, at(1001), wall_at(1001), item.renew_seq, &res);
	assert_true(holder_may_act(&h, at(1001), wall_at(1001))); /* the lease itself is fine */
	assert_int_equal(step(&h, 1001, &when), HOLDER_LOOK);
	holder_looked(&h, at(1001), 3, 9000);
	assert_int_equal(step(&h, 1001, &when), HOLDER_RENEW);
	holder_send(&h, at(1001), &item);
	assert_int_equal(item.renew_seq, 9001);
}

/* Granted but not bound: nothing to act on, and no hurry. */
static void a_lease_that_is_not_bound_is_not_held(void **state)
{
	struct holder h;
	struct lease_renew_item item;
	struct renew_result res = {.lease = 77, .fence = 0, .renew_after_ms = 1000, .recall_in_ms = -1};
	int64_t when;

	(void)state;
	holder_init(&h, 77, 0, 0, 1);
	holder_send(&h, at(0), &item);
	holder_reply(&h, at(1), wall_at(1), item.renew_seq, &res);
	assert_false(holder_may_act(&h, at(1), wall_at(1)));
	assert_int_equal(step(&h, 1, &when), HOLDER_WAIT);
	assert_in_range(when, 1 + 750, 1 + 1250);
	assert_int_equal(step(&h, when, &when), HOLDER_RENEW);
	/* Once bound, the answer names a fence we do not know: look. */
	holder_send(&h, at(when), &item);
	res.fence = 9;
	holder_reply(&h, at(when), wall_at(when), item.renew_seq, &res);
	assert_true(h.look);
}

/* Near the end of a term or a recall the ttl shrinks; the holder asks more often, not never. */
static void a_capped_ttl_is_renewed_before_it_ends(void **state)
{
	struct holder h;
	struct lease_renew_item item;
	struct renew_result res;
	int64_t when;

	(void)state;
	holder_init(&h, 77, 3, 0, 1);
	res = granted(&h);
	res.ttl_ms = 20 * SECOND;
	holder_send(&h, at(0), &item);
	holder_reply(&h, at(10), wall_at(10), item.renew_seq, &res);
	assert_int_equal(step(&h, 10, &when), HOLDER_WAIT);
	assert_in_range(when, 9000, 10000);
	/* Below the margin it is never held at all. */
	holder_init(&h, 77, 3, 0, 1);
	res.ttl_ms = HOLDER_MARGIN_MS;
	holder_send(&h, at(0), &item);
	holder_reply(&h, at(1), wall_at(1), item.renew_seq, &res);
	assert_int_equal(h.state, HOLDER_LAPSED);
}

/* A day of a bad network against a model of the daemon: whenever the holder believes, the daemon's
 * lease lives; and when the network is good, the holder believes nearly always. */
static void belief_never_outlives_the_lease(void **state)
{
	uint64_t acted = 0, looks = 0, runs = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct prng p;
		struct holder h;
		int64_t ttl = 10 * SECOND, expires = 0, now = 0, rate_ppm;
		uint64_t committed_seq = 0, loss;
		struct { int64_t arrives, answers; uint64_t seq; } flight[8];
		int flying = 0;

		prng_seed(&p, seed);
		holder_init(&h, 77, 3, 0, seed);
		loss = prng_below(&p, 60);                            /* percent, each way */
		rate_ppm = (int64_t)prng_below(&p, 1999) - 999;       /* daemon's clock against ours */
		while (now < 3600 * SECOND) {
			struct boot when;
			int64_t daemon_now = now + now / 1000000 * rate_ppm;
			enum holder_action a = holder_step(&h, at(now), wall_at(now), &when);

			if (a == HOLDER_RENEW) {
				struct lease_renew_item item;

				holder_send(&h, at(now), &item);
				if (flying < 8 && prng_below(&p, 100) >= loss) {
					flight[flying].arrives = now + (int64_t)prng_below(&p, 4000);
					flight[flying].answers = INT64_MAX;
					flight[flying++].seq = item.renew_seq;
				}
			}
			for (int i = 0; i < flying; i++) {
				struct renew_result res = granted(&h);

				if (flight[i].arrives <= now && flight[i].answers == INT64_MAX) {
					if (flight[i].seq > committed_seq) {
						committed_seq = flight[i].seq;
						expires = daemon_now + ttl;
					}
					flight[i].answers = now + (int64_t)prng_below(&p, 4000);
					if (prng_below(&p, 100) < loss)
						flight[i].answers = INT64_MAX - 1;
				} else if (flight[i].answers <= now) {
					res.ttl_ms = ttl;
					res.renew_after_ms = ttl / 3;
					holder_reply(&h, at(now), wall_at(now), flight[i].seq, &res);
					flight[i--] = flight[--flying];
				} else if (flight[i].answers == INT64_MAX - 1) {
					flight[i--] = flight[--flying];
				}
			}
			looks++;
			if (holder_may_act(&h, at(now), wall_at(now))) {
				acted++;
				if (daemon_now >= expires)
					print_error("seed %llu: believed at %lld, expired at %lld\n",
						    (unsigned long long)seed, (long long)daemon_now,
						    (long long)expires);
				assert_true(daemon_now < expires);
			}
			now += 50;
		}
		runs++;
	}
	print_message("%llu hours, %llu looks, believed in %llu\n", (unsigned long long)runs,
		      (unsigned long long)looks, (unsigned long long)acted);
	assert_true(acted > looks / 2);
}

/* ----------------------------------------------------------------------------------------------- */

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/sluis-test-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return rmdir(dir); /* fails when a test left something behind */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tokens_round_trip),
		cmocka_unit_test(tokens_spell_as_base64url),
		cmocka_unit_test(damaged_tokens_are_refused),
		cmocka_unit_test(a_command_is_answered),
		cmocka_unit_test(a_lost_command_is_repeated_under_its_key),
		cmocka_unit_test(an_unknown_outcome_is_said_so),
		cmocka_unit_test(renewals_carry_no_key),
		cmocka_unit_test(without_a_greeting_nothing_is_sent),
		cmocka_unit_test(a_refusal_keeps_its_reason),
		cmocka_unit_test(only_the_right_answer_counts),
		cmocka_unit_test(a_view_in_pieces_is_put_together),
		cmocka_unit_test(a_refused_key_is_said_at_once),
		cmocka_unit_test(a_wrong_server_key_is_told_from_silence),
		cmocka_unit_test(joining_makes_a_key_and_can_be_repeated),
		cmocka_unit_test(odd_idempotency_keys_are_refused),
		cmocka_unit_test(the_deadline_counts_from_the_sending),
		cmocka_unit_test(the_next_renewal_is_when_the_daemon_says),
		cmocka_unit_test(a_retry_keeps_its_stamp),
		cmocka_unit_test(an_old_attempt_is_replaced),
		cmocka_unit_test(a_later_answer_may_tell_less),
		cmocka_unit_test(a_jump_of_the_wall_clock_voids_all),
		cmocka_unit_test(small_or_backward_steps_are_harmless),
		cmocka_unit_test(an_answer_across_a_jump_is_void),
		cmocka_unit_test(a_gone_lease_stays_gone),
		cmocka_unit_test(a_moved_fence_means_looking_again),
		cmocka_unit_test(stale_numbers_are_learnt),
		cmocka_unit_test(a_lease_that_is_not_bound_is_not_held),
		cmocka_unit_test(a_capped_ttl_is_renewed_before_it_ends),
		cmocka_unit_test(belief_never_outlives_the_lease),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
