/* main.c - sluis-execd: the root half of an agent that is not root
 *
 *   sluis-agent ──one datagram, two descriptors──▶ sluis-execd ──▶ place + sluis-shim as another user
 *
 * Everything the agent decides, it decides without privilege and with the network in its face; this
 * program has neither network nor opinion. It is asked by datagram on one local socket (agent/exec/request.h)
 * to start, kill or clear one unit, and refuses whatever is not exactly that:
 *  - the caller is the agent's user, by what the kernel says of the connection
 *  - the unit is a directory of the agent's in the configured run dir, reached through no symbolic link, and
 *    the two descriptors are its lock and a listening socket
 *  - the user exists, is not root, is within uid-min..uid-max or the agent itself
 *  - devices are accelerators by name; the program is the shim, always; the cgroup is ours, always
 * One request at a time, one line of log for each.
 *
 * What it cannot prevent: an agent that was taken over can run any program as any user in the range.
 *
 * Exit status: 0 ended by a signal, 2 configuration, 69 cannot work here.
 * Source: Flux's flux-imp and Slurm's slurmstepd split privilege at the same line.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/exec/backend.h"
#include "agent/exec/request.h"
#include "agent/exec/service.h"
#include "agent/execd/conf.h"
#include "agent/execd/enter.h"
#include "proto/base/ensure.h"
#include "proto/link/log.h"

enum {
	REQUEST_WAIT_MS = 1000,
	LISTEN_FDS_START = 3, /* sd_listen_fds(3) */
	OOM_SCORE_SHIM = -900,
	FDS_TAKEN_MAX = 8,
};

struct execd {
	struct execd_conf conf;
	struct exec_site site;
	bool systemd;
	char self[PATH_MAX];
	int listen_fd;
};

/* A request with what came along; fds are closed when it has been answered. */
struct asked {
	struct request request;
	int fds[FDS_TAKEN_MAX];
	size_t fds_n;
};

static volatile sig_atomic_t ending;

static void on_signal(int signo)
{
	(void)signo;
	ending = 1;
}

static void close_fd(int *fd)
{
	int kept = errno;

	if (*fd >= 0)
		(void)close(*fd);
	errno = kept;
}

/* ---- is it a unit? ---------------------------------------------------------------------------------------- */

/* Open `path` below dir, through directories alone: no symbolic link on the way or at the end. Not
 * openat2(2), which a service with RestrictSUIDSGID= is told does not exist. */
static int open_plainly(int dir, const char *path, int flags)
{
	int at = fcntl(dir, F_DUPFD_CLOEXEC, 0);

	while (at >= 0 && *path) {
		size_t n = strcspn(path, "/");
		bool last = !path[n + strspn(path + n, "/")];
		char part[256];
		int next;

		if (n >= sizeof(part)) {
			errno = ENAMETOOLONG;
			next = -1;
		} else {
			(void)snprintf(part, sizeof(part), "%.*s", (int)n, path);
			next = n ? openat(at, part, (last ? flags : O_PATH | O_DIRECTORY) | O_NOFOLLOW | O_CLOEXEC) : dup(at);
		}
		close_fd(&at);
		at = next;
		path += n + strspn(path + n, "/");
	}
	return at;
}

static int check_dir(int fd, uid_t agent, const char *what, struct err *err)
{
	struct stat st;

	if (fd < 0)
		return err_set_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_DENIED, "cannot open %s", what);
	if (fstat(fd, &st) || !S_ISDIR(st.st_mode) || st.st_uid != agent || (st.st_mode & 022))
		return err_set(err, ERR_DENIED, "%s is not the agent's alone", what);
	return 0;
}

static int sock_option(int fd, int option)
{
	int value = -1;
	socklen_t n = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &n) ? -1 : value;
}

/* The agent owns all of this and may change it a moment later. It gains nothing: the shim works as the
 * agent, and the descriptors stay what they are. */
