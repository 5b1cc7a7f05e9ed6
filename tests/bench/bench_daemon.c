/* bench_daemon.c - what a real sluisd does over CURVE sockets and a real disk, beside what bare LMDB and
 * bare ZeroMQ do in the same run
 *
 * Starts the sluisd of the same build folder in a fresh directory below --dir, enrols people and emulated
 * agents through its enrolment door, and prints "name: value unit" lines. Every reply is checked; a
 * refusal ends the run. Ratios are to the bare libraries of this very run, so that a slow or busy machine
 * cancels out.
 *
 *     bench_daemon [--dir DIR] [--sluisd FILE] [--nodes N] [--leases N] [--jobs N] [--only LETTERS]
 *
 *     b  bare LMDB and ZeroMQ          s  submissions, arrays         l  submit to PREPARE, idle nodes
 *     r  renewals                      x  kill -9 and restart
 *
 * The emulated agents (this program again, --role agents) are one process with a connection and a key per
 * node; they obey at once. Jobs end as soon as they may run, unless they are named "hold".
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lmdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include "proto/base/ensure.h"
#include "proto/base/instant.h"
#include "proto/base/sha256.h"
#include "proto/client/client.h"
#include "proto/link/link.h"
#include "proto/link/loop.h"
#include "proto/model/names.h"

extern char **environ;

enum {
	DEVICES = 8,
	LEASE_DEVICES = 64, /* per node of the provider */
	BATCH = 1000,       /* leases in one renewal */
	WINDOW = 1000,      /* commands under way */
	JOB_IDS = 4 << 20,
	WAIT_MS = 60000,
};

/* Between the processes of one run, in a mapped file. */
struct shared {
	_Atomic uint32_t ready;   /* agents greeted */
	_Atomic uint32_t started; /* submitters that may go on */
	_Atomic uint32_t go;
	_Atomic uint32_t leases; /* parts of leases running */
	_Atomic int64_t prepared_ns[JOB_IDS]; /* CLOCK_MONOTONIC, by job */
};

static struct {
	const char *base, *sluisd, *only;
	uint32_t nodes, leases, jobs;
	char dir[256];
	struct shared *shared;
	pid_t daemon, agents;
	char agents_at[LINK_ENDPOINT_BYTES], users_at[LINK_ENDPOINT_BYTES], enrol_at[LINK_ENDPOINT_BYTES],
		local_at[LINK_ENDPOINT_BYTES];
	uint8_t server_key[32];
	const char *self;
	double lmdb_per_s, zmq_blocking_per_s, zmq_pipelined_per_s;
} g;

static void put_down(pid_t *pid)
{
	if (*pid > 0) {
		(void)kill(*pid, SIGKILL);
		(void)waitpid(*pid, NULL, 0);
	}
	*pid = 0;
}

static _Noreturn void die(const char *what, const struct err *err)
{
	(void)fprintf(stderr, "bench_daemon: %s: %s%s%s\n", what, err ? err->msg : strerror(errno),
		      err && err->hint[0] ? "; " : "", err ? err->hint : "");
	put_down(&g.agents);
	put_down(&g.daemon);
	exit(1);
}

#define MUST(call, what)                                                                           \
	do {                                                                                       \
		struct err must_err_ = {0};                                                        \
		struct err *err = &must_err_;                                                      \
		if (call)                                                                          \
			die(what, err);                                                            \
	} while (0)

static double seconds_since(struct mono at) { return (double)(mono_now().ns - at.ns) / 1e9; }
static bool wanted(char letter) { return !g.only || strchr(g.only, letter); }

/* ---- figures ------------------------------------------------------------------------------------------ */

struct series { int64_t *ns; size_t n, cap; };

static void series_add(struct series *s, int64_t ns)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 1024;
		s->ns = xrealloc(s->ns, s->cap * sizeof *s->ns);
	}
	s->ns[s->n++] = ns;
}

static int ns_cmp(const void *pa, const void *pb)
{
	int64_t a, b;

	memcpy(&a, pa, sizeof a);
	memcpy(&b, pb, sizeof b);
	return a < b ? -1 : a > b;
}

static void series_print(struct series *s, const char *name)
{
	if (s->n) {
		qsort(s->ns, s->n, sizeof *s->ns, ns_cmp);
		printf("%s_p50: %.3f ms\n", name, (double)s->ns[s->n / 2] / 1e6);
		printf("%s_p99: %.3f ms\n", name, (double)s->ns[s->n * 99 / 100] / 1e6);
		printf("%s_max: %.3f ms\n", name, (double)s->ns[s->n - 1] / 1e6);
	}
	free(s->ns);
	*s = (struct series){0};
	(void)fflush(stdout);
}

static void print_rate(const char *name, double value, const char *unit)
{
	printf("%s: %.0f %s\n", name, value, unit);
	(void)fflush(stdout);
}

static void print_ratio(const char *name, double value, double reference, const char *what)
{
	if (reference > 0)
		printf("%s_ratio: %.2f x %s\n", name, value / reference, what);
	(void)fflush(stdout);
}

static void machine_print(void)
{
	char line[256], cpu[200] = "unknown";
	FILE *f = fopen("/proc/cpuinfo", "r");
	struct utsname u;
	struct statfs fs;
	const char *name = "other";

	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "model name : %199[^\n]", cpu) == 1)
			break;
	if (f)
		(void)fclose(f);
	if (uname(&u) || statfs(g.dir, &fs))
		die("uname, statfs", NULL);
	switch (fs.f_type) {
	case 0xEF53: name = "ext4"; break;
	case 0x58465342: name = "xfs"; break;
	case 0x01021994: name = "tmpfs"; break;
	case 0x9123683E: name = "btrfs"; break;
	case 0x794c7630: name = "overlayfs"; break;
	default: break;
	}
	printf("machine: %s, %ld cores, %s %s, state on %s (0x%lx)\n", cpu, sysconf(_SC_NPROCESSORS_ONLN), u.sysname,
	       u.release, name, (unsigned long)fs.f_type);
	(void)fflush(stdout);
}

/* ---- the bare libraries ------------------------------------------------------------------------------- */

