/* test_link.c - keys, doors and clients over real sockets
 *
 * Everything sluis decides rests on who said it. Without these tests a door could let strangers in, a
 * peer could speak in another one's name, or a refused client could wait for ever. Sockets are on
 * 127.0.0.1 with ports chosen by the kernel, and ipc in a folder made for the test.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/link/guarded.h"
#include "proto/link/link.h"
#include "proto/link/loop.h"

enum { WAIT_MS = 10000 }; /* for what must come; a passing test never waits that long */

struct pair {
	uint8_t pub[LINK_KEY_BYTES], sec[LINK_KEY_BYTES];
};

static struct err err;
static char dir[64];
static struct link_ctx *ctx;
static struct pair server, anna, bert, stranger;

static int setup(void **state)
{
	struct link_ctx_opts opts = {.zap = true};
	struct pair *all[] = {&server, &anna, &bert, &stranger};

	(void)state;
	strcpy(dir, "/tmp/sluis-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	assert_int_equal(link_ctx_new(&opts, &ctx, &err), 0);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		assert_int_equal(link_keypair(all[i]->pub, all[i]->sec, &err), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	link_ctx_free(ctx);
	return rmdir(dir); /* fails when a test left something behind */
}

static const char *in_dir(const char *name)
{
	static char path[4][128];
	static unsigned int turn;
	char *p = path[turn++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

/* ---- helpers ------------------------------------------------------------------------------------ */

static struct link_key key_of(const struct pair *who, uint64_t cred_id, unsigned int doors)
{
	struct link_key key = {.cred_id = cred_id, .doors = (uint8_t)doors};

	memcpy(key.pub, who->pub, LINK_KEY_BYTES);
	return key;
}

static struct link_door *door_open(enum link_door_kind kind, const struct link_limits *limits)
{
	struct link_door *door = NULL;
	char ipc[160];

	snprintf(ipc, sizeof(ipc), "ipc://%s", in_dir("door"));
	assert_int_equal(link_door_open(ctx, kind, kind == DOOR_LOCAL ? ipc : "tcp://127.0.0.1:*",
					kind == DOOR_LOCAL ? NULL : server.sec, limits, &door, &err),
			 0);
	assert_int_equal(link_door_kind(door), kind);
	return door;
}

static struct link_client *client_open(struct link_door *door, const struct pair *who)
{
	struct link_client_opts opts = {.reconnect_ms = 20, .reconnect_max_ms = 40};
	struct link_client *c = NULL;

	assert_int_equal(link_client_open(ctx, link_door_endpoint(door), who ? server.pub : NULL,
					  who ? who->pub : NULL, who ? who->sec : NULL, &opts, &c,
					  &err),
			 0);
	return c;
}

static void client_say(struct link_client *c, const char *text)
{
	assert_int_equal(link_client_send(c, text, strlen(text)), 0);
}

/* Wait until `door` has a message. Polling with a short wait, as there is no loop here. */
static void door_hear(struct link_door *door, struct link_msg *msg)
{
	int64_t deadline = mono_ms(mono_now()) + WAIT_MS;

	while (link_door_recv(door, msg) < 0) {
		assert_true(mono_ms(mono_now()) < deadline);
		(void)zmq_poll(NULL, 0, 2);
	}
}

static void door_hear_text(struct link_door *door, struct link_msg *msg, const char *text)
{
	door_hear(door, msg);
	assert_int_equal(msg->len, strlen(text));
	assert_memory_equal(msg->data, text, msg->len);
}

static void client_hear_text(struct link_client *c, const char *text)
{
	struct link_msg msg;

	assert_int_equal(link_client_wait(c, WAIT_MS, &err), 0);
	assert_int_equal(link_client_recv(c, &msg), 0);
	assert_int_equal(msg.len, strlen(text));
	assert_memory_equal(msg.data, text, msg.len);
	link_msg_done(&msg);
}

/* Say, hear, answer: the client is in and known as `cred_id`. */
static void expect_in(struct link_door *door, struct link_client *c, uint64_t cred_id)
{
	struct link_msg msg;

	client_say(c, "hello");
	door_hear_text(door, &msg, "hello");
	assert_int_equal(msg.ident.kind, LINK_IDENT_CRED);
	assert_int_equal(msg.ident.cred_id, cred_id);
	assert_int_equal(link_door_send(door, &msg.peer, "welcome", 7), 0);
	link_msg_done(&msg);
	client_hear_text(c, "welcome");
	assert_true(link_client_connected(c));
	assert_false(link_client_refused(c));
}

static void expect_refused(struct link_door *door, const struct pair *who)
{
	struct link_client *c = client_open(door, who);
	struct link_msg msg;

	client_say(c, "let me in");
	assert_int_equal(link_client_wait(c, WAIT_MS, &err), ERR_DENIED);
	assert_true(strlen(err.hint) > 0);
	assert_true(link_client_refused(c));
	assert_false(link_client_connected(c));
	assert_int_equal(link_door_recv(door, &msg), ERR_AGAIN);
	link_client_free(c);
}

/* ---- keys --------------------------------------------------------------------------------------- */

static void z85_round_trips_and_is_judged(void **state)
{
	char text[LINK_Z85_BYTES];
	uint8_t key[LINK_KEY_BYTES];

	(void)state;
	link_z85_encode(anna.pub, text);
	assert_int_equal(strlen(text), 40);
	assert_int_equal(link_z85_decode(text, key, &err), 0);
	assert_memory_equal(key, anna.pub, sizeof(key));
	text[39] = '\0';
	assert_int_equal(link_z85_decode(text, key, &err), ERR_FORMAT);
	text[39] = '"';
	assert_int_equal(link_z85_decode(text, key, &err), ERR_FORMAT);
	assert_int_equal(link_z85_decode("", key, &err), ERR_FORMAT);
	/* 40 characters of the alphabet, but groups beyond 32 bits */
	assert_int_equal(link_z85_decode("########################################", key, &err),
			 ERR_FORMAT);
	assert_int_equal(link_public_of(anna.sec, key, &err), 0);
	assert_memory_equal(key, anna.pub, sizeof(key));
}

static void file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* A secret key that others may read is no secret: the file is born 0600 and refused when it is not. */
static void key_file_is_private(void **state)
{
	const char *path = in_dir("node.key");
	static const mode_t bad[] = {0640, 0604, 0610, 0666};
	struct pair got;
	struct stat st;

	(void)state;
	assert_int_equal(link_key_load(path, got.pub, got.sec, &err), ERR_NOTFOUND);
	assert_int_equal(link_key_save(path, anna.pub, anna.sec, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(link_key_load(path, got.pub, got.sec, &err), 0);
	assert_memory_equal(&got, &anna, sizeof(got));

	assert_int_equal(link_key_save(path, bert.pub, bert.sec, &err), ERR_EXISTS);
	assert_int_equal(link_key_load(path, got.pub, got.sec, &err), 0);
	assert_memory_equal(&got, &anna, sizeof(got));

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(chmod(path, bad[i]), 0);
		assert_int_equal(link_key_load(path, got.pub, got.sec, &err), ERR_DENIED);
		assert_non_null(strstr(err.hint, "chmod 600"));
		assert_non_null(strstr(err.hint, path));
	}
	unlink(path);
	assert_int_equal(link_key_save(in_dir("no/such"), anna.pub, anna.sec, &err), ERR_IO);
}

static void key_file_is_parsed_strictly(void **state)
{
	const char *path = in_dir("odd.key");
	char pub[LINK_Z85_BYTES], sec[LINK_Z85_BYTES], other[LINK_Z85_BYTES], text[512];
	struct pair got;

	(void)state;
	link_z85_encode(anna.pub, pub);
	link_z85_encode(anna.sec, sec);
	link_z85_encode(bert.pub, other);

	snprintf(text, sizeof(text), "# node n017\nsecret-key:\t%s\r\npublic-key:%s", sec, pub);
	file_write(path, text);
	assert_int_equal(link_key_load(path, got.pub, got.sec, &err), 0);
	assert_memory_equal(&got, &anna, sizeof(got));

	snprintf(text, sizeof(text), "public-key: %s\nsecret-key: %s\n", other, sec);
	file_write(path, text);
	assert_int_equal(link_key_load(path, got.pub, got.sec, &err), ERR_FORMAT);
	assert_non_null(strstr(err.msg, "pair"));

	snprintf(text, sizeof(text), "public-key: %s\nsecret-key: %s\nsecret-key: %s\n", pub, sec, sec);
	file_write(path, text);
	assert_int_equal(link_key_load(path, got.pub, got.sec, &err), ERR_FORMAT);
	snprintf(text, sizeof(text), "public-key: %s\n", pub);
	file_write(path, text);
	assert_int_equal(link_key_load(path, got.pub, got.sec, &err), ERR_FORMAT);
	snprintf(text, sizeof(text), "public-key: %s\nsecret-key: %sx\n", pub, sec);
	file_write(path, text);
	assert_int_equal(link_key_load(path, got.pub, got.sec, &err), ERR_FORMAT);
	unlink(path);
	assert_int_equal(link_key_load(dir, got.pub, got.sec, &err), ERR_FORMAT);
}

/* ---- who comes in ------------------------------------------------------------------------------- */

static void speak_as_their_credential(bool one_by_one)
{
	struct link_key keys[] = {
		key_of(&bert, 4711, DOOR_BIT(DOOR_USERS)),
		key_of(&anna, 7, DOOR_BIT(DOOR_AGENTS)),
		key_of(&anna, UINT64_MAX, DOOR_BIT(DOOR_USERS)),
		key_of(&anna, 8, DOOR_BIT(DOOR_AGENTS)),
	};
	struct link_door *agents, *users;
	struct link_client *a, *b, *c;

	link_keys_publish(ctx, keys, one_by_one ? 0 : ARRAY_LEN(keys));
	for (size_t i = 0; one_by_one && i < ARRAY_LEN(keys); i++)
		link_key_add(ctx, &keys[(i + 3) % ARRAY_LEN(keys)]);
	agents = door_open(DOOR_AGENTS, NULL);
	users = door_open(DOOR_USERS, NULL);
	a = client_open(agents, &anna);
	b = client_open(users, &bert);
	c = client_open(users, &anna);
	expect_in(agents, a, 7);
	expect_in(users, b, 4711);
	expect_in(users, c, UINT64_MAX);
	expect_refused(agents, &bert);
	assert_int_equal(link_door_stats(agents).dropped_identity, 0);
	link_client_free(a);
	link_client_free(b);
	link_client_free(c);
	link_door_free(agents);
	link_door_free(users);
}

/* A known key speaks as its credential, at the doors it is good for and at no other, however it came to be known. */
static void known_keys_speak_as_their_credential(void **state)
{
	(void)state;
	speak_as_their_credential(false);
	speak_as_their_credential(true);
}

/* Nobody else comes in, and the operator can see who tried. */
static void strangers_are_refused_and_listed(void **state)
{
	struct link_key keys[] = {key_of(&anna, 7, DOOR_BIT(DOOR_AGENTS) | DOOR_BIT(DOOR_USERS))};
	struct link_refusal seen[LINK_REFUSALS_KEPT];
	struct link_door *agents, *users;
	char z85[LINK_Z85_BYTES];
	uint64_t before;
	size_t n;

	(void)state;
	link_keys_publish(ctx, keys, 1);
	n = link_refusals(ctx, 0, seen, LINK_REFUSALS_KEPT);
	before = n > 0 ? seen[n - 1].count : 0;
	agents = door_open(DOOR_AGENTS, NULL);
	users = door_open(DOOR_USERS, NULL);
	expect_refused(agents, &stranger);
	expect_refused(users, &stranger);
	assert_int_equal(link_refusals(ctx, before, seen, LINK_REFUSALS_KEPT), 2);
	link_z85_encode(stranger.pub, z85);
	assert_int_equal(seen[0].door, DOOR_AGENTS);
	assert_int_equal(seen[1].door, DOOR_USERS);
	assert_string_equal(seen[1].key, z85);
	assert_non_null(strstr(seen[1].address, "127.0.0.1"));
	assert_int_equal(link_refusals(ctx, seen[1].count, seen, LINK_REFUSALS_KEPT), 0);
	link_door_free(agents);
	link_door_free(users);
}

/* Who enrols has no credential yet: any key comes in, and is named by itself. */
static void enrolment_takes_any_key(void **state)
{
	struct link_door *enrol = door_open(DOOR_ENROL, NULL);
	struct link_client *c = client_open(enrol, &stranger);
	struct link_msg msg;

	(void)state;
	link_keys_publish(ctx, NULL, 0);
	client_say(c, "token");
	door_hear_text(enrol, &msg, "token");
	assert_int_equal(msg.ident.kind, LINK_IDENT_KEY);
	assert_memory_equal(msg.ident.key, stranger.pub, LINK_KEY_BYTES);
	link_msg_done(&msg);
	link_client_free(c);
	link_door_free(enrol);
}

/* Taking a key out of the table counts for the next connection; and a client refused comes back in
 * by reopening once it is known, which libzmq would never try. */
static void publishing_counts_for_new_connections(void **state)
{
	struct link_key with[] = {key_of(&anna, 7, DOOR_BIT(DOOR_USERS)),
				  key_of(&bert, 9, DOOR_BIT(DOOR_USERS))};
	struct link_door *users = door_open(DOOR_USERS, NULL);
	struct link_client *a, *b;

	(void)state;
	link_keys_publish(ctx, with, 1);
	a = client_open(users, &anna);
	b = client_open(users, &bert);
	expect_in(users, a, 7);
	assert_int_equal(link_client_wait(b, WAIT_MS, &err), ERR_DENIED);

	link_keys_publish(ctx, with + 1, 1);
	expect_in(users, a, 7); /* this connection stands: judged per message, above */
	expect_refused(users, &anna);
	assert_int_equal(link_client_reopen(b, &err), 0);
	assert_false(link_client_refused(b));
	expect_in(users, b, 9);
	link_client_free(a);
	link_client_free(b);
	link_door_free(users);
}

/* ---- the proof of refusal ----------------------------------------------------------------------- */

/* A door as it would be if somebody forgot the ZAP handler: CURVE, and open to every key. */
static void *open_house(void *zmq, char endpoint[LINK_ENDPOINT_BYTES])
{
	void *socket = zmq_socket(zmq, ZMQ_ROUTER);
	size_t size = LINK_ENDPOINT_BYTES;
	int on = 1, zero = 0;

	assert_non_null(socket);
	assert_int_equal(zmq_setsockopt(socket, ZMQ_LINGER, &zero, sizeof(zero)), 0);
	assert_int_equal(zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &on, sizeof(on)), 0);
	assert_int_equal(zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, server.sec, LINK_KEY_BYTES), 0);
	assert_int_equal(zmq_bind(socket, "tcp://127.0.0.1:*"), 0);
	assert_int_equal(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &size), 0);
	return socket;
}

static void refusal_is_proven(void **state)
{
	struct link_door *agents = door_open(DOOR_AGENTS, NULL);
	struct link_door *users = door_open(DOOR_USERS, NULL);

	(void)state;
	link_keys_publish(ctx, NULL, 0);
	assert_int_equal(link_prove_refusal(ctx, link_door_endpoint(agents), server.pub, WAIT_MS,
					    &err), 0);
	assert_int_equal(link_prove_refusal(ctx, link_door_endpoint(users), server.pub, WAIT_MS,
					    &err), 0);
	link_door_free(agents);
	link_door_free(users);
}

/* The guard is worth something only if it fails where it should: at a door without ZAP handler, at
 * one that takes any key, and when there is no verdict at all. */
static void refusal_is_not_proven_by_an_open_door(void **state)
{
	struct link_door *enrol = door_open(DOOR_ENROL, NULL);
	struct link_door *users = door_open(DOOR_USERS, NULL);
	char endpoint[LINK_ENDPOINT_BYTES];
	void *zmq = zmq_ctx_new(), *house = open_house(zmq, endpoint);

	(void)state;
	assert_int_equal(link_prove_refusal(ctx, endpoint, server.pub, WAIT_MS, &err), ERR_STATE);
	assert_int_equal(link_prove_refusal(ctx, link_door_endpoint(enrol), server.pub, WAIT_MS,
					    &err), ERR_STATE);
	assert_true(strlen(err.hint) > 0);
	/* a closed door does not prove anything, nor does one that speaks with another key */
	assert_int_equal(zmq_close(house), 0);
	assert_int_equal(zmq_ctx_term(zmq), 0);
	assert_int_equal(link_prove_refusal(ctx, endpoint, server.pub, 150, &err), ERR_TIMEOUT);
	assert_int_equal(link_prove_refusal(ctx, link_door_endpoint(users), bert.pub, 150, &err),
			 ERR_TIMEOUT);
	link_door_free(enrol);
	link_door_free(users);
}

/* A context without the handler opens no door at all. */
static void no_handler_no_door(void **state)
{
	struct link_ctx_opts opts = {0};
	struct link_ctx *bare = NULL;
	struct link_door *door = NULL;

	(void)state;
	assert_int_equal(link_ctx_new(&opts, &bare, &err), 0);
	assert_int_equal(link_door_open(bare, DOOR_USERS, "tcp://127.0.0.1:*", server.sec, NULL,
					&door, &err), ERR_STATE);
	link_ctx_free(bare);
}

/* ---- the local door ----------------------------------------------------------------------------- */

/* The kernel says who speaks over ipc; the socket is not open to everybody. */
static void local_peers_are_named_by_the_kernel(void **state)
{
	struct link_door *local = door_open(DOOR_LOCAL, NULL);
	struct link_client *c = client_open(local, NULL);
	struct link_msg msg;
	struct stat st;

	(void)state;
	assert_int_equal(stat(in_dir("door"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	client_say(c, "status");
	door_hear_text(local, &msg, "status");
	assert_int_equal(msg.ident.kind, LINK_IDENT_UID);
	assert_int_equal(msg.ident.uid, getuid());
	assert_int_equal(msg.ident.gid, getgid());
	assert_int_equal(msg.ident.pid, getpid());
	assert_int_equal(link_door_send(local, &msg.peer, "fine", 4), 0);
	link_msg_done(&msg);
	client_hear_text(c, "fine");
	link_client_free(c);
	link_door_free(local);
}

/* After kill -9 the socket file is still there and must not stop us; a living daemon's or a file of
 * somebody's must not be taken away. (libzmq would unlink all three.) */
static void ipc_path_is_taken_over_only_when_dead(void **state)
{
	const char *path = in_dir("stale");
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct link_ctx_opts opts = {.zap = true};
	struct link_ctx *other = NULL;
	struct link_door *door = NULL, *second = NULL;
	struct link_limits limits = {.ipc_mode = 0600};
	char endpoint[160];
	struct stat st;
	int fd;

	(void)state;
	snprintf(endpoint, sizeof(endpoint), "ipc://%s", path);
	assert_int_equal(link_ctx_new(&opts, &other, &err), 0);

	file_write(path, "precious");
	assert_int_equal(link_door_open(other, DOOR_LOCAL, endpoint, NULL, NULL, &door, &err),
			 ERR_EXISTS);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 8);
	unlink(path);

	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd); /* the file stays, nobody listens */
	assert_int_equal(link_door_open(other, DOOR_LOCAL, endpoint, NULL, &limits, &door, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);

	assert_int_equal(link_door_open(other, DOOR_LOCAL, endpoint, NULL, NULL, &second, &err),
			 ERR_BUSY);
	assert_int_equal(stat(path, &st), 0);
	link_door_free(door);
	assert_int_equal(access(path, F_OK), -1);

	/* Somebody else took the name while we ran: then it is not ours to remove. */
	assert_int_equal(link_door_open(other, DOOR_LOCAL, endpoint, NULL, NULL, &door, &err), 0);
	unlink(path);
	file_write(path, "precious");
	link_door_free(door);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 8);
	unlink(path);
	link_ctx_free(other);

	assert_int_equal(link_door_open(ctx, DOOR_LOCAL, "ipc://relative", NULL, NULL, &door, &err),
			 ERR_INVAL);
	assert_int_equal(link_door_open(ctx, DOOR_LOCAL, "tcp://127.0.0.1:*", NULL, NULL, &door,
					&err), ERR_INVAL);
}

static void endpoints_are_judged(void **state)
{
	static const char *const bad[] = {
		"tcp://127.0.0.1", "tcp://127.0.0.1:0", "tcp://127.0.0.1:99999", "tcp://127.0.0.1:65536",
		"tcp://127.0.0.1:12x", "tcp://127.0.0.1:", "tcp://:5555", "tcp://[::1]", "127.0.0.1:5555",
		"inproc://x", "ipc://relative", "ipc://@abstract", "", "tcp://", "udp://127.0.0.1:5555",
	};
	struct link_door *door = door_open(DOOR_USERS, NULL), *second = NULL;
	struct link_client *c = NULL;
	char longer[2 * LINK_ENDPOINT_BYTES];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(link_door_open(ctx, DOOR_USERS, bad[i], server.sec, NULL, &second,
						&err), ERR_INVAL);
		assert_int_equal(link_client_open(ctx, bad[i], server.pub, anna.pub, anna.sec, NULL,
						  &c, &err), ERR_INVAL);
	}
	assert_int_equal(link_client_open(ctx, "tcp://127.0.0.1:*", server.pub, anna.pub, anna.sec,
					  NULL, &c, &err), ERR_INVAL);
	memset(longer, 'x', sizeof(longer));
	memcpy(longer, "ipc:///", 7);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(link_door_open(ctx, DOOR_LOCAL, longer, NULL, NULL, &second, &err),
			 ERR_INVAL);
	assert_int_equal(link_door_open(ctx, DOOR_USERS, link_door_endpoint(door), server.sec, NULL,
					&second, &err), ERR_BUSY);
	assert_int_equal(link_door_open(ctx, DOOR_USERS, "ipc:///tmp/x", server.sec, NULL, &second,
					&err), ERR_INVAL);
	assert_int_equal(link_client_open(ctx, "tcp://127.0.0.1:1", NULL, NULL, NULL, NULL, &c,
					  &err), ERR_INVAL);
	link_door_free(door);
}

/* ---- rude peers --------------------------------------------------------------------------------- */

/* A DEALER of a peer that does not play by our rules. */
static void *rude_peer(void *zmq, struct link_door *door, const struct pair *who, const char *id)
{
	void *socket = zmq_socket(zmq, ZMQ_DEALER);
	int zero = 0;

	assert_non_null(socket);
	assert_int_equal(zmq_setsockopt(socket, ZMQ_LINGER, &zero, sizeof(zero)), 0);
	assert_int_equal(zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server.pub, 32), 0);
	assert_int_equal(zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, who->pub, 32), 0);
	assert_int_equal(zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, who->sec, 32), 0);
	if (id != NULL)
		assert_int_equal(zmq_setsockopt(socket, ZMQ_ROUTING_ID, id, strlen(id)), 0);
	assert_int_equal(zmq_connect(socket, link_door_endpoint(door)), 0);
	return socket;
}

