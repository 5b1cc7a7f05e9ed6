/* main.c - sluis-agent: one per node; says what the node has, runs what sluisd wants on it
 *
 * A turn of the loop takes in messages, changes of tasks and timers, and ends in perform(): the core's
 * actions one by one, in order, starts in batches. Stopping the agent stops no task; the next one
 * finds them by the execution layer's folder below state_dir.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "agent/hooks.h"
#include "agent/shell.h"
#include "proto/base/ensure.h"
#include "proto/base/failpoint.h"
#include "proto/base/sha256.h"
#include "proto/client/client.h"
#include "proto/config/units.h"
#include "proto/link/log.h"
#include "proto/link/notify.h"
#include "proto/model/names.h"

enum { MESSAGES_PER_TURN = 64, SWEEP_MS = 3600000, JOIN_MS = 30000, SETS_MAX = 64 };

static const char default_config[] = "/etc/sluis/sluis-agent.conf";
static const char default_key[] = "/var/lib/sluis-agent/node.key";
static const char program[] = "sluis-agent " SLUIS_VERSION;

struct options {
	const char *config;
	bool config_given, check;
	bool join_only; /* become known, then end: the service goes on */
	bool new_key;   /* join again, with a new key: sluisd ends the old one */
	const char *join, *gpus;
	int64_t fence_ms, backoff_ms;
	const char *sets[SETS_MAX];
	size_t sets_n;
	const char *checks[DEVICES_PER_NODE_MAX], *nvml; /* --check-device, asked by ourselves */
	size_t checks_n;
	uint64_t since_us;
	const char *hooks; /* --run-hooks, likewise */
	int64_t limit_ms;
	struct arena arena;
};

struct agent_now shell_now(void)
{
	return (struct agent_now){.ms = boot_ms(boot_now()), .unix_ms = wall_ms(wall_now())};
}

void shell_send(struct shell *s, uint16_t type, uint64_t req, const void *body)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	if (!s->client)
		return;
	message_encode(type, req, body, &b);
	if (link_client_send(s->client, b.data, b.len) != 0)
		log_event(LOG_WARNING, "send_queue_full", "type=%s", message_name(type));
}

static void quit(struct shell *s, int code)
{
	s->exit_code = code;
	s->stopping = true;
	loop_stop(s->loop);
}

/* Serving tasks needs no service manager: one that cannot be told is a line in the log. */
static void tell_manager(const char *state)
{
	struct err err = {0};

	if (notify_send(state, &err) != 0)
		log_event(LOG_DEBUG, "manager_not_told", "error=%s", log_quote(err.msg));
}

/* ---- tasks ------------------------------------------------------------------------------------------- */

void shell_look(struct shell *s, const char *name)
{
	struct task_status st = {0};
	struct exec_status e;
	struct err err = {0};

	if (exec_status(s->exec, name, &e, &err) != 0) {
		log_event(LOG_WARNING, "task_unreadable", "task=%s error=%s", name, log_quote(err.msg));
		return;
	}
	if (health_changed(s, name, &e) || hook_changed(s, name, &e))
		return;
	switch (e.state) {
	case EXEC_NONE: st.state = TASK_NONE; break;
	case EXEC_UNSTARTED: st.state = TASK_UNSTARTED; break;
	case EXEC_STARTING:
	case EXEC_RUNNING: st.state = TASK_LIVE; break;
	case EXEC_EXITED: st.state = TASK_ENDED; break;
	case EXEC_LOST: st.state = e.lost == EXEC_LOST_REBOOT ? TASK_REBOOTED : TASK_OUT_OF_SIGHT; break;
	}
	st.empty = e.empty;
	if (e.state == EXEC_EXITED) {
		st.exit_code = e.exit_signal ? 0 : e.exit_code;
		st.exit_signal = (uint8_t)e.exit_signal;
		st.oom = e.oom;
		st.error = e.error[0] ? e.error : NULL;
	}
	if (e.began && !reports_read(s, name) && (st.state == TASK_ENDED || st.state == TASK_OUT_OF_SIGHT))
		st = (struct task_status){.state = TASK_LIVE}; /* its end is told behind its last report */
	agent_task(s->agent, shell_now(), name, &st);
}

static void look_each(void *ctx, const char *name)
{
	shell_look(ctx, name);
}

static void tasks_changed(struct loop *loop, int fd, uint32_t events, void *arg)
{
	struct shell *s = arg;
	char name[EXEC_NAME_BYTES];

	(void)loop;
	(void)fd;
	(void)events;
	while (exec_next_changed(s->exec, name))
		shell_look(s, name);
}

/* ---- actions ----------------------------------------------------------------------------------------- */

static void send_hello(struct shell *s)
{
	struct cmd_node_hello node = {0};
	struct msg_hello hello = {.version_min = FRAME_VERSION, .version_max = FRAME_VERSION, .features = FEATURES_KNOWN};
	CLEANUP(buf_done) struct buf body = BUF_INIT;
	struct arena arena = {0};

	node_fill_hello(s, &node, &arena);
	agent_fill_hello(s->agent, shell_now(), &node);
	schema_encode(&schema_cmd_node_hello, &node, &body);
	(void)snprintf(hello.program, sizeof hello.program, "%s", program);
	hello.node = (struct bytes){.data = body.data, .len = (uint32_t)body.len};
	shell_send(s, MSG_HELLO, 1, &hello);
	arena_done(&arena);
}

/* A failed write to the table: nobody knows what the disk holds. The next start reads it. */
static bool table_failed(struct shell *s, int code, const struct err *err)
{
	if (!code)
		return false;
	log_event(LOG_ERR, "table_failed", "error=%s", log_quote(err->msg));
	quit(s, EXIT_STORAGE);
	return true;
}

static void task_problem(const char *what, const char *name, int code, const struct err *err)
{
	if (code && code != ERR_GONE && code != ERR_NOTFOUND) /* ended meanwhile: its change is on the way */
		log_event(LOG_WARNING, what, "task=%s error=%s", name, log_quote(err->msg));
}

