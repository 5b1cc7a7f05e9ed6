/* main.c - sluis-shim: the parent of one task, and all that has to outlive the agent
 *
 *   claimed ──fork──▶ starting ──exec──▶ running ──leader ended──▶ exited ──nothing left──▶ (gone)
 *                        └──────────setup failed─────────────────────▲
 *
 * Started by agent/exec with the path of a `task` file (agent/exec/unit.h has every file, record and
 * request), its lock on descriptor 3 and its listening socket on 4. It forks the task, keeps the exit
 * status, passes on signals and notices, collects reports, and leaves when no descendant exists.
 *
 * What holds true:
 *  - The status says "claimed" before the first fork: without it nothing has ever run.
 *  - It is a subreaper: a descendant that loses its parent becomes its child, setsid or not. So
 *    "no children" (ECHILD) is "no process left", and a walk down from here finds every one.
 *  - It blocks all signals. Only SIGKILL ends it early; the agent then sees the lock free.
 *  - It waits for nobody: one poll loop, and no write in it that could block on the task.
 *
 * `sluis-shim --service` finds lock and socket as its stdin and stdout, and itself in the unit's cgroup.
 * Its real user may then be another than its effective one, which is the agent: files and status are
 * written as the agent, signals reach the task because the kernel compares real users, and the child
 * becomes that user for good. No capability is needed for any of this.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/exec/procfs.h"
#include "agent/exec/unit.h"
#include "agent/shim/scratch.h"
#include "proto/base/ensure.h"
#include "proto/base/failpoint.h"
#include "proto/base/instant.h"

enum {
	CONNS_MAX = 4,
	REQUEST_BYTES_MAX = 4096 + 64,
	TASK_BYTES_MAX = 8 << 20,
	CHILD_ERROR_FD = UNIT_REPORT_FD + 1, /* in the child */
	PRIVATE_FD = 20, /* our own descriptors stay clear of those the task is given */
	RETRY_MS = 1000,
	KILL_AGAIN_MS = 20,
};

struct shim {
	struct buf task;
	pid_t leader;
	struct proc leader_proc; /* start time */
	struct proc self;
	int64_t started_ms;
	int child_error; /* read end: closes when the task executes, says what failed if it cannot */
	char error[160];
	int notice;  /* write end, non-blocking */
	int reports; /* read end, non-blocking; -1 once every writer has gone */
	int report_file;
	int slots;
	int scratch; /* holds the user's folder (scratch.h), or -1 */
	uint64_t report_bytes, reports_dropped;
	char line[UNIT_REPORT_LINE_MAX];
	size_t line_len;
	bool line_too_long;
	int events; /* cgroup.events, or -1 */
	bool service; /* our own cgroup is the unit's */
	int oom_events; /* memory.events of it, or -1 */
	int conns[CONNS_MAX], next_conn;
	bool running, ended, exit_written, empty;
	bool killing;
	int kill_wait_ms;
	int wait_status;
	int64_t ended_ms;
	struct rusage usage;
};

/* What the child says when it cannot execute the task. */
struct child_error {
	int number;
	char what[96];
};

/* ---- telling the agent ------------------------------------------------------------------------- */

/* Nobody listening, or a bell full of older news: the agent looks at everything when it comes. */
static void ring(const struct shim *shim)
{
	char line[80];
	const char *bell = unit_get(&shim->task, "bell");
	int fd = bell ? open(bell, O_WRONLY | O_NONBLOCK | O_CLOEXEC) : -1;
	int n;

	if (fd < 0)
		return;
	n = snprintf(line, sizeof(line), "%s\n", unit_get(&shim->task, "unit"));
	(void)!write(fd, line, (size_t)n);
	(void)close(fd);
}

static void put_leader(const struct shim *shim, struct buf *b)
{
	unit_put_u64(b, "pid", (uint64_t)shim->leader);
	unit_put_u64(b, "pid_start", shim->leader_proc.start);
	unit_put_u64(b, "started_ms", (uint64_t)shim->started_ms);
}