/* Bert takes Anna's routing id. He still speaks as Bert, and what is for Anna still reaches Anna. */
static void a_forged_routing_id_changes_nothing(void **state)
{
	struct link_key keys[] = {key_of(&anna, 7, DOOR_BIT(DOOR_USERS)),
				  key_of(&bert, 9, DOOR_BIT(DOOR_USERS))};
	struct link_door *users = door_open(DOOR_USERS, NULL);
	void *zmq = zmq_ctx_new(), *a, *b, *c;
	struct link_client *honest;
	struct link_msg msg;
	char got[16] = "";

	(void)state;
	link_keys_publish(ctx, keys, 2);
	a = rude_peer(zmq, users, &anna, "anna");
	assert_int_equal(zmq_send(a, "I am anna", 9, 0), 9);
	door_hear_text(users, &msg, "I am anna");
	assert_int_equal(msg.ident.cred_id, 7);
	assert_int_equal(msg.peer.len, 4);

	b = rude_peer(zmq, users, &bert, "anna");
	assert_int_equal(zmq_send(b, "I am anna too", 13, 0), 13);
	/* A peer that comes in afterwards shows that Bert's connection was dealt with. */
	c = rude_peer(zmq, users, &bert, "bert");
	honest = client_open(users, &bert);
	expect_in(users, honest, 9);
	assert_int_equal(link_door_send(users, &msg.peer, "for anna", 8), 0);
	link_msg_done(&msg);
	assert_int_equal(zmq_recv(a, got, sizeof(got), 0), 8);
	assert_string_equal(got, "for anna");
	assert_int_equal(zmq_recv(b, got, sizeof(got), ZMQ_DONTWAIT), -1);

	assert_int_equal(zmq_send(c, "cred:7", 6, 0), 6);
	door_hear_text(users, &msg, "cred:7");
	assert_int_equal(msg.ident.cred_id, 9);
	link_msg_done(&msg);
	assert_int_equal(link_door_recv(users, &msg), ERR_AGAIN);
	link_client_free(honest);
	zmq_close(a);
	zmq_close(b);
	zmq_close(c);
	assert_int_equal(zmq_ctx_term(zmq), 0);
	link_door_free(users);
}