static void perform_one(struct shell *s, const struct action *act)
{
	struct err err = {0};
	union { struct msg_report report; struct msg_heartbeat hb; } body;

	FAILPOINT("agent.action.before");
	switch (act->type) {
	case ACTION_ROW_PUT:
		(void)table_failed(s, table_put_row(s->table, act->alloc, act->part, act->data, act->len, &err), &err);
		break;
	case ACTION_ROW_DEL: table_del_row(s->table, act->alloc, act->part); break;
	case ACTION_EPOCH:
		(void)table_failed(s, table_epoch_raise(s->table, act->name, act->value, &err), &err);
		break;
	case ACTION_CLUSTER:
		(void)table_failed(s, table_meta_set(s->table, TABLE_CLUSTER_EPOCH, act->value, &err), &err);
		break;
	case ACTION_WHOLE:
		(void)table_failed(s, table_meta_set(s->table, TABLE_ROWS_MISSING, 0, &err), &err);
		break;
	case ACTION_SYNC: (void)table_failed(s, table_sync(s->table, &err), &err); break;
	case ACTION_START: launch_task(s, act); break;
	case ACTION_NOTICE:
		log_event(LOG_INFO, "notice", "task=%s signal=%d text=%s", act->name, act->signo, log_quote(act->text));
		task_problem("notice_failed", act->name,
			     exec_notice(s->exec, act->name, act->text, act->signo, act->all, &err), &err);
		break;
	case ACTION_SIGNAL:
		task_problem("signal_failed", act->name, exec_signal(s->exec, act->name, act->signo, act->all, &err), &err);
		break;
	case ACTION_KILL:
		task_problem("kill_failed", act->name, exec_kill(s->exec, act->name, &err), &err);
		break;
	case ACTION_RELEASE:
		reports_forget(s, act->name);
		task_problem("release_failed", act->name, exec_release(s->exec, act->name, &err), &err);
		break;
	case ACTION_LOOK: shell_look(s, act->name); break;
	case ACTION_CLEAN: launch_clean(s, act->alloc, act->part); break;
	case ACTION_FETCH: launch_fetch(s, act->hash); break;
	case ACTION_FORGET: launch_forget(s, act->hash); break;
	case ACTION_PORT: launch_port(s, act); break;
	case ACTION_HEALTH: health_start(s, act); break;
	case ACTION_HEALTH_END: health_end(s, act); break;
	case ACTION_SCRUB: scrub_start(s, act->alloc, act->part); break;
	case ACTION_HOOK: hook_start(s, act); break;
	case ACTION_HOOK_FORGET: hook_forget(s, act); break;
	case ACTION_HELLO: send_hello(s); break;
	case ACTION_REPORT:
		agent_fill_report(s->agent, shell_now(), &body.report);
		shell_send(s, MSG_REPORT, 0, &body.report);
		break;
	case ACTION_HEARTBEAT:
		agent_fill_heartbeat(s->agent, &body.hb);
		shell_send(s, MSG_HEARTBEAT, 0, &body.hb);
		break;
	case ACTION_REOPEN:
		log_event(LOG_INFO, "reconnecting", "daemon=%s", log_quote(s->conf.daemon.address));
		if (link_client_reopen(s->client, &err) != 0)
			log_event(LOG_WARNING, "reconnect_failed", "error=%s", log_quote(err.msg));
		break;
	}
}

/* Everything the core wants, then sleep until it wants more. */
static void perform(struct loop *loop, void *arg)
{
	struct shell *s = arg;
	struct action act;
	int64_t next, now;

	(void)loop;
	reports_turn(s);
	while (!s->stopping) {
		bool more = agent_take(s->agent, &act);

		if (!more && !s->starts_n)
			break;
		if (!more || act.type != ACTION_START)
			launch_flush(s); /* may tell the core of failures, and so bring more actions */
		if (more)
			perform_one(s, &act);
	}
	if (s->stopping)
		return;
	next = agent_next_tick(s->agent);
	now = shell_now().ms;
	if (next == T_NEVER)
		loop_timer_cancel(s->loop, &s->tick);
	else
		loop_timer_set(s->loop, &s->tick,
			       (struct mono){mono_now().ns + (next > now ? next - now : 0) * NS_PER_MS});
}

static void tick(struct loop *loop, struct loop_timer *timer, void *arg)
{
	struct shell *s = arg;

	(void)loop;
	(void)timer;
	agent_tick(s->agent, shell_now());
}

static char *joined(const char *dir, const char *name)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	buf_addf(&b, "%s/%s", dir, name);
	return xstrdup(buf_cstr(&b));
}

/* ---- where the daemon is, and its key ----------------------------------------------------------------- */

/* state_dir/daemon: what joining taught us, and each greeting since: endpoint, server key, and the key that
 * the server has announced as its next. */
struct daemon_file { char endpoint[LINK_ENDPOINT_BYTES], key[LINK_Z85_BYTES], next[LINK_Z85_BYTES]; };

/* Left empty by an agent that was set up by its configuration. */
static void daemon_file_read(const char *path, struct daemon_file *ret)
{
	FILE *f = fopen(path, "re");

	*ret = (struct daemon_file){0};
	if (!f)
		return;
	if (fscanf(f, "endpoint: %255s\nserver-key: %40s\nserver-next: %40s", ret->endpoint, ret->key, ret->next) < 2)
		*ret = (struct daemon_file){0};
	(void)fclose(f);
}

/* The file appears whole, or not at all. */
static int daemon_file_write(const char *path, const struct daemon_file *d, struct err *err)
{
	CLEANUP(buf_done) struct buf part = BUF_INIT;
	FILE *f;
	bool ok;

	buf_addf(&part, "%s.part", path);
	f = fopen(buf_cstr(&part), "we");
	if (!f)
		return err_set_errno(err, ERR_IO, "cannot write '%.200s'", path);
	FAILPOINT("agent.join.opened");
	ok = fprintf(f, "endpoint: %s\nserver-key: %s\n", d->endpoint, d->key) > 0 &&
	     (!d->next[0] || fprintf(f, "server-next: %s\n", d->next) > 0) && fflush(f) == 0 && fsync(fileno(f)) == 0;
	if (fclose(f) != 0 || !ok || rename(buf_cstr(&part), path) != 0)
		return err_set_errno(err, ERR_IO, "cannot write '%.200s'", path);
	return 0;
}