static void bare_lmdb(void)
{
	char path[300], record[200];
	struct series lat = {0};
	struct mono begin, at;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	(void)snprintf(path, sizeof path, "%s/lmdb", g.dir);
	memset(record, 'x', sizeof record);
	if (mkdir(path, 0700) || mdb_env_create(&env) || mdb_env_set_mapsize(env, 256 << 20) ||
	    mdb_env_open(env, path, 0, 0600) || mdb_txn_begin(env, NULL, 0, &txn) || mdb_dbi_open(txn, NULL, 0, &dbi) ||
	    mdb_txn_commit(txn))
		die("lmdb", NULL);
	begin = mono_now();
	for (uint64_t i = 0; i < 20000 && seconds_since(begin) < 2; i++) {
		uint64_t id = __builtin_bswap64(i);
		MDB_val k = {sizeof id, &id}, v = {sizeof record, record};

		at = mono_now();
		if (mdb_txn_begin(env, NULL, 0, &txn) || mdb_put(txn, dbi, &k, &v, MDB_APPEND) || mdb_txn_commit(txn))
			die("lmdb commit", NULL);
		series_add(&lat, mono_now().ns - at.ns);
	}
	g.lmdb_per_s = (double)lat.n / seconds_since(begin);
	mdb_env_close(env);
	print_rate("bare_lmdb_commits", g.lmdb_per_s, "1/s");
	series_print(&lat, "bare_lmdb_commit");
}

static void *echo(void *router)
{
	for (;;) {
		zmq_msg_t id, body;

		zmq_msg_init(&id);
		zmq_msg_init(&body);
		if (zmq_msg_recv(&id, router, 0) < 0 || zmq_msg_recv(&body, router, 0) < 0 || !zmq_msg_size(&body)) {
			zmq_msg_close(&id);
			zmq_msg_close(&body);
			return NULL;
		}
		if (zmq_msg_send(&id, router, ZMQ_SNDMORE) < 0 || zmq_msg_send(&body, router, 0) < 0)
			return NULL;
	}
}

static void bare_zmq(void)
{
	void *server = zmq_ctx_new(), *client = zmq_ctx_new();
	void *router = zmq_socket(server, ZMQ_ROUTER), *dealer = zmq_socket(client, ZMQ_DEALER);
	char server_pub[41], server_sec[41], pub[41], sec[41], at[256], message[300] = {1};
	int on = 1, none = 0, hwm = 0;
	size_t at_len = sizeof at;
	struct series lat = {0};
	struct mono begin, one;
	pthread_t thread;
	int under_way = 0;

	if (zmq_curve_keypair(server_pub, server_sec) || zmq_curve_keypair(pub, sec) ||
	    zmq_setsockopt(router, ZMQ_CURVE_SERVER, &on, sizeof on) ||
	    zmq_setsockopt(router, ZMQ_CURVE_SECRETKEY, server_sec, 41) ||
	    zmq_setsockopt(dealer, ZMQ_CURVE_SERVERKEY, server_pub, 41) ||
	    zmq_setsockopt(dealer, ZMQ_CURVE_PUBLICKEY, pub, 41) || zmq_setsockopt(dealer, ZMQ_CURVE_SECRETKEY, sec, 41) ||
	    zmq_setsockopt(dealer, ZMQ_LINGER, &none, sizeof none) || zmq_setsockopt(router, ZMQ_LINGER, &none, sizeof none) ||
	    zmq_setsockopt(dealer, ZMQ_SNDHWM, &hwm, sizeof hwm) || zmq_bind(router, "tcp://127.0.0.1:*") ||
	    zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, at, &at_len) || zmq_connect(dealer, at) ||
	    pthread_create(&thread, NULL, echo, router))
		die("zmq", NULL);
	for (int i = 0; i < 6000; i++) {
		if (i == 1000)
			begin = mono_now();
		one = mono_now();
		if (zmq_send(dealer, message, sizeof message, 0) < 0 || zmq_recv(dealer, message, sizeof message, 0) < 0)
			die("zmq round trip", NULL);
		if (i >= 1000)
			series_add(&lat, mono_now().ns - one.ns);
	}
	g.zmq_blocking_per_s = 5000 / seconds_since(begin);
	print_rate("bare_zmq_round_trips", g.zmq_blocking_per_s, "1/s");
	series_print(&lat, "bare_zmq_round_trip");
	begin = mono_now();
	for (int sent = 0, got = 0; got < 200000;) {
		for (; sent < 200000 && under_way < 256; sent++, under_way++)
			if (zmq_send(dealer, message, sizeof message, 0) < 0)
				die("zmq send", NULL);
		if (zmq_recv(dealer, message, sizeof message, 0) < 0)
			die("zmq recv", NULL);
		got++;
		under_way--;
	}
	g.zmq_pipelined_per_s = 200000 / seconds_since(begin);
	print_rate("bare_zmq_pipelined_256", g.zmq_pipelined_per_s, "1/s");
	(void)zmq_send(dealer, "", 0, 0);
	(void)pthread_join(thread, NULL);
	zmq_close(router);
	zmq_close(dealer);
	zmq_ctx_term(server);
	zmq_ctx_term(client);
}

/* ---- sluisd ------------------------------------------------------------------------------------------- */

static void field(const char *json, const char *name, char *out, size_t n)
{
	char key[64];
	const char *at;
	size_t i = 0;

	(void)snprintf(key, sizeof key, "\"%s\": \"", name);
	at = strstr(json, key);
	if (!at)
		die("sluisd printed no endpoints", NULL);
	for (at += strlen(key); *at && *at != '"' && i + 1 < n; at++)
		out[i++] = *at;
	out[i] = '\0';
}

static pid_t spawn(const char *const argv[], int out, int err_fd)
{
	posix_spawn_file_actions_t fa;
	char *args[64];
	pid_t pid;
	int n = 0;

	for (; argv[n]; n++)
		args[n] = xstrdup(argv[n]);
	args[n] = NULL;

	(void)posix_spawn_file_actions_init(&fa);
	if (out >= 0)
		(void)posix_spawn_file_actions_adddup2(&fa, out, 1);
	if (err_fd >= 0)
		(void)posix_spawn_file_actions_adddup2(&fa, err_fd, 2);
	errno = posix_spawn(&pid, args[0], &fa, NULL, args, environ);
	if (errno)
		die(args[0], NULL);
	while (n-- > 0)
		free(args[n]);
	(void)posix_spawn_file_actions_destroy(&fa);
	return pid;
}