/* One frame is a message; everything else is dropped and counted, and the next message is heard. */
/* The ends of TCP connections in this process; returns how many there are. */
static size_t tcp_ends(int ends[256])
{
	size_t n = 0;

	for (int fd = 0; fd < 256; fd++) {
		struct sockaddr_storage peer;
		socklen_t len = sizeof(peer);

		if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && peer.ss_family == AF_INET)
			ends[n++] = fd;
	}
	return n;
}

/* Is each connection of this process watched by the kernel, so that it ends when its peer's machine is gone? */
static void connections_are_watched_by_the_kernel(void **state)
{
	struct link_key key = key_of(&anna, 7, DOOR_BIT(DOOR_USERS));
	struct link_door *door;
	struct link_client *c;
	struct link_msg msg;
	int64_t deadline = mono_ms(mono_now()) + WAIT_MS;
	int ends[256];
	size_t n;

	(void)state;
	/* A closed socket's connections end when libzmq comes to them: those of the stories before are not ours. */
	while (tcp_ends(ends) > 0) {
		assert_true(mono_ms(mono_now()) < deadline);
		(void)zmq_poll(NULL, 0, 2);
	}
	link_keys_publish(ctx, &key, 1);
	door = door_open(DOOR_USERS, NULL);
	c = client_open(door, &anna);
	client_say(c, "here");
	door_hear(door, &msg);
	link_msg_done(&msg);
	n = tcp_ends(ends);
	assert_int_equal(n, 2); /* the door's and the client's */
	for (size_t i = 0; i < n; i++) {
		socklen_t size = sizeof(int);
		unsigned int dead_ms = 0;
		int alive = 0;

		assert_int_equal(getsockopt(ends[i], SOL_SOCKET, SO_KEEPALIVE, &alive, &size), 0);
		assert_int_equal(getsockopt(ends[i], IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, &size), 0);
		assert_true(alive);
		assert_in_range(dead_ms, 1000, 60000);
	}
	link_client_free(c);
	link_door_free(door);
}