static int put_part(const struct shim *shim, enum unit_part part, const struct buf *b)
{
	return unit_part_put(shim->slots, unit_get_u64(&shim->task, "slot"), part, b, NULL);
}

static int write_status(const struct shim *shim, const char *phase)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;

	unit_put(&b, "nonce", unit_get(&shim->task, "nonce"));
	unit_put_u64(&b, "shim", (uint64_t)shim->self.pid);
	unit_put_u64(&b, "shim_start", shim->self.start);
	unit_put(&b, "phase", phase);
	if (shim->running)
		put_leader(shim, &b);
	return put_part(shim, UNIT_STATUS, &b);
}

/* A file of our own cgroup: of cgroup2 (legacy false), or of cgroup1's memory. -1 if there is none. */
static int open_own(bool legacy, const char *file)
{
	static const char *const mounts[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[4200], path[4400];
	const char *own = NULL;
	int fd = -1;

	while (f && !own && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		own = legacy ? strstr(line, ":memory:") : !strncmp(line, "0::", 3) ? line + 2 : NULL;
	}
	if (f)
		(void)fclose(f);
	if (!own)
		return -1;
	if (legacy) {
		(void)snprintf(path, sizeof(path), "/sys/fs/cgroup/memory%s/%s", own + 8, file);
		return open(path, O_RDONLY | O_CLOEXEC);
	}
	for (size_t i = 0; i < ARRAY_LEN(mounts) && fd < 0; i++) {
		(void)snprintf(path, sizeof(path), "%s%s/%s", mounts[i], own + 1, file);
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	return fd;
}

static int open_oom_count(const struct shim *shim)
{
	const char *cgroup = unit_get(&shim->task, "cgroup");
	char path[4200];
	int fd;

	if (cgroup) {
		(void)snprintf(path, sizeof(path), "%s/memory.events", cgroup);
		return open(path, O_RDONLY | O_CLOEXEC);
	}
	if (!shim->service)
		return -1;
	fd = open_own(false, "memory.events");
	return fd >= 0 ? fd : open_own(true, "memory.oom_control");
}

/* Did the kernel kill something in the unit's cgroup for memory? */
static bool oom_happened(const struct shim *shim)
{
	char text[512];
	const char *at;
	ssize_t n;
	int fd = open_oom_count(shim);

	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	(void)close(fd);
	text[n > 0 ? n : 0] = 0;
	at = strstr(text, "oom_kill ");
	/* not the end of oom_kill_disable */
	return at && (at == text || at[-1] == '\n') && strtoull(at + 9, NULL, 10) > 0;
}

static uint64_t usec(struct timeval t) { return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec; }

static int write_exit(const struct shim *shim, bool empty)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	int code;

	unit_put(&b, "nonce", unit_get(&shim->task, "nonce"));
	if (!shim->error[0])
		put_leader(shim, &b);
	unit_put_u64(&b, "ended_ms", (uint64_t)shim->ended_ms);
	if (WIFSIGNALED(shim->wait_status)) {
		unit_put_u64(&b, "signal", (uint64_t)WTERMSIG(shim->wait_status));
		if (WCOREDUMP(shim->wait_status))
			unit_put(&b, "core", "1");
	} else {
		unit_put_u64(&b, "code", (uint64_t)WEXITSTATUS(shim->wait_status));
	}
	if (oom_happened(shim))
		unit_put(&b, "oom", "1");
	if (shim->error[0]) {
		unit_put(&b, "setup_failed", "1");
		unit_put(&b, "error", shim->error);
	}
	unit_put_u64(&b, "user_us", usec(shim->usage.ru_utime));
	unit_put_u64(&b, "system_us", usec(shim->usage.ru_stime));
	unit_put_u64(&b, "maxrss_kib", (uint64_t)shim->usage.ru_maxrss);
	unit_put_u64(&b, "reports_dropped", shim->reports_dropped);
	if (empty)
		unit_put(&b, "empty", "1");
	/* On disk first: whoever is told may act on it. */
	FAILPOINT("shim.exit.before_write");
	code = put_part(shim, UNIT_EXIT, &b);
	FAILPOINT("shim.exit.before_sync");
	if (!code && fdatasync(shim->slots))
		code = ERR_IO;
	FAILPOINT("shim.exit.before_status");
	return code ? code : write_status(shim, "exited");
}

/* ---- the child, up to exec ----------------------------------------------------------------------- */

static int child_error_fd; /* of the child alone */

static _Noreturn void child_fail(int exit_code, const char *what, const char *detail)
{
	struct child_error e = {.number = errno};

	(void)snprintf(e.what, sizeof(e.what), "%s '%.64s'", what, detail);
	(void)!write(child_error_fd, &e, sizeof(e)); /* below PIPE_BUF: all or nothing */
	_exit(exit_code);
}

static void child_open(int as, const char *path, int flags, mode_t mode)
{
	int fd = open(path, flags | O_NOCTTY | O_CLOEXEC, mode);

	if (fd < 0)
		child_fail(126, "cannot open", path);
	if (dup2(fd, as) < 0)
		child_fail(126, "cannot set up", path);
	if (fd != as)
		(void)close(fd);
}

/* Output, from which what an earlier run left is dropped: a file that nobody has touched since this run was
 * made holds nothing of it. */
static void child_output(const struct buf *task, int as, const char *path, mode_t mode)
{
	uint64_t before = unit_get_u64(task, "truncate_before");
	struct stat st;

	child_open(as, path, O_WRONLY | O_CREAT | O_APPEND, mode);
	if (before && !fstat(as, &st) && S_ISREG(st.st_mode) &&
			(uint64_t)st.st_mtim.tv_sec * NS_PER_S + (uint64_t)st.st_mtim.tv_nsec < before)
		(void)!ftruncate(as, 0);
}

static void child_place(const struct buf *task)
{
	const char *cgroup = unit_get(task, "cgroup");
	const char *cpus = unit_get(task, "cpus");
	const char *mems = unit_get(task, "mems");
	uint64_t bits[UNIT_CPU_WORDS];

	if (cgroup) {
		char path[4200];
		int fd;

		(void)snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, "0", 1) != 1)
			child_fail(126, "cannot enter cgroup", cgroup);
		(void)close(fd);
	}
	if (cpus) {
		errno = EINVAL;
		if (cpulist_parse(cpus, bits, UNIT_CPU_WORDS, NULL) ||
				sched_setaffinity(0, sizeof(bits), (const cpu_set_t *)bits))
			child_fail(126, "cannot bind to cpus", cpus);
	}
	if (mems) {
		enum { BIND = 2, PREFERRED_MANY = 5 }; /* MPOL_... of <linux/mempolicy.h>; the latter since Linux 5.15 */
		bool preferred = unit_get(task, "mems_preferred") != NULL;

		errno = EINVAL;
		if (cpulist_parse(mems, bits, UNIT_CPU_WORDS / 8, NULL) ||
				(syscall(SYS_set_mempolicy, preferred ? PREFERRED_MANY : BIND, bits, UNIT_CPU_WORDS / 8 * 64) &&
					!preferred))
			child_fail(126, "cannot bind to NUMA nodes", mems);
	}
}

