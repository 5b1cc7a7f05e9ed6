/* test_exec_systemd.c - tasks that somebody else starts: systemd, or sluis-execd for an agent without privilege
 *
 * Without it an agent could lose sight of a task that is not its child, start it twice, or believe a limit
 * that nobody enforces. The stories need a place to happen, which tests/integration/t1300-execd.sh and
 * t1310-systemd.sh make:
 *   SLUIS_TEST_BACKEND   systemd, or execd with
 *   SLUIS_TEST_EXECD     its socket, and SLUIS_TEST_USER, the uid of a user it may start tasks as
 *   SLUIS_TEST_DIR       where the run dir is made (as execd was told)
 * Without SLUIS_TEST_BACKEND they are skipped; what execd is asked, and the names of devices, are always
 * tested. SLUIS_SHIM as in test_exec.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/exec/backend.h"
#include "agent/exec/exec.h"
#include "agent/exec/request.h"
#include "agent/exec/unit.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

enum { PATIENCE_MS = 20000 };

struct world {
	char dir[160], run_dir[200], shim[PATH_MAX];
	struct exec_cfg cfg;
	struct exec *exec;
	uid_t user; /* of tasks; 0: as the agent */
};

static const char *const plain_env[] = {"PATH=/usr/bin:/bin", NULL};

/* ---- the stage ---------------------------------------------------------------------------------------- */

static void find_shim(char shim[PATH_MAX])
{
	const char *given = getenv("SLUIS_SHIM");
	char self[PATH_MAX - 32];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	assert_true(n > 0);
	self[n] = 0;
	if (given)
		(void)snprintf(shim, PATH_MAX, "%s", given);
	else
		(void)snprintf(shim, PATH_MAX, "%s/../bin/sluis-shim", dirname(self));
}

static void open_exec(struct world *w)
{
	struct err err = {0};

	if (exec_open(&w->cfg, &w->exec, &err))
		fail_msg("exec_open: %s", err.msg);
}

static void reopen(struct world *w)
{
	exec_close(w->exec);
	w->exec = NULL;
	open_exec(w);
}

static int setup(void **state)
{
	const char *backend = getenv("SLUIS_TEST_BACKEND"), *user = getenv("SLUIS_TEST_USER");
	struct world *w = xcalloc(1, sizeof(*w));

	*state = w;
	if (!backend)
		return 0;
	if (!getenv("SLUIS_TEST_DIR"))
		return -1;
	(void)snprintf(w->dir, sizeof(w->dir), "%s", getenv("SLUIS_TEST_DIR"));
	(void)snprintf(w->run_dir, sizeof(w->run_dir), "%s/run", w->dir);
	find_shim(w->shim);
	w->cfg = (struct exec_cfg){.run_dir = w->run_dir, .backend = EXEC_SYSTEMD, .shim_path = w->shim};
	if (!strcmp(backend, "execd")) {
		w->cfg.backend = EXEC_EXECD;
		w->cfg.execd_socket = getenv("SLUIS_TEST_EXECD");
		w->user = user ? (uid_t)strtoul(user, NULL, 10) : 0;
	}
	open_exec(w);
	return 0;
}

static struct world *stage(void **state)
{
	struct world *w = *state;

	if (!w->exec) {
		print_message("skip: needs a systemd or a sluis-execd made for the test (t1300, t1310)\n");
		skip();
	}
	return w;
}

static void status_of(struct world *w, const char *name, struct exec_status *s)
{
	struct err err = {0};

	if (exec_status(w->exec, name, s, &err))
		fail_msg("exec_status: %s", err.msg);
}

/* By the descriptor; on a timer only where exec.h says that nobody rings. */
static void wait_until(struct world *w, const char *name, bool (*done)(const struct exec_status *), struct exec_status *ret)
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
			fail_msg("'%s' stays in state %d, empty %d, error '%s'", name, (int)ret->state, ret->empty, ret->error);
		(void)poll(&p, 1, ret->lost == EXEC_LOST_SHIM ? 10 : PATIENCE_MS);
	}
}

static bool is_running(const struct exec_status *s) { return s->state == EXEC_RUNNING; }
static bool is_over(const struct exec_status *s) { return s->state == EXEC_EXITED && s->empty; }
static bool is_lost(const struct exec_status *s) { return s->state == EXEC_LOST; }
static bool is_empty(const struct exec_status *s) { return s->empty; }

static void end_unit(void *ctx, const char *name)
{
	struct world *w = ctx;
	struct exec_status s;
	struct err err = {0};

	assert_int_equal(exec_kill(w->exec, name, NULL), 0);
	wait_until(w, name, is_empty, &s);
	if (exec_release(w->exec, name, &err))
		fail_msg("exec_release: %s", err.msg);
}