/* A flooded door has no empty moment: what has come by an instant is known to be taken by counting rounds. Each gives
 * every peer that waits its turn, and they go on when the peer they were counted by has left. */
static void rounds_serve_everybody_who_waits(void **state)
{
	enum { EACH = 60, PEERS = 3 };
	struct link_key keys[] = {key_of(&anna, 7, DOOR_BIT(DOOR_USERS)), key_of(&bert, 8, DOOR_BIT(DOOR_USERS))};
	struct link_client *c[PEERS], *first;
	uint64_t heard[PEERS] = {0}, before;
	struct link_door *door;
	struct link_msg msg;

	(void)state;
	link_keys_publish(ctx, keys, ARRAY_LEN(keys));
	door = door_open(DOOR_USERS, NULL);
	assert_true(link_door_depth(door) >= 64);
	first = client_open(door, &bert);
	for (int i = 0; i < 300; i++) { /* alone for long: nothing is expected sooner than that */
		client_say(first, "x");
		door_hear(door, &msg);
		link_msg_done(&msg);
	}
	assert_true(link_door_rounds(door) > 200);
	link_client_free(first);
	for (size_t i = 0; i < PEERS; i++)
		c[i] = client_open(door, &anna);
	before = link_door_rounds(door);
	for (int i = 0; i < PEERS * EACH; i++) {
		uint64_t least = UINT64_MAX;

		for (size_t k = 0; i % PEERS == 0 && k < PEERS; k++)
			client_say(c[k], k == 0 ? "0" : k == 1 ? "1" : "2");
		door_hear(door, &msg);
		heard[msg.data[0] - '0']++;
		link_msg_done(&msg);
		for (size_t k = 0; k < PEERS; k++)
			least = heard[k] < least ? heard[k] : least;
		assert_true(link_door_rounds(door) - before <= least + 1);
	}
	assert_in_range(link_door_rounds(door) - before, EACH / 3, EACH);
	for (size_t i = 0; i < PEERS; i++)
		link_client_free(c[i]);
	link_door_free(door);
}