/* Keep which key the server has, and which one it will have next, for the day it has changed. */
static void learn_server_key(struct shell *s, const struct msg_welcome *m)
{
	static const uint8_t none[LINK_KEY_BYTES];
	struct daemon_file known, now = {0};
	char *path = joined(s->conf.state_dir, "daemon");
	struct err err = {0};

	daemon_file_read(path, &known);
	(void)snprintf(now.endpoint, sizeof now.endpoint, "%s", known.endpoint[0] ? known.endpoint : s->conf.daemon.address);
	link_z85_encode(link_client_server_key(s->client), now.key);
	if (memcmp(m->server_next, none, sizeof none) != 0) {
		link_z85_encode(m->server_next, now.next);
		link_client_server_next(s->client, m->server_next);
	}
	if (strcmp(known.key, now.key) != 0 || strcmp(known.next, now.next) != 0) {
		log_event(LOG_NOTICE, "server_key", "key=%s next=%s", now.key, now.next[0] ? now.next : "-");
		if (daemon_file_write(path, &now, &err))
			log_event(LOG_WARNING, "server_key_not_kept", "error=%s", log_quote(err.msg));
	}
	free(path);
}

/* ---- the daemon's messages --------------------------------------------------------------------------- */

static void welcomed(struct shell *s, const struct msg_welcome *m)
{
	struct err err = {0};

	if (agent_welcome(s->agent, shell_now(), m, &err) != 0) {
		log_event(LOG_WARNING, "daemon_not_obeyed", "error=%s", log_quote(err.msg));
		return;
	}
	(void)snprintf(s->cluster, sizeof s->cluster, "%s", m->cluster);
	learn_server_key(s, m);
	log_event(LOG_INFO, "connected", "cluster=%s epoch=%" PRIu64 " session=%" PRIu64 " node=%s", log_quote(m->cluster),
		  m->epoch, m->session, s->node);
	launch_fetch_again(s);
	tell_manager("STATUS=connected");
}

static void goodbye(struct shell *s, const struct msg_goodbye *m)
{
	log_event(LOG_WARNING, "goodbye", "code=%s text=%s", err_name(m->code), log_quote(m->text ? m->text : ""));
	if (m->code == ERR_SUPERSEDED)
		quit(s, EXIT_TAKEN);
	else if (m->code == ERR_STALE)
		agent_greet_again(s->agent, shell_now());
	else
		agent_disconnected(s->agent, shell_now(), true);
}

static void handle(struct shell *s, const struct frame *f, struct arena *arena)
{
	union {
		struct msg_welcome welcome;
		struct msg_desired desired;
		struct msg_report_ack report_ack;
		struct msg_heartbeat heartbeat;
		struct msg_payload payload;
		struct msg_relay relay;
		struct msg_goodbye goodbye;
		struct msg_ping ping;
		struct msg_reply reply;
	} m;
	struct err err = {0};

	switch (f->type) {
	case MSG_WELCOME: case MSG_DESIRED: case MSG_REPORT_ACK: case MSG_HEARTBEAT_ACK: case MSG_PAYLOAD:
	case MSG_OUTPUT_READ: case MSG_EXEC: case MSG_SIGNAL: case MSG_GOODBYE: case MSG_PING: case MSG_REPLY: break;
	default:
		log_event(LOG_WARNING, "strange_message", "type=0x%04x", (unsigned)f->type);
		return;
	}
	if (message_decode(f, &m, arena, &err) != 0) {
		log_event(LOG_WARNING, "bad_message", "type=%s error=%s", message_name(f->type), log_quote(err.msg));
		return;
	}
	FAILPOINT("agent.message.decoded");
	switch (f->type) {
	case MSG_WELCOME: welcomed(s, &m.welcome); break;
	case MSG_DESIRED:
		if (agent_desired(s->agent, shell_now(), &m.desired, &err) != 0)
			log_event(LOG_WARNING, "stale_orders", "error=%s", log_quote(err.msg));
		break;
	case MSG_REPORT_ACK: agent_report_ack(s->agent, shell_now(), &m.report_ack); break;
	case MSG_HEARTBEAT_ACK: agent_heartbeat_ack(s->agent, shell_now(), &m.heartbeat); break;
	case MSG_PAYLOAD: launch_payload_came(s, &m.payload); break;
	case MSG_OUTPUT_READ: relay_output(s, f->req, &m.relay); break;
	case MSG_EXEC: relay_exec(s, f->req, &m.relay); break;
	case MSG_SIGNAL: relay_signal(s, f->req, &m.relay); break;
	case MSG_GOODBYE: goodbye(s, &m.goodbye); break;
	case MSG_PING: shell_send(s, MSG_PONG, f->req, &m.ping); break;
	case MSG_REPLY: /* of a greeting that was refused */
		log_event(LOG_WARNING, "refused", "code=%s text=%s", err_name(m.reply.code),
			  log_quote(m.reply.message ? m.reply.message : ""));
		agent_disconnected(s->agent, shell_now(), true);
		break;
	default: break;
	}
}

static void on_client(struct link_client *client, enum link_client_event event, const struct link_msg *msg, void *arg)
{
	static struct log_limit refused = {.burst = 1, .window_ms = 60000};
	struct shell *s = arg;
	struct arena arena = {0};
	struct frame frame;
	struct err err = {0};

	(void)client;
	switch (event) {
	case LINK_CLIENT_MESSAGE:
		if (frame_decode(msg->data, msg->len, &frame, &err) != 0)
			log_event(LOG_WARNING, "bad_frame", "error=%s", log_quote(err.msg));
		else
			handle(s, &frame, &arena);
		arena_done(&arena);
		break;
	case LINK_CLIENT_CONNECTED: agent_connected(s->agent, shell_now()); break;
	case LINK_CLIENT_DISCONNECTED:
		log_event(LOG_NOTICE, "disconnected", "daemon=%s", log_quote(s->conf.daemon.address));
		agent_disconnected(s->agent, shell_now(), false);
		break;
	case LINK_CLIENT_REFUSED:
		log_event_limited(&refused, mono_now(), LOG_WARNING, "key_refused", "daemon=%s",
				  log_quote(s->conf.daemon.address));
		agent_disconnected(s->agent, shell_now(), true);
		break;
	}
}