static int check_unit(const struct execd *x, const struct asked *a, struct err *err)
{
	CLEANUP(close_fd) int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(close_fd) int run = open_plainly(root, x->conf.run_dir + 1, O_RDONLY | O_DIRECTORY);
	CLEANUP(close_fd) int unit = -1;
	CLEANUP(close_fd) int task = -1;
	char path[EXEC_NAME_BYTES + 8];
	struct stat st, lock;
	int code = check_dir(run, x->conf.agent, "the run dir", err);

	if (code)
		return code;
	(void)snprintf(path, sizeof(path), "units/%s", a->request.name);
	unit = open_plainly(run, path, O_RDONLY | O_DIRECTORY);
	code = check_dir(unit, x->conf.agent, "the unit's directory", err);
	if (code)
		return code;
	task = open_plainly(unit, "task", O_PATH);
	if (task < 0 || fstat(task, &st) || !S_ISREG(st.st_mode) || st.st_uid != x->conf.agent)
		return err_set(err, ERR_DENIED, "the unit has no description of the agent's");
	if (a->fds_n != REQUEST_FDS)
		return err_set(err, ERR_FORMAT, "a start comes with %d descriptors, not %zu", REQUEST_FDS, a->fds_n);
	if (fstat(a->fds[0], &lock) || lock.st_dev != st.st_dev || lock.st_ino != st.st_ino)
		return err_set(err, ERR_DENIED, "the first descriptor is not the unit's lock");
	if (sock_option(a->fds[1], SO_DOMAIN) != AF_UNIX || sock_option(a->fds[1], SO_TYPE) != SOCK_SEQPACKET ||
			sock_option(a->fds[1], SO_ACCEPTCONN) != 1)
		return err_set(err, ERR_DENIED, "the second descriptor is not a unit's socket");
	return 0;
}

static int check_user(const struct execd *x, uid_t uid, struct err *err)
{
	ENSURE(uid != 0); /* request_decode */
	if (uid != x->conf.agent && (uid < x->conf.uid_min || uid > x->conf.uid_max))
		return err_set(err, ERR_DENIED, "user %u is not within %u to %u", (unsigned)uid, (unsigned)x->conf.uid_min,
				(unsigned)x->conf.uid_max);
	return enter_check(uid, x->conf.agent, err);
}

/* ---- start ------------------------------------------------------------------------------------------------- */

static int start_service(struct execd *x, const struct exec_task *task, const struct asked *a, const char *path,
		struct err *err)
{
	char uid[16], agent[16];
	const char *const argv[] = {x->self, "--enter", uid, agent, x->conf.shim, path, NULL};

	(void)snprintf(uid, sizeof(uid), "%u", (unsigned)task->uid);
	(void)snprintf(agent, sizeof(agent), "%u", (unsigned)x->conf.agent);
	return service_start(x->site.bus, task, argv, a->fds[0], a->fds[1], true, err);
}

static void protect_from_oom(void)
{
	char text[16];
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)snprintf(text, sizeof(text), "%d", OOM_SCORE_SHIM);
	(void)!write(fd, text, strlen(text)); /* wants CAP_SYS_RESOURCE; the shim is small without it, too */
	(void)close(fd);
}

static void place_of(const struct execd *x, const char *name, char ret[PATH_MAX])
{
	int n = snprintf(ret, PATH_MAX, "%s%s%s%s", x->site.cgroup_root, x->systemd ? "" : "/", name, x->site.suffix);

	ENSURE(n < PATH_MAX); /* both backends left room */
}

/* In the child: never returns. What fails goes up the pipe, which exec closes. */
static _Noreturn void become_shim(const struct execd *x, const struct exec_task *task, const struct asked *a,
		const char *place, const char *path, int told)
{
	struct err err = {0};
	int code = 0;

	protect_from_oom();
	if (exec_cgroup_write(place, "cgroup.procs", "0"))
		code = err_set_errno(&err, ERR_SYS, "cannot enter the cgroup '%.100s'", place);
	if (!code)
		code = enter(task->uid, x->conf.agent, a->fds[0], a->fds[1], x->conf.shim, path, &err);
	err.code = code;
	(void)!write(told, &err, sizeof(err)); /* below PIPE_BUF */
	_exit(71);
}