/* Thousands of agents that come back at once must not each cost pages made and thrown away: guarded.h. */
static void handshakes_use_their_guarded_memory_again(void **state)
{
	struct link_key keys[] = {key_of(&anna, 7, DOOR_BIT(DOOR_USERS))};
	struct link_door *users = door_open(DOOR_USERS, NULL);
	struct guarded_stats before = {0};
	struct link_msg msg;

	(void)state;
	link_keys_publish(ctx, keys, 1);
	for (int i = 0; i < 25; i++) {
		struct link_client *c = client_open(users, &anna);

		if (i == 5)
			before = guarded_stats();
		client_say(c, "hello");
		door_hear(users, &msg);
		link_msg_done(&msg);
		link_client_free(c);
	}
	assert_true(guarded_stats().given - before.given >= 100); /* libzmq takes it from us */
	assert_in_range(guarded_stats().made - before.made, 0, 8);
	link_door_free(users);
}

static void odd_frames_are_dropped_and_counted(void **state)
{
	struct link_key keys[] = {key_of(&anna, 7, DOOR_BIT(DOOR_USERS))};
	struct link_door *users = door_open(DOOR_USERS, NULL);
	void *zmq = zmq_ctx_new(), *a;
	struct link_msg msg;

	(void)state;
	link_keys_publish(ctx, keys, 1);
	a = rude_peer(zmq, users, &anna, NULL);
	assert_int_equal(zmq_send(a, "", 0, ZMQ_SNDMORE), 0); /* as REQ sockets do */
	assert_int_equal(zmq_send(a, "body", 4, 0), 4);
	for (int i = 0; i < 40; i++)
		assert_int_equal(zmq_send(a, "part", 4, i < 39 ? ZMQ_SNDMORE : 0), 4);
	for (int i = 0; i < 40; i++) { /* more rubbish than one call looks at */
		assert_int_equal(zmq_send(a, "x", 1, ZMQ_SNDMORE), 1);
		assert_int_equal(zmq_send(a, "y", 1, 0), 1);
	}
	assert_int_equal(zmq_send(a, "plain", 5, 0), 5);
	door_hear_text(users, &msg, "plain");
	link_msg_done(&msg);
	assert_int_equal(link_door_stats(users).dropped_frames, 42);
	assert_int_equal(link_door_stats(users).received, 1);
	assert_int_equal(link_door_stats(users).dropped_identity, 0);
	zmq_close(a);
	assert_int_equal(zmq_ctx_term(zmq), 0);
	link_door_free(users);
}

