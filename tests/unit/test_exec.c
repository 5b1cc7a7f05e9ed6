/* test_exec.c - real tasks under real shims: what an agent that dies, restarts or is lied to must still know
 *
 * Needs the program sluis-shim: SLUIS_SHIM, or ../bin/sluis-shim beside this test. The cgroup2 tests need
 * a cgroup2 mount that this user may write, and say so where there is none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/exec/backend.h"
#include "agent/exec/exec.h"
#include "agent/exec/procfs.h"
#include "agent/exec/unit.h"
#include "proto/base/buf.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

enum { PATIENCE_MS = 20000 };

struct world {
	char dir[160];
	char run_dir[200];
	char shim[PATH_MAX];
	struct exec_cfg cfg;
	struct exec *exec;
};

/* ---- the stage ---------------------------------------------------------------------------------------- */

static void open_exec(struct world *w)
{
	struct err err = {0};
	int code = exec_open(&w->cfg, &w->exec, &err);

	if (code)
		fail_msg("exec_open: %s", err.msg);
}

static void reopen(struct world *w)
{
	exec_close(w->exec);
	w->exec = NULL;
	open_exec(w);
}

static void find_shim(char shim[PATH_MAX])
{
	const char *given = getenv("SLUIS_SHIM");
	char self[PATH_MAX - 32];
	ssize_t n;

	if (given) {
		(void)snprintf(shim, PATH_MAX, "%s", given);
		return;
	}
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	assert_true(n > 0);
	self[n] = 0;
	(void)snprintf(shim, PATH_MAX, "%s/../bin/sluis-shim", dirname(self));
}

static int setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));

	/* Longer than a socket address can hold. */
	(void)snprintf(w->dir, sizeof(w->dir), "/tmp/sluis-exec-%0100d-XXXXXX", 0);
	if (!mkdtemp(w->dir))
		return -1;
	(void)snprintf(w->run_dir, sizeof(w->run_dir), "%s/run", w->dir);
	find_shim(w->shim);
	w->cfg = (struct exec_cfg){.run_dir = w->run_dir, .backend = EXEC_PLAIN, .shim_path = w->shim};
	open_exec(w);
	*state = w;
	return 0;
}

static void status_of(struct world *w, const char *name, struct exec_status *s)
{
	struct err err = {0};

	if (exec_status(w->exec, name, s, &err))
		fail_msg("exec_status: %s", err.msg);
}

/* Wait by the descriptor (a second at most, for what rings no bell) until `done` says so. */
static void wait_until(struct world *w, const char *name, bool (*done)(const struct exec_status *),
		struct exec_status *ret)
{
	int64_t until = mono_ms(mono_now()) + PATIENCE_MS;
	char changed[EXEC_NAME_BYTES];

	for (;;) {
		struct pollfd p = {.fd = exec_wait_fd(w->exec), .events = POLLIN};

		while (exec_next_changed(w->exec, changed))
			;
		status_of(w, name, ret);
		if (done(ret))
			return;
		if (mono_ms(mono_now()) > until)
			fail_msg("'%s' stays in state %d, empty %d", name, (int)ret->state, ret->empty);
		(void)poll(&p, 1, ret->lost == EXEC_LOST_SHIM ? 10 : 1000);
	}
}

static bool is_running(const struct exec_status *s) { return s->state == EXEC_RUNNING; }
static bool is_exited(const struct exec_status *s) { return s->state == EXEC_EXITED; }
static bool is_empty(const struct exec_status *s) { return s->empty; }
static bool is_over(const struct exec_status *s) { return s->state == EXEC_EXITED && s->empty; }
static bool is_lost(const struct exec_status *s) { return s->state == EXEC_LOST; }

static void end_unit(void *ctx, const char *name)
{
	struct world *w = ctx;
	struct exec_status s;

	assert_int_equal(exec_kill(w->exec, name, NULL), 0);
	wait_until(w, name, is_empty, &s);
	assert_int_equal(exec_release(w->exec, name, NULL), 0);
}

static int teardown(void **state)
{
	struct world *w = *state;
	char command[256];
	char path[PATH_MAX];
	bool open_before;

	if (w->exec)
		exec_list(w->exec, end_unit, w);
	(void)snprintf(path, sizeof(path), "%s/units", w->run_dir);
	open_before = w->exec != NULL;
	exec_close(w->exec);
	if (open_before && rmdir(path)) /* a release leaves nothing but what is used again, which goes at the end */
		return -1;
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", w->dir);
	if (system(command))
		return -1;
	free(w);
	return 0;
}

/* In every task of ours, so that another run beside this one is not taken for it. */
static char run_mark[40] = "SLUIS_TEST_RUN=";
static const char *const plain_env[] = {"PATH=/usr/bin:/bin", "GREETING=hello", run_mark, NULL};

static int start_sh(struct world *w, const char *name, const char *script, struct err *err)
{
	const char *const argv[] = {"sh", "-c", script, NULL};
	const struct exec_task task = {.name = name, .argv = argv, .env = plain_env, .cwd = w->dir};

	return exec_start(w->exec, &task, err);
}

static void start_ok(struct world *w, const char *name, const char *script)
{
	struct err err = {0};

	if (start_sh(w, name, script, &err))
		fail_msg("exec_start: %s", err.msg);
}

/* All of a stream, as a string; "" while there is none. */
static const char *text_of(struct world *w, const char *name, enum exec_stream stream, char *buf, size_t bytes)
{
	size_t n = 0;
	int code = exec_log_read(w->exec, name, stream, 0, buf, bytes - 1, &n, NULL);

	assert_true(code == 0 || code == ERR_NOTFOUND);
	buf[n] = 0;
	return buf;
}

static void wait_text(struct world *w, const char *name, enum exec_stream stream, const char *want)
{
	int64_t until = mono_ms(mono_now()) + PATIENCE_MS;
	char text[8192];

	while (!strstr(text_of(w, name, stream, text, sizeof(text)), want)) {
		if (mono_ms(mono_now()) > until)
			fail_msg("'%s' never said '%s' but '%s'", name, want, text);
		(void)poll(NULL, 0, 5); /* a task's own output rings no bell */
	}
}

/* Is anything with this unit's mark alive? Looked at from outside, not through exec. */
static bool marked_alive(const char *name)
{
	char mark[EXEC_NAME_BYTES + 16];
	struct proc *all = NULL;
	size_t n = proc_all(&all);
	bool found = false;

	(void)snprintf(mark, sizeof(mark), "SLUIS_UNIT=%s", name);
	for (size_t i = 0; i < n; i++) {
		char path[64], exe[PATH_MAX] = "";

		(void)snprintf(path, sizeof(path), "/proc/%d/exe", (int)all[i].pid);
		if (readlink(path, exe, sizeof(exe) - 1) > 0 && strstr(exe, "sluis-shim"))
			continue;
		found |= all[i].state != 'Z' && proc_has_env(all[i].pid, mark) && proc_has_env(all[i].pid, run_mark);
	}
	free(all);
	return found;
}

static int unit_dir_of(struct world *w, const char *name)
{
	char path[PATH_MAX];
	int dir;

	(void)snprintf(path, sizeof(path), "%s/units/%s", w->run_dir, name);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir >= 0);
	return dir;
}

