/* execd.c - tasks started by sluis-execd, the small root half, for an agent without privilege
 *
 * execd makes the place, becomes the user and starts the shim in it; all that follows is between
 * agent and shim, as everywhere. Looking at a place needs no privilege, so it is not asked for that.
 */
#include "agent/exec/backend.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/exec/request.h"
#include "agent/exec/unit.h"
#include "proto/base/ensure.h"

enum { EXECD_ANSWER_MS = 15000 };

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

static ssize_t send_with(int sock, const struct buf *b, const int fds[REQUEST_FDS])
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(REQUEST_FDS * sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = b->data, .iov_len = b->len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fds) {
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
		control.align = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(REQUEST_FDS * sizeof(int))};
		memcpy(CMSG_DATA(&control.align), fds, REQUEST_FDS * sizeof(int));
	}
	return sendmsg(sock, &m, MSG_NOSIGNAL);
}

/* Ask; the text of the answer goes to ret_text. Returns the code execd gave. ERR_UNREACHABLE: it was not
 * asked. ERR_TIMEOUT, ERR_GONE: asked, and not known what became of it. */
static int ask(const char *path, const struct request *request, const int fds[REQUEST_FDS], char ret_text[REPLY_BYTES_MAX],
		struct err *err)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	CLEANUP(close_fd) int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct pollfd p = {.fd = sock, .events = POLLIN};
	struct err why;
	char *rest;
	ssize_t n;
	long code;

	if (strlen(path) >= sizeof(a.sun_path))
		return err_set(err, ERR_RANGE, "the path of execd's socket is too long");
	memcpy(a.sun_path, path, strlen(path) + 1);
	if (sock < 0 || connect(sock, (const struct sockaddr *)&a, sizeof(a)))
		return err_set_errno(err, ERR_UNREACHABLE, "cannot reach sluis-execd at '%s'", path);
	request_encode(request, &b);
	if (send_with(sock, &b, fds) != (ssize_t)b.len && errno != EPIPE) /* EPIPE: it has answered by what it saw of us */
		return err_set_errno(err, ERR_UNREACHABLE, "cannot ask sluis-execd");
	while ((n = poll(&p, 1, EXECD_ANSWER_MS)) < 0 && errno == EINTR)
		;
	if (!n)
		return err_set(err, ERR_TIMEOUT, "sluis-execd has not answered");
	n = recv(sock, ret_text, REPLY_BYTES_MAX - 1, 0);
	if (n <= 0)
		return err_set(err, ERR_GONE, "sluis-execd has left");
	ret_text[n] = 0;
	code = strtol(ret_text, &rest, 10);
	if (code > 0 || code < -1000 || rest == ret_text)
		return err_set(err, ERR_FORMAT, "sluis-execd answers nonsense");
	memmove(ret_text, rest + (*rest == ' '), strlen(rest + (*rest == ' ')) + 1);
	if (code)
		return err_set(err ? err : &why, (int)code, "sluis-execd: %s", ret_text);
	return 0;
}

static int execd_open(struct exec_site *site, struct err *err)
{
	const struct request hello = {.op = REQUEST_HELLO};
	char text[REPLY_BYTES_MAX];
	char root[REPLY_BYTES_MAX], suffix[32];
	int code;

	if (!site->execd_socket)
		return err_set(err, ERR_CONFIG, "the execd backend needs the path of a socket");
	code = ask(site->execd_socket, &hello, NULL, text, err);
	if (code)
		return code;
	/* the dot at the end lets a suffix be empty */
	if (sscanf(text, "%u %4096s %31s", &site->caps, root, suffix) != 3 || suffix[strlen(suffix) - 1] != '.' ||
			root[0] != '/' || strlen(root) + EXEC_NAME_BYTES + 64 > 4096)
		return err_set(err, ERR_FORMAT, "sluis-execd answers nonsense");
	suffix[strlen(suffix) - 1] = 0;
	site->cgroup_root = xstrdup(root);
	site->suffix = xstrdup(suffix);
	return 0;
}

static int execd_prepare(struct exec_site *site, const struct exec_task *task, struct buf *records, struct err *err)
{
	CLEANUP(buf_done) struct buf place = BUF_INIT;
	struct request request;
	int code = request_of_task(task, geteuid(), &request, err);

	if (code)
		return code;
	buf_addf(&place, "%s%s%s", site->cgroup_root, task->name, site->suffix);
	unit_put(records, "place", buf_cstr(&place));
	unit_put(records, "execd", site->execd_socket);
	if (task->uid && task->uid != geteuid())
		unit_put(records, "notice_for_all", "1"); /* the directory is not the task's own */
	return 0;
}

static int execd_launch(struct exec_site *site, const struct exec_launch *l, struct err *err)
{
	const int fds[REQUEST_FDS] = {l->lock_fd, l->listen_fd};
	struct request request;
	char text[REPLY_BYTES_MAX];
	int code = request_of_task(l->task, geteuid(), &request, err);

	if (!code)
		code = ask(site->execd_socket, &request, fds, text, err);
	/* Asked, and no word: the lock, of which execd has a copy, tells what became of it. */
	return code == ERR_TIMEOUT || code == ERR_GONE ? 0 : code;
}

static bool execd_alive(struct exec_site *site, const struct exec_trace *trace)
{
	(void)site;
	return exec_cgroup_alive(trace->cgroup);
}

static int about(enum request_op op, const struct exec_trace *trace, struct err *err)
{
	struct request request = {.op = op};
	char text[REPLY_BYTES_MAX];

	(void)snprintf(request.name, sizeof(request.name), "%s", trace->name);
	return ask(trace->execd, &request, NULL, text, err);
}

static void execd_kill(struct exec_site *site, const struct exec_trace *trace)
{
	(void)site;
	(void)!about(REQUEST_KILL, trace, NULL); /* alive() tells whether it worked */
}

static int execd_forget(struct exec_site *site, const struct exec_trace *trace, struct err *err)
{
	(void)site;
	return about(REQUEST_REMOVE, trace, err);
}

const struct exec_ops exec_execd_ops = {
	.name = "execd",
	.open = execd_open,
	.prepare = execd_prepare,
	.launch = execd_launch,
	.alive = execd_alive,
	.kill = execd_kill,
	.forget = execd_forget,
};
