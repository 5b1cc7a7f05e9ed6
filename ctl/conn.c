/* conn.c - where sluisd is, with which key, and one question at a time
 *
 * Order: option, environment, ~/.config/sluis/sluisctl.conf, /etc/sluis/sluisctl.conf, and without any of
 * them the local door. Where each value came from is kept, for `sluisctl -v cluster info`.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl/cmd.h"
#include "proto/base/ensure.h"
#include "proto/config/ctl_conf.h"
#include "proto/config/units.h"
#include "proto/link/link.h"

#define LOCAL_DOOR "ipc:///run/sluis/sluisd.sock"
#define SYSTEM_CONF "/etc/sluis/sluisctl.conf"
enum { ENDPOINTS_BYTES_MAX = 64 * 1024 };

int conf_home(char out[4096], struct err *err)
{
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	int n = -1;

	if (xdg && xdg[0] == '/')
		n = snprintf(out, 4096, "%s/sluis", xdg);
	else if (home && home[0] == '/')
		n = snprintf(out, 4096, "%s/.config/sluis", home);
	if (n < 0 || n >= 4096)
		return err_set(err, ERR_NOTFOUND, "there is no home folder: $HOME is not set");
	return 0;
}

const char *home_path(struct ctl *c, const char *path)
{
	const char *home = getenv("HOME");

	return path[0] == '~' && path[1] == '/' && home ? text_f(c, "%s%s", home, path + 1) : path;
}

int read_whole(const char *path, size_t max, struct buf *out, struct err *err)
{
	bool in = !strcmp(path, "-");
	int fd = in ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC), r = 0;

	if (fd < 0)
		return err_set_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO, "cannot read '%.100s'", path);
	for (;;) {
		ssize_t n = read(fd, buf_reserve(out, 65536), 65536);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			r = err_set_errno(err, ERR_IO, "cannot read '%.100s'", path);
		if (n <= 0)
			break;
		out->len += (size_t)n;
		if (out->len > max) {
			r = err_set(err, ERR_TOOBIG, "'%.100s' is larger than %zu bytes", path, max);
			break;
		}
	}
	if (!in)
		close(fd);
	return r;
}

int write_whole(const char *path, const void *data, size_t len, unsigned mode, struct err *err)
{
	char tmp[4096];
	const char *p = data;
	int fd;

	if (snprintf(tmp, sizeof tmp, "%s.new-%d", path, (int)getpid()) >= (int)sizeof tmp)
		return err_set(err, ERR_RANGE, "the path is too long");
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);
	if (fd < 0)
		return err_set_errno(err, ERR_IO, "cannot write '%.100s'", tmp);
	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		p += n;
		len -= (size_t)n;
	}
	if (len || fsync(fd) < 0 || close(fd) < 0 || rename(tmp, path) < 0) {
		(void)err_set_errno(err, ERR_IO, "cannot write '%.100s'", path);
		(void)unlink(tmp); /* ours; left over it would only be untidy */
		return ERR_IO;
	}
	return 0;
}

/* ---- where ----------------------------------------------------------------------------------- */

static void set_endpoint(struct ctl *c, const char *value, const char *from)
{
	if (c->endpoint[0] || !value || !value[0])
		return;
	/* a bare path is the socket of the local door */
	snprintf(c->endpoint, sizeof c->endpoint, "%s%s", value[0] == '/' ? "ipc://" : "", value);
	snprintf(c->endpoint_from, sizeof c->endpoint_from, "%s", from);
}

static void set_key(struct ctl *c, const char *value, const char *from)
{
	if (c->key_file[0] || !value || !value[0])
		return;
	snprintf(c->key_file, sizeof c->key_file, "%s", home_path(c, value));
	snprintf(c->key_from, sizeof c->key_from, "%s", from);
}

static int set_server_key(struct ctl *c, const char *value, const char *from)
{
	struct err err = {0};

	if (c->have_server_key || !value || !value[0])
		return 0;
	if (link_z85_decode(value, c->server_key, &err)) {
		try_next(c, "copy all 40 characters; sluisd prints its key when it starts");
		return usage_fault(c, "%s: %s", from, err.msg);
	}
	c->have_server_key = true;
	return 0;
}