/* ---- start-up ---------------------------------------------------------------------------------------- */

static int make_dir(const char *path, struct err *err)
{
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return err_set_errno(err, ERR_IO, "cannot make '%.200s'", path);
	return 0;
}

/* A child of the agent before this one may hold what it held a moment longer: exec() wakes the parent before it
 * closes what is to be closed. So what is taken is tried again for a while. */
static bool taken_in_time(bool (*take)(const void *), const void *what)
{
	enum { TAKEN_MS = 3000, PAUSE_MS = 20 };
	const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};

	for (int ms = 0; ms < TAKEN_MS; ms += PAUSE_MS) {
		if (take(what))
			return true;
		if (errno != EADDRINUSE && errno != EWOULDBLOCK)
			return false;
		(void)nanosleep(&pause, NULL);
	}
	return take(what);
}

/* A name that one process on this machine has at a time, for as long as it lives. */
static bool take_name(const void *name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), saved;
	int n = snprintf(addr.sun_path + 1, sizeof addr.sun_path - 1, "sluis-agent-%s", (const char *)name);

	if (sock >= 0 &&
	    bind(sock, (struct sockaddr *)&addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) == 0)
		return true;
	saved = errno;
	if (sock >= 0)
		(void)close(sock);
	errno = saved;
	return false;
}

static bool take_lock(const void *fd)
{
	return flock(*(const int *)fd, LOCK_EX | LOCK_NB) == 0;
}

/* One agent per node: a second one with a copy of the key, whatever its state_dir, knows nothing of the first one's
 * tasks and would call their devices free. (On another machine its boot id is another, which counts as a reboot.) */
static int only_key(const uint8_t pub[LINK_KEY_BYTES], struct err *err)
{
	char key[LINK_Z85_BYTES];

	link_z85_encode(pub, key);
	if (!taken_in_time(take_name, key)) {
		(void)err_set_errno(err, ERR_BUSY, "another sluis-agent runs here with this node's key");
		return err_hint(err, "a node has one agent and one state_dir; stop the other one");
	}
	return 0;
}

/* One agent per state_dir: a lock on a file, and an abstract socket for folders on file systems whose locks
 * do not reach other machines' views of them. Both last as long as the process. */
static int only_one(const struct shell *s, struct err *err)
{
	char *path = joined(s->conf.state_dir, "lock"), name[64];
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct stat st;

	free(path);
	if (fd < 0 || fstat(fd, &st) != 0)
		return err_set_errno(err, ERR_IO, "cannot open the lock in '%.160s'", s->conf.state_dir);
	(void)snprintf(name, sizeof name, "%jx-%jx", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	if (!taken_in_time(take_lock, &fd) || !taken_in_time(take_name, name))
		return err_set_errno(err, ERR_BUSY, "another sluis-agent uses '%.160s'", s->conf.state_dir);
	return 0;
}

static int read_boot_id(char out[40], struct err *err)
{
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
	bool ok = f && fgets(out, 40, f);

	if (f)
		(void)fclose(f);
	if (!ok)
		return err_set(err, ERR_SYS, "cannot read the boot id");
	out[strcspn(out, "\n")] = '\0';
	return 0;
}

static uint64_t epoch_of(void *ctx, const char *device)
{
	return table_epoch_get(((struct shell *)ctx)->table, device);
}

struct load { struct shell *shell; uint32_t bad; };

static void load_row(void *ctx, uint64_t alloc, uint16_t part, const void *payload, size_t len)
{
	struct load *load = ctx;
	struct err err = {0};

	if (agent_load_row(load->shell->agent, payload, len, &err) == 0)
		return;
	load->bad++;
	log_event(LOG_ERR, "row_unreadable", "alloc=%" PRIu64 " part=%u error=%s", alloc, (unsigned)part, log_quote(err.msg));
}

/* The shim beside this program, or where it is installed. */
static char *shim_path(void)
{
	static const char *const places[] = {"sluis-shim", "../lib/sluis/sluis-shim"};
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	char *slash;

	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	for (size_t i = 0; slash && i < ARRAY_LEN(places); i++) {
		char *path = joined(self, places[i]);

		if (access(path, X_OK) == 0)
			return path;
		free(path);
	}
	return xstrdup("/usr/lib/sluis/sluis-shim");
}

/* A delegated cgroup of our own: below the one that we are in. NULL if there is no cgroup2. */
static char *cgroup_root(void)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[4096], *root = NULL, *mount = NULL;

	while (f && fgets(line, sizeof line, f))
		if (strncmp(line, "0::/", 4) == 0) {
			line[strcspn(line, "\n")] = '\0';
			root = xstrdup(line + 3);
		}
	if (f)
		(void)fclose(f);
	f = fopen("/proc/self/mounts", "re");
	while (f && !mount && fgets(line, sizeof line, f)) {
		char where[1024], type[64];

		if (sscanf(line, "%*s %1023s %63s", where, type) == 2 && strcmp(type, "cgroup2") == 0)
			mount = xstrdup(where);
	}
	if (f)
		(void)fclose(f);
	if (root && mount) {
		CLEANUP(buf_done) struct buf b = BUF_INIT;

		buf_addf(&b, "%s%s/sluis-agent", mount, strcmp(root, "/") == 0 ? "" : root);
		free(root);
		root = xstrdup(buf_cstr(&b));
	} else {
		free(root);
		root = NULL;
	}
	free(mount);
	return root;
}

static const char *const backend_names[] = {
	[EXEC_PLAIN] = "plain", [EXEC_CGROUP2] = "cgroup2", [EXEC_SYSTEMD] = "systemd", [EXEC_EXECD] = "execd",
};