static void daemon_start(void)
{
	char state[320], local[320], log[320], json[2048] = "", z85[64];
	const char *argv[] = {g.sluisd, "--config", "/dev/null", "--print-endpoints",
			      "--set", state, "--set", local, "--set", "listen.agents=tcp://127.0.0.1:*",
			      "--set", "listen.users=tcp://127.0.0.1:*", "--set", "listen.enrol=tcp://127.0.0.1:*",
			      "--set", "liveness={heartbeat: 50m, suspect: 1d, unreachable: 1d}",
			      "--set", "leases.bind_timeout=10m", "--set", "map_size=16GiB", NULL};
	int fd[2], log_fd;
	size_t len = 0;

	(void)snprintf(state, sizeof state, "state_dir=%s/state", g.dir);
	(void)snprintf(local, sizeof local, "listen.local=%s/sock", g.dir);
	(void)snprintf(log, sizeof log, "%s/sluisd.log", g.dir);
	log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (log_fd < 0 || pipe2(fd, O_CLOEXEC))
		die("pipe", NULL);
	g.daemon = spawn(argv, fd[1], log_fd);
	(void)close(fd[1]);
	(void)close(log_fd);
	while (!memchr(json, '\n', len) && len + 1 < sizeof json) {
		ssize_t n = read(fd[0], json + len, sizeof json - 1 - len);

		if (n <= 0) {
			(void)fprintf(stderr, "bench_daemon: sluisd ended; see %s\n", log);
			exit(1);
		}
		len += (size_t)n;
		json[len] = '\0';
	}
	(void)close(fd[0]);
	field(json, "agents", g.agents_at, sizeof g.agents_at);
	field(json, "users", g.users_at, sizeof g.users_at);
	field(json, "enrol", g.enrol_at, sizeof g.enrol_at);
	field(json, "local", g.local_at, sizeof g.local_at);
	field(json, "server_key", z85, sizeof z85);
	MUST(link_z85_decode(z85, g.server_key, err), "server key");
}

static int64_t daemon_status_kib(const char *key)
{
	char path[64], line[256];
	long kib = 0;
	FILE *f;

	(void)snprintf(path, sizeof path, "/proc/%ld/status", (long)g.daemon);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof line, f))
		if (!strncmp(line, key, strlen(key)))
			kib = strtol(line + strlen(key) + 1, NULL, 10);
	if (f)
		(void)fclose(f);
	return kib;
}

/* CPU time of all threads of sluisd, ns. Unlike a rate it hardly depends on what else the machine does. */
static int64_t daemon_cpu_ns(void)
{
	unsigned long user = 0, sys = 0;
	char path[64];
	FILE *f;

	(void)snprintf(path, sizeof path, "/proc/%ld/stat", (long)g.daemon);
	f = fopen(path, "r");
	if (f && fscanf(f, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) != 2)
		user = sys = 0;
	if (f)
		(void)fclose(f);
	return (int64_t)(user + sys) * (NS_PER_S / sysconf(_SC_CLK_TCK));
}

static void print_cpu(const char *name, int64_t before, double n)
{
	printf("%s_cpu: %.2f us each\n", name, (double)(daemon_cpu_ns() - before) / 1000 / n);
	(void)fflush(stdout);
}

/* ---- people and the division -------------------------------------------------------------------------- */

static struct client *admin_open(void)
{
	struct client_opts opts = {.endpoint = g.local_at, .program = "bench"};
	struct client *c;

	MUST(client_open(&opts, &c, err), "local door");
	return c;
}

static uint64_t command(struct client *c, uint16_t type, const void *body, const struct bytes *payload)
{
	CLEANUP(arena_done) struct arena arena = {0};
	struct client_command cmd = {.type = type, .body = body};
	struct client_reply reply;

	if (payload)
		cmd.payload = *payload;
	MUST(client_command(c, &cmd, WAIT_MS, &reply, &arena, err), command_name(type));
	return reply.result.id;
}

/* A token for `uses` newcomers, as text. */
static void token_make(struct client *admin, uint8_t role, const char *name, const char *provider, uint32_t uses,
		       char text[TOKEN_TEXT_BYTES])
{
	struct cmd_token_create body = {.role = role, .uses = uses, .ttl_ms = MS_PER_HOUR};
	struct join_token token;

	memcpy(token.server_key, g.server_key, sizeof token.server_key);
	MUST(token_secret(token.secret, err), "token");
	(void)snprintf(token.endpoint, sizeof token.endpoint, "%s", g.enrol_at);
	token_hash(token.secret, body.hash);
	(void)snprintf(body.name, sizeof body.name, "%s", name);
	(void)snprintf(body.provider, sizeof body.provider, "%s", provider);
	(void)command(admin, CMD_TOKEN_CREATE, &body, NULL);
	token_encode(&token, text);
}

static void enrol(const char *text, const char *name, char key_file[320])
{
	CLEANUP(arena_done) struct arena arena = {0};
	struct msg_enrolled done;
	struct join_token token;

	(void)snprintf(key_file, 320, "%s/%s.key", g.dir, name);
	MUST(token_parse(text, &token, err), "token");
	MUST(client_enrol(&token, name, "bench", key_file, WAIT_MS, &done, &arena, err), "enrol");
}