static int teardown(void **state)
{
	struct world *w = *state;
	char command[256];

	if (w->exec) {
		exec_list(w->exec, end_unit, w);
		exec_close(w->exec);
		(void)snprintf(command, sizeof(command), "rm -rf '%s'", w->run_dir);
		if (system(command))
			return -1;
	}
	free(w);
	return 0;
}

static struct exec_task task_of(const struct world *w, const char *name, const char *const argv[])
{
	return (struct exec_task){.name = name, .argv = argv, .env = plain_env, .uid = w->user};
}

static void start(struct world *w, const struct exec_task *task)
{
	struct err err = {0};

	if (exec_start(w->exec, task, &err))
		fail_msg("exec_start: %s", err.msg);
}

static void start_sh(struct world *w, const char *name, const char *script)
{
	const char *const argv[] = {"sh", "-c", script, NULL};
	const struct exec_task task = task_of(w, name, argv);

	start(w, &task);
}

static const char *text_of(struct world *w, const char *name, enum exec_stream stream, char *buf, size_t bytes)
{
	size_t n = 0;
	int code = exec_log_read(w->exec, name, stream, 0, buf, bytes - 1, &n, NULL);

	assert_true(code == 0 || code == ERR_NOTFOUND);
	buf[n] = 0;
	return buf;
}

static void wait_text(struct world *w, const char *name, const char *want)
{
	int64_t until = mono_ms(mono_now()) + PATIENCE_MS;
	char text[4096];

	while (!strstr(text_of(w, name, EXEC_STDOUT, text, sizeof(text)), want)) {
		if (mono_ms(mono_now()) > until)
			fail_msg("'%s' never said '%s' but '%s'", name, want, text);
		(void)poll(NULL, 0, 5); /* a task's own output rings no bell */
	}
}

/* A record of `task` (part -1) or of a part of its slot, as exec itself reads them. */
static void record_of(struct world *w, const char *name, int part, const char *key, char ret[PATH_MAX])
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	char path[PATH_MAX];
	int fd, slots;

	(void)snprintf(path, sizeof(path), "%s/units/%s", w->run_dir, name);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(unit_read(fd, "task", &b, 1 << 20, NULL), 0);
	(void)close(fd);
	if (part >= 0) {
		uint64_t slot = unit_get_u64(&b, "slot");

		(void)snprintf(path, sizeof(path), "%s/slots", w->run_dir);
		slots = open(path, O_RDONLY | O_CLOEXEC);
		assert_true(slots >= 0);
		assert_int_equal(unit_part_get(slots, slot, (enum unit_part)part, &b, NULL), 0);
		(void)close(slots);
	}
	assert_non_null(unit_get(&b, key));
	(void)snprintf(ret, PATH_MAX, "%s", unit_get(&b, key));
}

/* ---- stories ------------------------------------------------------------------------------------------------ */

static void keeps_exit_code_and_output(void **state)
{
	struct world *w = stage(state);
	struct exec_status s;
	char text[256], place[PATH_MAX];

	start_sh(w, "t", "echo hello; exit 7");
	wait_until(w, "t", is_over, &s);
	assert_int_equal(s.exit_code, 7);
	assert_true(s.began);
	assert_false(s.oom);
	assert_string_equal(text_of(w, "t", EXEC_STDOUT, text, sizeof(text)), "hello\n");
	record_of(w, "t", -1, "place", place);
	assert_int_equal(exec_release(w->exec, "t", NULL), 0);
	for (int i = 0; i < 400 && !access(place, F_OK); i++)
		(void)poll(NULL, 0, 5); /* systemd removes it in its own time */
	assert_int_not_equal(access(place, F_OK), 0);
	status_of(w, "t", &s);
	assert_int_equal(s.state, EXEC_NONE);
}

static void keeps_the_signal_and_what_could_not_start(void **state)
{
	struct world *w = stage(state);
	const char *const argv[] = {"no-such-command", NULL};
	const struct exec_task task = task_of(w, "n", argv);
	struct exec_status s;

	start_sh(w, "t", "kill -USR1 $$; sleep 1000");
	start(w, &task);
	wait_until(w, "t", is_over, &s);
	assert_int_equal(s.exit_signal, SIGUSR1);
	wait_until(w, "n", is_over, &s);
	assert_true(s.setup_failed);
	assert_int_equal(s.exit_code, 127);
}