/* DIR/endpoints.json, as sluisd writes it. */
static int from_state_dir(struct ctl *c, const char *dir)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	const char *path = text_f(c, "%s/endpoints.json", dir);
	json_error_t je;
	struct err err = {0};
	json_t *root;
	int r;

	r = read_whole(path, ENDPOINTS_BYTES_MAX, &b, &err);
	if (r && r != ERR_NOTFOUND) { /* it may well run */
		try_next(c, "the state folder is sluisd's own: sluisctl context list, or --endpoint URL");
		return fault(c, &err, NULL);
	}
	if (r) {
		try_next(c, "is sluisd running with this state folder? sluisd --config FILE");
		err.code = ERR_UNREACHABLE;
		return fault(c, &err, "no sluisd has written its endpoints there");
	}
	root = json_loadb((const char *)b.data, b.len, 0, &je);
	if (!json_is_object(root)) {
		json_decref(root);
		try_next(c, "--endpoint URL");
		return usage_fault(c, "%s: line %d: not the JSON that sluisd writes", path, je.line);
	}
	if (c->opt_key || getenv("SLUIS_KEY")) /* a key in hand means the users' door */
		set_endpoint(c, json_string_value(json_object_get(root, "users")), "--state-dir");
	set_endpoint(c, json_string_value(json_object_get(root, "local")), "--state-dir");
	set_endpoint(c, json_string_value(json_object_get(root, "users")), "--state-dir");
	if (json_is_string(json_object_get(root, "enrol")))
		snprintf(c->enrol_endpoint, sizeof c->enrol_endpoint, "%s",
			 json_string_value(json_object_get(root, "enrol")));
	r = set_server_key(c, json_string_value(json_object_get(root, "server_key")), path);
	json_decref(root);
	return r;
}

static int from_file(struct ctl *c, const char *path, bool must)
{
	CLEANUP(config_errors_done) struct config_errors errs = CONFIG_ERRORS_INIT;
	const struct context_conf *ctx;
	struct ctl_conf conf = {0};
	int r = 0;

	if (access(path, F_OK) != 0 && !must)
		return 0;
	if (ctl_conf_load(path, NULL, 0, &conf, &errs))
		return config_fault(c, &errs);
	ctx = ctl_conf_context(&conf, c->opt_cluster);
	if (ctx && !c->context[0]) {
		const char *from = text_f(c, "context %s of %s", ctx->head.name, path);

		snprintf(c->context, sizeof c->context, "%s", ctx->head.name);
		set_endpoint(c, ctx->endpoint, from);
		set_key(c, ctx->key, from);
		if (ctx->project && !c->project[0])
			snprintf(c->project, sizeof c->project, "%s", ctx->project);
		if (!c->timeout_given)
			c->timeout_ms = (int)ctx->timeout_ms;
		r = set_server_key(c, ctx->server_key, from);
		/* of a context whose own key is the one in use */
		if (!r && ctx->server_key_next && !c->opt_server_key && !link_z85_decode(ctx->server_key_next, c->server_key_next, NULL))
			c->have_server_key_next = true;
		c->context_own = strcmp(path, SYSTEM_CONF) != 0 && !c->opt_server_key && !c->opt_endpoint;
	}
	ctl_conf_done(&conf);
	return r;
}

static int from_files(struct ctl *c)
{
	const char *own = getenv("SLUIS_CONFIG");
	char home[4096];
	int r;

	if (own && own[0])
		return from_file(c, own, true);
	if (!conf_home(home, NULL)) {
		r = from_file(c, text_f(c, "%s/sluisctl.conf", home), false);
		if (r)
			return r;
	}
	return from_file(c, SYSTEM_CONF, false);
}

static int from_environment(struct ctl *c)
{
	const char *timeout = getenv("SLUIS_TIMEOUT");
	struct err err = {0};
	int64_t ms = 0;

	set_endpoint(c, c->opt_endpoint, "--endpoint");
	set_endpoint(c, c->opt_state_dir ? NULL : getenv("SLUIS_ENDPOINT"), "$SLUIS_ENDPOINT");
	set_key(c, c->opt_key, "--key");
	set_key(c, getenv("SLUIS_KEY"), "$SLUIS_KEY");
	if (!c->opt_cluster)
		c->opt_cluster = getenv("SLUIS_CLUSTER");
	if (getenv("SLUIS_PROJECT"))
		snprintf(c->project, sizeof c->project, "%s", getenv("SLUIS_PROJECT"));
	if (timeout && !c->timeout_given) {
		if (units_duration(timeout, &ms, &err) || ms <= 0 || ms > MS_PER_DAY) {
			try_next(c, "SLUIS_TIMEOUT=10s");
			return usage_fault(c, "SLUIS_TIMEOUT: '%s' is no time to wait", timeout);
		}
		c->timeout_ms = (int)ms;
		c->timeout_given = true;
	}
	return 0;
}