/* Too large a message costs its sender the connection, and nobody else anything. */
static void oversized_messages_cost_the_connection(void **state)
{
	struct link_key keys[] = {key_of(&anna, 7, DOOR_BIT(DOOR_USERS)),
				  key_of(&bert, 9, DOOR_BIT(DOOR_USERS))};
	struct link_limits limits = {.max_msg_bytes = 1000};
	struct link_door *users = door_open(DOOR_USERS, &limits);
	struct link_client *a, *b;
	struct link_msg msg;
	char big[2000] = "";
	int64_t deadline = mono_ms(mono_now()) + WAIT_MS;
	int rc;

	(void)state;
	link_keys_publish(ctx, keys, 2);
	a = client_open(users, &anna);
	b = client_open(users, &bert);
	expect_in(users, a, 7);
	expect_in(users, b, 9);
	client_say(b, "ping");
	door_hear_text(users, &msg, "ping"); /* keeps Bert's address */
	assert_int_equal(link_client_send(b, big, sizeof(big)), 0);
	while ((rc = link_door_send(users, &msg.peer, "?", 1)) != ERR_UNREACHABLE) {
		assert_true(rc == 0 || rc == ERR_AGAIN);
		assert_true(mono_ms(mono_now()) < deadline);
		(void)zmq_poll(NULL, 0, 2);
	}
	link_msg_done(&msg);
	expect_in(users, a, 7);
	assert_int_equal(link_door_stats(users).received, 4);
	assert_int_equal(link_client_send(a, big, 900), 0);
	door_hear(users, &msg);
	assert_int_equal(msg.len, 900);
	link_msg_done(&msg);
	link_client_free(a);
	link_client_free(b);
	link_door_free(users);
}

/* A reply to nobody is told, not swallowed; and a peer that does not read fills its own queue only. */
static void sends_say_what_became_of_them(void **state)
{
	struct link_key keys[] = {key_of(&anna, 7, DOOR_BIT(DOOR_USERS)),
				  key_of(&bert, 9, DOOR_BIT(DOOR_USERS))};
	struct link_limits limits = {.sndhwm = 4, .max_msg_bytes = 1 << 20};
	struct link_client_opts small = {.rcvhwm = 1};
	struct link_door *users = door_open(DOOR_USERS, &limits);
	struct link_peer nobody = {.len = 5, .id = {0, 1, 2, 3, 4}};
	struct link_client *a = NULL, *b;
	struct link_msg msg;
	static char body[1 << 18];
	int rc = 0;

	(void)state;
	link_keys_publish(ctx, keys, 2);
	assert_int_equal(link_door_send(users, &nobody, "x", 1), ERR_UNREACHABLE);
	nobody.len = 0;
	assert_int_equal(link_door_send(users, &nobody, "x", 1), ERR_UNREACHABLE);
	assert_int_equal(link_door_stats(users).unreachable, 2);

	assert_int_equal(link_client_open(ctx, link_door_endpoint(users), server.pub, anna.pub,
					  anna.sec, &small, &a, &err), 0);
	b = client_open(users, &bert);
	client_say(a, "hello");
	door_hear_text(users, &msg, "hello");
	for (int i = 0; i < 200 && rc == 0; i++)
		rc = link_door_send(users, &msg.peer, body, sizeof(body));
	link_msg_done(&msg);
	assert_int_equal(rc, ERR_AGAIN);
	assert_int_equal(link_door_stats(users).full, 1);
	expect_in(users, b, 9);
	link_client_free(a);
	link_client_free(b);
	link_door_free(users);
}

/* ---- in the loop -------------------------------------------------------------------------------- */

enum { BURST = 200, PER_TURN = 16 };

