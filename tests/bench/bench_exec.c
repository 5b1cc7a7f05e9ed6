/* bench_exec.c - how many quick tasks a second one agent's execution layer starts and sees end
 *
 * Runs /bin/true N times (default 1000), with at most 64 alive at a time, each with its own unit, shim,
 * synced intent and synced exit status; prints figures for single starts and for batches of 32.
 * BENCH_DIR chooses the file system (default /tmp).
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/exec/exec.h"
#include "proto/base/ensure.h"
#include "proto/base/instant.h"

enum { ALIVE_MAX = 64 };

static void die(const char *what, const struct err *err)
{
	(void)fprintf(stderr, "bench_exec: %s: %s\n", what, err->msg);
	exit(1);
}

/* Release what has ended; returns how many. */
static int settle(struct exec *exec, int wait_ms)
{
	struct pollfd p = {.fd = exec_wait_fd(exec), .events = POLLIN};
	char name[EXEC_NAME_BYTES];
	struct err err;
	int n = 0;

	(void)poll(&p, 1, wait_ms);
	while (exec_next_changed(exec, name)) {
		struct exec_status s;

		if (exec_status(exec, name, &s, &err))
			die("status", &err);
		if (s.state != EXEC_EXITED || !s.empty)
			continue;
		if (s.exit_code)
			die("a task failed", &err);
		if (exec_release(exec, name, &err))
			die("release", &err);
		n++;
	}
	return n;
}

static void run(struct exec *exec, int total, int batch)
{
	const char *const argv[] = {"/bin/true", NULL};
	const char *const env[] = {"PATH=/usr/bin:/bin", NULL};
	struct mono begin = mono_now(), at;
	int64_t starting_ns = 0, all_ns;
	int started = 0, ended = 0;

	while (ended < total) {
		struct exec_task tasks[ALIVE_MAX];
		const struct exec_task *list[ALIVE_MAX];
		char names[ALIVE_MAX][32];
		int codes[ALIVE_MAX];
		struct err err;
		int n = batch < total - started ? batch : total - started;

		if (n && started - ended + n <= ALIVE_MAX) {
			for (int i = 0; i < n; i++) {
				(void)snprintf(names[i], sizeof(names[i]), "a%d-p0-t0", started + i);
				tasks[i] = (struct exec_task){.name = names[i], .argv = argv, .env = env};
				list[i] = &tasks[i];
			}
			at = mono_now();
			if (exec_start_batch(exec, list, (size_t)n, codes, &err))
				die("start", &err);
			starting_ns += mono_now().ns - at.ns;
			started += n;
			ended += settle(exec, 0);
		} else {
			ended += settle(exec, 1000);
		}
	}
	all_ns = mono_now().ns - begin.ns;
	printf("tasks=%d batch=%d start_to_released_per_s=%lld start_call_us=%lld\n", total, batch,
		(long long)(total * NS_PER_S / all_ns), (long long)(starting_ns / total / 1000));
}

int main(int argc, char **argv)
{
	const char *base = getenv("BENCH_DIR");
	int total = argc > 1 ? atoi(argv[1]) : 1000;
	char dir[256], shim[512], command[300];
	struct exec_cfg cfg = {.run_dir = dir, .backend = EXEC_PLAIN, .shim_path = shim};
	struct exec *exec;
	struct err err;
	char *slash;
	ssize_t n;

	(void)snprintf(dir, sizeof(dir), "%s/sluis-bench-exec-XXXXXX", base ? base : "/tmp");
	if (total <= 0 || !mkdtemp(dir))
		return 64;
	n = readlink("/proc/self/exe", shim, 400);
	ENSURE(n > 0);
	shim[n] = 0;
	slash = strrchr(shim, '/');
	ENSURE(slash);
	(void)snprintf(slash, 32, "/../bin/sluis-shim");
	if (exec_open(&cfg, &exec, &err))
		die("open", &err);
	run(exec, total, 1);
	run(exec, total, 32);
	exec_close(exec);
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command) ? 1 : 0;
}