static char **child_vector(const struct buf *task, const char *key)
{
	char **v = NULL;
	size_t n = 0;

	for (const char *s = unit_get(task, key); s; s = unit_next(task, key, s)) {
		v = xrealloc(v, (n + 2) * sizeof(*v));
		v[n++] = xstrdup(s);
	}
	if (!v)
		v = xmalloc(sizeof(*v));
	v[n] = NULL;
	return v;
}

/* What is the agent's goes before we are the user's: as soon as we are, another process of that user may trace us, while
 * an open of the user's own (a FIFO without a writer) keeps us as long as it likes, and use what we have open: the slots of
 * every unit, the socket that the agent asks. What is left is what the task gets, and our pipe to the shim. */
static void child_let_go(int notice, int reports)
{
	if (dup2(notice, UNIT_NOTICE_FD) < 0 || dup2(reports, UNIT_REPORT_FD) < 0 ||
			dup3(child_error_fd, CHILD_ERROR_FD, O_CLOEXEC) < 0)
		child_fail(126, "cannot set up", "notice and report pipes");
	child_error_fd = CHILD_ERROR_FD;
	if (close_range(UNIT_LOCK_FD, UNIT_NOTICE_FD - 1, 0) || close_range(CHILD_ERROR_FD + 1, ~0U, 0))
		child_fail(126, "cannot close", "what is the agent's");
}