static int start_process(struct execd *x, const struct exec_task *task, const struct asked *a, const char *path,
		struct err *err)
{
	CLEANUP(buf_done) struct buf records = BUF_INIT;
	struct exec_trace trace = {.name = task->name};
	char place[PATH_MAX];
	struct err said;
	int pipes[2];
	int code;
	ssize_t n;
	pid_t pid;

	place_of(x, task->name, place);
	trace.cgroup = place;
	if (exec_cgroup_alive(place))
		return err_set(err, ERR_EXISTS, "'%s' has processes already", task->name);
	code = exec_cgroup2_ops.prepare(&x->site, task, &records, err);
	if (code)
		return code;
	if (pipe2(pipes, O_CLOEXEC))
		return err_set_errno(err, ERR_SYS, "cannot make a pipe");
	pid = fork();
	if (!pid)
		become_shim(x, task, a, place, path, pipes[1]);
	(void)close(pipes[1]);
	if (pid < 0) {
		code = err_set_errno(err, ERR_SYS, "cannot fork");
	} else {
		while ((n = read(pipes[0], &said, sizeof(said))) < 0 && errno == EINTR)
			;
		if (n == (ssize_t)sizeof(said))
			code = err_set(err, said.code ? said.code : ERR_SYS, "%s", said.msg);
	}
	(void)close(pipes[0]);
	if (code)
		(void)exec_cgroup2_ops.forget(&x->site, &trace, NULL); /* cleared by the next start, if not now */
	return code;
}

static int do_start(struct execd *x, const struct asked *a, struct err *err)
{
	const struct request *r = &a->request;
	const char *devices[DEVICES_MAX + 1];
	const struct exec_task task = {.name = r->name, .uid = r->uid, .mem_bytes = r->mem_bytes, .tasks_max = r->tasks_max,
		.cpu_percent = r->cpu_percent, .cpus = r->cpus[0] ? r->cpus : NULL, .mems = r->mems[0] ? r->mems : NULL,
		.private_tmp = r->private_tmp, .devices = r->has_devices ? devices : NULL};
	char path[PATH_MAX];
	int code = check_user(x, r->uid, err);

	if (!code)
		code = check_unit(x, a, err);
	if (code)
		return code;
	for (size_t i = 0; i < r->devices_n; i++)
		devices[i] = r->devices[i];
	devices[r->devices_n] = NULL;
	(void)snprintf(path, sizeof(path), "%s/units/%s/task", x->conf.run_dir, r->name);
	return (x->systemd ? start_service : start_process)(x, &task, a, path, err);
}

/* ---- the rest ------------------------------------------------------------------------------------------------ */

static int do_kill(struct execd *x, const char *name, struct err *err)
{
	char place[PATH_MAX];
	const struct exec_trace trace = {.name = name, .cgroup = place};

	if (x->systemd)
		return service_kill(x->site.bus, name, err);
	place_of(x, name, place);
	exec_cgroup2_ops.kill(&x->site, &trace);
	return 0;
}

static int do_remove(struct execd *x, const char *name, struct err *err)
{
	char place[PATH_MAX];
	const struct exec_trace trace = {.name = name, .cgroup = place};

	place_of(x, name, place);
	if (exec_cgroup_alive(place))
		return err_set(err, ERR_BUSY, "'%s' still has processes", name);
	return x->systemd ? service_forget(x->site.bus, name, err) : exec_cgroup2_ops.forget(&x->site, &trace, err);
}