static int open_exec(struct shell *s, struct err *err)
{
	char *dir = joined(s->conf.state_dir, "exec"), *shim = shim_path(), *cgroup = NULL;
	struct exec_cfg cfg = {.run_dir = dir, .shim_path = shim};
	int code = ERR_UNSUPPORTED;

	/* Containment as configured. An execd that is named has to be there; otherwise `systemd`, the default,
	 * means the best there is. */
	if (s->conf.exec.execd) {
		cfg.backend = EXEC_EXECD;
		cfg.execd_socket = s->conf.exec.execd;
		code = exec_open(&cfg, &s->exec, err);
		goto out;
	}
	if (s->conf.exec.backend == BACKEND_SYSTEMD && geteuid() == 0) {
		cfg.backend = EXEC_SYSTEMD;
		code = exec_open(&cfg, &s->exec, err);
		if (code != ERR_UNSUPPORTED)
			goto out;
	}
	if (s->conf.exec.backend == BACKEND_CGROUP2 || (s->conf.exec.backend == BACKEND_SYSTEMD && geteuid() == 0)) {
		cgroup = cgroup_root();
		cfg.backend = EXEC_CGROUP2;
		cfg.cgroup_root = cgroup;
		if (cgroup)
			code = exec_open(&cfg, &s->exec, err);
		else
			(void)err_set(err, ERR_UNSUPPORTED, "no cgroup2 is mounted here");
		if (code && s->conf.exec.backend == BACKEND_CGROUP2)
			goto out;
		if (code && code != ERR_BUSY)
			log_event(LOG_WARNING, "no_cgroups", "error=%s", log_quote(err->msg));
	}
	if (code == ERR_UNSUPPORTED || (code && code != ERR_BUSY)) {
		cfg.backend = EXEC_PLAIN;
		code = exec_open(&cfg, &s->exec, err);
	}
out:
	if (!code)
		log_event(LOG_INFO, "execution", "backend=%s caps=%u", backend_names[cfg.backend], exec_caps(s->exec));
	free(dir);
	free(shim);
	free(cgroup);
	return code;
}

static int open_state(struct shell *s, const struct options *opts, struct err *err)
{
	struct agent_cfg cfg;
	struct table_found found = {0};
	struct load load = {.shell = s};
	uint64_t incarnation;
	int code;

	agent_cfg_default(&cfg);
	code = read_boot_id(cfg.boot_id, err);
	if (!code)
		code = table_open(s->conf.state_dir, &s->table, &found, err);
	if (code)
		return code;
	if (found.cut_bytes)
		log_event(LOG_WARNING, "table_cut", "bytes=%" PRIu64 " rebuilt=%d", found.cut_bytes, found.rebuilt);
	/* Rises with every start, and also above what a lost table knew: the newest incarnation is the one that
	 * sluisd listens to. */
	incarnation = table_meta_get(s->table, TABLE_INCARNATION) + 1;
	if (incarnation < (uint64_t)(wall_ms(wall_now()) / MS_PER_S))
		incarnation = (uint64_t)(wall_ms(wall_now()) / MS_PER_S);
	code = table_meta_set(s->table, TABLE_INCARNATION, incarnation, err);
	if (!code)
		code = table_sync(s->table, err);
	if (!code)
		code = open_exec(s, err);
	if (!code)
		code = confine_open(s, err);
	if (!code)
		code = hooks_check(s, err);
	if (code)
		return code;
	cfg.incarnation = incarnation;
	s->checks_made = incarnation << 24;
	cfg.epoch_seen = table_meta_get(s->table, TABLE_CLUSTER_EPOCH);
	cfg.alloc_seen = table_epoch_max(s->table);
	cfg.table_rebuilt = found.rebuilt && !(found.none && !exec_count(s->exec)); /* else the node is new */
	if (found.rebuilt && !cfg.table_rebuilt) {
		code = table_meta_set(s->table, TABLE_ROWS_MISSING, 0, err);
		if (!code)
			code = table_sync(s->table, err);
		if (code)
			return code;
	}
	cfg.port_first = (uint16_t)s->conf.fabric.port_first;
	cfg.port_last = (uint16_t)s->conf.fabric.port_last;
	cfg.heartbeat_ms = s->conf.heartbeat_ms;
	cfg.fence_ms = opts->fence_ms;
	cfg.backoff_max_ms = opts->backoff_ms;
	if (cfg.backoff_ms > cfg.backoff_max_ms)
		cfg.backoff_ms = cfg.backoff_max_ms;
	cfg.scrub = s->local->devices_here;
	cfg.prolog = s->conf.exec.prolog != NULL;
	cfg.epilog = s->conf.exec.epilog != NULL;
	cfg.unkillable_ms = s->conf.exec.unkillable_ms;
	cfg.epoch_of = epoch_of;
	s->started_us = (uint64_t)(mono_now().ns / 1000);
	scrub_load(s, cfg.boot_id);
	cfg.ctx = s;
	s->agent = agent_new(&cfg);
	table_each_row(s->table, load_row, &load);
	exec_list(s->exec, look_each, s);
	agent_ready(s->agent, shell_now());
	hooks_open(s);
	log_event(LOG_INFO, "state", "rows=%" PRIu32 " tasks=%zu incarnation=%" PRIu64 " epoch=%" PRIu64, agent_rows(s->agent),
		  exec_count(s->exec), incarnation, cfg.epoch_seen);
	return 0;
}

/* ---- joining ----------------------------------------------------------------------------------------- */


/* The daemon names its door as it bound it; "*" there is the host that we reached it at. */
static void agents_endpoint(const char *told, const char *reached, char out[LINK_ENDPOINT_BYTES])
{
	const char *port = strrchr(told, ':'), *host_end = strrchr(reached, ':');
	bool any = strncmp(told, "tcp://*:", 8) == 0 || strncmp(told, "tcp://0.0.0.0:", 14) == 0 ||
		   strncmp(told, "tcp://[::]:", 11) == 0;

	if (any && port && host_end)
		(void)snprintf(out, LINK_ENDPOINT_BYTES, "%.*s%s", (int)(host_end - reached), reached, port);
	else
		(void)snprintf(out, LINK_ENDPOINT_BYTES, "%s", told);
}