struct show {
	struct loop *loop;
	struct link_door *door;
	struct link_client *client;
	struct link_key key;
	struct link_peer held[BURST];
	size_t n_held;
	unsigned int heard_this_turn, large_this_turn, heard, answers, turns;
	unsigned int connected, disconnected, refused;
	unsigned int turns_behind;
	bool free_in_callback;
};

static void show_door(struct link_door *door, const struct link_msg *msg, void *arg)
{
	struct show *s = arg;

	assert_ptr_equal(door, s->door);
	assert_int_equal(msg->ident.cred_id, 7);
	s->heard++;
	s->heard_this_turn++;
	s->large_this_turn += msg->len > 1000;
	s->held[s->n_held++ % BURST] = msg->peer;
	if (s->free_in_callback) {
		link_door_free(door);
		s->door = NULL;
		loop_stop(s->loop);
	}
}

/* As the daemon does: answers leave from the idle hook, after the turn's commands were committed. */
static void show_idle(struct loop *loop, void *arg)
{
	struct show *s = arg;

	(void)loop;
	assert_true(s->heard_this_turn <= PER_TURN);
	s->heard_this_turn = 0;
	s->turns++;
	s->turns_behind += s->door != NULL && link_door_behind(s->door);
	while (s->door != NULL && s->n_held > 0)
		assert_int_equal(link_door_send(s->door, &s->held[--s->n_held], "ok", 2), 0);
}

static void show_client(struct link_client *c, enum link_client_event event,
			const struct link_msg *msg, void *arg)
{
	struct show *s = arg;

	assert_ptr_equal(c, s->client);
	assert_true((msg != NULL) == (event == LINK_CLIENT_MESSAGE));
	switch (event) {
	case LINK_CLIENT_MESSAGE:
		/* Ask again as soon as an answer is there: both ends send while work comes in. */
		if (++s->answers == 2 * BURST)
			loop_stop(s->loop);
		else if (s->answers <= BURST)
			assert_int_equal(link_client_send(c, "again", 5), 0);
		break;
	case LINK_CLIENT_CONNECTED:
		s->connected++;
		break;
	case LINK_CLIENT_DISCONNECTED:
		s->disconnected++;
		loop_stop(s->loop);
		break;
	case LINK_CLIENT_REFUSED:
		s->refused++;
		link_keys_publish(ctx, &s->key, 1);
		assert_int_equal(link_client_reopen(c, &err), 0);
		for (int i = 0; i < BURST; i++)
			assert_int_equal(link_client_send(c, "hi", 2), 0);
		break;
	}
}

/* The whole way of a program: refused, known, reopened, 2 x 200 messages through a loop that takes 16
 * a turn, answered from the idle hook. A wake-up swallowed by a send would hang this test; the alarm
 * in main() would end it. */
static void a_loop_serves_without_losing_wakeups(void **state)
{
	struct show s = {.key = key_of(&anna, 7, DOOR_BIT(DOOR_USERS))};
	struct link_client_opts opts = {.reconnect_ms = 20};

	(void)state;
	link_keys_publish(ctx, NULL, 0);
	assert_int_equal(loop_new(&s.loop, &err), 0);
	s.door = door_open(DOOR_USERS, NULL);
	assert_int_equal(link_client_open(ctx, link_door_endpoint(s.door), server.pub, anna.pub,
					  anna.sec, &opts, &s.client, &err), 0);
	loop_set_idle(s.loop, show_idle, &s);
	assert_int_equal(link_door_watch(s.loop, s.door, show_door, &s, PER_TURN, &err), 0);
	assert_int_equal(link_client_watch(s.loop, s.client, show_client, &s, PER_TURN, &err), 0);
	assert_int_equal(loop_run(s.loop, &err), 0);
	assert_int_equal(s.refused, 1);
	assert_int_equal(s.connected, 1);
	assert_int_equal(s.disconnected, 0);
	assert_int_equal(s.heard, 2 * BURST);
	assert_int_equal(s.answers, 2 * BURST);
	assert_true(s.turns >= 2 * BURST / PER_TURN);
	assert_true(s.turns_behind > 0); /* a burst is more than a turn takes: it knows that it is behind */
	assert_false(link_door_behind(s.door)); /* and when it has caught up */

	/* The door goes in the middle of its own callback; the client is told. */
	s.free_in_callback = true;
	assert_int_equal(link_client_send(s.client, "bye", 3), 0);
	assert_int_equal(loop_run(s.loop, &err), 0);
	assert_null(s.door);
	if (s.disconnected == 0)
		assert_int_equal(loop_run(s.loop, &err), 0);
	assert_int_equal(s.disconnected, 1);
	link_client_free(s.client);
	loop_free(s.loop);
}

/* Whatever was sent before this has arrived after it: round trips through another door, over the same
 * I/O thread, for longer than libzmq spares itself a look at its mailbox (1 ms). */
static void let_arrive(struct link_door *door, struct link_client *c)
{
	int64_t until = mono_ms(mono_now()) + 5;
	int trips = 0;

	while (trips++ < 4 || mono_ms(mono_now()) < until)
		expect_in(door, c, 9);
}

static void turns_until(struct loop *loop, const unsigned int *count, unsigned int goal)
{
	for (int i = 0; i < 100 && *count < goal; i++)
		assert_int_equal(loop_turn(loop, 1000, &err), 0);
	assert_int_equal(*count, goal);
}

/* The ways to lose a wake-up, one by one: more messages than one turn takes while the descriptor is
 * quiet again; a message that arrives just before a send, at the door and at the client. */