static int handle(struct execd *x, const struct asked *a, struct buf *answer, struct err *err)
{
	const struct request *r = &a->request;
	int code = 0;

	if (r->op != REQUEST_START && a->fds_n)
		return err_set(err, ERR_FORMAT, "this request has no descriptors");
	switch (r->op) {
	case REQUEST_HELLO:
		buf_addf(answer, "%u %s%s %s.", x->site.caps, x->site.cgroup_root, x->systemd ? "" : "/", x->site.suffix);
		break;
	case REQUEST_START: code = do_start(x, a, err); break;
	case REQUEST_KILL: code = do_kill(x, r->name, err); break;
	case REQUEST_REMOVE: code = do_remove(x, r->name, err); break;
	}
	return code;
}

/* Closing with something unread would take our answer away from the peer. */
static void turn_away(int conn)
{
	char drop[64];

	(void)shutdown(conn, SHUT_RD); /* nothing more can come */
	while (recv(conn, drop, sizeof(drop), MSG_DONTWAIT) > 0)
		; /* descriptors go with it, without ever being ours */
}

/* ---- one connection --------------------------------------------------------------------------------------------- */

static void take_fds(struct msghdr *m, struct asked *ret)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t n = c->cmsg_len < CMSG_LEN(0) ? 0 : (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n && ret->fds_n < FDS_TAKEN_MAX; i++)
			memcpy(&ret->fds[ret->fds_n++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
	}
}