int conn_resolve(struct ctl *c)
{
	int r;

	if (c->resolved)
		return 0;
	r = from_environment(c);
	if (!r)
		r = set_server_key(c, c->opt_server_key, "--server-key");
	if (!r)
		r = set_server_key(c, getenv("SLUIS_SERVER_KEY"), "$SLUIS_SERVER_KEY");
	if (!r && c->opt_state_dir)
		r = from_state_dir(c, c->opt_state_dir);
	else if (!r)
		r = from_files(c);
	if (r)
		return r;
	if (c->opt_cluster && !c->context[0] && !c->opt_state_dir) {
		try_next(c, "sluisctl context list");
		try_next(c, "sluisctl context add %s --endpoint tcp://HOST:8472 --server-key KEY", c->opt_cluster);
		(void)usage_fault(c, "there is no context '%s'", c->opt_cluster);
		return EXIT_NOTFOUND;
	}
	set_endpoint(c, LOCAL_DOOR, "nothing else was given: the local door");
	if (!c->timeout_ms)
		c->timeout_ms = 10000;
	c->resolved = true;
	return 0;
}

static int endpoint_check(struct ctl *c, struct err *err)
{
	if (!strncmp(c->endpoint, "ipc:///", 7))
		return 0;
	if (strncmp(c->endpoint, "tcp://", 6) != 0 || !strchr(c->endpoint + 6, ':')) {
		(void)err_set(err, ERR_INVAL, "'%.100s' is no endpoint", c->endpoint);
		return err_hint(err, "tcp://HOST:PORT or ipc:///PATH");
	}
	if (!c->have_server_key) {
		(void)err_set(err, ERR_INVAL, "the public key of %.100s is not known", c->endpoint);
		return err_hint(err, "--server-key KEY, or once: sluisctl context add NAME --endpoint %.60s --server-key KEY",
				c->endpoint);
	}
	if (!c->key_file[0]) {
		(void)err_set(err, ERR_INVAL, "no key was given for %.100s", c->endpoint);
		return err_hint(err, "--key FILE, or an invitation from your admin: sluisctl user accept TOKEN");
	}
	return 0;
}

/* Does nobody listen at a socket that is there? Only what the kernel says for sure: a full backlog is a daemon that
 * is busy. libzmq itself would knock on and on and never tell. */
static bool socket_left_behind(const char *path)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	bool refused;
	int fd;

	if (strlen(path) >= sizeof to.sun_path)
		return false;
	memcpy(to.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	refused = connect(fd, (const struct sockaddr *)&to, sizeof to) < 0 && errno == ECONNREFUSED;
	close(fd);
	return refused;
}

/* A socket that is not there never becomes an answer, nor does one that a dead daemon left: say so at once instead
 * of waiting. A daemon that is just starting is not waited for in either case; whoever renews tries again. */
static int socket_check(const struct ctl *c, struct err *err)
{
	const char *path = c->endpoint + strlen("ipc://");
	struct stat st;

	if (strncmp(c->endpoint, "ipc://", 6) != 0)
		return 0;
	if (stat(path, &st) == 0) {
		if (access(path, W_OK) == 0) {
			if (!socket_left_behind(path))
				return 0;
			(void)err_set(err, ERR_UNREACHABLE, "nobody listens at %.150s: sluisd has died, or starts just now", path);
			return err_hint(err, "systemctl status sluisd; journalctl -u sluisd says why it ended");
		}
		(void)err_set(err, ERR_DENIED, "you may not open %.150s", path);
		return err_hint(err, "use your own key over the network: sluisctl context add, or ask to join group sluis");
	}
	(void)err_set(err, ERR_UNREACHABLE, "sluisd does not listen at %.150s", path);
	return err_hint(err, "systemctl status sluisd, or --endpoint tcp://HOST:PORT (sluisctl context add remembers it)");
}

/* A person need not wonder why nothing happens. */
static void away(void *arg)
{
	struct ctl *c = arg;

	if (c->errtty && !c->json && !c->quiet)
		fprintf(c->errs, "sluisctl: no answer from %s yet; waiting on (--timeout, Ctrl-C)\n", c->endpoint);
}