/* The second agent has lost its run dir: only whoever started the unit can still know the name. */
static void never_starts_a_name_twice(void **state)
{
	struct world *w = stage(state);
	const char *const argv[] = {"true", NULL};
	const struct exec_task task = task_of(w, "t", argv);
	struct exec_status s;
	struct err err = {0};
	char moved[1024];

	start_sh(w, "t", "exec sleep 1000");
	wait_until(w, "t", is_running, &s);
	assert_int_equal(exec_start(w->exec, &task, &err), ERR_EXISTS);
	exec_close(w->exec);
	(void)snprintf(moved, sizeof(moved), "%s.moved", w->run_dir);
	assert_int_equal(rename(w->run_dir, moved), 0);
	open_exec(w);
	assert_int_equal(exec_start(w->exec, &task, &err), ERR_EXISTS);
	status_of(w, "t", &s);
	assert_int_equal(s.state, EXEC_NONE);
	exec_close(w->exec);
	(void)snprintf(moved, sizeof(moved), "rm -rf '%s' && mv '%s.moved' '%s'", w->run_dir, w->run_dir, w->run_dir);
	assert_int_equal(system(moved), 0);
	open_exec(w);
	status_of(w, "t", &s);
	assert_int_equal(s.state, EXEC_RUNNING); /* and no worse for it */
}

static void kills_all_that_hides(void **state)
{
	struct world *w = stage(state);
	struct exec_status s;
	char place[PATH_MAX];

	start_sh(w, "t", "setsid env -i sleep 1000 & (setsid sleep 1000 &) ; echo up; exec sleep 1000");
	wait_text(w, "t", "up\n");
	record_of(w, "t", -1, "place", place);
	assert_true(exec_cgroup_alive(place));
	assert_int_equal(exec_kill(w->exec, "t", NULL), 0);
	wait_until(w, "t", is_over, &s);
	assert_int_equal(s.exit_signal, SIGKILL);
	assert_int_equal(exec_release(w->exec, "t", NULL), 0);
	assert_false(exec_cgroup_alive(place));
}

/* As the user of the task may, from anywhere: a job would never end. Asked once it may have been stopped in between. */
static void a_shim_that_is_stopped_all_the_time_protects_nothing(void **state)
{
	struct world *w = stage(state);
	int64_t until = mono_ms(mono_now()) + PATIENCE_MS;
	struct exec_status s = {.empty = false};
	char number[PATH_MAX];
	pid_t shim, hand;

	start_sh(w, "t", "echo up; exec sleep 1000");
	wait_text(w, "t", "up\n");
	record_of(w, "t", UNIT_STATUS, "shim", number);
	shim = (pid_t)strtol(number, NULL, 10);
	hand = fork();
	if (!hand) {
		while (!kill(shim, SIGSTOP))
			;
		_exit(0);
	}
	assert_true(hand > 0);
	while (!s.empty && mono_ms(mono_now()) < until) {
		(void)!exec_kill(w->exec, "t", NULL); /* what comes of it is in the status */
		(void)poll(NULL, 0, 50);
		status_of(w, "t", &s);
	}
	if (!s.empty)
		(void)kill(hand, SIGKILL);
	assert_int_equal(waitpid(hand, NULL, 0), hand); /* there is nobody left to stop */
	assert_true(s.empty);
	assert_true(s.state == EXEC_LOST || s.exit_signal == SIGKILL);
	assert_int_equal(exec_release(w->exec, "t", NULL), 0);
}

static void the_next_agent_takes_over(void **state)
{
	struct world *w = stage(state);
	struct exec_status s;

	start_sh(w, "a", "exit 5");
	start_sh(w, "b", "trap 'exit 6' TERM; echo up; while :; do sleep 0.02; done");
	wait_text(w, "b", "up\n");
	wait_until(w, "a", is_over, &s);
	reopen(w);
	status_of(w, "a", &s);
	assert_int_equal(s.exit_code, 5);
	wait_until(w, "b", is_running, &s); /* it may speak before its start is on record */
	assert_int_equal(exec_count(w->exec), 2);
	assert_int_equal(exec_signal(w->exec, "b", SIGTERM, false, NULL), 0);
	wait_until(w, "b", is_over, &s); /* by the bell, though not our child */
	assert_int_equal(s.exit_code, 6);
}