static void divide(struct client *admin)
{
	uint32_t lease_nodes = (g.leases + LEASE_DEVICES - 1) / LEASE_DEVICES;
	struct flavor flavor[] = {
		{.name = "h100", .vendor = "nvidia", .model = "H100", .weight_milli = 1000, .devices_per_node = DEVICES,
		 .committed_units = g.nodes * DEVICES, .scrub_ms_max = 1000},
		{.name = "l4", .vendor = "nvidia", .model = "L4", .weight_milli = 100, .devices_per_node = LEASE_DEVICES,
		 .committed_units = (lease_nodes + 1) * LEASE_DEVICES, .scrub_ms_max = 1000},
	};
	struct quota train = {1, SHAPE_GPU, g.nodes * DEVICES, QTY_UNLIMITED, QTY_UNLIMITED};
	struct quota serve = {2, SHAPE_GPU, (lease_nodes + 1) * LEASE_DEVICES, QTY_UNLIMITED, QTY_UNLIMITED};
	struct member member = {"ann"};
	struct qnode q[] = {
		{.kind = QNODE_ROOT, .name = "root"},
		{.kind = QNODE_PUBLIC, .name = "public", .parent = 1, .recall_slo_ms = 30 * MS_PER_MIN},
		{.kind = QNODE_SECTOR, .name = "health", .parent = 2},
		{.kind = QNODE_PROJECT, .name = "lung", .parent = 3, .quotas_n = 1, .quotas = &train, .members_n = 1,
		 .members = &member},
		{.kind = QNODE_PRIVATE, .name = "private", .parent = 1, .recall_slo_ms = 30 * MS_PER_MIN},
		{.kind = QNODE_CLASS, .name = "company", .parent = 5},
		{.kind = QNODE_PROVIDER, .name = "chat", .parent = 6, .quotas_n = 1, .quotas = &serve},
	};
	struct cmd_division_apply body = {.flavors_n = 2, .flavors = flavor, .qnodes_n = 7, .qnodes = q};

	(void)command(admin, CMD_DIVISION_APPLY, &body, NULL);
}

/* ---- commands in a stream ----------------------------------------------------------------------------- */

struct stream {
	struct link_ctx *ctx;
	struct link_client *link;
	struct buf body, frame;
	struct arena arena;
	uint64_t req;      /* of the next command */
	uint64_t answered; /* without error */
	uint64_t seed;
	struct series *lat;      /* by request, if wanted */
	int64_t sent_ns[1 << 12];
	void (*each)(struct stream *s, const struct msg_reply *reply);
	uint32_t results; /* renewals counted by `each` */
};

static struct msg_reply *stream_reply(struct stream *s, uint64_t *ret_req)
{
	static struct msg_reply reply;
	struct link_msg msg;
	struct frame frame;

	if (link_client_recv(s->link, &msg))
		return NULL;
	arena_reset(&s->arena);
	MUST(frame_decode(msg.data, msg.len, &frame, err), "reply");
	if (frame.type == MSG_WELCOME) {
		link_msg_done(&msg);
		return stream_reply(s, ret_req);
	}
	if (frame.type != MSG_REPLY)
		die("an answer that is no REPLY", NULL);
	MUST(message_decode(&frame, &reply, &s->arena, err), "reply");
	*ret_req = frame.req;
	link_msg_done(&msg);
	if (reply.code) {
		struct err e;

		err_set(&e, reply.code, "%s", reply.message);
		err_hint(&e, "%s", reply.hint ? reply.hint : "");
		die("refused", &e);
	}
	return &reply;
}

static void stream_open(struct stream *s, const char *endpoint, const char *key_file)
{
	const struct msg_hello hello = {.version_min = FRAME_VERSION, .version_max = FRAME_VERSION, .program = "bench"};
	const struct link_ctx_opts opts = {0};
	const struct link_client_opts client = {.sndhwm = 4096, .rcvhwm = 4096};
	uint8_t pub[32], sec[32];

	*s = (struct stream){.req = 1};
	MUST(token_secret(pub, err), "seed");
	memcpy(&s->seed, pub, sizeof s->seed);
	MUST(link_key_load(key_file, pub, sec, err), "key file");
	MUST(link_ctx_new(&opts, &s->ctx, err), "context");
	MUST(link_client_open(s->ctx, endpoint, g.server_key, pub, sec, &client, &s->link, err), "connect");
	message_encode(MSG_HELLO, 0, &hello, &s->frame);
	if (link_client_send(s->link, s->frame.data, s->frame.len))
		die("greeting", NULL);
	MUST(link_client_wait(s->link, WAIT_MS, err), "greeting");
}

static void stream_done(struct stream *s)
{
	link_client_free(s->link);
	link_ctx_free(s->ctx);
	buf_done(&s->body);
	buf_done(&s->frame);
	arena_done(&s->arena);
}

static void stream_take(struct stream *s)
{
	uint64_t req;
	struct msg_reply *reply;

	MUST(link_client_wait(s->link, WAIT_MS, err), "an answer");
	while ((reply = stream_reply(s, &req)) != NULL) {
		s->answered++;
		if (s->lat)
			series_add(s->lat, mono_now().ns - s->sent_ns[req % ARRAY_LEN(s->sent_ns)]);
		if (s->each)
			s->each(s, reply);
	}
}

static void stream_send(struct stream *s, uint16_t type, const void *body, const struct bytes *payload)
{
	struct msg_command msg = {.type = type};

	buf_reset(&s->body);
	schema_encode(schema_of_command(type), body, &s->body);
	msg.body = (struct bytes){s->body.data, (uint32_t)s->body.len};
	memcpy(msg.idem_key, &s->seed, 8);
	memcpy(msg.idem_key + 8, &s->req, 8);
	if (payload)
		msg.payload = *payload;
	buf_reset(&s->frame);
	message_encode(MSG_COMMAND, s->req, &msg, &s->frame);
	s->sent_ns[s->req % ARRAY_LEN(s->sent_ns)] = mono_now().ns;
	while (link_client_send(s->link, s->frame.data, s->frame.len))
		stream_take(s);
	s->req++;
}

/* At most `window` unanswered ones. */
static void stream_settle(struct stream *s, uint64_t window)
{
	while (s->req - 1 - s->answered > window)
		stream_take(s);
}

static void payload_make(struct buf *out, uint64_t distinct)
{
	struct string env[] = {{"PATH=/usr/local/bin:/usr/bin:/bin"}, {"HOME=/home/ann"}, {"LANG=C.UTF-8"}};
	char script[300];
	struct payload p = {.script = script, .env_n = ARRAY_LEN(env), .env = env, .cwd = "/home/ann/lung",
			    .output = "out-%j.txt", .submit_host = "login1"};

	(void)snprintf(script, sizeof script, "#!/bin/sh\n# run %" PRIu64 "\nexec torchrun train.py --epochs 90 --data /data/lung\n",
		       distinct);
	buf_reset(out);
	schema_encode(&schema_payload, &p, out);
}