/* Our real user and group, for good. */
static void child_user(void)
{
	uid_t uid = getuid();
	gid_t gid = getgid();

	if (uid == geteuid() && gid == getegid())
		return;
	if (setresgid(gid, gid, gid) || setresuid(uid, uid, uid) || geteuid() != uid || getegid() != gid)
		child_fail(126, "cannot become", "the user of the task");
	(void)prctl(PR_SET_DUMPABLE, 1); /* else our own /proc belongs to root up to exec */
}

/* The shim is spared as long as anything else can be killed; the task is not. */
static void child_mortal(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)!write(fd, "0", 1); /* raising it is always allowed */
	(void)close(fd);
}

static _Noreturn void child(const struct shim *shim, int error_fd, int notice, int reports)
{
	const struct buf *task = &shim->task;
	const char *out = unit_get(task, "stdout");
	const char *err = unit_get(task, "stderr");
	const char *cwd = unit_get(task, "cwd");
	bool own_out = unit_get(task, "own_out") != NULL, own_err = unit_get(task, "own_err") != NULL;
	char **argv = child_vector(task, "arg");
	sigset_t none;

	child_error_fd = error_fd;
	(void)setpgid(0, 0); /* a ^C in it, or its own kill(0), is not ours */
	child_place(task);
	if (own_out)
		child_output(task, 1, out, 0600);
	if (own_err && strcmp(out, err) != 0)
		child_output(task, 2, err, 0600);
	child_let_go(notice, reports);
	child_user();
	if (shim->service)
		child_mortal();
	if (chdir(cwd))
		child_fail(126, "cannot change to directory", cwd);
	child_open(0, unit_get(task, "stdin"), O_RDONLY, 0);
	if (!own_out)
		child_output(task, 1, out, 0666);
	if (!strcmp(out, err)) { /* one description: both share the offset */
		if (dup2(1, 2) < 0)
			child_fail(126, "cannot set up", err);
	} else if (!own_err) {
		child_output(task, 2, err, 0666);
	}
	environ = child_vector(task, "env");
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)execvp(argv[0], argv);
	child_fail(errno == ENOENT ? 127 : 126, "cannot execute", argv[0]);
}

/* ---- starting ---------------------------------------------------------------------------------------- */

/* The same description under a number the task is not given, closed by exec. */
static int private_fd(int fd)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, PRIVATE_FD);

	(void)close(fd);
	return high;
}

static int make_pipe(int *ret_read, int *ret_write)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	*ret_read = private_fd(fds[0]);
	*ret_write = private_fd(fds[1]);
	return *ret_read < 0 || *ret_write < 0 ? -1 : 0;
}

