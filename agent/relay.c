/* relay.c - what users ask of a task through sluisd: its output, a signal, a command beside it
 *
 * Reading is stateless: every request names its offset, so a reader may come back after any restart.
 *
 * Where the output of a task goes is for its user to say, whether the task may write there or not, and it is the agent
 * that reads it. So what a link leads to is read only if everybody may: else a user would read the agent's key, or the output
 * of others, by naming it as his own.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "agent/shell.h"
#include "proto/base/ensure.h"
#include "proto/link/log.h"

enum { OUTPUT_BYTES_MAX = 128 * 1024 }; /* of one answer */

static void answer(struct shell *s, uint64_t req, int code, const char *text, const struct view_output *view)
{
	struct msg_output out = {.code = code, .message = text};

	if (view)
		out.output = *view;
	shell_send(s, MSG_OUTPUT, req, &out);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

/* Looked at before it is opened: opening a FIFO waits, opening a device may do something. `theirs`: not the agent's own
 * file, but where a user sent his output. *ret_fd is -1 if there is none. */
static int open_output(const struct shell *s, const char *path, bool theirs, const char *shown, int *ret_fd, struct stat *st,
		       struct err *err)
{
	CLEANUP(close_fd) int there = open(path, O_PATH | O_CLOEXEC);
	char again[32];
	struct statfs fs;

	*ret_fd = -1;
	if (there < 0 && errno == ENOENT)
		return 0;
	if (there < 0 || fstat(there, st) != 0 || fstatfs(there, &fs) != 0)
		return err_set_errno(err, ERR_IO, "cannot read '%.100s'", shown);
	if (!S_ISREG(st->st_mode) || fs.f_type == PROC_SUPER_MAGIC) /* /proc/self is another's to us */
		return err_set(err, ERR_INVAL, "'%.100s' is no regular file", shown);
	if (theirs && s->run_as_user && !(st->st_mode & S_IROTH))
		return err_set(err, ERR_DENIED, "cannot read '%.100s': it is not everybody's to read", shown);
	(void)snprintf(again, sizeof again, "/proc/self/fd/%d", there);
	*ret_fd = open(again, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return *ret_fd < 0 ? err_set_errno(err, ERR_IO, "cannot read '%.100s'", shown) : 0;
}

/* Fill `view` from the file at `path`; `data` has OUTPUT_BYTES_MAX bytes. No file yet is an empty one. */
static int read_part(const struct shell *s, const char *path, const struct query *q, bool over, uint8_t *data,
		     struct view_output *view, struct err *err)
{
	size_t max = q->limit && q->limit < OUTPUT_BYTES_MAX ? q->limit : OUTPUT_BYTES_MAX;
	CLEANUP(close_fd) int fd = -1;
	char real[TEXT_BYTES];
	ssize_t link_len, got;
	struct stat st;
	int code;

	link_len = readlink(path, real, sizeof real - 1);
	if (link_len > 0)
		real[link_len] = '\0';
	(void)snprintf(view->path, sizeof view->path, "%.*s", (int)sizeof view->path - 1, link_len > 0 ? real : path);
	code = open_output(s, path, link_len > 0, view->path, &fd, &st, err);
	if (code)
		return code;
	if (fd < 0) {
		view->ended = over;
		return 0;
	}
	view->size = st.st_size;
	view->offset = q->offset >= 0 ? q->offset : st.st_size + q->offset > 0 ? st.st_size + q->offset : 0;
	do
		got = pread(fd, data, max, (off_t)view->offset);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return err_set_errno(err, ERR_IO, "cannot read '%.100s'", view->path);
	view->data = (struct bytes){.data = data, .len = (uint32_t)got};
	view->ended = over && view->offset + got >= st.st_size;
	return 0;
}

/* Has this task ended for good? One that is not known any more has. */
static bool is_over(struct shell *s, const char *name, struct exec_status *st)
{
	struct err err;

	if (exec_status(s->exec, name, st, &err))
		return true;
	return st->state == EXEC_NONE || ((st->state == EXEC_EXITED || st->state == EXEC_LOST) && st->empty);
}

void relay_output(struct shell *s, uint64_t req, const struct msg_relay *m)
{
	const struct unit *u = agent_unit(s->agent, m->alloc, m->part);
	CLEANUP(buf_done) struct buf path = BUF_INIT;
	uint8_t *data = xmalloc(OUTPUT_BYTES_MAX);
	struct view_output view = {0};
	char name[AGENT_NAME_BYTES];
	struct exec_status st = {0};
	struct err err = {0};
	bool over = true, unit_over = !u || agent_unit_state(s->agent, m->alloc, m->part, NULL) >= UNIT_EXITED;
	int code;

	if (m->query.type == QUERY_EXEC && m->query.exec) {
		relay_exec(s, req, m);
		free(data);
		return;
	}
	/* Tasks are asked for by rank; their files bear it too. */
	if (u && m->query.task >= u->rank0 && agent_task_name(s->agent, m->alloc, m->part, m->query.task - u->rank0, name))
		/* a task that exec does not know has ended only if its unit has: else it has not begun */
		over = u->kind != UNIT_SERVICE && is_over(s, name, &st) && (st.state != EXEC_NONE || unit_over);
	else if (u)
		over = unit_over;
	launch_output_path(s, m->alloc, m->part, 't', m->query.task, m->query.stream, &path);
	code = read_part(s, buf_cstr(&path), &m->query, over, data, &view, &err);
	answer(s, req, code, code ? err.msg : NULL, &view);
	free(data);
}

static void exec_start_one(struct shell *s, uint64_t req, const struct msg_relay *m)
{
	struct arena arena = {0};
	struct view_output view = {0};
	struct payload payload;
	char name[AGENT_NAME_BYTES];
	struct err err = {0};
	int code;

	code = schema_decode(&schema_payload, m->query.payload.data, m->query.payload.len, &payload, &arena, &err);
	if (!code && !payload.argv_n)
		code = err_set(&err, ERR_INVAL, "no command to run");
	if (!code)
		code = agent_extra(s->agent, shell_now(), m->alloc, m->part, name, &view.exec, &err);
	if (!code) {
		code = launch_extra(s, m->alloc, m->part, name, view.exec, &payload, &err);
		if (code) /* the core has counted it: it is not there */
			agent_task(s->agent, shell_now(), name, &(struct task_status){.state = TASK_NONE, .empty = true});
	}
	answer(s, req, code, code ? err.msg : NULL, &view);
	arena_done(&arena);
}

void relay_exec(struct shell *s, uint64_t req, const struct msg_relay *m)
{
	CLEANUP(buf_done) struct buf path = BUF_INIT;
	struct view_output view = {.exec = m->query.exec};
	char name[AGENT_NAME_BYTES];
	struct exec_status st = {0};
	struct err err = {0};
	uint8_t *data;
	bool over;
	int code;

	if (!m->query.exec) {
		exec_start_one(s, req, m);
		return;
	}
	(void)snprintf(name, sizeof name, "a%" PRIu64 "-p%u-x%" PRIu64, m->alloc, (unsigned)m->part, m->query.exec);
	over = is_over(s, name, &st);
	data = xmalloc(OUTPUT_BYTES_MAX);
	launch_output_path(s, m->alloc, m->part, 'x', m->query.exec, m->query.stream, &path);
	code = read_part(s, buf_cstr(&path), &m->query, over, data, &view, &err);
	if (!code && over && st.state == EXEC_NONE && !view.size && access(buf_cstr(&path), F_OK) != 0)
		code = err_set(&err, ERR_NOTFOUND, "command %" PRIu64 " is not known here", m->query.exec);
	if (st.state == EXEC_EXITED)
		view.exit_code = st.exit_signal ? 128 + st.exit_signal : st.exit_code;
	else if (st.state == EXEC_LOST)
		view.exit_code = 128 + 9;
	if (st.setup_failed && !code && !view.size && m->query.stream == 1) {
		view.data = (struct bytes){.data = (const uint8_t *)st.error, .len = (uint32_t)strlen(st.error)};
		view.ended = over;
	}
	answer(s, req, code, code ? err.msg : NULL, &view);
	free(data);
}

struct signal_to { struct shell *shell; uint64_t alloc; uint16_t part; int signo; uint32_t reached; };

static void signal_one(void *ctx, const char *name)
{
	struct signal_to *to = ctx;
	uint64_t alloc, index;
	uint16_t part;
	uint32_t run;
	struct err err;
	char kind;

	if (agent_name_parse(name, &alloc, &part, &kind, &index, &run) && alloc == to->alloc && part == to->part &&
	    exec_signal(to->shell->exec, name, to->signo, true, &err) == 0)
		to->reached++;
}

void relay_signal(struct shell *s, uint64_t req, const struct msg_relay *m)
{
	struct signal_to to = {.shell = s, .alloc = m->alloc, .part = m->part, .signo = m->query.signal};
	struct msg_reply reply = {0};
	struct err err = {0};

	if (to.signo < 1 || to.signo > 64)
		reply.code = err_set(&err, ERR_RANGE, "%d is no signal", to.signo);
	else
		exec_list(s->exec, signal_one, &to);
	if (!reply.code && !to.reached)
		reply.code = err_set(&err, ERR_NOTFOUND, "no process of allocation %" PRIu64 " runs on %s", m->alloc, s->node);
	reply.message = reply.code ? err.msg : NULL;
	shell_send(s, MSG_REPLY, req, &reply);
}