static struct cmd_job_submit job_body(uint32_t units, const char *name)
{
	struct cmd_job_submit body = {
		.spec = {.units = units, .klass = JOB_NORMAL, .loan = LOAN_NEVER, .mode = JOB_SCRIPT,
			 .time_limit_ms = MS_PER_HOUR, .notice_ms = MS_PER_MIN, .retries_infra = 3},
		.project = "lung",
		.flavor = "h100",
	};

	(void)snprintf(body.spec.name, sizeof body.spec.name, "%s", name);
	return body;
}

/* `n` submissions, `window` under way; returns jobs per second. */
static double submit(struct stream *s, uint32_t n, uint64_t window, bool distinct)
{
	struct cmd_job_submit body = job_body(1, "train");
	CLEANUP(buf_done) struct buf payload = BUF_INIT;
	struct bytes bytes;
	struct mono begin = mono_now();

	payload_make(&payload, 0);
	for (uint32_t i = 0; i < n; i++) {
		if (distinct)
			payload_make(&payload, s->seed + i);
		bytes = (struct bytes){payload.data, (uint32_t)payload.len};
		body.spec.time_limit_ms = (1 + i % 48) * 30 * MS_PER_MIN;
		body.spec.units = 1 + i % 8;
		stream_send(s, CMD_JOB_SUBMIT, &body, &bytes);
		stream_settle(s, window - 1);
	}
	stream_settle(s, 0);
	return n / seconds_since(begin);
}

/* ---- emulated agents (a process of their own) --------------------------------------------------------- */

struct agent {
	struct link_client *link;
	uint32_t index;
	uint8_t pub[32], sec[32];
	char name[NAME_BYTES];
	uint64_t epoch, session, counter;
	bool ready;
};

static void agent_greet(struct agent *a)
{
	CLEANUP(buf_done) struct buf node = BUF_INIT, frame = BUF_INIT;
	bool leases = a->index >= g.nodes;
	uint16_t devices_n = leases ? LEASE_DEVICES : DEVICES;
	struct device *dev = xcalloc(devices_n, sizeof *dev);
	struct cmd_node_hello hello = {.boot_id = "boot-1", .incarnation = 1, .cores_n = 128, .memory_mib = 1 << 20,
				       .address = "127.0.0.1", .emulated = true, .digest = {1}, .devices = dev,
				       .devices_n = devices_n};
	struct msg_hello msg = {.version_min = FRAME_VERSION, .version_max = FRAME_VERSION, .program = "bench"};

	for (uint16_t i = 0; i < devices_n; i++) {
		(void)snprintf(dev[i].pci, sizeof dev[i].pci, "0000:%02x:00.0", i + 1);
		(void)snprintf(dev[i].vendor, sizeof dev[i].vendor, "nvidia");
		(void)snprintf(dev[i].model, sizeof dev[i].model, leases ? "L4" : "H100");
		dev[i].numa = i >= devices_n / 2;
		dev[i].memory_mib = 80000;
		dev[i].cores[i >= devices_n / 2] = ~UINT64_C(0);
	}
	schema_encode(schema_of_command(CMD_NODE_HELLO), &hello, &node);
	msg.node = (struct bytes){node.data, (uint32_t)node.len};
	message_encode(MSG_HELLO, 1, &msg, &frame);
	if (link_client_send(a->link, frame.data, frame.len))
		die("an agent's greeting", NULL);
	free(dev);
}

static void agent_obey(struct agent *a, const struct msg_desired *want)
{
	CLEANUP(buf_done) struct buf frame = BUF_INIT;
	struct unit_status *row = xcalloc(want->units_n + 1, sizeof *row);
	struct msg_report report = {.rev_seen = want->rev, .epoch = a->epoch, .session = a->session, .incarnation = 1,
				    .counter = ++a->counter, .units = row};
	int64_t now = mono_now().ns;

	for (uint32_t i = 0; i < want->units_n; i++) {
		const struct unit *u = &want->units[i];
		bool job = u->kind == UNIT_JOB_SCRIPT || u->kind == UNIT_JOB_COMMAND;
		struct unit_status *r = &row[report.units_n++];

		*r = (struct unit_status){.alloc = u->alloc, .part = u->part, .port = 5000, .checkpoint_ago_ms = -1,
					  .healthy = true};
		if (u->phase == UNIT_PREPARE) {
			r->state = UNIT_PREPARED;
			if (job && u->owner < JOB_IDS && !g.shared->prepared_ns[u->owner])
				g.shared->prepared_ns[u->owner] = now;
		} else if (u->phase == UNIT_STOP || (job && strcmp(u->name, "hold") != 0)) {
			r->state = UNIT_RELEASED;
		} else {
			r->state = UNIT_RUNNING;
		}
	}
	message_encode(MSG_REPORT, 0, &report, &frame);
	if (link_client_send(a->link, frame.data, frame.len))
		die("an agent's report", NULL);
	free(row);
}

static void on_agent(struct link_client *link, enum link_client_event event, const struct link_msg *msg, void *arg)
{
	CLEANUP(arena_done) struct arena arena = {0};
	struct agent *a = arg;
	struct frame frame;

	(void)link;
	if (event == LINK_CLIENT_CONNECTED) {
		agent_greet(a);
		return;
	}
	if (event != LINK_CLIENT_MESSAGE)
		return;
	MUST(frame_decode(msg->data, msg->len, &frame, err), "frame for an agent");
	if (frame.type == MSG_WELCOME) {
		struct msg_welcome welcome;

		MUST(message_decode(&frame, &welcome, &arena, err), "welcome");
		a->epoch = welcome.epoch;
		a->session = welcome.session;
		if (!a->ready)
			g.shared->ready++;
		a->ready = true;
	} else if (frame.type == MSG_DESIRED) {
		struct msg_desired want;

		MUST(message_decode(&frame, &want, &arena, err), "desired state");
		agent_obey(a, &want);
	}
}