static int join(struct shell *s, const char *text, const char *key_path, const char *daemon_path, struct err *err)
{
	struct daemon_file d = {0};
	struct msg_enrolled enrolled;
	struct join_token token;
	struct arena arena = {0};
	int code = token_parse(text, &token, err);

	if (!code)
		code = client_enrol(&token, s->node, program, key_path, JOIN_MS, &enrolled, &arena, err);
	FAILPOINT("agent.join.enrolled");
	if (!code) {
		agents_endpoint(enrolled.agents && enrolled.agents[0] ? enrolled.agents : token.endpoint, token.endpoint,
				d.endpoint);
		link_z85_encode(enrolled.server_key, d.key);
		code = daemon_file_write(daemon_path, &d, err);
	}
	if (!code)
		log_event(LOG_NOTICE, "joined", "cluster=%s node=%s daemon=%s", log_quote(enrolled.cluster), s->node,
			  log_quote(d.endpoint));
	arena_done(&arena);
	return code;
}

/* With a key in place of the one there is. The old one stays beside it until the new one is known, and comes
 * back when the token is refused. */
static int join_anew(struct shell *s, const char *text, const char *key_path, const char *daemon_path, struct err *err)
{
	CLEANUP(buf_done) struct buf old = BUF_INIT;
	bool had = access(key_path, F_OK) == 0;
	int code;

	buf_addf(&old, "%s.old", key_path);
	if (had && rename(key_path, buf_cstr(&old)) != 0)
		return err_set_errno(err, ERR_IO, "cannot move '%.200s' aside", key_path);
	code = join(s, text, key_path, daemon_path, err);
	if (code && had && access(key_path, F_OK) != 0 && rename(buf_cstr(&old), key_path) != 0)
		log_event(LOG_WARNING, "old_key_aside", "path=%s", log_quote(buf_cstr(&old)));
	if (!code && had)
		(void)unlink(buf_cstr(&old)); /* sluisd refuses it from now on */
	return code;
}

static int connect_daemon(struct shell *s, const struct options *opts, struct err *err)
{
	struct link_client_opts client_opts = {.reconnect_ms = 100,
					       .reconnect_max_ms = (int)(opts->backoff_ms < 30000 ? opts->backoff_ms : 30000)};
	uint8_t server[LINK_KEY_BYTES], pub[LINK_KEY_BYTES], sec[LINK_KEY_BYTES];
	uint8_t next[LINK_KEY_BYTES];
	struct daemon_file d;
	char resolved[PATH_TEXT_BYTES_MAX];
	char *daemon_path = joined(s->conf.state_dir, "daemon"), *own_key = joined(s->conf.state_dir, "node.key");
	const char *key_path = s->conf.key, *credentials = getenv("CREDENTIALS_DIRECTORY");
	int code = 0;

	if (strcmp(key_path, default_key) == 0) {
		key_path = own_key; /* beside the state, wherever that is */
	} else if (strncmp(key_path, "credential:", 11) == 0) {
		(void)snprintf(resolved, sizeof resolved, "%s/%s", credentials ? credentials : "/run/credentials", key_path + 11);
		key_path = resolved;
	}
	if (opts->join && opts->new_key)
		code = join_anew(s, opts->join, key_path, daemon_path, err);
	else if (opts->join && (access(key_path, F_OK) != 0 || access(daemon_path, F_OK) != 0))
		code = join(s, opts->join, key_path, daemon_path, err);
	if (code)
		goto out;
	daemon_file_read(daemon_path, &d);
	if (s->conf.daemon.server_key) {
		/* what the server has announced since, or has come to have, is the other key to try */
		if (d.key[0] && strcmp(d.key, s->conf.daemon.server_key) != 0 && !d.next[0])
			memcpy(d.next, d.key, sizeof d.next);
		(void)snprintf(d.key, sizeof d.key, "%s", s->conf.daemon.server_key);
	}
	if (s->conf.daemon.address)
		(void)snprintf(d.endpoint, sizeof d.endpoint, "%s", s->conf.daemon.address);
	s->conf.daemon.address = arena_copy(&s->conf.arena, d.endpoint, strlen(d.endpoint) + 1);
	if (!d.endpoint[0] || !d.key[0]) {
		code = err_set(err, ERR_CONFIG, "this node belongs to no cluster yet");
		(void)err_hint(err, "sluis-agent --join TOKEN, with a token from sluisctl token create node");
		goto out;
	}
	code = link_z85_decode(d.key, server, err);
	if (!code)
		code = link_key_load(key_path, pub, sec, err);
	if (!code)
		code = only_key(pub, err);
	if (!code)
		code = link_ctx_new(&(struct link_ctx_opts){0}, &s->link_ctx, err);
	if (!code)
		code = link_client_open(s->link_ctx, d.endpoint, server, pub, sec, &client_opts, &s->client, err);
	if (!code && d.next[0] && !link_z85_decode(d.next, next, NULL))
		link_client_server_next(s->client, next);
	node_address(s, d.endpoint);
out:
	free(daemon_path);
	free(own_key);
	return code;
}

/* ---- running ----------------------------------------------------------------------------------------- */

static void on_signal(struct loop *loop, int signo, void *arg)
{
	(void)loop;
	log_event(LOG_NOTICE, "stopping", "signal=%d", signo);
	quit(arg, EXIT_FINE);
}

static void feed_watchdog(struct loop *loop, struct loop_timer *timer, void *arg)
{
	(void)arg;
	tell_manager("WATCHDOG=1");
	loop_timer_after(loop, timer, notify_watchdog_ms() / 2);
}

static void sweep(struct loop *loop, struct loop_timer *timer, void *arg)
{
	launch_sweep(arg);
	loop_timer_after(loop, timer, SWEEP_MS);
}