/* systemd ends a service that lost its main process; below execd's own cgroups it is exec_kill that does. */
static void a_lost_shim_is_told_and_its_children_ended(void **state)
{
	struct world *w = stage(state);
	struct exec_status s;
	char pid[PATH_MAX];

	start_sh(w, "t", "trap '' TERM; setsid env -i sleep 1000 & echo up; exec sleep 1000");
	wait_text(w, "t", "up\n");
	wait_until(w, "t", is_running, &s);
	record_of(w, "t", UNIT_STATUS, "shim", pid);
	/* A task may kill its own shim, whose real user it is; an agent may not, if that is another. */
	if (kill(atoi(pid), SIGKILL)) {
		char script[64];

		(void)snprintf(script, sizeof(script), "kill -9 %d", atoi(pid));
		start_sh(w, "k", script);
	}
	wait_until(w, "t", is_lost, &s);
	assert_int_equal(s.lost, EXEC_LOST_SHIM);
	assert_true(s.began);
	assert_false(s.empty); /* told at once, though systemd holds lock and socket until all has ended */
	assert_int_equal(exec_kill(w->exec, "t", NULL), 0);
	wait_until(w, "t", is_empty, &s);
	assert_int_equal(exec_signal(w->exec, "t", SIGTERM, false, NULL), ERR_GONE);
}

static void a_notice_arrives(void **state)
{
	struct world *w = stage(state);
	struct exec_status s;

	start_sh(w, "t", "trap 'cat $SLUIS_NOTICE_FILE; read l <&7; echo \"fd $l\"; exit 3' TERM; echo up;"
			 "echo '{\"loss\":1}' >&8; while :; do sleep 0.02; done");
	wait_text(w, "t", "up\n");
	assert_int_equal(exec_notice(w->exec, "t", "{\"stop\":1}", SIGTERM, false, NULL), 0);
	wait_until(w, "t", is_over, &s);
	assert_int_equal(s.exit_code, 3);
	wait_text(w, "t", "{\"stop\":1}\nfd {\"stop\":1}\n");
	{
		char text[64];

		assert_string_equal(text_of(w, "t", EXEC_REPORTS, text, sizeof(text)), "{\"loss\":1}\n");
	}
}

static void memory_has_an_end_and_it_is_told(void **state)
{
	struct world *w = stage(state);
	/* tail keeps a line until it ends, and this one never does */
	const char *const argv[] = {"sh", "-c", "sleep 1000 & tail /dev/zero; exit $?", NULL};
	struct exec_task task = task_of(w, "t", argv);
	struct exec_status s;

	if (!(exec_caps(w->exec) & EXEC_CAP_MEMORY)) {
		print_message("skip: no memory controller here\n");
		skip();
	}
	task.mem_bytes = UINT64_C(64) << 20;
	start(w, &task);
	wait_until(w, "t", is_over, &s); /* sleep is killed as well */
	assert_true(s.oom);
	assert_int_equal(s.exit_code, 128 + SIGKILL);
}

/* A device that is none of the default ones, and that only a filter keeps the task from. */
static const char *open_device(const struct world *w)
{
	static const char *const known[] = {"/dev/fuse", "/dev/autofs"};
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (!stat(known[i], &st) && S_ISCHR(st.st_mode) && ((st.st_mode & 0004) || (!w->user && !geteuid())))
			return known[i];
	return NULL;
}

static void other_devices_cannot_be_opened(void **state)
{
	struct world *w = stage(state);
	const char *const device = open_device(w);
	const char *const none[] = {NULL};
	const char *const given[] = {device, NULL};
	const char *const argv[] = {"sh", "-c", "echo x >/dev/null && head -c1 /dev/zero | wc -c; : <\"$1\" && echo open", "sh", device,
		NULL};
	struct exec_task task = task_of(w, "closed", argv);
	struct exec_status s;
	char text[512];

	if (!(exec_caps(w->exec) & EXEC_CAP_DEVICES)) {
		print_message("skip: devices cannot be controlled here\n");
		skip();
	}
	if (!device) {
		print_message("skip: no device here that the task may open without a filter\n");
		skip();
	}
	task.devices = none;
	start(w, &task);
	wait_until(w, "closed", is_over, &s);
	assert_string_equal(text_of(w, "closed", EXEC_STDOUT, text, sizeof(text)), "1\n");
	assert_non_null(strstr(text_of(w, "closed", EXEC_STDERR, text, sizeof(text)), "not permitted"));
	task.name = "free"; /* without a list there is no filter */
	task.devices = NULL;
	start(w, &task);
	wait_until(w, "free", is_over, &s);
	assert_string_equal(text_of(w, "free", EXEC_STDOUT, text, sizeof(text)), "1\nopen\n");
	task.name = "given";
	task.devices = given;
	if (w->cfg.backend == EXEC_EXECD) {
		assert_int_equal(exec_start(w->exec, &task, NULL), ERR_DENIED); /* no accelerator */
		return;
	}
	start(w, &task);
	wait_until(w, "given", is_over, &s);
	assert_string_equal(text_of(w, "given", EXEC_STDOUT, text, sizeof(text)), "1\nopen\n");
}