static int agents_main(const char *token)
{
	const struct link_ctx_opts opts = {.max_sockets = 60000};
	uint32_t n = g.nodes + (g.leases + LEASE_DEVICES - 1) / LEASE_DEVICES;
	struct agent *agents = xcalloc(n, sizeof *agents);
	char key_file[320];
	struct link_ctx *ctx;
	struct loop *loop;

	MUST(link_ctx_new(&opts, &ctx, err), "context");
	MUST(loop_new(&loop, err), "loop");
	for (uint32_t i = 0; i < n; i++) {
		struct agent *a = &agents[i];

		a->index = i;
		(void)snprintf(a->name, sizeof a->name, "n%05u", i);
		enrol(token, a->name, key_file);
		MUST(link_key_load(key_file, a->pub, a->sec, err), "key file");
		MUST(link_client_open(ctx, g.agents_at, g.server_key, a->pub, a->sec, NULL, &a->link, err), "agent");
		MUST(link_client_watch(loop, a->link, on_agent, a, 64, err), "agent");
		MUST(loop_turn(loop, 0, err), "loop");
	}
	MUST(loop_run(loop, err), "loop");
	return 0;
}

/* ---- this program again ------------------------------------------------------------------------------- */

static pid_t self_run(const char *role, const char *a, const char *b, int out)
{
	char nodes[16], leases[16], z85[64];
	const char *argv[] = {g.self, "--role", role, "--in", g.dir, "--nodes", nodes,
			"--leases", leases, "--agents", g.agents_at, "--users", g.users_at, "--enrol", g.enrol_at,
			"--key", z85, "--a", a, "--b", b, NULL};

	(void)snprintf(nodes, sizeof nodes, "%u", g.nodes);
	(void)snprintf(leases, sizeof leases, "%u", g.leases);
	link_z85_encode(g.server_key, z85);
	return spawn(argv, out, -1);
}

static void shared_map(bool create)
{
	char path[300];
	int fd;

	(void)snprintf(path, sizeof path, "%s/shared", g.dir);
	fd = open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0600);
	if (fd < 0 || (create && ftruncate(fd, sizeof *g.shared)))
		die(path, NULL);
	g.shared = mmap(NULL, sizeof *g.shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (g.shared == MAP_FAILED)
		die(path, NULL);
	(void)close(fd);
}

/* One of several pipelined clients: prints its rate. */
static int submitter_main(const char *key_file, const char *count)
{
	struct stream s;

	stream_open(&s, g.users_at, key_file);
	g.shared->started++;
	while (!g.shared->go)
		(void)usleep(1000);
	(void)submit(&s, (uint32_t)strtoul(count, NULL, 10), WINDOW, false);
	stream_done(&s);
	return 0;
}

/* ---- the measurements --------------------------------------------------------------------------------- */

static struct view_status status_of(struct client *admin, struct arena *arena)
{
	struct query q = {.type = QUERY_STATUS};
	struct view_status v;

	MUST(client_query(admin, &q, WAIT_MS, &v, arena, err), "status");
	return v;
}

static uint32_t jobs_pending(struct client *admin)
{
	CLEANUP(arena_done) struct arena arena = {0};

	return status_of(admin, &arena).jobs_pending;
}

static void measure_latency(const char *key_file)
{
	struct cmd_job_submit body = job_body(DEVICES, "train");
	CLEANUP(buf_done) struct buf payload = BUF_INIT;
	struct client_opts opts = {.endpoint = g.users_at, .server_key = g.server_key, .key_file = key_file,
				   .program = "bench"};
	struct series lat = {0};
	struct client *c;
	struct bytes bytes;

	MUST(client_open(&opts, &c, err), "users' door");
	payload_make(&payload, 0);
	bytes = (struct bytes){payload.data, (uint32_t)payload.len};
	for (uint32_t i = 0; i < 1000; i++) {
		int64_t sent = mono_now().ns, seen = 0;
		uint64_t id = command(c, CMD_JOB_SUBMIT, &body, &bytes);

		ENSURE(id < JOB_IDS);
		for (int wait = 0; !seen && wait < WAIT_MS * 10; wait++) {
			seen = g.shared->prepared_ns[id];
			if (!seen)
				(void)usleep(100);
		}
		if (!seen)
			die("a job was never prepared", NULL);
		if (i >= 50)
			series_add(&lat, seen - sent);
		(void)usleep(2000); /* the job ends meanwhile */
	}
	client_free(c);
	printf("submit_to_prepare_nodes: %u nodes\n", g.nodes);
	series_print(&lat, "submit_to_prepare");
}

/* Every node busy for good, so that what follows waits. */
static void fill(struct client *admin, const char *key_file)
{
	struct cmd_job_submit body = job_body(DEVICES, "hold");
	CLEANUP(buf_done) struct buf payload = BUF_INIT;
	struct bytes bytes;
	struct stream s;
	struct mono begin = mono_now();

	payload_make(&payload, 0);
	bytes = (struct bytes){payload.data, (uint32_t)payload.len};
	body.spec.time_limit_ms = 30 * MS_PER_DAY;
	stream_open(&s, g.users_at, key_file);
	for (uint32_t i = 0; i < g.nodes; i++) {
		stream_send(&s, CMD_JOB_SUBMIT, &body, &bytes);
		stream_settle(&s, WINDOW - 1);
	}
	stream_settle(&s, 0);
	stream_done(&s);
	for (;;) {
		CLEANUP(arena_done) struct arena arena = {0};
		struct view_status v = status_of(admin, &arena);

		if (v.jobs_running >= g.nodes && !v.jobs_pending)
			break;
		if (seconds_since(begin) > 60)
			die("the cluster does not fill", NULL);
		(void)usleep(10000);
	}
	print_rate("fill_whole_nodes_running", g.nodes / seconds_since(begin), "jobs/s");
}