static void wakeups_survive_bounds_and_sends(void **state)
{
	struct link_key keys[] = {key_of(&anna, 7, DOOR_BIT(DOOR_USERS)),
				  key_of(&bert, 9, DOOR_BIT(DOOR_AGENTS))};
	struct link_door *agents = door_open(DOOR_AGENTS, NULL);
	struct link_client *b = client_open(agents, &bert);
	static const char large[512 << 10];
	struct show s = {0};

	(void)state;
	link_keys_publish(ctx, keys, 2);
	assert_int_equal(link_client_reopen(b, &err), 0);
	assert_int_equal(loop_new(&s.loop, &err), 0);
	s.door = door_open(DOOR_USERS, NULL);
	s.client = client_open(s.door, &anna);
	client_say(s.client, "first");
	assert_int_equal(link_door_watch(s.loop, s.door, show_door, &s, PER_TURN, &err), 0);
	turns_until(s.loop, &s.heard, 1);

	/* The send has the door looked at in the next turn, and the descriptor is ready by then: still
	 * one helping a turn. */
	assert_int_equal(link_door_send(s.door, &s.held[0], "ok", 2), 0);
	for (int i = 0; i < 3 * PER_TURN; i++)
		client_say(s.client, "more");
	let_arrive(agents, b);
	for (unsigned int i = 1; i <= 3; i++) {
		assert_int_equal(loop_turn(s.loop, 1000, &err), 0);
		assert_int_equal(s.heard, 1 + i * PER_TURN);
	}

	assert_int_equal(loop_turn(s.loop, 0, &err), 0); /* quiet */
	client_say(s.client, "while you send");
	let_arrive(agents, b);
	assert_int_equal(link_door_send(s.door, &s.held[0], "ok", 2), 0);
	turns_until(s.loop, &s.heard, 2 + 3 * PER_TURN);

	assert_int_equal(link_client_watch(s.loop, s.client, show_client, &s, PER_TURN, &err), 0);
	turns_until(s.loop, &s.answers, 2);
	turns_until(s.loop, &s.heard, 4 + 3 * PER_TURN); /* show_client asks again */
	assert_int_equal(loop_turn(s.loop, 0, &err), 0);
	assert_int_equal(link_door_send(s.door, &s.held[0], "ok", 2), 0);
	let_arrive(agents, b);
	client_say(s.client, "while you answer");
	turns_until(s.loop, &s.answers, 3);

	/* Nor does a turn take more than 2 MiB, so that it stays short whatever is sent. */
	for (int i = 0; i < 8; i++)
		assert_int_equal(link_client_send(s.client, large, sizeof large), 0);
	for (int i = 0; i < 4; i++)
		let_arrive(agents, b);
	for (unsigned int goal = s.heard + 8; s.heard < goal;) {
		s.large_this_turn = 0;
		assert_int_equal(loop_turn(s.loop, 1000, &err), 0);
		assert_true(s.large_this_turn <= 4);
	}

	link_client_free(s.client);
	link_client_free(b);
	link_door_free(s.door);
	link_door_free(agents);
	loop_free(s.loop);
}

static void slow_door(struct link_door *door, const struct link_msg *msg, void *arg)
{
	struct timespec cpu;
	int64_t ns, until = 0;

	(void)door;
	(void)msg;
	++*(unsigned int *)arg;
	do {
		assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu), 0);
		ns = cpu.tv_sec * NS_PER_S + cpu.tv_nsec;
		until = until ? until : ns + 5 * NS_PER_MS;
	} while (ns < until);
}

/* Dear messages: turns stay short, so that timers and other doors come to their turn. */
static void turns_are_paced(void **state)
{
	struct link_key key = key_of(&anna, 7, DOOR_BIT(DOOR_USERS));
	unsigned int heard = 0, before, most = 0, late = 0;
	struct link_client *c;
	struct link_door *door;
	struct loop *loop;
	struct link_msg msg;

	(void)state;
	link_keys_publish(ctx, &key, 1);
	assert_int_equal(loop_new(&loop, &err), 0);
	door = door_open(DOOR_USERS, &(struct link_limits){.rcvhwm = 1000});
	c = client_open(door, &anna);
	client_say(c, "first");
	door_hear(door, &msg);
	link_msg_done(&msg);
	for (int i = 0; i < 250; i++)
		client_say(c, "dear");
	(void)zmq_poll(NULL, 0, 50);
	assert_int_equal(link_door_watch(loop, door, slow_door, &heard, 1000, &err), 0);
	while (heard < 250) {
		before = heard;
		assert_int_equal(loop_turn(loop, 1000, &err), 0);
		most = heard - before > most ? heard - before : most;
		if (before > 100 && heard - before > late)
			late = heard - before;
	}
	assert_in_range(most, 1, 64);
	assert_in_range(late, 1, 32); /* of 5 ms each */
	link_client_free(c);
	link_door_free(door);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(z85_round_trips_and_is_judged),
		cmocka_unit_test(key_file_is_private),
		cmocka_unit_test(key_file_is_parsed_strictly),
		cmocka_unit_test(known_keys_speak_as_their_credential),
		cmocka_unit_test(strangers_are_refused_and_listed),
		cmocka_unit_test(enrolment_takes_any_key),
		cmocka_unit_test(publishing_counts_for_new_connections),
		cmocka_unit_test(refusal_is_proven),
		cmocka_unit_test(refusal_is_not_proven_by_an_open_door),
		cmocka_unit_test(no_handler_no_door),
		cmocka_unit_test(local_peers_are_named_by_the_kernel),
		cmocka_unit_test(ipc_path_is_taken_over_only_when_dead),
		cmocka_unit_test(endpoints_are_judged),
		cmocka_unit_test(a_forged_routing_id_changes_nothing),
		cmocka_unit_test(connections_are_watched_by_the_kernel),
		cmocka_unit_test(rounds_serve_everybody_who_waits),
		cmocka_unit_test(odd_frames_are_dropped_and_counted),
		cmocka_unit_test(oversized_messages_cost_the_connection),
		cmocka_unit_test(handshakes_use_their_guarded_memory_again),
		cmocka_unit_test(sends_say_what_became_of_them),
		cmocka_unit_test(a_loop_serves_without_losing_wakeups),
		cmocka_unit_test(wakeups_survive_bounds_and_sends),
		cmocka_unit_test(turns_are_paced),
	};

	alarm(120); /* a lost wake-up hangs: fail instead */
	return cmocka_run_group_tests(tests, setup, teardown);
}