static void processes_are_counted(void **state)
{
	struct world *w = stage(state);
	const char *const argv[] = {"sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo all", NULL};
	struct exec_task task = task_of(w, "t", argv);
	struct exec_status s;
	char text[512];

	if (!(exec_caps(w->exec) & EXEC_CAP_PIDS)) {
		print_message("skip: no pids controller here\n");
		skip();
	}
	task.tasks_max = 6;
	task.kill_rest = true;
	start(w, &task);
	wait_until(w, "t", is_over, &s);
	assert_string_equal(text_of(w, "t", EXEC_STDOUT, text, sizeof(text)), "");
	assert_non_null(strstr(text_of(w, "t", EXEC_STDERR, text, sizeof(text)), "fork"));
}

/* Two that burn where half a CPU is allowed. On a crowded machine they may get less than that, never more; so what
 * the kernel was told is looked at as well, in its cgroup of either version. */
static void cpu_time_has_an_end(void **state)
{
	struct world *w = stage(state);
	const char *const argv[] = {"sh", "-c",
		"one=$(sed -n 's/^[0-9]*:\\(.*,\\)*cpu\\(,.*\\)*:/\\/sys\\/fs\\/cgroup\\/cpu/p' /proc/self/cgroup);"
		"two=$(sed -n 's/^0:://p' /proc/self/cgroup);"
		"for m in /sys/fs/cgroup /sys/fs/cgroup/unified; do cat $m$two/cpu.max && break; done 2>/dev/null ||"
		" echo $(cat $one/cpu.cfs_quota_us $one/cpu.cfs_period_us);"
		"read up idle </proc/uptime; end=$((${up%.*} + 4));"
		"burn() { while [ ${up%.*} -lt $end ]; do read up idle </proc/uptime; done; };"
		"burn & burn & wait; times",
		NULL};
	struct exec_task task = task_of(w, "t", argv);
	int user_m, sys_m, n;
	double user, sys, wall;
	long quota, period;
	struct exec_status s;
	char text[256];

	if (!(exec_caps(w->exec) & EXEC_CAP_CPU)) {
		print_message("skip: no cpu controller here\n");
		skip();
	}
	task.cpu_percent = 50;
	start(w, &task);
	wait_until(w, "t", is_over, &s);
	(void)text_of(w, "t", EXEC_STDOUT, text, sizeof(text));
	/* of the shell itself, then of its children */
	n = sscanf(text, "%ld %ld %*dm%*fs %*dm%*fs %dm%lfs %dm%lfs", &quota, &period, &user_m, &user, &sys_m, &sys);
	if (n != 6)
		fail_msg("the task said '%s'", text);
	assert_int_equal(quota * 2, period);
	wall = (double)(s.ended_ms - s.started_ms) / 1000;
	user += sys + 60 * (user_m + sys_m);
	print_message("%.2f s of CPU time in %.2f s\n", user, wall);
	assert_true(wall >= 3); /* so far, they did burn */
	assert_true(user <= 0.75 * wall);
}

static void binds_to_the_given_cpu(void **state)
{
	struct world *w = stage(state);
	const char *const argv[] = {"sh", "-c", "grep Cpus_allowed_list /proc/self/status", NULL};
	struct exec_task task = task_of(w, "t", argv);
	struct exec_status s;
	char text[128];

	task.cpus = "0";
	task.mems = "0";
	start(w, &task);
	wait_until(w, "t", is_over, &s);
	assert_int_equal(s.exit_code, 0);
	assert_string_equal(text_of(w, "t", EXEC_STDOUT, text, sizeof(text)), "Cpus_allowed_list:\t0\n");
}

static void gains_no_privilege(void **state)
{
	struct world *w = stage(state);
	struct exec_status s;

	start_sh(w, "t", "grep NoNewPrivs /proc/self/status; grep oom_score /dev/null; cat /proc/self/oom_score_adj");
	wait_until(w, "t", is_over, &s);
	wait_text(w, "t", "NoNewPrivs:\t1\n0\n");
}

/* SLUIS_TEST_KEY: the name of a key of the session that execd was started in. */
static void has_no_keys_of_roots(void **state)
{
	struct world *w = stage(state);
	const char *key = getenv("SLUIS_TEST_KEY");
	struct exec_status s;
	char text[256];

	if (!key) {
		print_message("skip: execd has no key\n");
		skip();
	}
	(void)snprintf(text, sizeof(text), "grep -o ' %.60s: ' /proc/keys; echo end", key);
	start_sh(w, "t", text);
	wait_until(w, "t", is_over, &s);
	assert_string_equal(text_of(w, "t", EXEC_STDOUT, text, sizeof(text)), "end\n");
}