static int serve(struct shell *s, struct err *err)
{
	int code = loop_add_fd(s->loop, exec_wait_fd(s->exec), EPOLLIN, tasks_changed, s, err);

	if (!code)
		code = link_client_watch(s->loop, s->client, on_client, s, MESSAGES_PER_TURN, err);
	if (!code)
		code = loop_add_signal(s->loop, SIGTERM, on_signal, s, err);
	if (!code)
		code = loop_add_signal(s->loop, SIGINT, on_signal, s, err);
	if (code)
		return code;
	s->tick = (struct loop_timer)LOOP_TIMER_INIT(tick, s);
	s->watchdog = (struct loop_timer)LOOP_TIMER_INIT(feed_watchdog, s);
	s->sweep = (struct loop_timer)LOOP_TIMER_INIT(sweep, s);
	if (notify_watchdog_ms() > 0)
		loop_timer_after(s->loop, &s->watchdog, 0);
	loop_timer_after(s->loop, &s->sweep, 0);
	loop_set_idle(s->loop, perform, s);
	tell_manager("READY=1\nSTATUS=connecting");
	log_event(LOG_INFO, "ready", "node=%s address=%s cores=%u devices=%u daemon=%s", s->node, log_quote(s->address),
		  (unsigned)s->inventory->core_count, (unsigned)s->inventory->device_count, log_quote(s->conf.daemon.address));
	perform(s->loop, s);
	return loop_run(s->loop, err);
}

static void shell_done(struct shell *s)
{
	if (s->loop) {
		health_done(s);
		scrub_done(s);
		hooks_done(s);
		reports_done(s);
		loop_timer_cancel(s->loop, &s->tick);
		loop_timer_cancel(s->loop, &s->watchdog);
		loop_timer_cancel(s->loop, &s->sweep);
		if (s->exec)
			loop_del(s->loop, exec_wait_fd(s->exec));
	}
	link_client_free(s->client);
	link_ctx_free(s->link_ctx);
	loop_free(s->loop);
	while (s->pays) {
		struct pay *next = s->pays->next;

		arena_done(&s->pays->arena);
		free(s->pays);
		s->pays = next;
	}
	agent_free(s->agent);
	exec_close(s->exec);
	table_close(s->table);
	arena_done(&s->starts_arena);
	free(s->self);
	free(s->units_dir);
	free(s->payload_dir);
	free(s->hosts_dir);
	free(s->home);
	free(s->inventory);
	free(s->local);
	agent_conf_done(&s->conf);
}

static int exit_code_of(int code)
{
	switch (code) {
	case ERR_CONFIG:
	case ERR_INVAL: return EXIT_USAGE;
	case ERR_BUSY: return EXIT_TAKEN;
	case ERR_IO:
	case ERR_NOSPACE: return EXIT_STORAGE;
	case ERR_VERSION: return EXIT_NEWER;
	default: return EXIT_FAILED;
	}
}

/* Drawn at the first start. A lost one costs the names of running units their continuity, nothing else. */
static int read_salt(struct shell *s, struct err *err)
{
	char *path = joined(s->conf.state_dir, "salt");
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int code = 0;

	if (fd < 0)
		code = err_set_errno(err, ERR_IO, "cannot open '%.160s'", path);
	else if (pread(fd, s->salt, sizeof s->salt, 0) != (ssize_t)sizeof s->salt &&
		 (getrandom(s->salt, sizeof s->salt, 0) != (ssize_t)sizeof s->salt ||
		  pwrite(fd, s->salt, sizeof s->salt, 0) != (ssize_t)sizeof s->salt))
		code = err_set_errno(err, ERR_IO, "cannot write '%.160s'", path);
	if (fd >= 0)
		(void)close(fd);
	free(path);
	return code;
}

static int set_up(struct shell *s, const struct options *opts, struct err *err)
{
	const struct passwd *pw = getpwuid(geteuid());
	struct sha256 sha;
	uint8_t digest[SHA256_BYTES];
	char *real;
	int code;

	if (s->conf.node)
		(void)snprintf(s->node, sizeof s->node, "%s", s->conf.node);
	else if (gethostname(s->node, sizeof s->node - 1) != 0)
		return err_set_errno(err, ERR_SYS, "cannot find out the host's name");
	code = make_dir(s->conf.state_dir, err);
	if (code)
		return code;
	real = realpath(s->conf.state_dir, NULL);
	if (!real)
		return err_set_errno(err, ERR_IO, "cannot find '%.200s'", s->conf.state_dir);
	s->units_dir = joined(real, "units");
	s->payload_dir = joined(real, "payloads");
	s->hosts_dir = joined(real, "hosts");
	s->home = xstrdup(pw && pw->pw_dir ? pw->pw_dir : "/");
	sha256_init(&sha);
	sha256_add(&sha, real, strlen(real));
	sha256_final(&sha, digest);
	free(real);
	memcpy(&s->tag, digest, sizeof s->tag);
	code = make_dir(s->units_dir, err);
	if (!code)
		code = make_dir(s->payload_dir, err);
	if (!code)
		code = make_dir(s->hosts_dir, err);
	if (!code)
		code = only_one(s, err);
	if (!code)
		code = read_salt(s, err);
	if (!code)
		code = node_probe(s, opts->gpus, err);
	if (!code)
		code = loop_new(&s->loop, err);
	if (!code)
		code = connect_daemon(s, opts, err);
	if (!code)
		code = open_state(s, opts, err);
	return code;
}

/* ---- options ----------------------------------------------------------------------------------------- */

static void usage(FILE *out)
{
	(void)fputs("usage: sluis-agent [--config FILE] [--set PATH=VALUE]... [--node NAME] [--join TOKEN [--join-only] [--new-key]]\n"
		    "                   [--topology FILE.xml | --synthetic TEXT [--gpus COUNTxMODEL]]\n"
		    "                   [--fence-after TIME] [--reconnect-max TIME] [--log LEVEL] [--check-config]\n"
		    "                   [--help | -h] [--version | -V]; see sluis-agent(8)\n",
		    out);
}

static void add_set(struct options *o, const char *fmt, const char *value)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	ENSURE(o->sets_n < SETS_MAX);
	for (; *fmt; fmt++) {
		if (*fmt == '%')
			buf_addf(&b, "%s", value);
		else
			buf_add(&b, fmt, 1);
	}
	o->sets[o->sets_n++] = arena_copy(&o->arena, buf_cstr(&b), b.len + 1);
}