static int start(struct shim *shim)
{
	const char *cgroup = unit_get(&shim->task, "cgroup");
	int error_w, notice_r, report_w;

	if (make_pipe(&shim->child_error, &error_w) || make_pipe(&notice_r, &shim->notice) ||
			make_pipe(&shim->reports, &report_w))
		return -1;
	/* Only our ends: the task gets ordinary blocking descriptors. */
	if (fcntl(shim->child_error, F_SETFL, O_NONBLOCK) || fcntl(shim->notice, F_SETFL, O_NONBLOCK) ||
			fcntl(shim->reports, F_SETFL, O_NONBLOCK))
		return -1;
	if (cgroup) {
		char path[4200];

		(void)snprintf(path, sizeof(path), "%s/cgroup.events", cgroup);
		shim->events = open(path, O_RDONLY | O_CLOEXEC);
		if (shim->events < 0)
			return -1;
		shim->events = private_fd(shim->events);
	}
	if (shim->service) {
		shim->oom_events = open_own(false, "memory.events");
		if (shim->oom_events >= 0)
			shim->oom_events = private_fd(shim->oom_events);
	}
	FAILPOINT("shim.start.unclaimed");
	if (!proc_read(getpid(), &shim->self) || write_status(shim, "claimed"))
		return -1;
	FAILPOINT("shim.start.claimed");
	if (shim->service)
		ring(shim); /* the agent does not know our number */
	shim->scratch = scratch_open(&shim->task, shim->error, sizeof(shim->error));
	if (!shim->error[0])
		shim->leader = fork();
	if (!shim->leader)
		child(shim, error_w, notice_r, report_w);
	FAILPOINT("shim.start.forked");
	if (shim->leader < 0) {
		if (!shim->error[0])
			(void)snprintf(shim->error, sizeof(shim->error), "cannot fork: %s", strerror(errno));
		shim->ended = true;
		shim->wait_status = W_EXITCODE(126, 0);
		shim->ended_ms = wall_ms(wall_now());
	} else {
		(void)setpgid(shim->leader, shim->leader); /* whoever of the two comes first */
		(void)!proc_read(shim->leader, &shim->leader_proc);
	}
	(void)close(error_w);
	(void)close(notice_r);
	(void)close(report_w);
	return 0;
}

/* The child has executed the task, or has said why it could not. */
static void read_child_error(struct shim *shim)
{
	struct child_error e;
	ssize_t n = read(shim->child_error, &e, sizeof(e));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	(void)close(shim->child_error);
	shim->child_error = -1;
	if (n == (ssize_t)sizeof(e)) {
		(void)snprintf(shim->error, sizeof(shim->error), "%.*s: %s", (int)sizeof(e.what), e.what,
				strerror(e.number));
		return;
	}
	shim->running = true;
	shim->started_ms = wall_ms(wall_now());
	FAILPOINT("shim.running.before_status");
	if (!shim->ended && !write_status(shim, "running")) /* if ended, `exit` is about to say it all */
		ring(shim);
}

/* ---- signals, notices, killing ------------------------------------------------------------------------- */

static bool signal_all(int signo)
{
	struct proc *all = NULL;
	size_t n = proc_all(&all);

	n = proc_keep_tree(all, n, getpid());
	for (size_t i = 0; i < n; i++)
		(void)proc_kill(&all[i], signo); /* gone meanwhile is fine */
	free(all);
	return n > 0;
}

static bool signal_unit(struct shim *shim, int signo, bool all)
{
	if (all)
		return signal_all(signo);
	return !shim->ended && !kill(shim->leader, signo);
}

/* Stop them all first, so that none can fork while its siblings die, then kill what there is. Called
 * again until nothing is left. */
static void kill_pass(struct shim *shim)
{
	const char *cgroup = unit_get(&shim->task, "cgroup");
	size_t before = 0, now;

	if (cgroup) {
		char path[4200];
		int fd;

		(void)snprintf(path, sizeof(path), "%s/cgroup.kill", cgroup);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd >= 0) {
			(void)!write(fd, "1", 1);
			(void)close(fd);
		}
	}
	for (int i = 0; i < 8; i++) { /* until a look finds no more than the one before */
		struct proc *all = NULL;
		size_t n = proc_all(&all);

		now = proc_keep_tree(all, n, getpid());
		for (size_t k = 0; k < now; k++)
			(void)proc_kill(&all[k], SIGSTOP);
		free(all);
		if (now <= before || now == 1)
			break;
		before = now;
	}
	(void)signal_all(SIGKILL);
}