/* The task is its user in all respects, and the agent's files are not its own. */
static void becomes_the_user_for_good(void **state)
{
	struct world *w = stage(state);
	struct exec_status s;
	char want[128], text[4096];

	if (!w->user) {
		print_message("skip: only sluis-execd starts tasks as other users\n");
		skip();
	}
	start_sh(w, "t", "grep -E '^(Uid|Cap(Prm|Eff|Amb)|Groups)' /proc/self/status; id -u;"
			 "d=$(dirname $SLUIS_NOTICE_FILE);"
			 "for f in $d/task $d/stdout $d/../../slots; do cat $f >/dev/null && echo read $f; done;"
			 "ls $d && echo listed; touch $d/x && echo made;"
			 "python3 -c \"import socket;s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET);"
			 "s.connect('$d/sock');print('connected')\"; echo end");
	wait_until(w, "t", is_over, &s);
	wait_text(w, "t", "end\n");
	(void)text_of(w, "t", EXEC_STDOUT, text, sizeof(text));
	(void)snprintf(want, sizeof(want), "Uid:\t%u\t%u\t%u\t%u\n", w->user, w->user, w->user, w->user);
	assert_non_null(strstr(text, want));
	assert_non_null(strstr(text, "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapAmb:\t0000000000000000\n"));
	assert_null(strstr(text, "read"));
	assert_null(strstr(text, "listed"));
	assert_null(strstr(text, "made"));
	assert_null(strstr(text, "connected"));
	(void)text_of(w, "t", EXEC_STDERR, text, sizeof(text));
	assert_non_null(strstr(text, "Permission denied")); /* refused, rather than not there */
}

/* Output that the job names is opened as the user: the agent's own files must not be within reach. */
static void output_is_opened_as_the_user(void **state)
{
	struct world *w = stage(state);
	const char *const argv[] = {"sh", "-c", "echo overwritten", NULL};
	struct exec_task task = task_of(w, "t", argv);
	struct exec_status s;
	char path[256];

	if (!w->user) {
		print_message("skip: only sluis-execd starts tasks as other users\n");
		skip();
	}
	(void)snprintf(path, sizeof(path), "%s/slots", w->run_dir);
	task.stdout_path = path;
	start(w, &task);
	wait_until(w, "t", is_over, &s);
	assert_true(s.setup_failed);
	assert_int_equal(s.exit_code, 126);
}

/* What cannot be executed has not begun, and leaves its name free. */
static void a_start_that_fails_leaves_nothing(void **state)
{
	struct world *w = stage(state);
	const char *const argv[] = {"true", NULL};
	struct exec_task task = task_of(w, "t", argv);
	char broken[256], whole[PATH_MAX];
	struct exec_status s;
	struct err err = {0};
	int fd;

	if (w->cfg.backend == EXEC_EXECD) {
		task.uid = 1; /* outside the range */
		assert_int_equal(exec_start(w->exec, &task, &err), ERR_DENIED);
		assert_non_null(strstr(err.msg, "not within"));
		task.uid = w->user;
	} else {
		(void)snprintf(broken, sizeof(broken), "%s/broken", w->dir);
		fd = open(broken, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
		assert_int_equal(write(fd, "\177no program", 11), 11);
		(void)close(fd);
		memcpy(whole, w->shim, sizeof(whole));
		(void)snprintf(w->shim, sizeof(w->shim), "%s", broken);
		reopen(w);
		assert_int_equal(exec_start(w->exec, &task, &err), ERR_SYS);
		memcpy(w->shim, whole, sizeof(whole));
		reopen(w);
		(void)unlink(broken);
		task.uid = 1000;
		assert_int_equal(exec_start(w->exec, &task, &err), ERR_UNSUPPORTED);
		assert_non_null(strstr(err.msg, "sluis-execd"));
		task.uid = 0;
	}
	status_of(w, "t", &s);
	assert_int_equal(s.state, EXEC_NONE);
	assert_int_equal(exec_count(w->exec), 0);
	for (int i = 0; i < 400 && exec_start(w->exec, &task, &err); i++) {
		assert_int_equal(err.code, ERR_EXISTS); /* until systemd has forgotten the failed one */
		(void)poll(NULL, 0, 5);
	}
	wait_until(w, "t", is_over, &s);
	assert_int_equal(s.exit_code, 0);
}

/* What execd says to one request: "CODE TEXT"; "" if it is gone. */
static void answer_to(const struct world *w, const struct request *r, char ret[256])
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ssize_t n;

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", w->cfg.execd_socket);
	assert_int_equal(connect(sock, (const struct sockaddr *)&a, sizeof(a)), 0);
	request_encode(r, &b);
	assert_int_equal(send(sock, b.data, b.len, MSG_NOSIGNAL), (ssize_t)b.len);
	n = recv(sock, ret, 255, 0);
	ret[n > 0 ? n : 0] = 0;
	(void)close(sock);
}