static int slots_of(struct world *w)
{
	char path[PATH_MAX];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/slots", w->run_dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static uint64_t slot_number(struct world *w, const char *name)
{
	CLEANUP(buf_done) struct buf task = BUF_INIT;
	int dir = unit_dir_of(w, name);

	assert_int_equal(unit_read(dir, "task", &task, 1 << 20, NULL), 0);
	(void)close(dir);
	assert_non_null(unit_get(&task, "slot"));
	return unit_get_u64(&task, "slot");
}

static pid_t shim_of(struct world *w, const char *name)
{
	CLEANUP(buf_done) struct buf status = BUF_INIT;
	int fd = slots_of(w);
	pid_t pid;

	assert_int_equal(unit_part_get(fd, slot_number(w, name), UNIT_STATUS, &status, NULL), 0);
	(void)close(fd);
	pid = (pid_t)unit_get_u64(&status, "shim");
	assert_true(pid > 1);
	return pid;
}

/* Wait for the shim itself to be gone, which is a moment after its last word. */
static void wait_shim_gone(struct world *w, const char *name)
{
	char path[256];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/units/%s/task", w->run_dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	(void)close(fd);
}

/* ---- ends -------------------------------------------------------------------------------------------------- */

/* The code of a task decides about retry and charge. */
static void keeps_exit_code_and_usage(void **state)
{
	struct world *w = *state;
	struct exec_status s;

	start_ok(w, "a1-p0-t0", "exit 17");
	wait_until(w, "a1-p0-t0", is_over, &s);
	assert_int_equal(s.exit_code, 17);
	assert_int_equal(s.exit_signal, 0);
	assert_true(s.began);
	assert_false(s.setup_failed);
	assert_true(s.pid > 1 && s.pid_start > 0);
	assert_true(s.started_ms > 0 && s.ended_ms >= s.started_ms);
	assert_true(s.maxrss_kib > 0);
}

static void keeps_the_signal(void **state)
{
	struct world *w = *state;
	struct exec_status s;

	start_ok(w, "a1-p0-t0", "kill -ABRT $$");
	wait_until(w, "a1-p0-t0", is_over, &s);
	assert_int_equal(s.exit_signal, SIGABRT);
	assert_int_equal(s.exit_code, -1);
}

/* "No such command" is the user's error, and is told apart from a command that exits 127 itself. */
static void says_what_kept_a_task_from_starting(void **state)
{
	struct world *w = *state;
	const char *const missing[] = {"no-such-command", NULL};
	const char *const argv[] = {"true", NULL};
	struct exec_task task = {.name = "t1", .argv = missing, .env = plain_env};
	struct exec_status s;

	assert_int_equal(exec_start(w->exec, &task, NULL), 0);
	wait_until(w, "t1", is_over, &s);
	assert_int_equal(s.exit_code, 127);
	assert_true(s.setup_failed);
	assert_false(s.began);
	assert_string_equal(s.error, "cannot execute 'no-such-command': No such file or directory");

	task = (struct exec_task){.name = "t2", .argv = argv, .env = plain_env, .cwd = "/no/such/place"};
	assert_int_equal(exec_start(w->exec, &task, NULL), 0);
	wait_until(w, "t2", is_over, &s);
	assert_int_equal(s.exit_code, 126);
	assert_string_equal(s.error, "cannot change to directory '/no/such/place': No such file or directory");

	task = (struct exec_task){.name = "t3", .argv = argv, .env = plain_env, .stdout_path = "/no/such/out"};
	assert_int_equal(exec_start(w->exec, &task, NULL), 0);
	wait_until(w, "t3", is_over, &s);
	assert_int_equal(s.exit_code, 126);
	assert_true(strstr(s.error, "/no/such/out") != NULL);

	start_ok(w, "t4", "exit 127");
	wait_until(w, "t4", is_over, &s);
	assert_false(s.setup_failed);
	assert_true(s.began);
}

/* The task that is not yet executing: waits for it to be in `cwd`, where it opens what the user named. */
static pid_t child_in(struct world *w, const char *name, const char *cwd)
{
	int64_t until = mono_ms(mono_now()) + PATIENCE_MS;

	while (mono_ms(mono_now()) < until) {
		CLEANUP(buf_done) struct buf status = BUF_INIT;
		struct proc *all = NULL;
		size_t n = 0;
		pid_t found = 0, shim = 0;
		int fd = slots_of(w);

		if (unit_part_get(fd, slot_number(w, name), UNIT_STATUS, &status, NULL) == 0)
			shim = (pid_t)unit_get_u64(&status, "shim");
		(void)close(fd);
		if (shim > 0)
			n = proc_all(&all);
		for (size_t i = 0; i < n; i++) {
			char path[64], at[PATH_MAX] = "";

			(void)snprintf(path, sizeof(path), "/proc/%d/cwd", (int)all[i].pid);
			if (all[i].ppid == shim && readlink(path, at, sizeof(at) - 1) > 0 && !strcmp(at, cwd))
				found = all[i].pid;
		}
		free(all);
		if (found)
			return found;
		(void)poll(NULL, 0, 5); /* nobody rings before it executes */
	}
	fail_msg("no child of '%s' came to '%s'", name, cwd);
	return 0;
}

/* From when it is the user's up to exec, another process of that user could trace it and use what it has open: the
 * states of all units on the node. A FIFO as input gives him all the time he wants. */
static void has_nothing_of_the_agents_open_once_it_is_the_users(void **state)
{
	struct world *w = *state;
	const char *const argv[] = {"true", NULL};
	char fifo[256], path[64], cwd[PATH_MAX];
	struct exec_task task = {.name = "t", .argv = argv, .env = plain_env, .cwd = w->dir, .stdin_path = fifo};
	struct exec_status s;
	struct dirent *e;
	DIR *fds;
	int fd;

	(void)snprintf(fifo, sizeof(fifo), "%s/fifo", w->dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_non_null(realpath(w->dir, cwd));
	assert_int_equal(exec_start(w->exec, &task, NULL), 0);
	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)child_in(w, "t", cwd));
	fds = opendir(path);
	assert_non_null(fds);
	while ((e = readdir(fds))) {
		long number = strtol(e->d_name, NULL, 10);

		/* 9: its last word to the shim */
		if (e->d_name[0] != '.' && number > 2 && number != UNIT_NOTICE_FD && number != UNIT_REPORT_FD && number != 9)
			fail_msg("descriptor %s is open", e->d_name);
	}
	(void)closedir(fds);
	fd = open(fifo, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	(void)close(fd);
	wait_until(w, "t", is_over, &s);
	assert_int_equal(s.exit_code, 0);
	(void)unlink(fifo);
}

static void gives_environment_directory_and_output(void **state)
{
	struct world *w = *state;
	struct exec_status s;
	char text[1024], want[512];
	size_t n;

	start_ok(w, "t", "echo $GREETING $SLUIS_UNIT $HOME; pwd; echo oops >&2; cat; trap | wc -l");
	wait_until(w, "t", is_over, &s);
	(void)snprintf(want, sizeof(want), "hello t\n%s\n0\n", w->dir);
	assert_string_equal(text_of(w, "t", EXEC_STDOUT, text, sizeof(text)), want);
	assert_string_equal(text_of(w, "t", EXEC_STDERR, text, sizeof(text)), "oops\n");
	assert_int_equal(exec_log_read(w->exec, "t", EXEC_STDOUT, 6, text, 3, &n, NULL), 0);
	assert_memory_equal(text, "t\n/", 3);
	assert_int_equal(exec_log_read(w->exec, "t", EXEC_STDOUT, 100000, text, 3, &n, NULL), 0);
	assert_int_equal(n, 0);
	assert_int_equal(exec_log_read(w->exec, "none", EXEC_STDOUT, 0, text, 3, &n, NULL), ERR_NOTFOUND);
	assert_int_equal(exec_file_read("/dev/null", 0, text, 3, &n, NULL), ERR_INVAL);
}

/* As `-o out.txt` without `-e`: both streams, in order, in one file, appended or emptied first. */
static void writes_where_the_job_says(void **state)
{
	struct world *w = *state;
	const char *const argv[] = {"sh", "-c", "echo one; echo two >&2; echo three", NULL};
	struct exec_task task = {.name = "t1", .argv = argv, .env = plain_env, .cwd = w->dir,
		.stdout_path = "out.txt"};
	char path[PATH_MAX], text[256];
	struct exec_status s;
	size_t n;

	(void)snprintf(path, sizeof(path), "%s/out.txt", w->dir);
	assert_int_equal(exec_start(w->exec, &task, NULL), 0);
	wait_until(w, "t1", is_over, &s);
	assert_string_equal(text_of(w, "t1", EXEC_STDERR, text, sizeof(text)), "one\ntwo\nthree\n");
	task.name = "t2";
	assert_int_equal(exec_start(w->exec, &task, NULL), 0);
	wait_until(w, "t2", is_over, &s);
	assert_int_equal(exec_file_read(path, 0, text, sizeof(text), &n, NULL), 0);
	assert_int_equal(n, 28);
	task.name = "t3";
	task.truncate_before_ns = wall_now().ns;
	assert_int_equal(exec_start(w->exec, &task, NULL), 0);
	wait_until(w, "t3", is_over, &s);
	assert_int_equal(exec_file_read(path, 0, text, sizeof(text), &n, NULL), 0);
	assert_int_equal(n, 14);
}

/* A later task of a run must not drop what an earlier one wrote, whoever comes first. */
static void drops_only_what_is_older_than_the_run(void **state)
{
	struct world *w = *state;
	const char *const argv[] = {"sh", "-c", "echo new", NULL};
	struct exec_task task = {.name = "t1", .argv = argv, .env = plain_env, .cwd = w->dir, .stdout_path = "out.txt",
		.truncate_before_ns = wall_now().ns - 60 * NS_PER_S};
	char path[PATH_MAX], text[256];
	struct exec_status s;
	size_t n;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/out.txt", w->dir);
	f = fopen(path, "w");
	assert_non_null(f);
	(void)fputs("of this run\n", f);
	(void)fclose(f);
	assert_int_equal(exec_start(w->exec, &task, NULL), 0);
	wait_until(w, "t1", is_over, &s);
	assert_int_equal(exec_file_read(path, 0, text, sizeof(text), &n, NULL), 0);
	text[n] = 0;
	assert_string_equal(text, "of this run\nnew\n");
}

/* Two tasks of a unit share one folder, and it goes with the last of them, whatever they left in it. */
static void scratch_goes_with_the_last_task(void **state)
{
	struct world *w = *state;
	const char *const first[] = {"sh", "-c", "cat \"$0\"/script; cd \"$0\" && mkdir -p a/b && echo x >a/b/c && ln -s / up && chmod 500 a",
		NULL, NULL};
	const char *const second[] = {"sh", "-c", "while [ ! -e \"$0\"/up ]; do sleep 0.02; done; cat", NULL, NULL};
	const struct exec_file files[] = {{.name = "script", .text = "#!/bin/sh\nkept\n", .executable = true}};
	char scratch[PATH_MAX], fifo[PATH_MAX], text[256];
	const char *argv1[5], *argv2[5];
	struct exec_task task = {.name = "t1", .argv = argv1, .env = plain_env, .scratch = scratch, .files = files, .files_n = 1};
	struct exec_status s;
	struct stat st;
	int fd;

	memcpy(argv1, first, sizeof(first));
	memcpy(argv2, second, sizeof(second));
	(void)snprintf(scratch, sizeof(scratch), "%s/scratch", w->dir);
	(void)snprintf(fifo, sizeof(fifo), "%s/fifo", w->dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	argv1[3] = argv2[3] = scratch;
	argv1[4] = argv2[4] = NULL;
	task.stdin_path = fifo;
	task.name = "t2";
	task.argv = argv2;
	fd = open(fifo, O_RDWR | O_CLOEXEC); /* so that opening it does not wait */
	assert_true(fd >= 0);
	assert_int_equal(exec_start(w->exec, &task, NULL), 0);
	task.name = "t1";
	task.argv = argv1;
	task.stdin_path = NULL;
	assert_int_equal(exec_start(w->exec, &task, NULL), 0);
	wait_until(w, "t1", is_over, &s);
	assert_int_equal(s.exit_code, 0);
	assert_string_equal(text_of(w, "t1", EXEC_STDOUT, text, sizeof(text)), "#!/bin/sh\nkept\n");
	assert_int_equal(stat(scratch, &st), 0); /* the other one has it */
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(exec_kill(w->exec, "t2", NULL), 0);
	wait_until(w, "t2", is_over, &s);
	assert_int_equal(stat(scratch, &st), -1);
	assert_int_equal(stat(w->dir, &st), 0); /* no link was followed */
	(void)close(fd);
}

/* Who was there first, with a folder that others may enter, gets nothing of ours. */
static void refuses_a_scratch_folder_of_others(void **state)
{
	struct world *w = *state;
	const char *const argv[] = {"true", NULL};
	char scratch[PATH_MAX], link[PATH_MAX];
	struct exec_task task = {.name = "t1", .argv = argv, .env = plain_env, .scratch = scratch};
	struct exec_status s;

	(void)snprintf(scratch, sizeof(scratch), "%s/scratch", w->dir);
	assert_int_equal(mkdir(scratch, 0755), 0);
	assert_int_equal(exec_start(w->exec, &task, NULL), 0);
	wait_until(w, "t1", is_over, &s);
	assert_true(s.setup_failed);
	assert_int_equal(s.exit_code, 126);
	assert_non_null(strstr(s.error, "not this user's alone"));
	assert_false(s.began);
	(void)snprintf(link, sizeof(link), "%s/link", w->dir);
	assert_int_equal(symlink(scratch, link), 0);
	assert_int_equal(chmod(scratch, 0700), 0);
	task.name = "t2";
	task.scratch = link;
	assert_int_equal(exec_start(w->exec, &task, NULL), 0);
	wait_until(w, "t2", is_over, &s);
	assert_true(s.setup_failed);
	assert_int_equal(access(scratch, F_OK), 0);
}

/* The directory of a released unit is used again. What another asked of the old one must not reach the new
 * one, nor what a task left in it. */
static void used_directories_carry_nothing_over(void **state)
{
	struct world *w = *state;
	const char *const argv[] = {"sh", "-c", "sleep 0.3", NULL};
	const struct exec_task task = {.name = "t2", .argv = argv, .env = plain_env, .stdout_path = "/dev/null"};
	const struct exec_task first = {.name = "t1", .argv = argv, .env = plain_env, .stdout_path = "/dev/null"};
	char units[PATH_MAX], path[PATH_MAX];
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct exec_status s;
	struct stat before, after;
	int dir, late;

	/* Once in peace: the same directory. */
	assert_int_equal(exec_start(w->exec, &first, NULL), 0);
	(void)snprintf(path, sizeof(path), "%s/units/t1", w->run_dir);
	assert_int_equal(stat(path, &before), 0);
	wait_until(w, "t1", is_over, &s);
	wait_shim_gone(w, "t1");
	assert_int_equal(exec_release(w->exec, "t1", NULL), 0);
	assert_int_equal(exec_start(w->exec, &task, NULL), 0);
	(void)snprintf(path, sizeof(path), "%s/units/t2", w->run_dir);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(after.st_ino, before.st_ino);
	wait_until(w, "t2", is_over, &s);
	assert_int_equal(s.exit_code, 0);
	assert_int_equal(exec_release(w->exec, "t2", NULL), 0);
	/* Then a "kill" that nobody has taken out of the socket waits in the one that is put aside. */
	assert_int_equal(exec_start(w->exec, &first, NULL), 0);
	wait_until(w, "t1", is_over, &s);
	wait_shim_gone(w, "t1");
	(void)snprintf(units, sizeof(units), "%s/units/t1", w->run_dir);
	dir = open(units, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir >= 0);
	(void)snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/sock", dir);
	late = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (connect(late, (const struct sockaddr *)&a, sizeof(a)) == 0)
		assert_int_equal(send(late, "kill", 4, MSG_NOSIGNAL), 4);
	assert_int_equal(exec_release(w->exec, "t1", NULL), 0);
	assert_int_equal(exec_start(w->exec, &task, NULL), 0);
	wait_until(w, "t2", is_over, &s);
	assert_int_equal(s.exit_signal, 0);
	assert_int_equal(s.exit_code, 0);
	(void)close(late);
	(void)close(dir);
	/* What a task leaves there goes with it. */
	assert_int_equal(exec_release(w->exec, "t2", NULL), 0);
	start_ok(w, "t1", "echo x; echo '{}' >&8");
	wait_until(w, "t1", is_over, &s);
	assert_int_equal(exec_release(w->exec, "t1", NULL), 0);
	start_ok(w, "t2", "true");
	wait_until(w, "t2", is_over, &s);
	(void)snprintf(path, sizeof(path), "%s/units/t2/reports", w->run_dir);
	assert_int_equal(access(path, F_OK), -1);
}

static void refuses_nonsense(void **state)
{
	struct world *w = *state;
	const char *const argv[] = {"true", NULL};
	const char *const none[] = {NULL};
	const char *const bad_env[] = {"NOVALUE", NULL};
	const struct exec_task bad[] = {
		{.name = "", .argv = argv},
		{.name = "../up", .argv = argv},
		{.name = ".hidden", .argv = argv},
		{.name = "a b", .argv = argv},
		{.name = "t", .argv = none},
		{.name = "t", .argv = argv, .env = bad_env},
		{.name = "t", .argv = argv, .cwd = "relative"},
		{.name = "t", .argv = argv, .cpus = "0-"},
		{.name = "t", .argv = argv, .cpus = "3-1"},
		{.name = "t", .argv = argv, .stderr_path = "x", .stderr_to_stdout = true},
	};
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(exec_start(w->exec, &bad[i], &err), ERR_INVAL);
	assert_int_equal(exec_count(w->exec), 0);
	assert_int_equal(exec_signal(w->exec, "t", SIGTERM, false, &err), ERR_NOTFOUND);
	assert_int_equal(exec_signal(w->exec, "t", 0, false, &err), ERR_INVAL);
	assert_int_equal(exec_notice(w->exec, "t", "{}\n{}", 0, false, &err), ERR_INVAL);
}

/* ---- at most one start ---------------------------------------------------------------------------------------- */

/* A repeated START must not run the job twice, not while it runs, not after, not after a restart. */
static void never_starts_a_name_twice(void **state)
{
	struct world *w = *state;
	struct exec_status s;
	char text[64];
	struct err err;

	start_ok(w, "t", "echo ran; exec sleep 1000");
	assert_int_equal(start_sh(w, "t", "echo ran", &err), ERR_EXISTS);
	wait_text(w, "t", EXEC_STDOUT, "ran\n");
	reopen(w);
	assert_int_equal(start_sh(w, "t", "echo ran", &err), ERR_EXISTS);
	assert_int_equal(exec_release(w->exec, "t", &err), ERR_STATE); /* lives: cannot be forgotten */
	assert_int_equal(exec_kill(w->exec, "t", &err), 0);
	wait_until(w, "t", is_over, &s);
	assert_int_equal(s.exit_signal, SIGKILL);
	assert_int_equal(start_sh(w, "t", "echo ran", &err), ERR_EXISTS);
	assert_string_equal(text_of(w, "t", EXEC_STDOUT, text, sizeof(text)), "ran\n");
	assert_int_equal(exec_release(w->exec, "t", &err), 0);
	status_of(w, "t", &s);
	assert_int_equal(s.state, EXEC_NONE);
	assert_int_equal(exec_release(w->exec, "t", &err), 0);
}

/* Ours instead of the C library's: a disk on which no name fits any more. */
static bool names_fit = true;

int renameat(int from_fd, const char *from, int to_fd, const char *to);
int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	if (!names_fit) {
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, 0);
}

static void a_full_disk_keeps_no_unit(void **state)
{
	struct world *w = *state;
	struct exec_status s;
	char path[PATH_MAX];
	struct err err;
	int code;

	start_ok(w, "t", "echo ran");
	wait_until(w, "t", is_over, &s);
	wait_shim_gone(w, "t");
	names_fit = false;
	code = exec_release(w->exec, "t", &err);
	names_fit = true;
	assert_int_equal(code, 0);
	status_of(w, "t", &s);
	assert_int_equal(s.state, EXEC_NONE);
	(void)snprintf(path, sizeof(path), "%s/units/t", w->run_dir);
	assert_int_equal(access(path, F_OK), -1);
	start_ok(w, "t", "exit 3");
	wait_until(w, "t", is_over, &s);
	assert_int_equal(s.exit_code, 3);
}

static void a_batch_shares_all_but_its_failures(void **state)
{
	struct world *w = *state;
	const char *const argv[] = {"true", NULL};
	const struct exec_task good = {.name = "g1", .argv = argv, .env = plain_env};
	const struct exec_task again = {.name = "g1", .argv = argv, .env = plain_env};
	const struct exec_task bad = {.name = "b/d", .argv = argv};
	const struct exec_task last = {.name = "g2", .argv = argv, .env = plain_env};
	const struct exec_task *const all[] = {&good, &again, &bad, &last};
	struct exec_status s;
	struct err err;
	int codes[4];

	assert_int_equal(exec_start_batch(w->exec, all, 4, codes, &err), ERR_EXISTS);
	assert_int_equal(codes[0], 0);
	assert_int_equal(codes[1], ERR_EXISTS);
	assert_int_equal(codes[2], ERR_INVAL);
	assert_int_equal(codes[3], 0);
	assert_int_equal(exec_count(w->exec), 2);
	wait_until(w, "g1", is_over, &s);
	wait_until(w, "g2", is_over, &s);
}

/* A shim that cannot be executed leaves no trace, so that the start may be tried again. */
static void a_failed_start_leaves_nothing(void **state)
{
	struct world *w = *state;
	char broken[256];
	struct exec_status s;
	struct err err;
	FILE *f;

	(void)snprintf(broken, sizeof(broken), "%s/broken-shim", w->dir);
	f = fopen(broken, "w");
	assert_non_null(f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(broken, 0755), 0);
	f = fopen(broken, "w");
	assert_non_null(f);
	assert_true(fputs("#!/no/such/interpreter\n", f) >= 0);
	assert_int_equal(fclose(f), 0);
	w->cfg.shim_path = broken;
	reopen(w);
	assert_int_equal(start_sh(w, "t", "true", &err), ERR_SYS);
	status_of(w, "t", &s);
	assert_int_equal(s.state, EXEC_NONE);
	assert_int_equal(exec_count(w->exec), 0);
	w->cfg.shim_path = w->shim;
	reopen(w);
	start_ok(w, "t", "exit 3");
	wait_until(w, "t", is_over, &s);
	assert_int_equal(s.exit_code, 3);
}

static void one_agent_per_run_dir(void **state)
{
	struct world *w = *state;
	struct exec *second;
	struct err err;

	assert_int_equal(exec_open(&w->cfg, &second, &err), ERR_BUSY);
}

/* ---- the agent dies ------------------------------------------------------------------------------------------- */

/* Run `play` in a process of its own that has the run dir open, and kill -9 it once it is through. */
static void agent_that_dies(struct world *w, void (*play)(struct world *))
{
	char ready;
	int fds[2];
	pid_t pid;

	exec_close(w->exec);
	w->exec = NULL;
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		(void)close(fds[0]);
		if (exec_open(&w->cfg, &w->exec, NULL))
			_exit(1);
		play(w);
		if (write(fds[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	(void)close(fds[1]);
	assert_int_equal(read(fds[0], &ready, 1), 1);
	(void)close(fds[0]);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void play_start(struct world *w)
{
	if (start_sh(w, "t", "mkfifo go; echo waiting; read line < go; echo got $line; exit 42", NULL))
		_exit(1);
}

/* The heart of it: agent killed, task goes on, ends meanwhile, and the next agent reads how. */
static void the_next_agent_reads_the_exit_code(void **state)
{
	struct world *w = *state;
	struct exec_status s;
	char path[256], text[128];
	int64_t until = mono_ms(mono_now()) + PATIENCE_MS;
	struct stat st;
	FILE *go;

	agent_that_dies(w, play_start);
	(void)snprintf(path, sizeof(path), "%s/units/t/stdout", w->run_dir);
	while (stat(path, &st) || !st.st_size) {
		assert_true(mono_ms(mono_now()) < until);
		(void)poll(NULL, 0, 5);
	}
	(void)snprintf(path, sizeof(path), "%s/go", w->dir);
	go = fopen(path, "w"); /* opens only because the task still reads */
	assert_non_null(go);
	assert_true(fputs("orders\n", go) >= 0);
	assert_int_equal(fclose(go), 0);
	wait_shim_gone(w, "t");
	open_exec(w);
	assert_int_equal(exec_count(w->exec), 1);
	wait_until(w, "t", is_over, &s);
	assert_int_equal(s.exit_code, 42);
	assert_string_equal(text_of(w, "t", EXEC_STDOUT, text, sizeof(text)), "waiting\ngot orders\n");
}

static void play_sleep(struct world *w)
{
	if (start_sh(w, "t", "trap 'echo caught; exit 9' TERM; echo up; while :; do sleep 1000 & wait; done", NULL))
		_exit(1);
}

static void the_next_agent_takes_over_a_running_task(void **state)
{
	struct world *w = *state;
	char changed[EXEC_NAME_BYTES];
	struct exec_status s;

	agent_that_dies(w, play_sleep);
	open_exec(w);
	assert_true(exec_next_changed(w->exec, changed)); /* all count as changed at first */
	assert_string_equal(changed, "t");
	wait_text(w, "t", EXEC_STDOUT, "up\n");
	wait_until(w, "t", is_running, &s);
	assert_false(s.empty);
	assert_int_equal(exec_signal(w->exec, "t", SIGTERM, false, NULL), 0);
	wait_until(w, "t", is_exited, &s);
	assert_int_equal(s.exit_code, 9);
	assert_int_equal(exec_signal(w->exec, "t", SIGTERM, false, NULL), ERR_GONE); /* the leader has ended */
	assert_int_equal(exec_signal(w->exec, "t", SIGKILL, true, NULL), 0); /* its sleep has not */
	wait_until(w, "t", is_over, &s);
	assert_int_equal(exec_signal(w->exec, "t", SIGTERM, true, NULL), ERR_GONE);
}

/* Killed between the synced intent and the shim: certain not to have run, said so, and startable after a
 * release. A half-made directory is nothing at all. */
static void a_start_that_never_happened_is_known_as_such(void **state)
{
	struct world *w = *state;
	const struct buf none = BUF_INIT;
	char path[256];
	struct exec_status s;
	int fd;

	start_ok(w, "t", "exit 0");
	wait_until(w, "t", is_over, &s);
	wait_shim_gone(w, "t");
	fd = slots_of(w); /* undo what the shim did: what is left is what the agent made */
	for (int part = UNIT_STATUS; part < UNIT_PARTS; part++)
		assert_int_equal(unit_part_put(fd, slot_number(w, "t"), (enum unit_part)part, &none, NULL), 0);
	(void)close(fd);
	(void)snprintf(path, sizeof(path), "%s/units/.new-u", w->run_dir);
	assert_int_equal(mkdir(path, 0700), 0);
	reopen(w);
	assert_int_equal(exec_count(w->exec), 1);
	status_of(w, "t", &s);
	assert_int_equal(s.state, EXEC_UNSTARTED);
	assert_true(s.empty);
	assert_int_equal(start_sh(w, "t", "true", NULL), ERR_EXISTS);
	/* While somebody holds its lock it may yet start: not released, not called unstarted. */
	(void)snprintf(path, sizeof(path), "%s/units/t/task", w->run_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	status_of(w, "t", &s);
	assert_int_equal(s.state, EXEC_STARTING);
	assert_int_equal(exec_release(w->exec, "t", NULL), ERR_STATE);
	(void)close(fd);
	assert_int_equal(exec_release(w->exec, "t", NULL), 0);
	start_ok(w, "t", "exit 5");
	wait_until(w, "t", is_over, &s);
	assert_int_equal(s.exit_code, 5);
}

/* Make a unit look as if it had been started on another boot. `left` says what the crash of the machine
 * left of its directory. */
enum left { LEFT_WHOLE, LEFT_TORN, LEFT_NOTHING };
static void crash_machine(struct world *w, const char *name, bool exit_synced, enum left left)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	const struct buf none = BUF_INIT;
	uint64_t slot = slot_number(w, name);
	int dir = unit_dir_of(w, name);
	int fd = slots_of(w);
	char *boot;

	assert_int_equal(unit_part_get(fd, slot, UNIT_INTENT, &b, NULL), 0);
	boot = (char *)b.data + (unit_get(&b, "boot") - (const char *)b.data);
	memset(boot, 'f', 8);
	assert_int_equal(unit_part_put(fd, slot, UNIT_INTENT, &b, NULL), 0);
	if (!exit_synced)
		assert_int_equal(unit_part_put(fd, slot, UNIT_EXIT, &none, NULL), 0);
	assert_int_equal(unit_read(dir, "task", &b, 1 << 20, NULL), 0);
	boot = (char *)b.data + (unit_get(&b, "boot") - (const char *)b.data);
	memset(boot, 'f', 8);
	assert_int_equal(unit_write(dir, "task", &b, NULL), 0);
	if (left != LEFT_WHOLE) {
		int task = openat(dir, "task", O_WRONLY | O_TRUNC | O_CLOEXEC);

		assert_true(task >= 0);
		(void)close(task);
	}
	if (left == LEFT_NOTHING) {
		char command[PATH_MAX];

		(void)snprintf(command, sizeof(command), "rm -r '%s/units/%s'", w->run_dir, name);
		assert_int_equal(system(command), 0);
	}
	(void)close(dir);
	(void)close(fd);
}

/* Another boot id: nothing runs any more. What had ended keeps its code, what had not is lost, and neither
 * is started again, also if the crash took their directories. */
static void a_reboot_loses_what_had_not_ended(void **state)
{
	struct world *w = *state;
	struct exec_status s;
	char name[16];

	for (int i = 0; i < 6; i++) {
		(void)snprintf(name, sizeof(name), "t%d", i);
		start_ok(w, name, "exit 6");
		wait_until(w, name, is_over, &s);
		wait_shim_gone(w, name);
	}
	for (int i = 0; i < 6; i++) {
		(void)snprintf(name, sizeof(name), "t%d", i);
		crash_machine(w, name, i % 2, (enum left)(i / 2));
	}
	for (int times = 0; times < 2; times++) { /* opened twice: nothing fades */
		reopen(w);
		assert_int_equal(exec_count(w->exec), 6);
		for (int i = 0; i < 6; i++) {
			(void)snprintf(name, sizeof(name), "t%d", i);
			status_of(w, name, &s);
			assert_true(s.empty);
			if (i % 2) {
				assert_int_equal(s.state, EXEC_EXITED);
				assert_int_equal(s.exit_code, 6);
			} else {
				assert_int_equal(s.state, EXEC_LOST);
				assert_int_equal(s.lost, EXEC_LOST_REBOOT);
			}
			assert_int_equal(start_sh(w, name, "true", NULL), ERR_EXISTS);
		}
	}
	for (int i = 0; i < 6; i++) {
		(void)snprintf(name, sizeof(name), "t%d", i);
		assert_int_equal(exec_release(w->exec, name, NULL), 0);
	}
	reopen(w); /* and what was released stays so */
	assert_int_equal(exec_count(w->exec), 0);
}

/* A name used again after its release must not inherit the end of its namesake. */
static void a_used_slot_tells_nothing_of_the_one_before(void **state)
{
	struct world *w = *state;
	CLEANUP(buf_done) struct buf old = BUF_INIT;
	struct exec_status s;
	uint64_t slot;
	int fd = slots_of(w);

	start_ok(w, "t", "exit 1");
	wait_until(w, "t", is_over, &s);
	wait_shim_gone(w, "t");
	slot = slot_number(w, "t");
	assert_int_equal(unit_part_get(fd, slot, UNIT_EXIT, &old, NULL), 0);
	assert_int_equal(exec_release(w->exec, "t", NULL), 0);
	start_ok(w, "t", "exec sleep 1000");
	wait_until(w, "t", is_running, &s);
	assert_int_equal(slot_number(w, "t"), slot);
	assert_int_equal(unit_part_put(fd, slot, UNIT_EXIT, &old, NULL), 0); /* as a torn page would leave it */
	assert_int_equal(kill(shim_of(w, "t"), SIGKILL), 0);
	wait_until(w, "t", is_lost, &s);
	(void)close(fd);
}

/* ---- nothing escapes -------------------------------------------------------------------------------------------- */

static const char escape[] =
	"setsid sh -c 'echo one; setsid sleep 1000 & exec sleep 1000' & sleep 0.01; "
	"(setsid env -i /bin/sleep 1000 &) ; (sleep 1000 &) ; echo out; exit 4";

/* A device is free when no process is left, not when the leader is gone. */
static void empty_only_when_the_last_escapee_is_gone(void **state)
{
	struct world *w = *state;
	struct exec_status s;

	start_ok(w, "t", escape);
	wait_until(w, "t", is_exited, &s);
	assert_int_equal(s.exit_code, 4);
	assert_false(s.empty);
	wait_text(w, "t", EXEC_STDOUT, "one");
	assert_int_equal(exec_release(w->exec, "t", NULL), ERR_STATE);
	assert_int_equal(exec_kill(w->exec, "t", NULL), 0);
	wait_until(w, "t", is_over, &s);
	assert_false(marked_alive("t"));
	assert_int_equal(s.exit_code, 4); /* the leader's end stays what it was */
	assert_int_equal(exec_kill(w->exec, "t", NULL), 0); /* killing nobody is done at once */
}

static void the_rest_goes_with_the_leader_if_asked(void **state)
{
	struct world *w = *state;
	const char *const argv[] = {"sh", "-c", escape, NULL};
	const struct exec_task task = {.name = "t", .argv = argv, .env = plain_env, .kill_rest = true};
	struct exec_status s;

	assert_int_equal(exec_start(w->exec, &task, NULL), 0);
	wait_until(w, "t", is_over, &s);
	assert_int_equal(s.exit_code, 4);
	assert_false(marked_alive("t"));
}

/* Where tasks have users of their own, each may stop the shims of his. */
static void a_shim_that_was_stopped_goes_on(void **state)
{
	struct world *w = *state;
	struct exec_status s;

	for (int i = 0; i < 2; i++) {
		start_ok(w, "t", "trap 'exit 5' TERM; echo up; while :; do sleep 0.02; done");
		wait_text(w, "t", EXEC_STDOUT, "up");
		assert_int_equal(kill(shim_of(w, "t"), SIGSTOP), 0);
		assert_int_equal(i ? exec_kill(w->exec, "t", NULL) : exec_signal(w->exec, "t", SIGTERM, false, NULL), 0);
		wait_until(w, "t", is_over, &s);
		assert_int_equal(s.exit_signal, i ? SIGKILL : 0);
		assert_int_equal(s.exit_code, i ? -1 : 5);
		assert_int_equal(exec_release(w->exec, "t", NULL), 0);
	}
}

/* Children that fork while they are being killed. */
static void a_forking_task_is_killed_too(void **state)
{
	struct world *w = *state;
	struct exec_status s;

	start_ok(w, "t", "f() { while :; do (setsid sleep 0.02 &); done; }; f & f & echo up; wait");
	wait_text(w, "t", EXEC_STDOUT, "up");
	assert_int_equal(exec_kill(w->exec, "t", NULL), 0);
	wait_until(w, "t", is_over, &s);
	assert_false(marked_alive("t"));
}

/* The shim is killed: no exit code, and we say so. What remains is found by its mark and killed. */
static void a_lost_shim_is_told_and_its_children_found(void **state)
{
	struct world *w = *state;
	struct exec_status s;
	pid_t shim, stranger;

	/* A unit of the same name, of another agent on this machine. */
	stranger = fork();
	assert_true(stranger >= 0);
	if (!stranger) {
		(void)clearenv();
		(void)setenv("SLUIS_UNIT", "t", 1);
		(void)setenv("SLUIS_UNIT_KEY", "1", 1);
		(void)execl("/bin/sleep", "sleep", "1000", (char *)NULL);
		_exit(127);
	}
	start_ok(w, "t", "setsid sleep 1000 & (sleep 1000 &); echo up; exec sleep 1000");
	wait_text(w, "t", EXEC_STDOUT, "up");
	wait_until(w, "t", is_running, &s);
	shim = shim_of(w, "t");
	assert_int_equal(kill(shim, SIGKILL), 0);
	wait_until(w, "t", is_lost, &s);
	assert_int_equal(s.lost, EXEC_LOST_SHIM);
	assert_true(s.began);
	assert_false(s.empty);
	assert_true(marked_alive("t"));
	assert_int_equal(exec_signal(w->exec, "t", SIGTERM, true, NULL), ERR_GONE);
	assert_int_equal(exec_release(w->exec, "t", NULL), ERR_STATE);
	reopen(w);
	status_of(w, "t", &s);
	assert_int_equal(s.state, EXEC_LOST);
	assert_false(s.empty);
	assert_int_equal(exec_kill(w->exec, "t", NULL), 0);
	wait_until(w, "t", is_empty, &s);
	assert_int_equal(waitpid(stranger, NULL, WNOHANG), 0); /* lives */
	assert_int_equal(kill(stranger, SIGKILL), 0);
	assert_int_equal(waitpid(stranger, NULL, 0), stranger);
	assert_false(marked_alive("t"));
	assert_int_equal(exec_release(w->exec, "t", NULL), 0);
}

/* What the agent's service manager or a terminal sends must not take the task's keeper away. */
static void the_shim_shrugs_off_signals(void **state)
{
	struct world *w = *state;
	struct exec_status s;
	pid_t shim;

	start_ok(w, "t", "echo up; sleep 1000; exit 8");
	wait_text(w, "t", EXEC_STDOUT, "up");
	wait_until(w, "t", is_running, &s);
	shim = shim_of(w, "t");
	assert_int_not_equal(getsid(shim), getsid(0));
	for (int signo = 1; signo < NSIG; signo++)
		if (signo != SIGKILL && signo != SIGSTOP && signo != 32 && signo != 33)
			assert_int_equal(kill(shim, signo), 0);
	assert_int_equal(exec_signal(w->exec, "t", SIGTERM, true, NULL), 0); /* answers, and ends the sleep */
	wait_until(w, "t", is_over, &s);
}

/* ---- talking to the task ----------------------------------------------------------------------------------------- */

/* The three ways of one notice; a trainer may use any. */
static void a_notice_arrives_three_ways(void **state)
{
	static const char json[] = "{\"cause\":\"recall\",\"deadline_unix\":1795454074,\"seconds\":120}";
	struct world *w = *state;
	struct exec_status s;
	char text[512], want[512];

	start_ok(w, "t", "trap 'cat $SLUIS_NOTICE_FILE; read line <&7; echo fd $line; exit 3' USR1\n"
			"[ $SLUIS_NOTICE_FD = 7 ] && echo up; while :; do sleep 0.05; done");
	wait_text(w, "t", EXEC_STDOUT, "up\n");
	assert_int_equal(exec_notice(w->exec, "t", json, SIGUSR1, false, NULL), 0);
	wait_until(w, "t", is_over, &s);
	assert_int_equal(s.exit_code, 3);
	(void)snprintf(want, sizeof(want), "up\n%s\nfd %s\n", json, json);
	assert_string_equal(text_of(w, "t", EXEC_STDOUT, text, sizeof(text)), want);
}

/* A task that never reads its descriptor must not block the shim, nor miss file and signal. */
static void notices_do_not_pile_up(void **state)
{
	char json[3000];
	struct world *w = *state;
	struct exec_status s;

	start_ok(w, "t", "trap 'wc -c < $SLUIS_NOTICE_FILE; exit 3' USR1; echo up; while :; do sleep 0.05; done");
	wait_text(w, "t", EXEC_STDOUT, "up\n");
	memset(json, 'x', sizeof(json));
	json[sizeof(json) - 1] = 0;
	for (int i = 0; i < 40; i++) /* 120 kB into a pipe of 64 */
		assert_int_equal(exec_notice(w->exec, "t", json, 0, false, NULL), 0);
	json[100] = 0;
	assert_int_equal(exec_notice(w->exec, "t", json, SIGUSR1, false, NULL), 0);
	wait_until(w, "t", is_over, &s);
	wait_text(w, "t", EXEC_STDOUT, "101\n");
}

static void signals_reach_leader_or_all(void **state)
{
	struct world *w = *state;
	struct exec_status s;

	start_ok(w, "t", "trap 'echo leader' USR1\n"
			"setsid sh -c 'trap \"echo child\" USR1; echo ready; while :; do sleep 0.05; done' &\n"
			"echo up; while :; do wait; done");
	wait_text(w, "t", EXEC_STDOUT, "up\n");
	wait_text(w, "t", EXEC_STDOUT, "ready\n");
	assert_int_equal(exec_signal(w->exec, "t", SIGUSR1, false, NULL), 0);
	wait_text(w, "t", EXEC_STDOUT, "leader\n");
	status_of(w, "t", &s);
	{
		char text[256];

		assert_null(strstr(text_of(w, "t", EXEC_STDOUT, text, sizeof(text)), "child"));
	}
	/* Its sleeps die of it; both shells go on. */
	assert_int_equal(exec_signal(w->exec, "t", SIGUSR1, true, NULL), 0);
	wait_text(w, "t", EXEC_STDOUT, "child\n");
}

static void reports_are_kept_whole_and_bounded(void **state)
{
	struct world *w = *state;
	struct exec_status s;
	char text[8192];

	w->cfg.report_bytes_max = 208; /* eight lines of 26 */
	reopen(w);
	start_ok(w, "t", "echo '{\"checkpoint\":{\"step\":1}}' >&8; mkfifo go; read x < go\n"
			"printf '{\"checkpoint\":' >&8; echo '{\"step\":2}}' >&8\n"
			"head -c 6000 /dev/zero | tr '\\0' y >&8; echo >&8; echo '{\"checkpoint\":{\"step\":3}}' >&8\n"
			"for i in 1 2 3 4 5 6 7 8; do echo '{\"checkpoint\":{\"step\":9}}' >&8; done; printf half >&8");
	wait_text(w, "t", EXEC_REPORTS, "{\"checkpoint\":{\"step\":1}}\n"); /* while it runs */
	{
		char path[256];
		FILE *go;

		(void)snprintf(path, sizeof(path), "%s/go", w->dir);
		go = fopen(path, "w");
		assert_non_null(go);
		assert_int_equal(fclose(go), 0);
	}
	wait_until(w, "t", is_over, &s);
	assert_memory_equal(text_of(w, "t", EXEC_REPORTS, text, sizeof(text)),
		"{\"checkpoint\":{\"step\":1}}\n{\"checkpoint\":{\"step\":2}}\n{\"checkpoint\":{\"step\":3}}\n", 78);
	assert_int_equal(strlen(text), 208);
	assert_int_equal(s.reports_dropped, 1 + 3); /* the long one, and three of the last eight */
}

static void binds_to_the_given_cpus(void **state)
{
	struct world *w = *state;
	const char *const argv[] = {"grep", "Cpus_allowed_list", "/proc/self/status", NULL};
	struct exec_task task = {.name = "t", .argv = argv, .env = plain_env};
	struct exec_status s;
	char cpu[16], want[64], text[128];
	cpu_set_t mine;
	int last = -1;

	assert_int_equal(sched_getaffinity(0, sizeof(mine), &mine), 0);
	for (size_t i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &mine))
			last = (int)i;
	(void)snprintf(cpu, sizeof(cpu), "%d", last);
	task.cpus = cpu;
	assert_int_equal(exec_start(w->exec, &task, NULL), 0);
	wait_until(w, "t", is_over, &s);
	(void)snprintf(want, sizeof(want), "Cpus_allowed_list:\t%d\n", last);
	assert_string_equal(text_of(w, "t", EXEC_STDOUT, text, sizeof(text)), want);
	task.name = "u";
	task.cpus = "8000"; /* no such cpu: refused, not ignored */
	assert_int_equal(exec_start(w->exec, &task, NULL), 0);
	wait_until(w, "u", is_over, &s);
	assert_true(s.setup_failed);
	assert_string_equal(s.error, "cannot bind to cpus '8000': Invalid argument");
}

/* Strict memory nodes end a task when they are full; preferred ones do not. Both must be what was asked for. */
static void binds_to_the_given_memory_nodes(void **state)
{
	struct world *w = *state;
	const char *const argv[] = {"sh", "-c", "grep -m1 -o 'bind:0\\|prefer (many):0' /proc/self/numa_maps", NULL};
	struct exec_task task = {.name = "t", .argv = argv, .env = plain_env, .mems = "0"};
	struct exec_status s;
	char text[128];

	if (access("/proc/self/numa_maps", R_OK)) {
		(void)printf("skip: this kernel knows no memory nodes\n");
		skip();
	}
	assert_int_equal(exec_start(w->exec, &task, NULL), 0);
	wait_until(w, "t", is_over, &s);
	assert_string_equal(text_of(w, "t", EXEC_STDOUT, text, sizeof(text)), "bind:0\n");
	task.name = "u";
	task.mems_preferred = true;
	assert_int_equal(exec_start(w->exec, &task, NULL), 0);
	wait_until(w, "u", is_over, &s);
	text_of(w, "u", EXEC_STDOUT, text, sizeof(text));
	if (text[0]) /* before Linux 5.15 there is no such policy, and the task runs without */
		assert_string_equal(text, "prefer (many):0\n");
	task.name = "v";
	task.mems = "500"; /* no such node: refused when strict */
	task.mems_preferred = false;
	assert_int_equal(exec_start(w->exec, &task, NULL), 0);
	wait_until(w, "v", is_over, &s);
	assert_true(s.setup_failed);
}

static void parses_cpu_lists(void **state)
{
	uint64_t bits[2];
	struct err err;

	(void)state;
	assert_int_equal(cpulist_parse("0-2,64,127", bits, 2, &err), 0);
	assert_true(bits[0] == 7 && bits[1] == (UINT64_C(1) << 63 | 1));
	assert_int_equal(cpulist_parse("128", bits, 2, &err), ERR_RANGE);
	assert_int_equal(cpulist_parse("99999999999999999999", bits, 2, &err), ERR_RANGE);
	assert_int_equal(cpulist_parse("", bits, 2, &err), ERR_INVAL);
	assert_int_equal(cpulist_parse("1,", bits, 2, &err), ERR_INVAL);
	assert_int_equal(cpulist_parse("1;2", bits, 2, &err), ERR_INVAL);
	assert_int_equal(cpulist_parse("-1", bits, 2, &err), ERR_INVAL);
}

/* A file torn by a crash of the machine is never half believed. */
static void a_torn_file_is_no_file(void **state)
{
	struct world *w = *state;
	struct buf b = BUF_INIT, back = BUF_INIT;
	int dir = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	char whole[256];

	unit_put(&b, "key", "first");
	unit_put(&b, "key", "sec\nond");
	unit_put_u64(&b, "number", UINT64_MAX);
	assert_int_equal(unit_write(dir, "f", &b, NULL), 0);
	assert_int_equal(unit_read(dir, "f", &back, 4096, NULL), 0);
	assert_string_equal(unit_get(&back, "key"), "first");
	assert_string_equal(unit_next(&back, "key", unit_get(&back, "key")), "sec\nond");
	assert_null(unit_get(&back, "ke"));
	assert_true(unit_get_u64(&back, "number") == UINT64_MAX);
	assert_int_equal(unit_read(dir, "f", &back, 10, NULL), ERR_TOOBIG);
	assert_int_equal(unit_read(dir, "g", &back, 10, NULL), ERR_NOTFOUND);
	assert_int_equal(fstatat(dir, "f", &st, 0), 0);
	for (off_t cut = 0; cut < st.st_size; cut++) {
		int fd = openat(dir, "f", O_RDWR | O_CLOEXEC);

		assert_true(fd >= 0);
		assert_int_equal(pread(fd, whole, sizeof(whole), 0), st.st_size);
		assert_int_equal(ftruncate(fd, cut), 0);
		assert_int_equal(unit_read(dir, "f", &back, 4096, NULL), ERR_CORRUPT);
		whole[cut] ^= 1;
		assert_int_equal(pwrite(fd, whole, (size_t)st.st_size, 0), st.st_size);
		assert_int_equal(unit_read(dir, "f", &back, 4096, NULL), ERR_CORRUPT);
		whole[cut] ^= 1;
		assert_int_equal(pwrite(fd, whole, (size_t)st.st_size, 0), st.st_size);
		(void)close(fd);
	}
	(void)close(dir);
	buf_done(&b);
	buf_done(&back);
}

/* ---- cgroup2 ------------------------------------------------------------------------------------------------------- */

/* A cgroup of our own below a writable cgroup2 mount, or a skip that says what is missing. */
static bool cgroup_world(struct world *w, char root[PATH_MAX])
{
	FILE *mounts = fopen("/proc/mounts", "re");
	char line[1024], at[512], type[64];
	bool made = false;

	while (mounts && !made && fgets(line, sizeof(line), mounts))
		if (sscanf(line, "%*s %511s %63s", at, type) == 2 && !strcmp(type, "cgroup2")) {
			(void)snprintf(root, PATH_MAX, "%s/sluis-test-%d", at, (int)getpid());
			made = !mkdir(root, 0755);
		}
	if (mounts)
		(void)fclose(mounts);
	if (!made) {
		print_message("skipped: no cgroup2 mount that this user may write\n");
		return false;
	}
	(void)snprintf(line, sizeof(line), "%s/cgroup.kill", root);
	if (access(line, W_OK)) {
		print_message("skipped: this kernel has no cgroup.kill (Linux 5.14)\n");
		(void)rmdir(root);
		return false;
	}
	w->cfg.backend = EXEC_CGROUP2;
	w->cfg.cgroup_root = root;
	reopen(w);
	return true;
}

static void cgroup2_contains_and_kills(void **state)
{
	struct world *w = *state;
	struct exec_status s;
	char root[PATH_MAX], text[512];

	if (!cgroup_world(w, root))
		skip();
	assert_true(exec_caps(w->exec) & EXEC_CAP_TRACK);
	start_ok(w, "t", "grep ^0:: /proc/self/cgroup; setsid env -i sleep 1000 & echo up; exit 7");
	wait_until(w, "t", is_exited, &s);
	assert_int_equal(s.exit_code, 7);
	assert_false(s.empty);
	wait_text(w, "t", EXEC_STDOUT, "up\n");
	(void)snprintf(text, sizeof(text), "sluis-test-%d/t", (int)getpid());
	wait_text(w, "t", EXEC_STDOUT, text);
	assert_int_equal(exec_kill(w->exec, "t", NULL), 0);
	wait_until(w, "t", is_over, &s);
	assert_int_equal(exec_release(w->exec, "t", NULL), 0);
	assert_int_equal(rmdir(root), 0); /* the unit's cgroup is gone with it */
}

/* The case that plain cannot solve: shim killed, environment cleared, session of its own. */
static void cgroup2_finds_what_a_lost_shim_left(void **state)
{
	struct world *w = *state;
	struct exec_status s;
	char root[PATH_MAX];

	if (!cgroup_world(w, root))
		skip();
	start_ok(w, "t", "setsid env -i sleep 1000 & echo up; exec sleep 1000");
	wait_text(w, "t", EXEC_STDOUT, "up\n");
	wait_until(w, "t", is_running, &s);
	assert_int_equal(kill(shim_of(w, "t"), SIGKILL), 0);
	wait_until(w, "t", is_lost, &s);
	assert_false(s.empty);
	w->cfg.backend = EXEC_PLAIN; /* an agent configured anew still knows what kind of unit it was */
	reopen(w);
	status_of(w, "t", &s);
	assert_false(s.empty);
	assert_int_equal(exec_kill(w->exec, "t", NULL), 0);
	wait_until(w, "t", is_empty, &s);
	assert_int_equal(exec_release(w->exec, "t", NULL), 0);
	assert_int_equal(rmdir(root), 0);
}

static void cgroup2_says_why_it_cannot(void **state)
{
	struct world *w = *state;
	struct exec *other = NULL;
	struct exec_cfg cfg = w->cfg;
	char path[200], run[220];
	struct err err;

	(void)snprintf(path, sizeof(path), "%s/no-cgroup", w->dir);
	(void)snprintf(run, sizeof(run), "%s-run", path);
	cfg.run_dir = run;
	cfg.backend = EXEC_CGROUP2;
	cfg.cgroup_root = path;
	assert_int_equal(exec_open(&cfg, &other, &err), ERR_UNSUPPORTED);
	assert_true(strstr(err.msg, "cgroup2") != NULL);
}

/* Controllers are not at hand on every machine that tests: what is written to them is looked at in a folder that makes
 * the files of a cgroup with each folder in it, as the kernel does. */
static char fake_root[200];

int mkdir(const char *path, mode_t mode)
{
	static const char *const files[] = {"memory.max", "memory.oom.group", "pids.max", "cpu.max", "cpuset.cpus", "cpuset.mems"};
	int rc = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);

	if (rc || !fake_root[0] || strncmp(path, fake_root, strlen(fake_root)) != 0)
		return rc;
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		char file[PATH_MAX];
		int fd;

		(void)snprintf(file, sizeof(file), "%s/%s", path, files[i]);
		fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (fd >= 0)
			(void)close(fd);
	}
	return 0;
}

static void limit_is(const char *task, const char *file, const char *want)
{
	char path[PATH_MAX], text[64] = "";
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s/%s", fake_root, task, file);
	f = fopen(path, "re");
	assert_non_null(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = 0;
	(void)fclose(f);
	assert_string_equal(text, want);
}

static void cgroup2_writes_the_limits(void **state)
{
	struct world *w = *state;
	struct exec_site site = {.cgroup_root = fake_root, .caps = EXEC_CAP_TRACK};
	struct exec_task task = {.name = "all", .cpus = "0-3,8", .mems = "1", .mem_bytes = UINT64_C(68719476736),
				 .tasks_max = 4096, .cpu_percent = 250};
	struct buf records = BUF_INIT;
	char path[PATH_MAX];
	struct err err = {0};

	(void)snprintf(fake_root, sizeof(fake_root), "%s/fake", w->dir);
	assert_int_equal(mkdir(fake_root, 0700), 0);
	assert_int_equal(exec_cgroup_caps("cpuset cpu io memory hugetlb pids rdma\n"),
			 EXEC_CAP_CPUSET | EXEC_CAP_CPU | EXEC_CAP_MEMORY | EXEC_CAP_PIDS);
	assert_int_equal(exec_cgroup_caps("cpuacct memory.swap\n"), 0);
	site.caps |= exec_cgroup_caps("cpuset cpu memory pids\n");
	assert_int_equal(exec_cgroup2_ops.prepare(&site, &task, &records, &err), 0);
	limit_is("all", "memory.max", "68719476736");
	limit_is("all", "memory.oom.group", "1");
	limit_is("all", "pids.max", "4096");
	limit_is("all", "cpu.max", "250000 100000");
	limit_is("all", "cpuset.cpus", "0-3,8");
	limit_is("all", "cpuset.mems", "1");

	/* no limit is no word; memory that is only preferred is no limit; the shim inside must outlive its task */
	task = (struct exec_task){.name = "none", .mems = "1", .mems_preferred = true};
	assert_int_equal(exec_cgroup2_ops.prepare(&site, &task, &records, &err), 0);
	limit_is("none", "memory.max", "");
	limit_is("none", "pids.max", "");
	limit_is("none", "cpu.max", "");
	limit_is("none", "cpuset.cpus", "");
	limit_is("none", "cpuset.mems", "");
	task = (struct exec_task){.name = "inside", .mem_bytes = 4096};
	site.shim_inside = true;
	assert_int_equal(exec_cgroup2_ops.prepare(&site, &task, &records, &err), 0);
	limit_is("inside", "memory.max", "4096");
	limit_is("inside", "memory.oom.group", "");

	/* what is not at hand is not written; what cannot be written is no start */
	task = (struct exec_task){.name = "without", .cpus = "0", .mem_bytes = 4096, .tasks_max = 1, .cpu_percent = 1};
	site.caps = EXEC_CAP_TRACK;
	assert_int_equal(exec_cgroup2_ops.prepare(&site, &task, &records, &err), 0);
	limit_is("without", "memory.max", "");
	limit_is("without", "pids.max", "");
	limit_is("without", "cpu.max", "");
	limit_is("without", "cpuset.cpus", "");
	(void)snprintf(path, sizeof(path), "%s/bare", w->dir);
	assert_int_equal(mkdir(path, 0700), 0); /* a kernel without this file */
	site = (struct exec_site){.cgroup_root = path, .caps = EXEC_CAP_PIDS};
	task = (struct exec_task){.name = "t", .tasks_max = 7};
	assert_int_equal(exec_cgroup2_ops.prepare(&site, &task, &records, &err), ERR_SYS);
	assert_non_null(strstr(err.msg, "pids.max"));
	(void)snprintf(path + strlen(path), sizeof(path) - strlen(path), "/t");
	assert_int_equal(access(path, F_OK), -1); /* and no cgroup is left of it */
	buf_done(&records);
	fake_root[0] = 0;
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(keeps_exit_code_and_usage),
		CASE(keeps_the_signal),
		CASE(has_nothing_of_the_agents_open_once_it_is_the_users),
		CASE(says_what_kept_a_task_from_starting),
		CASE(gives_environment_directory_and_output),
		CASE(writes_where_the_job_says),
		CASE(used_directories_carry_nothing_over),
		CASE(drops_only_what_is_older_than_the_run),
		CASE(scratch_goes_with_the_last_task),
		CASE(refuses_a_scratch_folder_of_others),
		CASE(refuses_nonsense),
		CASE(never_starts_a_name_twice),
		CASE(a_full_disk_keeps_no_unit),
		CASE(a_batch_shares_all_but_its_failures),
		CASE(a_failed_start_leaves_nothing),
		CASE(one_agent_per_run_dir),
		CASE(the_next_agent_reads_the_exit_code),
		CASE(the_next_agent_takes_over_a_running_task),
		CASE(a_start_that_never_happened_is_known_as_such),
		CASE(a_reboot_loses_what_had_not_ended),
		CASE(a_used_slot_tells_nothing_of_the_one_before),
		CASE(empty_only_when_the_last_escapee_is_gone),
		CASE(the_rest_goes_with_the_leader_if_asked),
		CASE(a_shim_that_was_stopped_goes_on),
		CASE(a_forking_task_is_killed_too),
		CASE(a_lost_shim_is_told_and_its_children_found),
		CASE(the_shim_shrugs_off_signals),
		CASE(a_notice_arrives_three_ways),
		CASE(notices_do_not_pile_up),
		CASE(signals_reach_leader_or_all),
		CASE(reports_are_kept_whole_and_bounded),
		CASE(binds_to_the_given_cpus),
		CASE(binds_to_the_given_memory_nodes),
		CASE(parses_cpu_lists),
		CASE(a_torn_file_is_no_file),
		CASE(cgroup2_contains_and_kills),
		CASE(cgroup2_finds_what_a_lost_shim_left),
		CASE(cgroup2_says_why_it_cannot),
		CASE(cgroup2_writes_the_limits),
	};

	(void)snprintf(run_mark, sizeof(run_mark), "SLUIS_TEST_RUN=%ld", (long)getpid());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