int conn_open(struct ctl *c, struct err *err)
{
	struct client_opts opts = {.endpoint = c->endpoint, .program = "sluisctl " SLUIS_VERSION, .away = away, .arg = c};
	int r;

	ENSURE(c->resolved);
	if (c->client)
		return 0;
	r = endpoint_check(c, err);
	if (!r)
		r = socket_check(c, err);
	if (r)
		return r;
	if (!strncmp(c->endpoint, "tcp://", 6)) {
		opts.server_key = c->server_key;
		opts.server_key_next = c->have_server_key_next ? c->server_key_next : NULL;
		opts.key_file = c->key_file;
	}
	r = client_open(&opts, &c->client, err);
	if (r && opts.key_file && !err->hint[0])
		(void)err_hint(err, "sluisctl -v cluster info says where this key is named; a new one: sluisctl user accept TOKEN");
	return r;
}

/* ---- ask and tell ---------------------------------------------------------------------------- */

static void better_denied(struct ctl *c, const struct err *err)
{
	if (err->code == ERR_DENIED && !client_welcome(c->client) && !err->hint[0]) {
		fact(c, "key", "%s (%s)", c->key_file, c->key_from);
		fact(c, "at", "%s answers, but does not know this key", c->endpoint);
		try_next(c, "sluisctl context list; a new invitation from your admin if the key was revoked");
	}
}

int ask_err(struct ctl *c, const struct query *q, void *ret_view, int timeout_ms, struct err *err)
{
	int r;

	if (c->ask_instead)
		return c->ask_instead(c, q, ret_view, err);
	r = conn_open(c, err);
	return r ? r : client_query(c->client, q, timeout_ms, ret_view, &c->arena, err);
}

int ask(struct ctl *c, const struct query *q, void *ret_view, const char *doing)
{
	struct err err = {0};
	int r = conn_resolve(c);

	if (r)
		return r;
	if (!ask_err(c, q, ret_view, c->timeout_ms, &err))
		return 0;
	if (c->client)
		better_denied(c, &err);
	return fault(c, &err, "cannot %s", doing);
}

int tell_err(struct ctl *c, uint16_t type, const void *body, struct bytes payload, int timeout_ms,
	     struct client_reply *ret_reply, struct err *err)
{
	struct client_command cmd = {.type = type, .body = body, .payload = payload,
				     .idem_key = c->have_idem ? c->idem : NULL, .dry_run = c->dry_run,
				     .approves = c->approves, .body_sent = c->body_sent};
	int r;

	if (c->tell_instead)
		return c->tell_instead(c, type, body, payload, ret_reply, err);
	r = conn_open(c, err);
	return r ? r : client_command(c->client, &cmd, timeout_ms, ret_reply, &c->arena, err);
}

/* The daemon agreed, but a second person has to. */
static int proposed(struct ctl *c, const struct client_reply *reply)
{
	uint64_t id = reply->result.approval;

	if (c->json) {
		json_t *item = json_of(&schema_result, &reply->result);

		json_object_set_new(item, "dry_run", json_boolean(c->dry_run));
		(void)json_item(c, "proposed", reply->seq, item);
		return EXIT_PROPOSED;
	}
	if (c->quiet) {
		fprintf(c->out, "%" PRIu64 "\n", id);
		return EXIT_PROPOSED;
	}
	if (c->dry_run) {
		fputs("would be proposed: a second person has to agree\n", c->out);
		return EXIT_PROPOSED;
	}
	fprintf(c->out, "proposed as approval %" PRIu64 ": a second person has to agree within %s; nothing has changed yet\n",
		id, text_age(c, APPROVAL_KEEP_MS));
	next_line(c, "(somebody else) sluisctl approval show %" PRIu64 "; sluisctl approval grant %" PRIu64, id, id);
	return EXIT_PROPOSED;
}

int tell(struct ctl *c, uint16_t type, const void *body, struct bytes payload, struct client_reply *ret_reply,
	 const char *doing)
{
	struct err err = {0};
	int r = conn_resolve(c);

	if (r)
		return r;
	if (!tell_err(c, type, body, payload, c->timeout_ms, ret_reply, &err))
		return ret_reply->result.approval ? proposed(c, ret_reply) : 0;
	if (c->client)
		better_denied(c, &err);
	return fault(c, &err, "cannot %s", doing);
}