/* sluis-execd.service is one, and would be gone before it could answer. */
static void services_of_the_site_are_no_units(void **state)
{
	static const char *const own[] = {"execd", "agent", "backup"};
	struct world *w = stage(state);
	char text[256];

	if (w->cfg.backend != EXEC_EXECD) {
		print_message("skip: nobody is asked\n");
		skip();
	}
	for (size_t i = 0; i < ARRAY_LEN(own); i++) {
		struct request r = {.op = REQUEST_KILL};

		(void)snprintf(r.name, sizeof(r.name), "%s", own[i]);
		answer_to(w, &r, text);
		assert_string_equal(text, "0 ok");
	}
}

/* ---- what execd is asked --------------------------------------------------------------------------------- */

#define BYTES(s) (s), sizeof(s) /* with its NUL */

static void requests_round_trip(void **state)
{
	CLEANUP(buf_done) struct buf b = BUF_INIT;
	static const char *const devices[] = {"/dev/nvidia0", "/dev/nvidiactl", "/dev/dri/renderD128", NULL};
	const struct exec_task task = {.name = "a42-p0-t3", .mem_bytes = UINT64_C(1) << 40, .tasks_max = 100, .cpu_percent = 250,
		.cpus = "0-3,8", .mems = "0", .devices = devices, .private_tmp = true};
	struct request r, back;

	(void)state;
	assert_int_equal(request_of_task(&task, 1234, &r, NULL), 0);
	request_encode(&r, &b);
	assert_int_equal(request_decode(b.data, b.len, &back, NULL), 0);
	assert_memory_equal(&r, &back, sizeof(r));
	assert_int_equal(back.uid, 1234);
	assert_int_equal(back.devices_n, 3);
	for (int op = REQUEST_HELLO; op <= REQUEST_REMOVE; op++) {
		r = (struct request){.op = (enum request_op)op, .uid = op == REQUEST_START, .name = "t"};
		if (op == REQUEST_HELLO)
			r.name[0] = 0;
		buf_reset(&b);
		request_encode(&r, &b);
		assert_int_equal(request_decode(b.data, b.len, &back, NULL), 0);
		assert_memory_equal(&r, &back, sizeof(r));
	}
	/* as much as fits is still one datagram execd takes */
	r = (struct request){.op = REQUEST_START, .uid = 1, .name = "t", .has_devices = true, .devices_n = DEVICES_MAX};
	for (size_t i = 0; i < DEVICES_MAX; i++)
		(void)snprintf(r.devices[i], DEVICE_PATH_BYTES, "/dev/nvidia-caps/nvidia-cap%036zu", i);
	memset(r.cpus, '1', 3);
	for (size_t i = 3; i < REQUEST_SET_BYTES - 1; i++)
		r.cpus[i] = i % 2 ? ',' : '1';
	memcpy(r.mems, "1,1", 3);
	buf_reset(&b);
	request_encode(&r, &b);
	assert_true(b.len <= REQUEST_BYTES_MAX);
	assert_int_equal(request_decode(b.data, b.len, &back, NULL), 0);
}

static void refuses_other_requests(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		int code;
	} cases[] = {
		{"", 0, ERR_FORMAT},
		{"op=hello", 8, ERR_FORMAT}, /* no NUL */
		{BYTES("hello"), ERR_FORMAT},
		{BYTES("op=reboot"), ERR_INVAL},
		{BYTES("name=t"), ERR_FORMAT},
		{BYTES("op=kill"), ERR_FORMAT},
		{BYTES("op=kill\0name=t\0uid=1000"), ERR_UNKNOWN_FIELD},
		{BYTES("op=hello\0name=t"), ERR_UNKNOWN_FIELD},
		{BYTES("op=kill\0name=t\0name=u"), ERR_UNKNOWN_FIELD},
		{BYTES("op=kill\0name=t\0argv=/bin/sh"), ERR_UNKNOWN_FIELD},
		{BYTES("op=kill\0name=../../etc"), ERR_INVAL},
		{BYTES("op=kill\0name=.hidden"), ERR_INVAL},
		{BYTES("op=kill\0name="), ERR_INVAL},
		{BYTES("op=start\0name=t"), ERR_FORMAT},
		{BYTES("op=start\0name=t\0uid=0"), ERR_DENIED},
		{BYTES("op=start\0name=t\0uid=00"), ERR_INVAL},
		{BYTES("op=start\0name=t\0uid=-1"), ERR_INVAL},
		{BYTES("op=start\0name=t\0uid=4294967296"), ERR_RANGE},
		{BYTES("op=start\0name=t\0uid=99999999999999999999999"), ERR_RANGE},
		{BYTES("op=start\0name=t\0uid=1000\0cpus=0-"), ERR_INVAL},
		{BYTES("op=start\0name=t\0uid=1000\0cpus=0-99999"), ERR_RANGE},
		{BYTES("op=start\0name=t\0uid=1000\0device=/dev/nvidia0"), ERR_FORMAT},
		{BYTES("op=start\0name=t\0uid=1000\0devices=1\0device=/dev/sda"), ERR_DENIED},
		{BYTES("op=start\0name=t\0uid=1000\0devices=2"), ERR_INVAL},
		{BYTES("op=start\0name=t\0uid=1000\0mem=9223372036854775808"), ERR_RANGE},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct request r;
		struct err err = {0};
		int code = request_decode(cases[i].bytes, cases[i].n, &r, &err);

		if (code != cases[i].code)
			fail_msg("case %zu ('%s'): %s, not %s", i, cases[i].bytes, err_name(code), err_name(cases[i].code));
	}
	{
		char large[REQUEST_BYTES_MAX + 1] = "op=hello";
		struct request r;

		assert_int_equal(request_decode(large, sizeof(large), &r, NULL), ERR_TOOBIG);
	}
}