/* 0; -1: stop with EXIT_FINE; EXIT_USAGE. */
static int parse(int argc, char **argv, struct options *o)
{
	enum { O_CHECK_DEVICE = 256, O_NVML, O_SINCE, O_RUN_HOOKS, O_LIMIT, O_CONFIG = 1, O_SET, O_TOPOLOGY, O_SYNTHETIC, O_GPUS, O_NODE, O_JOIN, O_JOIN_ONLY, O_NEW_KEY, O_CHECK, O_FENCE, O_RECONNECT, O_LOG,
	       O_HELP, O_VERSION };
	static const struct option longs[] = {
		{"config", required_argument, NULL, O_CONFIG}, {"set", required_argument, NULL, O_SET},
		{"topology", required_argument, NULL, O_TOPOLOGY}, {"synthetic", required_argument, NULL, O_SYNTHETIC},
		{"gpus", required_argument, NULL, O_GPUS}, {"node", required_argument, NULL, O_NODE},
		{"join", required_argument, NULL, O_JOIN}, {"join-only", no_argument, NULL, O_JOIN_ONLY},
		{"new-key", no_argument, NULL, O_NEW_KEY},
		{"check-config", no_argument, NULL, O_CHECK},
		{"fence-after", required_argument, NULL, O_FENCE}, {"reconnect-max", required_argument, NULL, O_RECONNECT},
		{"log", required_argument, NULL, O_LOG}, {"help", no_argument, NULL, O_HELP},
		{"version", no_argument, NULL, O_VERSION}, {"check-device", required_argument, NULL, O_CHECK_DEVICE},
		{"nvml", required_argument, NULL, O_NVML}, {"since", required_argument, NULL, O_SINCE},
		{"run-hooks", required_argument, NULL, O_RUN_HOOKS}, {"limit-ms", required_argument, NULL, O_LIMIT}, {NULL, 0, NULL, 0},
	};
	struct err err = {0};
	int c, level, code = 0;

	while (!code && (c = getopt_long(argc, argv, "hV", longs, NULL)) != -1) {
		if (o->sets_n + 1 >= SETS_MAX) {
			(void)fprintf(stderr, "sluis-agent: more than %d settings\n", SETS_MAX - 1);
			return EXIT_USAGE;
		}
		switch (c) {
		case O_CONFIG: o->config = optarg; o->config_given = true; break;
		case O_SET: o->sets[o->sets_n++] = optarg; break;
		case O_TOPOLOGY: add_set(o, "topology={file: \"%\"}", optarg); break;
		case O_SYNTHETIC: add_set(o, "topology={synthetic: \"%\"}", optarg); break;
		case O_GPUS: o->gpus = optarg; break;
		case O_NODE: add_set(o, "node=%", optarg); break;
		case O_JOIN: o->join = optarg; break;
		case O_JOIN_ONLY: o->join_only = true; break;
		case O_NEW_KEY: o->new_key = true; break;
		case O_CHECK: o->check = true; break;
		case O_FENCE: code = units_duration(optarg, &o->fence_ms, &err); break;
		case O_RECONNECT: code = units_duration(optarg, &o->backoff_ms, &err); break;
		case O_LOG:
			code = log_level_parse(optarg, &level, &err);
			if (!code)
				log_set_level(level);
			break;
		case O_CHECK_DEVICE:
			if (o->checks_n < ARRAY_LEN(o->checks))
				o->checks[o->checks_n++] = optarg;
			break;
		case O_NVML: o->nvml = optarg; break;
		case O_SINCE: o->since_us = strtoull(optarg, NULL, 10); break;
		case O_RUN_HOOKS: o->hooks = optarg; break;
		case O_LIMIT: o->limit_ms = (int64_t)strtoull(optarg, NULL, 10); break;
		case 'h':
		case O_HELP: usage(stdout); return -1;
		case 'V':
		case O_VERSION: (void)puts(program); return -1;
		default: usage(stderr); return EXIT_USAGE;
		}
	}
	if (code) {
		(void)fprintf(stderr, "sluis-agent: error: %s\n", err.msg);
		return EXIT_USAGE;
	}
	if (optind < argc || o->backoff_ms <= 0 || ((o->join_only || o->new_key) && !o->join)) {
		usage(stderr);
		return EXIT_USAGE;
	}
	return 0;
}

/* A node that has joined, or is about to, needs no file: what is not in one has its default. */
static int load_config(struct options *o, struct agent_conf *conf)
{
	struct config_errors errs = CONFIG_ERRORS_INIT;
	CLEANUP(buf_done) struct buf text = BUF_INIT;
	bool none = !o->config_given && access(o->config, F_OK) != 0;
	int code = agent_conf_load(none ? NULL : o->config, o->sets, o->sets_n, conf, &errs);

	if (code) {
		config_errors_print(&errs, &text);
		(void)fwrite(text.data, 1, text.len, stderr);
	}
	config_errors_done(&errs);
	return code;
}

int main(int argc, char **argv)
{
	struct options opts = {.config = default_config, .fence_ms = 600000, .backoff_ms = 30000};
	struct shell s = {0};
	struct err err = {0};
	int code = parse(argc, argv, &opts);

	if (code) {
		arena_done(&opts.arena);
		return code < 0 ? EXIT_FINE : code;
	}
	if (opts.checks_n) {
		arena_done(&opts.arena);
		return scrub_answer(opts.checks, opts.checks_n, opts.nvml, opts.since_us);
	}
	if (opts.hooks) {
		arena_done(&opts.arena);
		return hooks_run(opts.hooks, opts.limit_ms);
	}
	if (load_config(&opts, &s.conf) != 0) {
		arena_done(&opts.arena);
		return EXIT_USAGE;
	}
	if (opts.check) {
		agent_conf_done(&s.conf);
		arena_done(&opts.arena);
		return EXIT_FINE;
	}
	(void)signal(SIGPIPE, SIG_IGN); /* cannot fail for a signal that exists */
	code = set_up(&s, &opts, &err);
	if (!code && !opts.join_only)
		code = serve(&s, &err);
	if (code) {
		log_event(LOG_ERR, "failed", "error=%s%s%s", log_quote(err.msg), err.hint[0] ? " hint=" : "",
			  err.hint[0] ? log_quote(err.hint) : "");
		s.exit_code = exit_code_of(code);
	}
	shell_done(&s);
	arena_done(&opts.arena);
	return s.exit_code;
}