static void measure_submissions(const char *key_file)
{
	struct series lat = {0};
	char count[16], quarter[16];
	pid_t pid[4];
	struct stream s;
	struct mono begin;
	double rate, cost;
	uint32_t pipelined = 50000;
	int64_t cpu;

	stream_open(&s, g.users_at, key_file);
	(void)submit(&s, 200, 1, false);
	s.lat = &lat;
	rate = submit(&s, 3000, 1, false);
	s.lat = NULL;
	print_rate("submit_blocking", rate, "1/s");
	cost = g.lmdb_per_s > 0 && g.zmq_blocking_per_s > 0 ? 1 / g.lmdb_per_s + 1 / g.zmq_blocking_per_s : 0;
	print_ratio("submit_blocking", rate, cost > 0 ? 1 / cost : 0, "one bare round trip and one bare commit");
	series_print(&lat, "submit_blocking");
	cpu = daemon_cpu_ns();
	rate = submit(&s, pipelined, WINDOW, false);
	print_rate("submit_pipelined_1", rate, "1/s");
	print_cpu("submit_pipelined_1", cpu, pipelined);
	print_ratio("submit_pipelined_1", rate, g.zmq_pipelined_per_s, "bare_zmq_pipelined_256");
	cpu = daemon_cpu_ns();
	rate = submit(&s, pipelined / 2, WINDOW, true);
	print_rate("submit_pipelined_1_distinct_payloads", rate, "1/s");
	print_cpu("submit_pipelined_1_distinct_payloads", cpu, pipelined / 2);
	stream_done(&s);

	(void)snprintf(count, sizeof count, "%u", pipelined);
	(void)snprintf(quarter, sizeof quarter, "%u", pipelined / 2);
	g.shared->started = g.shared->go = 0;
	for (int i = 0; i < 4; i++)
		pid[i] = self_run("submitter", key_file, quarter, -1);
	while (g.shared->started < 4)
		(void)usleep(1000);
	begin = mono_now();
	g.shared->go = 1;
	for (int i = 0; i < 4; i++) {
		int st;

		if (waitpid(pid[i], &st, 0) < 0 || st)
			die("a submitter failed", NULL);
	}
	rate = 4.0 * (pipelined / 2) / seconds_since(begin);
	print_rate("submit_pipelined_4", rate, "1/s");
	print_ratio("submit_pipelined_4", rate, g.zmq_pipelined_per_s, "bare_zmq_pipelined_256");
}

static void measure_array(const char *key_file)
{
	struct cmd_job_submit body = job_body(1, "array");
	CLEANUP(buf_done) struct buf payload = BUF_INIT;
	struct client_opts opts = {.endpoint = g.users_at, .server_key = g.server_key, .key_file = key_file,
				   .program = "bench"};
	struct series lat = {0};
	struct client *c;
	struct bytes bytes;

	MUST(client_open(&opts, &c, err), "users' door");
	MUST(client_greet(c, WAIT_MS, err), "greeting");
	payload_make(&payload, 0);
	bytes = (struct bytes){payload.data, (uint32_t)payload.len};
	body.spec.array_last = 9999;
	body.spec.array_step = 1;
	for (int i = 0; i < 20; i++) {
		struct mono at = mono_now();

		(void)command(c, CMD_JOB_SUBMIT, &body, &bytes);
		series_add(&lat, mono_now().ns - at.ns);
	}
	client_free(c);
	series_print(&lat, "array_of_10000");
}

static void count_renewals(struct stream *s, const struct msg_reply *reply)
{
	for (uint32_t i = 0; i < reply->result.renewals_n; i++) {
		const struct renew_result *r = &reply->result.renewals[i];

		if (r->code || r->ttl_ms <= 0)
			die("a lease was not renewed", NULL);
	}
	s->results += reply->result.renewals_n;
}

static void renew(struct stream *s, struct lease_renew_item *items, uint32_t n, uint32_t batch, uint32_t rounds,
		  uint64_t window, const char *name)
{
	struct mono begin = mono_now();
	int64_t cpu = daemon_cpu_ns();
	double rate;

	s->results = 0;
	s->each = count_renewals;
	for (uint32_t r = 0; r < rounds; r++)
		for (uint32_t at = 0; at < n; at += batch) {
			struct cmd_lease_renew body = {.items = items + at, .items_n = n - at < batch ? n - at : batch};

			for (uint32_t i = 0; i < body.items_n; i++)
				body.items[i].renew_seq++;
			stream_send(s, CMD_LEASE_RENEW, &body, NULL);
			stream_settle(s, window - 1);
		}
	stream_settle(s, 0);
	s->each = NULL;
	if (s->results != n * rounds)
		die("renewals are missing", NULL);
	rate = s->results / seconds_since(begin);
	print_rate(name, rate, "leases/s");
	print_cpu(name, cpu, s->results);
	print_ratio(name, rate, g.lmdb_per_s, "bare_lmdb_commits");
}

static void measure_renewals(struct client *admin, const char *key_file)
{
	struct cmd_lease_request body = {
		.spec = {.units = 1, .klass = LEASE_FIRM, .auto_accept = true, .auto_extend = true, .name = "chat"},
		.provider = "chat",
		.flavor = "l4",
	};
	CLEANUP(arena_done) struct arena arena = {0};
	struct query q = {.type = QUERY_LEASES};
	struct view_leases v;
	struct lease_renew_item *items = xcalloc(g.leases, sizeof *items);
	struct mono begin = mono_now();
	uint32_t n = 0;
	struct stream s;

	stream_open(&s, g.users_at, key_file);
	for (uint32_t i = 0; i < g.leases; i++) {
		stream_send(&s, CMD_LEASE_REQUEST, &body, NULL);
		stream_settle(&s, WINDOW - 1);
	}
	stream_settle(&s, 0);
	print_rate("lease_requests", g.leases / seconds_since(begin), "1/s");
	while (n < g.leases) {
		if (seconds_since(begin) > 300)
			die("the leases do not become active", NULL);
		(void)usleep(100000);
		arena_reset(&arena);
		MUST(client_query(admin, &q, WAIT_MS, &v, &arena, err), "leases");
		n = 0;
		for (uint32_t i = 0; i < v.items_n; i++)
			if (v.items[i].lease.state == LEASE_ACTIVE && n < g.leases)
				items[n++] = (struct lease_renew_item){.lease = v.items[i].lease.id, .fence = v.items[i].lease.fence,
								       .renew_seq = v.items[i].renew_seq};
	}
	print_rate("leases_active", g.leases / seconds_since(begin), "1/s");
	renew(&s, items, g.leases, BATCH, 100, 16, "renew_batches_of_1000");
	renew(&s, items, g.leases, BATCH, 20, 1, "renew_batches_of_1000_blocking");
	renew(&s, items, g.leases, 1, 5, WINDOW, "renew_single_pipelined");
	stream_done(&s);
	free(items);
}