static int receive(int conn, struct asked *ret, struct err *err)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(FDS_TAKEN_MAX * sizeof(int))];
	} control;
	char data[REQUEST_BYTES_MAX];
	struct iovec iov = {.iov_base = data, .iov_len = sizeof(data)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	struct pollfd p = {.fd = conn, .events = POLLIN};
	ssize_t n;

	if (poll(&p, 1, REQUEST_WAIT_MS) != 1)
		return err_set(err, ERR_TIMEOUT, "a connection without a request");
	n = recvmsg(conn, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return err_set_errno(err, ERR_SYS, "cannot receive");
	take_fds(&m, ret);
	if (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		return err_set(err, ERR_TOOBIG, "a request exceeds %d bytes or %d descriptors", REQUEST_BYTES_MAX, FDS_TAKEN_MAX);
	return request_decode(data, (size_t)n, &ret->request, err);
}

static int check_peer(const struct execd *x, int conn, struct ucred *ret, struct err *err)
{
	socklen_t n = sizeof(*ret);

	*ret = (struct ucred){.uid = (uid_t)-1};
	if (getsockopt(conn, SOL_SOCKET, SO_PEERCRED, ret, &n))
		return err_set_errno(err, ERR_SYS, "cannot tell who asks");
	if (ret->uid != x->conf.agent)
		return err_set(err, ERR_DENIED, "user %u is not the agent", (unsigned)ret->uid);
	return 0;
}

static void serve(struct execd *x, int conn)
{
	static const char *const names[] = {"hello", "start", "kill", "remove"};
	CLEANUP(buf_done) struct buf answer = BUF_INIT, text = BUF_INIT;
	struct asked a = {.fds_n = 0};
	struct mono begin = mono_now();
	struct ucred peer;
	struct err err = {0};
	int code = check_peer(x, conn, &peer, &err);
	bool decoded = false;

	if (code) {
		turn_away(conn);
	} else {
		code = receive(conn, &a, &err);
		decoded = !code;
	}
	if (!code)
		code = handle(x, &a, &answer, &err);
	buf_addf(&text, "%d %s", code, code ? err.msg : answer.len ? buf_cstr(&answer) : "ok");
	(void)send(conn, text.data, text.len, MSG_DONTWAIT | MSG_NOSIGNAL); /* who has left reads the lock */
	for (size_t i = 0; i < a.fds_n; i++)
		(void)close(a.fds[i]);
	log_event(code ? LOG_WARNING : LOG_INFO, code ? "request_refused" : "request",
			"op=%s unit=%s uid=%u peer=%d ms=%" PRId64 " code=%s error=%s", decoded ? names[a.request.op] : "?",
			decoded ? log_quote(a.request.name) : "?", (unsigned)a.request.uid, (int)peer.pid,
			mono_ms(mono_now()) - mono_ms(begin), code ? err_name(code) : "0", log_quote(code ? err.msg : ""));
}

/* ---- start-up ------------------------------------------------------------------------------------------------- */

/* Nobody but root can put something else in the place of `path`: every folder above it is root's, and writable by others
 * only where that lets nobody touch what is root's, as in /tmp. Makes `path` the one without links, which stays true. */
static int check_above(char path[PATH_MAX - 128], struct err *err)
{
	char above[PATH_MAX], real[2 * PATH_MAX];
	char *slash = strrchr(path, '/');
	struct stat st;

	(void)snprintf(above, sizeof(above), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	if (!realpath(above, real))
		return err_set_errno(err, ERR_CONFIG, "cannot find '%.160s'", above);
	memcpy(above, real, strlen(real) + 1);
	for (char *end = above + strlen(above);; end = strrchr(above, '/')) {
		end[end == above] = 0;
		if (stat(above, &st) || st.st_uid || ((st.st_mode & 022) && !(st.st_mode & S_ISVTX)))
			return err_set(err, ERR_CONFIG, "'%.100s' is in '%.100s', which not only root can change", path, above);
		if (end == above)
			break;
	}
	(void)snprintf(real + strlen(real), sizeof(real) - strlen(real), "%s", strcmp(real, "/") ? slash : slash + 1);
	if (strlen(real) >= PATH_MAX - 128)
		return err_set(err, ERR_CONFIG, "the path of '%.160s' is too long", path);
	memcpy(path, real, strlen(real) + 1);
	return 0;
}

/* The one program we start must be out of reach of everybody but root. */
static int check_shim(char path[PATH_MAX - 128], struct err *err)
{
	struct stat st;
	char *real = realpath(path, NULL);

	if (!real || strlen(real) >= PATH_MAX - 128 || stat(real, &st) || !S_ISREG(st.st_mode) || st.st_uid ||
			(st.st_mode & 022) || !(st.st_mode & 0111)) {
		free(real);
		return err_set(err, ERR_CONFIG, "'%.160s' is not a program that only root can change", path);
	}
	(void)snprintf(path, PATH_MAX - 128, "%s", real);
	free(real);
	return check_above(path, err);
}

static int open_socket(struct execd *x, struct err *err)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	const char *n = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");

	if (!x->conf.socket[0]) {
		if (!n || strcmp(n, "1") || !pid || strtol(pid, NULL, 10) != getpid())
			return err_set(err, ERR_CONFIG, "no socket: neither given by systemd nor named");
		x->listen_fd = LISTEN_FDS_START;
		if (sock_option(x->listen_fd, SO_DOMAIN) != AF_UNIX || sock_option(x->listen_fd, SO_TYPE) != SOCK_SEQPACKET)
			return err_set(err, ERR_CONFIG, "the socket from systemd is not ListenSequentialPacket of AF_UNIX");
		return fcntl(x->listen_fd, F_SETFD, FD_CLOEXEC) ? err_set_errno(err, ERR_SYS, "cannot use the socket") : 0;
	}
	if (check_above(x->conf.socket, err))
		return err->code;
	if (strlen(x->conf.socket) >= sizeof(a.sun_path))
		return err_set(err, ERR_CONFIG, "the path of the socket is too long");
	memcpy(a.sun_path, x->conf.socket, strlen(x->conf.socket) + 1);
	(void)unlink(x->conf.socket); /* of an earlier run */
	x->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (x->listen_fd < 0 || fchmod(x->listen_fd, 0600) || bind(x->listen_fd, (const struct sockaddr *)&a, sizeof(a)) ||
			lchown(x->conf.socket, x->conf.agent, (gid_t)-1) || listen(x->listen_fd, 64))
		return err_set_errno(err, ERR_SYS, "cannot listen at '%.100s'", x->conf.socket);
	return 0;
}

static int open_place(struct execd *x, struct err *err)
{
	int code = ERR_UNSUPPORTED;

	if (x->conf.backend != EXECD_CGROUP2) {
		code = service_bus_open(&x->site.bus, err);
		if (!code)
			code = service_site(x->site.bus, &x->site, err);
		x->systemd = !code;
	}
	if (code && x->conf.backend != EXECD_SYSTEMD) {
		x->site.cgroup_root = xstrdup(x->conf.cgroup_root);
		x->site.shim_inside = true;
		code = exec_cgroup2_ops.open(&x->site, err);
	}
	x->site.caps |= EXEC_CAP_USER;
	return code;
}

static void leave_place(struct execd *x)
{
	service_bus_close(x->site.bus);
	free(x->site.cgroup_root);
	free(x->site.suffix);
}

/* `sluis-execd --enter UID AGENT SHIM TASK`: inside a service of our own making, still root. */
static int main_enter(char **argv)
{
	struct err err = {0};
	uid_t uid = (uid_t)strtoul(argv[2], NULL, 10), agent = (uid_t)strtoul(argv[3], NULL, 10);

	(void)!enter(uid, agent, 0, 1, argv[4], argv[5], &err); /* systemd sees the exit status; the lock falls free */
	return 71;
}

int main(int argc, char **argv)
{
	struct execd x = {.listen_fd = -1};
	struct err err = {0};
	struct sigaction end = {.sa_handler = on_signal};
	sigset_t blocked, open;
	ssize_t n;
	int code;

	if (argc == 6 && !strcmp(argv[1], "--enter"))
		return main_enter(argv);
	if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		(void)puts("usage: sluis-execd [--config=FILE] [--KEY=VALUE]...; see sluis-execd(8)");
		return 0;
	}
	if (argc == 2 && (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V"))) {
		(void)printf("sluis-execd %s\n", SLUIS_VERSION);
		return 0;
	}
	if (geteuid()) {
		log_event(LOG_ERR, "not_root", "error=\"sluis-execd starts tasks as other users, which takes root\"");
		return 69;
	}
	code = execd_conf_load(argc, argv, &x.conf, &err);
	if (!code)
		code = check_shim(x.conf.shim, &err);
	if (code) {
		log_event(LOG_ERR, "bad_configuration", "error=%s", log_quote(err.msg));
		return 2;
	}
	n = readlink("/proc/self/exe", x.self, sizeof(x.self) - 1);
	x.self[n > 0 ? n : 0] = 0;
	code = open_place(&x, &err);
	if (!code)
		code = open_socket(&x, &err);
	if (code) {
		log_event(LOG_ERR, "cannot_start", "error=%s", log_quote(err.msg));
		leave_place(&x);
		return code == ERR_CONFIG ? 2 : 69;
	}
	/* Open only while waiting, so that no request is cut short. */
	(void)sigemptyset(&blocked);
	(void)sigaddset(&blocked, SIGTERM);
	(void)sigaddset(&blocked, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &blocked, &open);
	(void)sigaction(SIGTERM, &end, NULL);
	(void)sigaction(SIGINT, &end, NULL);
	(void)signal(SIGCHLD, SIG_IGN); /* shims tell their own end */
	log_event(LOG_INFO, "ready", "backend=%s caps=%u agent=%u uid_min=%u uid_max=%u run_dir=%s", x.systemd ? "systemd" : "cgroup2",
			x.site.caps, (unsigned)x.conf.agent, (unsigned)x.conf.uid_min, (unsigned)x.conf.uid_max,
			log_quote(x.conf.run_dir));
	while (!ending) {
		struct pollfd p = {.fd = x.listen_fd, .events = POLLIN};
		int conn;

		if (ppoll(&p, 1, NULL, &open) != 1)
			continue;
		conn = accept4(x.listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (conn < 0)
			continue;
		serve(&x, conn);
		(void)close(conn);
	}
	if (x.conf.socket[0])
		(void)unlink(x.conf.socket);
	leave_place(&x);
	return 0;
}