static void only_accelerators_are_devices(void **state)
{
	static const char *const good[] = {"/dev/nvidia0", "/dev/nvidia127", "/dev/nvidiactl", "/dev/nvidia-uvm",
		"/dev/nvidia-uvm-tools", "/dev/nvidia-caps/nvidia-cap1", "/dev/dri/card0", "/dev/dri/renderD128", "/dev/kfd"};
	static const char *const bad[] = {"", "/", "/dev", "/dev/sda", "/dev/mem", "/dev/kfd2", "/dev/dri", "/dev/dri/",
		"/dev/dri/../sda", "/dev/nvidia/../mem", "/dev/nvidia0/x", "/dev/nvidia0 rw", "dev/nvidia0", "/dev/dri/by-path/x",
		"/tmp/nvidia0", "/dev/nvidia-caps/../mem", "/dev/nvidia\n",
		"/dev/nvidia0000000000000000000000000000000000000000000000000000000000000000"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		if (!device_allowed(good[i]))
			fail_msg("'%s' is refused", good[i]);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (device_allowed(bad[i]))
			fail_msg("'%s' is allowed", bad[i]);
}

static void says_why_it_cannot(void **state)
{
	struct exec_cfg cfg = {.backend = EXEC_EXECD};
	char dir[] = "/tmp/sluis-nox-XXXXXX", run[64], shim[PATH_MAX], sock[64];
	struct exec *exec = NULL;
	struct err err = {0};

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(run, sizeof(run), "%s/run", dir);
	(void)snprintf(sock, sizeof(sock), "%s/sock", dir);
	find_shim(shim);
	cfg.run_dir = run;
	cfg.shim_path = shim;
	assert_int_equal(exec_open(&cfg, &exec, &err), ERR_CONFIG);
	cfg.execd_socket = sock;
	assert_int_equal(exec_open(&cfg, &exec, &err), ERR_UNREACHABLE);
	assert_non_null(strstr(err.msg, sock));
	if (access("/run/systemd/system", F_OK)) {
		cfg.backend = EXEC_SYSTEMD;
		assert_int_equal(exec_open(&cfg, &exec, &err), ERR_UNSUPPORTED);
	}
	(void)snprintf(sock, sizeof(sock), "rm -rf '%s'", dir);
	assert_int_equal(system(sock), 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_round_trip),
		cmocka_unit_test(refuses_other_requests),
		cmocka_unit_test(only_accelerators_are_devices),
		cmocka_unit_test(says_why_it_cannot),
		CASE(keeps_exit_code_and_output),
		CASE(keeps_the_signal_and_what_could_not_start),
		CASE(never_starts_a_name_twice),
		CASE(kills_all_that_hides),
		CASE(a_shim_that_is_stopped_all_the_time_protects_nothing),
		CASE(the_next_agent_takes_over),
		CASE(a_lost_shim_is_told_and_its_children_ended),
		CASE(a_notice_arrives),
		CASE(memory_has_an_end_and_it_is_told),
		CASE(other_devices_cannot_be_opened),
		CASE(processes_are_counted),
		CASE(cpu_time_has_an_end),
		CASE(binds_to_the_given_cpu),
		CASE(gains_no_privilege),
		CASE(has_no_keys_of_roots),
		CASE(becomes_the_user_for_good),
		CASE(output_is_opened_as_the_user),
		CASE(a_start_that_fails_leaves_nothing),
		CASE(services_of_the_site_are_no_units),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