static void measure_restart(struct client **admin, const char *key_file)
{
	uint32_t have = jobs_pending(*admin);
	int64_t before = daemon_status_kib("VmRSS:"), after;
	struct stream s;
	struct mono begin;
	uint32_t pending;
	struct stat st;
	char path[320];

	stream_open(&s, g.users_at, key_file);
	if (have < g.jobs) {
		(void)submit(&s, g.jobs - have, WINDOW, false);
		after = daemon_status_kib("VmRSS:");
		printf("memory_per_pending_job: %" PRId64 " bytes\n", (after - before) * 1024 / (g.jobs - have));
	}
	stream_done(&s);
	printf("memory_peak: %" PRId64 " MiB\n", daemon_status_kib("VmHWM:") / 1024);
	pending = jobs_pending(*admin);
	client_free(*admin);
	put_down(&g.agents);
	put_down(&g.daemon);
	(void)snprintf(path, sizeof path, "%s/state/data.mdb", g.dir);
	if (!stat(path, &st))
		printf("store_bytes_allocated: %lld MiB\n", (long long)st.st_blocks * 512 >> 20);
	begin = mono_now();
	daemon_start();
	*admin = admin_open();
	if (jobs_pending(*admin) != pending)
		die("the restart lost or made jobs", NULL);
	printf("restart_pending_jobs: %u jobs\n", pending);
	printf("restart_first_answer: %.3f s\n", seconds_since(begin));
	printf("memory_after_restart: %" PRId64 " MiB\n", daemon_status_kib("VmHWM:") / 1024);
	(void)fflush(stdout);
}

static void agents_start(struct client *admin)
{
	uint32_t n = g.nodes + (g.leases + LEASE_DEVICES - 1) / LEASE_DEVICES;
	char token[TOKEN_TEXT_BYTES];
	struct mono begin = mono_now();

	token_make(admin, ROLE_NODE, "", "", n, token);
	g.agents = self_run("agents", token, "", -1);
	while (g.shared->ready < n) {
		int st;

		if (waitpid(g.agents, &st, WNOHANG) == g.agents) {
			g.agents = 0;
			die("the agents ended", NULL);
		}
		if (seconds_since(begin) > 300)
			die("the agents do not get ready", NULL);
		(void)usleep(10000);
	}
	print_rate("agents_enrolled_and_ready", n / seconds_since(begin), "1/s");
}

static void run(void)
{
	char token[TOKEN_TEXT_BYTES], ann[320], chat[320];
	struct client *admin;

	machine_print();
	if (wanted('b')) {
		bare_lmdb();
		bare_zmq();
	}
	daemon_start();
	admin = admin_open();
	divide(admin);
	token_make(admin, ROLE_MEMBER, "ann", "", 1, token);
	enrol(token, "ann", ann);
	token_make(admin, ROLE_PROVIDER, "chat", "chat", 1, token);
	enrol(token, "chat", chat);
	if (g.nodes && (wanted('l') || wanted('r') || wanted('s')))
		agents_start(admin);
	if (g.nodes && wanted('l'))
		measure_latency(ann);
	if (g.leases && wanted('r'))
		measure_renewals(admin, chat);
	if (g.nodes && wanted('s'))
		fill(admin, ann);
	if (wanted('s')) {
		measure_submissions(ann);
		measure_array(ann);
	}
	if (wanted('x'))
		measure_restart(&admin, ann);
	client_free(admin);
	put_down(&g.agents);
	put_down(&g.daemon);
}

int main(int argc, char **argv)
{
	static char self[4096], sluisd[4200];
	const char *role = NULL, *in = NULL, *a = "", *b = "", *key = NULL;
	const struct { const char *name; const char **to; } texts[] = {
		{"--dir", &g.base}, {"--sluisd", &g.sluisd}, {"--only", &g.only}, {"--role", &role}, {"--in", &in},
		{"--a", &a}, {"--b", &b}, {"--key", &key},
	};
	const struct { const char *name; char *to; } ends[] = {
		{"--agents", g.agents_at}, {"--users", g.users_at}, {"--enrol", g.enrol_at},
	};
	const struct { const char *name; uint32_t *to; } numbers[] = {
		{"--nodes", &g.nodes}, {"--leases", &g.leases}, {"--jobs", &g.jobs},
	};
	struct rlimit files;
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	char command_line[300];

	g.nodes = 1000;
	g.leases = 10000;
	g.jobs = 100000;
	g.self = self;
	g.sluisd = getenv("SLUISD");
	g.base = getenv("BENCH_DIR");
	for (int i = 1; i + 1 < argc; i += 2) {
		for (size_t k = 0; k < ARRAY_LEN(texts); k++)
			if (!strcmp(argv[i], texts[k].name))
				*texts[k].to = argv[i + 1];
		for (size_t k = 0; k < ARRAY_LEN(ends); k++)
			if (!strcmp(argv[i], ends[k].name))
				(void)snprintf(ends[k].to, LINK_ENDPOINT_BYTES, "%s", argv[i + 1]);
		for (size_t k = 0; k < ARRAY_LEN(numbers); k++)
			if (!strcmp(argv[i], numbers[k].name))
				*numbers[k].to = (uint32_t)strtoul(argv[i + 1], NULL, 10);
	}
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files); /* a few descriptors per agent; without them opening fails */
	}
	if (role) {
		(void)snprintf(g.dir, sizeof g.dir, "%s", in);
		MUST(link_z85_decode(key, g.server_key, err), "server key");
		shared_map(false);
		return !strcmp(role, "agents") ? agents_main(a) : submitter_main(a, b);
	}
	ENSURE(n > 0);
	if (!g.sluisd) {
		char *slash = strrchr(self, '/');

		ENSURE(slash);
		(void)snprintf(sluisd, sizeof sluisd, "%.*s/../bin/sluisd", (int)(slash - self), self);
		g.sluisd = sluisd;
	}
	(void)snprintf(g.dir, sizeof g.dir, "%s/sluis-bench-XXXXXX", g.base ? g.base : "/tmp");
	if (!mkdtemp(g.dir))
		die(g.dir, NULL);
	shared_map(true);
	run();
	(void)snprintf(command_line, sizeof command_line, "rm -rf '%s'", g.dir);
	return system(command_line) ? 1 : 0;
}