static void kill_begin(struct shim *shim)
{
	shim->killing = true;
	shim->kill_wait_ms = KILL_AGAIN_MS;
	kill_pass(shim);
}

/* File first: whoever wakes up by the signal finds it. */
static const char *give_notice(struct shim *shim, int signo, bool all, const char *json)
{
	size_t n = strlen(json);
	mode_t mode = unit_get(&shim->task, "notice_for_all") ? 0644 : 0600;
	int fd = open(".notice", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	if (shim->ended && !all)
		return "gone";
	if (fd < 0)
		return "err cannot create the notice file";
	if (dprintf(fd, "%s\n", json) != (int)n + 1) {
		(void)close(fd);
		return "err cannot write the notice file";
	}
	(void)close(fd);
	if (rename(".notice", "notice"))
		return "err cannot rename the notice file";
	/* One write, at most PIPE_BUF or dropped whole: a task that never reads loses nothing but this
	 * copy. */
	{
		struct buf line = BUF_INIT;

		buf_addf(&line, "%s\n", json);
		(void)!write(shim->notice, line.data, line.len);
		buf_done(&line);
	}
	if (signo && !signal_unit(shim, signo, all))
		return "gone";
	return "ok";
}

static const char *answer(struct shim *shim, char *request)
{
	char scope[8];
	int signo, at = 0;
	bool all;

	if (!strcmp(request, "status"))
		return shim->ended ? "ok exited" : shim->running ? "ok running" : "ok starting";
	if (!strcmp(request, "kill")) {
		kill_begin(shim);
		return "ok";
	}
	if (sscanf(request, "signal %d %7s%n", &signo, scope, &at) == 2 && !request[at]) {
		all = !strcmp(scope, "all");
		if (signo <= 0 || signo > SIGRTMAX)
			return "err no such signal";
		return signal_unit(shim, signo, all) ? "ok" : "gone";
	}
	if (sscanf(request, "notice %d %7s%n", &signo, scope, &at) == 2 && request[at] == '\n') {
		all = !strcmp(scope, "all");
		if (signo < 0 || signo > SIGRTMAX)
			return "err no such signal";
		return give_notice(shim, signo, all, request + at + 1);
	}
	return "err malformed request";
}

static void serve(struct shim *shim, int *conn)
{
	char request[REQUEST_BYTES_MAX + 1];
	const char *reply;
	ssize_t n = recv(*conn, request, sizeof(request) - 1, MSG_DONTWAIT | MSG_TRUNC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		reply = "err request too long";
		if ((size_t)n < sizeof(request)) {
			request[n] = 0;
			reply = answer(shim, request);
		}
		(void)send(*conn, reply, strlen(reply), MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	(void)close(*conn);
	*conn = -1;
}

/* The oldest connection gives way: one that never asks must not keep the agent out. */
static void take_conn(struct shim *shim)
{
	int *slot = &shim->conns[shim->next_conn];

	shim->next_conn = (shim->next_conn + 1) % CONNS_MAX;
	if (*slot >= 0)
		(void)close(*slot);
	*slot = accept4(UNIT_LISTEN_FD, NULL, NULL, SOCK_CLOEXEC);
}

/* ---- reports ----------------------------------------------------------------------------------------------- */

/* Append the whole lines among n bytes; what has no newline yet waits in shim->line. */
static bool take_reports(struct shim *shim, const char *data, size_t n)
{
	struct buf out = BUF_INIT;
	uint64_t max = unit_get_u64(&shim->task, "report_max");
	bool wrote = false;

	for (size_t i = 0; i < n; i++) {
		if (shim->line_len < sizeof(shim->line))
			shim->line[shim->line_len++] = data[i];
		else
			shim->line_too_long = true;
		if (data[i] != '\n')
			continue;
		if (shim->line_too_long || shim->report_bytes + shim->line_len > max) {
			shim->reports_dropped++;
		} else {
			buf_add(&out, shim->line, shim->line_len);
			shim->report_bytes += shim->line_len;
		}
		shim->line_len = 0;
		shim->line_too_long = false;
	}
	if (out.len) {
		if (shim->report_file < 0) {
			shim->report_file = open("reports",
					O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
			if (shim->report_file >= 0)
				shim->report_file = private_fd(shim->report_file);
		}
		wrote = shim->report_file >= 0 &&
			write(shim->report_file, out.data, out.len) == (ssize_t)out.len;
		if (!wrote)
			shim->reports_dropped++;
	}
	buf_done(&out);
	return wrote;
}

static void read_reports(struct shim *shim)
{
	char data[16384];
	bool wrote = false;

	/* Bounded: a task that never stops writing must not keep us from the rest. */
	for (int i = 0; i < 8 && shim->reports >= 0; i++) {
		ssize_t n = read(shim->reports, data, sizeof(data));

		if (n > 0) {
			wrote |= take_reports(shim, data, (size_t)n);
			continue;
		}
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		(void)close(shim->reports);
		shim->reports = -1;
	}
	if (wrote)
		ring(shim);
}

/* ---- endings ------------------------------------------------------------------------------------------------- */

static bool cgroup_empty(const struct shim *shim)
{
	char text[256];
	ssize_t n;

	if (shim->events < 0)
		return true;
	n = pread(shim->events, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = 0;
	return strstr(text, "populated 0") != NULL;
}

static void reap(struct shim *shim)
{
	struct rusage usage;
	int status;
	pid_t pid;

	while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0) {
		shim->kill_wait_ms = KILL_AGAIN_MS;
		if (pid != shim->leader)
			continue;
		shim->ended = true;
		shim->wait_status = status;
		shim->usage = usage;
		shim->ended_ms = wall_ms(wall_now());
	}
	shim->empty = pid < 0 && errno == ECHILD && cgroup_empty(shim);
}

/* Write down what is true by now. Returns true when all has been said. */
static bool settle(struct shim *shim)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	bool all_said;

	reap(shim);
	if (!shim->ended)
		return false;
	if (!shim->exit_written) {
		if (shim->child_error >= 0)
			read_child_error(shim); /* the child is dead: nobody else holds the other end */
		read_reports(shim);
		/* "empty" comes with the exit status if nothing is left to do; cleaning up may take a while. */
		all_said = shim->empty && scratch_close(&shim->task, &shim->scratch, false);
		if (write_exit(shim, all_said))
			return false; /* tried again on the timer: the disk may be full for a while */
		shim->exit_written = true;
		FAILPOINT("shim.exit.before_bell");
		ring(shim);
		if (all_said)
			return true;
		if (unit_get(&shim->task, "kill_rest") || (shim->service && oom_happened(shim)))
			kill_begin(shim);
		reap(shim);
	}
	if (!shim->empty)
		return false;
	read_reports(shim);
	(void)scratch_close(&shim->task, &shim->scratch, true);
	unit_put(&b, "nonce", unit_get(&shim->task, "nonce"));
	FAILPOINT("shim.empty.before_write");
	if (put_part(shim, UNIT_EMPTY, &b))
		return false;
	ring(shim);
	return true;
}

/* One process died of memory: the unit as a whole has failed (as memory.oom.group would have it, which
 * would take us along). Reading re-arms the descriptor. */
static void see_oom(struct shim *shim)
{
	char text[512];

	(void)!pread(shim->oom_events, text, sizeof(text), 0);
	if (oom_happened(shim))
		kill_begin(shim);
}

static void loop(struct shim *shim, int signals)
{
	while (!settle(shim)) {
		struct pollfd fds[6 + CONNS_MAX];
		struct signalfd_siginfo info;
		int wait_ms = -1;

		for (int i = 0; i < CONNS_MAX; i++)
			fds[5 + i] = (struct pollfd){.fd = shim->conns[i], .events = POLLIN};
		fds[0] = (struct pollfd){.fd = signals, .events = POLLIN};
		fds[1] = (struct pollfd){.fd = UNIT_LISTEN_FD, .events = POLLIN};
		fds[2] = (struct pollfd){.fd = shim->child_error, .events = POLLIN};
		fds[3] = (struct pollfd){.fd = shim->reports, .events = POLLIN};
		fds[5 + CONNS_MAX] = (struct pollfd){.fd = shim->killing ? -1 : shim->oom_events, .events = POLLPRI};
		fds[4] = (struct pollfd){.fd = shim->ended ? shim->events : -1, .events = POLLPRI};
		if (shim->ended && !shim->exit_written)
			wait_ms = RETRY_MS;
		if (shim->ended && shim->events >= 0)
			wait_ms = RETRY_MS;
		if (shim->killing)
			wait_ms = shim->kill_wait_ms;
		if (!poll(fds, 6 + CONNS_MAX, wait_ms) && shim->killing) {
			kill_pass(shim);
			if (shim->kill_wait_ms < RETRY_MS) /* what cannot die now is looked at less often */
				shim->kill_wait_ms *= 2;
		}
		if (fds[0].revents)
			(void)!read(signals, &info, sizeof(info));
		if (fds[2].revents)
			read_child_error(shim);
		if (fds[5 + CONNS_MAX].revents & POLLPRI)
			see_oom(shim);
		if (fds[3].revents)
			read_reports(shim);
		for (int i = 0; i < CONNS_MAX; i++)
			if (shim->conns[i] >= 0 && fds[5 + i].revents)
				serve(shim, &shim->conns[i]);
		if (fds[1].revents)
			take_conn(shim);
	}
}

int main(int argc, char **argv)
{
	struct shim shim = {.leader = -1, .scratch = -1, .child_error = -1, .notice = -1, .reports = -1, .report_file = -1, .events = -1,
		.oom_events = -1};
	sigset_t all;
	int signals;

	if (argc == 3 && !strcmp(argv[1], "--service")) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		if (null < 0 || (null = fcntl(null, F_DUPFD_CLOEXEC, PRIVATE_FD)) < 0 || dup2(0, UNIT_LOCK_FD) < 0 ||
				dup2(1, UNIT_LISTEN_FD) < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
			return 71;
		shim.service = true;
		argv++;
		argc--;
	}
	if (argc != 2) {
		(void)fprintf(stderr, "sluis-shim %s: started by sluis-agent, one per task\n"
			"usage: sluis-shim [--service] TASKFILE\n", SLUIS_VERSION);
		return 64;
	}
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	for (int i = 0; i < CONNS_MAX; i++)
		shim.conns[i] = -1;
	(void)setsid(); /* the agent has done it already, unless started by hand */
	/* Up to the fork every failure just leaves: no status, so the agent knows nothing has run. */
	if (fcntl(UNIT_LOCK_FD, F_SETFD, FD_CLOEXEC) || fcntl(UNIT_LISTEN_FD, F_SETFD, FD_CLOEXEC) ||
			fcntl(UNIT_LISTEN_FD, F_SETFL, O_NONBLOCK))
		return 71;
	(void)close_range(UNIT_LISTEN_FD + 1, ~0U, 0);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) || chdir(dirname(argv[1])))
		return 71;
	if (unit_read(AT_FDCWD, "task", &shim.task, TASK_BYTES_MAX, NULL))
		return 66;
	(void)sigemptyset(&all);
	(void)sigaddset(&all, SIGCHLD);
	signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0 || (signals = private_fd(signals)) < 0)
		return 71;
	shim.slots = open(unit_get(&shim.task, "slots"), O_WRONLY | O_CLOEXEC);
	if (shim.slots < 0 || (shim.slots = private_fd(shim.slots)) < 0)
		return 71;
	if (start(&shim))
		return 71;
	loop(&shim, signals);
	buf_done(&shim.task);
	return 0;
}
